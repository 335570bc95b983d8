// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
	"github.com/assayd/assay/verifier"
)

// versionInfo says which program this is.
type versionInfo struct {
	Version string         `json:"version"`
	Go      string         `json:"go"`
	Crypto  verdict.Crypto `json:"crypto"`
	// PublicGoodRoot is when the embedded trust root was published.
	PublicGoodRoot string `json:"publicGoodRoot"`
	// PublicGoodDigest is the SHA-256 of its bytes.
	PublicGoodDigest verdict.Digest `json:"publicGoodDigest"`
}

func (a *app) versionCommand() *cobra.Command {
	return a.command("version", "Print version, crypto module and the date of the embedded trust root",
		"  assay version --output json", exactly(0, "none"),
		func(context.Context, []string) (*answer, error) {
			roots, err := verifier.PublicGoodRoot()
			if err != nil {
				return nil, err
			}
			v := versionInfo{Version: a.env.Version, Go: runtime.Version(), Crypto: flavour.Current(),
				PublicGoodRoot: verifier.PublicGoodDate, PublicGoodDigest: roots.Digest()}
			if b, ok := debug.ReadBuildInfo(); ok && v.Version == "devel" && b.Main.Version != "" && b.Main.Version != "(devel)" {
				v.Version = b.Main.Version
			}
			return done(v, "assay %s (%s)\ncrypto module %s %s, active %t\npublic-good trust root of %s, %s\n",
				v.Version, v.Go, v.Crypto.Module, v.Crypto.Version, v.Crypto.Active, v.PublicGoodRoot, v.PublicGoodDigest), nil
		})
}
