// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"strings"

	"github.com/assayd/assay/verdict"
)

// maxName bounds a reference: repository, tag (at most 128 bytes,
// distribution-spec "Pulling manifests") and digest.
const maxName = verdict.MaxRepository + 1 + 128 + 1 + 136

// ParseName returns the repository of a fully qualified image reference as
// containerd gives it (registry/repository, then :tag, @digest, or both) in its
// canonical form, and the digest in it if there is one. The error is a *verdict.Refusal input.malformed.
func ParseName(name string) (repository string, digest verdict.Digest, err error) {
	if len(name) > maxName {
		return "", "", verdict.Refuse(verdict.InputMalformed, "reading image name: %d bytes, want at most %d", len(name), maxName)
	}
	rest, digestText, hasDigest := strings.Cut(name, "@")
	if hasDigest {
		if digest, err = verdict.ParseDigest(digestText); err != nil {
			return "", "", verdict.Refuse(verdict.InputMalformed, "reading image name %.64q: %w", name, err)
		}
	}
	// A colon after the last slash begins a tag; one before it is a port.
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, '/') {
		if err := checkTag(rest[colon+1:]); err != nil {
			return "", "", verdict.Refuse(verdict.InputMalformed, "reading image name %.64q: %w", name, err)
		}
		rest = rest[:colon]
	}
	rest = canonical(rest)
	if err := verdict.CheckRepository(rest); err != nil {
		return "", "", verdict.Refuse(verdict.InputMalformed, "reading image name: %w", err)
	}
	return rest, digest, nil
}

// canonical writes a repository as policies and deny lists name it, so that no other
// spelling of the same walks around them: a host in lower case without the default
// port, one name for Docker Hub, and there library/ before a single segment.
func canonical(repository string) string {
	host, path, ok := strings.Cut(repository, "/")
	if !ok {
		return repository
	}
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && path != "" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return host + "/" + path
}

// checkTag holds the grammar of distribution-spec: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func checkTag(tag string) error {
	if tag == "" || len(tag) > 128 {
		return fmt.Errorf("tag has %d bytes, want 1 to 128", len(tag))
	}
	for i := range len(tag) {
		c := tag[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("tag has %q", c)
		}
	}
	return nil
}

// DescriptorType is the only media type of what a caller gives beside a name.
const DescriptorType = "application/vnd.oci.descriptor.v1+json"

// MaxDescriptor bounds the descriptor, in bytes.
const MaxDescriptor = 64 << 10

// CheckDescriptor compares an OCI descriptor with the digest that came beside it,
// and with the one in the image's name if that has one: what is decided about must
// be what is pulled. The error is a *verdict.Refusal input.malformed or
// subject.mismatch.
func CheckDescriptor(mediaType string, descriptor []byte, digest, named verdict.Digest) error {
	if mediaType != DescriptorType {
		return verdict.Refuse(verdict.InputMalformed, "reading descriptor: media type is %.64q, want %q", mediaType, DescriptorType)
	}
	if len(descriptor) > MaxDescriptor {
		return verdict.Refuse(verdict.InputMalformed, "reading descriptor: more than %d bytes", MaxDescriptor)
	}
	got, err := descriptorDigest(descriptor)
	if err != nil {
		return verdict.Refuse(verdict.InputMalformed, "reading descriptor: %w", err)
	}
	if got != digest {
		return verdict.Refuse(verdict.SubjectMismatch, "reading descriptor: its digest is %s, asked is %s", got.Short(), digest.Short())
	}
	if named != "" && named != digest {
		return verdict.Refuse(verdict.SubjectMismatch, "reading image name: its digest is %s, asked is %s", named.Short(), digest.Short())
	}
	return nil
}
