// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/sct"
	"github.com/assayd/assay/verifier/internal/stamp"
)

// A trustedRoot is the trust root of a sigstore instance, with authorities that
// verify the signatures between their own certificates once. Half of the time
// of a keyless verification goes into those otherwise, and they are the same
// for every signature. What an authority cannot decide in this way it asks the
// library, which has the last word of every refusal.
type trustedRoot struct {
	*root.TrustedRoot
	authorities []*certificateAuthority
	stampers    []root.TimestampingAuthority
	ctLogs      map[[sha256.Size]byte]sct.Log
}

func newTrustedRoot(tr *root.TrustedRoot) *trustedRoot {
	t := &trustedRoot{TrustedRoot: tr, ctLogs: make(map[[sha256.Size]byte]sct.Log)}
	for id, log := range tr.CTLogs() {
		if sum, err := hex.DecodeString(id); err == nil && len(sum) == sha256.Size {
			t.ctLogs[[sha256.Size]byte(sum)] = sct.Log{Key: log.PublicKey, From: log.ValidityPeriodStart, To: log.ValidityPeriodEnd}
		}
	}
	for _, a := range tr.FulcioCertificateAuthorities() {
		ca := &certificateAuthority{CertificateAuthority: a}
		ca.chains = sync.OnceValues(ca.link)
		t.authorities = append(t.authorities, ca)
	}
	for _, a := range tr.TimestampingAuthorities() {
		if tsa, ok := a.(*root.SigstoreTimestampingAuthority); ok && tsa.Leaf != nil && tsa.Root != nil {
			s := &timestampAuthority{SigstoreTimestampingAuthority: tsa}
			s.chains = sync.OnceValue(s.link)
			a = s
		}
		t.stampers = append(t.stampers, a)
	}
	return t
}

// TimestampingAuthorities replaces the library's.
func (t *trustedRoot) TimestampingAuthorities() []root.TimestampingAuthority { return t.stampers }

// verifyLeaf returns the chains of leaf that are valid at every one of times,
// which are not none. It returns the first time at which there is none.
func (t *trustedRoot) verifyLeaf(leaf *x509.Certificate, times []time.Time) ([][]*x509.Certificate, time.Time, error) {
	var chains [][]*x509.Certificate
	var by *certificateAuthority
	for i, at := range times {
		// The signatures do not depend on the time: windows do.
		if i > 0 && by.lists(at) {
			if still := validAt(chains, at); len(still) > 0 {
				chains = still
				continue
			}
		}
		chains, by = nil, nil
		for _, ca := range t.authorities {
			found, err := ca.verify(leaf, at)
			if err == nil {
				chains, by = found, ca
				break
			}
		}
		if by == nil {
			return nil, at, errors.New("no listed authority issued the certificate")
		}
	}
	return chains, time.Time{}, nil
}

// validAt returns those of chains of which every certificate is valid at a time.
func validAt(chains [][]*x509.Certificate, at time.Time) [][]*x509.Certificate {
	var out [][]*x509.Certificate
	for _, chain := range chains {
		valid := true
		for _, c := range chain {
			valid = valid && window{c.NotBefore, c.NotAfter}.contains(at)
		}
		if valid {
			out = append(out, chain)
		}
	}
	return out
}

// firstCommon is the first time at which none of certs is before its window.
func firstCommon(certs ...*x509.Certificate) time.Time {
	var at time.Time
	for _, c := range certs {
		if c.NotBefore.After(at) {
			at = c.NotBefore
		}
	}
	return at
}

// constrains says whether c demands something of certificates further down than
// the next one.
func constrains(c *x509.Certificate) bool {
	return len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains)+len(c.PermittedIPRanges)+len(c.ExcludedIPRanges)+
		len(c.PermittedEmailAddresses)+len(c.ExcludedEmailAddresses)+len(c.PermittedURIDomains)+len(c.ExcludedURIDomains) > 0 ||
		c.RequireExplicitPolicy > 0 || c.RequireExplicitPolicyZero || c.InhibitPolicyMapping > 0 || c.InhibitPolicyMappingZero ||
		c.InhibitAnyPolicy > 0 || c.InhibitAnyPolicyZero
}

// A certificateAuthority is one of the certificate authorities of a trust root.
type certificateAuthority struct {
	root.CertificateAuthority
	// chains returns the CA's own certificates that may issue leaves, and by
	// their DER the chains from each up to the root.
	chains func() (*x509.CertPool, map[string][][]*x509.Certificate)
}

// lists says whether the trust root lists ca for that time.
func (ca *certificateAuthority) lists(at time.Time) bool {
	f, ok := ca.CertificateAuthority.(*root.FulcioCertificateAuthority)
	return ok && window{f.ValidityPeriodStart, f.ValidityPeriodEnd}.contains(at)
}

// link verifies the signatures among the CA's certificates. It returns none
// where a path cannot be cut in two, because an upper certificate restricts
// what a lower one issues.
func (ca *certificateAuthority) link() (*x509.CertPool, map[string][][]*x509.Certificate) {
	f, ok := ca.CertificateAuthority.(*root.FulcioCertificateAuthority)
	if !ok || constrains(f.Root) {
		return nil, nil
	}
	issuers, anchors, parents := x509.NewCertPool(), x509.NewCertPool(), x509.NewCertPool()
	anchors.AddCert(f.Root)
	for _, c := range f.Intermediates {
		if constrains(c) {
			return nil, nil
		}
		parents.AddCert(c)
	}
	opts := x509.VerifyOptions{Roots: anchors, Intermediates: parents, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		CurrentTime: firstCommon(append([]*x509.Certificate{f.Root}, f.Intermediates...)...)}
	chains := map[string][][]*x509.Certificate{string(f.Root.Raw): {{f.Root}}}
	issuers.AddCert(f.Root)
	for _, c := range f.Intermediates {
		// The standard library looks at this of intermediates, and c is its leaf.
		if !c.BasicConstraintsValid || !c.IsCA {
			continue
		}
		if up, err := c.Verify(opts); err == nil {
			chains[string(c.Raw)] = up
			issuers.AddCert(c)
		}
	}
	return issuers, chains
}

// verify returns the chains of leaf that are valid at a time.
func (ca *certificateAuthority) verify(leaf *x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	if found := ca.verifyLast(leaf, at); len(found) > 0 {
		return found, nil
	}
	return ca.Verify(leaf, at)
}

// verifyLast verifies the last link of a path alone.
func (ca *certificateAuthority) verifyLast(leaf *x509.Certificate, at time.Time) [][]*x509.Certificate {
	issuers, chains := ca.chains()
	if issuers == nil || !ca.lists(at) {
		return nil
	}
	last, err := leaf.Verify(x509.VerifyOptions{Roots: issuers, Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	if err != nil {
		return nil
	}
	var out [][]*x509.Certificate
	for _, l := range last {
		if len(l) != 2 {
			continue // the leaf is an issuer itself
		}
		for _, up := range chains[string(l[1].Raw)] {
			chain := append([]*x509.Certificate{leaf}, up...)
			if withinPathLengths(chain) {
				out = append(out, chain)
			}
		}
	}
	return validAt(out, at)
}

// withinPathLengths says whether no certificate of chain, leaf first, is further
// up than its path length allows (RFC 5280 §4.2.1.9).
func withinPathLengths(chain []*x509.Certificate) bool {
	for i, c := range chain[1:] {
		if c.BasicConstraintsValid && c.MaxPathLen >= 0 && i > c.MaxPathLen {
			return false
		}
	}
	return true
}

// verifySCT looks for a timestamp of a listed certificate-transparency log in
// the leaf of one of chains.
func (t *trustedRoot) verifySCT(chains [][]*x509.Certificate) error {
	err := sct.ErrMissing
	for _, chain := range chains {
		if len(chain) < 2 {
			continue
		}
		if err = sct.Verify(chain[0], chain[1], t.ctLogs); err == nil {
			return nil
		}
	}
	if errors.Is(err, sct.ErrMissing) {
		return verdict.Refuse(verdict.SCTMissing, "verifying certificate transparency: %w", err)
	}
	return verdict.Refuse(verdict.SCTInvalid, "verifying certificate transparency: %w", err)
}

// A timestampAuthority is one whose certificate the trust root lists.
type timestampAuthority struct {
	*root.SigstoreTimestampingAuthority
	// chains are the paths of its certificate.
	chains func() [][]*x509.Certificate
}

func (a *timestampAuthority) link() [][]*x509.Certificate {
	anchors, parents := x509.NewCertPool(), x509.NewCertPool()
	anchors.AddCert(a.Root)
	for _, c := range a.Intermediates {
		parents.AddCert(c)
	}
	chains, err := a.Leaf.Verify(x509.VerifyOptions{Roots: anchors, Intermediates: parents, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
		CurrentTime: firstCommon(append([]*x509.Certificate{a.Root, a.Leaf}, a.Intermediates...)...)})
	if err != nil {
		return nil
	}
	return chains
}

// Verify verifies a timestamp over signature (RFC 3161, and RFC 5816).
func (a *timestampAuthority) Verify(token, signature []byte) (*root.Timestamp, error) {
	// Before any arithmetic: a trust root lists many authorities, one of which
	// signed. The library verifies a token with a certificate in it while it reads
	// it.
	if err := stamp.CheckSigner(token, a.Leaf); err != nil {
		return nil, err
	}
	if chains := a.chains(); len(chains) > 0 {
		// As its own anchor the certificate has no path to be verified; all else
		// is the library's.
		last := *a.SigstoreTimestampingAuthority
		last.Root, last.Intermediates = a.Leaf, nil
		if ts, err := last.Verify(token, signature); err == nil && len(validAt(chains, ts.Time)) > 0 {
			return ts, nil
		}
	}
	return a.SigstoreTimestampingAuthority.Verify(token, signature)
}
