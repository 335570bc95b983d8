// SPDX-License-Identifier: Apache-2.0

package publisher

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/assayd/assay/verdict"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	ocspURL = "http://ocsp.example"
	crlURL  = "http://crl.example/ca.crl"
)

// A pki is an authority, a leaf that names a responder and a list, and what is
// served there.
type pki struct {
	t             *testing.T
	root, leaf    *x509.Certificate
	key, leafKey  *ecdsa.PrivateKey
	served        map[string][]byte
	fetches       atomic.Int64
	err           error
	lastRequest   []byte
	otherLeafCert *x509.Certificate
}

func newPKI(t *testing.T, urls ...string) *pki {
	t.Helper()
	p := &pki{t: t, served: map[string][]byte{}}
	p.key, p.leafKey = newKey(t), newKey(t)
	p.root = p.issue(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}, nil, p.key.Public(), p.key)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "leaf"}}
	for _, u := range urls {
		if u == ocspURL {
			leaf.OCSPServer = append(leaf.OCSPServer, u)
		} else {
			leaf.CRLDistributionPoints = append(leaf.CRLDistributionPoints, u)
		}
	}
	p.leaf = p.issue(leaf, p.root, p.leafKey.Public(), p.key)
	return p
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (p *pki) issue(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	p.t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *pki) Fetch(_ context.Context, url string, body []byte, _ int64) ([]byte, error) {
	p.fetches.Add(1)
	p.lastRequest = body
	if p.err != nil {
		return nil, p.err
	}
	data, ok := p.served[url]
	if !ok {
		return nil, errors.New("nothing is served there")
	}
	return data, nil
}

func (p *pki) chain() []*x509.Certificate { return []*x509.Certificate{p.leaf, p.root} }

// list makes a CRL; change changes one thing.
func (p *pki) list(change func(*x509.RevocationList), revoked ...x509.RevocationListEntry) []byte {
	p.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(5), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour), RevokedCertificateEntries: revoked}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, p.root, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return der
}

func entry(serial int64, reason int) x509.RevocationListEntry {
	return x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: now.Add(-2 * time.Hour), ReasonCode: reason}
}

// answer makes an OCSP answer by key; change changes one thing.
func (p *pki) answer(responder *x509.Certificate, key crypto.Signer, change func(*ocsp.Response)) []byte {
	p.t.Helper()
	template := ocsp.Response{Status: ocsp.Good, SerialNumber: p.leaf.SerialNumber, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour), IssuerHash: crypto.SHA256}
	if responder != p.root {
		template.Certificate = responder
	}
	if change != nil {
		change(&template)
	}
	der, err := ocsp.CreateResponse(p.root, responder, template, key)
	if err != nil {
		p.t.Fatal(err)
	}
	return der
}

func (p *pki) check(mode Mode) (Result, error) {
	return New(p, nil).Check(p.t.Context(), p.chain(), now, mode)
}

func (p *pki) want(name string, code verdict.Code) {
	p.t.Helper()
	res, err := p.check(Hard)
	if verdict.CodeOf(err) != code && (err != nil || code != "") {
		p.t.Errorf("%s: got %v, want %q", name, err, code)
	}
	if err == nil && !res.NotAfter.After(now) && len(p.leaf.OCSPServer)+len(p.leaf.CRLDistributionPoints) > 0 {
		p.t.Errorf("%s: holds until %v", name, res.NotAfter)
	}
	soft, err := p.check(Soft)
	switch code {
	case verdict.RevokedCertificate:
		if verdict.CodeOf(err) != code {
			p.t.Errorf("%s, soft: got %v, want %q", name, err, code)
		}
	case verdict.RevocationUnavailable:
		if err != nil || len(soft.Warnings) != 1 {
			p.t.Errorf("%s, soft: got %v and warnings %q, want one warning", name, err, soft.Warnings)
		}
	}
}

// delegate is a certificate for a responder.
func (p *pki) delegate(change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	p.t.Helper()
	key := newKey(p.t)
	template := &x509.Certificate{SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}}}
	if change != nil {
		change(template)
	}
	return p.issue(template, p.root, key.Public(), p.key), key
}

// TestR43OCSP: one thing changed in a good answer.
func TestR43OCSP(t *testing.T) {
	p := newPKI(t, ocspURL)
	serve := func(data []byte) *pki { p.served[ocspURL] = data; return p }
	serve(p.answer(p.root, p.key, nil)).want("good", "")
	good, goodKey := p.delegate(nil)
	serve(p.answer(good, goodKey, nil)).want("good by a delegate", "")
	serve(p.answer(p.root, p.key, func(r *ocsp.Response) { r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, now, 1 })).want("revoked", verdict.RevokedCertificate)
	serve(p.answer(p.leaf, p.leafKey, nil)).want("by the leaf itself", verdict.RevocationUnavailable)
	for name, change := range map[string]func(*x509.Certificate){
		"a delegate without the usage":   func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} },
		"a delegate that ended":          func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0) },
		"a delegate that may be revoked": func(c *x509.Certificate) { c.ExtraExtensions = nil },
	} {
		d, key := p.delegate(change)
		serve(p.answer(d, key, nil)).want(name, verdict.RevocationUnavailable)
	}
	other := newPKI(t, ocspURL)
	serve(other.answer(other.root, other.key, nil)).want("by another issuer", verdict.RevocationUnavailable)
	for name, change := range map[string]func(*ocsp.Response){
		"another serial":   func(r *ocsp.Response) { r.SerialNumber = big.NewInt(78) },
		"begins tomorrow":  func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = now.AddDate(0, 0, 1), now.AddDate(0, 0, 2) },
		"ended yesterday":  func(r *ocsp.Response) { r.NextUpdate = now.AddDate(0, 0, -1) },
		"old, without end": func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = now.AddDate(0, 0, -2), time.Time{} },
		"unknown":          func(r *ocsp.Response) { r.Status = ocsp.Unknown },
		"critical extension": func(r *ocsp.Response) {
			r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		},
	} {
		serve(p.answer(p.root, p.key, change)).want(name, verdict.RevocationUnavailable)
	}
	serve(p.answer(p.root, p.key, func(r *ocsp.Response) { r.NextUpdate = time.Time{} })).want("fresh, without end", "")
	serve([]byte("junk")).want("junk", verdict.RevocationUnavailable)
	serve(nil).want("empty", verdict.RevocationUnavailable)
	delete(p.served, ocspURL)
	p.want("no answer", verdict.RevocationUnavailable)
	// Another authority of the same name: the hashes of the key tell.
	twin := newPKI(t, ocspURL)
	twinAnswer := twin.answer(twin.root, twin.key, nil)
	if err := checkCertID(twinAnswer, p.leaf, p.root); err == nil {
		t.Error("an answer about another issuer's key was taken")
	}
}

// TestR44CRL: one thing changed in a good list.
func TestR44CRL(t *testing.T) {
	p := newPKI(t, crlURL)
	serve := func(data []byte) *pki { p.served[crlURL] = data; return p }
	serve(p.list(nil)).want("good", "")
	serve(p.list(nil, entry(78, 1))).want("another is revoked", "")
	serve(p.list(nil, entry(77, 1))).want("revoked", verdict.RevokedCertificate)
	serve(p.list(nil, entry(77, 6))).want("on hold", verdict.RevokedCertificate)
	serve(p.list(nil, entry(77, 8))).want("taken off again", "")
	ended := func(l *x509.RevocationList) { l.NextUpdate = now.Add(-time.Minute) }
	serve(p.list(ended, entry(77, 1))).want("ended and revoked", verdict.RevokedCertificate)
	serve(p.list(ended, entry(77, 6))).want("ended and on hold", verdict.RevocationUnavailable)
	serve(p.list(ended)).want("ended", verdict.RevocationUnavailable)
	serve(p.list(func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.AddDate(0, 0, 1), now.AddDate(0, 0, 2) })).want("begins tomorrow", verdict.RevocationUnavailable)
	extra := func(id asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: value}}
		}
	}
	point := func(content ...byte) []byte { return append([]byte{0x30, byte(len(content))}, content...) }
	distribution := asn1.ObjectIdentifier{2, 5, 29, 28}
	serve(p.list(extra(asn1.ObjectIdentifier{2, 5, 29, 27}, true, []byte{2, 1, 1}))).want("a delta", verdict.RevocationUnavailable)
	serve(p.list(extra(asn1.ObjectIdentifier{1, 2, 3}, true, []byte{5, 0}))).want("critical extension", verdict.RevocationUnavailable)
	serve(p.list(extra(asn1.ObjectIdentifier{1, 2, 3}, false, []byte{5, 0}))).want("an extension", "")
	serve(p.list(extra(distribution, true, point()))).want("of everything", "")
	serve(p.list(extra(distribution, true, point(0x81, 1, 0xff)))).want("of end certificates", "")
	serve(p.list(extra(distribution, true, point(0x82, 1, 0xff)))).want("of authorities only", verdict.RevocationUnavailable)
	serve(p.list(extra(distribution, true, point(0x83, 2, 1, 2)))).want("of some reasons", verdict.RevocationUnavailable)
	serve(p.list(extra(distribution, true, point(0x84, 1, 0xff)))).want("indirect", verdict.RevocationUnavailable)
	serve(p.list(extra(distribution, true, point(0x85, 1, 0xff)))).want("of attributes", verdict.RevocationUnavailable)
	serve(p.list(extra(distribution, true, []byte{1}))).want("unreadable scope", verdict.RevocationUnavailable)
	other := newPKI(t, crlURL)
	serve(other.list(nil)).want("by another key", verdict.RevocationUnavailable)
	serve([]byte("junk")).want("junk", verdict.RevocationUnavailable)

	// A lower number than one that was seen.
	checker := New(p, nil)
	serve(p.list(func(l *x509.RevocationList) { l.Number = big.NewInt(6); ended(l) }))
	if _, err := checker.Check(t.Context(), p.chain(), now, Hard); verdict.CodeOf(err) != verdict.RevocationUnavailable {
		t.Fatal(err)
	}
	serve(p.list(nil))
	if _, err := checker.Check(t.Context(), p.chain(), now, Hard); verdict.CodeOf(err) != verdict.RevocationUnavailable || !strings.Contains(err.Error(), "number 5 is below") {
		t.Errorf("an older list: got %v", err)
	}
}

// TestOrder: the responder is asked first, the list where it tells nothing.
func TestOrder(t *testing.T) {
	p := newPKI(t, ocspURL, crlURL)
	p.served[ocspURL] = p.answer(p.root, p.key, nil)
	p.served[crlURL] = p.list(nil, entry(77, 1))
	p.want("the responder says good", "")
	p.served[ocspURL] = []byte("junk")
	p.want("the list decides", verdict.RevokedCertificate)
	none := newPKI(t)
	none.want("nothing to ask", "")
	if n := none.fetches.Load(); n != 0 {
		t.Errorf("%d fetches for a certificate that names nobody", n)
	}
}

// TestR42Cache: what is kept saves the fetch, survives a restart, is judged each
// time, and never decides by failing.
func TestR42Cache(t *testing.T) {
	p := newPKI(t, crlURL)
	p.served[crlURL] = p.list(nil)
	folder := t.TempDir()
	open := func() (*Checker, *[]error) {
		dir, err := os.OpenRoot(folder)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = dir.Close() })
		var warnings []error
		return New(p, OpenCache(dir, func(err error) { warnings = append(warnings, err) })), &warnings
	}
	c, _ := open()
	for range 3 {
		if _, err := c.Check(t.Context(), p.chain(), now, Hard); err != nil {
			t.Fatal(err)
		}
	}
	c, warnings := open() // a restart
	if _, err := c.Check(t.Context(), p.chain(), now, Hard); err != nil || p.fetches.Load() != 1 || len(*warnings) != 0 {
		t.Errorf("got %v after %d fetches, warnings %v", err, p.fetches.Load(), *warnings)
	}
	// Its end is judged each time.
	p.served[crlURL] = p.list(func(l *x509.RevocationList) {
		l.Number = big.NewInt(7)
		l.ThisUpdate, l.NextUpdate = now.Add(2*time.Hour), now.Add(3*time.Hour)
	})
	if _, err := c.Check(t.Context(), p.chain(), now.Add(2*time.Hour), Hard); err != nil || p.fetches.Load() != 2 {
		t.Errorf("after its end: got %v after %d fetches", err, p.fetches.Load())
	}
	// What somebody wrote into the folder is verified, and then fetched.
	names, err := os.ReadDir(folder)
	if err != nil || len(names) == 0 {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".der") {
			if err := os.WriteFile(folder+"/"+n.Name(), []byte("crl "+crlURL+" "+keyID(p.root)+"\njunk"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, _ = open()
	if _, err := c.Check(t.Context(), p.chain(), now.Add(2*time.Hour), Hard); err != nil || p.fetches.Load() != 3 {
		t.Errorf("with junk in the cache: got %v after %d fetches", err, p.fetches.Load())
	}
	// The number survives as well.
	p.served[crlURL] = p.list(nil)
	c, _ = open()
	if _, err := c.Check(t.Context(), p.chain(), now.Add(5*time.Minute), Hard); verdict.CodeOf(err) != verdict.RevocationUnavailable {
		t.Errorf("an older list after a restart: got %v", err)
	}
	// A folder that cannot be written changes nothing.
	p.served[crlURL] = p.list(nil)
	gone := t.TempDir() + "/gone"
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(gone)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close() //nolint:errcheck // a test
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	n := 0
	if _, err := New(p, OpenCache(dir, func(error) { n++ })).Check(t.Context(), p.chain(), now, Hard); err != nil || n == 0 {
		t.Errorf("without its folder: got %v and %d warnings", err, n)
	}
}

// TestBackOff: a place that does not answer is left alone for a while.
func TestBackOff(t *testing.T) {
	p := newPKI(t, crlURL)
	p.err = errors.New("connection refused")
	c := New(p, nil)
	for range 5 {
		if _, err := c.Check(t.Context(), p.chain(), now, Hard); verdict.CodeOf(err) != verdict.RevocationUnavailable {
			t.Fatal(err)
		}
	}
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	p.err, p.served[crlURL] = nil, p.list(nil)
	if _, err := c.Check(t.Context(), p.chain(), now.Add(backOff), Hard); err != nil {
		t.Errorf("after the back-off: %v", err)
	}
}

// TestR50Addresses: certificates of others do not make us ask inside.
func TestR50Addresses(t *testing.T) {
	asked := false
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer s.Close()
	h := NewHTTP(func(string, string, syscall.RawConn) error { return errors.New("not a public address") })
	defer h.Close()
	for _, u := range []string{s.URL, "http://169.254.169.254/", "http://[::1]/", "file:///etc/passwd", "ldap://x/", "http://user@x/", "//x", ""} {
		if _, err := h.Fetch(t.Context(), u, nil, 100); err == nil {
			t.Errorf("%q was fetched", u)
		}
	}
	if asked {
		t.Error("the server was asked")
	}
}

// TestR47Fetch: an answer is bounded, and a redirect is not followed.
func TestR47Fetch(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(make([]byte, 101))
		case "/endless":
			for range 1000 {
				if _, err := w.Write(make([]byte, 1024)); err != nil {
					return
				}
			}
		case "/redirect":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/good":
			_, _ = w.Write([]byte("data"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	h := NewHTTP(func(string, string, syscall.RawConn) error { return nil })
	defer h.Close()
	for path, ok := range map[string]bool{"/good": true, "/large": false, "/endless": false, "/redirect": false, "/nothing": false} {
		if _, err := h.Fetch(t.Context(), s.URL+path, nil, 100); (err == nil) != ok {
			t.Errorf("%s: got %v", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Fetch(ctx, s.URL+"/good", nil, 100); err == nil {
		t.Error("an ended context was not looked at")
	}
}

func FuzzJudge(f *testing.F) {
	p := newPKI(&testing.T{}, ocspURL, crlURL)
	f.Add(p.answer(p.root, p.key, nil))
	f.Add(p.list(nil, entry(77, 1)))
	other := newPKI(&testing.T{}, ocspURL, crlURL)
	c := New(nil, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Nothing that anybody can write is signed by this issuer.
		if _, err := judgeOCSP(data, ocspURL, other.leaf, other.root, now); !errors.Is(err, errInconclusive) {
			t.Errorf("OCSP: got %v", err)
		}
		if _, err := c.judgeCRL("k", data, crlURL, other.leaf, other.root, now); !errors.Is(err, errInconclusive) {
			t.Errorf("CRL: got %v", err)
		}
	})
}
