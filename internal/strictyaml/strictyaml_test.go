// SPDX-License-Identifier: Apache-2.0

package strictyaml_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
)

// A word is a type that reads itself.
type word string

func (w *word) UnmarshalText(b []byte) error {
	if string(b) == "bad" {
		return errors.New("want another word")
	}
	*w = word(b)
	return nil
}

type file struct {
	Name  string              `yaml:"name"`
	On    bool                `yaml:"on"`
	Count int                 `yaml:"count"`
	Size  uint64              `yaml:"size"`
	Wait  time.Duration       `yaml:"wait"`
	Word  word                `yaml:"word"`
	List  []string            `yaml:"list"`
	Map   map[string][]string `yaml:"map"`
	Sub   struct {
		Key string `yaml:"key"`
	} `yaml:"sub"`
	Small  uint8  `yaml:"small,omitempty"`
	Hidden string `yaml:"-"`
}

func TestDecode(t *testing.T) {
	var got file
	f, err := strictyaml.Decode("x.yaml", []byte("name: a\non: true\ncount: 3\nsize: 9007199254740991\nsmall: 255\nwait: 5s\nword: w\nlist: [b, c]\nmap:\n  d: [e]\nsub: {key: f}\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := file{Name: "a", On: true, Count: 3, Size: 1<<53 - 1, Small: 255, Wait: 5 * time.Second, Word: "w", List: []string{"b", "c"}, Map: map[string][]string{"d": {"e"}}}
	want.Sub.Key = "f"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := f.Misuse("list[1]", "hint", "wrong"); err.Error() != "x.yaml:8:11: wrong" {
		t.Errorf("got %q, want the place of the second item", err)
	}
	if err := f.Misuse("nowhere", "", "wrong"); err.Error() != "x.yaml: wrong" {
		t.Errorf("got %q, want the file", err)
	}
}

func TestDecodeMisuse(t *testing.T) {
	for _, tc := range []struct{ name, text, want, hint string }{
		{"empty", "", "the file is empty", ""},
		{"only a comment", "# x\n", "the file is empty", ""},
		{"list", "- a", "x.yaml:1:1: the file wants keys with values", ""},
		{"unknown key", "nmae: a", `x.yaml:1:1: unknown key "nmae" in the file`, `did you mean "name"?`},
		{"far from any key", "zzzzzzzz: a", "unknown key", "known keys: name, on"},
		{"field that is no key", "Hidden: a", "unknown key", "known keys"},
		{"dash", "-: a", "", ""},
		{"duplicate", "name: a\nname: b", "x.yaml:2:1", ""},
		{"number as string", "name: 1", "x.yaml:1:7: name wants a string", "put it in quotes"},
		{"empty string", `name: ""`, "name is empty", ""},
		{"null", "name: ~", "name has no value", ""},
		{"yes is no bool", "on: yes", "on wants true or false", ""},
		{"float", "count: 1.5", "whole number", ""},
		{"negative", "count: -1", "whole number", ""},
		{"too large", "count: 2147483648", "from 0 to 2147483647", ""},
		{"too large for a counter", "size: 9007199254740992", "from 0 to 9007199254740991", ""},
		{"too large for a byte", "small: 256", "from 0 to 255", ""},
		{"hex", "size: 0x10", "whole number", ""},
		{"no unit", "wait: 5", "want a duration", ""},
		{"zero", "wait: 0s", "want a duration", ""},
		{"its own error", "word: bad", `word is "bad", want another word`, ""},
		{"list for one value", "word: [a]", "word wants one value", ""},
		{"empty list", "list: []", "list is an empty list", ""},
		{"one for a list", "list: a", "list wants a list", ""},
		{"empty map", "map: {}", "map is empty", ""},
		{"alias", "name: &a x\nlist: [*a]", "anchors and aliases", ""},
		{"merge", "sub: {<<: {key: a}}", "", ""},
		{"two documents", "name: a\n---\nname: b", "x.yaml:2:1: more than one YAML document", "one document"},
		{"broken second document", "name: a\n---\nname: [", "x.yaml:", ""},
		{"syntax", "name: [", "x.yaml:", ""},
		{"tab", "sub:\n\tkey: a", "x.yaml:2:1: ", "not with tabs"},
		{"nested", "sub: {key: {a: b}}", "sub.key wants a string", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got file
			_, err := strictyaml.Decode("x.yaml", []byte(tc.text), &got)
			m, ok := errors.AsType[*verdict.Misuse](err)
			if !ok {
				t.Fatalf("got %v, want a misuse", err)
			}
			if !strings.Contains(m.Text, tc.want) || !strings.Contains(m.Hint, tc.hint) || !strings.HasPrefix(m.Text, "x.yaml") {
				t.Errorf("got %q, hint %q, want %q, %q", m.Text, m.Hint, tc.want, tc.hint)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: a\nlist: [b]\nmap: {c: [d]}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("sub: {<<: *x}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		var got file
		_, err := strictyaml.Decode("x.yaml", data, &got)
		if _, ok := errors.AsType[*verdict.Misuse](err); err != nil && !ok {
			t.Errorf("got %T %v, want a misuse", err, err)
		}
	})
}
