// SPDX-License-Identifier: Apache-2.0

package revocation_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/dertest"
	"github.com/assayd/assay/verifier/internal/revocation"
	"github.com/assayd/assay/verifier/revocationtest"
)

// now is the clock of all tests.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newPKI(t testing.TB, change func(*revocationtest.Config)) *revocationtest.PKI {
	t.Helper()
	cfg := revocationtest.Config{At: now}
	if change != nil {
		change(&cfg)
	}
	p, err := revocationtest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func issue(t testing.TB, p *revocationtest.PKI, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	c, _, err := p.Issue(change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newChecker(t testing.TB, p *revocationtest.PKI, change func(*revocation.Config)) *revocation.Checker {
	t.Helper()
	cfg := revocation.Config{Fetch: revocation.GuardedFetch([]string{p.Host()})}
	if change != nil {
		change(&cfg)
	}
	c, err := revocation.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func bytesOf(t testing.TB) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func wantCode(t testing.TB, err error, want verdict.Code) {
	t.Helper()
	if got := verdict.CodeOf(err); got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

// wantText asks for what tells a refusal from its neighbours of the same code.
func wantText(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want it to say %q", err, want)
	}
}

func check(t testing.TB, c *revocation.Checker, chain []*x509.Certificate, st revocation.Stapled) (revocation.Result, error) {
	t.Helper()
	r, err := c.Check(t.Context(), chain, now, revocation.SigningTime{}, revocation.Hard, st)
	if err != nil && (r.Evidence != nil || !r.NotAfter.IsZero() || r.Warnings != nil) {
		t.Errorf("got %+v beside an error", r)
	}
	return r, err
}

var ofCompromise = revocationtest.Revocation{At: now.Add(-48 * time.Hour), Reason: ocsp.KeyCompromise}

func TestGood(t *testing.T) {
	p := newPKI(t, nil)
	c := newChecker(t, p, nil)
	leaf := issue(t, p, nil)
	r, err := check(t, c, p.Chain(leaf), revocation.Stapled{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Evidence) != 2 || r.Evidence[0].Source != "ocsp" || r.Evidence[0].URL != p.OCSPURL("issuer") || r.Evidence[1].URL != p.OCSPURL("root") {
		t.Errorf("got evidence %+v, want OCSP of issuer and root", r.Evidence)
	}
	for _, e := range r.Evidence {
		if !e.ThisUpdate.Equal(now.Add(-time.Hour)) || !e.NextUpdate.Equal(now.Add(24*time.Hour)) || !strings.HasPrefix(string(e.Digest), "sha256:") {
			t.Errorf("got evidence %+v, want its window and digest", e)
		}
	}
	if !r.NotAfter.Equal(now.Add(24 * time.Hour)) {
		t.Errorf("got not after %s, want nextUpdate", r.NotAfter)
	}
	// Again: from memory.
	before := len(p.Requests())
	if _, err := check(t, c, p.Chain(leaf), revocation.Stapled{}); err != nil {
		t.Fatal(err)
	}
	if got := p.Requests(); len(got) != before || before != 2 {
		t.Errorf("got requests %q, want 2 and no more", got)
	}
}

func TestRevokedByOCSP(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoCRL = true })
	leaf := issue(t, p, nil)
	p.Revoke(leaf, ofCompromise)
	for _, mode := range []revocation.Mode{revocation.Hard, revocation.Soft} {
		_, err := newChecker(t, p, nil).Check(t.Context(), p.Chain(leaf), now, revocation.SigningTime{}, mode, revocation.Stapled{})
		wantCode(t, err, verdict.RevokedCertificate)
		for _, want := range []string{"revocationtest leaf", leaf.SerialNumber.Text(16), "keyCompromise", "2026-11-20T12:00:00Z", p.OCSPURL("issuer")} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to say %q", err, want)
			}
		}
	}
	if r, err := newChecker(t, p, nil).Check(t.Context(), p.Chain(leaf), now, revocation.SigningTime{}, revocation.Off, revocation.Stapled{}); err != nil || r.Evidence != nil {
		t.Errorf("off: got %+v, %v", r, err)
	}
}

func TestRevokedByCRL(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	leaf, other := issue(t, p, nil), issue(t, p, nil)
	c := newChecker(t, p, nil)
	p.Revoke(other, ofCompromise)
	r, err := check(t, c, p.Chain(leaf), revocation.Stapled{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Evidence[0].Source != "crl" || r.Evidence[0].URL != p.CRLURL("issuer") {
		t.Errorf("got evidence %+v, want the CRL", r.Evidence)
	}
	_, err = check(t, c, p.Chain(other), revocation.Stapled{})
	wantCode(t, err, verdict.RevokedCertificate)
	if got := p.Requests(); len(got) != 2 {
		t.Errorf("got requests %q, want one for each list", got)
	}
}

func TestRevokedIntermediate(t *testing.T) {
	p := newPKI(t, nil)
	p.Revoke(p.Issuer, revocationtest.Revocation{At: now.Add(-time.Hour), Reason: ocsp.CACompromise})
	_, err := check(t, newChecker(t, p, nil), p.Chain(issue(t, p, nil)), revocation.Stapled{})
	wantCode(t, err, verdict.RevokedCertificate)
	if !strings.Contains(err.Error(), "revocationtest issuer") {
		t.Errorf("got %v, want it to name the issuer", err)
	}
}

// A refusal of one certificate is told although nothing is known of another.
func TestRefusalBeforeFailure(t *testing.T) {
	p := newPKI(t, nil)
	p.OnHTTP = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/issuer") {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		}
		return false
	}
	leaf := issue(t, p, nil)
	_, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
	p.Revoke(p.Issuer, ofCompromise)
	_, err = check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	wantCode(t, err, verdict.RevokedCertificate)
}

func TestNoSource(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoCRL = true, true })
	leaf := issue(t, p, nil)
	r, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	if err != nil || len(r.Evidence) != 2 || r.Evidence[0].Source != "none" || r.Evidence[0].Digest != "" || !r.NotAfter.IsZero() {
		t.Errorf("got %+v, %v, want evidence that says there is no source", r, err)
	}
	// What is stapled counts all the same.
	p.Revoke(leaf, ofCompromise)
	_, err = check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{CRLs: [][]byte{bytesOf(t)(p.CRL(leaf, nil))}})
	wantCode(t, err, verdict.RevokedCertificate)
	_, err = check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{OCSP: [][]byte{bytesOf(t)(p.OCSP(leaf, nil))}})
	wantCode(t, err, verdict.RevokedCertificate)
	// A source that we cannot ask is not none.
	ldap := issue(t, p, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"ldap://crl.example/cn=x"} })
	_, err = check(t, newChecker(t, p, nil), p.Chain(ldap), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
}

func TestSoft(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoServer = true })
	leaf := issue(t, p, nil)
	c := newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil })
	r, err := c.Check(t.Context(), p.Chain(leaf), now, revocation.SigningTime{}, revocation.Soft, revocation.Stapled{})
	if err != nil || len(r.Warnings) != 2 || !r.NotAfter.IsZero() {
		t.Errorf("got %+v, %v, want two warnings", r, err)
	}
	_, err = check(t, c, p.Chain(leaf), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
	if _, ok := err.(*verdict.Failure); !ok { //nolint:errorlint // it is made there
		t.Errorf("got %T, want a failure", err)
	}
	for _, source := range []string{"ocsp " + p.OCSPURL("issuer"), "crl " + p.CRLURL("issuer")} {
		wantText(t, err, source+": nobody is asked")
	}
}

func TestChainLength(t *testing.T) {
	p := newPKI(t, nil)
	c := newChecker(t, p, nil)
	leaf := issue(t, p, nil)
	long := slices.Repeat([]*x509.Certificate{leaf}, revocation.MaxCertificates+1)
	_, err := check(t, c, long, revocation.Stapled{})
	wantCode(t, err, verdict.CertProfile)
	_, err = check(t, c, p.Chain(leaf), revocation.Stapled{CRLs: make([][]byte, revocation.MaxStapled+1)})
	wantCode(t, err, verdict.InputLimit)
	_, err = check(t, c, []*x509.Certificate{leaf, p.Root}, revocation.Stapled{})
	wantCode(t, err, verdict.Internal)
	if r, err := check(t, c, []*x509.Certificate{p.Root}, revocation.Stapled{}); err != nil || r.Evidence != nil {
		t.Errorf("the trusted one: got %+v, %v", r, err)
	}
	if got := p.Requests(); len(got) != 0 {
		t.Errorf("got requests %q", got)
	}
}

// leafWithOCSP is a chain whose leaf is only known to the responder, so that what is
// wrong with a response shows.
func leafWithOCSP(t *testing.T) (*revocationtest.PKI, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	p := newPKI(t, func(c *revocationtest.Config) { c.NoCRL = true })
	leaf, key, err := p.Issue(nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, leaf, key
}

// noCheck says that the certificate of a delegate need not be checked.
var noCheck = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}

// noSHA1 tells whether responders cannot be named by SHA-1 here.
func noSHA1() bool { return fips140.Enforced() }

// TestR43 is what was accepted of OCSP elsewhere: each case changes one thing in a
// response that is fine.
func TestR43(t *testing.T) {
	p, leaf, leafKey := leafWithOCSP(t)
	other := issue(t, p, nil)
	responder, responderKey, err := p.Responder(nil)
	if err != nil {
		t.Fatal(err)
	}
	delegated := func(change func(*x509.Certificate)) func(*revocationtest.OCSP) {
		c, key, err := p.Responder(change)
		if err != nil {
			t.Fatal(err)
		}
		return func(o *revocationtest.OCSP) {
			o.Signer, o.Key, o.Certificates = c, key, []*x509.Certificate{c}
		}
	}
	stranger := newPKI(t, func(c *revocationtest.Config) { c.NoServer = true })
	strangeResponder, strangeKey, err := stranger.Responder(nil)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	window := func(this, next time.Duration) func(*revocationtest.OCSP) {
		return func(o *revocationtest.OCSP) {
			o.Answers[0].This, o.Answers[0].Next = now.Add(this), now.Add(next)
		}
	}
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name   string
		change func(*revocationtest.OCSP)
		want   verdict.Code
	}{
		{"good", func(*revocationtest.OCSP) {}, ""},
		{"revoked", func(o *revocationtest.OCSP) { o.Answers[0].Status, o.Answers[0].Revoked = ocsp.Revoked, ofCompromise }, verdict.RevokedCertificate},
		{"revoked, ended", func(o *revocationtest.OCSP) {
			window(-3*day, -day)(o)
			o.Answers[0].Status, o.Answers[0].Revoked = ocsp.Revoked, ofCompromise
		}, verdict.RevokedCertificate},
		{"on hold", func(o *revocationtest.OCSP) {
			o.Answers[0].Status, o.Answers[0].Revoked = ocsp.Revoked, revocationtest.Revocation{At: now, Reason: ocsp.CertificateHold}
		}, verdict.RevokedCertificate},
		{"on hold, ended", func(o *revocationtest.OCSP) {
			window(-3*day, -day)(o)
			o.Answers[0].Status, o.Answers[0].Revoked = ocsp.Revoked, revocationtest.Revocation{At: now, Reason: ocsp.CertificateHold}
		}, verdict.RevocationUnavailable},
		{"not known", func(o *revocationtest.OCSP) { o.Answers[0].Status = ocsp.Unknown }, verdict.RevocationUnavailable},
		{"signed by the leaf itself", func(o *revocationtest.OCSP) {
			o.Signer, o.Key, o.Certificates = leaf, leafKey, []*x509.Certificate{leaf}
		}, verdict.RevocationUnavailable},
		{"signed by the leaf itself, as the issuer", func(o *revocationtest.OCSP) { o.Key = leafKey }, verdict.RevocationUnavailable},
		{"delegate", delegated(nil), ""},
		{"delegate, revoked", func(o *revocationtest.OCSP) {
			delegated(nil)(o)
			o.Answers[0].Status, o.Answers[0].Revoked = ocsp.Revoked, ofCompromise
		}, verdict.RevokedCertificate},
		{"delegate without its certificate", func(o *revocationtest.OCSP) { o.Signer, o.Key = responder, responderKey }, verdict.RevocationUnavailable},
		{"delegate without EKU", delegated(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), verdict.RevocationUnavailable},
		{"delegate for any use", delegated(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), verdict.RevocationUnavailable},
		{"delegate that may not sign", delegated(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), verdict.RevocationUnavailable},
		{"delegate ended", delegated(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), verdict.RevocationUnavailable},
		{"delegate not begun", delegated(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), verdict.RevocationUnavailable},
		{"delegate with a critical extension", delegated(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}), verdict.RevocationUnavailable},
		{"delegate that says nothing about its own revocation", delegated(func(c *x509.Certificate) { c.ExtraExtensions = nil }), verdict.RevocationUnavailable},
		{"delegate of another authority", func(o *revocationtest.OCSP) {
			o.Signer, o.Key, o.Certificates = strangeResponder, strangeKey, []*x509.Certificate{strangeResponder}
		}, verdict.RevocationUnavailable},
		{"delegate, a signature of another key", func(o *revocationtest.OCSP) {
			delegated(nil)(o)
			o.Key = leafKey
		}, verdict.RevocationUnavailable},
		{"delegate of another name of the issuer", func(o *revocationtest.OCSP) {
			renamed := *p.Issuer
			renamed.RawSubject = p.Root.RawSubject
			template := *responder
			template.AuthorityKeyId = nil
			template.ExtraExtensions = []pkix.Extension{noCheck}
			der, err := x509.CreateCertificate(rand.Reader, &template, &renamed, &responderKey.PublicKey, p.IssuerKey)
			if err != nil {
				t.Fatal(err)
			}
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			o.Signer, o.Key, o.Certificates = c, responderKey, []*x509.Certificate{c}
		}, verdict.RevocationUnavailable},
		{"delegate with an RSA key", func(o *revocationtest.OCSP) {
			o.Signer, o.Key, o.Certificates = responderWith(t, p, &rsaKey.PublicKey), rsaKey, []*x509.Certificate{responderWith(t, p, &rsaKey.PublicKey)}
		}, ""},
		{"delegate with an Ed25519 key", func(o *revocationtest.OCSP) {
			c := responderWith(t, p, edKey.Public())
			o.Signer, o.Key, o.Certificates = c, edKey, []*x509.Certificate{c}
		}, verdict.RevocationUnavailable},
		{"a name that is not the issuer's", func(o *revocationtest.OCSP) { o.Signer = responder }, verdict.RevocationUnavailable},
		{"too many certificates", func(o *revocationtest.OCSP) {
			delegated(nil)(o)
			o.Certificates = slices.Repeat(o.Certificates, 5)
		}, verdict.RevocationUnavailable},
		{"another serial number", func(o *revocationtest.OCSP) { o.Answers[0].Serial = other.SerialNumber }, verdict.RevocationUnavailable},
		{"another issuer with the serial number", func(o *revocationtest.OCSP) { o.Answers[0].Issuer = p.Root }, verdict.RevocationUnavailable},
		{"begins tomorrow", window(day, 2*day), verdict.RevocationUnavailable},
		{"begins in a minute", window(time.Minute, day), ""},
		{"begins in more than a minute", window(time.Minute+time.Second, day), verdict.RevocationUnavailable},
		{"ended yesterday", window(-2*day, -day), verdict.RevocationUnavailable},
		{"ends now", window(-day, 0), ""},
		{"open-ended, new", func(o *revocationtest.OCSP) { o.Answers[0].Next = time.Time{} }, ""},
		{"open-ended, old", func(o *revocationtest.OCSP) {
			o.Answers[0].This, o.Answers[0].Next = now.Add(-time.Hour-time.Second), time.Time{}
		}, verdict.RevocationUnavailable},
		{"another nonce", func(o *revocationtest.OCSP) { o.Nonce = []byte{4, 2, 1, 2} }, verdict.RevocationUnavailable},
		{"no nonce", func(o *revocationtest.OCSP) { o.Nonce = nil }, ""},
		{"critical extension", func(o *revocationtest.OCSP) {
			o.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, verdict.RevocationUnavailable},
		{"critical nonce", func(o *revocationtest.OCSP) {
			o.Extensions, o.Nonce = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}, Critical: true, Value: o.Nonce}}, nil
		}, ""},
		{"two nonces", func(o *revocationtest.OCSP) {
			o.Nonce = []byte{4, 1, 1}
			o.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}, Value: o.Nonce}}
		}, verdict.RevocationUnavailable},
		{"too many answers", func(o *revocationtest.OCSP) { o.Answers = slices.Repeat(o.Answers, 65) }, verdict.RevocationUnavailable},
		{"other extension", func(o *revocationtest.OCSP) {
			o.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}
		}, ""},
		{"critical extension of the answer", func(o *revocationtest.OCSP) {
			o.Answers[0].Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, verdict.RevocationUnavailable},
		{"critical extension of the answer that is known", func(o *revocationtest.OCSP) {
			e := revocationtest.Invalidity(now)
			e.Critical = true
			o.Answers[0].Extensions = []pkix.Extension{e}
		}, ""},
		{"a signature of another key", func(o *revocationtest.OCSP) { o.Key = rsaKey }, verdict.RevocationUnavailable},
		{"good beside revoked", func(o *revocationtest.OCSP) {
			a := o.Answers[0]
			a.Status, a.Revoked = ocsp.Revoked, ofCompromise
			o.Answers = append(o.Answers, a)
		}, verdict.RevokedCertificate},
		{"good beside not known", func(o *revocationtest.OCSP) {
			a := o.Answers[0]
			a.Status = ocsp.Unknown
			o.Answers = append(o.Answers, a)
		}, verdict.RevocationUnavailable},
		{"beside another certificate", func(o *revocationtest.OCSP) {
			a := o.Answers[0]
			a.Serial, a.Status, a.Revoked = other.SerialNumber, ocsp.Revoked, ofCompromise
			o.Answers = append([]revocationtest.OCSPAnswer{a}, o.Answers...)
		}, ""},
		{"SHA-256", func(o *revocationtest.OCSP) { o.Answers[0].Hash = crypto.SHA256 }, ""},
		{"SHA-512", func(o *revocationtest.OCSP) { o.Answers[0].Hash = crypto.SHA512 }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.OnOCSP = tc.change
			_, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
			wantCode(t, err, tc.want)
		})
		// The same, stapled: but for the nonce, which is that of somebody else then.
		if tc.name == "another nonce" {
			continue
		}
		t.Run(tc.name+", stapled", func(t *testing.T) {
			st := revocation.Stapled{OCSP: [][]byte{bytesOf(t)(p.OCSP(leaf, tc.change)), bytesOf(t)(p.OCSP(p.Issuer, nil))}}
			_, err := check(t, newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil }), p.Chain(leaf), st)
			wantCode(t, err, tc.want)
		})
	}
	t.Run("named by key", func(t *testing.T) {
		if noSHA1() {
			t.Skip("SHA-1 is not to be computed")
		}
		p.OnOCSP = func(o *revocationtest.OCSP) { o.ByKey = true }
		_, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
		wantCode(t, err, "")
	})
}

// responderWith is a delegate with a key of another kind.
func responderWith(t *testing.T, p *revocationtest.PKI, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	template, _, err := p.Responder(nil)
	if err != nil {
		t.Fatal(err)
	}
	template.ExtraExtensions = []pkix.Extension{noCheck}
	template.SubjectKeyId = nil
	der, err := x509.CreateCertificate(rand.Reader, template, p.Issuer, key, p.IssuerKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSmallKey(t *testing.T) {
	if noSHA1() {
		t.Skip("keys of 1024 bits are not to be made")
	}
	p, leaf, _ := leafWithOCSP(t)
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err)
	}
	c := responderWith(t, p, &key.PublicKey)
	p.OnOCSP = func(o *revocationtest.OCSP) { o.Signer, o.Key, o.Certificates = c, key, []*x509.Certificate{c} }
	_, err = check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
}

// TestSHA1: what is signed by way of SHA-1 counts against a certificate, and not for it.
func TestSHA1(t *testing.T) {
	if noSHA1() {
		t.Skip("SHA-1 is not to be computed")
	}
	const text = "signed by way of SHA-1"
	list := func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.ECDSAWithSHA1 }
	for name, tt := range map[string]struct {
		config func(*revocationtest.Config)
		change func(*revocationtest.PKI)
	}{
		"ocsp": {func(c *revocationtest.Config) { c.NoCRL = true }, func(p *revocationtest.PKI) { p.OnOCSP = func(o *revocationtest.OCSP) { o.SHA1 = true } }},
		"crl":  {func(c *revocationtest.Config) { c.NoOCSP = true }, func(p *revocationtest.PKI) { p.OnCRL = list }},
		"delta": {func(c *revocationtest.Config) { c.NoOCSP, c.Freshest = true, true },
			func(p *revocationtest.PKI) { p.OnDelta = list }},
	} {
		p := newPKI(t, tt.config)
		good, bad := issue(t, p, nil), issue(t, p, nil)
		if _, err := check(t, newChecker(t, p, nil), p.Chain(good), revocation.Stapled{}); err != nil {
			t.Fatalf("%s, by SHA-256: %v", name, err)
		}
		tt.change(p)
		_, err := check(t, newChecker(t, p, nil), p.Chain(good), revocation.Stapled{})
		wantCode(t, err, verdict.RevocationUnavailable)
		wantText(t, err, text)
		p.Revoke(bad, ofCompromise)
		_, err = check(t, newChecker(t, p, nil), p.Chain(bad), revocation.Stapled{})
		wantCode(t, err, verdict.RevokedCertificate)
	}
}

// A certificate that may sign OCSP responses does not answer for itself.
func TestOwnAnswer(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoCRL = true })
	self, key, err := p.Responder(func(c *x509.Certificate) { c.OCSPServer = []string{p.OCSPURL("issuer")} })
	if err != nil {
		t.Fatal(err)
	}
	p.OnOCSP = func(o *revocationtest.OCSP) { o.Signer, o.Key, o.Certificates = self, key, []*x509.Certificate{self} }
	_, err = check(t, newChecker(t, p, nil), p.Chain(self), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
	if _, err = check(t, newChecker(t, p, nil), p.Chain(issue(t, p, nil)), revocation.Stapled{}); err != nil {
		t.Errorf("about another one: %v", err)
	}
}

// A delegate without id-pkix-ocsp-nocheck is looked up in lists.
func TestDelegateOnList(t *testing.T) {
	p := newPKI(t, nil)
	leaf := issue(t, p, func(c *x509.Certificate) { c.CRLDistributionPoints = nil })
	responder, key, err := p.Responder(func(c *x509.Certificate) {
		c.ExtraExtensions = nil
		c.CRLDistributionPoints = []string{p.CRLURL("issuer")}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.OnOCSP = func(o *revocationtest.OCSP) {
		o.Signer, o.Key, o.Certificates = responder, key, []*x509.Certificate{responder}
	}
	r, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Evidence) != 3 || r.Evidence[1].Source != "crl" || !strings.Contains(r.Evidence[1].Subject, "responder") {
		t.Errorf("got evidence %+v, want the list for the responder", r.Evidence)
	}
	p.Revoke(responder, ofCompromise)
	_, err = check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable) // whose "good" says nothing now
}

// listExtensions sets the extensions of a list.
func listExtensions(e ...pkix.Extension) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.ExtraExtensions = append(l.ExtraExtensions, e...) }
}

// TestR44 is what was made of CRLs elsewhere: each case changes one thing in a list
// that is fine.
func TestR44(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	leaf := issue(t, p, nil)
	other := issue(t, p, nil)
	listedAs := func(r revocationtest.Revocation) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, revocationtest.Entry(leaf.SerialNumber, r))
		}
	}
	window := func(this, next time.Duration) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(this), now.Add(next) }
	}
	both := func(fs ...func(*x509.RevocationList)) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			for _, f := range fs {
				f(l)
			}
		}
	}
	hold := revocationtest.Revocation{At: now, Reason: ocsp.CertificateHold}
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name   string
		change func(*x509.RevocationList)
		want   verdict.Code
	}{
		{"good", func(*x509.RevocationList) {}, ""},
		{"listed", listedAs(ofCompromise), verdict.RevokedCertificate},
		{"another one listed", func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, revocationtest.Entry(other.SerialNumber, ofCompromise))
		}, ""},
		{"listed without a reason", listedAs(revocationtest.Revocation{At: now}), verdict.RevokedCertificate},
		{"listed on hold", listedAs(hold), verdict.RevokedCertificate},
		{"listed as lifted", listedAs(revocationtest.Revocation{At: now, Reason: ocsp.RemoveFromCRL}), verdict.RevocationUnavailable},
		{"ended", window(-2*day, -day), verdict.RevocationUnavailable},
		{"ended, listed", both(window(-2*day, -day), listedAs(ofCompromise)), verdict.RevokedCertificate},
		{"ended, listed on hold", both(window(-2*day, -day), listedAs(hold)), verdict.RevocationUnavailable},
		{"ends now", window(-day, 0), ""},
		{"begins tomorrow", window(day, 2*day), verdict.RevocationUnavailable},
		{"begins in a minute", window(time.Minute, day), ""},
		{"begins tomorrow, listed", both(window(day, 2*day), listedAs(ofCompromise)), verdict.RevokedCertificate},
		{"critical extension", listExtensions(critical), verdict.RevocationUnavailable},
		{"other extension", listExtensions(pkix.Extension{Id: critical.Id, Value: critical.Value}), ""},
		{"extension twice", listExtensions(pkix.Extension{Id: critical.Id, Value: critical.Value}, pkix.Extension{Id: critical.Id, Value: critical.Value}), verdict.RevocationUnavailable},
		{"critical extension of another entry", func(l *x509.RevocationList) {
			e := revocationtest.Entry(other.SerialNumber, ofCompromise)
			e.ExtraExtensions = []pkix.Extension{critical}
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, e)
		}, verdict.RevocationUnavailable},
		{"critical extensions of another entry that are known", func(l *x509.RevocationList) {
			e := revocationtest.Entry(other.SerialNumber, revocationtest.Revocation{At: now, Reason: 1, Invalidity: now})
			e.ExtraExtensions[0].Critical = true
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, e)
		}, ""},
		{"too many extensions", func(l *x509.RevocationList) {
			for i := range 33 {
				l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i}, Value: []byte{5, 0}})
			}
		}, verdict.RevocationUnavailable},
		{"delta in the place of a complete list", listExtensions(revocationtest.DeltaOf(9)), verdict.RevocationUnavailable},
		{"scope of this address", listExtensions(revocationtest.Scope{URL: p.CRLURL("issuer")}.Extension()), ""},
		{"scope of another address", listExtensions(revocationtest.Scope{URL: p.CRLURL("part-2")}.Extension()), verdict.RevocationUnavailable},
		{"scope of another address, listed", both(listedAs(ofCompromise), listExtensions(revocationtest.Scope{URL: p.CRLURL("part-2")}.Extension())), verdict.RevocationUnavailable},
		{"scope of users", listExtensions(revocationtest.Scope{OnlyUser: true}.Extension()), ""},
		{"scope of authorities", listExtensions(revocationtest.Scope{OnlyCA: true}.Extension()), verdict.RevocationUnavailable},
		{"scope of attribute certificates", listExtensions(revocationtest.Scope{OnlyAttributeCert: true}.Extension()), verdict.RevocationUnavailable},
		{"indirect", listExtensions(revocationtest.Scope{Indirect: true}.Extension()), verdict.RevocationUnavailable},
		{"scope of some reasons", listExtensions(revocationtest.Scope{SomeReasons: true}.Extension()), verdict.RevocationUnavailable},
		{"scope of some reasons, listed", both(listedAs(ofCompromise), listExtensions(revocationtest.Scope{SomeReasons: true}.Extension())), verdict.RevokedCertificate},
		{"scope malformed", listExtensions(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 1, 0}}), verdict.RevocationUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.OnCRL = tc.change
			_, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
			wantCode(t, err, tc.want)
		})
		t.Run(tc.name+", stapled", func(t *testing.T) {
			st := revocation.Stapled{CRLs: [][]byte{bytesOf(t)(p.CRL(leaf, tc.change)), bytesOf(t)(p.CRL(p.Issuer, nil))}}
			_, err := check(t, newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil }), p.Chain(leaf), st)
			wantCode(t, err, tc.want)
		})
	}
	// The issuing authority is not a user.
	t.Run("scope of users, for an authority", func(t *testing.T) {
		st := revocation.Stapled{CRLs: [][]byte{bytesOf(t)(p.CRL(leaf, nil)), bytesOf(t)(p.CRL(p.Issuer, listExtensions(revocationtest.Scope{OnlyUser: true}.Extension())))}}
		_, err := check(t, newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil }), p.Chain(leaf), st)
		wantCode(t, err, verdict.RevocationUnavailable)
	})
}

// What is wrong with a list that the library would not write.
func TestForgedList(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	leaf := issue(t, p, nil)
	// Same name, another key.
	twin := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	one := bytesOf(t)(p.CRL(leaf, nil))
	issuers := bytesOf(t)(p.CRL(p.Issuer, nil))
	flipped := slices.Clone(one)
	flipped[len(flipped)-1] ^= 1
	for _, tc := range []struct {
		name string
		der  []byte
		want verdict.Code
		text string
	}{
		{"good", one, "", ""},
		{"of another key with the name", bytesOf(t)(twin.CRL(leaf, nil)), verdict.RevocationUnavailable, "checking its signature"},
		{"of another authority", issuers, verdict.RevocationUnavailable, "it is a list of"},
		{"signature", flipped, verdict.RevocationUnavailable, "checking its signature"},
		{"cut", one[:len(one)-1], verdict.RevocationUnavailable, "it is not a certificate list"},
		{"trailing byte", append(slices.Clone(one), 0), verdict.RevocationUnavailable, "it is not a certificate list"},
		{"nothing", nil, verdict.RevocationUnavailable, "it is not a certificate list"},
		{"without a number", again(t, p, one, func(n *dertest.Node) { n.Without(5) }), verdict.RevocationUnavailable, "it has no number"},
		{"without the time of the next", again(t, p, one, func(n *dertest.Node) { n.Without(4) }), verdict.RevocationUnavailable, "it does not say when the next one is due"},
		{"of another name of the authority", func() []byte {
			renamed := *p.Issuer
			renamed.RawSubject = p.Root.RawSubject
			return bytesOf(t)(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(10), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, &renamed, p.IssuerKey))
		}(), verdict.RevocationUnavailable, "it is a list of"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := revocation.Stapled{CRLs: [][]byte{tc.der, issuers}}
			_, err := check(t, newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil }), p.Chain(leaf), st)
			wantCode(t, err, tc.want)
			p.OnHTTP = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/crl/issuer" {
					return false
				}
				_, _ = w.Write(tc.der)
				return true
			}
			_, err = check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
			wantCode(t, err, tc.want)
			if tc.want != "" {
				wantText(t, err, tc.text)
			}
		})
	}
	t.Run("an authority that may not sign lists", func(t *testing.T) {
		mute := newPKI(t, func(c *revocationtest.Config) {
			c.NoOCSP = true
			c.OnIssuer = func(i *x509.Certificate) { i.KeyUsage = x509.KeyUsageCertSign }
		})
		leaf := issue(t, mute, nil)
		may := *mute.Issuer
		may.KeyUsage |= x509.KeyUsageCRLSign
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, &may, mute.IssuerKey)
		if err != nil {
			t.Fatal(err)
		}
		_, err = check(t, newChecker(t, mute, func(c *revocation.Config) { c.Fetch = nil }), mute.Chain(leaf), revocation.Stapled{CRLs: [][]byte{der, bytesOf(t)(mute.CRL(mute.Issuer, nil))}})
		wantCode(t, err, verdict.RevocationUnavailable)
	})
}

// again signs a list again, with one change.
func again(t *testing.T, p *revocationtest.PKI, list []byte, change func(tbs *dertest.Node)) []byte {
	t.Helper()
	n := dertest.Parse(t, list)
	change(n.At(0))
	h := crypto.SHA256.New()
	h.Write(n.At(0).DER(t))
	n.At(2).Content = append([]byte{0}, bytesOf(t)(p.IssuerKey.Sign(rand.Reader, h.Sum(nil), crypto.SHA256))...) // no bits unused
	der := n.DER(t)
	if list, err := x509.ParseRevocationList(der); err != nil || list.CheckSignatureFrom(p.Issuer) != nil {
		t.Fatalf("the list is not one: %v", err)
	}
	return der
}

func TestOldList(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	leaf := issue(t, p, nil)
	numbered := func(n int64) [][]byte {
		return [][]byte{bytesOf(t)(p.CRL(leaf, func(l *x509.RevocationList) { l.Number = big.NewInt(n) })), bytesOf(t)(p.CRL(p.Issuer, nil))}
	}
	c := newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil })
	for _, step := range []struct {
		number int64
		want   verdict.Code
	}{{5, ""}, {5, ""}, {7, ""}, {6, verdict.RevocationUnavailable}, {7, ""}, {8, ""}} {
		_, err := check(t, c, p.Chain(leaf), revocation.Stapled{CRLs: numbered(step.number)})
		wantCode(t, err, step.want)
	}
	// One of the future does not shut out those of today.
	future := bytesOf(t)(p.CRL(leaf, func(l *x509.RevocationList) {
		l.Number, l.ThisUpdate, l.NextUpdate = big.NewInt(99), now.Add(time.Hour), now.Add(2*time.Hour)
	}))
	_, err := check(t, c, p.Chain(leaf), revocation.Stapled{CRLs: append(numbered(8), future)})
	wantCode(t, err, "")
	_, err = check(t, c, p.Chain(leaf), revocation.Stapled{CRLs: numbered(8)})
	wantCode(t, err, "")
}

func TestDelta(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.Freshest = true, true })
	leaf := issue(t, p, nil)
	listed := func(r revocationtest.Revocation) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, revocationtest.Entry(leaf.SerialNumber, r))
		}
	}
	hold := revocationtest.Revocation{At: now, Reason: ocsp.CertificateHold}
	lift := revocationtest.Revocation{At: now, Reason: ocsp.RemoveFromCRL}
	for _, tc := range []struct {
		name        string
		list, delta func(*x509.RevocationList)
		want        verdict.Code
	}{
		{"good", nil, nil, ""},
		{"listed in the delta", nil, listed(ofCompromise), verdict.RevokedCertificate},
		{"on hold in the delta", nil, listed(hold), verdict.RevokedCertificate},
		{"on hold", listed(hold), nil, verdict.RevokedCertificate},
		{"on hold, lifted", listed(hold), listed(lift), ""},
		{"lifted, and never held", nil, listed(lift), ""},
		{"revoked, lifted", listed(ofCompromise), listed(lift), verdict.RevokedCertificate},
		{"ended", nil, func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(-2*time.Hour), now.Add(-time.Hour) }, verdict.RevocationUnavailable},
		{"ended, on hold", listed(hold), func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(-2*time.Hour), now.Add(-time.Hour) }, verdict.RevokedCertificate},
		{"of a later list", nil, func(l *x509.RevocationList) { l.ExtraExtensions = []pkix.Extension{revocationtest.DeltaOf(11)} }, verdict.RevocationUnavailable},
		{"older than the list", nil, func(l *x509.RevocationList) { l.Number = big.NewInt(9) }, verdict.RevocationUnavailable},
		{"of another scope", nil, listExtensions(revocationtest.Scope{OnlyUser: true}.Extension()), verdict.RevocationUnavailable},
		{"of the scope", listExtensions(revocationtest.Scope{OnlyUser: true}.Extension()), listExtensions(revocationtest.Scope{OnlyUser: true}.Extension()), ""},
		{"complete", nil, func(l *x509.RevocationList) { l.ExtraExtensions = nil }, verdict.RevocationUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.OnCRL, p.OnDelta = tc.list, tc.delta
			c := newChecker(t, p, nil)
			r, err := check(t, c, p.Chain(leaf), revocation.Stapled{})
			wantCode(t, err, tc.want)
			if err == nil && r.Evidence[1].Source != "delta-crl" {
				t.Errorf("got evidence %+v, want the delta list too", r.Evidence)
			}
			before := len(p.Requests())
			_, err = check(t, c, p.Chain(leaf), revocation.Stapled{})
			wantCode(t, err, tc.want)
			if got := p.Requests(); len(got) != before {
				t.Errorf("got requests %q again", got[before:])
			}
			if tc.name == "complete" {
				return // stapled it is what it is, a newer complete list
			}
			st := revocation.Stapled{CRLs: [][]byte{
				bytesOf(t)(p.CRL(leaf, tc.list)), bytesOf(t)(p.Delta(leaf, tc.delta)), bytesOf(t)(p.CRL(p.Issuer, nil)), bytesOf(t)(p.Delta(p.Issuer, nil)),
			}}
			_, err = check(t, newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil }), p.Chain(leaf), st)
			wantCode(t, err, tc.want)
		})
	}
	t.Run("older than one that was seen", func(t *testing.T) {
		c := newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil })
		for _, step := range []struct {
			number int64
			want   verdict.Code
		}{{12, ""}, {11, verdict.RevocationUnavailable}, {12, ""}} {
			delta := bytesOf(t)(p.Delta(leaf, func(l *x509.RevocationList) { l.Number = big.NewInt(step.number) }))
			st := revocation.Stapled{CRLs: [][]byte{bytesOf(t)(p.CRL(leaf, nil)), delta, bytesOf(t)(p.CRL(p.Issuer, nil)), bytesOf(t)(p.Delta(p.Issuer, nil))}}
			_, err := check(t, c, p.Chain(leaf), st)
			wantCode(t, err, step.want)
		}
	})
	t.Run("none", func(t *testing.T) {
		st := revocation.Stapled{CRLs: [][]byte{bytesOf(t)(p.CRL(leaf, nil)), bytesOf(t)(p.CRL(p.Issuer, nil)), bytesOf(t)(p.Delta(p.Issuer, nil))}}
		_, err := check(t, newChecker(t, p, func(c *revocation.Config) { c.Fetch = nil }), p.Chain(leaf), st)
		wantCode(t, err, verdict.RevocationUnavailable)
	})
}

func TestBeforeInvalidity(t *testing.T) {
	signedAt := now.Add(-72 * time.Hour)
	for _, tc := range []struct {
		name       string
		revocation revocationtest.Revocation
		signed     revocation.SigningTime
		off        bool
		want       verdict.Code
	}{
		{"signed before", revocationtest.Revocation{At: now, Reason: ocsp.Superseded, Invalidity: signedAt.Add(time.Second)}, revocation.SigningTime{Proven: true, Upper: signedAt}, false, ""},
		{"not opted in", revocationtest.Revocation{At: now, Reason: ocsp.Superseded, Invalidity: signedAt.Add(time.Second)}, revocation.SigningTime{Proven: true, Upper: signedAt}, true, verdict.RevokedCertificate},
		{"signed at that moment", revocationtest.Revocation{At: now, Reason: ocsp.Superseded, Invalidity: signedAt}, revocation.SigningTime{Proven: true, Upper: signedAt}, false, verdict.RevokedCertificate},
		{"no invalidity date", revocationtest.Revocation{At: now, Reason: ocsp.Superseded}, revocation.SigningTime{Proven: true, Upper: signedAt}, false, verdict.RevokedCertificate},
		{"time not proven", revocationtest.Revocation{At: now, Reason: ocsp.Superseded, Invalidity: signedAt.Add(time.Second)}, revocation.SigningTime{Upper: signedAt}, false, verdict.RevokedCertificate},
		{"no time", revocationtest.Revocation{At: now, Reason: ocsp.Superseded, Invalidity: signedAt}, revocation.SigningTime{Proven: true}, false, verdict.RevokedCertificate},
		{"key compromise", revocationtest.Revocation{At: now, Reason: ocsp.KeyCompromise, Invalidity: signedAt.Add(time.Second)}, revocation.SigningTime{Proven: true, Upper: signedAt}, false, verdict.RevokedCertificate},
		{"compromise of the authority", revocationtest.Revocation{At: now, Reason: ocsp.CACompromise, Invalidity: signedAt.Add(time.Second)}, revocation.SigningTime{Proven: true, Upper: signedAt}, false, verdict.RevokedCertificate},
	} {
		for _, source := range []string{"ocsp", "crl"} {
			t.Run(tc.name+", "+source, func(t *testing.T) {
				p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoCRL = source != "ocsp", source != "crl" })
				leaf := issue(t, p, nil)
				p.Revoke(leaf, tc.revocation)
				tc.signed.BeforeInvalidity = !tc.off
				r, err := newChecker(t, p, nil).Check(t.Context(), p.Chain(leaf), now, tc.signed, revocation.Hard, revocation.Stapled{})
				wantCode(t, err, tc.want)
				if err == nil && (len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "superseded")) {
					t.Errorf("got warnings %q, want the revocation told", r.Warnings)
				}
			})
		}
	}
}

// TestR41 is the revocation part: a chain of a timestamp authority is a chain.
func TestR41(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	tsa := issue(t, p, func(c *x509.Certificate) {
		c.Subject.CommonName = "revocationtest TSA"
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	})
	if _, err := check(t, newChecker(t, p, nil), p.Chain(tsa), revocation.Stapled{}); err != nil {
		t.Fatal(err)
	}
	p.Revoke(tsa, ofCompromise)
	_, err := check(t, newChecker(t, p, nil), p.Chain(tsa), revocation.Stapled{})
	wantCode(t, err, verdict.RevokedCertificate)
	if err == nil || !strings.Contains(err.Error(), "revocationtest TSA") {
		t.Errorf("got %v, want it to name the TSA", err)
	}
	p.OnHTTP = func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }
	_, err = check(t, newChecker(t, p, nil), p.Chain(tsa), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
}

// A certificate that has expired need not be on a list any more: that is told.
func TestExpiredCertificate(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP = true })
	leaf := issue(t, p, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })
	r, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "expired") {
		t.Errorf("got %+v, %v, want one warning", r, err)
	}
}

// What is newer wins where it says revoked, wherever it is.
func TestStapledGoodBesideKnownRevoked(t *testing.T) {
	p := newPKI(t, nil)
	leaf := issue(t, p, nil)
	good := revocation.Stapled{OCSP: [][]byte{bytesOf(t)(p.OCSP(leaf, nil))}}
	c := newChecker(t, p, nil)
	if _, err := check(t, c, p.Chain(leaf), good); err != nil {
		t.Fatal(err)
	}
	p.Revoke(leaf, ofCompromise)
	other := newChecker(t, p, nil)
	_, err := check(t, other, p.Chain(leaf), revocation.Stapled{})
	wantCode(t, err, verdict.RevokedCertificate)
	_, err = check(t, other, p.Chain(leaf), good)
	wantCode(t, err, verdict.RevokedCertificate)
	_, err = check(t, c, p.Chain(leaf), revocation.Stapled{OCSP: good.OCSP, CRLs: [][]byte{bytesOf(t)(p.CRL(leaf, nil))}})
	wantCode(t, err, verdict.RevokedCertificate)
}

func TestMoreSources(t *testing.T) {
	p := newPKI(t, nil)
	// The first addresses do not answer, the second ones do.
	leaf := issue(t, p, func(c *x509.Certificate) {
		c.OCSPServer = []string{"http://" + p.Host() + "/none", p.OCSPURL("issuer")}
	})
	if _, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{}); err != nil {
		t.Error(err)
	}
	leaf = issue(t, p, func(c *x509.Certificate) {
		c.OCSPServer = []string{"http://" + p.Host() + "/none"}
		c.CRLDistributionPoints = []string{"ldap://x/", "http://" + p.Host() + "/none", p.CRLURL("issuer")}
	})
	r, err := check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	if err != nil || r.Evidence[0].Source != "crl" {
		t.Errorf("got %+v, %v, want the list", r, err)
	}
	// No more than MaxAddresses of a kind are asked.
	leaf = issue(t, p, func(c *x509.Certificate) {
		c.OCSPServer = nil
		c.CRLDistributionPoints = append(slices.Repeat([]string{"http://" + p.Host() + "/none"}, revocation.MaxAddresses), p.CRLURL("issuer"))
	})
	_, err = check(t, newChecker(t, p, nil), p.Chain(leaf), revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
}

func TestMisuse(t *testing.T) {
	if _, err := revocation.New(revocation.Config{CRLTimeout: -1}); err == nil {
		t.Error("got no error for a negative timeout")
	}
}

// TestR57 is the part of certificates: what is odd gives a code, soon.
func TestR57(t *testing.T) {
	p := newPKI(t, nil)
	odd := issue(t, p, nil)
	for _, e := range []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 31}},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 31}, Value: []byte{0x30, 0x80}},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 46}, Value: []byte{0x31}},
	} {
		c := *odd
		c.OCSPServer, c.Extensions = nil, []pkix.Extension{e}
		_, err := check(t, newChecker(t, p, nil), p.Chain(&c), revocation.Stapled{})
		wantCode(t, err, verdict.RevocationUnavailable)
	}
	c := *odd
	c.SerialNumber = new(big.Int)
	issuer := *p.Issuer
	issuer.PublicKey, issuer.RawSubjectPublicKeyInfo = nil, nil
	start := time.Now()
	_, err := check(t, newChecker(t, p, nil), []*x509.Certificate{&c, &issuer, p.Root}, revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
	wantText(t, err, "the public key of the issuer is malformed")
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("it took %s", d)
	}
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestNoTime(t *testing.T) {
	p := newPKI(t, nil)
	_, err := newChecker(t, p, nil).Check(cancelled(), p.Chain(issue(t, p, nil)), now, revocation.SigningTime{}, revocation.Hard, revocation.Stapled{})
	wantCode(t, err, verdict.RevocationUnavailable)
	wantText(t, err, "there is no time left to ask")
	if got := p.Requests(); len(got) != 0 {
		t.Errorf("got requests %q", got)
	}
}
