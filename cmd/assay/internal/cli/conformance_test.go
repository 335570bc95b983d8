// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict/flavour"
)

// conformanceArgs are the arguments in the order of the protocol, for one
// vector and its artifact. The suite's own test/client.py builds them so.
func conformanceArgs(t *testing.T, vector string, digest bool) []string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(sharedData), "conformance")
	file := func(name string) string {
		if p := filepath.Join(dir, "vectors", vector, name); exists(p) {
			return p
		}
		return filepath.Join(dir, "default", name)
	}
	args := []string{"conformance", "verify-bundle", "--bundle", filepath.Join(dir, "vectors", vector, "bundle.sigstore.json")}
	if key := filepath.Join(dir, "vectors", vector, "key.pub"); exists(key) {
		args = append(args, "--key", key)
	} else {
		args = append(args, "--certificate-identity", strings.TrimSpace(string(read(t, file("identity")))),
			"--certificate-oidc-issuer", strings.TrimSpace(string(read(t, file("issuer")))))
	}
	args = append(args, "--trusted-root", file("trusted_root.json"))
	if digest {
		sum := sha256.Sum256(read(t, file("artifact")))
		return append(args, "sha256:"+hex.EncodeToString(sum[:]))
	}
	return append(args, file("artifact"))
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// vectors are the names of sigstore-conformance's bundles, or the test is
// skipped.
func vectors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(sharedData), "conformance", "vectors"))
	if err != nil {
		t.Skip("shared testdata is absent")
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != 70 {
		t.Fatalf("got %d vectors, want 70", len(names))
	}
	return names
}

// TestConformanceVerifyBundle runs each vector with the path and with the digest of its
// artifact.
func TestConformanceVerifyBundle(t *testing.T) {
	ran := 0
	for _, v := range vectors(t) {
		for _, digest := range []bool{false, true} {
			ran++
			o := assay(t, conformanceArgs(t, v, digest)...)
			if want := !strings.HasSuffix(v, "_fail"); want && outsideModule(o) {
				t.Logf("%s: its log signs with Ed25519, which this build's module does not have", v)
			} else if (o.status == 0) != want || o.status > 2 {
				t.Errorf("%s, digest %t: want pass %t\n%s", v, digest, want, o)
			}
			t.Logf("%s, digest %t: %d %s", v, digest, o.status, strings.SplitN(o.stderr, "\n", 2)[0])
		}
	}
	if ran != 140 {
		t.Errorf("ran %d, want 140", ran)
	}
}

// outsideModule says whether a build with BoringCrypto refused Ed25519, which
// that module does not have (design.md §11).
func outsideModule(o outcome) bool {
	return flavour.Current().Module == "boringcrypto" && o.status == 1 && strings.Contains(o.stderr, "Ed25519 is outside this build's validated crypto module")
}

// TestConformanceBinary runs a vector of each kind with the real binary.
func TestConformanceBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("it links a binary; TestConformance runs the same in this process")
	}
	vectors(t)
	binary := filepath.Join(t.TempDir(), "assay")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/assayd/assay/cmd/assay").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	ed25519 := 0
	if flavour.Current().Module == "boringcrypto" {
		ed25519 = 1
	}
	for v, want := range map[string]int{"rekor2-happy-path": ed25519, "managed-key-happy-path": 0, "signature-mismatch_fail": 1} {
		cmd := exec.CommandContext(t.Context(), binary, conformanceArgs(t, v, false)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: got status %d, want %d\n%s", v, got, want, out)
		}
	}
}

// TestConformanceUsage: what cannot be meant is told before anything is read.
func TestConformanceUsage(t *testing.T) {
	good := []string{"conformance", "verify-bundle", "--bundle", "b", "--key", "k", "a"}
	for name, args := range map[string][]string{
		"no bundle":              {"conformance", "verify-bundle", "--key", "k", "a"},
		"nobody":                 {"conformance", "verify-bundle", "--bundle", "b", "a"},
		"identity alone":         {"conformance", "verify-bundle", "--bundle", "b", "--certificate-identity", "i", "a"},
		"key and identity":       {"conformance", "verify-bundle", "--bundle", "b", "--key", "k", "--certificate-identity", "i", "a"},
		"staging without a root": append([]string{"conformance", "verify-bundle", "--staging"}, good[2:]...),
		"no artifact":            good[:6],
	} {
		t.Run(name, func(t *testing.T) {
			if o := assay(t, args...); o.status != 2 || !strings.Contains(o.stderr, "conformance verify-bundle: ") {
				t.Errorf("want status 2 and what is wrong\n%s", o)
			}
		})
	}
}

// TestConformanceDigestOrPath: what has the form of a digest and is a file is
// the file.
func TestConformanceDigestOrPath(t *testing.T) {
	vectors(t)
	good := conformanceArgs(t, "happy-path-v0.3", true)
	for i, a := range good {
		if strings.HasPrefix(a, "..") {
			abs, err := filepath.Abs(a)
			if err != nil {
				t.Fatal(err)
			}
			good[i] = abs
		}
	}
	t.Chdir(t.TempDir())
	if o := assay(t, good...); o.status != 0 {
		t.Fatalf("a digest: %s", o)
	}
	write(t, good[len(good)-1], []byte("another artifact"))
	if o := assay(t, good...); o.status != 1 || !strings.Contains(o.stderr, "[subject.mismatch]") {
		t.Errorf("a file of that name with other bytes: %s", o)
	}
	o := assay(t, append(good[:len(good)-1], "sha256:abc")...)
	if o.status != 2 || !strings.Contains(o.stderr, "opening artifact") {
		t.Errorf("too short for a digest, so a path: %s", o)
	}
}

// TestSignBundleMisuse: what is missing is named, before anybody is asked. That it
// signs is shown with sigstore's own services (make sigstore).
func TestSignBundleMisuse(t *testing.T) {
	setup := func(t *testing.T, dir string) {
		t.Helper()
		write(t, filepath.Join(dir, "config.json"), []byte("{}"))
		write(t, filepath.Join(dir, "a"), []byte("artifact"))
	}
	runScripts(t, []script{
		{name: "no token", setup: setup, args: []string{"conformance", "sign-bundle", "--bundle", "$DIR/b", "--signing-config", "$DIR/config.json", "$DIR/a"}, status: 2, stderr: []string{"--identity-token"}},
		{name: "no bundle", setup: setup, args: []string{"conformance", "sign-bundle", "--identity-token", "x", "--signing-config", "$DIR/config.json", "$DIR/a"}, status: 2, stderr: []string{"--bundle"}},
		{name: "no configuration", setup: setup, args: []string{"conformance", "sign-bundle", "--identity-token", "x", "--bundle", "$DIR/b", "$DIR/a"}, status: 2, stderr: []string{"--signing-config"}},
		{name: "staging without its root", setup: setup, args: []string{"conformance", "sign-bundle", "--staging", "--identity-token", "x", "--bundle", "$DIR/b", "--signing-config", "$DIR/config.json", "$DIR/a"}, status: 2, stderr: []string{"--trusted-root"}},
		{name: "a configuration that is none", setup: setup, args: []string{"conformance", "sign-bundle", "--identity-token", "x", "--bundle", "$DIR/b", "--signing-config", "$DIR/config.json", "$DIR/a"}, status: 2, stderr: []string{"signing configuration"}},
		{name: "no time", setup: setup, args: []string{"conformance", "sign-bundle", "--timeout", "0s", "--identity-token", "x", "--bundle", "$DIR/b", "--signing-config", "$DIR/config.json", "$DIR/a"}, status: 2, stderr: []string{"--timeout"}},
	})
}
