// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"archive/tar"
	"bytes"
	"io"
	"path"
	"runtime"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/image"
)

// pack is a tar archive of files.
func pack(t testing.TB, files map[string]string, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		headers = append(headers, &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))})
	}
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[h.Name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func below(name string) bool { return strings.HasPrefix(name, "boot/") }

// FuzzMembers: of whatever archive, none but wanted files come back, each as long as
// it may be, and they can be packed and read again.
func FuzzMembers(f *testing.F) {
	inputs := fuzz.New(f, pack(f, map[string]string{"./boot/vmlinuz": "kernel"}),
		pack(f, map[string]string{"boot/a": "1"}, &tar.Header{Name: "boot/link", Typeflag: tar.TypeSymlink, Linkname: "../etc"}, &tar.Header{Name: "./", Typeflag: tar.TypeDir}),
		pack(f, map[string]string{"etc/passwd": "1", strings.Repeat("long/", 60) + "name": "2"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		_, headErr := tar.NewReader(bytes.NewReader(data)).Next()
		inputs.Add(headErr == nil)
		files, err := image.FilesOf(bytes.NewReader(data), below)
		if err != nil {
			if files != nil {
				t.Errorf("got %d files with %v", len(files), err)
			}
			return
		}
		again := map[string]string{}
		for name, data := range files {
			if !below(name) || path.Clean(name) != name || len(data) > image.LargestFile {
				t.Errorf("got %q of %d bytes", name, len(data))
			}
			again[name] = string(data)
		}
		if len(data) > 1<<16 {
			return
		}
		for name := range again {
			if strings.ContainsRune(name, 0) {
				return // nothing writes such a name
			}
		}
		copied, err := image.FilesOf(bytes.NewReader(pack(t, again)), below)
		if err != nil || len(copied) != len(files) {
			t.Fatalf("got %d files, %v, want %d", len(copied), err, len(files))
		}
		for name := range files {
			if !bytes.Equal(copied[name], files[name]) {
				t.Errorf("%q is not the same", name)
			}
		}
	})
}

// TestMembersBounded: half an archive is an error, and one that says that a file is
// large costs nothing.
func TestMembersBounded(t *testing.T) {
	const one = "./boot/vmlinuz"
	good := pack(t, map[string]string{one: strings.Repeat("kernel", 100)})
	if files, err := image.FilesOf(bytes.NewReader(good), below); err != nil || len(files) != 1 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	for n := 1; n < 512+600; n++ { // without the filling and the end, tar still reads it
		if _, err := image.FilesOf(bytes.NewReader(good[:n]), below); err == nil {
			t.Errorf("accepted %d bytes of %d", n, len(good))
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: one, Typeflag: tar.TypeReg, Mode: 0o644, Size: image.LargestFile + 1}); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := image.FilesOf(io.MultiReader(&b, zeros{}), below)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("got %v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<16 {
		t.Errorf("allocated %d bytes", got)
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
