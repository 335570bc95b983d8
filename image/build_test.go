// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/image"
)

// TestFetch uses what is in the folder when its digest is right, and names what to do
// when apt does not have a package.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	content := []byte("a package")
	digest := sha256.Sum256(content)
	i := image.Input{Role: image.Stub, Name: "no-such-package", Version: "1", Architecture: "all", SHA256: hex.EncodeToString(digest[:])}
	path := filepath.Join(dir, i.SHA256+".deb")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := image.Fetch(t.Context(), dir, i); err != nil || string(got) != string(content) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("another package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := image.Fetch(t.Context(), dir, i); err == nil || got != nil || !strings.Contains(err.Error(), "SHA-256 is") || !strings.Contains(err.Error(), "remove ") {
		t.Errorf("got %q, %v, want a package with another digest refused", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// There is no such package, nor apt on some machines.
	if _, err := image.Fetch(t.Context(), dir, i); err == nil || !strings.Contains(err.Error(), "go run ./ci/image -update") {
		t.Errorf("got %v, want how to update the lock", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("got %q left behind (%v)", left, err)
	}
}

// program is an ELF file with one program header.
func program(machine elf.Machine, header elf.ProgType) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+56)
	copy(b, elf.ELFMAG)
	b[4], b[5], b[6] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	le.PutUint16(b[16:], uint16(elf.ET_EXEC))
	le.PutUint16(b[18:], uint16(machine))
	le.PutUint32(b[20:], uint32(elf.EV_CURRENT))
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	le.PutUint32(b[64:], uint32(header))
	return b
}

// TestBuildRefuses holds what is refused before anything is fetched.
func TestBuildRefuses(t *testing.T) {
	good := program(elf.EM_X86_64, elf.PT_LOAD)
	for _, test := range []struct {
		name, version, want string
		program             []byte
	}{
		{"good so far", "v1.0-3-gabc", "looking for the package of the stub: there is none", good},
		{"no program", "v1", "reading assayd", []byte("#!/bin/sh\n")},
		{"for another machine", "v1", "want x86-64", program(elf.EM_AARCH64, elf.PT_LOAD)},
		{"dynamic", "v1", "build it with CGO_ENABLED=0", program(elf.EM_X86_64, elf.PT_INTERP)},
		{"version of two lines", "v1\nID=debian", "want ASCII without spaces", good},
		{"version with a quote", `v1"`, "want ASCII without spaces", good},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := image.Build(t.Context(), image.Options{Assayd: test.program, Version: test.version, Folder: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
				t.Errorf("got %d bytes, %v, want %q", len(got), err, test.want)
			}
		})
	}
}
