// SPDX-License-Identifier: Apache-2.0

// Package daemon is assayd: it puts package verifier, enclave, audit and spiffe
// together into the gRPC service of verdict/assay/v1.
//
// [ParseConfig] reads the measured configuration, and [Run] starts, serves and
// drains. At the start, in this order: the configuration is hashed and then
// parsed; the newest head that the owners signed is found; what it names is
// measured into the TEE's register; keys are made, in memory; the log shard of
// this boot is opened; the issuer statement gets its evidence and becomes leaf
// 0; and only then is anybody served.
//
// What is believed: the TEE, the owners' keys in the measured configuration, and
// nothing else. Disk, clock, registry, SPIRE and callers are not. Who calls, and
// for which cluster, comes from the peer's SVID and never from a request; no
// role loosens anything, since what counts is signed by owners. A verdict is on
// disk before it is answered, and where it cannot be, there is none.
//
// The package decides nothing about images, and parses no format itself but its
// own configuration. Its API may change; the service is stable.
package daemon
