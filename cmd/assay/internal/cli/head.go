// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/verdict"
)

// Defaults of what owners sign.
const (
	defaultHeadLife = 90 * 24 * time.Hour
	defaultGrace    = 5 * time.Minute
	defaultDenyLife = 24 * time.Hour
)

func (a *app) headCommand() *cobra.Command {
	return a.group("head", "Make, sign, renew, show and deliver the head: what the owners say is current",
		a.headKeyCommand(), a.headInitCommand(), a.headSignCommand(), a.headRenewCommand(), a.headShowCommand(), a.headPutCommand())
}

func (a *app) headKeyCommand() *cobra.Command {
	return a.command("key FILE.key", "Make an owner's key pair: FILE.key (private, mode 0600) and FILE.pub",
		"  assay head key alice.key", exactly(1, "a file name that ends in .key"),
		func(_ context.Context, args []string) (*answer, error) {
			if !strings.HasSuffix(args[0], ".key") {
				return nil, verdict.Misused("the public key is written beside it, as .pub", "making key: %s does not end in .key", args[0])
			}
			key, err := owner.NewKey(args[0], verdict.UseOwner)
			if err != nil {
				return nil, err
			}
			return done(map[string]string{"key": args[0], "kid": key.Kid()}, "key %s of owner %s\n", args[0], key.Kid()), nil
		})
}

func (a *app) headInitCommand() *cobra.Command {
	var pubs []string
	var threshold int
	c := a.command("init DIR [--owner FILE.pub]... [--threshold K]", "Make an owner's folder: owners.json, renewal.key and an empty deny.json",
		"  assay head init owners --owner alice.pub --owner bob.pub --threshold 2", exactly(1, "a folder"),
		func(_ context.Context, args []string) (*answer, error) {
			dir := args[0]
			var owners verdict.Owners
			for _, p := range pubs {
				jwk, err := owner.LoadPublic(p, verdict.UseOwner)
				if err != nil {
					return nil, err
				}
				owners.Keys = append(owners.Keys, jwk)
			}
			if owners.Threshold = threshold; threshold == 0 {
				owners.Threshold = max(1, len(pubs)) // all of them: the strictest
			}
			if n := max(1, len(pubs)); owners.Threshold < 1 || owners.Threshold > n {
				return nil, verdict.Misused("leave it out for all of them, or name more with --owner", "flag --threshold is %d, want 1 to %d owners", threshold, n)
			}
			if err := file.MakeFolder(dir); err != nil {
				return nil, err
			}
			if len(pubs) == 0 {
				key, err := owner.NewKey(filepath.Join(dir, owner.KeyFile), verdict.UseOwner)
				if err != nil {
					return nil, err
				}
				owners.Keys = append(owners.Keys, key.JWK())
				a.warn("%s is a key of one owner: several owners on several machines are safer (assay head key)", filepath.Join(dir, owner.KeyFile))
			}
			renewal, err := owner.NewKey(filepath.Join(dir, owner.RenewalFile), verdict.UseRenewal)
			if err != nil {
				return nil, err
			}
			jwk := renewal.JWK()
			owners.Renewal = &jwk
			data, err := owners.Encode()
			if err != nil {
				return nil, err
			}
			deny, err := verdict.DenyList{}.Encode()
			if err != nil {
				return nil, err
			}
			for name, b := range map[string][]byte{owner.OwnersFile: data, owner.DenyFile: deny} {
				if err := file.Write(filepath.Join(dir, name), b, file.Public); err != nil {
					return nil, err
				}
			}
			return done(map[string]any{"dir": dir, "owners": len(owners.Keys), "threshold": owners.Threshold},
				"%s: %d of %d owners sign; next: put %s, %s and %s there, then assay head sign %s --key FILE\n",
				dir, owners.Threshold, len(owners.Keys), owner.PolicyFile, owner.RootsFile, owner.ReferencesFile, dir), nil
		})
	c.Flags().StringArrayVar(&pubs, "owner", nil, "public key of an owner, PEM `FILE`; without one a key is made in DIR")
	c.Flags().IntVar(&threshold, "threshold", 0, "how many owners must sign (default all)")
	return c
}

func (a *app) headSignCommand() *cobra.Command {
	var keys []string
	var life, grace time.Duration
	c := a.command("sign DIR --key FILE [--key FILE]... [--valid 2160h] [--grace 5m]",
		"Sign the next head over the five files in DIR: policy, roots, deny, references, owners",
		"  assay head sign owners --key alice.key", exactly(1, "an owner's folder"),
		func(_ context.Context, args []string) (*answer, error) {
			signers, err := owner.LoadKeys(keys)
			if err != nil {
				return nil, err
			}
			now := time.Now()
			s, err := owner.Sign(owner.Options{Dir: args[0], Keys: signers, At: now, NotAfter: now.Add(life), Grace: grace})
			if err != nil {
				return nil, err
			}
			if s.Missing != "" {
				a.warn("not in force yet: %s", s.Missing)
				return done(s, "head %d begun in %s, to end %s, grace %s; next: another owner runs assay head sign %s --key FILE\n", s.Counter, s.Path, utc(s.NotAfter), s.Grace, args[0]), nil
			}
			return done(s, "head %d %s in %s, ends %s, grace %s; next: assay head put %s --server ADDR\n", s.Counter, s.Digest, s.Path, utc(s.NotAfter), s.Grace, s.Path), nil
		})
	c.Flags().StringArrayVar(&keys, "key", nil, "an owner's private key, PEM `FILE`; repeat it for several owners")
	c.Flags().DurationVar(&life, "valid", defaultHeadLife, "life of the head; renewals move its end")
	c.Flags().DurationVar(&grace, "grace", defaultGrace, "for how long tickets under the head before count, 0 to 1h")
	return c
}

func (a *app) headRenewCommand() *cobra.Command {
	var key string
	var life time.Duration
	c := a.command("renew HEAD.json --key renewal.key [--valid 168h]", "Move the end of a head by the renewal key; its bytes do not change",
		"  assay head renew owners/head.json --key owners/renewal.key", exactly(1, "a head set"),
		func(_ context.Context, args []string) (*answer, error) {
			if err := lifeFlag("valid", life, verdict.MaxRenewalLife, "renew again before it ends, or sign the next head: assay head sign"); err != nil {
				return nil, err
			}
			k, err := owner.LoadKey(key, verdict.UseRenewal)
			if err != nil {
				return nil, err
			}
			now := time.Now()
			h, err := owner.Renew(args[0], k, now, now.Add(life))
			if err != nil {
				return nil, err
			}
			if end := now.Add(life); h.Until.After(end) {
				a.warn("this renewal, to %s, moves nothing: the head itself ends later", utc(end))
			}
			return done(describeHead(h, now), "head %d ends %s\n", h.Counter, utc(h.Until)), nil
		})
	c.Flags().StringVar(&key, "key", "", "the renewal key, PEM `FILE`")
	c.Flags().DurationVar(&life, "valid", verdict.MaxRenewalLife, "from now, at most 168h")
	return c
}

func (a *app) headShowCommand() *cobra.Command {
	var owners string
	var at string
	c := a.command("show HEAD.json [--owners owners.json] [--at TIME]", "Show a head set, and check it under the owners that you trust",
		"  assay head show owners/head.json --owners owners/owners.json", exactly(1, "a head set"),
		func(_ context.Context, args []string) (*answer, error) {
			now, err := timeFlag("at", at)
			if err != nil {
				return nil, err
			}
			h, err := a.openHead(args[0], owners, now)
			if err != nil {
				return nil, err
			}
			d := describeHead(h, now)
			return done(d, "%s", d.text()), nil
		})
	c.Flags().StringVar(&owners, "owners", "", "owners file that you trust")
	c.Flags().StringVar(&at, "at", "", "time of the check, RFC 3339 (default now)")
	return c
}

// headInfo describes a checked head.
type headInfo struct {
	Counter    uint64         `json:"counter"`
	Digest     verdict.Digest `json:"digest"`
	NotAfter   string         `json:"notAfter"`
	Grace      int64          `json:"graceSeconds"`
	Policy     verdict.Digest `json:"policy"`
	Roots      verdict.Digest `json:"roots"`
	Deny       verdict.Digest `json:"deny"`
	References verdict.Digest `json:"references"`
	Owners     verdict.Digest `json:"owners"`
	Threshold  int            `json:"threshold"`
	OwnerKeys  []string       `json:"ownerKeys"`
	Renewed    bool           `json:"renewed"`
	Denies     []denyInfo     `json:"denyDocuments"`
	Entries    []string       `json:"referenceEntries"`
}

// denyInfo describes a deny document.
type denyInfo struct {
	Owner    string `json:"owner"`
	Counter  uint64 `json:"counter"`
	NotAfter string `json:"notAfter"`
	Active   bool   `json:"active"`
}

func describeHead(h verdict.CheckedHead, at time.Time) headInfo {
	d := headInfo{Counter: h.Counter, Digest: h.Digest, NotAfter: utc(h.Until), Grace: h.Grace, Policy: h.Policy, Roots: h.Roots, Deny: h.Deny,
		References: h.Head.References, Owners: h.Head.Owners, Threshold: h.Owners.Threshold, Renewed: len(h.Set.Renewal) > 0, Denies: []denyInfo{}}
	for _, k := range h.Owners.Keys {
		d.OwnerKeys = append(d.OwnerKeys, k.Kid)
	}
	for _, doc := range h.Docs {
		d.Denies = append(d.Denies, denyInfo{Owner: doc.Owner, Counter: doc.Counter, NotAfter: utc(time.Unix(doc.NotAfter, 0)), Active: doc.Active(at)})
	}
	for _, e := range h.References.Entries {
		d.Entries = append(d.Entries, fmt.Sprintf("%s (%s, %s)", e.Name, e.Kind, e.Profile))
	}
	return d
}

func (d headInfo) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "head %d %s\nends %s\n", d.Counter, d.Digest, d.NotAfter)
	fmt.Fprintf(&b, "grace %d s\npolicy %s\nroots %s\ndeny %s\nreferences %s\n", d.Grace, d.Policy, d.Roots, d.Deny, d.References)
	for _, e := range d.Entries {
		fmt.Fprintf(&b, "  %s\n", printable(e))
	}
	fmt.Fprintf(&b, "owners %s, %d of %d sign\n", d.Owners, d.Threshold, len(d.OwnerKeys))
	for _, k := range d.OwnerKeys {
		fmt.Fprintf(&b, "  %s\n", k)
	}
	for _, n := range d.Denies {
		state := "active"
		if !n.Active {
			state = "lapsed"
		}
		fmt.Fprintf(&b, "deny document %d of %s until %s, %s\n", n.Counter, n.Owner, n.NotAfter, state)
	}
	return b.String()
}

// utc formats a time as everything here prints it.
func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }
