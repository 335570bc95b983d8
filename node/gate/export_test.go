// SPDX-License-Identifier: Apache-2.0

package gate

import "testing"

// SetTestingOnlyPanic makes the next decisions of this test panic.
func SetTestingOnlyPanic(t testing.TB, text string) {
	testingOnlyDecide = func() { panic(text) }
	t.Cleanup(func() { testingOnlyDecide = func() {} })
}
