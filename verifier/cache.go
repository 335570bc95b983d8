// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/revocation"
)

// Sizes and lifetimes of the cache. It is in memory only.
const (
	// DefaultCacheSize is how many verdicts are kept; four times as many facts.
	DefaultCacheSize = 4096
	// minCacheSize is what the two queues of 2Q need.
	minCacheSize = 8
	// PositiveTTL is how long a pass is kept at most, unless NotAfter is
	// before. Policy, roots and deny list are in its key, so that it need not
	// be short.
	PositiveTTL = time.Hour
	// NegativeTTL is how long anything else is kept: a signature may appear
	// at any time.
	NegativeTTL = 10 * time.Second
	// maxKeptEvidence bounds the bytes of one image's candidates that are
	// kept; maxKeptImages how many images.
	maxKeptEvidence = 64 << 10
	maxKeptImages   = 512
	// flightTimeout bounds a verification, whoever waits for it.
	flightTimeout = 30 * time.Second
)

// A shared is what verifiers with different policies, roots and deny lists
// have in common.
type shared struct {
	// facts is layer 1: what signatures show, by content digests.
	facts *lru.TwoQueueCache[factKey, factEntry]
	// images keeps what was found about an image, so that a new policy or deny
	// list is applied without asking the registry. Only a pass may come of it:
	// anything else looks again.
	images *lru.TwoQueueCache[string, *evidence]
	// verdicts is layer 2.
	verdicts *lru.TwoQueueCache[string, verdictEntry]

	// publishers are asked about revoked certificates; hangUp ends that.
	publishers *revocation.Checker
	hangUp     func()
	stapled    revocation.Stapled

	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	flights map[string]*flight
	wg      sync.WaitGroup // the flights
}

type factKey struct{ candidate, material string }

// A factEntry is a fact, or the refusal that is as much a matter of the bytes.
type factEntry struct {
	fact   *fact
	refuse *stageError
}

// A verdictEntry counts from the time of its decision until until: a clock
// that went back asks anew.
type verdictEntry struct {
	result    *Result
	refusal   error // in place of a result
	at, until time.Time
}

// A flight is one verification that several callers may wait for.
type flight struct {
	done   chan struct{}
	result *Result
	err    error
}

func newShared(size int, publishers Revocation) (*shared, error) {
	if size == 0 {
		size = DefaultCacheSize
	}
	if size < 0 {
		return nil, verdict.Misused("", "reading cache size: %d is negative", size)
	}
	size = max(size, minCacheSize)
	facts, err := lru.New2Q[factKey, factEntry](4 * size)
	if err != nil {
		return nil, fmt.Errorf("making cache: %w", err)
	}
	verdicts, err := lru.New2Q[string, verdictEntry](size)
	if err != nil {
		return nil, fmt.Errorf("making cache: %w", err)
	}
	images, err := lru.New2Q[string, *evidence](min(size, maxKeptImages))
	if err != nil {
		return nil, fmt.Errorf("making cache: %w", err)
	}
	checker, hangUp, err := publishers.checker()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &shared{publishers: checker, hangUp: hangUp, stapled: revocation.Stapled{OCSP: slices.Clone(publishers.OCSP), CRLs: slices.Clone(publishers.CRLs)}, facts: facts, verdicts: verdicts, images: images, ctx: ctx, cancel: cancel, flights: make(map[string]*flight)}, nil
}

// fly runs do once for all callers of key that come while it runs. Its context
// is nobody's: the first caller may leave, and the others still get an answer.
func (s *shared) fly(ctx context.Context, key string, do func(context.Context) (*Result, error)) (*Result, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, verdict.Fail(verdict.Internal, "verifying: the verifier is closed")
	}
	f := s.flights[key]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.flights[key] = f
		s.wg.Go(func() {
			growStack(0)
			ctx, cancel := context.WithTimeout(s.ctx, flightTimeout)
			defer cancel()
			f.err = safely(func() (err error) { f.result, err = do(ctx); return err })()
			s.mu.Lock()
			delete(s.flights, key)
			s.mu.Unlock()
			close(f.done)
		})
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return nil, verdict.Fail(verdict.RegistryTimeout, "verifying: the caller's time is over, and the answer is not there yet: %w", context.Cause(ctx))
	}
}

// growStack makes the stack of a new goroutine as large as a verification needs it,
// while there is nothing on it to be copied. Otherwise it is copied four times on the
// way down into the arithmetic, which is 3 % of a keyed verification. 16 KiB, which
// this makes it, is the largest that the runtime has at hand; the next size costs as
// much as it saves.
//
//go:noinline
func growStack(i int) byte {
	var room [10 << 10]byte
	return room[i]
}

// close ends the flights and waits for them.
func (s *shared) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	s.hangUp()
}

// keep stores a verdict, or the refusal that stands in its place. What is not a
// decision is not kept, nor a refusal that the network had a part in.
func (s *shared) keep(key string, at time.Time, r *Result, err error) {
	e := verdictEntry{result: r, refusal: err, at: at, until: at.Add(NegativeTTL)}
	if err != nil {
		if isFailure(err) || verdict.CodeOf(err) == verdict.RegistryNotAllowed {
			return
		}
		s.verdicts.Add(key, e)
		return
	}
	if !r.Decided {
		return
	}
	if r.Passed {
		e.until = at.Add(PositiveTTL)
	}
	if !r.NotAfter.IsZero() && r.NotAfter.Before(e.until) {
		e.until = r.NotAfter
	}
	s.verdicts.Add(key, e)
}

func (s *shared) verdict(key string, at time.Time) (verdictEntry, bool) {
	e, ok := s.verdicts.Get(key)
	if !ok || at.Before(e.at) || !at.Before(e.until) {
		return verdictEntry{}, false
	}
	return e, true
}

// keepEvidence stores what was found, unless it is large.
func (s *shared) keepEvidence(key string, ev *evidence) {
	n := 0
	for _, c := range ev.candidates {
		n += len(c.payload) + len(c.data)
		for _, v := range c.annotations {
			n += len(v)
		}
	}
	if n <= maxKeptEvidence {
		s.images.Add(key, ev)
	}
}
