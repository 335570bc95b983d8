// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// A layerSpec is a layer of a test image as its manifest and configuration say.
type layerSpec struct {
	mediaType string
	content   []byte         // as stored; nil: it is not stored
	digest    verdict.Digest // "" means of content
	size      int64          // 0 means of content
	diffID    verdict.Digest
	urls      []string
}

func tarOf(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "content", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	typeTar  = "application/vnd.oci.image.layer.v1.tar"
	typeGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func gzipLayer(t testing.TB, content string) layerSpec {
	plain := tarOf(t, content)
	return layerSpec{mediaType: typeGzip, content: gzipped(t, plain), diffID: verdict.SHA256(plain)}
}

// putLayers writes an image with these layers.
func putLayers(t testing.TB, st sigstoretest.Store, layers ...layerSpec) verdict.Digest {
	t.Helper()
	put := func(b []byte) {
		if err := st.PutBlob(t.Context(), repo, b); err != nil {
			t.Fatal(err)
		}
	}
	diffIDs := []verdict.Digest{}
	descriptors := []entry{}
	for _, l := range layers {
		if l.content != nil {
			put(l.content)
		}
		if l.digest == "" {
			l.digest = verdict.SHA256(l.content)
		}
		if l.size == 0 {
			l.size = int64(len(l.content))
		}
		if l.diffID != "" {
			diffIDs = append(diffIDs, l.diffID)
		}
		d := entry{"mediaType": l.mediaType, "digest": l.digest, "size": l.size}
		if l.urls != nil {
			d["urls"] = l.urls
		}
		descriptors = append(descriptors, d)
	}
	config := []byte(mustJSON(t, entry{"os": "linux", "architecture": "amd64", "rootfs": entry{"type": "layers", "diff_ids": diffIDs}}))
	put(config)
	m := []byte(mustJSON(t, entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "config": entry{"mediaType": sigstoretest.TypeConfig, "digest": verdict.SHA256(config), "size": len(config)}, "layers": descriptors}))
	if err := st.PutManifest(t.Context(), repo, "", sigstoretest.TypeManifest, m); err != nil {
		t.Fatal(err)
	}
	return verdict.SHA256(m)
}

func TestDeep(t *testing.T) {
	asked := newSnoop(t, func(http.ResponseWriter, *http.Request) {})
	one, two := gzipLayer(t, "one"), gzipLayer(t, "two")
	plain := layerSpec{mediaType: typeTar, content: tarOf(t, "plain"), diffID: verdict.SHA256(tarOf(t, "plain"))}
	with := func(l layerSpec, change func(*layerSpec)) layerSpec { change(&l); return l }
	many := gzipped(t, make([]byte, 2<<20))
	for _, tt := range []struct {
		name   string
		layers []layerSpec
		limits verifier.DeepLimits
		want   verdict.Code
		// of the result, when want is ""
		hashed, unpacked bool
	}{
		{"good", []layerSpec{one, two, plain, one}, verifier.DeepLimits{}, "", true, true},
		{"no layers", nil, verifier.DeepLimits{}, "", true, true},
		{"two members", []layerSpec{{mediaType: typeGzip, content: append(gzipped(t, tarOf(t, "a")), gzipped(t, []byte("b"))...), diffID: verdict.SHA256(append(tarOf(t, "a"), 'b'))}}, verifier.DeepLimits{}, "", true, true},
		{"called gzip and is not", []layerSpec{with(plain, func(l *layerSpec) { l.mediaType = typeGzip })}, verifier.DeepLimits{}, "", true, true},
		{"zstd", []layerSpec{with(plain, func(l *layerSpec) { l.mediaType += "+zstd"; l.content = []byte("\x28\xb5\x2f\xfd junk") })}, verifier.DeepLimits{}, "", true, false},
		{"artifact", []layerSpec{with(plain, func(l *layerSpec) { l.mediaType = "application/wasm" })}, verifier.DeepLimits{}, "", true, false},
		{"foreign and there", []layerSpec{with(one, func(l *layerSpec) { l.mediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" })}, verifier.DeepLimits{}, "", true, true},
		{"foreign and elsewhere", []layerSpec{two, {mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", digest: verdict.SHA256([]byte("elsewhere")), size: 5, diffID: one.diffID, urls: []string{"http://" + asked.host + "/x"}}}, verifier.DeepLimits{}, "", false, false},
		{"not there", []layerSpec{{mediaType: typeGzip, digest: verdict.SHA256([]byte("elsewhere")), size: 5, diffID: one.diffID, urls: []string{"http://" + asked.host + "/x"}}}, verifier.DeepLimits{}, verdict.ImageNotFound, false, false},
		{"once foreign, once not", []layerSpec{{mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digest: verdict.SHA256([]byte("elsewhere")), size: 5, diffID: one.diffID}, {mediaType: typeGzip, digest: verdict.SHA256([]byte("elsewhere")), size: 5, diffID: one.diffID}}, verifier.DeepLimits{}, verdict.ImageNotFound, false, false},
		{"another diff_id", []layerSpec{one, with(two, func(l *layerSpec) { l.diffID = one.diffID })}, verifier.DeepLimits{}, verdict.InputMalformed, false, false},
		{"one layer, two diff_ids", []layerSpec{one, with(one, func(l *layerSpec) { l.diffID = two.diffID })}, verifier.DeepLimits{}, verdict.InputMalformed, false, false},
		{"too few diff_ids", []layerSpec{one, with(two, func(l *layerSpec) { l.diffID = "" })}, verifier.DeepLimits{}, verdict.InputMalformed, false, false},
		{"no diff_id", []layerSpec{with(one, func(l *layerSpec) { l.diffID = "sha256:x" })}, verifier.DeepLimits{}, verdict.InputMalformed, false, false},
		{"says more bytes", []layerSpec{with(one, func(l *layerSpec) { l.size = int64(len(l.content)) + 1 })}, verifier.DeepLimits{}, verdict.RegistryDigestMismatch, false, false},
		{"says fewer bytes", []layerSpec{with(one, func(l *layerSpec) { l.size = int64(len(l.content)) - 1 })}, verifier.DeepLimits{}, verdict.RegistryDigestMismatch, false, false},
		{"something behind", []layerSpec{with(one, func(l *layerSpec) { l.content = append(bytes.Clone(l.content), "behind"...) })}, verifier.DeepLimits{}, verdict.InputMalformed, false, false},
		{"cut short and signed so", []layerSpec{with(one, func(l *layerSpec) { l.content = l.content[:len(l.content)-9] })}, verifier.DeepLimits{}, verdict.InputMalformed, false, false},
		{"says a tebibyte", []layerSpec{with(one, func(l *layerSpec) { l.size = 1 << 40 })}, verifier.DeepLimits{}, verdict.InputLimit, false, false},
		{"sizes that add up to less", []layerSpec{with(one, func(l *layerSpec) { l.size = 1<<63 - 1 }), with(two, func(l *layerSpec) { l.size = 1<<63 - 1 })}, verifier.DeepLimits{}, verdict.InputLimit, false, false},
		{"within the limits", []layerSpec{{mediaType: typeGzip, content: many, diffID: verdict.SHA256(make([]byte, 2<<20))}}, verifier.DeepLimits{Bytes: int64(len(many)), UnpackedBytes: 2 << 20}, "", true, true},
		{"a bomb", []layerSpec{{mediaType: typeGzip, content: many, diffID: verdict.SHA256(make([]byte, 2<<20))}}, verifier.DeepLimits{UnpackedBytes: 2<<20 - 1}, verdict.InputLimit, false, false},
		{"a byte too many", []layerSpec{{mediaType: typeGzip, content: many, diffID: verdict.SHA256(make([]byte, 2<<20))}}, verifier.DeepLimits{Bytes: int64(len(many)) - 1}, verdict.InputLimit, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, w := newKit(t), newWorld(t, true)
			for name, at := range map[string]struct {
				st  sigstoretest.Store
				src verifier.Source
			}{"layout": {k.store, nil}, "registry": {w.store, w.registry(verifier.RegistryConfig{})}} {
				d := putLayers(t, at.st, tt.layers...)
				if at.src == nil {
					at.src = k.source()
				}
				var done, total atomic.Int64
				res, err := verifier.Deep(t.Context(), at.src, verifier.DeepRequest{Image: verifier.Image{Repository: w.image.Repository, Digest: d}, Limits: tt.limits,
					Progress: func(d, all int64) { done.Store(d); total.Store(all) }})
				if verdict.CodeOf(err) != tt.want {
					t.Errorf("%s: got %v, want %q", name, err, tt.want)
				}
				if err != nil {
					if res != nil {
						t.Errorf("%s: a result beside an error: %+v", name, res)
					}
					continue
				}
				if res.Hashed != tt.hashed || res.Unpacked != tt.unpacked || len(res.Platforms) != 1 || len(res.Platforms[0].Layers) != len(tt.layers) || res.Platforms[0].OS != "linux" {
					t.Errorf("%s: %+v", name, res)
				}
				if tt.hashed && (done.Load() != total.Load() || res.Bytes != total.Load()) {
					t.Errorf("%s: %d of %d bytes, and %d in the result", name, done.Load(), total.Load(), res.Bytes)
				}
			}
		})
	}
	if asked.asked() != 0 {
		t.Errorf("the host of a foreign layer was asked %d times", asked.asked())
	}
}

// TestDeepIndex: each layer is read once, for however many platforms.
func TestDeepIndex(t *testing.T) {
	k := newKit(t)
	shared, own := gzipLayer(t, "shared"), gzipLayer(t, "own")
	first := verifier.Image{Digest: putLayers(t, k.store, shared)}
	second := verifier.Image{Digest: putLayers(t, k.store, shared, own)}
	absent := verifier.Image{Digest: verdict.SHA256([]byte("absent"))}
	k.putIndex(child(first, entry{"os": "linux", "architecture": "amd64"}), child(second, entry{"os": "linux", "architecture": "arm64"}))
	src := k.source()
	res, err := verifier.Deep(t.Context(), src, verifier.DeepRequest{Image: k.image})
	if err != nil || !res.Hashed || !res.Unpacked || res.Index != k.image.Digest || res.Bytes != int64(len(shared.content)+len(own.content)) {
		t.Errorf("both: %+v, %v", res, err)
	}
	res, err = verifier.Deep(t.Context(), src, verifier.DeepRequest{Image: k.image, Platforms: []string{"linux/amd64"}})
	if err != nil || res.Hashed || res.Bytes != int64(len(shared.content)) || !res.Platforms[0].Layers[0].Unpacked || !res.Platforms[1].Unread {
		t.Errorf("one: %+v, %v", res, err)
	}
	k.putIndex(child(first, entry{"os": "linux", "architecture": "amd64"}), child(absent, entry{"os": "linux", "architecture": "arm64"}))
	res, err = verifier.Deep(t.Context(), k.source(), verifier.DeepRequest{Image: k.image})
	if err != nil || res.Hashed || res.Unpacked || !res.Platforms[1].Missing {
		t.Errorf("one of them missing: %+v, %v", res, err)
	}
	_, err = verifier.Deep(t.Context(), k.source(), verifier.DeepRequest{Image: k.image, Platforms: []string{"windows/amd64"}})
	if verdict.CodeOf(err) != verdict.SubjectPlatform {
		t.Errorf("none of them: got %v, want %q", err, verdict.SubjectPlatform)
	}
}

// TestDeepOtherBytes: one byte of one layer is changed where it is kept.
func TestDeepOtherBytes(t *testing.T) {
	k := newKit(t)
	l := gzipLayer(t, "content")
	k.image.Digest = putLayers(t, k.store, l)
	path := filepath.Join(k.dir, "blobs", "sha256", verdict.SHA256(l.content).Hex())
	deep := func() error {
		_, err := verifier.Deep(t.Context(), k.source(), verifier.DeepRequest{Image: k.image})
		return err
	}
	if err := deep(); err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range l.content {
		changed := bytes.Clone(l.content)
		changed[i] ^= 1
		write(changed)
		if err := deep(); verdict.CodeOf(err) != verdict.RegistryDigestMismatch || verdict.Refused(err) {
			t.Errorf("byte %d: got %v, want %q", i, err, verdict.RegistryDigestMismatch)
		}
	}
	write(l.content[:len(l.content)-1])
	if err := deep(); verdict.CodeOf(err) != verdict.RegistryDigestMismatch {
		t.Errorf("a byte fewer: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := deep(); verdict.CodeOf(err) != verdict.RegistryUnreachable {
		t.Errorf("a pipe without a writer: %v", err)
	}
	// A source that has no layers.
	_, err := verifier.Deep(t.Context(), struct{ verifier.Source }{k.source()}, verifier.DeepRequest{Image: k.image})
	wantMisuse(t, "no streams", err, "layers")
}

// zeros is a layer of n zero bytes.
func zeros(n int64) (verdict.Digest, int64) {
	h := sha256.New()
	writeZeros(h, n)
	return sum(h), n
}

func writeZeros(w io.Writer, n int64) {
	for b := make([]byte, 64<<10); n > 0; n -= int64(len(b)) {
		if _, err := w.Write(b[:min(n, int64(len(b)))]); err != nil {
			return
		}
	}
}

func sum(h hash.Hash) verdict.Digest {
	return verdict.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// TestDeepStreams: memory does not depend on the size of a layer, a stream that
// breaks is begun anew, and one that gives nothing ends.
func TestDeepStreams(t *testing.T) {
	w := newWorld(t, true)
	d, size := zeros(64 << 20)
	w.image.Digest = putLayers(t, w.store, layerSpec{mediaType: typeTar, digest: d, size: size, diffID: d})
	layer := func(f fault) { w.on(onPath("/blobs/"+string(d), f)) }
	deep := func(ctx context.Context, limits verifier.DeepLimits) (*verifier.DeepResult, error) {
		r := w.registry(verifier.RegistryConfig{RequestTimeout: 2 * time.Second})
		defer r.Close()
		return verifier.Deep(ctx, r, verifier.DeepRequest{Image: w.image, Limits: limits})
	}
	whole := func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		writeZeros(rw, size)
		return true
	}
	layer(whole)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	res, err := deep(t.Context(), verifier.DeepLimits{})
	runtime.ReadMemStats(&after)
	if err != nil || !res.Unpacked || res.Bytes != size {
		t.Errorf("%+v, %v", res, err)
	}
	if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 16<<20 {
		t.Errorf("%d bytes were allocated for a layer of %d", grown, size)
	}
	http.DefaultClient.CloseIdleConnections()
	base := runtime.NumGoroutine()

	var asked atomic.Int64
	layer(func(rw http.ResponseWriter, r *http.Request) bool {
		if asked.Add(1) == 1 {
			rw.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			writeZeros(rw, 1<<20)
			panic(http.ErrAbortHandler)
		}
		return whole(rw, r)
	})
	if res, err := deep(t.Context(), verifier.DeepLimits{}); err != nil || asked.Load() != 2 || res.Bytes != size {
		t.Errorf("broken once: %+v, %v, asked %d times", res, err, asked.Load())
	}
	for _, tt := range []struct {
		name   string
		fault  fault
		limits verifier.DeepLimits
		want   verdict.Code
	}{
		{"always broken", func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			writeZeros(rw, 1<<20)
			panic(http.ErrAbortHandler)
		}, verifier.DeepLimits{}, verdict.RegistryUnreachable},
		{"says nothing", func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, verifier.DeepLimits{}, verdict.RegistryTimeout},
		{"stops", func(rw http.ResponseWriter, r *http.Request) bool {
			writeZeros(rw, 1<<20)
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
			return true
		}, verifier.DeepLimits{}, verdict.RegistryTimeout},
		{"dribbles", dribble(200), verifier.DeepLimits{Time: 600 * time.Millisecond}, verdict.RegistryTimeout},
		{"ends early", func(rw http.ResponseWriter, _ *http.Request) bool { writeZeros(rw, 1<<20); return true }, verifier.DeepLimits{}, verdict.RegistryDigestMismatch},
		{"is endless", func(rw http.ResponseWriter, _ *http.Request) bool { writeZeros(rw, 1<<40); return true }, verifier.DeepLimits{}, verdict.RegistryDigestMismatch},
		{"says another length", func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.Header().Set("Content-Length", "10")
			writeZeros(rw, 10)
			return true
		}, verifier.DeepLimits{}, verdict.RegistryDigestMismatch},
		{"redirects inwards", func(rw http.ResponseWriter, r *http.Request) bool {
			http.Redirect(rw, r, "https://169.254.169.254/x", http.StatusTemporaryRedirect)
			return true
		}, verifier.DeepLimits{}, verdict.RegistryNotAllowed},
		{"wants a password", func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(401); return true }, verifier.DeepLimits{}, verdict.RegistryUnauthorized},
	} {
		layer(tt.fault)
		if res, err := deep(t.Context(), tt.limits); verdict.CodeOf(err) != tt.want || res != nil {
			t.Errorf("%s: got %+v, %v, want %q", tt.name, res, err, tt.want)
		}
	}
	layer(whole)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := deep(ctx, verifier.DeepLimits{}); verdict.CodeOf(err) != verdict.RegistryTimeout {
		t.Errorf("after the caller has left: %v", err)
	}
	_, err = deep(t.Context(), verifier.DeepLimits{Bytes: -1})
	wantMisuse(t, "a negative limit", err, "limit")
	settles(t, base)
}

// TestStream: what was read is the content when, and only when, the end is there.
func TestStream(t *testing.T) {
	w, k := newWorld(t, true), newKit(t)
	content := []byte(strings.Repeat("content ", 1000))
	for _, st := range []sigstoretest.Store{w.store, k.store} {
		if err := st.PutBlob(t.Context(), repo, content); err != nil {
			t.Fatal(err)
		}
	}
	l, ok := k.source().(verifier.Streamer)
	if !ok {
		t.Fatal("a layout does not stream")
	}
	for name, s := range map[string]verifier.Streamer{"registry": w.registry(verifier.RegistryConfig{}), "layout": l} {
		r, err := s.Stream(t.Context(), w.image.Repository, verdict.SHA256(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: after the end: %d, %v", name, n, err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: closing: %v", name, err)
		}
		for _, size := range []int64{int64(len(content)) + 1, int64(len(content)) - 1, 0} {
			if _, err := s.Stream(t.Context(), w.image.Repository, verdict.SHA256(content), size); verdict.CodeOf(err) != verdict.RegistryDigestMismatch {
				t.Errorf("%s: %d bytes: %v", name, size, err)
			}
		}
		if _, err := s.Stream(t.Context(), w.image.Repository, verdict.SHA256(content), -1); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("%s: fewer than none: %v", name, err)
		}
		if _, err := s.Stream(t.Context(), w.image.Repository, verdict.SHA256([]byte("absent")), 6); verdict.CodeOf(err) != verdict.ImageNotFound {
			t.Errorf("%s: absent: %v", name, err)
		}
	}
}
