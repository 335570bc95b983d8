// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/assayd/assay/verifier"
)

// repositories turns image patterns of others into ours. Tags and digests in
// them bind nothing that we match, and a host is never a wildcard.
func (c *converter) repositories(where string, patterns []string, doubleStar string) []string {
	var out []string
	for _, p := range patterns {
		r, ok := c.repository(where, p, doubleStar)
		if ok && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// repository converts one pattern. Star is what the source writes for any number
// of segments.
func (c *converter) repository(where, pattern, star string) (string, bool) {
	if pattern == "*" && star == "*" || pattern == "**" {
		return "**", true
	}
	p := pattern
	if head, _, ok := strings.Cut(p, "@"); ok {
		c.note(where, "pattern %q names a digest, which ours do not; the repository counts", clip(pattern))
		p = head
	}
	if slash, colon := strings.LastIndexByte(p, '/'), strings.LastIndexByte(p, ':'); colon > slash {
		if p[colon+1:] != "*" {
			c.note(where, "pattern %q names a tag, which ours do not; the repository counts", clip(pattern))
		}
		p = p[:colon]
	}
	segments := strings.Split(p, "/")
	if star == "*" && segments[len(segments)-1] == "*" {
		segments[len(segments)-1] = "**"
	} else if star == "*" && strings.HasSuffix(segments[len(segments)-1], "*") {
		c.note(where, "pattern %q matched further segments too; ours stops at a slash", clip(pattern))
	}
	p = strings.Join(segments, "/")
	if !strings.Contains(p, "*") {
		if repo, err := verifier.ParseRepository(p); err == nil {
			return repo, true
		}
	}
	if rest, ok := strings.CutPrefix(p, "index.docker.io/"); ok {
		p = "docker.io/" + rest
	}
	if !isPattern(p) {
		c.note(where, "pattern %q cannot be written as ours: name the host first, and ** as the last segment only; it was left out", clip(pattern))
		return "", false
	}
	return p, true
}

// isPattern says whether p is one of our patterns of repositories.
func isPattern(p string) bool {
	return check(&verifier.Policy{Version: 1, Rules: []verifier.Rule{{Name: "probe", Repositories: []string{p}, Mode: verifier.ModeOff}}}) == nil
}

// check parses what a policy is in its written form.
func check(p *verifier.Policy) error {
	data, err := p.Encode()
	if err == nil {
		_, err = verifier.ParsePolicy("policy.yaml", data)
	}
	return err
}

// pattern turns a regular expression for a whole subject into one of our
// patterns, where it is simple enough for that.
func (c *converter) pattern(where, expr string) (pattern string, exact, ok bool) {
	if !strings.HasPrefix(expr, "^") || !strings.HasSuffix(expr, "$") || strings.HasSuffix(expr, `\$`) {
		c.note(where, "expression %q has no anchors and matched any part; ours is about the whole", clip(expr))
	}
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		c.note(where, "expression %q cannot be read, and was left out", clip(expr))
		return "", false, false
	}
	var b strings.Builder
	exact, ok = true, true
	wide := false
	var walk func(re *syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpLiteral:
			if re.Flags&syntax.FoldCase != 0 || strings.ContainsRune(string(re.Rune), '*') {
				ok = false
			}
			b.WriteString(string(re.Rune))
		case syntax.OpConcat, syntax.OpCapture:
			for _, s := range re.Sub {
				walk(s)
			}
		case syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpEmptyMatch:
		case syntax.OpAnyCharNotNL, syntax.OpAnyChar:
			// An unescaped dot is nearly always meant as one.
			b.WriteByte('.')
			c.note(where, "a dot in %q matched any character; ours is a dot", clip(expr))
		case syntax.OpStar, syntax.OpPlus:
			sub := re.Sub[0]
			switch sub.Op {
			case syntax.OpAnyCharNotNL, syntax.OpAnyChar:
				wide = true
			case syntax.OpCharClass:
			default:
				ok = false
			}
			exact = false
			if !strings.HasSuffix(b.String(), "*") {
				b.WriteByte('*')
			}
		default:
			ok = false
		}
	}
	walk(re)
	if !ok {
		c.note(where, "expression %q is more than our patterns can say, and was left out", clip(expr))
		return "", false, false
	}
	if !exact {
		c.note(where, "expression %q became the pattern %q, whose * stands for one or more characters other than / and @", clip(expr), clip(b.String()))
	}
	if wide {
		c.note(where, "expression %q matched across / and @; the pattern does not", clip(expr))
	}
	return b.String(), exact, true
}

// keyless makes an authority of issuer and subject, each given whole or as an
// expression.
func (c *converter) keyless(where, issuer, issuerRE, subject, subjectRE string) (verifier.Authority, bool) {
	k := &verifier.Keyless{Issuer: issuer, Subject: subject}
	if issuer == "" && issuerRE != "" {
		p, exact, ok := c.pattern(where+" (issuer)", issuerRE)
		if !ok || !exact {
			c.note(where, "the issuer is an expression, and ours is always whole: write one authority per issuer; it was left out")
			return verifier.Authority{}, false
		}
		k.Issuer = p
	}
	if strings.Contains(subject, "*") { // Kyverno takes wildcards in subject
		k.Subject, k.SubjectPattern = "", subject
		c.note(where, "* in subject %q stands for one or more characters other than / and @ here", clip(subject))
	} else if subject == "" && subjectRE != "" {
		p, exact, ok := c.pattern(where+" (subject)", subjectRE)
		if !ok {
			return verifier.Authority{}, false
		}
		if exact {
			k.Subject = p
		} else {
			k.SubjectPattern = p
		}
	}
	if k.Issuer == "" || k.Subject+k.SubjectPattern == "" || strings.Contains(k.Issuer, "*") {
		c.note(where, "without issuer or subject anyone may sign; it was left out")
		return verifier.Authority{}, false
	}
	return verifier.Authority{Keyless: k}, true
}
