// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

const (
	// tileHeight is that of c2sp.org/tlog-tiles: 256 hashes a tile.
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// maxLeaf bounds the data of a leaf, in bytes.
	maxLeaf = 1 << 10
	// maxBundle bounds a file of up to 256 entries, each with its u16 length.
	maxBundle = tileWidth * (2 + maxLeaf)
)

// A tree reads the tiles and entry bundles of one shard, and believes of them
// only what leads to the root of a checkpoint.
type tree struct {
	dir string
	at  proof.Checkpoint
}

// hashes returns the reader of stored hashes, each proven to be in the tree.
func (t tree) hashes(ctx context.Context) tlog.HashReader {
	at := tlog.Tree{N: int64(t.at.Size), Hash: tlog.Hash(t.at.Root)} // #nosec G115 -- a checkpoint's size is below 2⁶³
	return tlog.TileHashReader(at, tiles{ctx: ctx, dir: t.dir})
}

// inclusion returns the audit path of the leaf at index in the tree of the
// first size leaves.
func (t tree) inclusion(ctx context.Context, index, size uint64) ([]proof.Hash, error) {
	if index >= size || size > t.at.Size {
		return nil, verdict.Refuse(verdict.LogMissing, "proving leaf %d in the tree of %d: the log has %d leaves", index, size, t.at.Size)
	}
	p, err := tlog.ProveRecord(int64(size), int64(index), t.hashes(ctx)) // #nosec G115 -- at most at.Size
	if err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "proving leaf %d: %w", index, err)
	}
	return proofHashes(p), nil
}

// consistency returns the proof that the tree of the first newer leaves begins
// with the tree of the first older ones.
func (t tree) consistency(ctx context.Context, older, newer uint64) ([]proof.Hash, error) {
	if older > newer || newer > t.at.Size {
		return nil, verdict.Refuse(verdict.LogMissing, "proving consistency of %d and %d leaves: the log has %d", older, newer, t.at.Size)
	}
	if older == 0 || older == newer {
		return nil, nil // nothing to prove, see proof.CheckConsistency
	}
	p, err := tlog.ProveTree(int64(newer), int64(older), t.hashes(ctx)) // #nosec G115 -- at most at.Size
	if err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "proving consistency of %d and %d leaves: %w", older, newer, err)
	}
	return proofHashes(p), nil
}

func proofHashes(p []tlog.Hash) []proof.Hash {
	out := make([]proof.Hash, len(p))
	for i, h := range p {
		out[i] = proof.Hash(h)
	}
	return out
}

// leaf returns the data of the leaf at index, compared with the tree.
func (t tree) leaf(ctx context.Context, index uint64) ([]byte, error) {
	if index >= t.at.Size {
		return nil, verdict.Refuse(verdict.LogMissing, "reading leaf %d: the log has %d leaves", index, t.at.Size)
	}
	want, err := t.hashes(ctx).ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))}) // #nosec G115 -- below at.Size
	if err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "reading leaf %d: %w", index, err)
	}
	data, err := readEntry(t.dir, index, t.at.Size)
	if err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "reading leaf %d: %w", index, err)
	}
	if tlog.RecordHash(data) != want[0] {
		return nil, verdict.Fail(verdict.LogUnavailable, "reading leaf %d: the entry on disk is not the one in the tree", index)
	}
	return data, nil
}

// readEntry reads an entry of the log of size leaves, from a disk that is not
// believed.
func readEntry(dir string, index, size uint64) ([]byte, error) {
	bundle := index / tileWidth
	width := min(size-bundle*tileWidth, tileWidth)
	data, err := readTileFile(dir, "entries", bundle, int(width), maxBundle) // #nosec G115 -- at most 256
	if err != nil {
		return nil, err
	}
	for range index % tileWidth {
		if _, data, err = cutEntry(data); err != nil {
			return nil, err
		}
	}
	entry, _, err := cutEntry(data)
	return entry, err
}

// cutEntry takes the first entry off a bundle.
func cutEntry(data []byte) (entry, rest []byte, err error) {
	if len(data) < 2 {
		return nil, nil, errors.New("entry bundle is cut short")
	}
	n := int(binary.BigEndian.Uint16(data))
	if data = data[2:]; n > len(data) {
		return nil, nil, errors.New("entry bundle is cut short")
	}
	return data[:n], data[n:], nil
}

// tiles is a [tlog.TileReader] over the folder of a shard.
type tiles struct {
	ctx context.Context
	dir string
}

// Height implements [tlog.TileReader].
func (t tiles) Height() int { return tileHeight }

// SaveTiles implements [tlog.TileReader]: they are where they belong.
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles implements [tlog.TileReader].
func (t tiles) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(list))
	for i, tile := range list {
		if err := t.ctx.Err(); err != nil {
			return nil, err
		}
		if tile.L < 0 || tile.N < 0 {
			return nil, fmt.Errorf("tile %s is not one of hashes", tile.Path())
		}
		data, err := readTileFile(t.dir, fmt.Sprint(tile.L), uint64(tile.N), tile.W, tileWidth*tlog.HashSize)
		if err != nil {
			return nil, err
		}
		// A wider tile begins with the narrower one.
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %s has %d bytes, want %d", tile.Path(), len(data), tile.W*tlog.HashSize)
		}
		out[i] = data[:tile.W*tlog.HashSize]
	}
	return out, nil
}

// readTileFile reads the file of a tile or an entry bundle with the given
// width. Partial ones are removed once the full one is there, so that is the
// second place to look (c2sp.org/tlog-tiles, Partial Tiles).
func readTileFile(dir, level string, n uint64, width int, limit int64) ([]byte, error) {
	if n > math.MaxInt64 {
		return nil, errors.New("tile number is out of range")
	}
	full := filepath.Join(dir, "tile", level, tileNumber(n))
	if width < tileWidth {
		data, err := readFile(filepath.Join(full+".p", fmt.Sprint(width)), limit)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return readFile(full, limit)
}

// tileNumber writes n in groups of three digits, all but the last with an x
// before them (c2sp.org/tlog-tiles).
func tileNumber(n uint64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return path
}
