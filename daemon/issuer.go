// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
)

// evidenceTimeout bounds getting one piece of evidence. A hardware TPM that is
// busy has been seen to need seconds.
const evidenceTimeout = 20 * time.Second

// previousMax bounds the file with the digest of the previous statement.
const previousMax = 128

// An appender writes to the log: an [audit.Shard].
type appender interface {
	Append(ctx context.Context, leaf verdict.Leaf, objects ...audit.Object) (uint64, error)
}

// An issuer makes issuer statements. Its keys are made in the TEE at each
// start, after what they will be used under was measured, and are nowhere but
// in memory.
type issuer struct {
	config  Config
	boot    string
	tee     enclave.Attester
	shard   appender
	ref     verdict.LogRef // of the shard
	ticket  *verdict.Key
	verdict *verdict.Key
	log     *slog.Logger
}

// A statement is an issuer statement that is in the log.
type statement struct {
	verdict.Statement
	// raw is what evidence is bound to, and digest its name.
	raw    []byte
	digest verdict.Digest
	// made is when, by the daemon's clock.
	made time.Time
	// leaf is its place in the log.
	leaf uint64
}

// renewAt is when the next statement is due: while a third of this one is left.
func (s *statement) renewAt() time.Time {
	life := time.Unix(s.NotAfter, 0).Sub(s.made)
	return s.made.Add(life * 2 / 3)
}

// issue makes the statement after prev, which is nil at the start, gets its
// evidence and writes both down: nobody sees a statement that is not in the
// log. The published evidence answers no nonce; it is for auditors.
func (i *issuer) issue(ctx context.Context, head verdict.CheckedHead, prev *statement) (*statement, error) {
	now := time.Now()
	s := verdict.Statement{
		Boot: i.boot, Build: verdict.Build{Version: i.config.Version, Crypto: flavour.Current()},
		Config: i.config.Digest(), Head: verdict.HeadRef{Counter: head.Counter, Digest: head.Digest},
		Issuer: i.config.SPIFFEID, Keys: []verdict.JWK{i.ticket.JWK(), i.verdict.JWK()}, Log: i.ref,
		NotBefore: now.Unix(), NotAfter: now.Add(i.config.Limits.StatementLife).Unix(),
		Policy: head.Policy, Roots: head.Roots, Seq: 1,
	}
	if prev != nil {
		s.Seq, s.Prev = prev.Seq+1, prev.digest
	} else {
		s.Prev = i.previous(ctx)
	}
	raw, err := s.Encode()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	collection, err := i.tee.Evidence(ctx, raw, nil)
	if err != nil {
		return nil, err
	}
	out := &statement{Statement: s, raw: raw, digest: verdict.SHA256(raw), made: now}
	leaf := verdict.Leaf{Kind: verdict.LeafStatement, Time: now, Object: digestBytes(verdict.SHA256(collection)),
		Policy: digestBytes(s.Policy), Statement: digestBytes(out.digest)}
	if out.leaf, err = i.shard.Append(ctx, leaf, audit.Content(raw), audit.Content(collection)); err != nil {
		return nil, err
	}
	// A hint for auditors, so it may fail.
	if err := writeFile(i.previousPath(), []byte(out.digest)); err != nil {
		i.log.WarnContext(ctx, "digest of the statement was not kept for the next start", "err", err)
	}
	i.log.InfoContext(ctx, "statement issued", "digest", out.digest,
		"head", head.Counter, "policy", s.Policy, "log_index", out.leaf)
	return out, nil
}

func (i *issuer) previousPath() string { return filepath.Join(i.config.StateDir, previousName) }

// previous returns the digest of the last statement of the boot before, or "".
func (i *issuer) previous(ctx context.Context) verdict.Digest {
	data, err := readFile(i.previousPath(), previousMax)
	if err != nil {
		return ""
	}
	d, err := verdict.ParseDigest(string(data))
	if _, ok := d.Bytes(); err != nil || !ok {
		i.log.WarnContext(ctx, "digest of the previous statement is not readable", "path", i.previousPath())
		return ""
	}
	return d
}

// measure is the event that says what the daemon is about to decide by.
func (i *issuer) measure(ctx context.Context, head verdict.CheckedHead) error {
	ctx, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	return i.tee.Extend(ctx, verdict.RegisterEvent{
		Boot: i.boot, Config: i.config.Digest(), Head: head.Counter, Policy: head.Policy, Roots: head.Roots,
	})
}

// digestBytes returns the value of a SHA-256 digest that was made here or
// checked before.
func digestBytes(d verdict.Digest) [32]byte {
	b, ok := d.Bytes()
	if !ok {
		panic("daemon: not a SHA-256 digest: " + string(d))
	}
	return b
}

// randomHex returns n random bytes in hex. crypto/rand.Read does not fail.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
