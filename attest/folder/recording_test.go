// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
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
		"of another kind":            {member("kind", "azure-snp"), verdict.EvidenceUnsupported, "a statement of kind"},
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

// FuzzReadRecording: whatever case.json says, nothing but what the folder has is read,
// and what is read is a collection or a reason.
func FuzzReadRecording(f *testing.F) {
	collection := attesttest.NewSNP(f, attest.SNP, []byte("{}"), attesttest.Nonce(1)).Bytes(f)
	files, err := folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: collection, Trust: []byte("trust"), Head: []byte("head"), Nonce: attesttest.Nonce(1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(files[folder.CaseName], files["report.bin"])
	tpm := attesttest.NewTPM(f, attesttest.Statement(f), attesttest.Nonce(1)).Bytes(f)
	quoted, err := folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: tpm})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(quoted[folder.CaseName], quoted["pcrs.json"])
	f.Fuzz(func(t *testing.T, of, data []byte) {
		fsys := fstest.MapFS{folder.CaseName: &fstest.MapFile{Data: of}}
		for _, set := range []map[string][]byte{files, quoted} {
			for name := range set {
				if name != folder.CaseName {
					fsys[name] = &fstest.MapFile{Data: set[name]}
				}
			}
		}
		fsys["report.bin"], fsys["pcrs.json"] = &fstest.MapFile{Data: data}, &fstest.MapFile{Data: data}
		r, daemon, err := folder.ReadRecording(fsys)
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
