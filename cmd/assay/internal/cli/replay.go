// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// Limits of what is replayed.
const (
	maxCases     = 4096
	maxCaseBytes = 1 << 20
	maxReplayed  = 4096
)

// caseFile is the file of assay policy test.
type caseFile struct {
	Version int          `yaml:"version"`
	Cases   []policyCase `yaml:"cases"`
}

// A policyCase is an image and what a policy has to say of it.
type policyCase struct {
	Name string `yaml:"name"`
	// Image is as for assay verify; a folder in it, as Bundle and Roots, is
	// relative to the file.
	Image      string    `yaml:"image"`
	Bundle     string    `yaml:"bundle"`
	Repository string    `yaml:"repository"`
	Namespace  string    `yaml:"namespace"`
	Roots      string    `yaml:"roots"`
	At         time.Time `yaml:"at"`
	// Expect is pass, audit-fail, unchecked, fail or undecided, Code the first
	// reason; absent means any.
	Expect string       `yaml:"expect"`
	Code   verdict.Code `yaml:"code"`
}

// readCases reads and checks a case file.
func readCases(path string) ([]policyCase, error) {
	data, err := file.Read("cases", path, maxCaseBytes)
	if err != nil {
		return nil, err
	}
	var f caseFile
	at, err := strictyaml.Decode(path, data, &f)
	if err != nil {
		return nil, err
	}
	if f.Version != 1 {
		return nil, at.Misuse("version", "write version: 1", "version of the cases is %d, want 1", f.Version)
	}
	if len(f.Cases) == 0 || len(f.Cases) > maxCases {
		return nil, at.Misuse("cases", "", "%d cases, want 1 to %d", len(f.Cases), maxCases)
	}
	results := []string{resultPass, resultAuditFail, resultUnchecked, resultFail, resultUndecided}
	dir := filepath.Dir(path)
	for i := range f.Cases {
		c := &f.Cases[i]
		where := fmt.Sprintf("cases[%d]", i)
		switch {
		case c.Name == "" || slices.ContainsFunc(f.Cases[:i], func(o policyCase) bool { return o.Name == c.Name }):
			return nil, at.Misuse(where, "", "case %q: want a name of its own", clip(c.Name))
		case c.Image == "":
			return nil, at.Misuse(where, "", "case %q: want an image", clip(c.Name))
		case !slices.Contains(results, c.Expect):
			return nil, at.Misuse(where+".expect", nearHint(c.Expect, results), "case %q: expect is %q, want one of %s", clip(c.Name), clip(c.Expect), strings.Join(results, ", "))
		}
		if c.Code != "" {
			if _, ok := c.Code.Info(); !ok {
				return nil, at.Misuse(where+".code", "see docs/codes.md", "case %q: there is no code %q", clip(c.Name), clip(string(c.Code)))
			}
		}
		for _, p := range []*string{&c.Bundle, &c.Roots} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
		if rest, ok := strings.CutPrefix(c.Image, "oci:"); ok && !filepath.IsAbs(rest) {
			c.Image = "oci:" + filepath.Join(dir, rest)
		}
	}
	return f.Cases, nil
}

// A caseResult is what a policy says of a case.
type caseResult struct {
	Name   string       `json:"name"`
	Want   string       `json:"want"`
	Got    string       `json:"got"`
	Code   verdict.Code `json:"code"`
	Right  bool         `json:"right"`
	Reason string       `json:"reason,omitempty"`
}

func (a *app) policyTestCommand() *cobra.Command {
	var f verifyFlags
	c := a.command("test POLICY CASES", "Try a policy on images, and compare with what is expected", "  assay policy test policy.yaml cases.yaml", exactly(2, "a policy and a file of cases"),
		func(ctx context.Context, args []string) (*answer, error) {
			policy, err := loadPolicy(args[0])
			if err != nil {
				return nil, err
			}
			cases, err := readCases(args[1])
			if err != nil {
				return nil, err
			}
			defer a.progress("trying the policy")()
			var b strings.Builder
			var results []caseResult
			wrong := 0
			for _, c := range cases {
				r, err := a.try(ctx, policy, c, f)
				if err != nil {
					return nil, err
				}
				results = append(results, r)
				mark := "ok  "
				if !r.Right {
					mark = "no  "
					wrong++
				}
				fmt.Fprintf(&b, "%s%s: %s", mark, printable(r.Name), r.Got)
				if r.Code != "" {
					fmt.Fprintf(&b, " [%s]", r.Code)
				}
				if !r.Right {
					fmt.Fprintf(&b, ", want %s: %s", r.Want, printable(r.Reason))
				}
				b.WriteString("\n")
			}
			ans := done(results, "%s%d cases, %d wrong\n", b.String(), len(results), wrong)
			if wrong > 0 {
				ans.Result, ans.Code = resultFail, verdict.PolicyTest
				ans.Reasons = []verdict.Reason{{Code: verdict.PolicyTest, Text: fmt.Sprintf("%d of %d cases have another result than expected", wrong, len(results))}}
			}
			return ans, nil
		})
	f.registerReplay(c)
	return c
}

// registerReplay registers the flags of commands that try many images.
func (f *verifyFlags) registerReplay(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.roots, "trusted-root", "", "roots file or trusted_root.json `FILE` (default the embedded public-good root)")
	s.DurationVar(&f.timeout, "timeout", defaultTimeout, "longest that one image may take")
	s.StringArrayVar(&f.plainHTTP, "plain-http", nil, "registry to speak to without TLS, `HOST:PORT`")
	s.StringArrayVar(&f.mirrors, "mirror", nil, "`HOST=MIRROR` that is asked first for images of a host")
	s.StringArrayVar(&f.unvalidated, "allow-unvalidated", nil, "algorithm outside this build's crypto module to accept: ed25519")
	s.BoolVar(&f.offline, "offline", false, "ask no publisher about revoked certificates, and fetch no trust roots")
}

// try decides about one case. The error is misuse: what the policy says is in
// the result.
func (a *app) try(ctx context.Context, policy *verifier.Policy, c policyCase, f verifyFlags) (caseResult, error) {
	out := caseResult{Name: c.Name, Want: c.Expect}
	if c.Code != "" {
		out.Want += " [" + string(c.Code) + "]"
	}
	if c.Roots != "" {
		f.roots = c.Roots
	}
	f.bundle, f.repository = c.Bundle, c.Repository
	ref, err := verifier.ParseReference(c.Image)
	if err != nil {
		return out, verdict.Misused("write host/repository@sha256:…, oci:DIR@sha256:…, or sha256:… with bundle", "case %q: %s", clip(c.Name), verdict.ReasonOf(err).Text)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	res, err := a.replay(ctx, policy, ref, c.At, &f)
	ans := &answer{}
	if err != nil {
		ans.fromError(err)
		if ans.Result == resultMisuse {
			return out, err
		}
	} else {
		ans.fromResult(res, policy, c.Namespace)
	}
	out.Got, out.Code = ans.Result, ans.Code
	if len(ans.Reasons) > 0 {
		out.Reason = ans.Reasons[0].Text
	}
	out.Right = out.Got == c.Expect && (c.Code == "" || c.Code == out.Code)
	return out, nil
}

// replay verifies one image under a policy.
func (a *app) replay(ctx context.Context, policy *verifier.Policy, ref verifier.Reference, at time.Time, f *verifyFlags) (*verifier.Result, error) {
	roots, err := a.makeRoots(ctx, f)
	if err != nil {
		return nil, err
	}
	img, source, closeSource, err := a.resolve(ctx, ref, f)
	defer closeSource()
	if err != nil {
		return nil, err
	}
	v, err := verifier.New(verifier.Config{Policy: policy, Roots: roots, Source: source, AllowUnvalidated: f.unvalidated, Revocation: verifier.Revocation{Online: !f.offline}})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if at.IsZero() {
		at = time.Now()
	}
	return v.Verify(ctx, verifier.Request{Image: img, At: at})
}

// A change is an image that a new policy decides otherwise.
type change struct {
	Image     string          `json:"image"`
	Namespace string          `json:"namespace"`
	Before    verdict.Outcome `json:"before"`
	After     string          `json:"after"`
	Code      verdict.Code    `json:"code"`
	Reason    string          `json:"reason,omitempty"`
}

func (a *app) policyDiffCommand() *cobra.Command {
	var f verifyFlags
	c := a.command("diff POLICY LOG", "Decide again what a daemon's log recorded, and list what another policy would change",
		"  assay policy diff policy.yaml /var/lib/assayd/log", exactly(2, "a policy and the log folder of a daemon"),
		func(ctx context.Context, args []string) (*answer, error) {
			policy, err := loadPolicy(args[0])
			if err != nil {
				return nil, err
			}
			recorded, err := a.recorded(ctx, args[1])
			if err != nil {
				return nil, err
			}
			defer a.progress("deciding again")()
			changes := []change{}
			for _, name := range slices.Sorted(maps.Keys(recorded)) {
				found, err := a.compare(ctx, policy, name, recorded[name], f)
				if err != nil {
					return nil, err
				}
				changes = append(changes, found...)
			}
			var b strings.Builder
			for _, c := range changes {
				where := "pull"
				if c.Namespace != "*" {
					where = "namespace " + c.Namespace
				}
				fmt.Fprintf(&b, "%s, %s: %s, was %s", printable(c.Image), printable(where), c.After, c.Before)
				if c.Reason != "" {
					fmt.Fprintf(&b, ": %s [%s]", printable(c.Reason), c.Code)
				}
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "%d images, %d changes\n", len(recorded), len(changes))
			return done(changes, "%s", b.String()), nil
		})
	f.registerReplay(c)
	return c
}

// recorded returns the newest core of each image in a log folder, by
// repository@digest. Its signature is not looked at: it only says what to try.
func (a *app) recorded(ctx context.Context, dir string) (map[string]verdict.Core, error) {
	archive, err := openArchive(dir)
	if err != nil {
		return nil, err
	}
	defer a.progress("reading " + dir)()
	shards, err := archive.Shards(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]verdict.Core)
	newest := make(map[string]time.Time)
	for _, s := range shards {
		if s.Err != nil {
			a.warn("boot %s was left out: %v", s.Boot, s.Err)
			continue
		}
		r, err := archive.Boot(ctx, s.Boot)
		if err != nil {
			return nil, err
		}
		for i := range min(s.Size, maxLeavesSearched) {
			leaf, err := r.Leaf(ctx, i)
			if err != nil {
				return nil, err
			}
			if leaf.Kind != verdict.LeafVerdict {
				continue
			}
			object, err := r.Object(ctx, verdict.DigestFromBytes(leaf.Object))
			if err != nil {
				return nil, err
			}
			core, err := verdict.ParseCoreInsecure(object)
			if err != nil {
				return nil, err
			}
			name := coreImage(core.Core)
			if leaf.Time.Before(newest[name]) {
				continue
			}
			newest[name], out[name] = leaf.Time, core.Core
			if len(out) > maxReplayed {
				return nil, verdict.Fail(verdict.InputLimit, "reading log: more than %d images", maxReplayed)
			}
		}
	}
	if len(out) == 0 {
		return nil, verdict.Misused("name the folder log in the daemon's state folder", "reading log: no verdict is in %s", dir)
	}
	return out, nil
}

// coreImage is repository@digest of what a core is about.
func coreImage(c verdict.Core) string {
	for alg, hex := range c.Subject[0].Digest {
		return c.Predicate.ResourceURI + "@" + alg + ":" + hex
	}
	return c.Predicate.ResourceURI
}

// compare decides one recorded image again.
func (a *app) compare(ctx context.Context, policy *verifier.Policy, name string, core verdict.Core, f verifyFlags) ([]change, error) {
	ref, err := verifier.ParseReference(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	res, err := a.replay(ctx, policy, ref, time.Time{}, &f)
	var out []change
	before := core.Predicate.Extension.Namespaces
	if err != nil {
		ans := &answer{}
		ans.fromError(err)
		if ans.Result == resultMisuse {
			return nil, err
		}
		for _, ns := range slices.Sorted(maps.Keys(before)) {
			if ans.Result == resultFail && before[ns] == verdict.OutcomeFail {
				continue
			}
			out = append(out, change{Image: name, Namespace: ns, Before: before[ns], After: ans.Result, Code: ans.Code, Reason: ans.Reasons[0].Text})
		}
		return out, nil
	}
	// Patterns of either policy: each says what the other would have said there.
	patterns := slices.Collect(maps.Keys(before))
	for _, n := range res.Namespaces {
		patterns = append(patterns, n.Pattern)
	}
	slices.Sort(patterns)
	for _, ns := range slices.Compact(patterns) {
		was, is := recordedFor(before, ns), namespaceFor(res, ns)
		if was == is.Outcome {
			continue
		}
		c := change{Image: name, Namespace: ns, Before: was, After: string(is.Outcome)}
		if len(is.Reasons) > 0 {
			c.Code, c.Reason = is.Reasons[0].Code, is.Reasons[0].Text
		}
		out = append(out, c)
	}
	return out, nil
}

// recordedFor is what a core says for a namespace pattern: that of the most
// special one that covers it.
func recordedFor(namespaces map[string]verdict.Outcome, ns string) verdict.Outcome {
	best, out := -1, verdict.OutcomeFail
	for p, o := range namespaces {
		if (p == ns || verdict.MatchNamespace(p, strings.TrimSuffix(ns, "*"))) && len(p) > best {
			best, out = len(p), o
		}
	}
	return out
}

// namespaceFor is the same for a result, which has them from general to special.
func namespaceFor(res *verifier.Result, ns string) verifier.NamespaceResult {
	n := verifier.NamespaceResult{Outcome: verdict.OutcomeFail}
	for _, r := range res.Namespaces {
		if r.Pattern == ns || verdict.MatchNamespace(r.Pattern, strings.TrimSuffix(ns, "*")) {
			n = r
		}
	}
	return n
}
