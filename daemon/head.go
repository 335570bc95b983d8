// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// maxDenyDocuments bounds the deny documents of a head set, as package verdict
// does; the owners share it, so that one of them cannot use up the place of the
// others.
const maxDenyDocuments = 64

// A headStore keeps the newest head that the owners signed. It believes
// neither the disk nor whoever offers one: each set is checked with the owners
// of the measured configuration, and the highest counter counts.
type headStore struct {
	path   string // of the copy on disk
	anchor verdict.Owners
	least  uint64 // min-head
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
		var got verdict.CheckedHead
		if err == nil {
			got, err = s.open(data)
		}
		if err == nil {
			var next verdict.CheckedHead
			if next, err = s.merge(newest, got, at); err == nil {
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

// open checks a head set that came from anywhere.
func (s *headStore) open(data []byte) (verdict.CheckedHead, error) {
	if int64(len(data)) > s.limit {
		return verdict.CheckedHead{}, verdict.Refuse(verdict.HeadMalformed, "opening head set: %d bytes, want at most %d", len(data), s.limit)
	}
	set, err := verdict.ParseHeadSet(data)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	h, err := verdict.OpenHead(set, s.anchor)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	if h.Counter < s.least {
		return verdict.CheckedHead{}, verdict.Refuse(verdict.HeadRollback, "opening head set: head %d is older than %d, the configuration's min-head", h.Counter, s.least)
	}
	return h, nil
}

// merge returns what counts when have was known and got arrives. A newer head
// replaces an older one; of one head, the later renewal counts. The deny
// documents of both count on, under the owners that sign now, until they end:
// a newer head that travels without them takes nothing back.
func (s *headStore) merge(have, got verdict.CheckedHead, at time.Time) (verdict.CheckedHead, error) {
	if err := got.CheckAfter(have.Counter, have.Digest); err != nil {
		return verdict.CheckedHead{}, err
	}
	base := got
	if got.Counter == have.Counter {
		base = have
		if got.Until.After(have.Until) {
			base = got
		}
	}
	set := verdict.HeadSet{Changes: base.Set.Changes, Head: base.Set.Head, Renewal: base.Set.Renewal, V: 1}
	for what, d := range map[string]verdict.Digest{
		"owners": base.Head.Owners, "references": base.Head.References, "deny list": base.Head.Deny,
		"policy": base.Head.Policy, "roots": base.Head.Roots,
	} {
		file, err := base.Set.File(what, d)
		if err != nil {
			return verdict.CheckedHead{}, err
		}
		if !slices.ContainsFunc(set.Files, func(f []byte) bool { return bytes.Equal(f, file) }) {
			set.Files = append(set.Files, file)
		}
	}
	slices.SortFunc(set.Files, bytes.Compare)
	set.Deny = denyDocuments(base, at, have, got)
	return verdict.OpenHead(set, s.anchor)
}

// denyDocuments returns the deny documents of from that count under base's
// owners: the newest of each owner, up to its share of the room.
func denyDocuments(base verdict.CheckedHead, at time.Time, from ...verdict.CheckedHead) [][]byte {
	type doc struct {
		verdict.CheckedDeny
		raw []byte
	}
	byOwner, seen := map[string][]doc{}, map[verdict.Digest]bool{}
	for _, h := range from {
		for _, raw := range h.Set.Deny {
			d, err := verdict.OpenDeny(raw, base.Owners)
			// What the owners of today did not sign, and what has ended, is
			// left behind.
			if err != nil || !d.Active(at) || seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			byOwner[d.Owner] = append(byOwner[d.Owner], doc{d, raw})
		}
	}
	share := maxDenyDocuments / max(len(base.Owners.Keys), 1)
	var out [][]byte
	for _, owner := range slices.Sorted(maps.Keys(byOwner)) {
		docs := byOwner[owner]
		slices.SortFunc(docs, func(a, b doc) int {
			return cmp.Or(cmp.Compare(b.Counter, a.Counter), cmp.Compare(a.Digest, b.Digest))
		})
		for _, d := range docs[:min(len(docs), share)] {
			out = append(out, d.raw)
		}
	}
	return out
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

// denyMarks are the highest counters of the owners' deny documents.
func denyMarks(docs []verdict.CheckedDeny) []verdict.DenyMark {
	highest := map[string]uint64{}
	for _, d := range docs {
		highest[d.Owner] = max(highest[d.Owner], d.Counter)
	}
	var out []verdict.DenyMark
	for _, owner := range slices.Sorted(maps.Keys(highest)) {
		out = append(out, verdict.DenyMark{Owner: owner, Counter: highest[owner]})
	}
	return out
}

// checkClock refuses a clock that is behind what is known to have happened: the
// build of this binary, and what owners have signed. It is
// no proof that the clock is right. The node's clock judges every expiry.
func checkClock(h verdict.CheckedHead, at time.Time) error {
	floor, what := built(), "the build of this binary"
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
