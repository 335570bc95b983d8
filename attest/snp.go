// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"math/big"

	"github.com/assayd/assay/verdict"
)

// Sizes of an SNP attestation report (AMD 56860, ATTESTATION_REPORT).
const (
	// SNPReportSize is the size of a report in bytes. It is fixed.
	SNPReportSize = 0x4A0
	// snpSignedSize is how many bytes from the start are signed.
	snpSignedSize = 0x2A0
	// snpScalarSize is the room for R and for S, of which P-384 needs 48.
	snpScalarSize = 72
	p384Size      = 48
)

// Values of an SNP report.
const (
	snpMinVersion = 2
	snpMaxVersion = 5
	// snpAlgorithm is ECDSA on P-384 with SHA-384, the only one there is.
	snpAlgorithm = 1
	// snpMaxVMPL is the least privileged VMPL.
	snpMaxVMPL = 3
)

// Bits of an SNP guest policy. AMD 56860, table "Guest Policy". SMT, Migratable, Debug
// and CXL permit something, the others restrict. Bits 0 to 7 and 8 to 15 are the
// minor and major number of the lowest ABI that the guest may run under.
const (
	SNPPolicySMT              uint64 = 1 << 16
	SNPPolicyReserved         uint64 = 1 << 17 // always set
	SNPPolicyMigratable       uint64 = 1 << 18
	SNPPolicyDebug            uint64 = 1 << 19
	SNPPolicySingleSocket     uint64 = 1 << 20
	SNPPolicyCXL              uint64 = 1 << 21
	SNPPolicyAES256XTS        uint64 = 1 << 22
	SNPPolicyRAPLDisabled     uint64 = 1 << 23
	SNPPolicyCiphertextHiding uint64 = 1 << 24
	SNPPolicyNoPageSwap       uint64 = 1 << 25
	snpPolicyUnknown          uint64 = ^uint64(1<<26 - 1)
)

// Bits of PLATFORM_INFO. AMD 56860, ATTESTATION_REPORT.
const (
	SNPPlatformSMT              uint64 = 1 << 0
	SNPPlatformTSME             uint64 = 1 << 1
	SNPPlatformECC              uint64 = 1 << 2
	SNPPlatformRAPLDisabled     uint64 = 1 << 3
	SNPPlatformCiphertextHiding uint64 = 1 << 4
	SNPPlatformAliasCheck       uint64 = 1 << 5 // ALIAS_CHECK_COMPLETE
	SNPPlatformTIO              uint64 = 1 << 7
	snpPlatformUnknown          uint64 = ^uint64(1<<8-1) | 1<<6
)

// Parts of the signer info.
const (
	snpSignerAuthorKey   uint32 = 1 << 0
	snpSignerMaskChipKey uint32 = 1 << 1
	snpSignerKeyShift           = 2
	snpSignerKeyMask     uint32 = 7
	snpSignerUnknown     uint32 = ^uint32(1<<5 - 1)
)

// Signing keys of a report: the chip's own, or that of a provider.
const (
	SNPSignerVCEK = 0
	SNPSignerVLEK = 1
)

// An SNPReport is a parsed attestation report. Nothing about it is checked but its
// form. The fields are those of AMD 56860; TCB versions are the eight bytes as a
// little-endian number, and mean something only together with a product line.
type SNPReport struct {
	Version           uint32
	GuestSVN          uint32
	Policy            uint64
	FamilyID          [16]byte
	ImageID           [16]byte
	VMPL              uint32
	CurrentTCB        uint64
	PlatformInfo      uint64
	SignerInfo        uint32
	ReportData        [64]byte
	Measurement       [48]byte
	HostData          [32]byte
	IDKeyDigest       [48]byte
	AuthorKeyDigest   [48]byte
	ReportID          [32]byte
	ReportIDMA        [32]byte
	ReportedTCB       uint64
	Family            uint8 // zero in version 2, like Model and Stepping
	Model             uint8
	Stepping          uint8
	ChipID            [64]byte
	CommittedTCB      uint64
	CurrentVersion    [3]uint8 // build, minor, major
	CommittedVersion  [3]uint8
	LaunchTCB         uint64
	LaunchMitigation  uint64 // version 5
	CurrentMitigation uint64
	R, S              [p384Size]byte // big-endian
}

// SignedBytes returns the part of r that is signed.
func (r *SNPReport) SignedBytes() []byte { return r.Marshal()[:snpSignedSize] }

// SigningKey returns which kind of key signed, SNPSignerVCEK, SNPSignerVLEK or another.
func (r *SNPReport) SigningKey() int {
	return int(r.SignerInfo >> snpSignerKeyShift & snpSignerKeyMask)
}

// Marshal encodes r in its 1184 bytes. ParseSNPReport gives r back.
func (r *SNPReport) Marshal() []byte {
	b := make([]byte, SNPReportSize)
	le := binary.LittleEndian
	le.PutUint32(b[0x000:], r.Version)
	le.PutUint32(b[0x004:], r.GuestSVN)
	le.PutUint64(b[0x008:], r.Policy)
	copy(b[0x010:], r.FamilyID[:])
	copy(b[0x020:], r.ImageID[:])
	le.PutUint32(b[0x030:], r.VMPL)
	le.PutUint32(b[0x034:], snpAlgorithm)
	le.PutUint64(b[0x038:], r.CurrentTCB)
	le.PutUint64(b[0x040:], r.PlatformInfo)
	le.PutUint32(b[0x048:], r.SignerInfo)
	copy(b[0x050:], r.ReportData[:])
	copy(b[0x090:], r.Measurement[:])
	copy(b[0x0C0:], r.HostData[:])
	copy(b[0x0E0:], r.IDKeyDigest[:])
	copy(b[0x110:], r.AuthorKeyDigest[:])
	copy(b[0x140:], r.ReportID[:])
	copy(b[0x160:], r.ReportIDMA[:])
	le.PutUint64(b[0x180:], r.ReportedTCB)
	b[0x188], b[0x189], b[0x18A] = r.Family, r.Model, r.Stepping
	copy(b[0x1A0:], r.ChipID[:])
	le.PutUint64(b[0x1E0:], r.CommittedTCB)
	copy(b[0x1E8:], r.CurrentVersion[:])
	copy(b[0x1EC:], r.CommittedVersion[:])
	le.PutUint64(b[0x1F0:], r.LaunchTCB)
	le.PutUint64(b[0x1F8:], r.LaunchMitigation)
	le.PutUint64(b[0x200:], r.CurrentMitigation)
	for i := range p384Size {
		b[snpSignedSize+i] = r.R[p384Size-1-i]
		b[snpSignedSize+snpScalarSize+i] = r.S[p384Size-1-i]
	}
	return b
}

// ParseSNPReport decodes a report of version 2 to 5. A wrong length, a reserved
// byte that is not zero and an unknown algorithm are evidence.malformed, another
// version is evidence.unsupported.
func ParseSNPReport(data []byte) (SNPReport, error) {
	if len(data) != SNPReportSize {
		return SNPReport{}, malformed("parsing SNP report: %d bytes, want %d", len(data), SNPReportSize)
	}
	le := binary.LittleEndian
	r := SNPReport{Version: le.Uint32(data)}
	if r.Version < snpMinVersion || r.Version > snpMaxVersion {
		return SNPReport{}, verdict.Fail(verdict.EvidenceUnsupported, "parsing SNP report: version is %d, want %d to %d", r.Version, snpMinVersion, snpMaxVersion)
	}
	if algorithm := le.Uint32(data[0x034:]); algorithm != snpAlgorithm {
		return SNPReport{}, malformed("parsing SNP report: SIGNATURE_ALGO is %d, want %d", algorithm, snpAlgorithm)
	}
	r.GuestSVN = le.Uint32(data[0x004:])
	r.Policy = le.Uint64(data[0x008:])
	copy(r.FamilyID[:], data[0x010:])
	copy(r.ImageID[:], data[0x020:])
	r.VMPL = le.Uint32(data[0x030:])
	r.CurrentTCB = le.Uint64(data[0x038:])
	r.PlatformInfo = le.Uint64(data[0x040:])
	r.SignerInfo = le.Uint32(data[0x048:])
	copy(r.ReportData[:], data[0x050:])
	copy(r.Measurement[:], data[0x090:])
	copy(r.HostData[:], data[0x0C0:])
	copy(r.IDKeyDigest[:], data[0x0E0:])
	copy(r.AuthorKeyDigest[:], data[0x110:])
	copy(r.ReportID[:], data[0x140:])
	copy(r.ReportIDMA[:], data[0x160:])
	r.ReportedTCB = le.Uint64(data[0x180:])
	if r.Version >= 3 {
		r.Family, r.Model, r.Stepping = data[0x188], data[0x189], data[0x18A]
	}
	copy(r.ChipID[:], data[0x1A0:])
	r.CommittedTCB = le.Uint64(data[0x1E0:])
	copy(r.CurrentVersion[:], data[0x1E8:])
	copy(r.CommittedVersion[:], data[0x1EC:])
	r.LaunchTCB = le.Uint64(data[0x1F0:])
	if r.Version >= 5 {
		r.LaunchMitigation = le.Uint64(data[0x1F8:])
		r.CurrentMitigation = le.Uint64(data[0x200:])
	}
	for i := range p384Size {
		r.R[p384Size-1-i] = data[snpSignedSize+i]
		r.S[p384Size-1-i] = data[snpSignedSize+snpScalarSize+i]
	}
	// Whatever no field holds must be zero, the signature's padding included:
	// it is not signed, and a report has one encoding only.
	for i, b := range r.Marshal() {
		if b != data[i] {
			return SNPReport{}, malformed("parsing SNP report: reserved byte at 0x%03x is 0x%02x", i, data[i])
		}
	}
	if r.Policy&SNPPolicyReserved == 0 || r.Policy&snpPolicyUnknown != 0 {
		return SNPReport{}, malformed("parsing SNP report: reserved bits of POLICY 0x%x", r.Policy)
	}
	if r.SignerInfo&snpSignerUnknown != 0 {
		return SNPReport{}, malformed("parsing SNP report: reserved bits of signer info 0x%x", r.SignerInfo)
	}
	if r.VMPL > snpMaxVMPL {
		return SNPReport{}, malformed("parsing SNP report: VMPL is %d, want 0 to %d", r.VMPL, snpMaxVMPL)
	}
	return r, nil
}

// SignedBy tells whether the key of a certificate signed r. It says nothing of the
// certificate: it is for who chooses among certificates to send along.
func (r *SNPReport) SignedBy(certificate *x509.Certificate) bool {
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	return ok && key.Curve == elliptic.P384() && r.verifySignature(key) == nil
}

// verifySignature checks that key signed r.
func (r *SNPReport) verifySignature(key *ecdsa.PublicKey) error {
	digest := sha512.Sum384(r.SignedBytes())
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(r.R[:]), new(big.Int).SetBytes(r.S[:])) {
		return verdict.Refuse(verdict.EvidenceSignature, "verifying SNP report: the signature is not by the certificate's key")
	}
	return nil
}

// A ProductLine is a family of AMD processors that shares an ARK.
type ProductLine string

// The product lines that are known.
const (
	Milan ProductLine = "Milan"
	Genoa ProductLine = "Genoa"
	Turin ProductLine = "Turin"
)

// line returns the product line of the processor that r names. Version 2 names
// none, and has the empty line.
func (r *SNPReport) line() (ProductLine, error) {
	if r.Version < 3 {
		return "", nil
	}
	switch m := r.Model; {
	case r.Family == 0x19 && m <= 0x0F:
		return Milan, nil
	case r.Family == 0x19 && (m >= 0x10 && m <= 0x1F || m >= 0xA0 && m <= 0xAF):
		return Genoa, nil
	case r.Family == 0x1A && m <= 0x11:
		return Turin, nil
	}
	return "", verdict.Fail(verdict.EvidenceUnsupported, "appraising SNP report: unknown processor, family 0x%02x model 0x%02x", r.Family, r.Model)
}

// A TCB has the security version numbers of a platform. Each is compared with its
// own floor: as one number, a new microcode would hide an old bootloader.
type TCB struct {
	// FMC exists on Turin only, and is zero elsewhere.
	FMC        uint8
	Bootloader uint8
	TEE        uint8
	SNP        uint8
	Microcode  uint8
}

// parseTCB splits a TCB_VERSION of line into its numbers.
func parseTCB(field string, line ProductLine, version uint64) (TCB, error) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], version)
	t := TCB{Bootloader: b[0], TEE: b[1], SNP: b[6], Microcode: b[7]}
	if line == Turin {
		t = TCB{FMC: b[0], Bootloader: b[1], TEE: b[2], SNP: b[3], Microcode: b[7]}
	}
	if t.Version(line) != version {
		return TCB{}, malformed("parsing SNP report: reserved byte in %s 0x%016x", field, version)
	}
	return t, nil
}

// Version encodes t as a TCB_VERSION of line.
func (t TCB) Version(line ProductLine) uint64 {
	b := [8]byte{0: t.Bootloader, 1: t.TEE, 6: t.SNP, 7: t.Microcode}
	if line == Turin {
		b = [8]byte{0: t.FMC, 1: t.Bootloader, 2: t.TEE, 3: t.SNP, 7: t.Microcode}
	}
	return binary.LittleEndian.Uint64(b[:])
}

// atLeast refuses with code a TCB that is below floor in any component.
func (t TCB) atLeast(code verdict.Code, field string, floor TCB) error {
	for _, c := range []struct {
		name      string
		got, want uint8
	}{
		{"fmc", t.FMC, floor.FMC},
		{"bootloader", t.Bootloader, floor.Bootloader},
		{"tee", t.TEE, floor.TEE},
		{"snp", t.SNP, floor.SNP},
		{"microcode", t.Microcode, floor.Microcode},
	} {
		if c.got < c.want {
			return verdict.Refuse(code, "appraising SNP report: %s %s is %d, want at least %d", field, c.name, c.got, c.want)
		}
	}
	return nil
}

// Sign signs r with a P-384 key by crypto/rand, as a simulator and the builders of
// tests need it.
func (r *SNPReport) Sign(key *ecdsa.PrivateKey) error {
	if key.Curve != elliptic.P384() {
		return verdict.Misused("", "signing SNP report: curve is %s, want P-384", key.Curve.Params().Name)
	}
	digest := sha512.Sum384(r.SignedBytes())
	x, y, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return err
	}
	x.FillBytes(r.R[:])
	y.FillBytes(r.S[:])
	return nil
}
