// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"syscall"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
)

// cpu is the processor time of this process: the budget is in it, and a busy
// machine does not change it much.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs f as the benchmark, and reports its processor time, the budget,
// and the ratio to a P-256 verification of the same run.
func measure(b *testing.B, k pair, budget time.Duration, f func() error) {
	b.Helper()
	b.ReportAllocs()
	start := cpu(b)
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	per := (cpu(b) - start) / time.Duration(b.N)
	b.ReportMetric(float64(per.Nanoseconds()), "cpu-ns/op")
	if budget > 0 {
		b.ReportMetric(float64(budget.Nanoseconds()), "budget-ns/op")
	}
	digest := sum([]byte("message"))
	sig, err := ecdsa.SignASN1(rand.Reader, k.priv, digest)
	if err != nil {
		b.Fatal(err)
	}
	const n = 1000
	start = cpu(b)
	for range n {
		if !ecdsa.VerifyASN1(&k.priv.PublicKey, digest, sig) {
			b.Fatal("got a signature that does not verify")
		}
	}
	b.ReportMetric(float64(per)/float64((cpu(b)-start)/n), "p256-verifications/op")
}

// BenchmarkCheckTicket has a budget of 150 µs: it is what a node does for each
// pull and each start.
func BenchmarkCheckTicket(b *testing.B) {
	w := newWorld(b)
	c := w.check(b)
	token := sign(b, w.ticket, w.ticketKey)
	measure(b, w.ticketKey, 150*time.Microsecond, func() error {
		_, err := verdict.CheckTicket(token, c)
		return err
	})
}

// BenchmarkCheckTicketFullDeny is the worst that owners can do to a node: a full
// deny list, and a full document of each owner.
func BenchmarkCheckTicketFullDeny(b *testing.B) {
	w := newWorld(b)
	c := w.check(b)
	var full verdict.DenyList
	for i := range 3400 {
		full.Images = append(full.Images, verdict.SHA256([]byte{byte(i), byte(i >> 8)}))
	}
	set := w.set(b)
	for i := range w.owner {
		set.Deny = append(set.Deny, w.denyDoc(b, i, 1, full, 0, time.Hour))
	}
	c.Head = must(verdict.OpenHead(set, w.owners))(b)
	c.Head.DenyFile = full
	token := sign(b, w.ticket, w.ticketKey)
	measure(b, w.ticketKey, 0, func() error {
		_, err := verdict.CheckTicket(token, c)
		return err
	})
}

// BenchmarkOpenHead is what the gate does once per pull: three verifications.
func BenchmarkOpenHead(b *testing.B) {
	w := newWorld(b)
	set := w.set(b)
	set.Renewal = must(verdict.SignRenewal(verdict.Renewal{Counter: 7, Head: verdict.SHA256(payloadOfDSSE(b, set.Head)), Iat: unix(0), NotAfter: unix(time.Hour)}, w.renewal.Key))(b)
	data := encoded(b, set)
	measure(b, w.owner[0], 0, func() error {
		set, err := verdict.ParseHeadSet(data)
		if err == nil {
			_, err = verdict.OpenHead(set, w.owners)
		}
		return err
	})
}

func BenchmarkOpenStatus(b *testing.B) {
	w := newWorld(b)
	token := must(verdict.SignStatus(goodStatus(w, w.open(b)), w.ticketKey.Key))(b)
	issuers := []verdict.Issuer{w.issuer}
	measure(b, w.ticketKey, 0, func() error {
		_, err := verdict.OpenStatus(token, issuers)
		return err
	})
}

func BenchmarkSignTicket(b *testing.B) {
	w := newWorld(b)
	measure(b, w.ticketKey, 0, func() error {
		_, err := verdict.SignTicket(w.ticket, w.ticketKey.Key)
		return err
	})
}
