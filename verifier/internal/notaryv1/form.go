// SPDX-License-Identifier: Apache-2.0

package notaryv1

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/strictjson"
	"github.com/assayd/assay/verifier/internal/tuf"
)

// Limits of one collection. Sizes are in bytes.
const (
	maxRoles     = 32
	maxRoot      = 512 << 10
	maxTimestamp = 64 << 10
	maxSnapshot  = 2 << 20
	maxTargets   = 5 << 20
	maxTotal     = 48 << 20
	maxValues    = 1 << 20
	maxKeys      = 128
	maxRoleName  = 255
)

// The roles that every collection has, and the one that docker looks into first.
const (
	roleRoot      = "root"
	roleTimestamp = "timestamp"
	roleSnapshot  = "snapshot"
	roleTargets   = "targets"
	roleReleases  = "targets/releases"
)

// The form is that of Notary's package tuf/data: not TUF 1.0. Binary values are
// base64, types are capitalised, and keys may be in certificates.

type key struct {
	Type  string `json:"keytype"`
	Value struct {
		Public []byte `json:"public"`
	} `json:"keyval"`

	// From here on it is what the above means.
	public      crypto.PublicKey
	fingerprint verdict.Digest
	cert        *x509.Certificate
}

type keyRole struct {
	KeyIDs    []string `json:"keyids"`
	Threshold int      `json:"threshold"`
}

type file struct {
	Length *int64            `json:"length"`
	Hashes map[string][]byte `json:"hashes"`
}

type delegation struct {
	Name string `json:"name"`
	keyRole
	Paths []string `json:"paths"`
}

type signature struct {
	KeyID  string `json:"keyid"`
	Method string `json:"method"`
	Sig    []byte `json:"sig"`
}

type document struct {
	Type    string    `json:"_type"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`

	Keys  map[string]*key     `json:"keys"`
	Roles map[string]*keyRole `json:"roles"`

	Meta map[string]*file `json:"meta"`

	Targets     map[string]*file `json:"targets"`
	Delegations *struct {
		Keys  map[string]*key `json:"keys"`
		Roles []*delegation   `json:"roles"`
	} `json:"delegations"`

	// signed are the bytes that the signatures are over, as they came: Notary
	// signs and serves canonical JSON, so that nothing is encoded again.
	signed     []byte
	signatures []signature
}

func malformed(what, format string, args ...any) error {
	return verdict.Refuse(verdict.InputMalformed, "reading "+what+" of the collection: "+format, args...)
}

func clip(s string) string { return s[:min(len(s), 128)] }

var (
	// delegationName is the form of Notary's delegation roles.
	delegationName = regexp.MustCompile(`^targets(/[a-z0-9_-]+)+$`)
	// tagName is the form of tags (distribution specification).
	tagName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	// gunName is the form of a repository's name with its host.
	gunName = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$`)
)

func parse(data []byte, role string) (*document, error) {
	if err := strictjson.Check(data, maxValues); err != nil {
		return nil, malformed(role, "%w", err)
	}
	var envelope struct {
		Signed     json.RawMessage `json:"signed"`
		Signatures []signature     `json:"signatures"`
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, malformed(role, "%w", err)
	}
	d := &document{signed: envelope.Signed, signatures: envelope.Signatures}
	if len(d.signed) == 0 {
		return nil, malformed(role, "nothing is signed")
	}
	if err := json.Unmarshal(d.signed, d); err != nil {
		return nil, malformed(role, "%w", err)
	}
	kind := map[string]string{roleRoot: "Root", roleTimestamp: "Timestamp", roleSnapshot: "Snapshot"}[role]
	if kind == "" {
		kind = "Targets"
	}
	switch {
	case len(d.signatures) > maxKeys:
		return nil, malformed(role, "%d signatures, want at most %d", len(d.signatures), maxKeys)
	case d.Type != kind:
		return nil, malformed(role, "it is of type %q, want %q", clip(d.Type), kind)
	case d.Version < 1 || d.Expires.IsZero():
		return nil, malformed(role, "version %d, expiring %s, want a version above 0 and an expiry", d.Version, d.Expires)
	}
	switch kind {
	case "Root":
		return d, d.checkRoot()
	case "Targets":
		return d, d.checkTargets(role)
	}
	wanted := map[string]string{roleTimestamp: roleSnapshot, roleSnapshot: roleTargets}[role]
	if d.Meta[wanted] == nil {
		return nil, malformed(role, "it does not name %s", wanted)
	}
	return d, checkFiles(role, d.Meta)
}

// checkFiles wants a length and a SHA-256 of each.
func checkFiles(in string, files map[string]*file) error {
	for name, f := range files {
		if f == nil || f.Length == nil || *f.Length < 0 || len(f.Hashes["sha256"]) != sha256.Size {
			return malformed(in, "entry %q has no length, or no SHA-256", clip(name))
		}
		if h, ok := f.Hashes["sha512"]; ok && len(h) != sha512.Size {
			return malformed(in, "entry %q has a SHA-512 of %d bytes", clip(name), len(h))
		}
	}
	return nil
}

// fits tells whether data is what was named. Lengths of metadata prove nothing that
// the hashes do not, and tools that sign anew leave old ones: each role has a limit
// of its own here.
func (f *file) fits(data []byte) bool {
	sum := sha256.Sum256(data)
	if !bytes.Equal(sum[:], f.Hashes["sha256"]) {
		return false
	}
	want, ok := f.Hashes["sha512"]
	long := sha512.Sum512(data)
	return !ok || bytes.Equal(long[:], want)
}

func (d *document) checkRoot() error {
	if len(d.Keys) > maxKeys || len(d.Roles) > maxRoles {
		return malformed(roleRoot, "%d keys and %d roles, want at most %d and %d", len(d.Keys), len(d.Roles), maxKeys, maxRoles)
	}
	for _, name := range []string{roleRoot, roleTimestamp, roleSnapshot, roleTargets} {
		if err := d.Roles[name].check(roleRoot, name, d.Keys); err != nil {
			return err
		}
	}
	return nil
}

func (r *keyRole) check(in, name string, keys map[string]*key) error {
	if r == nil {
		return malformed(in, "no role %s", clip(name))
	}
	seen := map[string]bool{}
	for _, id := range r.KeyIDs {
		k := keys[id]
		if k == nil || seen[id] {
			return malformed(in, "role %s names a key twice, or one that is not there", clip(name))
		}
		seen[id] = true
		if err := k.read(in); err != nil {
			return err
		}
	}
	if r.Threshold < 1 || r.Threshold > len(seen) {
		return malformed(in, "role %s has threshold %d of %d keys", clip(name), r.Threshold, len(seen))
	}
	return nil
}

func (k *key) read(in string) (err error) {
	if k.public != nil {
		return nil
	}
	var kind string
	switch k.Type {
	case "ecdsa-x509", "rsa-x509":
		block, rest := pem.Decode(k.Value.Public)
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return malformed(in, "a key of type %q is not one certificate", k.Type)
		}
		if k.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
			return malformed(in, "a certificate: %w", err)
		}
		k.public, kind = k.cert.PublicKey, strings.TrimSuffix(k.Type, "-x509")
	case "ecdsa", "rsa":
		if k.public, err = x509.ParsePKIXPublicKey(k.Value.Public); err != nil {
			return malformed(in, "a key: %w", err)
		}
		kind = k.Type
	case "ed25519":
		if len(k.Value.Public) != ed25519.PublicKeySize {
			return malformed(in, "an Ed25519 key of %d bytes", len(k.Value.Public))
		}
		k.public, kind = ed25519.PublicKey(k.Value.Public), k.Type
	default:
		return verdict.Refuse(verdict.SigAlgorithm, "reading the keys of %s: type %q, want ECDSA, RSA or Ed25519", in, clip(k.Type))
	}
	if err := acceptKey(k.public, kind); err != nil {
		return verdict.Refuse(verdict.SigAlgorithm, "reading the keys of %s: %w", in, err)
	}
	k.fingerprint, err = Fingerprint(k.public)
	return err
}

// Fingerprint is the SHA-256 of a public key as SubjectPublicKeyInfo, in DER.
func Fingerprint(pub crypto.PublicKey) (verdict.Digest, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", malformed("a key", "%w", err)
	}
	return verdict.SHA256(der), nil
}

// acceptKey refuses what is weak, or is not of the kind that it says.
func acceptKey(pub crypto.PublicKey, kind string) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if bits := pub.Curve.Params().BitSize; kind == "ecdsa" && (bits == 256 || bits == 384 || bits == 521) {
			return nil
		}
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); kind == "rsa" && bits >= 2048 && bits <= 8192 {
			return nil
		}
	case ed25519.PublicKey:
		if kind == "ed25519" && tuf.Ed25519 {
			return nil
		}
	}
	return errors.New("want ECDSA on P-256, P-384 or P-521, RSA of 2048 to 8192 bits, or Ed25519 where this build has it")
}

func (d *document) checkTargets(role string) error {
	if err := checkFiles(role, d.Targets); err != nil {
		return err
	}
	for name := range d.Targets {
		if !tagName.MatchString(name) {
			return malformed(role, "target %q is no tag", clip(name))
		}
	}
	if d.Delegations == nil {
		return nil
	}
	if len(d.Delegations.Keys) > maxKeys || len(d.Delegations.Roles) > maxRoles {
		return verdict.Fail(verdict.InputLimit, "reading %s of the collection: %d keys and %d delegations, want at most %d and %d", clip(role), len(d.Delegations.Keys), len(d.Delegations.Roles), maxKeys, maxRoles)
	}
	seen := map[string]bool{}
	for _, r := range d.Delegations.Roles {
		// A role's parent is in its name, so that it has one.
		if r == nil || len(r.Name) > maxRoleName || !delegationName.MatchString(r.Name) || seen[r.Name] || r.Name[:strings.LastIndex(r.Name, "/")] != role {
			return malformed(role, "a delegation without a name below %s", clip(role))
		}
		seen[r.Name] = true
		if err := r.keyRole.check(role, r.Name, d.Delegations.Keys); err != nil {
			return err
		}
	}
	return nil
}

// covers tells whether the delegation is about the tag: its paths are prefixes.
func (r *delegation) covers(tag string) bool {
	for _, p := range r.Paths {
		if strings.HasPrefix(tag, p) {
			return true
		}
	}
	return false
}

// signers returns the keys, by fingerprint, of the role that signed d.
func (d *document) signers(r *keyRole, keys map[string]*key) []verdict.Digest {
	found := map[verdict.Digest]bool{}
	for _, id := range r.KeyIDs {
		for _, s := range d.signatures {
			if s.KeyID == id && keys[id].verifies(d.signed, s) {
				found[keys[id].fingerprint] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func (k *key) verifies(message []byte, s signature) bool {
	sum := sha256.Sum256(message)
	switch pub := k.public.(type) {
	case *ecdsa.PublicKey:
		size := (pub.Curve.Params().BitSize + 7) / 8
		if s.Method != "ecdsa" || len(s.Sig) != 2*size {
			return false
		}
		return ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(s.Sig[:size]), new(big.Int).SetBytes(s.Sig[size:]))
	case *rsa.PublicKey:
		switch s.Method {
		case "rsapss":
			return rsa.VerifyPSS(pub, crypto.SHA256, sum[:], s.Sig, &rsa.PSSOptions{SaltLength: sha256.Size}) == nil
		case "rsapkcs1v15":
			return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], s.Sig) == nil
		}
	case ed25519.PublicKey:
		return s.Method == "eddsa" && ed25519.Verify(pub, message, s.Sig)
	}
	return false
}

// digests are those that may name an image.
func (f *file) digests() []verdict.Digest {
	sum := [sha256.Size]byte(f.Hashes["sha256"])
	return []verdict.Digest{verdict.DigestFromBytes(sum)}
}
