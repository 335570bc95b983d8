// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"encoding/binary"
	"slices"
)

// A Section is one of a PE file.
type Section struct {
	Name string
	Data []byte
}

// A UKI is a unified kernel image in what measurements look at. It starts nothing.
type UKI struct{ Sections []Section }

// NewUKI returns an image of systemd-stub 252.
func NewUKI() *UKI {
	return &UKI{[]Section{
		{".text", []byte("stub")}, {".sbat", []byte("sbat,1\n")}, {".sdmagic", []byte("#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####\x00")},
		{".osrel", []byte("ID=x\n")}, {".cmdline", []byte("quiet panic=-1")}, {".initrd", []byte("INITRD")},
		{".linux", PE([]Section{{".text", []byte("kernel")}}, nil)},
	}}
}

// Set replaces a section's data, or adds the section.
func (u *UKI) Set(name string, data []byte) {
	if i := slices.IndexFunc(u.Sections, func(s Section) bool { return s.Name == name }); i >= 0 {
		u.Sections[i].Data = data
		return
	}
	u.Sections = append(u.Sections, Section{name, data})
}

// Without takes a section out.
func (u *UKI) Without(name string) {
	u.Sections = slices.DeleteFunc(u.Sections, func(s Section) bool { return s.Name == name })
}

// Bytes returns the file.
func (u *UKI) Bytes() []byte { return PE(u.Sections, nil) }

// Sizes of what PE writes, in bytes.
const (
	PEHeaders   = 0x400 // of the file, before the first section
	PEAlignment = 0x200 // of sections in the file
)

// PE returns a PE32+ file with these sections, in this order, and certificates behind
// them.
func PE(sections []Section, certificates []byte) []byte {
	const start, optionalSize, header = 0x80, 240, 40
	out := make([]byte, PEHeaders)
	copy(out, "MZ")
	le := binary.LittleEndian
	le.PutUint32(out[0x3c:], start)
	copy(out[start:], "PE\x00\x00\x64\x86")
	le.PutUint16(out[start+6:], uint16(len(sections))) //nolint:gosec // G115: a test makes it, and it is small
	le.PutUint16(out[start+20:], optionalSize)
	optional := start + 24
	le.PutUint16(out[optional:], 0x20b)
	le.PutUint32(out[optional+60:], PEHeaders)
	le.PutUint32(out[optional+108:], 16)
	for i, s := range sections {
		h := out[optional+optionalSize+i*header:]
		copy(h[:8], s.Name)
		le.PutUint32(h[8:], uint32(len(s.Data))) //nolint:gosec // G115: a test makes it, and it is small
		le.PutUint32(h[12:], uint32(0x1000*(i+1)))
		padded := (len(s.Data) + PEAlignment - 1) / PEAlignment * PEAlignment
		le.PutUint32(h[16:], uint32(padded))   //nolint:gosec // G115: a test makes it, and it is small
		le.PutUint32(h[20:], uint32(len(out))) //nolint:gosec // G115: a test makes it, and it is small
		out = append(append(out, s.Data...), make([]byte, padded-len(s.Data))...)
	}
	if len(certificates) > 0 {
		le.PutUint32(out[optional+144:], uint32(len(out)))          //nolint:gosec // G115: a test makes it, and it is small
		le.PutUint32(out[optional+148:], uint32(len(certificates))) //nolint:gosec // G115: a test makes it, and it is small
	}
	return append(out, certificates...)
}
