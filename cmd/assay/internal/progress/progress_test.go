// SPDX-License-Identifier: Apache-2.0

package progress_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assayd/assay/cmd/assay/internal/progress"
)

// terminal is a buffer for two goroutines.
type terminal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *terminal) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *terminal) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var quick, slow terminal
		stop := progress.Start(&quick, "verifying")
		time.Sleep(progress.Delay - time.Millisecond)
		stop()
		if got := quick.String(); got != "" {
			t.Errorf("under a second: got %q, want silence", got)
		}
		stop = progress.Start(&slow, "verifying")
		time.Sleep(3*progress.Delay + time.Millisecond)
		stop()
		got := slow.String()
		if !strings.Contains(got, "assay: verifying, 3 s") || !strings.HasSuffix(got, "\r\x1b[K") {
			t.Errorf("after three seconds: got %q, want the time, and an empty line at the end", got)
		}
		progress.Start(nil, "nothing")()
	})
}
