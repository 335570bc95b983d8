// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	tdxabi "github.com/google/go-tdx-guest/abi"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"
	tdxvalidate "github.com/google/go-tdx-guest/validate"
	tdxverify "github.com/google/go-tdx-guest/verify"
	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// amdService answers as the service of a processor's maker does.
type amdService struct{ leaf, chain []byte }

func (s amdService) Get(address string) ([]byte, error) {
	if strings.HasSuffix(address, "/cert_chain") {
		return s.chain, nil
	}
	return s.leaf, nil
}

// TestSNPDefaults holds that what go-sev-guest lets through by its defaults, or has no
// option against, is refused here by the check that is there for it.
func TestSNPDefaults(t *testing.T) {
	type change = func(*attesttest.SNP, *attest.Input)
	report := func(f func(*attest.SNPReport)) change {
		return func(s *attesttest.SNP, _ *attest.Input) { f(&s.Report) }
	}
	demand := func(f func(*attest.SNPTrust)) change {
		return func(_ *attesttest.SNP, in *attest.Input) { f(&in.Trust.SNP) }
	}
	revoked := func(s *attesttest.SNP, _ *attest.Input) { s.Revoked = []*big.Int{s.Leaf.SerialNumber} }
	// lists has the list given to the library, which then takes no network for it.
	lists := func(v *verify.Options, o *snpOracle) {
		full, err := o.verify()
		if err != nil {
			t.Fatal(err)
		}
		*v = *full
	}
	for _, test := range []struct {
		name   string
		change change
		code   verdict.Code
		// options are those of the library beside root, time and no network.
		options func(*verify.Options, *snpOracle)
		// validate are those of the other half: none where it is left out.
		validate *validate.Options
	}{
		{"CheckRevocations: the VCEK is revoked", revoked, verdict.EndorsementRevoked, nil, &validate.Options{}},
		{"CheckRevocations: the ASK is revoked", func(s *attesttest.SNP, _ *attest.Input) { s.Revoked = []*big.Int{s.ASK.SerialNumber} }, verdict.EndorsementRevoked, nil, &validate.Options{}},
		{"CheckRevocations: there is no list", func(s *attesttest.SNP, _ *attest.Input) { s.NoCRL = true }, verdict.EndorsementMissing, nil, &validate.Options{}},
		{"CheckRevocations looks for the ASK alone", revoked, verdict.EndorsementRevoked, lists, &validate.Options{}},
		{"thisUpdate is not looked at", func(s *attesttest.SNP, _ *attest.Input) { s.CRLThisUpdate = attesttest.At.Add(time.Hour) }, verdict.EndorsementNotYetValid, lists, &validate.Options{}},
		{"Now: the list has expired", func(s *attesttest.SNP, _ *attest.Input) {
			for _, c := range []*time.Time{&s.ARK.NotBefore, &s.ASK.NotBefore, &s.ASVK.NotBefore, &s.Leaf.NotBefore} {
				*c = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			}
			for _, c := range []*time.Time{&s.ARK.NotAfter, &s.ASK.NotAfter, &s.ASVK.NotAfter, &s.Leaf.NotAfter} {
				*c = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
			}
			s.CRLThisUpdate, s.CRLNextUpdate = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC)
		}, verdict.EndorsementExpired, func(v *verify.Options, o *snpOracle) {
			lists(v, o)
			v.Now = time.Time{}
		}, &validate.Options{}},
		{"DisableCertFetching: the VCEK does not come with the report", func(*attesttest.SNP, *attest.Input) {}, verdict.EndorsementMissing, func(v *verify.Options, o *snpOracle) {
			var chain []byte
			for _, c := range []*x509.Certificate{o.root.ASK, o.root.ARK} {
				chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
			}
			v.DisableCertFetching, v.Getter = false, amdService{o.vcek, chain}
			o.vcek = nil
		}, &validate.Options{}},
		{"a VLEK where a VCEK is wanted", func(s *attesttest.SNP, _ *attest.Input) { s.UseVLEK(t, cloud) }, verdict.EvidenceSigner, nil, &validate.Options{}},

		{"ReportData", report(func(r *attest.SNPReport) { r.ReportData[63] ^= 1 }), verdict.EvidenceBinding, nil, &validate.Options{}},
		{"HostData", report(func(r *attest.SNPReport) { r.HostData[0] = 1 }), verdict.GuestConfig, nil, &validate.Options{}},
		{"Measurement", report(func(r *attest.SNPReport) { r.Measurement[0]++ }), verdict.GuestMeasurement, nil, &validate.Options{}},
		{"ReportIDMA", report(func(r *attest.SNPReport) { r.ReportIDMA[0] = 1 }), verdict.GuestMigratable, nil, &validate.Options{}},
		{"VMPL", report(func(r *attest.SNPReport) { r.VMPL = 2 }), verdict.GuestVMPL, nil, &validate.Options{}},
		{"PlatformInfo: no ECC", report(func(r *attest.SNPReport) { r.PlatformInfo &^= attest.SNPPlatformECC }), verdict.PlatformInfo, nil, &validate.Options{}},
		{"PlatformInfo: no alias check", report(func(r *attest.SNPReport) { r.PlatformInfo &^= attest.SNPPlatformAliasCheck }), verdict.PlatformInfo, nil, &validate.Options{}},
		{"PlatformInfo: trusted I/O", report(func(r *attest.SNPReport) { r.PlatformInfo |= attest.SNPPlatformTIO }), verdict.PlatformInfo, nil, &validate.Options{}},
		{"ChipID", demand(func(s *attest.SNPTrust) { s.Chips[0][0]++ }), verdict.PlatformChip, nil, &validate.Options{}},
		{"a masked CHIP_ID skips the HWID", report(func(r *attest.SNPReport) { r.ChipID = [64]byte{} }), verdict.PlatformChip, nil, &validate.Options{}},
		{"MinimumTCB", func(_ *attesttest.SNP, in *attest.Input) { in.References.Floors.SNP.Microcode++ }, verdict.TCBMinimum, nil, &validate.Options{}},
		{"MinimumLaunchTCB", report(func(r *attest.SNPReport) { r.LaunchTCB = lower(func(t *attest.TCB) { t.SNP-- }) }), verdict.TCBMinimum, nil, &validate.Options{}},
		{"no floor of COMMITTED_TCB", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.CommittedTCB, in.Trust.SNP.AllowProvisionalFirmware = lower(func(t *attest.TCB) { t.SNP-- }), true
		}, verdict.TCBCommitted, nil, &validate.Options{PermitProvisionalFirmware: true, MinimumTCB: kds.TCBParts{BlSpl: 4, SnpSpl: 24, UcodeSpl: 219}}},
		{"MinimumVersion", demand(func(s *attest.SNPTrust) { s.MinFirmware.Major = 200 }), verdict.PlatformFirmware, nil, &validate.Options{}},
		{"MinimumBuild", demand(func(s *attest.SNPTrust) { s.MinFirmware.Build = 1 }), verdict.PlatformFirmware, nil, &validate.Options{}},
		{"GuestPolicy.ABIMajor", demand(func(s *attest.SNPTrust) { s.MinABI.Major = 2 }), verdict.GuestPolicy, nil, &validate.Options{}},
		{"GuestPolicy.SingleSocket", demand(func(s *attest.SNPTrust) { s.RequirePolicy = attest.SNPPolicySingleSocket }), verdict.GuestPolicy, nil, &validate.Options{}},
		{"RequireIDBlock, TrustedIDKeyHashes", demand(func(s *attest.SNPTrust) { s.IDKeys = [][48]byte{{1}} }), verdict.GuestIdentity, nil, &validate.Options{}},
		{"RequireAuthorKey, TrustedAuthorKeyHashes", demand(func(s *attest.SNPTrust) { s.AuthorKeys = [][48]byte{{1}} }), verdict.GuestIdentity, nil, &validate.Options{}},
		{"FamilyID", identified(func(s *attest.SNPTrust) { s.FamilyID = &[16]byte{9} }), verdict.GuestIdentity, nil, &validate.Options{}},
		{"ImageID", identified(func(s *attest.SNPTrust) { s.ImageID = &[16]byte{9} }), verdict.GuestIdentity, nil, &validate.Options{}},
		{"MinimumGuestSvn", identified(func(s *attest.SNPTrust) { s.MinGuestSVN = 9 }), verdict.GuestIdentity, nil, &validate.Options{}},
		{"MinimumLaunchMitigationVector", demand(func(s *attest.SNPTrust) { s.RequireLaunchMitigations = 1 }), verdict.PlatformInfo, nil, &validate.Options{}},
		{"MinimumCurrentMitigationVector", demand(func(s *attest.SNPTrust) { s.RequireCurrentMitigations = 1 }), verdict.PlatformInfo, nil, &validate.Options{}},

		{"verify alone: debugging", report(func(r *attest.SNPReport) { r.Policy |= attest.SNPPolicyDebug }), verdict.GuestDebug, nil, nil},
		{"verify alone: a migration agent", report(func(r *attest.SNPReport) { r.Policy |= attest.SNPPolicyMigratable }), verdict.GuestMigratable, nil, nil},
		{"verify alone: SMT", report(func(r *attest.SNPReport) { r.Policy |= attest.SNPPolicySMT }), verdict.GuestPolicy, nil, nil},
		{"verify alone: the VCEK of another chip", report(func(r *attest.SNPReport) { r.ChipID[0]++ }), verdict.EndorsementMismatch, nil, nil},
		{"verify alone: the VCEK of another TCB", func(s *attesttest.SNP, _ *attest.Input) { s.VCEK.TCB.Microcode++ }, verdict.EndorsementMismatch, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, in := goodSNP(t, attest.SNP)
			s.Report.ReportData = verdict.ReportData(s.Statement, s.Nonces)
			test.change(s, &in)
			c := s.Collection(t)
			items := c.Items[attest.LabelEndorsements].Nested.Items
			o := snpOracle{
				report: c.Items[attest.LabelEvidence].Value, vcek: items[attest.LabelVCEK].Value, vlek: items[attest.LabelVLEK].Value, crl: items[attest.LabelCRL].Value,
				trust: in.Trust, at: attesttest.At,
			}
			o.root, _ = s.Chain(t)
			in.Trust.SNPRoots = []attest.SNPRoot{o.root}
			full, err := o.verify()
			if err != nil {
				t.Fatal(err)
			}
			options := &verify.Options{DisableCertFetching: true, Getter: failingGetter{}, Now: attesttest.At, TrustedRoots: full.TrustedRoots}
			if test.options != nil {
				test.options(options, &o)
			}
			if o.vcek == nil && s.VLEK == nil {
				delete(items, attest.LabelVCEK)
			}
			if err := o.askWith(options, test.validate); err != nil {
				t.Errorf("the library alone says %v", err)
			}
			checkRefused(t, encode(t, c), in, test.code)
		})
	}
}

// identified gives the guest an ID block that is accepted, and makes one demand more.
func identified(f func(*attest.SNPTrust)) func(*attesttest.SNP, *attest.Input) {
	return func(s *attesttest.SNP, in *attest.Input) {
		goodIdentity(s, &in.Trust.SNP)
		f(&in.Trust.SNP)
	}
}

// TestTDXDefaults does so for go-tdx-guest.
func TestTDXDefaults(t *testing.T) {
	type change = func(*attesttest.TDX, *tdxOracle)
	quote := func(f func(*attest.TDXQuote)) change { return func(x *attesttest.TDX, _ *tdxOracle) { f(&x.Quote) } }
	expect := func(f func(*attest.TDXExpected)) change {
		return func(_ *attesttest.TDX, o *tdxOracle) { f(&o.expected) }
	}
	old := func(x *attesttest.TDX, _ *tdxOracle) { x.PCK.SVN[0] = 6 }
	whole := &tdxvalidate.Options{}
	for _, test := range []struct {
		name   string
		change change
		code   verdict.Code
		// collateral has the library look at all that there is.
		collateral bool
		validate   *tdxvalidate.Options
	}{
		{"GetCollateral: an old platform", old, verdict.TCBStatus, false, whole},
		{"GetCollateral: a quoting enclave of anyone", func(x *attesttest.TDX, _ *tdxOracle) { x.QE[128] ^= 1 }, verdict.PlatformModule, false, whole},
		{"GetCollateral: a module of anyone", quote(func(q *attest.TDXQuote) { q.MRSignerSEAM[0] = 1 }), verdict.PlatformModule, false, whole},
		{"GetCollateral: there is none", func(x *attesttest.TDX, o *tdxOracle) { o.collateral = attest.TDXCollateral{} }, verdict.EndorsementMissing, false, whole},
		{"CheckRevocations: the PCK is revoked", func(x *attesttest.TDX, _ *tdxOracle) { x.Revoked = []string{"pck"} }, verdict.EndorsementRevoked, false, whole},
		{"CheckRevocations: the Platform CA is revoked", func(x *attesttest.TDX, _ *tdxOracle) { x.Revoked = []string{"ca"} }, verdict.EndorsementRevoked, false, whole},

		{"the module's status hides the platform's", old, verdict.TCBStatus, true, whole},
		{"issueDate is not looked at", func(x *attesttest.TDX, _ *tdxOracle) {
			x.TCBInfo["issueDate"] = tdxAt.Add(time.Hour).Format(time.RFC3339)
		}, verdict.EndorsementNotYetValid, true, whole},
		{"thisUpdate is not looked at", func(x *attesttest.TDX, _ *tdxOracle) { x.ListsAt = tdxAt.Add(time.Hour) }, verdict.EndorsementNotYetValid, true, whole},
		{"the evaluation number is not looked at", func(_ *attesttest.TDX, o *tdxOracle) { o.trust.MinEvaluation++ }, verdict.EndorsementRollback, true, whole},
		{"TCB info is read twice", func(x *attesttest.TDX, _ *tdxOracle) {
			old(x, nil)
			x.Quote.TEETCBSVN = [16]byte{0, 0, 0} // below every level
			components := "[" + strings.Repeat(`{"svn":0},`, 15) + `{"svn":0}]`
			x.OnTCBInfo = replaced(`"signature":`, `"TCBINFO":{"tcbLevels":[{"tcb":{"sgxtcbcomponents":`+components+`,"pcesvn":0,"tdxtcbcomponents":`+components+
				`},"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"UpToDate"}]},"signature":`)
		}, verdict.EndorsementMalformed, true, whole},
		{"the QE identity is read twice", func(x *attesttest.TDX, _ *tdxOracle) {
			x.QE[258] = 0 // older than every level
			x.OnQEIdentity = replaced(`"signature":`, `"ENCLAVEIDENTITY":{"tcbLevels":[{"tcb":{"isvsvn":0},"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"UpToDate"}]},"signature":`)
		}, verdict.EndorsementMalformed, true, whole},

		{"TdAttributes: debugging", quote(func(q *attest.TDXQuote) { q.TDAttributes |= attest.TDDebug }), verdict.GuestDebug, true, whole},
		{"TdAttributes: SEPT_VE", quote(func(q *attest.TDXQuote) { q.TDAttributes &^= attest.TDSeptVEDisable }), verdict.GuestAttributes, true, whole},
		{"verify alone: a TD that can be migrated", quote(func(q *attest.TDXQuote) { q.TDAttributes |= attest.TDMigratable }), verdict.GuestMigratable, true, nil},
		{"verify alone: profiling", quote(func(q *attest.TDXQuote) { q.TDAttributes |= 1 << 4 }), verdict.GuestAttributes, true, nil},
		{"verify alone: an unknown feature", quote(func(q *attest.TDXQuote) { q.XFAM |= 1 << 63 }), verdict.GuestAttributes, true, nil},
		{"ReportData", expect(func(e *attest.TDXExpected) { e.ReportData[0]++ }), verdict.EvidenceBinding, true, whole},
		{"MrTd", expect(func(e *attest.TDXExpected) { e.MRTD = [][48]byte{{}} }), verdict.GuestMeasurement, true, whole},
		{"AnyMrTd with an empty entry", expect(func(e *attest.TDXExpected) { e.MRTD = [][48]byte{{}} }), verdict.GuestMeasurement, true,
			&tdxvalidate.Options{TdQuoteBodyOptions: tdxvalidate.TdQuoteBodyOptions{AnyMrTd: [][]byte{make([]byte, 48), {}}}}},
		{"Rtmrs with empty entries", expect(func(e *attest.TDXExpected) { e.RTMR[3] = [48]byte{} }), verdict.GuestRegister, true,
			&tdxvalidate.Options{TdQuoteBodyOptions: tdxvalidate.TdQuoteBodyOptions{Rtmrs: make([][]byte, 4)}}},
		{"MrConfigID", quote(func(q *attest.TDXQuote) { q.MRConfigID[0] = 1 }), verdict.GuestConfig, true, whole},
		{"MrOwner", quote(func(q *attest.TDXQuote) { q.MROwner[0] = 1 }), verdict.GuestConfig, true, whole},
		{"MrOwnerConfig", quote(func(q *attest.TDXQuote) { q.MROwnerConfig[0] = 1 }), verdict.GuestConfig, true, whole},
		{"MrSeam", func(_ *attesttest.TDX, o *tdxOracle) { o.trust.Modules = [][48]byte{{1}} }, verdict.PlatformModule, true, whole},
		{"no option of platforms", func(_ *attesttest.TDX, o *tdxOracle) {
			o.trust.Platforms, o.trust.AllowAnyPlatform = [][16]byte{{1}}, false
		}, verdict.PlatformChip, true, whole},
		{"bytes behind the quote", func(x *attesttest.TDX, _ *tdxOracle) { x.OnSigned = func(b []byte) []byte { return append(b, 1) } }, verdict.EvidenceMalformed, false, whole},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := attesttest.NewTDX(t, tdxAt)
			o := tdxOracle{trust: x.Trust(), expected: x.Expected(), at: tdxAt, collateral: attest.TDXCollateral{TCBInfo: []byte("later")}}
			test.change(x, &o)
			o.quote = x.QuoteBytes()
			if o.collateral.TCBInfo != nil {
				o.collateral = x.Collateral()
			}
			options := o.bare()
			if test.collateral {
				options = o.verify()
			}
			if err := o.askWith(options, test.validate); err != nil {
				t.Errorf("the library alone says %v", err)
			}
			if _, err := attest.AppraiseTDX(o.quote, o.collateral, o.trust, o.expected, o.at); verdict.CodeOf(err) != test.code {
				t.Errorf("got %v, want code %s", err, test.code)
			}
		})
	}
}

// TestNoRoot: without roots go-tdx-guest takes the one that it embeds.
func TestNoRoot(t *testing.T) {
	quote, err := tdxabi.QuoteToProto(tdxdata.RawQuote)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC)
	if err := tdxverify.TdxQuote(quote, &tdxverify.Options{Now: &tdxverify.TimeSet{PckCertChain: at}}); err != nil {
		t.Errorf("the library alone says %v", err)
	}
	_, err = attest.AppraiseTDX(tdxdata.RawQuote, attest.TDXCollateral{}, attest.TDXTrust{AllowAnyPlatform: true, AllowNoCollateral: true, AllowNoCRL: true}, attest.TDXExpected{}, at)
	if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
		t.Errorf("got %v, want a misuse", err)
	}
}

// TestBytesBehind: readers of the libraries pass over what follows, which nobody signed.
func TestBytesBehind(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	c := s.Collection(t)
	item := c.Items[attest.LabelEvidence]
	item.Value = append(slices.Clone(item.Value), 0)
	c.Items[attest.LabelEvidence] = item
	if _, err := abi.ReportToProto(item.Value); err != nil {
		t.Errorf("go-sev-guest alone says %v", err)
	}
	checkRefused(t, encode(t, c), in, verdict.EvidenceMalformed)

	p := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	c = p.Collection(t)
	key := append(tpm2.Marshal(p.AK), 0)
	if _, err := tpm2.Unmarshal[tpm2.TPMTPublic](key); err != nil {
		t.Errorf("go-tpm alone says %v", err)
	}
	c.Items[attest.LabelEvidence].Nested.Items[attest.LabelAKPublic] = attest.Item{MediaType: attest.TypeTPMPublic, Value: key, Indicator: attest.IndicatorEvidence}
	checkRefused(t, encode(t, c), p.Input(t), verdict.EvidenceMalformed)
}
