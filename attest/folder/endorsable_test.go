// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"encoding/json"
	"maps"
	"testing"
	"testing/fstest"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// marked gives a quote's parts the indicator that daemons give them.
func marked(c attest.Collection) attest.Collection {
	if nested := c.Items[attest.LabelEvidence].Nested; nested != nil {
		for label, item := range nested.Items {
			item.Indicator = attest.IndicatorEvidence
			nested.Items[label] = item
		}
	}
	return c
}

func encoded(t testing.TB, c attest.Collection) []byte {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mapFS(files map[string][]byte) fstest.MapFS {
	out := fstest.MapFS{}
	for name, data := range files {
		out[name] = &fstest.MapFile{Data: data}
	}
	return out
}

// TestEndorsableRecording: a recording without endorsements that gets them is the one of
// a daemon that had them, of each kind that has a processor.
func TestEndorsableRecording(t *testing.T) {
	statement, nonce := attesttest.Statement(t), attesttest.Nonce(1)
	for kind, made := range map[string]attest.Collection{
		"snp":       attesttest.NewSNP(t, attest.SNP, []byte("{}"), nonce).Collection(t),
		"tdx":       attesttest.NewTD(t, attest.TDX, statement, nonce).Collection(),
		"azure-snp": attesttest.NewAzureSNP(t, nil).State(t, statement, nonce).Collection(t),
		"azure-tdx": attesttest.NewAzureTDX(t, nil).State(t, statement, nonce).Collection(t),
		"snp-svsm":  attesttest.NewSVSM(t, statement, nonce).Collection(t),
	} {
		t.Run(kind, func(t *testing.T) {
			made = marked(made)
			p, all, err := attest.PlatformOf(encoded(t, made))
			if err != nil {
				t.Fatal(err)
			}
			wanted := map[string]attest.Item{}
			for _, label := range p.Endorsements() {
				for _, label := range []string{label, attest.ChainOf(label)} {
					if item, ok := all[label]; ok {
						item.Indicator = attest.IndicatorEndorsements
						wanted[label] = item
					}
				}
			}
			made.Items = maps.Clone(made.Items)
			delete(made.Items, attest.LabelEndorsements)
			files, err := folder.Record(folder.Case{Name: "made", At: attesttest.At}, folder.Recording{Collection: encoded(t, made), Trust: []byte("trust"), Head: []byte("head")})
			if err != nil || files["collection.cmw"] != nil {
				t.Fatal(err)
			}
			e, err := folder.OpenEndorsable(mapFS(files))
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Has) != 0 || !e.At.Equal(attesttest.At) || e.Roots.Intel != attest.IntelRoot() || len(e.Roots.AMD) != 3 {
				t.Errorf("got %+v", e)
			}
			for _, label := range e.Platform.Endorsements() {
				if !e.Demanded(label) {
					t.Errorf("%s is not demanded", label)
				}
				if err := e.Add(label, folder.Endorsed{Value: wanted[label].Value, Chain: wanted[attest.ChainOf(label)].Value}); err != nil {
					t.Fatal(err)
				}
			}
			added, err := e.Files()
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(files, added)
			made.Items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: wanted}}
			r, daemon, err := folder.ReadRecording(mapFS(files))
			if err != nil || !daemon || string(r.Collection) != string(encoded(t, made)) {
				t.Fatalf("got %t, %v", daemon, err)
			}
			// Opened again, it has them.
			if e, err = folder.OpenEndorsable(mapFS(files)); err != nil {
				t.Fatal(err)
			}
			for _, label := range e.Platform.Endorsements() {
				if has := e.Has[label]; string(has.Value) != string(wanted[label].Value) || string(has.Chain) != string(wanted[attest.ChainOf(label)].Value) {
					t.Errorf("%s is not there", label)
				}
			}
		})
	}
}

// TestEndorsableTable: what the host gave with the report is there, and not trusted for
// it.
func TestEndorsableTable(t *testing.T) {
	x := attesttest.NewSNP(t, attest.SNP, []byte("{}"), attesttest.Nonce(1))
	root, leaf := x.Chain(t)
	files := fstest.MapFS{"report.bin": &fstest.MapFile{Data: append(x.SignedReport(t), attesttest.CertTable(t, attesttest.CertEntry{GUID: attesttest.GUIDVCEK, Data: leaf.Raw})...)}}
	for name, der := range map[string][]byte{"ark": root.ARK.Raw, "ask": root.ASK.Raw} {
		files[name] = &fstest.MapFile{Data: der}
	}
	c := object{
		"name": "made", "kind": "snp", "format": "snp-report+cert-table", "evidence": "report.bin", "at": attesttest.At,
		"roots": []any{object{"type": "amd-ark", "file": "ark"}, object{"type": "amd-ask", "file": "ask"}},
	}
	open := func() (*folder.Endorsable, error) {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		files[folder.CaseName] = &fstest.MapFile{Data: data}
		return folder.OpenEndorsable(files)
	}
	e, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if string(e.Has[attest.LabelVCEK].Value) != string(leaf.Raw) || len(e.Has) != 1 || len(e.Roots.AMD) != 1 || !e.Roots.AMD[0].ARK.Equal(root.ARK) {
		t.Errorf("got %+v", e)
	}
	if e.Demanded(attest.LabelCRL) || !e.Demanded(attest.LabelVCEK) {
		t.Error("the certificate alone is demanded")
	}
	c["policy"] = object{"require_crl": true}
	if e, err = open(); err != nil || !e.Demanded(attest.LabelCRL) {
		t.Errorf("got %v", err)
	}
	c["roots"] = []any{object{"type": "amd-ask", "file": "ask"}}
	_, err = open()
	wantRefusal(t, "no ARK", err, "", "want amd-ark")
}

// TestEndorsableRefused: what cannot be added to, one change each.
func TestEndorsableRefused(t *testing.T) {
	x := attesttest.NewTDX(t, attesttest.At)
	for name, tt := range map[string]struct {
		change change
		code   verdict.Code // "" is a misuse
		text   string
	}{
		"a kind without a processor": {member("kind", "tpm"), "", "of no processor"},
		"a simulator's":              {member("kind", "sim-tdx"), "", "of no processor"},
		"in one piece":               {member("format", folder.FormatCollection), "", "in one piece"},
		"no evidence":                {func(f fstest.MapFS, _ object) { delete(f, "quote.bin") }, "", "quote.bin"},
		"malformed evidence":         {func(f fstest.MapFS, _ object) { f["quote.bin"].Data = []byte("x") }, verdict.EvidenceMalformed, "TDX quote"},
		"another root":               {member("roots", []any{object{"type": "amd-ark", "file": "root.der"}}), "", "want intel-sgx-root"},
		"an endorsement twice":       {member("endorsements", []any{object{"type": "sgx-root-crl", "file": "root.der"}, object{"type": "sgx-root-crl", "file": "root.der"}}), "", "twice"},
		"one that is gone":           {member("endorsements", []any{object{"type": "sgx-root-crl", "file": "gone"}}), "", "gone"},
		"an unknown member":          {member("more", 1), "", "more"},
	} {
		files := fstest.MapFS{"quote.bin": &fstest.MapFile{Data: x.QuoteBytes()}, "root.der": &fstest.MapFile{Data: x.Root().Raw}}
		c := object{
			"name": "made", "kind": "tdx", "format": "tdx-quote", "evidence": "quote.bin", "at": attesttest.At,
			"roots": []any{object{"type": "intel-sgx-root", "file": "root.der"}},
		}
		tt.change(files, c)
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		files[folder.CaseName] = &fstest.MapFile{Data: data}
		_, err = folder.OpenEndorsable(files)
		wantRefusal(t, name, err, tt.code, tt.text)
	}
	files := fstest.MapFS{"tcb-info.json": &fstest.MapFile{Data: x.QuoteBytes()}}
	files[folder.CaseName] = &fstest.MapFile{Data: []byte(`{"name": "made", "kind": "tdx", "format": "tdx-quote", "evidence": "tcb-info.json", "at": "2026-06-01T12:00:00Z"}`)}
	e, err := folder.OpenEndorsable(files)
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "a name that is taken", e.Add(attest.LabelTCBInfo, folder.Endorsed{Value: []byte("{}")}), "", "another file of the folder")
	wantRefusal(t, "no endorsement", e.Add("quote", folder.Endorsed{Value: []byte("{}")}), "", "no endorsement")
	wantRefusal(t, "a chain of a list", e.Add(attest.LabelPCKCRL, folder.Endorsed{Value: []byte("{}"), Chain: []byte("x")}), "", "no chain of its own")
	wantRefusal(t, "too large", e.Add(attest.LabelPCKCRL, folder.Endorsed{Value: make([]byte, 1<<20+1)}), "", "want at most")
}

// FuzzEndorsable: whatever the files of a folder say, it is opened or there is a reason;
// and what is added to it is there when it is read again, and nothing else has changed.
func FuzzEndorsable(f *testing.F) {
	inputs, count := newRecordedGoods(f), fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, which, file byte, data []byte) {
		fsys := inputs.Of(which, file, data)
		count.Add(json.Valid(fsys[folder.CaseName].Data))
		e, err := folder.OpenEndorsable(fsys)
		if err != nil {
			if !judged(err) {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		add := folder.Endorsed{Value: []byte("value"), Chain: []byte("chain")}
		for _, label := range e.Platform.Endorsements() {
			e.Demanded(label)
			if attest.ChainOf(label) == "" {
				add.Chain = nil
			}
			if err := e.Add(label, add); err != nil {
				if !judged(err) {
					t.Errorf("an error without a code: %v", err)
				}
				return
			}
			add.Chain = []byte("chain")
		}
		added, err := e.Files()
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range added {
			fsys[name] = &fstest.MapFile{Data: data}
		}
		again, err := folder.OpenEndorsable(fsys)
		if err != nil {
			t.Fatal(err)
		}
		if !again.At.Equal(e.At) || len(again.Has) != len(e.Platform.Endorsements()) {
			t.Errorf("got %d endorsements of %s", len(again.Has), again.At)
		}
		for label, has := range again.Has {
			if string(has.Value) != "value" || (string(has.Chain) == "chain") != (attest.ChainOf(label) != "") {
				t.Errorf("%s: got %q and %q", label, has.Value, has.Chain)
			}
		}
	})
}
