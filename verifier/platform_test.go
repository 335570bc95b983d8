// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// An entry is one of an index.
type entry = map[string]any

func child(img verifier.Image, platform map[string]any) entry {
	return entry{"mediaType": sigstoretest.TypeManifest, "digest": img.Digest, "size": 1, "platform": platform}
}

// putIndex makes an index of entries the kit's image, and signs it.
func (k *kit) putIndex(entries ...entry) {
	k.t.Helper()
	index := []byte(mustJSON(k.t, entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": entries}))
	if err := k.store.PutManifest(k.t.Context(), repo, "", sigstoretest.TypeIndex, index); err != nil {
		k.t.Fatal(err)
	}
	k.image = verifier.Image{Repository: repo, Digest: verdict.SHA256(index)}
	k.attachLayers(k.image, k.layer(k.image, good()))
}

// TestR29Platforms: what an index lists and nobody runs is no platform, and
// what the source does not have is known by its digest alone.
func TestR29Platforms(t *testing.T) {
	k := newKit(t)
	missing := verdict.SHA256([]byte("not in this mirror"))
	attestation := k.push("an attestation").Digest
	entries := []entry{
		child(verifier.Image{Digest: missing}, entry{"os": "linux", "architecture": "s390x"}),
		{"mediaType": sigstoretest.TypeManifest, "digest": verdict.SHA256([]byte("a")), "size": 1, "platform": entry{"os": "unknown", "architecture": "unknown"}},
		{"mediaType": sigstoretest.TypeManifest, "digest": attestation, "size": 1, "annotations": map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": string(missing)}, "platform": entry{"os": "unknown", "architecture": "unknown"}},
	}
	for i := range verifier.MaxPlatforms + 2 {
		entries = append(entries, child(k.push(fmt.Sprint("child ", i)), entry{"os": "windows", "architecture": "amd64", "os.version": fmt.Sprint("10.0.", i), "os.features": []string{"win32k"}}))
	}
	k.putIndex(entries...)
	res := k.want(oneOff(t, keyless()), "")
	if len(res.Platforms) != verifier.MaxPlatforms+3 {
		t.Fatalf("%d platforms: %+v", len(res.Platforms), res.Platforms)
	}
	if p := res.Platforms[0]; p.Manifest != missing || p.Config != "" || p.ConfigComplete || !p.Missing || p.Unread {
		t.Errorf("a platform that is not there: %+v", p)
	}
	if len(res.Attestations) != 1 || res.Attestations[0] != attestation {
		t.Errorf("attestations %v, want %s alone", res.Attestations, attestation)
	}
	complete := 0
	for _, p := range res.Platforms[1:] {
		if p.ConfigComplete {
			complete++
		}
		if !strings.HasPrefix(p.OSVersion, "10.0.") || len(p.OSFeatures) != 1 || p.OSFeatures[0] != "win32k" {
			t.Errorf("platform without version or features: %+v", p)
		}
		if p.Config == "" || p.Missing || p.Unread || p.Layers != 1 {
			t.Errorf("a platform of which the manifest is there: %+v", p)
		}
	}
	if complete != verifier.MaxPlatforms-1 {
		t.Errorf("%d configurations were read, want %d", complete, verifier.MaxPlatforms-1)
	}
	// A signature of a child says nothing about the index, nor the other way.
	k.image = verifier.Image{Repository: repo, Digest: res.Platforms[1].Manifest}
	k.want(oneOff(t, keyless()), verdict.SigNone)
}

// TestR29AttestationThatRuns: what builders skip and runtimes run.
func TestR29AttestationThatRuns(t *testing.T) {
	k := newKit(t)
	e := child(k.image, entry{"os": "linux", "architecture": "amd64"})
	k.putIndex(e)
	k.want(oneOff(t, keyless()), "")
	e["annotations"] = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	k.putIndex(e)
	k.want(oneOff(t, keyless()), verdict.InputMalformed)
}

// TestR29AttestationIsNoSignature: that it is listed in the signed index, or
// refers to the image, does not make an attestation manifest a signature.
func TestR29AttestationIsNoSignature(t *testing.T) {
	k := newKit(t)
	img := k.image
	statement := []byte(mustJSON(t, entry{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2", "predicate": entry{},
		"subject": []entry{{"name": "x", "digest": map[string]string{"sha256": img.Digest.Hex()}}}}))
	if err := k.store.PutBlob(t.Context(), repo, statement); err != nil {
		t.Fatal(err)
	}
	if err := k.store.PutBlob(t.Context(), repo, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	manifest := []byte(mustJSON(t, entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
		"config":  entry{"mediaType": sigstoretest.TypeEmpty, "digest": verdict.SHA256([]byte("{}")), "size": 2},
		"layers":  []entry{{"mediaType": "application/vnd.in-toto+json", "digest": verdict.SHA256(statement), "size": len(statement), "annotations": map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}},
		"subject": entry{"mediaType": sigstoretest.TypeManifest, "digest": img.Digest, "size": 1}}))
	if err := k.store.PutManifest(t.Context(), repo, "", sigstoretest.TypeManifest, manifest); err != nil {
		t.Fatal(err)
	}
	k.want(oneOff(t, keyless()), verdict.SigNoneOfKind)
	k.want(policy(t, "version: 1\nauthorities:\n"+keylessYAML("release", subject)+
		"rules:\n  - name: all\n    repositories: ['**']\n    attestations:\n      - {predicate-type: 'https://slsa.dev/provenance/v0.2', authorities: [release]}\n"), verdict.SigNoneOfKind)
}

// TestPlatformSelection: two entries of one platform differ in os.version only.
func TestPlatformSelection(t *testing.T) {
	k := newKit(t)
	ltsc19 := k.push("ltsc2019")
	ltsc22 := k.push("ltsc2022")
	plain := k.push("linux")
	k.putIndex(
		child(ltsc19, entry{"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.5122"}),
		child(ltsc22, entry{"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.2113", "os.features": []string{"win32k"}}),
		child(plain, entry{"os": "linux", "architecture": "arm", "variant": "v7"}))
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source()})
	for selector, want := range map[string][]verdict.Digest{
		"":                                 {ltsc19.Digest, ltsc22.Digest, plain.Digest},
		"windows/amd64":                    {ltsc19.Digest, ltsc22.Digest},
		"windows(10.0.20348)/amd64":        {ltsc22.Digest},
		"windows(10.0.20348.2113)/amd64":   {ltsc22.Digest},
		"windows(10.0.17763)/amd64":        {ltsc19.Digest},
		"windows(10.0.20348+win32k)/amd64": {ltsc22.Digest},
		"windows(10.0.17763+other)/amd64":  {ltsc19.Digest},
		"linux/arm":                        {plain.Digest},
		"linux/arm/v7":                     {plain.Digest},
		"linux/arm/v6":                     nil,
		"linux/amd64":                      nil,
		"windows(10.0.2034)/amd64":         nil,
		"windows(10.0.20348+other)/amd64":  nil,
		"windows/arm64":                    nil,
	} {
		req := verifier.Request{Image: k.image, At: now}
		if selector != "" {
			req.Platforms = []string{selector}
		}
		res, err := v.Verify(t.Context(), req)
		if want == nil {
			if !verdict.Refused(err) || verdict.CodeOf(err) != verdict.SubjectPlatform {
				t.Errorf("%s: got %v, want %q", selector, err, verdict.SubjectPlatform)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", selector, err)
			continue
		}
		var read []verdict.Digest
		for _, p := range res.Platforms {
			if !p.Unread {
				read = append(read, p.Manifest)
			}
		}
		if !slices.Equal(read, want) || len(res.Platforms) != 3 {
			t.Errorf("%s: read %v, want %v of %+v", selector, read, want, res.Platforms)
		}
	}
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "windows()/amd64", "windows(10.0/amd64", "windows(10.0)x/amd64", "windows(10+)/amd64", "linux/amd64,linux/arm64", "a b/c", strings.Repeat("x", 300) + "/amd64"} {
		_, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now, Platforms: []string{bad}})
		wantMisuse(t, bad, err, "platform")
	}
}

// TestDeniedChild: owners deny the digest that they know, of a manifest or a
// configuration, wherever in the index it is.
func TestDeniedChild(t *testing.T) {
	k := newKit(t)
	var entries []entry
	for i := range verifier.MaxChildren + 1 {
		entries = append(entries, child(k.push(fmt.Sprint("child ", i)), entry{"os": "linux", "architecture": fmt.Sprint("a", i)}))
	}
	k.putIndex(entries...)
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source()})
	res, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
	if err != nil || !res.Passed {
		t.Fatalf("nothing is denied: %+v, %v", res, err)
	}
	last := res.Platforms[verifier.MaxChildren]
	if !last.Unread || last.Config != "" || res.Platforms[verifier.MaxChildren-1].Config == "" {
		t.Errorf("the last two of %d: %+v", len(res.Platforms), res.Platforms[verifier.MaxChildren-1:])
	}
	ask := func(denied verdict.Digest, platforms ...string) error {
		t.Helper()
		d, err := v.WithDeny(verdict.DenyList{V: 1, Images: []verdict.Digest{denied}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Verify(t.Context(), verifier.Request{Image: k.image, At: now, Platforms: platforms})
		return err
	}
	// The configuration of a platform that is beyond those of which it is read.
	for name, d := range map[string]verdict.Digest{"manifest": res.Platforms[20].Manifest, "configuration": res.Platforms[20].Config, "manifest of the last": last.Manifest} {
		if err := ask(d); !verdict.Refused(err) || verdict.CodeOf(err) != verdict.RevokedImage {
			t.Errorf("%s: got %v, want %q", name, err, verdict.RevokedImage)
		}
	}
	// It may be the last one's configuration, which was not looked at.
	if err := ask(verdict.SHA256([]byte("some image"))); verdict.Refused(err) || verdict.CodeOf(err) != verdict.InputLimit {
		t.Errorf("an image that may be in the index: got %v, want a failure %q", err, verdict.InputLimit)
	}
	// Who asks about one platform is told about that one.
	if err := ask(verdict.SHA256([]byte("some image")), "linux/a3"); err != nil {
		t.Errorf("one platform: %v", err)
	}
	if err := ask(res.Platforms[3].Config, "linux/a3"); verdict.CodeOf(err) != verdict.RevokedImage {
		t.Errorf("one platform, denied: got %v, want %q", err, verdict.RevokedImage)
	}
}

// TestDeniedAttestation: what owners denied is not let in as an attachment.
func TestDeniedAttestation(t *testing.T) {
	k := newKit(t)
	attestation := verdict.SHA256([]byte("attestation"))
	k.putIndex(child(k.image, entry{"os": "linux", "architecture": "amd64"}),
		entry{"mediaType": sigstoretest.TypeManifest, "digest": attestation, "size": 1, "annotations": map[string]string{"vnd.docker.reference.type": "attestation-manifest"}, "platform": entry{"os": "unknown", "architecture": "unknown"}})
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source()})
	for _, tt := range []struct {
		denied verdict.Digest
		want   verdict.Code
	}{{verdict.SHA256([]byte("other")), ""}, {attestation, verdict.RevokedImage}} {
		d, err := v.WithDeny(verdict.DenyList{V: 1, Images: []verdict.Digest{tt.denied}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Verify(t.Context(), verifier.Request{Image: k.image, At: now}); verdict.CodeOf(err) != tt.want {
			t.Errorf("denied %s: got %v, want %q", tt.denied.Short(), err, tt.want)
		}
	}
}

// TestForeignLayers: the layers of Windows's base images are elsewhere, and what
// the manifest says of where is not followed.
func TestForeignLayers(t *testing.T) {
	k := newKit(t)
	asked := newSnoop(t, func(http.ResponseWriter, *http.Request) {})
	for _, mediaType := range []string{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"} {
		layer := verdict.SHA256([]byte(mediaType))
		config := []byte(mustJSON(t, entry{"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.2113", "rootfs": entry{"type": "layers", "diff_ids": []verdict.Digest{layer}}}))
		if err := k.store.PutBlob(t.Context(), repo, config); err != nil {
			t.Fatal(err)
		}
		m := []byte(mustJSON(t, entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "config": entry{"mediaType": sigstoretest.TypeConfig, "digest": verdict.SHA256(config), "size": len(config)},
			"layers": []entry{{"mediaType": mediaType, "digest": layer, "size": 1 << 30, "urls": []string{"http://" + asked.host + "/layer", "file:///etc/passwd"}}}}))
		if err := k.store.PutManifest(t.Context(), repo, "", sigstoretest.TypeManifest, m); err != nil {
			t.Fatal(err)
		}
		k.image.Digest = verdict.SHA256(m)
		k.attachLayers(k.image, k.layer(k.image, good()))
		res := k.want(oneOff(t, keyless()), "")
		if p := res.Platforms[0]; p.OSVersion != "10.0.20348.2113" || !p.ConfigComplete || p.Layers != 1 {
			t.Errorf("%s: %+v", mediaType, p)
		}
	}
	if asked.asked() != 0 {
		t.Errorf("the host of a foreign layer was asked %d times", asked.asked())
	}
}

// putImage makes an image of a configuration and what its manifest says beside it.
func (k *kit) putImage(config []byte, more entry) verifier.Image {
	k.t.Helper()
	if err := k.store.PutBlob(k.t.Context(), repo, config); err != nil {
		k.t.Fatal(err)
	}
	m := entry{"schemaVersion": 2, "config": entry{"mediaType": sigstoretest.TypeConfig, "digest": verdict.SHA256(config), "size": len(config)}, "layers": []entry{}}
	maps.Copy(m, more)
	b := []byte(mustJSON(k.t, m))
	if err := k.store.PutManifest(k.t.Context(), repo, "", sigstoretest.TypeManifest, b); err != nil {
		k.t.Fatal(err)
	}
	return verifier.Image{Repository: repo, Digest: verdict.SHA256(b)}
}

// TestConfigurations changes one thing in the configuration of an image.
func TestConfigurations(t *testing.T) {
	k := newKit(t)
	withSize := func(size int) entry {
		return entry{"config": entry{"mediaType": sigstoretest.TypeConfig, "digest": verdict.SHA256([]byte("{}")), "size": size}}
	}
	for _, tt := range []struct {
		name, config string
		more         entry
		want         verdict.Code
	}{
		{"good", `{"os":"linux","rootfs":{"diff_ids":[]}}`, nil, ""},
		{"empty", `{}`, nil, ""},
		{"not JSON", `<`, nil, verdict.InputMalformed},
		{"a list", `[]`, nil, verdict.InputMalformed},
		{"other letters", `{"os":"linux","OS":"windows"}`, nil, verdict.InputMalformed},
		{"system is a number", `{"os":1}`, nil, verdict.InputMalformed},
		{"system with a slash", `{"os":"linux/amd64"}`, nil, verdict.InputMalformed},
		{"file system is a list", `{"rootfs":[]}`, nil, verdict.InputMalformed},
		{"other letters in the file system", `{"rootfs":{"Diff_IDs":[]}}`, nil, verdict.InputMalformed},
		{"layers are text", `{"rootfs":{"diff_ids":"x"}}`, nil, verdict.InputMalformed},
		{"says as much as there may be", `{}`, withSize(verifier.MaxConfigBytes), verdict.InputMalformed},
		{"says more", `{}`, withSize(verifier.MaxConfigBytes + 1), verdict.InputLimit},
	} {
		k.image = k.putImage([]byte(tt.config), tt.more)
		k.attachLayers(k.image, k.layer(k.image, good()))
		t.Run(tt.name, func(t *testing.T) { k.want(oneOff(t, keyless()), tt.want) })
	}
}

// TestChildOfAnotherType: an index does not say of an image what its source does not.
func TestChildOfAnotherType(t *testing.T) {
	k := newKit(t)
	e := child(k.putImage([]byte("{}"), nil), entry{"os": "linux", "architecture": "amd64"})
	for mediaType, want := range map[string]verdict.Code{
		"":                        "",
		sigstoretest.TypeManifest: "",
		"application/vnd.docker.distribution.manifest.v2+json": verdict.InputMalformed,
	} {
		e["mediaType"] = mediaType
		k.putIndex(e)
		k.want(oneOff(t, keyless()), want)
	}
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
	// Whether it would be read is not asked, and its type need not be told.
	linux := child(k.image, entry{"os": "linux", "architecture": "amd64"})
	nested := entry{"mediaType": sigstoretest.TypeIndex, "digest": verdict.SHA256(inner), "size": len(inner), "platform": entry{"os": "linux", "architecture": "arm64"}}
	for name, tt := range map[string]struct {
		mediaType string
		platforms []string
		want      verdict.Code
	}{
		"of another platform": {sigstoretest.TypeIndex, []string{"linux/amd64"}, verdict.InputUnsupported},
		"of no type":          {"", nil, verdict.InputUnsupported},
	} {
		nested["mediaType"] = tt.mediaType
		k.putIndex(linux, nested)
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source()})
		_, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now, Platforms: tt.platforms})
		if verdict.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want code %q", name, err, tt.want)
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
