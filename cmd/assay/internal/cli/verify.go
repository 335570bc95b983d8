// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/dockerauth"
)

// Limits of a verification on the command line.
const (
	// defaultTimeout bounds a whole verification.
	defaultTimeout = time.Minute
	// maxKeyFile bounds a public key, in bytes.
	maxKeyFile = 64 << 10
)

// verifyFlags are those of verify and explain.
type verifyFlags struct {
	policy           string
	identity, issuer string
	keys             []string
	requireLog       bool
	attestation      string
	x509, notationCA []string
	notationSA       []string
	notationTSA      []string
	subjects         []string
	revocation       string
	notaryKeys       []string
	notaryServer     string
	notaryName       string
	notaryRole       string
	crls, ocsp       []string
	offline          bool
	deep             bool
	platforms        []string

	roots       string
	bundle      string
	repository  string
	namespace   string
	at          string
	timeout     time.Duration
	plainHTTP   []string
	mirrors     []string
	unvalidated []string

	server serverFlags
}

func (f *verifyFlags) register(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.policy, "policy", "", "policy `FILE` that says who must have signed")
	s.StringVar(&f.identity, "certificate-identity", "", "who must have signed, the whole `SUBJECT` of the certificate")
	s.StringVar(&f.issuer, "certificate-oidc-issuer", "", "its OIDC issuer, the whole `URL`")
	s.StringArrayVar(&f.keys, "key", nil, "public key that must have signed, PEM `FILE`; of several any one")
	s.BoolVar(&f.requireLog, "require-log", false, "demand a transparency log entry of a key too")
	s.StringVar(&f.attestation, "attestation", "", "demand a statement of this predicate type, `URI` or slsaprovenance, spdx, cyclonedx, vuln …")
	s.StringArrayVar(&f.x509, "x509-ca", nil, "certificates of an own PKI, PEM `FILE`; the identity is the SAN")
	s.StringArrayVar(&f.notationCA, "notation-ca", nil, "certificates that notation signers chain to, `FILE`")
	s.StringArrayVar(&f.notationSA, "notation-signing-authority", nil, "the same for scheme notary.x509.signingAuthority, `FILE`")
	s.StringArrayVar(&f.notationTSA, "notation-tsa", nil, "certificates of notation's timestamp authorities, `FILE`")
	s.StringArrayVar(&f.subjects, "notation-subject", nil, "part of the signer's name, `C=…,ST=…,O=…` (default any)")
	s.StringArrayVar(&f.notaryKeys, "notary-root-key", nil, "root key of a Docker Content Trust collection, PEM `FILE`")
	s.StringVar(&f.notaryServer, "notary-server", "", "where the collection is, `URL`; with --bundle a recorded folder")
	s.StringVar(&f.notaryName, "notary-certificate-name", "", "`NAME` in the root certificate (default the repository)")
	s.StringVar(&f.notaryRole, "notary-role", "", "`ROLE` that has to list the image (default as docker)")
	s.StringVar(&f.revocation, "revocation", "", "hard, soft or off, for certificates of an own PKI and notation (default hard)")
	s.StringArrayVar(&f.crls, "crl", nil, "list of revoked certificates, DER or PEM `FILE`, in place of asking")
	s.StringArrayVar(&f.ocsp, "ocsp", nil, "OCSP response, DER `FILE`, in place of asking")
	s.BoolVar(&f.offline, "offline", false, "ask no publisher about revoked certificates, and fetch no trust roots")
	s.BoolVar(&f.deep, "deep", false, "hash all layers too")
	s.StringArrayVar(&f.platforms, "platform", nil, "only this platform of an index, `OS/ARCH`")
	s.StringVar(&f.roots, "trusted-root", "", "roots file or trusted_root.json `FILE` (default the embedded public-good root)")
	s.StringVar(&f.bundle, "bundle", "", "sigstore bundle, or folder with payload.json and layers.json: `PATH`")
	s.StringVar(&f.repository, "repository", "", "`NAME` that rules are matched with, for a layout or digest")
	s.StringVar(&f.namespace, "namespace", "", "namespace to decide for (default that of a pull)")
	s.StringVar(&f.at, "at", "", "`TIME` of the decision, RFC 3339 (default now)")
	s.DurationVar(&f.timeout, "timeout", defaultTimeout, "longest that all of it may take")
	s.StringArrayVar(&f.plainHTTP, "plain-http", nil, "registry to speak to without TLS, `HOST:PORT`")
	s.StringArrayVar(&f.mirrors, "mirror", nil, "`HOST=MIRROR` that is asked first for images of a host")
	s.StringArrayVar(&f.unvalidated, "allow-unvalidated", nil, "algorithm outside this build's crypto module to accept: ed25519")
	f.server.register(c)
}

const verifyUse = " IMAGE (--policy F | --key F | --certificate-identity … | --server ADDR)"

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	c := a.command("verify"+verifyUse, "Verify that an image (a reference, oci:DIR@DIGEST or DIGEST) is signed as demanded",
		"  assay verify --key release.pub registry.example/app@sha256:9f2c…\n  assay verify --server 10.0.0.7:8443 --trust trust.yaml registry.example/app@sha256:9f2c…",
		exactly(1, "one IMAGE"),
		func(ctx context.Context, args []string) (*answer, error) {
			return a.verify(ctx, args[0], &f, false)
		})
	f.register(c)
	return c
}

func (a *app) explainCommand() *cobra.Command {
	var f verifyFlags
	c := a.command("explain"+verifyUse, "Show the rules for an image, what was found, and what would have done",
		"  assay explain --policy policy.yaml registry.example/app@sha256:9f2c…", exactly(1, "one IMAGE"),
		func(ctx context.Context, args []string) (*answer, error) {
			return a.verify(ctx, args[0], &f, true)
		})
	f.register(c)
	return c
}

// verify decides about one image, here or by a daemon.
func (a *app) verify(ctx context.Context, name string, f *verifyFlags, explain bool) (*answer, error) {
	ans := &answer{Image: imageRef{Name: clipTo(name, verdict.MaxRepository)}}
	at, err := timeFlag("at", f.at)
	if err != nil {
		return ans, err
	}
	if err := f.check(); err != nil {
		return ans, err
	}
	ref, err := verifier.ParseReference(name)
	if err != nil {
		return ans, verdict.Misused("write host/repository@sha256:…, oci:DIR@sha256:…, or sha256:… with --bundle", "%s", verdict.ReasonOf(err).Text)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	defer a.progress("verifying " + printable(clip(name)))()
	if f.server.addr != "" {
		return a.verifyByServer(ctx, ref, f, at, explain, ans)
	}
	return a.verifyHere(ctx, ref, f, at, explain, ans)
}

// check refuses flags that contradict each other, before anything starts.
func (f *verifyFlags) check() error {
	notation := len(f.notationCA)+len(f.notationSA) > 0
	notary := len(f.notaryKeys) > 0
	oneOff := len(f.keys) > 0 || f.identity != "" || f.issuer != "" || notation || notary
	ways := 0
	for _, set := range []bool{f.policy != "", len(f.keys) > 0, f.identity != "" || f.issuer != "", notation, notary, f.server.addr != ""} {
		if set {
			ways++
		}
	}
	switch {
	case ways == 0:
		return verdict.Misused("name a --policy, a --key, a --certificate-identity with its --certificate-oidc-issuer, a --notation-ca, a --notary-root-key, or a --server", "nothing says who must have signed")
	case ways > 1:
		return verdict.Misused("name one of --policy, --key, --certificate-identity, --notation-ca, --notary-root-key and --server", "several of the flags say who must have signed")
	case len(f.x509) > 0 && (f.identity == "" || f.issuer != ""):
		return verdict.Misused("name the subject alternative name with --certificate-identity", "--x509-ca goes with --certificate-identity, and with no --certificate-oidc-issuer")
	case oneOff && len(f.keys) == 0 && len(f.x509) == 0 && !notation && !notary && (f.identity == "" || f.issuer == ""):
		return verdict.Misused("an identity is a subject together with its OIDC issuer", "--certificate-identity and --certificate-oidc-issuer belong together, and one is missing")
	case !notation && (len(f.notationTSA) > 0 || len(f.subjects) > 0):
		return verdict.Misused("name the authority, or leave them out", "--notation-tsa and --notation-subject go with --notation-ca or --notation-signing-authority")
	case !notary && (f.notaryServer != "" || f.notaryName != "" || f.notaryRole != ""):
		return verdict.Misused("pin the publisher's root key", "--notary-server, --notary-certificate-name and --notary-role go with --notary-root-key")
	case notary && (f.notaryServer == "") == (f.bundle == ""):
		return verdict.Misused("name the server with --notary-server, or a recorded folder with --bundle", "--notary-root-key wants one place where the collection is")
	case notary && (f.requireLog || f.attestation != ""):
		return verdict.Misused("leave them out", "a list of tags has neither log entries nor attestations")
	case f.revocation != "" && !notation && len(f.x509) == 0:
		return verdict.Misused("write it into the policy", "--revocation goes with --x509-ca or --notation-ca")
	case !oneOff && (f.requireLog || f.attestation != ""):
		return verdict.Misused("write it into the policy", "--require-log and --attestation go with --key or --certificate-identity")
	case f.server.addr != "" && (f.bundle != "" || f.roots != "" || f.at != "" || f.deep || f.offline || len(f.platforms)+len(f.crls)+len(f.ocsp) > 0):
		return verdict.Misused("leave them out: the daemon decides by its own", "--bundle, --trusted-root, --at, --deep, --offline, --crl, --ocsp and --platform do not go with --server")
	case f.deep && f.bundle != "":
		return verdict.Misused("name the image in its registry or layout", "--deep needs the layers, and --bundle has none")
	case f.server.addr == "" && (f.server.trust != "" || f.server.workloadAPI != ""):
		return verdict.Misused("name the daemon with --server", "--trust and --workload-api go with --server")
	case f.timeout <= 0:
		return verdict.Misused("write it as 30s or 2m", "flag --timeout is %s, want more than 0", f.timeout)
	}
	return nil
}

// makePolicy is the policy that the flags mean, and the roots beside it.
func (a *app) makePolicy(ctx context.Context, ref verifier.Reference, f *verifyFlags) (*verifier.Policy, *verifier.Roots, error) {
	roots, err := a.makeRoots(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	if f.policy != "" {
		p, err := loadPolicy(f.policy)
		return p, roots, err
	}
	o := verifier.OneOff{Identity: f.identity, Issuer: f.issuer, Attestation: f.attestation, RequireLog: f.requireLog, Subjects: f.subjects, Revocation: f.revocation,
		NotaryServer: f.notaryServer, NotaryName: f.notaryName, NotaryRole: f.notaryRole}
	for _, part := range []struct {
		what  string
		paths []string
		into  *[][]byte
	}{{"public key", f.keys, &o.Keys}, {"certificates", f.x509, &o.X509}, {"certificates", f.notationCA, &o.NotationCA}, {"certificates", f.notationSA, &o.NotationAuthority}, {"certificates", f.notationTSA, &o.NotationTSA}, {"root key", f.notaryKeys, &o.NotaryKeys}} {
		for _, path := range part.paths {
			data, err := file.Read(part.what, path, maxKeyFile)
			if err != nil {
				return nil, nil, err
			}
			*part.into = append(*part.into, data)
		}
	}
	if len(o.NotaryKeys) > 0 {
		img, err := f.image(ref)
		if err != nil {
			return nil, nil, err
		}
		if img.Repository == "" {
			return nil, nil, verdict.Misused("write host/repository@sha256:…, or name it with --repository", "a collection is that of a repository, and the reference names none")
		}
		o.Repository, o.NotaryFolder = img.Repository, f.bundle
	}
	if roots, err = o.Roots(roots); err != nil {
		return nil, nil, err
	}
	if len(o.NotaryKeys) > 0 {
		if roots, err = a.fetchRoots(ctx, f, roots); err != nil {
			return nil, nil, err
		}
	}
	p, err := o.Policy()
	return p, roots, err
}

// makeRoots reads the roots file, and fetches what it points to. What cannot be
// fetched is told by the verdicts that need it, and here.
func (a *app) makeRoots(ctx context.Context, f *verifyFlags) (*verifier.Roots, error) {
	if f.roots == "" {
		return verifier.PublicGoodRoot()
	}
	roots, err := verifier.LoadRoots(f.roots)
	if err != nil || !roots.Fetched() || len(f.notaryKeys) > 0 { // the last: they are fetched with the collection
		return roots, err
	}
	return a.fetchRoots(ctx, f, roots)
}

func (a *app) fetchRoots(ctx context.Context, f *verifyFlags, roots *verifier.Roots) (*verifier.Roots, error) {
	at, err := timeFlag("at", f.at)
	if err != nil {
		return nil, err
	}
	roots, err = roots.Refresh(ctx, verifier.Refreshing{Offline: f.offline}, at)
	if err != nil {
		a.warn("fetching trust roots: %v", err)
	}
	return roots, nil
}

// maxRevocationFile bounds a CRL or an OCSP response, in bytes.
const maxRevocationFile = 32 << 20

// evidence is how publishers are asked about certificates that they may have revoked.
func (f *verifyFlags) evidence() (verifier.Revocation, error) {
	r := verifier.Revocation{Online: !f.offline}
	for _, part := range []struct {
		what  string
		paths []string
		into  *[][]byte
	}{{"CRL", f.crls, &r.CRLs}, {"OCSP response", f.ocsp, &r.OCSP}} {
		for _, path := range part.paths {
			data, err := file.Read(part.what, path, maxRevocationFile)
			if err != nil {
				return r, err
			}
			if block, _ := pem.Decode(data); block != nil {
				data = block.Bytes
			}
			*part.into = append(*part.into, data)
		}
	}
	return r, nil
}

// registry is where references lead to.
func (f *verifyFlags) registry() (*verifier.Registry, error) {
	mirrors := map[string][]string{}
	for _, m := range f.mirrors {
		host, mirror, ok := strings.Cut(m, "=")
		if !ok {
			return nil, verdict.Misused("write HOST=MIRROR", "flag --mirror is %q", clip(m))
		}
		mirrors[host] = append(mirrors[host], mirror)
	}
	return verifier.NewRegistry(verifier.RegistryConfig{Credentials: dockerauth.Credentials(), Mirrors: mirrors, PlainHTTP: f.plainHTTP})
}

// image is what ref names, with the repository of the flag where it names none.
func (f *verifyFlags) image(ref verifier.Reference) (verifier.Image, error) {
	img := ref.Image()
	if f.repository == "" {
		return img, nil
	}
	repo, err := verifier.ParseRepository(f.repository)
	if err != nil {
		return img, verdict.Misused("write host/repository", "flag --repository: %s", verdict.ReasonOf(err).Text)
	}
	if img.Repository != "" && img.Repository != repo {
		return img, verdict.Misused("leave --repository out", "the reference names repository %s, --repository another", img.Repository)
	}
	img.Repository = repo
	return img, nil
}

// resolve returns the image that ref names and where its bytes come from. A tag
// is resolved once, and said so: what is verified is the digest.
func (a *app) resolve(ctx context.Context, ref verifier.Reference, f *verifyFlags) (verifier.Image, verifier.Source, func(), error) {
	nothing := func() {}
	img, err := f.image(ref)
	if err != nil {
		return img, nil, nothing, err
	}
	switch {
	case f.bundle != "":
		if ref.Layout != "" || img.Digest == "" {
			return img, nil, nothing, verdict.Misused("write sha256:… or host/repository@sha256:…", "with --bundle IMAGE needs a digest, and no layout")
		}
		b, err := verifier.OpenBundle(f.bundle)
		return img, b, nothing, err
	case ref.Layout != "":
		l, err := verifier.OpenLayout(ref.Layout)
		if err != nil {
			return img, nil, nothing, err
		}
		return img, l, func() {
			if err := l.Close(); err != nil {
				a.warn("closing %s: %v", ref.Layout, err)
			}
		}, nil
	case img.Repository == "":
		return img, nil, nothing, verdict.Misused("name the signature with --bundle, or the image's repository", "a bare digest does not say where the image is")
	}
	reg, err := f.registry()
	if err != nil {
		return img, nil, nothing, err
	}
	if img.Digest == "" {
		d, _, _, err := reg.Tagged(ctx, img.Repository, ref.Tag)
		if err != nil {
			reg.Close()
			return img, nil, nothing, err
		}
		img.Digest = d
		a.warn("tag %s is %s now, and that is what is verified; a tag can move, so use the digest from here on", ref.Tag, d)
	}
	return img, reg, reg.Close, nil
}

func (a *app) verifyHere(ctx context.Context, ref verifier.Reference, f *verifyFlags, at time.Time, explain bool, ans *answer) (*answer, error) {
	policy, roots, err := a.makePolicy(ctx, ref, f)
	if err != nil {
		return ans, err
	}
	img, source, closeSource, err := a.resolve(ctx, ref, f)
	defer closeSource()
	ans.Image = imageRef{Name: img.Repository, Digest: img.Digest}
	if ref.Layout != "" && img.Repository == "" {
		ans.Image.Name = "oci:" + ref.Layout
	}
	if err != nil {
		return ans, err
	}
	revocation, err := f.evidence()
	if err != nil {
		return ans, err
	}
	v, err := verifier.New(verifier.Config{Policy: policy, Roots: roots, Source: source, AllowUnvalidated: f.unvalidated, Revocation: revocation})
	if err != nil {
		return ans, err
	}
	defer v.Close()
	res, err := v.Verify(ctx, verifier.Request{Image: img, Platforms: f.platforms, At: at})
	if err != nil {
		a.explainHint(ans, f, explain)
		return ans, withCodeHint(ans, err)
	}
	if f.deep {
		if err := a.deep(ctx, source, img, f); err != nil {
			return ans, withCodeHint(ans, err)
		}
	}
	ans.fromResult(res, policy, f.namespace)
	a.explainHint(ans, f, explain)
	if explain {
		ans.Value = res.Explanation
		ans.text = explanationText(res.Explanation)
	}
	return ans, nil
}

// deep hashes the layers of an image, of all platforms or those that were named.
func (a *app) deep(ctx context.Context, source verifier.Source, img verifier.Image, f *verifyFlags) error {
	res, err := verifier.Deep(ctx, source, verifier.DeepRequest{Image: img, Platforms: f.platforms})
	if err != nil {
		return err
	}
	if !res.Hashed {
		return verdict.Fail(verdict.ImageNotFound, "hashing layers: not all of them are there; --platform names which images are meant")
	}
	if !res.Unpacked {
		a.warn("not all layers could be unpacked: their digests are right, and what is in them was not compared with the configuration")
	}
	return nil
}

// withCodeHint keeps a hint that is already there behind that of the code.
func withCodeHint(ans *answer, err error) error {
	more := ans.Hint
	ans.Hint = ""
	if _, ok := errors.AsType[*verdict.Misuse](err); ok {
		return err
	}
	if i, ok := verdict.CodeOf(err).Info(); ok {
		ans.Hint = joinHints(i.Hint, more)
	}
	return err
}

func joinHints(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// explainHint points at explain where it could tell more.
func (a *app) explainHint(ans *answer, f *verifyFlags, explain bool) {
	if explain || ans.Result == resultPass || f.policy == "" && f.server.addr == "" {
		return
	}
	// Not the whole command: the image may lie in a layout, and flags count.
	ans.Hint = joinHints(ans.Hint, "or see: assay explain, with the same arguments")
}

// fromResult fills the decision for one namespace into the answer.
func (a *answer) fromResult(res *verifier.Result, policy *verifier.Policy, namespace string) {
	// Patterns come from general to specific: the last that matches counts.
	n := verifier.NamespaceResult{Outcome: verdict.OutcomeFail}
	for _, r := range res.Namespaces {
		if verdict.MatchNamespace(r.Pattern, namespace) {
			n = r
		}
	}
	a.Result = string(n.Outcome)
	if !n.Outcome.Valid() {
		a.Result = resultUndecided
	}
	a.Reasons = n.Reasons
	if len(n.Reasons) > 0 {
		a.Code = n.Reasons[0].Code
		if i, ok := a.Code.Info(); ok {
			a.Hint = i.Hint
		}
	}
	a.Rule, a.Mode = decidingRule(policy, n)
	if a.Result == resultPass {
		a.text = passText(a, res)
	}
}

// decidingRule names a rule behind the outcome: for a pass the last one that
// matched, since later rules tighten, else the first whose mode leads to it.
func decidingRule(policy *verifier.Policy, n verifier.NamespaceResult) (name, mode string) {
	want := map[verdict.Outcome]string{verdict.OutcomeFail: verifier.ModeEnforce, verdict.OutcomeAuditFail: verifier.ModeAudit, verdict.OutcomeUnchecked: verifier.ModeOff}[n.Outcome]
	for _, r := range policy.Rules {
		if !slices.Contains(n.Rules, r.Name) {
			continue
		}
		m := r.Mode
		if m == "" {
			m = verifier.ModeEnforce
		}
		if want == "" && m != verifier.ModeOff {
			name, mode = r.Name, m
		}
		if want == m {
			return r.Name, m
		}
	}
	return name, mode
}

// passText is the result of verify for people.
func passText(a *answer, res *verifier.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pass %s by rule %q\n", printable(a.Image.String()), a.Rule)
	for _, i := range res.Identities {
		who := "key " + string(i.Key)
		if i.SAN != "" {
			who = printable(i.SAN) + " of " + printable(i.Issuer)
		}
		what := "signed"
		if i.Predicate != "" {
			what = printable(i.Predicate)
		}
		fmt.Fprintf(&b, "  %s by %q: %s", what, i.Authority, who)
		if !i.SignedAt.IsZero() {
			fmt.Fprintf(&b, ", %s", utc(i.SignedAt))
		}
		if len(i.LogEntries) > 0 {
			fmt.Fprintf(&b, ", log entry %s", printable(strings.Join(i.LogEntries, " ")))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// explanationText prints the tree, indented.
func explanationText(e *verifier.Explanation) string {
	var b strings.Builder
	var walk func(e *verifier.Explanation, depth int)
	walk = func(e *verifier.Explanation, depth int) {
		mark := map[string]string{verifier.StateMet: "ok  ", verifier.StateUnmet: "no  "}[e.State]
		if mark == "" {
			mark = "    "
		}
		pad := strings.Repeat("  ", depth)
		fmt.Fprintf(&b, "%s%s%s\n", pad, mark, printable(e.Text))
		if e.Reason != nil {
			fmt.Fprintf(&b, "%s      %s\n", pad, printable(reasonText(*e.Reason)))
		}
		if e.Want != "" {
			fmt.Fprintf(&b, "%s      would do: %s\n", pad, printable(e.Want))
		}
		for _, c := range e.Children {
			walk(c, depth+1)
		}
	}
	if e != nil {
		walk(e, 0)
	}
	return b.String()
}
