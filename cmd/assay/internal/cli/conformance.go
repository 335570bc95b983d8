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
)

// conformanceCommand speaks the command line protocol of sigstore-conformance
// (docs/cli_protocol.md there): what comes after "conformance" is what its
// suite passes to a client.
func (a *app) conformanceCommand() *cobra.Command {
	return a.group("conformance", "Verify sigstore bundles over files, as sigstore-conformance calls it", a.verifyBundleCommand())
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
