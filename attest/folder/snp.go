// SPDX-License-Identifier: Apache-2.0

package folder

import (
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// snpCertificates are the types of certificates and the labels that they have in a
// collection.
var snpCertificates = map[string]string{
	"amd-vcek": attest.LabelVCEK, "amd-vlek": attest.LabelVLEK, "amd-ask": attest.LabelASK, "amd-asvk": attest.LabelASVK, "amd-ark": attest.LabelARK,
}

func (f *reader) snp(r *Report) error {
	c, p := &r.Case, &r.Case.Policy
	evidence, err := f.read(c.Evidence)
	if err != nil {
		return err
	}
	var table attest.SNPCertTable
	if c.Format == "snp-report+cert-table" {
		if evidence, table, err = attest.ParseSNPExtendedReport(evidence); err != nil {
			return err
		}
	}
	report, err := attest.ParseSNPReport(evidence)
	if err != nil {
		return err
	}
	trust, endorsements, err := f.snpPlatform(c, p, &report, table)
	if err != nil {
		return err
	}
	expected, err := snpExpected(p, &report)
	if err != nil {
		return err
	}
	data, err := collection(attest.Item{MediaType: attest.TypeSNPReport, Value: evidence}, endorsements)
	if err != nil {
		return err
	}
	result, err := attest.AppraiseEvidence(data, expected, trust, nil, c.At)
	if err != nil {
		return err
	}
	if err := named(p, &result, report.VMPL); err != nil {
		return err
	}
	r.Measurement, r.Claims, r.Relaxed, r.SNP = result.Measurement, result.Claims, result.Relaxed, platform(&result)
	if p.Measurements == nil { // it is its own reference
		r.Claims.Executables = attest.NoClaim
	}
	return nil
}

// named refuses a product line, and VMPL 0, where the policy names others alone.
func named(p *Policy, result *attest.Result, vmpl uint32) error {
	if p.Products != nil && !slices.Contains(p.Products, string(result.ProductLine)) {
		return verdict.Refuse(verdict.EndorsementProduct, "appraising evidence folder: the product line is %s, want one of %v", result.ProductLine, p.Products)
	}
	if p.VMPL != nil && !slices.Contains(p.VMPL, vmpl) {
		return verdict.Refuse(verdict.GuestVMPL, "appraising evidence folder: VMPL is %d, want one of %v", vmpl, p.VMPL)
	}
	return nil
}

// snpPlatform is the trust that the policy makes of a report, and the endorsements:
// those that the case names, and for what it does not name those of the table behind
// the report.
func (f *reader) snpPlatform(c *Case, p *Policy, report *attest.SNPReport, table attest.SNPCertTable) (trust attest.Trust, endorsements map[string]attest.Item, err error) {
	if err := known("endorsements", c.Endorsements, "amd-vcek", "amd-vlek", "amd-ask", "amd-asvk", "amd-ark", "amd-crl"); err != nil {
		return trust, nil, err
	}
	if err := known("roots", c.Roots, "amd-ark", "amd-ask", "amd-asvk"); err != nil {
		return trust, nil, err
	}
	if endorsements, err = f.snpEndorsements(c, table); err != nil {
		return trust, nil, err
	}
	if trust, err = snpTrust(p, report); err != nil {
		return trust, nil, err
	}
	trust.SNPRoots, err = f.snpRoots(c, endorsements)
	return trust, endorsements, err
}

// snpEndorsements reads the endorsements by their labels.
func (f *reader) snpEndorsements(c *Case, table attest.SNPCertTable) (map[string]attest.Item, error) {
	endorsements := map[string]attest.Item{}
	// Beside a VLEK hosts put the ASVK where the ASK would be.
	found := map[string][]byte{"amd-vcek": table.VCEK, "amd-vlek": table.VLEK, "amd-ask": table.ASK, "amd-ark": table.ARK}
	if table.VLEK != nil {
		found["amd-ask"], found["amd-asvk"] = nil, table.ASK
	}
	for kind, label := range snpCertificates {
		der, _, err := f.take(c.Endorsements, kind)
		if err != nil {
			return nil, err
		}
		if der == nil {
			der = found[kind]
		}
		if der != nil {
			endorsements[label] = attest.Item{MediaType: attest.TypeCertificate, Value: der}
		}
	}
	// A list that the policy does not demand is not looked at.
	if !c.Policy.RequireCRL {
		return endorsements, nil
	}
	der, _, err := f.take(c.Endorsements, "amd-crl")
	if der != nil {
		endorsements[attest.LabelCRL] = attest.Item{MediaType: attest.TypeCRL, Value: der}
	}
	return endorsements, err
}

// snpTrust is what a policy accepts. What it does not demand is what the report has.
func snpTrust(p *Policy, report *attest.SNPReport) (attest.Trust, error) {
	trust := attest.Trust{
		Kinds: []attest.Kind{attest.SNP}, AllowDevelopment: true, AllowDebug: p.AllowDebug, AllowMigratable: p.AllowMigrationAgent, AllowSMT: p.AllowSMT,
		AllowMaskedChipID: p.AllowMaskedChipID, AllowNoCRL: !p.RequireCRL, AllowNoFloor: true, AllowVMPLs: p.VMPL,
		SNP: attest.SNPTrust{
			CSPIDs: p.CSPIDs, HostData: [][32]byte{report.HostData},
			AllowAnyCSP:  slices.Contains(p.Signers, string(attest.SNPVLEK)) && len(p.CSPIDs) == 0,
			AllowAnyChip: true, AllowNoECC: true, AllowNoAliasCheck: !p.RequireAliasCheck, AllowTIO: true, AllowCXL: true,
			AllowProvisionalFirmware: p.AllowProvisionalFirmware == nil || *p.AllowProvisionalFirmware,
		},
	}
	for _, signer := range p.Signers {
		trust.SNP.Signers = append(trust.SNP.Signers, attest.SNPSigner(signer))
	}
	if p.VMPL == nil {
		trust.AllowVMPLs = []uint32{report.VMPL}
	}
	floor := &trust.MinTCB
	into := map[string]*uint8{"fmc": &floor.FMC, "bootloader": &floor.Bootloader, "tee": &floor.TEE, "snp": &floor.SNP, "microcode": &floor.Microcode}
	for name, value := range p.MinTCB {
		if into[name] == nil {
			return attest.Trust{}, malformed("min_tcb has no %s", quote(name))
		}
		*into[name] = value
	}
	return trust, nil
}

// snpExpected is what the report has to be bound to and measure.
func snpExpected(p *Policy, report *attest.SNPReport) (attest.Expected, error) {
	expected := attest.Expected{ReportData: report.ReportData}
	if p.ReportData != nil {
		if err := unhex("report_data", *p.ReportData, expected.ReportData[:]); err != nil {
			return attest.Expected{}, err
		}
	}
	measurements := p.Measurements
	if measurements == nil {
		measurements = []string{hex.EncodeToString(report.Measurement[:])}
	}
	for _, m := range measurements {
		expected.Entries = append(expected.Entries, verdict.ReferenceEntry{Name: "case", Kind: verdict.KindSNP, Measurement: strings.ToLower(m), NotAfter: 1 << 40})
	}
	return expected, nil
}

// snpRoots are AMD's, or the folder's own. Of those the ARK is trusted; ASK and ASVK
// may be among roots or endorsements, for they count where the ARK signed them.
func (f *reader) snpRoots(c *Case, endorsements map[string]attest.Item) ([]attest.SNPRoot, error) {
	ark, err := f.root(c.Roots, "amd-ark")
	if err != nil {
		return nil, err
	}
	if ark == nil {
		if len(c.Roots) > 0 {
			return nil, malformed("roots of its own want amd-ark")
		}
		return attest.AMDRoots(), nil
	}
	line, _ := strings.CutPrefix(ark.Subject.CommonName, "ARK-")
	root := attest.SNPRoot{Line: attest.ProductLine(line), ARK: ark}
	for kind, into := range map[string]**x509.Certificate{"amd-ask": &root.ASK, "amd-asvk": &root.ASVK} {
		if *into, err = f.root(c.Roots, kind); err != nil {
			return nil, err
		}
		item, ok := endorsements[snpCertificates[kind]]
		if *into != nil || !ok {
			continue
		}
		if *into, err = x509.ParseCertificate(item.Value); err != nil {
			return nil, verdict.Refuse(verdict.EndorsementMalformed, "appraising evidence folder: parsing %s: %w", kind, err)
		}
	}
	if root.ASK == nil && root.ASVK == nil {
		return nil, verdict.Fail(verdict.EndorsementMissing, "appraising evidence folder: roots of its own want amd-ask or amd-asvk beside amd-ark")
	}
	return []attest.SNPRoot{root}, nil
}
