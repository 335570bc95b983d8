// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// SNP is the evidence of an SEV-SNP guest before it is signed and encoded. Each
// field may be changed before Collection is called.
type SNP struct {
	// Kind is SNP or SimulatedSNP.
	Kind attest.Kind
	// Line is the product line of the chain.
	Line attest.ProductLine
	// ARK, ASK and Leaf are templates of the three certificates.
	ARK, ASK, Leaf *x509.Certificate
	// ARKKey and ASKKey are indexes of the keys of ARK and ASK, 0 to 5: another
	// number is another key.
	ARKKey, ASKKey int
	// IssuedBy is the index of the key that signs the ASK. It is ARKKey, unless a
	// test forges it.
	IssuedBy int
	// VCEK is what the leaf says of the chip.
	VCEK attest.VCEK
	// Report is the report before it is signed.
	Report attest.SNPReport
	// Revoked are the serial numbers on the CRL, NoCRL leaves it out, and
	// CRLThisUpdate and CRLNextUpdate are its window.
	Revoked                      []*big.Int
	NoCRL                        bool
	CRLThisUpdate, CRLNextUpdate time.Time
	// Statement and Nonces are what the report is bound to.
	Statement []byte
	Nonces    []byte
	// Signature, when set, replaces the signature's R and S.
	Signature *[2][48]byte

	key *ecdsa.PrivateKey
	// ark is the root that was signed last: a PSS signature differs each time, and
	// a simulator's root is pinned by its digest.
	ark *x509.Certificate
}

// NewSNP returns evidence of a guest on Milan for a statement and one nonce.
func NewSNP(t testing.TB, kind attest.Kind, statement []byte, nonce [verdict.NonceSize]byte) *SNP {
	t.Helper()
	return NewSNPOn(t, kind, attest.Milan, statement, nonce)
}

// NewSNPOn does so for a line of processors.
func NewSNPOn(t testing.TB, kind attest.Kind, line attest.ProductLine, statement []byte, nonce [verdict.NonceSize]byte) *SNP {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatalf("making VCEK: %v", err)
	}
	tcb := attest.TCB{Bootloader: 4, SNP: 24, Microcode: 219}
	if line == attest.Turin {
		tcb.FMC = 1
	}
	s := &SNP{
		Kind: kind, Line: line, ARKKey: 0, ASKKey: 1, IssuedBy: 0,
		VCEK:          attest.VCEK{Product: string(line) + "-B0", TCB: tcb},
		Statement:     statement,
		Nonces:        nonce[:],
		CRLThisUpdate: At.Add(-time.Hour), CRLNextUpdate: At.Add(24 * time.Hour),
		key: key,
	}
	for i := range 8 {
		s.VCEK.HWID[i] = byte(0xA0 + i)
	}
	s.ARK = amdCertificate(t, "ARK-"+string(line), x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
	s.ASK = amdCertificate(t, "SEV-"+string(line), x509.KeyUsageCertSign)
	s.Leaf = amdCertificate(t, "SEV-VCEK", 0)
	version := tcb.Version(line)
	s.Report = attest.SNPReport{
		Version: 3, Policy: attest.SNPPolicyReserved, ChipID: s.VCEK.HWID,
		CurrentTCB: version, ReportedTCB: version, CommittedTCB: version, LaunchTCB: version,
		Stepping: 1, Family: 0x19, Model: 0x01,
	}
	switch line {
	case attest.Genoa:
		s.Report.Model = 0x11
	case attest.Turin:
		s.Report.Family, s.Report.Model = 0x1A, 0x02
	case attest.Milan:
	}
	for i := range s.Report.Measurement {
		s.Report.Measurement[i] = byte(i)
	}
	for i := range s.Report.ReportIDMA {
		s.Report.ReportIDMA[i] = 0xFF
	}
	return s
}

// amdCertificate is a template with the names that AMD gives. The lines' CRL
// location is what go-sev-guest looks for.
func amdCertificate(t testing.TB, name string, usage x509.KeyUsage) *x509.Certificate {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: serial(t),
		Subject: pkix.Name{
			OrganizationalUnit: []string{"Engineering"}, Country: []string{"US"}, Locality: []string{"Santa Clara"},
			Province: []string{"CA"}, Organization: []string{"Advanced Micro Devices"}, CommonName: name,
		},
		NotBefore: At.Add(-24 * time.Hour), NotAfter: At.Add(365 * 24 * time.Hour),
		SignatureAlgorithm: x509.SHA384WithRSAPSS, KeyUsage: usage,
	}
	if usage != 0 {
		c.IsCA, c.BasicConstraintsValid = true, true
		c.CRLDistributionPoints = []string{"https://kdsintf.amd.com/vcek/v1/" + name[4:] + "/crl"}
	}
	return c
}

// Chain signs the certificates and returns ARK, ASK and VCEK.
func (s *SNP) Chain(t testing.TB) (ark, ask, leaf *x509.Certificate) {
	t.Helper()
	arkKey, askKey, issuedBy := rsaKey(t, s.ARKKey), rsaKey(t, s.ASKKey), rsaKey(t, s.IssuedBy)
	ark = sign(t, s.ARK, s.ARK, &arkKey.PublicKey, arkKey)
	if s.ark != nil && bytes.Equal(s.ark.RawTBSCertificate, ark.RawTBSCertificate) {
		ark = s.ark
	}
	s.ark = ark
	// A forger names the issuer as it is and signs with his own key.
	ask = sign(t, s.ASK, s.ARK, &askKey.PublicKey, issuedBy)
	extensions, err := s.VCEK.Extensions()
	if err != nil {
		t.Fatalf("encoding VCEK extensions: %v", err)
	}
	template := *s.Leaf
	template.ExtraExtensions = append(extensions, template.ExtraExtensions...)
	leaf = sign(t, &template, s.ASK, &s.key.PublicKey, askKey)
	return ark, ask, leaf
}

// sign issues a certificate and parses it.
func sign(t testing.TB, template, parent *x509.Certificate, public any, key *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatalf("signing certificate of %s: %v", template.Subject.CommonName, err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("parsing certificate of %s: %v", template.Subject.CommonName, err)
	}
	return c
}

// SignedReport returns the report, bound to statement and nonces and signed.
func (s *SNP) SignedReport(t testing.TB) []byte {
	t.Helper()
	r := s.Report
	if r.ReportData == [64]byte{} {
		r.ReportData = verdict.ReportData(s.Statement, s.Nonces)
	}
	if err := r.Sign(s.key); err != nil {
		t.Fatalf("signing report: %v", err)
	}
	if s.Signature != nil {
		r.R, r.S = s.Signature[0], s.Signature[1]
	}
	return r.Marshal()
}

// Collection signs everything and returns the parts of the collection.
func (s *SNP) Collection(t testing.TB) attest.Collection {
	t.Helper()
	ark, ask, leaf := s.Chain(t)
	endorsements := attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{
		attest.LabelARK:  {MediaType: attest.TypeCertificate, Value: ark.Raw},
		attest.LabelASK:  {MediaType: attest.TypeCertificate, Value: ask.Raw},
		attest.LabelVCEK: {MediaType: attest.TypeCertificate, Value: leaf.Raw},
	}}
	if !s.NoCRL {
		list := &x509.RevocationList{
			SignatureAlgorithm: x509.SHA384WithRSAPSS, Number: big.NewInt(1),
			ThisUpdate: s.CRLThisUpdate, NextUpdate: s.CRLNextUpdate,
		}
		for _, n := range s.Revoked {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: At.Add(-time.Hour)})
		}
		crl, err := x509.CreateRevocationList(rand.Reader, list, ark, rsaKey(t, s.ARKKey))
		if err != nil {
			t.Fatalf("signing CRL: %v", err)
		}
		endorsements.Items[attest.LabelCRL] = attest.Item{MediaType: attest.TypeCRL, Value: crl}
	}
	mediaType := attest.TypeSNPReport
	if s.Kind == attest.SimulatedSNP {
		mediaType = attest.TypeSimSNPReport
	}
	return attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelStatement:    {MediaType: attest.TypeStatement, Value: s.Statement},
		attest.LabelNonces:       {MediaType: attest.TypeNonces, Value: s.Nonces},
		attest.LabelEvidence:     {MediaType: mediaType, Value: s.SignedReport(t), Indicator: attest.IndicatorEvidence},
		attest.LabelEndorsements: {Nested: &endorsements},
	}}
}

// Bytes returns the encoded collection.
func (s *SNP) Bytes(t testing.TB) []byte { t.Helper(); return marshal(t, s.Collection(t)) }

// Input returns what accepts the evidence as it is now: its own roots and
// measurement, and the nonce.
func (s *SNP) Input(t testing.TB) attest.Input {
	t.Helper()
	ark, ask, _ := s.Chain(t)
	e := entry(s.Kind)
	e.Measurement, e.Events = hex.EncodeToString(s.Report.Measurement[:]), "none"
	tcb := s.VCEK.TCB
	in := attest.Input{
		References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{e}, Floors: verdict.Floors{SNP: &verdict.SNPTCB{
			Bootloader: tcb.Bootloader, TEE: tcb.TEE, SNP: tcb.SNP, Microcode: tcb.Microcode,
		}}},
		Trust: attest.Trust{Kinds: []attest.Kind{s.Kind}},
	}
	copy(in.MyNonce[:], s.Nonces)
	if s.Kind == attest.SimulatedSNP {
		in.Trust.SimulatorRoots = []verdict.Digest{verdict.SHA256(ark.Raw)}
		in.Trust.AllowDevelopment = true
		in.References.Entries[0].Profile = verdict.Development
	} else {
		in.Trust.SNPRoots = []attest.SNPRoot{{Line: s.Line, ARK: ark, ASK: ask}}
	}
	return in
}
