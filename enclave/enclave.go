// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/assayd/assay/verdict"
)

// Kinds of attester.
const (
	// KindSNP is SEV-SNP, by the kernel's configfs-tsm, or where the kernel has none by
	// /dev/sev-guest.
	KindSNP = verdict.KindSNP
	// KindTDX is TDX, by the kernel's configfs-tsm and its measurement registers.
	KindTDX = verdict.KindTDX
	// KindAzureSNP is a confidential VM of Azure on SEV-SNP, by the TPM of its paravisor.
	KindAzureSNP = verdict.KindAzureSNP
	// KindAzureTDX is the same on TDX.
	KindAzureTDX = verdict.KindAzureTDX
	// KindAuto is what the machine is: on Azure that of KindAzureSNP and KindAzureTDX
	// whose report its TPM has, else that of KindSNP and KindTDX which the kernel has a
	// provider for, and KindSVSM in place of KindSNP where the guest has an SVSM.
	KindAuto = "auto"
	// KindSVSM is SEV-SNP with an SVSM, whose TPM is a device of the kernel's.
	KindSVSM = verdict.KindSVSM
	// KindSimulatedSNP is the simulator of SEV-SNP.
	KindSimulatedSNP = verdict.KindSimulatedSNP
	// KindSimulatedTDX is the simulator of TDX.
	KindSimulatedTDX = verdict.KindSimulatedTDX
	// KindTPM is a TPM 2.0 behind a device of the kernel.
	KindTPM = verdict.KindTPM
	// KindSWTPM is a TPM 2.0 behind the socket of swtpm. Its evidence is of kind
	// tpm.
	KindSWTPM = "swtpm"
)

// An Attester gets evidence for a daemon. Its methods may be called concurrently;
// it has one piece of evidence in flight.
type Attester interface {
	// Kind is the kind of the evidence: one of verdict's Kind… constants.
	Kind() string
	// Extend records what the daemon is about to decide by. The event is in the
	// list on disk before the register is extended, so that a crash between the
	// two can be mended. Where the TEE has no register a guest can extend, it does
	// nothing: the issuer statement in REPORT_DATA says what an event would.
	//
	// The error is a *verdict.Refusal with issuer.rollback for an event whose head
	// is older than one before, and else a *verdict.Failure.
	Extend(ctx context.Context, event verdict.RegisterEvent) error
	// Evidence returns the collection that package attest appraises: evidence
	// bound to statement and nonces, endorsements, and the register events. nonces
	// is a concatenation of 32-byte nonces, or empty. The error is a
	// *verdict.Failure.
	Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error)
	// ActivateCredential answers a relying party's challenge: it returns the
	// secret, which only the TPM of both keys can. It is a *verdict.Refusal with
	// evidence.kind where there is no TPM, or tpm.ak where the challenge is for
	// other keys.
	ActivateCredential(ctx context.Context, credential, encryptedSecret []byte) ([]byte, error)
	// Close frees the device. It is called once.
	Close() error
}

// A Sourced attester has several ways to its evidence, and says which one it has
// taken.
type Sourced interface {
	// Source is configfs-tsm, or the device in its place: /dev/sev-guest.
	Source() string
}

// DefaultTimeout bounds one TPM command. swtpm needs a second for an RSA key;
// hardware has been seen to need twenty.
const DefaultTimeout = 30 * time.Second

// Config says which TEE to open. The zero value opens none.
type Config struct {
	// Kind is one of the Kind… constants.
	Kind string
	// AllowSimulator permits the simulators, which prove nothing. Only profile
	// development sets it.
	AllowSimulator bool
	// SimulatorDir is the folder that InitCA of simsnp or simtdx made. Simulators only.
	SimulatorDir string
	// TPM is the path of the device (KindTPM and KindSVSM, /dev/tpmrm0) or of the socket
	// (KindSWTPM). On Azure it is either; with KindAuto empty is /dev/tpmrm0.
	TPM string
	// EKCertificate is a file with the endorsement key's certificate in DER, or
	// empty: it is then read from the TPM's NV memory.
	EKCertificate string
	// Intermediates is a PEM file with the certificates between that and the
	// authorities that relying parties know, or empty.
	Intermediates string
	// StateDir is the folder of the event list, which must exist. It must not be
	// shared by two daemons. Kinds with a register only: all but SEV-SNP.
	StateDir string
	// Endorsements is a folder with what the processor's maker publishes about it, or
	// empty. Not for KindTPM, KindSWTPM and the simulators.
	Endorsements string
	// Log gets what is worth a look and stops nothing; nil is nowhere.
	Log *slog.Logger
	// Timeout bounds each TPM command and each request to the kernel, and on Azure with
	// TDX the wait for a quote; zero is DefaultTimeout.
	Timeout time.Duration
}

// Open opens the TEE that config names. The error is a *verdict.Misuse for a config
// that names none, and else a *verdict.Failure or, where the register and the event
// list do not belong together, a *verdict.Refusal with guest.register.
func Open(ctx context.Context, config Config) (Attester, error) {
	switch config.Kind {
	case KindSNP, KindTDX:
		return openCVM(ctx, config)
	case KindSVSM:
		return openSVSM(ctx, config)
	case KindAuto:
		return openAuto(ctx, config)
	case KindAzureSNP, KindAzureTDX:
		return openAzure(ctx, config)
	case KindSimulatedSNP:
		return openSimulator(config)
	case KindSimulatedTDX:
		return openSimulatedTD(ctx, config)
	case KindTPM, KindSWTPM:
		return openTPM(ctx, config)
	}
	return nil, verdict.Misused("want snp, snp-svsm, tdx, azure-snp, azure-tdx, auto, tpm, swtpm, sim-snp or sim-tdx", "opening TEE: kind is %q", config.Kind)
}

// openAuto opens what the machine is. On Azure the paravisor comes first: kernels find
// TDX there, whose reports only the paravisor can have. A machine of Azure without a
// paravisor is like another.
func openAuto(ctx context.Context, config Config) (Attester, error) {
	azure, err := onAzure(ctx, newKernelTurn(config.Timeout))
	if err != nil {
		return nil, unavailable("looking at the machine's chassis", err)
	}
	if !azure {
		return openCVM(ctx, config)
	}
	if config.TPM == "" {
		config.TPM = autoTPM
	}
	a, azureErr := openAzure(ctx, config)
	_, misuse := errors.AsType[*verdict.Misuse](azureErr)
	if noTPM := errors.Is(azureErr, fs.ErrNotExist) && !misuse; !noTPM && !errors.Is(azureErr, errNoHCLReport) {
		return a, azureErr
	}
	if a, err = openCVM(ctx, config); err != nil {
		return nil, errors.Join(azureErr, err)
	}
	return a, nil
}
