// SPDX-License-Identifier: Apache-2.0

package assay_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAttacks holds docs/attacks.md to what there is: each of its codes is one, and each
// test and case that it names is in the package that it names.
func TestAttacks(t *testing.T) {
	data, err := os.ReadFile("docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	codes, err := os.ReadFile("docs/codes.md") // which package verdict holds to its list
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	source := func(dir string) string {
		if text, ok := sources[dir]; ok {
			return text
		}
		names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("got no tests in %s: %v", dir, err)
		}
		var all strings.Builder
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
		sources[dir] = all.String()
		return sources[dir]
	}
	quoted := regexp.MustCompile("`([^`]*)`")
	rows := 0
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.Contains(cells[1], "code") {
			continue
		}
		rows++
		for _, code := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if !strings.Contains(string(codes), "\n| `"+code[1]+"` |") {
				t.Errorf("%s: there is no code %s", cells[0], code[1])
			}
		}
		dir, tests := "", 0
		for _, name := range quoted.FindAllStringSubmatch(cells[2], -1) {
			function, of, _ := strings.Cut(name[1], "/")
			switch {
			case !strings.HasPrefix(function, "Test"):
				if dir = name[1]; strings.HasPrefix(dir, "make ") {
					dir = ""
				}
			case !strings.Contains(source(dir), "func "+function+"(t *testing.T)"), of != "" && !strings.Contains(source(dir), `"`+of+`"`):
				t.Errorf("%s: there is no %s in %s", cells[0], name[1], dir)
			default:
				tests++
			}
		}
		if tests == 0 {
			t.Errorf("%s: no test", cells[0])
		}
	}
	if rows < 50 {
		t.Errorf("got %d attacks", rows)
	}
}
