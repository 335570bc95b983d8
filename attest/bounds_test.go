// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// allocates tells how many bytes f allocates. Tests that call it are not parallel, and
// those that are wait until they are done.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// codedError tells whether err is an error with a code of its own, and no panic that the
// edge of the package made one of.
func codedError(err error) bool {
	return err != nil && verdict.CodeOf(err) != verdict.Internal && !strings.Contains(err.Error(), "runtime error")
}

// A parserOf evidence has a good input, of which some prefixes are good too.
type parserOf struct {
	name   string
	good   []byte
	prefix func(n int) bool
	parse  func([]byte) error
}

func never(int) bool { return false }

func parsersOfEvidence(t *testing.T) []parserOf {
	t.Helper()
	s, _ := goodSNP(t, attest.SNP)
	p, _ := goodTPM(t)
	items := p.Collection(t).Items[attest.LabelEvidence].Nested.Items
	x := attesttest.NewTDX(t, tdxAt)
	four := x.QuoteBytes()
	x.Version = 5
	five := x.QuoteBytes()
	table := attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: []byte("vcek")}, attesttest.CertEntry{GUID: attesttest.GUIDARK, Data: []byte("ark")})
	events := list(t, 2).Marshal()
	logHead := "\x00\x00\x00\x00\x03\x00\x00\x00" + strings.Repeat("\x00", 20) + "\x21\x00\x00\x00Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01\x00\x00\x00\x0c\x00\x30\x00\x00"
	event := "\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x0c\x00" + strings.Repeat("\x01", 48) + "\x01\x00\x00\x00x"
	hcl := attest.HCLReport{Version: 1, Type: attest.HCLSNP, Hash: 5, Hardware: make([]byte, attest.SNPReportSize), Data: hclSeed}
	sv, _ := goodSVSM(t)
	// Endorsements. A chain in PEM ends after each block, and before the last line's end.
	collateral := x.Collateral()
	chain, err := attest.PEMChain(collateral.TCBInfoChain)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Index(collateral.TCBInfoChain[1:], []byte("-----BEGIN")) + 1
	block := func(n int) bool {
		return n == first-1 || n == first || n == len(collateral.TCBInfoChain)-1
	}
	pck, err := x.PCK.Extension()
	if err != nil {
		t.Fatal(err)
	}
	return []parserOf{
		{"PCK extension", pck.Value, never, func(b []byte) error { _, err := attest.ParsePCKExtension(b); return err }},
		{"chain in PEM", collateral.TCBInfoChain, block, func(b []byte) error { _, err := attest.PEMChain(b); return err }},
		{"CRL", collateral.RootCRL, never, func(b []byte) error { return attest.CRLScope(b, chain[0]) }},
		{"collection", p.Bytes(t), never, func(b []byte) error { _, err := attest.ParseCollection(b); return err }},
		{"SNP report", s.SignedReport(t), never, func(b []byte) error { _, err := attest.ParseSNPReport(b); return err }},
		{"SNP certificate table", table, func(n int) bool { return n == 0 }, func(b []byte) error { _, err := attest.ParseSNPCertTable(b); return err }},
		{"extended SNP report", append(s.SignedReport(t), table...), func(n int) bool { return n == attest.SNPReportSize }, func(b []byte) error { _, _, err := attest.ParseSNPExtendedReport(b); return err }},
		{"TDX quote v4", four, never, func(b []byte) error { _, err := attest.ParseTDXQuote(b); return err }},
		{"TDX quote v5", five, never, func(b []byte) error { _, err := attest.ParseTDXQuote(b); return err }},
		{"TPM quote", items[attest.LabelQuote].Value, never, func(b []byte) error { _, err := attest.ParseQuote(b); return err }},
		{"TPM public", tpm2.Marshal(p.AK), never, attest.ParseTPMPublic},
		{"SVSM manifest", tpm2.Marshal(sv.TPM.EK), never, func(b []byte) error { _, err := attest.ParseSVSMManifest(b); return err }},
		{"HCL report", hcl.Marshal(), never, func(b []byte) error { _, err := attest.ParseHCLReport(b); return err }},
		{"HCL data", hclSeed, never, func(b []byte) error { _, err := attest.ParseHCLData(b); return err }},
		{"instance of Compute Engine", der(t, goodGCE()), never, func(b []byte) error { _, err := attest.ParseGCEInstance(b); return err }},
		{"register events", events, func(n int) bool { return n == 0 || events[n-1] == '\n' }, func(b []byte) error { _, err := attest.ParseEventList(b); return err }},
		{"event log", []byte(logHead + event + event), func(n int) bool { return n >= len(logHead) && (n-len(logHead))%len(event) == 0 }, func(b []byte) error { _, err := attest.ParseEventLog(b); return err }},
	}
}

// TestPrefixes: no prefix of a good input is one, but where that is said, and each is
// refused with a code.
func TestPrefixes(t *testing.T) {
	for _, p := range parsersOfEvidence(t) {
		if err := p.parse(p.good); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		for n := range p.good {
			if err := p.parse(p.good[:n:n]); p.prefix(n) != (err == nil) || err != nil && !codedError(err) {
				t.Errorf("%s: %d bytes of %d: got %v", p.name, n, len(p.good), err)
			}
		}
	}
}

// TestSizes: what is larger than anything good is refused with a code before it costs
// memory, and so is what only says that it is.
func TestSizes(t *testing.T) {
	const (
		size   = 8 << 20  // the largest limit is 1 MiB
		budget = 64 << 10 // of one input, in bytes
		// go-tpm makes room for a size of two bytes before it looks whether so much is there.
		lie = budget + 64<<10
	)
	for _, p := range parsersOfEvidence(t) {
		for name, filler := range map[string][]byte{"zeros": {0}, "ones": {0xff}, "itself": p.good} {
			large := append(bytes.Clone(p.good), bytes.Repeat(filler, size/len(filler))...)
			var err error
			if got := allocates(func() { err = p.parse(large) }); got > budget || !codedError(err) {
				t.Errorf("%s and %s: allocated %d bytes, want at most %d: %v", p.name, name, got, budget, err)
			}
		}
		// Each number of two and four bytes as large as it can be.
		for _, width := range []int{2, 4} {
			var lies [][]byte
			for at := 0; at < len(p.good)-width; at += 1 + len(p.good)/512 {
				bad := bytes.Clone(p.good)
				copy(bad[at:], "\xff\xff\xff\xff"[:width])
				lies = append(lies, bad)
			}
			each := uint64(lie + 4*len(p.good)) // what is parsed is copied, decoded, and told about
			for i, bad := range lies {
				var err error
				if got := allocates(func() { err = p.parse(bad) }); got > each || err != nil && !codedError(err) {
					t.Errorf("%s, lie %d with %d bytes of ones: allocated %d bytes, want at most %d: %v", p.name, i, width, got, each, err)
				}
			}
		}
	}
}

// records calls f with each record of c, by its labels, and with what makes a collection
// in which it has another value.
func records(c attest.Collection, f func(path string, value []byte, with func([]byte) attest.Collection)) {
	for _, label := range slices.Sorted(maps.Keys(c.Items)) {
		item := c.Items[label]
		set := func(item attest.Item) attest.Collection {
			out := c
			out.Items = maps.Clone(c.Items)
			out.Items[label] = item
			return out
		}
		if item.Nested != nil {
			records(*item.Nested, func(path string, value []byte, with func([]byte) attest.Collection) {
				f(label+"/"+path, value, func(b []byte) attest.Collection {
					nested := with(b)
					return set(attest.Item{Nested: &nested})
				})
			})
			continue
		}
		f(label, item.Value, func(b []byte) attest.Collection {
			changed := item
			changed.Value = b
			return set(changed)
		})
	}
}

// TestRecordsBounded goes through all of an appraisal: of each record, which libraries
// read too, neither a part nor far more is accepted, and neither costs more than the
// collection that it comes in.
func TestRecordsBounded(t *testing.T) {
	const (
		parts  = 8                             // prefixes of each record: signatures take their time
		large  = 700 << 10                     // bytes of a record: in base64url the collection is below its limit
		budget = 16 * attest.MaxCollectionSize // bytes that one appraisal may allocate
	)
	pinned := []string{"endorsements/" + attest.LabelARK, "endorsements/" + attest.LabelASK, "endorsements/" + attest.LabelASVK, "endorsements/" + attest.LabelSGXRoot}
	type subject struct {
		name string
		c    []byte
		in   attest.Input
	}
	var subjects []subject
	s, in := goodSNP(t, attest.SNP)
	subjects = append(subjects, subject{"SNP", s.Bytes(t), in})
	s, in = goodVLEK(t, attest.SNP, attest.Turin)
	subjects = append(subjects, subject{"SNP with a VLEK", s.Bytes(t), in})
	p, in := goodTPM(t)
	subjects = append(subjects, subject{"TPM", p.Bytes(t), in})
	d, in := goodTD(t, attest.TDX)
	subjects = append(subjects, subject{"TDX", d.Bytes(), in})
	sv, in := goodSVSM(t)
	subjects = append(subjects, subject{"SVSM", sv.Bytes(t), in})
	for kind := range azureKinds {
		z, in := goodAzure(t, kind)
		subjects = append(subjects, subject{kind, z.Bytes(t), in})
	}
	for _, s := range subjects {
		if _, err := attest.Appraise(s.c, s.in, attesttest.At); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		c, err := attest.ParseCollection(s.c)
		if err != nil {
			t.Fatal(err)
		}
		appraise := func(path string, c attest.Collection) error {
			data, err := c.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if got := allocates(func() { _, err = attest.Appraise(data, s.in, attesttest.At) }); got > budget {
				t.Errorf("%s: %s: allocated %d bytes, want at most %d", s.name, path, got, budget)
			}
			return err
		}
		records(c, func(path string, value []byte, with func([]byte) attest.Collection) {
			if appraise(path, with([]byte("x"))) == nil {
				// Issuers are pinned, and looked at for the simulator alone.
				if !slices.Contains(pinned, path) {
					t.Errorf("%s: %s is not looked at", s.name, path)
				}
				return
			}
			for i := range min(parts, len(value)) {
				n := i * len(value) / min(parts, len(value))
				err := appraise(path, with(value[:n]))
				// The root at the end of a chain is pinned, and need not come along.
				leaf := strings.HasSuffix(path, "-chain") && bytes.Contains(value[:n], []byte("-----END CERTIFICATE-----"))
				if !codedError(err) && (err != nil || !leaf) {
					t.Errorf("%s: %d bytes of %d of %s: got %v", s.name, n, len(value), path, err)
				}
			}
			if err := appraise(path, with(append(bytes.Clone(value), make([]byte, large)...))); !codedError(err) {
				t.Errorf("%s: too much of %s: got %v", s.name, path, err)
			}
		})
	}
}
