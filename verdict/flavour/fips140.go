// SPDX-License-Identifier: Apache-2.0

//go:build fips140v1.0

package flavour

// wanted is the module that the build asked for: the go command sets the tag
// for GOFIPS140=v1.0.0.
const wanted = "fips140"

func boringActive() bool { return false }
