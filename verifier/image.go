// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/assayd/assay/verdict"
)

// An Image names what is verified: the bytes by their digest, and the
// repository that rules are matched with. The zero value names nothing.
type Image struct {
	// Repository is the canonical name: host, slash, path; "docker.io/library/x"
	// for what Docker writes as "x". It is empty for a digest that came without
	// a name: then only a rule for "**" matches.
	Repository string
	// Digest is that of the manifest or index asked for.
	Digest verdict.Digest
}

// String returns repository@digest, or the digest alone.
func (i Image) String() string {
	if i.Repository == "" {
		return string(i.Digest)
	}
	return i.Repository + "@" + string(i.Digest)
}

// A Reference is what a person writes for an image. Exactly one of Repository
// and Layout is set, or neither for a bare digest.
type Reference struct {
	// Repository is canonical, as in [Image].
	Repository string
	// Tag is what is to be resolved when Digest is empty.
	Tag string
	// Digest is empty when only a tag was given.
	Digest verdict.Digest
	// Layout is the folder of an OCI image layout (oci:DIR@DIGEST).
	Layout string
}

// Image returns the image that r names. Its digest is empty when r has a tag
// only.
func (r Reference) Image() Image { return Image{Repository: r.Repository, Digest: r.Digest} }

// Limits of names. maxRepository is design.md §4.3's, the rest is that of the
// OCI distribution specification.
const (
	maxRepository = 512
	maxTag        = 128
	maxReference  = 4096 // of a reference with a folder in it
)

// dockerHost is how Docker Hub is called in canonical names.
const dockerHost = "docker.io"

// ParseReference reads a registry reference (host/path:tag@digest, with tag or
// digest or both), "oci:DIR@DIGEST", or a bare digest. What is not one of them
// is a [verdict.Refusal] with input.malformed.
func ParseReference(s string) (Reference, error) {
	if s == "" || len(s) > maxReference {
		return Reference{}, verdict.Refuse(verdict.InputMalformed, "reading image reference: %d bytes, want 1 to %d", len(s), maxReference)
	}
	if dir, ok := strings.CutPrefix(s, "oci:"); ok {
		dir, dig, ok := cutLast(dir, "@")
		if !ok || dir == "" {
			return Reference{}, verdict.Refuse(verdict.InputMalformed, "reading image reference %q: want oci:DIR@sha256:…", clipQuote(s))
		}
		d, err := parseDigest(dig)
		if err != nil {
			return Reference{}, err
		}
		return Reference{Layout: dir, Digest: d}, nil
	}
	if strings.HasPrefix(s, "sha256:") || strings.HasPrefix(s, "sha512:") {
		d, err := parseDigest(s)
		if err != nil {
			return Reference{}, err
		}
		return Reference{Digest: d}, nil
	}
	name, dig, hasDigest := strings.Cut(s, "@")
	var r Reference
	if hasDigest {
		d, err := parseDigest(dig)
		if err != nil {
			return Reference{}, err
		}
		r.Digest = d
	}
	// A colon after the last slash begins a tag; one before it is a port.
	if slash, colon := strings.LastIndexByte(name, '/'), strings.LastIndexByte(name, ':'); colon > slash {
		r.Tag = name[colon+1:]
		name = name[:colon]
		if !validTag(r.Tag) {
			return Reference{}, verdict.Refuse(verdict.InputMalformed, "reading image reference: tag %q is not one", clipQuote(r.Tag))
		}
	}
	if !hasDigest && r.Tag == "" {
		return Reference{}, verdict.Refuse(verdict.InputMalformed, "reading image reference %q: neither tag nor digest", clipQuote(s))
	}
	repo, err := ParseRepository(name)
	if err != nil {
		return Reference{}, err
	}
	r.Repository = repo
	return r, nil
}

// ParseImage reads a registry reference that has a digest. A tag beside the
// digest is ignored, as everywhere.
func ParseImage(s string) (Image, error) {
	r, err := ParseReference(s)
	if err != nil {
		return Image{}, err
	}
	if r.Layout != "" || r.Repository == "" || r.Digest == "" {
		return Image{}, verdict.Refuse(verdict.InputMalformed, "reading image reference %q: want host/repository@sha256:…", clipQuote(s))
	}
	return r.Image(), nil
}

// ParseRepository returns the one canonical form of a repository's name, so
// that "nginx", "library/nginx", "index.docker.io/library/nginx" and
// "docker.io/nginx" are the same name for every rule.
func ParseRepository(name string) (string, error) {
	if name == "" || len(name) > maxRepository {
		return "", verdict.Refuse(verdict.InputMalformed, "reading repository name: %d bytes, want 1 to %d", len(name), maxRepository)
	}
	host, path, ok := strings.Cut(name, "/")
	if !ok || (!strings.ContainsAny(host, ".:") && host != "localhost") {
		host, path = dockerHost, name
	}
	host = canonicalHost(host)
	if host == dockerHost && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	// Package verdict holds the form that tickets and deny lists compare.
	if err := verdict.CheckRepository(host + "/" + path); err != nil {
		return "", verdict.Refuse(verdict.InputMalformed, "reading repository name: %w", err)
	}
	return host + "/" + path, nil
}

// canonicalHost gives each registry its one name: without the default port,
// with IPv6 addresses in the form of RFC 5952.
func canonicalHost(host string) string {
	host = strings.TrimSuffix(host, ":443")
	if literal, rest, ok := strings.Cut(strings.TrimPrefix(host, "["), "]"); ok && strings.HasPrefix(host, "[") {
		if a, err := netip.ParseAddr(literal); err == nil {
			host = "[" + a.String() + "]" + rest
		}
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		return dockerHost
	}
	return host
}

// validHost accepts lower-case DNS names, IPv4, bracketed IPv6, and a port.
func validHost(h string) bool {
	name := h
	if i := strings.LastIndexByte(h, ':'); i >= 0 && !strings.HasSuffix(h, "]") {
		port, err := strconv.ParseUint(h[i+1:], 10, 16)
		if err != nil || port == 0 || h[i+1] == '+' {
			return false
		}
		name = h[:i]
	}
	if strings.HasPrefix(name, "[") {
		return strings.HasSuffix(name, "]") && net.ParseIP(name[1:len(name)-1]) != nil
	}
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !lowerAlnum(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

// validSegment is the OCI grammar of one path component:
// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func validSegment(s string) bool {
	if s == "" || !lowerAlnum(s[0]) || !lowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if lowerAlnum(s[i]) {
			i++
			continue
		}
		j := i
		for j < len(s) && !lowerAlnum(s[j]) {
			j++
		}
		switch sep := s[i:j]; {
		case sep == ".", sep == "_", sep == "__", strings.Trim(sep, "-") == "": // fine
		default:
			return false
		}
		i = j
	}
	return true
}

func lowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func validTag(t string) bool {
	if t == "" || len(t) > maxTag {
		return false
	}
	for i, c := range []byte(t) {
		ok := lowerAlnum(c) || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && (c == '.' || c == '-')
		if !ok {
			return false
		}
	}
	return true
}

// parseDigest gives package verdict's strict form its code.
func parseDigest(s string) (verdict.Digest, error) {
	d, err := verdict.ParseDigest(s)
	if err != nil {
		return "", verdict.Refuse(verdict.InputMalformed, "reading digest %q: %w", clipQuote(s), err)
	}
	return d, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// clipQuote bounds what an error quotes of its input (style: 64 bytes).
func clipQuote(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
