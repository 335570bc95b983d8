// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/assayd/assay/audit/proof"
)

// An ecdsaSigner signs notes with type 0x02 of c2sp.org/signed-note: ECDSA
// P-256 over the SHA-256 of the text, as ASN.1 DER.
type ecdsaSigner struct {
	origin string
	hash   uint32
	key    *ecdsa.PrivateKey
}

func (s *ecdsaSigner) Name() string    { return s.origin }
func (s *ecdsaSigner) KeyHash() uint32 { return s.hash }

func (s *ecdsaSigner) Sign(msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	return ecdsa.SignASN1(rand.Reader, s.key, sum[:])
}

// An ed25519Signer signs notes with type 0x01: tlog-tiles demands such a
// signature for public witnessing.
type ed25519Signer struct {
	origin string
	hash   uint32
	key    ed25519.PrivateKey
}

func (s *ed25519Signer) Name() string                    { return s.origin }
func (s *ed25519Signer) KeyHash() uint32                 { return s.hash }
func (s *ed25519Signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// newSigners makes the keys of a shard, ECDSA first. They exist in memory only,
// so that one origin never has two trees.
func newSigners(origin string, withEd25519 bool) (signers []note.Signer, vkeys []string, err error) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making log key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("making log key: %w", err)
	}
	vkey, err := proof.FormatECDSAKey(origin, &ec.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	signers = append(signers, &ecdsaSigner{origin: origin, hash: proof.ECDSAKeyHash(spki), key: ec})
	vkeys = append(vkeys, vkey)
	if !withEd25519 {
		return signers, vkeys, nil
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making log key: %w", err)
	}
	vkey, err = proof.FormatEd25519Key(origin, pub)
	if err != nil {
		return nil, nil, err
	}
	// SHA-256(name ‖ LF ‖ type ‖ key)[:4], c2sp.org/signed-note.
	sum := sha256.Sum256(append([]byte(origin+"\n\x01"), pub...))
	signers = append(signers, &ed25519Signer{origin: origin, hash: binary.BigEndian.Uint32(sum[:]), key: priv})
	return signers, append(vkeys, vkey), nil
}
