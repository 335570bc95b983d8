// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// A logKey signs the checkpoints of a log as a note.Signer.
type logKey struct {
	origin string
	hash   uint32
	*ecdsa.PrivateKey
}

func (k logKey) Name() string    { return k.origin }
func (k logKey) KeyHash() uint32 { return k.hash }
func (k logKey) Sign(msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	return ecdsa.SignASN1(rand.Reader, k.PrivateKey, sum[:])
}

func newLog(t *testing.T, origin string) (verdict.LogRef, logKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	vkey, err := proof.FormatECDSAKey(origin, &key.PublicKey)
	check(t, err)
	return verdict.LogRef{Origin: origin, Keys: []string{vkey}}, logKey{origin, proof.ECDSAKeyHash(spki), key}
}

// answer proves the only leaf of a log.
func (k logKey) answer(t *testing.T, leaf verdict.Leaf, object []byte) *assayv1.GetProofResponse {
	t.Helper()
	raw := leaf.Encode()
	checkpoint, err := note.Sign(&note.Note{Text: proof.Checkpoint{Origin: k.origin, Size: 1, Root: proof.LeafHash(raw)}.Text()}, k)
	check(t, err)
	return &assayv1.GetProofResponse{Proof: proof.TLogProof{Checkpoint: checkpoint}.Marshal(), Leaf: raw, Object: object}
}

// A client answers what a test wants of a daemon.
type client struct {
	assayv1.AssayServiceClient
	proof     *assayv1.GetProofResponse
	statement *assayv1.GetStatementResponse
	head      *assayv1.GetHeadResponse
}

func (c client) GetProof(context.Context, *assayv1.GetProofRequest, ...grpc.CallOption) (*assayv1.GetProofResponse, error) {
	return c.proof, nil
}

func (c client) GetStatement(context.Context, *assayv1.GetStatementRequest, ...grpc.CallOption) (*assayv1.GetStatementResponse, error) {
	return c.statement, nil
}

func (c client) GetHead(context.Context, *assayv1.GetHeadRequest, ...grpc.CallOption) (*assayv1.GetHeadResponse, error) {
	return c.head, nil
}

// TestBirth: the first leaf of a daemon's log is a statement of its boot about this log,
// with the evidence for it.
func TestBirth(t *testing.T) {
	type birth struct {
		leaf       verdict.Leaf
		first      verdict.Statement // of the leaf
		object     []byte            // what is beside the leaf in place of the evidence for first
		collection []byte
	}
	for _, test := range []struct {
		name   string
		change func(*birth)
		late   func(*birth) // after the leaf names what it is about
		text   string
	}{
		{name: "good"},
		{name: "an earlier statement of the boot", change: func(b *birth) { b.first.Seq++ }},
		{name: "a verdict", late: func(b *birth) { b.leaf.Kind, b.leaf.Result = verdict.LeafVerdict, verdict.ResultPassed }, text: "it is of kind"},
		{name: "other evidence for the statement", late: func(b *birth) { b.object = append(bytes.Clone(b.collection), '\n') }, text: "the evidence beside it is not the one that it names"},
		{name: "another statement in the leaf", late: func(b *birth) { b.leaf.Statement[0] ^= 1 }, text: "the statement beside it is not the one that it names"},
		{name: "another boot", change: func(b *birth) { b.first.Boot = strings.Repeat("0f", 16) }, text: "it is of boot"},
		{name: "another log", change: func(b *birth) { b.first.Log, _ = newLog(t, "other.example/log") }, text: "its statement names another log"},
		{name: "the log under another key", change: func(b *birth) { b.first.Log, _ = newLog(t, b.first.Log.Origin) }, text: "its statement names another log"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := attesttest.Statement(t)
			ref, key := newLog(t, s.Log.Origin)
			s.Log = ref
			b := birth{first: s}
			if test.change != nil {
				test.change(&b)
			}
			raw := attesttest.Encode(t, b.first)
			snp := attesttest.NewSNP(t, attest.SimulatedSNP, raw, attesttest.Nonce(1))
			b.collection = snp.Bytes(t)
			b.object = b.collection
			b.leaf = verdict.Leaf{Kind: verdict.LeafStatement, Time: attesttest.At, Object: sha256.Sum256(b.collection), Statement: sha256.Sum256(raw), Policy: sha256.Sum256(nil)}
			if test.late != nil {
				test.late(&b)
			}
			conn := trust.ConnOf(client{proof: key.answer(t, b.leaf, b.object)}, nil)
			checkpoint, err := trust.CheckBirth(good(t), t.Context(), conn, s)
			if test.text == "" {
				if err != nil || checkpoint.Size != 1 {
					t.Errorf("got %+v, %v", checkpoint, err)
				}
				return
			}
			if verdict.CodeOf(err) != verdict.LogMismatch || !strings.Contains(err.Error(), test.text) || checkpoint.Size != 0 {
				t.Errorf("got %+v, %v; want %s with %q", checkpoint, err, verdict.LogMismatch, test.text)
			}
		})
	}
}

// TestLeafOfAnotherIndex: a proof of one leaf is none of another.
func TestLeafOfAnotherIndex(t *testing.T) {
	ref, key := newLog(t, "log.example/1")
	leaf := verdict.Leaf{Kind: verdict.LeafVerdict, Time: attesttest.At, Result: verdict.ResultPassed}
	answer := key.answer(t, leaf, nil)
	_, got, err := good(t).CheckLeaf(ref, 0, answer)
	if err != nil || got.Kind != verdict.LeafVerdict {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, got, err := good(t).CheckLeaf(ref, 1, answer); verdict.CodeOf(err) != verdict.LogProof || got.Kind != 0 {
		t.Errorf("got %+v, %v; want %s", got, err, verdict.LogProof)
	}
}

// TestVerdictLeaf: the leaf of a ticket is the verdict that it was made from.
func TestVerdictLeaf(t *testing.T) {
	core, policy := attesttest.Digest("core"), attesttest.Digest("policy")
	bytesOf := func(d verdict.Digest) [32]byte {
		b, ok := d.Bytes()
		if !ok {
			t.Fatalf("%s is no digest", d)
		}
		return b
	}
	for name, test := range map[string]struct {
		change func(*verdict.Ticket, *verdict.Leaf)
		code   verdict.Code
		text   string
	}{
		"good": {func(*verdict.Ticket, *verdict.Leaf) {}, "", ""},
		"failed, and the ticket says so": {func(t *verdict.Ticket, l *verdict.Leaf) {
			t.Res, l.Result = map[string]verdict.Outcome{"*": verdict.OutcomeFail}, verdict.ResultFailed
		}, "", ""},
		"no leaf":        {func(t *verdict.Ticket, _ *verdict.Leaf) { t.Log = nil }, verdict.LogMissing, "it names none"},
		"a statement":    {func(_ *verdict.Ticket, l *verdict.Leaf) { l.Kind = verdict.LeafStatement }, verdict.LogMismatch, "want a verdict"},
		"another core":   {func(_ *verdict.Ticket, l *verdict.Leaf) { l.Object[0] ^= 1 }, verdict.LogMismatch, "another core"},
		"another policy": {func(_ *verdict.Ticket, l *verdict.Leaf) { l.Policy[0] ^= 1 }, verdict.LogMismatch, "another policy"},
		"failed":         {func(_ *verdict.Ticket, l *verdict.Leaf) { l.Result = verdict.ResultFailed }, verdict.LogMismatch, "the log says result"},
	} {
		ticket := verdict.Ticket{Log: &verdict.TicketLog{Origin: "log.example/1", Index: 3}, Core: core, Policy: policy, Res: map[string]verdict.Outcome{"*": verdict.OutcomePass}}
		leaf := verdict.Leaf{Kind: verdict.LeafVerdict, Object: bytesOf(core), Policy: bytesOf(policy), Result: verdict.ResultPassed}
		test.change(&ticket, &leaf)
		if err := trust.CheckVerdictLeaf(ticket, leaf); verdict.CodeOf(err) != test.code || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want %q with %q", name, err, test.code, test.text)
		}
	}
}

// TestRejudgeAnother: evidence is not taken for another statement than it was accepted for.
func TestRejudgeAnother(t *testing.T) {
	c, made := recorded(t, attest.SimulatedSNP)
	a, err := c.Appraise(made.Collection, made.Question, made.At)
	check(t, err)
	if _, err := c.Rejudge(a, made.Head, nil, made.At); err != nil {
		t.Fatal(err)
	}
	a.Issuer.Digest = attesttest.Digest("another")
	if got, err := c.Rejudge(a, made.Head, nil, made.At); verdict.CodeOf(err) != verdict.EvidenceBinding || got.Issuer.Digest != "" {
		t.Errorf("got %+v, %v; want %s", got.Issuer, err, verdict.EvidenceBinding)
	}
}

// TestNobodyHasAHead: with no head on either side, there is none, and it is not said that
// the daemon's is malformed.
func TestNobodyHasAHead(t *testing.T) {
	c := good(t)
	heads := trust.NewHeads(c, gate.Marks{})
	conn := trust.ConnOf(client{statement: &assayv1.GetStatementResponse{}, head: &assayv1.GetHeadResponse{}}, nil)
	_, made, err := c.AskDaemon(t.Context(), conn, heads, nil)
	if _, ok := errors.AsType[*verdict.Failure](err); !ok || verdict.CodeOf(err) != verdict.HeadMissing || made.Collection != nil {
		t.Errorf("got %+v, %v; want the failure %s", made, err, verdict.HeadMissing)
	}
}
