// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// checkRefusal holds that err has the code, and says why by the text: several checks
// may have one code.
func checkRefusal(t *testing.T, err error, code verdict.Code, text string) {
	t.Helper()
	if verdict.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v [%s], want %q [%s]", err, verdict.CodeOf(err), text, code)
	}
}

// strangeCertificate is self-signed, with a key on curve.
func strangeCertificate(t *testing.T, curve elliptic.Curve) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "strange"}, NotBefore: attesttest.At, NotAfter: attesttest.At}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// ecPublic is the public area of an attestation key on curve.
func ecPublic(t *testing.T, id tpm2.TPMECCCurve, curve elliptic.Curve) tpm2.TPMTPublic {
	t.Helper()
	known, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := len(point) / 2
	area := attesttest.AKPublic(t, &known.PublicKey)
	parameters, err := area.Parameters.ECCDetail()
	if err != nil {
		t.Fatal(err)
	}
	changed := *parameters
	changed.CurveID = id
	area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &changed)
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1 : 1+half]}, Y: tpm2.TPM2BECCParameter{Buffer: point[1+half:]}})
	return area
}

// rsaPublic is the public area of an attestation key whose modulus has so many bytes.
func rsaPublic(size int) tpm2.TPMTPublic {
	area := tpm2.RSAEKTemplate
	area.ObjectAttributes = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true}
	area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme:  tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})},
		KeyBits: tpm2.TPMKeyBits(8 * size),
	})
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xA5}, size)})
	return area
}

// TestTPMForms changes one thing in what comes with a quote. Each is refused by its
// own check, which the sentence tells.
func TestTPMForms(t *testing.T) {
	evidence := func(c attest.Collection) map[string]attest.Item { return c.Items[attest.LabelEvidence].Nested.Items }
	endorsements := func(c attest.Collection) map[string]attest.Item {
		return c.Items[attest.LabelEndorsements].Nested.Items
	}
	ak := func(area tpm2.TPMTPublic) func(attest.Collection, *attest.Input) {
		return func(c attest.Collection, _ *attest.Input) {
			set(evidence(c), attest.LabelAKPublic, tpm2.Marshal(area))
		}
	}
	intermediates := func(der []byte) func(attest.Collection, *attest.Input) {
		return func(c attest.Collection, _ *attest.Input) {
			endorsements(c)[attest.LabelIntermediates] = attest.Item{MediaType: attest.TypeCertificates, Value: der}
		}
	}
	large := func(items func(attest.Collection) map[string]attest.Item, label string) func(attest.Collection, *attest.Input) {
		return func(c attest.Collection, _ *attest.Input) { set(items(c), label, make([]byte, 4<<10)) }
	}
	named := ecPublic(t, tpm2.TPMECCNistP256, elliptic.P256())
	named.NameAlg = tpm2.TPMAlgSHA1
	outside := ecPublic(t, tpm2.TPMECCNistP256, elliptic.P384())
	offCurve := ecPublic(t, tpm2.TPMECCNistP384, elliptic.P256())
	certificate := strangeCertificate(t, elliptic.P256())
	for _, test := range []struct {
		name   string
		change func(attest.Collection, *attest.Input)
		code   verdict.Code
		text   string
	}{
		{"no EK", func(c attest.Collection, _ *attest.Input) { delete(endorsements(c), attest.LabelEKPublic) }, verdict.EndorsementMissing, "and no accepted"},
		{"no authorities", func(_ attest.Collection, in *attest.Input) {
			in.Trust.AKCAs, in.Trust.EKCAs = in.Trust.EKCAs, nil
		}, verdict.EndorsementUntrusted, "no authority is configured"},
		{"large intermediates", intermediates(make([]byte, 4*(16<<10)+1)), verdict.EvidenceLimit, attest.LabelIntermediates},
		{"five intermediates", intermediates(bytes.Repeat(certificate, 5)), verdict.EndorsementMalformed, "not 1 to 4"},
		{"no intermediates", intermediates([]byte("x")), verdict.EndorsementMalformed, "not 1 to 4"},
		{"a weak intermediate", intermediates(strangeCertificate(t, elliptic.P224())), verdict.EndorsementUntrusted, "weak key"},
		{"a large certificate", func(c attest.Collection, _ *attest.Input) {
			set(endorsements(c), attest.LabelEKCertificate, make([]byte, 16<<10+1))
		}, verdict.EvidenceLimit, attest.LabelEKCertificate},
		{"a collection of another type", func(c attest.Collection, _ *attest.Input) {
			c.Items[attest.LabelEvidence].Nested.Type = "tag:example.invalid,2026:other"
		}, verdict.EvidenceKind, "evidence"},
		{"endorsements of another type", func(c attest.Collection, _ *attest.Input) {
			c.Items[attest.LabelEndorsements].Nested.Type = "tag:example.invalid,2026:other"
		}, verdict.EndorsementMalformed, "no collection of type"},
		{"values of another type", func(c attest.Collection, _ *attest.Input) {
			item := evidence(c)[attest.LabelPCRs]
			item.MediaType = "application/octet-stream"
			evidence(c)[attest.LabelPCRs] = item
		}, verdict.EvidenceKind, "application/octet-stream"},
		{"a large AK", large(evidence, attest.LabelAKPublic), verdict.EvidenceLimit, "attestation key"},
		{"an AK that is none", func(c attest.Collection, _ *attest.Input) { set(evidence(c), attest.LabelAKPublic, []byte("x")) }, verdict.EvidenceMalformed, "parsing attestation key"},
		{"an AK named by SHA-1", ak(named), verdict.TPMAK, "name algorithm is 0x0004"},
		{"an AK on P-521", ak(ecPublic(t, tpm2.TPMECCNistP521, elliptic.P521())), verdict.TPMAK, "curve is P-521"},
		{"an AK with a large point", ak(outside), verdict.EvidenceMalformed, "larger than its curve"},
		{"an AK off its curve", ak(offCurve), verdict.EvidenceMalformed, "parsing attestation key"},
		{"a short AK", ak(rsaPublic(128)), verdict.TPMAK, "RSA key of 1024 bits"},
		{"a large signature", large(evidence, attest.LabelSignature), verdict.EvidenceLimit, "quote signature"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, in := goodTPM(t)
			c := p.Collection(t)
			test.change(c, &in)
			_, err := attest.Appraise(encode(t, c), in, attesttest.At)
			checkRefusal(t, err, test.code, test.text)
		})
	}
}

// TestEKForms changes the endorsement key's public area.
func TestEKForms(t *testing.T) {
	for _, test := range []struct {
		name, text string
		change     func(*attesttest.TPM, *attest.Input)
	}{
		{"without symmetric algorithm", "want AES", changedEK(t, func(e *tpm2.TPMSRSAParms) { e.Symmetric = tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull} })},
		{"short", "shorter than 2048", func(p *attesttest.TPM, in *attest.Input) {
			changedEK(t, func(e *tpm2.TPMSRSAParms) { e.KeyBits = 1024 })(p, in)
			p.EK.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xA5}, 128)})
		}},
	} {
		p, in := goodTPM(t)
		test.change(p, &in)
		_, err := attest.Appraise(p.Bytes(t), in, attesttest.At)
		checkRefusal(t, err, verdict.TPMAK, test.text)
	}
}

// TestChallengeForms is what no challenge is made for.
func TestChallengeForms(t *testing.T) {
	p, _ := goodTPM(t)
	c := p.Collection(t)
	delete(c.Items[attest.LabelEndorsements].Nested.Items, attest.LabelEKPublic)
	_, err := attest.NewChallenge(encode(t, c))
	checkRefusal(t, err, verdict.EndorsementMissing, "making challenge: no")
	s, _ := goodSNP(t, attest.SNP)
	_, err = attest.NewChallenge(s.Bytes(t))
	checkRefusal(t, err, verdict.EvidenceKind, "making challenge: evidence is of kind snp")
}

// TestQuoteForms is what is no quote, or one over nothing.
func TestQuoteForms(t *testing.T) {
	p, in := goodTPM(t)
	_, err := attest.ParseQuote(make([]byte, 1<<10+1))
	checkRefusal(t, err, verdict.EvidenceLimit, "parsing quote")
	q := p.Quote
	q.Banks = make([]attest.PCRBank, 100)
	_, err = attest.ParseQuote(q.Marshal())
	checkRefusal(t, err, verdict.EvidenceMalformed, "banks")
	p.Quote.Banks[0].Bitmap = make([]byte, 3)
	_, err = attest.Appraise(p.Bytes(t), in, attesttest.At)
	checkRefusal(t, err, verdict.TPMSelection, "no PCR is selected")
	s, _ := goodSNP(t, attest.SNP)
	_, err = attest.AppraiseQuote(s.Bytes(t), attest.TPMExpected{}, in.Trust, attesttest.At)
	checkRefusal(t, err, verdict.EvidenceKind, "appraising quote: evidence is of kind snp")
}

// TestLogOfAnotherBank: a log without SHA-256 says nothing about the bank of the quote.
func TestLogOfAnotherBank(t *testing.T) {
	p, in := goodTPM(t)
	p.AKTemplate = &x509.Certificate{NotBefore: attesttest.At.Add(-time.Hour), NotAfter: attesttest.At.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	trust := attest.Trust{Kinds: []attest.Kind{attest.TPM}, AKCAs: in.Trust.EKCAs}
	log := slices.Concat(logHeader(0x0c, 48), logEvent(1, slices.Concat([]byte{0x0c, 0}, make([]byte, 48+4))...))
	_, err := attest.AppraiseQuote(p.Bytes(t), attest.TPMExpected{EventLog: log, FromLog: []int{1}}, trust, attesttest.At)
	checkRefusal(t, err, verdict.EventLogIncomplete, "SHA-256")
}

// TestCollectionForms is about the collection around the evidence.
func TestCollectionForms(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	c := s.Collection(t)
	c.Type = "tag:example.invalid,2026:other"
	_, err := attest.Appraise(encode(t, c), in, attesttest.At)
	checkRefusal(t, err, verdict.EvidenceMalformed, "collection type is")
	c = s.Collection(t)
	c.Items[attest.LabelRegisters] = attest.Item{MediaType: attest.TypeRegisters, Value: []byte("\n")}
	_, err = attest.Appraise(encode(t, c), in, attesttest.At)
	checkRefusal(t, err, verdict.EvidenceMalformed, "register events without a register")
	_, err = attest.ParseEventList([]byte("{}"))
	checkRefusal(t, err, verdict.EvidenceMalformed, "the last one has no end")
}
