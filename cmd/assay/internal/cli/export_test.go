// SPDX-License-Identifier: Apache-2.0

package cli

import "github.com/assayd/assay/node/trust"

// AppraisalText is what a person is told of an appraisal.
func AppraisalText(a trust.Appraisal) string { return describeAppraisal(a, "v1").text() }

// PanicInParser makes the parser of policies panic until restore is called.
func PanicInParser() (restore func()) {
	testingOnlyParse = func() { panic("a fault that nobody foresaw") }
	return func() { testingOnlyParse = func() {} }
}
