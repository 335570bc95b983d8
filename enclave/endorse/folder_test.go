// SPDX-License-Identifier: Apache-2.0

package endorse_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-tdx-guest/pcs"
	tdxdata "github.com/google/go-tdx-guest/testing"
	tdxfiles "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
)

func openFolder(t *testing.T, dir string) *endorse.Folder {
	t.Helper()
	f, err := endorse.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return f
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	f := openFolder(t, dir)
	if e, err := f.Read(attest.LabelTCBInfo); err != nil || e.Value != nil || e.Chain != nil {
		t.Fatalf("got %v and %v of an empty folder, want nothing", e, err)
	}
	want := endorse.Endorsement{Value: []byte("document"), Chain: []byte("chain")}
	for range 2 { // also what is there already
		if err := f.Write(attest.LabelTCBInfo, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Read(attest.LabelTCBInfo)
	if err != nil || !bytes.Equal(got.Value, want.Value) || !bytes.Equal(got.Chain, want.Chain) {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("got %v and %v, want the two files and nothing beside them", entries, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "amd-crl.der"), make([]byte, endorse.MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(attest.LabelCRL); err == nil {
		t.Error("a file of too many bytes was read")
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "amd-vcek.der"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(attest.LabelVCEK); err == nil {
		t.Error("a named pipe was read")
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "amd-vlek.der")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(attest.LabelVLEK); err == nil {
		t.Error("a file outside of the folder was read")
	}
	if err := f.Write(attest.LabelVLEK, want); err != nil {
		t.Errorf("writing over a link: %v", err)
	}
	if info, err := os.Lstat(filepath.Join(dir, "amd-vlek.der")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("got %v and %v, want a file in place of the link", info, err)
	}
}

// killedEnv tells this program to be the one that is killed.
const killedEnv = "ASSAY_TEST_WRITES_INTO"

// A program that is killed while it writes leaves the file before, whole, and what it
// left beside it goes once it is old.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv(killedEnv); dir != "" {
		endorse.BeforeRename(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} })
		f, err := endorse.OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal("not killed: ", f.Write(attest.LabelCRL, endorse.Endorsement{Value: []byte("after")}))
	}
	dir := t.TempDir()
	f := openFolder(t, dir)
	if err := f.Write(attest.LabelCRL, endorse.Endorsement{Value: []byte("before")}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), killedEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if status, isStatus := exit.Sys().(syscall.WaitStatus); !ok || !isStatus || status.Signal() != syscall.SIGKILL {
		t.Fatalf("got %v, want it killed\n%s", err, out)
	}
	if e, err := f.Read(attest.LabelCRL); err != nil || string(e.Value) != "before" {
		t.Errorf("got %q and %v, want the file before", e.Value, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("got %v and %v, want what the killed one left", left, err)
	}
	openFolder(t, dir)
	if _, err := os.Stat(left[0]); err != nil {
		t.Errorf("a new file may be another program's: %v", err)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(left[0], old, old); err != nil {
		t.Fatal(err)
	}
	openFolder(t, dir)
	if _, err := os.Stat(left[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v of an old file, want it gone", err)
	}
}

// Between the chain and the document of an edition, each file is whole.
func TestReadWhileWritten(t *testing.T) {
	f := openFolder(t, t.TempDir())
	before, after := endorse.Endorsement{Value: []byte("document"), Chain: []byte("chain")}, endorse.Endorsement{Value: []byte("another"), Chain: []byte("links")}
	if err := f.Write(attest.LabelQEIdentity, before); err != nil {
		t.Fatal(err)
	}
	var seen []string
	defer endorse.BeforeRename(func() {
		e, err := f.Read(attest.LabelQEIdentity)
		if err != nil {
			t.Error(err)
		}
		seen = append(seen, string(e.Chain)+" "+string(e.Value))
	})()
	if err := f.Write(attest.LabelQEIdentity, after); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(seen, ", "), "chain document, links document"; got != want {
		t.Errorf("got %q between the renames, want %q", got, want)
	}
}

// Addresses are those of AMD's and Intel's clients, as far as these have them: for Turin
// go-sev-guest has neither the shorter ID nor fmcSPL.
func TestAddresses(t *testing.T) {
	f, err := endorse.NewFetcher(endorse.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	address := func(label string, p *attest.Platform) string {
		t.Helper()
		a, err := f.Address(label, p)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	m := newMaker(t)
	for _, line := range []attest.ProductLine{attest.Milan, attest.Genoa} {
		p, _, _ := snp(t, m, line, nil)
		if got, want := address(attest.LabelVCEK, p), kds.VCEKCertURL(string(line), p.SNP.ChipID[:], kds.TCBVersion(p.SNP.ReportedTCB)); got != want {
			t.Errorf("VCEK of %s: got %s, want %s", line, got, want)
		}
		if got, want := address(attest.LabelCRL, p), kds.CrlLinkByKey(string(line), abi.VcekReportSigner); got != want {
			t.Errorf("list of %s: got %s, want %s", line, got, want)
		}
		vlek, _, _ := snp(t, m, line, func(s *attesttest.SNP) { s.UseVLEK(t, "provider") })
		if got, want := address(attest.LabelCRL, vlek), kds.CrlLinkByKey(string(line), abi.VlekReportSigner); got != want {
			t.Errorf("list of VLEKs of %s: got %s, want %s", line, got, want)
		}
	}
	turin, _, _ := snp(t, m, attest.Turin, nil)
	if got, want := address(attest.LabelVCEK, turin), "https://kdsintf.amd.com/vcek/v1/Turin/a0a1a2a3a4a5a6a7?fmcSPL=1&blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219"; got != want {
		t.Errorf("VCEK of Turin: got %s, want %s", got, want)
	}
	_, p, _ := tdx(t, m)
	for label, want := range map[string]string{
		attest.LabelTCBInfo: pcs.TcbInfoURL("00806f050000"), attest.LabelQEIdentity: pcs.QeIdentityURL(), attest.LabelPCKCRL: pcs.PckCrlURL("platform"),
		attest.LabelSGXRootCRL: "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
	} {
		if got := address(label, p); got != want {
			t.Errorf("%s: got %s, want %s", label, got, want)
		}
	}
	p.TDX.PCK.ProcessorCA = true
	if got, want := address(attest.LabelPCKCRL, p), pcs.PckCrlURL("processor"); got != want {
		t.Errorf("list of the processor CA: got %s, want %s", got, want)
	}
	for _, base := range []string{"http://cache.example", "https://", "https://u@cache.example", "https://cache.example/?q", "https://cache.example/#f", "cache.example", "https://a b", "https:cache"} {
		if _, err := endorse.NewFetcher(endorse.Config{KDS: base}); !isMisuse(err) {
			t.Errorf("KDS %q: got %v, want a misuse", base, err)
		}
		if _, err := endorse.NewFetcher(endorse.Config{PCS: base}); !isMisuse(err) {
			t.Errorf("PCS %q: got %v, want a misuse", base, err)
		}
	}
}

func isMisuse(err error) bool { _, ok := errors.AsType[*verdict.Misuse](err); return ok }

// What AMD and Intel published, as other projects recorded it, is taken at its time under
// their published roots and refused later.
func TestGenuine(t *testing.T) {
	t.Run("milan", func(t *testing.T) {
		report, err := os.ReadFile("../../attest/testdata/snp-milan-report.bin")
		if err != nil {
			t.Fatal(err)
		}
		vcek, err := os.ReadFile("../../attest/testdata/snp-milan-vcek.der")
		if err != nil {
			t.Fatal(err)
		}
		genuineVCEK(t, report, vcek, attest.Milan)
	})
	t.Run("milan-of-trustee", func(t *testing.T) {
		genuineVCEK(t, shared(t, "evidence-raw", "trustee", "snp", "test-report.bin"), shared(t, "evidence-raw", "trustee", "snp", "test-vcek.der"), attest.Milan)
	})
	t.Run("tdx", func(t *testing.T) {
		p, err := attest.TDXPlatformOf(tdxfiles.RawQuote[:4935]) // their tests' text follows
		if err != nil {
			t.Fatal(err)
		}
		m, at := newMaker(t), time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC)
		header := func(values map[string][]string, name string) [2]string {
			for key, v := range values {
				if strings.EqualFold(key, name) {
					return [2]string{name, v[0]}
				}
			}
			t.Fatalf("no %s is recorded", name)
			return [2]string{}
		}
		get := tdxdata.TestGetter
		for label, name := range map[string]string{attest.LabelTCBInfo: "TCB-Info-Issuer-Chain", attest.LabelQEIdentity: "SGX-Enclave-Identity-Issuer-Chain", attest.LabelPCKCRL: "", attest.LabelSGXRootCRL: ""} {
			vendor, err := endorse.NewFetcher(endorse.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer vendor.Close()
			address, err := vendor.Address(label, &p)
			if err != nil {
				t.Fatal(err)
			}
			values, body, err := get.Get(address)
			if err != nil {
				t.Fatalf("%s is not recorded: %v", address, err)
			}
			a := answer{body: body}
			if name != "" {
				a.header = header(values, name)
			}
			path := strings.TrimPrefix(address, endorse.PCS)
			if label == attest.LabelSGXRootCRL {
				path = "/sgx/certification/v4/rootcacrl"
			}
			m.answers[path] = a
		}
		f := m.fetcher(t, attest.EndorsementRoots{})
		for _, label := range p.Endorsements() {
			if _, _, err := f.Fetch(t.Context(), &p, label, endorse.Endorsement{}, at); err != nil {
				t.Errorf("%s in its time: %v", label, err)
			}
			_, _, err := f.Fetch(t.Context(), &p, label, endorse.Endorsement{}, at.AddDate(3, 0, 0))
			wantCode(t, err, verdict.EndorsementExpired, false)
		}
	})
}

func genuineVCEK(t *testing.T, report, vcek []byte, line attest.ProductLine) {
	t.Helper()
	p, err := attest.SNPPlatformOf(report)
	if err != nil {
		t.Fatal(err)
	}
	m := newMaker(t)
	m.publishSNP(&p, line, vcek, nil)
	f := m.fetcher(t, attest.EndorsementRoots{})
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	e, edition, err := f.Fetch(t.Context(), &p, attest.LabelVCEK, endorse.Endorsement{}, at)
	if err != nil || !bytes.Equal(e.Value, vcek) {
		t.Fatalf("got %d bytes and %v", len(e.Value), err)
	}
	_, _, err = f.Fetch(t.Context(), &p, attest.LabelVCEK, endorse.Endorsement{}, edition.Until.Add(time.Second))
	wantCode(t, err, verdict.EndorsementExpired, false)
}
