// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// wantText wants an error with a text, and no value beside it.
func wantText[T any](t *testing.T, got T, err error, text string) {
	t.Helper()
	var zero T
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want an error with %q", err, text)
	}
	if !cmp.Equal(got, zero) {
		t.Errorf("got %+v beside %v", got, err)
	}
}

// parse is a decoder whose value was looked at: it is zero beside an error.
func parse[T any](t *testing.T, f func([]byte) (T, error)) func([]byte) error {
	return func(data []byte) error {
		var zero T
		v, err := f(data)
		same(t, v, zero, err)
		return err
	}
}

// TestRecordsThatAreNone: a record of the state folder that is refused is named, with
// what is wrong in it.
func TestRecordsThatAreNone(t *testing.T) {
	for file, parse := range map[string]func([]byte) error{
		gate.MarksFile: parse(t, gate.ParseMarks), gate.IssuersFile: parse(t, gate.ParseIssuers), gate.StatusFile: parse(t, gate.ParseStatusRecord),
		"image record": parse(t, gate.ParseImageRecord), "record of a use": parse(t, gate.ParseUseRecord),
	} {
		check(t, parse([]byte(`{"v":1}`)))
		for record, text := range map[string]string{
			`x`:             "invalid character 'x' looking for beginning of value",
			`{"v":1`:        "it ends too early",
			`{"v":1]`:       "invalid character ']' after object key:value pair",
			`{"v":1} {}`:    "bytes after the end",
			`{"v":1,"x":1}`: `unknown field "x"`,
			`{"v":2}`:       "version 2, want 1",
		} {
			err := parse([]byte(record))
			if err == nil || !strings.HasPrefix(err.Error(), file+":") || !strings.Contains(err.Error(), text) {
				t.Errorf("%s is %s: got %v, want %q", file, record, err, text)
			}
		}
	}
}

// TestIssuerThatDoesNotEncode: no statement stands under the digest of nothing.
func TestIssuerThatDoesNotEncode(t *testing.T) {
	i := newWorld(t).daemon.issuer
	i.Statement.Boot = "x"
	i.Digest = verdict.SHA256(nil)
	data, err := json.Marshal(gate.Issuers{V: 1, Issuers: []gate.AcceptedIssuer{{Issuer: i}}})
	check(t, err)
	got, err := gate.ParseIssuers(data)
	wantText(t, got, err, "boot")
}

// TestStateFilesThatAreNotRead: each file that is there and not good is told as what it
// is, and not taken for one that is not there.
func TestStateFilesThatAreNotRead(t *testing.T) {
	record := filepath.Join(gate.ImagesDir, gate.ImageKey(repository, image)+".json")
	for _, test := range []struct {
		name, file, data, text string
		mode                   os.FileMode
	}{
		{name: "no issuers", file: gate.IssuersFile, text: "reading accepted statements: open"},
		{name: "issuers that others write", file: gate.IssuersFile, data: `{"v":1}`, mode: 0o666, text: "reading accepted statements: "},
		{name: "issuers of no version", file: gate.IssuersFile, data: `{}`, mode: 0o600, text: "issuers.json: version 0"},
		{name: "status that others write", file: gate.StatusFile, data: `{"v":1}`, mode: 0o666, text: "reading status: "},
		{name: "status of no version", file: gate.StatusFile, data: `{}`, mode: 0o600, text: "status.json: version 0"},
		{name: "record that others write", file: record, data: `{"v":1}`, mode: 0o666, text: "want nobody but its owner to write it"},
		{name: "record of no version", file: record, data: `{}`, mode: 0o600, text: "image record: version 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.write()
			state, err := gate.OpenState(w.dir)
			check(t, err)
			if a, err := state.Answer(repository, image); err != nil || len(a.Tickets) != 1 || len(a.Statements) != 1 || a.Status == "" {
				t.Fatalf("before the change: got %+v, %v", a, err)
			}
			path := filepath.Join(w.dir, test.file)
			check(t, os.Remove(path))
			if test.mode != 0 {
				w.file(test.file, []byte(test.data))
				check(t, os.Chmod(path, test.mode))
			}
			a, err := state.Answer(repository, image)
			wantText(t, a, err, test.text)
		})
	}
}

// TestHeadOfTheFolder: a head that is not read is missing, and no bad one.
func TestHeadOfTheFolder(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world, string)
		after  uint64
		code   verdict.Code
		text   string
	}{
		"good":              {func(*world, string) {}, 7, "", ""},
		"none":              {func(_ *world, path string) { check(t, os.Remove(path)) }, 1, verdict.HeadMissing, "reading head: open"},
		"others write it":   {func(_ *world, path string) { check(t, os.Chmod(path, 0o622)) }, 1, verdict.AgentState, "has mode 0622"},
		"too large":         {func(_ *world, path string) { check(t, os.Truncate(path, gate.MaxHeadFile+1)) }, 1, verdict.HeadMissing, "more than 8388608 bytes"},
		"no head":           {func(w *world, _ string) { w.file(gate.HeadFile, []byte("{}")) }, 1, verdict.HeadMalformed, "parsing head set: "},
		"older than wanted": {func(*world, string) {}, 8, verdict.HeadRollback, "which this reader begins with"},
		"older than seen":   {func(w *world, _ string) { w.marks.Head = verdict.HeadRef{Counter: 8, Digest: image} }, 1, verdict.HeadRollback, "8"},
	} {
		w := newWorld(t)
		w.write()
		state, err := gate.OpenState(w.dir)
		check(t, err)
		test.change(w, filepath.Join(w.dir, gate.HeadFile))
		owners := w.config0()
		owners.After = test.after
		h, err := state.Head(owners, w.marks, at)
		if verdict.CodeOf(err) != test.code || err != nil && !strings.Contains(err.Error(), test.text) || (h.Counter == 7) != (err == nil) {
			t.Errorf("%s: got head %d, %v; want %q with %q", name, h.Counter, err, test.code, test.text)
		}
	}
}

// TestFileThatBreaksOff: what could not be read to its end is not taken for a short file.
func TestFileThatBreaksOff(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it needs proc(5)")
	}
	// Nothing is mapped at address 0.
	state, err := gate.OpenState(fmt.Sprintf("/proc/%d", os.Getpid()))
	check(t, err)
	data, err := state.Read("mem", gate.MaxRecord)
	wantText(t, data, err, "input/output error")
}

// TestWriteFileNowhere: a file is not written where its folder is not.
func TestWriteFileNowhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "file")
	if err := gate.WriteFile(path, []byte("x")); err == nil || !strings.HasPrefix(err.Error(), "open ") {
		t.Errorf("got %v, want that it cannot be opened", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

// TestUseNowhere: a use is not written where the state folder is gone.
func TestUseNowhere(t *testing.T) {
	w := newWorld(t)
	state, err := gate.OpenState(w.dir)
	check(t, err)
	check(t, os.Remove(w.dir))
	if err := gate.RecordUse(state, gate.SignedException{}, image, at); err == nil || !strings.HasPrefix(err.Error(), "mkdir ") {
		t.Errorf("got %v, want that the folder cannot be made", err)
	}
}
