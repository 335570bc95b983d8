// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/notaryv1test"
	"github.com/assayd/assay/verifier/sigstoretest"
	"github.com/assayd/assay/verifier/tuftest"
)

// TestRoots: a roots file is listed, compared with another one, and held to the
// head that names it.
func TestRoots(t *testing.T) {
	now := time.Now()
	s, err := sigstoretest.New(sigstoretest.Config{At: now.AddDate(0, 0, -1)})
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	key := notaryv1test.NewKey(t)
	key.Certify(t, "acme", now.AddDate(0, 0, 10))
	collection := notaryv1test.New(t, "docker.io/acme/app", now.AddDate(1, 0, 0))
	setup := func(t *testing.T, dir string) {
		t.Helper()
		keys := makeOwnerFolder(t, dir, 1, 2)
		must(t, "head", "sign", filepath.Join(dir, "owners"), "--key", keys[0], "--valid", "1h")
		write(t, filepath.Join(dir, "plain.json"), root)
		quoted, err := json.Marshal(string(root))
		if err != nil {
			t.Fatal(err)
		}
		store := func(pem []byte) string {
			quoted, err := json.Marshal(string(pem))
			if err != nil {
				t.Fatal(err)
			}
			return string(quoted)
		}
		if err := os.MkdirAll(filepath.Join(dir, "collection"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"root.json", "timestamp.json", "snapshot.json", "targets.json"} {
			write(t, filepath.Join(dir, "collection", file), collection.File(file))
		}
		all := "version: 1\nsigstore: {default: {trusted-root: " + string(quoted) + "}}\ntrust-stores: {acme: {kind: x509, pem: " + store(certificatePEM(key.Certificate)) + "}}\n" +
			"notary-v1: {docker.io/acme/app: {folder: " + filepath.Join(dir, "collection") + ", root-keys: [" + store(collection.Roles["root"].Keys[0].PEM()) + "]}}\n"
		write(t, filepath.Join(dir, "all.yaml"), []byte(all))
		write(t, filepath.Join(dir, "only.yaml"), []byte("version: 1\ntrust-stores: {acme: {kind: x509, pem: "+store(certificatePEM(key.Certificate))+"}}\n"))
	}
	ended := now.AddDate(40, 0, 0).UTC().Format(time.RFC3339)
	verify := []string{"roots", "verify", "$DIR/owners/trusted_root.json"}
	head := []string{"--head", "$DIR/owners/head.json", "--owners", "$DIR/owners/owners.json"}
	with := func(args []string, more ...string) []string { return append(append([]string{}, args...), more...) }
	runScripts(t, []script{
		{name: "show", setup: setup, args: []string{"roots", "show", "$DIR/plain.json"}, stdout: []string{"sigstore default, certificate authority sha256:", "sigstore default, log sha256:", "certificate-transparency log sha256:", "timestamp authority sha256:", "until "}},
		{name: "show all kinds", setup: setup, args: []string{"roots", "show", "$DIR/all.yaml"}, stdout: []string{"trust-store acme, certificate sha256:", "notary-v1 docker.io/acme/app, source not fetched", "root key"}},
		{name: "show what is fetched", setup: setup, args: []string{"roots", "show", "$DIR/all.yaml", "--fetch"}, stdout: []string{"notary-v1 docker.io/acme/app, source sha256:"}},
		{name: "show later", setup: setup, args: []string{"roots", "show", "$DIR/plain.json", "--at", ended}, stdout: []string{", ended "}},
		{name: "show nothing", setup: setup, args: []string{"roots", "show", "$DIR/none.json"}, status: 2},
		{name: "show what is none", setup: setup, args: []string{"roots", "show", "$DIR/owners/head.json"}, status: 2},
		{name: "diff of the same", setup: setup, args: []string{"roots", "diff", "$DIR/plain.json", "$DIR/plain.json"}, stdout: []string{"0 changes"}},
		{name: "diff", setup: setup, args: []string{"roots", "diff", "$DIR/plain.json", "$DIR/all.yaml"}, stdout: []string{"added trust-store acme", "added notary-v1", "3 changes"}},
		{name: "diff back", setup: setup, args: []string{"roots", "diff", "$DIR/all.yaml", "$DIR/plain.json"}, stdout: []string{"removed trust-store acme", "3 changes"}},
		{name: "verify", setup: setup, args: with(verify, head...), stdout: []string{"anchors"}},
		{name: "verify alone", setup: setup, args: []string{"roots", "verify", "$DIR/all.yaml"}, stderr: []string{"it ends soon: trust-store acme"}},
		{name: "verify with less notice", setup: setup, args: []string{"roots", "verify", "$DIR/all.yaml", "--soon", "1h"}, stdout: []string{"anchors"}},
		{name: "verify another file", setup: setup, args: with([]string{"roots", "verify", "$DIR/plain.json"}, head...), status: 1, code: verdict.IssuerRoots},
		{name: "verify one byte more", setup: func(t *testing.T, dir string) {
			t.Helper()
			setup(t, dir)
			path := filepath.Join(dir, "owners", "trusted_root.json")
			write(t, path, append(read(t, path), '\n'))
		}, args: with(verify, head...), status: 1, code: verdict.IssuerRoots},
		{name: "verify after the head", setup: setup, args: with(verify, with(head, "--at", now.Add(2*time.Hour).UTC().Format(time.RFC3339))...), status: 1, code: verdict.HeadExpired},
		{name: "verify when all has ended", setup: setup, args: []string{"roots", "verify", "$DIR/only.yaml", "--at", now.AddDate(0, 0, 11).UTC().Format(time.RFC3339)}, status: 3, code: verdict.TrustStale},
		{name: "owners without a head", setup: setup, args: with(verify, "--owners", "$DIR/owners/owners.json"), status: 2, stderr: []string{"--head"}},
		{name: "soon is negative", setup: setup, args: with(verify, "--soon", "-1h"), status: 2, stderr: []string{"--soon"}},
	})
	r, err := verifier.ParseRoots(root)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Anchors()); n < 4 {
		t.Errorf("%d anchors, want the authority, the logs and the timestamp authority", n)
	}
}

// TestRootsDiffSeesSwaps: what is trusted is compared, and not what a file calls it: one
// thing is swapped, and everything that names it left as it was.
func TestRootsDiffSeesSwaps(t *testing.T) {
	now := time.Now()
	instance := func() map[string]any {
		s, err := sigstoretest.New(sigstoretest.Config{At: now.AddDate(0, 0, -1)})
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.TrustedRoot()
		if err != nil {
			t.Fatal(err)
		}
		var root map[string]any
		if err := json.Unmarshal(data, &root); err != nil {
			t.Fatal(err)
		}
		return root
	}
	object := func(v any, path ...any) map[string]any {
		for _, p := range path {
			switch p := p.(type) {
			case string:
				v = v.(map[string]any)[p] //nolint:forcetypeassert // the form is ours
			case int:
				v = v.([]any)[p] //nolint:forcetypeassert // as above
			}
		}
		return v.(map[string]any) //nolint:forcetypeassert // as above
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	old, other := instance(), instance()
	before := encode(old)
	copyOf := func() map[string]any {
		var root map[string]any
		if err := json.Unmarshal(before, &root); err != nil {
			t.Fatal(err)
		}
		return root
	}
	dir := t.TempDir()
	diff := func(_ string, old, next []byte) (string, string) {
		o, n := filepath.Join(dir, "old"), filepath.Join(dir, "new")
		write(t, o, old)
		write(t, n, next)
		out := must(t, "roots", "diff", o, n)
		return out.stdout, out.stderr
	}
	for _, tt := range []struct {
		name   string
		change func(root map[string]any)
		want   []string
	}{
		{"the key of a log under its ID", func(r map[string]any) {
			object(r, "tlogs", 0, "publicKey")["rawBytes"] = object(other, "tlogs", 0, "publicKey")["rawBytes"]
		}, []string{"removed sigstore default, log", "added sigstore default, log", ", called ", "2 changes"}},
		{"the key of a CT log under its ID", func(r map[string]any) {
			object(r, "ctlogs", 0, "publicKey")["rawBytes"] = object(other, "ctlogs", 0, "publicKey")["rawBytes"]
		}, []string{"added sigstore default, certificate-transparency log", "2 changes"}},
		{"the last certificate of an authority", func(r map[string]any) {
			list := object(r, "certificateAuthorities", 0, "certChain")["certificates"].([]any)       //nolint:forcetypeassert // as above
			others := object(other, "certificateAuthorities", 0, "certChain")["certificates"].([]any) //nolint:forcetypeassert // as above
			list[len(list)-1] = others[len(others)-1]
		}, []string{"added sigstore default, certificate authority", "2 changes"}},
		{"the last certificate of a timestamp authority", func(r map[string]any) {
			list := object(r, "timestampAuthorities", 0, "certChain")["certificates"].([]any)       //nolint:forcetypeassert // as above
			others := object(other, "timestampAuthorities", 0, "certChain")["certificates"].([]any) //nolint:forcetypeassert // as above
			list[len(list)-1] = others[len(others)-1]
		}, []string{"added sigstore default, timestamp authority", "2 changes"}},
		{"an authority twice", func(r map[string]any) {
			r["certificateAuthorities"] = append(r["certificateAuthorities"].([]any), object(r, "certificateAuthorities", 0)) //nolint:forcetypeassert // as above
		}, []string{"added sigstore default, certificate authority", "1 changes"}},
		{"an address", func(r map[string]any) { object(r, "tlogs", 0)["baseUrl"] = "https://other.example" }, []string{"changed sigstore default, log", "https://other.example", "1 changes"}},
		{"a window", func(r map[string]any) {
			object(r, "tlogs", 0, "publicKey", "validFor")["end"] = "2040-01-01T00:00:00Z"
		}, []string{"changed sigstore default, log", "until 2040", "1 changes"}},
	} {
		root := copyOf()
		tt.change(root)
		got, _ := diff(tt.name, before, encode(root))
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q in it", tt.name, got, want)
			}
		}
	}
	if got, warning := diff("spaces", before, append(encode(copyOf()), '\n')); !strings.Contains(got, "0 changes") || !strings.Contains(warning, "the files differ") {
		t.Errorf("a line feed: got %q and %q", got, warning)
	}

	pem := func(k *notaryv1test.Key) string { return string(encode(string(k.PEM()))) }
	one, two := pem(notaryv1test.NewKey(t)), pem(notaryv1test.NewKey(t))
	source := func(lines string) []byte {
		return []byte("version: 1\nnotary-v1: {docker.io/acme/app: {" + lines + "}}\n")
	}
	good := "url: 'https://notary.example', root-keys: [" + one + "]"
	for name, tt := range map[string]struct{ lines, want string }{
		"a root key":         {"url: 'https://notary.example', root-keys: [" + two + "]", "added notary-v1 docker.io/acme/app, key"},
		"a server":           {"url: 'https://other.example', root-keys: [" + one + "]", "changed notary-v1 docker.io/acme/app, source"},
		"a certificate name": {good + ", certificate-name: other", "certificates for other"},
		"an age":             {good + ", max-age: 24h", "at most 24h"},
	} {
		if got, _ := diff(name, source(good), source(tt.lines)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q in it", name, got, tt.want)
		}
	}
	tuf := func(until time.Time) []byte {
		root := string(tuftest.New(t, until).PublishRoot())
		return []byte("version: 1\ntuf: {acme: {url: 'https://tuf.example', root: " + string(encode(root)) + "}}\n")
	}
	if got, _ := diff("a pinned root", tuf(now.AddDate(1, 0, 0)), tuf(now.AddDate(1, 0, 0))); !strings.Contains(got, "added tuf acme, pinned root sha256:") {
		t.Errorf("a pinned root: got %q", got)
	}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestDenyList: all that is denied, by whom and until when; one owner adds alone,
// and a document that lapsed is not listed.
func TestDenyList(t *testing.T) {
	dir := t.TempDir()
	keys := makeOwnerFolder(t, dir, 1, 2)
	owners := filepath.Join(dir, "owners")
	head := filepath.Join(owners, "head.json")
	must(t, "head", "sign", owners, "--key", keys[0])
	list := func() string { return must(t, "deny", "list", head).stdout }
	if got := list(); !strings.Contains(got, "0 entries") {
		t.Errorf("got %q, want none", got)
	}
	past := time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
	must(t, "deny", "add", head, "--key", keys[0], "--repository", "registry.example/lapsed", "--valid", "1h", "--at", past)
	entry := strings.Repeat("ab", 32) + "/7"
	must(t, "deny", "add", head, "--key", keys[1], "--image", aDigest, "--certificate", aDigest, "--key-digest", aDigest, "--log-entry", entry,
		"--identity", "a@example.org", "--issuer", "https://issuer.example", "--repository", "registry.example/app")
	got := list()
	for _, want := range []string{"image " + aDigest, "certificate " + aDigest, "key " + aDigest, "log entry " + entry, "identity a@example.org of https://issuer.example", "repository registry.example/app", "by owner ", "6 entries"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "lapsed") {
		t.Errorf("got %q, want nothing that lapsed", got)
	}
	// One owner tightens at once; loosening takes as many as a head.
	if o := assay(t, "deny", "add", head, "--key", keys[1], "--log-entry", "x"); o.status == 0 {
		t.Errorf("a log entry that is none is denied: %s", o)
	}
}
