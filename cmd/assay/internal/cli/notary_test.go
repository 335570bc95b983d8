// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/notaryv1test"
)

// TestNotaryV1: a collection of Docker Content Trust, recorded or from a server, and
// flags that do not make sense.
func TestNotaryV1(t *testing.T) {
	const name = "docker.io/acme/app"
	manifest := []byte(`{"an":"image"}`)
	image := name + "@" + string(verdict.SHA256(manifest))
	until := time.Now().AddDate(0, 1, 0)
	c := notaryv1test.New(t, name, until)
	c.Roles["targets"].Targets["v1"] = notaryv1test.Target(manifest)
	c.Delegate("targets/releases", "").Targets["v1"] = notaryv1test.Target(manifest)
	c.Publish()
	setup := func(t *testing.T, dir string) {
		t.Helper()
		write(t, filepath.Join(dir, "root.pub"), c.Roles["root"].Keys[0].PEM())
		write(t, filepath.Join(dir, "other.pub"), notaryv1test.NewKey(t).PEM())
		if err := os.MkdirAll(filepath.Join(dir, "collection", "targets"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"root.json", "timestamp.json", "snapshot.json", "targets.json", "targets/releases.json"} {
			write(t, filepath.Join(dir, "collection", file), c.File(file))
		}
	}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	verify := func(more ...string) []string {
		return append([]string{"verify", "--notary-root-key", "$DIR/root.pub", image}, more...)
	}
	folder := []string{"--bundle", "$DIR/collection"}
	runScripts(t, []script{
		{name: "recorded", setup: setup, args: verify(folder...), stdout: []string{"pass " + image, "targets/releases " + name + ":v1"}},
		{name: "a role", setup: setup, args: verify(append(folder, "--notary-role", "targets")...), stdout: []string{"targets " + name + ":v1"}},
		{name: "another role", setup: setup, args: verify(append(folder, "--notary-role", "targets/other")...), status: 1, code: verdict.SigNone},
		{name: "after its end", setup: setup, args: verify(append(folder, "--at", until.AddDate(0, 1, 0).UTC().Format(time.RFC3339))...), status: 3, code: verdict.TrustStale},
		{name: "another name", setup: setup, args: verify(append(folder, "--notary-certificate-name", "acme")...), status: 1, code: verdict.SubjectRepository},
		{name: "another key", setup: setup, args: append([]string{"verify", "--notary-root-key", "$DIR/other.pub", image}, folder...), status: 1, code: verdict.KeyUnknown},
		{name: "another image", setup: setup, args: append([]string{"verify", "--notary-root-key", "$DIR/root.pub", name + "@" + string(verdict.SHA256(nil))}, folder...), status: 1, code: verdict.SigNone},
		{name: "no place", setup: setup, args: verify(), status: 2, stderr: []string{"--notary-server", "--bundle"}},
		{name: "two places", setup: setup, args: verify(append(folder, "--notary-server", server.URL)...), status: 2, stderr: []string{"one place"}},
		{name: "no key", setup: setup, args: append([]string{"verify", "--key", "$DIR/root.pub", "--notary-role", "targets", image}, folder...), status: 2, stderr: []string{"--notary-root-key"}},
		{name: "another kind of signer", setup: setup, args: verify(append(folder, "--key", "$DIR/root.pub")...), status: 2, stderr: []string{"several of the flags"}},
		{name: "no repository", setup: setup, args: append([]string{"verify", "--notary-root-key", "$DIR/root.pub", string(verdict.SHA256(manifest))}, folder...), status: 2, stderr: []string{"--repository"}},
		{name: "repository by flag", setup: setup, args: append([]string{"verify", "--notary-root-key", "$DIR/root.pub", "--repository", name, string(verdict.SHA256(manifest))}, folder...)},
		{name: "a bad role", setup: setup, args: verify(append(folder, "--notary-role", "root")...), status: 2, stderr: []string{"role"}},
		{name: "attestation", setup: setup, args: verify(append(folder, "--attestation", "spdx")...), status: 2, stderr: []string{"neither log entries nor attestations"}},
	})
}
