// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
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
	// Change is added, removed or window.
	Change string          `json:"change"`
	Anchor verifier.Anchor `json:"anchor"`
	// Before is the anchor as it was, of a window.
	Before *verifier.Anchor `json:"before,omitempty"`
}

func (a *app) rootsDiffCommand() *cobra.Command {
	return a.command("diff OLD NEW", "List what another roots file would trust more, less, or for another time",
		"  assay roots diff owners/trusted_root.json new-roots.json", exactly(2, "two roots files"),
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
			var b strings.Builder
			for _, c := range changes {
				switch c.Change {
				case "window":
					fmt.Fprintf(&b, "changed %s; was from %s until %s\n", describeAnchor(c.Anchor, now), utc(c.Before.From), utc(c.Before.Until))
				default:
					fmt.Fprintf(&b, "%s %s\n", c.Change, describeAnchor(c.Anchor, now))
				}
			}
			fmt.Fprintf(&b, "%d changes, from %s to %s\n", len(changes), files[0].Digest, files[1].Digest)
			return done(changes, "%s", b.String()), nil
		})
}

// diffAnchors compares by entry, kind and ID: a name is for people.
func diffAnchors(before, after []verifier.Anchor) []anchorChange {
	type key struct{ entry, kind, id string }
	index := func(list []verifier.Anchor) map[key]verifier.Anchor {
		out := make(map[key]verifier.Anchor)
		for _, n := range list {
			out[key{n.Entry, n.Kind, n.ID}] = n
		}
		return out
	}
	old, next := index(before), index(after)
	changes := []anchorChange{}
	for _, n := range before {
		if _, ok := next[key{n.Entry, n.Kind, n.ID}]; !ok {
			changes = append(changes, anchorChange{Change: "removed", Anchor: n})
		}
	}
	for _, n := range after {
		was, ok := old[key{n.Entry, n.Kind, n.ID}]
		switch {
		case !ok:
			changes = append(changes, anchorChange{Change: "added", Anchor: n})
		case !was.From.Equal(n.From) || !was.Until.Equal(n.Until):
			changes = append(changes, anchorChange{Change: "window", Anchor: n, Before: &was})
		}
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
	h, err := a.openHead(head, owners)
	if err != nil {
		return err
	}
	if err := h.CheckAt(at); err != nil {
		return err
	}
	if h.Roots != digest {
		return verdict.Refuse(verdict.IssuerRoots, "checking trust roots: head %d names %s, and the file is %s", h.Counter, h.Roots, digest)
	}
	return nil
}

// openHead reads a head set and checks it under the owners in a file, or under
// those that it names itself.
func (a *app) openHead(path, owners string) (verdict.CheckedHead, error) {
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
	return owner.OpenSet(set, anchor)
}
