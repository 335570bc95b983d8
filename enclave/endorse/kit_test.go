// SPDX-License-Identifier: Apache-2.0

package endorse_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
)

// A maker is KDS and PCS in one, on loopback with TLS.
type maker struct {
	server *httptest.Server

	mu sync.Mutex
	// answers are by path and query, without which there is 404; intercept comes first.
	answers   map[string]answer
	intercept func(w http.ResponseWriter, r *http.Request) (done bool)
	asked     []string
}

type answer struct {
	body   []byte
	header [2]string
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	m := &maker{answers: map[string]answer{}}
	m.server = httptest.NewUnstartedServer(http.HandlerFunc(m.serve))
	m.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // clients that do not trust it
	m.server.StartTLS()
	t.Cleanup(m.server.Close)
	return m
}

func (m *maker) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked = append(m.asked, r.URL.RequestURI())
	intercept := m.intercept
	a, ok := m.answers[r.URL.RequestURI()]
	m.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	if a.header[0] != "" {
		w.Header().Set(a.header[0], a.header[1])
	}
	_, _ = w.Write(a.body)
}

func (m *maker) on(intercept func(w http.ResponseWriter, r *http.Request) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.intercept = intercept
}

func (m *maker) requests() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.asked...)
}

func (m *maker) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(m.server.Certificate())
	return pool
}

// fetcher asks the maker, and does not wait between tries.
func (m *maker) fetcher(t *testing.T, roots attest.EndorsementRoots) *endorse.Fetcher {
	t.Helper()
	f, err := endorse.NewFetcher(endorse.Config{KDS: m.server.URL, PCS: m.server.URL + "/", TLSRoots: m.pool(), Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	f.SetWait(func(ctx context.Context, _ time.Duration) error { return ctx.Err() })
	t.Cleanup(f.Close)
	return f
}

// publishTDX answers as Intel's service does.
func (m *maker) publishTDX(p *attest.Platform, c attest.TDXCollateral) {
	ca := "platform"
	if p.TDX.PCK.ProcessorCA {
		ca = "processor"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[fmt.Sprintf("/tdx/certification/v4/tcb?fmspc=%x", p.TDX.PCK.FMSPC)] = answer{c.TCBInfo, [2]string{"TCB-Info-Issuer-Chain", url.PathEscape(string(c.TCBInfoChain))}}
	m.answers["/tdx/certification/v4/qe/identity"] = answer{c.QEIdentity, [2]string{"SGX-Enclave-Identity-Issuer-Chain", url.PathEscape(string(c.QEIdentityChain))}}
	m.answers["/sgx/certification/v4/pckcrl?ca="+ca+"&encoding=der"] = answer{body: c.PCKCRL}
	m.answers["/sgx/certification/v4/rootcacrl"] = answer{body: fmt.Appendf(nil, "%x", c.RootCRL)}
}

// publishSNP answers as AMD's service does.
func (m *maker) publishSNP(p *attest.Platform, line attest.ProductLine, leaf, list []byte) {
	tcb, _ := p.SNP.TCB(line)
	fmc := ""
	if line == attest.Turin {
		fmc = fmt.Sprintf("fmcSPL=%d&", tcb.FMC)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[fmt.Sprintf("/vcek/v1/%s/%x?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", line, p.SNP.HWID(line), fmc, tcb.Bootloader, tcb.TEE, tcb.SNP, tcb.Microcode)] = answer{body: leaf}
	m.answers["/"+string(p.SNP.Signer)+"/v1/"+string(line)+"/crl"] = answer{body: list}
}

// tdx is a platform with TDX, and what the maker publishes of it.
func tdx(t *testing.T, m *maker) (*attesttest.TDX, *attest.Platform, *endorse.Fetcher) {
	t.Helper()
	x := attesttest.NewTDX(t, attesttest.At)
	p, err := attest.TDXPlatformOf(x.QuoteBytes())
	if err != nil {
		t.Fatal(err)
	}
	m.publishTDX(&p, x.Collateral())
	return x, &p, m.fetcher(t, attest.EndorsementRoots{Intel: x.Root()})
}

// snp is a platform with SEV-SNP, its parts, and what the maker publishes of it.
func snp(t *testing.T, m *maker, line attest.ProductLine, change func(*attesttest.SNP)) (*attest.Platform, map[string]attest.Item, *endorse.Fetcher) {
	t.Helper()
	s := attesttest.NewSNPOn(t, attest.SNP, line, attesttest.Encode(t, attesttest.Statement(t)), attesttest.Nonce(1))
	if change != nil {
		change(s)
	}
	c := s.Collection(t)
	items := c.Items[attest.LabelEndorsements].Nested.Items
	p, err := attest.SNPPlatformOf(c.Items[attest.LabelEvidence].Value)
	if err != nil {
		t.Fatal(err)
	}
	m.publishSNP(&p, line, items[attest.LabelVCEK].Value, items[attest.LabelCRL].Value)
	ark, err := x509.ParseCertificate(items[attest.LabelARK].Value)
	if err != nil {
		t.Fatal(err)
	}
	root := attest.SNPRoot{Line: line, ARK: ark}
	for label, into := range map[string]**x509.Certificate{attest.LabelASK: &root.ASK, attest.LabelASVK: &root.ASVK} {
		if der := items[label].Value; der != nil {
			if *into, err = x509.ParseCertificate(der); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &p, items, m.fetcher(t, attest.EndorsementRoots{AMD: []attest.SNPRoot{root}})
}

// shared reads recorded evidence that is not part of the project.
func shared(t *testing.T, elem ...string) []byte {
	t.Helper()
	const folder = "../../../shared/testdata"
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	data, err := os.ReadFile(filepath.Join(append([]string{folder}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Log("shared testdata: used")
	return data
}

func wantCode(t *testing.T, err error, code verdict.Code, refusal bool) {
	t.Helper()
	if verdict.CodeOf(err) != code || verdict.Refused(err) != refusal {
		t.Fatalf("got %v [%s], want %s (refusal: %t)", err, verdict.CodeOf(err), code, refusal)
	}
}
