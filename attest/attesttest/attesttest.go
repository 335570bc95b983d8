// SPDX-License-Identifier: Apache-2.0

// Package attesttest builds evidence and endorsements for tests: SEV-SNP reports
// with their chains, TPM quotes with their keys, and the collections around them.
// What it builds is accepted as it comes; a test changes one field of a [SNP] or a
// [TPM] and asserts the code of the refusal.
//
// It is used by tests only. Its roots are made when a test runs and are trusted by
// nobody else.
package attesttest

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// At is a time at which everything that is built here is valid.
var At = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// rsaBits is the shortest key that is accepted, to keep tests quick. WeakKey is the
// index of one that is shorter.
const (
	rsaBits  = 2048
	weakBits = 1024
	WeakKey  = 6
)

// keys holds RSA keys that are made once per process: making one takes a second.
var keys [WeakKey + 1]struct {
	once sync.Once
	key  *rsa.PrivateKey
	err  error
}

// rsaKey returns the key at index i.
func rsaKey(t testing.TB, i int) *rsa.PrivateKey {
	t.Helper()
	k := &keys[i]
	bits := rsaBits
	if i == WeakKey {
		bits = weakBits
	}
	k.once.Do(func() { k.key, k.err = rsa.GenerateKey(rand.Reader, bits) })
	if k.err != nil {
		t.Fatalf("making RSA key: %v", k.err)
	}
	return k.key
}

// serial returns a random serial number.
func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		t.Fatalf("making serial number: %v", err)
	}
	return n.Add(n, big.NewInt(1))
}

// Digest returns a digest that stands for a file of this name.
func Digest(name string) verdict.Digest { return verdict.SHA256([]byte(name)) }

// Statement returns an issuer statement that is valid At, with new keys.
func Statement(t testing.TB) verdict.Statement {
	t.Helper()
	s := verdict.Statement{
		V: 1, Issuer: "spiffe://dev.assay.invalid/assay/daemon/test/assayd",
		Boot:  "000102030405060708090a0b0c0d0e0f",
		Build: verdict.Build{Version: "v0.0.0-test", Crypto: verdict.Crypto{Module: "go", Version: "go1.26"}},
		Head:  verdict.HeadRef{Counter: 3, Digest: Digest("head")},
		Seq:   1, Policy: Digest("policy"), Roots: Digest("roots"), Config: Digest("config"),
		Log:       verdict.LogRef{Origin: "log.test", Keys: []string{"log.test+01020304+AnRlc3Q="}},
		NotBefore: At.Add(-time.Hour).Unix(), NotAfter: At.Add(time.Hour).Unix(),
	}
	for _, use := range []string{verdict.UseTicket, verdict.UseVerdict} {
		key, err := verdict.GenerateKey(use)
		if err != nil {
			t.Fatalf("making key: %v", err)
		}
		s.Keys = append(s.Keys, key.JWK())
	}
	return s
}

// Encode returns the bytes of s.
func Encode(t testing.TB, s verdict.Statement) []byte {
	t.Helper()
	data, err := s.Encode()
	if err != nil {
		t.Fatalf("encoding statement: %v", err)
	}
	return data
}

// Event returns the register event of s.
func Event(s verdict.Statement) verdict.RegisterEvent {
	return verdict.RegisterEvent{Boot: s.Boot, Config: s.Config, Head: s.Head.Counter, Policy: s.Policy, Roots: s.Roots}
}

// Nonce returns a nonce that repeats b.
func Nonce(b byte) [verdict.NonceSize]byte {
	var nonce [verdict.NonceSize]byte
	for i := range nonce {
		nonce[i] = b
	}
	return nonce
}

// entry returns a reference entry for the configuration of Statement.
func entry(kind attest.Kind) verdict.ReferenceEntry {
	return verdict.ReferenceEntry{
		Name: "test", Kind: string(kind), Profile: verdict.Production,
		Configs: []verdict.Digest{Digest("config")}, Flavours: verdict.Flavours,
		NotBefore: At.Add(-24 * time.Hour).Unix(), NotAfter: At.Add(24 * time.Hour).Unix(),
	}
}

// marshal encodes a collection.
func marshal(t testing.TB, c attest.Collection) []byte {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatalf("encoding collection: %v", err)
	}
	return data
}
