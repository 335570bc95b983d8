// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// TestHCLReport: the form of the frame.
func TestHCLReport(t *testing.T) {
	z := attesttest.NewAzureTDX(t, azureNonce)
	good := z.Collection(t).Items[attest.LabelEvidence].Nested.Items[attest.LabelHCLReport].Value
	put := func(offset int, value uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[offset:], value); return b }
	}
	for name, tt := range map[string]struct {
		change func([]byte) []byte
		code   verdict.Code
		text   string
	}{
		"good":                      {func(b []byte) []byte { return b }, "", ""},
		"without zeros behind":      {func(b []byte) []byte { return bytes.TrimRight(b, "\x00") }, "", ""},
		"nothing":                   {func([]byte) []byte { return nil }, verdict.EvidenceMalformed, "0 bytes"},
		"a header alone":            {func(b []byte) []byte { return b[:0x4d3] }, verdict.EvidenceMalformed, "want at least"},
		"more than anything":        {func(b []byte) []byte { return append(b, make([]byte, attest.MaxHCLReportSize)...) }, verdict.EvidenceLimit, "want at most"},
		"another signature":         {put(0, 0), verdict.EvidenceMalformed, "HCLA"},
		"version 0":                 {put(4, 0), verdict.EvidenceUnsupported, "version is 0"},
		"version 3":                 {put(4, 3), verdict.EvidenceUnsupported, "version is 3"},
		"another size":              {put(8, 1), verdict.EvidenceMalformed, "sizes 1"},
		"another request":           {put(12, 1), verdict.EvidenceMalformed, "request 1"},
		"another status":            {put(16, 5), verdict.EvidenceMalformed, "status 5"},
		"reserved bytes":            {put(28, 1), verdict.EvidenceMalformed, "reserved"},
		"bytes behind a TDREPORT":   {put(0x4bc, 1), verdict.EvidenceMalformed, "no TDREPORT"},
		"another hardware's report": {put(32, 0), verdict.EvidenceMalformed, "no TDREPORT"},
		"another size of the data":  {put(0x4c0, 2), verdict.EvidenceMalformed, "and 2, want"},
		"data of another version":   {put(0x4c4, 2), verdict.EvidenceUnsupported, "data of version 2"},
		"a report of no TEE":        {put(0x4c8, 1), verdict.EvidenceUnsupported, "report type is 1"},
		"no hash":                   {put(0x4cc, 0), verdict.EvidenceUnsupported, "hash type is 0"},
		"a fourth hash":             {put(0x4cc, 4), verdict.EvidenceUnsupported, "hash type is 4"},
		"no data":                   {put(0x4d0, 0), verdict.EvidenceMalformed, "0 bytes of data"},
		"more data than there is":   {put(0x4d0, 5000), verdict.EvidenceMalformed, "5000 bytes of data"},
		"more data than any":        {put(0x4d0, 0xffffffff), verdict.EvidenceMalformed, "4294967295 bytes of data"},
		"less data than there is":   {func(b []byte) []byte { b[0x4d0]--; return b }, verdict.EvidenceMalformed, "sizes"},
		"something behind":          {func(b []byte) []byte { b[len(b)-1] = 1; return b }, verdict.EvidenceMalformed, "behind it"},
	} {
		r, err := attest.ParseHCLReport(tt.change(bytes.Clone(good)))
		if tt.text == "" {
			if err != nil || !bytes.HasPrefix(good, r.Marshal()) || r.Version != 2 || r.Type != attest.HCLTDX || len(r.Hardware) != 1024 {
				t.Errorf("%s: got %+v, %v", name, r, err)
			}
			continue
		}
		if verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %s with %q", name, err, tt.code, tt.text)
		}
		if !cmp.Equal(r, attest.HCLReport{}) {
			t.Errorf("%s: with the error came %+v", name, r)
		}
	}
	for n := range len(bytes.TrimRight(good, "\x00")) {
		if _, err := attest.ParseHCLReport(good[:n]); verdict.CodeOf(err) != verdict.EvidenceMalformed {
			t.Errorf("the first %d bytes: got %v", n, err)
		}
	}
}

// TestHCLData: the form of the data, of which the hardware vouches for the bytes
// only.
func TestHCLData(t *testing.T) {
	z := attesttest.NewAzureSNP(t, azureNonce)
	key := func(name string, change func(object)) string {
		jwk := attesttest.JWK(t, name, 4)
		if change != nil {
			change(jwk)
		}
		out, err := json.Marshal(jwk)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	ak := key("HCLAkPub", nil)
	const vm = `{"secure-boot":true,"tpm-enabled":false,"vmUniqueId":"911B0EF8-9DBA-48B0-B275-4E4DF2D39252"}`
	of := func(keys, vm, rest string) string {
		return fmt.Sprintf(`{"keys":[%s],"vm-configuration":%s%s}`, keys, vm, rest)
	}
	set := func(name string, value any) string {
		return of(key("HCLAkPub", func(k object) { k[name] = value }), vm, "")
	}
	for name, tt := range map[string]struct {
		data string
		code verdict.Code
		text string
	}{
		"of 2023":                      {of(ak, vm, ""), "", ""},
		"more of the machine":          {of(ak, strings.Replace(vm, "{", `{"new":null,"Secure-Boot":1,"a":{"b":[1]},`, 1), ""), verdict.EvidenceMalformed, "secure-boot"},
		"members that are not known":   {of(ak, strings.Replace(vm, "{", `{"new":null,"a":{"b":[1]},`, 1), ""), "", ""},
		"keys that are not known":      {of(ak+`,{"kid":"HCLOther"},{"kid":"hclakpub"}`, vm, ""), "", ""},
		"nothing":                      {"", verdict.EvidenceMalformed, "EOF"},
		"no object":                    {"[]", verdict.EvidenceMalformed, "no object"},
		"null":                         {"null", verdict.EvidenceMalformed, "keys is missing"},
		"two":                          {of(ak, vm, "") + "{}", verdict.EvidenceMalformed, "something behind"},
		"another member":               {of(ak, vm, `,"more":1`), verdict.EvidenceMalformed, "unknown member"},
		"keys in other letters":        {strings.Replace(of(ak, vm, ""), "keys", "Keys", 1), verdict.EvidenceMalformed, "unknown member"},
		"keys twice":                   {of(ak, vm, `,"keys":[]`), verdict.EvidenceMalformed, "there twice"},
		"keys in two letters":          {of(ak, vm, `,"KEYS":[]`), verdict.EvidenceMalformed, "there twice"},
		"no keys":                      {`{"vm-configuration":` + vm + `}`, verdict.EvidenceMalformed, "keys is missing"},
		"keys of another form":         {`{"keys":{},"vm-configuration":` + vm + `}`, verdict.EvidenceMalformed, "keys has another form"},
		"many keys":                    {of(strings.Repeat(`{"kid":"x"},`, 16)+ak, vm, ""), verdict.EvidenceMalformed, "17 keys"},
		"a key without a name":         {of(ak+",{}", vm, ""), verdict.EvidenceMalformed, "kid is missing"},
		"an attestation key twice":     {of(ak+","+ak, vm, ""), verdict.EvidenceMalformed, "HCLAkPub\" is there twice"},
		"no attestation key":           {of(key("HCLEkPub", nil), vm, ""), verdict.EvidenceMalformed, "no key HCLAkPub"},
		"a key on a curve":             {set("kty", "EC"), verdict.EvidenceMalformed, "of type"},
		"a key of null":                {set("n", nil), verdict.EvidenceMalformed, "n has another form"},
		"a modulus of no base64url":    {set("n", "+/"), verdict.EvidenceMalformed, "modulus"},
		"an empty modulus":             {set("n", ""), verdict.EvidenceMalformed, "modulus"},
		"a modulus with padding":       {set("n", attesttest.JWK(t, "", 4)["n"].(string)+"=="), verdict.EvidenceMalformed, "modulus"},
		"a modulus with a line end":    {set("n", attesttest.JWK(t, "", 4)["n"].(string)+"\n"), verdict.EvidenceMalformed, "modulus"},
		"a modulus with a zero before": {set("n", "AA"), verdict.EvidenceMalformed, "modulus"},
		"a short modulus":              {set("n", strings.Repeat("qwAB", 42)+"_w"), verdict.TPMAK, "1016 bits"},
		"a long modulus":               {set("n", strings.Repeat("qwAB", 200)), verdict.TPMAK, "4800 bits"},
		"an even modulus":              {set("n", strings.Repeat("qwAB", 85)+"qg"), verdict.TPMAK, "2048 bits"},
		"exponent 3":                   {set("e", "Aw"), verdict.TPMAK, `exponent "Aw"`},
		"an exponent with zeros":       {set("e", "AAEAAQ"), verdict.TPMAK, "exponent"},
		"a weak endorsement key":       {of(ak+","+key("HCLEkPub", func(k object) { k["e"] = "Aw" }), vm, ""), verdict.TPMAK, "HCLEkPub"},
		"no configuration":             {`{"keys":[` + ak + `]}`, verdict.EvidenceMalformed, "vm-configuration is missing"},
		"a configuration of null":      {of(ak, "null", ""), verdict.EvidenceMalformed, "vm-configuration has another form"},
		"no word on secure boot":       {of(ak, strings.Replace(vm, "secure-boot", "x", 1), ""), verdict.EvidenceMalformed, "secure-boot is missing"},
		"secure boot in other letters": {of(ak, strings.Replace(vm, "secure-boot", "Secure-Boot", 1), ""), verdict.EvidenceMalformed, "secure-boot is missing"},
		"secure boot of null":          {of(ak, strings.Replace(vm, "true", "null", 1), ""), verdict.EvidenceMalformed, "secure-boot has another form"},
		"secure boot in quotes":        {of(ak, strings.Replace(vm, "true", `"true"`, 1), ""), verdict.EvidenceMalformed, "secure-boot has another form"},
		"no word on a TPM":             {of(ak, strings.Replace(vm, "tpm-enabled", "x", 1), ""), verdict.EvidenceMalformed, "tpm-enabled is missing"},
		"no machine":                   {of(ak, strings.Replace(vm, "vmUniqueId", "x", 1), ""), verdict.EvidenceMalformed, "vmUniqueId is missing"},
		"a short machine":              {of(ak, strings.Replace(vm, "911B0EF8", "911B0E", 1), ""), verdict.EvidenceMalformed, "no GUID"},
		"a machine of four parts":      {of(ak, strings.Replace(vm, "-4E4DF2D39252", "", 1), ""), verdict.EvidenceMalformed, "no GUID"},
		"a machine of six parts":       {of(ak, strings.Replace(vm, "-4E4DF2D39252", "-4E4DF2D39252-00", 1), ""), verdict.EvidenceMalformed, "no GUID"},
		"short user data":              {of(ak, vm, `,"user-data":"00"`), verdict.EvidenceMalformed, "64 bytes"},
		"user data of no hex":          {of(ak, vm, `,"user-data":"`+strings.Repeat("x", 128)+`"`), verdict.EvidenceMalformed, "64 bytes"},
		"user data of null":            {of(ak, vm, `,"user-data":null`), verdict.EvidenceMalformed, "another form"},
		"no UTF-8":                     {of(ak, vm, ",\"\xff\":1"), verdict.EvidenceMalformed, "UTF-8"},
		"deep":                         {of(ak, strings.Replace(vm, "{", `{"x":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`,`, 1), ""), verdict.EvidenceMalformed, "deeper"},
		"more than anything":           {of(ak, vm, "") + strings.Repeat(" ", attest.MaxHCLReportSize), verdict.EvidenceLimit, "want at most"},
	} {
		d, err := attest.ParseHCLData([]byte(tt.data))
		if tt.text == "" {
			if err != nil || !d.SecureBoot || d.TPM || d.VMID != "911B0EF8-9DBA-48B0-B275-4E4DF2D39252" || d.EK != nil || d.UserData != nil {
				t.Errorf("%s: got %+v, %v", name, d, err)
			}
			continue
		}
		if verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %s with %q", name, err, tt.code, tt.text)
		}
		if !reflect.ValueOf(d).IsZero() {
			t.Errorf("%s: with the error came %+v", name, d)
		}
	}
	// It counts only where the hardware vouches for it.
	z.OnData = func([]byte) []byte { return []byte("{") }
	if _, err := z.Appraise(t, z.Bytes(t), nil); verdict.CodeOf(err) != verdict.EvidenceBinding {
		t.Errorf("data of no form, which no hardware reports: got %v", err)
	}
	z.OnData, z.Data["keys"] = nil, slices.Concat(z.Data["keys"].([]any), z.Data["keys"].([]any))
	if _, err := z.Appraise(t, z.Bytes(t), nil); verdict.CodeOf(err) != verdict.EvidenceMalformed {
		t.Errorf("data of no form, which the hardware reports: got %v", err)
	}
}

// hclSeed is data of the right form, without a key that takes a second to make.
var hclSeed = []byte(`{"keys":[{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("qwAB", 85) + `qw"}],` +
	`"vm-configuration":{"console-enabled":true,"secure-boot":true,"tpm-enabled":true,"vmUniqueId":"911B0EF8-9DBA-48B0-B275-4E4DF2D39252"},` +
	`"user-data":"` + strings.Repeat("00", 64) + `"}`)

func FuzzHCLReport(f *testing.F) {
	snp := attest.HCLReport{Version: 1, Type: attest.HCLSNP, Hash: crypto.SHA256, Hardware: make([]byte, attest.SNPReportSize), Data: hclSeed}
	tdx := attest.HCLReport{Version: 2, Type: attest.HCLTDX, Hash: crypto.SHA512, Hardware: append([]byte{0x81}, make([]byte, 1023)...), Data: hclSeed}
	var goods [][]byte
	for _, r := range []attest.HCLReport{snp, tdx} {
		if _, err := attest.ParseHCLReport(r.Marshal()); err != nil {
			f.Fatal(err)
		}
		goods = append(goods, append(r.Marshal(), make([]byte, 8)...))
	}
	inputs, least := fuzz.New(f, goods...), len(snp.Marshal())-len(hclSeed)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(len(data) >= least && len(data) <= attest.MaxHCLReportSize && bytes.HasPrefix(data, []byte("HCLA")))
		r, err := attest.ParseHCLReport(data)
		if err != nil {
			if !cmp.Equal(r, attest.HCLReport{}) {
				t.Error("a report beside an error")
			}
			return
		}
		again := r.Marshal()
		if rest, ok := bytes.CutPrefix(data, again); !ok || len(bytes.Trim(rest, "\x00")) != 0 {
			t.Error("the report encodes to other bytes")
		}
	})
}

func FuzzHCLData(f *testing.F) {
	if _, err := attest.ParseHCLData(hclSeed); err != nil {
		f.Fatal(err)
	}
	inputs := fuzz.New(f, hclSeed)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		d, err := attest.ParseHCLData(data)
		if err != nil {
			if !reflect.ValueOf(d).IsZero() {
				t.Error("data beside an error")
			}
			return
		}
		// What is accepted is what any other reader reads.
		var other struct {
			VM struct {
				ID         string `json:"vmUniqueId"`
				SecureBoot bool   `json:"secure-boot"`
			} `json:"vm-configuration"`
		}
		if err := json.Unmarshal(data, &other); err != nil || other.VM.ID != d.VMID || other.VM.SecureBoot != d.SecureBoot {
			t.Errorf("read %q and %t, %v, another reads %q and %t", d.VMID, d.SecureBoot, err, other.VM.ID, other.VM.SecureBoot)
		}
	})
}
