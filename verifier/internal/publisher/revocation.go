// SPDX-License-Identifier: Apache-2.0

// Package publisher finds out whether the publisher of a certificate has
// revoked it: by OCSP (RFC 6960) and by CRL (RFC 5280 §5).
//
// [Checker.Check] is the entry point. Everything fetched is hostile until its
// signature was verified by the certificate's issuer, and bounded before it is
// read. Time is an argument. What was found is kept in a [Cache] until its own
// end, and verified again whenever it is taken from there.
package publisher

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// Limits of a check.
const (
	// MaxCRLBytes and MaxOCSPBytes bound what is fetched.
	MaxCRLBytes  = 32 << 20
	MaxOCSPBytes = 64 << 10
	// maxChain bounds the certificates of one chain, maxURLs the places that one
	// of them names.
	maxChain = 8
	maxURLs  = 4
	// ocspTimeout and crlTimeout bound one answer (notaryproject
	// signing-and-verification-workflow.md, "Certificate revocation evaluation").
	ocspTimeout = 2 * time.Second
	crlTimeout  = 5 * time.Second
	// backOff is how long a place that did not answer is left alone.
	backOff = 30 * time.Second
	// skew is how far thisUpdate may lie ahead.
	skew = verdict.MaxSkew
)

// A Mode says what it means that nothing could be found out.
type Mode int

const (
	// Hard makes it a failure.
	Hard Mode = iota
	// Soft takes the certificate all the same. Never a revoked one.
	Soft
)

// A Fetcher gets what a certificate points to: with a body by POST, else by GET.
// It returns at most limit bytes.
type Fetcher interface {
	Fetch(ctx context.Context, url string, body []byte, limit int64) ([]byte, error)
}

// A Checker checks chains. It may be used concurrently.
type Checker struct {
	fetcher Fetcher
	cache   *Cache

	mu     sync.Mutex
	failed map[string]time.Time // by URL: until when it is left alone
}

// New makes a checker. Without fetcher nothing is fetched, and what the cache
// does not have is not known.
func New(fetcher Fetcher, cache *Cache) *Checker {
	if cache == nil {
		cache = NewCache()
	}
	return &Checker{fetcher: fetcher, cache: cache, failed: make(map[string]time.Time)}
}

// A Result is what a check found.
type Result struct {
	// NotAfter is until when it holds, or zero where no certificate says how it
	// could be revoked.
	NotAfter time.Time
	// Warnings are what Soft let through.
	Warnings []string
}

// errInconclusive is that one way to ask told nothing.
var errInconclusive = errors.New("nothing was found out")

// Check asks about every certificate of a chain but its last, the root. The
// error is a [verdict.Refusal] with revoked.certificate, or, under Hard, a
// [verdict.Failure] with revocation.unavailable. A certificate that names
// neither OCSP responder nor CRL cannot be revoked.
func (c *Checker) Check(ctx context.Context, chain []*x509.Certificate, at time.Time, mode Mode) (Result, error) {
	var res Result
	if len(chain) > maxChain {
		return res, verdict.Fail(verdict.RevocationUnavailable, "checking revocation: %d certificates, want at most %d", len(chain), maxChain)
	}
	var open error
	for i := 0; i+1 < len(chain); i++ {
		until, err := c.one(ctx, chain[i], chain[i+1], at)
		switch {
		case verdict.Refused(err):
			return res, err // whatever else is not known
		case err != nil && mode == Hard:
			if open == nil {
				open = verdict.Fail(verdict.RevocationUnavailable, "checking revocation of %q: %w", clip(chain[i].Subject.String()), err)
			}
		case err != nil:
			res.Warnings = append(res.Warnings, fmt.Sprintf("revocation of %q is not known: %s", clip(chain[i].Subject.String()), err))
		case !until.IsZero() && (res.NotAfter.IsZero() || until.Before(res.NotAfter)):
			res.NotAfter = until
		}
	}
	return res, open
}

// one asks about one certificate: the responder first, the lists when it tells
// nothing.
func (c *Checker) one(ctx context.Context, cert, issuer *x509.Certificate, at time.Time) (time.Time, error) {
	if len(cert.OCSPServer) == 0 && len(cert.CRLDistributionPoints) == 0 {
		return time.Time{}, nil
	}
	if len(cert.OCSPServer) > maxURLs || len(cert.CRLDistributionPoints) > maxURLs {
		return time.Time{}, fmt.Errorf("it names more than %d places", maxURLs)
	}
	var errs []error
	for _, ask := range []struct {
		urls []string
		do   func(ctx context.Context, url string, cert, issuer *x509.Certificate, at time.Time) (time.Time, error)
	}{{cert.OCSPServer, c.ocsp}, {cert.CRLDistributionPoints, c.crl}} {
		for _, u := range ask.urls {
			until, err := ask.do(ctx, u, cert, issuer, at)
			if err == nil || verdict.Refused(err) {
				return until, err
			}
			errs = append(errs, fmt.Errorf("%s: %w", clip(u), err))
		}
	}
	return time.Time{}, errors.Join(errs...)
}

// fetch gets url, unless it failed a moment ago.
func (c *Checker) fetch(ctx context.Context, url string, body []byte, limit int64, timeout time.Duration, at time.Time) ([]byte, error) {
	if c.fetcher == nil {
		return nil, errors.New("nothing is fetched here, and the cache does not have it")
	}
	c.mu.Lock()
	until, ok := c.failed[url]
	c.mu.Unlock()
	if ok && at.Before(until) && !at.Before(until.Add(-backOff)) {
		return nil, fmt.Errorf("it did not answer less than %s ago", backOff)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	data, err := c.fetcher.Fetch(ctx, url, body, limit)
	if err != nil {
		c.mu.Lock()
		if len(c.failed) >= maxFailed {
			clear(c.failed)
		}
		c.failed[url] = at.Add(backOff)
		c.mu.Unlock()
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return data, nil
}

// maxFailed bounds the places that are remembered for not answering.
const maxFailed = 1024

func revoked(cert *x509.Certificate, source, url string, when time.Time, reason int) error {
	return verdict.Refuse(verdict.RevokedCertificate, "checking revocation: %q (serial %x) was revoked at %s, reason %s, says the %s of %s",
		clip(cert.Subject.String()), cert.SerialNumber, when.UTC().Format(time.RFC3339), reasonName(reason), source, clip(url))
}

// reasonNames are those of RFC 5280 §5.3.1.
var reasonNames = []string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation", "certificateHold", "7", "removeFromCRL", "privilegeWithdrawn", "aACompromise"}

const (
	reasonHold   = 6
	reasonRemove = 8
)

func reasonName(r int) string {
	if r >= 0 && r < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprint(r)
}

// unhandled says whether there is a critical extension that is none of known.
func unhandled(extensions []extension, known ...string) bool {
	return slices.ContainsFunc(extensions, func(e extension) bool { return e.Critical && !slices.Contains(known, e.Id.String()) })
}

func clip(s string) string { return s[:min(len(s), 96)] }
