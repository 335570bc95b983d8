// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A check is a place in the code that returns a reason code where a condition
// holds.
type check struct {
	file string // relative to the root of the repository
	line int
	fn   string // the function it is in
	code string // name of the constant, such as SigInvalid; "" where it is not seen
	cond string // the condition, on one line
	nth  int    // which one it is of those that are alike, from 1
	// conditions are where it is written; a case may have several.
	conditions []span
	// met says that it refuses where the condition does not hold, as a demand does.
	met bool
}

// A span is a part of a file, by its offsets.
type span struct{ from, to int }

// An edit inserts text at an offset of the file.
type edit struct {
	at   int
	text string
}

// id names a check in the list of survivors: a line number would change with
// every edit above it.
func (c check) id() string {
	id := strings.Join([]string{c.file, c.fn, c.code, c.cond}, " | ")
	if c.nth > 1 {
		id += " | " + strconv.Itoa(c.nth)
	}
	return id
}

// plain are folders with errors that have no code: their callers give them one, or
// they say that a command is misused.
var plain = []string{"attest/folder", "verdict", "verifier/internal/dialguard", "verifier/internal/revocation", "verifier/internal/sct", "verifier/internal/stamp", "verifier/internal/strictjson"}

// demandType is, in the folders of withDemands, a struct whose first field says
// whether something that is demanded is met, and where it is not it is refused.
const demandType = "demand"

var withDemands = []string{"attest"}

// findChecks returns the checks of the Go files in folders, tests left out, in the
// order of their places.
func findChecks(folders []string) ([]check, error) {
	var out []check
	for _, folder := range folders {
		names, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			return nil, err
		}
		sources := make(map[string][]byte)
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if sources[name], err = os.ReadFile(name); err != nil {
				return nil, err
			}
		}
		found, err := checksOf(folder, sources)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// checksOf returns the checks of one package's files, by their names.
func checksOf(folder string, sources map[string][]byte) ([]check, error) {
	files := token.NewFileSet()
	names := slices.Sorted(maps.Keys(sources))
	var parsed []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(files, name, sources[name], parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	folder = filepath.ToSlash(folder)
	makers := makersOf(parsed, slices.Contains(plain, folder))
	var out []check
	for i, f := range parsed {
		out = append(out, checksIn(files, names[i], folder, f, makers)...)
	}
	return out, nil
}

func checksIn(files *token.FileSet, name, folder string, parsed *ast.File, makers makers) []check {
	hasDemands := slices.Contains(withDemands, folder)
	isPlain := slices.Contains(plain, folder)
	var out []check
	for _, d := range parsed.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			var conditions []ast.Expr
			var body []ast.Stmt
			switch n := n.(type) {
			case *ast.IfStmt:
				conditions, body = []ast.Expr{n.Cond}, n.Body.List
			case *ast.SwitchStmt:
				if n.Tag != nil {
					return true
				}
				for _, s := range n.Body.List {
					if clause, ok := s.(*ast.CaseClause); ok && len(clause.List) > 0 {
						if code, ok := makers.refuses(clause.Body, isPlain); ok {
							out = append(out, newCheck(files, name, fn.Name.Name, code, clause.List))
						}
					}
				}
				return true
			case *ast.CompositeLit:
				if !hasDemands {
					return true
				}
				for _, d := range demandsOf(n) {
					c := newCheck(files, name, fn.Name.Name, codeIn(d), []ast.Expr{metOf(d)})
					c.met = true
					out = append(out, c)
				}
				return true
			default:
				return true
			}
			if code, ok := makers.refuses(body, isPlain); ok {
				out = append(out, newCheck(files, name, fn.Name.Name, code, conditions))
			}
			return true
		})
	}
	slices.SortFunc(out, func(a, b check) int { return a.line - b.line })
	alike := make(map[string]int)
	for i := range out {
		id := out[i].id()
		alike[id]++
		out[i].nth = alike[id]
	}
	return out
}

func newCheck(files *token.FileSet, name, fn, code string, conditions []ast.Expr) check {
	c := check{file: filepath.ToSlash(name), line: files.Position(conditions[0].Pos()).Line, fn: fn, code: code}
	var texts []string
	for _, e := range conditions {
		var b bytes.Buffer
		_ = printer.Fprint(&b, files, e) // to memory
		texts = append(texts, strings.Join(strings.Fields(b.String()), " "))
		c.conditions = append(c.conditions, span{files.Position(e.Pos()).Offset, files.Position(e.End()).Offset})
	}
	c.cond = strings.Join(texts, ", ")
	return c
}

// demandsOf returns the demands that a literal is or lists.
func demandsOf(lit *ast.CompositeLit) []*ast.CompositeLit {
	switch t := lit.Type.(type) {
	case *ast.Ident:
		if t.Name == demandType && len(lit.Elts) > 0 {
			return []*ast.CompositeLit{lit}
		}
	case *ast.ArrayType:
		if of, ok := t.Elt.(*ast.Ident); ok && of.Name == demandType {
			var out []*ast.CompositeLit
			for _, e := range lit.Elts {
				if d, ok := e.(*ast.CompositeLit); ok && d.Type == nil && len(d.Elts) > 0 {
					out = append(out, d)
				}
			}
			return out
		}
	}
	return nil
}

// metOf is what a demand is met by: its first field.
func metOf(d *ast.CompositeLit) ast.Expr {
	if pair, ok := d.Elts[0].(*ast.KeyValueExpr); ok {
		return pair.Value
	}
	return d.Elts[0]
}

// codeIn is the first code that is named in n, or "".
func codeIn(n ast.Node) (code string) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || code != "" {
			return code == ""
		}
		for _, a := range call.Args {
			if s, ok := a.(*ast.SelectorExpr); ok && code == "" {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "verdict" {
					code = s.Sel.Name
				}
			}
		}
		return true
	})
	return code
}

// hooked returns the source of a file with its checks asking package hook. A check
// is known there by its place in all, which numbers gives.
func hooked(source []byte, checks []check, numbers []int) ([]byte, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), "", source, parser.PackageClauseOnly)
	if err != nil {
		return nil, err
	}
	// On the line of the package clause, so that lines stay what they are.
	edits := []edit{{int(parsed.Name.End()) - 1, "; import mutationhook \"" + module + "/ci/mutation/hook\""}}
	for i, c := range checks {
		before, after := fmt.Sprintf("mutationhook.Holds(%d, ", numbers[i]), ")"
		if c.met {
			before, after = fmt.Sprintf("!mutationhook.Holds(%d, !(", numbers[i]), "))"
		}
		for _, s := range c.conditions {
			edits = append(edits, edit{s.from, before}, edit{s.to, after})
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return b.at - a.at })
	out := slices.Clone(source)
	for _, e := range edits {
		out = slices.Insert(out, e.at, []byte(e.text)...)
	}
	return out, nil
}

func (c check) String() string {
	return fmt.Sprintf("%s:%d %s %s: %s", c.file, c.line, c.fn, c.code, c.cond)
}
