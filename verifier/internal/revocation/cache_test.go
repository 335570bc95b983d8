// SPDX-License-Identifier: Apache-2.0

package revocation_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/revocation"
	"github.com/assayd/assay/verifier/revocationtest"
)

// logBuffer is where a logger writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.b.String(), "\n"), "\n")
}

// process is a checker with a folder, until it is stopped.
type process struct {
	*revocation.Checker
	cache *revocation.Cache
	log   *logBuffer
}

func start(t *testing.T, folder string, fetch revocation.Fetch, change func(*revocation.CacheConfig)) *process {
	t.Helper()
	p := &process{log: &logBuffer{}}
	cfg := revocation.CacheConfig{Folder: folder, Log: slog.New(slog.NewTextHandler(p.log, nil))}
	if change != nil {
		change(&cfg)
	}
	p.cache = revocation.NewCache(cfg)
	var err error
	if p.Checker, err = revocation.New(revocation.Config{Fetch: fetch, Cache: p.cache}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Checker.Close(); _ = p.cache.Close() })
	return p
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	p.Checker.Close()
	if err := p.cache.Close(); err != nil {
		t.Fatal(err)
	}
}

// files lists the files of a folder by kind.
func files(t *testing.T, folder, kind string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*"+kind))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func refuseAll(context.Context, string, string, string, []byte, int64) ([]byte, error) {
	return nil, errors.New("there is no network")
}

func TestRestart(t *testing.T) {
	for _, kind := range []string{".ocsp", ".crl"} {
		t.Run(kind, func(t *testing.T) {
			p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoCRL = kind == ".crl", kind != ".crl" })
			leaf := issue(t, p, nil)
			folder := filepath.Join(t.TempDir(), "a", "b")
			fetch := revocation.GuardedFetch([]string{p.Host()})
			one := start(t, folder, fetch, nil)
			if _, err := check(t, one.Checker, p.Chain(leaf), revocation.Stapled{}); err != nil {
				t.Fatal(err)
			}
			one.stop(t)
			if got := files(t, folder, kind); len(got) != 2 {
				t.Fatalf("got files %q, want two", got)
			}
			two := start(t, folder, refuseAll, nil)
			if _, err := check(t, two.Checker, p.Chain(leaf), revocation.Stapled{}); err != nil {
				t.Errorf("after a restart: %v", err)
			}
			// It ends with nextUpdate, also in memory.
			_, err := two.Check(t.Context(), p.Chain(leaf), now.Add(25*time.Hour), revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
			wantCode(t, err, verdict.RevocationUnavailable)
			two.stop(t)

			// Each file is verified again, and a changed one is as none.
			for _, f := range files(t, folder, kind) {
				b := bytesOf(t)(os.ReadFile(f))
				b[len(b)-1] ^= 1
				if err := os.WriteFile(f, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			three := start(t, folder, refuseAll, nil)
			_, err = check(t, three.Checker, p.Chain(leaf), revocation.Stapled{})
			wantCode(t, err, verdict.RevocationUnavailable)
			if got := three.log.lines(); len(got) != 1 || !strings.Contains(got[0], "level=WARN") {
				t.Errorf("got log %q, want one warning", got)
			}
			three.stop(t)
			four := start(t, folder, fetch, nil)
			if _, err = check(t, four.Checker, p.Chain(leaf), revocation.Stapled{}); err != nil {
				t.Errorf("with a network: %v", err)
			}
		})
	}
}

// Files of one certificate in the place of those of another say nothing.
func TestSwappedFiles(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoCRL = true })
	good, bad := issue(t, p, nil), issue(t, p, nil)
	p.Revoke(bad, ofCompromise)
	folder := t.TempDir()
	fetch := revocation.GuardedFetch([]string{p.Host()})
	one := start(t, folder, fetch, nil)
	if _, err := check(t, one.Checker, p.Chain(good), revocation.Stapled{}); err != nil {
		t.Fatal(err)
	}
	one.stop(t)
	before := files(t, folder, ".ocsp")
	two := start(t, folder, fetch, nil)
	_, err := check(t, two.Checker, p.Chain(bad), revocation.Stapled{})
	wantCode(t, err, verdict.RevokedCertificate)
	two.stop(t)
	for _, f := range files(t, folder, ".ocsp") {
		if !slices.Contains(before, f) { // the bad one's
			for _, good := range before {
				if err := os.WriteFile(f, bytesOf(t)(os.ReadFile(good)), 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := check(t, start(t, folder, refuseAll, nil).Checker, p.Chain(bad), revocation.Stapled{})
				wantCode(t, err, verdict.RevocationUnavailable)
			}
		}
	}
}

// An old list is known by its number after a restart too, and what was revoked stays
// so after its list has ended.
func TestRestartKeepsNumber(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	leaf, gone := issue(t, p, nil), issue(t, p, nil)
	p.Revoke(gone, ofCompromise)
	folder := t.TempDir()
	fetch := revocation.GuardedFetch([]string{p.Host()})
	one := start(t, folder, fetch, nil)
	if _, err := check(t, one.Checker, p.Chain(leaf), revocation.Stapled{}); err != nil {
		t.Fatal(err)
	}
	one.stop(t)
	later := now.Add(25 * time.Hour)
	for _, tc := range []struct {
		number int64
		want   verdict.Code
	}{{9, verdict.RevocationUnavailable}, {10, ""}} {
		p.OnCRL = func(l *x509.RevocationList) {
			l.Number, l.NextUpdate, l.RevokedCertificateEntries = big.NewInt(tc.number), now.Add(48*time.Hour), nil
		}
		st := revocation.Stapled{CRLs: [][]byte{bytesOf(t)(p.CRL(p.Issuer, func(l *x509.RevocationList) { l.NextUpdate = now.Add(48 * time.Hour) }))}}
		c := start(t, folder, fetch, nil)
		_, err := c.Check(t.Context(), p.Chain(leaf), later, revocation.SigningTime{}, revocation.Hard, st)
		wantCode(t, err, tc.want)
		if tc.number == 9 {
			_, err = c.Check(t.Context(), p.Chain(gone), later, revocation.SigningTime{}, revocation.Soft, st)
			wantCode(t, err, verdict.RevokedCertificate)
		}
		c.stop(t)
	}
}

// TestR42 takes the folder away in every way, and asks for the same answers as
// without one, and one warning.
func TestR42(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	leaf, gone := issue(t, p, nil), issue(t, p, nil)
	p.Revoke(gone, ofCompromise)
	fetch := revocation.GuardedFetch([]string{p.Host()})
	answers := func(t *testing.T, c *process) {
		t.Helper()
		_, err := check(t, c.Checker, p.Chain(leaf), revocation.Stapled{})
		wantCode(t, err, "")
		_, err = check(t, c.Checker, p.Chain(gone), revocation.Stapled{})
		wantCode(t, err, verdict.RevokedCertificate)
	}
	for _, tc := range []struct {
		name string
		take func(t *testing.T, folder string)
	}{
		{"read-only", func(t *testing.T, folder string) {
			if os.Getuid() == 0 {
				t.Skip("root writes anyway")
			}
			if err := os.Chmod(folder, 0o500); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(folder, 0o700) })
		}},
		{"gone", func(t *testing.T, folder string) {
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "cache")
			c := start(t, folder, fetch, nil)
			tc.take(t, folder)
			answers(t, c)
			c.stop(t)
			if got := c.log.lines(); len(got) != 1 || !strings.Contains(got[0], "level=WARN") {
				t.Errorf("got log %q, want one warning", got)
			}
		})
	}
	t.Run("a file in its place", func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "cache")
		if err := os.WriteFile(folder, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := start(t, folder, fetch, nil)
		answers(t, c)
		if got := c.log.lines(); len(got) != 1 || !strings.Contains(got[0], "level=WARN") {
			t.Errorf("got log %q, want one warning", got)
		}
	})
	t.Run("full", func(t *testing.T) {
		folder := t.TempDir()
		c := start(t, folder, fetch, func(c *revocation.CacheConfig) { c.FolderBytes = 1 })
		answers(t, c)
		c.stop(t)
		if got := files(t, folder, ""); len(got) != 0 {
			t.Errorf("got files %q, want none", got)
		}
	})
	t.Run("nothing can be made", func(t *testing.T) {
		c := start(t, t.TempDir(), fetch, nil)
		revocation.TestingOnlyTemporaryName(c.cache, func() string { return "none/new" })
		answers(t, c)
		c.stop(t)
		if got := c.log.lines(); len(got) != 1 || !strings.Contains(got[0], "level=WARN") {
			t.Errorf("got log %q, want one warning", got)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		// It is full half-way through the file: nothing of that is read later.
		folder := t.TempDir()
		c := start(t, folder, fetch, nil)
		revocation.TestingOnlyFlush(c.cache, func(f *os.File) error {
			return errors.Join(f.Truncate(100), syscall.ENOSPC)
		})
		answers(t, c)
		c.stop(t)
		if got := c.log.lines(); len(got) != 1 || !strings.Contains(got[0], "level=WARN") {
			t.Errorf("got log %q, want one warning", got)
		}
		if got := files(t, folder, ""); len(got) != 0 {
			t.Errorf("got files %q, want none", got)
		}
		answers(t, start(t, folder, fetch, nil))
	})
	t.Run("half-written", func(t *testing.T) {
		folder := t.TempDir()
		c := start(t, folder, fetch, nil)
		answers(t, c)
		c.stop(t)
		left := filepath.Join(folder, "new-0011223344556677")
		if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, f := range files(t, folder, ".crl") {
			if err := os.Truncate(f, 100); err != nil {
				t.Fatal(err)
			}
		}
		c = start(t, folder, fetch, nil)
		answers(t, c)
		if _, err := os.Stat(left); err == nil {
			t.Error("what a crash left is still there")
		}
	})
	t.Run("not a file", func(t *testing.T) {
		folder := t.TempDir()
		c := start(t, folder, fetch, nil)
		answers(t, c)
		c.stop(t)
		for _, f := range files(t, folder, ".crl") {
			if err := errors.Join(os.Remove(f), os.Symlink("/dev/zero", f)); err != nil {
				t.Fatal(err)
			}
		}
		c = start(t, folder, fetch, nil)
		answers(t, c)
		if got := c.log.lines(); len(got) != 1 || !strings.Contains(got[0], "or is not a file") {
			t.Errorf("got log %q, want one line that says so", got)
		}
	})
	t.Run("a large file", func(t *testing.T) {
		folder := t.TempDir()
		c := start(t, folder, fetch, nil)
		answers(t, c)
		c.stop(t)
		for _, f := range files(t, folder, ".crl") {
			if err := os.Truncate(f, revocation.MaxCRLBytes+1); err != nil {
				t.Fatal(err)
			}
		}
		c = start(t, folder, fetch, nil)
		answers(t, c)
		if got, want := c.log.lines(), fmt.Sprintf("has %d bytes", revocation.MaxCRLBytes+1); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got log %q, want one line that says %q", got, want)
		}
	})
}

func TestCacheBounds(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoCRL = true })
	folder := t.TempDir()
	one := bytesOf(t)(p.OCSP(issue(t, p, nil), nil))
	bound := int64(4 * len(one))
	c := start(t, folder, revocation.GuardedFetch([]string{p.Host()}), func(c *revocation.CacheConfig) { c.FolderBytes, c.MemoryBytes = bound, bound })
	for range 10 {
		if _, err := check(t, c.Checker, p.Chain(issue(t, p, nil)), revocation.Stapled{}); err != nil {
			t.Fatal(err)
		}
		if got := revocation.MemoryBytes(c.cache); got > bound {
			t.Errorf("got %d bytes in memory, want at most %d", got, bound)
		}
	}
	c.stop(t)
	var total int64
	found := files(t, folder, ".ocsp")
	for _, f := range found {
		i, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += i.Size()
	}
	if total > bound || len(found) < 2 {
		t.Errorf("got %d files of %d bytes, want some, and at most %d bytes", len(found), total, bound)
	}
}

// Sources that do not help are asked again after a while.
func TestBackOff(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoServer = true, true })
	leaf := issue(t, p, nil)
	var asked atomic.Int32
	broken := true
	c := newChecker(t, p, func(c *revocation.Config) {
		c.Fetch = func(_ context.Context, _, address, _ string, _ []byte, _ int64) ([]byte, error) {
			asked.Add(1)
			if broken {
				return nil, errors.New("not today")
			}
			if address == p.CRLURL("root") {
				return p.CRL(p.Issuer, nil)
			}
			return p.CRL(leaf, nil)
		}
	})
	for _, step := range []struct {
		at    time.Duration
		fixed bool
		asked int32
		want  verdict.Code
	}{
		{0, false, 2, verdict.RevocationUnavailable},
		{29 * time.Second, true, 2, verdict.RevocationUnavailable},
		{30 * time.Second, true, 4, ""},
		{31 * time.Second, true, 4, ""},
	} {
		broken = !step.fixed
		_, err := c.Check(t.Context(), p.Chain(leaf), now.Add(step.at), revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
		wantCode(t, err, step.want)
		if got := asked.Load(); got != step.asked {
			t.Errorf("after %s: got %d requests, want %d", step.at, got, step.asked)
		}
	}
}

// What is asked at the same time is asked once, and a caller who leaves takes
// nothing with him.
func TestOneFlight(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoServer = true, true })
	leaf := issue(t, p, nil)
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c, err := revocation.New(revocation.Config{Fetch: func(ctx context.Context, _, address, _ string, _ []byte, _ int64) ([]byte, error) {
			asked.Add(1)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if address == p.CRLURL("root") {
				return p.CRL(p.Issuer, nil)
			}
			return p.CRL(leaf, nil)
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				ctx := t.Context()
				want := verdict.Code("")
				if i == 0 { // the first to come leaves before the answer
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
					defer cancel()
					want = verdict.RevocationUnavailable
				} else {
					time.Sleep(10 * time.Millisecond)
				}
				_, err := c.Check(ctx, p.Chain(leaf), now, revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
				wantCode(t, err, want)
			})
		}
		wg.Wait()
		if got := asked.Load(); got != 2 {
			t.Errorf("got %d requests, want one for each list", got)
		}
	})
}

// A responder that hangs is waited for two seconds, a list five.
func TestTimeouts(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoServer = true })
	leaf := issue(t, p, nil)
	synctest.Test(t, func(t *testing.T) {
		c, err := revocation.New(revocation.Config{Fetch: func(ctx context.Context, _, _, _ string, _ []byte, _ int64) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		begin := time.Now()
		_, err = c.Check(t.Context(), p.Chain(leaf), now, revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
		wantCode(t, err, verdict.RevocationUnavailable)
		if got := time.Since(begin); got != 7*time.Second {
			t.Errorf("got %s, want 2 s and 5 s", got)
		}
	})
}

// Close ends what hangs, and a panic of a fetch is a failure.
func TestClose(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoServer = true })
	leaf := issue(t, p, nil)
	synctest.Test(t, func(t *testing.T) {
		c, err := revocation.New(revocation.Config{Fetch: func(ctx context.Context, _, _, contentType string, _ []byte, _ int64) ([]byte, error) {
			if contentType != "" {
				panic("no")
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Check(t.Context(), p.Chain(leaf), now, revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
			wantCode(t, err, verdict.RevocationUnavailable)
		})
		synctest.Wait()
		c.Close()
		wg.Wait()
		_, err = c.Check(t.Context(), p.Chain(leaf), now, revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
		wantCode(t, err, verdict.RevocationUnavailable)
		wantText(t, err, "the checker is closed")
	})
}

// Evidence that is an hour old is renewed while it is relied on.
func TestRefresh(t *testing.T) {
	for _, kind := range []string{"ocsp", "crl"} {
		t.Run(kind, func(t *testing.T) {
			p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoCRL = kind != "ocsp", kind != "crl" })
			leaf := issue(t, p, nil)
			c := newChecker(t, p, nil)
			at := func(d time.Duration) error {
				_, err := c.Check(t.Context(), p.Chain(leaf), now.Add(d), revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
				revocation.Settle(c)
				return err
			}
			wantCode(t, at(0), "")
			p.Revoke(leaf, ofCompromise)
			wantCode(t, at(time.Hour), "")
			wantCode(t, at(time.Hour+time.Second), "") // relies on what there is, and asks
			wantCode(t, at(time.Hour+2*time.Second), verdict.RevokedCertificate)
		})
	}
}
