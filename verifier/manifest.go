// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
)

// Media types of manifests (facts/OCI image-spec v1.1.1, Docker distribution).
const (
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Limits inside a manifest, counted before anything is kept.
const (
	maxLayers          = 4096
	maxIndexEntries    = 1024
	maxAnnotations     = 256
	maxAnnotationBytes = 64 << 10 // of one value
)

// A manifest is what was read from the bytes of one: of an image (config,
// layers) or an index (index), never both.
type manifest struct {
	mediaType    string
	artifactType string
	subject      verdict.Digest // "" when it refers to nothing
	annotations  map[string]string
	config       Descriptor
	layers       []Descriptor
	platforms    []indexPlatform // beside index
	index        []Descriptor    // nil for an image manifest
}

// An indexPlatform is the platform of one entry of an index, or of an image's
// configuration (OCI image-spec v1.1.1 image-index.md, config.md).
type indexPlatform struct {
	OS, Architecture, Variant, OSVersion string
	OSFeatures                           []string
}

// Limits of a platform's members.
const (
	maxPlatformMember = 128 // bytes
	maxOSFeatures     = 32
)

// read takes the members of a platform out of o.
func (p *indexPlatform) read(o object) error {
	check := func(name, value string) error {
		if len(value) > maxPlatformMember || strings.ContainsAny(value, "/\x00") {
			return verdict.Refuse(verdict.InputMalformed, "platform member %s is %q", name, clipQuote(value))
		}
		return nil
	}
	for name, into := range map[string]*string{"os": &p.OS, "architecture": &p.Architecture, "variant": &p.Variant, "os.version": &p.OSVersion} {
		if err := o.optional(name, into); err != nil {
			return err
		}
		if err := check(name, *into); err != nil {
			return err
		}
	}
	if err := o.optional("os.features", &p.OSFeatures); err != nil {
		return err
	}
	if len(p.OSFeatures) > maxOSFeatures {
		return verdict.Refuse(verdict.InputMalformed, "platform has %d os.features, want at most %d", len(p.OSFeatures), maxOSFeatures)
	}
	for _, f := range p.OSFeatures {
		if err := check("os.features", f); err != nil {
			return err
		}
	}
	return nil
}

// family is what a manifest is, by itself (facts §1.5: artifactType, else the
// media type of its config).
func (m *manifest) family() string {
	if m.artifactType != "" {
		return m.artifactType
	}
	return m.config.MediaType
}

// parseManifest reads a manifest or index. MediaType is what the source calls
// it, or "". A document that could be read as both, or that is not what it is
// called, is refused: two readers would see two things (GHSA-5j5w-g665-5m35,
// GHSA-xmmx-7jpf-fx42).
func parseManifest(mediaType string, body []byte) (*manifest, error) {
	return parseManifestOf(mediaType, body, maxManifestValues, maxIndexEntries)
}

// parseManifestOf is parseManifest with other limits of values and of entries of
// an index.
func parseManifestOf(mediaType string, body []byte, maxValues, maxEntries int) (*manifest, error) {
	malformed := func(format string, args ...any) (*manifest, error) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading manifest: "+format, args...)
	}
	obj, err := parseObject(body, maxValues)
	if err == nil {
		err = exactNames(obj, manifestMembers)
	}
	if err != nil {
		return malformed("%w", err)
	}
	m := &manifest{}
	var version int
	if err := obj.optional("schemaVersion", &version); err != nil || version != 2 {
		return malformed("schemaVersion is not 2")
	}
	if err := obj.optional("mediaType", &m.mediaType); err != nil {
		return malformed("%w", err)
	}
	switch {
	case m.mediaType != "" && mediaType != "" && m.mediaType != mediaType:
		return malformed("it says %q of itself and is served as %q", clipQuote(m.mediaType), clipQuote(mediaType))
	case m.mediaType == "":
		m.mediaType = mediaType
	}
	_, hasManifests := obj["manifests"]
	_, hasLayers := obj["layers"]
	_, hasConfig := obj["config"]
	_, hasHistory := obj["fsLayers"]
	if hasManifests && (hasLayers || hasConfig) || hasHistory {
		return malformed("it has the members of an index and of an image")
	}
	if m.mediaType == "" {
		// Without any type the members decide; there is only one reading left.
		m.mediaType = typeOCIManifest
		if hasManifests {
			m.mediaType = typeOCIIndex
		}
	}
	if err := obj.optional("artifactType", &m.artifactType); err != nil {
		return malformed("%w", err)
	}
	if err := obj.optional("annotations", &m.annotations); err != nil {
		return malformed("%w", err)
	}
	if err := checkAnnotations(m.annotations); err != nil {
		return malformed("%w", err)
	}
	if raw, ok := obj["subject"]; ok && string(raw) != "null" {
		s, _, err := parseDescriptor(raw)
		if err != nil {
			return malformed("subject: %w", err)
		}
		m.subject = s.Digest
	}
	// A member that is not there is no descriptor, and no list.
	switch m.mediaType {
	case typeOCIIndex, typeDockerList:
		m.index, m.platforms, err = parseDescriptors(obj["manifests"], maxEntries)
		if err != nil {
			return malformed("manifests: %w", err)
		}
	case typeOCIManifest, typeDockerManifest:
		if m.config, _, err = parseDescriptor(obj["config"]); err != nil {
			return malformed("config: %w", err)
		}
		if m.layers, _, err = parseDescriptors(obj["layers"], maxLayers); err != nil {
			return malformed("layers: %w", err)
		}
	default:
		return nil, verdict.Refuse(verdict.InputUnsupported, "reading manifest: media type %q is not accepted", clipQuote(m.mediaType))
	}
	return m, nil
}

// The members by which a runtime chooses what runs, and we what it refers to.
var (
	manifestMembers   = []string{"schemaVersion", "mediaType", "artifactType", "manifests", "config", "layers", "fsLayers", "subject", "annotations"}
	descriptorMembers = []string{"mediaType", "artifactType", "digest", "size", "platform", "annotations", "urls", "data"}
	platformMembers   = []string{"os", "architecture", "variant", "os.version", "os.features"}
)

// exactNames refuses members that are one of names but for case. Runtimes in Go
// decode into structs, for which "Manifests" after "manifests" is the same member
// once more, and the last one counts: they would run what was not looked at.
func exactNames(o object, names []string) error {
	for have := range o {
		if !slices.Contains(names, have) && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, have) }) {
			return verdict.Refuse(verdict.InputMalformed, "member %q is another member's name in other letters", clipQuote(have))
		}
	}
	return nil
}

func parseDescriptors(raw json.RawMessage, limit int) ([]Descriptor, []indexPlatform, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, nil, verdict.Refuse(verdict.InputMalformed, "want a list")
	}
	if len(list) > limit {
		return nil, nil, verdict.Fail(verdict.InputLimit, "%d entries, want at most %d", len(list), limit)
	}
	out := make([]Descriptor, 0, len(list))
	platforms := make([]indexPlatform, 0, len(list))
	for _, r := range list {
		d, p, err := parseDescriptor(r)
		if err != nil {
			return nil, nil, err
		}
		out, platforms = append(out, d), append(platforms, p)
	}
	return out, platforms, nil
}

func parseDescriptor(raw json.RawMessage) (Descriptor, indexPlatform, error) {
	obj, err := part(raw)
	if err != nil {
		return Descriptor{}, indexPlatform{}, err
	}
	if err := exactNames(obj, descriptorMembers); err != nil {
		return Descriptor{}, indexPlatform{}, err
	}
	var d Descriptor
	var digest string
	var p indexPlatform
	for name, into := range map[string]any{"mediaType": &d.MediaType, "artifactType": &d.ArtifactType, "digest": &digest, "size": &d.Size, "annotations": &d.Annotations} {
		if err := obj.optional(name, into); err != nil {
			return Descriptor{}, indexPlatform{}, err
		}
	}
	if d.Digest, err = parseDigest(digest); err != nil {
		return Descriptor{}, indexPlatform{}, err
	}
	if d.Size < 0 {
		return Descriptor{}, indexPlatform{}, verdict.Refuse(verdict.InputMalformed, "size of %s is %d", d.Digest, d.Size)
	}
	if err := checkAnnotations(d.Annotations); err != nil {
		return Descriptor{}, indexPlatform{}, err
	}
	if raw, ok := obj["platform"]; ok && string(raw) != "null" {
		po, err := part(raw)
		if err != nil {
			return Descriptor{}, indexPlatform{}, err
		}
		if err := exactNames(po, platformMembers); err != nil {
			return Descriptor{}, indexPlatform{}, err
		}
		if err := p.read(po); err != nil {
			return Descriptor{}, indexPlatform{}, err
		}
	}
	return d, p, nil
}

func checkAnnotations(a map[string]string) error {
	if len(a) > maxAnnotations {
		return verdict.Refuse(verdict.InputMalformed, "%d annotations, want at most %d", len(a), maxAnnotations)
	}
	for k, v := range a {
		if len(v) > maxAnnotationBytes {
			return verdict.Refuse(verdict.InputMalformed, "annotation %q has %d bytes, want at most %d", clipQuote(k), len(v), maxAnnotationBytes)
		}
	}
	return nil
}
