// SPDX-License-Identifier: Apache-2.0

package proof_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

const origin = "dev.assay.invalid/log/1"

// A signer signs notes: what package audit does, written again from the
// specification.
type signer struct {
	name string
	hash uint32
	sign func([]byte) ([]byte, error)
}

func (s signer) Name() string                    { return s.name }
func (s signer) KeyHash() uint32                 { return s.hash }
func (s signer) Sign(msg []byte) ([]byte, error) { return s.sign(msg) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ecdsaKey(t testing.TB, name string) (signer, string) {
	t.Helper()
	return signerOf(t, name, must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
}

// fixedKey is the same in each process: fuzzing runs in several.
func fixedKey(t testing.TB, name string) (signer, string) {
	t.Helper()
	return signerOf(t, name, must[*ecdsa.PrivateKey](t)(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))))
}

func signerOf(t testing.TB, name string, priv *ecdsa.PrivateKey) (signer, string) {
	t.Helper()
	spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(&priv.PublicKey))
	sum := sha256.Sum256(spki)
	vkey := must[string](t)(proof.FormatECDSAKey(name, &priv.PublicKey))
	return signer{name, binary.BigEndian.Uint32(sum[:]), func(msg []byte) ([]byte, error) {
		h := sha256.Sum256(msg)
		return ecdsa.SignASN1(rand.Reader, priv, h[:])
	}}, vkey
}

func ed25519Key(t testing.TB, name string) (signer, string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	vkey := must[string](t)(proof.FormatEd25519Key(name, pub))
	v := must[note.Verifier](t)(note.NewVerifier(vkey))
	return signer{name, v.KeyHash(), func(msg []byte) ([]byte, error) { return ed25519.Sign(priv, msg), nil }}, vkey
}

func sign(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	return must[[]byte](t)(note.Sign(&note.Note{Text: text}, signers...))
}

// A tree is one in memory.
type tree struct {
	leaves [][]byte
	stored []tlog.Hash
}

func (r *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = r.stored[at]
	}
	return out, nil
}

func (r *tree) add(t testing.TB, leaf []byte) {
	t.Helper()
	more := must[[]tlog.Hash](t)(tlog.StoredHashes(int64(len(r.leaves)), leaf, r))
	r.leaves, r.stored = append(r.leaves, leaf), append(r.stored, more...)
}

func (r *tree) at(t testing.TB, size int) proof.Checkpoint {
	t.Helper()
	if size == 0 {
		return proof.Checkpoint{Origin: origin, Root: proof.EmptyRoot()}
	}
	root := must[tlog.Hash](t)(tlog.TreeHash(int64(size), r))
	return proof.Checkpoint{Origin: origin, Size: uint64(size), Root: proof.Hash(root)}
}

func (r *tree) inclusion(t testing.TB, index, size int) []proof.Hash {
	t.Helper()
	return hashes(must[tlog.RecordProof](t)(tlog.ProveRecord(int64(size), int64(index), r)))
}

func (r *tree) consistency(t testing.TB, older, newer int) []proof.Hash {
	t.Helper()
	return hashes(must[tlog.TreeProof](t)(tlog.ProveTree(int64(newer), int64(older), r)))
}

func hashes(p []tlog.Hash) []proof.Hash {
	var out []proof.Hash
	for _, h := range p {
		out = append(out, proof.Hash(h))
	}
	return out
}

func newTree(t testing.TB, n int) *tree {
	t.Helper()
	r := &tree{}
	for i := range n {
		r.add(t, fmt.Appendf(nil, "leaf %d", i))
	}
	return r
}

func wantCode(t testing.TB, err error, code verdict.Code) {
	t.Helper()
	if got := verdict.CodeOf(err); got != code {
		t.Errorf("got %v, want code %q", err, code)
	}
}

func isMisuse(err error) bool { _, ok := errors.AsType[*verdict.Misuse](err); return ok }

func TestCheckpoint(t *testing.T) {
	ec, ecKey := ecdsaKey(t, origin)
	ed, edKey := ed25519Key(t, origin)
	stranger, _ := ecdsaKey(t, "witness.example")
	impostor, _ := ecdsaKey(t, origin)
	impostor.hash = ec.hash
	tree := newTree(t, 9)
	at := tree.at(t, 9)
	empty := tree.at(t, 0)
	otherOrigin := at
	otherOrigin.Origin = "other.invalid/log"
	log := must[*proof.Log](t)(proof.New(proof.Config{Origin: origin, Keys: []string{ecKey, edKey}}))

	for _, tt := range []struct {
		name   string
		signed []byte
		want   proof.Checkpoint
		code   verdict.Code
	}{
		{"both keys", sign(t, at.Text(), ec, ed), at, ""},
		{"ECDSA alone", sign(t, at.Text(), ec), at, ""},
		{"with a witness", sign(t, at.Text(), ec, stranger), at, ""},
		{"empty tree", sign(t, empty.Text(), ec), empty, ""},
		{"nobody we know", sign(t, at.Text(), stranger), proof.Checkpoint{}, verdict.KeyUnknown},
		{"forged signature", sign(t, at.Text(), impostor), proof.Checkpoint{}, verdict.LogProof},
		{"forged beside another", sign(t, at.Text(), stranger, impostor), proof.Checkpoint{}, verdict.LogProof},
		{"other origin", sign(t, otherOrigin.Text(), ec), proof.Checkpoint{}, verdict.LogMismatch},
		{"extension line", sign(t, at.Text()+"extension\n", ec), proof.Checkpoint{}, verdict.InputMalformed},
		{"leading zero", sign(t, strings.Replace(at.Text(), "\n9\n", "\n09\n", 1), ec), proof.Checkpoint{}, verdict.InputMalformed},
		{"plus sign", sign(t, strings.Replace(at.Text(), "\n9\n", "\n+9\n", 1), ec), proof.Checkpoint{}, verdict.InputMalformed},
		{"size beyond 2^63", sign(t, strings.Replace(at.Text(), "\n9\n", "\n9223372036854775808\n", 1), ec), proof.Checkpoint{}, verdict.InputMalformed},
		{"size 0 with a root", sign(t, strings.Replace(at.Text(), "\n9\n", "\n0\n", 1), ec), proof.Checkpoint{}, verdict.InputMalformed},
		{"short root", sign(t, origin+"\n9\nAAAA\n", ec), proof.Checkpoint{}, verdict.InputMalformed},
		{"two lines", sign(t, origin+"\n9\n", ec), proof.Checkpoint{}, verdict.InputMalformed},
		{"no signature", []byte(at.Text()), proof.Checkpoint{}, verdict.InputMalformed},
		{"nothing", nil, proof.Checkpoint{}, verdict.InputMalformed},
		{"too long", bytes.Repeat([]byte("a\n"), proof.MaxCheckpoint), proof.Checkpoint{}, verdict.InputMalformed},
		{"text changed", bytes.Replace(sign(t, at.Text(), ec), []byte("\n9\n"), []byte("\n8\n"), 1), proof.Checkpoint{}, verdict.LogProof},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := log.Checkpoint(tt.signed)
			wantCode(t, err, tt.code)
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestEd25519InFlavour: Ed25519 alone opens a checkpoint, except in the
// BoringCrypto flavour, where it has to be allowed.
func TestEd25519InFlavour(t *testing.T) {
	ed, edKey := ed25519Key(t, origin)
	at := newTree(t, 3).at(t, 3)
	for _, allow := range []bool{false, true} {
		log, err := proof.New(proof.Config{Origin: origin, Keys: []string{edKey}, AllowUnvalidatedEd25519: allow})
		if !allow && !proof.Ed25519Validated() {
			wantCode(t, err, verdict.SigAlgorithm)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := log.Checkpoint(sign(t, at.Text(), ed)); err != nil || got != at {
			t.Errorf("got %v, %v, want %v", got, err, at)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	_, ecKey := ecdsaKey(t, origin)
	_, edKey := ed25519Key(t, origin)
	_, otherKey := ecdsaKey(t, "other.invalid/log")
	p384 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(&p384.PublicKey))
	vkey := func(alg byte, key []byte, hash uint32) string {
		return fmt.Sprintf("%s+%08x+%s", origin, hash, base64.StdEncoding.EncodeToString(append([]byte{alg}, key...)))
	}
	flipHash := func(s string) string {
		parts := strings.SplitN(s, "+", 3)
		c := byte('0')
		if parts[1][0] == c {
			c = '1'
		}
		return parts[0] + "+" + string(c) + parts[1][1:] + "+" + parts[2]
	}
	upperHash := ecKey
	for upperHash == ecKey { // until the hash has a letter
		_, ecKey = ecdsaKey(t, origin)
		parts := strings.SplitN(ecKey, "+", 3)
		upperHash = parts[0] + "+" + strings.ToUpper(parts[1]) + "+" + parts[2]
	}
	for _, tt := range []struct {
		name string
		keys []string
		code verdict.Code
	}{
		{"key of another log", []string{otherKey}, verdict.KeyUnknown},
		{"same key twice", []string{ecKey, ecKey}, verdict.InputMalformed},
		{"wrong hash of ECDSA", []string{flipHash(ecKey)}, verdict.InputMalformed},
		{"wrong hash of Ed25519", []string{flipHash(edKey)}, verdict.InputMalformed},
		{"hash in upper case", []string{upperHash}, verdict.InputMalformed},
		{"P-384", []string{vkey(2, spki, proof.ECDSAKeyHash(spki))}, verdict.SigAlgorithm},
		{"cosignature key", []string{vkey(4, make([]byte, 32), 1)}, verdict.InputUnsupported},
		{"no key", []string{origin + "+00000000+"}, verdict.InputMalformed},
		{"not base64", []string{origin + "+00000000+*"}, verdict.InputMalformed},
		{"not DER", []string{vkey(2, []byte("junk"), 1)}, verdict.InputMalformed},
		{"one part", []string{origin}, verdict.InputMalformed},
		{"too long", []string{origin + "+00000000+" + strings.Repeat("A", proof.MaxKey)}, verdict.InputMalformed},
		{"trailing newline", []string{ecKey + "\n"}, verdict.InputMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, err := proof.New(proof.Config{Origin: origin, Keys: tt.keys})
			wantCode(t, err, tt.code)
			if log != nil {
				t.Error("a log comes with an error")
			}
		})
	}
	if _, err := proof.New(proof.Config{Origin: origin}); !isMisuse(err) {
		t.Errorf("no keys: got %v, want a misuse", err)
	}
	for _, bad := range []string{"", "a b", "a\u00a0b", "a+b", "a\x00b", "a\nb", "\xff", strings.Repeat("a", proof.MaxOrigin+1)} {
		if _, err := proof.New(proof.Config{Origin: bad, Keys: []string{ecKey}}); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("origin %q: got %v, want %s", bad, err, verdict.InputMalformed)
		}
	}
}

func TestInclusion(t *testing.T) {
	const n = 70
	tree := newTree(t, n)
	for _, size := range []int{1, 2, 3, 7, 8, 9, 64, 65, n} {
		at := tree.at(t, size)
		for index := range size {
			path := tree.inclusion(t, index, size)
			leaf := tree.leaves[index]
			if err := proof.CheckInclusion(at, uint64(index), leaf, path); err != nil {
				t.Fatal(err)
			}
			refused := func(what string, c proof.Checkpoint, index uint64, leaf []byte, path []proof.Hash) {
				t.Helper()
				if err := proof.CheckInclusion(c, index, leaf, path); verdict.CodeOf(err) != verdict.LogProof {
					t.Errorf("size %d, index %d, %s: got %v, want %s", size, index, what, err, verdict.LogProof)
				}
			}
			refused("other leaf", at, uint64(index), []byte("other"), path)
			refused("index beyond the tree", at, uint64(size), leaf, path)
			refused("huge index", at, math.MaxUint64, leaf, path)
			refused("one hash more", at, uint64(index), leaf, append(slices.Clone(path), proof.Hash{}))
			bad := at
			bad.Root[31] ^= 1
			refused("other root", bad, uint64(index), leaf, path)
			if len(path) > 0 {
				refused("one hash less", at, uint64(index), leaf, path[:len(path)-1])
				other := slices.Clone(path)
				other[0][0] ^= 1
				refused("changed hash", at, uint64(index), leaf, other)
				refused("other index", at, uint64(index^1), leaf, path)
			}
		}
	}
	at := tree.at(t, n)
	wantCode(t, proof.CheckInclusion(at, 0, nil, make([]proof.Hash, 64)), verdict.LogProof)
	at.Size = math.MaxUint64
	wantCode(t, proof.CheckInclusion(at, 0, tree.leaves[0], nil), verdict.LogProof)
	wantCode(t, proof.CheckInclusion(proof.Checkpoint{}, 0, nil, nil), verdict.LogProof)
}

func TestConsistency(t *testing.T) {
	const n = 33
	tree := newTree(t, n)
	for older := range n + 1 {
		for newer := older; newer <= n; newer++ {
			a, b := tree.at(t, older), tree.at(t, newer)
			var path []proof.Hash
			if older > 0 && older < newer {
				path = tree.consistency(t, older, newer)
			}
			if err := proof.CheckConsistency(a, b, path); err != nil {
				t.Fatalf("%d to %d: %v", older, newer, err)
			}
			refused := func(what string, a, b proof.Checkpoint, path []proof.Hash) {
				t.Helper()
				if err := proof.CheckConsistency(a, b, path); verdict.CodeOf(err) != verdict.LogProof {
					t.Errorf("%d to %d, %s: got %v, want %s", older, newer, what, err, verdict.LogProof)
				}
			}
			forged := a
			forged.Root[0] ^= 1
			refused("older root changed", forged, b, path)
			refused("one hash more", a, b, append(slices.Clone(path), proof.Hash{}))
			if older < newer {
				refused("turned round", b, a, path)
			}
			if older > 0 && older < newer {
				forged = b
				forged.Root[0] ^= 1
				refused("newer root changed", a, forged, path)
				refused("no proof", a, b, nil)
			}
		}
	}
	other := tree.at(t, 5)
	other.Origin = "other.invalid/log"
	wantCode(t, proof.CheckConsistency(other, tree.at(t, 5), nil), verdict.LogMismatch)
	wantCode(t, proof.CheckConsistency(tree.at(t, 5), tree.at(t, 6), make([]proof.Hash, 65)), verdict.LogProof)
	huge := tree.at(t, 5)
	huge.Size = math.MaxUint64
	wantCode(t, proof.CheckConsistency(tree.at(t, 5), huge, nil), verdict.LogProof)
}

// goodProof is a proof with everything.
func goodProof(t testing.TB) proof.TLogProof {
	t.Helper()
	ec, _ := ecdsaKey(t, origin)
	tree := newTree(t, 9)
	return proof.TLogProof{
		Extra: []byte("extra"), Index: 3, Hashes: tree.inclusion(t, 3, 9), Checkpoint: sign(t, tree.at(t, 9).Text(), ec),
	}
}

func TestTLogProof(t *testing.T) {
	p := goodProof(t)
	for _, p := range []proof.TLogProof{
		p, {Index: p.Index, Hashes: p.Hashes, Checkpoint: p.Checkpoint}, {Extra: []byte{}, Index: p.Index, Checkpoint: p.Checkpoint},
	} {
		got, err := proof.ParseTLogProof(p.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Error(diff)
		}
	}
	good := string(p.Marshal())
	hash := base64.StdEncoding.EncodeToString(p.Hashes[0][:])
	for _, tt := range []struct{ name, data string }{
		{"empty", ""},
		{"other version", strings.Replace(good, "@v1", "@v2", 1)},
		{"no index", strings.Replace(good, "index 3\n", "", 1)},
		{"index with a zero", strings.Replace(good, "index 3", "index 03", 1)},
		{"negative index", strings.Replace(good, "index 3", "index -3", 1)},
		{"huge index", strings.Replace(good, "index 3", "index 9223372036854775808", 1)},
		{"extra after index", strings.Replace(good, "index 3\n", "index 3\nextra AA==\n", 1)},
		{"extra twice", strings.Replace(good, "index 3\n", "extra AA==\nindex 3\n", 1)},
		{"extra not base64", strings.Replace(good, "extra ", "extra *", 1)},
		{"extra with spare bits", strings.Replace(good, "extra ZXh0cmE=", "extra ZXh0cmF=", 1)},
		{"extra broken in two", strings.Replace(good, "extra ZXh0cmE=", "extra ZXh0\rcmE=", 1)},
		{"short hash", strings.Replace(good, hash, hash[:40], 1)},
		{"hash with spare bits", strings.Replace(good, hash, hash[:42]+"/=", 1)},
		{"too many hashes", strings.Replace(good, hash+"\n", strings.Repeat(hash+"\n", 64), 1)},
		{"no checkpoint", strings.SplitAfter(good, "\n\n")[0]},
		{"cut off", good[:60]},
		{"carriage returns", strings.ReplaceAll(good, "\n", "\r\n")},
		{"checkpoint too long", good + strings.Repeat("a", proof.MaxCheckpoint)},
		{"file too long", good + strings.Repeat("a", proof.MaxTLogProof)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := proof.ParseTLogProof([]byte(tt.data))
			wantCode(t, err, verdict.InputMalformed)
			if diff := cmp.Diff(proof.TLogProof{}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A fixture is a proof file that is good, and its parts.
type fixture struct {
	statement verdict.Statement
	key       *verdict.Key
	log       signer
	core      verdict.Core
	leaf      verdict.Leaf
	object    []byte
	// Changes on the way, nil for none.
	encoded   func([]byte) []byte
	tlogProof func(*proof.TLogProof)
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{}
	ticket := must[*verdict.Key](t)(verdict.GenerateKey(verdict.UseTicket))
	f.key = must[*verdict.Key](t)(verdict.GenerateKey(verdict.UseVerdict))
	var vkey string
	f.log, vkey = ecdsaKey(t, origin)
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.statement = verdict.Statement{
		V: 1, Boot: strings.Repeat("ab", 16), Seq: 1, Issuer: "spiffe://dev.assay.invalid/assay/daemon",
		Build:  verdict.Build{Version: "test", Crypto: verdict.Crypto{Module: "go", Version: "test"}},
		Config: verdict.SHA256([]byte("config")), Policy: verdict.SHA256([]byte("policy")), Roots: verdict.SHA256([]byte("roots")),
		Head: verdict.HeadRef{Counter: 1, Digest: verdict.SHA256([]byte("head"))},
		Keys: []verdict.JWK{ticket.JWK(), f.key.JWK()}, Log: verdict.LogRef{Origin: origin, Keys: []string{vkey}},
		NotBefore: now.Unix(), NotAfter: now.Add(time.Hour).Unix(),
	}
	f.core = verdict.Core{
		Subject: []verdict.CoreSubject{{Name: "registry.example/app", Digest: verdict.DigestMap(verdict.SHA256([]byte("image")))}},
		Predicate: verdict.CorePredicate{
			InputAttestations: []verdict.CoreResource{}, Policy: verdict.CoreResource{URI: "policy.yaml", Digest: verdict.DigestMap(f.statement.Policy)},
			ResourceURI: "registry.example/app", TimeVerified: now.Format(time.RFC3339),
			VerificationResult: verdict.Passed, VerifiedLevels: []string{verdict.Unevaluated},
			Verifier: verdict.CoreVerifier{ID: f.statement.Issuer, Version: map[string]string{"assay": "test"}},
			Extension: verdict.CoreExtension{
				Cluster: "dev", Deny: verdict.SHA256(nil).Hex(), Head: 1, Roots: f.statement.Roots, Salt: strings.Repeat("01", 16),
				Namespaces: map[string]verdict.Outcome{"*": verdict.OutcomePass},
			},
		},
	}
	policy, _ := f.statement.Policy.Bytes()
	f.leaf = verdict.Leaf{Kind: verdict.LeafVerdict, Result: verdict.ResultPassed, Time: now.Add(time.Minute), Policy: policy}
	return f
}

// file makes the file; what the leaf must name it names, unless it is set.
func (f *fixture) file(t testing.TB) []byte {
	t.Helper()
	statement := must[[]byte](t)(f.statement.Encode())
	core := must[verdict.SignedCore](t)(verdict.SignCore(f.core, f.key))
	if f.object == nil {
		f.object = core.Envelope
	}
	if f.leaf.Object == [32]byte{} {
		f.leaf.Object, _ = core.Digest.Bytes()
	}
	if f.leaf.Statement == [32]byte{} {
		f.leaf.Statement = sha256.Sum256(statement)
	}
	encoded := f.leaf.Encode()
	if f.encoded != nil {
		encoded = f.encoded(encoded)
	}
	tree := newTree(t, 5)
	tree.add(t, encoded)
	tree.add(t, []byte("later"))
	p := proof.TLogProof{Index: 5, Hashes: tree.inclusion(t, 5, 7), Checkpoint: sign(t, tree.at(t, 7).Text(), f.log)}
	if f.tlogProof != nil {
		f.tlogProof(&p)
	}
	return proof.File{Proof: p, Leaf: encoded, Statement: statement, Object: f.object}.Marshal()
}

func TestCheckFile(t *testing.T) {
	anyone := proof.Trust{AllowAnyStatement: true}
	f := newFixture(t)
	data := f.file(t)
	got, err := proof.CheckFile(data, anyone)
	if err != nil {
		t.Fatal(err)
	}
	if got.Leaf != f.leaf || got.Index != 5 || got.Checkpoint.Size != 7 || got.Checkpoint.Origin != origin ||
		got.Core.Digest != verdict.DigestFromBytes(f.leaf.Object) || got.Statement.Boot != f.statement.Boot {
		t.Errorf("got %+v", got)
	}
	if _, err := proof.CheckFile(data, proof.Trust{Statements: []verdict.Digest{got.StatementDigest}}); err != nil {
		t.Error(err)
	}
	if _, err := proof.CheckFile(data, proof.Trust{Statements: []verdict.Digest{verdict.SHA256(nil)}}); verdict.CodeOf(err) != verdict.TicketStatement {
		t.Errorf("statement not accepted: got %v", err)
	}
	if _, err := proof.CheckFile(data, proof.Trust{}); !isMisuse(err) {
		t.Errorf("zero trust: got %v, want a misuse", err)
	}
	// Other tools read it too.
	if p, err := proof.ParseTLogProof(data); err != nil || p.Index != 5 {
		t.Errorf("as a tlog-proof: %v, %v", p.Index, err)
	}

	for _, tt := range []struct {
		name   string
		change func(t *testing.T, f *fixture)
		code   verdict.Code
	}{
		{"checkpoint of a stranger", func(t *testing.T, f *fixture) { f.log, _ = ecdsaKey(t, origin) }, verdict.KeyUnknown},
		{"other index", func(_ *testing.T, f *fixture) { f.tlogProof = func(p *proof.TLogProof) { p.Index = 4 } }, verdict.LogProof},
		{"statement of another log", func(t *testing.T, f *fixture) {
			_, vkey := ecdsaKey(t, "other.invalid/log")
			f.statement.Log = verdict.LogRef{Origin: "other.invalid/log", Keys: []string{vkey}}
		}, verdict.KeyUnknown},
		{"leaf names another statement", func(_ *testing.T, f *fixture) { f.leaf.Statement[0] = 1 }, verdict.LogMismatch},
		{"leaf names another policy", func(_ *testing.T, f *fixture) { f.leaf.Policy[0] ^= 1 }, verdict.LogMismatch},
		{"leaf names another core", func(_ *testing.T, f *fixture) { f.leaf.Object[0] = 1 }, verdict.LogMismatch},
		{"leaf says failed", func(_ *testing.T, f *fixture) { f.leaf.Result = verdict.ResultFailed }, verdict.LogMismatch},
		{"core of a key that is not listed", func(t *testing.T, f *fixture) {
			f.key = must[*verdict.Key](t)(verdict.GenerateKey(verdict.UseVerdict))
		}, verdict.SigInvalid},
		{"object is no core", func(_ *testing.T, f *fixture) {
			f.object = []byte("anything")
			f.leaf.Object = sha256.Sum256(f.object)
		}, verdict.InputMalformed},
		{"leaf after the statement's end", func(_ *testing.T, f *fixture) { f.leaf.Time = f.leaf.Time.Add(2 * time.Hour) }, verdict.IssuerExpired},
		{"leaf of an unknown version", func(_ *testing.T, f *fixture) { f.encoded = func(b []byte) []byte { b[0] = 2; return b } }, verdict.InputMalformed},
		{"leaf cut short", func(_ *testing.T, f *fixture) { f.encoded = func(b []byte) []byte { return b[:50] } }, verdict.InputMalformed},
		{"a statement leaf with its evidence", func(_ *testing.T, f *fixture) {
			f.object = []byte("evidence")
			f.leaf.Kind, f.leaf.Result, f.leaf.Object = verdict.LeafStatement, verdict.ResultNone, sha256.Sum256(f.object)
		}, ""},
		{"a statement leaf with other evidence", func(_ *testing.T, f *fixture) {
			f.object = []byte("other evidence")
			f.leaf.Kind, f.leaf.Result, f.leaf.Object = verdict.LeafStatement, verdict.ResultNone, sha256.Sum256([]byte("evidence"))
		}, verdict.LogMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			tt.change(t, f)
			got, err := proof.CheckFile(f.file(t), anyone)
			wantCode(t, err, tt.code)
			if err != nil && got.StatementDigest != "" {
				t.Errorf("got %+v with an error", got)
			}
		})
	}
	for _, n := range []int{1, 100, len(data) / 2, len(data) - 1} {
		if _, err := proof.CheckFile(data[:n], anyone); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
	extra := func(change func([]byte) []byte) []byte {
		p := must[proof.TLogProof](t)(proof.ParseTLogProof(data))
		p.Extra = change(p.Extra)
		return p.Marshal()
	}
	for name, bad := range map[string][]byte{
		"bytes after the end": extra(func(b []byte) []byte { return append(b, 0) }),
		"length cut short":    extra(func(b []byte) []byte { return b[:20] }),
		"part cut short":      extra(func(b []byte) []byte { return b[:len(b)-1] }),
		"other domain":        extra(func(b []byte) []byte { b[0] ^= 1; return b }),
		"no extra":            extra(func([]byte) []byte { return nil }),
	} {
		if _, err := proof.CheckFile(bad, anyone); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("%s: got %v, want %s", name, err, verdict.InputMalformed)
		}
	}
}

func TestNames(t *testing.T) {
	payload := []byte("{}")
	envelope := []byte(`{"payload":"e30=","payloadType":"a+b","signatures":[{"keyid":"k","sig":"AA=="}]}`)
	if !proof.Names(verdict.SHA256(payload), envelope) || !proof.Names(verdict.SHA256(envelope), envelope) {
		t.Error("an envelope is not named by its payload and by itself")
	}
	for _, bad := range []string{
		`{"payload":"e30=","payload":"e30=","payloadType":"a+b","signatures":[{"keyid":"k","sig":"AA=="}]}`,
		`{"Payload":"e30=","payloadType":"a+b","signatures":[{"keyid":"k","sig":"AA=="}]}`,
		`{"payload":"e30=","payloadType":"a+b","signatures":[{"keyid":"k","sig":"AA=="}],"x":1}`,
		`{"payload":"e30=","payloadType":"a+b","signatures":[{"keyid":"k","sig":"AA=="}]} `,
		`{"payload":"e31=","payloadType":"a+b","signatures":[{"keyid":"k","sig":"AA=="}]}`,
		`null`, ``,
	} {
		if payload, ok := proof.EnvelopePayload([]byte(bad)); ok {
			t.Errorf("%s: got payload %q", bad, payload)
		}
	}
}

func FuzzTLogProof(f *testing.F) {
	p := goodProof(f)
	goods := [][]byte{p.Marshal()}
	p.Extra, p.Hashes = nil, nil
	inputs := fuzz.New(f, append(goods, p.Marshal(), []byte("c2sp.org/tlog-proof@v1\nindex 0\n\nx"))...)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(bytes.HasPrefix(data, []byte("c2sp.org/tlog-proof@v1\n")))
		p, err := proof.ParseTLogProof(data)
		if err != nil {
			if !reflect.DeepEqual(p, proof.TLogProof{}) {
				t.Errorf("got %v with an error", p)
			}
			return
		}
		if !bytes.Equal(p.Marshal(), data) {
			t.Error("what was accepted does not come back the same")
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	ec, vkey := fixedKey(f, origin)
	log := must[*proof.Log](f)(proof.New(proof.Config{Origin: origin, Keys: []string{vkey}}))
	at := newTree(f, 5).at(f, 5)
	inputs := fuzz.New(f, sign(f, at.Text(), ec), []byte(at.Text()))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(bytes.HasPrefix(data, []byte(origin+"\n")))
		if c, err := proof.ParseCheckpointText(string(data)); err == nil && c.Text() != string(data) {
			t.Error("what was accepted does not come back the same")
		}
		if c, err := log.Checkpoint(data); err == nil && c != at {
			t.Errorf("got %v, which nobody signed", c)
		}
		if c, err := proof.ParseSignedInsecure(data); err != nil && c != (proof.Checkpoint{}) {
			t.Errorf("got %v with an error", c)
		}
	})
}

func FuzzKey(f *testing.F) {
	_, ec := ecdsaKey(f, origin)
	_, ed := ed25519Key(f, origin)
	inputs := fuzz.New(f, []byte(ec), []byte(ed))
	f.Fuzz(func(t *testing.T, data []byte) {
		vkey := string(inputs.Of(data))
		inputs.Add(strings.HasPrefix(vkey, origin+"+") && strings.Count(vkey, "+") >= 2)
		if l, err := proof.New(proof.Config{Origin: origin, Keys: []string{vkey}}); (err == nil) != (l != nil) {
			t.Errorf("got %v, %v", l, err)
		}
	})
}

func FuzzFile(f *testing.F) {
	small := proof.File{Proof: proof.TLogProof{Checkpoint: []byte("c\n0\n")}, Leaf: []byte("l"), Statement: []byte("{}"), Object: []byte("o")}.Marshal()
	good := newFixture(f).file(f)
	whole, err := proof.ParseFile(good)
	if err != nil {
		f.Fatal(err)
	}
	count, texts := fuzz.NewCount(f), fuzz.NewGoods(f, small, good)
	var parts []fuzz.Goods
	for i, part := range [][]byte{whole.Leaf, whole.Statement, whole.Object, whole.Proof.Checkpoint} {
		parts = append(parts, fuzz.NewGoods(f, part))
		f.Add(byte(i), []byte{0xff})
	}
	f.Add(byte(len(parts)), []byte{0x20})
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		// Few edits of the text leave it base64: four in five are of what is in it.
		if i := int(which) % (len(parts) + 1); i == len(parts) {
			data = texts.Of(data)
		} else {
			file := whole
			*[]*[]byte{&file.Leaf, &file.Statement, &file.Object, &file.Proof.Checkpoint}[i] = parts[i].Of(data)
			data = file.Marshal()
		}
		count.Add(bytes.HasPrefix(data, []byte("c2sp.org/tlog-proof@v1\n")))
		if file, err := proof.ParseFile(data); err == nil && !bytes.Equal(file.Marshal(), data) {
			t.Error("what was accepted does not come back the same")
		}
		if got, err := proof.CheckFile(data, proof.Trust{AllowAnyStatement: true}); err != nil && got.StatementDigest != "" {
			t.Errorf("got %v with an error", got)
		}
	})
}

func BenchmarkCheckFile(b *testing.B) {
	data := newFixture(b).file(b)
	for b.Loop() {
		if _, err := proof.CheckFile(data, proof.Trust{AllowAnyStatement: true}); err != nil {
			b.Fatal(err)
		}
	}
}
