// SPDX-License-Identifier: Apache-2.0

package bundlejson_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/assayd/assay/verifier/internal/bundlejson"
)

// everything has each member of a bundle but the other two signers and the other
// content, which seeds returns too.
const everything = `{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
 "verificationMaterial": {"certificate": {"rawBytes": "AQID"},
  "tlogEntries": [{"logIndex": "12", "logId": {"keyId": "AQI="}, "kindVersion": {"kind": "dsse", "version": "0.0.1"}, "integratedTime": "1700000000",
   "inclusionPromise": {"signedEntryTimestamp": "AQ=="},
   "inclusionProof": {"logIndex": "0", "rootHash": "AQID", "treeSize": "123456789012345678", "hashes": ["AQID", "BAUG"], "checkpoint": {"envelope": "a\n\t\"\\\/\u003d\u2014—\n"}},
   "canonicalizedBody": "e30="}, {}],
  "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "AQID"}]}},
 "dsseEnvelope": {"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "AQID", "keyid": ""}, {"sig": "AQID"}]}}`

func seeds() []string {
	message := `"messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": "AQID"}, "signature": "AQID"}}`
	begin, _, _ := strings.Cut(everything, `"dsseEnvelope"`)
	return []string{
		everything,
		begin + message,
		strings.Replace(everything, `"certificate": {"rawBytes": "AQID"}`, `"publicKey": {"hint": "key"}`, 1),
		strings.Replace(everything, `"certificate": {"rawBytes": "AQID"}`, `"x509CertificateChain": {"certificates": [{"rawBytes": "AQID"}, {"rawBytes": "BAUG"}]}`, 1),
		`{}`, `{"verificationMaterial": {"tlogEntries": [], "publicKey": {}}, "dsseEnvelope": {}}`,
	}
}

// agrees fails where Read returned another message than protobuf's reader.
func agrees(t *testing.T, data []byte) (read bool) {
	t.Helper()
	got, ok := bundlejson.Read(data)
	if !ok {
		return false
	}
	want := new(protobundle.Bundle)
	if err := protojson.Unmarshal(data, want); err != nil {
		t.Errorf("%q: protobuf's reader says %v", data, err)
	} else if !proto.Equal(got, want) {
		t.Errorf("%q:\ngot  %v\nwant %v", data, got, want)
	}
	return true
}

// TestRead: every member is read, and what is odd is left to protobuf's reader.
func TestRead(t *testing.T) {
	for _, seed := range seeds() {
		if !agrees(t, []byte(seed)) {
			t.Errorf("%s: not read", seed)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(seed)); err != nil {
			t.Fatal(err)
		}
		if !agrees(t, compact.Bytes()) {
			t.Errorf("%s: not read", compact.Bytes())
		}
		for i := range seed {
			if agrees(t, []byte(seed[:i])) {
				t.Errorf("the first %d bytes of %s are read", i, seed)
			}
			for _, c := range []byte(`"\{}[]:,0 xu` + "\xff") {
				changed := []byte(seed)
				changed[i] = c
				agrees(t, changed)
			}
		}
	}
	for name, change := range map[string][2]string{
		"an unknown member":       {`"keyid": ""`, `"key": ""`},
		"a proto name":            {`"logIndex": "12"`, `"log_index": "12"`},
		"an escaped name":         {`"keyid"`, `"key\u0069d"`},
		"a member twice":          {`"keyid": ""`, `"keyid": "", "keyid": ""`},
		"a member twice, apart":   {`"keyid": ""`, `"keyid": "", "sig": "AQID"`},
		"two signers":             {`"certificate": {`, `"publicKey": {}, "certificate": {`},
		"two signers, other way":  {`"tlogEntries"`, `"publicKey": {}, "tlogEntries"`},
		"a chain as well":         {`"tlogEntries"`, `"x509CertificateChain": {}, "tlogEntries"`},
		"a message as well":       {`"dsseEnvelope"`, `"messageSignature": {}, "dsseEnvelope"`},
		"null":                    {`"payload": "e30="`, `"payload": null`},
		"no bytes":                {`"payload": "e30="`, `"payload": ""`},
		"another alphabet":        {`"payload": "e30="`, `"payload": "-_-_"`},
		"no padding":              {`"payload": "e30="`, `"payload": "e30"`},
		"bits behind":             {`"payload": "e30="`, `"payload": "e31="`},
		"a line in base64":        {`"payload": "e30="`, `"payload": "e3\n0="`},
		"a number":                {`"logIndex": "12"`, `"logIndex": 12`},
		"a number with a zero":    {`"logIndex": "12"`, `"logIndex": "012"`},
		"a negative number":       {`"logIndex": "12"`, `"logIndex": "-12"`},
		"no number":               {`"logIndex": "12"`, `"logIndex": ""`},
		"a long number":           {`"logIndex": "12"`, `"logIndex": "1234567890123456789"`},
		"no character":            {`"kind": "dsse"`, "\"kind\": \"ds\xffse\""},
		"half a character":        {`"kind": "dsse"`, `"kind": "ds\ud800se"`},
		"a pair of halves":        {`"kind": "dsse"`, `"kind": "ds\ud83d\ude00se"`},
		"a short escape":          {`"kind": "dsse"`, `"kind": "ds\u3d"`},
		"an escape of no hex":     {`"kind": "dsse"`, `"kind": "ds\u+03d"`},
		"a control character":     {`"kind": "dsse"`, "\"kind\": \"ds\nse\""},
		"an escape of none":       {`"kind": "dsse"`, `"kind": "ds\se"`},
		"a comma more":            {`"keyid": ""`, `"keyid": "",`},
		"an element less":         {`"BAUG"]`, `]`},
		"something behind":        {`"sig": "AQID"}]}}`, `"sig": "AQID"}]}}x`},
		"more members than known": {`"kind": "dsse"`, `"a":"","b":"","c":"","d":"","e":"","f":"","g":"","h":"","i":""`},
	} {
		if !strings.Contains(everything, change[0]) {
			t.Fatalf("%s: there is no %s", name, change[0])
		}
		if agrees(t, []byte(strings.Replace(everything, change[0], change[1], 1))) {
			t.Errorf("%s: read", name)
		}
	}
	hashes := func(n int) []byte {
		return []byte(strings.Replace(everything, `"BAUG"]`, `"BAUG"`+strings.Repeat(`,"BAUG"`, n)+`]`, 1))
	}
	if few, many := agrees(t, hashes(bundlejson.MaxElements/2)), agrees(t, hashes(bundlejson.MaxElements)); !few || many {
		t.Errorf("few elements read: %t, many: %t", few, many)
	}
	if agrees(t, []byte(strings.Replace(seeds()[1], "SHA2_256", "SHA9", 1))) {
		t.Error("an unknown enum: read")
	}
}

// TestReadVectors: the public vectors are read as protobuf's reader reads them, and
// most are in the usual spelling.
func TestReadVectors(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "conformance", "vectors", "*", "bundle*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Skip("shared testdata is absent")
	}
	t.Log("shared testdata: used")
	read := 0
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if agrees(t, data) {
			read++
		}
	}
	if read < len(names)*2/3 {
		t.Errorf("%d of %d read", read, len(names))
	}
	t.Logf("%d of %d read", read, len(names))
}

func FuzzRead(f *testing.F) {
	for _, seed := range seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		agrees(t, data)
	})
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		if _, ok := bundlejson.Read([]byte(everything)); !ok {
			b.Fatal("not read")
		}
	}
}

func BenchmarkProtobuf(b *testing.B) {
	for b.Loop() {
		if err := protojson.Unmarshal([]byte(everything), new(protobundle.Bundle)); err != nil {
			b.Fatal(err)
		}
	}
}
