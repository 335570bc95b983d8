// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

const vmID = "6332533D-5649-4D02-8AA7-8F64B7C3EE21"

// azureTEE accepts Azure's VMs on both platforms.
func azureTEE() trust.TEE {
	return trust.TEE{
		Kinds: []string{"azure-snp", "azure-tdx"}, SNPProducts: []string{"Milan"}, SNP: trust.SNP{AllowAnyChip: true},
		TDX: trust.TDX{Root: "intel", AllowAnyPlatform: true, AllowSeptVE: true}, Azure: trust.Azure{VMIDs: []string{vmID}, RequireSecureBoot: true},
	}
}

func TestAzureConfig(t *testing.T) {
	c := good(t)
	c.Profile, c.AllowUnwitnessed, c.TEE = verdict.Production, false, azureTEE()
	data, err := c.Encode()
	check(t, err)
	parsed, err := trust.Parse("trust.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	got, err := parsed.Trust()
	check(t, err)
	want := attest.AzureTrust{VMIDs: []string{vmID}, RequireSecureBoot: true}
	if diff := cmp.Diff(want, got.Azure); diff != "" || len(got.SNPRoots) != 1 || got.TDX.Root == nil {
		t.Errorf("%d roots, -want +got:\n%s", len(got.SNPRoots), diff)
	}
	for name, tt := range map[string]struct {
		change func(*trust.TEE)
		text   string
	}{
		"no product lines":            {func(t *trust.TEE) { t.SNPProducts = nil }, "tee.snp-products: none"},
		"no chips":                    {func(t *trust.TEE) { t.SNP = trust.SNP{} }, "tee.snp: no chip is accepted"},
		"no root of Intel's":          {func(t *trust.TEE) { t.TDX.Root = "" }, "tee.tdx.root: none"},
		"no platforms":                {func(t *trust.TEE) { t.TDX.AllowAnyPlatform = false }, "tee.tdx: no platform is accepted"},
		"a machine of no GUID":        {func(t *trust.TEE) { t.Azure.VMIDs = []string{"vm-1"} }, "tee.azure: a machine is named"},
		"another's demands":           {func(t *trust.TEE) { t.Kinds = []string{"snp", "tdx"} }, "tee.azure: given"},
		"TDX's, which is not there":   {func(t *trust.TEE) { t.Kinds, t.TDX.Root = []string{"azure-snp"}, "" }, "tee.tdx: given"},
		"SNP's, which is not there":   {func(t *trust.TEE) { t.Kinds, t.SNPProducts = []string{"azure-tdx"}, nil }, "tee.snp: given"},
		"beside a simulator":          {func(t *trust.TEE) { t.Kinds = append(t.Kinds, "sim-snp") }, "want it alone"},
		"product lines for TDX alone": {func(t *trust.TEE) { t.Kinds, t.SNP = []string{"azure-tdx"}, trust.SNP{} }, "is not accepted"},
		"one platform": {func(t *trust.TEE) {
			t.Kinds, t.TDX = []string{"azure-snp"}, trust.TDX{}
		}, ""},
		"beside the bare one": {func(t *trust.TEE) { t.Kinds = append(t.Kinds, "snp") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			if c.TEE = azureTEE(); strings.Contains(tt.text, "simulator") || name == "beside a simulator" {
				c.Profile = verdict.Development
			}
			tt.change(&c.TEE)
			_, err := c.Encode()
			if tt.text == "" {
				check(t, err)
				return
			}
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want a misuse with %q", err, tt.text)
			}
		})
	}
}

// TestIssuerOfAzure: what the gate is given has all PCRs that an entry can pin, so that
// it judges by itself, and owners can deny each of them.
func TestIssuerOfAzure(t *testing.T) {
	z := attesttest.NewAzureSNP(t, nil).State(t, attesttest.Statement(t), attesttest.Nonce(1))
	checkIssuerOf(t, verdict.KindAzureSNP, z.Bytes(t), z.Input(t))
}

// TestIssuerOfSVSM: the same of a guest with an SVSM.
func TestIssuerOfSVSM(t *testing.T) {
	s := attesttest.NewSVSM(t, attesttest.Statement(t), attesttest.Nonce(1))
	checkIssuerOf(t, verdict.KindSVSM, s.Bytes(t), s.Input(t))
}

func checkIssuerOf(t *testing.T, kind string, collection []byte, in attest.Input) {
	t.Helper()
	result, err := attest.Appraise(collection, in, attesttest.At)
	check(t, err)
	issuer := trust.IssuerOf(result)
	if issuer.Kind != kind || issuer.Measurement != in.References.Entries[0].Measurement || len(issuer.Chip) != 128 || len(issuer.Registers) != 15 || issuer.Registers["pcr14"] != "" {
		t.Errorf("got %+v", issuer)
	}
	head := verdict.CheckedHead{References: verdict.References{Entries: []verdict.ReferenceEntry{in.References.Entries[0]}}}
	check(t, gate.Standing(head, issuer, false, attesttest.At))
	e := &head.References.Entries[0]
	for name := range issuer.Registers {
		registers := maps.Clone(e.Registers)
		e.Registers = maps.Clone(registers)
		e.Registers[name] = strings.Repeat("9", 64)
		if err := gate.Standing(head, issuer, false, attesttest.At); verdict.CodeOf(err) != verdict.GuestRegister {
			t.Errorf("another %s: got %v", name, err)
		}
		e.Registers = registers
		if !(verdict.DenyList{Measurements: []string{issuer.Registers[name]}}).DeniesMeasurement(issuer) {
			t.Errorf("%s cannot be denied", name)
		}
	}
}

// TestAppraiseAzure: a node that accepts Azure's VMs by AMD's roots refuses one under
// others, and its recording says the same.
func TestAppraiseAzure(t *testing.T) {
	statement, nonce := attesttest.Statement(t), attesttest.Nonce(7)
	z := attesttest.NewAzureSNP(t, nil).State(t, statement, nonce)
	q := newQuestion(t, z.Input(t), statement)
	q.config.TEE = azureTEE()
	q.config.TEE.AllowNoFloor = true
	h := q.head()
	q.statement.Head = verdict.HeadRef{Counter: h.Counter, Digest: h.Digest}
	z.State(t, q.statement, nonce)
	c := z.Collection(t)
	items := c.Items[attest.LabelEvidence].Nested.Items
	for label, item := range items { // as a daemon marks them
		item.Indicator = attest.IndicatorEvidence
		items[label] = item
	}
	collection, err := c.Marshal()
	check(t, err)
	made := trust.Attempt{Question: trust.Question{Head: h, Nonce: nonce}, Collection: collection, At: attesttest.At}
	if _, made.Err = q.config.Appraise(collection, made.Question, attesttest.At); verdict.CodeOf(made.Err) != verdict.EndorsementUntrusted {
		t.Fatalf("got %v, want %s", made.Err, verdict.EndorsementUntrusted)
	}
	if files := sameAgain(t, q.config, made); files["collection.cmw"] != nil || files["hcl.bin"] == nil {
		t.Error("it was recorded whole, want its parts")
	}
	q.config.TEE.Kinds = []string{"snp"}
	q.config.TEE.TDX, q.config.TEE.Azure = trust.TDX{}, trust.Azure{}
	if _, err := q.config.Appraise(collection, made.Question, attesttest.At); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("a node without Azure: got %v, want %s", err, verdict.EvidenceKind)
	}
}
