// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/enclave/simtdx"
	"github.com/assayd/assay/verdict"
)

// A td is what a guest asks of its TD: the kernel's, or the simulator's.
type td interface {
	// readRTMR3 and extendRTMR3 return the register's value, the latter after it was
	// extended.
	readRTMR3(ctx context.Context) ([]byte, error)
	extendRTMR3(ctx context.Context, digest [sha512.Size384]byte) ([]byte, error)
	// quote returns a quote.
	quote(ctx context.Context, reportData [64]byte) ([]byte, error)
	// endorsements returns what comes beside it; it may have no items.
	endorsements() (attest.Collection, error)
	close() error
}

// A tdAttester is the attester of a TD.
type tdAttester struct {
	kind, mediaType string
	td              td
	eventKeeper
}

// openTD brings the event list and RTMR3 together. It closes d when it fails.
func openTD(ctx context.Context, kind, mediaType string, d td, stateDir string) (_ Attester, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if stateDir == "" {
		return nil, verdict.Misused("name the folder of its event list", "opening TD: no state folder")
	}
	store, err := openEventStore(stateDir)
	if err != nil {
		return nil, err
	}
	a := &tdAttester{kind: kind, mediaType: mediaType, td: d, eventKeeper: eventKeeper{state: newLock(), store: store}}
	a.register = register{
		name: fmt.Sprintf("RTMR%d", attest.EventRTMR),
		read: d.readRTMR3,
		extend: func(ctx context.Context, digest []byte) ([]byte, error) {
			return d.extendRTMR3(ctx, [sha512.Size384]byte(digest))
		},
		digest: func(l attest.EventList, i int) []byte { d := l.DigestRTMR(i); return d[:] },
		replay: func(l attest.EventList) []byte { v := l.ReplayRTMR(); return v[:] },
	}
	if err := a.recover(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return a, nil
}

// Kind implements Attester.
func (a *tdAttester) Kind() string { return a.kind }

// Evidence implements Attester.
func (a *tdAttester) Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error) {
	if err := a.state.acquire(ctx); err != nil {
		return nil, unavailable("waiting for its turn", err)
	}
	defer a.state.release()
	if a.failed != nil {
		return nil, a.failed
	}
	quote, err := a.td.quote(ctx, verdict.ReportData(statement, nonces))
	if err != nil {
		return nil, unavailable("getting a quote", err)
	}
	endorsements, err := a.td.endorsements()
	if err != nil {
		return nil, unavailable("reading endorsements", err)
	}
	c := statementCollection(statement, nonces)
	c.Items[attest.LabelEvidence] = attest.Item{MediaType: a.mediaType, Value: quote, Indicator: attest.IndicatorEvidence}
	if len(endorsements.Items) > 0 {
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &endorsements}
	}
	c.Items[attest.LabelRegisters] = a.item()
	return marshal(c)
}

// ActivateCredential implements Attester.
func (a *tdAttester) ActivateCredential(context.Context, []byte, []byte) ([]byte, error) {
	return nil, verdict.Refuse(verdict.EvidenceKind, "activating credential: kind %s has no TPM", a.kind)
}

// Close implements Attester.
func (a *tdAttester) Close() error {
	if err := a.state.acquire(context.Background()); err != nil {
		return err
	}
	defer a.state.release()
	a.failed = verdict.Fail(verdict.EvidenceMissing, "asking TEE: it was closed")
	return errors.Join(a.td.close(), a.store.Close())
}

// simulatedTD is the TD of a simulated platform.
type simulatedTD struct{ platform *simtdx.Platform }

// openSimulatedTD starts a simulated platform that runs this program. Its RTMR3 is in
// memory and starts anew each time, as that of a machine does.
func openSimulatedTD(ctx context.Context, config Config) (Attester, error) {
	var platform *simtdx.Platform
	if err := withExecutable(config, func(executable io.Reader) (err error) {
		platform, err = simtdx.Open(config.SimulatorDir, executable)
		return err
	}); err != nil {
		return nil, err
	}
	return openTD(ctx, KindSimulatedTDX, attest.TypeSimTDXQuote, simulatedTD{platform}, config.StateDir)
}

func (s simulatedTD) readRTMR3(context.Context) ([]byte, error) {
	value := s.platform.RTMR3()
	return value[:], nil
}

func (s simulatedTD) extendRTMR3(_ context.Context, digest [sha512.Size384]byte) ([]byte, error) {
	value := s.platform.Extend(digest)
	return value[:], nil
}

func (s simulatedTD) quote(_ context.Context, reportData [64]byte) ([]byte, error) {
	return s.platform.Quote(reportData)
}

func (s simulatedTD) endorsements() (attest.Collection, error) { return s.platform.Endorsements(), nil }

func (s simulatedTD) close() error { return nil }
