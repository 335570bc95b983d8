// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
)

// A Config is what a verifier decides by.
type Config struct {
	// Policy and Source are required.
	Policy *Policy
	// Roots may be nil where no authority needs any.
	Roots *Roots
	// Source is where images and signatures come from. The verifier does not
	// close it.
	Source Source
	// Deny is what the owners denied: the head's list merged with the deny
	// documents in force.
	Deny verdict.DenyList
	// CacheSize is how many verdicts are kept; zero means DefaultCacheSize.
	CacheSize int
	// Revocation says how publishers of certificates are asked.
	Revocation Revocation
	// AllowUnvalidated lists algorithms outside the build's validated crypto
	// module that are accepted all the same: "ed25519" in a BoringCrypto
	// build. In other builds it changes nothing.
	AllowUnvalidated []string
}

// A Verifier verifies images. It may be used concurrently.
type Verifier struct {
	policy *Policy
	roots  *Roots
	source Source
	deny   verdict.DenyList
	alg    algorithms
	shared *shared

	// denyDigest, and with it id, names everything that a decision depends on.
	denyDigest verdict.Digest
	id         string
	materials  map[*authority]*material
}

// New checks that policy and roots fit. What does not is a [verdict.Misuse].
func New(cfg Config) (*Verifier, error) {
	if cfg.Source == nil {
		return nil, verdict.Misused("", "making verifier: no source")
	}
	v := &Verifier{source: cfg.Source, alg: algorithms{ed25519: ed25519Validated}}
	for _, a := range cfg.AllowUnvalidated {
		if a != Ed25519 {
			return nil, verdict.Misused("the only one is "+Ed25519, "making verifier: allow-unvalidated names %q", clipQuote(a))
		}
		v.alg.ed25519 = true
	}
	if err := v.configure(cfg.Policy, cfg.Roots, cfg.Deny); err != nil {
		return nil, err
	}
	s, err := newShared(cfg.CacheSize, cfg.Revocation)
	if err != nil {
		return nil, err
	}
	v.shared = s
	return v, nil
}

func (v *Verifier) configure(policy *Policy, roots *Roots, deny verdict.DenyList) error {
	if policy == nil || len(policy.rules) == 0 {
		return verdict.Misused("", "making verifier: no policy")
	}
	v.policy, v.roots, v.deny = policy, roots, deny
	v.materials = make(map[*authority]*material)
	for _, r := range policy.rules {
		if r.Mode == ModeOff {
			continue
		}
		for _, d := range r.demands {
			for _, a := range d.authorities {
				m, err := a.material(roots, v.alg)
				if err != nil {
					return err
				}
				v.materials[a] = m
			}
		}
	}
	deny.V = 1 // the zero value denies nothing and has no form
	form, err := deny.Encode()
	if err != nil {
		return verdict.Misused("", "making verifier: deny list: %w", err)
	}
	v.denyDigest = verdict.SHA256(form)
	v.id = strings.Join([]string{string(policy.digest), string(roots.Digest()), string(v.denyDigest)}, " ")
	return nil
}

// WithPolicy returns a verifier that decides by another policy and other
// roots, and shares what v knows about signatures.
func (v *Verifier) WithPolicy(policy *Policy, roots *Roots) (*Verifier, error) {
	return v.derive(policy, roots, v.deny)
}

// WithDeny returns a verifier with another deny list, which shares what v
// knows about signatures.
func (v *Verifier) WithDeny(deny verdict.DenyList) (*Verifier, error) {
	return v.derive(v.policy, v.roots, deny)
}

func (v *Verifier) derive(policy *Policy, roots *Roots, deny verdict.DenyList) (*Verifier, error) {
	n := &Verifier{source: v.source, alg: v.alg, shared: v.shared}
	if err := n.configure(policy, roots, deny); err != nil {
		return nil, err
	}
	return n, nil
}

// Policy returns the policy that v decides by.
func (v *Verifier) Policy() *Policy { return v.policy }

// Roots returns the trust roots, or nil.
func (v *Verifier) Roots() *Roots { return v.roots }

// DenyDigest is the SHA-256 of the deny list in its canonical form.
func (v *Verifier) DenyDigest() verdict.Digest { return v.denyDigest }

// Close ends what is running, also for the verifiers that share with v, and
// waits for it.
func (v *Verifier) Close() { v.shared.close() }

// Verify decides about an image. The error is
//
//   - a [verdict.Failure] when nothing could be decided and a rule enforces;
//   - a [verdict.Refusal] when there is no decision about an existing image to
//     keep: policy.no-rule, image.not-found, revoked.image for a digest or
//     repository that the owners denied, input.malformed for a manifest that
//     is none;
//   - a [verdict.Misuse] for a request without digest or time.
//
// The policy is asked before the network.
func (v *Verifier) Verify(ctx context.Context, req Request) (*Result, error) {
	return v.verify(ctx, inquiry{Request: req})
}

// An inquiry is a request, or one that another request leads to.
type inquiry struct {
	Request
	// tier is that of rules; only, when set, is the one rule that is asked.
	tier string
	only *compiledRule
	// depth is how many inquiries led here.
	depth int
}

// key names what is asked, apart from the time.
func (q inquiry) key() string {
	only := ""
	if q.only != nil {
		only = q.only.Name
	}
	return strings.Join([]string{q.Image.Repository, string(q.Image.Digest), strings.Join(q.Platforms, ","), q.tier, only}, " ")
}

// rules are those that are about it.
func (q inquiry) rules(p *Policy) []*compiledRule {
	if q.only != nil {
		return []*compiledRule{q.only}
	}
	var rules []*compiledRule
	for i := range p.rules {
		if r := &p.rules[i]; r.matches(q.Image.Repository, q.tier) {
			rules = append(rules, r)
		}
	}
	return rules
}

func (v *Verifier) verify(ctx context.Context, req inquiry) (*Result, error) {
	if req.At.IsZero() {
		return nil, verdict.Misused("", "verifying: the request has no time")
	}
	if _, err := parseDigest(string(req.Image.Digest)); err != nil {
		return nil, err
	}
	if _, err := parseSelectors(req.Platforms); err != nil {
		return nil, err
	}
	if req.Image.Repository != "" {
		canonical, err := ParseRepository(req.Image.Repository)
		if err != nil {
			return nil, err
		}
		req.Image.Repository = canonical
	}
	rules := req.rules(v.policy)
	if len(rules) == 0 {
		return nil, verdict.Refuse(verdict.PolicyNoRule, "matching rules: none of %d is about %q", len(v.policy.rules), req.Image.Repository)
	}
	switch {
	case v.deny.DeniesImage(req.Image.Digest):
		return nil, verdict.Refuse(verdict.RevokedImage, "applying deny list: owners denied the image %s", req.Image.Digest)
	case v.deny.DeniesRepository(req.Image.Repository):
		return nil, verdict.Refuse(verdict.RevokedImage, "applying deny list: owners denied the repository %s", req.Image.Repository)
	}
	if !slices.ContainsFunc(rules, func(r *compiledRule) bool { return r.Mode != ModeOff }) {
		return v.newDecision(rules, req.Request, &evidence{}).result(req.Request, &evidence{})
	}
	image := req.key()
	key := v.id + " " + image
	if e, ok := v.shared.verdict(key, req.At); ok {
		return e.result, e.refusal
	}
	if req.depth > 0 { // inside a flight, and in its budget
		r, err := v.decide(ctx, req, rules, image)
		v.shared.keep(key, req.At, r, err)
		return r, err
	}
	return v.shared.fly(ctx, key, func(flight context.Context) (*Result, error) {
		// An earlier flight may have landed since this caller looked.
		if e, ok := v.shared.verdict(key, req.At); ok {
			return e.result, e.refusal
		}
		// A registry is waited for as long as the one who began has time to hear of
		// it; asking it is not bounded by that.
		r, err := v.decide(withPatience(withBudget(flight), ctx), req, rules, image)
		v.shared.keep(key, req.At, r, err)
		return r, err
	})
}

// decide is a verification without the verdict cache.
func (v *Verifier) decide(ctx context.Context, req inquiry, rules []*compiledRule, image string) (*Result, error) {
	want := wantedBy(rules)
	image += " " + want.id() // the order of candidates depends on it
	if ev, ok := v.shared.images.Get(image); ok {
		// What was found before is as good as what would be found now, when it
		// is enough; when it is not, there may be more by now. All demands are
		// met, so that only a denied image of the index can still refuse.
		d := v.newDecision(rules, req.Request, ev)
		if d.enough(ctx, ev.candidates) {
			return v.finish(ctx, d, req, ev)
		}
	}
	ev, m, err := readImage(ctx, v.source, req.Image)
	if err != nil {
		return v.newDecision(rules, req.Request, &evidence{}).undecided(&Result{Image: req.Image, At: req.At}, err)
	}
	if want.family(familyTarget) && ev.digests["sha256"] != "" {
		ev.candidates = append([]*candidate{newListed(req.Image, ev.digests, ev.size)}, ev.candidates...)
	}
	d := v.newDecision(rules, req.Request, ev)
	enough := func(c []*candidate) bool { return d.enough(ctx, c) }
	if m != nil {
		if err := ev.discover(ctx, v.source, req.Request, m, want, enough); err != nil {
			// What is known already is denied also where the rest is not known: a
			// rule in audit would let it through.
			if denied := deniedImage(v.deny, req.Request, ev); verdict.Refused(denied) {
				return nil, denied
			}
			return d.undecided(&Result{Image: req.Image, At: req.At}, err)
		}
	}
	enough(ev.candidates)
	r, err := v.finish(ctx, d, req, ev)
	if err == nil && r.Decided {
		v.shared.keepEvidence(image, ev)
	}
	return r, err
}

// finish applies what the owners denied to the images of an index, asks what
// rules demand of the image itself, and makes the result.
func (v *Verifier) finish(ctx context.Context, d *decision, req inquiry, ev *evidence) (*Result, error) {
	if err := deniedImage(v.deny, req.Request, ev); err != nil {
		return nil, err
	}
	d.judgeImage(ctx, req, ev)
	r, err := d.result(req.Request, ev)
	if r != nil {
		r.Attestations = ev.attestations
	}
	return r, err
}

// wantedBy is what the demands of rules can use.
func wantedBy(rules []*compiledRule) wanted {
	var w wanted
	for _, r := range rules {
		if r.Mode == ModeOff {
			continue
		}
		for _, d := range r.demands {
			for _, f := range readable {
				if !slices.Contains(w.families, f) && slices.ContainsFunc(d.authorities, func(a *authority) bool { return a.reads(f) }) {
					w.families = append(w.families, f)
				}
			}
			if d.what == "" {
				w.signatures = true
			}
			w.predicates = append(w.predicates, d.predicates...)
		}
	}
	slices.Sort(w.families)
	slices.Sort(w.predicates)
	w.predicates = slices.Compact(w.predicates)
	return w
}

// fact returns what candidate c shows under the material of authority a, from
// the cache where it is known.
func (v *Verifier) fact(c *candidate, a *authority) (*fact, *stageError) {
	m := v.materials[a]
	key := factKey{string(c.digest), m.id}
	if e, ok := v.shared.facts.Get(key); ok {
		return e.fact, e.refuse
	}
	e, err := c.parse()
	if err != nil {
		return nil, &stageError{stageRead, err}
	}
	f, serr := m.verify(e)
	if serr == nil || !isFailure(serr.err) {
		v.shared.facts.Add(key, factEntry{f, serr})
	}
	return f, serr
}
