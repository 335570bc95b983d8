// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
)

const owners = `owners:
  threshold: 1
  keys:
    - |
      -----BEGIN PUBLIC KEY-----
      MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtLHflgTgJQwd9BE5JxZ27gkySqba
      iJLbU6/EKe8o2AZuZvdot6Ibg1zT0z8BBrAzr8diSX3vncOPJ5Ukxls0fg==
      -----END PUBLIC KEY-----
`

const good = `profile: development
listen: 127.0.0.1:0
spiffe-id: spiffe://dev.assay.invalid/assay/d/dev/assayd
workload-api: unix:///run/assay.sock
state-dir: /var/lib/assay
` + owners + `min-head: 1
roles: {node: [spiffe://dev.assay.invalid/assay/node/*/*]}
tee: {kind: sim-snp, dir: /etc/assay/simulator}
allow-unwitnessed: true
`

// flavoured adds what a BoringCrypto build demands.
func flavoured(tb testing.TB, text string) string {
	tb.Helper()
	var out, errs bytes.Buffer
	if status := report(run(tb.Context(), []string{"version"}, &out, &errs), &errs); status != 0 {
		tb.Fatalf("got status %d: %s", status, &errs)
	}
	if strings.Contains(out.String(), "boringcrypto") {
		return text + "allow-unvalidated: [ed25519]\n"
	}
	return text
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config string // written to FILE
		args   []string
		status int
		stdout string
		stderr string
	}{
		{"version", "", []string{"version"}, 0, "assayd devel, crypto ", ""},
		{"help", "", []string{"--help"}, 0, "Usage:", ""},
		{"nothing", "", nil, 2, "", "assayd: hint: see assayd --help"},
		{"unknown command", "", []string{"serve"}, 2, "", `got "serve", want --config FILE`},
		{"typo in a command", "", []string{"config", "chek", "FILE"}, 2, "", `got "config chek`},
		{"check nothing", "", []string{"config", "check"}, 2, "", "assayd: want --config FILE, config check FILE, or version"},
		{"unknown flag", "", []string{"--verbose"}, 2, "", "assayd: flag provided but not defined"},
		{"both", good, []string{"--config", "FILE", "version"}, 2, "", "want --config FILE"},
		{"check", good, []string{"config", "check", "FILE"}, 0, "evidence         sim-snp", ""},
		{"check a typo", strings.Replace(good, "min-head", "minhead", 1), []string{"config", "check", "FILE"}, 2, "", `assayd: hint: did you mean "min-head"?`},
		{"check what is not there", "", []string{"config", "check", "FILE"}, 2, "", "no such file"},
		{"check a folder", "", []string{"config", "check", "."}, 2, "", "not a regular file"},
		{"check a huge file", strings.Repeat("#", 300<<10), []string{"config", "check", "FILE"}, 2, "", "more than 262144 bytes"},
		{"serve without owners", strings.Replace(strings.Replace(good, owners, "", 1), "development", "production", 1), []string{"--config", "FILE"}, 2, "", "allow-unwitnessed needs profile development"},
		{"serve in production without owners", strings.NewReplacer(owners, "", "profile: development", "profile: production", "allow-unwitnessed: true\n", "").Replace(good), []string{"--config", "FILE"}, 2, "", "owners are missing"},
		{"serve in production", strings.NewReplacer("profile: development", "profile: production", "allow-unwitnessed: true\n", "", "{kind: sim-snp, dir: /etc/assay/simulator}", "{kind: tpm, device: /dev/tpmrm0}").Replace(good), []string{"--config", "FILE"}, 2, "", "needs witnesses"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "assayd.yaml")
			if tc.config != "" {
				if err := os.WriteFile(file, []byte(flavoured(t, tc.config)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args := make([]string, len(tc.args))
			for i, a := range tc.args {
				args[i] = strings.Replace(a, "FILE", file, 1)
			}
			var stdout, stderr bytes.Buffer
			status := report(run(t.Context(), args, &stdout, &stderr), &stderr)
			if status != tc.status || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("got status %d, stdout %q, stderr %q, want %d, %q, %q", status, &stdout, &stderr, tc.status, tc.stdout, tc.stderr)
			}
			if tc.stdout == "" && stdout.Len() > 0 {
				t.Errorf("got stdout %q, want nothing there", &stdout)
			}
		})
	}
}

func TestReport(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		status int
		want   string
	}{
		{"orderly end", nil, 0, ""},
		{"refusal", verdict.Refuse(verdict.HeadConflict, "two heads"), 1, "assayd: refused: two heads [head.conflict]\nassayd: hint: "},
		{"misuse among others", errors.Join(verdict.Misused("do that", "this"), errors.New("x")), 2, "assayd: hint: do that\n"},
		{"failure", verdict.Fail(verdict.SVIDMissing, "no SVID"), 3, "assayd: could not go on: no SVID [svid.missing]\n"},
		{"unforeseen", context.DeadlineExceeded, 3, "deadline exceeded [internal]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			if got := report(tc.err, &b); got != tc.status || !strings.Contains(b.String(), tc.want) {
				t.Errorf("got %d, %q, want %d, %q", got, &b, tc.status, tc.want)
			}
		})
	}
}
