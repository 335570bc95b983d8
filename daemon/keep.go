// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// updateTimeout bounds a change of head or statement: register, evidence and
// log, each with its own limit below this one.
const updateTimeout = time.Minute

// lockUpdates waits until nobody else changes head or statement.
func (d *Daemon) lockUpdates(ctx context.Context) (unlock func(), err error) {
	select {
	case d.updates <- struct{}{}:
		return func() { <-d.updates }, nil
	case <-ctx.Done():
		return nil, overloaded("changing the head: another change is under way: %w", ctx.Err())
	}
}

// putHead takes what owners signed out of an offered head set, and returns the
// counter of the head in force. Who offers it does not matter.
func (d *Daemon) putHead(ctx context.Context, data []byte) (uint64, error) {
	set, err := d.store.parse(data)
	if err != nil {
		return 0, err
	}
	unlock, err := d.lockUpdates(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	// From here on it is not the caller's to interrupt.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTimeout)
	defer cancel()
	now := time.Now()
	merged, err := d.store.take(d.newest, set, now)
	if err != nil {
		if verdict.CodeOf(err) == verdict.HeadConflict {
			// The owners' keys may be in wrong hands.
			d.log.ErrorContext(ctx, "two heads have one counter", "head", d.newest.Counter, "err", err)
		}
		return 0, err
	}
	if merged.Counter > d.newest.Counter {
		if err := merged.CheckAt(now); err != nil {
			return 0, err
		}
		if err := d.acceptable(merged); err != nil {
			return 0, err
		}
	}
	d.newest = merged
	d.offered.Store(merged.Counter)
	if err := d.update(ctx, now); err != nil {
		return 0, err
	}
	return d.epoch.Load().head.Counter, nil
}

// acceptable refuses a head whose files cannot be decided by, so that the one
// before goes on.
func (d *Daemon) acceptable(h verdict.CheckedHead) error {
	if _, _, err := d.filesOf(h); err != nil {
		return verdict.Refuse(verdict.HeadFile, "reading the files of head %d: %w", h.Counter, err)
	}
	return nil
}

// update brings the epoch to the newest head. The same head with other deny
// documents or another renewal counts at once, whatever disk, TEE and log do; a
// newer head counts once it is measured, has a statement, and that is written
// down. d.updates is held.
func (d *Daemon) update(ctx context.Context, at time.Time) error {
	before := d.epoch.Load()
	s := before.statement
	next, err := d.makeEpoch(ctx, before, d.newest, s, at)
	if err != nil {
		return err
	}
	if d.newest.Counter == before.head.Counter {
		if string(next.set) == string(before.set) && next.deny == before.deny {
			return nil
		}
		d.swap(ctx, next)
		if err := d.store.save(d.newest); err != nil {
			d.log.ErrorContext(ctx, "deny documents or renewal count but are not on disk", "err", err)
		}
		return nil
	}
	if err := d.tighten(ctx, before, at); err != nil {
		return err
	}
	// On disk before it is measured: the next start must not come up with an
	// older head than the register has.
	if err := d.store.save(d.newest); err != nil {
		return err
	}
	if d.measured < d.newest.Counter {
		if err := d.issuer.measure(ctx, d.newest); err != nil {
			return err
		}
		d.measured = d.newest.Counter
	}
	if next.statement, err = d.issuer.issue(ctx, d.newest, s); err != nil {
		return err
	}
	d.swap(ctx, next)
	return nil
}

// tighten applies the deny documents of a newer head to the one in force: what
// an owner denied does not wait for the TEE or the log. d.updates is held.
func (d *Daemon) tighten(ctx context.Context, before *epoch, at time.Time) error {
	set := before.head.Set
	set.Deny = nil
	for _, raw := range d.newest.Set.Deny {
		if _, err := verdict.OpenDeny(raw, before.head.Owners); err == nil {
			set.Deny = append(set.Deny, raw)
		}
	}
	head, err := before.head.OpenNewer(set, at)
	if err != nil {
		return err
	}
	next, err := d.makeEpoch(ctx, before, head, before.statement, at)
	if err != nil || next.deny == before.deny {
		return err
	}
	d.swap(ctx, next)
	return nil
}

// swap makes next what requests are answered by from now on.
func (d *Daemon) swap(ctx context.Context, next *epoch) {
	before := d.epoch.Swap(next)
	close(before.replaced)
	if next.head.Counter != before.head.Counter || next.deny != before.deny || !next.head.Until.Equal(before.head.Until) {
		d.log.InfoContext(ctx, "head in force", "head", next.head.Counter,
			"digest", next.head.Digest, "policy", next.head.Policy)
	}
}

// renew makes the next statement of the same head. d.updates is held.
func (d *Daemon) renew(ctx context.Context) error {
	before := d.epoch.Load()
	s, err := d.issuer.issue(ctx, before.head, before.statement)
	if err != nil {
		return err
	}
	next := *before
	next.statement, next.replaced = s, make(chan struct{})
	d.swap(ctx, &next)
	return nil
}

// keep does what is due: statements before they end, deny documents when they
// do, a head that could not be taken yet; and judges readiness.
func (d *Daemon) keep(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	var notBefore time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := time.Now(); now.After(notBefore) {
			if err := d.safely(ctx, func() error { return d.due(ctx, now) }); err != nil && ctx.Err() == nil {
				d.log.ErrorContext(ctx, "head or statement could not be renewed", "code", verdict.CodeOf(err), "err", err)
				notBefore = now.Add(retryEvery)
			}
		}
		if ctx.Err() == nil {
			d.setReady(ctx, d.ready(time.Now()))
		}
	}
}

// due does what has become due.
func (d *Daemon) due(ctx context.Context, now time.Time) error {
	unlock, err := d.lockUpdates(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	e := d.epoch.Load()
	if end := e.nextDeny(); d.newest.Counter > e.head.Counter || !end.IsZero() && !now.Before(end) {
		if err := d.update(ctx, now); err != nil {
			return err
		}
	}
	if err := d.refreshRoots(ctx, now); err != nil {
		return err
	}
	if s := d.epoch.Load().statement; !now.Before(s.renewAt()) || s.CheckAt(now) != nil {
		return d.renew(ctx)
	}
	return nil
}

// probe asks the TEE for evidence when nobody does.
func (d *Daemon) probe(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.collector.probe(ctx, probeEvery)
		}
	}
}

// ready says why the daemon should not be asked, or nil.
func (d *Daemon) ready(at time.Time) error {
	if err := d.source.Healthy(at); err != nil {
		return err
	}
	e := d.epoch.Load()
	if err := e.check(at); err != nil {
		return err
	}
	if newest := d.offered.Load(); newest > e.head.Counter {
		return verdict.Fail(verdict.Unready, "head %d is known, head %d still in force", newest, e.head.Counter)
	}
	if err := d.collector.health(); err != nil {
		return err
	}
	return d.shard.Healthy()
}

// setReady tells the health service, and the log when it changes. It is called
// by one goroutine at a time.
func (d *Daemon) setReady(ctx context.Context, err error) {
	state := grpc_health_v1.HealthCheckResponse_SERVING
	if err != nil {
		state = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	for _, name := range []string{"", assayv1.AssayService_ServiceDesc.ServiceName} {
		d.health.SetServingStatus(name, state)
	}
	code := verdict.CodeOf(err)
	if code == d.unready && d.judged {
		return
	}
	d.unready, d.judged = code, true
	if err != nil {
		d.log.ErrorContext(ctx, "not ready", "code", code, "err", err)
		return
	}
	d.log.InfoContext(ctx, "ready")
}
