// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/verdict"
)

func (a *app) evidenceCommand() *cobra.Command {
	return a.group("evidence", "Record evidence of a TEE as a folder, and appraise such folders", a.evidenceAppraiseCommand(), a.evidenceFetchCommand(), a.evidenceRecordCommand())
}

// An appraisal is what was found in a folder.
type appraisal struct {
	Name        string    `json:"name"`
	Kind        string    `json:"kind"`
	At          time.Time `json:"at"`
	Measurement string    `json:"measurement,omitempty"`
	// OwnRoots says that the roots are the folder's, and not the published ones.
	OwnRoots bool `json:"ownRoots"`
	// Simulated says that nothing but a simulator vouches for it.
	Simulated  bool             `json:"simulated,omitempty"`
	TCBStatus  attest.TDXStatus `json:"tcbStatus,omitempty"`
	Advisories []string         `json:"advisories,omitempty"`
	SNP        *snpPlatform     `json:"snp,omitempty"`
	// Relaxed are the relaxations without which SNP or TDX evidence is refused.
	Relaxed []string `json:"relaxed,omitempty"`
	// Claims are the tiers of the trustworthiness vector (AR4SI) by their names. What
	// is not there is not claimed.
	Claims map[string]string `json:"claims,omitempty"`
	// EAR is the result as draft-ietf-rats-ear has it, with a reason for each claim.
	// It is there where the evidence was accepted.
	EAR   *attest.EAR   `json:"ear,omitempty"`
	Azure *azureMachine `json:"azure,omitempty"`
	GCE   *gceInstance  `json:"gce,omitempty"`
	// Missing are endorsements, and chains of them, that the folder would have to have.
	Missing []string `json:"missing,omitempty"`
	// Expected says whether the folder expects what came out, and is absent where it
	// expects nothing.
	Expected *bool `json:"expected,omitempty"`
}

// An snpPlatform is who vouches for an SNP report.
type snpPlatform struct {
	Product string `json:"product"`
	// Signer is vcek or vlek, and CSPID the provider of a VLEK.
	Signer string `json:"signer"`
	CSPID  string `json:"cspId,omitempty"`
	// ChipID is in hex, and absent where the host masks it.
	ChipID string `json:"chipId,omitempty"`
}

func (p *snpPlatform) text() string {
	text := fmt.Sprintf("  %s, signed by a %s", p.Product, strings.ToUpper(p.Signer))
	if p.CSPID != "" {
		text += " of " + printable(p.CSPID)
	}
	chip := "masked"
	if p.ChipID != "" {
		chip = p.ChipID[:16] + "…"
	}
	return text + ", chip " + chip + "\n"
}

// An azureMachine is what the paravisor of a confidential VM of Azure says of it.
type azureMachine struct {
	VMUniqueID string `json:"vmUniqueId"`
	SecureBoot bool   `json:"secureBoot"`
	TPMEnabled bool   `json:"tpmEnabled"`
	UserData   string `json:"userData,omitempty"`
}

// machineOf returns it, and nil for nil.
func machineOf(z *attest.HCLData) *azureMachine {
	if z == nil {
		return nil
	}
	return &azureMachine{VMUniqueID: z.VMID, SecureBoot: z.SecureBoot, TPMEnabled: z.TPM, UserData: hex.EncodeToString(z.UserData)}
}

// A gceInstance is what the certificate of an attestation key names.
type gceInstance struct {
	Zone          string `json:"zone"`
	ProjectNumber uint64 `json:"projectNumber,string"`
	ProjectID     string `json:"projectId"`
	InstanceID    uint64 `json:"instanceId,string"`
	InstanceName  string `json:"instanceName"`
}

// tiersOf names the tiers of the claims that are made.
func tiersOf(c attest.Claims) map[string]string {
	named := map[string]string{}
	for name, claim := range c.All() {
		if claim != attest.NoClaim {
			named[name] = claim.String()
		}
	}
	return named
}

// claimsText has a line for each claim that there is a reason of, in the order of the
// vector.
func claimsText(c attest.Claims, reasons map[string]string, indent string) string {
	var b strings.Builder
	for name, claim := range c.All() {
		if why, ok := reasons[name]; ok {
			fmt.Fprintf(&b, "%s%s %s: %s\n", indent, name, claim, printable(why))
		}
	}
	return b.String()
}

func (a *app) evidenceAppraiseCommand() *cobra.Command {
	return a.command("appraise DIR", "Appraise the evidence in a folder, at the time and under the policy that it names",
		"  assay evidence appraise recorded/tdx-1", exactly(1, "an evidence folder"),
		func(_ context.Context, args []string) (*answer, error) {
			r, err := appraiseFolder(args[0])
			if verdict.CodeOf(err) == verdict.EndorsementMissing {
				return a.appraised(r, missingIn(args[0]), err)
			}
			return a.appraised(r, nil, err)
		})
}

// appraised makes the answer; an unreadable folder has none.
func (a *app) appraised(r folder.Report, missing []string, err error) (*answer, error) {
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
	v := appraisal{Name: c.Name, Kind: c.Kind, At: c.At.UTC(), OwnRoots: r.OwnRoots, Simulated: r.Simulated, Measurement: r.Measurement, TCBStatus: r.Status, Advisories: r.Advisories, Relaxed: r.Relaxed, Missing: missing}
	var claims string
	if err == nil {
		ear := attest.NewEAR(c.At, a.env.Version, r.Claims, r.Grounds())
		v.Claims, v.EAR = tiersOf(r.Claims), &ear
		claims = claimsText(r.Claims, r.Claims.Reasons(r.Grounds()), "  ")
	}
	if p := r.SNP; p != nil {
		v.SNP = &snpPlatform{Product: string(p.Product), Signer: string(p.Signer), CSPID: p.CSPID}
		if p.ChipID != [64]byte{} {
			v.SNP.ChipID = hex.EncodeToString(p.ChipID[:])
		}
	}
	v.Azure = machineOf(r.Azure)
	if g := r.GCE; g != nil {
		v.GCE = &gceInstance{Zone: g.Zone, ProjectNumber: g.ProjectNumber, ProjectID: g.ProjectID, InstanceID: g.ID, InstanceName: g.Name}
	}
	if c.Expect != "" {
		// What cannot be decided is no acceptance either.
		met := (c.Expect == resultAccept) == (ans.Result == resultAccept)
		v.Expected = &met
	}
	ans.Value = v
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", printable(c.Name), ans.Result)
	if c.Policy.Daemon != nil {
		fmt.Fprintln(&b, "  under the trust.yaml and head that the folder brings along")
	} else if v.OwnRoots {
		fmt.Fprintln(&b, "  under roots that the folder brings along")
	}
	if v.Simulated {
		fmt.Fprintln(&b, "  by a simulator, which proves nothing about hardware")
	}
	if v.Measurement != "" {
		fmt.Fprintf(&b, "  measurement %s\n", v.Measurement)
	}
	if v.SNP != nil {
		b.WriteString(v.SNP.text())
	}
	if len(v.Relaxed) > 0 {
		fmt.Fprintf(&b, "  relaxed %s\n", strings.Join(v.Relaxed, " "))
	}
	if v.TCBStatus != "" {
		fmt.Fprintln(&b, strings.Join(append([]string{"  TCB", string(v.TCBStatus)}, v.Advisories...), " "))
	}
	if v.Azure != nil {
		fmt.Fprintf(&b, "  machine %s, secure boot %t\n", v.Azure.VMUniqueID, v.Azure.SecureBoot)
	}
	if v.GCE != nil {
		fmt.Fprintf(&b, "  instance %s of project %s in %s\n", printable(v.GCE.InstanceName), printable(v.GCE.ProjectID), printable(v.GCE.Zone))
	}
	if len(missing) > 0 {
		fmt.Fprintf(&b, "  missing %s\n", strings.Join(missing, ", "))
	}
	b.WriteString(claims)
	if v.Expected != nil && !*v.Expected {
		fmt.Fprintf(&b, "  the folder expects %s\n", printable(c.Expect))
	}
	ans.text = b.String()
	return ans, nil
}
