// SPDX-License-Identifier: Apache-2.0

//go:build !boringcrypto && !fips140v1.0

package flavour

// wanted is the module that the build asked for.
const wanted = "go"

func boringActive() bool { return false }
