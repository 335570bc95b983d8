// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
)

// TDXRootCRL is where the root says that its list is.
const TDXRootCRL = "https://collateral.invalid/rootcrl"

// A TDX is a platform with TDX and an authority like Intel's, under throw-away
// roots. What it says can be changed before it signs.
type TDX struct {
	t  testing.TB
	at time.Time
	// Version of the quote, and its fields.
	Version uint16
	Quote   attest.TDXQuote
	// QE is the quoting enclave's report, and AuthData what it says beside its key.
	QE       []byte
	AuthData []byte
	// PCK is what the platform's certificate says.
	PCK attest.PCK
	// TCBInfo and QEIdentity are what the authority signs.
	TCBInfo, QEIdentity map[string]any
	// Revoked are the names of certificates that lists have: pck, ca, tcb.
	Revoked []string
	// CAName is that of the PCK's issuer.
	CAName string
	// OnCertificate changes the template of a certificate by its name.
	OnCertificate func(name string, c *x509.Certificate)
	// OnSigned changes the quote after its attestation key signed it.
	OnSigned func(quote []byte) []byte
	// OnTCBInfo and OnQEIdentity change the documents after they were signed.
	OnTCBInfo, OnQEIdentity func(document []byte) []byte
	// ListsAt is when the lists are issued; they are good for a month. ListNumber is their
	// number.
	ListsAt    time.Time
	ListNumber int64
	// ListKey signs the PCK list in place of its issuer.
	ListKey *ecdsa.PrivateKey
	// Key, when set, replaces the attestation key's point in the quote: x and y.
	Key []byte
	// Forged has the attestation key or the PCK sign with another key: "quote", "qe".
	Forged string

	keys  map[string]*ecdsa.PrivateKey
	certs map[string]*x509.Certificate
}

// NewTDX is a platform whose quote and collateral are good at a time.
func NewTDX(t testing.TB, at time.Time) *TDX {
	t.Helper()
	x := &TDX{t: t, at: at, Version: 4, CAName: "Intel SGX PCK Platform CA", ListsAt: at.Add(-24 * time.Hour), ListNumber: 1, keys: map[string]*ecdsa.PrivateKey{}, certs: map[string]*x509.Certificate{}}
	for _, name := range []string{"root", "ca", "pck", "tcb", "attestation", "other"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		x.keys[name] = key
	}
	x.Quote = attest.TDXQuote{TEETCBSVN: [16]byte{5, 1, 6}, TDAttributes: attest.TDSeptVEDisable, XFAM: 0xe7}
	for _, field := range [][]byte{x.Quote.MRSEAM[:], x.Quote.MRTD[:], x.Quote.RTMR[0][:], x.Quote.RTMR[1][:], x.Quote.RTMR[2][:], x.Quote.RTMR[3][:], x.Quote.ReportData[:]} {
		if _, err := rand.Read(field); err != nil {
			t.Fatal(err)
		}
	}
	qeSigner := sha256.Sum256([]byte("quoting enclave"))
	x.QE, x.AuthData = make([]byte, 384), []byte("authentication data")
	copy(x.QE[48:], []byte{0x11})
	copy(x.QE[128:], qeSigner[:])
	binary.LittleEndian.PutUint16(x.QE[256:], 2)
	binary.LittleEndian.PutUint16(x.QE[258:], 8)
	x.PCK = attest.PCK{FMSPC: [6]byte{0, 0x80, 0x6f, 5}, SVN: [16]uint8{7, 7, 2, 2, 3, 1, 0, 5}, PCESVN: 13}
	components := func(n ...int) []any {
		out := make([]any, 16)
		for i := range out {
			value := 0
			if i < len(n) {
				value = n[i]
			}
			out[i] = map[string]any{"svn": value}
		}
		return out
	}
	level := func(status string, tcb map[string]any) map[string]any {
		return map[string]any{"tcb": tcb, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status}
	}
	zeros := strings.Repeat("0", 96)
	issued, next := at.Add(-48*time.Hour).UTC().Format(time.RFC3339), at.Add(28*24*time.Hour).UTC().Format(time.RFC3339)
	x.TCBInfo = map[string]any{
		"id": "TDX", "version": 3, "issueDate": issued, "nextUpdate": next, "fmspc": "00806F050000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 17,
		"tdxModule": map[string]any{"mrsigner": zeros, "attributes": zeros[:16], "attributesMask": strings.Repeat("F", 16)},
		"tdxModuleIdentities": []any{map[string]any{
			"id": "TDX_01", "mrsigner": zeros, "attributes": zeros[:16], "attributesMask": strings.Repeat("F", 16),
			"tcbLevels": []any{level("UpToDate", map[string]any{"isvsvn": 5}), level("OutOfDate", map[string]any{"isvsvn": 2}), level("Revoked", map[string]any{"isvsvn": 1})},
		}},
		"tcbLevels": []any{
			level("UpToDate", map[string]any{"sgxtcbcomponents": components(7, 7, 2, 2, 3, 1, 0, 5), "pcesvn": 13, "tdxtcbcomponents": components(5, 1, 6)}),
			level("OutOfDate", map[string]any{"sgxtcbcomponents": components(6, 6, 2, 2, 3, 1, 0, 5), "pcesvn": 11, "tdxtcbcomponents": components(2, 0, 5)}),
		},
	}
	x.QEIdentity = map[string]any{
		"id": "TD_QE", "version": 2, "issueDate": issued, "nextUpdate": next, "tcbEvaluationDataNumber": 17, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
		"attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000", "mrsigner": strings.ToUpper(hex.EncodeToString(qeSigner[:])), "isvprodid": 2,
		"tcbLevels": []any{level("UpToDate", map[string]any{"isvsvn": 8}), level("OutOfDate", map[string]any{"isvsvn": 6}), level("Revoked", map[string]any{"isvsvn": 1})},
	}
	return x
}

// SetKey gives a certificate another key, before it is issued. Those that sign quotes
// and documents want P-256.
func (x *TDX) SetKey(name string, key *ecdsa.PrivateKey) { x.keys[name] = key }

// Root is the trust anchor.
func (x *TDX) Root() *x509.Certificate { return x.certificate("root") }

// certificate issues each certificate once.
func (x *TDX) certificate(name string) *x509.Certificate {
	x.t.Helper()
	if c := x.certs[name]; c != nil {
		return c
	}
	subject := map[string]string{"root": "Intel SGX Root CA", "ca": x.CAName, "pck": "Intel SGX PCK Certificate", "tcb": "Intel SGX TCB Signing"}[name]
	c := &x509.Certificate{SerialNumber: big.NewInt(int64(len(x.certs)) + 100), Subject: pkix.Name{CommonName: subject, Organization: []string{"throw-away"}},
		NotBefore: x.at.AddDate(-1, 0, 0), NotAfter: x.at.AddDate(5, 0, 0), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	parent, signer := c, x.keys[name]
	if name == "root" {
		c.CRLDistributionPoints = []string{TDXRootCRL}
	}
	switch name {
	case "root", "ca":
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	case "pck":
		// As Intel's: go-tdx-guest counts the extensions.
		c.SubjectKeyId, c.CRLDistributionPoints = []byte{1}, []string{"https://collateral.invalid/pckcrl"}
		extension, err := x.PCK.Extension()
		if err != nil {
			x.t.Fatal(err)
		}
		c.ExtraExtensions = []pkix.Extension{extension}
		parent, signer = x.certificate("ca"), x.keys["ca"]
	}
	if name == "ca" || name == "tcb" {
		parent, signer = x.certificate("root"), x.keys["root"]
	}
	if x.OnCertificate != nil {
		x.OnCertificate(name, c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, x.keys[name].Public(), signer)
	if err != nil {
		x.t.Fatal(err)
	}
	if x.certs[name], err = x509.ParseCertificate(der); err != nil {
		x.t.Fatal(err)
	}
	return x.certs[name]
}

func (x *TDX) pem(names ...string) []byte {
	var out []byte
	for _, name := range names {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.certificate(name).Raw})...)
	}
	return out
}

// sign returns r and s.
func (x *TDX) sign(key string, message []byte) []byte {
	x.t.Helper()
	sum := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, x.keys[key], sum[:])
	if err != nil {
		x.t.Fatal(err)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// QuoteBytes is the quote.
func (x *TDX) QuoteBytes() []byte {
	x.t.Helper()
	le := binary.LittleEndian
	header := make([]byte, 48)
	le.PutUint16(header, x.Version)
	le.PutUint16(header[2:], 2)
	le.PutUint32(header[4:], 0x81)
	copy(header[12:], []byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07})
	q := &x.Quote
	attributes, xfam := le.AppendUint64(nil, q.TDAttributes), le.AppendUint64(nil, q.XFAM)
	body := slices.Concat(q.TEETCBSVN[:], q.MRSEAM[:], q.MRSignerSEAM[:], q.SEAMAttributes[:], attributes, xfam, q.MRTD[:], q.MRConfigID[:], q.MROwner[:], q.MROwnerConfig[:],
		q.RTMR[0][:], q.RTMR[1][:], q.RTMR[2][:], q.RTMR[3][:], q.ReportData[:])
	if x.Version == 5 {
		body = slices.Concat(body, q.TEETCBSVN2[:], q.MRServiceTD[:])
		header = le.AppendUint32(le.AppendUint16(header, 3), uint32(len(body))) //nolint:gosec // G115: fixed sizes
	}
	signed := slices.Concat(header, body)
	forged := func(what, key string) string {
		if x.Forged == what {
			return "other"
		}
		return key
	}
	point, err := x.keys["attestation"].PublicKey.Bytes()
	if err != nil {
		x.t.Fatal(err)
	}
	key := point[1:]
	if x.Key != nil {
		key = x.Key
	}
	sum := sha256.Sum256(slices.Concat(key, x.AuthData))
	qe := bytes.Clone(x.QE)
	if x.Forged != "key" {
		copy(qe[320:], sum[:])
	}
	chain := append(x.pem("pck", "ca", "root"), 0)
	certification := slices.Concat(qe, x.sign(forged("qe", "pck"), qe), le.AppendUint16(nil, uint16(len(x.AuthData))), x.AuthData, //nolint:gosec // G115: short
		le.AppendUint16(nil, 5), le.AppendUint32(nil, uint32(len(chain))), chain) //nolint:gosec // G115: short
	data := slices.Concat(x.sign(forged("quote", "attestation"), signed), key, le.AppendUint16(nil, 6), le.AppendUint32(nil, uint32(len(certification))), certification) //nolint:gosec // G115: short
	quote := slices.Concat(signed, le.AppendUint32(nil, uint32(len(data))), data)                                                                                        //nolint:gosec // G115: short
	if x.OnSigned != nil {
		quote = x.OnSigned(quote)
	}
	return quote
}

// Collateral is what the authority gives.
func (x *TDX) Collateral() attest.TDXCollateral {
	x.t.Helper()
	document := func(member string, object map[string]any, change func([]byte) []byte) []byte {
		body, err := json.Marshal(object)
		if err != nil {
			x.t.Fatal(err)
		}
		out := slices.Concat([]byte(`{"`+member+`":`), body, []byte(`,"signature":"`+hex.EncodeToString(x.sign("tcb", body))+`"}`))
		if change != nil {
			out = change(out)
		}
		return out
	}
	list := func(issuer string, names ...string) []byte {
		l := &x509.RevocationList{Number: big.NewInt(x.ListNumber), ThisUpdate: x.ListsAt, NextUpdate: x.ListsAt.AddDate(0, 1, 0)}
		for _, name := range names {
			if slices.Contains(x.Revoked, name) {
				l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: x.certificate(name).SerialNumber, RevocationTime: x.ListsAt})
			}
		}
		key := x.keys[issuer]
		if x.ListKey != nil {
			key = x.ListKey
		}
		parent := *x.certificate(issuer)
		// What the standard library looks for.
		parent.PublicKey, parent.KeyUsage, parent.SubjectKeyId = key.Public(), x509.KeyUsageCRLSign, []byte{1}
		der, err := x509.CreateRevocationList(rand.Reader, l, &parent, key)
		if err != nil {
			x.t.Fatal(err)
		}
		return der
	}
	return attest.TDXCollateral{
		TCBInfo: document("tcbInfo", x.TCBInfo, x.OnTCBInfo), TCBInfoChain: x.pem("tcb", "root"),
		QEIdentity: document("enclaveIdentity", x.QEIdentity, x.OnQEIdentity), QEIdentityChain: x.pem("tcb", "root"),
		PCKCRL: list("ca", "pck"), RootCRL: list("root", "ca", "tcb"),
	}
}

// Trust accepts every platform under the root, and nothing but UpToDate.
func (x *TDX) Trust() attest.TDXTrust {
	return attest.TDXTrust{Root: x.Root(), MinEvaluation: 17, AllowAnyPlatform: true}
}

// Expected is what the quote has.
func (x *TDX) Expected() attest.TDXExpected {
	return attest.TDXExpected{ReportData: x.Quote.ReportData, MRTD: [][48]byte{x.Quote.MRTD}, RTMR: map[int][48]byte{3: x.Quote.RTMR[3]}}
}
