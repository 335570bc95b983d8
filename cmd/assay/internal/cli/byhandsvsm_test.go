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
)

// TestByHandSVSM: the commands of docs/attestation.md about an SVSM, in a recording of
// evidence that was made for the test.
func TestByHandSVSM(t *testing.T) {
	s := attesttest.NewSVSM(t, attesttest.Statement(t), attesttest.Nonce(1))
	known := s.TPM.Known(t)
	files, err := folder.Record(
		folder.Case{Name: "made", At: attesttest.At, Policy: folder.Policy{Daemon: &folder.PolicyDaemon{KnownKeys: []attest.KnownAK{known}}}},
		folder.Recording{Collection: s.Bytes(t), Nonce: attesttest.Nonce(1)},
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
	tools, headings := []string{"tpm2_print", "tpm2_checkquote"}, []string{helpersHeading, "Evidence of SEV-SNP with an SVSM"}
	out, err := byHand(t, dir, tools, headings...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantTwice(t, out, hex.EncodeToString(files["report.bin"][0x50:0x90]), known.EK, known.AK)
	if !strings.Contains(out, "\n00000000\n") {
		t.Errorf("no VMPL 0\n%s", out)
	}
	// The commands find what is wrong.
	write(t, filepath.Join(dir, "statement.json"), []byte("{}"))
	if out, err := byHand(t, dir, tools, headings...); err == nil || strings.Count(out, hex.EncodeToString(files["report.bin"][0x50:0x90])) != 1 {
		t.Errorf("another statement: got %v\n%s", err, out)
	}
}
