// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
)

// warm starts a daemon that knows the verdict about an image.
func warm(b *testing.B) (*running, verifier.Image) {
	b.Helper()
	w := newWorld(b)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	ticketFor(b, r, r.as("node/dev/node-a"), image)
	return r, image
}

func request(image verifier.Image) *assayv1.VerifyRequest {
	return &assayv1.VerifyRequest{
		Repository: image.Repository, Digest: string(image.Digest), HeadCounter: 1,
		Platform: &assayv1.Platform{Os: "linux", Architecture: "amd64"},
	}
}

// BenchmarkCachedVerdict is one client that waits for each answer: a fresh
// ticket for a verdict that is known, over mTLS.
func BenchmarkCachedVerdict(b *testing.B) {
	r, image := warm(b)
	c := r.as("node/dev/node-a")
	for b.Loop() {
		got, err := c.Verify(context.Background(), request(image))
		if err != nil || got.GetTicket() == "" {
			b.Fatalf("got %v, %v", got, err)
		}
	}
}

// BenchmarkCachedVerdictLoad offers requests at a fixed rate whatever becomes
// of those before (open loop), from several nodes, on the cores that the daemon
// has too. Latencies are from when a request was due; what is shed is no
// answer.
func BenchmarkCachedVerdictLoad(b *testing.B) {
	const (
		offered = 8000 // per second
		nodes   = 8
		late    = 30 * time.Second
	)
	r, image := warm(b)
	clients := make([]assayv1.AssayServiceClient, nodes)
	for i := range clients {
		clients[i] = r.as(fmt.Sprint("node/dev/node-", i))
		if _, err := verify(clients[i], image); err != nil {
			b.Fatal(err)
		}
	}
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for i := range b.N {
		due := start.Add(time.Duration(i) * time.Second / offered)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			ctx, cancel := context.WithDeadline(context.Background(), due.Add(late))
			defer cancel()
			got, err := clients[i%nodes].Verify(ctx, request(image))
			if err != nil || got.GetTicket() == "" {
				return // late or shed
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(due))
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	b.StopTimer()
	if len(times) == 0 {
		b.Fatal("no answer in time")
	}
	slices.Sort(times)
	b.ReportMetric(float64(len(times))/elapsed.Seconds(), "answers/s")
	b.ReportMetric(times[len(times)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(times[len(times)*99/100].Seconds()*1e3, "p99-ms")
}
