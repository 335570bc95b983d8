// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/enclave/simtdx"
	"github.com/assayd/assay/verdict"
)

// simulatedTD makes a simulator, and what opens and accepts a TD of it that runs this
// test.
func simulatedTD(t *testing.T) (enclave.Config, attest.Input) {
	t.Helper()
	dir := t.TempDir()
	root, err := simtdx.InitCA(dir)
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
	measured, err := attest.MeasureTDXSimulator(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	e := entry(verdict.KindSimulatedTDX)
	measured.Entry(&e)
	return enclave.Config{Kind: enclave.KindSimulatedTDX, AllowSimulator: true, SimulatorDir: dir, StateDir: t.TempDir()}, attest.Input{
		MyNonce:    attesttest.Nonce(7),
		References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{e}, Floors: verdict.Floors{TDX: &verdict.TDXFloor{Evaluation: simtdx.Evaluation}}},
		Trust:      attest.Trust{Kinds: []attest.Kind{attest.SimulatedTDX}, SimulatorRoots: []verdict.Digest{root}, AllowDevelopment: true},
	}
}

func TestSimulatedTD(t *testing.T) {
	config, in := simulatedTD(t)
	if _, err := in.References.Encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := simtdx.InitCA(config.SimulatorDir); !isMisuse(err) {
		t.Errorf("a second hierarchy took the place of the first: %v", err)
	}
	for _, test := range []struct {
		name   string
		change func(*enclave.Config)
	}{
		{"not permitted", func(c *enclave.Config) { c.AllowSimulator = false }},
		{"no folder", func(c *enclave.Config) { c.SimulatorDir = "" }},
		{"an empty folder", func(c *enclave.Config) { c.SimulatorDir = t.TempDir() }},
		{"no state folder", func(c *enclave.Config) { c.StateDir = "" }},
		{"a state folder that is not there", func(c *enclave.Config) { c.StateDir = filepath.Join(t.TempDir(), "absent") }},
	} {
		bad := config
		test.change(&bad)
		if _, err := enclave.Open(t.Context(), bad); !isMisuse(err) {
			t.Errorf("%s: got %v, want a misuse", test.name, err)
		}
	}
	a := open(t, config)
	if a.Kind() != verdict.KindSimulatedTDX {
		t.Errorf("got kind %s", a.Kind())
	}
	statement := now(t)
	first := attesttest.Event(statement)
	first.Head--
	for _, event := range []verdict.RegisterEvent{first, attesttest.Event(statement)} {
		if err := a.Extend(t.Context(), event); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Extend(t.Context(), first); verdict.CodeOf(err) != verdict.IssuerRollback {
		t.Errorf("an older head: got %v, want %s", err, verdict.IssuerRollback)
	}
	raw := attesttest.Encode(t, statement)
	collection, err := a.Evidence(t.Context(), raw, in.MyNonce[:])
	if err != nil {
		t.Fatal(err)
	}
	got, err := attest.Appraise(collection, in, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !got.Simulated || got.Status != attest.TDXUpToDate || got.Evaluation != simtdx.Evaluation || len(got.Events) != 2 || len(got.Relaxed) != 0 {
		t.Errorf("got simulated %t, status %s of edition %d, events %v, relaxed %v", got.Simulated, got.Status, got.Evaluation, got.Events, got.Relaxed)
	}
	if _, err := a.ActivateCredential(t.Context(), nil, nil); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("activation: got %v, want %s", err, verdict.EvidenceKind)
	}

	other := in
	other.Trust.SimulatorRoots = []verdict.Digest{attesttest.Digest("another simulator")}
	if _, err := attest.Appraise(collection, other, time.Now()); verdict.CodeOf(err) != verdict.EndorsementUntrusted {
		t.Errorf("another simulator: got %v, want %s", err, verdict.EndorsementUntrusted)
	}
	other.Trust = attest.Trust{Kinds: []attest.Kind{attest.TDX}, TDX: attest.TDXTrust{Root: attest.IntelRoot(), AllowAnyPlatform: true}}
	if _, err := attest.Appraise(collection, other, time.Now()); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("a production node: got %v, want %s", err, verdict.EvidenceKind)
	}
	// Labelled as genuine, it is still not Intel's.
	c, err := attest.ParseCollection(collection)
	if err != nil {
		t.Fatal(err)
	}
	item := c.Items[attest.LabelEvidence]
	item.MediaType = attest.TypeTDXQuote
	c.Items[attest.LabelEvidence] = item
	forged, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Appraise(forged, other, time.Now()); verdict.CodeOf(err) != verdict.EndorsementUntrusted {
		t.Errorf("labelled as genuine: got %v, want %s", err, verdict.EndorsementUntrusted)
	}
}

// TestSimulatedTDStartsAnew: RTMR3 is at zeros after a start, and the list of the boot
// before goes to the archive.
func TestSimulatedTDStartsAnew(t *testing.T) {
	config, in := simulatedTD(t)
	statement := now(t)
	for range 2 {
		a, err := enclave.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
			t.Fatal(err)
		}
		collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), in.MyNonce[:])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := attest.Appraise(collection, in, time.Now()); err != nil || len(got.Events) != 1 {
			t.Errorf("got %d events, %v", len(got.Events), err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Evidence(t.Context(), nil, nil); !isFailure(err) {
			t.Errorf("after it was closed: got %v, want a failure", err)
		}
		if err := a.Extend(t.Context(), attesttest.Event(statement)); !isFailure(err) {
			t.Errorf("an event after it was closed: got %v, want a failure", err)
		}
	}
	if _, err := os.Stat(filepath.Join(config.StateDir, "registers-1.jsonl")); err != nil {
		t.Error(err)
	}
}

// TestSimulatedTDFolder: a folder whose files do not belong together is misuse.
func TestSimulatedTDFolder(t *testing.T) {
	config, _ := simulatedTD(t)
	other, _ := simulatedTD(t)
	for _, test := range []struct{ name, file, from, text string }{
		{"another authority's key", "platform-ca-key.pem", filepath.Join(other.SimulatorDir, "platform-ca-key.pem"), "is not the key of"},
		{"a key that is none", "platform-ca-key.pem", filepath.Join(config.SimulatorDir, "tcb-info.json"), "is not PEM"},
		{"a key that is a certificate", "platform-ca-key.pem", filepath.Join(config.SimulatorDir, "tcb-signing.pem"), "platform-ca-key.pem:"},
		{"an authority that is none", "platform-ca.der", filepath.Join(config.SimulatorDir, "tcb-info.json"), "platform-ca.der:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := config
			bad.SimulatorDir = t.TempDir()
			if err := os.CopyFS(bad.SimulatorDir, os.DirFS(config.SimulatorDir)); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(test.from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bad.SimulatorDir, test.file), data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := enclave.Open(t.Context(), bad); !isMisuse(err) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want a misuse with %q", err, test.text)
			}
		})
	}
	t.Run("a file that is too large", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(other.SimulatorDir, "tcb-info.json"), make([]byte, 64<<10+1), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := enclave.Open(t.Context(), other); !isMisuse(err) || !strings.Contains(err.Error(), "more than 65536 bytes") {
			t.Errorf("got %v, want a misuse", err)
		}
	})
}
