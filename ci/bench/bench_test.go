// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

// BenchmarkP256Verify is what the other benchmarks are compared with.
func BenchmarkP256Verify(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("assay"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
			b.Fatal("the signature does not verify")
		}
	}
}

func TestParse(t *testing.T) {
	const out = `goos: linux
BenchmarkGate-2   	     100	  11111111 ns/op	   9000000 median-ns
BenchmarkGateOther-2   	     100	  1 median-ns
PASS
`
	got, err := parse([]byte(out), row{benchmark: "BenchmarkGate", unit: "median-ns"})
	if err != nil || got != 9e6 {
		t.Errorf("got %v, %v, want 9e6", got, err)
	}
	for _, name := range []string{"BenchmarkGate/one-2", "BenchmarkGate/one"} { // on one processor there is no number
		got, err := parse([]byte("BenchmarkGate/one-more-2 1 1 MiB\n"+name+" 5 7 MiB\n"), row{benchmark: "BenchmarkGate/one", unit: "MiB"})
		if err != nil || got != 7 {
			t.Errorf("%s: got %v, %v, want 7", name, got, err)
		}
	}
	for _, r := range []row{
		{benchmark: "BenchmarkGate", unit: "MiB"},
		{benchmark: "BenchmarkNone", unit: "ns/op"},
	} {
		if got, err := parse([]byte(out), r); err == nil {
			t.Errorf("%s in %s: got %v, want none", r.benchmark, r.unit, got)
		}
	}
}
