// SPDX-License-Identifier: Apache-2.0

package assay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestCodesAreUsed demands that each reason code is given by some code of the
// product: one that nothing gives is a promise in docs/codes.md that nobody
// keeps. Tests, the harness in ci and the list itself do not count.
func TestCodesAreUsed(t *testing.T) {
	const list = "verdict/codes.go"
	unused := map[string]bool{}
	parse := func(path string) *ast.File {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	ast.Inspect(parse(list), func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
				unused[spec.Names[0].Name] = true
			}
		}
		return true
	})
	if len(unused) == 0 {
		t.Fatalf("got no codes in %s", list)
	}
	goFiles(t, func(path string) {
		path = filepath.ToSlash(path)
		if path == list || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "ci/") {
			return
		}
		inPackage := strings.HasPrefix(path, "verdict/") && strings.Count(path, "/") == 1
		ast.Inspect(parse(path), func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "verdict" {
					delete(unused, n.Sel.Name)
				}
			case *ast.Ident:
				if inPackage {
					delete(unused, n.Name)
				}
			}
			return true
		})
	})
	for name := range unused {
		t.Errorf("nothing gives verdict.%s: delete it from %s and docs/codes.md, or give it", name, list)
	}
}
