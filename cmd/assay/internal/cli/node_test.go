// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

func logKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := proof.FormatECDSAKey("test.example/log", &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makeTicket signs a ticket of issuer, after change has changed it.
func makeTicket(t *testing.T, key *verdict.Key, issuer verdict.Issuer, change func(*verdict.Ticket)) string {
	t.Helper()
	now := time.Now()
	ticket := verdict.Ticket{Aud: testNode, By: issuer.Statement.Keys[1].Kid, Cluster: "test", Core: aDigest, Deny: verdict.DenyDigest(nil),
		Dig: verdict.TicketDigests{Manifest: aDigest}, EATProfile: verdict.TicketProfile, Exp: now.Add(10 * time.Minute).Unix(), Iat: now.Unix(), Nbf: now.Unix(),
		Head: 1, Iss: issuer.Statement.Issuer, Jti: strings.Repeat("0b", 16), Log: &verdict.TicketLog{Index: 3, Origin: "test.example/log"},
		Policy: issuer.Statement.Policy, Repo: "registry.example/app", Res: map[string]verdict.Outcome{"*": verdict.OutcomePass}, Stmt: issuer.Digest, Sub: aDigest}
	if change != nil {
		change(&ticket)
	}
	s, err := verdict.SignTicket(ticket, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTicketCheck(t *testing.T) {
	// One ticket, in which one thing is changed.
	with := func(change func(*verdict.Ticket)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			_, key, issuer := makeNode(t, dir)
			write(t, filepath.Join(dir, "ticket.jws"), []byte(makeTicket(t, key, issuer, change)+"\n"))
		}
	}
	image := "registry.example/app@" + aDigest
	args := []string{"ticket", "check", "$DIR/ticket.jws", image, "--gate", "$DIR/gate.json"}
	other := "sha256:" + strings.Repeat("0", 64)
	runScripts(t, []script{
		{name: "good", setup: with(nil), args: args, stdout: []string{"pass registry.example/app@" + aDigest + " for " + testNode}},
		{name: "another node", setup: with(func(t *verdict.Ticket) { t.Aud += "x" }), args: args, status: 1, code: verdict.TicketAudience},
		{name: "another image", setup: with(nil), args: []string{"ticket", "check", "$DIR/ticket.jws", "registry.example/app@" + other, "--gate", "$DIR/gate.json"}, status: 1, code: verdict.TicketSubject},
		{name: "another repository", setup: with(func(t *verdict.Ticket) { t.Repo += "x" }), args: args, status: 1, code: verdict.TicketRepository},
		{name: "expired", setup: with(nil), args: append(append([]string{}, args...), "--at", time.Now().Add(30*time.Minute).UTC().Format(time.RFC3339)), status: 1, code: verdict.TicketExpired},
		{name: "unknown statement", setup: with(func(t *verdict.Ticket) { t.Stmt = verdict.Digest(other) }), args: args, status: 1, code: verdict.TicketStatement},
		{name: "refused in a namespace", setup: with(func(t *verdict.Ticket) { t.Res["prod-*"], t.Code = verdict.OutcomeFail, verdict.SigCount }),
			args: append(append([]string{}, args...), "--namespace", "prod-a"), status: 1, code: verdict.TicketNamespace},
		{name: "audit", setup: with(func(t *verdict.Ticket) { t.Res["*"], t.Code = verdict.OutcomeAuditFail, verdict.SigCount }), args: args, code: verdict.SigCount, stderr: []string{"let through in audit"}},
		{name: "no ticket", setup: func(t *testing.T, dir string) {
			t.Helper()
			makeNode(t, dir)
			write(t, filepath.Join(dir, "ticket.jws"), []byte("a.b.c"))
		},
			args: args, status: 1, code: verdict.TicketMalformed},
		{name: "image by tag", setup: with(nil), args: []string{"ticket", "check", "$DIR/ticket.jws", "registry.example/app:v1", "--gate", "$DIR/gate.json"}, status: 2, stderr: []string{"names no digest"}},
		{name: "no gate.json", args: args, status: 2},
	})
}

func TestTicketInspect(t *testing.T) {
	b64 := base64.RawURLEncoding
	token := b64.EncodeToString([]byte(`{"alg":"none"}`)) + "." + b64.EncodeToString([]byte("{\"aud\":\"\x1b[2J\"}")) + "."
	runScripts(t, []script{
		{name: "shows what no gate takes", args: []string{"ticket", "inspect", "-"}, stdin: strings.Replace(token, b64.EncodeToString([]byte("{\"aud\":\"\x1b[2J\"}")), b64.EncodeToString([]byte(`{"aud":"x"}`)), 1), stdout: []string{`"alg": "none"`, `"aud": "x"`}, stderr: []string{"nothing of it was checked"}},
		{name: "control characters", args: []string{"ticket", "inspect", "-"}, stdin: token, status: 1, code: verdict.TicketMalformed},
		{name: "two parts", args: []string{"ticket", "inspect", "-"}, stdin: "a.b", status: 1, code: verdict.TicketMalformed},
		{name: "nothing", args: []string{"ticket", "inspect", "-"}, status: 1, code: verdict.TicketMalformed},
		{name: "padding", args: []string{"ticket", "inspect", "-"}, stdin: "e30=.e30.", status: 1, code: verdict.TicketMalformed},
	})
}

func TestStatementInspect(t *testing.T) {
	statement := func(t *testing.T, dir string) []byte {
		t.Helper()
		_, _, issuer := makeNode(t, dir)
		data, err := issuer.Statement.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	args := []string{"statement", "inspect", "$DIR/statement.json"}
	runScripts(t, []script{
		{name: "good", setup: func(t *testing.T, dir string) {
			t.Helper()
			write(t, filepath.Join(dir, "statement.json"), statement(t, dir))
		}, args: args,
			stdout: []string{"issuer spiffe://test.example/assay/d/test/assayd", "head 1 sha256:", "for ticket"}, stderr: []string{"nothing of it was checked"}},
		{name: "truncated", setup: func(t *testing.T, dir string) {
			t.Helper()
			s := statement(t, dir)
			write(t, filepath.Join(dir, "statement.json"), s[:len(s)-2])
		}, args: args,
			status: 1, code: verdict.IssuerMalformed},
		{name: "collection that is none", setup: func(t *testing.T, dir string) {
			t.Helper()
			write(t, filepath.Join(dir, "statement.json"), []byte(`{"__cmwc_t":"tag:x","a":[]}`))
		}, args: args,
			status: 1, code: verdict.EvidenceMalformed},
	})
}

func TestException(t *testing.T) {
	sign := []string{"exception", "sign", "$DIR/fix.json", "--key", "$DIR/owner-a.key", "--digest", aDigest, "--cluster", "test", "--owner", "alice", "--reason", "INC-42"}
	nodeOnly := func(t *testing.T, dir string) { t.Helper(); makeNode(t, dir) }
	signed := func(more ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			makeNode(t, dir)
			args := append(append([]string{}, sign...), more...)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "$DIR", dir)
			}
			must(t, args...)
		}
	}
	install := []string{"exception", "install", "$DIR/fix.json", "--gate", "$DIR/gate.json"}
	runScripts(t, []script{
		{name: "sign", setup: nodeOnly, args: sign, stdout: []string{"exception exception-", "next: assay exception install"}},
		{name: "sign again adds", setup: signed(), args: []string{"exception", "sign", "$DIR/fix.json", "--key", "$DIR/owner-b.key"}, stdout: []string{"exception exception-"}},
		{name: "sign over another", setup: signed(), args: sign, status: 2, stderr: []string{"is there already"}},
		{name: "sign without a reason", setup: nodeOnly, args: sign[:len(sign)-2], status: 2, stderr: []string{"--reason is empty"}},
		{name: "sign without a digest", setup: nodeOnly, args: append(append([]string{}, sign[:5]...), sign[7:]...), status: 2},
		{name: "sign for too long", setup: nodeOnly, args: append(append([]string{}, sign...), "--valid", "73h"), status: 2},
		{name: "install", setup: signed(), args: install, stdout: []string{"installed as"}},
		{name: "install one that has ended", setup: signed("--from", "2020-01-01T00:00:00Z"), args: install, status: 1, code: verdict.ExceptionExpired},
		{name: "install one that begins later", setup: signed("--from", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)), args: install},
		{name: "install one of another cluster", setup: signed("--cluster", "other"), args: install, status: 1, code: verdict.ExceptionScope},
		{name: "install one of a stranger", setup: func(t *testing.T, dir string) {
			t.Helper()
			makeNode(t, dir)
			must(t, "head", "key", filepath.Join(dir, "x.key"))
			must(t, "exception", "sign", filepath.Join(dir, "fix.json"), "--key", filepath.Join(dir, "x.key"), "--digest", aDigest, "--cluster", "test", "--owner", "x", "--reason", "x")
		}, args: install, status: 1, code: verdict.ExceptionSignature},
		{name: "install what is none", setup: func(t *testing.T, dir string) {
			t.Helper()
			makeNode(t, dir)
			write(t, filepath.Join(dir, "fix.json"), []byte("{}"))
		}, args: install, status: 1, code: verdict.ExceptionMalformed},
	})
}
