// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

func TestKeyless(t *testing.T) {
	tests := []struct {
		name string
		opts func(*sigstoretest.Options)
		want verdict.Code
	}{
		{"good", func(*sigstoretest.Options) {}, ""},
		{"with timestamp too", func(o *sigstoretest.Options) { o.Timestamp = true }, ""},
		{"other subject", func(o *sigstoretest.Options) { o.Subject += "x" }, verdict.IdentitySAN},
		{"e-mail instead", func(o *sigstoretest.Options) { o.Subject = "release@acme.example" }, verdict.IdentitySAN},
		{"other name instead", func(o *sigstoretest.Options) { o.Subject = "acme!release" }, verdict.IdentitySAN},
		{"R24 issuer with a suffix", func(o *sigstoretest.Options) { o.Issuer += ".evil.example" }, verdict.IdentityIssuer},
		{"no issuer", func(o *sigstoretest.Options) { o.Issuer = "" }, verdict.IdentityIssuer},
		{"no log entry", func(o *sigstoretest.Options) { o.NoLog = true }, verdict.LogMissing},
		{"timestamp in place of the log", func(o *sigstoretest.Options) { o.NoLog, o.Timestamp = true, true }, verdict.LogMissing},
		{"no SCT", func(o *sigstoretest.Options) { o.NoSCT = true }, verdict.SCTMissing},
		{"two issuers", func(o *sigstoretest.Options) {
			o.OnCertificate = func(c *x509.Certificate) {
				for i, e := range c.ExtraExtensions {
					if e.Id.Equal(sigstoretest.Extension(1)) {
						c.ExtraExtensions[i].Value = []byte("https://other.example")
					}
				}
			}
		}, verdict.IdentityAmbiguous},
		{"two subjects", func(o *sigstoretest.Options) {
			o.OnCertificate = func(c *x509.Certificate) { c.EmailAddresses = []string{"x@acme.example"} }
		}, verdict.IdentityAmbiguous},
		{"a host name as subject", func(o *sigstoretest.Options) {
			o.OnCertificate = func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"acme.example"} }
		}, verdict.IdentityAmbiguous},
		{"certificate for servers", func(o *sigstoretest.Options) {
			o.OnCertificate = func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
		}, verdict.CertProfile},
		{"unknown critical extension", func(o *sigstoretest.Options) {
			o.OnCertificate = func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
			}
		}, verdict.CertProfile},
		{"certificate ended before", func(o *sigstoretest.Options) {
			o.OnCertificate = func(c *x509.Certificate) { c.NotBefore, c.NotAfter = o.At.Add(-time.Hour), o.At.Add(-time.Minute) }
		}, verdict.CertExpiredAtSigning},
		{"payload about another image", func(o *sigstoretest.Options) {
			o.OnPayload = func(b []byte) []byte { return otherDigest(b) }
		}, verdict.SubjectMismatch},
		{"entry of an unknown kind", func(o *sigstoretest.Options) {
			o.OnEntry = func(b []byte) []byte { return []byte(strings.Replace(string(b), `"0.0.1"`, `"0.0.9"`, 1)) }
		}, verdict.InputUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, form := range []string{"legacy", "bundle"} {
				t.Run(form, func(t *testing.T) {
					k := newKit(t)
					o := good()
					tt.opts(&o)
					if form == "legacy" {
						k.attachLayers(k.image, k.layer(k.image, o))
					} else {
						k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateSign)
					}
					res := k.want(oneOff(t, keyless()), tt.want)
					if tt.want != "" {
						return
					}
					if len(res.Identities) != 1 || res.Identities[0].SAN != subject || res.Identities[0].Issuer != issuer || !res.Identities[0].SignedAt.Equal(signedAt) || len(res.Identities[0].LogEntries) != 1 {
						t.Errorf("identities: %+v", res.Identities)
					}
					if len(res.Platforms) != 1 || !res.Platforms[0].ConfigComplete || res.Platforms[0].Layers != 1 || res.Platforms[0].String() != "linux/amd64" || res.Platforms[0].Manifest != k.image.Digest {
						t.Errorf("platforms: %+v", res.Platforms)
					}
					if !res.NotAfter.IsZero() || !res.Decided || len(res.Inputs) != 2 {
						t.Errorf("result: %+v", res)
					}
				})
			}
		})
	}
}

// otherDigest changes the first digest in a signed payload.
func otherDigest(b []byte) []byte {
	s := string(b)
	for _, mark := range []string{`"sha256":"`, `sha256:`} {
		if i := strings.Index(s, mark); i >= 0 {
			i += len(mark)
			return []byte(s[:i] + strings.Repeat("0", 64) + s[i+64:])
		}
	}
	return b
}

// changeValue flips the base64 string of the first of these members.
func changeValue(b []byte, names ...string) []byte {
	s := string(b)
	for _, n := range names {
		mark := `"` + n + `":"`
		if i := strings.Index(s, mark); i >= 0 {
			i += len(mark) + 12
			c := byte('A')
			if s[i] == 'A' {
				c = 'B'
			}
			return []byte(s[:i] + string(c) + s[i+1:])
		}
	}
	return b
}

func TestKeyed(t *testing.T) {
	for _, name := range []string{"p256", "p384", "p521", "rsa2048", "ed25519"} {
		t.Run(name, func(t *testing.T) {
			key, pub := newKey(t, name)
			_, stranger := newKey(t, name)
			for _, form := range []string{"legacy", "bundle"} {
				for _, logged := range []bool{false, true} {
					if logged && name == "ed25519" {
						continue // Rekor has no hashedrekord for it
					}
					k := newKit(t)
					o := sigstoretest.Options{Key: key, At: signedAt, NoLog: !logged}
					if form == "legacy" {
						k.attachLayers(k.image, k.layer(k.image, o))
					} else {
						k.attachBundle(k.image, k.bundle(k.image, o), "")
					}
					k.want(oneOff(t, verifier.OneOff{Keys: [][]byte{pub}}), "")
					want := verdict.LogMissing
					if logged {
						want = ""
					}
					k.want(oneOff(t, verifier.OneOff{Keys: [][]byte{pub}, RequireLog: true}), want)
					want = verdict.SigInvalid
					if logged {
						want = verdict.KeyUnknown
					}
					k.want(oneOff(t, verifier.OneOff{Keys: [][]byte{stranger}}), want)
					k.want(oneOff(t, keyless()), verdict.CertUntrusted)
				}
			}
		})
	}
}

// TestEd25519 is what the build's crypto module says about it.
func TestEd25519(t *testing.T) {
	k := newKit(t)
	key, pub := newKey(t, "ed25519")
	k.attachLayers(k.image, k.layer(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true}))
	for _, tt := range []struct {
		allow []string
		want  verdict.Code
	}{{[]string{}, ed25519Unvalidated}, {[]string{verifier.Ed25519}, ""}} {
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, verifier.OneOff{Keys: [][]byte{pub}}), Source: k.source(), AllowUnvalidated: tt.allow})
		if ok, code, _ := verify(t.Context(), t, v, k.image, now); ok != (tt.want == "") || code != tt.want {
			t.Errorf("allow %v: passed %v with %q, want %q", tt.allow, ok, code, tt.want)
		}
	}
}

func TestRequireReference(t *testing.T) {
	k := newKit(t)
	yaml := "version: 1\nauthorities:\n" + keylessYAML("release", subject) + "rules:\n  - {name: all, repositories: ['**'], authorities: [release], require-reference: true}\n"
	l, err := k.sig.Legacy("registry.example/acme/other", k.image.Digest, good())
	if err != nil {
		t.Fatal(err)
	}
	k.attachLayers(k.image, l)
	k.want(oneOff(t, keyless()), "")
	k.want(policy(t, yaml), verdict.SubjectRepository)
	k.attachLayers(k.image, l, k.layer(k.image, good()))
	k.want(policy(t, yaml), "")
	k.image = k.push("a bundle names no repository")
	k.attachBundle(k.image, k.bundle(k.image, good()), "")
	k.want(policy(t, yaml), verdict.SubjectRepository)
}

// TestKeyedCurveHash: P-384 with SHA-384, which is not what cosign does.
func TestKeyedCurveHash(t *testing.T) {
	k := newKit(t)
	key, pub := newKey(t, "p384")
	l := k.layer(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true})
	sig, err := sigstoretest.SignP384(key.(*ecdsa.PrivateKey), l.Payload)
	if err != nil {
		t.Fatal(err)
	}
	l.Annotations["dev.cosignproject.cosign/signature"] = base64.StdEncoding.EncodeToString(sig)
	k.attachLayers(k.image, l)
	k.want(oneOff(t, verifier.OneOff{Keys: [][]byte{pub}}), "")
}

func TestAllowedWithoutLog(t *testing.T) {
	k := newKit(t)
	o := good()
	o.NoLog, o.Timestamp, o.NoSCT = true, true, true
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateSign)
	yaml := "version: 1\nauthorities:\n" + keylessYAML("release", subject) + "%s" +
		"rules:\n  - {name: all, repositories: ['**'], authorities: [release]}\n"
	k.want(policy(t, strings.Replace(yaml, "%s", "", 1)), verdict.LogMissing)
	k.want(policy(t, strings.Replace(yaml, "%s", "    allow-unlogged: true\n", 1)), verdict.SCTMissing)
	k.want(policy(t, strings.Replace(yaml, "%s", "    allow-unlogged: true\n    allow-no-sct: true\n", 1)), "")
	// Inclusion alone proves no time.
	o = good()
	o.NoSET = true
	k.image = k.push("no signed entry timestamp")
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateSign)
	k.want(policy(t, strings.Replace(yaml, "%s", "", 1)), verdict.TimeUnproven)
	o.Timestamp = true
	k.image = k.push("with a timestamp")
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateSign)
	k.want(policy(t, strings.Replace(yaml, "%s", "    require-timestamp: true\n", 1)), "")
}

func TestR01LogEntryOfAnother(t *testing.T) {
	k := newKit(t)
	key, pub := newKey(t, "p256")
	other := k.push("another")
	o := sigstoretest.Options{Key: key, At: signedAt}
	a, b := k.layer(k.image, o), k.layer(other, o)
	p := oneOff(t, verifier.OneOff{Keys: [][]byte{pub}, RequireLog: true})
	k.attachLayers(k.image, a)
	k.want(p, "")
	a.Annotations["dev.sigstore.cosign/bundle"] = b.Annotations["dev.sigstore.cosign/bundle"]
	k.attachLayers(k.image, a)
	k.want(p, verdict.LogMismatch)
	// The same with an entry that nobody demanded: it is there to be believed.
	k.want(oneOff(t, verifier.OneOff{Keys: [][]byte{pub}}), verdict.LogMismatch)

	var stolen *protobundle.Bundle
	o = good()
	o.OnBundle = func(b *protobundle.Bundle) { stolen = b }
	k.bundle(other, o)
	o.OnBundle = func(b *protobundle.Bundle) {
		b.VerificationMaterial.TlogEntries = stolen.GetVerificationMaterial().GetTlogEntries()
	}
	k.image = k.push("third")
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	k.want(oneOff(t, keyless()), verdict.LogMismatch)
}

func TestR02LogEntryBody(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"other digest": func(b []byte) []byte { return otherValue(b) },
		"other key": func(b []byte) []byte {
			_, pub := newKey(t, "p256")
			return replaceMember(b, "verifier", base64.StdEncoding.EncodeToString(pub))
		},
		"other signature":    func(b []byte) []byte { return changeValue(b, "signature") },
		"other payload hash": func(b []byte) []byte { return otherValue(b) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			o := good()
			o.OnEntry = change
			k.attachBundle(k.image, k.bundle(k.image, o), "")
			k.want(oneOff(t, keyless()), verdict.LogMismatch)
		})
	}
}

func replaceMember(b []byte, name, value string) []byte {
	s := string(b)
	mark := `"` + name + `":"`
	i := strings.Index(s, mark) + len(mark)
	j := i + strings.IndexByte(s[i:], '"')
	return []byte(s[:i] + value + s[j:])
}

// otherValue changes the last digest in a log entry's body: the payload hash.
func otherValue(b []byte) []byte {
	s := string(b)
	i := strings.LastIndex(s, `"value":"`) + len(`"value":"`)
	return []byte(s[:i] + strings.Repeat("0", 64) + s[i+64:])
}

// A transport that nothing may use.
type noTransport struct{ t *testing.T }

func (n noTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s was asked", r.URL.Host)
	return nil, http.ErrHandlerTimeout
}

// TestR03NoSearch: a missing entry is not looked for at the log, where another
// person's entry might be found.
func TestR03NoSearch(t *testing.T) {
	before := http.DefaultTransport
	http.DefaultTransport = noTransport{t}
	defer func() { http.DefaultTransport = before }()
	k := newKit(t)
	o := good()
	o.NoLog = true
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	k.want(oneOff(t, keyless()), verdict.LogMissing)
}

func TestR05MessageDigest(t *testing.T) {
	k := newKit(t)
	manifest := []byte("bytes that stand for a manifest")
	k.image.Digest = verdict.SHA256(manifest)
	o := good()
	o.MessageSignature, o.Message = true, manifest
	v := func(b []byte) (bool, verdict.Code) {
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: verifier.ParseBundle("test", b)})
		ok, code, _ := verify(t.Context(), t, v, k.image, now)
		return ok, code
	}
	if ok, code := v(k.bundle(k.image, o)); !ok {
		t.Errorf("good: %q", code)
	}
	o.OnBundle = func(b *protobundle.Bundle) { b.GetMessageSignature().MessageDigest.Digest[0] ^= 1 }
	if ok, code := v(k.bundle(k.image, o)); ok || code != verdict.SubjectMismatch {
		t.Errorf("one byte changed: passed %v with %q, want %q", ok, code, verdict.SubjectMismatch)
	}
}

func TestR06FactsFromSignedBytesOnly(t *testing.T) {
	k := newKit(t)
	other := k.push("another")
	o := good()
	o.OnPayload = func(b []byte) []byte {
		return []byte(strings.Replace(string(b), `"docker-manifest-digest":`, `"docker-manifest-digest":"`+string(other.Digest)+`","docker-manifest-digest":`, 1))
	}
	l := k.layer(k.image, o)
	for _, img := range []verifier.Image{k.image, other} {
		k.image = img
		k.attachLayers(img, l)
		k.want(oneOff(t, keyless()), verdict.InputMalformed)
	}
	// The annotation names provenance, the payload is an SBOM.
	o = good()
	o.Predicate = "https://spdx.dev/Document"
	k.image = k.push("sbom")
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateProvenance)
	one := keyless()
	one.Attestation = verifier.ClassProvenance
	k.want(oneOff(t, one), verdict.SigNoneOfKind)
	one.Attestation = "https://spdx.dev/Document"
	k.want(oneOff(t, one), "")
}

func TestR07StatementParser(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(string) string
		want   verdict.Code
	}{
		{"other _type", func(s string) string {
			return strings.Replace(s, "https://in-toto.io/Statement/v1", "https://example.com/x", 1)
		}, verdict.StatementType},
		{"no _type", func(s string) string { return strings.Replace(s, `"_type"`, `"type"`, 1) }, verdict.StatementType},
		{"subject twice", func(s string) string { return strings.Replace(s, `{"_type"`, `{"subject":[],"_type"`, 1) }, verdict.InputMalformed},
		{"other case of the good subject", func(s string) string {
			i := strings.Index(s, `"subject":`)
			return s[:i] + `"Subject":` + s[i+len(`"subject":`):len(s)-1] + `,"subject":[{"digest":{"sha256":"` + strings.Repeat("0", 64) + `"}}]}`
		}, verdict.SubjectMismatch},
		{"unknown member", func(s string) string { return s[:len(s)-1] + `,"extra":1}` }, ""},
		{"upper-case digest", func(s string) string {
			i := strings.Index(s, `"sha256":"`) + len(`"sha256":"`)
			return s[:i] + strings.ToUpper(s[i:i+64]) + s[i+64:]
		}, ""},
		{"other algorithm only", func(s string) string { return strings.Replace(s, `"sha256":"`, `"gitCommit":"`, 1) }, verdict.SubjectAlgorithm},
		{"right sha256, wrong sha512", func(s string) string {
			return strings.Replace(s, `"sha256":`, `"sha512":"`+strings.Repeat("0", 128)+`","sha256":`, 1)
		}, verdict.SubjectMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			o := good()
			o.OnPayload = func(b []byte) []byte { return []byte(tt.change(string(b))) }
			k.attachBundle(k.image, k.bundle(k.image, o), "")
			k.want(oneOff(t, keyless()), tt.want)
		})
	}
}

// TestStatementForm: what is signed rightly and is no statement, or one without
// end, signs nothing.
func TestStatementForm(t *testing.T) {
	statement := func(subjects int, predicate string) func(*sigstoretest.Options, verdict.Digest) {
		return func(o *sigstoretest.Options, d verdict.Digest) {
			one := `{"digest":{"sha256":"` + d.Hex() + `"}}`
			o.OnPayload = func([]byte) []byte {
				return []byte(`{"_type":"https://in-toto.io/Statement/v1",` + predicate + `"predicate":{},"subject":[` + strings.Repeat(one+",", subjects-1) + one + `]}`)
			}
		}
	}
	named := `"predicateType":"` + verifier.PredicateSign + `",`
	for _, tt := range []struct {
		name   string
		change func(*sigstoretest.Options, verdict.Digest)
		want   verdict.Code
	}{
		{"good", statement(1, named), ""},
		{"as many subjects as may be", statement(1024, named), ""},
		{"one subject more", statement(1025, named), verdict.InputMalformed},
		{"no predicate type", statement(1, ""), verdict.InputMalformed},
		{"an empty predicate type", statement(1, `"predicateType":"",`), verdict.InputMalformed},
		{"another payload type", func(o *sigstoretest.Options, _ verdict.Digest) {
			o.OnBundle = func(b *protobundle.Bundle) { b.GetDsseEnvelope().PayloadType = "application/json" }
		}, verdict.StatementType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			o := good()
			tt.change(&o, k.image.Digest)
			k.attachBundle(k.image, k.bundle(k.image, o), "")
			k.want(oneOff(t, keyless()), tt.want)
		})
	}
}

func TestR11AnotherPredicate(t *testing.T) {
	k := newKit(t)
	one := keyless()
	one.Attestation = verifier.PredicateProvenance
	o := good()
	o.Predicate = "https://spdx.dev/Document"
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	k.want(oneOff(t, one), verdict.SigNoneOfKind)
	o = good()
	o.Predicate, o.Subject = verifier.PredicateProvenance, "https://github.com/stranger/app/.github/workflows/x.yaml@refs/heads/main"
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateProvenance)
	k.want(oneOff(t, one), verdict.IdentitySAN)
	// A prefix is another type.
	o = good()
	o.Predicate = verifier.PredicateProvenance + "evil"
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateProvenance)
	k.want(oneOff(t, one), verdict.IdentitySAN)
	o.Predicate = verifier.PredicateProvenance
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateProvenance)
	k.want(oneOff(t, one), "")
}

func TestR12UnreadablePayload(t *testing.T) {
	for payload, want := range map[string]verdict.Code{
		"not json": verdict.InputMalformed,
		"{}":       verdict.StatementType,
		`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://sigstore.dev/cosign/sign/v1","subject":[]}`: verdict.SubjectMismatch,
	} {
		k := newKit(t)
		o := good()
		o.OnPayload = func([]byte) []byte { return []byte(payload) }
		k.attachBundle(k.image, k.bundle(k.image, o), "")
		k.want(oneOff(t, keyless()), want)
	}
	// Of two demanded attestations the second is about another image.
	k := newKit(t)
	p := policy(t, "version: 1\nauthorities:\n"+keylessYAML("release", subject)+
		"rules:\n  - name: all\n    repositories: ['**']\n    attestations:\n      - {predicate-type: 'https://spdx.dev/Document', authorities: [release]}\n      - {predicate-type: slsaprovenance, authorities: [release]}\n")
	o := good()
	o.Predicate = "https://spdx.dev/Document"
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	o.Predicate = verifier.PredicateProvenance
	wrong := o
	wrong.OnPayload = otherDigest
	k.attachBundle(k.image, k.bundle(k.image, wrong), "")
	k.want(p, verdict.SubjectMismatch)
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	k.want(p, "")
}

func TestR13StatementIsNoSignature(t *testing.T) {
	k := newKit(t)
	o := good()
	o.Predicate = "https://spdx.dev/Document"
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateSign)
	k.want(oneOff(t, keyless()), verdict.SigNoneOfKind)
	k.attachBundle(k.image, k.bundle(k.image, good()), "")
	k.want(oneOff(t, keyless()), "")
}

func TestR14EmptySignature(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*protobundle.Bundle)
		want   verdict.Code
	}{
		{"no signatures", func(b *protobundle.Bundle) { b.GetDsseEnvelope().Signatures = nil }, verdict.InputMalformed},
		{"empty signature", func(b *protobundle.Bundle) { b.GetDsseEnvelope().Signatures[0].Sig = nil }, verdict.InputMalformed},
		{"two signatures", func(b *protobundle.Bundle) {
			e := b.GetDsseEnvelope()
			e.Signatures = append(e.Signatures, &protodsse.Signature{Sig: e.Signatures[0].Sig, Keyid: "another"})
		}, verdict.InputMalformed},
		{"no log entries", func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = nil }, verdict.LogMissing},
		{"no certificate", func(b *protobundle.Bundle) { b.VerificationMaterial.Content = nil }, verdict.InputMalformed},
		{"empty certificate", func(b *protobundle.Bundle) {
			b.VerificationMaterial.GetCertificate().RawBytes = nil
		}, verdict.InputMalformed},
		{"payload changed", func(b *protobundle.Bundle) {
			b.GetDsseEnvelope().Payload = append(b.GetDsseEnvelope().Payload, ' ')
		}, verdict.SigInvalid},
		{"newer version", func(b *protobundle.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.9+json" }, verdict.InputUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			o := good()
			o.OnBundle = tt.change
			k.attachBundle(k.image, k.bundle(k.image, o), "")
			k.want(oneOff(t, keyless()), tt.want)
		})
	}
}

func TestR16LegacyAnnotations(t *testing.T) {
	for _, tt := range []struct {
		name, key, value string
		want             verdict.Code
	}{
		{"certificate empty", "dev.sigstore.cosign/certificate", "", verdict.InputMalformed},
		{"certificate is none", "dev.sigstore.cosign/certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", verdict.InputMalformed},
		{"signature empty", "dev.cosignproject.cosign/signature", "", verdict.InputMalformed},
		{"signature not base64", "dev.cosignproject.cosign/signature", "!", verdict.InputMalformed},
		{"log entry empty", "dev.sigstore.cosign/bundle", "", verdict.InputMalformed},
		{"log entry an object", "dev.sigstore.cosign/bundle", "{}", verdict.InputMalformed},
		{"timestamp empty", "dev.sigstore.cosign/rfc3161timestamp", "{}", verdict.InputMalformed},
		{"timestamp of nobody", "dev.sigstore.cosign/rfc3161timestamp", `{"SignedRFC3161Timestamp":"AAAA"}`, verdict.TimeUntrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			l := k.layer(k.image, good())
			l.Annotations[tt.key] = tt.value
			k.attachLayers(k.image, l)
			p := oneOff(t, keyless())
			if tt.want == verdict.TimeUntrusted {
				p = policy(t, "version: 1\nauthorities:\n"+keylessYAML("release", subject)+"    require-timestamp: true\nrules:\n  - {name: all, repositories: ['**'], authorities: [release]}\n")
			}
			k.want(p, tt.want)
		})
	}
}

func TestSimpleSigningType(t *testing.T) {
	k := newKit(t)
	o := good()
	o.OnPayload = func(b []byte) []byte {
		return []byte(strings.Replace(string(b), "cosign container image signature", "something else", 1))
	}
	k.attachLayers(k.image, k.layer(k.image, o))
	k.want(oneOff(t, keyless()), verdict.StatementType)
}

// TestR23EveryDemandCounts: each extension alone, with a value that the signer
// does not have, refuses; with the signer's value it passes.
func TestR23EveryDemandCounts(t *testing.T) {
	values := map[int]string{}
	names := map[string]int{}
	for n, name := range extensionNames(t) {
		values[n] = "value-" + name
		names[name] = n
	}
	k := newKit(t)
	o := good()
	o.Extensions = values
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	for name := range names {
		for value, want := range map[string]verdict.Code{"value-" + name: "", "other": verdict.IdentityExtension} {
			k.want(policy(t, "version: 1\nauthorities:\n"+keylessYAML("release", subject)+
				"      extensions:\n        "+name+": "+value+"\nrules:\n  - {name: all, repositories: ['**'], authorities: [release]}\n"), want)
		}
	}
}

// TestR26NameConstraints: each of several constraints counts, and letters of
// either case are the same domain.
func TestR26NameConstraints(t *testing.T) {
	permits := func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"a.example", "b.example"} }
	excludes := func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"other.example", "Evil.example"} }
	for _, tt := range []struct {
		name    string
		issuer  func(*x509.Certificate)
		subject string
		want    verdict.Code
	}{
		{"no constraint", nil, "x@c.example", ""},
		{"first permitted", permits, "x@a.example", ""},
		{"last permitted", permits, "x@b.example", ""},
		{"not permitted", permits, "x@c.example", verdict.CertUntrusted},
		{"excluded", excludes, "x@Evil.example", verdict.CertUntrusted},
		{"excluded in other letters", excludes, "x@evil.example", verdict.CertUntrusted},
		{"excluded first", excludes, "x@other.example", verdict.CertUntrusted},
		{"not excluded", excludes, "x@good.example", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			s, err := sigstoretest.New(sigstoretest.Config{At: now, OnIssuer: tt.issuer})
			if err != nil {
				t.Fatal(err)
			}
			k.sig, k.roots = s, rootsOf(t, s)
			o, one := good(), keyless()
			o.Subject, one.Identity = tt.subject, tt.subject
			k.attachBundle(k.image, k.bundle(k.image, o), "")
			k.want(oneOff(t, one), tt.want)
		})
	}
	t.Run("a subject is compared as it is", func(t *testing.T) {
		k := newKit(t)
		o, one := good(), keyless()
		o.Subject, one.Identity = "x@a.example", "x@A.example"
		k.attachBundle(k.image, k.bundle(k.image, o), "")
		k.want(oneOff(t, one), verdict.IdentitySAN)
	})
}

// TestFutureTime: a time of signing that is still to come is proof of a wrong
// clock, the log's or ours, and of nothing else.
func TestFutureTime(t *testing.T) {
	key, pub := newKey(t, "p256")
	byKey := verifier.OneOff{Keys: [][]byte{pub}}
	for _, tt := range []struct {
		name    string
		options sigstoretest.Options
		demand  verifier.OneOff
	}{
		{"entry of a log", good(), keyless()},
		{"timestamp", sigstoretest.Options{Issuer: issuer, Subject: subject, Timestamp: true, NoSET: true}, keyless()},
		{"timestamp over a key's signature", sigstoretest.Options{Key: key, Timestamp: true, NoLog: true}, byKey},
	} {
		for _, skew := range []struct {
			ahead time.Duration
			want  verdict.Code
		}{{verdict.MaxSkew, ""}, {verdict.MaxSkew + time.Second, verdict.TimeUntrusted}, {1000 * time.Hour, verdict.TimeUntrusted}} {
			t.Run(fmt.Sprint(tt.name, " ", skew.ahead), func(t *testing.T) {
				k := newKit(t)
				o := tt.options
				o.At = now.Add(skew.ahead)
				k.attachBundle(k.image, k.bundle(k.image, o), "")
				k.want(oneOff(t, tt.demand), skew.want)
			})
		}
	}
}

func TestR30ExpiredIntermediate(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  time.Time
		want verdict.Code
	}{
		{"ended before signing", signedAt.Add(-time.Hour), verdict.CertExpiredAtSigning},
		{"ended after signing", signedAt.Add(time.Hour), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			s, err := sigstoretest.New(sigstoretest.Config{At: now, IntermediateEnd: tt.end, NoLog: true})
			if err != nil {
				t.Fatal(err)
			}
			k.sig, k.roots = s, rootsOf(t, s)
			o := good()
			o.NoLog, o.Timestamp = true, true
			k.attachBundle(k.image, k.bundle(k.image, o), "")
			k.want(oneOff(t, keyless()), tt.want)
		})
	}
}

func TestR31KeyWindow(t *testing.T) {
	key, pub := newKey(t, "p256")
	p := policy(t, "version: 1\nauthorities:\n"+keyYAML("old", pub)+
		"      not-before: 2026-01-01T00:00:00Z\n      not-after: 2026-06-30T00:00:00Z\n"+
		"rules:\n  - {name: all, repositories: ['**'], authorities: [old]}\n")
	for _, tt := range []struct {
		name   string
		at     time.Time
		proven bool
		want   verdict.Code
	}{
		{"signed after the window", time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC), true, verdict.KeyWindow},
		{"signed in the window", time.Date(2026, 5, 15, 0, 0, 0, 0, time.UTC), true, ""},
		{"signed at its end", time.Date(2026, 6, 30, 0, 0, 0, 0, time.UTC), true, ""},
		{"no time, now is after", time.Date(2026, 5, 15, 0, 0, 0, 0, time.UTC), false, verdict.KeyWindow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			k.attachLayers(k.image, k.layer(k.image, sigstoretest.Options{Key: key, At: tt.at, NoLog: true, Timestamp: tt.proven}))
			k.want(p, tt.want)
		})
	}
	t.Run("no time, now is in the window", func(t *testing.T) {
		k := newKit(t)
		k.attachLayers(k.image, k.layer(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true}))
		v := newVerifier(t, verifier.Config{Policy: p, Roots: k.roots, Source: k.source()})
		ok, code, res := verify(t.Context(), t, v, k.image, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
		if !ok || !res.NotAfter.Equal(time.Date(2026, 6, 30, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("passed %v with %q until %v", ok, code, res.NotAfter)
		}
		// The cache forgets it with the window.
		if ok, code, _ := verify(t.Context(), t, v, k.image, now); ok || code != verdict.KeyWindow {
			t.Errorf("after the window: passed %v with %q", ok, code)
		}
	})
}

// TestR32TimestampBag: the token is signed by a key whose certificate is not one
// for timestamps, and the genuine one is in the bag beside it: first or last,
// under the same issuer and serial number or another.
func TestR32TimestampBag(t *testing.T) {
	key, pub := newKey(t, "p256")
	p := policy(t, "version: 1\nauthorities:\n"+keyYAML("k", pub)+"    require-timestamp: true\nrules:\n  - {name: all, repositories: ['**'], authorities: [k]}\n")
	k := newKit(t)
	genuine := k.sig.TimestampLeaf()
	attack := func(serial *big.Int, usage x509.ExtKeyUsage) (*x509.Certificate, crypto.Signer) {
		own, _ := newKey(t, "p256")
		template := &x509.Certificate{SerialNumber: serial, Subject: genuine.Subject, NotBefore: genuine.NotBefore, NotAfter: genuine.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
		der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: genuine.Issuer}, own.Public(), own)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return leaf, own
	}
	sameName, sameNameKey := attack(genuine.SerialNumber, x509.ExtKeyUsageCodeSigning)
	sameUsage, sameUsageKey := attack(genuine.SerialNumber, x509.ExtKeyUsageTimeStamping)
	other, otherKey := attack(big.NewInt(77), x509.ExtKeyUsageCodeSigning)
	for _, tt := range []struct {
		name          string
		leaf          *x509.Certificate // nil: the genuine one
		key           crypto.Signer
		before, after []*x509.Certificate // in the bag, around the leaf
		want          verdict.Code
	}{
		{name: "genuine"},
		{name: "genuine, with a stranger behind it", after: []*x509.Certificate{other}},
		{name: "another serial number, genuine first", leaf: other, key: otherKey, before: []*x509.Certificate{genuine}, want: verdict.TimeUntrusted},
		{name: "another serial number, genuine last", leaf: other, key: otherKey, after: []*x509.Certificate{genuine}, want: verdict.TimeUntrusted},
		{name: "the same name and number, genuine first", leaf: sameName, key: sameNameKey, before: []*x509.Certificate{genuine}, want: verdict.TimeUntrusted},
		{name: "the same name and number, genuine last", leaf: sameName, key: sameNameKey, after: []*x509.Certificate{genuine}, want: verdict.TimeUntrusted},
		{name: "the same usage too, genuine first", leaf: sameUsage, key: sameUsageKey, before: []*x509.Certificate{genuine}, want: verdict.TimeUntrusted},
		{name: "the same usage too, genuine last", leaf: sameUsage, key: sameUsageKey, after: []*x509.Certificate{genuine}, want: verdict.TimeUntrusted},
		{name: "the genuine certificate over the stranger's signature", leaf: genuine, key: otherKey, want: verdict.TimeUntrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			l := k.layer(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true, Timestamp: true})
			sig, err := base64.StdEncoding.DecodeString(l.Annotations["dev.cosignproject.cosign/signature"])
			if err != nil {
				t.Fatal(err)
			}
			leaf, token := genuine, []byte(nil)
			if tt.leaf == nil {
				token, err = k.sig.Timestamp(sig, signedAt)
			} else {
				leaf = tt.leaf
				token, err = sigstoretest.TimestampBy(leaf, tt.key, sig, signedAt)
			}
			if err != nil {
				t.Fatal(err)
			}
			var bag []byte
			for _, c := range slices.Concat(tt.before, []*x509.Certificate{leaf}, tt.after) {
				bag = append(bag, c.Raw...)
			}
			if n := bytes.Count(token, leaf.Raw); n != 1 {
				t.Fatalf("the certificate is in the token %d times", n)
			}
			text, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": replaceDER(t, token, leaf.Raw, bag)})
			if err != nil {
				t.Fatal(err)
			}
			l.Annotations["dev.sigstore.cosign/rfc3161timestamp"] = string(text)
			k.attachLayers(k.image, l)
			k.want(p, tt.want)
		})
	}
}

// replaceDER replaces an element below constructed ones by others, and mends the
// lengths around them.
func replaceDER(t *testing.T, der, element, by []byte) []byte {
	t.Helper()
	var out []byte
	for rest := der; len(rest) > 0; {
		var v asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			t.Fatal(err)
		}
		switch {
		case bytes.Equal(v.FullBytes, element):
			out = append(out, by...)
			continue
		case v.IsCompound && bytes.Contains(v.Bytes, element):
			v.Bytes = replaceDER(t, v.Bytes, element, by)
		}
		v.FullBytes = nil
		again, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, again...)
	}
	return out
}

// TestR32TimestampOfAnother: a token of a stranger, and a genuine one over another
// signature.
func TestR32TimestampOfAnother(t *testing.T) {
	k := newKit(t)
	stranger, err := sigstoretest.New(sigstoretest.Config{At: now})
	if err != nil {
		t.Fatal(err)
	}
	key, pub := newKey(t, "p256")
	l := k.layer(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true, Timestamp: true})
	sig, err := base64.StdEncoding.DecodeString(l.Annotations["dev.cosignproject.cosign/signature"])
	if err != nil {
		t.Fatal(err)
	}
	p := policy(t, "version: 1\nauthorities:\n"+keyYAML("k", pub)+"    require-timestamp: true\nrules:\n  - {name: all, repositories: ['**'], authorities: [k]}\n")
	k.attachLayers(k.image, l)
	k.want(p, "")
	token, err := stranger.Timestamp(sig, signedAt)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": token})
	if err != nil {
		t.Fatal(err)
	}
	l.Annotations["dev.sigstore.cosign/rfc3161timestamp"] = string(text)
	k.attachLayers(k.image, l)
	k.want(p, verdict.TimeUntrusted)
	// A genuine token, over another signature.
	if token, err = k.sig.Timestamp([]byte("another signature"), signedAt); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(map[string]any{"SignedRFC3161Timestamp": token}); err != nil {
		t.Fatal(err)
	}
	l.Annotations["dev.sigstore.cosign/rfc3161timestamp"] = string(text)
	k.attachLayers(k.image, l)
	k.want(p, verdict.TimeUntrusted)
}

func TestR35NoTrustMaterial(t *testing.T) {
	k := newKit(t)
	s, err := sigstoretest.New(sigstoretest.Config{At: now, NoLog: true, NoTimestamps: true})
	if err != nil {
		t.Fatal(err)
	}
	one := keyless()
	for name, roots := range map[string]*verifier.Roots{"no log and no timestamps": rootsOf(t, s), "no roots": nil} {
		_, err := verifier.New(verifier.Config{Policy: oneOff(t, one), Roots: roots, Source: k.source()})
		wantMisuse(t, name, err, string(verdict.TrustMissing))
	}
	_, pub := newKey(t, "p256")
	_, err = verifier.New(verifier.Config{Policy: oneOff(t, verifier.OneOff{Keys: [][]byte{pub}, RequireLog: true}), Source: k.source()})
	wantMisuse(t, "key with log", err, string(verdict.TrustMissing))
}

func TestUnknownBundleMember(t *testing.T) {
	k := newKit(t)
	b := k.bundle(k.image, good())
	b = append(b[:len(b)-1:len(b)-1], []byte(`,"brandNew":1}`)...)
	k.attachBundle(k.image, b, "")
	k.want(oneOff(t, keyless()), verdict.InputUnsupported)
	k.image = k.push("truncated")
	k.attachBundle(k.image, b[:len(b)/2], "")
	k.want(oneOff(t, keyless()), verdict.InputMalformed)
}

// TestR57HostileCertificates: unusual certificates give a code, in no time.
func TestR57HostileCertificates(t *testing.T) {
	k := newKit(t)
	o := good()
	o.OnCertificate = func(c *x509.Certificate) {
		for range 200 {
			c.URIs = append(c.URIs, &url.URL{Scheme: "https", Host: "many.example"})
		}
	}
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	k.want(oneOff(t, keyless()), verdict.IdentityAmbiguous)
	o = good()
	o.OnCertificate = func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: sigstoretest.Extension(12), Value: []byte{0x0c, 0x7f}})
	}
	k.image = k.push("broken extension")
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	k.want(oneOff(t, keyless()), verdict.InputMalformed)
}

// TestTimestampBytes: a timestamp is accepted only where the library accepts it,
// whichever of its bytes is another, and the good one is accepted. What is refused
// beyond that has clauses of its own.
func TestTimestampBytes(t *testing.T) {
	k := newKit(t)
	sig := []byte("signature")
	token, err := k.sig.Timestamp(sig, signedAt)
	if err != nil {
		t.Fatal(err)
	}
	if err, theirs := k.roots.TestingOnlyStamp(token, sig); err != nil || theirs != nil {
		t.Fatalf("the good one: got %v, and of the library %v", err, theirs)
	}
	if err, _ := k.roots.TestingOnlyStamp(token, []byte("another")); err == nil {
		t.Error("it is accepted over something else")
	}
	bad := bytes.Clone(token)
	for i := range bad {
		bad[i] ^= 1 << (i % 8)
		if err, theirs := k.roots.TestingOnlyStamp(bad, sig); err == nil && theirs != nil {
			t.Errorf("byte %d: accepted, and of the library %v", i, theirs)
		}
		bad[i] = token[i]
	}
	for _, at := range []time.Time{signedAt.AddDate(-30, 0, 0), signedAt.AddDate(30, 0, 0)} {
		token, err := k.sig.Timestamp(sig, at)
		if err != nil {
			t.Fatal(err)
		}
		if err, theirs := k.roots.TestingOnlyStamp(token, sig); err == nil || theirs == nil {
			t.Errorf("at %s: got %v, and of the library %v", at, err, theirs)
		}
	}
}

// TestSCTInvalid: a certificate-transparency timestamp counts only of a log that the
// trust roots list for its time.
func TestSCTInvalid(t *testing.T) {
	k := newKit(t)
	k.attachBundle(k.image, k.bundle(k.image, good()), "")
	if ok, code, _ := k.check(oneOff(t, keyless())); !ok {
		t.Fatalf("the good one: refused with %q", code)
	}
	for name, change := range map[string]func(log map[string]any){
		"a window that is over": func(log map[string]any) {
			log["publicKey"].(map[string]any)["validFor"] = map[string]any{"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
		},
		"another log": func(log map[string]any) {
			log["logId"] = map[string]any{"keyId": make([]byte, 32)}
		},
		"another key": func(log map[string]any) {
			_, pub := newKey(t, "p256")
			block, _ := pem.Decode(pub)
			log["publicKey"].(map[string]any)["rawBytes"] = block.Bytes
		},
	} {
		data, err := k.sig.TrustedRoot()
		if err != nil {
			t.Fatal(err)
		}
		var root map[string]any
		if err := json.Unmarshal(data, &root); err != nil {
			t.Fatal(err)
		}
		change(root["ctlogs"].([]any)[0].(map[string]any))
		roots, err := verifier.ParseRoots([]byte(mustJSON(t, root)))
		if err != nil {
			t.Fatal(err)
		}
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: roots, Source: k.source()})
		if ok, code, _ := verify(t.Context(), t, v, k.image, now); ok || code != verdict.SCTInvalid {
			t.Errorf("%s: passed %v with %q, want %q", name, ok, code, verdict.SCTInvalid)
		}
	}
}
