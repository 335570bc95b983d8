// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// A published is what a service has at an address.
type published struct {
	header, chain string
	body          []byte
}

// A maker is a service that answers as AMD's and Intel's do.
type maker struct {
	url, ca string

	mu    sync.Mutex
	has   map[string]published
	asked []string
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	m := &maker{has: map[string]published{}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.asked = append(m.asked, r.URL.RequestURI())
		has, ok := m.has[r.URL.RequestURI()]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if has.header != "" {
			w.Header().Set(has.header, url.PathEscape(has.chain))
		}
		_, _ = w.Write(has.body)
	}))
	t.Cleanup(server.Close)
	m.url, m.ca = server.URL, filepath.Join(t.TempDir(), "ca.pem")
	write(t, m.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return m
}

// fetch runs the command against the service.
func (m *maker) fetch(t *testing.T, args ...string) outcome {
	t.Helper()
	m.asked = nil
	return assay(t, append([]string{"evidence", "fetch", "--kds-url", m.url, "--pcs-url", m.url, "--ca", m.ca}, args...)...)
}

// Addresses of Intel's service.
const (
	pcsTCBInfo    = "/tdx/certification/v4/tcb?fmspc="
	pcsQEIdentity = "/tdx/certification/v4/qe/identity"
	pcsPCKCRL     = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
	pcsRootCRL    = "/sgx/certification/v4/rootcacrl"
)

// collateral publishes what Intel would for a platform.
func (m *maker) collateral(fmspc string, c attest.TDXCollateral) {
	m.has[pcsTCBInfo+fmspc] = published{"TCB-Info-Issuer-Chain", string(c.TCBInfoChain), c.TCBInfo}
	m.has[pcsQEIdentity] = published{"SGX-Enclave-Identity-Issuer-Chain", string(c.QEIdentityChain), c.QEIdentity}
	m.has[pcsPCKCRL] = published{body: c.PCKCRL}
	m.has[pcsRootCRL] = published{body: []byte(hex.EncodeToString(c.RootCRL))} // as PCCS does
}

// evidenceFolder writes a folder without endorsements.
func evidenceFolder(t *testing.T, c map[string]any, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		write(t, filepath.Join(dir, name), data)
	}
	writeJSON(t, filepath.Join(dir, "case.json"), c)
	return dir
}

// tdxFolder is a folder with a quote, under its own root, that demands everything.
func tdxFolder(t *testing.T, x *attesttest.TDX, at time.Time) string {
	t.Helper()
	return evidenceFolder(t, map[string]any{
		"name": "made", "kind": "tdx", "format": "tdx-quote", "evidence": "quote.bin", "at": at.Format(time.RFC3339Nano),
		"roots":  []any{map[string]any{"type": "intel-sgx-root", "file": "root.der"}},
		"policy": map[string]any{"require_collateral": true, "require_crl": true, "allow_debug": false},
	}, map[string][]byte{"quote.bin": x.QuoteBytes(), "root.der": x.Root().Raw})
}

// fetchedState is what the document of the command says.
type fetchedState struct {
	Folder, Product, FMSPC string
	Endorsements           []struct {
		Type, State string
		Demanded    bool
		Edition     *int64
		Issued      *time.Time
		Until       *time.Time
		Code        verdict.Code
		Text        string
	}
}

// states runs the command and returns what it says of each endorsement.
func (m *maker) states(t *testing.T, status int, args ...string) (map[string]string, document) {
	t.Helper()
	o := m.fetch(t, append(args, "--output", "json")...)
	if o.status != status {
		t.Fatalf("got %s", o)
	}
	d := parseDocument(t, o)
	var v fetchedState
	if err := json.Unmarshal(d.Value, &v); err != nil {
		t.Fatalf("%v: %s", err, o)
	}
	got := map[string]string{}
	for _, e := range v.Endorsements {
		if (e.State == "missing") != (e.Code != "" && e.Text != "") || (e.State == "missing") == (e.Issued != nil) {
			t.Errorf("got %+v", e)
		}
		got[e.Type] = strings.TrimSpace(e.State + " " + string(e.Code))
	}
	return got, d
}

func wantStates(t *testing.T, got map[string]string, want ...string) {
	t.Helper()
	w := map[string]string{}
	for i := 0; i < len(want); i += 2 {
		w[want[i]] = want[i+1]
	}
	if !maps.Equal(got, w) {
		t.Errorf("got %v, want %v", got, w)
	}
}

// contents are the files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		out[e.Name()] = string(read(t, filepath.Join(dir, e.Name())))
	}
	return out
}

// wantAppraised appraises a folder.
func wantAppraised(t *testing.T, dir string, status int, code verdict.Code) {
	t.Helper()
	o := assay(t, "evidence", "appraise", dir, "--output", "json")
	if d := parseDocument(t, o); o.status != status || d.Code != code {
		t.Errorf("appraise: got %s, want %d %q", o, status, code)
	}
}

// TestFetchTDX: a folder without collateral cannot be decided, and can once it was
// fetched; what is there is not asked for again.
func TestFetchTDX(t *testing.T) {
	at := time.Now()
	x, m := attesttest.NewTDX(t, at), newMaker(t)
	collateral := x.Collateral()
	m.collateral("00806f050000", collateral)
	dir := tdxFolder(t, x, at)
	wantAppraised(t, dir, 3, verdict.EndorsementMissing)
	got, _ := m.states(t, 0, dir)
	wantStates(t, got, "tdx-tcb-info", "fetched", "tdx-qe-identity", "fetched", "sgx-pck-crl", "fetched", "sgx-root-crl", "fetched")
	wantAppraised(t, dir, 0, "")
	before := contents(t, dir)
	if string(collateral.TCBInfo) != before["tcb-info.json"] || string(collateral.TCBInfoChain) != before["tcb-info-chain.pem"] {
		t.Error("what was fetched is not what is there")
	}
	var c map[string]json.RawMessage
	if err := json.Unmarshal([]byte(before["case.json"]), &c); err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, c["policy"]); err != nil || compact.String() != `{"allow_debug":false,"require_collateral":true,"require_crl":true}` {
		t.Errorf("the policy is %s, %v", &compact, err)
	}
	got, _ = m.states(t, 0, dir)
	wantStates(t, got, "tdx-tcb-info", "there", "tdx-qe-identity", "there", "sgx-pck-crl", "there", "sgx-root-crl", "there")
	if len(m.asked) != 0 || !maps.Equal(before, contents(t, dir)) {
		t.Errorf("asked for %q, and the folder is another", m.asked)
	}
	if o := m.fetch(t, dir); o.status != 0 || !strings.Contains(o.stdout, "FMSPC 00806f050000\n  tdx-tcb-info     there, edition 17, from ") {
		t.Errorf("got %s", o)
	}
	// One that no longer verifies is replaced, and nothing else.
	write(t, filepath.Join(dir, "qe-identity.json"), []byte("{}"))
	got, _ = m.states(t, 0, dir)
	wantStates(t, got, "tdx-tcb-info", "there", "tdx-qe-identity", "fetched", "sgx-pck-crl", "there", "sgx-root-crl", "there")
	if !slices.Equal(m.asked, []string{pcsQEIdentity}) || !maps.Equal(before, contents(t, dir)) {
		t.Errorf("asked for %q", m.asked)
	}
}

// TestFetchPartly: what is to be had is kept, and what is missing is said by name.
func TestFetchPartly(t *testing.T) {
	at := time.Now()
	x, m := attesttest.NewTDX(t, at), newMaker(t)
	m.collateral("00806f050000", x.Collateral())
	other := attesttest.NewTDX(t, at).Collateral() // signed by others
	m.has[pcsPCKCRL] = published{body: other.PCKCRL}
	delete(m.has, pcsRootCRL)
	dir := tdxFolder(t, x, at)
	got, d := m.states(t, 3, dir)
	wantStates(t, got, "tdx-tcb-info", "fetched", "tdx-qe-identity", "fetched", "sgx-pck-crl", "missing endorsement.untrusted", "sgx-root-crl", "missing endorsement.missing")
	if d.Code != verdict.EndorsementMissing || !strings.Contains(d.Reasons[0].Text, "sgx-pck-crl") {
		t.Errorf("got %q", d.Reasons)
	}
	wantAppraised(t, dir, 3, verdict.EndorsementMissing)
	if o := assay(t, "evidence", "appraise", dir); !strings.Contains(o.stdout, "  missing sgx-pck-crl, sgx-root-crl\n") {
		t.Errorf("got %s", o)
	}
	if o := m.fetch(t, dir); o.status != 3 || !strings.Contains(o.stdout, "  tdx-tcb-info     there") || !strings.Contains(o.stdout, "  sgx-pck-crl      missing [endorsement.untrusted]\n") || !strings.Contains(o.stderr, "could not decide") {
		t.Errorf("got %s", o)
	}
	// A list that the policy does not look at does not matter.
	var c map[string]any
	if err := json.Unmarshal(read(t, filepath.Join(dir, "case.json")), &c); err != nil {
		t.Fatal(err)
	}
	c["policy"] = map[string]any{"require_collateral": true}
	writeJSON(t, filepath.Join(dir, "case.json"), c)
	if o := m.fetch(t, dir); o.status != 0 || !strings.Contains(o.stdout, "  sgx-root-crl     missing, not demanded [endorsement.missing]\n") {
		t.Errorf("got %s", o)
	}
	if o := assay(t, "evidence", "appraise", dir); strings.Contains(o.stdout, "missing") {
		t.Errorf("got %s", o)
	}
	wantAppraised(t, dir, 0, "")
}

// TestFetchNow: what is published today is not good for an appraisal of last year, and
// the folder's time is changed only where it is asked for.
func TestFetchNow(t *testing.T) {
	at := time.Now()
	x, m := attesttest.NewTDX(t, at), newMaker(t)
	m.collateral("00806f050000", x.Collateral())
	then := at.Add(-72 * time.Hour) // before the documents, and not before the certificates
	dir := tdxFolder(t, x, then)
	before := contents(t, dir)["case.json"]
	_, d := m.states(t, 3, dir)
	if d.Code != verdict.EndorsementNotYetValid || !strings.Contains(d.Hint, "--now") {
		t.Errorf("got %q, %q", d.Code, d.Hint)
	}
	if got := contents(t, dir)["case.json"]; got != before && strings.Contains(got, `"at": "`+at.UTC().Format("2006-01-02")) {
		t.Errorf("the time was changed: %s", got)
	}
	if _, d = m.states(t, 0, dir, "--now"); d.Code != "" {
		t.Errorf("got %q", d.Code)
	}
	wantAppraised(t, dir, 0, "")
}

// TestFetchInto: the endorsement folder of a machine, of evidence that stays as it is.
func TestFetchInto(t *testing.T) {
	at := time.Now()
	x, m := attesttest.NewTDX(t, at), newMaker(t)
	c := x.Collateral()
	m.collateral("00806f050000", c)
	dir, into := tdxFolder(t, x, at.Add(-72*time.Hour)), filepath.Join(t.TempDir(), "endorsements")
	before := contents(t, dir)
	got, _ := m.states(t, 0, dir, "--into", into)
	wantStates(t, got, "tdx-tcb-info", "fetched", "tdx-qe-identity", "fetched", "sgx-pck-crl", "fetched", "sgx-root-crl", "fetched")
	want := map[string]string{
		"tdx-tcb-info.json": string(c.TCBInfo), "tdx-tcb-info-chain.pem": string(c.TCBInfoChain), "tdx-qe-identity.json": string(c.QEIdentity),
		"tdx-qe-identity-chain.pem": string(c.QEIdentityChain), "sgx-pck-crl.der": string(c.PCKCRL), "sgx-root-crl.der": string(c.RootCRL),
	}
	if !maps.Equal(want, contents(t, into)) || !maps.Equal(before, contents(t, dir)) {
		t.Errorf("got %v", slices.Sorted(maps.Keys(contents(t, into))))
	}
	// An older answer does not take the place of what is there, which has ended.
	x.TCBInfo["nextUpdate"] = at.Add(-time.Hour).UTC().Format(time.RFC3339)
	ended := x.Collateral()
	write(t, filepath.Join(into, "tdx-tcb-info.json"), ended.TCBInfo)
	x.TCBInfo["tcbEvaluationDataNumber"] = 16
	x.TCBInfo["nextUpdate"] = at.Add(29 * 24 * time.Hour).UTC().Format(time.RFC3339)
	m.collateral("00806f050000", x.Collateral())
	got, _ = m.states(t, 3, dir, "--into", into)
	wantStates(t, got, "tdx-tcb-info", "missing endorsement.rollback", "tdx-qe-identity", "there", "sgx-pck-crl", "there", "sgx-root-crl", "there")
	if contents(t, into)["tdx-tcb-info.json"] != string(ended.TCBInfo) {
		t.Error("it was replaced")
	}
	// A newer one does.
	x.TCBInfo["tcbEvaluationDataNumber"] = 18
	m.collateral("00806f050000", x.Collateral())
	if got, _ = m.states(t, 0, dir, "--into", into); got["tdx-tcb-info"] != "fetched" {
		t.Errorf("got %v", got)
	}
}

// snpEvidence is a folder with a report, under its own roots, that demands a list.
func snpEvidence(t *testing.T, x *attesttest.SNP) string {
	t.Helper()
	root, _ := x.Chain(t)
	file := func(kind, name string) any { return map[string]any{"type": kind, "file": name} }
	return evidenceFolder(t, map[string]any{
		"name": "made", "kind": "snp", "format": "snp-report", "evidence": "report.bin", "at": attesttest.At,
		"roots":  []any{file("amd-ark", "ark"), file("amd-ask", "ask"), file("amd-asvk", "asvk")},
		"policy": map[string]any{"require_crl": true, "signers": []any{"vcek", "vlek"}, "allow_smt": true, "allow_masked_chip_id": true},
	}, map[string][]byte{"report.bin": x.Collection(t).Items[attest.LabelEvidence].Value, "ark": root.ARK.Raw, "ask": root.ASK.Raw, "asvk": root.ASVK.Raw})
}

// vcekPath is where AMD has the certificate of a chip's key.
func vcekPath(line attest.ProductLine, chip []byte, tcb attest.TCB) string {
	fmc := ""
	if line == attest.Turin {
		fmc = fmt.Sprintf("fmcSPL=%d&", tcb.FMC)
	}
	return fmt.Sprintf("/vcek/v1/%s/%x?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", line, chip, fmc, tcb.Bootloader, tcb.TEE, tcb.SNP, tcb.Microcode)
}

// TestFetchSNP: the certificate of the chip's key and the list of its line.
func TestFetchSNP(t *testing.T) {
	for _, line := range []attest.ProductLine{attest.Milan, attest.Genoa, attest.Turin} {
		t.Run(string(line), func(t *testing.T) {
			x, m := attesttest.NewSNPOn(t, attest.SNP, line, []byte("{}"), attesttest.Nonce(1)), newMaker(t)
			items := x.Collection(t).Items[attest.LabelEndorsements].Nested.Items
			chip := x.VCEK.HWID[:]
			if line == attest.Turin {
				chip = chip[:8]
			}
			path := vcekPath(line, chip, x.VCEK.TCB)
			m.has[path] = published{body: items[attest.LabelVCEK].Value}
			m.has["/vcek/v1/"+string(line)+"/crl"] = published{body: items[attest.LabelCRL].Value}
			dir := snpEvidence(t, x)
			wantAppraised(t, dir, 3, verdict.EndorsementMissing)
			got, d := m.states(t, 0, dir)
			wantStates(t, got, "amd-vcek", "fetched", "amd-crl", "fetched")
			if !strings.Contains(string(d.Value), `"product": "`+string(line)+`"`) {
				t.Errorf("got %s", d.Value)
			}
			if want := []string{path, "/vcek/v1/" + string(line) + "/crl"}; !slices.Equal(m.asked, want) {
				t.Errorf("asked for %q, want %q", m.asked, want)
			}
			wantAppraised(t, dir, 0, "")
		})
	}
	t.Run("VLEK", func(t *testing.T) { // AMD gives it to the provider alone
		x, m := attesttest.NewSNP(t, attest.SNP, []byte("{}"), attesttest.Nonce(1)), newMaker(t)
		x.UseVLEK(t, "CN=cloud")
		m.has["/vlek/v1/Milan/crl"] = published{body: x.Collection(t).Items[attest.LabelEndorsements].Nested.Items[attest.LabelCRL].Value}
		dir := snpEvidence(t, x)
		got, d := m.states(t, 3, dir)
		wantStates(t, got, "amd-vlek", "missing endorsement.missing", "amd-crl", "fetched")
		if !strings.Contains(d.Reasons[0].Text, "provider") {
			t.Errorf("got %q", d.Reasons)
		}
		wantAppraised(t, dir, 3, verdict.EndorsementMissing)
	})
	t.Run("another chip's", func(t *testing.T) {
		x, m := attesttest.NewSNP(t, attest.SNP, []byte("{}"), attesttest.Nonce(1)), newMaker(t)
		dir := snpEvidence(t, x)
		path := vcekPath(attest.Milan, x.VCEK.HWID[:], x.VCEK.TCB)
		x.VCEK.HWID[0]++
		items := x.Collection(t).Items[attest.LabelEndorsements].Nested.Items
		m.has[path] = published{body: items[attest.LabelVCEK].Value}
		m.has["/vcek/v1/Milan/crl"] = published{body: items[attest.LabelCRL].Value}
		got, _ := m.states(t, 3, dir)
		wantStates(t, got, "amd-vcek", "missing endorsement.mismatch", "amd-crl", "fetched")
		if _, err := os.Stat(filepath.Join(dir, "vcek.der")); err == nil {
			t.Error("it was stored")
		}
	})
}

// genuineQuote is how long the quote of that package is, in bytes: what is behind it is
// not of the driver.
const genuineQuote = 4935

// TestFetchGenuine: genuine evidence, whose genuine endorsements a service serves as
// AMD's and Intel's do.
func TestFetchGenuine(t *testing.T) {
	t.Run("TDX", func(t *testing.T) {
		m := newMaker(t)
		for address, path := range map[string]string{
			"https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=50806f000000":          pcsTCBInfo + "50806f000000",
			"https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity":                     pcsQEIdentity,
			"https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der": pcsPCKCRL,
			"https://certificates.trustedservices.intel.com/IntelSGXRootCA.der":                          pcsRootCRL,
		} {
			header, body, err := tdxtesting.TestGetter.Get(address)
			if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
			p := published{body: body}
			for _, name := range []string{"Tcb-Info-Issuer-Chain", "Sgx-Enclave-Identity-Issuer-Chain"} {
				for _, value := range header[name] {
					p.header = name
					var err error
					if p.chain, err = url.QueryUnescape(value); err != nil {
						t.Fatal(err)
					}
				}
			}
			m.has[path] = p
		}
		dir := evidenceFolder(t, map[string]any{
			"name": "genuine", "kind": "tdx", "format": "tdx-quote", "evidence": "quote.bin", "at": "2023-07-01T00:00:00Z",
			"policy": map[string]any{"require_collateral": true, "require_crl": true},
		}, map[string][]byte{"quote.bin": tdxdata.RawQuote[:genuineQuote]})
		wantAppraised(t, dir, 3, verdict.EndorsementMissing)
		got, _ := m.states(t, 0, dir)
		wantStates(t, got, "tdx-tcb-info", "fetched", "tdx-qe-identity", "fetched", "sgx-pck-crl", "fetched", "sgx-root-crl", "fetched")
		wantAppraised(t, dir, 1, verdict.TCBUnknown) // decided: the platform is below each of its levels
	})
	t.Run("SNP", func(t *testing.T) {
		from, m := shared(t, "evidence", "snp-milan-genuine-accept"), newMaker(t)
		t.Log("shared testdata: used")
		report := read(t, filepath.Join(from, "report.bin"))
		r, err := attest.ParseSNPReport(report)
		if err != nil {
			t.Fatal(err)
		}
		// A report of version 2, which names no line: Milan is asked first.
		m.has[vcekPath(attest.Milan, r.ChipID[:], attest.TCB{Bootloader: 2, SNP: 5, Microcode: 68})] = published{body: read(t, filepath.Join(from, "vcek.der"))}
		var c map[string]any
		if err := json.Unmarshal(read(t, filepath.Join(from, "case.json")), &c); err != nil {
			t.Fatal(err)
		}
		delete(c, "endorsements")
		dir := evidenceFolder(t, c, map[string][]byte{"report.bin": report})
		wantAppraised(t, dir, 3, verdict.EndorsementMissing)
		got, _ := m.states(t, 0, dir)
		wantStates(t, got, "amd-vcek", "fetched", "amd-crl", "missing endorsement.missing")
		wantAppraised(t, dir, 0, "")
	})
}

// TestFetchUsage: what is no question is told before anything is asked.
func TestFetchUsage(t *testing.T) {
	x, m := attesttest.NewTDX(t, time.Now()), newMaker(t)
	dir := tdxFolder(t, x, time.Now())
	none := evidenceFolder(t, map[string]any{"name": "made", "kind": "tpm", "format": "tpm-quote", "evidence": "quote.bin", "at": attesttest.At}, map[string][]byte{"quote.bin": {}})
	whole := evidenceFolder(t, map[string]any{"name": "made", "kind": "tdx", "format": "cmw", "evidence": "collection.cmw", "at": attesttest.At}, map[string][]byte{"collection.cmw": {}})
	taken := tdxFolder(t, x, time.Now())
	m.collateral("00806f050000", x.Collateral())
	write(t, filepath.Join(taken, "tcb-info.json"), x.QuoteBytes())
	var c map[string]any
	if err := json.Unmarshal(read(t, filepath.Join(taken, "case.json")), &c); err != nil {
		t.Fatal(err)
	}
	c["evidence"] = "tcb-info.json"
	writeJSON(t, filepath.Join(taken, "case.json"), c)
	for name, tt := range map[string]struct {
		args []string
		text string
	}{
		"no folder":            {[]string{filepath.Join(dir, "nothing")}, "opening evidence folder"},
		"no case":              {[]string{t.TempDir()}, "case.json"},
		"both":                 {[]string{dir, "--now", "--into", t.TempDir()}, "--into leaves as it is"},
		"no time":              {[]string{dir, "--timeout", "0s"}, "more than 0"},
		"a plain address":      {[]string{dir, "--kds-url", "http://127.0.0.1"}, "no address of a service"},
		"no authorities":       {[]string{dir, "--ca", filepath.Join(dir, "case.json")}, "has no certificate"},
		"a TPM":                {[]string{none}, "of no processor"},
		"in one piece":         {[]string{whole}, "in one piece"},
		"a name that is taken": {[]string{taken}, "is another file of the folder"},
		"a file":               {[]string{dir, "--into", filepath.Join(dir, "quote.bin")}, "opening endorsements"},
	} {
		if o := m.fetch(t, tt.args...); o.status != 2 || !strings.Contains(o.stderr, tt.text) {
			t.Errorf("%s: got %s, want %q", name, o, tt.text)
		}
	}
	// Evidence that is malformed is nobody's.
	write(t, filepath.Join(dir, "quote.bin"), []byte("quote"))
	if o := m.fetch(t, dir); o.status != 1 || !strings.Contains(o.stderr, "[evidence.malformed]") {
		t.Errorf("got %s", o)
	}
}
