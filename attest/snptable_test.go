// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"slices"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestSNPCertTable(t *testing.T) {
	entry := func(guid, data string) attesttest.CertEntry {
		return attesttest.CertEntry{GUID: guid, Data: []byte(data)}
	}
	good := attesttest.CertTable(t, entry(attesttest.GUIDVCEK, "vcek"), entry(attesttest.GUIDLaunch, "other"), entry(attesttest.GUIDVLEK, "vlek"),
		entry(attesttest.GUIDASK, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("ask")}))), entry(attesttest.GUIDARK, "ark"))
	want := attest.SNPCertTable{VCEK: []byte("vcek"), VLEK: []byte("vlek"), ASK: []byte("ask"), ARK: []byte("ark")}
	same := func(a, b attest.SNPCertTable) bool {
		return bytes.Equal(a.VCEK, b.VCEK) && bytes.Equal(a.VLEK, b.VLEK) && bytes.Equal(a.ASK, b.ASK) && bytes.Equal(a.ARK, b.ARK)
	}
	for name, data := range map[string][]byte{"as made": good, "padded to pages": append(slices.Clone(good), make([]byte, 4096)...)} {
		if got, err := attest.ParseSNPCertTable(data); err != nil || !same(got, want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for name, data := range map[string][]byte{"no bytes": nil, "no entries": make([]byte, 24), "unknown entries": attesttest.CertTable(t, entry(attesttest.GUIDLaunch, ""))} {
		if got, err := attest.ParseSNPCertTable(data); err != nil || !same(got, attest.SNPCertTable{}) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	// set writes a number into an entry: 16 is its offset, 20 its length.
	set := func(at int, value uint32) []byte {
		b := slices.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], value)
		return b
	}
	many := slices.Repeat([]attesttest.CertEntry{entry(attesttest.GUIDLaunch, "x")}, 17)
	for _, test := range []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"a sum that wraps in 32 bits", set(20, 0xFFFFFFD0), verdict.EndorsementMalformed},
		{"an offset that wraps", set(16, 0xFFFFFFFF), verdict.EndorsementMalformed},
		{"an offset behind the end", set(16, uint32(len(good)+1)), verdict.EndorsementMalformed},
		{"a byte too long", set(4*24+20, 4), verdict.EndorsementMalformed},
		{"an unknown entry outside", set(24+16, uint32(len(good))), verdict.EndorsementMalformed},
		{"an entry of entries", set(16, 24), verdict.EndorsementMalformed},
		{"an empty certificate", set(20, 0), verdict.EndorsementMalformed},
		{"one that is there twice", attesttest.CertTable(t, entry(attesttest.GUIDVCEK, "a"), entry(attesttest.GUIDVCEK, "b")), verdict.EndorsementMalformed},
		{"no end", good[:5*24], verdict.EndorsementMalformed},
		{"a byte", []byte{0}, verdict.EndorsementMalformed},
		{"17 entries", attesttest.CertTable(t, many...), verdict.EvidenceLimit},
		{"more than 64 KiB", make([]byte, 64<<10+1), verdict.EvidenceLimit},
	} {
		got, err := attest.ParseSNPCertTable(test.data)
		if verdict.CodeOf(err) != test.code || !same(got, attest.SNPCertTable{}) {
			t.Errorf("%s: got %q, %v, want code %s", test.name, got, err, test.code)
		}
	}
	if _, err := attest.ParseSNPCertTable(attesttest.CertTable(t, many[:16]...)); err != nil {
		t.Errorf("16 entries: %v", err)
	}
}

func TestSNPExtendedReport(t *testing.T) {
	s, _ := goodSNP(t, attest.SNP)
	report := s.SignedReport(t)
	table := attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: []byte("vcek")})
	got, certificates, err := attest.ParseSNPExtendedReport(append(slices.Clone(report), table...))
	if err != nil || !bytes.Equal(got, report) || string(certificates.VCEK) != "vcek" {
		t.Errorf("got %d bytes and %q, %v", len(got), certificates, err)
	}
	if got, certificates, err := attest.ParseSNPExtendedReport(report); err != nil || !bytes.Equal(got, report) || certificates.VCEK != nil {
		t.Errorf("a host without certificates: got %d bytes and %q, %v", len(got), certificates, err)
	}
	if got, _, err := attest.ParseSNPExtendedReport(report[1:]); verdict.CodeOf(err) != verdict.EvidenceMalformed || got != nil {
		t.Errorf("a byte too few: got %d bytes, %v", len(got), err)
	}
	if got, _, err := attest.ParseSNPExtendedReport(append(slices.Clone(report), 0)); verdict.CodeOf(err) != verdict.EndorsementMalformed || got != nil {
		t.Errorf("a byte too many: got %d bytes, %v", len(got), err)
	}
}

func FuzzSNPCertTable(f *testing.F) {
	one := attesttest.CertTable(f, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: []byte("vcek")}, attesttest.CertEntry{GUID: attesttest.GUIDARK, Data: []byte("ark")})
	armoured := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("vlek")})
	two := attesttest.CertTable(f, attesttest.CertEntry{GUID: attesttest.GUIDVLEK, Data: armoured}, attesttest.CertEntry{GUID: attesttest.GUIDASK, Data: armoured})
	inputs := fuzz.New(f, one, two, make([]byte, 24))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		// An entry, and the one of zeros that ends a table.
		inputs.Add(len(data) >= 48 && !bytes.Equal(data[:24], make([]byte, 24)))
		table, err := attest.ParseSNPCertTable(data)
		for _, c := range [][]byte{table.VCEK, table.VLEK, table.ASK, table.ARK} {
			if err != nil && c != nil {
				t.Error("a certificate beside an error")
			}
			if len(c) > len(data) {
				t.Error("a certificate larger than its table")
			}
		}
	})
}
