// SPDX-License-Identifier: Apache-2.0

package predicate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
)

var at0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func payload(t testing.TB, predicateType string, predicate any) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType, "predicate": predicate,
		"subject": []any{map[string]any{"name": "app", "digest": map[string]string{"sha256": strings.Repeat("a", 64)}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEval: what a condition can name, and what it comes to.
func TestEval(t *testing.T) {
	in := Input{Statement: payload(t, "https://example.com/p", map[string]any{"n": 5, "f": 1.5, "s": "abc", "l": []any{1, 2, 3}, "o": map[string]any{"x": nil}, "big": json.Number("9007199254740993")}),
		Repository: "registry.example/app", Digest: "sha256:x", Issuer: "i", SAN: "s", Key: "k", SignedAt: at0}
	for expression, want := range map[string]verdict.Code{
		`true`:                                     "",
		`false`:                                    verdict.StatementPredicate,
		`predicate.n == 5`:                         "",
		`predicate.n == 5.0`:                       "",
		`predicate.n < 5`:                          verdict.StatementPredicate,
		`predicate.f > 1`:                          "",
		`predicate.big == 9007199254740993`:        "",
		`predicate.s.startsWith("ab")`:             "",
		`predicate.s.matches("^a.c$")`:             "",
		`predicate.l.all(x, x > 0)`:                "",
		`predicate.l.exists(x, x > 3)`:             verdict.StatementPredicate,
		`predicate.o.x == null`:                    "",
		`has(predicate.absent)`:                    verdict.StatementPredicate,
		`predicate.absent == 1`:                    verdict.PolicyError,
		`predicate.s > 5`:                          verdict.PolicyError,
		`predicate.n`:                              verdict.PolicyError,
		`predicate.n.x.y == 1`:                     verdict.PolicyError,
		`predicateType == "https://example.com/p"`: "",
		`subject[0].digest.sha256.size() == 64`:    "",
		`image.repository == "registry.example/app" && image.digest == "sha256:x"`: "",
		`signer.issuer == "i" && signer.san == "s" && signer.key == "k"`:           "",
		`signedAt > timestamp("2026-01-01T00:00:00Z")`:                             "",
		`signedAt < timestamp("2026-01-01T00:00:00Z")`:                             verdict.StatementPredicate,
		`sets.contains(predicate.l, [1, 2])`:                                       "",
	} {
		p, err := Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if err := p.Eval(t.Context(), in); verdict.CodeOf(err) != want && (err != nil || want != "") {
			t.Errorf("%s: got %v, want %q", expression, err, want)
		}
	}
	undated := in
	undated.SignedAt = time.Time{}
	for expression, want := range map[string]verdict.Code{`signedAt == null`: "", `signedAt > timestamp("2026-01-01T00:00:00Z")`: verdict.PolicyError} {
		p, err := Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Eval(t.Context(), undated); (err != nil || want != "") && verdict.CodeOf(err) != want {
			t.Errorf("%s without time: got %v, want %q", expression, err, want)
		}
	}
}

// TestR20NoPredicate: a predicate that is no object decides nothing.
func TestR20NoPredicate(t *testing.T) {
	p, err := Compile(`predicate.x == 1`)
	if err != nil {
		t.Fatal(err)
	}
	for _, predicate := range []any{nil, 5, "x", []any{}} {
		if err := p.Eval(t.Context(), Input{Statement: payload(t, "https://example.com/p", predicate)}); verdict.CodeOf(err) != verdict.PolicyError || verdict.Refused(err) {
			t.Errorf("predicate %v: got %v, want a failure with policy.error", predicate, err)
		}
	}
	for name, bad := range map[string]string{"not JSON": "not json", "a list": "[]", "twice": `{"predicate":{},"predicate":{}}`, "twice inside": `{"predicate":{"x":1,"x":1}}`, "trailing": `{} {}`, "not UTF-8": "{\"a\":\"\xff\"}",
		"deep": strings.Repeat("[", 100) + strings.Repeat("]", 100), "cut": `{"predicate":`} {
		if err := p.Eval(t.Context(), Input{Statement: []byte(bad)}); verdict.CodeOf(err) != verdict.InputMalformed {
			t.Errorf("%s: got %v, want input.malformed", name, err)
		}
	}
}

// TestR53Cost: work without bound is stopped by its cost, and by the context.
func TestR53Cost(t *testing.T) {
	var packages []any
	for i := range 10_000 {
		packages = append(packages, map[string]any{"name": fmt.Sprint("p", i)})
	}
	in := Input{Statement: payload(t, "https://spdx.dev/Document", map[string]any{"packages": packages})}
	nested, err := Compile(`predicate.packages.all(a, predicate.packages.all(b, a.name != b.name || a == b))`)
	if err != nil {
		t.Fatal(err)
	}
	if err := nested.Eval(t.Context(), in); verdict.CodeOf(err) != verdict.PolicyError || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("nested comprehension: got %v, want the cost limit", err)
	}
	flat, err := Compile(`predicate.packages.all(a, a.name.startsWith("p"))`)
	if err != nil {
		t.Fatal(err)
	}
	if err := flat.Eval(t.Context(), in); err != nil {
		t.Errorf("one pass over the packages: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := flat.Eval(ended, in); verdict.CodeOf(err) != verdict.PolicyError {
		t.Errorf("with an ended context: got %v, want policy.error", err)
	}
	// Expressions are linear in the text, whatever they say.
	slow, err := Compile(`predicate.s.matches("^(a+)+$")`)
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Eval(t.Context(), Input{Statement: payload(t, "https://example.com/p", map[string]any{"s": strings.Repeat("a", 64<<10) + "!"})}); verdict.CodeOf(err) != verdict.StatementPredicate && verdict.CodeOf(err) != verdict.PolicyError {
		t.Errorf("an expression over 64 KiB: got %v", err)
	}
}

func TestCompileMisuse(t *testing.T) {
	for expression, want := range map[string]string{
		``: "condition 1:", `tru &&`: "condition 1:7", `1 + 1`: "want bool", `"x"`: "want bool", `unknown == 1`: "unknown", `predicate.x(`: "condition 1:",
		`now > signedAt`: "now", strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100): "condition", strings.Repeat(" ", MaxExpression) + "true": "want at most",
	} {
		if _, err := Compile(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q in it", expression, err, want)
		}
	}
}

func TestProvenance(t *testing.T) {
	sum := strings.Repeat("b", 64)
	material := func(uri string, digest map[string]string) map[string]any {
		return map[string]any{"uri": uri, "digest": digest}
	}
	images := []any{
		material("pkg:docker/debian@12?platform=linux%2Famd64", map[string]string{"sha256": sum}),
		material("pkg:docker/acme/base@1?repository_url=registry.example", map[string]string{"sha256": strings.ToUpper(sum)}),
		material("pkg:oci/base@sha256%3Abb?repository_url=registry.example/acme/base", map[string]string{"sha256": strings.Repeat("c", 64)}),
		material("docker-image://docker.io/library/golang:1.26@sha256:x", map[string]string{"sha256": sum}),
		material("pkg:docker/without-digest@1", nil),
		material("pkg:docker/sha1@1", map[string]string{"sha1": strings.Repeat("b", 40)}),
		material("git+https://github.com/acme/app", map[string]string{"sha1": strings.Repeat("a", 40)}),
		material("pkg:docker/debian@12?platform=linux%2Famd64", map[string]string{"sha256": sum}),
	}
	builder := map[string]any{"id": "https://builder.example"}
	for kind, predicate := range map[string]any{
		Provenance1:  map[string]any{"buildDefinition": map[string]any{"buildType": "https://type.example", "resolvedDependencies": images}, "runDetails": map[string]any{"builder": builder}},
		Provenance02: map[string]any{"builder": builder, "buildType": "https://type.example", "materials": images},
		Provenance01: map[string]any{"builder": builder, "recipe": map[string]any{"type": "https://type.example"}, "materials": images},
	} {
		p, err := ParseProvenance(payload(t, kind, predicate))
		if err != nil || p.BuilderID != "https://builder.example" || p.BuildType != "https://type.example" || len(p.Dependencies) != len(images) {
			t.Errorf("%s: got %+v, %v", kind, p, err)
		}
		bases, err := BaseImages(payload(t, kind, predicate))
		want := []BaseImage{{"debian", "sha256:" + sum}, {"registry.example/acme/base", "sha256:" + sum}, {"registry.example/acme/base", "sha256:" + strings.Repeat("c", 64)}, {"docker.io/library/golang", "sha256:" + sum}}
		if err != nil || fmt.Sprint(bases) != fmt.Sprint(want) {
			t.Errorf("%s: base images %v, %v, want %v", kind, bases, err, want)
		}
	}
	for name, tt := range map[string]struct {
		kind      string
		predicate any
		want      verdict.Code
	}{
		"no builder":       {Provenance1, map[string]any{}, verdict.InputMalformed},
		"builder's type":   {Provenance02, map[string]any{"builder": "x"}, verdict.InputMalformed},
		"materials' type":  {Provenance02, map[string]any{"builder": builder, "materials": "x"}, verdict.InputMalformed},
		"another type":     {Provenance1 + "evil", map[string]any{}, verdict.StatementType},
		"a predicate null": {Provenance1, nil, verdict.InputMalformed},
	} {
		if _, err := ParseProvenance(payload(t, tt.kind, tt.predicate)); verdict.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// TestVSA changes one member of a summary that is good.
func TestVSA(t *testing.T) {
	demand := VSADemand{Verifiers: []string{"https://verifier.example"}, Levels: []string{"SLSA_BUILD_LEVEL_2"}, Repository: "registry.example/app", MaxAge: time.Hour, At: at0}
	for name, tt := range map[string]struct {
		member string
		value  any
		want   verdict.Code
	}{
		"good":            {"slsaVersion", "1.1", ""},
		"verifier":        {"verifier", map[string]any{"id": "https://verifier.example/x"}, verdict.StatementPredicate},
		"no verifier":     {"verifier", nil, verdict.StatementPredicate},
		"resource":        {"resourceUri", "registry.example/app2", verdict.StatementPredicate},
		"result":          {"verificationResult", "FAILED", verdict.StatementPredicate},
		"result in small": {"verificationResult", "passed", verdict.StatementPredicate},
		"levels":          {"verifiedLevels", []string{"SLSA_BUILD_LEVEL_1"}, verdict.StatementPredicate},
		"levels' type":    {"verifiedLevels", "SLSA_BUILD_LEVEL_2", verdict.StatementPredicate},
		"old":             {"timeVerified", at0.Add(-2 * time.Hour).Format(time.RFC3339), verdict.StatementPredicate},
		"of the future":   {"timeVerified", at0.Add(2 * time.Hour).Format(time.RFC3339), verdict.StatementPredicate},
		"no time":         {"timeVerified", "yesterday", verdict.StatementPredicate},
	} {
		s := map[string]any{"verifier": map[string]any{"id": "https://verifier.example"}, "resourceUri": "registry.example/app", "verificationResult": "PASSED",
			"verifiedLevels": []string{"SLSA_BUILD_LEVEL_2"}, "timeVerified": at0.Add(-time.Minute).Format(time.RFC3339)}
		s[tt.member] = tt.value
		if err := CheckVSA(payload(t, verdict.VSAType, s), demand); (err != nil || tt.want != "") && verdict.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if err := CheckVSA(payload(t, Provenance1, map[string]any{}), demand); verdict.CodeOf(err) != verdict.StatementType {
		t.Errorf("another predicate: got %v", err)
	}
	// Of any age, and of none.
	demand.MaxAge = 0
	s := map[string]any{"verifier": map[string]any{"id": "https://verifier.example"}, "resourceUri": "registry.example/app", "verificationResult": "PASSED", "verifiedLevels": []string{"SLSA_BUILD_LEVEL_2"}}
	if err := CheckVSA(payload(t, verdict.VSAType, s), demand); verdict.CodeOf(err) != verdict.StatementPredicate {
		t.Errorf("without a time: got %v", err)
	}
	for bad, want := range map[string]string{"": "EOF", "{": "EOF", `{"a":1,"a":2}`: "duplicate", "[]": "want a JSON object", "\xff": "not UTF-8", "{} {}": "after it"} {
		if _, err := parse([]byte(bad)); verdict.CodeOf(err) != verdict.InputMalformed || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", bad, err, want)
		}
	}
}

func TestTypes(t *testing.T) {
	seen := make(map[string]string)
	for _, class := range Classes() {
		if len(Types(class)) == 0 {
			t.Errorf("class %s has no type", class)
		}
		for _, u := range Types(class) {
			if seen[u] != "" {
				t.Errorf("%s is in %s and %s", u, seen[u], class)
			}
			seen[u] = class
		}
	}
	if Types("nothing") != nil {
		t.Error("an unknown class has types")
	}
}

func FuzzStatement(f *testing.F) {
	f.Add(payload(f, Provenance1, map[string]any{"runDetails": map[string]any{"builder": map[string]any{"id": "x"}}}))
	f.Add(payload(f, verdict.VSAType, map[string]any{}))
	p, err := Compile(`predicate.x == 1`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := ParseProvenance(data); err == nil && got.BuilderID == "" {
			t.Error("provenance without builder")
		}
		if err := CheckVSA(data, VSADemand{}); err == nil {
			t.Error("a summary by no verifier")
		}
		if err := p.Eval(t.Context(), Input{Statement: data}); err == nil {
			if s, err := parse(data); err != nil || at(s.predicate, "x") == nil {
				t.Error("a condition that does not hold")
			}
		}
	})
}

func FuzzCompile(f *testing.F) {
	f.Add(`predicate.x == 1 && signer.san.matches("a")`)
	in := Input{Statement: payload(f, "https://example.com/p", map[string]any{"x": 1})}
	f.Fuzz(func(t *testing.T, expression string) {
		if p, err := Compile(expression); err == nil {
			if err := p.Eval(t.Context(), in); verdict.CodeOf(err) == verdict.Internal {
				t.Error(err)
			}
		}
	})
}

func BenchmarkEval(b *testing.B) {
	in := Input{Statement: payload(b, Provenance1, map[string]any{"runDetails": map[string]any{"builder": map[string]any{"id": strings.Repeat("x", 1000)}}})}
	p, err := Compile(`predicate.runDetails.builder.id.startsWith("x")`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Eval(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
