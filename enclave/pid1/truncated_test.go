// SPDX-License-Identifier: Apache-2.0

package pid1_test

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/assayd/assay/enclave/pid1"
)

// TestUnpackTruncated: a disk that ends in an archive is an error, except where another
// file could follow, and what fills the archive up to its block is missing.
func TestUnpackTruncated(t *testing.T) {
	const block = 512
	data := archive(t, entry{"assayd.yaml", tar.TypeReg, "a: b\n"}, entry{"head.json", tar.TypeReg, "{}"})
	for n := range 4 * block {
		r, _ := root(t)
		err := pid1.Unpack(bytes.NewReader(data[:n]), r)
		// The contents of the first file are in the second block, those of the other in the fourth.
		whole := n >= block+len("a: b\n") && n <= 2*block || n >= 3*block+len("{}")
		if whole != (err == nil) {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
}
