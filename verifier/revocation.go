// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"crypto/x509"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/assayd/assay/verifier/internal/publisher"
)

// Revocation says how the publishers of certificates are asked whether they
// revoked one (authorities of kinds x509 and notation). The zero value asks
// nobody: what names a responder or a list is then revocation.unavailable where
// the policy is hard.
type Revocation struct {
	// Online asks OCSP responders and fetches CRLs, where they have public
	// addresses.
	Online bool
	// Hosts are those that may be asked although their addresses are not public:
	// host or host:port, as certificates name them.
	Hosts []string
	// Folder keeps what was found, so that it survives a restart; nil keeps it in
	// memory. The verifier does not close it.
	Folder *os.Root
	// Warn hears of a folder that cannot be read or written, which changes no
	// verdict. It may be called concurrently, and may be nil.
	Warn func(error)
}

// checker makes what asks, and what ends it.
func (r Revocation) checker() (*publisher.Checker, func()) {
	cache := publisher.NewCache()
	if r.Folder != nil {
		warn := r.Warn
		if warn == nil {
			warn = func(error) {}
		}
		cache = publisher.OpenCache(r.Folder, warn)
	}
	if !r.Online {
		return publisher.New(nil, cache), func() {}
	}
	f := &publisherFetcher{hosts: slices.Clone(r.Hosts), public: publisher.NewHTTP(publicAddress), named: publisher.NewHTTP(notLinkLocal)}
	return publisher.New(f, cache), func() { f.public.Close(); f.named.Close() }
}

// A publisherFetcher asks hosts that the operator named at any address, and all
// others at public ones.
type publisherFetcher struct {
	hosts         []string
	public, named *publisher.HTTP
}

func (f *publisherFetcher) Fetch(ctx context.Context, where string, body []byte, limit int64) ([]byte, error) {
	if u, err := url.Parse(where); err == nil && (slices.Contains(f.hosts, u.Host) || slices.Contains(f.hosts, u.Hostname())) {
		return f.named.Fetch(ctx, where, body, limit)
	}
	return f.public.Fetch(ctx, where, body, limit)
}

// revoked asks about the certificates of a fact that a publisher can revoke. It
// returns until when the answer holds. Sets of logs and short-lived certificates
// have no publisher who revokes.
func (v *Verifier) revoked(ctx context.Context, f *fact, a *authority, at time.Time) (time.Time, []string, error) {
	if f.chain == nil || a.Revocation == RevocationOff {
		return time.Time{}, nil, nil
	}
	mode := publisher.Hard
	if a.Revocation == RevocationSoft {
		mode = publisher.Soft
	}
	var until time.Time
	var warnings []string
	for _, chain := range append([][]*x509.Certificate{f.chain}, f.stampers...) {
		res, err := v.shared.publishers.Check(ctx, chain, at, mode)
		if err != nil {
			return time.Time{}, nil, err
		}
		if !res.NotAfter.IsZero() && (until.IsZero() || res.NotAfter.Before(until)) {
			until = res.NotAfter
		}
		warnings = append(warnings, res.Warnings...)
	}
	return until, warnings, nil
}
