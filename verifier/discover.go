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
	"github.com/assayd/assay/verifier/internal/notation"
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
	// attestations are BuildKit's manifests in the index.
	attestations []verdict.Digest
	// digests are those of the manifest, by algorithm.
	digests map[string]string
	// size is the manifest's in bytes, or -1 where it was not seen.
	size int64
	// annotations are the manifest's, which its digest covers.
	annotations map[string]string

	candidates []*candidate
	// failure is why discovery could not be completed, or nil.
	failure error
}

// wanted is what kind of candidates a policy can use.
type wanted struct {
	families   []family
	signatures bool
	predicates []string
}

// id names w in cache keys.
func (w wanted) id() string {
	id := make([]byte, 0, 64)
	for _, f := range w.families {
		id = strconv.AppendInt(id, int64(f), 10)
		id = append(id, ' ')
	}
	id = strconv.AppendBool(id, w.signatures)
	for _, p := range w.predicates {
		id = append(append(id, ' '), p...)
	}
	return string(id)
}

func (w wanted) family(f family) bool { return slices.Contains(w.families, f) }

// artifact types of signatures, beside those of bundles.
const (
	typeEnvelope = "application/vnd.dsse.envelope.v1+json"
	typeInToto   = "application/vnd.in-toto+json" // cosign: an attestation as a referrer of its own
	typeCosign   = "application/vnd.dev.cosign.artifact."
)

// A shape is how a manifest carries signatures.
type shape int

const (
	shapeOther shape = iota
	shapeBundle
	// shapeCosign is a manifest with cosign's layers, as under .sig and .att.
	shapeCosign
	// shapeNotation is a manifest with one envelope of the Notary Project.
	shapeNotation
)

// shapeOf judges an artifact type (facts: OCI 1.1 referrers of cosign and
// sigstore).
func shapeOf(artifactType string) shape {
	switch {
	case isBundleType(artifactType):
		return shapeBundle
	case artifactType == typeNotation:
		return shapeNotation
	case artifactType == typeInToto, artifactType == typeEnvelope, artifactType == typeCosign+"sig.v1+json", artifactType == typeCosign+"att.v1+json":
		return shapeCosign
	}
	return shapeOther
}

// readImage fetches the manifest. The error is a Refusal when there is no image,
// or a Failure when that could not be found out.
func readImage(ctx context.Context, src Source, img Image) (*evidence, *manifest, error) {
	if b, ok := src.(*Bundle); ok {
		return &evidence{digests: digestsOf(img.Digest, nil), candidates: slices.Clone(b.candidates), size: -1}, nil, nil
	}
	mediaType, body, err := src.Manifest(ctx, img.Repository, img.Digest)
	if err != nil {
		return nil, nil, err
	}
	m, err := parseManifest(mediaType, body)
	if err != nil {
		return nil, nil, err
	}
	ev := &evidence{mediaType: m.mediaType, digests: digestsOf(img.Digest, body), annotations: m.annotations, size: int64(len(body))}
	if m.index != nil {
		ev.index, ev.attestations = img.Digest, m.attestations()
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
		s := &search{src: src, image: req.Image, want: want, enough: enough, found: slices.Clone(ev.candidates)}
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

// cosignTags are the suffixes of the tags that cosign keeps signatures and
// attestations under.
var cosignTags = [2]string{".sig", ".att"}

func (s *search) run(ctx context.Context) {
	var (
		listed []Descriptor
		found  [2][]*candidate
		errs   [3]error
		wg     sync.WaitGroup
	)
	// Cosign's tags, by what can be under them.
	wanted := [2]bool{s.want.signatures && s.want.family(familyLegacy), len(s.want.predicates) > 0 && s.want.family(familyAttestation)}
	for i, suffix := range cosignTags {
		if !wanted[i] {
			continue
		}
		wg.Go(func() {
			errs[i] = safely(func() (err error) { found[i], err = s.tagged(ctx, suffix); return err })()
		})
	}
	if s.wantsShape(shapeBundle) || s.wantsShape(shapeCosign) || s.wantsShape(shapeNotation) {
		errs[2] = safely(func() (err error) {
			listed, err = s.src.Referrers(ctx, s.image.Repository, s.image.Digest)
			return err
		})()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			s.fail(asFailure(err))
		}
	}
	for _, f := range found {
		s.found = append(s.found, f...)
	}
	if s.enough(s.found) {
		return
	}
	s.referrers(ctx, listed)
	// "Nothing of this kind" is another answer than "nothing at all".
	if len(s.found) == 0 && s.failure == nil {
		for i, suffix := range cosignTags {
			if !wanted[i] {
				s.probe(ctx, suffix)
			}
		}
	}
}

// probe notes that there is something under one of cosign's tags.
func (s *search) probe(ctx context.Context, suffix string) {
	tag := legacyTag(s.image.Digest, suffix)
	if !validTag(tag) {
		return
	}
	switch _, _, _, err := s.src.Tagged(ctx, s.image.Repository, tag); {
	case isNotFound(err):
	case err != nil:
		s.fail(asFailure(err))
	default:
		s.found = append(s.found, &candidate{name: tag, family: familyOther})
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

// tagged reads cosign's .sig or .att manifest.
func (s *search) tagged(ctx context.Context, suffix string) ([]*candidate, error) {
	tag := legacyTag(s.image.Digest, suffix)
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
	m, broken := parseManifest(mediaType, body)
	if broken == nil && m.index != nil {
		broken = verdict.Refuse(verdict.InputMalformed, "reading %s: it is an index", tag)
	}
	if broken != nil {
		return []*candidate{{name: tag, family: familyOfSuffix(suffix), err: broken, digest: d}}, nil //nolint:nilerr // the candidate has it
	}
	return s.layers(ctx, tag, d, m)
}

func familyOfSuffix(suffix string) family {
	if suffix == ".att" {
		return familyAttestation
	}
	return familyLegacy
}

// layers reads the layers of a manifest in cosign's form.
func (s *search) layers(ctx context.Context, name string, d verdict.Digest, m *manifest) ([]*candidate, error) {
	layers := m.layers
	var over error
	if len(layers) > MaxSignatures {
		over = verdict.Fail(verdict.InputLimit, "reading %s: %d signatures, want at most %d", name, len(layers), MaxSignatures)
		layers = layers[:MaxSignatures]
	}
	out := make([][]*candidate, len(layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	// Several layers are often signatures over one payload.
	payloads := make(map[verdict.Digest]*payload)
	for i, l := range layers {
		name := fmt.Sprintf("%s layer %d", name, i)
		var limit int64
		switch {
		case l.MediaType == typeSimpleSigning && s.want.family(familyLegacy):
			limit = MaxBundleBytes
		case l.MediaType == typeEnvelope && s.want.family(familyAttestation) && s.wantsPredicate(l.Annotations):
			limit = MaxBundleBytes + MaxPayloadBytes/3*4 // base64
		default:
			out[i] = []*candidate{{name: name, family: familyOther}}
			continue
		}
		p := payloads[l.Digest]
		if p == nil {
			p = &payload{}
			payloads[l.Digest] = p
		}
		g.Go(safely(func() error {
			p.once.Do(func() { p.body, p.err = s.src.Blob(gctx, s.image.Repository, l.Digest, l.Size, limit) })
			if l.MediaType == typeEnvelope {
				out[i] = newAttestationCandidates(name, l, p.body)
			} else {
				out[i] = []*candidate{newLegacyCandidate(name, l, p.body)}
			}
			for _, c := range out[i] {
				c.inputs = []Input{{Digest: d, URI: s.uri(d), MediaType: m.mediaType}, {Digest: l.Digest, URI: s.uri(l.Digest), MediaType: l.MediaType}}
				c.err = p.err
			}
			return nil
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found, failed := s.splitFailures(slices.Concat(out...))
	return found, errors.Join(over, failed)
}

// annCosignPredicate is cosign's hint of what is in a .att layer.
const annCosignPredicate = "predicateType"

// wantsPredicate says whether an attestation with these unsigned hints may be
// one that is demanded.
func (s *search) wantsPredicate(hints map[string]string) bool {
	hint, ok := hints[annCosignPredicate]
	return !ok || slices.Contains(s.want.predicates, hint)
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

// referrers fetches signatures among the referrers, those first whose
// (unsigned) hint says what is wanted, so that junk cannot starve them.
func (s *search) referrers(ctx context.Context, listed []Descriptor) {
	var order []Descriptor
	for _, d := range listed {
		if unknownArtifact(d.ArtifactType) || s.wantsShape(shapeOf(d.ArtifactType)) {
			order = append(order, d)
			continue
		}
		s.found = append(s.found, &candidate{name: clipQuote(d.ArtifactType) + " " + d.Digest.Short(), family: familyOther})
	}
	slices.SortStableFunc(order, func(a, b Descriptor) int { return s.rank(a) - s.rank(b) })
	for i, d := range order {
		if i == MaxSignatures {
			s.fail(verdict.Fail(verdict.InputLimit, "looking for signatures: more than %d referrers", MaxSignatures))
			return
		}
		c, err := s.referrer(ctx, d)
		s.found = append(s.found, c...)
		if err != nil {
			s.fail(asFailure(err))
			if code := verdict.CodeOf(err); code == verdict.InputLimit && budgetSpent(ctx) || ctx.Err() != nil {
				return
			}
			continue
		}
		if s.enough(s.found) {
			return
		}
	}
}

// wantsShape says whether anything in that shape may be demanded.
func (s *search) wantsShape(sh shape) bool {
	switch sh {
	case shapeBundle:
		return s.want.family(familyBundle)
	case shapeCosign:
		return s.want.family(familyLegacy) || s.want.family(familyAttestation)
	case shapeNotation:
		return s.want.family(familyNotation)
	case shapeOther:
	}
	return false
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

// referrer reads one manifest that refers to the image. What it is is judged by
// the manifest, and so is what it refers to: the list of referrers is what a
// registry says.
func (s *search) referrer(ctx context.Context, d Descriptor) ([]*candidate, error) {
	name := "referrer " + d.Digest.Short()
	broken := func(f family, err error) ([]*candidate, error) {
		return []*candidate{{name: name, family: f, err: err, digest: d.Digest}}, nil
	}
	mediaType, body, err := s.src.Manifest(ctx, s.image.Repository, d.Digest)
	if isNotFound(err) {
		return broken(familyBundle, verdict.Refuse(verdict.InputMalformed, "reading %s: it is listed and not there", name))
	}
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(mediaType, body)
	if err != nil {
		return broken(familyBundle, err)
	}
	sh := shapeOf(m.family())
	if !s.wantsShape(sh) {
		return []*candidate{{name: clipQuote(m.family()) + " " + d.Digest.Short(), family: familyOther}}, nil
	}
	if m.subject != s.image.Digest {
		return broken(familyBundle, verdict.Refuse(verdict.SubjectMismatch, "reading %s: it refers to %s", name, m.subject))
	}
	switch sh {
	case shapeCosign:
		return s.layers(ctx, name, d.Digest, m)
	case shapeNotation:
		return s.notation(ctx, d, m)
	case shapeBundle, shapeOther:
	}
	return s.bundle(ctx, d, m)
}

// bundle fetches the one layer of a bundle's manifest.
func (s *search) bundle(ctx context.Context, d Descriptor, m *manifest) ([]*candidate, error) {
	name := "bundle " + d.Digest.Short()
	broken := func(text string) ([]*candidate, error) {
		return []*candidate{{name: name, family: familyBundle, err: verdict.Refuse(verdict.InputMalformed, "reading %s: %s", name, text), digest: d.Digest}}, nil
	}
	if len(m.layers) != 1 || !isBundleType(m.layers[0].MediaType) {
		return broken("want exactly one layer, a bundle")
	}
	limit := int64(MaxBundleBytes)
	if len(s.want.predicates) > 0 {
		limit += MaxPayloadBytes / 3 * 4 // base64
	}
	l := m.layers[0]
	if hint := m.annotations[annPredicate]; l.Size > limit && hint != "" && hint != PredicateSign && !slices.Contains(s.want.predicates, hint) {
		return []*candidate{{name: name, family: familyOther}}, nil // a large attestation that nobody asked for
	}
	data, err := s.src.Blob(ctx, s.image.Repository, l.Digest, l.Size, limit)
	if isNotFound(err) {
		return broken("its bundle is not there")
	}
	if err != nil {
		return nil, err
	}
	c := newBundleCandidate(name, data)
	c.inputs = []Input{{Digest: d.Digest, URI: s.uri(d.Digest), MediaType: m.mediaType}, {Digest: l.Digest, URI: s.uri(l.Digest), MediaType: l.MediaType}}
	return []*candidate{c}, nil
}

// notation fetches the one layer of a notation signature's manifest.
func (s *search) notation(ctx context.Context, d Descriptor, m *manifest) ([]*candidate, error) {
	name := "notation signature " + d.Digest.Short()
	broken := func(text string) ([]*candidate, error) {
		return []*candidate{{name: name, family: familyNotation, err: verdict.Refuse(verdict.InputMalformed, "reading %s: %s", name, text), digest: d.Digest}}, nil
	}
	if len(m.layers) != 1 {
		return broken("want exactly one layer, an envelope")
	}
	l := m.layers[0]
	data, err := s.src.Blob(ctx, s.image.Repository, l.Digest, l.Size, notation.MaxBytes)
	if isNotFound(err) {
		return broken("its envelope is not there")
	}
	if err != nil {
		return nil, err
	}
	c := newNotationCandidate(name, l.MediaType, data)
	c.inputs = []Input{{Digest: d.Digest, URI: s.uri(d.Digest), MediaType: m.mediaType}, {Digest: l.Digest, URI: s.uri(l.Digest), MediaType: l.MediaType}}
	return []*candidate{c}, nil
}
