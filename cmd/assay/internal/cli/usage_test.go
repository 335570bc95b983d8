// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/assayd/assay/cmd/assay/internal/cli"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// aDigest is that of nothing in particular.
const aDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// commands are all that there are; TestHelp holds it complete.
var commands = [][]string{
	{}, {"conformance"}, {"conformance", "sign-bundle"}, {"conformance", "verify-bundle"}, {"deny"}, {"deny", "add"}, {"deny", "list"}, {"dev"}, {"dev", "init"}, {"dev", "serve"}, {"exception"}, {"exception", "install"}, {"exception", "sign"},
	{"evidence"}, {"evidence", "appraise"}, {"evidence", "fetch"}, {"evidence", "record"}, {"explain"}, {"head"}, {"head", "init"}, {"head", "key"}, {"head", "put"}, {"head", "renew"}, {"head", "show"}, {"head", "sign"},
	{"log"}, {"log", "get"}, {"log", "prove"}, {"policy"}, {"policy", "check"}, {"policy", "convert"}, {"policy", "diff"}, {"policy", "fmt"}, {"policy", "schema"}, {"policy", "test"}, {"reference"}, {"reference", "compute"}, {"reference", "compute", "snp"}, {"reference", "compute", "tdx"}, {"reference", "compute", "tpm"}, {"reference", "verify"}, {"reference", "verify", "snp"}, {"reference", "verify", "tdx"}, {"reference", "verify", "tpm"}, {"roots"}, {"roots", "diff"}, {"roots", "show"}, {"roots", "verify"}, {"statement"}, {"statement", "appraise"}, {"statement", "inspect"},
	{"ticket"}, {"ticket", "check"}, {"ticket", "inspect"}, {"verify"}, {"version"},
}

// Help fits a screen, but for the two commands that have everything.
const (
	maxHelpLines   = 62 // verify has a group of flags for each kind of signer
	maxHelpColumns = 100
)

func TestHelp(t *testing.T) {
	listed := 0
	for _, c := range commands {
		name := strings.Join(append([]string{"assay"}, c...), "-")
		t.Run(name, func(t *testing.T) {
			o := must(t, append(c, "--help")...)
			golden := filepath.Join("testdata", "help", name+".txt")
			if *update {
				write(t, golden, []byte(o.stdout))
			}
			if want := read(t, golden); o.stdout != string(want) {
				t.Errorf("help changed; review and run with -update\n%s", o.stdout)
			}
			lines := strings.Split(strings.TrimSuffix(o.stdout, "\n"), "\n")
			if len(lines) > maxHelpLines {
				t.Errorf("help has %d lines, want at most %d", len(lines), maxHelpLines)
			}
			for _, l := range lines {
				if n := utf8.RuneCountInString(l); n > maxHelpColumns {
					t.Errorf("help line has %d columns, want at most %d: %s", n, maxHelpColumns, l)
				}
			}
			if !strings.Contains(o.stdout, "commands:") && !strings.Contains(o.stdout, "example:") {
				t.Error("help has no example")
			}
		})
		// What a group lists has a golden file of its own.
		in := false
		for line := range strings.Lines(must(t, append(c, "--help")...).stdout) {
			switch {
			case strings.HasPrefix(line, "commands:"):
				in = true
			case strings.TrimSpace(line) == "":
				in = false
			case in && !strings.HasPrefix(line, "  help "):
				listed++
			}
		}
	}
	if want := len(commands) - 1; listed != want {
		t.Errorf("the groups list %d commands, the test has %d", listed, want)
	}
}

func TestUsage(t *testing.T) {
	runScripts(t, []script{
		{name: "nothing", status: 2, stderr: []string{"assay: no command is named\n", "hint: see: assay --help"}},
		{name: "typo in a command", args: []string{"verfiy"}, status: 2, stderr: []string{`unknown command "verfiy"`, `hint: did you mean "verify"?`}},
		{name: "typo in a subcommand", args: []string{"head", "sing"}, status: 2, stderr: []string{`did you mean "sign"?`}},
		{name: "unknown command", args: []string{"frobnicate"}, status: 2, stderr: []string{"hint: see: assay --help"}},
		{name: "group alone", args: []string{"head"}, status: 2, stderr: []string{"assay: head: no command is named\n"}},
		{name: "typo in a flag", args: []string{"verify", "--polcy", "x", "y"}, status: 2, stderr: []string{"unknown flag: --polcy", `did you mean "--policy"?`}},
		{name: "typo in a flag with value", args: []string{"verify", "--certificate-idenity=x", "y"}, status: 2, stderr: []string{`did you mean "--certificate-identity"?`}},
		{name: "flag without value", args: []string{"verify", "x", "--key"}, status: 2, stderr: []string{"flag needs an argument: --key"}},
		{name: "flag of another type", args: []string{"verify", "x", "--timeout", "soon"}, status: 2, stderr: []string{"--timeout"}},
		{name: "unknown shorthand", args: []string{"verify", "-z", "x"}, status: 2, stderr: []string{"unknown shorthand flag"}},
		{name: "no image", args: []string{"verify", "--key", "k"}, status: 2, stderr: []string{"assay: verify: got 0 arguments, want one IMAGE"}},
		{name: "two images", args: []string{"verify", "--key", "k", "a", "b"}, status: 2, stderr: []string{"got 2 arguments"}},
		{name: "empty image", args: []string{"verify", "--key", "k", ""}, status: 2, stderr: []string{"argument 1 is empty"}},
		{name: "version with an argument", args: []string{"version", "x"}, status: 2},
		{name: "long flag is clipped", args: []string{"verify", "--" + strings.Repeat("x", 10000)}, status: 2},
		{name: "help of nothing", args: []string{"help", "nothing"}, status: 2},
	})
	o := assay(t, "verify", "x", "--output", "xml")
	if o.status != 2 || !strings.Contains(o.stderr, `--output is "xml"`) {
		t.Errorf("--output xml: %s", o)
	}
	// JSON is recognised also where flags cannot be parsed.
	for _, args := range [][]string{{"--output=json"}, {"-o", "json", "x"}, {"verify", "--nonsense", "--output", "json"}, {"-ojson", "verify"}, {"verify", "--output", "json", "--key"}, {"verify", "--key", "--output", "json"}, {"help", "nothing", "-o", "json"}} {
		if d := parseDocument(t, assay(t, args...)); d.Result != "misuse" {
			t.Errorf("%q: got %s, want misuse", args, d.Result)
		}
	}
	for _, args := range [][]string{{"--help", "--output", "json"}, {"verify", "-o", "json", "--help"}, {"help", "verify", "--output=json"}} {
		if d := parseDocument(t, assay(t, args...)); d.Result != "pass" || !strings.Contains(string(d.Value), "usage: assay") || !strings.Contains(string(d.Value), `default \"text\"`) {
			t.Errorf("%q: got %s with %s, want help", args, d.Result, d.Value)
		}
	}
}

func TestVersion(t *testing.T) {
	runScripts(t, []script{{name: "version", args: []string{"version"}, stdout: []string{"assay test", "crypto module ", "public-good trust root of " + verifier.PublicGoodDate}}})
}

// R16: a panic below a command is a failure with its code, never a success.
func TestR16PanicInAParser(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, policy, []byte(goodPolicy))
	defer cli.PanicInParser()()
	for _, output := range []string{"text", "json"} {
		o := assay(t, "verify", "--policy", policy, "registry.example/app@"+aDigest, "--output", output)
		if o.status != 3 {
			t.Errorf("got status %d, want 3\n%s", o.status, o)
		}
		if output == "json" {
			if d := parseDocument(t, o); d.Code != verdict.Internal {
				t.Errorf("got code %q, want %q", d.Code, verdict.Internal)
			}
		} else if !strings.Contains(o.stderr, "[internal]") {
			t.Errorf("stderr does not have the code\n%s", o)
		}
	}
}

// brokenWriter is a full disk, or a pipe that nobody reads.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// What could not be written was not said.
func TestUnwritableAnswer(t *testing.T) {
	for _, output := range []string{"text", "json"} {
		var stderr bytes.Buffer
		status := cli.Run(t.Context(), []string{"version", "--output", output}, cli.Env{Stdin: strings.NewReader(""), Stdout: brokenWriter{}, Stderr: &stderr})
		if status != 3 || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("got status %d, want 3: %s", status, stderr.String())
		}
	}
}

// Each file that a command reads is bounded, and each way in which it can be bad
// has its exit status.
func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	policy := func(t *testing.T, dir string) {
		t.Helper()
		write(t, filepath.Join(dir, "policy.yaml"), []byte(goodPolicy))
	}
	image := "registry.example/app@" + aDigest
	for _, f := range []struct {
		name string
		args func(path string) []string
	}{
		{"policy", func(p string) []string { return []string{"policy", "check", p} }},
		{"policy of verify", func(p string) []string { return []string{"verify", "--policy", p, image} }},
		{"key", func(p string) []string { return []string{"verify", "--key", p, image} }},
		{"trusted root", func(p string) []string {
			return []string{"verify", "--policy", filepath.Join(dir, "policy.yaml"), "--trusted-root", p, image}
		}},
		{"bundle", func(p string) []string {
			return []string{"verify", "--policy", filepath.Join(dir, "policy.yaml"), "--repository", "registry.example/app", "--bundle", p, aDigest}
		}},
		{"head set", func(p string) []string { return []string{"head", "show", p} }},
		{"head to renew", func(p string) []string {
			return []string{"head", "renew", p, "--key", filepath.Join(dir, "renewal.key")}
		}},
		{"owners", func(p string) []string {
			return []string{"head", "show", filepath.Join(dir, "head.json"), "--owners", p}
		}},
		{"owner's public key", func(p string) []string { return []string{"head", "init", filepath.Join(dir, "new"), "--owner", p} }},
		{"owner's key", func(p string) []string { return []string{"head", "sign", dir, "--key", p} }},
		{"deny list", func(p string) []string {
			return []string{"deny", "add", filepath.Join(dir, "head.json"), "--key", filepath.Join(dir, "owner.key"), "--list", p}
		}},
		{"exception", func(p string) []string {
			return []string{"exception", "install", p, "--gate", filepath.Join(dir, "gate.json")}
		}},
		{"ticket", func(p string) []string { return []string{"ticket", "inspect", p} }},
		{"statement", func(p string) []string { return []string{"statement", "inspect", p} }},
		{"proof", func(p string) []string { return []string{"log", "prove", p} }},
		{"log folder", func(p string) []string { return []string{"log", "get", p} }},
		{"assayd", func(p string) []string { return []string{"dev", "init", filepath.Join(dir, "dev"), "--assayd", p} }},
		{"development folder", func(p string) []string { return []string{"dev", "serve", p} }},
		{"trust.yaml", func(p string) []string { return []string{"verify", "--server", "127.0.0.1:1", "--trust", p, image} }},
	} {
		t.Run(f.name, func(t *testing.T) {
			policy(t, dir)
			for _, bad := range []struct {
				name string
				make func(path string)
			}{
				{"missing", func(string) {}},
				{"empty", func(p string) { write(t, p, nil) }},
				{"truncated", func(p string) { write(t, p, []byte(`{"v":1,"head":{"payloadType":"application/`)) }},
				{"binary", func(p string) { write(t, p, bytes.Repeat([]byte{0, 0xff, '{', '"'}, 1000)) }},
				{"huge", func(p string) { huge(t, p) }},
				{"unreadable", func(p string) {
					if os.Geteuid() == 0 { // who may read everything; a loop nobody can
						if err := os.Symlink(p, p); err != nil {
							t.Fatal(err)
						}
						return
					}
					write(t, p, []byte("x"))
					if err := os.Chmod(p, 0); err != nil {
						t.Fatal(err)
					}
				}},
			} {
				path := filepath.Join(t.TempDir(), "file")
				bad.make(path)
				args := f.args(path)
				text := assay(t, args...)
				checkMessages(t, text)
				if text.status < 1 || text.status > 3 || (bad.name == "missing" || bad.name == "unreadable") && text.status != 2 {
					t.Errorf("%s: got status %d\n%s", bad.name, text.status, text)
				}
				if d := parseDocument(t, assay(t, append(args, "--output", "json")...)); statuses[d.Result] != text.status {
					t.Errorf("%s: got result %s in JSON and status %d in text", bad.name, d.Result, text.status)
				}
			}
		})
	}
}

// goodPolicy is a policy with one key.
const goodPolicy = `version: 1
authorities:
  release-team:
    keyless:
      issuer: https://token.actions.githubusercontent.com
      subject: https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main
rules:
  - name: acme
    repositories: ["registry.example/**"]
    authorities: [release-team]
`

func TestPolicyCheck(t *testing.T) {
	policy := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "policy.yaml"), []byte(text)) }
	}
	args := []string{"policy", "check", "$DIR/policy.yaml"}
	runScripts(t, []script{
		{name: "good", setup: policy(goodPolicy), args: args, stdout: []string{"1 rules, 1 authorities", `rule "acme": registry.example/**; enforce; signed by 1 of release-team`}},
		{name: "audit is told", setup: policy(goodPolicy + "    mode: audit\n"), args: args, stderr: []string{"warning", "it refuses nothing"}},
		{name: "typo", setup: policy(strings.Replace(goodPolicy, "repositories", "repositores", 1)), args: args, status: 2,
			stderr: []string{"policy.yaml:9:", `"repositores"`, `hint: did you mean "repositories"?`}},
		{name: "authority that is not there", setup: policy(strings.Replace(goodPolicy, "[release-team]", "[release-tean]", 1)), args: args, status: 2,
			stderr: []string{"policy.yaml:10:", `did you mean "release-team"?`}},
		{name: "truncated", setup: policy(goodPolicy[:len(goodPolicy)/2]), args: args, status: 2},
		{name: "second document", setup: policy(goodPolicy + "---\n" + goodPolicy), args: args, status: 2},
		{name: "keyless without subject", setup: policy(strings.Replace(goodPolicy, "      subject: https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main\n", "", 1)), args: args, status: 2},
	})
}
