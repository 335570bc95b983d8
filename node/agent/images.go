// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// Limits and times of images.
const (
	// maxFetches bounds the misses that are asked at once.
	maxFetches = 32
	// fetchTimeout is how long a miss may take, also after the gate has gone: the
	// runtime tries again and then finds the ticket.
	fetchTimeout = time.Minute
	// proofRetry is the time between two looks at the log.
	proofRetry = 250 * time.Millisecond
	// maxTickets bounds the tickets of one image.
	maxTickets = gate.MaxQuorum
	// renewRetry is how long after a failed renewal the next one comes.
	renewRetry = 30 * time.Second
	// maxBatch bounds a batch of renewals.
	maxBatch = 64
)

// maxProofDelay is how long after a ticket its leaf must be found in the log. Only a
// test changes it.
var maxProofDelay = time.Minute

// An entry is what is known about one image. The agent's mu guards it.
type entry struct {
	image   gate.Image
	tickets []held // newest first
	known   map[string]int64
	asked   time.Time
	due     time.Time // when to renew, zero for never

	// Of the last look that let through: what it rested on, and until when it is
	// not repeated. A gate makes the whole check itself.
	lookedAt time.Time
	looked   uint64
}

// lookAgain is how long a look that let through is not repeated while nothing that
// it rests on has changed: what ends in between is the gate's to see.
const lookAgain = time.Second

// held is a ticket that was opened.
type held struct {
	token  string
	ticket verdict.Ticket
	boot   string // of who decided
	proven bool   // its leaf was found, or it has none
}

// A flight is one miss that is being asked.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

func (e *entry) record() gate.ImageRecord {
	r := gate.ImageRecord{V: 1, Repository: e.image.Repository, Digest: e.image.Digest, Known: e.known, Asked: e.asked.Unix()}
	for _, h := range e.tickets {
		r.Tickets = append(r.Tickets, h.token)
		if h.proven {
			r.Proven = append(r.Proven, h.ticket.Jti)
		}
	}
	return r
}

// touch returns the entry of an image that is asked for. The caller holds mu.
func (a *agent) touch(image gate.Image) *entry {
	key := gate.ImageKey(image.Repository, image.Digest)
	e, ok := a.images[key]
	if !ok {
		if len(a.images) >= maxImages {
			a.evict()
		}
		e = &entry{image: image}
		a.images[key] = e
	}
	e.asked = time.Now()
	return e
}

// saveImage stores the record of an image.
func (a *agent) saveImage(image gate.Image) {
	a.store.save(imageFile(image), func() (any, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		e, ok := a.images[gate.ImageKey(image.Repository, image.Digest)]
		if !ok {
			return nil, errors.New("image is not kept any more")
		}
		return json.Marshal(e.record())
	})
}

// loadImages reads what was kept about images. A ticket whose statement is not
// accepted any more is of no use.
func (a *agent) loadImages() error {
	names, err := a.store.list(gate.ImagesDir)
	if err != nil {
		return verdict.Misused("", "loading state: %w", err)
	}
	issuers := a.issuersLocked()
	for _, name := range names {
		data, err := a.store.read(name, gate.MaxRecord)
		var r gate.ImageRecord
		if err == nil {
			r, err = gate.ParseImageRecord(data)
		}
		image := gate.Image{Repository: r.Repository, Digest: r.Digest}
		if err != nil || imageFile(image) != name || len(a.images) >= maxImages {
			a.log.Warn("record of an image is not used", "path", name, "err", err)
			continue
		}
		e := &entry{image: image, known: r.Known, asked: time.Unix(r.Asked, 0)}
		for _, token := range r.Tickets[:min(len(r.Tickets), maxTickets)] {
			t, _, err := verdict.OpenTicket(token, issuers)
			if err != nil {
				continue
			}
			h := held{token: token, ticket: t, boot: deciderOf(t, issuers).Statement.Boot, proven: t.Log == nil || slices.Contains(r.Proven, t.Jti)}
			e.tickets = append(e.tickets, h)
			if !h.proven {
				a.work.Go(func() { a.prove(image, t) })
			}
		}
		e.schedule()
		a.images[gate.ImageKey(image.Repository, image.Digest)] = e
	}
	return nil
}

// deciderOf returns who decided, by the key that signed the core, or the zero value.
func deciderOf(t verdict.Ticket, issuers []verdict.Issuer) verdict.Issuer {
	for _, i := range issuers {
		if _, ok := i.Statement.Key(t.By, verdict.UseVerdict); ok || t.Core == "" && i.Digest == t.Stmt {
			return i
		}
	}
	return verdict.Issuer{}
}

// schedule sets when the newest ticket is renewed: at half of its life, ±20 % so
// that a fleet does not ask at once. Denials and what has no core are not renewed:
// they live for a minute and are asked for again.
func (e *entry) schedule() {
	e.due = time.Time{}
	if len(e.tickets) == 0 {
		return
	}
	t := e.tickets[0].ticket
	life := time.Duration(t.Exp-t.Iat) * time.Second
	if life <= verdict.MaxDenialLife {
		return
	}
	var raw [4]byte
	_, _ = rand.Read(raw[:]) // it never returns an error
	share := 0.8 + 0.4*float64(binary.BigEndian.Uint32(raw[:]))/float64(1<<32)
	e.due = time.Unix(t.Iat, 0).Add(time.Duration(share * float64(life) / 2))
}

// answer is what a gate gets: from memory if that lets through or denies for good,
// else after a daemon was asked.
func (a *agent) answer(ctx context.Context, q gate.Request) gate.Answer {
	repository, _, err := gate.ParseName(q.Name)
	if err != nil {
		return gate.Answer{Code: verdict.CodeOf(err), Text: verdict.ReasonOf(err).Text}
	}
	image := gate.Image{Repository: repository, Digest: q.Digest}
	out, d := a.look(image)
	if d.Allowed() || !a.worthAsking(image) {
		return out
	}
	ferr := a.fetch(ctx, image)
	out, d = a.look(image)
	if ferr != nil && !d.Allowed() && len(out.Tickets) == 0 {
		reason := verdict.ReasonOf(ferr)
		out.Code, out.Text = reason.Code, reason.Text
	}
	if ferr != nil {
		a.log.InfoContext(ctx, "daemons gave no ticket", "image", image.Repository, "digest", image.Digest, "code", verdict.CodeOf(ferr), "err", ferr)
	}
	return out
}

// look judges an image by what is in memory, as the gate will, and notes that it was
// let through.
func (a *agent) look(image gate.Image) (gate.Answer, gate.Decision) {
	now := time.Now()
	head, since, have := a.heads.Current()
	a.mu.Lock()
	e := a.touch(image)
	out := a.collect(e)
	generation := a.generation
	if e.looked == generation && now.Sub(e.lookedAt).Abs() < lookAgain {
		a.mu.Unlock()
		return out, gate.Decision{Outcome: verdict.OutcomePass}
	}
	k := gate.Knowledge{Config: a.gate, Head: head, Marks: a.marks}
	// The marks of a gate come from disk, which may be behind; the keeper of heads
	// knows better.
	k.Marks.Head, k.Marks.HeadSince = verdict.HeadRef{Counter: head.Counter, Digest: head.Digest}, since.Unix()
	a.mu.Unlock()
	k.Config.Mode = gate.Enforce
	if !have {
		k.HeadErr = verdict.Fail(verdict.HeadMissing, "this node has no head yet")
	}
	d := gate.Judge(k, image, out, now)
	if !d.Allowed() || d.Offline {
		return out, d
	}
	a.mu.Lock()
	e.looked, e.lookedAt = generation, now
	first := e.known[""] == 0
	if first {
		if e.known == nil {
			e.known = map[string]int64{}
		}
		e.known[""] = now.Unix()
	}
	out.Known = e.known[""]
	a.mu.Unlock()
	if first {
		a.saveImage(image)
		// Only what was let through before a status counts offline: get one.
		for _, s := range a.sessions {
			s.poke()
		}
	}
	return out, d
}

// collect makes an answer of an entry. The caller holds mu.
func (a *agent) collect(e *entry) gate.Answer {
	out := gate.Answer{Status: a.status.token, Known: e.known[""]}
	need := map[verdict.Digest]bool{a.status.of: true}
	for _, h := range e.tickets {
		if len(out.Tickets) >= a.gate.Quorum+1 {
			break
		}
		out.Tickets = append(out.Tickets, h.token)
		need[h.ticket.Stmt] = true
		for digest, x := range a.accepted {
			if _, ok := x.Issuer.Statement.Key(h.ticket.By, verdict.UseVerdict); ok {
				need[digest] = true
			}
		}
	}
	for digest := range need {
		if x, ok := a.accepted[digest]; ok {
			out.Statements = append(out.Statements, x.Issuer)
		}
	}
	return out
}

// worthAsking tells whether a daemon may know better than what is in memory. What
// owners denied on this node needs no question, and neither does a fresh denial.
func (a *agent) worthAsking(image gate.Image) bool {
	now := time.Now()
	if head, _, ok := a.heads.Current(); ok {
		deny := head.DenyAt(now)
		if deny.DeniesImage(image.Digest) || deny.DeniesRepository(image.Repository) {
			return false
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.images[gate.ImageKey(image.Repository, image.Digest)]
	if e == nil || len(e.tickets) == 0 {
		return true
	}
	t := e.tickets[0].ticket
	outcome, _ := t.Outcome("")
	head, _, _ := a.heads.Current()
	return outcome != verdict.OutcomeFail || now.Unix() >= t.Exp || t.Head != head.Counter
}

// fetch asks daemons about an image, once for all who wait, and waits until there
// is an answer or ctx ends. The question goes on without its askers.
func (a *agent) fetch(ctx context.Context, image gate.Image) error {
	key := gate.ImageKey(image.Repository, image.Digest)
	a.mu.Lock()
	f, ok := a.flights[key]
	if !ok {
		if a.stopped.Err() != nil {
			a.mu.Unlock()
			return verdict.Fail(verdict.AgentUnreachable, "the agent is stopping")
		}
		f = &flight{done: make(chan struct{})}
		a.flights[key] = f
		a.work.Go(func() {
			bounded, cancel := context.WithTimeout(a.stopped, fetchTimeout)
			defer cancel()
			// An earlier question may have been answered after its asker looked.
			var err error
			if _, d := a.look(image); !d.Allowed() && a.worthAsking(image) {
				err = a.ask(bounded, image)
			}
			a.mu.Lock()
			delete(a.flights, key)
			a.mu.Unlock()
			f.err = err
			close(f.done)
		})
	}
	a.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return verdict.Fail(verdict.TicketMissing, "no daemon has decided about %s yet; it is still being asked", image)
	}
}

// ask asks as many daemons as the quorum wants, in the order of trust.yaml.
func (a *agent) ask(ctx context.Context, image gate.Image) error {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return verdict.Fail(verdict.Overloaded, "asking about %s: %d questions are open", image, maxFetches)
	}
	if err := a.waitReady(ctx); err != nil {
		return err
	}
	distinct := map[string]bool{}
	var last error
	for _, s := range a.sessions {
		conn, err := s.ready()
		if err == nil && conn != nil {
			if by := a.counts(s); by == "" || distinct[by] {
				continue
			}
			var decider verdict.Issuer
			if decider, err = a.askOne(ctx, s, conn, image); err == nil {
				if by := a.gate.QuorumBy.Of(decider); by != "" {
					distinct[by] = true
				}
				if len(distinct) >= a.gate.Quorum {
					return nil
				}
				continue
			}
		}
		if err != nil {
			last = err
		}
	}
	if len(distinct) > 0 || last == nil {
		return verdict.Fail(verdict.TicketQuorum, "daemons decided about %s that count as %d by %s, want %d", image, len(distinct), cmp.Or(a.gate.QuorumBy, gate.ByBoot), a.gate.Quorum)
	}
	return last
}

// counts returns what a ready session's daemon counts by in a quorum, "" where its
// evidence does not say.
func (a *agent) counts(s *session) string {
	s.mu.Lock()
	digest := s.issuer
	s.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gate.QuorumBy.Of(a.accepted[digest].Issuer)
}

// waitReady waits while no daemon is usable and at least one is still being tried
// for the first time.
func (a *agent) waitReady(ctx context.Context) error {
	for {
		a.mu.Lock()
		changed := a.changed
		a.mu.Unlock()
		trying, last := false, error(nil)
		for _, s := range a.sessions {
			conn, err := s.ready()
			if conn != nil && err == nil {
				return nil
			}
			trying = trying || err == nil
			if err != nil {
				last = err
			}
		}
		if !trying {
			return last
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return verdict.Fail(verdict.DaemonUnreachable, "no daemon is accepted yet")
		}
	}
}

// request is what is asked about an image.
func (a *agent) request(image gate.Image) *assayv1.VerifyRequest {
	head, _, _ := a.heads.Current()
	return &assayv1.VerifyRequest{
		Repository: image.Repository, Digest: string(image.Digest), HeadCounter: head.Counter, OwnCore: a.gate.Quorum > 1,
		Platform: &assayv1.Platform{Os: runtime.GOOS, Architecture: runtime.GOARCH},
	}
}

// askOne asks one daemon, and returns whose verdict it gave.
func (a *agent) askOne(ctx context.Context, s *session, conn *trust.Conn, image gate.Image) (verdict.Issuer, error) {
	q := a.request(image)
	for again := true; ; again = false {
		answer, err := conn.Verify(ctx, q)
		if err != nil {
			err = conn.Err(err)
			a.forget(image, err)
			return verdict.Issuer{}, err
		}
		decider, err := a.takeAnswer(s, image, answer)
		// A ticket by a statement that is not accepted yet, or a core of another
		// daemon that is not: the daemon's own is asked for once.
		if again && verdict.CodeOf(err) == verdict.TicketStatement {
			q.OwnCore = true
			if s.poke(); !wait(ctx, pokeLeast) {
				return verdict.Issuer{}, err
			}
			continue
		}
		return decider, err
	}
}

// takeAnswer checks an answer and keeps its ticket.
func (a *agent) takeAnswer(s *session, image gate.Image, answer *assayv1.VerifyResponse) (verdict.Issuer, error) {
	if set := answer.GetNewerHead(); len(set) > 0 {
		if err := a.offerHead(set, s.address); err != nil {
			return verdict.Issuer{}, err
		}
	}
	token := answer.GetTicket()
	if token == "" {
		for _, r := range answer.GetReasons() {
			err := r.Err()
			a.forget(image, err)
			return verdict.Issuer{}, err
		}
		return verdict.Issuer{}, verdict.Fail(verdict.TicketMissing, "the daemon at %s gave neither a ticket nor a reason", s.address)
	}
	return a.takeTicket(image, token)
}

// forget takes back that an image was let through before, where an accepted daemon
// refuses it without a ticket: no rule, denied, not there. It is not signed, and can
// only withhold. What is said about the caller, a head or a ticket is not about the
// image.
func (a *agent) forget(image gate.Image, err error) {
	family, _, _ := strings.Cut(string(verdict.CodeOf(err)), ".")
	if !verdict.Refused(err) || slices.Contains([]string{"peer", "head", "ticket", "issuer"}, family) {
		return
	}
	a.mu.Lock()
	e, ok := a.images[gate.ImageKey(image.Repository, image.Digest)]
	if ok = ok && len(e.known) > 0; ok {
		e.known, e.looked = nil, 0
	}
	a.mu.Unlock()
	if ok {
		a.saveImage(image)
	}
}

// takeTicket checks a ticket and keeps it.
func (a *agent) takeTicket(image gate.Image, token string) (verdict.Issuer, error) {
	now := time.Now()
	issuers := a.issuers()
	t, _, err := verdict.OpenTicket(token, issuers)
	if err != nil {
		return verdict.Issuer{}, err
	}
	decider := deciderOf(t, issuers)
	boot := decider.Statement.Boot
	switch {
	case boot == "":
		return verdict.Issuer{}, verdict.Refuse(verdict.TicketStatement, "no accepted statement lists the verdict key %.64q, which signed the core", t.By)
	case t.Aud != a.config.Node || t.Cluster != a.config.Cluster:
		return verdict.Issuer{}, verdict.Refuse(verdict.TicketAudience, "ticket is for %.255q in cluster %.128q, this is %s in %s", t.Aud, t.Cluster, a.config.Node, a.config.Cluster)
	case !t.Names(image.Digest):
		return verdict.Issuer{}, verdict.Refuse(verdict.TicketSubject, "ticket is for %s, asked was %s", t.Sub.Short(), image.Digest.Short())
	case t.Repo != image.Repository:
		return verdict.Issuer{}, verdict.Refuse(verdict.TicketRepository, "ticket is for %.128q, asked was %.128q", t.Repo, image.Repository)
	}
	if err := checkSkew("the ticket", t.Iat, now); err != nil {
		return verdict.Issuer{}, err
	}
	a.seen(t.Iat)
	outcome, _ := t.Outcome("")
	a.mu.Lock()
	e, ok := a.images[gate.ImageKey(image.Repository, image.Digest)]
	if !ok {
		e = a.touch(image)
	}
	// One ticket for each who decided; a denial leaves nothing that is older.
	e.tickets = slices.DeleteFunc(e.tickets, func(h held) bool {
		return h.boot == boot || outcome == verdict.OutcomeFail && h.ticket.Iat <= t.Iat
	})
	e.looked = 0
	e.tickets = slices.Insert(e.tickets, 0, held{token: token, ticket: t, boot: boot, proven: t.Log == nil})
	e.tickets = e.tickets[:min(len(e.tickets), maxTickets)]
	if outcome == verdict.OutcomeFail {
		e.known = nil
	}
	e.schedule()
	if t.Log != nil {
		a.work.Go(func() { a.prove(image, t) })
	}
	a.mu.Unlock()
	a.saveImage(image)
	return decider, nil
}

// evict drops the image that was asked for longest ago. The caller holds mu.
func (a *agent) evict() {
	var oldest string
	for key, e := range a.images {
		if oldest == "" || e.asked.Before(a.images[oldest].asked) {
			oldest = key
		}
	}
	if oldest != "" {
		delete(a.images, oldest)
		a.work.Go(func() { a.store.remove(filepath.Join(gate.ImagesDir, oldest+".json")) })
	}
}

// prove finds the leaf of a ticket in the log, within maxProofDelay. A ticket whose
// leaf is not there, or is another, was never written down: it is dropped.
func (a *agent) prove(image gate.Image, t verdict.Ticket) {
	ctx, cancel := context.WithTimeout(a.stopped, maxProofDelay)
	defer cancel()
	for delay := proofRetry; ; delay = min(2*delay, 5*time.Second) {
		err := a.proveOnce(ctx, t)
		if err == nil {
			a.mu.Lock()
			a.settle(image, t, func(h *held) bool { h.proven = true; return false })
			a.mu.Unlock()
			a.saveImage(image)
			return
		}
		if a.stopped.Err() != nil {
			return
		}
		if verdict.Refused(err) && verdict.CodeOf(err) != verdict.LogMissing || !wait(ctx, delay) {
			if a.stopped.Err() != nil {
				return
			}
			a.log.Error("verdict is not in the log, its ticket is dropped", "image", image.Repository, "digest", image.Digest, "jti", t.Jti,
				"log_index", t.Log.Index, "code", verdict.CodeOf(err), "err", err)
			a.mu.Lock()
			a.settle(image, t, func(*held) bool { return true })
			a.mu.Unlock()
			a.saveImage(image)
			return
		}
	}
}

// settle finds a ticket and changes it, or drops it where f says so. The caller
// holds mu.
func (a *agent) settle(image gate.Image, t verdict.Ticket, f func(*held) bool) {
	e := a.images[gate.ImageKey(image.Repository, image.Digest)]
	if e == nil {
		return
	}
	for i := range e.tickets {
		if e.tickets[i].ticket.Jti == t.Jti {
			if f(&e.tickets[i]) {
				e.looked = 0
				e.tickets = slices.Delete(e.tickets, i, i+1)
				e.known = nil
			}
			return
		}
	}
}

func (a *agent) proveOnce(ctx context.Context, t verdict.Ticket) error {
	var ref verdict.LogRef
	for _, i := range a.issuers() {
		if i.Statement.Log.Origin == t.Log.Origin {
			ref = i.Statement.Log
		}
	}
	if ref.Origin == "" {
		return verdict.Fail(verdict.LogUnavailable, "no accepted statement names log %.128q", t.Log.Origin)
	}
	err := error(verdict.Fail(verdict.DaemonUnreachable, "no daemon can be asked for the leaf"))
	for _, s := range a.sessions {
		conn := s.connected()
		if conn == nil {
			continue
		}
		answer, rpc := conn.GetProof(ctx, &assayv1.GetProofRequest{Origin: ref.Origin, Index: t.Log.Index})
		if rpc != nil {
			// What a daemon says about its log proves nothing, also not that
			// the leaf is missing: another may have it.
			err = verdict.Fail(verdict.LogUnavailable, "asking for leaf %d: %s", t.Log.Index, verdict.ReasonOf(conn.Err(rpc)).Text)
			continue
		}
		checkpoint, leaf, bad := a.config.CheckLeaf(ref, t.Log.Index, answer)
		if bad == nil {
			bad = trust.CheckVerdictLeaf(t, leaf)
		}
		if bad == nil {
			bad = a.markLog(verdict.LogMark{Origin: checkpoint.Origin, Size: checkpoint.Size, Root: rootText(checkpoint.Root)})
		}
		return bad
	}
	return err
}
