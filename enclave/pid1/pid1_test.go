// SPDX-License-Identifier: Apache-2.0

package pid1_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/enclave/pid1"
)

// TestHere holds that a program elsewhere, as this test, is not the first of a machine:
// Run would switch it off.
func TestHere(t *testing.T) {
	if pid1.Here() {
		t.Fatal("this is no machine of ours")
	}
	var log bytes.Buffer
	pid1.Run(slog.New(slog.NewTextHandler(&log, nil)), func(context.Context, string) { t.Error("it ran") })
	if !strings.Contains(log.String(), "not the first process of a machine") {
		t.Errorf("got log %q", log.String())
	}
}

type entry struct {
	name string
	kind byte
	data string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o4777, Size: int64(len(e.data))}
		if e.kind == tar.TypeSymlink || e.kind == tar.TypeLink {
			h.Linkname = "/etc/passwd"
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func root(t testing.TB) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, dir
}

func TestUnpack(t *testing.T) {
	r, dir := root(t)
	data := archive(t, entry{"assayd.yaml", tar.TypeReg, "a: b\n"}, entry{"head.json", tar.TypeReg, "{}"})
	// A disk goes on behind the archive.
	if err := pid1.Unpack(bytes.NewReader(append(data, bytes.Repeat([]byte("x"), 4096)...)), r); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"assayd.yaml": "a: b\n", "head.json": "{}"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: got mode %v (%v), want 0600 whatever the archive says", name, st.Mode(), err)
		}
	}
}

// endless is an archive with one file that has no end.
type endless struct{ header io.Reader }

func (e endless) Read(p []byte) (int, error) {
	if n, err := e.header.Read(p); err == nil {
		return n, nil
	}
	return len(p), nil
}

// sparse is an archive with a file of one byte and then a hole, as GNU tar writes it:
// its header says that it is a regular file.
func sparse(t testing.TB, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// The writer takes no members of GNU's own; what a record says is in no checksum.
	err := w.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"GNX.sparse.numblocks": "1", "GNX.sparse.map": "0,1", "GNX.sparse.size": strconv.FormatInt(size, 10)}})
	if err == nil {
		_, err = w.Write([]byte("x"))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("GNX."), []byte("GNU."))
}

func TestUnpackRefuses(t *testing.T) {
	good := entry{"assayd.yaml", tar.TypeReg, "a"}
	half := entry{"a", tar.TypeReg, strings.Repeat("x", pid1.MaxArchive/2)}
	var many []entry
	for i := range 65 {
		many = append(many, entry{fmt.Sprintf("f%d", i), tar.TypeReg, "x"})
	}
	var large bytes.Buffer
	if err := tar.NewWriter(&large).WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		data       io.Reader
	}{
		{"empty disk", "the archive is empty", bytes.NewReader(make([]byte, 4096))},
		{"no disk", "the archive is empty", bytes.NewReader(nil)},
		{"no archive", "invalid tar header", strings.NewReader(strings.Repeat("x", 4096))},
		{"ends early", "unexpected EOF", bytes.NewReader(archive(t, good)[:512])},
		{"twice", "file exists", bytes.NewReader(archive(t, good, good))},
		{"symbolic link", "is no regular file", bytes.NewReader(archive(t, good, entry{"x", tar.TypeSymlink, ""}))},
		{"hard link", "is no regular file", bytes.NewReader(archive(t, good, entry{"x", tar.TypeLink, ""}))},
		{"folder", "is no regular file", bytes.NewReader(archive(t, entry{"x/", tar.TypeDir, ""}))},
		{"device", "is no regular file", bytes.NewReader(archive(t, entry{"x", tar.TypeBlock, ""}))},
		{"in a folder", "is no regular file with a name", bytes.NewReader(archive(t, entry{"a/b", tar.TypeReg, ""}))},
		{"upwards", "is no regular file with a name", bytes.NewReader(archive(t, entry{"../a", tar.TypeReg, ""}))},
		{"absolute", "is no regular file with a name", bytes.NewReader(archive(t, entry{"/etc/passwd", tar.TypeReg, ""}))},
		{"hidden", "is no regular file with a name", bytes.NewReader(archive(t, entry{".a", tar.TypeReg, ""}))},
		{"many", "more than 64 files", bytes.NewReader(archive(t, many...))},
		{"large", "files of more than", endless{&large}},
		{"large together", "files of more than", bytes.NewReader(archive(t, half, entry{"b", tar.TypeReg, half.data + "x"}))},
		{"sparse", "files of more than", bytes.NewReader(sparse(t, 1<<40))},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, _ := root(t)
			if err := pid1.Unpack(test.data, r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// tarHeader tells whether data begins with a header whose sum is right.
func tarHeader(data []byte) bool {
	_, err := tar.NewReader(bytes.NewReader(data)).Next()
	return err == nil
}

func FuzzUnpack(f *testing.F) {
	inputs := fuzz.New(f, archive(f, entry{"assayd.yaml", tar.TypeReg, "a: b\n"}, entry{"head.json", tar.TypeReg, "{}"}), archive(f, entry{"../a", tar.TypeReg, "x"}), sparse(f, 1<<40), archive(f, entry{"a", tar.TypeSymlink, ""}))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(tarHeader(data))
		r, dir := root(t)
		err := pid1.Unpack(bytes.NewReader(data), r)
		entries, readErr := os.ReadDir(dir)
		if readErr != nil {
			t.Fatal(readErr)
		}
		for _, e := range entries {
			if st, err := e.Info(); err != nil || st.Mode() != 0o600 || strings.HasPrefix(e.Name(), ".") {
				t.Errorf("got %s of mode %v (%v)", e.Name(), st.Mode(), err)
			}
		}
		if err == nil && len(entries) == 0 {
			t.Error("got nothing, and no error")
		}
	})
}

func disk(t *testing.T, blocks, name, serial string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(blocks, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(blocks, name, "serial"), []byte(serial), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFindDisk(t *testing.T) {
	blocks := t.TempDir()
	disk(t, blocks, "vda", "other")
	disk(t, blocks, "vdc", pid1.StateDisk+"\n")
	synctest.Test(t, func(t *testing.T) {
		go func() {
			time.Sleep(time.Second) // found only after it was looked for
			disk(t, blocks, "vdb", pid1.ConfigDisk)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := pid1.FindDisk(ctx, blocks, pid1.ConfigDisk); err != nil || got != "vdb" {
			t.Errorf("got %q, %v", got, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := pid1.FindDisk(ctx, blocks, "assay"); !errors.Is(err, context.DeadlineExceeded) || got != "" {
			t.Errorf("got %q, %v, want the end of the wait", got, err)
		}
	})
	disk(t, blocks, "vdd", pid1.StateDisk)
	if got, err := pid1.FindDisk(t.Context(), blocks, pid1.StateDisk); err == nil || got != "" || !strings.Contains(err.Error(), "vdc, vdd all have this serial number") {
		t.Errorf("got %q, %v, want two disks of one number refused", got, err)
	}
}

func TestLoadModules(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"02-c.ko.xz", "00-a.ko.xz", "01-b.ko.xz"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere, broken := errors.New("not on this platform"), errors.New("broken")
	load := func(results map[string]error) ([]string, []string, error) {
		var tried []string
		loaded, err := pid1.LoadModules(dir, func(f *os.File) error {
			tried = append(tried, filepath.Base(f.Name()))
			return results[filepath.Base(f.Name())]
		}, func(err error) bool { return errors.Is(err, elsewhere) })
		return tried, loaded, err
	}
	tried, loaded, err := load(map[string]error{"01-b.ko.xz": elsewhere})
	if err != nil || !slices.Equal(tried, []string{"00-a.ko.xz", "01-b.ko.xz", "02-c.ko.xz"}) || !slices.Equal(loaded, []string{"00-a.ko.xz", "02-c.ko.xz"}) {
		t.Errorf("tried %q, got %q, %v", tried, loaded, err)
	}
	if tried, _, err := load(map[string]error{"01-b.ko.xz": broken}); !errors.Is(err, broken) || len(tried) != 2 {
		t.Errorf("tried %q, got %v, want the end at the broken one", tried, err)
	}
	if _, _, err := load(map[string]error{"00-a.ko.xz": elsewhere, "01-b.ko.xz": elsewhere, "02-c.ko.xz": elsewhere}); err == nil {
		t.Error("got no error where none could be loaded")
	}
	dir = filepath.Join(dir, "none")
	if _, _, err := load(nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v without a folder", err)
	}
}

func key(kind, code uint16, value uint32) []byte {
	b := binary.LittleEndian.AppendUint16(make([]byte, 16), kind)
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16(b, code), value)
}

func TestWaitForButton(t *testing.T) {
	press := key(1, 116, 1)
	other := slices.Concat(key(1, 116, 0), key(1, 30, 1), key(2, 116, 1), key(0, 0, 0))
	for _, test := range []struct {
		name    string
		events  []byte
		pressed bool
		fails   bool
	}{
		{"pressed", press, true, false},
		{"after others", slices.Concat(other, press, other), true, false},
		{"never", other, false, false},
		{"nothing", nil, false, false},
		{"half an event", press[:23], false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := pid1.WaitForButton(bytes.NewReader(test.events)); got != test.pressed || (err != nil) != test.fails {
				t.Errorf("got %t, %v", got, err)
			}
		})
	}
}

func FuzzWaitForButton(f *testing.F) {
	inputs := fuzz.New(f, key(1, 116, 1), slices.Concat(key(1, 116, 0), key(1, 116, 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(len(data) >= 24)
		pressed, err := pid1.WaitForButton(bytes.NewReader(data))
		if pressed && (err != nil || !bytes.Contains(data, key(1, 116, 1)[16:])) {
			t.Errorf("got a press (%v) out of %x", err, data)
		}
	})
}

// TestRelay holds that bytes pass both ways, that one side's end is the other's, that
// there is a limit, and that nothing is left at the end.
func TestRelay(t *testing.T) {
	outside, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var echoes sync.WaitGroup
	echoes.Go(func() {
		for {
			c, err := outside.Accept()
			if err != nil {
				return
			}
			echoes.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	dir, err := os.MkdirTemp("", "relay-") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a test's folder
	inside, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pid1.Relay(ctx, inside, outside.Addr().String(), slog.New(slog.DiscardHandler))
	}()
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var open []net.Conn
	for range 8 {
		c := dial()
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
		open = append(open, c)
	}
	if n, err := dial().Read(make([]byte, 1)); err == nil || n != 0 {
		t.Errorf("got %d bytes, %v of the ninth connection, want it closed", n, err)
	}
	cancel()
	for _, c := range open {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection is left")
		}
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the relay does not end")
	}
	if err := outside.Close(); err != nil {
		t.Error(err)
	}
	echoes.Wait()
}
