// SPDX-License-Identifier: Apache-2.0

// Package spiffe tells who is on the other end of a connection: X.509 SVIDs
// from the SPIFFE Workload API, mutual TLS 1.3 between them, and the roles that
// the measured configuration gives to SPIFFE IDs.
//
// A process opens one [Source] ([OpenSource]) and makes its TLS configuration
// with [ServerTLS] or [ClientTLS]. A server names its callers' roles by
// [NewRoles] and what each role may call by [Verbs]; both deny by default.
// [PeerFromTLS] gives the caller of a connection, and [Peer.CheckAt] re-checks
// it while a stream lives, since a stream outlives both the peer's SVID and the
// certificate authority that issued it.
//
// SPIFFE IDs of assay end in a cluster and a name:
//
//	spiffe://TD/assay/<role>/<cluster>/<name>   a caller; role as in [Role]
//	spiffe://TD/assay/d/<cluster>/<name>        a daemon, which calls nobody
//
// What is trusted: the Workload API's socket, hence whoever runs SPIRE, and no
// more than for accounting, containment and withholding. An SVID alone grants
// no verb that loosens anything, and no evidence, head, status or ticket counts
// because of the connection that it came over (design.md §1).
//
// TLS session tickets are off on both sides, and peers are verified in
// VerifyConnection, which crypto/tls also calls for a resumed session: a
// resumed session must not skip the check against the trust bundle of today.
//
// The package decides no policy. Its API may change with the daemon's.
package spiffe
