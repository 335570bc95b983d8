// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// encoded is how a collection writes bytes.
func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// run runs an agent that is expected to end at once.
func run(t testing.TB, c trust.Config) error {
	t.Helper()
	return agent.Run(t.Context(), c, slog.New(slog.DiscardHandler))
}

// record reads what the agent keeps about an image.
func (w *world) record(d verdict.Digest) (gate.ImageRecord, bool) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.config.StateDir, gate.ImagesDir, gate.ImageKey(repository, d)+".json"))
	if err != nil {
		return gate.ImageRecord{}, false
	}
	r, err := gate.ParseImageRecord(data)
	check(w.t, err)
	return r, true
}
