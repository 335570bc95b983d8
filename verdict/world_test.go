// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
)

// at is the time of all tests.
var at = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// unix is at plus d in Unix seconds.
func unix(d time.Duration) int64 { return at.Add(d).Unix() }

const (
	nodeA   = "spiffe://dev.assay.invalid/assay/node/dev/node-a"
	nodeB   = "spiffe://dev.assay.invalid/assay/node/dev/node-b"
	daemon  = "spiffe://dev.assay.invalid/assay/d/dev/assayd"
	cluster = "dev"
	repo    = "registry.example/team/app"
	zeroSum = "0000000000000000000000000000000000000000000000000000000000000000"
	boot    = "00112233445566778899aabbccddeeff"
	// One measurement of SEV-SNP.
	measurement = "b07af962b07af962b07af962b07af962b07af962b07af962b07af962b07af962b07af962b07af962b07af962b07af962"
)

// A pair is a key whose private part the tests can use to forge.
type pair struct {
	*verdict.Key
	priv *ecdsa.PrivateKey
}

func newPair(tb testing.TB, use string) pair {
	tb.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return pairOf(tb, priv, use)
}

func pairOf(tb testing.TB, priv *ecdsa.PrivateKey, use string) pair {
	tb.Helper()
	k, err := verdict.NewKey(priv, use)
	if err != nil {
		tb.Fatal(err)
	}
	return pair{k, priv}
}

// A world has one of everything, good, and all of it fits together. Tests
// change one thing.
type world struct {
	owner            [3]pair // 2 of 3
	renewal          pair
	ticketKey        pair // of daemon 1
	verdictKey       pair
	ticketKey2       pair // of daemon 2
	verdictKey2      pair
	stranger         pair // of use ticket
	owners           verdict.Owners
	policy, roots    []byte
	deny             verdict.DenyList
	references       verdict.References
	head             verdict.Head
	statement        verdict.Statement
	statement2       verdict.Statement
	issuer, issuer2  verdict.Issuer
	ticket           verdict.Ticket
	index, manifest  verdict.Digest
	config, otherImg verdict.Digest
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{renewal: newPair(tb, verdict.UseRenewal), ticketKey: newPair(tb, verdict.UseTicket), verdictKey: newPair(tb, verdict.UseVerdict),
		ticketKey2: newPair(tb, verdict.UseTicket), verdictKey2: newPair(tb, verdict.UseVerdict), stranger: newPair(tb, verdict.UseTicket)}
	for i := range w.owner {
		w.owner[i] = newPair(tb, verdict.UseOwner)
	}
	w.fill(tb)
	return w
}

func (w *world) fill(tb testing.TB) {
	tb.Helper()
	w.index, w.manifest, w.config, w.otherImg = verdict.SHA256([]byte("index")), verdict.SHA256([]byte("manifest")), verdict.SHA256([]byte("config")), verdict.SHA256([]byte("other"))
	renewal := w.renewal.JWK()
	w.owners = verdict.Owners{Keys: []verdict.JWK{w.owner[0].JWK(), w.owner[1].JWK(), w.owner[2].JWK()}, Renewal: &renewal, Threshold: 2, V: 1}
	w.policy, w.roots = []byte("version: 1\n"), []byte("{}\n")
	w.deny = verdict.DenyList{V: 1}
	w.references = verdict.References{V: 1, Entries: []verdict.ReferenceEntry{{
		Name: "assayd dev", Kind: verdict.KindSimulatedSNP, Measurement: measurement, Configs: []verdict.Digest{verdict.SHA256([]byte("assayd.yaml"))},
		Events: "none", Flavours: []string{"go"}, NotBefore: unix(-time.Hour), NotAfter: unix(240 * time.Hour), Profile: verdict.Development,
	}}}
	w.head = verdict.Head{
		Counter: 7, Deny: verdict.SHA256(encoded(tb, w.deny)), Grace: 600, NotAfter: unix(72 * time.Hour),
		Owners: verdict.SHA256(encoded(tb, w.owners)), Policy: verdict.SHA256(w.policy), References: verdict.SHA256(encoded(tb, w.references)),
		Roots: verdict.SHA256(w.roots), V: 1,
	}
	w.statement = w.newStatement(boot, w.ticketKey, w.verdictKey)
	w.statement2 = w.newStatement(strings.Repeat("ab", 16), w.ticketKey2, w.verdictKey2)
	w.issuer, w.issuer2 = issuerOf(tb, w.statement), issuerOf(tb, w.statement2)
	w.ticket = verdict.Ticket{
		Aud: nodeA, By: w.verdictKey.Kid(), Cluster: cluster, Core: verdict.SHA256([]byte("core")), Deny: verdict.DenyDigest(nil),
		Dig: verdict.TicketDigests{Config: w.config, Index: w.index, Manifest: w.manifest}, EATProfile: verdict.TicketProfile,
		Exp: unix(12 * time.Hour), Head: w.head.Counter, Iat: unix(-time.Minute), Nbf: unix(-time.Minute), Iss: daemon, Jti: boot,
		Log: &verdict.TicketLog{Index: 41, Origin: "log.assay.invalid/x"}, Policy: w.head.Policy, Repo: repo,
		Res:  map[string]verdict.Outcome{"*": verdict.OutcomePass},
		Stmt: w.issuer.Digest, Sub: w.index,
	}
}

func (w *world) newStatement(boot string, ticket, core pair) verdict.Statement {
	return verdict.Statement{
		Boot: boot, Build: verdict.Build{Version: "v0.1.0", Crypto: verdict.Crypto{Module: "go", Version: "go1.26.8"}},
		Config: verdict.SHA256([]byte("assayd.yaml")), Head: verdict.HeadRef{Counter: w.head.Counter, Digest: verdict.SHA256([]byte("head"))},
		Issuer: daemon, Keys: []verdict.JWK{ticket.JWK(), core.JWK()},
		Log:      verdict.LogRef{Origin: "log.assay.invalid/x", Keys: []string{"log.assay.invalid/x+01020304+" + base64.StdEncoding.EncodeToString([]byte("\x02spki"))}},
		NotAfter: unix(22 * time.Hour), NotBefore: unix(-time.Hour), Policy: w.head.Policy, Roots: w.head.Roots, Seq: 1, V: 1,
	}
}

func issuerOf(tb testing.TB, s verdict.Statement) verdict.Issuer {
	tb.Helper()
	return verdict.Issuer{Digest: verdict.SHA256(encoded(tb, s)), Statement: s, Kind: verdict.KindSimulatedSNP, Measurement: measurement}
}

// An encoder is what has canonical bytes.
type encoder interface{ Encode() ([]byte, error) }

func encoded(tb testing.TB, e encoder) []byte {
	tb.Helper()
	b, err := e.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// set returns the world's head signed by the first two owners, with its files.
func (w *world) set(tb testing.TB) verdict.HeadSet {
	tb.Helper()
	return w.setOf(tb, w.head, w.owners, w.owner[0].Key, w.owner[1].Key)
}

// setOf returns h with owners file o, signed by keys. Only the digest of the
// owners file in h is filled in.
func (w *world) setOf(tb testing.TB, h verdict.Head, o verdict.Owners, keys ...*verdict.Key) verdict.HeadSet {
	tb.Helper()
	file := encoded(tb, o)
	h.Owners = verdict.SHA256(file)
	head, err := verdict.SignHead(h, keys...)
	if err != nil {
		tb.Fatal(err)
	}
	return verdict.HeadSet{V: 1, Head: head, Files: [][]byte{file, encoded(tb, w.deny), encoded(tb, w.references), w.policy, w.roots}}
}

func (w *world) open(tb testing.TB) verdict.CheckedHead {
	tb.Helper()
	h, err := verdict.OpenHead(w.set(tb), w.owners)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// denyDoc signs a deny document of owner i.
func (w *world) denyDoc(tb testing.TB, i int, counter uint64, entries verdict.DenyList, iat, life time.Duration) []byte {
	tb.Helper()
	raw, err := verdict.SignDeny(verdict.DenyDocument{Counter: counter, Entries: entries, Iat: unix(iat), NotAfter: unix(iat + life)}, w.owner[i].Key)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// check returns the check of a good pull on node A.
func (w *world) check(tb testing.TB) verdict.TicketCheck {
	tb.Helper()
	return verdict.TicketCheck{
		At: at, Node: nodeA, Cluster: cluster, Digest: w.index, Repository: repo,
		Issuers: []verdict.Issuer{w.issuer, w.issuer2}, Head: w.open(tb), HeadSince: at.Add(-time.Minute),
	}
}

func sign(tb testing.TB, t verdict.Ticket, k pair) string {
	tb.Helper()
	token, err := verdict.SignTicket(t, k.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

var b64 = base64.RawURLEncoding

// forge makes a compact JWS with any header and payload, independent of the
// product's signing.
func forge(tb testing.TB, header string, payload []byte, priv *ecdsa.PrivateKey) string {
	tb.Helper()
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString(payload)
	return input + "." + b64.EncodeToString(rawSignature(tb, []byte(input), priv))
}

// signedLast opens what a fuzzer made: first with signatures that are none, and with
// good ones of keys where those are refused with code. Signing takes longer than all else,
// and what is refused before the signature is refused with any.
func signedLast[T any](code verdict.Code, open func(keys ...pair) (T, error), keys ...pair) (T, error) {
	out, err := open(unsigned(keys)...)
	if verdict.CodeOf(err) == code {
		return open(keys...)
	}
	return out, err
}

// unsigned are keys in whose name signatures are made that are none.
func unsigned(keys []pair) []pair {
	out := slices.Clone(keys)
	for i := range out {
		out[i].priv = nil
	}
	return out
}

// rawSignature is r‖s of ECDSA with SHA-256, and zeros without a key.
func rawSignature(tb testing.TB, msg []byte, priv *ecdsa.PrivateKey) []byte {
	tb.Helper()
	if priv == nil {
		return make([]byte, 64)
	}
	sum := sha256.Sum256(msg)
	r, s, err := ecdsa.Sign(rand.Reader, priv, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// header is the good header of a token.
func header(typ, kid string) string { return `{"alg":"ES256","kid":"` + kid + `","typ":"` + typ + `"}` }

// payloadOf returns the decoded second part of a token.
func payloadOf(tb testing.TB, token string) []byte {
	tb.Helper()
	b, err := b64.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// forgeDSSE makes an envelope with any payload, independent of the product's
// signing.
func forgeDSSE(tb testing.TB, payloadType string, payload []byte, keys ...pair) []byte {
	tb.Helper()
	pae := slices.Concat([]byte("DSSEv1 "), []byte(big.NewInt(int64(len(payloadType))).String()), []byte(" "+payloadType+" "),
		[]byte(big.NewInt(int64(len(payload))).String()), []byte(" "), payload)
	type signature struct {
		Keyid string `json:"keyid"`
		Sig   string `json:"sig"`
	}
	env := struct {
		Payload     string      `json:"payload"`
		PayloadType string      `json:"payloadType"`
		Signatures  []signature `json:"signatures"`
	}{base64.StdEncoding.EncodeToString(payload), payloadType, nil}
	sum := sha256.Sum256(pae)
	for _, k := range keys {
		sig := []byte("none")
		if k.priv != nil {
			var err error
			if sig, err = ecdsa.SignASN1(rand.Reader, k.priv, sum[:]); err != nil {
				tb.Fatal(err)
			}
		}
		env.Signatures = append(env.Signatures, signature{k.Kid(), base64.StdEncoding.EncodeToString(sig)})
	}
	out, err := json.Marshal(env)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// payloadOfDSSE returns the payload of an envelope.
func payloadOfDSSE(tb testing.TB, envelope []byte) []byte {
	tb.Helper()
	var env struct{ Payload []byte }
	if err := json.Unmarshal(envelope, &env); err != nil {
		tb.Fatal(err)
	}
	return env.Payload
}

// edit decodes canonical JSON, lets f change it, and writes it sorted again.
func edit(tb testing.TB, data []byte, f func(m map[string]any)) []byte {
	tb.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		tb.Fatal(err)
	}
	f(m)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		tb.Fatal(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// wantCode asserts the code of a refusal. The empty code means no error.
func wantCode(tb testing.TB, err error, want verdict.Code) {
	tb.Helper()
	if got := verdict.CodeOf(err); got != want {
		tb.Fatalf("got code %q (%v), want %q", got, err, want)
	}
}
