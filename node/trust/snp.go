// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// SNP is what is demanded of SNP evidence besides products, floor and the relaxations
// in TEE (attest.SNPTrust). The zero value takes reports signed by a VCEK, from
// committed firmware on platforms with ECC whose memory was checked for aliases, and
// guests with HOST_DATA of zeros. Kind snp still wants Chips or AllowAnyChip. Values
// are in lower-case hex, as tools print them.
type SNP struct {
	// Signers are vcek (the default) and vlek.
	Signers []string `yaml:"signers,omitempty"`
	// CSPIDs are the providers whose VLEKs are accepted, as their certificates name
	// them: CN=cc-us-east-2.amazonaws.com.
	CSPIDs []string `yaml:"csp-ids,omitempty"`
	// Chips are the accepted chips: CHIP_ID of 64 bytes, on Turin 8 are enough.
	Chips []string `yaml:"chips,omitempty"`
	// MinTCBOf are floors by product line, besides min-tcb, which holds for all.
	MinTCBOf map[string]TCB `yaml:"min-tcb-of,omitempty"`
	// MinFirmware is the lowest version of the firmware, major.minor.build, current
	// and committed.
	MinFirmware string `yaml:"min-firmware,omitempty"`
	// RequirePlatform are protections that PLATFORM_INFO must have: tsme,
	// rapl-disabled, ciphertext-hiding. ECC and the alias check are demanded anyway.
	RequirePlatform []string `yaml:"require-platform,omitempty"`
	// RequireLaunchMitigations and RequireCurrentMitigations are numbers of bits, 0
	// to 63, of the mitigation vectors. Reports before version 5 have none.
	RequireLaunchMitigations  []uint32 `yaml:"require-launch-mitigations,omitempty"`
	RequireCurrentMitigations []uint32 `yaml:"require-current-mitigations,omitempty"`
	// MinABI is the lowest ABI, major.minor, that the guest policy may name.
	MinABI string `yaml:"min-abi,omitempty"`
	// RequirePolicy are restrictions that the guest policy must have: single-socket,
	// aes-256-xts, rapl-disabled, ciphertext-hiding, no-page-swap.
	RequirePolicy []string `yaml:"require-policy,omitempty"`
	// IDKeys and AuthorKeys are digests of the keys, 48 bytes, by which the ID block
	// has to be. FamilyID and ImageID, 16 bytes, and MinGuestSVN are demanded of it.
	IDKeys      []string `yaml:"id-keys,omitempty"`
	AuthorKeys  []string `yaml:"author-keys,omitempty"`
	FamilyID    string   `yaml:"family-id,omitempty"`
	ImageID     string   `yaml:"image-id,omitempty"`
	MinGuestSVN uint32   `yaml:"min-guest-svn,omitempty"`
	// HostData are the accepted values of HOST_DATA, 32 bytes. With HostDataIsConfig
	// it is the digest of the daemon's configuration.
	HostData         []string `yaml:"host-data,omitempty"`
	HostDataIsConfig bool     `yaml:"host-data-is-config,omitempty"`

	// The relaxations of attest.SNPTrust.
	AllowAnyCSP              bool `yaml:"allow-any-csp,omitempty"`
	AllowAnyChip             bool `yaml:"allow-any-chip,omitempty"`
	AllowProvisionalFirmware bool `yaml:"allow-provisional-firmware,omitempty"`
	AllowNoECC               bool `yaml:"allow-no-ecc,omitempty"`
	AllowNoAliasCheck        bool `yaml:"allow-no-alias-check,omitempty"`
	AllowTIO                 bool `yaml:"allow-tio,omitempty"`
	AllowCXL                 bool `yaml:"allow-cxl,omitempty"`
}

// Names of bits.
var (
	platformBits = map[string]uint64{
		"tsme": attest.SNPPlatformTSME, "rapl-disabled": attest.SNPPlatformRAPLDisabled, "ciphertext-hiding": attest.SNPPlatformCiphertextHiding,
	}
	policyBits = map[string]uint64{
		"single-socket": attest.SNPPolicySingleSocket, "aes-256-xts": attest.SNPPolicyAES256XTS, "rapl-disabled": attest.SNPPolicyRAPLDisabled,
		"ciphertext-hiding": attest.SNPPolicyCiphertextHiding, "no-page-swap": attest.SNPPolicyNoPageSwap,
	}
)

// check returns the key of what is wrong beside the kinds and roots of t, and what.
func (s SNP) check(t attest.Trust) (string, error) {
	for _, kind := range t.Kinds {
		switch kind {
		case attest.SNP, attest.AzureSNP, attest.SVSM:
			return "tee.snp", t.SNP.Check(attest.SNP, t.SNPRoots)
		case attest.SimulatedSNP:
			return "tee.snp", t.SNP.Check(kind, t.SNPRoots)
		default:
		}
	}
	if !reflect.DeepEqual(s, SNP{}) {
		return "tee.snp", errors.New("given, and none of the kinds snp, snp-svsm, azure-snp and sim-snp is accepted")
	}
	return "", nil
}

func (s SNP) trust() (attest.SNPTrust, error) {
	out := attest.SNPTrust{
		CSPIDs: s.CSPIDs, MinGuestSVN: s.MinGuestSVN, HostDataIsConfig: s.HostDataIsConfig,
		AllowAnyCSP: s.AllowAnyCSP, AllowAnyChip: s.AllowAnyChip, AllowProvisionalFirmware: s.AllowProvisionalFirmware,
		AllowNoECC: s.AllowNoECC, AllowNoAliasCheck: s.AllowNoAliasCheck, AllowTIO: s.AllowTIO, AllowCXL: s.AllowCXL,
	}
	for _, signer := range s.Signers {
		out.Signers = append(out.Signers, attest.SNPSigner(signer))
	}
	for line, tcb := range s.MinTCBOf {
		if out.MinTCBOf == nil {
			out.MinTCBOf = map[attest.ProductLine]attest.TCB{}
		}
		out.MinTCBOf[attest.ProductLine(line)] = attest.TCB(tcb)
	}
	for _, err := range []error{
		s.values(&out),
		version("snp.min-firmware", s.MinFirmware, &out.MinFirmware.Major, &out.MinFirmware.Minor, &out.MinFirmware.Build),
		version("snp.min-abi", s.MinABI, &out.MinABI.Major, &out.MinABI.Minor),
		named("snp.require-platform", s.RequirePlatform, platformBits, &out.RequirePlatform),
		named("snp.require-policy", s.RequirePolicy, policyBits, &out.RequirePolicy),
		numbered("snp.require-launch-mitigations", s.RequireLaunchMitigations, &out.RequireLaunchMitigations),
		numbered("snp.require-current-mitigations", s.RequireCurrentMitigations, &out.RequireCurrentMitigations),
	} {
		if err != nil {
			return attest.SNPTrust{}, err
		}
	}
	return out, nil
}

// values reads what is in hex.
func (s SNP) values(out *attest.SNPTrust) error {
	for _, text := range s.Chips {
		var chip [64]byte
		into := chip[:]
		// Turin has 8 bytes, and zeros behind.
		if len(text) == hex.EncodedLen(8) {
			into = chip[:8]
		}
		if err := unhex("snp.chips", text, into); err != nil {
			return err
		}
		out.Chips = append(out.Chips, chip)
	}
	for _, text := range s.HostData {
		var value [32]byte
		if err := unhex("snp.host-data", text, value[:]); err != nil {
			return err
		}
		out.HostData = append(out.HostData, value)
	}
	for _, list := range []struct {
		key   string
		texts []string
		into  *[][48]byte
	}{{"snp.id-keys", s.IDKeys, &out.IDKeys}, {"snp.author-keys", s.AuthorKeys, &out.AuthorKeys}} {
		for _, text := range list.texts {
			var digest [48]byte
			if err := unhex(list.key, text, digest[:]); err != nil {
				return err
			}
			*list.into = append(*list.into, digest)
		}
	}
	for _, id := range []struct {
		key, text string
		into      **[16]byte
	}{{"snp.family-id", s.FamilyID, &out.FamilyID}, {"snp.image-id", s.ImageID, &out.ImageID}} {
		if id.text == "" {
			continue
		}
		*id.into = new([16]byte)
		if err := unhex(id.key, id.text, (*id.into)[:]); err != nil {
			return err
		}
	}
	return nil
}

// unhex reads bytes in hex.
func unhex(key, text string, into []byte) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(into) {
		return verdict.Misused("", "%s: got %.64q, want %d bytes in hex", key, text, len(into))
	}
	copy(into, b)
	return nil
}

// version reads numbers of a byte with dots between them.
func version(key, text string, into ...*uint8) error {
	if text == "" {
		return nil
	}
	parts := strings.Split(text, ".")
	if len(parts) != len(into) {
		return verdict.Misused("", "%s: got %.32q, want %d numbers with dots between them", key, text, len(into))
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return verdict.Misused("", "%s: got %.32q, want numbers up to 255", key, text)
		}
		*into[i] = uint8(n)
	}
	return nil
}

// named sets the bits that names name.
func named(key string, names []string, bits map[string]uint64, into *uint64) error {
	for _, name := range names {
		bit, ok := bits[name]
		if !ok {
			return verdict.Misused("", "%s: there is no %.32q", key, name)
		}
		*into |= bit
	}
	return nil
}

// numbered sets the bits of these numbers.
func numbered(key string, numbers []uint32, into *uint64) error {
	for _, n := range numbers {
		if n > 63 {
			return verdict.Misused("", "%s: got %d, want a number up to 63", key, n)
		}
		*into |= 1 << n
	}
	return nil
}
