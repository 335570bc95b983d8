// SPDX-License-Identifier: Apache-2.0

package tuf

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// fits tells whether data has the length and the hashes that were named, as far as
// they were.
func fits(data []byte, m *metaFile) bool {
	if m.Length > 0 && int64(len(data)) != m.Length {
		return false
	}
	for algorithm, want := range m.Hashes {
		var sum []byte
		switch algorithm {
		case "sha256":
			s := sha256.Sum256(data)
			sum = s[:]
		case "sha512":
			s := sha512.Sum512(data)
			sum = s[:]
		}
		if raw, err := hex.DecodeString(want); err != nil || sum == nil || !bytes.Equal(raw, sum) {
			return false
		}
	}
	return true
}

// search finds the role whose word about a path counts: preorder, depth first, in
// the order of the delegations, ending at a terminating one (specification 5.6.7).
// It calls need before it looks into a delegated role, and returns no role where
// none names the path. go-tuf's own search reads path_hash_prefixes as base64,
// where the specification has hex.
func search(docs map[string]*document, name string, need func(role, delegator string) error) (string, error) {
	type visit struct{ role, delegator string }
	stack, seen := []visit{{roleTargets, roleRoot}}, map[string]bool{}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[v.role] {
			continue
		}
		if len(seen) > maxRoles {
			return "", verdict.Fail(verdict.InputLimit, "looking for the target %s: more than %d roles", clip(name), maxRoles)
		}
		seen[v.role] = true
		if v.delegator != roleRoot {
			if err := need(v.role, v.delegator); err != nil {
				return "", err
			}
		}
		d := docs[v.role]
		if d.Targets[name] != nil {
			return v.role, nil
		}
		if d.Delegations == nil {
			continue
		}
		var next []visit
		for _, r := range d.Delegations.Roles {
			if !r.covers(name) {
				continue
			}
			next = append(next, visit{r.Name, v.role})
			if r.Terminating {
				stack = nil
				break
			}
		}
		slices.Reverse(next)
		stack = append(stack, next...)
	}
	return "", nil
}

// covers tells whether the delegation is about the path. In patterns a * does not
// match a slash.
func (r *delegation) covers(name string) bool {
	if r.Paths != nil {
		return slices.ContainsFunc(*r.Paths, func(p string) bool {
			ok, err := path.Match(p, name)
			return ok && err == nil
		})
	}
	sum := sha256.Sum256([]byte(name))
	return slices.ContainsFunc(*r.PathHashPrefixes, func(p string) bool {
		return strings.HasPrefix(hex.EncodeToString(sum[:]), p)
	})
}

// A Snapshot is what a repository says at one time, all of it verified. It does
// not change, and may be used concurrently.
type Snapshot struct {
	digest           verdict.Digest
	fetched, expires time.Time
	versions         map[string]int64
	docs             map[string]*document
	edges            map[string][]verdict.Digest
	signers          []verdict.Digest // of what every role rests on
	files            map[string][]byte
	paths            map[string][]string // by SHA-256
}

// A Match is a target of the digest that was looked for.
type Match struct {
	// Path is the target's path; Role the role whose word about it counts.
	Path, Role string
	// Length is in bytes.
	Length int64
	// Digests are the target's, at most one of each algorithm.
	Digests []verdict.Digest
	// Keys are those whose signatures it rests on, as digests of their
	// SubjectPublicKeyInfo: of the roots after a pinned one, of timestamp, snapshot,
	// and every role on the way to it.
	Keys []verdict.Digest
}

func (c *client) snapshot() *Snapshot {
	s := &Snapshot{
		fetched: c.next.Fetched, expires: c.root.Expires, docs: c.docs, edges: c.edges, files: c.next.Files,
		versions: map[string]int64{roleRoot: c.root.Version}, paths: map[string][]string{}, signers: c.rooted,
	}
	for _, role := range []string{roleTimestamp, roleSnapshot} {
		s.signers = slices.Concat(s.signers, c.docs[role].signers(c.root.Roles[role], c.root.Keys))
	}
	if c.cfg.MaxAge > 0 {
		s.expire(s.fetched.Add(c.cfg.MaxAge))
	}
	for role, d := range c.docs {
		s.versions[role] = d.Version
		s.expire(d.Expires)
		for name, f := range d.Targets {
			if sum := strings.ToLower(f.Hashes["sha256"]); sum != "" && !slices.Contains(s.paths[sum], name) {
				s.paths[sum] = append(s.paths[sum], name)
			}
		}
	}
	root := c.cfg.Root
	if n := len(c.next.Roots); n > 0 {
		root = c.next.Roots[n-1]
	}
	parts := map[string][]byte{"root": root, "timestamp": c.next.Timestamp, "snapshot": c.next.Snapshot}
	for role, data := range c.next.Roles {
		parts["role "+role] = data
	}
	for name, data := range c.next.Files {
		parts["file "+name] = data
	}
	for i, data := range c.next.Roots {
		parts[fmt.Sprintf("root %d", i)] = data // whose keys it rests on
	}
	s.digest = Epoch(parts)
	return s
}

// Epoch is the digest over the digests of all parts, by name.
func Epoch(parts map[string][]byte) verdict.Digest {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintf(&b, "%s %q\n", verdict.SHA256(parts[name]), name)
	}
	return verdict.SHA256([]byte(b.String()))
}

func (s *Snapshot) expire(t time.Time) {
	if t.Before(s.expires) {
		s.expires = t
	}
}

// Digest names all that the snapshot says: another one may allow something else.
func (s *Snapshot) Digest() verdict.Digest { return s.digest }

// Expires is the time after which nothing of it counts.
func (s *Snapshot) Expires() time.Time { return s.expires }

// Fetched is when the repository was last asked.
func (s *Snapshot) Fetched() time.Time { return s.fetched }

// Versions are the versions of the roles, for people.
func (s *Snapshot) Versions() map[string]int64 { return maps.Clone(s.versions) }

// Check fails with trust.stale if the snapshot has expired at the time.
func (s *Snapshot) Check(at time.Time) error {
	if at.After(s.expires) {
		return verdict.Fail(verdict.TrustStale, "using trust metadata: fetched at %s, it counts until %s", s.fetched.Format(time.RFC3339), s.expires.Format(time.RFC3339))
	}
	return nil
}

// Target returns a copy of a file that [Config.Targets] names.
func (s *Snapshot) Target(name string) ([]byte, error) {
	data, ok := s.files[name]
	if !ok {
		return nil, verdict.Fail(verdict.TrustMissing, "using trust metadata: the target %s was not asked for", clip(name))
	}
	return bytes.Clone(data), nil
}

var errUnread = errors.New("the search comes to a role that was not read")

// Lookup finds the targets with a digest, in lower-case hex, and a size in bytes,
// -1 where that is not known. A target counts in the role alone that the search
// for its path ends in. The order is that of the paths.
func (s *Snapshot) Lookup(sha256 string, size int64) []Match {
	var found []Match
	for _, name := range slices.Sorted(slices.Values(s.paths[sha256])) {
		via := map[string]string{roleTargets: roleRoot}
		role, err := search(s.docs, name, func(role, delegator string) error {
			if s.edges[delegator+"\x00"+role] == nil {
				return errUnread
			}
			via[role] = delegator
			return nil
		})
		if err != nil || role == "" {
			continue
		}
		f := s.docs[role].Targets[name]
		if !strings.EqualFold(f.Hashes["sha256"], sha256) || size >= 0 && size != *f.Length {
			continue
		}
		m := Match{Path: name, Role: role, Length: *f.Length}
		for _, algorithm := range slices.Sorted(maps.Keys(f.Hashes)) {
			m.Digests = append(m.Digests, verdict.Digest(algorithm+":"+strings.ToLower(f.Hashes[algorithm])))
		}
		m.Keys = slices.Clone(s.signers)
		for r := role; r != roleRoot; r = via[r] {
			m.Keys = append(m.Keys, s.edges[via[r]+"\x00"+r]...)
		}
		found = append(found, m)
	}
	return found
}
