// SPDX-License-Identifier: Apache-2.0

package attest

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
