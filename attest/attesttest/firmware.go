// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// A Firmware is an OVMF in what launch measurements look at: its table of GUIDed
// entries, and its metadata for SEV-SNP and TDX. It starts nothing.
type Firmware struct {
	// Pages is the size of the file, in pages of 4096 bytes; what is in them is a
	// pattern.
	Pages int
	// SEV and TDVF are the regions of memory of its metadata.
	SEV  []FirmwareRegion
	TDVF []FirmwareSection
	// HashTable is the address of the table of digests, ResetEIP where all vCPUs but
	// the first begin.
	HashTable, ResetEIP uint32
}

// A FirmwareRegion is one of the SEV metadata.
type FirmwareRegion struct{ Address, Size, Type uint32 }

// A FirmwareSection is one of the TDVF metadata.
type FirmwareSection struct {
	DataOffset, DataSize uint32
	Address, Size        uint64
	Type, Attributes     uint32
}

// NewFirmware returns a firmware of 16 pages that is made for SEV-SNP with a direct
// boot and for TDX; four of its pages are for variables.
func NewFirmware() *Firmware {
	return &Firmware{
		Pages: 16,
		SEV: []FirmwareRegion{
			{0x800000, 0x9000, 1}, {0x80d000, 0x1000, 2}, {0x80e000, 0x1000, 3}, {0x80f000, 0x1000, 4}, {0x810000, 0x1000, 0x10}, {0x811000, 0x2000, 1},
		},
		TDVF: []FirmwareSection{
			{0x4000, 0xc000, 0xffff4000, 0xc000, 0, 1}, {0, 0x4000, 0xffff0000, 0x4000, 1, 0}, {0, 0, 0x80b000, 0x2000, 3, 0}, {0, 0, 0x809000, 0x2000, 2, 0},
		},
		HashTable: 0x810c00, ResetEIP: 0x80b004,
	}
}

// Bytes returns the file.
func (f *Firmware) Bytes() []byte {
	const (
		metadata = 0x400 // from the end: TDVF at twice that
		footer   = "96b582de-1fb2-45f7-baea-a366c55a082d"
	)
	out := make([]byte, f.Pages*4096)
	for i := range out {
		out[i] = byte(7*i + i>>8)
	}
	le := binary.LittleEndian
	sev := list("ASEV", len(f.SEV), 12)
	for _, r := range f.SEV {
		sev = le.AppendUint32(le.AppendUint32(le.AppendUint32(sev, r.Address), r.Size), r.Type)
	}
	copy(out[len(out)-metadata:], sev)
	tdvf := append(guidBytes("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae"), list("TDVF", len(f.TDVF), 32)...)
	for _, s := range f.TDVF {
		tdvf = le.AppendUint32(le.AppendUint32(tdvf, s.DataOffset), s.DataSize)
		tdvf = le.AppendUint64(le.AppendUint64(tdvf, s.Address), s.Size)
		tdvf = le.AppendUint32(le.AppendUint32(tdvf, s.Type), s.Attributes)
	}
	copy(out[len(out)-2*metadata-16:], tdvf)

	var table []byte
	add := func(id string, data []byte) {
		table = append(table, data...)
		table = append(le.AppendUint16(table, uint16(len(data)+18)), guidBytes(id)...) //nolint:gosec // G115: a test makes it, and it is small
	}
	add("e47a6535-984a-4798-865e-4685a7bf8ec2", le.AppendUint32(nil, 2*metadata))
	add("dc886566-984a-4798-a75e-5585a7bf67cc", le.AppendUint32(nil, metadata))
	add("7255371f-3a3b-4b04-927b-1da6efa8d454", le.AppendUint32(le.AppendUint32(nil, f.HashTable), 0x400))
	add("00f771de-1a7e-4fcb-890e-68c77e2fb44e", le.AppendUint32(nil, f.ResetEIP))
	table = append(le.AppendUint16(table, uint16(len(table)+18)), guidBytes(footer)...) //nolint:gosec // G115: a test makes it, and it is small
	copy(out[len(out)-32-len(table):], table)
	return out
}

// list is the head of a list of n records of a size.
func list(signature string, n, size int) []byte {
	le := binary.LittleEndian
	out := le.AppendUint32([]byte(signature), uint32(16+n*size)) //nolint:gosec // G115: a test makes it, and it is small
	return le.AppendUint32(le.AppendUint32(out, 1), uint32(n))   //nolint:gosec // G115: a test makes it, and it is small
}

// guidBytes is a GUID in the byte order of UEFI.
func guidBytes(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		panic("attesttest: " + text + " is no GUID")
	}
	return []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}
