// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/enclave/simsnp"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

const (
	trustDomain = "dev.assay.invalid"
	daemonID    = "spiffe://dev.assay.invalid/assay/d/dev/assayd"
	issuerURL   = "https://issuer.example"
	signerURI   = "https://git.example/acme/app/.workflow@refs/heads/main"
	otherURI    = "https://git.example/acme/other/.workflow@refs/heads/main"
)

// boring tells that this is a BoringCrypto build.
const boring = daemon.Boring

// An owner is an owner's key.
type owner struct {
	key       *verdict.Key
	publicPEM string
}

func newOwner(tb testing.TB) owner {
	tb.Helper()
	key, err := verdict.GenerateKey(verdict.UseOwner)
	if err != nil {
		tb.Fatal(err)
	}
	pub, err := key.JWK().PublicKey(verdict.UseOwner)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return owner{key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

// A world has all that is around a daemon: owners, SPIRE, a registry, somebody
// who signs images, and a simulated TEE.
type world struct {
	tb        testing.TB
	dir       string
	owner     owner
	renewal   *verdict.Key
	authority *spiffetest.Authority
	api       *spiffetest.API
	sigstore  *sigstoretest.Sigstore
	store     *sigstoretest.Registry
	host      string // of the registry
	simulator string
	simRoot   verdict.Digest
}

// slow skips what mostly waits, under -short: make check is for before a commit, and
// everything else runs it.
func slow(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("it waits for seconds")
	}
}

// waitFlight waits until a question is being answered.
func waitFlight(tb testing.TB, r *running) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); r.TestingFlights() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("no question is being answered")
		}
	}
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb, dir: tb.TempDir(), owner: newOwner(tb)}
	var err error
	w.renewal, err = verdict.GenerateKey(verdict.UseRenewal)
	must(tb, err)
	w.authority = spiffetest.NewAuthority(tb, trustDomain)
	w.api = spiffetest.Start(tb, w.authority.SVID(tb, daemonID))
	w.api.Open(tb) // it serves: a test may end before a daemon asks it
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	tb.Cleanup(server.Close)
	w.host = strings.TrimPrefix(server.URL, "http://")
	w.store = &sigstoretest.Registry{URL: server.URL}
	shared, err := sharedOnce()
	must(tb, err)
	w.sigstore, w.simulator, w.simRoot = shared.sigstore, shared.simulator, shared.simRoot
	return w
}

// What is costly to make and not changed by a test is made once.
type sharedParts struct {
	sigstore  *sigstoretest.Sigstore
	simulator string // its folder
	simRoot   verdict.Digest
}

// sharedDir is a folder for the life of the test binary.
var sharedDir string

func TestMain(m *testing.M) {
	var err error
	if sharedDir, err = os.MkdirTemp("", "daemon-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(sharedDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

var sharedOnce = sync.OnceValues(func() (s sharedParts, err error) {
	s.simulator = filepath.Join(sharedDir, "simulator")
	if err := os.Mkdir(s.simulator, 0o700); err != nil {
		return s, err
	}
	if s.simRoot, err = simsnp.InitCA(s.simulator); err != nil {
		return s, err
	}
	s.sigstore, err = sigstoretest.New(sigstoretest.Config{At: time.Now()})
	return s, err
})

// policy is the policy of head 1.
func (w *world) policy() string {
	return fmt.Sprintf(`version: 1
authorities:
  release:
    keyless: {issuer: %q, subject: %q}
  other:
    keyless: {issuer: %q, subject: %q}
rules:
  - {name: acme, repositories: ["%[5]s/acme/**"], authorities: [release]}
  - {name: production, repositories: ["%[5]s/acme/**"], namespaces: ["prod-*"], authorities: [other]}
  - {name: open, repositories: ["%[5]s/open/**"], mode: off}
  - {name: trial, repositories: ["%[5]s/trial/**"], mode: audit, authorities: [release]}
  - {name: gone, repositories: ["127.0.0.1:1/gone/**"], mode: audit, authorities: [release]}
  - {name: gone-enforced, repositories: ["127.0.0.1:1/gone2/**"], authorities: [release]}
`, issuerURL, signerURI, issuerURL, otherURI, w.host)
}

// A headSpec says what a head holds.
type headSpec struct {
	counter  uint64
	policy   string
	notAfter time.Duration // from now; 0: a day
	deny     verdict.DenyList
	docs     [][]byte
	renewal  []byte
	signers  []*verdict.Key
}

// head signs a head set.
func (w *world) head(s headSpec) []byte {
	w.tb.Helper()
	data, _ := w.headSet(s)
	return data
}

func (w *world) headSet(s headSpec) ([]byte, verdict.HeadSet) {
	w.tb.Helper()
	if s.policy == "" {
		s.policy = w.policy()
	}
	if s.notAfter == 0 {
		s.notAfter = 24 * time.Hour
	}
	if s.signers == nil {
		s.signers = []*verdict.Key{w.owner.key}
	}
	roots, err := w.sigstore.TrustedRoot()
	must(w.tb, err)
	renewal := w.renewal.JWK()
	owners, err := verdict.Owners{Keys: []verdict.JWK{w.owner.key.JWK()}, Threshold: 1, Renewal: &renewal}.Encode()
	must(w.tb, err)
	deny, err := verdict.DenyList{V: 1, Images: s.deny.Images, Repositories: s.deny.Repositories}.Encode()
	must(w.tb, err)
	references, err := w.references().Encode()
	must(w.tb, err)
	signed, err := verdict.SignHead(verdict.Head{
		Counter: s.counter, Deny: verdict.SHA256(deny), Owners: verdict.SHA256(owners), Policy: verdict.SHA256([]byte(s.policy)),
		References: verdict.SHA256(references), Roots: verdict.SHA256(roots), NotAfter: time.Now().Add(s.notAfter).Unix(),
	}, s.signers...)
	must(w.tb, err)
	set := verdict.HeadSet{Head: signed, Files: [][]byte{[]byte(s.policy), roots, owners, deny, references}, Deny: s.docs, Renewal: s.renewal, V: 1}
	data, err := set.Encode()
	must(w.tb, err)
	return data, set
}

// with returns a head set with deny documents and renewal added.
func (w *world) with(set verdict.HeadSet, renewal []byte, docs ...[]byte) []byte {
	w.tb.Helper()
	set.Deny, set.Renewal = docs, renewal
	data, err := set.Encode()
	must(w.tb, err)
	return data
}

// measured is the measurement of this test's binary.
var measured = sync.OnceValues(func() (m string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(exe)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return attest.MeasureSNPSimulator(f)
})

// references name this test's binary in the simulator.
func (w *world) references() verdict.References {
	w.tb.Helper()
	measurement, err := measured()
	must(w.tb, err)
	return verdict.References{V: 1, Entries: []verdict.ReferenceEntry{{
		Name: "test", Kind: verdict.KindSimulatedSNP, Profile: verdict.Development, Measurement: measurement, Events: "none",
		Configs: w.configs(), Flavours: verdict.Flavours,
		NotBefore: time.Now().Add(-time.Hour).Unix(), NotAfter: time.Now().Add(24 * time.Hour).Unix(),
	}}}
}

// configs are the configurations that the references name.
func (w *world) configs() []verdict.Digest {
	return []verdict.Digest{verdict.SHA256([]byte(w.configText("")))}
}

// deny signs a deny document.
func (w *world) deny(counter uint64, life time.Duration, list verdict.DenyList) []byte {
	w.tb.Helper()
	list.V = 1
	now := time.Now()
	data, err := verdict.SignDeny(verdict.DenyDocument{
		Counter: counter, Entries: list, Iat: now.Unix(), NotAfter: now.Add(life).Unix(), Owner: w.owner.key.Kid(),
	}, w.owner.key)
	must(w.tb, err)
	return data
}

// image pushes an image and signs it as each of subjects.
func (w *world) image(path string, content string, subjects ...string) verifier.Image {
	w.tb.Helper()
	ctx := context.Background()
	d, err := sigstoretest.PushImage(ctx, w.store, w.host+"/"+path, "v1", []byte(content))
	must(w.tb, err)
	w.sign(path, d, subjects...)
	return verifier.Image{Repository: w.host + "/" + path, Digest: d}
}

func (w *world) sign(path string, d verdict.Digest, subjects ...string) {
	w.tb.Helper()
	for _, s := range subjects {
		bundle, err := w.sigstore.Bundle(d, sigstoretest.Options{Issuer: issuerURL, Subject: s, At: time.Now()})
		must(w.tb, err)
		must(w.tb, sigstoretest.Attach(context.Background(), w.store, w.host+"/"+path, verifier.Descriptor{MediaType: sigstoretest.TypeManifest, Digest: d, Size: 1}, bundle, verifier.PredicateSign, true))
	}
}

// configText is the configuration; extra lines are added at its end.
func (w *world) configText(extra string) string {
	text := fmt.Sprintf(`profile: development
listen: 127.0.0.1:0
spiffe-id: %s
workload-api: unix://%s
state-dir: %s
head: %s
owners:
  threshold: 1
  keys:
    - |
%s
min-head: 1
roles:
  node: [spiffe://dev.assay.invalid/assay/node/*/*]
  admission: [spiffe://dev.assay.invalid/assay/admission/*/*]
  ci: [spiffe://dev.assay.invalid/assay/ci/*/*]
  auditor: [spiffe://dev.assay.invalid/assay/auditor/*/*]
  admin: [spiffe://dev.assay.invalid/assay/admin/*/*]
tee: {kind: sim-snp, dir: %s}
sources: {plain-http: [%q], timeout: 5s}
allow-unwitnessed: true
%s`, daemonID, w.api.Socket(), w.stateDir(), w.headFile(), indent(w.owner.publicPEM, 6), w.simulator, w.host, extra)
	if boring {
		text += "\nallow-unvalidated: [ed25519]\n"
	}
	return text
}

func (w *world) stateDir() string { return filepath.Join(w.dir, "state") }
func (w *world) headFile() string { return filepath.Join(w.dir, "head.json") }

func (w *world) config(extra string) daemon.Config {
	w.tb.Helper()
	c, err := daemon.ParseConfig("assayd.yaml", []byte(w.configText(extra)))
	must(w.tb, err)
	return c
}

// offer puts a head set where the configuration looks for one.
func (w *world) offer(head []byte) {
	w.tb.Helper()
	must(w.tb, os.WriteFile(w.headFile(), head, 0o600))
}

// A running daemon.
type running struct {
	*daemon.Daemon
	w    *world
	stop func() error
}

// start starts a daemon and stops it at the end of the test.
func (w *world) start(extra string) *running {
	w.tb.Helper()
	return w.startConfig(w.config(extra))
}

func (w *world) startConfig(c daemon.Config) *running {
	w.tb.Helper()
	return w.startLogging(c, quiet())
}

func (w *world) startLogging(c daemon.Config, log *slog.Logger) *running {
	w.tb.Helper()
	d, err := daemon.Open(context.Background(), c, log)
	must(w.tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx) }()
	r := &running{Daemon: d, w: w, stop: sync.OnceValue(func() error {
		cancel()
		return <-served
	})}
	w.tb.Cleanup(func() {
		if err := r.stop(); err != nil {
			w.tb.Errorf("serving: %v", err)
		}
	})
	return r
}

// as returns a client with a SPIFFE ID of the given role/cluster/name.
func (r *running) as(path string) assayv1.AssayServiceClient {
	r.w.tb.Helper()
	return assayv1.NewAssayServiceClient(r.dial("spiffe://" + trustDomain + "/assay/" + path))
}

func (r *running) dial(id string) *grpc.ClientConn {
	r.w.tb.Helper()
	src := spiffetest.Start(r.w.tb, r.w.authority.SVID(r.w.tb, id)).Open(r.w.tb)
	cfg, err := spiffe.ClientTLS(src, daemonID)
	must(r.w.tb, err)
	conn, err := grpc.NewClient(r.Addr(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(32<<20), grpc.MaxCallSendMsgSize(32<<20)))
	must(r.w.tb, err)
	r.w.tb.Cleanup(func() { must(r.w.tb, conn.Close()) })
	return conn
}

// issuer returns what a node would have accepted: the statement, by evidence
// that answers a nonce.
func (r *running) issuer(c assayv1.AssayServiceClient) verdict.Issuer {
	r.w.tb.Helper()
	raw := r.statement(c)
	s, err := verdict.ParseStatement(raw)
	must(r.w.tb, err)
	return verdict.Issuer{Digest: verdict.SHA256(raw), Statement: s, Kind: verdict.KindSimulatedSNP}
}

func (r *running) statement(c assayv1.AssayServiceClient) []byte {
	r.w.tb.Helper()
	collection, err := attest.ParseCollection(r.collection(c).GetCollection())
	must(r.w.tb, err)
	return collection.Items["statement"].Value
}

func (r *running) collection(c assayv1.AssayServiceClient) *assayv1.GetStatementResponse {
	r.w.tb.Helper()
	got, err := c.GetStatement(context.Background(), &assayv1.GetStatementRequest{Nonce: nonce(verdict.NonceSize)})
	must(r.w.tb, err)
	return got
}

func nonce(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// verify asks about an image.
func verify(c assayv1.AssayServiceClient, image verifier.Image) (*assayv1.VerifyResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := c.Verify(ctx, &assayv1.VerifyRequest{
		Repository: image.Repository, Digest: string(image.Digest), Platform: &assayv1.Platform{Os: "linux", Architecture: "amd64"},
	})
	return got, assayv1.FromStatus(err)
}

// claims reads a ticket without looking at its signature.
func claims(tb testing.TB, ticket string) string {
	tb.Helper()
	parts := strings.Split(ticket, ".")
	if len(parts) != 3 {
		tb.Fatalf("got %q, want a compact JWS", ticket)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(tb, err)
	return string(b)
}

// wantCode fails unless err has a code, and is of type T.
func wantCode[T error](tb testing.TB, err error, code verdict.Code) {
	tb.Helper()
	if _, ok := errors.AsType[T](err); !ok || verdict.CodeOf(err) != code {
		var want T
		tb.Errorf("got %T %v, want %T with %s", err, err, want, code)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func quiet() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

func credentialsOf(cfg *tls.Config) credentials.TransportCredentials { return credentials.NewTLS(cfg) }
