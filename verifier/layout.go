// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"syscall"

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

// open opens a regular file.
func (l *Layout) open(name string) (*os.File, fs.FileInfo, error) {
	// Without O_NONBLOCK, opening a named pipe waits for its writer.
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

func (l *Layout) file(name string, limit int64) ([]byte, error) {
	f, _, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return readAll(f, limit)
}

func blobName(d verdict.Digest) string { return "blobs/" + d.Algorithm() + "/" + d.Hex() }

// blobError gives an error of the file system its code.
func blobError(d verdict.Digest, err error) error {
	if failure, ok := errors.AsType[*verdict.Failure](err); ok {
		return failure
	}
	if errors.Is(err, fs.ErrNotExist) {
		return verdict.Refuse(verdict.ImageNotFound, "reading OCI layout: it does not have %s", d)
	}
	return verdict.Fail(verdict.RegistryUnreachable, "reading OCI layout: %w", err)
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
	body, err := l.file(blobName(d), room)
	budgetOf(ctx).read(len(body))
	if err != nil {
		return nil, blobError(d, err)
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
	if !validTag(tag) {
		return "", "", nil, verdict.Refuse(verdict.InputMalformed, "reading OCI layout: %q is not a tag", clipQuote(tag))
	}
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
	body, err := l.content(ctx, d, size)
	if err != nil {
		return nil, err
	}
	if err := checkLength(d, int64(len(body)), size); err != nil {
		return nil, err
	}
	return body, nil
}

// Stream implements [Streamer].
func (l *Layout) Stream(ctx context.Context, _ string, d verdict.Digest, size int64) (io.ReadCloser, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	if err := checkSize(d, size, math.MaxInt64); err != nil {
		return nil, err
	}
	f, info, err := l.open(blobName(d))
	if err != nil {
		return nil, blobError(d, err)
	}
	if info.Size() != size {
		_ = f.Close()
		return nil, verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: the file has %d bytes, and the descriptor says %d", d, info.Size(), size)
	}
	return newContentReader(layoutStream{ctx, f, d}, d, size)
}

// A layoutStream is a file that is read while ctx lasts.
type layoutStream struct {
	ctx context.Context // bounds the reads
	f   *os.File
	d   verdict.Digest
}

func (s layoutStream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, verdict.Fail(verdict.RegistryTimeout, "reading %s: %w", s.d, err)
	}
	n, err := s.f.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = blobError(s.d, err)
	}
	return n, err
}

// Close implements io.Closer.
func (s layoutStream) Close() error { return s.f.Close() }

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
