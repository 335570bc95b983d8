// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

const cloud = "CN=cc-region-1.cloud.test"

// goodVLEK returns evidence by a provider's key on a line, and what accepts it.
func goodVLEK(t testing.TB, kind attest.Kind, line attest.ProductLine) (*attesttest.SNP, attest.Input) {
	t.Helper()
	s := attesttest.NewSNPOn(t, kind, line, attesttest.Encode(t, attesttest.Statement(t)), attesttest.Nonce(1))
	s.UseVLEK(t, cloud)
	return s, s.Input(t)
}

func TestAppraiseVLEK(t *testing.T) {
	for _, kind := range []attest.Kind{attest.SNP, attest.SimulatedSNP} {
		for _, line := range []attest.ProductLine{attest.Milan, attest.Genoa, attest.Turin} {
			s, in := goodVLEK(t, kind, line)
			got, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
			if err != nil {
				t.Fatalf("%s on %s: %v", kind, line, err)
			}
			if got.Signer != attest.SNPVLEK || got.CSPID != cloud || got.ProductLine != line || got.Claims.InstanceIdentity != attest.NoClaim {
				t.Errorf("%s on %s: got %s of %s on %s, claims %+v", kind, line, got.Signer, got.CSPID, got.ProductLine, got.Claims)
			}
		}
	}
}

// TestRefuseVLEK changes one thing in good evidence by a provider's key.
func TestRefuseVLEK(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*attesttest.SNP, *attest.Input)
		code   verdict.Code
	}{
		{"where no signers are named", func(_ *attesttest.SNP, in *attest.Input) { in.Trust.SNP.Signers, in.Trust.SNP.CSPIDs = nil, nil }, verdict.EvidenceSigner},
		{"where a VCEK is demanded", func(_ *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.Signers, in.Trust.SNP.CSPIDs = []attest.SNPSigner{attest.SNPVCEK}, nil
		}, verdict.EvidenceSigner},
		{"another provider", func(s *attesttest.SNP, _ *attest.Input) { s.VLEK.CSPID = cloud + ".evil" }, verdict.EvidenceSigner},
		{"a provider's name in other letters", func(_ *attesttest.SNP, in *attest.Input) { in.Trust.SNP.CSPIDs = []string{"cn=cc-region-1.cloud.test"} }, verdict.EvidenceSigner},
		{"signing key 2", func(s *attesttest.SNP, _ *attest.Input) { s.Report.SignerInfo = 2 << 2 }, verdict.EvidenceSigner},
		{"no signing key", func(s *attesttest.SNP, _ *attest.Input) { s.Report.SignerInfo = 7 << 2 }, verdict.EvidenceSigner},
		{"no signing key and a masked one", func(s *attesttest.SNP, _ *attest.Input) { s.Report.SignerInfo = 7<<2 | 1<<1 }, verdict.EvidenceSignature},
		{"a VCEK's report", func(s *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.Signers = append(in.Trust.SNP.Signers, attest.SNPVCEK)
			s.Report.SignerInfo = 0
		}, verdict.EndorsementMissing},
		{"a masked chip that nothing allows", func(_ *attesttest.SNP, in *attest.Input) { in.Trust.AllowMaskedChipID = false }, verdict.PlatformChip},
		{"for another TCB", func(s *attesttest.SNP, _ *attest.Input) { s.VLEK.TCB.SNP++ }, verdict.EndorsementMismatch},
		{"for another line", func(s *attesttest.SNP, _ *attest.Input) { s.VLEK.Product = "Genoa" }, verdict.EndorsementProduct},
		{"without a provider", func(s *attesttest.SNP, _ *attest.Input) { s.VLEK.CSPID = "" }, verdict.EndorsementMalformed},
		{"named as a VCEK", func(s *attesttest.SNP, _ *attest.Input) { s.Leaf.Subject.CommonName = "SEV-VCEK" }, verdict.EndorsementUntrusted},
		{"that names a chip", func(s *attesttest.SNP, _ *attest.Input) {
			s.Leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 4}, Value: make([]byte, 64)}}
		}, verdict.EndorsementMalformed},
		{"expired", func(s *attesttest.SNP, _ *attest.Input) { s.Leaf.NotAfter = attesttest.At.Add(-time.Second) }, verdict.EndorsementExpired},
		{"issued by the ASK", func(s *attesttest.SNP, _ *attest.Input) { s.ASVK, s.ASVKKey = s.ASK, s.ASKKey }, verdict.EndorsementUntrusted},
		{"revoked", func(s *attesttest.SNP, _ *attest.Input) { s.Revoked = []*big.Int{s.Leaf.SerialNumber} }, verdict.EndorsementRevoked},
		{"ASVK revoked", func(s *attesttest.SNP, _ *attest.Input) { s.Revoked = []*big.Int{s.ASVK.SerialNumber} }, verdict.EndorsementRevoked},
		{"no list", func(s *attesttest.SNP, _ *attest.Input) { s.NoCRL = true }, verdict.EndorsementMissing},
		{"the list for VCEKs", func(s *attesttest.SNP, _ *attest.Input) {
			s.CRLExtensions = []pkix.Extension{scope(t, "https://kdsintf.amd.com/vcek/v1/Milan/crl")}
		}, verdict.EndorsementMissing},
		{"a list of users alone", func(s *attesttest.SNP, _ *attest.Input) {
			s.CRLExtensions = []pkix.Extension{{Id: scope(t, "").Id, Critical: true, Value: []byte{0x30, 3, 0x81, 1, 0xFF}}}
		}, verdict.EndorsementMissing},
		{"a list of unreadable scope", func(s *attesttest.SNP, _ *attest.Input) {
			s.CRLExtensions = []pkix.Extension{{Id: scope(t, "").Id, Critical: true, Value: []byte{0x30, 9}}}
		}, verdict.EndorsementMalformed},
		{"a list with an unknown critical extension", func(s *attesttest.SNP, _ *attest.Input) {
			s.CRLExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, verdict.EndorsementUntrusted},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, kind := range []attest.Kind{attest.SNP, attest.SimulatedSNP} {
				s, in := goodVLEK(t, kind, attest.Milan)
				test.change(s, &in)
				checkRefused(t, s.Bytes(t), in, test.code)
			}
		})
	}
	t.Run("a line without ASVK", func(t *testing.T) {
		s, in := goodVLEK(t, attest.SNP, attest.Milan)
		in.Trust.SNPRoots[0].ASVK = nil
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
	t.Run("a VCEK where only VLEKs are accepted", func(t *testing.T) {
		s, in := goodSNP(t, attest.SNP)
		in.Trust.SNP.Signers, in.Trust.SNP.AllowAnyCSP = []attest.SNPSigner{attest.SNPVLEK}, true
		checkRefused(t, s.Bytes(t), in, verdict.EvidenceSigner)
	})
	t.Run("a revoked ASK is another's", func(t *testing.T) {
		s, in := goodVLEK(t, attest.SNP, attest.Milan)
		s.Revoked = []*big.Int{s.ASK.SerialNumber}
		if _, err := attest.Appraise(s.Bytes(t), in, attesttest.At); err != nil {
			t.Error(err)
		}
	})
	t.Run("the list for VLEKs", func(t *testing.T) {
		s, in := goodVLEK(t, attest.SNP, attest.Milan)
		s.CRLExtensions = []pkix.Extension{scope(t, "https://kdsintf.amd.com/vlek/v1/Milan/crl")}
		if _, err := attest.Appraise(s.Bytes(t), in, attesttest.At); err != nil {
			t.Error(err)
		}
	})
}

// scope is an issuing distribution point with an address.
func scope(t testing.TB, address string) pkix.Extension {
	t.Helper()
	type name struct {
		Full []asn1.RawValue `asn1:"optional,tag:0"`
	}
	value, err := asn1.Marshal(struct {
		Point name `asn1:"optional,tag:0"`
	}{name{[]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(address)}}}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: value}
}

// TestWeakChain holds that keys and signatures which no longer count are refused,
// wherever in the chain they are.
func TestWeakChain(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*attesttest.SNP){
		"ARK of 1024 bits":          func(s *attesttest.SNP) { s.ARKKey, s.IssuedBy = attesttest.WeakKey, attesttest.WeakKey },
		"ASK of 1024 bits":          func(s *attesttest.SNP) { s.ASKKey = attesttest.WeakKey },
		"P-224 leaf":                func(s *attesttest.SNP) { s.Public = &p224.PublicKey },
		"P-256 leaf":                func(s *attesttest.SNP) { s.Public = &p256.PublicKey },
		"leaf signed with SHA-1":    func(s *attesttest.SNP) { s.Leaf.SignatureAlgorithm = x509.SHA1WithRSA },
		"ASK signed with SHA-1":     func(s *attesttest.SNP) { s.ASK.SignatureAlgorithm = x509.SHA1WithRSA },
		"leaf signed with SHA-256":  func(s *attesttest.SNP) { s.Leaf.SignatureAlgorithm = x509.SHA256WithRSAPSS },
		"ARK that may not issue":    func(s *attesttest.SNP) { s.ARK.KeyUsage = x509.KeyUsageCRLSign },
		"ASK that is no authority":  func(s *attesttest.SNP) { s.ASK.IsCA = false },
		"ASK of another line":       func(s *attesttest.SNP) { s.ASK.Subject.CommonName = "SEV-Genoa" },
		"ARK named as another line": func(s *attesttest.SNP) { s.ARK.Subject.CommonName = "ARK-Genoa" },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := goodSNP(t, attest.SNP)
			change(s)
			checkRefused(t, s.Bytes(t), s.Input(t), verdict.EndorsementUntrusted)
		})
	}
}

// TestR19Order holds that a certificate in another's place is refused, and that what
// else is there changes nothing.
func TestR19Order(t *testing.T) {
	s, in := goodSNP(t, attest.SimulatedSNP)
	labels := []string{attest.LabelVCEK, attest.LabelASK, attest.LabelARK}
	for _, a := range labels {
		for _, b := range labels {
			c := s.Collection(t)
			items := c.Items[attest.LabelEndorsements].Nested.Items
			items[a], items[b] = items[b], items[a]
			items[attest.LabelVLEK] = items[attest.LabelASVK]
			if a == b {
				if _, err := attest.Appraise(encode(t, c), in, attesttest.At); err != nil {
					t.Errorf("in order: %v", err)
				}
				continue
			}
			checkRefused(t, encode(t, c), in, verdict.EndorsementUntrusted)
		}
	}
}

// genuineVLEK returns the collection of a genuine report by the VLEK of a provider,
// and what accepts it. No revocation list was kept with it.
func genuineVLEK(t *testing.T) ([]byte, attest.Expected, attest.Trust, time.Time) {
	t.Helper()
	raw := sharedFile(t, "evidence-raw", "trustee", "snp", "test-vlek-report.bin")
	certificate := sharedFile(t, "evidence-raw", "trustee", "snp", "test-vlek.der")
	report, err := attest.ParseSNPReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	data := encode(t, attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelEvidence: {MediaType: attest.TypeSNPReport, Value: raw},
		attest.LabelEndorsements: {Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{
			attest.LabelVLEK: {MediaType: attest.TypeCertificate, Value: certificate},
		}}},
	}})
	at := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	expected := attest.Expected{ReportData: report.ReportData, Entries: []verdict.ReferenceEntry{{
		Name: "vlek", Kind: verdict.KindSNP, Profile: verdict.Production, Events: "none", NotBefore: at.Unix() - 1, NotAfter: at.Unix() + 1,
		Measurement: "8922ebbdd00ec2c541f36a6e7a82a8773a7accb451ed67bc94e740dbe92c93c4e8c9af857f5ceeb5a493df2a570d7bf0",
	}}}
	return data, expected, attest.Trust{
		Kinds: []attest.Kind{attest.SNP}, SNPRoots: attest.AMDRoots(), MinTCB: attest.TCB{Bootloader: 4, SNP: 24, Microcode: 0xD9},
		AllowSMT: true, AllowNoCRL: true, AllowMaskedChipID: true, AllowVMPLs: []uint32{1},
		SNP: attest.SNPTrust{
			Signers: []attest.SNPSigner{attest.SNPVLEK}, CSPIDs: []string{"CN=cc-us-east-2.amazonaws.com"},
			AllowAnyChip: true, AllowProvisionalFirmware: true, MinFirmware: attest.SNPFirmware{Major: 1, Minor: 55, Build: 29},
			RequirePlatform: attest.SNPPlatformTSME,
		},
	}, at
}

// TestGenuineVLEK appraises a report of a provider's machine under AMD's own roots.
func TestGenuineVLEK(t *testing.T) {
	data, expected, trust, at := genuineVLEK(t)
	got, err := attest.AppraiseEvidence(data, expected, trust, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	if got.Signer != attest.SNPVLEK || got.CSPID != "CN=cc-us-east-2.amazonaws.com" || got.ProductLine != attest.Milan || got.TCB.Microcode != 0xD9 {
		t.Errorf("got %+v", got)
	}
	for _, test := range []struct {
		name   string
		change func(*attest.Trust, *time.Time)
		code   verdict.Code
	}{
		{"before it", func(_ *attest.Trust, at *time.Time) { *at = time.Date(2024, 12, 10, 0, 0, 0, 0, time.UTC) }, verdict.EndorsementNotYetValid},
		{"after it", func(_ *attest.Trust, at *time.Time) { *at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }, verdict.EndorsementExpired},
		{"VCEKs alone", func(t *attest.Trust, _ *time.Time) { t.SNP.Signers, t.SNP.CSPIDs = nil, nil }, verdict.EvidenceSigner},
		{"another provider", func(t *attest.Trust, _ *time.Time) { t.SNP.CSPIDs = []string{"CN=cc-us-east-1.amazonaws.com"} }, verdict.EvidenceSigner},
		{"committed firmware", func(t *attest.Trust, _ *time.Time) { t.SNP.AllowProvisionalFirmware = false }, verdict.TCBCommitted},
		{"a chip", func(t *attest.Trust, _ *time.Time) { t.AllowMaskedChipID = false }, verdict.PlatformChip},
		{"no SMT", func(t *attest.Trust, _ *time.Time) { t.AllowSMT = false }, verdict.GuestPolicy},
		{"VMPL 0", func(t *attest.Trust, _ *time.Time) { t.AllowVMPLs = nil }, verdict.GuestVMPL},
		{"a list", func(t *attest.Trust, _ *time.Time) { t.AllowNoCRL = false }, verdict.EndorsementMissing},
		{"a higher floor", func(t *attest.Trust, _ *time.Time) { t.MinTCB.Microcode = 0xDA }, verdict.TCBMinimum},
		{"newer firmware", func(t *attest.Trust, _ *time.Time) { t.SNP.MinFirmware.Build++ }, verdict.PlatformFirmware},
		{"ciphertext hiding", func(t *attest.Trust, _ *time.Time) { t.SNP.RequirePlatform = attest.SNPPlatformCiphertextHiding }, verdict.PlatformInfo},
		{"roots of other lines", func(t *attest.Trust, _ *time.Time) { t.SNPRoots = t.SNPRoots[1:] }, verdict.EndorsementUntrusted},
		{"roots without ASVK", func(t *attest.Trust, _ *time.Time) { t.SNPRoots[0].ASVK = nil }, verdict.EndorsementUntrusted},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, expected, trust, at := genuineVLEK(t)
			test.change(&trust, &at)
			expected.Entries[0].NotBefore, expected.Entries[0].NotAfter = at.Unix()-1, at.Unix()+1
			if _, err := attest.AppraiseEvidence(data, expected, trust, nil, at); verdict.CodeOf(err) != test.code {
				t.Errorf("got %v, want code %s", err, test.code)
			}
		})
	}
}

// TestGenuineCertificates reads what AMD certified, of all lines.
func TestGenuineCertificates(t *testing.T) {
	for _, test := range []struct {
		path []string
		want attest.VCEK
	}{
		{[]string{"evidence-raw", "trustee", "snp", "test-vcek.der"}, attest.VCEK{Product: "Milan-B0", TCB: attest.TCB{Bootloader: 3, SNP: 8, Microcode: 0x73}}},
		// This one was changed after it was signed, and has a tag around its HWID.
		{[]string{"evidence-raw", "trustee", "snp", "test-vcek-invalid-new.der"}, attest.VCEK{Product: "Milan-B0", TCB: attest.TCB{Microcode: 30}}},
		{[]string{"evidence-raw", "virtee-sev", "certs_data", "vcek_turin.der"}, attest.VCEK{Product: "Turin", TCB: attest.TCB{Microcode: 9}}},
	} {
		got, err := attest.ParseVCEK(sharedFile(t, test.path...))
		if err != nil {
			t.Fatal(err)
		}
		if got.HWID == [64]byte{} {
			t.Errorf("%s: no HWID", test.want.Product)
		}
		if got.HWID = [64]byte{}; got != test.want {
			t.Errorf("got %+v, want %+v", got, test.want)
		}
	}
	if _, err := attest.ParseVCEK(sharedFile(t, "evidence-raw", "trustee", "snp", "test-vlek.der")); verdict.CodeOf(err) != verdict.EndorsementMalformed {
		t.Errorf("a VLEK: got %v, want %s", err, verdict.EndorsementMalformed)
	}
	for _, line := range []string{"milan", "genoa", "turin"} {
		block, rest := pem.Decode(sharedFile(t, "evidence-raw", "trustee", "snp", line+"_ask_ark_asvk.pem"))
		for ; block != nil; block, rest = pem.Decode(rest) {
			found := false
			for _, root := range attest.AMDRoots() {
				for _, c := range []*x509.Certificate{root.ASK, root.ARK, root.ASVK} {
					found = found || string(c.Raw) == string(block.Bytes)
				}
			}
			if !found {
				t.Errorf("%s: a certificate of AMD is not among the roots", line)
			}
		}
	}
}

// TestHWID holds that the chip's ID is read as AMD encodes it, with a tag or without,
// and not in another length.
func TestHWID(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, product := range []string{"Milan-B0", "Turin"} {
		want := attest.VCEK{Product: product, HWID: [64]byte{1, 2, 3, 4, 5, 6, 7, 8}}
		extensions, err := want.Extensions()
		if err != nil {
			t.Fatal(err)
		}
		last := &extensions[len(extensions)-1]
		plain := last.Value
		tagged := append([]byte{asn1.TagOctetString, byte(len(plain))}, plain...)
		for _, test := range []struct {
			name  string
			value []byte
			code  verdict.Code
		}{
			{"plain", plain, ""},
			{"tagged", tagged, ""},
			{"another tag", append([]byte{asn1.TagBitString, byte(len(plain))}, plain...), verdict.EndorsementMalformed},
			{"another length in the tag", append([]byte{asn1.TagOctetString, byte(len(plain) - 1)}, plain...), verdict.EndorsementMalformed},
			{"a byte less", plain[1:], verdict.EndorsementMalformed},
			{"a byte behind", append(tagged, 0), verdict.EndorsementMalformed},
		} {
			last.Value = test.value
			template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: extensions}
			der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := attest.ParseVCEK(der)
			if verdict.CodeOf(err) != test.code || (test.code == "") != (got == want) {
				t.Errorf("%s of %s: got %+v, %v, want code %q", test.name, product, got, err, test.code)
			}
		}
	}
}
