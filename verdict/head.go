// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// DSSE payload types of what owners say is current.
const (
	// HeadType is that of a head.
	HeadType = "application/vnd.assay.head.v1+json"
	// RenewalType is that of a renewal.
	RenewalType = "application/vnd.assay.head-renewal.v1+json"
)

// Owners is a threshold of keys: the file that the head names, and what a
// relying party has in its own configuration.
type Owners struct {
	// Keys are the owners' keys, of use "owner".
	Keys []JWK `json:"keys"`
	// Renewal is the key that renews heads, of use "renewal", or absent where
	// heads are not renewed.
	Renewal *JWK `json:"renewal,omitempty"`
	// Threshold is how many owners must sign: k of n.
	Threshold int `json:"threshold"`
	V         int `json:"v"`
	// After is no part of the file. A reader that knows these owners from head
	// After on, by its configuration (min-head) or because it opened that head,
	// walks no change up to it: else the signatures of those who stayed would
	// bring back the owners who were removed. Zero walks every change.
	After uint64 `json:"-"`
}

// maxOwners bounds the owners of one set.
const maxOwners = maxSignatures

// ParseOwners decodes an owners file. The error is a *[Refusal] with
// head.malformed.
func ParseOwners(data []byte) (Owners, error) {
	o, err := decode[Owners](data, MaxOwners)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return Owners{}, Refuse(HeadMalformed, "parsing owners: %w", err)
	}
	return o, nil
}

// Encode returns the canonical bytes of o.
func (o Owners) Encode() ([]byte, error) {
	o.V = 1
	if err := o.check(); err != nil {
		return nil, Misused("", "encoding owners: %w", err)
	}
	return encode(o)
}

func (o Owners) check() error {
	if err := checkVersion(o.V); err != nil {
		return err
	}
	if len(o.Keys) == 0 || len(o.Keys) > maxOwners {
		return fmt.Errorf("%d keys, want 1 to %d", len(o.Keys), maxOwners)
	}
	if o.Threshold < 1 || o.Threshold > len(o.Keys) {
		return fmt.Errorf("threshold is %d, want 1 to %d", o.Threshold, len(o.Keys))
	}
	for i, k := range o.Keys {
		if _, err := k.PublicKey(UseOwner); err != nil {
			return err
		}
		if slices.ContainsFunc(o.Keys[:i], func(b JWK) bool { return b.Kid == k.Kid }) {
			return fmt.Errorf("key %s is there twice", quote(k.Kid))
		}
	}
	if o.Renewal != nil {
		if _, err := o.Renewal.PublicKey(UseRenewal); err != nil {
			return err
		}
		if slices.ContainsFunc(o.Keys, func(b JWK) bool { return b.Kid == o.Renewal.Kid }) {
			return errors.New("the renewal key is an owner's")
		}
	}
	return nil
}

// sameSigners tells whether the same keys sign with the same threshold.
func (o Owners) sameSigners(p Owners) bool {
	if o.Threshold != p.Threshold || len(o.Keys) != len(p.Keys) {
		return false
	}
	for _, k := range o.Keys {
		if !slices.ContainsFunc(p.Keys, func(b JWK) bool { return b.Kid == k.Kid }) {
			return false
		}
	}
	return true
}

// verify checks that at least the threshold signed.
func (o Owners) verify(env envelope, payload []byte) error {
	signers, err := env.signers(payload, o.Keys, UseOwner)
	if err != nil {
		return err
	}
	if len(signers) < o.Threshold || o.Threshold < 1 {
		return fmt.Errorf("%d of %d owners signed, want %d", len(signers), len(o.Keys), o.Threshold)
	}
	return nil
}

// A Head is what the owners say is current. Its counter is the only epoch that
// there is.
type Head struct {
	// Counter rises by one with each change.
	Counter uint64 `json:"counter"`
	// Digests of the files that count.
	Deny Digest `json:"deny"`
	// Grace is for how many seconds after a newer head arrived at a node
	// tickets under this one still count: 0 to 3600.
	Grace int64 `json:"grace"`
	// NotAfter is in Unix seconds. No ticket outlives it; a renewal moves it.
	NotAfter   int64  `json:"not_after"`
	Owners     Digest `json:"owners"`
	Policy     Digest `json:"policy"`
	References Digest `json:"references"`
	Roots      Digest `json:"roots"`
	V          int    `json:"v"`
}

func (h Head) check() error {
	if err := checkVersion(h.V); err != nil {
		return err
	}
	if h.Counter == 0 {
		return errors.New("counter is 0, want at least 1")
	}
	if h.Grace < 0 || time.Duration(h.Grace) > MaxGrace/time.Second {
		return fmt.Errorf("grace is %s, want 0s to %s", span(h.Grace), span(int64(MaxGrace/time.Second)))
	}
	if h.NotAfter <= 0 {
		return errors.New("not_after is missing")
	}
	return first(checkSHA256("deny", h.Deny), checkSHA256("owners", h.Owners), checkSHA256("policy", h.Policy),
		checkSHA256("references", h.References), checkSHA256("roots", h.Roots))
}

// SignHead signs h. Further owners add to it with [AddHeadSignature].
func SignHead(h Head, keys ...*Key) ([]byte, error) {
	h.V = 1
	if err := h.check(); err != nil {
		return nil, Misused("", "signing head: %w", err)
	}
	payload, err := encode(h)
	if err != nil {
		return nil, err
	}
	return seal(HeadType, payload, keys)
}

// AddHeadSignature adds the signature of one more owner to a signed head.
func AddHeadSignature(data []byte, key *Key) ([]byte, error) {
	if _, err := ParseHeadInsecure(data); err != nil {
		return nil, err
	}
	out, err := addSignature(data, HeadType, MaxHead, key)
	if err != nil {
		return nil, Refuse(HeadMalformed, "signing head: %w", err)
	}
	return out, nil
}

// ParseHeadInsecure decodes a signed head without looking at its signatures,
// for showing it and for adding one. The error is a *[Refusal] with
// head.malformed.
func ParseHeadInsecure(data []byte) (Head, error) {
	h, _, _, err := parseHead(data)
	return h, err
}

func parseHead(data []byte) (Head, envelope, []byte, error) {
	env, payload, err := parseEnvelope(data, HeadType, MaxHead)
	if err != nil {
		return Head{}, envelope{}, nil, Refuse(HeadMalformed, "opening head: %w", err)
	}
	h, err := decode[Head](payload, MaxHead)
	if err == nil {
		err = h.check()
	}
	if err != nil {
		return Head{}, envelope{}, nil, Refuse(HeadMalformed, "opening head: %w", err)
	}
	return h, env, payload, nil
}

// A Renewal moves the end of a head without changing its bytes.
type Renewal struct {
	Counter uint64 `json:"counter"`
	// Head is the digest of the head's payload.
	Head Digest `json:"head"`
	// Iat and NotAfter are Unix seconds, at most MaxRenewalLife apart.
	Iat      int64 `json:"iat"`
	NotAfter int64 `json:"not_after"`
	V        int   `json:"v"`
}

func (r Renewal) check() error {
	if r.Counter == 0 {
		return errors.New("counter is 0, want at least 1")
	}
	return first(checkVersion(r.V), checkSHA256("head", r.Head), checkWindow(r.Iat, r.NotAfter, MaxRenewalLife))
}

// SignRenewal signs r with the renewal key.
func SignRenewal(r Renewal, key *Key) ([]byte, error) {
	r.V = 1
	if err := r.check(); err != nil {
		return nil, Misused("", "signing renewal: %w", err)
	}
	payload, err := encode(r)
	if err != nil {
		return nil, err
	}
	return seal(RenewalType, payload, []*Key{key})
}

// openRenewal checks a renewal of the head with counter and digest.
func openRenewal(data []byte, owners Owners, counter uint64, head Digest) (Renewal, error) {
	env, payload, err := parseEnvelope(data, RenewalType, MaxHead)
	if err != nil {
		return Renewal{}, Refuse(HeadMalformed, "opening renewal: %w", err)
	}
	r, err := decode[Renewal](payload, MaxHead)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Renewal{}, Refuse(HeadMalformed, "opening renewal: %w", err)
	}
	if owners.Renewal == nil {
		return Renewal{}, Refuse(HeadSignature, "opening renewal: the owners name no renewal key")
	}
	signers, err := env.signers(payload, []JWK{*owners.Renewal}, UseRenewal)
	if err != nil {
		return Renewal{}, Refuse(HeadSignature, "opening renewal: %w", err)
	}
	if len(signers) != 1 {
		return Renewal{}, Refuse(HeadSignature, "opening renewal: not signed by the renewal key")
	}
	if r.Counter != counter || r.Head != head {
		return Renewal{}, Refuse(HeadSignature, "opening renewal: it is for head %d %s, not for %d %s", r.Counter, r.Head.Short(), counter, head.Short())
	}
	return r, nil
}

// A HeadSet is a head with all that is needed to check and use it: what
// travels, and what lies on disks. All of it is untrusted until [OpenHead].
type HeadSet struct {
	// Changes are the heads up to this one that changed the owners, oldest
	// first, each with the owners file that it names.
	Changes []OwnerChange `json:"changes,omitempty"`
	// Deny are the deny documents in force.
	Deny [][]byte `json:"deny,omitempty"`
	// Files are the files that the head names, in any order: owners, references
	// and deny list for everyone, policy and roots for daemons.
	Files [][]byte `json:"files"`
	// Head is the signed head.
	Head []byte `json:"head"`
	// Renewal is the newest renewal, or absent.
	Renewal []byte `json:"renewal,omitempty"`
	V       int    `json:"v"`
}

// An OwnerChange is a head that changed the owners.
type OwnerChange struct {
	Head   []byte `json:"head"`
	Owners []byte `json:"owners"`
}

// Limits of a HeadSet, in items and in encoded bytes.
const (
	maxChanges = 256
	maxDenies  = maxOwners * maxOwnerDenies
	maxFiles   = 8
	// maxOwnerDenies bounds the deny documents of one owner, and MaxDeny their
	// payloads together: one compromised owner must not leave the others without
	// room.
	maxOwnerDenies = 8
	// MaxHeadSet bounds an encoded head set.
	MaxHeadSet = 16 << 20
)

// ParseHeadSet decodes a head set. The error is a *[Refusal] with
// head.malformed.
func ParseHeadSet(data []byte) (HeadSet, error) {
	s, err := decode[HeadSet](data, MaxHeadSet)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return HeadSet{}, Refuse(HeadMalformed, "parsing head set: %w", err)
	}
	return s, nil
}

// Encode returns the canonical bytes of s.
func (s HeadSet) Encode() ([]byte, error) {
	s.V = 1
	if err := s.check(); err != nil {
		return nil, Misused("", "encoding head set: %w", err)
	}
	return encode(s)
}

func (s HeadSet) check() error {
	if err := checkVersion(s.V); err != nil {
		return err
	}
	if len(s.Changes) > maxChanges || len(s.Deny) > maxDenies || len(s.Files) > maxFiles {
		return fmt.Errorf("%d owner changes, %d deny documents, %d files, want at most %d, %d, %d",
			len(s.Changes), len(s.Deny), len(s.Files), maxChanges, maxDenies, maxFiles)
	}
	for _, f := range s.Files {
		if len(f) > MaxFile {
			return fmt.Errorf("a file has %d bytes, want at most %d", len(f), MaxFile)
		}
	}
	return nil
}

// File returns the file with digest d, or a *[Refusal] with head.file.
func (s HeadSet) File(what string, d Digest) ([]byte, error) {
	for _, f := range s.Files {
		if SHA256(f) == d {
			return f, nil
		}
	}
	return nil, Refuse(HeadFile, "no %s file with digest %s, which the head names", what, d.Short())
}

// A CheckedHead is a head that the owners signed, with the files that every
// reader needs.
type CheckedHead struct {
	Head
	// Digest is the SHA-256 of the head's payload.
	Digest Digest
	// Until is when the head ends, the renewal taken into account, whose iat may
	// still be ahead: see [CheckedHead.EndsAt].
	Until time.Time
	// Renewed is when the renewal was signed, or zero without one.
	Renewed time.Time
	// Owners are those who sign now, from this head on.
	Owners Owners
	// References and DenyFile are the files of the head.
	References References
	DenyFile   DenyList
	// Docs are the deny documents, expired ones too, in the order of the set.
	Docs []CheckedDeny
	// Set is what it was opened from.
	Set HeadSet

	changed bool          // this head changed the owners
	walked  []OwnerChange // those of Set.Changes that were followed
}

// OpenHead checks set, walking from the owners in the reader's own
// configuration along the heads that changed owners. It does not look at a
// clock: see [CheckedHead.CheckAt]. A reader that already holds a head calls
// [CheckedHead.OpenNewer] instead. The error is a *[Refusal] of the family head,
// or a *[Misuse] for owners that are no set.
func OpenHead(set HeadSet, anchor Owners) (CheckedHead, error) {
	if err := set.check(); err != nil {
		return CheckedHead{}, Refuse(HeadMalformed, "opening head: %w", err)
	}
	h, env, payload, err := parseHead(set.Head)
	if err != nil {
		return CheckedHead{}, err
	}
	if h.Counter < anchor.After {
		return CheckedHead{}, Refuse(HeadRollback, "opening head %d: older than %d, which this reader begins with", h.Counter, anchor.After)
	}
	owners, walked, err := walkOwners(set.Changes, anchor, h.Counter, payload)
	if err != nil {
		return CheckedHead{}, err
	}
	if err := owners.verify(env, payload); err != nil {
		return CheckedHead{}, Refuse(HeadSignature, "opening head %d: %w", h.Counter, err)
	}
	file, err := set.File("owners", h.Owners)
	if err != nil {
		return CheckedHead{}, err
	}
	next, err := ParseOwners(file)
	if err != nil {
		return CheckedHead{}, err
	}
	changed := !next.sameSigners(owners)
	if changed {
		if err := next.verify(env, payload); err != nil {
			return CheckedHead{}, Refuse(HeadSignature, "opening head %d, which changes the owners: of the new ones %w", h.Counter, err)
		}
	}
	next.After = h.Counter
	c := CheckedHead{Head: h, Digest: SHA256(payload), Until: time.Unix(h.NotAfter, 0), Owners: next, Set: set, changed: changed, walked: walked}
	if len(set.Renewal) > 0 {
		r, err := openRenewal(set.Renewal, next, h.Counter, c.Digest)
		if err != nil {
			return CheckedHead{}, err
		}
		c.Renewed = time.Unix(r.Iat, 0)
		if until := time.Unix(r.NotAfter, 0); until.After(c.Until) {
			c.Until = until
		}
	}
	if file, err = set.File("references", h.References); err != nil {
		return CheckedHead{}, err
	}
	if c.References, err = ParseReferences(file); err != nil {
		return CheckedHead{}, err
	}
	if file, err = set.File("deny list", h.Deny); err != nil {
		return CheckedHead{}, err
	}
	if c.DenyFile, err = ParseDenyList(file); err != nil {
		return CheckedHead{}, err
	}
	for _, raw := range set.Deny {
		d, err := OpenDeny(raw, next)
		if err != nil {
			return CheckedHead{}, err
		}
		c.Docs = append(c.Docs, d)
	}
	return c, checkRoom(c.Docs)
}

// checkRoom refuses documents of one owner beyond its share.
func checkRoom(docs []CheckedDeny) error {
	count, size := map[string]int{}, map[string]int{}
	for _, d := range docs {
		count[d.Owner]++
		size[d.Owner] += d.size
		if count[d.Owner] > maxOwnerDenies || size[d.Owner] > MaxDeny {
			return Refuse(HeadMalformed, "owner %s has %d deny documents of %d bytes, want at most %d of %d together",
				quote(d.Owner), count[d.Owner], size[d.Owner], maxOwnerDenies, MaxDeny)
		}
	}
	return nil
}

// OpenNewer checks a set that is offered to a reader which holds h, and returns
// what to hold from then on, its Set for the disk. Whoever carries a set can
// leave things out of it, so what h has counts on: the owners reached (with
// [Owners.After]), the changes on the way to them, deny documents that have not
// lapsed, and the renewal and files of an equal head. The error is a *[Refusal]
// of the family head: head.rollback for a lower counter, head.conflict for other
// contents under the same one.
func (h CheckedHead) OpenNewer(set HeadSet, at time.Time) (CheckedHead, error) {
	n, err := OpenHead(set, h.Owners)
	if err != nil {
		return CheckedHead{}, err
	}
	if err := n.CheckAfter(h.Counter, h.Digest); err != nil {
		return CheckedHead{}, err
	}
	kept := HeadSet{V: 1, Head: set.Head, Renewal: set.Renewal, Changes: slices.Clone(h.Set.Changes)}
	if last := len(kept.Changes) - 1; h.changed && (last < 0 || !slices.Equal(kept.Changes[last].Head, h.Set.Head)) {
		file, err := h.Set.File("owners", h.Head.Owners)
		if err != nil {
			return CheckedHead{}, err
		}
		kept.Changes = append(kept.Changes, OwnerChange{Head: h.Set.Head, Owners: file})
	}
	kept.Changes = append(kept.Changes, n.walked...)
	for _, digest := range []Digest{n.Head.Deny, n.Head.Owners, n.Head.Policy, n.Head.References, n.Head.Roots} {
		for _, from := range []HeadSet{set, h.Set} {
			if file, err := from.File("", digest); err == nil {
				kept.Files = append(kept.Files, file)
				break
			}
		}
	}
	if n.Counter == h.Counter && h.EndsAt(at).After(n.EndsAt(at)) {
		kept.Renewal = h.Set.Renewal
	}
	kept.Deny = keepDenies(h, n, at)
	return OpenHead(kept, h.Owners)
}

// keepDenies returns the deny documents that h holds and those that n brings,
// without the lapsed ones, those of former owners, and those beyond an owner's
// share, of which what is held stays.
func keepDenies(h, n CheckedHead, at time.Time) [][]byte {
	var raw [][]byte
	var docs []CheckedDeny
	for _, from := range []CheckedHead{h, n} {
		for i, d := range from.Docs {
			old := slices.ContainsFunc(docs, func(b CheckedDeny) bool { return b.Digest == d.Digest })
			if _, err := OpenDeny(from.Set.Deny[i], n.Owners); old || err != nil || !d.Active(at) {
				continue
			}
			if checkRoom(append(docs, d)) == nil {
				docs, raw = append(docs, d), append(raw, from.Set.Deny[i])
			}
		}
	}
	return raw
}

// walkOwners returns the owners that the changes lead to, up to the head with
// counter and payload, and the changes that it followed. A change that the reached set did not sign is passed
// over: it is older than the reader's configuration, or forged, and then the
// head itself will not verify.
func walkOwners(changes []OwnerChange, anchor Owners, counter uint64, head []byte) (owners Owners, walked []OwnerChange, err error) {
	if err := (Owners{Keys: anchor.Keys, Renewal: anchor.Renewal, Threshold: anchor.Threshold, V: 1}).check(); err != nil {
		return Owners{}, nil, Misused("name the owners' keys and how many must sign", "checking configured owners: %w", err)
	}
	owners = anchor
	last := uint64(0)
	for _, change := range changes {
		h, env, payload, err := parseHead(change.Head)
		if err != nil {
			return Owners{}, nil, err
		}
		switch {
		case h.Counter <= last:
			return Owners{}, nil, Refuse(HeadMalformed, "walking owner changes: counter %d after %d", h.Counter, last)
		case h.Counter > counter:
			return Owners{}, nil, Refuse(HeadMalformed, "walking owner changes: counter %d, the head has %d", h.Counter, counter)
		case h.Counter == counter && !bytes.Equal(payload, head):
			return Owners{}, nil, Refuse(HeadConflict, "walking owner changes: head %d has two contents", h.Counter)
		}
		last = h.Counter
		next, err := ParseOwners(change.Owners)
		if err != nil {
			return Owners{}, nil, err
		}
		if SHA256(change.Owners) != h.Owners {
			return Owners{}, nil, Refuse(HeadFile, "walking owner changes: the owners file is not the one that head %d names", h.Counter)
		}
		if h.Counter <= anchor.After {
			continue
		}
		if owners.verify(env, payload) == nil && next.verify(env, payload) == nil {
			owners, walked = next, append(walked, change)
		}
	}
	return owners, walked, nil
}

// EndsAt is when the head ends, as seen at a time. A renewal from the future does
// not count yet: the renewal key moves the end by 7 days and never by years.
func (h CheckedHead) EndsAt(at time.Time) time.Time {
	if h.Renewed.After(at.Add(MaxSkew)) {
		return time.Unix(h.NotAfter, 0)
	}
	return h.Until
}

// CheckAt refuses an expired head with head.expired.
func (h CheckedHead) CheckAt(at time.Time) error {
	if end := h.EndsAt(at); !at.Before(end) {
		return Refuse(HeadExpired, "head %d expired %s", h.Counter, unixUTC(end.Unix()))
	}
	return nil
}

// CheckAfter compares h with the highest head that the reader has seen: a lower
// counter is head.rollback, the same counter with other contents head.conflict.
// A zero counter means that the reader has seen none.
func (h CheckedHead) CheckAfter(counter uint64, digest Digest) error {
	switch {
	case h.Counter < counter:
		return Refuse(HeadRollback, "head %d is older than %d, which was seen here", h.Counter, counter)
	case h.Counter == counter && digest != "" && h.Digest != digest:
		return Refuse(HeadConflict, "head %d has two contents: %s and %s", h.Counter, h.Digest.Short(), digest.Short())
	default:
		return nil
	}
}

// ActiveDocs returns the deny documents that count at a time.
func (h CheckedHead) ActiveDocs(at time.Time) []CheckedDeny {
	var out []CheckedDeny
	for _, d := range h.Docs {
		if d.Active(at) {
			out = append(out, d)
		}
	}
	return out
}

// DenyAt returns all that is denied at a time: the head's file and the deny
// documents.
func (h CheckedHead) DenyAt(at time.Time) DenyList {
	list := h.DenyFile
	for _, d := range h.ActiveDocs(at) {
		list = list.Merge(d.Entries)
	}
	return list
}
