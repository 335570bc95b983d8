// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/assayd/assay/verdict"
)

// Limits of Intel's collateral, in bytes and levels.
const (
	maxCollateralSize  = 64 << 10
	maxCollateralDepth = 16
	maxTCBLevels       = 256
	maxAdvisories      = 256
)

// TDXCollateral is what Intel signs about platforms, as its service gives it.
// Nothing of it is trusted before it is verified, and whoever brings it along may
// be anybody.
type TDXCollateral struct {
	// TCBInfo and QEIdentity are JSON with a signature beside the object, and the
	// chains of who signed them PEM, leaf first.
	TCBInfo, TCBInfoChain       []byte
	QEIdentity, QEIdentityChain []byte
	// PCKCRL is the list of the authority that issued the platform's certificate,
	// RootCRL that of the root; DER.
	PCKCRL, RootCRL []byte
}

// A TDXStatus is Intel's word on the TCB of a platform.
type TDXStatus string

// The statuses (Intel PCS API v4, tcbStatus).
const (
	TDXUpToDate                          TDXStatus = "UpToDate"
	TDXSWHardeningNeeded                 TDXStatus = "SWHardeningNeeded"
	TDXConfigurationNeeded               TDXStatus = "ConfigurationNeeded"
	TDXConfigurationAndSWHardeningNeeded TDXStatus = "ConfigurationAndSWHardeningNeeded"
	TDXOutOfDate                         TDXStatus = "OutOfDate"
	TDXOutOfDateConfigurationNeeded      TDXStatus = "OutOfDateConfigurationNeeded"
	TDXRevoked                           TDXStatus = "Revoked"
)

var tdxStatuses = []TDXStatus{
	TDXUpToDate, TDXSWHardeningNeeded, TDXConfigurationNeeded, TDXConfigurationAndSWHardeningNeeded, TDXOutOfDate, TDXOutOfDateConfigurationNeeded, TDXRevoked,
}

// hexBytes are bytes in hexadecimal, in either case.
type hexBytes []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// A svn is a security version number, which has to be there.
type svn struct {
	Value *uint8 `json:"svn"`
}

// A moduleIdentity is how a TDX module of one generation has to look.
type moduleIdentity struct {
	ID             string        `json:"id"`
	MRSigner       hexBytes      `json:"mrsigner"`
	Attributes     hexBytes      `json:"attributes"`
	AttributesMask hexBytes      `json:"attributesMask"`
	Levels         []isvSVNLevel `json:"tcbLevels"`
}

// An isvSVNLevel is the status of an enclave or module from a version on.
type isvSVNLevel struct {
	TCB struct {
		ISVSVN *uint16 `json:"isvsvn"`
	} `json:"tcb"`
	Status     TDXStatus `json:"tcbStatus"`
	Advisories []string  `json:"advisoryIDs"`
}

// A platformLevel is the status of a platform from a TCB on.
type platformLevel struct {
	TCB struct {
		SGX    []svn   `json:"sgxtcbcomponents"`
		PCESVN *uint16 `json:"pcesvn"`
		TDX    []svn   `json:"tdxtcbcomponents"`
	} `json:"tcb"`
	Status     TDXStatus `json:"tcbStatus"`
	Advisories []string  `json:"advisoryIDs"`
}

// An edition is what TCB info and QE identity have in common.
type edition struct {
	ID         string    `json:"id"`
	Version    int       `json:"version"`
	IssueDate  time.Time `json:"issueDate"`
	NextUpdate time.Time `json:"nextUpdate"`
	Evaluation *uint32   `json:"tcbEvaluationDataNumber"`
}

// tcbInfo is the status of the platforms of one FMSPC (Intel PCS API v4, version 3
// for TDX).
type tcbInfo struct {
	edition
	FMSPC      hexBytes         `json:"fmspc"`
	PCEID      hexBytes         `json:"pceId"`
	Type       *int             `json:"tcbType"`
	Module     *moduleIdentity  `json:"tdxModule"`
	Identities []moduleIdentity `json:"tdxModuleIdentities"`
	Levels     []platformLevel  `json:"tcbLevels"`
}

// qeIdentity is how a quoting enclave for TDs has to look (version 2).
type qeIdentity struct {
	edition
	MiscSelect     hexBytes      `json:"miscselect"`
	MiscSelectMask hexBytes      `json:"miscselectMask"`
	Attributes     hexBytes      `json:"attributes"`
	AttributesMask hexBytes      `json:"attributesMask"`
	MRSigner       hexBytes      `json:"mrsigner"`
	ISVProdID      *uint16       `json:"isvprodid"`
	Levels         []isvSVNLevel `json:"tcbLevels"`
}

func badCollateral(what, format string, args ...any) error {
	return verdict.Refuse(verdict.EndorsementMalformed, "parsing "+what+": "+format, args...)
}

// signedPart verifies a document of Intel's and returns the object that is signed:
// the same bytes, so that nobody reads another object than the one that was
// verified. The document has two members, and no name is there twice, in whatever
// letters.
func signedPart(what, member string, data, chain []byte, root *x509.Certificate, revoked crl, at time.Time) (json.RawMessage, error) {
	if len(data) == 0 {
		return nil, verdict.Fail(verdict.EndorsementMissing, "verifying %s: it is not there", what)
	}
	if len(data) > maxCollateralSize {
		return nil, verdict.Refuse(verdict.EvidenceLimit, "parsing %s: %d bytes, want at most %d", what, len(data), maxCollateralSize)
	}
	if err := oneReading(data); err != nil {
		return nil, badCollateral(what, "%w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || len(members) != 2 || members[member] == nil || members["signature"] == nil {
		return nil, badCollateral(what, "want the members %s and signature alone", member)
	}
	var signature hexBytes
	if err := json.Unmarshal(members["signature"], &signature); err != nil || len(signature) != tdxSignatureSize {
		return nil, badCollateral(what, "the signature is not %d bytes in hex", tdxSignatureSize)
	}
	certs, err := pemChain(what, chain)
	if err != nil {
		return nil, err
	}
	signer, err := verifyIntel(what, nameTCBSigning, nil, certs, root, at)
	if err != nil {
		return nil, err
	}
	if err := revoked.check(what, signer.leaf); err != nil {
		return nil, err
	}
	key, ok := signer.leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !verifyP256(key, members[member], signature) {
		return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying %s: it is not signed by %s", what, nameTCBSigning)
	}
	return members[member], nil
}

// oneReading refuses JSON that two readers could read differently.
func oneReading(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := oneValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it")
	}
	return nil
}

func oneValue(d *json.Decoder, depth int) error {
	if depth > maxCollateralDepth {
		return fmt.Errorf("it nests deeper than %d", maxCollateralDepth)
	}
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return err
			}
			folded := strings.ToLower(fmt.Sprint(name))
			if seen[folded] {
				return fmt.Errorf("member %s is there twice", quoteShort(folded))
			}
			seen[folded] = true
			if err := oneValue(d, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
	case json.Delim('['):
		for d.More() {
			if err := oneValue(d, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}

// check compares an edition with what it has to be and with the time.
func (e *edition) check(what, id string, version int, floor uint32, at time.Time) error {
	switch {
	case e.ID != id || e.Version != version:
		return badCollateral(what, "it is %s version %d, want %s version %d", quoteShort(e.ID), e.Version, id, version)
	case e.Evaluation == nil || e.IssueDate.IsZero() || e.NextUpdate.IsZero():
		return badCollateral(what, "it has no dates or no evaluation number")
	case at.Before(e.IssueDate):
		return verdict.Fail(verdict.EndorsementNotYetValid, "verifying %s: issued at %s, and it is %s", what, e.IssueDate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case at.After(e.NextUpdate):
		return verdict.Fail(verdict.EndorsementExpired, "verifying %s: the next one was due at %s, and it is %s", what, e.NextUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case *e.Evaluation < floor:
		return verdict.Fail(verdict.EndorsementRollback, "verifying %s: evaluation number %d, want at least %d", what, *e.Evaluation, floor)
	}
	return nil
}

func (l *isvSVNLevel) wellFormed() bool {
	return l.TCB.ISVSVN != nil && slices.Contains(tdxStatuses, l.Status) && len(l.Advisories) <= maxAdvisories
}

func (m *moduleIdentity) wellFormed() bool {
	return len(m.MRSigner) == 48 && len(m.Attributes) == 8 && len(m.AttributesMask) == 8 && len(m.Levels) <= maxTCBLevels &&
		!slices.ContainsFunc(m.Levels, func(l isvSVNLevel) bool { return !l.wellFormed() })
}

func (l *platformLevel) wellFormed() bool {
	missing := func(s svn) bool { return s.Value == nil }
	return len(l.TCB.SGX) == sgxSVNs && len(l.TCB.TDX) == sgxSVNs && !slices.ContainsFunc(l.TCB.SGX, missing) && !slices.ContainsFunc(l.TCB.TDX, missing) &&
		l.TCB.PCESVN != nil && slices.Contains(tdxStatuses, l.Status) && len(l.Advisories) <= maxAdvisories
}

// parseTCBInfo reads TCB info whose signature was verified.
func parseTCBInfo(data []byte) (tcbInfo, error) {
	const what = "TCB info"
	var t tcbInfo
	if err := json.Unmarshal(data, &t); err != nil {
		return tcbInfo{}, badCollateral(what, "%w", err)
	}
	if len(t.FMSPC) != 6 || len(t.PCEID) != 2 || t.Type == nil || *t.Type != 0 || len(t.Levels) == 0 || len(t.Levels) > maxTCBLevels || len(t.Identities) > maxTCBLevels ||
		t.Module == nil || !t.Module.wellFormed() || slices.ContainsFunc(t.Identities, func(m moduleIdentity) bool { return !m.wellFormed() }) ||
		slices.ContainsFunc(t.Levels, func(l platformLevel) bool { return !l.wellFormed() }) {
		return tcbInfo{}, badCollateral(what, "a member is missing, or has another form")
	}
	return t, nil
}

// parseQEIdentity reads a QE identity whose signature was verified.
func parseQEIdentity(data []byte) (qeIdentity, error) {
	const what = "QE identity"
	var q qeIdentity
	if err := json.Unmarshal(data, &q); err != nil {
		return qeIdentity{}, badCollateral(what, "%w", err)
	}
	if len(q.MiscSelect) != 4 || len(q.MiscSelectMask) != 4 || len(q.Attributes) != 16 || len(q.AttributesMask) != 16 || len(q.MRSigner) != 32 || q.ISVProdID == nil ||
		len(q.Levels) == 0 || len(q.Levels) > maxTCBLevels || slices.ContainsFunc(q.Levels, func(l isvSVNLevel) bool { return !l.wellFormed() }) {
		return qeIdentity{}, badCollateral(what, "a member is missing, or has another form")
	}
	return q, nil
}

// A crl is a verified list. The zero one, of a trust that wants none, lists nothing.
type crl struct{ list *x509.RevocationList }

// revocationList parses a list whose signature is not yet verified.
func revocationList(what string, der []byte) (*x509.RevocationList, error) {
	if len(der) > maxCRLSize {
		return nil, verdict.Refuse(verdict.EvidenceLimit, "parsing %s: %d bytes, want at most %d", what, len(der), maxCRLSize)
	}
	list, err := x509.ParseRevocationList(der)
	if err == nil && len(list.Raw) != len(der) { // crypto/x509 passes over them
		err = errors.New("there is something behind it")
	}
	if err != nil {
		return nil, badCollateral(what, "%w", err)
	}
	return list, nil
}

// parseCRL verifies a list of an issuer.
func parseCRL(what string, der []byte, issuer *x509.Certificate, at time.Time) (crl, error) {
	if len(der) == 0 {
		return crl{}, verdict.Fail(verdict.EndorsementMissing, "verifying %s: it is not there", what)
	}
	list, err := revocationList(what, der)
	if err != nil {
		return crl{}, err
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.SignatureAlgorithm != x509.ECDSAWithSHA256 ||
		issuer.CheckSignature(list.SignatureAlgorithm, list.RawTBSRevocationList, list.Signature) != nil {
		return crl{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying %s: it is not signed by %s", what, quoteShort(issuer.Subject.CommonName))
	}
	if at.Before(list.ThisUpdate) {
		return crl{}, verdict.Fail(verdict.EndorsementNotYetValid, "verifying %s: issued at %s, and it is %s", what, list.ThisUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	if at.After(list.NextUpdate) {
		return crl{}, verdict.Fail(verdict.EndorsementExpired, "verifying %s: the next one was due at %s, and it is %s", what, list.NextUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return crl{list}, nil
}

// check refuses a certificate that the list has.
func (c crl) check(what string, certificate *x509.Certificate) error {
	if c.list == nil {
		return nil
	}
	for _, e := range c.list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
			return verdict.Refuse(verdict.EndorsementRevoked, "verifying %s: %s was revoked at %s", what, quoteShort(certificate.Subject.CommonName), e.RevocationTime.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
