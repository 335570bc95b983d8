// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assayd/assay/verdict"
)

// Limits of [Deep], where the caller gives none.
const (
	// DefaultDeepBytes bounds the layers of all platforms as they are stored.
	DefaultDeepBytes = 64 << 30
	// DefaultUnpackedBytes bounds one layer unpacked.
	DefaultUnpackedBytes = 64 << 30
	// DefaultDeepTime bounds the whole.
	DefaultDeepTime = time.Hour
	// deepParallel is how many layers are read at a time.
	deepParallel = 2
	// deepBuffer is read at once of each.
	deepBuffer = 128 << 10
)

// DeepLimits bound [Deep]; zero values mean the defaults.
type DeepLimits struct {
	// Bytes bounds the layers of all platforms together as descriptors say,
	// before anything is read.
	Bytes int64
	// UnpackedBytes bounds one layer unpacked.
	UnpackedBytes int64
	// Time bounds the whole.
	Time time.Duration
}

// A DeepRequest says what [Deep] reads.
type DeepRequest struct {
	Image Image
	// Platforms are as in [Request].
	Platforms []string
	Limits    DeepLimits
	// Progress, when not nil, is told how many bytes of all layers were read,
	// which are fewer again where a layer is begun anew. It is called by one
	// goroutine at a time.
	Progress func(done, total int64)
}

// A DeepResult is what was found about the layers of an image that are as its
// manifest says.
type DeepResult struct {
	// Index is the digest asked for when it is an index, else empty.
	Index     verdict.Digest
	Platforms []DeepPlatform
	// Bytes were read, each layer once.
	Bytes int64
	// Hashed: every layer of every platform was read to its end and has the
	// digest and size of its descriptor. It is false where a platform is missing
	// or unread, or a foreign layer is not there.
	Hashed bool
	// Unpacked: each of them also unpacks to what the configuration says. It is
	// false where a layer is compressed with zstd, which this build cannot
	// unpack, or is no file system.
	Unpacked bool
}

// A DeepPlatform is one image with its layers.
type DeepPlatform struct {
	Platform
	Layers []DeepLayer
}

// A DeepLayer is one layer.
type DeepLayer struct {
	Digest    verdict.Digest
	MediaType string
	// Size is that of the descriptor, in bytes.
	Size int64
	// DiffID is what the configuration says of the layer unpacked, or empty.
	DiffID verdict.Digest
	// Hashed: the bytes were read and are those of the digest. Only a foreign
	// layer that the source does not have is not hashed.
	Hashed bool
	// Unpacked: what is in it is what DiffID names.
	Unpacked bool
}

// Deep reads all layers of an image from a [Streamer] and compares them with its
// manifest, and unpacked with its configuration. Memory does not depend on their
// size. Other bytes than the digest's are a [verdict.Failure] with
// registry.digest-mismatch; a layer that is not what the configuration says is a
// [verdict.Refusal] with input.malformed, one that is not there is
// image.not-found. Where a layer is foreign, its URLs are not looked at.
//
// It says nothing of signatures: [Verifier.Verify] does, of the manifest that
// names all this.
func Deep(ctx context.Context, src Source, req DeepRequest) (*DeepResult, error) {
	st, ok := src.(Streamer)
	if !ok {
		return nil, verdict.Misused("name a registry or an OCI layout", "reading layers: the source has none")
	}
	if _, err := parseDigest(string(req.Image.Digest)); err != nil {
		return nil, err
	}
	l := &req.Limits
	if l.Bytes < 0 || l.UnpackedBytes < 0 || l.Time < 0 {
		return nil, verdict.Misused("", "reading layers: a limit is negative")
	}
	if l.Bytes == 0 {
		l.Bytes = DefaultDeepBytes
	}
	if l.UnpackedBytes == 0 {
		l.UnpackedBytes = DefaultUnpackedBytes
	}
	if l.Time == 0 {
		l.Time = DefaultDeepTime
	}
	ctx, cancel := context.WithTimeout(ctx, l.Time)
	defer cancel()
	d := &deepRun{src: st, req: req, jobs: make(map[deepKey]*deepJob)}
	if err := d.plan(ctx); err != nil {
		return nil, err
	}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	return d.finish()
}

// A deepRun is one call of Deep.
type deepRun struct {
	src    Streamer
	req    DeepRequest
	result DeepResult
	jobs   map[deepKey]*deepJob
	order  []*deepJob
	total  int64

	mu   sync.Mutex // also held while Progress runs
	done int64
}

// A deepKey names what is to be done once, for however many platforms.
type deepKey struct {
	digest verdict.Digest
	size   int64
	// algorithm is that of the diff_id, or "" when there is none.
	algorithm string
}

type deepJob struct {
	deepKey
	foreign bool
	// unpacked is the hexadecimal digest of the layer unpacked, or "" where it
	// was not; absent: the source does not have the layer.
	unpacked string
	absent   bool
}

// plan reads manifests and configurations, and adds up what they name.
func (d *deepRun) plan(ctx context.Context) error {
	img := d.req.Image
	mediaType, body, err := d.src.Manifest(ctx, img.Repository, img.Digest)
	if err != nil {
		return err
	}
	m, err := parseManifest(mediaType, body)
	if err != nil {
		return err
	}
	if m.index == nil {
		return d.add(ctx, m, Platform{Manifest: img.Digest})
	}
	d.result.Index = img.Digest
	platforms, from, err := m.selected(d.req.Platforms)
	if err != nil {
		return err
	}
	for i, p := range platforms {
		var m *manifest
		if !p.Unread {
			m, err = childManifest(withBudget(ctx), d.src, img.Repository, from[i])
			p.Missing = isNotFound(err)
			if err != nil && !p.Missing {
				return err
			}
		}
		if m == nil {
			d.result.Platforms = append(d.result.Platforms, DeepPlatform{Platform: p})
			continue
		}
		if err := d.add(ctx, m, p); err != nil {
			return err
		}
	}
	return nil
}

// add plans the layers of one image.
func (d *deepRun) add(ctx context.Context, m *manifest, p Platform) error {
	out := DeepPlatform{Platform: p}
	out.Platform.Layers = len(m.layers)
	var diffIDs []verdict.Digest
	if isImageConfig(m.config.MediaType) {
		c, err := fetchConfig(withBudget(ctx), d.src, d.req.Image.Repository, m.config)
		if err != nil {
			return err
		}
		if len(c.diffIDs) != len(m.layers) {
			return verdict.Refuse(verdict.InputMalformed, "reading layers of %s: the configuration has %d diff_ids for %d layers", p.Manifest, len(c.diffIDs), len(m.layers))
		}
		diffIDs = c.diffIDs
		out.Config, out.ConfigComplete = m.config.Digest, true
		out.fill(c.platform)
	}
	for i, l := range m.layers {
		layer := DeepLayer{Digest: l.Digest, MediaType: l.MediaType, Size: l.Size}
		if diffIDs != nil && isFileSystem(l.MediaType) {
			layer.DiffID = diffIDs[i]
		}
		out.Layers = append(out.Layers, layer)
		key := layer.key()
		job := d.jobs[key]
		if job == nil {
			if l.Size > d.req.Limits.Bytes-d.total {
				return verdict.Fail(verdict.InputLimit, "reading layers: the manifests name more than %d bytes", d.req.Limits.Bytes)
			}
			d.total += l.Size
			job = &deepJob{deepKey: key, foreign: isForeign(l.MediaType)}
			d.jobs[key] = job
			d.order = append(d.order, job)
		}
		// Where one manifest calls it its own, it has to be there.
		job.foreign = job.foreign && isForeign(l.MediaType)
	}
	d.result.Platforms = append(d.result.Platforms, out)
	return nil
}

func (l DeepLayer) key() deepKey { return deepKey{l.Digest, l.Size, l.DiffID.Algorithm()} }

// isFileSystem tells a layer that is unpacked from what artifacts have.
func isFileSystem(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.") || strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.")
}

// isForeign: such a layer may not be distributed, and is elsewhere.
func isForeign(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.") || strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.")
}

func (d *deepRun) run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(deepParallel)
	for _, job := range d.order {
		g.Go(safely(func() error { return d.layer(gctx, job) }))
	}
	return g.Wait()
}

// layer reads one layer, again where what ended it may pass.
func (d *deepRun) layer(ctx context.Context, job *deepJob) error {
	wait := firstBackoff
	for attempt := 1; ; attempt++ {
		read, err := d.stream(ctx, job)
		switch {
		case err == nil:
			return nil
		case isNotFound(err) && job.foreign:
			job.absent = true
			return nil
		case verdict.CodeOf(err) != verdict.RegistryUnreachable || read == 0 || attempt == maxAttempts || !pause(ctx, 0, wait):
			return err // what was not even begun was tried again by the source
		}
		wait *= 2
		d.advance(-read)
	}
}

// advance counts what was read.
func (d *deepRun) advance(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done += n
	if d.req.Progress != nil {
		d.req.Progress(d.done, d.total)
	}
}

// stream reads the layer from its begin to its end.
func (d *deepRun) stream(ctx context.Context, job *deepJob) (read int64, err error) {
	content, err := d.src.Stream(ctx, d.req.Image.Repository, job.digest, job.size)
	if err != nil {
		return 0, err
	}
	defer content.Close() //nolint:errcheck // nothing was written
	counted := &countingReader{from: content, count: func(n int) { read += int64(n); d.advance(int64(n)) }}
	if job.algorithm == "" {
		_, err := io.CopyBuffer(io.Discard, justReader{counted}, make([]byte, deepBuffer))
		return read, err
	}
	h, err := newHash(job.algorithm)
	if err != nil {
		return 0, err
	}
	buffered := bufio.NewReaderSize(counted, deepBuffer)
	unpackErr := unpack(buffered, h, d.req.Limits.UnpackedBytes, &job.unpacked)
	// The source's word comes first: what is not the layer has nothing in it. And
	// behind what unpacks there may be more, which belongs to the digest.
	if _, err := io.CopyBuffer(io.Discard, justReader{buffered}, make([]byte, deepBuffer)); err != nil {
		return read, err
	}
	if _, ok := errors.AsType[*verdict.Failure](unpackErr); ok || unpackErr == nil {
		return read, unpackErr
	}
	return read, verdict.Refuse(verdict.InputMalformed, "unpacking layer %s: %w", job.digest, unpackErr)
}

// justReader hides io.WriterTo, which would ignore the buffer.
type justReader struct{ io.Reader }

type countingReader struct {
	from  io.Reader
	count func(int)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if n > 0 {
		c.count(n)
	}
	return n, err
}

// How compressed content begins (RFC 1952 §2.3.1, RFC 8878 §3.1.1). Runtimes go
// by it as well, whatever the media type says.
var (
	gzipMagic = []byte{0x1f, 0x8b, 8}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// unpack hashes what from unpacks to, of at most limit bytes.
func unpack(from *bufio.Reader, h hash.Hash, limit int64, sum *string) error {
	magic, err := from.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var plain io.Reader = from
	switch {
	case bytes.Equal(magic, zstdMagic):
		return nil
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(from)
		if err != nil {
			return err
		}
		plain = z
	}
	n, err := io.CopyBuffer(h, justReader{io.LimitReader(plain, limit)}, make([]byte, deepBuffer))
	if err != nil {
		return err
	}
	if n == limit {
		var more [1]byte
		if k, err := io.ReadFull(plain, more[:]); k > 0 {
			return verdict.Fail(verdict.InputLimit, "unpacking a layer: more than %d bytes", limit)
		} else if !errors.Is(err, io.EOF) {
			return err
		}
	}
	*sum = hex.EncodeToString(h.Sum(nil))
	return nil
}

// finish compares what was unpacked with what configurations say.
func (d *deepRun) finish() (*DeepResult, error) {
	r := &d.result
	r.Bytes, r.Hashed, r.Unpacked = d.done, true, true
	for i := range r.Platforms {
		p := &r.Platforms[i]
		if p.Unread || p.Missing {
			r.Hashed = false
		}
		for j := range p.Layers {
			l := &p.Layers[j]
			job := d.jobs[l.key()]
			l.Hashed = !job.absent
			if job.unpacked != "" {
				if job.unpacked != l.DiffID.Hex() {
					return nil, verdict.Refuse(verdict.InputMalformed, "unpacking layer %d of %s: it has the digest %s:%s, and the configuration says %s", j, p.Manifest, job.algorithm, job.unpacked, l.DiffID)
				}
				l.Unpacked = true
			}
			r.Hashed, r.Unpacked = r.Hashed && l.Hashed, r.Unpacked && l.Unpacked
		}
	}
	r.Unpacked = r.Unpacked && r.Hashed
	return r, nil
}
