// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// Indexes of the RSA keys of a confidential VM of Azure.
const (
	azureAK = 4
	azureEK = 3
)

// Azure is the evidence of a confidential VM of Azure before it is signed and
// encoded: a paravisor on SNP or TDX, and the TPM that it runs. Each field may be
// changed before Collection is called.
type Azure struct {
	// SNP or TDX is the platform, the other one is nil.
	SNP *SNP
	TDX *TDX
	// Type is the type of the evidence.
	Type string
	// Statement and Nonces are what the quote is about, unless Statement is nil. Events
	// is the event list, whose replay PCR 14 is then, unless KeepPCR14 is set.
	Statement, Nonces []byte
	Events            []verdict.RegisterEvent
	KeepPCR14         bool
	// NoVCEK leaves out the certificate of the key of the chip.
	NoVCEK bool
	// HCL is the frame. Its Hardware and Data are filled in.
	HCL attest.HCLReport
	// Data is the JSON, and OnData changes it after the hardware reported it.
	Data   map[string]any
	OnData func(data []byte) []byte
	// OnReportData changes what the hardware reports.
	OnReportData func(reportData *[64]byte)
	// OnTDReport changes the TDREPORT, of which the quote is not.
	OnTDReport func(report []byte)
	// OnHCL changes the frame after it was encoded.
	OnHCL func(frame []byte) []byte
	// Quote is the quote before it is signed. Its PCRDigest is filled in where it is
	// nil.
	Quote attest.Quote
	// PCRs are the values of the PCRs by index.
	PCRs [24][sha256.Size]byte
	// AKKey is the index of the key that signs the quote, and AK the public area
	// beside it, which is left out where NoAK is set.
	AKKey int
	AK    tpm2.TPMTPublic
	NoAK  bool
}

// NewAzureSNP returns evidence of a VM with SEV-SNP, for a nonce.
func NewAzureSNP(t testing.TB, nonce []byte) *Azure {
	t.Helper()
	z := newAzure(t, nonce, attest.HCLSNP)
	z.SNP = NewSNP(t, attest.SNP, nil, Nonce(0))
	return z
}

// NewAzureTDX does so with TDX.
func NewAzureTDX(t testing.TB, nonce []byte) *Azure {
	t.Helper()
	z := newAzure(t, nonce, attest.HCLTDX)
	z.HCL.Version, z.Type = 2, attest.TypeAzureTDX
	z.TDX = NewTDX(t, At)
	z.TDX.Quote.RTMR = [4][48]byte{}
	return z
}

// State has the quote be about a statement and one nonce, with the statement's event in
// the list, as a daemon does, and pins the PCRs that say what was started.
func (z *Azure) State(t testing.TB, statement verdict.Statement, nonce [verdict.NonceSize]byte) *Azure {
	t.Helper()
	z.Statement, z.Nonces, z.Quote.ExtraData = Encode(t, statement), nonce[:], nil
	z.Events = []verdict.RegisterEvent{Event(statement)}
	z.PCRs[4], z.PCRs[12] = sha256.Sum256([]byte("firmware")), sha256.Sum256([]byte("command line"))
	return z
}

func newAzure(t testing.TB, nonce []byte, kind attest.HCLType) *Azure {
	t.Helper()
	z := &Azure{
		Type: attest.TypeAzureSNP, HCL: attest.HCLReport{Version: 1, Type: kind, Hash: crypto.SHA256},
		Data: map[string]any{
			"keys": []any{JWK(t, "HCLAkPub", azureAK), JWK(t, "HCLEkPub", azureEK)},
			"vm-configuration": map[string]any{
				"console-enabled": true, "root-cert-thumbprint": "thumbprint", "secure-boot": true, "tpm-enabled": true, "vmUniqueId": "6332533D-5649-4D02-8AA7-8F64B7C3EE21",
			},
			"user-data": strings.Repeat("0", 128),
		},
		Quote: attest.Quote{
			Signer: []byte("signer"), ExtraData: nonce, Clock: 1000, ResetCount: 2, Safe: true, Firmware: 1,
			Banks: []attest.PCRBank{{Hash: uint16(tpm2.TPMAlgSHA256), Bitmap: []byte{0xFF, 0xFF, 0xFF}}},
		},
		AKKey: azureAK, AK: RSAPublic(t, azureAK),
	}
	z.PCRs[11] = sha256.Sum256([]byte("started"))
	return z
}

// JWK is an RSA key of this package as the paravisor names it.
func JWK(t testing.TB, name string, key int) map[string]any {
	t.Helper()
	return JWKOf(name, &rsaKey(t, key).PublicKey)
}

// JWKOf does so for a key of another's.
func JWKOf(name string, public *rsa.PublicKey) map[string]any {
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]any{"kid": name, "kty": "RSA", "key_ops": []any{"sign"}, "n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes())}
}

// RSAPublic returns the public area of a restricted signing key of RSA.
func RSAPublic(t testing.TB, key int) tpm2.TPMTPublic {
	t.Helper()
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: rsaBits,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: rsaKey(t, key).N.Bytes()}),
	}
}

// Sign returns the TPMT_SIGNATURE of the attestation key over message.
func (z *Azure) Sign(t testing.TB, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	signature, err := rsa.SignPKCS1v15(rand.Reader, rsaKey(t, z.AKKey), crypto.SHA256, digest[:])
	if err != nil {
		t.Fatalf("signing quote: %v", err)
	}
	return tpm2.Marshal(tpm2.TPMTSignature{
		SigAlg: tpm2.TPMAlgRSASSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{
			Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: signature},
		}),
	})
}

// tdReport is the TDREPORT that a quote is made of, without its MAC and its own
// digests (Intel TDX Module ABI, TDREPORT_STRUCT).
func tdReport(q *attest.TDXQuote) []byte {
	le := binary.LittleEndian
	b := append([]byte{0x81}, make([]byte, 127)...)
	b = append(b, q.ReportData[:]...)
	b = append(b, make([]byte, 256-len(b))...)
	b = append(b, 0xff, 1, 3, 0, 0, 0, 0, 0)
	b = slices.Concat(b, q.TEETCBSVN[:], q.MRSEAM[:], q.MRSignerSEAM[:], q.SEAMAttributes[:], q.TEETCBSVN2[:])
	b = append(b, make([]byte, 512-len(b))...)
	b = le.AppendUint64(le.AppendUint64(b, q.TDAttributes), q.XFAM)
	b = slices.Concat(b, q.MRTD[:], q.MRConfigID[:], q.MROwner[:], q.MROwnerConfig[:], q.RTMR[0][:], q.RTMR[1][:], q.RTMR[2][:], q.RTMR[3][:], q.MRServiceTD[:])
	return append(b, make([]byte, 1024-len(b))...)
}

// Collection signs everything and returns the parts of the collection.
func (z *Azure) Collection(t testing.TB) attest.Collection {
	t.Helper()
	items := map[string]attest.Item{}
	c := attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelEvidence: {Nested: &attest.Collection{Type: z.Type, Items: items}},
	}}
	if z.Statement != nil {
		list := (&TPM{Events: z.Events}).List(t)
		if !z.KeepPCR14 {
			z.PCRs[attest.EventRegister] = list.Replay()
		}
		c.Items[attest.LabelStatement] = attest.Item{MediaType: attest.TypeStatement, Value: z.Statement}
		c.Items[attest.LabelNonces] = attest.Item{MediaType: attest.TypeNonces, Value: z.Nonces}
		c.Items[attest.LabelRegisters] = attest.Item{MediaType: attest.TypeRegisters, Value: list.Marshal(), Indicator: attest.IndicatorEvidence}
	}
	hcl := z.HCL
	var err error
	if hcl.Data, err = json.Marshal(z.Data); err != nil {
		t.Fatalf("encoding HCL data: %v", err)
	}
	reportData := hcl.ReportData()
	if z.OnReportData != nil {
		z.OnReportData(&reportData)
	}
	if z.TDX != nil {
		z.TDX.Quote.ReportData = reportData
		hcl.Hardware = tdReport(&z.TDX.Quote)
		items[attest.LabelTDQuote] = attest.Item{MediaType: attest.TypeTDXQuote, Value: z.TDX.QuoteBytes()}
		if z.OnTDReport != nil {
			z.OnTDReport(hcl.Hardware)
		}
		if z.Statement != nil {
			c.Items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: z.TDX.Collateral().Endorsements()}}
		}
	} else {
		z.SNP.Report.ReportData = reportData
		platform := z.SNP.Collection(t)
		hcl.Hardware = platform.Items[attest.LabelEvidence].Value
		c.Items[attest.LabelEndorsements] = platform.Items[attest.LabelEndorsements]
		if z.NoVCEK {
			delete(platform.Items[attest.LabelEndorsements].Nested.Items, attest.LabelVCEK)
		}
	}
	if z.OnData != nil {
		hcl.Data = z.OnData(bytes.Clone(hcl.Data))
	}
	frame := append(hcl.Marshal(), make([]byte, 100)...) // NV indexes are larger
	if z.OnHCL != nil {
		frame = z.OnHCL(frame)
	}
	items[attest.LabelHCLReport] = attest.Item{MediaType: attest.TypeHCLReport, Value: frame}
	maps.Copy(items, z.quoteItems(t))
	return c
}

// quoteItems signs the quote.
func (z *Azure) quoteItems(t testing.TB) map[string]attest.Item {
	t.Helper()
	values := selectedPCRs(z.Quote.Banks, &z.PCRs)
	quote := z.Quote
	if quote.ExtraData == nil && z.Statement != nil {
		bound := verdict.QuoteData(z.Statement, z.Nonces)
		quote.ExtraData = bound[:]
	}
	if quote.PCRDigest == nil {
		digest := sha256.Sum256(values)
		quote.PCRDigest = digest[:]
	}
	message := quote.Marshal()
	items := map[string]attest.Item{
		attest.LabelQuote:     {MediaType: attest.TypeTPMAttest, Value: message},
		attest.LabelSignature: {MediaType: attest.TypeTPMSignature, Value: z.Sign(t, message)},
		attest.LabelPCRs:      {MediaType: attest.TypeTPMPCRs, Value: values},
	}
	if !z.NoAK {
		items[attest.LabelAKPublic] = attest.Item{MediaType: attest.TypeTPMPublic, Value: tpm2.Marshal(z.AK)}
	}
	return items
}

// Bytes returns the encoded collection.
func (z *Azure) Bytes(t testing.TB) []byte { t.Helper(); return marshal(t, z.Collection(t)) }

// Expected is what the evidence has as it is now.
func (z *Azure) Expected() attest.AzureExpected {
	var measurement [48]byte
	if z.TDX != nil {
		measurement = z.TDX.Quote.MRTD
	} else {
		measurement = z.SNP.Report.Measurement
	}
	return attest.AzureExpected{
		Measurements: [][48]byte{measurement}, RequireSecureBoot: true, RequireTPM: true,
		VMIDs:    []string{z.Data["vm-configuration"].(map[string]any)["vmUniqueId"].(string)},
		UserData: make([]byte, 64),
		TPM: attest.TPMExpected{
			Nonce: z.Quote.ExtraData, Required: []int{0, 11}, Values: attest.PCRs{11: z.PCRs[11]}, RequireSafe: true,
		},
	}
}

// Input returns what accepts the evidence of a statement as it is now: its own roots,
// paravisor, PCRs and nonce.
func (z *Azure) Input(t testing.TB) attest.Input {
	t.Helper()
	e := entry(attest.AzureSNP)
	in := attest.Input{Trust: attest.Trust{Azure: attest.AzureTrust{VMIDs: z.Expected().VMIDs, RequireSecureBoot: true}}}
	if z.TDX != nil {
		e.Kind = string(attest.AzureTDX)
		in.Trust.TDX = z.TDX.Trust()
		in.References.Floors.TDX = &verdict.TDXFloor{Evaluation: 17}
	} else {
		trust := z.Trust(t)
		in.Trust.SNPRoots, in.Trust.MinTCB, in.Trust.SNP = trust.SNPRoots, trust.MinTCB, trust.SNP
	}
	in.Trust.Kinds = []attest.Kind{attest.Kind(e.Kind)}
	measurement := z.Expected().Measurements[0]
	e.Measurement, e.Events, e.Registers = hex.EncodeToString(measurement[:]), fmt.Sprintf("pcr%d", attest.EventRegister), map[string]string{}
	for _, i := range []int{4, 11, 12, 13} {
		e.Registers[fmt.Sprintf("pcr%d", i)] = hex.EncodeToString(z.PCRs[i][:])
	}
	in.References.V, in.References.Entries = 1, []verdict.ReferenceEntry{e}
	copy(in.MyNonce[:], z.Nonces)
	return in
}

// Trust accepts the platform of a VM with SEV-SNP.
func (z *Azure) Trust(t testing.TB) attest.Trust {
	t.Helper()
	root, _ := z.SNP.Chain(t)
	return attest.Trust{Kinds: []attest.Kind{attest.SNP}, SNPRoots: []attest.SNPRoot{root}, MinTCB: z.SNP.VCEK.TCB, SNP: attest.SNPTrust{AllowAnyChip: true}}
}

// Appraise appraises the evidence as its platform is, after a change to what is
// expected. Nil is no change.
func (z *Azure) Appraise(t testing.TB, collection []byte, change func(*attest.AzureExpected)) (attest.AzureResult, error) {
	t.Helper()
	expected := z.Expected()
	if change != nil {
		change(&expected)
	}
	if z.TDX != nil {
		return attest.AppraiseAzureTDX(collection, z.TDX.Collateral(), expected, z.TDX.Trust(), At)
	}
	return attest.AppraiseAzureSNP(collection, expected, z.Trust(t), At)
}
