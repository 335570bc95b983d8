// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/dialguard"
)

// A question is one GET, with all that is asked again when it fails.
type question struct {
	e      endpoint
	u      *url.URL
	accept string
	// etag makes it conditional, unless it is "".
	etag string
	// limit bounds the body in bytes.
	limit int64
}

func (q question) where() string { return q.e.host + "/" + q.e.repository }

// errNotModified is the answer to a conditional question.
var errNotModified = errors.New("not modified")

func (r *Registry) get(ctx context.Context, e endpoint, path, accept string, limit int64) (answer, error) {
	return r.patiently(ctx, question{e: e, u: r.url(e, path), accept: accept, limit: limit})
}

// getAgain is get for what may change. An answer that the registry gave an ETag
// is kept, and the next time the registry is asked whether it still holds. That
// it does is the registry's word, as the answer was.
func (r *Registry) getAgain(ctx context.Context, e endpoint, u *url.URL, accept string, limit int64) (answer, error) {
	q := question{e: e, u: u, accept: accept, limit: limit}
	key := "url " + q.where() + " " + u.String()
	kept, ok := r.contents.get(key)
	if ok {
		q.etag = kept.etag
	}
	a, err := r.patiently(ctx, q)
	if errors.Is(err, errNotModified) {
		if _, err := budgetOf(ctx).room(int64(len(kept.body))); err != nil {
			return answer{}, err
		}
		budgetOf(ctx).read(len(kept.body))
		return kept, nil
	}
	if err == nil && a.etag != "" {
		r.contents.keep(key, a)
	}
	return a, err
}

// patiently asks with retries. What may pass is tried again while there is time,
// what will not, is not.
func (r *Registry) patiently(ctx context.Context, q question) (answer, error) {
	var a answer
	err := r.retry(ctx, q, func() error {
		var err error
		a, err = r.read(ctx, q)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	return a, nil
}

// retry runs try, up to maxAttempts times.
func (r *Registry) retry(ctx context.Context, q question, try func() error) error {
	h := r.hosts.host(q.e.dial)
	wait := firstBackoff
	for attempt := 1; ; attempt++ {
		if err := h.enter(ctx, q.where()); err != nil {
			return err
		}
		err := func() error {
			defer h.leave()
			err := try()
			if d := wantsRest(err); d > 0 {
				h.rest(d) // before somebody else has our place
			}
			return err
		}()
		failure, ok := errors.AsType[*verdict.Failure](err)
		if !ok {
			return err
		}
		limited := wantsRest(err) > 0
		switch {
		case attempt == maxAttempts || limited && failure.RetryAfter > patience(ctx):
			return err
		case limited: // enter waits
		case failure.Reason.Code == verdict.RegistryRateLimited || failure.Reason.Code == verdict.RegistryUnreachable:
			// A 503 may say Retry-After too (RFC 9110 §15.6.4).
			if !pause(ctx, failure.RetryAfter, wait) {
				return err
			}
			wait *= 2
		default:
			return err
		}
	}
}

// wantsRest is how long a host wants to be left alone, or zero.
func wantsRest(err error) time.Duration {
	if f, ok := errors.AsType[*verdict.Failure](err); ok && f.Reason.Code == verdict.RegistryRateLimited {
		return f.RetryAfter
	}
	return 0
}

// read asks once and reads the whole body.
func (r *Registry) read(ctx context.Context, q question) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	resp, final, err := r.open(ctx, q) //nolint:bodyclose // drain does
	if err != nil {
		return answer{}, err
	}
	defer drain(resp.Body)
	room, err := budgetOf(ctx).room(q.limit)
	if err != nil {
		return answer{}, err
	}
	if resp.ContentLength > room {
		return answer{}, verdict.Fail(verdict.InputLimit, "reading %s: the answer says %d bytes, want at most %d", q.where(), resp.ContentLength, room)
	}
	body, err := readAll(resp.Body, room)
	budgetOf(ctx).read(len(body))
	if err != nil {
		return answer{}, transportError(ctx, q.e, final, err)
	}
	mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		mt = ""
	}
	a := answer{mediaType: mt, body: body, links: resp.Header.Values("Link"), final: final}
	if tag := resp.Header.Get("ETag"); len(tag) <= maxETag {
		a.etag = tag
	}
	return a, nil
}

// drain closes a body. What is left of a small one is read so that the
// connection can be used again, unless that takes its time; how it ends does not
// matter.
func drain(body io.ReadCloser) {
	t := time.AfterFunc(drainTime, func() { _ = body.Close() })
	_, _ = io.CopyN(io.Discard, body, maxDrain)
	t.Stop()
	_ = body.Close()
}

// open returns an answer of status 200, with at most one round of
// authentication. The caller closes its body, and ctx bounds the reading.
func (r *Registry) open(ctx context.Context, q question) (*http.Response, *url.URL, error) {
	key := q.e.dial + "/" + q.e.repository
	r.mu.Lock()
	auth := r.tokens[key]
	r.mu.Unlock()
	resp, final, challenge, err := r.send(ctx, q, auth)
	if challenge == nil {
		return resp, final, err
	}
	if auth, err = r.authorizeOnce(ctx, q.e, key, auth, challenge); err != nil {
		return nil, nil, err
	}
	if auth == "" {
		return nil, nil, unauthorized(q.e, http.StatusUnauthorized)
	}
	resp, final, challenge, err = r.send(ctx, q, auth)
	if challenge != nil {
		return nil, nil, unauthorized(q.e, http.StatusUnauthorized)
	}
	return resp, final, err
}

func unauthorized(e endpoint, status int) error {
	return verdict.Fail(verdict.RegistryUnauthorized, "reading %s/%s: the registry answered %d", e.host, e.repository, status)
}

// send makes one request and follows its redirects. A 401 comes back as
// challenge.
func (r *Registry) send(ctx context.Context, q question, auth string) (resp *http.Response, final *url.URL, challenge http.Header, err error) {
	client := r.named
	u, etag := q.u, q.etag
	for hop := 0; ; hop++ {
		if hop > maxRedirects {
			return nil, nil, nil, verdict.Fail(verdict.RegistryUnreachable, "reading %s: more than %d redirects", q.where(), maxRedirects)
		}
		if err := budgetOf(ctx).request(); err != nil {
			return nil, nil, nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, nil, nil, verdict.Refuse(verdict.InputMalformed, "asking %s: %w", q.e.dial, err)
		}
		req.Header.Set("Accept", q.accept)
		req.Header.Set("User-Agent", r.cfg.UserAgent)
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		if etag != "" {
			req.Header.Set("If-None-Match", etag)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, nil, nil, transportError(ctx, q.e, u, err)
		}
		if resp.StatusCode == http.StatusOK {
			return resp, u, nil, nil
		}
		next, challenge, err := judge(q, u, resp, etag)
		// Whoever redirects or refuses has nothing to say in the body.
		drain(resp.Body)
		if next == nil {
			return nil, nil, challenge, err
		}
		// Another host has no claim to our credentials, nor to our network.
		etag = ""
		if next.Host != u.Host || next.Scheme != u.Scheme {
			auth = ""
			client = r.guarded
			if r.isNamed(q.e, next) || slices.Contains(r.cfg.RedirectHosts, next.Host) {
				client = r.named
			}
			if next.Scheme != "https" && !slices.Contains(r.cfg.PlainHTTP, next.Host) {
				return nil, nil, nil, verdict.Refuse(verdict.RegistryNotAllowed, "reading %s: redirected to %s without TLS", q.where(), clipQuote(next.Host))
			}
			if client == r.guarded {
				if err := checkForeign(next); err != nil {
					return nil, nil, nil, err
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
	if err := dialguard.Public("", netip.AddrPortFrom(a, 1).String(), nil); err != nil {
		return verdict.Refuse(verdict.RegistryNotAllowed, "asking %s, which an answer named: %w", clipQuote(u.Host), err)
	}
	return nil
}

// judge reads the header of an answer that is not 200: where it redirects to, a
// challenge, or an error.
func judge(q question, u *url.URL, resp *http.Response, etag string) (*url.URL, http.Header, error) {
	where := q.where()
	switch s := resp.StatusCode; {
	case s == http.StatusNotModified && etag != "":
		return nil, nil, errNotModified
	case s == http.StatusUnauthorized:
		return nil, resp.Header, nil
	case s == http.StatusMovedPermanently, s == http.StatusFound, s == http.StatusSeeOther, s == http.StatusTemporaryRedirect, s == http.StatusPermanentRedirect:
		loc, err := resp.Location()
		if err != nil || loc.Scheme != "http" && loc.Scheme != "https" || loc.User != nil {
			return nil, nil, verdict.Refuse(verdict.RegistryNotAllowed, "reading %s: redirected to nowhere that is allowed", where)
		}
		return loc, nil, nil
	case s == http.StatusForbidden:
		return nil, nil, unauthorized(q.e, s)
	case s == http.StatusNotFound:
		return nil, nil, verdict.Refuse(verdict.ImageNotFound, "reading %s: the registry does not have %s", where, clipQuote(lastSegment(u.Path)))
	case s == http.StatusTooManyRequests:
		f := verdict.Fail(verdict.RegistryRateLimited, "reading %s: the registry answered 429", where)
		f.RetryAfter = retryAfter(resp.Header)
		return nil, nil, f
	case (s == http.StatusBadRequest || s == http.StatusMethodNotAllowed || s == http.StatusNotAcceptable || s == http.StatusNotImplemented) && strings.Contains(u.Path, "/referrers/"):
		return nil, nil, verdict.Refuse(verdict.ImageNotFound, "listing referrers at %s: the registry has no referrers API (%d)", where, s)
	case s >= 500 || s == http.StatusRequestTimeout:
		f := verdict.Fail(verdict.RegistryUnreachable, "reading %s: %s answered %d", where, q.e.dial, s)
		f.RetryAfter = retryAfter(resp.Header)
		return nil, nil, f
	default:
		return nil, nil, verdict.Fail(verdict.RegistryUnreachable, "reading %s: %s answered %d, which is not expected", where, q.e.dial, s)
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
	case errors.Is(err, dialguard.ErrAddress):
		return verdict.Refuse(verdict.RegistryNotAllowed, "reading %s: asked to go to %s: %w", where, clipQuote(u.Host), dialguard.ErrAddress)
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &verify), errors.As(err, &record), errors.As(err, &alert):
		return verdict.Fail(verdict.RegistryTLS, "reading %s: connecting to %s: %w", where, u.Host, cause(err))
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return verdict.Fail(verdict.RegistryTLS, "reading %s: %s speaks plain HTTP, which has to be named", where, u.Host)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return verdict.Fail(verdict.RegistryTimeout, "reading %s: %s did not answer in time", where, u.Host)
	case ctx.Err() != nil:
		return verdict.Fail(verdict.RegistryTimeout, "reading %s: %w", where, context.Cause(ctx))
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

// errIdle is why a stream that gives nothing is ended.
var errIdle = errors.New("nothing came for too long")

// Stream implements [Streamer]. What gives nothing for RequestTimeout is ended;
// the whole takes as long as ctx lets it.
func (r *Registry) Stream(ctx context.Context, repository string, d verdict.Digest, size int64) (io.ReadCloser, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	if err := checkSize(d, size, math.MaxInt64); err != nil {
		return nil, err
	}
	endpoints, err := r.endpoints(repository)
	if err != nil {
		return nil, err
	}
	return firstAnswer(endpoints, func(e endpoint) (io.ReadCloser, error) { return r.stream(ctx, e, d, size) })
}

func (r *Registry) stream(ctx context.Context, e endpoint, d verdict.Digest, size int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{ctx: ctx, cancel: cancel, e: e, timeout: r.cfg.RequestTimeout}
	s.idle = time.AfterFunc(s.timeout, func() { cancel(errIdle) })
	var resp *http.Response
	q := question{e: e, u: r.url(e, "blobs/"+string(d)), accept: "*/*"}
	err := r.retry(ctx, q, func() (err error) {
		s.idle.Reset(s.timeout)
		resp, s.final, err = r.open(ctx, q) //nolint:bodyclose // Close does
		return err
	})
	s.idle.Stop()
	if err != nil {
		cancel(nil)
		return nil, err
	}
	s.body = resp.Body
	if resp.ContentLength >= 0 && resp.ContentLength != size {
		_ = s.Close()
		return nil, verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: the answer says %d bytes, and the descriptor %d", d, resp.ContentLength, size)
	}
	return newContentReader(s, d, size)
}

// A stream is the body of an answer that is read piece by piece.
type stream struct {
	ctx     context.Context // bounds the reads
	cancel  context.CancelCauseFunc
	e       endpoint
	final   *url.URL
	body    io.ReadCloser
	timeout time.Duration
	idle    *time.Timer // runs during a Read
}

func (s *stream) Read(p []byte) (int, error) {
	s.idle.Reset(s.timeout)
	n, err := s.body.Read(p)
	s.idle.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = transportError(s.ctx, s.e, s.final, err)
	}
	return n, err
}

// Close ends the request.
func (s *stream) Close() error {
	s.idle.Stop()
	s.cancel(nil)
	return s.body.Close()
}
