// SPDX-License-Identifier: Apache-2.0

// Package progress tells a person at a terminal that something takes long.
//
// [Start] is the entry point. Nothing is written in the first second, so that
// quick commands stay silent, and nothing remains on the screen afterwards.
package progress

import (
	"fmt"
	"io"
	"time"
)

// Delay is how long nothing is written.
const Delay = time.Second

// Start writes what, and for how long it has gone on, to w once a second,
// until stop is called; stop waits for the last write. A nil w writes nothing.
func Start(w io.Writer, what string) (stop func()) {
	if w == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(Delay)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-done:
				if n > 0 {
					// Erase the line (ECMA-48 EL).
					fmt.Fprint(w, "\r\x1b[K") //nolint:errcheck // a terminal that is gone needs no progress
				}
				return
			case <-tick.C:
				fmt.Fprintf(w, "\r\x1b[Kassay: %s, %d s", what, n+1) //nolint:errcheck // as above
			}
		}
	}()
	return func() { close(done); <-ended }
}
