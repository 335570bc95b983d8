// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-go"
	peer "github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

const (
	sharedData = "../../../shared/testdata"
	repository = "registry.example/app"
)

// now is when the recorded signatures that count do so.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A recorded is one signature of the Notary Project that was made by real tools.
type recorded struct {
	Name, Path, Kind, Expect string
	Digest                   json.RawMessage
	Trust                    struct {
		CA        []string `json:"notation_ca"`
		Authority []string `json:"notation_signing_authority"`
		TSA       []string `json:"notation_tsa"`
	}
}

func (r recorded) stores() map[string][]string {
	return map[string][]string{verifier.StoreCA: r.Trust.CA, verifier.StoreSigningAuthority: r.Trust.Authority, verifier.StoreTSA: r.Trust.TSA}
}

func read(t testing.TB, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{sharedData}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func recordings(t testing.TB) []recorded {
	t.Helper()
	if _, err := os.Stat(sharedData); errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	t.Log("shared testdata: used")
	var m struct{ Cases []recorded }
	if err := json.Unmarshal(read(t, "manifest.json"), &m); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(m.Cases, func(r recorded) bool { return !strings.HasPrefix(r.Kind, "notation-") })
}

func (r recorded) image(t testing.TB) verifier.Image {
	t.Helper()
	var d verdict.Digest
	if err := json.Unmarshal(r.Digest, &d); err != nil {
		t.Fatal(err)
	}
	return verifier.Image{Repository: repository, Digest: d}
}

// certificates are those of one kind of trust store.
func (r recorded) certificates(t testing.TB, kind string) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, path := range r.stores()[kind] {
		data := read(t, path)
		if block, _ := pem.Decode(data); block == nil {
			data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, c)
		}
	}
	return out
}

// An envelope is one signature, and what it is about.
type envelope struct {
	mediaType string
	data      []byte
	subject   ocispec.Descriptor
}

// envelopes reads the signatures as a client of the Notary Project would.
func (r recorded) envelopes(t testing.TB) []envelope {
	t.Helper()
	image := r.image(t)
	if strings.HasPrefix(r.Path, "bundles/") {
		var subject ocispec.Descriptor
		if err := json.Unmarshal(read(t, r.Path, "subject.json"), &subject); err != nil {
			t.Fatal(err)
		}
		for file, mediaType := range map[string]string{"envelope.jws.json": "application/jose+json", "envelope.cose": "application/cose"} {
			if data, err := os.ReadFile(filepath.Join(sharedData, r.Path, file)); err == nil {
				return []envelope{{mediaType, data, subject}}
			}
		}
		t.Fatal("no envelope")
	}
	l, err := verifier.OpenLayout(filepath.Join(sharedData, r.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was written
	mediaType, manifest, err := l.Manifest(t.Context(), repository, image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	subject := ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(image.Digest), Size: int64(len(manifest))}
	if subject.MediaType == "" {
		var m struct{ MediaType string }
		if err := json.Unmarshal(manifest, &m); err != nil {
			t.Fatal(err)
		}
		subject.MediaType = m.MediaType
	}
	listed, err := l.Referrers(t.Context(), repository, image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	var out []envelope
	for _, d := range listed {
		_, body, err := l.Manifest(t.Context(), repository, d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		for _, layer := range m.Layers {
			data, err := l.Blob(t.Context(), repository, verdict.Digest(layer.Digest), layer.Size, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, envelope{layer.MediaType, data, subject})
		}
	}
	return out
}

// ours is the recorded case as assay is told of it.
func (r recorded) ours(t testing.TB) (policy *verifier.Policy, roots *verifier.Roots, source verifier.Source) {
	t.Helper()
	var names []string
	yaml := "version: 1\ntrust-stores:\n"
	for _, kind := range slices.Sorted(maps.Keys(r.stores())) {
		if len(r.stores()[kind]) == 0 {
			continue
		}
		names = append(names, kind)
		var all bytes.Buffer
		for _, c := range r.certificates(t, kind) {
			if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
				t.Fatal(err)
			}
		}
		yaml += fmt.Sprintf("  %s: {kind: %s, pem: %q}\n", kind, kind, all.String())
	}
	roots, err := verifier.ParseRoots([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	policy, err = verifier.ParsePolicy("policy.yaml", []byte("version: 1\nauthorities:\n  signer:\n    notation: {trust-stores: ["+strings.Join(names, ", ")+"], any-subject: true}\n    revocation: off\nrules:\n  - {name: all, repositories: ['**'], authorities: [signer]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(sharedData, r.Path)
	if strings.HasPrefix(r.Path, "bundles/") {
		b, err := verifier.OpenBundle(path)
		if err != nil {
			t.Fatal(err)
		}
		return policy, roots, b
	}
	l, err := verifier.OpenLayout(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return policy, roots, l
}

func verifyOurs(ctx context.Context, t testing.TB, policy *verifier.Policy, roots *verifier.Roots, source verifier.Source, image verifier.Image) bool {
	t.Helper()
	v, err := verifier.New(verifier.Config{Policy: policy, Roots: roots, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	res, err := v.Verify(ctx, verifier.Request{Image: image, At: now})
	return err == nil && res.Passed
}

// A trustStore is notation-go's.
type trustStore map[truststore.Type][]*x509.Certificate

// GetCertificates implements truststore.X509TrustStore.
func (s trustStore) GetCertificates(_ context.Context, kind truststore.Type, _ string) ([]*x509.Certificate, error) {
	if len(s[kind]) == 0 {
		return nil, fmt.Errorf("no store of type %s", kind)
	}
	return s[kind], nil
}

// notAsked answers for publishers, whom no test asks. Revocation is compared with
// nobody here: it has its own tests.
type notAsked struct{}

// ValidateContext implements revocation.Validator.
func (notAsked) ValidateContext(_ context.Context, opts revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	out := make([]*result.CertRevocationResult, len(opts.CertChain))
	for i := range out {
		out[i] = &result.CertRevocationResult{Result: result.ResultOK}
	}
	return out, nil
}

// theirs is the recorded case as notation-go is told of it: level strict, but for
// revocation, which asks the network.
func (r recorded) theirs(t testing.TB) notation.Verifier {
	t.Helper()
	s := trustStore{truststore.TypeCA: r.certificates(t, verifier.StoreCA), truststore.TypeSigningAuthority: r.certificates(t, verifier.StoreSigningAuthority), truststore.TypeTSA: r.certificates(t, verifier.StoreTSA)}
	var names []string
	for kind, certs := range s {
		if len(certs) > 0 {
			names = append(names, string(kind)+":recorded")
		}
	}
	doc := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name: "recorded", RegistryScopes: []string{"*"}, TrustedIdentities: []string{"*"}, TrustStores: names,
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict", Override: map[trustpolicy.ValidationType]trustpolicy.ValidationAction{trustpolicy.TypeRevocation: trustpolicy.ActionSkip}},
	}}}
	v, err := peer.NewWithOptions(doc, s, nil, peer.VerifierOptions{RevocationCodeSigningValidator: notAsked{}, RevocationTimestampingValidator: notAsked{}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func verifyTheirs(ctx context.Context, v notation.Verifier, e envelope) error {
	_, err := v.Verify(ctx, e.subject, e.data, notation.VerifierVerifyOptions{
		ArtifactReference: repository + "@" + string(e.subject.Digest), SignatureMediaType: e.mediaType})
	return err
}

// TestNotation: assay accepts nothing that notation-go rejects, over all recorded
// signatures. Where they differ is listed with the reason.
func TestNotation(t *testing.T) {
	differs := map[string]string{}
	accepted := 0
	for _, r := range recordings(t) {
		t.Run(r.Name, func(t *testing.T) {
			policy, roots, source := r.ours(t)
			ours := verifyOurs(t.Context(), t, policy, roots, source, r.image(t))
			v := r.theirs(t)
			theirs := false
			var why error
			for _, e := range r.envelopes(t) {
				if err := verifyTheirs(t.Context(), v, e); err == nil {
					theirs = true
				} else {
					why = err
				}
			}
			if ours {
				accepted++
			}
			if ours && !theirs {
				t.Errorf("accepted here, and notation-go says: %v", why)
			}
			if (ours != theirs) != (differs[r.Name] != "") {
				t.Errorf("accepted %v here and %v by notation-go, and the list of differences has %q", ours, theirs, differs[r.Name])
			}
			if want := r.Expect == "accept"; ours != want {
				t.Errorf("accepted %v, want %v", ours, want)
			}
		})
	}
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
}

// BenchmarkNotation verifies one recorded signature of each format, ours and by
// notation-go in turns, so that both see the same machine.
func BenchmarkNotation(b *testing.B) {
	for _, name := range []string{"notation-jws-timestamp", "notation-cose-expired-cert-timestamp", "notation-mock-ca-valid"} {
		b.Run(name, func(b *testing.B) {
			all := recordings(b)
			r := all[slices.IndexFunc(all, func(r recorded) bool { return r.Name == name })]
			policy, roots, source := r.ours(b)
			image, v, e := r.image(b), r.theirs(b), r.envelopes(b)[0]
			ctx := context.Background()
			var sumOurs, sumTheirs time.Duration
			for b.Loop() {
				t := time.Now()
				if !verifyOurs(ctx, b, policy, roots, source, image) {
					b.Fatal("refused")
				}
				sumOurs += time.Since(t)
				b.StopTimer()
				t = time.Now()
				if err := verifyTheirs(ctx, v, e); err != nil {
					b.Fatal(err)
				}
				sumTheirs += time.Since(t)
				b.StartTimer()
			}
			b.ReportMetric(float64(sumOurs)/float64(sumTheirs), "x-notation-go")
		})
	}
}
