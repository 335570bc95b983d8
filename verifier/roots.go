// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	_ "embed" // the public-good root
	"os"
	"syscall"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/assayd/assay/verdict"
)

// MaxRootsBytes bounds a trusted_root.json.
const MaxRootsBytes = 1 << 20

// Roots are the trust roots of a sigstore instance: certificate authorities,
// transparency logs, certificate-transparency logs and timestamp authorities
// (sigstore protobuf-specs trustroot/v1). The zero value trusts nothing. Roots
// are not changed after parsing and may be used concurrently.
type Roots struct {
	digest   verdict.Digest
	material *root.TrustedRoot
}

// ParseRoots reads a trusted_root.json. What cannot be read, and roots without
// any authority or log, are a [verdict.Misuse].
func ParseRoots(data []byte) (*Roots, error) {
	if len(data) > MaxRootsBytes {
		return nil, verdict.Misused("", "reading trusted root: %d bytes, want at most %d", len(data), MaxRootsBytes)
	}
	m, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, verdict.Misused("want a trusted_root.json of a sigstore instance", "reading trusted root: %w", err)
	}
	r := &Roots{digest: verdict.SHA256(data), material: m}
	if !r.HasCA() && !r.HasLog() && !r.HasTimestamps() {
		return nil, verdict.Misused("want a trusted_root.json of a sigstore instance", "reading trusted root: it lists no certificate authority, log or timestamp authority")
	}
	return r, nil
}

// LoadRoots reads a trusted_root.json from disk.
func LoadRoots(path string) (*Roots, error) {
	data, err := readFile(path, MaxRootsBytes)
	if err != nil {
		return nil, verdict.Misused("", "reading trusted root: %w", err)
	}
	return ParseRoots(data)
}

// Digest is the SHA-256 of the file. It is empty for nil.
func (r *Roots) Digest() verdict.Digest {
	if r == nil {
		return ""
	}
	return r.digest
}

// HasCA says whether a certificate authority is listed.
func (r *Roots) HasCA() bool { return r != nil && len(r.material.FulcioCertificateAuthorities()) > 0 }

// HasLog says whether a transparency log is listed.
func (r *Roots) HasLog() bool { return r != nil && len(r.material.RekorLogs()) > 0 }

// HasCTLog says whether a certificate-transparency log is listed.
func (r *Roots) HasCTLog() bool { return r != nil && len(r.material.CTLogs()) > 0 }

// HasTimestamps says whether a timestamp authority is listed.
func (r *Roots) HasTimestamps() bool {
	return r != nil && len(r.material.TimestampingAuthorities()) > 0
}

//go:embed roots/public-good.json
var publicGood []byte

// PublicGoodDate is when the embedded public-good root was published. A root
// ages: signers move to logs that it does not list.
const PublicGoodDate = "2025-09-22"

// PublicGoodRoot returns the trust roots of the public-good sigstore instance
// as of [PublicGoodDate]. Only the command line uses them, where nobody named
// others: the daemon's roots are those that its head names.
func PublicGoodRoot() (*Roots, error) { return ParseRoots(publicGood) }

// PublicGoodJSON returns a copy of the trusted_root.json that [PublicGoodRoot]
// reads.
func PublicGoodJSON() []byte { return bytes.Clone(publicGood) }

// readFile reads a whole file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	// A named pipe that nobody writes to would be waited for without end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return readAll(f, limit)
}
