// SPDX-License-Identifier: Apache-2.0

// Package strictjson refuses JSON that two readers could read differently:
// duplicate members at any depth, bytes that are not UTF-8, anything after the
// document. [Check] is the entry point.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of a document.
const MaxDepth = 64

// Check walks one document of at most maxValues values. It is a reader of its own,
// which keeps nothing but names: the standard library's tokens take seven times
// as long (BenchmarkCheck). The tests compare the two.
func Check(data []byte, maxValues int) error {
	if !utf8.Valid(data) {
		return errors.New("want JSON, got bytes that are not UTF-8")
	}
	w := walk{data: data, left: maxValues}
	i, err := w.value(0, 0)
	if err != nil {
		return err
	}
	if i = skipSpace(data, i); i < len(data) {
		return w.syntax(i)
	}
	return nil
}

type walk struct {
	data []byte
	left int // values that may still come
}

// syntax is what is wrong at byte i.
func (w *walk) syntax(i int) error {
	if i >= len(w.data) {
		return errors.New("want one JSON document, got a part of one")
	}
	return fmt.Errorf("want one JSON document, got %.16q at byte %d", w.data[i:], i)
}

// value walks the value that begins at i, and returns the index after it.
func (w *walk) value(i, depth int) (int, error) {
	if i = skipSpace(w.data, i); i >= len(w.data) {
		return 0, w.syntax(i)
	}
	if w.left--; w.left < 0 {
		return 0, errors.New("JSON with too many values")
	}
	if depth > MaxDepth {
		return 0, fmt.Errorf("JSON nested deeper than %d", MaxDepth)
	}
	switch c := w.data[i]; {
	case c == '{':
		return w.members(i+1, depth)
	case c == '[':
		return w.elements(i+1, depth)
	case c == '"':
		end, _, err := w.text(i)
		return end, err
	case c == '-' || isDigit(c):
		return w.number(i)
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(w.data[i:], []byte(word)) {
			return i + len(word), nil
		}
	}
	return 0, w.syntax(i)
}

// members walks an object after its brace.
func (w *walk) members(i, depth int) (int, error) {
	var seen names
	if i = skipSpace(w.data, i); i < len(w.data) && w.data[i] == '}' {
		return i + 1, nil
	}
	for {
		if i = skipSpace(w.data, i); i >= len(w.data) || w.data[i] != '"' {
			return 0, w.syntax(i)
		}
		end, escaped, err := w.text(i)
		if err == nil {
			err = seen.add(w.data[i:end], escaped)
		}
		if err != nil {
			return 0, err
		}
		if i = skipSpace(w.data, end); i >= len(w.data) || w.data[i] != ':' {
			return 0, w.syntax(i)
		}
		if i, err = w.value(i+1, depth+1); err != nil {
			return 0, err
		}
		if i = skipSpace(w.data, i); i >= len(w.data) || w.data[i] != ',' && w.data[i] != '}' {
			return 0, w.syntax(i)
		}
		if w.data[i] == '}' {
			return i + 1, nil
		}
		i++
	}
}

// elements walks an array after its bracket.
func (w *walk) elements(i, depth int) (int, error) {
	if i = skipSpace(w.data, i); i < len(w.data) && w.data[i] == ']' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = w.value(i, depth+1); err != nil {
			return 0, err
		}
		if i = skipSpace(w.data, i); i >= len(w.data) || w.data[i] != ',' && w.data[i] != ']' {
			return 0, w.syntax(i)
		}
		if w.data[i] == ']' {
			return i + 1, nil
		}
		i++
	}
}

// text walks the string that begins at i (RFC 8259 §7).
func (w *walk) text(i int) (end int, escaped bool, err error) {
	for i++; i < len(w.data); i++ {
		switch c := w.data[i]; {
		case c == '"':
			return i + 1, escaped, nil
		case c < 0x20:
			return 0, false, w.syntax(i)
		case c == '\\':
			escaped = true
			if i++; i >= len(w.data) {
				return 0, false, w.syntax(i)
			}
			switch w.data[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; i >= len(w.data) || !isHex(w.data[i]) {
						return 0, false, w.syntax(i)
					}
				}
			default:
				return 0, false, w.syntax(i)
			}
		}
	}
	return 0, false, w.syntax(i)
}

// number walks the number that begins at i (RFC 8259 §6).
func (w *walk) number(i int) (int, error) {
	digits := func() error {
		begin := i
		for i < len(w.data) && isDigit(w.data[i]) {
			i++
		}
		if i == begin {
			return w.syntax(i)
		}
		return nil
	}
	if w.data[i] == '-' {
		i++
	}
	if i < len(w.data) && w.data[i] == '0' {
		i++ // no digit follows a leading zero
	} else if err := digits(); err != nil {
		return 0, err
	}
	if i < len(w.data) && w.data[i] == '.' {
		i++
		if err := digits(); err != nil {
			return 0, err
		}
	}
	if i < len(w.data) && (w.data[i] == 'e' || w.data[i] == 'E') {
		if i++; i < len(w.data) && (w.data[i] == '+' || w.data[i] == '-') {
			i++
		}
		if err := digits(); err != nil {
			return 0, err
		}
	}
	return i, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

func isDelimiter(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ':', '}', ']':
		return true
	}
	return false
}

// stringEnd returns the index after the string that begins at i, and whether it
// has escapes.
func stringEnd(data []byte, i int) (end int, escaped bool) {
	for i++; i < len(data); {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			break
		}
		slash := bytes.IndexByte(data[i:i+n], '\\')
		if slash < 0 {
			return i + n + 1, escaped
		}
		escaped = true
		i += slash + 2
	}
	return len(data) + 1, escaped
}

// Members returns the members of an object as they are written. The document that
// the object is part of has to have passed [Check]: what is no JSON is not
// noticed here. The error says that data is no object.
func Members(data []byte) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage)
	err := Each(data, func(name []byte, value json.RawMessage) { out[string(name)] = value })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Each calls member for each member of an object, as [Members] has them.
func Each(data []byte, member func(name []byte, value json.RawMessage)) error {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return fmt.Errorf("want a JSON object, got %.16q", data[min(i, len(data)):])
	}
	for i = skipSpace(data, i+1); i < len(data) && data[i] == '"'; i = skipSpace(data, i) {
		end, escaped := stringEnd(data, i)
		if end > len(data) {
			break
		}
		name := data[i+1 : end-1]
		if escaped {
			var text string
			if err := json.Unmarshal(data[i:end], &text); err != nil {
				return fmt.Errorf("want JSON: %w", err)
			}
			name = []byte(text)
		}
		i = skipSpace(data, end)
		if i >= len(data) || data[i] != ':' {
			break
		}
		start := skipSpace(data, i+1)
		i = valueEnd(data, start)
		member(name, data[start:i:i])
		i = skipSpace(data, i)
		if i < len(data) && data[i] == ',' {
			i++
		}
	}
	if i >= len(data) || data[i] != '}' {
		return errors.New("want a JSON object")
	}
	return nil
}

// Elements returns the elements of an array as they are written, or false where
// data is none. As for [Members], the document has to have passed [Check].
func Elements(data []byte) ([]json.RawMessage, bool) {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '[' {
		return nil, false
	}
	out := []json.RawMessage{}
	for i = skipSpace(data, i+1); i < len(data) && data[i] != ']'; i = skipSpace(data, i) {
		start := i
		i = valueEnd(data, start)
		out = append(out, data[start:i:i])
		if i = skipSpace(data, i); i < len(data) && data[i] == ',' {
			i = skipSpace(data, i+1)
		}
	}
	return out, i < len(data)
}

// Plain returns the string in data, or false where data is none or has escapes. As
// for [Members], the document has to have passed [Check].
func Plain(data []byte) (string, bool) {
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' || bytes.IndexByte(data, '\\') >= 0 {
		return "", false
	}
	return string(data[1 : len(data)-1]), true
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\r' || data[i] == '\n') {
		i++
	}
	return i
}

// valueEnd returns the index after the value that begins at i.
func valueEnd(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			end, _ := stringEnd(data, i)
			i = min(end, len(data))
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ' ', '\t', '\r', '\n', ',', ':':
			i++
			continue
		default:
			for i < len(data) && !isDelimiter(data[i]) {
				i++
			}
		}
		if depth <= 0 {
			return i
		}
	}
	return len(data)
}

// fewNames are compared one by one, which is faster than a map.
const fewNames = 8

// names are the names of one object, decoded.
type names struct {
	few   [fewNames][]byte
	count int // of few
	many  map[string]bool
}

// add takes a name with its quotes, and refuses one that is there.
func (n *names) add(quoted []byte, escaped bool) error {
	name := quoted[1 : len(quoted)-1]
	if escaped {
		var text string
		if err := json.Unmarshal(quoted, &text); err != nil {
			return fmt.Errorf("want JSON: %w", err)
		}
		name = []byte(text)
	}
	there := n.many[string(name)]
	for _, other := range n.few[:n.count] {
		there = there || bytes.Equal(other, name)
	}
	if there {
		return fmt.Errorf("duplicate member %q", name[:min(len(name), 64)])
	}
	if n.count < fewNames {
		n.few[n.count] = name
		n.count++
		return nil
	}
	if n.many == nil {
		n.many = make(map[string]bool)
	}
	n.many[string(name)] = true
	return nil
}
