// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"time"

	"github.com/assayd/assay/verifier/internal/revocation"
)

// Revocation says how the publishers of certificates are asked whether they
// revoked one (authorities of kinds x509 and notation). The zero value asks
// nobody: what names a responder or a list is then revocation.unavailable where
// the policy is hard.
type Revocation struct {
	// Online asks OCSP responders and fetches CRLs, where they have public
	// addresses.
	Online bool
	// Hosts, as host:port, are those that may be asked although their addresses
	// are not public.
	Hosts []string
	// Folder keeps what was found, so that it survives a restart; "" keeps it in
	// memory. It need not exist, and belongs to one process at a time.
	Folder string
	// OCSP and CRLs are answers and lists that the caller brings, in DER, for where
	// nobody can be asked. Nothing of them is taken on trust, and what is about other
	// certificates is passed over.
	OCSP, CRLs [][]byte
	// Log hears of a folder that cannot be used, which changes no verdict; nil is
	// nobody.
	Log *slog.Logger
}

// checker makes what asks, and what ends it.
func (r Revocation) checker() (*revocation.Checker, func(), error) {
	cache := revocation.NewCache(revocation.CacheConfig{Folder: r.Folder, Log: r.Log})
	cfg := revocation.Config{Cache: cache}
	if r.Online {
		cfg.Fetch = revocation.GuardedFetch(slices.Clone(r.Hosts))
	}
	c, err := revocation.New(cfg)
	end := func() {
		if c != nil {
			c.Close()
		}
		if err := cache.Close(); err != nil && r.Log != nil {
			r.Log.Warn("closing the cache of revocations", "error", err)
		}
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return c, end, nil
}

// revoked asks about the certificates of a fact that a publisher can revoke. It
// returns until when the answer holds, and what was let through without one.
func (v *Verifier) revoked(ctx context.Context, f *fact, a *authority, at time.Time) (time.Time, []string, error) {
	if f.chain == nil || a.Revocation == RevocationOff {
		return time.Time{}, nil, nil
	}
	mode := revocation.Hard
	if a.Revocation == RevocationSoft {
		mode = revocation.Soft
	}
	var signed revocation.SigningTime
	if n := len(f.times); n > 0 {
		signed = revocation.SigningTime{Proven: true, Upper: f.times[n-1], BeforeInvalidity: a.Grandfather == GrandfatherInvalidityDate}
	}
	var until time.Time
	var warnings []string
	for i, chain := range append([][]*x509.Certificate{f.chain}, f.stampers...) {
		if i > 0 { // nothing dates the timestamp authority itself
			signed = revocation.SigningTime{}
		}
		res, err := v.shared.publishers.Check(ctx, chain, at, signed, mode, v.shared.stapled)
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
