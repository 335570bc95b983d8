// SPDX-License-Identifier: Apache-2.0

// Package verifier finds the signatures and attestations of a container image,
// verifies them, and decides by a policy: bytes of a registry in, one [Result]
// out.
//
// The entry points are [New] with a [Config], and [Verifier.Verify]. A policy
// comes from [ParsePolicy] (the reference of the format is the type [Policy])
// or from a [OneOff], trust roots come from [ParseRoots], and bytes from a
// [Source]: [NewRegistry], [OpenLayout] or [OpenBundle].
//
// What it reads: cosign's simple signing in .sig manifests, keyless and keyed
// (github.com/sigstore/cosign specs/SIGNATURE_SPEC.md), and sigstore bundles
// v0.1 to v0.3 (github.com/sigstore/protobuf-specs) as OCI 1.1 referrers, by
// the referrers tag schema or from a file. Certificates, transparency logs and
// timestamps are verified by sigstore-go, one step at a time, so that each
// refusal has its own code of package verdict.
//
// What it trusts: the policy and the trust roots that it was given, and nothing
// that a registry says. Everything fetched is bounded and compared with the
// digest that named it. What is decided on comes from the bytes that a
// signature was verified over, and from nowhere else.
//
// What it must not do: know tokens, gRPC or peers; read a clock (the time is an
// argument); let anything through because something could not be decided.
//
// The types named above are stable in meaning, not in form, until a release.
package verifier
