// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/dialguard"
)

// Defaults and limits of the registry client.
const (
	// DefaultRequestTimeout bounds one request with its answer.
	DefaultRequestTimeout = 15 * time.Second
	// maxAttempts bounds the tries of one request that failed in a way that
	// may pass.
	maxAttempts = 3
	// firstBackoff is about the wait before the second try; it doubles.
	firstBackoff = 200 * time.Millisecond
	// maxRedirects bounds the redirects of one request.
	maxRedirects = 5
	// maxTokenBytes bounds the answer of a token service.
	maxTokenBytes = 64 << 10
	// maxTokens bounds the tokens that are kept.
	maxTokens = 1024
	// maxHeaderBytes bounds the header of an answer.
	maxHeaderBytes = 64 << 10
	// maxETag bounds the validator of an answer that is kept for a conditional
	// request (RFC 9110 §8.8.3).
	maxETag = 256
	// maxDrain and drainTime bound what is read and waited for so that a
	// connection can be used again.
	maxDrain  = 4 << 10
	drainTime = 250 * time.Millisecond
	// pingAfter and pingTimeout find HTTP/2 connections that are dead.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
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
	// ContentBytes bounds the content that is kept in memory for all
	// verifications together; zero means DefaultContentBytes.
	ContentBytes int64
	// UserAgent of "" means "assay".
	UserAgent string
}

// A Registry is a [Source] that reads from OCI registries (OCI
// distribution-spec). It may be used concurrently, and one should be for all
// verifications of a process: they share its connections (HTTP/2 where the
// registry speaks it), its tokens, the content that it keeps, and what it knows
// of hosts that want to be left alone. To one host it makes at most [MaxPerHost]
// requests at a time.
//
// What a digest names is asked for and compared once per repository, as long as
// there is room to keep it. What a tag or a list of referrers names is asked for
// each time, conditionally where the registry gave an ETag (RFC 9110 §13.1.2).
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

	hosts    *hostTable
	contents *contents

	mu     sync.Mutex
	tokens map[string]string        // by host and repository; lives as long as r
	asking map[string]chan struct{} // closed when the token is there, or is not
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
	if cfg.ContentBytes < 0 {
		return nil, verdict.Misused("", "reading registry configuration: content of %d bytes", cfg.ContentBytes)
	}
	if cfg.ContentBytes == 0 {
		cfg.ContentBytes = DefaultContentBytes
	}
	kept, err := newContents(cfg.ContentBytes)
	if err != nil {
		return nil, err
	}
	r := &Registry{cfg: cfg, hosts: newHostTable(), contents: kept, tokens: make(map[string]string), asking: make(map[string]chan struct{})}
	r.named = r.client(notLinkLocal)
	r.guarded = r.client(dialguard.Public)
	return r, nil
}

// Close closes idle connections.
func (r *Registry) Close() {
	r.hosts.wake()
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
			MaxIdleConnsPerHost:    MaxPerHost,
			MaxIdleConns:           4 * MaxPerHost,
			IdleConnTimeout:        30 * time.Second,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
			ResponseHeaderTimeout:  r.cfg.RequestTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			DisableCompression:     true, // digests are over the bytes as they are
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// notLinkLocal refuses addresses that no registry has and that cloud hosts answer
// their guests on, also where the image's own name leads there: of a daemon, any
// node can ask about any name.
func notLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return dialguard.ErrAddress
	}
	if a := ap.Addr().Unmap(); a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return dialguard.ErrAddress
	}
	return nil
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
	// The path is put into a URL as it is.
	if err := verdict.CheckRepository(repository); err != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "asking a registry: %w", err)
	}
	host, path, _ := strings.Cut(repository, "/")
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

func (r *Registry) url(e endpoint, path string) *url.URL {
	return r.base(e).JoinPath("v2", e.repository, path)
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

// An answer is a body that was read whole, with what of its header is used.
type answer struct {
	mediaType string
	body      []byte
	links     []string // of the header Link
	etag      string
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
	a, err := r.byDigest(ctx, "manifest "+repository+"@"+string(d), func() (answer, error) {
		return firstAnswer(endpoints, func(e endpoint) (answer, error) {
			a, err := r.get(ctx, e, "manifests/"+string(d), manifestTypes, MaxManifestBytes)
			if err != nil {
				return answer{}, err
			}
			return a, checkDigest(d, a.body)
		})
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
		return r.getAgain(ctx, e, r.url(e, "manifests/"+tag), manifestTypes, MaxManifestBytes)
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
	a, err := r.byDigest(ctx, "blob "+repository+"@"+string(d), func() (answer, error) {
		return firstAnswer(endpoints, func(e endpoint) (answer, error) {
			a, err := r.get(ctx, e, "blobs/"+string(d), "*/*", size)
			if err != nil {
				return answer{}, err
			}
			return a, checkDigest(d, a.body)
		})
	})
	if err != nil {
		return nil, err
	}
	if err := checkLength(d, int64(len(a.body)), size); err != nil {
		return nil, err
	}
	return a.body, nil
}

// byDigest is for content that cannot change: what was fetched and compared
// before is not asked for again. It counts for the caller's bytes all the same,
// since the caller keeps it.
func (r *Registry) byDigest(ctx context.Context, key string, ask func() (answer, error)) (answer, error) {
	asked := false
	a, err := r.contents.fetch(ctx, key, func() (answer, error) {
		asked = true
		return ask()
	})
	if err != nil {
		return answer{}, err
	}
	if !asked {
		if _, err := budgetOf(ctx).room(int64(len(a.body))); err != nil {
			return answer{}, err
		}
		budgetOf(ctx).read(len(a.body))
	}
	return a, nil
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

// checkLength compares how much there was with what the descriptor says.
func checkLength(d verdict.Digest, got, want int64) error {
	if got != want {
		return verdict.Refuse(verdict.InputMalformed, "reading %s: it has %d bytes, and the descriptor says %d", d, got, want)
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
	var (
		out, tagged []Descriptor
		tagErr      error
		wg          sync.WaitGroup
	)
	wg.Go(func() {
		tagErr = safely(func() (err error) { tagged, err = taggedReferrers(ctx, r, repository, d); return err })()
	})
	_, apiErr := firstAnswer(endpoints, func(e endpoint) (struct{}, error) {
		found, err := r.referrersAPI(ctx, e, d)
		out = appendNew(out, found)
		return struct{}{}, err
	})
	wg.Wait()
	if isNotFound(apiErr) {
		apiErr = nil
	}
	out = appendNew(out, tagged)
	if apiErr == nil && tagErr == nil && len(out) > MaxReferrers {
		return out[:MaxReferrers], tooManyReferrers(d)
	}
	return out[:min(len(out), MaxReferrers)], cmp.Or(apiErr, tagErr)
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

// referrersAPI reads all pages of a list, and no page more once there are too many.
func (r *Registry) referrersAPI(ctx context.Context, e endpoint, d verdict.Digest) ([]Descriptor, error) {
	var out []Descriptor
	u := r.url(e, "referrers/"+string(d))
	for page := 0; ; page++ {
		if page == MaxReferrerPages || len(out) > MaxReferrers {
			return out[:min(len(out), MaxReferrers)], tooManyReferrers(d)
		}
		a, err := r.getAgain(ctx, e, u, typeOCIIndex, MaxManifestBytes)
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
			return out, nil
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
	for _, link := range a.links {
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
