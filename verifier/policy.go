// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/predicate"
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
	// Teams are namespace patterns by the name of who owns them. A rule may
	// name teams in place of namespaces.
	Teams map[string][]string `yaml:"teams" json:"teams,omitempty"`
	// Authorities are the possible signers, by the name that rules and reasons
	// use: 1 to 64 letters, digits and "-_.". Required.
	Authorities map[string]Authority `yaml:"authorities" json:"authorities,omitempty"`
	// Rules are all looked at, in order. Each match adds demands, so that a
	// later rule only tightens; an image that none matches is refused with
	// policy.no-rule. Required.
	Rules []Rule `yaml:"rules" json:"rules"`
	// Exceptions let single images through although a rule refuses them.
	Exceptions []PolicyException `yaml:"exceptions" json:"exceptions,omitempty"`

	name   string
	digest verdict.Digest
	rules  []compiledRule
	auth   map[string]*authority
	// patterns are the namespace patterns of all rules, most general first.
	patterns   []string
	exceptions []compiledException
}

// The levels of a rule, from general to special. Where rules say their level,
// they stand in this order, so that who reads on only ever reads of more
// demands.
const (
	LevelOrganisation = "organisation"
	LevelRegistry     = "registry"
	LevelBuild        = "build"
	LevelTeam         = "team"
	LevelNamespace    = "namespace"
)

var levels = []string{LevelOrganisation, LevelRegistry, LevelBuild, LevelTeam, LevelNamespace}

// The tiers of images.
const (
	// TierApp is what runs. It is what an absent tier means.
	TierApp = "app"
	// TierBase is what others are built on: such a rule is asked only about the
	// base image of another image.
	TierBase = "base"
)

// What a signature on an index says about its images.
const (
	// ChildrenCovered: they are signed with it, by their digests in it. It is
	// what an absent value means.
	ChildrenCovered = "covered"
	// ChildrenSigned: each of them needs signatures of its own as well.
	ChildrenSigned = "signed"
)

// A Rule binds repositories to signers.
type Rule struct {
	// Name is unique: 1 to 64 letters, digits and "-_.". Required.
	Name string `yaml:"name" json:"name"`
	// Level is organisation, registry, build, team or namespace, for people and
	// for the order of rules. A build rule demands a builder, a team rule names
	// teams, a namespace rule namespaces, and the others neither.
	Level string `yaml:"level" json:"level,omitempty"`
	// Repositories are canonical names. A segment "*" stands for any one
	// segment, a "*" inside a segment for any characters of it, a last segment
	// "**" for one or more segments; "**" alone is everything. Required.
	Repositories []string `yaml:"repositories" json:"repositories"`
	// Namespaces, when there are any, restrict the rule to pods of these
	// namespaces: exact, or with one trailing "*". Each repository has to be
	// covered by an earlier rule without namespaces, which decides the pull.
	Namespaces []string `yaml:"namespaces" json:"namespaces,omitempty"`
	// Teams restrict the rule to the namespaces of these teams.
	Teams []string `yaml:"teams" json:"teams,omitempty"`
	// Tier is app or base; absent means app.
	Tier string `yaml:"tier" json:"tier,omitempty"`
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
	// MaxAge is how long ago signatures may have been made at most, by proven
	// time: hours or days, as 36h or 90d.
	MaxAge string `yaml:"max-age" json:"maxAge,omitempty"`
	// Attestations are all demanded.
	Attestations []Attestation `yaml:"attestations" json:"attestations,omitempty"`
	// Platforms have to be among those of the image: os/architecture, with
	// /variant where it matters, and for Windows "windows(10.0.20348)/amd64".
	Platforms []string `yaml:"platforms" json:"platforms,omitempty"`
	// Children is covered or signed; absent means covered.
	Children string `yaml:"children" json:"children,omitempty"`
	// BaseImage demands that the image it is built on is named and passes the
	// rules of tier base for its own repository.
	BaseImage *BaseImage `yaml:"base-image" json:"baseImage,omitempty"`
}

// An Attestation is a demand for a signed in-toto statement about the image.
type Attestation struct {
	// PredicateType is a whole URI, or a class: slsaprovenance (v1 and v0.2),
	// vsa, spdx, cyclonedx, vuln, openvex. Required.
	PredicateType string `yaml:"predicate-type" json:"predicateType"`
	// Authorities and Require are as in [Rule]. Required.
	Authorities []string `yaml:"authorities" json:"authorities"`
	// Require is how many distinct signers must have made one.
	Require int `yaml:"require" json:"require,omitempty"`
	// MaxAge is as in [Rule].
	MaxAge string `yaml:"max-age" json:"maxAge,omitempty"`
	// Where are conditions in CEL about the statement. All have to hold.
	Where []string `yaml:"where" json:"where,omitempty"`
	// Builders are the builder IDs of SLSA provenance that count, whole.
	Builders []string `yaml:"builders" json:"builders,omitempty"`
	// BuildLevel is the SLSA build level, 1 to 3, that provenance of these
	// builders by these authorities proves; the verdict says so. It needs
	// Builders, since a level is what a builder does.
	BuildLevel int `yaml:"build-level" json:"buildLevel,omitempty"`
	// Verifiers are the verifier IDs of a SLSA verification summary that count,
	// whole. Required for class vsa, and for it alone.
	Verifiers []string `yaml:"verifiers" json:"verifiers,omitempty"`
	// Levels are all demanded of such a summary's verifiedLevels.
	Levels []string `yaml:"levels" json:"levels,omitempty"`
}

// A BaseImage is a demand about what an image is built on.
type BaseImage struct {
	// From says where it is named: provenance (of an attestation that the same
	// rule demands), annotation (org.opencontainers.image.base.name and
	// .digest of the signed manifest), or both, of which one is enough.
	// Required.
	From []string `yaml:"from" json:"from"`
	// Optional passes an image that names no base image, such as one from
	// scratch.
	Optional bool `yaml:"optional" json:"optional,omitempty"`
}

// Where a base image is named.
const (
	BaseFromProvenance = "provenance"
	BaseFromAnnotation = "annotation"
)

// A PolicyException lets images through although rules refuse them. It makes
// audit-fail of fail, says so in every answer, and bounds it; the verdict core
// stays failed. What could not be decided stays undecided.
type PolicyException struct {
	// ID is unique: 1 to 64 letters, digits and "-_.". Required.
	ID string `yaml:"id" json:"id"`
	// Rules are the names of the rules that it is about. Required.
	Rules []string `yaml:"rules" json:"rules"`
	// Images are digests. Required.
	Images []string `yaml:"images" json:"images"`
	// Until is when it ends. Required.
	Until time.Time `yaml:"until" json:"until"`
	// Owner is who answers for it, and Reason why it is. Both required.
	Owner string `yaml:"owner" json:"owner"`
	// Reason is at most 256 bytes.
	Reason string `yaml:"reason" json:"reason"`
}

// PredicateSign is what cosign v3 signs an image with. A statement of any other
// type is never a signature.
const PredicateSign = "https://sigstore.dev/cosign/sign/v1"

// PredicateProvenance and PredicateProvenance02 are SLSA provenance.
const (
	PredicateProvenance = "https://slsa.dev/provenance/v1"
	// PredicateProvenance02 is the version before.
	PredicateProvenance02 = "https://slsa.dev/provenance/v0.2"
)

// Classes of predicate types, as policies and the command line name them. Types
// are compared whole: a prefix would let "https://slsa.dev/provenance/v1evil" in.
const (
	ClassProvenance = predicate.ClassProvenance
	ClassVSA        = predicate.ClassVSA
)

// PredicateTypes returns the predicate types that a demand for name accepts, which
// is a class such as [ClassProvenance] or a whole URI, and false where it is
// neither.
func PredicateTypes(name string) ([]string, bool) {
	if t := predicate.Types(name); len(t) > 0 {
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
	p := &Policy{}
	f, err := strictyaml.Decode(name, data, p)
	if err != nil {
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

// A compiledRule is a rule that was checked. Its Namespaces have those of its
// teams.
type compiledRule struct {
	Rule
	repositories []repoPattern
	platforms    []selector
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
	maxAge      time.Duration
	// attestation is what is demanded of the statement; nil for a signature.
	attestation *Attestation
	where       []*predicate.Program
}

// A compiledException is one that was checked.
type compiledException struct {
	PolicyException
	images []verdict.Digest
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
func (p *Policy) compile(f *strictyaml.File) error {
	if p.Version != 1 {
		return f.Misuse("version", "write version: 1", "policy version is %d, want 1", p.Version)
	}
	if len(p.Rules) == 0 {
		return f.Misuse("", "add a rule; without one nothing could ever pass", "the policy has no rules")
	}
	if len(p.Rules) > maxRules || len(p.Authorities) > maxAuthorities {
		return f.Misuse("", "", "%d rules and %d authorities, want at most %d and %d", len(p.Rules), len(p.Authorities), maxRules, maxAuthorities)
	}
	p.auth = make(map[string]*authority)
	for _, name := range slices.Sorted(maps.Keys(p.Authorities)) {
		a, err := compileAuthority(f, "authorities."+name, name, p.Authorities[name])
		if err != nil {
			return err
		}
		p.auth[name] = a
	}
	for _, name := range slices.Sorted(maps.Keys(p.Teams)) {
		path := "teams." + name
		if !validName(name) || len(p.Teams[name]) == 0 {
			return f.Misuse(path, "", "team %q: want a name of 1 to 64 letters, digits and -_., and namespaces", clipQuote(name))
		}
		for i, ns := range p.Teams[name] {
			if err := checkNamespacePattern(ns); err != nil {
				return f.Misuse(fmt.Sprintf("%s[%d]", path, i), "", "team %q: %s", name, err)
			}
		}
	}
	names := make(map[string]bool)
	patterns := make(map[string]bool)
	level := 0
	for i, r := range p.Rules {
		path := fmt.Sprintf("rules[%d]", i)
		c, err := p.compileRule(f, path, r)
		if err != nil {
			return err
		}
		if names[r.Name] {
			return f.Misuse(path+".name", "", "two rules are called %q", r.Name)
		}
		names[r.Name] = true
		if r.Level != "" {
			n := slices.Index(levels, r.Level)
			if n < level {
				return f.Misuse(path+".level", "move it up; rules go from organisation to namespace", "rule %q of level %s comes after one of level %s", r.Name, r.Level, levels[level])
			}
			level = n
		}
		for _, ns := range c.Namespaces {
			patterns[ns] = true
		}
		if err := p.checkNamespaceRule(f, path, c); err != nil {
			return err
		}
		p.rules = append(p.rules, c)
	}
	if len(patterns) > maxPatterns {
		return f.Misuse("", "", "%d namespace patterns, want at most %d, since all go into one ticket", len(patterns), maxPatterns)
	}
	if err := p.compileExceptions(f, names); err != nil {
		return err
	}
	p.patterns = slices.SortedFunc(maps.Keys(patterns), func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return nil
}

func (p *Policy) compileRule(f *strictyaml.File, path string, r Rule) (compiledRule, error) {
	c := compiledRule{Rule: r}
	c.Namespaces = slices.Clone(r.Namespaces)
	fail := func(sub, hint, format string, args ...any) (compiledRule, error) {
		return compiledRule{}, f.Misuse(path+sub, hint, format, args...)
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
	for i, name := range r.Teams {
		team, ok := p.Teams[name]
		if !ok {
			return fail(fmt.Sprintf(".teams[%d]", i), didYouMean(name, slices.Sorted(maps.Keys(p.Teams)), "define it under teams"), "rule %q: there is no team %q", r.Name, clipQuote(name))
		}
		c.Namespaces = append(c.Namespaces, team...)
	}
	slices.Sort(c.Namespaces)
	c.Namespaces = slices.Compact(c.Namespaces)
	if err := c.checkChoices(); err != "" {
		return fail("", "", "rule %q: %s", r.Name, err)
	}
	age, err := parseAge(r.MaxAge)
	if err != nil || r.MaxAge != "" && len(r.Authorities) == 0 {
		return fail(".max-age", "write hours or days, as 36h or 90d, beside authorities", "rule %q: max-age is %q", r.Name, clipQuote(r.MaxAge))
	}
	if len(r.Authorities) > 0 {
		d, err := p.compileDemand(f, path, r.Name, r.Authorities, r.Require)
		if err != nil {
			return compiledRule{}, err
		}
		d.maxAge = age
		c.demands = append(c.demands, d)
	} else if r.Require != 0 || r.RequireReference {
		return fail("", "name authorities", "rule %q: require and require-reference are about authorities, and there are none", r.Name)
	}
	for i, a := range r.Attestations {
		d, err := p.compileAttestation(f, fmt.Sprintf("%s.attestations[%d]", path, i), r.Name, a)
		if err != nil {
			return compiledRule{}, err
		}
		c.demands = append(c.demands, d)
	}
	if r.Level == LevelBuild && !slices.ContainsFunc(r.Attestations, func(a Attestation) bool { return len(a.Builders) > 0 }) {
		return fail(".level", "demand provenance with builders", "rule %q: level is build, and it demands no builder", r.Name)
	}
	if r.BaseImage != nil && slices.Contains(r.BaseImage.From, BaseFromProvenance) && !slices.ContainsFunc(c.demands, demand.isProvenance) {
		return fail(".base-image.from", "demand it under attestations", "rule %q: its base image is taken from provenance, and it demands none", r.Name)
	}
	if len(c.demands) == 0 && c.Mode != ModeOff {
		return fail("", "name authorities or attestations, or set mode: off", "rule %q demands nothing", r.Name)
	}
	return c, nil
}

func (p *Policy) compileDemand(f *strictyaml.File, path, rule string, names []string, require int) (demand, error) {
	d := demand{require: require}
	distinct := make(map[string]bool)
	for i, n := range names {
		a, ok := p.auth[n]
		if !ok {
			hint := didYouMean(n, slices.Sorted(maps.Keys(p.auth)), "define it under authorities")
			return demand{}, f.Misuse(fmt.Sprintf("%s.authorities[%d]", path, i), hint, "rule %q: there is no authority %q", rule, clipQuote(n))
		}
		if slices.Contains(d.authorities, a) {
			return demand{}, f.Misuse(fmt.Sprintf("%s.authorities[%d]", path, i), "", "rule %q names authority %q twice", rule, n)
		}
		d.authorities = append(d.authorities, a)
		distinct[a.signerClass()] = true
	}
	said := f.Has(path + ".require")
	switch {
	case said && require < 1 || require < 0:
		return demand{}, f.Misuse(path+".require", "", "rule %q: require is %d, want at least 1", rule, require)
	case require == 0 && len(names) > 1:
		return demand{}, f.Misuse(path+".authorities", fmt.Sprintf("write require: %d for all of them", len(distinct)), "rule %q: more than one authority, and require does not say how many must sign", rule)
	case require == 0:
		d.require = 1
	case require > len(distinct):
		return demand{}, f.Misuse(path+".require", "one key or identity under two names is one signer", "rule %q: require is %d, and its authorities are %d distinct signers", rule, require, len(distinct))
	}
	return d, nil
}

// didYouMean hints at the nearest of names, or gives the other hint.
func didYouMean(name string, names []string, other string) string {
	if near := strictyaml.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return other
}

// checkChoices says what contradicts itself in the values of a rule that are one
// of a few, or "".
func (c *compiledRule) checkChoices() string {
	spaces := len(c.Rule.Namespaces) + len(c.Teams)
	switch {
	case c.Level != "" && !slices.Contains(levels, c.Level):
		return fmt.Sprintf("level is %q, want one of %s", clipQuote(c.Level), strings.Join(levels, ", "))
	case c.Level == LevelTeam && len(c.Teams) == 0:
		return "level is team, and it names no team"
	case c.Level == LevelNamespace && (len(c.Teams) > 0 || spaces == 0):
		return "level is namespace, and it names teams or no namespace"
	case (c.Level == LevelOrganisation || c.Level == LevelRegistry) && spaces > 0:
		return "level is " + c.Level + ", and it is restricted to namespaces"
	case c.Tier != "" && c.Tier != TierApp && c.Tier != TierBase:
		return fmt.Sprintf("tier is %q, want app or base", clipQuote(c.Tier))
	case c.Tier == TierBase && spaces > 0:
		return "tier is base, and a base image runs in no namespace"
	case c.Children != "" && c.Children != ChildrenCovered && c.Children != ChildrenSigned:
		return fmt.Sprintf("children is %q, want covered or signed", clipQuote(c.Children))
	}
	var err error
	if c.platforms, err = parseSelectors(c.Platforms); err != nil {
		return err.Error()
	}
	if c.BaseImage == nil {
		return ""
	}
	for i, from := range c.BaseImage.From {
		if from != BaseFromProvenance && from != BaseFromAnnotation || slices.Contains(c.BaseImage.From[:i], from) {
			return fmt.Sprintf("base-image.from has %q, want provenance or annotation, each once", clipQuote(from))
		}
	}
	if len(c.BaseImage.From) == 0 {
		return "base-image.from is missing, want provenance or annotation"
	}
	return ""
}

// maxAge bounds ages: ten years.
const maxAge = 10 * 366 * 24 * time.Hour

// parseAge reads an age in whole hours or days; "" is none.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	unit := map[byte]time.Duration{'h': time.Hour, 'd': 24 * time.Hour}[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil || unit == 0 || n == 0 || time.Duration(n) > maxAge/unit {
		return 0, errors.New("want 1h to 3660d")
	}
	return time.Duration(n) * unit, nil
}

// compileAttestation checks the demand for an attestation.
func (p *Policy) compileAttestation(f *strictyaml.File, path, rule string, a Attestation) (demand, error) {
	fail := func(sub, hint, format string, args ...any) (demand, error) {
		return demand{}, f.Misuse(path+sub, hint, "rule %q: "+format, append([]any{rule}, args...)...)
	}
	types, ok := PredicateTypes(a.PredicateType)
	if !ok {
		return fail(".predicate-type", "write the whole URI, or one of "+strings.Join(predicate.Classes(), ", "), "predicate type %q is no URI", clipQuote(a.PredicateType))
	}
	if len(a.Authorities) == 0 {
		return fail("", "name who may make it", "an attestation without authorities")
	}
	d, err := p.compileDemand(f, path, rule, a.Authorities, a.Require)
	if err != nil {
		return demand{}, err
	}
	d.what, d.predicates, d.attestation = a.PredicateType, types, &a
	if d.maxAge, err = parseAge(a.MaxAge); err != nil {
		return fail(".max-age", "write hours or days, as 36h or 90d", "max-age is %q", clipQuote(a.MaxAge))
	}
	summary := slices.Contains(types, verdict.VSAType)
	switch {
	case summary != (len(a.Verifiers) > 0):
		return fail("", "verifiers say whose summaries count", "verifiers and predicate type vsa belong together, and one is missing")
	case len(a.Levels) > 0 && !summary:
		return fail(".levels", "", "levels are those of a verification summary, and the predicate type is another")
	case len(a.Builders) > 0 && !d.isProvenance():
		return fail(".builders", "", "builders are those of SLSA provenance, and the predicate type is another")
	case a.BuildLevel != 0 && (a.BuildLevel < 1 || a.BuildLevel > 3 || len(a.Builders) == 0):
		return fail(".build-level", "a level is what a builder does: name builders beside it", "build-level is %d, want 1 to 3 beside builders", a.BuildLevel)
	}
	for i, expr := range a.Where {
		program, err := predicate.Compile(expr)
		if err != nil {
			return fail(fmt.Sprintf(".where[%d]", i), "", "%s", err)
		}
		d.where = append(d.where, program)
	}
	return d, nil
}

// isProvenance says whether SLSA provenance is demanded.
func (d demand) isProvenance() bool {
	return len(d.predicates) > 0 && !slices.ContainsFunc(d.predicates, func(t string) bool { return !predicate.IsProvenance(t) })
}

// Limits of exceptions.
const (
	maxExceptions      = 256
	maxExceptionImages = 256
	maxExceptionText   = 256 // bytes of owner and reason
)

// compileExceptions checks the exceptions; rules are the names of all rules.
func (p *Policy) compileExceptions(f *strictyaml.File, rules map[string]bool) error {
	if len(p.Exceptions) > maxExceptions {
		return f.Misuse("exceptions", "", "%d exceptions, want at most %d", len(p.Exceptions), maxExceptions)
	}
	ids := make(map[string]bool)
	for i, x := range p.Exceptions {
		path := fmt.Sprintf("exceptions[%d]", i)
		c := compiledException{PolicyException: x}
		switch {
		case !validName(x.ID) || ids[x.ID]:
			return f.Misuse(path, "", "exception %q: want an id of its own, of 1 to 64 letters, digits and -_.", clipQuote(x.ID))
		case x.Until.IsZero():
			return f.Misuse(path, "write until: with the time at which it ends", "exception %q has no end", x.ID)
		case x.Owner == "" || x.Reason == "" || len(x.Owner) > maxExceptionText || len(x.Reason) > maxExceptionText:
			return f.Misuse(path, "", "exception %q: want owner and reason, of at most %d bytes", x.ID, maxExceptionText)
		case len(x.Rules) == 0 || len(x.Images) == 0 || len(x.Images) > maxExceptionImages:
			return f.Misuse(path, "", "exception %q: want rules, and 1 to %d images", x.ID, maxExceptionImages)
		}
		ids[x.ID] = true
		for j, r := range x.Rules {
			if !rules[r] {
				return f.Misuse(fmt.Sprintf("%s.rules[%d]", path, j), didYouMean(r, slices.Sorted(maps.Keys(rules)), ""), "exception %q: there is no rule %q", x.ID, clipQuote(r))
			}
		}
		for j, s := range x.Images {
			d, err := parseDigest(s)
			if err != nil {
				return f.Misuse(fmt.Sprintf("%s.images[%d]", path, j), "write sha256:… of the image or index", "exception %q: %s", x.ID, verdict.ReasonOf(err).Text)
			}
			c.images = append(c.images, d)
		}
		p.exceptions = append(p.exceptions, c)
	}
	return nil
}

// checkNamespaceRule holds design.md §6: a namespace rule needs a
// namespace-free one above it for the same repositories, since a pull has no
// namespace.
func (p *Policy) checkNamespaceRule(f *strictyaml.File, path string, c compiledRule) error {
	if len(c.Namespaces) == 0 {
		return nil
	}
	for i, want := range c.repositories {
		covered := slices.ContainsFunc(p.rules, func(r compiledRule) bool {
			return len(r.Namespaces) == 0 && r.Tier == c.Tier && slices.ContainsFunc(r.repositories, func(have repoPattern) bool { return have.covers(want) })
		})
		if !covered {
			return f.Misuse(fmt.Sprintf("%s.repositories[%d]", path, i), "add a rule without namespaces above it: it decides the pull",
				"rule %q: no earlier rule without namespaces covers %q", c.Name, c.Repositories[i])
		}
	}
	return nil
}

// matches says whether the rule is about repository, in that tier.
func (c *compiledRule) matches(repository, tier string) bool {
	return (c.Tier == TierBase) == (tier == TierBase) && slices.ContainsFunc(c.repositories, func(p repoPattern) bool { return p.matches(repository) })
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
