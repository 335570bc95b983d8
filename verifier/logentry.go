// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/assayd/assay/verdict"
)

// verifyEntries verifies the entries of listed logs, and returns the times that
// logs have signed. Those of Rekor v2 are the library's, which computes what the
// log must have. Those of Rekor v1 are verified here, step by step as there, so
// that each has its own reason, and without writing the entry as JSON three
// times.
func (e *entity) verifyEntries(tm root.TrustedMaterial, logs map[string]*root.TransparencyLog) ([]time.Time, error) {
	for _, t := range e.entries {
		if logs[t.logID()] == nil || !t.isRekorV2() {
			continue
		}
		stamps, err := verify.VerifyTlogEntry(e, tm, 1, true)
		if err != nil {
			return nil, explainLog(e, logs, err)
		}
		var times []time.Time
		for _, s := range stamps {
			times = append(times, s.Time)
		}
		return times, nil
	}
	content, err := e.VerificationContent()
	if err != nil {
		return nil, verdict.Refuse(verdict.LogMismatch, "verifying log entry: %w", err)
	}
	var times []time.Time
	dated := make(map[string]bool)
	for i, t := range e.entries {
		if err := t.validate(); err != nil {
			return nil, verdict.Refuse(verdict.InputMalformed, "reading log entry: %w", err)
		}
		for _, other := range e.entries[:i] {
			if other.LogKeyID() == t.LogKeyID() && other.GetLogIndex() == t.GetLogIndex() {
				return nil, verdict.Refuse(verdict.LogProof, "verifying log entry %d: it is there twice", t.GetLogIndex())
			}
		}
		log := logs[t.logID()]
		if log == nil {
			continue
		}
		if err := e.verifyEntry(t, log); err != nil {
			return nil, err
		}
		at := t.at()
		if !bytes.Equal(t.signature(), e.sig) || !t.isBy(content, tm) || !e.isLoggedAs(t) {
			if _, err := t.whole(); err != nil {
				return nil, verdict.Refuse(verdict.InputMalformed, "reading log entry: %w", err)
			}
			return nil, verdict.Refuse(verdict.LogMismatch, "verifying log entry %d: it is about another signature, key or content", t.GetLogIndex())
		}
		if !at.IsZero() && !content.ValidAtTime(at, tm) {
			return nil, verdict.Refuse(verdict.CertExpiredAtSigning, "verifying log entry %d: it was logged at %s, outside the certificate's validity", t.GetLogIndex(), at.UTC().Format(time.RFC3339))
		}
		if t.hasPromise() && !dated[t.LogKeyID()] {
			dated[t.LogKeyID()] = true
			times = append(times, at)
		}
	}
	return times, nil
}

// verifyEntry verifies what a log of Rekor v1 has signed about one entry.
func (e *entity) verifyEntry(t *entry, log *root.TransparencyLog) error {
	hasProof := t.GetInclusionProof() != nil
	if !t.hasPromise() && !hasProof {
		return verdict.Refuse(verdict.LogProof, "verifying log entry %d: it has neither promise nor proof of inclusion", t.GetLogIndex())
	}
	if t.hasPromise() {
		if err := t.promise().verify(log, t.GetInclusionPromise().GetSignedEntryTimestamp()); err != nil {
			return err
		}
	}
	if !hasProof {
		return nil
	}
	// The library takes what has no number of a tree for Rekor v2.
	note := t.GetInclusionProof().GetCheckpoint().GetEnvelope()
	c, ok := parseCheckpoint(note)
	host, isV1 := cutTreeID(c.origin)
	if !ok || !isV1 {
		return verdict.Refuse(verdict.LogProof, "verifying log entry %d: its checkpoint is not one of Rekor v1", t.GetLogIndex())
	}
	if !isSignedAs(note, host, t.LogKeyID()) {
		return verdict.Refuse(verdict.LogProof, "verifying log entry %d: its checkpoint is not signed under the name %q of its origin", t.GetLogIndex(), host)
	}
	if err := t.verifyInclusion(log); err != nil {
		return verdict.Refuse(verdict.LogProof, "verifying log entry %d: inclusion: %w", t.GetLogIndex(), err)
	}
	return nil
}

// cutTreeID cuts the number of a tree off the origin of a checkpoint, as Rekor v1
// writes it.
func cutTreeID(origin string) (host string, ok bool) {
	i := strings.LastIndex(origin, " - ")
	if i < 0 {
		return "", false
	}
	host, id := origin[:i], origin[i+len(" - "):]
	return host, id != "" && strings.Trim(id, "0123456789") == ""
}

// isSignedAs says whether the signatures of a checkpoint that may be by a log's key
// are by its name: a key has a name, and what another one signs is of another key
// (c2sp.org/signed-note). The library looks at the four bytes of the key alone.
func isSignedAs(note, name, logID string) bool {
	_, signatures, _ := strings.Cut(note, "\n\n")
	found := false
	for line := range strings.Lines(signatures) {
		by, text, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "— "), " ")
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) < 4 || len(logID) < 4 || string(raw[:4]) != logID[:4] {
			continue
		}
		if by != name {
			return false
		}
		found = true
	}
	return found
}

// A promise is what a log of Rekor v1 says that it will include.
type promise struct {
	body  []byte
	at    int64  // seconds since 1970
	logID string // hex
	index int64
}

// maxExact is the largest integer that RFC 8785 writes as it is.
const maxExact = 1 << 53

// signed is what a signed entry timestamp is over, in the order and form of
// RFC 8785 (rekor, "Signed Entry Timestamp").
func (p promise) signed() []byte {
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(p.body))+256)
	out = append(out, `{"body":"`...)
	out = base64.StdEncoding.AppendEncode(out, p.body)
	out = append(out, `","integratedTime":`...)
	out = strconv.AppendInt(out, p.at, 10)
	out = append(out, `,"logID":"`...)
	out = append(out, p.logID...)
	out = append(out, `","logIndex":`...)
	out = strconv.AppendInt(out, p.index, 10)
	return append(out, '}')
}

// verify verifies a signed entry timestamp: by a key that the log had when it
// made the promise.
func (p promise) verify(log *root.TransparencyLog, set []byte) error {
	refuse := func(format string, args ...any) error {
		return verdict.Refuse(verdict.LogProof, "verifying log entry %d: "+format, append([]any{p.index}, args...)...)
	}
	if p.at <= 0 || p.at > maxExact || p.index < 0 || p.index > maxExact {
		return refuse("its time or index is out of range")
	}
	if at := time.Unix(p.at, 0); log.ValidityPeriodStart.IsZero() || !(window{log.ValidityPeriodStart, log.ValidityPeriodEnd}).contains(at) {
		return refuse("the log's key was not valid at %s", at.UTC().Format(time.RFC3339))
	}
	key, ok := log.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return refuse("the log's key is no ECDSA key, which alone signs entry timestamps")
	}
	if sum := sha256.Sum256(p.signed()); !ecdsa.VerifyASN1(key, sum[:], set) {
		return refuse("the signed entry timestamp does not verify")
	}
	return nil
}

// hashNames are the names in entries of the hashes of message signatures, by
// their names in bundles.
var hashNames = map[string]string{"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}

// isLoggedAs compares what an entry of Rekor v1 was made of with the entity.
func (e *entity) isLoggedAs(t *entry) bool {
	if m := e.content.MessageSignatureContent(); m != nil {
		sum, hash, ok := t.messageDigest()
		return ok && bytes.Equal(sum, m.Digest()) && hash != "" && hash == hashNames[m.DigestAlgorithm()]
	}
	sum := sha256.Sum256(e.statement)
	logged, ok := t.payloadDigest()
	return ok && e.statement != nil && bytes.Equal(logged, sum[:])
}
