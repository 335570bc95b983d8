// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/reference"
	"github.com/assayd/assay/ci/fuzz"
)

// FuzzSignatureLists: what is found is the certificate behind its owner, lists in front of
// it and behind it change nothing, and half a list is refused.
func FuzzSignatureLists(f *testing.F) {
	list, certificate := signatureList([]byte("certificate"))
	other, _ := signatureList([]byte("another one"))
	count, goods := fuzz.NewCount(f), fuzz.NewGoods(f, list, slices.Concat(other, list, other), slices.Concat(other, other))
	for i := range byte(3) {
		f.Add([]byte{0x20 + i}, certificate)
	}
	f.Fuzz(func(t *testing.T, edits, certificate []byte) {
		lists := goods.Of(edits)
		count.Add(len(lists) >= 28 && int64(binary.LittleEndian.Uint32(lists[16:])) <= int64(len(lists)))
		got, err := reference.FindSignature(lists, certificate)
		if err != nil {
			refused(t, err, "")
			if got != nil {
				t.Errorf("got %x with %v", got, err)
			}
			return
		}
		if len(got) < 16 || !bytes.Equal(got[16:], certificate) || !bytes.Contains(lists, got) {
			t.Fatalf("got %x for %x", got, certificate)
		}
		// A list without signatures is one.
		none := binary.LittleEndian.AppendUint32(bytes.Repeat([]byte{7}, 16), 28)
		none = append(none, 0, 0, 0, 0, 17, 0, 0, 0)
		if again, err := reference.FindSignature(slices.Concat(none, lists, none), certificate); err != nil || !bytes.Equal(again, got) {
			t.Errorf("got %x, %v, want %x", again, err, got)
		}
		if _, err := reference.FindSignature(append(bytes.Clone(lists), none[:len(none)-1]...), certificate); err == nil {
			t.Error("accepted half a list behind it")
		}
	})
}

// FuzzImageDigest compares with Go's debug/pe: of files that both read, the sections are
// the same; and where the sections follow one another behind the headers, the digest is
// that of the file without the three parts that it leaves out.
func FuzzImageDigest(f *testing.F) {
	inputs := fuzz.New(f, attesttest.PE([]attesttest.Section{{Name: ".text", Data: []byte("kernel")}}, nil),
		attesttest.PE([]attesttest.Section{{Name: ".a", Data: []byte("1")}, {Name: ".b", Data: []byte("2")}}, []byte("certificates")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = inputs.Of(raw)
		inputs.Add(peHead(raw))
		digest, err := reference.ImageDigest(raw, sha256.New())
		if err != nil {
			refused(t, err, "")
			return
		}
		sections, headers, checksum, certificates, err := reference.PESections(raw)
		if err != nil {
			t.Fatal(err)
		}
		compareSections(t, raw, sections)
		end, at := len(raw), headers
		if certificates > 0 {
			end -= int(binary.LittleEndian.Uint32(raw[certificates+4:]))
		}
		for _, s := range sections {
			if s.Size == 0 {
				continue
			}
			if s.Offset != at {
				return
			}
			at += s.Size
		}
		rest := raw[checksum+4 : end]
		if certificates > 0 {
			rest = slices.Concat(raw[checksum+4:certificates], raw[certificates+8:end])
		}
		if want := sha256.Sum256(slices.Concat(raw[:checksum], rest)); !bytes.Equal(digest, want[:]) {
			t.Errorf("got %x, want %x", digest, want)
		}
	})
}

// compareSections compares with what debug/pe reads, if it reads the file.
func compareSections(t *testing.T, raw []byte, sections []reference.PESection) {
	t.Helper()
	const ofDebugPE = 4 // it follows symbols and numbers of long names, which no loader of ours does
	start := binary.LittleEndian.Uint32(raw[0x3c:])
	coff := raw[start+ofDebugPE:]
	if binary.LittleEndian.Uint32(coff[8:]) != 0 || binary.LittleEndian.Uint32(coff[12:]) != 0 {
		return
	}
	file, err := pe.NewFile(bytes.NewReader(raw))
	if err != nil {
		return
	}
	if len(file.Sections) != len(sections) {
		t.Fatalf("got %d sections, debug/pe has %d", len(sections), len(file.Sections))
	}
	for i, s := range sections {
		want := file.Sections[i]
		if s.Virtual != int(want.VirtualSize) || s.Size != int(want.Size) || s.Offset != int(want.Offset) || !strings.HasPrefix(s.Name, want.Name) && !strings.HasPrefix(want.Name, "/") {
			t.Errorf("got section %+v, debug/pe has %+v", s, want.SectionHeader)
		}
	}
}

// TestTruncatedAndOversize: every prefix of a good input is a misuse, and hardly anything
// is allocated for an input that is too large, or that names more than it has.
func TestTruncatedAndOversize(t *testing.T) {
	list, certificate := signatureList([]byte("certificate"))
	huge := bytes.Clone(list)
	copy(huge[16:], "\xff\xff\xff\xff\x00\x00\x00\x00\x01\x00\x00\x00")
	snp, image, uki := amdSNP(), smallFirmware(), attesttest.NewUKI().Bytes()
	manySections := bytes.Clone(uki)
	copy(manySections[0x80+6:], "\xff\xff")
	for _, c := range []struct {
		name     string
		good     []byte
		oversize []byte
		budget   uint64 // bytes that may be allocated for oversize
		parse    func([]byte) error
	}{
		{"signature lists", list, huge, 1 << 14, func(b []byte) error { _, err := reference.FindSignature(b, certificate); return err }},
		{"SEV firmware", image, make([]byte, reference.MaxFirmwareSize+4096), 1 << 14, func(b []byte) error { snp.Firmware = b; _, err := snp.LaunchDigest(); return err }},
		{"TDVF", image, make([]byte, reference.MaxFirmwareSize+4096), 1 << 14, func(b []byte) error { _, err := reference.MeasureTDX(b, reference.TwoPass); return err }},
		{"UKI", uki, manySections, 1 << 14, func(b []byte) error { _, err := reference.ParseUKI(b); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.parse(c.good); err != nil {
				t.Fatal(err)
			}
			// The last section of a file is filled up, and what fills it up is not looked at.
			for n := range len(bytes.TrimRight(c.good, "\x00")) {
				refused(t, c.parse(c.good[:n]), "")
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := c.parse(c.oversize)
			runtime.ReadMemStats(&after)
			refused(t, err, "")
			if got := after.TotalAlloc - before.TotalAlloc; got > c.budget {
				t.Errorf("allocated %d bytes, want at most %d", got, c.budget)
			}
		})
	}
}
