// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// Limits and defaults.
const (
	// MaxCertificates bounds a chain.
	MaxCertificates = 8
	// MaxStapled bounds the responses and the lists that are stapled, each.
	MaxStapled = 32
	// MaxAddresses bounds the addresses of each kind that are asked for one
	// certificate; further ones are not.
	MaxAddresses = 4
	// maxNames bounds the addresses that an extension may have.
	maxNames = 64
	// DefaultOCSPTimeout and DefaultCRLTimeout bound one request (notary project,
	// trust store and trust policy, certificate revocation).
	DefaultOCSPTimeout = 2 * time.Second
	DefaultCRLTimeout  = 5 * time.Second
	// skew is how far an issuer's clock may be ahead of ours.
	skew = time.Minute
	// refreshAfter is the age of evidence in memory at which it is asked for again,
	// while it is relied on: an issuer may revoke before the next list is due.
	refreshAfter = time.Hour
)

// Reasons of RFC 5280 §5.3.1 that matter.
const (
	reasonKeyCompromise = 1
	reasonCACompromise  = 2
	reasonHold          = 6
	reasonRemove        = 8
	reasonAACompromise  = 10
)

var reasonNames = map[int]string{
	0: "unspecified", reasonKeyCompromise: "keyCompromise", reasonCACompromise: "cACompromise", 3: "affiliationChanged", 4: "superseded",
	5: "cessationOfOperation", reasonHold: "certificateHold", reasonRemove: "removeFromCRL", 9: "privilegeWithdrawn", reasonAACompromise: "aACompromise",
}

// A Mode says what follows when nothing is known of a certificate. Revoked is
// revoked in all of them but Off. The zero value is Hard.
type Mode int

// The modes.
const (
	// Hard fails with revocation.unavailable.
	Hard Mode = iota
	// Soft warns. Whoever controls the network then decides that nothing is known.
	Soft
	// Off does not look.
	Off
)

// A Config says how evidence is had.
type Config struct {
	// Fetch asks the addresses that certificates name; nil asks nobody, and only
	// what is stapled or cached is known.
	Fetch Fetch
	// Cache keeps evidence; nil is a cache in memory of this checker alone.
	Cache *Cache
	// OCSPTimeout and CRLTimeout bound one request each; zero is the default.
	OCSPTimeout, CRLTimeout time.Duration
}

// A Checker checks chains. It may be used concurrently, and should be one for a
// process, so that what two verifications ask is asked once.
type Checker struct {
	cfg     Config
	cache   *Cache
	flights *flights
	// writes has a value for each write that waits for the disk.
	writes chan struct{}
}

// maxWrites bounds the writes that wait for a disk that is slow.
const maxWrites = 16

// New checks the configuration.
func New(cfg Config) (*Checker, error) {
	if cfg.OCSPTimeout < 0 || cfg.CRLTimeout < 0 {
		return nil, verdict.Misused("write a time above zero", "reading revocation timeouts: %s and %s are not both above zero", cfg.OCSPTimeout, cfg.CRLTimeout)
	}
	cfg.OCSPTimeout, cfg.CRLTimeout = cmp.Or(cfg.OCSPTimeout, DefaultOCSPTimeout), cmp.Or(cfg.CRLTimeout, DefaultCRLTimeout)
	if cfg.Cache == nil {
		cfg.Cache = NewCache(CacheConfig{})
	}
	return &Checker{cfg: cfg, cache: cfg.Cache, flights: newFlights(), writes: make(chan struct{}, maxWrites)}, nil
}

// Close ends the requests under way and waits for them. It does not close the
// cache.
func (c *Checker) Close() { c.flights.close() }

// keep writes evidence to the folder, on nobody's time. It is called within a flight,
// for which Close waits.
func (c *Checker) keep(key [sha256.Size]byte, kind string, der []byte) {
	select {
	case c.writes <- struct{}{}:
		c.flights.wg.Go(func() {
			c.cache.write(key, kind, der)
			<-c.writes
		})
	default:
		c.cache.warn("waiting to write", errors.New("the disk is too slow"))
	}
}

// Stapled is evidence that needs no request, in DER: OCSP responses, and CRLs
// complete or delta. Nothing is taken from it on trust, and what is about other
// certificates is passed over.
type Stapled struct {
	OCSP, CRLs [][]byte
}

// SigningTime is what is known of when the signature was made.
type SigningTime struct {
	// Proven: a trusted timestamp says that it was made before Upper (genTime and
	// accuracy). It is not proven for the chain of the timestamp authority itself.
	Proven bool
	Upper  time.Time
	// BeforeInvalidity lets a signature count whose proven time is before the
	// invalidity date (RFC 5280 §5.3.2) that the issuer gave, unless a key was
	// compromised. Without it revoked is revoked, whatever was signed when. The date
	// of revocation alone never helps: it says when somebody noticed.
	BeforeInvalidity bool
}

// Evidence is what was relied on for one certificate.
type Evidence struct {
	// Subject and Serial (hexadecimal) name the certificate.
	Subject, Serial string
	// Source is "ocsp", "crl", "delta-crl", or "none" for a certificate that names
	// no source, and which counts as not revoked (notary project, trust store and
	// trust policy).
	Source string
	// URL is where it came from, or "stapled".
	URL string
	// ThisUpdate and NextUpdate are its window.
	ThisUpdate, NextUpdate time.Time
	// Digest is that of its bytes; empty for "none".
	Digest verdict.Digest
}

// A Result says what was relied on.
type Result struct {
	// NotAfter is when the first of the evidence has to be renewed; zero when there
	// was none.
	NotAfter time.Time
	// Evidence is in the order of the chain; for one certificate there may be
	// several pieces, the one about it first.
	Evidence []Evidence
	// Warnings say what was let through, one sentence each.
	Warnings []string
}

// Check tells whether a certificate of chain was revoked, by what is known at the
// time. Chain is verified, the leaf first, the trusted one last, which is not
// checked: nobody but the owner of the trust store can revoke it.
//
// Errors:
//   - a refusal revoked.certificate, in every mode but Off
//   - a failure revocation.unavailable, in mode Hard
//   - a failure input.limit when more is stapled than [MaxStapled] of a kind
//   - a failure internal for certificates that are no chain
//   - a refusal cert.profile for a chain longer than [MaxCertificates]
//
// On error the result is zero. All certificates are looked at, at the same time,
// and a refusal of one is told before a failure of another.
func (c *Checker) Check(ctx context.Context, chain []*x509.Certificate, at time.Time, signed SigningTime, mode Mode, st Stapled) (Result, error) {
	if mode == Off {
		return Result{}, nil
	}
	if len(chain) > MaxCertificates {
		return Result{}, verdict.Refuse(verdict.CertProfile, "checking revocation: the chain has %d certificates, want at most %d", len(chain), MaxCertificates)
	}
	if len(st.OCSP) > MaxStapled || len(st.CRLs) > MaxStapled {
		return Result{}, verdict.Fail(verdict.InputLimit, "checking revocation: %d OCSP responses and %d CRLs are stapled, want at most %d of each", len(st.OCSP), len(st.CRLs), MaxStapled)
	}
	if len(chain) < 2 {
		return Result{}, nil // the trusted one itself, which nobody can revoke
	}
	for i, c := range chain[1:] {
		if !bytes.Equal(chain[i].RawIssuer, c.RawSubject) {
			return Result{}, verdict.Fail(verdict.Internal, "checking revocation: certificate %d of the chain was not issued by the next one", i+1)
		}
	}
	stapled := readStapled(st)
	outcomes := make([]outcome, len(chain)-1)
	look := func(i int) {
		_, err := safely(func() (any, error) {
			l := &lookup{c: c, at: at, signed: signed, stapled: stapled, cert: chain[i], issuer: chain[i+1]}
			outcomes[i] = l.certificate(ctx)
			return nil, nil
		})
		if err != nil {
			outcomes[i] = outcome{err: verdict.Fail(verdict.Internal, "checking revocation: %w", err)}
		}
	}
	var wg sync.WaitGroup
	for i := 1; i < len(outcomes); i++ {
		wg.Go(func() { look(i) })
	}
	look(0)
	wg.Wait()

	var r Result
	var failed error
	for i, o := range outcomes {
		switch {
		case o.err == nil:
			r.Evidence = append(r.Evidence, o.evidence...)
			r.Warnings = append(r.Warnings, o.warnings...)
			r.NotAfter = earlier(r.NotAfter, o.notAfter)
		case verdict.Refused(o.err):
			return Result{}, o.err
		case mode == Soft && verdict.CodeOf(o.err) == verdict.RevocationUnavailable:
			r.Warnings = append(r.Warnings, verdict.ReasonOf(o.err).Text)
		case failed == nil:
			failed = outcomes[i].err
		}
	}
	if failed != nil {
		return Result{}, failed
	}
	return r, nil
}

// outcome is what was found about one certificate: err is nil for one that is not
// revoked.
type outcome struct {
	evidence []Evidence
	warnings []string
	notAfter time.Time
	err      error
}

// earlier returns the earlier of two times of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// fresh tells whether evidence of this window may be relied on, and if not why.
func fresh(this, next, at time.Time) error {
	switch {
	case this.After(at.Add(skew)):
		return fmt.Errorf("it is of the future: it begins at %s, and it is %s", this.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case next.Before(at):
		return fmt.Errorf("it ended at %s", next.UTC().Format(time.RFC3339))
	}
	return nil
}

// digestOf hashes parts, each with its length.
func digestOf(parts ...[]byte) (d [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	h.Sum(d[:0])
	return d
}

// clipped bounds a name that goes into a reason, so that there is room for the rest.
func clipped(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// stapledEvidence is what is stapled, as far as it has a form.
type stapledEvidence struct {
	responses []*response
	lists     []*crl
	notes     []error
}

func readStapled(st Stapled) stapledEvidence {
	var s stapledEvidence
	for _, der := range st.OCSP {
		if r, err := parseResponse(der); err != nil {
			s.notes = append(s.notes, fmt.Errorf("stapled OCSP response: %w", err))
		} else {
			s.responses = append(s.responses, r)
		}
	}
	for _, der := range st.CRLs {
		if l, err := parseCRL(der); err != nil {
			s.notes = append(s.notes, fmt.Errorf("stapled CRL: %w", err))
		} else {
			s.lists = append(s.lists, l)
		}
	}
	return s
}

// joinNotes puts why nothing is known into one line.
func joinNotes(notes []error) error {
	const most = 6
	var texts []string
	for i, n := range notes {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(notes)-most))
			break
		}
		texts = append(texts, n.Error())
	}
	return errors.New(strings.Join(texts, "; "))
}
