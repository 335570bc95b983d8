// SPDX-License-Identifier: Apache-2.0

//go:build !race

package verdict_test

// raceEnabled: counts of allocations mean something.
const raceEnabled = false
