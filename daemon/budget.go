// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"slices"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxCallers bounds the callers whose budgets are remembered. One that was
// forgotten begins again with a full budget.
const maxCallers = 1 << 16

// pulsesPerSecond and pulseBurst bound the statuses that are signed for one
// caller. An agent asks for one in 30 seconds on each stream.
const (
	pulsesPerSecond = 10
	pulseBurst      = 128
)

// callers knows what each caller, by SPIFFE ID, may still cost.
type callers struct {
	limits Limits
	mu     sync.Mutex // of the look-up and making of an entry
	known  *lru.Cache[string, *caller]
}

// A caller is one SPIFFE ID.
type caller struct {
	id     string
	most   int
	misses *rate.Limiter
	leaves *rate.Limiter
	pulses *rate.Limiter

	mu      sync.Mutex
	running int
}

func newCallers(l Limits) (*callers, error) {
	known, err := lru.New[string, *caller](maxCallers)
	if err != nil {
		return nil, err
	}
	return &callers{limits: l, known: known}, nil
}

// of returns the caller with a SPIFFE ID.
func (c *callers) of(id string) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.known.Get(id); ok {
		return have
	}
	made := &caller{
		id: id, most: c.limits.CallerConcurrency,
		misses: rate.NewLimiter(rate.Limit(float64(c.limits.CallerMisses)/60), c.limits.CallerMissBurst),
		leaves: rate.NewLimiter(rate.Limit(float64(c.limits.CallerLeaves)/3600), c.limits.CallerLeaves),
		pulses: rate.NewLimiter(pulsesPerSecond, pulseBurst),
	}
	c.known.Add(id, made)
	return made
}

// enter counts a call that runs. Leave it by the returned function.
func (c *caller) enter() (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running >= c.most {
		return nil, overloaded("calling: %d calls of %s are running", c.running, c.id)
	}
	c.running++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running--
	}, nil
}

// miss takes a verification from the budget.
func (c *caller) miss() error {
	if !c.misses.Allow() {
		return overloaded("verifying: %s has used up its verifications for now", c.id)
	}
	return nil
}

// leaf takes a leaf from the budget.
func (c *caller) leaf() error {
	if !c.leaves.Allow() {
		return overloaded("writing to the log: %s has used up its leaves for now", c.id)
	}
	return nil
}

// pulse takes a status from the budget.
func (c *caller) pulse() error {
	if !c.pulses.Allow() {
		return overloaded("signing status: %s has asked for more than %d a second", c.id, pulsesPerSecond)
	}
	return nil
}

// oneEach lets each caller do something once at a time.
type oneEach struct {
	mu      sync.Mutex
	callers map[string]bool
}

// enter returns false where the caller is at it already. It is ended by the
// returned function.
func (o *oneEach) enter(caller string) (leave func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.callers[caller] {
		return nil, false
	}
	if o.callers == nil {
		o.callers = map[string]bool{}
	}
	o.callers[caller] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.callers, caller)
	}, true
}

// turns lets one caller after the other use what there is one of: the TPM for
// credential activation. A caller waits for one turn at a time.
type turns struct {
	slot    chan struct{} // of capacity 1
	waiting oneEach
}

func newTurns() *turns { return &turns{slot: make(chan struct{}, 1)} }

// take waits for a turn. It is ended by the returned function.
func (t *turns) take(ctx context.Context, caller string) (end func(), err error) {
	leave, ok := t.waiting.enter(caller)
	if !ok {
		return nil, overloaded("waiting for the TEE: %s does so already", caller)
	}
	select {
	case t.slot <- struct{}{}:
		return func() {
			<-t.slot
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, overloaded("waiting for the TEE: %w", ctx.Err())
	}
}

// A queue lets a number of verifications run at a time. Those who wait take
// turns by caller, so that one who asks for a thousand images delays nobody
// who asks for one.
type queue struct {
	mu       sync.Mutex
	free     int
	most     int // who may wait
	mostEach int
	waiting  int
	order    []string // callers with somebody waiting, next first
	byCaller map[string][]chan struct{}
}

func newQueue(l Limits) *queue {
	return &queue{free: l.Verifications, most: l.Queue, mostEach: l.CallerQueue, byCaller: map[string][]chan struct{}{}}
}

// acquire waits for a turn. After nil, release has to be called.
func (q *queue) acquire(ctx context.Context, caller string) error {
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return nil
	}
	if q.waiting >= q.most || len(q.byCaller[caller]) >= q.mostEach {
		waiting := q.waiting
		q.mu.Unlock()
		return overloaded("verifying: %d verifications wait already", waiting)
	}
	turn := make(chan struct{})
	if len(q.byCaller[caller]) == 0 {
		q.order = append(q.order, caller)
	}
	q.byCaller[caller] = append(q.byCaller[caller], turn)
	q.waiting++
	q.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.byCaller[caller], turn)
	if i < 0 { // its turn came at the same moment: pass it on
		q.mu.Unlock()
		q.release()
		return overloaded("verifying: the wait ended: %w", ctx.Err())
	}
	q.remove(caller, i)
	q.mu.Unlock()
	return overloaded("verifying: the wait ended: %w", ctx.Err())
}

// remove takes the i-th turn of caller out of the queue. q.mu is held.
func (q *queue) remove(caller string, i int) {
	q.waiting--
	q.byCaller[caller] = slices.Delete(q.byCaller[caller], i, i+1)
	if len(q.byCaller[caller]) == 0 {
		delete(q.byCaller, caller)
		q.order = slices.DeleteFunc(q.order, func(c string) bool { return c == caller })
	}
}

// release ends a turn and begins the next one.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		q.free++
		return
	}
	caller := q.order[0]
	turn := q.byCaller[caller][0]
	// To the end of the line, if it has more.
	q.order = append(q.order[1:], caller)
	q.remove(caller, 0)
	close(turn)
}
