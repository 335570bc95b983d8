// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"github.com/assayd/assay/verdict"
)

// Signature types of c2sp.org/signed-note.
const (
	typeEd25519 = 0x01
	typeECDSA   = 0x02
)

const (
	// MaxOrigin bounds an origin, in bytes: the same in all formats of assay.
	MaxOrigin = 128
	// MaxKey bounds a verifier key string, in bytes.
	MaxKey = 512
)

// Ed25519Validated tells whether this build may use Ed25519 without being
// allowed to: everywhere but in the BoringCrypto flavour.
func Ed25519Validated() bool { return !ed25519Unvalidated }

// CheckOrigin refuses a name that a signed note cannot carry
// (c2sp.org/signed-note: no Unicode spaces, no plus), or that is too long.
func CheckOrigin(origin string) error {
	switch {
	case origin == "":
		return verdict.Refuse(verdict.InputMalformed, "reading log origin: it is empty")
	case len(origin) > MaxOrigin:
		return verdict.Refuse(verdict.InputMalformed, "reading log origin: %d bytes, want at most %d", len(origin), MaxOrigin)
	case !utf8.ValidString(origin) || strings.ContainsFunc(origin, unicode.IsSpace) || strings.Contains(origin, "+") || strings.ContainsFunc(origin, unicode.IsControl):
		return verdict.Refuse(verdict.InputMalformed, "reading log origin %s: spaces, control characters and plus signs are not allowed", quote(origin))
	}
	return nil
}

// ECDSAKeyHash is the key ID of a type 0x02 key: the first four bytes of the
// SHA-256 of its SubjectPublicKeyInfo. Name and type are not hashed, unlike
// for all other types.
func ECDSAKeyHash(spki []byte) uint32 {
	sum := sha256.Sum256(spki)
	return binary.BigEndian.Uint32(sum[:])
}

// FormatECDSAKey returns the verifier key string of a P-256 key (type 0x02).
func FormatECDSAKey(origin string, pub *ecdsa.PublicKey) (string, error) {
	if err := CheckOrigin(origin); err != nil {
		return "", err
	}
	if pub.Curve != elliptic.P256() {
		return "", verdict.Misused("make a P-256 key", "formatting log key: curve is %s, want P-256", pub.Curve.Params().Name)
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", verdict.Misused("", "formatting log key: %w", err)
	}
	return formatKey(origin, ECDSAKeyHash(spki), typeECDSA, spki), nil
}

// FormatEd25519Key returns the verifier key string of an Ed25519 key (type
// 0x01).
func FormatEd25519Key(origin string, pub ed25519.PublicKey) (string, error) {
	if err := CheckOrigin(origin); err != nil {
		return "", err
	}
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return "", verdict.Misused("", "formatting log key: %w", err)
	}
	return vkey, nil
}

func formatKey(name string, hash uint32, alg byte, key []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, hash, base64.StdEncoding.EncodeToString(append([]byte{alg}, key...)))
}

// A key is one verifier key, parsed.
type key struct {
	alg      byte
	verifier note.Verifier
}

// parseKey reads a verifier key string. Only the one form that formatKey
// writes is accepted.
func parseKey(vkey string) (key, error) {
	if len(vkey) > MaxKey {
		return key{}, verdict.Refuse(verdict.InputMalformed, "reading log key: %d bytes, want at most %d", len(vkey), MaxKey)
	}
	parts := strings.Split(vkey, "+")
	// The base64 may itself hold plus signs: the name cannot, the hash is hex.
	if len(parts) < 3 {
		return key{}, verdict.Refuse(verdict.InputMalformed, "reading log key %s: want name+hash+key", quote(vkey))
	}
	name, hash, encoded := parts[0], parts[1], strings.Join(parts[2:], "+")
	if err := CheckOrigin(name); err != nil {
		return key{}, err
	}
	want, err := strconv.ParseUint(hash, 16, 32)
	if err != nil || len(hash) != 8 {
		return key{}, verdict.Refuse(verdict.InputMalformed, "reading log key %s: the hash is not 8 hex digits", quote(vkey))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(raw) < 2 {
		return key{}, verdict.Refuse(verdict.InputMalformed, "reading log key %s: the key is not base64", quote(vkey))
	}
	var k key
	switch alg := raw[0]; alg {
	case typeEd25519:
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return key{}, verdict.Refuse(verdict.InputMalformed, "reading log key %s: %w", quote(vkey), err)
		}
		k = key{alg: alg, verifier: v}
	case typeECDSA:
		v, err := newECDSAVerifier(name, raw[1:])
		if err != nil {
			return key{}, err
		}
		k = key{alg: alg, verifier: v}
	default:
		return key{}, verdict.Refuse(verdict.InputUnsupported, "reading log key %s: type is 0x%02x, want 0x01 (Ed25519) or 0x02 (ECDSA P-256)", quote(vkey), alg)
	}
	if uint64(k.verifier.KeyHash()) != want {
		return key{}, verdict.Refuse(verdict.InputMalformed, "reading log key %s: the hash of the key is %08x", quote(vkey), k.verifier.KeyHash())
	}
	if again := formatKey(name, k.verifier.KeyHash(), raw[0], raw[1:]); again != vkey {
		return key{}, verdict.Refuse(verdict.InputMalformed, "reading log key %s: not in canonical form", quote(vkey))
	}
	return k, nil
}

// An ecdsaVerifier checks signatures of type 0x02: ECDSA over the SHA-256 of
// the text, as ASN.1 DER.
type ecdsaVerifier struct {
	name string
	hash uint32
	pub  *ecdsa.PublicKey
}

func newECDSAVerifier(name string, spki []byte) (*ecdsaVerifier, error) {
	parsed, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading log key of %s: %w", quote(name), err)
	}
	pub, ok := parsed.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, verdict.Refuse(verdict.SigAlgorithm, "reading log key of %s: a %T, want ECDSA P-256", quote(name), parsed)
	}
	// One key has one ID only while its encoding is unique (compressed points,
	// explicit parameters).
	if again, err := x509.MarshalPKIXPublicKey(pub); err != nil || !bytes.Equal(again, spki) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading log key of %s: the key is not in its usual DER form", quote(name))
	}
	return &ecdsaVerifier{name: name, hash: ECDSAKeyHash(spki), pub: pub}, nil
}

func (v *ecdsaVerifier) Name() string    { return v.name }
func (v *ecdsaVerifier) KeyHash() uint32 { return v.hash }

func (v *ecdsaVerifier) Verify(msg, sig []byte) bool {
	sum := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(v.pub, sum[:], sig)
}

// quote quotes at most 64 bytes of input.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
