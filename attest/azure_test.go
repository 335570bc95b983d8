// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

var azureNonce = []byte("nonce of somebody who asks")

// azureKinds are the platforms of Azure's confidential VMs.
var azureKinds = map[string]func(testing.TB, []byte) *attesttest.Azure{"snp": attesttest.NewAzureSNP, "tdx": attesttest.NewAzureTDX}

func TestAppraiseAzure(t *testing.T) {
	for name, made := range azureKinds {
		t.Run(name, func(t *testing.T) {
			z := made(t, azureNonce)
			got, err := z.Appraise(t, z.Bytes(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Binding != attest.BindingHCL || got.Measurement != z.Expected().Measurements[0] || (got.SNP != nil) != (z.SNP != nil) || (got.TDX != nil) != (z.TDX != nil) {
				t.Errorf("got binding %s, measurement %x, SNP %v, TDX %v", got.Binding, got.Measurement, got.SNP, got.TDX)
			}
			if d := got.HCL; !d.SecureBoot || !d.TPM || d.VMID != "6332533D-5649-4D02-8AA7-8F64B7C3EE21" || d.AK == nil || d.EK == nil || d.AK.Equal(d.EK) || !bytes.Equal(d.UserData, make([]byte, 64)) {
				t.Errorf("got data %+v", d)
			}
			if got.PCRs[11] != z.PCRs[11] || got.Quote.ResetCount != 2 {
				t.Errorf("got PCR 11 %x and quote %+v", got.PCRs[11], got.Quote)
			}
			all := attest.Claims{InstanceIdentity: attest.Affirming, Configuration: attest.Affirming, Executables: attest.Affirming, Hardware: attest.Affirming, RuntimeOpaque: attest.Affirming}
			for what, tt := range map[string]struct {
				change func(*attest.AzureExpected)
				lowers func(*attest.Claims)
			}{
				"everything demanded": {func(*attest.AzureExpected) {}, func(*attest.Claims) {}},
				"any machine":         {func(e *attest.AzureExpected) { e.VMIDs = nil }, func(c *attest.Claims) { c.InstanceIdentity = attest.NoClaim }},
				"any PCRs":            {func(e *attest.AzureExpected) { e.TPM.Values = nil }, func(c *attest.Claims) { c.Executables = attest.NoClaim }},
				"any paravisor": {func(e *attest.AzureExpected) { e.Measurements, e.AllowAnyParavisor = nil, true },
					func(c *attest.Claims) { *c = attest.Claims{} }},
			} {
				got, err := z.Appraise(t, z.Bytes(t), tt.change)
				want := all
				tt.lowers(&want)
				if diff := cmp.Diff(want, got.Claims); err != nil || diff != "" {
					t.Errorf("%s: %v, claims (-want +got):\n%s", what, err, diff)
				}
			}
		})
	}
}

// TestAzureOnAChip: which chip a machine is on says which machine it is, but not where
// any paravisor is accepted.
func TestAzureOnAChip(t *testing.T) {
	z := attesttest.NewAzureSNP(t, azureNonce)
	trust := z.Trust(t)
	trust.SNP = attest.SNPTrust{Chips: [][64]byte{z.SNP.VCEK.HWID}}
	for what, tt := range map[string]struct {
		change func(*attest.AzureExpected)
		want   attest.Claim
	}{
		"its paravisor":              {func(*attest.AzureExpected) {}, attest.Affirming},
		"its paravisor, any machine": {func(e *attest.AzureExpected) { e.VMIDs = nil }, attest.Affirming},
		"any paravisor":              {func(e *attest.AzureExpected) { e.Measurements, e.AllowAnyParavisor = nil, true }, attest.NoClaim},
		"any paravisor and machine":  {func(e *attest.AzureExpected) { e.Measurements, e.AllowAnyParavisor, e.VMIDs = nil, true, nil }, attest.NoClaim},
	} {
		expected := z.Expected()
		tt.change(&expected)
		got, err := attest.AppraiseAzureSNP(z.Bytes(t), expected, trust, attesttest.At)
		// The chip is genuine in any case. That the TPM that quoted is in a guest of it,
		// its paravisor says.
		if err != nil || got.Claims.InstanceIdentity != tt.want || got.Claims.Hardware != tt.want {
			t.Errorf("%s: got %+v, %v, want InstanceIdentity and Hardware %d", what, got.Claims, err, tt.want)
		}
	}
	// What a relaxation leaves is told under any paravisor too.
	for name, tt := range map[string]struct {
		policy uint64
		want   attest.Claims
	}{
		"SMT":       {attest.SNPPolicySMT, attest.Claims{Configuration: attest.Warning}},
		"debugging": {attest.SNPPolicyDebug, attest.Claims{Configuration: attest.Contraindicated, RuntimeOpaque: attest.Contraindicated}},
	} {
		z := attesttest.NewAzureSNP(t, azureNonce)
		z.SNP.Report.Policy |= tt.policy
		trust := z.Trust(t)
		trust.AllowSMT, trust.AllowDebug = true, true
		got, err := attest.AppraiseAzureSNP(z.Bytes(t), attest.AzureExpected{AllowAnyParavisor: true}, trust, attesttest.At)
		if err != nil || got.Claims != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got.Claims, err, tt.want)
		}
	}
	trust.SNP.Chips[0][0] ^= 1
	if _, err := attest.AppraiseAzureSNP(z.Bytes(t), z.Expected(), trust, attesttest.At); verdict.CodeOf(err) != verdict.PlatformChip {
		t.Errorf("another chip: got %v", err)
	}
}

// An azureCase changes one thing of what is otherwise accepted.
type azureCase struct {
	name   string
	only   string // snp or tdx, "" for both
	change func(*attesttest.Azure)
	items  func(*attesttest.Azure, map[string]attest.Item) // parts of the evidence, after they were signed
	expect func(*attest.AzureExpected)
	code   verdict.Code // "" for accepted
	text   string
}

// frame32 puts a number into the frame.
func frame32(offset int, value uint32) func(*attesttest.Azure) {
	return func(z *attesttest.Azure) {
		z.OnHCL = func(frame []byte) []byte {
			binary.LittleEndian.PutUint32(frame[offset:], value)
			return frame
		}
	}
}

func azureCases(t *testing.T) []azureCase {
	host := attesttest.RSAPublic(t, 5)
	record := func(items map[string]attest.Item, label string, value []byte) {
		item := items[label]
		item.Value = value
		items[label] = item
	}
	resigned := func(change func([]byte)) func(*attesttest.Azure, map[string]attest.Item) {
		return func(z *attesttest.Azure, items map[string]attest.Item) {
			message := bytes.Clone(items[attest.LabelQuote].Value)
			change(message)
			record(items, attest.LabelQuote, message)
			record(items, attest.LabelSignature, z.Sign(t, message))
		}
	}
	vm := func(name string, value any) func(*attesttest.Azure) {
		return func(z *attesttest.Azure) { z.Data["vm-configuration"].(object)[name] = value }
	}
	three := uint32(3)
	return []azureCase{
		{name: "good"},
		{name: "good, without a public area", change: func(z *attesttest.Azure) { z.NoAK = true }},
		{name: "SHA-384 over the data", change: func(z *attesttest.Azure) { z.HCL.Hash = crypto.SHA384 }},
		{name: "SHA-512 over the data", change: func(z *attesttest.Azure) { z.HCL.Hash = crypto.SHA512 }},
		{name: "a quote of version 5", only: "tdx", change: func(z *attesttest.Azure) { z.TDX.Version = 5 }},
		{name: "any machine under any paravisor", expect: func(e *attest.AzureExpected) { *e = attest.AzureExpected{AllowAnyParavisor: true} }},
		{name: "user data in other letters", change: func(z *attesttest.Azure) { z.Data["user-data"] = strings.Repeat("aB", 64) },
			expect: func(e *attest.AzureExpected) { e.UserData = bytes.Repeat([]byte{0xab}, 64) }},
		{name: "user data that zeros follow", change: func(z *attesttest.Azure) { z.Data["user-data"] = "AA" + strings.Repeat("0", 126) },
			expect: func(e *attest.AzureExpected) { e.UserData = []byte{0xaa} }},
		{name: "a machine in other letters", expect: func(e *attest.AzureExpected) { e.VMIDs[0] = strings.ToLower(e.VMIDs[0]) }},

		// The platform.
		{name: "another paravisor", expect: func(e *attest.AzureExpected) { e.Measurements[0][47] ^= 1 }, code: verdict.GuestMeasurement, text: "none of the references"},
		{name: "a report of the guest's", only: "snp", change: func(z *attesttest.Azure) { z.SNP.Report.VMPL = 2 }, code: verdict.GuestVMPL, text: "VMPL is 2"},
		{name: "a debugged guest", only: "snp", change: func(z *attesttest.Azure) { z.SNP.Report.Policy |= attest.SNPPolicyDebug }, code: verdict.GuestDebug, text: "debugging"},
		{name: "a chain of another's", only: "snp", change: func(z *attesttest.Azure) { z.SNP.IssuedBy = 2 }, code: verdict.EndorsementUntrusted, text: "is not signed by"},
		{name: "another's signature", only: "snp", change: func(z *attesttest.Azure) { z.SNP.Signature = &[2][48]byte{{1}, {2}} }, code: verdict.EvidenceSignature, text: "not by the certificate's key"},
		{name: "a debugged TD", only: "tdx", change: func(z *attesttest.Azure) { z.TDX.Quote.TDAttributes |= attest.TDDebug }, code: verdict.GuestDebug, text: "debugging"},
		{name: "an old platform", only: "tdx", change: func(z *attesttest.Azure) { z.TDX.PCK.SVN[0] = 6 }, code: verdict.TCBStatus, text: "OutOfDate"},
		{name: "another RTMR", only: "tdx", expect: func(e *attest.AzureExpected) { e.RTMR = map[int][48]byte{2: {1}} }, code: verdict.GuestRegister, text: "RTMR2"},
		{name: "no quote of the TD", only: "tdx", items: func(_ *attesttest.Azure, items map[string]attest.Item) { delete(items, attest.LabelTDQuote) }, code: verdict.EvidenceMissing, text: "td-quote"},
		{name: "no quote, but nonsense", only: "tdx", items: func(_ *attesttest.Azure, items map[string]attest.Item) {
			record(items, attest.LabelTDQuote, []byte("x"))
		}, code: verdict.EvidenceMalformed, text: "TDX quote"},
		{name: "a TDREPORT of another TD", only: "tdx", change: func(z *attesttest.Azure) { z.OnTDReport = func(r []byte) { r[512+16] ^= 1 } }, code: verdict.EvidenceBinding, text: "another TDREPORT"},
		{name: "a TDREPORT of another module", only: "tdx", change: func(z *attesttest.Azure) { z.OnTDReport = func(r []byte) { r[264] ^= 1 } }, code: verdict.EvidenceBinding, text: "another TDREPORT"},
		{name: "a TDREPORT about other data", only: "tdx", change: func(z *attesttest.Azure) { z.OnTDReport = func(r []byte) { r[128] ^= 1 } }, code: verdict.EvidenceBinding, text: "another TDREPORT"},

		// Row 52: from the hardware's report to the data.
		{name: "a byte of the data", change: func(z *attesttest.Azure) { z.OnData = replaced(`"secure-boot":true`, `"secure-boot":null`) }, code: verdict.EvidenceBinding, text: "not about the data"},
		{name: "a space in the data", change: func(z *attesttest.Azure) { z.OnData = replaced(`:true,`, `: true,`) }, code: verdict.EvidenceBinding, text: "not about the data"},
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
		{name: "another hash than is named", change: func(z *attesttest.Azure) {
			z.OnReportData = func(d *[64]byte) { sum := sha256.Sum256([]byte("other")); copy(d[:], sum[:]) }
		}, code: verdict.EvidenceBinding, text: "not about the data"},
		{name: "a hash that is named otherwise", change: frame32(0x4cc, 2), code: verdict.EvidenceBinding, text: "SHA-384 and zeros"},

		// Rows 47, 48 and 53: from the data to the attestation key.
		{name: "the host's TPM beside a report", change: func(z *attesttest.Azure) { z.AKKey, z.AK = 5, host }, code: verdict.TPMAK, text: "not its HCLAkPub"},
		{name: "the host's TPM without a public area", change: func(z *attesttest.Azure) { z.AKKey, z.NoAK = 5, true }, code: verdict.EvidenceSignature, text: "not by the attestation key"},
		{name: "an attestation key of another exponent", change: func(z *attesttest.Azure) {
			parameters, err := z.AK.Parameters.RSADetail()
			if err != nil {
				t.Fatal(err)
			}
			changed := *parameters
			changed.Exponent = 3
			z.AK.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &changed)
		}, code: verdict.TPMAK, text: "not its HCLAkPub"},
		{name: "an attestation key on a curve", items: func(_ *attesttest.Azure, items map[string]attest.Item) {
			record(items, attest.LabelAKPublic, tpm2.Marshal(attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1)).AK))
		}, code: verdict.TPMAK, text: "not its HCLAkPub"},
		{name: "an attestation key that signs anything", change: func(z *attesttest.Azure) { z.AK.ObjectAttributes.Restricted = false }, code: verdict.TPMAK, text: "restricted"},
		{name: "the endorsement key's quote", change: func(z *attesttest.Azure) { z.AKKey, z.AK = 3, attesttest.RSAPublic(t, 3) }, code: verdict.TPMAK, text: "not its HCLAkPub"},

		// Rows 44 to 46 and 49 to 51: the quote.
		{name: "another nonce", expect: func(e *attest.AzureExpected) { e.TPM.Nonce = []byte("nonce") }, code: verdict.EvidenceNonce, text: "extraData"},
		{name: "another bank", change: func(z *attesttest.Azure) { z.Quote.Banks[0].Hash = uint16(tpm2.TPMAlgSHA1) }, code: verdict.TPMBank, text: "SHA-256 bank alone"},
		{name: "PCR 16 and 23 for 11 and 14", change: func(z *attesttest.Azure) { z.Quote.Banks[0].Bitmap = []byte{1, 0, 0x81}; z.PCRs[16] = z.PCRs[11] }, code: verdict.TPMSelection, text: "pcr11 is not selected"},
		{name: "an empty selection", change: func(z *attesttest.Azure) { z.Quote.Banks[0].Bitmap = []byte{0, 0, 0} }, code: verdict.TPMSelection, text: "no PCR"},
		{name: "PCR 24", change: func(z *attesttest.Azure) { z.Quote.Banks[0].Bitmap = []byte{1, 8, 0, 1} }, code: verdict.TPMSelection, text: "4 bytes"},
		{name: "no magic", items: resigned(func(m []byte) { m[0] = 0 }), code: verdict.TPMMagic, text: "magic"},
		{name: "a certify", items: resigned(func(m []byte) { m[5] = 0x17 }), code: verdict.TPMMagic, text: "type is"},
		{name: "a TPM that lost power", change: func(z *attesttest.Azure) { z.Quote.Safe = false }, code: verdict.TPMReset, text: "lost power"},
		{name: "another reset", expect: func(e *attest.AzureExpected) { e.TPM.ResetCount = &three }, code: verdict.TPMReset, text: "2 resets"},
		{name: "another PCR 11", change: func(z *attesttest.Azure) { z.PCRs[11][0]++ }, expect: func(e *attest.AzureExpected) {
			value := e.TPM.Values[11]
			value[0]--
			e.TPM.Values[11] = value
		}, code: verdict.GuestRegister, text: "pcr11"},
		{name: "values that were not quoted", items: func(_ *attesttest.Azure, items map[string]attest.Item) {
			items[attest.LabelPCRs].Value[0]++
		}, code: verdict.GuestRegister, text: "not those that were quoted"},
		{name: "a log without events", expect: func(e *attest.AzureExpected) {
			e.TPM.FromLog, e.TPM.EventLog = []int{4}, specID()
		}, code: verdict.EventLogIncomplete, text: "no event of PCR 4"},
		{name: "a byte of the quote", items: func(_ *attesttest.Azure, items map[string]attest.Item) { items[attest.LabelQuote].Value[20] ^= 1 }, code: verdict.EvidenceSignature, text: "not by the attestation key"},
		{name: "no signature", items: func(_ *attesttest.Azure, items map[string]attest.Item) { delete(items, attest.LabelSignature) }, code: verdict.EvidenceMissing, text: "signature"},

		// What the paravisor says of its machine.
		{name: "no secure boot", change: vm("secure-boot", false), code: verdict.GuestConfig, text: "secure-boot is false"},
		{name: "no TPM", change: vm("tpm-enabled", false), code: verdict.GuestConfig, text: "tpm-enabled is false"},
		{name: "another machine", expect: func(e *attest.AzureExpected) { e.VMIDs = []string{"6332533D-5649-4D02-8AA7-8F64B7C3EE22"} }, code: verdict.GuestConfig, text: "vmUniqueId"},
		{name: "other user data", expect: func(e *attest.AzureExpected) { e.UserData = []byte{1} }, code: verdict.EvidenceBinding, text: "user-data"},
		{name: "no user data", change: func(z *attesttest.Azure) { delete(z.Data, "user-data") }, code: verdict.EvidenceBinding, text: "user-data"},

		// Row 54: kinds.
		{name: "labelled by the other type", change: func(z *attesttest.Azure) {
			z.Type = map[string]string{attest.TypeAzureSNP: attest.TypeAzureTDX, attest.TypeAzureTDX: attest.TypeAzureSNP}[z.Type]
		}, code: verdict.EvidenceKind, text: "no collection of type"},
		{name: "labelled as the other hardware", change: func(z *attesttest.Azure) { z.HCL.Type ^= attest.HCLSNP ^ attest.HCLTDX },
			code: "other", text: ""},
		{name: "no frame", items: func(_ *attesttest.Azure, items map[string]attest.Item) { delete(items, attest.LabelHCLReport) }, code: verdict.EvidenceMissing, text: "hcl-report"},
	}
}

// specID is an event log of SHA-256 without events.
func specID() []byte {
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0)
	head := append([]byte{0, 0, 0, 0, 3, 0, 0, 0}, make([]byte, 20)...)
	return append(binary.LittleEndian.AppendUint32(head, uint32(len(spec))), spec...)
}

// TestRefuseAzure: each change is refused by the check that is there for it.
func TestRefuseAzure(t *testing.T) {
	for kind, made := range azureKinds {
		for _, tt := range azureCases(t) {
			if tt.only != "" && tt.only != kind {
				continue
			}
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				z := made(t, azureNonce)
				expected := z.Expected() // before the change
				if tt.change != nil {
					tt.change(z)
				}
				c := z.Collection(t)
				if tt.items != nil {
					tt.items(z, c.Items[attest.LabelEvidence].Nested.Items)
				}
				result, err := z.Appraise(t, encode(t, c), func(e *attest.AzureExpected) {
					values, nonce := e.TPM.Values, e.TPM.Nonce
					*e = expected
					e.TPM.Values, e.TPM.Nonce = values, nonce
					if tt.expect != nil {
						tt.expect(e)
					}
				})
				if tt.code == "" {
					if err != nil || result.Binding != attest.BindingHCL {
						t.Errorf("got %+v, %v", result, err)
					}
					return
				}
				code := tt.code
				if code == "other" { // a TDREPORT is no SNP report, and the reverse
					code = map[string]verdict.Code{"snp": verdict.EvidenceMalformed, "tdx": verdict.EvidenceKind}[kind]
				}
				if verdict.CodeOf(err) != code || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, want %s with %q", err, code, tt.text)
				}
				if result.Binding != "" || result.HCL.VMID != "" || result.Claims != (attest.Claims{}) {
					t.Errorf("with the error came %+v", result)
				}
			})
		}
	}
}

// TestAzureMisuse: what would accept anything is no answer, and neither is evidence
// of another kind.
func TestAzureMisuse(t *testing.T) {
	z := attesttest.NewAzureSNP(t, azureNonce)
	for name, change := range map[string]func(*attest.AzureExpected){
		"no measurement":               func(e *attest.AzureExpected) { e.Measurements = nil },
		"measurements and any":         func(e *attest.AzureExpected) { e.AllowAnyParavisor = true },
		"more user data than there is": func(e *attest.AzureExpected) { e.UserData = make([]byte, 65) },
	} {
		_, err := z.Appraise(t, z.Bytes(t), change)
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := attest.AppraiseAzureSNP(z.Bytes(t), z.Expected(), attest.Trust{}, attesttest.At); err == nil {
		t.Error("a trust that accepts nothing is an answer")
	}
	config := z.Trust(t)
	config.SNP.HostDataIsConfig = true
	for name, data := range map[string][]byte{"good": z.Bytes(t), "of no form": nil} {
		_, err := attest.AppraiseAzureSNP(data, z.Expected(), config, attesttest.At)
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), "no issuer statement") {
			t.Errorf("%s evidence, the digest of a configuration demanded: got %v", name, err)
		}
	}
	allowed := z.Trust(t)
	allowed.AllowVMPLs = []uint32{2}
	z.SNP.Report.VMPL = 2
	if _, err := attest.AppraiseAzureSNP(z.Bytes(t), z.Expected(), allowed, attesttest.At); verdict.CodeOf(err) != verdict.GuestVMPL {
		t.Errorf("a report of the guest's, where others of VMPL 2 are accepted: got %v", err)
	}
	x := attesttest.NewAzureTDX(t, azureNonce)
	if _, err := attest.AppraiseAzureSNP(x.Bytes(t), z.Expected(), z.Trust(t), attesttest.At); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("a TD as a guest of SNP: got %v", err)
	}
	s, in := goodSNP(t, attest.SNP)
	if _, err := z.Appraise(t, s.Bytes(t), nil); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("a bare report as one of Azure's: got %v", err)
	}
	if _, err := attest.Appraise(encode(t, withStatement(t, s.Collection(t), x.Collection(t))), in, attesttest.At); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("evidence of Azure as a daemon's: got %v", err)
	}
	for name, at := range map[string]time.Time{"later": attesttest.At.AddDate(20, 0, 0), "earlier": attesttest.At.AddDate(-20, 0, 0)} {
		want := map[string]verdict.Code{"later": verdict.EndorsementExpired, "earlier": verdict.EndorsementNotYetValid}[name]
		if _, err := attest.AppraiseAzureTDX(x.Bytes(t), x.TDX.Collateral(), x.Expected(), x.TDX.Trust(), at); verdict.CodeOf(err) != want {
			t.Errorf("TDX, %s: got %v, want %s", name, err, want)
		}
	}
}

// TestAzureBytes: no byte of a frame can be another, for the hardware signs its report
// and the report has the digest of the data. Of a TDREPORT, that holds for what a quote
// has of it.
func TestAzureBytes(t *testing.T) {
	z := attesttest.NewAzureSNP(t, azureNonce)
	trust, expected, c := z.Trust(t), z.Expected(), z.Collection(t)
	items := c.Items[attest.LabelEvidence].Nested.Items
	good := items[attest.LabelHCLReport].Value
	if _, err := attest.AppraiseAzureSNP(encode(t, c), expected, trust, attesttest.At); err != nil {
		t.Fatal(err)
	}
	codes := map[verdict.Code]bool{}
	for i := range good {
		if i%11 != 0 && i > 64 && i < len(good)-64 && (i < 0x4b0 || i > 0x4e0) {
			continue
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		set(items, attest.LabelHCLReport, bad)
		_, err := attest.AppraiseAzureSNP(encode(t, c), expected, trust, attesttest.At)
		if err == nil {
			t.Errorf("byte 0x%x can be another", i)
		}
		codes[verdict.CodeOf(err)] = true
	}
	for _, code := range []verdict.Code{verdict.EvidenceMalformed, verdict.EvidenceUnsupported, verdict.EvidenceSignature, verdict.EvidenceBinding} {
		if !codes[code] {
			t.Errorf("no byte is refused by %s", code)
		}
	}
}

// withStatement puts the evidence of one collection into another.
func withStatement(t *testing.T, c, evidence attest.Collection) attest.Collection {
	t.Helper()
	c.Items[attest.LabelEvidence] = evidence.Items[attest.LabelEvidence]
	return c
}
