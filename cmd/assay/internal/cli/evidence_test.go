// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
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

// TestEvidenceClaims: what is affirmed is told, and what the machine is called.
func TestEvidenceClaims(t *testing.T) {
	z := attesttest.NewAzureTDX(t, []byte("nonce"))
	items := z.Collection(t).Items[attest.LabelEvidence].Nested.Items
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"hcl": items[attest.LabelHCLReport].Value, "td": items[attest.LabelTDQuote].Value, "quote": items[attest.LabelQuote].Value, "signature": items[attest.LabelSignature].Value,
		"root": z.TDX.Root().Raw,
	} {
		write(t, filepath.Join(dir, name), data)
	}
	values := map[string]string{}
	for i := range z.PCRs {
		values[strconv.Itoa(i)] = hex.EncodeToString(z.PCRs[i][:])
	}
	measurement := hex.EncodeToString(z.TDX.Quote.MRTD[:])
	for name, document := range map[string]any{
		"pcrs": map[string]any{"bank": "sha256", "values": values},
		"case.json": map[string]any{
			"name": "made", "kind": "azure-tdx", "format": "tpm-quote", "evidence": "quote", "at": attesttest.At,
			"parts": map[string]any{"hcl_report": "hcl", "td_quote": "td", "signature": "signature", "pcrs": "pcrs"}, "roots": []any{map[string]any{"type": "intel-sgx-root", "file": "root"}},
			"policy": map[string]any{"mrtd": []any{measurement}, "pcr_values": map[string]any{"11": values["11"]}},
		},
	} {
		data, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), data)
	}
	want := "made: accept\n  under roots that the folder brings along\n  measurement " + measurement + "\n  relaxed allow-any-platform allow-no-collateral allow-no-crl\n  machine 6332533D-5649-4D02-8AA7-8F64B7C3EE21, secure boot true\n" +
		"  instance-identity none: none is named that it has to be\n" +
		"  configuration affirming: what the guest permits its host is as demanded\n" +
		"  executables affirming: what was started has values that are named\n" +
		"  hardware warning: genuine, and nothing is known of its TCB; relaxed by allow-no-collateral, allow-no-crl\n" +
		"  runtime-opaque affirming: hidden from its host by the hardware, and not from the paravisor\n"
	if got := must(t, "evidence", "appraise", dir).stdout; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := must(t, "evidence", "appraise", dir, "--output", "json").stdout
	for _, member := range []string{
		`"claims":{"configuration":"affirming","executables":"affirming","hardware":"warning","runtime-opaque":"affirming"}`,
		`"ear":{"eat_profile":"tag:ietf.org,2026:rats/ear#03","iat":` + strconv.FormatInt(attesttest.At.Unix(), 10) + `,"ear_verifier_id":{"developer":"https://github.com/assayd/assay","build":"`,
		`"submods":{"azure-tdx":{"ear_status":"warning","ear_trustworthiness_vector":{"configuration":2,"executables":2,"hardware":32,"runtime-opaque":2},"assay_reasons":{"configuration":"what the guest`,
		`"azure":{"vmUniqueId":"6332533D-5649-4D02-8AA7-8F64B7C3EE21","secureBoot":true,"tpmEnabled":true,"userData":"` + strings.Repeat("00", 64) + `"}`,
	} {
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(got)); err != nil || !strings.Contains(compact.String(), member) {
			t.Errorf("got %s, %v, want %s", compact.String(), err, member)
		}
	}
}

// TestEvidenceSNP: who signed a report, of which chip, and what it needed.
func TestEvidenceSNP(t *testing.T) {
	for name, tt := range map[string]struct {
		made               func(*attesttest.SNP)
		leaf, signer       string
		text, json, absent string
	}{
		"VCEK": {func(x *attesttest.SNP) { x.Report.Policy |= attest.SNPPolicySMT }, "amd-vcek", "vcek",
			"  Milan, signed by a VCEK, chip a0a1a2a3a4a5a6a7…\n  relaxed allow-any-chip allow-no-crl allow-no-floor allow-smt\n  instance-identity none: ",
			`"snp":{"product":"Milan","signer":"vcek","chipId":"a0a1a2a3a4a5a6a7` + strings.Repeat("00", 56) + `"},"relaxed":["allow-any-chip","allow-no-crl","allow-no-floor","allow-smt"]`, "cspId"},
		"VLEK": {func(x *attesttest.SNP) { x.UseVLEK(t, "CN=cloud") }, "amd-vlek", "vlek",
			"  Milan, signed by a VLEK of CN=cloud, chip masked\n  relaxed allow-any-chip allow-any-csp allow-masked-chip-id allow-no-crl allow-no-floor\n  instance-identity none: ",
			`"snp":{"product":"Milan","signer":"vlek","cspId":"CN=cloud"}`, "chipId"},
	} {
		t.Run(name, func(t *testing.T) {
			x := attesttest.NewSNP(t, attest.SNP, []byte("{}"), attesttest.Nonce(1))
			tt.made(x)
			c := x.Collection(t)
			root, _ := x.Chain(t)
			dir := t.TempDir()
			document, err := json.Marshal(map[string]any{
				"name": "made", "kind": "snp", "format": "snp-report", "evidence": "report", "at": attesttest.At,
				"endorsements": []any{map[string]any{"type": tt.leaf, "file": tt.leaf}},
				"roots":        []any{map[string]any{"type": "amd-ark", "file": "ark"}, map[string]any{"type": "amd-ask", "file": "ask"}, map[string]any{"type": "amd-asvk", "file": "asvk"}},
				"policy":       map[string]any{"signers": []any{tt.signer}, "allow_smt": true, "allow_masked_chip_id": true},
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string][]byte{
				"case.json": document, "report": c.Items[attest.LabelEvidence].Value, tt.leaf: c.Items[attest.LabelEndorsements].Nested.Items[tt.leaf].Value,
				"ark": root.ARK.Raw, "ask": root.ASK.Raw, "asvk": root.ASVK.Raw,
			} {
				write(t, filepath.Join(dir, name), data)
			}
			if got := must(t, "evidence", "appraise", dir).stdout; !strings.Contains(got, tt.text) {
				t.Errorf("got %q, want %q in it", got, tt.text)
			}
			var compact bytes.Buffer
			err = json.Compact(&compact, []byte(must(t, "evidence", "appraise", dir, "--output", "json").stdout))
			if got := compact.String(); err != nil || !strings.Contains(got, tt.json) || strings.Contains(got, tt.absent) {
				t.Errorf("got %s, %v, want %s and no %s", got, err, tt.json, tt.absent)
			}
		})
	}
}

// TestEvidenceInstance: a genuine TPM of Compute Engine tells whose it is.
func TestEvidenceInstance(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "..", "..", "shared", "testdata", "evidence", "tpm-gce-genuine-accept")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("shared testdata is absent")
	}
	t.Log("shared testdata: used")
	const want = "  instance cos-test of project google.com:wuale-gcp-testing in us-central1-a\n  instance-identity affirming: an accepted authority certified a key of the TPM\n"
	if got := must(t, "evidence", "appraise", dir).stdout; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := must(t, "evidence", "appraise", dir, "--output", "json").stdout; !strings.Contains(got, `"6797026933021542085"`) || !strings.Contains(got, `"117478743145"`) {
		t.Errorf("got %s", got)
	}
}
