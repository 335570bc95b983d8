// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"errors"
	"reflect"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// rootIntel is the one value of tdx.root: Intel's own root.
const rootIntel = "intel"

// TDX is what is demanded of TDX evidence (attest.TDXTrust). The zero value takes TDs
// of platforms whose TCB Intel calls UpToDate, without debugging, migration and
// profiling, and with zeros where whoever started them may fill in values. Kind tdx
// still wants Root, and Platforms or AllowAnyPlatform. Values are in lower-case hex,
// as tools print them. The relaxations in TEE are for SNP and TPMs.
type TDX struct {
	// Root is the trust anchor: intel.
	Root string `yaml:"root,omitempty"`
	// AcceptStatus are statuses of a TCB that count beside UpToDate, as Intel names
	// them: SWHardeningNeeded, ConfigurationNeeded. Where the owners set a floor, it
	// has to accept them too.
	AcceptStatus []string `yaml:"accept-status,omitempty"`
	// Advisories are those of Intel's that may stand beside such a status, as
	// INTEL-SA-00837; AnyAdvisory accepts all.
	Advisories  []string `yaml:"advisories,omitempty"`
	AnyAdvisory bool     `yaml:"any-advisory,omitempty"`
	// MinEvaluation is the lowest tcbEvaluationDataNumber of Intel's collateral,
	// besides that of the references.
	MinEvaluation uint32 `yaml:"min-evaluation,omitempty"`
	// Platforms are the accepted platforms: the PPID of their PCK certificate, 16
	// bytes.
	Platforms []string `yaml:"platforms,omitempty"`
	// Modules are the accepted TDX modules by MRSEAM, 48 bytes; none is each that has
	// an accepted status.
	Modules []string `yaml:"modules,omitempty"`
	// MRConfigID, MROwner and MROwnerConfig are what whoever starts the TD fills in,
	// 48 bytes; zeros where not given.
	MRConfigID    string `yaml:"mr-config-id,omitempty"`
	MROwner       string `yaml:"mr-owner,omitempty"`
	MROwnerConfig string `yaml:"mr-owner-config,omitempty"`

	// The relaxations of attest.TDXTrust.
	AllowAnyPlatform  bool `yaml:"allow-any-platform,omitempty"`
	AllowNoCollateral bool `yaml:"allow-no-collateral,omitempty"`
	AllowNoCRL        bool `yaml:"allow-no-crl,omitempty"`
	AllowDebug        bool `yaml:"allow-debug,omitempty"`
	AllowMigratable   bool `yaml:"allow-migratable,omitempty"`
	AllowProfiling    bool `yaml:"allow-profiling,omitempty"`
	AllowSeptVE       bool `yaml:"allow-sept-ve,omitempty"`
	// AllowAttributes and AllowXFAM are numbers of bits, 0 to 63, of TDATTRIBUTES and
	// XFAM that this version does not know.
	AllowAttributes []uint32 `yaml:"allow-attributes,omitempty"`
	AllowXFAM       []uint32 `yaml:"allow-xfam,omitempty"`
}

// check returns the key of what is wrong beside the kinds of t, and what.
func (x TDX) check(t attest.Trust) (string, error) {
	for _, kind := range t.Kinds {
		switch kind {
		case attest.TDX, attest.AzureTDX:
			return "tee.tdx", t.TDX.Check(attest.TDX)
		case attest.SimulatedTDX:
			return "tee.tdx", t.TDX.Check(kind)
		default:
		}
	}
	if !reflect.DeepEqual(x, TDX{}) {
		return "tee.tdx", errors.New("given, and none of the kinds tdx, azure-tdx and sim-tdx is accepted")
	}
	return "", nil
}

func (x TDX) trust() (attest.TDXTrust, error) {
	out := attest.TDXTrust{
		Advisories: x.Advisories, AnyAdvisory: x.AnyAdvisory, MinEvaluation: x.MinEvaluation,
		AllowAnyPlatform: x.AllowAnyPlatform, AllowNoCollateral: x.AllowNoCollateral, AllowNoCRL: x.AllowNoCRL,
		AllowDebug: x.AllowDebug, AllowMigratable: x.AllowMigratable, AllowProfiling: x.AllowProfiling, AllowSeptVE: x.AllowSeptVE,
	}
	var err error
	if out.Root, err = x.root(); err != nil {
		return attest.TDXTrust{}, err
	}
	for _, err := range []error{numbered("tdx.allow-attributes", x.AllowAttributes, &out.AllowAttributes), numbered("tdx.allow-xfam", x.AllowXFAM, &out.AllowXFAM)} {
		if err != nil {
			return attest.TDXTrust{}, err
		}
	}
	for _, status := range x.AcceptStatus {
		out.AcceptStatus = append(out.AcceptStatus, attest.TDXStatus(status))
	}
	for _, text := range x.Platforms {
		var ppid [16]byte
		if err := unhex("tdx.platforms", text, ppid[:]); err != nil {
			return attest.TDXTrust{}, err
		}
		out.Platforms = append(out.Platforms, ppid)
	}
	for _, text := range x.Modules {
		var module [48]byte
		if err := unhex("tdx.modules", text, module[:]); err != nil {
			return attest.TDXTrust{}, err
		}
		out.Modules = append(out.Modules, module)
	}
	for _, field := range []struct{ key, text, name string }{
		{"tdx.mr-config-id", x.MRConfigID, "MRCONFIGID"}, {"tdx.mr-owner", x.MROwner, "MROWNER"}, {"tdx.mr-owner-config", x.MROwnerConfig, "MROWNERCONFIG"},
	} {
		if field.text == "" {
			continue
		}
		var value [48]byte
		if err := unhex(field.key, field.text, value[:]); err != nil {
			return attest.TDXTrust{}, err
		}
		if out.Config == nil {
			out.Config = map[string][48]byte{}
		}
		out.Config[field.name] = value
	}
	return out, nil
}

func (x TDX) root() (*x509.Certificate, error) {
	switch x.Root {
	case "":
		return nil, nil //nolint:nilnil // whether one is needed is for the kind to say
	case rootIntel:
		return attest.IntelRoot(), nil
	}
	return nil, verdict.Misused("", "tdx.root: got %.32q, want %s", x.Root, rootIntel)
}
