// SPDX-License-Identifier: Apache-2.0

package endorse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/assayd/assay/verdict"
)

// Limits of requests.
const (
	// DefaultTimeout bounds one request with its answer.
	DefaultTimeout = 20 * time.Second
	// maxTries is how often one thing is asked for, with pauses from firstPause that
	// double, unless the service names one.
	maxTries   = 5
	firstPause = time.Second
	// maxRetryAfter bounds what a service may ask for.
	maxRetryAfter = 6 * time.Hour
	maxRedirects  = 3
	// maxHeader bounds the header, in bytes: chains are there, with URL escapes.
	maxHeader = 64 << 10
)

// errNotFound says that a service has no such thing.
var errNotFound = errors.New("it has no such thing")

// errRedirect says that a service sends elsewhere.
var errRedirect = errors.New("it redirects")

func newClient(config Config) *http.Client {
	timeout := config.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: timeout}).DialContext, ForceAttemptHTTP2: true,
			TLSClientConfig:    &tls.Config{RootCAs: config.TLSRoots, MinVersion: tls.VersionTLS12},
			DisableCompression: true, MaxResponseHeaderBytes: maxHeader, TLSHandshakeTimeout: timeout, IdleConnTimeout: timeout,
		},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if first := before[0].URL; next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
				return fmt.Errorf("%w to another host, %.64q", errRedirect, next.URL.Host)
			}
			if len(before) > maxRedirects {
				return fmt.Errorf("%w more than %d times", errRedirect, maxRedirects)
			}
			return nil
		},
	}
}

// A laterError says that asking again may help, and when.
type laterError struct {
	error
	after time.Duration // zero where the service did not say
}

// Unwrap returns what went wrong.
func (e laterError) Unwrap() error { return e.error }

// get asks until there is an answer, the service says no, or ctx would end before the
// next try. The error is a *verdict.Failure, or errNotFound.
func (f *Fetcher) get(ctx context.Context, address string) (body []byte, header http.Header, err error) {
	pause := firstPause
	for try := 1; ; try++ {
		body, header, err = f.once(ctx, address)
		later, again := errors.AsType[laterError](err)
		if !again {
			break
		}
		wait := later.after
		if wait == 0 {
			wait = pause/2 + rand.N(pause) //nolint:gosec // G404: jitter, no secret
			pause *= 2
		}
		if deadline, ok := ctx.Deadline(); try == maxTries || ok && time.Until(deadline) < wait || ctx.Err() != nil {
			failure := verdict.Fail(verdict.EndorsementMissing, "fetching endorsement: %d tries: %w", try, err)
			failure.RetryAfter = later.after
			return nil, nil, failure
		}
		if err := f.wait(ctx, wait); err != nil {
			return nil, nil, missing("%w", err)
		}
	}
	if errors.Is(err, errNotFound) {
		return nil, nil, err
	}
	if err != nil {
		if _, refused := errors.AsType[*verdict.Refusal](err); refused {
			return nil, nil, err
		}
		return nil, nil, missing("%w", err)
	}
	return body, header, nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// once asks one time.
func (f *Fetcher) once(ctx context.Context, address string) (body []byte, header http.Header, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("User-Agent", "assay")
	response, err := f.client.Do(request)
	if err != nil {
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted || errors.Is(err, errRedirect) {
			return nil, nil, plain(err) // it would be the same in a second
		}
		return nil, nil, laterError{error: plain(err)}
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	host := request.URL.Host
	switch code := response.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusNotFound:
		return nil, nil, fmt.Errorf("%s answered 404: %w", host, errNotFound)
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return nil, nil, laterError{fmt.Errorf("%s answered %d", host, code), retryAfter(response.Header.Get("Retry-After"), time.Now())}
	default:
		return nil, nil, fmt.Errorf("%s answered %d", host, code)
	}
	if body, err = io.ReadAll(io.LimitReader(response.Body, MaxSize+1)); err != nil {
		return nil, nil, laterError{error: fmt.Errorf("reading the answer of %s: %w", host, plain(err))}
	}
	if len(body) > MaxSize {
		return nil, nil, verdict.Refuse(verdict.EvidenceLimit, "fetching endorsement: %s answered more than %d bytes", host, MaxSize)
	}
	return body, response.Header, nil
}

// plain is an error of the HTTP client without the address, of which the chip's ID is a
// part: errors go into logs.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		host := ""
		if u, parseErr := url.Parse(e.URL); parseErr == nil {
			host = u.Host
		}
		return fmt.Errorf("asking %s: %w", host, e.Err)
	}
	return err
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3): seconds or a date. Zero
// is no statement.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
