// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
)

// defaultReferenceLife is how long an entry counts.
const defaultReferenceLife = 365 * 24 * time.Hour

// entryFlags say what an entry of a references file has beside the measured values, or
// with which entries they are compared.
type entryFlags struct {
	verify                    bool
	file, name, profile, from string
	configs, flavours         []string
	life                      time.Duration
}

// adds tells whether entries are to be added.
func (e *entryFlags) adds() bool { return e.file != "" && !e.verify }

// words chooses what a command says of itself.
func (e *entryFlags) words(compute, verify string) string {
	if e.verify {
		return verify
	}
	return compute
}

func (e *entryFlags) define(c *cobra.Command) {
	f := c.Flags()
	if e.verify {
		f.StringVar(&e.file, "references", "", "compare with entries of this references `FILE`")
		f.StringVar(&e.name, "name", "", "compare with the entry of this `NAME` alone")
		return
	}
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
	if e.verify {
		if e.file == "" {
			return none, verdict.Misused("name the file with --references", "comparing entries: no references file is named")
		}
		return none, nil
	}
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

// settle adds computed entries to the references file, or compares them with it. It
// returns what was done, in lines for people.
func (a *app) settle(e *entryFlags, computed []verdict.ReferenceEntry) (string, error) {
	if e.verify {
		return a.compareEntries(e.file, e.name, computed)
	}
	return a.addEntries(e.file, computed)
}

// compareEntries refuses where what was computed is not what entries of its kind pin:
// each computed value has to be one of an entry, or with a name, that entry one of them.
func (a *app) compareEntries(path, name string, computed []verdict.ReferenceEntry) (string, error) {
	data, err := file.Read("references", path, verdict.MaxReferences)
	if err != nil {
		return "", err
	}
	refs, err := verdict.ParseReferences(data)
	if err != nil {
		return "", err
	}
	kind := computed[0].Kind
	entries := slices.DeleteFunc(refs.Entries, func(e verdict.ReferenceEntry) bool { return e.Kind != kind || name != "" && e.Name != name })
	if len(entries) == 0 {
		return "", verdict.Refuse(verdict.GuestMeasurement, "comparing entries: %s has none of kind %s%s", path, kind, map[bool]string{true: " of this name"}[name != ""])
	}
	met := map[string]bool{}
	var out strings.Builder
	var refusal error
	for _, c := range computed {
		i := slices.IndexFunc(entries, func(e verdict.ReferenceEntry) bool { return differs(e, c) == nil })
		if i < 0 {
			if refusal == nil {
				refusal = nearest(entries, c)
			}
			continue
		}
		e := entries[i]
		if !met[e.Name] {
			fmt.Fprintf(&out, "entry %s is what these files make\n", printable(e.Name))
		}
		met[e.Name] = true
		for _, r := range slices.Sorted(maps.Keys(e.Registers)) {
			if _, ok := c.Registers[r]; !ok {
				a.warn("entry %q pins %s too, which these files do not decide", clip(e.Name), r)
			}
		}
		if !e.Valid(time.Now()) {
			a.warn("entry %q does not count now: %s to %s", clip(e.Name), utcUnix(e.NotBefore), utcUnix(e.NotAfter))
		}
	}
	if refusal != nil && (name == "" || len(met) == 0) {
		return "", refusal
	}
	for _, e := range entries {
		if !met[e.Name] {
			a.warn("entry %q was not compared: other files make it", clip(e.Name))
		}
	}
	return out.String(), nil
}

// differs refuses an entry that pins something else than what was computed.
func differs(e, computed verdict.ReferenceEntry) error {
	if e.Measurement != computed.Measurement {
		return verdict.Refuse(verdict.GuestMeasurement, "comparing entry %q: its measurement is %s, these files make %s", e.Name, e.Measurement, computed.Measurement)
	}
	for _, r := range slices.Sorted(maps.Keys(e.Registers)) {
		if value, ok := computed.Registers[r]; ok && value != e.Registers[r] {
			return verdict.Refuse(verdict.GuestRegister, "comparing entry %q: its %s is %s, these files make %s", e.Name, r, e.Registers[r], value)
		}
	}
	return nil
}

// nearest is the refusal of the entry that came furthest: one of the same measurement
// tells a register.
func nearest(entries []verdict.ReferenceEntry, computed verdict.ReferenceEntry) error {
	err := differs(entries[0], computed)
	for _, e := range entries[1:] {
		if d := differs(e, computed); verdict.CodeOf(err) == verdict.GuestMeasurement && verdict.CodeOf(d) == verdict.GuestRegister {
			err = d
		}
	}
	return err
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
	of := func(kinds ...string) bool {
		return slices.ContainsFunc(refs.Entries, func(x verdict.ReferenceEntry) bool { return slices.Contains(kinds, x.Kind) })
	}
	if refs.Floors.SNP == nil && of(verdict.KindSNP, verdict.KindAzureSNP, verdict.KindSVSM) {
		a.warn("%s sets no floor for the firmware of SEV-SNP processors: any old one is accepted", path)
	}
	if refs.Floors.TDX == nil && of(verdict.KindTDX, verdict.KindAzureTDX) {
		a.warn("%s sets no floor for what Intel says of TDX platforms: old collateral counts until it ends", path)
	}
	return fmt.Sprintf("%s: %d entries, %d of them new; next: assay head sign\n", printable(path), len(refs.Entries), len(entries)), nil
}
