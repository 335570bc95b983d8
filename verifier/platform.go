// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/assayd/assay/verdict"
)

// Bounds of what is read of an index, so that signatures still fit into
// MaxRequests.
const (
	// MaxPlatforms bounds the platforms of an index of which the configuration
	// is read.
	MaxPlatforms = 12
	// MaxChildren bounds the platforms of an index of which the manifest is
	// read, and with it the digest of the configuration. Of further ones only
	// the manifest's digest is known.
	MaxChildren = 32
)

// A Platform is one image.
type Platform struct {
	OS, Architecture, Variant, OSVersion string
	// OSFeatures are what the image needs of its system, such as "win32k".
	OSFeatures []string
	// Manifest and Config are digests. Config is empty where the manifest was
	// not read, or is that of an artifact; the configuration itself may be
	// missing.
	Manifest, Config verdict.Digest
	// Layers is the number of layers in the manifest.
	Layers int
	// ConfigComplete: the configuration has as many diff_ids as there are
	// layers, so that its digest names the content of all of them.
	ConfigComplete bool
	// Unread: the manifest was not asked for, since the index has more than
	// MaxChildren platforms or another one was asked about. Missing: the source
	// does not have it, as in a mirror of some platforms. Either way the
	// configuration's digest is not known, and so not whether it is denied.
	Unread, Missing bool
}

// String returns os/architecture, with variant and version where there are.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	if p.OSVersion != "" {
		s += " " + p.OSVersion
	}
	return s
}

// A selector is one platform of a [Request].
type selector struct {
	os, version           string
	features              []string
	architecture, variant string
}

// parseSelector reads os/architecture[/variant], where os may be followed by a
// version and features in parentheses, as containerd writes them:
// "windows(10.0.20348+win32k)/amd64".
func parseSelector(s string) (selector, error) {
	bad := func() (selector, error) {
		return selector{}, verdict.Misused(`write os/architecture, os/architecture/variant or "windows(10.0.20348)/amd64"`, "reading platforms: %q is not one", clipQuote(s))
	}
	parts := strings.Split(s, "/")
	if len(s) > 256 || len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") || strings.ContainsAny(s, ",\x00 ") {
		return bad()
	}
	sel := selector{os: parts[0], architecture: parts[1]}
	if len(parts) == 3 {
		sel.variant = parts[2]
	}
	name, detail, ok := strings.Cut(sel.os, "(")
	if ok {
		detail, closed := strings.CutSuffix(detail, ")")
		list := strings.Split(detail, "+")
		if !closed || detail == "" {
			return bad()
		}
		sel.os, sel.version, sel.features = name, list[0], list[1:]
	}
	if sel.os == "" || strings.ContainsAny(sel.os+sel.version+sel.architecture+sel.variant+strings.Join(sel.features, ""), "()+") || slices.Contains(sel.features, "") {
		return bad()
	}
	return sel, nil
}

// parseSelectors reads the platforms of a request. None means all.
func parseSelectors(list []string) ([]selector, error) {
	out := make([]selector, 0, len(list))
	for _, s := range list {
		sel, err := parseSelector(s)
		if err != nil {
			return nil, err
		}
		out = append(out, sel)
	}
	return out, nil
}

// selects says whether p is meant. A version is that of the host, or its first
// parts: 10.0.20348 is any build of it. An image needs no more features than the
// selector names, where it names any.
func (s selector) selects(p Platform) bool {
	return s.os == p.OS && s.architecture == p.Architecture &&
		(s.variant == "" || p.Variant == "" || s.variant == p.Variant) &&
		(s.version == "" || s.version == p.OSVersion || strings.HasPrefix(p.OSVersion, s.version+".")) &&
		(len(s.features) == 0 || !slices.ContainsFunc(p.OSFeatures, func(f string) bool { return !slices.Contains(s.features, f) }))
}

// The marks of BuildKit's attestation manifests in an index.
const (
	annReferenceType = "vnd.docker.reference.type"
	typeAttestation  = "attestation-manifest"
)

// attestations are the manifests in an index that BuildKit wrote beside the
// images. No runtime takes them for an image, and nobody signed them: they are
// as good as a signature of the index, and no signature of anything.
func (m *manifest) attestations() []verdict.Digest {
	var out []verdict.Digest
	for i, e := range m.index {
		if m.platforms[i].unknown() && e.Annotations[annReferenceType] == typeAttestation {
			out = append(out, e.Digest)
		}
	}
	return out
}

// unknown is the platform of what is no image, which matches no host.
func (p indexPlatform) unknown() bool { return p.OS == "unknown" && p.Architecture == "unknown" }

// children are the images of an index.
func (m *manifest) children() ([]Platform, []Descriptor, error) {
	var out []Platform
	var from []Descriptor
	for i, e := range m.index {
		p := m.platforms[i]
		switch {
		case e.MediaType == typeOCIIndex || e.MediaType == typeDockerList:
			return nil, nil, nestedIndex(e.Digest)
		case p.unknown():
			continue
		case e.Annotations[annReferenceType] == typeAttestation:
			// Builders would leave it out and runtimes, which choose by platform
			// alone, would run it.
			return nil, nil, verdict.Refuse(verdict.InputMalformed, "reading platforms: the index calls %s an attestation, and an image for %s/%s", e.Digest, p.OS, p.Architecture)
		}
		out = append(out, Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures, Manifest: e.Digest})
		from = append(from, e)
	}
	return out, from, nil
}

// readPlatforms reads what a node needs to recognise the image: for each
// platform the digests of manifest and configuration.
func readPlatforms(ctx context.Context, src Source, req Request, m *manifest) ([]Platform, error) {
	if m.index == nil {
		p := Platform{Manifest: req.Image.Digest}
		err := readConfig(ctx, src, req.Image.Repository, m, &p, true)
		return []Platform{p}, err
	}
	out, from, err := m.selected(req.Platforms)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	read := 0
	for i := range out {
		p := &out[i]
		if p.Unread {
			continue
		}
		read++
		withConfig := read <= MaxPlatforms
		g.Go(safely(func() error { return readChild(gctx, src, req.Image.Repository, from[i], p, withConfig) }))
	}
	return out, g.Wait()
}

// selected are the children of an index, with a mark on those that are not to be
// read.
func (m *manifest) selected(platforms []string) ([]Platform, []Descriptor, error) {
	want, err := parseSelectors(platforms)
	if err != nil {
		return nil, nil, err
	}
	out, from, err := m.children()
	if err != nil {
		return nil, nil, err
	}
	read := 0
	for i := range out {
		p := &out[i]
		if len(want) > 0 && !slices.ContainsFunc(want, func(s selector) bool { return s.selects(*p) }) || read == MaxChildren {
			p.Unread = true
			continue
		}
		read++
	}
	if read == 0 && len(want) > 0 {
		return nil, nil, verdict.Refuse(verdict.SubjectPlatform, "reading platforms: the index has no image for %s", clipQuote(strings.Join(platforms, ", ")))
	}
	return out, from, nil
}

// nestedIndex refuses an index inside an index. Runtimes go into it, so what a
// node would run would escape the deny list.
func nestedIndex(d verdict.Digest) error {
	return verdict.Refuse(verdict.InputUnsupported, "reading platforms: %s is an index inside the index, and its images are not known", d)
}

// readChild reads one image of an index. One that the source does not have is
// known by its digest alone: many mirrors keep only some platforms.
func readChild(ctx context.Context, src Source, repo string, d Descriptor, p *Platform, withConfig bool) error {
	m, err := childManifest(ctx, src, repo, d)
	if isNotFound(err) {
		p.Missing = true
		return nil
	}
	if err != nil {
		return err
	}
	return readConfig(ctx, src, repo, m, p, withConfig)
}

// childManifest reads the manifest of one image of an index.
func childManifest(ctx context.Context, src Source, repo string, d Descriptor) (*manifest, error) {
	mediaType, body, err := src.Manifest(ctx, repo, d.Digest)
	if err != nil {
		return nil, err
	}
	if d.MediaType != "" && mediaType != "" && d.MediaType != mediaType {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading %s: the index calls it %q, and it is served as %q", d.Digest, clipQuote(d.MediaType), clipQuote(mediaType))
	}
	m, err := parseManifest(d.MediaType, body)
	if err != nil {
		return nil, err
	}
	if m.index != nil {
		return nil, nestedIndex(d.Digest)
	}
	return m, nil
}

// The members of a configuration by which a runtime decides (OCI image-spec
// v1.1.1 config.md).
var (
	configMembers = []string{"os", "architecture", "variant", "os.version", "os.features", "rootfs"}
	rootfsMembers = []string{"type", "diff_ids"}
)

// isImageConfig tells an image from an artifact, which no node runs.
func isImageConfig(mediaType string) bool {
	return mediaType == "application/vnd.oci.image.config.v1+json" || mediaType == "application/vnd.docker.container.image.v1+json"
}

// readConfig notes the digest of the image configuration. With fetch it also
// reads its platform, and whether its diff_ids name all layers.
func readConfig(ctx context.Context, src Source, repo string, m *manifest, p *Platform, fetch bool) error {
	p.Layers = len(m.layers)
	if !isImageConfig(m.config.MediaType) {
		return nil
	}
	// The manifest names it, whether or not the source has it: a registry that
	// withholds it must not hide it from the deny list.
	p.Config = m.config.Digest
	if !fetch {
		return nil
	}
	c, err := fetchConfig(ctx, src, repo, m.config)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	p.fill(c.platform)
	p.ConfigComplete = len(c.diffIDs) == len(m.layers)
	return nil
}

// fill adds what the configuration says. What the index says comes first.
func (p *Platform) fill(c indexPlatform) {
	p.OS, p.Architecture = cmp.Or(p.OS, c.OS), cmp.Or(p.Architecture, c.Architecture)
	p.Variant, p.OSVersion = cmp.Or(p.Variant, c.Variant), cmp.Or(p.OSVersion, c.OSVersion)
	if p.OSFeatures == nil {
		p.OSFeatures = c.OSFeatures
	}
}

// An imageConfig is what is read of an image configuration.
type imageConfig struct {
	platform indexPlatform
	// diffIDs are the digests of the layers unpacked, or nil when one is not a
	// digest.
	diffIDs []verdict.Digest
}

func fetchConfig(ctx context.Context, src Source, repo string, d Descriptor) (*imageConfig, error) {
	body, err := src.Blob(ctx, repo, d.Digest, d.Size, MaxConfigBytes)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(body)
	if err != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading configuration %s: %w", d.Digest, err)
	}
	return c, nil
}

func parseConfig(body []byte) (*imageConfig, error) {
	obj, err := parseObject(body, maxManifestValues)
	if err != nil {
		return nil, err
	}
	if err := exactNames(obj, configMembers); err != nil {
		return nil, err
	}
	c := &imageConfig{}
	if err := c.platform.read(obj); err != nil {
		return nil, err
	}
	raw, ok := obj["rootfs"]
	if !ok || string(raw) == "null" {
		return c, nil
	}
	rootfs, err := part(raw)
	if err != nil {
		return nil, err
	}
	if err := exactNames(rootfs, rootfsMembers); err != nil {
		return nil, err
	}
	var list []string
	if err := rootfs.optional("diff_ids", &list); err != nil {
		return nil, err
	}
	for _, s := range list {
		d, err := parseDigest(s)
		if err != nil {
			c.diffIDs = nil
			return c, nil //nolint:nilerr // it names no layer's content, and nothing else is wrong
		}
		c.diffIDs = append(c.diffIDs, d)
	}
	return c, nil
}

// deniedImage refuses an index with an image that deny names. Deny lists name
// manifests and configurations alike: where one names an image that is none of
// the index's as far as they are known, and there are images of which the
// configuration is not known because the index has too many, nobody can tell.
// What the source does not have is not waited for, and marked as missing.
func deniedImage(deny verdict.DenyList, req Request, ev *evidence) error {
	var unread *Platform
	for i, p := range ev.platforms {
		if deny.DeniesImage(p.Manifest, p.Config) {
			return verdict.Refuse(verdict.RevokedImage, "applying deny list: owners denied the image %s of %s", p.Manifest, p)
		}
		if p.Unread && len(req.Platforms) == 0 && unread == nil {
			unread = &ev.platforms[i]
		}
	}
	if deny.DeniesImage(ev.attestations...) {
		return verdict.Refuse(verdict.RevokedImage, "applying deny list: owners denied an attestation manifest of the index")
	}
	if unread == nil || len(deny.Images) == 0 {
		return nil
	}
	return verdict.Fail(verdict.InputLimit, "applying deny list: the index has %d images, of which %d are read, and owners denied images that %s of %s may be", len(ev.platforms), MaxChildren, unread.Manifest, unread)
}
