// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// snpFolder is a simulated chip under roots of its own as a folder, and x before it is
// signed.
func snpFolder(t testing.TB, change func(*attesttest.SNP)) (fstest.MapFS, object) {
	t.Helper()
	x := attesttest.NewSNP(t, attest.SNP, []byte("{}"), [verdict.NonceSize]byte{})
	change(x)
	c := x.Collection(t)
	files := fstest.MapFS{"report.bin": &fstest.MapFile{Data: c.Items[attest.LabelEvidence].Value}}
	for label, item := range c.Items[attest.LabelEndorsements].Nested.Items {
		files[label] = &fstest.MapFile{Data: item.Value}
	}
	root, _ := x.Chain(t)
	files["ark"], files["ask"], files["asvk"] = &fstest.MapFile{Data: root.ARK.Raw}, &fstest.MapFile{Data: root.ASK.Raw}, &fstest.MapFile{Data: root.ASVK.Raw}
	report, err := attest.ParseSNPReport(c.Items[attest.LabelEvidence].Value)
	if err != nil {
		t.Fatal(err)
	}
	leaf, signer := "amd-vcek", "vcek"
	if x.VLEK != nil {
		leaf, signer = "amd-vlek", "vlek"
	}
	return files, object{
		"name": "made", "kind": "snp", "origin": "simulated", "format": "snp-report", "evidence": "report.bin", "at": attesttest.At.Format(time.RFC3339), "expect": "accept",
		"endorsements": []any{object{"type": leaf, "file": leaf}, object{"type": "amd-crl", "file": attest.LabelCRL}},
		"roots":        []any{object{"type": "amd-ark", "file": "ark"}, object{"type": "amd-ask", "file": "ask"}, object{"type": "amd-asvk", "file": "asvk"}},
		"policy": object{"products": []any{"Milan"}, "signers": []any{signer}, "require_crl": true, "allow_smt": true, "vmpl": []any{0}, "require_alias_check": true,
			"allow_provisional_firmware": false, "allow_masked_chip_id": x.VLEK != nil,
			"report_data": hex.EncodeToString(report.ReportData[:]), "measurements": []any{hex.EncodeToString(report.Measurement[:])}},
	}
}

func asIs(*attesttest.SNP) {}

func withVLEK(t *testing.T) func(*attesttest.SNP) {
	return func(x *attesttest.SNP) { x.UseVLEK(t, "CN=cloud") }
}

// A change makes another folder of one.
type change = func(fstest.MapFS, object)

func unchanged(fstest.MapFS, object) {}

// policy sets a demand, and undemanded takes one out.
func policy(name string, value any) change {
	return func(_ fstest.MapFS, c object) { c["policy"].(object)[name] = value }
}

func undemanded(name string) change {
	return func(_ fstest.MapFS, c object) { delete(c["policy"].(object), name) }
}

func member(name string, value any) change {
	return func(_ fstest.MapFS, c object) { c[name] = value }
}

// without takes one out of a list.
func without(list, kind string) change {
	return func(_ fstest.MapFS, c object) {
		c[list] = slices.DeleteFunc(c[list].([]any), func(one any) bool { return one.(object)["type"] == kind })
	}
}

func both(changes ...change) change {
	return func(files fstest.MapFS, c object) {
		for _, change := range changes {
			change(files, c)
		}
	}
}

// reported changes a report before it is signed.
func reported(change func(*attest.SNPReport)) func(*attesttest.SNP) {
	return func(x *attesttest.SNP) { change(&x.Report) }
}

// An snpDemand is a change of a report before it is signed, or of the folder, and
// what a policy with its members says.
type snpDemand struct {
	made   func(*attesttest.SNP)
	change change
	code   verdict.Code // "" with a text is a misuse
	text   string
}

// snpDemands are those of a bare report and of Azure's alike. The folder that they
// change demands VCEKs, a revocation list, the measurement and VMPL 0.
func snpDemands(t *testing.T) map[string]snpDemand {
	vlek := withVLEK(t)
	smt := reported(func(r *attest.SNPReport) { r.Policy |= attest.SNPPolicySMT })
	debug := reported(func(r *attest.SNPReport) { r.Policy |= attest.SNPPolicyDebug })
	migratable := reported(func(r *attest.SNPReport) { r.Policy |= attest.SNPPolicyMigratable })
	agent := reported(func(r *attest.SNPReport) { r.ReportIDMA = [32]byte{1} })
	masked := reported(func(r *attest.SNPReport) { r.ChipID = [64]byte{} })
	provisional := reported(func(r *attest.SNPReport) { r.CurrentTCB += 1 << 48 })
	rollback := reported(func(r *attest.SNPReport) { r.CurrentVersion[0]++ })
	return map[string]snpDemand{
		"another measurement": {asIs, policy("measurements", []any{strings.Repeat("00", 48)}), verdict.GuestMeasurement, "measurement"},
		"one of two measurements": {asIs, both(func(_ fstest.MapFS, c object) {
			m := c["policy"].(object)
			m["measurements"] = append([]any{strings.Repeat("00", 48)}, m["measurements"].([]any)...)
		}), "", ""},
		"another VMPL":              {asIs, policy("vmpl", []any{1}), verdict.GuestVMPL, "VMPL is 0"},
		"one of two VMPLs":          {asIs, policy("vmpl", []any{0, 1}), "", ""},
		"another product":           {asIs, policy("products", []any{"Genoa"}), verdict.EndorsementProduct, "product line"},
		"one of two products":       {asIs, policy("products", []any{"Genoa", "Milan"}), "", ""},
		"the floor that is met":     {asIs, policy("min_tcb", object{"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}), "", ""},
		"a floor of the bootloader": {asIs, policy("min_tcb", object{"bootloader": 5}), verdict.TCBMinimum, "bootloader"},
		"a floor of the TEE":        {asIs, policy("min_tcb", object{"tee": 1}), verdict.TCBMinimum, "tee"},
		"a floor of SNP":            {asIs, policy("min_tcb", object{"snp": 25}), verdict.TCBMinimum, "snp"},
		"a floor":                   {asIs, policy("min_tcb", object{"microcode": 220}), verdict.TCBMinimum, "microcode"},
		"a floor of Turin":          {asIs, policy("min_tcb", object{"fmc": 1}), verdict.TCBMinimum, "fmc"},
		"a floor below current":     {reported(func(r *attest.SNPReport) { r.LaunchTCB -= 1 << 56 }), policy("min_tcb", object{"microcode": 219}), verdict.TCBMinimum, "LAUNCH_TCB"},
		"a floor below committed": {reported(func(r *attest.SNPReport) { r.CommittedTCB -= 1 << 56 }),
			both(policy("min_tcb", object{"microcode": 219}), policy("allow_provisional_firmware", true)), verdict.TCBCommitted, "COMMITTED_TCB"},
		"an unknown component":      {asIs, policy("min_tcb", object{"ucode": 1}), "", "min_tcb has no"},
		"SMT allowed, and not used": {asIs, policy("allow_smt", true), "", ""},
		"SMT":                       {smt, policy("allow_smt", false), verdict.GuestPolicy, "SMT"},
		"SMT allowed":               {smt, policy("allow_smt", true), "", ""},
		"SMT of the platform alone": {reported(func(r *attest.SNPReport) { r.PlatformInfo |= attest.SNPPlatformSMT }), policy("allow_smt", false), verdict.PlatformInfo, "SMT"},
		"debug":                     {debug, unchanged, verdict.GuestDebug, "debugging"},
		"debug allowed":             {debug, policy("allow_debug", true), "", ""},
		"a migration agent":         {migratable, unchanged, verdict.GuestMigratable, "migration agent"},
		"an attached agent":         {agent, unchanged, verdict.GuestMigratable, "REPORT_ID_MA"},
		"an agent allowed":          {agent, policy("allow_migration_agent", true), "", ""},
		"no alias check":            {reported(func(r *attest.SNPReport) { r.PlatformInfo = attest.SNPPlatformECC }), policy("require_alias_check", true), verdict.PlatformInfo, "ALIAS_CHECK"},
		"no alias check demanded":   {reported(func(r *attest.SNPReport) { r.PlatformInfo = 0 }), policy("require_alias_check", false), "", ""},
		"a bit without a meaning":   {reported(func(r *attest.SNPReport) { r.PlatformInfo |= 1 << 6 }), unchanged, verdict.PlatformInfo, "unknown bits"},
		"provisional firmware":      {provisional, policy("allow_provisional_firmware", false), verdict.TCBCommitted, "provisional"},
		"allowed provisional":       {provisional, policy("allow_provisional_firmware", true), "", ""},
		"provisional, nothing said": {provisional, undemanded("allow_provisional_firmware"), "", ""},
		"a provisional version":     {rollback, policy("allow_provisional_firmware", false), verdict.TCBCommitted, "provisional"},
		"versions reversed": {reported(func(r *attest.SNPReport) { r.CommittedVersion = [3]uint8{1, 56, 1} }),
			policy("allow_provisional_firmware", true), verdict.PlatformFirmware, "which current"},
		"a masked chip":             {masked, policy("allow_masked_chip_id", false), verdict.PlatformChip, "masked"},
		"an allowed masked chip":    {masked, policy("allow_masked_chip_id", true), "", ""},
		"another chip":              {reported(func(r *attest.SNPReport) { r.ChipID[0]++ }), unchanged, verdict.EndorsementMismatch, "another chip"},
		"no list":                   {asIs, without("endorsements", "amd-crl"), verdict.EndorsementMissing, "amd-crl"},
		"no list demanded":          {asIs, both(without("endorsements", "amd-crl"), policy("require_crl", false)), "", ""},
		"a VLEK demanded":           {asIs, policy("signers", []any{"vlek"}), verdict.EvidenceSigner, "signing key is 0"},
		"an unknown signer":         {asIs, policy("signers", []any{"vkek"}), "", "unknown signer"},
		"a provider of a VCEK":      {asIs, policy("csp_ids", []any{"CN=cloud"}), "", "no VLEK"},
		"a VLEK":                    {vlek, unchanged, "", ""},
		"a VLEK of the provider":    {vlek, policy("csp_ids", []any{"CN=other", "CN=cloud"}), "", ""},
		"a VLEK of another":         {vlek, policy("csp_ids", []any{"CN=other"}), verdict.EvidenceSigner, "CN=cloud"},
		"a VLEK where none is said": {vlek, undemanded("signers"), verdict.EvidenceSigner, "accepted are keys of kind [vcek]"},
		"a VLEK without ASVK":       {vlek, without("roots", "amd-asvk"), verdict.EndorsementUntrusted, "no root for a vlek"},
		"another ARK":               {asIs, both(without("endorsements", "amd-crl"), policy("require_crl", false), func(f fstest.MapFS, _ object) { f["ark"] = f["ask"] }), verdict.EndorsementUntrusted, "SNP chain"},
	}
}

// TestSNP: a folder, and one change to it.
func TestSNP(t *testing.T) {
	endorsed := func(kind string) change {
		return func(_ fstest.MapFS, c object) {
			c["endorsements"] = append(c["endorsements"].([]any), object{"type": kind, "file": kind})
		}
	}
	vlek := withVLEK(t)
	tests := snpDemands(t)
	maps.Copy(tests, map[string]snpDemand{
		"good":                     {asIs, policy("name", nil), "", "unknown field"},
		"as made":                  {asIs, unchanged, "", ""},
		"without demands":          {asIs, member("policy", object{}), "", ""},
		"another report data":      {asIs, policy("report_data", strings.Repeat("00", 64)), verdict.EvidenceBinding, "REPORT_DATA"},
		"no SMT":                   {asIs, policy("allow_smt", false), "", ""},
		"AMD's own roots":          {asIs, member("roots", []any{}), verdict.EndorsementUntrusted, "SNP chain"},
		"no certificate":           {asIs, member("endorsements", []any{}), verdict.EndorsementMissing, "endorsements"},
		"no ARK":                   {asIs, without("roots", "amd-ark"), "", "amd-ark"},
		"the ASK as endorsement":   {asIs, both(without("roots", "amd-ask"), without("roots", "amd-asvk"), endorsed("amd-ask")), "", ""},
		"neither ASK nor ASVK":     {asIs, both(without("roots", "amd-ask"), without("roots", "amd-asvk")), verdict.EndorsementMissing, "amd-ask"},
		"only the other authority": {asIs, without("roots", "amd-ask"), verdict.EndorsementUntrusted, "no root for a vcek"},
		"an unreadable ASK":        {asIs, both(without("roots", "amd-ask"), endorsed("amd-ask"), func(f fstest.MapFS, _ object) { f["amd-ask"].Data = []byte("x") }), verdict.EndorsementMalformed, "amd-ask"},
		"an ARK as endorsement":    {asIs, both(member("roots", []any{}), endorsed("amd-ark"), endorsed("amd-ask")), verdict.EndorsementUntrusted, "SNP chain"},
		"an unrelated endorsement": {asIs, endorsed("amd-asvk"), "", ""},
		"another endorsement":      {asIs, member("endorsements", []any{object{"type": "x", "file": "ark"}}), verdict.EvidenceUnsupported, `"x"`},
		"another root":             {asIs, member("roots", []any{object{"type": "amd-vcek", "file": "ark"}}), verdict.EvidenceUnsupported, "amd-vcek"},
		"a VLEK, ASVK endorsed":    {vlek, both(without("roots", "amd-asvk"), endorsed("amd-asvk")), "", ""},
		"a VLEK that is not there": {vlek, without("endorsements", "amd-vlek"), verdict.EndorsementMissing, "amd-vlek"},
	})
	for name, tt := range tests {
		files, c := snpFolder(t, tt.made)
		tt.change(files, c)
		r, err := appraised(t, files, c)
		if tt.text == "" {
			if err != nil || r.Measurement == "" || r.SNP == nil || r.SNP.Product != attest.Milan || (r.SNP.CSPID == "CN=cloud") != (r.SNP.Signer == attest.SNPVLEK) {
				t.Errorf("%s: got %+v, %v", name, r, err)
			}
			continue
		}
		wantRefusal(t, name, err, tt.code, tt.text)
		if r.Measurement != "" || r.SNP != nil || r.Relaxed != nil {
			t.Errorf("%s: with the error came %+v", name, r)
		}
	}
}

// TestSNPCertTable: the certificates come in the table behind the report.
func TestSNPCertTable(t *testing.T) {
	vlek := withVLEK(t)
	for name, tt := range map[string]struct {
		made   func(*attesttest.SNP)
		table  func(fstest.MapFS) []byte
		change func(object)
		code   verdict.Code
	}{
		"a VCEK": {asIs, func(f fstest.MapFS) []byte {
			return attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDLaunch, Data: []byte("x")}, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: f["amd-vcek"].Data})
		}, func(object) {}, ""},
		"a VLEK and its ASVK": {vlek, func(f fstest.MapFS) []byte {
			return attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDASK, Data: f["asvk"].Data}, attesttest.CertEntry{GUID: attesttest.GUIDVLEK, Data: f["amd-vlek"].Data})
		}, func(c object) { c["roots"] = c["roots"].([]any)[:1] }, ""},
		"an ARK, which is no root": {asIs, func(f fstest.MapFS) []byte {
			return attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: f["amd-vcek"].Data}, attesttest.CertEntry{GUID: attesttest.GUIDASK, Data: f["ask"].Data},
				attesttest.CertEntry{GUID: attesttest.GUIDARK, Data: f["ark"].Data})
		}, func(c object) { c["roots"] = []any{} }, verdict.EndorsementUntrusted},
		"nothing": {asIs, func(fstest.MapFS) []byte { return nil }, func(object) {}, verdict.EndorsementMissing},
		"nothing beside an endorsement": {asIs, func(fstest.MapFS) []byte { return nil }, func(c object) {
			c["endorsements"] = append(c["endorsements"].([]any), object{"type": "amd-vcek", "file": "amd-vcek"})
		}, ""},
		"an offset that overflows": {asIs, func(f fstest.MapFS) []byte {
			table := attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: f["amd-vcek"].Data})
			copy(table[16:], []byte{0x40, 0, 0, 0, 0xD0, 0xFF, 0xFF, 0xFF})
			return table
		}, func(object) {}, verdict.EndorsementMalformed},
		"padding without an end": {asIs, func(fstest.MapFS) []byte { return []byte{0} }, func(object) {}, verdict.EndorsementMalformed},
		"too much":               {asIs, func(fstest.MapFS) []byte { return make([]byte, 64<<10+1) }, func(object) {}, verdict.EvidenceLimit},
	} {
		files, c := snpFolder(t, tt.made)
		c["format"], c["endorsements"] = "snp-report+cert-table", c["endorsements"].([]any)[1:]
		files["report.bin"].Data = append(files["report.bin"].Data, tt.table(files)...)
		tt.change(c)
		if r, err := appraised(t, files, c); verdict.CodeOf(err) != tt.code || (r.Measurement == "") != (tt.code != "") {
			t.Errorf("%s: got %+v, %v, want %q", name, r, err, tt.code)
		}
	}
}

// TestSNPGenuine: what machines of providers gave, as folders.
func TestSNPGenuine(t *testing.T) {
	base := filepath.Join("..", "..", "..", "shared", "testdata", "evidence-raw", "trustee", "snp")
	if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	t.Log("shared testdata: used")
	files := fstest.MapFS{}
	for _, name := range []string{"test-report.bin", "test-vcek.der", "test-vcek-invalid-new.der", "test-vcek-invalid-legacy.der", "test-vlek-report.bin", "test-vlek.der"} {
		data, err := os.ReadFile(filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	vcek := object{"products": []any{"Milan"}, "allow_smt": true, "allow_provisional_firmware": true, "min_tcb": object{"bootloader": 3, "snp": 8, "microcode": 115}}
	vlek := object{"signers": []any{"vlek"}, "csp_ids": []any{"CN=cc-us-east-2.amazonaws.com"}, "allow_smt": true, "allow_masked_chip_id": true, "require_alias_check": true,
		"min_tcb": object{"bootloader": 4, "snp": 24, "microcode": 217}, "vmpl": []any{1}}
	for _, test := range []struct {
		name, evidence, kind, file, at string
		policy                         object
		change                         map[string]any
		code                           verdict.Code
	}{
		{"vcek", "test-report.bin", "amd-vcek", "test-vcek.der", "2024-01-01T00:00:00Z", vcek, nil, ""},
		{"vcek, firmware not committed", "test-report.bin", "amd-vcek", "test-vcek.der", "2024-01-01T00:00:00Z", vcek, map[string]any{"allow_provisional_firmware": false}, verdict.TCBCommitted},
		{"vcek changed, HWID with a tag", "test-report.bin", "amd-vcek", "test-vcek-invalid-new.der", "2024-01-01T00:00:00Z", vcek, nil, verdict.EndorsementUntrusted},
		{"vcek changed, HWID without", "test-report.bin", "amd-vcek", "test-vcek-invalid-legacy.der", "2024-01-01T00:00:00Z", vcek, nil, verdict.EndorsementUntrusted},
		{"vcek, floor", "test-report.bin", "amd-vcek", "test-vcek.der", "2024-01-01T00:00:00Z", vcek, map[string]any{"min_tcb": object{"microcode": 116}}, verdict.TCBMinimum},
		{"vlek", "test-vlek-report.bin", "amd-vlek", "test-vlek.der", "2025-06-01T00:00:00Z", vlek, nil, ""},
		{"vlek, firmware not committed", "test-vlek-report.bin", "amd-vlek", "test-vlek.der", "2025-06-01T00:00:00Z", vlek, map[string]any{"allow_provisional_firmware": false}, verdict.TCBCommitted},
		{"vlek, expired", "test-vlek-report.bin", "amd-vlek", "test-vlek.der", "2026-06-01T00:00:00Z", vlek, nil, verdict.EndorsementExpired},
		{"vlek of another provider", "test-vlek-report.bin", "amd-vlek", "test-vlek.der", "2025-06-01T00:00:00Z", vlek, map[string]any{"csp_ids": []any{"CN=cc-us-east-1.amazonaws.com"}}, verdict.EvidenceSigner},
		{"vlek as vcek", "test-vlek-report.bin", "amd-vcek", "test-vlek.der", "2025-06-01T00:00:00Z", vlek, nil, verdict.EndorsementMissing},
		{"vlek of another product", "test-vlek-report.bin", "amd-vlek", "test-vlek.der", "2025-06-01T00:00:00Z", vlek, map[string]any{"products": []any{"Genoa"}}, verdict.EndorsementProduct},
	} {
		policy, err := json.Marshal(test.policy)
		if err != nil {
			t.Fatal(err)
		}
		changed := object{}
		if err := json.Unmarshal(policy, &changed); err != nil {
			t.Fatal(err)
		}
		maps.Copy(changed, test.change)
		_, err = appraised(t, files, object{
			"name": test.name, "kind": "snp", "origin": "genuine", "format": "snp-report", "evidence": test.evidence, "at": test.at, "policy": changed,
			"endorsements": []any{object{"type": test.kind, "file": test.file}},
		})
		if verdict.CodeOf(err) != test.code {
			t.Errorf("%s: got %v, want %q", test.name, err, test.code)
		}
	}
}
