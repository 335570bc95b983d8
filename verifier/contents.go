// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/assayd/assay/verdict"
)

// Bounds of what a Registry keeps in memory.
const (
	// DefaultContentBytes is how much content is kept, with its keys.
	DefaultContentBytes = 32 << 20
	// contentShare: one thing has at most this part of it.
	contentShare = 8
	// contentOverhead is added to the size of each thing for what holds it.
	contentOverhead = 512
	// maxContents bounds the number of things.
	maxContents = 1 << 16
)

// Contents is a cache of what a registry answered: by digest, what cannot
// change and was compared with its digest once; by URL, what a registry may say
// again is still so. It is bounded in bytes. What is in it is shared, and not to
// be changed.
type contents struct {
	limit int64

	mu      sync.Mutex
	kept    *simplelru.LRU[string, answer]
	bytes   int64
	flights map[string]*contentFlight
}

// A contentFlight is one fetch that several verifications may wait for.
type contentFlight struct {
	done chan struct{}
	// What came of it, once done is closed. Own: the error is a matter of who
	// fetched, not of the registry.
	answer answer
	err    error
	own    bool
}

func newContents(limit int64) (*contents, error) {
	c := &contents{limit: limit, flights: make(map[string]*contentFlight)}
	kept, err := simplelru.NewLRU(maxContents, func(key string, a answer) { c.bytes -= contentSize(key, a) })
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "making the cache of content: %w", err)
	}
	c.kept = kept
	return c, nil
}

func contentSize(key string, a answer) int64 {
	n := len(key) + len(a.body) + len(a.mediaType) + len(a.etag) + contentOverhead
	for _, l := range a.links {
		n += len(l)
	}
	return int64(n)
}

func (c *contents) get(key string) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept.Get(key)
}

func (c *contents) keep(key string, a answer) {
	size := contentSize(key, a)
	if size > c.limit/contentShare {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept.Remove(key)
	c.kept.Add(key, a)
	for c.bytes += size; c.bytes > c.limit; {
		c.kept.RemoveOldest()
	}
}

// fetch returns what is kept under key, or lets one caller of several ask for
// it. What the registry answered counts for all of them, also when it is a
// refusal or a failure; that a caller's own time or budget is over does not.
func (c *contents) fetch(ctx context.Context, key string, ask func() (answer, error)) (answer, error) {
	c.mu.Lock()
	if a, ok := c.kept.Get(key); ok {
		c.mu.Unlock()
		return a, nil
	}
	if f := c.flights[key]; f != nil {
		c.mu.Unlock()
		select {
		case <-f.done:
			if !f.own {
				return f.answer, f.err
			}
			a, err := ask()
			if err == nil {
				c.keep(key, a)
			}
			return a, err
		case <-ctx.Done():
			return answer{}, verdict.Fail(verdict.RegistryTimeout, "waiting for an answer that another verification asked for: %w", ctx.Err())
		}
	}
	f := &contentFlight{done: make(chan struct{}), own: true} // until ask has returned
	c.flights[key] = f
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.flights, key)
		c.mu.Unlock()
		close(f.done)
	}()
	f.answer, f.err = ask()
	f.own = f.err != nil && (ctx.Err() != nil || verdict.CodeOf(f.err) == verdict.InputLimit)
	if f.err == nil {
		c.keep(key, f.answer)
	}
	return f.answer, f.err
}
