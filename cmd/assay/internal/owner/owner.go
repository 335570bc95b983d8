// SPDX-License-Identifier: Apache-2.0

// Package owner makes what owners sign: keys, heads, renewals and deny
// documents, in a folder with fixed file names (design.md §4.0).
//
// [Sign] makes the next head of a folder, [Renew] moves its end, [Deny] adds a
// deny document. The head set of the folder is replaced only by one that
// [verdict.OpenHead] takes, under the owners before and after.
//
// Keys are ECDSA P-256. A key in a file is for development and for owners who
// keep the file offline.
package owner

import (
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// File names in an owner's folder.
const (
	// OwnersFile has the owners and their threshold.
	OwnersFile = "owners.json"
	// PolicyFile is the policy.
	PolicyFile = "policy.yaml"
	// RootsFile are the trust roots of sigstore.
	RootsFile = "trusted_root.json"
	// DenyFile is the deny list of the head.
	DenyFile = "deny.json"
	// ReferencesFile says which daemons are the right ones.
	ReferencesFile = "references.json"
	// HeadFile is the head set in force.
	HeadFile = "head.json"
	// NextFile is the head set that too few owners have signed so far.
	NextFile = "head.next.json"
	// KeyFile and RenewalFile are private keys.
	KeyFile     = "owner.key"
	RenewalFile = "renewal.key"
)

// maxKey bounds a key file, in bytes.
const maxKey = 16 << 10

// NewKey makes a private key at path (0600), and its public key beside it with
// ".pub" for ".key".
func NewKey(path, use string) (*verdict.Key, error) {
	key, err := verdict.GenerateKey(use)
	if err != nil {
		return nil, err
	}
	priv, err := key.PEM()
	if err != nil {
		return nil, err
	}
	pub, err := PublicPEM(key.JWK())
	if err != nil {
		return nil, err
	}
	if err := file.Create(path, priv, file.Private); err != nil {
		return nil, err
	}
	return key, file.Create(strings.TrimSuffix(path, ".key")+".pub", pub, file.Public)
}

// LoadKey reads a private key.
func LoadKey(path, use string) (*verdict.Key, error) {
	data, err := file.Read("key", path, maxKey)
	if err != nil {
		return nil, err
	}
	key, err := verdict.ParseKey(data, use)
	if err != nil {
		return nil, verdict.Misused("want a P-256 private key in PEM, as assay head key makes it", "reading key: %s: %w", path, err)
	}
	return key, nil
}

// LoadKeys reads private keys of owners.
func LoadKeys(paths []string) ([]*verdict.Key, error) {
	var keys []*verdict.Key
	for _, p := range paths {
		k, err := LoadKey(p, verdict.UseOwner)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, verdict.Misused("name an owner's key with --key", "signing: no key is named")
	}
	return keys, nil
}

// LoadPublic reads a public key in PEM.
func LoadPublic(path, use string) (verdict.JWK, error) {
	data, err := file.Read("public key", path, maxKey)
	if err != nil {
		return verdict.JWK{}, err
	}
	wrong := func(why string) (verdict.JWK, error) {
		return verdict.JWK{}, verdict.Misused("want one PUBLIC KEY block with a P-256 key", "reading public key: %s: %s", path, why)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return wrong("not one PEM block PUBLIC KEY")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return wrong(err.Error())
	}
	jwk, err := verdict.NewJWK(pub, use)
	if err != nil {
		return wrong(err.Error())
	}
	return jwk, nil
}

// PublicPEM is a public key as configurations have it.
func PublicPEM(k verdict.JWK) ([]byte, error) {
	pub, err := k.PublicKey(k.Use)
	if err != nil {
		return nil, verdict.Misused("", "encoding public key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, verdict.Misused("", "encoding public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// LoadOwners reads an owners file.
func LoadOwners(path string) (verdict.Owners, error) {
	data, err := file.Read("owners", path, verdict.MaxOwners)
	if err != nil {
		return verdict.Owners{}, err
	}
	return verdict.ParseOwners(data)
}

// LoadSet reads a head set without checking signatures.
func LoadSet(path string) (verdict.HeadSet, error) {
	data, err := file.Read("head set", path, verdict.MaxHeadSet)
	if err != nil {
		return verdict.HeadSet{}, err
	}
	return verdict.ParseHeadSet(data)
}

// ownersOf returns the owners that the head of set names. They are what this
// folder already published; readers start from their own configuration.
func ownersOf(set verdict.HeadSet) (verdict.Head, verdict.Owners, error) {
	h, err := verdict.ParseHeadInsecure(set.Head)
	if err != nil {
		return verdict.Head{}, verdict.Owners{}, err
	}
	data, err := set.File("owners", h.Owners)
	if err != nil {
		return verdict.Head{}, verdict.Owners{}, err
	}
	o, err := verdict.ParseOwners(data)
	return h, o, err
}

// OpenSet checks set. Without anchor it is checked under the owners that it
// names itself, which proves only that it is consistent.
func OpenSet(set verdict.HeadSet, anchor *verdict.Owners) (verdict.CheckedHead, error) {
	if anchor != nil {
		return verdict.OpenHead(set, *anchor)
	}
	_, own, err := ownersOf(set)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	return verdict.OpenHead(set, own)
}

// Options say what the next head is like.
type Options struct {
	// Dir is the owner's folder.
	Dir string
	// Keys are the owners' that sign now.
	Keys []*verdict.Key
	// At is the time, NotAfter the end of the head.
	At, NotAfter time.Time
	// Grace is for how long tickets under the head before still count.
	Grace time.Duration
}

// A Signed says what Sign did.
type Signed struct {
	// Path is where the set is: HeadFile, or NextFile while signatures miss.
	Path    string `json:"path"`
	Counter uint64 `json:"counter"`
	// Digest is that of the head.
	Digest verdict.Digest `json:"digest"`
	// NotAfter and Grace are those that the first owner chose.
	NotAfter time.Time     `json:"notAfter"`
	Grace    time.Duration `json:"-"`
	// Missing tells what misses, or is empty for a head in force.
	Missing string `json:"missing,omitempty"`
}

// Sign makes the next head from the files in the folder, or adds signatures to
// the one that other owners began.
func Sign(o Options) (Signed, error) {
	head, files, err := readFiles(o.Dir)
	if err != nil {
		return Signed{}, err
	}
	head.Counter, head.Grace, head.NotAfter = 1, int64(o.Grace/time.Second), o.NotAfter.Unix()
	if !o.NotAfter.After(o.At) {
		return Signed{}, verdict.Misused("say for how long with --valid, such as 2160h", "signing head: it would end %s, before it begins", o.NotAfter.UTC().Format(time.RFC3339))
	}
	anchor, err := LoadOwners(filepath.Join(o.Dir, OwnersFile))
	if err != nil {
		return Signed{}, err
	}
	owners := anchor
	var before verdict.HeadSet
	path := filepath.Join(o.Dir, HeadFile)
	if file.Exists(path) {
		if before, err = LoadSet(path); err != nil {
			return Signed{}, err
		}
		prev, prevOwners, err := ownersOf(before)
		if err != nil {
			return Signed{}, err
		}
		head.Counter, anchor = prev.Counter+1, prevOwners
	}
	for _, k := range o.Keys {
		if !slices.ContainsFunc(slices.Concat(owners.Keys, anchor.Keys), func(j verdict.JWK) bool { return j.Kid == k.Kid() }) {
			return Signed{}, verdict.Misused("sign with the key of one who is in "+OwnersFile, "signing head: key %s is no owner's, neither of before nor of after", k.Kid())
		}
	}
	next := filepath.Join(o.Dir, NextFile)
	signed, err := proposal(next, head, o.Keys)
	if err != nil {
		return Signed{}, err
	}
	set := verdict.HeadSet{V: 1, Changes: before.Changes, Files: files, Head: signed}
	if set.Deny, err = keepDenies(before.Deny, owners, o.At); err != nil {
		return Signed{}, err
	}
	var missing error
	checked, err := verdict.OpenHead(set, anchor)
	switch {
	case err == nil:
	case verdict.CodeOf(err) == verdict.HeadSignature:
		missing = err
	default:
		return Signed{}, err
	}
	final, err := verdict.ParseHeadInsecure(signed)
	if err != nil {
		return Signed{}, err
	}
	out := Signed{Path: path, Counter: final.Counter, Digest: checked.Digest, NotAfter: time.Unix(final.NotAfter, 0).UTC(), Grace: time.Duration(final.Grace) * time.Second}
	if missing != nil {
		data, err := set.Encode()
		if err != nil {
			return Signed{}, err
		}
		out.Path, out.Missing = next, missing.Error()
		return out, file.Write(next, data, file.Public)
	}
	if len(before.Head) > 0 && !sameOwners(before, final.Owners) {
		// Kept for ever: a reader walks from its own owners along these heads.
		data, err := set.File("owners", final.Owners)
		if err != nil {
			return Signed{}, err
		}
		set.Changes = append(set.Changes, verdict.OwnerChange{Head: signed, Owners: data})
		if _, err := verdict.OpenHead(set, anchor); err != nil {
			return Signed{}, err
		}
	}
	data, err := set.Encode()
	if err != nil {
		return Signed{}, err
	}
	if err := file.Write(path, data, file.Public); err != nil {
		return Signed{}, err
	}
	return out, file.Remove(next)
}

// proposal signs head, or adds to the proposal at path when that names the same
// files under the same counter.
func proposal(path string, head verdict.Head, keys []*verdict.Key) ([]byte, error) {
	if !file.Exists(path) {
		return verdict.SignHead(head, keys...)
	}
	set, err := LoadSet(path)
	if err != nil {
		return nil, err
	}
	begun, err := verdict.ParseHeadInsecure(set.Head)
	if err != nil {
		return nil, err
	}
	same := head
	same.V, same.Grace, same.NotAfter = begun.V, begun.Grace, begun.NotAfter
	if same != begun {
		return nil, verdict.Misused("remove "+path+" to begin anew, or bring back the files that the others signed",
			"signing head: %s is for other files or another counter than this folder's", path)
	}
	signed := set.Head
	for _, k := range keys {
		if signed, err = verdict.AddHeadSignature(signed, k); err != nil {
			return nil, err
		}
	}
	return signed, nil
}

func sameOwners(before verdict.HeadSet, now verdict.Digest) bool {
	h, err := verdict.ParseHeadInsecure(before.Head)
	return err == nil && h.Owners == now
}

// readFiles reads and parses the five files, so that owners never sign what no
// reader takes.
func readFiles(dir string) (verdict.Head, [][]byte, error) {
	var head verdict.Head
	var files [][]byte
	for _, f := range []struct {
		name, what string
		limit      int64
		digest     *verdict.Digest
		parse      func(name string, data []byte) error
	}{
		{OwnersFile, "owners", verdict.MaxOwners, &head.Owners, func(_ string, d []byte) error { _, err := verdict.ParseOwners(d); return err }},
		{ReferencesFile, "references", verdict.MaxReferences, &head.References, func(_ string, d []byte) error { _, err := verdict.ParseReferences(d); return err }},
		{DenyFile, "deny list", verdict.MaxDeny, &head.Deny, func(_ string, d []byte) error { _, err := verdict.ParseDenyList(d); return err }},
		{PolicyFile, "policy", verifier.MaxPolicyBytes, &head.Policy, func(n string, d []byte) error { _, err := verifier.ParsePolicy(n, d); return err }},
		{RootsFile, "trusted root", verifier.MaxRootsBytes, &head.Roots, func(_ string, d []byte) error { _, err := verifier.ParseRoots(d); return err }},
	} {
		path := filepath.Join(dir, f.name)
		data, err := file.Read(f.what, path, f.limit)
		if err != nil {
			return verdict.Head{}, nil, err
		}
		if err := f.parse(path, data); err != nil {
			return verdict.Head{}, nil, err
		}
		*f.digest = verdict.SHA256(data)
		files = append(files, data)
	}
	return head, files, nil
}

// keepDenies keeps the deny documents that still count and that an owner of now
// signed; a document of somebody who is none any more would spoil the set.
func keepDenies(docs [][]byte, owners verdict.Owners, at time.Time) ([][]byte, error) {
	var kept [][]byte
	for _, d := range docs {
		doc, err := verdict.OpenDeny(d, owners)
		if verdict.CodeOf(err) == verdict.HeadSignature {
			continue
		}
		if err != nil {
			return nil, err
		}
		if doc.Active(at) {
			kept = append(kept, d)
		}
	}
	return kept, nil
}

// Renew adds a renewal to the head set at path, in place of the one before.
func Renew(path string, key *verdict.Key, at, notAfter time.Time) (verdict.CheckedHead, error) {
	set, err := LoadSet(path)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	set.Renewal = nil
	checked, err := OpenSet(set, nil)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	if err := checkRenewalKey(checked.Owners, key); err != nil {
		return verdict.CheckedHead{}, err
	}
	set.Renewal, err = verdict.SignRenewal(verdict.Renewal{Counter: checked.Counter, Head: checked.Digest, Iat: at.Unix(), NotAfter: notAfter.Unix()}, key)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	return writeSet(path, set)
}

// checkRenewalKey says which key renews, where it is not this one. Readers would
// refuse the renewal as one that owners did not sign, which tells nothing.
func checkRenewalKey(o verdict.Owners, key *verdict.Key) error {
	switch {
	case o.Renewal == nil:
		return verdict.Misused("sign the next head: assay head sign; to renew later ones, name a renewal key in "+OwnersFile, "renewing head: its owners name no renewal key")
	case key.Kid() == o.Renewal.Kid:
		return nil
	case slices.ContainsFunc(o.Keys, func(k verdict.JWK) bool { return k.Kid == key.Kid() }):
		return verdict.Misused("name "+RenewalFile+", which assay head init made beside "+OwnersFile+"; an owner's key signs the next head: assay head sign",
			"renewing head: the key is owner %s's, and only renewal key %s renews", key.Kid(), o.Renewal.Kid)
	}
	return verdict.Misused("name "+RenewalFile+", which assay head init made beside "+OwnersFile, "renewing head: key %s does not renew this head, renewal key %s does", key.Kid(), o.Renewal.Kid)
}

// Deny adds a deny document of one owner to the head set at path, and drops
// those that have lapsed.
func Deny(path string, key *verdict.Key, entries verdict.DenyList, at, notAfter time.Time) (verdict.CheckedHead, []byte, error) {
	set, err := LoadSet(path)
	if err != nil {
		return verdict.CheckedHead{}, nil, err
	}
	before, err := OpenSet(set, nil)
	if err != nil {
		return verdict.CheckedHead{}, nil, err
	}
	doc := verdict.DenyDocument{Counter: 1, Entries: entries, Iat: at.Unix(), NotAfter: notAfter.Unix()}
	for _, d := range before.Docs {
		if d.Owner == key.Kid() && d.Counter >= doc.Counter {
			doc.Counter = d.Counter + 1
		}
	}
	signed, err := verdict.SignDeny(doc, key)
	if err != nil {
		return verdict.CheckedHead{}, nil, err
	}
	if set.Deny, err = keepDenies(set.Deny, before.Owners, at); err != nil {
		return verdict.CheckedHead{}, nil, err
	}
	set.Deny = append(set.Deny, signed)
	checked, err := writeSet(path, set)
	return checked, signed, err
}

// writeSet writes a set that readers take.
func writeSet(path string, set verdict.HeadSet) (verdict.CheckedHead, error) {
	checked, err := OpenSet(set, nil)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	data, err := set.Encode()
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	return checked, file.Write(path, data, file.Public)
}
