// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"

	"github.com/assayd/assay/verdict"
)

// Limits of an event log.
const (
	// MaxEventLogSize is the largest log, in bytes. Genuine ones have 18 to 64 KiB.
	MaxEventLogSize = 512 << 10
	maxLogEvents    = 4096
	maxLogDigests   = 8
)

// Values of a log (TCG PC Client Platform Firmware Profile §10; UEFI 2.10 §38.4.1
// for confidential computing).
const (
	evNoAction    = 3 // says something, and is not extended
	evSeparator   = 4 // the firmware hands over
	algSHA256     = 0x000b
	algSHA384     = 0x000c
	ccFirstRTMR   = 1 // register index of RTMR0; 0 is MRTD
	logSignature  = "Spec ID Event03\x00"
	sha1Size      = 20
	specIDMinimum = 16 + 4 + 4 + 4 // signature, class, versions, number of algorithms
)

// A LogEvent is one entry of an event log. Everything in it is whatever the guest
// writes; only the digests count, and they where the log replays.
type LogEvent struct {
	// Index is the register: of a TPM the PCR, of a TD 0 for MRTD and i+1 for RTMRi.
	Index int
	Type  uint32
	// SHA256 and SHA384 are its digests, nil in logs without.
	SHA256, SHA384 []byte
	Data           []byte
}

func badLog(format string, args ...any) error {
	return verdict.Refuse(verdict.EventLogMalformed, "parsing event log: "+format, args...)
}

// ParseEventLog decodes a crypto-agile log. Bytes of 0xFF or zero may fill the end.
func ParseEventLog(data []byte) ([]LogEvent, error) {
	if len(data) > MaxEventLogSize {
		return nil, verdict.Refuse(verdict.EvidenceLimit, "parsing event log: %d bytes, want at most %d", len(data), MaxEventLogSize)
	}
	c := &logCutter{cutter{data: data}}
	sizes, err := c.header()
	if err != nil {
		return nil, err
	}
	var events []LogEvent
	for len(c.data) > 0 {
		if filled(c.data) {
			break
		}
		if len(events) == maxLogEvents {
			return nil, verdict.Refuse(verdict.EvidenceLimit, "parsing event log: more than %d events", maxLogEvents)
		}
		e := LogEvent{Index: c.n32(), Type: binary.LittleEndian.Uint32(c.take(4))}
		digests := c.n32()
		if c.short || digests < 1 || digests > maxLogDigests {
			return nil, badLog("event %d has %d digests, want 1 to %d", len(events), digests, maxLogDigests)
		}
		seen := map[uint16]bool{}
		for range digests {
			algorithm := binary.LittleEndian.Uint16(c.take(2))
			size, known := sizes[algorithm]
			digest := c.take(size)
			if c.short || !known || seen[algorithm] {
				return nil, badLog("event %d has a digest of algorithm 0x%04x, which the log does not name, or twice", len(events), algorithm)
			}
			seen[algorithm] = true
			switch algorithm {
			case algSHA256:
				e.SHA256 = digest
			case algSHA384:
				e.SHA384 = digest
			}
		}
		e.Data = c.take(c.n32())
		if c.short {
			return nil, badLog("it ends in event %d", len(events))
		}
		events = append(events, e)
	}
	return events, nil
}

// A logCutter reads numbers that count bytes of a log.
type logCutter struct{ cutter }

func (c *logCutter) n32() int {
	n := binary.LittleEndian.Uint32(c.take(4))
	if n > MaxEventLogSize {
		c.short = true
		return 0
	}
	return int(n)
}

// header reads the first event, in the form of old, which names the algorithms.
func (c *logCutter) header() (map[uint16]int, error) {
	c.take(4)
	kind := binary.LittleEndian.Uint32(c.take(4))
	c.take(sha1Size)
	spec := &logCutter{cutter{data: c.take(c.n32())}}
	if c.short || kind != evNoAction || len(spec.data) < specIDMinimum || !bytes.HasPrefix(spec.data, []byte(logSignature)) {
		return nil, badLog("it does not begin with a Spec ID Event03")
	}
	spec.take(len(logSignature) + 8)
	sizes := map[uint16]int{}
	for range min(spec.n32(), maxLogDigests+1) {
		algorithm, size := binary.LittleEndian.Uint16(spec.take(2)), spec.u16()
		if spec.short || size == 0 || size > sha512.Size || sizes[algorithm] != 0 || len(sizes) == maxLogDigests ||
			algorithm == algSHA256 && size != sha256.Size || algorithm == algSHA384 && size != sha512.Size384 {
			return nil, badLog("the list of its algorithms is not readable")
		}
		sizes[algorithm] = size
	}
	return sizes, nil
}

func filled(data []byte) bool {
	return len(bytes.Trim(data, "\xff")) == 0 || len(bytes.Trim(data, "\x00")) == 0
}

// replayRTMR folds the events of a register. One without events would replay to
// anything.
func replayRTMR(events []LogEvent, rtmr int) (value [48]byte, err error) {
	count := 0
	for _, e := range events {
		if e.Index != ccFirstRTMR+rtmr || e.Type == evNoAction {
			continue
		}
		if e.SHA384 == nil {
			return value, verdict.Refuse(verdict.EventLogIncomplete, "appraising event log: an event of RTMR%d has no SHA-384", rtmr)
		}
		value = sha512.Sum384(append(value[:], e.SHA384...))
		count++
	}
	if count == 0 {
		return value, verdict.Refuse(verdict.EventLogIncomplete, "appraising event log: it has no event of RTMR%d", rtmr)
	}
	return value, nil
}

// startupLocality begins the data of the event that says at which locality a TPM was
// started, which is the last byte of PCR 0 then.
const startupLocality = "StartupLocality\x00"

// firmwarePCRs are those that the firmware ends with a separator (PC Client PFP
// §3.3.4).
const firmwarePCRs = 8

// separator is what a firmware measures that hands over without an error.
var separator = sha256.Sum256(make([]byte, 4))

// replayPCR folds the events of a PCR of the SHA-256 bank.
func replayPCR(events []LogEvent, pcr int) (value [sha256.Size]byte, err error) {
	count, separators := 0, 0
	for _, e := range events {
		if e.Index != pcr {
			continue
		}
		if e.Type == evNoAction {
			if bytes.HasPrefix(e.Data, []byte(startupLocality)) {
				if pcr != 0 || count > 0 || len(e.Data) != len(startupLocality)+1 || value != [sha256.Size]byte{} {
					return value, verdict.Refuse(verdict.EventLogEvent, "appraising event log: a startup locality of PCR %d, or after its events", pcr)
				}
				value[sha256.Size-1] = e.Data[len(startupLocality)]
			}
			continue
		}
		if e.SHA256 == nil {
			return value, verdict.Refuse(verdict.EventLogIncomplete, "appraising event log: an event of PCR %d has no SHA-256", pcr)
		}
		if e.Type == evSeparator {
			separators++
			if !bytes.Equal(e.SHA256, separator[:]) {
				return value, verdict.Refuse(verdict.EventLogEvent, "appraising event log: PCR %d has a separator that says an error", pcr)
			}
		}
		value = sha256.Sum256(append(value[:], e.SHA256...))
		count++
	}
	if count == 0 {
		return value, verdict.Refuse(verdict.EventLogIncomplete, "appraising event log: it has no event of PCR %d", pcr)
	}
	if pcr < firmwarePCRs && separators != 1 {
		return value, verdict.Refuse(verdict.EventLogEvent, "appraising event log: PCR %d has %d separators, want 1", pcr, separators)
	}
	return value, nil
}

// checkLog compares registers with a log: each has events in it, which replay to
// its value.
func (q *TDXQuote) checkLog(data []byte, registers []int) error {
	if len(registers) == 0 {
		return nil
	}
	events, err := presentLog(data)
	if err != nil {
		return err
	}
	for _, i := range registers {
		if i < 0 || i >= len(q.RTMR) {
			return verdict.Misused("", "appraising event log: there is no RTMR%d", i)
		}
		value, err := replayRTMR(events, i)
		if err != nil {
			return err
		}
		if value != q.RTMR[i] {
			return verdict.Refuse(verdict.EventLogReplay, "appraising event log: it replays RTMR%d to %x, which is %x", i, value, q.RTMR[i])
		}
	}
	return nil
}

// presentLog parses a log that has to be there.
func presentLog(data []byte) ([]LogEvent, error) {
	if len(data) == 0 {
		return nil, verdict.Fail(verdict.EvidenceMissing, "appraising event log: it is not there")
	}
	return ParseEventLog(data)
}
