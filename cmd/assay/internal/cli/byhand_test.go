// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// byHand runs the commands of docs/attestation.md under these headings in a recorded
// folder, and returns what they say. A command that fails ends them with an error.
func byHand(t *testing.T, dir string, tools []string, headings ...string) (string, error) {
	t.Helper()
	for _, tool := range append([]string{"bash", "openssl", "xxd", "jq"}, tools...) {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("docs/attestation.md by hand: %v", err)
			}
			t.Skipf("docs/attestation.md by hand: %v", err)
		}
	}
	script, heading, in, found := "set -euo pipefail\n", "", false, map[string]int{}
	for line := range strings.Lines(string(read(t, "../../../../docs/attestation.md"))) {
		switch {
		case strings.HasPrefix(line, "#") && !in:
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		case line == "```sh\n":
			in = true
			found[heading]++
		case line == "```\n":
			in = false
		case in:
			for _, h := range headings {
				if heading == h {
					script += line
				}
			}
		}
	}
	for _, h := range headings {
		if found[h] == 0 {
			t.Fatalf("docs/attestation.md has no commands under %q", h)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// wantTwice wants values that two ways lead to.
func wantTwice(t *testing.T, out string, values ...string) {
	t.Helper()
	for _, v := range values {
		if n := strings.Count(strings.ToLower(out), v); v == "" || n < 2 {
			t.Errorf("%q is there %d times, want twice\n%s", v, n, out)
		}
	}
}

// byHandHeadings are those of what has a recording of any kind.
const (
	helpersHeading   = "What to look at"
	snpHeading       = "1. Evidence of SEV-SNP"
	tpmHeading       = "2. Evidence of a TPM"
	statementHeading = "3. The statement, and whose it is"
)

// checkByHandSNP redoes a recorded appraisal of the simulator.
func checkByHandSNP(t *testing.T, recorded string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(recorded)); err != nil {
		t.Fatal(err)
	}
	report := read(t, filepath.Join(dir, "report.bin"))
	out, err := byHand(t, dir, nil, helpersHeading, snpHeading, statementHeading)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(out, "Verified OK"); n != 2 || !strings.Contains(out, "vcek.pem: OK") || !strings.Contains(out, "verify OK") {
		t.Errorf("got %d good signatures, want those of report, chain, list and owner\n%s", n, out)
	}
	wantTwice(t, out, hex.EncodeToString(report[0x50:0x90]), hex.EncodeToString(report[0x90:0xc0]), hex.EncodeToString(report[0x1a0:0x1a8]))
	// The commands find what is wrong.
	report[0x90] ^= 1
	write(t, filepath.Join(dir, "report.bin"), report)
	if out, err := byHand(t, dir, nil, helpersHeading, snpHeading); err == nil || !strings.Contains(out, "Verification failure") {
		t.Errorf("a byte of the measurement: got %v\n%s", err, out)
	}
}

// checkByHandTPM redoes that of a TPM.
func checkByHandTPM(t *testing.T, recorded string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(recorded)); err != nil {
		t.Fatal(err)
	}
	out, err := byHand(t, dir, []string{"tpm2_print", "tpm2_checkquote"}, helpersHeading, tpmHeading, statementHeading)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(out, "Verified OK"); n != 1 || !strings.Contains(out, "ek-cert.pem: OK") || !strings.Contains(out, "the certificate is for this EK") {
		t.Errorf("got %d good signatures, want the owner's, and that of the certificate\n%s", n, out)
	}
	var known, pcr14, digest string
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), `{"ak":"`); ok {
			known = rest[:68]
		}
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "pcrDigest: "); ok {
			digest = rest
		}
	}
	_, pcrs, _ := strings.Cut(string(read(t, filepath.Join(dir, "pcrs.json"))), `"14": "`)
	pcr14 = pcrs[:64]
	wantTwice(t, out, known, pcr14, digest)
}
