// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

// errStale is the answer to a publisher that read the tree's state just before
// a batch moved it on: nothing is wrong, and it comes again with a newer one.
var errStale = errors.New("the tree has grown since this state was read")

// errClosed is the answer to a publisher that outlives the shard.
var errClosed = errors.New("the shard is closed")

// A guard is the only holder of the log's keys, and does not believe the disk.
// Tessera signs whatever its state file and tiles say; the host owns both. The
// guard knows the hash of every leaf that was appended (as a compact range) and
// signs a checkpoint only if its root is the one that those leaves have, and
// never a smaller tree than one that it signed. Anything else latches it: from
// then on it signs nothing, the shard appends nothing, and the daemon is not
// ready, since a log that contradicts itself ends with its boot.
//
// The order that makes it safe: begin (the batch's hashes are known) → tessera
// writes the state (the publisher may now ask for a size inside the batch) →
// commit (exactly what was appended is known) → sign latest.
type guard struct {
	origin  string
	signers []note.Signer // ECDSA first; the keys themselves
	logger  *slog.Logger

	mu sync.Mutex
	// All below is guarded by mu.
	committed edge        // every leaf whose future resolved
	flying    []tlog.Hash // the batch in flight, in the order of Add
	unsure    bool        // a batch failed, and what of it is in the tree is not known yet
	signed    proof.Checkpoint
	floor     uint64    // size that was committed when the publisher's last request was answered
	approved  string    // text of the publisher's last request that was signed
	published time.Time // when that was, with its monotonic clock
	closed    bool
	latched   *verdict.Failure
}

// publisher returns the signers for tessera: the first judges, the others sign
// only the text that the first has just approved.
func (g *guard) publisher() (first note.Signer, others []note.Signer) {
	first = &guardedSigner{guard: g, Signer: g.signers[0], judge: g.approve}
	for _, s := range g.signers[1:] {
		others = append(others, &guardedSigner{guard: g, Signer: s, judge: g.same})
	}
	return first, others
}

// A guardedSigner is a [note.Signer] that asks the guard first.
type guardedSigner struct {
	note.Signer
	guard *guard
	judge func(text string) error
}

// Sign signs msg, if the guard approves of it.
func (s *guardedSigner) Sign(msg []byte) ([]byte, error) {
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	if err := s.judge(string(msg)); err != nil {
		return nil, err
	}
	return s.Signer.Sign(msg)
}

// approve judges what the publisher wants signed. mu is held.
func (g *guard) approve(text string) error {
	if g.closed {
		return errClosed
	}
	if g.latched != nil {
		return g.latched
	}
	// The state that the publisher reads next is at least what is committed
	// now, whatever the answer.
	floor := g.floor
	g.floor = g.committed.size

	c, err := proof.ParseCheckpointText(text)
	if err != nil {
		return g.latch("signing checkpoint: %s", err) // no %w: the code is the log's
	}
	inFlight := uint64(len(g.flying))
	switch {
	case c.Origin != g.origin:
		return g.latch("signing checkpoint: origin is %q, want %q", c.Origin, g.origin)
	case c.Size < floor:
		return g.latch("signing checkpoint: the tree on disk has %d leaves, it had %d: it was rolled back", c.Size, floor)
	case c.Size < g.committed.size:
		return errStale
	case c.Size > g.committed.size+inFlight:
		if g.unsure {
			return errStale
		}
		return g.latch("signing checkpoint: the tree on disk has %d leaves, %d were appended", c.Size, g.committed.size+inFlight)
	}
	at := g.committed.with(g.flying[:c.Size-g.committed.size])
	if at.root() != c.Root {
		// With a batch in flight the leaves beyond the committed ones need not
		// be its first (an earlier part of it may have failed): not signed,
		// and judged again when it has landed.
		if c.Size > g.committed.size {
			return errStale
		}
		return g.latch("signing checkpoint: the root on disk at size %d is not that of the leaves appended", c.Size)
	}
	g.signed, g.approved, g.published = c, text, time.Now()
	return nil
}

// same approves of the text that was approved last. mu is held.
func (g *guard) same(text string) error {
	if g.latched != nil {
		return g.latched
	}
	if text != g.approved {
		return errStale
	}
	return nil
}

// latch makes the guard refuse for ever. mu is held.
func (g *guard) latch(format string, args ...any) *verdict.Failure {
	if g.latched == nil {
		g.latched = verdict.Fail(verdict.LogUnavailable, format, args...)
		g.logger.ErrorContext(context.Background(), "log refuses to sign until the daemon is started again", "err", g.latched)
	}
	return g.latched
}

// refuse latches the guard from outside.
func (g *guard) refuse(format string, args ...any) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.latch(format, args...)
}

// begin announces a batch.
func (g *guard) begin(leaves []tlog.Hash) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.latched != nil {
		return g.latched
	}
	g.flying = leaves
	return nil
}

// commit ends the batch: exactly leaves were appended. With unsure, others of
// it may have been too, until settle is called.
func (g *guard) commit(leaves []tlog.Hash, unsure bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying, g.unsure = nil, unsure
	return g.extend(leaves)
}

// extend appends leaves to the committed ones. mu is held.
func (g *guard) extend(leaves []tlog.Hash) error {
	for _, h := range leaves {
		g.committed.add(h)
	}
	if g.latched != nil {
		return g.latched
	}
	if !g.unsure && g.committed.size < g.signed.Size {
		return g.latch("appending: %d leaves were signed, %d are in the tree", g.signed.Size, g.committed.size)
	}
	if g.signed.Origin != "" && g.committed.size == g.signed.Size && g.committed.root() != g.signed.Root {
		return g.latch("appending: the leaves at size %d are not those that were signed", g.signed.Size)
	}
	return nil
}

// settle is told the state on disk after a batch failed, with the leaves that
// may or may not have been appended: those that were are a prefix of them.
func (g *guard) settle(size uint64, root proof.Hash, maybe []tlog.Hash) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.latched != nil {
		return g.latched
	}
	if size < g.committed.size || size-g.committed.size > uint64(len(maybe)) {
		return g.latch("reading the tree's state: it has %d leaves, want %d to %d", size, g.committed.size, g.committed.size+uint64(len(maybe)))
	}
	landed := maybe[:size-g.committed.size]
	at := g.committed.with(landed)
	if at.root() != root {
		return g.latch("reading the tree's state: the root at size %d is not that of the leaves appended", size)
	}
	g.unsure = false
	return g.extend(landed)
}

// latest signs the tree of all committed leaves.
func (g *guard) latest() (proof.Checkpoint, []byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.latched != nil {
		return proof.Checkpoint{}, nil, g.latched
	}
	c := proof.Checkpoint{Origin: g.origin, Size: g.committed.size, Root: g.committed.root()}
	if c.Size < g.signed.Size {
		return proof.Checkpoint{}, nil, verdict.Fail(verdict.LogUnavailable, "signing checkpoint: %d leaves were signed, %d are known to be in the tree", g.signed.Size, c.Size)
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, g.signers...)
	if err != nil {
		return proof.Checkpoint{}, nil, verdict.Fail(verdict.LogUnavailable, "signing checkpoint: %w", err)
	}
	g.signed = c
	return c, signed, nil
}

// size returns the number of committed leaves.
func (g *guard) size() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.committed.size
}

// health returns why the guard refuses, or nil, and when the publisher last
// got a signature.
func (g *guard) health() (published time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.latched != nil {
		return g.published, g.latched
	}
	return g.published, nil
}

// close ends publishing.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
