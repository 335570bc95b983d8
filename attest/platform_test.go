// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// TestNoPlatform: what is of no processor that is known, or does not say which authority
// certified it, names no platform.
func TestNoPlatform(t *testing.T) {
	t.Run("Azure with TDX as SEV-SNP", func(t *testing.T) {
		of := func(z *attesttest.Azure) []byte {
			return z.Collection(t).Items[attest.LabelEvidence].Nested.Items[attest.LabelHCLReport].Value
		}
		if p, err := attest.HCLPlatformOf(of(attesttest.NewAzureSNP(t, []byte("nonce")))); err != nil || p.SNP == nil {
			t.Fatalf("got %+v, %v", p, err)
		}
		if _, err := attest.HCLPlatformOf(of(attesttest.NewAzureTDX(t, []byte("nonce")))); verdict.CodeOf(err) != verdict.EvidenceKind {
			t.Errorf("got %v, want %s", err, verdict.EvidenceKind)
		}
	})
	t.Run("a quote without a certificate of Intel's authority", func(t *testing.T) {
		x := attesttest.NewTDX(t, attesttest.At)
		if p, err := attest.TDXPlatformOf(x.QuoteBytes()); err != nil || p.TDX == nil {
			t.Fatalf("got %+v, %v", p, err)
		}
		x = attesttest.NewTDX(t, attesttest.At)
		x.CAName = "Another CA"
		if _, err := attest.TDXPlatformOf(x.QuoteBytes()); verdict.CodeOf(err) != verdict.EndorsementUntrusted {
			t.Errorf("got %v, want %s", err, verdict.EndorsementUntrusted)
		}
	})
}

// TestUnwantedEndorsement: what evidence of a platform does not want is not judged.
func TestUnwantedEndorsement(t *testing.T) {
	x := attesttest.NewTDX(t, attesttest.At)
	p, err := attest.TDXPlatformOf(x.QuoteBytes())
	if err != nil {
		t.Fatal(err)
	}
	roots := attest.EndorsementRoots{Intel: x.Root()}
	if _, err := p.Verify(attest.LabelTCBInfo, x.Collateral().TCBInfo, x.Collateral().TCBInfoChain, roots, attesttest.At); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{attest.LabelVCEK, attest.LabelCRL, attest.LabelTCBInfoChain, "x"} {
		if _, err := p.Verify(label, x.Collateral().TCBInfo, nil, roots, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMismatch {
			t.Errorf("%s: got %v, want %s", label, err, verdict.EndorsementMismatch)
		}
	}
}
