// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// TDXExpected is what a TDX quote must be bound to and measure.
type TDXExpected struct {
	ReportData [64]byte
	// MRTD are the candidates; none is no demand.
	MRTD [][48]byte
	// RTMR are the wanted registers by number.
	RTMR map[int][48]byte
	// EventLog is the guest's log, and FromLog the registers that it has to replay to.
	EventLog []byte
	FromLog  []int
}

// A TDXResult is what was found. The zero value says nothing.
type TDXResult struct {
	Quote TDXQuote
	PCK   PCK
	// Status is the converged status of platform, module and quoting enclave with
	// Intel's advisories about it, "" without collateral.
	Status     TDXStatus
	Advisories []string
	// Evaluation is the lower tcbEvaluationDataNumber of the collateral: it is to be
	// remembered, and a lower one later refused.
	Evaluation uint32
	// Relaxed are the relaxations of TDXTrust without which the quote would have been
	// refused, sorted, by name: allow-debug is AllowDebug.
	Relaxed []string
	Claims  Claims
}

// AppraiseTDX decides whether a quote is genuine, bound to what is expected, and of
// a platform and guest that are accepted. The order is: form, chain, signature,
// binding, platform, guest, registers. Errors are a *verdict.Refusal, a
// *verdict.Failure, or for a trust that TDXTrust.Check refuses a *verdict.Misuse; the
// result is then zero. AppraiseTDX may be called concurrently.
func AppraiseTDX(quote []byte, collateral TDXCollateral, trust TDXTrust, expected TDXExpected, at time.Time) (result TDXResult, err error) {
	defer func() {
		if err != nil {
			result = TDXResult{}
		}
	}()
	defer recoverMalformed(&err)
	if err := trust.Check(TDX); err != nil {
		return TDXResult{}, fmt.Errorf("appraising TDX quote: %w", err)
	}
	if result, err = judgeTDX(quote, collateral, &trust, expected.ReportData, at); err != nil {
		return TDXResult{}, err
	}
	q := &result.Quote
	if len(expected.MRTD) > 0 && !slices.Contains(expected.MRTD, q.MRTD) {
		return TDXResult{}, verdict.Refuse(verdict.GuestMeasurement, "appraising TDX quote: MRTD %x is none of the references", q.MRTD)
	}
	for i := range q.RTMR {
		if want, ok := expected.RTMR[i]; ok && q.RTMR[i] != want {
			return TDXResult{}, verdict.Refuse(verdict.GuestRegister, "appraising TDX quote: RTMR%d is %x, want %x", i, q.RTMR[i], want)
		}
	}
	if err := q.checkLog(expected.EventLog, expected.FromLog); err != nil {
		return TDXResult{}, err
	}
	if len(expected.MRTD) == 0 {
		result.Claims.Executables = NoClaim
	}
	return result, nil
}

// judgeTDX decides everything about a quote but what the TD was started from.
func judgeTDX(quote []byte, collateral TDXCollateral, trust *TDXTrust, reportData [64]byte, at time.Time) (TDXResult, error) {
	q, err := ParseTDXQuote(quote)
	if err != nil {
		return TDXResult{}, err
	}
	pck, chain, err := q.verify(trust.Root, at)
	if err != nil {
		return TDXResult{}, err
	}
	if subtle.ConstantTimeCompare(q.ReportData[:], reportData[:]) != 1 {
		return TDXResult{}, verdict.Refuse(verdict.EvidenceBinding, "appraising TDX quote: REPORTDATA is not what is expected")
	}
	result := TDXResult{Quote: q, PCK: pck, Claims: Claims{Configuration: Affirming, Executables: Affirming, Hardware: Affirming, RuntimeOpaque: Affirming}}
	if err := result.checkPlatform(collateral, chain, trust, at); err != nil {
		return TDXResult{}, err
	}
	lifted, err := judge(q.demands(trust))
	if err != nil {
		return TDXResult{}, err
	}
	if err := q.checkConfig(trust); err != nil {
		return TDXResult{}, err
	}
	if len(trust.Platforms) > 0 {
		result.Claims.InstanceIdentity = Affirming
	}
	result.Relaxed = slices.Compact(slices.Sorted(slices.Values(append(result.Relaxed, lifted...))))
	result.Claims.lower(tdxLowers, result.Relaxed)
	return result, nil
}

// checkPlatform verifies the collateral and compares the platform with it.
func (r *TDXResult) checkPlatform(c TDXCollateral, chain intelChain, t *TDXTrust, at time.Time) error {
	q := &r.Quote
	// Intel signs modules with a signer of zeros, whatever the collateral says.
	if q.MRSignerSEAM != [48]byte{} {
		return verdict.Refuse(verdict.PlatformModule, "appraising TDX quote: MRSIGNERSEAM is %x, want Intel's", q.MRSignerSEAM)
	}
	relaxed, err := judge([]demand{
		{met: len(t.Modules) == 0 || slices.Contains(t.Modules, q.MRSEAM),
			refusal: verdict.Refuse(verdict.PlatformModule, "appraising TDX quote: MRSEAM %x is none of the accepted modules", q.MRSEAM)},
		{len(t.Platforms) == 0 && !t.AllowAnyPlatform || slices.Contains(t.Platforms, r.PCK.PPID), "allow-any-platform", t.AllowAnyPlatform,
			verdict.Refuse(verdict.PlatformChip, "appraising TDX quote: PPID %x is none of the accepted platforms", r.PCK.PPID)},
	})
	if err != nil {
		return err
	}
	r.Relaxed = relaxed
	bare := t.AllowNoCollateral && len(c.TCBInfo) == 0 && len(c.QEIdentity) == 0
	// All modules that Intel released have zeros; others are for the TCB info to allow.
	if bare && q.SEAMAttributes != [8]byte{} {
		return verdict.Refuse(verdict.PlatformModule, "appraising TDX quote: SEAMATTRIBUTES are %x, want zero without collateral", q.SEAMAttributes)
	}
	if t.AllowNoCRL && (len(c.RootCRL) == 0 || len(c.PCKCRL) == 0) {
		r.Relaxed = append(r.Relaxed, "allow-no-crl")
	}
	rootCRL, err := revocations("root CRL", c.RootCRL, t.Root, t, at)
	if err != nil {
		return err
	}
	if err := rootCRL.check("PCK chain", chain.ca); err != nil {
		return err
	}
	pckCRL, err := revocations("PCK CRL", c.PCKCRL, chain.ca, t, at)
	if err != nil {
		return err
	}
	if err := pckCRL.check("PCK chain", chain.leaf); err != nil {
		return err
	}
	if bare {
		r.Relaxed = append(r.Relaxed, "allow-no-collateral")
		return nil
	}
	signed, err := signedPart("TCB info", "tcbInfo", c.TCBInfo, c.TCBInfoChain, t.Root, rootCRL, at)
	if err != nil {
		return err
	}
	info, err := parseTCBInfo(signed)
	if err != nil {
		return err
	}
	if err := info.check("TCB info", "TDX", 3, t.MinEvaluation, at); err != nil {
		return err
	}
	if signed, err = signedPart("QE identity", "enclaveIdentity", c.QEIdentity, c.QEIdentityChain, t.Root, rootCRL, at); err != nil {
		return err
	}
	qe, err := parseQEIdentity(signed)
	if err != nil {
		return err
	}
	if err := qe.check("QE identity", "TD_QE", 2, t.MinEvaluation, at); err != nil {
		return err
	}
	if !bytes.Equal(info.FMSPC, r.PCK.FMSPC[:]) || !bytes.Equal(info.PCEID, r.PCK.PCEID[:]) {
		return verdict.Refuse(verdict.EndorsementMismatch, "appraising TDX quote: the TCB info is for FMSPC %x and PCE %x, the platform is %x and %x", []byte(info.FMSPC), []byte(info.PCEID), r.PCK.FMSPC, r.PCK.PCEID)
	}
	platform, err := platformStatus(&info, &r.PCK, q)
	if err != nil {
		return err
	}
	module, err := moduleStatus(&info, q)
	if err != nil {
		return err
	}
	enclave, err := qe.status(q.readQE())
	if err != nil {
		return err
	}
	r.Evaluation = min(*info.Evaluation, *qe.Evaluation)
	r.Status = converge(converge(platform.status, module.status), enclave.status)
	r.Advisories = slices.Compact(slices.Sorted(slices.Values(slices.Concat(platform.advisories, module.advisories, enclave.advisories))))
	return r.acceptStatus(t)
}

// revocations verifies a list, or nothing where none comes and none is demanded.
func revocations(what string, der []byte, issuer *x509.Certificate, t *TDXTrust, at time.Time) (crl, error) {
	if len(der) == 0 && t.AllowNoCRL {
		return crl{}, nil
	}
	return parseCRL(what, der, issuer, at)
}

// acceptStatus compares the converged status with what is accepted.
func (r *TDXResult) acceptStatus(t *TDXTrust) error {
	if r.Status != TDXUpToDate && !slices.Contains(t.AcceptStatus, r.Status) {
		return verdict.Refuse(verdict.TCBStatus, "appraising TDX quote: the platform is %s (%s)", r.Status, adviceOf(r.Advisories))
	}
	if r.Status == TDXUpToDate {
		return nil
	}
	r.Relaxed = append(r.Relaxed, "accept-status")
	if len(r.Advisories) > 0 {
		r.Relaxed = append(r.Relaxed, map[bool]string{true: "any-advisory", false: "advisories"}[t.AnyAdvisory])
	}
	for _, a := range r.Advisories {
		if !t.AnyAdvisory && !slices.Contains(t.Advisories, a) {
			return verdict.Refuse(verdict.TCBStatus, "appraising TDX quote: the platform is %s, and the advisory %s is not accepted", r.Status, quoteShort(a))
		}
	}
	return nil
}

func adviceOf(advisories []string) string {
	if len(advisories) == 0 {
		return "no advisories"
	}
	return quoteShort(strings.Join(advisories, ", "))
}

// A standing is a status with its advisories.
type standing struct {
	status     TDXStatus
	advisories []string
}

// platformStatus is that of the first level, in Intel's order, that the platform
// reaches in every component.
func platformStatus(info *tcbInfo, pck *PCK, q *TDXQuote) (standing, error) {
	for _, l := range info.Levels {
		reached := pck.PCESVN >= *l.TCB.PCESVN
		for i := range sgxSVNs {
			reached = reached && pck.SVN[i] >= *l.TCB.SGX[i].Value
			// Of later generations the module has levels of its own.
			if i >= 2 || q.TEETCBSVN[1] == tdxModuleTDX10 {
				reached = reached && q.TEETCBSVN[i] >= *l.TCB.TDX[i].Value
			}
		}
		if reached {
			return standing{l.Status, l.Advisories}, nil
		}
	}
	return standing{}, verdict.Refuse(verdict.TCBUnknown, "appraising TDX quote: the platform reaches none of %d levels (SVNs %v, PCE %d, TDX %x)", len(info.Levels), pck.SVN, pck.PCESVN, q.TEETCBSVN)
}

// moduleStatus compares the TDX module with its identity.
func moduleStatus(info *tcbInfo, q *TDXQuote) (standing, error) {
	identity := info.Module
	if q.TEETCBSVN[1] != tdxModuleTDX10 {
		i := slices.IndexFunc(info.Identities, func(m moduleIdentity) bool { return m.ID == q.generation() })
		if i < 0 {
			return standing{}, verdict.Refuse(verdict.PlatformModule, "appraising TDX quote: the TCB info has no identity %s of the module", q.generation())
		}
		identity = &info.Identities[i]
	}
	if !bytes.Equal(identity.MRSigner, q.MRSignerSEAM[:]) {
		return standing{}, verdict.Refuse(verdict.PlatformModule, "appraising TDX quote: MRSIGNERSEAM is %x, want %x", q.MRSignerSEAM, []byte(identity.MRSigner))
	}
	if !masked(q.SEAMAttributes[:], identity.AttributesMask, identity.Attributes) {
		return standing{}, verdict.Refuse(verdict.PlatformModule, "appraising TDX quote: SEAMATTRIBUTES are %x, want %x", q.SEAMAttributes, []byte(identity.Attributes))
	}
	if identity == info.Module { // the platform's level has its version
		return standing{status: TDXUpToDate}, nil
	}
	return isvStatus("TDX module "+identity.ID, identity.Levels, uint16(q.TEETCBSVN[0]))
}

// status compares the quoting enclave with its identity.
func (id *qeIdentity) status(qe qeReport) (standing, error) {
	refuse := func(what string) (standing, error) {
		return standing{}, verdict.Refuse(verdict.PlatformModule, "appraising TDX quote: the quoting enclave has another %s than Intel's", what)
	}
	switch {
	case !bytes.Equal(id.MRSigner, qe.mrSigner[:]):
		return refuse("MRSIGNER")
	case *id.ISVProdID != qe.prodID:
		return refuse("ISVPRODID")
	case !masked(qe.miscSelect[:], id.MiscSelectMask, id.MiscSelect):
		return refuse("MISCSELECT")
	case !masked(qe.attributes[:], id.AttributesMask, id.Attributes):
		return refuse("ATTRIBUTES")
	}
	return isvStatus("quoting enclave", id.Levels, qe.svn)
}

// isvStatus is that of the first level that a version reaches.
func isvStatus(what string, levels []isvSVNLevel, version uint16) (standing, error) {
	for _, l := range levels {
		if version >= *l.TCB.ISVSVN {
			return standing{l.Status, l.Advisories}, nil
		}
	}
	return standing{}, verdict.Refuse(verdict.TCBUnknown, "appraising TDX quote: the %s of version %d reaches none of %d levels", what, version, len(levels))
}

// masked says whether got is want in the bits of mask.
func masked(got, mask, want []byte) bool {
	for i := range got {
		if got[i]&mask[i] != want[i]&mask[i] {
			return false
		}
	}
	return true
}

// converge is the status of a platform with a module or enclave of another status
// (Intel QVL, TcbStatus convergence).
func converge(platform, part TDXStatus) TDXStatus {
	switch {
	case part == TDXRevoked:
		return TDXRevoked
	case part == TDXOutOfDate && (platform == TDXUpToDate || platform == TDXSWHardeningNeeded):
		return TDXOutOfDate
	case part == TDXOutOfDate && (platform == TDXConfigurationNeeded || platform == TDXConfigurationAndSWHardeningNeeded):
		return TDXOutOfDateConfigurationNeeded
	case part != TDXOutOfDate && platform == TDXUpToDate:
		// Intel gives modules and enclaves no other status. One that is new counts as
		// what it says.
		return part
	}
	return platform
}
