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
	"io"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of a document.
const MaxDepth = 64

// Check walks one document of at most maxValues values.
func Check(data []byte, maxValues int) error {
	if !utf8.Valid(data) {
		return errors.New("want JSON, got bytes that are not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	w := walk{dec: dec, left: maxValues}
	if err := w.value(0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("want one JSON document, got something after it")
	}
	return nil
}

type walk struct {
	dec  *json.Decoder
	left int
}

func (w *walk) value(depth int) error {
	if w.left--; w.left < 0 {
		return errors.New("JSON with too many values")
	}
	if depth > MaxDepth {
		return fmt.Errorf("JSON nested deeper than %d", MaxDepth)
	}
	t, err := w.dec.Token()
	if err != nil {
		return fmt.Errorf("want JSON: %w", err)
	}
	switch t {
	case json.Delim('{'):
		err = w.members(depth)
	case json.Delim('['):
		for err == nil && w.dec.More() {
			err = w.value(depth + 1)
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := w.dec.Token(); err != nil { // the closing bracket
		return fmt.Errorf("want JSON: %w", err)
	}
	return nil
}

func (w *walk) members(depth int) error {
	var seen map[string]bool
	for w.dec.More() {
		key, err := w.dec.Token()
		if err != nil {
			return fmt.Errorf("want JSON: %w", err)
		}
		name, ok := key.(string)
		if !ok {
			return errors.New("want JSON: a member without a name")
		}
		if seen[name] {
			return fmt.Errorf("duplicate member %q", name[:min(len(name), 64)])
		}
		if seen == nil {
			seen = make(map[string]bool)
		}
		seen[name] = true
		if err := w.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}
