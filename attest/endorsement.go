// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"slices"
	"time"

	"github.com/assayd/assay/verdict"
)

// EndorsementRoots are whom endorsements have to be signed by.
type EndorsementRoots struct {
	AMD   []SNPRoot
	Intel *x509.Certificate
}

// PublishedRoots are those that AMD and Intel publish.
func PublishedRoots() EndorsementRoots { return EndorsementRoots{AMD: AMDRoots(), Intel: IntelRoot()} }

// An Edition says which of two endorsements of one label and platform is the newer.
type Edition struct {
	// Number is the number of a revocation list, or tcbEvaluationDataNumber. It is nil for
	// a certificate, and for a list that has none.
	Number *big.Int
	// Issued and Until are when it was issued, and when the next one is due or it ends.
	Issued, Until time.Time
}

// Older tells whether e is behind other by number or by date. Where the two contradict
// each other it is older too: one of them went back.
func (e Edition) Older(other Edition) bool {
	if other.Number != nil && (e.Number == nil || e.Number.Cmp(other.Number) < 0) {
		return true
	}
	return e.Issued.Before(other.Issued)
}

// Verify checks that an endorsement is by the maker, about this platform, and good at a
// time. It is for who keeps endorsements: that a processor or its key was revoked is
// left to relying parties, who have to hear of it. The error is a *verdict.Refusal or
// *verdict.Failure with a code of endorsement, or evidence.limit.
func (p *Platform) Verify(label string, value, chain []byte, roots EndorsementRoots, at time.Time) (Edition, error) {
	return p.check(label, value, chain, roots, func(Edition) time.Time { return at })
}

// EditionOf is Verify as of when the endorsement was issued: it may have ended since.
func (p *Platform) EditionOf(label string, value, chain []byte, roots EndorsementRoots) (Edition, error) {
	return p.check(label, value, chain, roots, func(e Edition) time.Time { return e.Issued })
}

// check verifies at the time that when chooses.
func (p *Platform) check(label string, value, chain []byte, roots EndorsementRoots, when func(Edition) time.Time) (e Edition, err error) {
	defer func() {
		if err != nil {
			e = Edition{}
		}
	}()
	defer recoverMalformed(&err)
	if len(value) == 0 {
		return Edition{}, verdict.Fail(verdict.EndorsementMissing, "verifying %q: it is not there", label)
	}
	if !slices.Contains(p.Endorsements(), label) {
		return Edition{}, verdict.Refuse(verdict.EndorsementMismatch, "verifying %q: evidence of this platform does not want it", label)
	}
	switch label {
	case LabelVCEK, LabelVLEK:
		return p.SNP.checkLeaf(label, value, roots, when)
	case LabelCRL:
		return p.SNP.checkList(value, roots, when)
	case LabelTCBInfo:
		return p.TDX.checkTCBInfo(value, chain, roots, when)
	case LabelQEIdentity:
		return checkQEIdentity(value, chain, roots, when)
	}
	return p.TDX.checkList(label, value, roots, when)
}

// root finds the trust anchor for a line, and the issuer of keys of p's kind.
func (p *SNPPlatform) root(line ProductLine, roots EndorsementRoots) (root SNPRoot, issuer *x509.Certificate, name string, err error) {
	for _, root := range roots.AMD {
		if issuer, name := root.issuer(p.Signer); root.Line == line && issuer != nil {
			return root, issuer, name, nil
		}
	}
	return SNPRoot{}, nil, "", verdict.Refuse(verdict.EndorsementUntrusted, "verifying endorsement: no root for a %s of product line %s", p.Signer, quoteShort(string(line)))
}

// checkLeaf checks the certificate of the key that signed the report.
func (p *SNPPlatform) checkLeaf(label string, der []byte, roots EndorsementRoots, when func(Edition) time.Time) (Edition, error) {
	endorsements := Collection{Type: TypeEndorsements, Items: map[string]Item{label: {MediaType: TypeCertificate, Value: der}}}
	s := snpSigner{kind: p.Signer}
	leaf, err := s.leaf(endorsements)
	if err != nil {
		return Edition{}, err
	}
	if p.Line != "" && p.Line != s.line {
		return Edition{}, verdict.Refuse(verdict.EndorsementProduct, "verifying %q: it is for %s, the report from %s", label, quoteShort(string(s.line)), p.Line)
	}
	if s.kind == SNPVCEK && s.hwid != p.ChipID {
		return Edition{}, verdict.Refuse(verdict.EndorsementMismatch, "verifying %q: it is for chip %x…, the report from %x…", label, s.hwid[:8], p.ChipID[:8])
	}
	if got := s.tcb.Version(s.line); got != p.ReportedTCB {
		return Edition{}, verdict.Refuse(verdict.EndorsementMismatch, "verifying %q: it is for TCB 0x%016x, the report says 0x%016x", label, got, p.ReportedTCB)
	}
	e := Edition{Issued: leaf.NotBefore, Until: leaf.NotAfter}
	root, issuer, name, err := p.root(s.line, roots)
	if err != nil {
		return Edition{}, err
	}
	at, ark := when(e), "ARK-"+string(s.line)
	if err := checkIssuer(issuer, root.ARK, name, ark, at); err != nil {
		return Edition{}, err
	}
	if err := checkIssued(leaf, issuer, leaf.Subject.CommonName, name, at); err != nil {
		return Edition{}, err
	}
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P384() || !p.report.SignedBy(leaf) {
		return Edition{}, verdict.Refuse(verdict.EndorsementMismatch, "verifying %q: its key did not sign the report", label)
	}
	return e, nil
}

// checkList checks the ARK's list.
func (p *SNPPlatform) checkList(der []byte, roots EndorsementRoots, when func(Edition) time.Time) (Edition, error) {
	root, issuer, _, err := p.root(p.Line, roots)
	if err != nil {
		return Edition{}, err
	}
	list, err := parseARKList(Item{MediaType: TypeCRL, Value: der}, root.ARK)
	if err != nil {
		return Edition{}, err
	}
	e := editionOf(list)
	return e, checkARKList(list, issuer, when(e))
}

func editionOf(list *x509.RevocationList) Edition {
	return Edition{Number: list.Number, Issued: list.ThisUpdate, Until: list.NextUpdate}
}

// checkTCBInfo checks Intel's word on the platforms of p's kind.
func (p *TDXPlatform) checkTCBInfo(data, chain []byte, roots EndorsementRoots, when func(Edition) time.Time) (Edition, error) {
	const what = "TCB info"
	e, err := claimed(what, "tcbInfo", data)
	if err != nil {
		return Edition{}, err
	}
	signed, err := signedPart(what, "tcbInfo", data, chain, roots.Intel, crl{}, when(e))
	if err != nil {
		return Edition{}, err
	}
	info, err := parseTCBInfo(signed)
	if err != nil {
		return Edition{}, err
	}
	if !bytes.Equal(info.FMSPC, p.PCK.FMSPC[:]) || !bytes.Equal(info.PCEID, p.PCK.PCEID[:]) {
		return Edition{}, verdict.Refuse(verdict.EndorsementMismatch, "verifying %s: it is for FMSPC %x and PCE %x, the platform is %x and %x", what, []byte(info.FMSPC), []byte(info.PCEID), p.PCK.FMSPC, p.PCK.PCEID)
	}
	return e, info.check(what, "TDX", 3, 0, when(e))
}

// checkQEIdentity checks Intel's word on quoting enclaves.
func checkQEIdentity(data, chain []byte, roots EndorsementRoots, when func(Edition) time.Time) (Edition, error) {
	const what = "QE identity"
	e, err := claimed(what, "enclaveIdentity", data)
	if err != nil {
		return Edition{}, err
	}
	signed, err := signedPart(what, "enclaveIdentity", data, chain, roots.Intel, crl{}, when(e))
	if err != nil {
		return Edition{}, err
	}
	identity, err := parseQEIdentity(signed)
	if err != nil {
		return Edition{}, err
	}
	return e, identity.check(what, "TD_QE", 2, 0, when(e))
}

// claimed is the edition that a document of Intel's claims to be. It counts once the
// signature over the same bytes does.
func claimed(what, member string, data []byte) (Edition, error) {
	if len(data) > maxCollateralSize {
		return Edition{}, verdict.Refuse(verdict.EvidenceLimit, "parsing %s: %d bytes, want at most %d", what, len(data), maxCollateralSize)
	}
	if err := oneReading(data); err != nil {
		return Edition{}, badCollateral(what, "%w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return Edition{}, badCollateral(what, "%w", err)
	}
	var document edition
	if err := json.Unmarshal(members[member], &document); err != nil || document.Evaluation == nil {
		return Edition{}, badCollateral(what, "it has no dates or no evaluation number")
	}
	return Edition{Number: new(big.Int).SetUint64(uint64(*document.Evaluation)), Issued: document.IssueDate, Until: document.NextUpdate}, nil
}

// checkList checks the list of the platform's authority, or of the root.
func (p *TDXPlatform) checkList(label string, der []byte, roots EndorsementRoots, when func(Edition) time.Time) (Edition, error) {
	list, err := revocationList(label, der)
	if err != nil {
		return Edition{}, err
	}
	e, issuer := editionOf(list), roots.Intel
	if label == LabelPCKCRL {
		issuer = p.ca
		if err := checkIntel("PCK chain", issuer, roots.Intel, true, when(e)); err != nil {
			return Edition{}, err
		}
	}
	_, err = parseCRL(label, der, issuer, when(e))
	return e, err
}
