// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// A Digest is a content digest in the form of the OCI image specification:
// algorithm, colon, lower-case hex. Values that came from outside are made by
// [ParseDigest]; the zero value is no digest.
type Digest string

// digestSizes are the algorithms that may name an image, with their length in
// hex digits. SHA-384 is registered nowhere in OCI, SHA-1 and MD5 name nothing.
var digestSizes = map[string]int{"sha256": 64, "sha512": 128}

// ParseDigest checks the form of s. It accepts sha256 and sha512, so that a
// digest can be put into a path or a URL as it is.
func ParseDigest(s string) (Digest, error) {
	alg, hexa, ok := strings.Cut(s, ":")
	size, known := digestSizes[alg]
	if !ok || !known {
		return "", fmt.Errorf("digest %s is not sha256: or sha512: and hex", quote(s))
	}
	if len(hexa) != size {
		return "", fmt.Errorf("digest %s has %d hex digits, want %d", quote(s), len(hexa), size)
	}
	for i := range len(hexa) {
		if c := hexa[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("digest %s is not lower-case hex", quote(s))
		}
	}
	return Digest(s), nil
}

// SHA256 returns the SHA-256 digest of b.
func SHA256(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Algorithm returns the part before the colon.
func (d Digest) Algorithm() string { alg, _, _ := strings.Cut(string(d), ":"); return alg }

// Hex returns the part after the colon.
func (d Digest) Hex() string { _, h, _ := strings.Cut(string(d), ":"); return h }

// Bytes returns the 32 bytes of a SHA-256 digest, and false for anything else.
func (d Digest) Bytes() (b [32]byte, ok bool) {
	if d.Algorithm() != "sha256" {
		return b, false
	}
	raw, err := hex.DecodeString(d.Hex())
	if err != nil || len(raw) != len(b) {
		return b, false
	}
	copy(b[:], raw)
	return b, true
}

// DigestFromBytes returns the digest whose SHA-256 value is b.
func DigestFromBytes(b [32]byte) Digest {
	return Digest("sha256:" + hex.EncodeToString(b[:]))
}

// Short returns the first twelve hex digits, for people.
func (d Digest) Short() string {
	if h := d.Hex(); len(h) > 12 {
		return d.Algorithm() + ":" + h[:12] + "…"
	}
	return string(d)
}

// checkSHA256 refuses all but a SHA-256 digest: our own formats name their
// parts by nothing else.
func checkSHA256(what string, d Digest) error {
	p, err := ParseDigest(string(d))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if p.Algorithm() != "sha256" {
		return fmt.Errorf("%s: digest %s is not sha256", what, quote(string(d)))
	}
	return nil
}

// quote quotes at most 64 bytes of input.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
