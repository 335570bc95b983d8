// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/reference"
)

// TestImageDigestOracle: PE files of Go's distribution, and what osslsigncode 2.9
// calculates of them after they were signed, which fills them up to 8 bytes.
func TestImageDigestOracle(t *testing.T) {
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"gcc-386-mingw-exec":            "983af5719cc5790a84fe874b17622e48707c7c860cf6b8cb87692049f19eda95",
		"gcc-386-mingw-no-symbols-exec": "58b82c7ccaeaa5fabb9133e92a64e4aa891f5566345e540668d36c89c22020c1",
		"gcc-amd64-mingw-exec":          "ff3dd676c12178d283f3faed3bdc98b4c6f292693428f3bfd26c880ab0ffd0e8",
	} {
		raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src/debug/pe/testdata", name))
		if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true" {
			t.Skip("this Go comes without its test data")
		}
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, make([]byte, (8-len(raw)%8)%8)...)
		got, err := reference.ImageDigest(raw, sha256.New())
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: got %x, %v, want %s", name, got, err, want)
		}
	}
}

// imageDigest is the digest of a file that has one.
func imageDigest(t *testing.T, raw []byte) string {
	t.Helper()
	got, err := reference.ImageDigest(raw, sha256.New())
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(got)
}

// TestImageDigestLeavesOut: a signature changes no digest, everything else does.
func TestImageDigestLeavesOut(t *testing.T) {
	sections := []attesttest.Section{{Name: ".text", Data: []byte("code")}, {Name: ".data", Data: []byte("data")}}
	raw := attesttest.PE(sections, nil)
	want := imageDigest(t, raw)
	if got := imageDigest(t, attesttest.PE(sections, []byte("a signature of a person"))); got != want {
		t.Errorf("signed: got %s, want %s", got, want)
	}
	const optional = 0x80 + 24
	for at := range raw {
		changed := bytes.Clone(raw)
		changed[at] ^= 0x01
		got, err := reference.ImageDigest(changed, sha256.New())
		left := at >= optional+64 && at < optional+68 || at >= optional+144 && at < optional+148 // checksum, offset of certificates
		if err == nil && (hex.EncodeToString(got) == want) != left {
			t.Errorf("byte 0x%x: got the same digest: %v, want %v", at, !left, left)
		}
	}
	if got := imageDigest(t, append(bytes.Clone(raw), 0)); got == want {
		t.Error("a byte behind the sections: got the same digest")
	}
	// Sections count in the order of the file, not of the table.
	first, second := raw[optional+240:optional+280], raw[optional+280:optional+320]
	swapped := bytes.Clone(raw)
	copy(swapped[optional+240:], second)
	copy(swapped[optional+280:], first)
	h := sha256.New()
	h.Write(swapped[:optional+64])
	h.Write(swapped[optional+68 : optional+144])
	h.Write(swapped[optional+152:])
	if got := imageDigest(t, swapped); got != hex.EncodeToString(h.Sum(nil)) {
		t.Errorf("got %s for sections out of order, want %x", got, h.Sum(nil))
	}
	// Without a directory of certificates nothing of the header is left out but the checksum.
	few := bytes.Clone(raw)
	binary.LittleEndian.PutUint32(few[optional+108:], 4)
	h = sha256.New()
	h.Write(few[:optional+64])
	h.Write(few[optional+68:])
	if got := imageDigest(t, few); got != hex.EncodeToString(h.Sum(nil)) {
		t.Errorf("got %s without the directory, want %x", got, h.Sum(nil))
	}
}

func TestImageDigestRefuses(t *testing.T) {
	const start, optional, table = 0x80, 0x80 + 24, 0x80 + 24 + 240
	u32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	u16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		text   string
	}{
		{"nothing", func([]byte) []byte { return nil }, "it does not begin with MZ"},
		{"an ELF file", func(b []byte) []byte { copy(b, "\x7fELF"); return b }, "it does not begin with MZ"},
		{"a header outside the file", u32(0x3c, 0xfffffff0), "there is no PE header at 0xfffffff0"},
		{"a header at the end", func(b []byte) []byte { return u32(0x3c, uint32(len(b)-4))(b) }, "there is no PE header"},
		{"no header", u32(start, 0), "there is no PE header at 0x80"},
		{"too many sections", u16(start+6, 97), "97 sections in a table"},
		{"a table outside the file", u16(start+20, 0xffff), "sections in a table at 0x10097"},
		{"no optional header", u16(start+20, 0), "its optional header has 0 bytes"},
		{"a short optional header", u16(start+20, 100), "its optional header has 100 bytes and magic 0x20b"},
		{"it ends in the directories", u16(start+20, 144), "ends in front of the directory of certificates"},
		{"another magic", u16(optional, 0x107), "magic 0x107"},
		{"headers outside the file", u32(optional+60, 0xffffffff), "its headers have 0xffffffff bytes"},
		{"headers inside the header", u32(optional+60, 0x80), "its headers have 0x80 bytes, want at least 0x188"},
		{"a section outside the file", u32(table+16, 0x10000), `section ".text" has 0x10000 bytes at 0x400`},
		{"a section that wraps", u32(table+20, 0xffffff00), `section ".text" has 0x200 bytes at 0xffffff00`},
		{"sections over one another", u32(optional+60, 0x500), "do not fit into it"},
		{"more certificates than file", u32(optional+148, 0xffffffff), "0xffffffff bytes of certificates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := c.change(attesttest.PE([]attesttest.Section{{Name: ".text", Data: []byte("code")}}, nil))
			_, err := reference.ImageDigest(raw, sha256.New())
			refused(t, err, c.text)
		})
	}
	// Of a section without data the place in the file means nothing.
	raw := attesttest.PE([]attesttest.Section{{Name: ".text", Data: []byte("code")}, {Name: ".bss"}}, nil)
	imageDigest(t, u32(table+40+20, 0xffffffff)(raw))
}
