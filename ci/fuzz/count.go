// SPDX-License-Identifier: Apache-2.0

// Package fuzz is what fuzz targets share: a count of how far their inputs get, and
// inputs that are edits of a good one, so that a parser sees more than its own first
// check. It is harness: it imports nothing of ours, and no product code imports it.
//
// [New] is the entry point, and [NewCount] for targets of several arguments. What "past the head" means is
// said by each target and listed in docs/fuzzing.md.
package fuzz

import (
	"fmt"
	"os"
	"testing"
)

// Folder is the environment variable that names the folder of the counts. Nothing is
// written without it. ci/fuzz-long.sh sets it.
const Folder = "ASSAY_FUZZ_COUNTS"

// every is after how many executions a worker writes: often enough that little is
// lost with a worker that dies, seldom enough not to be felt.
const every = 1 << 14

// Count counts the executions of one target in one process. Go runs each worker as
// a process of its own, one execution after the other, so each has its own file and
// there is nothing to lock. It must not be used concurrently.
type Count struct {
	executions, past uint64
	dir, name        string
	file             *os.File // from the first write on
}

// NewCount returns the count of the target f in this process. What is not yet written
// is written when the target ends.
func NewCount(f *testing.F) *Count {
	f.Helper()
	c := &Count{dir: os.Getenv(Folder), name: f.Name()}
	if c.dir != "" {
		f.Cleanup(func() {
			c.write()
			if err := c.file.Close(); err != nil {
				f.Errorf("writing the count of a fuzz target: %v", err)
			}
		})
	}
	return c
}

// Add counts an execution, and whether its input got past the first checks of length
// and magic.
func (c *Count) Add(past bool) {
	c.executions++
	if past {
		c.past++
	}
	if c.dir != "" && c.executions%every == 0 {
		c.write()
	}
}

// write overwrites the one line of the file: executions and those past the head. A
// count that cannot be written ends the worker, since the record would be wrong.
func (c *Count) write() {
	var err error
	if c.file == nil {
		c.file, err = os.CreateTemp(c.dir, c.name+".*")
	}
	if err == nil {
		_, err = c.file.WriteAt(fmt.Appendf(nil, "%20d %20d\n", c.executions, c.past), 0)
	}
	if err != nil {
		panic(fmt.Sprintf("fuzz: writing the count of a target: %v", err))
	}
}
