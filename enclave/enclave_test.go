// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/enclave/simsnp"
	"github.com/assayd/assay/verdict"
)

// now is a statement that is valid now.
func now(t testing.TB) verdict.Statement {
	t.Helper()
	s := attesttest.Statement(t)
	s.NotBefore, s.NotAfter = time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Hour).Unix()
	return s
}

// entry is a reference entry that is valid now.
func entry(kind string) verdict.ReferenceEntry {
	return verdict.ReferenceEntry{
		Name: "test", Kind: kind, Profile: verdict.Development, Events: "none",
		Configs: []verdict.Digest{attesttest.Digest("config")}, Flavours: verdict.Flavours,
		NotBefore: time.Now().Add(-time.Hour).Unix(), NotAfter: time.Now().Add(time.Hour).Unix(),
	}
}

func TestSimulator(t *testing.T) {
	dir := t.TempDir()
	root, err := simsnp.InitCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := simsnp.InitCA(dir); err == nil {
		t.Error("a second hierarchy took the place of the first")
	}
	config := enclave.Config{Kind: enclave.KindSimulatedSNP, SimulatorDir: dir}
	if _, err := enclave.Open(t.Context(), config); !isMisuse(err) {
		t.Errorf("without AllowSimulator: got %v, want a misuse", err)
	}
	config.AllowSimulator = true
	a := open(t, config)
	statement := now(t)
	raw, nonce := attesttest.Encode(t, statement), attesttest.Nonce(7)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	collection, err := a.Evidence(t.Context(), raw, nonce[:])
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(executable)
	if err != nil {
		t.Fatal(err)
	}
	e := entry(verdict.KindSimulatedSNP)
	e.Measurement, err = attest.MeasureSNPSimulator(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	in := attest.Input{
		MyNonce: nonce, References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{e}},
		Trust: attest.Trust{Kinds: []attest.Kind{attest.SimulatedSNP}, SimulatorRoots: []verdict.Digest{root}, AllowDevelopment: true},
	}
	got, err := attest.Appraise(collection, in, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !got.Simulated || got.Binding != attest.BindingSimulated || got.TCB != simsnp.TCB {
		t.Errorf("got simulated %t, binding %s, TCB %+v", got.Simulated, got.Binding, got.TCB)
	}
	in.Trust.SimulatorRoots = []verdict.Digest{attesttest.Digest("another simulator")}
	if _, err := attest.Appraise(collection, in, time.Now()); verdict.CodeOf(err) != verdict.EndorsementUntrusted {
		t.Errorf("another simulator: got %v, want %s", err, verdict.EndorsementUntrusted)
	}
	in.Trust = attest.Trust{Kinds: []attest.Kind{attest.SNP}, SNPRoots: attest.AMDRoots(), AllowNoFloor: true, SNP: attest.SNPTrust{AllowAnyChip: true}}
	if _, err := attest.Appraise(collection, in, time.Now()); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("a production node: got %v, want %s", err, verdict.EvidenceKind)
	}
	if _, err := a.ActivateCredential(t.Context(), nil, nil); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("activation: got %v, want %s", err, verdict.EvidenceKind)
	}
}

func isMisuse(err error) bool {
	_, ok := errors.AsType[*verdict.Misuse](err)
	return ok
}

func isFailure(err error) bool {
	_, ok := errors.AsType[*verdict.Failure](err)
	return ok
}

// open opens an attester that is closed with the test.
func open(t testing.TB, config enclave.Config) enclave.Attester {
	t.Helper()
	a, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAttester(t, a) })
	return a
}

func closeAttester(t testing.TB, a enclave.Attester) {
	t.Helper()
	if err := a.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// newTPM is the state of a TPM that was set up and never used, with its authority.
// Setting one up takes a second.
var newTPM = fstest.MapFS{}

// startTPM starts a software TPM that ends with the test.
func startTPM(t testing.TB) (*swtpm.TPM, enclave.Config) {
	t.Helper()
	swtpm.Require(t)
	dir := t.TempDir()
	if len(newTPM) > 0 {
		if err := os.CopyFS(dir, newTPM); err != nil {
			t.Fatal(err)
		}
	} else {
		if err := swtpm.SetUp(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		for _, pattern := range []string{"state/tpm2-00.permall", "ca/*.pem"} {
			names, err := fs.Glob(os.DirFS(dir), pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				newTPM[name] = &fstest.MapFile{Data: data, Mode: 0o600}
			}
		}
	}
	tpm, err := swtpm.Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tpm.Stop(); err != nil {
			t.Errorf("stopping swtpm: %v", err)
		}
	})
	return tpm, enclave.Config{Kind: enclave.KindSWTPM, TPM: tpm.Socket, StateDir: t.TempDir(), Timeout: 10 * time.Second}
}

// inputFor returns what accepts a TPM that has started this test's program.
func inputFor(t testing.TB, tpm *swtpm.TPM, pcr11 string, nonce [32]byte) attest.Input {
	t.Helper()
	authorities, err := tpm.Authorities()
	if err != nil {
		t.Fatal(err)
	}
	e := entry(verdict.KindTPM)
	e.Events, e.Registers = "pcr14", map[string]string{"pcr11": pcr11}
	return attest.Input{
		MyNonce: nonce, References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{e}},
		Trust: attest.Trust{Kinds: []attest.Kind{attest.TPM}, EKCAs: authorities, AllowDevelopment: true},
	}
}

// activate proves the attestation key, as a node does.
func activate(t testing.TB, a enclave.Attester, collection []byte) attest.KnownAK {
	t.Helper()
	challenge, err := attest.NewChallenge(collection)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := a.ActivateCredential(t.Context(), challenge.Credential, challenge.EncryptedSecret)
	if err != nil {
		t.Fatal(err)
	}
	known, err := challenge.Prove(answer)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// measured extends this test's program into PCR 11 and returns the value that the
// references compute from the file.
func measured(t testing.TB, tpm *swtpm.TPM) string {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	value, err := enclave.MeasureInto(t.Context(), tpm.Socket, enclave.MeasuredRegister, executable)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(executable)
	if err != nil {
		t.Fatal(err)
	}
	want, err := attest.MeasurePCR(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if value != want {
		t.Fatalf("PCR 11 is %s, want %s", value, want)
	}
	return want
}

// TestTPM runs the whole way over a software TPM: measured start, events, evidence,
// activation, appraisal, a second load, and a second start of the daemon.
func TestTPM(t *testing.T) {
	tpm, config := startTPM(t)
	pcr11 := measured(t, tpm)
	a, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if a.Kind() != verdict.KindTPM {
		t.Errorf("got kind %s, want %s", a.Kind(), verdict.KindTPM)
	}
	statement := now(t)
	raw, nonce := attesttest.Encode(t, statement), attesttest.Nonce(9)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	collection, err := a.Evidence(t.Context(), raw, nonce[:])
	if err != nil {
		t.Fatal(err)
	}
	in := inputFor(t, tpm, pcr11, nonce)
	if _, err := attest.Appraise(collection, in, time.Now()); verdict.CodeOf(err) != verdict.TPMAK {
		t.Errorf("before the activation: got %v, want %s", err, verdict.TPMAK)
	}
	in.Known = []attest.KnownAK{activate(t, a, collection)}
	got, err := attest.Appraise(collection, in, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got.Binding != attest.BindingCA || got.Measurement != pcr11 || len(got.Events) != 1 {
		t.Errorf("got binding %s, measurement %s, %d events", got.Binding, got.Measurement, len(got.Events))
	}
	in.Known = []attest.KnownAK{got.AK}

	// A challenge for the keys of another TPM does not open, and breaks nothing.
	other := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	challenge, err := attest.NewChallenge(other.Bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ActivateCredential(t.Context(), challenge.Credential, challenge.EncryptedSecret); verdict.CodeOf(err) != verdict.TPMAK {
		t.Errorf("another TPM's challenge: got %v, want %s", err, verdict.TPMAK)
	}
	if _, err := a.ActivateCredential(t.Context(), []byte("nonsense"), nil); err == nil {
		t.Error("a challenge of nonsense is answered")
	}

	// A new head is a second event; an older one is refused.
	statement.Head.Counter++
	statement.Seq++
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	raw = attesttest.Encode(t, statement)
	if collection, err = a.Evidence(t.Context(), raw, nonce[:]); err != nil {
		t.Fatal(err)
	}
	if got, err = attest.Appraise(collection, in, time.Now()); err != nil || len(got.Events) != 2 {
		t.Errorf("after a new head: %d events, %v", len(got.Events), err)
	}
	older := attesttest.Event(statement)
	older.Head--
	if err := a.Extend(t.Context(), older); verdict.CodeOf(err) != verdict.IssuerRollback {
		t.Errorf("an older head: got %v, want %s", err, verdict.IssuerRollback)
	}

	// The daemon starts again, the machine does not: the list goes on, and the
	// attestation key is the same.
	closeAttester(t, a)
	if _, err := a.Evidence(t.Context(), raw, nonce[:]); !isFailure(err) {
		t.Errorf("closed: got %v, want a failure", err)
	}
	a = open(t, config)
	statement.Boot = "ffffffffffffffffffffffffffffffff"
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	if collection, err = a.Evidence(t.Context(), attesttest.Encode(t, statement), nonce[:]); err != nil {
		t.Fatal(err)
	}
	if got, err = attest.Appraise(collection, in, time.Now()); err != nil || len(got.Events) != 3 {
		t.Errorf("after a second start: %d events, %v", len(got.Events), err)
	}
	// A list that hides the first start does not replay.
	c, err := attest.ParseCollection(collection)
	if err != nil {
		t.Fatal(err)
	}
	var short attest.EventList
	if short, err = short.Append(attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	c.Items[attest.LabelRegisters] = attest.Item{MediaType: attest.TypeRegisters, Value: short.Marshal()}
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Appraise(data, in, time.Now()); verdict.CodeOf(err) != verdict.GuestRegister {
		t.Errorf("a list without its start: got %v, want %s", err, verdict.GuestRegister)
	}
}

// TestTPMMachineRestart holds that a list is archived when its register is gone,
// and that a TPM whose state was set back is noticed.
func TestTPMMachineRestart(t *testing.T) {
	tpm, config := startTPM(t)
	statement, nonce := now(t), attesttest.Nonce(3)
	raw := attesttest.Encode(t, statement)
	runKnown := func(known []attest.KnownAK) (attest.Result, error) {
		pcr11 := measured(t, tpm)
		a, err := enclave.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer closeAttester(t, a)
		if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
			t.Fatal(err)
		}
		collection, err := a.Evidence(t.Context(), raw, nonce[:])
		if err != nil {
			t.Fatal(err)
		}
		in := inputFor(t, tpm, pcr11, nonce)
		// What is asked is whether the counters tell, not the clock.
		in.Trust.AllowUnsafeClock = known != nil
		if in.Known = known; known == nil {
			in.Known = []attest.KnownAK{activate(t, a, collection)}
		}
		return attest.Appraise(collection, in, time.Now())
	}
	run := func() (attest.Result, error) { return runKnown(nil) }
	first, err := run()
	if err != nil {
		t.Fatal(err)
	}
	// The state of the machine as it is now is what a host sets it back to. It is
	// copied while swtpm does not write to it.
	if err := errors.Join(tpm.Restart(t.Context()), tpm.Stop()); err != nil {
		t.Fatal(err)
	}
	state, snapshot := filepath.Join(tpm.Dir, "state"), filepath.Join(tpm.Dir, "snapshot")
	if err := os.CopyFS(snapshot, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	var known []attest.KnownAK
	for i := range 2 {
		if err := tpm.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := run()
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Events) != 1 {
			t.Errorf("got %d events after a restart of the machine, want 1", len(got.Events))
		}
		if got.AK.Resets <= first.AK.Resets || got.AK.AK != first.AK.AK {
			t.Errorf("got AK %+v after %+v, want the same with more resets", got.AK, first.AK)
		}
		if _, err := os.Stat(filepath.Join(config.StateDir, fmt.Sprintf("registers-%d.jsonl", i+1))); err != nil {
			t.Errorf("the old list was not archived: %v", err)
		}
		known = []attest.KnownAK{got.AK}
	}
	if err := tpm.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(state), os.CopyFS(state, os.DirFS(snapshot))); err != nil {
		t.Fatal(err)
	}
	if err := tpm.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := runKnown(known); verdict.CodeOf(err) != verdict.TPMReset {
		t.Errorf("state set back: got %+v, %v, want %s", got.AK, err, verdict.TPMReset)
	}
}

// TestTPMListLost holds that a register which the list does not explain stops the
// start.
func TestTPMListLost(t *testing.T) {
	_, config := startTPM(t)
	a, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	statement := now(t)
	for range 3 {
		if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
			t.Fatal(err)
		}
	}
	closeAttester(t, a)
	path := filepath.Join(config.StateDir, "registers.jsonl")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := len(good) / 3
	for name, change := range map[string][]byte{
		"two events too few": good[:line],
		"an event too few":   good[:2*line],
		"two too many":       append(append([]byte{}, good...), good[:2*line]...),
		"half of an event":   good[:len(good)-5],
		"empty":              {},
	} {
		if err := os.WriteFile(path, change, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := enclave.Open(t.Context(), config)
		if code := verdict.CodeOf(err); code != verdict.GuestRegister && code != verdict.EvidenceMalformed {
			t.Errorf("%s: got %v, want %s", name, err, verdict.GuestRegister)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err = enclave.Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	closeAttester(t, a)
}

// TestKillBetweenEventAndExtend kills a daemon 20 times after it has written an
// event and before it has extended it: no event is lost, and the next start goes
// on. The daemon is this test's program, started again.
func TestKillBetweenEventAndExtend(t *testing.T) {
	if socket := os.Getenv("ASSAY_TEST_KILLED_DAEMON"); socket != "" {
		killedDaemon(t, socket)
		return
	}
	tpm, config := startTPM(t)
	pcr11 := measured(t, tpm)
	const kills = 20
	// The first kill comes before the register has any event, and the others after
	// this one.
	kill := func(head int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillBetweenEventAndExtend$")
		cmd.Env = append(os.Environ(), "ASSAY_TEST_KILLED_DAEMON="+config.TPM, "ASSAY_TEST_STATE="+config.StateDir, fmt.Sprintf("ASSAY_TEST_HEAD=%d", head))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("kill at head %d: it was not killed: %v\n%s", head, err, out)
		}
	}
	kill(1)
	a, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	statement, nonce := now(t), attesttest.Nonce(4)
	statement.Head.Counter = 2
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	closeAttester(t, a)
	for i := range kills - 1 {
		kill(3 + i)
	}
	a = open(t, config)
	statement.Head.Counter = kills + 2
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), nonce[:])
	if err != nil {
		t.Fatal(err)
	}
	in := inputFor(t, tpm, pcr11, nonce)
	in.Known = []attest.KnownAK{activate(t, a, collection)}
	got, err := attest.Appraise(collection, in, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// The very first event was written before its register had any: it is in the
	// archive, and nothing was decided under it.
	archived, err := os.ReadFile(filepath.Join(config.StateDir, "registers-1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := attest.ParseEventList(archived)
	if err != nil {
		t.Fatal(err)
	}
	all := append(list.Events, got.Events...)
	if len(all) != kills+2 {
		t.Fatalf("got %d events, want %d", len(all), kills+2)
	}
	for i, e := range all {
		if e.Head != uint64(i+1) {
			t.Errorf("event %d is of head %d, want %d", i, e.Head, i+1)
		}
	}
}

// killedDaemon extends one event and is killed before the extend.
func killedDaemon(t *testing.T, socket string) {
	a, err := enclave.Open(t.Context(), enclave.Config{Kind: enclave.KindSWTPM, TPM: socket, StateDir: os.Getenv("ASSAY_TEST_STATE"), Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	event := attesttest.Event(now(t))
	if _, err := fmt.Sscan(os.Getenv("ASSAY_TEST_HEAD"), &event.Head); err != nil {
		t.Fatal(err)
	}
	enclave.BeforeExtend(func() {
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if err := self.Kill(); err != nil {
			t.Fatal(err)
		}
		select {}
	})
	t.Fatalf("extended, and not killed: %v", a.Extend(t.Context(), event))
}

// TestTPMDies holds that a TPM which dies, or hangs, makes evidence a failure and
// never a hang, and that nothing heals it in silence.
func TestTPMDies(t *testing.T) {
	tpm, config := startTPM(t)
	a, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	statement := now(t)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	if err := tpm.Kill(); err != nil {
		t.Fatal(err)
	}
	raw := attesttest.Encode(t, statement)
	for range 2 {
		if _, err := a.Evidence(t.Context(), raw, nil); !isFailure(err) {
			t.Errorf("evidence: got %v, want a failure", err)
		}
	}
	if err := a.Extend(t.Context(), attesttest.Event(statement)); !isFailure(err) {
		t.Errorf("extend: got %v, want a failure", err)
	}
	if _, err := a.ActivateCredential(t.Context(), []byte("x"), []byte("x")); !isFailure(err) {
		t.Errorf("activation: got %v, want a failure", err)
	}
	closeAttester(t, a)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		config enclave.Config
		misuse bool
	}{
		{"nothing", enclave.Config{}, true},
		{"unknown kind", enclave.Config{Kind: "sgx"}, true},
		{"simulator without a folder", enclave.Config{Kind: enclave.KindSimulatedSNP, AllowSimulator: true}, true},
		{"simulator with an empty folder", enclave.Config{Kind: enclave.KindSimulatedSNP, AllowSimulator: true, SimulatorDir: dir}, true},
		{"TPM without a path", enclave.Config{Kind: enclave.KindTPM, StateDir: dir}, true},
		{"TPM without a state folder", enclave.Config{Kind: enclave.KindTPM, TPM: file}, true},
		{"state folder that is not there", enclave.Config{Kind: enclave.KindTPM, TPM: file, StateDir: filepath.Join(dir, "none")}, true},
		{"TPM that is not there", enclave.Config{Kind: enclave.KindTPM, TPM: filepath.Join(dir, "none"), StateDir: dir}, false},
		{"TPM that is a file", enclave.Config{Kind: enclave.KindTPM, TPM: file, StateDir: dir}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := enclave.Open(t.Context(), test.config)
			if a != nil || isMisuse(err) != test.misuse || isFailure(err) == test.misuse {
				t.Errorf("got %v, want misuse %t", err, test.misuse)
			}
		})
	}
}

// TestMeasureIntoRefuses holds that registers which prove nothing are not measured
// into.
func TestMeasureIntoRefuses(t *testing.T) {
	for _, pcr := range []uint{attest.EventRegister, 16, 23, 24} {
		if _, err := enclave.MeasureInto(t.Context(), "none", pcr, os.Args[0]); !isMisuse(err) {
			t.Errorf("PCR %d: got %v, want a misuse", pcr, err)
		}
	}
	if _, err := enclave.MeasureInto(t.Context(), filepath.Join(t.TempDir(), "none"), 11, os.Args[0]); !isFailure(err) {
		t.Errorf("no TPM: got %v, want a failure", err)
	}
}

// TestEKCertificateOfAnother holds that the operator is told about a certificate
// for another TPM.
func TestEKCertificateOfAnother(t *testing.T) {
	_, config := startTPM(t)
	other := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	c := other.Collection(t).Items[attest.LabelEndorsements].Nested.Items[attest.LabelEKCertificate].Value
	if _, err := x509.ParseCertificate(c); err != nil {
		t.Fatal(err)
	}
	config.EKCertificate = filepath.Join(t.TempDir(), "ek.der")
	if err := os.WriteFile(config.EKCertificate, c, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := enclave.Open(t.Context(), config); !isMisuse(err) {
		t.Errorf("got %v, want a misuse", err)
	}
}
