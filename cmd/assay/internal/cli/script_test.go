// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/cmd/assay/internal/cli"
	"github.com/assayd/assay/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sharedData is where data lie that are not ours to ship.
const sharedData = "../../../../../shared/testdata"

// shared returns a path in the shared test data, or skips.
func shared(t *testing.T, elem ...string) string {
	t.Helper()
	if _, err := os.Stat(sharedData); err != nil {
		t.Skip("shared testdata is absent")
	}
	return filepath.Join(append([]string{sharedData}, elem...)...)
}

// outcome is what one run of the command left behind.
type outcome struct {
	status         int
	stdout, stderr string
}

func (o outcome) String() string {
	return "status " + string(rune('0'+o.status)) + "\nstdout: " + o.stdout + "\nstderr: " + o.stderr
}

// assay runs the command in this process.
func assay(t *testing.T, args ...string) outcome {
	t.Helper()
	return assayWith(t.Context(), strings.NewReader(""), args...)
}

func assayWith(ctx context.Context, stdin io.Reader, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	status := cli.Run(ctx, args, cli.Env{Stdin: stdin, Stdout: &stdout, Stderr: &stderr, Version: "test"})
	return outcome{status, stdout.String(), stderr.String()}
}

// must runs a command that has to succeed.
func must(t *testing.T, args ...string) outcome {
	t.Helper()
	o := assay(t, args...)
	if o.status != 0 {
		t.Fatalf("assay %q: %s", args, o)
	}
	return o
}

// document is the one document of --output json, decoded strictly.
type document struct {
	Result string       `json:"result"`
	Code   verdict.Code `json:"code"`
	Image  struct {
		Name   string         `json:"name"`
		Digest verdict.Digest `json:"digest"`
	} `json:"image"`
	Mode    string           `json:"mode"`
	Rule    string           `json:"rule"`
	Reasons []verdict.Reason `json:"reasons"`
	Hint    string           `json:"hint"`
	Value   json.RawMessage  `json:"value"`
}

// statuses are the exit statuses that go with a result.
var statuses = map[string]int{"accept": 0, "reject": 1, "pass": 0, "audit-fail": 0, "unchecked": 0, "fail": 1, "misuse": 2, "undecided": 3}

// parseDocument checks that stdout is exactly one document of the promised form.
func parseDocument(t *testing.T, o outcome) document {
	t.Helper()
	var members map[string]json.RawMessage
	dec := json.NewDecoder(strings.NewReader(o.stdout))
	if err := dec.Decode(&members); err != nil {
		t.Fatalf("not one JSON document: %v\n%s", err, o)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("more than one JSON document\n%s", o)
	}
	for _, name := range []string{"result", "code", "image", "mode", "rule", "reasons", "hint"} {
		if _, ok := members[name]; !ok {
			t.Fatalf("the document has no %q\n%s", name, o)
		}
	}
	var d document
	dec = json.NewDecoder(strings.NewReader(o.stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatalf("document: %v\n%s", err, o)
	}
	if d.Reasons == nil {
		t.Errorf("reasons is null, want a list\n%s", o)
	}
	if want, ok := statuses[d.Result]; !ok || want != o.status {
		t.Errorf("got result %q with status %d, want %d\n%s", d.Result, o.status, want, o)
	}
	if d.Result == "fail" || d.Result == "undecided" {
		if _, ok := d.Code.Info(); !ok || len(d.Reasons) == 0 || d.Reasons[0].Code != d.Code {
			t.Errorf("a refusal without a code of the list, or without a reason\n%s", o)
		}
	}
	return d
}

// A script is one call of the command in a folder made for it. $DIR in args is
// that folder.
type script struct {
	name  string
	setup func(t *testing.T, dir string)
	args  []string
	stdin string
	// status is the exit status, code the reason code, or empty for a misuse or
	// a pass.
	status int
	code   verdict.Code
	// stdout and stderr are texts that must be there in text form.
	stdout, stderr []string
}

// runScripts runs each script as text and with --output json, which have to
// agree.
func runScripts(t *testing.T, scripts []script) {
	t.Helper()
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			text := s.run(t)
			if text.status != s.status {
				t.Errorf("got status %d, want %d\n%s", text.status, s.status, text)
			}
			for _, want := range s.stdout {
				if !strings.Contains(text.stdout, want) {
					t.Errorf("stdout does not have %q\n%s", want, text)
				}
			}
			for _, want := range s.stderr {
				if !strings.Contains(text.stderr, want) {
					t.Errorf("stderr does not have %q\n%s", want, text)
				}
			}
			checkMessages(t, text)
			if s.code != "" && !strings.Contains(text.stderr, "["+string(s.code)+"]") {
				t.Errorf("stderr does not have the code %s\n%s", s.code, text)
			}
			d := parseDocument(t, s.run(t, "--output", "json"))
			if statuses[d.Result] != s.status || d.Code != s.code {
				t.Errorf("got %s %q in JSON, want status %d and code %q", d.Result, d.Code, s.status, s.code)
			}
		})
	}
}

func (s script) run(t *testing.T, more ...string) outcome {
	t.Helper()
	dir := t.TempDir()
	if s.setup != nil {
		s.setup(t, dir)
	}
	args := slices.Clone(s.args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$DIR", dir)
	}
	return assayWith(t.Context(), strings.NewReader(s.stdin), append(args, more...)...)
}

// checkMessages holds the form of messages (docs/cli.md): each line on stderr
// begins with the program's name, and a text that is no pass has one.
func checkMessages(t *testing.T, o outcome) {
	t.Helper()
	for line := range strings.Lines(o.stderr) {
		if !strings.HasPrefix(line, "assay: ") || !strings.HasSuffix(line, "\n") {
			t.Errorf("message %q does not begin with \"assay: \"\n%s", line, o)
		}
		if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\r\x00") {
			t.Errorf("message %q has control characters", line)
		}
	}
	if o.status != 0 && o.stderr == "" {
		t.Errorf("no message on stderr\n%s", o)
	}
}

// write puts a file into a test folder.
func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// huge makes a sparse file that no reader may read whole.
func huge(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(1<<40), f.Close()); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
}
