// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

type fault = func(http.ResponseWriter, *http.Request) bool

// onPath makes f answer what has part in its path.
func onPath(part string, f fault) fault {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.Path, part) && r.Method == http.MethodGet && f(rw, r)
	}
}

// dribble sends a byte now and then, until the client has gone.
func dribble(status int) fault {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		rw.Header().Set("Content-Type", sigstoretest.TypeManifest)
		rw.WriteHeader(status)
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-r.Context().Done():
				return true
			case <-t.C:
				_, _ = io.WriteString(rw, " ")
				_ = http.NewResponseController(rw).Flush()
			}
		}
	}
}

// endless sends as fast as it can, until the client has gone.
func endless(status int) fault {
	return func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Content-Type", sigstoretest.TypeManifest)
		rw.WriteHeader(status)
		b := bytes.Repeat([]byte(" "), 64<<10)
		for range 1 << 12 { // 256 MiB
			if _, err := rw.Write(b); err != nil {
				break
			}
		}
		return true
	}
}

func body(b []byte, header ...string) fault {
	return func(rw http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		_, _ = rw.Write(b)
		return true
	}
}

// bomb is 64 MiB of nothing in 64 KiB.
func bomb(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 64 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// settles waits until no more goroutines run than before. What was closed ends
// by itself.
func settles(t *testing.T, base int) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	for end := time.After(time.Minute); ; {
		n := runtime.NumGoroutine()
		if n <= base+2 {
			return
		}
		select {
		case <-end:
			t.Errorf("%d goroutines, began with %d", n, base)
			return
		default:
			http.DefaultClient.CloseIdleConnections()
			runtime.Gosched()
		}
	}
}

// TestR46R47HostileRegistry: whatever one place answers, the verification ends in
// time, with the code of what happened, with bounded memory, and nothing is left
// running. The good twin of each case is TestRegistryDiscovery.
func TestR46R47HostileRegistry(t *testing.T) {
	base := runtime.NumGoroutine()
	t.Run("cases", func(t *testing.T) {
		junk := bomb(t)
		header := func(rw http.ResponseWriter, _ *http.Request) bool {
			for i := range 100 {
				rw.Header().Set(fmt.Sprint("X-Junk-", i), strings.Repeat("x", 10<<10))
			}
			return true
		}
		rawBytes := func(b string) fault { // not even HTTP
			return func(rw http.ResponseWriter, _ *http.Request) bool {
				c, _, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					return false
				}
				_, _ = io.WriteString(c, b)
				_ = c.Close()
				return true
			}
		}
		for _, tt := range []struct {
			name string
			// place is "image", "config", "signature", "list", "tag", "bundle" or "token".
			place string
			fault fault
			want  verdict.Code
		}{
			{"image dribbles", "image", dribble(200), verdict.RegistryTimeout},
			{"configuration dribbles", "config", dribble(200), verdict.RegistryTimeout},
			{"signature dribbles, good bundle elsewhere", "signature", dribble(200), ""},
			{"list dribbles, good bundle not reached", "list", dribble(200), verdict.RegistryTimeout},
			{"bundle dribbles", "bundle", dribble(200), verdict.RegistryTimeout},
			{"token dribbles", "token", dribble(200), verdict.RegistryTimeout},
			{"not found dribbles", "image", dribble(404), verdict.ImageNotFound},
			{"tag not found dribbles", "tag", dribble(404), ""},
			{"redirect dribbles", "image", func(rw http.ResponseWriter, r *http.Request) bool {
				rw.Header().Set("Location", "https://10.0.0.1/x")
				return dribble(307)(rw, r)
			}, verdict.RegistryNotAllowed},

			{"image is endless", "image", endless(200), verdict.InputLimit},
			{"configuration is endless", "config", endless(200), verdict.InputLimit},
			{"signature is endless, good bundle elsewhere", "signature", endless(200), ""},
			{"list is endless", "list", endless(200), verdict.InputLimit},
			{"bundle is endless", "bundle", endless(200), verdict.InputLimit},
			{"token is endless", "token", endless(200), verdict.InputLimit},
			{"failure is endless", "image", endless(418), verdict.RegistryUnreachable},

			{"image is a bomb", "image", body(junk, "Content-Encoding", "gzip", "Content-Type", sigstoretest.TypeManifest), verdict.RegistryDigestMismatch},
			{"configuration is a bomb", "config", body(junk[:100], "Content-Encoding", "gzip"), verdict.RegistryDigestMismatch},
			{"list is a bomb", "list", body(junk, "Content-Encoding", "gzip", "Content-Type", sigstoretest.TypeIndex), verdict.RegistryUnreachable},
			{"bundle is a bomb", "bundle", body(junk[:100], "Content-Encoding", "gzip"), verdict.RegistryDigestMismatch},
			{"token is a bomb", "token", body(junk[:1000], "Content-Encoding", "gzip"), verdict.RegistryUnauthorized},

			{"other image", "image", body([]byte("{}")), verdict.RegistryDigestMismatch},
			{"other configuration", "config", body([]byte("{}")), verdict.RegistryDigestMismatch},
			{"other bundle", "bundle", body([]byte("{}")), verdict.RegistryDigestMismatch},
			{"list of deep JSON", "list", body([]byte(strings.Repeat("[", 1<<20)), "Content-Type", sigstoretest.TypeIndex), verdict.RegistryUnreachable},

			{"image with a megabyte of headers", "image", header, verdict.RegistryUnreachable},
			{"token with a megabyte of headers", "token", header, verdict.RegistryUnreachable},
			{"not HTTP", "image", rawBytes("SSH-2.0-OpenSSH\r\n\r\n"), verdict.RegistryUnreachable},
			{"two lengths", "image", rawBytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), verdict.RegistryUnreachable},
			{"cut short", "image", rawBytes("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nxx"), verdict.RegistryUnreachable},
			{"says that it has 8 EiB", "image", rawBytes("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nxx"), verdict.InputLimit},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel() // most of it waits
				w := newWorld(t, true)
				b := w.bundle(w.image, good())
				d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: 1}
				if err := sigstoretest.Attach(t.Context(), w.store, repo, d, b, "", false); err != nil {
					t.Fatal(err)
				}
				config := digestsIn(t, readBody(t, "http://"+w.host+"/v2/acme/app/manifests/"+string(w.image.Digest)))[0]
				f := onPath(map[string]string{
					"image": "/manifests/" + string(w.image.Digest), "config": "/blobs/" + string(config), "signature": ".sig", "list": "/referrers/",
					"tag": "/manifests/sha256-" + w.image.Digest.Hex(), "bundle": "/blobs/" + string(verdict.SHA256(b)), "token": "/token"}[tt.place], tt.fault)
				if tt.place == "token" {
					w.needToken()
					protected := *w.fault.Load()
					w.on(func(rw http.ResponseWriter, r *http.Request) bool { return f(rw, r) || protected(rw, r) })
				} else {
					w.on(f)
				}
				// Only what dribbles is to run into its deadline: a loaded machine takes
				// its time for everything else.
				cfg := verifier.RegistryConfig{RequestTimeout: time.Minute}
				if strings.Contains(tt.name, "dribbles") {
					cfg.RequestTimeout = 2 * time.Second
				}
				late := time.AfterFunc(2*time.Minute, func() {})
				w.want(cfg, tt.want)
				if !late.Stop() {
					t.Error("it took too long")
				}
			})
		}
	})
	settles(t, base)
}

// TestR46TenThousand: 10 000 referrers on endless pages, the good one last.
func TestR46TenThousand(t *testing.T) {
	base := runtime.NumGoroutine()
	t.Run("endless", func(t *testing.T) {
		w := newWorld(t, true)
		b := w.bundle(w.image, good())
		d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: 1}
		if err := sigstoretest.Attach(t.Context(), w.store, repo, d, b, "", false); err != nil {
			t.Fatal(err)
		}
		full := referrersOf(t, w)
		var sent atomic.Int64
		for _, artifact := range []string{"application/vnd.junk", sigstoretest.TypeBundle} {
			var pages atomic.Int64
			w.on(onPath("/referrers/", func(rw http.ResponseWriter, r *http.Request) bool {
				n := pages.Add(1)
				page := []byte(strings.ReplaceAll(junkIndex(1000, r.URL.RawQuery), "application/vnd.junk", artifact))
				if n > 10 {
					page = full
				} else {
					rw.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, n))
				}
				sent.Add(int64(len(page)))
				rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
				_, _ = rw.Write(page)
				return true
			}))
			w.requests.Store(0)
			w.want(verifier.RegistryConfig{}, verdict.InputLimit)
			if n := w.requests.Load(); n > verifier.MaxRequests || sent.Load() > verifier.MaxImageBytes {
				t.Errorf("%s: %d requests and %d bytes, want at most %d and %d", artifact, n, sent.Load(), verifier.MaxRequests, verifier.MaxImageBytes)
			}
		}
	})
	settles(t, base)
}

// TestR51Storm: a registry that has enough is left alone, and everybody who asks
// is told for how long.
func TestR51Storm(t *testing.T) {
	base := runtime.NumGoroutine()
	t.Run("storm", func(t *testing.T) {
		w := newWorld(t, true)
		var images []verifier.Image
		for i := range 50 {
			img := w.push(fmt.Sprint("image ", i))
			img.Repository = w.image.Repository
			images = append(images, img)
		}
		w.on(func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.Header().Set("Retry-After", "30")
			rw.WriteHeader(http.StatusTooManyRequests)
			return true
		})
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: w.registry(verifier.RegistryConfig{})})
		w.requests.Store(0)
		var wg sync.WaitGroup
		for range 4 {
			for _, img := range images {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					_, err := v.Verify(ctx, verifier.Request{Image: img, At: now})
					if f, ok := errors.AsType[*verdict.Failure](err); !ok || f.Reason.Code != verdict.RegistryRateLimited || f.RetryAfter != 30*time.Second {
						t.Errorf("got %v, want %q after 30 s", err, verdict.RegistryRateLimited)
					}
				})
			}
		}
		wg.Wait()
		if n := w.requests.Load(); n > verifier.MaxPerHost {
			t.Errorf("%d requests for 200 questions, want at most %d", n, verifier.MaxPerHost)
		}
	})
	settles(t, base)
}

// TestSlowHost: a registry that accepts and says nothing, and one that is not
// there, cost their time and nobody else's.
func TestSlowHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	silent := l.Addr().String()
	good := w.image
	for host, want := range map[string]verdict.Code{silent: verdict.RegistryTimeout, "127.0.0.1:1": verdict.RegistryUnreachable} {
		r := w.registry(verifier.RegistryConfig{PlainHTTP: []string{host}, RequestTimeout: 2 * time.Second})
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: r})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := v.Verify(t.Context(), verifier.Request{Image: verifier.Image{Repository: host + "/acme/app", Digest: good.Digest}, At: now})
			if verdict.CodeOf(err) != want {
				t.Errorf("%s: got %v, want %q", host, err, want)
			}
		})
		if ok, code, _ := verify(t.Context(), t, v, good, now); !ok {
			t.Errorf("beside %s: %q", host, code)
		}
		wg.Wait()
	}
}

// TestR37Names: names of repositories, tags and digests are no paths, neither of
// a URL nor of a file.
func TestR37Names(t *testing.T) {
	w := newWorld(t, true)
	k := newKit(t)
	r := w.registry(verifier.RegistryConfig{})
	w.requests.Store(0)
	var st verifier.Streamer = r
	for _, name := range []string{"../../x", "a/../../b", "/etc/x", "a\x00b", "a/./b", "a//b", "a?b", "a#b", "a%2fb", `a\b`, "A", ""} {
		repository := w.host + "/" + name
		_, _, err1 := r.Manifest(t.Context(), repository, w.image.Digest)
		_, _, _, err2 := r.Tagged(t.Context(), repository, "v1")
		_, err3 := r.Blob(t.Context(), repository, w.image.Digest, 1, 1)
		_, err4 := r.Referrers(t.Context(), repository, w.image.Digest)
		_, err5 := st.Stream(t.Context(), repository, w.image.Digest, 1)
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if verdict.CodeOf(err) != verdict.InputMalformed {
				t.Errorf("repository %q, method %d: got %v, want %q", name, i, err, verdict.InputMalformed)
			}
		}
		if _, _, _, err := r.Tagged(t.Context(), w.image.Repository, name+"/"); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("tag %q: %v", name, err)
		}
		d := verdict.Digest("sha256:" + name)
		l, ok := k.source().(verifier.Streamer)
		if !ok {
			t.Fatal("a layout does not stream")
		}
		for _, s := range []verifier.Streamer{r, l} {
			if _, err := s.Stream(t.Context(), w.image.Repository, d, 1); verdict.CodeOf(err) != verdict.InputMalformed {
				t.Errorf("digest %q: %v", d, err)
			}
		}
		if _, _, _, err := l.Tagged(t.Context(), "", name+"/"); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("tag %q of a layout: %v", name, err)
		}
	}
	if _, _, _, err := k.source().Tagged(t.Context(), "", ""); verdict.CodeOf(err) != verdict.InputMalformed {
		t.Errorf("no tag: %v", err) // which is what most entries of a layout have
	}
	if n := w.requests.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}
