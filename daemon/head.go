// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// A headStore keeps the newest head that the owners signed. It believes
// neither the disk nor whoever offers one: each set is checked with the owners
// of the measured configuration, and the highest counter counts.
type headStore struct {
	path   string // of the copy on disk
	anchor verdict.Owners
	limit  int64
	log    *slog.Logger
}

// load returns the newest head of the state folder and of the file at offered,
// where that is not empty. It is a [*verdict.Failure] head.missing where there
// is none, and the refusal head.conflict where two different heads have the
// highest counter: then somebody signed twice, and which one counts is for
// people.
func (s *headStore) load(ctx context.Context, offered string, at time.Time) (verdict.CheckedHead, error) {
	var newest verdict.CheckedHead
	var first error
	for _, path := range []string{s.path, offered} {
		if path == "" {
			continue
		}
		data, err := readFile(path, s.limit)
		if errors.Is(err, fs.ErrNotExist) && path == s.path {
			continue // the first start
		}
		var set verdict.HeadSet
		if err != nil {
			err = verdict.Fail(verdict.HeadMissing, "reading head: %w", err)
		} else {
			set, err = s.parse(data)
		}
		if err == nil {
			var next verdict.CheckedHead
			if next, err = s.take(newest, set, at); err == nil {
				newest = next
				continue
			}
		}
		if verdict.CodeOf(err) == verdict.HeadConflict {
			return verdict.CheckedHead{}, err
		}
		s.log.WarnContext(ctx, "offered head was not taken", "path", path, "code", verdict.CodeOf(err), "err", err)
		if first == nil {
			first = err
		}
	}
	if newest.Counter == 0 {
		if first != nil {
			return verdict.CheckedHead{}, first
		}
		return verdict.CheckedHead{}, verdict.Fail(verdict.HeadMissing, "looking for a head in %s: there is none", s.path)
	}
	return newest, nil
}

// parse decodes a head set that came from anywhere.
func (s *headStore) parse(data []byte) (verdict.HeadSet, error) {
	if int64(len(data)) > s.limit {
		return verdict.HeadSet{}, verdict.Refuse(verdict.HeadMalformed, "parsing head set: %d bytes, want at most %d", len(data), s.limit)
	}
	return verdict.ParseHeadSet(data)
}

// take returns what counts when have was held and set is offered. The first
// head is checked with the owners of the measured configuration, each further
// one with those that the walk has reached.
func (s *headStore) take(have verdict.CheckedHead, set verdict.HeadSet, at time.Time) (verdict.CheckedHead, error) {
	if have.Counter == 0 {
		var err error
		if have, err = verdict.OpenHead(set, s.anchor); err != nil {
			return verdict.CheckedHead{}, err
		}
		if have.Counter < s.anchor.After {
			return verdict.CheckedHead{}, verdict.Refuse(verdict.HeadRollback, "opening head set: head %d is older than %d, the configuration's min-head", have.Counter, s.anchor.After)
		}
	}
	return have.OpenNewer(set, at)
}

// save puts the head on disk.
func (s *headStore) save(h verdict.CheckedHead) error {
	data, err := h.Set.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(s.path, data); err != nil {
		return verdict.Fail(verdict.Internal, "saving head %d: %w", h.Counter, err)
	}
	return nil
}

// checkClock refuses a clock that is behind what is known to have happened: the
// build of this binary, and what owners have signed. It is
// no proof that the clock is right. The node's clock judges every expiry.
func checkClock(h verdict.CheckedHead, at time.Time) error {
	floor, what := built(), "the build of this binary"
	if h.Renewed.After(floor) {
		floor, what = h.Renewed, "the head's renewal"
	}
	for _, d := range h.Docs {
		if iat := time.Unix(d.Iat, 0); iat.After(floor) {
			floor, what = iat, "a deny document of an owner"
		}
	}
	if at.Before(floor.Add(-verdict.MaxSkew)) {
		return verdict.Fail(verdict.ClockBehind, "reading the clock: it says %s, which is before %s of %s",
			at.UTC().Format(time.RFC3339), what, floor.UTC().Format(time.RFC3339))
	}
	return nil
}

// written is when this line was: no build of it is older. Builds that can be
// repeated carry no time of their own.
var written = time.Date(2026, time.November, 25, 0, 0, 0, 0, time.UTC)

// built returns a time that this binary cannot be older than: that of the
// commit where the build tells it, and else of this source.
var built = sync.OnceValue(func() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return written
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil && t.After(written) {
				return t
			}
		}
	}
	return written
})
