// SPDX-License-Identifier: Apache-2.0

package sigstore

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// tools are where `make sigstore` builds the services and assay.
	tools   = "../../bin/tools/sigstore"
	subject = "signer@example.org"
)

// An instance is a sigstore instance on this machine.
type instance struct {
	t      *testing.T
	dir    string
	issuer *httptest.Server
	key    *ecdsa.PrivateKey // of the issuer

	roots, config string // files
}

// freePort is one that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// start runs a service until the end of the test.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(tools, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not built: run make sigstore", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = t.TempDir()
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, log.String())
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// get waits until a service answers, for at most a minute.
func get(t *testing.T, url string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			data, readErr := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			_ = resp.Body.Close()
			if readErr == nil && resp.StatusCode == http.StatusOK {
				return data
			}
			err = fmt.Errorf("status %d: %s", resp.StatusCode, data)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer: %v", url, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func writeFile(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (i *instance) b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// token is an OIDC token of the issuer.
func (i *instance) token(claims map[string]any) string {
	i.t.Helper()
	all := map[string]any{"iss": i.issuer.URL, "aud": "sigstore", "sub": "user", "email": subject, "email_verified": true, "iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	signed := i.b64(mustJSON(i.t, map[string]string{"alg": "ES256", "kid": "k", "typ": "JWT"})) + "." + i.b64(mustJSON(i.t, all))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		i.t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return signed + "." + i.b64(sig)
}

// certificates are the DER forms of PEM certificates.
func certificates(t *testing.T, data []byte) []any {
	t.Helper()
	var out []any
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		out = append(out, map[string]any{"rawBytes": block.Bytes})
	}
	if len(out) == 0 {
		t.Fatalf("no certificate in %q", data)
	}
	return out
}

// startStamper starts a timestamp authority and returns its address and its chain. It
// has a fixed port for its metrics, so that there is one of them on a machine.
func startStamper(t *testing.T) (address string, chain []byte) {
	t.Helper()
	port := freePort(t)
	start(t, "timestamp-server", "serve", "--host", "127.0.0.1", "--port", port, "--disable-ntp-monitoring", "--timestamp-signer", "memory")
	address = "http://127.0.0.1:" + port
	return address, get(t, address+"/api/v1/timestamp/certchain")
}

// newInstance starts an issuer, Fulcio and a log of Rekor v2.
func newInstance(t *testing.T, stamper string, stampChain []byte) *instance {
	t.Helper()
	i := &instance{t: t, dir: t.TempDir(), key: newKey(t)}
	mux := http.NewServeMux()
	i.issuer = httptest.NewServer(mux)
	t.Cleanup(i.issuer.Close)
	point := make([]byte, 64)
	i.key.X.FillBytes(point[:32])
	i.key.Y.FillBytes(point[32:])
	serve := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(mustJSON(t, v))
		})
	}
	serve("/.well-known/openid-configuration", map[string]any{"issuer": i.issuer.URL, "jwks_uri": i.issuer.URL + "/keys", "authorization_endpoint": i.issuer.URL + "/auth", "token_endpoint": i.issuer.URL + "/token",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}})
	serve("/keys", map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256", "x": i.b64(point[:32]), "y": i.b64(point[32:])}}})

	began := time.Now().Add(-time.Minute)
	fulcio := freePort(t)
	config := writeFile(t, filepath.Join(i.dir, "fulcio.yaml"), []byte(fmt.Sprintf("oidc-issuers:\n  %s:\n    issuer-url: %s\n    client-id: sigstore\n    type: email\n", i.issuer.URL, i.issuer.URL)))
	start(t, "fulcio", "serve", "--host", "127.0.0.1", "--port", fulcio, "--grpc-host", "127.0.0.1", "--grpc-port", freePort(t), "--metrics-port", freePort(t),
		"--legacy-unix-domain-socket", "@assay-test-"+fulcio, "--ca", "ephemeralca", "--ct-log-url", "", "--config-path", config)

	logKey := newKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(logKey)
	if err != nil {
		t.Fatal(err)
	}
	rekor := freePort(t)
	start(t, "posix", "serve", "--http-port", rekor, "--grpc-port", freePort(t), "--http-metrics-port", freePort(t), "--hostname", "127.0.0.1", "--checkpoint-interval", "1s",
		"--storage-dir", filepath.Join(i.dir, "log"), "--signer-filepath", writeFile(t, filepath.Join(i.dir, "log.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))

	var bundle struct {
		Chains []struct{ Certificates []string }
	}
	url := "http://127.0.0.1:"
	if err := json.Unmarshal(get(t, url+fulcio+"/api/v2/trustBundle"), &bundle); err != nil || len(bundle.Chains) != 1 {
		t.Fatalf("%+v, %v", bundle, err)
	}
	get(t, url+rekor+"/healthz")

	public, err := x509.MarshalPKIXPublicKey(logKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(public)
	valid := map[string]any{"start": began.UTC().Format(time.RFC3339)}
	i.roots = writeFile(t, filepath.Join(i.dir, "trusted_root.json"), mustJSON(t, map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs": []any{map[string]any{"baseUrl": url + rekor, "hashAlgorithm": "SHA2_256", "logId": map[string]any{"keyId": id[:]},
			"publicKey": map[string]any{"rawBytes": public, "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid}}},
		"certificateAuthorities": []any{map[string]any{"uri": url + fulcio, "certChain": map[string]any{"certificates": certificates(t, []byte(strings.Join(bundle.Chains[0].Certificates, "")))}, "validFor": valid}},
		"timestampAuthorities":   []any{map[string]any{"uri": stamper, "certChain": map[string]any{"certificates": certificates(t, stampChain)}, "validFor": valid}},
	}))
	service := func(address string, version int) []any {
		return []any{map[string]any{"url": address, "majorApiVersion": version, "validFor": valid, "operator": "test"}}
	}
	i.config = writeFile(t, filepath.Join(i.dir, "signing_config.json"), mustJSON(t, map[string]any{
		"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": service(url+fulcio, 1), "oidcUrls": service(i.issuer.URL, 1),
		"rekorTlogUrls": service(url+rekor, 2), "rekorTlogConfig": map[string]any{"selector": "ANY"},
		"tsaUrls": service(stamper+"/api/v1/timestamp", 1), "tsaConfig": map[string]any{"selector": "ANY"},
	}))
	return i
}

// assay runs `assay conformance` and returns its exit status and output.
func assay(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(tools, "assay"), append([]string{"conformance"}, args...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestSignAndVerify(t *testing.T) {
	stamper, chain := startStamper(t)
	i, other := newInstance(t, stamper, chain), newInstance(t, stamper, chain)
	dir := t.TempDir()
	artifact := writeFile(t, filepath.Join(dir, "artifact"), bytes.Repeat([]byte("artifact "), 1<<20)) // 9 MiB
	changed := writeFile(t, filepath.Join(dir, "changed"), []byte("another"))
	bundle := filepath.Join(dir, "bundle.json")
	sign := func(token, roots, config string) (int, string) {
		return assay(t, "sign-bundle", "--identity-token", token, "--bundle", bundle, "--trusted-root", roots, "--signing-config", config, artifact)
	}
	refused := func(name string, status int, want string, got int, out string) {
		t.Helper()
		if got != status || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, want %d with %q:\n%s", name, got, status, want, out)
		}
		if _, err := os.Stat(bundle); err == nil {
			t.Errorf("%s: a bundle was written", name)
			_ = os.Remove(bundle)
		}
	}
	status, out := sign(i.token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), i.roots, i.config)
	refused("an expired token", 3, "sigstore.unreachable", status, out)
	status, out = sign(i.token(map[string]any{"aud": "another"}), i.roots, i.config)
	refused("a token for another", 3, "sigstore.unreachable", status, out)
	status, out = sign(other.token(nil), i.roots, i.config)
	refused("a token of another issuer", 3, "sigstore.unreachable", status, out)
	status, out = sign(i.token(map[string]any{"email_verified": false}), i.roots, i.config)
	refused("an address that is not verified", 2, "not verified", status, out)
	status, out = sign(i.token(nil), other.roots, i.config)
	refused("under the roots of another instance", 1, "[", status, out)

	if status, out := sign(i.token(nil), i.roots, i.config); status != 0 || !strings.Contains(out, subject) {
		t.Fatalf("status %d: %s", status, out)
	}
	verify := func(roots, identity, issuer, file string) (int, string) {
		return assay(t, "verify-bundle", "--bundle", bundle, "--certificate-identity", identity, "--certificate-oidc-issuer", issuer, "--trusted-root", roots, file)
	}
	for _, tt := range []struct {
		name, roots, identity, issuer, file string
		status                              int
		want                                string
	}{
		{"good", i.roots, subject, i.issuer.URL, artifact, 0, "pass"},
		{"another identity", i.roots, "other@example.org", i.issuer.URL, artifact, 1, "identity.san"},
		{"another issuer", i.roots, subject, other.issuer.URL, artifact, 1, "identity.issuer"},
		{"another artifact", i.roots, subject, i.issuer.URL, changed, 1, "subject.mismatch"},
		{"another instance", other.roots, subject, i.issuer.URL, artifact, 1, "log.missing"},
	} {
		if status, out := verify(tt.roots, tt.identity, tt.issuer, tt.file); status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%s: status %d, want %d with %q: %s", tt.name, status, tt.status, tt.want, out)
		}
	}
}
