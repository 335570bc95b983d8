// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"io"
	"time"

	"github.com/assayd/assay/verdict"
)

// A Request asks about one image.
type Request struct {
	Image Image
	// Platforms, "os/architecture" or "os/architecture/variant", restricts of
	// which platforms of an index the manifest and configuration are read; an
	// index with none of them is refused with subject.platform. Of Windows, a
	// host's version and features may be given:
	// "windows(10.0.20348+win32k)/amd64". Empty means all, up to MaxChildren.
	Platforms []string
	// At is the time of the decision. It is what keys without proof of time
	// are judged at, and it may not be zero.
	At time.Time
}

// A Result is what was decided about an image that exists. It is shared by all
// callers that asked the same, and not to be changed.
type Result struct {
	Image     Image
	MediaType string
	// Index is the digest asked for when it is an index, else empty.
	Index verdict.Digest
	// Platforms are the image, or all images of the index. Those that were not
	// read say so.
	Platforms []Platform
	// Attestations are the manifests in the index that BuildKit wrote beside the
	// images. They are no images, and unsigned: whoever uses them trusts a
	// signature of the index.
	Attestations []verdict.Digest
	// Decided is false where no core may be made: every matching rule is off,
	// or something could not be decided and only rules in audit ask. Such a
	// result has unchecked and audit-fail only, and is not to be kept for more
	// than 60 s.
	Decided bool
	// Passed: every demand of every matching rule that is not off was met.
	Passed bool
	// Namespaces has the outcome by namespace pattern, "*" first, then from
	// general to specific. The most specific one that matches counts.
	Namespaces []NamespaceResult
	// Reasons are those of all demands that were not met, closest first. They
	// are empty when Passed.
	Reasons []verdict.Reason
	// Rules are the names of the rules that match the repository.
	Rules []string
	// Identities are the signers that met demands.
	Identities []Identity
	// Inputs are the signatures and attestations that met demands.
	Inputs []Input
	// Exceptions are those that let the image through a rule that refuses it.
	Exceptions []UsedException
	// BaseImages are the images that it is built on, where a rule asks.
	BaseImages []BaseImageResult
	// BuildLevel is the SLSA build level, 1 to 3, that demanded provenance
	// proves; 0 where none was.
	BuildLevel int
	// NotAfter is until when the decision holds by what it rests on. Zero
	// means that nothing bounds it.
	NotAfter time.Time
	// At is when it was decided. A result from the cache has the time of the
	// decision.
	At time.Time
	// Explanation is the tree for people.
	Explanation *Explanation
}

// A NamespaceResult is the outcome for the namespaces of one pattern.
type NamespaceResult struct {
	Pattern string
	Outcome verdict.Outcome
	// Reasons say why it is not pass.
	Reasons []verdict.Reason
	// Rules are the names of the rules that count for it.
	Rules []string
}

// A UsedException is an exception of the policy that was used.
type UsedException struct {
	ID, Rule, Owner, Reason string
	Until                   time.Time
}

// A BaseImageResult is what was decided about a base image.
type BaseImageResult struct {
	Image Image
	// From is where it is named: provenance or annotation.
	From string
	// Outcome is that of the rules of tier base.
	Outcome verdict.Outcome
	Reasons []verdict.Reason
}

// An Identity is a signer that met a demand.
type Identity struct {
	// Authority is the policy's name.
	Authority string
	// Issuer and SAN are those of the certificate, and empty for a bare key.
	Issuer, SAN string
	// Key and Certificate are SHA-256 digests of SubjectPublicKeyInfo and of
	// the certificate, which is empty for a bare key.
	Key, Certificate verdict.Digest
	// LogEntries are the entries of transparency logs: log ID in hex, a slash,
	// the decimal index.
	LogEntries []string
	// SignedAt is the earliest proven time of signing, or zero.
	SignedAt time.Time
	// Predicate is the type of the statement, or empty for a signature.
	Predicate string
}

// An Input is a document that the decision rests on.
type Input struct {
	Digest    verdict.Digest
	URI       string
	MediaType string
}

// The states of a node of an [Explanation].
const (
	// StateMet: the demand is met.
	StateMet = "met"
	// StateUnmet: it is not, and Reason says why.
	StateUnmet = "unmet"
	// StateNote: for information.
	StateNote = "note"
)

// An Explanation is one node of the tree of rules, demands, authorities and
// candidates behind a [Result].
type Explanation struct {
	// Text says what the node is about.
	Text string `json:"text"`
	// State is one of StateMet, StateUnmet and StateNote.
	State string `json:"state"`
	// Reason is why it is unmet, where there is one reason.
	Reason *verdict.Reason `json:"reason,omitempty"`
	// Want is what would have met it.
	Want string `json:"want,omitempty"`
	// Children are the parts.
	Children []*Explanation `json:"children,omitempty"`
}

// WriteText writes the tree for a terminal, one node a line.
func (e *Explanation) WriteText(w io.Writer) error { return e.write(w, "") }

func (e *Explanation) write(w io.Writer, indent string) error {
	line := indent + map[string]string{StateMet: "✓ ", StateUnmet: "✗ ", StateNote: "· "}[e.State] + e.Text
	if e.Reason != nil {
		line += ": " + e.Reason.Text + " [" + string(e.Reason.Code) + "]"
	}
	if e.Want != "" {
		line += "; wanted: " + e.Want
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return fmt.Errorf("writing explanation: %w", err)
	}
	for _, c := range e.Children {
		if err := c.write(w, indent+"  "); err != nil {
			return err
		}
	}
	return nil
}

func (e *Explanation) add(children ...*Explanation) { e.Children = append(e.Children, children...) }

func note(text string) *Explanation { return &Explanation{Text: text, State: StateNote} }
