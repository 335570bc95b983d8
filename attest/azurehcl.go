// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"strings"

	"github.com/assayd/assay/verdict"
)

// Sizes of an HCL report, in bytes (Azure, guest attestation of confidential VMs;
// NV index 0x01400001 of the paravisor's TPM).
const (
	// MaxHCLReportSize is the largest report, with the zeros that fill the NV index.
	// Genuine ones have 2048 and 2600 bytes.
	MaxHCLReportSize  = 16 << 10
	hclHeaderSize     = 32
	hclHardwareSize   = SNPReportSize // room for the hardware's report
	hclDataHeaderSize = 20
	hclMinimumSize    = hclHeaderSize + hclHardwareSize + hclDataHeaderSize
	tdReportSize      = 1024
	hclUserDataSize   = 64
)

// Values of an HCL report.
const (
	hclSignature   = "HCLA"
	hclRequest     = 2 // the report that is in the NV index
	hclDataVersion = 1
	hclMaxKeys     = 16
	tdReportType   = 0x81 // REPORTTYPE.TYPE of a TD
	azureAKName    = "HCLAkPub"
	azureEKName    = "HCLEkPub"
	azureExponent  = 65537
	maxRSABits     = 4096
)

// An HCLType says which hardware made the report in an HCL report.
type HCLType uint32

// The types that are appraised.
const (
	HCLSNP HCLType = 2
	HCLTDX HCLType = 4
)

// hclHashes are the hashes over the data, by their numbers.
var hclHashes = map[uint32]crypto.Hash{1: crypto.SHA256, 2: crypto.SHA384, 3: crypto.SHA512}

// An HCLReport is a parsed report of Azure's paravisor, the HCL: a report of the
// hardware, and the data that the hardware's report has the digest of. Nothing about
// it is checked but its form.
type HCLReport struct {
	// Version is that of the frame: 1 or 2.
	Version uint32
	Type    HCLType
	// Hash is the hash of Data in the hardware's report.
	Hash crypto.Hash
	// Hardware is an SNP report (SNPReportSize bytes) or a TDREPORT (1024 bytes).
	Hardware []byte
	// Data is the JSON as it lies: it is not canonical, and its bytes are hashed.
	Data []byte
}

// ParseHCLReport decodes a report. Lengths that do not fit one another, reserved
// bytes and bytes behind it that are not zero, and another status or request are
// evidence.malformed; more than MaxHCLReportSize bytes evidence.limit; another
// version, type of hardware or hash is evidence.unsupported.
func ParseHCLReport(data []byte) (HCLReport, error) {
	if len(data) > MaxHCLReportSize {
		return HCLReport{}, verdict.Refuse(verdict.EvidenceLimit, "parsing HCL report: %d bytes, want at most %d", len(data), MaxHCLReportSize)
	}
	if len(data) < hclMinimumSize {
		return HCLReport{}, malformed("parsing HCL report: %d bytes, want at least %d", len(data), hclMinimumSize)
	}
	le := binary.LittleEndian
	header, rest := data[:hclHeaderSize], data[hclHeaderSize:]
	hardware, rest := rest[:hclHardwareSize:hclHardwareSize], rest[hclHardwareSize:]
	dataHeader, rest := rest[:hclDataHeaderSize], rest[hclDataHeaderSize:]
	if !bytes.HasPrefix(header, []byte(hclSignature)) {
		return HCLReport{}, malformed("parsing HCL report: it does not begin with %s", hclSignature)
	}
	r := HCLReport{Version: le.Uint32(header[4:]), Type: HCLType(le.Uint32(dataHeader[8:]))}
	if version := le.Uint32(dataHeader[4:]); r.Version < 1 || r.Version > 2 || version != hclDataVersion {
		return HCLReport{}, verdict.Fail(verdict.EvidenceUnsupported, "parsing HCL report: version is %d with data of version %d, want 1 or 2 with %d", r.Version, version, hclDataVersion)
	}
	if request, status := le.Uint32(header[12:]), le.Uint32(header[16:]); request != hclRequest || status != 0 {
		return HCLReport{}, malformed("parsing HCL report: request %d with status %d, want %d with 0", request, status, hclRequest)
	}
	if !zeros(header[20:]) {
		return HCLReport{}, malformed("parsing HCL report: reserved bytes of its header are not zero")
	}
	// One length is enough; the others have to agree with it.
	size := le.Uint32(dataHeader[16:])
	if size == 0 || size > uint32(len(rest)) { //nolint:gosec // G115: at most MaxHCLReportSize
		return HCLReport{}, malformed("parsing HCL report: %d bytes of data, of which %d are there", size, len(rest))
	}
	if all, some := le.Uint32(header[8:]), le.Uint32(dataHeader); all != hclMinimumSize+size || some != hclDataHeaderSize+size {
		return HCLReport{}, malformed("parsing HCL report: sizes %d and %d, want %d and %d for %d bytes of data", all, some, hclMinimumSize+size, hclDataHeaderSize+size, size)
	}
	if !zeros(rest[size:]) {
		return HCLReport{}, malformed("parsing HCL report: bytes behind it are not zero")
	}
	var ok bool
	if r.Hash, ok = hclHashes[le.Uint32(dataHeader[12:])]; !ok {
		return HCLReport{}, verdict.Fail(verdict.EvidenceUnsupported, "parsing HCL report: hash type is %d, want 1 to %d", le.Uint32(dataHeader[12:]), len(hclHashes))
	}
	switch r.Type {
	case HCLSNP:
		r.Hardware = hardware
	case HCLTDX:
		if r.Hardware = hardware[:tdReportSize:tdReportSize]; !zeros(hardware[tdReportSize:]) || le.Uint32(hardware)&0xffff != tdReportType {
			return HCLReport{}, malformed("parsing HCL report: what it has is no TDREPORT of %d bytes", tdReportSize)
		}
	default:
		return HCLReport{}, verdict.Fail(verdict.EvidenceUnsupported, "parsing HCL report: report type is %d, want %d (SNP) or %d (TDX)", r.Type, HCLSNP, HCLTDX)
	}
	r.Data = rest[:size:size]
	return r, nil
}

// Marshal encodes r without zeros behind it. ParseHCLReport gives r back.
func (r *HCLReport) Marshal() []byte {
	le := binary.LittleEndian
	size := uint32(len(r.Data)) //nolint:gosec // G115: at most MaxHCLReportSize when it was parsed
	b := le.AppendUint32([]byte(hclSignature), r.Version)
	b = le.AppendUint32(b, hclMinimumSize+size)
	b = le.AppendUint32(b, hclRequest)
	b = append(b, make([]byte, hclHeaderSize-len(b))...)
	b = append(b, r.Hardware...)
	b = append(b, make([]byte, hclHeaderSize+hclHardwareSize-len(b))...)
	b = le.AppendUint32(b, hclDataHeaderSize+size)
	b = le.AppendUint32(b, hclDataVersion)
	b = le.AppendUint32(b, uint32(r.Type))
	for number, hash := range hclHashes {
		if hash == r.Hash {
			b = le.AppendUint32(b, number)
		}
	}
	return append(le.AppendUint32(b, size), r.Data...)
}

// ReportData returns what the hardware's report carries where it is about r.Data:
// the digest, and zeros up to 64 bytes.
func (r *HCLReport) ReportData() (out [64]byte) {
	h := r.Hash.New()
	h.Write(r.Data)
	copy(out[:], h.Sum(nil))
	return out
}

func zeros(data []byte) bool { return len(bytes.Trim(data, "\x00")) == 0 }

// HCLData is what the paravisor says in the data of its report.
type HCLData struct {
	// AK and EK are the attestation key and the endorsement key of the paravisor's
	// TPM, RSA of 2048 to 4096 bits. EK is nil in reports of 2023.
	AK, EK *rsa.PublicKey
	// SecureBoot and TPM are switched on.
	SecureBoot, TPM bool
	// VMID is the machine's vmUniqueId, a GUID as it is written there.
	VMID string
	// UserData are 64 bytes that anyone with root in the guest wrote, into NV index
	// 0x01400002, before the report was made. It is nil in reports of 2023.
	UserData []byte
}

func badHCLData(format string, args ...any) error {
	return malformed("parsing HCL data: "+format, args...)
}

// ParseHCLData decodes the JSON of a report. Names have their exact letters, and are
// not there twice; the outermost object has keys, vm-configuration and user-data
// alone, where in objects below it Azure may add members. What has another form is
// evidence.malformed, a weak key tpm.ak.
func ParseHCLData(data []byte) (HCLData, error) {
	if len(data) > MaxHCLReportSize {
		return HCLData{}, verdict.Refuse(verdict.EvidenceLimit, "parsing HCL data: %d bytes, want at most %d", len(data), MaxHCLReportSize)
	}
	if err := oneReading(data); err != nil {
		return HCLData{}, badHCLData("%w", err)
	}
	var top hclObject
	if err := json.Unmarshal(data, &top); err != nil {
		return HCLData{}, badHCLData("it is no object")
	}
	for name := range top {
		if name != "keys" && name != "vm-configuration" && name != "user-data" {
			return HCLData{}, badHCLData("unknown member %s", quoteShort(name))
		}
	}
	var d HCLData
	if err := d.readKeys(top); err != nil {
		return HCLData{}, err
	}
	var vm hclObject
	if err := top.member("vm-configuration", &vm); err != nil {
		return HCLData{}, err
	}
	for name, into := range map[string]any{"secure-boot": &d.SecureBoot, "tpm-enabled": &d.TPM, "vmUniqueId": &d.VMID} {
		if err := vm.member(name, into); err != nil {
			return HCLData{}, err
		}
	}
	if !isGUID(d.VMID) {
		return HCLData{}, badHCLData("vmUniqueId %s is no GUID", quoteShort(d.VMID))
	}
	if _, ok := top["user-data"]; !ok {
		return d, nil
	}
	var text string
	if err := top.member("user-data", &text); err != nil {
		return HCLData{}, err
	}
	var err error
	if d.UserData, err = hex.DecodeString(text); err != nil || len(d.UserData) != hclUserDataSize {
		return HCLData{}, badHCLData("user-data is not %d bytes in hex", hclUserDataSize)
	}
	return d, nil
}

// An hclObject is a JSON object by its exact names: a struct of encoding/json would
// take them in any letters, and null for nothing.
type hclObject map[string]json.RawMessage

// member decodes a member that has to be there.
func (o hclObject) member(name string, into any) error {
	raw, ok := o[name]
	if !ok {
		return badHCLData("member %s is missing", name)
	}
	if err := json.Unmarshal(raw, into); err != nil || string(raw) == "null" {
		return badHCLData("member %s has another form", name)
	}
	return nil
}

// readKeys reads the keys, which are JSON Web Keys (RFC 7517). Those of other names
// are passed over. So is key_ops: in 2023 it said encrypt of the attestation key.
func (d *HCLData) readKeys(top hclObject) error {
	var list []hclObject
	if err := top.member("keys", &list); err != nil {
		return err
	}
	if len(list) > hclMaxKeys {
		return badHCLData("%d keys, want at most %d", len(list), hclMaxKeys)
	}
	seen := map[string]bool{}
	for _, key := range list {
		var name string
		if err := key.member("kid", &name); err != nil {
			return err
		}
		if seen[name] {
			return badHCLData("key %s is there twice", quoteShort(name))
		}
		seen[name] = true
		var err error
		switch name {
		case azureAKName:
			d.AK, err = key.rsa(name)
		case azureEKName:
			d.EK, err = key.rsa(name)
		}
		if err != nil {
			return err
		}
	}
	if d.AK == nil {
		return badHCLData("there is no key %s", azureAKName)
	}
	return nil
}

// rsa reads an RSA key (RFC 7518 §6.3.1), whose integers have one encoding.
func (o hclObject) rsa(name string) (*rsa.PublicKey, error) {
	var kind, n, e string
	for member, into := range map[string]any{"kty": &kind, "n": &n, "e": &e} {
		if err := o.member(member, into); err != nil {
			return nil, err
		}
	}
	if kind != "RSA" {
		return nil, badHCLData("key %s is of type %s, want RSA", name, quoteShort(kind))
	}
	modulus, err := base64.RawURLEncoding.Strict().DecodeString(n)
	if err != nil || base64.RawURLEncoding.EncodeToString(modulus) != n || len(modulus) == 0 || modulus[0] == 0 {
		return nil, badHCLData("the modulus of %s is no integer in base64url", name)
	}
	exponent := base64.RawURLEncoding.EncodeToString(big.NewInt(azureExponent).Bytes())
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: azureExponent}
	if bits := key.N.BitLen(); bits < minQuoteRSABits || bits > maxRSABits || key.N.Bit(0) == 0 || e != exponent {
		return nil, verdict.Refuse(verdict.TPMAK, "parsing HCL data: key %s has %d bits and exponent %s, want %d to %d and %s", name, bits, quoteShort(e), minQuoteRSABits, maxRSABits, exponent)
	}
	return key, nil
}

// isGUID tells whether s is 8-4-4-4-12 hexadecimal digits.
func isGUID(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) != 5 {
		return false
	}
	for i, want := range []int{4, 2, 2, 2, 6} {
		if b, err := hex.DecodeString(parts[i]); err != nil || len(b) != want {
			return false
		}
	}
	return true
}
