// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/audit/proof"
)

// An edge is the compact range of all leaves: the roots of the perfect
// subtrees that a tree of its size consists of, the largest first. At most 63
// hashes hold the whole log against any change of what lies on disk.
type edge struct {
	size  uint64
	peaks []tlog.Hash
}

// add appends the hash of one leaf (RFC 6962 §2.1).
func (e *edge) add(leaf tlog.Hash) {
	e.peaks = append(e.peaks, leaf)
	// Each trailing one bit of the size is a subtree as large as the new one.
	for n := e.size; n&1 == 1; n >>= 1 {
		last := len(e.peaks) - 1
		e.peaks[last-1] = tlog.NodeHash(e.peaks[last-1], e.peaks[last])
		e.peaks = e.peaks[:last]
	}
	e.size++
}

// with returns the edge after leaves, and leaves e as it is.
func (e *edge) with(leaves []tlog.Hash) edge {
	after := edge{size: e.size, peaks: slices.Clone(e.peaks)}
	for _, h := range leaves {
		after.add(h)
	}
	return after
}

// root returns the hash of the tree.
func (e *edge) root() proof.Hash {
	if len(e.peaks) == 0 {
		return proof.EmptyRoot()
	}
	h := e.peaks[len(e.peaks)-1]
	for _, left := range slices.Backward(e.peaks[:len(e.peaks)-1]) {
		h = tlog.NodeHash(left, h)
	}
	return proof.Hash(h)
}
