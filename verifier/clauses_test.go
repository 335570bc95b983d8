// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	plain "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// whole is an instance with everything that bundles can rest on.
var whole = sync.OnceValues(func() (*sigstoretest.Sigstore, error) {
	return sigstoretest.New(sigstoretest.Config{At: now, RekorV2: true, SecondLog: true, SecondTSA: true})
})

// accept and refuse are what sigstore-go alone says of the changed bundle.
const (
	accept = true
	refuse = false
)

type sign = sigstoretest.Options

// A clause is one of docs/clauses.md: a good twin, and one change to it.
type clause struct {
	name  string
	good  func(*sign)
	bad   func(*sign)
	code  verdict.Code
	plain bool
}

func onLeaf(f func(*x509.Certificate)) func(*sign) {
	return func(o *sign) { o.OnCertificate = f }
}

func onBundle(f func(*protobundle.Bundle)) func(*sign) {
	return func(o *sign) { o.OnBundle = f }
}

func onEntry(f func(*protorekor.TransparencyLogEntry)) func(*sign) {
	return onBundle(func(b *protobundle.Bundle) { f(b.VerificationMaterial.TlogEntries[0]) })
}

func onJSON(old, by string) func(*sign) {
	return func(o *sign) {
		o.OnJSON = func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				panic("clauses_test: nothing to change: " + old)
			}
			return bytes.Replace(b, []byte(old), []byte(by), 1)
		}
	}
}

func extension(id asn1.ObjectIdentifier, value []byte) func(*sign) {
	return onLeaf(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value})
	})
}

func v1(*sign)        {}
func message(o *sign) { o.MessageSignature, o.Message = true, clauseImage }
func v01(o *sign)     { o.Version = "0.1" }
func v02(o *sign)     { o.Version = "0.2" }
func v2(o *sign)      { o.Log, o.Timestamp = sigstoretest.V2Log, true }

func both(fs ...func(*sign)) func(*sign) {
	return func(o *sign) {
		for _, f := range fs {
			f(o)
		}
	}
}

// keyed signs with a key of that kind.
func keyed(t *testing.T, kind string) func(*sign) {
	key, _ := newKey(t, kind)
	return func(o *sign) { o.Key = key }
}

// leafRSA has an RSA key of that many bits certified.
func leafRSA(t *testing.T, bits int) func(*sign) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *sign) { o.LeafKey = key }
}

// sanExtension is a URI as subject alternative name.
func sanExtension(critical bool) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		name, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(subject)}})
		if err != nil {
			panic(err)
		}
		c.URIs = nil
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: critical, Value: name})
	}
}

func authorityKeyID(id []byte) []byte {
	der, err := asn1.Marshal(struct {
		ID []byte `asn1:"optional,tag:0"`
	}{id})
	if err != nil {
		panic(err)
	}
	return der
}

func clauses(t *testing.T) []clause {
	return []clause{
		// Bundle.
		{"bundle-media-type", v1, onBundle(func(b *protobundle.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.3.7+json" }), verdict.InputUnsupported, accept},
		{"bundle-media-type-future", v1, onBundle(func(b *protobundle.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.4+json" }), verdict.InputUnsupported, refuse},
		{"bundle-camel-case", v1, onJSON(`"mediaType"`, `"media_type"`), verdict.InputMalformed, accept},
		{"bundle-enum-string", message, onJSON(`"SHA2_256"`, `1`), verdict.InputMalformed, accept},
		{"bundle-certificate-before-0.3", v02, onBundle(func(b *protobundle.Bundle) {
			m := b.VerificationMaterial
			m.Content = &protobundle.VerificationMaterial_Certificate{Certificate: m.GetX509CertificateChain().GetCertificates()[0]}
		}), verdict.InputMalformed, accept},
		{"bundle-chain-in-0.3", v1, onBundle(func(b *protobundle.Bundle) {
			m := b.VerificationMaterial
			m.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{m.GetCertificate()}}}
		}), verdict.InputMalformed, refuse},
		{"bundle-promise-0.1", both(v01, func(o *sign) { o.More = []sigstoretest.Log{sigstoretest.SecondLog} }), onBundle(func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries[1].InclusionPromise = nil }), verdict.InputMalformed, accept},
		{"bundle-proof-0.2", both(v02, func(o *sign) { o.More = []sigstoretest.Log{sigstoretest.SecondLog} }), onBundle(func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries[1].InclusionProof = nil }), verdict.InputMalformed, accept},
		{"bundle-key-hint", keyed(t, "p256"), onBundle(func(b *protobundle.Bundle) { b.GetDsseEnvelope().Signatures[0].Keyid = "another" }), verdict.InputMalformed, refuse},
		{"bundle-one-signature", v1, onBundle(func(b *protobundle.Bundle) {
			e := b.GetDsseEnvelope()
			e.Signatures = append(e.Signatures, e.Signatures[0])
		}), verdict.InputMalformed, refuse},
		{"bundle-payload-type", v1, onBundle(func(b *protobundle.Bundle) { b.GetDsseEnvelope().PayloadType = "text/plain" }), verdict.StatementType, refuse},

		// Log entries of any version.
		{"entry-kind-version", v1, onEntry(func(e *protorekor.TransparencyLogEntry) { e.KindVersion.Kind = "hashedrekord" }), verdict.LogMismatch, accept},
		{"entry-tree-size", v2, onEntry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.TreeSize++ }), verdict.LogProof, accept},
		{"entry-root-hash", v2, onEntry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.RootHash[0] ^= 1 }), verdict.LogProof, accept},
		{"entry-root-hash-v1", v1, onEntry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.RootHash[0] ^= 1 }), verdict.LogProof, refuse},
		{"entry-every-promise", func(o *sign) { o.More = []sigstoretest.Log{sigstoretest.SecondLog} }, onBundle(func(b *protobundle.Bundle) {
			s := b.VerificationMaterial.TlogEntries[1].InclusionPromise.SignedEntryTimestamp
			s[len(s)-1] ^= 1
		}), verdict.LogProof, accept},
		{"entry-every-promise-v2", both(v2, func(o *sign) { o.More = []sigstoretest.Log{sigstoretest.FirstLog} }), onBundle(func(b *protobundle.Bundle) {
			s := b.VerificationMaterial.TlogEntries[1].InclusionPromise.SignedEntryTimestamp
			s[len(s)-1] ^= 1
		}), verdict.LogProof, accept},
		{"entry-promise", v1, onEntry(func(e *protorekor.TransparencyLogEntry) {
			s := e.InclusionPromise.SignedEntryTimestamp
			s[len(s)-1] ^= 1
		}), verdict.LogProof, refuse},
		{"entry-log-listed", v1, func(o *sign) { o.Log = sigstoretest.StrangeLog }, verdict.LogMissing, refuse},
		{"entry-signature", both(v1, message), func(o *sign) { o.OnEntry = otherSignature }, verdict.InputMalformed, refuse},
		{"entry-of-another-log", both(v1, message, func(o *sign) { o.More = []sigstoretest.Log{sigstoretest.StrangeLog} }), onBundle(func(b *protobundle.Bundle) {
			e := b.VerificationMaterial.TlogEntries[1]
			e.CanonicalizedBody = otherSignature(e.CanonicalizedBody)
		}), verdict.InputMalformed, refuse},
		{"entry-checkpoint-signature", v2, onEntry(func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Checkpoint.Envelope = strings.Replace(e.InclusionProof.Checkpoint.Envelope, "\n2\n", "\n3\n", 1)
		}), verdict.LogProof, refuse},
		{"entry-checkpoint-signature-v1", v1, onEntry(func(e *protorekor.TransparencyLogEntry) {
			c := []byte(e.InclusionProof.Checkpoint.Envelope)
			if c[len(c)-20]++; c[len(c)-20] > 'y' {
				c[len(c)-20] = 'A'
			}
			e.InclusionProof.Checkpoint.Envelope = string(c)
		}), verdict.LogProof, refuse},
		{"entry-checkpoint-name", v1, onEntry(func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Checkpoint.Envelope = strings.Replace(e.InclusionProof.Checkpoint.Envelope, "— rekor.", "— another.", 1)
		}), verdict.LogProof, accept},
		{"entry-hashes", v2, onEntry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.Hashes[0][0] ^= 1 }), verdict.LogProof, refuse},
		{"entry-hashes-v1", v1, onEntry(func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Hashes = append(e.InclusionProof.Hashes, make([]byte, 32))
		}), verdict.LogProof, refuse},
		{"entry-proof-index-v1", v1, onEntry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.LogIndex = -1 }), verdict.LogProof, refuse},

		// Rekor v2.
		{"rekor2-time", v2, onEntry(func(e *protorekor.TransparencyLogEntry) { e.IntegratedTime = signedAt.Unix() }), verdict.InputMalformed, accept},
		{"rekor2-promise", both(v2, func(o *sign) { o.More = []sigstoretest.Log{sigstoretest.FirstLog} }), onEntry(func(e *protorekor.TransparencyLogEntry) {
			e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: []byte("promise")}
		}), verdict.InputMalformed, accept},
		{"rekor2-proof-index", v2, onEntry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.LogIndex = 0 }), verdict.LogProof, accept},
		{"rekor2-proof", v2, onEntry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof = nil }), verdict.InputMalformed, refuse},
		{"rekor2-body", v2, onEntry(func(e *protorekor.TransparencyLogEntry) { e.CanonicalizedBody = otherSignature(e.CanonicalizedBody) }), verdict.LogMismatch, accept},
		{"rekor2-checkpoint-of-v1", v2, func(o *sign) { o.Origin, o.OnEntry = "log2026-1.sigstoretest.invalid - 1", otherSignature }, verdict.LogProof, accept},
		{"rekor2-origin", v2, func(o *sign) { o.Origin = "another.sigstoretest.invalid" }, verdict.LogProof, refuse},
		{"rekor2-leaf", v2, func(o *sign) { o.OnEntry = otherSignature }, verdict.LogMismatch, refuse},
		{"rekor2-timestamp", v2, func(o *sign) { o.Timestamp = false }, verdict.TimeUnproven, refuse},
		{"rekor2-hash-of-key", both(keyed(t, "p384"), v2, func(o *sign) { o.OwnHash = true }), func(o *sign) { o.OwnHash = false }, verdict.LogMismatch, refuse},

		{"rekor2-plain-ed25519", keyed(t, "ed25519"), v2, verdict.SigAlgorithm, accept},

		// Timestamps.
		{"timestamp-imprint", func(o *sign) { o.Timestamp, o.SecondTimestamp = true, true }, onBundle(func(b *protobundle.Bundle) {
			sig, err := whole()
			if err != nil {
				panic(err)
			}
			token, err := sig.Timestamp([]byte("another signature"), signedAt)
			if err != nil {
				panic(err)
			}
			b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp = token
		}), verdict.TimeUntrusted, accept},
		{"timestamp-readable", func(o *sign) { o.Timestamp, o.SecondTimestamp = true, true }, onBundle(func(b *protobundle.Bundle) {
			b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp = []byte("no timestamp")
		}), verdict.TimeUntrusted, accept},
		{"timestamp-in-validity", func(o *sign) { o.Timestamp = true }, onBundle(func(b *protobundle.Bundle) {
			sig, err := whole()
			if err != nil {
				panic(err)
			}
			token, err := sig.Timestamp(b.GetDsseEnvelope().Signatures[0].Sig, signedAt.Add(time.Hour))
			if err != nil {
				panic(err)
			}
			b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp = token
		}), verdict.CertExpiredAtSigning, refuse},

		{"timestamp-content", v2, onToken(func(token []byte) []byte { return otherType(token) }), verdict.TimeUntrusted, accept},
		{"timestamp-content-type", v2, resigned(func(a []byte) []byte { return otherType(a) }), verdict.TimeUntrusted, accept},
		{"timestamp-certificate", v2, resigned(otherCertificate), verdict.TimeUntrusted, accept},
		{"timestamp-der", v2, onToken(func(token []byte) []byte { // a set that ends within its only member
			at := bytes.Index(token, append([]byte{0x31, 13, 6, 11}, tstInfo...))
			out := bytes.Clone(token)
			out[at+1]--
			return out
		}), verdict.TimeUntrusted, accept},

		// Fulcio's issued certificate.
		{"leaf-key-usage-only", v1, onLeaf(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }), verdict.CertProfile, accept},
		{"leaf-key-usage", v1, onLeaf(func(c *x509.Certificate) { c.KeyUsage = 0 }), verdict.CertProfile, accept},
		{"leaf-extended-key-usage-only", v1, onLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }), verdict.CertProfile, accept},
		{"leaf-extended-key-usage-any", v1, onLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), verdict.CertProfile, accept},
		{"leaf-extended-key-usage", v1, onLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), verdict.CertProfile, accept},
		{"leaf-is-no-authority", v1, onLeaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), verdict.CertProfile, accept},
		{"leaf-subject-empty", onLeaf(sanExtension(true)), onLeaf(func(c *x509.Certificate) {
			sanExtension(true)(c) // Go would make it uncritical
			c.Subject.CommonName = "somebody"
		}), verdict.CertProfile, accept},
		{"leaf-san-critical", onLeaf(sanExtension(true)), onLeaf(sanExtension(false)), verdict.CertProfile, accept},
		{"leaf-one-san", v1, onLeaf(func(c *x509.Certificate) { c.EmailAddresses = []string{"somebody@acme.example"} }), verdict.IdentityAmbiguous, accept},
		{"leaf-serial-length", v1, onLeaf(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 160) }), verdict.CertProfile, accept},
		{"leaf-subject-key-id", v1, onLeaf(func(c *x509.Certificate) { c.SubjectKeyId = nil }), verdict.CertProfile, accept},
		{"leaf-authority-key-id", v1, extension(asn1.ObjectIdentifier{2, 5, 29, 35}, authorityKeyID([]byte("another issuer"))), verdict.CertProfile, accept},
		{"leaf-within-issuer", v1, onLeaf(func(c *x509.Certificate) { c.NotAfter = now.AddDate(20, 0, 0) }), verdict.CertProfile, accept},
		{"leaf-no-poison", v1, extension(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, []byte{5, 0}), verdict.CertProfile, accept},
		{"leaf-rsa-size", leafRSA(t, 2048), leafRSA(t, 2050), verdict.SigAlgorithm, refuse},
		{"leaf-issuer", v1, func(o *sign) { o.Issuer = "" }, verdict.IdentityIssuer, refuse},
		{"leaf-sct", v1, func(o *sign) { o.NoSCT = true }, verdict.SCTMissing, refuse},
	}
}

// onToken changes the timestamp.
func onToken(f func([]byte) []byte) func(*sign) {
	return onBundle(func(b *protobundle.Bundle) {
		t := b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0]
		t.SignedTimestamp = f(t.SignedTimestamp)
	})
}

// resigned changes the signed attributes of the timestamp, and has them signed.
func resigned(f func([]byte) []byte) func(*sign) {
	return onToken(func(token []byte) []byte {
		sig, err := whole()
		if err != nil {
			panic(err)
		}
		out, err := sig.ResignTimestamp(token, func(a []byte) { copy(a, f(a)) })
		if err != nil {
			panic(err)
		}
		return out
	})
}

// tstInfo is the content type of RFC 3161, as DER has it.
var tstInfo = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04}

// otherType makes a TSTInfo of the type something else.
func otherType(b []byte) []byte {
	at := bytes.Index(b, tstInfo)
	if at < 0 {
		panic("clauses_test: no TSTInfo")
	}
	out := bytes.Clone(b)
	out[at+len(tstInfo)-1]++
	return out
}

// otherCertificate has the timestamp name another certificate than its signer's.
func otherCertificate(attributes []byte) []byte {
	sig, err := whole()
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(sig.TimestampLeaf().Raw)
	at := bytes.Index(attributes, sum[:])
	if at < 0 {
		panic("clauses_test: no certificate")
	}
	out := bytes.Clone(attributes)
	out[at] ^= 1
	return out
}

// clauseImage are the bytes that stand for an image.
var clauseImage = []byte("an image that clauses are about")

// otherSignature puts another signature into the body of a log entry.
func otherSignature(body []byte) []byte {
	i := bytes.Index(body, []byte(`"content":"`))
	if i < 0 {
		panic("clauses_test: no signature")
	}
	out := bytes.Clone(body)
	at := i + len(`"content":"`) + 20
	if out[at]++; !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", rune(out[at])) {
		out[at] = 'A'
	}
	return out
}

// TestClauses: the good twin of each clause passes, here and in sigstore-go
// alone, and the changed one is refused with its code. What sigstore-go says of
// that is held too, so that a version of it that has learned a clause is
// noticed.
func TestClauses(t *testing.T) {
	sig, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	rootJSON, err := sig.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	roots := rootsOf(t, sig)
	digest := verdict.SHA256(clauseImage)
	missed := 0
	for _, c := range clauses(t) {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasSuffix(c.name, "ed25519") && ed25519Unvalidated != "" {
				t.Skip("Ed25519 is outside this build's validated module")
			}
			o := good()
			c.good(&o)
			check := func(o sign) (verdict.Code, error) {
				t.Helper()
				b, err := sig.Bundle(digest, o)
				if err != nil {
					t.Fatal(err)
				}
				one := keyless()
				if o.Key != nil {
					one = verifier.OneOff{Keys: [][]byte{publicPEM(t, o.Key.Public())}, RequireLog: true}
				}
				v := newVerifier(t, verifier.Config{Policy: oneOff(t, one), Roots: roots, Source: verifier.ParseBundle("test", b)})
				ok, code, _ := verify(t.Context(), t, v, verifier.Image{Digest: digest}, now)
				if ok != (code == "") {
					t.Fatalf("passed %v with %q", ok, code)
				}
				blob, err := verifier.BlobOfDigest(digest)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := verifier.VerifyBlob(b, blob, one, roots, now); verdict.CodeOf(err) != code {
					t.Errorf("as a blob: %v, want %q", err, code)
				}
				return code, alone(t, b, rootJSON, digest, o.Key)
			}
			if code, err := check(o); code != "" || err != nil {
				t.Fatalf("the good twin: %q, and sigstore-go says %v", code, err)
			}
			c.bad(&o)
			code, err := check(o)
			if code != c.code {
				t.Errorf("got %q, want %q", code, c.code)
			}
			if (err == nil) != c.plain {
				t.Errorf("sigstore-go alone: %v, want it to accept: %v", err, c.plain)
			}
			if err == nil {
				missed++
			}
			t.Logf("here %q; sigstore-go alone: %v", code, err)
		})
	}
	t.Logf("%d clauses, of which sigstore-go alone accepts the changed bundle in %d", len(clauses(t)), missed)
}

// alone asks sigstore-go's own verifier, with the demands that ours has.
func alone(t *testing.T, data, rootJSON []byte, digest verdict.Digest, key crypto.Signer) error {
	t.Helper()
	tr, err := root.NewTrustedRootFromJSON(rootJSON)
	if err != nil {
		t.Fatal(err)
	}
	var material root.TrustedMaterial = tr
	opts := []plain.VerifierOption{plain.WithTransparencyLog(1)}
	var policy plain.PolicyOption
	if key != nil {
		v, err := signature.LoadDefaultVerifier(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		bare := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
			return root.NewExpiringKey(v, time.Time{}, time.Time{}), nil
		})
		material = root.TrustedMaterialCollection{bare, tr}
		opts = append(opts, plain.WithNoObserverTimestamps())
		policy = plain.WithKey()
	} else {
		id, err := plain.NewShortCertificateIdentity(issuer, "", subject, "")
		if err != nil {
			t.Fatal(err)
		}
		opts = append(opts, plain.WithSignedCertificateTimestamps(1), plain.WithObserverTimestamps(1))
		policy = plain.WithCertificateIdentity(id)
	}
	v, err := plain.NewVerifier(material, opts...)
	if err != nil {
		t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return err
	}
	sum, err := hex.DecodeString(digest.Hex())
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(&b, plain.NewPolicy(plain.WithArtifactDigest("sha256", sum), policy))
	return err
}

// TestClausesAreDocumented: docs/clauses.md names every vector, and no other.
func TestClausesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/clauses.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range clauses(t) {
		names = append(names, c.name)
		if !bytes.Contains(text, []byte("`"+c.name+"`")) {
			t.Errorf("docs/clauses.md does not name %s", c.name)
		}
	}
	for word := range strings.SplitSeq(string(text), "`") {
		prefix, _, _ := strings.Cut(word, "-")
		if slices.Contains([]string{"bundle", "entry", "rekor2", "timestamp", "leaf"}, prefix) && strings.Contains(word, "-") && !strings.ContainsAny(word, " .|/") && !slices.Contains(names, word) {
			t.Errorf("docs/clauses.md names %s, which is no vector", word)
		}
	}
}

// TestChainOfABundle: certificates beside the leaf are not used, "ignoring them"
// as the bundle's specification says: a superfluous root does no harm, and one
// of a stranger does no good.
func TestChainOfABundle(t *testing.T) {
	sig, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	roots := rootsOf(t, sig)
	stranger, _ := testSigstore(t)
	digest := verdict.SHA256(clauseImage)
	for _, c := range []struct {
		name string
		by   *sigstoretest.Sigstore
		want verdict.Code
	}{{"superfluous", sig, ""}, {"of a stranger", stranger, verdict.LogMissing}} {
		o := good()
		v01(&o)
		o.OnBundle = func(b *protobundle.Bundle) {
			chain := b.VerificationMaterial.GetX509CertificateChain()
			chain.Certificates = append(chain.Certificates, chain.Certificates[1])
		}
		b, err := c.by.Bundle(digest, o)
		if err != nil {
			t.Fatal(err)
		}
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: roots, Source: verifier.ParseBundle("test", b)})
		if ok, code, _ := verify(t.Context(), t, v, verifier.Image{Digest: digest}, now); ok != (c.want == "") || code != c.want {
			t.Errorf("%s: passed %v with %q, want %q", c.name, ok, code, c.want)
		}
	}
}
