// SPDX-License-Identifier: Apache-2.0

// Package predicate reads what a verified in-toto statement says: provenance,
// verification summaries, bills of materials, scans; and decides conditions
// about it that a policy has in CEL.
//
// The entry points are [Compile] and [Program.Eval] for conditions, and
// [ParseProvenance], [BaseImages] and [CheckVSA] for what has a form of its own.
// All take the payload of a statement whose signature was verified: nothing here
// may be given bytes that nobody signed. Everything is bounded, nothing reads a
// clock or a network.
package predicate
