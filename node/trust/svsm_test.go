// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// TestSVSMConfig: what is demanded of SEV-SNP is demanded of the platform of an SVSM, and
// no authority of TPMs is needed.
func TestSVSMConfig(t *testing.T) {
	tee := func() trust.TEE {
		return trust.TEE{Kinds: []string{"snp-svsm"}, SNPProducts: []string{"Milan", "Genoa"}, SNP: trust.SNP{AllowAnyChip: true}}
	}
	c := good(t)
	c.Profile, c.AllowUnwitnessed, c.TEE = verdict.Production, false, tee()
	data, err := c.Encode()
	check(t, err)
	parsed, err := trust.Parse("trust.yaml", data)
	check(t, err)
	got, err := parsed.Trust()
	check(t, err)
	if len(got.Kinds) != 1 || got.Kinds[0] != attest.SVSM || len(got.SNPRoots) != 2 || !got.SNP.AllowAnyChip {
		t.Errorf("got %+v", got)
	}
	for name, tt := range map[string]struct {
		change func(*trust.TEE)
		text   string
	}{
		"no product lines":     {func(t *trust.TEE) { t.SNPProducts = nil }, "tee.snp-products: none"},
		"no chips":             {func(t *trust.TEE) { t.SNP = trust.SNP{} }, "tee.snp: no chip is accepted"},
		"a misspelt kind":      {func(t *trust.TEE) { t.Kinds = []string{"svsm"} }, "want snp, snp-svsm"},
		"beside the bare kind": {func(t *trust.TEE) { t.Kinds = append(t.Kinds, "snp") }, ""},
		"beside VMs of Azure":  {func(t *trust.TEE) { t.Kinds = append(t.Kinds, "azure-snp") }, ""},
		"product lines for TDX": {func(t *trust.TEE) {
			t.Kinds, t.SNP, t.TDX = []string{"tdx"}, trust.SNP{}, trust.TDX{Root: "intel", AllowAnyPlatform: true}
		}, "is not accepted"},
	} {
		c := c
		c.TEE = tee()
		tt.change(&c.TEE)
		_, err := c.Encode()
		if tt.text == "" {
			check(t, err)
			continue
		}
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want a misuse with %q", name, err, tt.text)
		}
	}
}
