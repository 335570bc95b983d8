// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// TestPlatformOf: evidence of each kind says which endorsements it wants.
func TestPlatformOf(t *testing.T) {
	statement, nonce := attesttest.Statement(t), attesttest.Nonce(1)
	raw := attesttest.Encode(t, statement)
	vcek, tdx := []string{attest.LabelVCEK, attest.LabelCRL}, []string{attest.LabelTCBInfo, attest.LabelQEIdentity, attest.LabelPCKCRL, attest.LabelSGXRootCRL}
	vlek := attesttest.NewSNP(t, attest.SNP, raw, nonce)
	vlek.UseVLEK(t, "provider")
	old := attesttest.NewSNP(t, attest.SNP, raw, nonce)
	old.Report.Version, old.Report.Family, old.Report.Model, old.Report.Stepping = 2, 0, 0, 0
	for _, c := range []struct {
		name       string
		collection []byte
		line       attest.ProductLine
		want       []string
	}{
		{"snp", attesttest.NewSNP(t, attest.SNP, raw, nonce).Bytes(t), attest.Milan, vcek},
		{"turin", attesttest.NewSNPOn(t, attest.SNP, attest.Turin, raw, nonce).Bytes(t), attest.Turin, vcek},
		{"vlek", vlek.Bytes(t), attest.Milan, []string{attest.LabelVLEK, attest.LabelCRL}},
		{"line-of-the-certificate", old.Bytes(t), attest.Milan, vcek},
		{"svsm", attesttest.NewSVSM(t, statement, nonce).Bytes(t), attest.Milan, vcek},
		{"azure-snp", attesttest.NewAzureSNP(t, nonce[:]).Bytes(t), attest.Milan, vcek},
		{"tdx", attesttest.NewTD(t, attest.TDX, statement, nonce).Bytes(), "", tdx},
		{"azure-tdx", attesttest.NewAzureTDX(t, nonce[:]).Bytes(t), "", tdx},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, endorsements, err := attest.PlatformOf(c.collection)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Endorsements(); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if p.SNP != nil && p.SNP.Line != c.line {
				t.Errorf("got line %q, want %q", p.SNP.Line, c.line)
			}
			// Those of Azure's TDX are not made by the test's builder.
			if (p.SNP == nil) == (p.TDX == nil) || (len(endorsements) == 0) != (c.name == "azure-tdx") {
				t.Errorf("got SNP %v, TDX %v, %d endorsements", p.SNP != nil, p.TDX != nil, len(endorsements))
			}
		})
	}
}

// TestPlatformOfNone: what is of no processor, or nothing at all.
func TestPlatformOfNone(t *testing.T) {
	statement, nonce := attesttest.Statement(t), attesttest.Nonce(1)
	masked := attesttest.NewSNP(t, attest.SNP, attesttest.Encode(t, statement), nonce)
	masked.Report.SignerInfo = 1 << 1
	unknown := attesttest.NewSNP(t, attest.SNP, attesttest.Encode(t, statement), nonce)
	unknown.Report.Family = 0x42
	for _, c := range []struct {
		name       string
		collection []byte
		code       verdict.Code
	}{
		{"tpm", attesttest.NewTPM(t, statement, nonce).Bytes(t), verdict.EvidenceKind},
		{"simulator", attesttest.NewSNP(t, attest.SimulatedSNP, attesttest.Encode(t, statement), nonce).Bytes(t), verdict.EvidenceKind},
		{"nothing-signed", masked.Bytes(t), verdict.EvidenceSignature},
		{"unknown-line", unknown.Bytes(t), verdict.EvidenceUnsupported},
		{"garbage", []byte("{"), verdict.EvidenceMalformed},
	} {
		if _, _, err := attest.PlatformOf(c.collection); verdict.CodeOf(err) != c.code {
			t.Errorf("%s: got %v, want %s", c.name, err, c.code)
		}
	}
}

// TestVerifyEndorsement: what is appraised is also stored, and nothing of another kind.
func TestVerifyEndorsement(t *testing.T) {
	d := attesttest.NewTDX(t, attesttest.At)
	p, err := attest.TDXPlatformOf(d.QuoteBytes())
	if err != nil {
		t.Fatal(err)
	}
	c, roots := d.Collateral(), attest.EndorsementRoots{Intel: d.Root()}
	e, err := p.Verify(attest.LabelTCBInfo, c.TCBInfo, c.TCBInfoChain, roots, attesttest.At)
	if err != nil || e.Number.Int64() != 17 || !e.Issued.Equal(attesttest.At.Add(-48*time.Hour)) {
		t.Errorf("got %+v and %v", e, err)
	}
	// As of when it was issued, also when it has ended.
	if _, err := p.Verify(attest.LabelTCBInfo, c.TCBInfo, c.TCBInfoChain, roots, attesttest.At.AddDate(1, 0, 0)); verdict.CodeOf(err) != verdict.EndorsementExpired {
		t.Errorf("a year later: got %v, want %s", err, verdict.EndorsementExpired)
	}
	if again, err := p.EditionOf(attest.LabelTCBInfo, c.TCBInfo, c.TCBInfoChain, roots); err != nil || again.Older(e) || e.Older(again) {
		t.Errorf("got %+v and %v, want the same edition", again, err)
	}
	// Who revokes a platform has to be heard by relying parties.
	d.Revoked = []string{"pck"}
	if _, err := p.Verify(attest.LabelPCKCRL, d.Collateral().PCKCRL, nil, roots, attesttest.At); err != nil {
		t.Errorf("a list with the platform: %v", err)
	}
	for label, code := range map[string]verdict.Code{attest.LabelVCEK: verdict.EndorsementMismatch, attest.LabelTCBInfoChain: verdict.EndorsementMismatch, attest.LabelSGXRoot: verdict.EndorsementMismatch} {
		if _, err := p.Verify(label, []byte("x"), nil, roots, attesttest.At); verdict.CodeOf(err) != code {
			t.Errorf("%s: got %v, want %s", label, err, code)
		}
	}
	if _, err := p.Verify(attest.LabelPCKCRL, nil, nil, roots, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMissing {
		t.Errorf("nothing: got %v, want %s", err, verdict.EndorsementMissing)
	}
}
