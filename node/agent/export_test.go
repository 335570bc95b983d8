// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
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

// MarkPlatform is what accept does with the edition of a platform's collateral.
func MarkPlatform(marks *gate.Marks, chip string, evaluation uint32) error {
	a := &agent{marks: *marks}
	err := a.markPlatform(trust.Appraisal{Issuer: verdict.Issuer{Chip: chip}, Result: attest.Result{Evaluation: evaluation}})
	*marks = a.marks
	return err
}

// FetchStopped asks an agent that has stopped.
func FetchStopped(image gate.Image) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a := &agent{stopped: ctx, flights: map[string]*flight{}}
	return a.fetch(context.Background(), image)
}
