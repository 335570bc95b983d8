// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"testing"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// BenchmarkTicketCheck is the check of one ticket by verdict.CheckTicket: the budget
// is 150 µs of CPU.
func BenchmarkTicketCheck(b *testing.B) {
	w := newWorld(b)
	check := verdict.TicketCheck{
		At: at, Node: node, Cluster: "dev", Digest: image, Repository: repository, Issuers: w.answer.Statements, Head: w.open(),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verdict.CheckTicket(w.answer.Tickets[0], check); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJudge is all that is decided from memory: statements, status, ticket.
func BenchmarkJudge(b *testing.B) {
	w := newWorld(b)
	k := gate.Knowledge{Config: w.config, Head: w.open()}
	subject := gate.Image{Repository: repository, Digest: image}
	b.ReportAllocs()
	for b.Loop() {
		if d := gate.Judge(k, subject, w.answer, at); !d.Allowed() {
			b.Fatal(d.Line())
		}
	}
}

// BenchmarkDecide is a decision with the agent on its socket, without the start of a
// process.
func BenchmarkDecide(b *testing.B) {
	w := newWorld(b)
	w.write()
	w.agent()
	for b.Loop() {
		if d := w.decide(query(), at); !d.Allowed() {
			b.Fatal(d.Line())
		}
	}
}
