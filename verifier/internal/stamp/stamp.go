// SPDX-License-Identifier: Apache-2.0

// Package stamp reads what a timestamp says of who signed it, strictly as DER, and
// holds it to what RFC 3161, RFC 5652 and RFC 5816 say of that. The libraries that
// verify the signature leave it out: they take a signature over content of any type
// for one over a time, and do not look which certificate was signed with it.
package stamp

import (
	"bytes"
	"crypto/fips140"
	"crypto/sha1" //nolint:gosec // G505: RFC 3161 identifies the certificate by it; the certificate itself is listed
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCert   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningCertV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}

	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// ErrAnother says that the timestamp is of another authority.
var ErrAnother = errors.New("the timestamp is of another authority")

// ErrMalformed says that it is no timestamp in DER.
var ErrMalformed = errors.New("it is no timestamp response in DER with one signer")

// CheckSigner compares the signer of a TimeStampResp in DER (RFC 3161 §2.4.2) with
// a certificate. It does not verify the signature. Errors are ErrAnother,
// ErrMalformed, and others where the certificate is the one that the timestamp
// names and something else of it is wrong.
func CheckSigner(response []byte, leaf *x509.Certificate) error {
	contentType, signer, err := read(response)
	if err != nil {
		return err
	}
	var version, sid, digest, attributes, algorithm, signature, issuer cryptobyte.String
	serial := new(big.Int)
	if !signer.ReadASN1(&version, cbasn1.INTEGER) || !signer.ReadASN1(&sid, cbasn1.SEQUENCE) ||
		!signer.ReadASN1(&digest, cbasn1.SEQUENCE) || !signer.ReadASN1(&attributes, tag(0)) ||
		!signer.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !signer.ReadASN1(&signature, cbasn1.OCTET_STRING) || !signer.SkipOptionalASN1(tag(1)) || !signer.Empty() ||
		!sid.ReadASN1Element(&issuer, cbasn1.SEQUENCE) || !sid.ReadASN1Integer(serial) || !sid.Empty() {
		return ErrMalformed
	}
	if serial.Cmp(leaf.SerialNumber) != 0 || !bytes.Equal(issuer, leaf.RawIssuer) {
		return ErrAnother
	}
	// RFC 3161 §2.4.2: what is signed is a TSTInfo, and says so; RFC 5652 §11.1: the
	// signed attribute says the same.
	if !contentType.Equal(oidTSTInfo) {
		return fmt.Errorf("its content has type %s, want a TSTInfo", contentType)
	}
	return checkAttributes(attributes, leaf)
}

func tag(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

// read returns the type of the content, and the only SignerInfo (RFC 5652 §5.1).
func read(response []byte) (contentType asn1.ObjectIdentifier, signer cryptobyte.String, err error) {
	in := cryptobyte.String(response)
	var outer, status, token, wrapped, data, version, algorithms, content, explicit, octets, signers cryptobyte.String
	var kind asn1.ObjectIdentifier
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() ||
		!outer.ReadASN1(&status, cbasn1.SEQUENCE) || !outer.ReadASN1(&token, cbasn1.SEQUENCE) || !outer.Empty() ||
		!token.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidSignedData) || !token.ReadASN1(&wrapped, tag(0)) || !token.Empty() ||
		!wrapped.ReadASN1(&data, cbasn1.SEQUENCE) || !wrapped.Empty() ||
		!data.ReadASN1(&version, cbasn1.INTEGER) || !data.ReadASN1(&algorithms, cbasn1.SET) || !data.ReadASN1(&content, cbasn1.SEQUENCE) ||
		!data.SkipOptionalASN1(tag(0)) || !data.SkipOptionalASN1(tag(1)) || !data.ReadASN1(&signers, cbasn1.SET) || !data.Empty() ||
		!content.ReadASN1ObjectIdentifier(&contentType) || !content.ReadASN1(&explicit, tag(0)) || !content.Empty() ||
		!explicit.ReadASN1(&octets, cbasn1.OCTET_STRING) || !explicit.Empty() ||
		!signers.ReadASN1(&signer, cbasn1.SEQUENCE) || !signers.Empty() {
		return nil, nil, ErrMalformed
	}
	return contentType, signer, nil
}

// checkAttributes checks the signed attributes: which content they are of, and
// which certificate (RFC 5652 §11.1, RFC 3161 §2.4.2, RFC 5816 §2.2.1).
func checkAttributes(in cryptobyte.String, leaf *x509.Certificate) error {
	seen := map[string]int{}
	for !in.Empty() {
		var attribute, values, value cryptobyte.String
		var id asn1.ObjectIdentifier
		var kind cbasn1.Tag
		if !in.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) || !attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() {
			return ErrMalformed
		}
		seen[id.String()]++
		switch {
		case id.Equal(oidContentType):
			var contentType asn1.ObjectIdentifier
			if !values.ReadASN1ObjectIdentifier(&contentType) || !values.Empty() || !contentType.Equal(oidTSTInfo) {
				return errors.New("it was signed as content of another type, want a TSTInfo")
			}
		case id.Equal(oidSigningCert), id.Equal(oidSigningCertV2):
			if !values.ReadASN1(&value, cbasn1.SEQUENCE) || !values.Empty() {
				return ErrMalformed
			}
			sum, err := certificateHash(value, leaf.Raw, id.Equal(oidSigningCertV2))
			if err != nil {
				return err
			}
			if !sum {
				return errors.New("it says that it was signed with another certificate")
			}
		case id.Equal(oidMessageDigest):
			if !values.ReadAnyASN1(&value, &kind) || !values.Empty() {
				return ErrMalformed
			}
		}
	}
	if seen[oidContentType.String()] != 1 || seen[oidMessageDigest.String()] != 1 || seen[oidSigningCert.String()] > 1 || seen[oidSigningCertV2.String()] > 1 ||
		seen[oidSigningCert.String()]+seen[oidSigningCertV2.String()] == 0 {
		return errors.New("its signed attributes do not say once which content, digest and certificate it is of")
	}
	return nil
}

// certificateHash says whether the first certificate that a SigningCertificate
// (V2) names is the one in DER.
func certificateHash(in cryptobyte.String, der []byte, v2 bool) (bool, error) {
	var list, first, algorithm, sum cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !list.ReadASN1(&first, cbasn1.SEQUENCE) || !in.SkipOptionalASN1(cbasn1.SEQUENCE) || !in.Empty() {
		return false, ErrMalformed
	}
	var named bool
	if v2 && !first.ReadOptionalASN1(&algorithm, &named, cbasn1.SEQUENCE) || !first.ReadASN1(&sum, cbasn1.OCTET_STRING) || !first.SkipOptionalASN1(cbasn1.SEQUENCE) || !first.Empty() {
		return false, ErrMalformed
	}
	if !v2 {
		if fips140.Enforced() { // where SHA-1 panics
			return false, errors.New("it names its certificate by SHA-1, which GODEBUG=fips140=only does not allow")
		}
		want := sha1.Sum(der) //nolint:gosec // G401: as above
		return bytes.Equal(sum, want[:]), nil
	}
	id := oidSHA256
	if named {
		if !algorithm.ReadASN1ObjectIdentifier(&id) {
			return false, ErrMalformed
		}
	}
	switch {
	case id.Equal(oidSHA256):
		want := sha256.Sum256(der)
		return bytes.Equal(sum, want[:]), nil
	case id.Equal(oidSHA384):
		want := sha512.Sum384(der)
		return bytes.Equal(sum, want[:]), nil
	case id.Equal(oidSHA512):
		want := sha512.Sum512(der)
		return bytes.Equal(sum, want[:]), nil
	}
	return false, fmt.Errorf("it names its certificate by a hash of algorithm %s, want SHA-2", id)
}
