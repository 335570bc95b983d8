// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func goodSVSM(t testing.TB) (*attesttest.SVSM, attest.Input) {
	t.Helper()
	s := attesttest.NewSVSM(t, attesttest.Statement(t), attesttest.Nonce(1))
	return s, s.Input(t)
}

// TestAppraiseSVSM: the hardware vouches for the SVSM, and the SVSM's TPM for what it
// started and for what the daemon decides by.
func TestAppraiseSVSM(t *testing.T) {
	s, in := goodSVSM(t)
	got, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != attest.SVSM || got.Binding != attest.BindingSVSM || got.Simulated || len(got.Relaxed) != 0 {
		t.Errorf("got kind %s, binding %s, simulated %t, relaxed %v", got.Kind, got.Binding, got.Simulated, got.Relaxed)
	}
	want := attest.Claims{InstanceIdentity: attest.Affirming, Configuration: attest.Affirming, Executables: attest.Affirming, Hardware: attest.Affirming, RuntimeOpaque: attest.Affirming}
	if got.Claims != want {
		t.Errorf("got claims %+v, want %+v", got.Claims, want)
	}
	if got.Measurement != hex.EncodeToString(s.SNP.Report.Measurement[:]) || got.Registers["pcr4"] != hex.EncodeToString(s.TPM.PCRs[4][:]) || len(got.Events) != 1 {
		t.Errorf("got measurement %s, registers %v, %d events", got.Measurement, got.Registers, len(got.Events))
	}
	if got.Chip() != hex.EncodeToString(s.SNP.Report.ChipID[:]) || got.AK.EK != s.TPM.Known(t).EK || got.AK.Clock != s.TPM.Quote.Clock {
		t.Errorf("got chip %s and %+v", got.Chip(), got.AK)
	}
	expected := attest.Expected{
		ReportData: verdict.ReportData(s.TPM.Statement, s.TPM.Nonces), QuoteData: verdict.QuoteData(s.TPM.Statement, s.TPM.Nonces),
		Entries: in.References.Entries, Floors: in.References.Floors,
	}
	if got, err := attest.AppraiseEvidence(s.Bytes(t), expected, in.Trust, in.Known, attesttest.At); err != nil || got.Events != nil || got.Kind != attest.SVSM {
		t.Errorf("without a statement: got %+v, %v", got, err)
	}
}

// TestRefuseSVSM changes one thing in good evidence, or in what the caller accepts: each
// link from the hardware to the statement, and each thing that is said on the way.
func TestRefuseSVSM(t *testing.T) {
	type change = func(*attesttest.SVSM, *attest.Input)
	report := func(f func(*attest.SNPReport)) change {
		return func(s *attesttest.SVSM, _ *attest.Input) { f(&s.SNP.Report) }
	}
	evidence := func(f func(items map[string]attest.Item)) change {
		return func(s *attesttest.SVSM, _ *attest.Input) { s.OnEvidence = f }
	}
	value := func(label string, f func([]byte) []byte) change {
		return evidence(func(items map[string]attest.Item) {
			item := items[label]
			item.Value = f(bytes.Clone(item.Value))
			items[label] = item
		})
	}
	manifest := func(f func([]byte) []byte) change {
		return func(s *attesttest.SVSM, _ *attest.Input) { s.OnManifest = f }
	}
	otherEK := func(s *attesttest.SVSM) []byte {
		ek := s.TPM.EK
		ek.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: append([]byte{0xC0}, make([]byte, 255)...)})
		return tpm2.Marshal(ek)
	}
	for _, test := range []struct {
		name   string
		change change
		code   verdict.Code
	}{
		// The hardware's report.
		{"another measurement", report(func(r *attest.SNPReport) { r.Measurement[0]++ }), verdict.GuestMeasurement},
		{"another signature", func(s *attesttest.SVSM, _ *attest.Input) { s.SNP.Signature = &[2][48]byte{{1}, {1}} }, verdict.EvidenceSignature},
		{"a chain of another", func(s *attesttest.SVSM, _ *attest.Input) { s.SNP.ARKKey, s.SNP.ASKKey, s.SNP.IssuedBy = 4, 5, 4 }, verdict.EndorsementUntrusted},
		{"a revoked VCEK", func(s *attesttest.SVSM, _ *attest.Input) { s.SNP.Revoked = []*big.Int{s.SNP.Leaf.SerialNumber} }, verdict.EndorsementRevoked},
		{"no revocation list", func(s *attesttest.SVSM, _ *attest.Input) { s.SNP.NoCRL = true }, verdict.EndorsementMissing},
		{"below the floor", func(_ *attesttest.SVSM, in *attest.Input) { in.References.Floors.SNP.SNP++ }, verdict.TCBMinimum},
		{"a chip that is not listed", func(_ *attesttest.SVSM, in *attest.Input) { in.Trust.SNP.Chips[0][0]++ }, verdict.PlatformChip},
		{"debugging", report(func(r *attest.SNPReport) { r.Policy |= attest.SNPPolicyDebug }), verdict.GuestDebug},
		{"HOST_DATA", report(func(r *attest.SNPReport) { r.HostData[0] = 1 }), verdict.GuestConfig},
		{"the level of the guest", report(func(r *attest.SNPReport) { r.VMPL = 2 }), verdict.GuestVMPL},
		{"the level of the guest, which is accepted of others", func(s *attesttest.SVSM, in *attest.Input) {
			s.SNP.Report.VMPL, in.Trust.AllowVMPLs = 1, []uint32{1, 2, 3}
		}, verdict.GuestVMPL},

		// What the report is about.
		{"a report for another statement", func(s *attesttest.SVSM, _ *attest.Input) {
			s.SNP.Report.ReportData = attest.SVSMReportData(verdict.ReportData([]byte("{}"), s.TPM.Nonces), tpm2.Marshal(s.TPM.EK))
		}, verdict.EvidenceBinding},
		{"a report for other nonces", func(s *attesttest.SVSM, _ *attest.Input) {
			s.SNP.Report.ReportData = attest.SVSMReportData(verdict.ReportData(s.TPM.Statement, nil), tpm2.Marshal(s.TPM.EK))
		}, verdict.EvidenceBinding},
		{"a report about the key of another TPM", func(s *attesttest.SVSM, _ *attest.Input) {
			s.SNP.Report.ReportData = attest.SVSMReportData(verdict.ReportData(s.TPM.Statement, s.TPM.Nonces), otherEK(s))
		}, verdict.EvidenceBinding},
		{"a report about no TPM", func(s *attesttest.SVSM, _ *attest.Input) {
			s.SNP.Report.ReportData = verdict.ReportData(s.TPM.Statement, s.TPM.Nonces)
		}, verdict.EvidenceBinding},
		{"the manifest of another TPM beside it", func(s *attesttest.SVSM, _ *attest.Input) {
			other := otherEK(s)
			s.OnEvidence = func(items map[string]attest.Item) {
				items[attest.LabelSVSMManifest] = attest.Item{MediaType: attest.TypeTPMPublic, Value: other, Indicator: attest.IndicatorEvidence}
			}
		}, verdict.EvidenceBinding},
		{"no report", evidence(func(items map[string]attest.Item) { delete(items, attest.LabelSVSMReport) }), verdict.EvidenceMissing},
		{"a simulator's report", evidence(func(items map[string]attest.Item) {
			item := items[attest.LabelSVSMReport]
			item.MediaType = attest.TypeSimSNPReport
			items[attest.LabelSVSMReport] = item
		}), verdict.EvidenceKind},
		{"a byte behind the report", value(attest.LabelSVSMReport, func(b []byte) []byte { return append(b, 0) }), verdict.EvidenceMalformed},
		{"no manifest", evidence(func(items map[string]attest.Item) { delete(items, attest.LabelSVSMManifest) }), verdict.EvidenceMissing},
		{"an empty manifest", manifest(func([]byte) []byte { return nil }), verdict.EvidenceMalformed},
		{"a byte behind the manifest", manifest(func(b []byte) []byte { return append(b, 0) }), verdict.EvidenceMalformed},
		{"a manifest that is larger than any", manifest(func(b []byte) []byte { return append(b, make([]byte, 2<<10)...) }), verdict.EvidenceLimit},
		{"a manifest of a key that signs", func(s *attesttest.SVSM, _ *attest.Input) {
			s.OnManifest = func([]byte) []byte { return tpm2.Marshal(s.TPM.AK) }
		}, verdict.TPMAK},
		{"a manifest of a key that may be elsewhere too", func(s *attesttest.SVSM, _ *attest.Input) { s.TPM.EK.ObjectAttributes.FixedTPM = false }, verdict.TPMAK},

		// The attestation key.
		{"an attestation key that nobody asked about", func(_ *attesttest.SVSM, in *attest.Input) { in.Known = nil }, verdict.TPMAK},
		{"an attestation key in another TPM", func(_ *attesttest.SVSM, in *attest.Input) { in.Known[0].EK = verdict.SHA256([]byte("other")).Hex() }, verdict.TPMAK},
		{"a report about a TPM that has another attestation key", func(s *attesttest.SVSM, _ *attest.Input) {
			other := otherEK(s)
			s.OnManifest = func([]byte) []byte { return other }
		}, verdict.TPMAK},
		{"an attestation key that was certified and not asked", func(_ *attesttest.SVSM, in *attest.Input) { in.Known[0].EK = "" }, verdict.TPMAK},
		{"an attestation key that signs anything", func(s *attesttest.SVSM, in *attest.Input) {
			s.TPM.AK.ObjectAttributes.Restricted = false
			in.Known = []attest.KnownAK{s.TPM.Known(t)}
		}, verdict.TPMAK},
		{"another attestation key beside the quote", func(s *attesttest.SVSM, in *attest.Input) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			s.TPM.AK = attesttest.AKPublic(t, &key.PublicKey)
			in.Known = []attest.KnownAK{s.TPM.Known(t)}
		}, verdict.EvidenceSignature},

		// The quote.
		{"another nonce", func(_ *attesttest.SVSM, in *attest.Input) { in.MyNonce = attesttest.Nonce(2) }, verdict.EvidenceNonce},
		{"a quote for another statement", func(s *attesttest.SVSM, _ *attest.Input) {
			other := verdict.QuoteData([]byte("{}"), s.TPM.Nonces)
			s.TPM.Quote.ExtraData = other[:]
		}, verdict.EvidenceBinding},
		{"a changed quote", value(attest.LabelQuote, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), verdict.EvidenceSignature},
		{"no quote", evidence(func(items map[string]attest.Item) { delete(items, attest.LabelQuote) }), verdict.EvidenceMissing},
		{"a TPM that was set back", func(_ *attesttest.SVSM, in *attest.Input) { in.Known[0].Resets = 3 }, verdict.TPMReset},
		{"a TPM that lost power", func(s *attesttest.SVSM, _ *attest.Input) { s.TPM.Quote.Safe = false }, verdict.TPMReset},
		{"other values than were quoted", value(attest.LabelPCRs, func(b []byte) []byte { b[0] ^= 1; return b }), verdict.GuestRegister},
		{"another PCR 4", func(s *attesttest.SVSM, _ *attest.Input) { s.TPM.PCRs[4][0]++ }, verdict.GuestRegister},
		{"a command line of the host", func(s *attesttest.SVSM, _ *attest.Input) { s.TPM.PCRs[12][0]++ }, verdict.GuestRegister},
		{"PCR 4 is not quoted", func(s *attesttest.SVSM, _ *attest.Input) { s.TPM.Quote.Banks[0].Bitmap = []byte{0xEF, 0xFF, 0} }, verdict.TPMSelection},

		// What the daemon decides by.
		{"a list of another end", func(s *attesttest.SVSM, _ *attest.Input) { s.TPM.Events[0].Policy = attesttest.Digest("other") }, verdict.GuestRegister},
		{"a list that was not extended", func(s *attesttest.SVSM, _ *attest.Input) { s.TPM.KeepPCR14 = true }, verdict.GuestRegister},
		{"another config", func(_ *attesttest.SVSM, in *attest.Input) {
			in.References.Entries[0].Configs = []verdict.Digest{attesttest.Digest("other")}
		}, verdict.IssuerConfig},

		// The kind.
		{"an entry without SVSM", func(_ *attesttest.SVSM, in *attest.Input) { in.References.Entries[0].Kind = verdict.KindSNP }, verdict.EvidenceKind},
		{"an entry of a TPM", func(_ *attesttest.SVSM, in *attest.Input) { in.References.Entries[0].Kind = verdict.KindTPM }, verdict.EvidenceKind},
		{"SNP alone is accepted", func(_ *attesttest.SVSM, in *attest.Input) { in.Trust.Kinds = []attest.Kind{attest.SNP} }, verdict.EvidenceKind},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, in := goodSVSM(t)
			test.change(s, &in)
			checkRefused(t, s.Bytes(t), in, test.code)
		})
	}
}

// TestSVSMIsItsOwnKind: a bare report or quote does not become one of an SVSM, nor the
// other way round.
func TestSVSMIsItsOwnKind(t *testing.T) {
	_, in := goodSVSM(t)
	bare, _ := goodSNP(t, attest.SNP)
	checkRefused(t, bare.Bytes(t), in, verdict.EvidenceKind)
	p := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	checkRefused(t, p.Bytes(t), in, verdict.EvidenceKind)
	c := p.Collection(t)
	c.Items[attest.LabelEvidence].Nested.Type = attest.TypeSVSM
	checkRefused(t, encode(t, c), in, verdict.EvidenceMissing)
}

// TestSVSMMisuse: a trust that accepts nothing, or anything, of the hardware is no answer.
func TestSVSMMisuse(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*attest.Input)
		text   string
	}{
		"no root":     {func(in *attest.Input) { in.Trust.SNPRoots = nil }, "no root of SNP"},
		"no chip":     {func(in *attest.Input) { in.Trust.SNP.Chips = nil }, "no chip is accepted"},
		"no floor":    {func(in *attest.Input) { in.References.Floors.SNP = nil }, "lowest TCB"},
		"a simulator": {func(in *attest.Input) { in.Trust.Kinds = append(in.Trust.Kinds, attest.SimulatedSNP) }, "simulator"},
	} {
		s, in := goodSVSM(t)
		test.change(&in)
		_, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want a misuse with %q", name, err, test.text)
		}
	}
}

// TestSVSMActivation: the TPM has to show that it holds both keys, once.
func TestSVSMActivation(t *testing.T) {
	s, in := goodSVSM(t)
	data := s.Bytes(t)
	for _, known := range []bool{false, true} {
		if !known {
			in.Known = nil
		} else {
			in = s.Input(t)
		}
		if needed, err := attest.ActivationNeeded(data, in); err != nil || needed == known {
			t.Errorf("known %t: got needed %t, %v", known, needed, err)
		}
	}
	challenge, err := attest.NewChallenge(data)
	if err != nil || len(challenge.Credential) == 0 {
		t.Fatalf("got %+v, %v", challenge, err)
	}
	if _, err := challenge.Prove(make([]byte, 32)); verdict.CodeOf(err) != verdict.TPMAK {
		t.Errorf("a wrong answer: got %v", err)
	}
	s.OnManifest = func(b []byte) []byte { return append(b, 0) }
	if _, err := attest.NewChallenge(s.Bytes(t)); verdict.CodeOf(err) != verdict.EvidenceMalformed {
		t.Errorf("a broken manifest: got %v", err)
	}
}

func FuzzSVSMManifest(f *testing.F) {
	s, _ := goodSVSM(f)
	inputs := fuzz.New(f, tpm2.Marshal(s.TPM.EK), tpm2.Marshal(s.TPM.AK), tpm2.Marshal(tpm2.ECCEKTemplate))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(publicHead(data))
		again, err := attest.ParseSVSMManifest(data)
		if err == nil && !bytes.Equal(again, data) {
			t.Errorf("read %x as %x", data, again)
		}
		if err != nil && verdict.CodeOf(err) == "" {
			t.Errorf("got %v", err)
		}
	})
}

// FuzzSVSMParts gets past the collection, to which each part is its own: only that of a
// signature, which is malleable, may be another one.
func FuzzSVSMParts(f *testing.F) {
	s, in := goodSVSM(f)
	good := s.Collection(f)
	labels := []string{attest.LabelSVSMReport, attest.LabelSVSMManifest, attest.LabelAKPublic, attest.LabelQuote, attest.LabelSignature, attest.LabelPCRs}
	items := good.Items[attest.LabelEvidence].Nested.Items
	goods := make([]fuzz.Goods, len(labels))
	for i, label := range labels {
		goods[i] = fuzz.NewGoods(f, items[label].Value)
	}
	same := []byte{0xff}
	f.Add(same, same, same, same, same, same)
	inputs := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, report, manifest, ak, quote, signature, pcrs []byte) {
		for i, value := range []*[]byte{&report, &manifest, &ak, &quote, &signature, &pcrs} {
			*value = goods[i].Of(*value)
		}
		inputs.Add(len(report) == attest.SNPReportSize && publicHead(manifest) && publicHead(ak) && bytes.HasPrefix(quote, []byte("\xffTCG\x80\x18")))
		changed, c := maps.Clone(items), good
		for i, value := range [][]byte{report, manifest, ak, quote, signature, pcrs} {
			item := changed[labels[i]]
			item.Value = value
			changed[labels[i]] = item
		}
		c.Items = maps.Clone(good.Items)
		c.Items[attest.LabelEvidence] = attest.Item{Nested: &attest.Collection{Type: attest.TypeSVSM, Items: changed}}
		data, err := c.Marshal()
		if err != nil { // too large
			return
		}
		_, err = attest.Appraise(data, in, attesttest.At)
		if coded(t, err); err != nil {
			return
		}
		for i, value := range [][]byte{report[:min(len(report), 0x2A0)], manifest, ak, quote, nil, pcrs} {
			if want := items[labels[i]].Value; value != nil && !bytes.Equal(value, want[:min(len(want), len(value))]) {
				t.Errorf("accepted with another %s", labels[i])
			}
		}
	})
}

func FuzzAppraiseSVSM(f *testing.F) {
	s, in := goodSVSM(f)
	inputs := newCollections(f, s.Bytes(f))
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
		if got.StatementDigest != verdict.SHA256(s.TPM.Statement) || got.Measurement != in.References.Entries[0].Measurement {
			t.Errorf("accepted %s of %s", got.StatementDigest, got.Measurement)
		}
	})
}
