// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
)

// authorizeOnce returns what to say to a challenge that came to used, "" for
// nothing. Of those who were challenged at once one asks for the token.
func (r *Registry) authorizeOnce(ctx context.Context, e endpoint, key, used string, challenge http.Header) (string, error) {
	for {
		r.mu.Lock()
		if auth := r.tokens[key]; auth != "" && auth != used {
			r.mu.Unlock()
			return auth, nil
		}
		others := r.asking[key]
		if others == nil {
			break
		}
		r.mu.Unlock()
		select {
		case <-others:
		case <-ctx.Done():
			return "", verdict.Fail(verdict.RegistryTimeout, "authenticating at %s: %w", e.host, ctx.Err())
		}
	}
	done := make(chan struct{})
	r.asking[key] = done
	r.mu.Unlock()
	var auth string
	defer func() {
		r.mu.Lock()
		if auth != "" {
			if len(r.tokens) >= maxTokens {
				clear(r.tokens)
			}
			r.tokens[key] = auth
		}
		delete(r.asking, key)
		r.mu.Unlock()
		close(done)
	}()
	auth, err := r.authorize(ctx, e, challenge)
	return auth, err
}

// authorize answers a challenge (RFC 7235; distribution-spec's token
// authentication) with the value of an Authorization header, or "" when there
// is nothing to answer it with.
func (r *Registry) authorize(ctx context.Context, e endpoint, h http.Header) (string, error) {
	var cred Credential
	if r.cfg.Credentials != nil {
		c, err := r.cfg.Credentials(ctx, e.host)
		if err != nil {
			return "", verdict.Fail(verdict.RegistryUnauthorized, "reading credentials for %s: %w", e.host, err)
		}
		cred = c
	}
	for _, v := range h.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(v, " ")
		switch strings.ToLower(scheme) {
		case "bearer":
			return r.token(ctx, e, parseChallenge(rest), cred)
		case "basic":
			if cred.Username == "" {
				return "", nil
			}
			return basicAuth(cred), nil
		}
	}
	return "", nil
}

func basicAuth(c Credential) string {
	req := http.Request{Header: make(http.Header)}
	req.SetBasicAuth(c.Username, c.Password)
	return req.Header.Get("Authorization")
}

// parseChallenge reads key="value" pairs.
func parseChallenge(s string) map[string]string {
	out := make(map[string]string)
	for len(s) > 0 {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		key = strings.ToLower(strings.Trim(key, " ,"))
		var val string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			val, rest, ok = strings.Cut(quoted, `"`)
			if !ok {
				break
			}
		} else {
			val, rest, _ = strings.Cut(rest, ",")
		}
		out[key] = strings.TrimSpace(val)
		s = rest
	}
	return out
}

// token gets a pull token. Credentials go to the registry's own host and to
// those that the configuration lists, to no other realm.
func (r *Registry) token(ctx context.Context, e endpoint, challenge map[string]string, cred Credential) (string, error) {
	realm, err := url.Parse(challenge["realm"])
	if err != nil || realm.Host == "" || realm.User != nil {
		return "", verdict.Refuse(verdict.RegistryNotAllowed, "authenticating at %s: the token realm is not a URL", e.host)
	}
	if realm.Scheme != "https" && !(realm.Scheme == "http" && slices.Contains(r.cfg.PlainHTTP, realm.Host)) {
		return "", verdict.Refuse(verdict.RegistryNotAllowed, "authenticating at %s: the token realm %s is without TLS", e.host, clipQuote(realm.Host))
	}
	ours := r.isNamed(e, realm) || e.host == dockerHost && realm.Host == "auth.docker.io"
	if !ours {
		if cred != (Credential{}) {
			return "", verdict.Refuse(verdict.RegistryNotAllowed, "authenticating at %s: the token realm is at %s, which is not allowed to have the credentials", e.host, clipQuote(realm.Host))
		}
		if err := checkForeign(realm); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	if err := budgetOf(ctx).request(); err != nil {
		return "", err
	}
	req, err := tokenRequest(ctx, realm, challenge["service"], "repository:"+e.repository+":pull", cred)
	if err != nil {
		return "", verdict.Refuse(verdict.RegistryNotAllowed, "authenticating at %s: %w", e.host, err)
	}
	req.Header.Set("User-Agent", r.cfg.UserAgent)
	client := r.guarded
	if ours {
		client = r.named
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", transportError(ctx, e, realm, err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	body, err := readAll(resp.Body, maxTokenBytes)
	if err != nil {
		return "", transportError(ctx, e, realm, err)
	}
	budgetOf(ctx).read(len(body))
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		f := verdict.Fail(verdict.RegistryRateLimited, "authenticating at %s: %s answered 429", e.host, realm.Host)
		f.RetryAfter = retryAfter(resp.Header)
		return "", f
	case resp.StatusCode >= 500:
		return "", verdict.Fail(verdict.RegistryUnreachable, "authenticating at %s: %s answered %d", e.host, realm.Host, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		// A realm that redirects is told the same: a token has no other place.
		return "", verdict.Fail(verdict.RegistryUnauthorized, "authenticating at %s: %s answered %d", e.host, realm.Host, resp.StatusCode)
	}
	var t struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return "", verdict.Fail(verdict.RegistryUnauthorized, "authenticating at %s: the token answer is not JSON", e.host)
	}
	if t.Token == "" {
		t.Token = t.AccessToken
	}
	if t.Token == "" || strings.ContainsAny(t.Token, "\r\n") {
		return "", verdict.Fail(verdict.RegistryUnauthorized, "authenticating at %s: the answer has no token", e.host)
	}
	return "Bearer " + t.Token, nil
}

// tokenRequest is a POST with the refresh token where there is one (OAuth2),
// else a GET with or without password.
func tokenRequest(ctx context.Context, realm *url.URL, service, scope string, cred Credential) (*http.Request, error) {
	if cred.IdentityToken != "" {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {cred.IdentityToken}, "service": {service}, "scope": {scope}, "client_id": {"assay"}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req, nil
	}
	u := *realm
	q := u.Query()
	q.Set("service", service)
	q.Set("scope", scope)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if cred.Username != "" {
		req.SetBasicAuth(cred.Username, cred.Password)
	}
	return req, nil
}
