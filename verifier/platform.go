// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/assayd/assay/verdict"
)

// readPlatforms reads what a node needs to recognise the image: for each
// platform the digests of manifest and configuration.
func readPlatforms(ctx context.Context, src Source, req Request, m *manifest) ([]Platform, error) {
	if m.index == nil {
		p := Platform{Manifest: req.Image.Digest}
		err := readConfig(ctx, src, req.Image.Repository, m, &p)
		return []Platform{p}, err
	}
	var out []Platform
	var sizes []Descriptor
	for i, e := range m.index {
		ip := m.platforms[i]
		// BuildKit's attestations are listed like images of no platform.
		if ip.OS == "unknown" && ip.Architecture == "unknown" || e.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		if e.MediaType == typeOCIIndex || e.MediaType == typeDockerList {
			return nil, nestedIndex(e.Digest)
		}
		out = append(out, Platform{OS: ip.OS, Architecture: ip.Architecture, Variant: ip.Variant, OSVersion: ip.OSVersion, Manifest: e.Digest})
		sizes = append(sizes, e)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	read := 0
	for i := range out {
		if !selected(out[i], req.Platforms) {
			continue
		}
		if read++; read > MaxPlatforms {
			break
		}
		g.Go(safely(func() error { return readChild(gctx, src, req.Image.Repository, sizes[i], &out[i]) }))
	}
	return out, g.Wait()
}

func selected(p Platform, want []string) bool {
	return len(want) == 0 || slices.Contains(want, p.OS+"/"+p.Architecture) || slices.Contains(want, p.OS+"/"+p.Architecture+"/"+p.Variant)
}

// nestedIndex refuses an index inside an index. Runtimes go into it, so what a
// node would run would escape the deny list.
func nestedIndex(d verdict.Digest) error {
	return verdict.Refuse(verdict.InputUnsupported, "reading platforms: %s is an index inside the index, and its images are not known", d)
}

// readChild reads one image of an index. One that the source does not have is
// known by its digest alone: many mirrors keep only some platforms.
func readChild(ctx context.Context, src Source, repo string, d Descriptor, p *Platform) error {
	mediaType, body, err := src.Manifest(ctx, repo, d.Digest)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.MediaType != "" && mediaType != "" && d.MediaType != mediaType {
		return verdict.Refuse(verdict.InputMalformed, "reading %s: the index calls it %q, and it is served as %q", d.Digest, clipQuote(d.MediaType), clipQuote(mediaType))
	}
	m, err := parseManifest(d.MediaType, body)
	if err != nil {
		return err
	}
	if m.index != nil {
		return nestedIndex(d.Digest)
	}
	return readConfig(ctx, src, repo, m, p)
}

// readConfig reads the image configuration: its platform, and whether its
// diff_ids name all layers.
func readConfig(ctx context.Context, src Source, repo string, m *manifest, p *Platform) error {
	p.Layers = len(m.layers)
	if m.config.MediaType != "application/vnd.oci.image.config.v1+json" && m.config.MediaType != "application/vnd.docker.container.image.v1+json" {
		return nil // an artifact, which no node runs
	}
	// The manifest names it, whether or not the source has it: a registry that
	// withholds it must not hide it from the deny list.
	p.Config = m.config.Digest
	if m.config.Size > MaxConfigBytes {
		return verdict.Fail(verdict.InputLimit, "reading configuration %s: %d bytes, want at most %d", m.config.Digest, m.config.Size, MaxConfigBytes)
	}
	body, err := src.Blob(ctx, repo, m.config.Digest, m.config.Size, MaxConfigBytes)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var rootfs struct {
		DiffIDs []string `json:"diff_ids"`
	}
	obj, err := parseObject(body, maxManifestValues)
	if err == nil {
		err = obj.optional("rootfs", &rootfs)
	}
	for name, into := range map[string]*string{"os": &p.OS, "architecture": &p.Architecture, "variant": &p.Variant, "os.version": &p.OSVersion} {
		if *into == "" && err == nil { // what the index says came first
			err = obj.optional(name, into)
		}
	}
	if err != nil {
		return verdict.Refuse(verdict.InputMalformed, "reading configuration %s: %w", m.config.Digest, err)
	}
	p.ConfigComplete = len(rootfs.DiffIDs) == len(m.layers)
	return nil
}
