// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
)

const example = `package p

func malformed(text string) error { return wrong(text) }

func wrong(text string) error {
	return verdict.Refuse(verdict.SigInvalid, text)
}

func either(a bool) error {
	if a {
		return nil
	}
	return malformed("either")
}

func f(a, b int) error {
	if a > b {
		return verdict.Refuse(verdict.SigInvalid, "a")
	}
	if err := g(); err != nil {
		return err
	}
	switch {
	case a == 1, b == 1:
		return nil, &stageError{1, verdict.Fail(verdict.TrustStale, "b")}
	case a == 2:
		return malformed("c")
	case a == 3:
		late := malformed("l")
		if b == 3 {
			return nil, late
		}
		return nil, malformed
	case a == 4:
		return either(true)
	default:
		return verdict.Refuse(verdict.SigNone, "d")
	}
}

func h(c, d, e bool) []demand {
	_ = judge(demand{met: c, refusal: verdict.Refuse(verdict.SigCount, "e")})
	return []demand{{d, wrong(verdict.SigKind, "f")}, {met: e, refusal: wrong("g")}}
}
`

func TestChecksOf(t *testing.T) {
	checks, err := checksOf("attest", map[string][]byte{"attest/p.go": []byte(example)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range checks {
		got = append(got, c.String())
	}
	want := []string{"attest/p.go:17 f SigInvalid: a > b", "attest/p.go:24 f TrustStale: a == 1, b == 1", "attest/p.go:26 f : a == 2", "attest/p.go:28 f : a == 3",
		"attest/p.go:30 f : b == 3", "attest/p.go:42 h SigCount: c", "attest/p.go:43 h SigKind: d", "attest/p.go:43 h : e"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	hooked, err := hooked([]byte(example), checks, []int{4, 5, 6, 7, 8, 9, 10, 11})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("if a > b", "if mutationhook.Holds(4, a > b)", "a == 1, b == 1", "mutationhook.Holds(5, a == 1), mutationhook.Holds(5, b == 1)",
		"a == 2", "mutationhook.Holds(6, a == 2)", "a == 3", "mutationhook.Holds(7, a == 3)", "b == 3", "mutationhook.Holds(8, b == 3)",
		"met: c", "met: !mutationhook.Holds(9, !(c))", "{d,", "{!mutationhook.Holds(10, !(d)),", "met: e", "met: !mutationhook.Holds(11, !(e))",
		"package p", `package p; import mutationhook "github.com/assayd/assay/ci/mutation/hook"`).Replace(example)
	if string(hooked) != text {
		t.Errorf("got %s, want %s", hooked, text)
	}
}

// TestCodesAreAsserted: every code that the checks return is in the list of codes,
// and a test beside them asserts it. Which check returns it, the program
// shows.
func TestCodesAreAsserted(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	all, err := folders()
	if err != nil {
		t.Fatal(err)
	}
	returned, asserted := map[string]string{}, map[string]bool{}
	name := regexp.MustCompile(`verdict\.([A-Z][A-Za-z0-9]*)`)
	makes := regexp.MustCompile(`verdict\.(?:Refuse|Fail)\(verdict\.([A-Z][A-Za-z0-9]*),`)
	for _, folder := range all {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") {
				for _, m := range name.FindAllSubmatch(source, -1) {
					asserted[string(m[1])] = true
				}
				continue
			}
			for _, m := range makes.FindAllSubmatch(source, -1) {
				returned[string(m[1])] = file
			}
		}
	}
	table, err := os.ReadFile("verdict/codes.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(returned) < 50 {
		t.Errorf("the checks return %d codes, which is fewer than they have", len(returned))
	}
	for code, file := range returned {
		m := regexp.MustCompile(`(?m)^\s+` + code + `\s+Code = "([a-z0-9.-]+)"`).FindSubmatch(table)
		if m == nil {
			t.Errorf("%s returns %s, which is not in verdict/codes.go", file, code)
			continue
		}
		if _, ok := verdict.Code(m[1]).Info(); !ok {
			t.Errorf("%s returns %s, which is in no table", file, m[1])
		}
		if !asserted[code] && code != "Internal" {
			t.Errorf("%s returns %s, and no test beside the checks names it", file, m[1])
		}
	}
}

// TestAlike: of checks that look alike each has a name of its own.
func TestAlike(t *testing.T) {
	checks, err := checksOf(".", map[string][]byte{"p.go": []byte("package p\nfunc f() error {\n\trefuse := func(n int) error { return verdict.Refuse(n) }\n\tif a {\n\t\treturn refuse(1)\n\t}\n\tif a {\n\t\treturn refuse(2)\n\t}\n\treturn nil\n}\n")})
	if err != nil || len(checks) != 2 {
		t.Fatalf("got %v, %v", checks, err)
	}
	if one, two := checks[0].id(), checks[1].id(); one != "p.go | f |  | a" || two != one+" | 2" {
		t.Errorf("got %q and %q", one, two)
	}
}

func TestSurvivors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "survivors.txt")
	for text, ok := range map[string]bool{
		"": true, "# nothing\n": true, "a | b | c | d # why\n": true,
		"a | b | c | d\n": false, "a | b | c | d # \n": false, "a # x\na # y\n": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := survivors(path); (err == nil) != ok {
			t.Errorf("%q: got %v, want good: %v", text, err, ok)
		}
	}
}
