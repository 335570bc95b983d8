// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// extensionNames returns policy names by OID number, by reflection, so that a
// new field cannot be forgotten.
func extensionNames(t testing.TB) map[int]string {
	t.Helper()
	out := make(map[int]string)
	for f := range reflect.TypeFor[verifier.Extensions]().Fields() {
		n, err := strconv.Atoi(f.Tag.Get("oid"))
		if err != nil || f.Tag.Get("yaml") == "" || out[n] != "" {
			t.Fatalf("field %s has no OID or name of its own", f.Name)
		}
		out[n] = f.Tag.Get("yaml")
	}
	return out
}

func wantMisuse(t testing.TB, what string, err error, text string) {
	t.Helper()
	m, ok := errors.AsType[*verdict.Misuse](err)
	if !ok {
		t.Errorf("%s: got %v, want misuse", what, err)
		return
	}
	if !strings.Contains(m.Text+" "+m.Hint, text) {
		t.Errorf("%s: got %q (%q), want %q in it", what, m.Text, m.Hint, text)
	}
}

const goodPolicy = `version: 1
authorities:
  release-team:
    keyless:
      issuer: https://token.actions.githubusercontent.com
      subject: https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main
  pattern:
    keyless:
      issuer: https://accounts.google.com
      subject-pattern: "*@acme.example"
      extensions: {source-repository-identifier: "42"}
    require-log: true
rules:
  - name: all
    repositories: ["registry.example/acme/**"]
    authorities: [release-team, pattern]
    require: 1
  - name: production
    repositories: ["registry.example/acme/app"]
    namespaces: ["prod-*", "production"]
    mode: audit
    authorities: [release-team, pattern]
    require: 2
    attestations:
      - predicate-type: slsaprovenance
        authorities: [release-team]
`

func TestParsePolicy(t *testing.T) {
	p := policy(t, goodPolicy)
	if p.Digest() != verdict.SHA256([]byte(goodPolicy)) {
		t.Errorf("digest %s is not that of the file", p.Digest())
	}
	if diff := cmp.Diff([]string{"prod-*", "production"}, p.NamespacePatterns()); diff != "" {
		t.Error(diff)
	}
	if w := p.Warnings(); len(w) != 2 {
		t.Errorf("warnings: %q", w)
	}
}

// TestPolicyMisuse changes one thing in a good policy.
func TestPolicyMisuse(t *testing.T) {
	_, pub := newKey(t, "p256")
	_, small := weakKey(t)
	for _, tt := range []struct{ name, old, new, want string }{
		{"unknown key", "    authorities: [release-team, pattern]\n    require: 1", "    authoritys: [release-team, pattern]\n    require: 1", `policy.yaml:16:5: unknown key "authoritys" in rules[0]`},
		{"did you mean", "subject-pattern:", "subject-patern:", `did you mean "subject-pattern"?`},
		{"R23 kyverno's field", "subject-pattern:", "subjectRegExp:", `policy.yaml:10:7: unknown key "subjectRegExp"`},
		{"duplicate key", "    require: 1\n", "    require: 1\n    require: 1\n", `policy.yaml:18:5: duplicate key "require"`},
		{"empty list", "namespaces: [\"prod-*\", \"production\"]", "namespaces: []", "policy.yaml:20:17: rules[1].namespaces is an empty list"},
		{"empty string", "issuer: https://accounts.google.com", `issuer: ""`, "policy.yaml:9:15: authorities.pattern.keyless.issuer is empty"},
		{"no issuer", "      issuer: https://accounts.google.com\n", "", "has no issuer"},
		{"null", "issuer: https://accounts.google.com", "issuer:", "has no value"},
		{"number for a string", `"42"`, "42", "wants a string"},
		{"alias", "[release-team, pattern]\n    require: 1", "&a [release-team, pattern]\n    require: 1", "anchors and aliases"},
		{"two documents", "version: 1\n", "version: 1\n---\nversion: 1\n", "more than one YAML document"},
		{"not YAML", "version: 1\n", "version: [\n", "policy.yaml:"},
		{"version 2", "version: 1", "version: 2", "policy version is 2, want 1"},
		{"no version", "version: 1\n", "", "policy version is 0, want 1"},
		{"R17 no rules", goodPolicy[strings.Index(goodPolicy, "rules:"):], "", "has no rules"},
		{"R19 require 0", "require: 1", "require: 0", "require is 0, want at least 1"},
		{"R19 require negative", "require: 1", "require: -1", "want a whole number"},
		{"require too many", "require: 2", "require: 3", "require is 3, and its authorities are 2 distinct signers"},
		{"require missing", "    require: 1\n", "", "require does not say how many"},
		{"unknown authority", "[release-team, pattern]\n    require: 1", "[release-tean, pattern]\n    require: 1", `did you mean "release-team"?`},
		{"authority twice", "[release-team, pattern]\n    require: 1", "[pattern, pattern]\n    require: 1", "twice"},
		{"mode", "mode: audit", "mode: warn", `mode is "warn", want off, audit or enforce`},
		{"R24 unanchored expression", `"*@acme.example"`, `"^https://github\\.com/acme/"`, "the only special character is *"},
		{"R27 negated class", `"*@acme.example"`, `"[!a]@acme.example"`, "the only special character is *"},
		{"R53 expression", `"*@acme.example"`, `"^(a+)+$"`, "the only special character is *"},
		{"pattern in subject", "refs/heads/main", "refs/heads/*", "use subject-pattern"},
		{"double star in subject", `"*@acme.example"`, `"**"`, "whole segments"},
		{"rule without coverage", `repositories: ["registry.example/acme/app"]`, `repositories: ["registry.example/other"]`, "no earlier rule without namespaces covers"},
		{"rule with wider coverage", `repositories: ["registry.example/acme/app"]`, `repositories: ["registry.example/**"]`, "no earlier rule without namespaces covers"},
		{"host alone", `repositories: ["registry.example/acme/app"]`, `repositories: ["registry.example"]`, "a host alone"},
		{"no host", `repositories: ["registry.example/acme/app"]`, `repositories: ["acme/app"]`, "begins with a host"},
		{"not canonical", `repositories: ["registry.example/acme/**"]`, `repositories: ["docker.io/nginx"]`, "canonical name docker.io/library/nginx"},
		{"not canonical host", `repositories: ["registry.example/acme/**"]`, `repositories: ["index.docker.io/**"]`, "docker.io"},
		{"upper case", `repositories: ["registry.example/acme/app"]`, `repositories: ["registry.example/Acme/app"]`, "is not one of a repository"},
		{"star namespace", `"production"`, `"*"`, "leave namespaces out"},
		{"star inside namespace", `"production"`, `"p*n"`, "at most one * at the end"},
		{"two rules of one name", "name: production", "name: all", `two rules are called "all"`},
		{"predicate type", "slsaprovenance", "slsa", "is no URI"},
		{"both kinds", "    keyless:\n      issuer: https://token", "    key: {pem: x}\n    keyless:\n      issuer: https://token", "exactly one of keyless, key, x509, notation, tuf and notary-v1"},
		{"contradiction", "    require-log: true", "    require-log: true\n    allow-unlogged: true", "contradict"},
		{"private key", "rules:", keyYAML("k", []byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----"))[2:] + "rules:", "unknown key"},
		{"not a key", "  pattern:", "  k:\n    key: {pem: nothing}\n  pattern:", "PUBLIC KEY"},
		{"small RSA", "  pattern:", keyYAML("k", small) + "  pattern:", "RSA with 1024 bits"},
		{"window", "  pattern:", keyYAML("k", pub) + "      not-before: 2026-02-01T00:00:00Z\n      not-after: 2026-01-01T00:00:00Z\n  pattern:", "not-after is before not-before"},
		{"no time", "  pattern:", keyYAML("k", pub) + "      not-before: yesterday\n  pattern:", "want a time"},
		{"key allows", "  pattern:", keyYAML("k", pub) + "    allow-no-sct: true\n  pattern:", "about certificates"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := strings.Replace(goodPolicy, tt.old, tt.new, 1)
			if bad == goodPolicy {
				t.Fatal("nothing was changed")
			}
			_, err := verifier.ParsePolicy("policy.yaml", []byte(bad))
			wantMisuse(t, tt.name, err, tt.want)
		})
	}
	for name, data := range map[string]string{"empty": "", "a list": "[]", "too large": strings.Repeat("#", verifier.MaxPolicyBytes+1)} {
		_, err := verifier.ParsePolicy("policy.yaml", []byte(data))
		wantMisuse(t, name, err, "policy.yaml")
	}
}

// TestR53AliasBomb: ten lines that would mean a gigabyte.
func TestR53AliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	_, err := verifier.ParsePolicy("policy.yaml", []byte(b.String()))
	wantMisuse(t, "alias bomb", err, "policy.yaml")
}

func TestR22OneKeyTwoNames(t *testing.T) {
	key, pub := newKey(t, "p256")
	yaml := func(require int) string {
		return "version: 1\nauthorities:\n" + keyYAML("one", pub) + keyYAML("same", pub) + keylessYAML("id", subject) +
			fmt.Sprintf("rules:\n  - {name: all, repositories: ['**'], authorities: [one, same, id], require: %d}\n", require)
	}
	_, err := verifier.ParsePolicy("policy.yaml", []byte(yaml(3)))
	wantMisuse(t, "three names of two signers", err, "2 distinct signers")
	k := newKit(t)
	l := k.layer(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true})
	k.attachLayers(k.image, l, k.layer(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true}))
	k.want(policy(t, yaml(2)), verdict.SigCount)
	k.attachLayers(k.image, l, k.layer(k.image, good()))
	k.want(policy(t, yaml(2)), "")
}

// TestOneIdentityTwice: two patterns that one identity satisfies are one
// signer.
func TestOneIdentityTwice(t *testing.T) {
	k := newKit(t)
	yaml := "version: 1\nauthorities:\n" + keylessYAML("exact", subject) +
		"  pattern:\n    keyless:\n      issuer: " + issuer + "\n      subject-pattern: 'https://github.com/acme/*/.github/workflows/*@refs/heads/main'\n" +
		"rules:\n  - {name: all, repositories: ['**'], authorities: [exact, pattern], require: 2}\n"
	a := k.layer(k.image, good())
	k.attachLayers(k.image, a, k.layer(k.image, good()))
	res := k.want(policy(t, yaml), verdict.SigCount)
	if res != nil && !strings.Contains(res.Reasons[0].Text, "1 of 2") {
		t.Errorf("reason: %q", res.Reasons[0].Text)
	}
	o := good()
	o.Subject = "https://github.com/acme/other/.github/workflows/x.yaml@refs/heads/main"
	k.attachLayers(k.image, a, k.layer(k.image, o))
	k.want(policy(t, yaml), "")
}

func TestSubjectPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, subject string
		want             bool
	}{
		{"https://github.com/acme/*/.github/workflows/release.yaml@refs/tags/v*", "https://github.com/acme/app/.github/workflows/release.yaml@refs/tags/v1.2", true},
		{"https://github.com/acme/*/.github/workflows/release.yaml@refs/tags/v*", "https://github.com/acme/a/b/.github/workflows/release.yaml@refs/tags/v1", false},
		{"https://github.com/acme/*/.github/workflows/release.yaml@refs/tags/v*", "https://github.com/acme//.github/workflows/release.yaml@refs/tags/v1", false},
		{"https://github.com/acme/*", "https://github.com/acme/app", true},
		{"https://github.com/acme/*", "https://github.com/acme/app/.github", false},
		{"https://github.com/acme/*", "https://github.com/acme/", false},
		{"*@acme.example", "a@evil@acme.example", false},
		{"*@acme.example", "release@acme.example", true},
		{"*@acme.example", "release@acme.example.evil.example", false},
		{"a*b*c", "a1b2b3c", true},
		{"a*b*c", "abc", false},
	} {
		k := newKit(t)
		o := good()
		o.Subject = tt.subject
		want := verdict.IdentitySAN
		if tt.want {
			want = ""
		}
		b := k.bundle(k.image, o)
		if !strings.Contains(tt.subject, "://") && strings.Count(tt.subject, "@") != 1 {
			continue // not a name that crypto/x509 can write
		}
		k.attachBundle(k.image, b, "")
		k.want(policy(t, "version: 1\nauthorities:\n  a:\n    keyless:\n      issuer: "+issuer+"\n      subject-pattern: '"+tt.pattern+"'\nrules:\n  - {name: all, repositories: ['**'], authorities: [a]}\n"), want)
	}
}

func TestOneOffMisuse(t *testing.T) {
	_, pub := newKey(t, "p256")
	for name, o := range map[string]verifier.OneOff{
		"nothing":                  {},
		"R04 identity and key":     {Keys: [][]byte{pub}, Identity: subject, Issuer: issuer},
		"R04 identity alone":       {Identity: subject},
		"issuer alone":             {Issuer: issuer},
		"key that is none":         {Keys: [][]byte{[]byte("x")}},
		"attestation that is none": {Keys: [][]byte{pub}, Attestation: "provenance"},
	} {
		_, err := o.Policy()
		wantMisuse(t, name, err, "")
	}
	a, b := oneOff(t, verifier.OneOff{Keys: [][]byte{pub}}), oneOff(t, verifier.OneOff{Keys: [][]byte{pub}, RequireLog: true})
	if a.Digest() == b.Digest() || a.Digest() == "" {
		t.Errorf("digests %q and %q, want two", a.Digest(), b.Digest())
	}
}

// TestModes: what the modes make of a good and an unsigned image.
func TestModes(t *testing.T) {
	k := newKit(t)
	signed, unsigned := k.image, k.push("unsigned")
	k.attachLayers(signed, k.layer(signed, good()))
	rule := func(name, repo, mode, ns string) string {
		s := fmt.Sprintf("  - name: %s\n    repositories: ['%s']\n    mode: %s\n    authorities: [release]\n", name, repo, mode)
		if ns != "" {
			s += "    namespaces: ['" + ns + "']\n"
		}
		return s
	}
	head := "version: 1\nauthorities:\n" + keylessYAML("release", subject) + "rules:\n"
	type outcome map[string]verdict.Outcome
	for _, tt := range []struct {
		name           string
		rules          string
		good, bad      outcome
		goodOK         bool
		decided        bool
		badCode, codes verdict.Code
	}{
		{"enforce", rule("a", repo, "enforce", ""), outcome{"*": "pass"}, outcome{"*": "fail"}, true, true, verdict.SigNone, ""},
		{"audit", rule("a", repo, "audit", ""), outcome{"*": "pass"}, outcome{"*": "audit-fail"}, true, true, verdict.SigNone, ""},
		{"R17 off", rule("a", repo, "off", ""), outcome{"*": "unchecked"}, outcome{"*": "unchecked"}, false, false, "", ""},
		{"off and enforce", rule("a", "**", "off", "") + rule("b", repo, "enforce", ""), outcome{"*": "pass"}, outcome{"*": "fail"}, true, true, verdict.SigNone, ""},
		{"audit, enforce in a namespace", rule("a", repo, "audit", "") + rule("b", repo, "enforce", "prod-*"), outcome{"*": "pass", "prod-*": "pass"}, outcome{"*": "audit-fail", "prod-*": "fail"}, true, true, verdict.SigNone, ""},
		{"off, nested namespaces", rule("a", repo, "off", "") + rule("b", repo, "audit", "prod-*") + rule("c", repo, "enforce", "prod-eu"), outcome{"*": "unchecked", "prod-*": "pass", "prod-eu": "pass"}, outcome{"*": "unchecked", "prod-*": "audit-fail", "prod-eu": "fail"}, true, true, verdict.SigNone, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerifier(t, verifier.Config{Policy: policy(t, head+tt.rules), Roots: k.roots, Source: k.source()})
			for img, want := range map[verifier.Image]outcome{signed: tt.good, unsigned: tt.bad} {
				res, err := v.Verify(t.Context(), verifier.Request{Image: img, At: now})
				if err != nil {
					t.Fatal(err)
				}
				got := outcome{}
				for _, n := range res.Namespaces {
					got[n.Pattern] = n.Outcome
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if res.Namespaces[0].Pattern != "*" {
					t.Errorf("first pattern is %q, want *", res.Namespaces[0].Pattern)
				}
				if img == signed && res.Passed != tt.goodOK || img == unsigned && res.Passed || res.Decided != tt.decided {
					t.Errorf("%s: passed %v, decided %v", img, res.Passed, res.Decided)
				}
				if img == unsigned && tt.badCode != "" && res.Reasons[0].Code != tt.badCode {
					t.Errorf("code %q, want %q", res.Reasons[0].Code, tt.badCode)
				}
			}
		})
	}
}

func TestR17NoRule(t *testing.T) {
	k := newKit(t)
	k.attachLayers(k.image, k.layer(k.image, good()))
	p := policy(t, "version: 1\nauthorities:\n"+keylessYAML("release", subject)+"rules:\n  - {name: a, repositories: ['registry.example/other/**'], authorities: [release]}\n")
	k.want(p, verdict.PolicyNoRule)
}

func TestRepositoryPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, repository string
		want                bool
	}{
		{"**", "docker.io/library/nginx", true},
		{"docker.io/library/*", "nginx", true},
		{"docker.io/library/nginx", "index.docker.io/library/nginx", true},
		{"registry.example/acme/**", "registry.example/acme/a/b", true},
		{"registry.example/acme/**", "registry.example/acme", false},
		{"registry.example/acme/*", "registry.example/acme/a/b", false},
		{"registry.example/acme/app-*", "registry.example/acme/app-x", true},
		{"registry.example/acme/app-*", "registry.example/acme/app", false},
		{"registry.example/**", "evilregistry.example/acme", false},
		{"registry.example/**", "registry.example.evil.example/acme", false},
		{"registry.example/**", "registry.example:5000/acme", false},
	} {
		t.Run(tt.pattern+" "+tt.repository, func(t *testing.T) {
			k := newKit(t)
			k.image.Repository = tt.repository
			p := policy(t, "version: 1\nauthorities:\n"+keylessYAML("release", subject)+"rules:\n  - {name: a, repositories: ['"+tt.pattern+"'], authorities: [release]}\n")
			want := verdict.PolicyNoRule
			if tt.want {
				want = verdict.SigNone
			}
			k.want(p, want)
		})
	}
}
