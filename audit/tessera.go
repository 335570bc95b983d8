// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"k8s.io/klog/v2"

	"github.com/assayd/assay/audit/proof"
)

// maxTreeState bounds tessera's state file, in bytes.
const maxTreeState = 4 << 10

// noNetwork is the HTTP client of a log without witnesses: tessera's default
// would be one without time limits.
var noNetwork = &http.Client{Transport: refuseTransport{}}

type refuseTransport struct{}

func (refuseTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the log makes no requests")
}

// newAppender opens tessera on dir.
func newAppender(ctx context.Context, dir string, g *guard, c Config) (*tessera.Appender, func(context.Context) error, error) {
	driver, err := posix.New(ctx, posix.Config{Path: dir, HTTPClient: noNetwork})
	if err != nil {
		return nil, nil, err
	}
	first, others := g.publisher()
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(first, others...).
		WithBatching(maxBatch, batchAge).
		WithCheckpointInterval(c.CheckpointInterval).
		WithCheckpointRepublishInterval(c.RefreshInterval).
		WithGarbageCollectionInterval(collectInterval)
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, options)
	return appender, shutdown, err
}

// readTreeState reads what tessera believes the tree to be.
func readTreeState(dir string) (size uint64, root proof.Hash, err error) {
	data, err := readFile(filepath.Join(dir, ".state", "treeState"), maxTreeState)
	if err != nil {
		return 0, root, err
	}
	var state struct {
		Size uint64 `json:"size"`
		Root []byte `json:"root"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return 0, root, err
	}
	if len(state.Root) != len(root) {
		return 0, root, errors.New("the root in treeState is not 32 bytes")
	}
	return state.Size, proof.Hash(state.Root), nil
}

// Tessera logs through klog, whose logger is one for the process. It is set
// once, to a handler that passes records on to the shard opened last.
var (
	quietOnce sync.Once
	quietTo   atomic.Pointer[slog.Logger]
)

// quiet routes tessera's output into logger.
func quiet(logger *slog.Logger) {
	quietTo.Store(logger)
	quietOnce.Do(func() { klog.SetSlogLogger(slog.New(klogHandler{})) })
}

// A klogHandler turns free text into a constant message with the text as err.
// Errors stay visible; the rest (tessera's warnings come as information) is for
// debugging, as the guard and the writer report what matters themselves.
type klogHandler struct{}

func (klogHandler) Enabled(context.Context, slog.Level) bool { return true }

func (klogHandler) Handle(ctx context.Context, r slog.Record) error {
	level := slog.LevelDebug
	if r.Level >= slog.LevelError {
		level = slog.LevelWarn
	}
	quietTo.Load().Log(ctx, level, "tessera reports", "err", r.Message)
	return nil
}

func (h klogHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h klogHandler) WithGroup(string) slog.Handler      { return h }
