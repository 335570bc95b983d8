// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// Targets of parsers of endorsements, and of the parsers of the standard library that
// they are fed to. Those of evidence are beside its other tests.

// coded fails where an error has no code, or is a panic that the edge of the package
// made an error of.
func coded(t *testing.T, err error) {
	t.Helper()
	if err != nil && (verdict.CodeOf(err) == verdict.Internal || strings.Contains(err.Error(), "runtime error")) {
		t.Errorf("an error without a code, or a panic: %v", err)
	}
}

// derSequence tells whether data is one SEQUENCE to its end.
func derSequence(data []byte) bool {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(data, &outer)
	return err == nil && len(rest) == 0 && outer.Tag == asn1.TagSequence && outer.IsCompound
}

// collections makes inputs that are collections: mostly good ones with one of their
// records edited, since few edits of the text leave it base64url.
type collections struct {
	*fuzz.Count
	texts fuzz.Goods
	parts [][]part
}

// A part is the value of a record, and the text of its collection in front of it and
// behind: to encode a collection anew takes as long as to read it twice.
type part struct {
	before, behind []byte
	fuzz.Goods
}

// newPart is a record at a path of labels.
func newPart(f *testing.F, c attest.Collection, path []string, value []byte) part {
	f.Helper()
	text, err := with(c, path, []byte("a value that is in no record")).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	before, behind, ok := bytes.Cut(text, []byte(base64.RawURLEncoding.EncodeToString([]byte("a value that is in no record"))))
	if !ok {
		f.Fatalf("there is no record %q", path)
	}
	return part{before, behind, fuzz.NewGoods(f, value)}
}

func newCollections(f *testing.F, goods ...[]byte) *collections {
	f.Helper()
	in := &collections{Count: fuzz.NewCount(f), texts: fuzz.NewGoods(f, goods...)}
	for i, data := range goods {
		whole, err := attest.ParseCollection(data)
		if err != nil {
			f.Fatal(err)
		}
		var parts []part
		var walk func(c attest.Collection, path []string)
		walk = func(c attest.Collection, path []string) {
			for _, label := range slices.Sorted(maps.Keys(c.Items)) {
				at := append(slices.Clone(path), label)
				if nested := c.Items[label].Nested; nested != nil {
					walk(*nested, at)
				} else {
					parts = append(parts, newPart(f, whole, at, c.Items[label].Value))
				}
			}
		}
		walk(whole, nil)
		in.parts = append(in.parts, parts)
		f.Add(append([]byte{0}, data...))
		f.Add([]byte{0x3f, byte(0x40 + i)})
		for j := range parts {
			f.Add([]byte{byte(0x40 + i), byte(j), 0xff})
		}
	}
	return in
}

// Of returns what to feed: mostly a collection with one record edited (the second byte
// says which), and for one in four inputs of a quarter of the first bytes what
// fuzz.Goods make of its text.
func (in *collections) Of(data []byte) []byte {
	if len(data) < 3 || data[0] < 64 && crc32.ChecksumIEEE(data)&3 == 0 {
		return in.texts.Of(data[min(1, len(data)):])
	}
	parts := in.parts[int(data[0]-64)%len(in.parts)]
	p := parts[int(data[1])%len(parts)]
	return slices.Concat(base64.RawURLEncoding.AppendEncode(bytes.Clone(p.before), p.Of(data[2:])), p.behind)
}

// AddCollection counts an input by what reading it as a collection says, where that is not
// known from err, which is of something that begins with it.
func (in *collections) AddCollection(data []byte, err error) {
	if err != nil {
		_, err = attest.ParseCollection(data)
	}
	in.Add(err == nil)
}

// with returns c with another value at a path.
func with(c attest.Collection, path []string, value []byte) attest.Collection {
	c.Items = maps.Clone(c.Items)
	item := c.Items[path[0]]
	if len(path) > 1 {
		nested := with(*item.Nested, path[1:], value)
		item.Nested = &nested
	} else {
		item.Value = value
	}
	c.Items[path[0]] = item
	return c
}

func FuzzSNPCertificate(f *testing.F) {
	vcek, _ := goodSNP(f, attest.SNP)
	vlek, _ := goodVLEK(f, attest.SNP, attest.Turin)
	_, a := vcek.Chain(f)
	_, b := vlek.Chain(f)
	inputs := fuzz.New(f, a.Raw, b.Raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(derSequence(data))
		c, err := attest.ParseVCEK(data)
		if err != nil && c != (attest.VCEK{}) {
			t.Error("a VCEK beside an error")
		}
		p, err := attest.ParseVLEK(data)
		if err != nil && p != (attest.VLEK{}) {
			t.Error("a VLEK beside an error")
		}
	})
}

// FuzzSNPExtensions goes where a certificate's own form is in the way of edits: what
// is read of extensions is written and read the same.
func FuzzSNPExtensions(f *testing.F) {
	var goods [][]byte
	for _, line := range []attest.ProductLine{attest.Milan, attest.Turin} {
		s := attesttest.NewSNPOn(f, attest.SNP, line, nil, attesttest.Nonce(1))
		_, leaf := s.Chain(f)
		s.UseVLEK(f, cloud)
		_, provider := s.Chain(f)
		for _, c := range []*x509.Certificate{leaf, provider} {
			data, err := asn1.Marshal(c.Extensions)
			if err != nil {
				f.Fatal(err)
			}
			goods = append(goods, data)
		}
	}
	inputs := fuzz.New(f, goods...)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(derSequence(data))
		var extensions []pkix.Extension
		if rest, err := asn1.Unmarshal(data, &extensions); err != nil || len(rest) != 0 {
			return
		}
		vcek, vcekErr, vlek, vlekErr := attest.ParseSNPExtensions(extensions)
		coded(t, vcekErr)
		coded(t, vlekErr)
		if vcekErr == nil {
			again, err := vcek.Extensions()
			if err != nil {
				t.Fatal(err)
			}
			if got, err, _, _ := attest.ParseSNPExtensions(again); err != nil || got != vcek {
				t.Errorf("got %+v, %v, want %+v", got, err, vcek)
			}
		}
		if vlekErr == nil {
			again, err := vlek.Extensions()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, got, err := attest.ParseSNPExtensions(again); err != nil || got != vlek {
				t.Errorf("got %+v, %v, want %+v", got, err, vlek)
			}
		}
	})
}

func FuzzPCKExtension(f *testing.F) {
	good, err := attesttest.NewTDX(f, tdxAt).PCK.Extension()
	if err != nil {
		f.Fatal(err)
	}
	inputs := fuzz.New(f, good.Value)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(derSequence(data))
		p, err := attest.ParsePCKExtension(data)
		if coded(t, err); err != nil {
			return
		}
		e, err := p.Extension()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := attest.ParsePCKExtension(e.Value); err != nil || again != p {
			t.Errorf("got %+v, %v, want %+v", again, err, p)
		}
	})
}

// FuzzPEMChain: what is read of a chain is all that is in it.
func FuzzPEMChain(f *testing.F) {
	inputs := fuzz.New(f, attesttest.NewTDX(f, tdxAt).Collateral().TCBInfoChain)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(bytes.HasPrefix(data, []byte("-----BEGIN CERTIFICATE-----\n")))
		chain, err := attest.PEMChain(data)
		if coded(t, err); err != nil {
			if chain != nil {
				t.Error("a chain beside an error")
			}
			return
		}
		var written []byte
		for _, c := range chain {
			written = append(written, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
		again, err := attest.PEMChain(written)
		if err != nil || !slices.EqualFunc(chain, again, (*x509.Certificate).Equal) {
			t.Errorf("got %d certificates, %v, want the %d that were read", len(again), err, len(chain))
		}
		if n := bytes.Count(data, []byte("-----BEGIN CERTIFICATE-----")); n != len(chain) {
			t.Errorf("got %d certificates of %d", len(chain), n)
		}
	})
}

// FuzzTCBInfo goes behind Intel's signature, which stops all of FuzzTDXCollateral.
func FuzzTCBInfo(f *testing.F) {
	x := attesttest.NewTDX(f, tdxAt)
	info, err := json.Marshal(x.TCBInfo)
	if err != nil {
		f.Fatal(err)
	}
	identity, err := json.Marshal(x.QEIdentity)
	if err != nil {
		f.Fatal(err)
	}
	count, infos, identities := fuzz.NewCount(f), fuzz.NewGoods(f, info), fuzz.NewGoods(f, identity)
	for _, seed := range [][2]byte{{0xff, 0xff}, {0x20, 0xff}, {0xff, 0x20}} {
		f.Add(seed[:1], seed[1:])
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		info, identity := infos.Of(a), identities.Of(b)
		count.Add(json.Valid(info) && json.Valid(identity))
		platform, module, enclave, err := attest.TCBInfoStatus(info, identity, &x.Quote, &x.PCK)
		if coded(t, err); err != nil {
			return
		}
		for _, s := range []attest.TDXStatus{platform, module, enclave} {
			if !slices.Contains(attest.Statuses(), s) {
				t.Errorf("got status %q", s)
			}
		}
		// What Intel would sign has every level that its status came from.
		if !bytes.Contains(info, []byte(platform)) && !bytes.Contains(info, []byte(`\u`)) {
			t.Errorf("got status %q, which is nowhere in the TCB info", platform)
		}
	})
}

// FuzzCRL: a list that is accepted for a certificate does not have it, read another way.
func FuzzCRL(f *testing.F) {
	x := attesttest.NewTDX(f, tdxAt)
	clean := x.Collateral().RootCRL
	x.Revoked = []string{"tcb"}
	chain, err := attest.PEMChain(x.Collateral().TCBInfoChain)
	if err != nil {
		f.Fatal(err)
	}
	revoked := x.Collateral().RootCRL
	if code := verdict.CodeOf(attest.CRLScope(revoked, chain[0])); code != verdict.EndorsementRevoked {
		f.Fatalf("got %q, want a list that has the certificate", code)
	}
	inputs := fuzz.New(f, clean, revoked)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(derSequence(data))
		err := attest.CRLScope(data, chain[0])
		if coded(t, err); err != nil {
			return
		}
		var list pkix.CertificateList
		if rest, err := asn1.Unmarshal(data, &list); err != nil || len(rest) != 0 {
			return // encoding/asn1 is stricter with strings and times
		}
		for _, entry := range list.TBSCertList.RevokedCertificates {
			if entry.SerialNumber.Cmp(chain[0].SerialNumber) == 0 {
				t.Error("accepted with a list that has the certificate")
			}
		}
	})
}

// FuzzDirectoryNames: a name that is passed over is only a directory's.
func FuzzDirectoryNames(f *testing.F) {
	model := pkix.Name{CommonName: "model"}.ToRDNSequence()
	name, err := asn1.Marshal(model)
	if err != nil {
		f.Fatal(err)
	}
	good, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}})
	if err != nil {
		f.Fatal(err)
	}
	if err := attest.DirectoryNames(good); err != nil {
		f.Fatal(err)
	}
	inputs := fuzz.New(f, good)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(derSequence(data))
		err := attest.DirectoryNames(data)
		if coded(t, err); err != nil {
			return
		}
		// What is left to say of it is that each name is [4], which the test does by hand.
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(data, &names); err != nil || len(names) == 0 {
			t.Fatalf("accepted without names: %v", err)
		}
		for _, n := range names {
			if n.FullBytes[0] != 0xa4 {
				t.Errorf("accepted a name of tag 0x%02x", n.FullBytes[0])
			}
		}
	})
}
