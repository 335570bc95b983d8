// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/assayd/assay/verdict"
)

// MaxBlobBytes bounds the blobs that can be verified with a signature of plain
// Ed25519, which takes the bytes themselves and so has to hold them. What is
// longer is read as a stream, and only its digests are kept.
const MaxBlobBytes = 16 << 20

// A Blob is the artifact that a sigstore bundle is about: the bytes of a file,
// or a digest alone. It is not changed and may be used concurrently.
type Blob struct {
	sums map[crypto.Hash][]byte
	// content is nil for a digest and for what is longer than MaxBlobBytes.
	content []byte
}

// BlobOfDigest returns the blob with that SHA-256, of which nothing else is
// known.
func BlobOfDigest(d verdict.Digest) (*Blob, error) {
	if _, err := parseDigest(string(d)); err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(d.Hex())
	if err != nil || d.Algorithm() != "sha256" {
		return nil, verdict.Refuse(verdict.SubjectAlgorithm, "reading digest of artifact: it is %s, want sha256", clipQuote(d.Algorithm()))
	}
	return &Blob{sums: map[crypto.Hash][]byte{crypto.SHA256: sum}}, nil
}

// OpenBlob reads a regular file to its end. What cannot be read is a
// [verdict.Misuse].
func OpenBlob(ctx context.Context, path string) (*Blob, error) {
	// A named pipe that nobody writes to would be waited for without end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, verdict.Misused("name a file, or sha256: and 64 hexadecimal digits", "opening artifact: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, verdict.Misused("", "opening artifact: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, verdict.Misused("name a file", "opening artifact: %q is not a regular file", clipQuote(path))
	}
	return ReadBlob(ctx, f)
}

// ReadBlob reads r to its end, at any length.
func ReadBlob(ctx context.Context, r io.Reader) (*Blob, error) {
	h256, h384, h512 := sha256.New(), sha512.New384(), sha512.New()
	all := io.MultiWriter(h256, h384, h512)
	b := &Blob{}
	long := false
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return nil, verdict.Fail(verdict.Internal, "reading artifact: %w", err)
		}
		n, err := r.Read(buf)
		_, _ = all.Write(buf[:n]) // hashes take everything
		if long = long || len(b.content)+n > MaxBlobBytes; long {
			b.content = nil
		} else {
			b.content = append(b.content, buf[:n]...)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, verdict.Misused("", "reading artifact: %w", err)
		}
	}
	if !long && b.content == nil {
		b.content = []byte{} // an empty file has bytes that are known: none
	}
	b.sums = map[crypto.Hash][]byte{crypto.SHA256: h256.Sum(nil), crypto.SHA384: h384.Sum(nil), crypto.SHA512: h512.Sum(nil)}
	return b, nil
}

// Digest is the SHA-256 of the blob.
func (b *Blob) Digest() verdict.Digest {
	return verdict.Digest("sha256:" + hex.EncodeToString(b.sums[crypto.SHA256]))
}

// blobAlgorithms are the names of in-toto's DigestSet.
var blobAlgorithms = map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}

// digests are the known digests as claims name them.
func (b *Blob) digests() map[string]string {
	out := make(map[string]string, len(b.sums))
	for h, sum := range b.sums {
		out[blobAlgorithms[h]] = hex.EncodeToString(sum)
	}
	return out
}

// VerifyBlob verifies one sigstore bundle over b: a message signature, or a
// statement of any predicate type with b among its subjects, by the signer that
// o demands; o.Attestation is to be empty. A log entry is demanded of a key too
// where roots list a log. At is when it is decided.
//
// The error is a [verdict.Refusal], or a [verdict.Misuse] where demand and
// roots do not fit. AllowUnvalidated is as in [Config].
func VerifyBlob(bundle []byte, b *Blob, o OneOff, roots *Roots, at time.Time, allowUnvalidated ...string) (*Identity, error) {
	if at.IsZero() {
		return nil, verdict.Misused("", "verifying bundle: there is no time")
	}
	alg := algorithms{ed25519: ed25519Validated}
	for _, a := range allowUnvalidated {
		if a != Ed25519 {
			return nil, verdict.Misused("the only one is "+Ed25519, "verifying bundle: allow-unvalidated names %q", clipQuote(a))
		}
		alg.ed25519 = true
	}
	if o.Attestation != "" {
		return nil, verdict.Misused("compare Identity.Predicate", "verifying bundle: any predicate type is taken, and one is demanded")
	}
	o.RequireLog = o.RequireLog || roots.instance(DefaultInstance).hasLog()
	policy, err := o.Policy()
	if err != nil {
		return nil, err
	}
	e, err := parseBundle(bundle)
	if err != nil {
		return nil, err
	}
	e.blob = b
	// The digest in a message signature is a claim and an input at once.
	if e.message == nil {
		if err := e.claims.about(b.digests()); err != nil {
			return nil, err
		}
	}
	var refusal error
	for _, a := range policy.rules[0].demands[0].authorities {
		m, err := a.material(roots, alg)
		if err != nil {
			return nil, err
		}
		id, err := verifyBlob(e, b, a, m, at)
		if err == nil {
			return id, nil
		}
		refusal = err
	}
	return nil, refusal
}

// ClaimedIdentity is who a bundle says that it was signed by: the identity in its
// certificate. Nothing of it is verified; [VerifyBlob] is asked for that.
func ClaimedIdentity(bundle []byte) (*Identity, error) {
	e, err := parseBundle(bundle)
	if err != nil {
		return nil, err
	}
	if e.leaf == nil {
		return nil, verdict.Refuse(verdict.CertUntrusted, "reading signer: it was signed with a bare key")
	}
	s, err := readSigner(e.leaf)
	if err != nil {
		return nil, err
	}
	return &Identity{Issuer: s.issuer, SAN: s.san, Key: s.key, Certificate: s.certificate}, nil
}

func verifyBlob(e *entity, b *Blob, a *authority, m *material, at time.Time) (*Identity, error) {
	f, serr := m.verify(e)
	if serr != nil {
		return nil, serr.err
	}
	if err := f.claims.about(b.digests()); err != nil {
		return nil, err
	}
	// As for an image: what was signed after the decision did not exist then.
	if n := len(f.times); n > 0 && f.times[n-1].After(at.Add(verdict.MaxSkew)) {
		return nil, verdict.Refuse(verdict.TimeUntrusted, "comparing time of signing: it is proven for %s, and now is %s; one of these clocks is wrong",
			f.times[n-1].UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	if err := a.matches(f, at); err != nil {
		return nil, err
	}
	id := &Identity{Authority: a.name, Issuer: f.signer.issuer, SAN: f.signer.san, Key: f.signer.key, Certificate: f.signer.certificate, Predicate: f.claims.predicate}
	for _, l := range f.logs {
		id.LogEntries = append(id.LogEntries, l.String())
	}
	if len(f.times) > 0 {
		id.SignedAt = f.times[0].UTC()
	}
	return id, nil
}

// verifyDigests verifies a message signature: over the blob, where one is
// known, else over the digest in the bundle, which the caller compares with
// what it asks for.
func (e *entity) verifyDigests(a algorithms, pub crypto.PublicKey) error {
	if e.blob == nil {
		if len(e.messageDigest) != sha256.Size {
			return verdict.Refuse(verdict.SubjectAlgorithm, "verifying signature: the message digest is not SHA-256, and nothing else is known of the image")
		}
		return a.verifyDigest(pub, [sha256.Size]byte(e.messageDigest), e.sig)
	}
	if err := a.accept(pub); err != nil {
		return err
	}
	var ok bool
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		// The curve's own hash, and SHA-256, which cosign takes for every curve.
		own := map[elliptic.Curve]crypto.Hash{elliptic.P384(): crypto.SHA384, elliptic.P521(): crypto.SHA512}[k.Curve]
		for _, h := range []crypto.Hash{crypto.SHA256, own} {
			if sum := e.blob.sums[h]; sum != nil {
				ok = ok || ecdsa.VerifyASN1(k, sum, e.sig)
			}
		}
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, e.blob.sums[crypto.SHA256], e.sig) == nil
	case ed25519.PublicKey:
		sum := e.blob.sums[crypto.SHA512]
		if sum == nil {
			return verdict.Refuse(verdict.SigAlgorithm, "verifying signature: Ed25519 signs the whole artifact or its SHA-512, and only the SHA-256 is known")
		}
		// Rekor logs the pre-hashed form (RFC 8032 §5.1) alone.
		ok = ed25519.VerifyWithOptions(k, sum, e.sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
		if !ok && len(e.entries) == 0 && e.blob.content != nil {
			ok = ed25519.Verify(k, e.blob.content, e.sig)
		}
	}
	if !ok {
		return verdict.Refuse(verdict.SigInvalid, "verifying signature: it does not verify over this artifact with the %s key", keyName(pub))
	}
	return nil
}

// messageHash is the algorithm that a message digest of that length and name
// has, or zero.
func messageHash(name string, sum []byte) crypto.Hash {
	h := map[string]crypto.Hash{"SHA2_256": crypto.SHA256, "SHA2_384": crypto.SHA384, "SHA2_512": crypto.SHA512}[name]
	if h == 0 || len(sum) != h.Size() {
		return 0
	}
	return h
}
