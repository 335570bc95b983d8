// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// sharedData is where real signed images are. They are used in place, and
// tests that need them are skipped where they are not.
const sharedData = "../../shared"

// now is the clock that the cases of manifest.json were judged for.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func sharedFile(t testing.TB, elem ...string) string {
	t.Helper()
	p := filepath.Join(append([]string{sharedData}, elem...)...)
	if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	if elem[len(elem)-1] == "manifest.json" {
		t.Log("shared testdata: used")
	}
	return p
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type sharedCase struct {
	Name, Path, Kind, Expect string
	// Digest is an object, by tag, for Docker Content Trust.
	Digest     json.RawMessage
	Repository string
	Trust      struct {
		TrustedRoot string `json:"trusted_root"`
		Keys        []string
		// Of notation: paths of certificates.
		CA        []string `json:"notation_ca"`
		Authority []string `json:"notation_signing_authority"`
		TSA       []string `json:"notation_tsa"`
		// Of Docker Content Trust: a path.
		DCTRootKey string `json:"dct_root_key"`
	}
	Signatures []struct {
		SAN, Issuer, Key string
		Artifact         string
		Verifies         bool
	}
}

func sharedCases(t testing.TB, kinds ...string) []sharedCase {
	t.Helper()
	var m struct{ Cases []sharedCase }
	if err := json.Unmarshal(readFile(t, sharedFile(t, "testdata", "manifest.json")), &m); err != nil {
		t.Fatal(err)
	}
	var out []sharedCase
	for _, c := range m.Cases {
		for _, k := range kinds {
			if c.Kind == k {
				out = append(out, c)
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("manifest.json has no case of kinds %v", kinds)
	}
	return out
}

// digests are those of a collection of Docker Content Trust, by tag.
func (c sharedCase) digests() map[string]verdict.Digest {
	var out map[string]verdict.Digest
	_ = json.Unmarshal(c.Digest, &out) // what has none fails the test
	return out
}

// source opens the case as the command line would.
func (c sharedCase) source(t testing.TB) verifier.Source {
	t.Helper()
	path := sharedFile(t, "testdata", c.Path)
	if strings.HasPrefix(c.Path, "images/") {
		l, err := verifier.OpenLayout(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	if p := filepath.Join(path, "bundle.json"); exists(p) {
		path = p
	}
	b, err := verifier.OpenBundle(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

func (c sharedCase) roots(t testing.TB) *verifier.Roots {
	t.Helper()
	if c.Trust.TrustedRoot == "" {
		return nil
	}
	return loadRoots(t, sharedFile(t, "testdata", c.Trust.TrustedRoot))
}

func loadRoots(t testing.TB, path string) *verifier.Roots {
	t.Helper()
	r, err := verifier.LoadRoots(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (c sharedCase) image() verifier.Image {
	return verifier.Image{Repository: "registry.example/" + strings.ToLower(c.Name), Digest: verdict.Digest(strings.Trim(string(c.Digest), `"`))}
}

// demand is what the command line would be told.
func (c sharedCase) demand(t testing.TB) verifier.OneOff {
	t.Helper()
	var o verifier.OneOff
	for _, k := range c.Trust.Keys {
		o.Keys = append(o.Keys, readFile(t, sharedFile(t, "testdata", k)))
	}
	if len(o.Keys) == 0 {
		o.Identity, o.Issuer = c.Signatures[0].SAN, c.Signatures[0].Issuer
	}
	return o
}

func newVerifier(t testing.TB, cfg verifier.Config) *verifier.Verifier {
	t.Helper()
	if cfg.AllowUnvalidated == nil { // Ed25519 also in a BoringCrypto build
		cfg.AllowUnvalidated = []string{verifier.Ed25519}
	}
	v, err := verifier.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func oneOff(t testing.TB, o verifier.OneOff) *verifier.Policy {
	t.Helper()
	p, err := o.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// verify returns the outcome for "*" and the first code: of the error, or of
// the result's reasons.
func verify(ctx context.Context, t testing.TB, v *verifier.Verifier, img verifier.Image, at time.Time) (passed bool, code verdict.Code, res *verifier.Result) {
	t.Helper()
	res, err := v.Verify(ctx, verifier.Request{Image: img, At: at})
	if err != nil {
		return false, verdict.CodeOf(err), nil
	}
	if len(res.Reasons) > 0 {
		code = res.Reasons[0].Code
	}
	if res.Passed != (res.Namespaces[0].Outcome == verdict.OutcomePass) && len(res.Namespaces) == 1 {
		t.Errorf("Passed is %v and the outcome is %s", res.Passed, res.Namespaces[0].Outcome)
	}
	return res.Passed, code, res
}
