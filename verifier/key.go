// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"

	"github.com/assayd/assay/verdict"
)

// minRSABits is the least RSA modulus that FIPS 140-3 and we accept.
const minRSABits = 2048

// Ed25519 is the name of the algorithm in Config.AllowUnvalidated.
const Ed25519 = "ed25519"

// acceptKey refuses keys that sign nothing here: other algorithms, curves and
// sizes. Whether this build's crypto module has Ed25519 is judged when a
// signature is verified, so that a root that merely lists such a key loads.
func acceptKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return verdict.Refuse(verdict.SigAlgorithm, "checking key: ECDSA on %s, want P-256, P-384 or P-521", k.Params().Name)
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits {
			return verdict.Refuse(verdict.SigAlgorithm, "checking key: RSA with %d bits, want at least %d", n, minRSABits)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return verdict.Refuse(verdict.SigAlgorithm, "checking key: %T is not accepted", pub)
}

// algorithms says which algorithms this verifier may use.
type algorithms struct{ ed25519 bool }

func (a algorithms) accept(pub crypto.PublicKey) error {
	if _, ok := pub.(ed25519.PublicKey); ok && !a.ed25519 {
		return verdict.Refuse(verdict.SigAlgorithm, "checking key: Ed25519 is outside this build's validated crypto module (allow-unvalidated: [ed25519])")
	}
	return acceptKey(pub)
}

// verifyMessage verifies sig over message. For P-384 and P-521 both the
// curve's own hash and SHA-256 are tried, since cosign signs with SHA-256
// whatever the curve.
func (a algorithms) verifyMessage(pub crypto.PublicKey, message, sig []byte) error {
	if err := a.accept(pub); err != nil {
		return err
	}
	sum := sha256.Sum256(message)
	ok := false
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, sum[:], sig)
		if !ok && k.Curve == elliptic.P384() {
			own := sha512.Sum384(message)
			ok = ecdsa.VerifyASN1(k, own[:], sig)
		}
		if !ok && k.Curve == elliptic.P521() {
			own := sha512.Sum512(message)
			ok = ecdsa.VerifyASN1(k, own[:], sig)
		}
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, message, sig)
	}
	if !ok {
		return verdict.Refuse(verdict.SigInvalid, "verifying signature: it does not verify over these %d bytes with the %s key", len(message), keyName(pub))
	}
	return nil
}

// verifyDigest verifies sig over a message of which only the SHA-256 is known.
func (a algorithms) verifyDigest(pub crypto.PublicKey, sum [sha256.Size]byte, sig []byte) error {
	if err := a.accept(pub); err != nil {
		return err
	}
	ok := false
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, sum[:], sig)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	default:
		return verdict.Refuse(verdict.SigAlgorithm, "verifying signature: %s signs the whole image, of which only the digest is known", keyName(pub))
	}
	if !ok {
		return verdict.Refuse(verdict.SigInvalid, "verifying signature: it does not verify over this digest with the %s key", keyName(pub))
	}
	return nil
}

// keyName is for people.
func keyName(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Params().Name
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}
