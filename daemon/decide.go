// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// A question is what a verdict is an answer to: the key of the cache
// (design.md §4.2). It has no caller in it.
type question struct {
	image   verifier.Image
	cluster string
	// What is decided by: digests of policy, roots and deny file, and of the
	// set of deny documents.
	policy, roots, denyFile verdict.Digest
	deny                    string
}

// A decision is the answer to a question: a signed core that is in the log, or
// a result that no core may be made of. It is shared by all who asked and not
// changed.
type decision struct {
	result *verifier.Result
	// core is the signed core, and leaf its place in the log; the zero values
	// where there is none.
	core verdict.SignedCore
	leaf uint64
	// deny names the deny documents applied.
	deny string
	// until is until when it is answered from memory, notAfter until when it
	// holds; notAfter is zero where nothing bounds it.
	until, notAfter time.Time
}

// outcomes are the outcomes by namespace pattern.
func (d *decision) outcomes() map[string]verdict.Outcome {
	out := make(map[string]verdict.Outcome, len(d.result.Namespaces))
	for _, n := range d.result.Namespaces {
		out[n.Pattern] = n.Outcome
	}
	return out
}

// letsThrough tells whether anybody may run the image.
func (d *decision) letsThrough() bool {
	for _, n := range d.result.Namespaces {
		if n.Outcome != verdict.OutcomeFail {
			return true
		}
	}
	return false
}

// A decider answers questions. What it decided lives in memory only and is
// never an error: a question that could not be answered is asked again.
type decider struct {
	config Config
	key    *verdict.Key // of use "verdict"
	shard  appender
	queue  *queue
	log    *slog.Logger
	// base is what verifications run under: a caller that hangs up does not
	// end one, since its retry is to find the answer. It ends with the daemon.
	base context.Context
	work *sync.WaitGroup

	known *lru.TwoQueueCache[question, *decision]

	mu      sync.Mutex
	flights map[question]*flight
}

// A flight is a question that is being answered, for all who ask meanwhile.
type flight struct {
	done chan struct{}
	// caller is who pays for it.
	caller   *caller
	decision *decision
	err      error
}

func newDecider(base context.Context, work *sync.WaitGroup, config Config, key *verdict.Key, shard appender, log *slog.Logger) (*decider, error) {
	known, err := lru.New2Q[question, *decision](config.Limits.Verdicts)
	if err != nil {
		return nil, err
	}
	return &decider{
		config: config, key: key, shard: shard, queue: newQueue(config.Limits), log: log,
		base: base, work: work, known: known, flights: map[question]*flight{},
	}, nil
}

// decide answers whether image may run in cluster, by what e says. The caller
// pays for what is not known yet.
func (d *decider) decide(ctx context.Context, e *epoch, c *caller, cluster string, image verifier.Image) (*decision, error) {
	q := e.question(cluster, image)
	if have, ok := d.known.Get(q); ok && time.Now().Before(have.until) {
		return have, nil
	}
	for {
		f, err := d.flight(q, e, c)
		if err != nil {
			return nil, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, verdict.Fail(verdict.Overloaded, "verifying %s: the call ended before the verification: %w", image, ctx.Err())
		}
		// What the one who began it has used up is not the others' matter: they
		// ask at their own expense.
		if f.caller == c || verdict.CodeOf(f.err) != verdict.Overloaded {
			return f.decision, f.err
		}
	}
}

// flight returns the running flight for q, or begins one.
func (d *decider) flight(q question, e *epoch, c *caller) (*flight, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.flights[q]; ok {
		return f, nil
	}
	if err := c.miss(); err != nil {
		return nil, err
	}
	f := &flight{done: make(chan struct{}), caller: c}
	d.flights[q] = f
	d.work.Go(func() {
		defer close(f.done)
		defer func() {
			if v := recover(); v != nil {
				f.decision, f.err = nil, panicked(d.base, d.log, v, debug.Stack())
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.flights, q)
		}()
		f.decision, f.err = d.answer(q, e, c)
		if f.err == nil && time.Now().Before(f.decision.until) {
			d.known.Add(q, f.decision)
		}
	})
	return f, nil
}

// answer waits for a turn, verifies, and writes down what was decided.
func (d *decider) answer(q question, e *epoch, c *caller) (*decision, error) {
	ctx, cancel := context.WithTimeout(d.base, d.config.Limits.VerifyTimeout)
	defer cancel()
	if err := d.queue.acquire(ctx, c.id); err != nil {
		return nil, err
	}
	result, err := func() (*verifier.Result, error) {
		defer d.queue.release()
		return e.verifier.Verify(ctx, verifier.Request{Image: q.image, At: time.Now()})
	}()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out := &decision{result: result, deny: q.deny, notAfter: result.NotAfter, until: now.Add(d.config.Limits.VerdictLife)}
	if !result.Passed {
		out.until = now.Add(d.config.Limits.DenialLife)
	}
	if !result.NotAfter.IsZero() && result.NotAfter.Before(out.until) {
		out.until = result.NotAfter
	}
	if !result.Decided {
		// Nothing was decided, so there is nothing to keep or write down,
		// unless every rule is off, which costs nothing to find again.
		out.until = time.Time{}
		return out, nil
	}
	if err := c.leaf(); err != nil {
		return nil, err
	}
	if out.core, err = verdict.SignCore(coreOf(d.config, e, q, result), d.key); err != nil {
		return nil, err
	}
	out.leaf, err = d.record(ctx, e, out)
	return out, err
}

// record writes the core down. It returns when that would survive a crash.
func (d *decider) record(ctx context.Context, e *epoch, out *decision) (uint64, error) {
	object, err := audit.Envelope(out.core.Envelope)
	if err != nil {
		return 0, err
	}
	leaf := verdict.Leaf{Kind: verdict.LeafVerdict, Result: verdict.ResultFailed, Time: time.Now(),
		Object: digestBytes(out.core.Digest), Policy: digestBytes(e.head.Policy), Statement: digestBytes(e.statement.digest)}
	if out.result.Passed {
		leaf.Result = verdict.ResultPassed
	}
	index, err := d.shard.Append(ctx, leaf, object)
	if m, ok := errors.AsType[*verdict.Misuse](err); ok {
		// The shard does not know the statement: the one of an epoch whose
		// leaf was lost cannot be.
		return 0, verdict.Fail(verdict.Internal, "writing verdict down: %w", m)
	}
	return index, err
}

// coreOf returns the core that says what was decided.
func coreOf(config Config, e *epoch, q question, r *verifier.Result) verdict.Core {
	c := verdict.Core{Predicate: verdict.CorePredicate{
		Extension: verdict.CoreExtension{
			Cluster: q.cluster, Deny: q.deny, Head: e.head.Counter, Namespaces: map[string]verdict.Outcome{},
			Reasons: r.Reasons, Roots: q.roots, Rules: r.Rules, Salt: randomHex(16),
		},
		InputAttestations:  []verdict.CoreResource{},
		Policy:             verdict.CoreResource{Digest: verdict.DigestMap(q.policy), URI: policyURI},
		ResourceURI:        q.image.Repository,
		TimeVerified:       r.At.UTC().Truncate(time.Second).Format(time.RFC3339),
		VerificationResult: verdict.Failed,
		VerifiedLevels:     []string{verdict.Unevaluated},
		Verifier:           verdict.CoreVerifier{ID: config.SPIFFEID, Version: map[string]string{"assayd": config.Version}},
	}}
	if r.Passed {
		c.Predicate.VerificationResult = verdict.Passed
		if r.BuildLevel > 0 {
			c.Predicate.VerifiedLevels = []string{fmt.Sprintf("SLSA_BUILD_LEVEL_%d", r.BuildLevel)}
		}
	}
	if !r.NotAfter.IsZero() {
		c.Predicate.Extension.NotAfter = r.NotAfter.Unix()
	}
	for _, n := range r.Namespaces {
		c.Predicate.Extension.Namespaces[n.Pattern] = n.Outcome
	}
	for _, i := range r.Identities {
		c.Predicate.Extension.Identities = append(c.Predicate.Extension.Identities,
			verdict.CoreIdentity{Authority: i.Authority, Issuer: i.Issuer, Key: i.Key, SAN: i.SAN})
	}
	for _, i := range r.Inputs {
		c.Predicate.InputAttestations = append(c.Predicate.InputAttestations, verdict.CoreResource{Digest: verdict.DigestMap(i.Digest), URI: i.URI})
	}
	c.Subject = append(c.Subject, subject(q.image.Repository, q.image.Digest))
	for _, p := range r.Platforms {
		if p.Manifest != q.image.Digest && p.Manifest != "" {
			c.Subject = append(c.Subject, subject(q.image.Repository, p.Manifest))
		}
	}
	return c
}

// policyURI names the policy file of a head; its digest says which.
const policyURI = "policy.yaml"

func subject(name string, d verdict.Digest) verdict.CoreSubject {
	return verdict.CoreSubject{Digest: verdict.DigestMap(d), Name: name}
}
