// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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

// An Authority is one possible signer: exactly one of Keyless, Key and X509.
type Authority struct {
	// Keyless is a signer by certificate (Fulcio).
	Keyless *Keyless `yaml:"keyless" json:"keyless,omitempty"`
	// Key is a signer by a long-lived key.
	Key *Key `yaml:"key" json:"key,omitempty"`
	// X509 is a signer by a certificate of an own PKI, or an X.509-SVID.
	X509 *X509 `yaml:"x509" json:"x509,omitempty"`
	// Roots is the sigstore instance of the roots file whose certificate
	// authorities, logs and timestamp authorities count. Absent means
	// "default".
	Roots string `yaml:"roots" json:"roots,omitempty"`
	// RequireLog demands an entry of a transparency log that the trust roots
	// list. A keyless authority demands one anyway where they list a log.
	RequireLog bool `yaml:"require-log" json:"requireLog,omitempty"`
	// RequireTimestamp demands a timestamp (RFC 3161) of an authority that the
	// trust roots list, also where a log proves the time.
	RequireTimestamp bool `yaml:"require-timestamp" json:"requireTimestamp,omitempty"`
	// AllowUnlogged takes a keyless signature without a log entry although the
	// trust roots list a log. A timestamp has to prove the time then.
	AllowUnlogged bool `yaml:"allow-unlogged" json:"allowUnlogged,omitempty"`
	// AllowNoSCT takes a certificate without certificate-transparency
	// timestamp although the trust roots list such a log.
	AllowNoSCT bool `yaml:"allow-no-sct" json:"allowNoSCT,omitempty"`
}

// Keyless is a signer by certificate: OIDC issuer and subject, both compared
// byte for byte. Exactly one of Subject and SubjectPattern is set.
type Keyless struct {
	// Issuer is the whole OIDC issuer (Fulcio extensions 1 and 8). Required.
	Issuer string `yaml:"issuer" json:"issuer"`
	// Subject is the whole subject alternative name of the certificate.
	Subject string `yaml:"subject" json:"subject,omitempty"`
	// SubjectPattern is a subject in which each "*" stands for one or more
	// characters other than "/" and "@". There are no expressions: a pattern
	// is always about the whole subject.
	SubjectPattern string `yaml:"subject-pattern" json:"subjectPattern,omitempty"`
	// Extensions are further claims of the certificate. All that are set have
	// to be equal.
	Extensions *Extensions `yaml:"extensions" json:"extensions,omitempty"`
}

// X509 is a signer by a certificate whose chain leads to a trust store. Exactly
// one of Subject and SubjectPattern is set.
type X509 struct {
	// TrustStores are names of trust stores of kind x509. Required.
	TrustStores []string `yaml:"trust-stores" json:"trustStores"`
	// Subject is the whole subject alternative name of the certificate: a URI
	// (also a SPIFFE ID), an e-mail address or a DNS name.
	Subject string `yaml:"subject" json:"subject,omitempty"`
	// SubjectPattern is as in [Keyless].
	SubjectPattern string `yaml:"subject-pattern" json:"subjectPattern,omitempty"`
}

// Extensions are the Fulcio extensions 1.3.6.1.4.1.57264.1.n that a policy can
// demand, by the names of fulcio docs/oid-info.md; absent means any. Values are
// what the build service says; source-repository-identifier and
// source-repository-owner-identifier stay the same when a repository is renamed
// or made anew.
type Extensions struct {
	GithubWorkflowTrigger           string `yaml:"github-workflow-trigger" json:"githubWorkflowTrigger,omitempty" oid:"2"`
	GithubWorkflowSHA               string `yaml:"github-workflow-sha" json:"githubWorkflowSHA,omitempty" oid:"3"`
	GithubWorkflowName              string `yaml:"github-workflow-name" json:"githubWorkflowName,omitempty" oid:"4"`
	GithubWorkflowRepository        string `yaml:"github-workflow-repository" json:"githubWorkflowRepository,omitempty" oid:"5"`
	GithubWorkflowRef               string `yaml:"github-workflow-ref" json:"githubWorkflowRef,omitempty" oid:"6"`
	BuildSignerURI                  string `yaml:"build-signer-uri" json:"buildSignerURI,omitempty" oid:"9"`
	BuildSignerDigest               string `yaml:"build-signer-digest" json:"buildSignerDigest,omitempty" oid:"10"`
	RunnerEnvironment               string `yaml:"runner-environment" json:"runnerEnvironment,omitempty" oid:"11"`
	SourceRepositoryURI             string `yaml:"source-repository-uri" json:"sourceRepositoryURI,omitempty" oid:"12"`
	SourceRepositoryDigest          string `yaml:"source-repository-digest" json:"sourceRepositoryDigest,omitempty" oid:"13"`
	SourceRepositoryRef             string `yaml:"source-repository-ref" json:"sourceRepositoryRef,omitempty" oid:"14"`
	SourceRepositoryIdentifier      string `yaml:"source-repository-identifier" json:"sourceRepositoryIdentifier,omitempty" oid:"15"`
	SourceRepositoryOwnerURI        string `yaml:"source-repository-owner-uri" json:"sourceRepositoryOwnerURI,omitempty" oid:"16"`
	SourceRepositoryOwnerIdentifier string `yaml:"source-repository-owner-identifier" json:"sourceRepositoryOwnerIdentifier,omitempty" oid:"17"`
	BuildConfigURI                  string `yaml:"build-config-uri" json:"buildConfigURI,omitempty" oid:"18"`
	BuildConfigDigest               string `yaml:"build-config-digest" json:"buildConfigDigest,omitempty" oid:"19"`
	BuildTrigger                    string `yaml:"build-trigger" json:"buildTrigger,omitempty" oid:"20"`
	RunInvocationURI                string `yaml:"run-invocation-uri" json:"runInvocationURI,omitempty" oid:"21"`
	SourceRepositoryVisibility      string `yaml:"source-repository-visibility" json:"sourceRepositoryVisibility,omitempty" oid:"22"`
	DeploymentEnvironment           string `yaml:"deployment-environment" json:"deploymentEnvironment,omitempty" oid:"23"`
	TokenSubject                    string `yaml:"token-subject" json:"tokenSubject,omitempty" oid:"24"`
}

// Key is a signer by a long-lived key: ECDSA P-256, P-384 or P-521, RSA of at
// least 2048 bits, or Ed25519 where the build's crypto module has it.
type Key struct {
	// PEM is one PUBLIC KEY block. A key of a KMS, HSM or TPM is exported when
	// the policy is written. Required.
	PEM string `yaml:"pem" json:"pem"`
	// NotBefore and NotAfter bound, inclusively, when it may have signed: the
	// proven time of the signature, or the time of verification where nothing
	// proves one. Absent means unbounded.
	NotBefore time.Time `yaml:"not-before" json:"notBefore,omitzero"`
	// NotAfter is the end of that window.
	NotAfter time.Time `yaml:"not-after" json:"notAfter,omitzero"`
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

// An authority is one that was checked.
type authority struct {
	Authority
	name     string
	instance string // of the roots
	subject  globPattern
	pub      crypto.PublicKey
	spki     verdict.Digest
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

func compileAuthority(f *yamlFile, path, name string, a Authority) (*authority, error) {
	if !validName(name) {
		return nil, f.errorAt(path, "", "authority name %q: want 1 to 64 letters, digits and -_.", clipQuote(name))
	}
	c := &authority{Authority: a, name: name}
	kinds := 0
	for _, set := range []bool{a.Keyless != nil, a.Key != nil, a.X509 != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, f.errorAt(path, "", "authority %q: want exactly one of keyless, key and x509", name)
	}
	c.instance = a.Roots
	if a.Roots == "" {
		c.instance = DefaultInstance
	} else if !validName(a.Roots) {
		return nil, f.errorAt(path+".roots", "", "authority %q: roots is %q, want 1 to 64 letters, digits and -_.", name, clipQuote(a.Roots))
	}
	switch {
	case a.Keyless != nil:
		return c, c.compileKeyless(f, path)
	case a.X509 != nil:
		return c, c.compileX509(f, path)
	}
	return c, c.compileKey(f, path)
}

func (a *authority) compileKeyless(f *yamlFile, path string) error {
	k := a.Keyless
	switch {
	case k.Issuer == "":
		return f.errorAt(path+".keyless", "the same subject of another issuer is somebody else", "authority %q has no issuer", a.name)
	case a.RequireLog && a.AllowUnlogged:
		return f.errorAt(path, "", "authority %q: require-log and allow-unlogged contradict each other", a.name)
	case strings.ContainsAny(k.Issuer, "*"):
		return f.errorAt(path+".keyless.issuer", "", "authority %q: an issuer has no pattern", a.name)
	}
	return a.compileSubject(f, path+".keyless", k.Subject, k.SubjectPattern)
}

// compileSubject checks the two ways to say who a certificate has to be for.
func (a *authority) compileSubject(f *yamlFile, path, subject, pattern string) error {
	switch {
	case (subject == "") == (pattern == ""):
		return f.errorAt(path, "", "authority %q: want exactly one of subject and subject-pattern", a.name)
	case strings.Contains(subject, "*"):
		return f.errorAt(path+".subject", "use subject-pattern", "authority %q: a subject has no pattern", a.name)
	case pattern == "":
		return nil
	}
	g, err := parseGlob(pattern, "/@")
	if err != nil {
		return f.errorAt(path+".subject-pattern", "a pattern is the whole subject, with * for parts of a segment", "authority %q: %s", a.name, err)
	}
	a.subject = g
	return nil
}

func (a *authority) compileX509(f *yamlFile, path string) error {
	if a.AllowUnlogged || a.AllowNoSCT {
		return f.errorAt(path, "leave it out: an own PKI demands neither by itself", "authority %q: allow-unlogged and allow-no-sct are about keyless certificates", a.name)
	}
	if err := a.checkStoreNames(f, path+".x509.trust-stores", a.X509.TrustStores); err != nil {
		return err
	}
	return a.compileSubject(f, path+".x509", a.X509.Subject, a.X509.SubjectPattern)
}

func (a *authority) checkStoreNames(f *yamlFile, path string, names []string) error {
	if len(names) == 0 {
		return f.errorAt(path, "name trust stores of the roots file", "authority %q: no trust store", a.name)
	}
	for i, n := range names {
		if !validName(n) || slices.Contains(names[:i], n) {
			return f.errorAt(fmt.Sprintf("%s[%d]", path, i), "", "authority %q: trust store %q is no name, or there twice", a.name, clipQuote(n))
		}
	}
	return nil
}

func (a *authority) compileKey(f *yamlFile, path string) error {
	if a.AllowUnlogged || a.AllowNoSCT {
		return f.errorAt(path, "leave it out: a key demands neither by itself", "authority %q: allow-unlogged and allow-no-sct are about certificates", a.name)
	}
	if !a.Key.NotBefore.IsZero() && !a.Key.NotAfter.IsZero() && a.Key.NotAfter.Before(a.Key.NotBefore) {
		return f.errorAt(path+".key.not-after", "", "authority %q: not-after is before not-before", a.name)
	}
	pub, spki, err := parsePublicKey([]byte(a.Key.PEM))
	if err != nil {
		return f.errorAt(path+".key.pem", "export the public key: one PUBLIC KEY block", "authority %q: %s", a.name, err)
	}
	a.pub, a.spki = pub, spki
	return nil
}

// parsePublicKey reads exactly one PUBLIC KEY block with a key of an accepted
// algorithm.
func parsePublicKey(data []byte) (crypto.PublicKey, verdict.Digest, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, "", fmt.Errorf("reading public key: want a PEM block PUBLIC KEY")
	}
	if len(strings.TrimSpace(string(rest))) != 0 {
		return nil, "", fmt.Errorf("reading public key: there is something after the first PEM block")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, "", fmt.Errorf("reading public key: %w", err)
	}
	if err := acceptKey(pub); err != nil {
		return nil, "", err
	}
	return pub, verdict.SHA256(block.Bytes), nil
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

// signerClass is equal for authorities that are the same signer by
// construction.
func (a *authority) signerClass() string {
	switch {
	case a.Key != nil:
		return "key\n" + string(a.spki)
	case a.X509 != nil:
		stores := slices.Sorted(slices.Values(a.X509.TrustStores))
		return "x509\n" + strings.Join(stores, " ") + "\n" + a.X509.Subject + "\n" + a.X509.SubjectPattern
	}
	return "keyless\n" + a.Keyless.Issuer + "\n" + a.Keyless.Subject + "\n" + a.Keyless.SubjectPattern
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

// A OneOff is what the command line demands without a policy file: one signer,
// by key or by identity, each a whole string.
type OneOff struct {
	// Keys are PEM public keys; a signature by any one of them is enough.
	Keys [][]byte
	// Identity and Issuer are the certificate's subject and OIDC issuer.
	Identity string
	// Issuer goes with Identity.
	Issuer string
	// Attestation demands a statement of this predicate type (a URI or
	// "slsaprovenance") in place of a signature.
	Attestation string
	// RequireLog demands a transparency log entry also of a key.
	RequireLog bool
}

// Policy returns the policy with one rule for everything that o means. Its
// digest is that of its JSON form.
func (o OneOff) Policy() (*Policy, error) {
	p := &Policy{Version: 1, Authorities: make(map[string]Authority), name: "command line"}
	switch {
	case len(o.Keys) > 0 && (o.Identity != "" || o.Issuer != ""):
		return nil, verdict.Misused("name one of them", "a key and a certificate identity are different signers")
	case len(o.Keys) > 0:
		for i, k := range o.Keys {
			name := "key"
			if len(o.Keys) > 1 {
				name = fmt.Sprintf("key-%d", i+1)
			}
			p.Authorities[name] = Authority{Key: &Key{PEM: string(k)}, RequireLog: o.RequireLog}
		}
	case o.Identity == "" || o.Issuer == "":
		return nil, verdict.Misused("an identity is a subject together with its OIDC issuer", "nothing says who must have signed: want a policy, a key, or identity and issuer")
	default:
		p.Authorities["identity"] = Authority{Keyless: &Keyless{Issuer: o.Issuer, Subject: o.Identity}, RequireLog: o.RequireLog}
	}
	names := slices.Sorted(maps.Keys(p.Authorities))
	rule := Rule{Name: "command-line", Repositories: []string{everything}}
	if o.Attestation != "" {
		rule.Attestations = []Attestation{{PredicateType: o.Attestation, Authorities: names, Require: 1}}
	} else {
		rule.Authorities, rule.Require = names, 1
	}
	p.Rules = []Rule{rule}
	if err := p.compile(&yamlFile{name: p.name}); err != nil {
		return nil, err
	}
	form, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding policy: %w", err)
	}
	p.digest = verdict.SHA256(form)
	return p, nil
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
