// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/assayd/assay/verdict"
)

// AzureTrust is what is demanded of a VM of Azure besides its platform: SNPTrust or
// TDXTrust, and the references, which name paravisor and PCRs. The zero value accepts
// each VM that Azure's paravisor says has its TPM switched on.
type AzureTrust struct {
	// VMIDs are the accepted machines by vmUniqueId, GUIDs in letters of either case.
	VMIDs []string
	// RequireSecureBoot demands that the paravisor says that it is on. What was
	// started is in the PCRs in any case.
	RequireSecureBoot bool
}

// Check refuses demands that nothing could meet. The error is a *verdict.Misuse.
func (t *AzureTrust) Check() error {
	for _, id := range t.VMIDs {
		if !isGUID(id) {
			return verdict.Misused("", "a machine is named %s, want the 32 digits of a vmUniqueId", quoteShort(id))
		}
	}
	return nil
}

// platform is the kind of the hardware that vouches: of a VM of Azure, for its
// paravisor, and for an SVSM. Others are their own.
func (k Kind) platform() Kind {
	switch k {
	case AzureSNP, SVSM:
		return SNP
	case AzureTDX:
		return TDX
	case SNP, SimulatedSNP, TDX, SimulatedTDX, TPM:
	}
	return k
}

// appraiseAzure appraises the evidence of a VM of Azure. The paravisor had the
// hardware's report made when the machine started, so that one cannot be about a
// statement: it is about the attestation key of the paravisor's TPM, and the quote of
// that key is about the statement and the nonces.
func appraiseAzure(c Collection, kind Kind, in *evidenceInput, at time.Time) (Result, error) {
	judge := azureSNP
	if kind == AzureTDX {
		judge = azureTDX
	}
	p, err := judge(c, in, at)
	if err != nil {
		return Result{}, err
	}
	data, ak, err := p.hcl.bind(p.reportData, p.evidence)
	if err != nil {
		return Result{}, err
	}
	known, err := knownHCLKey(&data, in.known)
	if err != nil {
		return Result{}, err
	}
	quote, pcrs, err := verifyQuote(p.evidence, ak)
	if err != nil {
		return Result{}, err
	}
	if err := checkFresh(quote, &known, in); err != nil {
		return Result{}, err
	}
	t := &in.trust.Azure
	machine := AzureExpected{RequireTPM: true, RequireSecureBoot: t.RequireSecureBoot, VMIDs: t.VMIDs}
	if err := machine.checkVM(&data); err != nil {
		return Result{}, err
	}
	result := p.result
	result.Kind, result.Binding, result.AK, result.Azure, result.Registers = kind, BindingHCL, known, &data, pcrs.names()
	result.Entry, err = chooseEntry(in, kind, at, func(e verdict.ReferenceEntry) error {
		if e.Measurement != result.Measurement {
			return verdict.Refuse(verdict.GuestMeasurement, "appraising HCL report: measurement %s of the paravisor is none of the references", result.Measurement)
		}
		return checkRegisters(e, pcrs)
	})
	if err != nil {
		return Result{}, err
	}
	if len(t.VMIDs) > 0 {
		result.Claims.InstanceIdentity = Affirming
	}
	if !quote.Safe { // checkFresh has accepted it
		result.Relaxed = slices.Sorted(slices.Values(append(result.Relaxed, "allow-unsafe-clock")))
	}
	if in.statement == nil {
		return result, nil
	}
	result.Events, err = pcrs.checkEvents(c, in.statement)
	return result, err
}

// An azurePlatform is the hardware's half of the evidence of a VM of Azure, which was
// verified, and whose reportData is yet to be compared.
type azurePlatform struct {
	evidence   Collection
	hcl        HCLReport
	reportData [64]byte
	// result has the measurement and what was found of the platform.
	result Result
}

// azureSNP judges the platform of a VM with SEV-SNP. A report of another VMPL than 0
// is the guest's, which would name any attestation key.
func azureSNP(c Collection, in *evidenceInput, at time.Time) (p azurePlatform, err error) {
	if p.evidence, p.hcl, err = openAzure(c, HCLSNP); err != nil {
		return p, err
	}
	report, err := ParseSNPReport(p.hcl.Hardware)
	if err != nil {
		return p, err
	}
	trust := *in.trust
	trust.AllowVMPLs = nil
	of := *in
	of.trust, of.expected.ReportData, p.reportData = &trust, report.ReportData, report.ReportData
	if p.result, err = judgeSNP(c, &report, false, &of, at); err != nil {
		return p, err
	}
	p.result.Measurement = hex.EncodeToString(report.Measurement[:])
	return p, nil
}

// azureTDX judges the platform of a VM with TDX. The TDREPORT of the paravisor is not
// signed, and counts because the quote says the same.
func azureTDX(c Collection, in *evidenceInput, at time.Time) (p azurePlatform, err error) {
	if p.evidence, p.hcl, err = openAzure(c, HCLTDX); err != nil {
		return p, err
	}
	data, err := p.evidence.record(LabelTDQuote, TypeTDXQuote)
	if err != nil {
		return p, err
	}
	quote, err := ParseTDXQuote(data)
	if err != nil {
		return p, err
	}
	endorsements, err := tdxEndorsements(c)
	if err != nil {
		return p, err
	}
	collateral, err := collateralOf(endorsements)
	if err != nil {
		return p, err
	}
	trust := in.trust.TDX.floored(in.expected.Floors.TDX)
	found, err := judgeTDX(data, collateral, &trust, quote.ReportData, at)
	if err != nil {
		return p, err
	}
	if err := quote.ofReport(p.hcl.Hardware); err != nil {
		return p, err
	}
	p.reportData = quote.ReportData
	p.result = Result{
		Measurement: hex.EncodeToString(quote.MRTD[:]), PCK: found.PCK, Status: found.Status, Advisories: found.Advisories,
		Evaluation: found.Evaluation, Relaxed: found.Relaxed, Claims: found.Claims,
	}
	return p, nil
}

// knownHCLKey is what list knows of the attestation key that a paravisor names. It is
// found by the key alone: the public area around it is not in the paravisor's report,
// so that who sets the TPM back could give the key another name.
func knownHCLKey(data *HCLData, list []KnownAK) (KnownAK, error) {
	name, err := (&tpmKey{public: data.AK}).digest()
	if err != nil {
		return KnownAK{}, err
	}
	for _, known := range list {
		if known.AK == name {
			return known, nil
		}
	}
	return KnownAK{AK: name}, nil
}
