// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/cmd/assay/internal/devdir"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// recording is what evidence record says in JSON.
type recording struct {
	Folder, Kind, Format, Expect, ErrorKind, Daemon string
	Files                                           []string
}

// wantRecorded records, appraises what was recorded, and wants both to give a code.
func wantRecorded(t *testing.T, kind string, code verdict.Code, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "recorded-1")
	o := must(t, append([]string{"evidence", "record", dir, "-o", "json"}, args...)...)
	var r recording
	if err := json.Unmarshal(parseDocument(t, o).Value, &r); err != nil {
		t.Fatal(err)
	}
	expect, result := "accept", "accept"
	if code != "" {
		expect, result = "reject", "reject"
	}
	if i, ok := code.Info(); ok && i.Kind == verdict.KindFailure {
		result = "undecided"
	}
	if r.Folder != dir || r.Kind != kind || r.Expect != expect || r.ErrorKind != string(code) || len(r.Files) < 8 {
		t.Errorf("recorded %+v, want kind %s, %s %q", r, kind, expect, code)
	}
	o = assay(t, "evidence", "appraise", dir, "-o", "json")
	var found struct {
		Name, Kind string
		Expected   *bool
		Simulated  bool
	}
	d := parseDocument(t, o)
	if err := json.Unmarshal(d.Value, &found); err != nil {
		t.Fatal(err)
	}
	if d.Result != result || d.Code != code || found.Expected == nil || !*found.Expected || found.Name != "recorded-1" || found.Kind != kind || found.Simulated != (strings.HasPrefix(kind, "sim-") && code == "") {
		t.Errorf("appraised: %s", o)
	}
	// It is not overwritten, and none but its files are in it.
	if o := assay(t, append([]string{"evidence", "record", dir}, args...)...); o.status != 2 || !strings.Contains(o.stderr, "is there already") {
		t.Errorf("recorded twice: %s", o)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(r.Files) {
		t.Errorf("got %d entries, %v, want %d", len(entries), err, len(r.Files))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: got %v, %v, want mode 0644", e.Name(), info, err)
		}
	}
	return dir
}

// trustedAs writes a trust.yaml that is another's but for one thing, and its own state.
func trustedAs(t *testing.T, path string, change func(string) string) string {
	t.Helper()
	was := string(read(t, path))
	at := strings.Index(was, "state-dir: ")
	from, _, _ := strings.Cut(was[at:], "\n")
	out := filepath.Join(t.TempDir(), "trust.yaml")
	now := strings.Replace(was, from, "state-dir: "+filepath.Join(filepath.Dir(out), "state"), 1)
	changed := change(now)
	write(t, out, []byte(changed))
	return out
}

// TestRecordSimulator: a live daemon, its published evidence and what a node kept, as
// folders that give again what they gave.
func TestRecordSimulator(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	dir, addr, other := filepath.Join(base, "dev"), freeAddress(t), freeAddress(t)
	must(t, "dev", "init", dir, "--assayd", self, "--listen", addr)
	serveSVIDs(t, dir)
	config := filepath.Join(dir, devdir.ConfigFile)
	serveDaemon(t, config)
	changed := strings.NewReplacer(addr, other, filepath.Join(dir, "state", "assayd"), filepath.Join(dir, "state", "other")).Replace(string(read(t, config)))
	write(t, filepath.Join(dir, "other.yaml"), []byte(changed))
	serveDaemon(t, filepath.Join(dir, "other.yaml"))
	ci := filepath.Join(dir, "ci", devdir.TrustFile)
	witnessed := trustedAs(t, ci, func(s string) string { return strings.Replace(s, "allow-unwitnessed: true\n", "", 1) })
	stranger := trustedAs(t, ci, func(s string) string {
		return strings.Replace(s, "- sha256:", "- sha256:"+strings.Repeat("0", 64)+" #", 1)
	})

	recorded := wantRecorded(t, verdict.KindSimulatedSNP, "", "--server", addr, "--trust", ci)
	text := must(t, "evidence", "appraise", recorded).stdout
	for _, want := range []string{"recorded-1: accept\n  under the trust.yaml and head that the folder brings along\n  by a simulator, which proves nothing about hardware\n", "  Milan, signed by a VCEK, chip "} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
	t.Run("ByHand", func(t *testing.T) { checkByHandSNP(t, recorded) })
	wantRecorded(t, verdict.KindSimulatedSNP, verdict.IssuerConfig, "--server", other, "--trust", ci)
	wantRecorded(t, verdict.KindSimulatedSNP, verdict.IssuerUnwitnessed, "--server", addr, "--trust", witnessed)
	wantRecorded(t, verdict.KindSimulatedSNP, verdict.EndorsementUntrusted, "--server", addr, "--trust", stranger)

	// Published evidence, as an auditor has it.
	collection, head := filepath.Join(base, "collection.cmw"), filepath.Join(dir, "head.json")
	must(t, "log", "get", filepath.Join(dir, "state", "assayd", "log"), "0", "--out", collection)
	file := []string{"--statement", collection, "--head", head, "--trust", ci}
	wantRecorded(t, verdict.KindSimulatedSNP, "", file...)
	wantRecorded(t, verdict.KindSimulatedSNP, verdict.EvidenceNonce, append(file, "--nonce", strings.Repeat("ab", 32))...)
	wantRecorded(t, verdict.KindSimulatedSNP, verdict.IssuerExpired, append(file, "--at", time.Now().Add(48*time.Hour).UTC().Format(time.RFC3339))...)

	// What a node refused in the field.
	node := trustedAs(t, filepath.Join(dir, "node-a", devdir.TrustFile), func(s string) string { return strings.Replace(s, addr, other, 1) })
	runScripts(t, []script{
		{name: "a node that refused nothing", args: []string{"evidence", "record", "$DIR/r", "--node", "refused", "--trust", node}, status: 2, stderr: []string{"there is no appraisal that was refused"}},
		{name: "a node's other", args: []string{"evidence", "record", "$DIR/r", "--node", "last", "--trust", node}, status: 2, stderr: []string{`flag --node is "last"`}},
		{name: "of nobody", args: []string{"evidence", "record", "$DIR/r", "--trust", ci}, status: 2, stderr: []string{"want exactly one of"}},
		{name: "of two", args: []string{"evidence", "record", "$DIR/r", "--trust", ci, "--server", addr, "--node", "refused"}, status: 2, stderr: []string{"want exactly one of"}},
		{name: "a time of a daemon's", args: []string{"evidence", "record", "$DIR/r", "--trust", ci, "--server", addr, "--at", "2020-01-01T00:00:00Z"}, status: 2, stderr: []string{"are for --statement"}},
		{name: "no trust", args: []string{"evidence", "record", "$DIR/r", "--server", addr}, status: 2, stderr: []string{"--trust names no file"}},
		{name: "no head", args: []string{"evidence", "record", "$DIR/r", "--statement", collection, "--trust", ci}, status: 2, stderr: []string{"--head"}},
		{name: "a file", setup: func(t *testing.T, base string) { t.Helper(); write(t, filepath.Join(base, "r"), nil) }, args: []string{"evidence", "record", "$DIR/r", "--server", addr, "--trust", ci}, status: 2, stderr: []string{"is there already"}},
		{name: "nowhere", args: append([]string{"evidence", "record", "$DIR/no/r"}, file...), status: 2, stderr: []string{"no such file"}},
		{name: "nobody there", args: []string{"evidence", "record", "$DIR/r", "--server", freeAddress(t), "--trust", ci}, status: 3, code: verdict.DaemonUnreachable},
	})
	keepNode(t, node, "code="+string(verdict.IssuerConfig))
	refused := wantRecorded(t, verdict.KindSimulatedSNP, verdict.IssuerConfig, "--node", "refused", "--trust", node)
	if why := string(read(t, filepath.Join(refused, "case.json"))); !strings.Contains(why, "node-a did not accept: appraising: config") {
		t.Errorf("it does not say why: %s", why)
	}
	node = trustedAs(t, filepath.Join(dir, "node-b", devdir.TrustFile), func(s string) string { return s })
	keepNode(t, node, `msg="daemon is accepted"`)
	wantRecorded(t, verdict.KindSimulatedSNP, "", "--node", "accepted", "--trust", node)
}

// TestRecordSimulatedTDX does so with a TD that is simulated.
func TestRecordSimulatedTDX(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := filepath.Join(t.TempDir(), "dev"), freeAddress(t)
	must(t, "dev", "init", dir, "--assayd", self, "--listen", addr, "--tee", "sim-tdx")
	serveSVIDs(t, dir)
	serveDaemon(t, filepath.Join(dir, devdir.ConfigFile))
	ci := filepath.Join(dir, "ci", devdir.TrustFile)
	recorded := wantRecorded(t, verdict.KindSimulatedTDX, "", "--server", addr, "--trust", ci)
	if of := string(read(t, filepath.Join(recorded, "case.json"))); !strings.Contains(of, `"issuer_chain": "tcb-info-chain.pem"`) || !strings.Contains(of, `"format": "tdx-quote"`) {
		t.Errorf("got %s", of)
	}
	stranger := trustedAs(t, ci, func(s string) string {
		return strings.Replace(s, "- sha256:", "- sha256:"+strings.Repeat("0", 64)+" #", 1)
	})
	wantRecorded(t, verdict.KindSimulatedTDX, verdict.EndorsementUntrusted, "--server", addr, "--trust", stranger)
}

// keepNode runs the agent of a node until its log has a text.
func keepNode(t *testing.T, path, text string) {
	t.Helper()
	c, err := trust.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "an") // unix sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short) //nolint:errcheck // it is a temporary folder
	c.Socket = filepath.Join(short, "agent.sock")
	found := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(seen{text, found}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() { ended <- agent.Run(ctx, c, log) }()
	select {
	case <-found:
	case err := <-ended:
		t.Errorf("the agent ended: %v", err)
		ended <- err
	case <-t.Context().Done():
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// seen tells when a line has a text.
type seen struct {
	text  string
	found chan struct{}
}

func (s seen) Write(line []byte) (int, error) {
	if strings.Contains(string(line), s.text) {
		select {
		case s.found <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

// TestRecordTPM does so with a TPM that is a real process, whose attestation key is
// proven while it is asked.
func TestRecordTPM(t *testing.T) {
	swtpm.Require(t)
	short, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	tpm, err := swtpm.Start(t.Context(), short)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tpm.Kill() })
	authorities, err := tpm.AuthoritiesPEM()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	write(t, filepath.Join(base, "ek-ca.pem"), authorities)
	dir, addr := filepath.Join(base, "dev"), freeAddress(t)
	must(t, "dev", "init", dir, "--assayd", self, "--listen", addr, "--tee", "tpm", "--tpm", tpm.Socket, "--ek-ca", filepath.Join(base, "ek-ca.pem"))
	// As whoever starts the daemon does.
	if _, err := enclave.MeasureInto(t.Context(), tpm.Socket, enclave.MeasuredRegister, self); err != nil {
		t.Fatal(err)
	}
	serveSVIDs(t, dir)
	serveDaemon(t, filepath.Join(dir, devdir.ConfigFile))
	ci := filepath.Join(dir, "ci", devdir.TrustFile)
	// Another authority of TPMs, and one that demands a witness.
	c, err := trust.Load(ci)
	if err != nil {
		t.Fatal(err)
	}
	other := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1)).CA(t)
	c.TEE.EKCAs = []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Raw}))}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(base, "stranger.yaml")
	write(t, stranger, data)
	witnessed := trustedAs(t, ci, func(s string) string { return strings.Replace(s, "allow-unwitnessed: true\n", "", 1) })
	recorded := wantRecorded(t, verdict.KindTPM, "", "--server", addr, "--trust", ci)
	var of struct {
		Format string
		Parts  map[string]string
	}
	if err := json.Unmarshal(read(t, filepath.Join(recorded, "case.json")), &of); err != nil || of.Format != "tpm-quote" || len(of.Parts) != 3 {
		t.Errorf("got %+v, %v", of, err)
	}
	t.Run("ByHand", func(t *testing.T) { checkByHandTPM(t, recorded) })
	wantRecorded(t, verdict.KindTPM, verdict.EndorsementUntrusted, "--server", addr, "--trust", stranger)
	wantRecorded(t, verdict.KindTPM, verdict.IssuerUnwitnessed, "--server", addr, "--trust", witnessed)
	// A byte of a PCR that the references pin.
	pcrs := string(read(t, filepath.Join(recorded, "pcrs.json")))
	at := strings.Index(pcrs, `"11": "`) + len(`"11": "`)
	write(t, filepath.Join(recorded, "pcrs.json"), []byte(pcrs[:at]+strings.Repeat("0", 64)+pcrs[at+64:]))
	if d := parseDocument(t, assay(t, "evidence", "appraise", recorded, "-o", "json")); d.Result != "reject" || d.Code != verdict.GuestRegister {
		t.Errorf("another PCR 11: got %s %s", d.Result, d.Code)
	}
}
