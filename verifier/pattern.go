// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"slices"
	"strings"
)

// maxPattern bounds a pattern in bytes.
const maxPattern = 512

// everything is the pattern of all repositories.
const everything = "**"

// A globPattern is a text with "*" in it, each standing for one or more
// characters outside stop. There is nothing else: "?", "[" and "!" mean
// different things in different places.
type globPattern struct {
	parts []string // the text between the stars
	stop  string
}

func parseGlob(s, stop string) (globPattern, error) {
	if s == "" || len(s) > maxPattern {
		return globPattern{}, fmt.Errorf("pattern has %d bytes, want 1 to %d", len(s), maxPattern)
	}
	if i := strings.IndexAny(s, `?[]{}!^\$|()+`); i >= 0 {
		return globPattern{}, fmt.Errorf("pattern %q has %q: the only special character is *", clipQuote(s), s[i])
	}
	if strings.Contains(s, "**") {
		return globPattern{}, fmt.Errorf("pattern %q has **, which stands only for whole segments of repositories", clipQuote(s))
	}
	return globPattern{parts: strings.Split(s, "*"), stop: stop}, nil
}

// matches says whether the whole of s is meant. It is linear for one star and
// never worse than the product of both lengths.
func (g globPattern) matches(s string) bool {
	if len(g.parts) == 0 {
		return false
	}
	s, ok := strings.CutPrefix(s, g.parts[0])
	if !ok {
		return false
	}
	if len(g.parts) == 1 {
		return s == ""
	}
	// reach are the offsets in s at which the text so far may end.
	reach := map[int]bool{0: true}
	for i, part := range g.parts[1:] {
		next := make(map[int]bool)
		// A star's run is contiguous: from its start up to the first stop.
		limit := -1
		for _, from := range sortedKeys(reach) {
			for end := max(from, limit) + 1; end <= len(s); end++ {
				if end > from && strings.IndexByte(g.stop, s[end-1]) >= 0 {
					break
				}
				limit = end
				if strings.HasPrefix(s[end:], part) {
					next[end+len(part)] = true
				}
			}
		}
		if reach = next; len(reach) == 0 {
			return false
		}
		if i == len(g.parts)-2 {
			return reach[len(s)]
		}
	}
	return false
}

func sortedKeys(m map[int]bool) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A repoPattern is a pattern of repositories by segments; the first is the
// host.
type repoPattern struct {
	segments []string
	globs    []globPattern
	// rest: the pattern ends in "**".
	rest bool
}

func parseRepoPattern(s string) (repoPattern, error) {
	if s == everything {
		return repoPattern{rest: true}, nil
	}
	if s == "" || len(s) > maxPattern {
		return repoPattern{}, fmt.Errorf("repository pattern has %d bytes, want 1 to %d", len(s), maxPattern)
	}
	segs := strings.Split(s, "/")
	var p repoPattern
	if segs[len(segs)-1] == "**" {
		p.rest, segs = true, segs[:len(segs)-1]
	}
	for i, seg := range segs {
		plain := strings.ReplaceAll(seg, "*", "x")
		switch {
		case strings.Contains(seg, "**"):
			return repoPattern{}, fmt.Errorf("repository pattern %q: ** stands only at the end", clipQuote(s))
		case i == 0 && strings.Contains(seg, "*"):
			return repoPattern{}, fmt.Errorf("repository pattern %q: the host has no pattern", clipQuote(s))
		case i == 0 && (!validHost(seg) || !(strings.ContainsAny(seg, ".:") || seg == "localhost")):
			return repoPattern{}, fmt.Errorf("repository pattern %q: it begins with a host, such as docker.io", clipQuote(s))
		case i > 0 && !validSegment(plain):
			return repoPattern{}, fmt.Errorf("repository pattern %q: segment %q is not one of a repository", clipQuote(s), clipQuote(seg))
		}
		g, err := parseGlob(seg, "/")
		if err != nil {
			return repoPattern{}, err
		}
		p.segments, p.globs = append(p.segments, seg), append(p.globs, g)
	}
	if len(segs) < 2 && !p.rest {
		return repoPattern{}, fmt.Errorf("repository pattern %q: a host alone is none; write %s/**", clipQuote(s), clipQuote(s))
	}
	// Only the canonical name is ever matched, so that another spelling of the
	// same repository would be a rule that never applies.
	if !p.rest && !strings.Contains(s, "*") {
		c, err := ParseRepository(s)
		if err != nil {
			return repoPattern{}, err
		}
		if c != s {
			return repoPattern{}, fmt.Errorf("repository %q: write its canonical name %s", clipQuote(s), c)
		}
	}
	if h := segs[0]; h == "index.docker.io" || h == "registry-1.docker.io" {
		return repoPattern{}, fmt.Errorf("repository pattern %q: write the canonical host docker.io", clipQuote(s))
	}
	return p, nil
}

func (p repoPattern) matches(repository string) bool {
	if len(p.globs) == 0 {
		return p.rest
	}
	if repository == "" {
		return false
	}
	segs := strings.Split(repository, "/")
	if p.rest && len(segs) <= len(p.globs) || !p.rest && len(segs) != len(p.globs) {
		return false
	}
	for i, g := range p.globs {
		if !g.matches(segs[i]) {
			return false
		}
	}
	return true
}

// covers says whether everything that o matches p matches too. It may say no
// where yes would be right: then the policy has to be written more simply.
func (p repoPattern) covers(o repoPattern) bool {
	if len(p.globs) == 0 {
		return p.rest
	}
	switch {
	case !p.rest && (o.rest || len(o.globs) != len(p.globs)):
		return false
	case p.rest && len(o.globs) < len(p.globs), p.rest && !o.rest && len(o.globs) == len(p.globs):
		return false
	}
	for i, seg := range p.segments {
		theirs := o.segments[i]
		switch {
		case seg == "*", seg == theirs:
		case !strings.Contains(theirs, "*") && p.globs[i].matches(theirs):
		default:
			return false
		}
	}
	return true
}

// checkNamespacePattern: exact, or with one trailing "*" (design.md §4.3).
func checkNamespacePattern(s string) error {
	if len(s) > maxNamespace {
		return fmt.Errorf("namespace pattern has %d bytes, want at most %d", len(s), maxNamespace)
	}
	name := strings.TrimSuffix(s, "*")
	if name == "" {
		return fmt.Errorf("namespace pattern %q: leave namespaces out for all of them", s)
	}
	for _, c := range []byte(name) {
		if !lowerAlnum(c) && c != '-' {
			return fmt.Errorf("namespace pattern %q: want lower-case letters, digits and -, and at most one * at the end", clipQuote(s))
		}
	}
	return nil
}

// namespaceCovers says whether the namespaces of pattern o are all in p.
func namespaceCovers(p, o string) bool {
	if prefix, ok := strings.CutSuffix(p, "*"); ok {
		return strings.HasPrefix(strings.TrimSuffix(o, "*"), prefix)
	}
	return p == o
}
