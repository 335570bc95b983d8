// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"maps"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/assayd/assay/verdict"
)

// MaxID is the longest SPIFFE ID that is accepted, in bytes (design.md §4.3).
const MaxID = 255

// maxPatterns bounds the patterns of one configuration; the overlap check is
// quadratic.
const maxPatterns = 256

// A Role is what a caller is to the daemon. The zero value is no role and may
// call nothing.
type Role string

// The roles.
const (
	// RoleNode is an assay-node; only nodes get tickets.
	RoleNode Role = "node"
	// RoleAdmission is an admission webhook of a cluster.
	RoleAdmission Role = "admission"
	// RoleCI is a pipeline that asks before it deploys.
	RoleCI Role = "ci"
	// RoleAuditor reads the log.
	RoleAuditor Role = "auditor"
	// RoleAdmin delivers what owners signed and looks at the daemon's state.
	RoleAdmin Role = "admin"
)

// AllRoles returns the roles in the order of the documentation.
func AllRoles() []Role {
	return []Role{RoleNode, RoleAdmission, RoleCI, RoleAuditor, RoleAdmin}
}

// Patterns gives each role the SPIFFE IDs that have it, as in the measured
// configuration. A pattern is a SPIFFE ID with at least three path segments, of
// which the last two are the cluster and the name; either may be "*", which
// stands for one whole segment:
//
//	spiffe://dev.assay.invalid/assay/node/*/*
//
// A role without a pattern has no members.
type Patterns map[Role][]string

// Roles tells the role of a SPIFFE ID. The zero value and nil know none.
// It is safe for concurrent use.
type Roles struct {
	trustDomain spiffeid.TrustDomain
	patterns    []pattern
}

// NewRoles checks the patterns for one trust domain. It returns a
// [*verdict.Misuse] for a pattern that is malformed, of another trust domain or
// of an unknown role, for two patterns of different roles that have an ID in
// common, and when there is no pattern at all.
func NewRoles(trustDomain string, p Patterns) (*Roles, error) {
	td, err := parseTrustDomain(trustDomain)
	if err != nil {
		return nil, err
	}
	r := &Roles{trustDomain: td}
	for _, role := range slices.Sorted(maps.Keys(p)) {
		if !slices.Contains(AllRoles(), role) {
			return nil, verdict.Misused("the roles are node, admission, ci, auditor and admin", "reading roles: unknown role %.64q", role)
		}
		for _, text := range p[role] {
			q, err := parsePattern(text)
			if err != nil {
				return nil, err
			}
			if q.trustDomain != td {
				return nil, verdict.Misused("callers of other trust domains have no role", "reading roles: pattern %q of role %s is of trust domain %q, want %q", text, role, q.trustDomain.Name(), td.Name())
			}
			if len(r.patterns) == maxPatterns {
				return nil, verdict.Misused("use wildcards", "reading roles: more than %d patterns", maxPatterns)
			}
			q.role = role
			for _, other := range r.patterns {
				if other.text == q.text && other.role == role {
					return nil, verdict.Misused("remove one", "reading roles: pattern %q of role %s is there twice", text, role)
				}
				if other.role != role && other.overlaps(q) {
					return nil, verdict.Misused("one SPIFFE ID has one role: narrow one of the patterns", "reading roles: an ID may match %q of role %s and %q of role %s", other.text, other.role, text, role)
				}
			}
			r.patterns = append(r.patterns, q)
		}
	}
	if len(r.patterns) == 0 {
		return nil, verdict.Misused("give at least one role a pattern", "reading roles: no pattern, so nobody could call")
	}
	return r, nil
}

// TrustDomain returns the name of the trust domain, empty for the zero value.
func (r *Roles) TrustDomain() string {
	if r == nil {
		return ""
	}
	return r.trustDomain.Name()
}

// RoleOf returns the role of a SPIFFE ID, and false when it has none.
func (r *Roles) RoleOf(id string) (Role, bool) {
	p, err := r.peerOf(id)
	if err != nil {
		return "", false
	}
	return p.Role, true
}

// peerOf returns the peer that id names, or a [*verdict.Refusal]
// peer.trust-domain or peer.role.
func (r *Roles) peerOf(id string) (*Peer, error) {
	parsed, err := parseID(id)
	if err != nil {
		return nil, verdict.Refuse(verdict.PeerTrustDomain, "reading the peer's SPIFFE ID: %w", err)
	}
	if r == nil || parsed.TrustDomain() != r.trustDomain {
		return nil, verdict.Refuse(verdict.PeerTrustDomain, "reading the peer's SPIFFE ID: %q is of trust domain %q, want %q", id, parsed.TrustDomain().Name(), r.TrustDomain())
	}
	segments := segmentsOf(parsed)
	for _, p := range r.patterns {
		if p.matches(segments) {
			n := len(segments)
			return &Peer{ID: id, Role: p.role, Cluster: segments[n-2], Name: segments[n-1]}, nil
		}
	}
	return nil, verdict.Refuse(verdict.PeerRole, "reading the peer's SPIFFE ID: %q has no role here", id)
}

// A Verbs table gives each full gRPC method name ("/package.Service/Method") the
// roles that may call it. A method that is not in it may be called by nobody.
type Verbs map[string][]Role

// Allowed tells whether the role may call the method. It denies by default.
func (v Verbs) Allowed(role Role, fullMethod string) bool {
	return role != "" && slices.Contains(v[fullMethod], role)
}

// Check is [Verbs.Allowed] as an error: a [*verdict.Refusal] peer.role that
// names the peer, the method and who may call it.
func (v Verbs) Check(p *Peer, fullMethod string) error {
	if p == nil {
		return verdict.Refuse(verdict.PeerRole, "calling %.128s: the peer is not known", fullMethod)
	}
	if v.Allowed(p.Role, fullMethod) {
		return nil
	}
	want := "nobody"
	if roles := v[fullMethod]; len(roles) > 0 {
		names := make([]string, len(roles))
		for i, r := range roles {
			names[i] = string(r)
		}
		want = strings.Join(names, " or ")
	}
	return verdict.Refuse(verdict.PeerRole, "calling %.128s: %s has role %s, want %s", fullMethod, p.ID, p.Role, want)
}

// A pattern is a parsed member of [Patterns]: literal segments, of which the
// last two may be "*".
type pattern struct {
	text        string
	role        Role
	trustDomain spiffeid.TrustDomain
	segments    []string
}

// wildcard stands for one whole path segment. No segment of a SPIFFE ID can
// be it: "*" is outside the alphabet of SPIFFE-ID §2.2.
const wildcard = "*"

// minSegments is the least number of path segments of a pattern: a literal one
// that says what the ID is for, the cluster and the name.
const minSegments = 3

// parsePattern reads one pattern. Wildcards are allowed for cluster and name
// only: one further left would let whoever names workloads choose the role.
func parsePattern(text string) (pattern, error) {
	misuse := func(hint, what string) (pattern, error) {
		return pattern{}, verdict.Misused(hint, "reading roles: pattern %.64q %s", text, what)
	}
	if len(text) > MaxID {
		return misuse("SPIFFE IDs have at most 255 bytes here", "is too long")
	}
	rest, ok := strings.CutPrefix(text, "spiffe://")
	if !ok {
		return misuse("write spiffe://TRUST-DOMAIN/assay/ROLE/*/*", "does not begin with spiffe://")
	}
	name, path, ok := strings.Cut(rest, "/")
	if !ok {
		return misuse("write spiffe://TRUST-DOMAIN/assay/ROLE/*/*", "has no path")
	}
	td, err := parseTrustDomain(name)
	if err != nil {
		return misuse("a trust domain is lower-case letters, digits, dots, dashes and underscores, and never a wildcard", "has no valid trust domain")
	}
	segments := strings.Split(path, "/")
	if len(segments) < minSegments {
		return misuse("the last two segments are the cluster and the name, and a fixed one stands before them", "has fewer than three path segments")
	}
	for i, s := range segments {
		if s == wildcard {
			if i < len(segments)-2 {
				return misuse("only the cluster and the name, the last two segments, may be *", "has a wildcard too far left")
			}
			continue
		}
		if strings.Contains(s, wildcard) {
			return misuse("* stands for one whole segment", "has a wildcard inside a segment")
		}
		if err := spiffeid.ValidatePathSegment(s); err != nil {
			return misuse("segments are letters, digits, dots, dashes and underscores", "has an empty or malformed path segment")
		}
	}
	return pattern{text: text, trustDomain: td, segments: segments}, nil
}

// segmentsOf returns the path's segments; the path begins with a slash.
func segmentsOf(id spiffeid.ID) []string { return strings.Split(id.Path(), "/")[1:] }

func (p pattern) matchesID(id spiffeid.ID) bool {
	return p.trustDomain == id.TrustDomain() && p.matches(segmentsOf(id))
}

func (p pattern) matches(segments []string) bool {
	return slices.EqualFunc(p.segments, segments, func(want, got string) bool {
		return want == wildcard || want == got
	})
}

func (p pattern) overlaps(o pattern) bool {
	return slices.EqualFunc(p.segments, o.segments, func(a, b string) bool {
		return a == wildcard || b == wildcard || a == b
	})
}

// parseTrustDomain reads the name of a trust domain, without scheme.
func parseTrustDomain(name string) (spiffeid.TrustDomain, error) {
	// TrustDomainFromString also takes whole IDs, which a name is not.
	if strings.ContainsAny(name, ":/") {
		return spiffeid.TrustDomain{}, verdict.Misused("write the name alone, as example.org", "reading trust domain %.64q: want a name without scheme and path", name)
	}
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return spiffeid.TrustDomain{}, verdict.Misused("write the name alone, as example.org", "reading trust domain %.64q: %w", name, err)
	}
	return td, nil
}

// parseID reads the SPIFFE ID of a workload: it has a path, and at most
// [MaxID] bytes.
func parseID(id string) (spiffeid.ID, error) {
	if len(id) > MaxID {
		return spiffeid.ID{}, verdict.Misused("use a shorter ID", "reading SPIFFE ID: it has %d bytes, want at most %d", len(id), MaxID)
	}
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return spiffeid.ID{}, verdict.Misused("write spiffe://TRUST-DOMAIN/PATH", "reading SPIFFE ID %.64q: %w", id, err)
	}
	if parsed.Path() == "" {
		return spiffeid.ID{}, verdict.Misused("write spiffe://TRUST-DOMAIN/PATH", "reading SPIFFE ID %.64q: it has no path, so it names no workload", id)
	}
	return parsed, nil
}
