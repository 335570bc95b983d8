// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"maps"
	"slices"
	"strings"

	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/notaryv1"
)

// A NotaryV1Source is a collection of Docker Content Trust: where its metadata is
// and whose root keys it begins with.
type NotaryV1Source struct {
	// URL is the Notary server's, by https; the collection is read below it without
	// a login. Exactly one of URL and Folder is set.
	URL string `yaml:"url" json:"url,omitempty"`
	// Folder has recorded metadata: root.json and so on, delegations below targets.
	Folder string `yaml:"folder" json:"folder,omitempty"`
	// RootKeys are PEM public keys of the publisher. Root metadata that they did
	// not sign is refused, also at first sight. Required.
	RootKeys []string `yaml:"root-keys" json:"rootKeys"`
	// CertificateName is the name in the certificate of the root key; absent means
	// the repository, as docker writes it. It tells collections of one root key
	// apart.
	CertificateName string `yaml:"certificate-name" json:"certificateName,omitempty"`
	// MaxAge is how long what was fetched counts without another fetch: hours or
	// days, as 24h or 7d. Absent means until it expires by itself.
	MaxAge string `yaml:"max-age" json:"maxAge,omitempty"`
}

// maxRootKeys bounds the pinned keys of one collection.
const maxRootKeys = 16

func compileCollection(f *strictyaml.File, path, repository string, n NotaryV1Source) (*source, error) {
	name := "notary-v1 " + repository
	canonical, err := ParseRepository(repository)
	if err != nil || canonical != repository {
		return nil, f.Misuse(path, "write it as docker.io/acme/app", "%q is not the whole name of a repository", clipQuote(repository))
	}
	age, err := parseAge(n.MaxAge)
	switch {
	case (n.URL == "") == (n.Folder == ""):
		return nil, f.Misuse(path, "", "%s: want exactly one of url and folder", name)
	case len(n.RootKeys) == 0 || len(n.RootKeys) > maxRootKeys:
		return nil, f.Misuse(path+".root-keys", "paste the publisher's root key: nothing is trusted at first sight", "%s: %d root keys, want 1 to %d", name, len(n.RootKeys), maxRootKeys)
	case err != nil:
		return nil, f.Misuse(path+".max-age", "write hours or days, as 24h or 7d", "%s: max-age is %q", name, clipQuote(n.MaxAge))
	}
	s := &source{name: name, url: n.URL, folder: n.Folder, notary: &notaryv1.Config{GUN: repository, Name: n.CertificateName, MaxAge: age}}
	for _, text := range n.RootKeys {
		key, _, err := parsePublicKey([]byte(text))
		if err != nil {
			return nil, f.Misuse(path+".root-keys", "want one PEM block PUBLIC KEY each", "%s: %s", name, err)
		}
		s.notary.RootKeys = append(s.notary.RootKeys, key)
	}
	return s, nil
}

// NotaryV1 is Docker Content Trust: an image counts when a tag of its
// repository's collection has its digest and size.
type NotaryV1 struct {
	// Role is who has to say so: targets, or a delegation such as targets/releases.
	// "docker" means targets/releases where the collection has it and else targets,
	// as docker does; then a tag with two digests is refused. Required.
	Role string `yaml:"role" json:"role"`
}

// RoleDocker is the role that docker would ask.
const RoleDocker = "docker"

func (a *authority) compileNotaryV1(f *strictyaml.File, path string) error {
	if r := a.NotaryV1.Role; r != RoleDocker && !notaryv1.IsRole(r) {
		return f.Misuse(path+".notary-v1.role", "", "authority %q: role is %q, want docker, targets, or a delegation as targets/releases", a.name, clipQuote(r))
	}
	return nil
}

// A collectionTrust is which collections list images.
type collectionTrust struct {
	sources map[string]*source // by repository
	role    string             // "" for docker's order
}

// collectionMaterial returns which collections list images for a.
func (a *authority) collectionMaterial(roots *Roots) (*material, error) {
	t := &collectionTrust{sources: make(map[string]*source), role: a.NotaryV1.Role}
	id := []string{"notary-v1", t.role}
	if t.role == RoleDocker {
		t.role = ""
	}
	if roots != nil {
		for _, key := range slices.Sorted(maps.Keys(roots.sources)) {
			if s := roots.sources[key]; s.notary != nil {
				t.sources[s.notary.GUN] = s
				id = append(id, s.notary.GUN, string(s.digest()))
			}
		}
	}
	if len(t.sources) == 0 {
		return nil, verdict.Misused("name them under notary-v1 of the roots file", "authority %q: the trust roots have no collection [%s]", a.name, verdict.TrustMissing)
	}
	return &material{collections: t, id: strings.Join(id, " ")}, nil
}

// verifyCollection looks an image up in the collection of its repository.
func (m *material) verifyCollection(e *entity) (*fact, *stageError) {
	l, t := e.listing, m.collections
	s := t.sources[l.repository]
	switch {
	case s == nil:
		return nil, &stageError{stageSignature, verdict.Refuse(verdict.SigNone, "looking for the image in its collection: the trust roots have none for %q", clipQuote(l.repository))}
	case s.collection == nil:
		return nil, &stageError{stageRead, s.stale()}
	}
	found, err := s.collection.Lookup(l.sha256, l.size, t.role)
	if err != nil {
		return nil, &stageError{stageSignature, err}
	}
	if len(found) == 0 {
		return nil, &stageError{stageSignature, verdict.Refuse(verdict.SigNone, "looking for the image in its collection: no tag of a role that counts has its digest and size")}
	}
	return &fact{claims: e.claims, signer: &signer{issuer: "notary-v1", list: s.name, listKeys: found[0].Keys, san: found[0].Role + " " + l.repository + ":" + found[0].Path},
		trustUntil: s.collection.Expires(), list: s.collection.Digest()}, nil
}
