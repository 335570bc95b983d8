// SPDX-License-Identifier: Apache-2.0

// Package verdict has the formats of assay, and nothing else: the head that
// owners sign, the issuer statement that evidence is bound to, the verdict
// core (in-toto Statement v1 with a SLSA VSA v1, in DSSE), the ticket and
// status that a daemon signs (JWS), the exception that lets an image through
// when everything is down, and the reason codes.
//
// Every format has a pair of functions: one that signs ([SignHead], [SignTicket])
// and one that turns received bytes into checked facts ([OpenHead],
// [OpenTicket]). What a node decides by is [CheckTicket]; a reader that holds a
// head takes another by [CheckedHead.OpenNewer]. docs/formats.md has the members.
//
// A decoder is strict and runs before any signature work: size, UTF-8, duplicate
// or unknown members, numbers outside 0…2⁵³−1, null and bytes that are not the
// RFC 8785 form of what they say are refused. Nothing is re-canonicalised:
// digests are over the received bytes.
//
// The package trusts nothing but the keys that the caller passes in. It has no
// clock, no network and no disk: time is an argument. It imports only the
// standard library, and its exported API is stable.
package verdict
