// SPDX-License-Identifier: Apache-2.0

//go:build boringcrypto

package spiffe

// TLS takes nothing from outside BoringCrypto's module: no X25519, no ChaCha20, no
// Ed25519. In the Go FIPS module's builds the standard library sees to that itself.
import _ "crypto/tls/fipsonly"
