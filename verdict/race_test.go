// SPDX-License-Identifier: Apache-2.0

//go:build race

package verdict_test

// raceEnabled: the race detector allocates, so that counts mean nothing.
const raceEnabled = true
