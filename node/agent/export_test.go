// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"
)

// SetTestingOnlyProofDelay changes how long a leaf may be missing, for one test.
func SetTestingOnlyProofDelay(t testing.TB, d time.Duration) {
	before := maxProofDelay
	maxProofDelay = d
	t.Cleanup(func() { maxProofDelay = before })
}
