// SPDX-License-Identifier: Apache-2.0

// Package attest appraises the evidence of an issuer (RFC 9334: the role that
// RATS calls Verifier) against reference values: AMD SEV-SNP attestation reports, TDX
// quotes, the same from assay's simulators, TPM 2.0 quotes, and those of Azure's
// confidential VMs. It says which measured code made the issuer statement that the
// evidence is bound to.
//
// [Appraise] takes a collection (RFC 9999) as bytes and gives a [Result];
// [ActivationTarget] and [NewChallenge] are the relying party's half of credential
// activation, by which an attestation key is proven to live in a TPM;
// [MeasureSNPSimulator] and [MeasureFile] compute reference values from files, and
// package reference those of a whole machine.
//
// It trusts the roots of [Trust] and the [Input] that the caller made, and nothing
// in the collection. It touches no device, network, disk or clock: time is an
// argument. Every byte of a collection is checked against its bounds before it is
// used, and a panic below the edge is a refusal, evidence.malformed.
//
// [AppraiseTDX] does the same for a TDX quote with Intel's collateral, and
// [AppraiseAzureSNP] and [AppraiseAzureTDX] for a confidential VM of Azure, whose
// hardware vouches for a paravisor and the paravisor for its TPM: without an issuer
// statement, as package folder needs it for what was recorded. Of an issuer [Appraise]
// takes all kinds.
//
// SNP reports are signed by a key of the chip (VCEK), or where [SNPTrust] says so of a
// cloud provider (VLEK). [Result] has the relaxations that they needed.
//
// Verification is our own. go-sev-guest and go-tdx-guest are the oracles of the
// tests: what is accepted here is accepted there, as far as they read it.
//
// [Appraise], [Trust], [Input] and [Result] are stable; the parsers may change.
package attest
