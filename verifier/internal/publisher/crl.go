// SPDX-License-Identifier: Apache-2.0

package publisher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"
)

type extension = pkix.Extension

// OIDs of extensions of a CRL (RFC 5280 §5.2) and of its entries (§5.3).
const (
	oidDelta        = "2.5.29.27"
	oidDistribution = "2.5.29.28"
	oidAuthorityKey = "2.5.29.35"
	oidNumber       = "2.5.29.20"
)

// crl asks a revocation list.
func (c *Checker) crl(ctx context.Context, url string, cert, issuer *x509.Certificate, at time.Time) (time.Time, error) {
	key := "crl " + url + " " + keyID(issuer)
	if data, ok := c.cache.get(key); ok {
		until, err := c.judgeCRL(key, data, url, cert, issuer, at)
		if !errors.Is(err, errInconclusive) {
			return until, err
		}
	}
	data, err := c.fetch(ctx, url, nil, MaxCRLBytes, crlTimeout, at)
	if err != nil {
		return time.Time{}, err
	}
	until, err := c.judgeCRL(key, data, url, cert, issuer, at)
	if !errors.Is(err, errInconclusive) {
		c.cache.put(key, data, until)
	}
	return until, err
}

// judgeCRL decides by a list. What does not decide is errInconclusive.
func (c *Checker) judgeCRL(key string, data []byte, url string, cert, issuer *x509.Certificate, at time.Time) (time.Time, error) {
	open := func(format string, args ...any) (time.Time, error) {
		return time.Time{}, fmt.Errorf("CRL: "+format+": %w", append(args, errInconclusive)...)
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return open("not readable: %v", err)
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return open("it is of another issuer")
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return open("its signature does not verify")
	}
	// A list of some certificates only, or of changes to another list, does not
	// tell of the others.
	for _, e := range list.Extensions {
		switch e.Id.String() {
		case oidDelta:
			return open("it is a delta")
		case oidDistribution:
			if why := scope(e.Value, cert); why != "" {
				return open("%s", why)
			}
		}
	}
	if unhandled(list.Extensions, oidDistribution, oidAuthorityKey, oidNumber) {
		return open("it has a critical extension that is not known")
	}
	if list.ThisUpdate.After(at.Add(skew)) {
		return open("it begins at %s, and now is %s", list.ThisUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	if list.Number != nil && !c.cache.advance(key, list.Number) {
		return open("its number %s is below one that was seen", list.Number)
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(cert.SerialNumber) != 0 || e.ReasonCode == reasonRemove {
			continue
		}
		if unhandled(e.Extensions) {
			return open("the certificate's entry has a critical extension that is not known")
		}
		// An ended list still tells of revocations, but for those that may end.
		if at.After(list.NextUpdate) && e.ReasonCode == reasonHold {
			return open("it ended at %s", list.NextUpdate.UTC().Format(time.RFC3339))
		}
		return time.Time{}, revoked(cert, "CRL", url, e.RevocationTime, e.ReasonCode)
	}
	if list.NextUpdate.IsZero() || at.After(list.NextUpdate) {
		return open("it ended at %s", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	return list.NextUpdate, nil
}

// scope says why an issuing distribution point (RFC 5280 §5.2.5) leaves cert
// out, or "".
func scope(value []byte, cert *x509.Certificate) string {
	var point struct {
		Name       asn1.RawValue  `asn1:"optional,tag:0"`
		User       bool           `asn1:"optional,tag:1"`
		CA         bool           `asn1:"optional,tag:2"`
		Reasons    asn1.BitString `asn1:"optional,tag:3"`
		Indirect   bool           `asn1:"optional,tag:4"`
		Attributes bool           `asn1:"optional,tag:5"`
	}
	if rest, err := asn1.Unmarshal(value, &point); err != nil || len(rest) > 0 {
		return "its distribution point is not readable"
	}
	switch {
	case point.Indirect:
		return "it is of several issuers"
	case point.Attributes:
		return "it is of attribute certificates"
	case point.Reasons.BitLength > 0:
		return "it is of some reasons only"
	case point.User && cert.IsCA:
		return "it is of end certificates only"
	case point.CA && !cert.IsCA:
		return "it is of authorities only"
	}
	return ""
}

// keyID names an issuer's key.
func keyID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// less says whether a CRL number goes back.
func less(a, b *big.Int) bool { return a.Cmp(b) < 0 }
