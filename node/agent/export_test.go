// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
)

// RenewalDue is when a ticket that arrives would be renewed, zero for never.
func RenewalDue(t verdict.Ticket) time.Time {
	e := &entry{tickets: []held{{ticket: t}}}
	e.schedule()
	return e.due
}

// SetTestingOnlyProofDelay changes how long a leaf may be missing, for one test.
func SetTestingOnlyProofDelay(t testing.TB, d time.Duration) {
	before := maxProofDelay
	maxProofDelay = d
	t.Cleanup(func() { maxProofDelay = before })
}
