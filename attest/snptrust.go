// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"slices"

	"github.com/assayd/assay/verdict"
)

// SNPTrust is what is demanded of SNP evidence besides roots, floor and the
// relaxations of Trust that other kinds share. The zero value takes reports signed by
// a VCEK from platforms with ECC memory whose alias check is complete and whose
// firmware is committed, and guests with HOST_DATA of zeros; for kind SNP it still
// wants Chips or AllowAnyChip.
type SNPTrust struct {
	// Signers are the kinds of keys that may sign; none means SNPVCEK alone.
	Signers []SNPSigner
	// CSPIDs are the providers whose VLEKs are accepted, as their certificates name
	// them. Where SNPVLEK may sign, it wants one, or AllowAnyCSP.
	CSPIDs []string
	// Chips are the accepted chips by CHIP_ID; on Turin 8 bytes and zeros. A chip
	// whose ID is masked is none of them.
	Chips [][64]byte
	// MinTCBOf are floors of single product lines, besides MinTCB: the numbers of one
	// line say nothing about another.
	MinTCBOf map[ProductLine]TCB
	// MinFirmware is the lowest version of the firmware that is accepted as current
	// and as committed.
	MinFirmware SNPFirmware
	// RequirePlatform are bits of PLATFORM_INFO that must be set besides
	// SNPPlatformECC and SNPPlatformAliasCheck.
	RequirePlatform uint64
	// RequireLaunchMitigations and RequireCurrentMitigations are bits of the two
	// mitigation vectors that must be set. Reports before version 5 have none.
	RequireLaunchMitigations, RequireCurrentMitigations uint64
	// MinABI is the lowest ABI that the guest's policy may be content with.
	MinABI SNPABI
	// RequirePolicy are the restrictions that the guest's policy must have. What it
	// may permit is said by the Allow fields.
	RequirePolicy uint64
	// IDKeys and AuthorKeys are digests of keys (SHA-384, as the firmware makes
	// them): where there are some, the ID block must be by one of them.
	IDKeys, AuthorKeys [][48]byte
	// FamilyID, ImageID and MinGuestSVN are demanded of the ID block, and want
	// IDKeys or AuthorKeys: an ID block by anyone says what anyone likes.
	FamilyID, ImageID *[16]byte
	MinGuestSVN       uint32
	// HostData are the accepted values of HOST_DATA; none means zeros. With
	// HostDataIsConfig it is instead the digest of the configuration that the issuer
	// statement names.
	HostData         [][32]byte
	HostDataIsConfig bool

	// AllowAnyCSP accepts VLEKs of every provider.
	AllowAnyCSP bool
	// AllowAnyChip accepts every chip that AMD made.
	AllowAnyChip bool
	// AllowProvisionalFirmware accepts firmware that the host may still roll back.
	AllowProvisionalFirmware bool
	// AllowNoECC accepts memory without error correction.
	AllowNoECC bool
	// AllowNoAliasCheck accepts a platform that did not check its memory for aliases
	// (BadRAM, CVE-2024-21944).
	AllowNoAliasCheck bool
	// AllowTIO accepts a platform with trusted I/O.
	AllowTIO bool
	// AllowCXL accepts a guest whose memory may be behind CXL.
	AllowCXL bool
}

// SNPFirmware is a version of SNP firmware. Build counts within major.minor. The zero
// value is no floor.
type SNPFirmware struct {
	Major, Minor, Build uint8
}

// firmware reads the version of a report.
func firmware(b [3]uint8) SNPFirmware { return SNPFirmware{Major: b[2], Minor: b[1], Build: b[0]} }

// compare orders versions: major before minor before build.
func (v SNPFirmware) compare(w SNPFirmware) int {
	return slices.Compare([]uint8{v.Major, v.Minor, v.Build}, []uint8{w.Major, w.Minor, w.Build})
}

// SNPABI is a version of the ABI between guest and firmware. The zero value is no
// floor.
type SNPABI struct {
	Major, Minor uint8
}

// Bits that can be demanded.
const (
	snpPlatformProtections = SNPPlatformTSME | SNPPlatformECC | SNPPlatformRAPLDisabled | SNPPlatformCiphertextHiding | SNPPlatformAliasCheck
	snpPolicyRestrictions  = SNPPolicySingleSocket | SNPPolicyAES256XTS | SNPPolicyRAPLDisabled | SNPPolicyCiphertextHiding | SNPPolicyNoPageSwap
)

// signers returns the kinds of keys that may sign.
func (s *SNPTrust) signers() []SNPSigner {
	if len(s.Signers) == 0 {
		return []SNPSigner{SNPVCEK}
	}
	return s.Signers
}

// Check refuses demands on evidence of kind, SNP or SimulatedSNP, that could not mean
// what they say beside these roots. The error is a *verdict.Misuse.
func (s *SNPTrust) Check(kind Kind, roots []SNPRoot) error {
	for _, wrong := range []string{s.checkSigners(), s.checkChips(kind), s.checkGuest()} {
		if wrong != "" {
			return verdict.Misused("", "%s", wrong)
		}
	}
	for line := range s.MinTCBOf {
		if kind == SNP && !slices.ContainsFunc(roots, func(r SNPRoot) bool { return r.Line == line }) {
			return verdict.Misused("", "a lowest TCB is set for %s, of which no root is trusted", quoteShort(string(line)))
		}
	}
	return nil
}

// checkSigners says what is wrong about keys and providers, or nothing.
func (s *SNPTrust) checkSigners() string {
	vlek := slices.Contains(s.Signers, SNPVLEK)
	switch {
	case slices.ContainsFunc(s.Signers, func(k SNPSigner) bool { return k != SNPVCEK && k != SNPVLEK }):
		return "unknown signer, want vcek or vlek"
	case vlek && len(s.CSPIDs) == 0 && !s.AllowAnyCSP:
		return "VLEKs are accepted, and of no provider: name CSP_IDs, or allow any"
	case !vlek && (len(s.CSPIDs) > 0 || s.AllowAnyCSP):
		return "CSP_IDs are named or allowed, and no VLEK is accepted"
	case len(s.CSPIDs) > 0 && s.AllowAnyCSP:
		return "CSP_IDs are named, and any is allowed"
	case slices.Contains(s.CSPIDs, ""):
		return "a CSP_ID is empty"
	}
	return ""
}

// checkChips does so about chips and platforms.
func (s *SNPTrust) checkChips(kind Kind) string {
	switch {
	case kind == SNP && len(s.Chips) == 0 && !s.AllowAnyChip:
		return "no chip is accepted: name chips, or allow any"
	case len(s.Chips) > 0 && s.AllowAnyChip:
		return "chips are named, and any is allowed"
	case slices.Contains(s.Chips, [64]byte{}):
		return "a chip of zeros is named, which is every chip whose ID is masked"
	case s.RequirePlatform&^snpPlatformProtections != 0:
		return "a bit of PLATFORM_INFO is demanded that protects nothing"
	}
	return ""
}

// checkGuest does so about the guest.
func (s *SNPTrust) checkGuest() string {
	switch {
	case s.RequirePolicy&^snpPolicyRestrictions != 0:
		return "a bit of the guest policy is demanded that restricts nothing"
	case slices.Contains(s.IDKeys, [48]byte{}) || slices.Contains(s.AuthorKeys, [48]byte{}):
		return "the digest of an ID or author key is zero, which is no key"
	case len(s.IDKeys)+len(s.AuthorKeys) == 0 && (s.FamilyID != nil || s.ImageID != nil || s.MinGuestSVN > 0):
		return "an ID block is demanded, and no key of one is trusted"
	case len(s.HostData) > 0 && s.HostDataIsConfig:
		return "HOST_DATA is demanded to be the configuration's digest, and values are named"
	}
	return ""
}

// floors are the lowest TCBs that hold for evidence of a line.
func (in *evidenceInput) floors(line ProductLine) []TCB {
	floors := []TCB{in.trust.MinTCB, in.trust.SNP.MinTCBOf[line]}
	if f := in.expected.Floors.SNP; f != nil {
		floors = append(floors, TCB{Bootloader: f.Bootloader, TEE: f.TEE, SNP: f.SNP, Microcode: f.Microcode})
	}
	return floors
}

// hasFloor tells whether each line that is accepted has a floor of its own. A floor
// of zeros is no floor.
func (s *SNPTrust) hasFloor(roots []SNPRoot) bool {
	return !slices.ContainsFunc(roots, func(r SNPRoot) bool { return s.MinTCBOf[r.Line] == TCB{} })
}

// hostData returns the accepted values of HOST_DATA. Where they are the configuration's
// digest there is a statement: Trust.checkBare was asked before there was evidence.
func (s *SNPTrust) hostData(statement *verdict.Statement) ([][32]byte, error) {
	if !s.HostDataIsConfig {
		if len(s.HostData) == 0 {
			return make([][32]byte, 1), nil
		}
		return s.HostData, nil
	}
	digest, ok := statement.Config.Bytes()
	if !ok {
		return nil, verdict.Refuse(verdict.GuestConfig, "appraising SNP report: HOST_DATA cannot be config %s, which is no SHA-256", statement.Config)
	}
	return [][32]byte{digest}, nil
}
