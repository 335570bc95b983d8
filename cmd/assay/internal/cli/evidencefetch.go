// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
)

// maxCAs bounds a file of authorities of TLS names, in bytes.
const maxCAs = 1 << 20

// What became of an endorsement that evidence wants.
const (
	// endorsementThere was there, and is good.
	endorsementThere = "there"
	// endorsementFetched was fetched.
	endorsementFetched = "fetched"
	// endorsementMissing is not to be had, or not as it has to be.
	endorsementMissing = "missing"
)

// fetched says what was done to a folder.
type fetched struct {
	Folder string    `json:"folder"`
	At     time.Time `json:"at"`
	// Product is the product line of SEV-SNP, FMSPC that of TDX in hex.
	Product      string               `json:"product,omitempty"`
	FMSPC        string               `json:"fmspc,omitempty"`
	Endorsements []fetchedEndorsement `json:"endorsements"`
}

// A fetchedEndorsement is one that the evidence wants.
type fetchedEndorsement struct {
	Type  string `json:"type"`
	State string `json:"state"`
	// Demanded is false where the folder's policy does not look at it.
	Demanded bool `json:"demanded"`
	// Edition is the number of a list, or tcbEvaluationDataNumber.
	Edition *big.Int   `json:"edition,omitempty"`
	Issued  *time.Time `json:"issued,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	// Code and Text say why it is missing.
	Code verdict.Code `json:"code,omitempty"`
	Text string       `json:"text,omitempty"`
}

func (e *fetchedEndorsement) text() string {
	switch {
	case e.State == endorsementMissing && !e.Demanded:
		return fmt.Sprintf("  %-16s missing, not demanded [%s]\n", e.Type, e.Code)
	case e.State == endorsementMissing:
		return fmt.Sprintf("  %-16s missing [%s]\n", e.Type, e.Code)
	}
	text := fmt.Sprintf("  %-16s %s", e.Type, e.State)
	if e.Edition != nil {
		text += ", edition " + clip(e.Edition.String())
	}
	return text + ", from " + utc(*e.Issued) + " until " + utc(*e.Until) + "\n"
}

// fetchFlags say where endorsements come from and go to.
type fetchFlags struct {
	into, kds, pcs, ca string
	now                bool
	timeout            time.Duration
}

func (a *app) evidenceFetchCommand() *cobra.Command {
	var f fetchFlags
	c := a.command("fetch DIR [--now | --into FOLDER]",
		"Fetch what AMD or Intel publishes about the processor that evidence in a folder is of",
		"  assay evidence fetch recorded/tdx-1 --now\n  assay evidence fetch recorded/snp-1 --into /etc/assay/endorsements",
		exactly(1, "an evidence folder"),
		func(ctx context.Context, args []string) (*answer, error) {
			if f.now && f.into != "" {
				return nil, verdict.Misused("", "fetching endorsements: --now is about the evidence folder, which --into leaves as it is")
			}
			if f.timeout <= 0 {
				return nil, verdict.Misused("", "flag --timeout is %s, want more than 0", f.timeout)
			}
			defer a.progress("fetching endorsements")()
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			return a.fetch(ctx, args[0], &f)
		})
	s := c.Flags()
	s.StringVar(&f.into, "into", "", "write an endorsement folder for assayd: `FOLDER` (default: into DIR)")
	s.BoolVar(&f.now, "now", false, "have DIR appraised as of now: what is published now is not good before")
	s.StringVar(&f.kds, "kds-url", "", "ask a cache in place of AMD's service: `URL`, https://HOST[:PORT][/PATH]")
	s.StringVar(&f.pcs, "pcs-url", "", "ask a cache in place of Intel's service, as PCCS: `URL`")
	s.StringVar(&f.ca, "ca", "", "authorities of the cache's name, PEM `FILE` (default: the system's)")
	s.DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long all of it may take")
	return c
}

// A fetchTarget is a folder that endorsements are put into.
type fetchTarget struct {
	path     string
	platform *attest.Platform
	at       time.Time
	demanded func(label string) bool
	read     func(label string) (endorse.Endorsement, error)
	write    func(label string, e endorse.Endorsement) error
}

// fetch fills a folder.
func (a *app) fetch(ctx context.Context, dir string, f *fetchFlags) (*answer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, verdict.Misused("name a folder with a "+folder.CaseName, "opening evidence folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // it was only read
	evidence, err := folder.OpenEndorsable(root.FS())
	if err != nil {
		return nil, err
	}
	config := endorse.Config{KDS: f.kds, PCS: f.pcs, Roots: evidence.Roots}
	if f.ca != "" {
		if config.TLSRoots, err = authorities(f.ca); err != nil {
			return nil, err
		}
	}
	fetcher, err := endorse.NewFetcher(config)
	if err != nil {
		return nil, err
	}
	defer fetcher.Close()
	if f.into != "" {
		into, err := endorse.OpenFolder(f.into)
		if err != nil {
			return nil, err
		}
		defer into.Close() //nolint:errcheck // what was written was synced
		return fill(ctx, fetcher, &fetchTarget{
			path: f.into, platform: &evidence.Platform, at: time.Now(), demanded: func(string) bool { return true },
			read: into.Read, write: into.Write,
		})
	}
	if f.now {
		evidence.At = time.Now()
	}
	changed := f.now
	ans, unfinished := fill(ctx, fetcher, &fetchTarget{
		path: dir, platform: &evidence.Platform, at: evidence.At, demanded: evidence.Demanded,
		read: func(label string) (endorse.Endorsement, error) {
			has := evidence.Has[label]
			return endorse.Endorsement{Value: has.Value, Chain: has.Chain}, nil
		},
		write: func(label string, e endorse.Endorsement) error {
			changed = true
			return evidence.Add(label, folder.Endorsed{Value: e.Value, Chain: e.Chain})
		},
	})
	if ans != nil && !f.now && verdict.CodeOf(unfinished) == verdict.EndorsementNotYetValid {
		ans.Hint = "what is published now is not good at the folder's time: --now has it appraised as of now"
	}
	if !changed || ans == nil {
		return ans, unfinished
	}
	// What was found is kept, also where something else was not.
	if err := writeFolder(dir, evidence); err != nil {
		return nil, err
	}
	return ans, unfinished
}

// writeFolder writes what is new, and case.json, which names it, at the end: a folder
// whose writing was cut short is the one before.
func writeFolder(dir string, evidence *folder.Endorsable) error {
	files, err := evidence.Files()
	if err != nil {
		return err
	}
	last := files[folder.CaseName]
	delete(files, folder.CaseName)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := file.Write(filepath.Join(dir, name), files[name], file.Public); err != nil {
			return err
		}
	}
	return file.Write(filepath.Join(dir, folder.CaseName), last, file.Public)
}

// fill fetches what a target lacks. The error is a *verdict.Misuse, or a
// *verdict.Failure where something that is demanded is still missing: the answer then
// says what.
func fill(ctx context.Context, fetcher *endorse.Fetcher, t *fetchTarget) (*answer, error) {
	v := fetched{Folder: t.path, At: t.at.UTC(), Endorsements: []fetchedEndorsement{}}
	var failed error
	for _, label := range t.platform.Endorsements() {
		one := fetchedEndorsement{Type: label, Demanded: t.demanded(label)}
		edition, state, err := get(ctx, fetcher, t, label)
		if _, misuse := errors.AsType[*verdict.Misuse](err); misuse {
			return nil, err
		}
		one.State = state
		if err != nil {
			reason := verdict.ReasonOf(err)
			one.State, one.Code, one.Text = endorsementMissing, reason.Code, reason.Text
			if one.Demanded && failed == nil {
				failed = notFetched(label, err)
			}
		} else {
			issued, until := edition.Issued.UTC(), edition.Until.UTC()
			one.Edition, one.Issued, one.Until = edition.Number, &issued, &until
		}
		v.Endorsements = append(v.Endorsements, one)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: as of %s\n", printable(t.path), utc(t.at))
	switch p := t.platform; {
	case p.SNP != nil && p.SNP.Line != "":
		v.Product = string(p.SNP.Line)
		fmt.Fprintf(&b, "  %s, signed by a %s\n", v.Product, strings.ToUpper(string(p.SNP.Signer)))
	case p.TDX != nil:
		v.FMSPC = fmt.Sprintf("%x", p.TDX.PCK.FMSPC)
		fmt.Fprintf(&b, "  FMSPC %s\n", v.FMSPC)
	}
	for i := range v.Endorsements {
		b.WriteString(v.Endorsements[i].text())
	}
	ans := done(v, "%s", b.String())
	if failed != nil {
		ans.Hint = "try again later, or name a cache with --kds-url or --pcs-url"
	}
	return ans, failed
}

// get fetches one endorsement, unless the one that is there is good.
func get(ctx context.Context, fetcher *endorse.Fetcher, t *fetchTarget, label string) (attest.Edition, string, error) {
	have, err := t.read(label)
	if err != nil {
		return attest.Edition{}, "", verdict.Misused("remove it", "reading %s: %w", label, err)
	}
	learn := func(der []byte) {
		if p := t.platform.SNP; p != nil && p.Line == "" && (label == attest.LabelVCEK || label == attest.LabelVLEK) {
			p.Line = p.LineIn(der)
		}
	}
	if edition, err := fetcher.Verify(t.platform, label, have, t.at); err == nil {
		learn(have.Value)
		return edition, endorsementThere, nil
	}
	got, edition, err := fetcher.Fetch(ctx, t.platform, label, have, t.at)
	if err != nil {
		return attest.Edition{}, "", err
	}
	learn(got.Value)
	if err := t.write(label, got); err != nil {
		return attest.Edition{}, "", err
	}
	return edition, endorsementFetched, nil
}

// notFetched is a failure: that a service gives something else decides nothing about
// the evidence.
func notFetched(label string, err error) error {
	reason := verdict.ReasonOf(err)
	if verdict.Refused(err) {
		return verdict.Fail(verdict.EndorsementMissing, "fetching %s: what the service gave is of no use: %s [%s]", label, reason.Text, reason.Code)
	}
	return verdict.Fail(reason.Code, "fetching %s: %s", label, reason.Text)
}

// authorities reads the authorities of TLS names.
func authorities(path string) (*x509.CertPool, error) {
	data, err := file.Read("authorities", path, maxCAs)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, verdict.Misused("want CERTIFICATE blocks in PEM", "reading authorities: %s has no certificate", path)
	}
	return pool, nil
}
