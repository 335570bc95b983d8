// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// changedRoots are an instance's trust roots, of which change changes one thing.
func changedRoots(t *testing.T, data []byte, change func(root map[string]any)) *verifier.Roots {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(root)
	}
	roots, err := verifier.ParseRoots([]byte(mustJSON(t, root)))
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

// ended has everything in a list of a trust root end before it was signed.
func ended(list string) func(map[string]any) {
	over := map[string]any{"start": signedAt.AddDate(-1, 0, 0).UTC().Format(time.RFC3339), "end": signedAt.Add(-time.Hour).UTC().Format(time.RFC3339)}
	return func(root map[string]any) {
		for _, one := range root[list].([]any) { //nolint:forcetypeassert // as protojson writes it
			o := one.(map[string]any) //nolint:forcetypeassert // as above
			if key, ok := o["publicKey"].(map[string]any); ok {
				key["validFor"] = over
			} else {
				o["validFor"] = over
			}
		}
	}
}

// TestProofs: what log entries, timestamps and certificates are refused for beside
// the clauses of the specifications. The text is asserted where another check says
// the same code.
func TestProofs(t *testing.T) {
	sig, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	rootJSON, err := sig.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	digest := verdict.SHA256(clauseImage)
	key, public := newKey(t, "p256")
	keyedSign := func(o *sign) { o.Key, o.NoLog = key, true }
	message := func(o *sign) { o.MessageSignature, o.Message = true, clauseImage }
	// The certificate of a keyless signature.
	var certificate *protobundle.VerificationMaterial_Certificate
	o := good()
	o.OnBundle = func(b *protobundle.Bundle) {
		certificate = b.VerificationMaterial.Content.(*protobundle.VerificationMaterial_Certificate) //nolint:forcetypeassert // what 0.3 has
	}
	if _, err := sig.Bundle(digest, o); err != nil {
		t.Fatal(err)
	}
	v1Time := func(o *sign) { o.NoSET = true }
	for name, tt := range map[string]struct {
		good, bad func(*sign)
		roots     func(map[string]any)
		code      verdict.Code
		text      string
	}{
		"an entry twice": {v1, onBundle(func(b *protobundle.Bundle) {
			m := b.VerificationMaterial
			m.TlogEntries = slices.Repeat(m.TlogEntries, 2)
		}), nil, verdict.LogProof, "it is there twice"},
		"a checkpoint of no tree": {v1, func(o *sign) { o.Origin = "rekor.sigstoretest.invalid" }, nil, verdict.LogProof, "is not one of Rekor v1"},
		"logged outside the certificate": {v1, func(o *sign) {
			o.OnCertificate = func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = signedAt.Add(-time.Hour), signedAt.Add(-time.Minute)
			}
		}, nil, verdict.CertExpiredAtSigning, "it was logged at"},
		"signed outside the certificate": {v2, func(o *sign) {
			o.OnCertificate = func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = signedAt.Add(-time.Hour), signedAt.Add(-time.Minute)
			}
		}, nil, verdict.CertExpiredAtSigning, "and the certificate is valid from"},
		"a certificate beside a key":          {keyedSign, onBundle(func(b *protobundle.Bundle) { b.VerificationMaterial.Content = certificate }), nil, verdict.KeyUnknown, "a certificate whose key is another"},
		"another signature of a message":      {both(keyedSign, message), onBundle(func(b *protobundle.Bundle) { s := b.GetMessageSignature().Signature; s[len(s)-1] ^= 1 }), nil, verdict.SigInvalid, "over this digest"},
		"a timestamp of nobody for the log":   {both(v1Time, func(o *sign) { o.Timestamp = true }), onToken(otherType), nil, verdict.TimeUntrusted, "no listed authority verifies any of 1"},
		"the key of the log of Rekor v2 ends": {v2, nil, ended("tlogs"), verdict.LogProof, "key was not valid at"},
		"the authority ends":                  {v2, nil, ended("certificateAuthorities"), verdict.CertExpiredAtSigning, "do not list its CA for"},
		"an older kind of entry": {v1, onBundle(func(b *protobundle.Bundle) {
			e := b.VerificationMaterial.TlogEntries[0]
			e.CanonicalizedBody = bytes.Replace(e.CanonicalizedBody, []byte(`"dsse"`), []byte(`"intoto"`), 1)
			e.KindVersion.Kind = "intoto"
		}), nil, verdict.InputUnsupported, "kind intoto 0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(roots *verifier.Roots, change ...func(*sign)) (verdict.Code, string) {
				t.Helper()
				o := good()
				for _, f := range change {
					if f != nil {
						f(&o)
					}
				}
				b, err := sig.Bundle(digest, o)
				if err != nil {
					t.Fatal(err)
				}
				one := keyless()
				if o.Key != nil {
					one = verifier.OneOff{Keys: [][]byte{public}}
				}
				v := newVerifier(t, verifier.Config{Policy: oneOff(t, one), Roots: roots, Source: verifier.ParseBundle("test", b)})
				_, code, res := verify(t.Context(), t, v, verifier.Image{Digest: digest}, now)
				text := ""
				if res != nil {
					for _, r := range res.Reasons {
						text += r.Text + "\n"
					}
				}
				return code, text
			}
			if code, text := check(changedRoots(t, rootJSON, nil), tt.good); code != "" {
				t.Fatalf("the good one: %q, %s", code, text)
			}
			if code, text := check(changedRoots(t, rootJSON, tt.roots), tt.good, tt.bad); code != tt.code || !strings.Contains(text, tt.text) {
				t.Errorf("got %q, %s, want %q with %q", code, text, tt.code, tt.text)
			}
		})
	}
}

// TestDeniedBeforeAnythingElse: a denied image is refused without asking the source.
func TestDeniedBeforeAnythingElse(t *testing.T) {
	k := newKit(t).fresh()
	absent := verifier.Image{Repository: repo, Digest: verdict.SHA256([]byte("nobody has it"))}
	for name, tt := range map[string]struct {
		deny verdict.DenyList
		want verdict.Code
	}{
		"nothing":    {verdict.DenyList{V: 1}, verdict.ImageNotFound},
		"the image":  {verdict.DenyList{V: 1, Images: []verdict.Digest{absent.Digest}}, verdict.RevokedImage},
		"repository": {verdict.DenyList{V: 1, Repositories: []string{repo}}, verdict.RevokedImage},
	} {
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source(), Deny: tt.deny})
		if ok, code, _ := verify(t.Context(), t, v, absent, now); ok || code != tt.want {
			t.Errorf("%s denied: passed %v with %q, want %q", name, ok, code, tt.want)
		}
	}
}
