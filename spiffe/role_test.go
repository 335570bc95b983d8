// SPDX-License-Identifier: Apache-2.0

package spiffe_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
)

const (
	td       = "dev.assay.invalid"
	daemonID = "spiffe://dev.assay.invalid/assay/d/demo/assayd"
	nodeID   = "spiffe://dev.assay.invalid/assay/node/demo/node-a"
)

func patterns() spiffe.Patterns {
	return spiffe.Patterns{
		spiffe.RoleNode:      {"spiffe://dev.assay.invalid/assay/node/*/*"},
		spiffe.RoleAdmission: {"spiffe://dev.assay.invalid/assay/admission/*/admission"},
		spiffe.RoleCI:        {"spiffe://dev.assay.invalid/assay/ci/demo/*", "spiffe://dev.assay.invalid/ci/deep/er/project/*"},
		spiffe.RoleAuditor:   {"spiffe://dev.assay.invalid/assay/auditor/demo/auditor"},
		spiffe.RoleAdmin:     {"spiffe://dev.assay.invalid/assay/admin/demo/admin"},
	}
}

func newRoles(t *testing.T) *spiffe.Roles {
	t.Helper()
	r, err := spiffe.NewRoles(td, patterns())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoleOf(t *testing.T) {
	roles := newRoles(t)
	for _, tt := range []struct {
		name, id string
		want     spiffe.Role
	}{
		{"node", nodeID, spiffe.RoleNode},
		{"node of any cluster", "spiffe://dev.assay.invalid/assay/node/other/node-z", spiffe.RoleNode},
		{"admission of any cluster", "spiffe://dev.assay.invalid/assay/admission/other/admission", spiffe.RoleAdmission},
		{"ci of one cluster", "spiffe://dev.assay.invalid/assay/ci/demo/job", spiffe.RoleCI},
		{"second pattern", "spiffe://dev.assay.invalid/ci/deep/er/project/job", spiffe.RoleCI},
		{"no wildcard", "spiffe://dev.assay.invalid/assay/auditor/demo/auditor", spiffe.RoleAuditor},
		{"admin", "spiffe://dev.assay.invalid/assay/admin/demo/admin", spiffe.RoleAdmin},

		{"admission of another name", "spiffe://dev.assay.invalid/assay/admission/other/webhook", ""},
		{"ci of another cluster", "spiffe://dev.assay.invalid/assay/ci/prod/job", ""},
		{"daemon", daemonID, ""},
		{"role that is none", "spiffe://dev.assay.invalid/assay/root/demo/root", ""},
		{"segment less", "spiffe://dev.assay.invalid/assay/node/demo", ""},
		{"segment more", nodeID + "/x", ""},
		{"prefix of a segment", "spiffe://dev.assay.invalid/assay/nod/demo/node-a", ""},
		{"segment as prefix", "spiffe://dev.assay.invalid/assay/nodes/demo/node-a", ""},
		{"other case", "spiffe://dev.assay.invalid/assay/Node/demo/node-a", ""},
		{"other trust domain", "spiffe://prod.assay.invalid/assay/node/demo/node-a", ""},
		{"trust domain as suffix", "spiffe://x.dev.assay.invalid/assay/node/demo/node-a", ""},
		{"trailing slash", nodeID + "/", ""},
		{"empty segment", "spiffe://dev.assay.invalid/assay/node//node-a", ""},
		{"dot segment", "spiffe://dev.assay.invalid/assay/node/../node-a", ""},
		{"asterisk as a name", "spiffe://dev.assay.invalid/assay/node/demo/*", ""},
		{"percent", "spiffe://dev.assay.invalid/assay/node/demo/node%2da", ""},
		{"query", nodeID + "?x", ""},
		{"fragment", nodeID + "#x", ""},
		{"port", "spiffe://dev.assay.invalid:443/assay/node/demo/node-a", ""},
		{"user", "spiffe://x@dev.assay.invalid/assay/node/demo/node-a", ""},
		{"scheme in capitals", "SPIFFE://dev.assay.invalid/assay/node/demo/node-a", ""},
		{"other scheme", "https://dev.assay.invalid/assay/node/demo/node-a", ""},
		{"no path", "spiffe://dev.assay.invalid", ""},
		{"empty", "", ""},
		{"255 bytes", nodeID + strings.Repeat("x", spiffe.MaxID-len(nodeID)), spiffe.RoleNode},
		{"256 bytes", nodeID + strings.Repeat("x", spiffe.MaxID+1-len(nodeID)), ""},
		{"NUL", nodeID + "\x00", ""},
		{"newline", nodeID + "\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := roles.RoleOf(tt.id)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("got role %q, %t, want %q", got, ok, tt.want)
			}
		})
	}
}

func TestRolesDenyByDefault(t *testing.T) {
	var none *spiffe.Roles
	for _, r := range []*spiffe.Roles{none, {}} {
		if role, ok := r.RoleOf(nodeID); ok || role != "" {
			t.Errorf("got role %q, %t of no roles", role, ok)
		}
		if got := r.TrustDomain(); got != "" {
			t.Errorf("got trust domain %q of no roles", got)
		}
	}
}

func TestNewRolesMisuse(t *testing.T) {
	with := func(role spiffe.Role, add ...string) spiffe.Patterns {
		p := patterns()
		p[role] = append(p[role], add...)
		return p
	}
	for _, tt := range []struct {
		name string
		td   string
		p    spiffe.Patterns
		want string
	}{
		{"no pattern", td, nil, "no pattern"},
		{"roles without a pattern", td, spiffe.Patterns{spiffe.RoleNode: nil}, "no pattern"},
		{"unknown role", td, with("root", "spiffe://dev.assay.invalid/assay/root/*/*"), "unknown role"},
		{"no role", td, with("", "spiffe://dev.assay.invalid/assay/root/*/*"), "unknown role"},
		{"trust domain empty", "", patterns(), "trust domain"},
		{"trust domain with scheme", "spiffe://dev.assay.invalid", patterns(), "trust domain"},
		{"trust domain with path", "dev.assay.invalid/assay", patterns(), "trust domain"},
		{"trust domain in capitals", "DEV.assay.invalid", patterns(), "trust domain"},
		{"trust domain a wildcard", "*", patterns(), "trust domain"},
		{"pattern of another trust domain", td, with(spiffe.RoleCI, "spiffe://prod.assay.invalid/assay/ci2/*/*"), "is of trust domain"},
		{"pattern with a wildcard trust domain", td, with(spiffe.RoleCI, "spiffe://*/assay/ci2/*/*"), "no valid trust domain"},
		{"pattern without trust domain", td, with(spiffe.RoleCI, "spiffe:///assay/ci2/*/*"), "no valid trust domain"},
		{"pattern without scheme", td, with(spiffe.RoleCI, "dev.assay.invalid/assay/ci2/*/*"), "spiffe://"},
		{"pattern empty", td, with(spiffe.RoleCI, ""), "spiffe://"},
		{"pattern without path", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid"), "no path"},
		{"pattern too short", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/ci2/*"), "fewer than three"},
		{"pattern all wildcards", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/*/*/*"), "too far left"},
		{"wildcard for the role", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/*/demo/x"), "too far left"},
		{"wildcard inside a segment", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/ci2/demo/job-*"), "inside a segment"},
		{"two stars", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/ci2/demo/**"), "inside a segment"},
		{"trailing slash", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/ci2/*/"), "malformed path segment"},
		{"empty segment", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay//ci2/*/*"), "malformed path segment"},
		{"dot segment", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/../ci2/*/*"), "malformed path segment"},
		{"space", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/ci2/*/* "), "inside a segment"},
		{"too long", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/ci2/*/"+strings.Repeat("x", spiffe.MaxID)), "too long"},
		{"twice", td, with(spiffe.RoleCI, "spiffe://dev.assay.invalid/assay/ci/demo/*"), "twice"},
		{"same ID in two roles", td, with(spiffe.RoleAdmin, nodeID), "may match"},
		{"overlap of wildcards", td, spiffe.Patterns{
			spiffe.RoleNode: {"spiffe://dev.assay.invalid/assay/x/*/a"},
			spiffe.RoleCI:   {"spiffe://dev.assay.invalid/assay/x/b/*"},
		}, "may match"},
		{"too many", td, spiffe.Patterns{spiffe.RoleNode: many(257)}, "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := spiffe.NewRoles(tt.td, tt.p)
			m, ok := errors.AsType[*verdict.Misuse](err)
			if !ok || !strings.Contains(m.Text, tt.want) || m.Hint == "" {
				t.Errorf("got %v, want a misuse with a hint about %q", err, tt.want)
			}
			if r != nil {
				t.Errorf("got roles beside an error")
			}
		})
	}
	// The neighbours of what is refused: overlap within a role, and patterns
	// that share all but one fixed segment.
	if _, err := spiffe.NewRoles(td, spiffe.Patterns{
		spiffe.RoleNode: {"spiffe://dev.assay.invalid/assay/x/*/*", "spiffe://dev.assay.invalid/assay/x/a/b"},
		spiffe.RoleCI:   {"spiffe://dev.assay.invalid/assay/y/*/*", "spiffe://dev.assay.invalid/assay/x/y/*/*"},
	}); err != nil {
		t.Error(err)
	}
	if _, err := spiffe.NewRoles(td, spiffe.Patterns{spiffe.RoleNode: many(256)}); err != nil {
		t.Error(err)
	}
}

func many(n int) []string {
	ps := make([]string, n)
	for i := range ps {
		ps[i] = "spiffe://dev.assay.invalid/assay/node/" + strings.Repeat("x", i%100+1) + "/" + strings.Repeat("y", i/100+1)
	}
	return ps
}

func TestVerbs(t *testing.T) {
	verbs := spiffe.Verbs{
		"/assay.v1.S/Verify": {spiffe.RoleNode, spiffe.RoleCI},
		"/assay.v1.S/Nobody": nil,
		"/assay.v1.S/Odd":    {""},
	}
	for _, tt := range []struct {
		role   spiffe.Role
		method string
		want   bool
	}{
		{spiffe.RoleNode, "/assay.v1.S/Verify", true},
		{spiffe.RoleCI, "/assay.v1.S/Verify", true},
		{spiffe.RoleAdmin, "/assay.v1.S/Verify", false},
		{spiffe.RoleNode, "/assay.v1.S/verify", false},
		{spiffe.RoleNode, "assay.v1.S/Verify", false},
		{spiffe.RoleNode, "/assay.v1.S/Nobody", false},
		{spiffe.RoleNode, "/assay.v1.S/Unknown", false},
		{"", "/assay.v1.S/Verify", false},
		{"", "/assay.v1.S/Odd", false},
	} {
		if got := verbs.Allowed(tt.role, tt.method); got != tt.want {
			t.Errorf("role %q, method %s: got %t, want %t", tt.role, tt.method, got, tt.want)
		}
		err := verbs.Check(&spiffe.Peer{ID: nodeID, Role: tt.role}, tt.method)
		if (err == nil) != tt.want || !tt.want && verdict.CodeOf(err) != verdict.PeerRole {
			t.Errorf("role %q, method %s: got %v, want allowed %t, else %s", tt.role, tt.method, err, tt.want, verdict.PeerRole)
		}
	}
	if spiffe.Verbs(nil).Allowed(spiffe.RoleAdmin, "/assay.v1.S/Verify") {
		t.Error("no table allows something")
	}
	if err := verbs.Check(nil, "/assay.v1.S/Verify"); verdict.CodeOf(err) != verdict.PeerRole {
		t.Errorf("no peer: got %v, want %s", err, verdict.PeerRole)
	}
}

// FuzzNewRoles: a pattern that is accepted matches, with its wildcards filled
// in, exactly one ID shape, and the role of an ID is the one whose pattern it
// was.
func FuzzNewRoles(f *testing.F) {
	var goods, ids [][]byte
	for _, role := range slices.Sorted(maps.Keys(patterns())) {
		for _, p := range patterns()[role] {
			goods, ids = append(goods, []byte(p)), append(ids, []byte(strings.ReplaceAll(p, "*", "x")))
		}
	}
	for _, pair := range [][2]string{
		{"spiffe://*/a/b/c", "spiffe://x/a/b/c"}, {"spiffe://dev.assay.invalid/a/*/*", "spiffe://dev.assay.invalid/a/b/*"},
		{"spiffe://dev.assay.invalid/a/../*", "spiffe://dev.assay.invalid/a/./b"}, {"spiffe://dev.assay.invalid/assay/node/*/*", nodeID},
	} {
		goods, ids = append(goods, []byte(pair[0])), append(ids, []byte(pair[1]))
	}
	count, some, others := fuzz.NewCount(f), fuzz.NewGoods(f, goods...), fuzz.NewGoods(f, ids...)
	for i := range byte(len(goods)) {
		f.Add([]byte{0x20 + i}, []byte{0x20 + i})
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		pattern, id := string(some.Of(a)), string(others.Of(b))
		count.Add(strings.HasPrefix(pattern, "spiffe://") && strings.HasPrefix(id, "spiffe://"))
		r, err := spiffe.NewRoles(td, spiffe.Patterns{spiffe.RoleNode: {pattern}})
		if err != nil {
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || r != nil {
				t.Fatalf("got %v, %v, want a misuse and no roles", r, err)
			}
			return
		}
		filled := strings.ReplaceAll(pattern, "*", "x")
		if role, ok := r.RoleOf(filled); !ok || role != spiffe.RoleNode {
			t.Errorf("pattern %q does not match %q", pattern, filled)
		}
		for _, other := range []string{filled + "/x", filled[:strings.LastIndexByte(filled, '/')], filled + "/", "spiffe://x" + filled[len("spiffe://"):]} {
			if _, ok := r.RoleOf(other); ok {
				t.Errorf("pattern %q matches %q", pattern, other)
			}
		}
		if _, ok := r.RoleOf(id); ok {
			ps, is := strings.Split(pattern, "/"), strings.Split(id, "/")
			if len(ps) != len(is) {
				t.Fatalf("pattern %q matches %q", pattern, id)
			}
			for i := range ps {
				if ps[i] != is[i] && (ps[i] != "*" || is[i] == "" || i < len(ps)-2) {
					t.Errorf("pattern %q matches %q", pattern, id)
				}
			}
		}
	})
}
