// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// asked returns what was asked for since the last call, sorted, with names in
// place of the digests.
func (w *world) asked(names map[verdict.Digest]string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, p := range w.paths {
		p = strings.TrimPrefix(p, "/v2/acme/app/")
		for d, name := range names {
			p = strings.ReplaceAll(strings.ReplaceAll(p, string(d), name), "sha256-"+d.Hex(), name)
		}
		out = append(out, p)
	}
	w.paths = nil
	slices.Sort(out)
	return out
}

// verifyWith verifies the image with nothing known but what r knows.
func (w *world) verifyWith(r *verifier.Registry) {
	w.t.Helper()
	v := newVerifier(w.t, verifier.Config{Policy: oneOff(w.t, keyless()), Roots: w.roots, Source: r})
	if ok, code, _ := verify(w.t.Context(), w.t, v, w.image, now); !ok {
		w.t.Errorf("not passed: %q", code)
	}
}

// TestRequestCounts holds the table of docs/registry.md.
func TestRequestCounts(t *testing.T) {
	names := func(t *testing.T, w *world) map[verdict.Digest]string {
		t.Helper()
		_, body, err := w.registry(verifier.RegistryConfig{}).Manifest(t.Context(), w.image.Repository, w.image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		d := digestsIn(t, body)
		w.asked(nil)
		return map[verdict.Digest]string{w.image.Digest: "IMAGE", d[0]: "CONFIG"}
	}
	t.Run("bundle", func(t *testing.T) {
		w := newWorld(t, true)
		b := w.bundle(w.image, good())
		if err := sigstoretest.Attach(t.Context(), w.store, repo, verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: 1}, b, "", false); err != nil {
			t.Fatal(err)
		}
		n := names(t, w)
		n[verdict.SHA256(b)] = "BUNDLE"
		n[digestsIn(t, referrersOf(t, w))[0]] = "SIGNATURE"
		w.asked(nil)
		r := w.registry(verifier.RegistryConfig{})
		w.verifyWith(r)
		changing := []string{"manifests/IMAGE", "manifests/IMAGE.sig", "referrers/IMAGE"} // by tag and list
		cold := []string{"blobs/BUNDLE", "blobs/CONFIG", "manifests/IMAGE", "manifests/IMAGE", "manifests/IMAGE.sig", "manifests/SIGNATURE", "referrers/IMAGE"}
		if got := w.asked(n); !slices.Equal(got, cold) {
			t.Errorf("cold: got %q, want %q", got, cold)
		}
		// The second time what digests name is there.
		w.verifyWith(r)
		if got := w.asked(n); !slices.Equal(got, changing) {
			t.Errorf("again: got %q, want %q", got, changing)
		}
	})
	t.Run("legacy", func(t *testing.T) {
		w := newWorld(t, true)
		l := w.layer(w.image, good())
		w.attachLayers(w.image, l)
		n := names(t, w)
		n[verdict.SHA256(l.Payload)] = "PAYLOAD"
		w.verifyWith(w.registry(verifier.RegistryConfig{}))
		cold := []string{"blobs/CONFIG", "blobs/PAYLOAD", "manifests/IMAGE", "manifests/IMAGE", "manifests/IMAGE.sig", "referrers/IMAGE"}
		if got := w.asked(n); !slices.Equal(got, cold) {
			t.Errorf("got %q, want %q", got, cold)
		}
	})
	t.Run("index", func(t *testing.T) {
		w := newWorld(t, true)
		d, err := sigstoretest.PushIndex(t.Context(), w.store, repo, "", []byte("index"))
		if err != nil {
			t.Fatal(err)
		}
		w.image.Digest = d
		w.attachLayers(w.image, w.layer(w.image, good()))
		w.asked(nil)
		w.verifyWith(w.registry(verifier.RegistryConfig{}))
		if got := w.asked(nil); len(got) != 5+2*2 { // as of an image without its configuration, and two for each platform
			t.Errorf("%d requests: %q", len(got), got)
		}
	})
	t.Run("token", func(t *testing.T) {
		w := newWorld(t, true)
		w.attachLayers(w.image, w.layer(w.image, good()))
		w.needToken()
		w.asked(nil)
		w.verifyWith(w.registry(verifier.RegistryConfig{}))
		if got := w.asked(nil); len(got) != 6+2 { // one challenge, one token
			t.Errorf("%d requests: %q", len(got), got)
		}
	})
}

// digestsIn returns the digests in a document, in order.
func digestsIn(t *testing.T, body []byte) (out []verdict.Digest) {
	t.Helper()
	for part := range strings.SplitSeq(string(body), `"`) {
		if d, err := verdict.ParseDigest(part); err == nil {
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no digests in %s", body)
	}
	return out
}

// needToken lets in who has a token, and gives one to everybody.
func (w *world) needToken() {
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			_, _ = io.WriteString(rw, `{"token":"good"}`)
		case r.Header.Get("Authorization") == "Bearer good":
			return false
		default:
			rw.Header().Set("WWW-Authenticate", `Bearer realm="http://`+w.host+`/token",service="test"`)
			rw.WriteHeader(http.StatusUnauthorized)
		}
		return true
	})
}

func TestOneToken(t *testing.T) {
	w := newWorld(t, true)
	w.needToken()
	r := w.registry(verifier.RegistryConfig{})
	w.asked(nil)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, _, _, err := r.Tagged(t.Context(), w.image.Repository, fmt.Sprint("tag", i))
			if verdict.CodeOf(err) != verdict.ImageNotFound {
				t.Errorf("got %v, want %q", err, verdict.ImageNotFound)
			}
		})
	}
	wg.Wait()
	tokens := 0
	for _, p := range w.asked(nil) {
		if p == "/token" {
			tokens++
		}
	}
	if tokens != 1 {
		t.Errorf("%d tokens for ten at once, want 1", tokens)
	}
}

func TestHTTP2(t *testing.T) {
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: w.host})
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	var other, connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			other.Add(1)
		}
		proxy.ServeHTTP(rw, r)
	}))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	w.image.Repository = strings.TrimPrefix(s.URL, "https://") + "/acme/app"
	r := w.registry(verifier.RegistryConfig{RootCAs: pool})
	w.requests.Store(0)
	w.verifyWith(r)
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() { _, _, _, _ = r.Tagged(t.Context(), w.image.Repository, fmt.Sprint("tag", i)) })
	}
	wg.Wait()
	if n := w.requests.Load(); n < 36 || other.Load() != 0 {
		t.Errorf("%d requests, of which %d not by HTTP/2", n, other.Load())
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// TestConditional: a registry that gives ETags is asked whether they still hold.
func TestConditional(t *testing.T) {
	w := newWorld(t, true)
	b := w.bundle(w.image, good())
	d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: 1}
	if err := sigstoretest.Attach(t.Context(), w.store, repo, d, b, "", true); err != nil {
		t.Fatal(err)
	}
	var plain, unchanged atomic.Int64
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || r.Header.Get("X-Direct") != "" {
			return false
		}
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+w.host+r.URL.Path, nil)
		if err != nil {
			panic(err)
		}
		req.Header.Set("X-Direct", "1")
		resp, err := testClient.Do(req)
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close() //nolint:errcheck // the body was read
		body, _ := io.ReadAll(resp.Body)
		etag := `"` + string(verdict.SHA256(body)) + `"`
		rw.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			unchanged.Add(1)
			rw.WriteHeader(http.StatusNotModified)
			return true
		}
		plain.Add(1)
		rw.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		rw.WriteHeader(resp.StatusCode)
		_, _ = rw.Write(body)
		return true
	})
	r := w.registry(verifier.RegistryConfig{})
	w.verifyWith(r)
	if plain.Load() == 0 || unchanged.Load() != 0 {
		t.Fatalf("the first time: %d answers, %d unchanged", plain.Load(), unchanged.Load())
	}
	plain.Store(0)
	w.verifyWith(r)
	if plain.Load() != 1 || unchanged.Load() != 2 { // there is no .sig; the tag and the list are as they were
		t.Errorf("the second time: %d answers, %d unchanged", plain.Load(), unchanged.Load())
	}
	// What changes is seen.
	before, _, _, err := r.Tagged(t.Context(), w.image.Repository, "sha256-"+w.image.Digest.Hex())
	if err != nil {
		t.Fatal(err)
	}
	o := good()
	o.Subject += "2"
	if err := sigstoretest.Attach(t.Context(), w.store, repo, d, w.bundle(w.image, o), "", true); err != nil {
		t.Fatal(err)
	}
	after, _, body, err := r.Tagged(t.Context(), w.image.Repository, "sha256-"+w.image.Digest.Hex())
	if err != nil || after == before || after != verdict.SHA256(body) {
		t.Errorf("after a change: %s, %v, before %s", after, err, before)
	}
	if list, err := r.Referrers(t.Context(), w.image.Repository, w.image.Digest); err != nil || len(list) != 2 {
		t.Errorf("after a change: %d referrers, %v", len(list), err)
	}
	// That nothing changed is no answer to who does not know what was.
	w.on(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusNotModified)
		return true
	})
	w.want(verifier.RegistryConfig{}, verdict.RegistryUnreachable)
}

// TestContentIsShared: of those who want the same at once one asks.
func TestContentIsShared(t *testing.T) {
	w := newWorld(t, true)
	release := make(chan struct{})
	entered := make(chan struct{}, 100)
	w.on(func(http.ResponseWriter, *http.Request) bool { entered <- struct{}{}; <-release; return false })
	r := w.registry(verifier.RegistryConfig{})
	missing := verdict.SHA256([]byte("missing"))
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{}, 60)
	for range 20 {
		for _, d := range []verdict.Digest{w.image.Digest, missing} {
			wg.Go(func() {
				started <- struct{}{}
				_, body, err := r.Manifest(t.Context(), w.image.Repository, d)
				if d == missing && verdict.CodeOf(err) != verdict.ImageNotFound || d != missing && (err != nil || verdict.SHA256(body) != d) {
					t.Errorf("%s: %v", d.Short(), err)
				}
			})
		}
		wg.Go(func() {
			started <- struct{}{}
			// Who comes after the answer has it without asking.
			if _, _, err := r.Manifest(ctx, w.image.Repository, w.image.Digest); err != nil && verdict.CodeOf(err) != verdict.RegistryTimeout {
				t.Errorf("who left: %v", err)
			}
		})
	}
	for range 60 {
		<-started
	}
	<-entered
	<-entered
	cancel() // maybe of the one who asked: the others are not harmed
	close(release)
	wg.Wait()
	// Those who left may have been the ones who asked; then the others ask for
	// themselves, as far as they waited for that one.
	first := w.requests.Load()
	if _, _, err := r.Manifest(t.Context(), w.image.Repository, w.image.Digest); err != nil || w.requests.Load() != first {
		t.Errorf("later: %v, %d requests more", err, w.requests.Load()-first)
	}
	// Another repository on the same host is another question: it may not have it.
	if _, _, err := r.Manifest(t.Context(), w.host+"/acme/other", w.image.Digest); verdict.CodeOf(err) != verdict.ImageNotFound {
		t.Errorf("another repository: %v", err)
	}
}

// TestContentIsBounded: what is kept has at most so many bytes, and what is
// large has no place there.
func TestContentIsBounded(t *testing.T) {
	const limit = 64 << 10
	large := bytes.Repeat([]byte(" "), limit/8)
	var asked atomic.Int64
	bodies := make(map[string][]byte)
	add := func(b []byte) verdict.Digest {
		d := verdict.SHA256(b)
		bodies[string(d)] = b
		return d
	}
	var all []verdict.Digest
	for i := range 100 {
		all = append(all, add([]byte(fmt.Sprintf("%02000d", i))))
	}
	big := add(large)
	host := server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = rw.Write(bodies[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]])
	}))
	r, err := verifier.NewRegistry(verifier.RegistryConfig{PlainHTTP: []string{host}, ContentBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	get := func(d verdict.Digest) int64 {
		t.Helper()
		before := asked.Load()
		b, err := r.Blob(t.Context(), host+"/acme/app", d, int64(len(bodies[string(d)])), limit)
		if err != nil || verdict.SHA256(b) != d {
			t.Fatalf("%s: %v", d, err)
		}
		return asked.Load() - before
	}
	for _, d := range all {
		get(d)
		if n := r.TestingOnlyContentBytes(); n <= 0 || n > limit {
			t.Fatalf("%d bytes are kept, want at most %d", n, limit)
		}
	}
	if get(all[99]) != 0 || get(all[0]) != 1 {
		t.Error("the last one was asked for again, or the first was not")
	}
	for range 2 {
		if get(big) != 1 {
			t.Error("what is large was kept")
		}
	}
	_, err = verifier.NewRegistry(verifier.RegistryConfig{ContentBytes: -1})
	wantMisuse(t, "negative", err, "content")
}

// TestBlobLength: the size is part of what a descriptor says.
func TestBlobLength(t *testing.T) {
	w := newWorld(t, true)
	k := newKit(t)
	content := []byte("content")
	for _, st := range []sigstoretest.Store{w.store, k.store} {
		if err := st.PutBlob(t.Context(), repo, content); err != nil {
			t.Fatal(err)
		}
	}
	for name, src := range map[string]verifier.Source{"registry": w.registry(verifier.RegistryConfig{}), "layout": k.source()} {
		for _, tt := range []struct {
			size int64
			want verdict.Code
		}{{7, ""}, {8, verdict.InputMalformed}, {6, verdict.InputLimit}, {-1, verdict.InputMalformed}, {1 << 20, verdict.InputLimit}} {
			if tt.size == 6 && name == "registry" {
				continue // it is known from before, with its length
			}
			if _, err := src.Blob(t.Context(), w.image.Repository, verdict.SHA256(content), tt.size, 1<<10); verdict.CodeOf(err) != tt.want {
				t.Errorf("%s, %d bytes: got %v, want %q", name, tt.size, err, tt.want)
			}
		}
	}
}

// TestPerHost: no host is asked more at a time than it should have to bear, and
// one that hangs holds up nobody else.
func TestPerHost(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	entered := make(chan struct{}, 10*verifier.MaxPerHost)
	host := server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		entered <- struct{}{}
		<-release
		running.Add(-1)
		http.NotFound(rw, r)
	}))
	other := server(t, http.NotFoundHandler())
	r, err := verifier.NewRegistry(verifier.RegistryConfig{PlainHTTP: []string{host, other}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	var wg sync.WaitGroup
	for i := range 4 * verifier.MaxPerHost {
		wg.Go(func() {
			if _, _, _, err := r.Tagged(t.Context(), host+"/acme/app", fmt.Sprint("tag", i)); verdict.CodeOf(err) != verdict.ImageNotFound {
				t.Errorf("got %v", err)
			}
		})
	}
	for range verifier.MaxPerHost {
		<-entered
	}
	if _, _, _, err := r.Tagged(t.Context(), other+"/acme/app", "tag"); verdict.CodeOf(err) != verdict.ImageNotFound {
		t.Errorf("another host: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, _, err := r.Tagged(ctx, host+"/acme/app", "tag"); verdict.CodeOf(err) != verdict.RegistryTimeout {
		t.Errorf("no place in time: got %v, want %q", err, verdict.RegistryTimeout)
	}
	close(release)
	wg.Wait()
	if n := most.Load(); n != verifier.MaxPerHost {
		t.Errorf("%d requests at a time, want %d", n, verifier.MaxPerHost)
	}
}

// TestRetryAfter: a short one is waited for, a long one told at once.
func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		status  int
		after   string
		within  time.Duration
		want    verdict.Code
		asked   int64
		carries time.Duration
	}{
		{429, "1", 10 * time.Second, "", 2, 0},
		{503, "1", 10 * time.Second, "", 2, 0},
		{429, "", 10 * time.Second, "", 2, 0},
		{429, "9", 8 * time.Second, verdict.RegistryRateLimited, 1, 9 * time.Second},
		{503, "9", 8 * time.Second, verdict.RegistryUnreachable, 1, 9 * time.Second},
		{429, "60", 10 * time.Second, verdict.RegistryRateLimited, 1, time.Minute},
		{429, "x", 10 * time.Second, "", 2, 0},
	} {
		t.Run(fmt.Sprint(tt.status, tt.after, tt.within), func(t *testing.T) {
			t.Parallel() // some of it waits
			w := newWorld(t, true)
			var asked atomic.Int64
			w.on(func(rw http.ResponseWriter, _ *http.Request) bool {
				if asked.Add(1) > 1 {
					return false
				}
				if tt.after != "" {
					rw.Header().Set("Retry-After", tt.after)
				}
				rw.WriteHeader(tt.status)
				return true
			})
			ctx, cancel := context.WithTimeout(t.Context(), tt.within)
			defer cancel()
			_, _, err := w.registry(verifier.RegistryConfig{}).Manifest(ctx, w.image.Repository, w.image.Digest)
			if verdict.CodeOf(err) != tt.want || asked.Load() != tt.asked {
				t.Errorf("got %v after %d requests, want %q after %d", err, asked.Load(), tt.want, tt.asked)
			}
			if ctx.Err() != nil {
				t.Error("there was no time left to say so")
			}
			if f, ok := errors.AsType[*verdict.Failure](err); ok && f.RetryAfter != tt.carries {
				t.Errorf("to try again after %s, want %s", f.RetryAfter, tt.carries)
			}
		})
	}
}

// TestBrokenConnections: what breaks is tried again, three times in all.
func TestBrokenConnections(t *testing.T) {
	for broken, want := range map[int64]verdict.Code{2: "", 3: verdict.RegistryUnreachable} {
		w := newWorld(t, true)
		var asked atomic.Int64
		w.on(func(rw http.ResponseWriter, _ *http.Request) bool {
			if asked.Add(1) > broken {
				return false
			}
			if c, _, err := http.NewResponseController(rw).Hijack(); err == nil {
				_ = c.Close()
			}
			return true
		})
		_, _, err := w.registry(verifier.RegistryConfig{}).Manifest(t.Context(), w.image.Repository, w.image.Digest)
		if verdict.CodeOf(err) != want || asked.Load() != 3 {
			t.Errorf("%d broken: got %v after %d requests, want %q", broken, err, asked.Load(), want)
		}
	}
}

// TestTimeToSayWhy: what a registry asks to wait for is not waited for beyond the
// time of the caller, who would hear only that it is over.
func TestTimeToSayWhy(t *testing.T) {
	w := newWorld(t, true)
	w.on(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Retry-After", "3")
		rw.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: w.registry(verifier.RegistryConfig{})})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := v.Verify(ctx, verifier.Request{Image: w.image, At: now})
	if f, ok := errors.AsType[*verdict.Failure](err); !ok || f.Reason.Code != verdict.RegistryRateLimited || f.RetryAfter != 3*time.Second || ctx.Err() != nil {
		t.Errorf("got %v, want %q after 3 s, in time", err, verdict.RegistryRateLimited)
	}
}

// TestWhatFollowsARedirect: the validator of one place says nothing to another,
// and what somebody dribbles who has said no is not waited for.
func TestWhatFollowsARedirect(t *testing.T) {
	w := newWorld(t, true)
	var moved, leaked atomic.Int64
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/manifests/v1") && moved.Load() == 0:
			rw.Header().Set("ETag", `"one"`)
			_, _ = io.WriteString(rw, "{}")
		case strings.HasSuffix(r.URL.Path, "/manifests/v1"):
			if r.Header.Get("If-None-Match") != `"one"` {
				t.Error("the second question was not conditional")
			}
			http.Redirect(rw, r, "/moved", http.StatusTemporaryRedirect)
		case r.URL.Path == "/moved":
			if r.Header.Get("If-None-Match") != "" {
				leaked.Add(1)
			}
			_, _ = io.WriteString(rw, "[]")
		default:
			return dribble(http.StatusNotFound)(rw, r)
		}
		return true
	})
	r := w.registry(verifier.RegistryConfig{RequestTimeout: time.Minute})
	for i, want := range []string{"{}", "[]"} {
		moved.Store(int64(i))
		if _, _, body, err := r.Tagged(t.Context(), w.image.Repository, "v1"); err != nil || string(body) != want {
			t.Errorf("got %q, %v, want %q", body, err, want)
		}
	}
	if leaked.Load() != 0 {
		t.Error("the other place was told the validator")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, _, err := r.Manifest(ctx, w.image.Repository, w.image.Digest); verdict.CodeOf(err) != verdict.ImageNotFound || ctx.Err() != nil {
		t.Errorf("got %v (%v), want %q in time", err, ctx.Err(), verdict.ImageNotFound)
	}
}
