// SPDX-License-Identifier: Apache-2.0

package predicate

import (
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// A Provenance is what SLSA provenance says, whatever its version.
type Provenance struct {
	// BuilderID is who built. It is never empty.
	BuilderID string
	BuildType string
	// Dependencies are what went into the build, as far as it says.
	Dependencies []Dependency
}

// A Dependency is a material or resolved dependency.
type Dependency struct {
	URI string
	// Digest is by algorithm, in hex.
	Digest map[string]string
}

// maxDependencies bounds what is kept of them.
const maxDependencies = 1 << 14

// ParseProvenance reads SLSA provenance v1 (slsa.dev/spec/v1.1/provenance), v0.2
// or v0.1. The error is a [verdict.Refusal] with input.malformed, or with
// statement.type for another predicate.
func ParseProvenance(payload []byte) (*Provenance, error) {
	s, err := parse(payload)
	if err != nil {
		return nil, err
	}
	p := &Provenance{}
	var dependencies any
	switch s.predicateType {
	case Provenance1:
		p.BuilderID = text(at(s.predicate, "runDetails", "builder", "id"))
		p.BuildType = text(at(s.predicate, "buildDefinition", "buildType"))
		dependencies = at(s.predicate, "buildDefinition", "resolvedDependencies")
	case Provenance02:
		p.BuilderID = text(at(s.predicate, "builder", "id"))
		p.BuildType = text(at(s.predicate, "buildType"))
		dependencies = at(s.predicate, "materials")
	case Provenance01:
		p.BuilderID = text(at(s.predicate, "builder", "id"))
		p.BuildType = text(at(s.predicate, "recipe", "type"))
		dependencies = at(s.predicate, "materials")
	default:
		return nil, verdict.Refuse(verdict.StatementType, "reading provenance: predicate type is %q", clip(s.predicateType))
	}
	if p.BuilderID == "" {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading provenance: it names no builder")
	}
	items := list(dependencies)
	if dependencies != nil && items == nil || len(items) > maxDependencies {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading provenance: its dependencies are no list of at most %d", maxDependencies)
	}
	for _, item := range items {
		d := Dependency{URI: text(at(item, "uri")), Digest: make(map[string]string)}
		digests, _ := at(item, "digest").(map[string]any)
		for alg, v := range digests {
			d.Digest[alg] = strings.ToLower(text(v))
		}
		p.Dependencies = append(p.Dependencies, d)
	}
	return p, nil
}

// A BaseImage is an image that a build took.
type BaseImage struct {
	// Repository is as the build wrote it; Digest is "sha256:…".
	Repository, Digest string
}

// BaseImages returns the images among what went into a build, each once: those
// named by a package URL (pkg:docker, pkg:oci) or docker-image:// with a
// digest. The error is as of [ParseProvenance].
func BaseImages(payload []byte) ([]BaseImage, error) {
	p, err := ParseProvenance(payload)
	if err != nil {
		return nil, err
	}
	var out []BaseImage
	for _, d := range p.Dependencies {
		repository, digest, ok := imageOf(d)
		if !ok {
			continue
		}
		if b := (BaseImage{repository, digest}); !slices.Contains(out, b) {
			out = append(out, b)
		}
	}
	return out, nil
}

// imageOf reads what a dependency calls an image.
func imageOf(d Dependency) (repository, digest string, ok bool) {
	sum := d.Digest["sha256"]
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 {
		return "", "", false
	}
	digest = "sha256:" + sum
	switch {
	case strings.HasPrefix(d.URI, "pkg:docker/"):
		// pkg:docker/NAMESPACE/NAME@VERSION?repository_url=HOST
		// (package-url/purl-spec, docker).
		name, query, _ := strings.Cut(strings.TrimPrefix(d.URI, "pkg:docker/"), "?")
		name, _, _ = strings.Cut(name, "@")
		return join(query, name), digest, name != ""
	case strings.HasPrefix(d.URI, "pkg:oci/"):
		// pkg:oci/NAME@DIGEST?repository_url=HOST/PATH
		name, query, _ := strings.Cut(strings.TrimPrefix(d.URI, "pkg:oci/"), "?")
		name, _, _ = strings.Cut(name, "@")
		values, err := url.ParseQuery(query)
		if err != nil {
			return "", "", false
		}
		repository := values.Get("repository_url")
		if repository == "" {
			return name, digest, name != ""
		}
		return repository, digest, true
	case strings.HasPrefix(d.URI, "docker-image://"):
		name := strings.TrimPrefix(d.URI, "docker-image://")
		name, _, _ = strings.Cut(name, "@")
		if slash, colon := strings.LastIndexByte(name, '/'), strings.LastIndexByte(name, ':'); colon > slash {
			name = name[:colon]
		}
		return name, digest, name != ""
	}
	return "", "", false
}

// join puts the host of a package URL's query before a name.
func join(query, name string) string {
	if unescaped, err := url.PathUnescape(name); err == nil {
		name = unescaped
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return name
	}
	host := strings.TrimSuffix(strings.TrimPrefix(values.Get("repository_url"), "https://"), "/")
	if host == "" {
		return name
	}
	return host + "/" + name
}

// A VSADemand is what a verification summary has to say.
type VSADemand struct {
	// Verifiers are the verifier IDs that count, whole.
	Verifiers []string
	// Levels are all demanded of verifiedLevels.
	Levels []string
	// Repository is what resourceUri has to be.
	Repository string
	// MaxAge bounds timeVerified, counted back from At; zero does not.
	MaxAge time.Duration
	At     time.Time
}

// CheckVSA compares a SLSA verification summary v1 (slsa.dev/spec/v1.1/
// verification_summary) with a demand. A summary that says too little is a
// [verdict.Refusal] with statement.predicate, which names the member.
func CheckVSA(payload []byte, d VSADemand) error {
	s, err := parse(payload)
	if err != nil {
		return err
	}
	if s.predicateType != verdict.VSAType {
		return verdict.Refuse(verdict.StatementType, "reading verification summary: predicate type is %q", clip(s.predicateType))
	}
	refuse := func(format string, args ...any) error {
		return verdict.Refuse(verdict.StatementPredicate, "comparing verification summary: "+format, args...)
	}
	id, resource, result := text(at(s.predicate, "verifier", "id")), text(at(s.predicate, "resourceUri")), text(at(s.predicate, "verificationResult"))
	switch {
	case !slices.Contains(d.Verifiers, id):
		return refuse("verifier.id is %q, want one of %s", clip(id), strings.Join(d.Verifiers, ", "))
	case resource != d.Repository:
		return refuse("resourceUri is %q, want %q", clip(resource), d.Repository)
	case result != verdict.Passed:
		return refuse("verificationResult is %q, want %s", clip(result), verdict.Passed)
	}
	var levels []string
	for _, l := range list(at(s.predicate, "verifiedLevels")) {
		levels = append(levels, text(l))
	}
	for _, want := range d.Levels {
		if !slices.Contains(levels, want) {
			return refuse("verifiedLevels has not %q", want)
		}
	}
	verified, err := time.Parse(time.RFC3339, text(at(s.predicate, "timeVerified")))
	switch {
	case err != nil:
		return refuse("timeVerified is %q, want a time in RFC 3339", clip(text(at(s.predicate, "timeVerified"))))
	case verified.After(d.At.Add(verdict.MaxSkew)):
		return refuse("timeVerified is %s, and now is %s", verified.UTC().Format(time.RFC3339), d.At.UTC().Format(time.RFC3339))
	case d.MaxAge > 0 && verified.Add(d.MaxAge).Before(d.At):
		return refuse("timeVerified is %s, want not before %s", verified.UTC().Format(time.RFC3339), d.At.Add(-d.MaxAge).UTC().Format(time.RFC3339))
	}
	return nil
}
