// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// FuzzParsePolicy: what is refused is misuse with a position, and leaves
// nothing; what is accepted can be decided by.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(goodPolicy))
	f.Add([]byte("version: 1\nrules:\n  - {name: a, repositories: ['**'], mode: off}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("version: 1\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := verifier.ParsePolicy("policy.yaml", data)
		if err != nil {
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || p != nil {
				t.Errorf("got %v, %v", p, err)
			}
			return
		}
		if p.Digest() != verdict.SHA256(data) || len(p.Rules) == 0 {
			t.Errorf("accepted %q as %+v", data, p)
		}
		p.Warnings()
	})
}

// FuzzLegacy: a folder with payload.json and layers.json, as the annotations
// and payloads of a .sig manifest. Nothing passes but what was signed.
func FuzzLegacy(f *testing.F) {
	k := newKit(f)
	good := k.layer(k.image, good())
	layers := []map[string]any{{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": verdict.SHA256(good.Payload), "size": len(good.Payload), "annotations": good.Annotations}}
	f.Add(good.Payload, []byte(mustJSON(f, layers)))
	f.Add([]byte(`{"critical":{}}`), []byte(`[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"`+string(verdict.SHA256([]byte(`{"critical":{}}`)))+`","size":1,"annotations":{"dev.cosignproject.cosign/signature":"AA=="}}]`))
	f.Add([]byte("x"), []byte("[]"))
	p := oneOff(f, keyless())
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, payload, layers []byte) {
		for name, b := range map[string][]byte{"payload.json": payload, "layers.json": layers} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b, err := verifier.OpenBundle(dir)
		if err != nil {
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
				t.Errorf("got %v", err)
			}
			return
		}
		v := newVerifier(t, verifier.Config{Policy: p, Roots: k.roots, CacheSize: 1, Source: b})
		res, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
		if verdict.CodeOf(err) == verdict.Internal {
			t.Error(err)
		}
		if err == nil && res.Passed && string(payload) != string(good.Payload) {
			t.Errorf("passed with the payload %q", payload)
		}
	})
}

// FuzzBundle: the bytes of a sigstore bundle.
func FuzzBundle(f *testing.F) {
	k := newKit(f)
	good := k.bundle(k.image, good())
	f.Add(good)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{}}`))
	p := oneOff(f, keyless())
	f.Fuzz(func(t *testing.T, data []byte) {
		v := newVerifier(t, verifier.Config{Policy: p, Roots: k.roots, CacheSize: 1, Source: verifier.ParseBundle("fuzz", data)})
		res, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
		if verdict.CodeOf(err) == verdict.Internal {
			t.Error(err)
		}
		if err == nil && res.Passed && len(res.Identities) != 1 {
			t.Errorf("passed without a signer: %+v", res)
		}
	})
}

// FuzzManifest: the bytes of a manifest that a layout serves.
func FuzzManifest(f *testing.F) {
	k := newKit(f)
	f.Add(readFile(f, filepath.Join(k.dir, "blobs", "sha256", k.image.Digest.Hex())))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1,"mediaType":"x","platform":{"os":"linux"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}`))
	p := oneOff(f, keyless())
	src := k.source()
	f.Fuzz(func(t *testing.T, data []byte) {
		d := verdict.SHA256(data)
		if err := os.WriteFile(filepath.Join(k.dir, "blobs", "sha256", d.Hex()), data, 0o600); err != nil {
			t.Fatal(err)
		}
		v := newVerifier(t, verifier.Config{Policy: p, Roots: k.roots, CacheSize: 1, Source: src})
		res, err := v.Verify(t.Context(), verifier.Request{Image: verifier.Image{Repository: repo, Digest: d}, At: now})
		if verdict.CodeOf(err) == verdict.Internal || err == nil && res.Passed {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}

// FuzzParseRoots: a trusted_root.json from anywhere.
func FuzzParseRoots(f *testing.F) {
	f.Add(verifier.PublicGoodJSON())
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	f.Add([]byte(`{"tlogs":[{"hashAlgorithm":"SHA2_256"}]}`))
	f.Add([]byte("version: 1\ntrust-stores:\n  ca:\n    kind: ca\n    pem: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := verifier.ParseRoots(data)
		if _, ok := errors.AsType[*verdict.Misuse](err); err != nil && (!ok || r != nil) {
			t.Errorf("got %v, %v", r, err)
		}
		if err == nil && r.Digest() != verdict.SHA256(data) {
			t.Errorf("accepted %q", data)
		}
	})
}
