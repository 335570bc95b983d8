// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// goodTD returns evidence of kind and what accepts it.
func goodTD(t testing.TB, kind attest.Kind) (*attesttest.TD, attest.Input) {
	t.Helper()
	d := attesttest.NewTD(t, kind, attesttest.Statement(t), attesttest.Nonce(1))
	return d, d.Input()
}

func TestAppraiseTD(t *testing.T) {
	for _, kind := range []attest.Kind{attest.TDX, attest.SimulatedTDX} {
		for _, version := range []uint16{4, 5} {
			d, in := goodTD(t, kind)
			d.Version = version
			got, err := attest.Appraise(d.Bytes(), in, attesttest.At)
			if err != nil {
				t.Fatalf("%s version %d: %v", kind, version, err)
			}
			claims := attest.Claims{InstanceIdentity: attest.Affirming, Configuration: attest.Affirming, Executables: attest.Affirming, Hardware: attest.Affirming, RuntimeOpaque: attest.Affirming}
			binding := attest.BindingHardware
			if kind == attest.SimulatedTDX {
				claims = attest.Claims{Configuration: attest.Affirming, Executables: attest.Affirming}
				binding = attest.BindingSimulated
			}
			if got.Kind != kind || got.Binding != binding || got.Simulated != (kind == attest.SimulatedTDX) || got.Claims != claims {
				t.Errorf("%s: got kind %s, binding %s, simulated %t, claims %+v", kind, got.Kind, got.Binding, got.Simulated, got.Claims)
			}
			registers := map[string]string{"rtmr3": hex.EncodeToString(d.Quote.RTMR[3][:])}
			maps.Copy(registers, in.References.Entries[0].Registers)
			if got.Measurement != in.References.Entries[0].Measurement || !maps.Equal(got.Registers, registers) || got.StatementDigest != verdict.SHA256(d.Statement) {
				t.Errorf("%s: got measurement %s, registers %v, statement %s", kind, got.Measurement, got.Registers, got.StatementDigest)
			}
			if !slices.Equal(got.Events, d.Events) || got.Status != attest.TDXUpToDate || got.Evaluation != 17 || got.PCK != d.PCK || len(got.Relaxed) != 0 {
				t.Errorf("%s: got events %v, status %s of edition %d, PCK %+v, relaxed %v", kind, got.Events, got.Status, got.Evaluation, got.PCK, got.Relaxed)
			}
		}
	}
}

// A tdCase changes one thing in good evidence, or in what the caller accepts.
type tdCase struct {
	name   string
	change func(*attesttest.TD, *attest.Input)
	code   verdict.Code
	text   string
}

func tdCases() []tdCase {
	entry := func(in *attest.Input) *verdict.ReferenceEntry { return &in.References.Entries[0] }
	other := strings.Repeat("ab", 48)
	endorse := func(f func(map[string]attest.Item)) func(*attesttest.TD, *attest.Input) {
		return func(d *attesttest.TD, _ *attest.Input) {
			d.OnCollection = func(_ *attest.Collection, e map[string]attest.Item) { f(e) }
		}
	}
	collect := func(f func(*attest.Collection)) func(*attesttest.TD, *attest.Input) {
		return func(d *attesttest.TD, _ *attest.Input) {
			d.OnCollection = func(c *attest.Collection, _ map[string]attest.Item) { f(c) }
		}
	}
	missing := func(label string) func(*attesttest.TD, *attest.Input) {
		return endorse(func(e map[string]attest.Item) { delete(e, label) })
	}
	return []tdCase{
		{"another nonce", func(_ *attesttest.TD, in *attest.Input) { in.MyNonce = attesttest.Nonce(2) }, verdict.EvidenceNonce, "not the caller's"},
		{"a quote for another statement", func(d *attesttest.TD, _ *attest.Input) {
			d.Quote.ReportData = verdict.ReportData([]byte("{}"), d.Nonces)
		}, verdict.EvidenceBinding, "REPORTDATA"},
		{"a statement beside another's quote", func(d *attesttest.TD, _ *attest.Input) { d.Nonces = append(d.Nonces, make([]byte, 32)...) }, verdict.EvidenceBinding, "REPORTDATA"},
		{"a kind that is not accepted", func(_ *attesttest.TD, in *attest.Input) {
			in.Trust.Kinds, in.Trust.AllowNoFloor = []attest.Kind{attest.TPM}, true
			in.Trust.AKCAs = []*x509.Certificate{attest.IntelRoot()}
		}, verdict.EvidenceKind, "evidence is of kind tdx"},
		{"labelled as SNP", collect(func(c *attest.Collection) {
			item := c.Items[attest.LabelEvidence]
			item.MediaType = attest.TypeSNPReport
			c.Items[attest.LabelEvidence] = item
		}), verdict.EvidenceKind, "evidence is of kind snp"},
		{"labelled as simulated", func(d *attesttest.TD, _ *attest.Input) { d.Kind = attest.SimulatedTDX }, verdict.EvidenceKind, "evidence is of kind sim-tdx"},
		{"no entry of the kind", func(_ *attesttest.TD, in *attest.Input) { entry(in).Kind = "snp" }, verdict.EvidenceKind, "no reference entry"},
		{"another MRTD", func(_ *attesttest.TD, in *attest.Input) { entry(in).Measurement = other }, verdict.GuestMeasurement, "MRTD"},
		{"another RTMR0", func(_ *attesttest.TD, in *attest.Input) { entry(in).Registers["rtmr0"] = other }, verdict.GuestRegister, "rtmr0 is"},
		{"another RTMR1", func(_ *attesttest.TD, in *attest.Input) { entry(in).Registers["rtmr1"] = other }, verdict.GuestRegister, "rtmr1 is"},
		{"another RTMR2", func(_ *attesttest.TD, in *attest.Input) { entry(in).Registers["rtmr2"] = other }, verdict.GuestRegister, "rtmr2 is"},
		{"another RTMR2, and an entry of another firmware", func(_ *attesttest.TD, in *attest.Input) {
			e := *entry(in)
			e.Measurement = other
			entry(in).Registers = maps.Clone(e.Registers)
			entry(in).Registers["rtmr2"] = other
			in.References.Entries = append([]verdict.ReferenceEntry{e}, in.References.Entries...)
		}, verdict.GuestRegister, "rtmr2 is"},
		{"an entry that ended", func(_ *attesttest.TD, in *attest.Input) { entry(in).NotAfter = attesttest.At.Unix() }, verdict.GuestMeasurement, "valid from"},
		{"another config", func(_ *attesttest.TD, in *attest.Input) {
			entry(in).Configs = []verdict.Digest{attesttest.Digest("other")}
		}, verdict.IssuerConfig, "config"},
		{"another flavour", func(_ *attesttest.TD, in *attest.Input) { entry(in).Flavours = []string{"boringcrypto"} }, verdict.IssuerConfig, "crypto module"},
		{"a development entry", func(_ *attesttest.TD, in *attest.Input) { entry(in).Profile = verdict.Development }, verdict.IssuerProfile, "profile"},

		{"no event list", collect(func(c *attest.Collection) { delete(c.Items, attest.LabelRegisters) }), verdict.EvidenceMissing, "registers"},
		{"an empty event list", func(d *attesttest.TD, _ *attest.Input) { d.Events = nil }, verdict.GuestRegister, "the list is empty"},
		{"an event less", func(d *attesttest.TD, _ *attest.Input) { d.Events = d.Events[1:] }, verdict.GuestRegister, "does not replay to rtmr3"},
		{"another RTMR3", func(d *attesttest.TD, _ *attest.Input) { d.Quote.RTMR[3][0] ^= 1 }, verdict.GuestRegister, "does not replay to rtmr3"},
		{"RTMR3 of zeros", func(d *attesttest.TD, _ *attest.Input) { d.Quote.RTMR[3] = [48]byte{} }, verdict.GuestRegister, "does not replay to rtmr3"},
		{"another policy loaded than the statement says", func(d *attesttest.TD, _ *attest.Input) {
			e := d.Events[len(d.Events)-1]
			e.Policy = attesttest.Digest("other")
			d.Extend(e)
		}, verdict.GuestRegister, "the last event"},
		{"an older head later", func(d *attesttest.TD, _ *attest.Input) {
			e := d.Events[0]
			d.OnCollection = func(c *attest.Collection, _ map[string]attest.Item) {
				line, err := e.Encode()
				if err != nil {
					panic(err)
				}
				item := c.Items[attest.LabelRegisters]
				item.Value = slices.Concat(item.Value, line, []byte("\n"))
				c.Items[attest.LabelRegisters] = item
			}
		}, verdict.IssuerRollback, "after head"},

		{"no endorsements", collect(func(c *attest.Collection) { delete(c.Items, attest.LabelEndorsements) }), verdict.EndorsementMissing, "root CRL"},
		{"endorsements of another type", collect(func(c *attest.Collection) {
			c.Items[attest.LabelEndorsements] = attest.Item{MediaType: attest.TypeCRL, Value: []byte("x")}
		}), verdict.EndorsementMalformed, "no collection"},
		{"no TCB info", missing(attest.LabelTCBInfo), verdict.EndorsementMissing, "TCB info: it is not there"},
		{"no chain of TCB info", missing(attest.LabelTCBInfoChain), verdict.EndorsementMissing, "TCB info: there is no certificate"},
		{"no QE identity", missing(attest.LabelQEIdentity), verdict.EndorsementMissing, "QE identity: it is not there"},
		{"no chain of QE identity", missing(attest.LabelQEIdentityChain), verdict.EndorsementMissing, "QE identity: there is no certificate"},
		{"no PCK list", missing(attest.LabelPCKCRL), verdict.EndorsementMissing, "PCK CRL"},
		{"no root list", missing(attest.LabelSGXRootCRL), verdict.EndorsementMissing, "root CRL"},
		{"TCB info of another type", endorse(func(e map[string]attest.Item) {
			e[attest.LabelTCBInfo] = attest.Item{MediaType: attest.TypeCRL, Value: e[attest.LabelTCBInfo].Value}
		}), verdict.EndorsementMalformed, "tdx-tcb-info"},
		{"collateral that has a next one", func(d *attesttest.TD, _ *attest.Input) {
			d.TCBInfo["nextUpdate"] = attesttest.At.Add(-time.Hour).UTC().Format(time.RFC3339)
		}, verdict.EndorsementExpired, "TCB info"},

		{"below the owners' edition", func(_ *attesttest.TD, in *attest.Input) { in.References.Floors.TDX.Evaluation = 18 }, verdict.EndorsementRollback, "want at least 18"},
		{"below the caller's edition", func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.MinEvaluation = 18 }, verdict.EndorsementRollback, "want at least 18"},
		{"a status that the caller alone accepts", func(d *attesttest.TD, in *attest.Input) {
			d.PCK.SVN[0] = 6
			in.Trust.TDX.AcceptStatus = []attest.TDXStatus{attest.TDXOutOfDate}
		}, verdict.TCBStatus, "OutOfDate"},
		{"a status that the owners alone accept", func(d *attesttest.TD, in *attest.Input) {
			d.PCK.SVN[0] = 6
			in.References.Floors.TDX.AcceptStatus = []string{"OutOfDate"}
		}, verdict.TCBStatus, "OutOfDate"},
		{"no collateral, which the caller alone accepts", func(d *attesttest.TD, in *attest.Input) {
			in.Trust.TDX.AllowNoCollateral = true
			endorse(func(e map[string]attest.Item) { delete(e, attest.LabelTCBInfo); delete(e, attest.LabelQEIdentity) })(d, in)
		}, verdict.EndorsementMissing, "TCB info: it is not there"},
		{"another platform", func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.Platforms = [][16]byte{{9}} }, verdict.PlatformChip, "PPID 010203"},
		{"another module", func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.Modules = [][48]byte{{9}} }, verdict.PlatformModule, "MRSEAM"},
		{"a TD under an unknown kind of debugging", func(d *attesttest.TD, _ *attest.Input) { d.Quote.TDAttributes |= 1 << 7 }, verdict.GuestAttributes, "not known"},
		{"another root", func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.Root = attest.IntelRoot() }, verdict.EndorsementUntrusted, "is not"},
		{"a statement that ended", func(d *attesttest.TD, _ *attest.Input) {
			s := attesttest.Statement(d.T())
			s.NotBefore, s.NotAfter = attesttest.At.Add(-2*time.Hour).Unix(), attesttest.At.Add(-time.Hour).Unix()
			d.Bind(s)
		}, verdict.IssuerExpired, "valid from"},
	}
}

func TestRefuseTD(t *testing.T) {
	for _, test := range tdCases() {
		t.Run(test.name, func(t *testing.T) {
			d, in := goodTD(t, attest.TDX)
			test.change(d, &in)
			got, err := attest.Appraise(d.Bytes(), in, attesttest.At)
			if verdict.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %s with %q", err, test.code, test.text)
			}
			if !reflect.DeepEqual(got, attest.Result{}) {
				t.Errorf("with the error came %+v", got)
			}
			if failure := verdict.Refused(err); strings.HasPrefix(test.name, "no ") && test.code == verdict.EndorsementMissing && failure {
				t.Errorf("%v is a refusal, want that nothing could be decided", err)
			}
		})
	}
}

// TestRefuseSimulatedTD: a simulator counts by the pinned digest of its root alone.
func TestRefuseSimulatedTD(t *testing.T) {
	for _, test := range []tdCase{
		{"not pinned", func(_ *attesttest.TD, in *attest.Input) {
			in.Trust.SimulatorRoots = []verdict.Digest{verdict.SHA256(nil)}
		}, verdict.EndorsementUntrusted, "is not pinned"},
		{"no root", func(d *attesttest.TD, _ *attest.Input) {
			d.OnCollection = func(_ *attest.Collection, e map[string]attest.Item) { delete(e, attest.LabelSGXRoot) }
		}, verdict.EndorsementMissing, "sgx-root"},
		{"the root of another simulator", func(d *attesttest.TD, in *attest.Input) {
			other := attesttest.NewTDX(d.T(), attesttest.At).Root()
			in.Trust.SimulatorRoots = []verdict.Digest{verdict.SHA256(other.Raw)}
			d.OnCollection = func(_ *attest.Collection, e map[string]attest.Item) {
				e[attest.LabelSGXRoot] = attest.Item{MediaType: attest.TypeCertificate, Value: other.Raw}
			}
		}, verdict.EndorsementUntrusted, "is not"},
		{"Intel's root, pinned by mistake", func(d *attesttest.TD, in *attest.Input) {
			in.Trust.SimulatorRoots = []verdict.Digest{verdict.SHA256(attest.IntelRoot().Raw)}
			d.OnCollection = func(_ *attest.Collection, e map[string]attest.Item) {
				e[attest.LabelSGXRoot] = attest.Item{MediaType: attest.TypeCertificate, Value: attest.IntelRoot().Raw}
			}
		}, verdict.EndorsementUntrusted, "a production root"},
		{"labelled as genuine", func(d *attesttest.TD, _ *attest.Input) { d.Kind = attest.TDX }, verdict.EvidenceKind, "evidence is of kind tdx"},
		{"without development", func(_ *attesttest.TD, in *attest.Input) { in.Trust.AllowDevelopment = false }, verdict.IssuerProfile, "profile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, in := goodTD(t, attest.SimulatedTDX)
			test.change(d, &in)
			if _, err := attest.Appraise(d.Bytes(), in, attesttest.At); verdict.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %s with %q", err, test.code, test.text)
			}
		})
	}
}

// TestRelaxTD: each relaxation is refused without its field, and named in the result
// with it. No field of TDXTrust that relaxes is without a row.
func TestRelaxTD(t *testing.T) {
	advised := func(d *attesttest.TD, in *attest.Input) {
		setStatus(level(d.TCBInfo["tcbLevels"], 0), attest.TDXSWHardeningNeeded, "INTEL-SA-1")
		in.References.Floors.TDX.AcceptStatus = []string{"SWHardeningNeeded"}
		in.Trust.TDX.AcceptStatus = []attest.TDXStatus{attest.TDXSWHardeningNeeded}
	}
	affirming := attest.Claims{InstanceIdentity: attest.Affirming, Configuration: attest.Affirming, Executables: attest.Affirming, Hardware: attest.Affirming, RuntimeOpaque: attest.Affirming}
	warned, open, nobody, doubtful := affirming, affirming, affirming, affirming
	doubtful.Configuration = attest.Warning
	warned.Hardware, nobody.InstanceIdentity = attest.Warning, attest.NoClaim
	open.Configuration, open.RuntimeOpaque = attest.Contraindicated, attest.Contraindicated
	rows := map[string]struct {
		change, relax func(*attesttest.TD, *attest.Input)
		code          verdict.Code
		relaxed       []string
		claims        attest.Claims
	}{
		"AcceptStatus": {func(d *attesttest.TD, in *attest.Input) {
			d.PCK.SVN[0] = 6
			in.References.Floors.TDX.AcceptStatus = []string{"OutOfDate"}
		}, func(_ *attesttest.TD, in *attest.Input) {
			in.Trust.TDX.AcceptStatus = []attest.TDXStatus{attest.TDXOutOfDate}
		}, verdict.TCBStatus, []string{"accept-status"}, warned},
		"Advisories": {advised, func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.Advisories = []string{"INTEL-SA-1"} },
			verdict.TCBStatus, []string{"accept-status", "advisories"}, warned},
		"AnyAdvisory": {advised, func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AnyAdvisory = true },
			verdict.TCBStatus, []string{"accept-status", "any-advisory"}, warned},
		"AllowAnyPlatform": {func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.Platforms = [][16]byte{{9}} },
			func(_ *attesttest.TD, in *attest.Input) {
				in.Trust.TDX.Platforms, in.Trust.TDX.AllowAnyPlatform = nil, true
			}, verdict.PlatformChip, []string{"allow-any-platform"}, nobody},
		"AllowNoCollateral": {func(d *attesttest.TD, in *attest.Input) {
			in.References.Floors.TDX, in.Trust.TDX.MinEvaluation = nil, 17
			d.OnCollection = func(_ *attest.Collection, e map[string]attest.Item) {
				delete(e, attest.LabelTCBInfo)
				delete(e, attest.LabelQEIdentity)
			}
		}, func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowNoCollateral = true }, verdict.EndorsementMissing, []string{"allow-no-collateral"}, warned},
		"AllowNoCRL": {func(d *attesttest.TD, _ *attest.Input) {
			d.OnCollection = func(_ *attest.Collection, e map[string]attest.Item) { delete(e, attest.LabelPCKCRL) }
		}, func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowNoCRL = true }, verdict.EndorsementMissing, []string{"allow-no-crl"}, affirming},
		"AllowDebug": {func(d *attesttest.TD, _ *attest.Input) { d.Quote.TDAttributes |= attest.TDDebug },
			func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowDebug = true }, verdict.GuestDebug, []string{"allow-debug"}, open},
		"AllowMigratable": {func(d *attesttest.TD, _ *attest.Input) { d.Quote.TDAttributes |= attest.TDMigratable },
			func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowMigratable = true }, verdict.GuestMigratable, []string{"allow-migratable"}, open},
		"AllowProfiling": {func(d *attesttest.TD, _ *attest.Input) { d.Quote.TDAttributes |= 1 << 4 },
			func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowProfiling = true }, verdict.GuestAttributes, []string{"allow-profiling"}, open},
		"AllowSeptVE": {func(d *attesttest.TD, _ *attest.Input) { d.Quote.TDAttributes &^= attest.TDSeptVEDisable },
			func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowSeptVE = true }, verdict.GuestAttributes, []string{"allow-sept-ve"}, doubtful},
		"AllowAttributes": {func(d *attesttest.TD, _ *attest.Input) { d.Quote.TDAttributes |= 1<<62 | 1<<8 },
			func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowAttributes = 1<<62 | 1<<8 }, verdict.GuestAttributes, []string{"allow-attributes"}, doubtful},
		"AllowXFAM": {func(d *attesttest.TD, _ *attest.Input) { d.Quote.XFAM |= 1 << 19 },
			func(_ *attesttest.TD, in *attest.Input) { in.Trust.TDX.AllowXFAM = 1 << 19 }, verdict.GuestAttributes, []string{"allow-xfam"}, doubtful},
	}
	for field, row := range rows {
		d, in := goodTD(t, attest.TDX)
		row.change(d, &in)
		if _, err := attest.Appraise(d.Bytes(), in, attesttest.At); verdict.CodeOf(err) != row.code {
			t.Errorf("%s: without it: got %v, want %s", field, err, row.code)
		}
		row.relax(d, &in)
		got, err := attest.Appraise(d.Bytes(), in, attesttest.At)
		if err != nil || !slices.Equal(got.Relaxed, row.relaxed) || got.Claims != row.claims {
			t.Errorf("%s: got %v, relaxed %v, claims %+v, want %v and %+v", field, err, got.Relaxed, got.Claims, row.relaxed, row.claims)
		}
	}
	demands := []string{"Root", "MinEvaluation", "Platforms", "Modules", "Config"}
	var fields []string
	for f := range reflect.TypeFor[attest.TDXTrust]().Fields() {
		fields = append(fields, f.Name)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(fields)), slices.Sorted(slices.Values(slices.AppendSeq(demands, maps.Keys(rows))))); diff != "" {
		t.Errorf("fields of TDXTrust (-fields +rows and demands):\n%s", diff)
	}
}

// TestTDMisuse: a trust that accepts nothing, or what it does not say, is no answer.
func TestTDMisuse(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   attest.Kind
		change func(*attest.Input)
		text   string
	}{
		{"no root", attest.TDX, func(in *attest.Input) { in.Trust.TDX.Root = nil }, "no root of TDX"},
		{"no platform", attest.TDX, func(in *attest.Input) { in.Trust.TDX.Platforms = nil }, "no platform is accepted"},
		{"any platform beside some", attest.TDX, func(in *attest.Input) { in.Trust.TDX.AllowAnyPlatform = true }, "any is allowed"},
		{"a platform of zeros", attest.TDX, func(in *attest.Input) { in.Trust.TDX.Platforms = [][16]byte{{}} }, "PPID of zeros"},
		{"a module of zeros", attest.TDX, func(in *attest.Input) { in.Trust.TDX.Modules = [][48]byte{{}} }, "MRSEAM of zeros"},
		{"no floor", attest.TDX, func(in *attest.Input) { in.References.Floors.TDX = nil }, "lowest tcbEvaluationDataNumber"},
		{"Revoked", attest.TDX, func(in *attest.Input) { in.Trust.TDX.AcceptStatus = []attest.TDXStatus{attest.TDXRevoked} }, "Revoked"},
		{"UpToDate", attest.TDX, func(in *attest.Input) { in.Trust.TDX.AcceptStatus = []attest.TDXStatus{attest.TDXUpToDate} }, "UpToDate itself"},
		{"an unknown status", attest.TDX, func(in *attest.Input) { in.Trust.TDX.AcceptStatus = []attest.TDXStatus{"Fine"} }, "unknown"},
		{"advisories of nothing", attest.TDX, func(in *attest.Input) { in.Trust.TDX.Advisories = []string{"INTEL-SA-1"} }, "no status beside UpToDate"},
		{"any advisory beside some", attest.TDX, func(in *attest.Input) {
			in.Trust.TDX.AcceptStatus = []attest.TDXStatus{attest.TDXOutOfDate}
			in.Trust.TDX.Advisories, in.Trust.TDX.AnyAdvisory = []string{"INTEL-SA-1"}, true
		}, "any is accepted"},
		{"an unknown field", attest.TDX, func(in *attest.Input) { in.Trust.TDX.Config = map[string][48]byte{"MRTD": {1}} }, "none of MRCONFIGID"},
		{"a simulator beside others", attest.SimulatedTDX, func(in *attest.Input) { in.Trust.Kinds = append(in.Trust.Kinds, attest.TPM) }, "beside other kinds"},
		{"a simulator that is not pinned", attest.SimulatedTDX, func(in *attest.Input) { in.Trust.SimulatorRoots = nil }, "no root of a simulator"},
		{"a simulator under a root of TDX", attest.SimulatedTDX, func(in *attest.Input) { in.Trust.TDX.Root = attest.IntelRoot() }, "the simulator has another"},
	} {
		d, in := goodTD(t, test.kind)
		test.change(&in)
		_, err := attest.Appraise(d.Bytes(), in, attesttest.At)
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want a misuse with %q", test.name, err, test.text)
		}
	}
	d, in := goodTD(t, attest.TDX)
	in.References.Floors.TDX, in.Trust.AllowNoFloor = nil, true
	if _, err := attest.Appraise(d.Bytes(), in, attesttest.At); err != nil {
		t.Errorf("without a floor, allowed: %v", err)
	}
}

// TestAppraiseTDEvidence: without a statement the event list is not looked at, and
// nothing is said of the configuration.
func TestAppraiseTDEvidence(t *testing.T) {
	d, in := goodTD(t, attest.TDX)
	d.Quote.RTMR[3] = [48]byte{}
	expected := attest.Expected{ReportData: d.Quote.ReportData, Entries: in.References.Entries, Floors: in.References.Floors}
	got, err := attest.AppraiseEvidence(d.Bytes(), expected, in.Trust, nil, attesttest.At)
	if err != nil || got.Events != nil || got.Kind != attest.TDX {
		t.Fatalf("got %+v, %v", got, err)
	}
	expected.ReportData[0] ^= 1
	if _, err := attest.AppraiseEvidence(d.Bytes(), expected, in.Trust, nil, attesttest.At); verdict.CodeOf(err) != verdict.EvidenceBinding {
		t.Errorf("another REPORTDATA: got %v", err)
	}
}

// TestReplayRTMR: a register starts at zeros, and each event is hashed into it.
func TestReplayRTMR(t *testing.T) {
	d, _ := goodTD(t, attest.TDX)
	if (attest.EventList{}).ReplayRTMR() != [48]byte{} {
		t.Error("an empty list does not replay to zeros")
	}
	var list attest.EventList
	var want [48]byte
	for i, e := range d.Events {
		var err error
		if list, err = list.Append(e); err != nil {
			t.Fatal(err)
		}
		want = attest.ExtendRTMR(want, list.DigestRTMR(i))
	}
	if got := list.ReplayRTMR(); got != want || got != d.Quote.RTMR[3] {
		t.Errorf("got %x, want %x and %x", got, want, d.Quote.RTMR[3])
	}
	if list.Without(1).ReplayRTMR() == want {
		t.Error("the list without its last event replays to the same")
	}
}

func FuzzAppraiseTD(f *testing.F) {
	d, in := goodTD(f, attest.TDX)
	four := d.Bytes()
	d.Version = 5
	inputs := newCollections(f, four, d.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		_, err := attest.ParseCollection(data)
		inputs.Add(err == nil)
		got, err := attest.Appraise(data, in, attesttest.At)
		if coded(t, err); err != nil {
			if !reflect.DeepEqual(got, attest.Result{}) {
				t.Errorf("with %v came %+v", err, got)
			}
			return
		}
		if got.StatementDigest != verdict.SHA256(d.Statement) || got.Measurement != in.References.Entries[0].Measurement {
			t.Errorf("accepted %s of %s", got.StatementDigest, got.Measurement)
		}
	})
}
