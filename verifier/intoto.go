// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/assayd/assay/verdict"
)

// An intotoEntry is a Rekor entry of kind intoto 0.0.1, as cosign logged
// attestations until 2023. sigstore-go does not read it: it has the digests of
// envelope and payload and the signer, and not the signature.
type intotoEntry struct {
	body           []byte
	set            []byte
	logID          string // hex
	integratedTime int64
	logIndex       int64

	envelope, payload [sha256.Size]byte
	signer            []byte // PEM
}

// parseIntoto reads the body of an intoto 0.0.1 entry
// (rekor types/intoto/v0.0.1/intoto_v0_0_1_schema.json).
func parseIntoto(body []byte) (*intotoEntry, error) {
	malformed := func(format string, args ...any) (*intotoEntry, error) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading log entry: "+format, args...)
	}
	obj, err := parseObject(body, maxManifestValues)
	if err != nil {
		return malformed("%w", err)
	}
	spec, err := obj.object("spec")
	if err != nil {
		return malformed("%w", err)
	}
	content, err := spec.object("content")
	if err != nil {
		return malformed("%w", err)
	}
	e := &intotoEntry{body: body}
	if err := spec.optional("publicKey", &e.signer); err != nil || len(e.signer) == 0 {
		return malformed("it names no signer")
	}
	for name, into := range map[string]*[sha256.Size]byte{"hash": &e.envelope, "payloadHash": &e.payload} {
		h, err := content.object(name)
		if err != nil {
			return malformed("%w", err)
		}
		var algorithm, value string
		if err := errors.Join(h.optional("algorithm", &algorithm), h.optional("value", &value)); err != nil {
			return malformed("%w", err)
		}
		sum, err := hex.DecodeString(value)
		if algorithm != "sha256" || err != nil || len(sum) != sha256.Size {
			return malformed("%s is not a SHA-256 digest", name)
		}
		*into = [sha256.Size]byte(sum)
	}
	return e, nil
}

// verify checks that a listed log signed the entry and that it is about this
// envelope and signer. It returns the time that the log vouches for.
func (t *intotoEntry) verify(e *entity, log *root.TransparencyLog) (time.Time, *stageError) {
	mismatch := func(what string) (time.Time, *stageError) {
		return time.Time{}, &stageError{stageLog, verdict.Refuse(verdict.LogMismatch, "verifying log entry %d: it is about another %s", t.logIndex, what)}
	}
	at := time.Unix(t.integratedTime, 0)
	if err := (promise{body: t.body, at: t.integratedTime, logID: t.logID, index: t.logIndex}).verify(log, t.set); err != nil {
		return time.Time{}, &stageError{stageLog, err}
	}
	if e.stamped == nil {
		return mismatch("kind of signature")
	}
	if sha256.Sum256(e.stamped) != t.envelope {
		return mismatch("envelope")
	}
	if sha256.Sum256(e.statement) != t.payload {
		return mismatch("payload")
	}
	block, rest := pem.Decode(t.signer)
	if block == nil || len(bytes.TrimSpace(rest)) != 0 {
		return time.Time{}, &stageError{stageLog, verdict.Refuse(verdict.InputMalformed, "reading log entry: its signer is not one PEM block")}
	}
	if e.leaf != nil && block.Type == "CERTIFICATE" {
		if !bytes.Equal(block.Bytes, e.leaf.Raw) {
			return mismatch("certificate")
		}
		return at, nil
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || block.Type != "PUBLIC KEY" || e.key == nil || !e.key.CompareKey(pub, nil) {
		return mismatch("key")
	}
	return at, nil
}

func (t *intotoEntry) logEntry() logEntry { return logEntry{logID: t.logID, index: t.logIndex} }
