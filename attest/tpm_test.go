// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// goodTPM returns evidence of a TPM and what accepts it.
func goodTPM(t testing.TB) (*attesttest.TPM, attest.Input) {
	t.Helper()
	p := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	return p, p.Input(t)
}

func TestAppraiseTPM(t *testing.T) {
	p, in := goodTPM(t)
	got, err := attest.Appraise(p.Bytes(t), in, attesttest.At)
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != attest.TPM || got.Binding != attest.BindingCA || got.Simulated {
		t.Errorf("got kind %s, binding %s, simulated %t", got.Kind, got.Binding, got.Simulated)
	}
	if got.Claims.Hardware != attest.NoClaim {
		t.Errorf("got hardware claim %d: a TPM behind an authority makes none", got.Claims.Hardware)
	}
	if want := in.References.Entries[0].Registers["pcr11"]; got.Measurement != want || got.Registers["pcr11"] != want {
		t.Errorf("got measurement %s and PCR 11 %s, want %s", got.Measurement, got.Registers["pcr11"], want)
	}
	if diff := cmp.Diff(p.Events, got.Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	want := p.Known(t)
	want.Resets, want.Clock = 2, 1000
	if got.AK != want {
		t.Errorf("got AK %+v, want %+v", got.AK, want)
	}
	// What was kept is good for the next quote, and for the same one again.
	in.Known = []attest.KnownAK{got.AK}
	if _, err := attest.Appraise(p.Bytes(t), in, attesttest.At); err != nil {
		t.Errorf("appraising again: %v", err)
	}
}

func TestAppraiseCertifiedAK(t *testing.T) {
	p, in := goodTPM(t)
	p.AKTemplate = &x509.Certificate{
		NotBefore: attesttest.At.Add(-time.Hour), NotAfter: attesttest.At.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	in.Trust.EKCAs, in.Trust.AKCAs, in.Known = nil, in.Trust.EKCAs, nil
	data := p.Bytes(t)
	if needed, err := attest.ActivationNeeded(data, in); err != nil || needed {
		t.Errorf("activation needed: %t, %v", needed, err)
	}
	if _, err := attest.Appraise(data, in, attesttest.At); err != nil {
		t.Error(err)
	}
	p.AKTemplate.KeyUsage = x509.KeyUsageKeyEncipherment
	checkRefused(t, p.Bytes(t), in, verdict.TPMAK)
	p.AKTemplate.KeyUsage = x509.KeyUsageDigitalSignature
	other := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	other.AKTemplate = p.AKTemplate
	c := p.Collection(t)
	label := attest.LabelAKCertificate
	c.Items[attest.LabelEndorsements].Nested.Items[label] = other.Collection(t).Items[attest.LabelEndorsements].Nested.Items[label]
	checkRefused(t, encode(t, c), in, verdict.TPMAK)
}

// encode marshals a collection.
func encode(t testing.TB, c attest.Collection) []byte {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRefuseTPM changes one thing in good evidence, or in what the caller accepts.
func TestRefuseTPM(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*attesttest.TPM, *attest.Input)
		code   verdict.Code
	}{
		{"another nonce", func(_ *attesttest.TPM, in *attest.Input) { in.MyNonce = attesttest.Nonce(2) }, verdict.EvidenceNonce},
		{"quote for another statement", func(p *attesttest.TPM, _ *attest.Input) {
			bound := verdict.QuoteData([]byte("{}"), p.Nonces)
			p.Quote.ExtraData = bound[:]
		}, verdict.EvidenceBinding},
		{"extraData of the right start", func(p *attesttest.TPM, _ *attest.Input) {
			bound := verdict.QuoteData(p.Statement, p.Nonces)
			p.Quote.ExtraData = bound[:31]
		}, verdict.EvidenceBinding},
		{"another bank", func(p *attesttest.TPM, _ *attest.Input) { p.Quote.Banks[0].Hash = uint16(tpm2.TPMAlgSHA384) }, verdict.TPMBank},
		{"two banks", func(p *attesttest.TPM, _ *attest.Input) {
			p.Quote.Banks = append(p.Quote.Banks, p.Quote.Banks[0])
		}, verdict.TPMBank},
		{"no bank", func(p *attesttest.TPM, _ *attest.Input) { p.Quote.Banks = nil }, verdict.TPMBank},
		{"selection of PCR 24 and above", func(p *attesttest.TPM, _ *attest.Input) {
			p.Quote.Banks[0].Bitmap = append(p.Quote.Banks[0].Bitmap, 0)
		}, verdict.TPMSelection},
		{"PCR 11 not selected", func(p *attesttest.TPM, _ *attest.Input) { p.Quote.Banks[0].Bitmap[1] &^= 1 << 3 }, verdict.TPMSelection},
		{"PCR 14 not selected", func(p *attesttest.TPM, _ *attest.Input) { p.Quote.Banks[0].Bitmap[1] &^= 1 << 6 }, verdict.TPMSelection},
		{"another PCR 11", func(p *attesttest.TPM, _ *attest.Input) { p.PCRs[11][0]++ }, verdict.GuestRegister},
		{"PCR 14 extended by another", func(p *attesttest.TPM, _ *attest.Input) {
			p.PCRs[14] = attest.ExtendPCR(p.List(t).Replay(), [32]byte{1})
			p.KeepPCR14 = true
		}, verdict.GuestRegister},
		{"no events", func(p *attesttest.TPM, _ *attest.Input) { p.Events = nil }, verdict.GuestRegister},
		{"last event of another policy", func(p *attesttest.TPM, _ *attest.Input) {
			last := p.Events[0]
			last.Policy = attesttest.Digest("other")
			p.Events = append(p.Events, last)
		}, verdict.GuestRegister},
		{"last event of another boot", func(p *attesttest.TPM, _ *attest.Input) {
			last := p.Events[0]
			last.Boot = "ffffffffffffffffffffffffffffffff"
			p.Events = append(p.Events, last)
		}, verdict.GuestRegister},
		{"events in another order", func(p *attesttest.TPM, _ *attest.Input) {
			first := p.Events[0]
			first.Policy = attesttest.Digest("other")
			p.Events = []verdict.RegisterEvent{first, p.Events[0]}
			p.PCRs[14] = p.List(t).Replay()
			p.KeepPCR14 = true
			slices.Reverse(p.Events)
		}, verdict.GuestRegister},
		{"clock not safe", func(p *attesttest.TPM, _ *attest.Input) { p.Quote.Safe = false }, verdict.TPMReset},
		{"resets went back", func(_ *attesttest.TPM, in *attest.Input) { in.Known[0].Resets = 3 }, verdict.TPMReset},
		{"restarts went back", func(_ *attesttest.TPM, in *attest.Input) { in.Known[0].Resets, in.Known[0].Restarts = 2, 1 }, verdict.TPMReset},
		{"clock went back", func(_ *attesttest.TPM, in *attest.Input) { in.Known[0].Resets, in.Known[0].Clock = 2, 1001 }, verdict.TPMReset},
		{"AK not proven", func(_ *attesttest.TPM, in *attest.Input) { in.Known = nil }, verdict.TPMAK},
		{"AK known without proof", func(_ *attesttest.TPM, in *attest.Input) { in.Known[0].EK = "" }, verdict.TPMAK},
		{"AK proven for another TPM", func(p *attesttest.TPM, in *attest.Input) {
			in.Known[0].EK = attesttest.Digest("other").Hex()
		}, verdict.TPMAK},
		{"AK without restricted", func(p *attesttest.TPM, _ *attest.Input) { p.AK.ObjectAttributes.Restricted = false }, verdict.TPMAK},
		{"AK that came from outside", func(p *attesttest.TPM, _ *attest.Input) { p.AK.ObjectAttributes.SensitiveDataOrigin = false }, verdict.TPMAK},
		{"AK that may leave", func(p *attesttest.TPM, _ *attest.Input) { p.AK.ObjectAttributes.FixedTPM = false }, verdict.TPMAK},
		{"AK that decrypts", func(p *attesttest.TPM, _ *attest.Input) { p.AK.ObjectAttributes.Decrypt = true }, verdict.TPMAK},
		{"EK that signs", func(p *attesttest.TPM, _ *attest.Input) { p.EK.ObjectAttributes.SignEncrypt = true }, verdict.TPMAK},
		{"EK with a short symmetric key", changedEK(t, func(e *tpm2.TPMSRSAParms) {
			e.Symmetric.KeyBits = tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(64))
		}), verdict.TPMAK},
		{"EK with another symmetric mode", changedEK(t, func(e *tpm2.TPMSRSAParms) {
			e.Symmetric.Mode = tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCBC)
		}), verdict.TPMAK},
		{"EK without symmetric algorithm", changedEK(t, func(e *tpm2.TPMSRSAParms) {
			e.Symmetric = tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}
		}), verdict.TPMAK},
		{"EK with a scheme", changedEK(t, func(e *tpm2.TPMSRSAParms) {
			e.Scheme = tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSAES, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAES, &tpm2.TPMSEncSchemeRSAES{})}
		}), verdict.TPMAK},
		{"EK of another authority", func(p *attesttest.TPM, _ *attest.Input) { p.CAKey = 4 }, verdict.EndorsementUntrusted},
		{"no authority for EKs", func(_ *attesttest.TPM, in *attest.Input) {
			in.Trust.EKCAs, in.Trust.AKCAs = nil, in.Trust.EKCAs
		}, verdict.EndorsementUntrusted},
		{"EK certificate for something else", func(p *attesttest.TPM, _ *attest.Input) {
			p.EKTemplate.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}}
		}, verdict.EndorsementUntrusted},
		{"EK certificate expired", func(p *attesttest.TPM, _ *attest.Input) { p.EKTemplate.NotAfter = attesttest.At.Add(-time.Second) }, verdict.EndorsementExpired},
		{"EK certificate not yet valid", func(p *attesttest.TPM, _ *attest.Input) { p.EKTemplate.NotBefore = attesttest.At.Add(time.Second) }, verdict.EndorsementNotYetValid},
		{"EK certificate for another key", func(p *attesttest.TPM, _ *attest.Input) { p.EKKey = 5 }, verdict.TPMAK},
		{"no EK certificate", func(p *attesttest.TPM, _ *attest.Input) { p.EKTemplate = nil }, verdict.EndorsementMissing},
		{"another config", func(_ *attesttest.TPM, in *attest.Input) {
			in.References.Entries[0].Configs = []verdict.Digest{attesttest.Digest("other")}
		}, verdict.IssuerConfig},
		{"development entry", func(_ *attesttest.TPM, in *attest.Input) {
			in.References.Entries[0].Profile = verdict.Development
		}, verdict.IssuerProfile},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, in := goodTPM(t)
			test.change(p, &in)
			checkRefused(t, p.Bytes(t), in, test.code)
		})
	}
}

// changedEK changes the parameters of the endorsement key: whoever chooses them
// chooses how the challenge is sealed.
func changedEK(t *testing.T, change func(*tpm2.TPMSRSAParms)) func(*attesttest.TPM, *attest.Input) {
	return func(p *attesttest.TPM, _ *attest.Input) {
		parameters, err := p.EK.Parameters.RSADetail()
		if err != nil {
			t.Fatal(err)
		}
		changed := *parameters
		change(&changed)
		p.EK.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &changed)
	}
}

// TestRefuseTPMParts changes a part of the collection after it was signed.
func TestRefuseTPMParts(t *testing.T) {
	evidence := func(c attest.Collection) map[string]attest.Item { return c.Items[attest.LabelEvidence].Nested.Items }
	endorsements := func(c attest.Collection) map[string]attest.Item {
		return c.Items[attest.LabelEndorsements].Nested.Items
	}
	for _, test := range []struct {
		name   string
		change func(*testing.T, *attesttest.TPM, attest.Collection)
		code   verdict.Code
	}{
		{"a byte of the quote", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			evidence(c)[attest.LabelQuote].Value[20]++
		}, verdict.EvidenceSignature},
		{"signature by another key", func(t *testing.T, _ *attesttest.TPM, c attest.Collection) {
			other := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
			set(evidence(c), attest.LabelSignature, other.Sign(t, evidence(c)[attest.LabelQuote].Value))
		}, verdict.EvidenceSignature},
		{"signature with trailing bytes", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			set(evidence(c), attest.LabelSignature, append(evidence(c)[attest.LabelSignature].Value, 0))
		}, verdict.EvidenceMalformed},
		{"quote with trailing bytes", func(t *testing.T, p *attesttest.TPM, c attest.Collection) {
			message := append(evidence(c)[attest.LabelQuote].Value, 0)
			set(evidence(c), attest.LabelQuote, message)
			set(evidence(c), attest.LabelSignature, p.Sign(t, message))
		}, verdict.EvidenceMalformed},
		{"not made by a TPM", func(t *testing.T, p *attesttest.TPM, c attest.Collection) {
			message := evidence(c)[attest.LabelQuote].Value
			message[0] = 0
			set(evidence(c), attest.LabelSignature, p.Sign(t, message))
		}, verdict.TPMMagic},
		{"a certify, not a quote", func(t *testing.T, p *attesttest.TPM, c attest.Collection) {
			message := evidence(c)[attest.LabelQuote].Value
			message[5] = 0x17
			set(evidence(c), attest.LabelSignature, p.Sign(t, message))
		}, verdict.TPMMagic},
		{"AK with trailing bytes", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			set(evidence(c), attest.LabelAKPublic, append(evidence(c)[attest.LabelAKPublic].Value, 0))
		}, verdict.EvidenceMalformed},
		{"no events", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) { delete(c.Items, attest.LabelRegisters) }, verdict.EvidenceMissing},
		{"events without an end", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			list := c.Items[attest.LabelRegisters].Value
			set(c.Items, attest.LabelRegisters, list[:len(list)-1])
		}, verdict.EvidenceMalformed},
		{"labelled as SNP", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			c.Items[attest.LabelEvidence] = attest.Item{MediaType: attest.TypeSNPReport, Value: evidence(c)[attest.LabelQuote].Value}
		}, verdict.EvidenceKind},
		{"labelled as nothing known", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			c.Items[attest.LabelEvidence] = attest.Item{MediaType: "application/octet-stream"}
		}, verdict.EvidenceKind},
		{"no evidence", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) { delete(c.Items, attest.LabelEvidence) }, verdict.EvidenceMissing},
		{"no statement", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) { delete(c.Items, attest.LabelStatement) }, verdict.EvidenceMissing},
		{"a statement that is none", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			set(c.Items, attest.LabelStatement, []byte("{}"))
		}, verdict.IssuerMalformed},
		{"part of a nonce", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			set(c.Items, attest.LabelNonces, c.Items[attest.LabelNonces].Value[1:])
		}, verdict.EvidenceMalformed},
		{"EK certificate that is none", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) {
			set(endorsements(c), attest.LabelEKCertificate, []byte("certificate"))
		}, verdict.EndorsementMalformed},
		{"no endorsements", func(_ *testing.T, _ *attesttest.TPM, c attest.Collection) { delete(c.Items, attest.LabelEndorsements) }, verdict.EndorsementMissing},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, in := goodTPM(t)
			c := p.Collection(t)
			test.change(t, p, c)
			checkRefused(t, encode(t, c), in, test.code)
		})
	}
}

// set replaces the value of a record.
func set(items map[string]attest.Item, label string, value []byte) {
	item := items[label]
	item.Value = value
	items[label] = item
}

// TestR58Selection holds that a quote over no or other PCRs, in another bank, or
// beside other values is refused: the values prove only what was quoted.
func TestR58Selection(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*attesttest.TPM)
		code   verdict.Code
	}{
		{"empty selection", func(p *attesttest.TPM) { p.Quote.Banks[0].Bitmap = []byte{0, 0, 0} }, verdict.TPMSelection},
		{"without a PCR of the references", func(p *attesttest.TPM) { p.Quote.Banks[0].Bitmap = []byte{0xFF, 0xF7, 0} }, verdict.TPMSelection},
		{"PCR 16 and 23 in place of 11 and 14", func(p *attesttest.TPM) {
			p.PCRs[16], p.PCRs[23] = p.PCRs[11], p.List(t).Replay()
			p.Quote.Banks[0].Bitmap = []byte{0, 0, 0x81}
		}, verdict.TPMSelection},
		{"SHA-1 bank only", func(p *attesttest.TPM) { p.Quote.Banks[0].Hash = uint16(tpm2.TPMAlgSHA1) }, verdict.TPMBank},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, in := goodTPM(t)
			test.change(p)
			checkRefused(t, p.Bytes(t), in, test.code)
		})
	}
	t.Run("values beside the quote changed", func(t *testing.T) {
		p, in := goodTPM(t)
		c := p.Collection(t)
		c.Items[attest.LabelEvidence].Nested.Items[attest.LabelPCRs].Value[11*sha256.Size]++
		checkRefused(t, encode(t, c), in, verdict.GuestRegister)
	})
	t.Run("a value too many", func(t *testing.T) {
		p, in := goodTPM(t)
		c := p.Collection(t)
		items := c.Items[attest.LabelEvidence].Nested.Items
		set(items, attest.LabelPCRs, append(items[attest.LabelPCRs].Value, make([]byte, sha256.Size)...))
		checkRefused(t, encode(t, c), in, verdict.TPMSelection)
	})
}

// TestChallenge holds that only the secret proves the key.
func TestChallenge(t *testing.T) {
	p, in := goodTPM(t)
	in.Known = nil
	data := p.Bytes(t)
	if needed, err := attest.ActivationNeeded(data, in); err != nil || !needed {
		t.Errorf("activation needed: %t, %v", needed, err)
	}
	challenge, err := attest.NewChallenge(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range [][]byte{nil, make([]byte, 32), challenge.Credential} {
		if _, err := challenge.Prove(answer); verdict.CodeOf(err) != verdict.TPMAK {
			t.Errorf("answer of %d bytes: got %v, want %s", len(answer), err, verdict.TPMAK)
		}
	}
	if _, err := (attest.Challenge{}).Prove(nil); err == nil {
		t.Error("a challenge that nobody made is answered by nothing")
	}
	s, snp := goodSNP(t, attest.SNP)
	if needed, err := attest.ActivationNeeded(s.Bytes(t), snp); err != nil || needed {
		t.Errorf("SNP: activation needed: %t, %v", needed, err)
	}
	if _, err := attest.NewChallenge(s.Bytes(t)); verdict.CodeOf(err) != verdict.EvidenceKind {
		t.Errorf("SNP: got %v, want %s", err, verdict.EvidenceKind)
	}
}

// TestSharedQuote verifies the genuine quote of a GCE vTPM. It is bound to a nonce
// of two bytes and to no statement, so only its form, signature and values can be
// looked at.
func TestSharedQuote(t *testing.T) {
	dir := filepath.Join("..", "..", "shared", "testdata", "evidence", "tpm-gce-genuine-accept")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no shared test data: %v", err)
	}
	var pcrs struct {
		Bank   string
		Values map[string]string
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "pcrs.json")), &pcrs); err != nil {
		t.Fatal(err)
	}
	var values []byte
	for i := range 24 {
		value, err := hex.DecodeString(pcrs.Values[strconv.Itoa(i)])
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value...)
	}
	evidence := attest.Collection{Items: map[string]attest.Item{
		attest.LabelQuote:     {MediaType: attest.TypeTPMAttest, Value: readFile(t, filepath.Join(dir, "quote.bin"))},
		attest.LabelSignature: {MediaType: attest.TypeTPMSignature, Value: readFile(t, filepath.Join(dir, "signature.bin"))},
		attest.LabelAKPublic:  {MediaType: attest.TypeTPMPublic, Value: readFile(t, filepath.Join(dir, "ak_public.bin"))},
		attest.LabelPCRs:      {MediaType: attest.TypeTPMPCRs, Value: values},
	}}
	quote, got, err := attest.VerifyQuote(evidence)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(quote.ExtraData) != "9009" || quote.ResetCount != 10 || !quote.Safe || len(got) != 24 {
		t.Errorf("got extraData %x, resets %d, safe %t, %d PCRs", quote.ExtraData, quote.ResetCount, quote.Safe, len(got))
	}
	values[0]++
	if _, _, err := attest.VerifyQuote(evidence); verdict.CodeOf(err) != verdict.GuestRegister {
		t.Errorf("another value of PCR 0: got %v, want %s", err, verdict.GuestRegister)
	}
}

func FuzzQuote(f *testing.F) {
	p, _ := goodTPM(f)
	items := p.Collection(f).Items[attest.LabelEvidence].Nested.Items
	inputs := fuzz.New(f, items[attest.LabelQuote].Value)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(bytes.HasPrefix(data, []byte("\xffTCG\x80\x18")))
		q, err := attest.ParseQuote(data)
		if err != nil {
			if !cmp.Equal(q, attest.Quote{}) {
				t.Error("a quote beside an error")
			}
			return
		}
		if string(q.Marshal()) != string(data) {
			t.Error("the quote encodes to other bytes")
		}
	})
}

// TestTPMName: a key has the name that the library gives it.
func TestTPMName(t *testing.T) {
	p, _ := goodTPM(t)
	for _, area := range []tpm2.TPMTPublic{p.AK, p.EK} {
		for _, alg := range []tpm2.TPMAlgID{tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384} {
			area.NameAlg = alg
			want, err := tpm2.ObjectName(&area)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := attest.TPMName(tpm2.Marshal(area)); err != nil || !bytes.Equal(got, want.Buffer) {
				t.Errorf("got %x, %v, want %x", got, err, want.Buffer)
			}
		}
	}
}

func FuzzTPMPublic(f *testing.F) {
	p, _ := goodTPM(f)
	inputs := fuzz.New(f, tpm2.Marshal(p.AK), tpm2.Marshal(p.EK), tpm2.Marshal(tpm2.ECCEKTemplate))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(publicHead(data))
		if err := attest.RecoverMalformed(func() {
			if err := attest.ParseTPMPublic(data); err != nil && verdict.CodeOf(err) == verdict.Internal {
				t.Errorf("an error without a code: %v", err)
			}
		}); err != nil {
			t.Errorf("it panics: %v", err)
		}
	})
}

// publicHead: RSA or ECC, a name algorithm, attributes and the size of a policy.
func publicHead(data []byte) bool {
	return len(data) >= 10 && data[0] == 0 && (data[1] == 0x01 || data[1] == 0x23) && data[2] == 0 && data[3] == 0x0b
}

func FuzzQuoteSignature(f *testing.F) {
	p, _ := goodTPM(f)
	evidence := *p.Collection(f).Items[attest.LabelEvidence].Nested
	good := evidence.Items[attest.LabelSignature].Value
	verify, err := attest.QuoteVerifier(evidence)
	if err != nil {
		f.Fatal(err)
	}
	inputs := fuzz.New(f, good)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(len(data) >= 4 && bytes.HasPrefix(data, good[:4])) // ECDSA with SHA-256
		set(evidence.Items, attest.LabelSignature, data)
		if _, _, err := verify(evidence); err != nil && verdict.CodeOf(err) == verdict.Internal {
			t.Errorf("an error without a code: %v", err)
		}
	})
}
