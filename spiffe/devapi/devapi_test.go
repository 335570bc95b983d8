// SPDX-License-Identifier: Apache-2.0

package devapi_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/devapi"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
)

// config makes an authority and a configuration that works.
func config(t *testing.T) devapi.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "dev")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ca := filepath.Join(dir, "ca")
	if err := devapi.Init(ca, devapi.TrustDomain); err != nil {
		t.Fatal(err)
	}
	ids, err := devapi.Identities(devapi.TrustDomain, "demo")
	if err != nil {
		t.Fatal(err)
	}
	return devapi.Config{Profile: devapi.Profile, Dir: ca, SocketDir: filepath.Join(dir, "svid"), Identities: ids}
}

// serve serves until the returned function is called, which returns Serve's
// error; the test calls it at its end, too.
func serve(t *testing.T, c devapi.Config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	c.Ready = ready
	go func() { done <- devapi.Serve(ctx, c) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("did not serve: %v", err)
	}
	var err error
	stopped := false
	stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			err = <-done
		}
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func open(t *testing.T, c devapi.Config, name string) *spiffe.Source {
	t.Helper()
	src, err := spiffe.OpenSource(t.Context(), filepath.Join(c.SocketDir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}

func TestIdentities(t *testing.T) {
	want := map[string]string{
		"assayd":    "spiffe://dev.assay.invalid/assay/d/demo/assayd",
		"node-a":    "spiffe://dev.assay.invalid/assay/node/demo/node-a",
		"node-b":    "spiffe://dev.assay.invalid/assay/node/demo/node-b",
		"admission": "spiffe://dev.assay.invalid/assay/admission/demo/admission",
		"ci":        "spiffe://dev.assay.invalid/assay/ci/demo/ci",
		"auditor":   "spiffe://dev.assay.invalid/assay/auditor/demo/auditor",
		"admin":     "spiffe://dev.assay.invalid/assay/admin/demo/admin",
	}
	got, err := devapi.Identities(devapi.TrustDomain, "demo")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("got %d identities, want %d", len(got), len(want))
	}
	for name, id := range want {
		if got[name] != id {
			t.Errorf("%s: got %q, want %q", name, got[name], id)
		}
	}
	for _, bad := range [][2]string{{"", "demo"}, {"spiffe://x", "demo"}, {"dev.assay.invalid", ""}, {"dev.assay.invalid", "a/b"}, {"dev.assay.invalid", ".."}} {
		if ids, err := devapi.Identities(bad[0], bad[1]); err == nil || ids != nil {
			t.Errorf("trust domain %q, cluster %q: got %v, want a misuse", bad[0], bad[1], ids)
		}
	}
}

// TestServe: each socket gives its identity, the roles of the usual patterns
// know the callers, and nothing is left when it ends.
func TestServe(t *testing.T) {
	c := config(t)
	stop := serve(t, c)
	roles, err := spiffe.NewRoles(devapi.TrustDomain, spiffe.Patterns{
		spiffe.RoleNode:      {"spiffe://dev.assay.invalid/assay/node/*/*"},
		spiffe.RoleAdmission: {"spiffe://dev.assay.invalid/assay/admission/*/*"},
		spiffe.RoleCI:        {"spiffe://dev.assay.invalid/assay/ci/*/*"},
		spiffe.RoleAuditor:   {"spiffe://dev.assay.invalid/assay/auditor/*/*"},
		spiffe.RoleAdmin:     {"spiffe://dev.assay.invalid/assay/admin/*/*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range c.Identities {
		src := open(t, c, name)
		if err := src.CheckID(want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := src.Healthy(time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		role, ok := roles.RoleOf(want)
		wantRole := spiffe.Role(strings.TrimSuffix(strings.TrimSuffix(name, "-a"), "-b"))
		if name == "assayd" {
			wantRole = ""
		}
		if role != wantRole || ok != (wantRole != "") {
			t.Errorf("%s: got role %q, want %q", name, role, wantRole)
		}
	}
	modes := map[string]fs.FileMode{c.Dir: 0o700, c.SocketDir: 0o700}
	for _, dir := range []string{c.Dir, c.SocketDir} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			modes[filepath.Join(dir, e.Name())] = 0o600
		}
	}
	if len(modes) != 2+2+len(c.Identities)+1 {
		t.Errorf("got %d files, want two of the authority, the sockets and a lock: %v", len(modes)-2, modes)
	}
	for path, want := range modes {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %#o, want %#o", path, info.Mode().Perm(), want)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(c.SocketDir, "*.sock"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
	// The folder can be served again, with the same authority.
	serve(t, c)
	open(t, c, "node-a")
}

// TestServeAfterKill: a socket that a killed server left is replaced.
func TestServeAfterKill(t *testing.T) {
	c := config(t)
	if err := os.Mkdir(c.SocketDir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(c.SocketDir, "node-a.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, c)
	open(t, c, "node-a")
}

// TestRotation: SVIDs are replaced before they end.
func TestRotation(t *testing.T) {
	c := config(t)
	c.TTL = 2 * time.Second
	serve(t, c)
	src := open(t, c, "node-a")
	first := src.NotAfter()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	// Certificates have whole seconds: two rotations are later than one second.
	for src.NotAfter().Before(first.Add(2 * time.Second)) {
		if _, err := src.GetX509SVID(); err != nil {
			t.Fatalf("between two SVIDs: %v", err)
		}
		select {
		case <-ctx.Done():
			t.Fatal("no new SVID in 10s")
		case <-tick.C:
		}
	}
}

func TestServeMisuse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *devapi.Config)
		want   string
	}{
		{"no profile", func(_ *testing.T, c *devapi.Config) { c.Profile = "" }, "profile"},
		{"production", func(_ *testing.T, c *devapi.Config) { c.Profile = "production" }, "profile"},
		{"other case", func(_ *testing.T, c *devapi.Config) { c.Profile = "Development" }, "profile"},
		{"no authority", func(_ *testing.T, c *devapi.Config) { c.Dir += "x" }, "no such file"},
		{"no identities", func(_ *testing.T, c *devapi.Config) { c.Identities = nil }, "identities"},
		{"identity as a path", func(_ *testing.T, c *devapi.Config) { c.Identities["../x"] = c.Identities["ci"] }, "cannot name a socket"},
		{"identity malformed", func(_ *testing.T, c *devapi.Config) { c.Identities["ci"] = "ci" }, "malformed SPIFFE ID"},
		{"identity without path", func(_ *testing.T, c *devapi.Config) { c.Identities["ci"] = "spiffe://dev.assay.invalid" }, "malformed SPIFFE ID"},
		{"identity of another trust domain", func(_ *testing.T, c *devapi.Config) {
			c.Identities["ci"] = "spiffe://prod.assay.invalid/assay/ci/demo/ci"
		}, "trust domain"},
		{"TTL too short", func(_ *testing.T, c *devapi.Config) { c.TTL = time.Millisecond }, "TTL"},
		{"TTL negative", func(_ *testing.T, c *devapi.Config) { c.TTL = -time.Hour }, "TTL"},
		{"path too long", func(_ *testing.T, c *devapi.Config) {
			c.SocketDir = filepath.Join(c.SocketDir, strings.Repeat("x", 100))
		}, "bytes, want at most"},
		{"a file where a socket should be", func(t *testing.T, c *devapi.Config) {
			write(t, filepath.Join(c.SocketDir, "ci.sock"), "precious")
		}, "is not a socket"},
		{"folder open to others", func(t *testing.T, c *devapi.Config) {
			write(t, filepath.Join(c.SocketDir, "x"), "")
			chmod(t, c.SocketDir, 0o755)
		}, "has mode"},
		{"key open to others", func(t *testing.T, c *devapi.Config) { chmod(t, filepath.Join(c.Dir, "svid-ca.key"), 0o640) }, "has mode"},
		{"key of another authority", func(t *testing.T, c *devapi.Config) {
			other := config(t)
			key, err := os.ReadFile(filepath.Join(other.Dir, "svid-ca.key"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(c.Dir, "svid-ca.key"), string(key))
		}, "another key"},
		{"key not PEM", func(t *testing.T, c *devapi.Config) { write(t, filepath.Join(c.Dir, "svid-ca.key"), "x") }, "not one PEM block"},
		{"key huge", func(t *testing.T, c *devapi.Config) {
			write(t, filepath.Join(c.Dir, "svid-ca.key"), strings.Repeat("x", 1<<20))
		}, "more than"},
		{"certificate truncated", func(t *testing.T, c *devapi.Config) {
			path := filepath.Join(c.Dir, "svid-ca.pem")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, string(text[:len(text)/2]))
		}, "not one PEM block"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t)
			tt.change(t, &c)
			// Served by mistake, it would wait for the context.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := devapi.Serve(ctx, c)
			if m, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(m.Text, tt.want) || m.Hint == "" {
				t.Errorf("got %v, want a misuse with a hint about %q", err, tt.want)
			}
		})
	}

	t.Run("two servers", func(t *testing.T) {
		c := config(t)
		serve(t, c)
		err := devapi.Serve(t.Context(), c)
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
			t.Errorf("got %v, want a misuse", err)
		}
		open(t, c, "node-a") // the first one's sockets are intact
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestInitMisuse(t *testing.T) {
	c := config(t)
	key := filepath.Join(c.Dir, "svid-ca.key")
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := devapi.Init(c.Dir, devapi.TrustDomain); !misuse(err) {
		t.Errorf("a second time: got %v, want a misuse", err)
	}
	if err := os.Remove(filepath.Join(c.Dir, "svid-ca.pem")); err != nil {
		t.Fatal(err)
	}
	if err := devapi.Init(c.Dir, devapi.TrustDomain); !misuse(err) {
		t.Errorf("over half an authority: got %v, want a misuse", err)
	}
	after, err := os.ReadFile(key)
	if err != nil || string(after) != string(before) {
		t.Errorf("the key is another one, or gone: %v", err)
	}
	for _, td := range []string{"", "spiffe://dev.assay.invalid", "dev.assay.invalid/x", "*"} {
		dir := filepath.Join(t.TempDir(), "ca")
		if err := devapi.Init(dir, td); !misuse(err) {
			t.Errorf("trust domain %q: got %v, want a misuse", td, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("trust domain %q: left a folder: %v", td, err)
		}
	}
}

func misuse(err error) bool {
	_, ok := errors.AsType[*verdict.Misuse](err)
	return ok
}

// TestMetadata: a request without the header that the standard demands is
// refused, and one after a withdrawal, too.
func TestMetadata(t *testing.T) {
	ca := spiffetest.NewAuthority(t, devapi.TrustDomain)
	api := spiffetest.Start(t, ca.SVID(t, "spiffe://dev.assay.invalid/assay/ci/demo/ci"))
	conn, err := grpc.NewClient("unix://"+api.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	client := workload.NewSpiffeWorkloadAPIClient(conn)
	fetch := func(md ...string) (*workload.X509SVIDResponse, error) {
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), metadata.Pairs(md...)), 10*time.Second)
		defer cancel()
		stream, err := client.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	if r, err := fetch("workload.spiffe.io", "true"); err != nil || len(r.GetSvids()) != 1 {
		t.Errorf("control: got %v, want one SVID", err)
	}
	for _, md := range [][]string{nil, {"workload.spiffe.io", "false"}, {"workload.spiffe.io", ""}, {"workload.spiffe.io", "true", "workload.spiffe.io", "true"}} {
		if _, err := fetch(md...); status.Code(err) != codes.InvalidArgument {
			t.Errorf("metadata %q: got %v, want %s", md, err, codes.InvalidArgument)
		}
	}
	api.Withdraw()
	_, err = fetch("workload.spiffe.io", "true")
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != "no identity issued" {
		t.Errorf("withdrawn: got %v, want %s, no identity issued", err, codes.PermissionDenied)
	}
	if _, err := client.FetchJWTSVID(t.Context(), &workload.JWTSVIDRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("asking for a JWT-SVID: got %v, want %s", err, codes.Unimplemented)
	}
}
