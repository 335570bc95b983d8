// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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

// CheckRepository refuses what is not the one canonical name of a repository:
// registry host and path (distribution-spec, "Pulling manifests"), at most
// MaxRepository bytes, without tag, digest and scheme. Aliases are refused (upper
// case, the default port, other names of Docker Hub), because deny lists and
// tickets compare names byte by byte, and one repository must not have two.
func CheckRepository(repo string) error {
	host, path, ok := strings.Cut(repo, "/")
	if !ok || host == "" || path == "" || len(repo) > MaxRepository {
		return fmt.Errorf("%s is not registry/repository of at most %d bytes", quote(repo), MaxRepository)
	}
	if err := checkHost(host); err != nil {
		return fmt.Errorf("repository %s: %w", quote(repo), err)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if !validSegment(segment) {
			return fmt.Errorf("repository %s: path segment %s is not lower-case letters and digits with separators", quote(repo), quote(segment))
		}
	}
	if host == dockerHub && !strings.Contains(path, "/") {
		return fmt.Errorf("repository %s: want %s/library/%s", quote(repo), dockerHub, path)
	}
	return nil
}

// dockerHub is the name of Docker Hub in references, not that of its registry.
const dockerHub = "docker.io"

// checkHost refuses what is not a DNS name or an IP address in canonical form
// with an optional port. A single label without port would be a path of Docker
// Hub to other readers.
func checkHost(host string) error {
	name, port, hasPort := host, "", false
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port, hasPort = host[:i], host[i+1:], true
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port || n == 443 {
			return fmt.Errorf("port %s is not 1 to 65535 in decimal, or is the default 443", quote(port))
		}
	}
	if literal, v6 := strings.CutPrefix(name, "["); v6 {
		literal, closed := strings.CutSuffix(literal, "]")
		ip, err := netip.ParseAddr(literal)
		if !closed || err != nil || !ip.Is6() || ip.Zone() != "" || ip.String() != literal {
			return fmt.Errorf("registry %s is not an IPv6 address in canonical form", quote(host))
		}
		return nil
	}
	if len(name) > 253 {
		return fmt.Errorf("registry name has %d bytes, want at most 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return fmt.Errorf("registry %s has the label %s: want lower-case letters, digits and hyphens", quote(host), quote(label))
		}
	}
	if !hasPort && name != "localhost" && !strings.Contains(name, ".") {
		return fmt.Errorf("registry %s has neither a dot nor a port", quote(host))
	}
	if name == "index."+dockerHub || name == "registry-1."+dockerHub {
		return fmt.Errorf("registry %s is another name of %s", quote(host), dockerHub)
	}
	return nil
}

func lowerAlnum(c byte) bool { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') }

// validLabel is a label of a host name (RFC 1123 §2.1), in lower case.
func validLabel(label string) bool {
	for i := range len(label) {
		if c := label[i]; !lowerAlnum(c) && (c != '-' || i == 0 || i == len(label)-1) {
			return false
		}
	}
	return label != "" && len(label) <= 63
}

// validSegment is [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* of the distribution-spec.
func validSegment(s string) bool {
	separator := 0 // where the run of separators that i is in began
	for i := range len(s) {
		c := s[i]
		if lowerAlnum(c) {
			separator = i + 1
			continue
		}
		run := s[separator : i+1]
		if separator == 0 || i == len(s)-1 || (run != "." && run != "_" && run != "__" && strings.Trim(run, "-") != "") {
			return false
		}
	}
	return s != ""
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

// checkText refuses what is empty, too long, not UTF-8, or holds characters that
// do not print: control characters, and those that reorder what people read.
func checkText(what, s string, most int) error {
	if s == "" || len(s) > most {
		return fmt.Errorf("%s has %d bytes, want 1 to %d", what, len(s), most)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s is not valid UTF-8", what)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%s has the character %U", what, r)
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
		return fmt.Errorf("valid for %s, want 1s to %s", span(to-from), span(int64(most/time.Second)))
	}
	return nil
}

// span writes seconds as people do: 72h, 1h30m, 5s.
func span(seconds int64) string {
	if seconds > int64(math.MaxInt64/time.Second) || seconds < int64(math.MinInt64/time.Second) {
		return fmt.Sprintf("%ds", seconds)
	}
	text := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
