// SPDX-License-Identifier: Apache-2.0

package predicate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/assayd/assay/verdict"
)

// Limits of a statement.
const (
	maxDepth  = 64
	maxValues = 1 << 21
)

// A statement is one that was decoded.
type statement struct {
	predicateType string
	predicate     any
	subject       any
}

// parse decodes the payload of a statement: UTF-8, no duplicate members, nothing
// after it. The error is a refusal with input.malformed.
func parse(payload []byte) (*statement, error) {
	v, err := decode(payload)
	if err != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading statement: %w", err)
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading statement: want a JSON object")
	}
	s := &statement{predicate: o["predicate"], subject: o["subject"]}
	s.predicateType, _ = o["predicateType"].(string)
	return s, nil
}

// decode reads one JSON document; whole numbers are int64, others float64.
func decode(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("want JSON, got bytes that are not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	r := reader{dec: dec, left: maxValues}
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one JSON document, got something after it")
	}
	return v, nil
}

type reader struct {
	dec  *json.Decoder
	left int
}

func (r *reader) value(depth int) (any, error) {
	if r.left--; r.left < 0 {
		return nil, errors.New("JSON with too many values")
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("JSON nested deeper than %d", maxDepth)
	}
	t, err := r.dec.Token()
	if err != nil {
		return nil, fmt.Errorf("want JSON: %w", err)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return r.object(depth)
		}
		return r.array(depth)
	case json.Number:
		return number(t)
	}
	return t, nil
}

func (r *reader) object(depth int) (any, error) {
	o := make(map[string]any)
	for r.dec.More() {
		key, err := r.dec.Token()
		if err != nil {
			return nil, fmt.Errorf("want JSON: %w", err)
		}
		name, ok := key.(string)
		if !ok {
			return nil, errors.New("want JSON: a member without a name")
		}
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("duplicate member %q", clip(name))
		}
		if o[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := r.dec.Token() // the closing brace
	return o, err
}

func (r *reader) array(depth int) (any, error) {
	list := []any{}
	for r.dec.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := r.dec.Token()
	return list, err
}

func number(n json.Number) (any, error) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("number %q is out of range", clip(n.String()))
	}
	return f, nil
}

// clip bounds what an error quotes.
func clip(s string) string { return s[:min(len(s), 64)] }

// at walks into objects by member names; what is not there is nil.
func at(v any, names ...string) any {
	for _, n := range names {
		o, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = o[n]
	}
	return v
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}
