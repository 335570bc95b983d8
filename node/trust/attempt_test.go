// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// folderOf is a file system with these files.
func folderOf(files map[string][]byte) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

// replay appraises a recorded folder again.
func replay(files map[string][]byte) (folder.Recording, trust.Appraisal, error) {
	r, daemon, err := folder.ReadRecording(folderOf(files))
	if err != nil {
		return r, trust.Appraisal{}, err
	}
	if !daemon {
		return r, trust.Appraisal{}, errors.New("it is no recording of a daemon")
	}
	a, err := trust.AppraiseRecording(r)
	return r, a, err
}

// sameAgain wants the folder of an appraisal to give what that gave, with the same
// bytes, and so the appraisal after it lay on a disk.
func sameAgain(t *testing.T, c trust.Config, made trust.Attempt) map[string][]byte {
	t.Helper()
	data, err := made.Encode()
	check(t, err)
	kept, err := c.ParseAttempt(data)
	check(t, err)
	if verdict.CodeOf(kept.Err) != verdict.CodeOf(made.Err) || verdict.Refused(kept.Err) != verdict.Refused(made.Err) || !kept.At.Equal(made.At) || kept.Head.Digest != made.Head.Digest ||
		!bytes.Equal(kept.Collection, made.Collection) || kept.Nonce != made.Nonce || kept.AllowPublished != made.AllowPublished || !slices.Equal(kept.Known, made.Known) {
		t.Errorf("from the disk came %+v, want %+v", kept, made)
	}
	files, err := c.Folder(kept, "made", "simulated", "a test")
	check(t, err)
	r, a, err := replay(files)
	if verdict.CodeOf(err) != verdict.CodeOf(made.Err) || verdict.Refused(err) != verdict.Refused(made.Err) {
		t.Errorf("the folder gives %v, the appraisal gave %v", err, made.Err)
	}
	if !bytes.Equal(r.Collection, made.Collection) {
		t.Error("the folder has another collection")
	}
	if expect := map[bool]string{true: "accept", false: "reject"}[made.Err == nil]; r.Case.Expect != expect || r.Case.ErrorKind != verdict.CodeOf(made.Err) || !r.Case.At.Equal(made.At) {
		t.Errorf("it expects %s %q at %s", r.Case.Expect, r.Case.ErrorKind, r.Case.At)
	}
	if (a.Issuer.Digest != "") != (made.Err == nil) {
		t.Errorf("got %+v beside %v", a, err)
	}
	return files
}

// recorded is a good appraisal of a kind, and what goes into it.
func recorded(t *testing.T, kind attest.Kind) (trust.Config, trust.Attempt) {
	t.Helper()
	nonce, statement := attesttest.Nonce(7), attesttest.Statement(t)
	snp, tpm := attesttest.NewSNP(t, attest.SimulatedSNP, nil, nonce), attesttest.NewTPM(t, statement, nonce)
	in := snp.Input(t)
	if kind == attest.TPM {
		in = tpm.Input(t)
	}
	q := newQuestion(t, in, statement)
	h := q.head()
	q.statement.Head = verdict.HeadRef{Counter: h.Counter, Digest: h.Digest}
	raw := attesttest.Encode(t, q.statement)
	snp.Statement, tpm.Statement = raw, raw
	tpm.Events = []verdict.RegisterEvent{attesttest.Event(q.statement)}
	made := trust.Attempt{Question: trust.Question{Head: h, Nonce: nonce, Known: q.known}, Daemon: "127.0.0.1:8443", Collection: snp.Bytes(t), At: attesttest.At}
	if kind == attest.TPM {
		made.Collection = tpm.Bytes(t)
	}
	return q.config, made
}

// again makes the appraisal of a changed attempt.
func again(c trust.Config, made trust.Attempt) trust.Attempt {
	_, made.Err = c.Appraise(made.Collection, made.Question, made.At)
	return made
}

// TestRecordAnything: whatever a daemon sends, its folder gives what it gave.
func TestRecordAnything(t *testing.T) {
	for name, tt := range map[string]struct {
		kind   attest.Kind
		change func(*trust.Attempt)
		code   verdict.Code
		whole  bool // it cannot be taken apart
	}{
		"good SNP":          {attest.SimulatedSNP, func(*trust.Attempt) {}, "", false},
		"good TPM":          {attest.TPM, func(*trust.Attempt) {}, "", false},
		"a key of no proof": {attest.TPM, func(a *trust.Attempt) { a.Known = nil }, verdict.TPMAK, false},
		"later":             {attest.SimulatedSNP, func(a *trust.Attempt) { a.At = a.At.AddDate(0, 0, 2) }, verdict.EndorsementExpired, false},
		"no JSON":           {attest.SimulatedSNP, func(a *trust.Attempt) { a.Collection = []byte("x") }, verdict.EvidenceMalformed, true},
		"a space":           {attest.SimulatedSNP, func(a *trust.Attempt) { a.Collection = append([]byte(" "), a.Collection...) }, "", true},
		"published":         {attest.SimulatedSNP, func(a *trust.Attempt) { a.Nonce, a.AllowPublished = [32]byte{}, true }, "", false},
		"another collection": {attest.SimulatedSNP, func(a *trust.Attempt) {
			a.Collection = bytes.Replace(a.Collection, []byte("/evidence/v1"), []byte("/evidence/v2"), 1)
		}, verdict.EvidenceMalformed, true},
		"no statement":    {attest.SimulatedSNP, without(t, attest.LabelStatement), verdict.EvidenceMissing, false},
		"no nonces":       {attest.TPM, without(t, attest.LabelNonces), verdict.EvidenceMissing, false},
		"no evidence":     {attest.TPM, without(t, attest.LabelEvidence), verdict.EvidenceMissing, true},
		"no endorsements": {attest.SimulatedSNP, without(t, attest.LabelEndorsements), verdict.EndorsementMissing, false},
		"no registers":    {attest.TPM, without(t, attest.LabelRegisters), verdict.EvidenceMissing, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, made := recorded(t, tt.kind)
			tt.change(&made)
			made = again(c, made)
			if verdict.CodeOf(made.Err) != tt.code {
				t.Fatalf("got %v, want %q", made.Err, tt.code)
			}
			files := sameAgain(t, c, made)
			if whole := files["collection.cmw"] != nil; whole != tt.whole {
				t.Errorf("recorded whole: %t, files %v", whole, slices.Sorted(maps.Keys(files)))
			}
		})
	}
}

// without takes a record out of a collection.
func without(t *testing.T, label string) func(*trust.Attempt) {
	return func(a *trust.Attempt) {
		c, err := attest.ParseCollection(a.Collection)
		check(t, err)
		delete(c.Items, label)
		a.Collection, err = c.Marshal()
		check(t, err)
	}
}

// TestRecordedFiles: the files are those that other tools read, and the case names what
// makes it reproducible.
func TestRecordedFiles(t *testing.T) {
	for kind, want := range map[attest.Kind]string{
		attest.SimulatedSNP: "ark.der ask.der asvk.der case.json crl.der head.json nonces.bin report.bin statement.json trust.yaml vcek.der",
		attest.TPM:          "ak.bin case.json ek-cert.der ek.bin head.json nonces.bin pcrs.json quote.bin registers.json signature.bin statement.json trust.yaml",
	} {
		c, made := recorded(t, kind)
		files := sameAgain(t, c, again(c, made))
		if got := strings.Join(slices.Sorted(maps.Keys(files)), " "); got != want {
			t.Errorf("%s: got %s, want %s", kind, got, want)
		}
		var of struct {
			Kind, Format, Evidence, Statement, Nonce, Expect, At string
			Policy                                               map[string]any
		}
		check(t, json.Unmarshal(files[folder.CaseName], &of))
		bound := map[attest.Kind]string{attest.SimulatedSNP: "report_data", attest.TPM: "nonce"}[kind]
		if of.Kind != string(kind) || of.Statement == "" || of.Nonce == "" || of.Expect != "accept" || of.At != "2026-06-01T12:00:00Z" || of.Policy[bound] == nil || of.Policy["daemon"] == nil || len(of.Policy) != 2 {
			t.Errorf("%s: got %s", kind, files[folder.CaseName])
		}
		if bytes.Contains(files[folder.CaseName], []byte("null")) || bytes.Contains(files[folder.CaseName], []byte(`""`)) {
			t.Errorf("%s: members that say nothing: %s", kind, files[folder.CaseName])
		}
	}
}

// TestReplayRefuses: one change to a recorded folder, and what it gives.
func TestReplayRefuses(t *testing.T) {
	of := func(change func(policy, daemon map[string]any)) func(*testing.T, map[string][]byte) {
		return func(t *testing.T, files map[string][]byte) {
			t.Helper()
			var c map[string]any
			check(t, json.Unmarshal(files[folder.CaseName], &c))
			policy := c["policy"].(map[string]any)
			change(policy, policy["daemon"].(map[string]any))
			data, err := json.Marshal(c)
			check(t, err)
			files[folder.CaseName] = data
		}
	}
	file := func(name string, change func([]byte) []byte) func(*testing.T, map[string][]byte) {
		return func(_ *testing.T, files map[string][]byte) { files[name] = change(bytes.Clone(files[name])) }
	}
	flip := func(at int) func([]byte) []byte { return func(b []byte) []byte { b[at] ^= 1; return b } }
	other, foreign := recorded(t, attest.SimulatedSNP)
	foreignHead, err := trust.Slim(foreign.Head)
	check(t, err)
	for name, tt := range map[string]struct {
		kind   attest.Kind
		change func(*testing.T, map[string][]byte)
		code   verdict.Code // "" is a misuse
		text   string
	}{
		"a byte of the report":    {attest.SimulatedSNP, file("report.bin", flip(0x2a0)), verdict.EvidenceSignature, "signature"},
		"other nonces":            {attest.SimulatedSNP, file("nonces.bin", flip(0)), verdict.EvidenceBinding, "its policy demands another binding"},
		"another nonce":           {attest.SimulatedSNP, of(func(_, d map[string]any) { d["nonce"] = strings.Repeat("00", 31) + "01" }), verdict.EvidenceNonce, "not the caller's"},
		"a nonce of no hex":       {attest.SimulatedSNP, of(func(_, d map[string]any) { d["nonce"] = "x" }), "", "policy.daemon.nonce"},
		"another report data":     {attest.SimulatedSNP, of(func(p, _ map[string]any) { p["report_data"] = strings.Repeat("00", 64) }), verdict.EvidenceBinding, "its policy demands another binding"},
		"another quote's":         {attest.TPM, of(func(p, _ map[string]any) { p["nonce"] = "00" }), verdict.EvidenceBinding, "its policy demands another binding"},
		"a demand beside":         {attest.SimulatedSNP, of(func(p, _ map[string]any) { p["require_crl"] = true }), verdict.EvidenceUnsupported, "stands alone"},
		"no proof of the key":     {attest.TPM, of(func(_, d map[string]any) { delete(d, "known_keys") }), verdict.TPMAK, "not proven"},
		"a quote before what was": {attest.TPM, of(func(_, d map[string]any) { d["known_keys"].([]any)[0].(map[string]any)["resets"] = 99 }), verdict.TPMReset, "seen before"},
		"other PCRs":              {attest.TPM, file("pcrs.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"15": "`), []byte(`"23": "`), 1) }), verdict.TPMSelection, "named as other PCRs"},
		"values of another bank":  {attest.TPM, file("pcrs.json", func(b []byte) []byte { return bytes.Replace(b, []byte("sha256"), []byte("sha1"), 1) }), "", "of bank"},
		"no trust.yaml":           {attest.SimulatedSNP, file("trust.yaml", func([]byte) []byte { return []byte("profile: x") }), "", "trust.yaml"},
		"a missing trust.yaml":    {attest.SimulatedSNP, func(_ *testing.T, f map[string][]byte) { delete(f, "trust.yaml") }, "", "trust.yaml"},
		"a missing head":          {attest.SimulatedSNP, func(_ *testing.T, f map[string][]byte) { delete(f, "head.json") }, "", "head.json"},
		"a head of other owners":  {attest.SimulatedSNP, file("head.json", func([]byte) []byte { return foreignHead }), verdict.HeadSignature, "head"},
		"a head that is none":     {attest.SimulatedSNP, file("head.json", func([]byte) []byte { return []byte("{}") }), verdict.HeadMalformed, "head"},
		"another issuer trusted": {attest.SimulatedSNP, file("trust.yaml", func(b []byte) []byte {
			return bytes.Replace(b, []byte("/assay/daemon/test/*"), []byte("/assay/daemon/prod/*"), 1)
		}), verdict.IssuerIdentity, "issuer"},
		"another endorsement type": {attest.SimulatedSNP, file(folder.CaseName, func(b []byte) []byte { return bytes.Replace(b, []byte("amd-vcek"), []byte("amd-other"), 1) }), verdict.EvidenceUnsupported, "amd-other"},
		"another format":           {attest.SimulatedSNP, file(folder.CaseName, func(b []byte) []byte { return bytes.Replace(b, []byte("snp-report"), []byte("snp"), 1) }), verdict.EvidenceUnsupported, "is not appraised"},
		"as genuine":               {attest.SimulatedSNP, file(folder.CaseName, func(b []byte) []byte { return bytes.Replace(b, []byte(`"sim-snp"`), []byte(`"snp"`), 1) }), verdict.EvidenceKind, "of kind snp"},
		"without the statement":    {attest.SimulatedSNP, file(folder.CaseName, func(b []byte) []byte { return bytes.Replace(b, []byte(`"statement": "statement.json",`), nil, 1) }), verdict.EvidenceMissing, "statement"},
	} {
		t.Run(name, func(t *testing.T) {
			c, made := recorded(t, tt.kind)
			files, err := c.Folder(again(c, made), "made", "simulated", "a test")
			check(t, err)
			if _, _, err := replay(files); err != nil {
				t.Fatal(err)
			}
			before := maps.Clone(files)
			tt.change(t, files)
			if cmp.Equal(before, files) {
				t.Fatal("nothing was changed")
			}
			_, a, err := replay(files)
			_, misuse := errors.AsType[*verdict.Misuse](err)
			if err == nil || misuse != (tt.code == "") || !misuse && verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q with %q", err, tt.code, tt.text)
			}
			if a.Issuer.Digest != "" {
				t.Errorf("with the error came %+v", a)
			}
		})
	}
	// What the disk has is opened under the reader's own owners.
	data, err := foreign.Encode()
	check(t, err)
	if _, err := other.ParseAttempt(data); err != nil {
		t.Error(err)
	}
	mine, _ := recorded(t, attest.SimulatedSNP)
	if _, err := mine.ParseAttempt(data); verdict.CodeOf(err) != verdict.HeadSignature {
		t.Errorf("another's appraisal: got %v", err)
	}
	for _, bad := range []string{"x", "{}", `{"v":2}`, strings.Replace(string(data), `"nonce":"`, `"nonce":"zz`, 1)} {
		if _, err := other.ParseAttempt([]byte(bad)); verdict.CodeOf(err) != verdict.Internal {
			t.Errorf("%.20s: got %v", bad, err)
		}
	}
}
