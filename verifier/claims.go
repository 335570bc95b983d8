// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/strictjson"
)

// Limits of a statement, as sigstore-go has them.
const (
	maxSubjects       = 1024
	maxSubjectDigests = 32
)

const (
	payloadTypeInToto = "application/vnd.in-toto+json"
	statementV1       = "https://in-toto.io/Statement/v1"
	statementV01      = "https://in-toto.io/Statement/v0.1"
	typeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	criticalType      = "cosign container image signature"
)

// claims are what signed bytes say. They are made of those bytes alone, so
// that nothing unsigned can get in between.
type claims struct {
	// predicate is the type of an in-toto statement, and empty for a plain
	// signature of the image.
	predicate string
	// subjects are digests by algorithm (lower-case hex).
	subjects []map[string]string
	// mediaType is what the signer calls the manifest, or "".
	mediaType string
	// reference is cosign's docker-reference. It binds only where a rule
	// demands that.
	reference string
}

// isSignature says whether this counts as a signature of the image itself. A
// statement of any other type is about the image, which is not the same: the
// signer of a failed scan has not approved anything.
func (c *claims) isSignature() bool { return c.predicate == "" || c.predicate == PredicateSign }

// parseSimpleSigning reads cosign's payload
// (cosign specs/SIGNATURE_SPEC.md, "Simple Signing").
func parseSimpleSigning(payload []byte) (*claims, error) {
	malformed := func(err error) (*claims, error) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading simple-signing payload: %w", err)
	}
	obj, err := parseObject(payload, maxManifestValues)
	if err != nil {
		return malformed(err)
	}
	// The same key may have signed a file that looks like this by chance or by
	// intent; the type is what says that an image was meant.
	critical, err := obj.object("critical")
	if err != nil {
		return malformed(err)
	}
	var kind, digest string
	c := &claims{}
	if err := critical.optional("type", &kind); err != nil {
		return malformed(err)
	}
	if kind != criticalType {
		return nil, verdict.Refuse(verdict.StatementType, "reading simple-signing payload: critical.type is %q, want %q", clipQuote(kind), criticalType)
	}
	identity, err := critical.object("identity")
	if err != nil {
		return malformed(err)
	}
	if err := identity.optional("docker-reference", &c.reference); err != nil {
		return malformed(err)
	}
	image, err := critical.object("image")
	if err != nil {
		return malformed(err)
	}
	if err := image.optional("docker-manifest-digest", &digest); err != nil {
		return malformed(err)
	}
	d, err := parseDigest(digest)
	if err != nil {
		return nil, err
	}
	c.subjects = []map[string]string{{d.Algorithm(): d.Hex()}}
	return c, nil
}

// parseStatement reads an in-toto statement (in-toto/attestation v1 and v0.1).
func parseStatement(payloadType string, payload []byte) (*claims, error) {
	if payloadType != payloadTypeInToto {
		return nil, verdict.Refuse(verdict.StatementType, "reading statement: payload type is %q, want %q", clipQuote(payloadType), payloadTypeInToto)
	}
	malformed := func(format string, args ...any) (*claims, error) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading statement: "+format, args...)
	}
	if err := checkJSON(payload, maxStatementValues); err != nil {
		return malformed("%w", err)
	}
	var rawKind, rawPredicate, rawSubject json.RawMessage
	err := strictjson.Each(payload, func(name []byte, value json.RawMessage) {
		switch string(name) {
		case "_type":
			rawKind = value
		case "predicateType":
			rawPredicate = value
		case "subject":
			rawSubject = value
		}
	})
	if err != nil {
		return malformed("%w", err)
	}
	var kind string
	if err := decodeMember("_type", rawKind, &kind); err != nil {
		return malformed("%w", err)
	}
	if kind != statementV1 && kind != statementV01 {
		return nil, verdict.Refuse(verdict.StatementType, "reading statement: _type is %q, want %q", clipQuote(kind), statementV1)
	}
	c := &claims{}
	if err := decodeMember("predicateType", rawPredicate, &c.predicate); err != nil || c.predicate == "" {
		return malformed("it has no predicateType")
	}
	var list []json.RawMessage
	if err := decodeMember("subject", rawSubject, &list); err != nil {
		return malformed("%w", err)
	}
	if len(list) > maxSubjects {
		return malformed("%d subjects, want at most %d", len(list), maxSubjects)
	}
	for _, raw := range list {
		var rawDigest json.RawMessage
		err := strictjson.Each(raw, func(name []byte, value json.RawMessage) {
			if string(name) == "digest" {
				rawDigest = value
			}
		})
		if err != nil {
			return malformed("subject: %w", err)
		}
		var digests map[string]string
		if err := decodeMember("digest", rawDigest, &digests); err != nil {
			return malformed("subject: %w", err)
		}
		if len(digests) > maxSubjectDigests {
			return malformed("subject with %d digests, want at most %d", len(digests), maxSubjectDigests)
		}
		for alg, hex := range digests {
			digests[alg] = strings.ToLower(hex) // hex is the same number in both cases
		}
		c.subjects = append(c.subjects, digests)
	}
	return c, nil
}

// object returns a member that is an object, and an empty one when absent.
func (o object) object(name string) (object, error) {
	raw, ok := o[name]
	if !ok {
		return object{}, nil
	}
	return part(raw)
}

// about says whether one subject is the image, whose known digests are given
// by algorithm. Where a subject has several algorithms that we know, all of
// them have to be right.
func (c *claims) about(image map[string]string) error {
	comparable := false
	for _, s := range c.subjects {
		equal, differs := false, false
		for alg, hex := range s {
			ours, ok := image[alg]
			if !ok {
				continue
			}
			comparable = true
			equal = equal || ours == hex
			differs = differs || ours != hex
		}
		if equal && !differs {
			return nil
		}
	}
	if len(c.subjects) > 0 && !comparable {
		return verdict.Refuse(verdict.SubjectAlgorithm, "comparing subjects: none has a digest in %s", strings.Join(algorithmNames(image), " or "))
	}
	return verdict.Refuse(verdict.SubjectMismatch, "comparing subjects: the signature is about %s, not about this image", c.firstSubject())
}

func algorithmNames(m map[string]string) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// firstSubject is for people.
func (c *claims) firstSubject() string {
	for _, s := range c.subjects {
		for _, alg := range algorithmNames(s) {
			return clipQuote(alg) + ":" + clipQuote(s[alg])
		}
	}
	return "nothing"
}
