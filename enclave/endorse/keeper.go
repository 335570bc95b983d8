// SPDX-License-Identifier: Apache-2.0

package endorse

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// When a Keeper fetches.
const (
	// refreshEvery is how old what was fetched may get: a list is no use if the next one
	// is not looked for before the last one ends. Half of it to all of it passes, so that
	// machines that started together do not ask together.
	refreshEvery = 24 * time.Hour
	// renewBefore is how long before its end a certificate is fetched anew.
	renewBefore = 30 * 24 * time.Hour
	// soonPart is which part of an endorsement's life is left when the log says that it
	// ends soon, and soonMost how long before its end that is at most: half of the time in
	// which something newer should have come.
	soonPart = 8
	soonMost = renewBefore / 2
	// After a failure it is tried again, first after leastPause, and at last every
	// mostPause.
	leastPause = 30 * time.Second
	mostPause  = time.Hour
	// checkEvery is how old the judgement of what the folder has may get, as long as there
	// is evidence.
	checkEvery = 10 * time.Second
	// roundTimeout bounds fetching one endorsement with all its tries.
	roundTimeout = 2 * time.Minute
)

// A Keeper keeps the folder of one machine filled, and tells the log what evidence goes
// without and what ends soon. What it is told of is
// the evidence that the machine makes: which chip at which TCB is in there.
type Keeper struct {
	fetcher *Fetcher
	folder  *Folder
	log     *slog.Logger

	mu     sync.Mutex
	latest []byte // the newest evidence, until Run takes it
	seen   chan struct{}

	// Those below are Run's.
	platform attest.Platform
	beside   map[string]attest.Item // what came with the newest evidence
	known    bool
	units    map[string]*unit
	checked  time.Time
	// unchecked says that evidence came after that.
	unchecked bool
	lacks     string // what the log said last, if it said anything
	said      bool
	soon      map[string]time.Time // ends that the log has told, by label
}

// A unit is one endorsement of the platform.
type unit struct {
	due, fetched time.Time
	failures     int
}

// NewKeeper makes one. It owns folder and fetcher from then on; [Keeper.Close] closes
// them. Without a folder, which is nil, nothing is fetched: it judges what comes with
// evidence, and tells.
func NewKeeper(fetcher *Fetcher, folder *Folder, log *slog.Logger) *Keeper {
	return &Keeper{fetcher: fetcher, folder: folder, log: log, seen: make(chan struct{}, 1), units: map[string]*unit{}, soon: map[string]time.Time{}}
}

// Close frees what the keeper has. Run must have ended.
func (k *Keeper) Close() error {
	k.fetcher.Close()
	if k.folder == nil {
		return nil
	}
	return k.folder.Close()
}

// Observe tells the keeper of a collection that was made. It waits for nothing.
func (k *Keeper) Observe(collection []byte) {
	k.mu.Lock()
	k.latest = collection
	k.mu.Unlock()
	select {
	case k.seen <- struct{}{}:
	default:
	}
}

// Run fetches what is due until ctx ends. It is called once.
func (k *Keeper) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.seen:
		case <-timer.C:
		}
		if changed := k.look(ctx); changed || time.Since(k.checked) >= checkEvery {
			k.check(ctx, time.Now())
		}
		renewed := false
		for label := range k.dueAt(time.Now()) {
			k.renew(ctx, label)
			renewed = true
		}
		if renewed {
			k.check(ctx, time.Now())
		}
		wait := k.next(time.Now())
		if k.unchecked {
			wait = min(wait, checkEvery)
		}
		timer.Reset(wait)
	}
}

// look takes the newest evidence. Where it is of another platform than before, as after
// an update of firmware, everything is due that the folder does not have of it.
func (k *Keeper) look(ctx context.Context) (changed bool) {
	k.mu.Lock()
	collection := k.latest
	k.latest = nil
	k.mu.Unlock()
	if collection == nil {
		return false
	}
	p, beside, err := attest.PlatformOf(collection)
	if err != nil {
		k.log.WarnContext(ctx, "evidence does not say which endorsements it wants", "code", verdict.CodeOf(err), "err", err)
		return false
	}
	k.beside = beside
	same := k.known && sameMachine(k.platform, p)
	if k.known && p.SNP != nil && p.SNP.Line == "" && same {
		p.SNP.Line = k.platform.SNP.Line
	}
	k.platform, k.known, k.unchecked = p, true, true
	if same {
		return false
	}
	clear(k.soon)
	clear(k.units)
	if k.folder == nil {
		return true
	}
	now := time.Now()
	for _, label := range p.Endorsements() {
		k.units[label] = &unit{due: now}
		if edition, ok := k.have(label, now); ok {
			// When it was fetched nobody knows.
			k.units[label].due = nextOf(label, edition, now, rand.N(refreshEvery)) //nolint:gosec // G404: jitter, no secret
		}
	}
	return true
}

// sameMachine tells whether two platforms want the same endorsements.
func sameMachine(a, b attest.Platform) bool {
	if a.TDX != nil && b.TDX != nil {
		return a.TDX.PCK == b.TDX.PCK
	}
	return a.SNP != nil && b.SNP != nil && a.SNP.Signer == b.SNP.Signer && a.SNP.ChipID == b.SNP.ChipID && a.SNP.ReportedTCB == b.SNP.ReportedTCB
}

// have tells whether there is a good endorsement of a label, and which edition: in the
// folder, or as the host gives it beside the evidence.
func (k *Keeper) have(label string, now time.Time) (attest.Edition, bool) {
	var stored Endorsement
	if k.folder != nil {
		if e, err := k.folder.Read(label); err == nil {
			stored = e
		}
	}
	host := Endorsement{Value: k.beside[label].Value}
	if chain := attest.ChainOf(label); chain != "" {
		host.Chain = k.beside[chain].Value
	}
	for _, e := range []Endorsement{stored, host} {
		if edition, err := k.fetcher.Verify(&k.platform, label, e, now); err == nil {
			return edition, true
		}
	}
	return attest.Edition{}, false
}

// dueAt are the endorsements that are to be fetched, certificates first: they name the
// line of processors whose list is wanted.
func (k *Keeper) dueAt(now time.Time) func(func(string) bool) {
	return func(yield func(string) bool) {
		if !k.known {
			return
		}
		for _, label := range k.platform.Endorsements() {
			if u := k.units[label]; u != nil && !now.Before(u.due) && !yield(label) {
				return
			}
		}
	}
}

// renew fetches an endorsement and stores it.
func (k *Keeper) renew(ctx context.Context, label string) {
	u, name := k.units[label], Files[label].Name
	round, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	now := time.Now()
	stored, err := k.folder.Read(label)
	if err != nil {
		k.log.WarnContext(ctx, "endorsement is not readable and is replaced", "path", name, "err", err)
		stored = Endorsement{}
	}
	got, edition, err := k.fetcher.Fetch(round, &k.platform, label, stored, now)
	if err == nil {
		err = k.folder.Write(label, got)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		u.failures++
		u.due = now.Add(pauseAfter(u.failures, err))
		k.log.WarnContext(ctx, "endorsement could not be fetched", "path", name, "code", verdict.CodeOf(err), "attempt", u.failures, "err", err)
		return
	}
	k.learnLine(label, got)
	u.failures, u.fetched, u.due = 0, now, nextOf(label, edition, now, refreshEvery/2+rand.N(refreshEvery/2)) //nolint:gosec // G404: jitter, no secret
	if string(got.Value) != string(stored.Value) || string(got.Chain) != string(stored.Chain) {
		k.log.InfoContext(ctx, "endorsement fetched", "path", name, "digest", verdict.SHA256(got.Value), "size_bytes", len(got.Value))
	}
}

// learnLine takes the line of processors from a certificate where the report names none.
func (k *Keeper) learnLine(label string, e Endorsement) {
	if p := k.platform.SNP; p != nil && p.Line == "" && (label == attest.LabelVCEK || label == attest.LabelVLEK) {
		p.Line = p.LineIn(e.Value)
	}
}

// pauseAfter is how long to wait after the n-th failure in a row.
func pauseAfter(n int, err error) time.Duration {
	wait := min(leastPause<<min(n-1, 16), mostPause)
	if failure, ok := errors.AsType[*verdict.Failure](err); ok {
		wait = max(wait, failure.RetryAfter)
	}
	return wait + rand.N(wait/2+1) //nolint:gosec // G404: jitter, no secret
}

// nextOf is when an edition is to be looked for again: after a while, but for
// certificates, which do not change, and before a quarter of its life is left.
func nextOf(label string, e attest.Edition, now time.Time, after time.Duration) time.Time {
	if label == attest.LabelVCEK || label == attest.LabelVLEK {
		return e.Until.Add(-renewBefore)
	}
	due := now.Add(after)
	if end := e.Until.Add(-e.Until.Sub(e.Issued) / 4); end.Before(due) {
		due = end
	}
	return due
}

// next is how long nothing is due.
func (k *Keeper) next(now time.Time) time.Duration {
	wait := refreshEvery
	for _, u := range k.units {
		wait = min(wait, u.due.Sub(now))
	}
	return max(wait, time.Second)
}

// soonOf is from when on an edition ends soon: when it is renewed before, that has
// failed for a while.
func soonOf(e attest.Edition) time.Time {
	return e.Until.Add(-min(e.Until.Sub(e.Issued)/soonPart, soonMost))
}

// warnOfEnd says once of each edition that it ends soon, so that an operator hears of it
// before relying parties do.
func (k *Keeper) warnOfEnd(ctx context.Context, label string, e attest.Edition, now time.Time) {
	if now.Before(soonOf(e)) || k.soon[label].Equal(e.Until) {
		return
	}
	k.soon[label] = e.Until
	k.log.WarnContext(ctx, "endorsement ends soon, relying parties cannot decide after that", "code", verdict.EndorsementExpired, "path", Files[label].Name, "until", e.Until.UTC().Format(time.RFC3339))
}

// check looks at what evidence goes with. What it lacks is due, unless that was tried. It
// says once what is lacking, and once that nothing is.
func (k *Keeper) check(ctx context.Context, now time.Time) {
	if !k.known || ctx.Err() != nil {
		return
	}
	k.checked, k.unchecked = now, false
	var lacks []string
	for _, label := range k.platform.Endorsements() {
		if edition, ok := k.have(label, now); ok {
			k.warnOfEnd(ctx, label, edition, now)
			continue
		}
		lacks = append(lacks, Files[label].Name)
		if u := k.units[label]; u != nil && u.failures == 0 && now.Before(u.due) && now.Sub(u.fetched) > mostPause {
			u.due = now
		}
	}
	slices.Sort(lacks)
	text := strings.Join(lacks, ",")
	if text == k.lacks && k.said {
		return
	}
	k.lacks, k.said = text, true
	if text == "" {
		k.log.InfoContext(ctx, "evidence has all endorsements")
		return
	}
	k.log.WarnContext(ctx, "evidence goes without endorsements, relying parties cannot decide", "code", verdict.EndorsementMissing, "path", text)
}
