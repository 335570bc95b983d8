// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"cmp"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
)

// Offsets in a PE file (Microsoft PE Format), from the optional header where nothing
// else is said.
const (
	peHeaderPointer  = 0x3C // of the file: e_lfanew
	peSignatureSize  = 4
	peCOFFSize       = 20
	peSizeOfHeaders  = 60
	peCheckSum       = 64
	peDirectories32  = 96 // data directories; their number is in the 4 bytes before
	peDirectories64  = 112
	peSecurity       = 4 // index of the directory of certificates
	peDirectorySize  = 8
	peSectionHeader  = 40
	peMagic32        = 0x10B
	peMagic64        = 0x20B
	peNameSize       = 8
	maxPESections    = 96 // what Windows loads; a UKI has 12 to 20
	peSectionVirtual = 8  // of a section header: VirtualSize
	peSectionRawSize = 16
	peSectionOffset  = 20
)

// A peFile is a PE file, which UEFI calls an image.
type peFile struct {
	raw []byte
	// optional is the offset of the optional header, certificates that of the
	// directory of certificates, or zero where there is none.
	optional, certificates int
	headers                int // SizeOfHeaders
	sections               []peSection
}

// A peSection is a section's place in the file.
type peSection struct {
	name                     string
	virtual, rawSize, offset int
}

func badPE(format string, args ...any) error {
	return verdict.Misused("name a unified kernel image (UKI): a PE file of systemd-stub with .linux, .cmdline and .initrd", "parsing PE file: "+format, args...)
}

// parsePE reads headers and section table. Every offset that it returns is within the
// file.
func parsePE(raw []byte) (*peFile, error) {
	le := binary.LittleEndian
	if len(raw) < peHeaderPointer+4 || string(raw[:2]) != "MZ" {
		return nil, badPE("it does not begin with MZ")
	}
	start := int64(le.Uint32(raw[peHeaderPointer:]))
	if start > int64(len(raw))-peSignatureSize-peCOFFSize || string(raw[start:start+peSignatureSize]) != "PE\x00\x00" {
		return nil, badPE("there is no PE header at 0x%x", start)
	}
	coff := raw[start+peSignatureSize:]
	count, optionalSize := int(le.Uint16(coff[2:])), int(le.Uint16(coff[16:]))
	p := &peFile{raw: raw, optional: int(start) + peSignatureSize + peCOFFSize}
	table := p.optional + optionalSize
	if count > maxPESections || table+count*peSectionHeader > len(raw) {
		return nil, badPE("%d sections in a table at 0x%x, want at most %d inside the file", count, table, maxPESections)
	}
	if err := p.readOptional(optionalSize); err != nil {
		return nil, err
	}
	for i := range count {
		b := raw[table+i*peSectionHeader:]
		s := peSection{name: strings.TrimRight(string(b[:peNameSize]), "\x00")}
		virtual, size, offset := le.Uint32(b[peSectionVirtual:]), le.Uint32(b[peSectionRawSize:]), le.Uint32(b[peSectionOffset:])
		if size > 0 && int64(offset)+int64(size) > int64(len(raw)) {
			return nil, badPE("section %q has 0x%x bytes at 0x%x, outside the file", s.name, size, offset)
		}
		s.virtual, s.rawSize, s.offset = int(virtual), int(size), int(offset)
		p.sections = append(p.sections, s)
	}
	return p, nil
}

// readOptional reads what the image's digest needs of the optional header.
func (p *peFile) readOptional(size int) error {
	le := binary.LittleEndian
	if size < peCheckSum+4 {
		return badPE("its optional header has %d bytes", size)
	}
	header := p.raw[p.optional : p.optional+size]
	directories := map[uint16]int{peMagic32: peDirectories32, peMagic64: peDirectories64}[le.Uint16(header)]
	if directories == 0 || size < directories {
		return badPE("its optional header has %d bytes and magic 0x%x, want PE32 or PE32+", size, le.Uint16(header))
	}
	at := directories + peSecurity*peDirectorySize
	if le.Uint32(header[directories-4:]) > peSecurity {
		if at+peDirectorySize > size {
			return badPE("its optional header ends in front of the directory of certificates")
		}
		p.certificates = p.optional + at
	}
	headers := int64(le.Uint32(header[peSizeOfHeaders:]))
	if headers < int64(p.optional+size) || headers > int64(len(p.raw)) {
		return badPE("its headers have 0x%x bytes, want at least 0x%x inside the file", headers, p.optional+size)
	}
	p.headers = int(headers)
	return nil
}

// digest is the image's digest by h, which covers all but the checksum, the
// directory of certificates and the certificates themselves, sections in the order of
// the file (Windows Authenticode Portable Executable Signature Format; edk2
// Tcg2Dxe MeasureBootPeCoff.c, which is what a firmware extends into PCR 4).
func (p *peFile) digest(h hash.Hash) ([]byte, error) {
	certificates, hashed := int64(0), int64(p.headers)
	if p.certificates > 0 {
		certificates = int64(binary.LittleEndian.Uint32(p.raw[p.certificates+4:]))
	}
	for _, s := range p.sections {
		hashed += int64(s.rawSize)
	}
	// First, since sections that lie over one another could be hashed without end.
	end := int64(len(p.raw)) - certificates
	if end < hashed {
		return nil, badPE("0x%x bytes of certificates and 0x%x of sections do not fit into it", certificates, hashed)
	}
	h.Write(p.raw[:p.optional+peCheckSum])
	if p.certificates == 0 {
		h.Write(p.raw[p.optional+peCheckSum+4 : p.headers])
	} else {
		h.Write(p.raw[p.optional+peCheckSum+4 : p.certificates])
		h.Write(p.raw[p.certificates+peDirectorySize : p.headers])
	}
	sections := slices.Clone(p.sections)
	slices.SortStableFunc(sections, func(a, b peSection) int { return cmp.Compare(a.offset, b.offset) })
	for _, s := range sections {
		if s.rawSize > 0 { // of one without, the offset may be anything
			h.Write(p.raw[s.offset : s.offset+s.rawSize])
		}
	}
	h.Write(p.raw[hashed:end])
	return h.Sum(nil), nil
}
