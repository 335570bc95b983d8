// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"crypto/x509"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// goodSNP returns evidence of kind and what accepts it.
func goodSNP(t testing.TB, kind attest.Kind) (*attesttest.SNP, attest.Input) {
	t.Helper()
	s := attesttest.NewSNP(t, kind, attesttest.Encode(t, attesttest.Statement(t)), attesttest.Nonce(1))
	return s, s.Input(t)
}

func TestAppraiseSNP(t *testing.T) {
	for _, kind := range []attest.Kind{attest.SNP, attest.SimulatedSNP} {
		for version := uint32(2); version <= 5; version++ {
			s, in := goodSNP(t, kind)
			s.Report.Version = version
			if version == 2 {
				s.Report.Family, s.Report.Model, s.Report.Stepping = 0, 0, 0
			}
			got, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
			if err != nil {
				t.Fatalf("%s version %d: %v", kind, version, err)
			}
			simulated := kind == attest.SimulatedSNP
			if got.Kind != kind || got.Simulated != simulated || (got.Binding == attest.BindingSimulated) != simulated {
				t.Errorf("%s: got kind %s, binding %s, simulated %t", kind, got.Kind, got.Binding, got.Simulated)
			}
			if hardware := got.Claims.Hardware == attest.Affirming; hardware == simulated {
				t.Errorf("%s: claims hardware: %t", kind, hardware)
			}
			if got.Measurement != in.References.Entries[0].Measurement || got.StatementDigest != verdict.SHA256(s.Statement) {
				t.Errorf("%s: got measurement %s and statement %s", kind, got.Measurement, got.StatementDigest)
			}
		}
	}
}

func TestAppraiseSNPLines(t *testing.T) {
	for _, line := range []attest.ProductLine{attest.Milan, attest.Genoa, attest.Turin} {
		s := attesttest.NewSNPOn(t, attest.SNP, line, attesttest.Encode(t, attesttest.Statement(t)), attesttest.Nonce(1))
		got, err := attest.Appraise(s.Bytes(t), s.Input(t), attesttest.At)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got.ProductLine != line || got.TCB != s.VCEK.TCB {
			t.Errorf("%s: got %s with %+v", line, got.ProductLine, got.TCB)
		}
	}
}

// TestRefuseSNP changes one thing in good evidence, or in what the caller accepts.
func TestRefuseSNP(t *testing.T) {
	later := func(d time.Duration) time.Time { return attesttest.At.Add(d) }
	for _, test := range []struct {
		name   string
		change func(*attesttest.SNP, *attest.Input)
		code   verdict.Code
	}{
		{"another nonce", func(_ *attesttest.SNP, in *attest.Input) { in.MyNonce = attesttest.Nonce(2) }, verdict.EvidenceNonce},
		{"report for another statement", func(s *attesttest.SNP, _ *attest.Input) {
			s.Report.ReportData = verdict.ReportData([]byte("{}"), s.Nonces)
		}, verdict.EvidenceBinding},
		{"bytes moved from nonces to statement", func(s *attesttest.SNP, _ *attest.Input) {
			s.Report.ReportData = verdict.ReportData(append(append([]byte{}, s.Statement...), s.Nonces[:16]...), s.Nonces[16:])
		}, verdict.EvidenceBinding},
		{"debug", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Policy |= attest.SNPPolicyDebug }, verdict.GuestDebug},
		{"migratable", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Policy |= attest.SNPPolicyMigratable }, verdict.GuestMigratable},
		{"migration agent", func(s *attesttest.SNP, _ *attest.Input) { s.Report.ReportIDMA[0] = 1 }, verdict.GuestMigratable},
		{"SMT", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Policy |= attest.SNPPolicySMT }, verdict.GuestPolicy},
		{"VMPL 2", func(s *attesttest.SNP, _ *attest.Input) { s.Report.VMPL = 2 }, verdict.GuestVMPL},
		{"VMPL of the host", func(s *attesttest.SNP, _ *attest.Input) { s.Report.VMPL = 0xFFFFFFFF }, verdict.EvidenceMalformed},
		{"policy without its reserved bit", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Policy = 0 }, verdict.EvidenceMalformed},
		{"policy with an unknown bit", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Policy |= 1 << 26 }, verdict.EvidenceMalformed},
		{"version 1", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Version = 1 }, verdict.EvidenceUnsupported},
		{"version 6", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Version = 6 }, verdict.EvidenceUnsupported},
		{"processor in version 2", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Version = 2 }, verdict.EvidenceMalformed},
		{"mitigations in version 3", func(s *attesttest.SNP, _ *attest.Input) { s.Report.CurrentMitigation = 1 }, verdict.EvidenceMalformed},
		{"unknown processor", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Family = 0x1B }, verdict.EvidenceUnsupported},
		{"processor of another line", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Model = 0x11 }, verdict.EndorsementProduct},
		{"signed by a VLEK", func(s *attesttest.SNP, _ *attest.Input) { s.Report.SignerInfo = 1 << 2 }, verdict.EvidenceSigner},
		{"unknown signer info", func(s *attesttest.SNP, _ *attest.Input) { s.Report.SignerInfo = 1 << 5 }, verdict.EvidenceMalformed},
		{"masked chip key", func(s *attesttest.SNP, _ *attest.Input) { s.Report.SignerInfo = 1 << 1 }, verdict.EvidenceSignature},
		{"signature of zeros", func(s *attesttest.SNP, _ *attest.Input) { s.Signature = &[2][48]byte{} }, verdict.EvidenceSignature},
		{"signature of ones", func(s *attesttest.SNP, _ *attest.Input) {
			s.Signature = &[2][48]byte{{47: 1}, {47: 1}}
		}, verdict.EvidenceSignature},
		{"another chip", func(s *attesttest.SNP, _ *attest.Input) { s.Report.ChipID[0]++ }, verdict.EndorsementMismatch},
		{"masked chip ID", func(s *attesttest.SNP, _ *attest.Input) { s.Report.ChipID = [64]byte{} }, verdict.PlatformChip},
		{"VCEK for another TCB", func(s *attesttest.SNP, _ *attest.Input) { s.VCEK.TCB.Microcode++ }, verdict.EndorsementMismatch},
		{"reserved TCB byte", func(s *attesttest.SNP, _ *attest.Input) { s.Report.ReportedTCB |= 1 << 24 }, verdict.EvidenceMalformed},
		{"bootloader below the references' floor", func(_ *attesttest.SNP, in *attest.Input) { in.References.Floors.SNP.Bootloader++ }, verdict.TCBMinimum},
		{"tee below the references' floor", func(_ *attesttest.SNP, in *attest.Input) { in.References.Floors.SNP.TEE++ }, verdict.TCBMinimum},
		{"snp below the references' floor", func(_ *attesttest.SNP, in *attest.Input) { in.References.Floors.SNP.SNP++ }, verdict.TCBMinimum},
		{"microcode below the references' floor", func(_ *attesttest.SNP, in *attest.Input) { in.References.Floors.SNP.Microcode++ }, verdict.TCBMinimum},
		{"below the caller's floor", func(_ *attesttest.SNP, in *attest.Input) { in.Trust.MinTCB.SNP = 255 }, verdict.TCBMinimum},
		{"committed below the floor", func(s *attesttest.SNP, _ *attest.Input) {
			s.Report.CommittedTCB = attest.TCB{Bootloader: 3, SNP: 24, Microcode: 219}.Version(attest.Milan)
		}, verdict.TCBCommitted},
		{"launched below the floor", func(s *attesttest.SNP, _ *attest.Input) {
			s.Report.LaunchTCB = attest.TCB{Bootloader: 4, SNP: 23, Microcode: 255}.Version(attest.Milan)
		}, verdict.TCBMinimum},
		{"another measurement", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Measurement[0]++ }, verdict.GuestMeasurement},
		{"entry of another kind", func(_ *attesttest.SNP, in *attest.Input) { in.References.Entries[0].Kind = verdict.KindTPM }, verdict.EvidenceKind},
		{"entry not yet valid", func(_ *attesttest.SNP, in *attest.Input) {
			in.References.Entries[0].NotBefore = later(time.Second).Unix()
		}, verdict.GuestMeasurement},
		{"entry expired", func(_ *attesttest.SNP, in *attest.Input) { in.References.Entries[0].NotAfter = attesttest.At.Unix() }, verdict.GuestMeasurement},
		{"development entry", func(_ *attesttest.SNP, in *attest.Input) {
			in.References.Entries[0].Profile = verdict.Development
			in.Trust.AllowDevelopment = false
		}, verdict.IssuerProfile},
		{"another crypto flavour", func(_ *attesttest.SNP, in *attest.Input) { in.References.Entries[0].Flavours = []string{"fips140"} }, verdict.IssuerConfig},
		{"another config", func(_ *attesttest.SNP, in *attest.Input) {
			in.References.Entries[0].Configs = []verdict.Digest{attesttest.Digest("other")}
		}, verdict.IssuerConfig},
		{"kind not accepted", func(s *attesttest.SNP, in *attest.Input) {
			in.Trust.Kinds, in.Trust.SNPRoots = []attest.Kind{attest.SNP}, attest.AMDRoots()
			if s.Kind == attest.SNP {
				in.Trust.Kinds, in.Trust.SimulatorRoots = []attest.Kind{attest.SimulatedSNP}, []verdict.Digest{attesttest.Digest("root")}
			}
		}, verdict.EvidenceKind},
		{"VCEK not yet valid", func(s *attesttest.SNP, _ *attest.Input) { s.Leaf.NotBefore = later(time.Second) }, verdict.EndorsementNotYetValid},
		{"VCEK expired", func(s *attesttest.SNP, _ *attest.Input) { s.Leaf.NotAfter = later(-time.Second) }, verdict.EndorsementExpired},
		{"VCEK with another subject", func(s *attesttest.SNP, _ *attest.Input) { s.Leaf.Subject.CommonName = "SEV-VLEK" }, verdict.EndorsementUntrusted},
		{"VCEK without stepping of a known line", func(s *attesttest.SNP, _ *attest.Input) { s.VCEK.Product = "Rome-B0" }, verdict.EndorsementProduct},
		{"revoked VCEK", func(s *attesttest.SNP, _ *attest.Input) { s.Revoked = []*big.Int{s.Leaf.SerialNumber} }, verdict.EndorsementRevoked},
		{"revoked ASK", func(s *attesttest.SNP, _ *attest.Input) { s.Revoked = []*big.Int{s.ASK.SerialNumber} }, verdict.EndorsementRevoked},
		{"CRL expired", func(s *attesttest.SNP, _ *attest.Input) { s.CRLNextUpdate = later(-time.Second) }, verdict.EndorsementExpired},
		{"CRL of the future", func(s *attesttest.SNP, _ *attest.Input) { s.CRLThisUpdate = later(time.Second) }, verdict.EndorsementNotYetValid},
		{"no CRL", func(s *attesttest.SNP, _ *attest.Input) { s.NoCRL = true }, verdict.EndorsementMissing},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, kind := range []attest.Kind{attest.SNP, attest.SimulatedSNP} {
				s, in := goodSNP(t, kind)
				test.change(s, &in)
				checkRefused(t, s.Bytes(t), in, test.code)
			}
		})
	}
}

// checkRefused appraises and asserts the code, and that nothing else comes back.
func checkRefused(t *testing.T, collection []byte, in attest.Input, want verdict.Code) {
	t.Helper()
	got, err := attest.Appraise(collection, in, attesttest.At)
	if code := verdict.CodeOf(err); code != want {
		t.Errorf("got %v, want code %s", err, want)
	}
	if got.Kind != "" || got.Entry.Name != "" || got.Measurement != "" {
		t.Errorf("got a result beside the refusal: %+v", got)
	}
}

// TestR59StatementOfAnother holds that evidence of one machine does not vouch for
// the statement of another, nor for one with a changed byte.
func TestR59StatementOfAnother(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	c := s.Collection(t)
	statement := attesttest.Statement(t)
	for name, raw := range map[string][]byte{
		"another machine's statement": attesttest.Encode(t, statement),
		"another policy": func() []byte {
			changed, err := verdict.ParseStatement(s.Statement)
			if err != nil {
				t.Fatal(err)
			}
			changed.Policy = attesttest.Digest("policy of the host")
			return attesttest.Encode(t, changed)
		}(),
	} {
		c.Items[attest.LabelStatement] = attest.Item{MediaType: attest.TypeStatement, Value: raw}
		data, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { checkRefused(t, data, in, verdict.EvidenceBinding) })
	}
}

// TestR35RootsOfTheChecked holds that roots which come with the evidence, and a
// product that nobody knows, are no trust.
func TestR35RootsOfTheChecked(t *testing.T) {
	t.Run("another hierarchy of the same names", func(t *testing.T) {
		s, in := goodSNP(t, attest.SNP)
		s.ARKKey, s.ASKKey, s.IssuedBy = 4, 5, 4
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
	t.Run("simulator that is not pinned", func(t *testing.T) {
		s, in := goodSNP(t, attest.SimulatedSNP)
		s.ARKKey, s.ASKKey, s.IssuedBy = 4, 5, 4
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
	t.Run("ASK by another key under the pinned root", func(t *testing.T) {
		s, in := goodSNP(t, attest.SimulatedSNP)
		s.IssuedBy = 5
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
	t.Run("simulator evidence relabelled as genuine", func(t *testing.T) {
		s, in := goodSNP(t, attest.SNP)
		in.Trust.SNPRoots = attest.AMDRoots()
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
	t.Run("unknown product", func(t *testing.T) {
		s, in := goodSNP(t, attest.SNP)
		s.Report.Version, s.Report.Family, s.Report.Model, s.Report.Stepping = 2, 0, 0, 0
		s.VCEK.Product = "Naples-B1"
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
	t.Run("CRL by another key", func(t *testing.T) {
		s, in := goodSNP(t, attest.SNP)
		other := attesttest.NewSNP(t, attest.SNP, s.Statement, attesttest.Nonce(1))
		other.ARKKey = 4
		c := s.Collection(t)
		c.Items[attest.LabelEndorsements].Nested.Items[attest.LabelCRL] = other.Collection(t).Items[attest.LabelEndorsements].Nested.Items[attest.LabelCRL]
		data, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		checkRefused(t, data, in, verdict.EndorsementUntrusted)
	})
	t.Run("certificate signed with another algorithm", func(t *testing.T) {
		s, in := goodSNP(t, attest.SNP)
		s.Leaf.SignatureAlgorithm = x509.SHA384WithRSA
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
	t.Run("ASK that may not issue", func(t *testing.T) {
		s, in := goodSNP(t, attest.SimulatedSNP)
		s.ASK.KeyUsage = x509.KeyUsageDigitalSignature
		checkRefused(t, s.Bytes(t), in, verdict.EndorsementUntrusted)
	})
}

// TestR58NoReferences holds that an appraisal without reference values, or without
// trust, is misuse and not a pass.
func TestR58NoReferences(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*attest.Input)
	}{
		{"no references", func(in *attest.Input) { in.References.Entries = nil }},
		{"no kinds", func(in *attest.Input) { in.Trust.Kinds = nil }},
		{"unknown kind", func(in *attest.Input) { in.Trust.Kinds = []attest.Kind{"sgx"} }},
		{"no roots", func(in *attest.Input) { in.Trust.SNPRoots = nil }},
		{"root without ASK and ASVK", func(in *attest.Input) { in.Trust.SNPRoots[0].ASK, in.Trust.SNPRoots[0].ASVK = nil, nil }},
		{"no floor", func(in *attest.Input) { in.References.Floors.SNP = nil }},
		{"floor of zeros", func(in *attest.Input) { in.References.Floors.SNP = &verdict.SNPTCB{} }},
		{"no authorities of TPMs", func(in *attest.Input) { in.Trust.Kinds = append(in.Trust.Kinds, attest.TPM) }},
		{"no simulator pinned", func(in *attest.Input) { in.Trust.Kinds = []attest.Kind{attest.SimulatedSNP} }},
		{"a simulator beside another kind", func(in *attest.Input) {
			in.Trust.Kinds = append(in.Trust.Kinds, attest.SimulatedSNP)
			in.Trust.SimulatorRoots = []verdict.Digest{attesttest.Digest("root")}
		}},
		{"no nonce", func(in *attest.Input) { in.MyNonce = [32]byte{} }},
		{"nonce and published", func(in *attest.Input) { in.AllowPublished = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, in := goodSNP(t, attest.SNP)
			test.change(&in)
			_, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
				t.Errorf("got %v, want a misuse", err)
			}
		})
	}
}

func TestPublishedEvidence(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	s.Nonces = nil
	checkRefused(t, s.Bytes(t), in, verdict.EvidenceNonce)
	in.MyNonce, in.AllowPublished = [32]byte{}, true
	if _, err := attest.Appraise(s.Bytes(t), in, attesttest.At); err != nil {
		t.Errorf("appraising published evidence: %v", err)
	}
}

func TestStatementWindow(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	data := s.Bytes(t)
	for _, at := range []time.Time{attesttest.At.Add(time.Hour), attesttest.At.Add(-time.Hour - 2*verdict.MaxSkew)} {
		if _, err := attest.Appraise(data, in, at); verdict.CodeOf(err) != verdict.IssuerExpired && verdict.CodeOf(err) != verdict.EndorsementNotYetValid {
			t.Errorf("at %s: got %v, want %s", at, err, verdict.IssuerExpired)
		}
	}
}

// TestParseSNPReportSizes holds that a report has one size.
func TestParseSNPReportSizes(t *testing.T) {
	s, _ := goodSNP(t, attest.SNP)
	report := s.SignedReport(t)
	for n := range len(report) {
		if _, err := attest.ParseSNPReport(report[:n]); verdict.CodeOf(err) != verdict.EvidenceMalformed {
			t.Fatalf("%d bytes: got %v, want %s", n, err, verdict.EvidenceMalformed)
		}
	}
	if _, err := attest.ParseSNPReport(append(report, 0)); verdict.CodeOf(err) != verdict.EvidenceMalformed {
		t.Errorf("a byte too many: got %v, want %s", err, verdict.EvidenceMalformed)
	}
}

func FuzzSNPReport(f *testing.F) {
	s, _ := goodSNP(f, attest.SNP)
	inputs := fuzz.New(f, s.SignedReport(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(len(data) == attest.SNPReportSize && data[0] >= 2 && data[0] <= 5 && string(data[1:4]) == "\x00\x00\x00")
		r, err := attest.ParseSNPReport(data)
		if err != nil {
			if r != (attest.SNPReport{}) {
				t.Error("a report beside an error")
			}
			return
		}
		if string(r.Marshal()) != string(data) {
			t.Error("the report encodes to other bytes")
		}
	})
}

// TestConcurrent holds that one input serves many goroutines, and that what else is
// among the endorsements changes nothing.
func TestConcurrent(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	c := s.Collection(t)
	c.Items[attest.LabelEndorsements].Nested.Items["something-else"] = attest.Item{MediaType: "application/x", Value: []byte("x")}
	data, plain := encode(t, c), s.Bytes(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			collection := data
			if i%2 == 0 {
				collection = plain
			}
			if _, err := attest.Appraise(collection, in, attesttest.At); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
