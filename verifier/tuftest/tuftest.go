// SPDX-License-Identifier: Apache-2.0

// Package tuftest makes repositories of The Update Framework for tests, with keys
// of their own: good ones, and such where one thing is changed.
package tuftest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A Repository is one that is edited and published again. Its fields may be
// changed between two calls of [Repository.Publish].
type Repository struct {
	t testing.TB
	// Keys of each role; Signers sign, by default all of them.
	Keys    map[string][]*ecdsa.PrivateKey
	Signers map[string][]*ecdsa.PrivateKey
	// Threshold of each role, 1 by default.
	Threshold map[string]int
	// Version of each role, 1 by default.
	Version map[string]int
	// Expires of each role; Until is the default.
	Expires map[string]time.Time
	Until   time.Time
	// SignTwice adds each signature again, under the key's identifier after "again-".
	SignTwice bool
	// Bare metadata names versions alone, no lengths and no hashes.
	Bare bool
	// Edit changes the signed part of a role before it is signed.
	Edit map[string]func(signed map[string]any)
	// Targets by role and path, in the form of [Target].
	Targets map[string]map[string]any
	// Delegations of a role, in order.
	Delegations map[string][]Delegation
	// Served is what was published, by path.
	Served map[string][]byte
	// Asked counts what was fetched.
	Asked map[string]int
}

// A Delegation is one of a role, to another by Name.
type Delegation struct {
	Name             string
	Paths            []string
	PathHashPrefixes []string
	Terminating      bool
}

// New makes a repository with one key for each role, that counts until then.
func New(t testing.TB, until time.Time) *Repository {
	r := &Repository{
		t: t, Keys: map[string][]*ecdsa.PrivateKey{}, Signers: map[string][]*ecdsa.PrivateKey{}, Threshold: map[string]int{},
		Version: map[string]int{}, Expires: map[string]time.Time{}, Until: until, Edit: map[string]func(map[string]any){},
		Targets: map[string]map[string]any{"targets": {}}, Delegations: map[string][]Delegation{},
		Served: map[string][]byte{}, Asked: map[string]int{},
	}
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		r.Keys[role] = []*ecdsa.PrivateKey{NewKey(t)}
	}
	return r
}

// TB is the test that it is for.
func (r *Repository) TB() testing.TB { return r.t }

// NewKey makes a key on P-256.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Delegate adds a role with a key of its own, and its targets.
func (r *Repository) Delegate(from string, d Delegation, targets map[string]any) {
	r.Delegations[from] = append(r.Delegations[from], d)
	if r.Keys[d.Name] == nil {
		r.Keys[d.Name] = []*ecdsa.PrivateKey{NewKey(r.t)}
	}
	r.Targets[d.Name] = targets
}

// Target describes content.
func Target(content string) map[string]any {
	sum := sha256.Sum256([]byte(content))
	return map[string]any{"length": len(content), "hashes": map[string]any{"sha256": hex.EncodeToString(sum[:])}}
}

// Hex is the SHA-256 of content.
func Hex(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// File adds a target of the role targets, with its content.
func (r *Repository) File(name, content string) {
	r.Targets["targets"][name] = Target(content)
	dir, base := "", name
	if i := strings.LastIndex(name, "/"); i >= 0 {
		dir, base = name[:i+1], name[i+1:]
	}
	r.Served["targets/"+dir+Hex(content)+"."+base] = []byte(content)
}

func (r *Repository) keyID(k *ecdsa.PrivateKey) string {
	return Hex(r.pem(k))
}

func (r *Repository) pem(k *ecdsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		r.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Key is the form of a key in metadata.
func (r *Repository) Key(k *ecdsa.PrivateKey) map[string]any {
	return map[string]any{"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": map[string]any{"public": r.pem(k)}}
}

func (r *Repository) keyRole(role string, keys map[string]any) map[string]any {
	var ids []string
	for _, k := range r.Keys[role] {
		keys[r.keyID(k)] = r.Key(k)
		ids = append(ids, r.keyID(k))
	}
	return map[string]any{"keyids": ids, "threshold": max(r.Threshold[role], 1)}
}

func (r *Repository) version(role string) int { return max(r.Version[role], 1) }

// sign makes the document of a role.
func (r *Repository) sign(role, kind string, signed map[string]any) []byte {
	r.t.Helper()
	signed["_type"], signed["spec_version"], signed["version"] = kind, "1.0.31", r.version(role)
	until := r.Until
	if e, ok := r.Expires[role]; ok {
		until = e
	}
	signed["expires"] = until.UTC().Format(time.RFC3339)
	if edit := r.Edit[role]; edit != nil {
		edit(signed)
	}
	signers := r.Keys[role]
	if s, ok := r.Signers[role]; ok {
		signers = s
	}
	signatures := []any{}
	sum := sha256.Sum256(canonical(r.t, signed))
	for _, k := range signers {
		sig, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
		if err != nil {
			r.t.Fatal(err)
		}
		signatures = append(signatures, map[string]any{"keyid": r.keyID(k), "sig": hex.EncodeToString(sig)})
		if r.SignTwice {
			signatures = append(signatures, map[string]any{"keyid": "again-" + r.keyID(k), "sig": hex.EncodeToString(sig)})
		}
	}
	data, err := json.Marshal(map[string]any{"signed": signed, "signatures": signatures})
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// canonical is the canonical JSON of what the tests have: strings whose one escape
// is that of line ends.
func canonical(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.ReplaceAll(string(data), `\n`, "\n"))
}

// PublishRoot publishes the root of the present version, and returns it.
func (r *Repository) PublishRoot() []byte {
	r.t.Helper()
	keys, roles := map[string]any{}, map[string]any{}
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		roles[role] = r.keyRole(role, keys)
	}
	root := r.sign("root", "root", map[string]any{"consistent_snapshot": true, "keys": keys, "roles": roles})
	r.Served[fmt.Sprintf("%d.root.json", r.version("root"))] = root
	return root
}

// Publish publishes all but the root.
func (r *Repository) Publish() {
	r.t.Helper()
	meta := map[string]any{}
	for role, targets := range r.Targets {
		signed := map[string]any{"targets": targets}
		if len(r.Delegations[role]) > 0 {
			keys, roles := map[string]any{}, []any{}
			for _, d := range r.Delegations[role] {
				m := r.keyRole(d.Name, keys)
				m["name"], m["terminating"] = d.Name, d.Terminating
				if d.Paths != nil {
					m["paths"] = d.Paths
				}
				if d.PathHashPrefixes != nil {
					m["path_hash_prefixes"] = d.PathHashPrefixes
				}
				roles = append(roles, m)
			}
			signed["delegations"] = map[string]any{"keys": keys, "roles": roles}
		}
		data := r.sign(role, "targets", signed)
		meta[role+".json"] = r.entry(role, data)
		r.Served[fmt.Sprintf("%d.%s.json", r.version(role), url.PathEscape(role))] = data
	}
	snapshot := r.sign("snapshot", "snapshot", map[string]any{"meta": meta})
	r.Served[fmt.Sprintf("%d.snapshot.json", r.version("snapshot"))] = snapshot
	r.Served["timestamp.json"] = r.sign("timestamp", "timestamp", map[string]any{"meta": map[string]any{"snapshot.json": r.entry("snapshot", snapshot)}})
}

func (r *Repository) entry(role string, data []byte) map[string]any {
	if r.Bare {
		return map[string]any{"version": r.version(role)}
	}
	return map[string]any{"version": r.version(role), "length": len(data), "hashes": map[string]any{"sha256": Hex(string(data))}}
}

// Fetch serves what was published, and fs.ErrNotExist for anything else.
func (r *Repository) Fetch(ctx context.Context, path string, _ int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.Asked[path]++
	data, ok := r.Served[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	// A caller has to keep its limit, whatever is served.
	return data, nil
}
