// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// AzureExpected is what evidence of a confidential VM of Azure must be bound to and
// say. Of a member that is not set nothing is demanded, but for Measurements.
type AzureExpected struct {
	// Measurements are the paravisors that are accepted: the MEASUREMENT of an SNP
	// report, or MRTD.
	Measurements [][48]byte
	// AllowAnyParavisor accepts evidence without Measurements. Whoever rents a
	// machine with SNP or TDX can then have made it up to the name of the attestation
	// key, whose TPM may be anywhere: nothing is affirmed, the hardware included.
	AllowAnyParavisor bool
	// RTMR are the wanted registers of a TD by number. The paravisor does not use them.
	RTMR map[int][48]byte
	// TPM is what the quote of the paravisor's TPM has to say. Its nonce is the only
	// thing that is fresh: the report is made when the machine starts.
	TPM TPMExpected
	// RequireSecureBoot and RequireTPM demand that the paravisor says so.
	RequireSecureBoot, RequireTPM bool
	// VMIDs are accepted machines, by vmUniqueId.
	VMIDs []string
	// UserData is what the guest has written for the report, up to 64 bytes; zeros
	// follow. Anyone with root in the guest can write it, at any time before.
	UserData []byte
}

// An AzureResult is what was found. The zero value says nothing.
type AzureResult struct {
	// Binding is BindingHCL.
	Binding Binding
	// HCL is what the paravisor says, and Measurement what it is itself.
	HCL         HCLData
	Measurement [48]byte
	// SNP or TDX is what was found of the platform. Their claims are not the
	// machine's: they measure the paravisor.
	SNP *Result
	TDX *TDXResult
	// Quote and PCRs are of the paravisor's TPM.
	Quote Quote
	PCRs  PCRs
	// Claims is the trustworthiness vector. Executables are affirmed where both the
	// paravisor and values of PCRs were demanded: the hardware measures the
	// paravisor, and only the paravisor's TPM what it started. The host cannot read
	// memory; the paravisor can, and is Azure's. What runs at lower privilege has no
	// report of the hardware's, and nothing is said of storage.
	Claims Claims
}

// AppraiseAzureSNP decides whether the evidence in a collection is of a confidential
// VM of Azure with SEV-SNP. The order is: form, chain, signature, platform, guest and
// measurement of the SNP report; digest of the paravisor's data; attestation key;
// quote and PCRs; configuration. A report of another VMPL than 0 is not the
// paravisor's, whatever trust says.
//
// Errors are a *verdict.Refusal, a *verdict.Failure, or where trust or expected
// would accept nothing or anything a *verdict.Misuse; the result is then zero.
// It may be called concurrently.
func AppraiseAzureSNP(collection []byte, expected AzureExpected, trust Trust, at time.Time) (result AzureResult, err error) {
	defer func() {
		if err != nil {
			result = AzureResult{}
		}
	}()
	defer recoverMalformed(&err)
	if err := trust.checkBare(verdict.Floors{}); err != nil {
		return AzureResult{}, err
	}
	c, evidence, hcl, err := expected.open(collection, HCLSNP)
	if err != nil {
		return AzureResult{}, err
	}
	report, err := ParseSNPReport(hcl.Hardware)
	if err != nil {
		return AzureResult{}, err
	}
	trust.AllowVMPLs = nil // a report of the guest's would name any attestation key
	bare := Collection{Type: c.Type, Items: map[string]Item{LabelEvidence: {MediaType: TypeSNPReport, Value: hcl.Hardware}}}
	if endorsements, ok := c.Items[LabelEndorsements]; ok {
		bare.Items[LabelEndorsements] = endorsements
	}
	// Whom REPORT_DATA is about is the next question, to the same bytes.
	platform := Expected{ReportData: report.ReportData, Entries: expected.entries(report.Measurement)}
	snp, err := appraiseEvidence(bare, &evidenceInput{expected: platform, trust: &trust}, at)
	if err != nil {
		return AzureResult{}, err
	}
	result = AzureResult{Measurement: report.Measurement, SNP: &snp, Claims: snp.Claims}
	if err := expected.appraise(&result, &hcl, report.ReportData, evidence); err != nil {
		return AzureResult{}, err
	}
	return result, nil
}

// AppraiseAzureTDX does so for a VM with TDX, whose collection has a quote beside the
// paravisor's report: the TDREPORT in that one is not signed, and counts because the
// quote says the same.
func AppraiseAzureTDX(collection []byte, collateral TDXCollateral, expected AzureExpected, trust TDXTrust, at time.Time) (result AzureResult, err error) {
	defer func() {
		if err != nil {
			result = AzureResult{}
		}
	}()
	defer recoverMalformed(&err)
	if err := trust.Check(TDX); err != nil {
		return AzureResult{}, fmt.Errorf("appraising HCL report: %w", err)
	}
	_, evidence, hcl, err := expected.open(collection, HCLTDX)
	if err != nil {
		return AzureResult{}, err
	}
	data, err := evidence.record(LabelTDQuote, TypeTDXQuote)
	if err != nil {
		return AzureResult{}, err
	}
	quote, err := ParseTDXQuote(data)
	if err != nil {
		return AzureResult{}, err
	}
	tdx, err := AppraiseTDX(data, collateral, trust, TDXExpected{ReportData: quote.ReportData, MRTD: expected.Measurements, RTMR: expected.RTMR}, at)
	if err != nil {
		return AzureResult{}, err
	}
	if err := quote.ofReport(hcl.Hardware); err != nil {
		return AzureResult{}, err
	}
	result = AzureResult{Measurement: quote.MRTD, TDX: &tdx, Claims: tdx.Claims}
	if err := expected.appraise(&result, &hcl, quote.ReportData, evidence); err != nil {
		return AzureResult{}, err
	}
	return result, nil
}

// ofReport refuses a quote of another TDREPORT than the paravisor's.
func (q *TDXQuote) ofReport(tdReport []byte) error {
	if body := q.body(); !bytes.Equal(body, quotedBody(tdReport)[:len(body)]) {
		return verdict.Refuse(verdict.EvidenceBinding, "appraising HCL report: the TD quote is of another TDREPORT")
	}
	return nil
}

// quotedBody is what a quote has of a TDREPORT, in the form of TDX 1.5, whose first
// 584 bytes are that of TDX 1.0 (Intel TDX Module ABI, TDREPORT_STRUCT).
func quotedBody(tdReport []byte) []byte {
	const reportData, tcb, tcbEnd, td, tdEnd, serviceTD = 128, 264, 384, 512, 912, 960
	return slices.Concat(tdReport[tcb:tcbEnd], tdReport[td:tdEnd], tdReport[reportData:reportData+64],
		tdReport[tcbEnd:tcbEnd+16], tdReport[tdEnd:serviceTD])
}

// open takes the parts of a collection whose hardware has to be of a type: it is
// chosen by the caller, and not by what matches.
func (e *AzureExpected) open(collection []byte, want HCLType) (c, evidence Collection, hcl HCLReport, err error) {
	if (len(e.Measurements) == 0) != e.AllowAnyParavisor {
		return c, evidence, hcl, verdict.Misused("name the measurements of the paravisor", "appraising HCL report: want either measurements or AllowAnyParavisor")
	}
	if len(e.UserData) > hclUserDataSize {
		return c, evidence, hcl, verdict.Misused("", "appraising HCL report: %d bytes of user-data are expected, want at most %d", len(e.UserData), hclUserDataSize)
	}
	if c, err = ParseCollection(collection); err != nil {
		return c, evidence, hcl, err
	}
	evidence, hcl, err = openAzure(c, want)
	return c, evidence, hcl, err
}

// azureTypes are the types of the evidence, by what made the paravisor's report.
var azureTypes = map[HCLType]string{HCLSNP: TypeAzureSNP, HCLTDX: TypeAzureTDX}

// openAzure takes the evidence and the paravisor's report in it, which has to be of the
// hardware that the evidence is labelled with.
func openAzure(c Collection, want HCLType) (evidence Collection, hcl HCLReport, err error) {
	if evidence, err = c.nested(LabelEvidence, azureTypes[want]); err != nil {
		return evidence, hcl, err
	}
	data, err := evidence.record(LabelHCLReport, TypeHCLReport)
	if err != nil {
		return evidence, hcl, err
	}
	if hcl, err = ParseHCLReport(data); err != nil {
		return evidence, hcl, err
	}
	if hcl.Type != want {
		return evidence, hcl, verdict.Refuse(verdict.EvidenceKind, "appraising HCL report: report type is %d, want %d", hcl.Type, want)
	}
	return evidence, hcl, nil
}

// entries are the accepted paravisors as references.
func (e *AzureExpected) entries(found [48]byte) []verdict.ReferenceEntry {
	measurements := e.Measurements
	if e.AllowAnyParavisor {
		measurements = [][48]byte{found}
	}
	var entries []verdict.ReferenceEntry
	for _, m := range measurements {
		entries = append(entries, verdict.ReferenceEntry{
			Name: "paravisor", Kind: verdict.KindSNP, Profile: verdict.Production,
			Measurement: hex.EncodeToString(m[:]), NotAfter: math.MaxInt64,
		})
	}
	return entries
}

// appraise follows the binding from the hardware's report, which was verified, over
// the paravisor's data to the quote of its TPM.
func (e *AzureExpected) appraise(result *AzureResult, hcl *HCLReport, reportData [64]byte, evidence Collection) error {
	data, ak, err := hcl.bind(reportData, evidence)
	if err != nil {
		return err
	}
	quote, pcrs, err := e.TPM.appraise(evidence, ak)
	if err != nil {
		return err
	}
	if err := e.checkVM(&data); err != nil {
		return err
	}
	result.Binding, result.HCL, result.Quote, result.PCRs = BindingHCL, data, quote, pcrs
	e.claim(&result.Claims)
	return nil
}

// bind follows the binding from REPORT_DATA of the hardware's report, which was
// verified, over the paravisor's data to the attestation key.
func (r *HCLReport) bind(reportData [64]byte, evidence Collection) (HCLData, *tpmKey, error) {
	if want := r.ReportData(); subtle.ConstantTimeCompare(reportData[:], want[:]) != 1 {
		return HCLData{}, nil, verdict.Refuse(verdict.EvidenceBinding, "appraising HCL report: the hardware's report is not about the data beside it, want %s and zeros", r.Hash)
	}
	data, err := ParseHCLData(r.Data)
	if err != nil {
		return HCLData{}, nil, err
	}
	if _, ok := evidence.Items[LabelAKPublic]; !ok {
		return data, &tpmKey{public: data.AK}, nil
	}
	ak, err := attestationKeyOf(evidence)
	if err != nil {
		return HCLData{}, nil, err
	}
	if !samePublicKey(data.AK, ak.public) {
		return HCLData{}, nil, verdict.Refuse(verdict.TPMAK, "appraising HCL report: the attestation key is not its %s", azureAKName)
	}
	return data, ak, nil
}

// claim turns the claims of the platform into those of the machine. Under any paravisor
// the platform's report says that somebody's guest runs on it, and not that the TPM
// that quoted does: nothing is affirmed then. What is a warning stays one.
func (e *AzureExpected) claim(c *Claims) {
	if len(e.VMIDs) > 0 {
		c.InstanceIdentity = Affirming
	}
	if len(e.TPM.Values) == 0 {
		c.Executables = NoClaim
	}
	if !e.AllowAnyParavisor {
		return
	}
	for _, claim := range []*Claim{&c.InstanceIdentity, &c.Configuration, &c.Executables, &c.Hardware, &c.RuntimeOpaque} {
		if *claim == Affirming {
			*claim = NoClaim
		}
	}
}

// checkVM compares what the paravisor says of its machine with what is demanded.
func (e *AzureExpected) checkVM(d *HCLData) error {
	refuse := func(format string, args ...any) error {
		return verdict.Refuse(verdict.GuestConfig, "appraising HCL data: "+format, args...)
	}
	same := func(id string) bool { return strings.EqualFold(id, d.VMID) }
	switch {
	case e.RequireSecureBoot && !d.SecureBoot:
		return refuse("secure-boot is false")
	case e.RequireTPM && !d.TPM:
		return refuse("tpm-enabled is false")
	case len(e.VMIDs) > 0 && !slices.ContainsFunc(e.VMIDs, same):
		return refuse("vmUniqueId is %s, want one of %d others", d.VMID, len(e.VMIDs))
	case e.UserData != nil && !bytes.Equal(d.UserData, append(slices.Clone(e.UserData), make([]byte, hclUserDataSize-len(e.UserData))...)):
		return verdict.Refuse(verdict.EvidenceBinding, "appraising HCL data: user-data is not what is expected")
	}
	return nil
}
