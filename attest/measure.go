// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/assayd/assay/verdict"
)

// MaxMeasuredFile is the largest file that is measured, in bytes.
const MaxMeasuredFile = 1 << 30

// MeasureSNPSimulator returns what the simulator puts into MEASUREMENT for a
// program: the SHA-384 of its file, in hex as a reference entry has it.
func MeasureSNPSimulator(file io.Reader) (string, error) {
	return measure(sha512.New384(), file)
}

// A SimulatedTD is what the simulator of TDX puts into the registers of a TD that
// runs a program.
type SimulatedTD struct {
	// MRTD is that of a firmware that does not exist, the same for every program.
	MRTD [sha512.Size384]byte
	// RTMR are RTMR0 to RTMR2: of a machine that does not exist, of the program, whose
	// SHA-384 is the one event of RTMR1, and of an empty command line.
	RTMR [3][sha512.Size384]byte
}

// MeasureTDXSimulator returns what the simulator of TDX measures for a program.
func MeasureTDXSimulator(file io.Reader) (SimulatedTD, error) {
	h := sha512.New384()
	if _, err := measure(h, file); err != nil {
		return SimulatedTD{}, err
	}
	var zero [sha512.Size384]byte
	event := func(text string) [sha512.Size384]byte { return ExtendRTMR(zero, sha512.Sum384([]byte(text))) }
	return SimulatedTD{
		MRTD: sha512.Sum384([]byte("assay simulated TD, firmware")),
		RTMR: [3][sha512.Size384]byte{
			event("assay simulated TD, machine"), ExtendRTMR(zero, [sha512.Size384]byte(h.Sum(nil))), event(""),
		},
	}, nil
}

// Entry fills in the members of a reference entry that say what was started.
func (s SimulatedTD) Entry(e *verdict.ReferenceEntry) {
	e.Events, e.Measurement, e.Registers = "rtmr3", hex.EncodeToString(s.MRTD[:]), map[string]string{}
	for i, name := range verdict.TDXRegisters {
		e.Registers[name] = hex.EncodeToString(s.RTMR[i][:])
	}
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
