// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
)

// slowTEE takes a second for each piece of evidence and returns its nonces.
type slowTEE struct {
	mu     sync.Mutex
	pieces []int // nonces per piece
	busy   bool
	fail   bool
}

func (s *slowTEE) Evidence(ctx context.Context, _, nonces []byte) ([]byte, error) {
	s.mu.Lock()
	if s.busy {
		s.mu.Unlock()
		return nil, errors.New("two pieces of evidence at a time")
	}
	s.busy = true
	s.pieces = append(s.pieces, len(nonces)/verdict.NonceSize)
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if s.fail {
		return nil, verdict.Fail(verdict.EvidenceMissing, "asking")
	}
	return nonces, ctx.Err()
}

// TestEvidenceIsCollected: one piece in flight, all who came meanwhile in the
// next one, and not more than fit.
func TestEvidenceIsCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tee := &slowTEE{}
		c := daemon.NewCollector(tee, []byte("S"))
		var wg sync.WaitGroup
		ask := func(name string) {
			wg.Go(func() {
				n := [verdict.NonceSize]byte(nonce(verdict.NonceSize))
				got, err := c.Collect(t.Context(), name, n)
				if err != nil || !verdict.HasNonce(got, n) {
					t.Errorf("%s: got %v, want evidence with its nonce", name, err)
				}
			})
		}
		ask("first")
		synctest.Wait()
		for i := range verdict.MaxNonces + 10 {
			ask(fmt.Sprint("caller", i))
		}
		synctest.Wait()
		_, err := c.Collect(t.Context(), "caller1", [32]byte{})
		wantCode[*verdict.Failure](t, err, verdict.Overloaded)
		wg.Wait()
		if want := []int{1, verdict.MaxNonces, 10}; !slices.Equal(tee.pieces, want) {
			t.Errorf("got pieces for %v nonces, want %v", tee.pieces, want)
		}
		// A caller that hangs up does not keep others out, and its failure is
		// remembered for readiness.
		tee.fail = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = c.Collect(ctx, "hasty", [32]byte{})
		wantCode[*verdict.Failure](t, err, verdict.Overloaded)
		c.Close()
		if c.Health() == nil {
			t.Error("got healthy after a failure")
		}
		_, err = c.Collect(t.Context(), "late", [32]byte{})
		wantCode[*verdict.Failure](t, err, verdict.Unready)
	})
}

// TestQueueIsFair: who asks for one thing waits for one turn of the others.
func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := daemon.NewQueue(daemon.Limits{Verifications: 1, Queue: 12, CallerQueue: 8})
		must(t, q.Acquire(t.Context(), "holder"))
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		wait := func(name string) {
			wg.Go(func() {
				if err := q.Acquire(t.Context(), name); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				q.Release()
			})
			synctest.Wait()
		}
		for range 8 {
			wait("greedy")
		}
		wantCode[*verdict.Failure](t, q.Acquire(t.Context(), "greedy"), verdict.Overloaded)
		wait("modest")
		wait("other")
		// One that gives up leaves its place.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantCode[*verdict.Failure](t, q.Acquire(ctx, "hasty"), verdict.Overloaded)
		q.Release()
		wg.Wait()
		if got := order[:4]; !slices.Equal(got, []string{"greedy", "modest", "other", "greedy"}) || len(order) != 10 {
			t.Errorf("got order %v, want turns by caller", order)
		}
		must(t, q.Acquire(t.Context(), "after"))
	})
}
