// SPDX-License-Identifier: Apache-2.0

package dockerauth_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/dockerauth"
)

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	config := `{"auths":{
		"registry.example:5000":{"auth":"dXNlcjpzZWNyZXQ="},
		"https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},
		"token.example":{"auth":"dXNlcjo=","identitytoken":"refresh"}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	look := dockerauth.Credentials()
	for host, want := range map[string]verifier.Credential{
		"registry.example:5000": {Username: "user", Password: "secret"},
		"docker.io":             {Username: "hub", Password: "secret"},
		"token.example":         {Username: "user", IdentityToken: "refresh"},
		"registry.example":      {},
		"evilregistry.example":  {}, // R24: no match by suffix
	} {
		got, err := look(t.Context(), host)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", host, err, diff)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := look(t.Context(), "registry.example"); err == nil {
		t.Error("a broken configuration was read")
	}
}
