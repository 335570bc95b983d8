// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// LeafSize is the length of an encoded leaf in bytes.
const LeafSize = 108

// A LeafKind says what a leaf of the verdict log records.
type LeafKind uint8

// The kinds of leaves.
const (
	// LeafStatement: an issuer statement was made. Leaf 0 of a shard is one.
	LeafStatement LeafKind = 1
	// LeafVerdict: a verdict was reached.
	LeafVerdict LeafKind = 2
	// LeafException: a node reported that it used an exception.
	LeafException LeafKind = 3
)

// A LeafResult is the outcome of a verdict.
type LeafResult uint8

// The results.
const (
	// ResultNone is that of leaves which decide nothing.
	ResultNone LeafResult = 0
	// ResultPassed: the core says PASSED.
	ResultPassed LeafResult = 1
	// ResultFailed: the core says FAILED.
	ResultFailed LeafResult = 2
)

// A Leaf is one fixed record of the verdict log (design.md §8). It has no
// names: the core that it points to is salted.
type Leaf struct {
	Kind   LeafKind
	Result LeafResult
	// Time has milliseconds.
	Time time.Time
	// Object is the SHA-256 of the core's payload, of the exception's payload,
	// or of the statement's evidence collection.
	Object [32]byte
	// Policy and Statement are SHA-256 digests of the policy and of the issuer
	// statement that were in force.
	Policy    [32]byte
	Statement [32]byte
}

// Encode returns the record: version, kind, result, zero, milliseconds since
// 1970 as u64 big-endian, then the three digests.
func (l Leaf) Encode() []byte {
	b := make([]byte, 0, LeafSize)
	b = append(b, 1, byte(l.Kind), byte(l.Result), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(max(l.Time.UnixMilli(), 0)))
	b = append(b, l.Object[:]...)
	b = append(b, l.Policy[:]...)
	return append(b, l.Statement[:]...)
}

// ParseLeaf decodes a record. The error is a *[Refusal] with input.malformed.
func ParseLeaf(data []byte) (Leaf, error) {
	l, err := parseLeaf(data)
	if err != nil {
		return Leaf{}, Refuse(InputMalformed, "parsing leaf: %w", err)
	}
	return l, nil
}

func parseLeaf(data []byte) (Leaf, error) {
	if len(data) != LeafSize {
		return Leaf{}, fmt.Errorf("%d bytes, want %d", len(data), LeafSize)
	}
	if data[0] != 1 || data[3] != 0 {
		return Leaf{}, errors.New("unknown version")
	}
	l := Leaf{Kind: LeafKind(data[1]), Result: LeafResult(data[2])}
	ms := binary.BigEndian.Uint64(data[4:12])
	if ms > maxInteger {
		return Leaf{}, errors.New("time is out of range")
	}
	l.Time = time.UnixMilli(int64(ms)).UTC()
	switch {
	case l.Kind == LeafVerdict && (l.Result == ResultPassed || l.Result == ResultFailed):
	case (l.Kind == LeafStatement || l.Kind == LeafException) && l.Result == ResultNone:
	default:
		return Leaf{}, fmt.Errorf("kind %d with result %d", l.Kind, l.Result)
	}
	copy(l.Object[:], data[12:44])
	copy(l.Policy[:], data[44:76])
	copy(l.Statement[:], data[76:108])
	return l, nil
}
