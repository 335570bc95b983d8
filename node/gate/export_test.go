// SPDX-License-Identifier: Apache-2.0

package gate

import "testing"

// ReadAnswer is what a gate reads from an agent.
var ReadAnswer = readAnswer

// RecordUse is what a gate writes.
var RecordUse = State.recordUse

// SetTestingOnlyPanic makes the next decisions of this test panic.
func SetTestingOnlyPanic(t testing.TB, text string) {
	testingOnlyDecide = func() { panic(text) }
	t.Cleanup(func() { testingOnlyDecide = func() {} })
}
