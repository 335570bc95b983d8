// SPDX-License-Identifier: Apache-2.0

// Package simsnp simulates an SEV-SNP platform: a hierarchy of ARK, ASK and VCEK
// like AMD's, and reports of version 3 signed by ECDSA P-384. A simulator proves
// nothing: whoever has its folder can make any report. It is there so that all of
// assay runs on a machine without a TEE, with results that say simulated.
//
// [InitCA] makes the hierarchy of one folder, once; nothing is compiled in. [Open]
// starts a platform from it.
package simsnp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/enclave/internal/simdir"
	"github.com/assayd/assay/verdict"
)

// Files of a simulator's folder.
const (
	// RootFile is the root certificate in DER, whose SHA-256 a trust pins.
	RootFile   = "ark.der"
	issuerFile = "ask.der"
	issuerKey  = "ask-key.pem"
	crlFile    = "crl.der"
)

// Properties of the simulated platform.
const (
	product    = "Milan-B0"
	family     = 0x19
	model      = 0x01
	stepping   = 0x01
	version    = 3
	rsaBits    = 3072
	caLife     = 10 * 365 * 24 * time.Hour
	vcekLife   = 365 * 24 * time.Hour
	clockSlack = 24 * time.Hour
)

// TCB is the TCB of every simulated platform.
var TCB = attest.TCB{Bootloader: 4, TEE: 0, SNP: 24, Microcode: 219}

// InitCA makes a new hierarchy in dir, which must exist and hold none, and returns
// the digest of its root certificate. The root's key is not kept.
func InitCA(dir string) (verdict.Digest, error) {
	if err := simdir.Vacant(dir, RootFile); err != nil {
		return "", err
	}
	now := time.Now()
	rootKey, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	root := caTemplate("ARK-Milan", x509.KeyUsageCertSign|x509.KeyUsageCRLSign, now)
	rootDER, err := sign(root, root, rootKey.Public(), rootKey)
	if err != nil {
		return "", err
	}
	// The parsed form has the subject's bytes, by which chains are built.
	if root, err = x509.ParseCertificate(rootDER); err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	issuerDER, err := sign(caTemplate("SEV-Milan", x509.KeyUsageCertSign, now), root, key.Public(), rootKey)
	if err != nil {
		return "", err
	}
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		SignatureAlgorithm: x509.SHA384WithRSAPSS, Number: big.NewInt(1),
		ThisUpdate: now.Add(-clockSlack), NextUpdate: now.Add(caLife),
	}, root, rootKey)
	if err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	// The root comes last: with it the folder is complete.
	if err := simdir.Write(dir, []simdir.File{
		{Name: issuerKey, Data: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})},
		{Name: crlFile, Data: crl},
		{Name: issuerFile, Data: issuerDER},
		{Name: RootFile, Data: rootDER},
	}); err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	return verdict.SHA256(rootDER), nil
}

// caTemplate is a certificate authority named as AMD names its own, by an
// organisation that is not AMD.
func caTemplate(name string, usage x509.KeyUsage, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               simulatorName(name),
		NotBefore:             now.Add(-clockSlack),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              usage,
	}
}

func simulatorName(name string) pkix.Name {
	return pkix.Name{Organization: []string{"assay simulator, not AMD"}, CommonName: name}
}

// sign issues a certificate with a random serial number.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *rsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("signing simulator's certificate: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	template.SignatureAlgorithm = x509.SHA384WithRSAPSS
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("signing simulator's certificate: %w", err)
	}
	return der, nil
}

// A Platform is one boot of a simulated machine: a chip with its VCEK, and the guest
// whose measurement is the running program. It may be used concurrently.
type Platform struct {
	key         *ecdsa.PrivateKey
	chip        [64]byte
	reportID    [32]byte
	measurement [48]byte
	// Endorsements are the certificates and the revocation list.
	endorsements attest.Collection
}

// Open starts a platform from the folder dir that InitCA made, running the program
// in executable. Its key is made now and is in memory only.
func Open(dir string, executable io.Reader) (*Platform, error) {
	files, err := simdir.Read(dir, RootFile, issuerFile, issuerKey, crlFile)
	if err != nil {
		return nil, err
	}
	issuer, err := x509.ParseCertificate(files[issuerFile])
	if err != nil {
		return nil, verdict.Misused("", "opening simulator: %s: %w", issuerFile, err)
	}
	block, _ := pem.Decode(files[issuerKey])
	if block == nil {
		return nil, verdict.Misused("", "opening simulator: %s is not PEM", issuerKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, verdict.Misused("", "opening simulator: %s: %w", issuerKey, err)
	}
	signer, ok := parsed.(*rsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(issuer.PublicKey) {
		return nil, verdict.Misused("", "opening simulator: %s is not the key of %s", issuerKey, issuerFile)
	}
	p := &Platform{}
	h := sha512.New384()
	n, err := io.Copy(h, io.LimitReader(executable, attest.MaxMeasuredFile+1))
	if err != nil {
		return nil, verdict.Misused("", "opening simulator: measuring the program: %w", err)
	}
	if n > attest.MaxMeasuredFile {
		return nil, verdict.Misused("", "opening simulator: the program has more than %d bytes", attest.MaxMeasuredFile)
	}
	h.Sum(p.measurement[:0])
	for _, random := range [][]byte{p.chip[:], p.reportID[:]} {
		if _, err := rand.Read(random); err != nil {
			return nil, fmt.Errorf("opening simulator: %w", err)
		}
	}
	if p.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		return nil, fmt.Errorf("opening simulator: %w", err)
	}
	extensions, err := attest.VCEK{Product: product, TCB: TCB, HWID: p.chip}.Extensions()
	if err != nil {
		return nil, fmt.Errorf("opening simulator: %w", err)
	}
	now := time.Now()
	leaf, err := sign(&x509.Certificate{
		Subject: simulatorName("SEV-VCEK"), NotBefore: now.Add(-clockSlack), NotAfter: now.Add(vcekLife),
		ExtraExtensions: extensions,
	}, issuer, p.key.Public(), signer)
	if err != nil {
		return nil, err
	}
	certificate := func(der []byte) attest.Item {
		return attest.Item{MediaType: attest.TypeCertificate, Value: der, Indicator: attest.IndicatorEndorsements}
	}
	p.endorsements = attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{
		attest.LabelARK:  certificate(files[RootFile]),
		attest.LabelASK:  certificate(files[issuerFile]),
		attest.LabelVCEK: certificate(leaf),
		attest.LabelCRL:  {MediaType: attest.TypeCRL, Value: files[crlFile], Indicator: attest.IndicatorEndorsements},
	}}
	return p, nil
}

// Measurement returns MEASUREMENT of the platform's reports.
func (p *Platform) Measurement() [48]byte { return p.measurement }

// Endorsements returns the certificates and the revocation list.
func (p *Platform) Endorsements() attest.Collection { return p.endorsements }

// Report returns a signed report with this REPORT_DATA.
func (p *Platform) Report(reportData [64]byte) ([]byte, error) {
	tcb := TCB.Version(attest.Milan)
	r := attest.SNPReport{
		Version: version, Policy: attest.SNPPolicyReserved, ReportData: reportData,
		Measurement: p.measurement, ReportID: p.reportID, ChipID: p.chip,
		Family: family, Model: model, Stepping: stepping,
		PlatformInfo: attest.SNPPlatformECC | attest.SNPPlatformAliasCheck,
		CurrentTCB:   tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
	}
	for i := range r.ReportIDMA {
		r.ReportIDMA[i] = 0xFF
	}
	if err := r.Sign(p.key); err != nil {
		return nil, fmt.Errorf("signing simulated report: %w", err)
	}
	return r.Marshal(), nil
}
