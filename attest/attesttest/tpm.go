// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// TPM is the evidence of a TPM before it is signed and encoded: an attestation key
// on P-256 and an endorsement key of RSA-2048. Each field may be changed before
// Collection is called.
type TPM struct {
	// Statement and Nonces are what the quote is bound to.
	Statement []byte
	Nonces    []byte
	// Quote is the quote before it is signed. Its ExtraData and PCRDigest are
	// filled in where they are nil.
	Quote attest.Quote
	// PCRs are the values of the PCRs by index.
	PCRs [24][sha256.Size]byte
	// Events is the event list. PCR 14 is its replay, unless KeepPCR14 is set.
	Events    []verdict.RegisterEvent
	KeepPCR14 bool
	// AK and EK are the public areas.
	AK, EK tpm2.TPMTPublic
	// EKTemplate is the template of the endorsement key's certificate, nil for
	// none; AKTemplate that of the attestation key's, which is nil by default.
	EKTemplate, AKTemplate *x509.Certificate
	// CAKey is the index of the authority's key, EKKey that of the endorsement
	// key's.
	CAKey, EKKey int

	key *ecdsa.PrivateKey
}

// NewTPM returns a quote over PCR 0 to 15 for a statement and one nonce, with the
// statement's event in the list.
func NewTPM(t testing.TB, statement verdict.Statement, nonce [verdict.NonceSize]byte) *TPM {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making AK: %v", err)
	}
	p := &TPM{
		Statement: Encode(t, statement), Nonces: nonce[:],
		Quote: attest.Quote{
			Signer: []byte("signer"), Clock: 1000, ResetCount: 2, RestartCount: 0, Safe: true, Firmware: 1,
			Banks: []attest.PCRBank{{Hash: uint16(tpm2.TPMAlgSHA256), Bitmap: []byte{0xFF, 0xFF, 0}}},
		},
		Events: []verdict.RegisterEvent{Event(statement)},
		AK:     AKPublic(t, &key.PublicKey),
		EK:     tpm2.RSAEKTemplate,
		EKTemplate: &x509.Certificate{
			Subject:   pkix.Name{CommonName: "unknown"},
			NotBefore: At.Add(-24 * time.Hour), NotAfter: At.Add(24 * time.Hour), KeyUsage: x509.KeyUsageKeyEncipherment,
			UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
		},
		CAKey: 2, EKKey: 3, key: key,
	}
	p.PCRs[11] = sha256.Sum256([]byte("started"))
	p.setEK(t)
	return p
}

// setEK puts the key at EKKey into the public area.
func (p *TPM) setEK(t testing.TB) {
	t.Helper()
	p.EK.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: rsaKey(t, p.EKKey).N.Bytes()})
}

// AKPublic returns the public area of a restricted signing key on P-256.
func AKPublic(t testing.TB, key *ecdsa.PublicKey) tpm2.TPMTPublic {
	t.Helper()
	point, err := key.Bytes()
	if err != nil {
		t.Fatalf("encoding AK: %v", err)
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]},
			Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
		}),
	}
}

// CA returns the authority of the TPM's certificates.
func (p *TPM) CA(t testing.TB) *x509.Certificate {
	t.Helper()
	key := rsaKey(t, p.CAKey)
	c := caTemplate(t)
	return sign(t, c, c, &key.PublicKey, key)
}

func caTemplate(t testing.TB) *x509.Certificate {
	t.Helper()
	return &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "TPM authority"},
		NotBefore: At.Add(-48 * time.Hour), NotAfter: At.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

// List returns the event list.
func (p *TPM) List(t testing.TB) attest.EventList {
	t.Helper()
	var list attest.EventList
	for _, e := range p.Events {
		var err error
		if list, err = list.Append(e); err != nil {
			t.Fatalf("appending event: %v", err)
		}
	}
	return list
}

// Values returns the values of the selected PCRs.
func (p *TPM) Values(t testing.TB) []byte {
	t.Helper()
	if !p.KeepPCR14 {
		p.PCRs[attest.EventRegister] = p.List(t).Replay()
	}
	return selectedPCRs(p.Quote.Banks, &p.PCRs)
}

// selectedPCRs are the values that banks select.
func selectedPCRs(banks []attest.PCRBank, pcrs *[24][sha256.Size]byte) (values []byte) {
	for _, bank := range banks {
		for i := range pcrs {
			if i/8 < len(bank.Bitmap) && bank.Bitmap[i/8]&(1<<(i%8)) != 0 {
				values = append(values, pcrs[i][:]...)
			}
		}
	}
	return values
}

// Sign returns the TPMT_SIGNATURE of the attestation key over message.
func (p *TPM) Sign(t testing.TB, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		t.Fatalf("signing quote: %v", err)
	}
	return tpm2.Marshal(tpm2.TPMTSignature{
		SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash:       tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: s.Bytes()},
		}),
	})
}

// Collection signs everything and returns the parts of the collection.
func (p *TPM) Collection(t testing.TB) attest.Collection {
	t.Helper()
	values := p.Values(t)
	quote := p.Quote
	if quote.ExtraData == nil {
		bound := verdict.QuoteData(p.Statement, p.Nonces)
		quote.ExtraData = bound[:]
	}
	if quote.PCRDigest == nil {
		digest := sha256.Sum256(values)
		quote.PCRDigest = digest[:]
	}
	message := quote.Marshal()
	evidence := attest.Collection{Type: attest.TypeTPMQuote, Items: map[string]attest.Item{
		attest.LabelQuote:     {MediaType: attest.TypeTPMAttest, Value: message, Indicator: attest.IndicatorEvidence},
		attest.LabelSignature: {MediaType: attest.TypeTPMSignature, Value: p.Sign(t, message), Indicator: attest.IndicatorEvidence},
		attest.LabelAKPublic:  {MediaType: attest.TypeTPMPublic, Value: tpm2.Marshal(p.AK), Indicator: attest.IndicatorEvidence},
		attest.LabelPCRs:      {MediaType: attest.TypeTPMPCRs, Value: values, Indicator: attest.IndicatorEvidence},
	}}
	endorsements := attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{
		attest.LabelEKPublic: {MediaType: attest.TypeTPMPublic, Value: tpm2.Marshal(p.EK), Indicator: attest.IndicatorEndorsements},
	}}
	certify := func(label string, template *x509.Certificate, public crypto.PublicKey) {
		if template == nil {
			return
		}
		signed := *template
		signed.SerialNumber = serial(t)
		c := sign(t, &signed, p.CA(t), public, rsaKey(t, p.CAKey))
		endorsements.Items[label] = attest.Item{MediaType: attest.TypeCertificate, Value: c.Raw, Indicator: attest.IndicatorEndorsements}
	}
	certify(attest.LabelEKCertificate, p.EKTemplate, &rsaKey(t, p.EKKey).PublicKey)
	certify(attest.LabelAKCertificate, p.AKTemplate, &p.key.PublicKey)
	return attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelStatement:    {MediaType: attest.TypeStatement, Value: p.Statement},
		attest.LabelNonces:       {MediaType: attest.TypeNonces, Value: p.Nonces},
		attest.LabelEvidence:     {Nested: &evidence},
		attest.LabelEndorsements: {Nested: &endorsements},
		attest.LabelRegisters:    {MediaType: attest.TypeRegisters, Value: p.List(t).Marshal(), Indicator: attest.IndicatorEvidence},
	}}
}

// Bytes returns the encoded collection.
func (p *TPM) Bytes(t testing.TB) []byte { t.Helper(); return marshal(t, p.Collection(t)) }

// Known returns the proof that AK is in the TPM of EK, as an activation would.
func (p *TPM) Known(t testing.TB) attest.KnownAK {
	t.Helper()
	name, err := tpm2.ObjectName(&p.AK)
	if err != nil {
		t.Fatalf("naming AK: %v", err)
	}
	der, err := x509.MarshalPKIXPublicKey(&rsaKey(t, p.EKKey).PublicKey)
	if err != nil {
		t.Fatalf("encoding EK: %v", err)
	}
	return attest.KnownAK{AK: hex.EncodeToString(name.Buffer), EK: verdict.SHA256(der).Hex()}
}

// Input returns what accepts the evidence as it is now: its own authority, PCR 11,
// nonce, and proof of the attestation key.
func (p *TPM) Input(t testing.TB) attest.Input {
	t.Helper()
	e := entry(attest.TPM)
	e.Events = fmt.Sprintf("pcr%d", attest.EventRegister)
	e.Registers = map[string]string{"pcr11": hex.EncodeToString(p.PCRs[11][:])}
	in := attest.Input{
		References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{e}},
		Trust:      attest.Trust{Kinds: []attest.Kind{attest.TPM}, EKCAs: []*x509.Certificate{p.CA(t)}},
		Known:      []attest.KnownAK{p.Known(t)},
	}
	copy(in.MyNonce[:], slices.Clone(p.Nonces))
	return in
}
