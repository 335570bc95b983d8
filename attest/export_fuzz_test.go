// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"
	"crypto/x509/pkix"
)

// ParsePCKExtension reads the SGX extension of a PCK certificate.
func ParsePCKExtension(der []byte) (PCK, error) {
	return parsePCK(&x509.Certificate{Extensions: []pkix.Extension{{Id: oidSGX, Value: der}}})
}

// ParseSNPExtensions reads the extensions of a VCEK or a VLEK.
func ParseSNPExtensions(extensions []pkix.Extension) (VCEK, error, VLEK, error) {
	c := &x509.Certificate{Extensions: extensions}
	vcek, vcekErr := parseVCEK(c)
	vlek, vlekErr := parseVLEK(c)
	return vcek, vcekErr, vlek, vlekErr
}

// PEMChain reads a chain in PEM.
func PEMChain(data []byte) ([]*x509.Certificate, error) { return pemChain("chain", data) }

// DirectoryNames reads a subject alternative name.
func DirectoryNames(der []byte) error { return directoryNames(der) }

// CRLScope reads a list of revoked certificates as Go and we do, and tells whether it is
// about a certificate and does not have it. Its signature is not looked at.
func CRLScope(der []byte, c *x509.Certificate) error {
	list, err := revocationList("CRL", der)
	if err != nil {
		return err
	}
	if err := checkCRLScope(list, c); err != nil {
		return err
	}
	return crl{list}.check("CRL", c)
}

// TCBInfoStatus reads the signed parts of TCB info and a QE identity, and compares them
// with a quote of a platform, all as if they were signed.
func TCBInfoStatus(info, identity []byte, q *TDXQuote, pck *PCK) (platform, module, enclave TDXStatus, err error) {
	if err := oneReading(info); err != nil {
		return "", "", "", badCollateral("TCB info", "%w", err)
	}
	t, err := parseTCBInfo(info)
	if err != nil {
		return "", "", "", err
	}
	id, err := parseQEIdentity(identity)
	if err != nil {
		return "", "", "", err
	}
	p, err := platformStatus(&t, pck, q)
	if err != nil {
		return "", "", "", err
	}
	m, err := moduleStatus(&t, q)
	if err != nil {
		return "", "", "", err
	}
	qe := qeReport{prodID: *id.ISVProdID, svn: 8}
	copy(qe.mrSigner[:], id.MRSigner)
	copy(qe.miscSelect[:], id.MiscSelect)
	copy(qe.attributes[:], id.Attributes)
	e, err := id.status(qe)
	return p.status, m.status, e.status, err
}

// Statuses are those that Intel knows.
func Statuses() []TDXStatus { return tdxStatuses }
