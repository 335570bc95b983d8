// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/reference"
)

// TestPCR11Vector: what systemd-measure 252 says of four sections, and of the phases
// after them.
func TestPCR11Vector(t *testing.T) {
	of := func(name, data string) reference.Known {
		d := sha256.Sum256([]byte(data))
		return reference.Known{Name: name, Digest: d[:]}
	}
	sections := []reference.Known{of(".linux", "KERNEL"), of(".osrel", "ID=x\n"), of(".cmdline", "quiet"), of(".initrd", "INITRD")}
	u, err := reference.KnownUKI(of("image", ""), of("kernel", ""), of("initrd", "INITRD"), sections, "quiet")
	if err != nil {
		t.Fatal(err)
	}
	phases := []string{"enter-initrd", "leave-initrd", "sysinit", "ready"}
	for n, want := range []string{
		"4f506f260a867fd99b58aa35999d1d7ef8dd3a380ce2a11b215fd9cee8b3e1e2",
		"e247290375718b8d303dac5db236a1507d393aa7758e9cd97d7591debc17d4a7",
		"a75bf2bde18088126345c41bc6ee5d9457b8e8f81f1dbeee4a94a93154a7f43d",
		"1e1347199e701e127c96bd24fcd970f45f0f3b7a4b44cab73de2f09021582068",
		"7d9f572346a3a189bb1bdd04afbdf4330c83c9cd4649b89ddf2275e6e1747812",
	} {
		p, err := u.PCRs(reference.Boot{Path: reference.Direct, Phases: phases[:n]})
		if got := p.Values[11]; err != nil || hex.EncodeToString(got[:]) != want {
			t.Errorf("after %q: got %x, %v, want %s", phases[:n], got, err, want)
		}
	}
}

// recordedUKI is the image of the recorded boots.
func recordedUKI(t *testing.T) *reference.UKI {
	t.Helper()
	var f struct {
		Image, Kernel string
		CommandLine   string `json:"command_line"`
		Sections      []struct{ Name, SHA256 string }
	}
	if err := json.Unmarshal(readFile(t, "uki.json"), &f); err != nil {
		t.Fatal(err)
	}
	known := func(name, digest string) reference.Known {
		d, err := hex.DecodeString(digest)
		if err != nil || len(d) != sha256.Size {
			t.Fatalf("%s: %q is no digest", name, digest)
		}
		return reference.Known{Name: name, Digest: d}
	}
	var sections []reference.Known
	for _, s := range f.Sections {
		sections = append(sections, known(s.Name, s.SHA256))
	}
	u, err := reference.KnownUKI(known("image", f.Image), known("kernel", f.Kernel), sections[3], sections, f.CommandLine)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func readFile(t *testing.T, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"testdata/boots"}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// variable takes the data of a variable out of a log's event (UEFI_VARIABLE_DATA).
func variable(t *testing.T, events []attest.LogEvent, name string) []byte {
	t.Helper()
	for _, e := range events {
		const head = 16 + 8 + 8
		if e.Index == 7 && len(e.Data) > head+2*len(name) && int(e.Data[16]) == len(name) && e.Type == 0x80000001 &&
			e.Data[head] == name[0] && e.Data[head+2] == name[1] && e.Data[head+2*len(name)-2] == name[len(name)-1] {
			return e.Data[head+2*len(name):]
		}
	}
	t.Fatalf("the log has no variable %s", name)
	return nil
}

// TestRecordedBoots: four boots of a real image, as the TPM quoted them and as the
// firmware logged them.
func TestRecordedBoots(t *testing.T) {
	for name, boot := range map[string]reference.Boot{
		"direct":                   {Path: reference.Direct},
		"direct-host-command-line": {Path: reference.Direct, HostCommandLine: "console=ttyS0 panic=-1 lockdown=none"},
		"disk":                     {Path: reference.Disk},
		"disk-secure-boot":         {Path: reference.Disk},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := attest.ParseEventLog(readFile(t, name, "eventlog.bin"))
			if err != nil {
				t.Fatal(err)
			}
			var pcrs map[string]string
			if err := json.Unmarshal(readFile(t, name, "pcrs.json"), &pcrs); err != nil {
				t.Fatal(err)
			}
			if name == "disk-secure-boot" {
				v := &boot.Variables
				v.SecureBoot, v.PK, v.KEK = true, variable(t, log, "PK"), variable(t, log, "KEK")
				v.DB, v.DBX = variable(t, log, "db"), variable(t, log, "dbx")
				v.Signer = v.DB[28+16:] // its only certificate
			}
			p, err := recordedUKI(t).PCRs(boot)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Values) != 6 {
				t.Errorf("got %d registers, want 6", len(p.Values))
			}
			for pcr, value := range p.Values {
				if want := pcrs[fmt.Sprintf("pcr%d", pcr)]; hex.EncodeToString(value[:]) != want {
					t.Errorf("PCR %d: got %x, want %s", pcr, value, want)
				}
			}
			// The same events in the same order.
			var got, want []string
			for _, e := range p.Events {
				got = append(got, fmt.Sprintf("%s %x", e.Register, e.Digest))
			}
			for _, e := range log {
				if _, ours := p.Values[e.Index]; ours && e.Type != 3 {
					want = append(want, fmt.Sprintf("pcr%d %x", e.Index, e.SHA256))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got events %q, want %q", got, want)
			}
		})
	}
}

// TestPCRsCover: each input changes the registers that it should, and no other.
func TestPCRsCover(t *testing.T) {
	signature, certificate := signatureList([]byte("certificate"))
	secure := reference.Variables{SecureBoot: true, PK: signature, KEK: signature, DB: signature, Signer: certificate}
	measure := func(u *attesttest.UKI, b reference.Boot) map[int][sha256.Size]byte {
		t.Helper()
		parsed, err := reference.ParseUKI(u.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsed.PCRs(b)
		if err != nil {
			t.Fatal(err)
		}
		return p.Values
	}
	for _, c := range []struct {
		name   string
		uki    func(*attesttest.UKI)
		boot   func(*reference.Boot)
		secure bool
		want   []int
	}{
		{name: "nothing", want: nil},
		{name: "the initrd", uki: func(u *attesttest.UKI) { u.Set(".initrd", []byte("INITRE")) }, want: []int{4, 9, 11}},
		{name: "the command line", uki: func(u *attesttest.UKI) { u.Set(".cmdline", []byte("quiet panic=-2")) }, want: []int{4, 9, 11}},
		{name: "spaces behind the command line", uki: func(u *attesttest.UKI) { u.Set(".cmdline", []byte("quiet panic=-1\n \x00")) }, want: []int{4, 11}},
		{name: "the kernel", uki: func(u *attesttest.UKI) {
			u.Set(".linux", attesttest.PE([]attesttest.Section{{Name: ".text", Data: []byte("kernem")}}, nil))
		}, want: []int{4, 11}},
		{name: "the release file", uki: func(u *attesttest.UKI) { u.Set(".osrel", []byte("ID=y\n")) }, want: []int{4, 11}},
		{name: "no release file", uki: func(u *attesttest.UKI) { u.Without(".osrel") }, want: []int{4, 11}},
		{name: "a splash image", uki: func(u *attesttest.UKI) { u.Set(".splash", []byte("BM")) }, want: []int{4, 11}},
		{name: "the stub", uki: func(u *attesttest.UKI) { u.Set(".text", []byte("stuc")) }, want: []int{4}},
		{name: "a section of nobody", uki: func(u *attesttest.UKI) { u.Set(".note", []byte("x")) }, want: []int{4}},
		{name: "from a disk", boot: func(b *reference.Boot) { b.Path = reference.Disk }, want: []int{4}},
		{name: "a command line of the host", boot: func(b *reference.Boot) { b.HostCommandLine = "quiet" }, want: []int{9, 12}},
		{name: "a phase", boot: func(b *reference.Boot) { b.Phases = []string{"enter-initrd"} }, want: []int{11}},
		{name: "keys, without secure boot", boot: func(b *reference.Boot) { b.Variables.PK = signature }, want: []int{7}},
		{name: "secure boot", boot: func(b *reference.Boot) { b.Variables = secure }, want: []int{4, 7}}, // the kernel is not in PCR 4
		{name: "another dbx", boot: func(b *reference.Boot) { b.Variables.DBX = signature }, secure: true, want: []int{7}},
		{name: "the image under secure boot", uki: func(u *attesttest.UKI) { u.Set(".text", []byte("stuc")) }, secure: true, want: []int{4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			boot := reference.Boot{Path: reference.Direct}
			if c.secure {
				boot.Variables = secure
			}
			before := measure(attesttest.NewUKI(), boot)
			u := attesttest.NewUKI()
			if c.uki != nil {
				c.uki(u)
			}
			if c.boot != nil {
				c.boot(&boot)
			}
			after := measure(u, boot)
			var got []int
			for pcr, value := range after {
				if value != before[pcr] {
					got = append(got, pcr)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got changes of PCRs %v, want %v", got, c.want)
			}
			if c.name != "a command line of the host" && after[12] != [sha256.Size]byte{} || after[13] != [sha256.Size]byte{} {
				t.Errorf("PCRs 12 and 13 are %x and %x, want zero", after[12], after[13])
			}
		})
	}
}

// signatureList is a list with one certificate, and the certificate.
func signatureList(certificate []byte) (list, same []byte) {
	list = []byte("\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72")
	list = append(list, byte(28+16+len(certificate)), 0, 0, 0, 0, 0, 0, 0, byte(16+len(certificate)), 0, 0, 0)
	return append(append(list, bytes.Repeat([]byte{0xaa}, 16)...), certificate...), certificate
}

func TestFindSignature(t *testing.T) {
	list, certificate := signatureList([]byte("certificate"))
	other, _ := signatureList([]byte("another one"))
	for name, lists := range map[string][]byte{"alone": list, "last": append(bytes.Clone(other), list...), "first": append(bytes.Clone(list), other...)} {
		got, err := reference.FindSignature(lists, certificate)
		if want := list[28:]; err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, %v, want %x", name, got, err, want)
		}
	}
	change := func(at int, v byte) []byte {
		out := bytes.Clone(list)
		out[at] = v
		return out
	}
	for _, c := range []struct {
		name  string
		lists []byte
		text  string
	}{
		{"another certificate", other, "the signer is no certificate of db"},
		{"a list of hashes", change(0, 0), "the signer is no certificate of db"},
		{"none", nil, "the signer is no certificate of db"},
		{"bytes at its end", append(bytes.Clone(list), 1), "1 bytes at its end"},
		{"the attributes of efivarfs", append([]byte{7, 0, 0, 0}, list...), "a list of signatures has"},
		{"a list that is too long", change(16, 0xff), "has 255 bytes of 55"},
		{"a list without room for itself", change(16, 27), "has 27 bytes of 55"},
		{"a header that is too long", change(20, 28), "with a header of 28"},
		{"signatures of no size", change(24, 0), "signatures of 0"},
		{"signatures of another size", change(24, 26), "signatures of 26"},
	} {
		_, err := reference.FindSignature(c.lists, certificate)
		t.Run(c.name, func(t *testing.T) { refused(t, err, c.text) })
	}
}

func TestBootRefuses(t *testing.T) {
	list, certificate := signatureList([]byte("certificate"))
	good := reference.Boot{Path: reference.Disk, Variables: reference.Variables{SecureBoot: true, PK: list, KEK: list, DB: list, Signer: certificate}}
	u, err := reference.ParseUKI(attesttest.NewUKI().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.PCRs(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*reference.Boot)
		text   string
	}{
		{"nothing is said", func(b *reference.Boot) { *b = reference.Boot{} }, `the path is ""`},
		{"a command line that does not count", func(b *reference.Boot) { b.HostCommandLine = "x" }, "does not take a command line of the host"},
		{"an empty phase", func(b *reference.Boot) { b.Phases = []string{""} }, "a phase is empty"},
		{"no PK", func(b *reference.Boot) { b.Variables.PK = nil }, "there are a PK, a db and a signer"},
		{"no db", func(b *reference.Boot) { b.Variables.DB = nil }, "there are a PK, a db and a signer"},
		{"no signer", func(b *reference.Boot) { b.Variables.Signer = nil }, "there are a PK, a db and a signer"},
		{"another signer", func(b *reference.Boot) { b.Variables.Signer = []byte("x") }, "no certificate of db"},
		{"a signer without secure boot", func(b *reference.Boot) { b.Variables.SecureBoot = false }, "without secure boot no signer counts"},
		{"a command line that is not ASCII", func(b *reference.Boot) { *b = reference.Boot{Path: reference.Direct, HostCommandLine: "é"} }, "not ASCII"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := good
			c.change(&b)
			got, err := u.PCRs(b)
			refused(t, err, c.text)
			if got.Values != nil || got.Events != nil {
				t.Errorf("got %v with the error", got)
			}
		})
	}
	for _, b := range []reference.Boot{good, {Path: reference.Disk}} {
		_, err := u.RTMRs(b)
		refused(t, err, "only of an image that the VMM hands to the firmware")
	}
}

// An image whose certificates do not fit into it is read, and has no digest.
func TestUnsignable(t *testing.T) {
	raw := attesttest.NewUKI().Bytes()
	raw[0x80+24+148+3] = 0x7f // size of the certificates
	u, err := reference.ParseUKI(raw)
	if err != nil {
		t.Fatal(err)
	}
	p, err := u.PCRs(reference.Boot{Path: reference.Direct})
	refused(t, err, "0x7f000000 bytes of certificates")
	r, err2 := u.RTMRs(reference.Boot{Path: reference.Direct})
	refused(t, err2, "0x7f000000 bytes of certificates")
	if p.Values != nil || r.RTMR1 != [sha512.Size384]byte{} {
		t.Error("got values with the error")
	}
}

func TestParseUKIRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*attesttest.UKI)
		text   string
	}{
		{"no stub", func(u *attesttest.UKI) { u.Without(".sdmagic") }, `its stub says ""`},
		{"another stub", func(u *attesttest.UKI) { u.Set(".sdmagic", []byte("#### LoaderInfo: systemd-stub 257.9 ####\x00")) }, "only what systemd-stub 252 measures is known"},
		{"a stub whose version begins alike", func(u *attesttest.UKI) { u.Set(".sdmagic", []byte("#### LoaderInfo: systemd-stub 2521 ####\x00")) }, "only what systemd-stub 252 measures is known"},
		{"no kernel", func(u *attesttest.UKI) { u.Without(".linux") }, "it has no section .linux"},
		{"no initrd", func(u *attesttest.UKI) { u.Set(".initrd", nil) }, "it has no section .initrd"},
		{"no command line", func(u *attesttest.UKI) { u.Without(".cmdline") }, "it has no section .cmdline"},
		{"an empty command line", func(u *attesttest.UKI) { u.Set(".cmdline", []byte("\n")) }, "it is empty, or not ASCII"},
		{"a kernel that is none", func(u *attesttest.UKI) { u.Set(".linux", []byte("kernel")) }, "section .linux: parsing PE file: it does not begin with MZ"},
		{"a key for sealed secrets", func(u *attesttest.UKI) { u.Set(".pcrpkey", []byte("x")) }, "it has a section .pcrpkey"},
		{"microcode", func(u *attesttest.UKI) { u.Set(".ucode", []byte("x")) }, "it has a section .ucode"},
		{"profiles", func(u *attesttest.UKI) { u.Set(".profile", []byte("x")) }, "it has a section .profile"},
		{"a section whose name begins alike", func(u *attesttest.UKI) { u.Set(".dtb2", []byte("x")) }, `it has section ".dtb2", which the stub takes for .dtb`},
		{"device trees to choose from", func(u *attesttest.UKI) { u.Set(".dtbauto", []byte("x")) }, "it has a section .dtbauto"},
		{"a section twice", func(u *attesttest.UKI) {
			u.Sections = append(u.Sections, attesttest.Section{Name: ".cmdline", Data: []byte("x")})
		}, "it has section .cmdline twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := attesttest.NewUKI()
			c.change(u)
			got, err := reference.ParseUKI(u.Bytes())
			refused(t, err, c.text)
			if got != nil {
				t.Error("got an image with the error")
			}
		})
	}
	raw := attesttest.NewUKI().Bytes()
	at := bytes.Index(raw, []byte(".initrd\x00"))
	raw[at+8+1] = 0x10 // VirtualSize
	_, err := reference.ParseUKI(raw)
	refused(t, err, "section .initrd has 0x1006 bytes in memory and 0x200 in the file")
}

// TestRTMRs: the events of a TD are those of PCR 4, 5 and 9, by SHA-384.
func TestRTMRs(t *testing.T) {
	u, err := reference.ParseUKI(attesttest.NewUKI().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := u.RTMRs(reference.Boot{Path: reference.Direct})
	if err != nil {
		t.Fatal(err)
	}
	image, err := reference.ImageDigest(attesttest.NewUKI().Bytes(), sha512.New384())
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := reference.ImageDigest(attesttest.PE([]attesttest.Section{{Name: ".text", Data: []byte("kernel")}}, nil), sha512.New384())
	if err != nil {
		t.Fatal(err)
	}
	of := func(s string) []byte { d := sha512.Sum384([]byte(s)); return d[:] }
	fold := func(digests ...[]byte) (value [sha512.Size384]byte) {
		for _, d := range digests {
			value = sha512.Sum384(append(value[:], d...))
		}
		return value
	}
	if want := fold(image, of("Calling EFI Application from Boot Option"), of("\x00\x00\x00\x00"), kernel,
		of("Exit Boot Services Invocation"), of("Exit Boot Services Returned with Success")); got.RTMR1 != want {
		t.Errorf("RTMR1: got %x, want %x", got.RTMR1, want)
	}
	var line []byte
	for _, c := range []byte("quiet panic=-1\x00") {
		line = append(line, c, 0)
	}
	if want := fold(of(string(line)), of("INITRD")); got.RTMR2 != want {
		t.Errorf("RTMR2: got %x, want %x", got.RTMR2, want)
	}
	if len(got.Events) != 8 {
		t.Errorf("got %d events, want 8", len(got.Events))
	}
}

// TestRTMR1Constants: what does not depend on the image is in genuine logs of TDs too.
func TestRTMR1Constants(t *testing.T) {
	log, err := attest.ParseEventLog(sharedFile(t, "evidence/tdx-cos113-genuine-accept/ccel.bin"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := reference.ParseUKI(attesttest.NewUKI().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	r, err := u.RTMRs(reference.Boot{Path: reference.Direct})
	if err != nil {
		t.Fatal(err)
	}
	var logged []string
	for _, e := range log {
		if e.Index == 2 { // RTMR1
			logged = append(logged, hex.EncodeToString(e.SHA384))
		}
	}
	at := -1
	for _, e := range r.Events {
		if slices.Contains([]string{"UKI", "kernel"}, e.What) || e.Register != "rtmr1" {
			continue
		}
		i := slices.Index(logged, hex.EncodeToString(e.Digest))
		if i <= at {
			t.Errorf("%s: got place %d of the log, want one after %d", e.What, i, at)
		}
		at = i
	}
}
