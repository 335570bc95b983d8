// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"
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
	if err := errors.Join(CheckSPIFFEID(s.Iss), checkSHA256("stmt", s.Stmt), checkSHA256("head.digest", s.Head.Digest), checkHex("nonce", s.Nonce, StatusNonceSize)); err != nil {
		return err
	}
	if s.Head.Counter == 0 || s.Iat <= 0 {
		return errors.New("head.counter or iat is missing")
	}
	if len(s.Deny) > maxDenies {
		return fmt.Errorf("%d deny marks, want at most %d", len(s.Deny), maxDenies)
	}
	for _, d := range s.Deny {
		if err := checkText("deny.owner", d.Owner, 64); err != nil {
			return err
		}
	}
	return nil
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
