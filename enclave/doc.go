// SPDX-License-Identifier: Apache-2.0

// Package enclave gets evidence from the TEE that a daemon runs in, and extends its
// registers: from SEV-SNP and TDX by the kernel's configfs-tsm, from a TPM 2.0 (a
// device, or the socket of swtpm), and from the simulators of SEV-SNP and TDX in
// packages simsnp and simtdx.
//
// [Open] gives an [Attester]. [MeasureInto] is for whoever starts a daemon: it
// measures the daemon's file into a PCR before the daemon runs.
//
// It is the only package that touches a device, and it decides nothing: whether
// evidence is good is for package attest on the other side. It trusts the TPM it is
// connected to, its state folder only as far as the TPM's registers bear it out,
// and no caller. Every command has a deadline, and after one that was missed, or
// whose outcome is not known, the attester gives only failures: a register that may
// or may not have been extended is sorted out at the next start.
package enclave
