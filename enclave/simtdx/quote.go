// SPDX-License-Identifier: Apache-2.0

package simtdx

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
)

// Properties of the simulated platform: what its PCK certificate and quotes say, and
// the collateral calls up to date.
var (
	fmspc     = [6]byte{0xA5, 0x5A, 0x51, 0x0D, 0x00, 0x01} // of no processor
	sgxSVN    = [16]uint8{7, 7, 2, 2, 3, 1, 0, 5}
	teeTCBSVN = [16]byte{5, 1, 6}
	qeSigner  = sha256.Sum256([]byte("assay simulator, quoting enclave"))
)

const (
	pceSVN   = 13
	qeSVN    = 8
	qeProdID = 2
	// qeAttributes are INIT and MODE64BIT (SGX ATTRIBUTES).
	qeAttributes = 0x05
	xfam         = 0xE7
)

// Sizes and values of a quote of version 4 (Intel TDX DCAP Quoting Library API,
// appendix 3).
const (
	quoteVersion  = 4
	keyType       = 2 // ECDSA on P-256
	teeType       = 0x81
	headerSize    = 48
	qeReportSize  = 384
	certQEReport  = 6
	certPCKChain  = 5
	vendorOffset  = 12
	qeAttributesO = 48
	qeSignerO     = 128
	qeProdIDO     = 256
	qeSVNO        = 258
	qeReportDataO = 320
)

// intelQE is the vendor of quoting enclaves: it says how a quote is read, not whose it
// is.
var intelQE = []byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// Quote returns a quote with this REPORTDATA.
func (p *Platform) Quote(reportData [64]byte) ([]byte, error) {
	quote, err := p.quote(reportData)
	if err != nil {
		return nil, fmt.Errorf("signing simulated quote: %w", err)
	}
	return quote, nil
}

func (p *Platform) quote(reportData [64]byte) ([]byte, error) {
	le := binary.LittleEndian
	header := make([]byte, headerSize)
	le.PutUint16(header, quoteVersion)
	le.PutUint16(header[2:], keyType)
	le.PutUint32(header[4:], teeType)
	copy(header[vendorOffset:], intelQE)
	rtmr3 := p.RTMR3()
	var seam, zero [48]byte
	seam = p.measured.MRTD // a module that does not exist
	signed := slices.Concat(header, teeTCBSVN[:], seam[:], zero[:], zero[:8],
		le.AppendUint64(nil, attest.TDSeptVEDisable), le.AppendUint64(nil, xfam),
		p.measured.MRTD[:], zero[:], zero[:], zero[:],
		p.measured.RTMR[0][:], p.measured.RTMR[1][:], p.measured.RTMR[2][:], rtmr3[:], reportData[:])
	signature, err := sign(p.attestation, signed)
	if err != nil {
		return nil, err
	}
	point, err := p.attestation.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	key := point[1:] // without the form
	report := qeReport(key)
	reportSignature, err := sign(p.pck, report)
	if err != nil {
		return nil, err
	}
	u16 := func(n int) []byte { return le.AppendUint16(nil, uint16(n)) } //nolint:gosec // G115: kinds and lengths of a few KiB
	u32 := func(n int) []byte { return le.AppendUint32(nil, uint32(n)) } //nolint:gosec // G115: the same
	chain := slices.Concat(u16(certPCKChain), u32(len(p.pckChain)), p.pckChain)
	certification := slices.Concat(report, reportSignature, u16(0), chain)
	data := slices.Concat(signature, key, u16(certQEReport), u32(len(certification)), certification)
	return slices.Concat(signed, u32(len(data)), data), nil
}

// qeReport is the quoting enclave's report about an attestation key.
func qeReport(key []byte) []byte {
	r := make([]byte, qeReportSize)
	r[qeAttributesO] = qeAttributes
	copy(r[qeSignerO:], qeSigner[:])
	binary.LittleEndian.PutUint16(r[qeProdIDO:], qeProdID)
	binary.LittleEndian.PutUint16(r[qeSVNO:], qeSVN)
	sum := sha256.Sum256(key)
	copy(r[qeReportDataO:], sum[:])
	return r
}

// sign returns r and s, 32 bytes each.
func sign(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

type object = map[string]any

// signedDocument is an object of Intel's service with its signature beside it.
func signedDocument(member string, o object, key *ecdsa.PrivateKey) ([]byte, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	signature, err := sign(key, body)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(`{"`+member+`":`), body, []byte(`,"signature":"`+hex.EncodeToString(signature)+`"}`)), nil
}

// edition is what both documents begin with.
func edition(id string, version int, now time.Time) object {
	return object{
		"id": id, "version": version, "tcbEvaluationDataNumber": Evaluation,
		"issueDate": now.Add(-clockSlack).UTC().Format(time.RFC3339), "nextUpdate": now.Add(caLife).UTC().Format(time.RFC3339),
	}
}

func upToDate(tcb object) []object {
	return []object{{"tcb": tcb, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": attest.TDXUpToDate}}
}

// tcbInfo says that the simulated platform is up to date, and nothing below it.
func tcbInfo(now time.Time) object {
	components := func(svns [16]uint8) []object {
		var out []object
		for _, n := range svns {
			out = append(out, object{"svn": n})
		}
		return out
	}
	o := edition("TDX", 3, now)
	module := object{"mrsigner": strings.Repeat("0", 96), "attributes": strings.Repeat("0", 16), "attributesMask": strings.Repeat("F", 16)}
	o["fmspc"], o["pceId"], o["tcbType"], o["tdxModule"] = hex.EncodeToString(fmspc[:]), "0000", 0, module
	o["tdxModuleIdentities"] = []object{{
		"id": "TDX_01", "mrsigner": module["mrsigner"], "attributes": module["attributes"], "attributesMask": module["attributesMask"],
		"tcbLevels": upToDate(object{"isvsvn": teeTCBSVN[0]}),
	}}
	o["tcbLevels"] = upToDate(object{"sgxtcbcomponents": components(sgxSVN), "pcesvn": pceSVN, "tdxtcbcomponents": components(teeTCBSVN)})
	return o
}

// qeIdentity is how the simulated quoting enclave looks.
func qeIdentity(now time.Time) object {
	o := edition("TD_QE", 2, now)
	o["miscselect"], o["miscselectMask"] = "00000000", "FFFFFFFF"
	o["attributes"], o["attributesMask"] = fmt.Sprintf("%02X", qeAttributes)+strings.Repeat("0", 30), strings.Repeat("F", 32)
	o["mrsigner"], o["isvprodid"] = hex.EncodeToString(qeSigner[:]), qeProdID
	o["tcbLevels"] = upToDate(object{"isvsvn": qeSVN})
	return o
}
