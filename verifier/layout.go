// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
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
	// blobs are the folders of content by algorithm, as far as they are there:
	// a path is walked from the folder on for each file otherwise.
	blobs map[string]*os.Root
	// index is that of index.json when it was opened: a layout that changes
	// under us would be two layouts. Its entries are also by digest and by tag,
	// where the first one counts.
	index    []Descriptor
	byDigest map[verdict.Digest]int
	byTag    map[string]int

	// subjects has what refers to a digest. It is filled when it is first asked
	// for; next is the entry to go on with, after one that could not be read.
	turn     chan struct{} // one at a time fills it
	subjects map[verdict.Digest][]Descriptor
	next     int
	read     int64 // bytes of the entries before next
}

// Limits of a layout: of its index, and of all manifests in it together.
const (
	maxLayoutIndex     = 64 << 20 // bytes
	maxLayoutValues    = 1 << 21
	maxLayoutEntries   = 1 << 17
	maxLayoutManifests = 512 << 20 // bytes
)

// OpenLayout opens the layout in dir. The caller closes it.
func OpenLayout(dir string) (*Layout, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, verdict.Misused("name the folder that has index.json", "opening OCI layout: %w", err)
	}
	l := &Layout{root: r, blobs: make(map[string]*os.Root), turn: make(chan struct{}, 1)}
	for _, algorithm := range []string{"sha256", "sha512"} {
		if blobs, err := r.OpenRoot("blobs/" + algorithm); err == nil {
			l.blobs[algorithm] = blobs
		}
	}
	if err := l.readIndex(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close releases the folder.
func (l *Layout) Close() error {
	err := l.root.Close()
	for _, blobs := range l.blobs {
		err = errors.Join(err, blobs.Close())
	}
	return err
}

func (l *Layout) readIndex() error {
	body, err := readFileIn(l.root, "index.json", maxLayoutIndex)
	if err != nil {
		return verdict.Misused("name the folder that has index.json", "opening OCI layout: %w", err)
	}
	m, err := parseManifestOf(typeOCIIndex, body, maxLayoutValues, maxLayoutEntries)
	if err != nil {
		return verdict.Misused("", "opening OCI layout: index.json: %w", err)
	}
	l.index = m.index
	l.byDigest, l.byTag = make(map[verdict.Digest]int), make(map[string]int)
	l.subjects = make(map[verdict.Digest][]Descriptor)
	for i, e := range l.index {
		if _, ok := l.byDigest[e.Digest]; !ok {
			l.byDigest[e.Digest] = i
		}
		tag, ok := e.Annotations[annotationRefName]
		if _, there := l.byTag[tag]; ok && !there {
			l.byTag[tag] = i
		}
	}
	return nil
}

// openFile opens a regular file in a folder.
func openFile(folder *os.Root, name string) (*os.File, fs.FileInfo, error) {
	// Without O_NONBLOCK, opening a named pipe waits for its writer.
	f, err := folder.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
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

func readFileIn(folder *os.Root, name string, limit int64) ([]byte, error) {
	f, _, err := openFile(folder, name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return readAll(f, limit)
}

// blob is where d is.
func (l *Layout) blob(d verdict.Digest) (folder *os.Root, name string) {
	if blobs := l.blobs[d.Algorithm()]; blobs != nil {
		return blobs, d.Hex()
	}
	return l.root, "blobs/" + d.Algorithm() + "/" + d.Hex()
}

// file reads one blob of at most limit bytes.
func (l *Layout) file(d verdict.Digest, limit int64) ([]byte, error) {
	folder, name := l.blob(d)
	return readFileIn(folder, name, limit)
}

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
	body, err := l.file(d, room)
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
	if i, ok := l.byDigest[d]; ok {
		return l.index[i].MediaType, body, nil
	}
	return "", body, nil
}

// Tagged implements [Source]. Of two entries with one tag the first counts.
func (l *Layout) Tagged(ctx context.Context, _, tag string) (verdict.Digest, string, []byte, error) {
	if !validTag(tag) {
		return "", "", nil, verdict.Refuse(verdict.InputMalformed, "reading OCI layout: %q is not a tag", clipQuote(tag))
	}
	i, ok := l.byTag[tag]
	if !ok {
		return "", "", nil, verdict.Refuse(verdict.ImageNotFound, "reading OCI layout: it does not have the tag %q", clipQuote(tag))
	}
	e := l.index[i]
	body, err := l.content(ctx, e.Digest, MaxManifestBytes)
	if err != nil {
		return "", "", nil, err
	}
	return e.Digest, e.MediaType, body, nil
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
	folder, name := l.blob(d)
	f, info, err := openFile(folder, name)
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

// Referrers implements [Source]. The first call reads every manifest that the
// index lists, for whichever image it is, and no image's budget pays for that.
func (l *Layout) Referrers(ctx context.Context, repository string, d verdict.Digest) ([]Descriptor, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	out, err := l.referrers(ctx, d)
	if err != nil {
		return out, err
	}
	tagged, err := taggedReferrers(ctx, l, repository, d)
	if out = appendNew(out, tagged); err == nil && len(out) > MaxReferrers {
		return out[:MaxReferrers], tooManyReferrers(d)
	}
	return out[:min(len(out), MaxReferrers)], err
}

// referrers returns what in the index refers to d. Its error is that of the
// first manifest that could not be read, which the next call tries again.
func (l *Layout) referrers(ctx context.Context, d verdict.Digest) ([]Descriptor, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, verdict.Fail(verdict.RegistryTimeout, "reading OCI layout: %w", context.Cause(ctx))
	}
	for ; l.next < len(l.index); l.next++ {
		if err := l.readSubject(ctx, l.index[l.next]); err != nil {
			return slices.Clone(l.subjects[d]), err
		}
	}
	return slices.Clone(l.subjects[d]), nil
}

// readSubject notes what an entry of the index refers to.
func (l *Layout) readSubject(ctx context.Context, e Descriptor) error {
	if e.MediaType != typeOCIManifest && e.MediaType != typeOCIIndex {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return verdict.Fail(verdict.RegistryTimeout, "reading %s: %w", e.Digest, err)
	}
	body, err := l.file(e.Digest, MaxManifestBytes)
	if err != nil {
		if err = blobError(e.Digest, err); isNotFound(err) {
			err = nil // listed and not kept, as in a layout without its images
		}
		return err
	}
	// Of all calls together: each goes on where the last one stopped.
	if l.read > maxLayoutManifests-int64(len(body)) {
		return verdict.Fail(verdict.InputLimit, "reading OCI layout: its manifests have more than %d bytes", int64(maxLayoutManifests))
	}
	if err := checkDigest(e.Digest, body); err != nil {
		return err
	}
	l.read += int64(len(body))
	m, err := parseManifest(e.MediaType, body)
	if err != nil || m.subject == "" || m.subject == e.Digest {
		return nil //nolint:nilerr // what cannot be read refers to nothing
	}
	if e.ArtifactType == "" {
		e.ArtifactType = m.family()
	}
	if e.Annotations == nil {
		e.Annotations = m.annotations
	}
	l.subjects[m.subject] = append(l.subjects[m.subject], e)
	return nil
}
