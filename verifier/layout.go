// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/assayd/assay/verdict"
)

// annotationRefName is where a layout keeps what a registry calls a tag
// (OCI image-spec v1.1.1 annotations.md).
const annotationRefName = "org.opencontainers.image.ref.name"

// A Layout is a [Source] that reads an OCI image layout (OCI image-spec
// image-layout.md). Tags are the ref.name annotations of its index, referrers
// are found by the subject of what the index lists. Nothing is written, and
// nothing outside the folder is read, also not through a symbolic link. The
// repository that its methods are given is not looked at.
type Layout struct {
	root *os.Root
	// index is that of index.json when it was opened: a layout that changes
	// under us would be two layouts.
	index []Descriptor
}

// OpenLayout opens the layout in dir. The caller closes it.
func OpenLayout(dir string) (*Layout, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, verdict.Misused("name the folder that has index.json", "opening OCI layout: %w", err)
	}
	l := &Layout{root: r}
	if err := l.readIndex(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return l, nil
}

// Close releases the folder.
func (l *Layout) Close() error { return l.root.Close() }

func (l *Layout) readIndex() error {
	body, err := l.file("index.json", MaxManifestBytes)
	if err != nil {
		return verdict.Misused("name the folder that has index.json", "opening OCI layout: %w", err)
	}
	m, err := parseManifest(typeOCIIndex, body)
	if err != nil {
		return verdict.Misused("", "opening OCI layout: index.json: %w", err)
	}
	l.index = m.index
	return nil
}

func (l *Layout) file(name string, limit int64) ([]byte, error) {
	f, err := l.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a pipe would block for ever
		return nil, errors.New("not a regular file")
	}
	return readAll(f, limit)
}

// content reads one blob and compares it with its digest.
func (l *Layout) content(ctx context.Context, d verdict.Digest, limit int64) ([]byte, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, verdict.Fail(verdict.RegistryTimeout, "reading %s: %w", d, err)
	}
	room, err := budgetOf(ctx).room(limit)
	if err != nil {
		return nil, err
	}
	body, err := l.file("blobs/"+d.Algorithm()+"/"+d.Hex(), room)
	budgetOf(ctx).read(len(body))
	if failure, ok := errors.AsType[*verdict.Failure](err); ok {
		return nil, failure
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, verdict.Refuse(verdict.ImageNotFound, "reading OCI layout: it does not have %s", d)
	case err != nil:
		return nil, verdict.Fail(verdict.RegistryUnreachable, "reading OCI layout: %w", err)
	}
	return body, checkDigest(d, body)
}

// Manifest implements [Source].
func (l *Layout) Manifest(ctx context.Context, _ string, d verdict.Digest) (string, []byte, error) {
	body, err := l.content(ctx, d, MaxManifestBytes)
	if err != nil {
		return "", nil, err
	}
	for _, e := range l.index {
		if e.Digest == d {
			return e.MediaType, body, nil
		}
	}
	return "", body, nil
}

// Tagged implements [Source]. Of two entries with one tag the first counts.
func (l *Layout) Tagged(ctx context.Context, _, tag string) (verdict.Digest, string, []byte, error) {
	for _, e := range l.index {
		if e.Annotations[annotationRefName] != tag {
			continue
		}
		body, err := l.content(ctx, e.Digest, MaxManifestBytes)
		if err != nil {
			return "", "", nil, err
		}
		return e.Digest, e.MediaType, body, nil
	}
	return "", "", nil, verdict.Refuse(verdict.ImageNotFound, "reading OCI layout: it does not have the tag %q", clipQuote(tag))
}

// Blob implements [Source].
func (l *Layout) Blob(ctx context.Context, _ string, d verdict.Digest, size, limit int64) ([]byte, error) {
	if err := checkSize(d, size, limit); err != nil {
		return nil, err
	}
	return l.content(ctx, d, size)
}

// Referrers implements [Source].
func (l *Layout) Referrers(ctx context.Context, repository string, d verdict.Digest) ([]Descriptor, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	var out []Descriptor
	for _, e := range l.index {
		if e.Digest == d || e.MediaType != typeOCIManifest && e.MediaType != typeOCIIndex {
			continue
		}
		body, err := l.content(ctx, e.Digest, MaxManifestBytes)
		if isNotFound(err) {
			continue // listed and not kept, as in a layout without its images
		}
		if err != nil {
			return out, err
		}
		m, err := parseManifest(e.MediaType, body)
		if err != nil || m.subject != d {
			continue // what cannot be read refers to nothing
		}
		if e.ArtifactType == "" {
			e.ArtifactType = m.family()
		}
		if e.Annotations == nil {
			e.Annotations = m.annotations
		}
		if out = append(out, e); len(out) > MaxReferrers {
			return out[:MaxReferrers], tooManyReferrers(d)
		}
	}
	tagged, err := taggedReferrers(ctx, l, repository, d)
	out = appendNew(out, tagged)
	if err == nil && len(out) > MaxReferrers {
		err = tooManyReferrers(d)
	}
	return out[:min(len(out), MaxReferrers)], err
}
