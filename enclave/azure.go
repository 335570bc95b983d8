// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// Where the paravisor of a confidential VM of Azure keeps its report and its TPM's
// attestation key.
const (
	nvHCLReport tpm2.TPMHandle = 0x01400001
	azureAK     tpm2.TPMHandle = 0x81000003
)

// A machine of Azure is told by its chassis (SMBIOS type 3).
const (
	assetTagFile  = "/sys/class/dmi/id/chassis_asset_tag"
	azureAssetTag = "7783-7084-3265-9085-8269-3286-77"
	maxAssetTag   = 256
	// autoTPM is the TPM of a machine whose kind is found out.
	autoTPM = "/dev/tpmrm0"
)

// vcekTimeout bounds the question for the certificate of the chip's key. Evidence goes
// without it, and is asked for again.
const vcekTimeout = 5 * time.Second

// vcekPause is how long the metadata service is not asked for it after it gave none:
// evidence that nodes wait for would take vcekTimeout longer each time.
const vcekPause = time.Minute

// errNoHCLReport says that a TPM is not that of Azure's paravisor.
var errNoHCLReport = fmt.Errorf("the TPM has no NV index 0x%08x, in which Azure's paravisor keeps its report", uint32(nvHCLReport))

// An azureAttester is the attester of a confidential VM of Azure. The hardware's report
// was made when the machine started, and is about the TPM's attestation key; the quote
// of that key is what is about a statement.
type azureAttester struct {
	*tpmAttester
	kind, collectionType string
	hcl                  attest.HCLReport
	// report is the paravisor's as it lies in NV memory, quote of TDX that of its
	// TDREPORT. They are of the machine's start, and read once: an attestation key that
	// is made anew would be another machine's.
	report, quote []byte
	folder        *endorsementFolder
	metadata      *metadata
	log           *slog.Logger

	// turn guards vcek, which is nil until the metadata service has given one, and
	// vcekAfter, before which it is not asked.
	turn      lock
	vcek      *x509.Certificate
	vcekAfter time.Time
}

// azureKinds are the kinds by what made the paravisor's report.
var azureKinds = map[attest.HCLType]struct{ kind, collectionType string }{
	attest.HCLSNP: {KindAzureSNP, attest.TypeAzureSNP},
	attest.HCLTDX: {KindAzureTDX, attest.TypeAzureTDX},
}

// openAzure opens the TPM of Azure's paravisor. With KindAuto the kind is that of its
// report.
func openAzure(ctx context.Context, config Config) (_ Attester, err error) {
	a := &azureAttester{metadata: newMetadata(), turn: newLock(), log: config.Log}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.folder, err = openEndorsements(config.Endorsements); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.folder.close())
		}
	}()
	if a.tpmAttester, err = connectTPM(ctx, config, a.prepare); err != nil {
		return nil, err
	}
	if a.hcl.Type != attest.HCLTDX {
		return a, nil
	}
	if err := a.takeQuote(ctx, config.Timeout); err != nil {
		return nil, errors.Join(unavailable("getting a quote of the paravisor's TDREPORT", err), a.tpmAttester.Close())
	}
	return a, nil
}

// prepare reads the paravisor's report and loads the attestation key that it names.
func (a *azureAttester) prepare(t *tpmAttester, config Config) (err error) {
	if err := t.flushSocket(); err != nil {
		return err
	}
	if a.report, err = readNV(t.conn, nvHCLReport); err != nil {
		return err
	}
	if a.report == nil {
		return errNoHCLReport
	}
	if a.hcl, err = attest.ParseHCLReport(a.report); err != nil {
		return notTheParavisors(err)
	}
	of := azureKinds[a.hcl.Type]
	if config.Kind != KindAuto && config.Kind != of.kind {
		return fmt.Errorf("this is a machine of kind %s, and %s is configured", of.kind, config.Kind)
	}
	a.kind, a.collectionType = of.kind, of.collectionType
	data, err := attest.ParseHCLData(a.hcl.Data)
	if err != nil {
		return notTheParavisors(err)
	}
	response, err := tpm2.ReadPublic{ObjectHandle: azureAK}.Execute(t.conn)
	if err != nil {
		return fmt.Errorf("reading the attestation key 0x%08x: %w", uint32(azureAK), err)
	}
	public, err := response.OutPublic.Contents()
	if err != nil {
		return fmt.Errorf("reading the attestation key 0x%08x: %w", uint32(azureAK), err)
	}
	key, err := tpm2.Pub(*public)
	if err != nil {
		return fmt.Errorf("reading the attestation key 0x%08x: %w", uint32(azureAK), err)
	}
	// Relying parties would refuse it, and here the operator can be told why.
	if held, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !held.Equal(data.AK) {
		return fmt.Errorf("the TPM's key 0x%08x is not the one that the paravisor's report names", uint32(azureAK))
	}
	t.ak, t.akPublic = tpm2.NamedHandle{Handle: azureAK, Name: response.Name}, tpm2.Marshal(public)
	return nil
}

// notTheParavisors turns what package attest refuses about a caller's evidence into
// what it is here.
func notTheParavisors(err error) error {
	return fmt.Errorf("what is in NV index 0x%08x: %s", uint32(nvHCLReport), err.Error())
}

// takeQuote has the quote made of the paravisor's TDREPORT.
func (a *azureAttester) takeQuote(ctx context.Context, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	data, err := a.metadata.quote(ctx, a.hcl.Hardware)
	if err != nil {
		return err
	}
	quote, err := attest.ParseTDXQuote(data)
	if err != nil {
		return fmt.Errorf("what the metadata service gave: %s", err.Error())
	}
	if quote.ReportData != a.hcl.ReportData() {
		return errors.New("the metadata service gave the quote of another TDREPORT")
	}
	a.quote = data
	return nil
}

// Kind implements Attester.
func (a *azureAttester) Kind() string { return a.kind }

// Evidence implements Attester.
func (a *azureAttester) Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error) {
	endorsements, err := a.folder.read()
	if err != nil {
		return nil, unavailable("reading endorsements", err)
	}
	if a.hcl.Type == attest.HCLSNP {
		if err := a.addVCEK(ctx, &endorsements, time.Now()); err != nil {
			return nil, unavailable("waiting for the metadata service", err)
		}
	}
	return a.evidence(ctx, statement, nonces, func(c, quote *attest.Collection) {
		quote.Type = a.collectionType
		quote.Items[attest.LabelHCLReport] = attest.Item{MediaType: attest.TypeHCLReport, Value: a.report, Indicator: attest.IndicatorEvidence}
		if a.quote != nil {
			quote.Items[attest.LabelTDQuote] = attest.Item{MediaType: attest.TypeTDXQuote, Value: a.quote, Indicator: attest.IndicatorEvidence}
		}
		if len(endorsements.Items) > 0 {
			c.Items[attest.LabelEndorsements] = attest.Item{Nested: &endorsements}
		}
	})
}

// addVCEK adds the certificate of the chip's key, unless the folder has it. The service
// may have that of a TCB to which the host has moved on since the report was made; it
// is no use then, and leaving it out is what tells relying parties that one is missing.
// After an answer without one the service is left alone for a minute from at.
func (a *azureAttester) addVCEK(ctx context.Context, endorsements *attest.Collection, at time.Time) error {
	if _, ok := endorsements.Items[attest.LabelVCEK]; ok {
		return nil
	}
	if err := a.turn.acquire(ctx); err != nil {
		return err
	}
	defer a.turn.release()
	if a.vcek == nil {
		if at.Before(a.vcekAfter) {
			return nil
		}
		vcek, err := a.askVCEK(ctx)
		if err != nil {
			if ctx.Err() == nil { // else it is the caller who did not wait
				a.vcekAfter = at.Add(vcekPause)
			}
			a.log.WarnContext(ctx, "evidence goes without the certificate of the chip's key: put it into tee.endorsements", "err", err)
			return nil
		}
		a.vcek = vcek
	}
	endorsements.Items[attest.LabelVCEK] = attest.Item{MediaType: attest.TypeCertificate, Value: a.vcek.Raw, Indicator: attest.IndicatorEndorsements}
	return nil
}

func (a *azureAttester) askVCEK(ctx context.Context) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, vcekTimeout)
	defer cancel()
	vcek, err := a.metadata.vcek(ctx)
	if err != nil {
		return nil, err
	}
	report, err := attest.ParseSNPReport(a.hcl.Hardware)
	if err != nil {
		return nil, notTheParavisors(err)
	}
	if !report.SignedBy(vcek) {
		return nil, errors.New("the metadata service gave the certificate of another key, as for another TCB of the chip")
	}
	return vcek, nil
}

// ActivateCredential implements Attester.
func (a *azureAttester) ActivateCredential(context.Context, []byte, []byte) ([]byte, error) {
	return nil, verdict.Refuse(verdict.EvidenceKind, "activating credential: the paravisor names the attestation key of kind %s", a.kind)
}

// Close implements Attester.
func (a *azureAttester) Close() error { return errors.Join(a.tpmAttester.Close(), a.folder.close()) }

// onAzure tells whether the host says that this is a machine of Azure. It may say what
// it likes: of what is chosen by it relying parties believe nothing.
func onAzure(ctx context.Context, k kernelTurn) (bool, error) {
	return do(ctx, k, func(context.Context) (bool, error) {
		tag, err := kernel().read(assetTagFile, maxAssetTag)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return string(bytes.TrimSpace(tag)) == azureAssetTag, err
	})
}
