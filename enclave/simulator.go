// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"io"
	"os"
	"runtime"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/enclave/simsnp"
	"github.com/assayd/assay/verdict"
)

// simulator is the attester of simulated SEV-SNP.
type simulator struct{ platform *simsnp.Platform }

// openSimulator starts a simulated platform that runs this program.
func openSimulator(config Config) (Attester, error) {
	var platform *simsnp.Platform
	if err := withExecutable(config, func(executable io.Reader) (err error) {
		platform, err = simsnp.Open(config.SimulatorDir, executable)
		return err
	}); err != nil {
		return nil, err
	}
	return &simulator{platform: platform}, nil
}

// withExecutable calls f with the program that runs, which a simulated platform
// measures. It refuses a simulator that nobody permitted.
func withExecutable(config Config, f func(executable io.Reader) error) error {
	if !config.AllowSimulator {
		return verdict.Misused("a simulator needs profile development", "opening TEE: %s proves nothing and is not permitted", config.Kind)
	}
	executable, err := openExecutable()
	if err != nil {
		return verdict.Fail(verdict.EvidenceMissing, "opening simulator: %w", err)
	}
	err = f(executable)
	if closeErr := executable.Close(); err == nil {
		err = closeErr
	}
	return err
}

// openExecutable opens the program that runs. On Linux that is the file that was
// started, even when another has taken its name since.
func openExecutable() (*os.File, error) {
	path := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	return os.Open(path)
}

// Kind implements Attester.
func (s *simulator) Kind() string { return KindSimulatedSNP }

// Extend implements Attester. SEV-SNP without SVSM has no register.
func (s *simulator) Extend(context.Context, verdict.RegisterEvent) error { return nil }

// Evidence implements Attester.
func (s *simulator) Evidence(_ context.Context, statement, nonces []byte) ([]byte, error) {
	report, err := s.platform.Report(verdict.ReportData(statement, nonces))
	if err != nil {
		return nil, verdict.Fail(verdict.EvidenceMissing, "getting evidence: %w", err)
	}
	endorsements := s.platform.Endorsements()
	c := statementCollection(statement, nonces)
	c.Items[attest.LabelEvidence] = attest.Item{MediaType: attest.TypeSimSNPReport, Value: report, Indicator: attest.IndicatorEvidence}
	c.Items[attest.LabelEndorsements] = attest.Item{Nested: &endorsements}
	return marshal(c)
}

// ActivateCredential implements Attester.
func (s *simulator) ActivateCredential(context.Context, []byte, []byte) ([]byte, error) {
	return nil, verdict.Refuse(verdict.EvidenceKind, "activating credential: kind %s has no TPM", KindSimulatedSNP)
}

// Close implements Attester.
func (s *simulator) Close() error { return nil }

// statementCollection starts the collection of any kind.
func statementCollection(statement, nonces []byte) attest.Collection {
	return attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelStatement: {MediaType: attest.TypeStatement, Value: statement},
		attest.LabelNonces:    {MediaType: attest.TypeNonces, Value: nonces},
	}}
}

// marshal encodes a collection as evidence.
func marshal(c attest.Collection) ([]byte, error) {
	data, err := c.Marshal()
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "getting evidence: %w", err)
	}
	return data, nil
}
