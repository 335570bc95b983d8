// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/verifier"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestPolicySchema: the schema is that of the types, with what their fields'
// comments say.
func TestPolicySchema(t *testing.T) {
	s := &schemas{docs: fieldDocs(t)}
	root := s.of(reflect.TypeFor[verifier.Policy]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "assay policy, version 1"
	root["properties"].(map[string]any)["version"] = map[string]any{"const": 1, "description": "Version is 1. Required."}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("policy.schema.json", b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the types changed; run with -update and review:\n%s", diff)
	}
	if !*update && !bytes.Equal(verifier.PolicySchema(), want) {
		t.Error("the embedded schema is another")
	}
}

// choices are the values of fields that are one of a few.
var choices = map[string][]string{
	"Rule.Mode":            {"off", "audit", "enforce"},
	"Rule.Level":           {"organisation", "registry", "build", "team", "namespace"},
	"Rule.Tier":            {"app", "base"},
	"Rule.Children":        {"covered", "signed"},
	"Authority.Revocation": {"hard", "soft", "off"},
	"BaseImage.From":       {"provenance", "annotation"},
}

// kinds are the members of an authority of which there is exactly one.
var kinds = []string{"keyless", "key", "x509", "notation", "tuf"}

type schemas struct{ docs map[string]string }

func (s *schemas) of(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string", "minLength": 1}
	case reflect.Int:
		return map[string]any{"type": "integer", "minimum": 1}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Slice:
		return map[string]any{"type": "array", "minItems": 1, "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	}
	properties, required := map[string]any{}, []string{}
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		if name == "" || !f.IsExported() {
			continue
		}
		p := s.of(f.Type)
		if c, ok := choices[t.Name()+"."+f.Name]; ok {
			if items, ok := p["items"].(map[string]any); ok {
				items["enum"] = c
			} else {
				p["enum"] = c
			}
		}
		doc := s.docs[t.Name()+"."+f.Name]
		if doc != "" {
			p["description"] = doc
		}
		if strings.Contains(doc, " Required.") || strings.HasPrefix(doc, "Required.") {
			required = append(required, name)
		}
		properties[name] = p
	}
	out := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if t == reflect.TypeFor[verifier.Authority]() {
		var one []any
		for _, k := range kinds {
			if properties[k] == nil {
				panic("no field " + k)
			}
			one = append(one, map[string]any{"required": []string{k}})
		}
		out["oneOf"] = one
	}
	if t == reflect.TypeFor[verifier.Rule]() { // not where attestations or mode off stand in
		required = slices.DeleteFunc(required, func(n string) bool { return n == "authorities" || n == "require" })
	}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// fieldDocs reads the comments of the fields of this package's types.
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	docs := make(map[string]string)
	for _, name := range []string{"policy.go", "authority.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range st.Fields.List {
				for _, id := range field.Names {
					docs[spec.Name.Name+"."+id.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
			return true
		})
	}
	return docs
}

// TestFormatPolicy: one layout, comments kept, meaning kept.
func TestFormatPolicy(t *testing.T) {
	in := "# whose policy\nrules:\n- repositories: [ \"registry.example/**\" ]   # ours\n  name: all\n  authorities: [team]\nversion: 1\nauthorities:\n      team:\n         keyless: {subject: s, issuer: 'https://i.example'}\n"
	want := "version: 1\nauthorities:\n  team:\n    keyless: {issuer: 'https://i.example', subject: s}\n# whose policy\nrules:\n  - name: all\n    repositories: [\"registry.example/**\"] # ours\n    authorities: [team]\n"
	out, err := verifier.FormatPolicy("policy.yaml", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Error(diff)
	}
	again, err := verifier.FormatPolicy("policy.yaml", out)
	if err != nil || !bytes.Equal(again, out) {
		t.Errorf("formatting twice: %v\n%s", err, again)
	}
	_, err = verifier.FormatPolicy("policy.yaml", []byte("version: 2\n"))
	wantMisuse(t, "a bad policy", err, "policy.yaml:1:10")
}
