// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestCollectionRoundTrip(t *testing.T) {
	c := attest.Collection{Type: "tag:example.invalid,2026:test", Items: map[string]attest.Item{
		"record": {MediaType: "application/x", Value: []byte{0xFF, 0, 1}, Indicator: attest.IndicatorEvidence},
		"empty":  {MediaType: "application/y", Value: []byte{}},
		"nested": {Nested: &attest.Collection{Items: map[string]attest.Item{"<&>": {MediaType: "a/b", Value: []byte("x")}}}},
	}}
	got, err := attest.ParseCollection(encode(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestParseCollection holds the forms that are refused: RFC 9999's own, and those
// that a lenient decoder takes.
func TestParseCollection(t *testing.T) {
	for _, test := range []struct {
		name, data string
		code       verdict.Code
	}{
		{"one record", `{"a":["x/y","AAEC"]}`, ""},
		{"white space", " {\n\"a\": [\"x/y\", \"AAEC\", 4] }\n", ""},
		{"nothing", ``, verdict.EvidenceMalformed},
		{"null", `null`, verdict.EvidenceMalformed},
		{"a record alone", `["x/y","AAEC"]`, verdict.EvidenceMalformed},
		{"empty collection", `{}`, verdict.EvidenceMalformed},
		{"a type alone", `{"__cmwc_t":"tag:x"}`, verdict.EvidenceMalformed},
		{"empty nested collection", `{"a":{}}`, verdict.EvidenceMalformed},
		{"type that is no URI", `{"__cmwc_t":"x","a":["x/y",""]}`, verdict.EvidenceMalformed},
		{"type that is a record", `{"__cmwc_t":["x/y",""],"a":["x/y",""]}`, verdict.EvidenceMalformed},
		{"two types", `{"__cmwc_t":"tag:x","__cmwc_t":"tag:x","a":["x/y",""]}`, verdict.EvidenceMalformed},
		{"duplicate label", `{"a":["x/y",""],"a":["x/y",""]}`, verdict.EvidenceMalformed},
		{"duplicate label, escaped", `{"a":["x/y",""],"\u0061":["x/y",""]}`, verdict.EvidenceMalformed},
		{"empty label", `{"":["x/y",""]}`, verdict.EvidenceMalformed},
		{"number for a value", `{"a":["x/y",1]}`, verdict.EvidenceMalformed},
		{"number for a record", `{"a":1}`, verdict.EvidenceMalformed},
		{"no value", `{"a":["x/y"]}`, verdict.EvidenceMalformed},
		{"no media type", `{"a":[]}`, verdict.EvidenceMalformed},
		{"media type without a slash", `{"a":["xy",""]}`, verdict.EvidenceMalformed},
		{"padded", `{"a":["x/y","AA=="]}`, verdict.EvidenceMalformed},
		{"standard alphabet", `{"a":["x/y","-/8"]}`, verdict.EvidenceMalformed},
		{"trailing bits", `{"a":["x/y","AB"]}`, verdict.EvidenceMalformed},
		{"line end in base64", `{"a":["x/y","AA\nEC"]}`, verdict.EvidenceMalformed},
		{"indicator 0", `{"a":["x/y","",0]}`, verdict.EvidenceMalformed},
		{"indicator 32", `{"a":["x/y","",32]}`, verdict.EvidenceMalformed},
		{"indicator 1.0", `{"a":["x/y","",1.0]}`, verdict.EvidenceMalformed},
		{"indicator -1", `{"a":["x/y","",-1]}`, verdict.EvidenceMalformed},
		{"indicator 1e309", `{"a":["x/y","",1e309]}`, verdict.EvidenceMalformed},
		{"four members", `{"a":["x/y","",4,4]}`, verdict.EvidenceMalformed},
		{"bytes after it", `{"a":["x/y",""]}{}`, verdict.EvidenceMalformed},
		{"invalid UTF-8", "{\"a\xff\":[\"x/y\",\"\"]}", verdict.EvidenceMalformed},
		{"cut short", `{"a":["x/y",""`, verdict.EvidenceMalformed},
		{"missing comma", `{"a":["x/y" ""]}`, verdict.EvidenceMalformed},
		{"trailing comma", `{"a":["x/y","",]}`, verdict.EvidenceMalformed},
		{"too deep", `{"a":{"a":{"a":{"a":["x/y",""]}}}}`, verdict.EvidenceLimit},
		{"far too deep", strings.Repeat(`{"a":`, 9000), verdict.EvidenceLimit},
		{"too many items", `{"0":["x/y",""]` + func() string {
			var b strings.Builder
			for i := range 40 {
				b.WriteString(`,"a` + string(rune(0x100+i)) + `":["x/y",""]`)
			}
			return b.String()
		}() + `}`, verdict.EvidenceLimit},
		{"label too long", `{"` + strings.Repeat("a", 200) + `":["x/y",""]}`, verdict.EvidenceLimit},
		{"too large", `{"a":["x/y","` + strings.Repeat("A", attest.MaxCollectionSize) + `"]}`, verdict.EvidenceLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := attest.ParseCollection([]byte(test.data))
			if verdict.CodeOf(err) != test.code {
				t.Errorf("got %v, want code %q", err, test.code)
			}
			if err != nil && got.Items != nil {
				t.Error("a collection beside an error")
			}
		})
	}
}

// TestMarshalRefuses holds that nothing is encoded that cannot be decoded.
func TestMarshalRefuses(t *testing.T) {
	for name, c := range map[string]attest.Collection{
		"empty":         {},
		"no media type": {Items: map[string]attest.Item{"a": {}}},
		"type as label": {Items: map[string]attest.Item{"__cmwc_t": {MediaType: "a/b"}}},
	} {
		if data, err := c.Marshal(); err == nil {
			t.Errorf("%s: encoded to %s", name, data)
		}
	}
}

// TestPanicIsRefused holds that a panic at the edge is evidence.malformed.
func TestPanicIsRefused(t *testing.T) {
	err := attest.RecoverMalformed(func() { panic(strings.Repeat("x", 1000)) })
	if verdict.CodeOf(err) != verdict.EvidenceMalformed || len(err.Error()) > 200 {
		t.Errorf("got %v, want %s and a short text", err, verdict.EvidenceMalformed)
	}
}

func FuzzCollection(f *testing.F) {
	p, _ := goodTPM(f)
	inputs := fuzz.New(f, []byte(`{"__cmwc_t":"tag:x","a":["x/y","AAEC",4],"b":{"c":["x/y",""]}}`), p.Bytes(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		c, err := attest.ParseCollection(data)
		if err != nil {
			if c.Items != nil {
				t.Error("a collection beside an error")
			}
			return
		}
		again, err := attest.ParseCollection(encode(t, c))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}

// FuzzAppraise changes good collections: whatever comes of it, there is no panic
// and no error without a code.
func FuzzAppraise(f *testing.F) {
	p, tpm := goodTPM(f)
	s, snp := goodSNP(f, attest.SNP)
	v, vlek := goodVLEK(f, attest.SNP, attest.Milan)
	inputs := newCollections(f, p.Bytes(f), s.Bytes(f), v.Bytes(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		_, err := attest.ParseCollection(data)
		inputs.Add(err == nil)
		for _, in := range []attest.Input{tpm, snp, vlek} {
			_, err := attest.Appraise(data, in, attesttest.At)
			coded(t, err)
		}
		_, err = attest.NewChallenge(data)
		coded(t, err)
	})
}
