// SPDX-License-Identifier: Apache-2.0

package sigstoretest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// Media types that are written.
const (
	TypeManifest = "application/vnd.oci.image.manifest.v1+json"
	TypeIndex    = "application/vnd.oci.image.index.v1+json"
	TypeConfig   = "application/vnd.oci.image.config.v1+json"
	TypeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	TypeBundle   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	TypeEmpty    = "application/vnd.oci.empty.v1+json"
	typeSimple   = "application/vnd.dev.cosign.simplesigning.v1+json"
)

// A Store is where images and signatures are written: a [Layout] or a
// [Registry].
type Store interface {
	// PutBlob stores content under its SHA-256.
	PutBlob(ctx context.Context, repository string, content []byte) error
	// PutManifest stores a manifest under its digest, and under tag unless
	// that is "".
	PutManifest(ctx context.Context, repository, tag, mediaType string, content []byte) error
	// Tagged returns the manifest at a tag, or nil.
	Tagged(ctx context.Context, repository, tag string) ([]byte, error)
}

// A Layout writes an OCI image layout. It knows one repository only.
type Layout struct {
	dir string
	mu  sync.Mutex
	// index is index.json, in order.
	index []map[string]any
}

// NewLayout makes an empty layout in dir.
func NewLayout(dir string) (*Layout, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o750); err != nil {
		return nil, fmt.Errorf("making OCI layout: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600); err != nil {
		return nil, fmt.Errorf("making OCI layout: %w", err)
	}
	l := &Layout{dir: dir}
	return l, l.write()
}

// PutBlob implements [Store].
func (l *Layout) PutBlob(_ context.Context, _ string, content []byte) error {
	return os.WriteFile(filepath.Join(l.dir, "blobs", "sha256", verdict.SHA256(content).Hex()), content, 0o600)
}

// PutManifest implements [Store].
func (l *Layout) PutManifest(ctx context.Context, repository, tag, mediaType string, content []byte) error {
	if err := l.PutBlob(ctx, repository, content); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := map[string]any{"mediaType": mediaType, "digest": verdict.SHA256(content), "size": len(content)}
	if tag != "" {
		entry["annotations"] = map[string]string{"org.opencontainers.image.ref.name": tag}
		for i, e := range l.index {
			if a, ok := e["annotations"].(map[string]string); ok && a["org.opencontainers.image.ref.name"] == tag {
				l.index[i] = entry
				return l.write()
			}
		}
	}
	l.index = append(l.index, entry)
	return l.write()
}

// Tagged implements [Store].
func (l *Layout) Tagged(_ context.Context, _, tag string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.index {
		if a, ok := e["annotations"].(map[string]string); ok && a["org.opencontainers.image.ref.name"] == tag {
			d, ok := e["digest"].(verdict.Digest)
			if !ok {
				return nil, errors.New("reading OCI layout: an entry without digest")
			}
			b, err := os.ReadFile(filepath.Join(l.dir, "blobs", "sha256", d.Hex()))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
			return b, err
		}
	}
	return nil, nil
}

func (l *Layout) write() error {
	index := l.index
	if index == nil {
		index = []map[string]any{}
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": TypeIndex, "manifests": index})
	if err != nil {
		return fmt.Errorf("writing OCI layout: %w", err)
	}
	return os.WriteFile(filepath.Join(l.dir, "index.json"), b, 0o600)
}

// A Registry writes to an OCI registry without authentication.
type Registry struct {
	// URL is its base, such as http://127.0.0.1:5000.
	URL string
	// Client of nil means one that keeps no connection: a test server that closes
	// ends the idle connections of http.DefaultClient, also those of other tests.
	Client *http.Client
}

var ownClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// A reply is an answer that was read whole.
type reply struct {
	status int
	// location is the target of the Location header, or nil.
	location *url.URL
	body     []byte
}

func (r *Registry) do(ctx context.Context, method, target, contentType string, body []byte) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("writing to registry: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	if method == http.MethodGet {
		req.Header.Set("Accept", TypeManifest+", "+TypeIndex)
	}
	client := r.Client
	if client == nil {
		client = ownClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("writing to registry: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // the body was read
	out, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("writing to registry: %w", err)
	}
	a := &reply{status: resp.StatusCode, body: out}
	if loc, err := resp.Location(); err == nil {
		a.location = loc
	}
	return a, nil
}

// path strips the host from a repository's name: a client resolves it, and
// this one is told the address.
func (r *Registry) path(repository string) string {
	_, p, ok := strings.Cut(repository, "/")
	if !ok {
		return repository
	}
	return p
}

// PutBlob implements [Store].
func (r *Registry) PutBlob(ctx context.Context, repository string, content []byte) error {
	a, err := r.do(ctx, http.MethodPost, r.URL+"/v2/"+r.path(repository)+"/blobs/uploads/", "application/octet-stream", nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusAccepted || a.location == nil {
		return fmt.Errorf("writing to registry: upload: got status %d: %s", a.status, a.body)
	}
	q := a.location.Query()
	q.Set("digest", string(verdict.SHA256(content)))
	a.location.RawQuery = q.Encode()
	if a, err = r.do(ctx, http.MethodPut, a.location.String(), "application/octet-stream", content); err != nil {
		return err
	}
	if a.status != http.StatusCreated {
		return fmt.Errorf("writing to registry: blob: got status %d: %s", a.status, a.body)
	}
	return nil
}

// PutManifest implements [Store].
func (r *Registry) PutManifest(ctx context.Context, repository, tag, mediaType string, content []byte) error {
	refs := []string{string(verdict.SHA256(content))}
	if tag != "" {
		refs = append(refs, tag)
	}
	for _, ref := range refs {
		a, err := r.do(ctx, http.MethodPut, r.URL+"/v2/"+r.path(repository)+"/manifests/"+url.PathEscape(ref), mediaType, content)
		if err != nil {
			return err
		}
		if a.status != http.StatusCreated {
			return fmt.Errorf("writing to registry: manifest: got status %d: %s", a.status, a.body)
		}
	}
	return nil
}

// Tagged implements [Store].
func (r *Registry) Tagged(ctx context.Context, repository, tag string) ([]byte, error) {
	a, err := r.do(ctx, http.MethodGet, r.URL+"/v2/"+r.path(repository)+"/manifests/"+url.PathEscape(tag), "", nil)
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusNotFound:
		return nil, nil
	case a.status != http.StatusOK:
		return nil, fmt.Errorf("reading registry: got status %d", a.status)
	}
	return a.body, nil
}

func descriptor(mediaType string, content []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": verdict.SHA256(content), "size": len(content)}
}

// PushImage writes an image for linux/amd64 with one layer, which has one file
// with content, and returns its digest. The same content is the same image.
func PushImage(ctx context.Context, st Store, repository, tag string, content []byte) (verdict.Digest, error) {
	manifest, err := putImage(ctx, st, repository, "amd64", content)
	if err != nil {
		return "", err
	}
	return verdict.SHA256(manifest), st.PutManifest(ctx, repository, tag, TypeManifest, manifest)
}

// PushIndex writes an index of images for linux/amd64 and linux/arm64.
func PushIndex(ctx context.Context, st Store, repository, tag string, content []byte) (verdict.Digest, error) {
	var children []any
	for _, arch := range []string{"amd64", "arm64"} {
		m, err := putImage(ctx, st, repository, arch, append([]byte(arch+"\n"), content...))
		if err != nil {
			return "", err
		}
		if err := st.PutManifest(ctx, repository, "", TypeManifest, m); err != nil {
			return "", err
		}
		d := descriptor(TypeManifest, m)
		d["platform"] = map[string]string{"os": "linux", "architecture": arch}
		children = append(children, d)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": TypeIndex, "manifests": children})
	if err != nil {
		return "", fmt.Errorf("encoding test index: %w", err)
	}
	return verdict.SHA256(index), st.PutManifest(ctx, repository, tag, TypeIndex, index)
}

func putImage(ctx context.Context, st Store, repository, arch string, content []byte) ([]byte, error) {
	var plain, packed bytes.Buffer
	tw := tar.NewWriter(&plain)
	if err := tw.WriteHeader(&tar.Header{Name: "content", Mode: 0o644, Size: int64(len(content))}); err != nil {
		return nil, fmt.Errorf("making test layer: %w", err)
	}
	if _, err := tw.Write(content); err != nil {
		return nil, fmt.Errorf("making test layer: %w", err)
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("making test layer: %w", err)
	}
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write(plain.Bytes()); err != nil {
		return nil, fmt.Errorf("making test layer: %w", err)
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("making test layer: %w", err)
	}
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": arch, "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []verdict.Digest{verdict.SHA256(plain.Bytes())}}})
	if err != nil {
		return nil, fmt.Errorf("encoding test image: %w", err)
	}
	for _, b := range [][]byte{packed.Bytes(), config} {
		if err := st.PutBlob(ctx, repository, b); err != nil {
			return nil, err
		}
	}
	return json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": TypeManifest, "config": descriptor(TypeConfig, config), "layers": []any{descriptor(TypeLayer, packed.Bytes())}})
}

// AttachLegacy writes cosign's .sig manifest with these layers, in place of
// the one before.
func AttachLegacy(ctx context.Context, st Store, repository string, image verdict.Digest, layers ...Layer) error {
	var descriptors []any
	var diffs []verdict.Digest
	for _, l := range layers {
		if err := st.PutBlob(ctx, repository, l.Payload); err != nil {
			return err
		}
		d := descriptor(typeSimple, l.Payload)
		d["annotations"] = l.Annotations
		descriptors = append(descriptors, d)
		diffs = append(diffs, verdict.SHA256(l.Payload))
	}
	config, err := json.Marshal(map[string]any{"architecture": "", "os": "", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}})
	if err != nil {
		return fmt.Errorf("encoding test signature: %w", err)
	}
	if err := st.PutBlob(ctx, repository, config); err != nil {
		return err
	}
	m, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": TypeManifest, "config": descriptor(TypeConfig, config), "layers": descriptors})
	if err != nil {
		return fmt.Errorf("encoding test signature: %w", err)
	}
	return st.PutManifest(ctx, repository, image.Algorithm()+"-"+image.Hex()+".sig", TypeManifest, m)
}

// Attach writes a bundle as an artifact that refers to image (OCI 1.1). Hint
// is the unsigned annotation with its predicate type, or "". With tag it is
// also listed at the referrers tag, for registries without the API.
func Attach(ctx context.Context, st Store, repository string, image verifier.Descriptor, bundle []byte, hint string, tag bool) error {
	empty := []byte("{}")
	for _, b := range [][]byte{empty, bundle} {
		if err := st.PutBlob(ctx, repository, b); err != nil {
			return err
		}
	}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": TypeManifest, "artifactType": TypeBundle,
		"config": descriptor(TypeEmpty, empty), "layers": []any{descriptor(TypeBundle, bundle)},
		"subject": map[string]any{"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size}}
	if hint != "" {
		manifest["annotations"] = map[string]string{"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": hint}
	}
	m, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("encoding test referrer: %w", err)
	}
	if err := st.PutManifest(ctx, repository, "", TypeManifest, m); err != nil || !tag {
		return err
	}
	name := image.Digest.Algorithm() + "-" + image.Digest.Hex()[:64]
	old, err := st.Tagged(ctx, repository, name)
	if err != nil {
		return err
	}
	index := struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     string           `json:"mediaType"`
		Manifests     []map[string]any `json:"manifests"`
	}{SchemaVersion: 2, MediaType: TypeIndex}
	if old != nil {
		if err := json.Unmarshal(old, &index); err != nil {
			return fmt.Errorf("reading test referrers: %w", err)
		}
	}
	d := descriptor(TypeManifest, m)
	d["artifactType"] = TypeBundle
	index.Manifests = append(index.Manifests, d)
	list, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("encoding test referrers: %w", err)
	}
	return st.PutManifest(ctx, repository, name, TypeIndex, list)
}
