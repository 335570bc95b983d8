// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Uses of keys. A key signs the types of its use and nothing else, and the
// checker is called with the use that it wants.
const (
	// UseTicket keys sign tickets and status.
	UseTicket = "ticket"
	// UseVerdict keys sign verdict cores.
	UseVerdict = "verdict"
	// UseOwner keys sign heads, deny documents and exceptions.
	UseOwner = "owner"
	// UseRenewal keys sign renewals of heads.
	UseRenewal = "renewal"
)

// A JWK is an ECDSA P-256 public key as a JSON Web Key (RFC 7517). There is no
// other algorithm in our formats.
type JWK struct {
	// Crv is "P-256".
	Crv string `json:"crv"`
	// Kid is the RFC 7638 thumbprint of the key: it is computed and compared,
	// never believed.
	Kid string `json:"kid"`
	// Kty is "EC".
	Kty string `json:"kty"`
	// Use is one of the Use… constants.
	Use string `json:"use"`
	// X and Y are the coordinates, 32 bytes each, base64url without padding.
	X string `json:"x"`
	Y string `json:"y"`
}

// b64 is base64url without padding, and strict: unused bits must be zero, so
// that one value has one encoding.
var b64 = base64.RawURLEncoding.Strict()

// decode64 decodes s. Even strict decoders of encoding/base64 pass over line
// ends, by which one key would have two thumbprints, and count twice.
func decode64(enc *base64.Encoding, s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line end in base64")
	}
	return enc.DecodeString(s)
}

// NewJWK returns pub as a JWK for use. It returns an error unless pub is an
// ECDSA P-256 key.
func NewJWK(pub crypto.PublicKey, use string) (JWK, error) {
	ec, ok := pub.(*ecdsa.PublicKey)
	if !ok || ec.Curve != elliptic.P256() {
		return JWK{}, fmt.Errorf("key is %T, want ECDSA P-256", pub)
	}
	point, err := ec.Bytes()
	if err != nil {
		return JWK{}, fmt.Errorf("encoding key: %w", err)
	}
	k := JWK{Crv: "P-256", Kty: "EC", Use: use, X: b64.EncodeToString(point[1:33]), Y: b64.EncodeToString(point[33:])}
	k.Kid = k.thumbprint()
	return k, nil
}

// thumbprint is RFC 7638 §3: SHA-256 over the required members in
// lexicographic order.
func (k JWK) thumbprint() string {
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + k.X + `","y":"` + k.Y + `"}`))
	return b64.EncodeToString(sum[:])
}

// PublicKey returns the key, after checking that it is a P-256 point, that Kid
// is its thumbprint and that it is meant for use.
func (k JWK) PublicKey(use string) (*ecdsa.PublicKey, error) {
	if k.Kty != "EC" || k.Crv != "P-256" {
		return nil, fmt.Errorf("key type is %s %s, want EC P-256", quote(k.Kty), quote(k.Crv))
	}
	if k.Use != use {
		return nil, fmt.Errorf("key use is %s, want %q", quote(k.Use), use)
	}
	x, errX := decode64(b64, k.X)
	y, errY := decode64(b64, k.Y)
	if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
		return nil, errors.New("key coordinates are not 32 bytes in base64url")
	}
	if subtle.ConstantTimeCompare([]byte(k.Kid), []byte(k.thumbprint())) != 1 {
		return nil, fmt.Errorf("kid %s is not the thumbprint of the key", quote(k.Kid))
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, errors.New("key is not a point on P-256")
	}
	return pub, nil
}

// ParsePublicKey reads a PEM block PUBLIC KEY (RFC 7468 §13) with an ECDSA P-256
// key, as configurations have it.
func ParsePublicKey(data []byte, use string) (JWK, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return JWK{}, errors.New("parsing public key: want exactly one PEM block PUBLIC KEY")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return JWK{}, errors.New("parsing public key: not a SubjectPublicKeyInfo")
	}
	k, err := NewJWK(pub, use)
	if err != nil {
		return JWK{}, fmt.Errorf("parsing public key: %w", err)
	}
	return k, nil
}

// PEM returns the key as a PEM block PUBLIC KEY.
func (k JWK) PEM() ([]byte, error) {
	pub, err := k.PublicKey(k.Use)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// A Key signs. It may live in an HSM: only its crypto.Signer is asked.
type Key struct {
	signer crypto.Signer
	jwk    JWK
}

// NewKey makes a key for use from s, whose public key must be ECDSA P-256.
func NewKey(s crypto.Signer, use string) (*Key, error) {
	jwk, err := NewJWK(s.Public(), use)
	if err != nil {
		return nil, err
	}
	return &Key{signer: s, jwk: jwk}, nil
}

// GenerateKey makes a new key for use in memory.
func GenerateKey(use string) (*Key, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	return NewKey(priv, use)
}

// ParseKey reads a PEM block with a PKCS #8 or SEC 1 ECDSA P-256 private key.
func ParseKey(data []byte, use string) (*Key, error) {
	block, rest := pem.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("parsing private key: want exactly one PEM block")
	}
	if priv, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return NewKey(priv, use)
	}
	priv, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("parsing private key: neither PKCS #8 nor SEC 1")
	}
	s, ok := priv.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("parsing private key: a %T does not sign", priv)
	}
	return NewKey(s, use)
}

// PEM returns the private key as PKCS #8 in PEM. It returns an error for a key
// that does not leave its device.
func (k *Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// JWK returns the public key.
func (k *Key) JWK() JWK { return k.jwk }

// Kid returns the RFC 7638 thumbprint.
func (k *Key) Kid() string { return k.jwk.Kid }

// signASN1 signs msg as ASN.1 DER, as DSSE carries it.
func (k *Key) signASN1(msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	sig, err := k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return sig, nil
}

// ecdsaSignature is ECDSA-Sig-Value of RFC 3279 §2.2.3.
type ecdsaSignature struct{ R, S *big.Int }

// signRaw signs msg as r‖s, 64 bytes, as JWS carries it (RFC 7518 §3.4).
func (k *Key) signRaw(msg []byte) ([]byte, error) {
	der, err := k.signASN1(msg)
	if err != nil {
		return nil, err
	}
	var sig ecdsaSignature
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) != 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 || sig.R.Sign() < 0 || sig.S.Sign() < 0 {
		return nil, errors.New("signing: the key returned something else than a P-256 signature")
	}
	raw := make([]byte, 64)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return raw, nil
}

// testingOnlyVerifies is called before each verification, where a test set it.
var testingOnlyVerifies func()

// verifyASN1 tells whether sig is pub's signature over msg.
func verifyASN1(pub *ecdsa.PublicKey, msg, sig []byte) bool {
	if testingOnlyVerifies != nil {
		testingOnlyVerifies()
	}
	sum := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(pub, sum[:], sig)
}

// verifyRaw tells whether r‖s is pub's signature over msg.
func verifyRaw(pub *ecdsa.PublicKey, msg, sig []byte) bool {
	if len(sig) != 64 {
		return false
	}
	der, err := asn1.Marshal(ecdsaSignature{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	return err == nil && verifyASN1(pub, msg, der)
}
