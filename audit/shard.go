// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

// Names inside a log folder and inside a shard.
const (
	lockName   = "lock"   // held for life by the daemon
	latestName = "latest" // newest checkpoint, signed by the log alone
	sealedName = "sealed" // an old shard that has been cleaned
)

// Defaults of [Config].
const (
	// DefaultMaxPending is how many appends may be under way.
	DefaultMaxPending = 4096
	// DefaultAppendTimeout is how long one append may take.
	DefaultAppendTimeout = 5 * time.Second
	// DefaultCheckpointInterval is how often a grown tree is published.
	DefaultCheckpointInterval = 250 * time.Millisecond
	// DefaultRefreshInterval is how often a tree that has not grown is signed
	// again.
	DefaultRefreshInterval = 10 * time.Second
	// DefaultMaxCheckpointAge is when a shard stops being healthy.
	DefaultMaxCheckpointAge = time.Minute
)

const (
	// maxBatch is how many leaves share one set of writes.
	maxBatch = 1024
	// batchAge is how long tessera waits for more leaves: they are gathered
	// before, so it need not.
	batchAge = time.Millisecond
	// collectInterval is how often partial tiles and bundles are removed, at
	// most 25 856 leaves each time: enough for 5 000 leaves a second.
	collectInterval = 5 * time.Second
	// minCheckpointInterval is that of tessera's POSIX driver.
	minCheckpointInterval = 100 * time.Millisecond
)

// A Config says where and how a shard is kept.
type Config struct {
	// Dir is the log folder, for the shards of all boots; it is made when only
	// its last element is missing. One daemon at a time holds it.
	Dir string
	// Boot is this boot's ID: 32 lower-case hex digits, never used before in
	// Dir.
	Boot string
	// OriginPrefix begins the origin (a schema-less URL,
	// c2sp.org/tlog-checkpoint), usually the trust domain; 32 random hex
	// digits follow after a slash.
	OriginPrefix string
	// Logger gets what needs attention.
	Logger *slog.Logger
	// AllowUnvalidatedEd25519 signs with Ed25519 beside ECDSA in the
	// BoringCrypto flavour too, where it is outside the validated module.
	AllowUnvalidatedEd25519 bool

	// MaxPending bounds the appends under way: one more is refused with code
	// overloaded. 0 is DefaultMaxPending.
	MaxPending int
	// AppendTimeout bounds one append. 0 is DefaultAppendTimeout.
	AppendTimeout time.Duration
	// CheckpointInterval is at least 100 ms. 0 is DefaultCheckpointInterval.
	CheckpointInterval time.Duration
	// RefreshInterval is at least CheckpointInterval. 0 is
	// DefaultRefreshInterval.
	RefreshInterval time.Duration
	// MaxCheckpointAge is more than RefreshInterval. 0 is
	// DefaultMaxCheckpointAge.
	MaxCheckpointAge time.Duration
}

// check fills in defaults and refuses what contradicts itself.
func (c *Config) check() error {
	misused := func(hint, format string, args ...any) error {
		return verdict.Misused(hint, "opening log: "+format, args...)
	}
	if c.Dir == "" || c.Logger == nil {
		return misused("name a folder and give a logger", "no folder or no logger")
	}
	if !isBoot(c.Boot) {
		return misused("use 128 random bits", "boot is %q, want 32 lower-case hex digits", c.Boot)
	}
	if err := proof.CheckOrigin(c.OriginPrefix + "/" + c.Boot); err != nil || c.OriginPrefix == "" {
		return misused("use the trust domain", "origin prefix %q is not usable", c.OriginPrefix)
	}
	if c.MaxPending == 0 {
		c.MaxPending = DefaultMaxPending
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&c.AppendTimeout, DefaultAppendTimeout}, {&c.CheckpointInterval, DefaultCheckpointInterval},
		{&c.RefreshInterval, DefaultRefreshInterval}, {&c.MaxCheckpointAge, DefaultMaxCheckpointAge},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if c.MaxPending < 1 || c.AppendTimeout < 0 || c.CheckpointInterval < minCheckpointInterval ||
		c.RefreshInterval < c.CheckpointInterval || c.MaxCheckpointAge <= c.RefreshInterval {
		return misused("leave them out for the defaults", "limits contradict each other: pending %d, timeout %s, checkpoint %s, refresh %s, age %s",
			c.MaxPending, c.AppendTimeout, c.CheckpointInterval, c.RefreshInterval, c.MaxCheckpointAge)
	}
	return nil
}

// isBoot tells whether s is 128 bits in lower-case hex.
func isBoot(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 16 && hex.EncodeToString(raw) == s
}

// A Shard is the log of one boot, open for appending. It is safe for
// concurrent use. What happens to a leaf: Append takes one of MaxPending slots
// and stores the objects; the writer, one goroutine, takes all that wait,
// announces them to the guard, adds them to tessera and waits until they are on
// disk; it tells the guard what landed, signs that tree and writes the
// checkpoint; then all of them are answered.
type Shard struct {
	config Config
	dir    string // log/<boot>
	origin string
	keys   []string
	lock   *os.File
	guard  *guard

	// testingOnlyStall holds up appends until it is closed, as a disk does that
	// does not answer.
	testingOnlyStall chan struct{}

	appender *tessera.Appender
	shutdown func(context.Context) error
	cancel   context.CancelFunc // of tessera's goroutines

	slots  chan struct{} // one for each append under way
	queue  chan *entry   // never full: as long as slots
	writer chan struct{} // closed when the writer has ended

	// maybe are leaves of batches that failed: whether they are in the tree is
	// not known. Owned by the writer.
	maybe []tlog.Hash

	mu         sync.Mutex
	closing    bool
	inFlight   sync.WaitGroup // appends that store or wait; Add under mu
	statements map[[32]byte]bool
	opening    bool   // leaf 0 is under way
	latest     tree   // of the newest signed checkpoint
	signed     []byte // that checkpoint
	refreshed  time.Time
	trouble    error // why the last write did not succeed, or nil
}

// An entry is a leaf on its way.
type entry struct {
	data []byte
	hash tlog.Hash
	done chan landed // of capacity 1
}

// landed is what became of an entry.
type landed struct {
	index uint64
	err   error
}

// OpenShard makes the shard of this boot and takes the lock of the log folder.
// It returns a *verdict.Misuse for a configuration that cannot be, for a folder
// that another daemon holds and for a boot that was there before, else a
// *verdict.Failure. ctx bounds opening only.
func OpenShard(ctx context.Context, config Config) (*Shard, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	if err := makeDir(config.Dir); err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "making log folder %s: %w", config.Dir, err)
	}
	lock, err := lockFolder(config.Dir)
	if err != nil {
		return nil, err
	}
	s, err := openLocked(ctx, config, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// openLocked makes the shard in a folder whose lock is held.
func openLocked(ctx context.Context, config Config, lock *os.File) (*Shard, error) {
	sealOld(ctx, config)
	dir := filepath.Join(config.Dir, config.Boot)
	if _, err := os.Lstat(dir); err == nil {
		return nil, verdict.Misused("draw a new boot ID for each start", "opening log: boot %s was here before, in %s", config.Boot, dir)
	}
	for _, d := range []string{dir, filepath.Join(dir, objectsName)} {
		if err := makeDir(d); err != nil {
			return nil, verdict.Fail(verdict.LogUnavailable, "making log folder %s: %w", d, err)
		}
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, verdict.Fail(verdict.Internal, "drawing log origin: %w", err)
	}
	origin := config.OriginPrefix + "/" + hex.EncodeToString(random[:])
	signers, keys, err := newSigners(origin, proof.Ed25519Validated() || config.AllowUnvalidatedEd25519)
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "opening log: %w", err)
	}
	s := &Shard{
		config: config, dir: dir, origin: origin, keys: keys, lock: lock,
		guard:      &guard{origin: origin, signers: signers, logger: config.Logger},
		slots:      make(chan struct{}, config.MaxPending),
		queue:      make(chan *entry, config.MaxPending),
		writer:     make(chan struct{}),
		statements: map[[32]byte]bool{},
	}
	quiet(config.Logger)
	// Tessera's goroutines live until Close, not until ctx ends: a daemon that
	// is told to stop still has to write down what it answers.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	if s.appender, s.shutdown, err = newAppender(running, dir, s.guard, config); err != nil {
		cancel()
		return nil, verdict.Fail(verdict.LogUnavailable, "opening log %s: %w", dir, err)
	}
	if err := s.refresh(); err != nil {
		cancel()
		return nil, err
	}
	go s.write(running)
	return s, nil
}

// sealOld removes what earlier boots left half-written, once for each: the
// lock is held, so nobody writes there.
func sealOld(ctx context.Context, config Config) {
	list, err := os.ReadDir(config.Dir)
	if err != nil {
		config.Logger.WarnContext(ctx, "old log shards were not cleaned", "path", config.Dir, "err", err)
		return
	}
	for _, d := range list {
		if !d.IsDir() || !isBoot(d.Name()) {
			continue
		}
		dir := filepath.Join(config.Dir, d.Name())
		sealed := filepath.Join(dir, sealedName)
		if _, err := os.Lstat(sealed); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := cleanShard(dir)
		if err == nil {
			err = writeFile(sealed, nil)
		}
		if err != nil { // it is tried again at the next start
			config.Logger.WarnContext(ctx, "old log shard was not cleaned", "path", dir, "err", err)
		}
	}
}

// Origin returns the shard's name, the first line of its checkpoints.
func (s *Shard) Origin() string { return s.origin }

// VerifierKeys returns the verifier key strings of the shard, ECDSA P-256
// first: those that the issuer statement names.
func (s *Shard) VerifierKeys() []string { return slices.Clone(s.keys) }

// Log returns what an issuer statement says of the shard.
func (s *Shard) Log() verdict.LogRef {
	return verdict.LogRef{Origin: s.origin, Keys: s.VerifierKeys()}
}

// Size returns the number of leaves that are durable.
func (s *Shard) Size() uint64 { return s.guard.size() }

// Append writes leaf and the objects that it names, and returns its index once
// they are durable. Leaf 0 is that of the issuer statement which names this
// shard; each statement comes with its own and its evidence as objects, each
// verdict and exception with the envelope that its Object names.
//
// A *verdict.Failure with code overloaded says that MaxPending appends are
// under way, with daemon.unready that leaf 0 is not there yet, with
// log.unavailable that it could not be written: then nothing may be answered,
// and the leaf may or may not turn up in the log. A *verdict.Misuse is a leaf
// whose objects do not fit.
func (s *Shard) Append(ctx context.Context, leaf verdict.Leaf, objects ...Object) (index uint64, err error) {
	first, err := s.admit(leaf, objects)
	if err != nil {
		return 0, err
	}
	index, err = s.append(ctx, leaf, objects)
	s.mu.Lock()
	defer s.mu.Unlock()
	if first {
		s.opening = false
	}
	if err == nil && leaf.Kind == verdict.LeafStatement {
		s.statements[leaf.Statement] = true
	}
	return index, err
}

// admit checks that leaf may come now and that its objects are there. first
// tells that it is leaf 0.
func (s *Shard) admit(leaf verdict.Leaf, objects []Object) (first bool, err error) {
	if _, err := verdict.ParseLeaf(leaf.Encode()); err != nil {
		return false, verdict.Misused("", "appending leaf: %s", err)
	}
	if err := s.fits(leaf, objects); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case leaf.Kind == verdict.LeafStatement && len(s.statements) > 0:
		return false, nil
	case leaf.Kind == verdict.LeafStatement && !s.opening:
		s.opening = true
		return true, nil
	case len(s.statements) == 0:
		return false, verdict.Fail(verdict.Unready, "appending leaf: leaf 0, the issuer statement, is not written yet")
	case !s.statements[leaf.Statement]:
		return false, verdict.Misused("append the statement first", "appending leaf: statement %s is not in this shard", verdict.DigestFromBytes(leaf.Statement).Short())
	}
	return false, nil
}

// fits checks that the objects are the ones that leaf names, and that a
// statement is about this shard.
func (s *Shard) fits(leaf verdict.Leaf, objects []Object) error {
	want := []verdict.Digest{verdict.DigestFromBytes(leaf.Object)}
	if leaf.Kind == verdict.LeafStatement {
		want = append(want, verdict.DigestFromBytes(leaf.Statement))
	}
	for _, o := range objects {
		if !slices.Contains(want, o.name) {
			return verdict.Misused("store what the leaf names", "appending leaf: it does not name object %s", o.name.Short())
		}
		if len(o.data) > MaxObject {
			return verdict.Misused("", "appending leaf: object %s has %d bytes, want at most %d", o.name.Short(), len(o.data), MaxObject)
		}
	}
	for _, name := range want {
		if !slices.ContainsFunc(objects, func(o Object) bool { return o.name == name }) {
			return verdict.Misused("store what the leaf names", "appending leaf: object %s is missing", name.Short())
		}
	}
	if leaf.Kind != verdict.LeafStatement {
		return nil
	}
	i := slices.IndexFunc(objects, func(o Object) bool { return o.name == want[1] })
	statement, err := verdict.ParseStatement(objects[i].data)
	if err != nil {
		return verdict.Misused("", "appending leaf: %s", err)
	}
	if statement.Log.Origin != s.origin || !slices.Equal(statement.Log.Keys, s.keys) || statement.Boot != s.config.Boot {
		return verdict.Misused("make the statement from Shard.Log", "appending leaf: the statement is about another shard or boot")
	}
	return nil
}

// append stores the objects and hands the leaf to the writer.
func (s *Shard) append(ctx context.Context, leaf verdict.Leaf, objects []Object) (uint64, error) {
	if _, err := s.guard.health(); err != nil {
		return 0, err
	}
	select {
	case s.slots <- struct{}{}:
	default:
		f := verdict.Fail(verdict.Overloaded, "appending leaf: %d are under way", s.config.MaxPending)
		f.RetryAfter = time.Second
		return 0, f
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.AppendTimeout)
	defer cancel()
	data := leaf.Encode()
	e := &entry{data: data, hash: tlog.RecordHash(data), done: make(chan landed, 1)}

	// Writing to a disk cannot be interrupted: it happens in a goroutine of the
	// shard, whose slot stays taken until it is over, and the caller leaves
	// when its time is up.
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		<-s.slots
		return 0, verdict.Fail(verdict.LogUnavailable, "appending leaf: the log is closing")
	}
	s.inFlight.Go(func() {
		if s.testingOnlyStall != nil {
			<-s.testingOnlyStall
		}
		for _, o := range objects {
			if err := storeObject(s.dir, o); err != nil {
				s.note(err)
				s.answer(e, landed{err: unavailable("storing object", err)})
				return
			}
		}
		s.queue <- e
	})
	s.mu.Unlock()

	select {
	case l := <-e.done:
		return l.index, l.err
	case <-ctx.Done():
		return 0, verdict.Fail(verdict.LogUnavailable, "appending leaf: it was not on disk in time: %w", ctx.Err())
	}
}

// answer frees e's slot and tells what became of it, in this order: a caller
// with an answer may come again at once.
func (s *Shard) answer(e *entry, l landed) {
	<-s.slots
	e.done <- l
}

// unavailable makes err a failure with code log.unavailable, unless it has a
// code.
func unavailable(doing string, err error) error {
	if _, ok := errors.AsType[*verdict.Failure](err); ok {
		return err
	}
	return verdict.Fail(verdict.LogUnavailable, "%s: %w", doing, err)
}

// note records how the last write went.
func (s *Shard) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
}

// Checkpoint returns the newest checkpoint that the log signed: of a tree with
// every leaf that was acknowledged before the call.
func (s *Shard) Checkpoint(ctx context.Context) (proof.Checkpoint, []byte, error) {
	if err := ctx.Err(); err != nil {
		return proof.Checkpoint{}, nil, verdict.Fail(verdict.LogUnavailable, "reading checkpoint: %w", err)
	}
	if _, err := s.guard.health(); err != nil {
		return proof.Checkpoint{}, nil, err
	}
	t, signed := s.tree()
	return t.at, signed, nil
}

// tree returns the newest signed tree and its checkpoint.
func (s *Shard) tree() (tree, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest, slices.Clone(s.signed)
}

// Leaf returns the leaf at index, compared with the signed tree. It is a
// *verdict.Refusal (log.missing) when there is none yet.
func (s *Shard) Leaf(ctx context.Context, index uint64) (verdict.Leaf, error) {
	t, _ := s.tree()
	return parseLeafOf(ctx, t, index)
}

// InclusionProof returns the audit path of the leaf at index in the tree of the
// first size leaves.
func (s *Shard) InclusionProof(ctx context.Context, index, size uint64) ([]proof.Hash, error) {
	t, _ := s.tree()
	return t.inclusion(ctx, index, size)
}

// ConsistencyProof returns the proof that the tree of newer leaves extends the
// one of older.
func (s *Shard) ConsistencyProof(ctx context.Context, older, newer uint64) ([]proof.Hash, error) {
	t, _ := s.tree()
	return t.consistency(ctx, older, newer)
}

// Proof returns the inclusion proof of the leaf at index under the newest
// checkpoint.
func (s *Shard) Proof(ctx context.Context, index uint64) (proof.TLogProof, error) {
	t, signed := s.tree()
	return proofOf(ctx, t, signed, index)
}

// ProofFile returns the leaf at index as a file that needs nothing beside it,
// see [proof.CheckFile].
func (s *Shard) ProofFile(ctx context.Context, index uint64) ([]byte, error) {
	t, signed := s.tree()
	return proofFileOf(ctx, t, signed, index)
}

// Object returns a stored object by the digest that a leaf names it by.
func (s *Shard) Object(ctx context.Context, name verdict.Digest) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "reading object: %w", err)
	}
	return loadObject(s.dir, name)
}

// Healthy returns nil while the shard works: the guard has not refused, the
// last write succeeded, and the newest checkpoint, on disk and published, is
// not older than MaxCheckpointAge by a clock that cannot be set.
func (s *Shard) Healthy() error {
	published, err := s.guard.health()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return verdict.Fail(verdict.LogUnavailable, "the log is closing")
	}
	if s.trouble != nil {
		return unavailable("writing log", s.trouble)
	}
	if age := max(time.Since(s.refreshed), time.Since(published)); age > s.config.MaxCheckpointAge {
		return verdict.Fail(verdict.LogUnavailable, "the newest checkpoint of the log is %s old, want at most %s", age.Round(time.Second), s.config.MaxCheckpointAge)
	}
	return nil
}

// Close answers what is under way, publishes the last checkpoint and gives the
// folder free. Where ctx ends first it returns a *verdict.Failure, and the
// folder stays locked while something may still be writing to it. A second
// Close is a *verdict.Misuse.
func (s *Shard) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return verdict.Misused("", "closing log %s twice", s.dir)
	}
	s.closing = true
	s.mu.Unlock()
	go func() { // ends with the writer, which this lets end
		s.inFlight.Wait()
		close(s.queue)
	}()
	select {
	case <-s.writer:
	case <-ctx.Done():
		s.cancel()
		return verdict.Fail(verdict.LogUnavailable, "closing log %s: appends are under way: %w", s.dir, ctx.Err())
	}
	_, err := s.guard.health()
	if err == nil {
		if err = s.refresh(); err == nil {
			// It waits for a published checkpoint with all leaves.
			if err = s.shutdown(ctx); err != nil {
				err = verdict.Fail(verdict.LogUnavailable, "publishing the last checkpoint of log %s: %w", s.dir, err)
			}
		}
	}
	s.guard.close()
	s.cancel()
	return errors.Join(err, s.lock.Close())
}
