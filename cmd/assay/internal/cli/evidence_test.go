// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest/attesttest"
)

// TestEvidenceAppraise: the three results, their exit statuses and documents.
func TestEvidenceAppraise(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	x := attesttest.NewTDX(t, at)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "quote.bin"), x.QuoteBytes())
	write(t, filepath.Join(dir, "root.der"), x.Root().Raw)
	setCase := func(kind, expect string, debug bool) {
		t.Helper()
		data, err := json.Marshal(map[string]any{"name": "made", "kind": kind, "format": "tdx-quote", "evidence": "quote.bin", "at": at, "expect": expect,
			"roots": []any{map[string]any{"type": "intel-sgx-root", "file": "root.der"}}, "policy": map[string]any{"allow_debug": debug, "mrtd": []string{hex.EncodeToString(x.Quote.MRTD[:])}}})
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "case.json"), data)
	}
	type found struct {
		Result, Code string
		Value        struct {
			Measurement string
			OwnRoots    bool
			Expected    *bool
		}
	}
	check := func(status int, result, code string, expected bool) {
		t.Helper()
		o := assay(t, "evidence", "appraise", dir, "--output", "json")
		got, stdout, stderr := o.status, o.stdout, o.stderr
		var d found
		if err := json.Unmarshal([]byte(stdout), &d); err != nil {
			t.Fatalf("%v: %s%s", err, stdout, stderr)
		}
		if got != status || d.Result != result || d.Code != code || !d.Value.OwnRoots || d.Value.Expected == nil || *d.Value.Expected != expected || (d.Value.Measurement != "") != (status == 0) {
			t.Errorf("got %d, %s", got, stdout)
		}
	}
	setCase("tdx", "accept", false)
	check(0, "accept", "", true)
	if stdout := must(t, "evidence", "appraise", dir).stdout; !strings.Contains(stdout, "made: accept\n  under roots that the folder brings along\n  measurement "+hex.EncodeToString(x.Quote.MRTD[:])) {
		t.Errorf("got %q", stdout)
	}
	setCase("tdx", "reject", false)
	check(0, "accept", "", false)
	x.Quote.TDAttributes |= 1
	write(t, filepath.Join(dir, "quote.bin"), x.QuoteBytes())
	check(1, "reject", "guest.debug", true)
	setCase("tdx", "accept", false)
	check(1, "reject", "guest.debug", false)
	setCase("tdx", "accept", true)
	check(0, "accept", "", true)
	setCase("azure-tdx", "accept", true)
	check(3, "undecided", "evidence.unsupported", false)
	write(t, filepath.Join(dir, "case.json"), []byte(`{"name": "made", "kind": "azure-tdx", "format": "tdx-quote", "evidence": "quote.bin", "at": "2026-11-26T12:00:00Z"}`))
	if o := assay(t, "evidence", "appraise", dir); o.status != 3 || strings.Contains(o.stdout, "under roots") {
		t.Errorf("without roots: got %d, %s", o.status, o.stdout)
	}
	if err := os.Remove(filepath.Join(dir, "case.json")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{dir}, {filepath.Join(dir, "nothing")}, {filepath.Join(dir, "quote.bin")}, {}, {dir, dir}} {
		if o := assay(t, append([]string{"evidence", "appraise"}, args...)...); o.status != 2 {
			t.Errorf("%q: got %d, %s", args, o.status, o.stderr)
		}
	}
}
