// SPDX-License-Identifier: Apache-2.0

package revocation_test

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/dialguard"
	"github.com/assayd/assay/verifier/internal/revocation"
	"github.com/assayd/assay/verifier/revocationtest"
)

// TestR50 is what addresses in certificates must not make us ask.
func TestR50(t *testing.T) {
	var seen atomic.Int32
	stub := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	t.Cleanup(stub.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(stub.URL, "http://"), ":")
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoCRL, c.NoServer = true, true, true })
	for _, address := range []string{
		"http://127.0.0.1:" + port + "/", "http://localhost:" + port + "/", "http://[::1]:" + port + "/", "http://[::ffff:127.0.0.1]:" + port + "/",
		"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://0.0.0.0:" + port + "/",
		"file:///etc/passwd", "ftp://127.0.0.1:" + port + "/", "http://user:secret@127.0.0.1:" + port + "/", "http:///x", "gopher://127.0.0.1/",
		"http://127.0.0.1:" + port + "/" + strings.Repeat("x", 2048),
	} {
		t.Run(address[:min(len(address), 40)], func(t *testing.T) {
			for _, c := range []func(*x509.Certificate){
				func(c *x509.Certificate) { c.OCSPServer = []string{address} },
				func(c *x509.Certificate) { c.CRLDistributionPoints = []string{address} },
			} {
				leaf := issue(t, p, c)
				checker := newChecker(t, p, func(c *revocation.Config) { c.Fetch = revocation.GuardedFetch(nil) })
				_, err := check(t, checker, p.Chain(leaf), revocation.Stapled{})
				wantCode(t, err, verdict.RevocationUnavailable)
			}
			fetch := revocation.GuardedFetch([]string{"crl.example:80"}) // another host
			if _, err := fetch(t.Context(), http.MethodGet, address, "", nil, 100); err == nil {
				t.Error("got no error")
			} else if strings.HasPrefix(address, "http://127.0.0.1:"+port+"/") && len(address) < 100 && !errors.Is(err, dialguard.ErrAddress) {
				t.Errorf("got %v, want the dialer to refuse", err)
			}
		})
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the stub saw %d requests", n)
	}
}

func TestRedirects(t *testing.T) {
	var seen atomic.Int32
	stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		seen.Add(1)
		_, _ = io.WriteString(w, "secret")
	}))
	t.Cleanup(stub.Close)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/once": "/here", "/twice": "/once", "/inside": stub.URL, "/file": "file:///etc/passwd", "/nowhere": "",
		}
		switch r.URL.Path {
		case "/here":
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Method+" "+string(body))
		case "/moved":
			w.Header().Set("Location", server.URL+"/here")
			w.WriteHeader(http.StatusMovedPermanently)
		default:
			if l := to[r.URL.Path]; l != "" {
				w.Header().Set("Location", l)
			}
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(server.Close)
	fetch := revocation.GuardedFetch([]string{strings.TrimPrefix(server.URL, "http://")})
	host := strings.TrimPrefix(server.URL, "http://")
	for _, address := range []string{"ftp://" + host + "/here", "http:///here", "http://user:secret@" + host + "/here", server.URL + "/here?" + strings.Repeat("x", 2048), "http://" + host + "/%zz"} {
		_, err := fetch(t.Context(), http.MethodGet, address, "", nil, 4096)
		wantText(t, err, "not an address of HTTP or HTTPS")
	}
	for _, tc := range []struct{ method, path, want string }{
		{http.MethodGet, "/here", "GET "},
		{http.MethodGet, "/once", "GET "},
		{http.MethodPost, "/once", "POST body"},
		{http.MethodGet, "/moved", "GET "},
		{http.MethodPost, "/moved", ""},
		{http.MethodGet, "/twice", ""},
		{http.MethodGet, "/inside", ""},
		{http.MethodGet, "/file", ""},
		{http.MethodGet, "/nowhere", ""},
	} {
		var body []byte
		if tc.method == http.MethodPost {
			body = []byte("body")
		}
		got, err := fetch(t.Context(), tc.method, server.URL+tc.path, "", body, 100)
		if string(got) != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s %s: got %q, %v, want %q", tc.method, tc.path, got, err, tc.want)
		}
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the stub saw %d requests", n)
	}
}

func TestFetchLimits(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			w.WriteHeader(http.StatusOK)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1024)); err != nil {
					return
				}
			}
		case "/slow":
			<-r.Context().Done()
		case "/error":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			_, _ = w.Write(make([]byte, 100))
		}
	}))
	t.Cleanup(server.Close)
	fetch := revocation.GuardedFetch([]string{strings.TrimPrefix(server.URL, "http://")})
	get := func(path string, limit int64) error {
		ctx, cancel := contextWithin(t, 200*time.Millisecond)
		defer cancel()
		_, err := fetch(ctx, http.MethodGet, server.URL+path, "", nil, limit)
		return err
	}
	if err := get("/", 100); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct {
		path  string
		limit int64
		want  string
	}{
		{"/", 99, "it has 100 bytes, want at most 99"},
		{"/endless", 4096, "it has more than 4096 bytes"},
		{"/slow", 100, "deadline exceeded"},
		{"/error", 100, "it answered 500"},
	} {
		wantText(t, get(tc.path, tc.limit), tc.want)
	}
}
