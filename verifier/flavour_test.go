// SPDX-License-Identifier: Apache-2.0

//go:build !boringcrypto

package verifier_test

import "github.com/assayd/assay/verdict"

// ed25519Unvalidated is the code of an Ed25519 signature that nothing allows.
const ed25519Unvalidated = verdict.Code("")
