// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// askTimeout bounds one conversation with a machine, which has a slow processor.
const askTimeout = time.Minute

// An appraisal is what assay statement appraise says in JSON.
type appraisal struct {
	Entry     string `json:"entry"`
	Kind      string `json:"kind"`
	Binding   string `json:"binding"`
	Head      uint64 `json:"head"`
	Simulated bool   `json:"simulated"`
}

// appraiseByCommand has the released command appraise a machine, which knows the
// owners, the TPM's authority, and nothing else.
func (w *world) appraiseByCommand(ctx context.Context, m *machine) (appraisal, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	o, err := call(ctx, w.assay(), "statement", "appraise", "--server", m.address, "--trust", w.path("dev", "ci", "trust.yaml"), "--output", "json")
	if err != nil {
		return appraisal{}, err
	}
	var said struct {
		Result  string
		Code    verdict.Code
		Reasons []verdict.Reason
		Value   appraisal
	}
	if err := json.Unmarshal([]byte(o.stdout), &said); err != nil {
		return appraisal{}, fmt.Errorf("assay statement appraise: %w: %s%s", err, o.stdout, o.stderr)
	}
	switch {
	case o.status == 0 && said.Result == "pass":
		return said.Value, nil
	case o.status == 1 && len(said.Reasons) > 0:
		return appraisal{}, verdict.Refuse(said.Code, "%s", said.Reasons[0].Text)
	}
	return appraisal{}, fmt.Errorf("assay statement appraise: exit status %d: %s%s", o.status, o.stdout, o.stderr)
}

// collected is a collection that a machine gave, and what belongs to it.
type collected struct {
	collection []byte
	nonce      [verdict.NonceSize]byte
	known      attest.KnownAK
}

// ask asks the daemon of a machine for its statement, and has it prove its key. It
// brings no head along, unlike a node: so that an older one stays in force.
func (w *world) ask(ctx context.Context, m *machine) (c collected, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := trust.Dial(w.trust, m.address, w.src)
	if err != nil {
		return collected{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	_, _ = rand.Read(c.nonce[:]) // it never returns an error
	answer, err := conn.GetStatement(ctx, &assayv1.GetStatementRequest{Nonce: c.nonce[:], HeadCounter: 1})
	if err != nil {
		return collected{}, conn.Err(err)
	}
	c.collection = answer.GetCollection()
	challenge, err := attest.NewChallenge(c.collection)
	if err != nil {
		return collected{}, err
	}
	secret, err := conn.ActivateCredential(ctx, &assayv1.ActivateCredentialRequest{CredentialBlob: challenge.Credential, EncryptedSecret: challenge.EncryptedSecret})
	if err != nil {
		return collected{}, conn.Err(err)
	}
	c.known, err = challenge.Prove(secret.GetSecret())
	return c, err
}

// appraise judges under a head, as one who asks for the first time.
func (w *world) appraise(c collected, head uint64) (trust.Appraisal, error) {
	return w.trust.Appraise(c.collection, trust.Question{Head: w.heads[head], Nonce: c.nonce, Known: []attest.KnownAK{c.known}}, time.Now())
}

// differing are the registers in which a quote differs from an entry of a head. The
// values count because an appraisal got as far as comparing them.
func (w *world) differing(c collected, head uint64, entry string) (string, error) {
	parsed, err := attest.ParseCollection(c.collection)
	if err != nil {
		return "", err
	}
	evidence := parsed.Items[attest.LabelEvidence].Nested
	if evidence == nil {
		return "", errors.New("the collection has no quote")
	}
	values := evidence.Items[attest.LabelPCRs].Value
	entries := w.heads[head].References.Entries
	n := slices.IndexFunc(entries, func(e verdict.ReferenceEntry) bool { return e.Name == entry })
	if n < 0 {
		return "", fmt.Errorf("head %d has no entry %q", head, entry)
	}
	var names []string
	for pcr := range len(values) / 32 {
		name := fmt.Sprintf("pcr%d", pcr)
		if want, ok := entries[n].Registers[name]; ok && want != fmt.Sprintf("%x", values[pcr*32:][:32]) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " "), nil
}
