// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// azureRecord is evidence of Azure's as Trustee records it, in three generations: of
// the oldest, bytes are lists of numbers.
type azureRecord struct {
	hcl, vcek, tdQuote, message, signature []byte
	pcrs                                   []byte
}

func readAzure(t *testing.T, elem ...string) (r azureRecord) {
	t.Helper()
	var o object
	if err := json.Unmarshal(sharedFile(t, append([]string{"evidence-raw", "trustee"}, elem...)...), &o); err != nil {
		t.Fatal(err)
	}
	decode := func(v any, text func(string) ([]byte, error)) []byte {
		switch v := v.(type) {
		case []any:
			out := make([]byte, len(v))
			for i := range v {
				out[i] = byte(v[i].(float64))
			}
			return out
		case string:
			out, err := text(v)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		return nil
	}
	base64url := func(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "=")) }
	quote, isNested := o["tpm_quote"].(object)
	if !isNested {
		quote, o["hcl_report"] = o["quote"].(object), o["report"]
		block, _ := pem.Decode([]byte(o["vcek"].(string)))
		r.vcek = block.Bytes
	} else if o["vcek"] != nil {
		r.vcek = decode(o["vcek"], base64url)
	}
	r.hcl, r.tdQuote = decode(o["hcl_report"], base64url), decode(o["td_quote"], base64url)
	r.message, r.signature = decode(quote["message"], hex.DecodeString), decode(quote["signature"], hex.DecodeString)
	for _, value := range quote["pcrs"].([]any) {
		r.pcrs = append(r.pcrs, decode(value, hex.DecodeString)...)
	}
	return r
}

// collection is the record as a collection. Of the signature it has the bytes alone.
func (r azureRecord) collection(t *testing.T) []byte {
	t.Helper()
	signature := binary.BigEndian.AppendUint16([]byte{0, 0x14, 0, 0x0b}, uint16(len(r.signature)))
	items := map[string]attest.Item{
		attest.LabelHCLReport: {MediaType: attest.TypeHCLReport, Value: r.hcl},
		attest.LabelQuote:     {MediaType: attest.TypeTPMAttest, Value: r.message},
		attest.LabelSignature: {MediaType: attest.TypeTPMSignature, Value: append(signature, r.signature...)},
		attest.LabelPCRs:      {MediaType: attest.TypeTPMPCRs, Value: r.pcrs},
	}
	evidence := &attest.Collection{Type: attest.TypeAzureSNP, Items: items}
	c := attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{attest.LabelEvidence: {Nested: evidence}}}
	if r.tdQuote != nil {
		evidence.Type = attest.TypeAzureTDX
		items[attest.LabelTDQuote] = attest.Item{MediaType: attest.TypeTDXQuote, Value: r.tdQuote}
	}
	if r.vcek != nil {
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{
			attest.LabelVCEK: {MediaType: attest.TypeCertificate, Value: r.vcek},
		}}}
	}
	return encode(t, c)
}

// TestRealAzure: genuine evidence of both platforms, whose nonce was a word, or what
// the guest had written as user-data too.
func TestRealAzure(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	snpTrust := attest.Trust{Kinds: []attest.Kind{attest.SNP}, SNPRoots: attest.AMDRoots(), AllowSMT: true, AllowNoCRL: true, MinTCB: attest.TCB{Bootloader: 3, SNP: 8, Microcode: 115},
		SNP: attest.SNPTrust{AllowAnyChip: true}}
	tdxTrust := attest.TDXTrust{Root: attest.IntelRoot(), AllowAnyPlatform: true, AllowNoCollateral: true, AllowNoCRL: true, AllowSeptVE: true}
	appraise := func(r azureRecord, e attest.AzureExpected, at time.Time) (attest.AzureResult, error) {
		if r.tdQuote != nil {
			return attest.AppraiseAzureTDX(r.collection(t), attest.TDXCollateral{}, e, tdxTrust, at)
		}
		return attest.AppraiseAzureSNP(r.collection(t), e, snpTrust, at)
	}
	challenge, user := []byte("challenge"), "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef"
	written, err := hex.DecodeString(user)
	if err != nil {
		t.Fatal(err)
	}
	var records []azureRecord
	var keys []*rsa.PublicKey
	for _, tt := range []struct {
		folder, file, measurement, vm string
		nonce, user                   []byte
	}{
		{"az-snp-vtpm", "evidence-v0.json", "", "", challenge, nil},
		{"az-snp-vtpm", "evidence-v1.json", "6a063be9dd79f6371c842e480f8dc3b5c725961344e57130e88c5adf49e8f7f6c79b75a5eb77fc769959f4aeb2f9401e", "26F8BC30-774E-4290-8E7A-535F3B672AEE", challenge, nil},
		{"az-snp-vtpm", "evidence-v2.json", "5b0ce64ad1c1f6375dbda5f760b98526ca1bcf91b8195091afc28e7b024251d68fe32e05af34048d6607678cd23283ff", "7DF7B373-B947-4AAA-96E5-C358F2A03D20", written, written},
		{"az-tdx-vtpm", "evidence-v0.json", "", "", challenge, nil},
		{"az-tdx-vtpm", "evidence-v1.json", "024a32b070383331181619fa387cb4d55d1e38879f989933055ccad5bc2db795d1737b66205949d15469dc8c1ba7ab7b", "6332533D-5649-4D02-8AA7-8F64B7C3EE21", challenge, nil},
	} {
		name := tt.folder + "/" + tt.file
		r := readAzure(t, tt.folder, tt.file)
		e := attest.AzureExpected{RequireSecureBoot: true, RequireTPM: true, UserData: tt.user, TPM: attest.TPMExpected{Nonce: tt.nonce}, AllowAnyParavisor: true}
		if tt.measurement != "" {
			var m [48]byte
			if _, err := hex.Decode(m[:], []byte(tt.measurement)); err != nil {
				t.Fatal(err)
			}
			e.Measurements, e.AllowAnyParavisor, e.VMIDs = [][48]byte{m}, false, []string{tt.vm}
		}
		result, err := appraise(r, e, at)
		if err != nil || len(result.PCRs) != 24 || !result.HCL.SecureBoot {
			t.Errorf("%s: got %+v, %v", name, result, err)
			continue
		}
		records, keys = append(records, r), append(keys, result.HCL.AK)
		refused := func(what string, r azureRecord, e attest.AzureExpected, at time.Time, want verdict.Code) {
			t.Helper()
			if _, err := appraise(r, e, at); verdict.CodeOf(err) != want {
				t.Errorf("%s, %s: got %v, want %s", name, what, err, want)
			}
		}
		refused("in twenty years", r, e, at.AddDate(20, 0, 0), verdict.EndorsementExpired)
		refused("in 2019", r, e, at.AddDate(-7, 0, 0), verdict.EndorsementNotYetValid)
		other := e
		other.TPM.Nonce = []byte("challenge2")
		refused("another nonce", r, other, at, verdict.EvidenceNonce)
		other = e
		other.UserData = []byte("challenge")
		refused("other user data", r, other, at, verdict.EvidenceBinding)
		other = e
		other.Measurements, other.AllowAnyParavisor = [][48]byte{{1}}, false
		refused("another paravisor", r, other, at, verdict.GuestMeasurement)
		other = e
		other.VMIDs = []string{"911B0EF8-9DBA-48B0-B275-4E4DF2D39253"}
		refused("another machine", r, other, at, verdict.GuestConfig)
		changed := r
		changed.hcl = replaced(`"secure-boot":true`, `"secure-boot":TRUE`)(r.hcl)
		refused("another byte of the data", changed, e, at, verdict.EvidenceBinding)
		changed.hcl = bytes.Clone(r.hcl)
		changed.hcl[0x20+0x90] ^= 1 // MEASUREMENT, and of a TDREPORT its REPORTDATA
		refused("another byte of the hardware's report", changed, e, at, map[bool]verdict.Code{true: verdict.EvidenceSignature, false: verdict.EvidenceBinding}[r.tdQuote == nil])
	}
	if len(keys) != 5 || keys[0].Equal(keys[2]) {
		t.Fatalf("%d records with one key", len(keys))
	}
	// Each one's quote under another one's report; some are of one machine.
	for i, r := range records {
		for j, other := range records {
			want := verdict.EvidenceSignature
			if keys[i].Equal(keys[j]) {
				want = ""
			}
			mixed := r
			mixed.message, mixed.signature, mixed.pcrs = other.message, other.signature, other.pcrs
			if _, err := appraise(mixed, attest.AzureExpected{AllowAnyParavisor: true}, at); verdict.CodeOf(err) != want {
				t.Errorf("report %d with quote %d: got %v, want %q", i, j, err, want)
			}
		}
	}
}

// TestRealHCL: reports of three years. One of them had no user-data, and called its
// attestation key one for encryption.
func TestRealHCL(t *testing.T) {
	for _, tt := range []struct {
		elem       []string
		kind       attest.HCLType
		vm         string
		secureBoot bool
		user       bool
	}{
		{[]string{"azure-cvm-tooling", "hcl-report-snp.bin"}, attest.HCLSNP, "BAEFD3E1-184B-4C4C-AB88-0BDAD260505F", true, false},
		{[]string{"azure-cvm-tooling", "hcl-report-tdx.bin"}, attest.HCLTDX, "D270E56B-F668-4990-A5BC-9B624576841D", false, true},
		{[]string{"trustee", "az-snp-vtpm", "hcl-report.bin"}, attest.HCLSNP, "911B0EF8-9DBA-48B0-B275-4E4DF2D39252", true, true},
		{[]string{"trustee", "az-tdx-vtpm", "hcl-report.bin"}, attest.HCLTDX, "6332533D-5649-4D02-8AA7-8F64B7C3EE21", true, true},
	} {
		r, err := attest.ParseHCLReport(sharedFile(t, append([]string{"evidence-raw"}, tt.elem...)...))
		if err != nil || r.Type != tt.kind {
			t.Errorf("%v: got type %d, %v", tt.elem, r.Type, err)
			continue
		}
		d, err := attest.ParseHCLData(r.Data)
		if err != nil || d.VMID != tt.vm || d.SecureBoot != tt.secureBoot || !d.TPM || (d.UserData != nil) != tt.user || (d.EK != nil) != tt.user {
			t.Errorf("%v: got %+v, %v", tt.elem, d, err)
		}
		want, at := r.ReportData(), map[attest.HCLType]int{attest.HCLSNP: 0x50, attest.HCLTDX: 128}[r.Type]
		if !bytes.Equal(r.Hardware[at:at+64], want[:]) {
			t.Errorf("%v: the hardware reports %x, want %x", tt.elem, r.Hardware[at:at+64], want)
		}
	}
}
