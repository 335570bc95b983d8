// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
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

// seeds are files, and what case.json says of them: of an SNP report, and of a TDX quote.
func seeds(t testing.TB) (files fstest.MapFS, snp, tdx []byte) {
	t.Helper()
	files, one := snpFolder(t, asIs)
	other, two := tdxFolderOf(attesttest.NewTDX(t, at))
	maps.Copy(files, other)
	var err error
	if snp, err = json.Marshal(one); err != nil {
		t.Fatal(err)
	}
	if tdx, err = json.Marshal(two); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]byte{snp, tdx} {
		files[folder.CaseName] = &fstest.MapFile{Data: c}
		if r, err := folder.Appraise(files); err != nil || r.Measurement == "" {
			t.Fatalf("got %v", err)
		}
	}
	return files, snp, tdx
}

// FuzzAppraise: whatever case.json says of good files, there is an answer; and what is
// accepted under a list of measurements is on it, as any other reader of JSON reads it.
func FuzzAppraise(f *testing.F) {
	files, snp, tdx := seeds(f)
	inputs := fuzz.New(f, snp, tdx)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		fsys := maps.Clone(files)
		fsys[folder.CaseName] = &fstest.MapFile{Data: data}
		r, err := folder.Appraise(fsys)
		if err != nil {
			if !judged(err) {
				t.Errorf("an error without a code: %v", err)
			}
			if r.Measurement != "" || r.Status != "" {
				t.Errorf("with %v came %+v", err, r)
			}
			return
		}
		var c struct {
			Kind   string `json:"kind"`
			Policy struct {
				Measurements []string `json:"measurements"`
				MRTD         []string `json:"mrtd"`
			} `json:"policy"`
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		on := func(list []string) bool {
			return list == nil || slices.ContainsFunc(list, func(m string) bool { return strings.EqualFold(m, r.Measurement) })
		}
		if c.Kind == "snp" && !on(c.Policy.Measurements) || c.Kind == "tdx" && len(c.Policy.MRTD) > 0 && !on(c.Policy.MRTD) {
			t.Errorf("accepted %s under %+v", r.Measurement, c)
		}
	})
}

// TestCaseTruncated: no prefix of a case is one.
func TestCaseTruncated(t *testing.T) {
	files, snp, tdx := seeds(t)
	for _, c := range [][]byte{snp, tdx} {
		for n := range c {
			files[folder.CaseName] = &fstest.MapFile{Data: c[:n]}
			_, err := folder.Appraise(files)
			wantRefusal(t, "a part of a case", err, "", folder.CaseName)
		}
	}
}
