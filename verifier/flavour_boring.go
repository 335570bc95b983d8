// SPDX-License-Identifier: Apache-2.0

//go:build boringcrypto

package verifier

// ed25519Validated: BoringCrypto's validated module has no Ed25519.
const ed25519Validated = false
