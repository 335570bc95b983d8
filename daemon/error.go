// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/assayd/assay/verdict"
)

func asMisuse(err error) (*verdict.Misuse, bool) { return errors.AsType[*verdict.Misuse](err) }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
