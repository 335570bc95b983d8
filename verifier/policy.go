// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
)

// Limits of a policy.
const (
	// MaxPolicyBytes bounds a policy file.
	MaxPolicyBytes = 1 << 20
	// maxAuthorities and maxRules bound the work that one image can cause.
	maxAuthorities = 256
	maxRules       = 1024
	// maxNamespace is design.md §4.3's: a pattern is a claim of a ticket.
	maxNamespace = 64
	// maxPatterns bounds the namespace patterns of a policy: all of them go
	// into one ticket of 16 KiB.
	maxPatterns = 64
)

// The modes of a rule.
const (
	// ModeOff: nothing is checked, and the result says unchecked, never pass.
	ModeOff = "off"
	// ModeAudit: a refusal lets the image through as audit-fail.
	ModeAudit = "audit"
	// ModeEnforce: a refusal refuses. It is what an absent mode means.
	ModeEnforce = "enforce"
)

// A Policy says who must have signed what. This type is the reference of the
// file format, policy version 1: YAML, decoded strictly, where unknown and
// duplicate keys, empty lists and empty strings are errors with
// file:line:column. The zero value is no policy; [ParsePolicy] and
// [OneOff.Policy] make one. A Policy is not changed afterwards and may be used
// concurrently.
//
//	version: 1
//	authorities:
//	  release-team:
//	    keyless:
//	      issuer: https://token.actions.githubusercontent.com
//	      subject: https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main
//	  operations:
//	    key:
//	      pem: |
//	        -----BEGIN PUBLIC KEY-----
//	        …
//	        -----END PUBLIC KEY-----
//	rules:
//	  - name: everything-of-acme
//	    repositories: ["registry.example/acme/**"]
//	    authorities: [release-team, operations]
//	    require: 1
//	  - name: production-needs-both
//	    repositories: ["registry.example/acme/**"]
//	    namespaces: ["prod-*"]
//	    authorities: [release-team, operations]
//	    require: 2
//	    attestations:
//	      - predicate-type: slsaprovenance
//	        authorities: [release-team]
type Policy struct {
	// Version is 1. Required.
	Version int `yaml:"version" json:"version"`
	// Authorities are the possible signers, by the name that rules and reasons
	// use: 1 to 64 letters, digits and "-_.". Required.
	Authorities map[string]Authority `yaml:"authorities" json:"authorities,omitempty"`
	// Rules are all looked at, in order. Each match adds demands, so that a
	// later rule only tightens; an image that none matches is refused with
	// policy.no-rule. Required.
	Rules []Rule `yaml:"rules" json:"rules"`

	name   string
	digest verdict.Digest
	rules  []compiledRule
	auth   map[string]*authority
	// patterns are the namespace patterns of all rules, most general first.
	patterns []string
}

// A Rule binds repositories to signers.
type Rule struct {
	// Name is unique: 1 to 64 letters, digits and "-_.". Required.
	Name string `yaml:"name" json:"name"`
	// Repositories are canonical names. A segment "*" stands for any one
	// segment, a "*" inside a segment for any characters of it, a last segment
	// "**" for one or more segments; "**" alone is everything. Required.
	Repositories []string `yaml:"repositories" json:"repositories"`
	// Namespaces, when there are any, restrict the rule to pods of these
	// namespaces: exact, or with one trailing "*". Each repository has to be
	// covered by an earlier rule without namespaces, which decides the pull.
	Namespaces []string `yaml:"namespaces" json:"namespaces,omitempty"`
	// Mode is off, audit or enforce; absent means enforce.
	Mode string `yaml:"mode" json:"mode,omitempty"`
	// Authorities may sign the image. Required, unless Attestations has
	// something or the mode is off.
	Authorities []string `yaml:"authorities" json:"authorities,omitempty"`
	// Require is how many distinct signers of them must have. Required when
	// Authorities names more than one; one key under two names is one signer.
	Require int `yaml:"require" json:"require,omitempty"`
	// RequireReference demands that a signature names the repository asked for
	// (cosign's docker-reference), so that one copied from another repository
	// is refused. Sigstore bundles name none: only .sig signatures count then.
	RequireReference bool `yaml:"require-reference" json:"requireReference,omitempty"`
	// Attestations are all demanded.
	Attestations []Attestation `yaml:"attestations" json:"attestations,omitempty"`
}

// An Attestation is a demand for a signed in-toto statement about the image.
type Attestation struct {
	// PredicateType is a whole URI, or "slsaprovenance" for SLSA provenance v1
	// and v0.2. Required.
	PredicateType string `yaml:"predicate-type" json:"predicateType"`
	// Authorities and Require are as in [Rule]. Required.
	Authorities []string `yaml:"authorities" json:"authorities"`
	// Require is how many distinct signers must have made one.
	Require int `yaml:"require" json:"require,omitempty"`
}

// Predicate types. Types are compared whole: a prefix would let
// "https://slsa.dev/provenance/v1evil" in.
const (
	// PredicateSign is what cosign v3 signs an image with. A statement of any
	// other type is never a signature.
	PredicateSign = "https://sigstore.dev/cosign/sign/v1"
	// PredicateProvenance and PredicateProvenance02 are SLSA provenance.
	PredicateProvenance = "https://slsa.dev/provenance/v1"
	// PredicateProvenance02 is the version before.
	PredicateProvenance02 = "https://slsa.dev/provenance/v0.2"
	// ClassProvenance is the name for both in a policy and on the command line.
	ClassProvenance = "slsaprovenance"
)

// predicateClasses maps short names to whole types.
var predicateClasses = map[string][]string{
	ClassProvenance: {PredicateProvenance, PredicateProvenance02},
}

// predicateTypes returns the types that a demand for name accepts.
func predicateTypes(name string) ([]string, bool) {
	if t, ok := predicateClasses[name]; ok {
		return t, true
	}
	return []string{name}, strings.Contains(name, "://")
}

// ParsePolicy reads a policy file. Name is for messages. What is wrong with it
// is a [verdict.Misuse] with file:line:column. The digest of the policy is the
// SHA-256 of data.
func ParsePolicy(name string, data []byte) (*Policy, error) {
	if len(data) > MaxPolicyBytes {
		return nil, verdict.Misused("", "%s: %d bytes, want at most %d", name, len(data), MaxPolicyBytes)
	}
	f := &yamlFile{name: name}
	p := &Policy{}
	if err := f.decode(data, p); err != nil {
		return nil, err
	}
	if err := p.compile(f); err != nil {
		return nil, err
	}
	p.name, p.digest = name, verdict.SHA256(data)
	return p, nil
}

// Digest is the SHA-256 of the file, or of the JSON form of a [OneOff].
func (p *Policy) Digest() verdict.Digest { return p.digest }

// Name is where the policy came from, for messages.
func (p *Policy) Name() string { return p.name }

// NamespacePatterns returns the namespace patterns of all rules, most general
// first, without "*".
func (p *Policy) NamespacePatterns() []string { return slices.Clone(p.patterns) }

// A compiledRule is a rule that was checked.
type compiledRule struct {
	Rule
	repositories []repoPattern
	demands      []demand
}

// A demand is: k distinct signers of these authorities, for one kind.
type demand struct {
	// what is empty for a signature of the image, else the demanded predicate
	// type as the policy names it.
	what        string
	predicates  []string
	authorities []*authority
	require     int
}

func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !(lowerAlnum(c) || 'A' <= c && c <= 'Z' || strings.IndexByte("-_.", c) >= 0) {
			return false
		}
	}
	return true
}

// compile checks everything that the form does not say.
func (p *Policy) compile(f *yamlFile) error {
	if p.Version != 1 {
		return f.errorAt("version", "write version: 1", "policy version is %d, want 1", p.Version)
	}
	if len(p.Rules) == 0 {
		return f.errorAt("", "add a rule; without one nothing could ever pass", "the policy has no rules")
	}
	if len(p.Rules) > maxRules || len(p.Authorities) > maxAuthorities {
		return f.errorAt("", "", "%d rules and %d authorities, want at most %d and %d", len(p.Rules), len(p.Authorities), maxRules, maxAuthorities)
	}
	p.auth = make(map[string]*authority)
	for _, name := range slices.Sorted(maps.Keys(p.Authorities)) {
		a, err := compileAuthority(f, "authorities."+name, name, p.Authorities[name])
		if err != nil {
			return err
		}
		p.auth[name] = a
	}
	names := make(map[string]bool)
	patterns := make(map[string]bool)
	for i, r := range p.Rules {
		path := fmt.Sprintf("rules[%d]", i)
		c, err := p.compileRule(f, path, r)
		if err != nil {
			return err
		}
		if names[r.Name] {
			return f.errorAt(path+".name", "", "two rules are called %q", r.Name)
		}
		names[r.Name] = true
		for _, ns := range r.Namespaces {
			patterns[ns] = true
		}
		if err := p.checkNamespaceRule(f, path, c); err != nil {
			return err
		}
		p.rules = append(p.rules, c)
	}
	if len(patterns) > maxPatterns {
		return f.errorAt("", "", "%d namespace patterns, want at most %d, since all go into one ticket", len(patterns), maxPatterns)
	}
	p.patterns = slices.SortedFunc(maps.Keys(patterns), func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return nil
}

func (p *Policy) compileRule(f *yamlFile, path string, r Rule) (compiledRule, error) {
	c := compiledRule{Rule: r}
	fail := func(sub, hint, format string, args ...any) (compiledRule, error) {
		return compiledRule{}, f.errorAt(path+sub, hint, format, args...)
	}
	if !validName(r.Name) {
		return fail("", "", "rule name %q: want 1 to 64 letters, digits and -_.", clipQuote(r.Name))
	}
	switch r.Mode {
	case "":
		c.Mode = ModeEnforce
	case ModeOff, ModeAudit, ModeEnforce:
	default:
		return fail(".mode", "", "rule %q: mode is %q, want off, audit or enforce", r.Name, clipQuote(r.Mode))
	}
	if len(r.Repositories) == 0 {
		return fail("", `name them, or write "**" for everything`, "rule %q has no repositories", r.Name)
	}
	for i, s := range r.Repositories {
		g, err := parseRepoPattern(s)
		if err != nil {
			return fail(fmt.Sprintf(".repositories[%d]", i), "", "rule %q: %s", r.Name, err)
		}
		c.repositories = append(c.repositories, g)
	}
	for i, s := range r.Namespaces {
		if err := checkNamespacePattern(s); err != nil {
			return fail(fmt.Sprintf(".namespaces[%d]", i), "", "rule %q: %s", r.Name, err)
		}
	}
	if len(r.Authorities) > 0 {
		d, err := p.compileDemand(f, path, r.Name, r.Authorities, r.Require)
		if err != nil {
			return compiledRule{}, err
		}
		c.demands = append(c.demands, d)
	} else if r.Require != 0 || r.RequireReference {
		return fail("", "name authorities", "rule %q: require and require-reference are about authorities, and there are none", r.Name)
	}
	for i, a := range r.Attestations {
		sub := fmt.Sprintf("%s.attestations[%d]", path, i)
		types, ok := predicateTypes(a.PredicateType)
		if !ok {
			return compiledRule{}, f.errorAt(sub+".predicate-type", "write the whole URI, or "+ClassProvenance, "rule %q: predicate type %q is no URI", r.Name, clipQuote(a.PredicateType))
		}
		if len(a.Authorities) == 0 {
			return compiledRule{}, f.errorAt(sub, "name who may make it", "rule %q: an attestation without authorities", r.Name)
		}
		d, err := p.compileDemand(f, sub, r.Name, a.Authorities, a.Require)
		if err != nil {
			return compiledRule{}, err
		}
		d.what, d.predicates = a.PredicateType, types
		c.demands = append(c.demands, d)
	}
	if len(c.demands) == 0 && c.Mode != ModeOff {
		return fail("", "name authorities or attestations, or set mode: off", "rule %q demands nothing", r.Name)
	}
	return c, nil
}

func (p *Policy) compileDemand(f *yamlFile, path, rule string, names []string, require int) (demand, error) {
	d := demand{require: require}
	distinct := make(map[string]bool)
	for i, n := range names {
		a, ok := p.auth[n]
		if !ok {
			hint := "define it under authorities"
			if near := nearest(n, slices.Sorted(maps.Keys(p.auth))); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return demand{}, f.errorAt(fmt.Sprintf("%s.authorities[%d]", path, i), hint, "rule %q: there is no authority %q", rule, clipQuote(n))
		}
		if slices.Contains(d.authorities, a) {
			return demand{}, f.errorAt(fmt.Sprintf("%s.authorities[%d]", path, i), "", "rule %q names authority %q twice", rule, n)
		}
		d.authorities = append(d.authorities, a)
		distinct[a.signerClass()] = true
	}
	_, said := f.at[path+".require"]
	switch {
	case said && require < 1 || require < 0:
		return demand{}, f.errorAt(path+".require", "", "rule %q: require is %d, want at least 1", rule, require)
	case require == 0 && len(names) > 1:
		return demand{}, f.errorAt(path+".authorities", fmt.Sprintf("write require: %d for all of them", len(distinct)), "rule %q: more than one authority, and require does not say how many must sign", rule)
	case require == 0:
		d.require = 1
	case require > len(distinct):
		return demand{}, f.errorAt(path+".require", "one key or identity under two names is one signer", "rule %q: require is %d, and its authorities are %d distinct signers", rule, require, len(distinct))
	}
	return d, nil
}

// checkNamespaceRule holds design.md §6: a namespace rule needs a
// namespace-free one above it for the same repositories, since a pull has no
// namespace.
func (p *Policy) checkNamespaceRule(f *yamlFile, path string, c compiledRule) error {
	if len(c.Namespaces) == 0 {
		return nil
	}
	for i, want := range c.repositories {
		covered := slices.ContainsFunc(p.rules, func(r compiledRule) bool {
			return len(r.Namespaces) == 0 && slices.ContainsFunc(r.repositories, func(have repoPattern) bool { return have.covers(want) })
		})
		if !covered {
			return f.errorAt(fmt.Sprintf("%s.repositories[%d]", path, i), "add a rule without namespaces above it: it decides the pull",
				"rule %q: no earlier rule without namespaces covers %q", c.Name, c.Repositories[i])
		}
	}
	return nil
}

// matches says whether the rule is about repository.
func (c *compiledRule) matches(repository string) bool {
	return slices.ContainsFunc(c.repositories, func(p repoPattern) bool { return p.matches(repository) })
}

// Warnings returns what is allowed and still worth a look, in sentences.
func (p *Policy) Warnings() []string {
	var w []string
	for _, name := range slices.Sorted(maps.Keys(p.auth)) {
		a := p.auth[name]
		switch {
		case a.Key != nil && !a.RequireLog && !a.RequireTimestamp:
			w = append(w, fmt.Sprintf("authority %q: a key without log or timestamp: nothing bounds in time what a thief of it signed", name))
		case a.Keyless != nil && strings.HasPrefix(a.Keyless.Issuer, "https://token.actions.githubusercontent.com") &&
			(a.Keyless.Extensions == nil || a.Keyless.Extensions.SourceRepositoryIdentifier == "" && a.Keyless.Extensions.SourceRepositoryOwnerIdentifier == ""):
			w = append(w, fmt.Sprintf("authority %q: the subject is a name; source-repository-identifier or -owner-identifier also holds when the repository is renamed or made anew", name))
		}
	}
	for _, r := range p.rules {
		if r.Mode != ModeEnforce {
			w = append(w, fmt.Sprintf("rule %q: mode is %s: it refuses nothing", r.Name, r.Mode))
		}
	}
	return w
}
