// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// An epoch is all that a request is answered by: one head with its deny
// documents, the verifier made of its files, and the statement under which
// answers are signed. It does not change; a request keeps the one that it began
// with, so that an answer never mixes two.
type epoch struct {
	head verdict.CheckedHead
	// set is the encoded head set, as it travels.
	set []byte
	// docs are the deny documents in force, deny their name in tickets.
	docs []verdict.CheckedDeny
	deny string
	// denyFile is the digest of the deny list that the head names, applied
	// together with docs.
	denyFile  verdict.Digest
	verifier  *verifier.Verifier
	statement *statement
	// replaced is closed when another epoch has taken its place.
	replaced chan struct{}
}

// question returns what the verdict about image in cluster is kept under.
func (e *epoch) question(cluster string, image verifier.Image) question {
	return question{
		image: image, cluster: cluster, policy: e.head.Policy, roots: e.verifier.Roots().Digest(),
		denyFile: e.denyFile, deny: e.deny,
	}
}

// expired says why nothing can be signed for any later time.
func (e *epoch) expired(at time.Time) error {
	if err := e.head.CheckAt(at); err != nil {
		return err
	}
	return verdict.Fail(verdict.Unready, "signing: issuer statement %s or what the verdict rests on ends now", e.statement.digest.Short())
}

// check tells whether anything may be signed at a time.
func (e *epoch) check(at time.Time) error {
	if err := checkClock(e.head, at); err != nil {
		return err
	}
	if err := e.head.CheckAt(at); err != nil {
		return err
	}
	if err := e.statement.CheckAt(at); err != nil {
		return verdict.Fail(verdict.Unready, "signing: %w", err)
	}
	return nil
}

// newer returns the head set where the caller has an older head, or none.
func (e *epoch) newer(counter uint64) []byte {
	if counter < e.head.Counter {
		return e.set
	}
	return nil
}

// news returns the head set where a caller with a head of this counter may be
// missing something of it.
func (e *epoch) news(counter uint64) []byte {
	if counter < e.head.Counter || counter == e.head.Counter && (len(e.docs) > 0 || len(e.head.Set.Renewal) > 0) {
		return e.set
	}
	return nil
}

// nextDeny is when the first deny document in force ends; zero where none is.
func (e *epoch) nextDeny() time.Time {
	var next time.Time
	for _, d := range e.docs {
		if end := time.Unix(d.NotAfter, 0); next.IsZero() || end.Before(next) {
			next = end
		}
	}
	return next
}
