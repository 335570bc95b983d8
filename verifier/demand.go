// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/predicate"
)

// An imageState is what a rule demands of the image beside its signatures:
// platforms, signed children, base images.
type imageState struct {
	reasons      []verdict.Reason
	failure      error
	explanations []*Explanation
	bases        []BaseImageResult
	inputs       []Input
	notAfter     time.Time
}

// maxDepth is how many images one image may lead to, one through another.
const maxDepth = 4

// judgeImage asks what the rules demand of the image itself, of those rules
// whose signatures are there: the others refuse anyway.
func (d *decision) judgeImage(ctx context.Context, req inquiry, ev *evidence) {
	for _, r := range d.rules {
		if r.Mode == ModeOff || !r.asksOfImage() || slices.ContainsFunc(d.demands, func(s *demandState) bool { return s.rule == r && !s.met }) {
			continue
		}
		if d.images == nil {
			d.images = make(map[*compiledRule]*imageState)
		}
		m := &imageState{}
		d.images[r] = m
		m.platforms(r, ev)
		if r.Children == ChildrenSigned && req.only == nil {
			m.children(ctx, d.v, req, r, ev)
		}
		if r.BaseImage != nil {
			m.base(ctx, d, req, r, ev)
		}
	}
}

// asksOfImage says whether r demands something of the image beside its signatures.
func (r *compiledRule) asksOfImage() bool {
	return len(r.platforms) > 0 || r.Children == ChildrenSigned || r.BaseImage != nil
}

// judge notes one demand: met, refused, or not decided.
func (m *imageState) judge(what string, err error) {
	e := &Explanation{Text: what, State: StateMet}
	if err != nil {
		reason := verdict.ReasonOf(err)
		e.State, e.Reason = StateUnmet, &reason
		if isFailure(err) {
			if m.failure == nil {
				m.failure = err
			}
		} else {
			m.reasons = append(m.reasons, reason)
		}
	}
	m.explanations = append(m.explanations, e)
}

// platforms demands that the image is there for all of them.
func (m *imageState) platforms(r *compiledRule, ev *evidence) {
	for i, want := range r.platforms {
		var err error
		if !slices.ContainsFunc(ev.platforms, want.selects) {
			err = verdict.Refuse(verdict.SubjectPlatform, "looking for platform %s: the image is for %s", r.Platforms[i], platformNames(ev.platforms))
		}
		m.judge("platform "+r.Platforms[i], err)
	}
}

func platformNames(ps []Platform) string {
	var names []string
	for _, p := range ps {
		names = append(names, p.String())
	}
	if len(names) == 0 {
		return "none that is known"
	}
	return strings.Join(names, ", ")
}

// children demands that each image of an index is signed itself.
func (m *imageState) children(ctx context.Context, v *Verifier, req inquiry, r *compiledRule, ev *evidence) {
	if ev.index == "" {
		return
	}
	wanted, err := parseSelectors(req.Platforms)
	if err != nil {
		m.judge("signatures of the platforms", err)
		return
	}
	for _, p := range ev.platforms {
		if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(s selector) bool { return s.selects(p) }) {
			continue
		}
		child := req
		child.Image.Digest, child.only, child.depth = p.Manifest, r, req.depth+1
		res, err := v.follow(ctx, child)
		if err == nil && !res.Passed {
			why := "it has no signature"
			if len(res.Reasons) > 0 {
				why = res.Reasons[0].Text
			}
			err = verdict.Refuse(verdict.SubjectPlatform, "verifying %s of %s by itself: %s", p.Manifest, p, why)
		}
		m.judge("signatures of "+p.String(), err)
		m.rest(res)
	}
}

// rest notes what another result rests on.
func (m *imageState) rest(res *Result) {
	if res == nil {
		return
	}
	m.inputs = append(m.inputs, res.Inputs...)
	if !res.NotAfter.IsZero() && (m.notAfter.IsZero() || res.NotAfter.Before(m.notAfter)) {
		m.notAfter = res.NotAfter
	}
}

// follow asks about an image that another one led to.
func (v *Verifier) follow(ctx context.Context, req inquiry) (*Result, error) {
	if req.depth > maxDepth {
		return nil, verdict.Fail(verdict.InputLimit, "verifying %s: more than %d images lead to one another", req.Image, maxDepth)
	}
	return v.verify(ctx, req)
}

// base demands that the base image is named, and passes its own rules.
func (m *imageState) base(ctx context.Context, d *decision, req inquiry, r *compiledRule, ev *evidence) {
	bases, err := d.baseImages(r, ev)
	if err == nil && len(bases) == 0 && !r.BaseImage.Optional {
		err = verdict.Refuse(verdict.ImageBase, "looking for the base image: neither of %s names one with a digest", strings.Join(r.BaseImage.From, ", "))
	}
	if err != nil || len(bases) == 0 {
		m.judge("base image", err)
		return
	}
	for _, b := range bases {
		next := req
		next.Image, next.tier, next.only, next.depth = b.Image, TierBase, nil, req.depth+1
		res, err := d.v.follow(ctx, next)
		b.Outcome = verdict.OutcomeFail
		switch {
		case err != nil && isFailure(err):
		case err != nil:
			b.Reasons = []verdict.Reason{verdict.ReasonOf(err)}
			err = verdict.Refuse(verdict.ImageBase, "verifying base image %s: %w", b.Image, err)
		default:
			b.Outcome, b.Reasons = res.Namespaces[0].Outcome, res.Namespaces[0].Reasons
			if b.Outcome == verdict.OutcomeFail {
				err = verdict.Refuse(verdict.ImageBase, "verifying base image %s: %s", b.Image, b.Reasons[0].Text)
			}
		}
		m.judge(fmt.Sprintf("base image %s by %s", b.Image, b.From), err)
		m.bases = append(m.bases, b)
		m.rest(res)
	}
}

// maxBaseImages bounds the base images of one image: the stages of a build.
const maxBaseImages = 8

// baseImages are those that the image names, each once.
func (d *decision) baseImages(r *compiledRule, ev *evidence) ([]BaseImageResult, error) {
	var out []BaseImageResult
	add := func(from, repository string, digest verdict.Digest) {
		img := Image{Repository: repository, Digest: digest}
		if !slices.ContainsFunc(out, func(b BaseImageResult) bool { return b.Image == img }) {
			out = append(out, BaseImageResult{Image: img, From: from})
		}
	}
	for _, from := range r.BaseImage.From {
		switch from {
		case BaseFromAnnotation:
			if img, ok, err := ev.annotatedBase(); err != nil {
				return nil, err
			} else if ok {
				add(from, img.Repository, img.Digest)
			}
		case BaseFromProvenance:
			for _, s := range d.demands {
				if s.rule != r || !s.isProvenance() {
					continue
				}
				for _, a := range s.accepted {
					bases, err := predicate.BaseImages(a.entity.statement)
					if err != nil {
						return nil, err
					}
					for _, b := range bases {
						repository, err := ParseRepository(b.Repository)
						if err != nil {
							return nil, err
						}
						digest, err := parseDigest(b.Digest)
						if err != nil {
							return nil, err
						}
						add(from, repository, digest)
					}
				}
			}
		}
	}
	if len(out) > maxBaseImages {
		return nil, verdict.Fail(verdict.InputLimit, "reading base images: %d, want at most %d", len(out), maxBaseImages)
	}
	return out, nil
}

// Annotations of a manifest about its base image (OCI image-spec v1.1.1
// annotations.md).
const (
	annBaseName   = "org.opencontainers.image.base.name"
	annBaseDigest = "org.opencontainers.image.base.digest"
)

// annotatedBase returns the base image that the manifest's annotations name.
func (ev *evidence) annotatedBase() (Image, bool, error) {
	name, digest := ev.annotations[annBaseName], ev.annotations[annBaseDigest]
	if name == "" || digest == "" {
		return Image{}, false, nil
	}
	d, err := parseDigest(digest)
	if err != nil {
		return Image{}, false, err
	}
	// The name mostly has a tag; the digest counts.
	name, _, _ = strings.Cut(name, "@")
	if slash, colon := strings.LastIndexByte(name, '/'), strings.LastIndexByte(name, ':'); colon > slash {
		name = name[:colon]
	}
	repository, err := ParseRepository(name)
	return Image{Repository: repository, Digest: d}, err == nil, err
}

// checkStatement compares the content of a statement with the demand.
func (d *decision) checkStatement(ctx context.Context, s *demandState, e *entity, f *fact) error {
	a := s.attestation
	if len(a.Builders) > 0 {
		p, err := predicate.ParseProvenance(e.statement)
		if err != nil {
			return err
		}
		if !slices.Contains(a.Builders, p.BuilderID) {
			return verdict.Refuse(verdict.StatementPredicate, "comparing builder: provenance names %q, want one of %s", clipQuote(p.BuilderID), strings.Join(a.Builders, ", "))
		}
	}
	if len(a.Verifiers) > 0 {
		if err := predicate.CheckVSA(e.statement, predicate.VSADemand{Verifiers: a.Verifiers, Levels: a.Levels, Repository: d.image.Repository, MaxAge: s.maxAge, At: d.at}); err != nil {
			return err
		}
	}
	if len(s.where) == 0 {
		return nil
	}
	in := predicate.Input{Statement: e.statement, Repository: d.image.Repository, Digest: string(d.image.Digest),
		Issuer: f.signer.issuer, SAN: f.signer.san, Key: string(f.signer.key)}
	if len(f.times) > 0 {
		in.SignedAt = f.times[0]
	}
	for i, w := range s.where {
		if err := w.Eval(ctx, in); err != nil {
			return fmt.Errorf("where[%d]: %w", i, err)
		}
	}
	return nil
}
