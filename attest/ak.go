// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/verdict"
)

// Identifiers in a TPM's certificates.
var (
	// oidEKCertificate is tcg-kp-EKCertificate (TCG EK Credential Profile §3.2.16).
	oidEKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidSAN           = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// maxIntermediates is how many certificates may come between a TPM's certificate
// and the configured authorities.
const maxIntermediates = 4

// activationSecretSize is the size of a challenge's secret, in bytes.
const activationSecretSize = 32

// A KnownAK is what a relying party keeps about an attestation key: that it lives
// in the TPM of an endorsement key, and how far that TPM's counters had come. The
// zero value proves nothing.
type KnownAK struct {
	// AK is the key's name in hex: TPM 2.0's digest of its public area, and of a key
	// that Azure's paravisor names the SHA-256 of its SubjectPublicKeyInfo.
	AK string `json:"ak"`
	// EK is the SHA-256, in hex, of the endorsement key's SubjectPublicKeyInfo.
	// It is empty where an AK certificate, or Azure's paravisor, took the place of the
	// activation.
	EK string `json:"ek,omitempty"`
	// Resets, Restarts and Clock are the counters of the newest quote. A quote
	// with lower ones is from a TPM whose state was set back.
	Resets   uint32 `json:"resets"`
	Restarts uint32 `json:"restarts"`
	Clock    uint64 `json:"clock"`
}

// before tells whether q was made before what k remembers.
func (k KnownAK) before(q Quote) bool {
	switch {
	case q.ResetCount != k.Resets:
		return q.ResetCount < k.Resets
	case q.RestartCount != k.Restarts:
		return q.RestartCount < k.Restarts
	}
	return q.Clock < k.Clock
}

// A Challenge is the relying party's half of credential activation (TPM 2.0 Part 1
// §24): only the TPM that holds both the endorsement key and the attestation key
// can answer it. Each is used once.
type Challenge struct {
	// Credential is the content of a TPM2B_ID_OBJECT.
	Credential []byte
	// EncryptedSecret is the content of a TPM2B_ENCRYPTED_SECRET.
	EncryptedSecret []byte

	secret []byte
	known  KnownAK
}

// ActivationNeeded tells whether in.Known lacks the proof for the attestation key
// of a collection. Only a TPM whose key has no certificate needs one.
func ActivationNeeded(collection []byte, in Input) (needed bool, err error) {
	defer recoverMalformed(&err)
	c, err := ParseCollection(collection)
	if err != nil {
		return false, err
	}
	kind, err := kindOf(c)
	if err != nil || kind != TPM && kind != SVSM {
		return false, err
	}
	keys, err := activatedKeys(c, kind)
	if err != nil {
		return false, err
	}
	if keys.akCertified && len(in.Trust.AKCAs) > 0 {
		return false, nil
	}
	_, known := keys.known(in.Known)
	return !known, nil
}

// NewChallenge makes a challenge for the keys of a TPM's collection. It draws a
// fresh secret from crypto/rand, and says nothing about who vouches for the endorsement
// key, a certificate or an SVSM's report: Appraise does.
func NewChallenge(collection []byte) (challenge Challenge, err error) {
	defer recoverMalformed(&err)
	c, err := ParseCollection(collection)
	if err != nil {
		return Challenge{}, err
	}
	kind, err := kindOf(c)
	if err != nil {
		return Challenge{}, err
	}
	keys, err := activatedKeys(c, kind)
	if err != nil {
		return Challenge{}, err
	}
	if keys.ek == nil {
		return Challenge{}, verdict.Fail(verdict.EndorsementMissing, "making challenge: no %q", LabelEKPublic)
	}
	encapsulation, err := tpm2.ImportEncapsulationKey(keys.ek.area)
	if err != nil {
		return Challenge{}, verdict.Refuse(verdict.TPMAK, "making challenge: importing endorsement key: %s", quoteShort(err.Error()))
	}
	secret := make([]byte, activationSecretSize)
	if _, err := rand.Read(secret); err != nil {
		return Challenge{}, verdict.Fail(verdict.Internal, "making challenge: %w", err)
	}
	credential, encrypted, err := tpm2.CreateCredential(rand.Reader, encapsulation, keys.ak.name, secret)
	if err != nil {
		return Challenge{}, verdict.Refuse(verdict.TPMAK, "making challenge: %s", quoteShort(err.Error()))
	}
	ek, err := keys.ek.digest()
	if err != nil {
		return Challenge{}, err
	}
	return Challenge{
		Credential: credential, EncryptedSecret: encrypted, secret: secret,
		known: KnownAK{AK: hex.EncodeToString(keys.ak.name), EK: ek},
	}, nil
}

// Prove turns the right answer into a KnownAK. Any other answer is tpm.ak.
func (c Challenge) Prove(answer []byte) (KnownAK, error) {
	if len(c.secret) != activationSecretSize {
		return KnownAK{}, verdict.Misused("", "checking activation: the challenge was not made by NewChallenge")
	}
	if subtle.ConstantTimeCompare(c.secret, answer) != 1 {
		return KnownAK{}, verdict.Refuse(verdict.TPMAK, "checking activation: the answer is wrong, so the attestation key is not in the TPM of the endorsement key")
	}
	return c.known, nil
}

// activatedKeys are the keys of a TPM that can show that it holds both.
func activatedKeys(c Collection, kind Kind) (tpmKeys, error) {
	switch kind {
	case TPM:
		return tpmKeysOf(c)
	case SVSM:
		return svsmKeysOf(c)
	case SNP, SimulatedSNP, TDX, SimulatedTDX, AzureSNP, AzureTDX:
	}
	return tpmKeys{}, verdict.Refuse(verdict.EvidenceKind, "making challenge: evidence is of kind %s, want %s or %s", kind, TPM, SVSM)
}

// tpmKeys are the keys of a TPM's collection.
type tpmKeys struct {
	ak *tpmKey
	// ek is nil when the collection has none.
	ek          *tpmKey
	akCertified bool
}

// tpmKeysOf parses and checks the keys of a TPM's collection.
func tpmKeysOf(c Collection) (tpmKeys, error) {
	quote, err := c.nested(LabelEvidence, TypeTPMQuote)
	if err != nil {
		return tpmKeys{}, err
	}
	ak, err := attestationKeyOf(quote)
	if err != nil {
		return tpmKeys{}, err
	}
	keys := tpmKeys{ak: ak}
	endorsements, err := c.nested(LabelEndorsements, TypeEndorsements)
	if err != nil {
		return tpmKeys{}, asEndorsement(err)
	}
	_, keys.akCertified = endorsements.Items[LabelAKCertificate]
	if _, ok := endorsements.Items[LabelEKPublic]; ok {
		data, err := endorsements.record(LabelEKPublic, TypeTPMPublic)
		if err != nil {
			return tpmKeys{}, asEndorsement(err)
		}
		ek, err := parseTPMPublic("endorsement key", data)
		if err != nil {
			return tpmKeys{}, err
		}
		if err := ek.checkEndorsementKey(); err != nil {
			return tpmKeys{}, err
		}
		keys.ek = &ek
	}
	return keys, nil
}

// attestationKeyOf parses and checks the attestation key beside a quote.
func attestationKeyOf(quote Collection) (*tpmKey, error) {
	data, err := quote.record(LabelAKPublic, TypeTPMPublic)
	if err != nil {
		return nil, err
	}
	ak, err := parseTPMPublic("attestation key", data)
	if err != nil {
		return nil, err
	}
	if err := ak.checkAttestationKey(); err != nil {
		return nil, err
	}
	return &ak, nil
}

// known returns what list knows of the attestation key. proven is true when that
// is a proof for the endorsement key of the collection.
func (k tpmKeys) known(list []KnownAK) (known KnownAK, proven bool) {
	name := hex.EncodeToString(k.ak.name)
	i := slices.IndexFunc(list, func(known KnownAK) bool { return known.AK == name })
	if i < 0 {
		return KnownAK{AK: name}, false
	}
	known = list[i]
	if k.ek == nil || known.EK == "" {
		return known, false
	}
	ek, err := k.ek.digest()
	return known, err == nil && ek == known.EK
}

// digest identifies the key.
func (k *tpmKey) digest() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return "", verdict.Refuse(verdict.TPMAK, "encoding key: %s", quoteShort(err.Error()))
	}
	return verdict.SHA256(der).Hex(), nil
}

// checkEndorsementKey refuses a key that is no storage key of a TPM: the public
// area comes from the daemon, and another symmetric algorithm or attribute would
// let someone else than the TPM open the challenge.
func (k *tpmKey) checkEndorsementKey() error {
	a := k.area.ObjectAttributes
	if !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || !a.Restricted || !a.Decrypt || a.SignEncrypt {
		return verdict.Refuse(verdict.TPMAK, "checking endorsement key: its attributes are not those of an endorsement key")
	}
	var symmetric tpm2.TPMTSymDefObject
	switch k.area.Type {
	case tpm2.TPMAlgRSA:
		parameters, err := k.area.Parameters.RSADetail()
		if err != nil {
			return malformed("checking endorsement key: %s", quoteShort(err.Error()))
		}
		if public, ok := k.public.(*rsa.PublicKey); !ok || public.N.BitLen() < minQuoteRSABits {
			return verdict.Refuse(verdict.TPMAK, "checking endorsement key: RSA key is shorter than %d bits", minQuoteRSABits)
		}
		if parameters.Scheme.Scheme != tpm2.TPMAlgNull {
			return verdict.Refuse(verdict.TPMAK, "checking endorsement key: it has a scheme, want none")
		}
		symmetric = parameters.Symmetric
	case tpm2.TPMAlgECC:
		parameters, err := k.area.Parameters.ECCDetail()
		if err != nil {
			return malformed("checking endorsement key: %s", quoteShort(err.Error()))
		}
		symmetric = parameters.Symmetric
	default:
		return verdict.Refuse(verdict.TPMAK, "checking endorsement key: key type is 0x%04x, want RSA or ECC", uint16(k.area.Type))
	}
	if symmetric.Algorithm != tpm2.TPMAlgAES {
		return verdict.Refuse(verdict.TPMAK, "checking endorsement key: symmetric algorithm is 0x%04x, want AES", uint16(symmetric.Algorithm))
	}
	keyBits, err := symmetric.KeyBits.AES()
	if err != nil || *keyBits < 128 {
		return verdict.Refuse(verdict.TPMAK, "checking endorsement key: symmetric key is shorter than 128 bits")
	}
	mode, err := symmetric.Mode.AES()
	if err != nil || *mode != tpm2.TPMAlgCFB {
		return verdict.Refuse(verdict.TPMAK, "checking endorsement key: symmetric mode is not CFB")
	}
	return nil
}

// verifyAttestationKey answers where the attestation key lives: in a TPM whose
// maker, or whose owner, the configured authorities vouch for. It returns the
// instance of Compute Engine that a certificate names.
func verifyAttestationKey(c Collection, keys tpmKeys, in *evidenceInput, at time.Time) (KnownAK, *GCEInstance, error) {
	endorsements, err := c.nested(LabelEndorsements, TypeEndorsements)
	if err != nil {
		return KnownAK{}, nil, asEndorsement(err)
	}
	known, proven := keys.known(in.known)
	if keys.akCertified && len(in.trust.AKCAs) > 0 {
		certificate, err := endorsements.tpmCertificate(LabelAKCertificate, in.trust.AKCAs, at)
		if err != nil {
			return KnownAK{}, nil, err
		}
		if certificate.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
			return KnownAK{}, nil, verdict.Refuse(verdict.TPMAK, "verifying attestation key: its certificate is not for signatures")
		}
		if !samePublicKey(certificate.PublicKey, keys.ak.public) {
			return KnownAK{}, nil, verdict.Refuse(verdict.TPMAK, "verifying attestation key: its certificate is for another key")
		}
		instance, err := gceInstance(certificate, in.trust.GCE)
		if err != nil {
			return KnownAK{}, nil, err
		}
		return known, instance, nil
	}
	if in.trust.GCE != nil {
		return KnownAK{}, nil, verdict.Fail(verdict.EndorsementMissing, "verifying attestation key: no accepted %q, which alone names an instance", LabelAKCertificate)
	}
	if keys.ek == nil {
		return KnownAK{}, nil, verdict.Fail(verdict.EndorsementMissing, "verifying attestation key: no %q and no accepted %q", LabelEKPublic, LabelAKCertificate)
	}
	certificate, err := endorsements.tpmCertificate(LabelEKCertificate, in.trust.EKCAs, at)
	if err != nil {
		return KnownAK{}, nil, err
	}
	if !slices.ContainsFunc(certificate.UnknownExtKeyUsage, oidEKCertificate.Equal) {
		return KnownAK{}, nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying endorsement key: its certificate is not for endorsement keys (%s)", oidEKCertificate)
	}
	if !samePublicKey(certificate.PublicKey, keys.ek.public) {
		return KnownAK{}, nil, verdict.Refuse(verdict.TPMAK, "verifying endorsement key: its certificate is for another key")
	}
	if !proven {
		return KnownAK{}, nil, verdict.Refuse(verdict.TPMAK, "verifying attestation key: not proven to be in the TPM of its endorsement key")
	}
	return known, nil, nil
}

// samePublicKey compares two keys.
func samePublicKey(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case *rsa.PublicKey:
		return a.Equal(b)
	case *ecdsa.PublicKey:
		return a.Equal(b)
	}
	return false
}

// tpmCertificate verifies the certificate at label up to one of the authorities.
func (c Collection) tpmCertificate(label string, authorities []*x509.Certificate, at time.Time) (*x509.Certificate, error) {
	certificate, err := c.certificate(label)
	if err != nil {
		return nil, err
	}
	if len(authorities) == 0 {
		return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying %q: no authority is configured", label)
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, authority := range authorities {
		options.Roots.AddCert(authority)
	}
	chain := []*x509.Certificate{certificate}
	if _, ok := c.Items[LabelIntermediates]; ok {
		der, err := c.record(LabelIntermediates, TypeCertificates)
		if err != nil {
			return nil, asEndorsement(err)
		}
		if len(der) > maxIntermediates*maxCertificateSize {
			return nil, verdict.Refuse(verdict.EvidenceLimit, "parsing %q: %d bytes", LabelIntermediates, len(der))
		}
		intermediates, err := x509.ParseCertificates(der)
		if err != nil || len(intermediates) > maxIntermediates {
			return nil, verdict.Refuse(verdict.EndorsementMalformed, "parsing %q: not 1 to %d certificates", LabelIntermediates, maxIntermediates)
		}
		for _, intermediate := range intermediates {
			options.Intermediates.AddCert(intermediate)
		}
		chain = append(chain, intermediates...)
	}
	for _, link := range chain {
		if weakKey(link.PublicKey) {
			return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying %q: a certificate has a weak key", label)
		}
	}
	// A TPM's certificate names its model in a critical SAN that has directory
	// names only, which crypto/x509 does not handle. It decides nothing here.
	if slices.ContainsFunc(certificate.UnhandledCriticalExtensions, oidSAN.Equal) {
		san, err := extension(certificate, oidSAN)
		if err != nil {
			return nil, err
		}
		if err := directoryNames(san); err != nil {
			return nil, err
		}
		certificate.UnhandledCriticalExtensions = slices.DeleteFunc(certificate.UnhandledCriticalExtensions, oidSAN.Equal)
	}
	if err := checkValidity(certificate, label, at); err != nil {
		return nil, err
	}
	if _, err := certificate.Verify(options); err != nil {
		return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying %q: %w", label, err)
	}
	return certificate, nil
}

// weakKey tells whether a key is too short for a chain.
func weakKey(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() < minRSABits
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize < 256
	}
	return true
}
