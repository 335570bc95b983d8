// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"slices"
	"time"
)

// ExceptionType is the DSSE payload type of an exception.
const ExceptionType = "application/vnd.assay.exception.v1+json"

// An Exception lets images through on the word of k owners, with every daemon
// down. Owners' deny lists beat it.
type Exception struct {
	// Cluster is the one that it is for.
	Cluster string `json:"cluster"`
	// Digests are the images, by exactly the digest that the gate is asked for.
	Digests []Digest `json:"digests"`
	// ID is chosen by the owners, and names it in logs.
	ID string `json:"id"`
	// NotBefore and NotAfter are Unix seconds, at most MaxExceptionLife apart.
	NotAfter  int64 `json:"not_after"`
	NotBefore int64 `json:"not_before"`
	// Owner is who answers for it, for people.
	Owner  string `json:"owner"`
	Reason string `json:"reason"`
	V      int    `json:"v"`
}

func (e Exception) check() error {
	if err := first(checkVersion(e.V), checkText("cluster", e.Cluster, 128), checkText("id", e.ID, 128), checkText("owner", e.Owner, 256),
		checkText("reason", e.Reason, 1024), checkWindow(e.NotBefore, e.NotAfter, MaxExceptionLife)); err != nil {
		return err
	}
	if len(e.Digests) == 0 || len(e.Digests) > 256 {
		return fmt.Errorf("%d digests, want 1 to 256", len(e.Digests))
	}
	for _, d := range e.Digests {
		if _, err := ParseDigest(string(d)); err != nil {
			return err
		}
	}
	return nil
}

// SignException signs e. Further owners add to it with [AddExceptionSignature].
func SignException(e Exception, keys ...*Key) ([]byte, error) {
	e.V = 1
	if err := e.check(); err != nil {
		return nil, Misused("", "signing exception: %w", err)
	}
	payload, err := encode(e)
	if err != nil {
		return nil, err
	}
	return seal(ExceptionType, payload, keys)
}

// AddExceptionSignature adds the signature of one more owner.
func AddExceptionSignature(data []byte, key *Key) ([]byte, error) {
	if _, err := ParseExceptionInsecure(data); err != nil {
		return nil, err
	}
	out, err := addSignature(data, ExceptionType, MaxException, key)
	if err != nil {
		return nil, Refuse(ExceptionMalformed, "signing exception: %w", err)
	}
	return out, nil
}

// A CheckedException is an exception that the owners signed.
type CheckedException struct {
	Exception
	// Digest is the SHA-256 of the payload.
	Digest Digest
}

// OpenException checks an exception of owners. The error is a *[Refusal] with
// exception.malformed or exception.signature.
func OpenException(data []byte, owners Owners) (CheckedException, error) {
	env, payload, e, err := parseException(data)
	if err != nil {
		return CheckedException{}, err
	}
	if err := owners.verify(env, payload); err != nil {
		return CheckedException{}, Refuse(ExceptionSignature, "opening exception %s: %w", quote(e.ID), err)
	}
	return CheckedException{Exception: e, Digest: SHA256(payload)}, nil
}

// ParseExceptionInsecure decodes an exception without looking at its
// signatures, for showing it. The error is a *[Refusal] with
// exception.malformed.
func ParseExceptionInsecure(data []byte) (Exception, error) {
	_, _, e, err := parseException(data)
	return e, err
}

func parseException(data []byte) (envelope, []byte, Exception, error) {
	env, payload, err := parseEnvelope(data, ExceptionType, MaxException)
	if err != nil {
		return envelope{}, nil, Exception{}, Refuse(ExceptionMalformed, "parsing exception: %w", err)
	}
	e, err := decode[Exception](payload, MaxException)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return envelope{}, nil, Exception{}, Refuse(ExceptionMalformed, "parsing exception: %w", err)
	}
	return env, payload, e, nil
}

// Check refuses an exception that is not for d in cluster at a time, with
// exception.scope or exception.expired.
func (e CheckedException) Check(d Digest, cluster string, at time.Time) error {
	if cluster == "" || e.Cluster != cluster {
		return Refuse(ExceptionScope, "exception %s is for cluster %s, this is %s", quote(e.ID), quote(e.Cluster), quote(cluster))
	}
	if !slices.Contains(e.Digests, d) {
		return Refuse(ExceptionScope, "exception %s is not for %s", quote(e.ID), d.Short())
	}
	if now := at.Unix(); now < e.NotBefore || now >= e.NotAfter {
		return Refuse(ExceptionExpired, "exception %s is valid from %s to %s", quote(e.ID), unixUTC(e.NotBefore), unixUTC(e.NotAfter))
	}
	return nil
}
