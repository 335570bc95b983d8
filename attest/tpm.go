// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"math/big"
	"math/bits"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/verdict"
)

// Sizes of a TPM's structures, in bytes.
const (
	maxTPMSAttest   = 1 << 10
	maxTPMTPublic   = 2 << 10
	maxTPMSignature = 2 << 10
	// pcrBitmapSize is the size of a selection: PCR 0 to 23.
	pcrBitmapSize = 3
	// pcrCount is how many PCRs a selection can name.
	pcrCount = 8 * pcrBitmapSize
	// minQuoteRSABits is the shortest RSA attestation key.
	minQuoteRSABits = 2048
)

// Tags of a TPMS_ATTEST (TPM 2.0 Part 2, TPM_GENERATED and TPM_ST).
const (
	tpmGenerated   = 0xFF544347
	tpmAttestQuote = 0x8018
)

// A Quote is a parsed TPMS_ATTEST of type quote. Nothing about it is checked but
// its form.
type Quote struct {
	// Signer is the qualified name of the key that signed.
	Signer []byte
	// ExtraData is what the asker gave.
	ExtraData []byte
	// Clock is the TPM's time in milliseconds. It does not go back while the TPM
	// keeps its state.
	Clock uint64
	// ResetCount counts TPM resets, RestartCount restarts and resumes since.
	ResetCount, RestartCount uint32
	// Safe says that Clock was not set back by a power loss.
	Safe bool
	// Firmware is the vendor's version number.
	Firmware uint64
	// Banks are the selections in their order.
	Banks []PCRBank
	// PCRDigest is the hash over the values of the selected PCRs.
	PCRDigest []byte
}

// A PCRBank selects PCRs of one bank.
type PCRBank struct {
	// Hash is the TPM_ALG_ID of the bank.
	Hash uint16
	// Bitmap has bit n%8 of byte n/8 set when PCR n is selected.
	Bitmap []byte
}

// maxBanks is how many banks a selection may list.
const maxBanks = 8

// ParseQuote decodes a TPMS_ATTEST. One that no TPM made, or that is no quote, is
// tpm.magic; anything else that does not parse to its last byte is
// evidence.malformed.
func ParseQuote(data []byte) (Quote, error) {
	if len(data) > maxTPMSAttest {
		return Quote{}, verdict.Refuse(verdict.EvidenceLimit, "parsing quote: %d bytes, want at most %d", len(data), maxTPMSAttest)
	}
	r := &tpmReader{rest: data}
	if magic := r.uint32(); r.ok() && magic != tpmGenerated {
		return Quote{}, verdict.Refuse(verdict.TPMMagic, "parsing quote: magic is 0x%08x, want 0x%08x", magic, uint32(tpmGenerated))
	}
	if tag := r.uint16(); r.ok() && tag != tpmAttestQuote {
		return Quote{}, verdict.Refuse(verdict.TPMMagic, "parsing quote: type is 0x%04x, want 0x%04x", tag, tpmAttestQuote)
	}
	q := Quote{
		Signer: r.sized(), ExtraData: r.sized(), Clock: r.uint64(),
		ResetCount: r.uint32(), RestartCount: r.uint32(), Safe: r.bool(), Firmware: r.uint64(),
	}
	banks := r.uint32()
	if banks > maxBanks {
		return Quote{}, malformed("parsing quote: %d banks, want at most %d", banks, maxBanks)
	}
	for range banks {
		q.Banks = append(q.Banks, PCRBank{Hash: r.uint16(), Bitmap: r.take(int(r.uint8()))})
	}
	q.PCRDigest = r.sized()
	if !r.ok() || len(r.rest) != 0 {
		return Quote{}, malformed("parsing quote: %d bytes do not end where its fields do", len(data))
	}
	return q, nil
}

// Marshal encodes q. ParseQuote gives q back.
func (q Quote) Marshal() []byte {
	be := binary.BigEndian
	b := be.AppendUint32(nil, tpmGenerated)
	b = be.AppendUint16(b, tpmAttestQuote)
	b = appendSized(b, q.Signer)
	b = appendSized(b, q.ExtraData)
	b = be.AppendUint64(b, q.Clock)
	b = be.AppendUint32(b, q.ResetCount)
	b = be.AppendUint32(b, q.RestartCount)
	safe := byte(0)
	if q.Safe {
		safe = 1
	}
	b = append(b, safe)
	b = be.AppendUint64(b, q.Firmware)
	b = be.AppendUint32(b, uint32(len(q.Banks))) //nolint:gosec // at most maxBanks when it was parsed
	for _, bank := range q.Banks {
		b = be.AppendUint16(b, bank.Hash)
		b = append(b, uint8(len(bank.Bitmap))) //nolint:gosec // one byte when it was parsed
		b = append(b, bank.Bitmap...)
	}
	return appendSized(b, q.PCRDigest)
}

// appendSized appends value as a TPM2B.
func appendSized(b, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(value))) //nolint:gosec // TPM2B values have at most 65535 bytes
	return append(b, value...)
}

// A tpmReader takes big-endian fields from the front of bytes. After the first
// read beyond the end it gives zeros and is not ok.
type tpmReader struct {
	rest []byte
	bad  bool
}

func (r *tpmReader) ok() bool { return !r.bad }

func (r *tpmReader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad = true
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *tpmReader) number(size int) uint64 {
	var v uint64
	for _, b := range r.take(size) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *tpmReader) uint8() uint8   { return uint8(r.number(1)) }  //nolint:gosec // one byte
func (r *tpmReader) uint16() uint16 { return uint16(r.number(2)) } //nolint:gosec // two bytes
func (r *tpmReader) uint32() uint32 { return uint32(r.number(4)) } //nolint:gosec // four bytes
func (r *tpmReader) uint64() uint64 { return r.number(8) }
func (r *tpmReader) sized() []byte  { return r.take(int(r.uint16())) }

// bool takes a TPMI_YES_NO, which has two encodings only.
func (r *tpmReader) bool() bool {
	v := r.uint8()
	if v > 1 {
		r.bad = true
	}
	return v == 1
}

// PCRs holds values of the SHA-256 bank by index.
type PCRs map[int][sha256.Size]byte

// A Key is a TPM's public key that was parsed from a TPMT_PUBLIC.
type tpmKey struct {
	// public is a *rsa.PublicKey or *ecdsa.PublicKey.
	public crypto.PublicKey
	// name is TPM 2.0's name of the object: nameAlg ‖ H(TPMT_PUBLIC).
	name []byte
	area *tpm2.TPMTPublic
}

// parseTPMPublic decodes a TPMT_PUBLIC of an RSA or ECC key.
func parseTPMPublic(what string, data []byte) (key tpmKey, err error) {
	if len(data) > maxTPMTPublic {
		return tpmKey{}, verdict.Refuse(verdict.EvidenceLimit, "parsing %s: %d bytes, want at most %d", what, len(data), maxTPMTPublic)
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](data)
	if err != nil {
		return tpmKey{}, malformed("parsing %s: %s", what, quoteShort(err.Error()))
	}
	// The library ignores what follows, and the name is a hash over the bytes (TPM 2.0
	// Part 1, Names).
	if !bytes.Equal(tpm2.Marshal(area), data) {
		return tpmKey{}, malformed("parsing %s: not the encoding of what it says", what)
	}
	name := binary.BigEndian.AppendUint16(nil, uint16(area.NameAlg))
	switch area.NameAlg {
	case tpm2.TPMAlgSHA256:
		sum := sha256.Sum256(data)
		name = append(name, sum[:]...)
	case tpm2.TPMAlgSHA384:
		sum := sha512.Sum384(data)
		name = append(name, sum[:]...)
	default:
		return tpmKey{}, verdict.Refuse(verdict.TPMAK, "parsing %s: name algorithm is 0x%04x, want SHA-256 or SHA-384", what, uint16(area.NameAlg))
	}
	key = tpmKey{name: name, area: area}
	switch area.Type {
	case tpm2.TPMAlgRSA:
		key.public, err = rsaPublic(area)
	case tpm2.TPMAlgECC:
		key.public, err = eccPublic(area)
	default:
		return tpmKey{}, verdict.Refuse(verdict.TPMAK, "parsing %s: key type is 0x%04x, want RSA or ECC", what, uint16(area.Type))
	}
	if err != nil {
		return tpmKey{}, malformed("parsing %s: %s", what, quoteShort(err.Error()))
	}
	return key, nil
}

// rsaPublic returns the RSA key of area.
func rsaPublic(area *tpm2.TPMTPublic) (*rsa.PublicKey, error) {
	parameters, err := area.Parameters.RSADetail()
	if err != nil {
		return nil, err
	}
	unique, err := area.Unique.RSA()
	if err != nil {
		return nil, err
	}
	return tpm2.RSAPub(parameters, unique)
}

// eccPublic returns the ECC key of area, on a curve that crypto/ecdsa knows.
func eccPublic(area *tpm2.TPMTPublic) (*ecdsa.PublicKey, error) {
	parameters, err := area.Parameters.ECCDetail()
	if err != nil {
		return nil, err
	}
	unique, err := area.Unique.ECC()
	if err != nil {
		return nil, err
	}
	curve, err := parameters.CurveID.Curve()
	if err != nil {
		return nil, err
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(unique.X.Buffer) > size || len(unique.Y.Buffer) > size {
		return nil, malformed("point is larger than its curve")
	}
	point := make([]byte, 1+2*size)
	point[0] = 4
	copy(point[1+size-len(unique.X.Buffer):], unique.X.Buffer)
	copy(point[1+2*size-len(unique.Y.Buffer):], unique.Y.Buffer)
	// It refuses a point that is not on the curve.
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}

// checkAttestationKey refuses a key that can sign what the TPM did not make: a
// key without restricted would sign chosen bytes that start with the magic.
func (k tpmKey) checkAttestationKey() error {
	a := k.area.ObjectAttributes
	for _, demand := range []struct {
		name string
		met  bool
	}{
		{"fixedTPM", a.FixedTPM},
		{"fixedParent", a.FixedParent},
		{"sensitiveDataOrigin", a.SensitiveDataOrigin},
		{"restricted", a.Restricted},
		{"sign", a.SignEncrypt},
		{"no decrypt", !a.Decrypt},
	} {
		if !demand.met {
			return verdict.Refuse(verdict.TPMAK, "checking attestation key: its attributes lack %s", demand.name)
		}
	}
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() && public.Curve != elliptic.P384() {
			return verdict.Refuse(verdict.TPMAK, "checking attestation key: curve is %s, want P-256 or P-384", public.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if public.N.BitLen() < minQuoteRSABits {
			return verdict.Refuse(verdict.TPMAK, "checking attestation key: RSA key of %d bits, want at least %d", public.N.BitLen(), minQuoteRSABits)
		}
	}
	return nil
}

// verifyQuote checks the TPMT_SIGNATURE over message by k, and returns the hash
// that it used.
func (k tpmKey) verifyQuote(message, signature []byte) (crypto.Hash, error) {
	if len(signature) > maxTPMSignature {
		return 0, verdict.Refuse(verdict.EvidenceLimit, "parsing quote signature: %d bytes, want at most %d", len(signature), maxTPMSignature)
	}
	r := &tpmReader{rest: signature}
	scheme, hashID := tpm2.TPMAlgID(r.uint16()), tpm2.TPMAlgID(r.uint16())
	var hash crypto.Hash
	switch hashID {
	case tpm2.TPMAlgSHA256:
		hash = crypto.SHA256
	case tpm2.TPMAlgSHA384:
		hash = crypto.SHA384
	case tpm2.TPMAlgSHA512:
		hash = crypto.SHA512
	default:
		return 0, verdict.Refuse(verdict.EvidenceSignature, "verifying quote: signature hash is 0x%04x, want SHA-256 or longer", uint16(hashID))
	}
	h := hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	valid := false
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		x, y := r.sized(), r.sized()
		valid = scheme == tpm2.TPMAlgECDSA && r.ok() &&
			ecdsa.Verify(public, digest, new(big.Int).SetBytes(x), new(big.Int).SetBytes(y))
	case *rsa.PublicKey:
		sig := r.sized()
		switch scheme {
		case tpm2.TPMAlgRSASSA:
			valid = rsa.VerifyPKCS1v15(public, hash, digest, sig) == nil
		case tpm2.TPMAlgRSAPSS:
			valid = rsa.VerifyPSS(public, hash, digest, sig, nil) == nil
		default:
			valid = false
		}
	}
	if !r.ok() || len(r.rest) != 0 {
		return 0, malformed("parsing quote signature: %d bytes do not end where its fields do", len(signature))
	}
	if !valid {
		return 0, verdict.Refuse(verdict.EvidenceSignature, "verifying quote: the signature is not by the attestation key")
	}
	return hash, nil
}

// values returns the PCR values of the quote, taken from bytes that count only
// because the quote's digest is over them.
func (q Quote) values(hash crypto.Hash, values []byte) (PCRs, error) {
	if len(q.Banks) != 1 || q.Banks[0].Hash != uint16(tpm2.TPMAlgSHA256) {
		return nil, verdict.Refuse(verdict.TPMBank, "appraising quote: it has %d banks, want the SHA-256 bank alone", len(q.Banks))
	}
	bitmap := q.Banks[0].Bitmap
	if len(bitmap) != pcrBitmapSize {
		return nil, verdict.Refuse(verdict.TPMSelection, "appraising quote: selection has %d bytes, want %d", len(bitmap), pcrBitmapSize)
	}
	selected := 0
	for _, b := range bitmap {
		selected += bits.OnesCount8(b)
	}
	if selected == 0 {
		return nil, verdict.Refuse(verdict.TPMSelection, "appraising quote: no PCR is selected")
	}
	if len(values) != selected*sha256.Size {
		return nil, verdict.Refuse(verdict.TPMSelection, "appraising quote: %d bytes of PCR values, want %d for %d PCRs", len(values), selected*sha256.Size, selected)
	}
	h := hash.New()
	h.Write(values)
	if subtle.ConstantTimeCompare(h.Sum(nil), q.PCRDigest) != 1 {
		return nil, verdict.Refuse(verdict.GuestRegister, "appraising quote: the PCR values are not those that were quoted")
	}
	pcrs := PCRs{}
	for i := range pcrCount {
		if bitmap[i/8]&(1<<(i%8)) != 0 {
			pcrs[i] = [sha256.Size]byte(values)
			values = values[sha256.Size:]
		}
	}
	return pcrs, nil
}
