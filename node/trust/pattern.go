// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"strings"

	"github.com/assayd/assay/verdict"
)

// checkPattern refuses what is not a SPIFFE ID in which one or both of the last
// two path segments may be "*".
func checkPattern(pattern string) error {
	segments := strings.Split(pattern, "/")
	for i := range segments {
		if segments[i] == "*" && i >= len(segments)-2 && i > 3 {
			segments[i] = "x"
		}
	}
	if err := verdict.CheckSPIFFEID(strings.Join(segments, "/")); err != nil {
		return verdict.Misused("like spiffe://example.org/assay/d/prod/*", "issuer pattern %.255q: %w", pattern, err)
	}
	return nil
}

// matchPattern tells whether a SPIFFE ID falls under a pattern: as many segments,
// each equal or "*".
func matchPattern(pattern, id string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(id, "/")
	if len(want) != len(got) || verdict.CheckSPIFFEID(id) != nil {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != got[i] {
			return false
		}
	}
	return true
}

// CheckIssuer refuses a SPIFFE ID that none of the patterns names, with
// issuer.identity.
func CheckIssuer(patterns []string, id string) error {
	for _, p := range patterns {
		if checkPattern(p) == nil && matchPattern(p, id) {
			return nil
		}
	}
	return verdict.Refuse(verdict.IssuerIdentity, "issuer is %.255q, want one of %.512q", id, patterns)
}
