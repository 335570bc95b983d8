// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"log/slog"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/audit/proof"
)

// TestingGuard is the guard of a log without a disk.
type TestingGuard struct{ g *guard }

// NewTestingGuard makes a guard that has committed leaves.
func NewTestingGuard(logger *slog.Logger, origin string, leaves ...tlog.Hash) (*TestingGuard, []string, error) {
	signers, keys, err := newSigners(origin, proof.Ed25519Validated())
	if err != nil {
		return nil, nil, err
	}
	t := &TestingGuard{&guard{origin: origin, signers: signers, logger: logger}}
	return t, keys, t.g.commit(leaves, false)
}

// Publish asks for signatures as tessera does.
func (t *TestingGuard) Publish(c proof.Checkpoint) ([]byte, error) { return t.PublishText(c.Text()) }

// PublishText is Publish with any text.
func (t *TestingGuard) PublishText(text string) ([]byte, error) {
	first, others := t.g.publisher()
	return note.Sign(&note.Note{Text: text}, append([]note.Signer{first}, others...)...)
}

// Begin, Commit, Settle, Latest and Refused are the guard's.
func (t *TestingGuard) Begin(leaves ...tlog.Hash) error { return t.g.begin(leaves) }

func (t *TestingGuard) Commit(unsure bool, leaves ...tlog.Hash) error {
	return t.g.commit(leaves, unsure)
}

func (t *TestingGuard) Settle(c proof.Checkpoint, maybe ...tlog.Hash) error {
	return t.g.settle(c.Size, c.Root, maybe)
}

func (t *TestingGuard) Latest() (proof.Checkpoint, []byte, error) { return t.g.latest() }

func (t *TestingGuard) Refused() error { _, err := t.g.health(); return err }

// Names of files, for tests.
var (
	TestingOrphan     = orphan
	TestingTileNumber = tileNumber
)

// TestingStall holds up appends, as a disk does that does not answer, until the
// returned function is called.
func (s *Shard) TestingStall() (release func()) {
	s.testingOnlyStall = make(chan struct{})
	return func() { close(s.testingOnlyStall) }
}

// TestingPlace is place, for leaves that got these indexes; a negative one failed.
func TestingPlace(first uint64, got []int64, hashes []tlog.Hash) (indexes []uint64, in, maybe []tlog.Hash, wrong string) {
	all := make([]landed, len(got))
	for i, n := range got {
		if n < 0 {
			all[i].err = errStale
			continue
		}
		all[i].index = uint64(n)
	}
	p := place(first, all, hashes)
	return p.indexes, p.in, p.maybe, p.wrong
}
