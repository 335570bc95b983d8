// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/enclave/simtdx"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// TestSimulatedTD: a daemon in a simulated TD records each head in RTMR3, and who pins
// the simulator and names this program accepts its statement.
func TestSimulatedTD(t *testing.T) {
	slow(t)
	dir := t.TempDir()
	root, err := simtdx.InitCA(dir)
	must(t, err)
	executable, err := os.Executable()
	must(t, err)
	f, err := os.Open(executable)
	must(t, err)
	measured, err := attest.MeasureTDXSimulator(f)
	must(t, err)
	must(t, f.Close())

	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	text := strings.Replace(w.configText(""), "tee: {kind: sim-snp, dir: "+w.simulator+"}", "tee: {kind: sim-tdx, dir: "+dir+"}", 1)
	c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
	must(t, err)
	r := w.startConfig(c)
	node := r.as("node/dev/node-a")
	if !waitHealthy(t, r, true) {
		t.Fatal("got not ready")
	}
	entry := verdict.ReferenceEntry{Name: "test", Kind: verdict.KindSimulatedTDX, Profile: verdict.Development, Configs: []verdict.Digest{c.Digest()},
		Flavours: verdict.Flavours, NotBefore: time.Now().Add(-time.Hour).Unix(), NotAfter: time.Now().Add(time.Hour).Unix()}
	measured.Entry(&entry)
	accept := func(events int, head uint64) {
		t.Helper()
		mine := nonce(verdict.NonceSize)
		answer, err := node.GetStatement(t.Context(), &assayv1.GetStatementRequest{Nonce: mine})
		must(t, err)
		got, err := attest.Appraise(answer.GetCollection(), attest.Input{
			MyNonce:    [verdict.NonceSize]byte(mine),
			References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{entry}, Floors: verdict.Floors{TDX: &verdict.TDXFloor{Evaluation: simtdx.Evaluation}}},
			Trust:      attest.Trust{Kinds: []attest.Kind{attest.SimulatedTDX}, SimulatorRoots: []verdict.Digest{root}, AllowDevelopment: true},
		}, time.Now())
		must(t, err)
		if len(got.Events) != events || got.Statement.Head.Counter != head || !got.Simulated {
			t.Errorf("got %d events, head %d, simulated %t, want %d and %d", len(got.Events), got.Statement.Head.Counter, got.Simulated, events, head)
		}
	}
	accept(1, 1)
	_, err = put(node, w.head(headSpec{counter: 2}))
	must(t, err)
	accept(2, 2)
}
