// SPDX-License-Identifier: Apache-2.0

package publisher

import (
	"bytes"
	"context"
	"crypto"
	"crypto/fips140"
	"crypto/sha1" //nolint:gosec // the hash by which responders know certificates
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// maxOCSPAge is how long an answer that does not say counts.
const maxOCSPAge = 24 * time.Hour

// oidNoCheck marks a responder whose certificate is not asked about
// (RFC 6960 §4.2.2.2.1).
const oidNoCheck = "1.3.6.1.5.5.7.48.1.5"

// ocsp asks a responder.
func (c *Checker) ocsp(ctx context.Context, url string, cert, issuer *x509.Certificate, at time.Time) (time.Time, error) {
	key := fmt.Sprintf("ocsp %s %s %x", url, keyID(issuer), cert.SerialNumber)
	if data, ok := c.cache.get(key); ok {
		until, err := judgeOCSP(data, url, cert, issuer, at)
		if !errors.Is(err, errInconclusive) {
			return until, err
		}
	}
	// Responders know certificates by SHA-1; where that is not allowed at all, by
	// SHA-256, which some of them answer.
	hash := crypto.SHA1
	if fips140.Enforced() {
		hash = crypto.SHA256
	}
	request, err := ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: hash})
	if err != nil {
		return time.Time{}, err
	}
	data, err := c.fetch(ctx, url, request, MaxOCSPBytes, ocspTimeout, at)
	if err != nil {
		return time.Time{}, err
	}
	until, err := judgeOCSP(data, url, cert, issuer, at)
	if !errors.Is(err, errInconclusive) {
		c.cache.put(key, data, until)
	}
	return until, err
}

// judgeOCSP decides by an answer. The library's own check of who signed is not
// enough: it takes an answer by any certificate of the issuer, also by the one
// that was revoked.
func judgeOCSP(data []byte, url string, cert, issuer *x509.Certificate, at time.Time) (time.Time, error) {
	open := func(format string, args ...any) (time.Time, error) {
		return time.Time{}, fmt.Errorf("OCSP: "+format+": %w", append(args, errInconclusive)...)
	}
	r, err := ocsp.ParseResponseForCert(data, cert, issuer)
	if err != nil {
		return open("not readable, or not signed for this issuer: %v", err)
	}
	if err := checkResponder(r, issuer, at); err != nil {
		return open("%v", err)
	}
	if err := checkCertID(data, cert, issuer); err != nil {
		return open("%v", err)
	}
	if slices.ContainsFunc(r.Extensions, func(e pkix.Extension) bool { return e.Critical }) {
		return open("it has a critical extension that is not known")
	}
	end := r.NextUpdate
	if end.IsZero() {
		end = r.ThisUpdate.Add(maxOCSPAge)
	}
	switch {
	case r.ThisUpdate.After(at.Add(skew)):
		return open("it begins at %s, and now is %s", r.ThisUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case at.After(end):
		return open("it ended at %s", end.UTC().Format(time.RFC3339))
	}
	switch r.Status {
	case ocsp.Good:
		return end, nil
	case ocsp.Revoked:
		return time.Time{}, revoked(cert, "OCSP responder", url, r.RevokedAt, r.RevocationReason)
	}
	return open("it does not know the certificate")
}

// checkResponder demands that the issuer signed, or one that the issuer named
// for nothing else (RFC 6960 §4.2.2.2).
func checkResponder(r *ocsp.Response, issuer *x509.Certificate, at time.Time) error {
	if r.Certificate == nil || bytes.Equal(r.Certificate.Raw, issuer.Raw) {
		return r.CheckSignatureFrom(issuer)
	}
	d := r.Certificate
	switch {
	case d.CheckSignatureFrom(issuer) != nil:
		return errors.New("its responder is of another issuer")
	case !slices.Contains(d.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("its responder may not sign answers")
	case at.Before(d.NotBefore) || at.After(d.NotAfter):
		return errors.New("its responder's certificate is not valid now")
	case !slices.ContainsFunc(d.Extensions, func(e pkix.Extension) bool { return e.Id.String() == oidNoCheck }):
		return errors.New("its responder may have been revoked itself: the certificate has no id-pkix-ocsp-nocheck")
	}
	return nil
}

// checkCertID compares the hashes by which an answer names the issuer.
func checkCertID(data []byte, cert, issuer *x509.Certificate) error {
	var outer struct {
		Status   asn1.Enumerated
		Response struct {
			Type asn1.ObjectIdentifier
			Body []byte
		} `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(data, &outer); err != nil {
		return errors.New("not readable")
	}
	var basic struct {
		Data struct {
			Version   int `asn1:"explicit,optional,default:0,tag:0"`
			Responder asn1.RawValue
			At        time.Time `asn1:"generalized"`
			Single    []asn1.RawValue
		}
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
		Rest      asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(outer.Response.Body, &basic); err != nil {
		return errors.New("not readable")
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &spki); err != nil {
		return err
	}
	for _, raw := range basic.Data.Single {
		var single struct {
			ID struct {
				Hash   pkix.AlgorithmIdentifier
				Name   []byte
				Key    []byte
				Serial asn1.RawValue
			}
			Rest asn1.RawValue
		}
		// The fields after the name are read by the library.
		if _, err := asn1.Unmarshal(raw.FullBytes, &single); err != nil {
			continue
		}
		var name, key []byte
		switch single.ID.Hash.Algorithm.String() {
		case "1.3.14.3.2.26":
			if fips140.Enforced() {
				return errors.New("it names the issuer by SHA-1")
			}
			n, k := sha1.Sum(issuer.RawSubject), sha1.Sum(spki.Key.RightAlign()) //nolint:gosec // as above
			name, key = n[:], k[:]
		case "2.16.840.1.101.3.4.2.1":
			n, k := sha256.Sum256(issuer.RawSubject), sha256.Sum256(spki.Key.RightAlign())
			name, key = n[:], k[:]
		default:
			continue
		}
		if bytes.Equal(single.ID.Name, name) && bytes.Equal(single.ID.Key, key) && bytes.Equal(single.ID.Serial.Bytes, serialBytes(cert)) {
			return nil
		}
	}
	return errors.New("it is about another issuer or certificate")
}

// serialBytes is the content of the serial number's INTEGER.
func serialBytes(cert *x509.Certificate) []byte {
	der, err := asn1.Marshal(cert.SerialNumber)
	if err != nil {
		return nil
	}
	var v asn1.RawValue
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		return nil
	}
	return v.Bytes
}
