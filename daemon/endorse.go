// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"crypto/x509"
	"path/filepath"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
)

// maxAuthorities bounds the file of tee.fetch-ca, in bytes.
const maxAuthorities = 1 << 20

// What tests put in place of a TEE and of the roots that AMD and Intel publish.
var (
	testingOnlyTEE   = enclave.Open
	testingOnlyRoots attest.EndorsementRoots
)

// checkFetch checks what is said of fetching endorsements.
func (c *Config) checkFetch(f *strictyaml.File) error {
	t := c.TEE
	if !t.Fetch {
		for _, r := range []struct{ key, value string }{{"kds-url", t.KDSURL}, {"pcs-url", t.PCSURL}, {"fetch-ca", t.FetchCA}} {
			if r.value != "" {
				return f.Misuse("tee."+r.key, "say fetch: true, or leave it out", "tee.%s is about fetching endorsements, which is off", r.key)
			}
		}
		return nil
	}
	if t.Kind == verdict.KindTPM || verdict.Simulated(t.Kind) {
		return f.Misuse("tee.fetch", "leave it out", "tee.fetch is about processors of AMD and Intel, of which kind %s says nothing", t.Kind)
	}
	for _, r := range []struct{ key, value string }{{"kds-url", t.KDSURL}, {"pcs-url", t.PCSURL}} {
		if r.value == "" {
			continue
		}
		if err := endorse.CheckURL(r.value); err != nil {
			return f.Misuse("tee."+r.key, hintOf(err), "tee.%s: %w", r.key, err)
		}
	}
	return nil
}

// endorsements is the folder of endorsements, or empty.
func (c *Config) endorsements() string {
	if c.TEE.Fetch {
		return cmp.Or(c.TEE.Endorsements, filepath.Join(c.StateDir, endorsementsName))
	}
	return c.TEE.Endorsements
}

// openKeeper makes the keeper of endorsements, where evidence wants any. Where it is to
// fetch them, it makes the folder, which has to be there before evidence is asked for;
// otherwise it only tells the log of their state.
func (d *Daemon) openKeeper() error {
	if !d.config.TEE.Fetch {
		if t := d.config.TEE; t.Kind == verdict.KindTPM || verdict.Simulated(t.Kind) {
			return nil
		}
		fetcher, err := endorse.NewFetcher(endorse.Config{Roots: testingOnlyRoots})
		if err != nil {
			return err
		}
		d.keeper = endorse.NewKeeper(fetcher, nil, d.log)
		d.onClose(d.keeper.Close)
		return nil
	}
	config := endorse.Config{KDS: d.config.TEE.KDSURL, PCS: d.config.TEE.PCSURL, Roots: testingOnlyRoots}
	if path := d.config.TEE.FetchCA; path != "" {
		pem, err := readFile(path, maxAuthorities)
		if err != nil {
			return verdict.Misused("name a PEM file of at most 1 MiB", "reading tee.fetch-ca: %w", err)
		}
		config.TLSRoots = x509.NewCertPool()
		if !config.TLSRoots.AppendCertsFromPEM(pem) {
			return verdict.Misused("name a PEM file with certificates", "reading tee.fetch-ca: %s has none", path)
		}
	}
	fetcher, err := endorse.NewFetcher(config)
	if err != nil {
		return err
	}
	folder, err := endorse.OpenFolder(d.config.endorsements())
	if err != nil {
		fetcher.Close()
		return err
	}
	d.keeper = endorse.NewKeeper(fetcher, folder, d.log)
	d.onClose(d.keeper.Close)
	return nil
}

// An observedTEE tells who keeps endorsements about each piece of evidence: it says which
// ones are wanted.
type observedTEE struct {
	enclave.Attester
	observe func(collection []byte)
}

// Evidence implements enclave.Attester.
func (o observedTEE) Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error) {
	collection, err := o.Attester.Evidence(ctx, statement, nonces)
	if err == nil {
		o.observe(collection)
	}
	return collection, err
}
