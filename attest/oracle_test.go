// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/trust"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// genuine returns the collection of a genuine report. It is bound to no statement.
func genuine(t *testing.T, report, vcek []byte) []byte {
	t.Helper()
	data, err := attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelEvidence: {MediaType: attest.TypeSNPReport, Value: report},
		attest.LabelEndorsements: {Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{
			attest.LabelVCEK: {MediaType: attest.TypeCertificate, Value: vcek},
		}}},
	}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// readFile reads test data.
func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// milanMeasurement is MEASUREMENT of the genuine Milan report.
const milanMeasurement = "b07af9620f3b839b47996422ddec6058338951d984e312115131ea82705eaf5b6bdf8a9ece31a5a608eb0cf2e4872b01"

// milan returns what accepts the genuine Milan report. Its guest was launched with
// debugging and SMT, and no revocation list was kept with it.
func milan() (attest.Expected, attest.Trust, time.Time) {
	at := time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)
	expected := attest.Expected{
		ReportData: [64]byte{1, 2, 3, 4, 5},
		Entries: []verdict.ReferenceEntry{{
			Name: "milan", Kind: verdict.KindSNP, Profile: verdict.Production, Events: "none", Measurement: milanMeasurement,
			NotBefore: at.Unix() - 1, NotAfter: at.Unix() + 1,
		}},
		Floors: verdict.Floors{SNP: &verdict.SNPTCB{Bootloader: 2, SNP: 5, Microcode: 68}},
	}
	return expected, attest.Trust{
		Kinds: []attest.Kind{attest.SNP}, SNPRoots: attest.AMDRoots(),
		AllowDebug: true, AllowSMT: true, AllowNoCRL: true,
		// Firmware of version 2 does not say whether there is ECC and a check.
		SNP: attest.SNPTrust{AllowAnyChip: true, AllowNoECC: true, AllowNoAliasCheck: true},
	}, at
}

// TestGenuineMilan appraises a report of real hardware under AMD's own roots.
func TestGenuineMilan(t *testing.T) {
	report, vcek := readFile(t, "testdata/snp-milan-report.bin"), readFile(t, "testdata/snp-milan-vcek.der")
	data := genuine(t, report, vcek)
	expected, trusted, at := milan()
	got, err := attest.AppraiseEvidence(data, expected, trusted, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	if got.Measurement != milanMeasurement || got.ProductLine != attest.Milan || got.Simulated || got.Binding != attest.BindingHardware {
		t.Errorf("got %s on %s, simulated %t, binding %s", got.Measurement, got.ProductLine, got.Simulated, got.Binding)
	}
	if want := (attest.TCB{Bootloader: 2, SNP: 5, Microcode: 68}); got.TCB != want {
		t.Errorf("got TCB %+v, want %+v", got.TCB, want)
	}
	if got.Claims.Status() != attest.Contraindicated {
		t.Errorf("got status %d for a debug guest, want %d", got.Claims.Status(), attest.Contraindicated)
	}
	theirs := snpOracle{report: report, vcek: vcek, root: attest.AMDRoots()[0], expected: expected, trust: trusted, at: at}
	if err := theirs.ask(); err != nil {
		t.Errorf("go-sev-guest says %v", err)
	}
	for _, test := range []struct {
		name   string
		change func(*attest.Expected, *attest.Trust, *time.Time)
		code   verdict.Code
	}{
		{"debug", func(_ *attest.Expected, tr *attest.Trust, _ *time.Time) { tr.AllowDebug = false }, verdict.GuestDebug},
		{"SMT", func(_ *attest.Expected, tr *attest.Trust, _ *time.Time) { tr.AllowSMT = false }, verdict.GuestPolicy},
		{"no CRL", func(_ *attest.Expected, tr *attest.Trust, _ *time.Time) { tr.AllowNoCRL = false }, verdict.EndorsementMissing},
		{"microcode", func(e *attest.Expected, _ *attest.Trust, _ *time.Time) { e.Floors.SNP.Microcode = 69 }, verdict.TCBMinimum},
		{"report data", func(e *attest.Expected, _ *attest.Trust, _ *time.Time) { e.ReportData[63] = 1 }, verdict.EvidenceBinding},
		{"measurement", func(e *attest.Expected, _ *attest.Trust, _ *time.Time) {
			e.Entries[0].Measurement = milanMeasurement[2:] + "00"
		}, verdict.GuestMeasurement},
		{"before the VCEK", func(_ *attest.Expected, _ *attest.Trust, at *time.Time) { *at = at.AddDate(-3, 0, 0) }, verdict.EndorsementNotYetValid},
		{"after the VCEK", func(_ *attest.Expected, _ *attest.Trust, at *time.Time) { *at = at.AddDate(6, 0, 0) }, verdict.EndorsementExpired},
		{"roots of another line", func(_ *attest.Expected, tr *attest.Trust, _ *time.Time) { tr.SNPRoots = attest.AMDRoots()[1:] }, verdict.EndorsementUntrusted},
	} {
		t.Run(test.name, func(t *testing.T) {
			expected, trusted, at := milan()
			test.change(&expected, &trusted, &at)
			if _, err := attest.AppraiseEvidence(data, expected, trusted, nil, at); verdict.CodeOf(err) != test.code {
				t.Errorf("got %v, want code %s", err, test.code)
			}
		})
	}
}

// TestBitFlips flips a bit in each byte of a genuine report: none is accepted, the
// padding of the signature included.
func TestBitFlips(t *testing.T) {
	report, vcek := readFile(t, "testdata/snp-milan-report.bin"), readFile(t, "testdata/snp-milan-vcek.der")
	expected, trusted, at := milan()
	for i := range report {
		report[i] ^= 1 << (i % 8)
		if _, err := attest.AppraiseEvidence(genuine(t, report, vcek), expected, trusted, nil, at); err == nil {
			t.Errorf("accepted with bit %d of byte 0x%03x flipped", i%8, i)
		}
		report[i] ^= 1 << (i % 8)
	}
}

// TestSharedEvidence appraises the genuine reports of the shared test data.
func TestSharedEvidence(t *testing.T) {
	shared := filepath.Join("..", "..", "shared", "testdata", "evidence")
	for name, want := range map[string]verdict.Code{"snp-milan-genuine-accept": "", "snp-milan-debug-guest": verdict.GuestDebug} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(shared, name)
			if _, err := os.Stat(dir); err != nil {
				t.Skipf("no shared test data: %v", err)
			}
			expected, trusted, at := milan()
			trusted.AllowDebug = want == ""
			_, err := attest.AppraiseEvidence(genuine(t, readFile(t, filepath.Join(dir, "report.bin")), readFile(t, filepath.Join(dir, "vcek.der"))), expected, trusted, nil, at)
			if verdict.CodeOf(err) != want {
				t.Errorf("got %v, want code %q", err, want)
			}
		})
	}
}

// TestAMDRoots pins the keys of the embedded roots: a wrong file in roots/ would be
// trusted by every node.
func TestAMDRoots(t *testing.T) {
	want := map[attest.ProductLine]string{}
	for line, products := range trust.DefaultRootCerts {
		if products.ProductCerts != nil && products.ProductCerts.Ark != nil {
			want[attest.ProductLine(line)] = hex.EncodeToString(products.ProductCerts.Ark.RawSubjectPublicKeyInfo)
		}
	}
	// It does not parse Turin's, nor embed an ASVK in its roots, but has the files.
	vlek := map[attest.ProductLine][]byte{attest.Milan: trust.AskArkMilanVlekBytes, attest.Genoa: trust.AskArkGenoaVlekBytes, attest.Turin: trust.AskArkTurinVlekBytes}
	found := 0
	for _, root := range attest.AMDRoots() {
		for name, c := range map[string]*x509.Certificate{"ARK": root.ARK, "ASK": root.ASK, "ASVK": root.ASVK} {
			if err := root.ARK.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
				t.Errorf("%s: %s is not by ARK: %v", root.Line, name, err)
			}
		}
		if block, _ := pem.Decode(vlek[root.Line]); block == nil || !bytes.Equal(block.Bytes, root.ASVK.Raw) {
			t.Errorf("%s: ASVK is not the one that go-sev-guest embeds", root.Line)
		}
		if spki, ok := want[root.Line]; ok {
			found++
			if got := hex.EncodeToString(root.ARK.RawSubjectPublicKeyInfo); got != spki {
				t.Errorf("%s: ARK is not the one that go-sev-guest embeds", root.Line)
			}
		}
		if got := string(root.Line); root.ARK.Subject.CommonName != "ARK-"+got || root.ASK.Subject.CommonName != "SEV-"+got || root.ASVK.Subject.CommonName != "SEV-VLEK-"+got {
			t.Errorf("%s: got %s, %s and %s", root.Line, root.ARK.Subject.CommonName, root.ASK.Subject.CommonName, root.ASVK.Subject.CommonName)
		}
	}
	if found < 2 {
		t.Errorf("%d lines were compared with go-sev-guest's, want at least 2", found)
	}
}
