// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// MaxMeasuredFile is the largest file that is measured, in bytes.
const MaxMeasuredFile = 1 << 30

// MeasureSNPSimulator returns what the simulator puts into MEASUREMENT for a
// program: the SHA-384 of its file, in hex as a reference entry has it.
func MeasureSNPSimulator(file io.Reader) (string, error) {
	return measure(sha512.New384(), file)
}

// MeasureFile returns the SHA-256 of a file, in hex.
func MeasureFile(file io.Reader) (string, error) {
	return measure(sha256.New(), file)
}

// MeasurePCR returns the value, in hex, of a PCR of the SHA-256 bank into which the
// SHA-256 of each file was extended in this order, and nothing else.
func MeasurePCR(files ...io.Reader) (string, error) {
	var value [sha256.Size]byte
	for _, file := range files {
		h := sha256.New()
		if _, err := measure(h, file); err != nil {
			return "", err
		}
		value = ExtendPCR(value, [sha256.Size]byte(h.Sum(nil)))
	}
	return hex.EncodeToString(value[:]), nil
}

// measure hashes file with h.
func measure(h hash.Hash, file io.Reader) (string, error) {
	n, err := io.Copy(h, io.LimitReader(file, MaxMeasuredFile+1))
	if err != nil {
		return "", fmt.Errorf("measuring file: %w", err)
	}
	if n > MaxMeasuredFile {
		return "", fmt.Errorf("measuring file: more than %d bytes", MaxMeasuredFile)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
