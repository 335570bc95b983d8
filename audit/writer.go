// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/verdict"
)

// write is the writer: the only caller of Add, so that the order of Add is the
// order of indexes. While one batch is being written the next one gathers, so
// the slower the disk, the larger the batches. It ends when queue is closed.
func (s *Shard) write(ctx context.Context) {
	defer close(s.writer)
	tick := time.NewTicker(s.config.RefreshInterval)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-s.queue:
			if !ok {
				return
			}
			s.commit(ctx, s.gather(e))
		case <-tick.C:
			err := s.settle()
			if err == nil {
				err = s.refresh()
			}
			if err == nil {
				err = s.unstick()
			}
			s.note(err)
			if err != nil {
				s.config.Logger.WarnContext(ctx, "log checkpoint was not refreshed", "err", err)
			}
		}
	}
}

// gather takes what waits behind first.
func (s *Shard) gather(first *entry) []*entry {
	batch := []*entry{first}
	for len(batch) < maxBatch {
		select {
		case e, ok := <-s.queue:
			if !ok {
				return batch // write sees it next
			}
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch and answers it: all of it, or none.
func (s *Shard) commit(ctx context.Context, batch []*entry) {
	indexes, err := s.commitBatch(ctx, batch)
	s.note(err)
	if err != nil {
		s.config.Logger.ErrorContext(ctx, "log batch was not written", "err", err)
		err = unavailable("appending leaf", err)
	}
	for i, e := range batch {
		if err != nil {
			s.answer(e, landed{err: err})
			continue
		}
		s.answer(e, landed{index: indexes[i]})
	}
}

// commitBatch returns the index of each leaf. After an error any of the batch
// may be in the tree, and none is acknowledged.
func (s *Shard) commitBatch(ctx context.Context, batch []*entry) (indexes []uint64, err error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	hashes := make([]tlog.Hash, len(batch))
	for i, e := range batch {
		hashes[i] = e.hash
	}
	first := s.guard.size()
	if err := s.guard.begin(hashes); err != nil {
		return nil, err
	}
	p := place(first, s.resolve(ctx, batch), hashes)
	if p.wrong != "" {
		// Tessera counts from what the disk says. Other numbers than ours mean
		// that the disk was changed under us.
		return nil, s.guard.refuse("appending leaf: %s", p.wrong)
	}
	s.maybe = p.maybe
	if err := s.guard.commit(p.in, p.failure != nil); err != nil {
		return nil, err
	}
	if p.failure != nil {
		return nil, p.failure
	}
	return p.indexes, s.refresh()
}

// A placement is where the leaves of a batch are.
type placement struct {
	// indexes are those of the leaves, in the order of the batch.
	indexes []uint64
	// in are the leaves that are in the tree, in its order, maybe those of which
	// that is not known, with the failure of one of them.
	in, maybe []tlog.Hash
	failure   error
	// wrong says why the leaves cannot be where they are said to be.
	wrong string
}

// place finds out where a batch is. What is in the tree follows first without a
// gap, but not always in the order of Add: tessera's queue lets go of its lock
// before it hands a part of a batch on, so a second part may overtake it.
func place(first uint64, all []landed, hashes []tlog.Hash) placement {
	p := placement{indexes: make([]uint64, len(all))}
	var order []int // of those that are in, by index
	for i, l := range all {
		if l.err != nil {
			p.maybe, p.failure = append(p.maybe, hashes[i]), l.err
			continue
		}
		p.indexes[i] = l.index
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(all[a].index, all[b].index) })
	for n, i := range order {
		if want := first + uint64(n); all[i].index != want { // #nosec G115 -- at most maxBatch
			p.wrong = fmt.Sprintf("it got index %d, want %d", all[i].index, want)
			return p
		}
		p.in = append(p.in, hashes[i])
	}
	return p
}

// resolve adds the batch to tessera and waits for it. Futures do not know
// contexts, so they are awaited in a goroutine beside ctx, which ends only when
// Close gives up.
func (s *Shard) resolve(ctx context.Context, batch []*entry) []landed {
	futures := make([]tessera.IndexFuture, len(batch))
	for i, e := range batch {
		futures[i] = s.appender.Add(ctx, tessera.NewEntry(e.data))
	}
	all := make(chan []landed, 1)
	go func() {
		out := make([]landed, len(batch))
		for i, f := range futures {
			index, err := f()
			out[i] = landed{index: index.Index, err: err}
		}
		all <- out
	}()
	select {
	case out := <-all:
		return out
	case <-ctx.Done():
		out := make([]landed, len(batch))
		for i := range out {
			out[i].err = ctx.Err()
		}
		return out
	}
}

// settle finds out, after a batch failed, what of it is in the tree, and
// removes the temporary files that tessera leaks then.
func (s *Shard) settle() error {
	if s.maybe == nil {
		return nil
	}
	size, root, err := readTreeState(s.dir)
	if err != nil {
		return verdict.Fail(verdict.LogUnavailable, "reading the tree's state: %w", err)
	}
	if err := s.guard.settle(size, root, s.maybe); err != nil {
		return err
	}
	s.maybe = nil
	// No batch is in flight, so what looks temporary there is. Only tessera's
	// garbage collector may be writing its own state, and tries again.
	for _, name := range []string{"tile", ".state"} {
		if err := cleanShard(filepath.Join(s.dir, name)); err != nil {
			return verdict.Fail(verdict.LogUnavailable, "removing temporary files: %w", err)
		}
	}
	return nil
}

// refresh signs the tree of all leaves and puts the checkpoint on disk, so
// that each leaf that is acknowledged is provable from files whatever comes
// next; tessera's own publication lags behind.
func (s *Shard) refresh() error {
	c, signed, err := s.guard.latest()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(s.dir, latestName), signed); err != nil {
		return verdict.Fail(verdict.LogUnavailable, "writing checkpoint: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest, s.signed, s.refreshed = tree{dir: s.dir, at: c}, signed, time.Now()
	return nil
}

// unstick keeps tessera publishing after the clock was set back: it compares
// the time of its checkpoint file, then in the future, with the clock.
func (s *Shard) unstick() error {
	path := filepath.Join(s.dir, "checkpoint")
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if now := time.Now(); info.ModTime().After(now.Add(time.Second)) {
		return os.Chtimes(path, now, now)
	}
	return nil
}
