// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// svsmTPM is the vTPM of an SVSM (AMD 58019, Secure VM Service Module, vTPM protocol).
// Version 0 of its manifest is the endorsement key as TPMT_PUBLIC.
var svsmTPM = tsmService{provider: "svsm", guid: "c476f1eb-0123-45a5-9641-b4e7dde5bfe3", version: "0"}

// An svsmAttester is the attester of an SEV-SNP guest with an SVSM, whose TPM it uses.
type svsmAttester struct {
	*tpmAttester
	turn   kernelTurn
	folder *endorsementFolder
	// manifest is what the SVSM says of its TPM. It is made when the machine starts.
	manifest []byte
}

// openSVSM opens the TPM of the guest's SVSM, and no other: its endorsement key has to be
// the one that the SVSM names.
func openSVSM(ctx context.Context, config Config) (_ Attester, err error) {
	turn := newKernelTurn(config.Timeout)
	r, err := requestService(ctx, turn, providerSNP, svsmTPM, [64]byte{})
	if err != nil {
		return nil, unavailable("asking the SVSM about its TPM", err)
	}
	folder, err := openEndorsements(config.Endorsements)
	if err != nil {
		return nil, err
	}
	a := &svsmAttester{turn: turn, folder: folder, manifest: r.manifest}
	a.tpmAttester, err = connectTPM(ctx, config, func(t *tpmAttester, _ Config) error { return t.prepareSVSM(r.manifest) })
	if _, misuse := errors.AsType[*verdict.Misuse](err); errors.Is(err, fs.ErrNotExist) && !misuse {
		err = verdict.Fail(verdict.EvidenceMissing, "opening TEE: this guest has an SVSM, and the kernel has not its TPM, which takes Linux 6.16 with CONFIG_TCG_SVSM: %w", err)
	}
	if err != nil {
		return nil, errors.Join(err, folder.close())
	}
	return a, nil
}

// prepareSVSM loads the keys of the TPM whose endorsement key is that of the manifest.
func (a *tpmAttester) prepareSVSM(manifest []byte) error {
	if err := a.flushSocket(); err != nil {
		return err
	}
	for _, template := range []tpm2.TPMTPublic{tpm2.RSAEKTemplate, tpm2.ECCEKTemplate} {
		ek, public, err := createPrimary(a.conn, template)
		if err != nil {
			return fmt.Errorf("creating endorsement key: %w", err)
		}
		if bytes.Equal(tpm2.Marshal(public), manifest) {
			a.ek = &ek
			return a.createAK()
		}
		if _, err := (tpm2.FlushContext{FlushHandle: ek.Handle}).Execute(a.conn); err != nil {
			return fmt.Errorf("flushing another endorsement key: %w", err)
		}
	}
	return errors.New("this is not the TPM of the SVSM: no endorsement key of a standard template is the one that the SVSM names")
}

// Kind implements Attester.
func (a *svsmAttester) Kind() string { return verdict.KindSVSM }

// Evidence implements Attester. The SVSM's report is made anew each time: it is about
// statement and nonces by itself, and shows the platform as it is now.
func (a *svsmAttester) Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error) {
	if err := a.state.acquire(ctx); err != nil {
		return nil, unavailable("waiting for its turn", err)
	}
	defer a.state.release()
	if a.failed != nil {
		return nil, a.failed
	}
	report, endorsements, err := a.report(ctx, verdict.ReportData(statement, nonces))
	if err != nil {
		return nil, err
	}
	bound := verdict.QuoteData(statement, nonces)
	var quote attest.Collection
	if err := a.conn.with(ctx, func() (err error) {
		quote, err = a.quote(bound[:])
		return err
	}); err != nil {
		return nil, unavailable("quoting", err)
	}
	evidence := attest.Collection{Type: attest.TypeSVSM, Items: maps.Clone(quote.Items)}
	evidence.Items[attest.LabelSVSMReport] = attest.Item{MediaType: attest.TypeSNPReport, Value: report, Indicator: attest.IndicatorEvidence}
	evidence.Items[attest.LabelSVSMManifest] = attest.Item{MediaType: attest.TypeTPMPublic, Value: a.manifest, Indicator: attest.IndicatorEvidence}
	c := statementCollection(statement, nonces)
	c.Items[attest.LabelEvidence] = attest.Item{Nested: &evidence}
	if len(endorsements.Items) > 0 {
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &endorsements}
	}
	c.Items[attest.LabelRegisters] = a.item()
	return marshal(c)
}

// report has the SVSM ask for a report about its TPM and the nonce, and takes what there
// is of endorsements.
func (a *svsmAttester) report(ctx context.Context, nonce [64]byte) ([]byte, attest.Collection, error) {
	fail := func(doing string, err error) ([]byte, attest.Collection, error) {
		return nil, attest.Collection{}, unavailable(doing, err)
	}
	r, err := requestService(ctx, a.turn, providerSNP, svsmTPM, nonce)
	if err != nil {
		return fail("asking the SVSM for a report", err)
	}
	report, err := attest.ParseSNPReport(r.out)
	if err != nil {
		return fail("asking the SVSM for a report", notOurs(err))
	}
	if !bytes.Equal(r.manifest, a.manifest) || report.ReportData != attest.SVSMReportData(nonce, a.manifest) {
		return fail("asking the SVSM for a report", errors.New("the kernel gave the report of another request, or about another TPM"))
	}
	table := r.aux
	if len(table) == 0 {
		// An SVSM need not pass on the host's certificates, which come with any report.
		own, err := requestTSM(ctx, a.turn, providerSNP, nonce)
		if err != nil {
			return fail("asking for the host's certificates", err)
		}
		table = own.aux
	}
	endorsements, err := a.folder.read()
	if err != nil {
		return fail("reading endorsements", err)
	}
	if err := fromTable(&endorsements, &report, table); err != nil {
		return fail("reading the host's certificates", notOurs(err))
	}
	return r.out, endorsements, nil
}

// Close implements Attester.
func (a *svsmAttester) Close() error {
	return errors.Join(a.tpmAttester.Close(), a.turn.close(), a.folder.close())
}
