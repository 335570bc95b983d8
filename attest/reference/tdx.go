// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"slices"

	"github.com/assayd/assay/verdict"
)

// A PageOrder says in which order a VMM adds pages to a TD and extends MRTD with what
// is in them: MRTD depends on it.
type PageOrder string

// Page orders.
const (
	// Interleaved adds a page and extends with it at once: Linux's KVM, Google.
	Interleaved PageOrder = "interleaved"
	// TwoPass adds all pages of a section first: KVM before TDX was in Linux.
	TwoPass PageOrder = "two-pass"
)

// PageOrders are all page orders.
var PageOrders = []PageOrder{Interleaved, TwoPass}

// Types and attributes of a TDVF section (Intel TDX Virtual Firmware Design Guide,
// metadata descriptor). Types 2 and 3 are memory for the TD HOB and for the firmware.
const (
	sectionBFV      = 0 // boot firmware volume
	sectionCFV      = 1 // configuration firmware volume: the variables
	sectionPermMem  = 4
	attributeExtend = 1 << 0 // MR.EXTEND
	attributeAug    = 1 << 1 // PAGE.AUG: added after the launch, and in no measurement
)

// A tdvfSection is memory of a TD at its launch.
type tdvfSection struct {
	data       []byte // of the file; zeros follow it up to size
	gpa, size  uint64
	kind       uint32
	attributes uint32
}

// tdvf reads the TDVF metadata.
func (f *firmware) tdvf() ([]tdvfSection, error) {
	offset, ok, err := f.descriptor(guidTDVFOffset)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, badFirmware("it has no TDVF metadata: it is not made for TDX")
	}
	if offset < len(guidTDVF) || !bytes.Equal(f.image[offset-len(guidTDVF):offset], guidTDVF[:]) {
		return nil, badFirmware("there is no GUID in front of its TDVF metadata")
	}
	const size = 32
	records, err := f.records("TDVF metadata", "TDVF", offset, size)
	if err != nil {
		return nil, err
	}
	var sections []tdvfSection
	le, pages := binary.LittleEndian, uint64(0)
	for _, b := range records {
		dataOffset, dataSize := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
		s := tdvfSection{gpa: le.Uint64(b[8:]), size: le.Uint64(b[16:]), kind: le.Uint32(b[24:]), attributes: le.Uint32(b[28:])}
		if err := checkRegion("the section of its TDVF metadata", s.gpa, s.size); err != nil {
			return nil, err
		}
		if pages += s.size / pageSize; pages > maxPages {
			return nil, badFirmware("the sections of its TDVF metadata have more than %d pages", maxPages)
		}
		switch {
		case dataOffset+dataSize > uint64(len(f.image)) || dataSize > s.size:
			return nil, badFirmware("the section of its TDVF metadata at 0x%x has 0x%x bytes from 0x%x of the file for 0x%x bytes of memory", s.gpa, dataSize, dataOffset, s.size)
		case s.kind > sectionPermMem || s.attributes&^(attributeExtend|attributeAug) != 0 || s.attributes == attributeExtend|attributeAug:
			return nil, badFirmware("the section of its TDVF metadata at 0x%x is of type %d with attributes 0x%x, which are not known here", s.gpa, s.kind, s.attributes)
		}
		s.data = f.image[dataOffset : dataOffset+dataSize]
		sections = append(sections, s)
	}
	return sections, nil
}

// Sizes of the records that make MRTD (Intel TDX Module Base Architecture
// Specification, measurement of the TD image).
const (
	mrtdRecord = 128
	mrtdGPA    = 16 // offset of the address in a record
	mrtdChunk  = 256
)

// An mrtd is MRTD as it grows.
type mrtd struct{ hash.Hash }

func (h mrtd) record(name string, gpa uint64) {
	b := make([]byte, mrtdRecord)
	copy(b, name)
	binary.LittleEndian.PutUint64(b[mrtdGPA:], gpa)
	h.Write(b)
}

// add is TDH.MEM.PAGE.ADD.
func (h mrtd) add(gpa uint64) { h.record("MEM.PAGE.ADD", gpa) }

// extend is TDH.MR.EXTEND over a whole page.
func (h mrtd) extend(gpa uint64, page []byte) {
	for at := 0; at < pageSize; at += mrtdChunk {
		h.record("MR.EXTEND", gpa+uint64(at))
		h.Write(page[at : at+mrtdChunk])
	}
}

// section adds a section's pages.
func (h mrtd) section(s tdvfSection, order PageOrder) {
	if s.attributes&attributeAug != 0 {
		return
	}
	page := func(at uint64) []byte {
		out := make([]byte, pageSize)
		if at < uint64(len(s.data)) {
			copy(out, s.data[at:])
		}
		return out
	}
	extended := s.attributes&attributeExtend != 0
	for at := uint64(0); at < s.size; at += pageSize {
		h.add(s.gpa + at)
		if extended && order == Interleaved {
			h.extend(s.gpa+at, page(at))
		}
	}
	for at := uint64(0); extended && order == TwoPass && at < s.size; at += pageSize {
		h.extend(s.gpa+at, page(at))
	}
}

// A TDX is what a TDVF, a firmware that is made for TDX, decides of a TD's registers.
type TDX struct {
	// MRTD is the measurement of the firmware's boot volume and of where memory is.
	MRTD [sha512.Size384]byte
	// CFV is the digest of the event in RTMR0 for the firmware's configuration
	// volume, its UEFI variables. RTMR0 as a whole depends on the host too.
	CFV [sha512.Size384]byte
}

// MeasureTDX computes what a TDVF decides. A file that is none, or has no
// configuration volume, and an unknown order are a *[verdict.Misuse].
func MeasureTDX(image []byte, order PageOrder) (TDX, error) {
	if !slices.Contains(PageOrders, order) {
		return TDX{}, verdict.Misused("name interleaved or two-pass", "computing MRTD: the order of pages is %q", order)
	}
	f, err := parseFirmware(image)
	if err != nil {
		return TDX{}, err
	}
	sections, err := f.tdvf()
	if err != nil {
		return TDX{}, err
	}
	var out TDX
	h := mrtd{sha512.New384()}
	volumes, measured := 0, false
	for _, s := range sections {
		h.section(s, order)
		measured = measured || s.kind == sectionBFV && s.attributes&attributeExtend != 0
		if s.kind == sectionCFV {
			volumes++
			out.CFV = sha512.Sum384(s.data)
		}
	}
	switch {
	case !measured:
		return TDX{}, badFirmware("no boot volume of its TDVF metadata is extended into MRTD")
	case volumes != 1:
		return TDX{}, badFirmware("its TDVF metadata has %d configuration volumes, want 1", volumes)
	}
	h.Sum(out.MRTD[:0])
	return out, nil
}
