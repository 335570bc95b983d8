// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/image"
)

// TestFetch uses what is in the folder when its digest is right, and names what to do
// when apt does not have a package.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	content := []byte("a package")
	digest := sha256.Sum256(content)
	i := image.Input{Role: image.Stub, Name: "no-such-package", Version: "1", Architecture: "all", SHA256: hex.EncodeToString(digest[:])}
	path := filepath.Join(dir, i.SHA256+".deb")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := image.Fetch(t.Context(), dir, i); err != nil || string(got) != string(content) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("another package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := image.Fetch(t.Context(), dir, i); err == nil || got != nil || !strings.Contains(err.Error(), "SHA-256 is") || !strings.Contains(err.Error(), "remove ") {
		t.Errorf("got %q, %v, want a package with another digest refused", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// There is no such package, nor apt on some machines.
	if _, err := image.Fetch(t.Context(), dir, i); err == nil || !strings.Contains(err.Error(), "go run ./ci/image -update") {
		t.Errorf("got %v, want how to update the lock", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("got %q left behind (%v)", left, err)
	}
}

// A machine's packages, made for a test: name of the file and its contents.
func packages(kernel string) map[string]map[string]string {
	const modules = "lib/modules/6.1-test/kernel/"
	out := map[string]map[string]string{
		image.Kernel: {
			"boot/vmlinuz-6.1-test": kernel, "boot/config-6.1-test": "CONFIG_X=y\n", modules + "net/core/other.ko.xz": "another module",
			"usr/share/doc/linux/copyright": "text",
		},
		image.Stub:         {"usr/lib/systemd/boot/efi/linuxx64.efi.stub": string(made()), "usr/lib/systemd/boot/efi/systemd-bootx64.efi": "another program"},
		image.Certificates: {"usr/share/ca-certificates/mozilla/B.crt": "-B-\n", "usr/share/ca-certificates/mozilla/A.crt": "-A-", "usr/share/ca-certificates/README": "text"},
	}
	for _, name := range []string{"net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net", "drivers/block/virtio_blk", "fs/configfs/configfs",
		"drivers/virt/coco/tsm", "drivers/virt/coco/sev-guest/sev-guest", "drivers/virt/coco/tdx-guest/tdx-guest", "drivers/acpi/button", "drivers/input/evdev"} {
		out[image.Kernel][modules+name+".ko.xz"] = "module " + name
	}
	return out
}

// options are what an image is built with: packages that dpkg-deb makes, where Fetch
// finds them without apt.
func options(t *testing.T, packages map[string]map[string]string) image.Options {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("dpkg-deb is not installed")
	}
	o := image.Options{Assayd: program(elf.EM_X86_64, elf.PT_LOAD), Version: "v1", Folder: t.TempDir()}
	for _, role := range []string{image.Kernel, image.Stub, image.Certificates} {
		dir := t.TempDir()
		files := maps.Clone(packages[role])
		files["DEBIAN/control"] = "Package: " + role + "\nVersion: 1\nArchitecture: all\nMaintainer: test <test@invalid>\nDescription: test\n"
		for name, text := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		deb := filepath.Join(o.Folder, "deb")
		if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "--build", dir, deb).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v: %s", err, out)
		}
		data, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(data)
		i := image.Input{Role: role, Name: role, Version: "1", Architecture: "all", SHA256: hex.EncodeToString(digest[:])}
		if err := os.Rename(deb, filepath.Join(o.Folder, i.SHA256+".deb")); err != nil {
			t.Fatal(err)
		}
		o.Inputs = append(o.Inputs, i)
	}
	return o
}

// TestBuild holds what gets into an image, and what does not.
func TestBuild(t *testing.T) {
	o := options(t, packages("kernel"))
	built, err := image.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := image.Build(t.Context(), o); err != nil || !bytes.Equal(again, built) {
		t.Errorf("a second image differs (%v)", err)
	}
	f, err := pe.NewFile(bytes.NewReader(built))
	if err != nil {
		t.Fatal(err)
	}
	section := func(name string) []byte {
		s := f.Section(name)
		if s == nil {
			t.Fatalf("there is no section %s", name)
		}
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		return data[:s.VirtualSize]
	}
	for name, want := range map[string]string{".linux": "kernel", ".cmdline": image.CommandLine, ".osrel": "NAME=assay\nID=assay\nVERSION_ID=\"v1\"\nPRETTY_NAME=\"assayd v1\"\n"} {
		if got := string(section(name)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(section(".initrd")))
	if err != nil {
		t.Fatal(err)
	}
	if z.Name != "" || !z.ModTime.IsZero() {
		t.Errorf("the initramfs says name %q and time %v", z.Name, z.ModTime)
	}
	archive, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"init\x00", "etc/os-release\x00", "etc/ssl/certs/ca-certificates.crt\x00", "-A-\n-B-\n", "var/lib/assay\x00",
		"lib/assay/modules/00-failover.ko.xz\x00", "module net/core/failover", "lib/assay/modules/09-evdev.ko.xz\x00"} {
		if !bytes.Contains(archive, []byte(want)) {
			t.Errorf("the initramfs lacks %q", want)
		}
	}
	for _, not := range []string{"another", "CONFIG_X", "text", "usr/"} {
		if bytes.Contains(archive, []byte(not)) {
			t.Errorf("the initramfs has %q", not)
		}
	}
}

// TestBuildRefusesPackages takes one thing out of good packages, or adds one.
func TestBuildRefusesPackages(t *testing.T) {
	for _, test := range []struct {
		name, want string
		change     func(map[string]map[string]string)
	}{
		{"no stub", "its package has no usr/lib/systemd", func(p map[string]map[string]string) {
			delete(p[image.Stub], "usr/lib/systemd/boot/efi/linuxx64.efi.stub")
		}},
		{"no kernel", "its package has none", func(p map[string]map[string]string) { delete(p[image.Kernel], "boot/vmlinuz-6.1-test") }},
		{"two kernels", "its package has two", func(p map[string]map[string]string) { p[image.Kernel]["boot/vmlinuz-6.2"] = "x" }},
		{"no module", "has no drivers/net/virtio_net", func(p map[string]map[string]string) {
			delete(p[image.Kernel], "lib/modules/6.1-test/kernel/drivers/net/virtio_net.ko.xz")
		}},
		{"no certificates", "their package has none", func(p map[string]map[string]string) {
			p[image.Certificates] = map[string]string{"usr/share/x": "x"}
		}},
		{"empty kernel", "adding section \".linux\"", func(p map[string]map[string]string) { p[image.Kernel]["boot/vmlinuz-6.1-test"] = "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := packages("kernel")
			test.change(p)
			got, err := image.Build(t.Context(), options(t, p))
			if err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
				t.Errorf("got %d bytes, %v, want %q", len(got), err, test.want)
			}
		})
	}
	t.Run("no package", func(t *testing.T) {
		o := options(t, packages("kernel"))
		path := filepath.Join(o.Folder, o.Inputs[1].SHA256+".deb")
		if err := os.WriteFile(path, []byte("!<arch>\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := image.Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "checking stub 1: SHA-256 is") {
			t.Errorf("got %v, want a package with another digest refused", err)
		}
	})
}

// program is an ELF file with one program header.
func program(machine elf.Machine, header elf.ProgType) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+56)
	copy(b, elf.ELFMAG)
	b[4], b[5], b[6] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	le.PutUint16(b[16:], uint16(elf.ET_EXEC))
	le.PutUint16(b[18:], uint16(machine))
	le.PutUint32(b[20:], uint32(elf.EV_CURRENT))
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	le.PutUint32(b[64:], uint32(header))
	return b
}

// TestBuildRefuses holds what is refused before anything is fetched.
func TestBuildRefuses(t *testing.T) {
	good := program(elf.EM_X86_64, elf.PT_LOAD)
	for _, test := range []struct {
		name, version, want string
		program             []byte
	}{
		{"good so far", "v1.0-3-gabc", "looking for the package of the stub: there is none", good},
		{"no program", "v1", "reading assayd", []byte("#!/bin/sh\n")},
		{"for another machine", "v1", "want x86-64", program(elf.EM_AARCH64, elf.PT_LOAD)},
		{"dynamic", "v1", "build it with CGO_ENABLED=0", program(elf.EM_X86_64, elf.PT_INTERP)},
		{"version of two lines", "v1\nID=debian", "want ASCII without spaces", good},
		{"version with a quote", `v1"`, "want ASCII without spaces", good},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := image.Build(t.Context(), image.Options{Assayd: test.program, Version: test.version, Folder: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
				t.Errorf("got %d bytes, %v, want %q", len(got), err, test.want)
			}
		})
	}
}
