// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/asn1"
	"encoding/pem"
	"errors"
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

// The extensions of a VCEK (AMD 57230, "VCEK Certificate").
var (
	oidSNP             = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}
	oidSNPStruct       = append(slices.Clone(oidSNP), 1)
	oidSNPProduct      = append(slices.Clone(oidSNP), 2)
	oidSNPTCB          = append(slices.Clone(oidSNP), 3)
	oidSNPHWID         = append(slices.Clone(oidSNP), 4)
	snpTCBReserved     = []int{4, 5, 6, 7}
	turinHWIDSize      = 8
	errNoSuchExtension = errors.New("no such extension")
)

// Indices below oidSNPTCB.
const (
	snpTCBBootloader = 1
	snpTCBTEE        = 2
	snpTCBSNP        = 3
	snpTCBMicrocode  = 8
	snpTCBFMC        = 9
)

// An SNPRoot is a trust anchor for SNP reports of one product line.
type SNPRoot struct {
	// Line is the product line that ARK and ASK are for.
	Line ProductLine
	// ARK is the self-signed root, trusted as it is.
	ARK *x509.Certificate
	// ASK is the issuer of VCEKs, signed by ARK.
	ASK *x509.Certificate
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
		certificates := embeddedRoots("amd-"+strings.ToLower(string(line)), 2)
		roots = append(roots, SNPRoot{Line: line, ASK: certificates[0], ARK: certificates[1]})
	}
	return roots
})

// AMDRoots returns the roots that AMD publishes for Milan, Genoa and Turin. They
// count only where a Trust names them.
func AMDRoots() []SNPRoot { return slices.Clone(amdRoots()) }

// A VCEK is what a chip's certificate says about the chip.
type VCEK struct {
	// Product is the line and stepping, like Milan-B0.
	Product string
	// TCB is the one that the key was derived from.
	TCB TCB
	// HWID is the chip's ID: 64 bytes, on Turin the first 8 and zeros.
	HWID [64]byte
}

// Line returns the product line of v.Product.
func (v VCEK) Line() ProductLine {
	line, _, _ := strings.Cut(v.Product, "-")
	return ProductLine(line)
}

// Extensions encodes v as the extensions of a certificate, as a simulator and the
// builders of tests need them.
func (v VCEK) Extensions() ([]pkix.Extension, error) {
	product, err := asn1.MarshalWithParams(v.Product, "ia5")
	if err != nil {
		return nil, fmt.Errorf("encoding VCEK product: %w", err)
	}
	extensions := []pkix.Extension{
		{Id: oidSNPStruct, Value: []byte{asn1.TagInteger, 1, 0}},
		{Id: oidSNPProduct, Value: product},
	}
	numbers := map[int]uint8{
		snpTCBBootloader: v.TCB.Bootloader, snpTCBTEE: v.TCB.TEE, snpTCBSNP: v.TCB.SNP,
		snpTCBMicrocode: v.TCB.Microcode,
	}
	hwid := v.HWID[:]
	if v.Line() == Turin {
		numbers[snpTCBFMC] = v.TCB.FMC
		hwid = hwid[:turinHWIDSize]
	}
	for _, reserved := range snpTCBReserved {
		numbers[reserved] = 0
	}
	for i := range snpTCBFMC + 1 {
		n, ok := numbers[i]
		if !ok {
			continue
		}
		value, err := asn1.Marshal(int(n))
		if err != nil {
			return nil, fmt.Errorf("encoding VCEK TCB: %w", err)
		}
		extensions = append(extensions, pkix.Extension{Id: append(slices.Clone(oidSNPTCB), i), Value: value})
	}
	// AMD puts the bytes without a tag around them.
	return append(extensions, pkix.Extension{Id: oidSNPHWID, Value: slices.Clone(hwid)}), nil
}

// parseVCEK reads the extensions of a VCEK certificate.
func parseVCEK(c *x509.Certificate) (VCEK, error) {
	var v VCEK
	raw, err := extension(c, oidSNPProduct)
	if err != nil {
		return VCEK{}, badVCEK("product", err)
	}
	if rest, err := asn1.UnmarshalWithParams(raw, &v.Product, "ia5"); err != nil || len(rest) != 0 {
		return VCEK{}, badVCEK("product", err)
	}
	numbers := []struct {
		index int
		value *uint8
	}{
		{snpTCBBootloader, &v.TCB.Bootloader}, {snpTCBTEE, &v.TCB.TEE},
		{snpTCBSNP, &v.TCB.SNP}, {snpTCBMicrocode, &v.TCB.Microcode},
	}
	if v.Line() == Turin {
		numbers = append(numbers, struct {
			index int
			value *uint8
		}{snpTCBFMC, &v.TCB.FMC})
	}
	for _, n := range numbers {
		var value int
		raw, err := extension(c, append(slices.Clone(oidSNPTCB), n.index))
		if err != nil {
			return VCEK{}, badVCEK("TCB", err)
		}
		if rest, err := asn1.Unmarshal(raw, &value); err != nil || len(rest) != 0 || value < 0 || value > 255 {
			return VCEK{}, badVCEK("TCB", err)
		}
		*n.value = uint8(value)
	}
	for _, index := range snpTCBReserved {
		raw, err := extension(c, append(slices.Clone(oidSNPTCB), index))
		if err == nil && !slices.Equal(raw, []byte{asn1.TagInteger, 1, 0}) {
			return VCEK{}, badVCEK("reserved TCB", nil)
		}
	}
	hwid, err := extension(c, oidSNPHWID)
	if err != nil {
		return VCEK{}, badVCEK("HWID", err)
	}
	want := len(v.HWID)
	if v.Line() == Turin {
		want = turinHWIDSize
	}
	if len(hwid) != want {
		return VCEK{}, badVCEK("HWID", nil)
	}
	copy(v.HWID[:], hwid)
	return v, nil
}

// badVCEK is the refusal of a certificate whose extension is absent or unreadable.
func badVCEK(what string, err error) error {
	if err != nil {
		return verdict.Refuse(verdict.EndorsementMalformed, "parsing VCEK: %s: %w", what, err)
	}
	return verdict.Refuse(verdict.EndorsementMalformed, "parsing VCEK: %s extension", what)
}

// extension returns the value of the extension of c named by id.
func extension(c *x509.Certificate, id asn1.ObjectIdentifier) ([]byte, error) {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value, nil
		}
	}
	return nil, errNoSuchExtension
}

// snpSigner is the result of a chain: the key, and what its certificate says.
type snpSigner struct {
	key  *ecdsa.PublicKey
	vcek VCEK
	line ProductLine
}

// verifySNPChain walks ARK → ASK → VCEK for the report r. The simulator's ARK and
// ASK come with the evidence, and count because t pins the ARK by digest; AMD's
// come from t alone.
func verifySNPChain(c Collection, r *SNPReport, t *Trust, simulated bool, at time.Time) (snpSigner, error) {
	endorsements, err := c.nested(LabelEndorsements, TypeEndorsements)
	if err != nil {
		return snpSigner{}, asEndorsement(err)
	}
	if r.SigningKey() != SNPSignerVCEK {
		return snpSigner{}, verdict.Refuse(verdict.EvidenceSigner, "verifying SNP chain: signing key is %d, want %d (VCEK)", r.SigningKey(), SNPSignerVCEK)
	}
	leaf, err := endorsements.certificate(LabelVCEK)
	if err != nil {
		return snpSigner{}, err
	}
	vcek, err := parseVCEK(leaf)
	if err != nil {
		return snpSigner{}, err
	}
	line := vcek.Line()
	if reported, err := r.line(); err != nil {
		return snpSigner{}, err
	} else if reported != "" && reported != line {
		return snpSigner{}, verdict.Refuse(verdict.EndorsementProduct, "verifying SNP chain: the VCEK is for %s, the report from %s", quoteShort(vcek.Product), reported)
	}
	root, err := snpRootFor(endorsements, line, t, simulated)
	if err != nil {
		return snpSigner{}, err
	}
	if err := checkIssuer(root.ARK, root.ARK, "ARK-"+string(line), "ARK-"+string(line), at); err != nil {
		return snpSigner{}, err
	}
	if err := checkIssuer(root.ASK, root.ARK, "SEV-"+string(line), "ARK-"+string(line), at); err != nil {
		return snpSigner{}, err
	}
	if err := checkIssued(leaf, root.ASK, "SEV-VCEK", "SEV-"+string(line), at); err != nil {
		return snpSigner{}, err
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return snpSigner{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: the VCEK is no P-384 key")
	}
	if err := checkRevocation(endorsements, root, leaf, t, at); err != nil {
		return snpSigner{}, err
	}
	return snpSigner{key: key, vcek: vcek, line: line}, nil
}

// snpRootFor finds the trust anchor for line.
func snpRootFor(endorsements Collection, line ProductLine, t *Trust, simulated bool) (SNPRoot, error) {
	if !simulated {
		for _, root := range t.SNPRoots {
			if root.Line == line {
				return root, nil
			}
		}
		return SNPRoot{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying SNP chain: no root for product line %s", quoteShort(string(line)))
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
	ask, err := endorsements.certificate(LabelASK)
	if err != nil {
		return SNPRoot{}, err
	}
	return SNPRoot{Line: line, ARK: ark, ASK: ask}, nil
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

// checkRevocation checks that no CRL of the ARK lists ASK or VCEK.
func checkRevocation(endorsements Collection, root SNPRoot, leaf *x509.Certificate, t *Trust, at time.Time) error {
	item, ok := endorsements.Items[LabelCRL]
	if !ok {
		if t.AllowNoCRL {
			return nil
		}
		return verdict.Fail(verdict.EndorsementMissing, "verifying SNP chain: no %q", LabelCRL)
	}
	if item.MediaType != TypeCRL {
		return verdict.Refuse(verdict.EndorsementMalformed, "parsing CRL: type is %s, want %s", quoteShort(item.MediaType), TypeCRL)
	}
	if len(item.Value) > maxCRLSize {
		return verdict.Refuse(verdict.EvidenceLimit, "parsing CRL: %d bytes, want at most %d", len(item.Value), maxCRLSize)
	}
	crl, err := x509.ParseRevocationList(item.Value)
	if err != nil {
		return verdict.Refuse(verdict.EndorsementMalformed, "parsing CRL: %w", err)
	}
	if err := root.ARK.CheckSignature(crl.SignatureAlgorithm, crl.RawTBSRevocationList, crl.Signature); err != nil || crl.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying CRL: not signed by the ARK")
	}
	if at.Before(crl.ThisUpdate) {
		return verdict.Fail(verdict.EndorsementNotYetValid, "verifying CRL: issued at %s, and it is %s", crl.ThisUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	if at.After(crl.NextUpdate) {
		return verdict.Fail(verdict.EndorsementExpired, "verifying CRL: next one was due at %s, and it is %s", crl.NextUpdate.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for name, c := range map[string]*x509.Certificate{"ASK": root.ASK, "VCEK": leaf} {
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return verdict.Refuse(verdict.EndorsementRevoked, "verifying SNP chain: the %s was revoked at %s", name, entry.RevocationTime.UTC().Format(time.RFC3339))
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
