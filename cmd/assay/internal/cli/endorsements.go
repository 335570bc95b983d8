// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/verdict"
)

// endorsementUnusable is there, and relying parties do not accept it.
const endorsementUnusable = "unusable"

// A statedEndorsement is one that the evidence of a statement wants beside it.
type statedEndorsement struct {
	Type string `json:"type"`
	// State is there, missing or unusable, and Code says why it is not there.
	State string       `json:"state"`
	Code  verdict.Code `json:"code,omitempty"`
	// Edition is the number of a list, or tcbEvaluationDataNumber. It and the dates are
	// absent where the maker did not sign them.
	Edition *big.Int   `json:"edition,omitempty"`
	Issued  *time.Time `json:"issued,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
}

func (e *statedEndorsement) text() string {
	text := "endorsement " + e.Type + " " + e.State
	if e.Code != "" {
		text += " [" + string(e.Code) + "]"
	}
	if e.Edition != nil {
		text += ", edition " + clip(e.Edition.String())
	}
	if e.Issued != nil {
		text += ", from " + utc(*e.Issued) + " until " + utc(*e.Until)
	}
	return text + "\n"
}

// statedEndorsements are those of a collection, as of a time and under the roots that AMD
// and Intel publish. There are none where no processor that they vouch for made the
// evidence.
func statedEndorsements(collection []byte, at time.Time) (all []statedEndorsement, missing []string) {
	p, items, err := attest.PlatformOf(collection)
	if err != nil {
		return nil, nil
	}
	missing = p.Lacks(items)
	roots := attest.PublishedRoots()
	for _, label := range p.Endorsements() {
		one := statedEndorsement{Type: label, State: endorsementThere}
		value, chain := items[label].Value, items[attest.ChainOf(label)].Value
		if _, err := p.Verify(label, value, chain, roots, at); err != nil {
			one.State, one.Code = endorsementUnusable, verdict.CodeOf(err)
			if one.Code == verdict.EndorsementMissing {
				one.State = endorsementMissing
			}
		}
		if edition, err := p.EditionOf(label, value, chain, roots); err == nil {
			issued, until := edition.Issued.UTC(), edition.Until.UTC()
			one.Edition, one.Issued, one.Until = edition.Number, &issued, &until
		}
		all = append(all, one)
	}
	return all, missing
}

// noteMissing says what evidence goes without, all of it: an appraisal ends at the first
// that it looks for.
func (a *app) noteMissing(missing []string) {
	if len(missing) > 0 {
		a.note(verdict.EndorsementMissing, fmt.Sprintf("the evidence goes without %s: relying parties cannot decide", strings.Join(missing, ", ")))
	}
}

// noteMissingIn does so for an appraisal of a collection that failed for it.
func (a *app) noteMissingIn(collection []byte, err error) {
	if verdict.CodeOf(err) != verdict.EndorsementMissing {
		return
	}
	if p, items, err := attest.PlatformOf(collection); err == nil {
		a.noteMissing(p.Lacks(items))
	}
}

// missingIn is what an evidence folder lacks of what its appraisal looks at. There is
// nothing to say of a folder that nothing can be added to.
func missingIn(dir string) []string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	defer root.Close() //nolint:errcheck // it was only read
	e, err := folder.OpenEndorsable(root.FS())
	if err != nil {
		return nil
	}
	items := map[string]attest.Item{}
	for _, label := range e.Platform.Endorsements() {
		has := e.Has[label]
		if !e.Demanded(label) {
			has = folder.Endorsed{Value: []byte{0}, Chain: []byte{0}}
		}
		items[label], items[attest.ChainOf(label)] = attest.Item{Value: has.Value}, attest.Item{Value: has.Chain}
	}
	return e.Platform.Lacks(items)
}
