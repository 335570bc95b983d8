// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"testing"

	"github.com/assayd/assay/node/gate"
)

// BenchmarkHit is the agent's answer on a hit over its socket. The budget is 1 ms.
func BenchmarkHit(b *testing.B) {
	w := newWorld(b)
	w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	for b.Loop() {
		a, err := gate.Ask(b.Context(), w.config.Socket, w.config.AgentUID, gate.Request{Name: name, Digest: image("a")})
		if err != nil || len(a.Tickets) == 0 {
			b.Fatalf("got %d tickets, %v", len(a.Tickets), err)
		}
	}
}
