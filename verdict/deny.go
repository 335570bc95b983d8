// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DenyType is the DSSE payload type of a deny document.
const DenyType = "application/vnd.assay.deny.v1+json"

// A DenyList names what may not run, whatever signed it. The zero value denies
// nothing. It is a file that the head names, and the content of a deny
// document.
type DenyList struct {
	// Certificates are SHA-256 digests of signing certificates in DER.
	Certificates []Digest `json:"certificates,omitempty"`
	// Identities are signers by OIDC issuer and subject.
	Identities []DeniedIdentity `json:"identities,omitempty"`
	// Images are digests of indexes, manifests or image configurations.
	Images []Digest `json:"images,omitempty"`
	// Keys are SHA-256 digests of public keys in SubjectPublicKeyInfo DER.
	Keys []Digest `json:"keys,omitempty"`
	// LogEntries are entries of transparency logs: log ID in hex, a slash, and
	// the decimal index.
	LogEntries []string `json:"log_entries,omitempty"`
	// Measurements are launch measurements of daemons in hex, or registers of TDs.
	Measurements []string `json:"measurements,omitempty"`
	// Repositories are whole repository names with their registry.
	Repositories []string `json:"repositories,omitempty"`
	// Statements are digests of issuer statements.
	Statements []Digest `json:"statements,omitempty"`
	// V is 1.
	V int `json:"v"`
}

// A DeniedIdentity is a signer by OIDC issuer and subject alternative name,
// both whole strings. An empty issuer stands for every issuer.
type DeniedIdentity struct {
	Issuer string `json:"issuer,omitempty"`
	SAN    string `json:"san"`
}

// ParseDenyList decodes a deny list. The error is a *[Refusal] with
// head.malformed.
func ParseDenyList(data []byte) (DenyList, error) {
	d, err := decode[DenyList](data, MaxDeny)
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return DenyList{}, Refuse(HeadMalformed, "parsing deny list: %w", err)
	}
	return d, nil
}

// Encode returns the canonical bytes of d.
func (d DenyList) Encode() ([]byte, error) {
	if d.V == 0 {
		d.V = 1
	}
	if err := d.check(); err != nil {
		return nil, Misused("", "encoding deny list: %w", err)
	}
	return encode(d)
}

func (d DenyList) check() error {
	if err := checkVersion(d.V); err != nil {
		return err
	}
	for _, list := range [][]Digest{d.Certificates, d.Keys, d.Statements} {
		for _, g := range list {
			if err := checkSHA256("entry", g); err != nil {
				return err
			}
		}
	}
	for _, g := range d.Images {
		if _, err := ParseDigest(string(g)); err != nil {
			return err
		}
	}
	for _, r := range d.Repositories {
		if err := CheckRepository(r); err != nil {
			return err
		}
	}
	for _, i := range d.Identities {
		if err := checkText("san of an identity", i.SAN, 1024); err != nil {
			return err
		}
		if i.Issuer == "" {
			continue
		}
		if err := checkText("issuer of an identity", i.Issuer, 1024); err != nil {
			return err
		}
	}
	for _, m := range d.Measurements {
		if len(m) != 64 && len(m) != 96 {
			return fmt.Errorf("measurement has %d hex digits, want 64 or 96", len(m))
		}
		if err := checkHex("measurement", m, len(m)/2); err != nil {
			return err
		}
	}
	for _, e := range d.LogEntries {
		id, index, _ := strings.Cut(e, "/")
		n, err := strconv.ParseInt(index, 10, 64)
		if checkHex("log ID", id, 32) != nil || err != nil || n < 0 || strconv.FormatInt(n, 10) != index {
			return fmt.Errorf("log entry %s is not a log ID in hex, a slash and an index", quote(e))
		}
	}
	return nil
}

// DeniesMeasurement tells whether d denies what a daemon was started from: its launch
// measurement, or the value of a register of its TD.
func (d DenyList) DeniesMeasurement(i Issuer) bool {
	if i.Measurement != "" && slices.Contains(d.Measurements, i.Measurement) {
		return true
	}
	for _, value := range i.Registers {
		if slices.Contains(d.Measurements, value) {
			return true
		}
	}
	return false
}

// Merge returns a list that denies what either denies.
func (d DenyList) Merge(o DenyList) DenyList {
	return DenyList{
		Certificates: union(d.Certificates, o.Certificates),
		Identities:   union(d.Identities, o.Identities),
		Images:       union(d.Images, o.Images),
		Keys:         union(d.Keys, o.Keys),
		LogEntries:   union(d.LogEntries, o.LogEntries),
		Measurements: union(d.Measurements, o.Measurements),
		Repositories: union(d.Repositories, o.Repositories),
		Statements:   union(d.Statements, o.Statements),
		V:            1,
	}
}

func union[T comparable](a, b []T) []T {
	if len(b) == 0 {
		return a
	}
	seen := make(map[T]bool, len(a)+len(b))
	var out []T
	for _, v := range slices.Concat(a, b) {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// DeniesImage tells whether one of digests is denied.
func (d DenyList) DeniesImage(digests ...Digest) bool {
	return slices.ContainsFunc(digests, func(g Digest) bool { return g != "" && slices.Contains(d.Images, g) })
}

// DeniesRepository tells whether repo is denied.
func (d DenyList) DeniesRepository(repo string) bool { return slices.Contains(d.Repositories, repo) }

// DeniesIdentity tells whether the signer is denied.
func (d DenyList) DeniesIdentity(issuer, san string) bool {
	return slices.ContainsFunc(d.Identities, func(i DeniedIdentity) bool {
		return i.SAN == san && (i.Issuer == "" || i.Issuer == issuer)
	})
}

// DeniesKey tells whether the key with this digest of its SPKI is denied.
func (d DenyList) DeniesKey(spki Digest) bool { return slices.Contains(d.Keys, spki) }

// DeniesCertificate tells whether the certificate with this digest of its DER
// is denied.
func (d DenyList) DeniesCertificate(der Digest) bool { return slices.Contains(d.Certificates, der) }

// DeniesLogEntry tells whether the entry is denied. logID is lower-case hex.
func (d DenyList) DeniesLogEntry(logID string, index int64) bool {
	return slices.Contains(d.LogEntries, fmt.Sprintf("%s/%d", logID, index))
}

// onlyDaemonKnows tells whether d names something that a node cannot see in a
// ticket: who signed the image, with what, and where it was logged.
func (d DenyList) onlyDaemonKnows() bool {
	return len(d.Identities)+len(d.Keys)+len(d.Certificates)+len(d.LogEntries) > 0
}

// A DenyDocument is a deny list that one owner signs: it takes effect at once,
// and lapses at NotAfter unless a head takes it in.
type DenyDocument struct {
	// Counter rises by one or more with each document of this owner.
	Counter uint64   `json:"counter"`
	Entries DenyList `json:"entries"`
	// Iat and NotAfter are Unix seconds, at most MaxDenyLife apart.
	Iat      int64 `json:"iat"`
	NotAfter int64 `json:"not_after"`
	// Owner is the thumbprint of the owner's key.
	Owner string `json:"owner"`
	V     int    `json:"v"`
}

// A CheckedDeny is a deny document that an owner signed.
type CheckedDeny struct {
	DenyDocument
	// Digest is the SHA-256 of the payload.
	Digest Digest

	size int // of the payload, in bytes
}

// Active tells whether the document counts at a time. One from the future
// counts: an owner denied it.
func (d CheckedDeny) Active(at time.Time) bool { return at.Unix() < d.NotAfter }

// SignDeny signs d as its owner.
func SignDeny(d DenyDocument, owner *Key) ([]byte, error) {
	d.V, d.Owner = 1, owner.Kid()
	if d.Entries.V == 0 {
		d.Entries.V = 1
	}
	if err := d.check(); err != nil {
		return nil, Misused("", "signing deny document: %w", err)
	}
	payload, err := encode(d)
	if err != nil {
		return nil, err
	}
	if len(payload) > MaxDeny {
		return nil, Misused("split it", "signing deny document: %d bytes, want at most %d", len(payload), MaxDeny)
	}
	return seal(DenyType, payload, []*Key{owner})
}

// OpenDeny checks a deny document of one of owners. The error is a *[Refusal]
// with head.malformed or head.signature.
func OpenDeny(data []byte, owners Owners) (CheckedDeny, error) {
	env, payload, err := parseEnvelope(data, DenyType, MaxDeny)
	if err != nil {
		return CheckedDeny{}, Refuse(HeadMalformed, "opening deny document: %w", err)
	}
	d, err := decode[DenyDocument](payload, MaxDeny)
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return CheckedDeny{}, Refuse(HeadMalformed, "opening deny document: %w", err)
	}
	signers, err := env.signers(payload, owners.Keys, UseOwner)
	if err != nil {
		return CheckedDeny{}, Refuse(HeadSignature, "opening deny document: %w", err)
	}
	if !slices.Contains(signers, d.Owner) {
		return CheckedDeny{}, Refuse(HeadSignature, "opening deny document: not signed by its owner %s, or that is no owner", quote(d.Owner))
	}
	return CheckedDeny{DenyDocument: d, Digest: SHA256(payload), size: len(payload)}, nil
}

func (d DenyDocument) check() error {
	if err := first(checkVersion(d.V), checkWindow(d.Iat, d.NotAfter, MaxDenyLife), d.Entries.check()); err != nil {
		return err
	}
	if d.Counter == 0 {
		return errors.New("counter is 0, want at least 1")
	}
	return checkText("owner", d.Owner, 64)
}

// DenyDigest identifies a set of deny documents: lower-case hex of the SHA-256
// over their sorted digests, each with a line feed. A ticket carries it.
func DenyDigest(docs []CheckedDeny) string {
	digests := make([]string, 0, len(docs))
	for _, d := range docs {
		digests = append(digests, string(d.Digest))
	}
	slices.Sort(digests)
	h := sha256.New()
	for _, d := range slices.Compact(digests) {
		h.Write([]byte(d + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))
}
