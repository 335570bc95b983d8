// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

const (
	testIssuer  = "https://token.actions.githubusercontent.com"
	testSubject = "https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main"
)

// A yard is a registry on loopback with images in it, and what signed them.
type yard struct {
	dir, host string
	root      string // trusted_root.json
	pub       string // public key of the keyed image
	// Digests of images in repository app.
	keyless, keyed, unsigned, provenance verdict.Digest
	keylessBundle, keyedBundle           string
	layout                               string
	handler                              http.Handler
}

func (y *yard) image(d verdict.Digest) string { return y.host + "/app@" + string(d) }

// newYard makes the registry once for a test.
func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{dir: t.TempDir()}
	y.handler = registry.New(registry.WithReferrersSupport(true), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))
	server := httptest.NewServer(y.handler)
	t.Cleanup(server.Close)
	y.host = strings.TrimPrefix(server.URL, "http://")
	now := time.Now().Add(-time.Hour)
	sig, err := sigstoretest.New(sigstoretest.Config{At: now})
	if err != nil {
		t.Fatal(err)
	}
	root, err := sig.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	y.root = filepath.Join(y.dir, "trusted_root.json")
	write(t, y.root, root)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	y.pub = filepath.Join(y.dir, "release.pub")
	write(t, y.pub, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))

	st := &sigstoretest.Registry{URL: server.URL}
	y.layout = filepath.Join(y.dir, "layout")
	layout, err := sigstoretest.NewLayout(y.layout)
	if err != nil {
		t.Fatal(err)
	}
	push := func(st sigstoretest.Store, content string, o *sigstoretest.Options) (verdict.Digest, string) {
		t.Helper()
		d, err := sigstoretest.PushImage(t.Context(), st, "app", content, []byte(content))
		if err != nil || o == nil {
			if err != nil {
				t.Fatal(err)
			}
			return d, ""
		}
		bundle, err := sig.Bundle(d, *o)
		if err != nil {
			t.Fatal(err)
		}
		body := manifestOf(t, st, content)
		if err := sigstoretest.Attach(t.Context(), st, "app", verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: d, Size: int64(len(body))}, bundle, "", false); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(y.dir, content+".bundle.json")
		write(t, path, bundle)
		return d, path
	}
	identity := sigstoretest.Options{Issuer: testIssuer, Subject: testSubject, At: now}
	byKey := sigstoretest.Options{Key: key, At: now, NoLog: true}
	provenance := identity
	provenance.Predicate, provenance.Content = verifier.PredicateProvenance, map[string]any{"buildDefinition": map[string]any{}}
	y.keyless, y.keylessBundle = push(st, "keyless", &identity)
	y.keyed, y.keyedBundle = push(st, "keyed", &byKey)
	y.unsigned, _ = push(st, "unsigned", nil)
	y.provenance, _ = push(st, "provenance", &provenance)
	push(layout, "keyless", &identity)
	return y
}

// manifestOf returns the manifest at a tag.
func manifestOf(t *testing.T, st sigstoretest.Store, tag string) []byte {
	t.Helper()
	body, err := st.Tagged(t.Context(), "app", tag)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (y *yard) byIdentity(image string, more ...string) []string {
	return append([]string{"verify", "--certificate-identity", testSubject, "--certificate-oidc-issuer", testIssuer, "--trusted-root", y.root, "--plain-http", y.host, image}, more...)
}

func (y *yard) byKey(image string, more ...string) []string {
	return append([]string{"verify", "--key", y.pub, "--trusted-root", y.root, "--plain-http", y.host, image}, more...)
}

func TestVerify(t *testing.T) {
	y := newYard(t)
	policy := func(text string) string {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		write(t, path, []byte(text))
		return path
	}
	good := policy(strings.ReplaceAll(goodPolicy, "registry.example", y.host))
	byPolicy := func(file, image string, more ...string) []string {
		return append([]string{"verify", "--policy", file, "--trusted-root", y.root, "--plain-http", y.host, image}, more...)
	}
	tag := y.host + "/app:keyless"
	layoutImage := "oci:" + y.layout + "@" + string(y.keyless)

	runScripts(t, []script{
		{name: "keyless", args: y.byIdentity(y.image(y.keyless)), stdout: []string{"pass " + y.image(y.keyless), testSubject, "log entry"}},
		{name: "keyed", args: y.byKey(y.image(y.keyed)), stdout: []string{"pass "}},
		{name: "by policy", args: byPolicy(good, y.image(y.keyless)), stdout: []string{`by rule "acme"`}},
		{name: "by tag", args: y.byIdentity(tag), stdout: []string{"pass " + y.image(y.keyless)}, stderr: []string{"a tag can move"}},
		{name: "tag that is not there", args: y.byIdentity(y.host + "/app:nothing"), status: 1, code: verdict.ImageNotFound},
		{name: "layout", args: y.byIdentity(layoutImage), stdout: []string{"pass oci:"}},
		{name: "layout under a name", args: y.byIdentity(layoutImage, "--repository", "registry.example/app"), stdout: []string{"pass registry.example/app@"}},
		{name: "bundle", args: y.byIdentity(string(y.keyless), "--bundle", y.keylessBundle), stdout: []string{"pass " + string(y.keyless)}},
		{name: "key without a log, and one is demanded", args: y.byKey(y.image(y.keyed), "--require-log"), status: 1, code: verdict.LogMissing},
		{name: "another identity", args: []string{"verify", "--certificate-identity", testSubject + "x", "--certificate-oidc-issuer", testIssuer, "--trusted-root", y.root, "--plain-http", y.host, y.image(y.keyless)},
			status: 1, code: verdict.IdentitySAN},
		{name: "another issuer", args: []string{"verify", "--certificate-identity", testSubject, "--certificate-oidc-issuer", testIssuer + ".evil.example", "--trusted-root", y.root, "--plain-http", y.host, y.image(y.keyless)},
			status: 1, code: verdict.IdentityIssuer},
		{name: "pattern in an identity", args: []string{"verify", "--certificate-identity", "https://github.com/acme/*", "--certificate-oidc-issuer", testIssuer, y.image(y.keyless)}, status: 2},
		{name: "signed by another instance", args: []string{"verify", "--certificate-identity", testSubject, "--certificate-oidc-issuer", testIssuer, "--plain-http", y.host, y.image(y.keyless)}, status: 1, code: verdict.LogMissing},
		{name: "key of another signer", args: y.byKey(y.image(y.keyless)), status: 1, code: verdict.KeyUnknown},
		{name: "provenance is no signature", args: y.byIdentity(y.image(y.provenance)), status: 1, code: verdict.SigNoneOfKind},
		{name: "provenance", args: y.byIdentity(y.image(y.provenance), "--attestation", "slsaprovenance"), stdout: []string{"pass ", verifier.PredicateProvenance}},
		{name: "provenance by its type", args: y.byIdentity(y.image(y.provenance), "--attestation", verifier.PredicateProvenance), stdout: []string{"pass "}},
		{name: "another attestation", args: y.byIdentity(y.image(y.provenance), "--attestation", "https://spdx.dev/Document"), status: 1, code: verdict.SigNoneOfKind},
		{name: "attestation of no type", args: y.byIdentity(y.image(y.provenance), "--attestation", "provenance"), status: 2},
		{name: "no rule", args: byPolicy(policy(goodPolicy), y.image(y.keyless)), status: 1, code: verdict.PolicyNoRule},
		{name: "audit", args: byPolicy(policy(strings.ReplaceAll(goodPolicy, "registry.example", y.host)+"    mode: audit\n"), y.image(y.unsigned)), code: verdict.SigNone, stderr: []string{"let through in audit"}},
		{name: "off", args: byPolicy(policy(strings.ReplaceAll(goodPolicy, "registry.example", y.host)+"    mode: \"off\"\n"), y.image(y.unsigned)), code: verdict.PolicyOff, stderr: []string{"let through unchecked"}},
		{name: "nothing says who", args: []string{"verify", y.image(y.keyless)}, status: 2, stderr: []string{"nothing says who must have signed"}},
		{name: "demands beside a policy", args: byPolicy(good, y.image(y.keyless), "--require-log"), status: 2},
		{name: "server and key", args: y.byKey(y.image(y.keyed), "--server", "127.0.0.1:1"), status: 2},
		{name: "trust without a server", args: y.byKey(y.image(y.keyed), "--trust", "trust.yaml"), status: 2},
		{name: "digest alone", args: y.byKey(string(y.keyed)), status: 2, stderr: []string{"does not say where the image is"}},
		{name: "reference that is none", args: y.byKey("registry.example/App@" + string(y.keyed)), status: 2},
		{name: "digest that is none", args: y.byKey("registry.example/app@sha256:abc"), status: 2},
		{name: "neither tag nor digest", args: y.byKey("registry.example/app"), status: 2},
		{name: "image with control characters", args: y.byKey("registry.example/\x1b[2Japp@" + string(y.keyed)), status: 2},
		{name: "repository beside a reference", args: y.byKey(y.image(y.keyed), "--repository", "registry.example/other"), status: 2},
		{name: "bundle and layout", args: y.byIdentity(layoutImage, "--bundle", y.keylessBundle), status: 2},
		{name: "bundle and tag", args: y.byIdentity(tag, "--bundle", y.keylessBundle), status: 2},
		{name: "layout that is not there", args: y.byIdentity("oci:" + y.dir + "/nothing@" + string(y.keyless)), status: 2},
		{name: "image that is not in the layout", args: y.byIdentity("oci:" + y.layout + "@" + aDigest), status: 1, code: verdict.ImageNotFound},
		{name: "image that is not there", args: y.byIdentity(y.image(aDigest)), status: 1, code: verdict.ImageNotFound},
		{name: "no time", args: y.byKey(y.image(y.keyed), "--at", "now"), status: 2},
		{name: "no timeout", args: y.byKey(y.image(y.keyed), "--timeout", "0s"), status: 2},
		{name: "mirror that is none", args: y.byKey(y.image(y.keyed), "--mirror", "x"), status: 2},
		{name: "explain", args: append([]string{"explain"}, byPolicy(good, y.image(y.keyless))[1:]...), stdout: []string{"ok  image", `rule "acme"`, `authority "release-team"`}},
		{name: "explain a refusal", args: append([]string{"explain"}, byPolicy(good, y.image(y.keyed))[1:]...), status: 1, code: verdict.CertUntrusted, stdout: []string{"no  image", "would do: "}},
	})

	d := parseDocument(t, assay(t, byPolicy(good, y.image(y.keyless), "-o", "json")...))
	if d.Result != "pass" || d.Rule != "acme" || d.Mode != "enforce" || d.Image.Name != y.host+"/app" || d.Image.Digest != y.keyless || len(d.Value) != 0 {
		t.Errorf("got %+v, want a pass by rule acme in mode enforce", d)
	}
	d = parseDocument(t, assay(t, byPolicy(good, y.image(y.unsigned), "-o", "json")...))
	if d.Result != "fail" || d.Rule != "acme" || !strings.Contains(d.Hint, "assay explain, with the same arguments") {
		t.Errorf("got %+v, want a refusal that points at explain", d)
	}
}

// A registry that does what it should not.
func TestBadRegistry(t *testing.T) {
	y := newYard(t)
	good := y.handler
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect to another address on loopback was followed")
	}))
	t.Cleanup(elsewhere.Close)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(code)
		}
	}
	only := func(part string, bad http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, part) {
				bad(w, r)
				return
			}
			good.ServeHTTP(w, r)
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		status  int
		code    verdict.Code
	}{
		{"401", status(http.StatusUnauthorized), 3, verdict.RegistryUnauthorized},
		{"403", status(http.StatusForbidden), 3, verdict.RegistryUnauthorized},
		{"404", status(http.StatusNotFound), 1, verdict.ImageNotFound},
		{"429", status(http.StatusTooManyRequests), 3, verdict.RegistryRateLimited},
		{"500", status(http.StatusInternalServerError), 3, verdict.RegistryUnreachable},
		{"hangs", hang, 3, verdict.RegistryTimeout},
		{"hangs at the signatures", only("/referrers/", hang), 3, verdict.RegistryTimeout},
		{"500 at the signatures", only("/referrers/", status(http.StatusInternalServerError)), 3, verdict.RegistryUnreachable},
		{"no list of signatures", only("/referrers/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = w.Write([]byte(`{"schemaVersion":2,"manifests":7}`)) // the client sees it or not
		}), 3, verdict.RegistryUnreachable},
		{"other bytes", only("/manifests/sha256:", func(w http.ResponseWriter, r *http.Request) {
			r.URL.Path = "/v2/app/manifests/" + string(y.unsigned)
			good.ServeHTTP(w, r)
		}), 3, verdict.RegistryDigestMismatch},
		{"redirects elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}, 1, verdict.RegistryNotAllowed},
		{"redirects for ever", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, 3, verdict.RegistryUnreachable},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 10 {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, 3, verdict.InputLimit},
		{"no HTTP", func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = c.Write([]byte("SSH-2.0-x\r\n")) // the client sees it or a reset, both count
				_ = c.Close()
			}
		}, 3, verdict.RegistryUnreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(c.name, "hangs") {
				t.Skip("it waits for a time-out")
			}
			t.Parallel()
			bad := httptest.NewServer(c.handler)
			// Those who hang go when the client does.
			t.Cleanup(bad.Close)
			host := strings.TrimPrefix(bad.URL, "http://")
			args := func(output string) []string {
				return append(y.byIdentity(host+"/app@"+string(y.keyless)), "--plain-http", host, "--timeout", "2s", "--output", output)
			}
			o := assay(t, args("json")...)
			if d := parseDocument(t, o); o.status != c.status || d.Code != c.code {
				t.Errorf("got status %d and code %q, want %d and %q: %v", o.status, d.Code, c.status, c.code, d.Reasons)
			}
			if o := assay(t, args("text")...); o.status != c.status {
				t.Errorf("got status %d, want %d\n%s", o.status, c.status, o)
			} else {
				checkMessages(t, o)
			}
		})
	}
}

// R04: a bundle counts for the image that it is about, whole, and for the identity
// that was asked for. A keyless demand without identity is misuse.
func TestR04BundleAndIdentityAreBound(t *testing.T) {
	y := newYard(t)
	cut := filepath.Join(y.dir, "cut.json")
	bundle := read(t, y.keylessBundle)
	write(t, cut, bundle[:len(bundle)/2])
	runScripts(t, []script{
		{name: "control", args: y.byIdentity(string(y.keyless), "--bundle", y.keylessBundle), stdout: []string{"pass "}},
		{name: "bundle of another file", args: y.byIdentity(string(y.unsigned), "--bundle", y.keylessBundle), status: 1, code: verdict.SubjectMismatch},
		{name: "bundle cut in half", args: y.byIdentity(string(y.keyless), "--bundle", cut), status: 1, code: verdict.InputMalformed},
		{name: "identity and key", args: y.byKey(y.image(y.keyed), "--certificate-identity", testSubject, "--certificate-oidc-issuer", testIssuer), status: 2, stderr: []string{"several of the flags"}},
		{name: "identity without issuer", args: []string{"verify", "--certificate-identity", testSubject, y.image(y.keyless)}, status: 2, stderr: []string{"belong together"}},
		{name: "issuer without identity", args: []string{"verify", "--certificate-oidc-issuer", testIssuer, y.image(y.keyless)}, status: 2, stderr: []string{"belong together"}},
		{name: "policy without identity", setup: func(t *testing.T, dir string) {
			t.Helper()
			write(t, filepath.Join(dir, "policy.yaml"), []byte(strings.Replace(goodPolicy, "      subject: "+testSubject+"\n", "", 1)))
		}, args: []string{"verify", "--policy", "$DIR/policy.yaml", y.image(y.keyless)}, status: 2, stderr: []string{"policy.yaml:"}},
	})
}

// R15: no signature, no image and no registry are never a pass.
func TestR15NothingIsNoPass(t *testing.T) {
	y := newYard(t)
	server := httptest.NewServer(y.handler)
	server.Close()
	gone := strings.TrimPrefix(server.URL, "http://")
	runScripts(t, []script{
		{name: "unsigned", args: y.byIdentity(y.image(y.unsigned)), status: 1, code: verdict.SigNone},
		{name: "no image", args: []string{"verify", "--key", y.pub}, status: 2},
		{name: "registry down", args: []string{"verify", "--key", y.pub, "--plain-http", gone, gone + "/app@" + aDigest}, status: 3, code: verdict.RegistryUnreachable},
	})
}

// manifest is the list of the shared test data.
type manifest struct {
	Cases []struct {
		Name, Path, Kind, Expect string
		// Digest is a text, or an object for several platforms in kinds that are not
		// used here.
		Digest json.RawMessage
		Trust  struct {
			Root string   `json:"trusted_root"`
			Keys []string `json:"keys"`
		}
		Signatures []struct{ Artifact, SAN, Issuer string }
	}
}

// TestConformance verifies each real image of the kinds that this version knows,
// as a person would.
func TestConformance(t *testing.T) {
	var m manifest
	if err := json.Unmarshal(read(t, shared(t, "manifest.json")), &m); err != nil {
		t.Fatal(err)
	}
	t.Log("shared testdata: used")
	ran := map[string]int{}
	for _, c := range m.Cases {
		provenance := c.Kind == "bundle-v0.1-keyless" || c.Kind == "bundle-v0.2-keyless"
		keyed := c.Kind == "cosign-legacy-keyed" || c.Kind == "cosign-legacy-keyed-rekor"
		if !provenance && !keyed && c.Kind != "cosign-legacy-keyless" && c.Kind != "bundle-v0.3-keyless" {
			continue
		}
		ran[c.Kind]++
		var digest string
		if err := json.Unmarshal(c.Digest, &digest); err != nil {
			t.Fatal(err)
		}
		t.Run(c.Name, func(t *testing.T) {
			args := []string{"verify", "--at", "2026-11-22T00:00:00Z", "-o", "json"}
			if c.Trust.Root != "" {
				args = append(args, "--trusted-root", shared(t, c.Trust.Root))
			}
			path := shared(t, c.Path)
			if strings.HasPrefix(c.Path, "images/") {
				args = append(args, "oci:"+path+"@"+digest)
			} else {
				if _, err := os.Stat(filepath.Join(path, "bundle.json")); err == nil {
					path = filepath.Join(path, "bundle.json")
				}
				args = append(args, digest, "--bundle", path)
			}
			var signers [][]string
			for _, k := range c.Trust.Keys {
				signers = append(signers, []string{"--key", shared(t, k)})
				if c.Kind == "cosign-legacy-keyed-rekor" {
					signers = append(signers, []string{"--key", shared(t, k), "--require-log"})
				}
			}
			for _, s := range c.Signatures {
				if len(c.Trust.Keys) == 0 && !strings.HasPrefix(s.Artifact, ".att") {
					signers = append(signers, []string{"--certificate-identity", s.SAN, "--certificate-oidc-issuer", s.Issuer})
				}
			}
			if len(signers) == 0 {
				t.Fatal("the list names no signer")
			}
			for _, s := range signers {
				run := append(append([]string{}, args...), s...)
				if provenance {
					if d := parseDocument(t, assay(t, run...)); d.Code != verdict.SigNoneOfKind {
						t.Errorf("provenance counts as a signature: got %s %q, want %q", d.Result, d.Code, verdict.SigNoneOfKind)
					}
					run = append(run, "--attestation", "slsaprovenance")
				}
				want := "pass"
				if c.Expect != "accept" {
					want = "fail"
				}
				if d := parseDocument(t, assay(t, run...)); d.Result != want {
					t.Errorf("%q: got %s %q, want %s", s, d.Result, d.Code, want)
				}
			}
		})
	}
	for _, kind := range []string{"cosign-legacy-keyless", "cosign-legacy-keyed", "cosign-legacy-keyed-rekor", "bundle-v0.1-keyless", "bundle-v0.2-keyless", "bundle-v0.3-keyless"} {
		if ran[kind] == 0 {
			t.Errorf("no case of kind %s ran", kind)
		}
	}
}
