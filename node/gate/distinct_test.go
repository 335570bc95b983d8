// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"testing"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

func TestDistinct(t *testing.T) {
	one := verdict.Issuer{Statement: verdict.Statement{Boot: "b", Issuer: "spiffe://a.example/assay/d/dev/x"}, Kind: verdict.KindSNP, Chip: "01"}
	tdx := one
	tdx.Kind, tdx.Chip = verdict.KindTDX, "02"
	tpm := one
	tpm.Kind, tpm.Chip = verdict.KindTPM, ""
	azure, azureTDX := one, tdx
	azure.Kind, azureTDX.Kind = verdict.KindAzureSNP, verdict.KindAzureTDX
	svsm := one
	svsm.Kind = verdict.KindSVSM
	for _, tt := range []struct {
		by    gate.Distinct
		of    verdict.Issuer
		wants string
	}{
		{"", one, "b"}, {gate.ByBoot, one, "b"}, {gate.ByChip, one, "snp:01"}, {gate.ByChip, tpm, ""}, {gate.ByVendor, one, "amd"}, {gate.ByVendor, tpm, ""},
		{gate.ByChip, tdx, "tdx:02"}, {gate.ByVendor, tdx, "intel"},
		// A guest of either kind is on the same chip.
		{gate.ByChip, azure, "snp:01"}, {gate.ByVendor, azure, "amd"}, {gate.ByChip, azureTDX, "tdx:02"}, {gate.ByVendor, azureTDX, "intel"},
		{gate.ByChip, svsm, "snp:01"}, {gate.ByVendor, svsm, "amd"},
		{gate.ByOperator, one, "a.example"}, {gate.ByOperator, tpm, "a.example"}, {gate.ByOperator, verdict.Issuer{}, ""}, {"rack", one, ""},
	} {
		if got := tt.by.Of(tt.of); got != tt.wants {
			t.Errorf("%s of a daemon on %s: got %q, want %q", tt.by, tt.of.Kind, got, tt.wants)
		}
	}
	// Each kind that references can name is of a vendor, or is a TPM.
	for _, kind := range []string{verdict.KindSNP, verdict.KindSimulatedSNP, verdict.KindTDX, verdict.KindSimulatedTDX, verdict.KindAzureSNP, verdict.KindAzureTDX, verdict.KindSVSM} {
		if gate.ByVendor.Of(verdict.Issuer{Kind: kind}) == "" {
			t.Errorf("kind %s has no vendor", kind)
		}
	}
}
