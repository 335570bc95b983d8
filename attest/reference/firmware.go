// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/assayd/assay/verdict"
)

// Limits of a firmware file.
const (
	// MaxFirmwareSize is the largest firmware, in bytes. Builds of OVMF have 2 to 16 MiB.
	MaxFirmwareSize = 64 << 20
	pageSize        = 4096
	// A hostile file names regions of memory of any size; each page costs a hash.
	maxRegions = 64
	maxPages   = 1 << 16 // 256 MiB; OVMF names about 1200 with its own file
	fourGiB    = 1 << 32
)

// The table of GUIDed entries at the end of OVMF (edk2 OvmfPkg/ResetVector): it is
// read backwards, from 32 bytes before the end of the file, and each entry is its
// data, the u16 size of the whole, and its GUID.
const (
	afterTable    = 32
	entryOverhead = 2 + 16
)

var (
	guidTableFooter = parseGUID("96b582de-1fb2-45f7-baea-a366c55a082d")
	guidHashTable   = parseGUID("7255371f-3a3b-4b04-927b-1da6efa8d454")
	guidResetBlock  = parseGUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
	guidSEVMetadata = parseGUID("dc886566-984a-4798-a75e-5585a7bf67cc")
	guidTDVFOffset  = parseGUID("e47a6535-984a-4798-865e-4685a7bf8ec2")
	guidTDVF        = parseGUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae")
)

// A guid is in the byte order of UEFI: the first three groups are little-endian.
type guid [16]byte

// parseGUID panics where text is no GUID: it is for constants.
func parseGUID(text string) guid {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != len(guid{}) {
		panic("reference: " + text + " is no GUID")
	}
	return guid{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

func (g guid) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", []byte{g[3], g[2], g[1], g[0]}, []byte{g[5], g[4]}, []byte{g[7], g[6]}, g[8:10], g[10:])
}

// A firmware is a file with its table.
type firmware struct {
	image []byte
	table map[guid][]byte
}

func badFirmware(format string, args ...any) error {
	return verdict.Misused("name the whole firmware file that the virtual machine gets, as OVMF.fd", "parsing firmware: "+format, args...)
}

// parseFirmware reads the table.
func parseFirmware(image []byte) (*firmware, error) {
	if len(image) == 0 || len(image) > MaxFirmwareSize || len(image)%pageSize != 0 {
		return nil, badFirmware("%d bytes, want whole pages of %d and at most %d bytes", len(image), pageSize, MaxFirmwareSize)
	}
	rest := image[:len(image)-afterTable]
	footer := rest[len(rest)-entryOverhead:]
	size := int(binary.LittleEndian.Uint16(footer))
	if !bytes.Equal(footer[2:], guidTableFooter[:]) || size < entryOverhead || size > len(rest) {
		return nil, badFirmware("there is no table of GUIDs at its end")
	}
	f := &firmware{image: image, table: map[guid][]byte{}}
	for rest = rest[len(rest)-size : len(rest)-entryOverhead]; len(rest) > 0; {
		if len(rest) < entryOverhead {
			return nil, badFirmware("%d bytes in front of its table of GUIDs belong to no entry", len(rest))
		}
		id := guid(rest[len(rest)-16:])
		size := int(binary.LittleEndian.Uint16(rest[len(rest)-entryOverhead:]))
		if size < entryOverhead || size > len(rest) {
			return nil, badFirmware("entry %s of its table has %d bytes of the %d that are left", id, size, len(rest))
		}
		if _, twice := f.table[id]; twice {
			return nil, badFirmware("entry %s of its table is there twice", id)
		}
		f.table[id] = rest[len(rest)-size : len(rest)-entryOverhead]
		rest = rest[:len(rest)-size]
	}
	return f, nil
}

// entry returns the data of an entry, which has n bytes, and whether it is there.
func (f *firmware) entry(id guid, n int) ([]byte, bool, error) {
	data, ok := f.table[id]
	if ok && len(data) != n {
		return nil, false, badFirmware("entry %s of its table has %d bytes of data, want %d", id, len(data), n)
	}
	return data, ok, nil
}

// descriptor returns the offset of what an entry points to by a u32 from the end of
// the file, or false where there is no such entry.
func (f *firmware) descriptor(id guid) (offset int, ok bool, err error) {
	data, ok, err := f.entry(id, 4)
	if err != nil || !ok {
		return 0, false, err
	}
	back := int64(binary.LittleEndian.Uint32(data))
	if back > int64(len(f.image)) {
		return 0, false, badFirmware("entry %s points %d bytes in front of its end, and it has %d", id, back, len(f.image))
	}
	return len(f.image) - int(back), true, nil
}

// records returns the n records of size bytes of a list that begins at offset: a
// header of 16 bytes (signature, u32 length of the whole, u32 version, u32 number of
// records), then the records.
func (f *firmware) records(what, signature string, offset, size int) ([][]byte, error) {
	const header = 16
	data := f.image[offset:]
	if len(data) < header || string(data[:4]) != signature {
		return nil, badFirmware("its %s does not begin with %q", what, signature)
	}
	le := binary.LittleEndian
	length, version, n := le.Uint32(data[4:]), le.Uint32(data[8:]), le.Uint32(data[12:])
	if version != 1 {
		return nil, badFirmware("its %s is of version %d, want 1", what, version)
	}
	if n == 0 || n > maxRegions || int64(length) != int64(header)+int64(n)*int64(size) || int64(length) > int64(len(data)) {
		return nil, badFirmware("its %s has %d entries in %d bytes, want 1 to %d of %d bytes each", what, n, length, maxRegions, size)
	}
	var out [][]byte
	for i := range int(n) {
		at := header + i*size
		out = append(out, data[at:at+size])
	}
	return out, nil
}

// checkRegion checks that a region of guest memory is whole pages and does not wrap.
func checkRegion(what string, gpa, size uint64) error {
	switch {
	case gpa%pageSize != 0 || size%pageSize != 0:
		return badFirmware("%s at 0x%x with 0x%x bytes is not whole pages", what, gpa, size)
	case size > maxPages*pageSize || gpa+size < gpa:
		return badFirmware("%s at 0x%x has 0x%x bytes, want at most 0x%x", what, gpa, size, maxPages*pageSize)
	}
	return nil
}
