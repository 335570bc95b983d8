// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

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
}

// Policy returns the policy with one rule for everything that o means. Its
// digest is that of its JSON form.
func (o OneOff) Policy() (*Policy, error) {
	p := &Policy{Version: 1, Authorities: make(map[string]Authority), name: "command line"}
	switch {
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
	if err := p.compile(&yamlFile{name: p.name}); err != nil {
		return nil, err
	}
	form, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding policy: %w", err)
	}
	p.digest = verdict.SHA256(form)
	return p, nil
}
