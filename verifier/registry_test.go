// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// A world is a registry on loopback with a fault script in front of it.
type world struct {
	*kit
	host string
	// fault answers a request and returns true, or returns false.
	fault    atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	requests atomic.Int64
	mu       sync.Mutex
	paths    []string
}

func newWorld(t testing.TB, referrers bool) *world {
	t.Helper()
	w := &world{kit: &kit{t: t}}
	w.sig, w.roots = testSigstore(t)
	h := registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0)))
	w.host = server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.requests.Add(1)
		w.mu.Lock()
		w.paths = append(w.paths, r.URL.Path)
		w.mu.Unlock()
		if f := w.fault.Load(); f != nil && (*f)(rw, r) {
			return
		}
		h.ServeHTTP(rw, r)
	}))
	w.store = &sigstoretest.Registry{URL: "http://" + w.host}
	w.image = w.push("hello")
	w.image.Repository = w.host + "/acme/app"
	return w
}

func (w *world) on(f func(http.ResponseWriter, *http.Request) bool) { w.fault.Store(&f) }

func (w *world) registry(cfg verifier.RegistryConfig) *verifier.Registry {
	w.t.Helper()
	cfg.PlainHTTP = append(cfg.PlainHTTP, w.host)
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = time.Minute
	}
	r, err := verifier.NewRegistry(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(r.Close)
	return r
}

func (w *world) check(p *verifier.Policy, cfg verifier.RegistryConfig) (bool, verdict.Code, error) {
	w.t.Helper()
	v := newVerifier(w.t, verifier.Config{Policy: p, Roots: w.roots, Source: w.registry(cfg)})
	res, err := v.Verify(w.t.Context(), verifier.Request{Image: w.image, At: now})
	if err != nil {
		return false, verdict.CodeOf(err), err
	}
	if len(res.Reasons) > 0 {
		return res.Passed, res.Reasons[0].Code, nil
	}
	return res.Passed, "", nil
}

func (w *world) want(cfg verifier.RegistryConfig, want verdict.Code) {
	w.t.Helper()
	_ = w.wantError(cfg, want)
}

// wantError also returns what came in place of a result.
func (w *world) wantError(cfg verifier.RegistryConfig, want verdict.Code) error {
	w.t.Helper()
	ok, code, err := w.check(oneOff(w.t, keyless()), cfg)
	if ok != (want == "") || code != want {
		w.t.Errorf("passed %v with %q (%v), want %q", ok, code, err, want)
	}
	return err
}

func TestRegistryDiscovery(t *testing.T) {
	for _, api := range []bool{false, true} {
		t.Run(fmt.Sprintf("api=%v", api), func(t *testing.T) {
			w := newWorld(t, api)
			w.want(verifier.RegistryConfig{}, verdict.SigNone)
			w.attachLayers(w.image, w.layer(w.image, good()))
			w.want(verifier.RegistryConfig{}, "")
			w.image = w.push("bundle")
			w.image.Repository = w.host + "/acme/app"
			b := w.bundle(w.image, good())
			d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: 1}
			if err := sigstoretest.Attach(t.Context(), w.store, repo, d, b, "", !api); err != nil {
				t.Fatal(err)
			}
			w.want(verifier.RegistryConfig{}, "")
		})
	}
}

func TestRegistryIndex(t *testing.T) {
	w := newWorld(t, true)
	d, err := sigstoretest.PushIndex(t.Context(), w.store, repo, "v1", []byte("index"))
	if err != nil {
		t.Fatal(err)
	}
	w.image.Digest = d
	w.attachLayers(w.image, w.layer(w.image, good()))
	r := w.registry(verifier.RegistryConfig{})
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: r})
	res, err := v.Verify(t.Context(), verifier.Request{Image: w.image, At: now})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Passed || res.Index != d || len(res.Platforms) != 2 || !res.Platforms[0].ConfigComplete || !res.Platforms[1].ConfigComplete {
		t.Errorf("result: %+v", res)
	}
	res, err = v.Verify(t.Context(), verifier.Request{Image: w.image, At: now, Platforms: []string{"linux/arm64"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Platforms) != 2 || res.Platforms[0].Config != "" || res.Platforms[1].Config == "" {
		t.Errorf("one platform: %+v", res.Platforms)
	}
	got, mediaType, body, err := r.Tagged(t.Context(), w.image.Repository, "v1")
	if err != nil || got != d || mediaType != sigstoretest.TypeIndex || verdict.SHA256(body) != d {
		t.Errorf("resolving the tag: %s, %s, %v", got, mediaType, err)
	}
}

func TestRegistryFailures(t *testing.T) {
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(rw http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				rw.Header().Set(header[i], header[i+1])
			}
			rw.WriteHeader(code)
			return true
		}
	}
	only := func(part string, f func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(rw http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, part) && f(rw, r)
		}
	}
	hang := func(rw http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	for _, tt := range []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request) bool
		want  verdict.Code
	}{
		{"image 404", only("/manifests/sha256:", status(404)), verdict.ImageNotFound},
		{"image 401", status(401), verdict.RegistryUnauthorized},
		{"image 401 with basic", status(401, "WWW-Authenticate", `Basic realm="x"`), verdict.RegistryUnauthorized},
		{"image 403", status(403), verdict.RegistryUnauthorized},
		{"image 429", status(429, "Retry-After", "30"), verdict.RegistryRateLimited},
		{"image 500", status(500), verdict.RegistryUnreachable},
		{"image 418", status(418), verdict.RegistryUnreachable},
		{"image hangs", hang, verdict.RegistryTimeout},
		{"signature 401", only(".sig", status(401)), verdict.RegistryUnauthorized},
		{"signature 403", only(".sig", status(403)), verdict.RegistryUnauthorized},
		{"signature 429", only(".sig", status(429, "Retry-After", "30")), verdict.RegistryRateLimited},
		{"signature 503", only(".sig", status(503)), verdict.RegistryUnreachable},
		{"signature 404", only(".sig", status(404)), verdict.SigNone},
		{"referrers 503, good elsewhere", only("/referrers/", status(503)), ""},
		{"referrers 405, good elsewhere", only("/referrers/", status(405)), ""},
		{"referrers a web page", only("/referrers/", func(rw http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(rw, "<html>")
			return true
		}), ""},
		{"endless redirects", func(rw http.ResponseWriter, r *http.Request) bool {
			http.Redirect(rw, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
			return true
		}, verdict.RegistryUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // most of it waits
			w := newWorld(t, true)
			w.attachLayers(w.image, w.layer(w.image, good()))
			w.on(tt.fault)
			cfg := verifier.RegistryConfig{}
			if strings.Contains(tt.name, "hangs") {
				cfg.RequestTimeout = 50 * time.Millisecond
			}
			err := w.wantError(cfg, tt.want)
			if tt.name == "image hangs" && !strings.Contains(fmt.Sprint(err), "did not answer in time") {
				t.Errorf("got %v", err)
			}
			if f, ok := errors.AsType[*verdict.Failure](err); tt.want == verdict.RegistryRateLimited && (!ok || f.RetryAfter != 30*time.Second) {
				t.Errorf("got %v, want a failure to try again after 30 s", err)
			}
		})
	}
}

func TestRegistryRecovers(t *testing.T) {
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	var seen sync.Map
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if _, again := seen.LoadOrStore(r.URL.Path, true); !again {
			rw.WriteHeader(503)
			return true
		}
		return false
	})
	w.want(verifier.RegistryConfig{}, "")
}

func TestRegistryTLS(t *testing.T) {
	w := newWorld(t, true)
	s := httptest.NewTLSServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer s.Close()
	w.image.Repository = strings.TrimPrefix(s.URL, "https://") + "/acme/app"
	w.want(verifier.RegistryConfig{}, verdict.RegistryTLS)
	// Plain HTTP where it was not named.
	w.image.Repository = server(t, http.NotFoundHandler()) + "/acme/app"
	w.want(verifier.RegistryConfig{}, verdict.RegistryTLS)
	s.TLS.MaxVersion = tls.VersionTLS11
	w.image.Repository = "127.0.0.1:1/acme/app"
	w.want(verifier.RegistryConfig{}, verdict.RegistryUnreachable)
}

func TestR08TwoReadings(t *testing.T) {
	const d = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	config := `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + d + `","size":1}`
	for name, m := range map[string]struct{ body, contentType string }{
		"index and image":           {`{"schemaVersion":2,"manifests":[],` + config + `,"layers":[]}`, ""},
		"index and empty layers":    {`{"schemaVersion":2,"mediaType":"` + sigstoretest.TypeIndex + `","manifests":[],"layers":[]}`, sigstoretest.TypeIndex},
		"image and empty index":     {`{"schemaVersion":2,"mediaType":"` + sigstoretest.TypeManifest + `","manifests":[],` + config + `,"layers":[]}`, sigstoretest.TypeManifest},
		"other type in header":      {`{"schemaVersion":2,"mediaType":"` + sigstoretest.TypeManifest + `",` + config + `,"layers":[]}`, sigstoretest.TypeIndex},
		"called an index, is not":   {`{"schemaVersion":2,` + config + `,"layers":[]}`, sigstoretest.TypeIndex},
		"schema 1":                  {`{"schemaVersion":1,"fsLayers":[]}`, ""},
		"duplicate member":          {`{"schemaVersion":2,` + config + `,"layers":[],"layers":[]}`, sigstoretest.TypeManifest},
		"other letters":             {`{"schemaVersion":2,` + config + `,"layers":[],"Layers":[]}`, sigstoretest.TypeManifest},
		"letters that fold":         {`{"schemaVersion":2,` + config + `,"layers":[],"layer\u017f":[]}`, sigstoretest.TypeManifest},
		"other letters in config":   {`{"schemaVersion":2,` + strings.Replace(config, `"size"`, `"Digest":"`+d+`","size"`, 1) + `,"layers":[]}`, sigstoretest.TypeManifest},
		"other letters in platform": {`{"schemaVersion":2,"manifests":[{"mediaType":"` + sigstoretest.TypeManifest + `","digest":"` + d + `","size":1,"platform":{"os":"linux","OS":"windows","architecture":"amd64"}}]}`, sigstoretest.TypeIndex},
		"other letters in marks":    {`{"schemaVersion":2,"manifests":[{"mediaType":"` + sigstoretest.TypeManifest + `","digest":"` + d + `","size":1,"Annotations":{}}]}`, sigstoretest.TypeIndex},
		"platform with a slash":     {`{"schemaVersion":2,"manifests":[{"mediaType":"` + sigstoretest.TypeManifest + `","digest":"` + d + `","size":1,"platform":{"os":"linux/amd64"}}]}`, sigstoretest.TypeIndex},
		"feature with a NUL":        {`{"schemaVersion":2,"manifests":[{"mediaType":"` + sigstoretest.TypeManifest + `","digest":"` + d + `","size":1,"platform":{"os.features":["a\u0000"]}}]}`, sigstoretest.TypeIndex},
		"two subjects":              {`{"schemaVersion":2,` + config + `,"layers":[],"Subject":{"digest":"` + d + `","size":1}}`, sigstoretest.TypeManifest},
		"not JSON":                  {`<html>`, sigstoretest.TypeManifest},
		"R47 a million layers":      {`{"schemaVersion":2,` + config + `,"layers":[` + strings.Repeat("{},", 1e6) + `{}]}`, sigstoretest.TypeManifest},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, true)
			w.image.Digest = verdict.SHA256([]byte(m.body))
			w.on(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/sha256:") {
					return false
				}
				if m.contentType != "" {
					rw.Header().Set("Content-Type", m.contentType)
				}
				_, _ = io.WriteString(rw, m.body)
				return true
			})
			w.want(verifier.RegistryConfig{}, verdict.InputMalformed)
		})
	}
}

func TestR09OtherBytes(t *testing.T) {
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	other := w.push("another")
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/"+string(w.image.Digest)) {
			rw.Header().Set("Docker-Content-Digest", string(w.image.Digest))
			rw.Header().Set("Location", "/v2/acme/app/manifests/"+string(other.Digest))
			rw.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	w.want(verifier.RegistryConfig{}, verdict.RegistryDigestMismatch)
	// A tag is resolved once, by the bytes, whatever a header says.
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		rw.Header().Set("Docker-Content-Digest", string(other.Digest))
		return false
	})
	w.want(verifier.RegistryConfig{}, "")
}

func TestR10ReferrerPages(t *testing.T) {
	w := newWorld(t, true)
	b := w.bundle(w.image, good())
	d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: 1}
	if err := sigstoretest.Attach(t.Context(), w.store, repo, d, b, "", false); err != nil {
		t.Fatal(err)
	}
	full := referrersOf(t, w)
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
		page := r.URL.Query().Get("page")
		switch page {
		case "", "2":
			next := map[string]string{"": "2", "2": "3"}[page]
			rw.Header().Set("Link", fmt.Sprintf(`<%s?page=%s>; rel="next"`, r.URL.Path, next))
			_, _ = io.WriteString(rw, junkIndex(3, page))
		default:
			_, _ = rw.Write(full)
		}
		return true
	})
	w.want(verifier.RegistryConfig{}, "")
	// The next page of another host is a redirect by another name.
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
		rw.Header().Set("Link", `<http://169.254.169.254/x>; rel="next"`)
		_, _ = io.WriteString(rw, junkIndex(1, ""))
		return true
	})
	w.want(verifier.RegistryConfig{}, verdict.RegistryNotAllowed)
}

// TestR10LongTag: the referrers tag of a sha512 digest is cut to fit.
func TestR10LongTag(t *testing.T) {
	var asked string
	host := server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/sha512-") {
			asked = r.URL.Path
		}
		http.NotFound(rw, r)
	}))
	r, err := verifier.NewRegistry(verifier.RegistryConfig{PlainHTTP: []string{host}})
	if err != nil {
		t.Fatal(err)
	}
	d := verdict.Digest("sha512:" + strings.Repeat("ab", 64))
	if _, err := r.Referrers(t.Context(), host+"/acme/app", d); err != nil {
		t.Fatal(err)
	}
	if want := "/v2/acme/app/manifests/sha512-" + strings.Repeat("ab", 32); asked != want {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	// The tag of a .sig manifest has no short form, and is not asked for.
	w := newWorld(t, true)
	body := readBody(t, "http://"+w.host+"/v2/acme/app/manifests/"+string(w.image.Digest))
	sum := sha512.Sum512(body)
	w.image.Digest = verdict.Digest("sha512:" + hex.EncodeToString(sum[:]))
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/"+string(w.image.Digest)) {
			return false
		}
		rw.Header().Set("Content-Type", sigstoretest.TypeManifest)
		_, _ = rw.Write(body)
		return true
	})
	w.want(verifier.RegistryConfig{}, verdict.SigNone)
}

func referrersOf(t *testing.T, w *world) []byte {
	t.Helper()
	return readBody(t, "http://"+w.host+"/v2/acme/app/referrers/"+string(w.image.Digest))
}

func readBody(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := testClient.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // the body was read
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// junkIndex has n referrers of a kind that nobody asked for.
func junkIndex(n int, salt string) string {
	list := []map[string]any{}
	for i := range n {
		list = append(list, map[string]any{"mediaType": sigstoretest.TypeManifest, "artifactType": "application/vnd.junk", "size": 100,
			"digest": verdict.SHA256([]byte(salt + fmt.Sprint(i)))})
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": list})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestR46EndlessReferrers(t *testing.T) {
	base := runtime.NumGoroutine()
	t.Run("endless", func(t *testing.T) {
		// Pages with many end with the number of referrers, others with their own.
		for size, want := range map[int]int64{100: 3, 1: verifier.MaxReferrerPages} {
			w := newWorld(t, true)
			var pages atomic.Int64
			w.on(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					return false
				}
				pages.Add(1)
				page := r.URL.Query().Get("page")
				rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
				rw.Header().Set("Link", fmt.Sprintf(`<%s?page=%sx>; rel="next"`, r.URL.Path, page))
				_, _ = io.WriteString(rw, junkIndex(size, page))
				return true
			})
			w.want(verifier.RegistryConfig{}, verdict.InputLimit)
			if n := pages.Load(); n != want {
				t.Errorf("%d pages of %d, want %d", n, size, want)
			}
		}
	})
	http.DefaultClient.CloseIdleConnections()
	for range 1 << 20 { // what was closed ends by itself
		if runtime.NumGoroutine() <= base+2 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, began with %d", runtime.NumGoroutine(), base)
}

// TestR46JunkFirst: 255 referrers of other kinds do not starve the good one,
// and are not fetched.
func TestR46JunkFirst(t *testing.T) {
	w := newWorld(t, true)
	b := w.bundle(w.image, good())
	d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: w.image.Digest, Size: 1}
	if err := sigstoretest.Attach(t.Context(), w.store, repo, d, b, "", false); err != nil {
		t.Fatal(err)
	}
	full := referrersOf(t, w)
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
		page := r.URL.Query().Get("page")
		if n := map[string]int{"": 100, "2": 155}[page]; n > 0 {
			rw.Header().Set("Link", fmt.Sprintf(`<%s?page=%s>; rel="next"`, r.URL.Path, map[string]string{"": "2", "2": "3"}[page]))
			_, _ = io.WriteString(rw, junkIndex(n, page))
			return true
		}
		_, _ = rw.Write(full)
		return true
	})
	w.requests.Store(0)
	w.want(verifier.RegistryConfig{}, "")
	if n := w.requests.Load(); n > 10 {
		t.Errorf("%d requests, want few", n)
	}
	// Bundles by the hundred that are none: the budget ends, and says so.
	var list []map[string]any
	for i := range 200 {
		list = append(list, map[string]any{"mediaType": sigstoretest.TypeManifest, "artifactType": sigstoretest.TypeBundle, "size": 2, "digest": verdict.SHA256([]byte(fmt.Sprint(i)))})
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": list})
	if err != nil {
		t.Fatal(err)
	}
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
		_, _ = rw.Write(index)
		return true
	})
	w.requests.Store(0)
	w.want(verifier.RegistryConfig{}, verdict.InputLimit)
	if n := w.requests.Load(); n > verifier.MaxRequests {
		t.Errorf("%d requests, want at most %d", n, verifier.MaxRequests)
	}
}

func TestR47Sizes(t *testing.T) {
	w := newWorld(t, true)
	l := w.layer(w.image, good())
	w.attachLayers(w.image, l)
	sig, err := w.store.Tagged(t.Context(), repo, "sha256-"+w.image.Digest.Hex()+".sig")
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"descriptor of a tebibyte": func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, ".sig") {
				return false
			}
			rw.Header().Set("Content-Type", sigstoretest.TypeManifest)
			_, _ = io.WriteString(rw, strings.Replace(string(sig), fmt.Sprintf(`"size":%d`, len(l.Payload)), `"size":1099511627776`, 1))
			return true
		},
		"content length of 8 GiB": func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, ".sig") {
				return false
			}
			rw.Header().Set("Content-Length", "8589934592")
			_, _ = io.WriteString(rw, "0123456789")
			return true
		},
		"endless body": func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, ".sig") {
				return false
			}
			for range 1 << 10 {
				if _, err := rw.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			return true
		},
	} {
		w.on(fault)
		if ok, code, err := w.check(oneOff(t, keyless()), verifier.RegistryConfig{}); ok || code != verdict.InputLimit {
			t.Errorf("%s: passed %v with %q (%v), want %q", name, ok, code, err, verdict.InputLimit)
		}
	}
	runtime.ReadMemStats(&after)
	if after.HeapInuse > before.HeapInuse && after.HeapInuse-before.HeapInuse > 64<<20 {
		t.Errorf("the heap grew by %d bytes", after.HeapInuse-before.HeapInuse)
	}
}

func TestR48DigestForm(t *testing.T) {
	w := newWorld(t, true)
	r := w.registry(verifier.RegistryConfig{})
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: r})
	w.requests.Store(0)
	for _, d := range []string{"sha256:../../x", "sha256:" + strings.Repeat("a", 63), "sha256:" + strings.Repeat("A", 64), "md5:" + strings.Repeat("a", 32), ""} {
		_, err := v.Verify(t.Context(), verifier.Request{Image: verifier.Image{Repository: w.image.Repository, Digest: verdict.Digest(d)}, At: now})
		if verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("%q: %v, want %q", d, err, verdict.InputMalformed)
		}
		if _, err := r.Blob(t.Context(), w.image.Repository, verdict.Digest(d), 1, 1); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("blob %q: %v", d, err)
		}
		if _, _, err := r.Manifest(t.Context(), w.image.Repository, verdict.Digest(d)); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("manifest %q: %v", d, err)
		}
		if _, err := r.Referrers(t.Context(), w.image.Repository, verdict.Digest(d)); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("referrers %q: %v", d, err)
		}
	}
	if n := w.requests.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// A snoop is a second host that remembers what it was sent.
type snoop struct {
	host    string
	mu      sync.Mutex
	headers []http.Header
	bodies  []string
}

func newSnoop(t testing.TB, h http.HandlerFunc) *snoop {
	s := &snoop{}
	s.host = server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.headers, s.bodies = append(s.headers, r.Header.Clone()), append(s.bodies, string(b)+r.URL.RawQuery)
		s.mu.Unlock()
		h(rw, r)
	}))
	return s
}

func (s *snoop) secrets() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.headers {
		if h.Get("Authorization") != "" || strings.Contains(s.bodies[i], "secret") {
			return true
		}
	}
	return false
}

func (s *snoop) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.headers)
}

func TestR49Credentials(t *testing.T) {
	creds := func(context.Context, string) (verifier.Credential, error) {
		return verifier.Credential{Username: "user", Password: "secret"}, nil
	}
	refresh := func(context.Context, string) (verifier.Credential, error) {
		return verifier.Credential{IdentityToken: "secret"}, nil
	}
	const token = "Bearer good"
	protect := func(w *world, realm string) {
		w.on(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				b, _ := io.ReadAll(r.Body)
				_, pass, _ := r.BasicAuth()
				if pass != "secret" && !strings.Contains(string(b), "refresh_token=secret") {
					rw.WriteHeader(401)
				}
				_, _ = io.WriteString(rw, `{"token":"good"}`)
				return true
			}
			if r.Header.Get("Authorization") == token {
				return false
			}
			rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="test",scope="repository:acme/app:pull"`, realm))
			rw.WriteHeader(401)
			return true
		})
	}
	setup := func(t *testing.T) *world {
		w := newWorld(t, true)
		w.attachLayers(w.image, w.layer(w.image, good()))
		return w
	}
	t.Run("own realm", func(t *testing.T) {
		for _, c := range []verifier.Credentials{creds, refresh} {
			w := setup(t)
			protect(w, "http://"+w.host+"/token")
			w.want(verifier.RegistryConfig{Credentials: c}, "")
			w.want(verifier.RegistryConfig{}, verdict.RegistryUnauthorized)
		}
	})
	t.Run("realm of another host", func(t *testing.T) {
		w := setup(t)
		other := newSnoop(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, `{"token":"good"}`) })
		protect(w, "http://"+other.host+"/token")
		for _, c := range []verifier.Credentials{creds, refresh, nil} {
			w.want(verifier.RegistryConfig{Credentials: c, PlainHTTP: []string{other.host}}, verdict.RegistryNotAllowed)
		}
		if other.asked() != 0 {
			t.Errorf("the other host was asked %d times", other.asked())
		}
		w.want(verifier.RegistryConfig{Credentials: creds, PlainHTTP: []string{other.host}, TokenHosts: []string{other.host}}, "")
		if !other.secrets() {
			t.Error("a listed token host was not given the credentials")
		}
	})
	t.Run("redirect of a blob", func(t *testing.T) {
		w := setup(t)
		var direct http.Handler
		other := newSnoop(t, func(rw http.ResponseWriter, r *http.Request) { direct.ServeHTTP(rw, r) })
		direct = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+w.host+r.URL.Path, nil)
			if err != nil {
				panic(err)
			}
			req.Header.Set("Authorization", token)
			req.Header.Set("X-Direct", "1")
			resp, err := testClient.Do(req)
			if err != nil {
				panic(err)
			}
			defer resp.Body.Close() //nolint:errcheck // the body was read
			_, _ = io.Copy(rw, resp.Body)
		})
		w.on(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				_, _ = io.WriteString(rw, `{"token":"good"}`)
				return true
			}
			if r.Header.Get("Authorization") != token {
				rw.Header().Set("WWW-Authenticate", `Bearer realm="http://`+w.host+`/token",service="test"`)
				rw.WriteHeader(401)
				return true
			}
			if strings.Contains(r.URL.Path, "/blobs/") && r.Header.Get("X-Direct") == "" {
				http.Redirect(rw, r, "http://"+other.host+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return false
		})
		w.want(verifier.RegistryConfig{Credentials: creds, PlainHTTP: []string{other.host}}, verdict.RegistryNotAllowed)
		if other.asked() != 0 {
			t.Errorf("a private address was asked %d times", other.asked())
		}
		w.want(verifier.RegistryConfig{Credentials: creds, PlainHTTP: []string{other.host}, RedirectHosts: []string{other.host}}, "")
		if other.asked() == 0 || other.secrets() {
			t.Errorf("asked %d times, with secrets: %v", other.asked(), other.secrets())
		}
	})
}

func TestR50PrivateAddresses(t *testing.T) {
	for _, target := range []string{"https://169.254.169.254/x", "https://127.0.0.1/x", "https://[::1]/x", "https://10.0.0.1/x", "https://[::ffff:10.0.0.1]/x", "https://100.64.0.1/x", "https://[::7f00:1]/x", "https://[2001:0:a00:1::1]/x", "https://[fec0::1]/x", "https://192.88.99.1/x", "https://localhost/x", "file:///etc/passwd", "http://example.com/x"} {
		w := newWorld(t, true)
		w.on(func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Location", target)
			rw.WriteHeader(http.StatusFound)
			return true
		})
		w.want(verifier.RegistryConfig{}, verdict.RegistryNotAllowed)
		w.on(func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("WWW-Authenticate", `Bearer realm="`+target+`",service="x"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		})
		w.want(verifier.RegistryConfig{}, verdict.RegistryNotAllowed)
	}
}

// TestR50LinkLocal: the name of an image does not lead to the metadata service.
func TestR50LinkLocal(t *testing.T) {
	for _, host := range []string{"169.254.169.254", "169.254.169.254:80", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0:1"} {
		w := newWorld(t, true)
		w.image.Repository = host + "/acme/app"
		w.want(verifier.RegistryConfig{PlainHTTP: []string{"169.254.169.254:80"}}, verdict.RegistryNotAllowed)
	}
}

func TestR51FailureIsNoAnswer(t *testing.T) {
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	r := w.registry(verifier.RegistryConfig{})
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: r})
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".sig") || strings.Contains(r.URL.Path, "/referrers/") {
			rw.Header().Set("Retry-After", "30")
			rw.WriteHeader(429)
			return true
		}
		return false
	})
	_, err := v.Verify(t.Context(), verifier.Request{Image: w.image, At: now})
	f, ok := errors.AsType[*verdict.Failure](err)
	if !ok || f.Reason.Code != verdict.RegistryRateLimited || f.RetryAfter != 30*time.Second {
		t.Fatalf("got %v, want a failure %q after 30 s", err, verdict.RegistryRateLimited)
	}
	// The registry is not asked before the time that it named, and the failure is
	// not kept beyond that.
	w.fault.Store(nil)
	w.requests.Store(0)
	_, err = v.Verify(t.Context(), verifier.Request{Image: w.image, At: now})
	if f, ok := errors.AsType[*verdict.Failure](err); !ok || f.RetryAfter != 30*time.Second || w.requests.Load() != 0 {
		t.Fatalf("before the time: got %v after %d requests, want a failure after none", err, w.requests.Load())
	}
	r.TestingOnlyWake()
	if ok, code, _ := verify(t.Context(), t, v, w.image, now); !ok {
		t.Fatalf("the failure was kept: %q", code)
	}
	// A denied image is refused at once, without a question to the registry.
	w.requests.Store(0)
	denied, err := v.WithDeny(verdict.DenyList{V: 1, Images: []verdict.Digest{w.image.Digest}})
	if err != nil {
		t.Fatal(err)
	}
	if ok, code, _ := verify(t.Context(), t, denied, w.image, now); ok || code != verdict.RevokedImage {
		t.Errorf("passed %v with %q, want %q", ok, code, verdict.RevokedImage)
	}
	// So is one whose signer is denied: what was found is still known.
	denied, err = v.WithDeny(verdict.DenyList{V: 1, Identities: []verdict.DeniedIdentity{{Issuer: issuer, SAN: "https://example.com/other"}}})
	if err != nil {
		t.Fatal(err)
	}
	if ok, code, _ := verify(t.Context(), t, denied, w.image, now); !ok {
		t.Errorf("another identity: %q", code)
	}
	if n := w.requests.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

func TestMirrors(t *testing.T) {
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	empty := newSnoop(t, http.NotFound)
	lying := newSnoop(t, func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/sha256:") {
			_, _ = io.WriteString(rw, "other bytes")
			return
		}
		http.NotFound(rw, r)
	})
	w.image.Repository = "registry.example/acme/app"
	plain := []string{empty.host, lying.host}
	w.want(verifier.RegistryConfig{PlainHTTP: plain, Mirrors: map[string][]string{"registry.example": {empty.host + "/copies", w.host}}}, "")
	if empty.asked() == 0 || !strings.HasPrefix(w.paths[len(w.paths)-1], "/v2/acme/") {
		t.Errorf("the mirrors were not asked in order")
	}
	w.want(verifier.RegistryConfig{PlainHTTP: plain, Mirrors: map[string][]string{"registry.example": {lying.host, w.host}}}, verdict.RegistryDigestMismatch)
	for _, bad := range []map[string][]string{{"registry.example": {}}, {"registry.example": {"https://x"}}, {"REGISTRY": {"x.example"}}} {
		_, err := verifier.NewRegistry(verifier.RegistryConfig{Mirrors: bad})
		wantMisuse(t, fmt.Sprint(bad), err, "mirror")
	}
}

func TestDeadlineOfTheCaller(t *testing.T) {
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	release := make(chan struct{})
	w.on(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: w.registry(verifier.RegistryConfig{})})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.Verify(ctx, verifier.Request{Image: w.image, At: now}); verdict.CodeOf(err) != verdict.RegistryTimeout {
		t.Errorf("got %v, want %q", err, verdict.RegistryTimeout)
	}
	// The flight was not the first caller's: it goes on, and serves the next.
	asked := w.requests.Load()
	close(release)
	if ok, code, _ := verify(t.Context(), t, v, w.image, now); !ok {
		t.Errorf("the second caller: %q", code)
	}
	if asked == 0 {
		t.Error("the registry was not asked before")
	}
}

func TestSingleFlight(t *testing.T) {
	w := newWorld(t, true)
	w.attachLayers(w.image, w.layer(w.image, good()))
	release := make(chan struct{})
	w.on(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: w.roots, Source: w.registry(verifier.RegistryConfig{})})
	w.requests.Store(0)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if res, err := v.Verify(t.Context(), verifier.Request{Image: w.image, At: now}); err != nil || !res.Passed {
				t.Errorf("got %+v, %v", res, err)
			}
		})
	}
	close(release)
	wg.Wait()
	if n := w.requests.Load(); n > 10 {
		t.Errorf("%d requests for 20 callers of one image", n)
	}
}
