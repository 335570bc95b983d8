// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto/x509"
	_ "embed" // the public-good root
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
)

// Limits of trust roots.
const (
	// MaxRootsBytes bounds a roots file, and a trusted_root.json in one.
	MaxRootsBytes = 4 << 20
	// maxRootEntries bounds each kind of entry of a roots file.
	maxRootEntries = 64
	// maxStoreCertificates bounds the certificates of one trust store.
	maxStoreCertificates = 64
)

// DefaultInstance is the sigstore instance of an authority that names none, and
// what a plain trusted_root.json is called.
const DefaultInstance = "default"

// The kinds of trust stores.
const (
	// StoreCA is for signers of notation's scheme notary.x509.
	StoreCA = "ca"
	// StoreSigningAuthority is for notary.x509.signingAuthority.
	StoreSigningAuthority = "signing-authority"
	// StoreTSA is for timestamp authorities of notation signatures.
	StoreTSA = "tsa"
	// StoreX509 is for signers with certificates of an own PKI.
	StoreX509 = "x509"
)

// A RootsFile is the file that the head names as roots: everything outside the
// policy that a signature can be traced to. It is YAML, version 1, decoded as
// strictly as a [Policy]. A plain trusted_root.json is a roots file too: the
// one of a single sigstore instance, called "default".
type RootsFile struct {
	// Version is 1. Required.
	Version int `yaml:"version" json:"version"`
	// Sigstore are sigstore instances by name. An authority that names none
	// means "default".
	Sigstore map[string]SigstoreRoot `yaml:"sigstore" json:"sigstore,omitempty"`
	// TrustStores are certificates by name.
	TrustStores map[string]TrustStore `yaml:"trust-stores" json:"trustStores,omitempty"`
	// TUF are repositories of which images are targets, by name.
	TUF map[string]TUFSource `yaml:"tuf" json:"tuf,omitempty"`
	// NotaryV1 are collections of Docker Content Trust (Notary v1), by repository,
	// such as docker.io/acme/app.
	NotaryV1 map[string]NotaryV1Source `yaml:"notary-v1" json:"notaryV1,omitempty"`
}

// A SigstoreRoot is the trust root of one sigstore instance.
type SigstoreRoot struct {
	// TrustedRoot is a trusted_root.json (sigstore protobuf-specs
	// trustroot/v1), as text. Exactly one of TrustedRoot and TUF is set.
	TrustedRoot string `yaml:"trusted-root" json:"trustedRoot,omitempty"`
	// TUF is where the instance publishes it.
	TUF *TUFSource `yaml:"tuf" json:"tuf,omitempty"`
}

// A TrustStore is a set of certificates that are trusted by themselves: a
// signer's chain has to lead to one of them.
type TrustStore struct {
	// Kind is ca, signing-authority, tsa or x509. Required.
	Kind string `yaml:"kind" json:"kind"`
	// PEM has one to 64 CERTIFICATE blocks. Required.
	PEM string `yaml:"pem" json:"pem"`
}

// Roots are trust roots: sigstore instances and trust stores. The nil pointer
// trusts nothing. Roots are not changed after parsing and may be used
// concurrently.
type Roots struct {
	// file is the digest of the file, digest that of all that is trusted.
	file, digest verdict.Digest
	instances    map[string]*instance
	stores       map[string]*trustStore
	// sources are what has to be fetched, by kind and name; sigstore are the
	// files in them with the trust roots of instances.
	sources  map[string]*source
	sigstore map[string]string
}

// An instance is one sigstore instance: certificate authorities, transparency
// logs, certificate-transparency logs and timestamp authorities.
type instance struct {
	digest   verdict.Digest // of its trusted_root.json
	material *trustedRoot
	// until is how long it counts, where it was fetched; stale is why it does not.
	until time.Time
	stale error
}

// A trustStore is one that was checked.
type trustStore struct {
	kind         string
	certificates []*x509.Certificate
}

// ParseRoots reads a roots file or a trusted_root.json. What cannot be read is a
// [verdict.Misuse], and so are roots that trust nobody.
func ParseRoots(data []byte) (*Roots, error) { return parseRoots("trust roots", data) }

func parseRoots(name string, data []byte) (*Roots, error) {
	if len(data) > MaxRootsBytes {
		return nil, verdict.Misused("", "reading %s: %d bytes, want at most %d", name, len(data), MaxRootsBytes)
	}
	r := &Roots{file: verdict.SHA256(data)}
	r.digest = r.file
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		i, err := parseInstance(data)
		if err != nil {
			return nil, verdict.Misused("want a trusted_root.json of a sigstore instance, or a roots file of version 1", "reading %s: %w", name, err)
		}
		r.instances = map[string]*instance{DefaultInstance: i}
		return r, nil
	}
	var file RootsFile
	f, err := strictyaml.Decode(name, data, &file)
	if err != nil {
		return nil, err
	}
	if err := r.compile(f, &file); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Roots) compile(f *strictyaml.File, file *RootsFile) error {
	if file.Version != 1 {
		return f.Misuse("version", "write version: 1", "version of the roots file is %d, want 1", file.Version)
	}
	if len(file.Sigstore)+len(file.TrustStores)+len(file.TUF)+len(file.NotaryV1) == 0 {
		return f.Misuse("", "name a sigstore instance or a trust store", "the roots file trusts nobody")
	}
	if max(len(file.Sigstore), len(file.TrustStores), len(file.TUF), len(file.NotaryV1)) > maxRootEntries {
		return f.Misuse("", "", "more than %d entries of one kind", maxRootEntries)
	}
	r.instances, r.stores = make(map[string]*instance), make(map[string]*trustStore)
	r.sources, r.sigstore = make(map[string]*source), make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(file.Sigstore)) {
		path := "sigstore." + name
		if !validName(name) {
			return f.Misuse(path, "", "name %q: want 1 to 64 letters, digits and -_.", clipQuote(name))
		}
		entry := file.Sigstore[name]
		if (entry.TrustedRoot == "") == (entry.TUF == nil) {
			return f.Misuse(path, "", "sigstore instance %q: want exactly one of trusted-root and tuf", name)
		}
		if entry.TUF != nil {
			s, err := compileTUF(f, path+".tuf", "sigstore "+name, *entry.TUF)
			if err != nil {
				return err
			}
			target := entry.TUF.Target
			if target == "" {
				target = defaultTarget
			}
			s.tuf.Targets = []string{target}
			r.sources[s.name], r.sigstore[name] = s, target
			r.instances[name] = &instance{stale: s.stale()}
			continue
		}
		i, err := parseInstance([]byte(entry.TrustedRoot))
		if err != nil {
			return f.Misuse(path+".trusted-root", "want a trusted_root.json of a sigstore instance, as text", "sigstore instance %q: %s", name, err)
		}
		r.instances[name] = i
	}
	for _, name := range slices.Sorted(maps.Keys(file.TrustStores)) {
		path := "trust-stores." + name
		if !validName(name) {
			return f.Misuse(path, "", "name %q: want 1 to 64 letters, digits and -_.", clipQuote(name))
		}
		s := file.TrustStores[name]
		switch s.Kind {
		case StoreCA, StoreSigningAuthority, StoreTSA, StoreX509:
		default:
			return f.Misuse(path+".kind", "", "trust store %q: kind is %q, want ca, signing-authority, tsa or x509", name, clipQuote(s.Kind))
		}
		certs, err := parseCertificates([]byte(s.PEM))
		if err != nil {
			return f.Misuse(path+".pem", "want CERTIFICATE blocks", "trust store %q: %s", name, err)
		}
		r.stores[name] = &trustStore{kind: s.Kind, certificates: certs}
	}
	for _, name := range slices.Sorted(maps.Keys(file.TUF)) {
		path := "tuf." + name
		if !validName(name) {
			return f.Misuse(path, "", "name %q: want 1 to 64 letters, digits and -_.", clipQuote(name))
		}
		if file.TUF[name].Target != "" {
			return f.Misuse(path+".target", "leave it out", "TUF repository %q: a target is for a sigstore instance; images are found by their digests", name)
		}
		s, err := compileTUF(f, path, "tuf "+name, file.TUF[name])
		if err != nil {
			return err
		}
		r.sources[s.name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(file.NotaryV1)) {
		s, err := compileCollection(f, "notary-v1."+name, name, file.NotaryV1[name])
		if err != nil {
			return err
		}
		r.sources[s.name] = s
	}
	r.seal()
	return nil
}

func parseInstance(data []byte) (*instance, error) {
	m, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, err
	}
	i := &instance{digest: verdict.SHA256(data), material: newTrustedRoot(m)}
	if !i.hasCA() && !i.hasLog() && !i.hasTimestamps() {
		return nil, fmt.Errorf("it lists no certificate authority, log or timestamp authority")
	}
	return i, nil
}

// parseCertificates reads PEM certificates with keys that are accepted, and
// nothing else.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for len(bytes.TrimSpace(data)) > 0 {
		block, rest := pem.Decode(data)
		switch {
		case block == nil || block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("certificate %d: not a PEM block CERTIFICATE", len(out)+1)
		case len(out) == maxStoreCertificates:
			return nil, fmt.Errorf("more than %d certificates", maxStoreCertificates)
		case len(block.Bytes) > maxCertificate:
			return nil, fmt.Errorf("certificate %d has %d bytes, want at most %d", len(out)+1, len(block.Bytes), maxCertificate)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil {
			err = acceptKey(c.PublicKey)
		}
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		if slices.ContainsFunc(out, c.Equal) {
			return nil, fmt.Errorf("certificate %d is there twice", len(out)+1)
		}
		out = append(out, c)
		data = rest
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there is no certificate")
	}
	return out, nil
}

// LoadRoots reads a roots file from disk.
func LoadRoots(path string) (*Roots, error) {
	data, err := readFile(path, MaxRootsBytes)
	if err != nil {
		return nil, verdict.Misused("", "reading trust roots: %w", err)
	}
	return parseRoots(path, data)
}

// Digest names everything that r trusts: the SHA-256 of the file, or, where
// something is fetched, of the file and what was fetched. It is empty for nil.
func (r *Roots) Digest() verdict.Digest {
	if r == nil {
		return ""
	}
	return r.digest
}

// instance returns the sigstore instance of that name, or nil.
func (r *Roots) instance(name string) *instance {
	if r == nil {
		return nil
	}
	return r.instances[name]
}

// store returns the certificates of the trust stores of that kind among names.
func (r *Roots) store(kind string, names []string) []*x509.Certificate {
	var out []*x509.Certificate
	for _, n := range names {
		if s := r.stores[n]; s != nil && s.kind == kind {
			out = append(out, s.certificates...)
		}
	}
	return out
}

// checkStores refuses names that are no trust store of one of kinds.
func (r *Roots) checkStores(authority string, names []string, kinds ...string) error {
	for _, n := range names {
		var s *trustStore
		if r != nil {
			s = r.stores[n]
		}
		switch {
		case s == nil:
			return verdict.Misused("name it under trust-stores of the roots file", "authority %q: the trust roots have no trust store %q [%s]", authority, n, verdict.TrustMissing)
		case !slices.Contains(kinds, s.kind):
			return verdict.Misused("", "authority %q: trust store %q is of kind %s, want %s [%s]", authority, n, s.kind, strings.Join(kinds, " or "), verdict.TrustMissing)
		}
	}
	return nil
}

func (i *instance) hasCA() bool {
	return i != nil && len(i.material.FulcioCertificateAuthorities()) > 0
}

func (i *instance) hasLog() bool {
	return i != nil && i.material != nil && len(i.material.RekorLogs()) > 0
}

func (i *instance) hasCTLog() bool {
	return i != nil && i.material != nil && len(i.material.CTLogs()) > 0
}

func (i *instance) hasTimestamps() bool {
	return i != nil && i.material != nil && len(i.material.TimestampingAuthorities()) > 0
}

// id names the instance in cache keys; nil has one too.
func (i *instance) id() string {
	if i == nil {
		return ""
	}
	return string(i.digest)
}

//go:embed roots/public-good.json
var publicGood []byte

// PublicGoodDate is when the embedded public-good root was published. A root
// ages: signers move to logs that it does not list.
const PublicGoodDate = "2025-09-22"

// PublicGoodRoot returns the trust roots of the public-good sigstore instance
// as of [PublicGoodDate]. Only the command line uses them, where nobody named
// others: the daemon's roots are those that its head names.
func PublicGoodRoot() (*Roots, error) { return ParseRoots(publicGood) }

// PublicGoodJSON returns a copy of the trusted_root.json that [PublicGoodRoot]
// reads.
func PublicGoodJSON() []byte { return bytes.Clone(publicGood) }

// readFile reads a whole file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	// A named pipe that nobody writes to would be waited for without end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return readAll(f, limit)
}
