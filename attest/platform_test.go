// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/json"
	"slices"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// TestNoPlatform: what is of no processor that is known, or does not say which authority
// certified it, names no platform.
func TestNoPlatform(t *testing.T) {
	t.Run("Azure with TDX as SEV-SNP", func(t *testing.T) {
		of := func(z *attesttest.Azure) []byte {
			return z.Collection(t).Items[attest.LabelEvidence].Nested.Items[attest.LabelHCLReport].Value
		}
		if p, err := attest.HCLPlatformOf(of(attesttest.NewAzureSNP(t, []byte("nonce")))); err != nil || p.SNP == nil {
			t.Fatalf("got %+v, %v", p, err)
		}
		if _, err := attest.HCLPlatformOf(of(attesttest.NewAzureTDX(t, []byte("nonce")))); verdict.CodeOf(err) != verdict.EvidenceKind {
			t.Errorf("got %v, want %s", err, verdict.EvidenceKind)
		}
	})
	t.Run("a quote without a certificate of Intel's authority", func(t *testing.T) {
		x := attesttest.NewTDX(t, attesttest.At)
		if p, err := attest.TDXPlatformOf(x.QuoteBytes()); err != nil || p.TDX == nil {
			t.Fatalf("got %+v, %v", p, err)
		}
		x = attesttest.NewTDX(t, attesttest.At)
		x.CAName = "Another CA"
		if _, err := attest.TDXPlatformOf(x.QuoteBytes()); verdict.CodeOf(err) != verdict.EndorsementUntrusted {
			t.Errorf("got %v, want %s", err, verdict.EndorsementUntrusted)
		}
	})
}

// TestLineOfNobody: a certificate beside a report that names no line may name one that
// there is, and not a piece of an address.
func TestLineOfNobody(t *testing.T) {
	for product, want := range map[string]attest.ProductLine{"Milan-B0": attest.Milan, "Genoa": attest.Genoa, "#ilan-B0": "", "../../vlek/v1/Milan-B0": "", "": ""} {
		s, _ := goodSNP(t, attest.SNP)
		s.Report.Version, s.Report.Family, s.Report.Model, s.Report.Stepping = 2, 0, 0, 0
		s.VCEK.Product = product
		if p, _, err := attest.PlatformOf(s.Bytes(t)); err != nil || p.SNP.Line != want {
			t.Errorf("%q: got %+v, %v, want line %q", product, p.SNP.Line, err, want)
		}
	}
}

// TestPlatformLacks: what was not brought is named, chains too.
func TestPlatformLacks(t *testing.T) {
	x := attesttest.NewTDX(t, attesttest.At)
	p, err := attest.TDXPlatformOf(x.QuoteBytes())
	if err != nil {
		t.Fatal(err)
	}
	collateral := x.Collateral()
	items := collateral.Endorsements()
	if got := p.Lacks(items); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
	delete(items, attest.LabelQEIdentityChain)
	items[attest.LabelPCKCRL] = attest.Item{MediaType: attest.TypeCRL}
	if got := p.Lacks(items); !slices.Equal(got, []string{attest.LabelQEIdentityChain, attest.LabelPCKCRL}) {
		t.Errorf("got %q", got)
	}
	if got := p.Lacks(nil); len(got) != 6 {
		t.Errorf("got %q, want all six", got)
	}
}

// TestUnwantedEndorsement: what evidence of a platform does not want is not judged.
func TestUnwantedEndorsement(t *testing.T) {
	x := attesttest.NewTDX(t, attesttest.At)
	p, err := attest.TDXPlatformOf(x.QuoteBytes())
	if err != nil {
		t.Fatal(err)
	}
	roots := attest.EndorsementRoots{Intel: x.Root()}
	if _, err := p.Verify(attest.LabelTCBInfo, x.Collateral().TCBInfo, x.Collateral().TCBInfoChain, roots, attesttest.At); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{attest.LabelVCEK, attest.LabelCRL, attest.LabelTCBInfoChain, "x"} {
		if _, err := p.Verify(label, x.Collateral().TCBInfo, nil, roots, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMismatch {
			t.Errorf("%s: got %v, want %s", label, err, verdict.EndorsementMismatch)
		}
	}
}

// FuzzPlatformOf: what names a platform is of one maker, and says what it wants. A host
// or a disk that makes evidence up gets no further than asking for that.
func FuzzPlatformOf(f *testing.F) {
	s, _ := goodSNP(f, attest.SNP)
	old, _ := goodSNP(f, attest.SNP)
	old.Report.Version, old.Report.Family, old.Report.Model, old.Report.Stepping = 2, 0, 0, 0 // names no line: that of the certificate is read
	v, _ := goodVLEK(f, attest.SNP, attest.Turin)
	d, _ := goodTD(f, attest.TDX)
	azure, _ := goodAzure(f, "snp")
	paravisor, _ := goodAzure(f, "tdx")
	svsm, _ := goodSVSM(f)
	goods := [][]byte{s.Bytes(f), old.Bytes(f), v.Bytes(f), d.Bytes(), azure.Bytes(f), paravisor.Bytes(f), svsm.Bytes(f)}
	for i, good := range goods {
		if p, _, err := attest.PlatformOf(good); err != nil || p.SNP != nil && p.SNP.Line == "" {
			f.Fatalf("good %d: got %+v, %v", i, p, err)
		}
	}
	inputs := newCollections(f, goods...)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		p, beside, err := attest.PlatformOf(data)
		inputs.AddCollection(data, err)
		if coded(t, err); err != nil {
			if p != (attest.Platform{}) || beside != nil {
				t.Errorf("with %v came %+v", err, p)
			}
			return
		}
		if (p.SNP == nil) == (p.TDX == nil) {
			t.Fatalf("got %+v, want one maker", p)
		}
		labels := p.Endorsements()
		if len(labels) == 0 {
			t.Error("it wants nothing")
		}
		for _, label := range labels {
			if _, err := p.Verify(label, nil, nil, attest.EndorsementRoots{}, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMissing {
				t.Errorf("%s that is not there: got %v", label, err)
			}
		}
		if p.SNP != nil {
			if known := []attest.ProductLine{"", attest.Milan, attest.Genoa, attest.Turin}; !slices.Contains(known, p.SNP.Line) {
				t.Errorf("got line %q", p.SNP.Line)
			}
			_, err := p.SNP.TCB(p.SNP.Line)
			coded(t, err)
		}
	})
}

// An endorsed is a good endorsement of a platform, whom it has to be by, and what its
// maker signed of it.
type endorsed struct {
	label        string
	value, chain fuzz.Goods
	platform     attest.Platform
	roots        attest.EndorsementRoots
	edition      attest.Edition
	// signed is what the maker signed of a value, and is that of the good one.
	signed func(value []byte) []byte
	is     []byte
}

// newEndorsed are all the good endorsements of a platform with items beside its evidence.
func newEndorsed(f *testing.F, collection []byte, roots attest.EndorsementRoots) (out []endorsed) {
	f.Helper()
	p, items, err := attest.PlatformOf(collection)
	if err != nil {
		f.Fatal(err)
	}
	for _, label := range p.Endorsements() {
		value, chain := items[label].Value, items[attest.ChainOf(label)].Value
		e := endorsed{label: label, value: fuzz.NewGoods(f, value), chain: fuzz.NewGoods(f, chain), platform: p, roots: roots, signed: tbsOf}
		if member := map[string]string{attest.LabelTCBInfo: "tcbInfo", attest.LabelQEIdentity: "enclaveIdentity"}[label]; member != "" {
			e.signed = func(value []byte) []byte {
				var members map[string]json.RawMessage
				if json.Unmarshal(value, &members) != nil {
					return nil
				}
				return members[member]
			}
		}
		if e.is = e.signed(value); len(e.is) == 0 {
			f.Fatalf("%s: nothing is signed", label)
		}
		if e.edition, err = p.Verify(label, value, chain, roots, attesttest.At); err != nil {
			f.Fatalf("%s: %v", label, err)
		}
		out = append(out, e)
	}
	return out
}

// tbsOf is what is signed of a certificate or a list of revoked ones (RFC 5280 §4.1.1.1
// and §5.1.1.1), which both are a SEQUENCE that begins with it.
func tbsOf(der []byte) []byte {
	var outer, signed asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return nil
	}
	if _, err := asn1.Unmarshal(outer.Bytes, &signed); err != nil {
		return nil
	}
	return signed.FullBytes
}

// FuzzEndorsement is what a service, a mirror or a folder says of a chip: whatever is
// accepted, its maker signed just that.
func FuzzEndorsement(f *testing.F) {
	intel := attesttest.NewTD(f, attest.TDX, attesttest.Statement(f), attesttest.Nonce(1))
	goods := newEndorsed(f, intel.Bytes(), attest.EndorsementRoots{Intel: intel.Root()})
	for _, line := range []attest.ProductLine{attest.Milan, attest.Turin} {
		for _, provider := range []bool{false, true} {
			s := attesttest.NewSNPOn(f, attest.SNP, line, nil, attesttest.Nonce(1))
			if provider {
				s.UseVLEK(f, cloud)
			}
			root, _ := s.Chain(f)
			goods = append(goods, newEndorsed(f, s.Bytes(f), attest.EndorsementRoots{AMD: []attest.SNPRoot{root}})...)
		}
	}
	for i := range goods {
		f.Add(byte(i), []byte{0xff}, []byte{0xff})
		f.Add(byte(i), []byte{0x20}, []byte{0x20})
	}
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, which byte, value, chain []byte) {
		good := goods[int(which)%len(goods)]
		value, chain = good.value.Of(value), good.chain.Of(chain)
		count.Add(derSequence(value) || json.Valid(value))
		now := func() (attest.Edition, error) {
			return good.platform.Verify(good.label, value, chain, good.roots, attesttest.At)
		}
		then := func() (attest.Edition, error) { return good.platform.EditionOf(good.label, value, chain, good.roots) }
		if which >= 128 {
			now, then = then, now
		}
		got, err := now()
		if coded(t, err); err != nil {
			if got != (attest.Edition{}) {
				t.Errorf("with %v came %+v", err, got)
			}
			return
		}
		if !bytes.Equal(good.signed(value), good.is) || got.Older(good.edition) || good.edition.Older(got) {
			t.Errorf("%s that nobody signed is accepted, of %+v", good.label, got)
		}
		if again, err := then(); err != nil || again.Older(got) || got.Older(again) {
			t.Errorf("%s is good now or as of its date, and not both: %v", good.label, err)
		}
		if good.platform.SNP != nil {
			good.platform.SNP.LineIn(value)
		}
	})
}
