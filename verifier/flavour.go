// SPDX-License-Identifier: Apache-2.0

//go:build !boringcrypto

package verifier

// ed25519Validated: Ed25519 is in the Go Cryptographic Module; in a plain build
// there is no module to be outside of.
const ed25519Validated = true
