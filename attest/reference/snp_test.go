// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/reference"
	"github.com/assayd/assay/verdict"
)

// sharedFile reads a file of the shared test data, or skips.
func sharedFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"../../../shared/testdata"}, elem...)...))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log("shared testdata: used")
	return data
}

const (
	epycV4 = 0x800F12
	// The firmware of the published vectors, as the digest of its pages.
	seedAmdSev  = "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74"
	seedOvmfX64 = "b91e6fec73d2bcc57ad5fd400a426ce02731c22ea92bc894ce675e7c9921a822977d6cf025b85f8ef4f264bff8839d20"
	bootLine    = "console=ttyS0 loglevel=7"
)

var (
	empty = sha256.Sum256(nil)
	// Regions of the SEV metadata of both.
	amdSev = []reference.Region{
		{GPA: 0x800000, Size: 0x9000, Kind: 1}, {GPA: 0x80a000, Size: 0x3000, Kind: 1}, {GPA: 0x80d000, Size: 0x1000, Kind: 2},
		{GPA: 0x80e000, Size: 0x1000, Kind: 3}, {GPA: 0x80f000, Size: 0x1000, Kind: 4}, {GPA: 0x810000, Size: 0x1000, Kind: 0x10}, {GPA: 0x811000, Size: 0xf000, Kind: 1},
	}
	ovmfX64 = append(amdSev[:5:5], reference.Region{GPA: 0x810000, Size: 0x10000, Kind: 1})
)

func emptyBoot(commandLine string) *reference.DirectBoot {
	return &reference.DirectBoot{Kernel: empty, Initrd: empty, CommandLine: commandLine}
}

// TestLaunchDigestVectors: published vectors of two other implementations that need no
// firmware file (sev-snp-measure, tests/test_guest.py).
func TestLaunchDigestVectors(t *testing.T) {
	for _, v := range []struct {
		name     string
		seed     string
		vmm      reference.VMM
		vcpus    int
		vcpu     uint32
		features uint64
		boot     *reference.DirectBoot
		want     string
	}{
		{"DebugSwap", seedAmdSev, reference.QEMU, 1, epycV4, 0x21, emptyBoot(bootLine), "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977"},
		{"SNP alone", seedAmdSev, reference.QEMU, 1, epycV4, 1, emptyBoot(bootLine), "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa"},
		{"no command line", seedAmdSev, reference.QEMU, 1, epycV4, 0x21, emptyBoot(""), "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198"},
		{"four vCPUs", seedAmdSev, reference.QEMU, 4, epycV4, 0x21, emptyBoot(""), "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942"},
		{"no kernel", seedAmdSev, reference.QEMU, 1, epycV4, 0x21, nil, "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b"},
		{"EC2", seedAmdSev, reference.EC2, 1, 0, 0x21, emptyBoot(""), "0ce9ccc06bab55eebe8abc234f3df6514883977a68a591b71052498ab52b2f1aa415db338033946ef93aa8278c0d67fb"},
		{"GCE", seedAmdSev, reference.GCE, 1, 0xA00F11, 1, emptyBoot(""), "5da7106cf14cf46b1725ebab123eb9e53bd46a1e9f400cd0c08e7827b04b688ea8b4e403c8404efed4397ea5d5d0722e"},
		{"GCE, four vCPUs", seedAmdSev, reference.GCE, 4, 0xA00F11, 1, emptyBoot(""), "5c5debf100fc339f90276e761ee1f1658d08922c3b20e2a2e6c7a6c3370b2452a15a00eae11886a93d6fd1e7ab81e29d"},
		{"another firmware", seedOvmfX64, reference.QEMU, 1, epycV4, 0x21, nil, "28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385"},
		{"another firmware, SNP alone", seedOvmfX64, reference.QEMU, 1, epycV4, 1, nil, "da0296de8193586a5512078dcd719eccecbd87e2b825ad4148c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005"},
	} {
		t.Run(v.name, func(t *testing.T) {
			seed, err := hex.DecodeString(v.seed)
			if err != nil {
				t.Fatal(err)
			}
			regions, table := amdSev, uint32(0x810c00)
			if v.seed == seedOvmfX64 {
				regions, table = ovmfX64, 0
			}
			s := reference.SNP{VMM: v.vmm, VCPUs: v.vcpus, VCPU: v.vcpu, Features: v.features, Boot: v.boot}
			got, err := s.Continue([sha512.Size384]byte(seed), regions, table, 0x80b004)
			if err != nil || hex.EncodeToString(got[:]) != v.want {
				t.Errorf("got %x, %v, want %s", got, err, v.want)
			}
		})
	}
}

// TestLaunchDigestFiles: published vectors with a firmware file (virtee/sev,
// tests/measurement.rs).
func TestLaunchDigestFiles(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name, OVMF, Features string
			VCPUs                int
			VCPUType             string `json:"vcpu_type"`
			GuestFeatures        string `json:"guest_features"`
			Kernel, Append, VMM  *string
			LaunchDigest         string  `json:"launch_digest"`
			OVMFHash             *string `json:"ovmf_hash"`
		}
	}
	if err := json.Unmarshal(sharedFile(t, "evidence-raw/virtee-sev/launch-digests.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 14 {
		t.Errorf("got %d vectors, want 14", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			features, err := strconv.ParseUint(v.GuestFeatures, 0, 64)
			if err != nil || v.VCPUType != "EpycV4" {
				t.Fatalf("got features %q and type %q", v.GuestFeatures, v.VCPUType)
			}
			s := reference.SNP{Firmware: sharedFile(t, "evidence-raw/virtee-sev/measurement", v.OVMF), VMM: reference.QEMU, VCPUs: v.VCPUs, VCPU: epycV4, Features: features}
			if v.VMM != nil && *v.VMM == "EC2" {
				s.VMM = reference.EC2
			}
			if v.Kernel != nil {
				s.Boot = emptyBoot("")
				if v.Append != nil {
					s.Boot.CommandLine = *v.Append
				}
			}
			got, err := s.LaunchDigest()
			if s.VMM == reference.EC2 {
				// That project starts EC2's vCPUs with RDX 0, sev-snp-measure with 0x600, as KVM
				// does for a vCPU that has no CPUID yet. Nothing else is between them.
				seed, err := hex.DecodeString(seedAmdSev)
				if err != nil {
					t.Fatal(err)
				}
				if hex.EncodeToString(got[:]) == v.LaunchDigest {
					t.Error("got its digest with RDX 0x600 too")
				}
				got, err = s.ContinueWithRDX([sha512.Size384]byte(seed), amdSev, 0x810c00, 0)
				if err != nil {
					t.Fatal(err)
				}
			}
			if err != nil || hex.EncodeToString(got[:]) != v.LaunchDigest {
				t.Errorf("got %x, %v, want %s", got, err, v.LaunchDigest)
			}
		})
	}
}

// amdSNP is a machine on the synthetic firmware.
func amdSNP() *reference.SNP {
	return &reference.SNP{
		Firmware: attesttest.NewFirmware().Bytes(), VMM: reference.QEMU, VCPUs: 2, VCPU: epycV4, Features: 1,
		Boot: &reference.DirectBoot{Kernel: sha256.Sum256([]byte("kernel")), Initrd: sha256.Sum256([]byte("initrd")), CommandLine: "quiet"},
	}
}

// TestLaunchDigestOracle: another implementation (google/gce-tcb-verifier v0.3.1,
// sev.LaunchDigest) on the synthetic firmware, without the regions that it does not
// know.
func TestLaunchDigestOracle(t *testing.T) {
	f := attesttest.NewFirmware()
	f.SEV = append(f.SEV[:4:4], f.SEV[5])
	for name, want := range map[string]string{
		"EPYC-Milan": "5fa44a229d23988995588360e21ba48854413ccce2224c471a885ee11a2466b558a0da13b38add0c50117ff2314551e1",
		"EPYC-Genoa": "0b5c57720a7c7820df3e2851ab282f7b1f273f00889e776289a2c8c063dc75c7806291e606f8b918937dd839b2f414f2",
	} {
		vcpu, _ := reference.VCPUSignature(name)
		s := reference.SNP{Firmware: f.Bytes(), VMM: reference.GCE, VCPUs: 3, VCPU: vcpu, Features: 1}
		got, err := s.LaunchDigest()
		if err != nil || hex.EncodeToString(got[:]) != want {
			t.Errorf("%s: got %x, %v, want %s", name, got, err, want)
		}
	}
}

func TestVCPUSignature(t *testing.T) {
	for name, want := range map[string]uint32{"EPYC-v4": 0x800F12, "EPYC-Milan": 0xA00F11, "EPYC-Genoa": 0xA10F10, "EPYC-Turin": 0xB00F00} {
		if got, ok := reference.VCPUSignature(name); !ok || got != want {
			t.Errorf("%s: got 0x%X, %v, want 0x%X", name, got, ok, want)
		}
	}
	if _, ok := reference.VCPUSignature("EPYC"); ok || len(reference.VCPUTypes()) != 4 {
		t.Errorf("got %q, and EPYC known: %v", reference.VCPUTypes(), ok)
	}
}

// TestLaunchDigestCovers: each input changes the digest, and to another one each.
func TestLaunchDigestCovers(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*reference.SNP){
		"nothing":                 func(*reference.SNP) {},
		"a byte of the firmware":  func(s *reference.SNP) { s.Firmware[100]++ },
		"the VMM":                 func(s *reference.SNP) { s.VMM = reference.EC2 },
		"one vCPU more":           func(s *reference.SNP) { s.VCPUs++ },
		"the vCPU type":           func(s *reference.SNP) { s.VCPU, _ = reference.VCPUSignature("EPYC-Milan") },
		"SEV_FEATURES":            func(s *reference.SNP) { s.Features = 0x21 },
		"the kernel":              func(s *reference.SNP) { s.Boot.Kernel[0]++ },
		"the initrd":              func(s *reference.SNP) { s.Boot.Initrd[0]++ },
		"the command line":        func(s *reference.SNP) { s.Boot.CommandLine += " x" },
		"no kernel":               func(s *reference.SNP) { s.Boot = nil },
		"where a region is":       func(s *reference.SNP) { changeFirmware(s, func(f *attesttest.Firmware) { f.SEV[0].Address += 0x1000 }) },
		"where further vCPUs are": func(s *reference.SNP) { changeFirmware(s, func(f *attesttest.Firmware) { f.ResetEIP++ }) },
	} {
		s := amdSNP()
		change(s)
		got, err := s.LaunchDigest()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		digest := hex.EncodeToString(got[:])
		if other, twice := seen[digest]; twice {
			t.Errorf("%s and %s: got the same digest", name, other)
		}
		seen[digest] = name
	}
	// RDX is not the vCPU type there.
	a, b := amdSNP(), amdSNP()
	a.VMM, b.VMM = reference.EC2, reference.EC2
	b.VCPU = 0
	x, err := a.LaunchDigest()
	y, err2 := b.LaunchDigest()
	if err != nil || err2 != nil || x != y {
		t.Errorf("EC2: got another digest for another vCPU type: %v, %v", err, err2)
	}
}

func changeFirmware(s *reference.SNP, change func(*attesttest.Firmware)) {
	f := attesttest.NewFirmware()
	change(f)
	s.Firmware = f.Bytes()
}

// refused asserts a misuse with a text.
func refused(t *testing.T, err error, text string) {
	t.Helper()
	if _, misuse := errors.AsType[*verdict.Misuse](err); !misuse || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want a misuse with %q", err, text)
	}
}

// TestLaunchDigestRefuses: one change each makes an input of which there is no digest.
func TestLaunchDigestRefuses(t *testing.T) {
	patch := func(after string, at int, b ...byte) func(*reference.SNP) {
		return func(s *reference.SNP) { copy(s.Firmware[bytes.Index(s.Firmware, []byte(after))+at:], b) }
	}
	fw := func(change func(*attesttest.Firmware)) func(*reference.SNP) {
		return func(s *reference.SNP) { changeFirmware(s, change) }
	}
	const table, reset, metadata = "\xde\x82\xb5\x96\xb2\x1f\xf7\x45", "\xde\x71\xf7\x00\x7e\x1a\xcb\x4f", "\x66\x65\x88\xdc\x4a\x98\x98\x47"
	for _, c := range []struct {
		name   string
		change func(*reference.SNP)
		text   string
	}{
		{"nothing is said", func(s *reference.SNP) { *s = reference.SNP{} }, `the VMM is ""`},
		{"unknown VMM", func(s *reference.SNP) { s.VMM = "xen" }, `the VMM is "xen"`},
		{"no vCPU", func(s *reference.SNP) { s.VCPUs = 0 }, "0 vCPUs, want 1 to 1024"},
		{"too many vCPUs", func(s *reference.SNP) { s.VCPUs = reference.MaxVCPUs + 1 }, "1025 vCPUs"},
		{"no signature", func(s *reference.SNP) { s.VCPU = 0 }, "the vCPUs have no signature"},
		{"not SNP", func(s *reference.SNP) { s.Features = 0x20 }, "SEV_FEATURES are 0x20, want bit 0"},
		{"GCE with another type", func(s *reference.SNP) { s.VMM = reference.GCE }, "vCPUs of signature 0x800f12 at GCE"},
		{"no firmware", func(s *reference.SNP) { s.Firmware = nil }, "0 bytes, want whole pages"},
		{"half a page", func(s *reference.SNP) { s.Firmware = s.Firmware[:5000] }, "5000 bytes, want whole pages"},
		{"a large file", func(s *reference.SNP) { s.Firmware = make([]byte, reference.MaxFirmwareSize+4096) }, "at most 67108864 bytes"},
		{"no table", patch(table, 0, 0), "there is no table of GUIDs at its end"},
		{"a table larger than the file", patch(table, -2, 0xff, 0xff), "there is no table of GUIDs at its end"},
		{"an entry larger than the table", patch(reset, -2, 0xff), "has 255 bytes of the"},
		{"an entry without room for itself", patch(reset, -2, 17), "has 17 bytes of the"},
		{"bytes of no entry", patch(table, -2, 115), "belong to no entry"},
		{"an entry twice", patch(reset, 0, []byte(metadata+"\xa7\x5e\x55\x85\xa7\xbf\x67\xcc")...), "is there twice"},
		{"no reset block", patch(reset, 0, 0), "it has no reset block"},
		{"a reset block of 8 bytes", func(s *reference.SNP) {
			patch(reset, 0, 0)(s)
			patch("\x1f\x37\x55\x72\x3b\x3a\x04\x4b\x92\x7b\x1d\xa6\xef\xa8\xd4\x54", 0, []byte(reset+"\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e")...)(s)
		}, "has 8 bytes of data, want 4"},
		{"no SEV metadata", patch(metadata, 0, 0), "it has no SEV metadata"},
		{"metadata in front of the file", patch(metadata, -6, 0, 0, 2), "points 131072 bytes in front of its end"},
		{"metadata elsewhere", patch(metadata, -6, 0, 3), `its SEV metadata does not begin with "ASEV"`},
		{"metadata at the end", patch(metadata, -6, 8, 0), `its SEV metadata does not begin with "ASEV"`},
		{"another version", patch("ASEV", 8, 2), "of version 2, want 1"},
		{"more regions than it has bytes", patch("ASEV", 12, 7), "has 7 entries in 88 bytes"},
		{"no region", patch("ASEV", 12, 0), "has 0 entries"},
		{"very many regions", patch("ASEV", 12, 0xff, 0xff, 0xff, 0xff), "has 4294967295 entries"},
		{"a region of another type", fw(func(f *attesttest.Firmware) { f.SEV[0].Type = 5 }), "a region of type 0x5"},
		{"half a page of a region", fw(func(f *attesttest.Firmware) { f.SEV[0].Size = 0x800 }), "is not whole pages"},
		{"a huge region", fw(func(f *attesttest.Firmware) { f.SEV[0].Size = 0xfffff000 }), "want at most 0x10000000"},
		{"regions that are huge together", fw(func(f *attesttest.Firmware) { f.SEV[0].Size, f.SEV[5].Size = 0x8000000, 0x8000000 }), "more than 65536 pages"},
		{"no page for the digests", fw(func(f *attesttest.Firmware) { f.SEV[4].Type = 1 }), "no page for the digests of kernel"},
		{"no table of digests", fw(func(f *attesttest.Firmware) { f.HashTable = 0 }), "table of digests at 0x0 is not in its page"},
		{"the table in another page", fw(func(f *attesttest.Firmware) { f.HashTable = 0x811c00 }), "table of digests at 0x811c00 is not in its page"},
		{"the table over the end of its page", fw(func(f *attesttest.Firmware) { f.HashTable = 0x810f80 }), "table of digests at 0x810f80 is not in its page"},
		{"two pages for the digests", fw(func(f *attesttest.Firmware) { f.SEV[4].Size = 0x2000 }), "table of digests at 0x810c00 is not in its page"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := amdSNP()
			c.change(s)
			got, err := s.LaunchDigest()
			refused(t, err, c.text)
			if got != [sha512.Size384]byte{} {
				t.Errorf("got digest %x with the error", got)
			}
		})
	}
}
