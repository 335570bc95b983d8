// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

func TestAppendAndProve(t *testing.T) {
	dir := newDir(t)
	d := start(t, testConfig(dir))
	_, early, err := d.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	const n = 300 // more than one tile
	leaves := make([]verdict.Leaf, n+1)
	leaves[0], _ = d.statementLeaf()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			index, leaf, err := d.decide(t.Context())
			if err != nil || index == 0 || index > n {
				t.Errorf("append: index %d, %v", index, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if leaves[index] != (verdict.Leaf{}) {
				t.Errorf("index %d was given twice", index)
			}
			leaves[index] = leaf
		})
	}
	wg.Wait()
	if d.Size() != n+1 {
		t.Fatalf("got %d leaves, want %d", d.Size(), n+1)
	}
	if err := d.Healthy(); err != nil {
		t.Error(err)
	}

	log, err := proof.New(proof.Config{Origin: d.Origin(), Keys: d.VerifierKeys()})
	if err != nil {
		t.Fatal(err)
	}
	at, signed, err := d.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := log.Checkpoint(signed); err != nil || got != at || at.Size != n+1 {
		t.Fatalf("got checkpoint %v, %v, want %v of size %d", got, err, at, n+1)
	}
	older, err := log.Checkpoint(early)
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := d.ConsistencyProof(t.Context(), older.Size, at.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.CheckConsistency(older, at, hashes); err != nil {
		t.Error(err)
	}
	// Proofs in an older tree of the same log.
	middle, err := d.InclusionProof(t.Context(), 7, 130)
	if err != nil || len(middle) != 8 {
		t.Errorf("got a proof of %d hashes in the tree of 130, %v, want 8", len(middle), err)
	}

	t.Run("published for others", func(t *testing.T) { checkInterop(t, dir, d) })

	check := func(t *testing.T, source interface {
		Leaf(context.Context, uint64) (verdict.Leaf, error)
		Proof(context.Context, uint64) (proof.TLogProof, error)
		ProofFile(context.Context, uint64) ([]byte, error)
		Object(context.Context, verdict.Digest) ([]byte, error)
	},
	) {
		t.Helper()
		for i, want := range leaves {
			index := uint64(i)
			if got, err := source.Leaf(t.Context(), index); err != nil || got != want {
				t.Fatalf("leaf %d: got %v, %v, want %v", i, got, err, want)
			}
			p, err := source.Proof(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			if c, err := log.Inclusion(want.Encode(), p); err != nil || c != at {
				t.Fatalf("leaf %d: got %v, %v, want %v", i, c, err, at)
			}
			name := verdict.DigestFromBytes(want.Object)
			if data, err := source.Object(t.Context(), name); err != nil || !proof.Names(name, data) {
				t.Fatalf("object of leaf %d: %v", i, err)
			}
			file, err := source.ProofFile(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			got, err := proof.CheckFile(file, proof.Trust{Statements: []verdict.Digest{verdict.SHA256(d.encoded)}})
			if err != nil || got.Leaf != want || got.Index != index || got.Checkpoint != at {
				t.Fatalf("file of leaf %d: got %v, %v", i, got.Leaf, err)
			}
			if i > 0 && got.Core.Predicate.VerificationResult != verdict.Passed {
				t.Fatalf("file of leaf %d has no core", i)
			}
		}
	}
	t.Run("live", func(t *testing.T) { check(t, d) })
	t.Run("archive while running", func(t *testing.T) { check(t, reader(t, dir, d.Origin())) })
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("archive when stopped", func(t *testing.T) {
		r := reader(t, dir, d.Origin())
		check(t, r)
		if err := r.Extends(t.Context(), older); err != nil {
			t.Error(err)
		}
		if !slices.Equal(r.Statement(), d.encoded) {
			t.Error("the statement is not that of leaf 0")
		}
		if evidence, err := r.Evidence(t.Context()); err != nil || len(evidence) == 0 {
			t.Errorf("evidence: %v", err)
		}
	})
	if _, _, err := d.decide(t.Context()); verdict.CodeOf(err) != verdict.LogUnavailable {
		t.Errorf("append after close: got %v, want %s", err, verdict.LogUnavailable)
	}
	if _, ok := errors.AsType[*verdict.Misuse](d.Close(t.Context())); !ok {
		t.Error("a second close is not a misuse")
	}
}

// checkInterop opens the published checkpoint with another implementation, and
// expects a signature by each key.
func checkInterop(t *testing.T, dir string, d *daemon) {
	t.Helper()
	want := 1
	if proof.Ed25519Validated() {
		want = 2
	}
	if got := len(d.VerifierKeys()); got != want {
		t.Fatalf("got %d keys, want %d", got, want)
	}
	var verifiers []note.Verifier
	for _, vkey := range d.VerifierKeys() {
		v, err := fnote.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	for _, name := range []string{"checkpoint", "latest"} {
		signed, err := os.ReadFile(filepath.Join(dir, d.boot, name))
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(signed, note.VerifierList(verifiers...))
		if err != nil || len(n.Sigs) != want || len(n.UnverifiedSigs) != 0 {
			t.Errorf("%s: got %v, %v, want %d signatures", name, n, err, want)
		}
	}
}

func TestAppendRefusesWhatDoesNotFit(t *testing.T) {
	d, err := openDaemon(t.Context(), testConfig(newDir(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	leaf, object, err := d.verdictLeaf()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Append(t.Context(), leaf, object)
	wantCode(t, err, verdict.Unready) // before leaf 0

	first, objects := d.statementLeaf()
	strangerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := proof.FormatECDSAKey("other.invalid/log", &strangerKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	stranger := d.statement
	stranger.Log = verdict.LogRef{Origin: "other.invalid/log", Keys: []string{vkey}}
	strange, err := stranger.Encode()
	if err != nil {
		t.Fatal(err)
	}
	foreign := first
	foreign.Statement = sha256.Sum256(strange)
	unknown := leaf
	unknown.Statement[0] ^= 1
	noResult := leaf
	noResult.Result = verdict.ResultNone

	misused := func(name string, leaf verdict.Leaf, objects ...audit.Object) {
		t.Helper()
		if _, err := d.Append(t.Context(), leaf, objects...); !isMisuse(err) {
			t.Errorf("%s: got %v, want a misuse", name, err)
		}
	}
	misused("statement without its evidence", first, objects[0])
	misused("statement of another log", foreign, audit.Content(strange), objects[1])
	if err := d.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	misused("verdict without its core", leaf)
	misused("verdict with another object", leaf, object, audit.Content([]byte("something else")))
	misused("verdict under an unknown statement", unknown, object)
	misused("verdict without result", noResult, object)
	misused("zero object", leaf, audit.Object{})
	if _, err := d.Append(t.Context(), leaf, object); err != nil {
		t.Error(err)
	}
	if _, err := audit.Envelope([]byte(`{"payload":"e30=","payload":"e30=","payloadType":"","signatures":[]}`)); !isMisuse(err) {
		t.Errorf("envelope with duplicate members: got %v, want a misuse", err)
	}
	if d.Size() != 2 {
		t.Errorf("got %d leaves, want 2", d.Size())
	}
}

func isMisuse(err error) bool { _, ok := errors.AsType[*verdict.Misuse](err); return ok }

func TestOpenShardRefusesBadConfig(t *testing.T) {
	good := testConfig(newDir(t))
	for _, tt := range []struct {
		name   string
		change func(*audit.Config)
	}{
		{"no folder", func(c *audit.Config) { c.Dir = "" }},
		{"no logger", func(c *audit.Config) { c.Logger = nil }},
		{"boot in upper case", func(c *audit.Config) { c.Boot = "ABCDEF00112233445566778899AABBCC" }},
		{"boot leaves the folder", func(c *audit.Config) { c.Boot = "../../../../../../../../../../aa" }},
		{"no origin", func(c *audit.Config) { c.OriginPrefix = "" }},
		{"origin with a space", func(c *audit.Config) { c.OriginPrefix = "a b" }},
		{"origin too long", func(c *audit.Config) { c.OriginPrefix = string(make([]byte, 100)) }},
		{"negative bound", func(c *audit.Config) { c.MaxPending = -1 }},
		{"interval below tessera's", func(c *audit.Config) { c.CheckpointInterval = time.Millisecond }},
		{"refresh below checkpoint", func(c *audit.Config) { c.RefreshInterval = c.CheckpointInterval / 2 }},
		{"age below refresh", func(c *audit.Config) { c.MaxCheckpointAge = c.RefreshInterval }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			if s, err := audit.OpenShard(t.Context(), c); !isMisuse(err) || s != nil {
				t.Errorf("got %v, %v, want a misuse", s, err)
			}
		})
	}
	if _, err := os.Stat(good.Dir); err == nil {
		t.Error("a refused configuration made the folder")
	}
	if _, err := audit.OpenShard(t.Context(), audit.Config{}); !isMisuse(err) {
		t.Errorf("zero value: got %v, want a misuse", err)
	}
}

func TestBootIsNeverUsedTwice(t *testing.T) {
	config := testConfig(newDir(t))
	d := start(t, config)
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.OpenShard(t.Context(), config); !isMisuse(err) {
		t.Errorf("got %v, want a misuse", err)
	}
	config.Boot = randomHex(16)
	again := start(t, config)
	if again.Origin() == d.Origin() || slices.Equal(again.VerifierKeys(), d.VerifierKeys()) {
		t.Error("two boots share an origin or a key")
	}
	a, err := audit.OpenArchive(audit.ArchiveConfig{Dir: config.Dir})
	if err != nil {
		t.Fatal(err)
	}
	shards, err := a.Shards(t.Context())
	if err != nil || len(shards) != 2 {
		t.Fatalf("got %v, %v, want two shards", shards, err)
	}
	for _, s := range shards {
		if s.Err != nil || s.Size != 1 {
			t.Errorf("shard %s: size %d, %v, want one leaf", s.Boot, s.Size, s.Err)
		}
	}
}

// TestShed holds a slot by an append that gets no further, as with a stuck disk.
func TestShed(t *testing.T) {
	config := testConfig(newDir(t))
	config.MaxPending, config.AppendTimeout = 1, time.Second
	d := start(t, config)
	leaf, object, err := d.verdictLeaf()
	if err != nil {
		t.Fatal(err)
	}
	release := d.TestingStall()
	_, err = d.Append(t.Context(), leaf, object)
	wantCode(t, err, verdict.LogUnavailable) // its own deadline; the slot stays taken
	_, _, err = d.decide(t.Context())
	wantCode(t, err, verdict.Overloaded)
	if f, ok := errors.AsType[*verdict.Failure](err); !ok || f.RetryAfter == 0 {
		t.Errorf("got %v, want a time to try again", err)
	}
	release()
	eventually(t, "an append after the disk came back", func() bool { _, _, err := d.decide(t.Context()); return err == nil })
	if got, err := d.Object(t.Context(), object.Digest()); err != nil || len(got) == 0 {
		t.Errorf("the object that was stuck: %v", err)
	}
}

func TestCancelledCallerLeaves(t *testing.T) {
	d := start(t, testConfig(newDir(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	leaf, object, err := d.verdictLeaf()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Append(ctx, leaf, object); err != nil {
		wantCode(t, err, verdict.LogUnavailable)
	}
	if _, _, err := d.decide(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestClockSetBack gives the published checkpoint a time in the future, which
// is what a clock that was set back looks like: tessera alone stops publishing.
func TestClockSetBack(t *testing.T) {
	config := testConfig(newDir(t))
	d := start(t, config)
	path := filepath.Join(config.Dir, d.boot, "checkpoint")
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, future, future); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.decide(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a published checkpoint of two leaves", func() bool {
		signed, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		c, err := proof.ParseSignedInsecure(signed)
		return err == nil && c.Size == 2
	})
}

// TestStaleCheckpointIsUnhealthy: nothing refreshes the checkpoint of a shard
// whose folder is gone, and readiness notices.
func TestLostFolderIsUnhealthy(t *testing.T) {
	config := testConfig(newDir(t))
	d := start(t, config)
	if err := d.Healthy(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(config.Dir, d.boot), filepath.Join(config.Dir, "gone")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an unhealthy shard", func() bool { return verdict.CodeOf(d.Healthy()) == verdict.LogUnavailable })
	_, _, err := d.decide(t.Context())
	wantCode(t, err, verdict.LogUnavailable)
}

func TestTesseraIsQuiet(t *testing.T) {
	var mu sync.Mutex
	var messages []string
	config := testConfig(newDir(t))
	config.Logger = slog.New(recorder{func(m string) { mu.Lock(); defer mu.Unlock(); messages = append(messages, m) }})
	start(t, config)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(messages, "tessera reports") {
		t.Errorf("got %q, want tessera's words in the logger given", messages)
	}
}

// A recorder is a slog handler that keeps messages.
type recorder struct{ keep func(string) }

func (recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r recorder) Handle(_ context.Context, record slog.Record) error {
	r.keep(record.Message)
	return nil
}

func (r recorder) WithAttrs([]slog.Attr) slog.Handler { return r }
func (r recorder) WithGroup(string) slog.Handler      { return r }

func BenchmarkAppend(b *testing.B) {
	for _, clients := range []int{1, 64, 256} {
		b.Run(map[int]string{1: "clients=1", 64: "clients=64", 256: "clients=256"}[clients], func(b *testing.B) {
			d := start(b, testConfig(newDir(b)))
			type work struct {
				leaf   verdict.Leaf
				object audit.Object
			}
			jobs := make(chan work, b.N)
			for range b.N {
				leaf, object, err := d.verdictLeaf()
				if err != nil {
					b.Fatal(err)
				}
				jobs <- work{leaf, object}
			}
			close(jobs)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for w := range jobs {
						if _, err := d.Append(b.Context(), w.leaf, w.object); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
		})
	}
}
