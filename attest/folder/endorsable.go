// SPDX-License-Identifier: Apache-2.0

package folder

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// An Endorsed is an endorsement, and the chain of who signed it where that comes beside
// it. The zero value is none.
type Endorsed struct{ Value, Chain []byte }

// An Endorsable is a folder in what it takes to find the endorsements of its platform,
// and to add those that are missing. [OpenEndorsable] makes one.
type Endorsable struct {
	// At is the time that the folder is appraised at.
	At time.Time
	// Platform is whose endorsements are wanted.
	Platform attest.Platform
	// Roots are those that the folder is appraised under.
	Roots attest.EndorsementRoots
	// Has are the endorsements that it has of its platform by their labels, good or bad.
	Has map[string]Endorsed

	f    *reader
	c    Case
	raw  map[string]json.RawMessage
	adds map[string][]byte
}

// OpenEndorsable reads a folder. The error is a *verdict.Misuse where it is not readable,
// is a recording in one piece, to which nothing can be added, or is of no processor that
// AMD or Intel vouches for, and else the refusal or failure of evidence that is malformed.
func OpenEndorsable(fsys fs.FS) (*Endorsable, error) {
	e := &Endorsable{f: newReader(fsys), Has: map[string]Endorsed{}, adds: map[string][]byte{}}
	var err error
	if e.c, err = e.f.readCase(); err != nil {
		return nil, err
	}
	data, err := e.f.read(CaseName)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &e.raw); err != nil {
		return nil, malformed("%s: %w", CaseName, err)
	}
	if e.c.Format == FormatCollection {
		return nil, verdict.Misused("", "reading evidence folder: it was recorded in one piece, since it says something that its parts would not: nothing can be added to it")
	}
	e.At = e.c.At
	table, err := e.platform()
	if err != nil {
		return nil, err
	}
	for _, label := range e.Platform.Endorsements() {
		var has Endorsed
		if has.Value, has.Chain, err = e.f.take(e.c.Endorsements, label); err != nil {
			return nil, err
		}
		if has.Value == nil {
			has.Value = map[string][]byte{attest.LabelVCEK: table.VCEK, attest.LabelVLEK: table.VLEK}[label]
		}
		if has.Value != nil {
			e.Has[label] = has
		}
	}
	return e, e.roots(table)
}

// platform finds the platform in the evidence, and the host's certificates beside it.
func (e *Endorsable) platform() (table attest.SNPCertTable, err error) {
	name, find := e.c.Evidence, attest.SNPPlatformOf
	switch e.c.Kind + " " + e.c.Format {
	case "snp snp-report", "snp snp-report+cert-table":
	case "tdx tdx-quote":
		find = attest.TDXPlatformOf
	case "azure-snp tpm-quote":
		name, find = e.c.Parts["hcl_report"], attest.HCLPlatformOf
	case "azure-tdx tpm-quote":
		name, find = e.c.Parts["td_quote"], attest.TDXPlatformOf
	case "snp-svsm tpm-quote":
		name = e.c.Parts["svsm_report"]
	default:
		return table, verdict.Misused("name a folder with evidence of SEV-SNP or TDX", "reading evidence folder: kind %s in format %s is of no processor that AMD or Intel vouches for", quote(e.c.Kind), quote(e.c.Format))
	}
	data, err := e.f.read(name)
	if err != nil {
		return table, err
	}
	if e.c.Format == "snp-report+cert-table" {
		if data, table, err = attest.ParseSNPExtendedReport(data); err != nil {
			return table, err
		}
	}
	e.Platform, err = find(data)
	return table, err
}

// roots are the folder's own, or those that are published.
func (e *Endorsable) roots(table attest.SNPCertTable) (err error) {
	e.Roots = attest.PublishedRoots()
	if len(e.c.Roots) == 0 {
		return nil
	}
	if e.Platform.TDX != nil {
		if e.Roots.Intel, err = e.f.root(e.c.Roots, "intel-sgx-root"); err == nil && e.Roots.Intel == nil {
			err = malformed("roots of its own want intel-sgx-root")
		}
		return err
	}
	endorsements, err := e.f.snpEndorsements(&e.c, table)
	if err != nil {
		return err
	}
	e.Roots.AMD, err = e.f.snpRoots(&e.c, endorsements)
	return err
}

// Demanded tells whether the folder's appraisal looks at an endorsement of its platform.
func (e *Endorsable) Demanded(label string) bool {
	p := &e.c.Policy
	switch label {
	case attest.LabelCRL, attest.LabelPCKCRL, attest.LabelSGXRootCRL:
		return p.Daemon != nil || p.RequireCRL
	case attest.LabelTCBInfo, attest.LabelQEIdentity:
		return p.Daemon != nil || p.RequireCollateral
	}
	return true
}

// Add puts an endorsement into the folder, in the place of the one of that label before.
// Files of the old one stay where they have other names; a file of the new one's name
// that case.json does not name is what a run left that was cut short.
func (e *Endorsable) Add(label string, add Endorsed) error {
	item, ok := recordedEndorsements[label]
	if !ok {
		return malformed("there is no endorsement %s", quote(label))
	}
	one := File{Type: endorsementType(label), File: item.file}
	i := slices.IndexFunc(e.c.Endorsements, func(f File) bool { return f.Type == one.Type })
	if i < 0 {
		i, e.c.Endorsements = len(e.c.Endorsements), append(e.c.Endorsements, File{Type: one.Type})
	}
	old := e.c.Endorsements[i]
	names := map[string][]byte{one.File: add.Value}
	if len(add.Chain) > 0 {
		chain, ok := recordedChains[label]
		if !ok {
			return malformed("%s has no chain of its own", quote(label))
		}
		one.IssuerChain = chain.file
		names[chain.file] = add.Chain
	}
	for name, data := range names {
		if len(data) > maxFileSize {
			return malformed("%s has %d bytes, want at most %d", quote(name), len(data), maxFileSize)
		}
		if name != old.File && name != old.IssuerChain && e.names(name) {
			return malformed("%s is another file of the folder: rename it", quote(name))
		}
		e.adds[name] = data
	}
	e.c.Endorsements[i], e.Has[label] = one, add
	return nil
}

// names tells whether the folder has a file of that name for something.
func (e *Endorsable) names(name string) bool {
	files := []string{CaseName, e.c.Evidence, e.c.Statement, e.c.Nonce, e.c.Registers}
	for _, part := range e.c.Parts {
		files = append(files, part)
	}
	for _, file := range slices.Concat(e.c.Endorsements, e.c.Roots) {
		files = append(files, file.File, file.IssuerChain)
	}
	if d := e.c.Policy.Daemon; d != nil {
		files = append(files, d.Trust, d.Head)
	}
	return slices.Contains(files, name)
}

// Files are the files that are new or other than before, case.json among them. It names
// the others, so it is to be written last. Its other members are as they were.
func (e *Endorsable) Files() (map[string][]byte, error) {
	endorsements := make([]map[string]string, len(e.c.Endorsements))
	for i, f := range e.c.Endorsements {
		endorsements[i] = map[string]string{"type": f.Type, "file": f.File}
		if f.IssuerChain != "" {
			endorsements[i]["issuer_chain"] = f.IssuerChain
		}
	}
	members := map[string]any{"endorsements": endorsements}
	if !e.At.Equal(e.c.At) {
		members["at"] = e.At.UTC()
	}
	for name, value := range members {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", CaseName, err)
		}
		e.raw[name] = data
	}
	data, err := json.MarshalIndent(e.raw, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", CaseName, err)
	}
	out := map[string][]byte{CaseName: append(data, '\n')}
	maps.Copy(out, e.adds)
	return out, nil
}
