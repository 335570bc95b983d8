// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// An Appraisal is an issuer statement that was accepted, and what it rests on.
type Appraisal struct {
	// Issuer is what checks of tickets, statuses and cores need.
	Issuer verdict.Issuer
	// Result is what the evidence says.
	Result attest.Result
	// Collection is the evidence, Nonce what it answers.
	Collection []byte
	Nonce      [verdict.NonceSize]byte
	// Accepted is when.
	Accepted time.Time
	// Checkpoint is the newest checkpoint of the daemon's log shard that was seen
	// when its first leaf was checked; zero where that was not asked.
	Checkpoint proof.Checkpoint
	// Simulated is true where nothing but a simulator vouches for the daemon,
	// Unwitnessed where nobody but the daemon vouches for its log.
	Simulated, Unwitnessed bool
}

// Question is what a relying party brings to an appraisal besides its trust.
type Question struct {
	// Head is the relying party's own head.
	Head verdict.CheckedHead
	// Nonce is what it asked with.
	Nonce [verdict.NonceSize]byte
	// Known is what it has kept of attestation keys.
	Known []attest.KnownAK
	// AllowPublished appraises evidence that answers no nonce, for auditors. Nonce
	// must be zero then.
	AllowPublished bool
}

// Appraise decides about a collection (docs/design, "Issuer statement",
// acceptance): evidence, references and config, then the issuer's SPIFFE ID, that
// the statement is under the relying party's own head with its policy and roots,
// and that owners did not deny it. The error is a *verdict.Refusal or
// *verdict.Failure, or a *verdict.Misuse of the configuration.
func (c Config) Appraise(collection []byte, q Question, at time.Time) (Appraisal, error) {
	a, err := c.appraise(collection, q, at)
	if err != nil {
		return Appraisal{}, err
	}
	s, h := a.Issuer.Statement, q.Head
	switch {
	case s.Head.Counter < h.Counter:
		return Appraisal{}, verdict.Refuse(verdict.IssuerRollback, "appraising statement %s: it is under head %d, this node has %d", a.Issuer.Digest.Short(), s.Head.Counter, h.Counter)
	case s.Head.Counter > h.Counter:
		return Appraisal{}, verdict.Fail(verdict.HeadMissing, "appraising statement %s: it is under head %d, this node has only %d", a.Issuer.Digest.Short(), s.Head.Counter, h.Counter)
	case s.Head.Digest != h.Digest:
		return Appraisal{}, verdict.Refuse(verdict.HeadConflict, "appraising statement %s: its head %d is %s, this node's is %s", a.Issuer.Digest.Short(), h.Counter, s.Head.Digest.Short(), h.Digest.Short())
	case s.Policy != h.Policy:
		return Appraisal{}, verdict.Refuse(verdict.IssuerPolicy, "appraising statement %s: its policy is %s, head %d names %s", a.Issuer.Digest.Short(), s.Policy.Short(), h.Counter, h.Policy.Short())
	case s.Roots != h.Roots:
		return Appraisal{}, verdict.Refuse(verdict.IssuerRoots, "appraising statement %s: its roots are %s, head %d names %s", a.Issuer.Digest.Short(), s.Roots.Short(), h.Counter, h.Roots.Short())
	}
	return a, nil
}

// Rejudge judges an accepted statement again under a newer head: entry, config,
// floors and deny list. Policy and roots were judged once, against the head that
// the statement names. What it refuses is dead at once.
func (c Config) Rejudge(old Appraisal, head verdict.CheckedHead, known []attest.KnownAK, at time.Time) (Appraisal, error) {
	a, err := c.appraise(old.Collection, Question{Head: head, Nonce: old.Nonce, Known: known}, at)
	if err != nil {
		return Appraisal{}, err
	}
	if a.Issuer.Digest != old.Issuer.Digest {
		return Appraisal{}, verdict.Refuse(verdict.EvidenceBinding, "judging statement %s again: its evidence is for %s", old.Issuer.Digest.Short(), a.Issuer.Digest.Short())
	}
	a.Accepted, a.Checkpoint = old.Accepted, old.Checkpoint
	return a, nil
}

// appraise is what holds for a statement under whatever head it names.
func (c Config) appraise(collection []byte, q Question, at time.Time) (Appraisal, error) {
	trusted, err := c.Trust()
	if err != nil {
		return Appraisal{}, err
	}
	result, err := attest.Appraise(collection, attest.Input{
		MyNonce: q.Nonce, AllowPublished: q.AllowPublished, References: q.Head.References, Trust: trusted, Known: q.Known,
	}, at)
	if err != nil {
		return Appraisal{}, err
	}
	a := Appraisal{
		Issuer: issuerOf(result),
		Result: result, Collection: collection, Nonce: q.Nonce, Accepted: at, Simulated: result.Simulated,
		// Nobody witnesses logs yet.
		Unwitnessed: true,
	}
	if err := CheckIssuer(c.Issuers, result.Statement.Issuer); err != nil {
		return Appraisal{}, err
	}
	if a.Unwitnessed && !c.AllowUnwitnessed {
		return Appraisal{}, verdict.Refuse(verdict.IssuerUnwitnessed, "appraising statement %s: nobody witnesses log %.128q", a.Issuer.Digest.Short(), result.Statement.Log.Origin)
	}
	deny := q.Head.DenyAt(at)
	if slices.Contains(deny.Statements, a.Issuer.Digest) || deny.DeniesMeasurement(a.Issuer) {
		return Appraisal{}, verdict.Refuse(verdict.TicketDenied, "appraising statement %s: owners denied it or its measurement", a.Issuer.Digest.Short())
	}
	// What the gate will demand of it.
	if err := gate.Standing(q.Head, a.Issuer, c.Profile == verdict.Development, at); err != nil {
		return Appraisal{}, err
	}
	return a, nil
}

// issuerOf is what the gate needs of an appraisal to judge the issuer by itself.
func issuerOf(r attest.Result) verdict.Issuer {
	i := verdict.Issuer{Digest: r.StatementDigest, Statement: r.Statement, Kind: string(r.Kind), Measurement: r.Measurement, Chip: r.Chip()}
	var names []string
	switch r.Kind {
	case attest.TDX, attest.SimulatedTDX:
		names = verdict.TDXRegisters
	case attest.AzureSNP, attest.AzureTDX, attest.SVSM:
		names = pinnedPCRs
	default:
		return i
	}
	i.Registers = map[string]string{}
	for _, name := range names {
		i.Registers[name] = r.Registers[name]
	}
	return i
}

// pinnedPCRs are the PCRs that an entry can pin: those that software cannot reset,
// but for that of the event list.
var pinnedPCRs = func() (names []string) {
	for i := range 16 {
		if i != attest.EventRegister {
			names = append(names, fmt.Sprintf("pcr%d", i))
		}
	}
	return names
}()

// headRounds is how often daemon and relying party exchange heads before one gives
// up: each may bring the other a newer one, and owners may sign meanwhile.
const headRounds = 3

// AppraiseDaemon asks a daemon for its statement with a fresh nonce, exchanges heads
// with it until both have the same, proves its attestation key where it is a TPM's
// without a certificate, appraises, and checks the first leaf of its log. heads may
// be empty: then the daemon's is taken, as far as owners signed it. A head that
// changes is held by heads when it returns, also with an error.
func (c Config) AppraiseDaemon(ctx context.Context, daemon *Conn, heads *Heads, known []attest.KnownAK) (Appraisal, error) {
	a, _, err := c.AskDaemon(ctx, daemon, heads, known)
	return a, err
}

// AskDaemon does as AppraiseDaemon, and returns the last appraisal that was made, so
// that it can be made again. It has no collection where the daemon gave none; its Err is
// nil where the evidence was accepted and something else was not.
func (c Config) AskDaemon(ctx context.Context, daemon *Conn, heads *Heads, known []attest.KnownAK) (_ Appraisal, made Attempt, _ error) {
	var last error
	for range headRounds {
		var nonce [verdict.NonceSize]byte
		_, _ = rand.Read(nonce[:]) // it never returns an error
		head, _, have := heads.Current()
		answer, err := daemon.GetStatement(ctx, &assayv1.GetStatementRequest{Nonce: nonce[:], HeadCounter: head.Counter})
		if err != nil {
			return Appraisal{}, made, daemon.Err(err)
		}
		if set := answer.GetNewerHead(); len(set) > 0 || !have {
			if err := c.takeHead(ctx, daemon, heads, set); err != nil {
				return Appraisal{}, made, err
			}
			head, _, _ = heads.Current()
		}
		at := time.Now()
		q := Question{Head: head, Nonce: nonce, Known: known}
		var a Appraisal
		found, err := c.prepare(ctx, daemon, answer.GetCollection(), &q)
		if err == nil {
			a, err = c.Appraise(answer.GetCollection(), q, at)
		}
		if found {
			made = Attempt{Question: q, Daemon: daemon.Address(), Collection: answer.GetCollection(), At: at, Err: err}
		}
		switch verdict.CodeOf(err) {
		case "":
			if a.Checkpoint, err = c.checkBirth(ctx, daemon, a.Issuer.Statement); err != nil {
				return Appraisal{}, made, err
			}
			return a, made, nil
		case verdict.IssuerRollback: // the daemon is behind
			if err := PutHead(ctx, daemon, head); err != nil {
				return Appraisal{}, made, err
			}
		case verdict.HeadMissing: // it is ahead, and has told now
		default:
			return Appraisal{}, made, err
		}
		last = err
	}
	return Appraisal{}, made, last
}

// takeHead offers what a daemon gave to heads, and asks it where it gave nothing. A
// daemon that offers an older head, or another under the same counter, is refused.
func (c Config) takeHead(ctx context.Context, daemon *Conn, heads *Heads, set []byte) error {
	if len(set) == 0 {
		answer, err := daemon.GetHead(ctx, &assayv1.GetHeadRequest{})
		if err != nil {
			return daemon.Err(err)
		}
		if set = answer.GetHeadSet(); len(set) == 0 {
			return verdict.Fail(verdict.HeadMissing, "asking the daemon at %s: neither side has a head", daemon.Address())
		}
	}
	parsed, err := verdict.ParseHeadSet(set)
	if err != nil {
		return err
	}
	_, err = heads.Offer(parsed, time.Now())
	return err
}

// PutHead brings a head to a daemon that is behind.
func PutHead(ctx context.Context, daemon *Conn, head verdict.CheckedHead) error {
	set, err := head.Set.Encode()
	if err != nil {
		return err
	}
	if _, err := assayv1.SendHead(ctx, daemon, set); err != nil {
		return daemon.Err(err)
	}
	return nil
}

// prepare proves the attestation key of a collection where it is not known: the
// daemon's TPM shows that it holds it (TPM 2.0 Part 1 §24), and q knows it then. done is
// false where the daemon did not answer, so that nothing was found of the evidence.
func (c Config) prepare(ctx context.Context, daemon *Conn, collection []byte, q *Question) (done bool, err error) {
	needed, err := c.activationNeeded(collection, q)
	if err != nil || !needed {
		return true, err
	}
	challenge, err := attest.NewChallenge(collection)
	if err != nil {
		return true, err
	}
	answer, err := daemon.ActivateCredential(ctx, &assayv1.ActivateCredentialRequest{CredentialBlob: challenge.Credential, EncryptedSecret: challenge.EncryptedSecret})
	if err != nil {
		return false, daemon.Err(err)
	}
	proven, err := challenge.Prove(answer.GetSecret())
	if err != nil {
		return true, err
	}
	q.Known = append(slices.Clone(q.Known), proven)
	return true, nil
}

func (c Config) activationNeeded(collection []byte, q *Question) (bool, error) {
	trusted, err := c.Trust()
	if err != nil {
		return false, err
	}
	return attest.ActivationNeeded(collection, attest.Input{MyNonce: q.Nonce, References: q.Head.References, Trust: trusted, Known: q.Known})
}

// checkBirth checks the first leaf of a daemon's log shard: a statement of the same
// boot, under a checkpoint of the log keys that the appraised statement names. A
// log that began elsewhere is not this daemon's.
func (c Config) checkBirth(ctx context.Context, daemon *Conn, s verdict.Statement) (proof.Checkpoint, error) {
	answer, err := daemon.GetProof(ctx, &assayv1.GetProofRequest{Origin: s.Log.Origin, Index: 0})
	if err != nil {
		return proof.Checkpoint{}, daemon.Err(err)
	}
	checkpoint, leaf, err := c.CheckLeaf(s.Log, 0, answer)
	if err != nil {
		return proof.Checkpoint{}, err
	}
	mismatch := func(format string, args ...any) (proof.Checkpoint, error) {
		return proof.Checkpoint{}, verdict.Refuse(verdict.LogMismatch, "checking the first leaf of log %.128q: "+format, append([]any{s.Log.Origin}, args...)...)
	}
	if leaf.Kind != verdict.LeafStatement {
		return mismatch("it is of kind %d, want a statement", leaf.Kind)
	}
	if verdict.SHA256(answer.GetObject()) != verdict.DigestFromBytes(leaf.Object) {
		return mismatch("the evidence beside it is not the one that it names")
	}
	collection, err := attest.ParseCollection(answer.GetObject())
	if err != nil {
		return proof.Checkpoint{}, err
	}
	raw := collection.Items[attest.LabelStatement].Value
	first, err := verdict.ParseStatement(raw)
	if err != nil {
		return proof.Checkpoint{}, err
	}
	switch {
	case verdict.SHA256(raw) != verdict.DigestFromBytes(leaf.Statement):
		return mismatch("the statement beside it is not the one that it names")
	case first.Boot != s.Boot:
		return mismatch("it is of boot %.32q, want %.32q", first.Boot, s.Boot)
	case first.Log.Origin != s.Log.Origin || !slices.Equal(first.Log.Keys, s.Log.Keys):
		return mismatch("its statement names another log")
	}
	return checkpoint, nil
}

// CheckLeaf checks an answer of GetProof for a leaf of a log: the checkpoint's
// signature by the log's keys and the inclusion proof. The error is a
// *verdict.Refusal, log.proof or input.malformed.
func (c Config) CheckLeaf(ref verdict.LogRef, index uint64, answer *assayv1.GetProofResponse) (proof.Checkpoint, verdict.Leaf, error) {
	log, err := proof.New(proof.Config{Origin: ref.Origin, Keys: ref.Keys, AllowUnvalidatedEd25519: slices.Contains(c.AllowUnvalidated, "ed25519")})
	if err != nil {
		return proof.Checkpoint{}, verdict.Leaf{}, err
	}
	p, err := proof.ParseTLogProof(answer.GetProof())
	if err != nil {
		return proof.Checkpoint{}, verdict.Leaf{}, err
	}
	if p.Index != index {
		return proof.Checkpoint{}, verdict.Leaf{}, verdict.Refuse(verdict.LogProof, "checking log %.128q: the proof is for leaf %d, asked was %d", ref.Origin, p.Index, index)
	}
	checkpoint, err := log.Inclusion(answer.GetLeaf(), p)
	if err != nil {
		return proof.Checkpoint{}, verdict.Leaf{}, err
	}
	leaf, err := verdict.ParseLeaf(answer.GetLeaf())
	if err != nil {
		return proof.Checkpoint{}, verdict.Leaf{}, err
	}
	return checkpoint, leaf, nil
}

// CheckVerdictLeaf checks the leaf that a ticket names: a verdict about the
// ticket's core, under its policy. The statement that it names is one of the same
// boot: a daemon may have decided under the one before.
func CheckVerdictLeaf(t verdict.Ticket, leaf verdict.Leaf) error {
	switch {
	case t.Log == nil:
		return verdict.Refuse(verdict.LogMissing, "checking the leaf of ticket %s: it names none", t.Jti)
	case leaf.Kind != verdict.LeafVerdict:
		return verdict.Refuse(verdict.LogMismatch, "checking leaf %d of ticket %s: it is of kind %d, want a verdict", t.Log.Index, t.Jti, leaf.Kind)
	case verdict.DigestFromBytes(leaf.Object) != t.Core:
		return verdict.Refuse(verdict.LogMismatch, "checking leaf %d of ticket %s: it is about another core", t.Log.Index, t.Jti)
	case verdict.DigestFromBytes(leaf.Policy) != t.Policy:
		return verdict.Refuse(verdict.LogMismatch, "checking leaf %d of ticket %s: it is under another policy", t.Log.Index, t.Jti)
	case allPass(t) && leaf.Result != verdict.ResultPassed:
		return verdict.Refuse(verdict.LogMismatch, "checking leaf %d of ticket %s: the ticket passes, and the log says result %d", t.Log.Index, t.Jti, leaf.Result)
	}
	return nil
}

func allPass(t verdict.Ticket) bool {
	for _, o := range t.Res {
		if o != verdict.OutcomePass {
			return false
		}
	}
	return true
}
