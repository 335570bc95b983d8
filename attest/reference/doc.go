// SPDX-License-Identifier: Apache-2.0

// Package reference computes reference values (RFC 9334 §8.3) from the public files
// that a machine is started from: what a genuine platform has to say about a daemon's
// machine, before any machine says it.
//
// [SNP.LaunchDigest] is MEASUREMENT of an SEV-SNP report. [MeasureTDX] is MRTD of a
// TDX quote, and one event of RTMR0. [UKI.PCRs] are the PCRs that a unified kernel
// image decides, [UKI.RTMRs] their counterpart in a TD. docs/reference-values.md says
// of each what it covers and how to redo it by hand.
//
// It trusts nothing in a file: sizes and offsets are checked against the file before
// they are used, and the memory that a firmware asks for is bounded. What it cannot
// read, or does not know to be measured as computed here, is a [verdict.Misuse] and
// never a value: a wrong value would not let a wrong machine in, but it would keep the
// right one out. It touches no device, network, disk or clock.
//
// The layouts are those of the implementations that the comments name; tests compare
// with values of other programs, and with the registers of recorded boots.
// Names and types may change.
package reference
