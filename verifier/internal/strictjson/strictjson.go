// SPDX-License-Identifier: Apache-2.0

// Package strictjson refuses JSON that two readers could read differently:
// duplicate members at any depth, bytes that are not UTF-8, anything after the
// document. [Check] is the entry point.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of a document.
const MaxDepth = 64

// Check walks one document of at most maxValues values. The standard library
// says whether it is JSON; what is left is to find its names, which takes a
// fraction of the time of the library's tokens.
func Check(data []byte, maxValues int) error {
	if !utf8.Valid(data) {
		return errors.New("want JSON, got bytes that are not UTF-8")
	}
	if !json.Valid(data) {
		return fmt.Errorf("want one JSON document: %w", json.Unmarshal(data, new(json.RawMessage)))
	}
	w := walk{data: data, left: maxValues}
	return w.document()
}

// A level is an object or array that is open.
type level struct {
	isObject bool
	inName   bool // the next string is a name
	names    names
}

type walk struct {
	data   []byte
	left   int // values that may still come
	levels []level
}

// document walks data, which is JSON (RFC 8259).
func (w *walk) document() error {
	for i := 0; i < len(w.data); {
		var top *level
		if n := len(w.levels); n > 0 {
			top = &w.levels[n-1]
		}
		c := w.data[i]
		switch c {
		case ' ', '\t', '\r', '\n':
			i++
		case ':':
			top.inName = false
			i++
		case ',':
			top.inName = top.isObject
			i++
		case '}', ']':
			w.levels = w.levels[:len(w.levels)-1]
			i++
		case '{', '[':
			if err := w.value(); err != nil {
				return err
			}
			w.levels = append(w.levels, level{isObject: c == '{', inName: c == '{'})
			i++
		case '"':
			end, escaped := stringEnd(w.data, i)
			if top == nil || !top.inName {
				if err := w.value(); err != nil {
					return err
				}
			} else if err := top.names.add(w.data[i:end], escaped); err != nil {
				return err
			}
			i = end
		default:
			if err := w.value(); err != nil {
				return err
			}
			for i < len(w.data) && !isDelimiter(w.data[i]) {
				i++
			}
		}
	}
	return nil
}

// value counts one value at the depth that is open.
func (w *walk) value() error {
	if w.left--; w.left < 0 {
		return errors.New("JSON with too many values")
	}
	if len(w.levels) > MaxDepth {
		return fmt.Errorf("JSON nested deeper than %d", MaxDepth)
	}
	return nil
}

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
	for i++; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			escaped = true
			i++
		}
	}
	return i + 1, escaped
}

// Members returns the members of an object as they are written. The document that
// the object is part of has to have passed [Check]: what is no JSON is not
// noticed here. The error says that data is no object.
func Members(data []byte) (map[string]json.RawMessage, error) {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return nil, fmt.Errorf("want a JSON object, got %.16q", data[min(i, len(data)):])
	}
	out := make(map[string]json.RawMessage)
	for i = skipSpace(data, i+1); i < len(data) && data[i] == '"'; i = skipSpace(data, i) {
		end, escaped := stringEnd(data, i)
		if end > len(data) {
			break
		}
		name := string(data[i+1 : end-1])
		if escaped {
			if err := json.Unmarshal(data[i:end], &name); err != nil {
				return nil, fmt.Errorf("want JSON: %w", err)
			}
		}
		i = skipSpace(data, end)
		if i >= len(data) || data[i] != ':' {
			break
		}
		start := skipSpace(data, i+1)
		i = valueEnd(data, start)
		out[name] = data[start:i:i]
		i = skipSpace(data, i)
		if i < len(data) && data[i] == ',' {
			i++
		}
	}
	if i >= len(data) || data[i] != '}' {
		return nil, errors.New("want a JSON object")
	}
	return out, nil
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
	few  []string
	many map[string]bool
}

// add takes a name with its quotes, and refuses one that is there.
func (n *names) add(quoted []byte, escaped bool) error {
	name := string(quoted[1 : len(quoted)-1])
	if escaped {
		if err := json.Unmarshal(quoted, &name); err != nil {
			return fmt.Errorf("want JSON: %w", err)
		}
	}
	there := n.many[name]
	for _, other := range n.few {
		there = there || other == name
	}
	if there {
		return fmt.Errorf("duplicate member %q", name[:min(len(name), 64)])
	}
	if n.many == nil && len(n.few) < fewNames {
		n.few = append(n.few, name)
		return nil
	}
	if n.many == nil {
		n.many = make(map[string]bool)
	}
	n.many[name] = true
	return nil
}
