// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestCheckRepository(t *testing.T) {
	good := []string{
		"registry.example/app", "registry.example/team/app", "registry.example:5000/app", "localhost/app", "localhost:5000/app", "registry:5000/app",
		"127.0.0.1:5000/app", "[::1]:5000/app", "[2001:db8::1]/app", "docker.io/library/nginx", "registry.example/a-b.c_d__e---f/x1",
		"xn--bcher-kva.example/app", "registry.example:80/app", "registry.example/" + strings.Repeat("a", verdict.MaxRepository-len("registry.example/")),
	}
	for _, repo := range good {
		if err := verdict.CheckRepository(repo); err != nil {
			t.Errorf("%s: got %v, want none", repo, err)
		}
	}
	bad := map[string]string{
		"nothing": "", "no path": "registry.example", "empty path": "registry.example/", "empty host": "/app", "upper-case host": "Registry.example/app",
		"upper-case path": "registry.example/App", "tag": "registry.example/app:v1", "digest": "registry.example/app@sha256:" + zeroSum, "scheme": "https://registry.example/app",
		"user": "user@registry.example/app", "default port": "registry.example:443/app", "port 0": "registry.example:0/app", "port with a leading zero": "registry.example:080/app",
		"port too large": "registry.example:65536/app", "port with a sign": "registry.example:+80/app", "empty port": "registry.example:/app", "two ports": "registry.example:1:2/app",
		"trailing dot": "registry.example./app", "leading dot": ".registry.example/app", "two dots": "registry..example/app", "underscore in host": "a_b.example/app",
		"hyphen first": "-a.example/app", "hyphen last": "a-.example/app", "label of 64": strings.Repeat("a", 64) + ".example/app", "host of 254": strings.Repeat("a.", 126) + "aa/app",
		"a path of Docker Hub": "library/nginx", "alias of Docker Hub": "index.docker.io/library/nginx", "registry of Docker Hub": "registry-1.docker.io/library/nginx",
		"short name of Docker Hub": "docker.io/nginx", "IPv6 without brackets": "::1/app", "IPv6 in another form": "[0:0:0:0:0:0:0:1]:5000/app", "IPv6 in upper case": "[2001:DB8::1]/app",
		"IPv6 with a zone": "[fe80::1%25eth0]/app", "IPv6 not closed": "[::1/app", "IPv4 in brackets": "[127.0.0.1]/app", "brackets": "[]/app",
		"empty segment": "registry.example//app", "trailing slash": "registry.example/app/", "dot": "registry.example/./app", "dot dot": "registry.example/../app",
		"two dots in a segment": "registry.example/a..b", "three underscores": "registry.example/a___b", "mixed separators": "registry.example/a.-b", "separator first": "registry.example/-a",
		"separator last": "registry.example/a-", "backslash": `registry.example/a\b`, "per cent": "registry.example/a%2fb", "space": "registry.example/a b", "line end": "registry.example/a\n",
		"not ASCII": "registry.example/ä", "host not ASCII": "registrу.example/app", "wildcard": "registry.example/*", "query": "registry.example/a?b",
		"too long": "registry.example/" + strings.Repeat("a", verdict.MaxRepository), "NUL": "registry.example/a\x00",
	}
	for name, repo := range bad {
		if err := verdict.CheckRepository(repo); err == nil {
			t.Errorf("%s: got no error for %q", name, repo)
		} else if strings.Contains(err.Error(), "\n") || len(err.Error()) > 512 {
			t.Errorf("%s: got the text %q, want one short line", name, err)
		}
	}
}

func TestCheckSPIFFEID(t *testing.T) {
	for _, id := range []string{
		nodeA, "spiffe://example.org/a", "spiffe://a_b-c.9/A.b_c-1/...x", "spiffe://td/" + strings.Repeat("a", verdict.MaxSPIFFEID-len("spiffe://td/")),
	} {
		if err := verdict.CheckSPIFFEID(id); err != nil {
			t.Errorf("%s: got %v, want none", id, err)
		}
	}
	// SPIFFE-ID §2.1 to §2.4; we demand a path as well.
	for name, id := range map[string]string{
		"nothing": "", "no trust domain": "spiffe:///a", "no path": "spiffe://td", "empty path": "spiffe://td/", "trailing slash": "spiffe://td/a/", "empty segment": "spiffe://td/a//b",
		"dot": "spiffe://td/./a", "dot dot": "spiffe://td/a/..", "upper-case scheme": "SPIFFE://td/a", "other scheme": "https://td/a", "upper-case trust domain": "spiffe://TD/a",
		"port": "spiffe://td:80/a", "user": "spiffe://u@td/a", "query": "spiffe://td/a?b", "fragment": "spiffe://td/a#b", "per cent": "spiffe://td/a%62", "colon": "spiffe://td/a:b",
		"not ASCII": "spiffe://td/ä", "space": "spiffe://td/a b", "NUL": "spiffe://td/a\x00", "too long": "spiffe://td/" + strings.Repeat("a", verdict.MaxSPIFFEID), "wildcard": "spiffe://td/*",
	} {
		if err := verdict.CheckSPIFFEID(id); err == nil {
			t.Errorf("%s: got no error for %q", name, id)
		}
	}
}

// TestSPIFFEIDBytes tries every byte in trust domain and path.
func TestSPIFFEIDBytes(t *testing.T) {
	const lower, digits, marks, upper = "abcdefghijklmnopqrstuvwxyz", "0123456789", "-._", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		b := string([]byte{byte(c)})
		if got, want := verdict.CheckSPIFFEID("spiffe://t"+b+"d/a") == nil, strings.Contains(lower+digits+marks+"/", b); got != want {
			t.Errorf("trust domain with %q: got %v, want %v", b, got, want)
		}
		if got, want := verdict.CheckSPIFFEID("spiffe://td/a"+b+"b") == nil, strings.Contains(lower+upper+digits+marks+"/", b); got != want {
			t.Errorf("path with %q: got %v, want %v", b, got, want)
		}
	}
}

func TestNamespaces(t *testing.T) {
	for _, p := range []string{"*", "team-a", "team-*", "a*", strings.Repeat("a", verdict.MaxNamespace)} {
		if err := verdict.CheckNamespacePattern(p); err != nil {
			t.Errorf("%s: got %v, want none", p, err)
		}
	}
	for _, p := range []string{"", "**", "*a", "a*b", "A", "a b", "ä", "a\n", "[a]", "a?", strings.Repeat("a", verdict.MaxNamespace+1)} {
		if err := verdict.CheckNamespacePattern(p); err == nil {
			t.Errorf("%q: got no error", p)
		}
	}
	for _, tt := range []struct {
		pattern, namespace string
		want               bool
	}{
		{"*", "", true}, {"*", "a", true}, {"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"a*", "a", true}, {"a*", "b", false},
		{"a", "", false}, {"a*", "", false}, {"", "", false}, {"", "a", false},
	} {
		if got := verdict.MatchNamespace(tt.pattern, tt.namespace); got != tt.want {
			t.Errorf("%q, %q: got %v, want %v", tt.pattern, tt.namespace, got, tt.want)
		}
	}
}

func TestDigest(t *testing.T) {
	sha512 := "sha512:" + zeroSum + zeroSum
	for _, s := range []string{"sha256:" + zeroSum, sha512} {
		if d, err := verdict.ParseDigest(s); err != nil || string(d) != s {
			t.Errorf("got %s, %v, want %s", d, err, s)
		}
	}
	for name, s := range map[string]string{
		"nothing": "", "no algorithm": zeroSum, "empty": "sha256:", "63 digits": "sha256:" + zeroSum[1:], "65 digits": "sha256:" + zeroSum + "0", "upper case": "sha256:" + strings.Repeat("AB", 32),
		"upper-case algorithm": "SHA256:" + zeroSum, "path": "sha256:../../" + zeroSum[6:], "MD5": "md5:" + zeroSum[:32], "SHA-1": "sha1:" + zeroSum[:40], "SHA-384": "sha384:" + zeroSum + zeroSum[:32],
		"white space": " sha256:" + zeroSum, "line end": "sha256:" + zeroSum + "\n", "two colons": "sha256::" + zeroSum[1:], "huge": strings.Repeat("x", 1<<20),
	} {
		if d, err := verdict.ParseDigest(s); err == nil || d != "" {
			t.Errorf("%s: got %s, %v, want an error", name, d, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: got a text of %d bytes", name, len(err.Error()))
		}
	}
	d := verdict.SHA256(nil)
	raw, ok := d.Bytes()
	if !ok || verdict.DigestFromBytes(raw) != d || d.Algorithm() != "sha256" || d.Hex() != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" || d.Short() != "sha256:e3b0c44298fc…" {
		t.Errorf("got %s, %s, %s, %s", d, d.Algorithm(), d.Hex(), d.Short())
	}
	for _, bad := range []verdict.Digest{"", verdict.Digest(sha512), "sha256:zz", "sha256:00"} {
		if raw, ok := bad.Bytes(); ok || raw != [32]byte{} {
			t.Errorf("%s: got bytes %x", bad, raw)
		}
	}
	if got := verdict.Digest("sha256:00").Short(); got != "sha256:00" {
		t.Errorf("got %s", got)
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:" + zeroSum)
	f.Add("sha512:" + zeroSum + zeroSum)
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, s string) {
		count.Add(len(s) > 7 && (s[:7] == "sha256:" || s[:7] == "sha512:"))
		d, err := verdict.ParseDigest(s)
		if (err == nil) != (string(d) == s && s != "") {
			t.Fatalf("got %q, %v for %q", d, err, s)
		}
	})
}
