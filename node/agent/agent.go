// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
)

// Limits and intervals of an agent.
const (
	// maxImages bounds the images that are kept; the one asked for longest ago
	// goes first.
	maxImages = 4096
	// maxLogMarks, maxBootMarks and maxPlatformMarks bound the marks.
	maxLogMarks      = 256
	maxBootMarks     = 256
	maxPlatformMarks = 256
	// maxKeys bounds what is kept of attestation keys.
	maxKeys = 256
	// keep is for how long an image that nobody asks for is renewed and kept.
	keep = 24 * time.Hour
	// retryDisk is how often a disk that could not be written is tried again.
	retryDisk = 5 * time.Second
	// tidyEvery is how often what has ended is removed.
	tidyEvery = 10 * time.Minute
	// reportEvery is how often uses of exceptions are looked for.
	reportEvery = 3 * time.Second
)

// An agent is one running agent.
type agent struct {
	config  trust.Config
	gate    gate.Config
	log     *slog.Logger
	store   *store
	heads   *trust.Heads
	work    sync.WaitGroup // every goroutine of the agent
	stopped context.Context

	slots chan struct{} // misses that are asked at once

	// changed is closed and replaced when a session becomes ready or fails, so
	// that those who wait for a daemon look again.
	mu       sync.Mutex
	changed  chan struct{}
	sessions []*session
	accepted map[verdict.Digest]trust.Appraisal
	known    []attest.KnownAK
	marks    gate.Marks
	status   pulse                    // the newest
	pulses   map[verdict.Digest]pulse // the newest by each statement
	// generation counts changes of head, statements and status, from 1.
	generation uint64
	images     map[string]*entry
	flights    map[string]*flight
}

// A pulse is a status that was accepted.
type pulse struct {
	token string
	at    int64          // its iat
	of    verdict.Digest // the statement that it is under
}

// Run is the agent of one node until ctx ends; then it returns nil once all has
// stopped. It returns a *verdict.Misuse for a configuration, folder or socket that
// it cannot use. A daemon or Workload API that is not there is no reason to stop:
// what is in the folder is served.
func Run(ctx context.Context, c trust.Config, log *slog.Logger) error {
	gateConfig, err := c.Gate()
	if err != nil {
		return err
	}
	if _, err := c.Trust(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := openStore(c.StateDir, log)
	if err != nil {
		return err
	}
	a := &agent{
		config: c, gate: gateConfig, log: log, store: st, stopped: ctx, slots: make(chan struct{}, maxFetches), changed: make(chan struct{}),
		accepted: map[verdict.Digest]trust.Appraisal{}, pulses: map[verdict.Digest]pulse{}, images: map[string]*entry{}, flights: map[string]*flight{},
		generation: 1,
	}
	for _, address := range c.Daemons {
		a.sessions = append(a.sessions, newSession(a, address))
	}
	err = a.load()
	if err == nil {
		err = a.run(ctx, cancel)
	}
	cancel()
	a.work.Wait()
	return errors.Join(err, st.close())
}

// run starts all parts and waits for the end.
func (a *agent) run(ctx context.Context, cancel context.CancelFunc) error {
	l, err := a.listen(ctx)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	a.work.Go(func() {
		failed <- a.serve(ctx, l)
		cancel() // without its socket an agent is of no use
	})
	a.work.Go(func() { a.connect(ctx) })
	a.work.Go(func() { a.renew(ctx) })
	a.work.Go(func() { every(ctx, retryDisk, a.store.flush) })
	a.work.Go(func() { every(ctx, tidyEvery, a.tidy) })
	a.work.Go(func() { every(ctx, reportEvery, func() { a.reportUses(ctx) }) })
	a.log.InfoContext(ctx, "serving gates", "path", a.config.Socket, "node", a.config.Node)
	<-ctx.Done()
	return <-failed
}

func every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f()
		}
	}
}

// connect opens the Workload API, as often as it takes, and then keeps the sessions.
func (a *agent) connect(ctx context.Context) {
	var src *spiffe.Source
	last := verdict.Code("none")
	a.log.InfoContext(ctx, "asking for the own identity", "path", a.config.WorkloadAPI)
	for src == nil {
		var err error
		src, err = spiffe.OpenSource(ctx, a.config.WorkloadAPI)
		if err == nil {
			if err = src.CheckID(a.config.Node); err != nil {
				err = errors.Join(err, src.Close())
				src = nil
			}
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			if code := verdict.CodeOf(err); code != last {
				last = code
				a.log.ErrorContext(ctx, "no SVID, so no daemon is asked", "code", code, "err", withHint(err))
			}
			for _, s := range a.sessions {
				s.fail(err)
			}
			wait(ctx, time.Second)
		}
	}
	if src == nil {
		return
	}
	var sessions sync.WaitGroup
	for _, s := range a.sessions {
		sessions.Go(func() { s.keep(ctx, src) })
	}
	sessions.Wait()
	if err := src.Close(); err != nil {
		a.log.WarnContext(ctx, "closing the Workload API", "err", err)
	}
}

// withHint adds to an error what its code says to do.
func withHint(err error) string {
	if info, ok := verdict.CodeOf(err).Info(); ok {
		return err.Error() + "; " + info.Hint
	}
	return err.Error()
}

// wait waits, and tells whether ctx still lives.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// load reads the state folder. What is in it counts as far as it verifies today:
// heads by owners, statements by their evidence, tickets when they are used.
func (a *agent) load() error {
	marks, err := a.store.state.Marks()
	if err != nil {
		// Marks are what must not go back; without them a rollback would pass.
		return verdict.Misused("restore the folder, or remove it to begin anew at min-head", "loading state: %w", err)
	}
	a.marks = marks
	a.marks.V = 1
	a.heads = trust.NewHeads(a.config, marks)
	a.loadHead()
	a.loadIssuers()
	if data, err := a.store.read(gate.StatusFile, gate.MaxRecord); err == nil && data != nil {
		if record, err := gate.ParseStatusRecord(data); err == nil {
			if s, err := verdict.OpenStatus(record.Status, a.issuersLocked()); err == nil {
				a.status = pulse{record.Status, s.Iat, s.Stmt}
				a.pulses[s.Stmt] = a.status
			}
		}
	}
	a.checkExceptions()
	return a.loadImages()
}

// checkExceptions says which files among the exceptions are none: a gate passes them
// over in silence, and whoever put them there would learn of it when it is too late.
func (a *agent) checkExceptions() {
	owners := a.gate.Owners
	owners.After = a.gate.MinHead
	if head, _, ok := a.heads.Current(); ok {
		owners = head.Owners
	}
	_, problems := a.store.state.Exceptions(owners)
	for _, err := range problems {
		a.log.Warn("file is no exception of the owners", "path", gate.ExceptionsDir, "code", verdict.CodeOf(err), "err", err)
	}
}

func (a *agent) loadHead() {
	for _, name := range []string{fullHeadFile, gate.HeadFile} {
		data, err := a.store.read(name, verdict.MaxHeadSet)
		if data == nil && err == nil {
			continue
		}
		if err == nil {
			var set verdict.HeadSet
			if set, err = verdict.ParseHeadSet(data); err == nil {
				_, err = a.heads.Offer(set, time.Now())
			}
		}
		if err != nil {
			a.log.Error("head on disk is not accepted", "path", name, "code", verdict.CodeOf(err), "err", err)
		}
	}
	if head, _, ok := a.heads.Current(); ok {
		// A crash between the two files, or a damaged one, left the gates with another
		// head than this, and no daemon offers what is held already.
		a.saveHead()
		a.log.Info("head loaded", "head", head.Counter)
	}
}

func (a *agent) loadIssuers() {
	if data, err := a.store.read(keysFile, gate.MaxRecord); err != nil || data != nil && json.Unmarshal(data, &a.known) != nil {
		a.log.Warn("attestation keys on disk are not readable, they will be proven again", "path", keysFile)
		a.known = nil
	}
	data, err := a.store.read(gate.IssuersFile, gate.MaxIssuersFile)
	if data == nil && err == nil {
		return
	}
	var list gate.Issuers
	if err == nil {
		list, err = gate.ParseIssuers(data)
	}
	if err != nil {
		a.log.Error("accepted statements on disk are not readable, daemons will be appraised again", "path", gate.IssuersFile, "err", err)
		return
	}
	head, _, _ := a.heads.Current()
	for _, i := range list.Issuers {
		collection, err := a.store.read(collectionFile(i.Collection), attest.MaxCollectionSize)
		old := trust.Appraisal{Issuer: i.Issuer, Collection: collection, Accepted: time.Unix(i.Accepted, 0)}
		if nonce, herr := hex.DecodeString(i.Nonce); herr == nil {
			copy(old.Nonce[:], nonce)
		}
		var judged trust.Appraisal
		if err == nil {
			judged, err = a.rejudge(old, head, time.Now())
		}
		if err != nil {
			a.log.Warn("statement on disk is not accepted any more", "digest", i.Issuer.Digest, "code", verdict.CodeOf(err), "err", err)
			continue
		}
		a.accepted[i.Issuer.Digest] = judged
	}
}

// rejudge judges a statement under a head. One that has ended is kept while images
// may run by it offline, and is judged as of its last second.
func (a *agent) rejudge(old trust.Appraisal, head verdict.CheckedHead, at time.Time) (trust.Appraisal, error) {
	if end := time.Unix(old.Issuer.Statement.NotAfter, 0); !at.Before(end) {
		if !at.Before(end.Add(gate.MaxOffline)) {
			return trust.Appraisal{}, old.Issuer.Statement.CheckAt(at)
		}
		if err := gate.Standing(head, old.Issuer, a.config.Profile == verdict.Development, at); err != nil {
			return trust.Appraisal{}, err
		}
		at = end.Add(-time.Second)
	}
	// An older quote of a TPM that has quoted since is no step back: its counters
	// were compared when it was fresh. What counts again is the proof of its key.
	proofs := slices.Clone(a.known)
	for i := range proofs {
		proofs[i].Resets, proofs[i].Restarts, proofs[i].Clock = 0, 0, 0
	}
	return a.config.Rejudge(old, head, proofs, at)
}

// issuersLocked returns the accepted issuers. The caller holds mu, or is alone.
func (a *agent) issuersLocked() []verdict.Issuer {
	out := make([]verdict.Issuer, 0, len(a.accepted))
	for _, x := range a.accepted {
		out = append(out, x.Issuer)
	}
	return out
}

func (a *agent) issuers() []verdict.Issuer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issuersLocked()
}

// offerHead gives a head set to the keeper, and where it changes what is held,
// stores it and judges the accepted statements again.
func (a *agent) offerHead(raw []byte, from string) error {
	set, err := verdict.ParseHeadSet(raw)
	if err != nil {
		return err
	}
	changed, err := a.heads.Offer(set, time.Now())
	if err != nil {
		code := verdict.CodeOf(err)
		if code == verdict.HeadRollback {
			// On its way while another daemon brought a newer one, or of a daemon that
			// is behind: its status tells, and it is given the newer one.
			a.log.Info("older head was offered", "peer", from, "code", code)
			return nil
		}
		a.log.Error("offered head is not accepted", "peer", from, "code", code, "err", err)
		return err
	}
	if changed {
		a.headChanged()
	}
	return nil
}

// saveHead stores the head that is held now. The order is that of a reader's
// safety: the head before the marks that demand it.
func (a *agent) saveHead() {
	a.store.save(fullHeadFile, func() (any, error) {
		head, _, _ := a.heads.Current()
		return head.Set.Encode()
	})
	a.store.save(gate.HeadFile, func() (any, error) {
		head, _, _ := a.heads.Current()
		return trust.Slim(head)
	})
	a.mu.Lock()
	a.heads.Mark(&a.marks)
	a.mu.Unlock()
	a.saveMarks()
}

// headChanged judges what is held by the head that is held now, and stores that head
// before what rests on it.
func (a *agent) headChanged() {
	head, _, ok := a.heads.Current()
	if !ok {
		return
	}
	a.log.Info("head loaded", "head", head.Counter)
	a.mu.Lock()
	a.generation++
	for digest, old := range a.accepted {
		judged, err := a.rejudge(old, head, time.Now())
		if err != nil {
			a.log.Error("statement is not accepted under the new head", "digest", digest, "head", head.Counter, "code", verdict.CodeOf(err), "err", err)
			delete(a.accepted, digest)
			continue
		}
		a.accepted[digest] = judged
	}
	a.choosePulse()
	for _, e := range a.images {
		if len(e.tickets) > 0 {
			e.due = time.Now()
		}
	}
	a.mu.Unlock()
	a.saveHead()
	a.saveIssuers()
	a.saveStatus()
	for _, s := range a.sessions {
		s.poke()
	}
}

// choosePulse takes the newest status by a statement that is accepted: where that of
// another daemon was newer, and the daemon is none any more, what the others say
// still counts. The caller holds mu.
func (a *agent) choosePulse() {
	for of := range a.pulses {
		if _, ok := a.accepted[of]; !ok {
			delete(a.pulses, of)
		}
	}
	if _, ok := a.pulses[a.status.of]; ok || len(a.pulses) == 0 {
		return
	}
	a.status = pulse{}
	for _, p := range a.pulses {
		if p.at >= a.status.at {
			a.status = p
		}
	}
}

func (a *agent) saveStatus() {
	a.store.save(gate.StatusFile, func() (any, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return json.Marshal(gate.StatusRecord{V: 1, Status: a.status.token})
	})
}

func (a *agent) saveMarks() {
	a.store.save(gate.MarksFile, func() (any, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return json.Marshal(a.marks)
	})
}

func (a *agent) saveIssuers() {
	a.store.save(gate.IssuersFile, func() (any, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		list := gate.Issuers{V: 1}
		for _, d := range slices.Sorted(maps.Keys(a.accepted)) {
			x := a.accepted[d]
			list.Issuers = append(list.Issuers, gate.AcceptedIssuer{
				Issuer: x.Issuer, Collection: verdict.SHA256(x.Collection), Nonce: hex.EncodeToString(x.Nonce[:]), Accepted: x.Accepted.Unix(),
			})
		}
		return json.Marshal(list)
	})
}

// accept takes a statement that was appraised, unless a newer one of the same boot
// was seen: an older one would bring back what it left behind.
func (a *agent) accept(x trust.Appraisal) error {
	s := x.Issuer.Statement
	a.mu.Lock()
	if head, _, _ := a.heads.Current(); head.Digest != s.Head.Digest {
		a.mu.Unlock()
		return errAgain // a newer head came while it was appraised under this one
	}
	if err := a.markPlatform(x); err != nil {
		a.mu.Unlock()
		return err
	}
	i := slices.IndexFunc(a.marks.Boots, func(m gate.BootMark) bool { return m.Boot == s.Boot })
	if i >= 0 && a.marks.Boots[i].Seq > s.Seq {
		seq := a.marks.Boots[i].Seq
		a.mu.Unlock()
		return verdict.Refuse(verdict.IssuerRollback, "statement %d of boot %.32q came after %d was seen", s.Seq, s.Boot, seq)
	}
	if i < 0 {
		a.marks.Boots = append(a.marks.Boots, gate.BootMark{Boot: s.Boot})
		i = len(a.marks.Boots) - 1
	}
	a.marks.Boots[i].Seq, a.marks.Boots[i].Seen = s.Seq, time.Now().Unix()
	if len(a.marks.Boots) > maxBootMarks {
		a.marks.Boots = slices.Delete(a.marks.Boots, oldestBoot(a.marks.Boots), oldestBoot(a.marks.Boots)+1)
	}
	_, again := a.accepted[x.Issuer.Digest]
	a.accepted[x.Issuer.Digest] = x
	a.generation++
	if ak := x.Result.AK; ak.AK != "" {
		a.known = append(slices.DeleteFunc(a.known, func(k attest.KnownAK) bool { return k.AK == ak.AK }), ak)
		a.known = a.known[max(0, len(a.known)-maxKeys):]
	}
	a.mu.Unlock()
	if err := a.markLog(verdict.LogMark{Origin: x.Checkpoint.Origin, Size: x.Checkpoint.Size, Root: rootText(x.Checkpoint.Root)}); x.Checkpoint.Size > 0 && err != nil {
		return err
	}
	a.store.save(collectionFile(verdict.SHA256(x.Collection)), func() (any, error) { return x.Collection, nil })
	a.store.save(keysFile, func() (any, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return json.Marshal(a.known)
	})
	a.saveIssuers()
	a.saveMarks()
	if again {
		return nil
	}
	a.log.Info("statement accepted", "digest", x.Issuer.Digest, "peer", s.Issuer, "head", s.Head.Counter)
	if x.Simulated {
		a.log.Warn("daemon is simulated, nothing is proven about its hardware", "digest", x.Issuer.Digest)
	}
	if x.Unwitnessed {
		a.log.Warn("log of the daemon is unwitnessed", "digest", x.Issuer.Digest)
	}
	// Tickets under an older head can be had anew now.
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.images {
		if len(e.tickets) > 0 && e.tickets[0].ticket.Head < s.Head.Counter {
			e.due = time.Now()
		}
	}
	return nil
}

// markPlatform raises the mark of a TDX platform. Collateral of an edition before one
// that the same platform came with is what its host kept back. The caller holds mu.
func (a *agent) markPlatform(x trust.Appraisal) error {
	if x.Result.Evaluation == 0 {
		return nil
	}
	marks := a.marks.Platforms
	i := slices.IndexFunc(marks, func(m gate.PlatformMark) bool { return m.Chip == x.Issuer.Chip })
	switch {
	case i >= 0 && x.Result.Evaluation < marks[i].Evaluation:
		return verdict.Fail(verdict.EndorsementRollback, "statement %s comes with collateral of evaluation number %d, and %d was seen of its platform", x.Issuer.Digest.Short(), x.Result.Evaluation, marks[i].Evaluation)
	case i >= 0:
		marks = slices.Delete(marks, i, i+1)
	case len(marks) >= maxPlatformMarks:
		marks = slices.Delete(marks, 0, 1)
	}
	// The one that was seen last is last.
	a.marks.Platforms = append(marks, gate.PlatformMark{Chip: x.Issuer.Chip, Evaluation: x.Result.Evaluation, Seen: time.Now().Unix()})
	return nil
}

func oldestBoot(marks []gate.BootMark) int {
	oldest := 0
	for i, m := range marks {
		if m.Seen < marks[oldest].Seen {
			oldest = i
		}
	}
	return oldest
}

// markLog raises the mark of a log. A smaller tree than one seen, or another of the
// same size, is a log with two histories.
func (a *agent) markLog(m verdict.LogMark) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, seen := range a.marks.Logs {
		if seen.Origin != m.Origin {
			continue
		}
		if m.Size < seen.Size {
			// An older checkpoint may have overtaken a newer one on the way; only
			// another tree of one size is proof of a fork, and a daemon that
			// stays behind is noticed by its status.
			return nil
		}
		if err := m.CheckAfter(seen.LogMark); err != nil {
			return err
		}
		a.marks.Logs[i] = gate.LogMark{LogMark: m, Seen: time.Now().Unix()}
		return nil
	}
	a.marks.Logs = append(a.marks.Logs, gate.LogMark{LogMark: m, Seen: time.Now().Unix()})
	if len(a.marks.Logs) > maxLogMarks {
		oldest := 0
		for i, l := range a.marks.Logs {
			if l.Seen < a.marks.Logs[oldest].Seen {
				oldest = i
			}
		}
		a.marks.Logs = slices.Delete(a.marks.Logs, oldest, oldest+1)
	}
	return nil
}

// seen raises the highest time that was seen in something signed, and which is
// within the skew of the node's clock.
func (a *agent) seen(iat int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.marks.Time = max(a.marks.Time, iat)
}

// checkSkew refuses what was signed by a clock that differs from the node's by more
// than the skew: one of the two is wrong, and neither can tell.
func checkSkew(what string, iat int64, at time.Time) error {
	signed := time.Unix(iat, 0)
	if d := at.Sub(signed).Abs(); d > verdict.MaxSkew {
		return verdict.Refuse(verdict.TicketNotYetValid, "%s was signed at %s, this node's clock says %s, want at most %s between them",
			what, signed.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339), verdict.MaxSkew)
	}
	return nil
}

// notify wakes those who wait for a session.
func (a *agent) notify() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}
