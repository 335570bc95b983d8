// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/verdict"
)

// constants returns the codes that codes.go declares as constants, in order.
func constants(t *testing.T) []verdict.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []verdict.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != "Code" {
			return true
		}
		for _, v := range spec.Values {
			s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, verdict.Code(s))
		}
		return true
	})
	return codes
}

// TestCodes: constants and table are the same list, and each row says what a
// reader needs.
func TestCodes(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)?$`)
	declared := constants(t)
	var listed []verdict.Code
	for _, info := range verdict.Codes() {
		if slices.Contains(listed, info.Code) {
			t.Errorf("%s is there twice", info.Code)
		}
		listed = append(listed, info.Code)
		if !form.MatchString(string(info.Code)) || len(info.Code) > 64 {
			t.Errorf("%s is not family.name", info.Code)
		}
		if !slices.Contains([]verdict.Kind{verdict.KindRefusal, verdict.KindFailure, verdict.KindNote}, info.Kind) {
			t.Errorf("%s has the kind %q", info.Code, info.Kind)
		}
		for what, text := range map[string]string{"meaning": info.Meaning, "hint": info.Hint} {
			if text == "" || strings.HasSuffix(text, ".") || strings.ContainsAny(text, "\n|") {
				t.Errorf("%s has the %s %q, want a sentence without a full stop", info.Code, what, text)
			}
		}
		if got, ok := info.Code.Info(); !ok || got != info {
			t.Errorf("%s: got %+v, %v, want its row", info.Code, got, ok)
		}
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if d := cmp.Diff(declared, listed); d != "" {
		t.Errorf("constants and table differ (-constants +table):\n%s", d)
	}
	if info, ok := verdict.Code("no.such").Info(); ok || info != (verdict.CodeInfo{}) {
		t.Errorf("got %+v for a code that does not exist", info)
	}
}

// TestCodesDocument holds docs/codes.md equal to the table; -update writes it.
func TestCodesDocument(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("# Reason codes\n\n" +
		"Written from `verdict/codes.go` by `go test ./verdict -run TestCodesDocument -update`. A code is part of the API: it is never reused for something else, while the text beside it is free.\n\n" +
		"*refusal*: the answer is no. *failure*: nothing could be decided; never cached, never a pass. *note*: it was let through, and this is what to know about it.\n")
	family := ""
	for _, info := range verdict.Codes() {
		name, _, _ := strings.Cut(string(info.Code), ".")
		if name != family {
			family = name
			fmt.Fprintf(&doc, "\n## %s\n\n| code | kind | when | what to do |\n|---|---|---|---|\n", family)
		}
		fmt.Fprintf(&doc, "| `%s` | %s | %s | %s |\n", info.Code, info.Kind, info.Meaning, info.Hint)
	}
	path := filepath.Join("..", "docs", "codes.md")
	if *update {
		if err := os.WriteFile(path, []byte(doc.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(got), doc.String()); d != "" {
		t.Errorf("docs/codes.md is not what the table says (-file +table):\n%s", d)
	}
}

// What is said of tickets and statements is read on nodes and by people with assay
// alike: the agent is named only as what does it on a node.
func TestCodesForBothReaders(t *testing.T) {
	seen := 0
	for _, info := range verdict.Codes() {
		family, _, _ := strings.Cut(string(info.Code), ".")
		if family != "ticket" && family != "issuer" {
			continue
		}
		seen++
		text := info.Meaning + "; " + info.Hint
		if strings.Contains(text, "this node") || strings.Contains(text, "agent") && !strings.Contains(text, "on a node the agent") {
			t.Errorf("%s speaks to nodes alone: %s", info.Code, text)
		}
	}
	if seen < 20 {
		t.Errorf("got %d codes of tickets and statements, want them all", seen)
	}
}

// TestSpans: bounds of times are told in hours, where they are hours.
func TestSpans(t *testing.T) {
	for life, want := range map[time.Duration]string{
		99 * time.Hour:                 "valid for 99h, want 1s to 72h",
		73*time.Hour + 30*time.Minute:  "valid for 73h30m, want 1s to 72h",
		100*time.Hour + 10*time.Second: "valid for 100h0m10s, want",
		-10 * time.Minute:              "valid for -10m, want",
		0:                              "valid for 0s, want",
		// More seconds than a duration has room for.
		math.MaxInt64: "s, want 1s to 72h",
	} {
		e := verdict.Exception{Cluster: "c", Digests: []verdict.Digest{verdict.SHA256(nil)}, ID: "i", Owner: "o", Reason: "r", NotBefore: 1e9, NotAfter: 1e9 + int64(life/time.Second)}
		if life == math.MaxInt64 {
			e.NotAfter = math.MaxInt64
		}
		if _, err := verdict.SignException(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", life, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	cause := verdict.Misused("do that", "reading %q: want a number", "x")
	refusal := verdict.Refuse(verdict.SigNone, "verifying: %w", cause)
	failure := verdict.Fail(verdict.RegistryTimeout, "asking the registry: %w", refusal)
	for _, tt := range []struct {
		name string
		err  error
		text string
		code verdict.Code
	}{
		{"refusal", refusal, `verifying: reading "x": want a number [sig.none]`, verdict.SigNone},
		{"failure", failure, `asking the registry: verifying: reading "x": want a number [sig.none] [registry.timeout]`, verdict.RegistryTimeout},
		{"wrapped", fmt.Errorf("outside: %w", failure), `outside: asking the registry: verifying: reading "x": want a number [sig.none] [registry.timeout]`, verdict.RegistryTimeout},
		{"refusal because of a failure", verdict.Refuse(verdict.TicketMissing, "x: %w", failure), `x: ` + failure.Error() + ` [ticket.missing]`, verdict.TicketMissing},
		{"misuse", cause, `reading "x": want a number`, verdict.Internal},
		{"any other", os.ErrNotExist, "file does not exist", verdict.Internal},
		{"none", nil, "", ""},
	} {
		if tt.err != nil && tt.err.Error() != tt.text {
			t.Errorf("%s: got %q, want %q", tt.name, tt.err, tt.text)
		}
		if got := verdict.CodeOf(tt.err); got != tt.code {
			t.Errorf("%s: got code %q, want %q", tt.name, got, tt.code)
		}
		if got, want := verdict.Refused(tt.err), strings.HasPrefix(tt.name, "refusal"); got != want {
			t.Errorf("%s: got refused %v, want %v", tt.name, got, want)
		}
	}
	long := verdict.Refuse(verdict.SigNone, "%s", strings.Repeat("ü", 2000))
	if n := len(long.Reason.Text); n > 1024 || !strings.HasSuffix(long.Reason.Text, "ü…") {
		t.Errorf("got a text of %d bytes that ends %q, want at most 1024 of whole characters", n, long.Reason.Text[n-8:])
	}
}
