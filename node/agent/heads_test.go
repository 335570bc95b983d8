// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

func TestDenyDocumentTakesEffectAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	w.want(w.gate(image("b")), "")
	w.deny(verdict.DenyList{Images: []verdict.Digest{image("a")}})
	check(t, f.load(w.set(3), w.owners()))
	w.eventually("the denial", func() bool { return !w.gate(image("a")).Allowed() })
	w.want(w.gate(image("a")), verdict.TicketDenied)
	w.want(w.gate(image("b")), "")
	// It holds with everything down, and nobody takes it back by leaving it out.
	w.stop()
	w.want(w.gate(image("a")), verdict.TicketDenied)
}

// An owner names a signer: only a daemon knows who that touches, so every ticket from
// before is withheld until it is renewed.
func TestDeniedSigner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	w.want(w.gate(image("b")), "")
	f.with(func(f *fake) {
		f.change.decide = func(_ string, d verdict.Digest) (verdict.Outcome, verdict.Code, error) {
			if d == image("a") {
				return verdict.OutcomeFail, verdict.RevokedIdentity, nil
			}
			return verdict.OutcomePass, "", nil
		}
	})
	w.deny(verdict.DenyList{Identities: []verdict.DeniedIdentity{{SAN: "mallory@example.org"}}})
	check(t, f.load(w.set(3), w.owners()))
	w.eventually("the denial", func() bool { return verdict.CodeOf(w.gate(image("a")).Err) == verdict.RevokedIdentity })
	w.eventually("the renewed ticket", func() bool { return w.gate(image("b")).Allowed() })
}

func TestNewHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	check(t, f.load(w.set(4), w.owners()))
	w.logged("head loaded", "head=4")
	w.eventually("a ticket under head 4", func() bool { d := w.gate(image("a")); return d.Allowed() && d.Ticket.Head == 4 })
	w.stop()
	if d := w.gate(image("a")); !d.Allowed() || d.Ticket.Head != 4 {
		t.Errorf("from the folder: got %s", d.Line())
	}
}

// A head without the entry of a running daemon makes its statement dead at once.
func TestEntryGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	w.refs.Entries[0].Measurement = "ff" + w.refs.Entries[0].Measurement[2:]
	check(t, f.load(w.set(4), w.owners()))
	w.logged("statement is not accepted under the new head", "head=4")
	w.eventually("the denial", func() bool { return !w.gate(image("a")).Allowed() })
	w.logged("daemon is not usable", "code="+string(verdict.GuestMeasurement))
	w.stop()
	if d := w.gate(image("a")); d.Allowed() {
		t.Errorf("from the folder: got %s", d.Line())
	}
}

// The newer head reaches a daemon that is behind by the node, which has it from
// another daemon.
func TestHeadIsBroughtToADaemonThatIsBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	behind := w.daemon("behind")
	ahead := w.daemon("ahead")
	w.start()
	w.eventually("both daemons", func() bool { return w.accepted() == 2 })
	check(t, ahead.load(w.set(4), w.owners()))
	w.eventually("the head at the other daemon", func() bool {
		behind.mu.Lock()
		defer behind.mu.Unlock()
		return behind.head.Counter == 4 && behind.puts > 0
	})
	w.eventually("a pass under head 4", func() bool { d := w.gate(image("a")); return d.Allowed() && d.Ticket.Head == 4 })
}

// accepted counts the statements in the folder.
func (w *world) accepted() int {
	data, err := os.ReadFile(filepath.Join(w.config.StateDir, gate.IssuersFile))
	if err != nil {
		return 0
	}
	list, err := gate.ParseIssuers(data)
	check(w.t, err)
	return len(list.Issuers)
}

func TestOlderHead(t *testing.T) {
	t.Parallel()
	t.Run("by a daemon", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		f := w.prepare("assayd")
		check(t, f.load(w.set(5), w.owners()))
		f.start()
		w.config.Daemons = []string{f.address}
		w.start()
		w.want(w.gate(image("a")), "")
		w.stop()
		f.stop()
		// The host starts it anew with the disk of yesterday.
		again := w.prepare("assayd")
		check(t, again.load(w.set(3), w.owners()))
		again.change.statement = func(s *verdict.Statement) { s.Head.Counter = 3 } // and it takes no newer one
		again.start()
		w.config.Daemons = []string{again.address}
		w.start()
		w.logged("daemon is not usable", "code=")
		w.want(w.gate(image("new")), verdict.CodeOf(w.gate(image("new")).Err))
		if head := w.marks().Head.Counter; head != 5 {
			t.Errorf("got head %d in the marks, want 5", head)
		}
	})
	t.Run("by the disk", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		f := w.daemon("assayd")
		w.start()
		w.want(w.gate(image("a")), "")
		old, err := os.ReadFile(filepath.Join(w.config.StateDir, gate.HeadFile))
		check(t, err)
		check(t, f.load(w.set(4), w.owners()))
		w.logged("head loaded", "head=4")
		w.eventually("the marks", func() bool { return w.marks().Head.Counter == 4 })
		w.stop()
		f.stop()
		check(t, os.WriteFile(filepath.Join(w.config.StateDir, gate.HeadFile), old, 0o600))
		check(t, os.WriteFile(filepath.Join(w.config.StateDir, "head-full.json"), old, 0o600))
		w.want(w.gate(image("a")), verdict.HeadRollback)
		w.start()
		w.logged("head on disk is not accepted", "code="+string(verdict.HeadRollback))
		w.want(w.gate(image("a")), verdict.HeadRollback)
	})
	t.Run("mended after a crash between its two files", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		f := w.daemon("assayd")
		w.start()
		w.want(w.gate(image("a")), "")
		old, err := os.ReadFile(filepath.Join(w.config.StateDir, gate.HeadFile))
		check(t, err)
		check(t, f.load(w.set(4), w.owners()))
		w.eventually("the marks", func() bool { return w.marks().Head.Counter == 4 })
		w.stop()
		for _, left := range [][]byte{old, old[:20]} {
			check(t, os.WriteFile(filepath.Join(w.config.StateDir, gate.HeadFile), left, 0o600))
			w.start()
			w.eventually("the gate's head", func() bool {
				data, err := os.ReadFile(filepath.Join(w.config.StateDir, gate.HeadFile))
				return err == nil && len(data) >= len(old) && !bytes.Equal(data, left)
			})
			w.want(w.gate(image("a")), "")
			w.stop()
		}
	})
	t.Run("another under one counter", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.daemon("assayd")
		w.start()
		w.want(w.gate(image("a")), "")
		w.stop()
		// Owners, or who has their keys, sign a second head 3.
		w.grace = 17
		forked := w.prepare("forked")
		check(t, forked.load(w.set(3), w.owners()))
		forked.start()
		w.config.Daemons = []string{forked.address}
		w.start()
		w.logged("daemon is not usable", "code="+string(verdict.HeadConflict))
		if d := w.gate(image("b")); d.Allowed() {
			t.Errorf("got %s", d.Line())
		}
	})
}

func (w *world) marks() gate.Marks {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.config.StateDir, gate.MarksFile))
	check(w.t, err)
	m, err := gate.ParseMarks(data)
	check(w.t, err)
	return m
}

func TestBrokenMarksStopTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	w.stop()
	check(t, os.WriteFile(filepath.Join(w.config.StateDir, gate.MarksFile), []byte(`{"v":1,`), 0o600))
	if err := run(t, w.config); err == nil {
		t.Error("got a start without marks, want a misuse")
	}
}

func TestClockOfTheNodeWentBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	w.settled(image("a"))
	w.stop()
	w.want(w.gateAt(image("a"), time.Now().Add(-time.Hour)), verdict.TicketNotYetValid)
}
