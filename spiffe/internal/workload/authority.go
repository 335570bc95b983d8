// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Backdate is how long before its making an SVID begins, so that two clocks of
// one machine agree on it.
const Backdate = 10 * time.Second

// An Authority is a certificate authority of one trust domain.
type Authority struct {
	TrustDomain spiffeid.TrustDomain
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// NewAuthority makes a self-signed authority with a P-256 key.
func NewAuthority(td spiffeid.TrustDomain, notBefore, notAfter time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// X509-SVID §3.2: a signing certificate may name its trust domain.
		URIs:                  []*url.URL{td.ID().URL()},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	return &Authority{TrustDomain: td, Certificate: cert, Key: key}, nil
}

// An SVID is what the Workload API hands to one workload.
type SVID struct {
	ID       string
	Chain    []byte // DER certificates, leaf first, concatenated
	Key      []byte // DER, PKCS #8
	NotAfter time.Time
	// Bundle is the authorities that the workload is to trust.
	Bundle []*x509.Certificate
}

// Issue makes an SVID with a fresh P-256 key, whose bundle is this authority.
func (a *Authority) Issue(id spiffeid.ID, notBefore, notAfter time.Time) (*SVID, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", id, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	// X509-SVID §4: one URI SAN, not a CA, digitalSignature without keyCertSign
	// and cRLSign.
	template := &x509.Certificate{
		SerialNumber:          serial,
		URIs:                  []*url.URL{id.URL()},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.Key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", id, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of %s: %w", id, err)
	}
	return &SVID{ID: id.String(), Chain: der, Key: pkcs8, NotAfter: notAfter, Bundle: []*x509.Certificate{a.Certificate}}, nil
}

// newSerial makes a positive serial number of 127 random bits.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

// ParseAuthority puts an authority together from what was stored of it. Key is
// its private key.
func ParseAuthority(cert *x509.Certificate, key any) (*Authority, error) {
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("got a key of type %T, want ECDSA", key)
	}
	if !signer.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the certificate is not that of an authority")
	}
	if len(cert.URIs) != 1 {
		return nil, fmt.Errorf("the certificate has %d URI names, want its trust domain's", len(cert.URIs))
	}
	id, err := spiffeid.FromURI(cert.URIs[0])
	if err != nil {
		return nil, fmt.Errorf("reading the trust domain: %w", err)
	}
	return &Authority{TrustDomain: id.TrustDomain(), Certificate: cert, Key: signer}, nil
}
