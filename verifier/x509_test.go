// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// TestX509: a signature by a certificate of an own PKI, and what it can be like.
func TestX509(t *testing.T) {
	rootKey, leafKey := p256(t), p256(t)
	root := issueCert(t, certTemplate("root", true), nil, rootKey.Public(), rootKey)
	roots, err := verifier.ParseRoots([]byte("version: 1\ntrust-stores:\n  own:\n    kind: x509\n    pem: |\n      " +
		strings.ReplaceAll(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))), "\n", "\n      ") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := policy(t, "version: 1\nauthorities:\n  own:\n    x509:\n      trust-stores: [own]\n      subject: release.acme.example\n    revocation: off\nrules:\n  - {name: all, repositories: ['**'], authorities: [own]}\n")
	denied := func(san string) verdict.DenyList {
		return verdict.DenyList{V: 1, Identities: []verdict.DeniedIdentity{{Issuer: root.Subject.String(), SAN: san}}}
	}
	signed := func(k *kit, leaf *x509.Certificate) sigstoretest.Layer {
		l := k.layer(k.image, sign{Key: leafKey, At: signedAt, NoLog: true})
		l.Annotations["dev.sigstore.cosign/certificate"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
		return l
	}
	bare := func(l *sigstoretest.Layer) { delete(l.Annotations, "dev.sigstore.cosign/certificate") }
	for name, tt := range map[string]struct {
		leaf  func(*x509.Certificate)
		layer func(*sigstoretest.Layer)
		deny  verdict.DenyList
		want  verdict.Code
	}{
		"good":             {},
		"no certificate":   {layer: bare, want: verdict.CertUntrusted},
		"an authority":     {leaf: func(c *x509.Certificate) { c.IsCA = true }, want: verdict.CertProfile},
		"another use":      {leaf: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, want: verdict.CertProfile},
		"another extended": {leaf: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, want: verdict.CertProfile},
		"no name":          {leaf: func(c *x509.Certificate) { c.DNSNames = nil }, want: verdict.IdentityAmbiguous},
		"critical extension": {leaf: func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, want: verdict.CertProfile},
		"two names":            {leaf: func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "other.acme.example") }},
		"its name denied":      {deny: denied("release.acme.example"), want: verdict.RevokedIdentity},
		"its other name":       {leaf: func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "other.acme.example") }, deny: denied("other.acme.example"), want: verdict.RevokedIdentity},
		"another's name":       {deny: denied("other.acme.example")},
		"the authority denied": {deny: verdict.DenyList{V: 1, Certificates: []verdict.Digest{verdict.SHA256(root.Raw)}}, want: verdict.RevokedCertificate},
		"its key denied":       {deny: verdict.DenyList{V: 1, Keys: []verdict.Digest{spki(t, rootKey.Public())}}, want: verdict.RevokedKey},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			c := certTemplate("release", false)
			c.DNSNames = []string{"release.acme.example"}
			if tt.leaf != nil {
				tt.leaf(c)
			}
			leaf := issueCert(t, c, root, leafKey.Public(), rootKey)
			l := signed(k, leaf)
			if tt.layer != nil {
				tt.layer(&l)
			}
			k.attachLayers(k.image, l)
			v := newVerifier(t, verifier.Config{Policy: p, Roots: roots, Source: k.source(), Deny: tt.deny})
			if ok, code, res := verify(t.Context(), t, v, k.image, now); ok != (tt.want == "") || code != tt.want {
				t.Errorf("passed %v with %q, want %q: %+v", ok, code, tt.want, res)
			}
		})
	}

	// Which check refuses which byte.
	t.Run("bytes", func(t *testing.T) {
		k := newKit(t)
		c := certTemplate("release", false)
		c.DNSNames = []string{"release.acme.example"}
		leaf := issueCert(t, c, root, leafKey.Public(), rootKey)
		l := signed(k, leaf)
		ranges := func(der []byte) map[string][2]int {
			out := map[string][2]int{}
			find(out, "name", der, []byte("release.acme.example"))
			find(out, "key", der, leaf.RawSubjectPublicKeyInfo[len(leaf.RawSubjectPublicKeyInfo)-64:])
			find(out, "signature", der, leaf.Signature[len(leaf.Signature)-30:])
			return out
		}
		sweep(t, []byte(mustJSON(t, map[string]string{"signature": l.Annotations["dev.cosignproject.cosign/signature"], "certificate": l.Annotations["dev.sigstore.cosign/certificate"]})), map[string]field{
			"signature": is(asBase64, verdict.SigInvalid),
			"certificate": {asPEM, ranges, map[string][]verdict.Code{
				"name": {verdict.CertUntrusted}, "key": {verdict.InputMalformed}, "signature": {verdict.CertUntrusted},
			}},
		}, func(data []byte) verdict.Code {
			var changed map[string]string
			if err := json.Unmarshal(data, &changed); err != nil {
				t.Fatal(err)
			}
			k := k.fresh()
			k.attachLayers(k.image, sigstoretest.Layer{Payload: l.Payload, Annotations: map[string]string{"dev.cosignproject.cosign/signature": changed["signature"], "dev.sigstore.cosign/certificate": changed["certificate"]}})
			v := newVerifier(t, verifier.Config{Policy: p, Roots: roots, Source: k.source()})
			_, code, _ := verify(t.Context(), t, v, k.image, now)
			return code
		})
	})
}
