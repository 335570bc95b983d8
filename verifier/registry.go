// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/assayd/assay/verdict"
)

// Defaults and limits of the registry client.
const (
	// DefaultRequestTimeout bounds one request with its answer.
	DefaultRequestTimeout = 15 * time.Second
	// maxAttempts bounds the tries of one request that failed in a way that
	// may pass.
	maxAttempts = 3
	// firstBackoff is the wait before the second try; it doubles.
	firstBackoff = 200 * time.Millisecond
	// maxRetryAfter is how long a registry may make us wait within one call.
	// Longer is told to the caller.
	maxRetryAfter = 2 * time.Second
	// maxRedirects bounds the redirects of one request.
	maxRedirects = 5
	// maxTokenBytes bounds the answer of a token service.
	maxTokenBytes = 64 << 10
	// maxTokens bounds the tokens that are kept.
	maxTokens = 1024
	// maxHeaderBytes bounds the header of an answer.
	maxHeaderBytes = 64 << 10
)

// A Credential is what one registry host knows the caller by. The zero value
// is nobody.
type Credential struct {
	Username, Password string
	// IdentityToken is an OAuth2 refresh token, and used in place of the
	// password when there is one.
	IdentityToken string
}

// Credentials looks up the credential for a registry host; the zero value
// means none. It is called with canonical hosts ("docker.io").
type Credentials func(ctx context.Context, host string) (Credential, error)

// A RegistryConfig says which hosts may be asked, and how.
type RegistryConfig struct {
	// Credentials, or nil for anonymous access.
	Credentials Credentials
	// Mirrors are asked first, in order, for images of the host that is the
	// key. A mirror is a host with an optional path prefix. Rules are matched
	// with the name that was asked for, and content is compared with its
	// digest, so that a mirror can withhold and nothing else.
	Mirrors map[string][]string
	// PlainHTTP are the hosts, with port, that are spoken to without TLS.
	// There are no others, not even on loopback.
	PlainHTTP []string
	// TokenHosts are hosts besides the registry's own that may be given
	// credentials for a token. "auth.docker.io" is one for docker.io.
	TokenHosts []string
	// RedirectHosts are hosts that a redirect may lead to whatever their
	// address, such as the object store of a registry in a private network.
	// They never see credentials.
	RedirectHosts []string
	// RootCAs, or nil for the system's.
	RootCAs *x509.CertPool
	// RequestTimeout of zero means DefaultRequestTimeout.
	RequestTimeout time.Duration
	// UserAgent of "" means "assay".
	UserAgent string
}

// A Registry is a [Source] that reads from OCI registries (OCI
// distribution-spec). It may be used concurrently.
//
// Hosts that the caller named (the image's, its mirrors) may have any address that
// is not link-local.
// A host that an answer named (by a redirect or a token realm) must have a
// public one, checked when it is dialled, and never sees credentials unless
// the configuration lists it.
type Registry struct {
	cfg RegistryConfig
	// named dials anywhere but to link-local addresses, guarded only public ones.
	named, guarded *http.Client

	mu     sync.Mutex
	tokens map[string]string // by host and repository; lives as long as r
}

// NewRegistry checks the configuration.
func NewRegistry(cfg RegistryConfig) (*Registry, error) {
	for host, mirrors := range cfg.Mirrors {
		if !validHost(host) || len(mirrors) == 0 {
			return nil, verdict.Misused("write host: [mirror, …]", "reading mirrors: %q is not a host with mirrors", clipQuote(host))
		}
		for _, m := range mirrors {
			h, prefix, hasPrefix := strings.Cut(m, "/")
			ok := validHost(h) && (!hasPrefix || !slices.ContainsFunc(strings.Split(prefix, "/"), func(s string) bool { return !validSegment(s) }))
			if !ok {
				return nil, verdict.Misused("write host[:port][/prefix]", "reading mirrors of %s: %q is not a mirror", host, clipQuote(m))
			}
		}
	}
	for _, h := range slices.Concat(cfg.PlainHTTP, cfg.TokenHosts, cfg.RedirectHosts) {
		if !validHost(h) {
			return nil, verdict.Misused("write host[:port]", "reading registry hosts: %q is not a host", clipQuote(h))
		}
	}
	if cfg.RequestTimeout < 0 {
		return nil, verdict.Misused("", "reading registry configuration: request timeout is negative")
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "assay"
	}
	r := &Registry{cfg: cfg, tokens: make(map[string]string)}
	r.named = r.client(notLinkLocal)
	r.guarded = r.client(publicAddress)
	return r, nil
}

// Close closes idle connections.
func (r *Registry) Close() {
	r.named.CloseIdleConnections()
	r.guarded.CloseIdleConnections()
}

// client makes an HTTP client that follows no redirect by itself, keeps no
// cookie, and dials only where control lets it.
func (r *Registry) client(control func(network, address string, c syscall.RawConn) error) *http.Client {
	d := &net.Dialer{Timeout: 10 * time.Second, Control: control}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            d.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.cfg.RootCAs},
			TLSHandshakeTimeout:    10 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        30 * time.Second,
			ResponseHeaderTimeout:  r.cfg.RequestTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			DisableCompression:     true, // digests are over the bytes as they are
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// errAddress is how the dialer refuses.
var errAddress = errors.New("the address is not a public one")

// publicAddress refuses addresses inside the network that we stand in: a
// registry must not make us ask them (169.254.169.254 hands out credentials on
// most clouds). It runs after name resolution, for each address.
func publicAddress(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errAddress
	}
	a := ap.Addr().Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return errAddress
	}
	for _, p := range specialPrefixes {
		if p.Contains(a) {
			return errAddress
		}
	}
	return nil
}

// notLinkLocal refuses addresses that no registry has and that cloud hosts answer
// their guests on, also where the image's own name leads there: of a daemon, any
// node can ask about any name.
func notLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errAddress
	}
	if a := ap.Addr().Unmap(); a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return errAddress
	}
	return nil
}

// specialPrefixes are not private by RFC 1918 and not public either: carrier
// NAT (RFC 6598), "this network", benchmarks, site-local addresses of old, and
// ranges that embed IPv4 (IPv4-compatible, Teredo, NAT64, 6to4 and its relays).
var specialPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("fec0::/10"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
}

// manifestTypes is what is asked for (facts: schema 1 is not among them).
var manifestTypes = strings.Join([]string{
	typeOCIManifest, typeOCIIndex, typeDockerManifest, typeDockerList,
}, ", ")

// An endpoint is one host that may have a repository.
type endpoint struct {
	host       string // canonical: what credentials are looked up by
	dial       string // what is connected to
	repository string // path, without host
}

// endpoints are the mirrors of a repository and the registry itself.
func (r *Registry) endpoints(repository string) ([]endpoint, error) {
	host, path, ok := strings.Cut(repository, "/")
	if !ok || path == "" {
		return nil, verdict.Refuse(verdict.InputMalformed, "asking a registry: %q is not host/repository", clipQuote(repository))
	}
	var out []endpoint
	for _, m := range r.cfg.Mirrors[host] {
		h, prefix, hasPrefix := strings.Cut(m, "/")
		e := endpoint{host: h, dial: h, repository: path}
		if hasPrefix {
			e.repository = prefix + "/" + path
		}
		out = append(out, e)
	}
	e := endpoint{host: host, dial: host, repository: path}
	if host == dockerHost {
		e.dial = "registry-1.docker.io"
	}
	return append(out, e), nil
}

func (r *Registry) base(e endpoint) *url.URL {
	u := &url.URL{Scheme: "https", Host: e.dial}
	if slices.Contains(r.cfg.PlainHTTP, e.dial) {
		u.Scheme = "http"
	}
	return u
}

// firstAnswer asks each endpoint until one has it. Not found at a mirror means
// nothing, and neither does a mirror's failure; other bytes do: what answers
// with them is not asked to explain.
func firstAnswer[T any](endpoints []endpoint, ask func(endpoint) (T, error)) (T, error) {
	var zero T
	for i, e := range endpoints {
		v, err := ask(e)
		if err == nil || i == len(endpoints)-1 || verdict.CodeOf(err) == verdict.RegistryDigestMismatch || verdict.CodeOf(err) == verdict.InputLimit {
			return v, err
		}
	}
	return zero, verdict.Fail(verdict.Internal, "asking a registry: there is none")
}

// An answer is a body that was read whole, with its content type.
type answer struct {
	mediaType string
	body      []byte
	header    http.Header
	final     *url.URL
}

// Manifest implements [Source].
func (r *Registry) Manifest(ctx context.Context, repository string, d verdict.Digest) (string, []byte, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return "", nil, err
	}
	endpoints, err := r.endpoints(repository)
	if err != nil {
		return "", nil, err
	}
	a, err := firstAnswer(endpoints, func(e endpoint) (answer, error) {
		a, err := r.get(ctx, e, "manifests/"+string(d), manifestTypes, MaxManifestBytes)
		if err != nil {
			return answer{}, err
		}
		return a, checkDigest(d, a.body)
	})
	if err != nil {
		return "", nil, err
	}
	return a.mediaType, a.body, nil
}

// Tagged implements [Source]. What the header Docker-Content-Digest says is
// not looked at.
func (r *Registry) Tagged(ctx context.Context, repository, tag string) (verdict.Digest, string, []byte, error) {
	if !validTag(tag) {
		return "", "", nil, verdict.Refuse(verdict.InputMalformed, "asking a registry: %q is not a tag", clipQuote(tag))
	}
	endpoints, err := r.endpoints(repository)
	if err != nil {
		return "", "", nil, err
	}
	a, err := firstAnswer(endpoints, func(e endpoint) (answer, error) {
		return r.get(ctx, e, "manifests/"+tag, manifestTypes, MaxManifestBytes)
	})
	if err != nil {
		return "", "", nil, err
	}
	return verdict.SHA256(a.body), a.mediaType, a.body, nil
}

// Blob implements [Source].
func (r *Registry) Blob(ctx context.Context, repository string, d verdict.Digest, size, limit int64) ([]byte, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	if err := checkSize(d, size, limit); err != nil {
		return nil, err
	}
	endpoints, err := r.endpoints(repository)
	if err != nil {
		return nil, err
	}
	a, err := firstAnswer(endpoints, func(e endpoint) (answer, error) {
		a, err := r.get(ctx, e, "blobs/"+string(d), "*/*", size)
		if err != nil {
			return answer{}, err
		}
		return a, checkDigest(d, a.body)
	})
	return a.body, err
}

// checkSize refuses a size that somebody else says before anything is done.
func checkSize(d verdict.Digest, size, limit int64) error {
	switch {
	case size < 0:
		return verdict.Refuse(verdict.InputMalformed, "reading %s: the descriptor says %d bytes", d, size)
	case size > limit:
		return verdict.Fail(verdict.InputLimit, "reading %s: the descriptor says %d bytes, want at most %d", d, size, limit)
	}
	return nil
}

// Referrers implements [Source]. It asks the referrers API, all pages, and the
// referrers tag beside it: a registry that was upgraded shows in the API only
// what came later.
func (r *Registry) Referrers(ctx context.Context, repository string, d verdict.Digest) ([]Descriptor, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	endpoints, err := r.endpoints(repository)
	if err != nil {
		return nil, err
	}
	var out []Descriptor
	_, apiErr := firstAnswer(endpoints, func(e endpoint) (struct{}, error) {
		found, err := r.referrersAPI(ctx, e, d)
		out = appendNew(out, found)
		return struct{}{}, err
	})
	if isNotFound(apiErr) {
		apiErr = nil
	}
	if verdict.CodeOf(apiErr) == verdict.InputLimit {
		return out, apiErr
	}
	tagged, tagErr := taggedReferrers(ctx, r, repository, d)
	out = appendNew(out, tagged)
	if apiErr == nil && tagErr == nil && len(out) > MaxReferrers {
		tagErr = tooManyReferrers(d)
	}
	if apiErr != nil {
		return out[:min(len(out), MaxReferrers)], apiErr
	}
	return out[:min(len(out), MaxReferrers)], tagErr
}

func tooManyReferrers(d verdict.Digest) error {
	return verdict.Fail(verdict.InputLimit, "listing referrers of %s: more than %d, or more than %d pages", d, MaxReferrers, MaxReferrerPages)
}

// taggedReferrers reads the index at the referrers tag; without one there are
// none.
func taggedReferrers(ctx context.Context, s Source, repository string, d verdict.Digest) ([]Descriptor, error) {
	_, mediaType, body, err := s.Tagged(ctx, repository, referrersTag(d))
	switch {
	case isNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	m, err := parseManifest(mediaType, body)
	if err != nil || m.index == nil {
		// A tag of this form that is something else says nothing of referrers.
		return nil, nil //nolint:nilerr // see above
	}
	return m.index, nil
}

// appendNew adds descriptors whose digest is not there yet.
func appendNew(have, more []Descriptor) []Descriptor {
	for _, m := range more {
		if !slices.ContainsFunc(have, func(h Descriptor) bool { return h.Digest == m.Digest }) {
			have = append(have, m)
		}
	}
	return have
}

func (r *Registry) referrersAPI(ctx context.Context, e endpoint, d verdict.Digest) ([]Descriptor, error) {
	var out []Descriptor
	path := "referrers/" + string(d)
	u := r.base(e).JoinPath("v2", e.repository, path)
	for page := 0; ; page++ {
		if page == MaxReferrerPages || len(out) > MaxReferrers {
			return out[:min(len(out), MaxReferrers)], tooManyReferrers(d)
		}
		a, err := r.getURL(ctx, e, u, typeOCIIndex, MaxManifestBytes)
		if err != nil {
			return out, err
		}
		if a.mediaType != typeOCIIndex {
			// A registry without the API may answer 200 with a web page.
			return out, verdict.Refuse(verdict.ImageNotFound, "listing referrers of %s: %s answered with %q, not an index", d, e.dial, clipQuote(a.mediaType))
		}
		m, err := parseManifest(a.mediaType, a.body)
		if err != nil {
			return out, verdict.Fail(verdict.RegistryUnreachable, "listing referrers of %s at %s: %w", d, e.dial, err)
		}
		out = appendNew(out, m.index)
		next := nextPage(a)
		if next == nil {
			return out[:min(len(out), MaxReferrers)], nil
		}
		// Pages are of the same registry: anything else would be a redirect
		// by another name.
		if next.Host != u.Host || next.Scheme != u.Scheme {
			return out, verdict.Refuse(verdict.RegistryNotAllowed, "listing referrers of %s: the next page is at %s, not at %s", d, clipQuote(next.Host), u.Host)
		}
		u = next
	}
}

// nextPage reads the Link header (RFC 8288, rel="next").
func nextPage(a answer) *url.URL {
	for _, link := range a.header.Values("Link") {
		target, params, ok := strings.Cut(link, ">")
		target, begins := strings.CutPrefix(strings.TrimSpace(target), "<")
		if !ok || !begins || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
			continue
		}
		ref, err := url.Parse(target)
		if err != nil {
			continue
		}
		return a.final.ResolveReference(ref)
	}
	return nil
}

func isNotFound(err error) bool {
	return verdict.Refused(err) && verdict.CodeOf(err) == verdict.ImageNotFound
}

func (r *Registry) get(ctx context.Context, e endpoint, path, accept string, limit int64) (answer, error) {
	return r.getURL(ctx, e, r.base(e).JoinPath("v2", e.repository, path), accept, limit)
}

// getURL asks with retries. What may pass is tried again; what will not, is
// not.
func (r *Registry) getURL(ctx context.Context, e endpoint, u *url.URL, accept string, limit int64) (answer, error) {
	wait := firstBackoff
	for attempt := 1; ; attempt++ {
		a, err := r.try(ctx, e, u, accept, limit)
		if err == nil || attempt == maxAttempts {
			return a, err
		}
		failure, ok := errors.AsType[*verdict.Failure](err)
		if !ok {
			return answer{}, err
		}
		pause := wait
		switch failure.Reason.Code {
		case verdict.RegistryUnreachable:
		case verdict.RegistryRateLimited:
			if failure.RetryAfter == 0 || failure.RetryAfter > maxRetryAfter {
				return answer{}, err
			}
			pause = failure.RetryAfter
		default:
			return answer{}, err
		}
		wait *= 2
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return answer{}, err
		case <-t.C:
		}
	}
}

// try is one request, with at most one round of authentication.
func (r *Registry) try(ctx context.Context, e endpoint, u *url.URL, accept string, limit int64) (answer, error) {
	key := e.dial + "/" + e.repository
	r.mu.Lock()
	auth := r.tokens[key]
	r.mu.Unlock()
	a, challenge, err := r.send(ctx, e, u, accept, auth, limit)
	if challenge == nil {
		return a, err
	}
	auth, err = r.authorize(ctx, e, challenge)
	if err != nil {
		return answer{}, err
	}
	if auth == "" {
		return answer{}, unauthorized(e, http.StatusUnauthorized)
	}
	a, challenge, err = r.send(ctx, e, u, accept, auth, limit)
	if challenge != nil {
		return answer{}, unauthorized(e, http.StatusUnauthorized)
	}
	if err == nil || isNotFound(err) {
		r.mu.Lock()
		if len(r.tokens) >= maxTokens {
			clear(r.tokens)
		}
		r.tokens[key] = auth
		r.mu.Unlock()
	}
	return a, err
}

func unauthorized(e endpoint, status int) error {
	return verdict.Fail(verdict.RegistryUnauthorized, "reading %s/%s: the registry answered %d", e.host, e.repository, status)
}

// send makes one request and follows its redirects. A 401 comes back as
// challenge.
func (r *Registry) send(ctx context.Context, e endpoint, u *url.URL, accept, auth string, limit int64) (answer, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	client := r.named
	for hop := 0; ; hop++ {
		if hop > maxRedirects {
			return answer{}, nil, verdict.Fail(verdict.RegistryUnreachable, "reading %s/%s: more than %d redirects", e.host, e.repository, maxRedirects)
		}
		if err := budgetOf(ctx).request(); err != nil {
			return answer{}, nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return answer{}, nil, verdict.Refuse(verdict.InputMalformed, "asking %s: %w", e.dial, err)
		}
		req.Header.Set("Accept", accept)
		req.Header.Set("User-Agent", r.cfg.UserAgent)
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		resp, err := client.Do(req) //nolint:bodyclose // receive closes it
		if err != nil {
			return answer{}, nil, transportError(ctx, e, u, err)
		}
		next, a, challenge, err := r.receive(ctx, e, u, resp, limit)
		if next == nil {
			return a, challenge, err
		}
		// Another host has no claim to our credentials, nor to our network.
		if next.Host != u.Host || next.Scheme != u.Scheme {
			auth = ""
			client = r.guarded
			if r.isNamed(e, next) || slices.Contains(r.cfg.RedirectHosts, next.Host) {
				client = r.named
			}
			if next.Scheme != "https" && !slices.Contains(r.cfg.PlainHTTP, next.Host) {
				return answer{}, nil, verdict.Refuse(verdict.RegistryNotAllowed, "reading %s/%s: redirected to %s without TLS", e.host, e.repository, clipQuote(next.Host))
			}
			if client == r.guarded {
				if err := checkForeign(next); err != nil {
					return answer{}, nil, err
				}
			}
		}
		u = next
	}
}

// isNamed says whether the configuration or the caller named the host of u.
func (r *Registry) isNamed(e endpoint, u *url.URL) bool {
	return u.Host == e.dial || slices.Contains(r.cfg.TokenHosts, u.Host)
}

// checkForeign refuses a literal address that is not public. Names are judged
// when they are dialled; behind a proxy the proxy resolves them, and this is
// all that can be seen.
func checkForeign(u *url.URL) error {
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil //nolint:nilerr // a name
	}
	if err := publicAddress("", netip.AddrPortFrom(a, 1).String(), nil); err != nil {
		return verdict.Refuse(verdict.RegistryNotAllowed, "asking %s, which an answer named: %w", clipQuote(u.Host), err)
	}
	return nil
}

// receive reads one answer: a redirect's target, a body, a challenge or an
// error.
func (r *Registry) receive(ctx context.Context, e endpoint, u *url.URL, resp *http.Response, limit int64) (*url.URL, answer, http.Header, error) {
	defer func() {
		// What is left of a small body is read so that the connection can be
		// used again; how that ends does not matter.
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		_ = resp.Body.Close()
	}()
	where := e.host + "/" + e.repository
	switch s := resp.StatusCode; {
	case s == http.StatusOK:
		room, err := budgetOf(ctx).room(limit)
		if err != nil {
			return nil, answer{}, nil, err
		}
		if resp.ContentLength > room {
			return nil, answer{}, nil, verdict.Fail(verdict.InputLimit, "reading %s: the answer says %d bytes, want at most %d", where, resp.ContentLength, room)
		}
		body, err := readAll(resp.Body, room)
		budgetOf(ctx).read(len(body))
		if err != nil {
			return nil, answer{}, nil, transportError(ctx, e, u, err)
		}
		mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil {
			mt = ""
		}
		return nil, answer{mediaType: mt, body: body, header: resp.Header, final: u}, nil, nil
	case s == http.StatusUnauthorized:
		return nil, answer{}, resp.Header, nil
	case s == http.StatusMovedPermanently, s == http.StatusFound, s == http.StatusSeeOther, s == http.StatusTemporaryRedirect, s == http.StatusPermanentRedirect:
		loc, err := resp.Location()
		if err != nil || loc.Scheme != "http" && loc.Scheme != "https" || loc.User != nil {
			return nil, answer{}, nil, verdict.Refuse(verdict.RegistryNotAllowed, "reading %s: redirected to nowhere that is allowed", where)
		}
		return loc, answer{}, nil, nil
	case s == http.StatusForbidden:
		return nil, answer{}, nil, unauthorized(e, s)
	case s == http.StatusNotFound:
		return nil, answer{}, nil, verdict.Refuse(verdict.ImageNotFound, "reading %s: the registry does not have %s", where, clipQuote(lastSegment(u.Path)))
	case s == http.StatusTooManyRequests:
		f := verdict.Fail(verdict.RegistryRateLimited, "reading %s: the registry answered 429", where)
		f.RetryAfter = retryAfter(resp.Header)
		return nil, answer{}, nil, f
	case (s == http.StatusBadRequest || s == http.StatusMethodNotAllowed || s == http.StatusNotAcceptable || s == http.StatusNotImplemented) && strings.Contains(u.Path, "/referrers/"):
		return nil, answer{}, nil, verdict.Refuse(verdict.ImageNotFound, "listing referrers at %s: the registry has no referrers API (%d)", where, s)
	case s >= 500 || s == http.StatusRequestTimeout:
		return nil, answer{}, nil, verdict.Fail(verdict.RegistryUnreachable, "reading %s: %s answered %d", where, e.dial, s)
	default:
		return nil, answer{}, nil, verdict.Fail(verdict.RegistryUnreachable, "reading %s: %s answered %d, which is not expected", where, e.dial, resp.StatusCode)
	}
}

func lastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// retryAfter reads the header Retry-After (RFC 9110 §10.2.3), a date by the
// server's own clock.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 24); err == nil {
		return time.Duration(n) * time.Second
	}
	then, err1 := http.ParseTime(v)
	now, err2 := http.ParseTime(h.Get("Date"))
	if err1 != nil || err2 != nil || !then.After(now) {
		return 0
	}
	return then.Sub(now)
}

// transportError gives an error below HTTP its code.
func transportError(ctx context.Context, e endpoint, u *url.URL, err error) error {
	if f, ok := errors.AsType[*verdict.Failure](err); ok {
		return f
	}
	where := e.host + "/" + e.repository
	var (
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		netError net.Error
	)
	switch {
	case errors.Is(err, errAddress):
		return verdict.Refuse(verdict.RegistryNotAllowed, "reading %s: asked to go to %s: %w", where, clipQuote(u.Host), errAddress)
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &verify), errors.As(err, &record), errors.As(err, &alert):
		return verdict.Fail(verdict.RegistryTLS, "reading %s: connecting to %s: %w", where, u.Host, cause(err))
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return verdict.Fail(verdict.RegistryTLS, "reading %s: %s speaks plain HTTP, which has to be named", where, u.Host)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return verdict.Fail(verdict.RegistryTimeout, "reading %s: %s did not answer in time", where, u.Host)
	case ctx.Err() != nil:
		return verdict.Fail(verdict.RegistryTimeout, "reading %s: %w", where, ctx.Err())
	}
	return verdict.Fail(verdict.RegistryUnreachable, "reading %s: %w", where, cause(err))
}

// cause leaves out the URL that net/http puts before everything: it may hold
// the signature of a storage service.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// readAll reads to the end, or to one byte past limit, which is input.limit.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	n, err := buf.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, verdict.Fail(verdict.InputLimit, "reading: more than %d bytes", limit)
	}
	return buf.Bytes(), nil
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
