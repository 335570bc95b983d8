// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
)

// Boring tells the flavour of the build.
const Boring = boring

// Enclave is the TEE that a configuration opens.
var Enclave = (*Config).enclave

// Verbs is the verb table.
var Verbs = verbs

// Queue is a queue for tests.
type Queue struct{ q *queue }

// NewQueue makes a queue.
func NewQueue(l Limits) Queue { return Queue{newQueue(l)} }

// Acquire waits for a turn.
func (q Queue) Acquire(ctx context.Context, caller string) error { return q.q.acquire(ctx, caller) }

// Release ends one.
func (q Queue) Release() { q.q.release() }

// Collector is a collector whose statement is fixed.
type Collector struct{ c *collector }

// NewCollector makes one.
func NewCollector(source evidenceSource, raw []byte) Collector {
	s := &statement{raw: raw}
	return Collector{newCollector(source, func() *statement { return s })}
}

// Collect asks for evidence.
func (c Collector) Collect(ctx context.Context, caller string, nonce [verdict.NonceSize]byte) ([]byte, error) {
	return c.c.collect(ctx, caller, nonce)
}

// Close waits for what runs.
func (c Collector) Close() { c.c.close() }

// Health is how the last piece went.
func (c Collector) Health() error { return c.c.health() }

// TestingBreakLog makes every append of decisions fail, as a full disk does.
func (d *Daemon) TestingBreakLog(err error) { d.decider.shard = brokenLog{err} }

type brokenLog struct{ err error }

func (b brokenLog) Append(context.Context, verdict.Leaf, ...audit.Object) (uint64, error) {
	return 0, b.err
}

// TestingPanic makes the next decision panic.
func (d *Daemon) TestingPanic() { d.decider.shard = nil }

// TestingTEE replaces what gives evidence for nonces.
func (d *Daemon) TestingTEE(s evidenceSource) {
	d.collector.mu.Lock()
	defer d.collector.mu.Unlock()
	d.collector.source = s
	d.collector.last = time.Time{}
}

// TestingSlow holds verifications back until the returned function is called.
func (d *Daemon) TestingSlow() func() {
	n := d.config.Limits.Verifications
	for range n {
		_ = d.decider.queue.acquire(context.Background(), "test")
	}
	return sync.OnceFunc(func() {
		for range n {
			d.decider.queue.release()
		}
	})
}

// CheckClock refuses a clock that is behind.
func CheckClock(h verdict.CheckedHead, at time.Time) error { return checkClock(h, at) }

// DigestsFor chooses a node's image.
var DigestsFor = digestsFor

// Platform is a node's platform.
func Platform(os, architecture, variant string) platform {
	return platform{os, architecture, variant, ""}
}

// TestingFlights is how many questions are being answered.
func (d *Daemon) TestingFlights() int {
	d.decider.mu.Lock()
	defer d.decider.mu.Unlock()
	return len(d.decider.flights)
}

// TestingBreakStatements makes issuing statements fail until the returned function is
// called.
func (d *Daemon) TestingBreakStatements(err error) func() {
	d.updates <- struct{}{}
	defer func() { <-d.updates }()
	before := d.issuer.shard
	d.issuer.shard = brokenLog{err}
	return func() {
		d.updates <- struct{}{}
		defer func() { <-d.updates }()
		d.issuer.shard = before
	}
}

// TestingRenew makes the next statement now.
func (d *Daemon) TestingRenew() {
	unlock, err := d.lockUpdates(context.Background())
	if err == nil {
		defer unlock()
		err = d.renew(context.Background())
	}
	if err != nil {
		panic(err)
	}
}

// SetTEE has daemons open a TEE of the test's, and believe endorsements under its roots,
// until what it returns is called.
func SetTEE(open func(context.Context, enclave.Config) (enclave.Attester, error), roots attest.EndorsementRoots) (restore func()) {
	beforeTEE, beforeRoots := testingOnlyTEE, testingOnlyRoots
	testingOnlyTEE, testingOnlyRoots = open, roots
	return func() { testingOnlyTEE, testingOnlyRoots = beforeTEE, beforeRoots }
}
