// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// distribution starts the CNCF's registry, which has no referrers API, in a
// process of its own, and returns its host. `make registry` builds it.
func distribution(t *testing.T) string {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join("..", "bin", "tools", "registry"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); errors.Is(err, fs.ErrNotExist) {
		t.Skip("bin/tools/registry is absent: run make registry")
	}
	// The registry says no port that the system chose, so that we choose one.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q, secret: test}\n", filepath.Join(dir, "data"), host)
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "serve", path)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = []string{"HOME=" + dir, "OTEL_TRACES_EXPORTER=none"}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was told to end
	})
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "listening on") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
			return host
		}
	}
	t.Fatalf("the registry did not start:\n%s", said.String())
	return ""
}

// behind puts the world in front of a registry at host.
func (w *world) behind(host string) {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		proxy.ServeHTTP(rw, r)
		return true
	})
	w.image = w.push("hello")
	w.image.Repository = w.host + "/acme/app"
}

// TestRealRegistries: a signature in each place where it can be, in registries
// that are not ours: with the referrers API (go-containerregistry), without it
// (the same, and distribution).
func TestRealRegistries(t *testing.T) {
	for _, tt := range []struct {
		name  string
		api   bool
		world func(t *testing.T) *world
	}{
		{"go-containerregistry", true, func(t *testing.T) *world { return newWorld(t, true) }},
		{"go-containerregistry without referrers", false, func(t *testing.T) *world { return newWorld(t, false) }},
		{"distribution", false, func(t *testing.T) *world {
			host := distribution(t)
			w := newWorld(t, false)
			w.behind(host)
			return w
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := tt.world(t)
			fresh := func(name string) verifier.Descriptor {
				t.Helper()
				w.image = w.push(name)
				w.image.Repository = w.host + "/acme/app"
				w.want(verifier.RegistryConfig{}, verdict.SigNone)
				return verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: int64(len(readManifest(t, w, w.image.Digest)))}
			}
			fresh("by .sig tag")
			w.attachLayers(w.image, w.layer(w.image, good()))
			w.want(verifier.RegistryConfig{}, "")

			d := fresh("by fallback tag")
			if err := sigstoretest.Attach(t.Context(), w.store, repo, d, w.bundle(w.image, good()), "", true); err != nil {
				t.Fatal(err)
			}
			w.want(verifier.RegistryConfig{}, "")

			d = fresh("by referrers API")
			if err := sigstoretest.Attach(t.Context(), w.store, repo, d, w.bundle(w.image, good()), "", false); err != nil {
				t.Fatal(err)
			}
			want := verdict.SigNone // nothing lists it
			if tt.api {
				want = ""
			}
			w.want(verifier.RegistryConfig{}, want)

			index, err := sigstoretest.PushIndex(t.Context(), w.store, repo, "v1", []byte("index"))
			if err != nil {
				t.Fatal(err)
			}
			w.image.Digest = index
			w.attachLayers(w.image, w.layer(w.image, good()))
			w.want(verifier.RegistryConfig{}, "")
			r := w.registry(verifier.RegistryConfig{})
			for range 2 { // the second time conditionally, where there are ETags
				if got, _, _, err := r.Tagged(t.Context(), w.image.Repository, "v1"); err != nil || got != index {
					t.Errorf("tag: %s, %v, want %s", got, err, index)
				}
			}
			if res, err := verifier.Deep(t.Context(), r, verifier.DeepRequest{Image: w.image}); err != nil || !res.Hashed || !res.Unpacked || len(res.Platforms) != 2 {
				t.Errorf("layers: %+v, %v", res, err)
			}
			w.image.Digest = verdict.SHA256([]byte("nothing"))
			w.want(verifier.RegistryConfig{}, verdict.ImageNotFound)
			w.image.Repository = w.host + "/acme/none"
			w.want(verifier.RegistryConfig{}, verdict.ImageNotFound)
		})
	}
}

// TestRealConditional: distribution's ETags are understood.
func TestRealConditional(t *testing.T) {
	host := distribution(t)
	w := newWorld(t, false)
	w.behind(host)
	w.attachLayers(w.image, w.layer(w.image, good()))
	pass := *w.fault.Load()
	var unchanged atomic.Int64
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		return pass(countStatus{rw, http.StatusNotModified, &unchanged}, r)
	})
	r := w.registry(verifier.RegistryConfig{})
	w.verifyWith(r)
	if n := unchanged.Load(); n != 0 {
		t.Fatalf("%d answers were conditional the first time", n)
	}
	w.verifyWith(r)
	if n := unchanged.Load(); n != 1 { // the .sig manifest
		t.Errorf("%d answers said that nothing changed, want 1", n)
	}
}

type countStatus struct {
	http.ResponseWriter
	status int
	n      *atomic.Int64
}

func (c countStatus) WriteHeader(status int) {
	if status == c.status {
		c.n.Add(1)
	}
	c.ResponseWriter.WriteHeader(status)
}

func readManifest(t *testing.T, w *world, d verdict.Digest) []byte {
	t.Helper()
	_, body, err := w.registry(verifier.RegistryConfig{}).Manifest(t.Context(), w.image.Repository, d)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
