// SPDX-License-Identifier: Apache-2.0

package cli

// PanicInParser makes the parser of policies panic until restore is called.
func PanicInParser() (restore func()) {
	testingOnlyParse = func() { panic("a fault that nobody foresaw") }
	return func() { testingOnlyParse = func() {} }
}
