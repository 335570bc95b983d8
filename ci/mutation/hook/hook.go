// SPDX-License-Identifier: Apache-2.0

// Package hook is asked by every check in the tests' binaries that the mutation
// program builds: one of them, named by the environment, is taken away.
package hook

import (
	"fmt"
	"os"
	"strconv"
	"sync"
)

// Names in the environment of a test binary.
const (
	// Away has the number of the check that is taken away.
	Away = "ASSAY_MUTATION_AWAY"
	// Hits names the file that the numbers of checks whose condition held are
	// appended to, one per line.
	Hits = "ASSAY_MUTATION_HITS"
)

var (
	away = number()

	mu   sync.Mutex
	seen = map[int]bool{} // with interfaces for keys, tests that count allocations would count these
)

func number() int {
	text := os.Getenv(Away)
	if text == "" {
		return -1
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", Away, err))
	}
	return n
}

// Holds is what the condition of check n is in this process.
func Holds(n int, holds bool) bool {
	if !holds || n == away {
		return false
	}
	if path := os.Getenv(Hits); path != "" {
		mu.Lock()
		defer mu.Unlock()
		if !seen[n] {
			seen[n] = true
			note(path, n)
		}
	}
	return true
}

// note panics if it cannot write: a hit that is lost would hide a test.
func note(path string, n int) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, n)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		panic(err)
	}
}
