// SPDX-License-Identifier: Apache-2.0

package endorse

import (
	"context"
	"net/http"
	"time"

	"github.com/assayd/assay/attest"
)

// SetWait takes the place of waiting between tries.
func (f *Fetcher) SetWait(wait func(context.Context, time.Duration) error) { f.wait = wait }

// SetTransport takes the place of the network.
func (f *Fetcher) SetTransport(t http.RoundTripper) { f.client.Transport = t }

// Address is where an endorsement is fetched.
func (f *Fetcher) Address(label string, p *attest.Platform) (string, error) {
	s, err := f.sourceOf(label, p)
	return s.url, err
}

// BeforeRename sets what runs when a file is whole and has no name yet.
func BeforeRename(do func()) (restore func()) {
	before := testingOnlyBeforeRename
	testingOnlyBeforeRename = do
	return func() { testingOnlyBeforeRename = before }
}

// Internals of the schedule.
var (
	RetryAfter = retryAfter
	PauseAfter = pauseAfter
	NextOf     = nextOf
	SoonOf     = soonOf
)

// Bounds of the schedule.
const (
	MaxTries      = maxTries
	MaxRetryAfter = maxRetryAfter
	RefreshEvery  = refreshEvery
	RenewBefore   = renewBefore
	LeastPause    = leastPause
	MostPause     = mostPause
)
