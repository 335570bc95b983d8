// SPDX-License-Identifier: Apache-2.0

// Package notaryv1test publishes collections of Docker Content Trust for tests. Nothing
// else signs them here.
package notaryv1test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Role is who signs one kind of metadata, and what is in it.
type Role struct {
	Keys      []*Key
	Threshold int
	Version   int
	Expires   time.Time
	// Targets are tags, of targets and delegations.
	Targets map[string]any
	// Paths are prefixes of tags, of delegations.
	Paths []string
	// Change changes what is signed, and Sealed the whole file, after it was signed.
	Change func(signed map[string]any)
	Sealed func(file map[string]any)
	// Signers sign in place of Keys, and Absent leaves the file out.
	Signers []*Key
	Absent  bool
}

// A Key is a key on P-256.
type Key struct {
	Private *ecdsa.PrivateKey
	// Certificate, when set, is what is published in place of the key.
	Certificate []byte // DER
	// Method is the name of the signature method; "" means ecdsa.
	Method string
	// Spoil changes a signature.
	Spoil func([]byte)
}

// A Collection is a collection and its keys.
type Collection struct {
	t testing.TB
	// Roles are root, timestamp, snapshot, targets, and delegations by name. A test
	// changes them and calls Publish.
	Roles map[string]*Role

	mu    sync.Mutex
	files map[string][]byte
	// Down makes the server answer with 503.
	down bool
}

// New makes a collection with one root key, whose certificate is for name, and no
// tags. Everything expires at until.
func New(t testing.TB, name string, until time.Time) *Collection {
	t.Helper()
	c := &Collection{t: t, Roles: make(map[string]*Role)}
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		c.Roles[role] = &Role{Keys: []*Key{NewKey(t)}, Threshold: 1, Version: 1, Expires: until}
	}
	c.Roles["root"].Keys[0].Certify(t, name, until)
	c.Roles["targets"].Targets = make(map[string]any)
	c.Publish()
	return c
}

// Delegate adds a delegation of targets for tags with that prefix.
func (c *Collection) Delegate(name, prefix string) *Role {
	r := &Role{Keys: []*Key{NewKey(c.t)}, Threshold: 1, Version: 1, Expires: c.Roles["root"].Expires, Targets: make(map[string]any), Paths: []string{prefix}}
	c.Roles[name] = r
	return r
}

// NewKey makes a key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Key{Private: private}
}

// Certify makes a self-signed certificate for k, as docker does for root keys.
func (k *Key) Certify(t testing.TB, name string, until time.Time) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: until.AddDate(-10, 0, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Private.Public(), k.Private)
	if err != nil {
		t.Fatal(err)
	}
	k.Certificate = der
}

// PEM is the public key, as it is pinned.
func (k *Key) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der()})
}

func (k *Key) der() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
	if err != nil {
		panic(err) // a P-256 key has a form
	}
	return der
}

func (k *Key) id() string {
	sum := sha256.Sum256(append(k.der(), k.Certificate...))
	return hex.EncodeToString(sum[:])
}

func (k *Key) published() map[string]any {
	if k.Certificate != nil {
		return map[string]any{"keytype": "ecdsa-x509", "keyval": map[string]any{"public": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate}), "private": nil}}
	}
	return map[string]any{"keytype": "ecdsa", "keyval": map[string]any{"public": k.der(), "private": nil}}
}

// Target is the entry of a tag for an image manifest of these bytes.
func Target(manifest []byte) map[string]any { return entry(manifest) }

func entry(data []byte) map[string]any {
	short, long := sha256.Sum256(data), sha512.Sum512(data)
	return map[string]any{"length": len(data), "hashes": map[string]any{"sha256": short[:], "sha512": long[:]}}
}

// role is what root and delegators say of who signs.
func (r *Role) role() map[string]any {
	ids := []string{}
	for _, k := range r.Keys {
		ids = append(ids, k.id())
	}
	return map[string]any{"keyids": ids, "threshold": r.Threshold}
}

// Publish signs everything anew.
func (c *Collection) Publish() {
	c.t.Helper()
	files := make(map[string][]byte)
	var delegated []string
	for _, name := range slices.Sorted(maps.Keys(c.Roles)) {
		if strings.HasPrefix(name, "targets/") {
			delegated = append(delegated, name)
		}
	}
	children := func(parent string) any {
		keys, roles := map[string]any{}, []any{}
		for _, name := range delegated {
			if name[:strings.LastIndex(name, "/")] != parent {
				continue
			}
			r := c.Roles[name].role()
			r["name"], r["paths"] = name, c.Roles[name].Paths
			roles = append(roles, r)
			for _, k := range c.Roles[name].Keys {
				keys[k.id()] = k.published()
			}
		}
		return map[string]any{"keys": keys, "roles": roles}
	}
	put := func(name, kind string, extra map[string]any) {
		r := c.Roles[name]
		signed := map[string]any{"_type": kind, "version": r.Version, "expires": r.Expires.UTC().Format(time.RFC3339)}
		maps.Copy(signed, extra)
		if r.Change != nil {
			r.Change(signed)
		}
		data := c.json(signed)
		sum := sha256.Sum256(data)
		signatures := []any{}
		signers := r.Signers
		if signers == nil {
			signers = r.Keys
		}
		for _, k := range signers {
			x, y, err := ecdsa.Sign(rand.Reader, k.Private, sum[:])
			if err != nil {
				c.t.Fatal(err)
			}
			sig := make([]byte, 64)
			x.FillBytes(sig[:32])
			y.FillBytes(sig[32:])
			if k.Spoil != nil {
				k.Spoil(sig)
			}
			method := k.Method
			if method == "" {
				method = "ecdsa"
			}
			signatures = append(signatures, map[string]any{"keyid": k.id(), "method": method, "sig": sig})
		}
		file := map[string]any{"signed": json.RawMessage(data), "signatures": signatures}
		if r.Sealed != nil {
			r.Sealed(file)
		}
		if !r.Absent {
			files[name+".json"] = c.json(file)
		}
	}

	keys, roles := map[string]any{}, map[string]any{}
	for _, name := range []string{"root", "timestamp", "snapshot", "targets"} {
		roles[name] = c.Roles[name].role()
		for _, k := range c.Roles[name].Keys {
			keys[k.id()] = k.published()
		}
	}
	put("root", "Root", map[string]any{"keys": keys, "roles": roles, "consistent_snapshot": false})
	put("targets", "Targets", map[string]any{"targets": c.Roles["targets"].Targets, "delegations": children("targets")})
	meta := map[string]any{}
	for _, name := range delegated {
		put(name, "Targets", map[string]any{"targets": c.Roles[name].Targets, "delegations": children(name)})
	}
	for name, data := range files {
		meta[strings.TrimSuffix(name, ".json")] = entry(data)
	}
	put("snapshot", "Snapshot", map[string]any{"meta": meta})
	put("timestamp", "Timestamp", map[string]any{"meta": map[string]any{"snapshot": entry(files["snapshot.json"])}})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = files
}

func (c *Collection) json(v any) []byte {
	c.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// Replace serves other bytes as a file, whatever was signed; nil takes it away.
func (c *Collection) Replace(name string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if data == nil {
		delete(c.files, name)
		return
	}
	c.files[name] = data
}

// File returns what is published as name.
func (c *Collection) File(name string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files[name]
}

// SetDown makes the server answer 503, or no longer.
func (c *Collection) SetDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Fetch returns a file by name, or fs.ErrNotExist.
func (c *Collection) Fetch(ctx context.Context, name string, _ int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

// ServeHTTP serves it as a Notary server does, whichever collection is asked for.
func (c *Collection) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, name, ok := strings.Cut(r.URL.Path, "/_trust/tuf/")
	c.mu.Lock()
	data, there := c.files[name]
	down := c.down
	c.mu.Unlock()
	switch {
	case down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case !ok || !there || !strings.HasPrefix(r.URL.Path, "/v2/"):
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write(data)
	}
}
