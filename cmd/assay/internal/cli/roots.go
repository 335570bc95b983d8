// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// defaultSoon is how early an end is told.
const defaultSoon = 30 * 24 * time.Hour

func (a *app) rootsCommand() *cobra.Command {
	return a.group("roots", "Look into trust roots: what a signature can be traced to", a.rootsShowCommand(), a.rootsDiffCommand(), a.rootsVerifyCommand())
}

// A rootsFile is one that was read, and what of it was fetched.
type rootsFile struct {
	Digest  verdict.Digest    `json:"digest"`
	Anchors []verifier.Anchor `json:"anchors"`
}

// openRoots reads a roots file, and fetches what it points to where that is asked
// for.
func (a *app) openRoots(ctx context.Context, path string, fetch bool, at time.Time) (rootsFile, error) {
	r, err := verifier.LoadRoots(path)
	if err != nil {
		return rootsFile{}, err
	}
	digest := r.Digest() // of the file: a head names that
	if fetch && r.Fetched() {
		defer a.progress("fetching trust roots")()
		ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
		if r, err = r.Refresh(ctx, verifier.Refreshing{}, at); err != nil {
			a.warn("fetching trust roots: %v", err)
		}
	}
	return rootsFile{digest, r.Anchors()}, nil
}

func describeAnchor(n verifier.Anchor, at time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s %s", printable(n.Entry), n.Kind, n.ID)
	if n.ID == "" {
		b.WriteString("not fetched")
	}
	if n.Name != "" {
		fmt.Fprintf(&b, " (%s)", printable(n.Name))
	}
	if !n.From.IsZero() {
		fmt.Fprintf(&b, ", from %s", utc(n.From))
	}
	switch {
	case n.Until.IsZero():
	case n.Ended(at):
		fmt.Fprintf(&b, ", ended %s", utc(n.Until))
	default:
		fmt.Fprintf(&b, ", until %s", utc(n.Until))
	}
	return b.String()
}

func (a *app) rootsShowCommand() *cobra.Command {
	var at string
	var fetch bool
	c := a.command("show FILE [--fetch]", "List what a roots file or trusted_root.json trusts, and until when",
		"  assay roots show roots.yaml", exactly(1, "a roots file"),
		func(ctx context.Context, args []string) (*answer, error) {
			now, err := timeFlag("at", at)
			if err != nil {
				return nil, err
			}
			r, err := a.openRoots(ctx, args[0], fetch, now)
			if err != nil {
				return nil, err
			}
			var b strings.Builder
			fmt.Fprintf(&b, "roots %s: %d anchors\n", r.Digest, len(r.Anchors))
			for _, n := range r.Anchors {
				fmt.Fprintln(&b, describeAnchor(n, now))
			}
			return done(r, "%s", b.String()), nil
		})
	c.Flags().BoolVar(&fetch, "fetch", false, "fetch what the file points to, and list that too")
	c.Flags().StringVar(&at, "at", "", "time to judge ends by, RFC 3339 (default now)")
	return c
}

// An anchorChange is one line of roots diff.
type anchorChange struct {
	// Change is added, removed or changed.
	Change string          `json:"change"`
	Anchor verifier.Anchor `json:"anchor"`
	// Before is the anchor as it was, of one that changed.
	Before *verifier.Anchor `json:"before,omitempty"`
}

func (a *app) rootsDiffCommand() *cobra.Command {
	return a.command("diff OLD NEW", "List what another roots file would trust more, less, or otherwise",
		"  assay roots diff owners/trusted_root.json new.json", exactly(2, "two roots files"),
		func(ctx context.Context, args []string) (*answer, error) {
			now := time.Now()
			var files [2]rootsFile
			for i := range files {
				var err error
				if files[i], err = a.openRoots(ctx, args[i], false, now); err != nil {
					return nil, err
				}
			}
			changes := diffAnchors(files[0].Anchors, files[1].Anchors)
			if len(changes) == 0 && files[0].Digest != files[1].Digest {
				a.warn("the files differ in nothing that is listed here; a head has to name the one that is used")
			}
			var b strings.Builder
			for _, c := range changes {
				fmt.Fprintf(&b, "%s %s", c.Change, describeAnchor(c.Anchor, now))
				if c.Before != nil {
					fmt.Fprintf(&b, "; was %s", describeAnchor(*c.Before, now))
				}
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "%d changes, from %s to %s\n", len(changes), files[0].Digest, files[1].Digest)
			return done(changes, "%s", b.String()), nil
		})
}

// diffAnchors compares all that is said of each anchor. What has the same entry, kind
// and ID on both sides and is not the same has changed; a file may list one anchor
// several times.
func diffAnchors(before, after []verifier.Anchor) []anchorChange {
	same := func(a, b verifier.Anchor) bool {
		return a.Entry == b.Entry && a.Kind == b.Kind && a.ID == b.ID && a.Name == b.Name && a.From.Equal(b.From) && a.Until.Equal(b.Until)
	}
	alike := func(a, b verifier.Anchor) bool { return a.Entry == b.Entry && a.Kind == b.Kind && a.ID == b.ID }
	// without takes out of b one that matches each of a, and returns what is left.
	without := func(a, b []verifier.Anchor, match func(a, b verifier.Anchor) bool) []verifier.Anchor {
		left := slices.Clone(b)
		for _, x := range a {
			if i := slices.IndexFunc(left, func(y verifier.Anchor) bool { return match(x, y) }); i >= 0 {
				left = slices.Delete(left, i, i+1)
			}
		}
		return left
	}
	removed, added := without(after, before, same), without(before, after, same)
	changes := []anchorChange{}
	for _, n := range removed {
		i := slices.IndexFunc(added, func(m verifier.Anchor) bool { return alike(n, m) })
		if i < 0 {
			changes = append(changes, anchorChange{Change: "removed", Anchor: n})
			continue
		}
		changes = append(changes, anchorChange{Change: "changed", Anchor: added[i], Before: &n})
		added = slices.Delete(added, i, i+1)
	}
	for _, n := range added {
		changes = append(changes, anchorChange{Change: "added", Anchor: n})
	}
	return changes
}

func (a *app) rootsVerifyCommand() *cobra.Command {
	var at, head, owners string
	var soon time.Duration
	c := a.command("verify FILE [--head HEAD.json --owners owners.json]", "Check that a roots file is the one that a head names, and what of it ends soon",
		"  assay roots verify owners/trusted_root.json --head owners/head.json --owners owners/owners.json", exactly(1, "a roots file"),
		func(ctx context.Context, args []string) (*answer, error) {
			now, err := timeFlag("at", at)
			if err != nil {
				return nil, err
			}
			switch {
			case soon < 0:
				return nil, verdict.Misused("write it as 720h", "flag --soon is %s, want no negative time", soon)
			case owners != "" && head == "":
				return nil, verdict.Misused("name the head with --head", "--owners goes with --head")
			}
			r, err := a.openRoots(ctx, args[0], false, now)
			if err != nil {
				return nil, err
			}
			if head != "" {
				if err := a.checkRootsOfHead(r.Digest, head, owners, now); err != nil {
					return nil, err
				}
			}
			ended := 0
			for _, n := range r.Anchors {
				switch {
				case n.Ended(now):
					ended++ // what was signed before still counts
				case n.Ended(now.Add(soon)):
					a.warn("it ends soon: %s", describeAnchor(n, now))
				}
			}
			if len(r.Anchors) > 0 && ended == len(r.Anchors) {
				return nil, verdict.Fail(verdict.TrustStale, "checking trust roots: all %d anchors have ended", ended)
			}
			return done(map[string]any{"digest": r.Digest, "anchors": len(r.Anchors), "ended": ended}, "roots %s: %d anchors, %d of them for what was signed before\n", r.Digest, len(r.Anchors), ended), nil
		})
	c.Flags().StringVar(&head, "head", "", "head set that has to name it")
	c.Flags().StringVar(&owners, "owners", "", "owners file that you trust, for --head")
	c.Flags().DurationVar(&soon, "soon", defaultSoon, "how early an end is told")
	c.Flags().StringVar(&at, "at", "", "time of the check, RFC 3339 (default now)")
	return c
}

// checkRootsOfHead refuses a roots file that is not the one of a head in force.
func (a *app) checkRootsOfHead(digest verdict.Digest, head, owners string, at time.Time) error {
	h, err := a.openHead(head, owners, at)
	if err != nil {
		return err
	}
	if h.Roots != digest {
		return verdict.Refuse(verdict.IssuerRoots, "checking trust roots: head %d names %s, and the file is %s", h.Counter, h.Roots, digest)
	}
	return nil
}

// openHead reads a head set and checks it for a time, under the owners in a file or
// under those that it names itself.
func (a *app) openHead(path, owners string, at time.Time) (verdict.CheckedHead, error) {
	set, err := owner.LoadSet(path)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	var anchor *verdict.Owners
	if owners != "" {
		o, err := owner.LoadOwners(owners)
		if err != nil {
			return verdict.CheckedHead{}, err
		}
		anchor = &o
	} else {
		a.warn("checked only under the owners that it names itself; name yours with --owners")
	}
	h, err := owner.OpenSet(set, anchor)
	if err == nil {
		err = h.CheckAt(at)
	}
	return h, err
}
