// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// TestTokens: a registry that wants a token, and one change to how it gives it.
func TestTokens(t *testing.T) {
	user := func(context.Context, string) (verifier.Credential, error) {
		return verifier.Credential{Username: "user", Password: "secret"}, nil
	}
	noStore := func(context.Context, string) (verifier.Credential, error) {
		return verifier.Credential{}, errors.New("the store is locked")
	}
	token := func(text string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, text) }
	}
	status := func(n int) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(n) }
	}
	gives := token(`{"access_token":"good"}`)
	for name, tt := range map[string]struct {
		realm       string // of the challenge; "" is the registry's own
		answer      http.HandlerFunc
		credentials verifier.Credentials
		code        verdict.Code
		text        string
	}{
		"good":                       {"", gives, nil, "", ""},
		"with credentials":           {"", gives, user, "", ""},
		"credentials not readable":   {"", gives, noStore, verdict.RegistryUnauthorized, "the store is locked"},
		"no realm":                   {"/token", gives, nil, verdict.RegistryNotAllowed, "is not a URL"},
		"a realm with a user":        {"http://somebody@127.0.0.1/token", gives, nil, verdict.RegistryNotAllowed, "is not a URL"},
		"a realm without TLS":        {"http://127.0.0.1/token", gives, nil, verdict.RegistryNotAllowed, "is without TLS"},
		"another's realm":            {"https://other.example/token", gives, user, verdict.RegistryNotAllowed, "is not allowed to have the credentials"},
		"another's realm by address": {"https://127.0.0.1/token", gives, nil, verdict.RegistryNotAllowed, "which an answer named"},
		"a broken realm":             {"", status(http.StatusBadGateway), nil, verdict.RegistryUnreachable, "answered 502"},
		"a busy realm":               {"", status(http.StatusTooManyRequests), nil, verdict.RegistryRateLimited, "answered 429"},
		"a refusal":                  {"", status(http.StatusForbidden), nil, verdict.RegistryUnauthorized, "answered 403"},
		"no JSON":                    {"", token("<html>"), nil, verdict.RegistryUnauthorized, "is not JSON"},
		"no token":                   {"", token("{}"), nil, verdict.RegistryUnauthorized, "has no token"},
		"two lines":                  {"", token(`{"token":"good\nX: y"}`), nil, verdict.RegistryUnauthorized, "has no token"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, true)
			w.attachLayers(w.image, w.layer(w.image, good()))
			realm := tt.realm
			if realm == "" {
				realm = "http://" + w.host + "/token"
			}
			w.on(func(rw http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.URL.Path == "/token":
					tt.answer(rw, r)
					return true
				case r.Header.Get("Authorization") == "Bearer good":
					return false
				}
				rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="test"`, realm))
				rw.WriteHeader(http.StatusUnauthorized)
				return true
			})
			if err := w.wantError(verifier.RegistryConfig{Credentials: tt.credentials}, tt.code); tt.code != "" && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want it to say %q", err, tt.text)
			}
		})
	}
}

// TestAnswersOfARegistry: what it says of places and types, which another check
// would answer with the same code, or which looks like no signature.
func TestAnswersOfARegistry(t *testing.T) {
	redirect := func(location string) func(rw http.ResponseWriter, r *http.Request) bool {
		return func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.Header().Set("Location", location)
			rw.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
	}
	referrers := func(f http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
		return func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/referrers/") {
				return false
			}
			f(rw, r)
			return true
		}
	}
	for name, tt := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		code  verdict.Code
		text  string
	}{
		"redirected to a file":       {redirect("file:///etc/passwd"), verdict.RegistryNotAllowed, "nowhere that is allowed"},
		"redirected with a user":     {redirect("https://somebody@127.0.0.1/"), verdict.RegistryNotAllowed, "nowhere that is allowed"},
		"redirected to nothing":      {redirect(""), verdict.RegistryNotAllowed, "nowhere that is allowed"},
		"redirected to this machine": {redirect("https://127.0.0.1/"), verdict.RegistryNotAllowed, "which an answer named"},
		"redirected without TLS":     {redirect("http://127.0.0.1/"), verdict.RegistryNotAllowed, "without TLS"},
		"no referrers API, 405":      {referrers(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusMethodNotAllowed) }), verdict.SigNone, ""},
		"no referrers API, a page":   {referrers(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "<html>") }), verdict.SigNone, ""},
		"referrers with a page at another": {referrers(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
			rw.Header().Set("Link", `<https://127.0.0.1/x>; rel="next"`)
			_, _ = io.WriteString(rw, junkIndex(1, ""))
		}), verdict.RegistryNotAllowed, "the next page is at"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, true)
			w.on(tt.fault)
			if err := w.wantError(verifier.RegistryConfig{}, tt.code); tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("got %v, want it to say %q", err, tt.text)
			}
		})
	}
	// A signature of another image, listed as one of this.
	w := newWorld(t, true)
	signed := w.push("another")
	signed.Repository = w.image.Repository
	d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: signed.Digest, Size: 1}
	if err := sigstoretest.Attach(t.Context(), w.store, repo, d, w.bundle(w.image, good()), "", false); err != nil {
		t.Fatal(err)
	}
	image := w.image
	w.image = signed
	listed := referrersOf(t, w)
	w.image = image
	w.on(referrers(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", sigstoretest.TypeIndex)
		_, _ = rw.Write(listed)
	}))
	w.want(verifier.RegistryConfig{}, verdict.SubjectMismatch)
}
