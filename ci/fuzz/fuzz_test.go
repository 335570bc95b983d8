// SPDX-License-Identifier: Apache-2.0

package fuzz_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
)

const document = `{"a":"text","b":[1,-2,{"c":null}],"d":{"e":true}}`

// FuzzDocument is itself a target, for the edits must never be what fails: they stay
// JSON, are the same each time, and leave the good input alone.
func FuzzDocument(f *testing.F) {
	inputs := fuzz.New(f, []byte(document), []byte("\x00\x01\x02"), []byte("{\"a\":1}\n{\"a\":2}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := inputs.Of(data)
		inputs.Add(len(data) > 1)
		if !bytes.Equal(got, inputs.Of(data)) {
			t.Error("the same bytes gave two inputs")
		}
		if len(got) > 1<<20 {
			t.Errorf("got %d bytes", len(got))
		}
	})
}

func TestEdit(t *testing.T) {
	good := []byte("0123456789")
	for _, c := range []struct{ name, edits, want string }{
		{"nothing", "", "0123456789"},
		{"overwrite", "\x00\x00\x08\x20ab", "01ab456789"},
		{"overwrite behind the end", "\x00\x00\x04\x20ab", "012345678a"},
		{"insert", "\x00\x00\x08\x1cx", "01x23456789"},
		{"remove", "\x00\x00\x08\x1d", "013456789"},
		{"cut off", "\x00\x00\x08\x1e", "01"},
		{"repeat", "\x00\x00\x08\x1f", "012" + "23456789"},
		{"two", "\x00\x00\x08\x1e" + "\x00\x00\x02\x00z", "z1"},
		{"an edit without its end", "\x00\x00\x02", "0123456789"},
	} {
		if got := string(fuzz.Edit(good, []byte(c.edits))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if string(good) != "0123456789" {
		t.Errorf("the good input became %q", good)
	}
}

func TestDocument(t *testing.T) {
	d, err := fuzz.JSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, edits, want string }{
		{"nothing", "", document},
		{"the whole", "\x00\x00\x00", `null`},
		{"a text", "\x00\x01\x00", `{"a":null,"b":[1,-2,{"c":null}],"d":{"e":true}}`},
		{"by another value", "\x00\x01\x04\x00\x07", `{"a":{"e":true},"b":[1,-2,{"c":null}],"d":{"e":true}}`},
		{"by a number", "\x00\x08\x17\x01\x02", `{"a":"text","b":[1,-2,{"c":null}],"d":{"e":258}}`},
		{"inside of a text", "\x00\x01\x0b\x00\x00\x00\x00X", `{"a":"teXt","b":[1,-2,{"c":null}],"d":{"e":true}}`},
		{"twice", "\x00\x03\x0e", `{"a":"text","b":[[1,1],-2,{"c":null}],"d":{"e":true}}`},
		{"an inner and an outer one", "\x00\x00\x00" + "\x00\x01\x00", `{"a":null,"b":[1,-2,{"c":null}],"d":{"e":true}}`},
	} {
		if got := string(d.Edit([]byte(c.edits))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	for _, bad := range []string{"", "x", `{"a":1`, `{"a":1}x`} {
		if _, err := fuzz.JSON([]byte(bad)); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

// TestEditsStayJSON holds that all single edits but those of raw bytes give JSON.
func TestEditsStayJSON(t *testing.T) {
	d, err := fuzz.JSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for value := range byte(9) {
		for what := range 256 {
			got := d.Edit([]byte{0, value, byte(what), 0, 1, 'a', 0xff, '"', 0, 0, 3})
			if !json.Valid(got) {
				if broken++; what&15 != 15 {
					t.Errorf("value %d, edit %d: got %s", value, what, got)
				}
			}
		}
	}
	if broken > 9*4 {
		t.Errorf("%d edits are no JSON", broken)
	}
}

// TestCounts runs a target in a process of its own, as the fuzzer does, and reads what
// it counted.
func TestCounts(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^FuzzDocument$", "-test.count", "1")
	cmd.Env = append(os.Environ(), fuzz.Folder+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	names, err := filepath.Glob(filepath.Join(dir, "FuzzDocument.*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("got files %q, %v, want one", names, err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var executions, past int
	// The seeds are three goods, each raw, and with no edits of two kinds.
	if _, err := fmt.Sscan(string(data), &executions, &past); err != nil || executions != 9 || past != 3 {
		t.Errorf("got %q, %v, want 9 and 3", data, err)
	}
}
