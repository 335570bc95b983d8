// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/verdict"
)

func (a *app) denyCommand() *cobra.Command {
	return a.group("deny", "Deny images, repositories or signers at once, by one owner", a.denyAddCommand(), a.denyListCommand())
}

func (a *app) denyAddCommand() *cobra.Command {
	var key, list, out, at, san, issuer string
	var images, repositories, keys, certificates, entries, measurements, statements []string
	var life time.Duration
	c := a.command("add HEAD.json --key FILE [--image DIGEST]... [--repository NAME]... [--valid 24h]",
		"Sign a deny document of one owner and add it to a head set",
		"  assay deny add owners/head.json --key alice.key --image sha256:9f2c…", exactly(1, "a head set"),
		func(_ context.Context, args []string) (*answer, error) {
			now, err := timeFlag("at", at)
			if err != nil {
				return nil, err
			}
			var listed verdict.DenyList
			if list != "" {
				data, err := file.Read("deny list", list, verdict.MaxDeny)
				if err != nil {
					return nil, err
				}
				if listed, err = verdict.ParseDenyList(data); err != nil {
					return nil, err
				}
			}
			if (issuer != "") && san == "" {
				return nil, verdict.Misused("name the subject with --identity", "flag --issuer: a whole issuer cannot be denied")
			}
			add := verdict.DenyList{Repositories: repositories, Measurements: measurements, LogEntries: entries}
			if san != "" {
				add.Identities = []verdict.DeniedIdentity{{Issuer: issuer, SAN: san}}
			}
			for _, l := range []struct {
				flag string
				in   []string
				out  *[]verdict.Digest
			}{{"image", images, &add.Images}, {"key-digest", keys, &add.Keys}, {"certificate", certificates, &add.Certificates}, {"statement", statements, &add.Statements}} {
				for _, s := range l.in {
					d, err := verdict.ParseDigest(s)
					if err != nil {
						return nil, verdict.Misused("want sha256: and 64 hex digits", "flag --%s: %w", l.flag, err)
					}
					*l.out = append(*l.out, d)
				}
			}
			listed = listed.Merge(add)
			if denied(listed) == 0 {
				return nil, verdict.Misused("name an --image, --repository, --identity, --key-digest, --certificate, --log-entry, --statement, --measurement or --list", "signing deny document: it would deny nothing")
			}
			if err := lifeFlag("valid", life, verdict.MaxDenyLife, "to deny for longer, put the entries into the deny list of the next head: assay head sign"); err != nil {
				return nil, err
			}
			k, err := owner.LoadKey(key, verdict.UseOwner)
			if err != nil {
				return nil, err
			}
			h, doc, err := owner.Deny(args[0], k, listed, now, now.Add(life))
			if err != nil {
				return nil, err
			}
			if out != "" {
				if err := file.Write(out, doc, file.Public); err != nil {
					return nil, err
				}
			}
			return done(describeHead(h, now), "%d entries denied until %s, %d deny documents in %s; next: assay head put %s --server ADDR\n",
				denied(listed), utc(now.Add(life)), len(h.Docs), args[0], args[0]), nil
		})
	f := c.Flags()
	f.StringVar(&key, "key", "", "the owner's private key, PEM `FILE`")
	f.StringArrayVar(&images, "image", nil, "`DIGEST` of an index, manifest or image configuration")
	f.StringArrayVar(&repositories, "repository", nil, "whole `NAME` with its registry")
	f.StringVar(&san, "identity", "", "subject of a certificate, whole")
	f.StringVar(&issuer, "issuer", "", "its OIDC issuer (default every issuer)")
	f.StringArrayVar(&keys, "key-digest", nil, "SHA-256 `DIGEST` of a public key's SPKI")
	f.StringArrayVar(&certificates, "certificate", nil, "SHA-256 `DIGEST` of a signing certificate in DER")
	f.StringArrayVar(&entries, "log-entry", nil, "entry of a transparency log, `LOGID/INDEX`")
	f.StringArrayVar(&statements, "statement", nil, "`DIGEST` of an issuer statement")
	f.StringArrayVar(&measurements, "measurement", nil, "launch measurement of a daemon, `HEX`")
	f.StringVar(&list, "list", "", "deny list to take in, JSON `FILE`")
	f.DurationVar(&life, "valid", defaultDenyLife, "after which it lapses, at most 168h; a head makes it last")
	f.StringVar(&out, "out", "", "write the document alone to this `FILE` too")
	f.StringVar(&at, "at", "", "time of signing, RFC 3339 (default now)")
	return c
}

func (a *app) denyListCommand() *cobra.Command {
	var owners, at string
	c := a.command("list HEAD.json [--owners owners.json] [--at TIME]", "List all that is denied, by whom and until when",
		"  assay deny list owners/head.json --owners owners/owners.json", exactly(1, "a head set"),
		func(_ context.Context, args []string) (*answer, error) {
			now, err := timeFlag("at", at)
			if err != nil {
				return nil, err
			}
			h, err := a.openHead(args[0], owners, now)
			if err != nil {
				return nil, err
			}
			out := []denial{{By: fmt.Sprintf("%d owners", h.Owners.Threshold), Until: utc(h.EndsAt(now)), Entries: h.DenyFile}}
			for _, d := range h.ActiveDocs(now) {
				out = append(out, denial{By: "owner " + d.Owner, Until: utc(time.Unix(d.NotAfter, 0)), Entries: d.Entries})
			}
			var b strings.Builder
			n := 0
			for _, d := range out {
				for _, line := range deniedLines(d.Entries) {
					fmt.Fprintf(&b, "%s, by %s, until %s\n", printable(line), d.By, d.Until)
					n++
				}
			}
			fmt.Fprintf(&b, "%d entries\n", n)
			return done(out, "%s", b.String()), nil
		})
	c.Flags().StringVar(&owners, "owners", "", "owners file that you trust")
	c.Flags().StringVar(&at, "at", "", "time of the list, RFC 3339 (default now)")
	return c
}

// A denial is a list that counts, and whose it is.
type denial struct {
	By      string           `json:"by"`
	Until   string           `json:"until"`
	Entries verdict.DenyList `json:"entries"`
}

// deniedLines has one line for each entry of a list.
func deniedLines(d verdict.DenyList) []string {
	var out []string
	add := func(what string, digests []verdict.Digest) {
		for _, s := range digests {
			out = append(out, what+" "+string(s))
		}
	}
	add("image", d.Images)
	add("key", d.Keys)
	add("certificate", d.Certificates)
	add("statement", d.Statements)
	for _, i := range d.Identities {
		line := "identity " + i.SAN
		if i.Issuer != "" {
			line += " of " + i.Issuer
		}
		out = append(out, line)
	}
	for what, list := range map[string][]string{"repository": d.Repositories, "log entry": d.LogEntries, "measurement": d.Measurements} {
		for _, s := range list {
			out = append(out, what+" "+s)
		}
	}
	slices.Sort(out)
	return out
}

// denied counts the entries of a list.
func denied(d verdict.DenyList) int {
	return len(d.Certificates) + len(d.Identities) + len(d.Images) + len(d.Keys) + len(d.LogEntries) + len(d.Measurements) + len(d.Repositories) + len(d.Statements)
}
