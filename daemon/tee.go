// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"path/filepath"

	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
)

// defaultTPM is the TPM of an SVSM, through the kernel's resource manager.
const defaultTPM = "/dev/tpmrm0"

// TEE says which trusted execution environment gives evidence.
type TEE struct {
	// Kind is snp, snp-svsm (with the TPM of an SVSM), tdx, azure-snp, azure-tdx, auto
	// (that of these which the machine is), tpm, or in profile development a simulator:
	// sim-snp or sim-tdx. Required.
	Kind string `yaml:"kind"`
	// Dir is the folder of the simulator's authority, from assay dev init.
	// Required for sim-snp and sim-tdx, misuse otherwise.
	Dir string `yaml:"dir"`
	// Device is the TPM's device, as /dev/tpmrm0, which is the default for snp-svsm. One
	// of Device and Socket is required for tpm, azure-snp and azure-tdx.
	Device string `yaml:"device"`
	// Socket is the unix socket of swtpm.
	Socket string `yaml:"socket"`
	// EKCertificate is a file with the endorsement key's certificate in DER.
	// Absent: it is read from the TPM.
	EKCertificate string `yaml:"ek-certificate"`
	// Intermediates is a PEM file with the certificates between that one and
	// the authorities that nodes know. Absent: none.
	Intermediates string `yaml:"intermediates"`
	// Endorsements is a folder with what AMD or Intel publishes about the processor,
	// for all but tpm and the simulators. It is read for each piece of evidence. Absent:
	// none but what the host gives, which nodes do not accept of tdx and azure-tdx.
	Endorsements string `yaml:"endorsements"`
	// Fetch has the daemon fetch what is missing in that folder, and renew it before it
	// ends, from AMD and Intel. Endorsements may then be absent: it is a folder in the
	// state folder. Evidence never waits for it. Default false: no network is asked.
	Fetch bool `yaml:"fetch"`
	// KDSURL and PCSURL are caches that are asked in place of AMD's KDS and Intel's PCS,
	// as https://cache.example:8081, by the same paths. They can withhold and nothing
	// else. Absent: AMD and Intel.
	KDSURL string `yaml:"kds-url"`
	PCSURL string `yaml:"pcs-url"`
	// FetchCA is a PEM file with the authorities of the servers that are asked. Absent:
	// those of the system.
	FetchCA string `yaml:"fetch-ca"`
}

func (c *Config) checkTEE(f *strictyaml.File) error {
	t := c.TEE
	tpm := t.Device + t.Socket + t.EKCertificate + t.Intermediates
	switch t.Kind {
	case enclave.KindSNP, enclave.KindTDX, enclave.KindAuto:
		if tpm+t.Dir != "" {
			return f.Misuse("tee", "", "tee.kind %s takes endorsements, fetch and nothing else", t.Kind)
		}
	case enclave.KindSVSM:
		if t.Socket+t.EKCertificate+t.Intermediates+t.Dir != "" {
			return f.Misuse("tee", "the SVSM vouches for its TPM", "tee.kind %s takes device, endorsements, fetch and nothing else", t.Kind)
		}
	case verdict.KindSimulatedSNP, verdict.KindSimulatedTDX:
		if c.Profile != verdict.Development {
			return f.Misuse("tee.kind", "use a TEE, or profile: development", "tee.kind %s proves nothing and needs profile development", t.Kind)
		}
		if t.Dir == "" {
			return f.Misuse("tee", "assay dev init makes one", "tee.dir, the simulator's folder, is missing")
		}
		if tpm+t.Endorsements != "" {
			return f.Misuse("tee", "", "tee.kind %s takes dir and nothing else", t.Kind)
		}
	case verdict.KindAzureSNP, verdict.KindAzureTDX:
		if (t.Device == "") == (t.Socket == "") {
			return f.Misuse("tee", "name the TPM's device, as /dev/tpmrm0", "tee.kind %s wants exactly one of device and socket", t.Kind)
		}
		if t.Dir+t.EKCertificate+t.Intermediates != "" {
			return f.Misuse("tee", "", "tee.kind %s takes device or socket, endorsements, fetch, and nothing else", t.Kind)
		}
	case verdict.KindTPM:
		if (t.Device == "") == (t.Socket == "") {
			return f.Misuse("tee", "name the TPM's device, as /dev/tpmrm0, or the socket of swtpm", "tee.kind tpm wants exactly one of device and socket")
		}
		if t.Dir != "" {
			return f.Misuse("tee.dir", "leave it out", "tee.dir is the simulator's")
		}
		if t.Endorsements != "" {
			return f.Misuse("tee.endorsements", "leave it out", "tee.endorsements is about processors, of which a TPM says nothing")
		}
	case "":
		return f.Misuse("tee", "say kind: snp, snp-svsm, tdx, azure-snp, azure-tdx, auto or tpm, or sim-snp or sim-tdx in development", "tee.kind is missing")
	default:
		return f.Misuse("tee.kind", "", "tee.kind is %.64q, want snp, snp-svsm, tdx, azure-snp, azure-tdx, auto, tpm, sim-snp or sim-tdx", t.Kind)
	}
	return c.checkFetch(f)
}

func (c *Config) enclave() enclave.Config {
	e := enclave.Config{
		Kind: c.TEE.Kind, EKCertificate: c.TEE.EKCertificate, Intermediates: c.TEE.Intermediates, Endorsements: c.endorsements(),
		StateDir: filepath.Join(c.StateDir, registersName),
	}
	switch {
	case verdict.Simulated(c.TEE.Kind):
		e.AllowSimulator, e.SimulatorDir = c.Profile == verdict.Development, c.TEE.Dir
	case c.TEE.Socket != "":
		e.TPM = c.TEE.Socket
		if e.Kind == enclave.KindTPM {
			e.Kind = enclave.KindSWTPM
		}
	default:
		e.TPM = c.TEE.Device
		if c.TEE.Kind == enclave.KindSVSM {
			e.TPM = cmp.Or(e.TPM, defaultTPM)
		}
	}
	return e
}
