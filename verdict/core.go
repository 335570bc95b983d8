// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Types of a verdict core.
const (
	// CoreType is the DSSE payload type of a core: it is an in-toto statement.
	CoreType = "application/vnd.in-toto+json"
	// InTotoStatementType is the _type of in-toto Statement v1.
	InTotoStatementType = "https://in-toto.io/Statement/v1"
	// VSAType is the predicate type of a SLSA verification summary.
	VSAType = "https://slsa.dev/verification_summary/v1"
	// Unevaluated is the level that a summary names where no rule demanded
	// provenance.
	Unevaluated = "SLSA_BUILD_LEVEL_UNEVALUATED"
)

// Results of a verdict core.
const (
	// Passed: every demand of every rule was met.
	Passed = "PASSED"
	// Failed: at least one was not.
	Failed = "FAILED"
)

// An Outcome is what a ticket says for a namespace pattern.
type Outcome string

// The outcomes. All but OutcomeFail let through.
const (
	OutcomePass      Outcome = "pass"
	OutcomeAuditFail Outcome = "audit-fail"
	OutcomeUnchecked Outcome = "unchecked"
	OutcomeFail      Outcome = "fail"
)

// Valid tells whether o is one of the four.
func (o Outcome) Valid() bool {
	return o == OutcomePass || o == OutcomeAuditFail || o == OutcomeUnchecked || o == OutcomeFail
}

// A Core is one verdict: an in-toto Statement v1 whose predicate is a SLSA VSA
// v1. It names no caller and can be cached, logged and shown to others.
type Core struct {
	Type          string        `json:"_type"`
	Predicate     CorePredicate `json:"predicate"`
	PredicateType string        `json:"predicateType"`
	// Subject is the digest that was asked for, then the verified children.
	Subject []CoreSubject `json:"subject"`
}

// A CoreSubject names an index or a manifest by digest.
type CoreSubject struct {
	// Digest has one member, the algorithm, with the value in hex.
	Digest map[string]string `json:"digest"`
	Name   string            `json:"name"`
}

// A CorePredicate is the SLSA VSA v1 with our extension.
type CorePredicate struct {
	Extension         CoreExtension  `json:"https://github.com/assayd/assay/verdict/v1"`
	InputAttestations []CoreResource `json:"inputAttestations"`
	Policy            CoreResource   `json:"policy"`
	// ResourceURI is the repository that was asked for.
	ResourceURI string `json:"resourceUri"`
	// TimeVerified is RFC 3339 in UTC with whole seconds.
	TimeVerified string `json:"timeVerified"`
	// VerificationResult is Passed or Failed.
	VerificationResult string       `json:"verificationResult"`
	VerifiedLevels     []string     `json:"verifiedLevels"`
	Verifier           CoreVerifier `json:"verifier"`
}

// A CoreResource is an in-toto resource descriptor.
type CoreResource struct {
	Digest map[string]string `json:"digest"`
	URI    string            `json:"uri"`
}

// A CoreVerifier says who decided.
type CoreVerifier struct {
	// ID is the daemon's SPIFFE ID.
	ID string `json:"id"`
	// Version maps names of components to their versions.
	Version map[string]string `json:"version"`
}

// A CoreExtension is what the VSA has no place for.
type CoreExtension struct {
	// Cluster is the one that the verdict is for.
	Cluster string `json:"cluster"`
	// Deny is the [DenyDigest] of the deny documents applied.
	Deny string `json:"deny"`
	// Head is the counter that the verdict was reached under.
	Head uint64 `json:"head"`
	// Identities are the signers that counted.
	Identities []CoreIdentity `json:"identities,omitempty"`
	// Namespaces maps patterns to outcomes, before exceptions.
	Namespaces map[string]Outcome `json:"namespaces"`
	// NotAfter bounds the verdict in Unix seconds; absent where nothing that it
	// relied on ends.
	NotAfter int64    `json:"notAfter,omitempty"`
	Reasons  []Reason `json:"reasons,omitempty"`
	// Roots is the digest of the effective trusted roots.
	Roots Digest `json:"roots"`
	// Rules are the names of the rules that matched.
	Rules []string `json:"rules,omitempty"`
	// Salt is 128 random bits in hex: a leaf of the log must not tell which
	// image it is about to someone who guesses.
	Salt string `json:"salt"`
}

// A CoreIdentity is a signer.
type CoreIdentity struct {
	// Authority is the policy's name for it.
	Authority string `json:"authority"`
	Issuer    string `json:"issuer,omitempty"`
	// Key is the SHA-256 of the public key's SPKI, for signers by key.
	Key Digest `json:"key,omitempty"`
	SAN string `json:"san,omitempty"`
}

// DigestMap returns d as in-toto wants it.
func DigestMap(d Digest) map[string]string { return map[string]string{d.Algorithm(): d.Hex()} }

func digestFromMap(m map[string]string) (Digest, error) {
	if len(m) != 1 {
		return "", fmt.Errorf("%d digests, want 1", len(m))
	}
	for alg, value := range m {
		return ParseDigest(alg + ":" + value)
	}
	return "", nil
}

// A SignedCore is a core with the key that signed it.
type SignedCore struct {
	Core
	// Digest is the SHA-256 of the payload: the core's name everywhere.
	Digest Digest
	// By is the thumbprint of the verdict key.
	By string
	// Envelope is the DSSE envelope.
	Envelope []byte
}

// SignCore signs c with a verdict key.
func SignCore(c Core, key *Key) (SignedCore, error) {
	c.Type, c.PredicateType = InTotoStatementType, VSAType
	if c.Predicate.InputAttestations == nil {
		c.Predicate.InputAttestations = []CoreResource{} // nothing was used: [], never null
	}
	if err := c.check(); err != nil {
		return SignedCore{}, fmt.Errorf("signing core: %w", err)
	}
	payload, err := encode(c)
	if err != nil {
		return SignedCore{}, err
	}
	if len(payload) > MaxCore {
		return SignedCore{}, fmt.Errorf("signing core: %d bytes, want at most %d", len(payload), MaxCore)
	}
	env, err := seal(CoreType, payload, []*Key{key})
	if err != nil {
		return SignedCore{}, err
	}
	return SignedCore{Core: c, Digest: SHA256(payload), By: key.Kid(), Envelope: env}, nil
}

// OpenCore checks a core by one of the verdict keys. The error is a *[Refusal]
// with input.malformed or sig.invalid.
func OpenCore(data []byte, keys []JWK) (SignedCore, error) {
	env, payload, c, err := parseCore(data)
	if err != nil {
		return SignedCore{}, err
	}
	signers, err := env.signers(payload, keys, UseVerdict)
	if err != nil {
		return SignedCore{}, Refuse(SigInvalid, "opening core: %w", err)
	}
	if len(signers) != 1 {
		return SignedCore{}, Refuse(SigInvalid, "opening core: not signed by a known verdict key")
	}
	return SignedCore{Core: c, Digest: SHA256(payload), By: signers[0], Envelope: data}, nil
}

// ParseCoreInsecure decodes a core without looking at its signature, for
// storing it under its name and for showing it. By is empty. The error is a
// *[Refusal] with input.malformed.
func ParseCoreInsecure(data []byte) (SignedCore, error) {
	_, payload, c, err := parseCore(data)
	if err != nil {
		return SignedCore{}, err
	}
	return SignedCore{Core: c, Digest: SHA256(payload), Envelope: data}, nil
}

func parseCore(data []byte) (envelope, []byte, Core, error) {
	env, payload, err := parseEnvelope(data, CoreType, MaxCore)
	if err != nil {
		return envelope{}, nil, Core{}, Refuse(InputMalformed, "parsing core: %w", err)
	}
	if len(env.Signatures) != 1 {
		return envelope{}, nil, Core{}, Refuse(InputMalformed, "parsing core: %d signatures, want 1", len(env.Signatures))
	}
	c, err := decode[Core](payload, MaxCore)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return envelope{}, nil, Core{}, Refuse(InputMalformed, "parsing core: %w", err)
	}
	return env, payload, c, nil
}

func (c Core) check() error {
	if c.Type != InTotoStatementType || c.PredicateType != VSAType {
		return fmt.Errorf("types are %s and %s, want %q and %q", quote(c.Type), quote(c.PredicateType), InTotoStatementType, VSAType)
	}
	if len(c.Subject) == 0 || len(c.Subject) > 1024 {
		return fmt.Errorf("%d subjects, want 1 to 1024", len(c.Subject))
	}
	for _, s := range c.Subject {
		if _, err := digestFromMap(s.Digest); err != nil {
			return fmt.Errorf("subject: %w", err)
		}
	}
	p, x := c.Predicate, c.Predicate.Extension
	if err := first(CheckSPIFFEID(p.Verifier.ID), CheckRepository(p.ResourceURI), checkHex("salt", x.Salt, 16),
		checkHex("deny", x.Deny, 32), checkSHA256("roots", x.Roots), checkText("cluster", x.Cluster, 128)); err != nil {
		return err
	}
	policy, err := digestFromMap(p.Policy.Digest)
	if err := first(err, checkSHA256("policy", policy)); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	for _, input := range p.InputAttestations {
		if _, err := digestFromMap(input.Digest); err != nil {
			return fmt.Errorf("input attestation: %w", err)
		}
	}
	if t, err := time.Parse(time.RFC3339, p.TimeVerified); err != nil || t.UTC().Format(time.RFC3339) != p.TimeVerified {
		return fmt.Errorf("timeVerified is %s, want RFC 3339 in UTC with whole seconds", quote(p.TimeVerified))
	}
	if p.VerificationResult != Passed && p.VerificationResult != Failed {
		return fmt.Errorf("verificationResult is %s, want %q or %q", quote(p.VerificationResult), Passed, Failed)
	}
	if x.Head == 0 || len(x.Namespaces) == 0 || len(p.VerifiedLevels) == 0 {
		return errors.New("head, namespaces or verifiedLevels is missing")
	}
	if err := checkOutcomes(x.Namespaces); err != nil {
		return err
	}
	for _, pattern := range slices.Sorted(maps.Keys(x.Namespaces)) {
		if o := x.Namespaces[pattern]; p.VerificationResult == Passed && (o == OutcomeFail || o == OutcomeAuditFail) {
			return fmt.Errorf("verificationResult is %s, and namespace %s has %s", Passed, quote(pattern), o)
		}
	}
	return nil
}

func checkOutcomes(res map[string]Outcome) error {
	if len(res) > 256 {
		return fmt.Errorf("%d namespace patterns, want at most 256", len(res))
	}
	for _, pattern := range slices.Sorted(maps.Keys(res)) {
		if err := CheckNamespacePattern(pattern); err != nil {
			return err
		}
		if !res[pattern].Valid() {
			return fmt.Errorf("outcome for %s is %s", quote(pattern), quote(string(res[pattern])))
		}
	}
	return nil
}
