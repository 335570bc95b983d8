// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	pb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// failingGetter keeps the oracle off the network.
type failingGetter struct{}

func (failingGetter) Get(string) ([]byte, error) { return nil, errors.New("no network") }

// A snpOracle is a question to go-sev-guest: what we are asked, in its words.
type snpOracle struct {
	report, vcek, vlek, crl []byte
	root                    attest.SNPRoot
	expected                attest.Expected
	trust                   attest.Trust
	at                      time.Time
}

// ask verifies and validates. Each question has options of its own: the library
// writes into them.
func (o *snpOracle) ask() error {
	options, err := o.verify()
	if err != nil {
		return err
	}
	return o.askWith(options, o.validate())
}

// askWith does so with other options, and without validating where there are none.
func (o *snpOracle) askWith(options *verify.Options, more *validate.Options) error {
	report, err := abi.ReportToProto(o.report)
	if err != nil {
		return err
	}
	attestation := &pb.Attestation{Report: report, CertificateChain: &pb.CertificateChain{VcekCert: o.vcek, VlekCert: o.vlek}}
	if err := verify.SnpAttestation(attestation, options); err != nil || more == nil {
		return err
	}
	return validate.SnpAttestation(attestation, more)
}

func (o *snpOracle) verify() (*verify.Options, error) {
	root := &trust.AMDRootCerts{
		ProductLine:  string(o.root.Line),
		ProductCerts: &trust.ProductCerts{Ark: o.root.ARK, Ask: o.root.ASK, Asvk: o.root.ASVK},
	}
	if o.crl != nil {
		var err error
		if root.CRL, err = x509.ParseRevocationList(o.crl); err != nil {
			return nil, err
		}
	}
	return &verify.Options{
		CheckRevocations: o.crl != nil, DisableCertFetching: true, Getter: failingGetter{}, Now: o.at,
		TrustedRoots: map[string][]*trust.AMDRootCerts{string(o.root.Line): {root}},
	}, nil
}

func (o *snpOracle) validate() *validate.Options {
	t, s := &o.trust, &o.trust.SNP
	floor := kds.TCBParts{BlSpl: t.MinTCB.Bootloader, TeeSpl: t.MinTCB.TEE, SnpSpl: t.MinTCB.SNP, UcodeSpl: t.MinTCB.Microcode}
	if f := o.expected.Floors.SNP; f != nil {
		floor = kds.TCBParts{BlSpl: f.Bootloader, TeeSpl: f.TEE, SnpSpl: f.SNP, UcodeSpl: f.Microcode}
	}
	vmpl := 0
	if len(t.AllowVMPLs) > 0 {
		vmpl = int(t.AllowVMPLs[0])
	}
	measurement, _ := hex.DecodeString(o.expected.Entries[0].Measurement)
	options := &validate.Options{
		GuestPolicy: abi.SnpPolicy{
			ABIMinor: s.MinABI.Minor, ABIMajor: s.MinABI.Major, SMT: t.AllowSMT, MigrateMA: t.AllowMigratable, Debug: t.AllowDebug, CXLAllowed: s.AllowCXL,
			SingleSocket: s.RequirePolicy&attest.SNPPolicySingleSocket != 0, MemAES256XTS: s.RequirePolicy&attest.SNPPolicyAES256XTS != 0,
			RAPLDis: s.RequirePolicy&attest.SNPPolicyRAPLDisabled != 0, CipherTextHidingDRAM: s.RequirePolicy&attest.SNPPolicyCiphertextHiding != 0,
			PageSwapDisable: s.RequirePolicy&attest.SNPPolicyNoPageSwap != 0,
		},
		MinimumGuestSvn: s.MinGuestSVN, ReportData: o.expected.ReportData[:], HostData: make([]byte, 32), Measurement: measurement,
		MinimumBuild: s.MinFirmware.Build, MinimumVersion: uint16(s.MinFirmware.Major)<<8 | uint16(s.MinFirmware.Minor),
		MinimumTCB: floor, MinimumLaunchTCB: floor, PermitProvisionalFirmware: s.AllowProvisionalFirmware,
		PlatformInfo: &abi.SnpPlatformInfo{
			// More encryption is nothing that we refuse.
			TSMEEnabled: true, SMTEnabled: t.AllowSMT, TIOEnabled: s.AllowTIO, ECCEnabled: !s.AllowNoECC, AliasCheckComplete: !s.AllowNoAliasCheck,
			RAPLDisabled:                s.RequirePlatform&attest.SNPPlatformRAPLDisabled != 0,
			CiphertextHidingDRAMEnabled: s.RequirePlatform&attest.SNPPlatformCiphertextHiding != 0,
		},
		VMPL: &vmpl, RequireIDBlock: len(s.IDKeys) > 0, RequireAuthorKey: len(s.AuthorKeys) > 0,
		MinimumLaunchMitigationVector: s.RequireLaunchMitigations, MinimumCurrentMitigationVector: s.RequireCurrentMitigations,
	}
	if len(s.HostData) > 0 {
		options.HostData = s.HostData[0][:]
	}
	if len(s.Chips) > 0 {
		options.ChipID = s.Chips[0][:]
	}
	if !t.AllowMigratable {
		options.ReportIDMA = bytes.Repeat([]byte{0xFF}, 32)
	}
	if s.FamilyID != nil {
		options.FamilyID = s.FamilyID[:]
	}
	if s.ImageID != nil {
		options.ImageID = s.ImageID[:]
	}
	for _, key := range s.IDKeys {
		options.TrustedIDKeyHashes = append(options.TrustedIDKeyHashes, key[:])
	}
	for _, key := range s.AuthorKeys {
		options.TrustedAuthorKeyHashes = append(options.TrustedAuthorKeyHashes, key[:])
	}
	return options
}

// TestOracleOptions holds that each option of go-sev-guest is one that we set, or leave
// out for a reason.
func TestOracleOptions(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	goodIdentity(s, &in.Trust.SNP)
	in.Trust.AllowSMT, in.Trust.AllowDebug = true, true
	in.References.Floors.SNP.TEE = 1
	demands := &in.Trust.SNP
	demands.RequirePolicy = attest.SNPPolicySingleSocket | attest.SNPPolicyAES256XTS | attest.SNPPolicyRAPLDisabled | attest.SNPPolicyCiphertextHiding | attest.SNPPolicyNoPageSwap
	demands.RequirePlatform = attest.SNPPlatformRAPLDisabled | attest.SNPPlatformCiphertextHiding
	demands.MinABI, demands.MinFirmware = attest.SNPABI{Major: 1, Minor: 51}, attest.SNPFirmware{Major: 1, Minor: 55, Build: 29}
	demands.RequireLaunchMitigations, demands.RequireCurrentMitigations = 1, 2
	demands.AllowCXL, demands.AllowTIO, demands.AllowProvisionalFirmware = true, true, true
	c := s.Collection(t)
	o := snpOracle{
		crl: c.Items[attest.LabelEndorsements].Nested.Items[attest.LabelCRL].Value, root: in.Trust.SNPRoots[0], trust: in.Trust, at: attesttest.At,
		expected: attest.Expected{Entries: in.References.Entries, Floors: in.References.Floors},
	}
	verify, err := o.verify()
	if err != nil {
		t.Fatal(err)
	}
	strict := o.validate()
	o.trust.AllowMigratable = true
	relaxed := o.validate()
	checkOptions(t, map[string]string{"Product": "it would replace what the certificate of a version 2 report says"}, *verify)
	checkOptions(t, map[string]string{
		"ReportID":          "it is random for each guest",
		"TrustedAuthorKeys": "the hashes say the same", "TrustedIDKeys": "the hashes say the same",
		"CertTableOptions": "it is about what the host puts beside the certificates, which we do not look at",
	}, *strict, *relaxed)
	checkOptions(t, nil, strict.GuestPolicy, relaxed.GuestPolicy)
	checkOptions(t, nil, *strict.PlatformInfo)
	reserved := "reserved: zero on the lines that it reads"
	checkOptions(t, map[string]string{"Spl4": reserved, "Spl5": reserved, "Spl6": reserved, "Spl7": reserved}, strict.MinimumTCB)
}

// TestOracle holds that go-sev-guest accepts what is accepted here, on the lines that
// it reads and under the same policy. Exceptions: it reads no certificate of Turin; of
// a VLEK's chain it looks for the ASK on the list; it compares builds of firmware
// across versions; it cannot take one of several chips, HOST_DATA or VMPLs, nor any but
// a list.
func TestOracle(t *testing.T) {
	type change = func(*attesttest.SNP, *attest.Input)
	of := func(report func(*attest.SNPReport)) change {
		return func(s *attesttest.SNP, _ *attest.Input) { report(&s.Report) }
	}
	changes := map[string]change{
		"good":        func(*attesttest.SNP, *attest.Input) {},
		"version 2":   of(func(r *attest.SNPReport) { r.Version, r.Family, r.Model, r.Stepping = 2, 0, 0, 0 }),
		"version 4":   of(func(r *attest.SNPReport) { r.Version = 4 }),
		"version 5":   of(func(r *attest.SNPReport) { r.Version, r.CurrentMitigation = 5, 1 }),
		"version 6":   of(func(r *attest.SNPReport) { r.Version = 6 }),
		"chip":        of(func(r *attest.SNPReport) { r.ChipID[0]++ }),
		"tcb":         func(s *attesttest.SNP, _ *attest.Input) { s.VCEK.TCB.SNP++ },
		"signature":   func(s *attesttest.SNP, _ *attest.Input) { s.Signature = &[2][48]byte{{1}, {1}} },
		"issuer":      func(s *attesttest.SNP, _ *attest.Input) { s.IssuedBy = 5 },
		"expired":     func(s *attesttest.SNP, _ *attest.Input) { s.Leaf.NotAfter = attesttest.At.Add(-time.Second) },
		"other chain": func(s *attesttest.SNP, _ *attest.Input) { s.ARKKey, s.ASKKey, s.IssuedBy = 4, 5, 4 },
		"signer":      of(func(r *attest.SNPReport) { r.SignerInfo = 1 << 2 }),
		"ID block":    func(s *attesttest.SNP, in *attest.Input) { goodIdentity(s, &in.Trust.SNP) },
		"VLEK": func(s *attesttest.SNP, in *attest.Input) {
			s.UseVLEK(t, cloud)
			in.Trust = s.Input(t).Trust
		},
		"mitigations": func(s *attesttest.SNP, in *attest.Input) {
			s.Report.Version, s.Report.LaunchMitigation, s.Report.CurrentMitigation = 5, 3, 7
			in.Trust.SNP.RequireLaunchMitigations, in.Trust.SNP.RequireCurrentMitigations = 1, 4
		},
		"HOST_DATA": func(s *attesttest.SNP, in *attest.Input) {
			s.Report.HostData[0], in.Trust.SNP.HostData = 1, [][32]byte{{1}}
		},
	}
	for bit := range 10 {
		changes[fmt.Sprint("policy bit ", 16+bit)] = of(func(r *attest.SNPReport) { r.Policy ^= 1 << (16 + bit) })
		changes[fmt.Sprint("platform bit ", bit)] = of(func(r *attest.SNPReport) { r.PlatformInfo ^= 1 << bit })
	}
	for i, field := range []func(*attest.SNPReport) *uint64{
		func(r *attest.SNPReport) *uint64 { return &r.CurrentTCB }, func(r *attest.SNPReport) *uint64 { return &r.ReportedTCB },
		func(r *attest.SNPReport) *uint64 { return &r.CommittedTCB }, func(r *attest.SNPReport) *uint64 { return &r.LaunchTCB },
	} {
		changes[fmt.Sprint("TCB higher ", i)] = of(func(r *attest.SNPReport) { *field(r) += 1 << 56 })
		changes[fmt.Sprint("TCB lower ", i)] = of(func(r *attest.SNPReport) { *field(r) -= 1 << 48 })
	}
	accepted := map[bool]int{}
	for name, change := range changes {
		for _, line := range []attest.ProductLine{attest.Milan, attest.Genoa} {
			for _, relaxed := range []bool{false, true} {
				s := attesttest.NewSNPOn(t, attest.SNP, line, attesttest.Encode(t, attesttest.Statement(t)), attesttest.Nonce(1))
				in := s.Input(t)
				if line == attest.Genoa {
					s.Report.Stepping = 0
				}
				change(s, &in)
				if relaxed {
					in.Trust.AllowDebug, in.Trust.AllowSMT, in.Trust.AllowMigratable, in.References.Floors.SNP.SNP = true, true, true, 1
					in.Trust.SNP.AllowCXL, in.Trust.SNP.AllowTIO, in.Trust.SNP.AllowNoECC, in.Trust.SNP.AllowNoAliasCheck = true, true, true, true
					in.Trust.SNP.AllowProvisionalFirmware = true
				}
				c := s.Collection(t)
				_, ours := attest.Appraise(encode(t, c), in, attesttest.At)
				items := c.Items[attest.LabelEndorsements].Nested.Items
				theirs := snpOracle{
					report: c.Items[attest.LabelEvidence].Value, vcek: items[attest.LabelVCEK].Value, vlek: items[attest.LabelVLEK].Value, crl: items[attest.LabelCRL].Value,
					root: in.Trust.SNPRoots[0], trust: in.Trust, at: attesttest.At,
					expected: attest.Expected{ReportData: verdict.ReportData(s.Statement, s.Nonces), Entries: in.References.Entries, Floors: in.References.Floors},
				}
				if ours != nil {
					continue
				}
				accepted[relaxed]++
				if err := theirs.ask(); err != nil {
					t.Errorf("%s on %s, relaxed %t: accepted here, and go-sev-guest says %v", name, line, relaxed, err)
				}
			}
		}
	}
	// A forged ASK in the collection changes nothing: it is not looked at.
	t.Logf("accepted %v of %d on each line", accepted, len(changes))
	if accepted[false] < 2*16 || accepted[true] < 2*24 {
		t.Errorf("too little was accepted to compare: %v of %d on each line", accepted, len(changes))
	}
}

// TestOracleGenuineVLEK asks about the genuine report of a provider.
func TestOracleGenuineVLEK(t *testing.T) {
	_, expected, trusted, at := genuineVLEK(t)
	theirs := snpOracle{
		report: sharedFile(t, "evidence-raw", "trustee", "snp", "test-vlek-report.bin"), vlek: sharedFile(t, "evidence-raw", "trustee", "snp", "test-vlek.der"),
		root: attest.AMDRoots()[0], expected: expected, trust: trusted, at: at,
	}
	if err := theirs.ask(); err != nil {
		t.Errorf("go-sev-guest says %v", err)
	}
}
