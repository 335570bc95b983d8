// SPDX-License-Identifier: Apache-2.0

//go:build !boringcrypto

package proof

// ed25519Unvalidated: in the plain flavour nothing is claimed, and the FIPS
// 140-3 module of Go has Ed25519.
const ed25519Unvalidated = false
