// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// TestParseBundle: what is refused before anything is verified.
func TestParseBundle(t *testing.T) {
	sig, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	chain := func(f func(*protocommon.X509CertificateChain)) func(*sign) {
		return onBundle(func(b *protobundle.Bundle) { f(b.VerificationMaterial.GetX509CertificateChain()) })
	}
	for name, tt := range map[string]struct {
		good, bad func(*sign)
		code      verdict.Code
		text      string
	}{
		"not JSON":               {v1, func(o *sign) { o.OnJSON = func(b []byte) []byte { return b[:len(b)-1] } }, verdict.InputMalformed, "reading bundle"},
		"a new member":           {v1, onJSON(`"mediaType"`, `"new":1,"mediaType"`), verdict.InputUnsupported, "not known"},
		"a member of other type": {v1, onJSON(`"tlogEntries":[`, `"tlogEntries":1,"x":[`), verdict.InputMalformed, "reading bundle"},
		"large": {v1, func(o *sign) {
			o.OnJSON = func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), verifier.MaxBundleBytes)...) }
		}, verdict.InputLimit, "want at most"},
		"large payload": {func(o *sign) { o.NoLog = true }, func(o *sign) {
			o.OnPayload = func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), verifier.MaxPayloadBytes)...) }
		}, verdict.InputLimit, "want at most"},
		"many entries": {v1, onBundle(func(b *protobundle.Bundle) {
			m := b.VerificationMaterial
			m.TlogEntries = slices.Repeat(m.TlogEntries, 33)
		}), verdict.InputMalformed, "more than 32 log entries"},
		"many timestamps": {v2, onBundle(func(b *protobundle.Bundle) {
			d := b.VerificationMaterial.TimestampVerificationData
			d.Rfc3161Timestamps = slices.Repeat(d.Rfc3161Timestamps, 33)
		}), verdict.InputMalformed, "or 32 timestamps"},
		"no version": {v1, onBundle(func(b *protobundle.Bundle) { b.MediaType = "application/json" }), verdict.InputUnsupported, "media type"},
		"no content": {v1, onBundle(func(b *protobundle.Bundle) { b.Content = nil }), verdict.InputMalformed, "missing bundle content"},
		"unreadable entry": {v1, onBundle(func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries[0].CanonicalizedBody = []byte(`{"apiVersion":"0.0.1","kind":"dsse","spec":{}}`)
		}), verdict.InputMalformed, "reading bundle: "},
		"an empty chain":     {v02, chain(func(c *protocommon.X509CertificateChain) { c.Certificates = nil }), verdict.InputMalformed, "certificate"},
		"a long chain":       {v02, chain(func(c *protocommon.X509CertificateChain) { c.Certificates = slices.Repeat(c.Certificates, 5) }), verdict.InputMalformed, "more than 8 certificates"},
		"unreadable issuer":  {v02, chain(func(c *protocommon.X509CertificateChain) { c.Certificates[1].RawBytes = []byte("x") }), verdict.InputMalformed, "certificate 2: "},
		"no signer":          {v1, onBundle(func(b *protobundle.Bundle) { b.VerificationMaterial.Content = nil }), verdict.InputMalformed, "reading bundle"},
		"an empty signature": {message, onBundle(func(b *protobundle.Bundle) { b.GetMessageSignature().Signature = nil }), verdict.InputMalformed, "the signature is empty"},
		"no digest":          {message, onBundle(func(b *protobundle.Bundle) { b.GetMessageSignature().MessageDigest = nil }), verdict.InputMalformed, "reading bundle: "},
		"a short digest": {message, onBundle(func(b *protobundle.Bundle) {
			d := b.GetMessageSignature().MessageDigest
			d.Digest = d.Digest[1:]
		}), verdict.SubjectAlgorithm, "is not SHA-256"},
		"signed by a key": {v1, keyed(t, "p256"), verdict.CertUntrusted, "bare key"},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(change ...func(*sign)) error {
				t.Helper()
				o := good()
				both(change...)(&o)
				b, err := sig.Bundle(verdict.SHA256(clauseImage), o)
				if err != nil {
					t.Fatal(err)
				}
				_, err = verifier.ClaimedIdentity(b)
				return err
			}
			if err := read(tt.good); err != nil {
				t.Fatalf("the good one: %v", err)
			}
			if err := read(tt.good, tt.bad); verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s with %q", err, tt.code, tt.text)
			}
		})
	}
}

// TestParseBundleMemory: a small element costs little, whichever reader takes it.
func TestParseBundleMemory(t *testing.T) {
	const size = 16 << 20
	for name, tt := range map[string]struct {
		format string
		code   verdict.Code
	}{
		"usual":      {`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"tlogEntries":[%s{}]}}`, verdict.InputMalformed},
		"unusual":    {`{"media_type":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"tlogEntries":[%s{}]}}`, verdict.InputMalformed},
		"not known":  {`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","new":[%s{}]}`, verdict.InputMalformed},
		"signatures": {`{"dsseEnvelope":{"signatures":[%s{}]}}`, verdict.InputMalformed},
	} {
		data := fmt.Appendf(nil, tt.format, bytes.Repeat([]byte("{},"), size/3))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := verifier.ClaimedIdentity(data)
		runtime.ReadMemStats(&after)
		if verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), "too many values") {
			t.Errorf("%s: got %v, want %s", name, err, tt.code)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
			t.Errorf("%s: %d bytes were allocated for a bundle of %d", name, grown, len(data))
		}
	}
	if _, err := verifier.ClaimedIdentity(make([]byte, 2*verifier.MaxPayloadBytes)); verdict.CodeOf(err) != verdict.InputLimit {
		t.Errorf("a large one: %v, want %s", err, verdict.InputLimit)
	}
}
