// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestOwners(t *testing.T) {
	w := newWorld(t)
	good := encoded(t, w.owners)
	change := func(f func(m map[string]any)) []byte { return edit(t, good, f) }
	for _, tt := range []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", good, ""},
		{"without renewal key", change(func(m map[string]any) { delete(m, "renewal") }), ""},
		{"threshold 0", change(func(m map[string]any) { m["threshold"] = 0 }), verdict.HeadMalformed},
		{"threshold beyond the keys", change(func(m map[string]any) { m["threshold"] = 4 }), verdict.HeadMalformed},
		{"no threshold", change(func(m map[string]any) { delete(m, "threshold") }), verdict.HeadMalformed},
		{"no keys", change(func(m map[string]any) { m["keys"] = []any{} }), verdict.HeadMalformed},
		{"one key twice", change(func(m map[string]any) { m["keys"] = append(m["keys"].([]any), m["keys"].([]any)[0]) }), verdict.HeadMalformed},
		// A line end inside the coordinate gave the same point another thumbprint.
		{"one key twice by a line end", change(func(m map[string]any) {
			k := maps.Clone(m["keys"].([]any)[0].(map[string]any))
			x := k["x"].(string)
			k["x"] = x[:8] + "\n" + x[8:]
			k["kid"] = rfc7638(t, verdict.JWK{Crv: "P-256", Kty: "EC", X: k["x"].(string), Y: k["y"].(string)})
			m["keys"] = append(m["keys"].([]any), k)
		}), verdict.HeadMalformed},
		{"key of another use", change(func(m map[string]any) { m["keys"].([]any)[0].(map[string]any)["use"] = "ticket" }), verdict.HeadMalformed},
		{"kid of another key", change(func(m map[string]any) { m["keys"].([]any)[0].(map[string]any)["kid"] = w.stranger.Kid() }), verdict.HeadMalformed},
		{"renewal key of another use", change(func(m map[string]any) { m["renewal"].(map[string]any)["use"] = "owner" }), verdict.HeadMalformed},
		{"renewal key is an owner's", change(func(m map[string]any) {
			k := maps.Clone(m["keys"].([]any)[0].(map[string]any))
			k["use"] = verdict.UseRenewal
			m["renewal"] = k
		}), verdict.HeadMalformed},
		{"the reader's own field", change(func(m map[string]any) { m["After"] = 1 }), verdict.HeadMalformed},
		{"version 2", change(func(m map[string]any) { m["v"] = 2 }), verdict.HeadMalformed},
		{"too many keys", change(func(m map[string]any) {
			for len(m["keys"].([]any)) <= 16 {
				k := newPair(t, verdict.UseOwner).JWK()
				m["keys"] = append(m["keys"].([]any), map[string]any{"crv": k.Crv, "kid": k.Kid, "kty": k.Kty, "use": k.Use, "x": k.X, "y": k.Y})
			}
		}), verdict.HeadMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := verdict.ParseOwners(tt.data)
			wantCode(t, err, tt.code)
			if err != nil && (o.Keys != nil || o.Threshold != 0) {
				t.Errorf("got %+v with an error, want the zero value", o)
			}
		})
	}
	if _, err := (verdict.Owners{}).Encode(); err == nil {
		t.Error("got the bytes of no owners, want an error")
	}
	if _, err := (verdict.Owners{Keys: w.owners.Keys, Threshold: 4}).Encode(); err == nil {
		t.Error("got the bytes of owners whose threshold nobody reaches, want an error")
	}
}

func TestOpenHead(t *testing.T) {
	w := newWorld(t)
	good := w.set(t)
	payload := payloadOfDSSE(t, good.Head)
	head := func(f func(m map[string]any)) func(*verdict.HeadSet) {
		return func(s *verdict.HeadSet) {
			s.Head = forgeDSSE(t, verdict.HeadType, edit(t, payload, f), w.owner[0], w.owner[1])
		}
	}
	renewal := func(r verdict.Renewal, k pair) func(*verdict.HeadSet) {
		return func(s *verdict.HeadSet) { s.Renewal = must(verdict.SignRenewal(r, k.Key))(t) }
	}
	current := verdict.Renewal{Counter: 7, Head: verdict.SHA256(payload), Iat: unix(0), NotAfter: unix(168 * time.Hour)}
	for _, tt := range []struct {
		name   string
		change func(s *verdict.HeadSet)
		code   verdict.Code
	}{
		{"good", func(*verdict.HeadSet) {}, ""},
		{"without policy and roots, as nodes have it", func(s *verdict.HeadSet) { s.Files = s.Files[:3] }, ""},
		{"grace of an hour", head(func(m map[string]any) { m["grace"] = 3600 }), ""},
		{"longer grace", head(func(m map[string]any) { m["grace"] = 3601 }), verdict.HeadMalformed},
		{"counter 0", head(func(m map[string]any) { m["counter"] = 0 }), verdict.HeadMalformed},
		{"no end", head(func(m map[string]any) { delete(m, "not_after") }), verdict.HeadMalformed},
		{"end 0", head(func(m map[string]any) { m["not_after"] = 0 }), verdict.HeadMalformed},
		{"policy by SHA-512", head(func(m map[string]any) { m["policy"] = "sha512:" + zeroSum + zeroSum }), verdict.HeadMalformed},
		{"upper-case digest", head(func(m map[string]any) { m["roots"] = "sha256:" + "AB" + zeroSum[2:] }), verdict.HeadMalformed},
		{"no deny list", head(func(m map[string]any) { delete(m, "deny") }), verdict.HeadMalformed},
		{"version 2", head(func(m map[string]any) { m["v"] = 2 }), verdict.HeadMalformed},
		{"owners file missing", func(s *verdict.HeadSet) { s.Files = s.Files[1:] }, verdict.HeadFile},
		{"deny list missing", func(s *verdict.HeadSet) { s.Files = append(s.Files[:1:1], s.Files[2:]...) }, verdict.HeadFile},
		{"references missing", func(s *verdict.HeadSet) { s.Files = append(s.Files[:2:2], s.Files[3:]...) }, verdict.HeadFile},
		{"one byte of a file changed", func(s *verdict.HeadSet) {
			s.Files[2] = bytes.Replace(s.Files[2], []byte("assayd dev"), []byte("assayd deV"), 1)
		}, verdict.HeadFile},
		{"a file that is no deny list", func(s *verdict.HeadSet) {
			file := []byte(`{"v":2}`)
			s.Files = append(s.Files, file)
			head(func(m map[string]any) { m["deny"] = string(verdict.SHA256(file)) })(s)
		}, verdict.HeadMalformed},
		{"a file that is no references", func(s *verdict.HeadSet) {
			s.Files = append(s.Files, []byte(`{}`))
			head(func(m map[string]any) { m["references"] = string(verdict.SHA256([]byte(`{}`))) })(s)
		}, verdict.HeadMalformed},
		{"a file that is no owners", func(s *verdict.HeadSet) {
			s.Files = append(s.Files, []byte(`{}`))
			head(func(m map[string]any) { m["owners"] = string(verdict.SHA256([]byte(`{}`))) })(s)
		}, verdict.HeadMalformed},
		{"too many files", func(s *verdict.HeadSet) { s.Files = slices.Repeat(s.Files, 2) }, verdict.HeadMalformed},
		{"a huge file", func(s *verdict.HeadSet) { s.Files = append(s.Files, make([]byte, verdict.MaxFile+1)) }, verdict.HeadMalformed},
		{"no head", func(s *verdict.HeadSet) { s.Head = nil }, verdict.HeadMalformed},
		{"version of the set", func(s *verdict.HeadSet) { s.V = 2 }, verdict.HeadMalformed},
		{"renewed", renewal(current, w.renewal), ""},
		{"renewed by an owner", renewal(current, w.owner[0]), verdict.HeadSignature},
		{"renewed by a stranger", renewal(current, w.stranger), verdict.HeadSignature},
		{"renewal of another counter", renewal(verdict.Renewal{Counter: 6, Head: current.Head, Iat: current.Iat, NotAfter: current.NotAfter}, w.renewal), verdict.HeadSignature},
		{"renewal of another head", renewal(verdict.Renewal{Counter: 7, Head: w.index, Iat: current.Iat, NotAfter: current.NotAfter}, w.renewal), verdict.HeadSignature},
		{"renewal over 7 days", func(s *verdict.HeadSet) {
			raw := payloadOfDSSE(t, must(verdict.SignRenewal(current, w.renewal.Key))(t))
			s.Renewal = forgeDSSE(t, verdict.RenewalType, edit(t, raw, func(m map[string]any) { m["not_after"] = unix(168*time.Hour + time.Second) }), w.renewal)
		}, verdict.HeadMalformed},
		{"renewal with the type of a head", func(s *verdict.HeadSet) {
			s.Renewal = forgeDSSE(t, verdict.HeadType, payloadOfDSSE(t, must(verdict.SignRenewal(current, w.renewal.Key))(t)), w.renewal)
		}, verdict.HeadMalformed},
		{"renewal is a head", func(s *verdict.HeadSet) { s.Renewal = s.Head }, verdict.HeadMalformed},
		{"renewal is garbage", func(s *verdict.HeadSet) { s.Renewal = []byte("{}") }, verdict.HeadMalformed},
		{"renewal without a renewal key", func(s *verdict.HeadSet) {
			o := w.owners
			o.Renewal = nil
			*s = w.setOf(t, w.head, o, w.owner[0].Key, w.owner[1].Key)
			renewal(verdict.Renewal{Counter: 7, Head: verdict.SHA256(payloadOfDSSE(t, s.Head)), Iat: unix(0), NotAfter: unix(time.Hour)}, w.renewal)(s)
		}, verdict.HeadSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := w.set(t)
			s.Head = good.Head
			tt.change(&s)
			h, err := verdict.OpenHead(s, w.owners)
			wantCode(t, err, tt.code)
			if err != nil && (h.Counter != 0 || h.Digest != "" || h.Owners.Keys != nil) {
				t.Errorf("got %+v with an error, want the zero value", h)
			}
		})
	}
	h := w.open(t)
	if h.Digest != verdict.SHA256(payload) || !h.Until.Equal(at.Add(72*time.Hour)) || h.Owners.After != 7 {
		t.Errorf("got digest %s, until %s, owners after %d", h.Digest, h.Until, h.Owners.After)
	}
	for _, bad := range []verdict.Owners{{}, {Keys: w.owners.Keys}, {Threshold: 1}, {Keys: w.owners.Keys, Threshold: 9}} {
		_, err := verdict.OpenHead(good, bad)
		if _, misuse := errors.AsType[*verdict.Misuse](err); !misuse {
			t.Errorf("got %v for configured owners %+v, want a misuse", err, bad)
		}
	}
	if _, err := verdict.SignHead(verdict.Head{}, w.owner[0].Key); err == nil {
		t.Error("got a signed zero head, want an error")
	}
	if _, err := verdict.SignRenewal(verdict.Renewal{}, w.renewal.Key); err == nil {
		t.Error("got a signed zero renewal, want an error")
	}
	current.Counter = 0
	if _, err := verdict.SignRenewal(current, w.renewal.Key); err == nil {
		t.Error("got a signed renewal of head 0, want an error")
	}
}

func TestHeadEnds(t *testing.T) {
	w := newWorld(t)
	set := w.set(t)
	digest := verdict.SHA256(payloadOfDSSE(t, set.Head))
	end := at.Add(72 * time.Hour)
	renewed := func(iat, notAfter time.Duration) verdict.CheckedHead {
		s := set
		s.Renewal = must(verdict.SignRenewal(verdict.Renewal{Counter: 7, Head: digest, Iat: unix(iat), NotAfter: unix(notAfter)}, w.renewal.Key))(t)
		return must(verdict.OpenHead(s, w.owners))(t)
	}
	const years = 10 * 365 * 24 * time.Hour
	for _, tt := range []struct {
		name string
		head verdict.CheckedHead
		at   time.Time
		code verdict.Code
	}{
		{"last second", w.open(t), end.Add(-time.Second), ""},
		{"ended", w.open(t), end, verdict.HeadExpired},
		{"renewed", renewed(0, 168*time.Hour), end, ""},
		{"renewed, last second", renewed(0, 168*time.Hour), at.Add(168*time.Hour - time.Second), ""},
		{"renewed, ended", renewed(0, 168*time.Hour), at.Add(168 * time.Hour), verdict.HeadExpired},
		{"a shorter renewal takes nothing away", renewed(0, time.Hour), end.Add(-time.Second), ""},
		{"renewal of a clock a little ahead", renewed(72*time.Hour+time.Minute, 100*time.Hour), end, ""},
		// Else a stolen renewal key would keep a head for years.
		{"renewal from the future", renewed(years, years+time.Hour), end, verdict.HeadExpired},
		{"renewal from the future, in the future", renewed(years, years+time.Hour), at.Add(years), ""},
	} {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, tt.head.CheckAt(tt.at), tt.code) })
	}
	wantCode(t, verdict.CheckedHead{}.CheckAt(at), verdict.HeadExpired)
}

// TestR36HeadRollback: a lower counter, and one counter with two contents.
func TestR36HeadRollback(t *testing.T) {
	w := newWorld(t)
	h := w.open(t)
	for _, tt := range []struct {
		name    string
		counter uint64
		digest  verdict.Digest
		code    verdict.Code
	}{
		{"none seen", 0, "", ""},
		{"same", 7, h.Digest, ""},
		{"older seen", 6, w.index, ""},
		{"newer seen", 8, w.index, verdict.HeadRollback},
		{"other contents seen", 7, w.index, verdict.HeadConflict},
	} {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, h.CheckAfter(tt.counter, tt.digest), tt.code) })
	}
	// The same for sets that are offered to a reader.
	older := w.head
	older.Counter = 6
	_, err := h.OpenNewer(w.setOf(t, older, w.owners, w.owner[0].Key, w.owner[1].Key), at)
	wantCode(t, err, verdict.HeadRollback)
	other := w.head
	other.Grace = 1
	_, err = h.OpenNewer(w.setOf(t, other, w.owners, w.owner[0].Key, w.owner[1].Key), at)
	wantCode(t, err, verdict.HeadConflict)
	// And for the lowest head of a configuration.
	anchor := w.owners
	anchor.After = 8
	_, err = verdict.OpenHead(w.set(t), anchor)
	wantCode(t, err, verdict.HeadRollback)
	anchor.After = 7
	must(verdict.OpenHead(w.set(t), anchor))(t)
}

// A line of heads: 7 by {0,1,2}, 8 changes to {0,1,3} (2's key was stolen), 9 is
// ordinary, 10 changes to {3,4,5}.
type line struct {
	*world
	keys                    []pair
	first, second, third    verdict.Owners
	set7, set8, set9, set10 verdict.HeadSet
}

func newLine(t *testing.T) *line {
	t.Helper()
	w := newWorld(t)
	l := &line{world: w, keys: append(w.owner[:], newPair(t, verdict.UseOwner), newPair(t, verdict.UseOwner), newPair(t, verdict.UseOwner)), first: w.owners}
	l.second = verdict.Owners{V: 1, Threshold: 2, Renewal: w.owners.Renewal, Keys: []verdict.JWK{l.keys[0].JWK(), l.keys[1].JWK(), l.keys[3].JWK()}}
	l.third = verdict.Owners{V: 1, Threshold: 2, Keys: []verdict.JWK{l.keys[3].JWK(), l.keys[4].JWK(), l.keys[5].JWK()}}
	l.set7 = w.set(t)
	l.set8 = l.next(t, 8, l.second, 0, 1)
	change8 := verdict.OwnerChange{Head: l.set8.Head, Owners: encoded(t, l.second)}
	l.set9 = l.next(t, 9, l.second, 1, 3)
	l.set9.Changes = []verdict.OwnerChange{change8}
	l.set10 = l.next(t, 10, l.third, 0, 3, 4)
	l.set10.Changes = []verdict.OwnerChange{change8}
	return l
}

// next signs a head with the counter and the owners, by the keys with numbers n.
func (l *line) next(t *testing.T, counter uint64, o verdict.Owners, n ...int) verdict.HeadSet {
	t.Helper()
	h := l.head
	h.Counter = counter
	var by []*verdict.Key
	for _, i := range n {
		by = append(by, l.keys[i].Key)
	}
	return l.setOf(t, h, o, by...)
}

func TestOwnerChanges(t *testing.T) {
	l := newLine(t)
	change := func(set verdict.HeadSet, o verdict.Owners) verdict.OwnerChange {
		return verdict.OwnerChange{Head: set.Head, Owners: encoded(t, o)}
	}
	with := func(set verdict.HeadSet, changes ...verdict.OwnerChange) verdict.HeadSet {
		set.Changes = changes
		return set
	}
	change8, change10 := change(l.set8, l.second), change(l.set10, l.third)
	after := func(o verdict.Owners, n uint64) verdict.Owners { o.After = n; return o }
	set11 := l.next(t, 11, l.third, 4, 5)
	// Change 8 signed by the old owners alone, by the new ones alone, by one.
	byOld, byNew, byOne := l.next(t, 8, l.third, 0, 1), l.next(t, 8, l.third, 3, 4), l.next(t, 8, l.second, 0)
	higher, fewer := l.second, l.second
	higher.Threshold, fewer.Keys = 3, l.second.Keys[:2]
	lower := l.second
	lower.Threshold = 1
	stolen := l.next(t, 20, l.first, 1, 2) // 2 was removed by head 8, 1 is stolen as well
	for _, tt := range []struct {
		name   string
		set    verdict.HeadSet
		anchor verdict.Owners
		code   verdict.Code
	}{
		{"change itself", l.set8, l.first, ""},
		{"change itself, listed too", with(l.set8, change8), l.first, ""},
		{"one change", l.set9, l.first, ""},
		{"two changes", with(set11, change8, change10), l.first, ""},
		{"reader in the middle", with(set11, change8, change10), l.second, ""},
		{"reader at the end", with(set11, change8, change10), l.third, ""},
		{"reader at the end without changes", set11, l.third, ""},
		{"change missing", with(set11, change10), l.first, verdict.HeadSignature},
		{"all changes missing", set11, l.first, verdict.HeadSignature},
		{"changes in the wrong order", with(set11, change10, change8), l.first, verdict.HeadMalformed},
		{"change twice", with(set11, change8, change8, change10), l.first, verdict.HeadMalformed},
		{"change newer than the head", with(l.set9, change8, change10), l.first, verdict.HeadMalformed},
		{"change with the counter of the head and other contents", with(l.next(t, 10, l.second, 0, 1), change8, change10), l.first, verdict.HeadConflict},
		{"owners file of another change", with(set11, verdict.OwnerChange{Head: l.set8.Head, Owners: encoded(t, l.third)}, change10), l.first, verdict.HeadFile},
		{"change is garbage", with(set11, verdict.OwnerChange{Head: []byte("{}"), Owners: change8.Owners}, change10), l.first, verdict.HeadMalformed},
		{"owners of a change are garbage", with(set11, verdict.OwnerChange{Head: l.set8.Head, Owners: []byte("{}")}, change10), l.first, verdict.HeadMalformed},
		{"forged change is passed over, and leads nowhere", with(l.next(t, 9, l.third, 3, 4), change(l.next(t, 8, l.third, 3, 4, 5), l.third)), l.first, verdict.HeadSignature},
		{"forged change is passed over, and harms nobody", with(l.set9, change(l.next(t, 7, l.third, 4, 5), l.third), change8), l.first, ""},
		{"new owners signed by the old ones alone", byOld, l.first, verdict.HeadSignature},
		{"new owners signed by the new ones alone", byNew, l.first, verdict.HeadSignature},
		{"new owners signed by one", byOne, l.first, verdict.HeadSignature},
		{"lower threshold by one of them", l.next(t, 9, lower, 0), l.second, verdict.HeadSignature},
		{"lower threshold by the old one", l.next(t, 9, lower, 0, 1), l.second, ""},
		{"higher threshold by two", l.next(t, 9, higher, 0, 1), l.second, verdict.HeadSignature},
		{"higher threshold by three", l.next(t, 9, higher, 0, 1, 3), l.second, ""},
		{"fewer owners, signed by one of them", l.next(t, 9, fewer, 0, 3), l.second, verdict.HeadSignature},
		{"signed by a removed owner and one who stays", l.next(t, 9, l.second, 1, 2), l.second, verdict.HeadSignature},
		// Those who stayed signed old changes too: without After their signatures
		// would bring back the owners of that time.
		{"removed owners come back by an old change", with(stolen, change(l.next(t, 6, l.first, 0, 1), l.first)), after(l.second, 9), verdict.HeadSignature},
		{"reader with a lowest head", with(set11, change8, change10), after(l.first, 7), ""},
		{"reader in the middle with a lowest head", with(set11, change8, change10), after(l.second, 9), ""},
		{"reader whose lowest head is beyond a change that it needs", with(set11, change8, change10), after(l.first, 9), verdict.HeadSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := verdict.OpenHead(tt.set, tt.anchor)
			wantCode(t, err, tt.code)
			if err == nil && h.Owners.After != h.Counter {
				t.Errorf("got owners after %d, want %d", h.Owners.After, h.Counter)
			}
		})
	}
	// The hole that After closes: without it the old change counts.
	h, err := verdict.OpenHead(with(stolen, change(l.next(t, 6, l.first, 0, 1), l.first)), l.second)
	if err != nil || h.Counter != 20 {
		t.Errorf("got %v without After: if this is closed in another way, After can go", err)
	}
	if _, err := verdict.OpenHead(with(l.set9, make([]verdict.OwnerChange, 257)...), l.first); verdict.CodeOf(err) != verdict.HeadMalformed {
		t.Errorf("got %v for 257 changes, want %s", err, verdict.HeadMalformed)
	}
}

func TestOpenNewer(t *testing.T) {
	l := newLine(t)
	h7 := must(verdict.OpenHead(l.set7, l.first))(t)
	h9 := must(h7.OpenNewer(l.set9, at))(t)
	h10 := must(h9.OpenNewer(l.set10, at))(t)
	set11 := l.next(t, 11, l.third, 4, 5)

	// What is held leads a fresh reader there, though set 11 names no change.
	h11 := must(h10.OpenNewer(set11, at))(t)
	again := must(verdict.ParseHeadSet(encoded(t, h11.Set)))(t)
	if got := must(verdict.OpenHead(again, l.first))(t); got.Counter != 11 || got.Digest != h11.Digest {
		t.Errorf("got head %d %s from what was held, want 11 %s", got.Counter, got.Digest, h11.Digest)
	}
	// Two steps at once, and step by step, are the same.
	jump := l.set10
	jump.Changes = slices.Clone(l.set10.Changes)
	if got := must(h7.OpenNewer(jump, at))(t); got.Digest != h10.Digest || len(got.Set.Changes) != 1 {
		t.Errorf("got head %s with %d changes", got.Digest, len(got.Set.Changes))
	}

	t.Run("a removed owner does not count again", func(t *testing.T) {
		stolen := l.next(t, 20, l.first, 1, 2)
		stolen.Changes = []verdict.OwnerChange{{Head: l.next(t, 6, l.first, 0, 1).Head, Owners: encoded(t, l.first)}}
		_, err := h9.OpenNewer(stolen, at)
		wantCode(t, err, verdict.HeadSignature)
	})
	t.Run("junk changes are not carried on", func(t *testing.T) {
		set := l.set10
		set.Changes = append(slices.Clone(set.Changes), verdict.OwnerChange{Head: l.next(t, 9, l.third, 5).Head, Owners: encoded(t, l.third)})
		got := must(h7.OpenNewer(set, at))(t)
		if len(got.Set.Changes) != 1 {
			t.Errorf("got %d changes, want 1", len(got.Set.Changes))
		}
	})
	t.Run("files of an equal head are kept, others are dropped", func(t *testing.T) {
		set := l.set9
		set.Files = append(slices.Clone(set.Files[:3]), []byte("junk"))
		got := must(h9.OpenNewer(set, at))(t)
		if len(got.Set.Files) != 5 {
			t.Errorf("got %d files, want 5", len(got.Set.Files))
		}
	})
	t.Run("deny documents are kept until they lapse", func(t *testing.T) {
		set := l.set7
		d := verdict.DenyList{Images: []verdict.Digest{l.otherImg}}
		set.Deny = [][]byte{l.denyDoc(t, 0, 1, d, 0, time.Hour), l.denyDoc(t, 2, 1, d, 0, time.Hour)}
		h := must(verdict.OpenHead(set, l.first))(t)
		without := must(h.OpenNewer(l.set7, at))(t)
		if !without.DenyAt(at).DeniesImage(l.otherImg) || len(without.Docs) != 2 {
			t.Errorf("got %d documents from a set without, want 2", len(without.Docs))
		}
		if got := must(h.OpenNewer(l.set7, at.Add(time.Hour)))(t); len(got.Docs) != 0 || len(got.Set.Deny) != 0 {
			t.Errorf("got %d documents after they lapsed, want 0", len(got.Docs))
		}
		if got := must(h.OpenNewer(set, at))(t); len(got.Docs) != 2 {
			t.Errorf("got %d documents from the same set, want 2", len(got.Docs))
		}
		if got := must(h.OpenNewer(l.set9, at))(t); len(got.Docs) != 1 || got.Docs[0].Owner != l.keys[0].Kid() {
			t.Errorf("got %d documents after an owner was removed, want that of the other", len(got.Docs))
		}
	})
	t.Run("one owner cannot take the room of others", func(t *testing.T) {
		set := l.set7
		for i := range 8 {
			set.Deny = append(set.Deny, l.denyDoc(t, 0, uint64(i+1), verdict.DenyList{}, 0, time.Hour))
		}
		h := must(verdict.OpenHead(set, l.first))(t)
		more := l.set7
		more.Deny = [][]byte{l.denyDoc(t, 0, 9, verdict.DenyList{}, 0, time.Hour), l.denyDoc(t, 1, 1, verdict.DenyList{}, 0, time.Hour)}
		got := must(h.OpenNewer(more, at))(t)
		marks := verdict.DenyMarks(got.Docs)
		if len(got.Docs) != 9 || !slices.Contains(marks, verdict.DenyMark{Counter: 8, Owner: l.keys[0].Kid()}) || !slices.Contains(marks, verdict.DenyMark{Counter: 1, Owner: l.keys[1].Kid()}) {
			t.Errorf("got %d documents with marks %v, want 8 held and that of the other owner", len(got.Docs), marks)
		}
		set.Deny = append(set.Deny, more.Deny[0])
		_, err := verdict.OpenHead(set, l.first)
		wantCode(t, err, verdict.HeadMalformed)
	})
	t.Run("a renewal is kept", func(t *testing.T) {
		set := l.set7
		set.Renewal = must(verdict.SignRenewal(verdict.Renewal{Counter: 7, Head: h7.Digest, Iat: unix(0), NotAfter: unix(100 * time.Hour)}, l.renewal.Key))(t)
		h := must(h7.OpenNewer(set, at))(t)
		if got := must(h.OpenNewer(l.set7, at))(t); !got.Until.Equal(at.Add(100 * time.Hour)) {
			t.Errorf("got until %s from a set without, want the renewal's", got.Until)
		}
		// One from the future does not stand in the way of others.
		const year = 365 * 24 * time.Hour
		future := l.set7
		future.Renewal = must(verdict.SignRenewal(verdict.Renewal{Counter: 7, Head: h7.Digest, Iat: unix(year), NotAfter: unix(year + time.Hour)}, l.renewal.Key))(t)
		if got := must(h.OpenNewer(future, at))(t); !got.EndsAt(at).Equal(at.Add(100 * time.Hour)) {
			t.Errorf("got end %s, want the renewal's that is held", got.EndsAt(at))
		}
		hf := must(verdict.OpenHead(future, l.first))(t)
		if got := must(hf.OpenNewer(set, at))(t); !got.EndsAt(at).Equal(at.Add(100 * time.Hour)) {
			t.Errorf("got end %s, want that of the renewal that counts now", got.EndsAt(at))
		}
		if got := must(h.OpenNewer(l.set9, at))(t); got.Set.Renewal != nil {
			t.Error("got the renewal of head 7 with head 9")
		}
	})
	t.Run("a reader without a head", func(t *testing.T) {
		_, err := verdict.CheckedHead{}.OpenNewer(l.set7, at)
		if _, misuse := errors.AsType[*verdict.Misuse](err); !misuse {
			t.Errorf("got %v, want a misuse: such a reader opens with its configured owners", err)
		}
	})
}

func TestHeadSet(t *testing.T) {
	w := newWorld(t)
	set := w.set(t)
	data := encoded(t, set)
	for _, tt := range []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", data, ""},
		{"line end in a file", edit(t, data, func(m map[string]any) { m["files"].([]any)[0] = m["files"].([]any)[0].(string) + "\n" }), verdict.HeadMalformed},
		{"no files", edit(t, data, func(m map[string]any) { delete(m, "files") }), verdict.HeadMalformed},
		{"no version", edit(t, data, func(m map[string]any) { delete(m, "v") }), verdict.HeadMalformed},
		{"empty renewal", edit(t, data, func(m map[string]any) { m["renewal"] = "" }), verdict.HeadMalformed},
		{"cut", data[:len(data)/2], verdict.HeadMalformed},
		{"too large", make([]byte, verdict.MaxHeadSet+1), verdict.HeadMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := verdict.ParseHeadSet(tt.data)
			wantCode(t, err, tt.code)
			if err != nil && (s.Head != nil || s.Files != nil) {
				t.Errorf("got %+v with an error, want the zero value", s)
			}
		})
	}
	if _, err := set.File("x", w.index); verdict.CodeOf(err) != verdict.HeadFile {
		t.Errorf("got %v, want %s", err, verdict.HeadFile)
	}
	set.Files = slices.Repeat(set.Files, 2)
	if _, err := set.Encode(); err == nil {
		t.Error("got the bytes of a set with 9 files, want an error")
	}
}

func FuzzHeadSet(f *testing.F) {
	w := goldenWorld(f)
	inputs := fuzz.New(f, golden(f, "head-set.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		s, err := verdict.ParseHeadSet(data)
		if err != nil {
			if s.Head != nil || s.Files != nil || s.V != 0 {
				t.Fatalf("got %+v with an error, want the zero value", s)
			}
			return
		}
		if !bytes.Equal(encoded(t, s), data) {
			t.Fatalf("got other bytes than were parsed: %s", data)
		}
		if h, err := verdict.OpenHead(s, w.owners); err != nil && (h.Counter != 0 || h.Set.Head != nil) {
			t.Fatalf("got %+v with an error, want the zero value", h)
		}
	})
}

// FuzzHead edits what is in the envelope. Signatures are not looked at.
func FuzzHead(f *testing.F) {
	w := goldenWorld(f)
	inputs := fuzz.New(f, payloadOfDSSE(f, golden(f, "head.json")))
	nobody := unsigned(w.owner[:1])
	f.Fuzz(func(t *testing.T, payload []byte) {
		payload = inputs.Of(payload)
		inputs.Add(json.Valid(payload))
		h, err := verdict.ParseHeadInsecure(forgeDSSE(t, verdict.HeadType, payload, nobody...))
		if err != nil {
			if h != (verdict.Head{}) {
				t.Fatalf("got %+v with an error, want the zero value", h)
			}
			return
		}
		if again, err := verdict.Encode(h); err != nil || !bytes.Equal(again, payload) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
	})
}

func FuzzOwners(f *testing.F) {
	inputs := fuzz.New(f, golden(f, "owners.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		o, err := verdict.ParseOwners(data)
		if err != nil {
			if o.Keys != nil || o.Renewal != nil {
				t.Fatalf("got %+v with an error, want the zero value", o)
			}
			return
		}
		if !bytes.Equal(encoded(t, o), data) {
			t.Fatalf("got %s, want %s", encoded(t, o), data)
		}
	})
}
