// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/attest/reference"
	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
)

// Limits of what is read, in bytes.
const (
	maxVariable    = 1 << 20 // a UEFI variable; dbx has some 20 KiB
	maxCertificate = 64 << 10
)

func (a *app) referenceCommand() *cobra.Command {
	return a.group("reference", "Compute reference values: what the right machine has to measure",
		a.group("compute", "Compute reference values from the files that a machine is started from",
			a.referenceSNPCommand(entryFlags{}), a.referenceTDXCommand(entryFlags{}), a.referenceTPMCommand(entryFlags{})),
		a.group("verify", "Compute them anew, and compare with the entries of a references file",
			a.referenceSNPCommand(entryFlags{verify: true}), a.referenceTDXCommand(entryFlags{verify: true}), a.referenceTPMCommand(entryFlags{verify: true})))
}

// An input is a file that a value depends on.
type input struct {
	Path   string         `json:"path"`
	Digest verdict.Digest `json:"digest"`
}

// readInput returns a whole file and notes it under a name.
func readInput(inputs map[string]input, name, path string, limit int64) ([]byte, error) {
	data, err := file.Read(name, path, limit)
	if err != nil {
		return nil, err
	}
	inputs[name] = input{path, verdict.SHA256(data)}
	return data, nil
}

// A snpValue is one launch digest.
type snpValue struct {
	VCPUs       int    `json:"vcpus"`
	VCPUType    string `json:"vcpuType,omitempty"`
	Measurement string `json:"measurement"`
}

// machine says which machine has the digest.
func (v snpValue) machine() string {
	s := fmt.Sprintf("%d vCPU", v.VCPUs)
	if v.VCPUs != 1 {
		s += "s"
	}
	return strings.TrimSpace(s + " " + v.VCPUType)
}

func (a *app) referenceSNPCommand(entry entryFlags) *cobra.Command {
	var kernel, initrd, commandLine, vmm, features string
	var vcpus []int
	var types []string
	c := a.command("snp FIRMWARE --vcpus N --vcpu-type TYPE "+entry.words("[--kernel FILE]", "--references FILE"),
		entry.words("Compute the launch digest of a machine on AMD SEV-SNP", "Compare the launch digest of a machine on AMD SEV-SNP with references"),
		entry.words("  assay reference compute snp OVMF.amdsev.fd --vcpus 2,4 --vcpu-type EPYC-v4 --kernel assay.efi \\\n"+
			"    --references owners/references.json --name 'assayd v1' --flavour go --config sha256:9f2c…",
			"  assay reference verify snp OVMF.amdsev.fd --vcpus 2,4 --vcpu-type EPYC-v4 \\\n    --kernel assay.efi --references references.json"), exactly(1, "a firmware file"),
		func(_ context.Context, args []string) (*answer, error) {
			base, err := entry.parse()
			if err != nil {
				return nil, err
			}
			if entry.adds() && kernel == "" {
				return nil, verdict.Misused("name what the VMM loads with --kernel", "adding entry: without a kernel it would accept whatever the firmware starts")
			}
			inputs := map[string]input{}
			m := reference.SNP{VMM: reference.VMM(vmm)}
			if m.Features, err = hexFlag("sev-features", features, 64); err != nil {
				return nil, err
			}
			if m.Firmware, err = readInput(inputs, "firmware", args[0], reference.MaxFirmwareSize); err != nil {
				return nil, err
			}
			if m.Boot, err = directBoot(inputs, kernel, initrd, commandLine); err != nil {
				return nil, err
			}
			values, err := launchDigests(m, vcpus, types)
			if err != nil {
				return nil, err
			}
			if m.Boot == nil {
				a.warn("without --kernel the digest covers the firmware alone, and not what it starts")
			}
			if m.VMM == reference.EC2 {
				a.warn("of EC2, two published programs compute two digests; compare with a report before you sign this")
			}
			var b strings.Builder
			var entries []verdict.ReferenceEntry
			for _, v := range values {
				fmt.Fprintf(&b, "measurement %s, %s\n", v.Measurement, printable(v.machine()))
				e := base
				e.Kind, e.Events, e.Measurement = verdict.KindSNP, "none", v.Measurement
				if len(values) > 1 {
					e.Name += ", " + v.machine()
				}
				entries = append(entries, e)
			}
			written, err := a.settle(&entry, entries)
			if err != nil {
				return nil, err
			}
			b.WriteString(written)
			return done(map[string]any{"kind": verdict.KindSNP, "vmm": m.VMM, "sevFeatures": m.Features, "commandLine": commandLine, "inputs": inputs, "values": values}, "%s", b.String()), nil
		})
	f := c.Flags()
	f.IntSliceVar(&vcpus, "vcpus", nil, "number of vCPUs; several, as 2,4, for a digest each")
	f.StringSliceVar(&types, "vcpu-type", nil, "type of vCPU: "+strings.Join(reference.VCPUTypes(), ", ")+", or EAX of its CPUID function 1 in hex")
	f.StringVar(&vmm, "vmm", string(reference.QEMU), "virtual machine monitor: qemu, ec2, gce")
	f.StringVar(&features, "sev-features", "0x1", "SEV_FEATURES of the vCPUs, in hex; 0x21 where the host's KVM has DebugSwap")
	f.StringVar(&kernel, "kernel", "", "kernel or UKI that the VMM loads, `FILE`")
	f.StringVar(&initrd, "initrd", "", "its initrd, `FILE`")
	f.StringVar(&commandLine, "cmdline", "", "its command line, `TEXT`; that of a UKI is in the UKI")
	entry.define(c)
	return c
}

// directBoot hashes what the VMM loads; nil is nothing.
func directBoot(inputs map[string]input, kernel, initrd, commandLine string) (*reference.DirectBoot, error) {
	if kernel == "" {
		if initrd != "" || commandLine != "" {
			return nil, verdict.Misused("name the kernel", "--initrd and --cmdline go with --kernel")
		}
		return nil, nil //nolint:nilnil // there is none
	}
	data, err := readInput(inputs, "kernel", kernel, reference.MaxUKISize)
	if err != nil {
		return nil, err
	}
	b := &reference.DirectBoot{Kernel: sha256.Sum256(data), Initrd: sha256.Sum256(nil), CommandLine: commandLine}
	if initrd != "" {
		if data, err = readInput(inputs, "initrd", initrd, reference.MaxUKISize); err != nil {
			return nil, err
		}
		b.Initrd = sha256.Sum256(data)
	}
	return b, nil
}

// launchDigests computes the digest of each number and type of vCPUs.
func launchDigests(m reference.SNP, vcpus []int, types []string) ([]snpValue, error) {
	if len(vcpus) == 0 {
		return nil, verdict.Misused("the digest covers each vCPU: say how many with --vcpus", "no number of vCPUs is named")
	}
	if len(types) == 0 {
		if m.VMM != reference.EC2 {
			return nil, verdict.Misused("name it with --vcpu-type, as EPYC-v4", "no type of vCPU is named")
		}
		types = []string{""} // which the digest does not cover there
	}
	var values []snpValue
	for _, t := range types {
		var err error
		if m.VCPU, err = vcpuFlag(t); err != nil {
			return nil, err
		}
		for _, n := range vcpus {
			m.VCPUs = n
			digest, err := m.LaunchDigest()
			if err != nil {
				return nil, err
			}
			values = append(values, snpValue{n, t, hex.EncodeToString(digest[:])})
		}
	}
	return values, nil
}

// vcpuFlag is a type of vCPU by name or by its signature.
func vcpuFlag(value string) (uint32, error) {
	if value == "" {
		return 0, nil
	}
	if signature, ok := reference.VCPUSignature(value); ok {
		return signature, nil
	}
	if strings.HasPrefix(value, "0x") {
		n, err := hexFlag("vcpu-type", value, 32)
		return uint32(n), err //nolint:gosec // G115: of 32 bits
	}
	hint := nearHint(value, reference.VCPUTypes())
	if hint == "" {
		hint = "write another type as the hex digits of its signature, as 0x800f12"
	}
	return 0, verdict.Misused(hint, "flag --vcpu-type is %q, want one of %s", clip(value), strings.Join(reference.VCPUTypes(), ", "))
}

// hexFlag is a number in hex with 0x in front.
func hexFlag(name, value string, bits int) (uint64, error) {
	digits, ok := strings.CutPrefix(value, "0x")
	n, err := strconv.ParseUint(digits, 16, bits)
	if !ok || err != nil {
		return 0, verdict.Misused("write it as 0x1", "flag --%s is %q, want a number of %d bits in hex", name, clip(value), bits)
	}
	return n, nil
}

// An eventValue is one extend of a register.
type eventValue struct {
	Register string `json:"register"`
	What     string `json:"what"`
	Digest   string `json:"digest"`
}

func describeEvents(events []reference.Event) ([]eventValue, string) {
	out := []eventValue{}
	var b strings.Builder
	for _, e := range events {
		v := eventValue{e.Register, e.What, hex.EncodeToString(e.Digest)}
		out = append(out, v)
		fmt.Fprintf(&b, "  %s %s %s\n", v.Register, v.Digest, v.What)
	}
	return out, b.String()
}

func (a *app) referenceTDXCommand(entry entryFlags) *cobra.Command {
	var uki, order, rtmr0 string
	var events bool
	c := a.command("tdx FIRMWARE"+entry.words(" [--uki FILE]", " --uki FILE --references FILE"),
		entry.words("Compute MRTD of a machine on Intel TDX, and with a UKI its RTMR1 and RTMR2", "Compare MRTD, RTMR1 and RTMR2 of a machine on Intel TDX with references"),
		entry.words("  assay reference compute tdx OVMF.inteltdx.fd --uki assay.efi \\\n"+
			"    --references owners/references.json --name 'assayd v1' --flavour go --config sha256:9f2c…",
			"  assay reference verify tdx OVMF.inteltdx.fd --uki assay.efi --references references.json"), exactly(1, "a firmware file"),
		func(_ context.Context, args []string) (*answer, error) {
			e, err := entry.parse()
			if err != nil {
				return nil, err
			}
			switch {
			case entry.verify && uki == "":
				return nil, verdict.Misused("name what the VMM loads with --uki", "comparing entry: without a UKI nothing says what the firmware starts")
			case entry.adds() && uki == "":
				return nil, verdict.Misused("name what the VMM loads with --uki", "adding entry: without a UKI it would accept whatever the firmware starts")
			case entry.file == "" && rtmr0 != "":
				return nil, verdict.Misused("name the file", "--rtmr0 goes with --references")
			}
			inputs := map[string]input{}
			image, err := readInput(inputs, "firmware", args[0], reference.MaxFirmwareSize)
			if err != nil {
				return nil, err
			}
			m, err := reference.MeasureTDX(image, reference.PageOrder(order))
			if err != nil {
				return nil, err
			}
			value := map[string]any{"kind": verdict.KindTDX, "pageOrder": order, "inputs": inputs, "mrtd": hex.EncodeToString(m.MRTD[:]), "cfvEvent": hex.EncodeToString(m.CFV[:])}
			var b strings.Builder
			fmt.Fprintf(&b, "mrtd %x\nrtmr0 depends on the host; its event of the configuration volume %x\n", m.MRTD, m.CFV)
			if uki == "" {
				a.warn("without --uki MRTD covers the firmware alone, and not what it starts: no entry can be made of it")
				return done(value, "%s", b.String()), nil
			}
			u, err := readUKI(inputs, uki)
			if err != nil {
				return nil, err
			}
			r, err := u.RTMRs(reference.Boot{Path: reference.Direct})
			if err != nil {
				return nil, err
			}
			a.warn("RTMR1 and RTMR2 follow the sources of firmware, stub and kernel; nobody compared them with a TDX machine")
			list, text := describeEvents(r.Events)
			value["rtmr1"], value["rtmr2"], value["events"] = hex.EncodeToString(r.RTMR1[:]), hex.EncodeToString(r.RTMR2[:]), list
			fmt.Fprintf(&b, "rtmr1 %x\nrtmr2 %x\n", r.RTMR1, r.RTMR2)
			if events {
				b.WriteString(text)
			}
			e.Kind, e.Events, e.Measurement = verdict.KindTDX, "rtmr3", hex.EncodeToString(m.MRTD[:])
			e.Registers = map[string]string{"rtmr1": hex.EncodeToString(r.RTMR1[:]), "rtmr2": hex.EncodeToString(r.RTMR2[:])}
			if rtmr0 != "" {
				e.Registers["rtmr0"] = rtmr0
			}
			written, err := a.settle(&entry, []verdict.ReferenceEntry{e})
			if err != nil {
				return nil, err
			}
			b.WriteString(written)
			return done(value, "%s", b.String()), nil
		})
	f := c.Flags()
	f.StringVar(&uki, "uki", "", "UKI of systemd-stub 252 that the VMM loads (-kernel of QEMU), `FILE`")
	f.StringVar(&order, "page-order", string(reference.Interleaved), "how the VMM adds pages: interleaved, or two-pass as KVM before TDX was in Linux")
	f.StringVar(&rtmr0, "rtmr0", "", "pin RTMR0 in the entry too: `HEX`, as a machine has it whose host you know")
	f.BoolVar(&events, "events", false, "list the events too; JSON always has them")
	entry.define(c)
	return c
}

// readUKI reads and parses a UKI.
func readUKI(inputs map[string]input, path string) (*reference.UKI, error) {
	data, err := readInput(inputs, "UKI", path, reference.MaxUKISize)
	if err != nil {
		return nil, err
	}
	return reference.ParseUKI(data)
}

// azureKinds are the kinds of confidential VMs of Azure by their platforms.
var azureKinds = map[string]string{"snp": verdict.KindAzureSNP, "tdx": verdict.KindAzureTDX}

func (a *app) referenceTPMCommand(entry entryFlags) *cobra.Command {
	var path, hostLine, pk, kek, db, dbx, signer, azure, paravisor, svsm string
	var phases []string
	var secureBoot, events bool
	c := a.command("tpm UKI "+entry.words("[--boot disk] [--secure-boot --db FILE --signer FILE]", "--references FILE [--boot disk] [--secure-boot]"),
		entry.words("Compute PCRs 4, 7, 9, 11, 12 and 13 of a machine with a TPM that starts a UKI", "Compare PCRs of a machine with a TPM that starts a UKI with references"),
		entry.words("  assay reference compute tpm assay.efi --boot disk --events\n"+
			"  assay reference compute tpm assay.efi --references owners/references.json --name 'assayd v1' \\\n"+
			"    --flavour go --config sha256:9f2c…",
			"  make image\n  assay reference verify tpm bin/assay.efi --references references.json --name 'assayd v1'"), exactly(1, "a UKI"),
		func(_ context.Context, args []string) (*answer, error) {
			base, err := entry.parse()
			if err != nil {
				return nil, err
			}
			inputs := map[string]input{}
			u, err := readUKI(inputs, args[0])
			if err != nil {
				return nil, err
			}
			boot := reference.Boot{Path: reference.BootPath(path), HostCommandLine: hostLine, Phases: phases, Variables: reference.Variables{SecureBoot: secureBoot}}
			for _, v := range []struct {
				name, path string
				limit      int64
				data       *[]byte
			}{
				{"PK", pk, maxVariable, &boot.Variables.PK}, {"KEK", kek, maxVariable, &boot.Variables.KEK}, {"db", db, maxVariable, &boot.Variables.DB},
				{"dbx", dbx, maxVariable, &boot.Variables.DBX}, {"signer", signer, maxCertificate, &boot.Variables.Signer},
			} {
				if v.path == "" {
					continue
				}
				if *v.data, err = readInput(inputs, v.name, v.path, v.limit); err != nil {
					return nil, err
				}
			}
			p, err := u.PCRs(boot)
			if err != nil {
				return nil, err
			}
			registers := map[string]string{}
			var b strings.Builder
			for _, pcr := range slices.Sorted(maps.Keys(p.Values)) {
				value := p.Values[pcr]
				registers[fmt.Sprintf("pcr%d", pcr)] = hex.EncodeToString(value[:])
				fmt.Fprintf(&b, "pcr%d %x\n", pcr, value)
			}
			list, text := describeEvents(p.Events)
			if events {
				b.WriteString(text)
			}
			if hostLine != "" {
				a.warn("with a command line of the host, whoever runs the host has chosen it")
			}
			if azure != "" && pk+kek+db+dbx == "" {
				delete(registers, "pcr7") // Azure enrols keys of its own
			}
			base.Kind, base.Events, base.Registers, base.Measurement = verdict.KindTPM, "pcr14", registers, paravisor
			switch kind, ok := azureKinds[azure]; {
			case (azure == "") != (paravisor == ""):
				return nil, verdict.Misused("give both: the hardware measures the paravisor, and only the paravisor's TPM what it starts", "computing PCRs: --azure and --paravisor go together")
			case azure == "":
			case !ok:
				return nil, verdict.Misused("", "computing PCRs: --azure is %.32q, want snp or tdx", azure)
			default:
				base.Kind = kind
			}
			switch {
			case svsm != "" && azure != "":
				return nil, verdict.Misused("", "computing PCRs: --svsm and --azure are of different machines")
			case svsm != "":
				base.Kind, base.Measurement = verdict.KindSVSM, svsm
			}
			written, err := a.settle(&entry, []verdict.ReferenceEntry{base})
			if err != nil {
				return nil, err
			}
			b.WriteString(written)
			return done(map[string]any{"kind": base.Kind, "stub": u.Stub, "boot": path, "inputs": inputs, "registers": registers, "events": list}, "%s", b.String()), nil
		})
	f := c.Flags()
	f.StringVar(&path, "boot", string(reference.Direct), "how the firmware gets the UKI: direct (-kernel of QEMU), or disk")
	f.StringVar(&azure, "azure", "", "the machine is a confidential VM of Azure on `PLATFORM`, snp or tdx; disk is how it boots")
	f.StringVar(&paravisor, "paravisor", "", "measurement of its paravisor, `HEX`, as evidence of one has it")
	f.StringVar(&svsm, "svsm", "", "the TPM is that of an SVSM on SEV-SNP: launch measurement of SVSM and firmware, `HEX`")
	f.StringVar(&hostLine, "host-cmdline", "", "command line that the host sets, `TEXT` (default that of the UKI)")
	f.StringArrayVar(&phases, "phase", nil, "boot phase that systemd has measured by then, `WORD` as enter-initrd; repeat it in their order")
	f.BoolVar(&secureBoot, "secure-boot", false, "secure boot is on")
	f.StringVar(&pk, "pk", "", "UEFI variable PK, `FILE` as in efivarfs without its first 4 bytes")
	f.StringVar(&kek, "kek", "", "variable KEK, `FILE`")
	f.StringVar(&db, "db", "", "variable db, `FILE`")
	f.StringVar(&dbx, "dbx", "", "variable dbx, `FILE`")
	f.StringVar(&signer, "signer", "", "certificate of db that the UKI's signature leads to, DER `FILE`")
	f.BoolVar(&events, "events", false, "list the events too; JSON always has them")
	entry.define(c)
	return c
}
