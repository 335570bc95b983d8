// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

func TestTicketsThatAreNotTaken(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*verdict.Ticket)
		code   verdict.Code
	}{
		{"another node's", func(t *verdict.Ticket) { t.Aud = strings.Replace(nodeID, "node-a", "node-b", 1) }, verdict.TicketAudience},
		{"another cluster's", func(t *verdict.Ticket) { t.Cluster = "prod" }, verdict.TicketAudience},
		{"another image's", func(t *verdict.Ticket) { t.Sub = image("other") }, verdict.TicketSubject},
		{"another repository's", func(t *verdict.Ticket) { t.Repo += "2" }, verdict.TicketRepository},
		{"daemon's clock an hour ahead", func(t *verdict.Ticket) { t.Iat, t.Nbf, t.Exp = t.Iat+3600, t.Nbf+3600, t.Exp+3600 }, verdict.TicketNotYetValid},
		{"daemon's clock an hour behind", func(t *verdict.Ticket) { t.Iat, t.Nbf = t.Iat-3600, t.Nbf-3600 }, verdict.TicketNotYetValid},
		{"core by a stranger", func(t *verdict.Ticket) { t.By = strings.Repeat("A", 43) }, verdict.TicketStatement},
		{"another statement", func(t *verdict.Ticket) { t.Stmt = otherConfig }, verdict.TicketStatement},
		{"older head", func(t *verdict.Ticket) { t.Head-- }, verdict.TicketHead},
		{"lives too long", func(t *verdict.Ticket) { t.Exp = t.Iat + 23*3600 }, verdict.TicketLifetime}, // beyond its statement
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f := w.daemon("assayd")
			f.change.ticket = test.change
			w.start()
			w.want(w.gate(image("a")), test.code)
			// The gate refuses it by itself; what another head or time could change the
			// agent keeps, and nothing else.
			kept := test.code == verdict.TicketHead || test.code == verdict.TicketLifetime
			if r, _ := w.record(image("a")); (len(r.Tickets) > 0) != kept {
				t.Errorf("kept: got %d tickets, want some %t", len(r.Tickets), kept)
			}
		})
	}
}

func TestLeafThatIsNotThere(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*fake)
		code   verdict.Code
		text   string
	}{
		{"missing", func(f *fake) { f.change.noProof = true }, verdict.LogUnavailable, ""},
		{"in a log of nobody", func(f *fake) {
			f.change.ticket = func(t *verdict.Ticket) { t.Log.Origin = "log.other.invalid/" + t.Jti }
		}, verdict.LogUnavailable, "no accepted statement names log"},
		{"about another core", func(f *fake) { f.change.leaf = func(l *verdict.Leaf) { l.Object[0] ^= 1 } }, verdict.LogMismatch, "about another core"},
		{"a failed verdict", func(f *fake) { f.change.leaf = func(l *verdict.Leaf) { l.Result = verdict.ResultFailed } }, verdict.LogMismatch, "the ticket passes, and the log says"},
		{"under another policy", func(f *fake) { f.change.leaf = func(l *verdict.Leaf) { l.Policy[0] ^= 1 } }, verdict.LogMismatch, "under another policy"},
		{"proof of another leaf", func(f *fake) { f.change.proof = func(p *assayv1.GetProofResponse) { p.Leaf[20] ^= 1 } }, verdict.LogProof, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.code == verdict.LogUnavailable { // the others are found at once
				agent.SetTestingOnlyProofDelay(t, time.Second)
			}
			w := newWorld(t)
			f := w.daemon("assayd")
			w.start()
			w.want(w.gate(image("a")), "")
			f.with(test.change)
			w.gate(image("b")) // the gate does not wait for the log, which may be quicker all the same
			w.logged("verdict is not in the log", "digest="+string(image("b")), "code="+string(test.code), test.text)
			w.eventually("the ticket to go", func() bool { r, ok := w.record(image("b")); return ok && len(r.Tickets) == 0 })
			w.want(w.gate(image("a")), "")
			w.stop()
		})
	}
}

func TestForkedLogIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	w.settled(image("a"))
	f.with(func(f *fake) {
		f.shard.leaves[1] = append([]byte(nil), f.shard.leaves[1]...)
		f.shard.leaves[1][30] ^= 1 // the same size, another tree
	})
	w.logged("daemon is not usable", "code="+string(verdict.StatusRollback))
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.Quorum = 2
	w.daemon("one")
	two := w.daemon("two")
	w.start()
	w.eventually("both daemons", func() bool { return w.accepted() == 2 })
	w.eventually("a pass by two", func() bool { return w.gate(image("a")).Allowed() })
	two.stop()
	w.eventually("the loss of one", func() bool { return strings.Count(w.log.String(), string(verdict.DaemonUnreachable)) > 0 })
	w.want(w.gate(image("a")), "")
	if d := w.gate(image("b")); d.Allowed() {
		t.Errorf("got %s, want a denial", d.Line())
	}
	// That one of two is there is said, and not that the other is not.
	w.logged("daemons gave no ticket", "digest="+string(image("b")), "code="+string(verdict.TicketQuorum), "count as 1 by boot, want 2")
}

// TestQuorumByChip: two daemons on one processor are one, and only one is asked.
func TestQuorumByChip(t *testing.T) {
	t.Parallel()
	for _, chips := range []int{1, 2} {
		w := newWorld(t)
		w.config.Quorum, w.config.QuorumBy = 2, gate.ByChip
		var daemons []*fake
		for i := range 2 {
			f := w.prepare(fmt.Sprint("assayd-", i))
			f.snp.VCEK.HWID[0] = byte(1 + i*(chips-1))
			f.snp.Report.ChipID = f.snp.VCEK.HWID
			check(t, f.load(w.set(3), w.owners()))
			f.start()
			w.config.Daemons = append(w.config.Daemons, f.address)
			daemons = append(daemons, f)
		}
		w.start()
		w.eventually("both daemons", func() bool { return strings.Count(w.log.String(), "daemon is accepted") == 2 })
		if chips == 2 {
			w.eventually("a pass by two", func() bool { return w.gate(image("a")).Allowed() })
			w.stop()
			continue
		}
		w.want(w.gate(image("a")), verdict.TicketQuorum)
		asked := 0
		for _, f := range daemons {
			f.with(func(f *fake) { asked += min(f.verified[image("a")], 1) })
		}
		if asked != 1 {
			t.Errorf("%d daemons on one chip were asked, want 1", asked)
		}
		w.stop()
	}
}

// TestPlatformMarks: the collateral of one platform does not go back, and another's is
// another matter.
func TestPlatformMarks(t *testing.T) {
	t.Parallel()
	var marks gate.Marks
	for _, step := range []struct {
		chip       string
		evaluation uint32
		code       verdict.Code
	}{{"a", 17, ""}, {"a", 18, ""}, {"b", 17, ""}, {"a", 17, verdict.EndorsementRollback}, {"a", 18, ""}, {"", 0, ""}, {"b", 19, ""}} {
		if err := agent.MarkPlatform(&marks, step.chip, step.evaluation); verdict.CodeOf(err) != step.code {
			t.Fatalf("%+v: got %v", step, err)
		}
	}
	if len(marks.Platforms) != 2 || marks.Platforms[0].Chip != "a" || marks.Platforms[0].Evaluation != 18 || marks.Platforms[1].Evaluation != 19 {
		t.Errorf("got %+v", marks.Platforms)
	}
	for i := range 1000 {
		check(t, agent.MarkPlatform(&marks, fmt.Sprint(i), 1))
	}
	if last := marks.Platforms[len(marks.Platforms)-1]; len(marks.Platforms) > 256 || last.Chip != "999" {
		t.Errorf("got %d marks, the last of %q", len(marks.Platforms), last.Chip)
	}
}

// TestRoll: owners add an entry for the next build, daemons of it start, and the old
// entry goes: the node lets an image through all the time, by whom the references
// name then, and back again.
func TestRoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grace = 60
	old := w.daemon("old")
	next := w.prepare("next")
	next.snp.Report.Measurement[0] ^= 1
	check(t, next.load(w.set(3), w.owners()))
	next.start()
	w.config.Daemons = append(w.config.Daemons, next.address)
	w.start()
	w.want(w.gate(image("a")), "")
	w.logged("daemon is not usable", "code="+string(verdict.GuestMeasurement))

	template, counter := w.refs.Entries[0], uint64(3)
	// under brings a head with entries of these to both daemons, and waits until they,
	// and no others, count; the image never stops.
	under := func(what string, of ...*fake) {
		t.Helper()
		w.refs.Entries = nil
		for _, f := range of {
			e := template
			e.Name, e.Measurement = f.id, hex.EncodeToString(f.snp.Report.Measurement[:])
			w.refs.Entries = append(w.refs.Entries, e)
		}
		counter++
		for _, f := range []*fake{old, next} {
			check(t, f.load(w.set(counter), w.owners()))
		}
		w.eventually(what, func() bool {
			d := w.gate(image("a"))
			if !d.Allowed() {
				t.Fatalf("%s: %s", what, d.Line())
			}
			data, err := os.ReadFile(filepath.Join(w.config.StateDir, gate.IssuersFile))
			check(t, err)
			list, err := gate.ParseIssuers(data)
			check(t, err)
			accepted := map[string]bool{}
			for _, i := range list.Issuers {
				accepted[i.Issuer.Measurement] = true
			}
			return len(accepted) == len(of) && w.marks().Head.Counter == counter &&
				!slices.ContainsFunc(w.refs.Entries, func(e verdict.ReferenceEntry) bool { return !accepted[e.Measurement] })
		})
	}
	under("both", old, next)
	under("the next alone", next)
	under("both again", old, next)
	under("the old alone", old)
}

func TestSecondDaemonAnswersWhenTheFirstIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := w.daemon("one")
	w.daemon("two")
	one.stop()
	w.start()
	w.want(w.gate(image("a")), "")
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	f.life = 62 * time.Second // above the life of a denial: renewed after 25 to 37 s
	w.start()
	w.want(w.gate(image("a")), "")
	first, _ := w.record(image("a"))
	// Head 4 makes all tickets due at once.
	check(t, f.load(w.set(4), w.owners()))
	w.eventually("a renewed ticket", func() bool {
		r, _ := w.record(image("a"))
		return len(r.Tickets) == 1 && r.Tickets[0] != first.Tickets[0]
	})
	f.with(func(f *fake) {
		if f.batches == 0 {
			t.Error("tickets were renewed one by one, want batches")
		}
	})
}

// TestRenewalOfNothing: an answer to what was not asked is no ticket of anything.
func TestRenewalOfNothing(t *testing.T) {
	for _, id := range []string{"", "x", "-1", "1"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f := w.daemon("assayd")
			w.start()
			w.want(w.gate(image("a")), "")
			f.with(func(f *fake) { f.change.id = func(string) string { return id } })
			check(t, f.load(w.set(4), w.owners()))
			w.logged("tickets were not renewed", "code="+string(verdict.InputMalformed), "which was not asked")
		})
	}
}

func TestRenewalIsSpread(t *testing.T) {
	t.Parallel()
	iat := time.Now()
	ticket := verdict.Ticket{Iat: iat.Unix(), Exp: iat.Add(10 * time.Hour).Unix()}
	first, last := 10*time.Hour, time.Duration(0)
	for range 1000 {
		due := agent.RenewalDue(ticket).Sub(time.Unix(ticket.Iat, 0))
		first, last = min(first, due), max(last, due)
	}
	if first < 4*time.Hour || last > 6*time.Hour || last-first < 90*time.Minute {
		t.Errorf("got %s to %s after the ticket, want 5h ± 20 %%, spread", first, last)
	}
	ticket.Exp = iat.Add(verdict.MaxDenialLife).Unix()
	if due := agent.RenewalDue(ticket); !due.IsZero() {
		t.Errorf("a denial is renewed at %s, want never", due)
	}
}

// The gate leaves at its deadline; the question goes on, so that the next try hits.
func TestSlowDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.Deadline = 1500 * time.Millisecond
	f := w.daemon("assayd")
	w.start()
	w.eventually("a pass", func() bool { return w.gate(image("a")).Allowed() })
	release := make(chan struct{})
	f.with(func(f *fake) { f.change.hang = release })
	begin := time.Now()
	w.want(w.gate(image("slow")), verdict.TicketMissing)
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("took %s, want about the deadline", took)
	}
	w.want(w.gate(image("a")), "") // hits do not wait behind it
	close(release)
	w.eventually("the ticket", func() bool { r, ok := w.record(image("slow")); return ok && len(r.Tickets) == 1 })
	w.want(w.gate(image("slow")), "")
}

// Many gates that ask for one image make one question.
func TestManyAskOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	var gates sync.WaitGroup
	for range 40 {
		gates.Go(func() {
			if d := w.gate(image("storm")); !d.Allowed() {
				t.Errorf("got %s", d.Line())
			}
		})
	}
	gates.Wait()
	f.with(func(f *fake) {
		if n := f.verified[image("storm")]; n != 1 {
			t.Errorf("daemon was asked %d times, want once", n)
		}
	})
}

func TestSVID(t *testing.T) {
	t.Parallel()
	t.Run("withdrawn at start", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.daemon("assayd")
		w.api.Withdraw()
		w.config.Deadline = 500 * time.Millisecond
		w.start()
		if d := w.gate(image("a")); d.Allowed() {
			t.Errorf("got %s", d.Line())
		}
		w.api.Set(w.authority.SVID(t, nodeID))
		w.eventually("a pass", func() bool { return w.gate(image("a")).Allowed() })
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		f := w.daemon("assayd")
		w.start()
		w.want(w.gate(image("a")), "")
		w.api.Set(w.authority.Issue(t, nodeID, time.Now().Add(-time.Hour), time.Now().Add(time.Second)))
		time.Sleep(1100 * time.Millisecond)
		f.stop()
		w.logged("daemon is not usable", "code="+string(verdict.SVIDExpired))
		w.want(w.gate(image("a")), "") // what is here needs no SVID
		w.want(w.gate(image("b")), verdict.SVIDExpired)
	})
	t.Run("of another node", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.daemon("assayd")
		w.api.Set(w.authority.SVID(t, strings.Replace(nodeID, "node-a", "node-b", 1)))
		w.start()
		w.logged("no SVID", "code="+string(verdict.PeerRole))
		w.want(w.gate(image("a")), verdict.PeerRole)
	})
	t.Run("of another trust domain", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.daemon("assayd")
		other := spiffetest.NewAuthority(t, "other.invalid")
		w.api.Set(other.SVID(t, strings.Replace(nodeID, "dev.assay.invalid", "other.invalid", 1)).WithBundle(other, w.authority))
		w.start()
		w.logged("no SVID", "code="+string(verdict.PeerTrustDomain))
	})
	t.Run("daemon of another authority", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		good := w.authority
		w.authority = spiffetest.NewAuthority(t, "dev.assay.invalid")
		w.daemon("assayd")
		w.authority = good
		w.start()
		w.logged("daemon is not usable", "code="+string(verdict.PeerUntrusted))
		w.want(w.gate(image("a")), verdict.PeerUntrusted)
	})
	t.Run("daemon refuses the node", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.daemon("assayd")
		other := spiffetest.NewAuthority(t, "dev.assay.invalid")
		w.api.Set(other.SVID(t, nodeID).WithBundle(w.authority, other))
		w.start()
		w.logged("daemon is not usable", "code="+string(verdict.PeerUntrusted))
	})
}

func TestExceptionIsUsedAndReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.daemon("assayd")
	f.change.decide = func(string, verdict.Digest) (verdict.Outcome, verdict.Code, error) {
		return verdict.OutcomeFail, verdict.SigNone, nil
	}
	w.start()
	w.want(w.gate(image("a")), verdict.SigNone)
	x, err := verdict.SignException(verdict.Exception{
		Cluster: "dev", Digests: []verdict.Digest{image("a")}, ID: "x-1", Owner: "on call", Reason: "test",
		NotBefore: time.Now().Add(-time.Minute).Unix(), NotAfter: time.Now().Add(time.Hour).Unix(),
	}, w.owner)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(w.config.StateDir, gate.ExceptionsDir, "x.json"), x, 0o600))
	if d := w.gate(image("a")); !d.Allowed() || d.Note.Code != verdict.PolicyException {
		t.Fatalf("got %s", d.Line())
	}
	// A file that is none is passed over, and named when the agent starts.
	check(t, os.WriteFile(filepath.Join(w.config.StateDir, gate.ExceptionsDir, "broken.json"), x[:len(x)/2], 0o600))
	w.stop()
	w.start()
	w.logged("file is no exception of the owners", "broken.json", "code="+string(verdict.ExceptionMalformed))
	w.eventually("the report", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.reported) == 1 && f.reported[0].GetDigest() == string(image("a")) && string(f.reported[0].GetException()) == string(x)
	})
	w.eventually("the record to go", func() bool {
		entries, err := os.ReadDir(filepath.Join(w.config.StateDir, gate.UsesDir))
		check(t, err)
		return len(entries) == 0
	})
}
