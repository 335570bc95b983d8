// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// A late context has ended, and wakes nobody who waits for that.
type late struct{ context.Context }

func (late) Err() error { return context.Canceled }

// TestLayoutInTime: nothing is read for who does not wait for it any more.
func TestLayoutInTime(t *testing.T) {
	k := newKit(t)
	k.attachLayers(k.image, k.layer(k.image, good()))
	content := []byte("content")
	d := verdict.SHA256(content)
	if err := k.store.PutBlob(t.Context(), repo, content); err != nil {
		t.Fatal(err)
	}
	layout := func() *verifier.Layout {
		l, err := verifier.OpenLayout(k.dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	for name, ask := range map[string]func(context.Context) error{
		"manifest": func(ctx context.Context) error {
			_, _, err := layout().Manifest(ctx, repo, k.image.Digest)
			return err
		},
		"tag": func(ctx context.Context) error {
			_, _, _, err := layout().Tagged(ctx, repo, "sha256-"+k.image.Digest.Hex()+".sig")
			return err
		},
		"blob": func(ctx context.Context) error {
			_, err := layout().Blob(ctx, repo, d, int64(len(content)), 100)
			return err
		},
		"referrers": func(ctx context.Context) error {
			_, err := layout().Referrers(ctx, repo, k.image.Digest)
			return err
		},
		"stream": func(ctx context.Context) error {
			s, err := layout().Stream(ctx, repo, d, int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // nothing was written
			_, err = io.ReadAll(s)
			return err
		},
	} {
		if err := ask(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := ask(late{t.Context()}); verdict.CodeOf(err) != verdict.RegistryTimeout {
			t.Errorf("%s, too late: got %v, want %q", name, err, verdict.RegistryTimeout)
		}
	}
}

// TestLayoutManifests: the manifests of a layout are bounded together, over all
// calls.
func TestLayoutManifests(t *testing.T) {
	k := newKit(t)
	d := verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: k.image.Digest, Size: 1}
	if err := sigstoretest.Attach(t.Context(), k.store, repo, d, k.bundle(k.image, good()), "", false); err != nil {
		t.Fatal(err)
	}
	var index goManifest
	if err := json.Unmarshal(readFile(t, filepath.Join(k.dir, "index.json")), &index); err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, m := range index.Manifests {
		bytes += m.Size
	}
	for more, want := range map[int64]verdict.Code{0: "", 1: verdict.InputLimit} {
		l, err := verifier.OpenLayout(k.dir)
		if err != nil {
			t.Fatal(err)
		}
		l.TestingOnlyRead(verifier.TestingOnlyMaxLayoutManifests - bytes + more)
		for range 2 {
			list, err := l.Referrers(t.Context(), repo, k.image.Digest)
			if verdict.CodeOf(err) != want || (len(list) == 1) != (want == "") {
				t.Errorf("%d bytes more: got %d referrers, %v, want %q", more, len(list), err, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestManyReferrers: what refers to an image by itself and what its tag lists are
// bounded together, and one too many is told.
func TestManyReferrers(t *testing.T) {
	for _, tt := range []struct {
		name             string
		itself, byTheTag int
		want             verdict.Code
	}{
		{"no more than are read", verifier.MaxReferrers - 1, 1, ""},
		{"one more by itself", verifier.MaxReferrers + 1, 0, verdict.InputLimit},
		{"one more by the tag", 0, verifier.MaxReferrers + 1, verdict.InputLimit},
		{"one more in both", verifier.MaxReferrers, 1, verdict.InputLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(list []verifier.Descriptor, err error) {
				t.Helper()
				if verdict.CodeOf(err) != tt.want || len(list) != verifier.MaxReferrers {
					t.Errorf("got %d referrers, %v, want %d, %q", len(list), err, verifier.MaxReferrers, tt.want)
				}
			}
			tagged := []byte(junkIndex(tt.byTheTag, "tagged"))
			k := newKit(t)
			for i := range tt.itself {
				k.putImage([]byte("{}"), entry{"mediaType": sigstoretest.TypeManifest, "annotations": map[string]string{"n": fmt.Sprint(i)},
					"subject": entry{"mediaType": sigstoretest.TypeManifest, "digest": k.image.Digest, "size": 1}})
			}
			if err := k.store.PutManifest(t.Context(), repo, "sha256-"+k.image.Digest.Hex(), sigstoretest.TypeIndex, tagged); err != nil {
				t.Fatal(err)
			}
			check(k.source().Referrers(t.Context(), repo, k.image.Digest))

			w := newWorld(t, true)
			api := onPath("/referrers/", body([]byte(junkIndex(tt.itself, "itself")), "Content-Type", sigstoretest.TypeIndex))
			tag := onPath("/manifests/sha256-", body(tagged, "Content-Type", sigstoretest.TypeIndex))
			w.on(func(rw http.ResponseWriter, r *http.Request) bool { return api(rw, r) || tag(rw, r) })
			check(w.registry(verifier.RegistryConfig{}).Referrers(t.Context(), w.image.Repository, w.image.Digest))
		})
	}
}
