// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

// An Archive reads the shards of a log folder, with the daemon running or
// stopped. It writes nothing and takes no lock. It is safe for concurrent use.
type Archive struct {
	dir   string
	allow bool
}

// An ArchiveConfig says which log folder to read.
type ArchiveConfig struct {
	// Dir is the log folder.
	Dir string
	// AllowUnvalidatedEd25519 is that of [Config].
	AllowUnvalidatedEd25519 bool
}

// OpenArchive opens a log folder for reading. The error is a *verdict.Misuse
// where there is none.
func OpenArchive(config ArchiveConfig) (*Archive, error) {
	info, err := os.Stat(config.Dir)
	if err != nil {
		return nil, verdict.Misused("name the daemon's log folder", "opening log folder %s: %w", config.Dir, err)
	}
	if !info.IsDir() {
		return nil, verdict.Misused("name the daemon's log folder", "opening log folder %s: it is not a folder", config.Dir)
	}
	return &Archive{dir: config.Dir, allow: config.AllowUnvalidatedEd25519}, nil
}

// A ShardInfo describes a shard of an archive.
type ShardInfo struct {
	// Boot is the boot that wrote it.
	Boot string
	// Origin is its name; empty where Err says why.
	Origin string
	// Size is the number of leaves under the newest checkpoint.
	Size uint64
	// Statement is the digest of the issuer statement of leaf 0.
	Statement verdict.Digest
	// Err says why the shard cannot be read: a boot that ended before leaf 0
	// was written has nothing to prove, and says log.missing.
	Err error
}

// Shards lists the shards by boot ID.
func (a *Archive) Shards(ctx context.Context) ([]ShardInfo, error) {
	boots, err := a.boots()
	if err != nil {
		return nil, err
	}
	var out []ShardInfo
	for _, boot := range boots {
		r, err := a.Boot(ctx, boot)
		if ctx.Err() != nil {
			return nil, verdict.Fail(verdict.LogUnavailable, "listing log shards: %w", ctx.Err())
		}
		if err != nil {
			out = append(out, ShardInfo{Boot: boot, Err: err})
			continue
		}
		out = append(out, ShardInfo{Boot: boot, Origin: r.Origin(), Size: r.tree.at.Size, Statement: verdict.SHA256(r.statement)})
	}
	return out, nil
}

func (a *Archive) boots() ([]string, error) {
	list, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "listing log shards: %w", err)
	}
	var boots []string
	for _, d := range list {
		if d.IsDir() && isBoot(d.Name()) {
			boots = append(boots, d.Name())
		}
	}
	slices.SortFunc(boots, cmp.Compare)
	return boots, nil
}

// Shard opens the shard with this origin. The error is a *verdict.Refusal
// (log.missing) where there is none.
func (a *Archive) Shard(ctx context.Context, origin string) (*Reader, error) {
	boots, err := a.boots()
	if err != nil {
		return nil, err
	}
	for _, boot := range boots {
		// The first line says where to look; whether it is so is checked by
		// opening it.
		note, err := readFile(filepath.Join(a.dir, boot, "checkpoint"), proof.MaxCheckpoint)
		if err != nil {
			continue
		}
		if c, err := proof.ParseSignedInsecure(note); err != nil || c.Origin != origin {
			continue
		}
		return a.Boot(ctx, boot)
	}
	return nil, verdict.Refuse(verdict.LogMissing, "opening log shard: none in %s has origin %q", a.dir, origin)
}

// A Reader reads one shard at the newest checkpoint that was there when it was
// opened. All it returns is proven under a key that the shard's own issuer
// statement names; whether to believe that statement is for the caller to
// appraise, by [Reader.Statement] and [Reader.Evidence].
type Reader struct {
	tree      tree
	signed    []byte
	log       *proof.Log
	statement []byte
	evidence  verdict.Digest
}

// Boot opens the shard of a boot.
func (a *Archive) Boot(ctx context.Context, boot string) (*Reader, error) {
	if !isBoot(boot) {
		return nil, verdict.Misused("", "opening log shard: boot is %q, want 32 lower-case hex digits", boot)
	}
	dir := filepath.Join(a.dir, boot)
	candidates, err := readCheckpoints(dir)
	if err != nil {
		return nil, err
	}
	// Leaf 0 is read before anything is believed, to learn the keys; it is
	// compared with the tree once they have opened a checkpoint.
	leaf, statement, err := statementOf(dir, candidates)
	if err != nil {
		return nil, err
	}
	parsed, err := verdict.ParseStatement(statement)
	if err != nil {
		return nil, err
	}
	if parsed.Boot != boot {
		return nil, verdict.Refuse(verdict.LogMismatch, "opening log shard %s: its statement is of boot %s", boot, parsed.Boot)
	}
	log, err := proof.New(proof.Config{Origin: parsed.Log.Origin, Keys: parsed.Log.Keys, AllowUnvalidatedEd25519: a.allow})
	if err != nil {
		return nil, err
	}
	r := &Reader{log: log, statement: statement, evidence: verdict.DigestFromBytes(leaf.Object)}
	if err := r.choose(ctx, dir, candidates); err != nil {
		return nil, err
	}
	first, err := r.Leaf(ctx, 0)
	if err != nil {
		return nil, err
	}
	if first != leaf {
		return nil, verdict.Refuse(verdict.LogMismatch, "opening log shard %s: leaf 0 changed while it was read", boot)
	}
	return r, nil
}

// readCheckpoints returns the signed checkpoints of a shard: the newest one of
// the log itself, and the published one, which other signatures may be on.
func readCheckpoints(dir string) ([][]byte, error) {
	var out [][]byte
	for _, name := range []string{latestName, "checkpoint"} {
		signed, err := readFile(filepath.Join(dir, name), proof.MaxCheckpoint)
		switch {
		case errors.Is(err, fs.ErrNotExist) || (err == nil && len(signed) == 0):
			// A crash while the shard was made, or of the whole machine.
		case err != nil:
			return nil, verdict.Fail(verdict.LogUnavailable, "reading checkpoint: %w", err)
		default:
			out = append(out, signed)
		}
	}
	if out == nil {
		return nil, verdict.Refuse(verdict.LogMissing, "opening log shard %s: it has no checkpoint", dir)
	}
	return out, nil
}

// statementOf reads leaf 0 and the statement that it names, unproven.
func statementOf(dir string, checkpoints [][]byte) (verdict.Leaf, []byte, error) {
	// The size only says under which name the bundle is: any checkpoint that
	// leads to one will do.
	err := error(verdict.Refuse(verdict.LogMissing, "opening log shard %s: it has no leaf under a checkpoint", dir))
	var data []byte
	for _, signed := range checkpoints {
		c, parseErr := proof.ParseSignedInsecure(signed)
		if parseErr != nil || c.Size == 0 {
			continue
		}
		if data, err = readEntry(dir, 0, c.Size); err == nil {
			break
		}
		err = verdict.Fail(verdict.LogUnavailable, "reading leaf 0: %w", err)
	}
	if err != nil {
		return verdict.Leaf{}, nil, err
	}
	leaf, err := verdict.ParseLeaf(data)
	if err != nil {
		return verdict.Leaf{}, nil, err
	}
	if leaf.Kind != verdict.LeafStatement {
		return verdict.Leaf{}, nil, verdict.Refuse(verdict.LogMismatch, "opening log shard %s: leaf 0 is not an issuer statement", dir)
	}
	statement, err := loadObject(dir, verdict.DigestFromBytes(leaf.Statement))
	return leaf, statement, err
}

// choose takes the newest checkpoint that the log signed, and holds the others
// against it. One that does not open is passed over only if another does: a
// torn file costs the newest leaves' proof, never a wrong one.
func (r *Reader) choose(ctx context.Context, dir string, candidates [][]byte) error {
	var opened []proof.Checkpoint
	var failure error
	for _, signed := range candidates {
		c, err := r.log.Checkpoint(signed)
		if err != nil {
			failure = err
			continue
		}
		if len(opened) == 0 || c.Size > r.tree.at.Size {
			r.tree, r.signed = tree{dir: dir, at: c}, signed
		}
		opened = append(opened, c)
	}
	if len(opened) == 0 {
		return failure
	}
	for _, c := range opened {
		if err := r.Extends(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Origin returns the shard's name.
func (r *Reader) Origin() string { return r.log.Origin() }

// Log opens checkpoints of the shard.
func (r *Reader) Log() *proof.Log { return r.log }

// Statement returns the issuer statement of leaf 0, as it was signed.
func (r *Reader) Statement() []byte { return slices.Clone(r.statement) }

// Evidence returns the evidence collection of the statement of leaf 0.
func (r *Reader) Evidence(ctx context.Context) ([]byte, error) { return r.Object(ctx, r.evidence) }

// Checkpoint returns the checkpoint that the reader is at, checked and signed.
func (r *Reader) Checkpoint() (proof.Checkpoint, []byte) { return r.tree.at, slices.Clone(r.signed) }

// Leaf returns the leaf at index, compared with the signed tree.
func (r *Reader) Leaf(ctx context.Context, index uint64) (verdict.Leaf, error) {
	return parseLeafOf(ctx, r.tree, index)
}

// Object returns a stored object by the digest that a leaf names it by.
func (r *Reader) Object(ctx context.Context, name verdict.Digest) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "reading object: %w", err)
	}
	return loadObject(r.tree.dir, name)
}

// InclusionProof returns the audit path of the leaf at index in the tree of the
// first size leaves.
func (r *Reader) InclusionProof(ctx context.Context, index, size uint64) ([]proof.Hash, error) {
	return r.tree.inclusion(ctx, index, size)
}

// ConsistencyProof returns the proof that the tree of newer leaves extends the
// one of older.
func (r *Reader) ConsistencyProof(ctx context.Context, older, newer uint64) ([]proof.Hash, error) {
	return r.tree.consistency(ctx, older, newer)
}

// Extends checks that the tree of r begins with the leaves of earlier, a
// checkpoint of the same log that someone kept. A refusal is evidence of a
// fork.
func (r *Reader) Extends(ctx context.Context, earlier proof.Checkpoint) error {
	var hashes []proof.Hash
	if earlier.Size <= r.tree.at.Size {
		var err error
		if hashes, err = r.tree.consistency(ctx, earlier.Size, r.tree.at.Size); err != nil {
			return err
		}
	}
	return proof.CheckConsistency(earlier, r.tree.at, hashes)
}

// Proof returns the inclusion proof of the leaf at index under the reader's
// checkpoint.
func (r *Reader) Proof(ctx context.Context, index uint64) (proof.TLogProof, error) {
	return proofOf(ctx, r.tree, r.signed, index)
}

// ProofFile returns the leaf at index as a file that needs nothing beside it,
// see [proof.CheckFile].
func (r *Reader) ProofFile(ctx context.Context, index uint64) ([]byte, error) {
	return proofFileOf(ctx, r.tree, r.signed, index)
}

// parseLeafOf reads and decodes a leaf.
func parseLeafOf(ctx context.Context, t tree, index uint64) (verdict.Leaf, error) {
	data, err := t.leaf(ctx, index)
	if err != nil {
		return verdict.Leaf{}, err
	}
	return verdict.ParseLeaf(data)
}

// proofOf makes an inclusion proof, and checks it before it is given away.
func proofOf(ctx context.Context, t tree, signed []byte, index uint64) (proof.TLogProof, error) {
	data, err := t.leaf(ctx, index)
	if err != nil {
		return proof.TLogProof{}, err
	}
	hashes, err := t.inclusion(ctx, index, t.at.Size)
	if err != nil {
		return proof.TLogProof{}, err
	}
	if err := proof.CheckInclusion(t.at, index, data, hashes); err != nil {
		return proof.TLogProof{}, err
	}
	return proof.TLogProof{Index: index, Hashes: hashes, Checkpoint: signed}, nil
}

// proofFileOf gathers what a proof file holds.
func proofFileOf(ctx context.Context, t tree, signed []byte, index uint64) ([]byte, error) {
	p, err := proofOf(ctx, t, signed, index)
	if err != nil {
		return nil, err
	}
	leaf, err := parseLeafOf(ctx, t, index)
	if err != nil {
		return nil, err
	}
	f := proof.File{Proof: p, Leaf: leaf.Encode()}
	if f.Statement, err = loadObject(t.dir, verdict.DigestFromBytes(leaf.Statement)); err != nil {
		return nil, err
	}
	if f.Object, err = loadObject(t.dir, verdict.DigestFromBytes(leaf.Object)); err != nil {
		return nil, err
	}
	return f.Marshal(), nil
}
