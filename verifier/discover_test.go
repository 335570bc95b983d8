// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
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
