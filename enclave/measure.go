// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// MeasuredRegister is the PCR that a starter measures the daemon's file into.
const MeasuredRegister = 11

// MeasureInto extends the SHA-256 of a file into a PCR of the TPM at path, which is
// a device or swtpm's socket, and returns the PCR's value in hex. It is for whoever
// starts a daemon and is trusted to start just that file, as firmware and boot
// loader are in a machine; a daemon that measured itself would say what it likes.
//
// pcr must be one that software cannot reset, and not the one of the event list.
func MeasureInto(ctx context.Context, path string, pcr uint, file string) (value string, err error) {
	if pcr > quotedPCRs[len(quotedPCRs)-1] || pcr == attest.EventRegister {
		return "", verdict.Misused("", "measuring file: PCR is %d, want 0 to 15 and not %d", pcr, attest.EventRegister)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", verdict.Misused("", "measuring file: %w", err)
	}
	text, err := attest.MeasureFile(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", verdict.Misused("", "measuring file: %w", err)
	}
	digest, err := hex.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("measuring file: %w", err)
	}
	conn, err := dialTPM(ctx, path, DefaultTimeout)
	if err != nil {
		return "", unavailable("connecting", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	err = conn.with(ctx, func() error {
		if err := extendPCR(conn, pcr, [sha256.Size]byte(digest)); err != nil {
			return err
		}
		after, err := readPCR(conn, pcr)
		value = hex.EncodeToString(after[:])
		return err
	})
	if err != nil {
		return "", unavailable("measuring file", err)
	}
	return value, nil
}
