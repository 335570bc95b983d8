// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// evidenceSource is the part of an enclave.Attester that answers nonces.
type evidenceSource interface {
	Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error)
}

// A collector answers callers' nonces with evidence. One piece of evidence is in
// flight at a time, since a TPM has no more; the nonces of all who came
// meanwhile are answered by the next piece together. A caller has one nonce
// waiting, so that nobody fills a piece alone.
type collector struct {
	source evidenceSource
	// current returns the statement that evidence is for.
	current func() *statement

	mu      sync.Mutex
	waiting []*ask          // in order of arrival, at most verdict.MaxNonces per piece
	callers map[string]bool // who has a nonce waiting or in flight
	running bool            // a goroutine collects
	done    sync.WaitGroup  // that goroutine
	closed  bool

	// How the last piece went: readiness follows it.
	last time.Time
	err  error
}

// An ask is one waiting nonce.
type ask struct {
	caller string
	nonce  [verdict.NonceSize]byte
	answer chan answer // of capacity 1
}

type answer struct {
	collection []byte
	err        error
}

func newCollector(source evidenceSource, current func() *statement) *collector {
	return &collector{source: source, current: current, callers: map[string]bool{}, last: time.Now()}
}

// collect returns evidence that answers nonce. ctx bounds the caller's wait.
func (c *collector) collect(ctx context.Context, caller string, nonce [verdict.NonceSize]byte) ([]byte, error) {
	a := &ask{caller: caller, nonce: nonce, answer: make(chan answer, 1)}
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return nil, verdict.Fail(verdict.Unready, "asking for evidence: the daemon is stopping")
	case c.callers[caller]:
		c.mu.Unlock()
		return nil, overloaded("asking for evidence: %s has a nonce waiting already", caller)
	}
	c.callers[caller] = true
	c.waiting = append(c.waiting, a)
	if !c.running {
		c.running = true
		c.done.Go(c.run)
	}
	c.mu.Unlock()
	select {
	case got := <-a.answer:
		return got.collection, got.err
	case <-ctx.Done():
		return nil, verdict.Fail(verdict.Overloaded, "asking for evidence: %w", ctx.Err())
	}
}

// run collects pieces of evidence until nobody waits.
func (c *collector) run() {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), verdict.MaxNonces)
		batch := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		if n == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()

		var nonces []byte
		for _, a := range batch {
			nonces = append(nonces, a.nonce[:]...)
		}
		collection, err := c.piece(nonces)

		c.mu.Lock()
		for _, a := range batch {
			delete(c.callers, a.caller)
			a.answer <- answer{collection, err}
		}
		c.mu.Unlock()
	}
}

// piece gets one piece of evidence. It is nobody's call alone, so no caller's
// context ends it.
func (c *collector) piece(nonces []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTimeout)
	defer cancel()
	collection, err := c.source.Evidence(ctx, c.current().raw, nonces)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.err = time.Now(), err
	return collection, err
}

// probe asks the TEE for evidence when nobody else has for a while, so that
// one that died while serving is noticed.
func (c *collector) probe(ctx context.Context, every time.Duration) {
	c.mu.Lock()
	due := time.Since(c.last) >= every
	c.mu.Unlock()
	if !due {
		return
	}
	var nonce [verdict.NonceSize]byte
	_, _ = rand.Read(nonce[:])
	// What went wrong is kept by piece.
	_, _ = c.collect(ctx, "", nonce)
}

// health is how the last piece went.
func (c *collector) health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// close lets nobody in any more and waits for those who are.
func (c *collector) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.done.Wait()
}

// overloaded is a failure that asks the caller to come back in a second.
func overloaded(format string, args ...any) error {
	f := verdict.Fail(verdict.Overloaded, format, args...)
	f.RetryAfter = time.Second
	return f
}
