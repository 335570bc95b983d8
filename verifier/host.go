// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// How a host is spared.
const (
	// MaxPerHost bounds the requests to one host at one time, of all
	// verifications together.
	MaxPerHost = 16
	// maxRest bounds how long a host that said Retry-After is not asked.
	maxRest = time.Minute
	// maxHosts bounds the hosts that are known apart; further ones share one.
	maxHosts = 1024
)

// A registryHost is the traffic to one host.
type registryHost struct {
	// slots has a value for each request that runs.
	slots chan struct{}

	mu sync.Mutex
	// rested is closed when the host may be asked again; nil: it may.
	rested chan struct{}
	asked  time.Duration // what Retry-After said
	timer  *time.Timer
}

func newRegistryHost() *registryHost { return &registryHost{slots: make(chan struct{}, MaxPerHost)} }

// enter waits until the host may be asked and has a place free, and takes it.
// Where the host wants a longer rest than the caller has time it is the failure
// that the host answered with before: what asks all the same only prolongs it.
func (h *registryHost) enter(ctx context.Context, where string) error {
	for {
		h.mu.Lock()
		rested, asked := h.rested, h.asked
		h.mu.Unlock()
		if rested != nil {
			if asked > patience(ctx) {
				f := verdict.Fail(verdict.RegistryRateLimited, "reading %s: the registry answered 429 a moment ago and wants to be left alone for %s", where, asked)
				f.RetryAfter = asked
				return f
			}
			select {
			case <-rested:
			case <-ctx.Done():
				return verdict.Fail(verdict.RegistryTimeout, "reading %s: waiting for the time that the registry asked for: %w", where, ctx.Err())
			}
			continue
		}
		select {
		case h.slots <- struct{}{}:
			h.mu.Lock()
			free := h.rested == nil
			h.mu.Unlock()
			if free {
				return nil
			}
			h.leave() // it was told to rest meanwhile
		case <-ctx.Done():
			return verdict.Fail(verdict.RegistryTimeout, "reading %s: waiting for one of %d requests to it to end: %w", where, MaxPerHost, ctx.Err())
		}
	}
}

func (h *registryHost) leave() { <-h.slots }

// rest lets nobody ask for d.
func (h *registryHost) rest(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rested != nil && h.asked >= d {
		return
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.rested == nil {
		h.rested = make(chan struct{})
	}
	h.asked = d
	var timer *time.Timer
	timer = time.AfterFunc(min(d, maxRest), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.timer == timer {
			h.wakeLocked()
		}
	})
	h.timer = timer
}

// wake ends a rest.
func (h *registryHost) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeLocked()
}

func (h *registryHost) wakeLocked() {
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.rested != nil {
		close(h.rested)
	}
	h.rested, h.asked, h.timer = nil, 0, nil
}

func (h *registryHost) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.slots) == 0 && h.rested == nil
}

// A hostTable finds hosts by what is dialled.
type hostTable struct {
	mu     sync.Mutex
	hosts  map[string]*registryHost
	others *registryHost // all that are too many
}

func newHostTable() *hostTable {
	return &hostTable{hosts: make(map[string]*registryHost), others: newRegistryHost()}
}

func (t *hostTable) host(dial string) *registryHost {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.hosts[dial]; h != nil {
		return h
	}
	if len(t.hosts) >= maxHosts {
		for name, h := range t.hosts {
			if h.idle() {
				delete(t.hosts, name)
			}
		}
		if len(t.hosts) >= maxHosts {
			return t.others
		}
	}
	h := newRegistryHost()
	t.hosts[dial] = h
	return h
}

// wake ends all rests, and with them their timers.
func (t *hostTable) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.hosts {
		h.wake()
	}
	t.others.wake()
}

// Time that is spent on waiting.
const (
	// maxPause bounds one wait for a registry within a call. What wants longer
	// is told to the caller.
	maxPause = 5 * time.Second
	// answerMargin is left of the caller's time to answer in.
	answerMargin = 200 * time.Millisecond
)

type patienceKey struct{}

// withPatience returns ctx, which waits for registries no longer than caller
// does. It does not end when caller ends.
func withPatience(ctx, caller context.Context) context.Context {
	end, ok := caller.Deadline()
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, patienceKey{}, end)
}

// patience is how long a registry may be waited for, so that there is time left
// to say why. The clock decides nothing but that.
func patience(ctx context.Context) time.Duration {
	limit := maxPause
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)-answerMargin)
	}
	if end, ok := ctx.Value(patienceKey{}).(time.Time); ok {
		limit = min(limit, time.Until(end)-answerMargin)
	}
	return limit
}

// pause waits for least and then about d more, and says whether there was time
// for it. About is between half and one and a half: those who failed together
// would otherwise ask together.
func pause(ctx context.Context, least, d time.Duration) bool {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	d = least + d/2 + d*time.Duration(binary.BigEndian.Uint16(b[:]))>>16
	if d > patience(ctx) {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
