// SPDX-License-Identifier: Apache-2.0

package tuf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/assayd/assay/verdict"
)

var errPEM = errors.New("want one PEM block PUBLIC KEY")

// A Config says which repository it is, and what of it is wanted.
type Config struct {
	// Root is the pinned root.json: of any version, and it may have expired.
	Root []byte
	// MaxAge is how long what a refresh found may be used without another; 0
	// is until its own expiry.
	MaxAge time.Duration
	// Targets are paths of files to fetch, for [Snapshot.Target]. Where there
	// are none, all delegated roles are fetched instead, for [Snapshot.Lookup];
	// otherwise the roles alone that the search for these files passes.
	Targets []string
}

// stateName is the one name that is stored: a refresh replaces all or nothing, so
// that no crash leaves parts of two.
const stateName = "tuf-state"

// state is what is stored. Nothing of it is believed but Fetched, which nobody
// signs: who can write it can hide that MaxAge passed, and no expiry.
type state struct {
	Version   int
	Pin       verdict.Digest
	Fetched   time.Time
	Roots     [][]byte // those after the pinned one, in order
	Timestamp []byte
	Snapshot  []byte
	Roles     map[string][]byte // targets and delegated roles, by name
	Files     map[string][]byte // by path
}

// client is one refresh or one load.
type client struct {
	cfg     Config
	at      time.Time
	fetch   Fetcher // nil: from what is stored
	trusted *trustedmetadata.TrustedMetadata
	old     state
	next    state
	docs    map[string]*document // by role
	// edges are the keys of a delegator that signed a role, by delegator, NUL, role.
	edges map[string][]verdict.Digest
	root  *document
	// rooted are the keys that signed the roots after the pinned one.
	rooted []verdict.Digest
	left   int64
}

// Refresh asks the repository at time at, and stores what it says. An error leaves
// what was stored as it was, but for newer roots that were verified: an answer that
// is older than what was seen is trust.rollback, one past its expiry trust.stale.
// One store serves one repository, and one refresh at a time.
func Refresh(ctx context.Context, cfg Config, store Store, fetch Fetcher, at time.Time) (*Snapshot, error) {
	c := &client{cfg: cfg, at: at, fetch: fetch}
	if err := c.begin(store); err != nil {
		return nil, err
	}
	if err := c.roots(ctx); err != nil {
		return nil, err
	}
	// Keys that a newer root takes back stay taken back, whatever comes next.
	if len(c.next.Roots) > len(c.old.Roots) {
		kept := c.old
		kept.Version, kept.Pin, kept.Roots = 1, c.next.Pin, c.next.Roots
		if err := save(store, kept); err != nil {
			return nil, err
		}
	}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	c.next.Fetched = at
	if err := save(store, c.next); err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

// Load answers from what the last refresh stored, verified again. It is a
// failure trust.missing where there is nothing, and trust.stale where that has
// expired or is older than MaxAge.
func Load(cfg Config, store Store, at time.Time) (*Snapshot, error) {
	c := &client{cfg: cfg, at: at}
	if err := c.begin(store); err != nil {
		return nil, err
	}
	if c.old.Timestamp == nil {
		return nil, verdict.Fail(verdict.TrustMissing, "loading trust metadata: nothing is stored, want a refresh")
	}
	if err := c.roots(context.Background()); err != nil {
		return nil, err
	}
	if err := c.run(context.Background()); err != nil {
		return nil, err
	}
	c.next.Fetched = c.old.Fetched
	s := c.snapshot()
	if at.Before(s.fetched.Add(-maxAhead)) {
		return nil, verdict.Fail(verdict.ClockBehind, "loading trust metadata: it was fetched at %s, want a clock that is not before", s.fetched.Format(time.RFC3339))
	}
	return s, s.Check(at)
}

// maxAhead is by how much a clock may be behind the one of the last refresh.
const maxAhead = 5 * time.Minute

func save(store Store, s state) error {
	data, err := json.Marshal(s)
	if err == nil {
		err = store.Put(stateName, data)
	}
	if err != nil {
		return verdict.Fail(verdict.Internal, "storing trust metadata: %w", err)
	}
	return nil
}

// begin reads what is stored, and the pinned root.
func (c *client) begin(store Store) error {
	if len(c.cfg.Root) == 0 || len(c.cfg.Root) > maxRoot || c.cfg.MaxAge < 0 {
		return verdict.Misused("", "a TUF repository wants a root.json of at most %d bytes, and no negative max-age", maxRoot)
	}
	for _, name := range c.cfg.Targets {
		if !isPath(name) {
			return verdict.Misused("", "%q is no path of a target", clip(name))
		}
	}
	c.left, c.docs, c.edges = maxTotal, map[string]*document{}, map[string][]verdict.Digest{}
	c.next = state{Version: 1, Pin: verdict.SHA256(c.cfg.Root), Roles: map[string][]byte{}, Files: map[string][]byte{}}
	if data, ok := store.Get(stateName); ok {
		if err := json.Unmarshal(data, &c.old); err != nil || c.old.Version != 1 || len(c.old.Roots) > maxRotations {
			return verdict.Fail(verdict.TrustMissing, "loading trust metadata: what is stored is not readable; delete it to begin anew without its memory of versions")
		}
	}
	return c.pinned()
}

func (c *client) pinned() (err error) {
	if c.root, err = parse(c.cfg.Root, roleRoot); err != nil {
		return err
	}
	err = c.judge(roleRoot, c.root.Roles[roleRoot].Threshold, func() error {
		c.trusted, err = trustedmetadata.New(c.cfg.Root)
		return err
	})
	if err == nil {
		c.trusted.RefTime = c.at
	}
	c.rooted = nil
	return err
}

// obtain returns a file: what is stored when there is nobody to ask.
func (c *client) obtain(ctx context.Context, stored []byte, name string, limit int64) ([]byte, error) {
	if c.fetch == nil {
		if stored == nil {
			return nil, verdict.Fail(verdict.TrustMissing, "loading trust metadata: %s is not stored, want a refresh", clip(name))
		}
		return stored, c.count(stored)
	}
	data, err := c.fetch.Fetch(ctx, name, limit)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, err
	case err != nil:
		if _, ok := errors.AsType[*verdict.Failure](err); ok {
			return nil, err
		}
		return nil, verdict.Fail(verdict.TrustMissing, "fetching trust metadata %s: %w", clip(name), err)
	case int64(len(data)) > limit: // a fetcher that does not keep its word
		return nil, verdict.Fail(verdict.InputLimit, "fetching trust metadata %s: more than %d bytes", clip(name), limit)
	}
	return data, c.count(data)
}

// required is obtain for what has to be there.
func (c *client) required(ctx context.Context, stored []byte, name string, limit int64) ([]byte, error) {
	data, err := c.obtain(ctx, stored, name, limit)
	if errors.Is(err, ErrNotFound) {
		return nil, verdict.Fail(verdict.TrustMissing, "fetching trust metadata: the repository has no %s", clip(name))
	}
	return data, err
}

func (c *client) count(data []byte) error {
	if c.left -= int64(len(data)); c.left < 0 {
		return verdict.Fail(verdict.InputLimit, "fetching trust metadata: more than %d bytes in all", maxTotal)
	}
	return nil
}

// roots goes from the pinned root to the newest (specification 5.3). Roots between
// may have expired; the last one may not.
func (c *client) roots(ctx context.Context) error {
	if err := c.storedRoots(); err != nil {
		return err
	}
	for c.fetch != nil {
		data, err := c.obtain(ctx, nil, fmt.Sprintf("%d.root.json", c.root.Version+1), maxRoot)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if err := c.addRoot(data); err != nil {
			return err
		}
	}
	if c.at.After(c.root.Expires) {
		return stale(roleRoot, c.root)
	}
	return nil
}

// storedRoots follows the stored roots. Those of another pinned root count as far
// as this one leads to them; a chain that does not belong to it has no memory that
// we could use.
func (c *client) storedRoots() error {
	samePin := c.old.Pin == c.next.Pin
	for _, data := range c.old.Roots {
		if d, err := parse(data, roleRoot); err == nil && d.Version <= c.root.Version && !samePin {
			if d.Version < c.root.Version || bytes.Equal(data, c.cfg.Root) {
				continue
			}
		}
		err := c.addRoot(data)
		if err == nil {
			err = c.count(data)
		}
		switch {
		case err != nil && samePin:
			return verdict.Fail(verdict.TrustMissing, "loading trust metadata: the stored roots do not follow from the pinned one; delete them to begin anew: %w", err)
		case err != nil:
			c.old, c.next.Roots = state{}, nil
			return c.pinned()
		}
	}
	return nil
}

func (c *client) addRoot(data []byte) error {
	if len(c.next.Roots) >= maxRotations {
		return verdict.Fail(verdict.InputLimit, "following the roots: more than %d, want a newer one pinned", maxRotations)
	}
	d, err := parse(data, roleRoot)
	if err != nil {
		return err
	}
	if err := named(roleRoot, d.Version, c.root.Version+1); err != nil {
		return err
	}
	// Twice: once for the keys of the root before, once for its own.
	threshold := max(c.root.Roles[roleRoot].Threshold, d.Roles[roleRoot].Threshold)
	err = c.judge(roleRoot, threshold, func() error { _, err := c.trusted.UpdateRoot(data); return err })
	if err == nil {
		c.rooted = slices.Concat(c.rooted, d.signers(c.root.Roles[roleRoot], c.root.Keys), d.signers(d.Roles[roleRoot], d.Keys))
		c.root, c.next.Roots = d, append(c.next.Roots, data)
	}
	return err
}

// named compares a version with the one that was to come.
func named(role string, got, want int64) error {
	if got < want {
		return verdict.Fail(verdict.TrustRollback, "reading %s: version %d, want %d: the repository answers with something older", clip(role), got, want)
	}
	if got > want {
		return verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: version %d, want %d: its parts are not of one time", clip(role), got, want)
	}
	return nil
}

func stale(role string, d *document) error {
	return verdict.Fail(verdict.TrustStale, "reading %s: version %d expired at %s", clip(role), d.Version, d.Expires.Format(time.RFC3339))
}

func (c *client) run(ctx context.Context) error {
	if err := c.timestamp(ctx); err != nil {
		return err
	}
	if err := c.snapshotRole(ctx); err != nil {
		return err
	}
	if err := c.role(ctx, roleTargets, roleRoot); err != nil {
		return err
	}
	for _, name := range c.cfg.Targets {
		if err := c.file(ctx, name); err != nil {
			return err
		}
	}
	if len(c.cfg.Targets) > 0 {
		return nil
	}
	return c.everyRole(ctx)
}

// timestamp follows specification 5.4. The stored one is read first: it is the
// memory of versions.
func (c *client) timestamp(ctx context.Context) error {
	var before *document
	if c.old.Timestamp != nil && c.remembered() {
		before, _ = parse(c.old.Timestamp, roleTimestamp)
		if err := c.updateTimestamp(c.old.Timestamp); err != nil && !expired(err) {
			return err
		}
		c.keep(roleTimestamp, before, c.old.Timestamp)
	} else if c.fetch == nil {
		return verdict.Fail(verdict.TrustStale, "loading trust metadata: the keys of what is stored were taken back by a newer root, want a refresh")
	}
	if c.fetch != nil {
		data, err := c.required(ctx, nil, "timestamp.json", maxTimestamp)
		if err != nil {
			return err
		}
		d, err := parse(data, roleTimestamp)
		if err != nil {
			return err
		}
		switch err := c.updateTimestamp(data); {
		case errors.Is(err, errSame):
			// The stored one stands; the specification keeps it (5.4.3).
		case err != nil && !expired(err):
			return err
		default:
			c.keep(roleTimestamp, d, data)
		}
	}
	if d := c.docs[roleTimestamp]; c.at.After(d.Expires) {
		return stale(roleTimestamp, d)
	}
	return nil
}

func (c *client) keep(role string, d *document, data []byte) {
	c.docs[role] = d
	switch role {
	case roleTimestamp:
		c.next.Timestamp = data
	case roleSnapshot:
		c.next.Snapshot = data
	default:
		c.next.Roles[role] = data
	}
}

func (c *client) updateTimestamp(data []byte) error {
	return c.judge(roleTimestamp, c.root.Roles[roleTimestamp].Threshold, func() error {
		_, err := c.trusted.UpdateTimestamp(data)
		return err
	})
}

// remembered tells whether the stored timestamp and snapshot are signed by keys of
// the newest root. If those of either were taken back, both are forgotten: a thief
// may have put versions forward (specification 5.3.11).
func (c *client) remembered() bool {
	for role, data := range map[string][]byte{roleTimestamp: c.old.Timestamp, roleSnapshot: c.old.Snapshot} {
		if _, err := parse(data, role); err != nil {
			return false
		}
		err := c.judge(role, 1, func() error {
			if role == roleTimestamp {
				m, err := metadata.Timestamp().FromBytes(data)
				if err != nil {
					return err
				}
				return c.trusted.Root.VerifyDelegate(role, m)
			}
			m, err := metadata.Snapshot().FromBytes(data)
			if err != nil {
				return err
			}
			return c.trusted.Root.VerifyDelegate(role, m)
		})
		if err != nil {
			return false
		}
	}
	return true
}

// snapshotRole follows specification 5.5.
func (c *client) snapshotRole(ctx context.Context) error {
	want := c.docs[roleTimestamp].Meta[roleSnapshot+".json"]
	update := func(data []byte, trusted bool) error {
		return c.judge(roleSnapshot, c.root.Roles[roleSnapshot].Threshold, func() error {
			_, err := c.trusted.UpdateSnapshot(data, trusted)
			return err
		})
	}
	// Whether there is a memory was decided with the timestamp.
	if c.old.Snapshot != nil && c.remembered() {
		d, err := parse(c.old.Snapshot, roleSnapshot)
		if err != nil {
			return err
		}
		err = update(c.old.Snapshot, true)
		if c.trusted.Snapshot == nil {
			return err
		}
		if d.Version == want.Version && fits(c.old.Snapshot, want) {
			if c.at.After(d.Expires) {
				return stale(roleSnapshot, d)
			}
			c.keep(roleSnapshot, d, c.old.Snapshot)
			return err
		}
	}
	data, err := c.required(ctx, c.old.Snapshot, c.versioned(roleSnapshot, want.Version), limited(want, maxSnapshot))
	if err != nil {
		return err
	}
	if !fits(data, want) {
		return verdict.Fail(verdict.RegistryDigestMismatch, "reading snapshot: other bytes than timestamp names")
	}
	d, err := parse(data, roleSnapshot)
	if err != nil {
		return err
	}
	if err := named(roleSnapshot, d.Version, want.Version); err != nil {
		return err
	}
	if before := c.trusted.Snapshot; before != nil {
		for name, m := range before.Signed.Meta {
			if now := d.Meta[name]; now == nil || now.Version < m.Version {
				return verdict.Fail(verdict.TrustRollback, "reading snapshot: %s, which was at version %d, is older or gone", clip(name), m.Version)
			}
		}
	}
	if err := update(data, false); expired(err) {
		return stale(roleSnapshot, d)
	} else if err != nil {
		return err
	}
	c.keep(roleSnapshot, d, data)
	return nil
}

func (c *client) versioned(role string, version int64) string {
	// Names of roles are others' words: escaped, a slash in them is none of a path.
	name := url.PathEscape(role) + ".json"
	if c.root.Consistent {
		return strconv.FormatInt(version, 10) + "." + name
	}
	return name
}

func limited(m *metaFile, limit int64) int64 {
	if m.Length > 0 {
		return min(m.Length, limit)
	}
	return limit
}

// role reads the metadata of targets or of a delegated role (specification 5.6),
// unless that was done for this delegator.
func (c *client) role(ctx context.Context, role, delegator string) error {
	edge := delegator + "\x00" + role
	if c.edges[edge] != nil {
		return nil
	}
	want := c.docs[roleSnapshot].Meta[role+".json"]
	if want == nil {
		return verdict.Fail(verdict.TrustMissing, "reading %s: snapshot does not name it", clip(role))
	}
	if len(c.next.Roles) > maxRoles {
		return verdict.Fail(verdict.InputLimit, "reading %s: more than %d delegated roles", clip(role), maxRoles)
	}
	data, again := c.next.Roles[role]
	if !again {
		stored := c.old.Roles[role]
		if d, err := parse(stored, role); stored != nil && err == nil && d.Version == want.Version && fits(stored, want) {
			data = stored
			if err := c.count(data); err != nil {
				return err
			}
		} else if data, err = c.required(ctx, nil, c.versioned(role, want.Version), limited(want, maxTargets)); err != nil {
			return err
		}
	}
	if !fits(data, want) {
		return verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: other bytes than snapshot names", clip(role))
	}
	d, err := parse(data, role)
	if err != nil {
		return err
	}
	if err := named(role, d.Version, want.Version); err != nil {
		return err
	}
	r, keys := c.delegation(role, delegator)
	err = c.judge(role, r.Threshold, func() error {
		_, err := c.trusted.UpdateDelegatedTargets(data, role, delegator)
		return err
	})
	if expired(err) {
		return stale(role, d)
	}
	if err != nil {
		return err
	}
	c.edges[edge] = d.signers(r, keys)
	c.keep(role, d, data)
	return nil
}

// delegation is who has to sign a role, says its delegator.
func (c *client) delegation(role, delegator string) (*keyRole, map[string]*key) {
	if delegator == roleRoot {
		return c.root.Roles[role], c.root.Keys
	}
	d := c.docs[delegator].Delegations
	i := slices.IndexFunc(d.Roles, func(r *delegation) bool { return r.Name == role })
	return &d.Roles[i].keyRole, d.Keys
}

// everyRole reads all delegated roles. One that its delegator did not publish yet
// is left out, and a search that comes to it ends there.
func (c *client) everyRole(ctx context.Context) error {
	queue := []string{roleTargets}
	for len(queue) > 0 {
		delegator := queue[0]
		queue = queue[1:]
		d := c.docs[delegator]
		if d.Delegations == nil {
			continue
		}
		for _, r := range d.Delegations.Roles {
			if c.docs[roleSnapshot].Meta[r.Name+".json"] == nil {
				continue
			}
			_, seen := c.docs[r.Name]
			if err := c.role(ctx, r.Name, delegator); err != nil {
				return err
			}
			if !seen {
				queue = append(queue, r.Name)
			}
		}
	}
	return nil
}

// file reads one target (specification 5.7).
func (c *client) file(ctx context.Context, name string) error {
	role, err := search(c.docs, name, func(role, delegator string) error { return c.role(ctx, role, delegator) })
	if err != nil {
		return err
	}
	if role == "" {
		return verdict.Fail(verdict.TrustMissing, "looking for the target %s: the repository names none", clip(name))
	}
	want := c.docs[role].Targets[name]
	if *want.Length > maxFile {
		return verdict.Fail(verdict.InputLimit, "reading the target %s: %d bytes, want at most %d", clip(name), *want.Length, int64(maxFile))
	}
	meta := &metaFile{Length: *want.Length, Hashes: want.Hashes}
	data := c.old.Files[name]
	if data == nil || int64(len(data)) != *want.Length || !fits(data, meta) {
		where := name
		if c.root.Consistent {
			algorithm := slices.Min(slices.Collect(maps.Keys(want.Hashes)))
			dir, base := path.Split(name)
			where = dir + want.Hashes[algorithm] + "." + base
		}
		if data, err = c.required(ctx, nil, "targets/"+escaped(where), max(*want.Length, 1)); err != nil {
			return err
		}
	} else if err := c.count(data); err != nil {
		return err
	}
	if int64(len(data)) != *want.Length || !fits(data, meta) {
		return verdict.Fail(verdict.RegistryDigestMismatch, "reading the target %s: other bytes than %s names", clip(name), clip(role))
	}
	c.next.Files[name] = data
	return nil
}

// escaped escapes each part of a path, and no slash.
func escaped(p string) string { return (&url.URL{Path: p}).EscapedPath() }

var errSame = errors.New("the version is the one that is known")

// expired tells whether err is that, of metadata that is otherwise acceptable.
func expired(err error) bool {
	_, ok := errors.AsType[*metadata.ErrExpiredMetadata](err)
	return ok
}

// judge calls go-tuf, and gives its errors codes. It panics at some documents that
// pass as metadata: those are malformed, whoever signed them.
func (c *client) judge(role string, threshold int, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = malformed(role, "go-tuf gave up: %v", clip(fmt.Sprint(p)))
		}
	}()
	err = call()
	if err == nil || expired(err) {
		return err
	}
	if _, ok := errors.AsType[*metadata.ErrEqualVersionNumber](err); ok {
		return errSame
	}
	if _, ok := errors.AsType[*metadata.ErrBadVersionNumber](err); ok {
		return verdict.Fail(verdict.TrustRollback, "reading %s: the repository answers with something older: %w", clip(role), err)
	}
	if _, ok := errors.AsType[*metadata.ErrLengthOrHashMismatch](err); ok {
		return verdict.Fail(verdict.RegistryDigestMismatch, "reading %s: other bytes than were named: %w", clip(role), err)
	}
	if _, ok := errors.AsType[*metadata.ErrUnsignedMetadata](err); ok {
		if threshold > 1 {
			return verdict.Refuse(verdict.SigCount, "reading %s: %w", clip(role), err)
		}
		return verdict.Refuse(verdict.SigInvalid, "reading %s: %w", clip(role), err)
	}
	return malformed(role, "%w", err)
}
