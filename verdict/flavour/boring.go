// SPDX-License-Identifier: Apache-2.0

//go:build boringcrypto

package flavour

import "crypto/boring"

// wanted is the module that the build asked for: the go command sets the tag
// for GOEXPERIMENT=boringcrypto.
const wanted = "boringcrypto"

func boringActive() bool { return boring.Enabled() }
