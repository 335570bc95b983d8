// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

const builder = "https://github.com/acme/builder/.github/workflows/build.yaml@refs/tags/v1"

// provenance is a predicate of SLSA provenance v1.
func provenance(builder string, dependencies ...any) map[string]any {
	return map[string]any{
		"buildDefinition": map[string]any{"buildType": "https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters": map[string]any{"workflow": map[string]any{"ref": "refs/heads/main"}}, "resolvedDependencies": dependencies},
		"runDetails": map[string]any{"builder": map[string]any{"id": builder}},
	}
}

// attested is a kit whose image has a signature and provenance.
func attested(t *testing.T, content map[string]any) *kit {
	t.Helper()
	k := newKit(t)
	k.attachBundle(k.image, k.bundle(k.image, good()), verifier.PredicateSign)
	o := good()
	o.Predicate, o.Content = verifier.PredicateProvenance, content
	k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateProvenance)
	return k
}

// ruled is a policy with one rule for everything.
func ruled(t *testing.T, lines ...string) *verifier.Policy {
	t.Helper()
	return policy(t, "version: 1\nauthorities:\n"+keylessYAML("team", subject)+"rules:\n  - name: all\n    repositories: ['**']\n    authorities: [team]\n    "+strings.Join(lines, "\n    ")+"\n")
}

// TestProvenanceDemands changes one demand about provenance that is good.
func TestProvenanceDemands(t *testing.T) {
	k := attested(t, provenance(builder))
	demand := func(lines ...string) *verifier.Policy {
		return ruled(t, append([]string{"attestations:", "  - predicate-type: slsaprovenance", "    authorities: [team]"}, lines...)...)
	}
	for _, tt := range []struct {
		name, line string
		want       verdict.Code
	}{
		{"no demand", "", ""},
		{"builder", "    builders: [" + builder + "]", ""},
		{"another builder", "    builders: [" + builder + ".1]", verdict.StatementPredicate},
		{"where", `    where: ['predicate.buildDefinition.externalParameters.workflow.ref == "refs/heads/main"']`, ""},
		{"where not", `    where: ['predicate.buildDefinition.externalParameters.workflow.ref == "refs/heads/other"']`, verdict.StatementPredicate},
		{"R20 where absent", `    where: ['predicate.nothing.of.this == "x"']`, verdict.PolicyError},
		{"R20 where another type", `    where: ['predicate.runDetails > 5']`, verdict.PolicyError},
		{"one of two", `    where: ['true', 'predicate.runDetails.builder.id == "x"']`, verdict.StatementPredicate},
		{"repository", `    where: ['image.repository == "` + repo + `"']`, ""},
		{"signer", `    where: ['signer.san == "` + subject + `"']`, ""},
		{"age", "    max-age: 25h", ""},
		{"too old", "    max-age: 23h", verdict.TimeNotAllowed},
	} {
		t.Run(tt.name, func(t *testing.T) { k.want(demand(tt.line), tt.want) })
	}
	res := k.want(demand("    builders: ["+builder+"]", "    build-level: 3"), "")
	if res != nil && res.BuildLevel != 3 {
		t.Errorf("build level is %d, want 3", res.BuildLevel)
	}
	if res := k.want(demand("    max-age: 25h"), ""); res != nil && !res.NotAfter.Equal(signedAt.Add(25*time.Hour)) {
		t.Errorf("NotAfter is %s, want the end of max-age", res.NotAfter)
	}
}

// TestR20AuditOfAnError: an error of evaluation under audit is audit-fail, and
// no decision to keep.
func TestR20AuditOfAnError(t *testing.T) {
	k := attested(t, provenance(builder))
	p := ruled(t, "mode: audit", "attestations:", "  - predicate-type: slsaprovenance", "    authorities: [team]", "    where: ['predicate.nothing == 1']")
	ok, code, res := k.check(p)
	if ok || code != verdict.PolicyError || res == nil || res.Decided || res.Namespaces[0].Outcome != verdict.OutcomeAuditFail {
		t.Errorf("passed %v with %q: %+v", ok, code, res)
	}
}

// TestSummaryDemands changes one thing in a verification summary, or in what is
// demanded of it.
func TestSummaryDemands(t *testing.T) {
	summary := func(change func(map[string]any)) map[string]any {
		s := map[string]any{"verifier": map[string]any{"id": "https://verifier.example"}, "timeVerified": signedAt.Format(time.RFC3339),
			"resourceUri": repo, "policy": map[string]any{"uri": "https://policy.example"}, "verificationResult": "PASSED", "verifiedLevels": []string{"SLSA_BUILD_LEVEL_2"}}
		change(s)
		return s
	}
	for _, tt := range []struct {
		name   string
		lines  string
		change func(map[string]any)
		want   verdict.Code
	}{
		{"good", "", func(map[string]any) {}, ""},
		{"levels", "    levels: [SLSA_BUILD_LEVEL_2]", func(map[string]any) {}, ""},
		{"other levels", "    levels: [SLSA_BUILD_LEVEL_3]", func(map[string]any) {}, verdict.StatementPredicate},
		{"failed", "", func(s map[string]any) { s["verificationResult"] = "FAILED" }, verdict.StatementPredicate},
		{"another verifier", "", func(s map[string]any) { s["verifier"] = map[string]any{"id": "https://other.example"} }, verdict.StatementPredicate},
		{"another repository", "", func(s map[string]any) { s["resourceUri"] = repo + "2" }, verdict.StatementPredicate},
		{"old", "    max-age: 25h", func(s map[string]any) { s["timeVerified"] = signedAt.Add(-2 * time.Hour).Format(time.RFC3339) }, verdict.StatementPredicate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			k.attachBundle(k.image, k.bundle(k.image, good()), verifier.PredicateSign)
			o := good()
			o.Predicate, o.Content = verdict.VSAType, summary(tt.change)
			k.attachBundle(k.image, k.bundle(k.image, o), verdict.VSAType)
			k.want(ruled(t, "attestations:", "  - predicate-type: vsa", "    authorities: [team]", "    verifiers: [https://verifier.example]", tt.lines), tt.want)
		})
	}
}

// TestSigningTime: proven time against what the policy allows.
func TestSigningTime(t *testing.T) {
	yaml := func(lines string) *verifier.Policy {
		return policy(t, "version: 1\nauthorities:\n"+keylessYAML("team", subject)+lines+"rules:\n  - {name: all, repositories: ['**'], authorities: [team]}\n")
	}
	k := newKit(t)
	k.attachLayers(k.image, k.layer(k.image, good()))
	at := func(d time.Duration) string { return signedAt.Add(d).Format(time.RFC3339) }
	k.want(yaml("    signed-after: "+at(-time.Hour)+"\n    signed-before: "+at(time.Hour)+"\n"), "")
	k.want(yaml("    signed-after: "+at(time.Hour)+"\n"), verdict.TimeNotAllowed)
	k.want(yaml("    signed-before: "+at(-time.Hour)+"\n"), verdict.TimeNotAllowed)
	k.want(ruled(t, "max-age: 25h"), "")
	k.want(ruled(t, "max-age: 1h"), verdict.TimeNotAllowed)
	k.want(yaml("    logs: 1\n"), "")
	k.want(yaml("    logs: 2\n"), verdict.LogCount)

	key, pub := newKey(t, "p256")
	undated := newKit(t)
	undated.attachLayers(undated.image, undated.layer(undated.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true}))
	for _, lines := range []string{"    signed-after: " + at(-time.Hour) + "\n", ""} {
		age := ""
		if lines == "" {
			age = ", max-age: 1d"
		}
		undated.want(policy(t, "version: 1\nauthorities:\n"+keyYAML("k", pub)+lines+"rules:\n  - {name: all, repositories: ['**'], authorities: [k]"+age+"}\n"), verdict.TimeUnproven)
	}
}

// TestR21Logs: two entries of one log are one, and one of each of two logs are two.
func TestR21Logs(t *testing.T) {
	p := policy(t, "version: 1\nauthorities:\n"+keylessYAML("team", subject)+"    logs: 2\nrules:\n  - {name: all, repositories: ['**'], authorities: [team]}\n")
	for _, tt := range []struct {
		more []sigstoretest.Log
		want verdict.Code
	}{
		{nil, verdict.LogCount},
		{[]sigstoretest.Log{sigstoretest.FirstLog}, verdict.LogCount},
		{[]sigstoretest.Log{sigstoretest.SecondLog}, ""},
	} {
		k := newKit(t)
		sig, err := whole()
		if err != nil {
			t.Fatal(err)
		}
		k.sig, k.roots = sig, rootsOf(t, sig)
		o := good()
		o.Log, o.More = sigstoretest.FirstLog, tt.more
		k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateSign)
		k.want(p, tt.want)
	}
}

// TestR28Exceptions: an exception counts for its own rule and image, until its
// end, and says so.
func TestR28Exceptions(t *testing.T) {
	k := newKit(t)
	other := k.push("other")
	exception := func(id, rule string, image verdict.Digest, until time.Time) string {
		return fmt.Sprintf("  - {id: %s, rules: [%s], images: ['%s'], until: %s, owner: ops, reason: it burns}\n", id, rule, image, until.Format(time.RFC3339))
	}
	yaml := func(exceptions ...string) *verifier.Policy {
		return policy(t, "version: 1\nauthorities:\n"+keylessYAML("team", subject)+"rules:\n  - {name: p, repositories: ['**'], authorities: [team]}\n  - {name: q, repositories: ['**'], authorities: [team]}\nexceptions:\n"+strings.Join(exceptions, ""))
	}
	end := now.Add(time.Hour)
	for _, tt := range []struct {
		name string
		p    *verifier.Policy
		want verdict.Outcome
	}{
		{"both rules", yaml(exception("a", "p, q", k.image.Digest, end)), verdict.OutcomeAuditFail},
		{"one rule", yaml(exception("a", "p", k.image.Digest, end)), verdict.OutcomeFail},
		{"two that do not add up", yaml(exception("a", "p", k.image.Digest, end), exception("b", "q", other.Digest, end)), verdict.OutcomeFail},
		{"ended", yaml(exception("a", "p, q", k.image.Digest, now.Add(-time.Second))), verdict.OutcomeFail},
		{"another image", yaml(exception("a", "p, q", other.Digest, end)), verdict.OutcomeFail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, code, res := k.check(tt.p)
			if res == nil || res.Passed || res.Namespaces[0].Outcome != tt.want {
				t.Fatalf("got %q, %+v, want %s", code, res, tt.want)
			}
			if tt.want == verdict.OutcomeFail {
				if code != verdict.SigNone && code != verdict.PolicyException {
					t.Errorf("code is %q", code)
				}
				return
			}
			if code != verdict.PolicyException || len(res.Exceptions) != 2 || res.Exceptions[0].ID != "a" || !res.NotAfter.Equal(end) {
				t.Errorf("got %q, exceptions %+v, until %s", code, res.Exceptions, res.NotAfter)
			}
		})
	}
}

// TestBaseImage: what an image is built on is an image of its own rules.
func TestBaseImage(t *testing.T) {
	const baseRepo = "docker.io/library/debian"
	yaml := func(from string, baseMode string) *verifier.Policy {
		return policy(t, "version: 1\nauthorities:\n"+keylessYAML("team", subject)+keylessYAML("distribution", subject+"base")+
			"rules:\n  - name: app\n    repositories: ['registry.example/**']\n    authorities: [team]\n    attestations:\n      - {predicate-type: slsaprovenance, authorities: [team]}\n    base-image: "+from+"\n"+
			"  - {name: base, tier: base, repositories: ['docker.io/library/*'], authorities: [distribution], mode: "+baseMode+"}\n")
	}
	build := func(t *testing.T, signBase bool, repository string) (*kit, verifier.Image) {
		t.Helper()
		k := newKit(t)
		base := k.push("base")
		base.Repository = baseRepo
		if signBase {
			o := good()
			o.Subject += "base"
			k.attachBundle(base, k.bundle(base, o), verifier.PredicateSign)
		}
		k.attachBundle(k.image, k.bundle(k.image, good()), verifier.PredicateSign)
		o := good()
		o.Predicate = verifier.PredicateProvenance
		o.Content = provenance(builder, map[string]any{"uri": "pkg:docker/" + repository + "@12?platform=linux%2Famd64", "digest": map[string]any{"sha256": base.Digest.Hex()}})
		k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateProvenance)
		return k, base
	}
	k, base := build(t, true, "debian")
	res := k.want(yaml("{from: [provenance]}", "enforce"), "")
	if res == nil || len(res.BaseImages) != 1 || res.BaseImages[0].Image != base || res.BaseImages[0].Outcome != verdict.OutcomePass {
		t.Errorf("base images: %+v", res)
	}
	k.want(yaml("{from: [annotation]}", "enforce"), verdict.ImageBase)
	many := newKit(t)
	many.attachBundle(many.image, many.bundle(many.image, good()), verifier.PredicateSign)
	var materials []any
	for i := range 9 {
		materials = append(materials, map[string]any{"uri": "pkg:docker/debian@12?platform=linux%2Famd64", "digest": map[string]any{"sha256": verdict.SHA256([]byte{byte(i)}).Hex()}})
	}
	o := good()
	o.Predicate, o.Content = verifier.PredicateProvenance, provenance(builder, materials...)
	many.attachBundle(many.image, many.bundle(many.image, o), verifier.PredicateProvenance)
	if _, code, _ := many.check(yaml("{from: [provenance]}", "enforce")); code != verdict.InputLimit {
		t.Errorf("nine base images: got %q", code)
	}
	k.want(yaml("{from: [annotation], optional: true}", "enforce"), "")
	k, _ = build(t, false, "debian")
	k.want(yaml("{from: [provenance]}", "enforce"), verdict.ImageBase)
	k.want(yaml("{from: [provenance]}", "audit"), "")
	k, _ = build(t, true, "registry.example/no/rule")
	k.want(yaml("{from: [provenance]}", "enforce"), verdict.ImageBase)
}

// TestBaseImages: an image may have so many base images, and lead to so many one
// through another.
func TestBaseImages(t *testing.T) {
	k := newKit(t)
	annotated := func(base verifier.Image) entry {
		return entry{"annotations": entry{"org.opencontainers.image.base.name": base.Repository + ":12", "org.opencontainers.image.base.digest": base.Digest}}
	}
	p := policy(t, "version: 1\nauthorities:\n"+keylessYAML("team", subject)+
		"rules:\n  - {name: app, repositories: ['**'], authorities: [team], base-image: {from: [annotation], optional: true}}\n"+
		"  - {name: base, tier: base, repositories: ['**'], authorities: [team], base-image: {from: [annotation], optional: true}}\n")
	for bases := range 6 {
		if bases > 0 {
			k.image = k.putImage([]byte("{}"), annotated(k.image))
		}
		k.attachLayers(k.image, k.layer(k.image, good()))
		want := verdict.Code("")
		if bases > 4 {
			want = verdict.InputLimit
		}
		t.Run(fmt.Sprintf("%d deep", bases), func(t *testing.T) { k.want(p, want) })
	}

	p = policy(t, "version: 1\nauthorities:\n"+keylessYAML("team", subject)+
		"rules:\n  - name: app\n    repositories: ['**']\n    authorities: [team]\n    attestations:\n      - {predicate-type: slsaprovenance, authorities: [team]}\n    base-image: {from: [provenance]}\n"+
		"  - {name: base, tier: base, repositories: ['**'], authorities: [team], mode: audit}\n")
	for n, want := range map[int]verdict.Code{8: "", 9: verdict.InputLimit} {
		k := newKit(t)
		var dependencies []any
		for i := range n {
			base := k.push(fmt.Sprint("base ", i))
			dependencies = append(dependencies, entry{"uri": "pkg:docker/" + repo + "@12", "digest": entry{"sha256": base.Digest.Hex()}})
		}
		k.attachBundle(k.image, k.bundle(k.image, good()), verifier.PredicateSign)
		o := good()
		o.Predicate, o.Content = verifier.PredicateProvenance, provenance(builder, dependencies...)
		k.attachBundle(k.image, k.bundle(k.image, o), verifier.PredicateProvenance)
		t.Run(fmt.Sprintf("%d bases", n), func(t *testing.T) {
			if res := k.want(p, want); want == "" && res != nil && len(res.BaseImages) != n {
				t.Errorf("base images: %+v", res.BaseImages)
			}
		})
	}
}

// TestR29Children: what a signature on an index covers, and what it does not.
func TestR29Children(t *testing.T) {
	k := newKit(t)
	a, b := k.push("a"), k.push("b")
	index := k.index(map[string]verifier.Image{"linux/amd64": a, "linux/arm64": b})
	k.image = index
	k.attachBundle(index, k.bundle(index, good()), verifier.PredicateSign)
	k.want(ruled(t), "")
	k.want(ruled(t, "platforms: [linux/amd64, linux/arm64]"), "")
	k.want(ruled(t, "platforms: [linux/s390x]"), verdict.SubjectPlatform)
	k.want(ruled(t, "children: signed"), verdict.SubjectPlatform)
	k.attachBundle(a, k.bundle(a, good()), verifier.PredicateSign)
	k.want(ruled(t, "children: signed"), verdict.SubjectPlatform)
	k.attachBundle(b, k.bundle(b, good()), verifier.PredicateSign)
	k.want(ruled(t, "children: signed"), "")
}

// TestDemandMisuse: demands that make no sense are told where they stand.
func TestDemandMisuse(t *testing.T) {
	base := "version: 1\nteams:\n  payments: [pay-*]\nauthorities:\n" + keylessYAML("team", subject) + "rules:\n  - name: all\n    level: organisation\n    repositories: ['**']\n    authorities: [team]\n    max-age: 30d\n    attestations:\n      - predicate-type: slsaprovenance\n        authorities: [team]\n        builders: [x]\n        build-level: 2\n        where: ['true']\n      - predicate-type: vsa\n        authorities: [team]\n        verifiers: [v]\n        levels: [l]\n    base-image: {from: [provenance]}\n    platforms: [linux/amd64]\n    children: signed\n  - name: payments\n    level: team\n    teams: [payments]\n    repositories: ['**']\n    authorities: [team]\nexceptions:\n  - id: x\n    rules: [all]\n    images: ['" + string(verdict.SHA256(nil)) + "']\n    until: 2026-12-01T00:00:00Z\n    owner: ops\n    reason: because\n"
	policy(t, base)
	for _, tt := range []struct{ name, old, new, want string }{
		{"level", "level: organisation", "level: company", "want one of organisation"},
		{"level namespace without any", "level: organisation", "level: namespace", "names teams or no namespace"},
		{"level team without teams", "    teams: [payments]\n", "    namespaces: [pay-a]\n", "names no team"},
		{"level organisation with a namespace", "level: organisation\n", "level: organisation\n    namespaces: [x]\n", "restricted to namespaces"},
		{"unknown team", "teams: [payments]", "teams: [payment]", `did you mean "payments"?`},
		{"team without namespaces", "payments: [pay-*]", "payments: []", "empty list"},
		{"age", "max-age: 30d", "max-age: 30m", "write hours or days"},
		{"age of nothing", "max-age: 30d", "max-age: 0d", "write hours or days"},
		{"platform", "platforms: [linux/amd64]", "platforms: [linux]", "is not one"},
		{"children", "children: signed", "children: all", "want covered or signed"},
		{"base from nowhere", "{from: [provenance]}", "{from: [label]}", "want provenance or annotation"},
		{"verifiers without summary", "predicate-type: vsa", "predicate-type: spdx", "belong together"},
		{"summary without verifiers", "        verifiers: [v]\n", "", "belong together"},
		{"build level", "build-level: 2", "build-level: 4", "want 1 to 3"},
		{"build level without builder", "        builders: [x]\n", "", "name builders"},
		{"CEL that is none", "where: ['true']", "where: ['tru &&']", "condition 1:7"},
		{"CEL that is no condition", "where: ['true']", "where: ['1 + 1']", "bool"},
		{"CEL with an unknown name", "where: ['true']", "where: ['predicat.x == 1']", "predicat"},
		{"exception of no rule", "rules: [all]", "rules: [al]", `did you mean "all"?`},
		{"exception without end", "    until: 2026-12-01T00:00:00Z\n", "", "has no end"},
		{"exception without owner", "    owner: ops\n", "", "want owner and reason"},
		{"exception of no digest", string(verdict.SHA256(nil)), "app:latest", "is not sha256"},
		{"tier", "level: organisation", "tier: both", "want app or base"},
		{"order of levels", "exceptions:", "  - {name: last, level: registry, repositories: ['**'], authorities: [team]}\nexceptions:", "after one of level team"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := strings.Replace(base, tt.old, tt.new, 1)
			if bad == base {
				t.Fatal("nothing was changed")
			}
			_, err := verifier.ParsePolicy("policy.yaml", []byte(bad))
			wantMisuse(t, tt.name, err, tt.want)
		})
	}
}
