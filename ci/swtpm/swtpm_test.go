// SPDX-License-Identifier: Apache-2.0

package swtpm_test

import (
	"testing"

	"github.com/assayd/assay/ci/swtpm"
)

// TestStart holds that the harness gives a TPM with an authority, more than once
// from the same state.
func TestStart(t *testing.T) {
	swtpm.Require(t)
	tpm, err := swtpm.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tpm.Stop(); err != nil {
			t.Error(err)
		}
	})
	authorities, err := tpm.Authorities()
	if err != nil {
		t.Fatal(err)
	}
	if len(authorities) != 2 {
		t.Errorf("got %d authorities, want root and issuer", len(authorities))
	}
	if err := tpm.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}
