// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"

	"github.com/assayd/assay/verdict"
)

// MaxRegisterEvents is how many events one life of a register may have. There is
// one per start of a daemon and per change of head since the machine booted.
const MaxRegisterEvents = 512

// EventRegister is the PCR that holds the event list of a TPM.
const EventRegister = 14

// EventRTMR is the RTMR that holds the event list of a TD. No firmware and no boot
// loader extends it.
const EventRTMR = 3

// An EventList is a list of register events as it is stored and as it travels:
// each event's canonical JSON and a line feed. Only whole lines are events.
type EventList struct {
	// Events are the decoded events.
	Events []verdict.RegisterEvent
	lines  [][]byte
}

// ParseEventList decodes a list, which may be empty. More events or bytes than the
// limits are evidence.limit, everything else is evidence.malformed. The head's
// counter never goes down from one event to the next: that is issuer.rollback.
func ParseEventList(data []byte) (EventList, error) {
	if len(data) > MaxRegisterEvents*(verdict.MaxRegisterEvent+1) {
		return EventList{}, verdict.Refuse(verdict.EvidenceLimit, "parsing register events: %d bytes", len(data))
	}
	if len(data) == 0 {
		return EventList{}, nil
	}
	if data[len(data)-1] != '\n' {
		return EventList{}, malformed("parsing register events: the last one has no end")
	}
	var list EventList
	for line := range bytes.SplitSeq(data[:len(data)-1], []byte{'\n'}) {
		if len(list.lines) == MaxRegisterEvents {
			return EventList{}, verdict.Refuse(verdict.EvidenceLimit, "parsing register events: more than %d", MaxRegisterEvents)
		}
		e, err := verdict.ParseRegisterEvent(line)
		if err != nil {
			return EventList{}, err
		}
		if n := len(list.Events); n > 0 && e.Head < list.Events[n-1].Head {
			return EventList{}, verdict.Refuse(verdict.IssuerRollback, "parsing register events: head %d after head %d", e.Head, list.Events[n-1].Head)
		}
		list.Events = append(list.Events, e)
		list.lines = append(list.lines, bytes.Clone(line))
	}
	return list, nil
}

// Append returns the list with e at its end.
func (l EventList) Append(e verdict.RegisterEvent) (EventList, error) {
	line, err := e.Encode()
	if err != nil {
		return EventList{}, err
	}
	return ParseEventList(append(append(l.Marshal(), line...), '\n'))
}

// Without returns the list without its last n events.
func (l EventList) Without(n int) EventList {
	keep := max(len(l.lines)-n, 0)
	return EventList{Events: l.Events[:keep:keep], lines: l.lines[:keep:keep]}
}

// Marshal encodes the list.
func (l EventList) Marshal() []byte {
	var b []byte
	for _, line := range l.lines {
		b = append(append(b, line...), '\n')
	}
	return b
}

// Digest returns what the event at index i extends into a PCR of the SHA-256 bank.
func (l EventList) Digest(i int) [sha256.Size]byte {
	return [sha256.Size]byte(verdict.RegisterDigest(sha256.New(), l.lines[i]))
}

// Replay returns the value that a PCR of the SHA-256 bank has after the list: the
// fold of the extends from zero.
func (l EventList) Replay() [sha256.Size]byte {
	var value [sha256.Size]byte
	for i := range l.lines {
		value = ExtendPCR(value, l.Digest(i))
	}
	return value
}

// ExtendPCR returns the value of a PCR of the SHA-256 bank after TPM2_PCR_Extend
// with digest (TPM 2.0 Part 3 §22.2).
func ExtendPCR(value, digest [sha256.Size]byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(value[:])
	h.Write(digest[:])
	return [sha256.Size]byte(h.Sum(nil))
}

// DigestRTMR returns what the event at index i extends into an RTMR.
func (l EventList) DigestRTMR(i int) [sha512.Size384]byte {
	return [sha512.Size384]byte(verdict.RegisterDigest(sha512.New384(), l.lines[i]))
}

// ReplayRTMR returns the value that an RTMR has after the list: the fold of the
// extends from zero.
func (l EventList) ReplayRTMR() [sha512.Size384]byte {
	var value [sha512.Size384]byte
	for i := range l.lines {
		value = ExtendRTMR(value, l.DigestRTMR(i))
	}
	return value
}

// ExtendRTMR returns the value of an RTMR after TDG.MR.RTMR.EXTEND with digest (Intel
// TDX Module ABI).
func ExtendRTMR(value, digest [sha512.Size384]byte) [sha512.Size384]byte {
	h := sha512.New384()
	h.Write(value[:])
	h.Write(digest[:])
	return [sha512.Size384]byte(h.Sum(nil))
}
