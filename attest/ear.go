// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"time"
)

// EARProfile is the profile of the attestation results that assay writes
// (draft-ietf-rats-ear-03 §3).
const EARProfile = "tag:ietf.org,2026:rats/ear#03"

// An EAR is an attestation result in JSON (EAT Attestation Result, draft-ietf-rats-ear-03
// §3): a claims set without a signature, for those who ran the appraisal themselves.
// assay reads none of anybody's.
type EAR struct {
	Profile string `json:"eat_profile"`
	// IssuedAt is the time of the appraisal in Unix seconds.
	IssuedAt int64       `json:"iat"`
	Verifier EARVerifier `json:"ear_verifier_id"`
	// Submods has one appraisal, by the kind of its evidence.
	Submods map[Kind]EARAppraisal `json:"submods"`
}

// An EARVerifier names what appraised.
type EARVerifier struct {
	Developer string `json:"developer"`
	Build     string `json:"build"`
}

// An EARAppraisal is what was found of one kind of evidence.
type EARAppraisal struct {
	// Status is the tier of the worst claim by its name.
	Status string `json:"ear_status"`
	// Vector has the claims that were made, by their names in AR4SI.
	Vector map[string]Claim `json:"ear_trustworthiness_vector"`
	// Reasons are those of [Claims.Reasons], a member of assay's own.
	Reasons map[string]string `json:"assay_reasons"`
}

// NewEAR makes the result of an appraisal at a time, by a build of assay, which accepted
// the evidence with these claims on these grounds.
func NewEAR(at time.Time, build string, c Claims, g Grounds) EAR {
	appraisal := EARAppraisal{Status: c.Status().String(), Vector: map[string]Claim{}, Reasons: c.Reasons(g)}
	for name, claim := range c.All() {
		if claim != NoClaim {
			appraisal.Vector[name] = claim
		}
	}
	return EAR{
		Profile: EARProfile, IssuedAt: at.Unix(), Verifier: EARVerifier{Developer: "https://github.com/assayd/assay", Build: build},
		Submods: map[Kind]EARAppraisal{g.Kind: appraisal},
	}
}
