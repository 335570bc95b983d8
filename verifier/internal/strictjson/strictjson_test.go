// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// byTokens is the same check by the standard library's tokens: slow, and too
// simple to be wrong.
func byTokens(data []byte, maxValues int) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	left := maxValues
	var value func(depth int) error
	value = func(depth int) error {
		left--
		if left < 0 || depth > MaxDepth {
			return errors.New("too much")
		}
		t, err := dec.Token()
		if err != nil {
			return err
		}
		d, isDelim := t.(json.Delim)
		if !isDelim {
			return nil
		}
		seen := make(map[string]bool)
		for dec.More() {
			if d == '{' {
				name, err := dec.Token()
				if err != nil {
					return err
				}
				if seen[name.(string)] {
					return errors.New("duplicate")
				}
				seen[name.(string)] = true
			}
			if err := value(depth + 1); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	}
	if err := value(0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something after it")
	}
	return nil
}

const testValues = 100

func TestCheck(t *testing.T) {
	var many strings.Builder
	for i := range fewNames + 2 {
		fmt.Fprintf(&many, `"n%d":0,`, i)
	}
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct{ in, want string }{
		{`{}`, ""}, {`[]`, ""}, {`""`, ""}, {`-1.5e3`, ""}, {" { \"a\" : [ 1 , {} , null ] , \"b\" : \"\\\"}\" } \n", ""},
		{`{"a":{"x":1},"b":{"x":1}}`, ""},
		{`{"a":"a","b":"a"}`, ""},
		{`["a","a"]`, ""},
		{`{` + many.String() + `"z":0}`, ""},
		{deep(MaxDepth + 1), ""},
		{"[" + strings.Repeat("0,", testValues-2) + "0]", ""},
		{`{"a":1,"a":1}`, "duplicate"},
		{`{"a":1,"\u0061":1}`, "duplicate"},
		{`{"\ud800":1,"\ufffd":1}`, "duplicate"},
		{`[{"b":{"a":1,"c":[],"a":1}}]`, "duplicate"},
		{`{` + many.String() + `"n1":0}`, "duplicate"},
		{`{` + many.String() + fmt.Sprintf(`"n%d":0}`, fewNames+1), "duplicate"},
		{deep(MaxDepth + 2), "deeper"},
		{deep(MaxDepth + 1)[:MaxDepth+1] + "0" + deep(MaxDepth + 1)[MaxDepth+1:], "deeper"},
		{"[" + strings.Repeat("0,", testValues-1) + "0]", "too many"},
		{`{"a" 1}`, "one JSON document"}, {`[1 2]`, "one JSON document"}, {`{"a":1 "b":2}`, "one JSON document"}, {`{,}`, "one JSON document"}, {`[,1]`, "one JSON document"}, {`{"a":1,}`, "one JSON document"}, {`{1:2}`, "one JSON document"},
		{`01`, "one JSON document"}, {`-`, "one JSON document"}, {`1.`, "one JSON document"}, {`.1`, "one JSON document"}, {`1e`, "one JSON document"}, {`1e+`, "one JSON document"}, {`+1`, "one JSON document"}, {`-01`, "one JSON document"}, {`0x1`, "one JSON document"},
		{`0`, ""}, {`-0`, ""}, {`10`, ""}, {`0.5`, ""}, {`1E-9`, ""}, {`-1.25e+10`, ""}, {`true`, ""}, {`false`, ""}, {`null`, ""},
		{`tru`, "one JSON document"}, {`truex`, "one JSON document"}, {`nul`, "one JSON document"}, {`NaN`, "one JSON document"},
		{`"a`, "one JSON document"}, {`"\`, "one JSON document"}, {`"\x"`, "one JSON document"}, {`"\u12"`, "one JSON document"}, {`"\u12g4"`, "one JSON document"}, {"\"\n\"", "one JSON document"}, {"\"\x00\"", "one JSON document"}, {"\"\x7f\"", ""},
		{`"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00"`, ""}, {`'a'`, "one JSON document"}, {`{"a":1]`, "one JSON document"}, {`[1}`, "one JSON document"}, {`[`, "one JSON document"}, {`{"a":`, "one JSON document"}, {"\xef\xbb\xbf{}", "one JSON document"}, {"\v{}", "one JSON document"},
		{`{} {}`, "one JSON document"}, {`{}x`, "one JSON document"}, {``, "one JSON document"}, {`{"a"}`, "one JSON document"}, {`[1,]`, "one JSON document"},
		{"\"\xff\"", "UTF-8"},
	} {
		err := Check([]byte(c.in), testValues)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.80q: got %v, want %q", c.in, err, c.want)
		}
		if other := byTokens([]byte(c.in), testValues); (other == nil) != (err == nil) {
			t.Errorf("%.80q: got %v, and by tokens %v", c.in, err, other)
		}
	}
}

// FuzzCheck: the fast walk and the slow one agree about every document.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"\u0061\"","c":{}}],"d":null}`, `{"a":1,"\u0061":2}`, `[[[["x"]]],{"":0,"":0}]`, "{\"\xc3\xa9\":1}", `{} []`, `{"a":tru}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, want := Check(data, testValues), byTokens(data, testValues)
		if (got == nil) != (want == nil) {
			t.Fatalf("%q: got %v, and by tokens %v", data, got, want)
		}
		if got == nil {
			sameMembers(t, data)
			sameElements(t, data)
		} else { // they must not panic
			_, _ = Members(data)
			_, _ = Elements(data)
			_, _ = Plain(data)
		}
	})
}

// sameMembers compares Members with the standard library, for a document that
// Check takes.
func sameMembers(t *testing.T, data []byte) {
	t.Helper()
	var want map[string]json.RawMessage
	err := json.Unmarshal(data, &want)
	got, gotErr := Members(data)
	if isObject := err == nil && want != nil; isObject != (gotErr == nil) {
		t.Fatalf("%q: got %v, want an object: %v", data, gotErr, isObject)
	}
	if gotErr != nil {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%q: got %d members, want %d", data, len(got), len(want))
	}
	for name, value := range want {
		if !bytes.Equal(got[name], value) {
			t.Fatalf("%q: member %q is %q, want %q", data, name, got[name], value)
		}
	}
}

// sameElements compares Elements and Plain with the standard library, for a document
// that Check takes.
func sameElements(t *testing.T, data []byte) {
	t.Helper()
	var want []json.RawMessage
	err := json.Unmarshal(data, &want)
	got, ok := Elements(data)
	if isArray := err == nil && want != nil; isArray != ok || len(got) != len(want) {
		t.Fatalf("%q: got %q, want %q", data, got, want)
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("%q: element %d is %q, want %q", data, i, got[i], want[i])
		}
		if text, ok := Plain(got[i]); ok {
			var other string
			if err := json.Unmarshal(want[i], &other); err != nil || text != other {
				t.Fatalf("%q: got %q, want %q", want[i], text, other)
			}
		}
	}
}

func TestElements(t *testing.T) {
	for _, s := range []string{`[]`, ` [ ] `, "[1, {\"b\":\"]\"}\t, \"x\\\"\" ,null,[ ],-1e5\n]\r", `["a"]`, `[["a"],["b"]]`, `{}`, `null`, `"[]"`, `1`} {
		sameElements(t, []byte(s))
	}
	for _, s := range []string{``, `[`, `["a`, `[1`, `[1,`, `[[}`} {
		if got, ok := Elements([]byte(s)); ok {
			t.Errorf("%q: got %q", s, got)
		}
	}
	for in, want := range map[string]string{`"a"`: "a", `""`: "", "\"\u00e9\"": "\u00e9"} {
		if got, ok := Plain([]byte(in)); !ok || got != want {
			t.Errorf("%q: got %q, %t", in, got, ok)
		}
	}
	for _, in := range []string{``, `"`, `"a`, `a"`, `"\u0061"`, `1`, `null`, ` "a"`} {
		if got, ok := Plain([]byte(in)); ok {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func TestMembers(t *testing.T) {
	for _, s := range []string{`{}`, ` { } `, `{"a":1}`, "{ \"a\" :\t[1, {\"b\":\"}\"}] , \"\\u0061b\":\"x\\\"\" ,\"c\":null,\"d\":{},\"e\":-1e5\n}\r", `{"":{}}`, `[]`, `null`, `"{}"`, `1`} {
		sameMembers(t, []byte(s))
	}
	for _, s := range []string{``, `{`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":"`, `{"a":[}`, `{"a":1,`, `{"\`} {
		if got, err := Members([]byte(s)); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

// BenchmarkCheck compares the walk with the standard library's tokens, in turns, over
// a document of the shape of a bundle: a few names, and long strings.
func BenchmarkCheck(b *testing.B) {
	data := fmt.Appendf(nil, `{"mediaType":"x","verificationMaterial":{"certificate":{"rawBytes":%q},"tlogEntries":[{"logIndex":"1","inclusionProof":{"hashes":[%s"x"],"checkpoint":{"envelope":"a\nb\nc\n"}},"canonicalizedBody":%q}]},"dsseEnvelope":{"payload":%q,"signatures":[{"sig":"x"}]}}`,
		strings.Repeat("A", 1200), strings.Repeat(`"`+strings.Repeat("h", 44)+`",`, 20), strings.Repeat("B", 3000), strings.Repeat("C", 4000))
	var ours, tokens time.Duration
	for b.Loop() {
		t := time.Now()
		err := Check(data, testValues)
		ours += time.Since(t)
		t = time.Now()
		other := byTokens(data, testValues)
		tokens += time.Since(t)
		if err != nil || other != nil {
			b.Fatal(err, other)
		}
	}
	b.ReportMetric(float64(ours)/float64(tokens), "x-tokens")
}
