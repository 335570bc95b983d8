// SPDX-License-Identifier: Apache-2.0

// Package gate decides on a node whether a container image may be pulled or
// started, by what was decided and signed before: tickets, statuses, heads, deny
// documents and exceptions (docs/design, "Ticket", "Status", "Exception"). It is
// the whole of what a node has to believe in at that moment, small enough to be
// read in one sitting.
//
// [LoadConfig] reads gate.json, [New] makes a Gate from it, and [Gate.Decide]
// answers one request: it reads the state folder, asks the agent on its unix
// socket, and calls [Judge], which is pure. An agent uses the same Judge on what
// it holds in memory, and [ReadRequest], [WriteAnswer] and the types of the state
// folder.
//
// Trusted are the configuration and the state folder, both of which must belong
// to root (or to the user that runs the gate), and the owners' keys in the
// configuration. The agent is believed in one thing: which issuer statements it
// has appraised. With the agent down, that comes from the state folder too.
//
// The package fails closed: what cannot be read, parsed or asked denies. It
// writes nothing but the record that an exception was used. It has no clock
// (time is an argument), no environment and no network but the socket, and it
// imports the standard library and package verdict only. Its API may change
// with the agent's; gate.json and the socket's protocol have a version.
package gate
