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

// TestListedReferrer: that a list names a signature does not make it one of the
// image, whatever is in it: its own manifest says what it refers to.
func TestListedReferrer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		subject func(k *kit) verdict.Digest
		want    verdict.Code
	}{
		{"the image", func(k *kit) verdict.Digest { return k.image.Digest }, ""},
		{"another image", func(k *kit) verdict.Digest { return k.push("other").Digest }, verdict.SubjectMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			of := tt.subject(k)
			d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: of, Size: 1}
			if err := sigstoretest.Attach(t.Context(), k.store, repo, d, k.bundle(k.image, good()), "", false); err != nil {
				t.Fatal(err)
			}
			list, err := k.source().Referrers(t.Context(), repo, of)
			if err != nil || len(list) != 1 {
				t.Fatalf("referrers %+v, %v", list, err)
			}
			index := mustJSON(t, entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": []entry{
				{"mediaType": sigstoretest.TypeManifest, "artifactType": sigstoretest.TypeBundle, "digest": list[0].Digest, "size": 1}}})
			if err := k.store.PutManifest(t.Context(), repo, "sha256-"+k.image.Digest.Hex(), sigstoretest.TypeIndex, []byte(index)); err != nil {
				t.Fatal(err)
			}
			k.want(oneOff(t, keyless()), tt.want)
		})
	}
}

// refer lists a signature of the image at the referrers' tag, with one change to its
// manifest or the descriptor of its layer.
func (k *kit) refer(artifact, mediaType string, data []byte, change func(manifest, layer entry)) {
	k.t.Helper()
	empty := []byte("{}")
	for _, b := range [][]byte{data, empty} {
		if err := k.store.PutBlob(k.t.Context(), repo, b); err != nil {
			k.t.Fatal(err)
		}
	}
	layer := entry{"mediaType": mediaType, "digest": verdict.SHA256(data), "size": len(data)}
	m := entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "artifactType": artifact,
		"config": entry{"mediaType": sigstoretest.TypeEmpty, "digest": verdict.SHA256(empty), "size": len(empty)}, "layers": []entry{layer},
		"subject": entry{"mediaType": sigstoretest.TypeManifest, "digest": k.image.Digest, "size": 1}}
	if change != nil {
		change(m, layer)
	}
	manifest := []byte(mustJSON(k.t, m))
	index := []byte(mustJSON(k.t, entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": []entry{
		{"mediaType": sigstoretest.TypeManifest, "artifactType": artifact, "digest": verdict.SHA256(manifest), "size": len(manifest)}}}))
	if err := k.store.PutManifest(k.t.Context(), repo, "", sigstoretest.TypeManifest, manifest); err != nil {
		k.t.Fatal(err)
	}
	if err := k.store.PutManifest(k.t.Context(), repo, "sha256-"+k.image.Digest.Hex(), sigstoretest.TypeIndex, index); err != nil {
		k.t.Fatal(err)
	}
}

// TestReferrerForms: a signature that is listed, and one change to its manifest.
func TestReferrerForms(t *testing.T) {
	for _, tt := range []struct {
		name             string
		change           func(manifest, layer entry)
		want             verdict.Code
		bundle, notation string // what is said of either
	}{
		{"good", nil, "", "", ""},
		{"no layer", func(m, _ entry) { m["layers"] = []entry{} }, verdict.InputMalformed, "want exactly one layer, a bundle", "want exactly one layer, an envelope"},
		{"two layers", func(m, l entry) { m["layers"] = []entry{l, l} }, verdict.InputMalformed, "want exactly one layer, a bundle", "want exactly one layer, an envelope"},
		{"an absent layer", func(_, l entry) { l["digest"] = verdict.SHA256([]byte("nobody has it")) }, verdict.InputMalformed, "its bundle is not there", "its envelope is not there"},
	} {
		check := func(t *testing.T, ok bool, code verdict.Code, res *verifier.Result, text string) {
			t.Helper()
			if ok != (tt.want == "") || code != tt.want || text != "" && (res == nil || !strings.Contains(fmt.Sprint(res.Reasons), text)) {
				t.Errorf("passed %v with %q, want %q with %q", ok, code, tt.want, text)
				if res != nil {
					t.Logf("reasons: %+v", res.Reasons)
				}
			}
		}
		t.Run(tt.name+", bundle", func(t *testing.T) {
			k := newKit(t)
			k.refer(sigstoretest.TypeBundle, sigstoretest.TypeBundle, k.bundle(k.image, good()), tt.change)
			ok, code, res := k.check(oneOff(t, keyless()))
			check(t, ok, code, res, tt.bundle)
		})
		t.Run(tt.name+", notation", func(t *testing.T) {
			k := newNotationKit(t)
			k.refer("application/vnd.cncf.notary.signature", notationJWS, k.envelope(notationJWS, nil), tt.change)
			ok, code, res := k.with(acme+"    revocation: off\n", "", verifier.Config{})
			check(t, ok, code, res, tt.notation)
		})
	}
	for name, tt := range map[string]struct {
		layer  string
		change func(manifest, layer entry)
		text   string
	}{
		"a layer that is no bundle": {notationJWS, nil, "want exactly one layer, a bundle"},
		"no manifest":               {sigstoretest.TypeBundle, func(m, _ entry) { m["schemaVersion"] = 3 }, "schemaVersion is not 2"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			k.refer(sigstoretest.TypeBundle, tt.layer, k.bundle(k.image, good()), tt.change)
			if res := k.want(oneOff(t, keyless()), verdict.InputMalformed); res == nil || !strings.Contains(fmt.Sprint(res.Reasons), tt.text) {
				t.Errorf("got %+v, want %q", res, tt.text)
			}
		})
	}
}
