// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/notation"
)

// An Authority is one possible signer: exactly one of Keyless, Key, X509,
// Notation and TUF.
type Authority struct {
	// Keyless is a signer by certificate (Fulcio).
	Keyless *Keyless `yaml:"keyless" json:"keyless,omitempty"`
	// Key is a signer by a long-lived key.
	Key *Key `yaml:"key" json:"key,omitempty"`
	// X509 is a signer by a certificate of an own PKI, or an X.509-SVID.
	X509 *X509 `yaml:"x509" json:"x509,omitempty"`
	// Notation is a signer of the Notary Project's signatures.
	Notation *Notation `yaml:"notation" json:"notation,omitempty"`
	// TUF is a TUF repository that lists the image as a target.
	TUF *TUF `yaml:"tuf" json:"tuf,omitempty"`
	// NotaryV1 is Docker Content Trust, for repositories that still have it.
	NotaryV1 *NotaryV1 `yaml:"notary-v1" json:"notaryV1,omitempty"`
	// Revocation is hard, soft or off, for certificates that their publisher can
	// revoke (x509, notation); absent means hard. Soft takes a certificate whose
	// state cannot be found out, and never a revoked one.
	Revocation string `yaml:"revocation" json:"revocation,omitempty"`
	// Grandfather is invalidity-date, or absent. With it a revoked certificate
	// counts for what a timestamp proves to be signed before the invalidity date
	// that its issuer gave, unless a key was compromised (Notary Project signature
	// specification, "Revocation check"). Without it revoked is revoked.
	Grandfather string `yaml:"grandfather" json:"grandfather,omitempty"`
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
	// Logs is how many distinct logs must have the signature; absent means one
	// where an entry is demanded at all.
	Logs int `yaml:"logs" json:"logs,omitempty"`
	// SignedAfter and SignedBefore bound, inclusively, when it may have been
	// signed, by proven time: after the loss of an identity what it signed
	// before still counts.
	SignedAfter time.Time `yaml:"signed-after" json:"signedAfter,omitzero"`
	// SignedBefore is the end of that time.
	SignedBefore time.Time `yaml:"signed-before" json:"signedBefore,omitzero"`
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

// Notation is a signer of the Notary Project's signatures (JWS or COSE). The
// trust stores say who may issue certificates: of kind ca for the scheme
// notary.x509, signing-authority for notary.x509.signingAuthority, tsa for
// timestamps. Exactly one of Subjects and AnySubject is set.
type Notation struct {
	// TrustStores are names of trust stores of the roots file. Required.
	TrustStores []string `yaml:"trust-stores" json:"trustStores"`
	// Subjects are distinguished names of which one has to be part of the
	// certificate's: "C=US, ST=WA, O=acme", with C, ST and O at least.
	Subjects []string `yaml:"subjects" json:"subjects,omitempty"`
	// AnySubject takes every certificate of the trust stores.
	AnySubject bool `yaml:"any-subject" json:"anySubject,omitempty"`
}

// TUF is a TUF repository: an image counts when a target has its digest and
// size.
type TUF struct {
	// Repository is a name under tuf of the roots file. Required.
	Repository string `yaml:"repository" json:"repository"`
	// Role is the one that has to list it; absent means any that is trusted for
	// the path.
	Role string `yaml:"role" json:"role,omitempty"`
	// Paths are patterns of the target's path, in which "*" stands for one or
	// more characters other than "/", and {repository} for the image's. Required.
	Paths []string `yaml:"paths" json:"paths"`
}

// GrandfatherInvalidityDate is the one value of Grandfather.
const GrandfatherInvalidityDate = "invalidity-date"

// The values of Revocation.
const (
	RevocationHard = "hard"
	RevocationSoft = "soft"
	RevocationOff  = "off"
)

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

// An authority is one that was checked.
type authority struct {
	Authority
	name     string
	instance string // of the roots
	subject  globPattern
	subjects []notation.Subject
	pub      crypto.PublicKey
	spki     verdict.Digest
}

func compileAuthority(f *strictyaml.File, path, name string, a Authority) (*authority, error) {
	if !validName(name) {
		return nil, f.Misuse(path, "", "authority name %q: want 1 to 64 letters, digits and -_.", clipQuote(name))
	}
	c := &authority{Authority: a, name: name}
	kinds := 0
	for _, set := range []bool{a.Keyless != nil, a.Key != nil, a.X509 != nil, a.Notation != nil, a.TUF != nil, a.NotaryV1 != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, f.Misuse(path, "", "authority %q: want exactly one of keyless, key, x509, notation, tuf and notary-v1", name)
	}
	c.instance = a.Roots
	if a.Roots == "" {
		c.instance = DefaultInstance
	} else if !validName(a.Roots) {
		return nil, f.Misuse(path+".roots", "", "authority %q: roots is %q, want 1 to 64 letters, digits and -_.", name, clipQuote(a.Roots))
	}
	if said := f.Has(path + ".logs"); a.Logs < 0 || said && a.Logs == 0 || a.Logs > maxLogEntries || a.Logs > 0 && a.AllowUnlogged {
		return nil, f.Misuse(path+".logs", "", "authority %q: logs is %d, want 1 to %d, and no allow-unlogged", name, a.Logs, maxLogEntries)
	}
	if !a.SignedAfter.IsZero() && !a.SignedBefore.IsZero() && a.SignedBefore.Before(a.SignedAfter) {
		return nil, f.Misuse(path+".signed-before", "", "authority %q: signed-before is before signed-after", name)
	}
	if err := c.checkDemands(f, path); err != nil {
		return nil, err
	}
	switch {
	case a.Keyless != nil:
		return c, c.compileKeyless(f, path)
	case a.X509 != nil:
		return c, c.compileX509(f, path)
	case a.Notation != nil:
		return c, c.compileNotation(f, path)
	case a.TUF != nil:
		return c, c.compileTUF(f, path)
	case a.NotaryV1 != nil:
		return c, c.compileNotaryV1(f, path)
	}
	return c, c.compileKey(f, path)
}

// checkDemands refuses demands that mean nothing for the kind of authority.
func (a *authority) checkDemands(f *strictyaml.File, path string) error {
	revocable := a.X509 != nil || a.Notation != nil
	sigstore := a.Keyless != nil || a.Key != nil || a.X509 != nil
	switch {
	case a.Revocation != "" && !revocable:
		return f.Misuse(path+".revocation", "leave it out: only x509 and notation have publishers that revoke", "authority %q: revocation is not for this kind", a.name)
	case a.Revocation != "" && a.Revocation != RevocationHard && a.Revocation != RevocationSoft && a.Revocation != RevocationOff:
		return f.Misuse(path+".revocation", "", "authority %q: revocation is %q, want hard, soft or off", a.name, clipQuote(a.Revocation))
	case a.Grandfather != "" && (!revocable || a.Revocation == RevocationOff):
		return f.Misuse(path+".grandfather", "leave it out: nothing is asked about revoked certificates", "authority %q: grandfather is not for this kind, or revocation is off", a.name)
	case a.Grandfather != "" && a.Grandfather != GrandfatherInvalidityDate:
		return f.Misuse(path+".grandfather", "", "authority %q: grandfather is %q, want invalidity-date", a.name, clipQuote(a.Grandfather))
	case !sigstore && (a.Roots != "" || a.RequireLog || a.Logs != 0 || a.AllowUnlogged || a.AllowNoSCT):
		return f.Misuse(path, "leave them out", "authority %q: roots and demands on logs are for keyless, key and x509", a.name)
	case (a.TUF != nil || a.NotaryV1 != nil) && (a.RequireTimestamp || !a.SignedAfter.IsZero() || !a.SignedBefore.IsZero()):
		return f.Misuse(path, "leave them out: metadata says until when it counts", "authority %q: a list of targets proves no time of signing", a.name)
	}
	if revocable && a.Revocation == "" {
		a.Revocation = RevocationHard
	}
	return nil
}

func (a *authority) compileTUF(f *strictyaml.File, path string) error {
	switch {
	case !validName(a.TUF.Repository):
		return f.Misuse(path+".tuf.repository", "name it under tuf of the roots file", "authority %q: repository is %q, want 1 to 64 letters, digits and -_.", a.name, clipQuote(a.TUF.Repository))
	case len(a.TUF.Paths) == 0:
		return f.Misuse(path+".tuf", "name them: a target is a file, and its path says what it is for", "authority %q: no paths", a.name)
	}
	for i, p := range a.TUF.Paths {
		if _, err := parseTargetPath(p, "registry.example/app"); err != nil {
			return f.Misuse(fmt.Sprintf("%s.tuf.paths[%d]", path, i), "", "authority %q: %s", a.name, err)
		}
	}
	return nil
}

// parseTargetPath returns the pattern of targets for a repository.
func parseTargetPath(pattern, repository string) (globPattern, error) {
	return parseGlob(strings.ReplaceAll(pattern, "{repository}", repository), "/")
}

func (a *authority) compileNotation(f *strictyaml.File, path string) error {
	n := a.Notation
	if err := a.checkStoreNames(f, path+".notation.trust-stores", n.TrustStores); err != nil {
		return err
	}
	if n.AnySubject == (len(n.Subjects) > 0) {
		return f.Misuse(path+".notation", "", "authority %q: want exactly one of subjects and any-subject", a.name)
	}
	for i, s := range n.Subjects {
		subject, err := notation.ParseSubject(s)
		if err != nil {
			return f.Misuse(fmt.Sprintf("%s.notation.subjects[%d]", path, i), "write it as C=US, ST=WA, O=acme", "authority %q: %s", a.name, err)
		}
		a.subjects = append(a.subjects, subject)
	}
	return nil
}

func (a *authority) compileKeyless(f *strictyaml.File, path string) error {
	k := a.Keyless
	switch {
	case k.Issuer == "":
		return f.Misuse(path+".keyless", "the same subject of another issuer is somebody else", "authority %q has no issuer", a.name)
	case a.RequireLog && a.AllowUnlogged:
		return f.Misuse(path, "", "authority %q: require-log and allow-unlogged contradict each other", a.name)
	case strings.ContainsAny(k.Issuer, "*"):
		return f.Misuse(path+".keyless.issuer", "", "authority %q: an issuer has no pattern", a.name)
	}
	return a.compileSubject(f, path+".keyless", k.Subject, k.SubjectPattern)
}

// compileSubject checks the two ways to say who a certificate has to be for.
func (a *authority) compileSubject(f *strictyaml.File, path, subject, pattern string) error {
	switch {
	case (subject == "") == (pattern == ""):
		return f.Misuse(path, "", "authority %q: want exactly one of subject and subject-pattern", a.name)
	case strings.Contains(subject, "*"):
		return f.Misuse(path+".subject", "use subject-pattern", "authority %q: a subject has no pattern", a.name)
	case pattern == "":
		return nil
	}
	g, err := parseGlob(pattern, "/@")
	if err != nil {
		return f.Misuse(path+".subject-pattern", "a pattern is the whole subject, with * for parts of a segment", "authority %q: %s", a.name, err)
	}
	a.subject = g
	return nil
}

func (a *authority) compileX509(f *strictyaml.File, path string) error {
	if a.AllowUnlogged || a.AllowNoSCT {
		return f.Misuse(path, "leave it out: an own PKI demands neither by itself", "authority %q: allow-unlogged and allow-no-sct are about keyless certificates", a.name)
	}
	if err := a.checkStoreNames(f, path+".x509.trust-stores", a.X509.TrustStores); err != nil {
		return err
	}
	return a.compileSubject(f, path+".x509", a.X509.Subject, a.X509.SubjectPattern)
}

func (a *authority) checkStoreNames(f *strictyaml.File, path string, names []string) error {
	if len(names) == 0 {
		return f.Misuse(path, "name trust stores of the roots file", "authority %q: no trust store", a.name)
	}
	for i, n := range names {
		if !validName(n) || slices.Contains(names[:i], n) {
			return f.Misuse(fmt.Sprintf("%s[%d]", path, i), "", "authority %q: trust store %q is no name, or there twice", a.name, clipQuote(n))
		}
	}
	return nil
}

func (a *authority) compileKey(f *strictyaml.File, path string) error {
	if a.AllowUnlogged || a.AllowNoSCT {
		return f.Misuse(path, "leave it out: a key demands neither by itself", "authority %q: allow-unlogged and allow-no-sct are about certificates", a.name)
	}
	if !a.Key.NotBefore.IsZero() && !a.Key.NotAfter.IsZero() && a.Key.NotAfter.Before(a.Key.NotBefore) {
		return f.Misuse(path+".key.not-after", "", "authority %q: not-after is before not-before", a.name)
	}
	pub, spki, err := parsePublicKey([]byte(a.Key.PEM))
	if err != nil {
		return f.Misuse(path+".key.pem", "export the public key: one PUBLIC KEY block", "authority %q: %s", a.name, err)
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

// signerClass is equal for authorities that are the same signer by
// construction.
func (a *authority) signerClass() string {
	switch {
	case a.Key != nil:
		return "key\n" + string(a.spki)
	case a.TUF != nil:
		return "tuf\n" + a.TUF.Repository
	case a.NotaryV1 != nil:
		return "notary-v1" // of one collection, whichever role says so
	case a.Notation != nil:
		stores := slices.Sorted(slices.Values(a.Notation.TrustStores))
		return "notation\n" + strings.Join(stores, " ") + "\n" + strings.Join(slices.Sorted(slices.Values(a.Notation.Subjects)), "\n")
	case a.X509 != nil:
		stores := slices.Sorted(slices.Values(a.X509.TrustStores))
		return "x509\n" + strings.Join(stores, " ") + "\n" + a.X509.Subject + "\n" + a.X509.SubjectPattern
	}
	return "keyless\n" + a.Keyless.Issuer + "\n" + a.Keyless.Subject + "\n" + a.Keyless.SubjectPattern
}
