// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/binary"
	"encoding/pem"
	"slices"

	"github.com/assayd/assay/verdict"
)

// Limits of a certificate table.
const (
	// maxCertTable is the size in bytes. Kernels hand out four pages.
	maxCertTable = 64 << 10
	// maxCertEntries is the number of entries.
	maxCertEntries = 16
	// certEntrySize is a GUID, an offset from the start of the table and a length,
	// little-endian.
	certEntrySize = 16 + 4 + 4
)

// GUIDs of a certificate table (AMD 56421, "SNP Extended Guest Request"), in the
// order of bytes that UEFI gives them: the first three groups are little-endian.
var (
	guidVCEK = [16]byte{0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd}
	guidVLEK = [16]byte{0xc2, 0x4b, 0x07, 0xa8, 0x5a, 0xa2, 0x3e, 0x48, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1}
	guidASK  = [16]byte{0x79, 0xb3, 0xb7, 0x4a, 0xac, 0xbb, 0xe4, 0x4f, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82}
	guidARK  = [16]byte{0xa4, 0x06, 0xb4, 0xc0, 0x03, 0xa8, 0x52, 0x49, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae}
)

// An SNPCertTable is what the host puts beside a report: certificates in DER, nil
// where there is none. It is untrusted; ASK, which is the ASVK beside a VLEK, and ARK
// are never a trust anchor.
type SNPCertTable struct {
	VCEK, VLEK, ASK, ARK []byte
}

// ParseSNPExtendedReport splits what the extended guest request returns: a report,
// whose form is not looked at, and a table. Errors of the table are those of
// ParseSNPCertTable; too few bytes for a report are evidence.malformed.
func ParseSNPExtendedReport(data []byte) (report []byte, table SNPCertTable, err error) {
	if len(data) < SNPReportSize {
		return nil, SNPCertTable{}, malformed("parsing SNP report: %d bytes, want %d and a certificate table", len(data), SNPReportSize)
	}
	if table, err = ParseSNPCertTable(data[SNPReportSize:]); err != nil {
		return nil, SNPCertTable{}, err
	}
	return slices.Clone(data[:SNPReportSize]), table, nil
}

// ParseSNPCertTable decodes a table of at most 64 KiB and 16 entries. No bytes are a
// host without certificates. Entries of other GUIDs are skipped, and so is what no
// entry names, such as the padding of the last page. A table without its end, an
// entry that is not inside of the table, and a known one that is empty or there twice,
// is endorsement.malformed; too much is evidence.limit.
func ParseSNPCertTable(data []byte) (table SNPCertTable, err error) {
	if len(data) > maxCertTable {
		return SNPCertTable{}, verdict.Refuse(verdict.EvidenceLimit, "parsing certificate table: %d bytes, want at most %d", len(data), maxCertTable)
	}
	if len(data) == 0 {
		return SNPCertTable{}, nil
	}
	count, err := certEntries(data)
	if err != nil {
		return SNPCertTable{}, err
	}
	var t SNPCertTable
	into := map[[16]byte]*[]byte{guidVCEK: &t.VCEK, guidVLEK: &t.VLEK, guidASK: &t.ASK, guidARK: &t.ARK}
	for i := range count {
		entry := data[i*certEntrySize:]
		// In 64 bits the sum of two numbers of 32 does not wrap.
		offset, length := int64(binary.LittleEndian.Uint32(entry[16:])), int64(binary.LittleEndian.Uint32(entry[20:]))
		if offset < int64((count+1)*certEntrySize) || offset+length > int64(len(data)) {
			return SNPCertTable{}, verdict.Refuse(verdict.EndorsementMalformed,
				"parsing certificate table: entry %d has %d bytes at 0x%x of a table of %d", i, length, offset, len(data))
		}
		certificate, known := into[[16]byte(entry)]
		if !known {
			continue
		}
		if *certificate != nil || length == 0 {
			return SNPCertTable{}, verdict.Refuse(verdict.EndorsementMalformed, "parsing certificate table: entry %d is empty, or there twice", i)
		}
		// Hosts load them as they have them: AMD serves DER and PEM.
		*certificate = slices.Clone(data[offset : offset+length])
		if block, _ := pem.Decode(*certificate); block != nil {
			*certificate = block.Bytes
		}
	}
	return t, nil
}

// certEntries counts the entries before the one of zeros that ends them.
func certEntries(data []byte) (int, error) {
	for i := range maxCertEntries + 1 {
		if len(data) < (i+1)*certEntrySize {
			return 0, verdict.Refuse(verdict.EndorsementMalformed, "parsing certificate table: %d bytes without an end", len(data))
		}
		if [certEntrySize]byte(data[i*certEntrySize:]) == ([certEntrySize]byte{}) {
			return i, nil
		}
	}
	return 0, verdict.Refuse(verdict.EvidenceLimit, "parsing certificate table: more than %d entries", maxCertEntries)
}
