// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
)

// TestManifestForm: an image, an index, a configuration, and one change.
func TestManifestForm(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	descriptor := `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest + `","size":1}`
	image := `{"schemaVersion":2,"mediaType":"` + typeOCIManifest + `","artifactType":"a","annotations":{"a":"b"},"subject":` + descriptor + `,"config":` + descriptor + `,"layers":[` + descriptor + `]}`
	read := func(s string) error { _, err := parseManifest(typeOCIManifest, []byte(s)); return err }
	malformations(t, image, read, []malformation{
		{"no object", "", "[]", verdict.InputMalformed, "want a JSON object"},
		{"another case", `"config"`, `"Config":1,"config"`, verdict.InputMalformed, "in other letters"},
		{"version that is text", `"schemaVersion":2`, `"schemaVersion":"2"`, verdict.InputMalformed, "schemaVersion is not 2"},
		{"type that is a number", `"mediaType":"` + typeOCIManifest + `"`, `"mediaType":1`, verdict.InputMalformed, `"mediaType" is not`},
		{"version 1", `"schemaVersion":2`, `"schemaVersion":1`, verdict.InputMalformed, "schemaVersion is not 2"},
		{"another type", typeOCIManifest, typeDockerManifest, verdict.InputMalformed, "is served as"},
		{"an index too", `"schemaVersion":2`, `"schemaVersion":2,"manifests":[]`, verdict.InputMalformed, "of an index and of an image"},
		{"an old one too", `"schemaVersion":2`, `"schemaVersion":2,"fsLayers":[]`, verdict.InputMalformed, "of an index and of an image"},
		{"artifact type", `"artifactType":"a"`, `"artifactType":1`, verdict.InputMalformed, `"artifactType" is not`},
		{"annotations", `"annotations":{"a":"b"}`, `"annotations":{"a":1}`, verdict.InputMalformed, `"annotations" is not`},
		{"a large annotation", `{"a":"b"}`, `{"a":"` + strings.Repeat("b", maxAnnotationBytes+1) + `"}`, verdict.InputMalformed, "annotation"},
		{"subject", `"subject":{`, `"subject":1,"x":{`, verdict.InputMalformed, "subject: "},
		{"no config", `"config":` + descriptor + `,`, "", verdict.InputMalformed, "config: "},
		{"config", `"config":{`, `"config":1,"x":{`, verdict.InputMalformed, "config: "},
		{"layers", `"layers":[`, `"layers":1,"x":[`, verdict.InputMalformed, "layers: want a list"},
		{"a layer", `"layers":[`, `"layers":[1,`, verdict.InputMalformed, "layers: want a JSON object"},
		{"many layers", `"layers":[`, `"layers":[` + many(maxLayers, descriptor) + `,`, verdict.InputMalformed, "layers: "},
		{"a negative size", `"size":1`, `"size":-1`, verdict.InputMalformed, "size of"},
		{"a size that is text", `"size":1`, `"size":"1"`, verdict.InputMalformed, `"size" is not`},
	})
	platform := `{"os":"linux","architecture":"amd64","os.features":["a"]}`
	index := `{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[` + strings.TrimSuffix(descriptor, "}") + `,"platform":` + platform + `}]}`
	read = func(s string) error { _, err := parseManifest(typeOCIIndex, []byte(s)); return err }
	malformations(t, index, read, []malformation{
		{"no manifests", `"manifests":[`, `"x":[`, verdict.InputMalformed, "manifests: want a list"},
		{"manifests", `"manifests":[`, `"manifests":1,"x":[`, verdict.InputMalformed, "manifests: want a list"},
		{"a platform", `"platform":{`, `"platform":1,"x":{`, verdict.InputMalformed, "want a JSON object"},
		{"another case", `"os":`, `"OS":"x","os":`, verdict.InputMalformed, "in other letters"},
		{"a system that is a number", `"os":"linux"`, `"os":1`, verdict.InputMalformed, `"os" is not`},
		{"a slash", `"linux"`, `"a/b"`, verdict.InputMalformed, "platform member os"},
		{"features", `["a"]`, `"a"`, verdict.InputMalformed, `"os.features" is not`},
		{"many features", `["a"]`, `[` + many(maxOSFeatures+1, `"a"`) + `]`, verdict.InputMalformed, "33 os.features"},
		{"a long feature", `["a"]`, `["` + strings.Repeat("a", maxPlatformMember+1) + `"]`, verdict.InputMalformed, "platform member os.features"},
	})
	if _, err := parseManifest("text/plain", []byte(`{"schemaVersion":2}`)); verdict.CodeOf(err) != verdict.InputUnsupported {
		t.Errorf("of another type: got %v", err)
	}
}

// An answering source has one answer.
type answering struct {
	Source
	mediaType string
	body      []byte
}

func (a answering) Manifest(context.Context, string, verdict.Digest) (mediaType string, body []byte, err error) {
	return a.mediaType, a.body, nil
}

func (a answering) Blob(context.Context, string, verdict.Digest, int64, int64) ([]byte, error) {
	return a.body, nil
}

func TestChildForm(t *testing.T) {
	image := []byte(`{"schemaVersion":2,"config":{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":1},"layers":[]}`)
	for name, tt := range map[string]struct {
		listed, served string
		code           verdict.Code
	}{
		"as it is listed": {typeOCIManifest, typeOCIManifest, ""},
		"not listed":      {"", typeOCIManifest, ""},
		"another":         {typeOCIManifest, typeDockerManifest, verdict.InputMalformed},
	} {
		if _, err := childManifest(t.Context(), answering{mediaType: tt.served, body: image}, "r", Descriptor{MediaType: tt.listed}); verdict.CodeOf(err) != tt.code {
			t.Errorf("%s: got %v, want %s", name, err, tt.code)
		}
	}
	for name, tt := range map[string]struct {
		body string
		size int64
		code verdict.Code
	}{
		"a configuration":   {`{"os":"linux","rootfs":{"diff_ids":["x"]}}`, 1, ""},
		"no object":         {`[]`, 1, verdict.InputMalformed},
		"another case":      {`{"os":"linux","OS":"x"}`, 1, verdict.InputMalformed},
		"another platform":  {`{"os":1}`, 1, verdict.InputMalformed},
		"no rootfs":         {`{"rootfs":1}`, 1, verdict.InputMalformed},
		"rootfs, case":      {`{"rootfs":{"diff_ids":[],"Diff_IDs":[]}}`, 1, verdict.InputMalformed},
		"diff IDs, no list": {`{"rootfs":{"diff_ids":1}}`, 1, verdict.InputMalformed},
	} {
		if _, err := fetchConfig(t.Context(), answering{body: []byte(tt.body)}, "r", Descriptor{Size: tt.size}); verdict.CodeOf(err) != tt.code {
			t.Errorf("%s: got %v, want %s", name, err, tt.code)
		}
	}
}

// TestBudgets: what one image may cost, and one layout.
func TestBudgets(t *testing.T) {
	ctx := withBudget(t.Context())
	budgetOf(ctx).read(MaxImageBytes - 1)
	if n, err := budgetOf(ctx).room(10); n != 1 || err != nil {
		t.Errorf("one byte is left: got %d, %v", n, err)
	}
	budgetOf(ctx).read(1)
	if _, err := budgetOf(ctx).room(10); verdict.CodeOf(err) != verdict.InputLimit {
		t.Errorf("nothing is left: got %v", err)
	}
	for range MaxRequests {
		if err := budgetOf(ctx).request(); err != nil {
			t.Fatal(err)
		}
	}
	if err := budgetOf(ctx).request(); verdict.CodeOf(err) != verdict.InputLimit {
		t.Errorf("one request too many: got %v", err)
	}
	if _, err := new(Verifier).follow(ctx, inquiry{depth: maxDepth + 1}); verdict.CodeOf(err) != verdict.InputLimit {
		t.Errorf("one image too deep: got %v", err)
	}

	dir := t.TempDir()
	manifest := []byte(`{"schemaVersion":2}`)
	digest := verdict.SHA256(manifest)
	for name, data := range map[string][]byte{"blobs/sha256/" + digest.Hex(): manifest, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"` + typeOCIManifest + `","digest":"` + string(digest) + `","size":19}]}`)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for read, code := range map[int64]verdict.Code{0: "", maxLayoutManifests: verdict.InputLimit} {
		l, err := OpenLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		l.read = read
		if _, err := l.Referrers(t.Context(), "r", digest); verdict.CodeOf(err) != code {
			t.Errorf("after %d bytes: got %v, want %s", read, err, code)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}

	// A stream ends with the one who asked.
	ctx, cancel := context.WithCancel(t.Context())
	f, err := os.Open(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := layoutStream{ctx, f, digest}
	defer s.Close() //nolint:errcheck // only read
	if _, err := s.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Read(make([]byte, 1)); verdict.CodeOf(err) != verdict.RegistryTimeout {
		t.Errorf("a stream, given up: got %v", err)
	}
	if err := new(Layout).readSubject(ctx, Descriptor{MediaType: typeOCIManifest, Digest: digest}); verdict.CodeOf(err) != verdict.RegistryTimeout {
		t.Errorf("an entry of the index, given up: got %v", err)
	}
}
