// SPDX-License-Identifier: Apache-2.0

package verdict

// What the tests of this package need to see.
var (
	CheckCanonical = checkCanonical
	Encode         = encode
)

// CountVerifies returns how many signatures were looked at while f ran. Tests
// that call it do not run in parallel.
func CountVerifies(f func()) int {
	n := 0
	testingOnlyVerifies = func() { n++ }
	defer func() { testingOnlyVerifies = nil }()
	f()
	return n
}
