// SPDX-License-Identifier: Apache-2.0

// Package spiffetest is a fake Workload API for tests, whose SVID a test sets,
// replaces, lets expire and withdraws at will.
//
// [NewAuthority] makes a trust domain, [Authority.Issue] an SVID, and [Start] a
// Workload API that serves it. It is imported by tests only and may change at
// any time.
package spiffetest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/internal/workload"
)

// An Authority is the certificate authority of a trust domain.
type Authority struct{ a *workload.Authority }

// NewAuthority makes an authority that is valid for a day.
func NewAuthority(tb testing.TB, trustDomain string) *Authority {
	tb.Helper()
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	a, err := workload.NewAuthority(td, now.Add(-time.Hour), now.Add(24*time.Hour))
	if err != nil {
		tb.Fatal(err)
	}
	return &Authority{a}
}

// Certificate returns the authority's certificate, for bundles.
func (a *Authority) Certificate() *x509.Certificate { return a.a.Certificate }

// An SVID is an X.509 SVID with its key and trust bundle.
type SVID struct{ s *workload.SVID }

// Issue makes an SVID for the given SPIFFE ID, which need not be of this trust
// domain, with the given validity. Its bundle is this authority.
func (a *Authority) Issue(tb testing.TB, id string, notBefore, notAfter time.Time) SVID {
	tb.Helper()
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := a.a.Issue(parsed, notBefore, notAfter)
	if err != nil {
		tb.Fatal(err)
	}
	return SVID{s}
}

// SVID makes an SVID that is valid for an hour.
func (a *Authority) SVID(tb testing.TB, id string) SVID {
	tb.Helper()
	now := time.Now()
	return a.Issue(tb, id, now.Add(-time.Minute), now.Add(time.Hour))
}

// WithBundle returns the SVID with another trust bundle: what its holder is
// told to trust.
func (s SVID) WithBundle(authorities ...*Authority) SVID {
	changed := *s.s
	changed.Bundle = nil
	for _, a := range authorities {
		changed.Bundle = append(changed.Bundle, a.a.Certificate)
	}
	return SVID{&changed}
}

// TLSCertificate returns the SVID as crypto/tls presents it, valid or not: for
// peers that do not keep the rules.
func (s SVID) TLSCertificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	parsed, err := x509svid.ParseRaw(s.s.Chain, s.s.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{parsed.Certificates[0].Raw}, PrivateKey: parsed.PrivateKey, Leaf: parsed.Certificates[0]}
}

// An API is a Workload API with one identity.
type API struct {
	s    *workload.Server
	path string
}

// Start starts a Workload API on a unix socket. The test stops it at its end.
func Start(tb testing.TB, svid SVID) *API {
	tb.Helper()
	api := StartEmpty(tb)
	api.Set(svid)
	return api
}

// StartEmpty starts a Workload API that has no identity to give yet.
func StartEmpty(tb testing.TB) *API {
	tb.Helper()
	// Not TempDir: its path has the test's name, and a socket's has 107 bytes.
	dir, err := os.MkdirTemp("", "svid")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	path := filepath.Join(dir, "api.sock")
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	api := &API{s: workload.Start(l), path: path}
	tb.Cleanup(func() {
		if err := api.s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return api
}

// Socket returns the path of the socket.
func (a *API) Socket() string { return a.path }

// Set replaces the SVID and tells all who watch.
func (a *API) Set(svid SVID) { a.s.Set(svid.s) }

// Withdraw takes the identity away: streams end with PermissionDenied "no
// identity issued".
func (a *API) Withdraw() { a.s.Set(nil) }

// Stop stops the API, as an agent that is gone: its socket refuses connections.
func (a *API) Stop(tb testing.TB) {
	tb.Helper()
	if err := a.s.Close(); err != nil {
		tb.Error(err)
	}
}

// Open opens a source on the API. The test closes it at its end.
func (a *API) Open(tb testing.TB) *spiffe.Source {
	tb.Helper()
	src, err := spiffe.OpenSource(tb.Context(), a.path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := src.Close(); err != nil {
			tb.Error(err)
		}
	})
	return src
}
