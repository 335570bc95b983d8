// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/verdict"
)

func (a *app) evidenceCommand() *cobra.Command {
	return a.group("evidence", "Appraise evidence of a TEE that was recorded as a folder", a.evidenceAppraiseCommand())
}

// An appraisal is what was found in a folder.
type appraisal struct {
	Name        string    `json:"name"`
	Kind        string    `json:"kind"`
	At          time.Time `json:"at"`
	Measurement string    `json:"measurement,omitempty"`
	// OwnRoots says that the roots are the folder's, and not the published ones.
	OwnRoots   bool             `json:"ownRoots"`
	TCBStatus  attest.TDXStatus `json:"tcbStatus,omitempty"`
	Advisories []string         `json:"advisories,omitempty"`
	// Relaxed are the relaxations without which SNP evidence is refused.
	Relaxed []string `json:"relaxed,omitempty"`
	// Expected says whether the folder expects what came out, and is absent where it
	// expects nothing.
	Expected *bool `json:"expected,omitempty"`
}

func (a *app) evidenceAppraiseCommand() *cobra.Command {
	return a.command("appraise DIR", "Appraise the evidence in a folder, at the time and under the policy that it names",
		"  assay evidence appraise recorded/tdx-1", exactly(1, "an evidence folder"),
		func(_ context.Context, args []string) (*answer, error) {
			root, err := os.OpenRoot(args[0])
			if err != nil {
				return nil, verdict.Misused("name a folder with a "+folder.CaseName, "opening evidence folder: %w", err)
			}
			defer root.Close() //nolint:errcheck // it was only read
			report, err := folder.Appraise(root.FS())
			return appraised(report, err)
		})
}

// appraised makes the answer; an unreadable folder has none.
func appraised(r folder.Report, err error) (*answer, error) {
	ans := &answer{Result: resultAccept, Reasons: []verdict.Reason{}}
	if _, misuse := errors.AsType[*verdict.Misuse](err); misuse {
		return nil, err
	}
	if err != nil {
		ans.fromError(err)
	}
	if verdict.Refused(err) {
		ans.Result = resultReject
	}
	c := &r.Case
	v := appraisal{Name: c.Name, Kind: c.Kind, At: c.At.UTC(), OwnRoots: r.OwnRoots, Measurement: r.Measurement, TCBStatus: r.Status, Advisories: r.Advisories, Relaxed: r.Relaxed}
	if c.Expect != "" {
		// What cannot be decided is no acceptance either.
		met := (c.Expect == resultAccept) == (ans.Result == resultAccept)
		v.Expected = &met
	}
	ans.Value = v
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", printable(c.Name), ans.Result)
	if v.OwnRoots {
		fmt.Fprintln(&b, "  under roots that the folder brings along")
	}
	if v.Measurement != "" {
		fmt.Fprintf(&b, "  measurement %s\n", v.Measurement)
	}
	if v.TCBStatus != "" {
		fmt.Fprintln(&b, strings.Join(append([]string{"  TCB", string(v.TCBStatus)}, v.Advisories...), " "))
	}
	if v.Expected != nil && !*v.Expected {
		fmt.Fprintf(&b, "  the folder expects %s\n", printable(c.Expect))
	}
	ans.text = b.String()
	return ans, nil
}
