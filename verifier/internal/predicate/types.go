// SPDX-License-Identifier: Apache-2.0

package predicate

import (
	"maps"
	"slices"

	"github.com/assayd/assay/verdict"
)

// Classes of predicate types that a policy can name.
const (
	ClassProvenance = "slsaprovenance"
	ClassVSA        = "vsa"
	ClassSPDX       = "spdx"
	ClassCycloneDX  = "cyclonedx"
	ClassVuln       = "vuln"
	ClassOpenVEX    = "openvex"
)

// Types of SLSA provenance.
const (
	Provenance1  = "https://slsa.dev/provenance/v1"
	Provenance02 = "https://slsa.dev/provenance/v0.2"
	// Provenance01 is Google Cloud Build's of 2022 and 2023. It is in no class: a
	// policy names it whole.
	Provenance01 = "https://slsa.dev/provenance/v0.1"
)

// classes are whole types: with a prefix, ".../v1evil" would be one of them.
var classes = map[string][]string{
	ClassProvenance: {Provenance1, Provenance02},
	ClassVSA:        {verdict.VSAType},
	ClassSPDX:       {"https://spdx.dev/Document", "https://spdx.dev/Document/v2.2", "https://spdx.dev/Document/v2.3", "https://spdx.dev/Document/v3", "https://spdx.dev/Document/v3.0"},
	ClassCycloneDX: {"https://cyclonedx.org/bom", "https://cyclonedx.org/bom/v1.2", "https://cyclonedx.org/bom/v1.3", "https://cyclonedx.org/bom/v1.4",
		"https://cyclonedx.org/bom/v1.5", "https://cyclonedx.org/bom/v1.6", "https://cyclonedx.org/bom/v1.7"},
	ClassVuln:    {"https://cosign.sigstore.dev/attestation/vuln/v1", "https://in-toto.io/attestation/vulns/v0.1", "https://in-toto.io/attestation/vulns/v0.2"},
	ClassOpenVEX: {"https://openvex.dev/ns", "https://openvex.dev/ns/v0.2.0"},
}

// Types returns the predicate types of a class, or nothing.
func Types(class string) []string { return slices.Clone(classes[class]) }

// Classes returns the names of all classes, in order.
func Classes() []string { return slices.Sorted(maps.Keys(classes)) }

// IsProvenance says whether a type is one of SLSA provenance.
func IsProvenance(t string) bool { return t == Provenance1 || t == Provenance02 || t == Provenance01 }
