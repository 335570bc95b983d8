// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

func TestParseReference(t *testing.T) {
	const hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const d = verdict.Digest("sha256:" + hex)
	for in, want := range map[string]verifier.Reference{
		"nginx@sha256:" + hex:                         {Repository: "docker.io/library/nginx", Digest: d},
		"library/nginx@sha256:" + hex:                 {Repository: "docker.io/library/nginx", Digest: d},
		"docker.io/nginx@sha256:" + hex:               {Repository: "docker.io/library/nginx", Digest: d},
		"index.docker.io/library/nginx@sha256:" + hex: {Repository: "docker.io/library/nginx", Digest: d},
		"nginx:1.27":                                    {Repository: "docker.io/library/nginx", Tag: "1.27"},
		"acme/app:v1@sha256:" + hex:                     {Repository: "docker.io/acme/app", Tag: "v1", Digest: d},
		"localhost/app@sha256:" + hex:                   {Repository: "localhost/app", Digest: d},
		"localhost:5000/app@sha256:" + hex:              {Repository: "localhost:5000/app", Digest: d},
		"registry.example:443/app@sha256:" + hex:        {Repository: "registry.example/app", Digest: d},
		"index.docker.io:443/nginx@sha256:" + hex:       {Repository: "docker.io/library/nginx", Digest: d},
		"[2001:DB8:0::1]/app@sha256:" + hex:             {Repository: "[2001:db8::1]/app", Digest: d},
		"[::1]:5000/app@sha256:" + hex:                  {Repository: "[::1]:5000/app", Digest: d},
		"registry.example/a/b__c/d-e.f:X@sha256:" + hex: {Repository: "registry.example/a/b__c/d-e.f", Tag: "X", Digest: d},
		"oci:/var/images/x@sha256:" + hex:               {Layout: "/var/images/x", Digest: d},
		"oci:C@D@sha256:" + hex:                         {Layout: "C@D", Digest: d},
		"sha256:" + hex:                                 {Digest: d},
	} {
		got, err := verifier.ParseReference(in)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", in, err, diff)
		}
	}
	for _, in := range []string{
		"", "nginx", "nginx:", "nginx@", "nginx@sha256:x", "nginx@sha512:" + hex, "NGINX@sha256:" + hex, "registry.example/App@sha256:" + hex,
		"registry.example//app@sha256:" + hex, "registry.example/../app@sha256:" + hex, "registry.example/app/@sha256:" + hex,
		"registry.example/a..b@sha256:" + hex, "registry.example/a___b@sha256:" + hex, "registry.example:0/app@sha256:" + hex, "registry.example:+5/app@sha256:" + hex,
		"registry.example:99999/app@sha256:" + hex, "-registry.example/app@sha256:" + hex, "user:pass@registry.example/app@sha256:" + hex,
		"https://registry.example/app@sha256:" + hex, "oci:@sha256:" + hex, "oci:dir", "oci:dir@tag", "nginx:a:b@sha256:" + hex, "nginx:" + strings.Repeat("a", 129),
		"registry.example/" + strings.Repeat("a/", 300) + "a@sha256:" + hex, "nginx@sha256:" + strings.ToUpper(hex), "nginx@sha256:" + hex + "\n",
	} {
		if got, err := verifier.ParseReference(in); verdict.CodeOf(err) != verdict.InputMalformed || got != (verifier.Reference{}) {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
	if _, err := verifier.ParseImage("nginx:1"); verdict.CodeOf(err) != verdict.InputMalformed {
		t.Errorf("a tag alone: %v", err)
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"nginx:1", "oci:d@sha256:" + strings.Repeat("a", 64), "[::1]:5000/a@sha256:" + strings.Repeat("0", 64), "a/b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := verifier.ParseReference(s)
		if err != nil {
			if r != (verifier.Reference{}) || verdict.CodeOf(err) != verdict.InputMalformed {
				t.Errorf("%q: %+v, %v", s, r, err)
			}
			return
		}
		if r.Repository == "" {
			return
		}
		again, err := verifier.ParseRepository(r.Repository)
		if err != nil || again != r.Repository || verdict.CheckRepository(again) != nil {
			t.Errorf("%q is not canonical: %q, %v", r.Repository, again, err)
		}
	})
}

func TestLayoutRefusals(t *testing.T) {
	k := newKit(t)
	k.attachLayers(k.image, k.layer(k.image, good()))
	blob := filepath.Join(k.dir, "blobs", "sha256", k.image.Digest.Hex())
	p := oneOff(t, keyless())
	k.want(p, "")
	write := func(path, content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := string(readFile(t, blob))
	write(blob, good+" ")
	k.want(p, verdict.RegistryDigestMismatch)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	k.want(p, verdict.ImageNotFound)
	// A link to something outside is not followed.
	outside := filepath.Join(t.TempDir(), "outside")
	write(outside, good)
	if err := os.Symlink(outside, blob); err != nil {
		t.Fatal(err)
	}
	k.want(p, verdict.RegistryUnreachable)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(blob, 0o700); err != nil {
		t.Fatal(err)
	}
	k.want(p, verdict.RegistryUnreachable)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	write(blob, strings.Repeat(" ", verifier.MaxManifestBytes+1))
	k.want(p, verdict.InputLimit)

	// Who gave up gets no answer.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	l, err := verifier.OpenLayout(newKit(t).dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only read
	for what, ask := range map[string]func(context.Context) error{
		"manifest":  func(ctx context.Context) error { _, _, err := l.Manifest(ctx, repo, k.image.Digest); return err },
		"referrers": func(ctx context.Context) error { _, err := l.Referrers(ctx, repo, k.image.Digest); return err },
	} {
		if err := ask(gone); verdict.CodeOf(err) != verdict.RegistryTimeout {
			t.Errorf("%s, given up: got %v", what, err)
		}
		if err := ask(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	for name, content := range map[string]string{"empty": "", "no index": `{"schemaVersion":2}`, "not JSON": "<"} {
		dir := t.TempDir()
		write(filepath.Join(dir, "index.json"), content)
		_, err := verifier.OpenLayout(dir)
		wantMisuse(t, name, err, "index.json")
	}
	_, err = verifier.OpenLayout(filepath.Join(k.dir, "nothing"))
	wantMisuse(t, "no folder", err, "opening OCI layout")
}

func TestBundleFolder(t *testing.T) {
	k := newKit(t)
	l := k.layer(k.image, good())
	layers := func(digest verdict.Digest) string {
		return `[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"` + string(digest) + `","size":1,"annotations":` + mustJSON(t, l.Annotations) + `}]`
	}
	for _, tt := range []struct {
		name, payload, layers string
		want                  verdict.Code
	}{
		{"good", string(l.Payload), layers(verdict.SHA256(l.Payload)), ""},
		{"another payload", string(l.Payload) + " ", layers(verdict.SHA256(l.Payload)), verdict.InputMalformed},
		{"layers are none", string(l.Payload), "{}", verdict.InputMalformed},
		{"layers not JSON", string(l.Payload), "[", verdict.InputMalformed},
		{"no layers", string(l.Payload), "[]", verdict.SigNone},
		{"too many", string(l.Payload), "[" + strings.TrimSuffix(strings.Repeat(layers(verdict.SHA256(l.Payload))[1:len(layers(verdict.SHA256(l.Payload)))-1]+",", 65), ",") + "]", verdict.InputLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range map[string]string{"payload.json": tt.payload, "layers.json": tt.layers,
				"subject.json": `{"digest":"` + string(k.image.Digest) + `","repository":"nginx"}`} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b, err := verifier.OpenBundle(dir)
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := b.Subject(); !ok || s.Digest != k.image.Digest || s.Repository != "docker.io/library/nginx" {
				t.Errorf("subject %+v", s)
			}
			v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: b})
			if ok, code, _ := verify(t.Context(), t, v, k.image, now); ok != (tt.want == "") || code != tt.want {
				t.Errorf("passed %v with %q, want %q", ok, code, tt.want)
			}
		})
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "nothing")} {
		_, err := verifier.OpenBundle(path)
		wantMisuse(t, path, err, "opening bundle")
	}
}

// TestBytesOfOneImage: what was fetched for another image before counts for this
// one too, which keeps it.
func TestBytesOfOneImage(t *testing.T) {
	w := newWorld(t, true)
	k := newKit(t)
	content := []byte("content")
	for _, st := range []sigstoretest.Store{w.store, k.store} {
		if err := st.PutBlob(t.Context(), repo, content); err != nil {
			t.Fatal(err)
		}
	}
	known := w.registry(verifier.RegistryConfig{})
	blob := func(ctx context.Context, src verifier.Source) verdict.Code {
		_, err := src.Blob(ctx, w.image.Repository, verdict.SHA256(content), int64(len(content)), 100)
		return verdict.CodeOf(err)
	}
	if code := blob(t.Context(), known); code != "" {
		t.Fatalf("nothing was read: %q", code)
	}
	for name, src := range map[string]verifier.Source{"registry": w.registry(verifier.RegistryConfig{}), "known": known, "layout": k.source()} {
		ctx := verifier.TestingOnlyBudget(t.Context(), len(content))
		for _, want := range []verdict.Code{"", verdict.InputLimit} {
			if code := blob(ctx, src); code != want {
				t.Errorf("%s: got %q, want %q", name, code, want)
			}
		}
	}
}
