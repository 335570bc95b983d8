// SPDX-License-Identifier: Apache-2.0

// Package proof checks what a verdict log says of itself, from bytes alone:
// signed notes and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint),
// RFC 6962 inclusion and consistency proofs, c2sp.org/tlog-proof files, and
// those files in which assay carries a leaf, its issuer statement and its core.
//
// [New] makes a [Log] from an origin and verifier keys; [Log.Checkpoint] opens
// a signed checkpoint; [CheckInclusion] and [CheckConsistency] check proofs
// against it; [ParseTLogProof] and [CheckFile] read proof files.
//
// It trusts the keys that the caller passes in and nothing else. It has no
// network, disk or clock, and links only the standard library,
// golang.org/x/mod and package verdict: a node imports it. All errors are
// *verdict.Refusal or *verdict.Misuse. The exported API may grow with
// cosignatures of witnesses; the formats are those of C2SP and stay.
package proof
