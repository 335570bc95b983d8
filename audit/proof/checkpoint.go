// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assayd/assay/verdict"
)

// MaxCheckpoint bounds a signed checkpoint, in bytes: room for the log's own
// signatures and for several post-quantum cosignatures.
const MaxCheckpoint = 16 << 10

// A Hash is an RFC 6962 hash with SHA-256: of a leaf, a node or a root.
type Hash [32]byte

// LeafHash returns the hash of a leaf with data, SHA-256(0x00 ‖ data).
func LeafHash(data []byte) Hash { return Hash(tlog.RecordHash(data)) }

// A Checkpoint is what a log said about its tree (c2sp.org/tlog-checkpoint). One that
// [Log.Checkpoint] returned was signed by the log.
type Checkpoint struct {
	// Origin names the log.
	Origin string
	// Size is the number of leaves, at most 2⁶³−1.
	Size uint64
	// Root is the hash of the tree; for size 0 it is SHA-256 of nothing.
	Root Hash
}

// emptyRoot is SHA-256 of nothing, the root of the tree without leaves (RFC
// 6962 §2.1).
var emptyRoot = Hash{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

// EmptyRoot returns the root of the tree without leaves.
func EmptyRoot() Hash { return emptyRoot }

// Text returns the note text of c: what is signed.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// ParseCheckpointText reads the text of a note, without its signatures. Extension lines are refused: logs of assay write none, and what nobody
// reads must not be signed.
func ParseCheckpointText(text string) (Checkpoint, error) {
	if len(text) > MaxCheckpoint {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: %d bytes, want at most %d", len(text), MaxCheckpoint)
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: want exactly three lines, got %d", len(lines)-1)
	}
	if err := CheckOrigin(lines[0]); err != nil {
		return Checkpoint{}, err
	}
	size, err := parseUint(lines[1])
	if err != nil {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: size %s: %w", quote(lines[1]), err)
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: root %s: %w", quote(lines[2]), err)
	}
	if size == 0 && root != emptyRoot {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: size is 0 and the root is not that of the empty tree")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// ParseSignedInsecure reads the text of a signed checkpoint and looks at no
// signature: to learn which log it claims to be of.
func ParseSignedInsecure(signed []byte) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: %d bytes, want at most %d", len(signed), MaxCheckpoint)
	}
	// A checkpoint of ours has no extension lines, so that the first blank
	// line is the last one too.
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: it has no signatures")
	}
	return ParseCheckpointText(text + "\n")
}

// A Config says which log to believe.
type Config struct {
	// Origin is the log's name; its keys carry the same.
	Origin string
	// Keys are verifier key strings (c2sp.org/signed-note) of type 0x02 or
	// 0x01; at least one. A checkpoint needs a signature of one of them, and
	// none that names one of them and does not verify.
	Keys []string
	// AllowUnvalidatedEd25519 uses Ed25519 keys in the BoringCrypto flavour
	// too, whose module has no Ed25519. Without it they are left out there.
	AllowUnvalidatedEd25519 bool
}

// A Log opens the checkpoints of one log. It is immutable and safe for
// concurrent use.
type Log struct {
	origin    string
	verifiers note.Verifiers
}

// New returns the log of config. The error is a *verdict.Misuse when nothing
// is configured, else a *verdict.Refusal about a key.
func New(config Config) (*Log, error) {
	if len(config.Keys) == 0 {
		return nil, verdict.Misused("name the log's verifier keys, as its issuer statement does", "opening log %s: no keys", quote(config.Origin))
	}
	if err := CheckOrigin(config.Origin); err != nil {
		return nil, err
	}
	var list []note.Verifier
	for _, vkey := range config.Keys {
		k, err := parseKey(vkey)
		if err != nil {
			return nil, err
		}
		if k.verifier.Name() != config.Origin {
			return nil, verdict.Refuse(verdict.KeyUnknown, "reading log key %s: it is the key of another log, want %s", quote(vkey), quote(config.Origin))
		}
		if slices.ContainsFunc(list, func(v note.Verifier) bool { return v.KeyHash() == k.verifier.KeyHash() }) {
			return nil, verdict.Refuse(verdict.InputMalformed, "reading log key %s: two keys with this ID", quote(vkey))
		}
		if k.alg == typeEd25519 && !Ed25519Validated() && !config.AllowUnvalidatedEd25519 {
			continue
		}
		list = append(list, k.verifier)
	}
	if len(list) == 0 {
		return nil, verdict.Refuse(verdict.SigAlgorithm, "opening log %s: only Ed25519 keys, which are outside this build's crypto module", quote(config.Origin))
	}
	return &Log{origin: config.Origin, verifiers: note.VerifierList(list...)}, nil
}

// Origin returns the log's name.
func (l *Log) Origin() string { return l.origin }

// Checkpoint opens a signed checkpoint of this log. Signatures by other keys
// (witnesses) are ignored.
func (l *Log) Checkpoint(signed []byte) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "reading checkpoint: %d bytes, want at most %d", len(signed), MaxCheckpoint)
	}
	n, err := note.Open(signed, l.verifiers)
	if _, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		return Checkpoint{}, verdict.Refuse(verdict.KeyUnknown, "opening checkpoint: no signature by a key of log %s", quote(l.origin))
	}
	if _, ok := errors.AsType[*note.InvalidSignatureError](err); ok {
		return Checkpoint{}, verdict.Refuse(verdict.LogProof, "opening checkpoint: the signature of log %s does not verify", quote(l.origin))
	}
	if err != nil {
		return Checkpoint{}, verdict.Refuse(verdict.InputMalformed, "opening checkpoint: %w", err)
	}
	c, err := ParseCheckpointText(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != l.origin {
		return Checkpoint{}, verdict.Refuse(verdict.LogMismatch, "opening checkpoint: origin is %s, want %s", quote(c.Origin), quote(l.origin))
	}
	return c, nil
}

// maxHashes bounds the hashes of a proof: a tree has at most 2⁶³ leaves.
const maxHashes = 63

// CheckInclusion checks that leaf is the data of the leaf at index in the tree
// of c, where hashes is the RFC 6962 audit path, the leaf's sibling first. A
// refusal has the code log.proof.
func CheckInclusion(c Checkpoint, index uint64, leaf []byte, hashes []Hash) error {
	if index >= c.Size || c.Size > math.MaxInt64 {
		return verdict.Refuse(verdict.LogProof, "checking inclusion: index is %d, the tree of %s has %d leaves", index, quote(c.Origin), c.Size)
	}
	if len(hashes) > maxHashes {
		return verdict.Refuse(verdict.LogProof, "checking inclusion: %d hashes, want at most %d", len(hashes), maxHashes)
	}
	err := tlog.CheckRecord(tlogHashes(hashes), int64(c.Size), tlog.Hash(c.Root), int64(index), tlog.RecordHash(leaf)) // #nosec G115 -- both bounded above
	if err != nil {
		return verdict.Refuse(verdict.LogProof, "checking inclusion: the proof does not lead from leaf %d to the root of %s at size %d", index, quote(c.Origin), c.Size)
	}
	return nil
}

// CheckConsistency checks that the tree of newer begins with all leaves of
// older. Two checkpoints of one size need no hashes and the same root. A
// refusal of two genuine checkpoints with a genuine proof is evidence of a
// fork: keep both notes.
func CheckConsistency(older, newer Checkpoint, hashes []Hash) error {
	switch {
	case older.Origin != newer.Origin:
		return verdict.Refuse(verdict.LogMismatch, "checking consistency: checkpoints are of %s and %s", quote(older.Origin), quote(newer.Origin))
	case older.Size > newer.Size || newer.Size > math.MaxInt64:
		return verdict.Refuse(verdict.LogProof, "checking consistency: the older tree of %s has %d leaves, the newer one %d", quote(older.Origin), older.Size, newer.Size)
	case len(hashes) > maxHashes+1:
		return verdict.Refuse(verdict.LogProof, "checking consistency: %d hashes, want at most %d", len(hashes), maxHashes+1)
	case older.Size == newer.Size:
		if older.Root != newer.Root {
			return verdict.Refuse(verdict.LogProof, "checking consistency: log %s has two roots at size %d: it forked", quote(older.Origin), older.Size)
		}
		if len(hashes) != 0 {
			return verdict.Refuse(verdict.LogProof, "checking consistency: %d hashes for two checkpoints of one size, want none", len(hashes))
		}
		return nil
	case older.Size == 0:
		// RFC 6962 defines no proof from the empty tree; everything begins
		// with nothing, but only the empty root says so.
		if older.Root != emptyRoot || len(hashes) != 0 {
			return verdict.Refuse(verdict.LogProof, "checking consistency: log %s, size 0: want the empty root and no hashes", quote(older.Origin))
		}
		return nil
	}
	err := tlog.CheckTree(tlogHashes(hashes), int64(newer.Size), tlog.Hash(newer.Root), int64(older.Size), tlog.Hash(older.Root)) // #nosec G115 -- both bounded above
	if err != nil {
		return verdict.Refuse(verdict.LogProof, "checking consistency: the tree of %s at size %d does not extend the one at size %d", quote(older.Origin), newer.Size, older.Size)
	}
	return nil
}

func tlogHashes(hashes []Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(hashes))
	for i, h := range hashes {
		out[i] = tlog.Hash(h)
	}
	return out
}

// parseUint reads a decimal number without sign or leading zeros, at most
// 2⁶³−1.
func parseUint(s string) (uint64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, errors.New("want a decimal number below 2⁶³ without leading zeros")
	}
	return uint64(n), nil
}

// parseHash reads 32 bytes in strict base64: encoding/base64 skips line breaks
// even so, which the length rules out.
func parseHash(s string) (Hash, error) {
	if len(s) != base64.StdEncoding.EncodedLen(len(Hash{})) {
		return Hash{}, errors.New("want 32 bytes in base64")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != len(Hash{}) {
		return Hash{}, errors.New("want 32 bytes in base64")
	}
	return Hash(raw), nil
}
