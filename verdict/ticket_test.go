// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// TestTokenConfusion is the table of attacks on what a node checks: each row
// changes one thing in a good ticket or in a good check of it. What is wrong with
// a token as such is in TestJWS.
func TestTokenConfusion(t *testing.T) {
	w := newWorld(t)
	good := w.check(t)
	payload := payloadOf(t, sign(t, w.ticket, w.ticketKey))
	kid := w.ticketKey.Kid()

	// How a row makes its token.
	signed := func(f func(x *verdict.Ticket)) string { // by the product
		x := w.ticket
		x.Res = maps.Clone(x.Res)
		f(&x)
		return sign(t, x, w.ticketKey)
	}
	forged := func(f func(m map[string]any)) string { // with the right key
		return forge(t, header(verdict.TicketType, kid), edit(t, payload, f), w.ticketKey.priv)
	}
	asTicket := func(payload []byte) string {
		return forge(t, header(verdict.TicketType, kid), payload, w.ticketKey.priv)
	}
	same := sign(t, w.ticket, w.ticketKey)

	// How a row makes its check.
	head := func(f func(s *verdict.HeadSet)) func(c *verdict.TicketCheck) {
		return func(c *verdict.TicketCheck) {
			s := w.set(t)
			f(&s)
			c.Head = must(verdict.OpenHead(s, w.owners))(t)
		}
	}
	denied := func(d verdict.DenyList) func(c *verdict.TicketCheck) {
		return head(func(s *verdict.HeadSet) { s.Deny = [][]byte{w.denyDoc(t, 2, 1, d, 0, time.Hour)} })
	}
	deniedInFile := func(d verdict.DenyList) func(c *verdict.TicketCheck) {
		d.V = 1
		return head(func(s *verdict.HeadSet) {
			file := encoded(t, d)
			s.Files = append(s.Files, file)
			s.Head = forgeDSSE(t, verdict.HeadType, edit(t, payloadOfDSSE(t, s.Head), func(m map[string]any) { m["deny"] = string(verdict.SHA256(file)) }), w.owner[0], w.owner[1])
		})
	}
	newer := func(by uint64, since time.Duration) func(c *verdict.TicketCheck) {
		return func(c *verdict.TicketCheck) {
			h := w.head
			h.Counter += by
			c.Head = must(verdict.OpenHead(w.setOf(t, h, w.owners, w.owner[0].Key, w.owner[1].Key), w.owners))(t)
			c.HeadSince = at.Add(since)
		}
	}
	noGrace := func(c *verdict.TicketCheck) {
		h := w.head
		h.Counter, h.Grace = h.Counter+1, 0
		c.Head = must(verdict.OpenHead(w.setOf(t, h, w.owners, w.owner[0].Key, w.owner[1].Key), w.owners))(t)
	}
	both := func(fs ...func(c *verdict.TicketCheck)) func(c *verdict.TicketCheck) {
		return func(c *verdict.TicketCheck) {
			for _, f := range fs {
				f(c)
			}
		}
	}
	offline := func(c *verdict.TicketCheck) { c.AllowOffline = true }
	clock := func(d time.Duration) func(c *verdict.TicketCheck) {
		return func(c *verdict.TicketCheck) { c.At = at.Add(d) }
	}
	key, certificate := verdict.SHA256([]byte("key")), verdict.SHA256([]byte("certificate"))
	identity := verdict.DenyList{Identities: []verdict.DeniedIdentity{{SAN: "x"}}}

	tests := []struct {
		name  string
		token string
		check func(c *verdict.TicketCheck) // nil: a good one
		code  verdict.Code
	}{
		{"good", same, nil, ""},
		{"good, made independently", asTicket(payload), nil, ""},
		{"good by the manifest", same, func(c *verdict.TicketCheck) { c.Digest = w.manifest }, ""},
		{"good by the configuration", same, func(c *verdict.TicketCheck) { c.Digest = w.config }, ""},
		{"good in a namespace", same, func(c *verdict.TicketCheck) { c.Namespace = "team-a" }, ""},

		// Other tokens.
		{"JWT-SVID", forge(t, `{"alg":"ES256","kid":"`+kid+`","typ":"JWT"}`, []byte(`{"aud":["`+nodeA+`"],"exp":`+itoa(unix(time.Hour))+`,"iat":`+itoa(unix(0))+`,"sub":"`+nodeA+`"}`), w.ticketKey.priv), nil, verdict.TicketAlgorithm},
		{"claims of a JWT-SVID under our typ", asTicket([]byte(`{"aud":["` + nodeA + `"],"exp":` + itoa(unix(time.Hour)) + `,"iat":` + itoa(unix(0)) + `,"sub":"` + nodeA + `"}`)), nil, verdict.TicketMalformed},
		{"status", must(verdict.SignStatus(goodStatus(w, good.Head), w.ticketKey.Key))(t), nil, verdict.TicketAlgorithm},
		{"claims of a status under our typ", asTicket(payloadOf(t, must(verdict.SignStatus(goodStatus(w, good.Head), w.ticketKey.Key))(t))), nil, verdict.TicketMalformed},
		{"issuer statement", asTicket(encoded(t, w.statement)), nil, verdict.TicketMalformed},
		{"verdict core", string(must(verdict.SignCore(goodCore(w), w.verdictKey.Key))(t).Envelope), nil, verdict.TicketMalformed},
		{"another profile", forged(func(m map[string]any) { m["eat_profile"] = "tag:github.com,2026:assayd/assay/verdict/v2" }), nil, verdict.TicketMalformed},
		{"no profile", forged(func(m map[string]any) { delete(m, "eat_profile") }), nil, verdict.TicketMalformed},

		// Another node, image, repository, namespace.
		{"another node", signed(func(x *verdict.Ticket) { x.Aud = nodeB }), nil, verdict.TicketAudience},
		{"on another node", same, func(c *verdict.TicketCheck) { c.Node = nodeB }, verdict.TicketAudience},
		{"node that begins the same", signed(func(x *verdict.Ticket) { x.Aud = nodeA + "b" }), nil, verdict.TicketAudience},
		{"node without a name", same, func(c *verdict.TicketCheck) { c.Node = "" }, verdict.TicketAudience},
		{"another cluster", signed(func(x *verdict.Ticket) { x.Cluster = "prod" }), nil, verdict.TicketAudience},
		{"node without a cluster", same, func(c *verdict.TicketCheck) { c.Cluster = "" }, verdict.TicketAudience},
		{"another image", same, func(c *verdict.TicketCheck) { c.Digest = w.otherImg }, verdict.TicketSubject},
		{"no image", same, func(c *verdict.TicketCheck) { c.Digest = "" }, verdict.TicketSubject},
		{"no image, and the ticket has no index", signed(func(x *verdict.Ticket) { x.Dig = verdict.TicketDigests{} }), func(c *verdict.TicketCheck) { c.Digest = "" }, verdict.TicketSubject},
		{"configuration that the ticket leaves out", signed(func(x *verdict.Ticket) { x.Dig.Config = "" }), func(c *verdict.TicketCheck) { c.Digest = w.config }, verdict.TicketSubject},
		{"another repository", same, func(c *verdict.TicketCheck) { c.Repository = "registry.example/team/other" }, verdict.TicketRepository},
		{"the same path elsewhere", same, func(c *verdict.TicketCheck) { c.Repository = "evil.example/team/app" }, verdict.TicketRepository},
		{"no repository", same, func(c *verdict.TicketCheck) { c.Repository = "" }, verdict.TicketRepository},
		{"repository under an alias", forged(func(m map[string]any) { m["repo"] = "registry.example:443/team/app" }), nil, verdict.TicketMalformed},
		{"namespace that fails", signed(func(x *verdict.Ticket) { x.Res["team-a"] = verdict.OutcomeFail }), func(c *verdict.TicketCheck) { c.Namespace = "team-a" }, verdict.TicketNamespace},
		{"the namespace beside it", signed(func(x *verdict.Ticket) { x.Res["team-a"] = verdict.OutcomeFail }), func(c *verdict.TicketCheck) { c.Namespace = "team-b" }, ""},
		{"namespace pattern that fails", signed(func(x *verdict.Ticket) { x.Res["team-*"] = verdict.OutcomeFail }), func(c *verdict.TicketCheck) { c.Namespace = "team-b" }, verdict.TicketNamespace},
		{"namespace that the ticket does not name", signed(func(x *verdict.Ticket) { x.Res = map[string]verdict.Outcome{"team-a": verdict.OutcomePass} }), func(c *verdict.TicketCheck) { c.Namespace = "team-b" }, verdict.TicketNamespace},
		{"pull with a ticket for namespaces alone", signed(func(x *verdict.Ticket) { x.Res = map[string]verdict.Outcome{"team-a": verdict.OutcomePass} }), nil, verdict.TicketNamespace},
		{"namespace that is the pattern itself", signed(func(x *verdict.Ticket) {
			x.Res = map[string]verdict.Outcome{"*": verdict.OutcomeFail, "team-*": verdict.OutcomePass}
		}), func(c *verdict.TicketCheck) { c.Namespace = "team-*" }, verdict.TicketNamespace},
		{"denial, with its code", signed(func(x *verdict.Ticket) {
			x.Res, x.Code, x.Exp = map[string]verdict.Outcome{"*": verdict.OutcomeFail}, verdict.IdentitySAN, x.Iat+60
		}), clock(-30 * time.Second), verdict.IdentitySAN},
		{"denial without a code", signed(func(x *verdict.Ticket) {
			x.Res, x.Exp = map[string]verdict.Outcome{"*": verdict.OutcomeFail}, x.Iat+60
		}), clock(-30 * time.Second), verdict.TicketNamespace},
		{"audit lets through", signed(func(x *verdict.Ticket) {
			x.Res, x.Code = map[string]verdict.Outcome{"*": verdict.OutcomeAuditFail}, verdict.SigNone
		}), nil, ""},

		// Times, by the node's clock.
		{"last second", same, clock(12*time.Hour - time.Second), ""},
		{"expired", same, clock(12 * time.Hour), verdict.TicketExpired},
		{"not yet valid", signed(func(x *verdict.Ticket) { x.Nbf = unix(time.Minute + time.Second) }), nil, verdict.TicketNotYetValid},
		{"not yet valid, within the skew", signed(func(x *verdict.Ticket) { x.Nbf = unix(time.Minute) }), nil, ""},
		{"issued in the future", signed(func(x *verdict.Ticket) { x.Iat = unix(time.Minute + time.Second) }), nil, verdict.TicketNotYetValid},
		{"daemon's clock an hour ahead", signed(func(x *verdict.Ticket) { x.Iat, x.Nbf = unix(time.Hour), unix(time.Hour) }), nil, verdict.TicketNotYetValid},
		{"node's clock an hour behind", same, clock(-time.Hour), verdict.TicketNotYetValid},
		{"node's clock a day ahead", same, clock(24 * time.Hour), verdict.TicketExpired},
		{"no clock", same, func(c *verdict.TicketCheck) { c.At = time.Time{} }, verdict.TicketNotYetValid},
		{"negative iat", forged(func(m map[string]any) { m["iat"] = -1 }), nil, verdict.TicketMalformed},
		{"iat beyond 2⁵³", forged(func(m map[string]any) { m["iat"] = uint64(1) << 63 }), nil, verdict.TicketMalformed},

		// Statements.
		{"statement that was not accepted", forged(func(m map[string]any) { m["stmt"] = "sha256:" + zeroSum }), nil, verdict.TicketStatement},
		{"no statement accepted", same, func(c *verdict.TicketCheck) { c.Issuers = nil }, verdict.TicketStatement},
		{"statement of the other daemon", signed(func(x *verdict.Ticket) { x.Stmt = w.issuer2.Digest }), nil, verdict.TicketStatement},
		{"issuer of another name", signed(func(x *verdict.Ticket) { x.Iss = nodeA }), nil, verdict.TicketStatement},
		{"core of another accepted daemon", signed(func(x *verdict.Ticket) { x.By = w.verdictKey2.Kid() }), nil, ""},
		{"core of a daemon that was not accepted", signed(func(x *verdict.Ticket) { x.By = w.verdictKey2.Kid() }), func(c *verdict.TicketCheck) { c.Issuers = c.Issuers[:1] }, verdict.TicketStatement},
		{"core by a ticket key", signed(func(x *verdict.Ticket) { x.By = kid }), nil, verdict.TicketStatement},

		// Core or no core.
		{"pass without core", forged(func(m map[string]any) { delete(m, "core"); delete(m, "by"); delete(m, "log") }), nil, verdict.TicketMalformed},
		{"fail without core", forged(func(m map[string]any) {
			delete(m, "core")
			delete(m, "by")
			delete(m, "log")
			m["res"] = map[string]any{"*": "unchecked", "a": "fail"}
		}), nil, verdict.TicketMalformed},
		{"core without by", forged(func(m map[string]any) { delete(m, "by") }), nil, verdict.TicketMalformed},
		{"core without log", forged(func(m map[string]any) { delete(m, "log") }), nil, verdict.TicketMalformed},
		{"by without core", forged(func(m map[string]any) { delete(m, "core") }), nil, verdict.TicketMalformed},
		{"unchecked without core", signed(func(x *verdict.Ticket) {
			x.Core, x.By, x.Log, x.Res = "", "", nil, map[string]verdict.Outcome{"*": verdict.OutcomeUnchecked}
		}), nil, ""},
		{"audit-fail without core lives a minute", forged(func(m map[string]any) {
			delete(m, "core")
			delete(m, "by")
			delete(m, "log")
			m["res"] = map[string]any{"*": "audit-fail"}
		}), nil, verdict.TicketLifetime},
		{"core by SHA-512", forged(func(m map[string]any) { m["core"] = "sha512:" + zeroSum + zeroSum }), nil, verdict.TicketMalformed},
		{"by with a line end", forged(func(m map[string]any) { m["by"] = "a\nb" }), nil, verdict.TicketMalformed},
		{"origin with a space", forged(func(m map[string]any) { m["log"].(map[string]any)["origin"] = "a b" }), nil, verdict.TicketMalformed},
		{"subject that is no digest", forged(func(m map[string]any) { m["sub"] = "latest" }), nil, verdict.TicketMalformed},
		{"manifest that is no digest", forged(func(m map[string]any) { m["dig"].(map[string]any)["manifest"] = "sha256:" + zeroSum[1:] }), nil, verdict.TicketMalformed},
		{"unknown outcome", forged(func(m map[string]any) { m["res"] = map[string]any{"*": "allow"} }), nil, verdict.TicketMalformed},
		{"outcome in other case", forged(func(m map[string]any) { m["res"] = map[string]any{"*": "Pass"} }), nil, verdict.TicketMalformed},
		{"no outcomes", forged(func(m map[string]any) { m["res"] = map[string]any{} }), nil, verdict.TicketMalformed},
		{"two asterisks", forged(func(m map[string]any) { m["res"] = map[string]any{"**": "pass"} }), nil, verdict.TicketMalformed},
		{"code that is a sentence", forged(func(m map[string]any) { m["code"] = "all is well" }), nil, verdict.TicketMalformed},

		// Heads.
		{"older head inside its grace", same, newer(1, -5*time.Minute), ""},
		{"older head, last second of its grace", same, newer(1, -10*time.Minute+time.Second), ""},
		{"older head outside its grace", same, newer(1, -10*time.Minute), verdict.TicketHead},
		{"older head by two", same, newer(2, -time.Minute), verdict.TicketHead},
		{"older head without grace", same, noGrace, verdict.TicketHead},
		{"older head, and the node does not know since when", same, both(newer(1, 0), func(c *verdict.TicketCheck) { c.HeadSince = time.Time{} }), verdict.TicketHead},
		{"older head, and the clock went back", same, newer(1, time.Minute), verdict.TicketHead},
		{"newer head than the node's", signed(func(x *verdict.Ticket) { x.Head++ }), nil, verdict.TicketHead},
		{"largest head", signed(func(x *verdict.Ticket) { x.Head = 1<<53 - 1 }), nil, verdict.TicketHead},
		{"head 0", forged(func(m map[string]any) { m["head"] = 0 }), nil, verdict.TicketMalformed},
		{"node without a head", same, func(c *verdict.TicketCheck) { c.Head = verdict.CheckedHead{} }, verdict.TicketHead},
		{"the node's head has ended", same, func(c *verdict.TicketCheck) { c.Head.Until = at }, verdict.HeadExpired},

		// Deny lists: what the node sees itself, by document and by file.
		{"something else is denied", same, denied(verdict.DenyList{Images: []verdict.Digest{w.otherImg}, Repositories: []string{"registry.example/x"}, Statements: []verdict.Digest{w.index}, Measurements: []string{zeroSum}}), ""},
		{"image denied by its index", same, denied(verdict.DenyList{Images: []verdict.Digest{w.index}}), verdict.TicketDenied},
		{"image denied by its manifest", same, denied(verdict.DenyList{Images: []verdict.Digest{w.manifest}}), verdict.TicketDenied},
		{"image denied by its configuration", same, denied(verdict.DenyList{Images: []verdict.Digest{w.config}}), verdict.TicketDenied},
		{"image denied by a file", same, deniedInFile(verdict.DenyList{Images: []verdict.Digest{w.index}}), verdict.TicketDenied},
		{"image denied, offline", same, both(denied(verdict.DenyList{Images: []verdict.Digest{w.index}}), offline), verdict.TicketDenied},
		{"image denied, document lapsed", same, both(denied(verdict.DenyList{Images: []verdict.Digest{w.index}}), clock(time.Hour)), ""},
		{"repository denied", same, denied(verdict.DenyList{Repositories: []string{repo}}), verdict.TicketDenied},
		{"repository denied by a file", same, deniedInFile(verdict.DenyList{Repositories: []string{repo}}), verdict.TicketDenied},
		{"statement denied", same, denied(verdict.DenyList{Statements: []verdict.Digest{w.issuer.Digest}}), verdict.TicketDenied},
		{"statement denied by a file", same, deniedInFile(verdict.DenyList{Statements: []verdict.Digest{w.issuer.Digest}}), verdict.TicketDenied},
		{"statement of another daemon denied", same, denied(verdict.DenyList{Statements: []verdict.Digest{w.issuer2.Digest}}), ""},
		{"statement denied that signed the core", signed(func(x *verdict.Ticket) { x.By = w.verdictKey2.Kid() }), denied(verdict.DenyList{Statements: []verdict.Digest{w.issuer2.Digest}}), verdict.TicketDenied},
		{"measurement denied", same, denied(verdict.DenyList{Measurements: []string{measurement}}), verdict.TicketDenied},
		{"register denied", same, both(func(c *verdict.TicketCheck) {
			c.Issuers[0].Registers = map[string]string{"rtmr1": strings.Repeat("ab", 48), "rtmr2": strings.Repeat("cd", 48)}
		}, denied(verdict.DenyList{Measurements: []string{strings.Repeat("cd", 48)}})), verdict.TicketDenied},
		{"register of no daemon denied", same, both(func(c *verdict.TicketCheck) {
			c.Issuers[0].Registers = map[string]string{"rtmr1": strings.Repeat("ab", 48), "rtmr2": strings.Repeat("cd", 48)}
		}, denied(verdict.DenyList{Measurements: []string{strings.Repeat("ef", 48)}})), ""},
		{"measurement denied that signed the core", signed(func(x *verdict.Ticket) { x.By = w.verdictKey2.Kid() }), both(func(c *verdict.TicketCheck) { c.Issuers[1].Measurement = strings.Repeat("ab", 48) }, denied(verdict.DenyList{Measurements: []string{strings.Repeat("ab", 48)}})), verdict.TicketDenied},

		// Deny lists: who signed is known to the daemon alone.
		{"identity denied after the ticket", same, denied(identity), verdict.TicketDenied},
		{"key denied after the ticket", same, denied(verdict.DenyList{Keys: []verdict.Digest{key}}), verdict.TicketDenied},
		{"certificate denied after the ticket", same, denied(verdict.DenyList{Certificates: []verdict.Digest{certificate}}), verdict.TicketDenied},
		{"log entry denied after the ticket", same, denied(verdict.DenyList{LogEntries: []string{zeroSum + "/1"}}), verdict.TicketDenied},
		{"identity denied after the ticket, offline", same, both(denied(identity), offline), verdict.TicketDenied},
		{"identity denied after the ticket, document lapsed", same, both(denied(identity), clock(time.Hour)), ""},
		{"deny digest is no digest", forged(func(m map[string]any) { m["deny"] = "" }), nil, verdict.TicketMalformed},

		// Offline: what still counts.
		{"offline", same, offline, ""},
		{"offline, expired", same, both(offline, clock(20*time.Hour)), ""},
		{"offline, older head", same, both(newer(2, -time.Hour), offline), ""},
		{"offline, the node's head has ended", same, both(func(c *verdict.TicketCheck) { c.Head.Until = at }, offline), ""},
		{"offline, another node", signed(func(x *verdict.Ticket) { x.Aud = nodeB }), offline, verdict.TicketAudience},
		{"offline, another image", same, both(offline, func(c *verdict.TicketCheck) { c.Digest = w.otherImg }), verdict.TicketSubject},
		{"offline, another repository", same, both(offline, func(c *verdict.TicketCheck) { c.Repository = "registry.example/x" }), verdict.TicketRepository},
		{"offline, namespace that fails", signed(func(x *verdict.Ticket) { x.Res["team-a"] = verdict.OutcomeFail }), both(offline, func(c *verdict.TicketCheck) { c.Namespace = "team-a" }), verdict.TicketNamespace},
		{"offline, statement that was not accepted", same, both(offline, func(c *verdict.TicketCheck) { c.Issuers = c.Issuers[1:] }), verdict.TicketStatement},
		{"offline, repository denied", same, both(denied(verdict.DenyList{Repositories: []string{repo}}), offline), verdict.TicketDenied},
		{"offline, not yet valid", same, both(offline, clock(-time.Hour)), verdict.TicketNotYetValid},
		{"offline, node without a head", same, both(offline, func(c *verdict.TicketCheck) { c.Head = verdict.CheckedHead{} }), verdict.TicketHead},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			c.Issuers = slices.Clone(good.Issuers)
			if tt.check != nil {
				tt.check(&c)
			}
			var got verdict.Ticket
			var err error
			n := verdict.CountVerifies(func() { got, err = verdict.CheckTicket(tt.token, c) })
			wantCode(t, err, tt.code)
			if err != nil && (got.Aud != "" || got.Res != nil) {
				t.Errorf("got %+v with an error, want the zero value", got)
			}
			if malformed := tt.code == verdict.TicketMalformed || tt.code == verdict.TicketAlgorithm; malformed && n != 0 {
				t.Errorf("got %d verifications of what is not well-formed, want 0", n)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("got the text %q, want one line", err)
			}
		})
	}
	_, err := verdict.CheckTicket(same, verdict.TicketCheck{})
	wantCode(t, err, verdict.TicketStatement)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// TestDenyDocuments: a ticket counts on where its daemon had every document that
// names a signer, whatever else has come since.
func TestDenyDocuments(t *testing.T) {
	w := newWorld(t)
	identity := w.denyDoc(t, 0, 1, verdict.DenyList{Identities: []verdict.DeniedIdentity{{SAN: "x"}}}, -10*time.Minute, time.Hour)
	key := w.denyDoc(t, 1, 1, verdict.DenyList{Keys: []verdict.Digest{w.index}}, -8*time.Minute, 2*time.Hour)
	image := w.denyDoc(t, 2, 1, verdict.DenyList{Images: []verdict.Digest{w.otherImg}}, -5*time.Minute, time.Hour)
	late := w.denyDoc(t, 2, 2, verdict.DenyList{LogEntries: []string{zeroSum + "/1"}}, time.Minute, time.Hour)
	for _, tt := range []struct {
		name      string
		had, have [][]byte // documents of the daemon then, and of the node now
		at        time.Duration
		code      verdict.Code
	}{
		{"all of them", [][]byte{identity, key}, [][]byte{identity, key}, 0, ""},
		{"in another order", [][]byte{identity, key}, [][]byte{key, identity}, 0, ""},
		{"an image was denied since", [][]byte{identity, key}, [][]byte{image, key, identity}, 0, ""},
		{"a key was denied since", [][]byte{identity}, [][]byte{identity, key}, 0, verdict.TicketDenied},
		{"a log entry was denied since, by a document of the future", [][]byte{identity, key, image}, [][]byte{identity, key, image, late}, 0, verdict.TicketDenied},
		{"the daemon had none", nil, [][]byte{identity}, 0, verdict.TicketDenied},
		{"the daemon had others", [][]byte{key}, [][]byte{identity}, 0, verdict.TicketDenied},
		{"the node has none", [][]byte{identity}, nil, 0, ""},
		{"one lapsed since", [][]byte{identity, key}, [][]byte{identity, key}, 51 * time.Minute, ""},
		{"one lapsed since, of two that the daemon did not have", nil, [][]byte{identity, key}, 51 * time.Minute, verdict.TicketDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var had []verdict.CheckedDeny
			for _, raw := range tt.had {
				had = append(had, must(verdict.OpenDeny(raw, w.owners))(t))
			}
			x := w.ticket
			x.Deny = verdict.DenyDigest(had)
			c := w.check(t)
			set := w.set(t)
			set.Deny = tt.have
			c.Head, c.At = must(verdict.OpenHead(set, w.owners))(t), at.Add(tt.at)
			_, err := verdict.CheckTicket(sign(t, x, w.ticketKey), c)
			wantCode(t, err, tt.code)
		})
	}
}

func TestOutcome(t *testing.T) {
	x := verdict.Ticket{Res: map[string]verdict.Outcome{
		"*": verdict.OutcomePass, "team-*": verdict.OutcomeUnchecked, "team-a*": verdict.OutcomeFail, "team-a": verdict.OutcomeAuditFail,
	}}
	for _, tt := range []struct {
		namespace, pattern string
		outcome            verdict.Outcome
	}{
		{"", "*", verdict.OutcomePass},
		{"other", "*", verdict.OutcomePass},
		{"team-b", "team-*", verdict.OutcomeUnchecked},
		{"team-", "team-*", verdict.OutcomeUnchecked},
		{"team-ab", "team-a*", verdict.OutcomeFail},
		{"team-a", "team-a", verdict.OutcomeAuditFail},
		{"team-*", "", verdict.OutcomeFail},
		{"*", "", verdict.OutcomeFail},
	} {
		if o, p := x.Outcome(tt.namespace); o != tt.outcome || p != tt.pattern {
			t.Errorf("%q: got %s by %q, want %s by %q", tt.namespace, o, p, tt.outcome, tt.pattern)
		}
	}
	if o, p := (verdict.Ticket{}).Outcome("a"); o != verdict.OutcomeFail || p != "" {
		t.Errorf("got %s by %q from the zero ticket, want fail", o, p)
	}
	if verdict.Outcome("").Valid() {
		t.Error("got a valid empty outcome")
	}
}

func TestSignTicket(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(x *verdict.Ticket){
		"two lives": func(x *verdict.Ticket) { x.Exp = x.Iat + 86401 },
		"no node":   func(x *verdict.Ticket) { x.Aud = "" },
		"too large": func(x *verdict.Ticket) {
			x.Res = map[string]verdict.Outcome{}
			for i := range 256 {
				x.Res[strings.Repeat("n", 50)+"-"+itoa(int64(i))] = verdict.OutcomePass
			}
		},
		"too many namespaces": func(x *verdict.Ticket) {
			x.Res = map[string]verdict.Outcome{}
			for i := range 257 {
				x.Res["n"+itoa(int64(i))] = verdict.OutcomePass
			}
		},
	} {
		x := w.ticket
		f(&x)
		if token, err := verdict.SignTicket(x, w.ticketKey.Key); err == nil || token != "" {
			t.Errorf("%s: got %d bytes, %v, want an error", name, len(token), err)
		}
	}
}

// TestR25Audience: as array, absent or empty, the audience is refused before the
// signature is looked at.
func TestR25Audience(t *testing.T) {
	w := newWorld(t)
	payload := payloadOf(t, sign(t, w.ticket, w.ticketKey))
	for _, tt := range []struct {
		name string
		aud  any // nil: absent
		code verdict.Code
	}{
		{"exact string", nodeA, ""},
		{"array with the node in it", []any{nodeA}, verdict.TicketMalformed},
		{"array of two", []any{nodeB, nodeA}, verdict.TicketMalformed},
		{"empty array", []any{}, verdict.TicketMalformed},
		{"absent", nil, verdict.TicketMalformed},
		{"empty string", "", verdict.TicketMalformed},
		{"null", struct{}{}, verdict.TicketMalformed},
		{"wildcard", "*", verdict.TicketMalformed},
		{"trust domain", "spiffe://dev.assay.invalid", verdict.TicketMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := edit(t, payload, func(m map[string]any) {
				switch tt.aud {
				case nil:
					delete(m, "aud")
				case struct{}{}:
					m["aud"] = nil
				default:
					m["aud"] = tt.aud
				}
			})
			var err error
			n := verdict.CountVerifies(func() {
				_, err = verdict.CheckTicket(forge(t, header(verdict.TicketType, w.ticketKey.Kid()), changed, w.ticketKey.priv), w.check(t))
			})
			wantCode(t, err, tt.code)
			heads := verdict.CountVerifies(func() { w.check(t) })
			if (tt.code == "") != (n > heads) {
				t.Errorf("got %d verifications, %d of them of the head", n, heads)
			}
		})
	}
}

func FuzzTicket(f *testing.F) {
	f.Add(string(golden(f, "ticket.jwt")))
	f.Add(string(golden(f, "status.jwt")))
	f.Add("..")
	w := goldenWorld(f)
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, token string) {
		count.Add(strings.Count(token, ".") == 2)
		x, issuer, err := verdict.OpenTicket(token, []verdict.Issuer{w.issuer})
		if err != nil {
			if x.Aud != "" || x.Res != nil || issuer.Digest != "" {
				t.Fatalf("got %+v with an error, want the zero value", x)
			}
			return
		}
		if again, err := verdict.Encode(x); err != nil || string(again) != string(payloadOf(t, token)) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
	})
}

// FuzzTicketPayload signs what the fuzzer makes, to reach what is behind the
// signature.
func FuzzTicketPayload(f *testing.F) {
	w := goldenWorld(f)
	c := w.check(f)
	inputs := fuzz.New(f, payloadOf(f, string(golden(f, "ticket.jwt"))))
	head := header(verdict.TicketType, w.ticketKey.Kid())
	f.Fuzz(func(t *testing.T, payload []byte) {
		payload = inputs.Of(payload)
		inputs.Add(json.Valid(payload))
		x, err := signedLast(verdict.TicketSignature, func(keys ...pair) (verdict.Ticket, error) {
			return verdict.CheckTicket(forge(t, head, payload, keys[0].priv), c)
		}, w.ticketKey)
		if err != nil {
			if x.Aud != "" || x.Res != nil {
				t.Fatalf("got %+v with an error, want the zero value", x)
			}
			return
		}
		if again, err := verdict.Encode(x); err != nil || string(again) != string(payload) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
		if x.Aud != nodeA || x.Repo != repo || !x.Names(w.index) || x.Core == "" && x.Res["*"] == verdict.OutcomePass {
			t.Fatalf("got %+v through the check", x)
		}
	})
}
