// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestCanonical(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + "1" + strings.Repeat("]", n) }
	tests := []struct {
		name, data, want string // want: part of the error, or "" for canonical
	}{
		{"object", `{"a":1,"b":[true,false,"x"],"c":{}}`, ""},
		{"empty object and array", `{"a":[],"b":{}}`, ""},
		{"scalar", `0`, ""},
		{"largest integer", `9007199254740991`, ""},
		{"short escapes", `"\b\t\n\f\r\"\\"`, ""},
		{"long escapes", `"\u0000\u000b\u000e\u001f"`, ""},
		{"slash and delete are not escaped", "\"/\x7f\"", ""},
		{"line separators are not escaped", "\"\u2028\u2029\"", ""},
		{"astral characters", `"😀"`, ""},
		{"deepest", deep(16), ""},
		{"nothing", ``, "empty"},
		{"too deep", deep(17), "nested deeper"},
		{"a million brackets", strings.Repeat("[", 1<<20), "nested deeper"},
		{"white space before", ` {}`, "not canonical"},
		{"white space after", `{} `, "bytes after the end"},
		{"line feed after", "{}\n", "bytes after the end"},
		{"white space inside", `{"a": 1}`, "not canonical"},
		{"white space after a comma", `[1, 2]`, "not canonical"},
		{"second value", `{}{}`, "bytes after the end"},
		{"byte order mark", "\ufeff{}", "not canonical"},
		{"duplicate", `{"a":1,"a":1}`, "duplicate"},
		{"duplicate by an escape", `{"a":1,"\u0061":1}`, "escape"},
		{"unsorted", `{"b":1,"a":1}`, "sorted"},
		{"prefix sorts first", `{"ab":1,"a":1}`, "sorted"},
		{"member name not ASCII", `{"é":1}`, "ASCII"},
		{"member name with an escape", `{"a\"b":1}`, "ASCII"},
		{"member name is a number", `{1:1}`, "member name"},
		{"no colon", `{"a"1}`, "colon"},
		{"no value", `{"a":}`, "not canonical"},
		{"trailing comma in an object", `{"a":1,}`, "member name"},
		{"trailing comma in an array", `[1,]`, "not canonical"},
		{"no comma", `[1 2]`, "comma"},
		{"cut object", `{"a":1`, "comma"},
		{"cut array", `[1`, "comma"},
		{"cut string", `"a`, "without an end"},
		{"cut escape", `"\`, "escape"},
		{"cut long escape", `"\u000`, "escape"},
		{"null", `{"a":null}`, "null"},
		{"fraction", `1.0`, "not an integer"},
		{"exponent", `1e2`, "not an integer"},
		{"large exponent", `1E2`, "not an integer"},
		{"minus zero", `-0`, "not canonical"},
		{"negative", `-1`, "not canonical"},
		{"plus", `+1`, "not canonical"},
		{"leading zero", `01`, "leading zero"},
		{"zero zero", `00`, "leading zero"},
		{"2⁵³", `9007199254740992`, "beyond"},
		{"beyond 64 bits", `18446744073709551617`, "beyond"},
		{"hexadecimal", `0x10`, "bytes after"},
		{"not a number", `NaN`, "not canonical"},
		{"upper-case literal", `True`, "not canonical"},
		{"literal with more", `truest`, "bytes after"},
		{"escaped slash", `"\/"`, "escape"},
		{"needless escape", `"\u0041"`, "escape"},
		{"upper-case escape", `"\u001F"`, "escape"},
		{"long form of a short escape", `"\u000a"`, "escape"},
		{"escaped delete", `"\u007f"`, "escape"},
		{"lone surrogate", `"\ud800"`, "escape"},
		{"surrogate pair", `"\ud83d\ude00"`, "escape"},
		{"control character", "\"\x01\"", "control"},
		{"NUL byte", "\x00", "not canonical"},
		{"invalid UTF-8", "\"\xff\"", "UTF-8"},
		{"overlong UTF-8", "\"\xc0\xaf\"", "UTF-8"},
		{"surrogate in UTF-8", "\"\xed\xa0\x80\"", "UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := verdict.CheckCanonical([]byte(tt.data))
			if tt.want == "" {
				if err != nil {
					t.Fatalf("got %v, want canonical", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q in it", err, tt.want)
			}
			if got := independentCanonical([]byte(tt.data)); got != (tt.want == "") {
				t.Fatalf("got %v from the independent check, want %v", got, tt.want == "")
			}
		})
	}
}

func TestCanonicalAllocates(t *testing.T) {
	data := []byte(`{"a":[1,2,3],"b":"text"}`)
	if n := testing.AllocsPerRun(100, func() {
		if verdict.CheckCanonical(data) != nil {
			panic("not canonical")
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// independentCanonical says the same as the scanner by another way: decode with
// encoding/json, write RFC 8785 from the tree, compare.
func independentCanonical(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return false
	}
	if _, err := dec.Token(); err != io.EOF {
		return false
	}
	var out strings.Builder
	return independentWrite(&out, tree, 0) && out.String() == string(data)
}

func independentWrite(out *strings.Builder, v any, depth int) bool {
	if depth > 16 {
		return false
	}
	switch v := v.(type) {
	case bool:
		fmt.Fprint(out, v)
	case json.Number:
		n, err := strconv.ParseUint(string(v), 10, 64)
		if err != nil || n >= 1<<53 {
			return false
		}
		fmt.Fprint(out, n)
	case string:
		independentString(out, v)
	case []any:
		out.WriteString("[")
		for i, e := range v {
			if i > 0 {
				out.WriteString(",")
			}
			if !independentWrite(out, e, depth+1) {
				return false
			}
		}
		out.WriteString("]")
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			if strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
				return false
			}
			names = append(names, name)
		}
		slices.Sort(names)
		out.WriteString("{")
		for i, name := range names {
			if i > 0 {
				out.WriteString(",")
			}
			independentString(out, name)
			out.WriteString(":")
			if !independentWrite(out, v[name], depth+1) {
				return false
			}
		}
		out.WriteString("}")
	default:
		return false // null
	}
	return true
}

func independentString(out *strings.Builder, s string) {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`, '\r': `\r`}
	out.WriteString(`"`)
	for _, r := range s {
		switch esc, ok := short[r]; {
		case ok:
			out.WriteString(esc)
		case r < 0x20:
			fmt.Fprintf(out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteString(`"`)
}

func FuzzCanonical(f *testing.F) {
	var goods [][]byte
	for _, s := range []string{`{"a":1}`, `[1,"x",true]`, `{"a":{"b":[]}}`, `"\u001f\n"`, `{"a":1,"a":1}`, `-0`, `1.0`, "\"\u2028\"", `"\ud800"`, `null`} {
		goods = append(goods, []byte(s))
	}
	inputs := fuzz.New(f, goods...)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		if len(data) > 1<<16 {
			return
		}
		err := verdict.CheckCanonical(data)
		if want := independentCanonical(data); (err == nil) != want {
			t.Fatalf("got %v, want canonical to be %v: %q", err, want, data)
		}
	})
}

// TestEncode writes what encoding/json does not write canonically by itself.
func TestEncode(t *testing.T) {
	tests := []struct {
		name string
		v    any
		want string // "" for an error
	}{
		{"fields out of order", struct {
			B int    `json:"b"`
			A string `json:"a"`
		}{1, "x"}, `{"a":"x","b":1}`},
		{"HTML and line separators", "<&>\u2028\u2029\x7f", "\"<&>\u2028\u2029\x7f\""},
		{"control characters out of order", struct {
			B string `json:"b"`
			A string `json:"a"`
		}{"\b\t\n\f\r\x00\x1f\"\\", ""}, `{"a":"","b":"\b\t\n\f\r\u0000\u001f\"\\"}`},
		{"nested out of order", map[string]any{"z": []any{true, false, map[string]any{}}, "a": verdict.Reason{Code: "c", Text: "t", Authority: "a"}},
			`{"a":{"authority":"a","code":"c","text":"t"},"z":[true,false,{}]}`},
		{"null", map[string]any{"a": nil}, ""},
		{"nil slice", struct{ A []int }{}, ""},
		{"float", 1.5, ""},
		{"negative", -1, ""},
		{"too large", uint64(1 << 53), ""},
		{"name not ASCII", map[string]int{"é": 1}, ""},
		{"not JSON", make(chan int), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := verdict.Encode(tt.v)
			if (err == nil) != (tt.want != "") || string(got) != tt.want {
				t.Fatalf("got %s, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// TestStrictDecoding goes through one decoder, as all share the code: what is
// canonical and still not what a format says.
func TestStrictDecoding(t *testing.T) {
	w := newWorld(t)
	good := encoded(t, w.statement)
	text := string(good)
	tests := []struct {
		name string
		data string
		want string
	}{
		{"oversize comes before anything else", "\xff" + strings.Repeat(" ", verdict.MaxStatement), "bytes, want at most 16384"},
		{"unknown member", strings.Replace(text, `"boot"`, `"boo":1,"boot"`, 1), "unknown field"},
		{"case variant of a member", strings.Replace(text, `"boot":`, `"Boot":`, 1), "not in canonical form"},
		{"case variant beside a member", strings.Replace(text, `{"boot":`, `{"BOOT":"00112233445566778899aabbccddeeff","boot":`, 1), "not in canonical form"},
		{"empty where it should be absent", strings.Replace(text, `"roots":`, `"prev":"","roots":`, 1), "not in canonical form"},
		{"number as string", strings.Replace(text, `"v":1`, `"v":"1"`, 1), "decoding"},
		{"object as array", `[]`, "decoding"},
		{"trailing bytes", text + "\n", "bytes after the end"},
		{"twice", text + text, "bytes after the end"},
		{"member missing", strings.Replace(text, `"boot":"`+boot+`",`, "", 1), "not in canonical form"},
		{"null member", strings.Replace(text, `"boot":"`+boot+`"`, `"boot":null`, 1), "null"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := verdict.ParseStatement([]byte(tt.data))
			wantCode(t, err, verdict.IssuerMalformed)
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if s.Boot != "" || s.Keys != nil {
				t.Errorf("got %+v with an error, want the zero value", s)
			}
			if len(err.Error()) > 1100 || strings.Contains(err.Error(), "\n") {
				t.Errorf("got a text of %d bytes, want one line of at most 1100", len(err.Error()))
			}
		})
	}
	if _, err := verdict.ParseStatement(good); err != nil {
		t.Fatal(err)
	}
}
