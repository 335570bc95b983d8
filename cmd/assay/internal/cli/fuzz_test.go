// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/assayd/assay/cmd/assay/internal/cli"
)

// Whatever is on standard input, a command that shows it answers with exactly one
// document and no panic.
func FuzzInspect(f *testing.F) {
	for _, s := range []string{"", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.AA", `{"__cmwc_t":"tag:x","statement":["a/b","e30"]}`, `{"v":1}`, "\xff\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, what := range []string{"ticket", "statement"} {
			var stdout, stderr bytes.Buffer
			status := cli.Run(context.Background(), []string{what, "inspect", "-", "-o", "json"}, cli.Env{Stdin: bytes.NewReader(data), Stdout: &stdout, Stderr: &stderr, Version: "test"})
			if status < 0 || status > 2 {
				t.Errorf("%s: got status %d: %s", what, status, stdout.Bytes())
			}
			dec := json.NewDecoder(&stdout)
			var doc map[string]json.RawMessage
			if err := dec.Decode(&doc); err != nil {
				t.Fatalf("%s: not one document: %v", what, err)
			}
			if _, err := dec.Token(); !errors.Is(err, io.EOF) {
				t.Fatalf("%s: more than one document", what)
			}
		}
	})
}
