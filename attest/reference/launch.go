// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"

	"github.com/assayd/assay/verdict"
)

// A pageType says how the SEV-SNP firmware takes a page into a guest (SEV-SNP
// Firmware ABI, SNP_LAUNCH_UPDATE, PAGE_TYPE).
type pageType byte

const (
	pageNormal     pageType = 1
	pageVMSA       pageType = 2
	pageZero       pageType = 3
	pageUnmeasured pageType = 4
	pageSecrets    pageType = 5
	pageCPUID      pageType = 6
)

// A launch is the launch digest as it grows. It begins as zero.
type launch struct{ digest [sha512.Size384]byte }

const pageInfoSize = 0x70

// extend takes in one page: the digest is that of PAGE_INFO, which has the digest
// before (SEV-SNP Firmware ABI, structure PAGE_INFO).
func (l *launch) extend(kind pageType, gpa uint64, contents [sha512.Size384]byte) {
	info := make([]byte, 0, pageInfoSize)
	info = append(append(info, l.digest[:]...), contents[:]...)
	info = binary.LittleEndian.AppendUint16(info, pageInfoSize)
	info = append(info, byte(kind), 0, 0, 0, 0, 0) // no IMI page, no permissions of VMPL 1 to 3
	info = binary.LittleEndian.AppendUint64(info, gpa)
	l.digest = sha512.Sum384(info)
}

// normal takes in a page whose contents count.
func (l *launch) normal(kind pageType, gpa uint64, page []byte) {
	l.extend(kind, gpa, sha512.Sum384(page))
}

// Types of a region that OVMF names in its SEV metadata.
const (
	regionMemory       = 1 // that the firmware uses before it has accepted memory
	regionSecrets      = 2
	regionCPUID        = 3
	regionCAA          = 4 // calling area of an SVSM
	regionKernelHashes = 0x10
)

// A sevRegion is memory that the VMM adds beside the firmware file.
type sevRegion struct {
	gpa, size uint64
	kind      uint32
}

// sevMetadata is what an OVMF says about its start on SEV-SNP.
type sevMetadata struct {
	regions   []sevRegion
	hashTable uint32 // GPA of the table of digests, or zero
	resetEIP  uint32 // of all vCPUs but the first
}

func (f *firmware) sevMetadata() (*sevMetadata, error) {
	offset, ok, err := f.descriptor(guidSEVMetadata)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, badFirmware("it has no SEV metadata: it is not made for SEV-SNP")
	}
	const size = 12
	records, err := f.records("SEV metadata", "ASEV", offset, size)
	if err != nil {
		return nil, err
	}
	m := &sevMetadata{}
	le, pages := binary.LittleEndian, uint64(0)
	for _, b := range records {
		r := sevRegion{gpa: uint64(le.Uint32(b)), size: uint64(le.Uint32(b[4:])), kind: le.Uint32(b[8:])}
		if err := checkRegion("the region of its SEV metadata", r.gpa, r.size); err != nil {
			return nil, err
		}
		if r.kind < regionMemory || r.kind > regionCAA && r.kind != regionKernelHashes {
			return nil, badFirmware("its SEV metadata has a region of type 0x%x, which is not known here", r.kind)
		}
		if pages += r.size / pageSize; pages > maxPages {
			return nil, badFirmware("the regions of its SEV metadata have more than %d pages", maxPages)
		}
		m.regions = append(m.regions, r)
	}
	reset, ok, err := f.entry(guidResetBlock, 4)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, badFirmware("it has no reset block, which says where further vCPUs start")
	}
	m.resetEIP = le.Uint32(reset)
	table, ok, err := f.entry(guidHashTable, 8)
	if err != nil {
		return nil, err
	}
	if ok {
		m.hashTable = le.Uint32(table)
	}
	return m, nil
}

// The table of digests (QEMU target/i386/sev.c; edk2 BlobVerifierLibSevHashes): a
// header and three entries, each a GUID, the u16 size of the whole, and its data,
// filled up to a multiple of 16.
const (
	hashEntrySize   = 16 + 2 + sha256.Size
	hashTableSize   = 16 + 2 + 3*hashEntrySize
	hashTablePadded = (hashTableSize + 15) / 16 * 16
)

var (
	guidHashTableHeader = parseGUID("9438d606-4f22-4cc9-b479-a793d411fd21")
	guidHashCommandLine = parseGUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
	guidHashInitrd      = parseGUID("44baf731-3a2f-4bd7-9af1-41e29169781d")
	guidHashKernel      = parseGUID("4de79437-abd2-427f-b835-d5b172d2045b")
)

// hashPage is the page in which the firmware finds the digests of what it may start.
func (b *DirectBoot) hashPage(table uint32, r sevRegion) ([]byte, error) {
	at := uint64(table) % pageSize
	if table == 0 || uint64(table)-at != r.gpa || r.size != pageSize || at+hashTablePadded > pageSize {
		return nil, verdict.Misused("take a build that checks them (AmdSev of edk2), or leave the kernel out", "computing launch digest: the firmware's table of digests at 0x%x is not in its page for them at 0x%x", table, r.gpa)
	}
	commandLine := sha256.Sum256(append([]byte(b.CommandLine), 0))
	le := binary.LittleEndian
	out := le.AppendUint16(append([]byte(nil), guidHashTableHeader[:]...), hashTableSize)
	for _, e := range []struct {
		id     guid
		digest [sha256.Size]byte
	}{{guidHashCommandLine, commandLine}, {guidHashInitrd, b.Initrd}, {guidHashKernel, b.Kernel}} {
		out = append(le.AppendUint16(append(out, e.id[:]...), hashEntrySize), e.digest[:]...)
	}
	page := make([]byte, pageSize)
	copy(page[at:], out)
	return page, nil
}
