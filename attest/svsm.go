// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/sha512"
	"encoding/hex"
	"time"

	"github.com/assayd/assay/verdict"
)

// SVSMReportData is what REPORT_DATA of an SVSM's report about its TPM has to be: the
// SVSM hashes the nonce that the guest gives, which here is that of statement and nonces
// (verdict.ReportData), and the manifest of the service, the endorsement key of its TPM
// as TPMT_PUBLIC (AMD 58019, Secure VM Service Module: Attestation Protocol; vTPM
// manifest version 0). Both are sized: the nonce has 64 bytes, and the manifest takes
// the rest.
func SVSMReportData(nonce [64]byte, manifest []byte) [64]byte {
	h := sha512.New()
	h.Write(nonce[:])
	h.Write(manifest)
	return [64]byte(h.Sum(nil))
}

// parseSVSMManifest reads the endorsement key of the TPM of an SVSM.
func parseSVSMManifest(data []byte) (*tpmKey, error) {
	ek, err := parseTPMPublic("SVSM manifest", data)
	if err != nil {
		return nil, err
	}
	if err := ek.checkEndorsementKey(); err != nil {
		return nil, err
	}
	return &ek, nil
}

// svsmKeysOf parses and checks the keys of the collection of a guest with an SVSM. The
// endorsement key is that of the manifest, and counts where the report is about it.
func svsmKeysOf(c Collection) (tpmKeys, error) {
	evidence, err := c.nested(LabelEvidence, TypeSVSM)
	if err != nil {
		return tpmKeys{}, err
	}
	ak, err := attestationKeyOf(evidence)
	if err != nil {
		return tpmKeys{}, err
	}
	manifest, err := evidence.record(LabelSVSMManifest, TypeTPMPublic)
	if err != nil {
		return tpmKeys{}, err
	}
	ek, err := parseSVSMManifest(manifest)
	if err != nil {
		return tpmKeys{}, err
	}
	return tpmKeys{ak: ak, ek: ek}, nil
}

// appraiseSVSM appraises a guest of SEV-SNP with an SVSM. The hardware's report is of
// privilege level 0, where the SVSM alone is, and about the endorsement key of the TPM
// that the SVSM runs; that the attestation key is in the same TPM was found out by
// credential activation; its quote says what was started. Each is bound to statement
// and nonces by itself.
func appraiseSVSM(c Collection, in *evidenceInput, at time.Time) (Result, error) {
	evidence, err := c.nested(LabelEvidence, TypeSVSM)
	if err != nil {
		return Result{}, err
	}
	data, err := evidence.record(LabelSVSMReport, TypeSNPReport)
	if err != nil {
		return Result{}, err
	}
	report, err := ParseSNPReport(data)
	if err != nil {
		return Result{}, err
	}
	manifest, err := evidence.record(LabelSVSMManifest, TypeTPMPublic)
	if err != nil {
		return Result{}, err
	}
	keys, err := svsmKeysOf(c)
	if err != nil {
		return Result{}, err
	}
	// A report of the guest's own level would name any endorsement key.
	trust := *in.trust
	trust.AllowVMPLs = nil
	bound := *in
	bound.trust, bound.expected.ReportData = &trust, SVSMReportData(in.expected.ReportData, manifest)
	result, err := judgeSNP(c, &report, false, &bound, at)
	if err != nil {
		return Result{}, err
	}
	known, proven := keys.known(in.known)
	if !proven {
		return Result{}, verdict.Refuse(verdict.TPMAK, "verifying attestation key: not proven to be in the TPM of the SVSM")
	}
	quote, pcrs, err := verifyQuote(evidence, keys.ak)
	if err != nil {
		return Result{}, err
	}
	if err := checkFresh(quote, &known, in); err != nil {
		return Result{}, err
	}
	measurement := hex.EncodeToString(report.Measurement[:])
	result.Kind, result.Binding, result.Measurement, result.Registers, result.AK = SVSM, BindingSVSM, measurement, pcrs.names(), known
	result.Entry, err = chooseEntry(in, SVSM, at, func(e verdict.ReferenceEntry) error {
		if e.Measurement != measurement {
			return verdict.Refuse(verdict.GuestMeasurement, "appraising SNP report: measurement %s is none of the references", measurement)
		}
		return checkRegisters(e, pcrs)
	})
	if err != nil {
		return Result{}, err
	}
	if in.statement == nil {
		return result, nil
	}
	result.Events, err = pcrs.checkEvents(c, in.statement)
	return result, err
}
