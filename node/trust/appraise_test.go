// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A question is a statement under a head that its owner signed, before evidence is
// made for it.
type question struct {
	t         testing.TB
	config    trust.Config
	owner     *verdict.Key
	refs      verdict.References
	counter   uint64
	docs      [][]byte
	renewal   *verdict.Key
	statement verdict.Statement
	known     []attest.KnownAK
}

func newQuestion(t testing.TB, in attest.Input, statement verdict.Statement) *question {
	t.Helper()
	owner, err := verdict.GenerateKey(verdict.UseOwner)
	check(t, err)
	renewal, err := verdict.GenerateKey(verdict.UseRenewal)
	check(t, err)
	q := &question{t: t, config: good(t), owner: owner, renewal: renewal, refs: in.References, counter: 3, statement: statement, known: in.Known}
	text, err := owner.JWK().PEM()
	check(t, err)
	q.config.Owners.Keys = []string{string(text)}
	q.config.Issuers = []string{"spiffe://dev.assay.invalid/assay/daemon/test/*"}
	q.config.TEE = trust.TEE{Kinds: []string{string(in.Trust.Kinds[0])}}
	for _, d := range in.Trust.SimulatorRoots {
		q.config.TEE.SimulatorRoots = append(q.config.TEE.SimulatorRoots, string(d))
	}
	for _, c := range in.Trust.EKCAs {
		q.config.TEE.EKCAs = append(q.config.TEE.EKCAs, certificatePEM(c))
	}
	return q
}

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func (q *question) set() verdict.HeadSet { return q.setRenewed(time.Time{}) }

// setRenewed signs a head, with a renewal where until is not zero.
func (q *question) setRenewed(until time.Time) verdict.HeadSet {
	q.t.Helper()
	renewal := q.renewal.JWK()
	owners, err := verdict.Owners{V: 1, Threshold: 1, Keys: []verdict.JWK{q.owner.JWK()}, Renewal: &renewal}.Encode()
	check(q.t, err)
	refs, err := q.refs.Encode()
	check(q.t, err)
	denied, err := verdict.DenyList{}.Encode()
	check(q.t, err)
	h := verdict.Head{
		Counter: q.counter, NotAfter: attesttest.At.Add(100 * time.Hour).Unix(), Policy: attesttest.Digest("policy"), Roots: attesttest.Digest("roots"),
		Owners: verdict.SHA256(owners), References: verdict.SHA256(refs), Deny: verdict.SHA256(denied),
	}
	signed, err := verdict.SignHead(h, q.owner)
	check(q.t, err)
	set := verdict.HeadSet{V: 1, Head: signed, Files: [][]byte{owners, refs, denied}, Deny: q.docs}
	if !until.IsZero() {
		opened, err := verdict.OpenHead(set, verdict.Owners{V: 1, Threshold: 1, Keys: []verdict.JWK{q.owner.JWK()}})
		check(q.t, err)
		set.Renewal, err = verdict.SignRenewal(verdict.Renewal{Counter: q.counter, Head: opened.Digest, Iat: attesttest.At.Unix(), NotAfter: until.Unix()}, q.renewal)
		check(q.t, err)
	}
	return set
}

func (q *question) head() verdict.CheckedHead {
	q.t.Helper()
	h, err := q.config.OpenHead(q.set())
	check(q.t, err)
	return h
}

func (q *question) deny(list verdict.DenyList) {
	q.t.Helper()
	d, err := verdict.SignDeny(verdict.DenyDocument{
		Counter: uint64(len(q.docs) + 1), Iat: attesttest.At.Unix(), NotAfter: attesttest.At.Add(time.Hour).Unix(), Entries: list,
	}, q.owner)
	check(q.t, err)
	q.docs = append(q.docs, d)
}

func TestAppraise(t *testing.T) {
	nonce := attesttest.Nonce(7)
	for _, test := range []struct {
		name   string
		change func(*question)
		under  func(*question) // after the statement named the head
		nonce  byte
		code   verdict.Code
	}{
		{name: "good"},
		{name: "policy of another head", change: func(q *question) { q.statement.Policy = attesttest.Digest("x") }, code: verdict.IssuerPolicy},
		{name: "roots of another head", change: func(q *question) { q.statement.Roots = attesttest.Digest("x") }, code: verdict.IssuerRoots},
		{name: "config that no entry names", change: func(q *question) { q.statement.Config = attesttest.Digest("x") }, code: verdict.IssuerConfig},
		{name: "issuer that is not named", change: func(q *question) { q.config.Issuers = []string{"spiffe://dev.assay.invalid/assay/d/dev/*"} }, code: verdict.IssuerIdentity},
		{name: "unwitnessed", change: func(q *question) { q.config.AllowUnwitnessed = false }, code: verdict.IssuerUnwitnessed},
		{name: "newer head here", under: func(q *question) { q.counter++ }, code: verdict.IssuerRollback},
		{name: "newer head there", under: func(q *question) { q.counter-- }, code: verdict.HeadMissing},
		{name: "two heads with one counter", under: func(q *question) { q.refs.Entries[0].Name = "another" }, code: verdict.HeadConflict},
		{name: "statement denied", under: func(q *question) {
			q.deny(verdict.DenyList{Statements: []verdict.Digest{verdict.SHA256(attesttest.Encode(q.t, q.statement))}})
		}, code: verdict.TicketDenied},
		{name: "another nonce", nonce: 8, code: verdict.EvidenceNonce},
	} {
		for _, kind := range []attest.Kind{attest.SimulatedSNP, attest.SimulatedTDX, attest.TPM} {
			t.Run(string(kind)+"/"+test.name, func(t *testing.T) {
				statement := attesttest.Statement(t)
				snp := attesttest.NewSNP(t, attest.SimulatedSNP, nil, nonce)
				tpm := attesttest.NewTPM(t, statement, nonce)
				td := attesttest.NewTD(t, attest.SimulatedTDX, statement, nonce)
				in := snp.Input(t)
				switch kind {
				case attest.TPM:
					in = tpm.Input(t)
				case attest.SimulatedTDX:
					in = td.Input()
				default:
				}
				q := newQuestion(t, in, statement)
				if test.change != nil {
					test.change(q)
				}
				h := q.head()
				q.statement.Head = verdict.HeadRef{Counter: h.Counter, Digest: h.Digest}
				if test.under != nil {
					test.under(q)
				}
				raw := attesttest.Encode(t, q.statement)
				snp.Statement, tpm.Statement = raw, raw
				tpm.Events = []verdict.RegisterEvent{attesttest.Event(q.statement)}
				td.Bind(q.statement)
				td.Extend(attesttest.Event(q.statement))
				collection := snp.Bytes(t)
				switch kind {
				case attest.TPM:
					collection = tpm.Bytes(t)
				case attest.SimulatedTDX:
					collection = td.Bytes()
				default:
				}
				asked := nonce
				if test.nonce != 0 {
					asked = attesttest.Nonce(test.nonce)
				}
				at := trust.Question{Head: q.head(), Nonce: asked, Known: q.known}
				a, err := q.config.Appraise(collection, at, attesttest.At)
				if verdict.CodeOf(err) != test.code {
					t.Fatalf("got %v, want %q", err, test.code)
				}
				made := trust.Attempt{Question: at, Collection: collection, At: attesttest.At, Err: err}
				if files := sameAgain(t, q.config, made); files["collection.cmw"] != nil {
					t.Error("it was recorded whole, want its parts")
				}
				if err != nil {
					if a.Issuer.Digest != "" {
						t.Error("got an appraisal beside an error")
					}
					return
				}
				if !a.Unwitnessed || a.Simulated != (kind != attest.TPM) || a.Issuer.Digest != verdict.SHA256(raw) || a.Issuer.Kind != string(kind) {
					t.Errorf("got %+v", a)
				}
				// Under a newer head the same holds, until something it rests on goes.
				q.counter++
				if _, err := q.config.Rejudge(a, q.head(), q.known, attesttest.At); err != nil {
					t.Errorf("judging again: %v", err)
				}
				q.refs.Entries[0].Configs = []verdict.Digest{attesttest.Digest("x")}
				if _, err := q.config.Rejudge(a, q.head(), q.known, attesttest.At); verdict.CodeOf(err) != verdict.IssuerConfig {
					t.Errorf("judging again without its config: got %v", err)
				}
				q.deny(verdict.DenyList{Measurements: []string{a.Issuer.Measurement}})
				q.refs = in.References
				q.refs.Entries[0].Configs = []verdict.Digest{q.statement.Config}
				if _, err := q.config.Rejudge(a, q.head(), q.known, attesttest.At); verdict.CodeOf(err) != verdict.TicketDenied {
					t.Errorf("judging a denied one again: got %v", err)
				}
			})
		}
	}
}

func TestFloorsAreJudgedAgain(t *testing.T) {
	nonce := attesttest.Nonce(1)
	statement := attesttest.Statement(t)
	snp := attesttest.NewSNP(t, attest.SimulatedSNP, nil, nonce)
	q := newQuestion(t, snp.Input(t), statement)
	h := q.head()
	q.statement.Head = verdict.HeadRef{Counter: h.Counter, Digest: h.Digest}
	snp.Statement = attesttest.Encode(t, q.statement)
	a, err := q.config.Appraise(snp.Bytes(t), trust.Question{Head: h, Nonce: nonce}, attesttest.At)
	check(t, err)
	q.counter++
	floor := *q.refs.Floors.SNP
	floor.SNP++
	q.refs.Floors.SNP = &floor
	if _, err := q.config.Rejudge(a, q.head(), nil, attesttest.At); verdict.CodeOf(err) != verdict.TCBMinimum {
		t.Errorf("got %v, want %s", err, verdict.TCBMinimum)
	}
}

// TestAppraiseTD: what the gate is given of a TD has its registers, by which owners
// can deny it, and a floor of a newer head counts at once.
func TestAppraiseTD(t *testing.T) {
	nonce := attesttest.Nonce(1)
	statement := attesttest.Statement(t)
	td := attesttest.NewTD(t, attest.SimulatedTDX, statement, nonce)
	q := newQuestion(t, td.Input(), statement)
	h := q.head()
	q.statement.Head = verdict.HeadRef{Counter: h.Counter, Digest: h.Digest}
	td.Bind(q.statement)
	td.Extend(attesttest.Event(q.statement))
	a, err := q.config.Appraise(td.Bytes(), trust.Question{Head: h, Nonce: nonce}, attesttest.At)
	check(t, err)
	if diff := cmp.Diff(q.refs.Entries[0].Registers, a.Issuer.Registers); diff != "" {
		t.Errorf("registers (-entry +issuer):\n%s", diff)
	}
	if want := hex.EncodeToString(td.PCK.PPID[:]); a.Issuer.Chip != want {
		t.Errorf("got chip %q, want the PPID %s", a.Issuer.Chip, want)
	}
	q.counter++
	q.refs.Floors.TDX = &verdict.TDXFloor{Evaluation: 18}
	if _, err := q.config.Rejudge(a, q.head(), nil, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementRollback {
		t.Errorf("under a higher floor: got %v", err)
	}
	q.refs.Floors.TDX = nil
	q.deny(verdict.DenyList{Measurements: []string{a.Issuer.Registers["rtmr2"]}})
	if _, err := q.config.Rejudge(a, q.head(), nil, attesttest.At); verdict.CodeOf(err) != verdict.TicketDenied {
		t.Errorf("with its RTMR2 denied: got %v", err)
	}
}

func TestHeads(t *testing.T) {
	at := attesttest.At
	statement := attesttest.Statement(t)
	q := newQuestion(t, attesttest.NewSNP(t, attest.SimulatedSNP, nil, attesttest.Nonce(1)).Input(t), statement)
	heads := trust.NewHeads(q.config, gate.Marks{})
	offer := func(set verdict.HeadSet, at time.Time, changed bool, code verdict.Code) {
		t.Helper()
		got, err := heads.Offer(set, at)
		if got != changed || verdict.CodeOf(err) != code {
			t.Fatalf("got %t, %v; want %t, %q", got, err, changed, code)
		}
	}
	if _, _, ok := heads.Current(); ok {
		t.Error("got a head from nowhere")
	}
	third := q.set()
	offer(third, at, true, "")
	offer(third, at.Add(time.Minute), false, "")
	if _, since, _ := heads.Current(); !since.Equal(at) {
		t.Errorf("held since %s, want %s", since, at)
	}
	// A later renewal of the same head.
	offer(q.setRenewed(at.Add(150*time.Hour)), at, true, "")
	offer(third, at, false, "") // without it, the renewal stays
	if h, _, _ := heads.Current(); !h.Until.Equal(at.Add(150 * time.Hour)) {
		t.Errorf("ends %s, want the renewal's end", h.Until)
	}
	// A deny document, and the head without it.
	q.deny(verdict.DenyList{Images: []verdict.Digest{attesttest.Digest("image")}})
	offer(q.set(), at, true, "")
	offer(third, at, false, "")
	if h, _, _ := heads.Current(); !h.DenyAt(at).DeniesImage(attesttest.Digest("image")) {
		t.Error("a deny document went away with the one who left it out")
	}
	q.counter = 4
	offer(q.set(), at.Add(time.Minute), true, "")
	offer(third, at, false, verdict.HeadRollback)
	q.refs.Entries[0].Name = "another"
	offer(q.set(), at, false, verdict.HeadConflict)
	forged := *q
	owner, err := verdict.GenerateKey(verdict.UseOwner)
	check(t, err)
	forged.owner, forged.counter, forged.docs = owner, 5, nil
	offer(forged.set(), at, false, verdict.HeadSignature)

	// After a restart the marks hold the same line.
	var marks gate.Marks
	heads.Mark(&marks)
	if marks.Head.Counter != 4 || marks.HeadSince != at.Add(time.Minute).Unix() || len(marks.Deny) != 1 {
		t.Errorf("got %+v", marks)
	}
	heads = trust.NewHeads(q.config, marks)
	offer(third, at, false, verdict.HeadRollback)
	offer(q.set(), at, false, verdict.HeadConflict)
	q.refs.Entries[0].Name = "test"
	docs := q.docs
	q.docs = nil
	offer(q.set(), at, false, verdict.HeadRollback) // a deny document is left out
	q.docs = docs
	offer(q.set(), at.Add(2*time.Minute), true, "")
	if _, since, _ := heads.Current(); !since.Equal(at.Add(time.Minute)) {
		t.Errorf("held since %s, want since before the restart", since)
	}
	// And the configuration its own.
	q.config.MinHead = 5
	heads = trust.NewHeads(q.config, gate.Marks{})
	offer(q.set(), at, false, verdict.HeadRollback)
}
