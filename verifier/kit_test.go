// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

const (
	issuer  = "https://token.actions.githubusercontent.com"
	subject = "https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main"
	repo    = "registry.example/acme/app"
)

var signedAt = now.Add(-24 * time.Hour)

// instance is one test sigstore for all tests that need nothing special.
var instance = sync.OnceValues(func() (*sigstoretest.Sigstore, error) {
	return sigstoretest.New(sigstoretest.Config{At: now})
})

func testSigstore(t testing.TB) (*sigstoretest.Sigstore, *verifier.Roots) {
	t.Helper()
	s, err := instance()
	if err != nil {
		t.Fatal(err)
	}
	return s, rootsOf(t, s)
}

func rootsOf(t testing.TB, s *sigstoretest.Sigstore) *verifier.Roots {
	t.Helper()
	data, err := s.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	r, err := verifier.ParseRoots(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func good() sigstoretest.Options {
	return sigstoretest.Options{Issuer: issuer, Subject: subject, At: signedAt}
}

func keyless() verifier.OneOff { return verifier.OneOff{Identity: subject, Issuer: issuer} }

// A kit is an image in a store, and what it takes to sign and verify it.
type kit struct {
	t     testing.TB
	sig   *sigstoretest.Sigstore
	roots *verifier.Roots
	store sigstoretest.Store
	dir   string
	image verifier.Image
}

func newKit(t testing.TB) *kit {
	t.Helper()
	k := &kit{t: t, dir: t.TempDir()}
	k.sig, k.roots = testSigstore(t)
	l, err := sigstoretest.NewLayout(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	k.store = l
	k.image = k.push("hello")
	return k
}

func (k *kit) push(content string) verifier.Image {
	k.t.Helper()
	d, err := sigstoretest.PushImage(k.t.Context(), k.store, repo, "", []byte(content))
	if err != nil {
		k.t.Fatal(err)
	}
	return verifier.Image{Repository: repo, Digest: d}
}

// index pushes an index of images by platform.
func (k *kit) index(images map[string]verifier.Image) verifier.Image {
	k.t.Helper()
	var entries []map[string]any
	for _, p := range slices.Sorted(maps.Keys(images)) {
		system, arch, _ := strings.Cut(p, "/")
		entries = append(entries, map[string]any{"mediaType": sigstoretest.TypeManifest, "digest": images[p].Digest, "size": 1,
			"platform": map[string]string{"os": system, "architecture": arch}})
	}
	index := []byte(mustJSON(k.t, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": entries}))
	if err := k.store.PutManifest(k.t.Context(), repo, "", sigstoretest.TypeIndex, index); err != nil {
		k.t.Fatal(err)
	}
	return verifier.Image{Repository: repo, Digest: verdict.SHA256(index)}
}

func (k *kit) layer(img verifier.Image, o sigstoretest.Options) sigstoretest.Layer {
	k.t.Helper()
	l, err := k.sig.Legacy(repo, img.Digest, o)
	if err != nil {
		k.t.Fatal(err)
	}
	return l
}

func (k *kit) bundle(img verifier.Image, o sigstoretest.Options) []byte {
	k.t.Helper()
	b, err := k.sig.Bundle(img.Digest, o)
	if err != nil {
		k.t.Fatal(err)
	}
	return b
}

func (k *kit) attachLayers(img verifier.Image, layers ...sigstoretest.Layer) {
	k.t.Helper()
	if err := sigstoretest.AttachLegacy(k.t.Context(), k.store, repo, img.Digest, layers...); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) attachBundle(img verifier.Image, b []byte, hint string) {
	k.t.Helper()
	d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: img.Digest, Size: 1}
	if err := sigstoretest.Attach(k.t.Context(), k.store, repo, d, b, hint, true); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) source() verifier.Source {
	k.t.Helper()
	l, err := verifier.OpenLayout(k.dir)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = l.Close() })
	return l
}

// check verifies the kit's image.
func (k *kit) check(p *verifier.Policy) (bool, verdict.Code, *verifier.Result) {
	k.t.Helper()
	v := newVerifier(k.t, verifier.Config{Policy: p, Roots: k.roots, Source: k.source()})
	return verify(k.t.Context(), k.t, v, k.image, now)
}

// want asserts the code of a check; "" is a pass.
func (k *kit) want(p *verifier.Policy, want verdict.Code) *verifier.Result {
	k.t.Helper()
	ok, code, res := k.check(p)
	if ok != (want == "") || code != want {
		k.t.Errorf("passed %v with %q, want %q", ok, code, want)
		if res != nil {
			k.t.Logf("reasons: %+v", res.Reasons)
		}
	}
	return res
}

func newKey(t testing.TB, name string) (crypto.Signer, []byte) {
	t.Helper()
	var key crypto.Signer
	var err error
	switch name {
	case "p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "p521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "rsa2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no key %q", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key, publicPEM(t, key.Public())
}

func publicPEM(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// policy parses YAML in which "\t" is not needed.
func policy(t testing.TB, yaml string) *verifier.Policy {
	t.Helper()
	p, err := verifier.ParsePolicy("policy.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func indent(pem []byte) string {
	return strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n        ")
}

func keylessYAML(name, subject string) string {
	return fmt.Sprintf("  %s:\n    keyless:\n      issuer: %s\n      subject: %s\n", name, issuer, subject)
}

func keyYAML(name string, pem []byte) string {
	return fmt.Sprintf("  %s:\n    key:\n      pem: |\n        %s\n", name, indent(pem))
}

// testClient keeps no connection: test servers that close end those of
// http.DefaultClient, also in the middle of another test.
var testClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// server runs h on loopback and returns its host:port.
func server(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// weakKey is an RSA public key of 1024 bits, which nobody holds.
func weakKey(t testing.TB) (*rsa.PublicKey, []byte) {
	t.Helper()
	k := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	return k, publicPEM(t, k)
}
