// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/x509"
	"slices"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/notation"
)

// typeNotation is the artifact type of a signature of the Notary Project
// (signature-specification.md, "Signature manifest"); older manifests have it as
// the media type of their config.
const typeNotation = "application/vnd.cncf.notary.signature"

func newNotationCandidate(name, mediaType string, data []byte) *candidate {
	d := verdict.SHA256(data)
	// The media type chooses the reader, so that it is part of what is verified.
	return &candidate{name: name, family: familyNotation, digest: verdict.SHA256([]byte(mediaType + "\x00" + string(d))), data: data, mediaType: mediaType,
		inputs: []Input{{Digest: d, URI: name, MediaType: mediaType}}}
}

// parseNotation reads an envelope.
func parseNotation(mediaType string, data []byte) (*entity, error) {
	env, err := notation.Parse(mediaType, data)
	if err != nil {
		return nil, err
	}
	d := env.Target.Digest
	return &entity{leaf: env.Chain[0], message: data, notation: env,
		claims: &claims{mediaType: env.Target.MediaType, subjects: []map[string]string{{d.Algorithm(): d.Hex()}}}}, nil
}

// verifyNotation verifies an envelope under trust stores.
func (m *material) verifyNotation(e *entity) (*fact, *stageError) {
	if err := m.algorithms.accept(e.leaf.PublicKey); err != nil {
		return nil, &stageError{stageSigner, err}
	}
	s, err := e.notation.Verify(*m.notation)
	if err != nil {
		return nil, &stageError{notationStage(verdict.CodeOf(err)), err}
	}
	if err := m.acceptChains([][]*x509.Certificate{s.Chain}); err != nil {
		return nil, &stageError{stageChain, err}
	}
	f := &fact{claims: e.claims, times: s.Times, chain: s.Chain, expires: e.notation.Expiry,
		signer: &signer{issuer: s.Chain[len(s.Chain)-1].Subject.String(), san: s.Chain[0].Subject.String(),
			certificate: verdict.SHA256(s.Chain[0].Raw), key: verdict.SHA256(s.Chain[0].RawSubjectPublicKeyInfo)}}
	if s.TSAChain != nil {
		f.stampers = [][]*x509.Certificate{s.TSAChain}
	}
	if len(f.times) == 0 {
		f.window = window{s.From, s.To}
	}
	return f, nil
}

// notationStage is how far a signature came that was refused with a code.
func notationStage(c verdict.Code) stage {
	if c == verdict.SigInvalid || c == verdict.SigAlgorithm {
		return stageSignature
	}
	if c == verdict.TimeUntrusted || c == verdict.TimeUnproven {
		return stageTime
	}
	return stageChain
}

// matchesNotation compares a signer with what a notation authority demands.
func (a *authority) matchesNotation(f *fact) error {
	if a.Notation.AnySubject || slices.ContainsFunc(a.subjects, func(s notation.Subject) bool { return s.Matches(f.chain[0]) }) {
		return nil
	}
	return verdict.Refuse(verdict.IdentitySAN, "comparing identity: subject is %q, want one with %q", clipQuote(f.signer.san), a.Notation.Subjects)
}
