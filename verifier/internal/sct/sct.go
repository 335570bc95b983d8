// SPDX-License-Identifier: Apache-2.0

// Package sct verifies certificate-transparency timestamps that are embedded in
// a certificate (RFC 6962 §3.3).
//
// The tests compare it with the library that sigstore-go uses, and it accepts
// nothing that the library refuses. It exists because that one parses every
// certificate anew with a parser of its own, which takes longer than the
// signature.
package sct

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// OID marks the extension with the timestamps (RFC 6962 §3.3).
var OID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// ErrMissing is returned where a certificate has no timestamp at all.
var ErrMissing = errors.New("the certificate has no timestamp of a log")

// MaxTimestamps bounds the timestamps of one certificate. Fulcio embeds one.
const MaxTimestamps = 16

// minRSABits is what RFC 6962 §2.1.4 demands of RSA keys of logs.
const minRSABits = 2048

// A Log is a certificate-transparency log that is trusted. The zero value of an
// end of its window leaves that end open; both ends are inclusive.
type Log struct {
	Key      crypto.PublicKey // ECDSA on P-256, or RSA of 2048 bits or more (RFC 6962 §2.1.4)
	From, To time.Time
}

// A timestamp is a SignedCertificateTimestamp of version 1 (RFC 6962 §3.2).
type timestamp struct {
	log        [sha256.Size]byte
	at         uint64 // milliseconds since 1970
	extensions []byte
	hash, alg  uint8 // RFC 5246 §7.4.1.4.1
	signature  []byte
}

// Verify says whether one of logs has signed leaf, which issuer has issued. Logs
// are by their IDs: the SHA-256 of their SubjectPublicKeyInfo. Timestamps of
// other logs and outside the log's window are passed over. The error is
// [ErrMissing] where leaf has none.
func Verify(leaf, issuer *x509.Certificate, logs map[[sha256.Size]byte]Log) error {
	list, err := read(leaf)
	if err != nil {
		return err
	}
	tbs, err := withoutTimestamps(leaf.RawTBSCertificate)
	if err != nil {
		return err
	}
	issuerKey := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	err = fmt.Errorf("none of %d timestamps is of a listed log", len(list))
	for _, t := range list {
		log, ok := logs[t.log]
		if !ok {
			continue
		}
		at := time.UnixMilli(int64(t.at)) //nolint:gosec // G115: read bounds it
		if !log.From.IsZero() && at.Before(log.From) || !log.To.IsZero() && at.After(log.To) {
			err = fmt.Errorf("a timestamp of %s is outside the window of its log", at.UTC().Format(time.RFC3339))
			continue
		}
		if err = t.verify(log.Key, issuerKey, tbs); err == nil {
			return nil
		}
	}
	return err
}

// read returns the timestamps in leaf.
func read(leaf *x509.Certificate) ([]timestamp, error) {
	var value cryptobyte.String
	for _, x := range leaf.Extensions {
		if x.Id.Equal(OID) {
			value = x.Value
			break
		}
	}
	if value == nil {
		return nil, ErrMissing
	}
	malformed := errors.New("the list of timestamps is not readable")
	var octets, all cryptobyte.String
	if !value.ReadASN1(&octets, cbasn1.OCTET_STRING) || !value.Empty() || !octets.ReadUint16LengthPrefixed(&all) || !octets.Empty() || all.Empty() {
		return nil, malformed
	}
	var out []timestamp
	for !all.Empty() {
		var one cryptobyte.String
		if len(out) == MaxTimestamps || !all.ReadUint16LengthPrefixed(&one) || one.Empty() {
			return nil, malformed
		}
		t, err := readOne(one)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func readOne(s cryptobyte.String) (timestamp, error) {
	var t timestamp
	var version uint8
	var extensions, signature cryptobyte.String
	if !s.ReadUint8(&version) || version != 0 || !s.CopyBytes(t.log[:]) || !s.ReadUint64(&t.at) || t.at > maxMillis ||
		!s.ReadUint16LengthPrefixed(&extensions) || !s.ReadUint8(&t.hash) || !s.ReadUint8(&t.alg) || !s.ReadUint16LengthPrefixed(&signature) || !s.Empty() {
		return t, errors.New("a timestamp is not readable or not of version 1")
	}
	t.extensions, t.signature = extensions, signature
	return t, nil
}

// maxMillis is the end of the year 9999, which X.509 can say last.
const maxMillis = 253402300799999

// Numbers of RFC 6962 §3.2 and RFC 5246 §7.4.1.4.1.
const (
	versionOne           = 0
	certificateTimestamp = 0
	precertEntry         = 1
	hashSHA256           = 4
	signatureRSA         = 1
	signatureECDSA       = 3
)

// verify verifies the signature of one timestamp, over the certificate as it was
// before timestamps were put into it.
func (t timestamp) verify(key crypto.PublicKey, issuerKey [sha256.Size]byte, tbs []byte) error {
	var b cryptobyte.Builder
	b.AddUint8(versionOne)
	b.AddUint8(certificateTimestamp)
	b.AddUint64(t.at)
	b.AddUint16(precertEntry)
	b.AddBytes(issuerKey[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(t.extensions) })
	signed, err := b.Bytes()
	if err != nil {
		return fmt.Errorf("writing what a log signs: %w", err)
	}
	// RFC 6962 §2.1.4: SHA-256, and one of the two.
	if t.hash != hashSHA256 {
		return fmt.Errorf("a timestamp is over hash %d, want SHA-256", t.hash)
	}
	sum := sha256.Sum256(signed)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() || t.alg != signatureECDSA {
			return errors.New("a log's key is on another curve than P-256, or its timestamp of another kind")
		}
		if !ecdsa.VerifyASN1(k, sum[:], t.signature) {
			return errors.New("a timestamp does not verify")
		}
		return nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits || t.alg != signatureRSA {
			return fmt.Errorf("a log's RSA key has fewer than %d bits, or its timestamp is of another kind", minRSABits)
		}
		if err := rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], t.signature); err != nil {
			return errors.New("a timestamp does not verify")
		}
		return nil
	}
	return fmt.Errorf("a log's key is %T, want ECDSA or RSA", key)
}

// readID reads which extension it is.
func readID(extension cryptobyte.String, id *asn1.ObjectIdentifier) bool {
	var body cryptobyte.String
	return extension.ReadASN1(&body, cbasn1.SEQUENCE) && body.ReadASN1ObjectIdentifier(id)
}

// withoutTimestamps returns a TBSCertificate without the one extension that has
// the timestamps (RFC 6962 §3.2).
func withoutTimestamps(tbs []byte) ([]byte, error) {
	malformed := errors.New("the certificate is not readable")
	in := cryptobyte.String(tbs)
	var fields cryptobyte.String
	if !in.ReadASN1(&fields, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, malformed
	}
	tagExtensions := cbasn1.Tag(3).ContextSpecific().Constructed()
	var before, kept []byte
	for {
		var field cryptobyte.String
		var tag cbasn1.Tag
		if !fields.ReadAnyASN1Element(&field, &tag) {
			return nil, malformed
		}
		if tag != tagExtensions {
			before = append(before, field...)
			continue
		}
		var explicit, list cryptobyte.String
		if !field.ReadASN1(&explicit, tagExtensions) || !explicit.ReadASN1(&list, cbasn1.SEQUENCE) || !explicit.Empty() || !fields.Empty() {
			return nil, malformed
		}
		removed := 0
		for !list.Empty() {
			var whole cryptobyte.String
			var id asn1.ObjectIdentifier
			if !list.ReadASN1Element(&whole, cbasn1.SEQUENCE) || !readID(whole, &id) {
				return nil, malformed
			}
			if id.Equal(OID) {
				removed++
				continue
			}
			kept = append(kept, whole...)
		}
		if removed != 1 || len(kept) == 0 {
			return nil, fmt.Errorf("the certificate has %d lists of timestamps beside its other extensions, want 1", removed)
		}
		break
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(before)
		b.AddASN1(tagExtensions, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		})
	})
	return b.Bytes()
}
