// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync/atomic"

	"github.com/assayd/assay/verdict"
)

// Bounds per image and per answer (design.md §10). Each is checked before
// anything of that size is allocated.
const (
	// MaxManifestBytes bounds a manifest or index.
	MaxManifestBytes = 4 << 20
	// MaxConfigBytes bounds an image configuration.
	MaxConfigBytes = 4 << 20
	// MaxBundleBytes bounds a sigstore bundle without its DSSE payload, and a
	// simple-signing payload.
	MaxBundleBytes = 2 << 20
	// MaxPayloadBytes bounds the DSSE payload of an attestation that a rule
	// demands.
	MaxPayloadBytes = 16 << 20
	// MaxSignatures bounds the candidates that are looked at for one image.
	MaxSignatures = 64
	// MaxReferrers bounds the descriptors of referrers for one image.
	MaxReferrers = 256
	// MaxReferrerPages bounds the pages of one referrers answer.
	MaxReferrerPages = 8
	// MaxRequests bounds the requests to registries for one image.
	MaxRequests = 64
	// MaxImageBytes bounds the bytes that are read for one image.
	MaxImageBytes = 64 << 20
)

// A Descriptor points at content (OCI image-spec v1.1.1 descriptor.md). All of
// it is what somebody else says.
type Descriptor struct {
	MediaType    string
	ArtifactType string
	Digest       verdict.Digest
	Size         int64
	Annotations  map[string]string
}

// A Source is where bytes come from. Its methods may be called concurrently,
// and return bytes only after comparing them with the digest asked for: other
// bytes are a [verdict.Failure] with registry.digest-mismatch. What is not
// there is a [verdict.Refusal] with image.not-found; what could not be found
// out is a [verdict.Failure]. The bytes may be those of other calls, and are not
// to be changed.
type Source interface {
	// Manifest returns a manifest or index of at most MaxManifestBytes, and
	// the media type that the source gives it.
	Manifest(ctx context.Context, repository string, d verdict.Digest) (mediaType string, body []byte, err error)
	// Tagged returns what tag points at now. The digest is computed here.
	Tagged(ctx context.Context, repository, tag string) (d verdict.Digest, mediaType string, body []byte, err error)
	// Blob returns a blob of exactly size bytes; one with the digest and
	// another size is a [verdict.Refusal] with input.malformed. More than limit
	// is a [verdict.Failure] with input.limit, before anything is fetched.
	Blob(ctx context.Context, repository string, d verdict.Digest, size, limit int64) ([]byte, error)
	// Referrers lists what says that it refers to d, by API and by the
	// referrers tag. With an error it may return what it saw before.
	Referrers(ctx context.Context, repository string, d verdict.Digest) ([]Descriptor, error)
}

// A Streamer is a Source of content of any size.
type Streamer interface {
	Source
	// Stream returns the content of d, piece by piece. It was all there, with
	// exactly size bytes and this digest, when the reader says io.EOF; before
	// that nothing is known of it. Other bytes end in a [verdict.Failure] with
	// registry.digest-mismatch. Ctx bounds the reading too. The caller closes
	// the reader.
	Stream(ctx context.Context, repository string, d verdict.Digest, size int64) (io.ReadCloser, error)
}

// newHash makes the hash of an algorithm, of those that digests can have.
func newHash(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "sha256":
		return sha256.New(), nil
	case "sha512":
		return sha512.New(), nil
	}
	return nil, verdict.Refuse(verdict.InputMalformed, "checking digest: unknown algorithm %q", clipQuote(algorithm))
}

// A contentReader compares what is read with what was asked for.
type contentReader struct {
	io.Closer
	from io.Reader
	d    verdict.Digest
	hash hash.Hash
	size int64
	left int64
	err  error
}

// newContentReader closes from when it fails.
func newContentReader(from io.ReadCloser, d verdict.Digest, size int64) (*contentReader, error) {
	h, err := newHash(d.Algorithm())
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return &contentReader{Closer: from, from: from, d: d, hash: h, size: size, left: size}, nil
}

func (c *contentReader) Read(p []byte) (int, error) {
	if c.err != nil || len(p) == 0 {
		return 0, c.err
	}
	var extra [1]byte
	if c.left == 0 {
		p = extra[:] // the end has to be seen
	}
	n, err := c.from.Read(p[:min(int64(len(p)), max(c.left, 1))])
	if int64(n) > c.left {
		c.err = verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: there are more than the %d bytes of the descriptor", c.d, c.size)
		return 0, c.err
	}
	c.hash.Write(p[:n])
	c.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && c.left > 0:
		c.err = verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: it ends %d bytes before the %d of the descriptor", c.d, c.left, c.size)
	case errors.Is(err, io.EOF):
		c.err = io.EOF
		if got := hex.EncodeToString(c.hash.Sum(nil)); got != c.d.Hex() {
			c.err = verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: got bytes with digest %s:%s", c.d, c.d.Algorithm(), got)
		}
	case err != nil:
		c.err = err
	}
	return n, c.err
}

// checkDigest compares body with the digest that named it.
func checkDigest(d verdict.Digest, body []byte) error {
	h, err := newHash(d.Algorithm())
	if err != nil {
		return err
	}
	h.Write(body)
	got := hex.EncodeToString(h.Sum(nil))
	if got != d.Hex() {
		return verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: got bytes with digest %s:%s", d, d.Algorithm(), got)
	}
	return nil
}

// referrersTag is the tag of the referrers tag schema (distribution-spec,
// "Referrers Tag Schema"): algorithm cut at 32 and hex at 64 characters, since
// a tag has at most 128. Both popular clients leave out the cut.
func referrersTag(d verdict.Digest) string {
	alg, hex := d.Algorithm(), d.Hex()
	return alg[:min(len(alg), 32)] + "-" + hex[:min(len(hex), 64)]
}

// legacyTag is where cosign keeps the signatures (".sig") or attestations
// (".att") of d.
func legacyTag(d verdict.Digest, suffix string) string {
	return d.Algorithm() + "-" + d.Hex() + suffix
}

// A budget bounds what one verification may ask and read. It travels in the
// context, since the source does not know which image it works for.
type budget struct {
	requests atomic.Int64
	bytes    atomic.Int64
}

type budgetKey struct{}

func withBudget(ctx context.Context) context.Context {
	return context.WithValue(ctx, budgetKey{}, new(budget))
}

// budgetOf returns the budget of ctx, or a fresh one for a call that came from
// outside a verification.
func budgetOf(ctx context.Context) *budget {
	if b, ok := ctx.Value(budgetKey{}).(*budget); ok {
		return b
	}
	return new(budget)
}

// request takes one request from the budget.
func (b *budget) request() error {
	if b.requests.Add(1) > MaxRequests {
		return verdict.Fail(verdict.InputLimit, "asking the registry: more than %d requests for one image", MaxRequests)
	}
	return nil
}

// room returns how many bytes may still be read, at most limit.
func (b *budget) room(limit int64) (int64, error) {
	left := MaxImageBytes - b.bytes.Load()
	if left <= 0 {
		return 0, verdict.Fail(verdict.InputLimit, "reading from the registry: more than %d bytes for one image", int64(MaxImageBytes))
	}
	return min(left, limit), nil
}

// read takes n bytes from the budget.
func (b *budget) read(n int) { b.bytes.Add(int64(n)) }
