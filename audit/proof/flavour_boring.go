// SPDX-License-Identifier: Apache-2.0

//go:build boringcrypto

package proof

// ed25519Unvalidated: BoringCrypto has no Ed25519, so this flavour would run
// the plain Go code.
const ed25519Unvalidated = true
