// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Encode returns the policy as a file, with what is absent left out. It does not
// check it.
func (p *Policy) Encode() ([]byte, error) {
	n, err := yamlNode(reflect.ValueOf(*p))
	if err != nil {
		return nil, err
	}
	return encodeYAML(n)
}

func encodeYAML(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(n); err != nil {
		return nil, fmt.Errorf("encoding policy: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("encoding policy: %w", err)
	}
	return b.Bytes(), nil
}

// yamlNode makes a node of a value of a policy's types, or nil of a zero one.
func yamlNode(v reflect.Value) (*yaml.Node, error) {
	if !v.IsValid() || v.IsZero() {
		return nil, nil //nolint:nilnil // absent, which is no error
	}
	scalar := func(tag, value string) (*yaml.Node, error) {
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
		if strings.Contains(value, "\n") {
			n.Style = yaml.LiteralStyle
		}
		return n, nil
	}
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		return scalar("!!timestamp", t.UTC().Format(time.RFC3339))
	}
	switch v.Kind() {
	case reflect.Pointer:
		n, err := yamlNode(v.Elem())
		if n == nil && err == nil { // an empty object that is there says something
			n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle}
		}
		return n, err
	case reflect.String:
		return scalar("!!str", v.String())
	case reflect.Int:
		return scalar("!!int", strconv.FormatInt(v.Int(), 10))
	case reflect.Bool:
		return scalar("!!bool", strconv.FormatBool(v.Bool()))
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if s, ok := reflect.TypeAssert[[]string](v); ok && !slices.ContainsFunc(s, func(e string) bool { return len(e) > 64 || strings.Contains(e, "\n") }) {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			e, err := yamlNode(v.Index(i))
			if err != nil {
				return nil, err
			}
			if e != nil {
				n.Content = append(n.Content, e)
			}
		}
		return n, nil
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		m := make(map[string]reflect.Value)
		for k, e := range v.Seq2() {
			m[k.String()] = e
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			e, err := yamlNode(m[k])
			if err != nil {
				return nil, err
			}
			if e == nil {
				continue
			}
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: k}, e)
		}
		return n, nil
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("yaml")
			if name == "" || !v.Type().Field(i).IsExported() {
				continue
			}
			e, err := yamlNode(v.Field(i))
			if err != nil {
				return nil, err
			}
			if e != nil {
				n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, e)
			}
		}
		return n, nil
	}
	return nil, fmt.Errorf("encoding policy: no form for %s", v.Type())
}
