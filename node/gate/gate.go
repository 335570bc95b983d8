// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/assayd/assay/verdict"
)

// For settle after a new head a denial for what is under the head before is looked at
// again, as often as settlePauses says: what the agent answered may be that, and its
// files come one by one. Without that a change of daemons would deny what both old
// and new let through.
const settle = 2 * time.Second

var settlePauses = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}

// transient are codes of what is under the head before.
var transient = []verdict.Code{
	verdict.StatusRollback, verdict.StatusSignature, verdict.StatusStale, verdict.TicketHead, verdict.TicketStatement, verdict.TicketQuorum,
}

// agentShare is what is kept of the deadline for the check after the agent's
// answer.
const agentShare = 250 * time.Millisecond

// testingOnlyDecide is called with each decision.
var testingOnlyDecide = func() {}

// A Gate decides for one node. It holds nothing between two decisions and is safe
// for concurrent use.
type Gate struct {
	config Config
}

// New makes a gate. The error is a *verdict.Misuse.
func New(c Config) (*Gate, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return &Gate{config: c}, nil
}

// Query is what a container runtime asks.
type Query struct {
	// Name is the image's fully qualified reference, Digest what it resolved to.
	Name, Digest string
	// MediaType and Descriptor are the OCI descriptor of the same.
	MediaType  string
	Descriptor []byte
}

// Decide answers one question at a time given by the node's clock. It waits for the
// agent until the configuration's deadline or that of ctx.
func (g *Gate) Decide(ctx context.Context, q Query, at time.Time) (d Decision) {
	defer func() {
		if p := recover(); p != nil {
			d = denied(verdict.Fail(verdict.Internal, "deciding: panic: %.256v", p))
		}
	}()
	if g == nil || g.config.V == 0 {
		return denied(verdict.Misused("", "the gate has no configuration"))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(g.config.Deadline))
	defer cancel()
	d, err := g.decide(ctx, q, at)
	if err != nil {
		d = denied(err)
		if g.config.Mode == Audit {
			d.Outcome, d.Note = verdict.OutcomeAuditFail, verdict.ReasonOf(err)
		}
	}
	return d
}

func (g *Gate) decide(ctx context.Context, q Query, at time.Time) (Decision, error) {
	testingOnlyDecide()
	if g.config.Mode == Off {
		return Judge(Knowledge{Config: g.config}, Image{}, Answer{}, at), nil
	}
	repository, named, err := ParseName(q.Name)
	if err != nil {
		return Decision{}, err
	}
	digest, err := verdict.ParseDigest(q.Digest)
	if err != nil {
		return Decision{}, verdict.Refuse(verdict.InputMalformed, "reading digest: %w", err)
	}
	if err := CheckDescriptor(q.MediaType, q.Descriptor, digest, named); err != nil {
		return Decision{}, err
	}
	image := Image{Repository: repository, Digest: digest}
	for try := 0; ; try++ {
		d, k, err := g.decideOnce(ctx, q.Name, image, at)
		if err != nil || d.Exception != "" || !slices.Contains(transient, verdict.CodeOf(d.Err)) || try == len(settlePauses) ||
			!k.unsettled(at) || !pause(ctx, settlePauses[try]) {
			return d, err
		}
	}
}

// unsettled tells whether the agent, which answers, has the head since a moment ago,
// or is about to write down since when.
func (k Knowledge) unsettled(at time.Time) bool {
	if k.AgentErr != nil || k.HeadErr != nil || k.Marks.Head.Counter == 0 {
		return false
	}
	return k.Marks.Head.Counter < k.Head.Counter || at.Sub(since(k.Marks, k.Head)).Abs() < settle
}

// pause waits, unless there would be no time for another look then.
func pause(ctx context.Context, long time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < long+2*agentShare {
		return false
	}
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// decideOnce decides by what agent and folder say now, and returns what they said.
func (g *Gate) decideOnce(ctx context.Context, name string, image Image, at time.Time) (Decision, Knowledge, error) {
	// The agent is asked first: it may bring a newer head to the folder meanwhile.
	a, agentErr := g.ask(ctx, name, image.Digest)
	state, err := OpenState(g.config.State, g.config.AgentUID)
	if err != nil {
		return Decision{}, Knowledge{}, verdict.Fail(stateCode(err, verdict.HeadMissing), "deciding about %s: %w", image, err)
	}
	k := g.Knowledge(state, at)
	k.AgentErr = agentErr
	if agentErr != nil {
		if a, err = state.Answer(image.Repository, image.Digest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			// Exceptions work with everything else broken.
			k.AgentErr = errors.Join(agentErr, err)
		}
	}
	d := Judge(k, image, a, at)
	if d.Exception != "" {
		g.noteUse(state, k, &d, image.Digest, at)
	}
	return d, k, nil
}

// ask asks the agent, and leaves time for the check.
func (g *Gate) ask(ctx context.Context, name string, digest verdict.Digest) (Answer, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-agentShare))
		defer cancel()
	}
	return Ask(ctx, g.config.Socket, g.config.AgentUID, Request{Name: name, Digest: digest})
}

// Knowledge reads what owners signed from the state folder.
func (g *Gate) Knowledge(state State, at time.Time) Knowledge {
	k := Knowledge{Config: g.config}
	owners := g.config.Owners
	owners.After = g.config.MinHead
	if k.Marks, k.HeadErr = state.Marks(); k.HeadErr != nil {
		k.HeadErr = verdict.Fail(stateCode(k.HeadErr, verdict.Internal), "%w", k.HeadErr)
		return k
	}
	k.Head, k.HeadErr = state.Head(owners, k.Marks, at)
	if k.HeadErr == nil {
		owners = k.Head.Owners
	}
	k.Exceptions, _ = state.Exceptions(owners) // the agent logs those that are none
	return k
}

// noteUse writes down that an exception was used. A full disk must not take away
// the last way to start something, so a use that cannot be written is told in the
// reason and not refused.
func (g *Gate) noteUse(state State, k Knowledge, d *Decision, digest verdict.Digest, at time.Time) {
	for _, x := range k.Exceptions {
		if string(x.Digest) != d.Exception {
			continue
		}
		if err := state.recordUse(x, digest, at); err != nil {
			d.Note.Text += fmt.Sprintf("; the use could not be written down: %.200v", err)
		}
		return
	}
}
