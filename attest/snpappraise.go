// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"

	"github.com/assayd/assay/verdict"
)

// appraiseSNP appraises a report of SEV-SNP or of its simulator.
func appraiseSNP(c Collection, kind Kind, in *evidenceInput, at time.Time) (Result, error) {
	simulated := kind == SimulatedSNP
	if _, ok := c.Items[LabelRegisters]; ok {
		return Result{}, malformed("appraising SNP report: register events without a register")
	}
	report, err := ParseSNPReport(c.Items[LabelEvidence].Value)
	if err != nil {
		return Result{}, err
	}
	result, err := judgeSNP(c, &report, simulated, in, at)
	if err != nil {
		return Result{}, err
	}
	measurement := hex.EncodeToString(report.Measurement[:])
	result.Kind, result.Measurement = kind, measurement
	result.Entry, err = chooseEntry(in, kind, at, func(e verdict.ReferenceEntry) error {
		if e.Measurement != measurement {
			return verdict.Refuse(verdict.GuestMeasurement, "appraising SNP report: measurement %s is none of the references", measurement)
		}
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	if simulated {
		result.Binding, result.Simulated = BindingSimulated, true
		result.Claims.InstanceIdentity, result.Claims.Hardware, result.Claims.RuntimeOpaque = NoClaim, NoClaim, NoClaim
	}
	return result, nil
}

// judgeSNP decides everything about a report but what was started: chain, signature,
// binding, platform, guest. The collection has the endorsements.
func judgeSNP(c Collection, report *SNPReport, simulated bool, in *evidenceInput, at time.Time) (Result, error) {
	signer, err := verifySNPChain(c, report, in.trust, simulated, at)
	if err != nil {
		return Result{}, err
	}
	if err := report.verifySignature(signer.key); err != nil {
		return Result{}, err
	}
	if subtle.ConstantTimeCompare(report.ReportData[:], in.expected.ReportData[:]) != 1 {
		return Result{}, verdict.Refuse(verdict.EvidenceBinding, "appraising SNP report: REPORT_DATA is not that of this statement and these nonces")
	}
	reported, relaxed, err := checkPlatform(report, signer, in)
	if err != nil {
		return Result{}, err
	}
	lifted, err := checkGuest(report, in)
	if err != nil {
		return Result{}, err
	}
	result := Result{
		Binding: BindingHardware, TCB: reported, ProductLine: signer.line, Signer: signer.kind, CSPID: signer.cspID, ChipID: report.ChipID,
		Relaxed: slices.Compact(slices.Sorted(slices.Values(slices.Concat(signer.relaxed, relaxed, lifted)))),
	}
	result.Claims = snpClaims(in.trust, result.Relaxed)
	return result, nil
}

// snpClaims says of an accepted report what relaxations leave of it.
func snpClaims(t *Trust, relaxed []string) Claims {
	c := Claims{Configuration: Affirming, Executables: Affirming, Hardware: Affirming, RuntimeOpaque: Affirming}
	if len(t.SNP.Chips) > 0 {
		c.InstanceIdentity = Affirming
	}
	c.lower(snpLowers, relaxed)
	return c
}

// A demand is met, or lifted by a relaxation, or refused.
type demand struct {
	met     bool
	name    string // of the relaxation, as Result.Relaxed has it
	lifted  bool
	refusal error
}

// judge returns the relaxations that lifted demands, or the first refusal.
func judge(demands []demand) (relaxed []string, err error) {
	for _, d := range demands {
		switch {
		case d.met:
		case d.lifted:
			relaxed = append(relaxed, d.name)
		default:
			return nil, d.refusal
		}
	}
	return relaxed, nil
}

// checkPlatform compares the report with the certificate of its key, and with what
// owners and relying party demand of chip, firmware and platform. It returns
// REPORTED_TCB.
func checkPlatform(r *SNPReport, signer snpSigner, in *evidenceInput) (TCB, []string, error) {
	t, masked := in.trust, r.ChipID == [64]byte{}
	floor := slices.ContainsFunc(in.floors(signer.line), func(f TCB) bool { return f != TCB{} })
	relaxed, err := judge([]demand{
		// That there is one was demanded before there was evidence.
		{met: floor || !t.AllowNoFloor, name: "allow-no-floor", lifted: t.AllowNoFloor},
		{!masked, "allow-masked-chip-id", t.AllowMaskedChipID, verdict.Refuse(verdict.PlatformChip, "appraising SNP report: CHIP_ID is masked")},
		{
			met:     masked || signer.kind == SNPVLEK || r.ChipID == signer.hwid,
			refusal: verdict.Refuse(verdict.EndorsementMismatch, "appraising SNP report: the VCEK is for another chip than CHIP_ID"),
		},
		{
			met:     len(t.SNP.Chips) == 0 && !t.SNP.AllowAnyChip || slices.Contains(t.SNP.Chips, r.ChipID),
			name:    "allow-any-chip",
			lifted:  t.SNP.AllowAnyChip,
			refusal: verdict.Refuse(verdict.PlatformChip, "appraising SNP report: CHIP_ID %x… is none of the accepted chips", r.ChipID[:8]),
		},
	})
	if err != nil {
		return TCB{}, nil, err
	}
	reported, provisional, err := checkTCB(r, signer, in)
	if err != nil {
		return TCB{}, nil, err
	}
	more, err := judge(platformDemands(r, t, provisional))
	if err != nil {
		return TCB{}, nil, err
	}
	return reported, slices.Concat(relaxed, more), nil
}

// checkTCB compares the four TCB versions with each other, with the certificate and
// with the floors. It returns REPORTED_TCB, and whether the host may still roll the
// firmware back: it is then current, and not committed.
func checkTCB(r *SNPReport, signer snpSigner, in *evidenceInput) (reported TCB, provisional bool, err error) {
	// REPORTED is what the certificate is for, CURRENT what runs, COMMITTED what the
	// host can roll back to, LAUNCH what the guest was started under.
	var current, committed, launch TCB
	for _, version := range []struct {
		field string
		value uint64
		into  *TCB
		code  verdict.Code
	}{
		{"REPORTED_TCB", r.ReportedTCB, &reported, verdict.TCBMinimum}, {"CURRENT_TCB", r.CurrentTCB, &current, verdict.TCBMinimum},
		{"COMMITTED_TCB", r.CommittedTCB, &committed, verdict.TCBCommitted}, {"LAUNCH_TCB", r.LaunchTCB, &launch, verdict.TCBMinimum},
	} {
		if *version.into, err = parseTCB(version.field, signer.line, version.value); err != nil {
			return TCB{}, false, err
		}
		if version.into == &reported && reported != signer.tcb {
			return TCB{}, false, verdict.Refuse(verdict.EndorsementMismatch, "appraising SNP report: REPORTED_TCB is %+v, the %s is for %+v", reported, signer.kind, signer.tcb)
		}
		for _, floor := range in.floors(signer.line) {
			if err := version.into.atLeast(version.code, version.field, floor); err != nil {
				return TCB{}, false, err
			}
		}
	}
	// The firmware lets the host report or commit to nothing that does not run.
	if err := current.atLeast(verdict.TCBMinimum, "CURRENT_TCB, which REPORTED_TCB cannot exceed:", reported); err != nil {
		return TCB{}, false, err
	}
	if err := current.atLeast(verdict.TCBCommitted, "CURRENT_TCB, which COMMITTED_TCB cannot exceed:", committed); err != nil {
		return TCB{}, false, err
	}
	return reported, current != committed || r.CurrentVersion != r.CommittedVersion, nil
}

// platformDemands are those on firmware, PLATFORM_INFO and mitigations.
func platformDemands(r *SNPReport, t *Trust, provisional bool) []demand {
	s, info := &t.SNP, r.PlatformInfo
	current, committed := firmware(r.CurrentVersion), firmware(r.CommittedVersion)
	wrong := func(format string, args ...any) error {
		return verdict.Refuse(verdict.PlatformInfo, "appraising SNP report: "+format, args...)
	}
	mitigated := func(got, want uint64) bool { return got&want == want && (want == 0 || r.Version >= 5) }
	return []demand{
		{!provisional, "allow-provisional-firmware", s.AllowProvisionalFirmware, verdict.Refuse(verdict.TCBCommitted,
			"appraising SNP report: firmware %v with CURRENT_TCB 0x%016x is provisional: committed are %v and 0x%016x", current, r.CurrentTCB, committed, r.CommittedTCB)},
		{met: committed.compare(current) <= 0, refusal: verdict.Refuse(verdict.PlatformFirmware,
			"appraising SNP report: committed firmware is %v, which current %v is below", committed, current)},
		{met: committed.compare(s.MinFirmware) >= 0 && current.compare(s.MinFirmware) >= 0, refusal: verdict.Refuse(verdict.PlatformFirmware,
			"appraising SNP report: firmware is %v, committed %v, want at least %v", current, committed, s.MinFirmware)},
		{met: info&snpPlatformUnknown == 0, refusal: wrong("unknown bits in PLATFORM_INFO 0x%x", info)},
		{info&SNPPlatformECC != 0, "allow-no-ecc", s.AllowNoECC, wrong("PLATFORM_INFO 0x%x has no ECC", info)},
		{info&SNPPlatformAliasCheck != 0, "allow-no-alias-check", s.AllowNoAliasCheck, wrong("PLATFORM_INFO 0x%x has no ALIAS_CHECK_COMPLETE", info)},
		{info&SNPPlatformTIO == 0, "allow-tio", s.AllowTIO, wrong("PLATFORM_INFO 0x%x has SEV-TIO", info)},
		// Where the guest's policy permits SMT, it is the policy that is judged.
		{info&SNPPlatformSMT == 0 || r.Policy&SNPPolicySMT != 0, "allow-smt", t.AllowSMT, wrong("PLATFORM_INFO 0x%x has SMT, which the guest policy forbids", info)},
		{met: info&s.RequirePlatform == s.RequirePlatform, refusal: wrong("PLATFORM_INFO 0x%x lacks 0x%x", info, s.RequirePlatform&^info)},
		{met: mitigated(r.LaunchMitigation, s.RequireLaunchMitigations), refusal: wrong(
			"LAUNCH_MIT_VECTOR is 0x%x in version %d, want 0x%x", r.LaunchMitigation, r.Version, s.RequireLaunchMitigations)},
		{met: mitigated(r.CurrentMitigation, s.RequireCurrentMitigations), refusal: wrong(
			"CURRENT_MIT_VECTOR is 0x%x in version %d, want 0x%x", r.CurrentMitigation, r.Version, s.RequireCurrentMitigations)},
	}
}

// checkGuest checks what the host may do with the guest, and what it was started with.
func checkGuest(r *SNPReport, in *evidenceInput) ([]string, error) {
	hostData, err := in.trust.SNP.hostData(in.statement)
	if err != nil {
		return nil, err
	}
	demands := append(policyDemands(r, in.trust), identityDemands(r, &in.trust.SNP)...)
	return judge(append(demands, demand{
		met:     slices.Contains(hostData, r.HostData),
		refusal: verdict.Refuse(verdict.GuestConfig, "appraising SNP report: HOST_DATA is %x, want one of %x", r.HostData, hostData),
	}))
}

// policyDemands are those on the guest's policy and on who may move it.
func policyDemands(r *SNPReport, t *Trust) []demand {
	p, s := r.Policy, &t.SNP
	permits := func(code verdict.Code, what string) error {
		return verdict.Refuse(code, "appraising SNP report: the guest policy 0x%x permits %s", p, what)
	}
	// All ones says that no migration agent is attached.
	unset := [32]byte(slices.Repeat([]byte{0xFF}, 32))
	return []demand{
		{p&SNPPolicyDebug == 0, "allow-debug", t.AllowDebug, permits(verdict.GuestDebug, "debugging")},
		{p&SNPPolicyMigratable == 0, "allow-migratable", t.AllowMigratable, permits(verdict.GuestMigratable, "a migration agent")},
		{p&SNPPolicySMT == 0, "allow-smt", t.AllowSMT, permits(verdict.GuestPolicy, "SMT")},
		{p&SNPPolicyCXL == 0, "allow-cxl", s.AllowCXL, permits(verdict.GuestPolicy, "CXL")},
		{met: p&s.RequirePolicy == s.RequirePolicy, refusal: verdict.Refuse(verdict.GuestPolicy,
			"appraising SNP report: the guest policy 0x%x lacks 0x%x", p, s.RequirePolicy&^p)},
		{met: p&0xFFFF >= uint64(s.MinABI.Major)<<8|uint64(s.MinABI.Minor), refusal: verdict.Refuse(verdict.GuestPolicy,
			"appraising SNP report: the guest policy is content with ABI %d.%d, want at least %d.%d", p>>8&0xFF, p&0xFF, s.MinABI.Major, s.MinABI.Minor)},
		{r.VMPL == 0, "allow-vmpls", slices.Contains(t.AllowVMPLs, r.VMPL), verdict.Refuse(verdict.GuestVMPL, "appraising SNP report: VMPL is %d, want 0", r.VMPL)},
		{r.ReportIDMA == unset, "allow-migratable", t.AllowMigratable, verdict.Refuse(verdict.GuestMigratable, "appraising SNP report: REPORT_ID_MA names a migration agent")},
	}
}

// identityDemands are those on the ID block. The firmware has checked its signature;
// whose it is, it leaves to us.
func identityDemands(r *SNPReport, s *SNPTrust) []demand {
	wrong := func(format string, args ...any) error {
		return verdict.Refuse(verdict.GuestIdentity, "appraising SNP report: "+format, args...)
	}
	return []demand{
		{met: len(s.IDKeys) == 0 || slices.Contains(s.IDKeys, r.IDKeyDigest), refusal: wrong("ID_KEY_DIGEST %x… is none of the accepted keys", r.IDKeyDigest[:8])},
		{met: len(s.AuthorKeys) == 0 || r.SignerInfo&snpSignerAuthorKey != 0 && slices.Contains(s.AuthorKeys, r.AuthorKeyDigest),
			refusal: wrong("AUTHOR_KEY_DIGEST %x… is none of the accepted keys, or AUTHOR_KEY_EN is not set", r.AuthorKeyDigest[:8])},
		{met: s.FamilyID == nil || *s.FamilyID == r.FamilyID, refusal: wrong("FAMILY_ID is %x, which is not the accepted one", r.FamilyID)},
		{met: s.ImageID == nil || *s.ImageID == r.ImageID, refusal: wrong("IMAGE_ID is %x, which is not the accepted one", r.ImageID)},
		{met: r.GuestSVN >= s.MinGuestSVN, refusal: wrong("GUEST_SVN is %d, want at least %d", r.GuestSVN, s.MinGuestSVN)},
	}
}
