// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// CommandLine is that of the kernel. The console is a serial line, where assayd logs
// to; a kernel that is in trouble ends the machine; only modules that Debian's build
// signed are loaded, and nobody writes to the kernel's memory.
const CommandLine = "console=ttyS0 panic=-1 oops=panic module.sig_enforce=1 lockdown=integrity"

// ModulesFolder is where the initramfs has the kernel's modules, in the order of their
// names. Package enclave/pid1 loads them.
const ModulesFolder = "lib/assay/modules"

// modules are loaded in this order, each after what it needs (modinfo -F depends, and
// what its symbols are from). TPMs (TIS, CRB), virtio over PCI, consoles and ext4 are
// in the kernel. Not virtio-rng: what it gives comes from the host, and the kernel
// counts it as entropy.
var modules = []string{
	"net/core/failover",
	"drivers/net/net_failover",
	"drivers/net/virtio_net",
	"drivers/block/virtio_blk",
	"fs/configfs/configfs",
	"drivers/virt/coco/tsm",
	"drivers/virt/coco/sev-guest/sev-guest",
	"drivers/virt/coco/tdx-guest/tdx-guest",
	"drivers/acpi/button",
	"drivers/input/evdev",
}

// Options say what to build. Assayd, Inputs and Folder are required.
type Options struct {
	// Assayd is the program, a static ELF file for x86-64.
	Assayd []byte
	// Version is what os-release says; the program has its own inside.
	Version string
	// Inputs are those of [Inputs].
	Inputs []Input
	// Folder keeps packages that were downloaded.
	Folder string
	// CommandLine is that of the kernel; the zero value is the constant. Tests
	// change it.
	CommandLine string
	// Extra are more files of the initramfs. Tests add one.
	Extra []File
}

// Build makes the image. Its bytes depend on Options without Folder, and on the
// version of Go, whose gzip compresses the initramfs and which built assayd.
func Build(ctx context.Context, o Options) ([]byte, error) {
	if err := checkStatic(o.Assayd); err != nil {
		return nil, err
	}
	if strings.ContainsFunc(o.Version, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'\\$`", r) }) {
		return nil, fmt.Errorf("building image: version is %.64q, want ASCII without spaces and quotes", o.Version)
	}
	if o.CommandLine == "" {
		o.CommandLine = CommandLine
	}
	release := fmt.Sprintf("NAME=assay\nID=assay\nVERSION_ID=\"%s\"\nPRETTY_NAME=\"assayd %s\"\n", o.Version, o.Version)
	stub, err := o.stub(ctx)
	if err != nil {
		return nil, err
	}
	kernel, files, err := o.kernel(ctx)
	if err != nil {
		return nil, err
	}
	authorities, err := o.authorities(ctx)
	if err != nil {
		return nil, err
	}
	files = append(files,
		File{Path: "init", Mode: 0o755, Data: o.Assayd},
		File{Path: "etc/os-release", Mode: 0o644, Data: []byte(release)},
		File{Path: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Data: authorities})
	for _, dir := range []string{"dev", "proc", "run", "sys", "tmp", "var/lib/assay"} {
		files = append(files, File{Path: dir, Mode: fs.ModeDir | 0o755})
	}
	archive, err := Archive(append(files, o.Extra...))
	if err != nil {
		return nil, err
	}
	initramfs, err := compress(archive)
	if err != nil {
		return nil, err
	}
	return AddSections(stub, []Section{
		{".osrel", []byte(release)}, {".cmdline", []byte(o.CommandLine)}, {".initrd", initramfs}, {".linux", kernel},
	})
}

// checkStatic refuses a program that the image could not start.
func checkStatic(program []byte) (err error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("reading assayd: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 {
		return fmt.Errorf("reading assayd: it is for %s, want x86-64", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("reading assayd: it is linked dynamically; build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// open fetches the package of a role and unpacks the files that want says.
func (o *Options) open(ctx context.Context, role string, want func(path string) bool) (map[string][]byte, error) {
	i, err := byRole(o.Inputs, role)
	if err != nil {
		return nil, err
	}
	deb, err := Fetch(ctx, o.Folder, i)
	if err != nil {
		return nil, err
	}
	return unpack(ctx, i, deb, want)
}

// stub returns the EFI stub.
func (o *Options) stub(ctx context.Context) ([]byte, error) {
	const name = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	files, err := o.open(ctx, Stub, func(path string) bool { return path == name })
	if err != nil {
		return nil, err
	}
	if files[name] == nil {
		return nil, fmt.Errorf("looking for the EFI stub: its package has no %s", name)
	}
	return files[name], nil
}

// kernel returns the kernel, and its modules as files of the initramfs.
func (o *Options) kernel(ctx context.Context) ([]byte, []File, error) {
	files, err := o.open(ctx, Kernel, func(name string) bool {
		return strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(name, "lib/modules/") && slices.Contains(modules, moduleOf(name))
	})
	if err != nil {
		return nil, nil, err
	}
	var kernel []byte
	found := map[string]File{}
	for name, data := range files {
		if !strings.HasPrefix(name, "boot/") {
			found[moduleOf(name)] = File{Path: path.Base(name), Mode: 0o644, Data: data}
			continue
		}
		if kernel != nil {
			return nil, nil, errors.New("looking for the kernel: its package has two")
		}
		kernel = data
	}
	if kernel == nil {
		return nil, nil, errors.New("looking for the kernel: its package has none")
	}
	var out []File
	for n, name := range modules {
		f, ok := found[name]
		if !ok {
			return nil, nil, fmt.Errorf("looking for modules: the kernel's package has no %s", name)
		}
		f.Path = fmt.Sprintf("%s/%02d-%s", ModulesFolder, n, f.Path)
		out = append(out, f)
	}
	return kernel, out, nil
}

// moduleOf is the name of a module: its path below kernel without its suffixes.
func moduleOf(name string) string {
	_, name, _ = strings.Cut(name, "/kernel/")
	name, _, _ = strings.Cut(name, ".ko")
	return name
}

// authorities are the certificates of the public web's authorities, in PEM. Registries
// are not believed; TLS to them is for what they demand.
func (o *Options) authorities(ctx context.Context) ([]byte, error) {
	files, err := o.open(ctx, Certificates, func(name string) bool {
		return strings.HasPrefix(name, "usr/share/ca-certificates/mozilla/") && strings.HasSuffix(name, ".crt")
	})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("looking for certificates: their package has none")
	}
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(append(out, bytes.TrimSpace(files[name])...), '\n')
	}
	return out, nil
}

// compress makes the initramfs smaller, which firmware and kernel hash and copy. A
// header without name and time is what gzip writes when nothing else is said.
func compress(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compressing initramfs: %w", err)
	}
	return b.Bytes(), nil
}
