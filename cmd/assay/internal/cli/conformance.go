// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sign"
)

// conformanceCommand speaks the command line protocol of sigstore-conformance
// (docs/cli_protocol.md there): what comes after "conformance" is what its
// suite passes to a client.
func (a *app) conformanceCommand() *cobra.Command {
	return a.group("conformance", "Verify and make sigstore bundles over files, as sigstore-conformance calls it", a.verifyBundleCommand(), a.signBundleCommand())
}

// bundleFlags are those of verify-bundle.
type bundleFlags struct {
	staging               bool
	bundle                string
	identity, issuer, key string
	roots                 string
}

func (a *app) verifyBundleCommand() *cobra.Command {
	var f bundleFlags
	c := a.command("verify-bundle --bundle F (--key F | --certificate-identity …) FILE", "Verify a sigstore bundle over a file, or over sha256: and a digest",
		"  assay conformance verify-bundle --bundle a.txt.sigstore.json \\\n    --certificate-identity release@acme.example --certificate-oidc-issuer https://acme.example a.txt",
		exactly(1, "one file or digest"),
		func(ctx context.Context, args []string) (*answer, error) {
			return verifyBundle(ctx, args[0], &f)
		})
	s := c.Flags()
	s.BoolVar(&f.staging, "staging", false, "sigstore's staging instance; goes with --trusted-root, since its root is not in this binary")
	s.StringVar(&f.bundle, "bundle", "", "sigstore bundle `FILE`")
	s.StringVar(&f.identity, "certificate-identity", "", "who must have signed, the whole `SUBJECT` of the certificate")
	s.StringVar(&f.issuer, "certificate-oidc-issuer", "", "its OIDC issuer, the whole `URL`")
	s.StringVar(&f.key, "key", "", "public key that must have signed, PEM `FILE`, in place of an identity")
	s.StringVar(&f.roots, "trusted-root", "", "trusted_root.json `FILE` (default the embedded public-good root)")
	return c
}

func verifyBundle(ctx context.Context, name string, f *bundleFlags) (*answer, error) {
	ans := &answer{Image: imageRef{Name: clipTo(name, verdict.MaxRepository)}}
	switch {
	case f.bundle == "":
		return ans, verdict.Misused("name it with --bundle", "conformance verify-bundle: there is no bundle")
	case f.staging && f.roots == "":
		return ans, verdict.Misused("name its trusted_root.json with --trusted-root", "conformance verify-bundle: the root of the staging instance is not in this binary")
	case f.key != "" && (f.identity != "" || f.issuer != ""):
		return ans, verdict.Misused("name one of them", "conformance verify-bundle: --key and --certificate-identity are different signers")
	case f.key == "" && (f.identity == "" || f.issuer == ""):
		return ans, verdict.Misused("name --certificate-identity and --certificate-oidc-issuer, or --key", "conformance verify-bundle: nothing says who must have signed")
	}
	o := verifier.OneOff{Identity: f.identity, Issuer: f.issuer}
	if f.key != "" {
		key, err := file.Read("public key", f.key, maxKeyFile)
		if err != nil {
			return ans, err
		}
		o.Keys = [][]byte{key}
	}
	roots, err := verifier.PublicGoodRoot()
	if f.roots != "" {
		roots, err = verifier.LoadRoots(f.roots)
	}
	if err != nil {
		return ans, err
	}
	bundle, err := file.Read("bundle", f.bundle, verifier.MaxBundleBytes+verifier.MaxPayloadBytes/3*4)
	if err != nil {
		return ans, err
	}
	blob, err := openArtifact(ctx, name)
	if err != nil {
		return ans, err
	}
	ans.Image.Digest = blob.Digest()
	if ans.Image.Name == string(blob.Digest()) {
		ans.Image.Name = ""
	}
	id, err := verifier.VerifyBlob(bundle, blob, o, roots, time.Now())
	if err != nil {
		return ans, err
	}
	ans.Result = resultPass
	ans.text = fmt.Sprintf("pass %s\n  signed by %s\n", printable(ans.Image.String()), printable(signerText(id)))
	return ans, nil
}

// signFlags are those of sign-bundle.
type signFlags struct {
	staging                      bool
	token, bundle, roots, config string
	timeout                      time.Duration
}

func (a *app) signBundleCommand() *cobra.Command {
	var f signFlags
	c := a.command("sign-bundle --identity-token TOKEN --bundle F --signing-config F FILE", "Sign a file as the holder of an OIDC token",
		"  assay conformance sign-bundle --identity-token \"$TOKEN\" --bundle a.txt.sigstore.json \\\n    --trusted-root trusted_root.json --signing-config signing_config.json a.txt",
		exactly(1, "one file"),
		func(ctx context.Context, args []string) (*answer, error) { return a.signBundle(ctx, args[0], &f) })
	s := c.Flags()
	s.BoolVar(&f.staging, "staging", false, "sigstore's staging instance; goes with the two files, which are not in this binary")
	s.StringVar(&f.token, "identity-token", "", "OIDC `TOKEN` of who signs")
	s.StringVar(&f.bundle, "bundle", "", "`FILE` to write the bundle to")
	s.StringVar(&f.roots, "trusted-root", "", "trusted_root.json `FILE` that the bundle is verified under (default the embedded public-good root)")
	s.StringVar(&f.config, "signing-config", "", "signing_config.json `FILE` of the instance: which services to ask")
	s.DurationVar(&f.timeout, "timeout", defaultSignTimeout, "longest that all of it may take")
	return c
}

// defaultSignTimeout is enough for a log of Rekor v2 to make a checkpoint.
const defaultSignTimeout = 2 * time.Minute

func (a *app) signBundle(ctx context.Context, name string, f *signFlags) (*answer, error) {
	ans := &answer{Image: imageRef{Name: clipTo(name, verdict.MaxRepository)}}
	switch {
	case f.token == "":
		return ans, verdict.Misused("name it with --identity-token", "conformance sign-bundle: nobody signs: there is no identity token")
	case f.bundle == "":
		return ans, verdict.Misused("name a file with --bundle", "conformance sign-bundle: there is no place for the bundle")
	case f.config == "":
		return ans, verdict.Misused("name the signing_config.json of the instance with --signing-config", "conformance sign-bundle: the services of no instance are in this binary")
	case f.staging && f.roots == "":
		return ans, verdict.Misused("name its trusted_root.json with --trusted-root", "conformance sign-bundle: the root of the staging instance is not in this binary")
	case f.timeout <= 0:
		return ans, verdict.Misused("write it as 30s or 2m", "flag --timeout is %s, want more than 0", f.timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	roots, err := verifier.PublicGoodRoot()
	if f.roots != "" {
		roots, err = verifier.LoadRoots(f.roots)
	}
	if err != nil {
		return ans, err
	}
	config, err := file.Read("signing configuration", f.config, sign.MaxConfigBytes)
	if err != nil {
		return ans, err
	}
	now := time.Now()
	services, err := sign.ParseServices(config, now)
	if err != nil {
		return ans, err
	}
	artifact, err := verifier.OpenBlob(ctx, name)
	if err != nil {
		return ans, err
	}
	ans.Image.Digest = artifact.Digest()
	defer a.progress("signing")()
	bundle, err := services.Bundle(ctx, artifact, f.token, roots, time.Now())
	if err != nil {
		return ans, err
	}
	if err := file.Write(f.bundle, bundle, file.Public); err != nil {
		return ans, err
	}
	who, err := verifier.ClaimedIdentity(bundle)
	if err != nil {
		return ans, err
	}
	ans.Result = resultPass
	ans.text = fmt.Sprintf("signed %s\n  as %s\n", printable(ans.Image.String()), printable(who.SAN+" of "+who.Issuer))
	return ans, nil
}

// signerText names a signer for people.
func signerText(id *verifier.Identity) string {
	who := "key " + string(id.Key)
	if id.SAN != "" {
		who = id.SAN + " of " + id.Issuer
	}
	if !id.SignedAt.IsZero() {
		who += ", " + utc(id.SignedAt)
	}
	return who
}

// openArtifact takes for a digest what has its form and is not the name of a
// file, and everything else for the name of one.
func openArtifact(ctx context.Context, name string) (*verifier.Blob, error) {
	if h, ok := strings.CutPrefix(name, "sha256:"); ok && len(h) == 64 {
		_, notHex := hex.DecodeString(h)
		if _, err := os.Lstat(name); notHex == nil && errors.Is(err, fs.ErrNotExist) {
			return verifier.BlobOfDigest(verdict.Digest("sha256:" + strings.ToLower(h)))
		}
	}
	return verifier.OpenBlob(ctx, name)
}
