// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kinds of TEE that a reference entry may name.
const (
	// KindSNP is AMD SEV-SNP.
	KindSNP = "snp"
	// KindSimulatedSNP is the simulator of it: it proves nothing about hardware.
	KindSimulatedSNP = "sim-snp"
	// KindTPM is a TPM 2.0, in software or hardware, without a claim about the
	// machine around it.
	KindTPM = "tpm"
	// KindTDX is Intel TDX.
	KindTDX = "tdx"
	// KindSimulatedTDX is the simulator of it: it proves nothing about hardware.
	KindSimulatedTDX = "sim-tdx"
	// KindAzureSNP is a confidential VM of Azure: SEV-SNP vouches for the paravisor, and
	// the paravisor's TPM for what it started.
	KindAzureSNP = "azure-snp"
	// KindAzureTDX is the same on TDX.
	KindAzureTDX = "azure-tdx"
	// KindSVSM is AMD SEV-SNP with an SVSM: SEV-SNP vouches for the SVSM and the
	// firmware, and the SVSM's TPM for what they started.
	KindSVSM = "snp-svsm"
)

// kinds are the kinds that an entry may name.
var kinds = []string{KindSNP, KindTDX, KindTPM, KindAzureSNP, KindAzureTDX, KindSVSM, KindSimulatedSNP, KindSimulatedTDX}

// Simulated tells whether a kind is a simulator, which proves nothing.
func Simulated(kind string) bool { return kind == KindSimulatedSNP || kind == KindSimulatedTDX }

// Profiles of a configuration.
const (
	// Production is the profile without relaxations.
	Production = "production"
	// Development permits a simulator, the development Workload API, plain HTTP
	// to loopback and an unwitnessed log.
	Development = "development"
)

// References say which daemons are the right ones: a file that the head names.
type References struct {
	Entries []ReferenceEntry `json:"entries"`
	// Floors are the oldest platform firmware that is accepted.
	Floors Floors `json:"floors"`
	V      int    `json:"v"`
}

// A ReferenceEntry is one build on one kind of TEE.
type ReferenceEntry struct {
	// Configs are digests of the configurations that it may run with.
	Configs []Digest `json:"configs"`
	// Events names the register that holds our event list: "pcr14", "rtmr3", or
	// "none" where the TEE has no register that a guest can extend.
	Events string `json:"events"`
	// Flavours are the crypto flavours that may be active: "go", "fips140",
	// "boringcrypto".
	Flavours []string `json:"flavours"`
	// Kind is one of the Kind… constants of TEEs.
	Kind string `json:"kind"`
	// Measurement is the launch measurement in hex (of a TD, MRTD; on Azure, of the
	// paravisor), or empty for KindTPM, where registers say what was started.
	Measurement string `json:"measurement,omitempty"`
	// Name is for people.
	Name string `json:"name"`
	// NotBefore and NotAfter bound the entry, in Unix seconds.
	NotAfter  int64 `json:"not_after"`
	NotBefore int64 `json:"not_before"`
	// Profile is Production or Development; a node that does not accept
	// development refuses such an entry.
	Profile string `json:"profile"`
	// Registers are pinned values in hex, by name: "pcr0" … "pcr15", of which on Azure
	// AzureRegisters are always there, or of a TD "rtmr0" … "rtmr2", of which "rtmr1"
	// and "rtmr2" are.
	Registers map[string]string `json:"registers,omitempty"`
}

// Floors are minimum firmware versions.
type Floors struct {
	// SNP is the lowest TCB; absent means that the owners set no floor.
	SNP *SNPTCB `json:"snp,omitempty"`
	// TDX is the same for TDX.
	TDX *TDXFloor `json:"tdx,omitempty"`
}

// A TDXFloor bounds from below what Intel says about a platform. It holds whatever a
// relying party accepts besides.
type TDXFloor struct {
	// AcceptStatus are the statuses of a TCB that count beside UpToDate, as Intel
	// names them, ascending. Revoked never counts.
	AcceptStatus []string `json:"accept_status,omitempty"`
	// Evaluation is the lowest tcbEvaluationDataNumber of TCB info and QE identity,
	// at least 1.
	Evaluation uint32 `json:"evaluation"`
}

// tdxStatuses are the statuses that a floor can name, ascending (Intel PCS API v4,
// tcbStatus).
var tdxStatuses = []string{
	"ConfigurationAndSWHardeningNeeded", "ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "SWHardeningNeeded",
}

func (f *TDXFloor) check() error {
	if f == nil {
		return nil
	}
	if f.Evaluation == 0 {
		return errors.New("floor of TDX has evaluation 0, want at least 1")
	}
	for i, s := range f.AcceptStatus {
		if !slices.Contains(tdxStatuses, s) || i > 0 && s <= f.AcceptStatus[i-1] {
			return fmt.Errorf("floor of TDX accepts status %s, want some of %s in ascending order", quote(s), strings.Join(tdxStatuses, ", "))
		}
	}
	return nil
}

// An SNPTCB is an SEV-SNP TCB version, component by component.
type SNPTCB struct {
	Bootloader uint8 `json:"bootloader"`
	Microcode  uint8 `json:"microcode"`
	SNP        uint8 `json:"snp"`
	TEE        uint8 `json:"tee"`
}

// ParseReferences decodes a references file. The error is a *[Refusal] with
// head.malformed.
func ParseReferences(data []byte) (References, error) {
	r, err := decode[References](data, MaxReferences)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return References{}, Refuse(HeadMalformed, "parsing references: %w", err)
	}
	return r, nil
}

// Encode returns the canonical bytes of r.
func (r References) Encode() ([]byte, error) {
	r.V = 1
	if err := r.check(); err != nil {
		return nil, Misused("", "encoding references: %w", err)
	}
	return encode(r)
}

func (r References) check() error {
	if err := checkVersion(r.V); err != nil {
		return err
	}
	if err := r.Floors.TDX.check(); err != nil {
		return err
	}
	if len(r.Entries) == 0 || len(r.Entries) > 256 {
		return fmt.Errorf("%d entries, want 1 to 256", len(r.Entries))
	}
	for _, e := range r.Entries {
		if err := e.check(); err != nil {
			return fmt.Errorf("entry %s: %w", quote(e.Name), err)
		}
	}
	return nil
}

func (e ReferenceEntry) check() error {
	if err := checkText("name", e.Name, 128); err != nil {
		return err
	}
	if e.Profile != Production && e.Profile != Development {
		return fmt.Errorf("profile is %s, want %q or %q", quote(e.Profile), Production, Development)
	}
	if e.NotBefore <= 0 || e.NotAfter <= e.NotBefore {
		return errors.New("not_before and not_after are no window")
	}
	if len(e.Configs) == 0 || len(e.Flavours) == 0 {
		return errors.New("configs or flavours is empty")
	}
	for _, c := range e.Configs {
		if err := checkSHA256("config", c); err != nil {
			return err
		}
	}
	for _, f := range e.Flavours {
		if !slices.Contains(Flavours, f) {
			return fmt.Errorf("flavour is %s, want one of %s", quote(f), strings.Join(Flavours, ", "))
		}
	}
	switch e.Kind {
	case KindSNP, KindSimulatedSNP, KindTDX, KindSimulatedTDX:
		if Simulated(e.Kind) && e.Profile != Development {
			return errors.New("a simulator needs profile development")
		}
		if e.Kind == KindTDX || e.Kind == KindSimulatedTDX {
			return e.checkTDX()
		}
		if len(e.Registers) != 0 || e.Events != "none" {
			return errors.New("SEV-SNP without SVSM has no registers: want events \"none\"")
		}
		return checkHex("measurement", e.Measurement, 48)
	case KindTPM:
		if e.Measurement != "" {
			return errors.New("a TPM has no launch measurement")
		}
		return e.checkPCRs()
	case KindAzureSNP, KindAzureTDX, KindSVSM:
		return e.checkAzure()
	default:
		return fmt.Errorf("kind is %s, want one of %s", quote(e.Kind), strings.Join(kinds, ", "))
	}
}

// AzureRegisters are the PCRs that an entry for Azure, or for an SVSM, always pins: what the firmware
// started, and the command line, credentials and extensions that a UKI takes from
// outside. The others are extended by what these say was started, so without them they
// say what anyone likes.
var AzureRegisters = []string{"pcr4", "pcr12", "pcr13"}

// checkAzure refuses an entry that leaves open what a VM of Azure, or one with an SVSM,
// runs: the launch measurement is that of paravisor or SVSM and firmware alone.
func (e ReferenceEntry) checkAzure() error {
	if err := checkHex("measurement", e.Measurement, 48); err != nil {
		return err
	}
	for _, name := range AzureRegisters {
		if e.Registers[name] == "" {
			return fmt.Errorf("registers has no %s: nothing would say what the paravisor started", name)
		}
	}
	return e.checkPCRs()
}

func (e ReferenceEntry) checkPCRs() error {
	if len(e.Registers) == 0 {
		return errors.New("registers is empty: nothing would say what was started")
	}
	if e.Events != "pcr14" {
		return fmt.Errorf("events is %s, want \"pcr14\"", quote(e.Events))
	}
	if _, pinned := e.Registers[e.Events]; pinned {
		return errors.New("the register of the event list cannot be pinned")
	}
	return e.checkRegisters("pcr0 to pcr15", validPCR, 32)
}

// checkTDX refuses an entry that leaves open what a TD runs: MRTD is the firmware
// alone, RTMR1 and RTMR2 are what it started. RTMR0 holds what the VMM says of the
// machine, which not every author can compute.
func (e ReferenceEntry) checkTDX() error {
	if err := checkHex("measurement", e.Measurement, 48); err != nil {
		return err
	}
	if e.Events != "rtmr3" {
		return fmt.Errorf("events is %s, want \"rtmr3\"", quote(e.Events))
	}
	if _, pinned := e.Registers[e.Events]; pinned {
		return errors.New("the register of the event list cannot be pinned")
	}
	for _, name := range []string{"rtmr1", "rtmr2"} {
		if e.Registers[name] == "" {
			return fmt.Errorf("registers has no %s: nothing would say what the firmware started", name)
		}
	}
	return e.checkRegisters("rtmr0 to rtmr2", func(name string) bool { return slices.Contains(TDXRegisters, name) }, 48)
}

// TDXRegisters are the registers of a TD that say what was started, by the names that
// entries and issuers have for them. RTMR3 is that of the event list.
var TDXRegisters = []string{"rtmr0", "rtmr1", "rtmr2"}

func (e ReferenceEntry) checkRegisters(want string, valid func(name string) bool, size int) error {
	for _, name := range slices.Sorted(maps.Keys(e.Registers)) {
		if !valid(name) {
			return fmt.Errorf("register %s is not %s", quote(name), want)
		}
		if err := checkHex("register "+name, e.Registers[name], size); err != nil {
			return err
		}
	}
	return nil
}

// validPCR tells whether name is a PCR that software cannot reset: 16 and 23
// can be, 17 to 22 belong to the dynamic root of trust.
func validPCR(name string) bool {
	for i := range 16 {
		if name == fmt.Sprintf("pcr%d", i) {
			return true
		}
	}
	return false
}

// Valid tells whether the entry counts at a time.
func (e ReferenceEntry) Valid(at time.Time) bool {
	return at.Unix() >= e.NotBefore && at.Unix() < e.NotAfter
}
