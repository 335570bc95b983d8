// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"cmp"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/notaryv1"
)

// The kinds of anchors.
const (
	AnchorCA          = "certificate authority"
	AnchorLog         = "log"
	AnchorCTLog       = "certificate-transparency log"
	AnchorTimestamp   = "timestamp authority"
	AnchorCertificate = "certificate"
	AnchorKey         = "key"
	AnchorRoot        = "pinned root"
	AnchorSource      = "source"
)

// An Anchor is one thing that trust roots trust: it is what people compare when
// a roots file changes.
type Anchor struct {
	// Entry is the entry of the roots file: "sigstore default", "trust-store acme",
	// "tuf acme", "notary-v1 docker.io/acme/app".
	Entry string `json:"entry"`
	// Kind is one of the constants above.
	Kind string `json:"kind"`
	// ID is computed of what is trusted, and never taken from what the file calls
	// it: the SHA-256 of a certificate in DER, or of the digests of all certificates
	// of an authority; of a key as SubjectPublicKeyInfo; of a pinned root.json; of
	// what was fetched of a source, or empty.
	ID string `json:"id"`
	// Name is what the file says beside it: an address, a subject, limits.
	Name string `json:"name"`
	// From and Until are when the roots file trusts it, cut to when its
	// certificates are valid. A zero time is an open end.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Missing is why a source has nothing, or empty.
	Missing string `json:"missing,omitempty"`
}

// Ended says whether a counts no longer at a time.
func (a Anchor) Ended(at time.Time) bool { return !a.Until.IsZero() && at.After(a.Until) }

// Anchors lists all that r trusts, in a fixed order.
func (r *Roots) Anchors() []Anchor {
	if r == nil {
		return nil
	}
	var out []Anchor
	for name, i := range r.instances {
		if i.material != nil {
			out = append(out, i.material.anchors("sigstore "+name)...)
		}
	}
	for name, s := range r.stores {
		for _, c := range s.certificates {
			out = append(out, Anchor{Entry: "trust-store " + name, Kind: AnchorCertificate, ID: certificateID(c), Name: s.kind + " " + c.Subject.String(), From: c.NotBefore, Until: c.NotAfter})
		}
	}
	for _, s := range r.sources {
		a := Anchor{Entry: s.name, Kind: AnchorSource, ID: string(s.digest()), Name: s.url + s.folder, Until: s.expires()}
		age := s.tuf.MaxAge
		if s.notary != nil {
			age = s.notary.MaxAge
			if s.notary.Name != "" {
				a.Name += ", certificates for " + s.notary.Name
			}
			for _, k := range s.notary.RootKeys {
				if id, err := notaryv1.Fingerprint(k); err == nil {
					out = append(out, Anchor{Entry: s.name, Kind: AnchorKey, ID: string(id), Name: "root key"})
				}
			}
		} else {
			out = append(out, Anchor{Entry: s.name, Kind: AnchorRoot, ID: string(verdict.SHA256(s.tuf.Root)), Name: strings.Join(s.tuf.Targets, " ")})
		}
		if age > 0 {
			a.Name += ", at most " + age.String() + " old"
		}
		if s.fetched() == nil {
			a.Missing = verdict.ReasonOf(s.stale()).Text
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Anchor) int {
		return cmp.Or(cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Kind, b.Kind), a.From.Compare(b.From), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func certificateID(c *x509.Certificate) string { return string(verdict.SHA256(c.Raw)) }

// authorityID names an authority by all of its certificates: with another root under
// the same intermediate it is another one.
func authorityID(certs []*x509.Certificate) string {
	if len(certs) == 1 {
		return certificateID(certs[0])
	}
	return certificatesID(certs)
}

// anchors are those of one sigstore instance.
func (t *trustedRoot) anchors(entry string) []Anchor {
	var out []Anchor
	add := func(kind, id, name string, from, until time.Time, certs ...*x509.Certificate) {
		w := window{from, until}
		for _, c := range certs {
			w = w.and(window{c.NotBefore, c.NotAfter})
		}
		out = append(out, Anchor{Entry: entry, Kind: kind, ID: id, Name: name, From: w.from, Until: w.to})
	}
	for _, a := range t.FulcioCertificateAuthorities() {
		if ca, ok := a.(*root.FulcioCertificateAuthority); ok {
			certs := append(slices.Clone(ca.Intermediates), ca.Root)
			add(AnchorCA, authorityID(certs), ca.URI, ca.ValidityPeriodStart, ca.ValidityPeriodEnd, certs...)
		}
	}
	for _, a := range t.TrustedRoot.TimestampingAuthorities() {
		if tsa, ok := a.(*root.SigstoreTimestampingAuthority); ok {
			certs := append(slices.Clone(tsa.Intermediates), tsa.Root)
			if tsa.Leaf != nil {
				certs = append([]*x509.Certificate{tsa.Leaf}, certs...)
			}
			add(AnchorTimestamp, authorityID(certs), tsa.URI, tsa.ValidityPeriodStart, tsa.ValidityPeriodEnd, certs...)
		}
	}
	for kind, logs := range map[string]map[string]*root.TransparencyLog{AnchorLog: t.RekorLogs(), AnchorCTLog: t.CTLogs()} {
		for _, id := range slices.Sorted(maps.Keys(logs)) {
			log := logs[id]
			key, err := notaryv1.Fingerprint(log.PublicKey)
			if err != nil {
				key = verdict.SHA256([]byte(id)) // no such key verifies anything
			}
			name := log.BaseURL
			if key.Hex() != id { // some logs have IDs of another form
				name += ", called " + id
			}
			add(kind, string(key), name+", "+log.SignatureHashFunc.String(), log.ValidityPeriodStart, log.ValidityPeriodEnd)
		}
	}
	return out
}
