// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/assayd/assay/verifier/internal/entrybody"
)

// An entry is an entry of a transparency log. The body of one of Rekor v1 is read
// here, if it has the form in which Rekor writes it; the library, which reads it with
// models of JSON and verifies the signature in it once more, reads any other, and
// whatever is not compared with a verified signature (decision 0054).
type entry struct {
	*protorekor.TransparencyLogEntry
	usual *entrybody.Body // or nil
	// whole reads the entry by the library, once.
	whole func() (*tlog.Entry, error)
}

// newEntry reads an entry whose body is usual, or nil.
func newEntry(t *protorekor.TransparencyLogEntry, usual *entrybody.Body) (*entry, error) {
	e := &entry{TransparencyLogEntry: t, whole: sync.OnceValues(func() (*tlog.Entry, error) { return tlog.ParseTransparencyLogEntry(t) })}
	p := t.GetInclusionProof()
	if usual != nil && t.GetLogIndex() >= 0 && len(t.GetLogId().GetKeyId()) > 0 && (p == nil || p.GetCheckpoint().GetEnvelope() != "") &&
		t.GetKindVersion().GetKind() == usual.Kind && t.GetKindVersion().GetVersion() == usual.Version {
		e.usual = usual
		return e, nil
	}
	_, err := e.whole()
	return e, err
}

// isCompared says whether all that the library would find in the entry is compared
// with the entity, whose signature is verified by a key of ECDSA. Of others the form
// of a signature in a log depends on the library.
func (t *entry) isCompared(e *entity) bool {
	_, isECDSA := e.signerKey().(*ecdsa.PublicKey)
	return t.usual != nil && isECDSA
}

func (t *entry) LogKeyID() string { return string(t.GetLogId().GetKeyId()) }

// logID is the log's ID in hex.
func (t *entry) logID() string { return hex.EncodeToString(t.GetLogId().GetKeyId()) }

// at is when the log says that it took the entry in, or zero.
func (t *entry) at() time.Time {
	if t.GetIntegratedTime() == 0 {
		return time.Time{}
	}
	return time.Unix(t.GetIntegratedTime(), 0)
}

func (t *entry) hasPromise() bool { return len(t.GetInclusionPromise().GetSignedEntryTimestamp()) > 0 }

func (t *entry) promise() promise {
	return promise{body: t.GetCanonicalizedBody(), at: t.GetIntegratedTime(), logID: t.logID(), index: t.GetLogIndex()}
}

func (t *entry) isRekorV2() bool {
	if t.usual != nil {
		return false
	}
	read, err := t.whole()
	return err == nil && read.IsRekorV2()
}

// validate has the library look at the members of the body, whose values the usual
// form determines.
func (t *entry) validate() error {
	if t.usual != nil {
		return nil
	}
	read, err := t.whole()
	if err != nil {
		return err
	}
	return tlog.ValidateEntry(read)
}

func (t *entry) signature() []byte {
	if t.usual != nil {
		return t.usual.Signature
	}
	read, err := t.whole()
	if err != nil {
		return nil
	}
	return read.Signature()
}

// publicKey is a certificate or key, or nil.
func (t *entry) publicKey() any {
	read, err := t.whole()
	if err != nil {
		return nil
	}
	return read.PublicKey()
}

// isBy says whether the entry is about a signature by this key or certificate.
func (t *entry) isBy(content verify.VerificationContent, tm root.TrustedMaterial) bool {
	if c := content.Certificate(); c != nil && t.usual != nil && t.usual.IsCertificate {
		return bytes.Equal(t.usual.Signer, c.Raw)
	}
	return content.CompareKey(t.publicKey(), tm)
}

// messageDigest is what a signature is over by an entry of kind hashedrekord, and the
// name of the hash.
func (t *entry) messageDigest() (sum []byte, hash string, ok bool) {
	if t.usual != nil {
		return t.usual.Digest, t.usual.Hash, t.usual.Kind == entrybody.HashedRekord
	}
	read, err := t.whole()
	if err != nil {
		return nil, "", false
	}
	return read.GetHashedRekordDigest()
}

// payloadDigest is the SHA-256 of the payload of an envelope, by an entry of kind dsse
// or intoto.
func (t *entry) payloadDigest() (sum []byte, ok bool) {
	if t.usual != nil {
		return t.usual.Digest, t.usual.Kind != entrybody.HashedRekord
	}
	read, err := t.whole()
	if err != nil {
		return nil, false
	}
	return read.GetDssePayloadHash()
}

// verifyInclusion verifies the proof of an entry of Rekor v1 and the signature of the
// checkpoint that it leads to.
func (t *entry) verifyInclusion(log *root.TransparencyLog) error {
	p := t.GetInclusionProof()
	leaf := rfc6962.DefaultHasher.HashLeaf(t.GetCanonicalizedBody())
	//nolint:gosec // G115: a negative index is beyond each tree; checkProof compares the size with that of the checkpoint
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.GetLogIndex()), uint64(p.GetTreeSize()), leaf, p.GetHashes(), p.GetRootHash()); err != nil {
		return err
	}
	key, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return err
	}
	var c util.SignedCheckpoint
	if err := c.UnmarshalText([]byte(p.GetCheckpoint().GetEnvelope())); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	switch {
	case !c.Verify(key):
		return errors.New("the signature of its checkpoint does not verify")
	case !bytes.Equal(c.Hash, p.GetRootHash()):
		return fmt.Errorf("it leads to the root %x, and its checkpoint is of %x", p.GetRootHash(), c.Hash)
	}
	return nil
}
