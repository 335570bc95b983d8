// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/assayd/assay/verdict"
)

const (
	// tlogProofHeader is the first line of c2sp.org/tlog-proof.
	tlogProofHeader = "c2sp.org/tlog-proof@v1"
	// MaxExtra bounds the unauthenticated extra data, in bytes before base64.
	MaxExtra = 8 << 20
	// MaxTLogProof bounds a proof file, in bytes.
	MaxTLogProof = MaxExtra/3*4 + 4 + maxHashes*45 + MaxCheckpoint + 256
)

// A TLogProof is a c2sp.org/tlog-proof file: an inclusion proof with its
// checkpoint. Nothing in it is checked until [Log.Inclusion].
type TLogProof struct {
	// Extra is data that the proof says nothing about; nil when absent.
	Extra []byte
	// Index is the index of the leaf.
	Index uint64
	// Hashes is the audit path, the leaf's sibling first, at most 63.
	Hashes []Hash
	// Checkpoint is the signed checkpoint, verbatim.
	Checkpoint []byte
}

// Marshal returns the file.
func (p TLogProof) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(tlogProofHeader + "\n")
	if p.Extra != nil {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	b.WriteString("index " + strconv.FormatUint(p.Index, 10) + "\n")
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

// ParseTLogProof reads a proof file. It accepts only what
// [TLogProof.Marshal] writes. The error is a *verdict.Refusal
// (input.malformed) and the value then the zero one.
func ParseTLogProof(data []byte) (TLogProof, error) {
	refuse := func(format string, args ...any) (TLogProof, error) {
		return TLogProof{}, verdict.Refuse(verdict.InputMalformed, "reading log proof: "+format, args...)
	}
	if len(data) > MaxTLogProof {
		return refuse("%d bytes, want at most %d", len(data), MaxTLogProof)
	}
	var p TLogProof
	line, rest, _ := strings.Cut(string(data), "\n")
	if line != tlogProofHeader {
		return refuse("first line is %s, want %q", quote(line), tlogProofHeader)
	}
	line, rest, _ = strings.Cut(rest, "\n")
	if encoded, ok := strings.CutPrefix(line, "extra "); ok {
		extra, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil {
			return refuse("the extra line is not base64")
		}
		if len(extra) > MaxExtra {
			return refuse("extra has %d bytes, want at most %d", len(extra), MaxExtra)
		}
		p.Extra = extra
		line, rest, _ = strings.Cut(rest, "\n")
	}
	number, ok := strings.CutPrefix(line, "index ")
	if !ok {
		return refuse("got %s, want the index line", quote(line))
	}
	index, err := parseUint(number)
	if err != nil {
		return refuse("index %s: %w", quote(number), err)
	}
	p.Index = index
	for {
		var found bool
		line, rest, found = strings.Cut(rest, "\n")
		if !found {
			return refuse("no blank line before the checkpoint")
		}
		if line == "" {
			break
		}
		if len(p.Hashes) == maxHashes {
			return refuse("more than %d hashes", maxHashes)
		}
		h, err := parseHash(line)
		if err != nil {
			return refuse("hash %s: %w", quote(line), err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	if rest == "" || len(rest) > MaxCheckpoint {
		return refuse("checkpoint has %d bytes, want 1 to %d", len(rest), MaxCheckpoint)
	}
	p.Checkpoint = []byte(rest)
	if !bytes.Equal(p.Marshal(), data) {
		return refuse("not in canonical form")
	}
	return p, nil
}

// Inclusion checks p for a leaf with the given data and returns the checkpoint
// that it leads to.
func (l *Log) Inclusion(leaf []byte, p TLogProof) (Checkpoint, error) {
	c, err := l.Checkpoint(p.Checkpoint)
	if err != nil {
		return Checkpoint{}, err
	}
	if err := CheckInclusion(c, p.Index, leaf, p.Hashes); err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}
