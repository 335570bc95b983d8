// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"
	"slices"

	"github.com/assayd/assay/verdict"
)

// TDXTrust is what a relying party accepts of TDX. The zero value accepts nothing: it
// has no root, and neither Platforms nor AllowAnyPlatform. What is relaxed here is
// relaxed for TDX alone.
type TDXTrust struct {
	// Root is the trust anchor, such as IntelRoot. The simulator's comes with its
	// evidence, and counts where Trust.SimulatorRoots has its digest.
	Root *x509.Certificate
	// AcceptStatus are accepted statuses beside UpToDate. Those of which Intel names
	// advisories count only where all of them are in Advisories.
	AcceptStatus []TDXStatus
	Advisories   []string
	// AnyAdvisory accepts whatever advisories there are.
	AnyAdvisory bool
	// MinEvaluation is the lowest accepted tcbEvaluationDataNumber.
	MinEvaluation uint32
	// Platforms are the accepted platforms by PPID, as the PCK certificate has it.
	Platforms [][16]byte
	// Modules are the accepted TDX modules by MRSEAM; none is every module of Intel's
	// that has an accepted status.
	Modules [][48]byte
	// Config has wanted values of MRCONFIGID, MROWNER and MROWNERCONFIG; one that is
	// not there has to be zero.
	Config map[string][48]byte

	// AllowAnyPlatform accepts every platform that Intel certified.
	AllowAnyPlatform bool
	// AllowNoCollateral accepts a quote of which nothing is known but that a genuine
	// platform made it: neither its TCB nor its quoting enclave.
	AllowNoCollateral bool
	// AllowNoCRL accepts endorsements without revocation lists.
	AllowNoCRL bool
	// AllowDebug, AllowMigratable and AllowProfiling accept TDs whose host may do that.
	AllowDebug, AllowMigratable, AllowProfiling bool
	// AllowSeptVE accepts TDs that were started to take the faults of pages that their
	// host removes. Code that switches that off by itself (TD_CTLS.PENDING_VE_DISABLE) is
	// for the references to name.
	AllowSeptVE bool
	// AllowAttributes and AllowXFAM are bits of TDATTRIBUTES and XFAM that are accepted
	// though this package does not know what they give to whom. Those that it knows
	// are accepted, or have a relaxation of their own.
	AllowAttributes, AllowXFAM uint64
}

// tdxConfigFields are the fields that whoever starts a TD fills in.
var tdxConfigFields = []string{"MRCONFIGID", "MROWNER", "MROWNERCONFIG"}

// Check refuses demands on statements of kind, TDX or SimulatedTDX, that could not
// mean what they say. The error is a *verdict.Misuse.
func (t *TDXTrust) Check(kind Kind) error {
	if wrong := t.wrong(kind); wrong != "" {
		return verdict.Misused("", "%s", wrong)
	}
	return nil
}

func (t *TDXTrust) wrong(kind Kind) string {
	acceptable := func(s TDXStatus) bool { return s != TDXUpToDate && s != TDXRevoked && slices.Contains(tdxStatuses, s) }
	switch {
	case kind == TDX && t.Root == nil:
		return "no root of TDX is trusted"
	case kind == SimulatedTDX && t.Root != nil:
		return "a root of TDX is trusted, and the simulator has another"
	case slices.ContainsFunc(t.AcceptStatus, func(s TDXStatus) bool { return !acceptable(s) }):
		return "a status is accepted beside UpToDate that is unknown, Revoked, or UpToDate itself"
	case len(t.AcceptStatus) == 0 && (len(t.Advisories) > 0 || t.AnyAdvisory):
		return "advisories are accepted, and no status beside UpToDate, which is all that they are about"
	case len(t.Advisories) > 0 && t.AnyAdvisory:
		return "advisories are named, and any is accepted"
	case kind == TDX && len(t.Platforms) == 0 && !t.AllowAnyPlatform:
		return "no platform is accepted: name PPIDs, or allow any"
	case len(t.Platforms) > 0 && t.AllowAnyPlatform:
		return "platforms are named, and any is allowed"
	case slices.Contains(t.Platforms, [16]byte{}):
		return "a platform with a PPID of zeros is named, which is none"
	case t.AllowAttributes&tdKnown != 0:
		return "a bit of TDATTRIBUTES is allowed that is known: it is accepted anyway, or has a relaxation of its own"
	case t.AllowXFAM&xfamKnown != 0:
		return "a bit of XFAM is allowed that is known, and accepted anyway"
	case slices.Contains(t.Modules, [48]byte{}):
		return "a module with an MRSEAM of zeros is named, which is none"
	}
	for name := range t.Config {
		if !slices.Contains(tdxConfigFields, name) {
			return "a value is wanted of a field that is none of MRCONFIGID, MROWNER and MROWNERCONFIG"
		}
	}
	return ""
}

// floored adds the owners' floor, which no relaxation of the relying party lifts: it
// is about the collateral, which has to be there then.
func (t TDXTrust) floored(floor *verdict.TDXFloor) TDXTrust {
	if floor == nil {
		return t
	}
	t.MinEvaluation = max(t.MinEvaluation, floor.Evaluation)
	t.AllowNoCollateral = false
	t.AcceptStatus = slices.DeleteFunc(slices.Clone(t.AcceptStatus), func(s TDXStatus) bool { return !slices.Contains(floor.AcceptStatus, string(s)) })
	return t
}
