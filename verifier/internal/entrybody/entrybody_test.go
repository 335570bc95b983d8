// SPDX-License-Identifier: Apache-2.0

package entrybody_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/tlog"

	"github.com/assayd/assay/verifier/internal/entrybody"
)

// seeds are bodies of each kind, with a key and with a certificate.
func seeds(t testing.TB) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("message"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	hash := fmt.Sprintf(`{"algorithm":"sha256","value":"%x"}`, sum)
	out := map[string]string{}
	for name, block := range map[string]*pem.Block{"key": {Type: "PUBLIC KEY", Bytes: pub}, "certificate": {Type: "CERTIFICATE", Bytes: cert}} {
		signer := b64(pem.EncodeToMemory(block))
		out["hashedrekord, "+name] = fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":%s},"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`, hash, b64(sig), signer)
		out["dsse, "+name] = fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":%s,"payloadHash":%s,"signatures":[{"signature":"%s","verifier":"%s"}]}}`, hash, hash, b64(sig), signer)
		out["intoto, "+name] = fmt.Sprintf(`{"apiVersion":"0.0.2","kind":"intoto","spec":{"content":{"envelope":{"payloadType":"application/vnd.in-toto+json","signatures":[{"publicKey":"%s","sig":"%s"}]},"hash":%s,"payloadHash":%s}}}`, signer, b64([]byte(b64(sig))), hash, hash)
	}
	return out
}

// agrees fails where Read understood another entry than the library, which besides
// wants a signer that it can parse, and of hashedrekord a signature that verifies.
func agrees(t *testing.T, body []byte) (read bool) {
	t.Helper()
	got, ok := entrybody.Read(body)
	if !ok {
		return false
	}
	entry, err := tlog.ParseTransparencyLogEntry(&protorekor.TransparencyLogEntry{
		LogId: &protocommon.LogId{KeyId: []byte("log")}, CanonicalizedBody: body,
		KindVersion: &protorekor.KindVersion{Kind: got.Kind, Version: got.Version},
	})
	if err == nil {
		err = tlog.ValidateEntry(entry)
	}
	if err != nil {
		if isSound(got) {
			t.Errorf("%s: read, and the library says %v", body, err)
		}
		return true
	}
	if !bytes.Equal(entry.Signature(), got.Signature) || entry.IsRekorV2() {
		t.Errorf("%s: got signature %x, want %x", body, got.Signature, entry.Signature())
	}
	if signer, err := parse(got); err == nil && !equal(signer, entry.PublicKey()) {
		t.Errorf("%s: got signer %v, want %v", body, signer, entry.PublicKey())
	}
	sum, hash, isMessage := entry.GetHashedRekordDigest()
	if !isMessage {
		hash = "sha256"
		sum, _ = entry.GetDssePayloadHash()
	}
	if !bytes.Equal(sum, got.Digest) || hash != got.Hash || isMessage != (got.Kind == entrybody.HashedRekord) {
		t.Errorf("%s: got %s %x, want %s %x", body, got.Hash, got.Digest, hash, sum)
	}
	return true
}

func parse(b *entrybody.Body) (any, error) {
	if b.IsCertificate {
		return x509.ParseCertificate(b.Signer)
	}
	return x509.ParsePKIXPublicKey(b.Signer)
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case *x509.Certificate:
		b, ok := b.(*x509.Certificate)
		return ok && a.Equal(b)
	case *ecdsa.PublicKey:
		return a.Equal(b)
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// isSound says whether the library has no reason to refuse what Read took.
func isSound(b *entrybody.Body) bool {
	signer, err := parse(b)
	if err != nil {
		return false
	}
	if c, ok := signer.(*x509.Certificate); ok {
		signer = c.PublicKey
	}
	key, ok := signer.(*ecdsa.PublicKey)
	return ok && (b.Kind != entrybody.HashedRekord || ecdsa.VerifyASN1(key, b.Digest, b.Signature))
}

// TestRead: each kind is read, and nothing that differs from it in a byte as another
// one than the library reads.
func TestRead(t *testing.T) {
	for name, seed := range seeds(t) {
		if !agrees(t, []byte(seed)) {
			t.Errorf("%s is not read: %s", name, seed)
		}
		for i := range seed {
			if agrees(t, []byte(seed[:i])) {
				t.Errorf("%s: the first %d bytes are read", name, i)
			}
			for _, c := range []byte("\"\\{},:0A=\n \xff") {
				changed := []byte(seed)
				changed[i] = c
				agrees(t, changed)
			}
		}
	}
}

// after is the string of body that begins after prefix.
func after(t *testing.T, body, prefix string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, prefix)
	text, _, _ := strings.Cut(rest, `"`)
	if !ok || text == "" {
		t.Fatalf("%s has no %s", body, prefix)
	}
	return text
}

// TestLeave: what only resembles the usual form is left to the library.
func TestLeave(t *testing.T) {
	all := seeds(t)
	hashed, dsse, intoto := all["hashedrekord, key"], all["dsse, key"], all["intoto, key"]
	value, signature, signer := after(t, hashed, `"value":"`), after(t, hashed, `"signature":{"content":"`), after(t, hashed, `"publicKey":{"content":"`)
	text, err := base64.StdEncoding.DecodeString(signer)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	block.Headers = map[string]string{"a": "b"}
	named := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(block))
	block.Headers, block.Type = nil, "RSA PUBLIC KEY"
	other := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(block))
	for name, body := range map[string]string{
		"nothing":                 "",
		"another version":         strings.Replace(hashed, "0.0.1", "0.0.2", 1),
		"another order":           strings.Replace(hashed, `"apiVersion":"0.0.1","kind":"hashedrekord"`, `"kind":"hashedrekord","apiVersion":"0.0.1"`, 1),
		"a space":                 strings.Replace(hashed, `,"signature"`, `, "signature"`, 1),
		"a line after it":         hashed + "\n",
		"a member more":           strings.Replace(hashed, `,"signature":{`, `,"url":"x","signature":{`, 1),
		"a second kind":           strings.TrimSuffix(hashed, "}") + `,"kind":"dsse"}`,
		"a hash in upper case":    strings.Replace(hashed, value, strings.ToUpper(value), 1),
		"a hash of no bytes":      strings.Replace(hashed, value, "", 1),
		"a hash that is short":    strings.Replace(hashed, value, value[2:], 1),
		"a hash of another kind":  strings.Replace(hashed, `"sha256"`, `"sha384"`, 1),
		"an unknown hash":         strings.Replace(hashed, `"sha256"`, `"md5"`, 1),
		"a payload by SHA-512":    strings.Replace(dsse, `"payloadHash":{"algorithm":"sha256","value":"`, `"payloadHash":{"algorithm":"sha512","value":"`+value, 1),
		"an empty signature":      strings.Replace(hashed, signature, "", 1),
		"a line in the signature": strings.Replace(hashed, signature, signature[:4]+"\n"+signature[4:], 1),
		"an escape":               strings.Replace(hashed, signature, `\u004d`+signature[1:], 1),
		"a signer with headers":   strings.Replace(hashed, signer, named, 1),
		"a signer of another PEM": strings.Replace(hashed, signer, other, 1),
		"a second signer":         strings.Replace(hashed, signer, base64.StdEncoding.EncodeToString(append(text, text...)), 1),
		"a signer that is no PEM": strings.Replace(hashed, signer, "AQID", 1),
		"two signatures":          strings.Replace(dsse, `"signatures":[`, `"signatures":[{"signature":"AQID","verifier":"`+signer+`"},`, 1),
		"a signature decoded":     strings.Replace(intoto, after(t, intoto, `"sig":"`), after(t, dsse, `"signature":"`), 1),
		"another payload type":    strings.Replace(intoto, "application/vnd.in-toto+json", "text/plain", 1),
		"a payload":               strings.Replace(intoto, `"payloadType"`, `"payload":"e30=","payloadType"`, 1),
		"a key ID":                strings.Replace(intoto, `"signatures":[{`, `"signatures":[{"keyid":"a",`, 1),
	} {
		if body == hashed || body == dsse || body == intoto {
			t.Errorf("%s: nothing is changed", name)
		}
		if got, ok := entrybody.Read([]byte(body)); ok {
			t.Errorf("%s is read as %+v", name, got)
		}
	}
}

// FuzzRead: what is read, the library reads as well, and as the same.
func FuzzRead(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { agrees(t, body) })
}
