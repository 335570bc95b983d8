// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"sync"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// OpenHead opens a head set under the owners and the lowest counter of trust.yaml.
// It looks at no clock. A reader that holds a head already uses Heads. The error is
// a *verdict.Refusal of the family head.
func (c Config) OpenHead(set verdict.HeadSet) (verdict.CheckedHead, error) {
	owners, err := c.OwnerSet()
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	owners.After = c.MinHead
	return verdict.OpenHead(set, owners)
}

// Heads keeps the newest head that anybody brought: from the disk, a daemon, a file.
// It never goes back behind what it holds or what the marks say. It is safe for
// concurrent use.
type Heads struct {
	config Config

	mu    sync.Mutex
	marks gate.Marks // what was seen before this process
	head  verdict.CheckedHead
	since time.Time // when head's counter came
}

// NewHeads returns a keeper that has no head yet. Of marks it uses the head, since
// when, and the deny documents.
func NewHeads(c Config, marks gate.Marks) *Heads { return &Heads{config: c, marks: marks} }

// Current returns the newest head and when its counter came here, and false where
// there is none yet.
func (h *Heads) Current() (verdict.CheckedHead, time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head, h.since, h.head.Counter != 0
}

// Offer gives a head set, and tells whether what is held changed by it: a newer
// head, another deny document or a later renewal. An equal one changes nothing. The
// error is a *verdict.Refusal: head.rollback, head.conflict, head.signature and
// others of the family; what is held stays.
func (h *Heads) Offer(set verdict.HeadSet, at time.Time) (changed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var next verdict.CheckedHead
	if h.head.Counter == 0 {
		next, err = h.config.OpenHead(set)
		if err == nil {
			err = h.marks.Check(next, at)
		}
	} else {
		next, err = h.head.OpenNewer(set, at)
	}
	if err != nil {
		return false, err
	}
	if next.Digest == h.head.Digest && next.Until.Equal(h.head.Until) && verdict.DenyDigest(next.Docs) == verdict.DenyDigest(h.head.Docs) {
		return false, nil
	}
	switch {
	case next.Counter == h.head.Counter:
	case h.head.Counter == 0 && h.marks.Head.Counter == next.Counter && h.marks.HeadSince != 0:
		h.since = time.Unix(h.marks.HeadSince, 0)
	default:
		h.since = at
	}
	h.head = next
	return true, nil
}

// Mark raises the head and deny documents of m to those that are held.
func (h *Heads) Mark(m *gate.Marks) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.head.Counter == 0 {
		return
	}
	m.Head = verdict.HeadRef{Counter: h.head.Counter, Digest: h.head.Digest}
	m.HeadSince = h.since.Unix()
	highest := map[string]gate.DenyMark{}
	for _, d := range m.Deny {
		highest[d.Owner] = d
	}
	for _, d := range h.head.Docs {
		if old, ok := highest[d.Owner]; !ok || d.Counter > old.Counter {
			highest[d.Owner] = gate.DenyMark{Owner: d.Owner, Counter: d.Counter, NotAfter: d.NotAfter}
		}
	}
	m.Deny = m.Deny[:0]
	for _, k := range h.head.Owners.Keys {
		if d, ok := highest[k.Kid]; ok {
			m.Deny = append(m.Deny, d)
		}
	}
}
