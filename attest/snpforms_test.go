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
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// TestSNPForms changes one thing in what comes with a report. Each is refused by its
// own check, which the sentence tells.
func TestSNPForms(t *testing.T) {
	strange := []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	list := func(change func(*attest.Item)) func(attest.Collection) {
		return func(c attest.Collection) {
			items := c.Items[attest.LabelEndorsements].Nested.Items
			item := items[attest.LabelCRL]
			change(&item)
			items[attest.LabelCRL] = item
		}
	}
	for _, test := range []struct {
		name   string
		change func(*attesttest.SNP)
		after  func(attest.Collection)
		code   verdict.Code
		text   string
	}{
		{"another algorithm", nil, func(c attest.Collection) {
			binary.LittleEndian.PutUint32(c.Items[attest.LabelEvidence].Value[0x34:], 2)
		}, verdict.EvidenceMalformed, "SIGNATURE_ALGO is 2"},
		{"an unknown critical extension", func(s *attesttest.SNP) { s.Leaf.ExtraExtensions = append(s.Leaf.ExtraExtensions, strange...) }, nil, verdict.EndorsementUntrusted, "critical extension"},
		{"a list of another type", nil, list(func(i *attest.Item) { i.MediaType = attest.TypeCertificate }), verdict.EndorsementMalformed, "parsing CRL: type is"},
		{"a large list", nil, list(func(i *attest.Item) { i.Value = make([]byte, 256<<10+1) }), verdict.EvidenceLimit, "parsing CRL"},
		{"a list that is none", nil, list(func(i *attest.Item) { i.Value = []byte("x") }), verdict.EndorsementMalformed, "parsing CRL: x509"},
		{"an entry with an unknown critical extension", func(s *attesttest.SNP) {
			s.Revoked, s.CRLEntryExtensions = []*big.Int{big.NewInt(1 << 60)}, strange
		}, nil, verdict.EndorsementUntrusted, "an entry has the unknown critical extension"},
		{"a large certificate", nil, func(c attest.Collection) {
			set(c.Items[attest.LabelEndorsements].Nested.Items, attest.LabelVCEK, make([]byte, 16<<10+1))
		}, verdict.EvidenceLimit, attest.LabelVCEK},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, in := goodSNP(t, attest.SNP)
			if test.change != nil {
				test.change(s)
			}
			c := s.Collection(t)
			if test.after != nil {
				test.after(c)
			}
			_, err := attest.Appraise(encode(t, c), in, attesttest.At)
			checkRefusal(t, err, test.code, test.text)
		})
	}
}

// TestSNPLeafForms changes one extension of a good VCEK or VLEK. What neither has is
// refused by its own check, which the sentence tells.
func TestSNPLeafForms(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	vcek := attest.VCEK{Product: "Turin-B0", TCB: attest.TCB{FMC: 1, Bootloader: 4, SNP: 24, Microcode: 219}, HWID: [64]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	vlek := attest.VLEK{Product: "Turin", TCB: vcek.TCB, CSPID: cloud}
	// id is an extension below AMD's.
	id := func(below ...int) asn1.ObjectIdentifier {
		return append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, below...)
	}
	type change func([]pkix.Extension) []pkix.Extension
	drop := func(id asn1.ObjectIdentifier) change {
		return func(e []pkix.Extension) []pkix.Extension {
			return slices.DeleteFunc(e, func(e pkix.Extension) bool { return e.Id.Equal(id) })
		}
	}
	set := func(id asn1.ObjectIdentifier, value ...byte) change {
		return func(e []pkix.Extension) []pkix.Extension {
			return append(drop(id)(e), pkix.Extension{Id: id, Value: value})
		}
	}
	turin := []byte{asn1.TagIA5String, 5, 'T', 'u', 'r', 'i', 'n'}
	long := append([]byte{asn1.TagIA5String, 0x82, 1, 1}, bytes.Repeat([]byte("x"), 257)...)
	const vceks, vleks, both = "VCEK", "VLEK", "VCEK VLEK"
	for _, test := range []struct {
		name, of string
		change   change
		text     string // "" is no refusal
	}{
		{"nothing", both, drop(id(1)), ""}, // nobody asks for the version of the structure
		{"no product", both, drop(id(2)), "product: no such extension"},
		{"a product of another type", both, set(id(2), 4, 0), "product: asn1"},
		{"more behind the product", both, set(id(2), append(turin, 5, 0)...), "product extension"},
		{"no number of the TCB", both, drop(id(3, 8)), "TCB: no such extension"},
		{"no FMC", both, drop(id(3, 9)), "TCB: no such extension"},
		{"a number of another type", both, set(id(3, 3), 4, 1, 24), "TCB: asn1"},
		{"more behind a number", both, set(id(3, 3), 2, 1, 24, 5, 0), "TCB extension"},
		{"a number above 255", both, set(id(3, 3), 2, 2, 1, 24), "TCB extension"},
		{"a number below 0", both, set(id(3, 3), 2, 1, 0xff), "TCB extension"},
		{"no reserved number", both, drop(id(3, 5)), ""},
		{"a reserved number that is used", both, set(id(3, 5), 2, 1, 1), "reserved TCB extension"},
		{"a provider", vceks, set(id(5), asn1.TagIA5String, 1, 'x'), "CSP_ID extension"},
		{"no chip", vceks, drop(id(4)), "HWID: no such extension"},
		{"a chip", vleks, set(id(4), vcek.HWID[:8]...), "HWID extension"},
		{"no provider", vleks, drop(id(5)), "CSP_ID: no such extension"},
		{"a provider of another type", vleks, set(id(5), 4, 1, 'x'), "CSP_ID: asn1"},
		{"an empty provider", vleks, set(id(5), asn1.TagIA5String, 0), "CSP_ID extension"},
		{"more behind the provider", vleks, set(id(5), asn1.TagIA5String, 1, 'x', 5, 0), "CSP_ID extension"},
		{"a long provider", vleks, set(id(5), long...), "CSP_ID extension"},
	} {
		for kind := range strings.FieldsSeq(test.of) {
			t.Run(test.name+" of a "+kind, func(t *testing.T) {
				encode := vcek.Extensions
				if kind == vleks {
					encode = vlek.Extensions
				}
				extensions, err := encode()
				if err != nil {
					t.Fatal(err)
				}
				template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: test.change(extensions)}
				der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
				if err != nil {
					t.Fatal(err)
				}
				good := false
				if kind == vleks {
					var got attest.VLEK
					got, err = attest.ParseVLEK(der)
					good = got == vlek
				} else {
					var got attest.VCEK
					got, err = attest.ParseVCEK(der)
					good = got == vcek
				}
				switch {
				case test.text != "":
					checkRefusal(t, err, verdict.EndorsementMalformed, "parsing "+kind+": "+test.text)
				case err != nil || !good:
					t.Errorf("got %v, want what was encoded", err)
				}
			})
		}
	}
}

// TestSimulatorIsNoProduction: the root of production evidence that a simulator's
// trust pins by mistake does not make simulated evidence of it.
func TestSimulatorIsNoProduction(t *testing.T) {
	s, in := goodSNP(t, attest.SimulatedSNP)
	c := s.Collection(t)
	certificates := map[string]*x509.Certificate{}
	for _, label := range []string{attest.LabelARK, attest.LabelASK} {
		var err error
		if certificates[label], err = x509.ParseCertificate(c.Items[attest.LabelEndorsements].Nested.Items[label].Value); err != nil {
			t.Fatal(err)
		}
	}
	in.Trust.SNPRoots = []attest.SNPRoot{{Line: attest.Milan, ARK: certificates[attest.LabelARK], ASK: certificates[attest.LabelASK]}}
	_, err := attest.Appraise(encode(t, c), in, attesttest.At)
	checkRefusal(t, err, verdict.EndorsementUntrusted, "is a production root")
}

// TestNoFloorIsTold: where neither owners nor relying party have a floor, the result
// says so.
func TestNoFloorIsTold(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	for _, floor := range []attest.TCB{{}, {SNP: 1}} {
		in.References.Floors.SNP, in.Trust.MinTCB, in.Trust.AllowNoFloor = nil, floor, true
		got, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
		if err != nil {
			t.Fatal(err)
		}
		if told := slices.Contains(got.Relaxed, "allow-no-floor"); told != (floor == attest.TCB{}) {
			t.Errorf("floor %+v: got %q", floor, got.Relaxed)
		}
	}
}

// TestKeyOffCurve: an attestation key that is no point, which the quoting enclave
// vouches for.
func TestKeyOffCurve(t *testing.T) {
	x := attesttest.NewTDX(t, tdxAt)
	x.Key = bytes.Repeat([]byte{1}, 64)
	_, err := attest.AppraiseTDX(x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected(), tdxAt)
	checkRefusal(t, err, verdict.EvidenceSignature, "no point of P-256")
}

// TestQEIdentityForm: a signed QE identity whose members have other types.
func TestQEIdentityForm(t *testing.T) {
	x := attesttest.NewTDX(t, tdxAt)
	x.QEIdentity["isvprodid"] = "2"
	_, err := attest.AppraiseTDX(x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected(), tdxAt)
	checkRefusal(t, err, verdict.EndorsementMalformed, "QE identity: json")
	quote := x.QuoteBytes()
	_, err = attest.ParseTDXQuote(quote[:bytes.Index(quote, []byte("-----BEGIN"))])
	checkRefusal(t, err, verdict.EvidenceMalformed, "ends in its signature")
}
