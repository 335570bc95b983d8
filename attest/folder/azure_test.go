// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/verdict"
)

const vmID = "6332533D-5649-4D02-8AA7-8F64B7C3EE21"

// azureFolder is a simulated VM of Azure as a folder.
func azureFolder(t testing.TB, z *attesttest.Azure) (fstest.MapFS, object) {
	t.Helper()
	c := z.Collection(t)
	files := fstest.MapFS{}
	put := func(name string, data []byte) { files[name] = &fstest.MapFile{Data: data} }
	items := c.Items[attest.LabelEvidence].Nested.Items
	for label, name := range map[string]string{attest.LabelHCLReport: "hcl.bin", attest.LabelQuote: "quote.bin", attest.LabelSignature: "signature.bin", attest.LabelAKPublic: "ak.bin"} {
		put(name, items[label].Value)
	}
	values := object{}
	for i := range 24 {
		values[strconv.Itoa(i)] = hex.EncodeToString(z.PCRs[i][:])
	}
	pcrs, err := json.Marshal(object{"bank": "sha256", "values": values})
	if err != nil {
		t.Fatal(err)
	}
	put("pcrs.json", pcrs)
	policy := object{
		"nonce": hex.EncodeToString(z.Quote.ExtraData), "bank": "sha256", "required_pcrs": []any{0, 11}, "pcr_values": object{"11": hex.EncodeToString(z.PCRs[11][:])}, "require_safe": true,
		"require_secure_boot": true, "require_tpm_enabled": true, "vm_unique_ids": []any{vmID}, "user_data": "", "require_crl": true,
	}
	parts := object{"hcl_report": "hcl.bin", "signature": "signature.bin", "pcrs": "pcrs.json", "ak_public": "ak.bin"}
	of := object{"name": "made", "kind": "azure-snp", "origin": "simulated", "format": "tpm-quote", "evidence": "quote.bin", "parts": parts, "at": attesttest.At.Format(time.RFC3339), "expect": "accept", "policy": policy}
	measurement := hex.EncodeToString(z.Expected().Measurements[0][:])
	if z.TDX == nil {
		for label, item := range c.Items[attest.LabelEndorsements].Nested.Items {
			put(label, item.Value)
		}
		roots := z.Trust(t).SNPRoots
		put("ark", roots[0].ARK.Raw)
		put("ask", roots[0].ASK.Raw)
		put("asvk", roots[0].ASVK.Raw)
		leaf, signer := "amd-vcek", "vcek"
		if z.SNP.VLEK != nil {
			leaf, signer = "amd-vlek", "vlek"
		}
		of["endorsements"] = []any{object{"type": leaf, "file": leaf}, object{"type": "amd-crl", "file": attest.LabelCRL}}
		of["roots"] = []any{object{"type": "amd-ark", "file": "ark"}, object{"type": "amd-ask", "file": "ask"}, object{"type": "amd-asvk", "file": "asvk"}}
		maps.Copy(policy, object{"products": []any{"Milan"}, "signers": []any{signer}, "measurements": []any{measurement}, "vmpl": []any{0}, "allow_masked_chip_id": z.SNP.VLEK != nil})
		return files, of
	}
	of["kind"], parts["td_quote"] = "azure-tdx", "td.bin"
	put("td.bin", items[attest.LabelTDQuote].Value)
	collateral := z.TDX.Collateral()
	for name, data := range map[string][]byte{
		"tcb.json": collateral.TCBInfo, "tcb.pem": collateral.TCBInfoChain, "qe.json": collateral.QEIdentity, "qe.pem": collateral.QEIdentityChain,
		"pck.crl": collateral.PCKCRL, "root.crl": collateral.RootCRL, "root.der": z.TDX.Root().Raw,
	} {
		put(name, data)
	}
	of["endorsements"] = []any{
		object{"type": "tdx-tcb-info", "file": "tcb.json", "issuer_chain": "tcb.pem"}, object{"type": "tdx-qe-identity", "file": "qe.json", "issuer_chain": "qe.pem"},
		object{"type": "sgx-pck-crl", "file": "pck.crl"}, object{"type": "sgx-root-crl", "file": "root.crl"},
	}
	of["roots"] = []any{object{"type": "intel-sgx-root", "file": "root.der"}}
	maps.Copy(policy, object{"mrtd": []any{measurement}, "rtmr": object{"2": strings.Repeat("00", 48)}, "accept_tcb_status": []any{"UpToDate"}, "require_collateral": true, "require_sept_ve_disable": true})
	return files, of
}

// TestAzure: a folder of either platform, and one change to it.
func TestAzure(t *testing.T) {
	zeros := strings.Repeat("00", 48)
	part := func(name string) func(fstest.MapFS, object) {
		return func(_ fstest.MapFS, c object) { delete(c["parts"].(object), name) }
	}
	type tests = map[string]struct {
		change func(fstest.MapFS, object)
		code   verdict.Code // "" with a text is a misuse
		text   string
	}
	common := tests{
		"good":                {func(fstest.MapFS, object) {}, "", ""},
		"without ak_public":   {part("ak_public"), "", ""},
		"another nonce":       {policy("nonce", "9009"), verdict.EvidenceNonce, "extraData"},
		"another PCR":         {policy("pcr_values", object{"11": zeros[:64]}), verdict.GuestRegister, "pcr11"},
		"another machine":     {policy("vm_unique_ids", []any{"911B0EF8-9DBA-48B0-B275-4E4DF2D39252"}), verdict.GuestConfig, "vmUniqueId"},
		"other user data":     {policy("user_data", "01"), verdict.EvidenceBinding, "user-data"},
		"user data of no hex": {policy("user_data", "x"), "", "user_data"},
		"a log":               {policy("require_event_log_for", []any{4}), verdict.EvidenceMissing, "event log"},
		"a PCR of another name": {func(f fstest.MapFS, _ object) {
			f["pcrs.json"].Data = bytes.Replace(f["pcrs.json"].Data, []byte(`"bank":"sha256"`), []byte(`"bank":"sha1"`), 1)
		}, verdict.TPMBank, "bank"},
		"a report data":           {policy("report_data", zeros+zeros[:32]), verdict.EvidenceUnsupported, "report_data"},
		"a log of RTMRs":          {policy("require_event_log_for_rtmr", []any{0}), verdict.EvidenceUnsupported, "RTMRs"},
		"an instance of Google's": {policy("gce", object{"project_id": "p"}), verdict.EvidenceUnsupported, "not for kind"},
		"no hcl_report":           {part("hcl_report"), verdict.EvidenceMissing, "hcl_report"},
		"no signature":            {part("signature"), verdict.EvidenceMissing, "signature"},
		"a byte of the data":      {func(f fstest.MapFS, _ object) { f["hcl.bin"].Data[0x500] ^= 1 }, verdict.EvidenceBinding, "HCL report"},
		"another attestation key": {func(f fstest.MapFS, _ object) { f["ak.bin"].Data[len(f["ak.bin"].Data)-2] ^= 1 }, verdict.TPMAK, "HCLAkPub"},
		"another format":          {func(_ fstest.MapFS, c object) { c["format"] = "hcl-report" }, verdict.EvidenceUnsupported, "is not appraised"},
		"a root of a TPM's":       {func(_ fstest.MapFS, c object) { c["roots"] = []any{object{"type": "tpm-ca", "file": "hcl.bin"}} }, verdict.EvidenceUnsupported, "tpm-ca"},
		"published roots":         {func(_ fstest.MapFS, c object) { c["roots"] = []any{} }, verdict.EndorsementUntrusted, "chain"},
		"no endorsements":         {func(_ fstest.MapFS, c object) { c["endorsements"] = []any{} }, verdict.EndorsementMissing, ""},
	}
	for kind, tt := range map[string]struct {
		made  func(testing.TB, []byte) *attesttest.Azure
		tests tests
	}{
		"snp": {attesttest.NewAzureSNP, tests{
			"another paravisor":     {policy("measurements", []any{zeros}), verdict.GuestMeasurement, "measurement"},
			"no paravisor":          {policy("measurements", []any{}), "", "measurements"},
			"a short measurement":   {policy("measurements", []any{"00"}), "", "48 bytes"},
			"an MRTD":               {policy("mrtd", []any{zeros}), verdict.EvidenceUnsupported, "of TDX"},
			"another VMPL":          {policy("vmpl", []any{1}), verdict.GuestVMPL, "VMPL is 0"},
			"a floor":               {policy("min_tcb", object{"microcode": 255}), verdict.TCBMinimum, "microcode"},
			"labelled as the other": {func(_ fstest.MapFS, c object) { c["kind"] = "azure-tdx" }, verdict.EvidenceUnsupported, "of SNP"},
		}},
		"tdx": {attesttest.NewAzureTDX, tests{
			"another paravisor":     {policy("mrtd", []any{zeros}), verdict.GuestMeasurement, "MRTD"},
			"no paravisor":          {policy("mrtd", []any{}), "", "measurements"},
			"a measurement":         {policy("measurements", []any{zeros}), verdict.EvidenceUnsupported, "of SNP"},
			"another RTMR":          {policy("rtmr", object{"2": "01" + zeros[2:]}), verdict.GuestRegister, "RTMR2"},
			"RTMR 4":                {policy("rtmr", object{"4": zeros}), "", "no RTMR"},
			"another status":        {policy("accept_tcb_status", []any{"OutOfDate"}), verdict.TCBStatus, "does not name"},
			"no td_quote":           {part("td_quote"), verdict.EvidenceMissing, "td_quote"},
			"nonsense as a quote":   {func(f fstest.MapFS, _ object) { f["td.bin"].Data = []byte("x") }, verdict.EvidenceMalformed, "TDX quote"},
			"labelled as the other": {func(_ fstest.MapFS, c object) { c["kind"] = "azure-snp" }, verdict.EvidenceUnsupported, "not looked at"},
		}},
	} {
		maps.Copy(tt.tests, common)
		z := tt.made(t, []byte("nonce"))
		for name, tt := range tt.tests {
			t.Run(kind+"/"+name, func(t *testing.T) {
				files, c := azureFolder(t, z)
				tt.change(files, c)
				r, err := appraised(t, files, c)
				if tt.code == "" && tt.text == "" {
					if err != nil || r.Azure == nil || r.Azure.VMID != vmID || !r.Azure.SecureBoot || len(r.Measurement) != 96 || r.Claims.Executables != attest.Affirming || r.Claims.Hardware != attest.Affirming {
						t.Errorf("got %+v, %v", r, err)
					}
					return
				}
				wantRefusal(t, name, err, tt.code, tt.text)
				if r.Azure != nil || r.Measurement != "" {
					t.Errorf("with the error came %+v", r)
				}
			})
		}
		// A policy without demands says little of what was found.
		files, c := azureFolder(t, z)
		c["policy"] = object{"products": []any{"Milan"}}
		if r, err := appraised(t, files, c); err != nil || r.Claims.Executables != attest.NoClaim || r.Claims.RuntimeOpaque != attest.NoClaim || r.Claims.InstanceIdentity != attest.NoClaim {
			t.Errorf("%s, without demands: got %+v, %v", kind, r.Claims, err)
		}
		// The values as others than the quote's.
		files, c = azureFolder(t, z)
		z.Quote.Banks[0].Bitmap = []byte{0xff, 0xff, 0x7f}
		other, _ := azureFolder(t, z)
		for _, name := range []string{"quote.bin", "signature.bin", "pcrs.json"} {
			files[name] = other[name]
		}
		files["pcrs.json"].Data = bytes.Replace(files["pcrs.json"].Data, []byte(`"22":"`+zeros[:64]+`",`), nil, 1)
		_, err := appraised(t, files, c)
		wantRefusal(t, kind+", values of other names", err, verdict.TPMSelection, "other PCRs")
	}
	files, c := tdxFolder(t)
	c["policy"].(object)["require_secure_boot"] = true
	_, err := appraised(t, files, c)
	wantRefusal(t, "a demand of Azure's for a bare TD", err, verdict.EvidenceUnsupported, "not for kind")
}

// TestAzureSNPDemands: what a policy demands of a bare report it demands of the one
// that Azure's paravisor has, with the same codes.
func TestAzureSNPDemands(t *testing.T) {
	tests := snpDemands(t)
	// It is not the policy that keeps reports of the guest out.
	guest := reported(func(r *attest.SNPReport) { r.VMPL = 1 })
	tests["a report of the guest, accepted"] = snpDemand{guest, policy("vmpl", []any{0, 1}), verdict.GuestVMPL, "VMPL is 1"}
	tests["a report of the guest, nothing said"] = snpDemand{guest, undemanded("vmpl"), verdict.GuestVMPL, "VMPL is 1"}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			z := attesttest.NewAzureSNP(t, []byte("nonce"))
			tt.made(z.SNP)
			files, c := azureFolder(t, z)
			tt.change(files, c)
			r, err := appraised(t, files, c)
			if tt.text == "" {
				if err != nil || r.Measurement == "" || r.SNP == nil || r.Azure == nil || r.Claims.InstanceIdentity != attest.Affirming {
					t.Errorf("got %+v, %v", r, err)
				}
				return
			}
			wantRefusal(t, name, err, tt.code, tt.text)
			if r.Measurement != "" || r.SNP != nil || r.Relaxed != nil || r.Azure != nil || r.Claims != (attest.Claims{}) {
				t.Errorf("with the error came %+v", r)
			}
		})
	}
}

// TestRealAzure: a genuine VM with TDX as a folder, under the root that Intel
// publishes.
func TestRealAzure(t *testing.T) {
	base := filepath.Join("..", "..", "..", "shared", "testdata", "evidence-raw", "trustee", "az-tdx-vtpm")
	if _, err := os.Stat(base); err != nil {
		t.Skip("shared testdata is absent")
	}
	t.Log("shared testdata: used")
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var quote struct {
		Signature, Message string
		PCRs               []string
	}
	if err := json.Unmarshal(read("tpm-quote-v1.json"), &quote); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte {
		data, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	values := object{}
	for i, value := range quote.PCRs {
		values[strconv.Itoa(i)] = value
	}
	pcrs, err := json.Marshal(object{"bank": "sha256", "values": values})
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{
		"hcl": {Data: read("hcl-report.bin")}, "td": {Data: read("td-quote.bin")}, "quote": {Data: unhex(quote.Message)}, "pcrs": {Data: pcrs},
		"signature": {Data: append([]byte{0, 0x14, 0, 0x0b, 1, 0}, unhex(quote.Signature)...)}, // TPMT_SIGNATURE
	}
	c := object{
		"name": "real", "kind": "azure-tdx", "origin": "genuine", "format": "tpm-quote", "evidence": "quote", "at": "2026-06-01T00:00:00Z", "expect": "accept",
		"parts": object{"hcl_report": "hcl", "td_quote": "td", "signature": "signature", "pcrs": "pcrs"},
		"policy": object{
			"nonce": hex.EncodeToString([]byte("challenge")), "require_secure_boot": true, "vm_unique_ids": []any{vmID}, "pcr_values": object{"7": quote.PCRs[7]},
			"mrtd": []any{"024a32b070383331181619fa387cb4d55d1e38879f989933055ccad5bc2db795d1737b66205949d15469dc8c1ba7ab7b"},
		},
	}
	r, err := appraised(t, files, c)
	// Of a platform without collateral only that it is genuine is known, and Azure lets
	// the guest have faults of the secure EPT.
	want := attest.Claims{InstanceIdentity: attest.Affirming, Configuration: attest.Warning, Executables: attest.Affirming, Hardware: attest.Warning, RuntimeOpaque: attest.Affirming}
	if err != nil || r.OwnRoots || r.Claims != want || r.Azure.VMID != vmID {
		t.Fatalf("got %+v, %v", r, err)
	}
	c["policy"].(object)["require_sept_ve_disable"] = true
	_, err = appraised(t, files, c)
	wantRefusal(t, "secure EPT", err, verdict.GuestAttributes, "secure EPT")
}

// TestGCE: the genuine instance of Compute Engine, under the root that Google
// publishes.
func TestGCE(t *testing.T) {
	base := filepath.Join("..", "..", "..", "shared", "testdata", "evidence", "tpm-gce-genuine-accept")
	if _, err := os.Stat(base); err != nil {
		t.Skip("shared testdata is absent")
	}
	t.Log("shared testdata: used")
	files := fstest.MapFS{}
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(base, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = &fstest.MapFile{Data: data}
	}
	var c object
	if err := json.Unmarshal(files[folder.CaseName].Data, &c); err != nil {
		t.Fatal(err)
	}
	delete(c, "roots")
	_, err = appraised(t, files, c)
	wantRefusal(t, "nobody to trust", err, "", "tpm-ca")
	for name, tt := range map[string]struct {
		demand object
		code   verdict.Code
		text   string
	}{
		"its project":    {object{"project_id": "google.com:wuale-gcp-testing"}, "", ""},
		"the instance":   {object{"project_number": "117478743145", "instance_id": "6797026933021542085", "zone": "us-central1-a", "instance_name": "cos-test"}, "", ""},
		"another's":      {object{"project_id": "other"}, verdict.TPMAK, "project"},
		"another zone":   {object{"project_id": "google.com:wuale-gcp-testing", "zone": "us-central1-b"}, verdict.TPMAK, "zone"},
		"anybody's":      {object{"zone": "us-central1-a"}, "", "neither its project"},
		"a number":       {object{"project_number": 117478743145}, "", "unquoted value"},
		"another member": {object{"project": "x"}, "", "unknown field"},
	} {
		c["policy"].(object)["gce"] = tt.demand
		r, err := appraised(t, files, c)
		if tt.text == "" {
			if err != nil || r.OwnRoots || r.GCE == nil || r.GCE.Name != "cos-test" || r.Claims.Hardware != attest.NoClaim {
				t.Errorf("%s: got %+v, %v", name, r, err)
			}
			continue
		}
		wantRefusal(t, name, err, tt.code, tt.text)
		if r.GCE != nil {
			t.Errorf("%s: with the error came %+v", name, r.GCE)
		}
	}
}
