// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/assayd/assay/verdict"
)

// bundleType is how artifact types of sigstore bundles begin; the version
// follows, and the parser judges it.
const bundleType = "application/vnd.dev.sigstore.bundle"

// annPredicate is cosign's hint of what a bundle has in it.
const annPredicate = "dev.sigstore.bundle.predicateType"

func isBundleType(t string) bool {
	rest, ok := strings.CutPrefix(t, bundleType)
	return ok && (strings.HasPrefix(rest, "+json") || strings.HasPrefix(rest, ".v"))
}

// evidence is what was found about one digest: the image and the candidates,
// without any opinion about either.
type evidence struct {
	mediaType string
	index     verdict.Digest
	platforms []Platform
	// digests are those of the manifest, by algorithm.
	digests map[string]string

	candidates []*candidate
	// failure is why discovery could not be completed, or nil.
	failure error
}

// wanted is what kind of candidates a policy can use.
type wanted struct {
	signatures bool
	predicates []string
}

func (w wanted) String() string {
	return strconv.FormatBool(w.signatures) + " " + strings.Join(w.predicates, " ")
}

// readImage fetches the manifest. The error is a Refusal when there is no image,
// or a Failure when that could not be found out.
func readImage(ctx context.Context, src Source, img Image) (*evidence, *manifest, error) {
	if b, ok := src.(*Bundle); ok {
		return &evidence{digests: digestsOf(img.Digest, nil), candidates: b.candidates}, nil, nil
	}
	mediaType, body, err := src.Manifest(ctx, img.Repository, img.Digest)
	if err != nil {
		return nil, nil, err
	}
	m, err := parseManifest(mediaType, body)
	if err != nil {
		return nil, nil, err
	}
	ev := &evidence{mediaType: m.mediaType, digests: digestsOf(img.Digest, body)}
	if m.index != nil {
		ev.index = img.Digest
	}
	return ev, m, nil
}

// discover finds platforms and candidates, until enough says that there are.
// What could not be found out about platforms is the error, about signatures
// it is in the evidence.
func (ev *evidence) discover(ctx context.Context, src Source, req Request, m *manifest, want wanted, enough func([]*candidate) bool) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(safely(func() error {
		var err error
		ev.platforms, err = readPlatforms(gctx, src, req, m)
		return err
	}))
	g.Go(safely(func() error {
		s := &search{src: src, image: req.Image, want: want, enough: enough}
		s.run(gctx)
		ev.candidates, ev.failure = s.found, s.failure
		return nil
	}))
	return g.Wait()
}

// safely makes a failure of a panic: on a goroutine of its own it would end
// the process. A library that panics on hostile input decides nothing.
func safely(f func() error) func() error {
	return func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = verdict.Fail(verdict.Internal, "verifying: recovered from a panic: %v", p)
			}
		}()
		return f()
	}
}

// digestsOf returns the digests by which a subject can name the image.
func digestsOf(d verdict.Digest, body []byte) map[string]string {
	out := map[string]string{d.Algorithm(): d.Hex()}
	if body != nil {
		out["sha256"] = verdict.SHA256(body).Hex()
		sum := sha512.Sum512(body)
		out["sha512"] = hex.EncodeToString(sum[:])
	}
	return out
}

// A search looks for candidates in the places where they can be, until there
// are enough.
type search struct {
	src    Source
	image  Image
	want   wanted
	enough func([]*candidate) bool

	found   []*candidate
	failure error
}

// fail keeps the first failure. It does not end the search: what is found
// elsewhere may be enough.
func (s *search) fail(err error) {
	if s.failure == nil {
		s.failure = err
	}
}

func (s *search) run(ctx context.Context) {
	var (
		legacy []*candidate
		listed []Descriptor
		sigErr error
		wg     sync.WaitGroup
	)
	if s.want.signatures {
		wg.Go(func() {
			sigErr = safely(func() (err error) { legacy, err = s.legacy(ctx); return err })()
		})
	}
	listErr := safely(func() (err error) {
		listed, err = s.src.Referrers(ctx, s.image.Repository, s.image.Digest)
		return err
	})()
	wg.Wait()
	for _, err := range []error{sigErr, listErr} {
		if err != nil {
			s.fail(asFailure(err))
		}
	}
	s.found = append(s.found, legacy...)
	if s.enough(s.found) {
		return
	}
	s.bundles(ctx, listed)
	// Attestations that cosign kept before bundles are known by their tag and
	// not read: they must not look like nothing.
	if len(s.want.predicates) > 0 && !s.enough(s.found) {
		s.legacyAttestations(ctx)
	}
}

// asFailure keeps failures, and makes one of what should not have been a
// refusal: a place that refuses to be looked at leaves the answer open.
func asFailure(err error) error {
	if isFailure(err) || verdict.CodeOf(err) == verdict.RegistryNotAllowed {
		return err
	}
	return verdict.Fail(verdict.RegistryUnreachable, "looking for signatures: %w", err)
}

// legacy reads the .sig manifest.
func (s *search) legacy(ctx context.Context) ([]*candidate, error) {
	tag := legacyTag(s.image.Digest, ".sig")
	if !validTag(tag) {
		return nil, nil // of a sha512 digest: no registry can hold it
	}
	d, mediaType, body, err := s.src.Tagged(ctx, s.image.Repository, tag)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	broken := func(err error) ([]*candidate, error) {
		return []*candidate{{name: tag, family: familyLegacy, err: err, digest: d}}, nil
	}
	m, err := parseManifest(mediaType, body)
	if err != nil {
		return broken(err)
	}
	if m.index != nil {
		return broken(verdict.Refuse(verdict.InputMalformed, "reading %s: it is an index", tag))
	}
	layers := m.layers
	var over error
	if len(layers) > MaxSignatures {
		over = verdict.Fail(verdict.InputLimit, "reading %s: %d signatures, want at most %d", tag, len(layers), MaxSignatures)
		layers = layers[:MaxSignatures]
	}
	out := make([]*candidate, len(layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	// Several layers are often signatures over one payload.
	payloads := make(map[verdict.Digest]*payload)
	for i, l := range layers {
		name := fmt.Sprintf("%s layer %d", tag, i)
		if l.MediaType != typeSimpleSigning {
			out[i] = &candidate{name: name, family: familyOther}
			continue
		}
		p := payloads[l.Digest]
		if p == nil {
			p = &payload{}
			payloads[l.Digest] = p
		}
		g.Go(safely(func() error {
			p.once.Do(func() {
				p.body, p.err = s.src.Blob(gctx, s.image.Repository, l.Digest, l.Size, MaxBundleBytes)
			})
			out[i] = newLegacyCandidate(name, l, p.body)
			out[i].inputs = []Input{{Digest: d, URI: s.uri(d), MediaType: m.mediaType}, {Digest: l.Digest, URI: s.uri(l.Digest), MediaType: l.MediaType}}
			out[i].err = p.err
			return nil
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out, failed := s.splitFailures(out)
	return out, errors.Join(over, failed)
}

// A payload is fetched once for all layers that point at it.
type payload struct {
	once sync.Once
	body []byte
	err  error
}

func (s *search) uri(d verdict.Digest) string {
	return Image{Repository: s.image.Repository, Digest: d}.String()
}

// splitFailures takes out candidates that could not be fetched; what is not
// there although a manifest lists it is a broken candidate.
func (s *search) splitFailures(in []*candidate) (out []*candidate, failure error) {
	for _, c := range in {
		if isFailure(c.err) {
			if failure == nil {
				failure = c.err
			}
			continue
		}
		if isNotFound(c.err) {
			c.err = verdict.Refuse(verdict.InputMalformed, "reading %s: its content is not there", c.name)
		}
		out = append(out, c)
	}
	return out, failure
}

// bundles fetches sigstore bundles among the referrers, those first whose
// (unsigned) hint says what is wanted, so that junk cannot starve them.
func (s *search) bundles(ctx context.Context, listed []Descriptor) {
	var order []Descriptor
	for _, d := range listed {
		if unknownArtifact(d.ArtifactType) || isBundleType(d.ArtifactType) {
			order = append(order, d)
			continue
		}
		s.found = append(s.found, &candidate{name: clipQuote(d.ArtifactType) + " " + d.Digest.Short(), family: familyOther})
	}
	slices.SortStableFunc(order, func(a, b Descriptor) int { return s.rank(a) - s.rank(b) })
	for i, d := range order {
		if i == MaxSignatures {
			s.fail(verdict.Fail(verdict.InputLimit, "looking for signatures: more than %d bundles", MaxSignatures))
			return
		}
		c, err := s.bundle(ctx, d)
		if err != nil {
			s.fail(asFailure(err))
			if code := verdict.CodeOf(err); code == verdict.InputLimit && budgetSpent(ctx) || ctx.Err() != nil {
				return
			}
			continue
		}
		s.found = append(s.found, c)
		if s.enough(s.found) {
			return
		}
	}
}

// rank orders by hints: what was asked for, what says nothing, the rest.
func (s *search) rank(d Descriptor) int {
	hint := d.Annotations[annPredicate]
	switch {
	case slices.Contains(s.want.predicates, hint), s.want.signatures && hint == PredicateSign:
		return 0
	case hint == "" && !unknownArtifact(d.ArtifactType):
		return 1
	case hint != "":
		return 2
	}
	return 3
}

// unknownArtifact: some registries list the media type of the config, which is
// the empty one, where the manifest has an artifactType.
func unknownArtifact(t string) bool { return t == "" || t == "application/vnd.oci.empty.v1+json" }

func budgetSpent(ctx context.Context) bool {
	b := budgetOf(ctx)
	return b.requests.Load() >= MaxRequests || b.bytes.Load() >= MaxImageBytes
}

// bundle fetches the one layer of a bundle's manifest. The family is judged by
// the manifest, and so is what it refers to: the list of referrers is what a
// registry says.
func (s *search) bundle(ctx context.Context, d Descriptor) (*candidate, error) {
	name := "bundle " + d.Digest.Short()
	broken := func(err error) (*candidate, error) {
		return &candidate{name: name, family: familyBundle, err: err, digest: d.Digest}, nil
	}
	mediaType, body, err := s.src.Manifest(ctx, s.image.Repository, d.Digest)
	if isNotFound(err) {
		return broken(verdict.Refuse(verdict.InputMalformed, "reading %s: it is listed and not there", name))
	}
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(mediaType, body)
	if err != nil {
		return broken(err)
	}
	if !isBundleType(m.family()) {
		return &candidate{name: clipQuote(m.family()) + " " + d.Digest.Short(), family: familyOther}, nil
	}
	switch {
	case m.subject != s.image.Digest:
		return broken(verdict.Refuse(verdict.SubjectMismatch, "reading %s: it refers to %s", name, m.subject))
	case len(m.layers) != 1 || !isBundleType(m.layers[0].MediaType):
		return broken(verdict.Refuse(verdict.InputMalformed, "reading %s: want exactly one layer, a bundle", name))
	}
	limit := int64(MaxBundleBytes)
	if len(s.want.predicates) > 0 {
		limit += MaxPayloadBytes / 3 * 4 // base64
	}
	l := m.layers[0]
	if hint := m.annotations[annPredicate]; l.Size > limit && hint != "" && hint != PredicateSign && !slices.Contains(s.want.predicates, hint) {
		return &candidate{name: name, family: familyOther}, nil // a large attestation that nobody asked for
	}
	data, err := s.src.Blob(ctx, s.image.Repository, l.Digest, l.Size, limit)
	if isNotFound(err) {
		return broken(verdict.Refuse(verdict.InputMalformed, "reading %s: its bundle is not there", name))
	}
	if err != nil {
		return nil, err
	}
	c := newBundleCandidate(name, data)
	c.inputs = []Input{{Digest: d.Digest, URI: s.uri(d.Digest), MediaType: m.mediaType}, {Digest: l.Digest, URI: s.uri(l.Digest), MediaType: l.MediaType}}
	return c, nil
}

// legacyAttestations notes a .att manifest.
func (s *search) legacyAttestations(ctx context.Context) {
	tag := legacyTag(s.image.Digest, ".att")
	if !validTag(tag) {
		return
	}
	d, _, _, err := s.src.Tagged(ctx, s.image.Repository, tag)
	switch {
	case isNotFound(err):
	case err != nil:
		s.fail(asFailure(err))
	default:
		s.found = append(s.found, &candidate{name: tag, family: familyBundle, digest: d,
			err: verdict.Refuse(verdict.InputUnsupported, "reading %s: attestations in .att manifests are not supported", tag)})
	}
}
