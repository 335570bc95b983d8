// SPDX-License-Identifier: Apache-2.0

package folder

import (
	"encoding/hex"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// PolicyAzure are the demands on what the paravisor of a confidential VM of Azure
// says of its machine. Where a policy has neither measurements nor mrtd, any paravisor
// counts, and little is affirmed.
type PolicyAzure struct {
	RequireSecureBoot bool     `json:"require_secure_boot"`
	RequireTPMEnabled bool     `json:"require_tpm_enabled"`
	VMUniqueIDs       []string `json:"vm_unique_ids"`
	UserData          *string  `json:"user_data"`
}

// demanded tells whether there is a demand.
func (p *PolicyAzure) demanded() bool {
	return p.RequireSecureBoot || p.RequireTPMEnabled || p.VMUniqueIDs != nil || p.UserData != nil
}

// An azureCase is what is read of a confidential VM of Azure, on either platform.
type azureCase struct {
	quotation
	expected attest.AzureExpected
}

// azure reads the parts that both platforms have, for accepted paravisors.
func (f *reader) azure(c *Case, p *Policy, what string, paravisors []string) (a azureCase, err error) {
	switch {
	case p.ReportData != nil:
		return a, unsupported("report_data of an HCL report is the digest of its data: demand nonce or user_data")
	case len(p.RequireEventLogOfRTMR) > 0:
		return a, unsupported("require_event_log_for_rtmr: the paravisor has no log of RTMRs")
	case c.Parts["hcl_report"] == "":
		return a, verdict.Fail(verdict.EvidenceMissing, "appraising evidence folder: a VM of Azure wants the part hcl_report")
	}
	if a.quotation, err = f.quotation(c, p); err != nil {
		return a, err
	}
	report, err := f.read(c.Parts["hcl_report"])
	if err != nil {
		return a, err
	}
	a.items[attest.LabelHCLReport] = attest.Item{MediaType: attest.TypeHCLReport, Value: report}
	a.expected = attest.AzureExpected{
		AllowAnyParavisor: paravisors == nil, TPM: a.quotation.expected,
		RequireSecureBoot: p.RequireSecureBoot, RequireTPM: p.RequireTPMEnabled, VMIDs: p.VMUniqueIDs,
	}
	if a.expected.Measurements, err = digests(what, paravisors); err != nil {
		return a, err
	}
	if p.UserData != nil {
		if a.expected.UserData, err = hex.DecodeString(*p.UserData); err != nil {
			return a, malformed("user_data: %w", err)
		}
	}
	return a, nil
}

// evidence is what was read, as an item of a collection.
func (a *azureCase) evidence(collectionType string) attest.Item {
	return attest.Item{Nested: &attest.Collection{Type: collectionType, Items: a.items}}
}

// tell puts what was found into the report.
func (a *azureCase) tell(r *Report, result *attest.AzureResult) error {
	if err := a.checkNames(result.PCRs); err != nil {
		return err
	}
	r.Measurement, r.Claims, r.Azure = hex.EncodeToString(result.Measurement[:]), result.Claims, &result.HCL
	return nil
}

func (f *reader) azureSNP(r *Report) error {
	c, p := &r.Case, &r.Case.Policy
	a, err := f.azure(c, p, "measurements", p.Measurements)
	if err != nil {
		return err
	}
	hcl, err := attest.ParseHCLReport(a.items[attest.LabelHCLReport].Value)
	if err != nil {
		return err
	}
	var report attest.SNPReport
	if hcl.Type == attest.HCLSNP { // another is refused below, unless the policy is about another, too
		if report, err = attest.ParseSNPReport(hcl.Hardware); err != nil {
			return err
		}
	}
	trust, endorsements, err := f.snpPlatform(c, p, &report, attest.SNPCertTable{})
	if err != nil {
		return err
	}
	if len(p.MRTD) > 0 || len(p.RTMR) > 0 {
		return unsupported("mrtd and rtmr are of TDX: a VM of Azure with SNP has measurements")
	}
	data, err := collection(a.evidence(attest.TypeAzureSNP), endorsements)
	if err != nil {
		return err
	}
	result, err := attest.AppraiseAzureSNP(data, a.expected, trust, c.At)
	if err != nil {
		return err
	}
	if err := named(p, result.SNP, 0); err != nil { // no other VMPL is accepted
		return err
	}
	r.Relaxed, r.SNP = result.SNP.Relaxed, platform(result.SNP)
	return a.tell(r, &result)
}

func (f *reader) azureTDX(r *Report) error {
	c, p := &r.Case, &r.Case.Policy
	a, err := f.azure(c, p, "mrtd", p.MRTD)
	if err != nil {
		return err
	}
	if len(p.Measurements) > 0 {
		return unsupported("measurements are of SNP: a VM of Azure with TDX has mrtd")
	}
	if a.expected.RTMR, err = rtmrs(p.RTMR); err != nil {
		return err
	}
	if c.Parts["td_quote"] == "" {
		return verdict.Fail(verdict.EvidenceMissing, "appraising evidence folder: a VM of Azure with TDX wants the part td_quote")
	}
	quote, err := f.read(c.Parts["td_quote"])
	if err != nil {
		return err
	}
	q, err := attest.ParseTDXQuote(quote)
	if err != nil {
		return err
	}
	trust, collateral, err := f.tdxPlatform(c, p, &q)
	if err != nil {
		return err
	}
	a.items[attest.LabelTDQuote] = attest.Item{MediaType: attest.TypeTDXQuote, Value: quote}
	data, err := collection(a.evidence(attest.TypeAzureTDX), nil)
	if err != nil {
		return err
	}
	result, err := attest.AppraiseAzureTDX(data, collateral, a.expected, trust, c.At)
	if err != nil {
		return err
	}
	if err := namedStatus(p, result.TDX.Status); err != nil {
		return err
	}
	if err := a.tell(r, &result); err != nil {
		return err
	}
	r.Status, r.Advisories, r.Relaxed = result.TDX.Status, result.TDX.Advisories, result.TDX.Relaxed
	return nil
}
