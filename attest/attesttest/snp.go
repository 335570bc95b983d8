// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
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
	// ARK, ASK, ASVK and Leaf are templates of the certificates.
	ARK, ASK, ASVK, Leaf *x509.Certificate
	// ARKKey, ASKKey and ASVKKey are indexes of the keys of ARK, ASK and ASVK, 0 to
	// 5, or WeakKey: another number is another key.
	ARKKey, ASKKey, ASVKKey int
	// IssuedBy is the index of the key that signs ASK and ASVK. It is ARKKey, unless
	// a test forges it.
	IssuedBy int
	// VCEK is what the leaf says of the chip.
	VCEK attest.VCEK
	// VLEK, when set, is what the leaf says instead, under the ASVK. UseVLEK sets it.
	VLEK *attest.VLEK
	// Public, when set, replaces the leaf's key.
	Public crypto.PublicKey
	// Report is the report before it is signed.
	Report attest.SNPReport
	// Revoked are the serial numbers on the CRL, NoCRL leaves it out,
	// CRLThisUpdate and CRLNextUpdate are its window, CRLNumber is its number,
	// CRLExtensions go into it, and CRLEntryExtensions into each entry.
	Revoked                      []*big.Int
	CRLNumber                    int64
	NoCRL                        bool
	CRLThisUpdate, CRLNextUpdate time.Time
	CRLExtensions                []pkix.Extension
	CRLEntryExtensions           []pkix.Extension
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
		Kind: kind, Line: line, ARKKey: 0, ASKKey: 1, ASVKKey: 2, IssuedBy: 0,
		VCEK:      attest.VCEK{Product: string(line) + "-B0", TCB: tcb},
		Statement: statement,
		Nonces:    nonce[:],
		CRLNumber: 1, CRLThisUpdate: At.Add(-time.Hour), CRLNextUpdate: At.Add(24 * time.Hour),
		key: key,
	}
	for i := range 8 {
		s.VCEK.HWID[i] = byte(0xA0 + i)
	}
	s.ARK = amdCertificate(t, "ARK-"+string(line), x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
	s.ASK = amdCertificate(t, "SEV-"+string(line), x509.KeyUsageCertSign)
	s.ASVK = amdCertificate(t, "SEV-VLEK-"+string(line), x509.KeyUsageCertSign)
	s.Leaf = amdCertificate(t, "SEV-VCEK", 0)
	version := tcb.Version(line)
	s.Report = attest.SNPReport{
		Version: 3, Policy: attest.SNPPolicyReserved, ChipID: s.VCEK.HWID,
		PlatformInfo: attest.SNPPlatformECC | attest.SNPPlatformAliasCheck,
		CurrentTCB:   version, ReportedTCB: version, CommittedTCB: version, LaunchTCB: version,
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
		path := "vcek/v1/" + name[4:]
		if line, ok := strings.CutPrefix(name, "SEV-VLEK-"); ok {
			path = "vlek/v1/" + line
		}
		c.CRLDistributionPoints = []string{"https://kdsintf.amd.com/" + path + "/crl"}
	}
	return c
}

// UseVLEK has the key of a provider sign the report: the chip is then masked, as it is
// with those who use such keys.
func (s *SNP) UseVLEK(t testing.TB, cspID string) {
	t.Helper()
	s.VLEK = &attest.VLEK{Product: string(s.Line), TCB: s.VCEK.TCB, CSPID: cspID}
	s.Leaf = amdCertificate(t, "SEV-VLEK", 0)
	s.Report.SignerInfo = attest.SNPSignerVLEK << 2
	s.Report.ChipID = [64]byte{}
}

// Chain signs the certificates and returns the authorities and the leaf.
func (s *SNP) Chain(t testing.TB) (root attest.SNPRoot, leaf *x509.Certificate) {
	t.Helper()
	arkKey, issuedBy := rsaKey(t, s.ARKKey), rsaKey(t, s.IssuedBy)
	root.Line = s.Line
	root.ARK = sign(t, s.ARK, s.ARK, &arkKey.PublicKey, arkKey)
	if s.ark != nil && bytes.Equal(s.ark.RawTBSCertificate, root.ARK.RawTBSCertificate) {
		root.ARK = s.ark
	}
	s.ark = root.ARK
	// A forger names the issuer as it is and signs with his own key.
	root.ASK = sign(t, s.ASK, s.ARK, &rsaKey(t, s.ASKKey).PublicKey, issuedBy)
	root.ASVK = sign(t, s.ASVK, s.ARK, &rsaKey(t, s.ASVKKey).PublicKey, issuedBy)
	issuer, key, encode := s.ASK, s.ASKKey, s.VCEK.Extensions
	if s.VLEK != nil {
		issuer, key, encode = s.ASVK, s.ASVKKey, s.VLEK.Extensions
	}
	extensions, err := encode()
	if err != nil {
		t.Fatalf("encoding extensions: %v", err)
	}
	template := *s.Leaf
	template.ExtraExtensions = append(extensions, template.ExtraExtensions...)
	public := s.Public
	if public == nil {
		public = &s.key.PublicKey
	}
	return root, sign(t, &template, issuer, public, rsaKey(t, key))
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
	root, leaf := s.Chain(t)
	label := attest.LabelVCEK
	if s.VLEK != nil {
		label = attest.LabelVLEK
	}
	endorsements := attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{
		attest.LabelARK:  {MediaType: attest.TypeCertificate, Value: root.ARK.Raw, Indicator: attest.IndicatorEndorsements},
		attest.LabelASK:  {MediaType: attest.TypeCertificate, Value: root.ASK.Raw, Indicator: attest.IndicatorEndorsements},
		attest.LabelASVK: {MediaType: attest.TypeCertificate, Value: root.ASVK.Raw, Indicator: attest.IndicatorEndorsements},
		label:            {MediaType: attest.TypeCertificate, Value: leaf.Raw, Indicator: attest.IndicatorEndorsements},
	}}
	if !s.NoCRL {
		list := &x509.RevocationList{
			SignatureAlgorithm: x509.SHA384WithRSAPSS, Number: big.NewInt(s.CRLNumber),
			ThisUpdate: s.CRLThisUpdate, NextUpdate: s.CRLNextUpdate, ExtraExtensions: s.CRLExtensions,
		}
		for _, n := range s.Revoked {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: At.Add(-time.Hour), ExtraExtensions: s.CRLEntryExtensions})
		}
		crl, err := x509.CreateRevocationList(rand.Reader, list, root.ARK, rsaKey(t, s.ARKKey))
		if err != nil {
			t.Fatalf("signing CRL: %v", err)
		}
		endorsements.Items[attest.LabelCRL] = attest.Item{MediaType: attest.TypeCRL, Value: crl, Indicator: attest.IndicatorEndorsements}
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

// Input returns what accepts the evidence as it is now: its own roots, chip or
// provider, and measurement, and the nonce.
func (s *SNP) Input(t testing.TB) attest.Input {
	t.Helper()
	root, _ := s.Chain(t)
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
	if s.VLEK != nil {
		in.Trust.AllowMaskedChipID = true
		in.Trust.SNP = attest.SNPTrust{Signers: []attest.SNPSigner{attest.SNPVLEK}, CSPIDs: []string{s.VLEK.CSPID}, AllowAnyChip: true}
	} else {
		in.Trust.SNP.Chips = [][64]byte{s.VCEK.HWID}
	}
	if s.Kind == attest.SimulatedSNP {
		in.Trust.SimulatorRoots = []verdict.Digest{verdict.SHA256(root.ARK.Raw)}
		in.Trust.AllowDevelopment = true
		in.References.Entries[0].Profile = verdict.Development
	} else {
		in.Trust.SNPRoots = []attest.SNPRoot{root}
	}
	return in
}

// A CertEntry is an entry of a certificate table: a GUID as AMD writes it, and what it
// names.
type CertEntry struct {
	GUID string
	Data []byte
}

// GUIDs of certificate tables (AMD 56421), and of what Google puts there.
const (
	GUIDVCEK   = "63da758d-e664-4564-adc5-f4b93be8accd"
	GUIDVLEK   = "a8074bc2-a25a-483e-aae6-39c045a0b8a1"
	GUIDASK    = "4ab7b379-bbac-4fe4-a02f-05aef327c782"
	GUIDARK    = "c0b406a4-a803-4952-9743-3fb6014cd0ae"
	GUIDLaunch = "9f4116cd-c503-4f5a-8f6f-fb68882f4ce2"
)

// CertTable encodes a table with its end, the data in the order of the entries.
func CertTable(t testing.TB, entries ...CertEntry) []byte {
	t.Helper()
	const size = 24
	table := make([]byte, (len(entries)+1)*size)
	for i, e := range entries {
		guid, err := hex.DecodeString(strings.ReplaceAll(e.GUID, "-", ""))
		if err != nil || len(guid) != 16 {
			t.Fatalf("GUID %q: %v", e.GUID, err)
		}
		slices.Reverse(guid[:4])
		slices.Reverse(guid[4:6])
		slices.Reverse(guid[6:8])
		entry := table[i*size:]
		copy(entry, guid)
		binary.LittleEndian.PutUint32(entry[16:], uint32(len(table)))  //nolint:gosec // a test has no 4 GiB
		binary.LittleEndian.PutUint32(entry[20:], uint32(len(e.Data))) //nolint:gosec // nor here
		table = append(table, e.Data...)
	}
	return table
}
