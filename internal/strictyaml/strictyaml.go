// SPDX-License-Identifier: Apache-2.0

// Package strictyaml decodes one YAML document into a struct and accepts no
// surprises: unknown and duplicate keys, wrong types, null, anchors and further
// documents are a [verdict.Misuse] with file:line:column and, where it helps, a
// hint. [Decode] returns the positions, so that later checks can point at the
// key that they are about.
//
// Strings, booleans, whole numbers, [time.Time], [time.Duration],
// [encoding.TextUnmarshaler], pointers, lists, maps and structs with `yaml` tags
// are what it knows; anything else in the struct is a mistake of the programmer
// and panics. It is a leaf: every layer that has a file to read may import it.
package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/assayd/assay/verdict"
)

// maxDepth bounds the nesting of a file. Ours need eight levels.
const maxDepth = 12

// Bounds of whole numbers: of int and uint32, so that sums of them fit everywhere,
// and of uint64, which our formats carry in JSON.
const (
	maxNumber  = 1<<31 - 1
	maxCounter = 1<<53 - 1
)

// maxQuote bounds what a message quotes of the file, in bytes.
const maxQuote = 64

// A File knows where each decoded key stood.
type File struct {
	name string
	at   map[string]*yaml.Node
}

// Named returns a file without content, for what is checked like a file and is
// none.
func Named(name string) *File { return &File{name: name} }

// Decode reads data, which is called name in messages, into the struct that v
// points at.
func Decode(name string, data []byte, v any) (*File, error) {
	f := &File{name: name, at: make(map[string]*yaml.Node)}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, verdict.Misused("", "%s: the file is empty", name)
		}
		return nil, f.syntax(err)
	}
	// The decoder drops what follows the first document without a word.
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, f.syntax(err)
	default:
		return nil, f.misuse(&second, "keep one document in a file", "more than one YAML document")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, verdict.Misused("", "%s: not a YAML document", name)
	}
	if err := f.value(doc.Content[0], reflect.ValueOf(v).Elem(), "", 0); err != nil {
		return nil, err
	}
	return f, nil
}

// Misuse returns a misuse at the place of path, such as "owners.keys[1]", or at
// the file as a whole when the path is not in it.
func (f *File) Misuse(path, hint, format string, args ...any) error {
	return f.misuse(f.at[path], hint, format, args...)
}

func (f *File) misuse(n *yaml.Node, hint, format string, args ...any) error {
	where := f.name
	if n != nil {
		where = fmt.Sprintf("%s:%d:%d", f.name, n.Line, n.Column)
	}
	return verdict.Misused(hint, "%s: %w", where, fmt.Errorf(format, args...))
}

// syntax puts the line of the parser's message where ours have it. The parser
// has no column.
func (f *File) syntax(err error) error {
	text, hint := strings.TrimPrefix(err.Error(), "yaml: "), ""
	if strings.Contains(text, "cannot start any token") {
		hint = "indent with spaces, not with tabs, and quote values that begin with @, ` or %"
	}
	if line, msg, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
		return verdict.Misused(hint, "%s:%s:1: %s", f.name, line, msg)
	}
	return verdict.Misused(hint, "%s: %s", f.name, text)
}

func (f *File) value(n *yaml.Node, v reflect.Value, path string, depth int) error {
	f.at[path] = n
	switch {
	case depth > maxDepth:
		return f.misuse(n, "", "nested deeper than %d", maxDepth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		// A few lines of aliases expand to gigabytes.
		return f.misuse(n, "write the value out", "anchors and aliases are not accepted")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return f.misuse(n, "leave the key out, or give it a value", "%s has no value", label(path))
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return f.value(n, v.Elem(), path, depth)
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		t, err := time.Parse(time.RFC3339, n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			return f.misuse(n, "", "%s is %s, want a time such as 2026-01-31T00:00:00Z", label(path), quote(n.Value))
		}
		v.Set(reflect.ValueOf(t.UTC()))
		return nil
	}
	if t, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		if n.Kind != yaml.ScalarNode {
			return f.misuse(n, "", "%s wants one value", label(path))
		}
		if err := t.UnmarshalText([]byte(n.Value)); err != nil {
			return f.misuse(n, "", "%s is %s, %w", label(path), quote(n.Value), err)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		return f.structure(n, v, path, depth)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		return f.pairs(n, path, func(key, val *yaml.Node) error {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := f.value(val, e, join(path, key.Value), depth+1); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), e)
			return nil
		})
	case reflect.Slice:
		return f.list(n, v, path, depth)
	default:
		return f.scalar(n, v, path)
	}
}

func (f *File) list(n *yaml.Node, v reflect.Value, path string, depth int) error {
	if n.Kind != yaml.SequenceNode {
		return f.misuse(n, "write [one, two]", "%s wants a list", label(path))
	}
	if len(n.Content) == 0 {
		return f.misuse(n, "leave the key out, or list something", "%s is an empty list", label(path))
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, e := range n.Content {
		if err := f.value(e, v.Index(i), path+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) scalar(n *yaml.Node, v reflect.Value, path string) error {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || d <= 0 {
			return f.misuse(n, "", "%s is %s, want a duration such as 30s", label(path), quote(n.Value))
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			return f.misuse(n, "put it in quotes", "%s wants a string", label(path))
		}
		if n.Value == "" {
			return f.misuse(n, "leave the key out, or give it a value", "%s is empty", label(path))
		}
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			return f.misuse(n, "", "%s wants true or false", label(path))
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Uint8, reflect.Uint32, reflect.Uint64:
		most := uint64(maxNumber)
		switch v.Kind() {
		case reflect.Uint8:
			most = math.MaxUint8
		case reflect.Uint64:
			most = maxCounter
		}
		i, err := strconv.ParseUint(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || i > most {
			return f.misuse(n, "", "%s is %s, want a whole number from 0 to %d", label(path), quote(n.Value), most)
		}
		if v.CanInt() {
			v.SetInt(int64(i)) //nolint:gosec // at most maxNumber
		} else {
			v.SetUint(i)
		}
	default:
		panic("strictyaml: no YAML form for " + v.Type().String())
	}
	return nil
}

func (f *File) structure(n *yaml.Node, v reflect.Value, path string, depth int) error {
	fields, names := make(map[string]int), []string(nil)
	for i := range v.NumField() {
		// What follows the comma is for encoders.
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			fields[name] = i
			names = append(names, name)
		}
	}
	return f.pairs(n, path, func(key, val *yaml.Node) error {
		i, ok := fields[key.Value]
		if !ok {
			hint := "known keys: " + strings.Join(names, ", ")
			if near := Nearest(key.Value, names); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return f.misuse(key, hint, "unknown key %s in %s", quote(key.Value), label(path))
		}
		return f.value(val, v.Field(i), join(path, key.Value), depth+1)
	})
}

// pairs calls do for each key and value of a mapping. Keys are strings, and
// there once.
func (f *File) pairs(n *yaml.Node, path string, do func(key, val *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return f.misuse(n, "", "%s wants keys with values", label(path))
	}
	if len(n.Content) == 0 {
		return f.misuse(n, "leave the key out, or give it values", "%s is empty", label(path))
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Value == "" || key.Anchor != "" {
			return f.misuse(key, "", "a key of %s is not a plain string", label(path))
		}
		if seen[key.Value] {
			return f.misuse(key, "remove one", "duplicate key %s in %s", quote(key.Value), label(path))
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
		return "the file"
	}
	return path
}

func quote(s string) string {
	if len(s) > maxQuote {
		s = s[:maxQuote]
	}
	return strconv.Quote(s)
}

// Has says whether path was in the file.
func (f *File) Has(path string) bool { return f.at[path] != nil }

// Nearest returns the name that is at most two edits away from word, or "".
func Nearest(word string, names []string) string {
	best, near := 3, ""
	for _, name := range names {
		if len(word) > 2*len(name)+2 || len(name) > maxQuote {
			continue
		}
		if d := distance(word, name); d < best {
			best, near = d, name
		}
	}
	return near
}

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
