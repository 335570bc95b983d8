// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"

	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
)

// A OneOff is what the command line demands without a policy file: one signer,
// by key or by identity, each a whole string.
type OneOff struct {
	// Keys are PEM public keys; a signature by any one of them is enough.
	Keys [][]byte
	// Identity and Issuer are the certificate's subject and OIDC issuer.
	Identity string
	// Issuer goes with Identity.
	Issuer string
	// Attestation demands a statement of this predicate type (a URI or
	// "slsaprovenance") in place of a signature.
	Attestation string
	// RequireLog demands a transparency log entry also of a key.
	RequireLog bool
	// X509 are certificates, PEM or DER, of authorities of an own PKI: Identity
	// is then the certificate's subject alternative name.
	X509 [][]byte
	// NotationCA and NotationAuthority are certificates, PEM or DER, of who may
	// issue signers of the Notary Project, by scheme; NotationTSA those of
	// timestamp authorities. Subjects are as in [Notation]; none means any.
	NotationCA, NotationAuthority, NotationTSA [][]byte
	Subjects                                   []string
	// Revocation is as in [Authority].
	Revocation string
	// NotaryKeys are the publisher's root keys of Docker Content Trust, PEM, for
	// the collection of Repository: at NotaryServer or recorded in NotaryFolder,
	// with certificates for NotaryName and of NotaryRole, as in [NotaryV1Source]
	// and [NotaryV1].
	NotaryKeys                             [][]byte
	Repository, NotaryServer, NotaryFolder string
	NotaryName, NotaryRole                 string
}

// Names of the trust stores of a one-off, which are their kinds.
var oneOffStores = []string{StoreX509, StoreCA, StoreSigningAuthority, StoreTSA}

func (o OneOff) stores() map[string][][]byte {
	return map[string][][]byte{StoreX509: o.X509, StoreCA: o.NotationCA, StoreSigningAuthority: o.NotationAuthority, StoreTSA: o.NotationTSA}
}

// Roots returns base with the certificates of o in trust stores. Base may be
// nil.
func (o OneOff) Roots(base *Roots) (*Roots, error) {
	r := &Roots{instances: make(map[string]*instance), stores: make(map[string]*trustStore)}
	digest := []byte(base.Digest())
	if base != nil {
		maps.Copy(r.instances, base.instances)
		maps.Copy(r.stores, base.stores)
		r.sources, r.sigstore = base.sources, base.sigstore
	}
	added := false
	for _, kind := range oneOffStores {
		var all []byte
		for _, data := range o.stores()[kind] {
			if !bytes.Contains(data, []byte("-----BEGIN")) {
				data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
			}
			all = append(append(all, data...), '\n')
		}
		if len(all) == 0 {
			continue
		}
		certs, err := parseCertificates(all)
		if err != nil {
			return nil, verdict.Misused("want certificates, PEM or DER", "reading trust store %s: %w", kind, err)
		}
		r.stores[kind] = &trustStore{kind: kind, certificates: certs}
		digest = append(append(digest, kind...), all...)
		added = true
	}
	if len(o.NotaryKeys) > 0 {
		n := NotaryV1Source{URL: o.NotaryServer, Folder: o.NotaryFolder, CertificateName: o.NotaryName}
		for _, key := range o.NotaryKeys {
			n.RootKeys = append(n.RootKeys, string(key))
		}
		s, err := compileCollection(strictyaml.Named("command line"), "notary-v1", o.Repository, n)
		if err != nil {
			return nil, err
		}
		r.sources = map[string]*source{s.name: s}
		if base != nil {
			maps.Copy(r.sources, base.sources)
		}
		digest = fmt.Appendf(digest, "%s\n%q\n%q\n", s.name, n.RootKeys, n.CertificateName)
		added = true
	}
	if !added {
		return base, nil
	}
	r.file = verdict.SHA256(digest)
	r.seal()
	return r, nil
}

// Policy returns the policy with one rule for everything that o means. Its
// digest is that of its JSON form.
func (o OneOff) Policy() (*Policy, error) {
	p := &Policy{Version: 1, Authorities: make(map[string]Authority), name: "command line"}
	notation := len(o.NotationCA)+len(o.NotationAuthority) > 0
	switch {
	case len(o.NotaryKeys) > 0 && (notation || len(o.Keys) > 0 || o.Identity != "" || o.Issuer != "" || len(o.X509) > 0):
		return nil, verdict.Misused("name one of them", "a collection of Docker Content Trust and another signer are different signers")
	case len(o.NotaryKeys) > 0:
		n := &NotaryV1{Role: o.NotaryRole}
		if n.Role == "" {
			n.Role = RoleDocker
		}
		p.Authorities["notary-v1"] = Authority{NotaryV1: n}
	case notation && (len(o.Keys) > 0 || o.Identity != "" || o.Issuer != "" || len(o.X509) > 0):
		return nil, verdict.Misused("name one of them", "a notation trust store and a key or identity are different signers")
	case notation:
		n := &Notation{Subjects: o.Subjects, AnySubject: len(o.Subjects) == 0}
		for _, kind := range []string{StoreCA, StoreSigningAuthority, StoreTSA} {
			if len(o.stores()[kind]) > 0 {
				n.TrustStores = append(n.TrustStores, kind)
			}
		}
		p.Authorities["notation"] = Authority{Notation: n, Revocation: o.Revocation}
	case len(o.NotationTSA) > 0 || len(o.Subjects) > 0:
		return nil, verdict.Misused("name who may issue signers as well", "timestamp authorities or subjects of notation without its trust store")
	case len(o.X509) > 0 && (len(o.Keys) > 0 || o.Issuer != ""):
		return nil, verdict.Misused("name one of them", "an own PKI and a key or OIDC issuer are different signers")
	case len(o.X509) > 0:
		p.Authorities["x509"] = Authority{X509: &X509{TrustStores: []string{StoreX509}, Subject: o.Identity}, RequireLog: o.RequireLog, Revocation: o.Revocation}
	case o.Revocation != "":
		return nil, verdict.Misused("leave it out: only an own PKI and notation have publishers that revoke", "revocation is not for keys and keyless identities")
	case len(o.Keys) > 0 && (o.Identity != "" || o.Issuer != ""):
		return nil, verdict.Misused("name one of them", "a key and a certificate identity are different signers")
	case len(o.Keys) > 0:
		for i, k := range o.Keys {
			name := "key"
			if len(o.Keys) > 1 {
				name = fmt.Sprintf("key-%d", i+1)
			}
			p.Authorities[name] = Authority{Key: &Key{PEM: string(k)}, RequireLog: o.RequireLog}
		}
	case o.Identity == "" || o.Issuer == "":
		return nil, verdict.Misused("an identity is a subject together with its OIDC issuer", "nothing says who must have signed: want a policy, a key, or identity and issuer")
	default:
		p.Authorities["identity"] = Authority{Keyless: &Keyless{Issuer: o.Issuer, Subject: o.Identity}, RequireLog: o.RequireLog}
	}
	names := slices.Sorted(maps.Keys(p.Authorities))
	rule := Rule{Name: "command-line", Repositories: []string{everything}}
	if o.Attestation != "" {
		rule.Attestations = []Attestation{{PredicateType: o.Attestation, Authorities: names, Require: 1}}
	} else {
		rule.Authorities, rule.Require = names, 1
	}
	p.Rules = []Rule{rule}
	if err := p.compile(strictyaml.Named(p.name)); err != nil {
		return nil, err
	}
	form, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding policy: %w", err)
	}
	p.digest = verdict.SHA256(form)
	return p, nil
}
