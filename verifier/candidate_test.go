// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/assayd/assay/verdict"
)

// A malformation is one change to a document that is read otherwise.
type malformation struct {
	name, old, by string
	code          verdict.Code
	text          string // of the check that refuses it
}

// readers reads the document, and each malformation of it.
func malformations(t *testing.T, document string, read func(string) error, all []malformation) {
	t.Helper()
	if err := read(document); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for _, m := range all {
		changed := m.by
		if m.old != "" {
			if changed = strings.Replace(document, m.old, m.by, 1); changed == document {
				t.Fatalf("%s: nothing to change", m.name)
			}
		}
		if err := read(changed); verdict.CodeOf(err) != m.code || !strings.Contains(err.Error(), m.text) {
			t.Errorf("%s: got %v, want %s with %q", m.name, err, m.code, m.text)
		}
	}
}

// many are n members of an object, or n elements of an array.
func many(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(format, "%d", fmt.Sprint(i))
	}
	return strings.Join(parts, ",")
}

func TestParseSimpleSigning(t *testing.T) {
	document := `{"critical":{"type":"cosign container image signature","identity":{"docker-reference":"registry.example/app"},"image":{"docker-manifest-digest":"sha256:` + strings.Repeat("a", 64) + `"}}}`
	read := func(s string) error { _, err := parseSimpleSigning([]byte(s)); return err }
	malformations(t, document, read, []malformation{
		{"no object", "", "[]", verdict.InputMalformed, "want a JSON object"},
		{"critical", `{"type"`, `1,"x":{"type"`, verdict.InputMalformed, "want a JSON object"},
		{"type", `"cosign container image signature"`, "1", verdict.InputMalformed, `"type"`},
		{"another type", `"cosign container image signature"`, `"another"`, verdict.StatementType, "critical.type"},
		{"identity", `{"docker-reference"`, `1,"x":{"docker-reference"`, verdict.InputMalformed, "want a JSON object"},
		{"reference", `"registry.example/app"`, "1", verdict.InputMalformed, `"docker-reference"`},
		{"image", `{"docker-manifest-digest"`, `1,"x":{"docker-manifest-digest"`, verdict.InputMalformed, "want a JSON object"},
		{"digest", `"sha256:`, `1,"x":"sha256:`, verdict.InputMalformed, `"docker-manifest-digest"`},
		{"no digest", `"sha256:`, `"sha257:`, verdict.InputMalformed, "reading digest"},
	})
}

func TestParseStatement(t *testing.T) {
	document := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://acme.example/v1","subject":[{"digest":{"sha256":"aa"}}]}`
	read := func(s string) error { _, err := parseStatement(payloadTypeInToto, []byte(s)); return err }
	malformations(t, document, read, []malformation{
		{"no object", "", "[]", verdict.InputMalformed, "want a JSON object"},
		{"type", `"https://in-toto.io/Statement/v1"`, "1", verdict.InputMalformed, `"_type"`},
		{"another type", `Statement/v1`, "Statement/v2", verdict.StatementType, "_type is"},
		{"predicate type", `"https://acme.example/v1"`, "1", verdict.InputMalformed, "no predicateType"},
		{"no predicate type", `"https://acme.example/v1"`, `""`, verdict.InputMalformed, "no predicateType"},
		{"subjects", `[{`, `1,"x":[{`, verdict.InputMalformed, `"subject"`},
		{"too many subjects", `{"digest":{"sha256":"aa"}}`, many(maxSubjects+1, "{}"), verdict.InputMalformed, "want at most 1024"},
		{"subject", `{"digest":{"sha256":"aa"}}`, "1", verdict.InputMalformed, "subject: want a JSON object"},
		{"digests", `{"sha256":"aa"}`, "1", verdict.InputMalformed, `subject: member "digest"`},
		{"too many digests", `"sha256":"aa"`, many(maxSubjectDigests+1, `"a%d":"aa"`), verdict.InputMalformed, "subject with 33 digests"},
	})
	if _, err := parseStatement("text/plain", []byte(document)); verdict.CodeOf(err) != verdict.StatementType {
		t.Errorf("of another payload type: got %v", err)
	}
}

func TestParseEnvelope(t *testing.T) {
	document := `{"payloadType":"t","payload":"AAAA","signatures":[{"sig":"AAAA"}]}`
	read := func(s string) error { _, err := parseEnvelope([]byte(s)); return err }
	malformations(t, document, read, []malformation{
		{"no object", "", "[]", verdict.InputMalformed, "want a JSON object"},
		{"payload type", `"t"`, "1", verdict.InputMalformed, `"payloadType"`},
		{"no signature", `{"sig":"AAAA"}`, "", verdict.InputMalformed, "0 signatures"},
		{"too many signatures", `{"sig":"AAAA"}`, many(maxEnvelopeSignatures+1, `{"sig":"AAAA"}`), verdict.InputMalformed, "9 signatures"},
		{"payload", `"payload":"AAAA"`, `"payload":"A"`, verdict.InputMalformed, "payload: "},
		{"large payload", `"payload":"AAAA"`, `"payload":"` + strings.Repeat("AAAA", MaxPayloadBytes/3+1) + `"`, verdict.InputLimit, "reading envelope: payload of"},
		{"signature", `{"sig":"AAAA"}`, "1", verdict.InputMalformed, "signature 0: want a JSON object"},
		{"signature that is no text", `{"sig":"AAAA"}`, `{"sig":1}`, verdict.InputMalformed, `signature 0: member "sig"`},
		{"signature that is not base64", `{"sig":"AAAA"}`, `{"sig":"A"}`, verdict.InputMalformed, "empty or not base64"},
		{"empty signature", `{"sig":"AAAA"}`, `{"sig":""}`, verdict.InputMalformed, "empty or not base64"},
	})
}

// leafDER is a certificate of a new key.
func leafDER(t *testing.T, change func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(1900000000, 0), EmailAddresses: []string{"a@acme.example"}}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParseLegacyLayers(t *testing.T) {
	payload := []byte(`{"critical":{"type":"cosign container image signature","image":{"docker-manifest-digest":"sha256:` + strings.Repeat("a", 64) + `"}}}`)
	envelope := []byte(`{"payloadType":"application/vnd.in-toto+json","payload":"` + base64.StdEncoding.EncodeToString([]byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"p"}`)) + `","signatures":[{"sig":"AAAA"}]}`)
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER(t, nil)}))
	large := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bytes.Repeat([]byte{0}, maxCertificate-20<<10)}))
	sig := func(ann map[string]string) error { _, err := parseLegacy(payload, ann); return err }
	att := func(ann map[string]string) error { _, err := parseAttestation(envelope, 0, ann); return err }
	for name, tt := range map[string]struct {
		read func(map[string]string) error
		ann  map[string]string
		code verdict.Code
		text string
	}{
		"a signature":                {sig, map[string]string{annSignature: "AAAA", annCertificate: certificate}, "", ""},
		"an attestation":             {att, map[string]string{annSignature: "", annCertificate: certificate}, "", ""},
		"no signature":               {sig, map[string]string{}, verdict.InputMalformed, "is no signature"},
		"attestation with signature": {att, map[string]string{annSignature: "AAAA"}, verdict.InputMalformed, "is not empty"},
		"a large annotation":         {sig, map[string]string{annSignature: "AAAA", "other": strings.Repeat("a", maxAnnotationBytes+1)}, verdict.InputMalformed, "65537 bytes"},
		"no certificate":             {sig, map[string]string{annSignature: "AAAA", annCertificate: "-"}, verdict.InputMalformed, "not one PEM certificate"},
		"two certificates":           {sig, map[string]string{annSignature: "AAAA", annCertificate: certificate + certificate}, verdict.InputMalformed, "not one PEM certificate"},
		"unreadable certificate":     {sig, map[string]string{annSignature: "AAAA", annCertificate: large}, verdict.InputMalformed, "reading certificate"},
		"an empty timestamp":         {sig, map[string]string{annSignature: "AAAA", annTimestamp: `{"SignedRFC3161Timestamp":""}`}, verdict.InputMalformed, "is no timestamp"},
		"no timestamp":               {sig, map[string]string{annSignature: "AAAA", annTimestamp: `{"SignedRFC3161Timestamp":1}`}, verdict.InputMalformed, "is no timestamp"},
	} {
		if err := tt.read(tt.ann); verdict.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %s with %q", name, err, tt.code, tt.text)
		}
	}
	// A bundle's certificate is not bounded by an annotation.
	der := leafDER(t, func(c *x509.Certificate) { c.DNSNames = slices.Repeat([]string{strings.Repeat("a", 60)}, 1100) })
	if _, err := parseLeaf(der); len(der) <= maxCertificate || verdict.CodeOf(err) != verdict.InputMalformed || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("a certificate of %d bytes: got %v", len(der), err)
	}
}

func TestReadSETBundle(t *testing.T) {
	body := func(kind, version string) string {
		return base64.StdEncoding.EncodeToString([]byte(`{"kind":"` + kind + `","apiVersion":"` + version + `","spec":{}}`))
	}
	hash := `{"algorithm":"sha256","value":"` + strings.Repeat("aa", 32) + `"}`
	intoto := base64.StdEncoding.EncodeToString([]byte(`{"kind":"intoto","apiVersion":"0.0.1","spec":{"publicKey":"AAAA","content":{"hash":` + hash + `,"payloadHash":` + hash + `}}}`))
	document := `{"SignedEntryTimestamp":"AAAA","Payload":{"body":"` + intoto + `","integratedTime":1,"logIndex":0,"logID":"aa"}}`
	read := func(s string) error { return new(entity).readSETBundle([]byte(s)) }
	const missing = "a member is missing or out of range"
	malformations(t, document, read, []malformation{
		{"no object", "", "[]", verdict.InputMalformed, "want a JSON object"},
		{"payload", `{"body"`, `1,"x":{"body"`, verdict.InputMalformed, "want a JSON object"},
		{"time that is a text", `"integratedTime":1`, `"integratedTime":"1"`, verdict.InputMalformed, `"integratedTime"`},
		{"no timestamp", `"SignedEntryTimestamp":"AAAA"`, `"SignedEntryTimestamp":""`, verdict.InputMalformed, missing},
		{"no body", `"body":"` + intoto + `"`, `"body":""`, verdict.InputMalformed, missing},
		{"no time", `"integratedTime":1`, `"integratedTime":0`, verdict.InputMalformed, missing},
		{"negative index", `"logIndex":0`, `"logIndex":-1`, verdict.InputMalformed, missing},
		{"no log", `"logID":"aa"`, `"logID":""`, verdict.InputMalformed, missing},
		{"log that is no hex", `"logID":"aa"`, `"logID":"a"`, verdict.InputMalformed, missing},
		{"body that is no object", intoto, base64.StdEncoding.EncodeToString([]byte(`[]`)), verdict.InputMalformed, "reading log entry: want a JSON object"},
		{"kind that is a number", intoto, base64.StdEncoding.EncodeToString([]byte(`{"kind":1}`)), verdict.InputMalformed, `reading log entry: member "kind"`},
		{"unknown kind", intoto, body("alpine", "0.0.1"), verdict.InputUnsupported, "is not supported"},
		{"nothing of its kind", intoto, body("hashedrekord", "0.0.1"), verdict.InputMalformed, "reading annotation " + annBundle},
	})
}

func TestParseIntoto(t *testing.T) {
	hash := `{"algorithm":"sha256","value":"` + strings.Repeat("aa", 32) + `"}`
	document := `{"spec":{"publicKey":"AAAA","content":{"hash":` + hash + `,"payloadHash":` + hash + `}}}`
	read := func(s string) error { _, err := parseIntoto([]byte(s)); return err }
	malformations(t, document, read, []malformation{
		{"no object", "", "[]", verdict.InputMalformed, "want a JSON object"},
		{"spec", `{"publicKey"`, `1,"x":{"publicKey"`, verdict.InputMalformed, "want a JSON object"},
		{"content", `{"hash"`, `1,"x":{"hash"`, verdict.InputMalformed, "want a JSON object"},
		{"no signer", `"AAAA"`, `""`, verdict.InputMalformed, "names no signer"},
		{"signer that is a number", `"AAAA"`, `1`, verdict.InputMalformed, "names no signer"},
		{"hash", `"hash":{`, `"hash":1,"x":{`, verdict.InputMalformed, "want a JSON object"},
		{"algorithm that is a number", `"sha256"`, `1`, verdict.InputMalformed, `"algorithm"`},
		{"another algorithm", `"sha256"`, `"sha512"`, verdict.InputMalformed, "hash is not a SHA-256"},
		{"no hex", `"value":"aa`, `"value":"ga`, verdict.InputMalformed, "hash is not a SHA-256"},
		{"short", `"value":"aa`, `"value":"`, verdict.InputMalformed, "hash is not a SHA-256"},
	})
}

func TestLegacyFolder(t *testing.T) {
	document := `[{"mediaType":"` + "application/vnd.dev.cosign.simplesigning.v1+json" + `","digest":"` + string(verdict.SHA256([]byte("{}"))) + `","size":2,"annotations":{"` + annSignature + `":"AAAA"}}]`
	read := func(s string) error { return legacyFolder("folder", []byte("{}"), []byte(s))[0].err }
	malformations(t, document, read, []malformation{
		{"a member twice", `"size":2`, `"size":2,"size":2`, verdict.InputMalformed, "duplicate member"},
		{"no list", "", "{}", verdict.InputMalformed, "reading layers.json"},
		{"too many layers", "", "[" + many(MaxSignatures+1, document[1:len(document)-1]) + "]", verdict.InputLimit, "reading layers.json"},
	})
}

func TestParseRecord(t *testing.T) {
	const one = `{"envelope":{"payloadType":"t","payload":"AAAA","signatures":[{"sig":"AAAA"}]}}`
	document := `{"provenance_summary":{"provenance":[` + one + `]}}`
	read := func(s string) error { return parseRecord("provenance.json", []byte(s))[0].err }
	malformations(t, document, read, []malformation{
		{"no object", "", "[]", verdict.InputMalformed, "reading provenance.json: want a JSON object"},
		{"summary", `{"provenance"`, `1,"x":{"provenance"`, verdict.InputMalformed, "reading provenance.json: want a JSON object"},
		{"no list", `[{`, `1,"x":[{`, verdict.InputMalformed, `member "provenance"`},
		{"too many", one, many(maxRecords+1, one), verdict.InputMalformed, "33 provenances, want at most 32"},
		{"provenance", one, one + ",1", verdict.InputMalformed, "reading provenance.json: want a JSON object"},
	})
	for text, want := range map[string]int{
		strings.Replace(document, one, many(maxRecords, one), 1):                        maxRecords,
		strings.Replace(document, one, `{"build":{}},`+one, 1):                          1, // the first one has no signature
		strings.Replace(document, `{"sig":"AAAA"}`, `{"sig":"AAAA"},{"sig":"AAAA"}`, 1): 2,
	} {
		if got := parseRecord("provenance.json", []byte(text)); len(got) != want || got[0].err != nil {
			t.Errorf("got %d candidates, want %d, of %.80s", len(got), want, text)
		}
	}
}

// TestVerifyIntoto: what an entry is about, which a log signed.
func TestVerifyIntoto(t *testing.T) {
	logKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log := &root.TransparencyLog{PublicKey: logKey.Public(), ValidityPeriodStart: time.Unix(1600000000, 0)}
	der := leafDER(t, nil)
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	spki := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: leaf.RawSubjectPublicKeyInfo})
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key := &keyContent{key: leaf.PublicKey}
	type entry = intotoEntry
	for name, tt := range map[string]struct {
		entry  func(*entry)
		entity func(*entity)
		signer []byte
		code   verdict.Code
		text   string
	}{
		"certified":                {nil, nil, certificate, "", ""},
		"keyed":                    {nil, func(e *entity) { e.leaf, e.key = nil, key }, spki, "", ""},
		"no .att layer":            {nil, func(e *entity) { e.stamped = nil }, certificate, verdict.LogMismatch, "another kind of signature"},
		"another envelope":         {nil, func(e *entity) { e.stamped = []byte("another") }, certificate, verdict.LogMismatch, "another envelope"},
		"another payload":          {nil, func(e *entity) { e.statement = []byte("another") }, certificate, verdict.LogMismatch, "another payload"},
		"signer that is no PEM":    {nil, nil, []byte("x"), verdict.InputMalformed, "not one PEM block"},
		"two signers":              {nil, nil, append(bytes.Clone(certificate), spki...), verdict.InputMalformed, "not one PEM block"},
		"another certificate":      {nil, nil, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER(t, nil)}), verdict.LogMismatch, "another certificate"},
		"a key for a certificate":  {nil, nil, spki, verdict.LogMismatch, "another key"},
		"another key":              {nil, func(e *entity) { e.leaf, e.key = nil, key }, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: otherSPKI(t)}), verdict.LogMismatch, "another key"},
		"a key under another name": {nil, func(e *entity) { e.leaf, e.key = nil, key }, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.RawSubjectPublicKeyInfo}), verdict.LogMismatch, "another key"},
		"no signature of the log":  {func(e *entry) { e.set[len(e.set)-1] ^= 1 }, nil, certificate, verdict.LogProof, "does not verify"},
		"another index":            {func(e *entry) { e.logIndex++ }, nil, certificate, verdict.LogProof, "does not verify"},
		"no time":                  {func(e *entry) { e.integratedTime = 0 }, nil, certificate, verdict.LogProof, "out of range"},
		"a time before the key":    {func(e *entry) { e.integratedTime = 1500000000 }, nil, certificate, verdict.LogProof, "was not valid at"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &entity{leaf: leaf, stamped: []byte("envelope"), statement: []byte("payload")}
			i := &entry{body: []byte("{}"), logID: "aa", integratedTime: 1750000000, logIndex: 3, signer: tt.signer, envelope: sha256.Sum256([]byte("envelope")), payload: sha256.Sum256([]byte("payload"))}
			sum := sha256.Sum256(promise{body: i.body, at: i.integratedTime, logID: i.logID, index: i.logIndex}.signed())
			if i.set, err = ecdsa.SignASN1(rand.Reader, logKey, sum[:]); err != nil {
				t.Fatal(err)
			}
			if tt.entity != nil {
				tt.entity(e)
			}
			if tt.entry != nil {
				tt.entry(i)
			}
			at, serr := i.verify(e, log)
			switch {
			case tt.code == "" && serr != nil:
				t.Errorf("got %v", serr.err)
			case tt.code == "" && at.Unix() != 1750000000:
				t.Errorf("got the time %v", at)
			case tt.code != "" && (serr == nil || verdict.CodeOf(serr.err) != tt.code || !strings.Contains(serr.err.Error(), tt.text)):
				t.Errorf("got %+v, want %s with %q", serr, tt.code, tt.text)
			}
		})
	}
}

func otherSPKI(t *testing.T) []byte {
	t.Helper()
	c, err := x509.ParseCertificate(leafDER(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	return c.RawSubjectPublicKeyInfo
}

// TestSubjectAlternativeNames: names that the standard library passes over.
func TestSubjectAlternativeNames(t *testing.T) {
	fulcio := func(value []byte) []byte { return other(t, oidOtherName, value) }
	utf8, err := asn1.MarshalWithParams("acme!release", "utf8")
	if err != nil {
		t.Fatal(err)
	}
	mail := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: sanEmail, Bytes: []byte("a@acme.example")}
	one, err := asn1.Marshal(mail)
	if err != nil {
		t.Fatal(err)
	}
	names := func(n ...[]byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: slices.Concat(n...)})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for name, tt := range map[string]struct {
		value []byte
		want  string
		code  verdict.Code
	}{
		"an e-mail address":      {names(one), "a@acme.example", ""},
		"Fulcio's other name":    {names(fulcio(utf8)), "acme!release", ""},
		"more behind the names":  {append(names(one), 5, 0), "", verdict.InputMalformed},
		"no name":                {names(one, []byte{5, 0}), "", verdict.InputMalformed},
		"no other name":          {names([]byte{0xa0, 2, 5, 0}), "", verdict.InputMalformed},
		"another type":           {names(other(t, asn1.ObjectIdentifier{1, 2, 3}, utf8)), "", verdict.IdentityAmbiguous},
		"no text":                {names(fulcio([]byte{5, 0})), "", verdict.InputMalformed},
		"more behind the text":   {names(fulcio(append(bytes.Clone(utf8), 5, 0))), "", verdict.InputMalformed},
		"a name of another kind": {names([]byte{0x82, 1, 'a'}), "", verdict.IdentityAmbiguous},
		"two names":              {names(one, one), "", verdict.IdentityAmbiguous},
	} {
		leaf, err := x509.ParseCertificate(leafDER(t, func(c *x509.Certificate) {
			c.EmailAddresses, c.ExtraExtensions = nil, []pkix.Extension{{Id: oidSAN, Critical: true, Value: tt.value}}
		}))
		if err != nil {
			t.Fatalf("%s: the standard library says it first: %v", name, err)
		}
		got, err := readSAN(leaf)
		if got != tt.want || verdict.CodeOf(err) != tt.code {
			t.Errorf("%s: got %q, %v, want %q, %s", name, got, err, tt.want, tt.code)
		}
	}
}

// other is an OtherName (RFC 5280 §4.2.1.6).
func other(t *testing.T, id asn1.ObjectIdentifier, value []byte) []byte {
	t.Helper()
	der, err := asn1.MarshalWithParams(struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}{id, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: value}}, "tag:0")
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestLimitsOfNames: before anything is made of them.
func TestLimitsOfNames(t *testing.T) {
	for name, read := range map[string]func(string) error{
		"reference":  func(s string) error { _, err := ParseReference(s); return err },
		"repository": func(s string) error { _, err := ParseRepository(s); return err },
	} {
		for _, n := range []int{0, 5000} {
			if err := read(strings.Repeat("a", n)); verdict.CodeOf(err) != verdict.InputMalformed || !strings.Contains(err.Error(), fmt.Sprintf("%d bytes, want 1 to", n)) {
				t.Errorf("%s of %d bytes: got %v", name, n, err)
			}
		}
	}
}

// TestEntriesOfNobody: what log entries and proofs are asked for where the formats
// leave no place for it.
func TestEntriesOfNobody(t *testing.T) {
	if _, err := new(entity).verifyEntries(nil, nil); verdict.CodeOf(err) != verdict.LogMismatch {
		t.Errorf("entries of no signer: got %v", err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log := &root.TransparencyLog{PublicKey: edKey.Public(), ValidityPeriodStart: time.Unix(1600000000, 0)}
	if err := (promise{at: 1750000000}).verify(log, nil); verdict.CodeOf(err) != verdict.LogProof || !strings.Contains(err.Error(), "no ECDSA key") {
		t.Errorf("a promise by Ed25519: got %v", err)
	}
	// The digest of a message is compared with the image before.
	if err := (&entity{messageDigest: make([]byte, 48)}).verifyDigests(algorithms{}, nil); verdict.CodeOf(err) != verdict.SubjectAlgorithm {
		t.Errorf("a long digest of a message: got %v", err)
	}
	if err := (algorithms{}).accept(edKey.Public()); verdict.CodeOf(err) != verdict.SigAlgorithm {
		t.Errorf("Ed25519 outside the module: got %v", err)
	}
	if err := (algorithms{ed25519: true}).accept(edKey.Public()); err != nil {
		t.Errorf("Ed25519: got %v", err)
	}
}
