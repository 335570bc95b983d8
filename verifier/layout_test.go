// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"encoding/json"
	"io"
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
