// SPDX-License-Identifier: Apache-2.0

// Package notaryv1 reads collections of Docker Content Trust (Notary v1): which
// tags of a repository have which digest, says the holder of a root key that is
// pinned. It never signs, and it trusts nothing at first sight.
package notaryv1

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/tuf"
)

// A Config says which collection it is, and whose.
type Config struct {
	// GUN is the collection's name: the repository with its host, such as
	// docker.io/acme/app.
	GUN string
	// Name is what the certificates of the root keys are for: docker has one root
	// key for all collections of a publisher, and only the certificate tells them
	// apart. Empty means GUN.
	Name string
	// RootKeys are pinned, and signatures of other root keys do not count.
	RootKeys []crypto.PublicKey
	// MaxAge is how long what a refresh found may be used without another; 0
	// is until its own expiry.
	MaxAge time.Duration
}

// NewServer makes a fetcher for a collection at a Notary server: https, or http on
// this machine. The client may be nil.
func NewServer(baseURL, gun string, client *http.Client) (*tuf.HTTP, error) {
	if err := checkGUN(gun); err != nil {
		return nil, err
	}
	return tuf.NewHTTP(strings.TrimSuffix(baseURL, "/")+"/v2/"+gun+"/_trust/tuf", client)
}

// IsRole tells whether the name is targets or that of a delegation.
func IsRole(name string) bool {
	return name == roleTargets || len(name) <= maxRoleName && delegationName.MatchString(name)
}

func checkGUN(gun string) error {
	if len(gun) > 255 || !gunName.MatchString(gun) {
		return verdict.Misused("write it as docker.io/acme/app", "%q is no name of a collection", clip(gun))
	}
	return nil
}

// stateName is the one name that is stored.
const stateName = "notary-v1-state"

// state is what is stored. Nothing of it is believed but Fetched, which nobody
// signs.
type state struct {
	Version int
	Fetched time.Time
	Roles   map[string][]byte
}

// collection is what was read in one refresh or load.
type collection struct {
	cfg    Config
	pinned map[verdict.Digest]bool
	roles  map[string][]byte
	docs   map[string]*document
	// signers are the keys of a role that signed it.
	signers map[string][]verdict.Digest
	left    int64
}

// source returns the metadata of a role.
type source func(role string, limit int64) ([]byte, error)

// Refresh asks the server at time at, and stores what it says. An error leaves
// what was stored as it was: an answer that is older than what was seen is
// trust.rollback, one past its expiry trust.stale. One store serves one collection,
// and one refresh at a time.
func Refresh(ctx context.Context, cfg Config, store tuf.Store, fetch tuf.Fetcher, at time.Time) (*Snapshot, error) {
	c, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	_, old, err := stored(cfg, store)
	if err != nil {
		return nil, err
	}
	if err := c.read(func(role string, limit int64) ([]byte, error) { return get(ctx, fetch, role, limit) }); err != nil {
		return nil, err
	}
	if old != nil {
		if err := c.follows(old); err != nil {
			return nil, err
		}
	}
	s := c.snapshot(at)
	if err := s.Check(at); err != nil {
		return nil, err
	}
	data, err := json.Marshal(state{Version: 1, Fetched: at, Roles: c.roles})
	if err == nil {
		err = store.Put(stateName, data)
	}
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "storing the collection: %w", err)
	}
	return s, nil
}

// maxAhead is by how much a clock may be behind the one of the last refresh.
const maxAhead = 5 * time.Minute

// Load answers from what the last refresh stored, verified again. It is a
// failure trust.missing where there is nothing, and trust.stale where that has
// expired or is older than MaxAge.
func Load(cfg Config, store tuf.Store, at time.Time) (*Snapshot, error) {
	st, c, err := stored(cfg, store)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, verdict.Fail(verdict.TrustMissing, "loading the collection: nothing is stored under these root keys, want a refresh")
	}
	if at.Before(st.Fetched.Add(-maxAhead)) {
		return nil, verdict.Fail(verdict.ClockBehind, "loading the collection: it was fetched at %s, want a clock that is not before", st.Fetched.Format(time.RFC3339))
	}
	s := c.snapshot(st.Fetched)
	return s, s.Check(at)
}

func begin(cfg Config) (*collection, error) {
	if err := checkGUN(cfg.GUN); err != nil {
		return nil, err
	}
	if len(cfg.RootKeys) == 0 || len(cfg.RootKeys) > maxKeys || cfg.MaxAge < 0 {
		return nil, verdict.Misused("pin the root key of the publisher", "the collection %s has %d root keys and max-age %s, want 1 to %d and none that is negative", cfg.GUN, len(cfg.RootKeys), cfg.MaxAge, maxKeys)
	}
	if cfg.Name == "" {
		cfg.Name = cfg.GUN
	}
	c := &collection{cfg: cfg, pinned: map[verdict.Digest]bool{}, roles: map[string][]byte{}, docs: map[string]*document{}, signers: map[string][]verdict.Digest{}, left: maxTotal}
	for _, pub := range cfg.RootKeys {
		f, err := Fingerprint(pub)
		if err != nil {
			return nil, verdict.Misused("", "a root key of %s: %w", cfg.GUN, err)
		}
		c.pinned[f] = true
	}
	return c, nil
}

// stored reads what is stored, and none where it was under other root keys.
func stored(cfg Config, store tuf.Store) (st state, c *collection, err error) {
	if c, err = begin(cfg); err != nil {
		return st, nil, err
	}
	data, ok := store.Get(stateName)
	if !ok {
		return st, nil, nil
	}
	if err := json.Unmarshal(data, &st); err != nil || st.Version != 1 {
		return st, nil, verdict.Fail(verdict.TrustMissing, "loading the collection: what is stored is not readable; delete it to begin anew without its memory of versions")
	}
	err = c.read(func(role string, _ int64) ([]byte, error) {
		data, ok := st.Roles[role]
		if !ok {
			return nil, verdict.Fail(verdict.TrustMissing, "loading the collection: %s is not stored", role)
		}
		return data, nil
	})
	if verdict.CodeOf(err) == verdict.KeyUnknown {
		return st, nil, nil
	}
	if err != nil {
		return st, nil, verdict.Fail(verdict.TrustMissing, "loading the collection: what is stored does not verify; delete it to begin anew without its memory of versions: %w", err)
	}
	return st, c, nil
}

func get(ctx context.Context, fetch tuf.Fetcher, role string, limit int64) ([]byte, error) {
	data, err := fetch.Fetch(ctx, role+".json", limit)
	switch {
	case errors.Is(err, tuf.ErrNotFound):
		return nil, verdict.Fail(verdict.TrustMissing, "fetching the collection: the server has no %s", role)
	case err != nil:
		if _, ok := errors.AsType[*verdict.Failure](err); ok {
			return nil, err
		}
		return nil, verdict.Fail(verdict.TrustMissing, "fetching %s of the collection: %w", role, err)
	case int64(len(data)) > limit:
		return nil, verdict.Fail(verdict.InputLimit, "fetching %s of the collection: more than %d bytes", role, limit)
	}
	return data, nil
}

// read reads and verifies all roles. Time is judged by the caller.
func (c *collection) read(from source) error {
	root, err := c.document(from, roleRoot, maxRoot, nil)
	if err != nil {
		return err
	}
	if err := c.checkRoot(root); err != nil {
		return err
	}
	timestamp, err := c.signedBy(from, roleTimestamp, maxTimestamp, nil, root.Roles[roleTimestamp], root.Keys)
	if err != nil {
		return err
	}
	snapshot, err := c.signedBy(from, roleSnapshot, maxSnapshot, timestamp.Meta[roleSnapshot], root.Roles[roleSnapshot], root.Keys)
	if err != nil {
		return err
	}
	if m := snapshot.Meta[roleRoot]; m == nil || !m.fits(c.roles[roleRoot]) {
		return verdict.Fail(verdict.RegistryDigestMismatch, "reading root of the collection: other bytes than snapshot names")
	}
	if _, err := c.signedBy(from, roleTargets, maxTargets, snapshot.Meta[roleTargets], root.Roles[roleTargets], root.Keys); err != nil {
		return err
	}
	return c.delegated(from, snapshot)
}

// delegated reads all delegated roles. One that was not published yet has no tags.
func (c *collection) delegated(from source, snapshot *document) error {
	queue := []string{roleTargets}
	for len(queue) > 0 {
		d := c.docs[queue[0]].Delegations
		queue = queue[1:]
		if d == nil {
			continue
		}
		for _, r := range d.Roles {
			m := snapshot.Meta[r.Name]
			if m == nil {
				continue
			}
			if len(c.docs) >= maxRoles+4 {
				return verdict.Fail(verdict.InputLimit, "reading the collection: more than %d delegated roles", maxRoles)
			}
			if _, err := c.signedBy(from, r.Name, maxTargets, m, &r.keyRole, d.Keys); err != nil {
				return err
			}
			queue = append(queue, r.Name)
		}
	}
	return nil
}

func (c *collection) document(from source, role string, limit int64, named *file) (*document, error) {
	data, err := from(role, limit)
	if err != nil {
		return nil, err
	}
	if c.left -= int64(len(data)); c.left < 0 {
		return nil, verdict.Fail(verdict.InputLimit, "reading the collection: more than %d bytes in all", maxTotal)
	}
	if named != nil && !named.fits(data) {
		return nil, verdict.Fail(verdict.RegistryDigestMismatch, "reading %s of the collection: other bytes than were named", role)
	}
	d, err := parse(data, role)
	if err != nil {
		return nil, err
	}
	c.roles[role], c.docs[role] = data, d
	return d, nil
}

func (c *collection) signedBy(from source, role string, limit int64, named *file, r *keyRole, keys map[string]*key) (*document, error) {
	d, err := c.document(from, role, limit, named)
	if err != nil {
		return nil, err
	}
	c.signers[role] = d.signers(r, keys)
	if n := len(c.signers[role]); n < r.Threshold {
		code := verdict.SigCount
		if n == 0 {
			code = verdict.SigInvalid
		}
		return nil, verdict.Refuse(code, "reading %s of the collection: signed by %d of its keys, want %d", role, n, r.Threshold)
	}
	return d, nil
}

// checkRoot wants the signatures of pinned keys, whose certificates are for this
// collection: a publisher may have one root key for many.
func (c *collection) checkRoot(root *document) error {
	r := root.Roles[roleRoot]
	known := keyRole{Threshold: r.Threshold}
	for _, id := range r.KeyIDs {
		k := root.Keys[id]
		if !c.pinned[k.fingerprint] {
			continue
		}
		if k.cert == nil {
			return verdict.Refuse(verdict.InputUnsupported, "reading root of the collection: a root key without a certificate says not for which collection it is")
		}
		if k.cert.Subject.CommonName != c.cfg.Name {
			return verdict.Refuse(verdict.SubjectRepository, "reading root of the collection: it is for %q, want %q", clip(k.cert.Subject.CommonName), c.cfg.Name)
		}
		known.KeyIDs = append(known.KeyIDs, id)
	}
	if len(known.KeyIDs) == 0 {
		return verdict.Refuse(verdict.KeyUnknown, "reading root of the collection %s: none of its root keys is pinned", c.cfg.GUN)
	}
	c.signers[roleRoot] = root.signers(&known, root.Keys)
	if n := len(c.signers[roleRoot]); n == 0 {
		return verdict.Refuse(verdict.SigInvalid, "reading root of the collection: no pinned key signed it")
	} else if n < r.Threshold {
		return verdict.Refuse(verdict.SigCount, "reading root of the collection: signed by %d pinned keys, want %d", n, r.Threshold)
	}
	return nil
}

// follows refuses what is older than what was seen. Where a role got other keys
// its versions begin anew: a thief may have put them forward (TUF 5.3.11).
func (c *collection) follows(old *collection) error {
	reset := c.keysOf(roleTimestamp) != old.keysOf(roleTimestamp) || c.keysOf(roleSnapshot) != old.keysOf(roleSnapshot)
	for _, role := range slices.Sorted(maps.Keys(old.docs)) {
		before, now := old.docs[role], c.docs[role]
		switch role {
		case roleRoot:
		case roleTimestamp, roleSnapshot:
			if reset {
				continue
			}
		default:
			if c.keysOf(role) != old.keysOf(role) {
				continue
			}
		}
		switch {
		case now == nil:
			return verdict.Fail(verdict.TrustRollback, "reading the collection: %s, which was at version %d, is gone", role, before.Version)
		case now.Version < before.Version:
			return verdict.Fail(verdict.TrustRollback, "reading %s of the collection: version %d, and %d was seen: the server answers with something older", role, now.Version, before.Version)
		case now.Version == before.Version && !bytes.Equal(now.signed, before.signed):
			return verdict.Fail(verdict.TrustRollback, "reading %s of the collection: version %d has two contents", role, now.Version)
		}
	}
	return nil
}

// keysOf describes who has to sign a role, and is empty for one that nobody may.
func (c *collection) keysOf(role string) string {
	r, keys := c.docs[roleRoot].Roles[role], c.docs[roleRoot].Keys
	if strings.Contains(role, "/") {
		r = nil
		if parent := c.docs[role[:strings.LastIndex(role, "/")]]; parent != nil && parent.Delegations != nil {
			for _, d := range parent.Delegations.Roles {
				if d.Name == role {
					r, keys = &d.keyRole, parent.Delegations.Keys
				}
			}
		}
	}
	if r == nil {
		return ""
	}
	var all []string
	for _, id := range r.KeyIDs {
		all = append(all, string(keys[id].fingerprint))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// A Snapshot is what a collection says at one time, all of it verified. It does
// not change, and may be used concurrently.
type Snapshot struct {
	digest           verdict.Digest
	fetched, expires time.Time
	docs             map[string]*document
	signers          map[string][]verdict.Digest
}

func (c *collection) snapshot(fetched time.Time) *Snapshot {
	s := &Snapshot{digest: tuf.Epoch(c.roles), fetched: fetched, docs: c.docs, signers: c.signers, expires: c.docs[roleRoot].Expires}
	expire := func(t time.Time) {
		if t.Before(s.expires) {
			s.expires = t
		}
	}
	for _, d := range c.docs {
		expire(d.Expires)
	}
	for _, id := range c.docs[roleRoot].Roles[roleRoot].KeyIDs {
		if k := c.docs[roleRoot].Keys[id]; c.pinned[k.fingerprint] {
			expire(k.cert.NotAfter)
		}
	}
	if c.cfg.MaxAge > 0 {
		expire(fetched.Add(c.cfg.MaxAge))
	}
	return s
}

// Digest names all that the snapshot says: another one may allow something else.
func (s *Snapshot) Digest() verdict.Digest { return s.digest }

// Expires is the time after which nothing of it counts.
func (s *Snapshot) Expires() time.Time { return s.expires }

// Check fails with trust.stale if the snapshot has expired at the time.
func (s *Snapshot) Check(at time.Time) error {
	if at.After(s.expires) {
		return verdict.Fail(verdict.TrustStale, "using the collection: fetched at %s, it counts until %s", s.fetched.Format(time.RFC3339), s.expires.Format(time.RFC3339))
	}
	return nil
}

// Lookup finds the tags of a role that have a digest, in lower-case hex, and a size
// in bytes, -1 where that is not known. The empty role is targets/releases where
// the collection delegates to it, and else targets; no other role is looked into
// when that has nothing. With the empty role it is a refusal if another role says
// that a tag which was found has another digest: nobody said whose word counts.
func (s *Snapshot) Lookup(sha256 string, size int64, role string) ([]tuf.Match, error) {
	chosen := role
	if chosen == "" {
		chosen = roleTargets
		if d := s.docs[roleTargets].Delegations; d != nil && slices.ContainsFunc(d.Roles, func(r *delegation) bool { return r.Name == roleReleases }) {
			chosen = roleReleases
		}
	}
	if chosen != roleTargets && !delegationName.MatchString(chosen) || s.docs[chosen] == nil {
		return nil, nil
	}
	var found []tuf.Match
	for _, tag := range slices.Sorted(maps.Keys(s.docs[chosen].Targets)) {
		f := s.docs[chosen].Targets[tag]
		if !s.covers(chosen, tag) || f.digests()[0].Hex() != sha256 || size >= 0 && size != *f.Length {
			continue
		}
		if role == "" {
			if other := s.contradicts(tag, f); other != "" {
				return nil, verdict.Refuse(verdict.SubjectMismatch, "looking for the image: %s and %s say that tag %s has different digests, want a role named in the policy", chosen, other, tag)
			}
		}
		found = append(found, tuf.Match{Path: tag, Role: chosen, Length: *f.Length, Digests: f.digests(), Keys: s.keys(chosen)})
	}
	return found, nil
}

// keys are those whose signatures the role rests on.
func (s *Snapshot) keys(role string) []verdict.Digest {
	all := slices.Concat(s.signers[roleRoot], s.signers[roleTimestamp], s.signers[roleSnapshot], s.signers[roleTargets])
	for ; role != roleTargets; role = role[:strings.LastIndex(role, "/")] {
		all = append(all, s.signers[role]...)
	}
	return all
}

// contradicts returns a role that has another digest for the tag.
func (s *Snapshot) contradicts(tag string, f *file) string {
	for _, role := range slices.Sorted(maps.Keys(s.docs)) {
		if g := s.docs[role].Targets[tag]; g != nil && s.covers(role, tag) && !bytes.Equal(g.Hashes["sha256"], f.Hashes["sha256"]) {
			return role
		}
	}
	return ""
}

// covers tells whether all delegations that lead to the role are about the tag.
func (s *Snapshot) covers(role, tag string) bool {
	for role != roleTargets {
		parent := role[:strings.LastIndex(role, "/")]
		d := s.docs[parent]
		if d == nil || d.Delegations == nil || !slices.ContainsFunc(d.Delegations.Roles, func(r *delegation) bool { return r.Name == role && r.covers(tag) }) {
			return false
		}
		role = parent
	}
	return true
}
