// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// A decision is one evaluation of the matching rules over candidates as they
// are found. It belongs to one goroutine.
type decision struct {
	v       *Verifier
	rules   []*compiledRule
	at      time.Time
	image   Image
	digests map[string]string
	// mediaType is the manifest's, where it was seen.
	mediaType string

	demands []*demandState
	seen    int // candidates that were looked at
	// images is what rules demand of the image beside its signatures.
	images map[*compiledRule]*imageState
}

// A demandState is how far one demand of one rule is met.
type demandState struct {
	demand
	rule  *compiledRule
	met   bool
	kinds int // candidates of the demanded kind, or unreadable
	// accepted are the signatures that count, rejected why others do not.
	accepted []accepted
	rejected []rejected
	// failure is the first thing that could not be decided about a candidate.
	failure error
}

type accepted struct {
	authority *authority
	fact      *fact
	candidate *candidate
	entity    *entity
	// until is how long the publishers' word holds; warnings are what they did
	// not say.
	until    time.Time
	warnings []string
}

type rejected struct {
	stage     stage
	reason    verdict.Reason
	authority string
	candidate string
}

func (v *Verifier) newDecision(rules []*compiledRule, req Request, ev *evidence) *decision {
	d := &decision{v: v, rules: rules, at: req.At, image: req.Image, digests: ev.digests, mediaType: ev.mediaType}
	for _, r := range rules {
		if r.Mode == ModeOff {
			continue
		}
		for _, dm := range r.demands {
			d.demands = append(d.demands, &demandState{demand: dm, rule: r})
		}
	}
	return d
}

// enough looks at the candidates that it has not seen, and says whether every
// demand is met.
func (d *decision) enough(ctx context.Context, candidates []*candidate) bool {
	for ; d.seen < len(candidates); d.seen++ {
		if d.allMet() {
			break
		}
		d.look(ctx, candidates[d.seen])
	}
	return d.allMet()
}

func (d *decision) allMet() bool {
	return !slices.ContainsFunc(d.demands, func(s *demandState) bool { return !s.met })
}

func (d *decision) look(ctx context.Context, c *candidate) {
	if !slices.ContainsFunc(d.demands, func(s *demandState) bool { return !s.met && s.reads(c.family) }) {
		return
	}
	e, err := c.parse()
	for _, s := range d.demands {
		if s.met || !s.reads(c.family) {
			continue
		}
		if err != nil {
			s.kinds++
			s.reject(stageRead, err, "", c)
			continue
		}
		if s.what == "" && !e.claims.isSignature() || s.what != "" && !slices.Contains(s.predicates, e.claims.predicate) {
			continue
		}
		s.kinds++
		for _, a := range s.authorities {
			if !a.reads(c.family) {
				continue
			}
			f, serr := d.check(c, e, a)
			if serr == nil {
				serr = d.checkDemand(ctx, s, e, f)
			}
			x := accepted{authority: a, fact: f, candidate: c, entity: e}
			// Last, since it may ask the network.
			if serr == nil {
				var err error
				if x.until, x.warnings, err = d.v.revoked(ctx, f, a, d.at); err != nil {
					serr = &stageError{stageRevoked, err}
				}
			}
			if serr != nil {
				s.reject(serr.stage, serr.err, a.name, c)
				continue
			}
			s.accepted = append(s.accepted, x)
		}
		s.met = s.distinct() >= s.require
	}
}

// reads says whether a signature of that family can be of one of the demand's
// authorities.
func (s *demandState) reads(f family) bool {
	return slices.ContainsFunc(s.authorities, func(a *authority) bool { return a.reads(f) })
}

func (s *demandState) reject(at stage, err error, authority string, c *candidate) {
	if isFailure(err) && s.failure == nil {
		s.failure = err
	}
	r := verdict.ReasonOf(err)
	r.Authority = authority
	s.rejected = append(s.rejected, rejected{at, r, authority, c.name})
}

// check says whether candidate c is a's signature of the image. What the
// signature shows comes from the cache; what is made of it never does.
func (d *decision) check(c *candidate, e *entity, a *authority) (*fact, *stageError) {
	// The digest in a message signature is a claim and an input at once: with
	// another image's, nothing could be verified that is about this one.
	if e.message == nil {
		if err := e.claims.about(d.digests); err != nil {
			return nil, &stageError{stageSubject, err}
		}
	}
	m := d.v.materials[a]
	if m.stale != nil {
		return nil, &stageError{stageRead, m.stale}
	}
	if !m.until.IsZero() && d.at.After(m.until) {
		return nil, &stageError{stageRead, verdict.Fail(verdict.TrustStale, "using trust roots: what was fetched counts until %s, and now is %s", m.until.UTC().Format(time.RFC3339), d.at.UTC().Format(time.RFC3339))}
	}
	f, serr := d.v.fact(c, a)
	if serr != nil {
		return nil, serr
	}
	if !f.trustUntil.IsZero() && d.at.After(f.trustUntil) {
		return nil, &stageError{stageRead, verdict.Fail(verdict.TrustStale, "using list of targets: it counts until %s, and now is %s", f.trustUntil.UTC().Format(time.RFC3339), d.at.UTC().Format(time.RFC3339))}
	}
	if err := f.claims.about(d.digests); err != nil {
		return nil, &stageError{stageSubject, err}
	}
	// Times are in order. What was signed after the time of the decision did not
	// exist then: a log or an authority lies, or our clock does, and neither may
	// decide.
	if n := len(f.times); n > 0 && f.times[n-1].After(d.at.Add(verdict.MaxSkew)) {
		return nil, &stageError{stageTime, verdict.Refuse(verdict.TimeUntrusted, "comparing time of signing: it is proven for %s, and now is %s; one of these clocks is wrong",
			f.times[n-1].UTC().Format(time.RFC3339), d.at.UTC().Format(time.RFC3339))}
	}
	if t := f.claims.mediaType; t != "" && d.mediaType != "" && t != d.mediaType {
		return nil, &stageError{stageSubject, verdict.Refuse(verdict.SubjectMismatch, "comparing subject: the signature is about a %q, and the image is a %q", clipQuote(t), d.mediaType)}
	}
	if !f.expires.IsZero() && d.at.After(f.expires) {
		return nil, &stageError{stageTime, verdict.Refuse(verdict.SigExpired, "comparing expiry: the signer ended it at %s, and now is %s", f.expires.UTC().Format(time.RFC3339), d.at.UTC().Format(time.RFC3339))}
	}
	// What nothing dates counts while its certificates are valid.
	if len(f.times) == 0 && !f.window.contains(d.at) {
		return nil, &stageError{stageTime, verdict.Refuse(verdict.CertExpiredAtSigning, "comparing validity: nothing proves when it was signed, now is %s, and its certificates are valid together from %s",
			d.at.UTC().Format(time.RFC3339), f.window)}
	}
	if err := a.checkTimes(f.times); err != nil {
		return nil, &stageError{stageTime, err}
	}
	if err := a.checkLogs(f.logs); err != nil {
		return nil, &stageError{stageLog, err}
	}
	if err := a.matches(f, d.at); err != nil {
		return nil, &stageError{stageIdentity, err}
	}
	if err := d.v.denied(f); err != nil {
		return nil, &stageError{stageRevoked, err}
	}
	return f, nil
}

// checkDemand compares what a signature shows with what the demand wants beyond
// the signer.
func (d *decision) checkDemand(ctx context.Context, s *demandState, e *entity, f *fact) *stageError {
	if s.rule.RequireReference && s.what == "" {
		if serr := d.checkReference(f); serr != nil {
			return serr
		}
	}
	if err := s.checkAge(f, d.at); err != nil {
		return &stageError{stageContent, err}
	}
	if s.attestation == nil {
		return nil
	}
	if err := d.checkStatement(ctx, s, e, f); err != nil {
		return &stageError{stageContent, err}
	}
	return nil
}

// checkAge compares when it was signed with the oldest that the demand takes.
func (s *demandState) checkAge(f *fact, at time.Time) error {
	switch {
	case s.maxAge == 0:
		return nil
	case len(f.times) == 0:
		return verdict.Refuse(verdict.TimeUnproven, "comparing age: nothing proves when it was signed, and max-age is demanded")
	case f.times[0].Add(s.maxAge).Before(at):
		return verdict.Refuse(verdict.TimeNotAllowed, "comparing age: it was signed at %s, want not before %s", f.times[0].UTC().Format(time.RFC3339), at.Add(-s.maxAge).UTC().Format(time.RFC3339))
	}
	return nil
}

// checkReference compares the repository that was signed with the one asked
// for.
func (d *decision) checkReference(f *fact) *stageError {
	got, err := ParseRepository(f.claims.reference)
	if err != nil || got != d.image.Repository {
		return &stageError{stageSubject, verdict.Refuse(verdict.SubjectRepository, "comparing repository: the signature names %q, want %q", clipQuote(f.claims.reference), d.image.Repository)}
	}
	return nil
}

// checkTimes compares all proven times of signing with those allowed.
func (a *authority) checkTimes(times []time.Time) error {
	w := window{a.SignedAfter, a.SignedBefore}
	if w == (window{}) {
		return nil
	}
	if len(times) == 0 {
		return verdict.Refuse(verdict.TimeUnproven, "comparing time of signing: nothing proves it, and the policy allows %s", w)
	}
	for _, t := range times {
		if !w.contains(t) {
			return verdict.Refuse(verdict.TimeNotAllowed, "comparing time of signing: %s, and the policy allows %s", t.UTC().Format(time.RFC3339), w)
		}
	}
	return nil
}

// checkLogs counts the logs that have the signature; two entries of one log are
// one.
func (a *authority) checkLogs(entries []logEntry) error {
	logs := make(map[string]bool)
	for _, l := range entries {
		logs[l.logID] = true
	}
	if len(logs) < a.Logs {
		return verdict.Refuse(verdict.LogCount, "counting logs: %d of %d demanded have it", len(logs), a.Logs)
	}
	return nil
}

// matches compares a signer with what an authority demands.
func (a *authority) matches(f *fact, at time.Time) error {
	switch {
	case a.Key != nil:
		return a.inWindow(f.times, at)
	case a.X509 != nil:
		return a.matchesX509(f.signer)
	case a.Notation != nil:
		return a.matchesNotation(f)
	case a.TUF != nil, a.NotaryV1 != nil:
		return nil // the lookup was by what it demands
	}
	return a.matchesKeyless(f.signer)
}

// inWindow compares a key's window with every proven time of signing, and with
// the time of the decision where none is proven.
func (a *authority) inWindow(times []time.Time, at time.Time) error {
	what := "it was signed at"
	if len(times) == 0 {
		times, what = []time.Time{at}, "nothing proves when it was signed, and now is"
	}
	w := window{a.Key.NotBefore, a.Key.NotAfter}
	for _, t := range times {
		if !w.contains(t) {
			return verdict.Refuse(verdict.KeyWindow, "comparing key window: %s %s, want %s", what, t.UTC().Format(time.RFC3339), w)
		}
	}
	return nil
}

// denied applies the owners' deny list to a fact. Deny beats allow.
func (v *Verifier) denied(f *fact) error {
	s := f.signer
	for _, c := range f.chain {
		if d := verdict.SHA256(c.Raw); v.deny.DeniesCertificate(d) {
			return verdict.Refuse(verdict.RevokedCertificate, "applying deny list: owners denied the certificate %s", d)
		}
		if d := verdict.SHA256(c.RawSubjectPublicKeyInfo); v.deny.DeniesKey(d) {
			return verdict.Refuse(verdict.RevokedKey, "applying deny list: owners denied the key %s", d)
		}
	}
	for _, n := range s.names {
		if v.deny.DeniesIdentity(s.issuer, n) {
			return verdict.Refuse(verdict.RevokedIdentity, "applying deny list: owners denied the identity %q of %q", n, s.issuer)
		}
	}
	for _, k := range s.listKeys {
		if v.deny.DeniesKey(k) {
			return verdict.Refuse(verdict.RevokedKey, "applying deny list: owners denied the key %s, which signed what %s rests on", k, s.list)
		}
	}
	switch {
	case (s.certificate != "" || s.list != "") && v.deny.DeniesIdentity(s.issuer, s.san):
		return verdict.Refuse(verdict.RevokedIdentity, "applying deny list: owners denied the identity %q of %q", s.san, s.issuer)
	case v.deny.DeniesKey(s.key):
		return verdict.Refuse(verdict.RevokedKey, "applying deny list: owners denied the key %s", s.key)
	case s.certificate != "" && v.deny.DeniesCertificate(s.certificate):
		return verdict.Refuse(verdict.RevokedCertificate, "applying deny list: owners denied the certificate %s", s.certificate)
	}
	for _, l := range f.logs {
		if v.deny.DeniesLogEntry(l.logID, l.index) {
			return verdict.Refuse(verdict.RevokedLogEntry, "applying deny list: owners denied log entry %s", l)
		}
		// Whoever passes the signature on may write another index beside it: then
		// it may be any of those that are denied.
		if l.claimed && slices.ContainsFunc(v.deny.LogEntries, func(e string) bool { return strings.HasPrefix(e, l.logID+"/") }) {
			return verdict.Refuse(verdict.RevokedLogEntry, "applying deny list: owners denied entries of this log, and nothing signed says that this one is %s", l)
		}
	}
	return nil
}

// distinct is how many distinct signers of distinct authorities there are: a
// maximum matching, since one identity may satisfy two patterns and one
// authority may have several signers.
func (s *demandState) distinct() int {
	if len(s.accepted) < 2 {
		return len(s.accepted)
	}
	edges := make(map[*authority][]string)
	for _, a := range s.accepted {
		if id := a.fact.signer.id(); !slices.Contains(edges[a.authority], id) {
			edges[a.authority] = append(edges[a.authority], id)
		}
	}
	taken := make(map[string]*authority) // by signer
	var assign func(a *authority, tried map[string]bool) bool
	assign = func(a *authority, tried map[string]bool) bool {
		for _, id := range edges[a] {
			if tried[id] {
				continue
			}
			tried[id] = true
			if taken[id] == nil || assign(taken[id], tried) {
				taken[id] = a
				return true
			}
		}
		return false
	}
	n := 0
	for _, a := range s.authorities {
		if assign(a, make(map[string]bool)) {
			n++
		}
	}
	return n
}

// reasons says why the demand is not met, closest first.
func (s *demandState) reasons(candidates int) []verdict.Reason {
	byStage := slices.Clone(s.rejected)
	slices.SortStableFunc(byStage, func(a, b rejected) int { return cmp.Compare(b.stage, a.stage) })
	var out []verdict.Reason
	switch {
	case candidates == 0:
		return []verdict.Reason{{Code: verdict.SigNone, Text: "looking for signatures: there is none of any kind"}}
	case s.kinds == 0:
		return []verdict.Reason{{Code: verdict.SigNoneOfKind, Text: fmt.Sprintf("looking for signatures: none of %d candidates is %s", candidates, s.kindName())}}
	case s.require > 1 && len(s.accepted) > 0:
		out = append(out, verdict.Reason{Code: verdict.SigCount, Text: s.countText()})
	}
	for _, r := range byStage {
		out = append(out, r.reason)
	}
	if len(out) == 0 {
		out = append(out, verdict.Reason{Code: verdict.SigCount, Text: s.countText()})
	}
	return out
}

func (s *demandState) kindName() string {
	if s.what == "" {
		return "a signature of the image"
	}
	return "an attestation of type " + s.what
}

func (s *demandState) countText() string {
	var missing []string
	for _, a := range s.authorities {
		if !slices.ContainsFunc(s.accepted, func(x accepted) bool { return x.authority == a }) {
			missing = append(missing, fmt.Sprintf("%q", a.name))
		}
	}
	text := fmt.Sprintf("counting signers: %d of %d required authorities signed", s.distinct(), s.require)
	if len(missing) > 0 {
		text += "; missing " + strings.Join(missing, ", ")
	} else {
		text += "; one signer counts once, whatever names it has"
	}
	return text
}

// A ruleOutcome is what one rule comes to.
type ruleOutcome struct {
	rule    *compiledRule
	outcome verdict.Outcome
	reasons []verdict.Reason
	// exception let it through, or nil.
	exception *compiledException
}

// outcomes are those of the rules, in order.
func (d *decision) outcomes(candidates int) []ruleOutcome {
	var out []ruleOutcome
	for _, r := range d.rules {
		o := ruleOutcome{rule: r}
		if r.Mode == ModeOff {
			o.outcome = verdict.OutcomeUnchecked
			o.reasons = []verdict.Reason{{Code: verdict.PolicyOff, Text: fmt.Sprintf("rule %q is off", r.Name)}}
			out = append(out, o)
			continue
		}
		for _, s := range d.demands {
			if s.rule == r && !s.met {
				o.reasons = append(o.reasons, s.reasons(candidates)...)
			}
		}
		if m := d.images[r]; m != nil {
			o.reasons = append(o.reasons, m.reasons...)
		}
		switch {
		case len(o.reasons) == 0:
			o.outcome = verdict.OutcomePass
		case r.Mode == ModeAudit:
			o.outcome = verdict.OutcomeAuditFail
		default:
			o.outcome = verdict.OutcomeFail
			if o.exception = d.exception(r); o.exception != nil {
				o.outcome = verdict.OutcomeAuditFail
				o.reasons = append([]verdict.Reason{o.exception.reason()}, o.reasons...)
			}
		}
		out = append(out, o)
	}
	return out
}

// exception returns the exception for this image and rule that is in force, or
// nil. Each counts for its own rules and images: two of them together allow no
// more than each does.
func (d *decision) exception(r *compiledRule) *compiledException {
	for i := range d.v.policy.exceptions {
		x := &d.v.policy.exceptions[i]
		if slices.Contains(x.Rules, r.Name) && slices.Contains(x.images, d.image.Digest) && !d.at.After(x.Until) {
			return x
		}
	}
	return nil
}

func (x *compiledException) reason() verdict.Reason {
	return verdict.Reason{Code: verdict.PolicyException, Text: fmt.Sprintf("exception %q of %s until %s: %s", x.ID, x.Owner, x.Until.UTC().Format(time.RFC3339), x.Reason)}
}

// namespaces folds the rules into one outcome per namespace pattern. Patterns
// nest or are disjoint, so that the most specific one that matches a namespace
// has seen every rule that counts for it.
func (p *Policy) namespaces(outcomes []ruleOutcome) []NamespaceResult {
	patterns := []string{"*"}
	for _, ns := range p.patterns {
		if slices.ContainsFunc(outcomes, func(o ruleOutcome) bool { return slices.Contains(o.rule.Namespaces, ns) }) {
			patterns = append(patterns, ns)
		}
	}
	var out []NamespaceResult
	for _, pat := range patterns {
		r := NamespaceResult{Pattern: pat, Outcome: verdict.OutcomeUnchecked}
		worst := -1
		for _, o := range outcomes {
			applies := len(o.rule.Namespaces) == 0 || pat != "*" && slices.ContainsFunc(o.rule.Namespaces, func(ns string) bool { return namespaceCovers(ns, pat) })
			if !applies {
				continue
			}
			r.Rules = append(r.Rules, o.rule.Name)
			if w := severity(o.outcome); w > worst {
				worst, r.Outcome = w, o.outcome
			}
		}
		for _, o := range outcomes {
			if o.outcome == r.Outcome && slices.Contains(r.Rules, o.rule.Name) {
				r.Reasons = appendReasons(r.Reasons, o.reasons)
			}
		}
		out = append(out, r)
	}
	return out
}

// severity orders outcomes: a fail anywhere fails, and a rule that is off says
// nothing beside one that is not.
func severity(o verdict.Outcome) int {
	switch o {
	case verdict.OutcomeUnchecked:
		return 0
	case verdict.OutcomePass:
		return 1
	case verdict.OutcomeAuditFail:
		return 2
	case verdict.OutcomeFail:
		return 3
	}
	return 3
}

// maxReasons bounds the reasons of a result: it goes into a core.
const maxReasons = 64

func appendReasons(have, more []verdict.Reason) []verdict.Reason {
	for _, r := range more {
		if len(have) < maxReasons && !slices.Contains(have, r) {
			have = append(have, r)
		}
	}
	return have
}

// result puts a decision into words.
func (d *decision) result(req Request, ev *evidence) (*Result, error) {
	res := &Result{Image: req.Image, At: req.At, Decided: len(d.demands) > 0, Passed: len(d.demands) > 0 && d.passes(),
		MediaType: ev.mediaType, Index: ev.index, Platforms: ev.platforms, Rules: d.ruleNames()}
	candidates := len(ev.candidates)
	// A failure counts where it may be what a demand lacks.
	if ev.failure != nil && !d.allMet() {
		return d.undecided(res, ev.failure)
	}
	for _, s := range d.demands {
		if !s.met && s.failure != nil {
			return d.undecided(res, s.failure)
		}
	}
	for _, r := range d.rules {
		if m := d.images[r]; m != nil && m.failure != nil {
			return d.undecided(res, m.failure)
		}
	}
	outcomes := d.outcomes(candidates)
	for _, o := range outcomes {
		if o.outcome == verdict.OutcomeFail || o.outcome == verdict.OutcomeAuditFail {
			res.Reasons = appendReasons(res.Reasons, o.reasons)
		}
		if x := o.exception; x != nil {
			res.bound(x.Until)
			res.Exceptions = append(res.Exceptions, UsedException{ID: x.ID, Rule: o.rule.Name, Owner: x.Owner, Reason: x.Reason, Until: x.Until})
		}
		if m := d.images[o.rule]; m != nil {
			res.bound(m.notAfter)
			res.BaseImages = append(res.BaseImages, m.bases...)
			for _, in := range m.inputs {
				if !slices.Contains(res.Inputs, in) {
					res.Inputs = append(res.Inputs, in)
				}
			}
		}
	}
	res.Namespaces = d.v.policy.namespaces(outcomes)
	for _, s := range d.demands {
		d.account(res, s)
	}
	res.Explanation = d.explain(res, outcomes, candidates)
	return res, nil
}

// passes says whether everything that is demanded was met.
func (d *decision) passes() bool {
	for _, m := range d.images {
		if len(m.reasons) > 0 {
			return false
		}
	}
	return d.allMet()
}

// account notes what a met demand rests on.
func (d *decision) account(res *Result, s *demandState) {
	if s.met && s.attestation != nil {
		res.BuildLevel = max(res.BuildLevel, s.attestation.BuildLevel)
	}
	for _, a := range s.accepted {
		id := Identity{Authority: a.authority.name, Issuer: a.fact.signer.issuer, SAN: a.fact.signer.san,
			Key: a.fact.signer.key, Certificate: a.fact.signer.certificate, Predicate: a.fact.claims.predicate}
		for _, l := range a.fact.logs {
			id.LogEntries = append(id.LogEntries, l.String())
		}
		if len(a.fact.times) > 0 {
			id.SignedAt = a.fact.times[0].UTC()
		}
		if !slices.ContainsFunc(res.Identities, func(o Identity) bool {
			return o.Authority == id.Authority && o.Key == id.Key && o.Certificate == id.Certificate && o.Predicate == id.Predicate && slices.Equal(o.LogEntries, id.LogEntries)
		}) {
			res.Identities = append(res.Identities, id)
		}
		for _, in := range a.candidate.inputs {
			if !slices.Contains(res.Inputs, in) {
				res.Inputs = append(res.Inputs, in)
			}
		}
		// What nothing dates is good for as long as the window of its key or of
		// its certificates.
		if len(a.fact.times) == 0 {
			res.bound(a.fact.window.to)
			if k := a.authority.Key; k != nil {
				res.bound(k.NotAfter)
			}
		}
		res.bound(a.fact.expires)
		res.bound(a.until)
		res.bound(a.fact.trustUntil)
		res.bound(d.v.materials[a.authority].until)
		if a.fact.list != "" {
			in := Input{Digest: a.fact.list, URI: a.fact.signer.issuer + " " + a.fact.signer.san, MediaType: "application/json"}
			if !slices.Contains(res.Inputs, in) {
				res.Inputs = append(res.Inputs, in)
			}
		}
		if s.maxAge > 0 {
			res.bound(a.fact.times[0].Add(s.maxAge))
		}
	}
}

// bound brings NotAfter forward to t, unless t is zero.
func (r *Result) bound(t time.Time) {
	if !t.IsZero() && (r.NotAfter.IsZero() || t.Before(r.NotAfter)) {
		r.NotAfter = t
	}
}

func (d *decision) ruleNames() []string {
	var names []string
	for _, r := range d.rules {
		names = append(names, r.Name)
	}
	return names
}

// undecided is what a failure comes to: an error where any rule enforces,
// audit-fail where only rules in audit ask (design.md §6). It is never kept. A
// refusal, such as an image that is not there, stays one in every mode.
func (d *decision) undecided(res *Result, failure error) (*Result, error) {
	if !isFailure(failure) && verdict.CodeOf(failure) != verdict.RegistryNotAllowed {
		return nil, failure
	}
	for _, r := range d.rules {
		if r.Mode == ModeEnforce {
			return nil, failure
		}
	}
	reason := verdict.ReasonOf(failure)
	var outcomes []ruleOutcome
	for _, r := range d.rules {
		o := ruleOutcome{rule: r, outcome: verdict.OutcomeAuditFail, reasons: []verdict.Reason{reason}}
		if r.Mode == ModeOff {
			o.outcome = verdict.OutcomeUnchecked
			o.reasons = []verdict.Reason{{Code: verdict.PolicyOff, Text: fmt.Sprintf("rule %q is off", r.Name)}}
		}
		outcomes = append(outcomes, o)
	}
	res.Decided, res.Passed, res.Rules = false, false, d.ruleNames()
	res.Reasons = []verdict.Reason{reason}
	res.Namespaces = d.v.policy.namespaces(outcomes)
	res.Explanation = d.explain(res, outcomes, 0)
	return res, nil
}

// explain builds the tree for people.
func (d *decision) explain(res *Result, outcomes []ruleOutcome, candidates int) *Explanation {
	root := &Explanation{Text: "image " + res.Image.String(), State: StateUnmet}
	if res.Passed {
		root.State = StateMet
	}
	// Concatenation, because most of these texts are made for nobody.
	root.add(note("policy "+d.v.policy.name+", "+string(d.v.policy.digest)), note(strconv.Itoa(candidates)+" candidates were found"))
	for _, o := range outcomes {
		r := &Explanation{Text: "rule " + strconv.Quote(o.rule.Name) + ", mode " + o.rule.Mode + ": " + string(o.outcome), State: StateUnmet}
		if len(o.rule.Namespaces) > 0 {
			r.Text += ", in namespaces " + strings.Join(o.rule.Namespaces, ", ")
		}
		switch o.outcome {
		case verdict.OutcomePass:
			r.State = StateMet
		case verdict.OutcomeUnchecked:
			r.State = StateNote
		case verdict.OutcomeAuditFail, verdict.OutcomeFail:
			if len(o.reasons) > 0 {
				r.Reason = &o.reasons[0]
			}
		}
		for _, s := range d.demands {
			if s.rule == o.rule {
				r.add(s.explain(candidates))
			}
		}
		if m := d.images[o.rule]; m != nil {
			r.add(m.explanations...)
		}
		if o.exception != nil {
			r.add(note(o.exception.reason().Text))
		}
		root.add(r)
	}
	return root
}

func (s *demandState) explain(candidates int) *Explanation {
	n := &Explanation{Text: fmt.Sprintf("%s by %d of %d authorities: %d", s.kindName(), s.require, len(s.authorities), s.distinct()), State: StateMet}
	if !s.met {
		n.State = StateUnmet
		if why := s.reasons(candidates); len(why) > 0 {
			n.Reason = &why[0]
		}
	}
	for _, a := range s.authorities {
		child := &Explanation{Text: "authority " + strconv.Quote(a.name), State: StateUnmet}
		for _, x := range s.accepted {
			if x.authority == a {
				child.State = StateMet
				child.add(&Explanation{Text: x.candidate.name + ": signed by " + x.fact.describe(), State: StateMet})
				for _, w := range x.warnings {
					child.add(note(w))
				}
			}
		}
		for _, x := range s.rejected {
			if x.authority == a.name || x.authority == "" {
				child.add(&Explanation{Text: x.candidate, State: StateUnmet, Reason: &x.reason})
			}
		}
		if child.State == StateUnmet {
			child.Want = s.kindName() + " by " + a.describe()
		}
		n.add(child)
	}
	return n
}

// describe says who an authority is.
func (a *authority) describe() string {
	switch {
	case a.Key != nil:
		return "key " + string(a.spki)
	case a.X509 != nil:
		return a.describeX509()
	case a.TUF != nil:
		return "TUF repository " + a.TUF.Repository
	case a.NotaryV1 != nil:
		return "Docker Content Trust " + a.NotaryV1.Role
	case a.Notation != nil:
		return strings.Join(a.Notation.Subjects, " or ") + " of " + strings.Join(a.Notation.TrustStores, " or ")
	}
	return fmt.Sprintf("%s of %s", a.Keyless.Subject+a.Keyless.SubjectPattern, a.Keyless.Issuer)
}

func (f *fact) describe() string {
	who := "key " + string(f.signer.key)
	if f.signer.certificate != "" || f.list != "" {
		who = f.signer.san + " of " + f.signer.issuer
	}
	if len(f.times) > 0 {
		who += " at " + f.times[0].UTC().Format(time.RFC3339)
	}
	return who
}

// isFailure says whether err means that nothing was decided.
func isFailure(err error) bool { return err != nil && !verdict.Refused(err) }
