// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// maxDepth bounds nesting: the deepest of our formats has seven levels.
const maxDepth = 16

// maxInteger is 2⁵³−1, the largest integer that every JSON reader keeps
// exactly (RFC 8785 §3.2.2.3, RFC 7493 §2.2).
const maxInteger = 1<<53 - 1

// encode returns the RFC 8785 form of v. Most of our structs list their members
// in order, so that encoding/json writes that form by itself; what it does not
// (other order, U+2028) is written anew.
func encode(v any) ([]byte, error) {
	raw, err := marshal(v)
	if err != nil {
		return nil, err
	}
	if checkCanonical(raw) == nil {
		return raw, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	out, err := appendCanonical(make([]byte, 0, len(raw)), tree)
	if err != nil {
		return nil, err
	}
	if err := checkCanonical(out); err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return out, nil
}

// marshal returns what encoding/json writes, without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func appendCanonical(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names) // member names are ASCII: byte order is UTF-16 order
		b = append(b, '{')
		for i, name := range names {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			var err error
			if b, err = appendCanonical(b, v[name]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendCanonical(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case string:
		return appendString(b, v), nil
	case json.Number:
		return append(b, v...), nil
	case bool:
		if v {
			return append(b, "true"...), nil
		}
		return append(b, "false"...), nil
	default:
		return nil, errors.New("encoding: null has no place in a signed format")
	}
}

// appendString writes s as RFC 8785 §3.2.2.2 demands: only what must be
// escaped is, and in one way.
func appendString(b []byte, s string) []byte {
	const hexa = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hexa[c>>4], hexa[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// decode turns data into a T. It refuses, in this order: too many bytes,
// invalid UTF-8, anything but the RFC 8785 form (white space, member order,
// duplicate members, escapes, null, floats, numbers beyond 2⁵³−1, trailing
// bytes), unknown members, wrong types, and members that a T does not write
// back the same way (other case, empty where it should be absent). On error the
// zero T is returned.
func decode[T any](data []byte, limit int) (T, error) {
	var zero, v T
	if len(data) > limit {
		return zero, fmt.Errorf("%d bytes, want at most %d", len(data), limit)
	}
	if err := checkCanonical(data); err != nil {
		return zero, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return zero, fmt.Errorf("decoding: %s", clipTo(err.Error(), 256))
	}
	// What data has and T has not is missing from what T writes.
	if again, err := marshal(v); err == nil && bytes.Equal(again, data) {
		return v, nil
	}
	again, err := encode(v)
	if err != nil {
		return zero, err
	}
	if bytes.Equal(again, data) {
		return v, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(new(T)); err != nil {
		return zero, fmt.Errorf("decoding: %s", clipTo(err.Error(), 256))
	}
	return zero, errors.New("not in canonical form: a member is missing, empty, or misspelt in case")
}

// checkCanonical refuses what is not one RFC 8785 value without null and
// without numbers other than integers from 0 to 2⁵³−1. One pass, no allocation.
func checkCanonical(data []byte) error {
	if len(data) == 0 {
		return errors.New("empty")
	}
	if !utf8.Valid(data) {
		return errors.New("not valid UTF-8")
	}
	s := scanner{data: data}
	if err := s.value(0); err != nil {
		return fmt.Errorf("byte %d: %w", s.pos, err)
	}
	if s.pos != len(data) {
		return fmt.Errorf("byte %d: bytes after the end", s.pos)
	}
	return nil
}

// A scanner walks canonical JSON.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, err := s.str()
		return err
	case c >= '0' && c <= '9':
		return s.number()
	case bytes.HasPrefix(s.data[s.pos:], []byte("true")):
		s.pos += len("true")
		return nil
	case bytes.HasPrefix(s.data[s.pos:], []byte("false")):
		s.pos += len("false")
		return nil
	case bytes.HasPrefix(s.data[s.pos:], []byte("null")):
		return errors.New("null")
	default:
		return errors.New("not canonical JSON")
	}
}

func (s *scanner) object(depth int) error {
	s.pos++
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	var last []byte
	for first := true; ; first = false {
		if s.peek() != '"' {
			return errors.New("not canonical JSON, want a member name")
		}
		name, err := s.str()
		if err != nil {
			return err
		}
		for _, c := range name {
			// Without escapes the order of raw bytes is that of RFC 8785 §3.2.3,
			// and two names are equal only where their bytes are.
			if c > 0x7e || c == '\\' {
				return errors.New("member name is not plain ASCII")
			}
		}
		if !first {
			switch bytes.Compare(last, name) {
			case 0:
				return errors.New("duplicate member")
			case 1:
				return errors.New("members are not sorted")
			}
		}
		last = name
		if s.peek() != ':' {
			return errors.New("not canonical JSON, want a colon")
		}
		s.pos++
		if err := s.value(depth + 1); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return errors.New("not canonical JSON, want a comma or a brace")
		}
	}
}

func (s *scanner) array(depth int) error {
	s.pos++
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(depth + 1); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return errors.New("not canonical JSON, want a comma or a bracket")
		}
	}
}

// str returns the raw bytes between the quotes.
func (s *scanner) str() ([]byte, error) {
	s.pos++
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1], nil
		case c < 0x20:
			return nil, errors.New("control character in a string")
		case c == '\\':
			n, ok := escape(s.data[s.pos:])
			if !ok {
				return nil, errors.New("escape that is not canonical")
			}
			s.pos += n
		default:
			s.pos++
		}
	}
	return nil, errors.New("string without an end")
}

// escape returns the length of the canonical escape that b begins with.
func escape(b []byte) (n int, ok bool) {
	if len(b) < 2 {
		return 0, false
	}
	switch b[1] {
	case '"', '\\', 'b', 't', 'n', 'f', 'r':
		return 2, true
	case 'u':
		if len(b) < 6 || b[2] != '0' || b[3] != '0' || (b[4] != '0' && b[4] != '1') {
			return 0, false
		}
		low := b[5]
		if (low < '0' || low > '9') && (low < 'a' || low > 'f') {
			return 0, false
		}
		if b[4] == '0' && (low == '8' || low == '9' || low == 'a' || low == 'c' || low == 'd') {
			return 0, false // \b \t \n \f \r have their short form
		}
		return 6, true
	default:
		return 0, false
	}
}

func (s *scanner) number() error {
	start, n := s.pos, uint64(0)
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		n = n*10 + uint64(s.data[s.pos]-'0')
		if n > maxInteger {
			return errors.New("number beyond 2⁵³−1")
		}
		s.pos++
	}
	if s.data[start] == '0' && s.pos-start > 1 {
		return errors.New("number with a leading zero")
	}
	if c := s.peek(); c == '.' || c == 'e' || c == 'E' {
		return errors.New("number is not an integer")
	}
	return nil
}
