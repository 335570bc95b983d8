// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"fmt"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// A policy says who must have signed what, and is checked before anything
// starts.
func ExampleParsePolicy() {
	_, err := verifier.ParsePolicy("policy.yaml", []byte(`version: 1
authorities:
  release-team:
    keyless:
      issuer: https://token.actions.githubusercontent.com
      subject: https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main
rules:
  - name: everything-of-acme
    repositorys: ["registry.example/acme/**"]
    authorities: [release-team]
`))
	fmt.Println(err)
	// Output: policy.yaml:9:5: unknown key "repositorys" in rules[0]
}

// An image in a layout, and one key that must have signed it.
func ExampleNew() {
	check := func(dir string, digest verdict.Digest, key []byte, at time.Time) error {
		policy, err := verifier.OneOff{Keys: [][]byte{key}}.Policy()
		if err != nil {
			return err
		}
		layout, err := verifier.OpenLayout(dir)
		if err != nil {
			return err
		}
		defer layout.Close() //nolint:errcheck // nothing was written
		v, err := verifier.New(verifier.Config{Policy: policy, Source: layout})
		if err != nil {
			return err
		}
		defer v.Close()
		res, err := v.Verify(context.Background(), verifier.Request{Image: verifier.Image{Digest: digest}, At: at})
		if err != nil {
			return err
		}
		fmt.Println(res.Namespaces[0].Outcome, res.Reasons)
		return nil
	}
	fmt.Println(check("no-such-folder", "", nil, time.Time{}))
	// Output: command line: authority "key": reading public key: want a PEM block PUBLIC KEY
}
