// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"fmt"
	"iter"
	"strings"
)

// A Claim is one element of an AR4SI trustworthiness vector
// (draft-ietf-rats-ar4si §2.3), the name and value of its tiers included.
type Claim int8

// The values that assay gives.
const (
	// NoClaim says nothing.
	NoClaim Claim = 0
	// Affirming says that what was found is as the references and trust demand.
	Affirming Claim = 2
	// Warning says that it was accepted with a relaxation that Trust names, or
	// that the environment isolates without hiding memory from its host.
	Warning Claim = 32
	// Contraindicated says that the host may read or change the guest, and that
	// Trust permits it all the same.
	Contraindicated Claim = 96
)

// Claims is a trustworthiness vector. The zero value claims nothing.
type Claims struct {
	// InstanceIdentity is about the chip or TPM as an individual.
	InstanceIdentity Claim
	// Configuration is about guest policy, config digest and register events.
	Configuration Claim
	// Executables is about the code that was started.
	Executables Claim
	// FileSystem is about the files below it.
	FileSystem Claim
	// Hardware is about the TEE: genuine, and not below its floors.
	Hardware Claim
	// RuntimeOpaque is about who else can read memory.
	RuntimeOpaque Claim
	// StorageOpaque is about who else can read storage.
	StorageOpaque Claim
	// SourcedData is about input from elsewhere.
	SourcedData Claim
}

// Status returns the worst claim that was made, NoClaim when there was none.
func (c Claims) Status() Claim {
	return max(c.InstanceIdentity, c.Configuration, c.Executables, c.FileSystem,
		c.Hardware, c.RuntimeOpaque, c.StorageOpaque, c.SourcedData)
}

// All gives the claims by their names in AR4SI, in its order, NoClaim included.
func (c Claims) All() iter.Seq2[string, Claim] {
	return func(yield func(string, Claim) bool) {
		for i, claim := range c.list() {
			if !yield(claimNames[i], *claim) {
				return
			}
		}
	}
}

var claimNames = [...]string{"instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque", "storage-opaque", "sourced-data"}

// list has the claims in the order of claimNames.
func (c *Claims) list() [len(claimNames)]*Claim {
	return [...]*Claim{&c.InstanceIdentity, &c.Configuration, &c.Executables, &c.FileSystem, &c.Hardware, &c.RuntimeOpaque, &c.StorageOpaque, &c.SourcedData}
}

// String is the name of the tier (AR4SI §2.3.3).
func (c Claim) String() string {
	switch {
	case c == NoClaim:
		return "none"
	case c < Warning:
		return "affirming"
	case c < Contraindicated:
		return "warning"
	}
	return "contraindicated"
}

// snpLowers and tdxLowers have every relaxation by its name, with the tier that is left
// of the claims that it is about. Affirming leaves a claim as it was, and is told with it.
var (
	snpLowers = map[string]Claims{
		"allow-any-chip": {}, "allow-any-csp": {}, "allow-masked-chip-id": {}, "allow-vmpls": {Configuration: Affirming}, "allow-unsafe-clock": {},
		"allow-no-crl": {Hardware: Affirming}, "allow-no-floor": {Hardware: Affirming},
		"allow-smt": {Configuration: Warning}, "allow-cxl": {Configuration: Warning},
		"allow-migratable": {Configuration: Contraindicated},
		"allow-debug":      {Configuration: Contraindicated, RuntimeOpaque: Contraindicated},
		"allow-no-ecc":     {Hardware: Warning}, "allow-no-alias-check": {Hardware: Warning}, "allow-tio": {Hardware: Warning},
		"allow-provisional-firmware": {Hardware: Warning},
	}
	tdxLowers = map[string]Claims{
		"allow-any-platform": {}, "allow-unsafe-clock": {},
		"allow-no-crl": {Hardware: Affirming}, "advisories": {Hardware: Affirming}, "any-advisory": {Hardware: Affirming},
		// Genuine, of a TCB that is unknown or not UpToDate.
		"allow-no-collateral": {Hardware: Warning}, "accept-status": {Hardware: Warning},
		// What nobody here knows, and what is for the measured code to set right (0073).
		"allow-attributes": {Configuration: Warning}, "allow-xfam": {Configuration: Warning}, "allow-sept-ve": {Configuration: Warning},
		// Each leaves to the host what a TD exists to keep from it.
		"allow-debug":      {Configuration: Contraindicated, RuntimeOpaque: Contraindicated},
		"allow-migratable": {Configuration: Contraindicated, RuntimeOpaque: Contraindicated},
		"allow-profiling":  {Configuration: Contraindicated, RuntimeOpaque: Contraindicated},
	}
)

// lower leaves of c what relaxations do. One that table does not have leaves nothing.
func (c *Claims) lower(table map[string]Claims, relaxed []string) {
	for _, name := range relaxed {
		to, ok := table[name]
		if !ok {
			to = Claims{Configuration: Contraindicated, Hardware: Contraindicated, RuntimeOpaque: Contraindicated}
		}
		of := to.list()
		for i, claim := range c.list() {
			*claim = max(*claim, *of[i])
		}
	}
}

// Grounds is what claims were made on.
type Grounds struct {
	// Kind is that of the evidence.
	Kind Kind
	// Entry is the reference entry that was met, empty where a policy named values.
	Entry string
	// Relaxed, Status and Advisories are those of the result.
	Relaxed    []string
	Status     TDXStatus
	Advisories []string
}

// Reasons says of each claim that assay makes of a kind of evidence why it has its
// value, or why there is none, by the names of AR4SI: a sentence for people, whose text
// may change. Nothing is said of files, storage and sources, which assay does not look at.
func (c Claims) Reasons(g Grounds) map[string]string {
	out := map[string]string{
		"instance-identity": g.instance(c.InstanceIdentity), "configuration": g.configuration(c.Configuration),
		"executables": g.executables(c.Executables), "hardware": g.hardware(c.Hardware), "runtime-opaque": g.memory(c.RuntimeOpaque),
	}
	for name, why := range g.relaxations() {
		out[name] += "; relaxed by " + strings.Join(why, ", ")
	}
	return out
}

// relaxations are those that are about a claim, by its name.
func (g Grounds) relaxations() map[string][]string {
	table := map[Kind]map[string]Claims{SNP: snpLowers, SimulatedSNP: snpLowers, TDX: tdxLowers, SimulatedTDX: tdxLowers}[g.Kind.platform()]
	out := map[string][]string{}
	for _, name := range g.Relaxed {
		for claim, tier := range table[name].All() {
			if tier != NoClaim {
				out[claim] = append(out[claim], name)
			}
		}
	}
	return out
}

func (g Grounds) simulated() bool { return g.Kind == SimulatedSNP || g.Kind == SimulatedTDX }

func (g Grounds) azure() bool { return g.Kind == AzureSNP || g.Kind == AzureTDX }

// anyParavisor is why nothing is affirmed on Azure.
const anyParavisor = "no paravisor is named, so that the hardware's report may be of another machine than the TPM"

func (g Grounds) instance(c Claim) string {
	switch {
	case g.simulated():
		return "a simulator is no machine"
	case g.Kind == TPM:
		return "an accepted authority certified a key of the TPM"
	case c == NoClaim:
		return "none is named that it has to be"
	case g.azure():
		return "the machine, as the paravisor calls it, is one that is named"
	}
	return "the chip is one that is named"
}

func (g Grounds) configuration(c Claim) string {
	switch {
	case c != NoClaim && g.Kind == TPM:
		return "registers and the configuration's digest are as demanded"
	case c != NoClaim && g.Entry == "":
		return "what the guest permits its host is as demanded"
	case c != NoClaim:
		return "what the guest permits its host, and the digest of its configuration, are as demanded"
	case g.azure():
		return anyParavisor
	}
	return "there is no statement that says what it should be"
}

func (g Grounds) executables(c Claim) string {
	switch {
	case c == NoClaim:
		return "no measurement is named that it has to be"
	case g.Entry != "":
		return fmt.Sprintf("what was started is that of the reference entry %.64q", g.Entry)
	}
	return "what was started has values that are named"
}

func (g Grounds) hardware(c Claim) string {
	switch {
	case g.simulated():
		return "nothing but a simulator vouches for it"
	case g.Kind == TPM:
		return "whoever runs the TPM, which may be the host, can say what he likes"
	case c == NoClaim:
		return anyParavisor
	case g.Kind.platform() == TDX && g.Status == "":
		return "genuine, and nothing is known of its TCB"
	case g.Status != "" && g.Status != TDXUpToDate:
		return fmt.Sprintf("genuine, and Intel calls it %s (%s)", g.Status, adviceOf(g.Advisories))
	}
	return "genuine, neither revoked nor below a floor that is set"
}

func (g Grounds) memory(c Claim) string {
	switch {
	case g.simulated():
		return "a simulator hides nothing"
	case g.Kind == TPM:
		return "isolated from its neighbours, and not hidden from its host"
	case c == NoClaim:
		return anyParavisor
	case c == Contraindicated:
		return "the hardware lets its host read it"
	case g.azure():
		return "hidden from its host by the hardware, and not from the paravisor"
	}
	return "hidden from its host by the hardware"
}
