// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

// grow appends until the shard has size leaves.
func grow(t *testing.T, d *daemon, size uint64) {
	t.Helper()
	var wg sync.WaitGroup
	for range size - d.Size() {
		wg.Go(func() {
			if _, _, err := d.decide(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d.Size() != size {
		t.Fatalf("got %d leaves, want %d", d.Size(), size)
	}
}

// stopped returns the folder, boot and origin of a closed shard.
func stopped(t *testing.T, size uint64) (dir, boot, origin string) {
	t.Helper()
	config := testConfig(newDir(t))
	d := start(t, config)
	grow(t, d, size)
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return config.Dir, config.Boot, d.Origin()
}

// tileFiles lists the tiles of a tree of size leaves, as level and number, by
// the layout of c2sp.org/tlog-tiles.
func tileFiles(size uint64) map[string][2]uint64 {
	out := map[string][2]uint64{}
	for level, n := 0, size; n > 0; level, n = level+1, n/256 {
		below := uint64(1) << (8 * (level + 1)) // leaves below one full tile
		for i := range n / 256 {
			out[fmt.Sprintf("tile/%d/%03d", level, i)] = [2]uint64{i * below, (i + 1) * below}
		}
		if w := n % 256; w > 0 {
			i := n / 256
			out[fmt.Sprintf("tile/%d/%03d.p/%d", level, i, w)] = [2]uint64{i * below, min(size, i*below+w*below/256)}
		}
	}
	return out
}

// TestR60EveryTileIsAuthenticated: a bit flipped in any tile makes reading of
// each leaf below it fail, and the module that does the arithmetic is one
// without the flaw that left two tiles unchecked.
func TestR60EveryTileIsAuthenticated(t *testing.T) {
	for _, size := range []uint64{511, 771, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			dir, boot, origin := stopped(t, size)
			r := reader(t, dir, origin)
			files := tileFiles(size)
			if len(files) != 1+int((size+255)/256) {
				t.Fatalf("got %d tiles: %v", len(files), files)
			}
			for name, leaves := range files {
				path := filepath.Join(dir, boot, name)
				good, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for _, at := range []int{0, len(good) / 2, len(good) - 1} {
					bad := bytes.Clone(good)
					bad[at] ^= 1
					write(t, path, bad)
					for index := leaves[0]; index < leaves[1]; index += 41 {
						if leaf, err := r.Leaf(t.Context(), index); err == nil {
							t.Fatalf("%s, byte %d: leaf %d is read as %v", name, at, index, leaf)
						}
						if p, err := r.InclusionProof(t.Context(), index, size); err == nil {
							t.Fatalf("%s, byte %d: leaf %d is proven by %v", name, at, index, p)
						}
					}
				}
				write(t, path, good)
			}
			for index := uint64(0); index < size; index += 41 {
				if _, err := r.Leaf(t.Context(), index); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestR60ModuleVersion: tessera and sigstore-go ask for older versions only.
func TestR60ModuleVersion(t *testing.T) {
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	const name, floor = "golang.org/x/mod", "v0.40.0"
	for _, r := range file.Require {
		if r.Mod.Path == name {
			if semver.Compare(r.Mod.Version, floor) < 0 {
				t.Errorf("got %s %s, want at least %s", name, r.Mod.Version, floor)
			}
			return
		}
	}
	t.Errorf("%s is not required", name)
}

// TestArchiveBelievesNothing changes one file of a shard at a time.
func TestArchiveBelievesNothing(t *testing.T) {
	dir, boot, origin := stopped(t, 20)
	otherDir, otherBoot, _ := stopped(t, 20)
	r := reader(t, dir, origin)
	leaf, err := r.Leaf(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	object := func(d [32]byte) string {
		h := verdict.DigestFromBytes(d).Hex()
		return filepath.Join("objects", h[:2], h)
	}
	other := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(otherDir, otherBoot, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	}
	// other64 puts another character there; what it is in is still base64.
	other64 := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			i := (at + len(b)) % len(b)
			if b[i] == 'A' {
				b[i] = 'B'
			} else {
				b[i] = 'A'
			}
			return b
		}
	}
	bundle := filepath.Join("tile", "entries", "000.p", "20")
	entry := 2 + verdict.LeafSize
	for _, tt := range []struct {
		name   string
		files  []string
		change func([]byte) []byte
		open   verdict.Code // of opening the shard
		read   verdict.Code // of reading leaf 7, its object and its file
	}{
		{name: "nothing changed", change: flip(0)},
		{name: "torn newest checkpoint", files: []string{"latest"}, change: func([]byte) []byte { return nil }},
		{name: "changed newest checkpoint", files: []string{"latest"}, change: flip(len(origin) + 2)},
		{name: "both checkpoints changed", files: []string{"latest", "checkpoint"}, change: other64(len(origin) + 6), open: verdict.LogProof},
		{name: "both signatures changed", files: []string{"latest", "checkpoint"}, change: other64(-20), open: verdict.LogProof},
		{name: "no checkpoint", files: []string{"latest", "checkpoint"}, change: func([]byte) []byte { return nil }, open: verdict.LogMissing},
		{name: "checkpoints of another log", files: []string{"latest", "checkpoint"}, change: func([]byte) []byte { return other("latest") }, open: verdict.KeyUnknown},
		{name: "statement changed", files: []string{object(leaf.Statement)}, change: flip(20), open: verdict.LogMismatch},
		{name: "statement missing", files: []string{object(leaf.Statement)}, change: nil, open: verdict.LogMissing},
		{name: "leaf 0 changed", files: []string{bundle}, change: flip(2 + 5), open: verdict.LogUnavailable},
		{name: "leaf 0 of another kind", files: []string{bundle}, change: func(b []byte) []byte { b[2+1], b[2+2] = 2, 1; return b }, open: verdict.LogMismatch},
		{name: "leaf 7 changed", files: []string{bundle}, change: flip(7*entry + 2 + 40), read: verdict.LogUnavailable},
		{name: "bundle cut short", files: []string{bundle}, change: func(b []byte) []byte { return b[:7*entry+10] }, read: verdict.LogUnavailable},
		{name: "bundle grown without end", files: []string{bundle}, change: func([]byte) []byte { return make([]byte, 4<<20) }, open: verdict.LogUnavailable},
		{name: "core changed", files: []string{object(leaf.Object)}, change: flip(40), read: verdict.LogMismatch},
		{name: "core missing", files: []string{object(leaf.Object)}, change: nil, read: verdict.LogMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "log")
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.files {
				path := filepath.Join(copied, boot, name)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if tt.change == nil {
					err = os.Remove(path)
				} else {
					err = os.WriteFile(path, tt.change(data), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			a, err := audit.OpenArchive(audit.ArchiveConfig{Dir: copied})
			if err != nil {
				t.Fatal(err)
			}
			r, err := a.Boot(t.Context(), boot)
			wantCode(t, err, tt.open)
			if err != nil {
				if r != nil {
					t.Error("a reader comes with an error")
				}
				return
			}
			data, err := r.ProofFile(t.Context(), 7)
			wantCode(t, err, tt.read)
			if err == nil {
				if _, err := proof.CheckFile(data, proof.Trust{AllowAnyStatement: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestArchiveAsksForWhatIsNotThere(t *testing.T) {
	dir, boot, origin := stopped(t, 3)
	if _, err := audit.OpenArchive(audit.ArchiveConfig{Dir: filepath.Join(dir, "nowhere")}); !isMisuse(err) {
		t.Errorf("got %v, want a misuse", err)
	}
	if _, err := audit.OpenArchive(audit.ArchiveConfig{Dir: filepath.Join(dir, "lock")}); !isMisuse(err) {
		t.Errorf("got %v, want a misuse", err)
	}
	a, err := audit.OpenArchive(audit.ArchiveConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Shard(t.Context(), "other.invalid/log")
	wantCode(t, err, verdict.LogMissing)
	if _, err := a.Boot(t.Context(), "../"+boot); !isMisuse(err) {
		t.Errorf("got %v, want a misuse", err)
	}
	r := reader(t, dir, origin)
	_, err = r.Leaf(t.Context(), 3)
	wantCode(t, err, verdict.LogMissing)
	_, err = r.InclusionProof(t.Context(), 2, 4)
	wantCode(t, err, verdict.LogMissing)
	_, err = r.InclusionProof(t.Context(), 2, 2)
	wantCode(t, err, verdict.LogMissing)
	_, err = r.ConsistencyProof(t.Context(), 2, 4)
	wantCode(t, err, verdict.LogMissing)
	_, err = r.Object(t.Context(), verdict.SHA256([]byte("no such thing")))
	wantCode(t, err, verdict.LogMissing)
	_, err = r.Object(t.Context(), "sha256:../../../../etc/passwd")
	wantCode(t, err, verdict.InputMalformed)
	ahead, _ := r.Checkpoint()
	ahead.Size++
	wantCode(t, r.Extends(t.Context(), ahead), verdict.LogProof)
	fork, _ := r.Checkpoint()
	fork.Root[0] ^= 1
	wantCode(t, r.Extends(t.Context(), fork), verdict.LogProof)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Leaf(ctx, 0)
	wantCode(t, err, verdict.LogUnavailable)
}

// TestArchiveDoesNotWait: in a folder that somebody sent, a named pipe in the place
// of a file is not waited for.
func TestArchiveDoesNotWait(t *testing.T) {
	dir, boot, origin := stopped(t, 3)
	r := reader(t, dir, origin)
	a, err := audit.OpenArchive(audit.ArchiveConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	name := verdict.SHA256([]byte("a pipe"))
	folder := filepath.Join(dir, boot, "objects", name.Hex()[:2])
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	checkpoint := filepath.Join(dir, boot, "checkpoint")
	if err := os.Remove(checkpoint); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(folder, name.Hex()), checkpoint} {
		if err := syscall.Mkfifo(path, 0o640); err != nil {
			t.Skipf("named pipes: %v", err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := r.Object(t.Context(), name)
		wantCode(t, err, verdict.LogUnavailable)
		_, err = a.Boot(t.Context(), boot)
		wantCode(t, err, verdict.LogUnavailable)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the reader waits for the writer of a named pipe")
	}
}

// TestBootWithoutLeafZero: a boot that ended before its statement was written
// has nothing to prove, and does not keep others from being read.
func TestBootWithoutLeafZero(t *testing.T) {
	config := testConfig(newDir(t))
	d, err := openDaemon(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := audit.OpenArchive(audit.ArchiveConfig{Dir: config.Dir})
	if err != nil {
		t.Fatal(err)
	}
	shards, err := a.Shards(t.Context())
	if err != nil || len(shards) != 1 {
		t.Fatalf("got %v, %v, want one shard", shards, err)
	}
	wantCode(t, shards[0].Err, verdict.LogMissing)
}

// TestOrphansAreCleaned: the next start removes what a crash left half-written
// in old shards, and nothing else.
func TestOrphansAreCleaned(t *testing.T) {
	dir, boot, origin := stopped(t, 300)
	before := listFiles(t, dir)
	for _, name := range []string{
		"checkpoint1234", ".state/treeState99", "tile/0/0001234567", "tile/0/000.p/44123456", "tile/entries/001.p/999",
		".tmp-1", "objects/.tmp-2",
	} {
		path := filepath.Join(dir, boot, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte("torn"))
	}
	d := start(t, testConfig(dir))
	defer func() { _ = d.Close(context.Background()) }()
	after := listFiles(t, dir)
	for name := range before {
		if !after[name] && !strings.HasPrefix(name, d.boot) {
			t.Errorf("%s is gone", name)
		}
	}
	for name := range after {
		if !before[name] && !strings.HasPrefix(name, d.boot) && name != filepath.Join(boot, "sealed") {
			t.Errorf("%s is left", name)
		}
	}
	if r := reader(t, dir, origin); r.Origin() != origin {
		t.Errorf("got %s, want %s", r.Origin(), origin)
	}
}

func listFiles(t *testing.T, dir string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	if err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out[path] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOrphanNames(t *testing.T) {
	for _, tt := range []struct {
		folder, name string
		want         bool
	}{
		{"0", "000", false}, {"0", "0001", true}, {"x001", "234", false}, {"000.p", "1", false}, {"000.p", "255", false},
		{"000.p", "256", true}, {"000.p", "1234567", true}, {".state", "treeState", false}, {".state", "treeState.lock", false},
		{".state", "treeState123", true}, {".state", "gcState1", true}, {".state", "version0", true}, {"boot", "checkpoint", false},
		{"boot", "checkpoint7", true}, {"boot", "latest", false}, {"boot", ".tmp-77", true},
		{"12", strings.Repeat("1", 64), false},
	} {
		if got := audit.TestingOrphan(tt.folder, tt.name); got != tt.want {
			t.Errorf("%s/%s: got %t, want %t", tt.folder, tt.name, got, tt.want)
		}
	}
}

func TestTileNumbers(t *testing.T) {
	for n, want := range map[uint64]string{0: "000", 999: "999", 1000: "x001/000", 1234067: "x001/x234/067"} {
		if got := audit.TestingTileNumber(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
