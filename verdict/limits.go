// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits of the formats, in bytes unless they say otherwise (design.md §4.3).
const (
	// MaxTicket bounds a ticket in compact form.
	MaxTicket = 16 << 10
	// MaxStatus bounds a status in compact form.
	MaxStatus = 8 << 10
	// MaxHead bounds the payload of a head or a renewal.
	MaxHead = 4 << 10
	// MaxOwners bounds an owners file.
	MaxOwners = 16 << 10
	// MaxDeny bounds a deny list, in a file or in a document: nodes hold it whole.
	MaxDeny = 256 << 10
	// MaxReferences bounds a references file.
	MaxReferences = 512 << 10
	// MaxFile bounds any other file that a head names.
	MaxFile = 4 << 20
	// MaxStatement bounds an issuer statement.
	MaxStatement = 16 << 10
	// MaxCore bounds the payload of a verdict core.
	MaxCore = 1 << 20
	// MaxException bounds the payload of an exception.
	MaxException = 64 << 10
	// MaxSPIFFEID bounds a SPIFFE ID in our formats.
	MaxSPIFFEID = 255
	// MaxRepository bounds a repository name with its registry.
	MaxRepository = 512
	// MaxOrigin bounds a log origin.
	MaxOrigin = 128
	// MaxNamespace bounds a namespace pattern.
	MaxNamespace = 64
	// NonceSize is the length of a caller's nonce for evidence.
	NonceSize = 32
	// MaxNonces is how many nonces one piece of evidence may answer.
	MaxNonces = 512
)

// Time limits of the formats.
const (
	// MaxStatementLife bounds not_after − not_before of an issuer statement.
	MaxStatementLife = 24 * time.Hour
	// MaxTicketLife bounds exp − iat of a ticket.
	MaxTicketLife = 24 * time.Hour
	// MaxDenialLife bounds exp − iat of a ticket that lets nothing through, or
	// that carries no core.
	MaxDenialLife = time.Minute
	// MaxRenewalLife bounds not_after − iat of a renewal.
	MaxRenewalLife = 7 * 24 * time.Hour
	// MaxDenyLife bounds not_after − iat of a deny document.
	MaxDenyLife = 7 * 24 * time.Hour
	// MaxExceptionLife bounds not_after − not_before of an exception.
	MaxExceptionLife = 72 * time.Hour
	// MaxGrace bounds the grace of a head.
	MaxGrace = time.Hour
	// MaxSkew is how far the clocks of node and daemon may differ.
	MaxSkew = time.Minute
)

// checkVersion refuses another version of a format than the first.
func checkVersion(v int) error {
	if v != 1 {
		return fmt.Errorf("v is %d, want 1", v)
	}
	return nil
}

// CheckSPIFFEID refuses what is not a SPIFFE ID with a path (SPIFFE-ID §2), at
// most MaxSPIFFEID bytes.
func CheckSPIFFEID(id string) error {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok || len(id) > MaxSPIFFEID {
		return fmt.Errorf("%s is not a SPIFFE ID of at most %d bytes", quote(id), MaxSPIFFEID)
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || domain == "" {
		return fmt.Errorf("SPIFFE ID %s has no trust domain or no path", quote(id))
	}
	for i := range len(domain) {
		if c := domain[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("SPIFFE ID %s has a trust domain with %q", quote(id), c)
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("SPIFFE ID %s has an empty or relative segment", quote(id))
		}
		for i := range len(segment) {
			if c := segment[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
				return fmt.Errorf("SPIFFE ID %s has a path with %q", quote(id), c)
			}
		}
	}
	return nil
}

// CheckRepository refuses what is not a registry host and a repository path
// (distribution-spec, "Pulling manifests"), at most MaxRepository bytes. It
// holds no tag, no digest and no scheme.
func CheckRepository(repo string) error {
	host, path, ok := strings.Cut(repo, "/")
	if !ok || host == "" || path == "" || len(repo) > MaxRepository {
		return fmt.Errorf("%s is not registry/repository of at most %d bytes", quote(repo), MaxRepository)
	}
	for i := range len(host) {
		if c := host[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-:[]", rune(c)) {
			return fmt.Errorf("registry of %s has %q", quote(repo), c)
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			return fmt.Errorf("repository %s has an empty segment", quote(repo))
		}
		for i := range len(segment) {
			c := segment[i]
			alnum := (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
			if !alnum && (c != '.' && c != '-' && c != '_' || i == 0 || i == len(segment)-1) {
				return fmt.Errorf("repository %s has %q where a letter or digit must be", quote(repo), c)
			}
		}
	}
	return nil
}

// CheckNamespacePattern refuses what is neither a namespace nor one with a
// single trailing asterisk.
func CheckNamespacePattern(p string) error {
	if p == "" || len(p) > MaxNamespace {
		return fmt.Errorf("namespace pattern %s has %d bytes, want 1 to %d", quote(p), len(p), MaxNamespace)
	}
	name := strings.TrimSuffix(p, "*")
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return fmt.Errorf("namespace pattern %s has %q", quote(p), c)
		}
	}
	return nil
}

// MatchNamespace tells whether namespace falls under pattern. The empty
// namespace, which is that of a pull, falls under "*" alone.
func MatchNamespace(pattern, namespace string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return pattern == "*" || (namespace != "" && strings.HasPrefix(namespace, prefix))
	}
	return namespace != "" && pattern == namespace
}

// checkText refuses what is empty, too long or holds control characters.
func checkText(what, s string, most int) error {
	if s == "" || len(s) > most {
		return fmt.Errorf("%s has %d bytes, want 1 to %d", what, len(s), most)
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%s has a control character", what)
		}
	}
	return nil
}

// checkHex refuses what is not lower-case hex of size bytes.
func checkHex(what, s string, size int) error {
	if len(s) != 2*size {
		return fmt.Errorf("%s has %d hex digits, want %d", what, len(s), 2*size)
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%s is not lower-case hex", what)
		}
	}
	return nil
}

// checkWindow refuses a time window that is empty or longer than most. Times
// are Unix seconds.
func checkWindow(from, to int64, most time.Duration) error {
	if from <= 0 || to <= 0 {
		return errors.New("a time is missing")
	}
	if to <= from || time.Duration(to-from) > most/time.Second {
		return fmt.Errorf("valid for %d seconds, want 1 to %d", to-from, most/time.Second)
	}
	return nil
}
