// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
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
