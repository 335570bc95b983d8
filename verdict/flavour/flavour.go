// SPDX-License-Identifier: Apache-2.0

// Package flavour tells which cryptographic module this binary uses, and
// refuses when the one that it was built for is not active.
//
// [Current] is what `version` prints and what an issuer statement says;
// [Check] is the start-up proof that every main calls before anything else. It
// trusts the Go runtime's own account. The claim is about the module in use,
// never that a deployment is validated.
package flavour

import (
	"crypto/fips140"
	"runtime"

	"github.com/assayd/assay/verdict"
)

// Current returns the module in use.
func Current() verdict.Crypto {
	switch wanted {
	case "boringcrypto":
		// Certificate #4735; the version is fixed by the toolchain.
		return verdict.Crypto{Module: wanted, Version: runtime.Version(), Active: boringActive()}
	case "fips140":
		return verdict.Crypto{Module: wanted, Version: fips140.Version(), Active: fips140.Enabled()}
	default:
		return verdict.Crypto{Module: "go", Version: runtime.Version(), Active: false}
	}
}

// Check returns a *[verdict.Misuse] when the binary was built for a module that
// is not active: started with GODEBUG=fips140=off, or built for BoringCrypto
// without cgo, which the go command does without a word.
func Check() error {
	if c := Current(); c.Module != "go" && !c.Active {
		return verdict.Misused("start it without GODEBUG=fips140=off; build BoringCrypto with CGO_ENABLED=1",
			"this binary was built for %s, which is not active", c.Module)
	}
	return nil
}
