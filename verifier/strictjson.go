// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/json"
	"fmt"

	"github.com/assayd/assay/verifier/internal/strictjson"
)

// Limits of what we decide on.
const (
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
func part(data []byte) (object, error) { return strictjson.Members(data) }

// optional decodes the member name into v, and leaves v as it is when the
// member is absent or null.
func (o object) optional(name string, v any) error { return decodeMember(name, o[name], v) }

// decodeMember is optional for a member that is raw, which is nil when absent.
func decodeMember(name string, raw json.RawMessage, v any) error {
	if raw == nil || decodePlain(raw, v) {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("member %q is not of the right type", name)
	}
	return nil
}

// decodePlain decodes what statements are made of as the standard library does, and
// says where it is not that plain. The document was checked.
func decodePlain(raw json.RawMessage, v any) bool {
	switch v := v.(type) {
	case *string:
		text, ok := strictjson.Plain(raw)
		if ok {
			*v = text
		}
		return ok
	case *[]json.RawMessage:
		list, ok := strictjson.Elements(raw)
		if ok {
			*v = list
		}
		return ok
	case *map[string]string:
		texts, plain := map[string]string{}, *v == nil
		err := strictjson.Each(raw, func(name []byte, value json.RawMessage) {
			text, ok := strictjson.Plain(value)
			plain = plain && ok
			texts[string(name)] = text
		})
		if err != nil || !plain {
			return false
		}
		*v = texts
		return true
	}
	return false
}

// checkJSON walks a document once.
func checkJSON(data []byte, maxValues int) error { return strictjson.Check(data, maxValues) }
