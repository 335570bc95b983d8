// SPDX-License-Identifier: Apache-2.0

// Package trust is a relying party's side of an issuer: it decides whether the
// daemon on the other end is one whose tickets and verdicts count (RFC 9334: the
// relying party's appraisal policy; docs/design, "Issuer statement" and "Head").
//
// [Parse] reads trust.yaml, the one file that a relying party gets by a trusted
// way; [Dial] connects to a daemon; [Appraise] asks it for its statement with a
// fresh nonce and appraises what comes; [Heads] keeps the newest head and never
// goes back; [Rejudge] judges accepted statements again under a new head. Agent,
// webhook and CLI use the same.
//
// It trusts trust.yaml, the roots and owners that it names, and nothing that comes
// over a connection: who controls SPIRE, the network or the daemon's host can
// withhold and no more. There is no trust on first use.
//
// The package writes no files. Its API may change.
package trust
