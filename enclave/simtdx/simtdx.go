// SPDX-License-Identifier: Apache-2.0

// Package simtdx simulates a TDX platform: a hierarchy of root, platform authority and
// PCK like Intel's, a quoting enclave, collateral, and quotes of version 4. A simulator
// proves nothing: whoever has its folder can make any quote. It is there so that all of
// assay runs on a machine without a TEE, with results that say simulated.
//
// [InitCA] makes the hierarchy of one folder and what it signs about the platform,
// once; nothing is compiled in. [Open] starts a platform from it.
package simtdx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"sync"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/enclave/internal/simdir"
	"github.com/assayd/assay/verdict"
)

// Files of a simulator's folder.
const (
	// RootFile is the root certificate in DER, whose SHA-256 a trust pins.
	RootFile       = "sgx-root.der"
	authorityFile  = "platform-ca.der"
	authorityKey   = "platform-ca-key.pem"
	signersFile    = "tcb-signing.pem"
	tcbInfoFile    = "tcb-info.json"
	qeIdentityFile = "qe-identity.json"
	pckCRLFile     = "pck-crl.der"
	rootCRLFile    = "root-crl.der"
)

// Names that package attest looks for, as Intel gives them.
const (
	nameRoot       = "Intel SGX Root CA"
	nameAuthority  = "Intel SGX PCK Platform CA"
	namePCK        = "Intel SGX PCK Certificate"
	nameTCBSigning = "Intel SGX TCB Signing"
)

const (
	caLife     = 10 * 365 * 24 * time.Hour
	pckLife    = 365 * 24 * time.Hour
	clockSlack = 24 * time.Hour
)

// Evaluation is the tcbEvaluationDataNumber of every simulator's collateral.
const Evaluation = 17

// InitCA makes a new hierarchy in dir, which must exist and hold none, with the
// collateral for its platforms, and returns the digest of the root certificate. Of the
// keys only that of the platform authority is kept.
func InitCA(dir string) (verdict.Digest, error) {
	if err := simdir.Vacant(dir, RootFile); err != nil {
		return "", err
	}
	files, err := makeAuthority(time.Now())
	if err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	if err := simdir.Write(dir, files); err != nil {
		return "", fmt.Errorf("making simulator: %w", err)
	}
	return verdict.SHA256(files[len(files)-1].Data), nil
}

// makeAuthority returns the files of a folder, the root last.
func makeAuthority(now time.Time) ([]simdir.File, error) {
	keys := map[string]*ecdsa.PrivateKey{}
	for _, name := range []string{nameRoot, nameAuthority, nameTCBSigning} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		keys[name] = key
	}
	certificates := map[string]*x509.Certificate{}
	for _, name := range []string{nameRoot, nameAuthority, nameTCBSigning} {
		template := template(name, now, caLife)
		if name != nameTCBSigning {
			template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		}
		parent := certificates[nameRoot]
		if name == nameRoot {
			parent = template
		}
		c, err := issue(template, parent, keys[name], keys[nameRoot])
		if err != nil {
			return nil, err
		}
		certificates[name] = c
	}
	lists := map[string][]byte{}
	for _, name := range []string{nameRoot, nameAuthority} {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(1), ThisUpdate: now.Add(-clockSlack), NextUpdate: now.Add(caLife),
		}, certificates[name], keys[name])
		if err != nil {
			return nil, err
		}
		lists[name] = der
	}
	info, err := signedDocument("tcbInfo", tcbInfo(now), keys[nameTCBSigning])
	if err != nil {
		return nil, err
	}
	identity, err := signedDocument("enclaveIdentity", qeIdentity(now), keys[nameTCBSigning])
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(keys[nameAuthority])
	if err != nil {
		return nil, err
	}
	return []simdir.File{
		{Name: authorityKey, Data: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})},
		{Name: authorityFile, Data: certificates[nameAuthority].Raw},
		{Name: pckCRLFile, Data: lists[nameAuthority]},
		{Name: rootCRLFile, Data: lists[nameRoot]},
		{Name: signersFile, Data: chainPEM(certificates[nameTCBSigning].Raw, certificates[nameRoot].Raw)},
		{Name: tcbInfoFile, Data: info},
		{Name: qeIdentityFile, Data: identity},
		{Name: RootFile, Data: certificates[nameRoot].Raw},
	}, nil
}

// template is a certificate named as Intel names its own, of an organisation that is
// not Intel.
func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"assay simulator, not Intel"}, CommonName: name},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(life), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue signs a certificate with a random serial number.
func issue(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.SignatureAlgorithm = serial.Add(serial, big.NewInt(1)), x509.ECDSAWithSHA256
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func chainPEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// A Platform is one boot of a simulated machine: a platform with its PCK, and the TD
// that runs one program. It may be used concurrently.
type Platform struct {
	pck, attestation *ecdsa.PrivateKey
	pckChain         []byte // PEM
	measured         attest.SimulatedTD
	endorsements     attest.Collection

	mu    sync.Mutex
	rtmr3 [sha512.Size384]byte
}

// Open starts a platform from the folder dir that InitCA made, running the program in
// executable. Its keys are made now and are in memory only, and so is its RTMR3.
func Open(dir string, executable io.Reader) (*Platform, error) {
	files, err := simdir.Read(dir, RootFile, authorityFile, authorityKey, signersFile, tcbInfoFile, qeIdentityFile, pckCRLFile, rootCRLFile)
	if err != nil {
		return nil, err
	}
	authority, signer, err := openAuthority(files)
	if err != nil {
		return nil, err
	}
	p := &Platform{}
	if p.measured, err = attest.MeasureTDXSimulator(executable); err != nil {
		return nil, verdict.Misused("", "opening simulator: %w", err)
	}
	if p.pck, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("opening simulator: %w", err)
	}
	if p.attestation, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("opening simulator: %w", err)
	}
	says := attest.PCK{FMSPC: fmspc, SVN: sgxSVN, PCESVN: pceSVN}
	if _, err := rand.Read(says.PPID[:]); err != nil {
		return nil, fmt.Errorf("opening simulator: %w", err)
	}
	extension, err := says.Extension()
	if err != nil {
		return nil, fmt.Errorf("opening simulator: %w", err)
	}
	leaf := template(namePCK, time.Now(), pckLife)
	leaf.ExtraExtensions = []pkix.Extension{extension}
	certificate, err := issue(leaf, authority, p.pck, signer)
	if err != nil {
		return nil, fmt.Errorf("opening simulator: %w", err)
	}
	p.pckChain = chainPEM(certificate.Raw, authority.Raw, files[RootFile])
	items := attest.TDXCollateral{
		TCBInfo: files[tcbInfoFile], TCBInfoChain: files[signersFile], QEIdentity: files[qeIdentityFile], QEIdentityChain: files[signersFile],
		PCKCRL: files[pckCRLFile], RootCRL: files[rootCRLFile],
	}.Endorsements()
	items[attest.LabelSGXRoot] = attest.Item{MediaType: attest.TypeCertificate, Value: files[RootFile], Indicator: attest.IndicatorEndorsements}
	p.endorsements = attest.Collection{Type: attest.TypeEndorsements, Items: items}
	return p, nil
}

// openAuthority returns the authority of PCKs and its key.
func openAuthority(files map[string][]byte) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	authority, err := x509.ParseCertificate(files[authorityFile])
	if err != nil {
		return nil, nil, verdict.Misused("", "opening simulator: %s: %w", authorityFile, err)
	}
	block, _ := pem.Decode(files[authorityKey])
	if block == nil {
		return nil, nil, verdict.Misused("", "opening simulator: %s is not PEM", authorityKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, verdict.Misused("", "opening simulator: %s: %w", authorityKey, err)
	}
	signer, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(authority.PublicKey) {
		return nil, nil, verdict.Misused("", "opening simulator: %s is not the key of %s", authorityKey, authorityFile)
	}
	return authority, signer, nil
}

// Measured returns MRTD and RTMR0 to RTMR2 of the platform's quotes.
func (p *Platform) Measured() attest.SimulatedTD { return p.measured }

// Endorsements returns the root and the collateral.
func (p *Platform) Endorsements() attest.Collection { return p.endorsements }

// RTMR3 returns the register that the TD extends.
func (p *Platform) RTMR3() [sha512.Size384]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rtmr3
}

// Extend extends RTMR3, and returns the value after.
func (p *Platform) Extend(digest [sha512.Size384]byte) [sha512.Size384]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rtmr3 = attest.ExtendRTMR(p.rtmr3, digest)
	return p.rtmr3
}
