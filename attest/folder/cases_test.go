// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// judged tells whether err is an answer about a folder: a misuse, or a code of its own.
func judged(err error) bool {
	_, misuse := errors.AsType[*verdict.Misuse](err)
	return misuse || verdict.CodeOf(err) != verdict.Internal && !strings.Contains(err.Error(), "runtime error")
}

// A seed is a folder that is accepted.
type seed struct {
	files fstest.MapFS
	of    []byte // case.json
}

// gceExtensions are Google's for the instance that an attestation key's certificate is of,
// and for keys of TPMs (TCG EK Credential Profile, tcg-kp-EKCertificate).
func gceExtensions(t testing.TB) []pkix.Extension {
	t.Helper()
	type properties struct {
		Version    int  `asn1:"explicit,tag:0"`
		Production bool `asn1:"explicit,tag:1"`
		Other      int  `asn1:"explicit,tag:2"`
	}
	value, err := asn1.Marshal(struct {
		Zone      string `asn1:"utf8"`
		Number    int
		ProjectID string `asn1:"utf8"`
		ID        int
		Name      string     `asn1:"utf8"`
		Of        properties `asn1:"explicit,tag:0"`
	}{"us-central1-a", 1, "google.com:project", 2, "vm", properties{Production: true}})
	if err != nil {
		t.Fatal(err)
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{2, 23, 133, 8, 1}})
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}, Value: value}, {Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: usage}}
}

// seeds are a folder of each kind.
func seeds(t testing.TB) (out []seed) {
	t.Helper()
	add := func(files fstest.MapFS, c object) {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		files[folder.CaseName] = &fstest.MapFile{Data: data}
		if _, err := folder.Appraise(files); err != nil {
			t.Fatalf("%s: got %v", c["kind"], err)
		}
		out = append(out, seed{files, data})
	}
	add(snpFolder(t, asIs))
	add(tdxFolderOf(attesttest.NewTDX(t, at)))
	_, _, tpm := tpmFolder(t)
	add(tpm())
	_, _, gce := tpmFolder(t, gceExtensions(t)...)
	files, c := gce()
	c["policy"].(object)["gce"] = object{"project_id": "google.com:project", "zone": "us-central1-a"}
	add(files, c)
	add(azureFolder(t, attesttest.NewAzureSNP(t, []byte("nonce"))))
	add(azureFolder(t, attesttest.NewAzureTDX(t, []byte("nonce"))))
	return out
}

// FuzzAppraise: whatever case.json says of good files, there is an answer; and what is
// accepted under a list of measurements is on it, as any other reader of JSON reads it.
func FuzzAppraise(f *testing.F) {
	all := seeds(f)
	goods := make([]fuzz.Goods, len(all))
	for i, s := range all {
		goods[i] = fuzz.NewGoods(f, s.of)
		f.Add(byte(i), []byte{0xff})
		f.Add(byte(i), []byte{0x20})
	}
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		i := int(which) % len(all)
		data = goods[i].Of(data)
		count.Add(json.Valid(data))
		fsys := maps.Clone(all[i].files)
		fsys[folder.CaseName] = &fstest.MapFile{Data: data}
		r, err := folder.Appraise(fsys)
		if err != nil {
			if !judged(err) {
				t.Errorf("an error without a code: %v", err)
			}
			if r.Measurement != "" || r.Status != "" || r.GCE != nil {
				t.Errorf("with %v came %+v", err, r)
			}
			return
		}
		var c struct {
			Kind   string `json:"kind"`
			Policy struct {
				Measurements []string `json:"measurements"`
				MRTD         []string `json:"mrtd"`
				GCE          *struct {
					ProjectID string `json:"project_id"`
				} `json:"gce"`
			} `json:"policy"`
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		on := func(list []string) bool {
			return list == nil || slices.ContainsFunc(list, func(m string) bool { return strings.EqualFold(m, r.Measurement) })
		}
		if strings.HasSuffix(c.Kind, "snp") && !on(c.Policy.Measurements) || strings.HasSuffix(c.Kind, "tdx") && len(c.Policy.MRTD) > 0 && !on(c.Policy.MRTD) {
			t.Errorf("accepted %s under %+v", r.Measurement, c)
		}
		if g := c.Policy.GCE; g != nil && (r.GCE == nil || g.ProjectID != "" && g.ProjectID != r.GCE.ProjectID) {
			t.Errorf("accepted %+v under %+v", r.GCE, g)
		}
	})
}

// TestCaseTruncated: no prefix of a case is one.
func TestCaseTruncated(t *testing.T) {
	for _, s := range seeds(t) {
		for n := range s.of {
			s.files[folder.CaseName] = &fstest.MapFile{Data: s.of[:n]}
			_, err := folder.Appraise(s.files)
			wantRefusal(t, "a part of a case", err, "", folder.CaseName)
		}
	}
}
