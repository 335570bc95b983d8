// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"embed"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// Limits of endorsements, in bytes.
const (
	maxCertificateSize = 16 << 10
	maxCRLSize         = 256 << 10
	// minRSABits is the shortest RSA key of an issuer.
	minRSABits = 2048
)

// An SNPRoot is a trust anchor for SNP reports of one product line.
type SNPRoot struct {
	// Line is the product line that the certificates are for.
	Line ProductLine
	// ARK is the self-signed root, trusted as it is.
	ARK *x509.Certificate
	// ASK is the issuer of VCEKs, and ASVK that of VLEKs, both signed by ARK. Without
	// one no key of its kind is trusted.
	ASK, ASVK *x509.Certificate
}

// issuer returns the issuer of keys of a kind, and its name.
func (r SNPRoot) issuer(kind SNPSigner) (*x509.Certificate, string) {
	if kind == SNPVLEK {
		return r.ASVK, "SEV-VLEK-" + string(r.Line)
	}
	return r.ASK, "SEV-" + string(r.Line)
}

//go:embed roots/*.pem
var rootFiles embed.FS

// embeddedRoots are the certificates of a file of ours, want of them.
func embeddedRoots(name string, want int) (certificates []*x509.Certificate) {
	data, err := rootFiles.ReadFile("roots/" + name + ".pem")
	if err != nil {
		panic("attest: reading embedded roots: " + err.Error())
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic("attest: parsing embedded roots: " + err.Error())
		}
		certificates = append(certificates, c)
	}
	if len(certificates) != want {
		panic(fmt.Sprintf("attest: %s.pem has %d embedded roots, want %d", name, len(certificates), want))
	}
	return certificates
}

var amdRoots = sync.OnceValue(func() []SNPRoot {
	var roots []SNPRoot
	for _, line := range []ProductLine{Milan, Genoa, Turin} {
		certificates := embeddedRoots("amd-"+strings.ToLower(string(line)), 3)
		roots = append(roots, SNPRoot{Line: line, ASK: certificates[0], ARK: certificates[1], ASVK: certificates[2]})
	}
	return roots
})

// AMDRoots returns the roots that AMD publishes for Milan, Genoa and Turin. They
// count only where a Trust names them.
func AMDRoots() []SNPRoot { return slices.Clone(amdRoots()) }

// An SNPSigner is a kind of key that signs SNP reports.
type SNPSigner string

// The kinds of keys.
const (
	// SNPVCEK is a key of the chip, which AMD derives from its identity.
	SNPVCEK SNPSigner = "vcek"
	// SNPVLEK is a key of a cloud provider, which names no chip.
	SNPVLEK SNPSigner = "vlek"
)

// snpSigner is the result of a chain: the key, and what its certificate says.
type snpSigner struct {
	kind SNPSigner
	key  *ecdsa.PublicKey
	line ProductLine
	tcb  TCB
	// hwid is the chip's ID of a VCEK, cspID the provider of a VLEK.
	hwid  [64]byte
	cspID string
	// relaxed are the fields of Trust that the chain needed.
	relaxed []string
}

// signer returns the kind of key that signed r, if s accepts it.
func (r *SNPReport) signer(s *SNPTrust) (SNPSigner, error) {
	if r.SignerInfo&snpSignerMaskChipKey != 0 {
		return "", verdict.Refuse(verdict.EvidenceSignature, "verifying SNP report: MASK_CHIP_KEY is set, so nothing is signed")
	}
	kind, known := map[int]SNPSigner{SNPSignerVCEK: SNPVCEK, SNPSignerVLEK: SNPVLEK}[r.SigningKey()]
	if !known || !slices.Contains(s.signers(), kind) {
		return "", verdict.Refuse(verdict.EvidenceSigner, "verifying SNP chain: signing key is %d, accepted are keys of kind %s", r.SigningKey(), s.signers())
	}
	return kind, nil
}

// leaf reads the certificate of the key that signed. Its name is looked at before
// what it says: an authority in the leaf's place is no leaf of another form.
func (s *snpSigner) leaf(endorsements Collection) (*x509.Certificate, error) {
	label, name := LabelVCEK, "SEV-VCEK"
	if s.kind == SNPVLEK {
		label, name = LabelVLEK, "SEV-VLEK"
	}
	c, err := endorsements.certificate(label)
	if err != nil {
		return nil, err
	}
	if c.Subject.CommonName != name {
		return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: %q is the certificate of %s, want %s", label, quoteShort(c.Subject.CommonName), name)
	}
	product := ""
	if s.kind == SNPVLEK {
		vlek, err := parseVLEK(c)
		if err != nil {
			return nil, err
		}
		product, s.tcb, s.cspID = vlek.Product, vlek.TCB, vlek.CSPID
	} else {
		vcek, err := parseVCEK(c)
		if err != nil {
			return nil, err
		}
		product, s.tcb, s.hwid = vcek.Product, vcek.TCB, vcek.HWID
	}
	s.line = lineOf(product)
	return c, nil
}

// verifySNPChain walks ARK → ASK → VCEK, or ARK → ASVK → VLEK, for the report r. The
// simulator's authorities come with the evidence, and count because t pins the ARK
// by digest; AMD's come from t alone.
func verifySNPChain(c Collection, r *SNPReport, t *Trust, simulated bool, at time.Time) (snpSigner, error) {
	endorsements, err := c.nested(LabelEndorsements, TypeEndorsements)
	if err != nil {
		return snpSigner{}, asEndorsement(err)
	}
	var s snpSigner
	if s.kind, err = r.signer(&t.SNP); err != nil {
		return snpSigner{}, err
	}
	leaf, err := s.leaf(endorsements)
	if err != nil {
		return snpSigner{}, err
	}
	if reported, err := r.line(); err != nil {
		return snpSigner{}, err
	} else if reported != "" && reported != s.line {
		return snpSigner{}, verdict.Refuse(verdict.EndorsementProduct, "verifying SNP chain: the certificate is for %s, the report from %s", quoteShort(string(s.line)), reported)
	}
	root, err := snpRootFor(endorsements, s, t, simulated)
	if err != nil {
		return snpSigner{}, err
	}
	issuer, issuerName := root.issuer(s.kind)
	ark := "ARK-" + string(s.line)
	if err := checkIssuer(root.ARK, root.ARK, ark, ark, at); err != nil {
		return snpSigner{}, err
	}
	if err := checkIssuer(issuer, root.ARK, issuerName, ark, at); err != nil {
		return snpSigner{}, err
	}
	if err := checkIssued(leaf, issuer, leaf.Subject.CommonName, issuerName, at); err != nil {
		return snpSigner{}, err
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return snpSigner{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: the %s is no P-384 key", leaf.Subject.CommonName)
	}
	s.key = key
	list, ok := endorsements.Items[LabelCRL]
	s.relaxed, err = judge([]demand{
		{s.kind == SNPVCEK || slices.Contains(t.SNP.CSPIDs, s.cspID), "allow-any-csp", t.SNP.AllowAnyCSP,
			verdict.Refuse(verdict.EvidenceSigner, "verifying SNP chain: the VLEK is of provider %s, which is none of those accepted", quoteShort(s.cspID))},
		{ok, "allow-no-crl", t.AllowNoCRL, verdict.Fail(verdict.EndorsementMissing, "verifying SNP chain: no %q", LabelCRL)},
	})
	if err != nil {
		return snpSigner{}, err
	}
	if ok {
		if err := checkRevocation(list, root.ARK, issuer, leaf, at); err != nil {
			return snpSigner{}, err
		}
	}
	return s, nil
}

// snpRootFor finds the trust anchor for the line of s.
func snpRootFor(endorsements Collection, s snpSigner, t *Trust, simulated bool) (SNPRoot, error) {
	if !simulated {
		for _, root := range t.SNPRoots {
			if issuer, _ := root.issuer(s.kind); root.Line == s.line && issuer != nil {
				return root, nil
			}
		}
		return SNPRoot{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: no root for a %s of product line %s", s.kind, quoteShort(string(s.line)))
	}
	ark, err := endorsements.certificate(LabelARK)
	if err != nil {
		return SNPRoot{}, err
	}
	if !slices.Contains(t.SimulatorRoots, verdict.SHA256(ark.Raw)) {
		return SNPRoot{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: simulator root %s is not pinned", verdict.SHA256(ark.Raw))
	}
	// A production anchor pinned here by mistake must not turn genuine evidence
	// into simulated evidence, nor the other way round.
	for _, root := range t.SNPRoots {
		if root.ARK.Equal(ark) {
			return SNPRoot{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: the simulator's root is a production root")
		}
	}
	root := SNPRoot{Line: s.line, ARK: ark}
	if s.kind == SNPVLEK {
		root.ASVK, err = endorsements.certificate(LabelASVK)
	} else {
		root.ASK, err = endorsements.certificate(LabelASK)
	}
	if err != nil {
		return SNPRoot{}, err
	}
	return root, nil
}

// checkIssuer checks a certificate that issues others.
func checkIssuer(c, issuer *x509.Certificate, subjectName, issuerName string, at time.Time) error {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: the key of %s is no RSA key of %d bits or more", subjectName, minRSABits)
	}
	if !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: %s may not issue certificates", subjectName)
	}
	return checkIssued(c, issuer, subjectName, issuerName, at)
}

// checkIssued checks that issuer signed c, the names that AMD gives them, and
// that c is valid at the time.
func checkIssued(c, issuer *x509.Certificate, subjectName, issuerName string, at time.Time) error {
	if c.Subject.CommonName != subjectName || c.Issuer.CommonName != issuerName {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: certificate of %s by %s, want %s by %s",
			quoteShort(c.Subject.CommonName), quoteShort(c.Issuer.CommonName), subjectName, issuerName)
	}
	if len(c.UnhandledCriticalExtensions) > 0 {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: %s has an unknown critical extension", subjectName)
	}
	if c.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: %s is signed by %s, want %s", subjectName, c.SignatureAlgorithm, x509.SHA384WithRSAPSS)
	}
	if err := issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: %s is not signed by %s", subjectName, issuerName)
	}
	return checkValidity(c, subjectName, at)
}

// checkValidity checks that c is valid at the time.
func checkValidity(c *x509.Certificate, name string, at time.Time) error {
	if at.Before(c.NotBefore) {
		return verdict.Fail(verdict.EndorsementNotYetValid, "verifying certificate: %s is valid from %s, and it is %s", name, c.NotBefore.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	if at.After(c.NotAfter) {
		return verdict.Fail(verdict.EndorsementExpired, "verifying certificate: %s was valid until %s, and it is %s", name, c.NotAfter.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkRevocation checks that the ARK's list has neither the issuer of the leaf nor
// the leaf. AMD publishes lists of the ARK alone, which are about ASK and ASVK; of
// single VCEKs and VLEKs it revokes none, for a higher TCB makes another key, and a
// floor is what retires the old one. A list that has a leaf's number all the same is
// taken at its word.
func checkRevocation(item Item, ark, issuer, leaf *x509.Certificate, at time.Time) error {
	crl, err := parseARKList(item, ark)
	if err != nil {
		return err
	}
	if err := checkARKList(crl, issuer, at); err != nil {
		return err
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, c := range []*x509.Certificate{issuer, leaf} {
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return verdict.Refuse(verdict.EndorsementRevoked, "verifying SNP chain: %s was revoked at %s", c.Subject.CommonName, entry.RevocationTime.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}

// parseARKList parses a list that the ARK signed.
func parseARKList(item Item, ark *x509.Certificate) (*x509.RevocationList, error) {
	if item.MediaType != TypeCRL {
		return nil, verdict.Refuse(verdict.EndorsementMalformed, "parsing CRL: type is %s, want %s", quoteShort(item.MediaType), TypeCRL)
	}
	crl, err := revocationList("CRL", item.Value)
	if err != nil {
		return nil, err
	}
	if err := ark.CheckSignature(crl.SignatureAlgorithm, crl.RawTBSRevocationList, crl.Signature); err != nil || crl.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying CRL: not signed by the ARK")
	}
	return crl, nil
}

// checkARKList checks that a list is in force at the time, and about certificates like
// that of issuer.
func checkARKList(crl *x509.RevocationList, issuer *x509.Certificate, at time.Time) error {
	if at.Before(crl.ThisUpdate) {
		return verdict.Fail(verdict.EndorsementNotYetValid, "verifying CRL: issued at %s, and it is %s", crl.ThisUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	if at.After(crl.NextUpdate) {
		return verdict.Fail(verdict.EndorsementExpired, "verifying CRL: next one was due at %s, and it is %s", crl.NextUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return checkCRLScope(crl, issuer)
}

// oidIssuingDistributionPoint is the extension of a list that is about some
// certificates of its issuer only (RFC 5280 §5.2.5).
var oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

// An issuingDistributionPoint is the value of that extension.
type issuingDistributionPoint struct {
	Point struct {
		Full     []asn1.RawValue `asn1:"optional,tag:0"`
		Relative asn1.RawValue   `asn1:"optional,tag:1"`
	} `asn1:"optional,tag:0"`
	UserCertificates      bool           `asn1:"optional,tag:1"`
	CACertificates        bool           `asn1:"optional,tag:2"`
	SomeReasons           asn1.BitString `asn1:"optional,tag:3"`
	Indirect              bool           `asn1:"optional,tag:4"`
	AttributeCertificates bool           `asn1:"optional,tag:5"`
}

// checkCRLScope checks that crl is about the certificate c. The lists for VCEKs and
// for VLEKs have one issuer and two addresses: where a list names its address, it
// has to be that of c.
func checkCRLScope(crl *x509.RevocationList, c *x509.Certificate) error {
	for _, e := range crl.Extensions {
		if !e.Id.Equal(oidIssuingDistributionPoint) {
			if e.Critical {
				return verdict.Refuse(verdict.EndorsementUntrusted, "verifying CRL: unknown critical extension %s", e.Id)
			}
			continue
		}
		var p issuingDistributionPoint
		if rest, err := asn1.Unmarshal(e.Value, &p); err != nil || len(rest) != 0 {
			return verdict.Refuse(verdict.EndorsementMalformed, "parsing CRL: issuing distribution point")
		}
		ours := func(name asn1.RawValue) bool {
			const uri = 6 // uniformResourceIdentifier, RFC 5280 §4.2.1.6
			return name.Class == asn1.ClassContextSpecific && name.Tag == uri && slices.Contains(c.CRLDistributionPoints, string(name.Bytes))
		}
		if p.UserCertificates || p.AttributeCertificates || p.Indirect || p.SomeReasons.BitLength > 0 || len(p.Point.Relative.FullBytes) > 0 ||
			len(p.Point.Full) > 0 && !slices.ContainsFunc(p.Point.Full, ours) {
			return verdict.Fail(verdict.EndorsementMissing, "verifying CRL: it is not about %s", quoteShort(c.Subject.CommonName))
		}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return verdict.Refuse(verdict.EndorsementUntrusted, "verifying CRL: an entry has the unknown critical extension %s", e.Id)
			}
		}
	}
	return nil
}

// certificate parses the certificate at label.
func (c Collection) certificate(label string) (*x509.Certificate, error) {
	der, err := c.record(label, TypeCertificate)
	if err != nil {
		return nil, asEndorsement(err)
	}
	if len(der) > maxCertificateSize {
		return nil, verdict.Refuse(verdict.EvidenceLimit, "parsing %q: %d bytes, want at most %d", label, len(der), maxCertificateSize)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, verdict.Refuse(verdict.EndorsementMalformed, "parsing %q: %w", label, err)
	}
	return certificate, nil
}

// asEndorsement turns what is said of a part of the collection into the same about
// an endorsement.
func asEndorsement(err error) error {
	switch reason := verdict.ReasonOf(err); reason.Code {
	case verdict.EvidenceMissing:
		return verdict.Fail(verdict.EndorsementMissing, "%s", reason.Text)
	case verdict.EvidenceKind:
		return verdict.Refuse(verdict.EndorsementMalformed, "%s", reason.Text)
	default:
		return err
	}
}
