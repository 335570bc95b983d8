// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/verdict"
)

// TestShared: the recorded folders give what they say.
func TestShared(t *testing.T) {
	base := filepath.Join("..", "..", "..", "shared", "testdata", "evidence")
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log("shared testdata: used")
	ran := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		ran++
		t.Run(e.Name(), func(t *testing.T) {
			dir, err := os.OpenRoot(filepath.Join(base, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close() //nolint:errcheck // only read
			r, err := folder.Appraise(dir.FS())
			if verdict.CodeOf(err) != r.Case.ErrorKind || (err == nil) != (r.Case.Expect == "accept") {
				t.Errorf("got %v, want %s, %q", err, r.Case.Expect, r.Case.ErrorKind)
			}
		})
	}
	if ran < 5 {
		t.Errorf("%d folders ran", ran)
	}
}

var at = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

type object = map[string]any

// appraised appraises files with that case.
func appraised(t *testing.T, files fstest.MapFS, c object) (folder.Report, error) {
	t.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	files[folder.CaseName] = &fstest.MapFile{Data: data}
	return folder.Appraise(files)
}

// wantRefusal wants an error with a code, or a misuse where there is none.
func wantRefusal(t *testing.T, name string, err error, code verdict.Code, text string) {
	t.Helper()
	_, misuse := errors.AsType[*verdict.Misuse](err)
	if err == nil || misuse != (code == "") || !misuse && verdict.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got %v, want %q with %q", name, err, code, text)
	}
}

// tdxFolder is a simulated platform as a folder.
func tdxFolder(t *testing.T) (fstest.MapFS, object) {
	t.Helper()
	return tdxFolderOf(attesttest.NewTDX(t, at))
}

func tdxFolderOf(x *attesttest.TDX) (fstest.MapFS, object) {
	x.Quote.RTMR[0] = [48]byte{}
	c := x.Collateral()
	files := fstest.MapFS{}
	for name, data := range map[string][]byte{
		"quote.bin": x.QuoteBytes(), "tcb.json": c.TCBInfo, "tcb.pem": c.TCBInfoChain, "qe.json": c.QEIdentity, "qe.pem": c.QEIdentityChain, "pck.crl": c.PCKCRL, "root.crl": c.RootCRL, "root.der": x.Root().Raw,
	} {
		files[name] = &fstest.MapFile{Data: data}
	}
	return files, object{
		"name": "made", "kind": "tdx", "origin": "simulated", "format": "tdx-quote", "evidence": "quote.bin", "at": at.Format(time.RFC3339), "expect": "accept",
		"endorsements": []any{
			object{"type": "tdx-tcb-info", "file": "tcb.json", "issuer_chain": "tcb.pem"}, object{"type": "tdx-qe-identity", "file": "qe.json", "issuer_chain": "qe.pem"},
			object{"type": "sgx-pck-crl", "file": "pck.crl"}, object{"type": "sgx-root-crl", "file": "root.crl"},
		},
		"roots": []any{object{"type": "intel-sgx-root", "file": "root.der"}},
		"policy": object{
			"report_data": hex.EncodeToString(x.Quote.ReportData[:]), "mrtd": []any{hex.EncodeToString(x.Quote.MRTD[:])}, "rtmr": object{"3": hex.EncodeToString(x.Quote.RTMR[3][:])},
			"accept_tcb_status": []any{"UpToDate"}, "require_collateral": true, "require_crl": true, "require_sept_ve_disable": true, "min_tcb_evaluation_data_number": 17, "allow_debug": false,
		},
	}
}

// TestTDXUnknownBits: what this version does not know a policy has to allow by number.
func TestTDXUnknownBits(t *testing.T) {
	for name, tt := range map[string]struct {
		attributes, xfam uint64
		change           change
		code             verdict.Code
	}{
		"an attribute":            {1 << 8, 0, unchanged, verdict.GuestAttributes},
		"an attribute, allowed":   {1 << 8, 0, policy("allow_td_attributes", []any{8}), ""},
		"another allowed":         {1 << 8, 0, policy("allow_td_attributes", []any{9}), verdict.GuestAttributes},
		"a feature":               {0, 1 << 19, unchanged, verdict.GuestAttributes},
		"a feature, allowed":      {0, 1 << 19, policy("allow_xfam", []any{19}), ""},
		"a feature, as attribute": {0, 1 << 19, policy("allow_td_attributes", []any{19}), verdict.GuestAttributes},
	} {
		x := attesttest.NewTDX(t, at)
		x.Quote.TDAttributes |= tt.attributes
		x.Quote.XFAM |= tt.xfam
		files, c := tdxFolderOf(x)
		tt.change(files, c)
		if _, err := appraised(t, files, c); verdict.CodeOf(err) != tt.code {
			t.Errorf("%s: got %v, want %q", name, err, tt.code)
		}
	}
}

// TestTDX: a folder, and one change to it.
func TestTDX(t *testing.T) {
	zeros := strings.Repeat("00", 64)
	for name, tt := range map[string]struct {
		change func(fstest.MapFS, object)
		code   verdict.Code // "" with a text is a misuse
		text   string
	}{
		"good":                {func(fstest.MapFS, object) {}, "", ""},
		"without demands":     {member("policy", object{}), "", ""},
		"another report data": {policy("report_data", zeros), verdict.EvidenceBinding, "REPORTDATA"},
		"another MRTD":        {policy("mrtd", []any{zeros[:96]}), verdict.GuestMeasurement, "MRTD"},
		"another RTMR":        {policy("rtmr", object{"2": zeros[:96]}), verdict.GuestRegister, "RTMR2"},
		"its module": {func(f fstest.MapFS, c object) {
			c["policy"].(object)["mrseam"] = []any{strings.Repeat("01", 48), hex.EncodeToString(f["quote.bin"].Data[64:112])}
		}, "", ""},
		"a revoked platform":   {policy("accept_tcb_status", []any{"Revoked"}), "", "Revoked"},
		"a module of zeros":    {policy("mrseam", []any{strings.Repeat("00", 48)}), "", "MRSEAM of zeros"},
		"another module":       {policy("mrseam", []any{strings.Repeat("01", 48)}), verdict.PlatformModule, "MRSEAM"},
		"no module":            {policy("mrseam", []any{"00"}), "", "mrseam"},
		"bit 64":               {policy("allow_td_attributes", []any{64}), "", "no bit 64"},
		"bits nobody has":      {both(policy("allow_td_attributes", []any{8, 62}), policy("allow_xfam", []any{63})), "", ""},
		"a newer edition":      {policy("min_tcb_evaluation_data_number", 18), verdict.EndorsementRollback, "evaluation number"},
		"another status alone": {policy("accept_tcb_status", []any{"OutOfDate"}), verdict.TCBStatus, "does not name"},
		"registers of a log":   {policy("require_event_log_for_rtmr", []any{0}), verdict.EvidenceMissing, "event log"},
		"Intel's own root":     {member("roots", []any{}), verdict.EndorsementUntrusted, "PCK chain"},
		"no collateral":        {member("endorsements", []any{}), verdict.EndorsementMissing, "CRL"},
		"later":                {member("at", at.AddDate(1, 0, 0).Format(time.RFC3339)), verdict.EndorsementExpired, "due at"},
		"another kind":         {member("kind", "azure-tdx"), verdict.EvidenceUnsupported, "is not appraised"},
		"another format":       {member("format", "quote"), verdict.EvidenceUnsupported, "is not appraised"},
		"another endorsement":  {member("endorsements", []any{object{"type": "amd-vcek", "file": "tcb.json"}}), verdict.EvidenceUnsupported, "amd-vcek"},
		"another root":         {member("roots", []any{object{"type": "tpm-ca", "file": "root.der"}}), verdict.EvidenceUnsupported, "tpm-ca"},
		"an unknown member":    {member("more", 1), "", "unknown field"},
		"an unknown demand":    {policy("mrdt", []any{}), "", "unknown field"},
		"no time":              {func(_ fstest.MapFS, c object) { delete(c, "at") }, "", "no time"},
		"no evidence":          {func(_ fstest.MapFS, c object) { delete(c, "evidence") }, "", "no evidence"},
		"a file outside":       {member("evidence", "../quote.bin"), "", "no name of a file"},
		"a file below":         {member("evidence", "a/quote.bin"), "", "no name of a file"},
		"a missing file":       {member("evidence", "nothing"), "", "nothing"},
		"a folder":             {func(f fstest.MapFS, c object) { f["dir/x"] = &fstest.MapFile{}; c["evidence"] = "dir" }, "", "no regular file"},
		"a large file":         {func(f fstest.MapFS, _ object) { f["quote.bin"].Data = make([]byte, 1<<20+1) }, "", "more than"},
		"a root twice":         {member("roots", []any{object{"type": "intel-sgx-root", "file": "root.der"}, object{"type": "intel-sgx-root", "file": "root.der"}}), "", "there twice"},
		"an unreadable root":   {func(f fstest.MapFS, _ object) { f["root.der"].Data = []byte("x") }, "", "intel-sgx-root"},
		"a short value":        {policy("report_data", "00"), "", "64 bytes in hex"},
		"a value of no hex":    {policy("mrtd", []any{strings.Repeat("x", 96)}), "", "48 bytes in hex"},
		"RTMR 4":               {policy("rtmr", object{"4": zeros[:96]}), "", "no RTMR"},
		"no quote":             {func(f fstest.MapFS, _ object) { f["quote.bin"].Data = []byte("x") }, verdict.EvidenceMalformed, "header"},
	} {
		files, c := tdxFolder(t)
		tt.change(files, c)
		r, err := appraised(t, files, c)
		if tt.text == "" {
			if err != nil || r.Measurement == "" {
				t.Errorf("%s: got %+v, %v", name, r, err)
			}
			continue
		}
		wantRefusal(t, name, err, tt.code, tt.text)
		if r.Measurement != "" {
			t.Errorf("%s: with the error came %+v", name, r)
		}
	}
	for name, text := range map[string]string{"nothing": "", "no JSON": "{", "two": "{} {}"} {
		if _, err := folder.Appraise(fstest.MapFS{folder.CaseName: &fstest.MapFile{Data: []byte(text)}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// eventLog is a crypto-agile log of SHA-256: a line is PCR, type and data.
func eventLog(lines ...[3]any) []byte {
	le := binary.LittleEndian
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0)
	out := le.AppendUint32(append([]byte{0, 0, 0, 0, 3, 0, 0, 0}, make([]byte, 20)...), uint32(len(spec)))
	out = append(out, spec...)
	for _, l := range lines {
		pcr, kind, data := l[0].(int), l[1].(int), []byte(l[2].(string))
		sum := sha256.Sum256(data)
		out = le.AppendUint32(le.AppendUint32(out, uint32(pcr)), uint32(kind))
		out = append(le.AppendUint16(le.AppendUint32(out, 1), 0x0b), sum[:]...)
		out = append(le.AppendUint32(out, uint32(len(data))), data...)
	}
	return out
}

// TestTPM: a simulated TPM, and one change to its folder.
// A broken folder has a file that is there, and cannot be opened or read.
type broken struct {
	fstest.MapFS
	name   string
	opened bool
}

type brokenFile struct{ fs.File }

var errBroken = errors.New("broken")

func (brokenFile) Read([]byte) (int, error) { return 0, errBroken }

func (b broken) Open(name string) (fs.File, error) {
	f, err := b.MapFS.Open(name)
	switch {
	case name != b.name || err != nil:
		return f, err
	case b.opened:
		return brokenFile{f}, nil
	}
	return nil, errors.Join(errBroken, f.Close())
}

// TestBrokenFiles: what cannot be read says nothing about evidence.
func TestBrokenFiles(t *testing.T) {
	files, c := tdxFolder(t)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	files[folder.CaseName] = &fstest.MapFile{Data: data}
	for _, opened := range []bool{false, true} {
		_, err := folder.Appraise(broken{files, "quote.bin", opened})
		if _, misuse := errors.AsType[*verdict.Misuse](err); !misuse || !errors.Is(err, errBroken) {
			t.Errorf("opened %t: got %v", opened, err)
		}
	}
}

// tpmFolder is a simulated TPM, the log of its machine, and folders of the two. The
// certificate of its attestation key has extensions.
func tpmFolder(t testing.TB, extensions ...pkix.Extension) (p *attesttest.TPM, good [][3]any, made func() (fstest.MapFS, object)) {
	t.Helper()
	good = [][3]any{{0, 3, "StartupLocality\x00\x03"}, {0, 8, "firmware"}, {0, 4, "\x00\x00\x00\x00"}, {4, 5, "boot"}, {4, 4, "\x00\x00\x00\x00"}, {4, 5, "more"}, {9, 13, "grub"}}
	fold := func(start byte, data ...string) (v [32]byte) {
		v[31] = start
		for _, d := range data {
			sum := sha256.Sum256([]byte(d))
			v = sha256.Sum256(append(v[:], sum[:]...))
		}
		return v
	}
	p = attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	const zeros = "\x00\x00\x00\x00"
	p.PCRs[0], p.PCRs[4], p.PCRs[9] = fold(3, "firmware", zeros), fold(0, "boot", zeros, "more"), fold(0, "grub")
	p.AKTemplate = &x509.Certificate{Subject: pkix.Name{CommonName: "AK"}, NotBefore: attesttest.At.Add(-time.Hour), NotAfter: attesttest.At.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: extensions}
	collection := p.Collection(t)
	quote, endorsements := collection.Items[attest.LabelEvidence].Nested.Items, collection.Items[attest.LabelEndorsements].Nested.Items
	ca := p.CA(t)
	values := object{}
	for i := range 16 {
		values[strconv.Itoa(i)] = hex.EncodeToString(p.PCRs[i][:])
	}
	bound := verdict.QuoteData(p.Statement, p.Nonces)
	made = func() (fstest.MapFS, object) {
		pcrs, err := json.Marshal(object{"bank": "sha256", "values": values})
		if err != nil {
			t.Fatal(err)
		}
		files := fstest.MapFS{}
		for name, data := range map[string][]byte{"quote": quote[attest.LabelQuote].Value, "signature": quote[attest.LabelSignature].Value, "ak": quote[attest.LabelAKPublic].Value,
			"cert": endorsements[attest.LabelAKCertificate].Value, "ca": ca.Raw, "log": eventLog(good...), "pcrs": pcrs} {
			files[name] = &fstest.MapFile{Data: data}
		}
		return files, object{
			"name": "made", "kind": "tpm", "origin": "simulated", "format": "tpm-quote", "evidence": "quote", "at": attesttest.At.Format(time.RFC3339), "expect": "accept",
			"parts":        object{"signature": "signature", "pcrs": "pcrs", "ak_public": "ak", "event_log": "log"},
			"endorsements": []any{object{"type": "tpm-ak-cert", "file": "cert"}},
			"roots":        []any{object{"type": "tpm-ca", "file": "ca"}},
			"policy": object{"bank": "sha256", "nonce": hex.EncodeToString(bound[:]), "required_pcrs": []any{0, 4, 9}, "require_event_log_for": []any{0, 4, 9}, "require_safe": true,
				"reset_count": 2, "restart_count": 0, "pcr_values": object{"11": hex.EncodeToString(p.PCRs[11][:])}},
		}
	}
	return p, good, made
}

func TestTPM(t *testing.T) {
	p, good, made := tpmFolder(t)
	file := func(name string, data []byte) func(fstest.MapFS, object) {
		return func(f fstest.MapFS, _ object) { f[name].Data = data }
	}
	log := func(change func(l [][3]any) [][3]any) func(fstest.MapFS, object) {
		return file("log", eventLog(change(slices.Clone(good))...))
	}
	without := func(i int) func([][3]any) [][3]any {
		return func(l [][3]any) [][3]any { return slices.Delete(l, i, i+1) }
	}
	relabelled := func(f fstest.MapFS, _ object) {
		f["pcrs"].Data = bytes.Replace(f["pcrs"].Data, []byte(`"15":`), []byte(`"23":`), 1)
	}
	for name, tt := range map[string]struct {
		change func(fstest.MapFS, object)
		code   verdict.Code // "" with a text is a misuse
		text   string
	}{
		"good":            {func(fstest.MapFS, object) {}, "", ""},
		"without demands": {func(_ fstest.MapFS, c object) { c["policy"] = object{} }, "", ""},
		"another nonce":   {policy("nonce", "9009"), verdict.EvidenceNonce, "extraData"},
		"another bank":    {policy("bank", "sha1"), verdict.TPMBank, "the policy is about bank"},
		"values of another bank": {func(f fstest.MapFS, _ object) {
			f["pcrs"].Data = bytes.Replace(f["pcrs"].Data, []byte("sha256"), []byte("sha1"), 1)
		}, verdict.TPMBank, "the values are of bank"},
		"a PCR not selected":    {policy("required_pcrs", []any{16}), verdict.TPMSelection, "pcr16 is not selected"},
		"a log of one":          {policy("require_event_log_for", []any{16}), verdict.TPMSelection, "pcr16 is not selected"},
		"another value":         {policy("pcr_values", object{"11": strings.Repeat("00", 32)}), verdict.GuestRegister, "pcr11"},
		"another reset":         {policy("reset_count", 3), verdict.TPMReset, "resets"},
		"another restart":       {policy("restart_count", 1), verdict.TPMReset, "restarts"},
		"other labels":          {relabelled, verdict.TPMSelection, "other PCRs than the quote selects"},
		"no log":                {func(_ fstest.MapFS, c object) { delete(c["parts"].(object), "event_log") }, verdict.EvidenceMissing, "event log"},
		"no signature":          {func(_ fstest.MapFS, c object) { delete(c["parts"].(object), "signature") }, verdict.EvidenceMissing, "signature"},
		"no ak_public":          {func(_ fstest.MapFS, c object) { delete(c["parts"].(object), "ak_public") }, verdict.EvidenceMissing, "ak_public"},
		"an event changed":      {log(func(l [][3]any) [][3]any { l[3][2] = "other"; return l }), verdict.EventLogReplay, "pcr4"},
		"an event less":         {log(without(5)), verdict.EventLogReplay, "pcr4"},
		"no event of a PCR":     {log(without(6)), verdict.EventLogIncomplete, "PCR 9"},
		"no locality":           {log(without(0)), verdict.EventLogReplay, "pcr0"},
		"a late locality":       {log(func(l [][3]any) [][3]any { l[0], l[1] = l[1], l[0]; return l }), verdict.EventLogEvent, "startup locality"},
		"a locality of PCR 4":   {log(func(l [][3]any) [][3]any { return slices.Insert(l, 3, [3]any{4, 3, "StartupLocality\x00\x03"}) }), verdict.EventLogEvent, "startup locality"},
		"no separator":          {log(without(2)), verdict.EventLogEvent, "0 separators"},
		"two separators":        {log(func(l [][3]any) [][3]any { return append(l, l[2]) }), verdict.EventLogEvent, "2 separators"},
		"an error's separator":  {log(func(l [][3]any) [][3]any { l[2][2] = "\x01\x00\x00\x00"; return l }), verdict.EventLogEvent, "says an error"},
		"the header alone":      {file("log", eventLog()), verdict.EventLogIncomplete, "no event"},
		"another authority":     {file("ca", attesttest.NewTDX(t, attesttest.At).Root().Raw), verdict.EndorsementUntrusted, "tpm-ak-certificate"},
		"no authority":          {func(_ fstest.MapFS, c object) { c["roots"] = []any{} }, "", "tpm-ca"},
		"no certificate":        {func(_ fstest.MapFS, c object) { c["endorsements"] = []any{} }, verdict.EndorsementMissing, "endorsements"},
		"another's endorsement": {func(_ fstest.MapFS, c object) { c["endorsements"] = []any{object{"type": "amd-vcek", "file": "cert"}} }, verdict.EvidenceUnsupported, "amd-vcek"},
		"another's root":        {func(_ fstest.MapFS, c object) { c["roots"] = []any{object{"type": "amd-ark", "file": "ca"}} }, verdict.EvidenceUnsupported, "amd-ark"},
		"PCR 24":                {policy("pcr_values", object{"24": strings.Repeat("00", 32)}), "", "no PCR"},
		"PCR 01":                {policy("pcr_values", object{"01": strings.Repeat("00", 32)}), "", "no PCR"},
		"a nonce of no hex":     {policy("nonce", "x"), "", "nonce"},
		"no values":             {file("pcrs", []byte("x")), "", "pcrs"},
		"a large signature":     {file("signature", make([]byte, 900<<10)), "", "encoding collection"},
		"values of no name":     {file("pcrs", []byte(`{"bank":"sha256","values":{},"x":1}`)), "", "unknown field"},
		"more behind values":    {func(f fstest.MapFS, _ object) { f["pcrs"].Data = append(f["pcrs"].Data, '1') }, "", "something behind"},
		"another quote": {func(f fstest.MapFS, _ object) {
			d := slices.Clone(f["quote"].Data)
			d[len(d)-1] ^= 1
			f["quote"].Data = d
		}, verdict.EvidenceSignature, "signature"},
	} {
		files, c := made()
		tt.change(files, c)
		r, err := appraised(t, files, c)
		if tt.text == "" {
			if err != nil || r.Claims.InstanceIdentity != attest.Affirming || r.Claims.Hardware != attest.NoClaim {
				t.Errorf("%s: got %+v, %v", name, r, err)
			}
			continue
		}
		wantRefusal(t, name, err, tt.code, tt.text)
	}
	// A TPM that lost power, of which the same folder is good.
	unsafe := *p
	unsafe.Quote.Safe = false
	items := unsafe.Collection(t).Items[attest.LabelEvidence].Nested.Items
	for demanded, code := range map[bool]verdict.Code{true: verdict.TPMReset, false: ""} {
		files, c := made()
		files["quote"].Data, files["signature"].Data = items[attest.LabelQuote].Value, items[attest.LabelSignature].Value
		c["policy"].(object)["require_safe"] = demanded
		if _, err := appraised(t, files, c); verdict.CodeOf(err) != code {
			t.Errorf("a clock that is not safe, where one is demanded %v: got %v", demanded, err)
		}
	}
}
