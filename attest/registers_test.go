// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// list returns a list of n events with rising counters.
func list(t testing.TB, n int) attest.EventList {
	t.Helper()
	var l attest.EventList
	for i := range n {
		e := attesttest.Event(attesttest.Statement(t))
		e.Head = uint64(i + 1)
		var err error
		if l, err = l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// TestReplay holds the fold against one that is written out.
func TestReplay(t *testing.T) {
	l := list(t, 3)
	var want [32]byte
	for i := range 3 {
		line := bytes.Split(l.Marshal(), []byte("\n"))[i]
		preimage := append([]byte("assay/register/v1\x00"), 0, 0, 0, 0, 0, 0, byte(len(line)>>8), byte(len(line)))
		digest := sha256.Sum256(append(preimage, line...))
		want = sha256.Sum256(append(want[:], digest[:]...))
	}
	if got := l.Replay(); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
	if got := (attest.EventList{}).Replay(); got != [32]byte{} {
		t.Errorf("an empty list replays to %x, want the initial value", got)
	}
	if got := l.Without(1).Marshal(); !bytes.HasPrefix(l.Marshal(), got) || bytes.Count(got, []byte("\n")) != 2 {
		t.Errorf("without the last event: got %q", got)
	}
	if got := l.Without(9); len(got.Events) != 0 || got.Replay() != [32]byte{} {
		t.Errorf("without more than there are: got %d events", len(got.Events))
	}
}

func TestParseEventList(t *testing.T) {
	good := string(list(t, 2).Marshal())
	first, second, _ := strings.Cut(good, "\n")
	for _, test := range []struct {
		name, data string
		code       verdict.Code
	}{
		{"good", good, ""},
		{"none", "", ""},
		{"the same event twice", first + "\n" + first + "\n", ""},
		{"without its end", good[:len(good)-1], verdict.EvidenceMalformed},
		{"empty line", good + "\n", verdict.EvidenceMalformed},
		{"carriage return", strings.ReplaceAll(good, "\n", "\r\n"), verdict.EvidenceMalformed},
		{"white space", " " + good, verdict.EvidenceMalformed},
		{"unknown member", strings.Replace(good, `{`, `{"a":1,`, 1), verdict.EvidenceMalformed},
		{"counter lowered", second + first + "\n", verdict.IssuerRollback},
		{"too many", strings.Repeat(first+"\n", attest.MaxRegisterEvents+1), verdict.EvidenceLimit},
		{"too large", strings.Repeat("x", attest.MaxRegisterEvents*(verdict.MaxRegisterEvent+1)+1), verdict.EvidenceLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := attest.ParseEventList([]byte(test.data))
			if verdict.CodeOf(err) != test.code {
				t.Errorf("got %v, want code %q", err, test.code)
			}
			if err == nil && string(got.Marshal()) != test.data {
				t.Errorf("encodes to %q", got.Marshal())
			}
		})
	}
}

func TestMeasure(t *testing.T) {
	file := func() *strings.Reader { return strings.NewReader("program") }
	digest := sha256.Sum256([]byte("program"))
	got, err := attest.MeasureFile(file())
	if err != nil || got != hex.EncodeToString(digest[:]) {
		t.Errorf("got %s, %v", got, err)
	}
	value := sha256.Sum256(append(make([]byte, 32), digest[:]...))
	if got, err := attest.MeasurePCR(file()); err != nil || got != hex.EncodeToString(value[:]) {
		t.Errorf("got PCR %s, %v, want %x", got, err, value)
	}
	if got, err := attest.MeasureSNPSimulator(file()); err != nil || len(got) != 96 {
		t.Errorf("got measurement %s, %v", got, err)
	}
}

func FuzzEventList(f *testing.F) {
	inputs := fuzz.New(f, list(f, 2).Marshal(), list(f, 1).Marshal())
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		line, _, ended := bytes.Cut(data, []byte("\n"))
		inputs.Add(ended && json.Valid(line))
		l, err := attest.ParseEventList(data)
		if err != nil {
			if l.Events != nil {
				t.Error("events beside an error")
			}
			return
		}
		if string(l.Marshal()) != string(data) {
			t.Error("the list encodes to other bytes")
		}
	})
}
