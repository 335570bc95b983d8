// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// real has two signatures that real tools made with keys in Azure Key Vault, over
// the manifest of Docker's hello-world; see NOTICE.
//
//go:embed testdata
var real embed.FS

// shared is where a checkout may have more real images, which are not ours to
// redistribute; used in place.
const shared = "../shared/testdata"

// The signers of the demo's own images.
const (
	issuer    = "https://token.actions.githubusercontent.com"
	releaser  = "https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main"
	otherTeam = "https://github.com/acme/other/.github/workflows/release.yaml@refs/heads/main"
)

// An image is one in the demo's registry.
type image struct {
	repository string
	digest     verdict.Digest
}

// images are all of them, with the files that say how to verify them.
type images struct {
	server *httptest.Server
	host   string

	keyless, keyed, fresh, unsigned, wrongIdentity, tampered, copied, denied, realECDSA, realRSA, sharedKeyless image

	policy, roots []byte
}

// newImages starts a registry on loopback and fills it.
func newImages(ctx context.Context, at time.Time) (*images, error) {
	tamper := &tamperer{next: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
	s := &images{server: httptest.NewServer(tamper)}
	s.host = s.server.Listener.Addr().(*net.TCPAddr).String()
	store := &sigstoretest.Registry{URL: s.server.URL, Client: s.server.Client()}
	ca, err := sigstoretest.New(sigstoretest.Config{At: at})
	if err != nil {
		return nil, err
	}
	if s.roots, err = ca.TrustedRoot(); err != nil {
		return nil, err
	}
	if s.roots, err = mergeRoots(verifier.PublicGoodJSON(), s.roots); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	for _, i := range []struct {
		image            *image
		name, content    string
		keyless, subject string
		keyed            bool
	}{
		{&s.keyless, "acme/app", "the application", "bundle", releaser, false},
		{&s.keyed, "acme/tool", "a tool", "", "", true},
		{&s.fresh, "acme/app", "the next version", "bundle", releaser, false},
		{&s.unsigned, "acme/app", "built on a laptop", "", "", false},
		{&s.wrongIdentity, "acme/app", "built elsewhere", "bundle", otherTeam, false},
		{&s.tampered, "acme/app", "changed on the way", "bundle", releaser, false},
		{&s.copied, "acme/tool", "the application", "bundle", releaser, false},
		{&s.denied, "acme/app", "has a hole", "bundle", releaser, false},
	} {
		repository := s.host + "/" + i.name
		digest, err := sigstoretest.PushImage(ctx, store, repository, "", []byte(i.content))
		if err != nil {
			return nil, err
		}
		*i.image = image{repository, digest}
		if err := sign(ctx, store, ca, repository, digest, i.subject, i.keyed, key, at); err != nil {
			return nil, err
		}
	}
	tamper.flip(s.tampered.digest)
	for name, img := range map[string]*image{"p384": &s.realECDSA, "rsa3072": &s.realRSA} {
		dir, err := fs.Sub(real, "testdata/hello-world-akv-"+name)
		if err != nil {
			return nil, err
		}
		img.repository = s.host + "/real/" + name
		if img.digest, err = pushLayout(ctx, store, img.repository, dir); err != nil {
			return nil, err
		}
	}
	if dir := os.DirFS(path.Join(shared, "images/connaisseur-rekor-test")); exists(dir, "index.json") {
		s.sharedKeyless.repository = s.host + "/real/rekor-test"
		if s.sharedKeyless.digest, err = pushLayout(ctx, store, s.sharedKeyless.repository, dir); err != nil {
			return nil, err
		}
	}
	s.policy, err = s.policyText(key)
	return s, err
}

func exists(dir fs.FS, name string) bool {
	_, err := fs.Stat(dir, name)
	return err == nil
}

// sign signs an image as its row says: with a certificate for subject as a bundle
// that refers to it, or with the key as cosign did before bundles.
func sign(ctx context.Context, store sigstoretest.Store, ca *sigstoretest.Sigstore, name string, digest verdict.Digest, subject string, keyed bool, key *ecdsa.PrivateKey, at time.Time) error {
	switch {
	case subject != "":
		bundle, err := ca.Bundle(digest, sigstoretest.Options{Issuer: issuer, Subject: subject, At: at})
		if err != nil {
			return err
		}
		manifest, err := store.Tagged(ctx, name, string(digest))
		if err != nil {
			return err
		}
		return sigstoretest.Attach(ctx, store, name, verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: digest, Size: int64(len(manifest))}, bundle, "", false)
	case keyed:
		layer, err := ca.Legacy(name, digest, sigstoretest.Options{Key: key, At: at})
		if err != nil {
			return err
		}
		return sigstoretest.AttachLegacy(ctx, store, name, digest, layer)
	default:
		return nil
	}
}

// policyText is the policy of the demo.
func (s *images) policyText(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "version: 1\nauthorities:\n")
	fmt.Fprintf(&b, "  release:\n    keyless: {issuer: %q, subject: %q}\n", issuer, releaser)
	keys := map[string][]byte{"operations": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	for _, name := range []string{"p384", "rsa3072"} {
		if keys[name], err = real.ReadFile("testdata/hello-world-akv-" + name + "/key.pub"); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"operations", "p384", "rsa3072"} {
		fmt.Fprintf(&b, "  %s:\n    key:\n      pem: |\n        %s\n", name, strings.ReplaceAll(strings.TrimSpace(string(keys[name])), "\n", "\n        "))
	}
	rules := [][3]string{{"app", "acme/app", "release"}, {"tool", "acme/tool", "operations"}, {"real-p384", "real/p384", "p384"}, {"real-rsa3072", "real/rsa3072", "rsa3072"}}
	if s.sharedKeyless.digest != "" {
		fmt.Fprintf(&b, "  belitz:\n    keyless: {issuer: \"https://github.com/login/oauth\", subject: \"philipp.belitz@securesystems.de\"}\n")
		rules = append(rules, [3]string{"rekor-test", "real/rekor-test", "belitz"})
	}
	fmt.Fprintf(&b, "rules:\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "  - name: %s\n    repositories: [%q]\n    authorities: [%s]\n", r[0], s.host+"/"+r[1], r[2])
	}
	return b.Bytes(), nil
}

// mergeRoots returns a trusted_root.json that has what either has.
func mergeRoots(a, b []byte) ([]byte, error) {
	var x, y map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		return nil, err
	}
	for name, more := range y {
		var have, add []json.RawMessage
		if json.Unmarshal(more, &add) != nil {
			continue // the media type
		}
		if raw, ok := x[name]; ok {
			if err := json.Unmarshal(raw, &have); err != nil {
				return nil, err
			}
		}
		merged, err := json.Marshal(append(have, add...))
		if err != nil {
			return nil, err
		}
		x[name] = merged
	}
	return json.Marshal(x)
}

// pushLayout copies an OCI image layout with its tags into a repository, and
// returns the digest of what is tagged without an algorithm: the image.
func pushLayout(ctx context.Context, store sigstoretest.Store, name string, dir fs.FS) (verdict.Digest, error) {
	var index struct {
		Manifests []struct {
			MediaType   string            `json:"mediaType"`
			Digest      verdict.Digest    `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	data, err := fs.ReadFile(dir, "index.json")
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		return "", err
	}
	manifests := map[string]bool{}
	for _, m := range index.Manifests {
		manifests[m.Digest.Hex()] = true
	}
	blobs, err := fs.ReadDir(dir, "blobs/sha256")
	if err != nil {
		return "", err
	}
	for _, b := range blobs {
		data, err := fs.ReadFile(dir, "blobs/sha256/"+b.Name())
		if err == nil && !manifests[b.Name()] {
			err = store.PutBlob(ctx, name, data)
		}
		if err != nil {
			return "", err
		}
	}
	var found verdict.Digest
	for _, m := range index.Manifests {
		tag := m.Annotations["org.opencontainers.image.ref.name"]
		data, err := fs.ReadFile(dir, "blobs/sha256/"+m.Digest.Hex())
		if err == nil {
			err = store.PutManifest(ctx, name, tag, m.MediaType, data)
		}
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(tag, "sha256-") {
			found = m.Digest
		}
	}
	return found, nil
}

// A tamperer is a registry that changes one byte of what it was told to.
type tamperer struct {
	next http.Handler
	mu   sync.Mutex
	bad  verdict.Digest
}

func (t *tamperer) flip(d verdict.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bad = d
}

func (t *tamperer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	bad := t.bad
	t.mu.Unlock()
	if r.Method != http.MethodGet || bad == "" || !strings.HasSuffix(r.URL.Path, "/manifests/"+string(bad)) {
		t.next.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	t.next.ServeHTTP(answer, r)
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	body := bytes.Replace(answer.Body.Bytes(), []byte("sha256:"), []byte("sha256;"), 1)
	if _, err := w.Write(body); err != nil {
		return // the client has gone
	}
}
