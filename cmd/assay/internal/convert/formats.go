// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// clusterImagePolicy converts a ClusterImagePolicy (policy-controller v0.13,
// policy.sigstore.dev/v1beta1). Policies are all demanded, the authorities of
// one are alternatives.
func (c *converter) clusterImagePolicy(o *object) {
	meta := o.object("metadata")
	name := meta.text("name")
	meta.ignore("annotations", "labels", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
	o.ignore("status")
	spec := o.object("spec")
	r := verifier.Rule{}
	switch spec.text("mode") {
	case "warn":
		r.Mode = verifier.ModeAudit
	case "", "enforce":
	default:
		c.note(spec.at("mode"), "is neither warn nor enforce; the rule enforces")
	}
	for _, i := range spec.list("images") {
		r.Repositories = append(r.Repositories, c.repositories(i.at("glob"), []string{i.text("glob")}, "**")...)
	}
	var withStatements int
	authorities := spec.list("authorities")
	for i, a := range authorities {
		label := a.text("name")
		if label == "" {
			label = fmt.Sprintf("%s-%d", name, i)
		}
		if static := a.object("static"); static.has("action") {
			if static.text("action") == "pass" {
				r.Mode = verifier.ModeOff
				c.note(static.at("action"), "pass became mode off: it is told as unchecked, never as a pass")
			} else {
				c.note(static.at("action"), "fail: leave the images out of every rule, so that nothing matches and they are refused")
			}
			continue
		}
		names := c.sigstoreAuthority(label, a)
		a.ignore("signatureFormat")
		if statements := a.list("attestations"); len(statements) > 0 {
			withStatements++
			for _, s := range statements {
				s.ignore("name")
				c.statement(&r, s, names)
			}
			continue
		}
		r.Authorities = append(r.Authorities, names...)
	}
	if withStatements > 0 && len(authorities) > 1 {
		c.note(spec.at("authorities"), "were alternatives, some with attestations; ours demands each of these attestations, which is stricter")
	}
	c.finish(name, spec, r, 1)
}

// finish adds a rule, of whose authorities k must have signed.
func (c *converter) finish(name string, o *object, r verifier.Rule, k int) {
	if len(r.Repositories) == 0 {
		c.note(o.path, "no pattern of it could be carried over, so that there is no rule %q", clip(name))
		return
	}
	if r.Mode == verifier.ModeOff {
		r.Authorities, r.Attestations = nil, nil
	} else if len(r.Authorities) == 0 && len(r.Attestations) == 0 {
		c.note(o.path, "no signer of it could be carried over, so that there is no rule %q: its images are refused", clip(name))
		return
	}
	if len(r.Authorities) > 0 {
		r.Require = k
	}
	c.rule(o.path, name, r)
}

// statement adds a demand for an attestation.
func (c *converter) statement(r *verifier.Rule, s *object, authorities []string) {
	kind := s.text("predicateType")
	if kind == "" {
		kind = s.text("type")
	}
	if p := s.object("policy"); p.has("data") {
		c.note(s.at("policy"), "is in %s: write it as where, in CEL", p.text("type"))
		p.ignore("data", "configMapRef", "remote", "fetchConfigFile", "includeSpec", "includeObjectMeta", "includeTypeMeta")
	}
	switch kind {
	case "slsaprovenance02", "slsaprovenance1":
		kind = verifier.ClassProvenance
	case "spdxjson":
		kind = "spdx"
	case "custom", "":
		c.note(s.path, "predicate type %q says nothing here; the attestation was left out", kind)
		return
	}
	types, known := verifier.PredicateTypes(kind)
	switch {
	case !known:
		c.note(s.path, "predicate type %q is neither a URI nor a name that is known; the attestation was left out", clip(kind))
		return
	case slices.Contains(types, verdict.VSAType):
		c.note(s.path, "a summary counts by its verifiers, which were not named: write the demand with verifiers; the attestation was left out")
		return
	}
	if len(authorities) == 0 {
		return
	}
	a := verifier.Attestation{PredicateType: kind, Authorities: authorities, Require: 1}
	r.Attestations = append(r.Attestations, a)
}

// sigstoreAuthority converts one authority of a ClusterImagePolicy; each of its
// identities is one of ours.
func (c *converter) sigstoreAuthority(label string, a *object) []string {
	var base verifier.Authority
	if a.has("ctlog") {
		base.RequireLog = true
		log := a.object("ctlog")
		log.ignore("url")
		if ref := log.text("trustRootRef"); ref != "" {
			base.Roots = ref
		}
	}
	if a.has("rfc3161timestamp") {
		base.RequireTimestamp = true
		if ref := a.object("rfc3161timestamp").text("trustRootRef"); ref != "" {
			base.Roots = ref
		}
	}
	if a.has("source") {
		c.note(a.at("source"), "signatures in another repository are not looked for; copy them beside the image")
		a.ignore("source")
	}
	if a.has("key") {
		k := a.object("key")
		k.ignore("hashAlgorithm")
		base.Key = &verifier.Key{PEM: k.text("data")}
		if base.Key.PEM == "" {
			c.note(k.path, "the key is kept elsewhere: export its public half into pem; it was left out")
			k.ignore("secretRef", "kms")
			return nil
		}
		return c.authority(k.at("data"), label, base)
	}
	k := a.object("keyless")
	k.ignore("url")
	if ref := k.text("trustRootRef"); ref != "" {
		base.Roots = ref
	}
	if k.flag("insecureIgnoreSCT") {
		base.AllowNoSCT = true
	}
	if k.has("ca-cert") {
		c.note(k.at("ca-cert"), "put the certificate authority into the roots file as a sigstore instance, and name it under roots")
		k.ignore("ca-cert")
	}
	var names []string
	for _, id := range k.list("identities") {
		one, ok := c.keyless(id.path, id.text("issuer"), id.text("issuerRegExp"), id.text("subject"), id.text("subjectRegExp"))
		if !ok {
			continue
		}
		full := base
		full.Keyless, full.RequireLog = one.Keyless, false // demanded anyway
		names = append(names, c.authority(k.path, label, full)...)
	}
	return names
}

// kyverno converts the verifyImages rules of a Kyverno policy (kyverno.io/v1).
func (c *converter) kyverno(o *object) {
	meta := o.object("metadata")
	name := meta.text("name")
	meta.ignore("annotations", "labels", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
	o.ignore("status")
	spec := o.object("spec")
	mode := spec.text("validationFailureAction")
	spec.ignore("webhookTimeoutSeconds", "background", "failurePolicy", "webhookConfiguration")
	for _, rule := range spec.list("rules") {
		label := name + "-" + rule.text("name")
		if !rule.has("verifyImages") {
			c.note(rule.path, "is not about images, and was left out")
			rule.ignore("match", "exclude", "validate", "mutate", "generate", "context", "preconditions")
			continue
		}
		rule.ignore("name")
		for i, v := range rule.list("verifyImages") {
			c.kyvernoImages(fmt.Sprintf("%s-%d", label, i), mode, v)
		}
	}
}

func (c *converter) kyvernoImages(label, mode string, v *object) {
	r := verifier.Rule{Repositories: c.repositories(v.at("imageReferences"), v.texts("imageReferences"), "*")}
	if skip := v.texts("skipImageReferences"); len(skip) > 0 {
		c.note(v.at("skipImageReferences"), "a rule has no exceptions by name: the images %s are checked too", clip(strings.Join(skip, ", ")))
	}
	if own := v.text("failureAction"); own != "" {
		mode = own
	}
	if strings.EqualFold(mode, "audit") || mode == "" {
		r.Mode = verifier.ModeAudit
	}
	v.ignore("mutateDigest", "verifyDigest", "useCache", "required", "imageRegistryCredentials")
	kind := v.text("type")
	for i, set := range v.list("attestors") {
		one := r
		names, count := c.kyvernoSet(fmt.Sprintf("%s-%d", label, i), kind, set)
		one.Authorities = names
		c.finish(fmt.Sprintf("%s-%d", label, i), set, one, count)
	}
	for _, s := range v.list("attestations") {
		s.ignore("name")
		if s.has("conditions") {
			c.note(s.at("conditions"), "write them as where, in CEL")
			s.ignore("conditions")
		}
		one := r
		one.Authorities = nil
		for i, set := range s.list("attestors") {
			names, count := c.kyvernoSet(fmt.Sprintf("%s-attestation-%d", label, i), kind, set)
			before := len(one.Attestations)
			c.statement(&one, s, names)
			if len(one.Attestations) > before {
				one.Attestations[before].Require = count
			}
		}
		c.finish(label+"-attestation", s, one, 0)
	}
}

// kyvernoSet converts one set of attestors and returns how many of them have to
// sign: all, unless count says otherwise.
func (c *converter) kyvernoSet(label, kind string, set *object) ([]string, int) {
	entries := set.list("entries")
	count, ok := set.number("count")
	if !ok {
		count = len(entries)
	}
	var names []string
	for i, e := range entries {
		name := fmt.Sprintf("%s-%d", label, i)
		if e.has("repository") {
			c.note(e.at("repository"), "signatures in another repository are not looked for; copy them beside the image")
			e.ignore("repository")
		}
		e.ignore("signatureAlgorithm")
		switch {
		case e.has("keys"):
			k := e.object("keys")
			k.ignore("signatureAlgorithm", "ctlog")
			a := verifier.Authority{Key: &verifier.Key{PEM: k.text("publicKeys")}, RequireLog: true}
			if rekor := k.object("rekor"); rekor.flag("ignoreTlog") {
				a.RequireLog = false
				rekor.ignore("url", "pubkey")
			} else {
				rekor.ignore("url")
			}
			if strings.Count(a.Key.PEM, "BEGIN") > 1 {
				c.note(k.at("publicKeys"), "has several keys: make an authority of each; they were left out")
				continue
			}
			if a.Key.PEM == "" || !strings.Contains(a.Key.PEM, "BEGIN") {
				c.note(k.path, "the key is kept elsewhere: export its public half into pem; it was left out")
				k.ignore("secret", "kms")
				continue
			}
			names = append(names, c.authority(k.at("publicKeys"), name, a)...)
		case e.has("keyless"):
			k := e.object("keyless")
			a, ok := c.keyless(k.path, k.text("issuer"), k.text("issuerRegExp"), k.text("subject"), k.text("subjectRegExp"))
			k.object("rekor").ignore("url", "ignoreTlog")
			k.object("ctlog").ignore("url", "ignoreSCT")
			if k.has("roots") {
				c.note(k.at("roots"), "put the certificate authority into the roots file as a sigstore instance, and name it under roots")
				k.ignore("roots")
			}
			if ok {
				names = append(names, c.authority(k.path, name, a)...)
			}
		case e.has("certificates"):
			k := e.object("certificates")
			k.ignore("cert", "certChain")
			if strings.EqualFold(kind, "Notary") {
				c.TrustStores[name] = verifier.StoreCA
				c.note(k.path, "put the certificates into trust store %q of the roots file, and name the subjects that may sign under notation; it was left out", name)
			} else {
				c.note(k.path, "put the certificate authority into a trust store of kind x509, and name the subject under x509; it was left out")
			}
		default:
			c.note(e.path, "is neither keys nor keyless nor certificates, and was left out")
		}
	}
	if len(names) < count {
		c.note(set.path, "%d of %d signers were demanded and %d could be carried over", count, len(entries), len(names))
		count = max(1, len(names))
	}
	return names, count
}

// notation converts a trust policy document of notation (Notary Project
// trust-store-trust-policy.md, version 1.0).
func (c *converter) notation(o *object) {
	o.ignore("version")
	for _, p := range o.list("trustPolicies") {
		name := p.text("name")
		r := verifier.Rule{Repositories: c.repositories(p.at("registryScopes"), p.texts("registryScopes"), "*")}
		if slices.Contains(r.Repositories, "**") {
			c.note(p.at("registryScopes"), "the scope * was for what no other policy named; ours is demanded of everything")
		}
		level := p.object("signatureVerification")
		a := verifier.Authority{Notation: &verifier.Notation{}}
		switch l := level.text("level"); l {
		case "strict", "":
		case "permissive":
			a.Revocation = verifier.RevocationSoft
			c.note(level.at("level"), "permissive became revocation: soft; expiry and trusted time stay demanded")
		case "audit":
			r.Mode, a.Revocation = verifier.ModeAudit, verifier.RevocationSoft
		case "skip":
			r.Mode = verifier.ModeOff
		default:
			c.note(level.at("level"), "level %q is not known; it is strict here", clip(l))
		}
		if override := level.object("override"); override.text("revocation") == "skip" {
			a.Revocation = verifier.RevocationOff
		} else if override.text("revocation") == "log" {
			a.Revocation = verifier.RevocationSoft
		}
		level.ignore("verifyTimestamp")
		for _, s := range p.texts("trustStores") {
			kind, store, ok := strings.Cut(s, ":")
			kind = map[string]string{"ca": verifier.StoreCA, "signingAuthority": verifier.StoreSigningAuthority, "tsa": verifier.StoreTSA}[kind]
			if !ok || kind == "" {
				c.note(p.at("trustStores"), "store %q is of no known kind, and was left out", clip(s))
				continue
			}
			// Ours have one name each; theirs are apart by kind.
			store = kind + "-" + store
			c.TrustStores[store] = kind
			a.Notation.TrustStores = append(a.Notation.TrustStores, store)
		}
		for _, id := range p.texts("trustedIdentities") {
			subject, ok := strings.CutPrefix(id, "x509.subject:")
			switch {
			case id == "*":
				a.Notation.AnySubject = true
			case ok:
				a.Notation.Subjects = append(a.Notation.Subjects, strings.TrimSpace(subject))
			default:
				c.note(p.at("trustedIdentities"), "identity %q is of no known kind, and was left out", clip(id))
			}
		}
		if a.Notation.AnySubject {
			a.Notation.Subjects = nil
		}
		if r.Mode != verifier.ModeOff && len(a.Notation.TrustStores) > 0 && (a.Notation.AnySubject || len(a.Notation.Subjects) > 0) {
			r.Authorities = c.authority(p.path, name, a)
		}
		c.finish(name, p, r, 1)
	}
}

// containers converts a policy.json (containers-policy.json(5)).
func (c *converter) containers(o *object) {
	scopes := []struct {
		pattern string
		reqs    []*object
	}{{"**", o.list("default")}}
	transports := o.object("transports")
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range transports.members {
			if !yield(n) {
				return
			}
		}
	}) {
		t := transports.object(name)
		if name != "docker" {
			c.note(t.path, "is not about registries, and was left out")
			for n := range t.members {
				t.ignore(n)
			}
			continue
		}
		var keys []string
		for n := range t.members {
			keys = append(keys, n)
		}
		slices.Sort(keys)
		for _, scope := range keys {
			reqs := t.list(scope)
			pattern := scope + "/**"
			if scope == "" {
				pattern = "**"
			} else if p, err := verifier.ParseRepository(scope); err == nil && strings.Contains(scope, "/") {
				pattern = p
			} else if strings.HasPrefix(scope, "*.") {
				c.note(t.at(scope), "a host is never a wildcard in ours; it was left out")
				for _, r := range reqs {
					r.ignore("type")
				}
				continue
			} else if !isPattern(pattern) {
				c.note(t.at(scope), "the scope cannot be written as ours; it was left out")
				for _, r := range reqs {
					r.ignore("type")
				}
				continue
			}
			scopes = append(scopes, struct {
				pattern string
				reqs    []*object
			}{pattern, reqs})
		}
	}
	if len(scopes) > 1 {
		c.note("transports", "the narrowest scope alone counted; ours adds the demands of every rule that matches, so that a wider rule has to be met too")
	}
	for _, s := range scopes {
		for i, req := range s.reqs {
			c.containersRequirement(fmt.Sprintf("%s-%d", strings.Trim(strings.NewReplacer("/", "-", "*", "").Replace(s.pattern), "-"), i), s.pattern, req)
		}
	}
}

func (c *converter) containersRequirement(label, pattern string, req *object) {
	r := verifier.Rule{Repositories: []string{pattern}}
	label = strings.TrimPrefix(label, "-")
	switch kind := req.text("type"); kind {
	case "reject":
		c.note(req.path, "needs no rule: what no rule matches is refused")
		return
	case "insecureAcceptAnything":
		r.Mode = verifier.ModeOff
		c.note(req.path, "became mode off: it is told as unchecked, never as a pass")
		c.finish("unchecked-"+label, req, r, 0)
		return
	case "sigstoreSigned":
	default:
		c.note(req.path, "type %q (GPG signatures, or not known) is not verified; it was left out", clip(kind))
		for n := range req.members {
			req.ignore(n)
		}
		return
	}
	identity := req.object("signedIdentity")
	switch kind := identity.text("type"); kind {
	case "", "matchRepoDigestOrExact", "matchRepository", "matchExact":
		r.RequireReference = true
		c.note(req.at("signedIdentity"), "became require-reference, which compares the repository; sigstore bundles name none, and only .sig signatures count then")
	default:
		c.note(identity.path, "type %q is not carried over: the rule binds the repository", clip(kind))
		identity.ignore("prefix", "signedPrefix", "dockerReference", "dockerRepository")
	}
	logged := req.has("rekorPublicKeyPath") || req.has("rekorPublicKeyData") || req.has("rekorPublicKeyPaths") || req.has("rekorPublicKeyDatas")
	if logged {
		c.note(req.path, "put the log's key into the roots file, in a trusted_root.json")
		req.ignore("rekorPublicKeyPath", "rekorPublicKeyData", "rekorPublicKeyPaths", "rekorPublicKeyDatas")
	}
	for _, n := range []string{"keyPath", "keyPaths"} {
		if req.has(n) {
			c.note(req.at(n), "paste the key into pem; it was left out")
			req.ignore(n)
		}
	}
	for _, data := range append(req.texts("keyData"), req.texts("keyDatas")...) {
		pem, err := base64.StdEncoding.DecodeString(data)
		a := verifier.Authority{Key: &verifier.Key{PEM: string(pem)}, RequireLog: logged}
		if err != nil {
			c.note(req.at("keyData"), "is not base64, and was left out")
			continue
		}
		r.Authorities = append(r.Authorities, c.authority(req.at("keyData"), "key-"+label, a)...)
	}
	if req.has("fulcio") {
		f := req.object("fulcio")
		f.ignore("caPath", "caData")
		c.note(f.path, "put the certificate authority into the roots file, in a trusted_root.json")
		if a, ok := c.keyless(f.path, f.text("oidcIssuer"), "", f.text("subjectEmail"), ""); ok {
			r.Authorities = append(r.Authorities, c.authority(f.path, "identity-"+label, a)...)
		}
	}
	if req.has("pki") {
		p := req.object("pki")
		p.ignore("caRootsPath", "caRootsData", "caIntermediatesPath", "caIntermediatesData")
		store := "pki-" + label
		subject := p.text("subjectEmail")
		if subject == "" {
			subject = p.text("subjectHostname")
		} else if p.text("subjectHostname") != "" {
			c.note(p.at("subjectHostname"), "both names were demanded; ours compares the e-mail address")
		}
		c.TrustStores[store] = verifier.StoreX509
		if subject != "" {
			r.Authorities = append(r.Authorities, c.authority(p.path, store, verifier.Authority{X509: &verifier.X509{TrustStores: []string{store}, Subject: subject}})...)
		}
	}
	c.finish("signed-"+label, req, r, 1)
}
