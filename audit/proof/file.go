// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"

	"github.com/assayd/assay/verdict"
)

// fileDomain begins the extra data of a proof file of assay.
const fileDomain = "assay/log-proof/v1\x00"

// A File is a tlog-proof that needs nothing beside it: its extra data has the
// leaf, the issuer statement that the leaf names, and the object that it names
// (a core or an exception in its envelope, or a statement's evidence). Nothing
// in it is checked until [CheckFile].
type File struct {
	// Proof is the inclusion proof; its Extra is made from the rest.
	Proof TLogProof
	// Leaf is the encoded leaf.
	Leaf []byte
	// Statement is the issuer statement, which names the log's keys.
	Statement []byte
	// Object is the object that the leaf names.
	Object []byte
}

// Marshal returns the file: a c2sp.org/tlog-proof, whose extra data is the
// domain, then leaf, statement and object, each with its length as u32
// big-endian before it.
func (f File) Marshal() []byte {
	extra := []byte(fileDomain)
	for _, part := range [][]byte{f.Leaf, f.Statement, f.Object} {
		extra = binary.BigEndian.AppendUint32(extra, uint32(len(part))) // #nosec G115 -- MaxTLogProof is far below 2³²
		extra = append(extra, part...)
	}
	p := f.Proof
	p.Extra = extra
	return p.Marshal()
}

// ParseFile reads a proof file. The error is a *verdict.Refusal
// (input.malformed) and the value then the zero one.
func ParseFile(data []byte) (File, error) {
	p, err := ParseTLogProof(data)
	if err != nil {
		return File{}, err
	}
	rest, ok := bytes.CutPrefix(p.Extra, []byte(fileDomain))
	if !ok {
		return File{}, verdict.Refuse(verdict.InputMalformed, "reading log proof: its extra data is not that of assay")
	}
	f := File{Proof: p}
	for _, part := range []*[]byte{&f.Leaf, &f.Statement, &f.Object} {
		if len(rest) < 4 {
			return File{}, verdict.Refuse(verdict.InputMalformed, "reading log proof: its extra data is cut short")
		}
		n := uint64(binary.BigEndian.Uint32(rest))
		if rest = rest[4:]; n > uint64(len(rest)) {
			return File{}, verdict.Refuse(verdict.InputMalformed, "reading log proof: its extra data is cut short")
		}
		*part, rest = rest[:n:n], rest[n:]
	}
	if len(rest) != 0 {
		return File{}, verdict.Refuse(verdict.InputMalformed, "reading log proof: %d bytes after its extra data", len(rest))
	}
	return f, nil
}

// A Trust says which issuer statements are believed. The zero value refuses.
type Trust struct {
	// Statements are digests of issuer statements that were appraised.
	Statements []verdict.Digest
	// AllowAnyStatement takes the statement in the file as it is: what comes
	// back is then proven under it, and it is the caller who has to appraise
	// it by its evidence.
	AllowAnyStatement bool
	// AllowUnvalidatedEd25519 is that of [Config].
	AllowUnvalidatedEd25519 bool
}

// A Checked is what a proof file proves.
type Checked struct {
	// Checkpoint is the signed tree that the leaf is in.
	Checkpoint Checkpoint
	// Index and Leaf are the leaf.
	Index uint64
	Leaf  verdict.Leaf
	// Statement is the issuer statement that the leaf names, and
	// StatementDigest its digest.
	Statement       verdict.Statement
	StatementDigest verdict.Digest
	// Core is the verdict's core, signed by a key of Statement; zero for
	// leaves of other kinds.
	Core verdict.SignedCore
	// Object is the object that the leaf names.
	Object []byte
}

// CheckFile checks a proof file from bytes alone: the statement is one that
// trust names, the checkpoint is signed by a log key of the statement, the leaf
// is in its tree, and leaf, statement and object fit together. On error the
// value is the zero one.
func CheckFile(data []byte, trust Trust) (Checked, error) {
	if len(trust.Statements) == 0 && !trust.AllowAnyStatement {
		return Checked{}, verdict.Misused("name the statement's digest, or allow any and appraise the one that comes back",
			"checking log proof: no issuer statement is trusted")
	}
	f, err := ParseFile(data)
	if err != nil {
		return Checked{}, err
	}
	out := Checked{Index: f.Proof.Index, Object: f.Object, StatementDigest: verdict.SHA256(f.Statement)}
	if !trust.AllowAnyStatement && !slices.Contains(trust.Statements, out.StatementDigest) {
		return Checked{}, verdict.Refuse(verdict.TicketStatement, "checking log proof: statement %s is not one that was accepted", out.StatementDigest)
	}
	if out.Statement, err = verdict.ParseStatement(f.Statement); err != nil {
		return Checked{}, err
	}
	log, err := New(Config{Origin: out.Statement.Log.Origin, Keys: out.Statement.Log.Keys, AllowUnvalidatedEd25519: trust.AllowUnvalidatedEd25519})
	if err != nil {
		return Checked{}, err
	}
	if out.Checkpoint, err = log.Inclusion(f.Leaf, f.Proof); err != nil {
		return Checked{}, err
	}
	if out.Leaf, err = verdict.ParseLeaf(f.Leaf); err != nil {
		return Checked{}, err
	}
	if err := out.fits(); err != nil {
		return Checked{}, err
	}
	return out, nil
}

// fits checks that leaf, statement and object are about one another, and opens
// the core.
func (c *Checked) fits() error {
	if got := verdict.DigestFromBytes(c.Leaf.Statement); got != c.StatementDigest {
		return verdict.Refuse(verdict.LogMismatch, "checking log proof: the leaf names statement %s, the file has %s", got.Short(), c.StatementDigest.Short())
	}
	if got := verdict.DigestFromBytes(c.Leaf.Policy); got != c.Statement.Policy {
		return verdict.Refuse(verdict.LogMismatch, "checking log proof: the leaf names policy %s, the statement %s", got.Short(), c.Statement.Policy.Short())
	}
	name := verdict.DigestFromBytes(c.Leaf.Object)
	if !Names(name, c.Object) {
		return verdict.Refuse(verdict.LogMismatch, "checking log proof: the leaf names object %s, the file has another one", name.Short())
	}
	if c.Leaf.Kind != verdict.LeafVerdict {
		return nil
	}
	core, err := verdict.OpenCore(c.Object, c.Statement.Keys)
	if err != nil {
		return err
	}
	passed := core.Predicate.VerificationResult == verdict.Passed
	if core.Digest != name || passed != (c.Leaf.Result == verdict.ResultPassed) {
		return verdict.Refuse(verdict.LogMismatch, "checking log proof: leaf and core %s do not say the same", core.Digest.Short())
	}
	if err := c.Statement.CheckAt(c.Leaf.Time); err != nil {
		return err
	}
	c.Core = core
	return nil
}

// Names tells whether name is a name of data: its SHA-256, or where data is a
// DSSE envelope that of its payload, which is how cores and exceptions are
// named.
func Names(name verdict.Digest, data []byte) bool {
	if verdict.SHA256(data) == name {
		return true
	}
	payload, ok := EnvelopePayload(data)
	return ok && verdict.SHA256(payload) == name
}

// EnvelopePayload returns the payload of a DSSE envelope in canonical form,
// without looking at signatures.
func EnvelopePayload(data []byte) ([]byte, bool) {
	var env struct {
		Payload     string `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Keyid string `json:"keyid"`
			Sig   string `json:"sig"`
		} `json:"signatures"`
	}
	if len(data) > MaxExtra || json.Unmarshal(data, &env) != nil {
		return nil, false
	}
	// One reading only: duplicate members, other cases and unknown members do
	// not come back the same.
	if again, err := json.Marshal(env); err != nil || !bytes.Equal(again, data) {
		return nil, false
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(env.Payload)
	if err != nil {
		return nil, false
	}
	return payload, true
}
