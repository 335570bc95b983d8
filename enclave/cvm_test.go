// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
)

// collateralFiles are the names of what a TDX platform's maker publishes.
func collateralFiles(c attest.TDXCollateral) map[string][]byte {
	return map[string][]byte{
		"tdx-tcb-info.json": c.TCBInfo, "tdx-tcb-info-chain.pem": c.TCBInfoChain, "tdx-qe-identity.json": c.QEIdentity,
		"tdx-qe-identity-chain.pem": c.QEIdentityChain, "sgx-pck-crl.der": c.PCKCRL, "sgx-root-crl.der": c.RootCRL,
	}
}

func folderOf(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tdxMachine is a guest with TDX under throw-away roots, and what opens and accepts it.
func tdxMachine(t *testing.T) (*fakeKernel, enclave.Config, attest.Input) {
	t.Helper()
	k := newKernel(t, "tdx_guest")
	x := attesttest.NewTDX(t, attesttest.At)
	x.PCK.PPID = [16]byte{1}
	k.report = func(inblob [64]byte) ([]byte, []byte, error) {
		x.Quote.ReportData, x.Quote.RTMR[3] = inblob, k.rtmr3()
		return append(x.QuoteBytes(), make([]byte, 100)...), nil, nil // the driver pads
	}
	e := entryAt(verdict.KindTDX)
	e.Events, e.Measurement, e.Registers = "rtmr3", hex.EncodeToString(x.Quote.MRTD[:]), map[string]string{}
	for i := range 3 {
		e.Registers[fmt.Sprintf("rtmr%d", i)] = hex.EncodeToString(x.Quote.RTMR[i][:])
	}
	return k, enclave.Config{Kind: enclave.KindTDX, StateDir: t.TempDir(), Endorsements: folderOf(t, collateralFiles(x.Collateral()))}, attest.Input{
		MyNonce:    attesttest.Nonce(3),
		References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{e}, Floors: verdict.Floors{TDX: &verdict.TDXFloor{Evaluation: 17}}},
		Trust:      attest.Trust{Kinds: []attest.Kind{attest.TDX}, TDX: attest.TDXTrust{Root: x.Root(), Platforms: [][16]byte{x.PCK.PPID}}},
	}
}

// entryAt is an entry that is valid attesttest.At.
func entryAt(kind string) verdict.ReferenceEntry {
	e := entry(kind)
	e.Profile, e.NotBefore, e.NotAfter = verdict.Production, attesttest.At.Add(-time.Hour).Unix(), attesttest.At.Add(time.Hour).Unix()
	return e
}

// snpMachine is the same with SEV-SNP. The host's table has the VCEK, and the folder
// the list.
func snpMachine(t *testing.T) (*fakeKernel, enclave.Config, attest.Input) {
	t.Helper()
	k := newKernel(t, "sev_guest")
	k.floor = "0"
	s := attesttest.NewSNP(t, attest.SNP, nil, attesttest.Nonce(3))
	in := s.Input(t)
	items := s.Collection(t).Items[attest.LabelEndorsements].Nested.Items
	k.report = func(inblob [64]byte) ([]byte, []byte, error) {
		s.Report.ReportData = inblob
		return s.SignedReport(t), attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: items[attest.LabelVCEK].Value}), nil
	}
	dir := folderOf(t, map[string][]byte{"amd-crl.der": items[attest.LabelCRL].Value})
	// The ASK of the input has another PSS signature than the one that signed the VCEK
	// and the same key, which is what counts.
	return k, enclave.Config{Kind: enclave.KindSNP, Endorsements: dir}, in
}

// evidence opens a TEE, has it record a statement, and returns its evidence.
func evidence(t *testing.T, config enclave.Config, nonce [verdict.NonceSize]byte) (enclave.Attester, []byte, verdict.Statement) {
	t.Helper()
	a := open(t, config)
	statement := attesttest.Statement(t)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), nonce[:])
	if err != nil {
		t.Fatal(err)
	}
	return a, collection, statement
}

func TestTDXGuest(t *testing.T) {
	for _, kind := range []string{enclave.KindTDX, enclave.KindAuto} {
		_, config, in := tdxMachine(t)
		config.Kind = kind
		a, collection, statement := evidence(t, config, in.MyNonce)
		if a.Kind() != verdict.KindTDX {
			t.Errorf("got kind %s", a.Kind())
		}
		got, err := attest.Appraise(collection, in, attesttest.At)
		if err != nil {
			t.Fatal(err)
		}
		if got.Simulated || got.Status != attest.TDXUpToDate || len(got.Events) != 1 || got.Claims.Hardware != attest.Affirming {
			t.Errorf("got %+v", got)
		}
		// A change of head is a second event.
		statement.Head.Counter++
		if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
			t.Fatal(err)
		}
		if collection, err = a.Evidence(t.Context(), attesttest.Encode(t, statement), in.MyNonce[:]); err != nil {
			t.Fatal(err)
		}
		if got, err = attest.Appraise(collection, in, attesttest.At); err != nil || len(got.Events) != 2 {
			t.Errorf("got %d events, %v", len(got.Events), err)
		}
		if _, err := a.ActivateCredential(t.Context(), nil, nil); verdict.CodeOf(err) != verdict.EvidenceKind {
			t.Errorf("activation: got %v, want %s", err, verdict.EvidenceKind)
		}
	}
}

func TestSNPGuest(t *testing.T) {
	for _, kind := range []string{enclave.KindSNP, enclave.KindAuto} {
		_, config, in := snpMachine(t)
		config.Kind = kind
		a, collection, _ := evidence(t, config, in.MyNonce)
		if a.Kind() != verdict.KindSNP {
			t.Errorf("got kind %s", a.Kind())
		}
		if got, err := attest.Appraise(collection, in, attesttest.At); err != nil || got.Simulated || len(got.Relaxed) != 0 {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := a.ActivateCredential(t.Context(), nil, nil); verdict.CodeOf(err) != verdict.EvidenceKind {
			t.Errorf("activation: got %v, want %s", err, verdict.EvidenceKind)
		}
	}
}

// TestSNPCertificates: the certificate comes from the host's table, else from the
// folder, and without one a relying party cannot decide.
func TestSNPCertificates(t *testing.T) {
	k, config, in := snpMachine(t)
	withTable := k.report
	var vcek []byte
	k.report = func(inblob [64]byte) ([]byte, []byte, error) {
		out, aux, err := withTable(inblob)
		table, tableErr := attest.ParseSNPCertTable(aux)
		if tableErr != nil {
			t.Error(tableErr)
		}
		vcek = table.VCEK
		return out, nil, err // a host without certificates
	}
	a, collection, statement := evidence(t, config, in.MyNonce)
	if _, err := attest.Appraise(collection, in, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMissing {
		t.Errorf("without a VCEK: got %v, want %s", err, verdict.EndorsementMissing)
	}
	if err := os.WriteFile(filepath.Join(config.Endorsements, "amd-vcek.der"), vcek, 0o600); err != nil {
		t.Fatal(err)
	}
	raw := attesttest.Encode(t, statement)
	collection, err := a.Evidence(t.Context(), raw, in.MyNonce[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Appraise(collection, in, attesttest.At); err != nil {
		t.Errorf("with one in the folder: %v", err)
	}
	// The host moved on, or keeps what is no certificate: that in the folder is good.
	stranger := attesttest.NewSNP(t, attest.SNP, nil, in.MyNonce)
	_, leaf := stranger.Chain(t)
	for _, der := range [][]byte{leaf.Raw, []byte("x")} {
		k.report = func(inblob [64]byte) ([]byte, []byte, error) {
			out, _, err := withTable(inblob)
			return out, attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: der}), err
		}
		if collection, err = a.Evidence(t.Context(), raw, in.MyNonce[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := attest.Appraise(collection, in, attesttest.At); err != nil {
			t.Errorf("with one in the folder, and one of another key at the host: %v", err)
		}
	}
	k.report = func(inblob [64]byte) ([]byte, []byte, error) {
		out, _, err := withTable(inblob)
		return out, []byte("no table"), err
	}
	if _, err := a.Evidence(t.Context(), raw, in.MyNonce[:]); !isFailure(err) {
		t.Errorf("with a broken table: got %v, want a failure", err)
	}
}

// TestPrivilegeLevel: the report is asked for at the lowest level that the kernel
// permits.
func TestPrivilegeLevel(t *testing.T) {
	k, config, in := snpMachine(t)
	k.floor = "2"
	report, level := k.report, ""
	k.report = func(inblob [64]byte) ([]byte, []byte, error) {
		level = k.levels()
		return report(inblob)
	}
	evidence(t, config, in.MyNonce)
	if level != "2" {
		t.Errorf("got level %q, want 2", level)
	}
}

// TestCollateralIsReadAgain: what is put into the folder counts from the next piece of
// evidence on.
func TestCollateralIsReadAgain(t *testing.T) {
	_, config, in := tdxMachine(t)
	path := filepath.Join(config.Endorsements, "tdx-tcb-info.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	a, collection, statement := evidence(t, config, in.MyNonce)
	if _, err := attest.Appraise(collection, in, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMissing || verdict.Refused(err) {
		t.Errorf("without TCB info: got %v, want that nothing could be decided", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if collection, err = a.Evidence(t.Context(), attesttest.Encode(t, statement), in.MyNonce[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Appraise(collection, in, attesttest.At); err != nil {
		t.Errorf("with it: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, 256<<10+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Evidence(t.Context(), nil, nil); !isFailure(err) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file that is too large: got %v, want a failure", err)
	}
}

// TestOpenGuestFails: what is not there is told, and nothing else is taken in its
// place.
func TestOpenGuestFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*fakeKernel, *enclave.Config)
		text   string
		misuse bool
	}{
		{"no provider", func(k *fakeKernel, _ *enclave.Config) { k.provider = "" }, "no provider of reports", false},
		{"no configfs", func(k *fakeKernel, _ *enclave.Config) {
			if err := os.RemoveAll(k.path(tsmFolder)); err != nil {
				k.t.Fatal(err)
			}
		}, "mount configfs", false},
		{"a guest of another kind", func(k *fakeKernel, c *enclave.Config) { c.Kind = enclave.KindSNP }, "this is a guest of kind tdx", false},
		{"an unknown provider", func(k *fakeKernel, c *enclave.Config) { k.provider, c.Kind = "arm_cca_guest", enclave.KindAuto }, `"arm_cca_guest"`, false},
		{"no registers", func(k *fakeKernel, _ *enclave.Config) {
			if err := os.Remove(k.path(rtmrFile)); err != nil {
				k.t.Fatal(err)
			}
		}, "Linux 6.16", false},
		{"a short register", func(k *fakeKernel, _ *enclave.Config) { k.put(rtmrFile, make([]byte, 32)) }, "has 32 bytes", false},
		{"a long register", func(k *fakeKernel, _ *enclave.Config) { k.put(rtmrFile, make([]byte, 64)) }, "more than 48 bytes", false},
		{"a register that somebody extended", func(k *fakeKernel, _ *enclave.Config) { k.put(rtmrFile, slices.Repeat([]byte{1}, 48)) }, "do not explain", false},
		{"no state folder", func(_ *fakeKernel, c *enclave.Config) { c.StateDir = "" }, "no state folder", true},
		{"endorsements that are not there", func(_ *fakeKernel, c *enclave.Config) { c.Endorsements = filepath.Join(c.StateDir, "absent") }, "opening endorsements", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, config, _ := tdxMachine(t)
			test.change(k, &config)
			a, err := enclave.Open(t.Context(), config)
			if a != nil || err == nil || isMisuse(err) != test.misuse || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want one with %q, misuse %t", err, test.text, test.misuse)
			}
			if want := test.name == "a register that somebody extended"; want != (verdict.CodeOf(err) == verdict.GuestRegister) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestReportFails: a kernel or host that answers something else is a failure, in time,
// and whatever happened before, the next request is answered.
func TestReportFails(t *testing.T) {
	times := func(n int, name string, err error) func(*fakeKernel, string) error {
		return func(_ *fakeKernel, file string) error {
			if file == name && n > 0 {
				n--
				return err
			}
			return nil
		}
	}
	meddling := func(n int) func(*fakeKernel, string) error {
		return func(k *fakeKernel, file string) error {
			if file == "outblob" && n > 0 {
				n--
				k.meddle()
			}
			return nil
		}
	}
	for _, test := range []struct {
		name   string
		change func(*fakeKernel)
		giveUp bool   // the caller, once the kernel was busy twice
		text   string // of the failure, "" for none
	}{
		{name: "another program wrote once", change: func(k *fakeKernel) { k.onRead = meddling(1) }},
		{name: "another program always writes", change: func(k *fakeKernel) { k.onRead = meddling(1 << 20) }, text: "another program wrote"},
		{name: "a write that was dropped once", change: func(k *fakeKernel) { k.onWrite = times(1, "inblob", errDropped) }, text: "invalid argument"},
		{name: "busy for a while", change: func(k *fakeKernel) { k.onRead = times(3, "outblob", syscall.EBUSY) }},
		{name: "interrupted", change: func(k *fakeKernel) { k.onRead = times(1, "outblob", syscall.EINTR) }},
		{name: "busy for ever", change: func(k *fakeKernel) { k.onRead = times(1<<20, "outblob", syscall.EBUSY) }, giveUp: true, text: "has not answered"},
		{name: "a report that is too large for the kernel", change: func(k *fakeKernel) { k.onRead = times(1, "outblob", syscall.EFBIG) }, text: "file too large"},
		{name: "a report that is too large for us", change: func(k *fakeKernel) {
			k.report = func([64]byte) ([]byte, []byte, error) { return make([]byte, 64<<10+1), nil, nil }
		}, text: "more than"},
		{name: "no report", change: func(k *fakeKernel) {
			k.report = func([64]byte) ([]byte, []byte, error) { return []byte{}, nil, nil }
		}, text: "what the kernel gave"},
		{name: "the quote of another request", change: func(k *fakeKernel) {
			report := k.report
			k.report = func(inblob [64]byte) ([]byte, []byte, error) { inblob[0] ^= 1; return report(inblob) }
		}, text: "another request"},
		{name: "a write that is refused", change: func(k *fakeKernel) { k.onWrite = times(1, "inblob", syscall.EACCES) }, text: "permission denied"},
		{name: "a generation that is no number", change: func(k *fakeKernel) {
			k.onRead = func(k *fakeKernel, name string) error {
				for path := range k.entries {
					k.put(path+"/generation", []byte("x"))
				}
				return nil
			}
		}, text: `is "x"`},
		{name: "another provider meanwhile", change: func(k *fakeKernel) { k.provider = "sev_guest" }, text: `is "sev_guest"`},
		{name: "an unreadable auxblob", change: func(k *fakeKernel) { k.onRead = times(1, "auxblob", syscall.EIO) }, text: "input/output error"},
		{name: "an unreadable floor", change: func(k *fakeKernel) { k.onRead = times(1, "privlevel_floor", syscall.EIO) }, text: "input/output error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, config, in := tdxMachine(t)
			a := open(t, config)
			statement := attesttest.Statement(t)
			if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
				t.Fatal(err)
			}
			raw := attesttest.Encode(t, statement)
			good := [2]any{k.provider, k.report}
			test.change(k)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.giveUp {
				busy, reads := k.onRead, 0
				k.onRead = func(k *fakeKernel, name string) error {
					if name == "outblob" {
						if reads++; reads == 2 {
							cancel()
						}
					}
					return busy(k, name)
				}
			}
			_, err := a.Evidence(ctx, raw, in.MyNonce[:])
			if test.text == "" && err != nil || test.text != "" && (!isFailure(err) || !strings.Contains(err.Error(), test.text)) {
				t.Errorf("got %v, want a failure with %q", err, test.text)
			}
			k.mu.Lock()
			k.onRead, k.onWrite = nil, nil
			k.provider, k.report = good[0].(string), good[1].(func([64]byte) ([]byte, []byte, error))
			k.mu.Unlock()
			collection, err := a.Evidence(t.Context(), raw, in.MyNonce[:])
			if err != nil {
				t.Fatalf("the next request: %v", err)
			}
			if _, err := attest.Appraise(collection, in, attesttest.At); err != nil {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

// TestSNPReportFails: the same for what is particular to SEV-SNP.
func TestSNPReportFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*fakeKernel, *enclave.Config)
		text   string
	}{
		{"no report", func(k *fakeKernel, _ *enclave.Config) {
			k.report = func([64]byte) ([]byte, []byte, error) { return []byte("x"), nil, nil }
		}, "what the kernel gave"},
		{"the report of another request", func(k *fakeKernel, _ *enclave.Config) {
			report := k.report
			k.report = func(inblob [64]byte) ([]byte, []byte, error) { inblob[0] ^= 1; return report(inblob) }
		}, "another request"},
		{"a level that is refused", func(k *fakeKernel, _ *enclave.Config) {
			k.onWrite = func(_ *fakeKernel, name string) error {
				if name == "privlevel" {
					return syscall.EINVAL
				}
				return nil
			}
		}, "invalid argument"},
		{"an unreadable folder", func(_ *fakeKernel, c *enclave.Config) {
			if err := os.Mkdir(filepath.Join(c.Endorsements, "amd-vlek.der"), 0o700); err != nil {
				panic(err)
			}
		}, "not a regular file"},
		{"a pipe that nobody writes to", func(_ *fakeKernel, c *enclave.Config) {
			if err := syscall.Mkfifo(filepath.Join(c.Endorsements, "amd-vlek.der"), 0o600); err != nil {
				panic(err)
			}
		}, "not a regular file"},
	} {
		k, config, _ := snpMachine(t)
		a := open(t, config)
		test.change(k, &config)
		if _, err := a.Evidence(t.Context(), []byte("{}"), nil); !isFailure(err) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want a failure with %q", test.name, err, test.text)
		}
	}
}

// TestKernelHangs: a caller who waits for a kernel that hangs gives up in time, the
// next one waits for its turn, and both are failures.
func TestKernelHangs(t *testing.T) {
	k, config, in := tdxMachine(t)
	a := open(t, config)
	statement := attesttest.Statement(t)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	raw := attesttest.Encode(t, statement)
	release := make(chan struct{})
	report := k.report
	ended, cancel := context.WithCancel(t.Context())
	defer cancel()
	k.report = func(inblob [64]byte) ([]byte, []byte, error) { cancel(); <-release; return report(inblob) }
	if _, err := a.Evidence(ended, raw, in.MyNonce[:]); !isFailure(err) || !strings.Contains(err.Error(), "has not answered") {
		t.Errorf("got %v, want a failure that says that the kernel has not answered", err)
	}
	short, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if _, err := a.Evidence(short, raw, in.MyNonce[:]); !isFailure(err) || !strings.Contains(err.Error(), "waiting for an earlier call") {
		t.Errorf("got %v, want a failure that says what it waited for", err)
	}
	if _, err := a.Evidence(ended, raw, in.MyNonce[:]); !isFailure(err) {
		t.Errorf("a caller who gave up: got %v, want a failure", err)
	}
	close(release)
	deadline := time.Now().Add(10 * time.Second)
	for {
		collection, err := a.Evidence(t.Context(), raw, in.MyNonce[:])
		if err == nil {
			if _, err := attest.Appraise(collection, in, attesttest.At); err != nil {
				t.Error(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the kernel answers again: got %v", err)
		}
	}
}

// TestTDXRestart: RTMR3 lives as long as the machine, and a daemon that starts again
// goes on with its list.
func TestTDXRestart(t *testing.T) {
	k, config, in := tdxMachine(t)
	statement := attesttest.Statement(t)
	start := func() enclave.Attester {
		t.Helper()
		a, err := enclave.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	accept := func(a enclave.Attester, events int) {
		t.Helper()
		collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), in.MyNonce[:])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := attest.Appraise(collection, in, attesttest.At); err != nil || len(got.Events) != events {
			t.Errorf("got %d events, %v, want %d", len(got.Events), err, events)
		}
	}
	a := start()
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	closeAttester(t, a)
	a = start()
	accept(a, 1)

	// Between the event and its extend the daemon dies: the list on disk has two, the
	// register one.
	k.mu.Lock()
	k.onWrite = func(_ *fakeKernel, name string) error {
		if name == filepath.Base(rtmrFile) {
			return syscall.EIO
		}
		return nil
	}
	k.mu.Unlock()
	statement.Head.Counter++
	if err := a.Extend(t.Context(), attesttest.Event(statement)); !isFailure(err) {
		t.Errorf("a register that cannot be extended: got %v, want a failure", err)
	}
	if _, err := a.Evidence(t.Context(), nil, nil); !isFailure(err) {
		t.Errorf("after that: got %v, want a failure", err)
	}
	closeAttester(t, a)
	k.onWrite = nil
	a = start()
	accept(a, 2)

	// An extend that had another effect.
	k.mu.Lock()
	k.onWrite = func(k *fakeKernel, name string) error {
		if name == filepath.Base(rtmrFile) {
			k.put(rtmrFile, slices.Repeat([]byte{7}, 48))
			return errDropped
		}
		return nil
	}
	k.mu.Unlock()
	if err := a.Extend(t.Context(), attesttest.Event(statement)); !isFailure(err) || !strings.Contains(err.Error(), "after the extend") {
		t.Errorf("a register of another value: got %v, want a failure", err)
	}
	closeAttester(t, a)
	k.onWrite = nil
	if _, err := enclave.Open(t.Context(), config); verdict.CodeOf(err) != verdict.GuestRegister {
		t.Errorf("a register that the list does not explain: got %v, want %s", err, verdict.GuestRegister)
	}
	// The machine starts anew.
	k.put(rtmrFile, make([]byte, 48))
	a = start()
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	accept(a, 1)
	closeAttester(t, a)
}

// TestKernelFiles: files are written whole and made by nobody.
func TestKernelFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := enclave.WriteKernel(path, []byte("x")); !os.IsNotExist(err) {
		t.Errorf("writing what is not there: got %v", err)
	}
	if _, err := enclave.ReadKernel(path, 1); !os.IsNotExist(err) {
		t.Errorf("reading what is not there: got %v", err)
	}
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := enclave.WriteKernel(path, []byte("xyz")); err != nil {
		t.Fatal(err)
	}
	if data, err := enclave.ReadKernel(path, 3); err != nil || string(data) != "xyz" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := enclave.ReadKernel(path, 2); err == nil {
		t.Error("got three bytes of two")
	}
}

// TestThisMachine: on a machine that is no confidential VM the failure says so.
func TestThisMachine(t *testing.T) {
	for _, path := range []string{tsmFolder, sevGuestDevice, tdxGuestDevice} {
		if _, err := os.Stat(path); err == nil {
			t.Skipf("this machine has %s", path)
		}
	}
	_, err := enclave.Open(t.Context(), enclave.Config{Kind: enclave.KindAuto, StateDir: t.TempDir()})
	if !isFailure(err) || !strings.Contains(err.Error(), "configfs") {
		t.Errorf("got %v, want a failure", err)
	}
}
