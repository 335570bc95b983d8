// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/image"
)

// peAt are offsets in made stubs.
const (
	peStart   = 0x80
	peHeader  = peStart + 24 // the optional header
	peTable   = peHeader + 240
	peHeaders = 0x400
)

// made is a stub of one section, with symbols behind it.
func made() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0x600)
	copy(b, "MZ")
	le.PutUint32(b[0x3C:], peStart)
	copy(b[peStart:], "PE\x00\x00")
	coff := b[peStart+4:]
	le.PutUint16(coff, pe.IMAGE_FILE_MACHINE_AMD64)
	le.PutUint16(coff[2:], 1)
	le.PutUint32(coff[8:], 0x600) // symbols
	le.PutUint32(coff[12:], 1)
	le.PutUint16(coff[16:], 240)
	opt := b[peHeader:]
	le.PutUint16(opt, 0x20B)
	le.PutUint32(opt[32:], 0x200)
	le.PutUint32(opt[36:], 0x200)
	le.PutUint32(opt[56:], 0x2000)
	le.PutUint32(opt[60:], peHeaders)
	le.PutUint32(opt[64:], 0x12345) // checksum
	le.PutUint32(opt[108:], 16)
	le.PutUint64(opt[112+4*8:], 0x1111) // certificates
	h := b[peTable:]
	copy(h, ".text")
	le.PutUint32(h[8:], 0x1A0)
	le.PutUint32(h[12:], 0x1000)
	le.PutUint32(h[16:], 0x200)
	le.PutUint32(h[20:], 0x400)
	for i := range 0x200 {
		b[0x400+i] = byte(i)
	}
	return append(b, "symbol of 18 bytes\x04\x00\x00\x00"...)
}

func TestAddSections(t *testing.T) {
	stub := made()
	before := bytes.Clone(stub)
	add := []image.Section{{".osrel", []byte("ID=x\n")}, {".linux", bytes.Repeat([]byte("k"), 0x1234)}}
	got, err := image.AddSections(stub, add)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stub, before) {
		t.Error("the stub was changed")
	}
	f, err := pe.NewFile(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	header, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		t.Fatalf("got header %T", f.OptionalHeader)
	}
	if f.NumberOfSymbols != 0 || f.PointerToSymbolTable != 0 || header.CheckSum != 0 || header.DataDirectory[4].VirtualAddress != 0 || len(got)%0x200 != 0 {
		t.Error("symbols, checksum or certificates of the stub are left")
	}
	if len(f.Sections) != 3 || f.Sections[0].Name != ".text" {
		t.Fatalf("got sections %v", f.Sections)
	}
	end := uint32(0x1200)
	for i, want := range add {
		s := f.Sections[i+1]
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != want.Name || int(s.VirtualSize) != len(want.Data) || !bytes.Equal(data[:s.VirtualSize], want.Data) || len(bytes.Trim(data[s.VirtualSize:], "\x00")) != 0 {
			t.Errorf("section %s has %d bytes in memory, want exactly those of %s", s.Name, s.VirtualSize, want.Name)
		}
		if s.VirtualAddress < end || s.VirtualAddress%4096 != 0 || s.Offset%0x200 != 0 {
			t.Errorf("section %s is at 0x%x in memory and 0x%x in the file", s.Name, s.VirtualAddress, s.Offset)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
	if header.SizeOfImage < end || header.SizeOfImage%4096 != 0 {
		t.Errorf("image has 0x%x bytes, want at least 0x%x", header.SizeOfImage, end)
	}
	if text, err := f.Sections[0].Data(); err != nil || !bytes.Equal(text, stub[0x400:0x600]) {
		t.Errorf("the stub's section was changed (%v)", err)
	}
}

func TestAddSectionsRefuses(t *testing.T) {
	le := binary.LittleEndian
	good := []image.Section{{".linux", []byte("x")}}
	for _, test := range []struct {
		name, want string
		change     func([]byte)
		add        []image.Section
	}{
		{name: "good", add: good},
		{name: "no MZ", want: "do not begin with MZ", change: func(b []byte) { b[0] = 0 }, add: good},
		{name: "header outside", want: "no PE header", change: func(b []byte) { le.PutUint32(b[0x3C:], 1<<31) }, add: good},
		{name: "no PE", want: "no PE header", change: func(b []byte) { b[peStart] = 0 }, add: good},
		{name: "PE32", want: "not PE32+", change: func(b []byte) { le.PutUint16(b[peHeader:], 0x10B) }, add: good},
		{name: "no certificates", want: "not PE32+", change: func(b []byte) { le.PutUint32(b[peHeader+108:], 4) }, add: good},
		{name: "short header", want: "not PE32+", change: func(b []byte) { le.PutUint16(b[peStart+20:], 100) }, add: good},
		{name: "headers outside", want: "do not fit 1 sections", change: func(b []byte) { le.PutUint32(b[peHeader+60:], 1<<30) }, add: good},
		{name: "headers too small", want: "do not fit 1 sections", change: func(b []byte) { le.PutUint32(b[peHeader+60:], peTable) }, add: good},
		{name: "many sections", want: "do not fit 65535 sections", change: func(b []byte) { le.PutUint16(b[peStart+6:], 0xFFFF) }, add: good},
		{name: "no alignment", want: "alignment is 0x0", change: func(b []byte) { le.PutUint32(b[peHeader+36:], 0) }, add: good},
		{name: "odd alignment", want: "alignment is 0x300", change: func(b []byte) { le.PutUint32(b[peHeader+32:], 0x300) }, add: good},
		{name: "section outside", want: "is outside of the file", change: func(b []byte) { le.PutUint32(b[peTable+20:], 0xFFFFFFFF) }, add: good},
		{name: "section far away", want: "is outside of the file", change: func(b []byte) { le.PutUint32(b[peTable+12:], 0xFFFFFFFF) }, add: good},
		{name: "no room", want: "no room for 20 more", add: make([]image.Section, 20)},
		{name: "long name", want: "at most 8 bytes", add: []image.Section{{".commandl", []byte("x")}}},
		{name: "no name", want: "at most 8 bytes", add: []image.Section{{"", []byte("x")}}},
		{name: "no data", want: "and data", add: []image.Section{{".linux", nil}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := made()
			if test.change != nil {
				test.change(b)
			}
			got, err := image.AddSections(b, test.add)
			if test.want == "" && err == nil {
				return
			}
			if err == nil || test.want == "" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if got != nil {
				t.Error("got an image beside an error")
			}
		})
	}
}

func FuzzAddSections(f *testing.F) {
	f.Add(made(), []byte("kernel"))
	f.Add(made()[:peTable], []byte("x"))
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, stub, data []byte) {
		count.Add(len(stub) > 0x40 && stub[0] == 'M' && stub[1] == 'Z')
		got, err := image.AddSections(stub, []image.Section{{".linux", data}})
		if err != nil {
			if got != nil {
				t.Error("got an image beside an error")
			}
			return
		}
		// What was added can be found again, and nothing is added twice.
		parsed, err := pe.NewFile(bytes.NewReader(got))
		if err != nil {
			return // debug/pe demands more of a stub than is read here
		}
		s := parsed.Sections[len(parsed.Sections)-1]
		back, err := s.Data()
		if err != nil || s.Name != ".linux" || !bytes.Equal(back[:s.VirtualSize], data) {
			t.Errorf("got section %s of 0x%x bytes (%v), want the one that was added", s.Name, s.VirtualSize, err)
		}
	})
}
