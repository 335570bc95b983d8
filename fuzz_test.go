// SPDX-License-Identifier: Apache-2.0

package assay_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)
	fuzzRow    = regexp.MustCompile("(?m)^\\| `(Fuzz\\w+)` \\| `([\\w./-]+)` \\| (\\d+) \\|")
)

// TestFuzzTargets holds docs/fuzzing.md to the targets that there are: each has one row,
// with the number of its executions.
func TestFuzzTargets(t *testing.T) {
	doc, err := os.ReadFile("docs/fuzzing.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, m := range fuzzRow.FindAllStringSubmatch(string(doc), -1) {
		rows[m[2]+"/"+m[1]]++
	}
	found := 0
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range fuzzTarget.FindAllSubmatch(source, -1) {
			key := filepath.ToSlash(filepath.Dir(path)) + "/" + string(m[1])
			if found++; rows[key] != 1 {
				t.Errorf("%s has %d rows in docs/fuzzing.md, want one", key, rows[key])
			}
			delete(rows, key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range rows {
		t.Errorf("docs/fuzzing.md has a row for %s, which is no target", key)
	}
	if found < 80 {
		t.Errorf("found %d targets, which cannot be all", found)
	}
}
