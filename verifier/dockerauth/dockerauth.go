// SPDX-License-Identifier: Apache-2.0

// Package dockerauth gives a registry client the credentials of the person who
// runs it: Docker's configuration file ($DOCKER_CONFIG or ~/.docker) with its
// credential helpers, or Podman's auth.json. The entry point is [Credentials].
//
// It runs helper programs and reads the home folder, so the command line links
// it and the daemon does not. The lookup is go-containerregistry's.
package dockerauth

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/assayd/assay/verifier"
)

// Credentials returns a lookup in the configuration of the current user. A
// host without an entry has none.
func Credentials() verifier.Credentials {
	return func(ctx context.Context, host string) (verifier.Credential, error) {
		registry, err := name.NewRegistry(host)
		if err != nil {
			return verifier.Credential{}, fmt.Errorf("looking up credentials for %s: %w", host, err)
		}
		auth, err := authn.Resolve(ctx, authn.DefaultKeychain, registry)
		if err != nil {
			return verifier.Credential{}, fmt.Errorf("looking up credentials for %s: %w", host, err)
		}
		c, err := authn.Authorization(ctx, auth)
		if err != nil {
			return verifier.Credential{}, fmt.Errorf("looking up credentials for %s: %w", host, err)
		}
		return verifier.Credential{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken}, nil
	}
}
