// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// verifyX509 verifies a signature by a certificate of an own PKI. Log entries
// and timestamps are as in sigstore; where there are none, the signature counts
// while the whole chain is valid.
func (m *material) verifyX509(e *entity) (*fact, *stageError) {
	if e.leaf == nil {
		return nil, &stageError{stageSigner, verdict.Refuse(verdict.CertUntrusted, "reading signer: it was signed with a bare key, and a certificate is demanded")}
	}
	if err := checkX509Leaf(e.leaf); err != nil {
		return nil, &stageError{stageSigner, err}
	}
	if err := m.algorithms.accept(e.leaf.PublicKey); err != nil {
		return nil, &stageError{stageSigner, err}
	}
	names, err := readX509Names(e.leaf)
	if err != nil {
		return nil, &stageError{stageSigner, err}
	}
	if err := m.verifySignature(e, e.leaf.PublicKey); err != nil {
		return nil, &stageError{stageSignature, err}
	}
	f := &fact{claims: e.claims, signer: &signer{san: names[0], names: names, certificate: verdict.SHA256(e.leaf.Raw), key: verdict.SHA256(e.leaf.RawSubjectPublicKeyInfo)}}
	var serr *stageError
	if f.times, f.logs, serr = m.verifyTimes(e, m.trusted()); serr != nil {
		return nil, serr
	}
	// Without a proof of time any moment of the leaf's life shows whether there
	// is a path at all; the decision compares the window of that path.
	at := f.times
	if len(at) == 0 {
		at = []time.Time{m.pathTime(e)}
	}
	for _, t := range at {
		if f.chain, err = m.path(e, t); err != nil {
			return nil, &stageError{stageChain, err}
		}
	}
	if err := m.acceptChains([][]*x509.Certificate{f.chain}); err != nil {
		return nil, &stageError{stageChain, err}
	}
	if len(f.times) == 0 {
		for _, c := range f.chain {
			f.window = f.window.and(window{c.NotBefore, c.NotAfter})
		}
	}
	f.signer.issuer = f.chain[len(f.chain)-1].Subject.String()
	return f, nil
}

// pathTime is a time at which all certificates that came with the signature are
// valid, or the leaf's beginning where there is none.
func (m *material) pathTime(e *entity) time.Time {
	at := e.leaf.NotBefore
	for _, c := range append(slices.Clone(e.issuers), m.anchors...) {
		if c.NotBefore.After(at) && !c.NotBefore.After(e.leaf.NotAfter) {
			at = c.NotBefore
		}
	}
	return at
}

// path returns a chain from the leaf to a trust anchor, valid at t.
func (m *material) path(e *entity, t time.Time) ([]*x509.Certificate, error) {
	anchors, parents := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range m.anchors {
		anchors.AddCert(c)
	}
	for _, c := range e.issuers {
		parents.AddCert(c)
	}
	chains, err := e.leaf.Verify(x509.VerifyOptions{CurrentTime: t, Roots: anchors, Intermediates: parents, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, explainPath(err, t)
	}
	return chains[0], nil
}

// explainPath gives the standard library's refusal its code.
func explainPath(err error, at time.Time) error {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch invalid.Reason {
		case x509.Expired:
			return verdict.Refuse(verdict.CertExpiredAtSigning, "verifying certificate chain: %q was not valid when it was signed, at %s",
				clipQuote(invalid.Cert.Subject.String()), at.UTC().Format(time.RFC3339))
		case x509.IncompatibleUsage, x509.NotAuthorizedToSign, x509.TooManyIntermediates:
			return verdict.Refuse(verdict.CertProfile, "verifying certificate chain: %w", invalid)
		}
	}
	if _, ok := errors.AsType[x509.UnhandledCriticalExtension](err); ok {
		return verdict.Refuse(verdict.CertProfile, "verifying certificate chain: %w", err)
	}
	return verdict.Refuse(verdict.CertUntrusted, "verifying certificate chain: no path to the trust store: %w", err)
}

// checkX509Leaf refuses certificates that are not meant for signing: those of
// authorities, and those for other uses alone. An X.509-SVID (SPIFFE
// X509-SVID.md §4.3) says TLS where it says anything.
func checkX509Leaf(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return verdict.Refuse(verdict.CertProfile, "reading certificate: it is an authority's")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return verdict.Refuse(verdict.CertProfile, "reading certificate: its key usage has no digital signature")
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0:
		return nil
	}
	svid := len(leaf.URIs) == 1 && leaf.URIs[0].Scheme == "spiffe"
	for _, u := range leaf.ExtKeyUsage {
		if u == x509.ExtKeyUsageCodeSigning || u == x509.ExtKeyUsageAny || svid && (u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageServerAuth) {
			return nil
		}
	}
	return verdict.Refuse(verdict.CertProfile, "reading certificate: its extended key usages do not have code signing")
}

// readX509Names returns the subject alternative names: URIs, e-mail addresses
// and DNS names, as the bytes are, in this order. The authority vouches for all
// of them, so that any of them may be the one demanded.
func readX509Names(leaf *x509.Certificate) ([]string, error) {
	names, err := sanNames(leaf)
	if err != nil {
		return nil, err
	}
	byTag := make(map[int][]string)
	for _, n := range names {
		byTag[n.Tag] = append(byTag[n.Tag], string(n.Bytes))
	}
	found := slices.Concat(byTag[sanURI], byTag[sanEmail], byTag[sanDNS])
	if len(found) == 0 {
		return nil, verdict.Refuse(verdict.IdentityAmbiguous, "reading certificate: it has no URI, e-mail address or DNS name")
	}
	return found, nil
}

// Tags of GeneralName (RFC 5280 §4.2.1.6).
const (
	sanOther = 0
	sanEmail = 1
	sanDNS   = 2
	sanURI   = 6
)

// sanNames returns the subject alternative names as they are encoded.
func sanNames(leaf *x509.Certificate) ([]asn1.RawValue, error) {
	malformed := verdict.Refuse(verdict.InputMalformed, "reading certificate: the subject alternative name is not readable")
	var names []asn1.RawValue
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(oidSAN) {
			continue
		}
		var seq asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &seq); err != nil || len(rest) != 0 || seq.Tag != asn1.TagSequence || seq.Class != asn1.ClassUniversal {
			return nil, malformed
		}
		for rest := seq.Bytes; len(rest) > 0; {
			var v asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &v); err != nil || v.Class != asn1.ClassContextSpecific {
				return nil, malformed
			}
			names = append(names, v)
		}
	}
	return names, nil
}

// matchesX509 compares a signer with what an x509 authority demands.
func (a *authority) matchesX509(s *signer) error {
	x := a.X509
	if slices.ContainsFunc(s.names, func(n string) bool {
		return x.Subject != "" && n == x.Subject || x.SubjectPattern != "" && a.subject.matches(n)
	}) {
		return nil
	}
	return verdict.Refuse(verdict.IdentitySAN, "comparing identity: subject is %q, want %q", s.san, x.Subject+x.SubjectPattern)
}

// describeX509 says who an x509 authority is.
func (a *authority) describeX509() string {
	return a.X509.Subject + a.X509.SubjectPattern + " of " + strings.Join(a.X509.TrustStores, " or ")
}
