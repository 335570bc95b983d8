// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// A quoter is a TD under throw-away roots, with endorsements from a folder alone. The
// simulators bring theirs along.
type quoter struct {
	mu     sync.Mutex
	x      *attesttest.TDX
	folder *endorse.Folder
}

func (q *quoter) Kind() string                                        { return verdict.KindTDX }
func (q *quoter) Extend(context.Context, verdict.RegisterEvent) error { return nil }
func (q *quoter) Close() error                                        { return q.folder.Close() }
func (q *quoter) ActivateCredential(context.Context, []byte, []byte) ([]byte, error) {
	return nil, verdict.Refuse(verdict.EvidenceKind, "no TPM")
}

func (q *quoter) Evidence(_ context.Context, statement, nonces []byte) ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.x.Quote.ReportData = verdict.ReportData(statement, nonces)
	items := map[string]attest.Item{}
	for label, file := range endorse.Files {
		e, err := q.folder.Read(label)
		if err != nil {
			return nil, err
		}
		if e.Value != nil {
			items[label] = attest.Item{MediaType: file.MediaType, Value: e.Value, Indicator: attest.IndicatorEndorsements}
		}
	}
	c := attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelStatement: {MediaType: attest.TypeStatement, Value: statement},
		attest.LabelEvidence:  {MediaType: attest.TypeTDXQuote, Value: q.x.QuoteBytes(), Indicator: attest.IndicatorEvidence},
	}}
	if len(items) > 0 {
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: items}}
	}
	return c.Marshal()
}

// TestFetchEndorsements: a daemon with an empty folder serves, and nobody can decide. Once
// Intel's service answers, they can, without the daemon being told anything.
func TestFetchEndorsements(t *testing.T) {
	slow(t)
	x := attesttest.NewTDX(t, time.Now())
	collateral := x.Collateral()
	x.QuoteBytes()
	answers := map[string]struct {
		body          []byte
		header, chain string
	}{
		fmt.Sprintf("/tdx/certification/v4/tcb?fmspc=%x", x.PCK.FMSPC): {collateral.TCBInfo, "TCB-Info-Issuer-Chain", string(collateral.TCBInfoChain)},
		"/tdx/certification/v4/qe/identity":                            {collateral.QEIdentity, "SGX-Enclave-Identity-Issuer-Chain", string(collateral.QEIdentityChain)},
		"/sgx/certification/v4/pckcrl?ca=platform&encoding=der":        {body: collateral.PCKCRL},
		"/sgx/certification/v4/rootcacrl":                              {body: collateral.RootCRL},
	}
	up := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-up: // a service that hangs until then
		case <-r.Context().Done():
			return
		}
		a, ok := answers[r.URL.RequestURI()]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if a.header != "" {
			w.Header().Set(a.header, url.PathEscape(a.chain))
		}
		_, _ = w.Write(a.body)
	}))
	defer server.Close()

	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	ca := filepath.Join(w.dir, "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	dir := filepath.Join(w.stateDir(), "endorsements")
	defer daemon.SetTEE(func(_ context.Context, c enclave.Config) (enclave.Attester, error) {
		if c.Kind != enclave.KindTDX || c.Endorsements != dir {
			t.Errorf("got kind %s with the folder %s, want tdx with %s", c.Kind, c.Endorsements, dir)
		}
		folder, err := endorse.OpenFolder(c.Endorsements)
		return &quoter{x: x, folder: folder}, err
	}, attest.EndorsementRoots{Intel: x.Root()})()
	text := strings.Replace(w.configText(""), "tee: {kind: sim-snp, dir: "+w.simulator+"}", fmt.Sprintf("tee: {kind: tdx, fetch: true, pcs-url: %s, fetch-ca: %s}", server.URL, ca), 1)
	c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
	must(t, err)
	r := w.startConfig(c)
	node := r.as("node/dev/node-a")
	appraise := func() error {
		t.Helper()
		answer, err := node.GetStatement(t.Context(), &assayv1.GetStatementRequest{Nonce: nonce(verdict.NonceSize)})
		must(t, err)
		got, err := attest.ParseCollection(answer.GetCollection())
		must(t, err)
		quote := got.Items[attest.LabelEvidence].Value
		q, err := attest.ParseTDXQuote(quote)
		must(t, err)
		var fetched attest.TDXCollateral
		if nested := got.Items[attest.LabelEndorsements].Nested; nested != nil {
			fetched = attest.TDXCollateral{
				TCBInfo: nested.Items[attest.LabelTCBInfo].Value, TCBInfoChain: nested.Items[attest.LabelTCBInfoChain].Value,
				QEIdentity: nested.Items[attest.LabelQEIdentity].Value, QEIdentityChain: nested.Items[attest.LabelQEIdentityChain].Value,
				PCKCRL: nested.Items[attest.LabelPCKCRL].Value, RootCRL: nested.Items[attest.LabelSGXRootCRL].Value,
			}
		}
		_, err = attest.AppraiseTDX(quote, fetched, x.Trust(), attest.TDXExpected{ReportData: q.ReportData, MRTD: [][48]byte{q.MRTD}}, time.Now())
		return err
	}
	// The service hangs, and evidence does not wait for it.
	wantCode[*verdict.Failure](t, appraise(), verdict.EndorsementMissing)
	close(up)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := appraise()
		if err == nil {
			return
		}
		wantCode[*verdict.Failure](t, err, verdict.EndorsementMissing)
		if time.Now().After(deadline) {
			t.Fatalf("a minute later: %v", err)
		}
	}
}

// lines are messages of a log and the paths that they are about.
type lines chan [2]string

func (l lines) Write(line []byte) (int, error) {
	var of struct{ Msg, Path string }
	err := json.Unmarshal(line, &of)
	l <- [2]string{of.Msg, of.Path}
	return len(line), err
}

// TestTellEndorsements: a daemon that fetches nothing tells what its evidence goes without.
func TestTellEndorsements(t *testing.T) {
	x := attesttest.NewTDX(t, time.Now())
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	defer daemon.SetTEE(func(context.Context, enclave.Config) (enclave.Attester, error) {
		folder, err := endorse.OpenFolder(t.TempDir())
		return &quoter{x: x, folder: folder}, err
	}, attest.EndorsementRoots{Intel: x.Root()})()
	c, err := daemon.ParseConfig("assayd.yaml", []byte(strings.Replace(w.configText(""), "tee: {kind: sim-snp, dir: "+w.simulator+"}", "tee: {kind: tdx}", 1)))
	must(t, err)
	l := make(lines, 1<<12)
	w.startLogging(c, slog.New(slog.NewJSONHandler(l, nil)))
	late := time.After(time.Minute)
	for {
		select {
		case line := <-l:
			if line[0] != "evidence goes without endorsements, relying parties cannot decide" {
				continue
			}
			if line[1] != "sgx-pck-crl.der,sgx-root-crl.der,tdx-qe-identity.json,tdx-tcb-info.json" {
				t.Errorf("got %q", line[1])
			}
			return
		case <-late:
			t.Fatal("a minute later it has told nothing")
		}
	}
}

// TestFetchMisuse: files that name no authority stop the start.
func TestFetchMisuse(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	empty := filepath.Join(w.dir, "empty.pem")
	must(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for _, path := range []string{empty, filepath.Join(w.dir, "absent.pem")} {
		text := strings.Replace(w.configText(""), "tee: {kind: sim-snp, dir: "+w.simulator+"}", fmt.Sprintf("tee: {kind: snp, fetch: true, fetch-ca: %s}", path), 1)
		c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
		must(t, err)
		_, err = daemon.Open(t.Context(), c, quiet())
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), "tee.fetch-ca") {
			t.Errorf("%s: got %v, want a misuse about tee.fetch-ca", path, err)
		}
	}
}

// TestFetchConfig: what a configuration with fetching is read as, and what it tells.
func TestFetchConfig(t *testing.T) {
	for tee, want := range map[string][2]string{
		"kind: snp, fetch: true":                    {"/endorsements", "https://kdsintf.amd.com and https://api.trustedservices.intel.com"},
		"kind: auto, fetch: true, endorsements: /e": {"/e", "https://kdsintf.amd.com and"},
		"kind: azure-tdx, device: /d, fetch: true, pcs-url: \"https://pcs.example:8081/a\"": {"/endorsements", "and https://pcs.example:8081/a"},
		"kind: tdx, endorsements: /e": {"/e", ""},
		"kind: snp":                   {"", ""},
	} {
		c, err := daemon.ParseConfig("assayd.yaml", []byte(strings.Replace(goodConfig(newOwner(t).publicPEM), "kind: sim-snp, dir: /etc/assay/simulator", tee, 1)))
		if err != nil {
			t.Errorf("%s: %v", tee, err)
			continue
		}
		var text strings.Builder
		must(t, c.Describe(&text))
		if got := daemon.Enclave(&c).Endorsements; !strings.HasSuffix(got, want[0]) || (got == "") != (want[0] == "") {
			t.Errorf("%s: got the folder %q, want one that ends in %q", tee, got, want[0])
		}
		if fetches := strings.Contains(text.String(), "fetches "); fetches != (want[1] != "") || !strings.Contains(text.String(), want[1]) {
			t.Errorf("%s: got\n%s\nwant it to say %q", tee, text.String(), want[1])
		}
	}
}
