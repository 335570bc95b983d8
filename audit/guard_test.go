// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

const testOrigin = "dev.assay.invalid/log/guard"

// testLeaves returns n leaf hashes from number first.
func testLeaves(first, n int) []tlog.Hash {
	out := make([]tlog.Hash, n)
	for i := range out {
		out[i] = tlog.RecordHash(fmt.Appendf(nil, "leaf %d", first+i))
	}
	return out
}

// treeOf is the checkpoint of a tree, by x/mod's own arithmetic.
func treeOf(t *testing.T, leaves []tlog.Hash) proof.Checkpoint {
	t.Helper()
	if len(leaves) == 0 {
		return proof.Checkpoint{Origin: testOrigin, Root: proof.EmptyRoot()}
	}
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = stored[at]
		}
		return out, nil
	})
	for i, h := range leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(i), h, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(int64(len(leaves)), read)
	if err != nil {
		t.Fatal(err)
	}
	return proof.Checkpoint{Origin: testOrigin, Size: uint64(len(leaves)), Root: proof.Hash(root)}
}

// newGuard makes a guard of ten leaves that were published.
func newGuard(t *testing.T) *audit.TestingGuard {
	t.Helper()
	g, _, err := audit.NewTestingGuard(slog.New(slog.DiscardHandler), testOrigin, testLeaves(0, 10)...)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one knows that ten were committed at the first
		if _, err := g.Publish(treeOf(t, testLeaves(0, 10))); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestGuardRoots(t *testing.T) {
	for n := range 70 {
		g, keys, err := audit.NewTestingGuard(slog.New(slog.DiscardHandler), testOrigin, testLeaves(0, n)...)
		if err != nil {
			t.Fatal(err)
		}
		want := treeOf(t, testLeaves(0, n))
		got, signed, err := g.Latest()
		if err != nil || got != want {
			t.Fatalf("%d leaves: got %v, %v, want %v", n, got, err, want)
		}
		log, err := proof.New(proof.Config{Origin: testOrigin, Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := log.Checkpoint(signed); err != nil || got != want {
			t.Fatalf("%d leaves: opened %v, %v, want %v", n, got, err, want)
		}
	}
}

// TestGuardOneRootPerSize: never a second root for one size, never a smaller
// tree. What cannot come from an honest disk latches.
func TestGuardOneRootPerSize(t *testing.T) {
	ten := treeOf(t, testLeaves(0, 10))
	forged := ten
	forged.Root[0] ^= 1
	other := ten
	other.Origin = "other.invalid/log"
	for _, tt := range []struct {
		name string
		text string
	}{
		{"rolled-back tree", treeOf(t, testLeaves(0, 9)).Text()},
		{"deleted tree", treeOf(t, nil).Text()},
		{"forged root", forged.Text()},
		{"more leaves than were appended", treeOf(t, testLeaves(0, 11)).Text()},
		{"other leaves", treeOf(t, testLeaves(1, 10)).Text()},
		{"other origin", other.Text()},
		{"extension line", ten.Text() + "extension\n"},
		{"no checkpoint", "anything\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuard(t)
			if signed, err := g.PublishText(tt.text); err == nil {
				t.Fatalf("got %s, want a refusal", signed)
			}
			wantCode(t, g.Refused(), verdict.LogUnavailable)
			if _, err := g.Publish(ten); err == nil {
				t.Error("it signs again after it refused")
			}
			wantCode(t, g.Begin(testLeaves(10, 1)...), verdict.LogUnavailable)
			_, _, err := g.Latest()
			wantCode(t, err, verdict.LogUnavailable)
		})
	}
}

// TestGuardInFlight: what an honest disk may show while a batch is being
// written is signed or put off, and never latches.
func TestGuardInFlight(t *testing.T) {
	publish := func(t *testing.T, g *audit.TestingGuard, leaves []tlog.Hash, signs bool) {
		t.Helper()
		if _, err := g.Publish(treeOf(t, leaves)); (err == nil) != signs {
			t.Errorf("size %d: got %v, want signed: %t", len(leaves), err, signs)
		}
		if err := g.Refused(); err != nil {
			t.Errorf("size %d: %v", len(leaves), err)
		}
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("whole batch", func(t *testing.T) {
		g := newGuard(t)
		must(t, g.Begin(testLeaves(10, 5)...))
		publish(t, g, testLeaves(0, 10), true)
		publish(t, g, testLeaves(0, 13), true) // tessera may cut a batch
		publish(t, g, testLeaves(0, 15), true)
		must(t, g.Commit(false, testLeaves(10, 5)...))
		publish(t, g, testLeaves(0, 15), true)
	})
	t.Run("state read before the batch landed", func(t *testing.T) {
		g := newGuard(t)
		must(t, g.Begin(testLeaves(10, 5)...))
		must(t, g.Commit(false, testLeaves(10, 5)...))
		publish(t, g, testLeaves(0, 10), false)
		publish(t, g, testLeaves(0, 15), true)
	})
	t.Run("the same state twice", func(t *testing.T) {
		g := newGuard(t)
		must(t, g.Begin(testLeaves(10, 5)...))
		must(t, g.Commit(false, testLeaves(10, 5)...))
		publish(t, g, testLeaves(0, 10), false)
		if _, err := g.Publish(treeOf(t, testLeaves(0, 10))); err == nil || g.Refused() == nil {
			t.Error("a state that does not come forward is not taken for a rollback")
		}
	})
	t.Run("first part failed, second landed", func(t *testing.T) {
		g := newGuard(t)
		must(t, g.Begin(testLeaves(10, 5)...))
		after := append(testLeaves(0, 10), testLeaves(12, 3)...)
		publish(t, g, after, false)
		must(t, g.Commit(true, testLeaves(12, 3)...))
		must(t, g.Settle(treeOf(t, after), testLeaves(10, 2)...))
		publish(t, g, after, true)
	})
	t.Run("failed, and landed all the same", func(t *testing.T) {
		g := newGuard(t)
		must(t, g.Begin(testLeaves(10, 5)...))
		must(t, g.Commit(true))
		publish(t, g, testLeaves(0, 15), false)
		must(t, g.Settle(treeOf(t, testLeaves(0, 15)), testLeaves(10, 5)...))
		publish(t, g, testLeaves(0, 15), true)
	})
	t.Run("signed, failed, and gone", func(t *testing.T) {
		g := newGuard(t)
		must(t, g.Begin(testLeaves(10, 5)...))
		publish(t, g, testLeaves(0, 15), true)
		must(t, g.Commit(true))
		wantCode(t, g.Settle(treeOf(t, testLeaves(0, 10)), testLeaves(10, 5)...), verdict.LogUnavailable)
		wantCode(t, g.Refused(), verdict.LogUnavailable)
	})
	for name, state := range map[string][]tlog.Hash{"smaller": testLeaves(0, 9), "larger": testLeaves(0, 16), "other": testLeaves(1, 12)} {
		t.Run("settling on a tree that is "+name, func(t *testing.T) {
			g := newGuard(t)
			must(t, g.Begin(testLeaves(10, 5)...))
			must(t, g.Commit(true))
			wantCode(t, g.Settle(treeOf(t, state), testLeaves(10, 5)...), verdict.LogUnavailable)
			wantCode(t, g.Refused(), verdict.LogUnavailable)
		})
	}
}

// TestHostChangesTheTree: the host writes to tessera's files under a running
// shard. It stops, and what is on disk is never a signed tree of another kind.
func TestHostChangesTheTree(t *testing.T) {
	for _, tt := range []struct {
		name   string
		quiet  bool // found without another append
		change func(t *testing.T, dir string, old []byte)
	}{
		{"rolled back treeState", true, func(t *testing.T, dir string, old []byte) {
			write(t, filepath.Join(dir, ".state", "treeState"), old)
		}},
		{"deleted treeState", false, func(t *testing.T, dir string, _ []byte) {
			if err := os.Remove(filepath.Join(dir, ".state", "treeState")); err != nil {
				t.Fatal(err)
			}
		}},
		{"forged root", true, func(t *testing.T, dir string, _ []byte) {
			write(t, filepath.Join(dir, ".state", "treeState"), []byte(`{"size":5,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`))
		}},
		{"changed tile", false, func(t *testing.T, dir string, _ []byte) {
			path := filepath.Join(dir, "tile", "0", "000.p", "5")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[0] ^= 1
			write(t, path, data)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := testConfig(newDir(t))
			d := start(t, config)
			dir := filepath.Join(config.Dir, config.Boot)
			old, err := os.ReadFile(filepath.Join(dir, ".state", "treeState"))
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				if _, _, err := d.decide(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			_, signed, err := d.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tt.change(t, dir, old)
			// One or the other notices first: the writer by the index, the
			// guard by what the publisher wants signed.
			eventually(t, "a shard that refuses", func() bool {
				if tt.quiet {
					return d.Healthy() != nil
				}
				_, _, err := d.decide(t.Context())
				return err != nil
			})
			wantCode(t, d.Healthy(), verdict.LogUnavailable)
			_, _, err = d.decide(t.Context())
			wantCode(t, err, verdict.LogUnavailable)
			_, _, err = d.Checkpoint(t.Context())
			wantCode(t, err, verdict.LogUnavailable)

			log, err := proof.New(proof.Config{Origin: d.Origin(), Keys: d.VerifierKeys()})
			if err != nil {
				t.Fatal(err)
			}
			before, err := log.Checkpoint(signed)
			if err != nil {
				t.Fatal(err)
			}
			latest, err := os.ReadFile(filepath.Join(dir, "latest"))
			if err != nil {
				t.Fatal(err)
			}
			if after, err := log.Checkpoint(latest); err != nil || after.Size < before.Size {
				t.Errorf("got checkpoint %v, %v, want at least %v", after, err, before)
			}
		})
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPlace: a part of a batch may overtake another one inside tessera, which is
// no sign of a changed disk; a gap or a repeated index is.
func TestPlace(t *testing.T) {
	h := make([]tlog.Hash, 4)
	for i := range h {
		h[i] = tlog.RecordHash([]byte{byte(i)})
	}
	for _, tt := range []struct {
		name      string
		got       []int64
		in, maybe []tlog.Hash
		wrong     bool
	}{
		{"in order", []int64{10, 11, 12, 13}, []tlog.Hash{h[0], h[1], h[2], h[3]}, nil, false},
		{"second part first", []int64{12, 13, 10, 11}, []tlog.Hash{h[2], h[3], h[0], h[1]}, nil, false},
		{"first part failed", []int64{-1, -1, 10, 11}, []tlog.Hash{h[2], h[3]}, []tlog.Hash{h[0], h[1]}, false},
		{"a gap", []int64{10, 11, 13, 14}, nil, nil, true},
		{"an index twice", []int64{10, 11, 11, 12}, nil, nil, true},
		{"from elsewhere", []int64{9, 10, 11, 12}, nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			indexes, in, maybe, wrong := audit.TestingPlace(10, tt.got, h)
			if (wrong != "") != tt.wrong {
				t.Fatalf("got %q, want wrong %t", wrong, tt.wrong)
			}
			if tt.wrong {
				return
			}
			if !slices.Equal(in, tt.in) || !slices.Equal(maybe, tt.maybe) {
				t.Errorf("got %x in and %x maybe, want %x and %x", in, maybe, tt.in, tt.maybe)
			}
			for i, n := range tt.got {
				if n >= 0 && indexes[i] != uint64(n) {
					t.Errorf("leaf %d: got index %d, want %d", i, indexes[i], n)
				}
			}
		})
	}
}
