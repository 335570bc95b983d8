// SPDX-License-Identifier: Apache-2.0

package reference

import "encoding/binary"

// Values of a vCPU at its start.
const (
	featureSNP       = 1 // bit 0 of SEV_FEATURES
	resetVector      = 0xFFFFFFF0
	vmsaAddress      = 0xFFFFFFFFF000
	vmsaAddressGenoa = 0xFFFFFFFFFF000 // at GCE, where guest addresses have 52 bits
	rdxCloud         = 0x600
	patReset         = 0x0007040600070406
	patGCE           = 0x0000000000070106

	milan = 0xA00F11
	genoa = 0xA10F10
)

// A segment is a segment register in a VMSA.
type segment struct {
	selector, attributes uint16
	limit                uint32
	base                 uint64
}

// vmsa is the page with the registers of a vCPU that starts at eip (AMD64
// Architecture Programmer's Manual, volume 2, appendix B, table B-4). Offsets are
// those of the table; what is not named is zero.
func (s *SNP) vmsa(eip uint32) []byte {
	page := make([]byte, pageSize)
	le := binary.LittleEndian
	seg := func(offset int, v segment) {
		le.PutUint16(page[offset:], v.selector)
		le.PutUint16(page[offset+2:], v.attributes)
		le.PutUint32(page[offset+4:], v.limit)
		le.PutUint64(page[offset+8:], v.base)
	}
	u64 := func(offset int, v uint64) { le.PutUint64(page[offset:], v) }

	code, stack, task := uint16(0x9B), uint16(0x93), uint16(0x8B)
	pat, rdx := uint64(patReset), uint64(s.VCPU)
	mxcsr, fcw := uint32(0x1F80), uint16(0x37F)
	switch s.VMM {
	case EC2:
		stack, task = 0x92, 0x83
		if eip == resetVector {
			code = 0x9A
		}
		rdx, mxcsr, fcw = rdxCloud, 0, 0
	case GCE:
		pat, rdx, mxcsr, fcw = patGCE, rdxCloud, 0, 0
	case QEMU:
	}

	for _, offset := range []int{0x000, 0x030, 0x040, 0x050} { // ES, DS, FS, GS
		seg(offset, segment{attributes: 0x93, limit: 0xFFFF})
	}
	seg(0x010, segment{selector: 0xF000, attributes: code, limit: 0xFFFF, base: uint64(eip &^ 0xFFFF)}) // CS
	seg(0x020, segment{attributes: stack, limit: 0xFFFF})                                               // SS
	seg(0x060, segment{limit: 0xFFFF})                                                                  // GDTR
	seg(0x070, segment{attributes: 0x82, limit: 0xFFFF})                                                // LDTR
	seg(0x080, segment{limit: 0xFFFF})                                                                  // IDTR
	seg(0x090, segment{attributes: task, limit: 0xFFFF})                                                // TR
	u64(0x0D0, 0x1000)                                                                                  // EFER: SVME
	u64(0x148, 0x40)                                                                                    // CR4: MCE
	u64(0x158, 0x10)                                                                                    // CR0: ET
	u64(0x160, 0x400)                                                                                   // DR7
	u64(0x168, 0xFFFF0FF0)                                                                              // DR6
	u64(0x170, 0x2)                                                                                     // RFLAGS
	u64(0x178, uint64(eip&0xFFFF))                                                                      // RIP
	u64(0x268, pat)                                                                                     // G_PAT
	u64(0x310, rdx)                                                                                     // RDX
	u64(0x3B0, s.Features)                                                                              // SEV_FEATURES
	u64(0x3E8, 0x1)                                                                                     // XCR0
	le.PutUint32(page[0x408:], mxcsr)
	le.PutUint16(page[0x410:], fcw)
	return page
}
