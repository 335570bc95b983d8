// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/assayd/assay/verdict"
)

// maxDepth bounds the nesting of JSON that is read here: the deepest has six
// levels.
const maxDepth = 16

// unmarshal decodes one JSON value into v and nothing more. Duplicate and unknown
// members are refused; all member names of ours are lower case, so names with
// another case are refused too, where encoding/json would take them. The error
// begins with line:column.
func unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if offset, err := walk(d, 0, true); err != nil {
		return fmt.Errorf("%s: %w", position(data, offset), plain(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: bytes after the end", position(data, d.InputOffset()))
	}
	d = json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		offset := d.InputOffset()
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			offset = t.Offset
		}
		return fmt.Errorf("%s: %w", position(data, offset), plain(err))
	}
	return nil
}

// walk reads one value and refuses duplicate member names, and where lower is set
// names that are not lower case. It returns the offset of what it refuses.
func walk(d *json.Decoder, depth int, lower bool) (int64, error) {
	if depth > maxDepth {
		return d.InputOffset(), fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return d.InputOffset(), err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return 0, nil
	}
	names := map[string]bool{}
	for d.More() {
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return d.InputOffset(), err
			}
			name, _ := token.(string)
			if names[name] {
				return d.InputOffset(), fmt.Errorf("duplicate member %.64q", name)
			}
			if lower && name != strings.ToLower(name) {
				return d.InputOffset(), fmt.Errorf("unknown member %.64q", name)
			}
			names[name] = true
		}
		if offset, err := walk(d, depth+1, lower); err != nil {
			return offset, err
		}
	}
	if _, err := d.Token(); err != nil {
		return d.InputOffset(), err
	}
	return 0, nil
}

// descriptorDigest reads the digest of an OCI descriptor, whose other members may
// be any.
func descriptorDigest(data []byte) (verdict.Digest, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := walk(d, 0, false); err != nil {
		return "", plain(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("bytes after the end")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return "", plain(err)
	}
	var text string
	if err := json.Unmarshal(members["digest"], &text); err != nil {
		return "", errors.New("it has no digest")
	}
	return verdict.ParseDigest(text)
}

// plain takes the package name out of an error of encoding/json, and bounds it.
func plain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if len(text) > 256 {
		text = text[:256]
	}
	return errors.New(text)
}

// position returns line:column, both from 1, of an offset in bytes.
func position(data []byte, offset int64) string {
	before := data[:min(max(offset, 0), int64(len(data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("%d:%d", line, column)
}
