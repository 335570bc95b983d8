// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// TestRedirects changes where a redirect leads to.
func TestRedirects(t *testing.T) {
	w := newWorld(t, true)
	path := "/v2/acme/app/manifests/" + string(w.image.Digest)
	manifest := readBody(t, "http://"+w.host+path)
	for name, tt := range map[string]struct {
		location string
		want     verdict.Code
		foreign  bool // the other host is asked
	}{
		"same host":         {path + "?again", "", false},
		"same host by name": {"http://" + w.host + path + "?again", "", false},
		"another host":      {"http://store.example/x", "", true},
		"nowhere":           {"", verdict.RegistryNotAllowed, false},
		"no URL when asked": {"https://[2606:4700::1111%25\xe3]/x", verdict.InputMalformed, false}, // parsed, and not as it is written again
		"with a user":       {"http://user:pass@" + w.host + path + "?again", verdict.RegistryNotAllowed, false},
		"no HTTP":           {"ftp://store.example/x", verdict.RegistryNotAllowed, false},
		"without TLS":       {"http://other.example/x", verdict.RegistryNotAllowed, false},
		"private address":   {"http://10.0.0.1/x", verdict.RegistryNotAllowed, false},
		"special address":   {"http://[64:ff9b::a00:1]/x", verdict.RegistryNotAllowed, false},
	} {
		w.on(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.RawQuery != "" {
				return false
			}
			if tt.location != "" {
				rw.Header().Set("Location", tt.location)
			}
			rw.WriteHeader(http.StatusTemporaryRedirect)
			return true
		})
		other := newSnoop(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(manifest) })
		r := w.registry(verifier.RegistryConfig{PlainHTTP: []string{"store.example", "10.0.0.1", "[64:ff9b::a00:1]"}})
		// As behind a proxy: what is dialled is not what the answer named.
		r.TestingOnlyDials(nil, to(other.host))
		if err := w.manifest(r); verdict.CodeOf(err) != tt.want || (other.asked() > 0) != tt.foreign {
			t.Errorf("%s: got %v, want %q; the other host was asked %d times", name, err, tt.want, other.asked())
		}
	}
}

// TestNoReferrersAPI: a registry that does not know the referrers API has none, by
// whatever it says so; one that cannot answer leaves it open.
func TestNoReferrersAPI(t *testing.T) {
	for name, tt := range map[string]struct {
		fault fault
		want  verdict.Code // of the list of referrers
	}{
		"400":        {status(http.StatusBadRequest), ""},
		"404":        {status(http.StatusNotFound), ""},
		"405":        {status(http.StatusMethodNotAllowed), ""},
		"406":        {status(http.StatusNotAcceptable), ""},
		"501":        {status(http.StatusNotImplemented), ""},
		"a web page": {body([]byte("<html>"), "Content-Type", "text/html"), ""},
		"no type":    {body([]byte(junkIndex(1, "")), "Content-Type", ""), ""},
		"409":        {status(http.StatusConflict), verdict.RegistryUnreachable},
		"502":        {status(http.StatusBadGateway), verdict.RegistryUnreachable},
		"not JSON":   {body([]byte("<html>"), "Content-Type", sigstoretest.TypeIndex), verdict.RegistryUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some of it waits
			w := newWorld(t, true)
			r := w.registry(verifier.RegistryConfig{})
			w.on(onPath("/referrers/", tt.fault))
			if list, err := r.Referrers(t.Context(), w.image.Repository, w.image.Digest); verdict.CodeOf(err) != tt.want || len(list) > 0 {
				t.Errorf("got %v, %v, want %q", list, err, tt.want)
			}
			w.on(onPath("/manifests/", tt.fault))
			if err := w.manifest(r); err == nil || name != "404" && verdict.CodeOf(err) == verdict.ImageNotFound {
				t.Errorf("manifest: got %v, want a failure", err)
			}
		})
	}
}

// TestNextPages: the pages of a list are of one registry.
func TestNextPages(t *testing.T) {
	w := newWorld(t, true)
	page := func(name string) fault {
		return body([]byte(junkIndex(1, name)), "Content-Type", sigstoretest.TypeIndex)
	}
	other := newSnoop(t, func(rw http.ResponseWriter, r *http.Request) { page("other")(rw, r) })
	path := "/v2/acme/app/referrers/" + string(w.image.Digest)
	for next, want := range map[string]verdict.Code{
		path + "?page=2":                       "",
		"http://" + w.host + path + "?page=2":  "",
		"http://" + other.host + path:          verdict.RegistryNotAllowed,
		"https://" + w.host + path + "?page=2": verdict.RegistryNotAllowed,
	} {
		w.on(onPath("/referrers/", func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.RawQuery == "" {
				rw.Header().Set("Link", "<"+next+`>; rel="next"`)
			}
			return page(r.URL.RawQuery)(rw, r)
		}))
		r := w.registry(verifier.RegistryConfig{PlainHTTP: []string{other.host}})
		list, err := r.Referrers(t.Context(), w.image.Repository, w.image.Digest)
		if verdict.CodeOf(err) != want || err == nil && len(list) != 2 || other.asked() > 0 {
			t.Errorf("%s: %d referrers, %v, want %q; the other host was asked %d times", next, len(list), err, want, other.asked())
		}
	}
}

// TestTimeoutsBelowHTTP: that an address did not answer in time is told apart from
// that it could not be reached, whoever's timeout it was.
func TestTimeoutsBelowHTTP(t *testing.T) {
	t.Parallel() // it waits between tries
	w := newWorld(t, true)
	for _, tt := range []struct {
		err  error
		want verdict.Code
	}{
		{errors.New("broken"), verdict.RegistryUnreachable},
		{context.DeadlineExceeded, verdict.RegistryTimeout},
		{os.ErrDeadlineExceeded, verdict.RegistryTimeout},
		{&net.DNSError{Err: "no answer", IsTimeout: true}, verdict.RegistryTimeout},
	} {
		r := w.registry(verifier.RegistryConfig{})
		r.TestingOnlyDials(func(context.Context, string, string) (net.Conn, error) { return nil, tt.err }, nil)
		if err := w.manifest(r); verdict.CodeOf(err) != tt.want {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

func status(code int) fault {
	return func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(code)
		_, _ = io.WriteString(rw, strings.ToLower(http.StatusText(code)))
		return true
	}
}
