// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// rtmrFile is RTMR3 of this TD: reading gives its value, and writing 48 bytes extends
// it (Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest, since 6.16).
const rtmrFile = "/sys/devices/virtual/misc/tdx_guest/measurements/rtmr3:sha384"

// A kernelTD is the TD that this program runs in.
type kernelTD struct {
	turn   kernelTurn
	folder *endorsementFolder
}

func (t *kernelTD) readRTMR3(ctx context.Context) ([]byte, error) {
	return do(ctx, t.turn, func(context.Context) ([]byte, error) { return readRTMR() })
}

// readRTMR reads the register. Without the kernel's interface to it nothing would say
// what the daemon decides by, and there is no other way to extend it.
func readRTMR() ([]byte, error) {
	value, err := kernel().read(rtmrFile, sha512.Size384)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the kernel has no %s to record events in: it takes Linux 6.16 with CONFIG_TSM_MEASUREMENTS: %w", rtmrFile, err)
	}
	if err == nil && len(value) != sha512.Size384 {
		err = fmt.Errorf("%s has %d bytes, want %d", rtmrFile, len(value), sha512.Size384)
	}
	return value, err
}

func (t *kernelTD) extendRTMR3(ctx context.Context, digest [sha512.Size384]byte) ([]byte, error) {
	return do(ctx, t.turn, func(context.Context) ([]byte, error) {
		if err := kernel().write(rtmrFile, digest[:]); err != nil {
			return nil, err
		}
		return readRTMR()
	})
}

func (t *kernelTD) quote(ctx context.Context, reportData [64]byte) ([]byte, error) {
	r, err := requestTSM(ctx, t.turn, providerTDX, reportData)
	if err != nil {
		return nil, err
	}
	quote, err := attest.ParseTDXQuote(r.out)
	if err != nil {
		return nil, notOurs(err)
	}
	if quote.ReportData != reportData {
		return nil, errors.New("the kernel gave the quote of another request")
	}
	return r.out, nil
}

func (t *kernelTD) endorsements() (attest.Collection, error) { return t.folder.read() }

func (t *kernelTD) close() error { return errors.Join(t.turn.close(), t.folder.close()) }

// notOurs turns what package attest refuses about a caller's evidence into what it is
// here: a host or kernel that does not answer as it should.
func notOurs(err error) error { return fmt.Errorf("what the kernel gave: %s", err.Error()) }

// An snpAttester is the attester of an SEV-SNP guest. Without an SVSM it has no
// register to extend.
type snpAttester struct {
	turn   kernelTurn
	source snpSource
	folder *endorsementFolder
}

// An snpSource is a way to the firmware's reports.
type snpSource struct {
	// name is what people call it.
	name   string
	report func(ctx context.Context, reportData [64]byte) (tsmReport, error)
}

// Source implements Sourced.
func (a *snpAttester) Source() string { return a.source.name }

// Kind implements Attester.
func (a *snpAttester) Kind() string { return KindSNP }

// Extend implements Attester. SEV-SNP without SVSM has no register.
func (a *snpAttester) Extend(context.Context, verdict.RegisterEvent) error { return nil }

// Evidence implements Attester.
func (a *snpAttester) Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error) {
	bound := verdict.ReportData(statement, nonces)
	r, err := a.source.report(ctx, bound)
	if err != nil {
		return nil, unavailable("getting a report", err)
	}
	report, err := attest.ParseSNPReport(r.out)
	if err != nil {
		return nil, unavailable("getting a report", notOurs(err))
	}
	if report.ReportData != bound {
		return nil, unavailable("getting a report", errors.New("the kernel gave the report of another request"))
	}
	endorsements, err := a.folder.read()
	if err != nil {
		return nil, unavailable("reading endorsements", err)
	}
	if err := fromTable(&endorsements, &report, r.aux); err != nil {
		return nil, unavailable("reading the host's certificates", notOurs(err))
	}
	c := statementCollection(statement, nonces)
	c.Items[attest.LabelEvidence] = attest.Item{MediaType: attest.TypeSNPReport, Value: r.out, Indicator: attest.IndicatorEvidence}
	if len(endorsements.Items) > 0 {
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &endorsements}
	}
	return marshal(c)
}

// fromTable adds the certificate of the key that signed, where the host's table has
// one. It goes before that of a folder, unless its key did not sign: the host may have
// that of a TCB from before. The authorities over it are for the relying party to know.
func fromTable(endorsements *attest.Collection, report *attest.SNPReport, aux []byte) error {
	table, err := attest.ParseSNPCertTable(aux)
	if err != nil {
		return err
	}
	label, der := attest.LabelVCEK, table.VCEK
	if report.SigningKey() == attest.SNPSignerVLEK {
		label, der = attest.LabelVLEK, table.VLEK
	}
	if _, have := endorsements.Items[label]; have && der != nil {
		if c, err := x509.ParseCertificate(der); err != nil || !report.SignedBy(c) {
			der = nil
		}
	}
	if der != nil {
		endorsements.Items[label] = attest.Item{MediaType: attest.TypeCertificate, Value: der, Indicator: attest.IndicatorEndorsements}
	}
	return nil
}

// ActivateCredential implements Attester.
func (a *snpAttester) ActivateCredential(context.Context, []byte, []byte) ([]byte, error) {
	return nil, verdict.Refuse(verdict.EvidenceKind, "activating credential: kind %s has no TPM", KindSNP)
}

// Close implements Attester.
func (a *snpAttester) Close() error { return errors.Join(a.turn.close(), a.folder.close()) }
