// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"crypto/sha256"
	"crypto/sha512"
	"slices"

	"github.com/assayd/assay/verdict"
)

// A VMM is the kind of virtual machine monitor: each starts a guest in its own way.
type VMM string

// Kinds of VMM.
const (
	// QEMU is QEMU with KVM, as upstream.
	QEMU VMM = "qemu"
	// EC2 is Amazon's.
	EC2 VMM = "ec2"
	// GCE is Google's.
	GCE VMM = "gce"
)

// VMMs are all kinds of VMM.
var VMMs = []VMM{QEMU, EC2, GCE}

// MaxVCPUs is the largest number of vCPUs: more than any VMM gives a guest.
const MaxVCPUs = 1024

// An SNP is a virtual machine on AMD SEV-SNP: everything that its launch digest
// covers. The zero value is incomplete and has no digest.
type SNP struct {
	// Firmware is the file that the VMM maps below 4 GiB (-bios of QEMU).
	Firmware []byte
	VMM      VMM
	// VCPUs is the number of vCPUs, 1 to MaxVCPUs.
	VCPUs int
	// VCPU is what CPUID function 1 returns in EAX, as [VCPUSignature] has it. EC2
	// does not show it to the digest, and GCE no more than whether it is Milan.
	VCPU uint32
	// Features is SEV_FEATURES of the VMSA: 1 for SNP alone, 0x21 with DebugSwap.
	Features uint64
	// Boot is what the VMM loads without a disk, or nil. Where it is nil, the digest
	// does not say what the firmware starts.
	Boot *DirectBoot
}

// A DirectBoot is a kernel that the VMM loads by itself (-kernel of QEMU), as the
// firmware checks it before it starts it.
type DirectBoot struct {
	// Kernel and Initrd are the SHA-256 of the files; of no initrd, that of nothing.
	Kernel, Initrd [sha256.Size]byte
	// CommandLine is given to the kernel, without the NUL at its end.
	CommandLine string
}

// A vcpuType is a model of QEMU.
type vcpuType struct {
	name                    string
	family, model, stepping uint32
}

var vcpuTypes = []vcpuType{
	{"EPYC-v4", 0x17, 0x01, 2},
	{"EPYC-Milan", 0x19, 0x01, 1},
	{"EPYC-Genoa", 0x19, 0x11, 0},
	{"EPYC-Turin", 0x1a, 0x00, 0},
}

// signature packs family, model and stepping as CPUID function 1 does (AMD64
// Architecture Programmer's Manual, volume 3, appendix E): what a family has above 15
// is the extended family, and of the model the upper four bits are apart.
func (t vcpuType) signature() uint32 {
	return (t.family-15)<<20 | t.model>>4<<16 | 15<<8 | t.model&15<<4 | t.stepping
}

// VCPUTypes returns the names that [VCPUSignature] knows.
func VCPUTypes() []string {
	var names []string
	for _, t := range vcpuTypes {
		names = append(names, t.name)
	}
	return names
}

// VCPUSignature returns what CPUID function 1 returns in EAX for a vCPU type of QEMU,
// and whether the type is known.
func VCPUSignature(name string) (uint32, bool) {
	for _, t := range vcpuTypes {
		if t.name == name {
			return t.signature(), true
		}
	}
	return 0, false
}

// check refuses what is incomplete, or what no such machine can be.
func (s *SNP) check() error {
	switch {
	case !slices.Contains(VMMs, s.VMM):
		return verdict.Misused("name one of qemu, ec2, gce", "computing launch digest: the VMM is %q", s.VMM)
	case s.VCPUs < 1 || s.VCPUs > MaxVCPUs:
		return verdict.Misused("the digest covers each vCPU, so their number has to be known", "computing launch digest: %d vCPUs, want 1 to %d", s.VCPUs, MaxVCPUs)
	case s.Features&featureSNP == 0:
		return verdict.Misused("bit 0 is SNP; most hosts start guests with 0x1", "computing launch digest: SEV_FEATURES are 0x%x, want bit 0", s.Features)
	case s.VMM == QEMU && s.VCPU == 0:
		return verdict.Misused("name the vCPU type", "computing launch digest: the vCPUs have no signature")
	case s.VMM == GCE && s.VCPU != milan && s.VCPU != genoa:
		return verdict.Misused("name EPYC-Milan or EPYC-Genoa", "computing launch digest: vCPUs of signature 0x%x at GCE", s.VCPU)
	}
	return nil
}

// LaunchDigest returns what the SEV-SNP firmware puts into MEASUREMENT of a report.
// An input that is incomplete, a firmware that is not made for SEV-SNP, and a kernel
// that the firmware would not check are a *[verdict.Misuse].
func (s *SNP) LaunchDigest() ([sha512.Size384]byte, error) {
	none := [sha512.Size384]byte{}
	if err := s.check(); err != nil {
		return none, err
	}
	f, err := parseFirmware(s.Firmware)
	if err != nil {
		return none, err
	}
	m, err := f.sevMetadata()
	if err != nil {
		return none, err
	}
	var l launch
	base := fourGiB - uint64(len(f.image))
	for at := 0; at < len(f.image); at += pageSize {
		l.normal(pageNormal, base+uint64(at), f.image[at:at+pageSize])
	}
	if err := s.addRegions(&l, m); err != nil {
		return none, err
	}
	s.addVCPUs(&l, m)
	return l.digest, nil
}

// addRegions adds the regions of memory that the firmware asks for.
func (s *SNP) addRegions(l *launch, m *sevMetadata) error {
	regions := m.regions
	if s.VMM == EC2 { // it adds the CPUID page last
		regions = slices.Clone(regions)
		slices.SortStableFunc(regions, func(a, b sevRegion) int {
			switch cpuid := a.kind == regionCPUID; {
			case cpuid == (b.kind == regionCPUID):
				return 0
			case cpuid:
				return 1
			}
			return -1
		})
	}
	hashed := false
	for _, r := range regions {
		if r.kind == regionKernelHashes && s.Boot != nil {
			page, err := s.Boot.hashPage(m.hashTable, r)
			if err != nil {
				return err
			}
			l.normal(pageNormal, r.gpa, page)
			hashed = true
			continue
		}
		kind := map[uint32]pageType{
			regionMemory: pageZero, regionSecrets: pageSecrets, regionCPUID: pageCPUID, regionCAA: pageZero, regionKernelHashes: pageZero,
		}[r.kind]
		if r.kind == regionMemory && s.VMM == GCE {
			kind = pageUnmeasured
		}
		for at := uint64(0); at < r.size; at += pageSize {
			l.extend(kind, r.gpa+at, [sha512.Size384]byte{})
		}
	}
	if s.Boot != nil && !hashed {
		return verdict.Misused("take a build that checks them (AmdSev of edk2), or leave the kernel out", "computing launch digest: the firmware has no page for the digests of kernel, initrd and command line, so it would start any")
	}
	return nil
}

// addVCPUs adds the registers of each vCPU, all at one address.
func (s *SNP) addVCPUs(l *launch, m *sevMetadata) {
	gpa := uint64(vmsaAddress)
	if s.VMM == GCE && s.VCPU == genoa {
		gpa = vmsaAddressGenoa
	}
	for i := range s.VCPUs {
		eip := uint32(resetVector)
		if i > 0 {
			eip = m.resetEIP
		}
		l.normal(pageVMSA, gpa, s.vmsa(eip))
	}
}
