// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Limits of what we decide on.
const (
	maxJSONDepth = 64
	// maxManifestValues and maxStatementValues bound the values in a document,
	// so that four megabytes of "{}," do not become a hundred of memory.
	maxManifestValues  = 1 << 16
	maxStatementValues = 1 << 21
)

// An object is one JSON object with exact member names. A map, because
// encoding/json matches the fields of a struct without regard to case and
// keeps the last of duplicates: two readers would see two things.
type object map[string]json.RawMessage

// parseObject reads a whole document that is one object: UTF-8, no duplicate
// members at any depth, nothing after it.
func parseObject(data []byte, maxValues int) (object, error) {
	if err := checkJSON(data, maxValues); err != nil {
		return nil, err
	}
	return part(data)
}

// part reads an object inside a document that was checked.
func part(data []byte) (object, error) {
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	if o == nil {
		return nil, errors.New("want a JSON object, got null")
	}
	return o, nil
}

// optional decodes the member name into v, and leaves v as it is when the
// member is absent or null.
func (o object) optional(name string, v any) error {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("member %q is not of the right type", name)
	}
	return nil
}

// checkJSON walks a document once.
func checkJSON(data []byte, maxValues int) error {
	if !utf8.Valid(data) {
		return errors.New("want JSON, got bytes that are not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	w := jsonWalk{dec: dec, left: maxValues}
	if err := w.value(0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("want one JSON document, got something after it")
	}
	return nil
}

type jsonWalk struct {
	dec  *json.Decoder
	left int
}

func (w *jsonWalk) value(depth int) error {
	if w.left--; w.left < 0 {
		return errors.New("JSON with too many values")
	}
	if depth > maxJSONDepth {
		return fmt.Errorf("JSON nested deeper than %d", maxJSONDepth)
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

func (w *jsonWalk) members(depth int) error {
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
			return fmt.Errorf("duplicate member %q", clipQuote(name))
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
