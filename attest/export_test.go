// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"

	"github.com/google/go-tpm/tpm2"
)

// VerifyQuote verifies a quote by an attestation key in its TPMT_PUBLIC form, for
// genuine quotes that are bound to no issuer statement.
func VerifyQuote(evidence Collection) (Quote, PCRs, error) {
	key, err := attestationKeyOf(evidence)
	if err != nil {
		return Quote{}, nil, err
	}
	return verifyQuote(evidence, key)
}

// QuoteVerifier is VerifyQuote for many quotes by the attestation key of one.
func QuoteVerifier(evidence Collection) (func(Collection) (Quote, PCRs, error), error) {
	key, err := attestationKeyOf(evidence)
	return func(evidence Collection) (Quote, PCRs, error) { return verifyQuote(evidence, key) }, err
}

// TPMName is the name of a key in its TPMT_PUBLIC form.
func TPMName(data []byte) ([]byte, error) {
	key, err := parseTPMPublic("key", data)
	return key.name, err
}

// ParseTPMPublic parses a TPMT_PUBLIC, and runs the checks of both kinds of keys.
func ParseTPMPublic(data []byte) error {
	key, err := parseTPMPublic("key", data)
	if err != nil {
		return err
	}
	if key.checkAttestationKey() == nil && key.checkEndorsementKey() == nil {
		panic("one key is both")
	}
	return nil
}

// RecoverMalformed calls f at the edge of the package.
func RecoverMalformed(f func()) (err error) {
	defer recoverMalformed(&err)
	f()
	return nil
}

// ParseVCEK reads what a VCEK's certificate says.
func ParseVCEK(der []byte) (VCEK, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return VCEK{}, err
	}
	return parseVCEK(c)
}

// ParseVLEK reads what a VLEK's certificate says.
func ParseVLEK(der []byte) (VLEK, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return VLEK{}, err
	}
	return parseVLEK(c)
}

// ParseGCEInstance parses Google's extension.
func ParseGCEInstance(der []byte) (*GCEInstance, error) { return parseGCEInstance(der) }

// ParseSVSMManifest reads the manifest of an SVSM, and encodes it again.
func ParseSVSMManifest(data []byte) ([]byte, error) {
	ek, err := parseSVSMManifest(data)
	if err != nil {
		return nil, err
	}
	return tpm2.Marshal(ek.area), nil
}
