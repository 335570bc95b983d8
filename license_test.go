// SPDX-License-Identifier: Apache-2.0

package assay_test

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const licenseLine = "// SPDX-License-Identifier: Apache-2.0"

// goFiles calls f for each Go file of the module, generated ones included.
func goFiles(t *testing.T, f func(path string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") {
			n++
			f(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatal("got no Go files")
	}
}

// TestLicense demands the licence line, and an empty line after it, so that it
// does not become part of the package comment. Generated files have the line
// where their generator copies it from the source: somewhere above the package
// clause.
func TestLicense(t *testing.T) {
	goFiles(t, func(path string) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}()
		var head []string
		s := bufio.NewScanner(f)
		for s.Scan() && !strings.HasPrefix(s.Text(), "package ") {
			head = append(head, s.Text())
		}
		if err := s.Err(); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if strings.HasSuffix(path, ".pb.go") {
			if !slices.Contains(head, licenseLine) {
				t.Errorf("%s: no licence line in the generated file: put it first in the .proto", path)
			}
			return
		}
		if len(head) < 2 || head[0] != licenseLine || head[1] != "" {
			t.Errorf("%s: want the first line %q and an empty one", path, licenseLine)
		}
	})
}

// TestPackageComments demands a comment of each package that is not a test's,
// in one file, with the usual first words.
func TestPackageComments(t *testing.T) {
	comments := map[string][]string{} // folder → files with a package comment
	names := map[string]string{}      // folder → package
	fset := token.NewFileSet()
	goFiles(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(fset, path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(path)
		names[dir] = file.Name.Name
		if file.Doc.Text() == "" || ast.IsGenerated(file) {
			return
		}
		comments[dir] = append(comments[dir], path)
		want := "Package " + file.Name.Name + " "
		if file.Name.Name == "main" {
			want = "" // a command begins with its name, or with what it does
		}
		if !strings.HasPrefix(file.Doc.Text(), want) {
			t.Errorf("%s: the package comment begins %.40q, want %q", path, file.Doc.Text(), want)
		}
	})
	for dir, name := range names {
		switch n := len(comments[dir]); {
		case n == 0 && dir != filepath.FromSlash("verdict/assay/v1"): // generated; the proto has the comments
			t.Errorf("%s: package %s has no comment", dir, name)
		case n > 1:
			t.Errorf("%s: package %s has comments in %q, want one", dir, name, comments[dir])
		}
	}
}
