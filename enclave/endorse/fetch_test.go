// SPDX-License-Identifier: Apache-2.0

package endorse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
)

func TestFetchTDX(t *testing.T) {
	for _, ca := range []string{"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"} {
		t.Run(ca, func(t *testing.T) {
			m := newMaker(t)
			x := attesttest.NewTDX(t, attesttest.At)
			x.CAName = ca
			quote := x.QuoteBytes()
			p, err := attest.TDXPlatformOf(quote)
			if err != nil {
				t.Fatal(err)
			}
			m.publishTDX(&p, x.Collateral())
			f := m.fetcher(t, attest.EndorsementRoots{Intel: x.Root()})
			got := map[string]endorse.Endorsement{}
			for _, label := range p.Endorsements() {
				if got[label], _, err = f.Fetch(t.Context(), &p, label, endorse.Endorsement{}, attesttest.At); err != nil {
					t.Fatalf("fetching %s: %v", label, err)
				}
			}
			c := attest.TDXCollateral{
				TCBInfo: got[attest.LabelTCBInfo].Value, TCBInfoChain: got[attest.LabelTCBInfo].Chain, QEIdentity: got[attest.LabelQEIdentity].Value, QEIdentityChain: got[attest.LabelQEIdentity].Chain,
				PCKCRL: got[attest.LabelPCKCRL].Value, RootCRL: got[attest.LabelSGXRootCRL].Value,
			}
			r, err := attest.AppraiseTDX(quote, c, x.Trust(), x.Expected(), attesttest.At)
			if err != nil || r.Status != attest.TDXUpToDate {
				t.Errorf("appraising with what was fetched: got %v and %s, want %s", err, r.Status, attest.TDXUpToDate)
			}
			if len(m.requests()) != 4 {
				t.Errorf("got the requests %q, want 4", m.requests())
			}
		})
	}
}

func TestFetchSNP(t *testing.T) {
	for _, line := range []attest.ProductLine{attest.Milan, attest.Genoa, attest.Turin} {
		t.Run(string(line), func(t *testing.T) {
			m := newMaker(t)
			p, items, f := snp(t, m, line, nil)
			for _, label := range p.Endorsements() {
				e, _, err := f.Fetch(t.Context(), p, label, endorse.Endorsement{}, attesttest.At)
				if err != nil || !bytes.Equal(e.Value, items[label].Value) {
					t.Errorf("fetching %s: got %d bytes and %v", label, len(e.Value), err)
				}
			}
		})
	}
}

// A report of version 2 names no line: each is asked for the chip until one knows it.
func TestFetchWithoutLine(t *testing.T) {
	m := newMaker(t)
	p, items, f := snp(t, m, attest.Genoa, func(s *attesttest.SNP) {
		s.Report.Version, s.Report.Family, s.Report.Model, s.Report.Stepping = 2, 0, 0, 0
	})
	if p.SNP.Line != "" {
		t.Fatalf("got line %s, want none", p.SNP.Line)
	}
	_, _, err := f.Fetch(t.Context(), p, attest.LabelCRL, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	e, _, err := f.Fetch(t.Context(), p, attest.LabelVCEK, endorse.Endorsement{}, attesttest.At)
	if err != nil || !bytes.Equal(e.Value, items[attest.LabelVCEK].Value) {
		t.Fatalf("got %d bytes and %v", len(e.Value), err)
	}
	if asked := m.requests(); len(asked) != 2 || !strings.Contains(asked[0], "/Milan/") || !strings.Contains(asked[1], "/Genoa/") {
		t.Errorf("got the requests %q, want Milan, then Genoa", asked)
	}
	if got := p.SNP.LineIn(e.Value); got != attest.Genoa {
		t.Errorf("got line %q of the certificate, want Genoa", got)
	}
	if got := p.SNP.LineIn(items[attest.LabelASK].Value); got != "" {
		t.Errorf("got line %q of a certificate whose key did not sign, want none", got)
	}
}

// What a masked chip or a provider's key wants nobody publishes, and nobody is asked.
func TestFetchNothing(t *testing.T) {
	m := newMaker(t)
	masked, _, f := snp(t, m, attest.Milan, func(s *attesttest.SNP) { s.Report.ChipID = [64]byte{} })
	_, _, err := f.Fetch(t.Context(), masked, attest.LabelVCEK, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	vlek, _, f := snp(t, m, attest.Milan, func(s *attesttest.SNP) { s.UseVLEK(t, "provider") })
	_, _, err = f.Fetch(t.Context(), vlek, attest.LabelVLEK, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	if asked := m.requests(); len(asked) != 0 {
		t.Errorf("got the requests %q, want none", asked)
	}
	if _, _, err := f.Fetch(t.Context(), vlek, attest.LabelCRL, endorse.Endorsement{}, attesttest.At); err != nil {
		t.Errorf("fetching the list of a VLEK: %v", err)
	}
	if asked := m.requests(); !slices.Equal(asked, []string{"/vlek/v1/Milan/crl"}) {
		t.Errorf("got the requests %q, want the list of VLEKs", asked)
	}
}

// Each changes one thing of an answer that is otherwise taken.
func TestRefuseAnswer(t *testing.T) {
	replace := func(body []byte) func(*maker, *attesttest.TDX) {
		return func(m *maker, _ *attesttest.TDX) {
			m.on(func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write(body); return true })
		}
	}
	status := func(code int) func(*maker, *attesttest.TDX) {
		return func(m *maker, _ *attesttest.TDX) {
			m.on(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true })
		}
	}
	republish := func(change func(*attesttest.TDX)) func(*maker, *attesttest.TDX) {
		return func(m *maker, x *attesttest.TDX) {
			p, err := attest.TDXPlatformOf(x.QuoteBytes())
			if err != nil {
				t.Fatal(err)
			}
			change(x)
			m.publishTDX(&p, x.Collateral())
		}
	}
	for _, c := range []struct {
		name, label string
		change      func(*maker, *attesttest.TDX)
		code        verdict.Code
		refusal     bool
		tries       int
	}{
		{"nothing-wrong", attest.LabelTCBInfo, nil, "", false, 1},
		{"404", attest.LabelTCBInfo, status(404), verdict.EndorsementMissing, false, 1},
		{"403", attest.LabelTCBInfo, status(403), verdict.EndorsementMissing, false, 1},
		{"429", attest.LabelTCBInfo, status(429), verdict.EndorsementMissing, false, endorse.MaxTries},
		{"503", attest.LabelTCBInfo, status(503), verdict.EndorsementMissing, false, endorse.MaxTries},
		{"oversize", attest.LabelTCBInfo, replace(make([]byte, endorse.MaxSize+1)), verdict.EvidenceLimit, true, 1},
		{"more-than-collateral", attest.LabelTCBInfo, func(m *maker, x *attesttest.TDX) {
			republish(func(x *attesttest.TDX) {
				x.OnTCBInfo = func(d []byte) []byte { return append(d, bytes.Repeat([]byte{' '}, 64<<10)...) }
			})(m, x)
		}, verdict.EvidenceLimit, true, 1},
		{"no-chain", attest.LabelTCBInfo, replace([]byte("{}")), verdict.EndorsementMalformed, true, 1},
		{"garbage-list", attest.LabelPCKCRL, replace([]byte("<html>")), verdict.EndorsementMalformed, true, 1},
		{"empty-list", attest.LabelPCKCRL, replace(nil), verdict.EndorsementMissing, false, 1},
		{"garbage-json", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) {
			x.OnTCBInfo = func([]byte) []byte { return []byte("<html>") }
		}), verdict.EndorsementMalformed, true, 1},
		{"truncated", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) {
			x.OnTCBInfo = func(d []byte) []byte { return d[:len(d)-1] }
		}), verdict.EndorsementMalformed, true, 1},
		{"member-twice", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) {
			x.OnTCBInfo = func(d []byte) []byte { return append([]byte(`{"TCBINFO":{},`), d[1:]...) }
		}), verdict.EndorsementMalformed, true, 1},
		{"changed", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) {
			x.OnTCBInfo = func(d []byte) []byte { return bytes.Replace(d, []byte("OutOfDate"), []byte("UpToDate"), 1) }
		}), verdict.EndorsementUntrusted, true, 1},
		{"no-number", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) { delete(x.TCBInfo, "tcbEvaluationDataNumber") }), verdict.EndorsementMalformed, true, 1},
		{"other-fmspc", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) { x.TCBInfo["fmspc"] = "00806F050001" }), verdict.EndorsementMismatch, true, 1},
		{"other-pce", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) { x.TCBInfo["pceId"] = "0001" }), verdict.EndorsementMismatch, true, 1},
		{"sgx-not-tdx", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) { x.TCBInfo["id"] = "SGX" }), verdict.EndorsementMalformed, true, 1},
		{"expired", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) {
			x.TCBInfo["nextUpdate"] = attesttest.At.Add(-time.Hour).Format(time.RFC3339)
		}), verdict.EndorsementExpired, false, 1},
		{"of-the-future", attest.LabelTCBInfo, republish(func(x *attesttest.TDX) {
			x.TCBInfo["issueDate"] = attesttest.At.Add(time.Hour).Format(time.RFC3339)
		}), verdict.EndorsementNotYetValid, false, 1},
		{"qe-identity-of-sgx", attest.LabelQEIdentity, republish(func(x *attesttest.TDX) { x.QEIdentity["id"] = "QE" }), verdict.EndorsementMalformed, true, 1},
		{"expired-qe-identity", attest.LabelQEIdentity, republish(func(x *attesttest.TDX) {
			x.QEIdentity["nextUpdate"] = attesttest.At.Add(-time.Hour).Format(time.RFC3339)
		}), verdict.EndorsementExpired, false, 1},
		{"expired-list", attest.LabelPCKCRL, republish(func(x *attesttest.TDX) { x.ListsAt = attesttest.At.AddDate(0, -2, 0) }), verdict.EndorsementExpired, false, 1},
		{"expired-root-list", attest.LabelSGXRootCRL, republish(func(x *attesttest.TDX) { x.ListsAt = attesttest.At.AddDate(0, -2, 0) }), verdict.EndorsementExpired, false, 1},
		{"list-of-the-root", attest.LabelPCKCRL, func(m *maker, x *attesttest.TDX) { replace(x.Collateral().RootCRL)(m, x) }, verdict.EndorsementUntrusted, true, 1},
		{"list-of-the-platforms", attest.LabelSGXRootCRL, func(m *maker, x *attesttest.TDX) { replace(x.Collateral().PCKCRL)(m, x) }, verdict.EndorsementUntrusted, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMaker(t)
			x, p, f := tdx(t, m)
			if c.change != nil {
				c.change(m, x)
			}
			e, _, err := f.Fetch(t.Context(), p, c.label, endorse.Endorsement{}, attesttest.At)
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCode(t, err, c.code, c.refusal)
			if e.Value != nil || e.Chain != nil {
				t.Errorf("got %d bytes with the error", len(e.Value))
			}
			if got := len(m.requests()); got != c.tries {
				t.Errorf("got %d tries, want %d", got, c.tries)
			}
		})
	}
}

func TestRefuseSNPAnswer(t *testing.T) {
	list := func(change func(*attesttest.SNP)) func(*testing.T, *maker, *attest.Platform, map[string]attest.Item) {
		return func(t *testing.T, m *maker, p *attest.Platform, _ map[string]attest.Item) {
			_, other, _ := snp(t, newMaker(t), attest.Milan, change)
			m.publishSNP(p, attest.Milan, other[attest.LabelVCEK].Value, other[attest.LabelCRL].Value)
		}
	}
	for _, c := range []struct {
		name, label string
		change      func(*testing.T, *maker, *attest.Platform, map[string]attest.Item)
		code        verdict.Code
		refusal     bool
	}{
		{"wrong-chip", attest.LabelVCEK, list(func(s *attesttest.SNP) { s.VCEK.HWID[0]++ }), verdict.EndorsementMismatch, true},
		{"other-tcb", attest.LabelVCEK, list(func(s *attesttest.SNP) { s.VCEK.TCB.Microcode++ }), verdict.EndorsementMismatch, true},
		{"other-line", attest.LabelVCEK, list(func(s *attesttest.SNP) { s.VCEK.Product = "Genoa-B0" }), verdict.EndorsementProduct, true},
		{"another-key-of-the-same-name", attest.LabelVCEK, list(func(*attesttest.SNP) {}), verdict.EndorsementMismatch, true},
		{"forged", attest.LabelVCEK, list(func(s *attesttest.SNP) { s.ASKKey = 3 }), verdict.EndorsementUntrusted, true},
		{"truncated", attest.LabelVCEK, func(_ *testing.T, m *maker, p *attest.Platform, items map[string]attest.Item) {
			m.publishSNP(p, attest.Milan, items[attest.LabelVCEK].Value[:500], nil)
		}, verdict.EndorsementMalformed, true},
		{"authority-in-its-place", attest.LabelVCEK, func(_ *testing.T, m *maker, p *attest.Platform, items map[string]attest.Item) {
			m.publishSNP(p, attest.Milan, items[attest.LabelASK].Value, nil)
		}, verdict.EndorsementUntrusted, true},
		{"list-by-another", attest.LabelCRL, list(func(s *attesttest.SNP) { s.ARKKey, s.IssuedBy = 3, 3 }), verdict.EndorsementUntrusted, true},
		{"expired-list", attest.LabelCRL, list(func(s *attesttest.SNP) { s.CRLNextUpdate = attesttest.At.Add(-time.Minute) }), verdict.EndorsementExpired, false},
		{"list-of-the-future", attest.LabelCRL, list(func(s *attesttest.SNP) { s.CRLThisUpdate = attesttest.At.Add(time.Minute) }), verdict.EndorsementNotYetValid, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMaker(t)
			p, items, f := snp(t, m, attest.Milan, nil)
			if _, _, err := f.Fetch(t.Context(), p, c.label, endorse.Endorsement{}, attesttest.At); err != nil {
				t.Fatalf("before anything was changed: %v", err)
			}
			c.change(t, m, p, items)
			_, _, err := f.Fetch(t.Context(), p, c.label, endorse.Endorsement{}, attesttest.At)
			wantCode(t, err, c.code, c.refusal)
		})
	}
}

// An answer that went back by number or date does not take the place of what is there;
// one that went forward, or beside something of no use, does.
func TestOlderAnswer(t *testing.T) {
	type change = func(*attesttest.TDX)
	number := func(n int) change { return func(x *attesttest.TDX) { x.TCBInfo["tcbEvaluationDataNumber"] = n } }
	issued := func(hours int) change {
		return func(x *attesttest.TDX) {
			x.TCBInfo["issueDate"] = attesttest.At.Add(time.Duration(hours) * time.Hour).Format(time.RFC3339)
		}
	}
	lists := func(n int64, hours int) change {
		return func(x *attesttest.TDX) {
			x.ListNumber, x.ListsAt = n, attesttest.At.Add(time.Duration(hours)*time.Hour)
		}
	}
	for _, c := range []struct {
		name, label   string
		before, after change
		code          verdict.Code
	}{
		{"same", attest.LabelTCBInfo, number(17), number(17), ""},
		{"higher-evaluation", attest.LabelTCBInfo, number(17), number(18), ""},
		{"lower-evaluation", attest.LabelTCBInfo, number(17), number(16), verdict.EndorsementRollback},
		{"later", attest.LabelTCBInfo, issued(-20), issued(-10), ""},
		{"earlier", attest.LabelTCBInfo, issued(-20), issued(-30), verdict.EndorsementRollback},
		{"higher-list", attest.LabelPCKCRL, lists(3, -24), lists(4, -23), ""},
		{"lower-list", attest.LabelPCKCRL, lists(3, -24), lists(2, -23), verdict.EndorsementRollback},
		{"earlier-list", attest.LabelPCKCRL, lists(3, -24), lists(4, -25), verdict.EndorsementRollback},
		{"lower-root-list", attest.LabelSGXRootCRL, lists(3, -24), lists(2, -23), verdict.EndorsementRollback},
		{"older-than-one-that-ended", attest.LabelPCKCRL, lists(3, -24*40), lists(2, -23), verdict.EndorsementRollback},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMaker(t)
			x, p, f := tdx(t, m)
			part := func(change change) endorse.Endorsement {
				change(x)
				collateral := x.Collateral()
				items := collateral.Endorsements()
				m.publishTDX(p, collateral)
				return endorse.Endorsement{Value: items[c.label].Value, Chain: items[attest.ChainOf(c.label)].Value}
			}
			have := part(c.before)
			want := part(c.after)
			got, _, err := f.Fetch(t.Context(), p, c.label, have, attesttest.At)
			if c.code != "" {
				wantCode(t, err, c.code, false)
				return
			}
			if err != nil || !bytes.Equal(got.Value, want.Value) {
				t.Errorf("got %d bytes and %v", len(got.Value), err)
			}
			// What nobody signed has no number, whatever it says.
			have.Value = bytes.Replace(bytes.Clone(have.Value), []byte{have.Value[len(have.Value)-3]}, []byte{'0'}, 1)
			if _, _, err := f.Fetch(t.Context(), p, c.label, have, attesttest.At); err != nil {
				t.Errorf("beside a broken file: %v", err)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	m := newMaker(t)
	_, p, f := tdx(t, m)
	asked := 0
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer other.Close()
	path := fmt.Sprintf("/tdx/certification/v4/tcb?fmspc=%x", p.TDX.PCK.FMSPC)
	for name, to := range map[string]string{"other-host": other.URL + path, "plain": "http" + strings.TrimPrefix(m.server.URL, "https") + path, "loop": "/again"} {
		m.on(func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, to, http.StatusFound)
			return true
		})
		waits := 0
		f.SetWait(func(context.Context, time.Duration) error { waits++; return nil })
		_, _, err := f.Fetch(t.Context(), p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At)
		t.Run(name, func(t *testing.T) { wantCode(t, err, verdict.EndorsementMissing, false) })
		if waits != 0 {
			t.Errorf("%s: asked again %d times, want never", name, waits)
		}
	}
	if asked != 0 {
		t.Errorf("the other host was asked %d times, want never", asked)
	}
	m.on(func(w http.ResponseWriter, r *http.Request) bool {
		if path, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
			r.URL.Path = path
			m.on(nil)
			m.serve(w, r)
			return true
		}
		http.Redirect(w, r, "/moved"+r.URL.RequestURI(), http.StatusFound)
		return true
	})
	if _, _, err := f.Fetch(t.Context(), p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At); err != nil {
		t.Errorf("redirected on the same host: %v", err)
	}
}

// A body that does not end costs its deadline and no more, and another name in the
// server's certificate costs nothing.
func TestSlowAndForeign(t *testing.T) {
	m := newMaker(t)
	x, p, _ := tdx(t, m)
	release := make(chan struct{})
	m.on(func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("{"))
		w.(http.Flusher).Flush()
		<-release // whoever is gone by then: a handler that returned would have ended the body
		return true
	})
	defer close(release)
	slow, err := endorse.NewFetcher(endorse.Config{PCS: m.server.URL, TLSRoots: m.pool(), Roots: attest.EndorsementRoots{Intel: x.Root()}, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.SetWait(func(context.Context, time.Duration) error { return nil })
	_, _, err = slow.Fetch(t.Context(), p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = slow.Fetch(ended, p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	m.on(nil)
	foreign, err := endorse.NewFetcher(endorse.Config{PCS: m.server.URL, Roots: attest.EndorsementRoots{Intel: x.Root()}})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	foreign.SetWait(func(context.Context, time.Duration) error {
		t.Error("a server of an unknown authority is asked again")
		return nil
	})
	before := len(m.requests())
	_, _, err = foreign.Fetch(t.Context(), p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	if got := len(m.requests()); got != before {
		t.Errorf("a server of an unknown authority got %d requests, want none", got-before)
	}
}

// Pauses are the service's where it names one, and longer each time where it does not;
// one that the deadline does not leave time for is left to the caller.
func TestPauses(t *testing.T) {
	m := newMaker(t)
	_, p, f := tdx(t, m)
	var waited []time.Duration
	f.SetWait(func(_ context.Context, d time.Duration) error { waited = append(waited, d); return nil })
	failures := 2
	m.on(func(w http.ResponseWriter, _ *http.Request) bool {
		failures--
		if failures >= 0 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return failures >= 0
	})
	if _, _, err := f.Fetch(t.Context(), p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{7 * time.Second, 7 * time.Second}; !slices.Equal(waited, want) {
		t.Errorf("got the pauses %v, want %v", waited, want)
	}
	waited = nil
	m.on(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	_, _, err := f.Fetch(t.Context(), p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	if len(waited) != endorse.MaxTries-1 {
		t.Errorf("got the pauses %v, want %d", waited, endorse.MaxTries-1)
	}
	for i, d := range waited {
		if least := time.Second << i / 2; d < least || d > 3*least {
			t.Errorf("pause %d is %v, want %v to %v", i, d, least, 3*least)
		}
	}
	waited = nil
	m.on(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	_, _, err = f.Fetch(ctx, p, attest.LabelTCBInfo, endorse.Endorsement{}, attesttest.At)
	wantCode(t, err, verdict.EndorsementMissing, false)
	if failure, ok := errors.AsType[*verdict.Failure](err); !ok || failure.RetryAfter != time.Hour || waited != nil {
		t.Errorf("got %v after the pauses %v, want none and RetryAfter of an hour", err, waited)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, "-5": 0, "five": 0, "99999999999999999999": 0, "2147483647": endorse.MaxRetryAfter,
		"Mon, 01 Jun 2026 12:01:00 GMT": time.Minute, "Mon, 01 Jun 2026 11:00:00 GMT": 0,
	} {
		if got := endorse.RetryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: got %v, want %v", value, got, want)
		}
	}
}
