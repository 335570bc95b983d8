// SPDX-License-Identifier: Apache-2.0

// Package revocationtest is a public-key infrastructure with revocation for tests:
// a root, an issuing authority, an OCSP responder and a server of CRLs, with keys
// made by [New] and addresses on loopback that its certificates name.
//
// [PKI.Issue] makes certificates, [PKI.Revoke] revokes them. [PKI.OCSP], [PKI.CRL]
// and [PKI.Delta] make evidence by hand, and the hooks of a [PKI] change one thing in
// what it serves, so that a test can ask for the one wrong thing it is about.
//
// No product code imports it: it signs whatever it is told to.
package revocationtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // #nosec G505 -- OCSP responders name keys by it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Config says what the infrastructure is like. At is required.
type Config struct {
	// At is the time around which it lives: certificates are valid from a year
	// before until two years after, evidence from an hour before until a day after.
	At time.Time
	// OnRoot and OnIssuer change the templates of the two authorities.
	OnRoot, OnIssuer func(*x509.Certificate)
	// NoOCSP and NoCRL leave an address out of all certificates; Freshest puts one
	// of a delta list into CRLs.
	NoOCSP, NoCRL, Freshest bool
	// NoServer does not listen: addresses are of a host that does not exist.
	NoServer bool
}

// A Revocation says why and when a certificate was revoked.
type Revocation struct {
	At     time.Time
	Reason int // RFC 5280 §5.3.1
	// Invalidity is the invalidity date; zero for none.
	Invalidity time.Time
}

// A PKI is one infrastructure. Its hooks are set before what they change is asked
// for; all else may be used concurrently.
type PKI struct {
	cfg    Config
	Root   *x509.Certificate
	Issuer *x509.Certificate
	// RootKey and IssuerKey sign certificates, and evidence.
	RootKey, IssuerKey *ecdsa.PrivateKey

	// OnOCSP and OnCRL change what is served, and OnDelta the delta lists.
	OnOCSP func(*OCSP)
	OnCRL  func(*x509.RevocationList)
	// OnDelta changes the delta lists.
	OnDelta func(*x509.RevocationList)
	// OnHTTP answers a request itself when it returns true.
	OnHTTP func(http.ResponseWriter, *http.Request) bool

	listener net.Listener
	server   *http.Server
	served   chan struct{}

	mu       sync.Mutex
	revoked  map[string]revokedCert
	requests []string
}

type revokedCert struct {
	issuer string // raw subject
	serial *big.Int
	Revocation
}

// New makes an infrastructure with fresh keys, and starts its server. Close stops
// it.
func New(cfg Config) (*PKI, error) {
	if cfg.At.IsZero() {
		return nil, errors.New("making test PKI: no time")
	}
	p := &PKI{cfg: cfg, revoked: map[string]revokedCert{}}
	if !cfg.NoServer {
		var err error
		if p.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("making test PKI: %w", err)
		}
		p.server = &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: 5 * time.Second}
		p.served = make(chan struct{})
		go func() {
			defer close(p.served)
			_ = p.server.Serve(p.listener) // ends with Close
		}()
	}
	var err error
	if p.RootKey, err = Key(); err != nil {
		return nil, err
	}
	root := authority("revocationtest root", cfg.At)
	if cfg.OnRoot != nil {
		cfg.OnRoot(root)
	}
	if p.Root, err = p.sign(root, root, &p.RootKey.PublicKey, p.RootKey); err != nil {
		return nil, err
	}
	if p.IssuerKey, err = Key(); err != nil {
		return nil, err
	}
	issuer := authority("revocationtest issuer", cfg.At)
	p.name(issuer, "root")
	if cfg.OnIssuer != nil {
		cfg.OnIssuer(issuer)
	}
	p.Issuer, err = p.sign(issuer, p.Root, &p.IssuerKey.PublicKey, p.RootKey)
	return p, err
}

// Close stops the server.
func (p *PKI) Close() {
	if p.server != nil {
		_ = p.server.Close()
		<-p.served
	}
}

// Host is the server's host:port, to be allowed by name.
func (p *PKI) Host() string {
	if p.listener == nil {
		return "pki.invalid:80"
	}
	return p.listener.Addr().String()
}

// OCSPURL and CRLURL are the addresses that certificates name. By is "issuer" or
// "root".
func (p *PKI) OCSPURL(by string) string { return "http://" + p.Host() + "/ocsp/" + by }

// CRLURL is the address of the list of "issuer" or "root".
func (p *PKI) CRLURL(by string) string { return "http://" + p.Host() + "/crl/" + by }

// DeltaURL is the address of the delta list of "issuer" or "root".
func (p *PKI) DeltaURL(by string) string { return "http://" + p.Host() + "/delta/" + by }

// Requests lists the requests so far: "POST /ocsp/issuer".
func (p *PKI) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Key makes a key.
func Key() (*ecdsa.PrivateKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making test key: %w", err)
	}
	return k, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic("revocationtest: no randomness: " + err.Error())
	}
	return n.Add(n, big.NewInt(1))
}

func authority(name string, at time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name, Organization: []string{"revocationtest"}, Country: []string{"US"}, Province: []string{"WA"}},
		NotBefore: at.AddDate(-1, 0, 0), NotAfter: at.AddDate(2, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// name puts the addresses into a template.
func (p *PKI) name(t *x509.Certificate, by string) {
	if !p.cfg.NoOCSP {
		t.OCSPServer = []string{p.OCSPURL(by)}
	}
	if !p.cfg.NoCRL {
		t.CRLDistributionPoints = []string{p.CRLURL(by)}
	}
}

func (p *PKI) sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("signing test certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Issue makes a certificate for signing code, with a key of its own. Change, when
// not nil, changes the template.
func (p *PKI) Issue(change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := Key()
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "revocationtest leaf", Organization: []string{"revocationtest"}, Country: []string{"US"}, Province: []string{"WA"}},
		NotBefore: p.cfg.At.AddDate(-1, 0, 0), NotAfter: p.cfg.At.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	p.name(t, "issuer")
	if change != nil {
		change(t)
	}
	c, err := p.sign(t, p.Issuer, &key.PublicKey, p.IssuerKey)
	return c, key, err
}

// Responder makes a certificate to which the issuing authority delegates OCSP, with
// the extension that says that it need not be checked.
func (p *PKI) Responder(change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	return p.Issue(func(t *x509.Certificate) {
		t.Subject.CommonName = "revocationtest responder"
		t.OCSPServer, t.CRLDistributionPoints = nil, nil
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
		t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}}
		if change != nil {
			change(t)
		}
	})
}

// Chain is leaf, issuing authority, root.
func (p *PKI) Chain(leaf *x509.Certificate) []*x509.Certificate {
	return []*x509.Certificate{leaf, p.Issuer, p.Root}
}

// Revoke revokes a certificate, in OCSP and CRL.
func (p *PKI) Revoke(c *x509.Certificate, r Revocation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked[string(c.RawIssuer)+c.SerialNumber.String()] = revokedCert{string(c.RawIssuer), c.SerialNumber, r}
}

// OCSP is a response before it is signed.
type OCSP struct {
	// Answers are about certificates; there is one.
	Answers []OCSPAnswer
	// Signer and Key sign it. Certificates come with it.
	Signer       *x509.Certificate
	Key          crypto.Signer
	Certificates []*x509.Certificate
	// ByKey names the responder by a SHA-1 of its key.
	ByKey bool
	// Nonce is sent; nil is none.
	Nonce      []byte
	Extensions []pkix.Extension
	// SHA1 signs by way of it, with an ECDSA key.
	SHA1 bool
}

// OCSPAnswer is what a response says of one certificate.
type OCSPAnswer struct {
	// Issuer and Serial name the certificate, by Hash.
	Issuer *x509.Certificate
	Serial *big.Int
	Hash   crypto.Hash
	// Status is ocsp.Good, ocsp.Revoked or ocsp.Unknown of golang.org/x/crypto.
	Status  int
	Revoked Revocation
	// This and Next are its window; a zero Next is left out.
	This, Next time.Time
	Extensions []pkix.Extension
}

// answer says what is known of a certificate.
func (p *PKI) answer(issuer *x509.Certificate, serial *big.Int, hash crypto.Hash) OCSPAnswer {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := OCSPAnswer{Issuer: issuer, Serial: serial, Hash: hash, Status: ocsp.Good, This: p.cfg.At.Add(-time.Hour), Next: p.cfg.At.Add(24 * time.Hour)}
	if r, ok := p.revoked[string(issuer.RawSubject)+serial.String()]; ok {
		a.Status, a.Revoked = ocsp.Revoked, r.Revocation
	}
	return a
}

// OCSP makes a response about c by the authority that issued it. Change, when not
// nil, changes it before it is signed.
func (p *PKI) OCSP(c *x509.Certificate, change func(*OCSP)) ([]byte, error) {
	issuer, key := p.issuerOf(c)
	r := &OCSP{Answers: []OCSPAnswer{p.answer(issuer, c.SerialNumber, crypto.SHA256)}, Signer: issuer, Key: key}
	if change != nil {
		change(r)
	}
	return r.sign()
}

func (p *PKI) issuerOf(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	if bytes.Equal(c.RawIssuer, p.Root.RawSubject) {
		return p.Root, p.RootKey
	}
	return p.Issuer, p.IssuerKey
}

// CRL makes the list of the authority that issued c.
func (p *PKI) CRL(c *x509.Certificate, change func(*x509.RevocationList)) ([]byte, error) {
	issuer, key := p.issuerOf(c)
	return p.list(issuer, key, change)
}

// Delta makes a delta list, to be applied to the lists that [PKI.CRL] makes. It has
// what was revoked, too.
func (p *PKI) Delta(c *x509.Certificate, change func(*x509.RevocationList)) ([]byte, error) {
	issuer, key := p.issuerOf(c)
	return p.delta(issuer, key, change)
}

func (p *PKI) delta(issuer *x509.Certificate, key crypto.Signer, change func(*x509.RevocationList)) ([]byte, error) {
	return p.list(issuer, key, func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{DeltaOf(10)}
		l.Number = big.NewInt(11)
		if change != nil {
			change(l)
		}
	})
}

// DeltaOf is the extension that makes a list one to be applied to list base.
func DeltaOf(base int64) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: must(asn1.Marshal(big.NewInt(base)))}
}

// FreshestAt is the extension that names the address of delta lists.
func FreshestAt(address string) pkix.Extension {
	type name struct {
		URLs []asn1.RawValue `asn1:"tag:0"`
	}
	type point struct {
		Name name `asn1:"tag:0"`
	}
	url := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(address)}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 46}, Value: must(asn1.Marshal([]point{{name{[]asn1.RawValue{url}}}}))}
}

// Scope is what a list is about (IssuingDistributionPoint, RFC 5280 §5.2.5).
type Scope struct {
	URL                         string
	OnlyUser, OnlyCA            bool
	SomeReasons                 bool
	Indirect, OnlyAttributeCert bool
}

// Extension is the critical extension of a list that has the scope.
func (s Scope) Extension() pkix.Extension {
	context := func(tag int, compound bool, b []byte) []byte {
		return must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: b}))
	}
	var body []byte
	if s.URL != "" {
		body = append(body, context(0, true, context(0, true, context(6, false, []byte(s.URL))))...)
	}
	for tag, on := range map[int]bool{1: s.OnlyUser, 2: s.OnlyCA, 4: s.Indirect, 5: s.OnlyAttributeCert} {
		if on {
			body = append(body, context(tag, false, []byte{0xff})...)
		}
	}
	if s.SomeReasons {
		body = append(body, context(3, false, []byte{1, 0x60})...)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true,
		Value: must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: body}))}
}

func (p *PKI) list(issuer *x509.Certificate, key crypto.Signer, change func(*x509.RevocationList)) ([]byte, error) {
	l := &x509.RevocationList{Number: big.NewInt(10), ThisUpdate: p.cfg.At.Add(-time.Hour), NextUpdate: p.cfg.At.Add(24 * time.Hour)}
	if p.cfg.Freshest {
		by := "issuer"
		if issuer == p.Root {
			by = "root"
		}
		l.ExtraExtensions = []pkix.Extension{FreshestAt(p.DeltaURL(by))}
	}
	p.mu.Lock()
	for _, k := range slices.Sorted(maps.Keys(p.revoked)) {
		if r := p.revoked[k]; r.issuer == string(issuer.RawSubject) {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, r.entry())
		}
	}
	p.mu.Unlock()
	if change != nil {
		change(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, issuer, key)
	if err != nil {
		return nil, fmt.Errorf("signing test CRL: %w", err)
	}
	return der, nil
}

func (r revokedCert) entry() x509.RevocationListEntry {
	return Entry(r.serial, r.Revocation)
}

// Entry is an entry of a list.
func Entry(serial *big.Int, r Revocation) x509.RevocationListEntry {
	e := x509.RevocationListEntry{SerialNumber: serial, RevocationTime: r.At, ReasonCode: r.Reason}
	if !r.Invalidity.IsZero() {
		e.ExtraExtensions = []pkix.Extension{Invalidity(r.Invalidity)}
	}
	return e
}

// Invalidity is the extension with the invalidity date.
func Invalidity(at time.Time) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: must(asn1.MarshalWithParams(at.UTC(), "generalized"))}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic("revocationtest: " + err.Error())
	}
	return b
}

// serve answers one request.
func (p *PKI) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests = append(p.requests, r.Method+" "+r.URL.Path)
	p.mu.Unlock()
	if p.OnHTTP != nil && p.OnHTTP(w, r) {
		return
	}
	var der []byte
	var err error
	if strings.HasPrefix(r.URL.Path, "/ocsp/") && (r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/ocsp-request") {
		http.Error(w, "want a POST of application/ocsp-request", http.StatusUnsupportedMediaType)
		return
	}
	switch r.URL.Path {
	case "/ocsp/issuer":
		der, err = p.respond(r.Body, p.Issuer, p.IssuerKey)
	case "/ocsp/root":
		der, err = p.respond(r.Body, p.Root, p.RootKey)
	case "/crl/issuer":
		der, err = p.list(p.Issuer, p.IssuerKey, p.OnCRL)
	case "/crl/root":
		der, err = p.list(p.Root, p.RootKey, nil)
	case "/delta/issuer":
		der, err = p.delta(p.Issuer, p.IssuerKey, p.OnDelta)
	case "/delta/root":
		der, err = p.delta(p.Root, p.RootKey, nil)
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(der)
}

func (p *PKI) respond(body io.Reader, issuer *x509.Certificate, key crypto.Signer) ([]byte, error) {
	der, err := io.ReadAll(io.LimitReader(body, 4<<10))
	if err != nil {
		return nil, err
	}
	request, err := ocsp.ParseRequest(der)
	if err != nil {
		return nil, err
	}
	r := &OCSP{Answers: []OCSPAnswer{p.answer(issuer, request.SerialNumber, request.HashAlgorithm)}, Signer: issuer, Key: key, Nonce: nonceOf(der)}
	if p.OnOCSP != nil && issuer == p.Issuer {
		p.OnOCSP(r)
	}
	return r.sign()
}

// nonceOf returns the nonce of a request, or nil.
func nonceOf(der []byte) []byte {
	var request struct {
		TBS struct {
			List       asn1.RawValue
			Extensions []pkix.Extension `asn1:"explicit,tag:2,optional"`
		}
	}
	if _, err := asn1.Unmarshal(der, &request); err != nil {
		return nil
	}
	for _, e := range request.TBS.Extensions {
		if e.Id.Equal(oidNonce) {
			return e.Value
		}
	}
	return nil
}

var oidNonce = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}

var hashOIDs = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.SHA1: {1, 3, 14, 3, 2, 26}, crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
	crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
}

type (
	certID struct {
		Hash              pkix.AlgorithmIdentifier
		NameHash, KeyHash []byte
		Serial            *big.Int
	}
	revokedInfo struct {
		At     time.Time       `asn1:"generalized"`
		Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
	}
	single struct {
		ID         certID
		Status     asn1.RawValue
		This       time.Time        `asn1:"generalized"`
		Next       time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	data struct {
		Responder  asn1.RawValue
		Produced   time.Time `asn1:"generalized"`
		Responses  []single
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	basic struct {
		Data         asn1.RawValue
		Algorithm    pkix.AlgorithmIdentifier
		Signature    asn1.BitString
		Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	body struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	outer struct {
		Status asn1.Enumerated
		Body   body `asn1:"explicit,tag:0"`
	}
)

func keyBits(c *x509.Certificate) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil {
		return nil, err
	}
	return info.Key.RightAlign(), nil
}

func (a OCSPAnswer) single() (single, error) {
	key, err := keyBits(a.Issuer)
	if err != nil {
		return single{}, err
	}
	hash := func(b []byte) []byte {
		h := a.Hash.New()
		h.Write(b)
		return h.Sum(nil)
	}
	s := single{ID: certID{pkix.AlgorithmIdentifier{Algorithm: hashOIDs[a.Hash], Parameters: asn1.NullRawValue}, hash(a.Issuer.RawSubject), hash(key), a.Serial},
		This: a.This.UTC(), Next: a.Next.UTC(), Extensions: a.Extensions}
	switch a.Status {
	case ocsp.Revoked:
		der, err := asn1.MarshalWithParams(revokedInfo{a.Revoked.At.UTC(), asn1.Enumerated(a.Revoked.Reason)}, "tag:1")
		if err != nil {
			return single{}, err
		}
		s.Status = asn1.RawValue{FullBytes: der}
		if !a.Revoked.Invalidity.IsZero() {
			s.Extensions = append(slices.Clone(s.Extensions), Invalidity(a.Revoked.Invalidity))
		}
	case ocsp.Good:
		s.Status = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0}
	default:
		s.Status = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2}
	}
	return s, nil
}

func (r *OCSP) sign() ([]byte, error) {
	d := data{Produced: r.Answers[0].This.UTC(), Extensions: r.Extensions}
	d.Responder = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: r.Signer.RawSubject}
	if r.ByKey {
		key, err := keyBits(r.Signer)
		if err != nil {
			return nil, err
		}
		hash := sha1.Sum(key) // #nosec G401 -- RFC 6960 §4.2.1
		d.Responder = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, IsCompound: true, Bytes: must(asn1.Marshal(hash[:]))}
	}
	if r.Nonce != nil {
		d.Extensions = append(slices.Clone(d.Extensions), pkix.Extension{Id: oidNonce, Value: r.Nonce})
	}
	for _, a := range r.Answers {
		s, err := a.single()
		if err != nil {
			return nil, fmt.Errorf("writing test OCSP response: %w", err)
		}
		d.Responses = append(d.Responses, s)
	}
	tbs, err := asn1.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("writing test OCSP response: %w", err)
	}
	h := crypto.SHA256.New()
	h.Write(tbs)
	message, hash := h.Sum(nil), crypto.SHA256
	algorithm := asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	switch r.Key.Public().(type) {
	case *rsa.PublicKey:
		algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	case ed25519.PublicKey:
		message, hash = tbs, 0
		algorithm = asn1.ObjectIdentifier{1, 3, 101, 112}
	}
	if r.SHA1 {
		sum := sha1.Sum(tbs) // #nosec G401 -- that is the test
		message, hash = sum[:], crypto.SHA1
		algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	}
	signature, err := r.Key.Sign(rand.Reader, message, hash)
	if err != nil {
		return nil, fmt.Errorf("signing test OCSP response: %w", err)
	}
	b := basic{Data: asn1.RawValue{FullBytes: tbs}, Algorithm: pkix.AlgorithmIdentifier{Algorithm: algorithm}, Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}}
	for _, c := range r.Certificates {
		b.Certificates = append(b.Certificates, asn1.RawValue{FullBytes: c.Raw})
	}
	inner, err := asn1.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("writing test OCSP response: %w", err)
	}
	return asn1.Marshal(outer{0, body{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}, inner}})
}
