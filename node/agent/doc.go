// SPDX-License-Identifier: Apache-2.0

// Package agent is what runs on each node beside the container runtime: it keeps
// heads, issuer statements, tickets and the newest status, so that a gate can
// decide about an image without waiting for a daemon (docs/design, "The paths").
//
// [Run] opens the state folder, serves gates on a unix socket, and keeps a session
// with each daemon: appraise its statement (package trust), bring it the head if it
// is behind, watch its status, renew tickets. What a gate asks for and is not there
// is asked of a daemon, also after the gate has gone.
//
// The agent is trusted by the gate of its node in one thing, which statements it
// accepted. It trusts trust.yaml and nothing that comes over a connection. What it
// loads from its folder it judges again.
//
// State is written by temporary name, sync and rename, in an order in which a
// reader that sees only a part of it refuses more, never less. When the disk is
// full the agent goes on from memory and says so. The package has no stable API
// but Run.
package agent
