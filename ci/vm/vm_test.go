// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
)

// TestCheck holds that a check which comes out otherwise counts as a difference.
func TestCheck(t *testing.T) {
	refusal := verdict.Refuse(verdict.GuestRegister, "pcr4 is 00")
	for _, test := range []struct {
		name  string
		err   error
		code  verdict.Code
		words []string
		fits  bool
	}{
		{"accepted as expected", nil, "", nil, true},
		{"refused as expected", refusal, verdict.GuestRegister, []string{"pcr4"}, true},
		{"accepted", nil, verdict.GuestRegister, nil, false},
		{"refused", refusal, "", nil, false},
		{"refused for something else", refusal, verdict.IssuerConfig, nil, false},
		{"refused without the word", refusal, verdict.GuestRegister, []string{"pcr9"}, false},
		{"failed", errors.New("no connection"), verdict.GuestRegister, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			w := &world{stdout: &out}
			if err := w.check(&machine{name: "m"}, test.name, test.err, test.code, test.words...); err != nil {
				t.Fatal(err)
			}
			if w.checks != 1 || (w.differences == 0) != test.fits || strings.Contains(out.String(), "DIFFERS") == test.fits {
				t.Errorf("got %d differences: %s", w.differences, &out)
			}
		})
	}
}

// TestRelay holds that stdin and stdout are joined with the socket.
func TestRelay(t *testing.T) {
	dir, err := os.MkdirTemp("", "relay-") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a test's folder
	socket := filepath.Join(dir, "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test's socket
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		question := make([]byte, 4)
		_, _ = io.ReadFull(c, question)
		_, _ = io.WriteString(c, strings.ToUpper(string(question)))
		_ = c.Close()
	}()
	in, keepOpen := io.Pipe()
	defer keepOpen.Close() //nolint:errcheck // a pipe in memory
	go func() { _, _ = io.WriteString(keepOpen, "ping") }()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"relay", socket}, in, &out, io.Discard); err != nil || out.String() != "PING" {
		t.Errorf("got %q, %v", &out, err)
	}
}
