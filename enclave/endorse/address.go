// SPDX-License-Identifier: Apache-2.0

package endorse

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// Where AMD and Intel publish.
const (
	// KDS is AMD's Key Distribution Service (AMD 57230).
	KDS = "https://kdsintf.amd.com"
	// PCS is Intel's Provisioning Certification Service, API v4, which has the list of the
	// root elsewhere.
	PCS     = "https://api.trustedservices.intel.com"
	rootCRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
)

// CheckURL refuses what is no base of a service: https, a host, perhaps a path, and
// nothing else. The error is a *verdict.Misuse.
func CheckURL(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		return verdict.Misused("write https://HOST[:PORT][/PATH]", "%.128q is no address of a service", base)
	}
	return nil
}

// A source is where an endorsement is, and in which header its chain comes.
type source struct{ url, chain string }

// sourceOf says where an endorsement of a platform is. An SNP platform has a product
// line by now. The error is a *verdict.Failure with endorsement.missing for what nobody
// publishes.
func (f *Fetcher) sourceOf(label string, p *attest.Platform) (source, error) {
	switch label {
	case attest.LabelVCEK:
		return f.vcek(p.SNP)
	case attest.LabelVLEK:
		return source{}, missing("the certificate of a VLEK is for the provider of the machine alone: it has to give it with its reports")
	case attest.LabelCRL:
		if p.SNP.Line == "" {
			return source{}, missing("neither the report nor a certificate names the product line whose list it is")
		}
		return source{url: f.kds + "/" + string(p.SNP.Signer) + "/v1/" + string(p.SNP.Line) + "/crl"}, nil
	case attest.LabelTCBInfo:
		return source{f.pcs + "/tdx/certification/v4/tcb?fmspc=" + hex.EncodeToString(p.TDX.PCK.FMSPC[:]), "TCB-Info-Issuer-Chain"}, nil
	case attest.LabelQEIdentity:
		return source{f.pcs + "/tdx/certification/v4/qe/identity", "SGX-Enclave-Identity-Issuer-Chain"}, nil
	case attest.LabelPCKCRL:
		ca := "platform"
		if p.TDX.PCK.ProcessorCA {
			ca = "processor"
		}
		return source{url: f.pcs + "/sgx/certification/v4/pckcrl?ca=" + ca + "&encoding=der"}, nil
	case attest.LabelSGXRootCRL:
		return source{url: f.rootCRL}, nil
	}
	return source{}, missing("nobody publishes %q", label)
}

// vcek is the address of the certificate of a chip's key at its reported TCB. On Turin
// IDs have 8 bytes and TCBs an FMC.
func (f *Fetcher) vcek(p *attest.SNPPlatform) (source, error) {
	if p.ChipID == [64]byte{} {
		return source{}, missing("the host masks CHIP_ID, so that only it can say which certificate is wanted")
	}
	tcb, err := p.TCB(p.Line)
	if err != nil {
		return source{}, err
	}
	fmc := ""
	if p.Line == attest.Turin {
		fmc = fmt.Sprintf("fmcSPL=%d&", tcb.FMC)
	}
	return source{url: fmt.Sprintf("%s/vcek/v1/%s/%x?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d",
		f.kds, p.Line, p.HWID(p.Line), fmc, tcb.Bootloader, tcb.TEE, tcb.SNP, tcb.Microcode)}, nil
}

func missing(format string, args ...any) error {
	return verdict.Fail(verdict.EndorsementMissing, "fetching endorsement: "+format, args...)
}

// trimBase takes the slash away that people like to end addresses with.
func trimBase(base string) string { return strings.TrimRight(base, "/") }
