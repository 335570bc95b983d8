// SPDX-License-Identifier: Apache-2.0

package fuzz

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Inputs makes the inputs of a target of one argument, and counts them.
type Inputs struct {
	*Count
	Goods
}

// New returns the inputs of a target of one argument, which are seeded with the goods
// themselves.
func New(f *testing.F, goods ...[]byte) *Inputs {
	f.Helper()
	in := &Inputs{NewCount(f), NewGoods(f, goods...)}
	for i, good := range goods {
		f.Add(slices.Concat([]byte{byte(i % raw)}, good))
		f.Add([]byte{byte(raw + i)})
		f.Add([]byte{byte(raw + values + i)})
	}
	return in
}

// Ranges of the first byte.
const (
	raw    = 32
	values = 32
)

// Goods are good inputs to start from.
type Goods struct {
	goods     [][]byte
	documents []*Document // of those goods that are JSON
}

// NewGoods returns at least one and at most 32 good inputs.
func NewGoods(f *testing.F, goods ...[]byte) Goods {
	f.Helper()
	if len(goods) == 0 || len(goods) > values {
		f.Fatalf("got %d good inputs, want 1 to %d", len(goods), values)
	}
	g := Goods{goods, make([]*Document, len(goods))}
	for i, good := range goods {
		if d, err := JSON(good); err == nil {
			g.documents[i] = &d
		}
	}
	return g
}

// Of returns what to feed. The first byte of data says what the others are: for one in
// eight of its values the input itself, for one in eight edits of a good one, and
// otherwise edits of the values of a good one that is JSON, or edits of another one
// that leave its length.
//
// What finds new code is kept by the fuzzer, and with raw bytes most of that is in the
// first checks. So three in four of them are taken for edits all the same.
func (g Goods) Of(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	first := int(data[0])
	if first < raw && crc32.ChecksumIEEE(data)&3 == 0 {
		return data[1:]
	}
	i := first % raw % len(g.goods)
	if first >= raw && first < raw+values {
		return Edit(g.goods[i], data[1:])
	}
	if d := g.documents[i]; d != nil {
		return d.Edit(data[1:])
	}
	good := g.goods[i]
	out := Edit(good, data[1:])
	if len(out) < len(good) {
		out = append(out, good[len(out):]...)
	}
	return out[:len(good)]
}

// maxEdits is how many edits of one input are done: with more of them nothing of the
// good input is left, and that is what raw inputs are for.
const maxEdits = 4

// script cuts a fuzzer's bytes into numbers. Behind the end there are zeros.
type script []byte

func (s *script) next(n int) int {
	var v int
	for range n {
		var b byte
		if len(*s) > 0 {
			b, *s = (*s)[0], (*s)[1:]
		}
		v = v<<8 | int(b)
	}
	return v
}

func (s *script) bytes(n int) []byte {
	n = min(n, len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return b
}

// Edit returns seed with the edits that script describes, at most 4. An edit is an
// offset (three bytes, from the middle on and then from the front), what to do (a byte) and its bytes:
// overwrite, insert, remove, cut off, or repeat. Every script is one, and the empty one
// leaves seed as it is.
func Edit(seed, edits []byte) []byte {
	s, out := script(edits), bytes.Clone(seed)
	for range maxEdits {
		if len(s) < 4 {
			break
		}
		// Fuzzers love zeros, which would all hit the first field.
		at := (s.next(3) + len(out)/2) % (len(out) + 1)
		what := s.next(1)
		n := what >> 5 // 0 to 7
		switch what & 31 {
		default: // the usual one: the length stays
			copy(out[at:], s.bytes(n+1))
		case 28:
			out = slices.Insert(out, at, s.bytes(n*4+1)...)
		case 29:
			out = slices.Delete(out, at, min(at+n*4+1, len(out)))
		case 30:
			out = out[:at]
		case 31:
			out = slices.Insert(out, at, bytes.Clone(out[at:min(at+n*32+1, len(out))])...)
		}
	}
	return out
}

// Document is JSON, of one value or several, whose values can be exchanged.
type Document struct {
	text []byte
	// spans are the values, outer before inner, as half-open ranges of text.
	spans [][2]int
}

// JSON reads a good document to edit.
func JSON(text []byte) (Document, error) {
	d := Document{text: text}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for dec.More() {
		if err := d.value(dec); err != nil {
			return Document{}, err
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || len(d.spans) == 0 {
		return Document{}, errors.New("reading JSON to edit: it is none")
	}
	return d, nil
}

func (d *Document) value(dec *json.Decoder) error {
	// What lies between the last token and this value is space, a comma or a colon.
	start := int(dec.InputOffset())
	start += len(d.text[start:]) - len(bytes.TrimLeft(d.text[start:], " \t\r\n,:"))
	token, err := dec.Token()
	if err != nil {
		return err
	}
	i := len(d.spans)
	d.spans = append(d.spans, [2]int{start, 0})
	if open, ok := token.(json.Delim); ok {
		for dec.More() {
			if open == '{' {
				if _, err := dec.Token(); err != nil {
					return err
				}
			}
			if err := d.value(dec); err != nil {
				return err
			}
		}
		if _, err := dec.Token(); err != nil {
			return err
		}
	}
	d.spans[i][1] = int(dec.InputOffset())
	return nil
}

// YAML returns a good document of YAML as JSON, which is YAML too (YAML 1.2.2 §1.3) and
// is still after it was edited, and the first line of the good one up to its colon.
func YAML(f *testing.F, good []byte) (text, first []byte) {
	f.Helper()
	var document any
	if err := yaml.Unmarshal(good, &document); err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		f.Fatal(err)
	}
	return text, good[:bytes.IndexByte(good, ':')+1]
}

// literals are values that parsers of signed documents are wrong about.
var literals = []string{`null`, `true`, `false`, `0`, `-1`, `1`, `9007199254740993`, `18446744073709551616`, `1.0`, `1e400`, `""`, `"\u0000"`, `[]`, `{}`, `{"a":1,"a":2}`, `[[[[[[[[[[]]]]]]]]]]`}

// Edit returns the document with the values exchanged that script names, at most 4: an
// edit is a value (two bytes, modulo their number), what comes in its place (a byte),
// and what that takes. It stays JSON, but for edits of raw bytes, which one in 64
// is. The empty script leaves the document as it is.
func (d Document) Edit(edits []byte) []byte {
	type change struct {
		span [2]int
		text []byte
	}
	var changes []change
	s := script(edits)
	for range maxEdits {
		if len(s) < 3 {
			break
		}
		span := d.spans[s.next(2)%len(d.spans)]
		old := d.text[span[0]:span[1]]
		var text []byte
		switch what := s.next(1); what & 15 {
		case 0, 1, 2, 3:
			text = []byte(literals[(what>>4+what)%len(literals)])
		case 4, 5, 6: // another value of the document
			other := d.spans[s.next(2)%len(d.spans)]
			text = d.text[other[0]:other[1]]
		case 7, 8: // a number
			text = strconv.AppendInt(nil, int64(s.next(what>>4%8+1)), 10)
		case 9, 10: // a text
			text, _ = json.Marshal(string(s.bytes(what >> 3)))
		case 11, 12, 13: // the old text with its inside edited: the same kind, another value
			text = old
			if len(old) > 2 && old[0] == '"' {
				inside := string(Edit(old[1:len(old)-1], s.bytes(what>>4+5)))
				text, _ = json.Marshal(inside)
			} else if len(old) > 0 && (old[0] == '-' || old[0] >= '0' && old[0] <= '9') {
				text = append(bytes.Clone(old), strconv.Itoa(s.next(1))...)
			}
		case 14: // the value twice, which only an array may hold
			text = slices.Concat([]byte("["), old, []byte(","), old, []byte("]"))
		case 15:
			if text = old; what>>4 < 4 {
				text = Edit(old, s.bytes(what>>3+4))
			}
		}
		changes = append(changes, change{span, text})
	}
	// The later in the text first; of one value in another the inner, of the same value the first counts.
	slices.SortStableFunc(changes, func(a, b change) int { return b.span[0] - a.span[0] })
	out, end := bytes.Clone(d.text), len(d.text)
	for _, c := range changes {
		if c.span[1] <= end {
			out = slices.Replace(out, c.span[0], c.span[1], c.text...)
			end = c.span[0]
		}
	}
	return out
}
