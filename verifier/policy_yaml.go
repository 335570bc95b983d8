// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/assayd/assay/verdict"
)

// maxYAMLDepth bounds the nesting of a policy; ours needs 6.
const maxYAMLDepth = 16

// A yamlFile decodes one YAML document strictly into a struct: unknown and
// duplicate keys, wrong types, null, aliases and further documents are misuse
// at file:line:column. Positions come from yaml.Node, so that the file's own
// decoder never has to guess what was meant.
type yamlFile struct {
	name string
	// at remembers where each decoded field stood, by its address-free path
	// ("rules[2].mode"), for checks that come after decoding.
	at map[string]*yaml.Node
}

// decode reads data into the struct that v points at.
func (f *yamlFile) decode(data []byte, v any) error {
	f.at = make(map[string]*yaml.Node)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return verdict.Misused("", "%s: the file is empty", f.name)
		}
		return f.syntax(err)
	}
	// A second document would be dropped in silence.
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return verdict.Misused("keep one document per file", "%s: more than one YAML document", f.name)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return verdict.Misused("", "%s: not a YAML document", f.name)
	}
	return f.value(doc.Content[0], reflect.ValueOf(v).Elem(), "", 0)
}

// syntax turns "yaml: line 3: …" into file:line:column. The parser has no
// column; 1 is where to look.
func (f *yamlFile) syntax(err error) error {
	text, hint := strings.TrimPrefix(err.Error(), "yaml: "), ""
	if strings.Contains(text, "cannot start any token") {
		hint = "indent with spaces, not with tabs, and quote values that begin with @, ` or %"
	}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if n, msg, ok := strings.Cut(rest, ": "); ok {
			return verdict.Misused(hint, "%s:%s:1: %s", f.name, n, msg)
		}
	}
	return verdict.Misused(hint, "%s: %s", f.name, text)
}

// errorAt is misuse at the node of path.
func (f *yamlFile) errorAt(path, hint, format string, args ...any) error {
	return f.errorNode(f.at[path], hint, format, args...)
}

func (f *yamlFile) errorNode(n *yaml.Node, hint, format string, args ...any) error {
	where := f.name
	if n != nil {
		where = fmt.Sprintf("%s:%d:%d", f.name, n.Line, n.Column)
	}
	return verdict.Misused(hint, "%s: %s", where, fmt.Sprintf(format, args...))
}

var timeType = reflect.TypeFor[time.Time]()

func (f *yamlFile) value(n *yaml.Node, v reflect.Value, path string, depth int) error {
	f.at[path] = n
	switch {
	case depth > maxYAMLDepth:
		return f.errorNode(n, "", "nested deeper than %d", maxYAMLDepth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		// Ten lines of aliases can mean a gigabyte.
		return f.errorNode(n, "write the value out", "anchors and aliases are not accepted")
	case n.Tag == "!!null":
		return f.errorNode(n, "leave the key out", "%s has no value", label(path))
	}
	if v.Type() == timeType {
		if n.Kind != yaml.ScalarNode {
			return f.errorNode(n, "", "%s wants a time such as 2026-01-31T00:00:00Z", label(path))
		}
		t, err := time.Parse(time.RFC3339, n.Value)
		if err != nil {
			return f.errorNode(n, "", "%s is %q, want a time such as 2026-01-31T00:00:00Z", label(path), clipQuote(n.Value))
		}
		v.Set(reflect.ValueOf(t.UTC()))
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return f.value(n, v.Elem(), path, depth)
	case reflect.Struct:
		return f.structure(n, v, path, depth)
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			return f.errorNode(n, "", "%s wants names with values", label(path))
		}
		v.Set(reflect.MakeMap(v.Type()))
		return f.pairs(n, path, func(key, val *yaml.Node) error {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := f.value(val, e, join(path, key.Value), depth+1); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(key.Value), e)
			return nil
		})
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return f.errorNode(n, "", "%s wants a list", label(path))
		}
		if len(n.Content) == 0 {
			return f.errorNode(n, "leave the key out, or list something", "%s is an empty list", label(path))
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, e := range n.Content {
			if err := f.value(e, v.Index(i), path+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return f.scalar(n, v, path)
}

func (f *yamlFile) scalar(n *yaml.Node, v reflect.Value, path string) error {
	want := map[reflect.Kind]string{reflect.String: "!!str", reflect.Int: "!!int", reflect.Bool: "!!bool"}[v.Kind()]
	if want == "" {
		panic("verifier: no YAML form for " + v.Type().String())
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != want {
		kind := map[string]string{"!!str": "a string (in quotes)", "!!int": "a whole number", "!!bool": "true or false"}[want]
		return f.errorNode(n, "", "%s wants %s", label(path), kind)
	}
	switch v.Kind() {
	case reflect.String:
		if n.Value == "" {
			return f.errorNode(n, "leave the key out", "%s is empty", label(path))
		}
		v.SetString(n.Value)
	case reflect.Int:
		i, err := strconv.ParseInt(n.Value, 10, 32)
		if err != nil {
			return f.errorNode(n, "", "%s is %q, want a whole number", label(path), clipQuote(n.Value))
		}
		v.SetInt(i)
	default:
		v.SetBool(n.Value == "true")
	}
	return nil
}

func (f *yamlFile) structure(n *yaml.Node, v reflect.Value, path string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return f.errorNode(n, "", "%s wants keys with values", label(path))
	}
	fields := make(map[string]int)
	var names []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" && v.Type().Field(i).IsExported() {
			fields[name] = i
			names = append(names, name)
		}
	}
	return f.pairs(n, path, func(key, val *yaml.Node) error {
		i, ok := fields[key.Value]
		if !ok {
			hint := "known keys: " + strings.Join(names, ", ")
			if near := nearest(key.Value, names); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return f.errorNode(key, hint, "unknown key %q in %s", clipQuote(key.Value), label(path))
		}
		return f.value(val, v.Field(i), join(path, key.Value), depth+1)
	})
}

// pairs calls do for each pair of a mapping, with unique string keys.
func (f *yamlFile) pairs(n *yaml.Node, path string, do func(key, val *yaml.Node) error) error {
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Value == "" {
			return f.errorNode(key, "", "a key of %s is not a string", label(path))
		}
		if seen[key.Value] {
			return f.errorNode(key, "", "duplicate key %q in %s", clipQuote(key.Value), label(path))
		}
		seen[key.Value] = true
		if err := do(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func label(path string) string {
	if path == "" {
		return "the policy"
	}
	return path
}

// nearest returns the known name within two edits of s, or "".
func nearest(s string, names []string) string {
	best, dist := "", 3
	for _, n := range names {
		if d := edits(s, n); d < dist {
			best, dist = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance, of names of at most 64 bytes.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			sub := diag
			if a[i] != b[j] {
				sub++
			}
			diag = row[j+1]
			row[j+1] = slices.Min([]int{sub, row[j+1] + 1, row[j] + 1})
		}
	}
	return row[len(b)]
}
