// SPDX-License-Identifier: Apache-2.0

//go:build boringcrypto

package daemon

// boring tells that this is a BoringCrypto build, where Ed25519 is outside the
// validated module.
const boring = true
