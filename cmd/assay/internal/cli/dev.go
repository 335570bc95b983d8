// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/devdir"
	"github.com/assayd/assay/spiffe/devapi"
)

func (a *app) devCommand() *cobra.Command {
	return a.group("dev", "Make and serve a development folder; nothing of it is for production", a.devInitCommand(), a.devServeCommand())
}

func (a *app) devInitCommand() *cobra.Command {
	var o devdir.Options
	c := a.command("init DIR --assayd PATH [--tee sim-snp|sim-tdx|tpm]", "Make a folder of keys, authorities and configurations that fit together",
		"  assay dev init /tmp/dev --assayd bin/assayd --registry 127.0.0.1:5000", exactly(1, "a folder"),
		func(_ context.Context, args []string) (*answer, error) {
			o.Dir, o.At = args[0], time.Now()
			r, err := devdir.Init(o)
			if err != nil {
				return nil, err
			}
			a.warn("development only: the keys of all parties are in %s", r.Dir)
			return done(r, "%s", devText(r)), nil
		})
	f := c.Flags()
	f.StringVar(&o.Assayd, "assayd", "", "the daemon's binary, which the references measure: `PATH`")
	f.StringVar(&o.TEE, "tee", "sim-snp", "sim-snp, sim-tdx, or tpm for a TPM or swtpm")
	f.StringVar(&o.TPM, "tpm", "", "device of the TPM or socket of swtpm, `PATH` (default DIR/swtpm.sock)")
	f.StringArrayVar(&o.EKCAs, "ek-ca", nil, "authority of the TPM's endorsement key, PEM `FILE`")
	f.StringVar(&o.EKCertificate, "ek-certificate", "", "endorsement key's certificate, DER `FILE` (default from the TPM)")
	f.StringVar(&o.Intermediates, "intermediates", "", "certificates between the two, PEM `FILE`")
	f.StringArrayVar(&o.Registries, "registry", nil, "registry on loopback without TLS, `HOST:PORT`")
	f.StringVar(&o.Listen, "listen", devdir.DefaultListen, "address of the daemon, on loopback")
	f.StringVar(&o.Policy, "policy", "", "policy `FILE` (default one for a new key)")
	f.StringVar(&o.Roots, "trusted-root", "", "trusted_root.json `FILE` (default the embedded public-good root)")
	return c
}

// devText says what was made and what comes next.
func devText(r devdir.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "made %s: head %d, %s, measurement %s, config %s\n", r.Dir, r.Head, r.TEE, r.Measurement, r.Config)
	if r.ImageKey != "" {
		fmt.Fprintf(&b, "images have to be signed by %s\n", r.ImageKey)
	}
	fmt.Fprintf(&b, "next, each in a shell of its own:\n  assay dev serve %s\n  assayd --config %s\n  assay-node --config %s\n",
		r.Dir, filepath.Join(r.Dir, devdir.ConfigFile), filepath.Join(r.Dir, "node-a", devdir.TrustFile))
	fmt.Fprintf(&b, "then:\n  assay verify --server %s --trust %s IMAGE\n", r.Listen, filepath.Join(r.Dir, "ci", devdir.TrustFile))
	return b.String()
}

func (a *app) devServeCommand() *cobra.Command {
	var ttl time.Duration
	c := a.command("serve DIR", "Run the development Workload API of a folder until it is told to stop",
		"  assay dev serve /tmp/dev", exactly(1, "a folder that assay dev init made"),
		func(ctx context.Context, args []string) (*answer, error) {
			ready, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- devdir.Serve(ctx, args[0], ttl, ready) }()
			select {
			case err := <-ended:
				return done(nil, ""), err
			case <-ready:
			}
			// Whoever waits for the sockets reads this line.
			if _, err := fmt.Fprintf(a.env.Stderr, "assay: serving SVIDs in %s, for development only\n", filepath.Join(args[0], "svid")); err != nil {
				a.warn("writing to stderr: %v", err)
			}
			return done(nil, ""), <-ended
		})
	c.Flags().DurationVar(&ttl, "ttl", devapi.DefaultTTL, "life of an SVID; a new one comes at half of it")
	return c
}
