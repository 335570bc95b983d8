// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"
)

// Flavours are the crypto modules that a build may use: the Go standard
// library, its FIPS 140-3 module, and BoringCrypto.
var Flavours = []string{"go", "fips140", "boringcrypto"}

// A Statement is what a daemon says of itself, and what evidence is bound to:
// its keys, and what it decides by. There is one per boot, per change of head,
// and before NotAfter.
type Statement struct {
	// Boot is 128 random bits in hex, drawn once per start.
	Boot  string `json:"boot"`
	Build Build  `json:"build"`
	// Config is the digest of the measured configuration file.
	Config Digest  `json:"config"`
	Head   HeadRef `json:"head"`
	// Issuer is the daemon's SPIFFE ID.
	Issuer string `json:"issuer"`
	// Keys are the daemon's keys, at least one of use ticket and one of use
	// verdict. They live as long as the boot.
	Keys []JWK  `json:"keys"`
	Log  LogRef `json:"log"`
	// NotBefore and NotAfter are Unix seconds, at most MaxStatementLife apart.
	NotAfter  int64  `json:"not_after"`
	NotBefore int64  `json:"not_before"`
	Policy    Digest `json:"policy"`
	// Prev is the digest of the statement before this one, as a hint.
	Prev  Digest `json:"prev,omitempty"`
	Roots Digest `json:"roots"`
	// Seq counts the statements of this boot, from 1.
	Seq uint64 `json:"seq"`
	V   int    `json:"v"`
}

// A Build says which program speaks.
type Build struct {
	Crypto  Crypto `json:"crypto"`
	Version string `json:"version"`
}

// Crypto is the cryptographic module in use.
type Crypto struct {
	// Active tells whether the module's approved mode is on; false for "go".
	Active bool `json:"active"`
	// Module is one of Flavours.
	Module string `json:"module"`
	// Version is the module's own version.
	Version string `json:"version"`
}

// A HeadRef names a head.
type HeadRef struct {
	Counter uint64 `json:"counter"`
	// Digest is the SHA-256 of the head's payload.
	Digest Digest `json:"digest"`
}

// A LogRef names a log shard.
type LogRef struct {
	// Keys are the shard's verifier keys as C2SP vkeys, all with the origin as
	// name. At least one is ECDSA P-256.
	Keys []string `json:"keys"`
	// Origin is the first line of the shard's checkpoints.
	Origin string `json:"origin"`
}

// ParseStatement decodes an issuer statement. It says nothing about whether to
// believe it: evidence does. The error is a *[Refusal] with issuer.malformed.
func ParseStatement(data []byte) (Statement, error) {
	s, err := decode[Statement](data, MaxStatement)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return Statement{}, Refuse(IssuerMalformed, "parsing issuer statement: %w", err)
	}
	return s, nil
}

// Encode returns the canonical bytes of s, which evidence is bound to.
func (s Statement) Encode() ([]byte, error) {
	s.V = 1
	if err := s.check(); err != nil {
		return nil, Misused("", "encoding issuer statement: %w", err)
	}
	return encode(s)
}

// Key returns the key with this thumbprint, if s lists it for use.
func (s Statement) Key(kid, use string) (JWK, bool) {
	i := slices.IndexFunc(s.Keys, func(k JWK) bool { return k.Kid == kid && k.Use == use })
	if i < 0 {
		return JWK{}, false
	}
	return s.Keys[i], true
}

// CheckAt refuses a statement outside its window with issuer.expired.
func (s Statement) CheckAt(at time.Time) error {
	if u := at.Unix(); u < s.NotBefore-int64(MaxSkew/time.Second) || u >= s.NotAfter {
		return Refuse(IssuerExpired, "issuer statement %d of boot %s is valid from %s to %s", s.Seq, s.Boot,
			time.Unix(s.NotBefore, 0).UTC().Format(time.RFC3339), time.Unix(s.NotAfter, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

func (s Statement) check() error {
	if err := first(checkVersion(s.V), CheckSPIFFEID(s.Issuer), checkHex("boot", s.Boot, 16),
		checkText("build.version", s.Build.Version, 128), checkText("build.crypto.version", s.Build.Crypto.Version, 128),
		checkSHA256("head.digest", s.Head.Digest), checkSHA256("policy", s.Policy), checkSHA256("roots", s.Roots), checkSHA256("config", s.Config),
		checkWindow(s.NotBefore, s.NotAfter, MaxStatementLife)); err != nil {
		return err
	}
	if s.Head.Counter == 0 || s.Seq == 0 {
		return errors.New("head.counter or seq is 0, want at least 1")
	}
	if !slices.Contains(Flavours, s.Build.Crypto.Module) {
		return fmt.Errorf("build.crypto.module is %s, want one of %s", quote(s.Build.Crypto.Module), strings.Join(Flavours, ", "))
	}
	if s.Prev != "" {
		if err := checkSHA256("prev", s.Prev); err != nil {
			return err
		}
	}
	if err := s.Log.check(); err != nil {
		return err
	}
	uses := map[string]bool{}
	for i, k := range s.Keys {
		if k.Use != UseTicket && k.Use != UseVerdict {
			return fmt.Errorf("key use is %s, want %q or %q", quote(k.Use), UseTicket, UseVerdict)
		}
		if _, err := k.PublicKey(k.Use); err != nil {
			return err
		}
		if slices.ContainsFunc(s.Keys[:i], func(b JWK) bool { return b.Kid == k.Kid }) {
			return fmt.Errorf("key %s is there twice", quote(k.Kid))
		}
		uses[k.Use] = true
	}
	if len(s.Keys) > 8 || !uses[UseTicket] || !uses[UseVerdict] {
		return errors.New("want a ticket key and a verdict key, at most 8 in all")
	}
	return nil
}

// Types of keys of a signed note (c2sp.org/signed-note).
const (
	vkeyEd25519 = 0x01
	vkeyECDSA   = 0x02
)

// check looks at the form of origin and keys; what is in a key is audit/proof's.
func (l LogRef) check() error {
	if err := checkOrigin(l.Origin); err != nil {
		return err
	}
	if len(l.Keys) == 0 || len(l.Keys) > 4 {
		return fmt.Errorf("%d log keys, want 1 to 4", len(l.Keys))
	}
	ec := false
	for _, vkey := range l.Keys {
		rest, named := strings.CutPrefix(vkey, l.Origin+"+")
		id, key, _ := strings.Cut(rest, "+")
		raw, err := decode64(std64, key)
		if !named || len(vkey) > 512 || checkHex("key hash", id, 4) != nil || err != nil || len(raw) < 2 {
			return fmt.Errorf("log key %s is not origin, +, 8 hex digits, +, base64", quote(vkey))
		}
		if raw[0] != vkeyECDSA && raw[0] != vkeyEd25519 {
			return fmt.Errorf("log key has type %#02x, want %#02x or %#02x", raw[0], vkeyEd25519, vkeyECDSA)
		}
		ec = ec || raw[0] == vkeyECDSA
	}
	if !ec {
		return errors.New("no log key is ECDSA")
	}
	return nil
}

// checkOrigin refuses what cannot be the name of a signed note: it is one line
// of it, and the part of a vkey before the first plus.
func checkOrigin(origin string) error {
	if err := checkText("log origin", origin, MaxOrigin); err != nil {
		return err
	}
	if strings.ContainsAny(origin, " +") {
		return fmt.Errorf("log origin %s has a space or a plus", quote(origin))
	}
	return nil
}

// Domain separation of what evidence and registers hold.
const (
	statementDomain = "assay/issuer-statement/v1"
	registerDomain  = "assay/register/v1"
)

// ReportData is the 64 bytes that a report of a TEE carries for a statement and
// the concatenated nonces of those who asked (design.md §4.1): SHA-512 over
// domain, zero, and both with their lengths.
func ReportData(statement, nonces []byte) [64]byte {
	h := sha512.New()
	writeBinding(h, statement, nonces)
	return [64]byte(h.Sum(nil))
}

// QuoteData is the 32 bytes that a TPM quote carries as extraData: SHA-256 over
// the same bytes as [ReportData].
func QuoteData(statement, nonces []byte) [32]byte {
	h := sha256.New()
	writeBinding(h, statement, nonces)
	return [32]byte(h.Sum(nil))
}

func writeBinding(h hash.Hash, statement, nonces []byte) {
	h.Write([]byte(statementDomain + "\x00"))
	for _, part := range [][]byte{statement, nonces} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
}

// HasNonce tells whether nonce is one of the concatenated nonces: whole, and at
// a multiple of NonceSize.
func HasNonce(nonces []byte, nonce [NonceSize]byte) bool {
	if len(nonces)%NonceSize != 0 || len(nonces) > MaxNonces*NonceSize {
		return false
	}
	for chunk := range slices.Chunk(nonces, NonceSize) {
		if subtle.ConstantTimeCompare(chunk, nonce[:]) == 1 {
			return true
		}
	}
	return false
}

// A RegisterEvent is what a daemon extends into a register before it makes keys,
// and at each later load: what it is about to decide by.
type RegisterEvent struct {
	Boot   string `json:"boot"`
	Config Digest `json:"config"`
	// Head is the counter of the head.
	Head   uint64 `json:"head"`
	Policy Digest `json:"policy"`
	Roots  Digest `json:"roots"`
}

// MaxRegisterEvent bounds an encoded event, in bytes.
const MaxRegisterEvent = 1024

// ParseRegisterEvent decodes an event. The error is a *[Refusal] with
// evidence.malformed.
func ParseRegisterEvent(data []byte) (RegisterEvent, error) {
	e, err := decode[RegisterEvent](data, MaxRegisterEvent)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return RegisterEvent{}, Refuse(EvidenceMalformed, "parsing register event: %w", err)
	}
	return e, nil
}

// Encode returns the canonical bytes of e.
func (e RegisterEvent) Encode() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, Misused("", "encoding register event: %w", err)
	}
	return encode(e)
}

func (e RegisterEvent) check() error {
	if e.Head == 0 {
		return errors.New("head is 0, want at least 1")
	}
	return first(checkHex("boot", e.Boot, 16), checkSHA256("config", e.Config), checkSHA256("policy", e.Policy), checkSHA256("roots", e.Roots))
}

// RegisterDigest writes what is extended for an encoded event into h, which is
// SHA-384 for RTMR3 and the bank's hash for a PCR, and returns the sum.
func RegisterDigest(h hash.Hash, event []byte) []byte {
	h.Reset()
	h.Write([]byte(registerDomain + "\x00"))
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(event)))
	h.Write(size[:])
	h.Write(event)
	return h.Sum(nil)
}

// SameEvent tells whether the statement was made under what the event measured.
func (s Statement) SameEvent(e RegisterEvent) bool {
	return e.Boot == s.Boot && e.Config == s.Config && e.Head == s.Head.Counter && e.Policy == s.Policy && e.Roots == s.Roots
}
