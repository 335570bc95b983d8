// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
)

// defaultReferenceLife is how long an entry counts.
const defaultReferenceLife = 365 * 24 * time.Hour

// entryFlags say what an entry of a references file has beside the measured values.
type entryFlags struct {
	file, name, profile, from string
	configs, flavours         []string
	life                      time.Duration
}

func (e *entryFlags) define(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&e.file, "references", "", "add entries to this references `FILE`, or make it")
	f.StringVar(&e.name, "name", "", "`NAME` of the entry")
	f.StringArrayVar(&e.configs, "config", nil, "`DIGEST` of a configuration that it may run with (assayd config check)")
	f.StringArrayVar(&e.flavours, "flavour", nil, "crypto flavour that may be active, `NAME`: "+strings.Join(verdict.Flavours, ", "))
	f.StringVar(&e.profile, "profile", verdict.Production, "production, or development")
	f.StringVar(&e.from, "from", "", "when it begins to count, RFC 3339 (default now)")
	f.DurationVar(&e.life, "valid", defaultReferenceLife, "for how long")
}

// parse returns an entry without measured values, before anything is computed; it is
// zero where none is asked for.
func (e *entryFlags) parse() (verdict.ReferenceEntry, error) {
	none := verdict.ReferenceEntry{}
	if e.file == "" {
		if e.name != "" || len(e.configs) > 0 || len(e.flavours) > 0 || e.from != "" {
			return none, verdict.Misused("name the file", "--name, --config, --flavour and --from go with --references")
		}
		return none, nil
	}
	switch {
	case e.name == "":
		return none, verdict.Misused("name the entry with --name", "adding entry: it has no name")
	case len(e.configs) == 0:
		return none, verdict.Misused("assayd config check prints its digest; give that with --config", "adding entry: no configuration is named")
	case len(e.flavours) == 0:
		return none, verdict.Misused("assayd version prints it; give it with --flavour", "adding entry: no crypto flavour is named")
	case e.life <= 0:
		return none, verdict.Misused("write it as 8760h", "flag --valid is %s, want more than 0", e.life)
	}
	for _, choice := range []struct {
		flag string
		got  []string
		want []string
	}{{"flavour", e.flavours, verdict.Flavours}, {"profile", []string{e.profile}, []string{verdict.Production, verdict.Development}}} {
		for _, got := range choice.got {
			if !slices.Contains(choice.want, got) {
				return none, verdict.Misused(nearHint(got, choice.want), "flag --%s is %q, want one of %s", choice.flag, clip(got), strings.Join(choice.want, ", "))
			}
		}
	}
	from, err := timeFlag("from", e.from)
	if err != nil {
		return none, err
	}
	out := verdict.ReferenceEntry{Name: e.name, Flavours: e.flavours, Profile: e.profile, NotBefore: from.Unix(), NotAfter: from.Add(e.life).Unix()}
	for _, s := range e.configs {
		d, err := verdict.ParseDigest(s)
		if err != nil {
			return none, verdict.Misused("want sha256: and 64 hex digits", "flag --config: %w", err)
		}
		out.Configs = append(out.Configs, d)
	}
	return out, nil
}

// addEntries adds entries to the references file at path and returns what was done, in
// one line for people; without a path, nothing.
func (a *app) addEntries(path string, entries []verdict.ReferenceEntry) (string, error) {
	if path == "" {
		return "", nil
	}
	var refs verdict.References
	if file.Exists(path) {
		data, err := file.Read("references", path, verdict.MaxReferences)
		if err != nil {
			return "", err
		}
		if refs, err = verdict.ParseReferences(data); err != nil {
			return "", verdict.Misused("name a references file, or one that is not there yet", "adding entry: %s: %w", path, err)
		}
	}
	for _, e := range entries {
		if slices.ContainsFunc(refs.Entries, func(x verdict.ReferenceEntry) bool { return x.Name == e.Name }) {
			return "", verdict.Misused("choose another --name, or take that entry out", "adding entry: %s has an entry %q already", path, clip(e.Name))
		}
		refs.Entries = append(refs.Entries, e)
	}
	data, err := refs.Encode()
	if err != nil {
		return "", err
	}
	if err := file.Write(path, data, file.Public); err != nil {
		return "", err
	}
	of := func(kind string) bool {
		return slices.ContainsFunc(refs.Entries, func(x verdict.ReferenceEntry) bool { return x.Kind == kind })
	}
	if refs.Floors.SNP == nil && of(verdict.KindSNP) {
		a.warn("%s sets no floor for the firmware of SEV-SNP processors: any old one is accepted", path)
	}
	if refs.Floors.TDX == nil && of(verdict.KindTDX) {
		a.warn("%s sets no floor for what Intel says of TDX platforms: old collateral counts until it ends", path)
	}
	return fmt.Sprintf("%s: %d entries, %d of them new; next: assay head sign\n", printable(path), len(refs.Entries), len(entries)), nil
}
