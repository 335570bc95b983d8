// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// writeMachine writes what a machine is started from.
func writeMachine(t *testing.T, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, "OVMF.fd"), attesttest.NewFirmware().Bytes())
	write(t, filepath.Join(dir, "assay.efi"), attesttest.NewUKI().Bytes())
	write(t, filepath.Join(dir, "initrd"), []byte("initrd"))
	plain := attesttest.NewFirmware()
	plain.SEV[4].Type = 1
	write(t, filepath.Join(dir, "plain.fd"), plain.Bytes())
	list := slices.Concat([]byte("\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"),
		[]byte{28 + 17, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0}, bytes.Repeat([]byte{0xaa}, 16), []byte("c"))
	write(t, filepath.Join(dir, "db.esl"), list)
	write(t, filepath.Join(dir, "signer.der"), []byte("c"))
}

func TestReferenceCompute(t *testing.T) {
	snp := func(more ...string) []string {
		return append([]string{"reference", "compute", "snp", "$DIR/OVMF.fd"}, more...)
	}
	tdx := func(more ...string) []string {
		return append([]string{"reference", "compute", "tdx", "$DIR/OVMF.fd"}, more...)
	}
	tpm := func(more ...string) []string {
		return append([]string{"reference", "compute", "tpm", "$DIR/assay.efi"}, more...)
	}
	entry := []string{"--references", "$DIR/references.json", "--name", "assayd v1", "--config", aDigest, "--flavour", "go"}
	scripts := []script{
		{name: "snp", args: snp("--vcpus", "2", "--vcpu-type", "EPYC-v4", "--kernel", "$DIR/assay.efi"), stdout: []string{"measurement ", ", 2 vCPUs EPYC-v4\n"}},
		{name: "snp, several", args: snp("--vcpus", "1,2", "--vcpu-type", "EPYC-Milan,0xb00f00", "--kernel", "$DIR/assay.efi", "--initrd", "$DIR/initrd", "--cmdline", "quiet"),
			stdout: []string{", 1 vCPU EPYC-Milan\n", ", 2 vCPUs EPYC-Milan\n", ", 1 vCPU 0xb00f00\n", ", 2 vCPUs 0xb00f00\n"}},
		{name: "snp, firmware alone", args: snp("--vcpus", "1", "--vcpu-type", "EPYC-v4"), stderr: []string{"warning: without --kernel the digest covers the firmware alone"}},
		{name: "snp, ec2", args: snp("--vcpus", "1", "--vmm", "ec2"), stdout: []string{", 1 vCPU\n"}, stderr: []string{"two published programs compute two digests"}},
		{name: "snp, entry", args: snp(append(entry, "--vcpus", "1,2", "--vcpu-type", "EPYC-v4", "--kernel", "$DIR/assay.efi")...),
			stdout: []string{"references.json: 2 entries, 2 of them new; next: assay head sign\n"}, stderr: []string{"sets no floor for the firmware"}},
		{name: "tdx", args: []string{"reference", "compute", "tdx", "$DIR/OVMF.fd"}, stdout: []string{"mrtd ", "rtmr0 depends on the host"}, stderr: []string{"no entry can be made of it"}},
		{name: "tdx, entry", args: tdx(append(entry, "--uki", "$DIR/assay.efi", "--rtmr0", strings.Repeat("0f", 48))...),
			stdout: []string{"references.json: 1 entries, 1 of them new; next: assay head sign\n"}, stderr: []string{"sets no floor for what Intel says"}},
		{name: "tdx, entry without a UKI", args: tdx(entry...), status: 2, stderr: []string{"it would accept whatever the firmware starts"}},
		{name: "tdx, RTMR0 of no entry", args: tdx("--uki", "$DIR/assay.efi", "--rtmr0", strings.Repeat("0f", 48)), status: 2, stderr: []string{"--rtmr0 goes with --references"}},
		{name: "tdx, RTMR0 of another length", args: tdx(append(entry, "--uki", "$DIR/assay.efi", "--rtmr0", "0f")...), status: 2, stderr: []string{"register rtmr0 has 2 hex digits, want 96"}},
		{name: "tdx, uki", args: []string{"reference", "compute", "tdx", "$DIR/OVMF.fd", "--uki", "$DIR/assay.efi", "--events"},
			stdout: []string{"rtmr1 ", "rtmr2 ", " kernel\n"}, stderr: []string{"nobody compared them with a TDX machine"}},
		{name: "tpm", args: tpm(), stdout: []string{"pcr4 ", "pcr11 ", "pcr12 " + strings.Repeat("0", 64)}},
		{name: "tpm, events", args: tpm("--boot", "disk", "--events", "--phase", "enter-initrd"), stdout: []string{"  pcr4 ", "  pcr11 ", " phase enter-initrd\n"}},
		{name: "tpm, host's command line", args: tpm("--host-cmdline", "quiet"), stderr: []string{"whoever runs the host has chosen it"}},
		{name: "tpm, secure boot", args: tpm("--secure-boot", "--pk", "$DIR/db.esl", "--kek", "$DIR/db.esl", "--db", "$DIR/db.esl", "--dbx", "$DIR/db.esl", "--signer", "$DIR/signer.der"), stdout: []string{"pcr7 "}},
		{name: "tpm, entry", args: tpm(entry...), stdout: []string{"references.json: 1 entries, 1 of them new"}},

		{name: "typo in a command", args: []string{"reference", "compute", "tdt"}, status: 2, stderr: []string{`did you mean "tdx"?`}},
		{name: "no firmware", args: []string{"reference", "compute", "snp"}, status: 2, stderr: []string{"got 0 arguments, want a firmware file"}},
		{name: "firmware that is not there", args: []string{"reference", "compute", "tdx", "$DIR/nothing"}, status: 2, stderr: []string{"reading firmware: ", "hint: check the name"}},
		{name: "firmware that is none", args: []string{"reference", "compute", "tdx", "$DIR/assay.efi"}, status: 2, stderr: []string{"hint: name the whole firmware file"}},
		{name: "no vCPUs", args: snp("--vcpu-type", "EPYC-v4"), status: 2, stderr: []string{"hint: the digest covers each vCPU: say how many with --vcpus"}},
		{name: "too many vCPUs", args: snp("--vcpus", "2000", "--vcpu-type", "EPYC-v4"), status: 2, stderr: []string{"2000 vCPUs, want 1 to 1024"}},
		{name: "no type", args: snp("--vcpus", "1"), status: 2, stderr: []string{"no type of vCPU is named"}},
		{name: "typo in a type", args: snp("--vcpus", "1", "--vcpu-type", "EPYC-Millan"), status: 2, stderr: []string{`did you mean "EPYC-Milan"?`}},
		{name: "unknown type", args: snp("--vcpus", "1", "--vcpu-type", "Skylake"), status: 2, stderr: []string{"hint: write another type as the hex digits of its signature"}},
		{name: "type that is no number", args: snp("--vcpus", "1", "--vcpu-type", "0x123456789"), status: 2, stderr: []string{"want a number of 32 bits in hex"}},
		{name: "features that are no number", args: snp("--vcpus", "1", "--vcpu-type", "EPYC-v4", "--sev-features", "1"), status: 2, stderr: []string{`flag --sev-features is "1", want a number of 64 bits in hex`}},
		{name: "features without SNP", args: snp("--vcpus", "1", "--vcpu-type", "EPYC-v4", "--sev-features", "0x20"), status: 2, stderr: []string{"want bit 0"}},
		{name: "unknown VMM", args: snp("--vcpus", "1", "--vcpu-type", "EPYC-v4", "--vmm", "xen"), status: 2, stderr: []string{"hint: name one of qemu, ec2, gce"}},
		{name: "initrd without kernel", args: snp("--vcpus", "1", "--vcpu-type", "EPYC-v4", "--initrd", "$DIR/initrd"), status: 2, stderr: []string{"go with --kernel"}},
		{name: "kernel that nobody checks", args: []string{"reference", "compute", "snp", "$DIR/plain.fd", "--vcpus", "1", "--vcpu-type", "EPYC-v4", "--kernel", "$DIR/assay.efi"}, status: 2, stderr: []string{"so it would start any"}},
		{name: "entry without kernel", args: snp(append(entry, "--vcpus", "1", "--vcpu-type", "EPYC-v4")...), status: 2, stderr: []string{"it would accept whatever the firmware starts"}},
		{name: "unknown order", args: []string{"reference", "compute", "tdx", "$DIR/OVMF.fd", "--page-order", "random"}, status: 2, stderr: []string{"hint: name interleaved or two-pass"}},
		{name: "UKI that is none", args: []string{"reference", "compute", "tpm", "$DIR/OVMF.fd"}, status: 2, stderr: []string{"it does not begin with MZ", "hint: name a unified kernel image"}},
		{name: "unknown path", args: tpm("--boot", "network"), status: 2, stderr: []string{"hint: name direct or disk"}},
		{name: "secure boot without keys", args: tpm("--secure-boot"), status: 2, stderr: []string{"with secure boot there are a PK, a db and a signer"}},
		{name: "variable that is not there", args: tpm("--secure-boot", "--pk", "$DIR/pk"), status: 2, stderr: []string{"reading PK: "}},
		{name: "entry without a file", args: tpm("--name", "x"), status: 2, stderr: []string{"go with --references"}},
		{name: "entry without name", args: tpm("--references", "$DIR/r.json"), status: 2, stderr: []string{"hint: name the entry with --name"}},
		{name: "entry without configuration", args: tpm("--references", "$DIR/r.json", "--name", "x"), status: 2, stderr: []string{"assayd config check prints its digest"}},
		{name: "entry without flavour", args: tpm("--references", "$DIR/r.json", "--name", "x", "--config", aDigest), status: 2, stderr: []string{"no crypto flavour is named"}},
		{name: "typo in a flavour", args: tpm(append(entry, "--flavour", "fips141")...), status: 2, stderr: []string{`did you mean "fips140"?`}},
		{name: "typo in a profile", args: tpm(append(entry, "--profile", "develpment")...), status: 2, stderr: []string{`did you mean "development"?`}},
		{name: "configuration that is no digest", args: tpm(append(entry, "--config", "abc")...), status: 2, stderr: []string{"flag --config: "}},
		{name: "entry that never counts", args: tpm(append(entry, "--valid", "-1h")...), status: 2, stderr: []string{"flag --valid is -1h0m0s"}},
		{name: "time that is none", args: tpm(append(entry, "--from", "today")...), status: 2, stderr: []string{"want a time in RFC 3339"}},
		{name: "references that are none", args: tpm("--references", "$DIR/assay.efi", "--name", "x", "--config", aDigest, "--flavour", "go"), status: 2, stderr: []string{"hint: name a references file, or one that is not there yet"}},
		{name: "folder that is not there", args: tpm("--references", "$DIR/no/r.json", "--name", "x", "--config", aDigest, "--flavour", "go"), status: 3, code: verdict.Internal},
	}
	for i := range scripts {
		scripts[i].setup = writeMachine
	}
	runScripts(t, scripts)
}

// TestReferenceVerify: the same files make the entry again, and others are refused by
// what differs.
func TestReferenceVerify(t *testing.T) {
	dir := t.TempDir()
	writeMachine(t, dir)
	changed := attesttest.NewUKI()
	changed.Set(".cmdline", []byte("another line"))
	write(t, filepath.Join(dir, "other.efi"), changed.Bytes())
	path := filepath.Join(dir, "references.json")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, add := range [][]string{
		{"snp", at("OVMF.fd"), "--vcpus", "1,2", "--vcpu-type", "EPYC-v4", "--kernel", at("assay.efi"), "--name", "on SNP"},
		{"tdx", at("OVMF.fd"), "--uki", at("assay.efi"), "--rtmr0", strings.Repeat("0f", 48), "--name", "on TDX"},
		{"tpm", at("assay.efi"), "--name", "on a TPM"},
		{"tpm", at("assay.efi"), "--boot", "disk", "--name", "from a disk", "--from", "2020-01-01T00:00:00Z"},
		{"tpm", at("assay.efi"), "--boot", "disk", "--name", "on Azure", "--azure", "snp", "--paravisor", strings.Repeat("0a", 48)},
		{"tpm", at("assay.efi"), "--boot", "disk", "--name", "with an SVSM", "--svsm", strings.Repeat("0c", 48)},
	} {
		must(t, append(append([]string{"reference", "compute"}, add...), "--references", path, "--config", aDigest, "--flavour", "go")...)
	}
	verify := func(args ...string) []string {
		return append(append([]string{"reference", "verify"}, args...), "--references", path)
	}
	snp := func(kernel string, more ...string) []string {
		return verify(append([]string{"snp", at("OVMF.fd"), "--vcpu-type", "EPYC-v4", "--kernel", at(kernel)}, more...)...)
	}
	runScripts(t, []script{
		{name: "snp", args: snp("assay.efi", "--vcpus", "1,2"), stdout: []string{"entry on SNP, 1 vCPU EPYC-v4 is what these files make\n", "entry on SNP, 2 vCPUs EPYC-v4 is"}},
		{name: "snp, one of two", args: snp("assay.efi", "--vcpus", "2"), stderr: []string{`entry "on SNP, 1 vCPU EPYC-v4" was not compared`}},
		{name: "snp, named", args: snp("assay.efi", "--vcpus", "1,2,3", "--name", "on SNP, 2 vCPUs EPYC-v4"), stdout: []string{"entry on SNP, 2 vCPUs EPYC-v4 is"}},
		{name: "snp, a machine of no entry", args: snp("assay.efi", "--vcpus", "1,3"), status: 1, code: verdict.GuestMeasurement},
		{name: "snp, another kernel", args: snp("other.efi", "--vcpus", "1"), status: 1, code: verdict.GuestMeasurement},
		{name: "tdx", args: verify("tdx", at("OVMF.fd"), "--uki", at("assay.efi")), stdout: []string{"entry on TDX is what these files make\n"}, stderr: []string{"pins rtmr0 too, which these files do not decide"}},
		{name: "tdx, another RTMR0", args: verify("tdx", at("OVMF.fd"), "--uki", at("assay.efi"), "--rtmr0", strings.Repeat("0e", 48)), status: 1, code: verdict.GuestRegister, stderr: []string{"its rtmr0 is 0f0f"}},
		{name: "tdx, another UKI", args: verify("tdx", at("OVMF.fd"), "--uki", at("other.efi")), status: 1, code: verdict.GuestRegister, stderr: []string{"its rtmr1 is "}},
		{name: "tdx without a UKI", args: verify("tdx", at("OVMF.fd")), status: 2, stderr: []string{"nothing says what the firmware starts"}},
		{name: "tpm", args: verify("tpm", at("assay.efi")), stdout: []string{"entry on a TPM is what these files make\n"}, stderr: []string{`entry "from a disk" was not compared`}},
		{name: "tpm, of another time", args: verify("tpm", at("assay.efi"), "--boot", "disk", "--name", "from a disk"), stderr: []string{`entry "from a disk" does not count now: 2020`}},
		{name: "tpm, another boot", args: verify("tpm", at("assay.efi"), "--boot", "disk", "--name", "on a TPM"), status: 1, code: verdict.GuestRegister, stderr: []string{`comparing entry "on a TPM": its pcr`}},
		{name: "tpm, another UKI", args: verify("tpm", at("other.efi")), status: 1, code: verdict.GuestRegister},
		{name: "azure", args: verify("tpm", at("assay.efi"), "--boot", "disk", "--azure", "snp", "--paravisor", strings.Repeat("0a", 48)), stdout: []string{"entry on Azure is what these files make\n"}},
		{name: "azure, another paravisor", args: verify("tpm", at("assay.efi"), "--boot", "disk", "--azure", "snp", "--paravisor", strings.Repeat("0b", 48)), status: 1, code: verdict.GuestMeasurement},
		{name: "azure, another UKI", args: verify("tpm", at("other.efi"), "--boot", "disk", "--azure", "snp", "--paravisor", strings.Repeat("0a", 48)), status: 1, code: verdict.GuestRegister},
		{name: "azure, another platform", args: verify("tpm", at("assay.efi"), "--boot", "disk", "--azure", "tdx", "--paravisor", strings.Repeat("0a", 48)), status: 1, code: verdict.GuestMeasurement, stderr: []string{"none of kind azure-tdx"}},
		{name: "azure without a paravisor", args: verify("tpm", at("assay.efi"), "--azure", "snp"), status: 2, stderr: []string{"go together"}},
		{name: "SVSM", args: verify("tpm", at("assay.efi"), "--boot", "disk", "--svsm", strings.Repeat("0c", 48)), stdout: []string{"entry with an SVSM is what these files make\n"}},
		{name: "SVSM, another", args: verify("tpm", at("assay.efi"), "--boot", "disk", "--svsm", strings.Repeat("0d", 48)), status: 1, code: verdict.GuestMeasurement},
		{name: "SVSM, another UKI", args: verify("tpm", at("other.efi"), "--boot", "disk", "--svsm", strings.Repeat("0c", 48)), status: 1, code: verdict.GuestRegister},
		{name: "SVSM on Azure", args: verify("tpm", at("assay.efi"), "--azure", "snp", "--paravisor", strings.Repeat("0a", 48), "--svsm", strings.Repeat("0c", 48)), status: 2, stderr: []string{"different machines"}},
		{name: "azure on nothing", args: verify("tpm", at("assay.efi"), "--azure", "sgx", "--paravisor", "00"), status: 2, stderr: []string{"want snp or tdx"}},
		{name: "a name of no entry", args: verify("tpm", at("assay.efi"), "--name", "on SNP"), status: 1, code: verdict.GuestMeasurement, stderr: []string{"of this name"}},
		{name: "no references", args: []string{"reference", "verify", "tpm", at("assay.efi")}, status: 2, stderr: []string{"no references file is named"}},
		{name: "references that are none", args: []string{"reference", "verify", "tpm", at("assay.efi"), "--references", at("assay.efi")}, status: 1, code: verdict.HeadMalformed},
	})
}

// TestReferenceEntries: what is written is read as references, with the values that
// the document has, beside the entries that were there.
func TestReferenceEntries(t *testing.T) {
	dir := t.TempDir()
	writeMachine(t, dir)
	path := filepath.Join(dir, "references.json")
	run := func(args ...string) document {
		t.Helper()
		args = append(args, "--references", path, "--config", aDigest, "--flavour", "go", "--flavour", "fips140", "--profile", "development",
			"--from", "2026-11-26T12:00:00Z", "--valid", "24h", "--output", "json")
		return parseDocument(t, must(t, append([]string{"reference", "compute"}, args...)...))
	}
	var tpm struct {
		Registers map[string]string
		Stub      string
		Events    []struct{ Register, What, Digest string }
		Inputs    map[string]struct{ Path, Digest string }
	}
	if err := json.Unmarshal(run("tpm", filepath.Join(dir, "assay.efi"), "--name", "on a TPM").Value, &tpm); err != nil {
		t.Fatal(err)
	}
	var snp struct {
		Values []struct {
			VCPUs                 int
			VCPUType, Measurement string
		}
	}
	if err := json.Unmarshal(run("snp", filepath.Join(dir, "OVMF.fd"), "--name", "on SNP", "--vcpus", "1,2", "--vcpu-type", "EPYC-v4", "--kernel", filepath.Join(dir, "assay.efi")).Value, &snp); err != nil {
		t.Fatal(err)
	}
	var tdx struct{ MRTD, RTMR1, RTMR2 string }
	if err := json.Unmarshal(run("tdx", filepath.Join(dir, "OVMF.fd"), "--name", "on TDX", "--uki", filepath.Join(dir, "assay.efi")).Value, &tdx); err != nil {
		t.Fatal(err)
	}
	refs, err := verdict.ParseReferences(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if e := refs.Entries[len(refs.Entries)-1]; e.Name != "on TDX" || e.Kind != verdict.KindTDX || e.Events != "rtmr3" || len(tdx.MRTD) != 96 || e.Measurement != tdx.MRTD ||
		!maps.Equal(e.Registers, map[string]string{"rtmr1": tdx.RTMR1, "rtmr2": tdx.RTMR2}) {
		t.Errorf("got entry %+v, want %+v", e, tdx)
	}
	if len(refs.Entries) != 4 || len(snp.Values) != 2 {
		t.Fatalf("got %d entries and %d values, want 4 and 2", len(refs.Entries), len(snp.Values))
	}
	if e := refs.Entries[0]; e.Name != "on a TPM" || e.Kind != verdict.KindTPM || e.Events != "pcr14" || !maps.Equal(e.Registers, tpm.Registers) || len(e.Registers) != 6 {
		t.Errorf("got entry %+v, want registers %v", e, tpm.Registers)
	}
	for i, name := range []string{"on SNP, 1 vCPU EPYC-v4", "on SNP, 2 vCPUs EPYC-v4"} {
		e := refs.Entries[1+i]
		if e.Name != name || e.Kind != verdict.KindSNP || e.Events != "none" || e.Measurement != snp.Values[i].Measurement || snp.Values[i].VCPUs != i+1 {
			t.Errorf("got entry %+v, want %q with %+v", e, name, snp.Values[i])
		}
	}
	from := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, e := range refs.Entries {
		if e.Profile != verdict.Development || !slices.Equal(e.Flavours, []string{"go", "fips140"}) || e.NotBefore != from.Unix() || e.NotAfter != from.Add(24*time.Hour).Unix() ||
			len(e.Configs) != 1 || e.Configs[0] != aDigest {
			t.Errorf("got entry %+v", e)
		}
	}
	if d, err := hex.DecodeString(tpm.Events[0].Digest); err != nil || len(d) != 32 || tpm.Stub != "252.39-1~deb12u2" ||
		tpm.Inputs["UKI"].Digest != string(verdict.SHA256(attesttest.NewUKI().Bytes())) {
		t.Errorf("got %+v", tpm)
	}
	// Nothing is replaced.
	before := read(t, path)
	o := assay(t, "reference", "compute", "tpm", filepath.Join(dir, "assay.efi"), "--references", path, "--name", "on a TPM", "--config", aDigest, "--flavour", "go")
	if o.status != 2 || !strings.Contains(o.stderr, `has an entry "on a TPM" already`) || !bytes.Equal(before, read(t, path)) {
		t.Errorf("the same name: %s", o)
	}
}
