// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// TestR29Platforms: what an index lists and nobody runs is no platform, and
// what the source does not have is known by its digest alone.
func TestR29Platforms(t *testing.T) {
	k := newKit(t)
	var entries []map[string]any
	for i := range verifier.MaxPlatforms + 2 {
		child := k.push(fmt.Sprint("child ", i))
		entries = append(entries, map[string]any{"mediaType": sigstoretest.TypeManifest, "digest": child.Digest, "size": 1,
			"platform": map[string]string{"os": "windows", "architecture": "amd64", "os.version": fmt.Sprint("10.0.", i)}})
	}
	missing := verdict.SHA256([]byte("not in this mirror"))
	entries = append(
		[]map[string]any{
			{"mediaType": sigstoretest.TypeManifest, "digest": missing, "size": 1, "platform": map[string]string{"os": "linux", "architecture": "s390x"}},
			{"mediaType": sigstoretest.TypeManifest, "digest": verdict.SHA256([]byte("a")), "size": 1, "platform": map[string]string{"os": "unknown", "architecture": "unknown"}},
			{"mediaType": sigstoretest.TypeManifest, "digest": verdict.SHA256([]byte("b")), "size": 1, "annotations": map[string]string{"vnd.docker.reference.type": "attestation-manifest"}, "platform": map[string]string{"os": "linux", "architecture": "amd64"}},
		}, entries...)
	index := []byte(mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": entries}))
	if err := k.store.PutManifest(t.Context(), repo, "", sigstoretest.TypeIndex, index); err != nil {
		t.Fatal(err)
	}
	k.image.Digest = verdict.SHA256(index)
	k.attachLayers(k.image, k.layer(k.image, good()))
	res := k.want(oneOff(t, keyless()), "")
	if len(res.Platforms) != verifier.MaxPlatforms+3 {
		t.Fatalf("%d platforms: %+v", len(res.Platforms), res.Platforms)
	}
	if p := res.Platforms[0]; p.Manifest != missing || p.Config != "" || p.ConfigComplete {
		t.Errorf("a platform that is not there: %+v", p)
	}
	complete := 0
	for _, p := range res.Platforms {
		if p.ConfigComplete {
			complete++
		}
		if p.OS == "windows" && !strings.HasPrefix(p.OSVersion, "10.0.") {
			t.Errorf("platform without version: %+v", p)
		}
	}
	if complete != verifier.MaxPlatforms-1 {
		t.Errorf("%d configurations were read, want %d", complete, verifier.MaxPlatforms-1)
	}
	// A signature of a child says nothing about the index, nor the other way.
	child := verifier.Image{Repository: repo, Digest: res.Platforms[1].Manifest}
	k.image = child
	k.want(oneOff(t, keyless()), verdict.SigNone)
}

// TestNestedIndex: an index inside a signed index is not gone into by us, and is
// by runtimes.
func TestNestedIndex(t *testing.T) {
	k := newKit(t)
	inner := []byte(mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": []any{
		map[string]any{"mediaType": sigstoretest.TypeManifest, "digest": k.image.Digest, "size": 1, "platform": map[string]string{"os": "linux", "architecture": "amd64"}}}}))
	outer := []byte(mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": []any{
		map[string]any{"mediaType": sigstoretest.TypeIndex, "digest": verdict.SHA256(inner), "size": len(inner), "platform": map[string]string{"os": "linux", "architecture": "amd64"}}}}))
	for _, index := range [][]byte{inner, outer} {
		if err := k.store.PutManifest(t.Context(), repo, "", sigstoretest.TypeIndex, index); err != nil {
			t.Fatal(err)
		}
	}
	for index, want := range map[verdict.Digest]verdict.Code{verdict.SHA256(inner): "", verdict.SHA256(outer): verdict.InputUnsupported} {
		image := verifier.Image{Repository: repo, Digest: index}
		k.attachLayers(image, k.layer(image, good()))
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source()})
		_, err := v.Verify(t.Context(), verifier.Request{Image: image, At: now})
		if verdict.CodeOf(err) != want {
			t.Errorf("%s: got %v, want code %q", index, err, want)
		}
	}
}

func TestExplanation(t *testing.T) {
	k := newKit(t)
	o := good()
	o.Subject += "x"
	k.attachLayers(k.image, k.layer(k.image, o))
	res := k.want(oneOff(t, keyless()), verdict.IdentitySAN)
	var b strings.Builder
	if err := res.Explanation.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{string(k.image.Digest), `rule "command-line", mode enforce: fail`, `authority "identity"`, "[identity.san]", "wanted: a signature of the image by " + subject} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
