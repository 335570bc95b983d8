// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/notaryproject/notation-core-go/signature"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// notationRoots is the roots file of a notation case.
func (c sharedCase) notationRoots(t testing.TB, change func(kind string, pem string) string) *verifier.Roots {
	t.Helper()
	var b strings.Builder
	b.WriteString("version: 1\ntrust-stores:\n")
	for kind, paths := range map[string][]string{"ca": c.Trust.CA, "signing-authority": c.Trust.Authority, "tsa": c.Trust.TSA} {
		if len(paths) == 0 {
			continue
		}
		var all []byte
		for _, p := range paths {
			data := readFile(t, sharedFile(t, "testdata", p))
			if !bytes.Contains(data, []byte("-----BEGIN")) {
				data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
			}
			all = append(all, append(bytes.TrimSpace(data), '\n')...)
		}
		text := string(all)
		if change != nil {
			text = change(kind, text)
		}
		if text != "" {
			fmt.Fprintf(&b, "  %s:\n    kind: %s\n    pem: |\n      %s\n", kind, kind, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      "))
		}
	}
	r, err := verifier.ParseRoots([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// notationPolicy demands a notation signature by anyone of the trust stores.
func (c sharedCase) notationPolicy(t testing.TB, lines ...string) *verifier.Policy {
	t.Helper()
	var stores []string
	for kind, paths := range map[string][]string{"ca": c.Trust.CA, "signing-authority": c.Trust.Authority, "tsa": c.Trust.TSA} {
		if len(paths) > 0 {
			stores = append(stores, kind)
		}
	}
	return policy(t, "version: 1\nauthorities:\n  signer:\n    notation:\n      trust-stores: ["+strings.Join(stores, ", ")+"]\n      any-subject: true\n"+strings.Join(lines, "")+"rules:\n  - {name: all, repositories: ['**'], authorities: [signer]}\n")
}

// TestRealNotation: every genuine case gives its expected result, and says why.
func TestRealNotation(t *testing.T) {
	why := map[string]verdict.Code{
		"notation-e2e-expired-signature":                  verdict.SigExpired,
		"notation-e2e-with-expired-cert":                  verdict.CertExpiredAtSigning,
		"notation-e2e-invalid-signature":                  verdict.InputUnsupported, // its layer is no envelope
		"notation-e2e-with-timestamped-signature":         verdict.TimeUntrusted,
		"notation-e2e-with-invalid-timestamped-signature": verdict.TimeUntrusted,
		"notation-cose-timestamp-after-cert":              verdict.CertExpiredAtSigning,
		"notation-mock-ca-expired":                        verdict.SigExpired,
	}
	ran := 0
	for _, c := range sharedCases(t, "notation-jws", "notation-cose") {
		t.Run(c.Name, func(t *testing.T) {
			ran++
			v := newVerifier(t, verifier.Config{Policy: c.notationPolicy(t, "    revocation: off\n"), Roots: c.notationRoots(t, nil), Source: c.source(t)})
			ok, code, res := verify(t.Context(), t, v, c.image(), now)
			if want := c.Expect == "accept"; ok != want || code != why[c.Name] {
				t.Fatalf("passed %v with %q, want %v with %q: %+v", ok, code, want, why[c.Name], res)
			}
			if !ok {
				return
			}
			other := c.notationRoots(t, func(kind, text string) string {
				if kind == "tsa" {
					return text
				}
				return otherCA(t)
			})
			v = newVerifier(t, verifier.Config{Policy: c.notationPolicy(t, "    revocation: off\n"), Roots: other, Source: c.source(t)})
			if ok, code, _ := verify(t.Context(), t, v, c.image(), now); ok || code != verdict.CertUntrusted {
				t.Errorf("with another trust store: passed %v with %q, want %q", ok, code, verdict.CertUntrusted)
			}
			if _, isBundle := c.source(t).(*verifier.Bundle); isBundle {
				img := c.image()
				img.Digest = verdict.SHA256([]byte("another image"))
				v = newVerifier(t, verifier.Config{Policy: c.notationPolicy(t, "    revocation: off\n"), Roots: c.notationRoots(t, nil), Source: c.source(t)})
				if ok, code, _ := verify(t.Context(), t, v, img, now); ok || code != verdict.SubjectMismatch {
					t.Errorf("for another digest: passed %v with %q, want %q", ok, code, verdict.SubjectMismatch)
				}
			}
			if len(c.Trust.TSA) == 0 {
				return
			}
			if len(res.Identities) == 0 || res.Identities[0].SignedAt.IsZero() {
				t.Errorf("a timestamp proves no time: %+v", res.Identities)
			}
			other = c.notationRoots(t, func(kind, text string) string {
				if kind == "tsa" {
					return otherCA(t)
				}
				return text
			})
			v = newVerifier(t, verifier.Config{Policy: c.notationPolicy(t, "    revocation: off\n"), Roots: other, Source: c.source(t)})
			if ok, code, _ := verify(t.Context(), t, v, c.image(), now); ok || code != verdict.TimeUntrusted {
				t.Errorf("with another timestamp authority: passed %v with %q, want %q", ok, code, verdict.TimeUntrusted)
			}
		})
	}
	t.Logf("%d notation cases ran", ran)
}

// TestNotationUndated: without proof of time the chain has to be valid now, and
// the result holds until it ends.
func TestNotationUndated(t *testing.T) {
	for _, c := range sharedCases(t, "notation-jws") {
		if c.Name != "notation-e2e-valid-signature" {
			continue
		}
		check := func(p *verifier.Policy, at time.Time) (bool, verdict.Code, *verifier.Result) {
			v := newVerifier(t, verifier.Config{Policy: p, Roots: c.notationRoots(t, nil), Source: c.source(t)})
			return verify(t.Context(), t, v, c.image(), at)
		}
		off := c.notationPolicy(t, "    revocation: off\n")
		ok, code, res := check(off, now)
		if !ok || res.NotAfter.IsZero() {
			t.Fatalf("passed %v with %q until %v", ok, code, res)
		}
		if ok, code, _ := check(off, res.NotAfter.Add(time.Second)); ok || code != verdict.CertExpiredAtSigning {
			t.Errorf("after its end: passed %v with %q", ok, code)
		}
		if ok, code, _ := check(off, now.AddDate(-50, 0, 0)); ok || code != verdict.CertExpiredAtSigning {
			t.Errorf("before its beginning: passed %v with %q", ok, code)
		}
	}
}

// A notationKit signs as notation does.
type notationKit struct {
	*kit
	root, leaf *x509.Certificate
	rootKey    *ecdsa.PrivateKey
	leafKey    *ecdsa.PrivateKey
	// tsaRoot issues the certificates of timestamp authorities.
	tsaRoot *x509.Certificate
	// served are lists by path; asked counts requests.
	served sync.Map
	asked  atomic.Int64
	host   string
}

func newNotationKit(t *testing.T) *notationKit {
	t.Helper()
	k := &notationKit{kit: newKit(t)}
	k.host = server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.asked.Add(1)
		if data, ok := k.served.Load(r.URL.Path); ok {
			_, _ = w.Write(data.([]byte)) //nolint:forcetypeassert // put there below
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	k.rootKey, k.leafKey = p256(t), p256(t)
	k.root = issueCert(t, certTemplate("root", true), nil, k.rootKey.Public(), k.rootKey)
	k.tsaRoot = issueCert(t, certTemplate("tsa root", true), nil, k.rootKey.Public(), k.rootKey)
	leaf := certTemplate("release", false)
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	leaf.CRLDistributionPoints = []string{"http://" + k.host + "/leaf.crl"}
	k.leaf = issueCert(t, leaf, k.root, k.leafKey.Public(), k.rootKey)
	return k
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certTemplate(name string, ca bool) *x509.Certificate {
	c := &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"acme"}, CommonName: name},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	if ca {
		c.SerialNumber, c.IsCA, c.KeyUsage = big.NewInt(1), true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	return c
}

func issueCert(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// envelope signs the kit's image; change changes one thing of the request.
func (k *notationKit) envelope(mediaType string, change func(*signature.SignRequest)) []byte {
	k.t.Helper()
	signer, err := signature.NewLocalSigner([]*x509.Certificate{k.leaf, k.root}, k.leafKey)
	if err != nil {
		k.t.Fatal(err)
	}
	payload := mustJSON(k.t, map[string]any{"targetArtifact": map[string]any{"mediaType": sigstoretest.TypeManifest, "digest": k.image.Digest, "size": 1}})
	req := &signature.SignRequest{Payload: signature.Payload{ContentType: "application/vnd.cncf.notary.payload.v1+json", Content: []byte(payload)},
		Signer: signer, SigningTime: signedAt, SigningScheme: signature.SigningSchemeX509}
	if change != nil {
		change(req)
	}
	env, err := signature.NewEnvelope(mediaType)
	if err != nil {
		k.t.Fatal(err)
	}
	data, err := env.Sign(req)
	if err != nil {
		k.t.Fatal(err)
	}
	return data
}

func (k *notationKit) attach(mediaType string, envelope []byte) {
	k.t.Helper()
	config := []byte("{}")
	for _, b := range [][]byte{envelope, config} {
		if err := k.store.PutBlob(k.t.Context(), repo, b); err != nil {
			k.t.Fatal(err)
		}
	}
	m := mustJSON(k.t, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "artifactType": "application/vnd.cncf.notary.signature",
		"config":  map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": verdict.SHA256(config), "size": len(config)},
		"layers":  []any{map[string]any{"mediaType": mediaType, "digest": verdict.SHA256(envelope), "size": len(envelope)}},
		"subject": map[string]any{"mediaType": sigstoretest.TypeManifest, "digest": k.image.Digest, "size": 1}})
	if err := k.store.PutManifest(k.t.Context(), repo, "", sigstoretest.TypeManifest, []byte(m)); err != nil {
		k.t.Fatal(err)
	}
}

// list serves a CRL by the root.
func (k *notationKit) list(path string, revoked ...int64) {
	k.t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(5), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	for _, n := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: now.Add(-2 * time.Hour)})
	}
	issuer := k.root
	if path == "/tsa.crl" {
		issuer = k.tsaRoot
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, issuer, k.rootKey)
	if err != nil {
		k.t.Fatal(err)
	}
	k.served.Store(path, der)
}

// check verifies under a policy with these lines about the signer.
func (k *notationKit) verdict(lines string) (bool, verdict.Code, *verifier.Result) {
	k.t.Helper()
	return k.with(lines, "", verifier.Config{Revocation: verifier.Revocation{Online: true, Hosts: []string{k.host}}})
}

func (k *notationKit) with(lines, rule string, cfg verifier.Config) (bool, verdict.Code, *verifier.Result) {
	k.t.Helper()
	store := func(name, kind string, c *x509.Certificate) string {
		return "  " + name + ":\n    kind: " + kind + "\n    pem: |\n      " + strings.ReplaceAll(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))), "\n", "\n      ") + "\n"
	}
	roots, err := verifier.ParseRoots([]byte("version: 1\ntrust-stores:\n" + store("ca", "ca", k.root) + store("tsa", "tsa", k.tsaRoot)))
	if err != nil {
		k.t.Fatal(err)
	}
	cfg.Policy = policy(k.t, "version: 1\nauthorities:\n  signer:\n    notation:\n      trust-stores: [ca, tsa]\n"+lines+"rules:\n  - {name: all, repositories: ['**'], authorities: [signer]"+rule+"}\n")
	cfg.Roots, cfg.Source = roots, k.source()
	return verify(k.t.Context(), k.t, newVerifier(k.t, cfg), k.image, now)
}

const acme = "      subjects: ['C=US, ST=WA, O=acme']\n"

func (k *notationKit) wantCode(name, lines string, want verdict.Code) *verifier.Result {
	k.t.Helper()
	ok, code, res := k.verdict(lines)
	if ok != (want == "") || code != want {
		k.t.Errorf("%s: passed %v with %q, want %q", name, ok, code, want)
	}
	return res
}

// TestNotationDenied: certificates and keys of the whole path.
func TestNotationDenied(t *testing.T) {
	k := newNotationKit(t)
	k.attach("application/jose+json", k.envelope("application/jose+json", nil))
	for _, tt := range []struct {
		name string
		deny verdict.DenyList
		want verdict.Code
	}{
		{"nothing of it", verdict.DenyList{Certificates: []verdict.Digest{verdict.SHA256(k.tsaRoot.Raw)}, Keys: []verdict.Digest{spki(t, p256(t).Public())}}, ""},
		{"the certificate", verdict.DenyList{Certificates: []verdict.Digest{verdict.SHA256(k.leaf.Raw)}}, verdict.RevokedCertificate},
		{"its key", verdict.DenyList{Keys: []verdict.Digest{spki(t, k.leafKey.Public())}}, verdict.RevokedKey},
		{"the CA's certificate", verdict.DenyList{Certificates: []verdict.Digest{verdict.SHA256(k.root.Raw)}}, verdict.RevokedCertificate},
		{"the CA's key", verdict.DenyList{Keys: []verdict.Digest{spki(t, k.rootKey.Public())}}, verdict.RevokedKey},
	} {
		tt.deny.V = 1
		ok, code, _ := k.with(acme+"    revocation: off\n", "", verifier.Config{Deny: tt.deny})
		if ok != (tt.want == "") || code != tt.want {
			t.Errorf("%s denied: passed %v with %q, want %q", tt.name, ok, code, tt.want)
		}
	}
}

// TestNotationSubjects: who the certificate is for.
func TestNotationSubjects(t *testing.T) {
	k := newNotationKit(t)
	k.attach(notationJWS, k.envelope(notationJWS, nil))
	k.list("/leaf.crl")
	k.wantCode("part of the subject", acme, "")
	k.wantCode("the whole subject", "      subjects: ['CN=release, O=acme, S=WA, C=US']\n", "")
	k.wantCode("one of two", "      subjects: ['C=US, ST=WA, O=other', 'C=US, ST=WA, O=acme']\n", "")
	k.wantCode("any", "      any-subject: true\n", "")
	k.wantCode("another organisation", "      subjects: ['C=US, ST=WA, O=acme2']\n", verdict.IdentitySAN)
	k.wantCode("more than it has", "      subjects: ['C=US, ST=WA, O=acme, OU=x']\n", verdict.IdentitySAN)
	for name, tt := range map[string]struct{ subject, want string }{
		"no country": {"ST=WA, O=acme", "C is missing"}, "twice": {"C=US, C=US, ST=WA, O=acme", "there twice"}, "unknown": {"C=US, ST=WA, O=acme, X=y", "not known"},
		"hexadecimal": {"C=US, ST=WA, O=#04026869", "hexadecimal"}, "several values": {"C=US, ST=WA, O=acme+OU=x", "several parts"}, "no value": {"C=US, ST=WA, O=", "is empty"}, "no name": {"C=US, ST=WA, acme", "NAME=VALUE"},
	} {
		_, err := verifier.ParsePolicy("policy.yaml", []byte("version: 1\nauthorities:\n  signer:\n    notation: {trust-stores: [ca], subjects: ['"+tt.subject+"']}\nrules:\n  - {name: all, repositories: ['**'], authorities: [signer]}\n"))
		wantMisuse(t, name, err, tt.want)
	}
}

// TestR45Critical: an attribute that has to be understood and is not.
func TestR45Critical(t *testing.T) {
	for _, mediaType := range []string{notationJWS, notationCOSE} {
		for _, critical := range []bool{false, true} {
			k := newNotationKit(t)
			k.list("/leaf.crl")
			k.attach(mediaType, k.envelope(mediaType, func(r *signature.SignRequest) {
				r.ExtendedSignedAttributes = []signature.Attribute{{Key: "com.example.x", Critical: critical, Value: "y"}}
			}))
			want := verdict.Code("")
			if critical {
				want = verdict.SigCriticalUnknown
			}
			k.wantCode(fmt.Sprint(mediaType, critical), acme, want)
		}
	}
}

// TestNotationExpiry: the signer's own end.
func TestNotationExpiry(t *testing.T) {
	for _, end := range []time.Duration{time.Hour, -time.Hour} {
		k := newNotationKit(t)
		k.list("/leaf.crl")
		k.attach(notationJWS, k.envelope(notationJWS, func(r *signature.SignRequest) { r.Expiry = now.Add(end) }))
		if end < 0 {
			k.wantCode("ended", acme, verdict.SigExpired)
		} else if res := k.wantCode("not ended", acme, ""); res != nil && !res.NotAfter.Equal(now.Add(end)) {
			t.Errorf("NotAfter is %s, want %s", res.NotAfter, now.Add(end))
		}
	}
}

// TestNotationPayload: one thing changed in what is signed.
func TestNotationPayload(t *testing.T) {
	target := func(digest verdict.Digest, mediaType string) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": digest, "size": 1}
	}
	for name, tt := range map[string]struct {
		change func(k *notationKit, r *signature.SignRequest)
		want   verdict.Code
	}{
		"another image": {func(_ *notationKit, r *signature.SignRequest) {
			r.Payload.Content = []byte(mustJSON(t, map[string]any{"targetArtifact": target(verdict.SHA256([]byte("x")), sigstoretest.TypeManifest)}))
		}, verdict.SubjectMismatch},
		"another media type": {func(k *notationKit, r *signature.SignRequest) {
			r.Payload.Content = []byte(mustJSON(t, map[string]any{"targetArtifact": target(k.image.Digest, sigstoretest.TypeIndex)}))
		}, verdict.SubjectMismatch},
		"no target": {func(_ *notationKit, r *signature.SignRequest) { r.Payload.Content = []byte(`{}`) }, verdict.InputMalformed},
		"target in other case": {func(_ *notationKit, r *signature.SignRequest) {
			r.Payload.Content = bytes.Replace(r.Payload.Content, []byte("targetArtifact"), []byte("TargetArtifact"), 1)
		}, verdict.InputMalformed},
		"target twice": {func(_ *notationKit, r *signature.SignRequest) {
			r.Payload.Content = bytes.Replace(r.Payload.Content, []byte(`{"targetArtifact"`), []byte(`{"targetArtifact":{},"targetArtifact"`), 1)
		}, verdict.InputMalformed},
		"content type": {func(_ *notationKit, r *signature.SignRequest) { r.Payload.ContentType = "application/json" }, verdict.StatementType},
		"scheme":       {func(_ *notationKit, r *signature.SignRequest) { r.SigningScheme = "notary.x509.signingAuthority" }, verdict.CertUntrusted},
	} {
		k := newNotationKit(t)
		k.list("/leaf.crl")
		k.attach(notationCOSE, k.envelope(notationCOSE, func(r *signature.SignRequest) { tt.change(k, r) }))
		k.wantCode(name, acme, tt.want)
	}
	// One bit of the signature.
	k := newNotationKit(t)
	k.list("/leaf.crl")
	env := k.envelope(notationCOSE, nil)
	env[len(env)-1] ^= 1
	k.attach(notationCOSE, env)
	k.wantCode("a bit of the signature", acme, verdict.SigInvalid)
}

// stamped is a JWS envelope with a timestamp of an authority that can be revoked: its
// serial number is 88, and its list is /tsa.crl.
func (k *notationKit) stamped() []byte {
	t := k.t
	t.Helper()
	tsaKey := p256(t)
	tsa := certTemplate("tsa", false)
	tsa.SerialNumber = big.NewInt(88)
	tsa.CRLDistributionPoints = []string{"http://" + k.host + "/tsa.crl"}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	tsa.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
	tsaLeaf := issueCert(t, tsa, k.tsaRoot, tsaKey.Public(), k.rootKey)

	env := k.envelope(notationJWS, nil)
	var parsed map[string]any
	if err := json.Unmarshal(env, &parsed); err != nil {
		t.Fatal(err)
	}
	sig, err := base64.RawURLEncoding.DecodeString(parsed["signature"].(string)) //nolint:forcetypeassert // made above
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(sig)
	token, err := (&timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: signedAt, Policy: asn1.ObjectIdentifier{1, 2, 3}, SerialNumber: big.NewInt(1), AddTSACertificate: true}).CreateResponseWithOpts(tsaLeaf, tsaKey, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := timestamp.ParseResponse(token)
	if err != nil {
		t.Fatal(err)
	}
	parsed["header"].(map[string]any)["io.cncf.notary.timestampSignature"] = resp.RawToken //nolint:forcetypeassert // made above
	return []byte(mustJSON(t, parsed))
}

// TestR41Revocation: the signer's and the timestamp authority's certificates are
// asked about, and what an answer says bounds the result.
func TestR41Revocation(t *testing.T) {
	k := newNotationKit(t)
	k.attach(notationJWS, k.stamped())

	k.wantCode("nothing answers", acme, verdict.RevocationUnavailable)
	k.wantCode("nothing answers, soft", acme+"    revocation: soft\n", "")
	k.wantCode("off", acme+"    revocation: off\n", "")
	k.list("/leaf.crl")
	k.wantCode("the timestamp authority's list is missing", acme, verdict.RevocationUnavailable)
	k.list("/tsa.crl")
	res := k.wantCode("both lists", acme, "")
	if res != nil && (!res.NotAfter.Equal(now.Add(time.Hour)) || !res.Identities[0].SignedAt.Equal(signedAt)) {
		t.Errorf("NotAfter %s, signed at %s", res.NotAfter, res.Identities[0].SignedAt)
	}
	k.list("/tsa.crl", 88)
	for _, mode := range []string{"", "    revocation: soft\n"} {
		if res := k.wantCode("the timestamp authority is revoked", acme+mode, verdict.RevokedCertificate); res != nil && !strings.Contains(res.Reasons[0].Text, "CN=tsa") {
			t.Errorf("reason: %q", res.Reasons[0].Text)
		}
	}
	k.list("/tsa.crl")
	k.list("/leaf.crl", 77)
	k.wantCode("the signer is revoked", acme, verdict.RevokedCertificate)
	k.wantCode("the signer is revoked, soft", acme+"    revocation: soft\n", verdict.RevokedCertificate)
	// Under audit it is let through and said, never passed.
	if ok, code, res := k.with(acme, ", mode: audit", verifier.Config{Revocation: verifier.Revocation{Online: true, Hosts: []string{k.host}}}); ok || code != verdict.RevokedCertificate || res.Namespaces[0].Outcome != verdict.OutcomeAuditFail {
		t.Errorf("under audit: passed %v with %q", ok, code)
	}
	// R50: a private address is not asked unless the operator named it.
	before := k.asked.Load()
	if ok, code, _ := k.with(acme, "", verifier.Config{Revocation: verifier.Revocation{Online: true}}); ok || code != verdict.RevocationUnavailable || k.asked.Load() != before {
		t.Errorf("an address that is not public: passed %v with %q after %d requests", ok, code, k.asked.Load()-before)
	}
	if ok, code, _ := k.with(acme, "", verifier.Config{}); ok || code != verdict.RevocationUnavailable {
		t.Errorf("offline: passed %v with %q", ok, code)
	}
	// Lists that the caller brings count as those that are fetched.
	brought := func(path string, revoked ...int64) []byte {
		k.list(path, revoked...)
		der, _ := k.served.Load(path)
		return der.([]byte) //nolint:forcetypeassert // list stored it
	}
	leafList, tsaList := brought("/leaf.crl"), brought("/tsa.crl")
	for name, tt := range map[string]struct {
		crls [][]byte
		want verdict.Code
	}{
		"both lists":                          {[][]byte{leafList, tsaList}, ""},
		"one list":                            {[][]byte{leafList}, verdict.RevocationUnavailable},
		"a list with the signer":              {[][]byte{brought("/leaf.crl", 77), tsaList}, verdict.RevokedCertificate},
		"a list with the timestamp authority": {[][]byte{leafList, brought("/tsa.crl", 88)}, verdict.RevokedCertificate},
		"a list of another's":                 {[][]byte{tsaList, tsaList}, verdict.RevocationUnavailable},
		"no list":                             {[][]byte{[]byte("x"), tsaList}, verdict.RevocationUnavailable},
	} {
		if ok, code, _ := k.with(acme, "", verifier.Config{Revocation: verifier.Revocation{CRLs: tt.crls}}); ok != (tt.want == "") || code != tt.want {
			t.Errorf("%s, brought along: passed %v with %q, want %q", name, ok, code, tt.want)
		}
	}
}

// TestR41Grandfather: what was timestamped before the invalidity date of a revocation
// counts where the policy says so, and is said.
func TestR41Grandfather(t *testing.T) {
	k := newNotationKit(t)
	sign := func() { k.attach(notationJWS, k.stamped()) }
	sign()
	k.list("/tsa.crl")
	list := func(reason int, invalid time.Time) {
		e := x509.RevocationListEntry{SerialNumber: big.NewInt(77), RevocationTime: now.Add(-2 * time.Hour), ReasonCode: reason}
		if !invalid.IsZero() {
			value, err := asn1.MarshalWithParams(invalid.UTC(), "generalized")
			if err != nil {
				t.Fatal(err)
			}
			e.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: value}}
		}
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(5), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour), RevokedCertificateEntries: []x509.RevocationListEntry{e}}, k.root, k.rootKey)
		if err != nil {
			t.Fatal(err)
		}
		k.served.Store("/leaf.crl", der)
	}
	const grandfather = "    grandfather: invalidity-date\n"
	const superseded, keyCompromise = 4, 1
	list(superseded, now.Add(-2*time.Hour))
	k.wantCode("revoked, without the field", acme, verdict.RevokedCertificate)
	k.wantCode("signed before it was invalid", acme+grandfather, "")
	list(superseded, signedAt.Add(-time.Hour))
	k.wantCode("signed after it was invalid", acme+grandfather, verdict.RevokedCertificate)
	list(superseded, time.Time{})
	k.wantCode("no invalidity date", acme+grandfather, verdict.RevokedCertificate)
	list(keyCompromise, now.Add(-2*time.Hour))
	k.wantCode("the key was compromised", acme+grandfather, verdict.RevokedCertificate)
	for lines, want := range map[string]string{
		"    revocation: off\n    grandfather: invalidity-date\n": "revocation is off",
		"    grandfather: always\n":                               "want invalidity-date",
	} {
		_, err := verifier.ParsePolicy("policy.yaml", []byte("version: 1\nauthorities:\n  a:\n    notation: {trust-stores: [ca], any-subject: true}\n"+lines+"rules: [{name: all, repositories: ['**'], authorities: [a]}]\n"))
		wantMisuse(t, lines, err, want)
	}
}

// Media types of envelopes.
const (
	notationJWS  = "application/jose+json"
	notationCOSE = "application/cose"
)
