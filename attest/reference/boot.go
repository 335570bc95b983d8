// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// A BootPath says how the firmware finds the UKI, which decides the order of events.
type BootPath string

// Boot paths.
const (
	// Direct is an image that the VMM hands to the firmware (-kernel of QEMU).
	Direct BootPath = "direct"
	// Disk is \EFI\BOOT\BOOTX64.EFI on a disk, without a boot loader in front of it.
	Disk BootPath = "disk"
)

// BootPaths are all boot paths.
var BootPaths = []BootPath{Direct, Disk}

// A Boot is how a UKI is started.
type Boot struct {
	Path BootPath
	// HostCommandLine is what the host sets as load options: it replaces the image's
	// command line, unless secure boot is on. Empty is what a host has to leave.
	HostCommandLine string
	// Variables are the firmware's.
	Variables Variables
	// Phases are the boot phases that systemd has extended into PCR 11 by the time of
	// the quote, as "enter-initrd"; none where something else is PID 1.
	Phases []string
}

// An Event is one extend of a register.
type Event struct {
	// Register is "pcr4" or "rtmr1".
	Register string
	// What says what was measured, Digest what was extended.
	What   string
	Digest []byte
}

// An extend is an event of a PCR whose digest is not computed yet: TPMs and TDs have
// other hashes.
type extend struct {
	pcr  int
	what string
	data content
}

// Registers that a UKI decides.
const (
	pcrBoot       = 4 // images that the firmware starts
	pcrBootConfig = 5
	pcrSecureBoot = 7
	pcrKernel     = 9 // what the kernel's EFI stub measures
	pcrUKI        = 11
	pcrOverrides  = 12 // what comes from outside the image
	pcrExtensions = 13
)

// decided are the PCRs that [UKI.PCRs] computes.
var decided = []int{pcrBoot, pcrSecureBoot, pcrKernel, pcrUKI, pcrOverrides, pcrExtensions}

func (b *Boot) check() error {
	switch {
	case !slices.Contains(BootPaths, b.Path):
		return verdict.Misused("name direct or disk", "computing boot: the path is %q", b.Path)
	case b.Variables.SecureBoot && b.HostCommandLine != "":
		return verdict.Misused("leave the host's command line out", "computing boot: with secure boot systemd-stub does not take a command line of the host")
	case slices.Contains(b.Phases, ""):
		return verdict.Misused("name phases as enter-initrd", "computing boot: a phase is empty")
	}
	return nil
}

// events are the extends of PCRs 4, 5, 7, 9, 11 and 12 in the order in which they
// happen with OVMF, systemd-stub 252 and the EFI stub of Linux 6.12.
func (u *UKI) events(b Boot) ([]extend, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	events := b.Variables.events()
	authority, err := b.Variables.authority()
	if err != nil {
		return nil, err
	}
	options := u.options
	if b.HostCommandLine != "" {
		if options, err = loadOptions(b.HostCommandLine); err != nil {
			return nil, err
		}
	}
	add := func(pcr int, what string, data content) { events = append(events, extend{pcr, what, data}) }
	start := func() {
		if authority != nil {
			add(pcrSecureBoot, "certificate of db that the image is signed under", these(authority))
		}
		add(pcrBoot, "UKI", u.image)
	}
	if b.Path == Direct {
		start()
	}
	add(pcrBoot, "call of a boot option", these([]byte("Calling EFI Application from Boot Option")))
	add(pcrBoot, "separator", these(separator))
	if b.Path == Disk {
		start()
	}
	for _, s := range u.sections {
		add(pcrUKI, "name of "+s.name, these([]byte(s.name+"\x00")))
		add(pcrUKI, s.name, s.data)
	}
	if b.HostCommandLine != "" {
		add(pcrOverrides, "command line of the host", these(options))
	}
	if !b.Variables.SecureBoot {
		// With secure boot the stub loads the kernel past the firmware's handlers, which
		// would have to know its signer, and past the one that measures.
		add(pcrBoot, "kernel", u.kernel)
	}
	add(pcrKernel, "command line", these(options))
	add(pcrKernel, "initrd", u.initrd)
	add(pcrBootConfig, "end of boot services", these([]byte("Exit Boot Services Invocation")))
	add(pcrBootConfig, "success of that", these([]byte("Exit Boot Services Returned with Success")))
	for _, phase := range b.Phases {
		add(pcrUKI, "phase "+phase, these([]byte(phase)))
	}
	return events, nil
}

// separator is what a firmware measures that hands over without an error.
var separator = make([]byte, 4)

// PCRs are values of the SHA-256 bank, and how they come about.
type PCRs struct {
	// Values are by PCR: 4, 7, 9, 11, 12 and 13. One without events is zero.
	Values map[int][sha256.Size]byte
	// Events are their extends in order.
	Events []Event
}

// PCRs computes the registers that the image decides where it is started as b says.
func (u *UKI) PCRs(b Boot) (PCRs, error) {
	events, err := u.events(b)
	if err != nil {
		return PCRs{}, err
	}
	out := PCRs{Values: map[int][sha256.Size]byte{}}
	for _, pcr := range decided {
		out.Values[pcr] = [sha256.Size]byte{}
	}
	for _, e := range events {
		value, ok := out.Values[e.pcr]
		if !ok {
			continue
		}
		digest, err := e.data(sha256.New())
		if err != nil {
			return PCRs{}, err
		}
		out.Values[e.pcr] = attest.ExtendPCR(value, [sha256.Size]byte(digest))
		out.Events = append(out.Events, Event{fmt.Sprintf("pcr%d", e.pcr), e.what, digest})
	}
	return out, nil
}

// RTMRs are what a TD has in RTMR1 and RTMR2, and how they come about.
type RTMRs struct {
	RTMR1, RTMR2 [sha512.Size384]byte
	// Events are their extends in order.
	Events []Event
}

// RTMRs computes the registers that the image decides in a TD that the VMM hands it to
// (UEFI 2.10 §38.4.1 and edk2 OvmfPkg/Tcg/TdTcg2Dxe; systemd-stub 252 knows no
// confidential VM and measures nothing). Of a disk the firmware measures the partition
// table too, which is not in the image: only the path Direct without secure boot.
func (u *UKI) RTMRs(b Boot) (RTMRs, error) {
	if b.Path != Direct || b.Variables.SecureBoot {
		return RTMRs{}, verdict.Misused("leave the path and secure boot out", "computing RTMRs: only of an image that the VMM hands to the firmware, without secure boot")
	}
	events, err := u.events(b)
	if err != nil {
		return RTMRs{}, err
	}
	var out RTMRs
	for _, e := range events {
		register, name := &out.RTMR1, "rtmr1"
		switch e.pcr {
		case pcrBoot, pcrBootConfig:
		case pcrKernel:
			register, name = &out.RTMR2, "rtmr2"
		default: // RTMR0, or of the stub, which does not measure into a TD
			continue
		}
		digest, err := e.data(sha512.New384())
		if err != nil {
			return RTMRs{}, err
		}
		*register = sha512.Sum384(append(register[:], digest...))
		out.Events = append(out.Events, Event{name, e.what, digest})
	}
	return out, nil
}
