// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"maps"
	"slices"
)

func lowers(kind Kind) map[string]Claims {
	return map[Kind]map[string]Claims{SNP: snpLowers, TDX: tdxLowers}[kind]
}

// RelaxationNames are those of a kind.
func RelaxationNames(kind Kind) []string { return slices.Sorted(maps.Keys(lowers(kind))) }

// Lowered is what relaxations of a kind leave of c.
func Lowered(kind Kind, c Claims, relaxed ...string) Claims {
	c.lower(lowers(kind), relaxed)
	return c
}
