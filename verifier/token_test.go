// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// manifest asks r for the world's image.
func (w *world) manifest(r *verifier.Registry) error {
	_, _, err := r.Manifest(w.t.Context(), w.image.Repository, w.image.Digest)
	return err
}

// demandToken makes the registry want a token, which realm gives out. One at /token
// of the registry answers with status and body.
func (w *world) demandToken(realm string, status int, body string) {
	w.on(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, body)
			return true
		}
		if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer") {
			return false
		}
		rw.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="test"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
}

// to dials address, whatever is asked for.
func to(address string) verifier.TestingOnlyDial {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// TestTokenAnswers changes one thing in the answer of a token service.
func TestTokenAnswers(t *testing.T) {
	const good = `{"token":"good"}`
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   verdict.Code
	}{
		{"good", 200, good, ""},
		{"by its other name", 200, `{"access_token":"good"}`, ""},
		{"503", 503, good, verdict.RegistryUnreachable},
		{"429", 429, good, verdict.RegistryRateLimited},
		{"403", 403, good, verdict.RegistryUnauthorized},
		{"a redirect", 307, good, verdict.RegistryUnauthorized},
		{"not JSON", 200, good + "<", verdict.RegistryUnauthorized},
		{"of another type", 200, `{"token":"good","access_token":5}`, verdict.RegistryUnauthorized},
		{"no token", 200, `{}`, verdict.RegistryUnauthorized},
		{"token with a line break", 200, `{"token":"good\r\nX-Other: 1"}`, verdict.RegistryUnauthorized},
		{"too long", 200, good + strings.Repeat(" ", 64<<10), verdict.InputLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // some of it waits
			w := newWorld(t, true)
			w.demandToken("http://"+w.host+"/token", tt.status, tt.body)
			if err := w.manifest(w.registry(verifier.RegistryConfig{})); verdict.CodeOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestTokenOfNoUse: a registry that wants a token, and then another one, is asked no
// more than twice; where there is nothing to answer it with, once.
func TestTokenOfNoUse(t *testing.T) {
	for _, tt := range []struct {
		name, challenge string // "" is that of the token service
		requests        int
	}{
		{"another token", "", 2},
		{"a password that there is none of", `Basic realm="x"`, 1},
		{"something unknown", `Negotiate`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, true)
			if tt.challenge == "" {
				tt.challenge = `Bearer realm="http://` + w.host + `/token",service="test"`
			}
			w.on(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/token" {
					_, _ = io.WriteString(rw, `{"token":"good"}`)
					return true
				}
				rw.Header().Set("WWW-Authenticate", tt.challenge)
				rw.WriteHeader(http.StatusUnauthorized)
				return true
			})
			w.asked(nil)
			if err := w.manifest(w.registry(verifier.RegistryConfig{})); verdict.CodeOf(err) != verdict.RegistryUnauthorized {
				t.Errorf("got %v, want %q", err, verdict.RegistryUnauthorized)
			}
			asked := slices.DeleteFunc(w.asked(nil), func(path string) bool { return path == "/token" })
			if len(asked) != tt.requests {
				t.Errorf("got requests %q, want %d", asked, tt.requests)
			}
		})
	}
}

// TestTokenRealms changes the place where a token is to be had.
func TestTokenRealms(t *testing.T) {
	w := newWorld(t, true)
	for name, tt := range map[string]struct {
		realm string
		want  verdict.Code
	}{
		"good":              {"http://" + w.host + "/token", ""},
		"none":              {"", verdict.RegistryNotAllowed},
		"without a host":    {"http:///token", verdict.RegistryNotAllowed},
		"no URL":            {"http://" + w.host + "/%zz", verdict.RegistryNotAllowed},
		"with a user":       {"http://user:pass@" + w.host + "/token", verdict.RegistryNotAllowed},
		"no URL when asked": {"https://[2606:4700::1111%25\xe3]/token", verdict.RegistryNotAllowed}, // parsed, and not as it is written again
	} {
		w.demandToken(tt.realm, http.StatusOK, `{"token":"good"}`)
		if err := w.manifest(w.registry(verifier.RegistryConfig{})); verdict.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// TestR49ForeignRealm: a public host that a registry names may give out a token, and
// has no claim to the credentials.
func TestR49ForeignRealm(t *testing.T) {
	const foreign = "auth.example"
	w := newWorld(t, true)
	w.demandToken("http://"+foreign+"/token", http.StatusNotFound, "")
	for name, tt := range map[string]struct {
		cred verifier.Credential
		want verdict.Code
	}{
		"nobody":        {verifier.Credential{}, ""},
		"password":      {verifier.Credential{Username: "user", Password: "secret"}, verdict.RegistryNotAllowed},
		"refresh token": {verifier.Credential{IdentityToken: "secret"}, verdict.RegistryNotAllowed},
	} {
		other := newSnoop(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, `{"token":"good"}`) })
		r := w.registry(verifier.RegistryConfig{PlainHTTP: []string{foreign}, Credentials: func(context.Context, string) (verifier.Credential, error) { return tt.cred, nil }})
		r.TestingOnlyDials(nil, to(other.host))
		if err := w.manifest(r); verdict.CodeOf(err) != tt.want || other.secrets() || (other.asked() > 0) != (tt.want == "") {
			t.Errorf("%s: got %v, want %q; the other host was asked %d times", name, err, tt.want, other.asked())
		}
	}
}

// TestCredentialsThatFail: who cannot say who they are is not nobody.
func TestCredentialsThatFail(t *testing.T) {
	w := newWorld(t, true)
	w.demandToken("http://"+w.host+"/token", http.StatusOK, `{"token":"good"}`)
	for want, fails := range map[verdict.Code]error{"": nil, verdict.RegistryUnauthorized: errors.New("no helper")} {
		r := w.registry(verifier.RegistryConfig{Credentials: func(context.Context, string) (verifier.Credential, error) { return verifier.Credential{}, fails }})
		if err := w.manifest(r); verdict.CodeOf(err) != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
