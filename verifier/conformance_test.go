// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	plain "github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// TestRealImages: every case of the kinds that this package reads gives its
// expected result, with the demands that the command line would make.
func TestRealImages(t *testing.T) {
	ran := 0
	for _, c := range sharedCases(t, "cosign-legacy-keyless", "cosign-legacy-keyed", "cosign-legacy-keyed-rekor", "bundle-v0.1-keyless", "bundle-v0.2-keyless", "bundle-v0.3-keyless", "github-attestation", "cosign-legacy-attestation-keyless") {
		t.Run(c.Name, func(t *testing.T) {
			ran++
			o := c.demand(t)
			o.RequireLog = c.Kind != "cosign-legacy-keyed" && c.Kind != "github-attestation"
			provenance := slices.Contains([]string{"bundle-v0.1-keyless", "bundle-v0.2-keyless", "github-attestation", "cosign-legacy-attestation-keyless"}, c.Kind)
			src := c.source(t)
			if provenance {
				v := newVerifier(t, verifier.Config{Policy: oneOff(t, o), Roots: c.roots(t), Source: src})
				if ok, code, _ := verify(t.Context(), t, v, c.image(), now); ok || code != verdict.SigNoneOfKind {
					t.Errorf("without --attestation: passed %v with %q, want %q", ok, code, verdict.SigNoneOfKind)
				}
				o.Attestation = verifier.ClassProvenance
			}
			v := newVerifier(t, verifier.Config{Policy: oneOff(t, o), Roots: c.roots(t), Source: src})
			ok, code, res := verify(t.Context(), t, v, c.image(), now)
			if want := c.Expect == "accept"; ok != want {
				t.Fatalf("passed %v with %q, want %v", ok, code, want)
			}
			if !ok {
				t.Logf("refused: %+v", res.Reasons)
				return
			}
			if len(res.Identities) == 0 || len(res.Inputs) == 0 {
				t.Errorf("identities %v and inputs %v, want some", res.Identities, res.Inputs)
			}
			// The same signatures say nothing about another image.
			other := c.image()
			other.Digest = verdict.SHA256([]byte("another image"))
			if _, isBundle := src.(*verifier.Bundle); isBundle {
				if ok, code, _ := verify(t.Context(), t, v, other, now); ok || code != verdict.SubjectMismatch {
					t.Errorf("for another digest: passed %v with %q, want %q", ok, code, verdict.SubjectMismatch)
				}
			}
		})
	}
	t.Logf("%d real images ran", ran)
}

// TestRealKeyedWithoutLog: with a key alone no log entry is demanded.
func TestRealKeyedWithoutLog(t *testing.T) {
	for _, c := range sharedCases(t, "cosign-legacy-keyed-rekor", "cosign-legacy-keyed") {
		t.Run(c.Name, func(t *testing.T) {
			for _, roots := range []*verifier.Roots{c.roots(t), nil} {
				v := newVerifier(t, verifier.Config{Policy: oneOff(t, c.demand(t)), Roots: roots, Source: c.source(t)})
				if ok, code, _ := verify(t.Context(), t, v, c.image(), now); ok != (c.Expect == "accept") {
					t.Errorf("passed %v with %q, want %s", ok, code, c.Expect)
				}
			}
		})
	}
}

// TestRealOtherRoots: what one instance signed is nothing to another one.
func TestRealOtherRoots(t *testing.T) {
	staging := loadRoots(t, sharedFile(t, "testdata", "roots", "staging", "trusted_root.json"))
	for _, c := range sharedCases(t, "cosign-legacy-keyless", "bundle-v0.3-keyless") {
		t.Run(c.Name, func(t *testing.T) {
			v := newVerifier(t, verifier.Config{Policy: oneOff(t, c.demand(t)), Roots: staging, Source: c.source(t)})
			if ok, code, _ := verify(t.Context(), t, v, c.image(), now); ok || code != verdict.LogMissing {
				t.Errorf("passed %v with %q, want %q", ok, code, verdict.LogMissing)
			}
		})
	}
}

// TestRealCloudBuild: provenance of Google Cloud Build, whose keys sign in two
// ways.
func TestRealCloudBuild(t *testing.T) {
	keys := map[string]string{"gcb-v0.3-github": "us-west2.pem", "gcb-v0.3-github-tag": "global-pae-provenanceSigner_1.pem"}
	for _, c := range sharedCases(t, "slsa-provenance-gcb") {
		t.Run(c.Name, func(t *testing.T) {
			check := func(key, predicate string, img verifier.Image) (bool, verdict.Code) {
				o := verifier.OneOff{Keys: [][]byte{readFile(t, sharedFile(t, "testdata", "roots", "gcb", key))}, Attestation: predicate}
				v := newVerifier(t, verifier.Config{Policy: oneOff(t, o), Source: c.source(t)})
				ok, code, _ := verify(t.Context(), t, v, img, now)
				return ok, code
			}
			const predicate = "https://slsa.dev/provenance/v0.1"
			if ok, code := check(keys[c.Name], predicate, c.image()); !ok {
				t.Errorf("refused with %q", code)
			}
			if ok, code := check("global.pem", predicate, c.image()); ok || code != verdict.SigInvalid {
				t.Errorf("with another key: passed %v with %q", ok, code)
			}
			if ok, code := check(keys[c.Name], verifier.ClassProvenance, c.image()); ok || code != verdict.SigNoneOfKind {
				t.Errorf("another predicate type: passed %v with %q", ok, code)
			}
			if ok, code := check(keys[c.Name], "", c.image()); ok || code != verdict.SigNoneOfKind {
				t.Errorf("as a signature: passed %v with %q", ok, code)
			}
			other := c.image()
			other.Digest = verdict.SHA256([]byte("another image"))
			if ok, code := check(keys[c.Name], predicate, other); ok || code != verdict.SubjectMismatch {
				t.Errorf("another image: passed %v with %q", ok, code)
			}
		})
	}
}

// TestRealPKI: a signature by a certificate of an own PKI, without any proof of
// time. Each other demand is refused by the check that is there for it.
func TestRealPKI(t *testing.T) {
	for _, c := range sharedCases(t, "cosign-legacy-pki") {
		pem := string(readFile(t, sharedFile(t, "testdata", "roots", "keys", "containers-image", "pki_root_crts.pem")))
		roots := func(kind, pem string) *verifier.Roots {
			t.Helper()
			r, err := verifier.ParseRoots([]byte("version: 1\ntrust-stores:\n  own:\n    kind: " + kind + "\n    pem: |\n      " + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n      ") + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		policy := func(subject string) *verifier.Policy {
			t.Helper()
			p, err := verifier.ParsePolicy("policy.yaml", []byte("version: 1\nauthorities:\n  own:\n    x509:\n      trust-stores: [own]\n      subject: "+subject+"\nrules:\n  - name: all\n    repositories: [\"**\"]\n    authorities: [own]\n"))
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		good := policy(c.Signatures[0].SAN)
		for name, tc := range map[string]struct {
			policy *verifier.Policy
			roots  *verifier.Roots
			at     time.Time
			want   verdict.Code
		}{
			"genuine":         {good, roots("x509", pem), now, ""},
			"other subject":   {policy("somebody@example.com"), roots("x509", pem), now, verdict.IdentitySAN},
			"other authority": {good, roots("x509", otherCA(t)), now, verdict.CertUntrusted},
			"before it began": {good, roots("x509", pem), time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), verdict.CertExpiredAtSigning},
		} {
			t.Run(name, func(t *testing.T) {
				v := newVerifier(t, verifier.Config{Policy: tc.policy, Roots: tc.roots, Source: c.source(t)})
				ok, code, res := verify(t.Context(), t, v, c.image(), tc.at)
				if code != tc.want || ok != (tc.want == "") {
					t.Errorf("passed %v with %q, want %q", ok, code, tc.want)
				}
				if ok && !res.NotAfter.After(now) {
					t.Errorf("NotAfter is %v, want the end of the chain", res.NotAfter)
				}
			})
		}
		if _, err := verifier.New(verifier.Config{Policy: good, Roots: roots("ca", pem), Source: c.source(t)}); err == nil || !strings.Contains(err.Error(), "of kind ca") {
			t.Errorf("a store of another kind: got %v", err)
		}
	}
}

// otherCA is the PEM certificate of an authority that signed nothing here.
func otherCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.AddDate(-9, 0, 0), NotAfter: now.AddDate(9, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestRealOtherKinds: what is there and not read here is not taken for nothing.
func TestRealOtherKinds(t *testing.T) {
	want := map[string]verdict.Code{
		"unsigned":     verdict.SigNone,
		"notation-jws": verdict.SigNoneOfKind,
	}
	for _, c := range sharedCases(t, "unsigned", "notation-jws") {
		if !strings.HasPrefix(c.Path, "images/") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			o := verifier.OneOff{Identity: "somebody", Issuer: "https://issuer.example"}
			roots := loadRoots(t, sharedFile(t, "testdata", "roots", "public-good", "trusted_root.json"))
			v := newVerifier(t, verifier.Config{Policy: oneOff(t, o), Roots: roots, Source: c.source(t)})
			ok, code, _ := verify(t.Context(), t, v, c.image(), now)
			if ok || code != want[c.Kind] {
				t.Errorf("passed %v with %q, want %q", ok, code, want[c.Kind])
			}
		})
	}
}

// oracle: what passes here passes in sigstore-go alone, whose steps are put
// together by us.
func oracle(t *testing.T, data, rootJSON, digest []byte, o verifier.OneOff) {
	t.Helper()
	tr, err := root.NewTrustedRootFromJSON(rootJSON)
	if err != nil {
		t.Fatal(err)
	}
	opts := []plain.VerifierOption{plain.WithTransparencyLog(1), plain.WithObserverTimestamps(1)}
	if len(tr.CTLogs()) > 0 {
		opts = append(opts, plain.WithSignedCertificateTimestamps(1))
	}
	v, err := plain.NewVerifier(tr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	id, err := plain.NewShortCertificateIdentity(o.Issuer, "", o.Identity, "")
	if err != nil {
		t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(&b, plain.NewPolicy(plain.WithArtifactDigest("sha256", digest), plain.WithCertificateIdentity(id))); err != nil {
		t.Errorf("passed here, and sigstore-go says %v", err)
	}
}

// TestConformanceVectors runs sigstore-conformance's bundles. An artifact is
// an image here as far as its digest goes; a DSSE bundle is asked for by its
// predicate type.
func TestConformanceVectors(t *testing.T) {
	dir := sharedFile(t, "conformance", "vectors")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			ran++
			file := func(name string) string {
				if p := filepath.Join(dir, e.Name(), name); exists(p) {
					return p
				}
				return sharedFile(t, "conformance", "default", name)
			}
			o := verifier.OneOff{}
			if p := filepath.Join(dir, e.Name(), "key.pub"); exists(p) {
				o.Keys = [][]byte{readFile(t, p)}
				o.RequireLog = strings.Contains(e.Name(), "trusted-root")
			} else {
				o.Identity = strings.TrimSpace(string(readFile(t, file("identity"))))
				o.Issuer = strings.TrimSpace(string(readFile(t, file("issuer"))))
			}
			want := !strings.HasSuffix(e.Name(), "_fail")
			sum := sha256.Sum256(readFile(t, file("artifact")))
			img := verifier.Image{Digest: verdict.DigestFromBytes(sum)}
			data := readFile(t, filepath.Join(dir, e.Name(), "bundle.sigstore.json"))
			roots, err := verifier.LoadRoots(file("trusted_root.json"))
			if err == nil {
				_, err = o.Policy()
			}
			if err != nil { // trust material that cannot be read refuses as well
				if want {
					t.Fatal(err)
				}
				return
			}
			for _, predicate := range []string{"", "https://slsa.dev/provenance/v1", "https://cosign.sigstore.dev/attestation/v1", "https://in-toto.io/attestation/release/v0.1", "https://slsa.dev/provenance/v0.2"} {
				o.Attestation = predicate
				v := newVerifier(t, verifier.Config{Policy: oneOff(t, o), Roots: roots, Source: verifier.ParseBundle(e.Name(), data)})
				ok, code, res := verify(t.Context(), t, v, img, now)
				if code == verdict.SigNoneOfKind {
					continue
				}
				if ok != want {
					t.Errorf("passed %v with %q, want %v: %v", ok, code, want, res)
				}
				if ok && len(o.Keys) == 0 {
					oracle(t, data, readFile(t, file("trusted_root.json")), sum[:], o)
				}
				t.Logf("passed %v, %q", ok, code)
				return
			}
			if want {
				t.Error("its kind was not found")
			}
		})
	}
	t.Logf("%d vectors ran", ran)
}
