// SPDX-License-Identifier: Apache-2.0

package assay_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const module = "github.com/assayd/assay"

// layers says which folders of this module a folder may import, tests included;
// a test that needs a higher layer lives in that layer. Folders are matched
// with what is below them, and the longest match counts.
//
// This is policy (docs/design, import order), not a description: it is not
// edited to make a build pass. A folder that is not in it fails the test.
var layers = map[string][]string{
	// The formats: every arrow of the system is one of them, so they depend on
	// nothing.
	"verdict": {},
	// Generated, with the mapping of reasons; the only part of verdict that links
	// protobuf and grpc.
	"verdict/assay/v1": {"verdict"},

	// The one reader of files that people write. A leaf, so that no layer has to
	// read YAML by itself (docs/decisions/0022).
	"internal/strictyaml": {"verdict"},

	// Five libraries that do not know one another.
	"attest":      {"verdict"},
	"spiffe":      {"verdict"},
	"verifier":    {"verdict", "internal/strictyaml"},
	"audit":       {"verdict", "audit/proof"},
	"audit/proof": {"verdict"},
	"node/gate":   {"verdict"},

	// The only one that touches devices.
	"enclave": {"verdict", "attest", "spiffe", "verifier", "audit", "node/gate"},

	// What makes assayd the first process of a machine. A leaf beside the devices: it
	// knows nothing of evidence.
	"enclave/pid1": {"verdict", "internal/strictyaml"},

	// Assembly: inside the CVM, and outside it. They meet in verdict and its
	// proto alone.
	"daemon": {"verdict", "internal/strictyaml", "verdict/assay/v1", "attest", "spiffe", "verifier", "audit", "audit/proof", "enclave"},
	// Of the log, nodes get what checks proofs and nothing that writes.
	"node": {"verdict", "internal/strictyaml", "verdict/assay/v1", "attest", "spiffe", "audit/proof", "node/gate"},

	// Flags. The daemon's command does not know the node, and the reverse.
	"cmd/assayd":     {"verdict", "internal/strictyaml", "verdict/assay/v1", "attest", "spiffe", "verifier", "audit", "audit/proof", "enclave", "enclave/pid1", "daemon"},
	"cmd/assay-node": {"verdict", "verdict/assay/v1", "attest", "spiffe", "audit/proof", "node", "node/gate"},
	"cmd/assay-gate": {"verdict", "node/gate"},
	"cmd/assay":      {"verdict", "internal/strictyaml", "verdict/assay/v1", "attest", "spiffe", "verifier", "audit", "audit/proof", "enclave", "enclave/pid1", "daemon", "node", "node/gate"},

	// The machine image: a builder, which knows nothing of what it packs.
	"image": {},

	// Harness: imports what it likes, and is imported by nothing, but for parts
	// that import nothing of ours, which tests of every layer may use.
	"ci/fuzz":  {},
	"ci/swtpm": {},
	"ci":       {"verdict", "internal/strictyaml", "verdict/assay/v1", "attest", "spiffe", "verifier", "audit", "audit/proof", "enclave", "enclave/pid1", "daemon", "node", "node/gate", "ci/fuzz", "ci/swtpm", "image"},

	// This folder: only tests of the repository itself.
	".": {},
}

// testOnly are folders that only tests and ci may import.
var testOnly = []string{"attest/attesttest", "spiffe/spiffetest", "verifier/notaryv1test", "verifier/revocationtest", "verifier/sigstoretest", "verifier/tuftest", "image", "ci"}

// forbidden says what may not be linked into what, and why. The key is a
// folder or "" for all; names are import paths, with what is below them.
// What is forbidden has to exist in the module graph or the standard library,
// so that a renamed module does not slip through, but for what absent says.
var forbidden = []struct{ folder, name, why string }{
	{"", "github.com/sigstore/cosign", absent + "it links 122 modules; sigstore-go verifies"},
	{"attest", "net/http", "bytes in, appraisal out: an appraisal is the same wherever it is made"},
	{"attest", "os/exec", "as net/http"},
	{"node", "github.com/sigstore/sigstore-go", "a node checks tickets, it does not verify images"},
	{"node", "github.com/transparency-dev/tessera", "a node checks proofs, it does not write the log"},
	{"cmd/assay-node", "github.com/sigstore/sigstore-go", "a node checks tickets, it does not verify images"},
	{"cmd/assay-node", "github.com/transparency-dev/tessera", "a node checks proofs, it does not write the log"},
	{"cmd/assay-node", "github.com/google/go-containerregistry", "a node does not talk to registries"},
	{"", "github.com/sigstore/sigstore-go/pkg/sign", absent + "it links an old go-tuf and formats of packages; a signer is four requests"},
	{"attest", "golang.org/x/crypto", "primitives outside the FIPS modules: docs/fips.md says that no appraisal has any"},
	{"node", "golang.org/x/crypto", "the same of a node"},
	{"cmd/assay-node", "golang.org/x/crypto", "the same of a node"},
	{"cmd/assay-gate", "golang.org/x/crypto", "the same of a gate"},
	{"cmd/assay-node", "filippo.io/mldsa", "the same of a node"},
	{"cmd/assay-gate", "google.golang.org/grpc", "it is started for each pull and must be up in single milliseconds"},
	{"cmd/assay-gate", "net/http", "it talks to a unix socket alone"},
}

// absent marks a forbidden module that nothing brings in today.
const absent = "(not in the module graph) "

// entries says through which one folder each big library enters. Tests may use
// a library to check what we do with it.
var entries = map[string][]string{
	"github.com/sigstore/sigstore-go":           {"verifier"},
	"github.com/spiffe/go-spiffe/v2":            {"spiffe"},
	"github.com/transparency-dev/tessera":       {"audit"},
	"github.com/google/go-sev-guest":            {"attest", "enclave"},
	"github.com/google/go-tpm":                  {"attest", "enclave"},
	"github.com/google/go-containerregistry":    {"verifier", "ci"},
	"github.com/theupdateframework/go-tuf/v2":   {"verifier"},
	"cel.dev/cel-go":                            {"verifier/internal/predicate"},
	"github.com/notaryproject/notation-core-go": {"verifier"},
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Module                             *struct{ Path string }
	Standard                           bool
}

// goList runs go list -json and decodes its stream.
func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Module,Standard"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %q: %v\n%s", args, err, stderr.Bytes())
	}
	var ps []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	if len(ps) == 0 {
		t.Fatalf("go list %q: no packages", args)
	}
	return ps
}

// folder returns the folder of a package of this module.
func folder(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func below(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// longest returns the longest of dirs that f is below.
func longest(f string, dirs []string) string {
	best := ""
	for _, d := range dirs {
		if below(f, d) && len(d) > len(best) {
			best = d
		}
	}
	return best
}

func keys[V any](m map[string]V) []string {
	var ks []string
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

func TestImportOrder(t *testing.T) {
	for dir := range layers {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("the layers name a folder that is not there: %v", err)
		}
	}
	for _, p := range goList(t, "./...") {
		from, _ := folder(p.ImportPath)
		layer := longest(from, keys(layers))
		if layer == "" {
			t.Errorf("%s is in no layer; a new folder is a change of design", from)
			continue
		}
		check := func(imports []string, test bool) {
			for _, i := range imports {
				to, ours := folder(i)
				if !ours {
					for library, may := range entries {
						if below(i, library) && !test && longest(from, may) == "" {
							t.Errorf("%s imports %s, which enters through %q", from, i, may)
						}
					}
					if layer == "verdict" && strings.Contains(strings.SplitN(i, "/", 2)[0], ".") && !test {
						t.Errorf("%s imports %s, want the standard library alone", from, i)
					}
					continue
				}
				target := longest(to, keys(layers))
				if test && below(target, "ci") && len(layers[target]) == 0 {
					continue
				}
				if target != layer && !slices.Contains(layers[layer], target) {
					t.Errorf("%s imports %s (test: %t); %s may import %q", from, to, test, layer, layers[layer])
				}
				if d := longest(to, testOnly); d != "" && !test && !below(from, "ci") && longest(from, testOnly) == "" {
					t.Errorf("%s imports %s, which is for tests", from, to)
				}
			}
		}
		check(p.Imports, false)
		check(slices.Concat(p.TestImports, p.XTestImports), true)
	}
}

func TestForbidden(t *testing.T) {
	all := goList(t, "-deps", "-test", "./...")
	for _, f := range forbidden {
		pattern := "./..."
		if f.folder != "" {
			pattern = "./" + f.folder + "/..."
		}
		exists := false
		for _, p := range all {
			exists = exists || below(p.ImportPath, f.name)
		}
		if gone := !exists; gone != strings.HasPrefix(f.why, absent) {
			t.Errorf("forbidden %s: is it in the module graph? got %t, the table says otherwise", f.name, exists)
		}
		var deps []goPackage
		for _, p := range goList(t, "-deps", pattern) {
			// A folder of builders for tests is not product code.
			if from, ours := folder(p.ImportPath); ours && longest(from, testOnly) != "" {
				continue
			}
			deps = append(deps, p)
		}
		for _, p := range deps {
			if from, ours := folder(p.ImportPath); !ours || f.folder != "" && !below(from, f.folder) {
				continue
			}
			if chain := findImport(deps, p.ImportPath, f.name); chain != nil {
				t.Errorf("%s links %s (%s): %s", p.ImportPath, f.name, f.why, strings.Join(chain, " → "))
			}
		}
	}
}

// findImport returns how from comes to import something below name, or nil.
func findImport(deps []goPackage, from, name string) []string {
	imports := map[string][]string{}
	for _, p := range deps {
		imports[p.ImportPath] = p.Imports
	}
	via := map[string]string{from: ""}
	queue := []string{from}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if below(at, name) {
			var chain []string
			for ; at != ""; at = via[at] {
				chain = append(chain, at)
			}
			slices.Reverse(chain)
			return chain
		}
		for _, next := range imports[at] {
			if _, seen := via[next]; !seen {
				via[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// TestLinks compares the modules that each binary links with
// testdata/links/BINARY.txt: one module a line, and for a module that our own
// code imports, "# why". Rewrite them with
//
//	go test -run TestLinks -update .
//
// and give a reason for each new line in the review.
func TestLinks(t *testing.T) {
	mains, err := filepath.Glob("cmd/assay*")
	if err != nil {
		t.Fatal(err)
	}
	if len(mains) == 0 {
		t.Fatal("got no commands")
	}
	for _, dir := range mains {
		binary := filepath.Base(dir)
		t.Run(binary, func(t *testing.T) {
			deps := goList(t, "-deps", "./cmd/"+binary)
			direct := map[string]bool{} // modules that our code imports
			linked := map[string]bool{}
			moduleOf := map[string]string{}
			for _, p := range deps {
				if !p.Standard && p.Module != nil {
					moduleOf[p.ImportPath] = p.Module.Path
					if p.Module.Path != module {
						linked[p.Module.Path] = true
					}
				}
			}
			for _, p := range deps {
				if moduleOf[p.ImportPath] == module {
					for _, i := range p.Imports {
						if m := moduleOf[i]; m != "" && m != module {
							direct[m] = true
						}
					}
				}
			}
			golden := filepath.Join("testdata", "links", binary+".txt")
			want, err := readLinks(golden)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if *update {
				var text strings.Builder
				for _, m := range keys(linked) {
					line := m
					if direct[m] {
						line += " # " + want[m]
					}
					fmt.Fprintln(&text, strings.TrimRight(line, " "))
				}
				if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				want, err = readLinks(golden)
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range keys(linked) {
				reason, ok := want[m]
				if !ok {
					t.Errorf("%s links %s, which %s does not list: %s", binary, m, golden, strings.Join(findImport(deps, path.Join(module, "cmd", binary), m), " → "))
				}
				if ok && direct[m] && reason == "" {
					t.Errorf("%s: %s is imported by our own code and has no reason", golden, m)
				}
			}
			for _, m := range keys(want) {
				if !linked[m] {
					t.Errorf("%s lists %s, which %s no longer links", golden, m, binary)
				}
			}
			if binary == "assay-gate" && len(linked) != 0 {
				t.Errorf("assay-gate links %q, want the standard library and this module alone", keys(linked))
			}
		})
	}
}

// readLinks reads a list of modules and their reasons.
func readLinks(name string) (map[string]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	links := map[string]string{}
	for line := range strings.Lines(string(text)) {
		m, why, _ := strings.Cut(strings.TrimSpace(line), "#")
		links[strings.TrimSpace(m)] = strings.TrimSpace(why)
	}
	return links, nil
}

func TestGoMod(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Replace) != 0 {
		t.Errorf("go.mod has replace directives, which a module that requires us ignores: %v", f.Replace)
	}
	// sumdb/tlog before it accepts forged tiles (CVE-2026-56865), and tessera and
	// sigstore-go ask for older ones.
	const mod, least = "golang.org/x/mod", "v0.40.0"
	for _, r := range f.Require {
		if r.Mod.Path == mod {
			if semver.Compare(r.Mod.Version, least) < 0 {
				t.Errorf("got %s %s, want at least %s", mod, r.Mod.Version, least)
			}
			return
		}
	}
	t.Errorf("go.mod does not require %s, want at least %s", mod, least)
}
