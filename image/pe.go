// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A Section is a section of a UKI.
type Section struct {
	// Name has at most 8 bytes, as ".linux".
	Name string
	// Data is not empty.
	Data []byte
}

// Offsets in a PE32+ file (Microsoft PE Format), those from peSectionAlignment on
// from the optional header.
const (
	peHeaderPointer    = 0x3C // of the file: e_lfanew
	peSignatureSize    = 4
	peCOFFSize         = 20
	peSectionCount     = 2 // of the COFF header
	peSymbolTable      = 8 // PointerToSymbolTable and NumberOfSymbols
	peOptionalSize     = 16
	peSectionAlignment = 32
	peFileAlignment    = 36
	peImageSize        = 56
	peHeadersSize      = 60
	peCheckSum         = 64
	peDirectories      = 108 // their number
	peSecurity         = 112 + 4*8
	peDirectorySize    = 8
	peMagic64          = 0x20B
	peSectionHeader    = 40
	// pageSize is where a section begins in memory.
	pageSize = 4096
	// characteristics are IMAGE_SCN_CNT_INITIALIZED_DATA and IMAGE_SCN_MEM_READ.
	characteristics = 0x40000040
)

// Limits of the stub and of what is built, in bytes.
const (
	maxStub  = 16 << 20
	maxImage = 1 << 30
)

// A stub is the EFI stub that sections are added to.
type stub struct {
	raw []byte
	// coff, optional and table are offsets of headers, next that of a further
	// section header.
	coff, optional, table, next int
	headers                     uint32 // SizeOfHeaders
	fileAlign, memoryAlign      uint32
	sections                    int
	// fileEnd and memoryEnd are where the last section ends.
	fileEnd, memoryEnd uint32
}

func badStub(format string, args ...any) error {
	return fmt.Errorf("reading EFI stub: "+format, args...)
}

// parseStub reads the headers of a stub. Every offset is within the file.
func parseStub(raw []byte) (*stub, error) {
	le := binary.LittleEndian
	if len(raw) > maxStub || len(raw) < peHeaderPointer+4 || string(raw[:2]) != "MZ" {
		return nil, badStub("%d bytes that do not begin with MZ, or too many", len(raw))
	}
	start := int64(le.Uint32(raw[peHeaderPointer:]))
	if start+peSignatureSize+peCOFFSize+peSecurity+peDirectorySize > int64(len(raw)) || string(raw[start:start+peSignatureSize]) != "PE\x00\x00" {
		return nil, badStub("no PE header at 0x%x", start)
	}
	s := &stub{raw: raw, coff: int(start) + peSignatureSize}
	s.optional = s.coff + peCOFFSize
	optionalSize := int(le.Uint16(raw[s.coff+peOptionalSize:]))
	header := raw[s.optional:]
	if le.Uint16(header) != peMagic64 || le.Uint32(header[peDirectories:]) <= 4 || optionalSize < peSecurity+peDirectorySize {
		return nil, badStub("not PE32+ with a directory of certificates")
	}
	s.table = s.optional + optionalSize
	s.sections = int(le.Uint16(raw[s.coff+peSectionCount:]))
	s.next = s.table + s.sections*peSectionHeader
	s.headers, s.fileAlign, s.memoryAlign = le.Uint32(header[peHeadersSize:]), le.Uint32(header[peFileAlignment:]), le.Uint32(header[peSectionAlignment:])
	if int64(s.headers) > int64(len(raw)) || int64(s.next) > int64(s.headers) {
		return nil, badStub("headers of 0x%x bytes do not fit %d sections", s.headers, s.sections)
	}
	for _, a := range []uint32{s.fileAlign, s.memoryAlign} {
		if a == 0 || a > pageSize || a&(a-1) != 0 {
			return nil, badStub("alignment is 0x%x, want a power of two up to 0x%x", a, pageSize)
		}
	}
	s.fileEnd, s.memoryEnd = s.headers, s.headers
	for i := range s.sections {
		h := raw[s.table+i*peSectionHeader:]
		virtual, at, size, offset := le.Uint32(h[8:]), le.Uint32(h[12:]), le.Uint32(h[16:]), le.Uint32(h[20:])
		if uint64(offset)+uint64(size) > uint64(len(raw)) || uint64(at)+uint64(max(virtual, size)) > maxStub {
			return nil, badStub("section %q is outside of the file", h[:8])
		}
		s.fileEnd, s.memoryEnd = max(s.fileEnd, offset+size), max(s.memoryEnd, at+max(virtual, size))
	}
	return s, nil
}

// AddSections appends sections to an EFI stub of systemd (UAPI Group Specification
// UKI). Symbols and whatever else is behind the stub's last section are dropped, and
// so is a signature: nothing of the result depends on anything but the sections.
func AddSections(raw []byte, add []Section) ([]byte, error) {
	s, err := parseStub(raw)
	if err != nil {
		return nil, err
	}
	if int64(s.next)+int64(len(add))*peSectionHeader > int64(s.headers) {
		return nil, badStub("no room for %d more sections in its headers", len(add))
	}
	le := binary.LittleEndian
	out := slices.Clone(raw[:s.fileEnd])
	clear(out[s.coff+peSymbolTable : s.coff+peSymbolTable+8])
	clear(out[s.optional+peCheckSum : s.optional+peCheckSum+4])
	clear(out[s.optional+peSecurity : s.optional+peSecurity+peDirectorySize])
	for i, section := range add {
		if len(section.Name) > 8 || section.Name == "" || len(section.Data) == 0 {
			return nil, fmt.Errorf("adding section %q: want a name of at most 8 bytes, and data", section.Name)
		}
		if int64(len(out))+int64(len(section.Data)) > maxImage {
			return nil, fmt.Errorf("adding section %s: the image would have more than %d bytes", section.Name, maxImage)
		}
		out = append(out, make([]byte, align(len(out), s.fileAlign)-len(out))...)
		size := align(len(section.Data), s.fileAlign)
		// In ascending order, or the stub says that sections overlap.
		s.memoryEnd = uint32(align(int(s.memoryEnd), pageSize)) //nolint:gosec // G115: at most maxStub and maxImage
		h := out[s.next+i*peSectionHeader:][:peSectionHeader]
		clear(h)
		copy(h, section.Name)
		le.PutUint32(h[8:], uint32(len(section.Data))) //nolint:gosec // G115: at most maxImage. Exact, since the stub measures as many bytes
		le.PutUint32(h[12:], s.memoryEnd)
		le.PutUint32(h[16:], uint32(size))     //nolint:gosec // G115: at most maxImage
		le.PutUint32(h[20:], uint32(len(out))) //nolint:gosec // G115: at most maxImage
		le.PutUint32(h[36:], characteristics)
		out = append(out, section.Data...)
		out = append(out, make([]byte, size-len(section.Data))...)
		s.memoryEnd += uint32(size) //nolint:gosec // G115: at most maxImage
	}
	le.PutUint16(out[s.coff+peSectionCount:], uint16(s.sections+len(add)))                                    //nolint:gosec // G115: they fit the headers
	le.PutUint32(out[s.optional+peImageSize:], uint32(align(int(s.memoryEnd), max(pageSize, s.memoryAlign)))) //nolint:gosec // G115: at most maxImage
	return out, nil
}

// align rounds up to a power of two.
func align(n int, to uint32) int { return (n + int(to) - 1) &^ (int(to) - 1) }
