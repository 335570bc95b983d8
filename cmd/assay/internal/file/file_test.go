// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
)

func isMisuse(err error) bool { _, ok := errors.AsType[*verdict.Misuse](err); return ok }

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := file.Read("file", path, 5); err != nil || string(got) != "12345" {
		t.Errorf("got %q, %v, want all of it", got, err)
	}
	for name, err := range map[string]error{
		"too large": second(file.Read("file", path, 4)), "missing": second(file.Read("file", path+"x", 4)),
		"folder": second(file.Read("file", dir, 4)), "no name": second(file.Read("file", "", 4)),
		"below a file": second(file.Read("file", filepath.Join(path, "x"), 4)),
	} {
		if !isMisuse(err) {
			t.Errorf("%s: got %v, want a misuse", name, err)
		}
	}
}

// Nobody writes to the pipe: opening it the usual way would hang, deaf to signals.
func TestReadWaitsForNoWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("making a named pipe: %v", err)
	}
	if got, err := file.Read("file", path, 5); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v, want nothing", got, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // read by its other name
	if _, err := w.WriteString("12345"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := file.Read("file", fmt.Sprintf("/dev/fd/%d", r.Fd()), 5); err != nil || string(got) != "12345" {
		t.Errorf("what a shell's <(command) gives: got %q, %v, want all of it", got, err)
	}
}

func second(_ []byte, err error) error { return err }

// A write that does not work out leaves what was there, and nothing beside it.
func TestWriteIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := file.Write(path, []byte("old"), file.Public); err != nil {
		t.Fatal(err)
	}
	if err := file.Write(path, []byte("new"), file.Private); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != file.Private {
		t.Errorf("got %v, %v, want mode %04o", st, err, file.Private)
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := file.Write(filepath.Join(dir, "taken"), []byte("x"), file.Public)
	if verdict.CodeOf(err) != verdict.Internal {
		t.Errorf("renaming over a folder: got %v, want a failure", err)
	}
	// A device that is always full stands for the disk.
	if _, err := os.Stat("/dev/full"); err == nil {
		if err := file.Create("/dev/full", []byte("x"), file.Private); err == nil {
			t.Error("overwriting a device: got no error")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
		t.Errorf("got %q, %v, want what was written last", got, err)
	}
	if err := file.Write(filepath.Join(dir, "no", "such", "folder"), nil, file.Public); err == nil {
		t.Error("writing into a folder that is not there: got no error")
	}
}

func TestCreateDoesNotOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := file.Create(path, []byte("first"), file.Private); err != nil {
		t.Fatal(err)
	}
	if err := file.Create(path, []byte("second"), file.Private); !isMisuse(err) {
		t.Errorf("got %v, want a misuse", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "first" {
		t.Errorf("got %q, %v, want the first key", got, err)
	}
}

func TestMakeFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := file.MakeFolder(dir); err != nil {
		t.Errorf("an empty folder: got %v", err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != file.Folder {
		t.Errorf("got %v, %v, want mode %04o", st, err, file.Folder)
	}
	if err := file.MakeFolder(filepath.Join(dir, "a", "b")); err != nil {
		t.Errorf("a folder that is not there: got %v", err)
	}
	if err := file.MakeFolder(dir); !isMisuse(err) {
		t.Errorf("a folder with something in it: got %v, want a misuse", err)
	}
	path := filepath.Join(dir, "a", "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := file.MakeFolder(path); !isMisuse(err) {
		t.Errorf("a file: got %v, want a misuse", err)
	}
}
