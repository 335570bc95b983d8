// SPDX-License-Identifier: Apache-2.0

package enclave

// BeforeExtend sets what runs between the writing of an event and its extend, and
// returns a function that takes it away.
func BeforeExtend(f func()) (reset func()) {
	testingOnlyBeforeExtend = f
	return func() { testingOnlyBeforeExtend = func() {} }
}
