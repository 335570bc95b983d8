// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/assayd/assay/verdict"
)

// maxYAML bounds a configuration file, in bytes. Most of it is certificates.
const maxYAML = 1 << 20

// positions has the line:column of each key, by its path like "tee.kinds".
type positions map[string]string

// decodeYAML decodes one strict YAML document into v, a pointer to a struct with
// yaml tags: unknown and duplicate keys, anchors, nulls and a second document are
// refused. The error is a *verdict.Misuse that begins with file:line:column.
func decodeYAML(name string, data []byte, v any) (positions, error) {
	if len(data) > maxYAML {
		return nil, verdict.Misused("", "%s: %d bytes, want at most %d", name, len(data), maxYAML)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := d.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, verdict.Misused("", "%s:1:1: it is empty", name)
		}
		return nil, verdict.Misused("", "%s:%s", name, yamlText(err))
	}
	// yaml drops what comes after the first document without a word.
	var second yaml.Node
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, verdict.Misused("", "%s:%s", name, yamlText(err))
	default:
		return nil, verdict.Misused("", "%s:%d:%d: a second document", name, second.Line, second.Column)
	}
	y := yamlReader{name: name, at: positions{}}
	if err := y.structure(document.Content[0], reflect.ValueOf(v).Elem(), ""); err != nil {
		return nil, err
	}
	return y.at, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s*)?(?:line (\d+): )?`)

// yamlText turns an error of the library into "line:1: text".
func yamlText(err error) string {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return "1:1: " + text
	}
	line := m[1]
	if line == "" {
		line = "1"
	}
	return line + ":1: " + strings.TrimSpace(text[len(m[0]):])
}

type yamlReader struct {
	name string
	at   positions
}

func (y *yamlReader) refuse(n *yaml.Node, hint, format string, args ...any) error {
	return verdict.Misused(hint, "%s:%d:%d: %w", y.name, n.Line, n.Column, fmt.Errorf(format, args...))
}

// structure fills a struct from a mapping, key by key, so that what is wrong with
// a value is told with its position.
func (y *yamlReader) structure(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.MappingNode || n.Anchor != "" {
		return y.refuse(n, "", "%swant a mapping of keys to values", of(path))
	}
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		fields[key] = v.Field(i)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, ok := fields[key.Value]
		if !ok || key.Value == "" || key.Kind != yaml.ScalarNode {
			return y.refuse(key, suggest(key.Value, fields), "%sunknown key %.64q", of(path), key.Value)
		}
		if seen[key.Value] {
			return y.refuse(key, "", "%skey %.64q is there twice", of(path), key.Value)
		}
		seen[key.Value] = true
		full := strings.TrimPrefix(path+"."+key.Value, ".")
		y.at[full] = fmt.Sprintf("%d:%d", key.Line, key.Column)
		if err := y.value(value, field, full); err != nil {
			return err
		}
	}
	return nil
}

func (y *yamlReader) value(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return y.refuse(n, "", "%s: anchors and aliases are not accepted", path)
	}
	if n.Tag == "!!null" {
		return y.refuse(n, "", "%s: no value", path)
	}
	switch {
	case v.Kind() == reflect.Struct:
		return y.structure(n, v, path)
	case n.Kind == yaml.SequenceNode && v.Kind() == reflect.Slice:
		for _, item := range n.Content {
			element := reflect.New(v.Type().Elem()).Elem()
			if err := y.value(item, element, path); err != nil {
				return err
			}
			v.Set(reflect.Append(v, element))
		}
		return nil
	case n.Kind != yaml.ScalarNode || v.Kind() == reflect.Slice:
		return y.refuse(n, "", "%s: want %s", path, kindName(v))
	}
	if err := n.Decode(v.Addr().Interface()); err != nil {
		return y.refuse(n, "", "%s is %.64q, want %s", path, n.Value, kindName(v))
	}
	return nil
}

// kindName says in words what a field takes.
func kindName(v reflect.Value) string {
	switch {
	case v.Type().String() == "time.Duration":
		return "a duration like 30s or 5m"
	case v.Kind() == reflect.Slice:
		return "a list"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.CanInt() || v.CanUint():
		return "a whole number that fits"
	default:
		return "a text"
	}
}

func of(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

// suggest names the key that a misspelt one may stand for.
func suggest(key string, fields map[string]reflect.Value) string {
	best, least := "", 3 // at most two edits
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if d := edits(key, name); d < least {
			best, least = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known keys: " + strings.Join(names, ", ")
}

// edits is the Levenshtein distance, of strings of at most 64 bytes.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
