// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// An sgxMember is one of a platform certificate's SGX extensions.
type sgxMember struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

func sgxOID(n ...int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier{}, oidSGX...), n...)
}

// encoded is a value in DER.
func encoded(t *testing.T, v any) asn1.RawValue {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{FullBytes: der}
}

// sgxExtensions changes the SGX extensions of the platform's certificate.
func sgxExtensions(t *testing.T, x *attesttest.TDX, change func([]sgxMember) []sgxMember) {
	t.Helper()
	x.OnCertificate = func(name string, c *x509.Certificate) {
		if name != "pck" {
			return
		}
		var members []sgxMember
		if _, err := asn1.Unmarshal(c.ExtraExtensions[0].Value, &members); err != nil {
			t.Fatal(err)
		}
		c.ExtraExtensions[0].Value = encoded(t, change(members)).FullBytes
	}
}

// TestPCKForms changes one thing in what the platform's certificate says.
func TestPCKForms(t *testing.T) {
	const tcb = 1 // its place among the members
	inTCB := func(change func([]sgxMember) []sgxMember) func([]sgxMember) []sgxMember {
		return func(m []sgxMember) []sgxMember {
			var members []sgxMember
			if _, err := asn1.Unmarshal(m[tcb].Value.FullBytes, &members); err != nil {
				t.Fatal(err)
			}
			m[tcb].Value = encoded(t, change(members))
			return m
		}
	}
	without := func(i int) func([]sgxMember) []sgxMember {
		return func(m []sgxMember) []sgxMember { return append(m[:i:i], m[i+1:]...) }
	}
	value := func(i int, v any) func([]sgxMember) []sgxMember {
		return func(m []sgxMember) []sgxMember {
			m[i].Value = encoded(t, v)
			return m
		}
	}
	named := func(i int, id asn1.ObjectIdentifier) func([]sgxMember) []sgxMember {
		return func(m []sgxMember) []sgxMember {
			m[i].ID = id
			return m
		}
	}
	twice := func(i int) func([]sgxMember) []sgxMember {
		return func(m []sgxMember) []sgxMember { return append(m, m[i]) }
	}
	for _, test := range []struct {
		name, text string // no text is no refusal
		change     func([]sgxMember) []sgxMember
	}{
		{"as they are", "", func(m []sgxMember) []sgxMember { return m }},
		{"one more", "", func(m []sgxMember) []sgxMember { return append(m, sgxMember{sgxOID(9), encoded(t, 1)}) }},
		{"FMSPC twice", "there twice", twice(3)},
		{"no FMSPC", "extension is missing", without(3)},
		{"no TCB", "extension is missing", without(tcb)},
		{"a long FMSPC", "another form", value(3, make([]byte, 7))},
		{"a number for FMSPC", "another form", value(3, 1)},
		{"a TCB that is none", "TCB is no sequence", value(tcb, 1)},
		{"another member of the TCB", "another kind", inTCB(named(0, sgxOID(3, 1)))},
		{"a long name in the TCB", "another kind", inTCB(named(0, sgxOID(2, 1, 1)))},
		{"an unknown number", "not known", inTCB(named(0, sgxOID(2, 19)))},
		{"a number twice", "twice, or one", inTCB(twice(0))},
		{"a negative number", "out of range", inTCB(value(0, -1))},
		{"a large number", "out of range", inTCB(value(0, 256))},
		{"a large PCESVN", "out of range", inTCB(value(16, 65536))},
		{"a string for a number", "out of range", inTCB(value(0, "1"))},
		{"a number less", "number of the TCB is missing", inTCB(without(5))},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := attesttest.NewTDX(t, tdxAt)
			sgxExtensions(t, x, test.change)
			_, err := attest.AppraiseTDX(x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected(), tdxAt)
			if test.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkRefusal(t, err, verdict.EndorsementMalformed, test.text)
		})
	}
	x := attesttest.NewTDX(t, tdxAt)
	x.OnCertificate = func(name string, c *x509.Certificate) {
		if name == "pck" {
			c.ExtraExtensions = []pkix.Extension{{Id: oidSGX, Value: []byte{5, 0}}}
		}
	}
	_, err := attest.AppraiseTDX(x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected(), tdxAt)
	checkRefusal(t, err, verdict.EndorsementMalformed, "are no sequence")
}

// TestIntelChainForms: what an authority of Intel's names has to be.
func TestIntelChainForms(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, text string
		change     func(*attesttest.TDX)
	}{
		{"a CA on P-384", "has no P-256 key", func(x *attesttest.TDX) { x.SetKey("ca", p384) }},
		{"an unknown critical extension", "unknown critical extension", func(x *attesttest.TDX) {
			x.OnCertificate = func(name string, c *x509.Certificate) {
				if name == "pck" {
					c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
				}
			}
		}},
		{"signed with SHA-384", "is not issued by", func(x *attesttest.TDX) {
			x.OnCertificate = func(name string, c *x509.Certificate) {
				if name == "pck" {
					c.SignatureAlgorithm = x509.ECDSAWithSHA384
				}
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := attesttest.NewTDX(t, tdxAt)
			test.change(x)
			_, err := attest.AppraiseTDX(x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected(), tdxAt)
			checkRefusal(t, err, verdict.EndorsementUntrusted, test.text)
		})
	}
	// A platform of other keys and the same names.
	x, other := attesttest.NewTDX(t, tdxAt), attesttest.NewTDX(t, tdxAt)
	_, err = attest.AppraiseTDX(other.QuoteBytes(), other.Collateral(), x.Trust(), other.Expected(), tdxAt)
	checkRefusal(t, err, verdict.EndorsementUntrusted, `CA" is not signed by`)
}

// TestTDXChainLimits: chains and lists are bounded, and in PEM and DER.
func TestTDXChainLimits(t *testing.T) {
	x := attesttest.NewTDX(t, tdxAt)
	for _, test := range []struct {
		name   string
		change func(*attest.TDXCollateral)
		code   verdict.Code
		text   string
	}{
		{"a long chain", func(c *attest.TDXCollateral) { c.TCBInfoChain = bytes.Repeat([]byte("\n"), 32<<10+1) }, verdict.EvidenceLimit, "want at most"},
		{"a block that is no certificate", func(c *attest.TDXCollateral) {
			c.TCBInfoChain = []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		}, verdict.EndorsementMalformed, "parsing TCB info: x509"},
		{"a damaged block in front of a good one", func(c *attest.TDXCollateral) {
			c.TCBInfoChain = append([]byte("-----BEGIN CERTIFICATE-----\nA=A\n"), c.TCBInfoChain...)
		}, verdict.EndorsementMalformed, "it is no chain of at most"},
		{"a list with something behind it", func(c *attest.TDXCollateral) { c.RootCRL = append(slices.Clone(c.RootCRL), 0) }, verdict.EndorsementMalformed, "root CRL: there is something behind it"},
		{"a long list", func(c *attest.TDXCollateral) { c.PCKCRL = make([]byte, 256<<10+1) }, verdict.EvidenceLimit, "PCK CRL"},
	} {
		c := x.Collateral()
		test.change(&c)
		_, err := attest.AppraiseTDX(x.QuoteBytes(), c, x.Trust(), x.Expected(), tdxAt)
		t.Run(test.name, func(t *testing.T) { checkRefusal(t, err, test.code, test.text) })
	}
}
