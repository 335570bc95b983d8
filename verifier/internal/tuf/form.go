// SPDX-License-Identifier: Apache-2.0

package tuf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/strictjson"
)

// Limits of one repository. Sizes are in bytes.
const (
	maxRotations = 256
	maxRoles     = 32
	maxRoot      = 512 << 10
	maxTimestamp = 64 << 10
	maxSnapshot  = 2 << 20
	maxTargets   = 5 << 20
	maxFile      = 16 << 20
	maxTotal     = 48 << 20
	maxValues    = 1 << 20
	maxKeys      = 128
)

// The roles that every repository has.
const (
	roleRoot      = "root"
	roleTimestamp = "timestamp"
	roleSnapshot  = "snapshot"
	roleTargets   = "targets"
)

// The types below are what we look at of a document before go-tuf reads it: it
// panics at null where it wants an object, also in what is signed validly.

type key struct {
	Type   string `json:"keytype"`
	Scheme string `json:"scheme"`
	Value  struct {
		Public string `json:"public"`
	} `json:"keyval"`

	fingerprint verdict.Digest // of the SubjectPublicKeyInfo, once it was checked
}

type keyRole struct {
	KeyIDs    []string `json:"keyids"`
	Threshold int      `json:"threshold"`
}

type metaFile struct {
	Version int64             `json:"version"`
	Length  int64             `json:"length"`
	Hashes  map[string]string `json:"hashes"`
}

type targetFile struct {
	Length *int64            `json:"length"`
	Hashes map[string]string `json:"hashes"`
}

type delegation struct {
	Name string `json:"name"`
	keyRole
	Terminating      bool      `json:"terminating"`
	Paths            *[]string `json:"paths"`
	PathHashPrefixes *[]string `json:"path_hash_prefixes"`
}

type document struct {
	Type    string    `json:"_type"`
	Spec    string    `json:"spec_version"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`

	Consistent bool                `json:"consistent_snapshot"`
	Keys       map[string]*key     `json:"keys"`
	Roles      map[string]*keyRole `json:"roles"`

	Meta map[string]*metaFile `json:"meta"`

	Targets     map[string]*targetFile `json:"targets"`
	Delegations *struct {
		Keys     map[string]*key `json:"keys"`
		Roles    []*delegation   `json:"roles"`
		Succinct json.RawMessage `json:"succinct_roles"`
	} `json:"delegations"`

	// signedBy names the keys that signed it, as it says itself.
	signedBy []string
}

// signers are the digests of the keys of a role, as SubjectPublicKeyInfo, that d
// names as its own. Go-tuf says not whose signatures it counted: these are among
// them.
func (d *document) signers(r *keyRole, keys map[string]*key) []verdict.Digest {
	var found []verdict.Digest
	for _, id := range r.KeyIDs {
		if slices.Contains(d.signedBy, id) {
			found = append(found, keys[id].fingerprint)
		}
	}
	return found
}

func malformed(what, format string, args ...any) error {
	return verdict.Refuse(verdict.InputMalformed, "reading "+quoteVerbs(what)+": "+format, args...)
}

func quoteVerbs(s string) string { return strings.ReplaceAll(clip(s), "%", "%%") }

// parse reads metadata of one role and refuses what has not the form of the
// specification, section 4.
func parse(data []byte, role string) (*document, error) {
	kind := role
	if role != roleRoot && role != roleTimestamp && role != roleSnapshot {
		kind = roleTargets
	}
	if err := strictjson.Check(data, maxValues); err != nil {
		return nil, malformed(role, "%w", err)
	}
	var envelope struct {
		Signed     *document           `json:"signed"`
		Signatures *[]*json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, malformed(role, "%w", err)
	}
	d := envelope.Signed
	switch {
	case d == nil || envelope.Signatures == nil:
		return nil, malformed(role, "no signed, or no signatures, want both")
	case len(*envelope.Signatures) > maxKeys:
		return nil, malformed(role, "%d signatures, want at most %d", len(*envelope.Signatures), maxKeys)
	case d.Type != kind:
		return nil, malformed(role, "it is of type %q, want %q", clip(d.Type), kind)
	case d.Spec != "1" && !strings.HasPrefix(d.Spec, "1."):
		return nil, verdict.Refuse(verdict.InputUnsupported, "reading %s: specification %q, want 1.x", clip(role), clip(d.Spec))
	case d.Version < 1 || d.Expires.IsZero():
		return nil, malformed(role, "version %d, expiring %s, want a version above 0 and an expiry", d.Version, d.Expires)
	}
	for _, raw := range *envelope.Signatures {
		if raw == nil {
			return nil, malformed(role, "a signature that is null")
		}
		var s struct {
			KeyID string `json:"keyid"`
		}
		if err := json.Unmarshal(*raw, &s); err != nil {
			return nil, malformed(role, "a signature: %w", err)
		}
		d.signedBy = append(d.signedBy, s.KeyID)
	}
	switch kind {
	case roleRoot:
		return d, d.checkRoot()
	case roleTargets:
		return d, d.checkTargets(role)
	}
	return d, d.checkMeta(role)
}

func (d *document) checkRoot() error {
	for _, name := range []string{roleRoot, roleTimestamp, roleSnapshot, roleTargets} {
		if d.Roles[name] == nil {
			return malformed(roleRoot, "no role %s", name)
		}
	}
	if len(d.Roles) > maxRoles {
		return malformed(roleRoot, "%d roles, want at most %d", len(d.Roles), maxRoles)
	}
	for name, r := range d.Roles {
		if err := r.check(roleRoot, name, d.Keys); err != nil {
			return err
		}
	}
	return checkKeys(roleRoot, d.Keys)
}

// check wants a threshold that the keys can reach, and that is one.
func (r *keyRole) check(in, name string, keys map[string]*key) error {
	if r == nil {
		return malformed(in, "role %q is null", clip(name))
	}
	seen := map[string]bool{}
	for _, id := range r.KeyIDs {
		if seen[id] {
			return malformed(in, "role %q names a key twice", clip(name))
		}
		seen[id] = true
		k := keys[id]
		if k == nil {
			return malformed(in, "role %q names a key that is not there", clip(name))
		}
		if err := k.check(in); err != nil {
			return err
		}
	}
	if r.Threshold < 1 || r.Threshold > len(seen) {
		return malformed(in, "role %q has threshold %d of %d keys", clip(name), r.Threshold, len(seen))
	}
	return nil
}

// checkKeys looks for null alone: a key that no role names may be of any kind.
func checkKeys(in string, keys map[string]*key) error {
	if len(keys) > maxKeys {
		return malformed(in, "%d keys, want at most %d", len(keys), maxKeys)
	}
	for _, k := range keys {
		if k == nil {
			return malformed(in, "a key is null")
		}
	}
	return nil
}

func (k *key) check(in string) error {
	algorithm := func(format string, args ...any) error {
		return verdict.Refuse(verdict.SigAlgorithm, "reading the keys of "+quoteVerbs(in)+": "+format, args...)
	}
	if k.Type == "ed25519" {
		raw, err := hex.DecodeString(k.Value.Public)
		if err != nil || len(raw) != ed25519.PublicKeySize || k.Scheme != "ed25519" {
			return malformed(in, "an Ed25519 key that is none")
		}
		if !Ed25519 {
			return algorithm("Ed25519 is outside this build's cryptographic module")
		}
		return k.identify(in, ed25519.PublicKey(raw))
	}
	pub, err := publicKey(k.Value.Public)
	if err != nil {
		return malformed(in, "a key of type %q: %w", clip(k.Type), err)
	}
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		want := map[int]string{256: "ecdsa-sha2-nistp256", 384: "ecdsa-sha2-nistp384"}[pub.Curve.Params().BitSize]
		if k.Type != "ecdsa" && k.Type != "ecdsa-sha2-nistp256" || want == "" || k.Scheme != want {
			return algorithm("type %q, scheme %q with curve %s", clip(k.Type), clip(k.Scheme), pub.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if k.Type != "rsa" || k.Scheme != "rsassa-pss-sha256" || pub.N.BitLen() < 2048 || pub.N.BitLen() > 8192 {
			return algorithm("type %q, scheme %q with RSA of %d bits", clip(k.Type), clip(k.Scheme), pub.N.BitLen())
		}
	default:
		return algorithm("a key of type %q, want ECDSA, RSA or Ed25519", clip(k.Type))
	}
	return k.identify(in, pub)
}

func (k *key) identify(in string, pub crypto.PublicKey) error {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return malformed(in, "a key: %w", err)
	}
	k.fingerprint = verdict.SHA256(der)
	return nil
}

func publicKey(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || strings.TrimSpace(string(rest)) != "" {
		return nil, errPEM
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// checkMeta checks timestamp and snapshot, which name versions of others.
func (d *document) checkMeta(role string) error {
	wanted := roleSnapshot + ".json"
	if role == roleSnapshot {
		wanted = roleTargets + ".json"
	}
	if d.Meta[wanted] == nil {
		return malformed(role, "it does not name %s", wanted)
	}
	for name, m := range d.Meta {
		if m == nil || m.Version < 1 || m.Length < 0 {
			return malformed(role, "entry %q has no version or a wrong length", clip(name))
		}
		if err := checkHashes(role, m.Hashes); err != nil {
			return err
		}
	}
	return nil
}

func checkHashes(in string, hashes map[string]string) error {
	for algorithm, value := range hashes {
		size := map[string]int{"sha256": 32, "sha512": 64}[algorithm]
		raw, err := hex.DecodeString(value)
		if size == 0 || err != nil || len(raw) != size {
			return malformed(in, "a hash that is neither SHA-256 nor SHA-512")
		}
	}
	return nil
}

func (d *document) checkTargets(role string) error {
	if d.Targets == nil {
		return malformed(role, "it has no targets")
	}
	for name, f := range d.Targets {
		switch {
		case !isPath(name):
			return malformed(role, "target %q is no path inside a repository", clip(name))
		case f == nil || f.Length == nil || *f.Length < 0 || len(f.Hashes) == 0:
			return malformed(role, "target %q has no length or no hashes", clip(name))
		}
		if err := checkHashes(role, f.Hashes); err != nil {
			return err
		}
	}
	if d.Delegations == nil {
		return nil
	}
	if len(d.Delegations.Succinct) > 0 && string(d.Delegations.Succinct) != "null" {
		return verdict.Refuse(verdict.InputUnsupported, "reading %s: succinct roles are not read", clip(role))
	}
	if len(d.Delegations.Roles) > maxRoles {
		return verdict.Fail(verdict.InputLimit, "reading %s: %d delegations, want at most %d", clip(role), len(d.Delegations.Roles), maxRoles)
	}
	seen := map[string]bool{}
	for _, r := range d.Delegations.Roles {
		if r == nil || !isPath(r.Name) || seen[r.Name] || r.Name == role {
			return malformed(role, "a delegation without a name of its own")
		}
		seen[r.Name] = true
		switch r.Name {
		case roleRoot, roleTimestamp, roleSnapshot, roleTargets:
			return malformed(role, "it delegates to %s", r.Name)
		}
		if err := r.keyRole.check(role, r.Name, d.Delegations.Keys); err != nil {
			return err
		}
		if err := r.checkPaths(role); err != nil {
			return err
		}
	}
	return checkKeys(role, d.Delegations.Keys)
}

func (r *delegation) checkPaths(in string) error {
	if (r.Paths == nil) == (r.PathHashPrefixes == nil) {
		return malformed(in, "delegation %q wants either paths or path_hash_prefixes", clip(r.Name))
	}
	if r.Paths != nil {
		for _, p := range *r.Paths {
			// What a class or an escape means differs between clients.
			if _, err := path.Match(p, ""); err != nil || strings.ContainsAny(p, `[]\`) {
				return verdict.Refuse(verdict.InputUnsupported, "reading %s: pattern %q, want * and ? alone", clip(in), clip(p))
			}
		}
		return nil
	}
	for _, p := range *r.PathHashPrefixes {
		if len(p) > 64 || strings.Trim(p, "0123456789abcdef") != "" {
			return malformed(in, "path_hash_prefixes of %q are not lower-case hex", clip(r.Name))
		}
	}
	return nil
}

// isPath tells whether name, of a target or a role, stays below where it is put.
func isPath(name string) bool {
	if name == "" || len(name) > 1024 || !utf8.ValidString(name) || strings.Contains(name, `\`) {
		return false
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
