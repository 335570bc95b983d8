// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/token"
	"strings"
)

// makers are the names, in one package, of the functions and closures that always
// return a refusal or a failure, and of the variables that hold one, such as
//
//	func malformed(err error) error { return verdict.Refuse(verdict.Malformed, "…: %w", err) }
//
// What returns one of them refuses, as what calls verdict.Refuse does.
type makers map[string]bool

// makersOf finds those of a package's files. In plain packages any new error
// is a refusal.
func makersOf(files []*ast.File, isPlain bool) makers {
	found := make(makers)
	for again := true; again; { // a maker may call another one
		again = false
		add := func(name string, makes bool) {
			if makes && name != "_" && !found[name] {
				found[name], again = true, true
			}
		}
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Recv == nil {
						add(n.Name.Name, n.Body != nil && found.always(n.Body, isPlain))
					}
				case *ast.AssignStmt:
					for i, to := range n.Lhs {
						if name, ok := to.(*ast.Ident); ok && n.Tok == token.DEFINE && len(n.Lhs) == len(n.Rhs) {
							add(name.Name, found.makes(n.Rhs[i], isPlain))
						}
					}
				case *ast.ValueSpec:
					for i, name := range n.Names {
						if len(n.Names) == len(n.Values) {
							add(name.Name, found.makes(n.Values[i], isPlain))
						}
					}
				}
				return true
			})
		}
	}
	return found
}

// makes says whether an expression is a refusal, or a closure that always returns
// one.
func (m makers) makes(e ast.Expr, isPlain bool) bool {
	if f, ok := e.(*ast.FuncLit); ok {
		return m.always(f.Body, isPlain)
	}
	call, ok := e.(*ast.CallExpr)
	return ok && m.made(call, isPlain)
}

// always says whether every return of a function is one of a refusal.
func (m makers) always(body *ast.BlockStmt, isPlain bool) bool {
	returns, all := 0, true
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			returns++
			_, ok := m.refuses([]ast.Stmt{n}, isPlain)
			all = all && ok
		}
		return true
	})
	return returns > 0 && all
}

// made says whether a call makes a refusal or a failure.
func (m makers) made(call *ast.CallExpr, isPlain bool) bool {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		pkg, ok := f.X.(*ast.Ident)
		return ok && (pkg.Name == "verdict" && (f.Sel.Name == "Refuse" || f.Sel.Name == "Fail") ||
			isPlain && (pkg.Name == "verdict" && f.Sel.Name == "Misused" || pkg.Name == "fmt" && f.Sel.Name == "Errorf" || pkg.Name == "errors" && f.Sel.Name == "New"))
	case *ast.Ident:
		return m[f.Name] || ownMakers[f.Name]
	}
	return false
}

// ownMakers are the same in package verdict, where they have no package before them.
var ownMakers = map[string]bool{"Refuse": true, "Fail": true, "Misused": true}

// refuses says whether a block ends with the return of a refusal or failure, and
// with which code.
func (m makers) refuses(body []ast.Stmt, isPlain bool) (code string, ok bool) {
	if len(body) == 0 {
		return "", false
	}
	last, isReturn := body[len(body)-1].(*ast.ReturnStmt)
	if !isReturn {
		return "", false
	}
	for _, r := range last.Results {
		if name, isName := r.(*ast.Ident); isName && (m[name.Name] || isPlain && strings.HasPrefix(name.Name, "Err")) {
			ok = true // an error that was made before
		}
		if code == "" {
			code = codeIn(r)
		}
		ast.Inspect(r, func(n ast.Node) bool {
			if call, isCall := n.(*ast.CallExpr); isCall {
				ok = ok || m.made(call, isPlain)
			}
			return true
		})
	}
	return code, ok
}
