// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"crypto/x509"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
)

// gceKeys are the NV indices by which the TPM of an instance of Compute Engine brings
// an attestation key that Google certified: its certificate, and the template that
// makes it.
var gceKeys = []struct{ certificate, template tpm2.TPMHandle }{
	{0x01C10002, 0x01C10003}, // P-256
	{0x01C10000, 0x01C10001}, // RSA
}

// createGCEKey makes the attestation key that Google certified, and tells whether there
// is one. The template is the TPM's own affair: what it makes is worth nothing but for
// the certificate, which is for it or is refused.
func (a *tpmAttester) createGCEKey() (bool, error) {
	for _, at := range gceKeys {
		der, err := readNV(a.conn, at.certificate)
		if err != nil {
			return false, err
		}
		encoded, err := readNV(a.conn, at.template)
		if err != nil {
			return false, err
		}
		if der == nil || encoded == nil {
			continue
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return false, fmt.Errorf("parsing attestation key certificate of NV index 0x%08x: %w", uint32(at.certificate), err)
		}
		template, err := tpm2.Unmarshal[tpm2.TPMTPublic](encoded)
		if err != nil {
			return false, fmt.Errorf("parsing attestation key template of NV index 0x%08x: %w", uint32(at.template), err)
		}
		ak, public, err := createPrimary(a.conn, *template)
		if err != nil {
			return false, fmt.Errorf("creating attestation key by its template: %w", err)
		}
		if err := sameKey("attestation", certificate, public); err != nil {
			return false, err
		}
		a.ak, a.akPublic = ak, tpm2.Marshal(public)
		a.endorse(attest.LabelAKCertificate, attest.TypeCertificate, der)
		return true, nil
	}
	return false, nil
}
