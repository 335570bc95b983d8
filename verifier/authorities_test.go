// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// A chainSpec is a certificate authority, and a leaf of it: templates that a
// test changes, root first and leaf last.
type chainSpec struct {
	certs    []*x509.Certificate
	from, to time.Time // when the trust root lists it
	extra    bool      // another intermediate of the same key, that is valid later
}

var chainStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newChainSpec returns a CA with that many intermediates.
func newChainSpec(intermediates int) *chainSpec {
	s := &chainSpec{}
	for i := range intermediates + 2 {
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: fmt.Sprint("certificate ", i)},
			NotBefore: chainStart.AddDate(0, 0, i), NotAfter: chainStart.AddDate(1, 0, -i), SubjectKeyId: []byte{byte(i + 1)}}
		if i <= intermediates {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.MaxPathLen = true, true, x509.KeyUsageCertSign, -1
		} else {
			c.KeyUsage, c.ExtKeyUsage, c.EmailAddresses = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, []string{"signer@example.com"}
		}
		s.certs = append(s.certs, c)
	}
	return s
}

// build issues the certificates.
func (s *chainSpec) build(t *testing.T) (*root.FulcioCertificateAuthority, *x509.Certificate) {
	t.Helper()
	var out []*x509.Certificate
	var parent *x509.Certificate
	var parentKey crypto.Signer
	ca := &root.FulcioCertificateAuthority{ValidityPeriodStart: s.from, ValidityPeriodEnd: s.to}
	for i, template := range s.certs {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		issue := func(template *x509.Certificate) *x509.Certificate {
			der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
			if err != nil {
				t.Fatal(err)
			}
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		c := issue(template)
		if s.extra && i == 1 {
			later := *template
			later.SerialNumber, later.NotBefore, later.NotAfter = big.NewInt(99), chainStart.AddDate(2, 0, 0), chainStart.AddDate(3, 0, 0)
			ca.Intermediates = append(ca.Intermediates, issue(&later))
		}
		out = append(out, c)
		parent, parentKey = c, key
	}
	last := len(out) - 1
	ca.Root = out[0]
	for _, c := range slices.Backward(out[1:last]) {
		ca.Intermediates = append(ca.Intermediates, c)
	}
	return ca, out[last]
}

// TestAuthoritiesAgainstLibrary: an authority that has verified its own
// certificates before accepts exactly what the library accepts, whichever
// certificate is changed, and it does so without the library where nothing is
// odd.
func TestAuthoritiesAgainstLibrary(t *testing.T) {
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}
	codeSigning, timeStamping := []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	changes := []struct {
		name   string
		change func(*chainSpec, *x509.Certificate)
		// quick says whether the good times are decided without the library; it is
		// asked of changes to the root only.
		quick bool
	}{
		{"nothing", func(*chainSpec, *x509.Certificate) {}, true},
		{"path length 0", func(_ *chainSpec, c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }, false},
		{"path length 1", func(_ *chainSpec, c *x509.Certificate) { c.MaxPathLen = 1 }, true},
		{"no authority", func(_ *chainSpec, c *x509.Certificate) {
			c.IsCA, c.MaxPathLen, c.KeyUsage = false, 0, x509.KeyUsageDigitalSignature
		}, false},
		{"must not sign certificates", func(_ *chainSpec, c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, false},
		{"code signing", func(_ *chainSpec, c *x509.Certificate) { c.ExtKeyUsage = codeSigning }, true},
		{"time stamping", func(_ *chainSpec, c *x509.Certificate) { c.ExtKeyUsage = timeStamping }, false},
		{"another critical extension", func(_ *chainSpec, c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{critical} }, false},
		{"permits other names", func(_ *chainSpec, c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"other.example"}
		}, false},
		{"permits the name", func(_ *chainSpec, c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"example.com"}
		}, false},
		{"wants a policy", func(_ *chainSpec, c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Critical: true, Value: []byte{0x30, 0x03, 0x80, 0x01, 0x00}}}
		}, false},
		{"ended early", func(_ *chainSpec, c *x509.Certificate) { c.NotAfter = chainStart.AddDate(0, 1, 0) }, true},
		{"began late", func(_ *chainSpec, c *x509.Certificate) { c.NotBefore = chainStart.AddDate(0, 6, 0) }, true},
		{"never valid with the others", func(_ *chainSpec, c *x509.Certificate) {
			c.NotBefore, c.NotAfter = chainStart.AddDate(2, 0, 0), chainStart.AddDate(3, 0, 0)
		}, false},
		{"listed from a day on", func(s *chainSpec, _ *x509.Certificate) { s.from = chainStart.AddDate(0, 2, 0) }, true},
		{"listed until a day", func(s *chainSpec, _ *x509.Certificate) { s.to = chainStart.AddDate(0, 2, 0) }, true},
		{"another intermediate", func(s *chainSpec, _ *x509.Certificate) { s.extra = true }, false},
	}
	quick := 0
	for intermediates := range 3 {
		for _, tt := range changes {
			for at := range intermediates + 2 {
				name := fmt.Sprintf("%s, certificate %d of %d", tt.name, at, intermediates+2)
				t.Run(name, func(t *testing.T) {
					spec := newChainSpec(intermediates)
					tt.change(spec, spec.certs[at])
					lib, leaf := spec.build(t)
					ca := &certificateAuthority{CertificateAuthority: lib}
					ca.chains = sync.OnceValues(ca.link)
					var times []time.Time
					for _, c := range append([]*x509.Certificate{lib.Root, leaf}, lib.Intermediates...) {
						times = append(times, c.NotBefore, c.NotBefore.Add(-time.Second), c.NotAfter, c.NotAfter.Add(time.Second))
					}
					for _, end := range []time.Time{spec.from, spec.to} {
						if !end.IsZero() {
							times = append(times, end, end.Add(-time.Second), end.Add(time.Second))
						}
					}
					decided, accepted := 0, 0
					for _, when := range times {
						want, libErr := lib.Verify(leaf, when)
						fast := ca.verifyLast(leaf, when)
						got, err := ca.verify(leaf, when)
						if (err == nil) != (libErr == nil) {
							t.Fatalf("at %s: got %v, and of the library %v", when, err, libErr)
						}
						if len(fast) > 0 && libErr != nil {
							t.Fatalf("at %s: accepted, and the library says %v", when, libErr)
						}
						for _, chain := range got {
							if !slices.ContainsFunc(want, func(w []*x509.Certificate) bool { return slices.EqualFunc(w, chain, (*x509.Certificate).Equal) }) {
								t.Fatalf("at %s: a chain of %d that the library does not have", when, len(chain))
							}
						}
						if libErr == nil {
							accepted++
							if len(fast) > 0 {
								decided++
							}
						}
					}
					quick += decided
					if at == 0 && tt.quick && decided != accepted {
						t.Errorf("%d of %d good times are decided without the library", decided, accepted)
					}
				})
			}
		}
	}
	if quick < 100 {
		t.Errorf("%d good times are decided without the library, want most", quick)
	}
}

// TestVerifyLeafAtEveryTime: a chain has to be valid at every proven time, and
// the first one at which it is not is named.
func TestVerifyLeafAtEveryTime(t *testing.T) {
	spec := newChainSpec(1)
	spec.to = chainStart.AddDate(0, 3, 0)
	lib, leaf := spec.build(t)
	ca := &certificateAuthority{CertificateAuthority: lib}
	ca.chains = sync.OnceValues(ca.link)
	tr := &trustedRoot{authorities: []*certificateAuthority{ca}}
	good, late, unlisted := leaf.NotBefore, leaf.NotAfter.Add(time.Second), spec.to.Add(time.Second)
	for _, tt := range []struct {
		times []time.Time
		bad   time.Time
	}{
		{[]time.Time{good}, time.Time{}},
		{[]time.Time{good, good, spec.to}, time.Time{}},
		{[]time.Time{late}, late},
		{[]time.Time{good, unlisted}, unlisted},
		{[]time.Time{good, late}, late},
		{[]time.Time{good, spec.to, unlisted, late}, unlisted},
	} {
		chains, at, err := tr.verifyLeaf(leaf, tt.times)
		if (err == nil) != tt.bad.IsZero() || !at.Equal(tt.bad) || (err == nil) != (len(chains) > 0) {
			t.Errorf("%v: got %d chains, %s, %v, want %s", tt.times, len(chains), at, err, tt.bad)
		}
	}
}
