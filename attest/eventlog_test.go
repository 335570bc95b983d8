// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// logHeader is the first event of a log that names algorithms and the sizes of their
// digests, in turns.
func logHeader(algorithms ...uint16) []byte {
	le := binary.LittleEndian
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2)
	spec = le.AppendUint32(spec, uint32(len(algorithms)/2))
	for _, n := range algorithms {
		spec = le.AppendUint16(spec, n)
	}
	spec = append(spec, 0)
	return slices.Concat([]byte{0, 0, 0, 0, 3, 0, 0, 0}, make([]byte, 20), le.AppendUint32(nil, uint32(len(spec))), spec)
}

// logEvent is an event of register 1 that says it has so many digests.
func logEvent(digests uint32, rest ...byte) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{1, 0, 0, 0, 1, 0, 0, 0}, digests), rest...)
}

// TestEventLogForms: each form that is refused is refused by its own check.
func TestEventLogForms(t *testing.T) {
	const sha256, sha384 = 0x0b, 0x0c
	digest := append([]byte{sha384, 0}, make([]byte, 48)...)
	whole := logEvent(1, append(slices.Clone(digest), 1, 0, 0, 0, 'x')...)
	header := logHeader(sha384, 48)
	if events, err := attest.ParseEventLog(slices.Concat(header, whole)); err != nil || len(events) != 1 || events[0].Index != 1 || string(events[0].Data) != "x" {
		t.Fatalf("got %+v, %v", events, err)
	}
	nine := make([]uint16, 0, 18)
	for i := range uint16(9) {
		nine = append(nine, 0x100+i, 32)
	}
	for name, tt := range map[string]struct {
		log  []byte
		code verdict.Code
		text string
	}{
		"no size":             {logHeader(sha384, 0), verdict.EventLogMalformed, "list of its algorithms"},
		"a large size":        {logHeader(0x100, 65), verdict.EventLogMalformed, "list of its algorithms"},
		"another size":        {logHeader(sha384, 47), verdict.EventLogMalformed, "list of its algorithms"},
		"another size of 256": {logHeader(sha256, 48), verdict.EventLogMalformed, "list of its algorithms"},
		"an algorithm twice":  {logHeader(sha384, 48, sha384, 48), verdict.EventLogMalformed, "list of its algorithms"},
		"nine algorithms":     {logHeader(nine...), verdict.EventLogMalformed, "list of its algorithms"},
		"no digest":           {slices.Concat(header, logEvent(0, 0, 0, 0, 0)), verdict.EventLogMalformed, "has 0 digests"},
		"nine digests":        {slices.Concat(header, logEvent(9, bytes.Repeat(digest, 9)...), make([]byte, 4)), verdict.EventLogMalformed, "has 9 digests"},
		"a digest twice":      {slices.Concat(header, logEvent(2, slices.Concat(digest, digest)...), make([]byte, 4)), verdict.EventLogMalformed, "does not name, or twice"},
		"an unnamed digest":   {slices.Concat(header, logEvent(2, append(slices.Clone(digest), 9, 9, 0, 0, 0, 0)...)), verdict.EventLogMalformed, "does not name, or twice"},
		"half a digest":       {slices.Concat(header, logEvent(1, digest[:40]...)), verdict.EventLogMalformed, "does not name, or twice"},
		"short data":          {slices.Concat(header, logEvent(1, append(slices.Clone(digest), 2, 0, 0, 0, 'x')...)), verdict.EventLogMalformed, "it ends in event 0"},
		"a length of 4 GiB":   {slices.Concat(header, logEvent(1, append(slices.Clone(digest), 0xff, 0xff, 0xff, 0xff, 'x')...)), verdict.EventLogMalformed, "it ends in event 0"},
		"4097 events":         {slices.Concat(header, bytes.Repeat(whole, 4097)), verdict.EvidenceLimit, "more than 4096 events"},
	} {
		_, err := attest.ParseEventLog(tt.log)
		if err == nil || verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v [%s], want %q [%s]", name, err, verdict.CodeOf(err), tt.text, tt.code)
		}
	}
}
