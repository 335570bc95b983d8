// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

var (
	oidGCE = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEK  = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
)

// gceProperties and gceExtension are Google's extension.
type gceProperties struct {
	Version    int  `asn1:"explicit,tag:0"`
	Production bool `asn1:"explicit,tag:1"`
	Other      int  `asn1:"explicit,tag:2"`
}

type gceExtension struct {
	Zone          string `asn1:"utf8"`
	ProjectNumber *big.Int
	ProjectID     string `asn1:"utf8"`
	ID            *big.Int
	Name          string        `asn1:"utf8"`
	Properties    gceProperties `asn1:"explicit,tag:0"`
}

func der(t testing.TB, value any) []byte {
	t.Helper()
	out, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func goodGCE() gceExtension {
	return gceExtension{
		Zone: "us-central1-a", ProjectNumber: big.NewInt(117266881641), ProjectID: "google.com:project", ID: new(big.Int).SetUint64(1<<63 + 1), Name: "vm",
		Properties: gceProperties{Production: true},
	}
}

// directoryName is a subject alternative name of a TPM's model.
func directoryName(t testing.TB, kind int) asn1.RawValue {
	t.Helper()
	name := der(t, pkix.Name{CommonName: "id:474F4F47"}.ToRDNSequence())
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: kind, IsCompound: true, Bytes: name}
}

// gceTPM is a TPM of Compute Engine: Google's form of a certificate, under another
// authority.
func gceTPM(t *testing.T, extension []byte) (*attesttest.TPM, attest.Input) {
	t.Helper()
	p, in := goodTPM(t)
	p.AKTemplate = &x509.Certificate{
		NotBefore: attesttest.At.Add(-time.Hour), NotAfter: attesttest.At.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidEK},
		ExtraExtensions: []pkix.Extension{
			{Id: oidSAN, Critical: true, Value: der(t, []asn1.RawValue{directoryName(t, 4)})},
			{Id: oidGCE, Value: extension},
		},
	}
	in.Trust.EKCAs, in.Trust.AKCAs, in.Known = nil, in.Trust.EKCAs, nil
	return p, in
}

func TestGCE(t *testing.T) {
	for name, tt := range map[string]struct {
		extension func(*gceExtension) // of the certificate
		change    func(*attesttest.TPM)
		demand    *attest.GCEInstance
		code      verdict.Code
		text      string
	}{
		"no demand":              {},
		"a project":              {demand: &attest.GCEInstance{ProjectID: "google.com:project"}},
		"a project by number":    {demand: &attest.GCEInstance{ProjectNumber: 117266881641}},
		"one instance":           {demand: &attest.GCEInstance{Zone: "us-central1-a", ProjectNumber: 117266881641, ProjectID: "google.com:project", ID: 1<<63 + 1, Name: "vm"}},
		"another project":        {demand: &attest.GCEInstance{ProjectID: "other"}, code: verdict.TPMAK, text: `project "google.com:project", want "other"`},
		"another project number": {demand: &attest.GCEInstance{ProjectNumber: 1}, code: verdict.TPMAK, text: "project number"},
		"another zone":           {demand: &attest.GCEInstance{ProjectNumber: 117266881641, Zone: "us-central1-b"}, code: verdict.TPMAK, text: "zone"},
		"another name":           {demand: &attest.GCEInstance{ProjectNumber: 117266881641, Name: "vm2"}, code: verdict.TPMAK, text: "for instance"},
		"another instance":       {demand: &attest.GCEInstance{ID: 1}, code: verdict.TPMAK, text: "instance number"},
		"not of production": {extension: func(e *gceExtension) { e.Properties.Production = false }, demand: &attest.GCEInstance{ProjectID: "google.com:project"},
			code: verdict.TPMAK, text: "production"},
		"no extension": {change: func(p *attesttest.TPM) { p.AKTemplate.ExtraExtensions = p.AKTemplate.ExtraExtensions[:1] }, demand: &attest.GCEInstance{ProjectID: "google.com:project"},
			code: verdict.TPMAK, text: "names no instance"},
		"no certificate": {change: func(p *attesttest.TPM) { p.AKTemplate = nil }, demand: &attest.GCEInstance{ProjectID: "google.com:project"},
			code: verdict.EndorsementMissing, text: "alone names an instance"},
		"another usage":              {change: func(p *attesttest.TPM) { p.AKTemplate.UnknownExtKeyUsage[0] = asn1.ObjectIdentifier{2, 23, 133, 8, 3} }, code: verdict.EndorsementUntrusted, text: "not for keys of TPMs"},
		"not for signatures":         {change: func(p *attesttest.TPM) { p.AKTemplate.KeyUsage = x509.KeyUsageKeyEncipherment }, code: verdict.TPMAK, text: "not for signatures"},
		"a certificate of yesterday": {change: func(p *attesttest.TPM) { p.AKTemplate.NotAfter = attesttest.At.Add(-time.Second) }, code: verdict.EndorsementExpired, text: "valid until"},
		"another critical extension": {change: func(p *attesttest.TPM) {
			p.AKTemplate.ExtraExtensions = append(p.AKTemplate.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, code: verdict.EndorsementUntrusted, text: "unhandled critical extension"},
		"a name of another type": {change: func(p *attesttest.TPM) {
			p.AKTemplate.ExtraExtensions[0].Value = der(t, []asn1.RawValue{directoryName(t, 4), directoryName(t, 0)})
		}, code: verdict.EndorsementUntrusted, text: "name of type 0"},
		"a directory name of another form": {change: func(p *attesttest.TPM) {
			p.AKTemplate.ExtraExtensions[0].Value = der(t, []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: []byte{5, 0}}})
		}, code: verdict.EndorsementMalformed, text: "directory name has another form"},
		"two directory names in one": {change: func(p *attesttest.TPM) {
			name := directoryName(t, 4)
			name.Bytes = slices.Concat(name.Bytes, name.Bytes)
			p.AKTemplate.ExtraExtensions[0].Value = der(t, []asn1.RawValue{name})
		}, code: verdict.EndorsementMalformed, text: "directory name has another form"},
		"no names": {change: func(p *attesttest.TPM) { p.AKTemplate.ExtraExtensions[0].Value = der(t, []asn1.RawValue{}) }, code: verdict.EndorsementMalformed, text: "no sequence of names"},
	} {
		t.Run(name, func(t *testing.T) {
			e := goodGCE()
			if tt.extension != nil {
				tt.extension(&e)
			}
			p, in := gceTPM(t, der(t, e))
			if tt.change != nil {
				tt.change(p)
			}
			in.Trust.GCE = tt.demand
			got, err := attest.Appraise(p.Bytes(t), in, attesttest.At)
			if verdict.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v, want %q with %q", err, tt.code, tt.text)
			}
			want := &attest.GCEInstance{Zone: "us-central1-a", ProjectNumber: 117266881641, ProjectID: "google.com:project", ID: 1<<63 + 1, Name: "vm"}
			if err != nil {
				want = nil
			}
			if !cmp.Equal(got.GCE, want) {
				t.Errorf("got instance %+v, want %+v", got.GCE, want)
			}
		})
	}
	// What Google does not mark is told of nobody.
	e := goodGCE()
	e.Properties.Production = false
	p, in := gceTPM(t, der(t, e))
	if got, err := attest.Appraise(p.Bytes(t), in, attesttest.At); err != nil || got.GCE != nil {
		t.Errorf("not of production, without a demand: got %+v, %v", got.GCE, err)
	}
	in.Trust.GCE = &attest.GCEInstance{Zone: "us-central1-a", Name: "vm"}
	_, err := attest.Appraise(p.Bytes(t), in, attesttest.At)
	if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
		t.Errorf("a demand without a project: got %v", err)
	}
}

// TestGCEForm: the extension has one form.
func TestGCEForm(t *testing.T) {
	good := der(t, goodGCE())
	raw := func(change func(members []asn1.RawValue) []asn1.RawValue) []byte {
		var members []asn1.RawValue
		if _, err := asn1.Unmarshal(good, &members); err != nil {
			t.Fatal(err)
		}
		return der(t, change(members))
	}
	member := func(i int, value []byte) []byte {
		return raw(func(m []asn1.RawValue) []asn1.RawValue { m[i] = asn1.RawValue{FullBytes: value}; return m })
	}
	properties := func(p ...asn1.RawValue) []byte {
		return member(5, der(t, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: der(t, p)}))
	}
	tagged := func(tag int, value []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: value}
	}
	production := der(t, true)
	for name, tt := range map[string]struct {
		extension []byte
		text      string
	}{
		"good":                       {good, ""},
		"more properties":            {properties(tagged(1, production), tagged(30, der(t, "x"))), ""},
		"nothing":                    {nil, "no sequence of 6"},
		"bytes behind":               {append(bytes.Clone(good), 5, 0), "no sequence of 6"},
		"five members":               {raw(func(m []asn1.RawValue) []asn1.RawValue { return m[:5] }), "no sequence of 6"},
		"seven members":              {raw(func(m []asn1.RawValue) []asn1.RawValue { return append(m, m[0]) }), "no sequence of 6"},
		"a printable zone":           {member(0, der(t, "zone")), "a name"},
		"a project of no text":       {member(2, der(t, 1)), "a name"},
		"an empty name":              {member(4, []byte{asn1.TagUTF8String, 0}), "a name"},
		"a long name":                {member(4, append([]byte{asn1.TagUTF8String, 0x81, 129}, make([]byte, 129)...)), "a name"},
		"a name of no UTF-8":         {member(4, []byte{asn1.TagUTF8String, 1, 0xff}), "a name"},
		"a project number of text":   {member(1, der(t, "1")), "a number"},
		"a negative project number":  {member(1, der(t, -1)), "a number"},
		"project number 0":           {member(1, der(t, 0)), "a number"},
		"an instance of 65 bits":     {member(3, der(t, new(big.Int).Lsh(big.NewInt(1), 64))), "a number"},
		"a number with zeros before": {member(3, []byte{asn1.TagInteger, 2, 0, 1}), "a number"},
		"properties without a tag":   {member(5, der(t, []bool{true})), "another tag"},
		"properties of tag 1":        {member(5, der(t, tagged(1, der(t, []asn1.RawValue{})))), "another tag"},
		"properties of no sequence":  {member(5, der(t, tagged(0, der(t, 1)))), "no sequence"},
		"properties in disorder":     {properties(tagged(2, der(t, 1)), tagged(1, production)), "not in order"},
		"production twice":           {properties(tagged(1, production), tagged(1, production)), "not in order"},
		"a property without a tag":   {properties(asn1.RawValue{FullBytes: production}), "not in order"},
		"production of a number":     {properties(tagged(1, der(t, 1))), "no boolean"},
		"two marks in one":           {properties(tagged(1, slices.Concat(production, production))), "no boolean"},
		"production of 1":            {properties(tagged(1, []byte{asn1.TagBoolean, 1, 1})), "no boolean"},
	} {
		p, in := gceTPM(t, tt.extension)
		got, err := attest.Appraise(p.Bytes(t), in, attesttest.At)
		if tt.text == "" {
			if err != nil || got.GCE == nil {
				t.Errorf("%s: got %+v, %v", name, got.GCE, err)
			}
			continue
		}
		if verdict.CodeOf(err) != verdict.EndorsementMalformed || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %s with %q", name, err, verdict.EndorsementMalformed, tt.text)
		}
	}
}

// TestGCERoot: the root is Google's, and it vouches for the genuine instance.
func TestGCERoot(t *testing.T) {
	root := attest.GCERoot()
	if digest := verdict.SHA256(root.Raw); digest != "sha256:9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf" {
		t.Errorf("got root %s", digest)
	}
	certificate, err := x509.ParseCertificate(sharedFile(t, "evidence", "tpm-gce-genuine-accept", "ak.der"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(certificate.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidGCE) })
	got, err := attest.ParseGCEInstance(certificate.Extensions[i].Value)
	want := &attest.GCEInstance{Zone: "us-central1-a", ProjectNumber: 117478743145, ProjectID: "google.com:wuale-gcp-testing", ID: 6797026933021542085, Name: "cos-test"}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func FuzzGCEInstance(f *testing.F) {
	inputs := fuzz.New(f, der(f, goodGCE()))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		var outer asn1.RawValue
		_, outerErr := asn1.Unmarshal(data, &outer)
		inputs.Add(outerErr == nil && outer.Tag == asn1.TagSequence)
		g, err := attest.ParseGCEInstance(data)
		if err != nil && g != nil {
			t.Error("an instance beside an error")
		}
		if g != nil && (g.Zone == "" || g.ProjectID == "" || g.Name == "" || g.ID == 0 || g.ProjectNumber == 0) {
			t.Errorf("got %+v", g)
		}
	})
}
