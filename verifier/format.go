// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	_ "embed" // the schema
	"fmt"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/assayd/assay/internal/strictyaml"
)

//go:embed policy.schema.json
var policySchema []byte

// PolicySchema returns a JSON Schema (draft 2020-12) of the policy file, for
// editors. What [ParsePolicy] checks beyond the form is not in it.
func PolicySchema() []byte { return bytes.Clone(policySchema) }

// FormatPolicy returns a policy in the one layout: two blanks of indent, keys in
// the order of their reference, comments where they were. Name is for messages.
// What [ParsePolicy] refuses is refused.
func FormatPolicy(name string, data []byte) ([]byte, error) {
	if _, err := ParsePolicy(name, data); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	order(&doc, reflect.TypeFor[Policy]())
	out, err := encodeYAML(&doc)
	if err != nil {
		return nil, err
	}
	// A layout that meant something else would be a fault of ours.
	before, err := decodePolicy(name, data)
	if err != nil {
		return nil, err
	}
	after, err := decodePolicy(name, out)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(before, after) {
		return nil, fmt.Errorf("formatting policy: it would mean something else")
	}
	return out, nil
}

func decodePolicy(name string, data []byte) (*Policy, error) {
	p := &Policy{}
	_, err := strictyaml.Decode(name, data, p)
	return p, err
}

// order sorts the keys of a mapping as the fields of its type stand; names that
// the writer chose keep their order.
func order(n *yaml.Node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			order(c, t)
		}
	case yaml.SequenceNode:
		if t.Kind() == reflect.Slice {
			for _, c := range n.Content {
				order(c, t.Elem())
			}
		}
	case yaml.MappingNode:
		switch t.Kind() {
		case reflect.Map:
			for i := 1; i < len(n.Content); i += 2 {
				order(n.Content[i], t.Elem())
			}
		case reflect.Struct:
			fields := make(map[string]int)
			for i := range t.NumField() {
				fields[t.Field(i).Tag.Get("yaml")] = i
			}
			var pairs [][2]*yaml.Node
			for i := 0; i+1 < len(n.Content); i += 2 {
				if f, ok := fields[n.Content[i].Value]; ok {
					order(n.Content[i+1], t.Field(f).Type)
				}
				pairs = append(pairs, [2]*yaml.Node{n.Content[i], n.Content[i+1]})
			}
			slices.SortStableFunc(pairs, func(a, b [2]*yaml.Node) int { return fields[a[0].Value] - fields[b[0].Value] })
			n.Content = n.Content[:0]
			for _, p := range pairs {
				n.Content = append(n.Content, p[0], p[1])
			}
		default:
		}
	default:
	}
}
