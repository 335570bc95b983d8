// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

func TestMissThenHit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	d := w.gate(image("a"))
	w.want(d, "")
	if !d.Simulated || !d.Unwitnessed {
		t.Errorf("got %s, want it to say simulated and unwitnessed", d.Line())
	}
	for range 5 {
		w.want(w.gate(image("a")), "")
	}
	f.with(func(f *fake) {
		if n := f.verified[image("a")]; n != 1 {
			t.Errorf("daemon was asked %d times, want once", n)
		}
	})
	if !strings.Contains(w.log.String(), "unwitnessed") || !strings.Contains(w.log.String(), "simulated") {
		t.Errorf("log does not say simulated and unwitnessed:\n%s", w.log)
	}
}

func TestDenialAndReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	f.change.decide = func(_ string, d verdict.Digest) (verdict.Outcome, verdict.Code, error) {
		switch d {
		case image("unsigned"):
			return verdict.OutcomeFail, verdict.SigNone, nil
		case image("no rule"):
			return "", "", verdict.Refuse(verdict.PolicyNoRule, "no rule for it")
		case image("registry down"):
			return "", "", verdict.Fail(verdict.RegistryUnreachable, "registry.example answered 503")
		}
		return verdict.OutcomePass, "", nil
	}
	w.start()
	w.want(w.gate(image("unsigned")), verdict.SigNone)
	w.want(w.gate(image("unsigned")), verdict.SigNone)
	w.want(w.gate(image("no rule")), verdict.PolicyNoRule)
	w.want(w.gate(image("registry down")), verdict.RegistryUnreachable)
	w.want(w.gate(image("good")), "")
	f.with(func(f *fake) {
		if n := f.verified[image("unsigned")]; n != 1 {
			t.Errorf("daemon was asked %d times about a fresh denial, want once", n)
		}
	})
}

// What a daemon refuses without a ticket is not known any more: a rule that went away
// must not be outlived by going offline.
func TestRefusalIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("known")), "")
	w.settled(image("known"))
	f.with(func(f *fake) {
		f.change.decide = func(string, verdict.Digest) (verdict.Outcome, verdict.Code, error) {
			return "", "", verdict.Refuse(verdict.PolicyNoRule, "no rule for it")
		}
	})
	check(t, f.load(w.set(4), w.owners()))
	w.eventually("the record", func() bool { r, ok := w.record(image("known")); return ok && len(r.Known) == 0 })
	f.stop()
	w.want(w.gateAt(image("known"), time.Now().Add(10*time.Minute)), verdict.StatusStale)
}

func TestOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("known")), "")
	w.settled(image("known"))
	f.stop()
	w.logged("daemon is not usable", string(verdict.DaemonUnreachable))
	// The status is fresh for a while: known images need nothing else.
	w.want(w.gate(image("known")), "")
	w.want(w.gate(image("new")), verdict.DaemonUnreachable)
	// Later it is not, and known images go on by what was let through.
	later := time.Now().Add(10 * time.Minute)
	if d := w.gateAt(image("known"), later); !d.Allowed() || !d.Offline {
		t.Errorf("known: got %s", d.Line())
	}
	w.want(w.gateAt(image("new"), later), verdict.StatusStale)
	w.want(w.gateAt(image("known"), later.Add(9*time.Hour)), verdict.StatusStale)
	// The same without the agent.
	w.stop()
	if d := w.gateAt(image("known"), later); !d.Allowed() || !d.Offline {
		t.Errorf("known, agent down: got %s", d.Line())
	}
	w.want(w.gateAt(image("new"), later), verdict.StatusStale)
	w.want(w.gate(image("known")), "")
	w.want(w.gate(image("new")), verdict.AgentUnreachable)
	// And after a restart of the agent with every daemon and the Workload API down.
	w.api.Withdraw()
	w.start()
	if d := w.gateAt(image("known"), later); !d.Allowed() || !d.Offline {
		t.Errorf("known, agent restarted: got %s\n%s", d.Line(), w.log)
	}
}

// settled waits until an image counts as let through before the newest status, and
// its leaf is proven.
func (w *world) settled(d verdict.Digest) {
	w.t.Helper()
	w.eventually("a status after the ticket", func() bool {
		late := w.gateAt(d, time.Now().Add(time.Hour))
		r, ok := w.record(d)
		return late.Allowed() && late.Offline && ok && len(r.Proven) > 0
	})
}

func TestDaemonIsNotAccepted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*world, *fake)
		code   verdict.Code
	}{
		{"another config", func(_ *world, f *fake) { f.change.statement = func(s *verdict.Statement) { s.Config = otherConfig } }, verdict.IssuerConfig},
		{"another policy", func(_ *world, f *fake) { f.change.statement = func(s *verdict.Statement) { s.Policy = otherConfig } }, verdict.IssuerPolicy},
		{"other roots", func(_ *world, f *fake) { f.change.statement = func(s *verdict.Statement) { s.Roots = otherConfig } }, verdict.IssuerRoots},
		{"another head under the counter", func(_ *world, f *fake) {
			f.change.statement = func(s *verdict.Statement) { s.Head.Digest = otherConfig }
		}, verdict.HeadConflict},
		{"an older head", func(_ *world, f *fake) { f.change.statement = func(s *verdict.Statement) { s.Head.Counter = 2 } }, verdict.IssuerRollback},
		{"another measurement", func(_ *world, f *fake) { f.snp.Report.Measurement[0] ^= 1 }, verdict.GuestMeasurement},
		{"debug", func(_ *world, f *fake) { f.snp.Report.Policy |= 1 << 19 }, verdict.GuestDebug},
		{"migratable", func(_ *world, f *fake) { f.snp.Report.Policy |= 1 << 18 }, verdict.GuestMigratable},
		{"simulator of another", func(w *world, _ *fake) { w.config.TEE.SimulatorRoots = []string{string(otherConfig)} }, verdict.EndorsementUntrusted},
		{"nonce of another", func(_ *world, f *fake) {
			f.change.nonce = func(n []byte) []byte { return append([]byte{n[0] ^ 1}, n[1:]...) }
		}, verdict.EvidenceNonce},
		{"published evidence", func(_ *world, f *fake) { f.change.nonce = func([]byte) []byte { return nil } }, verdict.EvidenceNonce},
		{"evidence for another key", func(w *world, f *fake) {
			other := w.prepare("other")
			check(w.t, other.load(w.set(3), w.owners()))
			f.change.collection = func(c []byte) []byte {
				return []byte(strings.Replace(string(c), encoded(f.raw), encoded(other.raw), 1))
			}
		}, verdict.EvidenceBinding},
		{"issuer that is not named", func(w *world, _ *fake) { w.config.Issuers = []string{"spiffe://dev.assay.invalid/assay/d/dev/other"} }, verdict.PeerRole},
		{"SVID of one, statement of another", func(w *world, f *fake) {
			f.change.statement = func(s *verdict.Statement) { s.Issuer = "spiffe://dev.assay.invalid/assay/d/prod/assayd" }
		}, verdict.IssuerIdentity},
		{"witness demanded", func(w *world, _ *fake) { w.config.AllowUnwitnessed = false }, verdict.IssuerUnwitnessed},
		{"ended statement", func(_ *world, f *fake) {
			f.change.statement = func(s *verdict.Statement) {
				s.NotBefore -= 40 * 3600
				s.NotAfter = time.Now().Unix() - 1
				s.NotBefore = s.NotAfter - 3600
			}
		}, verdict.IssuerExpired},
		{"log of another boot", func(_ *world, f *fake) { f.change.leaf = func(l *verdict.Leaf) { l.Statement[0] ^= 1 } }, verdict.LogMismatch},
		{"first leaf is no statement", func(_ *world, f *fake) {
			f.change.leaf = func(l *verdict.Leaf) { l.Kind, l.Result = verdict.LeafVerdict, verdict.ResultPassed }
		}, verdict.LogMismatch},
		{"status an hour ahead", func(_ *world, f *fake) { f.change.status = func(s *verdict.Status) { s.Iat += 3600 } }, verdict.TicketNotYetValid},
		{"status an hour behind", func(_ *world, f *fake) { f.change.status = func(s *verdict.Status) { s.Iat -= 3600 } }, verdict.TicketNotYetValid},
		{"checkpoint of another log", func(w *world, f *fake) {
			other := newShard(w.t, f.shard.origin)
			c, err := other.checkpoint()
			check(w.t, err)
			f.change.status = func(s *verdict.Status) { s.Checkpoint = string(c) }
		}, verdict.KeyUnknown},
		{"owners of others", func(w *world, _ *fake) {
			pem, err := key(w.t, verdict.UseOwner).JWK().PEM()
			check(w.t, err)
			w.config.Owners.Keys = []string{string(pem)}
		}, verdict.HeadSignature},
		{"head below min-head", func(w *world, _ *fake) { w.config.MinHead = 4 }, verdict.HeadRollback},
		{"denied measurement", func(w *world, f *fake) {
			w.deny(verdict.DenyList{Measurements: []string{w.refs.Entries[0].Measurement}})
		}, verdict.TicketDenied},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f := w.prepare("assayd")
			test.change(w, f)
			check(t, f.load(w.set(3), w.owners()))
			f.start()
			w.config.Daemons = []string{f.address}
			w.start()
			w.logged("daemon is not usable", "code="+string(test.code))
			if d := w.gate(image("a")); d.Allowed() {
				t.Errorf("got %s, want a denial", d.Line())
			}
			w.refused(test.code)
		})
	}
}

// TestOlderStatement: a boot does not go back behind a statement that was seen, also where
// its evidence is good.
func TestOlderStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.prepare("assayd")
	f.change.statement = func(s *verdict.Statement) { s.Seq = 6 }
	check(t, f.load(w.set(3), w.owners()))
	f.start()
	w.config.Daemons = []string{f.address}
	w.start()
	w.want(w.gate(image("a")), "")
	f.with(func(f *fake) { f.change.statement = func(s *verdict.Statement) { s.Seq = 5 } })
	check(t, f.load(w.set(4), w.owners()))
	w.logged("daemon is not usable", "code="+string(verdict.IssuerRollback), "came after 6 was seen")
	if m := w.marks(); len(m.Boots) != 1 || m.Boots[0].Seq != 6 {
		t.Errorf("got marks %+v, want the statement that was seen", m.Boots)
	}
}

// TestStopping: an agent that ends begins no question.
func TestStopping(t *testing.T) {
	t.Parallel()
	if err := agent.FetchStopped(gate.Image{Repository: repository, Digest: image("a")}); verdict.CodeOf(err) != verdict.AgentUnreachable {
		t.Errorf("got %v, want %s", err, verdict.AgentUnreachable)
	}
}

// notOfEvidence are codes of TestDaemonIsNotAccepted which say nothing of evidence.
var notOfEvidence = []verdict.Code{verdict.PeerRole, verdict.LogMismatch, verdict.TicketNotYetValid, verdict.KeyUnknown, verdict.HeadSignature, verdict.HeadRollback}

// refused wants the state folder to have the appraisal that was refused with a code, and
// that it is refused so again elsewhere.
func (w *world) refused(code verdict.Code) {
	w.t.Helper()
	made, err := agent.LastRefused(w.config)
	if slices.Contains(notOfEvidence, code) {
		if !errors.Is(err, fs.ErrNotExist) {
			w.t.Errorf("refused evidence: got %+v, %v, want none", made, err)
		}
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if verdict.CodeOf(made.Err) != code || made.Daemon != w.config.Daemons[0] {
		w.t.Errorf("kept is %v of %s, want %s", made.Err, made.Daemon, code)
	}
	if _, err := w.config.Appraise(made.Collection, made.Question, made.At); verdict.CodeOf(err) != code || verdict.Refused(err) != verdict.Refused(made.Err) {
		w.t.Errorf("again: got %v, want %s", err, code)
	}
}

// TestAppraisalsAreKept: the last that was accepted and the last that was not, each
// refusal once.
func TestAppraisalsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	if _, err := agent.LastAccepted(w.config); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: got %v", err)
	}
	w.start()
	w.want(w.gate(image("a")), "")
	made, err := agent.LastAccepted(w.config)
	if err != nil || made.Err != nil || made.Daemon != f.address {
		t.Fatalf("got %+v, %v", made, err)
	}
	if _, err := w.config.Appraise(made.Collection, made.Question, made.At); err != nil {
		t.Error(err)
	}
	if _, err := agent.LastRefused(w.config); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing was refused: got %v", err)
	}
	f.stop()
	w.stop()
	f = w.prepare("assayd")
	f.address = w.config.Daemons[0]
	f.snp.Report.Policy |= attest.SNPPolicyDebug
	check(t, f.load(w.set(3), w.owners()))
	f.start()
	w.start()
	w.logged("daemon is not usable", "code="+string(verdict.GuestDebug))
	w.refused(verdict.GuestDebug)
	first, err := agent.LastRefused(w.config)
	check(t, err)
	asked := func() (n int) { f.with(func(f *fake) { n = f.asked }); return n }
	before := asked()
	w.eventually("two more tries", func() bool { return asked() >= before+2 })
	again, err := agent.LastRefused(w.config)
	if err != nil || !again.At.Equal(first.At) {
		t.Errorf("the same refusal is written again: at %s and %s, %v", first.At, again.At, err)
	}
	if accepted, err := agent.LastAccepted(w.config); err != nil || !accepted.At.Equal(made.At) {
		t.Errorf("what was accepted went: got %s, %v", accepted.At, err)
	}
	info, err := os.Stat(filepath.Join(w.config.StateDir, "appraisal-refused.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info, err)
	}
}

func TestStateFolderIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.daemon("assayd")
	w.start()
	second := *w
	second.config.Socket += "2"
	if err := run(t, second.config); err == nil || !strings.Contains(err.Error(), "another agent uses") {
		t.Errorf("got %v, want a misuse about the folder", err)
	}
}

func TestSocketIsForTheAgentAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.daemon("assayd")
	w.start()
	info, err := os.Stat(w.config.Socket)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %04o, want 0600", info.Mode().Perm())
	}
}
