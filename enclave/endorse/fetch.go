// SPDX-License-Identifier: Apache-2.0

package endorse

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// Config says where endorsements are fetched. The zero value is AMD and Intel.
type Config struct {
	// KDS and PCS are bases of services that answer the same requests as AMD's and
	// Intel's, as https://cache.example:8081. Empty is AMD's and Intel's own. A PCS of
	// one's own has the list of Intel's root at /sgx/certification/v4/rootcacrl, as
	// Intel's PCCS has.
	KDS, PCS string
	// TLSRoots are the authorities of their names; nil is the system's.
	TLSRoots *x509.CertPool
	// Roots are whom endorsements have to be signed by; the zero value is
	// attest.PublishedRoots.
	Roots attest.EndorsementRoots
	// Timeout bounds one request; zero is DefaultTimeout.
	Timeout time.Duration
}

// A Fetcher fetches endorsements. Its methods may be called concurrently.
type Fetcher struct {
	kds, pcs, rootCRL string
	roots             attest.EndorsementRoots
	client            *http.Client
	wait              func(context.Context, time.Duration) error
}

// NewFetcher makes one. The error is a *verdict.Misuse.
func NewFetcher(config Config) (*Fetcher, error) {
	f := &Fetcher{kds: KDS, pcs: PCS, rootCRL: rootCRL, roots: config.Roots, client: newClient(config), wait: pause}
	if f.roots.Intel == nil && f.roots.AMD == nil {
		f.roots = attest.PublishedRoots()
	}
	if config.KDS != "" {
		if err := CheckURL(config.KDS); err != nil {
			return nil, err
		}
		f.kds = trimBase(config.KDS)
	}
	if config.PCS != "" {
		if err := CheckURL(config.PCS); err != nil {
			return nil, err
		}
		f.pcs = trimBase(config.PCS)
		f.rootCRL = f.pcs + "/sgx/certification/v4/rootcacrl"
	}
	return f, nil
}

// Close frees connections.
func (f *Fetcher) Close() { f.client.CloseIdleConnections() }

// Verify tells whether an endorsement is by its maker, about p and good at a time.
func (f *Fetcher) Verify(p *attest.Platform, label string, e Endorsement, at time.Time) (attest.Edition, error) {
	return p.Verify(label, e.Value, e.Chain, f.roots, at)
}

// Fetch gets an endorsement of p that is good at a time and not older than have, which
// may be none, of another platform, or nothing at all. ctx bounds tries and pauses.
//
// The error is a *verdict.Failure with endorsement.missing where none is to be had now,
// whose RetryAfter is what the service asked for; with endorsement.expired or
// endorsement.not-yet-valid for one that is not in force, endorsement.rollback for one
// that is older than have; and a *verdict.Refusal for one that is no endorsement, by
// somebody else, or about another platform.
func (f *Fetcher) Fetch(ctx context.Context, p *attest.Platform, label string, have Endorsement, at time.Time) (Endorsement, attest.Edition, error) {
	got, edition, err := f.anyLine(ctx, p, label, at)
	if err != nil {
		return Endorsement{}, attest.Edition{}, err
	}
	before, err := p.EditionOf(label, have.Value, have.Chain, f.roots)
	if err == nil && edition.Older(before) {
		return Endorsement{}, attest.Edition{}, verdict.Fail(verdict.EndorsementRollback, "fetching endorsement: %q is edition %v of %s, older than the one that is there, edition %v of %s",
			label, edition.Number, edition.Issued.UTC().Format(time.RFC3339), before.Number, before.Issued.UTC().Format(time.RFC3339))
	}
	return got, edition, nil
}

// anyLine asks for a certificate of each product line in turn where the report names
// none: one service knows the chip.
func (f *Fetcher) anyLine(ctx context.Context, p *attest.Platform, label string, at time.Time) (e Endorsement, edition attest.Edition, err error) {
	if label != attest.LabelVCEK || p.SNP == nil || p.SNP.Line != "" {
		return f.fetch(ctx, p, label, at)
	}
	// Reports of version 2 came before Turin.
	for _, line := range []attest.ProductLine{attest.Milan, attest.Genoa} {
		guess := *p.SNP
		guess.Line = line
		if e, edition, err = f.fetch(ctx, &attest.Platform{SNP: &guess}, label, at); !errors.Is(err, errNotFound) {
			return e, edition, err
		}
	}
	return Endorsement{}, attest.Edition{}, err
}

func (f *Fetcher) fetch(ctx context.Context, p *attest.Platform, label string, at time.Time) (Endorsement, attest.Edition, error) {
	from, err := f.sourceOf(label, p)
	if err != nil {
		return Endorsement{}, attest.Edition{}, err
	}
	body, header, err := f.get(ctx, from.url)
	if errors.Is(err, errNotFound) {
		err = missing("%w", err)
	}
	if err != nil {
		return Endorsement{}, attest.Edition{}, err
	}
	e := Endorsement{Value: body}
	if Files[label].MediaType == attest.TypeCRL {
		e.Value = unhex(body)
	}
	if from.chain != "" {
		chain, err := url.PathUnescape(header.Get(from.chain))
		if err != nil || chain == "" {
			return Endorsement{}, attest.Edition{}, verdict.Refuse(verdict.EndorsementMalformed, "fetching endorsement: the header %s has no chain for %q", from.chain, label)
		}
		e.Chain = []byte(chain)
	}
	edition, err := p.Verify(label, e.Value, e.Chain, f.roots, at)
	if err != nil {
		return Endorsement{}, attest.Edition{}, err
	}
	return e, edition, nil
}

// unhex undoes what PCCS does to lists: it gives them in hex where it was not asked for
// anything else, and the root's always.
func unhex(body []byte) []byte {
	text := bytes.TrimSpace(body)
	out := make([]byte, hex.DecodedLen(len(text)))
	if n, err := hex.Decode(out, text); err != nil || n == 0 {
		return body
	}
	return out
}
