// SPDX-License-Identifier: Apache-2.0

// Package revocation finds out whether certificates of publishers were revoked, by
// CRL (RFC 5280 §5, §6.3) and OCSP (RFC 6960).
//
// The entry points are [New] and [Checker.Check], which is given a chain that was
// verified, and evidence that came with the signature or from the operator. What
// that does not answer is asked of the addresses that the certificates name, OCSP
// first; [GuardedFetch] asks them. A [Cache] keeps what was answered.
//
// It trusts the issuers of the chain, each for the certificates below it, and
// nobody else: not the network, not the folder of the cache, not who attached the
// evidence. It takes the time from its caller. It does not verify chains, and does
// not know what the certificates are for.
//
// A refusal needs less proof than a pass. A list or response of the issuer that
// says "revoked" counts, however old, unless what it says can be lifted
// (certificateHold); one that says "not revoked" counts while it is current. So
// nobody gets a revoked certificate through by keeping newer evidence away.
package revocation
