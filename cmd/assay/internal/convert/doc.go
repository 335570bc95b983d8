// SPDX-License-Identifier: Apache-2.0

// Package convert reads the image policies of other projects and writes ours:
// ClusterImagePolicy of sigstore's policy-controller, verifyImages of Kyverno,
// trust policies of notation, and policy.json of containers/image.
//
// The entry point is [Convert]. What it writes is never weaker than what it
// read, as far as it can tell, and what it could not carry over is named: every
// member of the source that nothing looked at is a [Note]. The result is a draft
// for a person to read, not something to put into force unread.
package convert
