// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// TestStatement: where a folder has a statement, the evidence is bound to it, whatever
// else the policy demands.
func TestStatement(t *testing.T) {
	nonce := attesttest.Nonce(1)
	statement := []byte("{}")
	bound := verdict.ReportData(statement, nonce[:])
	made := func() (fstest.MapFS, object) {
		files, c := snpFolder(t, func(x *attesttest.SNP) { x.Statement, x.Nonces = statement, nonce[:] })
		files["statement.json"], files["nonces.bin"] = &fstest.MapFile{Data: statement}, &fstest.MapFile{Data: nonce[:]}
		c["statement"], c["nonce"] = "statement.json", "nonces.bin"
		return files, c
	}
	for name, tt := range map[string]struct {
		change change
		code   verdict.Code // "" with a text is a misuse
		text   string
	}{
		"good":                       {unchanged, "", ""},
		"its report data demanded":   {policy("report_data", strings.ToUpper(hex.EncodeToString(bound[:]))), "", ""},
		"no report data demanded":    {undemanded("report_data"), "", ""},
		"another demanded":           {policy("report_data", strings.Repeat("00", 64)), verdict.EvidenceBinding, "another binding than its statement"},
		"another statement":          {both(undemanded("report_data"), func(f fstest.MapFS, _ object) { f["statement.json"].Data = []byte("[]") }), verdict.EvidenceBinding, "REPORT_DATA"},
		"another nonce":              {both(undemanded("report_data"), func(f fstest.MapFS, _ object) { f["nonces.bin"].Data = []byte("x") }), verdict.EvidenceBinding, "REPORT_DATA"},
		"no nonce":                   {both(undemanded("report_data"), member("nonce", "")), verdict.EvidenceBinding, "REPORT_DATA"},
		"a statement that is gone":   {func(f fstest.MapFS, _ object) { delete(f, "statement.json") }, "", "statement.json"},
		"nonces that are gone":       {func(f fstest.MapFS, _ object) { delete(f, "nonces.bin") }, "", "nonces.bin"},
		"a quote's nonce":            {policy("nonce", "00"), verdict.EvidenceBinding, "another binding than its statement"},
		"of another kind":            {member("kind", "sgx"), verdict.EvidenceUnsupported, "a statement of kind"},
		"under a relying party's":    {policy("daemon", object{"trust": "trust.yaml", "head": "head.json"}), verdict.EvidenceUnsupported, "policy.daemon"},
		"of the simulator, strictly": {member("kind", "sim-snp"), verdict.EvidenceUnsupported, "is not appraised"},
	} {
		t.Run(name, func(t *testing.T) {
			files, c := made()
			tt.change(files, c)
			r, err := appraised(t, files, c)
			if tt.text == "" {
				if err != nil || r.Measurement == "" {
					t.Errorf("got %+v, %v", r, err)
				}
				return
			}
			wantRefusal(t, name, err, tt.code, tt.text)
		})
	}
}

// TestRecordLimits: what would be no folder is not made, and what is none is not read.
func TestRecordLimits(t *testing.T) {
	collection := attesttest.NewSNP(t, attest.SNP, []byte("{}"), attesttest.Nonce(1)).Bytes(t)
	of := func(r folder.Recording) (map[string][]byte, error) {
		r.Collection = collection
		return folder.Record(folder.Case{Name: "made", At: attesttest.At}, r)
	}
	files, err := of(folder.Recording{Trust: []byte("x"), Head: make([]byte, 2<<20)})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]folder.Recording{
		"trust.yaml": {Trust: make([]byte, 1<<20+1)}, "head.json": {Head: make([]byte, verdict.MaxHeadSet+1)},
	} {
		_, err := of(r)
		if _, misuse := errors.AsType[*verdict.Misuse](err); !misuse || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	if r, daemon, err := folder.ReadRecording(fsys); err != nil || !daemon || len(r.Head) != 2<<20 || string(r.Collection) != string(collection) {
		t.Errorf("got %t, %v", daemon, err)
	}
	fsys["head.json"].Data = make([]byte, verdict.MaxHeadSet+1)
	_, daemon, err := folder.ReadRecording(fsys)
	wantRefusal(t, "a large head", err, "", "head.json")
	fsys["head.json"].Data, fsys["trust.yaml"].Data = nil, make([]byte, 1<<20+1)
	if !daemon {
		t.Error("it is not known as a recording")
	}
	_, _, err = folder.ReadRecording(fsys)
	wantRefusal(t, "a large trust.yaml", err, "", "trust.yaml")
	delete(fsys, folder.CaseName)
	_, daemon, err = folder.ReadRecording(fsys)
	wantRefusal(t, "no case", err, "", folder.CaseName)
	if daemon {
		t.Error("nothing is a recording")
	}
}

// TestRecordAzure: the parts of Azure's evidence are files of their own, which give its
// bytes back, and of which none is left out.
func TestRecordAzure(t *testing.T) {
	for kind, z := range map[string]*attesttest.Azure{"azure-snp": attesttest.NewAzureSNP(t, nil), "azure-tdx": attesttest.NewAzureTDX(t, nil)} {
		collection := z.State(t, attesttest.Statement(t), attesttest.Nonce(1)).Collection(t)
		items := collection.Items[attest.LabelEvidence].Nested.Items
		for label, item := range items { // as a daemon marks them
			item.Indicator = attest.IndicatorEvidence
			items[label] = item
		}
		made, err := collection.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		files, err := folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: made})
		if err != nil {
			t.Fatal(err)
		}
		fsys := fstest.MapFS{}
		for name, data := range files {
			fsys[name] = &fstest.MapFile{Data: data}
		}
		r, daemon, err := folder.ReadRecording(fsys)
		if err != nil || !daemon || string(r.Collection) != string(made) || r.Case.Kind != kind || r.Case.Format != "tpm-quote" || files["hcl.bin"] == nil || (files["td.bin"] != nil) != (kind == "azure-tdx") || files["collection.cmw"] != nil {
			t.Errorf("%s: got %+v, %t, %v", kind, r.Case, daemon, err)
		}
		if r.Case.Policy.TPMNonce == nil || r.Case.Policy.ReportData != nil {
			t.Errorf("%s: the policy demands %+v", kind, r.Case.Policy)
		}
		delete(fsys, "hcl.bin")
		_, _, err = folder.ReadRecording(fsys)
		wantRefusal(t, kind, err, "", "hcl.bin")
		// What cannot be taken apart is kept whole, by its kind.
		delete(items, attest.LabelSignature)
		if made, err = collection.Marshal(); err != nil {
			t.Fatal(err)
		}
		if files, err = folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: made}); err != nil || string(files["collection.cmw"]) != string(made) || !bytes.Contains(files[folder.CaseName], []byte(kind)) {
			t.Errorf("%s, without a signature: %v", kind, err)
		}
	}
}

// TestRecordSVSM: the same of the evidence of a guest with an SVSM.
func TestRecordSVSM(t *testing.T) {
	s := attesttest.NewSVSM(t, attesttest.Statement(t), attesttest.Nonce(1))
	made := s.Bytes(t)
	files, err := folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: made, Nonce: attesttest.Nonce(1)})
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	r, daemon, err := folder.ReadRecording(fsys)
	if err != nil || !daemon || string(r.Collection) != string(made) || r.Case.Kind != verdict.KindSVSM || files["collection.cmw"] != nil {
		t.Errorf("got %+v, %t, %v", r.Case, daemon, err)
	}
	result, err := attest.Appraise(r.Collection, s.Input(t), attesttest.At)
	if err != nil {
		t.Fatal(err)
	}
	if report := r.Appraised(result); report.SNP == nil || report.Measurement != result.Measurement {
		t.Errorf("got %+v", report)
	}
	for _, file := range []string{"report.bin", "manifest.bin", "quote.bin"} {
		data := fsys[file]
		delete(fsys, file)
		_, _, err = folder.ReadRecording(fsys)
		wantRefusal(t, file, err, "", file)
		fsys[file] = data
	}
}

// TestReadRecording: a recording, and one change to it.
func TestReadRecording(t *testing.T) {
	snp, tpm := attesttest.NewSNP(t, attest.SimulatedSNP, []byte("{}"), attesttest.Nonce(1)).Bytes(t), attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1)).Bytes(t)
	swapped := func(f fstest.MapFS, old, replacement string) {
		f["pcrs.json"].Data = []byte(strings.Replace(string(f["pcrs.json"].Data), old, replacement, 1))
	}
	for name, tt := range map[string]struct {
		collection []byte
		change     change
		code       verdict.Code // "" with a text is a misuse
		text       string
	}{
		"SNP":                      {snp, unchanged, "", ""},
		"TPM":                      {tpm, unchanged, "", ""},
		"a demand beside":          {snp, policy("require_crl", true), verdict.EvidenceUnsupported, "stands alone"},
		"a root beside":            {snp, member("roots", []any{object{"type": "amd-ark", "file": "ark.der"}}), verdict.EvidenceUnsupported, "stands alone"},
		"another format":           {snp, member("format", "snp-report+cert-table"), verdict.EvidenceUnsupported, "in format"},
		"a quote of another kind":  {tpm, member("kind", "snp"), verdict.EvidenceUnsupported, "of kind"},
		"another format of a TPM":  {tpm, member("format", "tpm"), verdict.EvidenceUnsupported, "in format"},
		"values of another bank":   {tpm, func(f fstest.MapFS, _ object) { swapped(f, `"sha256"`, `"sha1"`) }, "", "of bank"},
		"values of another PCR":    {tpm, func(f fstest.MapFS, _ object) { swapped(f, `"15":`, `"23":`) }, verdict.TPMSelection, "named as other PCRs"},
		"a value less":             {tpm, func(f fstest.MapFS, _ object) { swapped(f, `"15":`, `"14":`) }, verdict.TPMSelection, "named as other PCRs"},
		"a PCR 24":                 {tpm, func(f fstest.MapFS, _ object) { swapped(f, `"15":`, `"24":`) }, "", "no PCR"},
		"values of no form":        {tpm, func(f fstest.MapFS, _ object) { f["pcrs.json"].Data = []byte("x") }, "", "pcrs"},
		"values that are gone":     {tpm, func(f fstest.MapFS, _ object) { delete(f, "pcrs.json") }, "", "pcrs.json"},
		"a signature that is gone": {tpm, func(f fstest.MapFS, _ object) { delete(f, "signature.bin") }, "", "signature.bin"},
		"a report that is gone":    {snp, func(f fstest.MapFS, _ object) { delete(f, "report.bin") }, "", "report.bin"},
		"a list that is gone":      {snp, func(f fstest.MapFS, _ object) { delete(f, "crl.der") }, "", "crl.der"},
		"registers that are gone":  {tpm, func(f fstest.MapFS, _ object) { delete(f, "registers.json") }, "", "registers.json"},
		"a large report":           {snp, func(f fstest.MapFS, _ object) { f["report.bin"].Data = make([]byte, 900<<10) }, "", "encoding collection"},
		"another endorsement":      {snp, member("endorsements", []any{object{"type": "x", "file": "ark.der"}}), verdict.EvidenceUnsupported, `"x"`},
		"another binding":          {snp, policy("report_data", "00"), verdict.EvidenceBinding, "another binding"},
		"a nonce of another size":  {snp, func(_ fstest.MapFS, c object) { c["policy"].(object)["daemon"].(object)["nonce"] = "00" }, "", "policy.daemon.nonce"},
		"an unknown member":        {snp, func(_ fstest.MapFS, c object) { c["policy"].(object)["daemon"].(object)["x"] = 1 }, "", "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: tt.collection, Trust: []byte("x"), Head: []byte("x"), Nonce: attesttest.Nonce(1)})
			if err != nil {
				t.Fatal(err)
			}
			fsys := fstest.MapFS{}
			for name, data := range files {
				fsys[name] = &fstest.MapFile{Data: data}
			}
			var c object
			if err := json.Unmarshal(files[folder.CaseName], &c); err != nil {
				t.Fatal(err)
			}
			tt.change(fsys, c)
			data, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			fsys[folder.CaseName] = &fstest.MapFile{Data: data}
			r, daemon, err := folder.ReadRecording(fsys)
			if tt.text == "" {
				if err != nil || !daemon || string(r.Collection) != string(tt.collection) || r.Nonce != attesttest.Nonce(1) {
					t.Errorf("got %t, %v", daemon, err)
				}
				return
			}
			wantRefusal(t, name, err, tt.code, tt.text)
		})
	}
	_, err := folder.Record(folder.Case{Name: "made", At: attesttest.At.AddDate(9000, 0, 0)}, folder.Recording{Collection: snp})
	wantRefusal(t, "a time of no form", err, "", "year outside")
}

// recordings are what daemons of each kind record.
func recordings(t testing.TB) (out []map[string][]byte) {
	t.Helper()
	statement, nonce := attesttest.Statement(t), attesttest.Nonce(1)
	for _, c := range []attest.Collection{
		attesttest.NewSNP(t, attest.SNP, []byte("{}"), nonce).Collection(t),
		attesttest.NewTD(t, attest.TDX, statement, nonce).Collection(),
		attesttest.NewTPM(t, statement, nonce).Collection(t),
		attesttest.NewAzureSNP(t, nil).State(t, statement, nonce).Collection(t),
		attesttest.NewAzureTDX(t, nil).State(t, statement, nonce).Collection(t),
		attesttest.NewSVSM(t, statement, nonce).Collection(t),
	} {
		files, err := folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: encoded(t, marked(c)), Trust: []byte("trust"), Head: []byte("head"), Nonce: nonce})
		if err != nil {
			t.Fatal(err)
		}
		if files["collection.cmw"] != nil {
			t.Fatal("a recording in one piece")
		}
		out = append(out, files)
	}
	return out
}

// recordedGoods are recordings of which one file is edited.
type recordedGoods struct {
	files [][]string // names, case.json first
	goods [][]fuzz.Goods
	all   []map[string][]byte
}

func newRecordedGoods(f *testing.F) *recordedGoods {
	f.Helper()
	in := &recordedGoods{all: recordings(f)}
	for i, files := range in.all {
		names := []string{folder.CaseName}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if name != folder.CaseName {
				names = append(names, name)
			}
		}
		var goods []fuzz.Goods
		for j, name := range names {
			goods = append(goods, fuzz.NewGoods(f, files[name]))
			f.Add(byte(i), byte(j), []byte{0x20})
			f.Add(byte(i), byte(j), []byte{0xff})
		}
		in.files, in.goods = append(in.files, names), append(in.goods, goods)
	}
	return in
}

// Of returns a recording with one file edited, which for one in two is case.json.
func (in *recordedGoods) Of(which, file byte, data []byte) fstest.MapFS {
	i := int(which) % len(in.all)
	j := 0
	if file < 128 {
		j = int(file) % len(in.files[i])
	}
	fsys := mapFS(in.all[i])
	fsys[in.files[i][j]] = &fstest.MapFile{Data: in.goods[i][j].Of(data)}
	return fsys
}

// FuzzReadRecording: whatever its files say, what is read is a collection or a reason,
// and can be written and read again.
func FuzzReadRecording(f *testing.F) {
	inputs, count := newRecordedGoods(f), fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, which, file byte, data []byte) {
		fsys := inputs.Of(which, file, data)
		count.Add(json.Valid(fsys[folder.CaseName].Data))
		r, daemon, err := folder.ReadRecording(fsys)
		if err != nil && !judged(err) {
			t.Errorf("an error without a code: %v", err)
		}
		if err != nil || !daemon {
			return
		}
		if r.Case.Policy.Daemon == nil || r.Case.Evidence == "" {
			t.Fatalf("got %+v", r.Case)
		}
		// What was read can be written, and is the same then.
		again, err := folder.Record(r.Case, r)
		if err != nil {
			return // larger than a folder may be
		}
		var c folder.Case
		if err := json.Unmarshal(again[folder.CaseName], &c); err != nil {
			t.Fatal(err)
		}
		copied := fstest.MapFS{}
		for name, data := range again {
			copied[name] = &fstest.MapFile{Data: data}
		}
		s, daemon, err := folder.ReadRecording(copied)
		if err != nil || !daemon || string(s.Collection) != string(r.Collection) || s.Nonce != r.Nonce {
			t.Fatalf("got %t, %v, a nonce %x, want %x", daemon, err, s.Nonce, r.Nonce)
		}
	})
}
