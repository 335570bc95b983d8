// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// goodAzure is the evidence of a daemon on Azure, and what accepts it.
func goodAzure(t testing.TB, kind string) (*attesttest.Azure, attest.Input) {
	t.Helper()
	z := azureKinds[kind](t, nil).State(t, attesttest.Statement(t), attesttest.Nonce(1))
	return z, z.Input(t)
}

func TestAppraiseAzureStatement(t *testing.T) {
	for kind := range azureKinds {
		t.Run(kind, func(t *testing.T) {
			z, in := goodAzure(t, kind)
			data := z.Bytes(t)
			got, err := attest.Appraise(data, in, attesttest.At)
			if err != nil {
				t.Fatal(err)
			}
			want := attest.Claims{InstanceIdentity: attest.Affirming, Configuration: attest.Affirming, Executables: attest.Affirming, Hardware: attest.Affirming, RuntimeOpaque: attest.Affirming}
			if got.Kind != in.Trust.Kinds[0] || got.Binding != attest.BindingHCL || got.Simulated || got.Claims != want {
				t.Errorf("got kind %s, binding %s, simulated %t, claims %+v", got.Kind, got.Binding, got.Simulated, got.Claims)
			}
			e := in.References.Entries[0]
			if got.Measurement != e.Measurement || got.Registers["pcr4"] != e.Registers["pcr4"] || got.Entry.Name != e.Name || got.Azure == nil || got.Azure.VMID != in.Trust.Azure.VMIDs[0] {
				t.Errorf("got measurement %s, registers %v, entry %q, %+v", got.Measurement, got.Registers, got.Entry.Name, got.Azure)
			}
			if diff := cmp.Diff(z.Events, got.Events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			// No certificate and no challenge stands behind the attestation key.
			if needed, err := attest.ActivationNeeded(data, in); err != nil || needed {
				t.Errorf("activation needed: %t, %v", needed, err)
			}
			if _, err := attest.NewChallenge(data); verdict.CodeOf(err) != verdict.EvidenceKind {
				t.Errorf("a challenge: got %v", err)
			}
			if len(got.AK.AK) != 64 || got.AK.EK != "" || got.AK.Resets != 2 || got.AK.Clock != 1000 {
				t.Errorf("got AK %+v", got.AK)
			}
			// What was kept is good for the same quote again, with or without the public
			// area, and not for one from before.
			in.Known = []attest.KnownAK{got.AK}
			for _, z.NoAK = range []bool{false, true} {
				if _, err := attest.Appraise(z.Bytes(t), in, attesttest.At); err != nil {
					t.Errorf("appraising again: %v", err)
				}
			}
			in.Known[0].Resets++
			checkRefused(t, z.Bytes(t), in, verdict.TPMReset)
			in.Known, z.NoAK = []attest.KnownAK{got.AK}, false
			z.AK.ObjectAttributes.NoDA = true // the same key by another name
			z.Quote.ResetCount--
			checkRefused(t, z.Bytes(t), in, verdict.TPMReset)
			// Who demands neither machine nor chip, is told of none.
			z, in = goodAzure(t, kind)
			in.Trust.Azure = attest.AzureTrust{}
			if got, err = attest.Appraise(z.Bytes(t), in, attesttest.At); err != nil || got.Claims.InstanceIdentity != attest.NoClaim {
				t.Errorf("any machine: got %+v, %v", got.Claims, err)
			}
			z.Quote.Safe, in.Trust.AllowUnsafeClock = false, true
			if got, err = attest.Appraise(z.Bytes(t), in, attesttest.At); err != nil || !strings.Contains(strings.Join(got.Relaxed, " "), "allow-unsafe-clock") {
				t.Errorf("an unsafe clock: relaxed %v, %v", got.Relaxed, err)
			}
			// Evidence alone says nothing of events.
			expected := attest.Expected{QuoteData: verdict.QuoteData(z.Statement, z.Nonces), Entries: in.References.Entries}
			if got, err = attest.AppraiseEvidence(z.Bytes(t), expected, in.Trust, nil, attesttest.At); err != nil || got.Events != nil || got.Binding != attest.BindingHCL {
				t.Errorf("evidence alone: got %+v, %v", got, err)
			}
		})
	}
}

// An azureStatementCase changes one thing of what is otherwise accepted.
type azureStatementCase struct {
	name   string
	only   string // snp or tdx, "" for both
	change func(*attesttest.Azure)
	items  func(z *attesttest.Azure, c attest.Collection) // after all was signed
	in     func(*attest.Input)
	code   verdict.Code
	text   string
}

func azureStatementCases(t *testing.T) []azureStatementCase {
	host := attesttest.RSAPublic(t, 5)
	entry := func(change func(*verdict.ReferenceEntry)) func(*attest.Input) {
		return func(in *attest.Input) { change(&in.References.Entries[0]) }
	}
	vm := func(name string, value any) func(*attesttest.Azure) {
		return func(z *attesttest.Azure) { z.Data["vm-configuration"].(object)[name] = value }
	}
	quoted := func(c attest.Collection) map[string]attest.Item { return c.Items[attest.LabelEvidence].Nested.Items }
	other := attesttest.Statement(t)
	return []azureStatementCase{
		// Rows 1 to 4: freshness and statement.
		{name: "a nonce of another's", in: func(in *attest.Input) { in.MyNonce = attesttest.Nonce(2) }, code: verdict.EvidenceNonce, text: "not the caller's"},
		{name: "a nonce that was not quoted", items: func(_ *attesttest.Azure, c attest.Collection) {
			set(c.Items, attest.LabelNonces, bytes.Repeat([]byte{2}, 32))
		}, in: func(in *attest.Input) { in.MyNonce = attesttest.Nonce(2) }, code: verdict.EvidenceBinding, text: "extraData"},
		{name: "another statement", items: func(_ *attesttest.Azure, c attest.Collection) {
			set(c.Items, attest.LabelStatement, attesttest.Encode(t, other))
		}, code: verdict.EvidenceBinding, text: "extraData"},
		{name: "a quote about something else", change: func(z *attesttest.Azure) { z.Quote.ExtraData = []byte("challenge") }, code: verdict.EvidenceBinding, text: "extraData"},

		// Row 52: from the hardware's report to the data.
		{name: "a byte of the data", change: func(z *attesttest.Azure) { z.OnData = replaced(`"secure-boot":true`, `"secure-boot":null`) }, code: verdict.EvidenceBinding, text: "not about the data"},
		{name: "another attestation key in the data", change: func(z *attesttest.Azure) {
			z.OnData = func(data []byte) []byte {
				var d object
				if err := json.Unmarshal(data, &d); err != nil {
					t.Fatal(err)
				}
				d["keys"].([]any)[0] = attesttest.JWK(t, "HCLAkPub", 5)
				out, err := json.Marshal(d)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			z.AKKey, z.AK = 5, host
		}, code: verdict.EvidenceBinding, text: "not about the data"},
		{name: "something in the upper half", change: func(z *attesttest.Azure) { z.OnReportData = func(d *[64]byte) { d[63] = 1 } }, code: verdict.EvidenceBinding, text: "SHA-256 and zeros"},

		// Rows 47, 48 and 53: from the data to the attestation key.
		{name: "the host's TPM beside a report", change: func(z *attesttest.Azure) { z.AKKey, z.AK = 5, host }, code: verdict.TPMAK, text: "not its HCLAkPub"},
		{name: "the host's TPM without a public area", change: func(z *attesttest.Azure) { z.AKKey, z.NoAK = 5, true }, code: verdict.EvidenceSignature, text: "not by the attestation key"},
		{name: "an attestation key that signs anything", change: func(z *attesttest.Azure) { z.AK.ObjectAttributes.Restricted = false }, code: verdict.TPMAK, text: "restricted"},

		// Rows 44 to 46, 49 and 50: the quote.
		{name: "another bank", change: func(z *attesttest.Azure) { z.Quote.Banks[0].Hash = uint16(tpm2.TPMAlgSHA1) }, code: verdict.TPMBank, text: "SHA-256 bank alone"},
		{name: "PCR 16 and 23 for others", change: func(z *attesttest.Azure) { z.Quote.Banks[0].Bitmap = []byte{0xff, 0xff &^ 0x10, 0x81} }, code: verdict.TPMSelection, text: "pcr12 is not selected"},
		{name: "without the register of the events", change: func(z *attesttest.Azure) { z.Quote.Banks[0].Bitmap = []byte{0xff, 0xff &^ 0x40, 0} }, code: verdict.TPMSelection, text: "pcr14 is not selected"},
		{name: "a TPM that lost power", change: func(z *attesttest.Azure) { z.Quote.Safe = false }, code: verdict.TPMReset, text: "lost power"},
		{name: "values that were not quoted", items: func(_ *attesttest.Azure, c attest.Collection) { quoted(c)[attest.LabelPCRs].Value[0]++ }, code: verdict.GuestRegister, text: "not those that were quoted"},
		{name: "a byte of the quote", items: func(_ *attesttest.Azure, c attest.Collection) { quoted(c)[attest.LabelQuote].Value[20] ^= 1 }, code: verdict.EvidenceSignature, text: "not by the attestation key"},
		{name: "no quote", items: func(_ *attesttest.Azure, c attest.Collection) { delete(quoted(c), attest.LabelQuote) }, code: verdict.EvidenceMissing, text: "quote"},

		// What was started.
		{name: "another paravisor", in: entry(func(e *verdict.ReferenceEntry) { e.Measurement = strings.Repeat("0", 96) }), code: verdict.GuestMeasurement, text: "of the paravisor"},
		{name: "another system", change: func(z *attesttest.Azure) { z.PCRs[4][0] ^= 1 }, code: verdict.GuestRegister, text: "pcr4"},
		{name: "a command line from outside", change: func(z *attesttest.Azure) { z.PCRs[12][0] ^= 1 }, code: verdict.GuestRegister, text: "pcr12"},
		{name: "extensions from outside", change: func(z *attesttest.Azure) { z.PCRs[13][0] ^= 1 }, code: verdict.GuestRegister, text: "pcr13"},
		{name: "an entry of another kind", in: entry(func(e *verdict.ReferenceEntry) { e.Kind = "snp" }), code: verdict.EvidenceKind, text: "no reference entry"},
		{name: "another configuration", in: entry(func(e *verdict.ReferenceEntry) { e.Configs = []verdict.Digest{attesttest.Digest("x")} }), code: verdict.IssuerConfig, text: "config"},

		// Rows 42 and 43: the events.
		{name: "another event", change: func(z *attesttest.Azure) { z.Events[0].Policy = attesttest.Digest("x") }, code: verdict.GuestRegister, text: "last event"},
		{name: "a list that is not the register's", change: func(z *attesttest.Azure) { z.KeepPCR14, z.PCRs[14] = true, z.PCRs[11] }, code: verdict.GuestRegister, text: "does not replay to pcr14"},
		{name: "a shorter list", change: func(z *attesttest.Azure) { z.Events = append(z.Events, z.Events[0]) }, items: func(z *attesttest.Azure, c attest.Collection) {
			set(c.Items, attest.LabelRegisters, (&attesttest.TPM{Events: z.Events[1:]}).List(t).Marshal())
		}, code: verdict.GuestRegister, text: "does not replay"},
		{name: "an older head", change: func(z *attesttest.Azure) {
			z.Events = append([]verdict.RegisterEvent{z.Events[0]}, z.Events...)
		}, items: func(z *attesttest.Azure, c attest.Collection) {
			lines := bytes.Replace(c.Items[attest.LabelRegisters].Value, []byte(`"head":3`), []byte(`"head":4`), 1)
			set(c.Items, attest.LabelRegisters, lines)
		}, code: verdict.IssuerRollback, text: "head 3 after head 4"},
		{name: "no list", items: func(_ *attesttest.Azure, c attest.Collection) { delete(c.Items, attest.LabelRegisters) }, code: verdict.EvidenceMissing, text: "registers"},

		// What the paravisor says of its machine.
		{name: "no secure boot", change: vm("secure-boot", false), code: verdict.GuestConfig, text: "secure-boot"},
		{name: "no TPM", change: vm("tpm-enabled", false), in: func(in *attest.Input) { in.Trust.Azure = attest.AzureTrust{} }, code: verdict.GuestConfig, text: "tpm-enabled"},
		{name: "another machine", in: func(in *attest.Input) { in.Trust.Azure.VMIDs = []string{"6332533D-5649-4D02-8AA7-8F64B7C3EE22"} }, code: verdict.GuestConfig, text: "vmUniqueId"},

		// The platform.
		{name: "a report of the guest's", only: "snp", change: func(z *attesttest.Azure) { z.SNP.Report.VMPL = 2 }, in: func(in *attest.Input) { in.Trust.AllowVMPLs = []uint32{2} }, code: verdict.GuestVMPL, text: "VMPL is 2"},
		{name: "a debugged guest", only: "snp", change: func(z *attesttest.Azure) { z.SNP.Report.Policy |= attest.SNPPolicyDebug }, code: verdict.GuestDebug, text: "debugging"},
		{name: "a platform below the floor", only: "snp", in: func(in *attest.Input) { in.References.Floors.SNP = &verdict.SNPTCB{Microcode: 255} }, code: verdict.TCBMinimum, text: "microcode"},
		{name: "a chain of another's", only: "snp", change: func(z *attesttest.Azure) { z.SNP.IssuedBy = 2 }, code: verdict.EndorsementUntrusted, text: "is not signed by"},
		{name: "another's signature", only: "snp", change: func(z *attesttest.Azure) { z.SNP.Signature = &[2][48]byte{{1}, {2}} }, code: verdict.EvidenceSignature, text: "certificate's key"},
		{name: "no VCEK", only: "snp", change: func(z *attesttest.Azure) { z.NoVCEK = true }, code: verdict.EndorsementMissing, text: "amd-vcek"},
		{name: "no endorsements", only: "snp", items: func(_ *attesttest.Azure, c attest.Collection) { delete(c.Items, attest.LabelEndorsements) }, code: verdict.EndorsementMissing, text: "endorsements"},
		{name: "no collateral", only: "tdx", items: func(_ *attesttest.Azure, c attest.Collection) { delete(c.Items, attest.LabelEndorsements) }, code: verdict.EndorsementMissing, text: "not there"},
		{name: "old collateral", only: "tdx", in: func(in *attest.Input) { in.References.Floors.TDX.Evaluation = 18 }, code: verdict.EndorsementRollback, text: "17"},
		{name: "an old platform", only: "tdx", change: func(z *attesttest.Azure) { z.TDX.PCK.SVN[0] = 6 }, code: verdict.TCBStatus, text: "OutOfDate"},
		{name: "a debugged TD", only: "tdx", change: func(z *attesttest.Azure) { z.TDX.Quote.TDAttributes |= attest.TDDebug }, code: verdict.GuestDebug, text: "debugging"},
		{name: "no quote of the TD", only: "tdx", items: func(_ *attesttest.Azure, c attest.Collection) { delete(quoted(c), attest.LabelTDQuote) }, code: verdict.EvidenceMissing, text: "td-quote"},
		{name: "a TDREPORT of another TD", only: "tdx", change: func(z *attesttest.Azure) { z.OnTDReport = func(r []byte) { r[512+16] ^= 1 } }, code: verdict.EvidenceBinding, text: "another TDREPORT"},

		// Row 54: kinds.
		{name: "labelled by the other type", change: func(z *attesttest.Azure) {
			z.Type = map[string]string{attest.TypeAzureSNP: attest.TypeAzureTDX, attest.TypeAzureTDX: attest.TypeAzureSNP}[z.Type]
		}, code: verdict.EvidenceKind, text: "accepted are"},
		{name: "labelled as a TPM", change: func(z *attesttest.Azure) { z.Type = attest.TypeTPMQuote }, code: verdict.EvidenceKind, text: "kind tpm"},
		{name: "bare evidence accepted alone", in: func(in *attest.Input) {
			in.Trust = attest.Trust{Kinds: []attest.Kind{attest.SNP}, SNPRoots: attest.AMDRoots(), AllowNoFloor: true, SNP: attest.SNPTrust{AllowAnyChip: true}}
		}, code: verdict.EvidenceKind, text: "accepted are [snp]"},
	}
}

// TestRefuseAzureStatement: each change is refused by the check that is there for it.
func TestRefuseAzureStatement(t *testing.T) {
	for kind := range azureKinds {
		for _, tt := range azureStatementCases(t) {
			if tt.only != "" && tt.only != kind {
				continue
			}
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				_, in := goodAzure(t, kind)
				z := azureKinds[kind](t, nil).State(t, attesttest.Statement(t), attesttest.Nonce(1))
				if tt.change != nil {
					tt.change(z)
				}
				now := z.Input(t) // its roots and paravisor, as they are after the change
				in.Trust.SNPRoots, in.Trust.TDX.Root = now.Trust.SNPRoots, now.Trust.TDX.Root
				in.References.Entries[0].Measurement = now.References.Entries[0].Measurement
				c := z.Collection(t)
				if tt.items != nil {
					tt.items(z, c)
				}
				if tt.in != nil {
					tt.in(&in)
				}
				result, err := attest.Appraise(encode(t, c), in, attesttest.At)
				if verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, want %s with %q", err, tt.code, tt.text)
				}
				if undecided := tt.code == verdict.EndorsementMissing || tt.code == verdict.EvidenceMissing || tt.code == verdict.EndorsementRollback; verdict.Refused(err) == undecided {
					t.Errorf("got refused %t of %v", verdict.Refused(err), err)
				}
				if result.Binding != "" || result.Azure != nil || result.Claims != (attest.Claims{}) {
					t.Errorf("with the error came %+v", result)
				}
			})
		}
	}
}

// TestAzureTrustMisuse: a trust that could not mean what it says is no answer.
func TestAzureTrustMisuse(t *testing.T) {
	for name, tt := range map[string]struct {
		kind   string
		change func(*attest.Input)
	}{
		"no roots of AMD's":     {"snp", func(in *attest.Input) { in.Trust.SNPRoots = nil }},
		"no floor":              {"snp", func(in *attest.Input) { in.Trust.MinTCB = attest.TCB{} }},
		"no chips":              {"snp", func(in *attest.Input) { in.Trust.SNP.AllowAnyChip = false }},
		"no root of Intel's":    {"tdx", func(in *attest.Input) { in.Trust.TDX.Root = nil }},
		"no floor of TDX":       {"tdx", func(in *attest.Input) { in.Trust.TDX.MinEvaluation, in.References.Floors.TDX = 0, nil }},
		"no platforms":          {"tdx", func(in *attest.Input) { in.Trust.TDX.AllowAnyPlatform = false }},
		"a machine of no GUID":  {"snp", func(in *attest.Input) { in.Trust.Azure.VMIDs = []string{"vm-1"} }},
		"a simulator beside it": {"snp", func(in *attest.Input) { in.Trust.Kinds = append(in.Trust.Kinds, attest.SimulatedSNP) }},
	} {
		z, in := goodAzure(t, tt.kind)
		tt.change(&in)
		_, err := attest.Appraise(z.Bytes(t), in, attesttest.At)
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzAzureParts: parts in a collection that is otherwise good. What is accepted has the
// paravisor's data, the quote, the values and the key that the hardware vouches for.
func FuzzAzureParts(f *testing.F) {
	z, in := goodAzure(f, "snp")
	c := z.Collection(f)
	items := c.Items[attest.LabelEvidence].Nested.Items
	labels := []string{attest.LabelHCLReport, attest.LabelAKPublic, attest.LabelQuote, attest.LabelSignature, attest.LabelPCRs}
	good := map[string][]byte{}
	for _, label := range labels {
		good[label] = items[label].Value
	}
	key, err := attest.Appraise(z.Bytes(f), in, attesttest.At)
	if err != nil {
		f.Fatal(err)
	}
	hcl, err := attest.ParseHCLReport(good[attest.LabelHCLReport])
	if err != nil {
		f.Fatal(err)
	}
	goods := make([]fuzz.Goods, len(labels))
	for i, label := range labels {
		goods[i] = fuzz.NewGoods(f, good[label])
	}
	same := []byte{0xff}
	f.Add(same, same, same, same, same)
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, report, ak, quote, signature, pcrs []byte) {
		for i, value := range []*[]byte{&report, &ak, &quote, &signature, &pcrs} {
			*value = goods[i].Of(*value)
		}
		count.Add(bytes.HasPrefix(report, []byte("HCLA")) && publicHead(ak) && bytes.HasPrefix(quote, []byte("\xffTCG\x80\x18")))
		changed := map[string]attest.Item{}
		for i, value := range [][]byte{report, ak, quote, signature, pcrs} {
			changed[labels[i]] = attest.Item{MediaType: items[labels[i]].MediaType, Value: value}
		}
		of := attest.Collection{Type: c.Type, Items: maps.Clone(c.Items)}
		of.Items[attest.LabelEvidence] = attest.Item{Nested: &attest.Collection{Type: attest.TypeAzureSNP, Items: changed}}
		data, err := of.Marshal()
		if err != nil { // too large
			return
		}
		got, err := attest.Appraise(data, in, attesttest.At)
		if coded(t, err); err != nil {
			return
		}
		accepted, err := attest.ParseHCLReport(report)
		if err != nil || !bytes.Equal(accepted.Data, hcl.Data) || !bytes.Equal(accepted.Hardware[:0x2A0], hcl.Hardware[:0x2A0]) {
			t.Errorf("accepted with another report, %v", err)
		}
		if !bytes.Equal(quote, good[attest.LabelQuote]) || !bytes.Equal(pcrs, good[attest.LabelPCRs]) || got.AK.AK != key.AK.AK {
			t.Error("accepted with another quote, other values, or another key")
		}
	})
}

func FuzzAppraiseAzure(f *testing.F) {
	z, in := goodAzure(f, "tdx")
	inputs := newCollections(f, z.Bytes(f))
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
		if got.StatementDigest != verdict.SHA256(z.Statement) || got.Measurement != in.References.Entries[0].Measurement {
			t.Errorf("accepted %s of %s", got.StatementDigest, got.Measurement)
		}
	})
}
