// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/cmd/assay/internal/cli"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// TestByHandAzure: the commands of docs/attestation.md about Azure, in a recording of
// evidence that was made for the test.
func TestByHandAzure(t *testing.T) {
	z := attesttest.NewAzureSNP(t, nil).State(t, attesttest.Statement(t), attesttest.Nonce(1))
	c := z.Collection(t)
	items := c.Items[attest.LabelEvidence].Nested.Items
	for label, item := range items { // as a daemon marks them
		item.Indicator = attest.IndicatorEvidence
		items[label] = item
	}
	collection, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	result, err := attest.Appraise(collection, z.Input(t), attesttest.At)
	if err != nil {
		t.Fatal(err)
	}
	told := cli.AppraisalText(trust.Appraisal{Result: result, Issuer: verdict.Issuer{Kind: string(result.Kind), Measurement: result.Measurement, Registers: result.Registers}})
	for _, want := range []string{"evidence azure-snp, bound to hcl", "pcr4 " + result.Registers["pcr4"], "machine " + result.Azure.VMID + " of Azure, secure boot true", "relaxed allow-any-chip"} {
		if !strings.Contains(told, want) {
			t.Errorf("a person is told %q, want %q", told, want)
		}
	}
	files, err := folder.Record(
		folder.Case{Name: "made", At: attesttest.At, Policy: folder.Policy{Daemon: &folder.PolicyDaemon{KnownKeys: []attest.KnownAK{result.AK}}}},
		folder.Recording{Collection: collection, Nonce: attesttest.Nonce(1)},
	)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tools, headings := []string{"tpm2_print", "tpm2_checkquote"}, []string{helpersHeading, "Evidence of Azure's confidential VMs"}
	out, err := byHand(t, dir, tools, headings...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hcl, err := attest.ParseHCLReport(files["hcl.bin"])
	if err != nil {
		t.Fatal(err)
	}
	bound := hcl.ReportData()
	wantTwice(t, out, hex.EncodeToString(bound[:32]), hex.EncodeToString(result.Azure.AK.N.Bytes()), result.AK.AK)
	if !strings.Contains(out, "\n00000000\n") && !strings.HasPrefix(out, "00000000\n") || !strings.Contains(out, result.Measurement) || !strings.Contains(out, result.Azure.VMID) {
		t.Errorf("no VMPL 0, measurement or machine\n%s", out)
	}
	// The commands find what is wrong.
	write(t, filepath.Join(dir, "statement.json"), []byte("{}"))
	if out, err := byHand(t, dir, tools, headings...); err == nil {
		t.Errorf("another statement: nothing fails\n%s", out)
	}
	write(t, filepath.Join(dir, "statement.json"), files["statement.json"])
	changed := files["hcl.bin"]
	changed[0x4d4] = ' '
	write(t, filepath.Join(dir, "hcl.bin"), changed)
	if out, err := byHand(t, dir, tools, headings...); err == nil || strings.Count(out, hex.EncodeToString(bound[:32])) != 1 {
		t.Errorf("another byte of the data: got %v\n%s", err, out)
	}
}
