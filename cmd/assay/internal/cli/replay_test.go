// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
)

// keyPolicy demands a signature by the yard's key, in namespace prod alone when
// it says so.
func (y *yard) keyPolicy(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	pub := strings.ReplaceAll(strings.TrimSpace(string(read(t, y.pub))), "\n", "\n        ")
	write(t, path, []byte("version: 1\nauthorities:\n  release:\n    key:\n      pem: |\n        "+pub+"\nrules:\n  - name: all\n    repositories: ['**']\n    authorities: [release]\n"+lines))
	return path
}

func TestPolicyTest(t *testing.T) {
	y := newYard(t)
	policy := y.keyPolicy(t, "")
	cases := filepath.Join(y.dir, "cases.yaml")
	good := "version: 1\ncases:\n" +
		"  - name: signed\n    image: " + y.image(y.keyed) + "\n    expect: pass\n" +
		"  - name: from a layout\n    image: oci:layout@" + string(y.keyless) + "\n    expect: fail\n    code: key.unknown\n" +
		"  - name: unsigned\n    image: " + y.image(y.unsigned) + "\n    expect: fail\n    code: sig.none\n" +
		"  - name: not there\n    image: 127.0.0.1:1/app@" + aDigest + "\n    expect: undecided\n"
	write(t, cases, []byte(good))
	args := []string{"policy", "test", policy, cases, "--plain-http", y.host, "--trusted-root", y.root, "--plain-http", "127.0.0.1:1"}
	if o := assay(t, args...); o.status != 0 || !strings.Contains(o.stdout, "4 cases, 0 wrong") || strings.Contains(o.stdout, "no  ") {
		t.Errorf("good cases: %s", o)
	}
	write(t, cases, []byte(strings.Replace(good, "expect: fail\n    code: sig.none", "expect: pass", 1)))
	if o := assay(t, args...); o.status != 1 || !strings.Contains(o.stdout, "no  unsigned: fail [sig.none], want pass") || !strings.Contains(o.stdout, "1 wrong") {
		t.Errorf("a wrong case: %s", o)
	}
	if d := parseDocument(t, assay(t, append(args, "-o", "json")...)); d.Result != "fail" {
		t.Errorf("as JSON: %+v", d)
	}
	for name, tt := range map[string]struct{ old, new, want string }{
		"unknown key":   {"expect: pass", "expects: pass", `did you mean "expect"?`},
		"result":        {"expect: pass", "expect: passed", `did you mean "pass"?`},
		"code":          {"code: sig.none", "code: sig.nothing", "there is no code"},
		"name twice":    {"name: unsigned", "name: signed", "a name of its own"},
		"no image":      {"    image: " + y.image(y.keyed) + "\n", "", "want an image"},
		"not an image":  {y.image(y.keyed), "UPPER", "write host/repository@"},
		"version":       {"version: 1", "version: 2", "write version: 1"},
		"other roots":   {"    expect: pass\n", "    expect: pass\n    roots: nothing.json\n", "nothing.json"},
		"empty of them": {good[len("version: 1\n"):], "cases: []\n", "empty list"},
	} {
		bad := strings.Replace(good, tt.old, tt.new, 1)
		if bad == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		write(t, cases, []byte(bad))
		if o := assay(t, args...); o.status != 2 || !strings.Contains(o.stderr, tt.want) {
			t.Errorf("%s: %s", name, o)
		}
	}
}

func TestPolicyDiff(t *testing.T) {
	y := newYard(t)
	logDir := filepath.Join(t.TempDir(), "log")
	makeShardOf(t, logDir, y.host+"/app", y.keyed)
	makeShardOf(t, logDir, y.host+"/app", y.unsigned) // which some policy of then let through
	diff := func(policy string) outcome {
		return assay(t, "policy", "diff", policy, logDir, "--plain-http", y.host, "--trusted-root", y.root)
	}
	o := diff(y.keyPolicy(t, ""))
	if o.status != 0 || !strings.Contains(o.stdout, y.image(y.unsigned)+", pull: fail, was pass") || !strings.Contains(o.stdout, "[sig.none]") || !strings.Contains(o.stdout, "2 images, 1 changes") {
		t.Errorf("one image is refused now: %s", o)
	}
	o = diff(y.keyPolicy(t, "  - name: prod\n    repositories: ['**']\n    namespaces: [prod]\n    attestations:\n      - {predicate-type: slsaprovenance, authorities: [release]}\n"))
	if !strings.Contains(o.stdout, y.image(y.keyed)+", namespace prod: fail, was pass") || strings.Contains(o.stdout, y.image(y.keyed)+", pull") {
		t.Errorf("a namespace is refused now: %s", o)
	}
	if o := diff(y.keyPolicy(t, "    mode: audit\n")); !strings.Contains(o.stdout, y.image(y.unsigned)+", pull: audit-fail, was pass") {
		t.Errorf("audit: %s", o)
	}
	if o := assay(t, "policy", "diff", y.keyPolicy(t, ""), y.dir); o.status != 2 {
		t.Errorf("no log: %s", o)
	}
}

func TestPolicyConvert(t *testing.T) {
	source := filepath.Join("..", "convert", "testdata", "trustpolicy.json")
	out := filepath.Join(t.TempDir(), "policy.yaml")
	o := assay(t, "policy", "convert", source, "--out", out)
	if o.status != 0 || !strings.Contains(o.stdout, "3 rules of notation trust policy") || !strings.Contains(o.stderr, `needs a trust store "ca-acme" of kind ca`) {
		t.Errorf("convert: %s", o)
	}
	must(t, "policy", "check", out)
	if o := assay(t, "policy", "convert", out); o.status != 2 || !strings.Contains(o.stderr, "want a ClusterImagePolicy") {
		t.Errorf("our own policy: %s", o)
	}
}

func TestPolicyFormatAndSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	sloppy := "rules:\n- {repositories: ['**'], name: all, mode: off}   # nothing\nversion: 1\n"
	write(t, path, []byte(sloppy))
	if o := must(t, "policy", "fmt", path); !strings.HasPrefix(o.stdout, "version: 1\n") || !strings.Contains(o.stdout, "# nothing") || string(read(t, path)) != sloppy {
		t.Errorf("fmt: %s", o)
	}
	if o := must(t, "policy", "fmt", "--write", path); !strings.Contains(o.stderr, "digest of the policy is another now") {
		t.Errorf("fmt --write: %s", o)
	}
	if o := must(t, "policy", "fmt", "--write", path); !strings.Contains(o.stdout, "is formatted") {
		t.Errorf("fmt --write twice: %s", o)
	}
	write(t, path, []byte("version: 3\n"))
	if o := assay(t, "policy", "fmt", "--write", path); o.status != 2 || string(read(t, path)) != "version: 3\n" {
		t.Errorf("fmt of a bad policy: %s", o)
	}
	var schema map[string]any
	if err := json.Unmarshal([]byte(must(t, "policy", "schema").stdout), &schema); err != nil || schema["$schema"] == nil {
		t.Errorf("schema: %v", err)
	}
}

// TestVerifyNotation: a genuine notation signature by the flags alone, and one
// change of each.
func TestVerifyNotation(t *testing.T) {
	const shared = "../../../../../shared/testdata"
	if _, err := os.Stat(shared); err != nil {
		t.Skip("shared testdata is absent")
	}
	const image = "sha256:b8479de3f88fb259a0a9ea82a5b2a052a1ef3c4ebbcfc61482d5ae4c831f8af9"
	name := "oci:" + filepath.Join(shared, "images", "notation-e2e-valid-signature") + "@" + image
	ca, other := filepath.Join(shared, "roots", "notation", "e2e", "e2e.crt"), filepath.Join(shared, "roots", "notation", "connaisseur", "securesystems.pem")
	runScripts(t, []script{
		{name: "any subject", args: []string{"verify", "--notation-ca", ca, "--revocation", "off", name}, stdout: []string{"pass ", `signed by "notation": CN=e2e`}},
		{name: "subject", args: []string{"verify", "--notation-ca", ca, "--notation-subject", "C=US,ST=WA,O=Notary", name}, stdout: []string{"pass "}},
		{name: "another subject", args: []string{"verify", "--notation-ca", ca, "--notation-subject", "C=US,ST=WA,O=Other", name}, status: 1, code: verdict.IdentitySAN},
		{name: "another authority", args: []string{"verify", "--notation-ca", other, name}, status: 1, code: verdict.CertUntrusted},
		{name: "as the other scheme", args: []string{"verify", "--notation-signing-authority", ca, name}, status: 1, code: verdict.CertUntrusted},
		{name: "subject that is none", args: []string{"verify", "--notation-ca", ca, "--notation-subject", "O=Notary", name}, status: 2, stderr: []string{"C is missing"}},
		{name: "timestamp authority alone", args: []string{"verify", "--notation-tsa", ca, "--key", "k", name}, status: 2, stderr: []string{"go with --notation-ca"}},
		{name: "with a key too", args: []string{"verify", "--notation-ca", ca, "--key", "k", name}, status: 2, stderr: []string{"several of the flags"}},
		{name: "revocation of a key", args: []string{"verify", "--revocation", "off", "--key", "k", name}, status: 2, stderr: []string{"--revocation goes with"}},
		{name: "revocation that is none", args: []string{"verify", "--revocation", "maybe", "--notation-ca", ca, name}, status: 2, stderr: []string{"want hard, soft or off"}},
		{name: "not certificates", args: []string{"verify", "--notation-ca", "replay_test.go", name}, status: 2, stderr: []string{"want certificates"}},
	})
}
