// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/assayd/assay/verdict"
)

// Sizes of a TDX quote, in bytes (Intel TDX DCAP Quoting Library API, appendix 3).
const (
	// MaxTDXQuoteSize is the largest quote, with the zeros that drivers put behind
	// it. A genuine one has 5 to 8 KiB.
	MaxTDXQuoteSize  = 64 << 10
	tdxHeaderSize    = 48
	tdxBodySize10    = 584
	tdxBodySize15    = 648
	tdxDescriptor    = 6 // of the body, since version 5
	tdxSignatureSize = 64
	tdxKeySize       = 64
	qeReportSize     = 384
)

// Values of a TDX quote.
const (
	tdxKeyType     = 2 // ECDSA on P-256 with SHA-256
	tdxTEEType     = 0x81
	tdxCertQE      = 6 // QE report certification data
	tdxCertPCK     = 5 // PEM chain of the PCK
	tdxBodyTDX10   = 2
	tdxBodyTDX15   = 3
	tdxModuleTDX10 = 0 // TEE_TCB_SVN[1] of the first generation of modules
)

// intelQE is the vendor ID of Intel's quoting enclave.
var intelQE = []byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// Bits of TDATTRIBUTES (Intel TDX Module ABI, TD_ATTRIBUTES).
const (
	TDDebug         uint64 = 1 << 0
	TDProfiling     uint64 = 1<<4 | 1<<5 | 1<<6 // HGS+, performance, PMT
	TDSeptVEDisable uint64 = 1 << 28
	TDMigratable    uint64 = 1 << 29
	// tdUnknownTUD are the bits of the group TUD, TD under debug, that have no name.
	tdUnknownTUD = 0xFF &^ (TDDebug | TDProfiling)
	// tdKnown are the bits that are judged one by one, and those that only give the TD
	// something: ICSSD (16), LASS (27), PKS (30), KL (31), PERFMON (63). TPA (62) makes
	// a TD an agent of the module, and is none of them.
	tdKnown = 0xFF | 1<<16 | 1<<27 | TDSeptVEDisable | TDMigratable | 1<<30 | 1<<31 | 1<<63
	// xfamKnown are the features that a TD can be given by the modules that are known
	// (Intel TDX Module ABI, XFAM): x87 and SSE, which are always on, AVX, AVX-512, PT,
	// PKRU, CET, UINTR, LBR and AMX.
	xfamKnown uint64 = 0x6DBE7
)

// A TDXQuote is a parsed TDX quote of version 4 or 5. Nothing about it is checked
// but its form.
type TDXQuote struct {
	Version        uint16
	TEETCBSVN      [16]byte
	MRSEAM         [48]byte
	MRSignerSEAM   [48]byte
	SEAMAttributes [8]byte
	TDAttributes   uint64
	XFAM           uint64
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte
	// TEETCBSVN2 and MRServiceTD are zero before TDX 1.5 bodies of version 5.
	TEETCBSVN2  [16]byte
	MRServiceTD [48]byte

	signed     []byte // header and body
	signature  []byte // r, s big-endian
	key        []byte // x, y big-endian
	qeReport   []byte
	qeSigned   []byte // the PCK's signature over qeReport
	qeAuthData []byte
	pckChain   []byte // PEM
}

// A qeReport is what is read of a quoting enclave's report (SGX REPORTBODY).
type qeReport struct {
	miscSelect [4]byte
	attributes [16]byte
	mrSigner   [32]byte
	prodID     uint16
	svn        uint16
	reportData [64]byte
}

// A cutter takes fields off the front, and remembers that there were too few bytes.
type cutter struct {
	data  []byte
	short bool
}

func (c *cutter) take(n int) []byte {
	if n < 0 || n > len(c.data) {
		c.short = true
		return make([]byte, max(min(n, MaxTDXQuoteSize), 0))
	}
	out := c.data[:n:n]
	c.data = c.data[n:]
	return out
}

func (c *cutter) u16() int { return int(binary.LittleEndian.Uint16(c.take(2))) }

// u32 is at most what a quote may have.
func (c *cutter) u32() int {
	n := binary.LittleEndian.Uint32(c.take(4))
	if n > MaxTDXQuoteSize {
		c.short = true
		return 0
	}
	return int(n)
}

// ParseTDXQuote decodes a quote of version 4 or 5. Lengths that do not fit one
// another, bytes behind the quote that are not zero, another key type, TEE type or
// vendor are evidence.malformed; more than MaxTDXQuoteSize bytes evidence.limit;
// another version is evidence.unsupported.
func ParseTDXQuote(data []byte) (TDXQuote, error) {
	if len(data) > MaxTDXQuoteSize {
		return TDXQuote{}, verdict.Refuse(verdict.EvidenceLimit, "parsing TDX quote: %d bytes, want at most %d", len(data), MaxTDXQuoteSize)
	}
	c := &cutter{data: data}
	header := c.take(tdxHeaderSize)
	if c.short {
		return TDXQuote{}, malformed("parsing TDX quote: %d bytes, want a header of %d", len(data), tdxHeaderSize)
	}
	le := binary.LittleEndian
	q := TDXQuote{Version: le.Uint16(header)}
	if q.Version != 4 && q.Version != 5 {
		return TDXQuote{}, verdict.Fail(verdict.EvidenceUnsupported, "parsing TDX quote: version is %d, want 4 or 5", q.Version)
	}
	if key, tee := le.Uint16(header[2:]), le.Uint32(header[4:]); key != tdxKeyType || tee != tdxTEEType {
		return TDXQuote{}, malformed("parsing TDX quote: key type %d and TEE type 0x%x, want %d and 0x%x", key, tee, tdxKeyType, tdxTEEType)
	}
	if vendor := header[12:28]; !bytes.Equal(vendor, intelQE) {
		return TDXQuote{}, malformed("parsing TDX quote: the quoting enclave is of vendor %x", vendor)
	}
	bodySize, before := tdxBodySize10, 0
	if q.Version == 5 {
		before = tdxDescriptor
		kind, size := c.u16(), c.u32()
		bodySize = map[int]int{tdxBodyTDX10: tdxBodySize10, tdxBodyTDX15: tdxBodySize15}[kind]
		if bodySize == 0 || size != bodySize {
			return TDXQuote{}, malformed("parsing TDX quote: body of type %d with %d bytes", kind, size)
		}
	}
	body := c.take(bodySize)
	signedSize := c.u32()
	if c.short {
		return TDXQuote{}, malformed("parsing TDX quote: it ends in its body")
	}
	q.signed = data[:tdxHeaderSize+before+bodySize]
	q.readBody(body)

	signed := &cutter{data: c.take(signedSize)}
	if c.short {
		return TDXQuote{}, malformed("parsing TDX quote: it ends in its signature")
	}
	for i, b := range c.data { // drivers fill their buffer with zeros
		if b != 0 {
			return TDXQuote{}, malformed("parsing TDX quote: byte 0x%02x behind it, at %d", b, len(data)-len(c.data)+i)
		}
	}
	q.signature, q.key = signed.take(tdxSignatureSize), signed.take(tdxKeySize)
	if kind, size := signed.u16(), signed.u32(); signed.short || kind != tdxCertQE || size != len(signed.data) {
		return TDXQuote{}, malformed("parsing TDX quote: certification data of type %d with %d bytes, of which %d are there", kind, size, len(signed.data))
	}
	q.qeReport, q.qeSigned = signed.take(qeReportSize), signed.take(tdxSignatureSize)
	q.qeAuthData = signed.take(signed.u16())
	if kind, size := signed.u16(), signed.u32(); signed.short || kind != tdxCertPCK || size != len(signed.data) {
		return TDXQuote{}, malformed("parsing TDX quote: certificates of type %d with %d bytes, of which %d are there", kind, size, len(signed.data))
	}
	q.pckChain = bytes.TrimRight(signed.data, "\x00")
	return q, nil
}

func (q *TDXQuote) readBody(body []byte) {
	c := &cutter{data: body}
	for _, field := range [][]byte{q.TEETCBSVN[:], q.MRSEAM[:], q.MRSignerSEAM[:], q.SEAMAttributes[:]} {
		copy(field, c.take(len(field)))
	}
	q.TDAttributes, q.XFAM = binary.LittleEndian.Uint64(c.take(8)), binary.LittleEndian.Uint64(c.take(8))
	for _, field := range [][]byte{
		q.MRTD[:], q.MRConfigID[:], q.MROwner[:], q.MROwnerConfig[:], q.RTMR[0][:], q.RTMR[1][:], q.RTMR[2][:], q.RTMR[3][:], q.ReportData[:],
	} {
		copy(field, c.take(len(field)))
	}
	if len(c.data) > 0 {
		copy(q.TEETCBSVN2[:], c.take(len(q.TEETCBSVN2)))
		copy(q.MRServiceTD[:], c.take(len(q.MRServiceTD)))
	}
}

// body is the TD report body of q as it lies: 584 bytes, or 648 of TDX 1.5.
func (q *TDXQuote) body() []byte {
	start := tdxHeaderSize
	if q.Version == 5 {
		start += tdxDescriptor
	}
	return q.signed[start:]
}

// readQE reads the quoting enclave's report, whose size ParseTDXQuote has checked.
func (q *TDXQuote) readQE() qeReport {
	b, le := q.qeReport, binary.LittleEndian
	return qeReport{
		miscSelect: [4]byte(b[16:20]), attributes: [16]byte(b[48:64]), mrSigner: [32]byte(b[128:160]),
		prodID: le.Uint16(b[256:]), svn: le.Uint16(b[258:]), reportData: [64]byte(b[320:384]),
	}
}

// demands are those on what the host may do with the guest.
func (q *TDXQuote) demands(t *TDXTrust) []demand {
	refuse := func(code verdict.Code, format string, args ...any) error {
		return verdict.Refuse(code, "appraising TDX quote: "+format, args...)
	}
	a := q.TDAttributes
	return []demand{
		{a&TDDebug == 0, "allow-debug", t.AllowDebug, refuse(verdict.GuestDebug, "TDATTRIBUTES 0x%x permit debugging", a)},
		{a&TDMigratable == 0, "allow-migratable", t.AllowMigratable, refuse(verdict.GuestMigratable, "TDATTRIBUTES 0x%x permit migration", a)},
		{q.MRServiceTD == [48]byte{}, "allow-migratable", t.AllowMigratable, refuse(verdict.GuestMigratable, "MRSERVICETD names a service TD")},
		{a&TDProfiling == 0, "allow-profiling", t.AllowProfiling, refuse(verdict.GuestAttributes, "TDATTRIBUTES 0x%x permit profiling", a)},
		{met: a&tdUnknownTUD == 0, refusal: refuse(verdict.GuestAttributes, "TDATTRIBUTES 0x%x have a bit that puts the TD under debug and is not known", a)},
		{a&TDSeptVEDisable != 0, "allow-sept-ve", t.AllowSeptVE, refuse(verdict.GuestAttributes, "TDATTRIBUTES 0x%x leave faults of the secure EPT to the guest", a)},
		{a&^tdKnown == 0, "allow-attributes", a&^(tdKnown|t.AllowAttributes) == 0, refuse(verdict.GuestAttributes, "TDATTRIBUTES 0x%x have bits 0x%x that are not known", a, a&^(tdKnown|t.AllowAttributes))},
		{q.XFAM&^xfamKnown == 0, "allow-xfam", q.XFAM&^(xfamKnown|t.AllowXFAM) == 0, refuse(verdict.GuestAttributes, "XFAM 0x%x has bits 0x%x that are not known", q.XFAM, q.XFAM&^(xfamKnown|t.AllowXFAM))},
		{met: q.XFAM&3 == 3, refusal: refuse(verdict.GuestAttributes, "XFAM is 0x%x, want bits 0 and 1", q.XFAM)},
	}
}

// checkConfig compares what whoever started the TD filled in.
func (q *TDXQuote) checkConfig(t *TDXTrust) error {
	for name, got := range map[string][48]byte{"MRCONFIGID": q.MRConfigID, "MROWNER": q.MROwner, "MROWNERCONFIG": q.MROwnerConfig} {
		if want := t.Config[name]; got != want {
			return verdict.Refuse(verdict.GuestConfig, "appraising TDX quote: %s is %x, want %x", name, got, want)
		}
	}
	return nil
}

// generation names the module's identity in TCB info, like TDX_01.
func (q *TDXQuote) generation() string { return fmt.Sprintf("TDX_%02X", q.TEETCBSVN[1]) }
