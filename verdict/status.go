// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Status is the pulse of a daemon: the claims of a JWS that answers a nonce.
type Status struct {
	// Checkpoint is the newest checkpoint of the daemon's log shard, a signed
	// note; empty before the first.
	Checkpoint string `json:"checkpoint,omitempty"`
	// Deny are the highest counters of the deny documents in force.
	Deny []DenyMark `json:"deny,omitempty"`
	Head HeadRef    `json:"head"`
	// Iat is in Unix seconds.
	Iat int64 `json:"iat"`
	// Iss is the daemon's SPIFFE ID.
	Iss string `json:"iss"`
	// Nonce is the asker's, 16 bytes in hex.
	Nonce string `json:"nonce"`
	// Stmt is the digest of the issuer statement whose ticket key signs.
	Stmt Digest `json:"stmt"`
}

// A DenyMark is the highest counter of an owner's deny documents.
type DenyMark struct {
	Counter uint64 `json:"counter"`
	// Owner is the thumbprint of the owner's key.
	Owner string `json:"owner"`
}

// StatusNonceSize is the length of a status nonce in bytes.
const StatusNonceSize = 16

func (s Status) check() error {
	if err := first(CheckSPIFFEID(s.Iss), checkSHA256("stmt", s.Stmt), checkSHA256("head.digest", s.Head.Digest), checkHex("nonce", s.Nonce, StatusNonceSize)); err != nil {
		return err
	}
	if s.Head.Counter == 0 || s.Iat <= 0 {
		return errors.New("head.counter or iat is missing")
	}
	if len(s.Deny) > maxOwners {
		return fmt.Errorf("%d deny marks, want at most %d", len(s.Deny), maxOwners)
	}
	for i, d := range s.Deny {
		if err := checkText("deny.owner", d.Owner, 64); err != nil {
			return err
		}
		if d.Counter == 0 || slices.ContainsFunc(s.Deny[:i], func(b DenyMark) bool { return b.Owner == d.Owner }) {
			return fmt.Errorf("deny mark of owner %s has counter 0 or is there twice", quote(d.Owner))
		}
	}
	if s.Checkpoint == "" {
		return nil
	}
	_, err := parseCheckpoint(s.Checkpoint)
	return err
}

// SignStatus signs s with a ticket key.
func SignStatus(s Status, key *Key) (string, error) {
	if err := s.check(); err != nil {
		return "", fmt.Errorf("signing status: %w", err)
	}
	payload, err := encode(s)
	if err != nil {
		return "", err
	}
	return signJWS(StatusType, payload, key, MaxStatus)
}

// OpenStatus turns a compact status into checked facts: it is well-formed and
// signed by the ticket key of an accepted statement. It looks at no clock. The
// error is a *[Refusal] with status.malformed or status.signature.
func OpenStatus(token string, issuers []Issuer) (Status, error) {
	p, err := parseJWS(token, StatusType, MaxStatus)
	if err != nil {
		return Status{}, Refuse(StatusMalformed, "opening status: %w", err)
	}
	s, err := decode[Status](p.payload, MaxStatus)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return Status{}, Refuse(StatusMalformed, "opening status: %w", err)
	}
	for _, i := range issuers {
		if i.Digest != s.Stmt {
			continue
		}
		jwk, ok := i.Statement.Key(p.kid, UseTicket)
		if !ok || s.Iss != i.Statement.Issuer {
			break
		}
		pub, err := jwk.PublicKey(UseTicket)
		if err != nil {
			break
		}
		if err := p.verify(pub); err != nil {
			return Status{}, Refuse(StatusSignature, "opening status: %w", err)
		}
		return s, nil
	}
	return Status{}, Refuse(StatusSignature, "opening status: statement %s is not accepted here, or lists no ticket key %s", s.Stmt.Short(), quote(p.kid))
}

// CheckFresh returns a *[Failure] with status.stale where s is older than age
// by the node's clock, or from the future by more than MaxSkew.
func (s Status) CheckFresh(at time.Time, age time.Duration) error {
	iat := time.Unix(s.Iat, 0)
	if old := at.Sub(iat); old > age || old < -MaxSkew {
		return Fail(StatusStale, "newest status is of %s, this node's clock says %s, want at most %s between them", unixUTC(s.Iat), unixUTC(at.Unix()), age)
	}
	return nil
}

// CheckHead compares s with what a node holds: a lower head, or a deny document
// in force that the daemon does not have, is status.rollback, the same counter
// with other contents head.conflict. A higher head is fine: the node is the one
// that is behind.
func (s Status) CheckHead(h CheckedHead, at time.Time) error {
	if s.Head.Counter < h.Counter {
		return Refuse(StatusRollback, "status is under head %d, this node has %d", s.Head.Counter, h.Counter)
	}
	if s.Head.Counter > h.Counter {
		return nil
	}
	if s.Head.Digest != h.Digest {
		return Refuse(HeadConflict, "head %d has two contents: %s in the status, %s on this node", h.Counter, s.Head.Digest.Short(), h.Digest.Short())
	}
	for _, mark := range DenyMarks(h.ActiveDocs(at)) {
		if !slices.ContainsFunc(s.Deny, func(d DenyMark) bool { return d.Owner == mark.Owner && d.Counter >= mark.Counter }) {
			return Refuse(StatusRollback, "status lacks deny document %d of owner %s, which this node has", mark.Counter, quote(mark.Owner))
		}
	}
	return nil
}

// DenyMarks returns the highest counter of each owner, ordered by owner: what a
// status says of the documents in force.
func DenyMarks(docs []CheckedDeny) []DenyMark {
	highest := map[string]uint64{}
	for _, d := range docs {
		highest[d.Owner] = max(highest[d.Owner], d.Counter)
	}
	var marks []DenyMark
	for _, owner := range slices.Sorted(maps.Keys(highest)) {
		marks = append(marks, DenyMark{Counter: highest[owner], Owner: owner})
	}
	return marks
}

// A LogMark is the size and root of a log as of some checkpoint: what a node
// remembers of each origin.
type LogMark struct {
	Origin string `json:"origin"`
	// Root is the root hash, 32 bytes in base64, as checkpoints have it.
	Root string `json:"root"`
	Size uint64 `json:"size"`
}

// Log returns the mark of the checkpoint in the status, and false where it has
// none. The checkpoint's own signatures are not looked at: the daemon signed the
// status that it is in.
func (s Status) Log() (LogMark, bool) {
	if s.Checkpoint == "" {
		return LogMark{}, false
	}
	m, err := parseCheckpoint(s.Checkpoint)
	return m, err == nil
}

// parseCheckpoint reads origin, size and root of a checkpoint
// (c2sp.org/tlog-checkpoint), and passes over its signatures.
func parseCheckpoint(note string) (LogMark, error) {
	text, signatures, ok := strings.Cut(note, "\n\n")
	lines := strings.SplitN(text, "\n", 4)
	if !ok || signatures == "" || len(lines) < 3 {
		return LogMark{}, errors.New("checkpoint is not a signed note of origin, size and root")
	}
	if err := checkOrigin(lines[0]); err != nil {
		return LogMark{}, err
	}
	size, err := strconv.ParseUint(lines[1], 10, 53)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return LogMark{}, fmt.Errorf("checkpoint has the size %s", quote(lines[1]))
	}
	if root, err := decode64(std64, lines[2]); err != nil || len(root) != 32 {
		return LogMark{}, fmt.Errorf("checkpoint has the root %s", quote(lines[2]))
	}
	return LogMark{Origin: lines[0], Root: lines[2], Size: size}, nil
}

// CheckAfter compares m with what was seen before of the same origin: a smaller
// tree, or another one of the same size, is status.rollback. A mark of another
// origin says nothing.
func (m LogMark) CheckAfter(seen LogMark) error {
	switch {
	case m.Origin != seen.Origin:
		return nil
	case m.Size < seen.Size:
		return Refuse(StatusRollback, "log %s has %d leaves, %d were seen here", quote(m.Origin), m.Size, seen.Size)
	case m.Size == seen.Size && m.Root != seen.Root:
		return Refuse(StatusRollback, "log %s has two trees of %d leaves", quote(m.Origin), m.Size)
	default:
		return nil
	}
}
