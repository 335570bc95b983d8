// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// perRange is how many bytes of a range are changed, evenly spread.
const perRange = 16

// An encoding is how a text has bytes.
type encoding struct {
	decode func(string) ([]byte, error)
	encode func([]byte) string
}

var (
	asText   = encoding{func(s string) ([]byte, error) { return []byte(s), nil }, func(b []byte) string { return string(b) }}
	asBase64 = encoding{base64.StdEncoding.DecodeString, base64.StdEncoding.EncodeToString}
	asURL    = encoding{base64.RawURLEncoding.DecodeString, base64.RawURLEncoding.EncodeToString}
	asHex    = encoding{hex.DecodeString, hex.EncodeToString}
	asPEM    = encoding{func(s string) ([]byte, error) {
		b, _ := pem.Decode([]byte(s))
		if b == nil {
			return nil, errors.New("no PEM")
		}
		return b.Bytes, nil
	}, func(b []byte) string { return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b})) }}
)

// A field is a member of a signature as JSON.
type field struct {
	encoding encoding
	// ranges are those of its bytes that are changed; nil is all of it.
	ranges func([]byte) map[string][2]int
	// codes are by range what comes out when one of its bytes is changed: the
	// first one has to, the others may. "" means that nothing rests on the byte.
	codes map[string][]verdict.Code
}

func is(e encoding, c ...verdict.Code) field {
	return field{encoding: e, codes: map[string][]verdict.Code{"": c}}
}

// number is one in JSON, which cannot begin with a zero.
func number(c ...verdict.Code) field {
	return field{asText, func(b []byte) map[string][2]int { return map[string][2]int{"": {1, len(b)}} }, map[string][]verdict.Code{"": c}}
}

// find adds where part is in whole.
func find(out map[string][2]int, name string, whole, part []byte) {
	at := bytes.Index(whole, part)
	if at < 0 || len(part) == 0 {
		panic("bytes_test: no " + name)
	}
	out[name] = [2]int{at, at + len(part)}
}

// statementRanges are the values of an in-toto statement.
func statementRanges(payload []byte) map[string][2]int {
	out := map[string][2]int{}
	find(out, "type", payload, []byte("https://in-toto.io/Statement/v1"))
	find(out, "predicate type", payload, []byte(verifier.PredicateSign))
	at := bytes.Index(payload, []byte(`"sha256":"`)) + len(`"sha256":"`)
	out["subject"] = [2]int{at, at + 64}
	return out
}

var inBody = regexp.MustCompile(`"(?:content|signature)":"`)

// bodyRange is the signature in the body of a log entry.
func bodyRange(body []byte) map[string][2]int {
	at := inBody.FindIndex(body)[1]
	return map[string][2]int{"signature": {at, at + 80}}
}

// hashedRekord is the body of an entry, which the log's promise is over.
var hashedRekord = field{asBase64, bodyRange, map[string][]verdict.Code{"signature": {verdict.LogProof, verdict.InputMalformed}}}

// certificateRanges are what a certificate says, without the tags and lengths
// around it.
func certificateRanges(der []byte) map[string][2]int {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	out := map[string][2]int{}
	find(out, "signature", der, c.Signature[len(c.Signature)-30:])
	find(out, "serial", der, c.SerialNumber.Bytes()[1:])
	find(out, "key", der, c.RawSubjectPublicKeyInfo[len(c.RawSubjectPublicKeyInfo)-64:])
	for _, e := range c.Extensions {
		switch e.Id.String() {
		case "2.5.29.17":
			find(out, "subject", der, []byte(subject))
		case "1.3.6.1.4.1.57264.1.8":
			find(out, "issuer", der, e.Value[2:])
		case "1.3.6.1.4.1.11129.2.4.2":
			find(out, "timestamps", der, e.Value[len(e.Value)-40:])
		}
	}
	return out
}

// tokenRanges are those of a timestamp that its signature or a check protects.
func tokenRanges(der []byte) map[string][2]int {
	out := map[string][2]int{}
	content := bytes.Index(der, tstInfo)
	out["type"] = [2]int{content, content + len(tstInfo)}
	var info asn1.RawValue
	if _, err := asn1.Unmarshal(der[content+len(tstInfo)+6:], &info); err != nil {
		panic(err)
	}
	find(out, "content", der, info.FullBytes)
	contentType := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03}
	attributes := bytes.Index(der, contentType)
	out["attributes"] = [2]int{attributes, len(der) - 90}
	out["signature"] = [2]int{len(der) - 60, len(der)}
	return out
}

// leaves calls f for every text and number in v, by its path without positions,
// and with what puts another in its place.
func leaves(v any, path string, f func(path, text string, put func(string))) {
	visit := func(path string, v any, put func(any)) {
		switch v := v.(type) {
		case string:
			f(path, v, func(s string) { put(s) })
		case json.Number:
			f(path, v.String(), func(s string) { put(json.Number(s)) })
		default:
			leaves(v, path, f)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			visit(strings.TrimPrefix(path+"."+name, "."), v[name], func(n any) { v[name] = n })
		}
	case []any:
		for i := range v {
			visit(path, v[i], func(n any) { v[i] = n })
		}
	}
}

// sweep changes bytes of every field of a JSON object, one at a time, and compares
// what check says. A field that is not listed fails the test.
func sweep(t *testing.T, object []byte, fields map[string]field, check func([]byte) verdict.Code) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	encode := func() []byte { return []byte(mustJSON(t, v)) }
	if code := check(encode()); code != "" {
		t.Fatalf("the good one: %q", code)
	}
	seen := map[string]bool{}
	leaves(v, "", func(path, text string, put func(string)) {
		f, ok := fields[path]
		if !ok {
			t.Errorf("%s: no check is named for it", path)
			return
		}
		data, err := f.encoding.decode(text)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		ranges := map[string][2]int{"": {0, len(data)}}
		if f.ranges != nil {
			ranges = f.ranges(data)
		}
		for name, r := range ranges {
			want := f.codes[name]
			if len(want) == 0 {
				t.Errorf("%s, %s: no check is named for it", path, name)
				continue
			}
			others := map[verdict.Code][]int{}
			named := false
			for at := r[0]; at < r[1]; at += max(1, (r[1]-r[0])/perRange) {
				changed := bytes.Clone(data)
				changed[at] ^= 1
				put(f.encoding.encode(changed))
				code := check(encode())
				named = named || code == want[0]
				if !slices.Contains(want, code) {
					others[code] = append(others[code], at)
				}
			}
			for code, at := range others {
				t.Errorf("%s, %s: changed at %v of %d: got %q, want one of %q", path, name, at, len(data), code, want)
			}
			if !named {
				t.Errorf("%s, %s: no byte is refused with %q", path, name, want[0])
			}
			seen[path] = true
		}
		put(text)
	})
	for path := range fields {
		if !seen[path] {
			t.Errorf("%s: a check is named for it, and it is not there", path)
		}
	}
}

// bundleFields are those of a bundle, of which without removes some.
func bundleFields(without ...string) map[string]field {
	const entry = "verificationMaterial.tlogEntries."
	out := map[string]field{
		"mediaType": is(asText, verdict.InputUnsupported),
		"dsseEnvelope.payload": {asBase64, statementRanges, map[string][]verdict.Code{
			"type": {verdict.StatementType, verdict.InputMalformed}, "predicate type": {verdict.SigNoneOfKind}, "subject": {verdict.SigInvalid, verdict.InputMalformed},
		}},
		"dsseEnvelope.payloadType":                 is(asText, verdict.StatementType),
		"dsseEnvelope.signatures.sig":              is(asBase64, verdict.SigInvalid),
		"messageSignature.messageDigest.algorithm": is(asText, verdict.InputUnsupported, verdict.SubjectAlgorithm),
		"messageSignature.messageDigest.digest":    is(asBase64, verdict.SubjectMismatch),
		"messageSignature.signature":               is(asBase64, verdict.SigInvalid),
		"verificationMaterial.publicKey.hint":      is(asText, ""),
		"verificationMaterial.certificate.rawBytes": {asBase64, certificateRanges, map[string][]verdict.Code{
			"signature": {verdict.LogMismatch}, "serial": {verdict.LogMismatch}, "subject": {verdict.LogMismatch}, "timestamps": {verdict.LogMismatch},
			"key": {verdict.InputMalformed}, "issuer": {verdict.IdentityAmbiguous},
		}},
		"verificationMaterial.timestampVerificationData.rfc3161Timestamps.signedTimestamp": {asBase64, tokenRanges, map[string][]verdict.Code{
			"type": {verdict.TimeUntrusted}, "content": {verdict.TimeUntrusted}, "attributes": {verdict.TimeUntrusted}, "signature": {verdict.TimeUntrusted},
		}},
		entry + "canonicalizedBody":                     {asBase64, bodyRange, map[string][]verdict.Code{"signature": {verdict.LogProof, verdict.InputMalformed}}},
		entry + "inclusionPromise.signedEntryTimestamp": is(asBase64, verdict.LogProof),
		entry + "inclusionProof.checkpoint.envelope":    is(asText, verdict.LogProof),
		entry + "inclusionProof.hashes":                 is(asBase64, verdict.LogProof),
		entry + "inclusionProof.logIndex":               is(asText, verdict.LogProof),
		entry + "inclusionProof.rootHash":               is(asBase64, verdict.LogProof),
		entry + "inclusionProof.treeSize":               is(asText, verdict.LogProof),
		entry + "integratedTime":                        is(asText, verdict.LogProof, verdict.InputMalformed),
		entry + "kindVersion.kind":                      is(asText, verdict.LogMismatch),
		entry + "kindVersion.version":                   is(asText, verdict.LogMismatch),
		entry + "logId.keyId":                           is(asBase64, verdict.LogMissing),
		entry + "logIndex":                              is(asText, verdict.LogProof, verdict.InputMalformed),
	}
	maps.DeleteFunc(out, func(path string, _ field) bool {
		return slices.ContainsFunc(without, func(p string) bool { return strings.HasPrefix(strings.TrimPrefix(path, "verificationMaterial."), p) })
	})
	return out
}

// TestBytesOfBundles: which check refuses which byte of a bundle.
func TestBytesOfBundles(t *testing.T) {
	sig, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	roots := rootsOf(t, sig)
	digest := verdict.SHA256(clauseImage)
	const body = "verificationMaterial.tlogEntries.canonicalizedBody"
	inV2 := field{asBase64, bodyRange, map[string][]verdict.Code{"signature": {verdict.LogMismatch, verdict.InputMalformed}}}
	for _, tt := range []struct {
		name    string
		sign    func(*sign)
		lines   string // of the policy's authority
		without []string
		other   map[string]field
	}{
		{name: "keyless in Rekor v1", sign: v1, without: []string{"messageSignature", "publicKey", "timestamp", "tlogEntries.inclusionProof.hashes", "tlogEntries.inclusionProof.logIndex"}},
		{name: "keyless in Rekor v2", sign: v2, without: []string{"messageSignature", "publicKey", "tlogEntries.inclusionPromise", "tlogEntries.integratedTime"}, other: map[string]field{body: inV2}},
		{name: "keyless, a message", sign: message,
			without: []string{"dsseEnvelope", "publicKey", "timestamp", "tlogEntries.inclusionProof.hashes", "tlogEntries.inclusionProof.logIndex"}, other: map[string]field{body: hashedRekord}},
		{name: "keyless, timestamp alone", sign: func(o *sign) { o.NoLog, o.Timestamp = true, true }, lines: "    allow-unlogged: true\n",
			without: []string{"messageSignature", "publicKey", "tlogEntries"}, other: map[string]field{
				"verificationMaterial.certificate.rawBytes": {asBase64, certificateRanges, map[string][]verdict.Code{
					"signature": {verdict.CertUntrusted}, "serial": {verdict.CertUntrusted}, "subject": {verdict.CertUntrusted}, "timestamps": {verdict.CertUntrusted},
					"key": {verdict.InputMalformed}, "issuer": {verdict.IdentityAmbiguous},
				}},
			}},
		{name: "keyed in Rekor v1", sign: keyed(t, "p256"), lines: "    require-log: true\n", without: []string{"messageSignature", "certificate", "timestamp", "tlogEntries.inclusionProof.hashes", "tlogEntries.inclusionProof.logIndex"}},
		{name: "keyed in Rekor v2", sign: both(keyed(t, "p256"), v2), lines: "    require-log: true\n    require-timestamp: true\n", without: []string{"messageSignature", "certificate", "tlogEntries.inclusionPromise", "tlogEntries.integratedTime"}, other: map[string]field{body: inV2}},
		{name: "keyed, without log", sign: both(keyed(t, "p256"), func(o *sign) { o.NoLog = true }), without: []string{"messageSignature", "certificate", "timestamp", "tlogEntries"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good()
			tt.sign(&o)
			b, err := sig.Bundle(digest, o)
			if err != nil {
				t.Fatal(err)
			}
			who := keylessYAML("signer", subject) + tt.lines
			if o.Key != nil {
				who = keyYAML("signer", publicPEM(t, o.Key.Public())) + tt.lines
			}
			p := policy(t, "version: 1\nauthorities:\n"+who+"rules:\n  - {name: all, repositories: ['**'], authorities: [signer]}\n")
			fields := bundleFields(tt.without...)
			maps.Copy(fields, tt.other)
			sweep(t, b, fields, func(data []byte) verdict.Code {
				v := newVerifier(t, verifier.Config{Policy: p, Roots: roots, Source: verifier.ParseBundle("test", data)})
				ok, code, _ := verify(t.Context(), t, v, verifier.Image{Repository: repo, Digest: digest}, now)
				if ok != (code == "") {
					t.Fatalf("passed %v with %q", ok, code)
				}
				return code
			})
		})
	}
}

// fresh is the kit with nothing but its image in a store.
func (k *kit) fresh() *kit {
	k.t.Helper()
	out := *k
	out.dir = k.t.TempDir()
	l, err := sigstoretest.NewLayout(out.dir)
	if err != nil {
		k.t.Fatal(err)
	}
	out.store = l
	if image := out.push("hello"); image != k.image {
		k.t.Fatalf("got %v, want %v", image, k.image)
	}
	return &out
}

// TestBytesOfLegacySignatures: which check refuses which byte of a layer of cosign's
// .sig manifest.
func TestBytesOfLegacySignatures(t *testing.T) {
	k := newKit(t)
	annotations := map[string]string{"signature": "dev.cosignproject.cosign/signature", "certificate": "dev.sigstore.cosign/certificate", "chain": "dev.sigstore.cosign/chain",
		"bundle": "dev.sigstore.cosign/bundle", "timestamp": "dev.sigstore.cosign/rfc3161timestamp"}
	payload := field{asText, func(b []byte) map[string][2]int {
		out := map[string][2]int{}
		find(out, "image", b, []byte(k.image.Digest.Hex()))
		find(out, "reference", b, []byte(repo))
		find(out, "type", b, []byte("cosign container image signature"))
		return out
	}, map[string][]verdict.Code{"image": {verdict.SigInvalid, verdict.InputMalformed}, "reference": {verdict.SigInvalid}, "type": {verdict.StatementType}}}
	fields := map[string]field{
		"payload":   payload,
		"signature": is(asBase64, verdict.SigInvalid),
		"certificate": {asPEM, certificateRanges, map[string][]verdict.Code{
			"signature": {verdict.LogMismatch}, "serial": {verdict.LogMismatch}, "subject": {verdict.LogMismatch}, "timestamps": {verdict.LogMismatch},
			"key": {verdict.InputMalformed}, "issuer": {verdict.IdentityAmbiguous},
		}},
		"chain":                         is(asText, ""),
		"bundle.SignedEntryTimestamp":   is(asBase64, verdict.LogProof),
		"bundle.Payload.body":           hashedRekord,
		"bundle.Payload.integratedTime": number(verdict.LogProof),
		"bundle.Payload.logIndex":       number(verdict.LogProof),
		"bundle.Payload.logID":          is(asHex, verdict.LogMissing),
		"timestamp.SignedRFC3161Timestamp": {asBase64, tokenRanges, map[string][]verdict.Code{
			"type": {verdict.TimeUntrusted}, "content": {verdict.TimeUntrusted}, "attributes": {verdict.TimeUntrusted}, "signature": {verdict.TimeUntrusted},
		}},
	}
	keyedFields := maps.Clone(fields)
	delete(keyedFields, "certificate")
	delete(keyedFields, "chain")
	key, public := newKey(t, "p256")
	for _, tt := range []struct {
		name, who string
		sign      sign
		fields    map[string]field
	}{
		{"keyless", keylessYAML("signer", subject), good(), fields},
		{"keyed", keyYAML("signer", public) + "    require-log: true\n", sign{Key: key, At: signedAt}, keyedFields},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.sign.Timestamp = true
			layer := k.layer(k.image, tt.sign)
			object := map[string]any{"payload": string(layer.Payload)}
			for name, key := range annotations {
				text, ok := layer.Annotations[key]
				var nested map[string]any
				switch d := json.NewDecoder(strings.NewReader(text)); {
				case !ok:
				case name == "bundle" || name == "timestamp":
					d.UseNumber()
					if err := d.Decode(&nested); err != nil {
						t.Fatal(err)
					}
					object[name] = nested
				default:
					object[name] = text
				}
			}
			p := policy(t, "version: 1\nauthorities:\n"+tt.who+"    require-timestamp: true\nrules:\n  - {name: all, repositories: ['**'], authorities: [signer]}\n")
			sweep(t, []byte(mustJSON(t, object)), tt.fields, func(data []byte) verdict.Code {
				var changed map[string]json.RawMessage
				if err := json.Unmarshal(data, &changed); err != nil {
					t.Fatal(err)
				}
				l := sigstoretest.Layer{Annotations: map[string]string{}}
				for name, raw := range changed {
					text := string(raw)
					if raw[0] == '"' {
						if err := json.Unmarshal(raw, &text); err != nil {
							t.Fatal(err)
						}
					}
					if name == "payload" {
						l.Payload = []byte(text)
					} else {
						l.Annotations[annotations[name]] = text
					}
				}
				k := k.fresh()
				k.attachLayers(k.image, l)
				_, code, _ := k.check(p)
				return code
			})
		})
	}
}

// TestBytesOfNotation: which check refuses which byte of an envelope of the Notary
// Project.
func TestBytesOfNotation(t *testing.T) {
	k := newNotationKit(t)
	leaf := func(der []byte) map[string][2]int {
		out := map[string][2]int{}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		find(out, "signature", der, c.Signature[len(c.Signature)-30:])
		find(out, "name", der, c.RawSubject[len(c.RawSubject)-4:])
		find(out, "key", der, c.RawSubjectPublicKeyInfo[len(c.RawSubjectPublicKeyInfo)-64:])
		return out
	}
	check := func(mediaType string, envelope []byte) verdict.Code {
		k := &notationKit{kit: k.fresh(), root: k.root, tsaRoot: k.tsaRoot}
		k.attach(mediaType, envelope)
		lines := acme + "    revocation: off\n"
		if mediaType == notationJWS {
			lines += "    require-timestamp: true\n" // the kit stamps those
		}
		_, code, _ := k.with(lines, "", verifier.Config{})
		return code
	}
	certificate := map[string][]verdict.Code{"signature": {verdict.CertProfile}, "name": {verdict.CertProfile, verdict.InputMalformed}, "key": {verdict.InputMalformed}}
	t.Run("JWS", func(t *testing.T) {
		sweep(t, k.stamped(), map[string]field{
			"payload": {asURL, subjectRange, signedBytes},
			"protected": {asURL, func(b []byte) map[string][2]int {
				out := map[string][2]int{}
				find(out, "content type", b, []byte("application/vnd.cncf.notary.payload.v1+json"))
				find(out, "scheme", b, []byte(`"notary.x509"`))
				find(out, "signing time", b, []byte(signedAt.UTC().Format("T15:04")))
				find(out, "algorithm", b, []byte("ES256"))
				return out
			}, map[string][]verdict.Code{"content type": {verdict.StatementType}, "scheme": {verdict.InputMalformed}, "signing time": {verdict.SigInvalid, verdict.InputMalformed}, "algorithm": {verdict.SigAlgorithm}}},
			"signature":  is(asURL, verdict.SigInvalid),
			"header.x5c": {asBase64, leaf, certificate},
			"header.io.cncf.notary.timestampSignature": {asBase64, tokenRanges, map[string][]verdict.Code{
				"type": {verdict.TimeUntrusted}, "content": {verdict.TimeUntrusted}, "attributes": {verdict.TimeUntrusted}, "signature": {verdict.TimeUntrusted},
			}},
		}, func(data []byte) verdict.Code { return check(notationJWS, data) })
	})
	t.Run("COSE", func(t *testing.T) {
		envelope := k.envelope(notationCOSE, nil)
		sweep(t, []byte(mustJSON(t, map[string][]byte{"envelope": envelope})), map[string]field{
			"envelope": {asBase64, func(b []byte) map[string][2]int {
				out := subjectRange(b)
				out["signature"] = [2]int{len(b) - 64, len(b)}
				find(out, "signing time", b, []byte("io.cncf.notary.signingTime"))
				find(out, "scheme", b, []byte("notary.x509"))
				find(out, "content type", b, []byte("application/vnd.cncf.notary.payload.v1+json"))
				find(out, "certificate", b, k.leaf.Signature[len(k.leaf.Signature)-30:])
				find(out, "key", b, k.leaf.RawSubjectPublicKeyInfo[len(k.leaf.RawSubjectPublicKeyInfo)-64:])
				return out
			}, map[string][]verdict.Code{
				"subject": signedBytes["subject"], "signature": {verdict.SigInvalid}, "signing time": {verdict.InputMalformed}, "scheme": {verdict.InputMalformed},
				"content type": {verdict.StatementType, verdict.InputMalformed}, "certificate": {verdict.CertProfile}, "key": {verdict.InputMalformed},
			}},
		}, func(data []byte) verdict.Code {
			var object map[string][]byte
			if err := json.Unmarshal(data, &object); err != nil {
				t.Fatal(err)
			}
			return check(notationCOSE, object["envelope"])
		})
	})
}

// subjectRange is the digest that a payload of the Notary Project is about.
func subjectRange(payload []byte) map[string][2]int {
	at := bytes.Index(payload, []byte("sha256:")) + len("sha256:")
	return map[string][2]int{"subject": {at, at + 64}}
}

// signedBytes are of a digest in hex: some changes leave none.
var signedBytes = map[string][]verdict.Code{"subject": {verdict.SigInvalid, verdict.InputMalformed}}

// attachAttestation writes cosign's .att manifest with one envelope.
func (k *kit) attachAttestation(envelope []byte) {
	k.t.Helper()
	config := []byte("{}")
	for _, b := range [][]byte{envelope, config} {
		if err := k.store.PutBlob(k.t.Context(), repo, b); err != nil {
			k.t.Fatal(err)
		}
	}
	descriptor := func(mediaType string, data []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": verdict.SHA256(data), "size": len(data)}
	}
	layer := descriptor("application/vnd.dsse.envelope.v1+json", envelope)
	layer["annotations"] = map[string]string{"dev.cosignproject.cosign/signature": ""}
	m := mustJSON(k.t, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "config": descriptor(sigstoretest.TypeConfig, config), "layers": []any{layer}})
	if err := k.store.PutManifest(k.t.Context(), repo, "sha256-"+k.image.Digest.Hex()+".att", sigstoretest.TypeManifest, []byte(m)); err != nil {
		k.t.Fatal(err)
	}
}

// TestBytesOfAttestations: which check refuses which byte of an envelope in cosign's
// .att manifest.
func TestBytesOfAttestations(t *testing.T) {
	k := newKit(t)
	key, public := newKey(t, "p256")
	var bundle struct {
		Envelope struct {
			Payload     []byte `json:"payload"`
			PayloadType string `json:"payloadType"`
			Signatures  []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(k.bundle(k.image, sign{Key: key, At: signedAt, NoLog: true, Predicate: verifier.PredicateProvenance, Content: provenance(builder)}), &bundle); err != nil {
		t.Fatal(err)
	}
	p := oneOff(t, verifier.OneOff{Keys: [][]byte{public}, Attestation: verifier.PredicateProvenance})
	ranges := func(payload []byte) map[string][2]int {
		out := map[string][2]int{}
		find(out, "type", payload, []byte("https://in-toto.io/Statement/v1"))
		find(out, "predicate type", payload, []byte(verifier.PredicateProvenance))
		find(out, "builder", payload, []byte(builder))
		find(out, "subject", payload, []byte(k.image.Digest.Hex()))
		return out
	}
	sweep(t, []byte(mustJSON(t, bundle.Envelope)), map[string]field{
		"payload": {asBase64, ranges, map[string][]verdict.Code{
			"type": {verdict.StatementType, verdict.InputMalformed}, "predicate type": {verdict.SigNoneOfKind}, "builder": {verdict.SigInvalid}, "subject": {verdict.SigInvalid, verdict.InputMalformed},
		}},
		"payloadType":    is(asText, verdict.StatementType),
		"signatures.sig": is(asBase64, verdict.SigInvalid),
	}, func(data []byte) verdict.Code {
		k := k.fresh()
		k.attachAttestation(data)
		_, code, _ := k.check(p)
		return code
	})
}
