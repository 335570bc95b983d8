// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// ways are the two ways to the same decision: with the agent, and from what it left
// on disk. What a row expects holds in both.
var ways = []struct {
	name  string
	setUp func(*world)
}{
	{"agent", func(w *world) { w.agent() }},
	{"folder", func(*world) {}},
}

func TestDecide(t *testing.T) {
	hour := func(w *world) { w.answer.Known = at.Add(-time.Hour).Unix() }
	stale := func(s *verdict.Status) { s.Iat = at.Add(-time.Hour / 2).Unix() }
	for _, test := range []struct {
		name   string
		change func(*world)
		query  func(*gate.Query)
		at     time.Time
		allow  bool
		code   verdict.Code
	}{
		{name: "good", allow: true},
		{name: "manifest of the index", query: ask(name, manifest), change: recordFor(manifest), allow: true},

		// Design §1: attacks that concern a node.
		{name: "ticket of another node", code: verdict.TicketAudience, change: tickets(func(t *verdict.Ticket) { t.Aud = strings.Replace(node, "node-a", "node-b", 1) })},
		{name: "ticket of another cluster", code: verdict.TicketAudience, change: tickets(func(t *verdict.Ticket) { t.Cluster = "prod" })},
		{name: "ticket of another image", code: verdict.TicketSubject, change: tickets(func(t *verdict.Ticket) {
			t.Sub, t.Dig = verdict.SHA256([]byte("x")), verdict.TicketDigests{}
		})},
		{name: "ticket of another repository", code: verdict.TicketRepository, change: tickets(func(t *verdict.Ticket) { t.Repo = repository + "2" })},
		{name: "expired ticket", code: verdict.TicketExpired, change: tickets(func(t *verdict.Ticket) { t.Exp = at.Unix() })},
		{name: "ticket from the future", code: verdict.TicketNotYetValid, change: tickets(func(t *verdict.Ticket) {
			t.Iat, t.Nbf = at.Add(time.Hour).Unix(), at.Add(time.Hour).Unix()
		})},
		{name: "ticket under an older head", code: verdict.TicketHead, change: tickets(func(t *verdict.Ticket) { t.Head-- })},
		{name: "ticket under an older head, in grace", allow: true, change: func(w *world) {
			tickets(func(t *verdict.Ticket) { t.Head-- })(w)
			w.marks.Head = verdict.HeadRef{Counter: 7, Digest: w.open().Digest}
			w.marks.HeadSince = at.Add(-59 * time.Second).Unix()
		}},
		{name: "ticket under an older head, after grace", code: verdict.TicketHead, change: func(w *world) {
			tickets(func(t *verdict.Ticket) { t.Head-- })(w)
			w.marks.Head = verdict.HeadRef{Counter: 7, Digest: w.open().Digest}
			w.marks.HeadSince = at.Add(-60 * time.Second).Unix()
		}},
		{name: "ticket of a daemon that was not accepted", code: verdict.TicketStatement, change: func(w *world) {
			w.answer.Tickets = []string{w.ticket(w.newDaemon(), nil)}
		}},
		{name: "core of a daemon that was not accepted", code: verdict.TicketStatement, change: func(w *world) {
			stranger := w.newDaemon()
			w.answer.Tickets = []string{w.ticket(w.daemon, func(t *verdict.Ticket) { t.By = stranger.verdict.Kid() })}
		}},
		{name: "forged ticket", code: verdict.TicketSignature, change: func(w *world) {
			token := w.answer.Tickets[0]
			last := token[len(token)-2:]
			flip := map[bool]string{true: "BA", false: "AA"}[last == "AA"]
			w.answer.Tickets[0] = token[:len(token)-2] + flip
		}},
		{name: "status as ticket", code: verdict.TicketAlgorithm, change: func(w *world) { w.answer.Tickets = []string{w.answer.Status} }},
		{name: "no ticket", code: verdict.TicketMissing, change: func(w *world) { w.answer.Tickets = nil; w.answer.Code = verdict.TicketMissing }},
		{name: "denial", code: verdict.SigNone, change: tickets(func(t *verdict.Ticket) {
			t.Res, t.Code, t.Exp = map[string]verdict.Outcome{"*": verdict.OutcomeFail}, verdict.SigNone, at.Add(-time.Second).Add(30*time.Second).Unix()
			t.Iat, t.Nbf = t.Exp-60, t.Exp-60
		})},
		{name: "audit in the policy", allow: true, code: verdict.SigNone, change: tickets(func(t *verdict.Ticket) {
			t.Res, t.Code = map[string]verdict.Outcome{"*": verdict.OutcomeAuditFail}, verdict.SigNone
		})},
		{name: "rule that is off", allow: true, code: verdict.PolicyOff, change: tickets(func(t *verdict.Ticket) {
			t.Res, t.Core, t.By, t.Log = map[string]verdict.Outcome{"*": verdict.OutcomeUnchecked}, "", "", nil
		})},
		{name: "one daemon where two are wanted", code: verdict.TicketQuorum, change: func(w *world) { w.config.Quorum = 2 }},
		{name: "one daemon twice where two are wanted", code: verdict.TicketQuorum, change: func(w *world) {
			w.config.Quorum = 2
			w.answer.Tickets = append(w.answer.Tickets, w.ticket(w.daemon, nil))
		}},
		{name: "core of one daemon by tickets of two", code: verdict.TicketQuorum, change: func(w *world) {
			w.config.Quorum = 2
			second := w.newDaemon()
			w.answer.Statements = append(w.answer.Statements, second.issuer)
			w.answer.Tickets = append(w.answer.Tickets, w.ticket(second, func(t *verdict.Ticket) { t.By = w.daemon.verdict.Kid() }))
		}},
		{name: "two daemons", allow: true, change: func(w *world) {
			w.config.Quorum = 2
			second := w.newDaemon()
			w.answer.Statements = append(w.answer.Statements, second.issuer)
			w.answer.Tickets = append(w.answer.Tickets, w.ticket(second, nil))
		}},
		{name: "two boots on one chip", code: verdict.TicketQuorum, change: two(gate.ByChip, func(_, second *daemon) { second.issuer.Chip = "01" })},
		{name: "two chips", allow: true, change: two(gate.ByChip, func(_, second *daemon) { second.issuer.Chip = "02" })},
		{name: "a chip and one that is not told", code: verdict.TicketQuorum, change: two(gate.ByChip, func(_, _ *daemon) {})},
		{name: "chips that are not told", code: verdict.TicketQuorum, change: two(gate.ByChip, func(first, _ *daemon) { first.issuer.Chip = "" })},
		{name: "two daemons of one vendor", code: verdict.TicketQuorum, change: two(gate.ByVendor, func(_, second *daemon) { second.issuer.Chip = "02" })},
		{name: "two daemons of one operator", code: verdict.TicketQuorum, change: two(gate.ByOperator, func(_, second *daemon) { second.issuer.Chip = "02" })},
		{name: "two operators", allow: true, change: two(gate.ByOperator, func(_, second *daemon) {
			s := second.issuer.Statement
			s.Issuer = "spiffe://other.assay.invalid/assay/d/dev/assayd"
			second.set(t, s)
		})},

		// Reference entry gone, or denied: dead at once.
		{name: "measurement not in the references any more", code: verdict.StatusSignature, change: func(w *world) {
			w.refs.Entries[0].Measurement = strings.Repeat("ab", 48)
			w.answer.Status = w.status(w.daemon, nil)
		}},
		{name: "config not in the references any more", code: verdict.StatusSignature, change: func(w *world) {
			w.refs.Entries[0].Configs = []verdict.Digest{verdict.SHA256(nil)}
			w.answer.Status = w.status(w.daemon, nil)
		}},
		{name: "reference entry that ended", code: verdict.StatusSignature, change: func(w *world) {
			w.refs.Entries[0].NotAfter = at.Unix()
			w.answer.Status = w.status(w.daemon, nil)
		}},
		{name: "development entry in production", code: verdict.StatusSignature, change: func(w *world) {
			w.config.Profile, w.config.AllowUnwitnessed = verdict.Production, false
		}},
		{name: "statement that ended", code: verdict.StatusStale, at: at.Add(20 * time.Hour), change: func(w *world) {
			w.answer.Status = w.status(w.daemon, func(s *verdict.Status) { s.Iat = at.Add(20 * time.Hour).Unix() })
		}},
		{name: "image denied by one owner", code: verdict.TicketDenied, change: denies(verdict.DenyList{Images: []verdict.Digest{image}})},
		{name: "manifest denied", code: verdict.TicketDenied, change: denies(verdict.DenyList{Images: []verdict.Digest{manifest}})},
		{name: "repository denied", code: verdict.TicketDenied, change: denies(verdict.DenyList{Repositories: []string{repository}})},
		{name: "register denied", code: verdict.StatusSignature, change: func(w *world) {
			w.answer.Statements[0].Registers = map[string]string{"rtmr2": strings.Repeat("cd", 48)}
			denies(verdict.DenyList{Measurements: []string{strings.Repeat("cd", 48)}})(w)
		}},
		{name: "measurement denied", code: verdict.StatusSignature, change: denies(verdict.DenyList{Measurements: []string{measurement}})},
		{name: "signer denied after the ticket", code: verdict.TicketDenied, change: denies(verdict.DenyList{Identities: []verdict.DeniedIdentity{{SAN: "a@example"}}})},
		{name: "another image denied", allow: true, change: denies(verdict.DenyList{Images: []verdict.Digest{verdict.SHA256([]byte("x"))}})},

		// Status.
		{name: "no status", code: verdict.StatusStale, change: func(w *world) { w.answer.Status = "" }},
		{name: "old status", code: verdict.StatusStale, change: status(stale)},
		{name: "status from the future", code: verdict.StatusStale, change: status(func(s *verdict.Status) { s.Iat = at.Add(2 * time.Minute).Unix() })},
		{name: "status of a daemon that was not accepted", code: verdict.StatusSignature, change: func(w *world) {
			w.answer.Status = w.status(w.newDaemon(), nil)
		}},
		{name: "status under an older head", code: verdict.StatusRollback, change: status(func(s *verdict.Status) { s.Head.Counter-- })},
		{name: "status under an older head, from before this one came, known", allow: true, change: func(w *world) {
			hour(w)
			status(func(s *verdict.Status) { s.Head.Counter-- })(w)
			w.marks.Head = verdict.HeadRef{Counter: 7, Digest: w.open().Digest}
			w.marks.HeadSince = at.Add(-5 * time.Second).Unix()
			w.head.Grace = 0
			w.marks.Head.Digest = w.open().Digest
		}},
		{name: "status under an older head, from after this one came, known", code: verdict.StatusRollback, change: func(w *world) {
			hour(w)
			w.head.Grace = 0
			status(func(s *verdict.Status) { s.Head.Counter-- })(w)
			w.marks.Head = verdict.HeadRef{Counter: 7, Digest: w.open().Digest}
			w.marks.HeadSince = at.Add(-time.Minute).Unix()
		}},
		{name: "status under another head with our counter", code: verdict.HeadConflict, change: status(func(s *verdict.Status) { s.Head.Digest = verdict.SHA256(nil) })},
		{name: "ticket as status", code: verdict.StatusMalformed, change: func(w *world) { w.answer.Status = w.answer.Tickets[0] }},

		// Offline.
		{name: "offline, known", allow: true, change: func(w *world) { hour(w); status(stale)(w) }},
		{name: "offline, known, ticket ended", allow: true, change: func(w *world) {
			hour(w)
			status(stale)(w)
			tickets(func(t *verdict.Ticket) { t.Exp = at.Unix() - 1 })(w)
		}},
		{name: "offline, known, ticket of another node", code: verdict.TicketAudience, change: func(w *world) {
			hour(w)
			status(stale)(w)
			tickets(func(t *verdict.Ticket) { t.Aud = strings.Replace(node, "node-a", "node-b", 1) })(w)
		}},
		{name: "offline, known, denied", code: verdict.TicketDenied, change: func(w *world) {
			hour(w)
			status(stale)(w)
			denies(verdict.DenyList{Images: []verdict.Digest{manifest}})(w)
		}},
		{name: "offline, known only after the last status", code: verdict.StatusStale, change: func(w *world) {
			w.answer.Known = at.Add(-time.Minute).Unix()
			status(stale)(w)
		}},
		{name: "offline for too long", code: verdict.StatusStale, change: func(w *world) {
			w.answer.Known = at.Add(-24 * time.Hour).Unix()
			status(func(s *verdict.Status) { s.Iat = at.Add(-8 * time.Hour).Unix() })(w)
		}},
		{name: "offline, and all is denied then", code: verdict.StatusStale, change: func(w *world) {
			hour(w)
			status(stale)(w)
			w.config.Offline = gate.OfflineDeny
		}},
		{name: "head ended, known", allow: true, change: func(w *world) { hour(w); w.head.NotAfter = at.Unix(); w.answer.Status = w.status(w.daemon, nil) }},
		{name: "head ended, new", code: verdict.StatusStale, change: func(w *world) { w.head.NotAfter = at.Unix(); w.answer.Status = w.status(w.daemon, nil) }},

		// Clocks.
		{name: "node's clock an hour behind", code: verdict.StatusStale, at: at.Add(-time.Hour)},
		{name: "node's clock an hour behind what it has seen", code: verdict.TicketNotYetValid, at: at.Add(-time.Hour), change: func(w *world) { w.marks.Time = at.Unix() }},
		{name: "node's clock an hour ahead", code: verdict.StatusStale, at: at.Add(time.Hour)},

		// Heads from disk.
		{name: "older head on disk", code: verdict.HeadRollback, change: func(w *world) { w.marks.Head = verdict.HeadRef{Counter: 8, Digest: verdict.SHA256(nil)} }},
		{name: "head below the configuration's", code: verdict.HeadRollback, change: func(w *world) { w.config.MinHead = 8 }},
		{name: "other head under one counter", code: verdict.HeadConflict, change: func(w *world) { w.marks.Head = verdict.HeadRef{Counter: 7, Digest: verdict.SHA256(nil)} }},
		{name: "deny document left out", code: verdict.HeadRollback, change: func(w *world) {
			w.marks.Deny = []gate.DenyMark{{Owner: w.owner.Kid(), Counter: 1, NotAfter: at.Add(time.Hour).Unix()}}
		}},
		{name: "deny document that lapsed", allow: true, change: func(w *world) {
			w.marks.Deny = []gate.DenyMark{{Owner: w.owner.Kid(), Counter: 1, NotAfter: at.Unix()}}
		}},
		{name: "head of other owners", code: verdict.HeadSignature, change: func(w *world) {
			w.config.Owners.Keys = []verdict.JWK{key(w.t, verdict.UseOwner).JWK()}
		}},

		// What the runtime gives.
		{name: "digest differs from the descriptor", code: verdict.SubjectMismatch, query: func(q *gate.Query) { q.Digest = string(manifest) }},
		{name: "digest in the name differs", code: verdict.SubjectMismatch, query: func(q *gate.Query) { q.Name = repository + "@" + string(manifest) }},
		{name: "no digest", code: verdict.InputMalformed, query: func(q *gate.Query) { q.Digest = "latest" }},
		{name: "name without registry", code: verdict.InputMalformed, query: func(q *gate.Query) { q.Name = "app:v1" }},
		{name: "other media type", code: verdict.InputMalformed, query: func(q *gate.Query) { q.MediaType = "application/json" }},
		{name: "descriptor with two digests", code: verdict.InputMalformed, query: func(q *gate.Query) {
			q.Descriptor = []byte(`{"digest":"` + string(manifest) + `","digest":"` + string(image) + `"}`)
		}},
		{name: "empty descriptor", code: verdict.InputMalformed, query: func(q *gate.Query) { q.Descriptor = nil }},
		{name: "huge descriptor", code: verdict.InputMalformed, query: func(q *gate.Query) { q.Descriptor = make([]byte, gate.MaxDescriptor+1) }},

		// Exceptions.
		{name: "exception", allow: true, code: verdict.PolicyException, change: func(w *world) {
			w.answer.Tickets = nil
			w.file("exceptions/a.json", w.exception(nil))
		}},
		{name: "exception against a deny document", code: verdict.TicketDenied, change: func(w *world) {
			denies(verdict.DenyList{Images: []verdict.Digest{image}})(w)
			w.file("exceptions/a.json", w.exception(nil))
		}},
		{name: "exception against a denied repository", code: verdict.TicketDenied, change: func(w *world) {
			denies(verdict.DenyList{Repositories: []string{repository}})(w)
			w.file("exceptions/a.json", w.exception(nil))
		}},
		{name: "known image, status of the future", code: verdict.StatusStale, change: func(w *world) {
			w.answer.Known = at.Add(-time.Hour).Unix()
			status(func(s *verdict.Status) { s.Iat = at.Add(verdict.MaxSkew + time.Second).Unix() })(w)
		}},
		{name: "exception for another cluster", code: verdict.TicketMissing, change: exception(func(x *verdict.Exception) { x.Cluster = "prod" })},
		{name: "exception for another image", code: verdict.TicketMissing, change: exception(func(x *verdict.Exception) { x.Digests = []verdict.Digest{manifest} })},
		{name: "R28 two exceptions that would do only together", code: verdict.TicketMissing, change: func(w *world) {
			exception(func(x *verdict.Exception) { x.Cluster = "prod" })(w)
			w.file("exceptions/b.json", w.exception(func(x *verdict.Exception) { x.Digests = []verdict.Digest{manifest} }))
		}},
		{name: "exception that ended", code: verdict.TicketMissing, change: exception(func(x *verdict.Exception) { x.NotAfter = at.Unix() })},
		{name: "exception that ended, by what was seen", code: verdict.TicketNotYetValid, at: at.Add(-2 * time.Minute), change: func(w *world) {
			w.marks.Time = at.Unix()
			exception(func(x *verdict.Exception) { x.NotAfter = at.Unix() })(w)
		}},
		{name: "exception of a stranger", code: verdict.TicketMissing, change: func(w *world) {
			stranger := *w
			stranger.owner = key(w.t, verdict.UseOwner)
			w.answer.Tickets, w.answer.Code = nil, verdict.TicketMissing
			w.file("exceptions/a.json", stranger.exception(nil))
		}},
		{name: "exception while the head went back", code: verdict.HeadRollback, change: func(w *world) {
			w.marks.Head = verdict.HeadRef{Counter: 8, Digest: verdict.SHA256(nil)}
			w.file("exceptions/a.json", w.exception(nil))
		}},

		// The mode is an upper bound.
		{name: "audit", allow: true, code: verdict.TicketAudience, change: func(w *world) {
			w.config.Mode = gate.Audit
			tickets(func(t *verdict.Ticket) { t.Aud = strings.Replace(node, "node-a", "node-b", 1) })(w)
		}},
		{name: "audit, older head", allow: true, code: verdict.HeadRollback, change: func(w *world) {
			w.config.Mode = gate.Audit
			w.marks.Head = verdict.HeadRef{Counter: 8, Digest: verdict.SHA256(nil)}
		}},
		{name: "audit, malformed question", allow: true, code: verdict.InputMalformed, query: func(q *gate.Query) { q.Name = "app" },
			change: func(w *world) { w.config.Mode = gate.Audit }},
		{name: "audit, good", allow: true, change: func(w *world) { w.config.Mode = gate.Audit }},
		{name: "off", allow: true, code: verdict.PolicyOff, change: func(w *world) { w.config.Mode = gate.Off; w.answer = gate.Answer{} }},
	} {
		for _, way := range ways {
			t.Run(test.name+"/"+way.name, func(t *testing.T) {
				w := newWorld(t)
				if test.change != nil {
					test.change(w)
				}
				w.write()
				way.setUp(w)
				q, now := query(), at
				if test.query != nil {
					test.query(&q)
				}
				if !test.at.IsZero() {
					now = test.at
				}
				d := w.decide(q, now)
				want := test.code
				if way.name == "folder" && want == verdict.TicketMissing {
					want = verdict.AgentUnreachable // nobody could be asked
				}
				if d.Allowed() != test.allow || code(d) != want {
					t.Errorf("got allowed %t, code %q (%s), want %t, %q", d.Allowed(), code(d), d.Line(), test.allow, want)
				}
				if line := d.Line(); strings.ContainsAny(line, "\n\r") || len(line) > 1024 || !strings.Contains(line, string(want)) {
					t.Errorf("got line %q, want one with %q", line, want)
				}
			})
		}
	}
}

func tickets(change func(*verdict.Ticket)) func(*world) {
	return func(w *world) { w.answer.Tickets = []string{w.ticket(w.daemon, change)} }
}

func status(change func(*verdict.Status)) func(*world) {
	return func(w *world) { w.answer.Status = w.status(w.daemon, change) }
}

// two asks for a quorum of two and has two daemons that let through, the first on
// chip 01. change says in what they differ.
func two(by gate.Distinct, change func(first, second *daemon)) func(*world) {
	return func(w *world) {
		w.config.Quorum, w.config.QuorumBy = 2, by
		second := w.newDaemon()
		w.daemon.issuer.Chip = "01"
		change(w.daemon, second)
		w.answer.Statements = []verdict.Issuer{w.daemon.issuer, second.issuer}
		w.answer.Tickets = append(w.answer.Tickets, w.ticket(second, nil))
	}
}

func denies(list verdict.DenyList) func(*world) {
	return func(w *world) { w.deny = append(w.deny, w.document(list)) }
}

func exception(change func(*verdict.Exception)) func(*world) {
	return func(w *world) {
		w.answer.Tickets, w.answer.Code = nil, verdict.TicketMissing
		w.file("exceptions/a.json", w.exception(change))
	}
}

func ask(name string, d verdict.Digest) func(*gate.Query) {
	return func(q *gate.Query) {
		q.Name, q.Digest, q.Descriptor = name, string(d), []byte(`{"digest":"`+string(d)+`"}`)
	}
}

// recordFor leaves the tickets under another digest that they name, too.
func recordFor(d verdict.Digest) func(*world) {
	return func(w *world) {
		w.json(filepath.Join(gate.ImagesDir, gate.ImageKey(repository, d)+".json"), gate.ImageRecord{V: 1, Repository: repository, Digest: d, Tickets: w.answer.Tickets})
	}
}

func TestDecideSaysWhatItRestsOn(t *testing.T) {
	w := newWorld(t)
	w.answer.Known = at.Add(-time.Hour).Unix()
	w.answer.Status = w.status(w.daemon, func(s *verdict.Status) { s.Iat = at.Add(-time.Hour / 2).Unix() })
	w.write()
	d := w.decide(query(), at)
	if !d.Allowed() || !d.Simulated || !d.Unwitnessed || !d.Offline {
		t.Fatalf("got %+v, want simulated, unwitnessed, offline", d)
	}
	for _, word := range []string{"pass: ", "simulated", "unwitnessed", "offline since"} {
		if !strings.Contains(d.Line(), word) {
			t.Errorf("got %q, want it to say %q", d.Line(), word)
		}
	}
}

// A rename of the agent between two reads gives old or new, never half; here the
// folder is broken by hand, and the gate says no and which file it was.
// TestNewHead: where a head has just come, a denial for what is under the one before
// is looked at again, and no other denial.
func TestNewHead(t *testing.T) {
	t.Parallel()
	older := status(func(s *verdict.Status) { s.Head.Counter -= 2 }) // grace is for one
	for name, test := range map[string]struct {
		since  time.Duration // how long the node has had the head
		behind bool          // the marks are not written yet
		change func(*world)  // of all answers but the last
		again  bool          // there is a good one in the end
		asked  int32
		code   verdict.Code
	}{
		"a moment ago":             {since: time.Second, change: older, again: true, asked: 2},
		"now":                      {change: older, again: true, asked: 2},
		"about to be written down": {behind: true, change: older, again: true, asked: 2},
		"and no newer answer":      {change: older, asked: 6, code: verdict.StatusRollback},
		"long ago":                 {since: 3 * time.Second, change: older, again: true, asked: 1, code: verdict.StatusRollback},
		"another denial":           {change: tickets(func(t *verdict.Ticket) { t.Aud += "x" }), again: true, asked: 1, code: verdict.TicketAudience},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.marks.Head, w.marks.HeadSince = verdict.HeadRef{Counter: w.head.Counter, Digest: w.open().Digest}, at.Add(-test.since).Unix()
			if test.behind {
				w.marks.Head = verdict.HeadRef{Counter: w.head.Counter - 1, Digest: verdict.SHA256(nil)}
			}
			w.config.Deadline = gate.Duration(20 * time.Second)
			good := w.answer
			test.change(w)
			w.write()
			var first, last bytes.Buffer
			check(t, gate.WriteAnswer(&first, w.answer))
			answers := [][]byte{first.Bytes()}
			if test.again {
				check(t, gate.WriteAnswer(&last, good))
				answers = append(answers, last.Bytes())
			}
			asked := w.serve(answers...)
			d := w.decide(query(), at)
			if code(d) != test.code || d.Allowed() != (test.code == "") || asked.Load() != test.asked {
				t.Errorf("got %s after %d questions, want %q after %d", d.Line(), asked.Load(), test.code, test.asked)
			}
		})
	}
}

func TestBrokenFolder(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*testing.T, *world)
	}{
		{"head truncated", func(t *testing.T, w *world) { truncate(t, filepath.Join(w.dir, gate.HeadFile)) }},
		{"marks truncated", func(t *testing.T, w *world) { truncate(t, filepath.Join(w.dir, gate.MarksFile)) }},
		{"issuers truncated", func(t *testing.T, w *world) { truncate(t, filepath.Join(w.dir, gate.IssuersFile)) }},
		{"no issuers", func(t *testing.T, w *world) { check(t, os.Remove(filepath.Join(w.dir, gate.IssuersFile))) }},
		{"status truncated", func(t *testing.T, w *world) { truncate(t, filepath.Join(w.dir, gate.StatusFile)) }},
		{"no head", func(t *testing.T, w *world) { check(t, os.Remove(filepath.Join(w.dir, gate.HeadFile))) }},
		{"folder gone", func(t *testing.T, w *world) { check(t, os.RemoveAll(w.dir)) }},
		{"folder is a file", func(t *testing.T, w *world) {
			check(t, os.RemoveAll(w.dir))
			check(t, os.WriteFile(w.dir, nil, 0o600))
		}},
		{"folder written by others", func(t *testing.T, w *world) { check(t, os.Chmod(w.dir, 0o777)) }},
		{"head written by others", func(t *testing.T, w *world) { check(t, os.Chmod(filepath.Join(w.dir, gate.HeadFile), 0o666)) }},
		{"issuers written by others", func(t *testing.T, w *world) { check(t, os.Chmod(filepath.Join(w.dir, gate.IssuersFile), 0o622)) }},
		{"head is a link", func(t *testing.T, w *world) {
			path := filepath.Join(w.dir, gate.HeadFile)
			check(t, os.Rename(path, path+".real"))
			check(t, os.Symlink(path+".real", path))
		}},
		{"marks of another user", func(t *testing.T, w *world) { chown(t, filepath.Join(w.dir, gate.MarksFile)) }},
		{"folder of another user", func(t *testing.T, w *world) { chown(t, w.dir) }},
		{"statement under another digest", func(t *testing.T, w *world) {
			i := w.daemon.issuer
			i.Statement.Seq++
			w.json(gate.IssuersFile, gate.Issuers{V: 1, Issuers: []gate.AcceptedIssuer{{Issuer: i}}})
		}},
		{"image record of another image", func(t *testing.T, w *world) {
			w.json(filepath.Join(gate.ImagesDir, gate.ImageKey(repository, image)+".json"), gate.ImageRecord{V: 1, Repository: repository, Digest: manifest, Tickets: w.answer.Tickets})
		}},
		{"record with a duplicate member", func(t *testing.T, w *world) {
			w.file(gate.StatusFile, []byte(`{"v":1,"status":"a","status":"`+w.answer.Status+`"}`))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.write()
			if d := w.decide(query(), at); !d.Allowed() {
				t.Fatalf("before the change: %s", d.Line())
			}
			test.change(t, w)
			if d := w.decide(query(), at); d.Allowed() {
				t.Errorf("got %s, want a denial", d.Line())
			} else if code(d) == "" {
				t.Errorf("got %s, want a code", d.Line())
			}
		})
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	check(t, err)
	check(t, os.Truncate(path, info.Size()/2))
}

func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("changing owners needs root")
	}
	check(t, os.Chown(path, 4711, 4711))
}

func TestAgentUIDMayOwnTheFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing owners needs root")
	}
	w := newWorld(t)
	w.write()
	check(t, filepath.WalkDir(w.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, 4711, 4711))
	}))
	w.config.AgentUID = 4711
	if d := w.decide(query(), at); !d.Allowed() {
		t.Errorf("got %s, want a pass", d.Line())
	}
}

func TestAgentThatIsNone(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer []byte
		change func(*world)
	}{
		{name: "another user listens", change: func(w *world) { w.config.AgentUID = 4711 }},
		{name: "oversized", answer: []byte{0, 4, 0, 1, '{'}},
		{name: "cut off", answer: append([]byte{0, 0, 1, 0}, `{"v":1`...)},
		{name: "not JSON", answer: frame("hello")},
		{name: "unknown member", answer: frame(`{"v":1,"allow":true}`)},
		{name: "member in capitals", answer: frame(`{"v":1,"Tickets":[]}`)},
		{name: "other version", answer: frame(`{"v":2}`)},
		{name: "empty", answer: nil},
		{name: "deep", answer: frame(`{"v":1,"tickets":` + strings.Repeat("[", 1000))},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.change != nil {
				test.change(w)
			}
			w.serve(test.answer)
			_, err := gate.Ask(t.Context(), w.config.Socket, w.config.AgentUID, gate.Request{Name: name, Digest: image})
			if verdict.CodeOf(err) != verdict.AgentUnreachable {
				t.Errorf("got %v, want %s", err, verdict.AgentUnreachable)
			}
			// What the impostor says does not count, what is on disk does.
			w.answer = gate.Answer{}
			w.config.AgentUID = uint32(os.Geteuid())
			if test.change != nil {
				test.change(w)
			}
			w.write()
			if d := w.decide(query(), at); d.Allowed() {
				t.Errorf("got %s, want a denial", d.Line())
			}
		})
	}
}

// TestAgentOfAnotherUser: whoever else listens on the socket is not asked.
func TestAgentOfAnotherUser(t *testing.T) {
	w := newWorld(t)
	good := w.answer
	w.answer.Tickets = nil
	w.write()
	w.answer = good
	w.agent()
	if d := w.decide(query(), at); !d.Allowed() {
		t.Errorf("its own agent: got %s", d.Line())
	}
	w.config.AgentUID++
	if d := w.decide(query(), at); d.Allowed() || code(d) != verdict.AgentUnreachable {
		t.Errorf("got %s, want %s", d.Line(), verdict.AgentUnreachable)
	}
}

// TestStandingOfATPM: the entry of another build does not keep a statement alive
// because the two share kind and configuration.
func TestStandingOfATPM(t *testing.T) {
	w := newWorld(t)
	value := func(c string) string { return strings.Repeat(c, 64) }
	w.refs.Entries[0].Kind, w.refs.Entries[0].Measurement, w.refs.Entries[0].Events = verdict.KindTPM, "", "pcr14"
	issuer := w.daemon.issuer
	issuer.Kind = verdict.KindTPM
	for _, tt := range []struct {
		name      string
		registers map[string]string
		measured  string
		want      verdict.Code
	}{
		{"the same", map[string]string{"pcr4": value("4"), "pcr11": value("a")}, value("a"), ""},
		{"another build", map[string]string{"pcr4": value("4"), "pcr11": value("b")}, value("a"), verdict.GuestMeasurement},
		{"pinned by another register", map[string]string{"pcr4": value("4"), "pcr7": value("7")}, value("4"), ""},
		{"pinned by another register, changed", map[string]string{"pcr4": value("5"), "pcr7": value("7")}, value("4"), verdict.GuestMeasurement},
		{"nothing was measured", map[string]string{"pcr4": value("4")}, "", verdict.GuestMeasurement},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.refs.Entries[0].Registers = tt.registers
			issuer.Measurement = tt.measured
			if err := gate.Standing(w.open(), issuer, true, at); verdict.CodeOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestStandingOfATD: of two builds of one firmware the entry of the other keeps
// nothing alive, whatever the agent says that it accepted.
func TestStandingOfATD(t *testing.T) {
	w := newWorld(t)
	value := func(c string) string { return strings.Repeat(c, 96) }
	e := &w.refs.Entries[0]
	e.Kind, e.Measurement, e.Events = verdict.KindSimulatedTDX, measurement, "rtmr3"
	for _, tt := range []struct {
		name   string
		change func(e *verdict.ReferenceEntry, i *verdict.Issuer)
		want   verdict.Code
	}{
		{"the same", func(*verdict.ReferenceEntry, *verdict.Issuer) {}, ""},
		{"RTMR0 is left open", func(e *verdict.ReferenceEntry, i *verdict.Issuer) {
			delete(e.Registers, "rtmr0")
			i.Registers["rtmr0"] = value("9")
		}, ""},
		{"another MRTD", func(_ *verdict.ReferenceEntry, i *verdict.Issuer) { i.Measurement = value("d") }, verdict.GuestMeasurement},
		{"another RTMR0", func(e *verdict.ReferenceEntry, _ *verdict.Issuer) { e.Registers["rtmr0"] = value("9") }, verdict.GuestRegister},
		{"another RTMR1", func(e *verdict.ReferenceEntry, _ *verdict.Issuer) { e.Registers["rtmr1"] = value("9") }, verdict.GuestRegister},
		{"another RTMR2", func(e *verdict.ReferenceEntry, _ *verdict.Issuer) { e.Registers["rtmr2"] = value("9") }, verdict.GuestRegister},
		{"no registers", func(_ *verdict.ReferenceEntry, i *verdict.Issuer) { i.Registers = nil }, verdict.GuestRegister},
		{"another kind", func(_ *verdict.ReferenceEntry, i *verdict.Issuer) { i.Kind = verdict.KindTDX }, verdict.GuestMeasurement},
		{"another config, and a build after it", func(e *verdict.ReferenceEntry, i *verdict.Issuer) {
			i.Statement.Config = verdict.SHA256([]byte("another"))
			other := *e
			other.Registers = map[string]string{"rtmr1": value("9"), "rtmr2": value("2")}
			w.refs.Entries = append(w.refs.Entries, other)
		}, verdict.IssuerConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			registers := map[string]string{"rtmr0": value("0"), "rtmr1": value("1"), "rtmr2": value("2")}
			e := &w.refs.Entries[0]
			e.Registers = maps.Clone(registers)
			issuer := w.daemon.issuer
			issuer.Kind, issuer.Registers = verdict.KindSimulatedTDX, registers
			tt.change(e, &issuer)
			if err := gate.Standing(w.open(), issuer, true, at); verdict.CodeOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestStandingOfAzure: all builds on Azure have one paravisor, and the PCRs tell them
// apart.
func TestStandingOfAzure(t *testing.T) {
	w := newWorld(t)
	value := func(c string) string { return strings.Repeat(c, 64) }
	e := &w.refs.Entries[0]
	e.Kind, e.Profile, e.Measurement, e.Events = verdict.KindAzureSNP, verdict.Production, measurement, "pcr14"
	for _, tt := range []struct {
		name   string
		change func(i *verdict.Issuer)
		want   verdict.Code
	}{
		{"the same", func(*verdict.Issuer) {}, ""},
		{"a register that is not pinned", func(i *verdict.Issuer) { i.Registers["pcr0"] = value("9") }, ""},
		{"another paravisor", func(i *verdict.Issuer) { i.Measurement = strings.Repeat("d", 96) }, verdict.GuestMeasurement},
		{"another PCR 4", func(i *verdict.Issuer) { i.Registers["pcr4"] = value("9") }, verdict.GuestRegister},
		{"another PCR 12", func(i *verdict.Issuer) { i.Registers["pcr12"] = value("9") }, verdict.GuestRegister},
		{"no registers", func(i *verdict.Issuer) { i.Registers = nil }, verdict.GuestRegister},
		{"another kind", func(i *verdict.Issuer) { i.Kind = verdict.KindAzureTDX }, verdict.GuestMeasurement},
	} {
		t.Run(tt.name, func(t *testing.T) {
			registers := map[string]string{"pcr0": value("0"), "pcr4": value("4"), "pcr12": value("c"), "pcr13": value("d")}
			e.Registers = maps.Clone(registers)
			delete(e.Registers, "pcr0")
			issuer := w.daemon.issuer
			issuer.Kind, issuer.Registers = verdict.KindAzureSNP, registers
			tt.change(&issuer)
			if err := gate.Standing(w.open(), issuer, false, at); verdict.CodeOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestAgentCodeOnlyWithholds: what an agent says beside signed things withholds, and
// nothing more.
func TestAgentCodeOnlyWithholds(t *testing.T) {
	for _, code := range []verdict.Code{"", "pass", verdict.PolicyOff, verdict.PolicyException, verdict.SigNone, verdict.DaemonUnreachable, "no.such"} {
		w := newWorld(t)
		w.answer.Tickets, w.answer.Code, w.answer.Text = nil, code, "let it through\nplease"
		w.write()
		w.agent()
		if d := w.decide(query(), at); d.Allowed() || strings.Contains(d.Line(), "\n") {
			t.Errorf("%q: got %q, want a denial in one line", code, d.Line())
		} else {
			// Its code is told as what the code is, and is not told where there is none.
			want, refused := verdict.TicketMissing, false
			if info, ok := code.Info(); ok {
				want, refused = code, info.Kind == verdict.KindRefusal
			}
			if verdict.CodeOf(d.Err) != want || verdict.Refused(d.Err) != refused {
				t.Errorf("%q: got %v, refused %t; want %s, %t", code, d.Err, verdict.Refused(d.Err), want, refused)
			}
		}
	}
}

func TestDeadline(t *testing.T) {
	w := newWorld(t)
	w.config.Deadline = gate.Duration(300 * time.Millisecond)
	w.write()
	w.silent()
	begin := time.Now()
	d := w.decide(query(), at)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %s, want about the deadline", took)
	}
	// With the agent hanging, the folder decides.
	if !d.Allowed() {
		t.Errorf("got %s, want a pass from the folder", d.Line())
	}
}

func TestUseOfAnExceptionIsWrittenOnce(t *testing.T) {
	w := newWorld(t)
	w.answer.Tickets = nil
	raw := w.exception(nil)
	w.file("exceptions/a.json", raw)
	w.write()
	for range 3 {
		if d := w.decide(query(), at); !d.Allowed() {
			t.Fatal(d.Line())
		}
	}
	entries, err := os.ReadDir(filepath.Join(w.dir, gate.UsesDir))
	check(t, err)
	if len(entries) != 1 {
		t.Fatalf("got %d records, want 1", len(entries))
	}
	data, err := os.ReadFile(filepath.Join(w.dir, gate.UsesDir, entries[0].Name()))
	check(t, err)
	use, err := gate.ParseUseRecord(data)
	check(t, err)
	if string(use.Exception) != string(raw) || use.Digest != image || use.UsedAt != at.Unix() {
		t.Errorf("got %+v", use)
	}
}

// A full disk does not take away the last way to start something, and is told.
func TestUseThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.answer.Tickets = nil
	w.file("exceptions/a.json", w.exception(nil))
	w.file("uses", nil) // a file where a folder must be
	w.write()
	d := w.decide(query(), at)
	if !d.Allowed() || !strings.Contains(d.Line(), "could not be written down") {
		t.Errorf("got %s", d.Line())
	}
}

// With no head ever seen, owners can let something through by an exception all the
// same: the configuration names them.
func TestExceptionWithoutHead(t *testing.T) {
	w := newWorld(t)
	w.file("exceptions/a.json", w.exception(nil))
	if d := w.decide(query(), at); !d.Allowed() || code(d) != verdict.PolicyException {
		t.Errorf("got %s", d.Line())
	}
	w.json(gate.MarksFile, gate.Marks{V: 1, Head: verdict.HeadRef{Counter: 3, Digest: verdict.SHA256(nil)}})
	if d := w.decide(query(), at); d.Allowed() || code(d) != verdict.HeadMissing {
		t.Errorf("head lost: got %s", d.Line())
	}
}

// What others can write is not believed, and the gate says that instead of that
// something is missing. No exception helps: it lies in the same folder.
func TestStateOfOthers(t *testing.T) {
	for _, name := range []string{"", gate.HeadFile, gate.MarksFile} {
		for _, mode := range []os.FileMode{0o777, 0o770, 0o707} {
			t.Run(fmt.Sprintf("%s %o", name, mode), func(t *testing.T) {
				w := newWorld(t)
				w.write()
				w.file("exceptions/a.json", w.exception(nil))
				path := filepath.Join(w.config.State, name)
				was, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
				if d := w.decide(query(), at); d.Allowed() || code(d) != verdict.AgentState || !strings.Contains(d.Line(), fmt.Sprintf("has mode %04o", mode)) {
					t.Errorf("got %s, want %s with the mode", d.Line(), verdict.AgentState)
				}
				if err := os.Chmod(path, was.Mode().Perm()); err != nil {
					t.Fatal(err)
				}
				if d := w.decide(query(), at); !d.Allowed() {
					t.Errorf("got %s with the mode as it was", d.Line())
				}
			})
		}
	}
}

// R16: a panic in a parser left with status 0 elsewhere.
func TestR16PanicDenies(t *testing.T) {
	w := newWorld(t)
	w.write()
	gate.SetTestingOnlyPanic(t, "in a parser\nof ours")
	d := w.decide(query(), at)
	if d.Allowed() || code(d) != verdict.Internal || strings.Contains(d.Line(), "\n") {
		t.Errorf("got %q, want %s in one line", d.Line(), verdict.Internal)
	}
}

func TestZeroValues(t *testing.T) {
	if _, err := gate.New(gate.Config{}); err == nil {
		t.Error("got a gate without configuration")
	}
	var g *gate.Gate
	if d := g.Decide(t.Context(), query(), at); d.Allowed() {
		t.Errorf("nil gate: got %s", d.Line())
	}
	if d := (&gate.Gate{}).Decide(t.Context(), query(), at); d.Allowed() {
		t.Errorf("zero gate: got %s", d.Line())
	}
	if d := (gate.Decision{}); d.Allowed() || !strings.HasPrefix(d.Line(), "internal: ") {
		t.Errorf("zero decision: got %s", d.Line())
	}
	if d := gate.Judge(gate.Knowledge{}, gate.Image{}, gate.Answer{}, at); d.Allowed() {
		t.Errorf("zero knowledge: got %s", d.Line())
	}
}
