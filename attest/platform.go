// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"
	"slices"

	"github.com/assayd/assay/verdict"
)

// A Platform is what evidence says of the platform that made it, as far as it takes to
// find what the processor's maker publishes about it. Nothing of it is verified: who
// asks for the endorsements of a platform that does not exist gets none. Exactly one of
// its fields is set.
type Platform struct {
	SNP *SNPPlatform
	TDX *TDXPlatform
}

// An SNPPlatform is what a report says of its platform.
type SNPPlatform struct {
	// Line is empty where neither the report nor a certificate beside it names it: reports
	// of version 2 do not.
	Line ProductLine
	// Signer is the kind of key that signed.
	Signer SNPSigner
	// ChipID is CHIP_ID, and zeros where the host masks it.
	ChipID [64]byte
	// ReportedTCB is REPORTED_TCB, which the key was derived from.
	ReportedTCB uint64

	report SNPReport
}

// A TDXPlatform is what the certificate in a quote says of its platform.
type TDXPlatform struct {
	PCK PCK

	ca *x509.Certificate
}

// PlatformOf finds the platform in the collection of an issuer statement. A TPM by
// itself and a simulator have none, which is evidence.kind.
func PlatformOf(collection []byte) (p Platform, endorsements map[string]Item, err error) {
	defer recoverMalformed(&err)
	c, err := ParseCollection(collection)
	if err != nil {
		return Platform{}, nil, err
	}
	if nested := c.Items[LabelEndorsements].Nested; nested != nil {
		endorsements = nested.Items
	}
	if p, err = platformIn(c.Items[LabelEvidence]); err != nil {
		return Platform{}, nil, err
	}
	if p.SNP != nil && p.SNP.Line == "" {
		for _, label := range []string{LabelVCEK, LabelVLEK} {
			p.SNP.Line = p.SNP.LineIn(endorsements[label].Value)
			if p.SNP.Line != "" {
				break
			}
		}
	}
	return p, endorsements, nil
}

// platformIn finds the platform in the item that is the evidence.
func platformIn(evidence Item) (Platform, error) {
	part := func(label string) []byte { return evidence.Nested.Items[label].Value }
	switch {
	case evidence.MediaType == TypeSNPReport:
		return SNPPlatformOf(evidence.Value)
	case evidence.MediaType == TypeTDXQuote:
		return TDXPlatformOf(evidence.Value)
	case evidence.Nested == nil:
	case evidence.Nested.Type == TypeSVSM:
		return SNPPlatformOf(part(LabelSVSMReport))
	case evidence.Nested.Type == TypeAzureSNP:
		return HCLPlatformOf(part(LabelHCLReport))
	case evidence.Nested.Type == TypeAzureTDX:
		return TDXPlatformOf(part(LabelTDQuote))
	}
	return Platform{}, verdict.Refuse(verdict.EvidenceKind, "reading platform: evidence of this kind is of no processor that AMD or Intel vouches for")
}

// SNPPlatformOf finds the platform in a report.
func SNPPlatformOf(report []byte) (Platform, error) {
	r, err := ParseSNPReport(report)
	if err != nil {
		return Platform{}, err
	}
	line, err := r.line()
	if err != nil {
		return Platform{}, err
	}
	kind, err := r.signer(&SNPTrust{Signers: []SNPSigner{SNPVCEK, SNPVLEK}})
	if err != nil {
		return Platform{}, err
	}
	return Platform{SNP: &SNPPlatform{Line: line, Signer: kind, ChipID: r.ChipID, ReportedTCB: r.ReportedTCB, report: r}}, nil
}

// HCLPlatformOf finds the platform in the report of Azure's paravisor on SEV-SNP.
func HCLPlatformOf(report []byte) (Platform, error) {
	hcl, err := ParseHCLReport(report)
	if err != nil {
		return Platform{}, err
	}
	if hcl.Type != HCLSNP {
		return Platform{}, verdict.Refuse(verdict.EvidenceKind, "reading platform: the paravisor's report is not of SEV-SNP")
	}
	return SNPPlatformOf(hcl.Hardware)
}

// TDXPlatformOf finds the platform in a quote.
func TDXPlatformOf(quote []byte) (Platform, error) {
	q, err := ParseTDXQuote(quote)
	if err != nil {
		return Platform{}, err
	}
	certs, err := pemChain("PCK chain", q.pckChain)
	if err != nil {
		return Platform{}, err
	}
	pck, err := parsePCK(certs[0])
	if err != nil {
		return Platform{}, err
	}
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool {
		return c.Subject.CommonName == namePlatformCA || c.Subject.CommonName == nameProcessorCA
	})
	if i < 1 {
		return Platform{}, verdict.Refuse(verdict.EndorsementUntrusted, "reading platform: no certificate of %s comes with the quote", namePlatformCA)
	}
	pck.ProcessorCA = certs[i].Subject.CommonName == nameProcessorCA
	return Platform{TDX: &TDXPlatform{PCK: pck, ca: certs[i]}}, nil
}

// Endorsements are the labels of what evidence of this platform wants beside it. Chains
// are with what they are of.
func (p *Platform) Endorsements() []string {
	if p.TDX != nil {
		return []string{LabelTCBInfo, LabelQEIdentity, LabelPCKCRL, LabelSGXRootCRL}
	}
	if p.SNP.Signer == SNPVLEK {
		return []string{LabelVLEK, LabelCRL}
	}
	return []string{LabelVCEK, LabelCRL}
}

// Lacks are the labels of what evidence of this platform wants beside it, chains among
// them, and items do not have. What is there may be of no use: [Platform.Verify] says so.
func (p *Platform) Lacks(items map[string]Item) (labels []string) {
	for _, label := range p.Endorsements() {
		for _, wanted := range []string{label, ChainOf(label)} {
			if wanted != "" && len(items[wanted].Value) == 0 {
				labels = append(labels, wanted)
			}
		}
	}
	return labels
}

// ChainOf is the label of the chain that comes with an endorsement, or empty.
func ChainOf(label string) string {
	return map[string]string{LabelTCBInfo: LabelTCBInfoChain, LabelQEIdentity: LabelQEIdentityChain}[label]
}

// LineIn is the product line that a certificate of the key that signed names, and empty
// for another certificate or a line that is unknown. Nobody has verified the certificate,
// and the line becomes part of an address.
func (p *SNPPlatform) LineIn(der []byte) ProductLine {
	c, err := x509.ParseCertificate(der)
	if err != nil || !p.report.SignedBy(c) {
		return ""
	}
	product, _, err := parseSNPExtensions("certificate", c)
	if err != nil {
		return ""
	}
	switch line := lineOf(product); line {
	case Milan, Genoa, Turin:
		return line
	}
	return ""
}

// TCB are the numbers of REPORTED_TCB, as a line of processors has them.
func (p *SNPPlatform) TCB(line ProductLine) (TCB, error) {
	return parseTCB("REPORTED_TCB", line, p.ReportedTCB)
}

// HWID is CHIP_ID as certificates of a line have it.
func (p *SNPPlatform) HWID(line ProductLine) []byte {
	if line == Turin {
		return p.ChipID[:turinHWIDSize]
	}
	return p.ChipID[:]
}
