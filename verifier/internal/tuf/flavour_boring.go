// SPDX-License-Identifier: Apache-2.0

//go:build boringcrypto

package tuf

// Ed25519 tells whether keys of that kind count in this build: BoringCrypto's
// validated module has none.
const Ed25519 = false
