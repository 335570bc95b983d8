// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Limits of a CRL.
const (
	// MaxCRLBytes bounds a CRL.
	MaxCRLBytes = 32 << 20
	// maxExtensions bounds the extensions of a CRL, and of one of its entries.
	maxExtensions = 32
	// maxNumberBytes bounds a CRL number (RFC 5280 §5.2.3: 20 octets).
	maxNumberBytes = 20
)

// Extensions of CRLs and their entries (RFC 5280 §5.2, §5.3).
var (
	oidAuthorityKeyID    = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber         = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaIndicator    = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingPoint      = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidFreshest          = asn1.ObjectIdentifier{2, 5, 29, 46}
	oidReasonCode        = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidityDate    = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 31}
)

// A crl is a revocation list whose form was read. What it says counts once
// [crl.verify] accepted it for an issuer; when it says it is for the caller to
// compare. It is not changed after it was made.
type crl struct {
	raw, tbs []byte
	// head is the list without its entries.
	head    *x509.RevocationList
	entries cryptobyte.String
	number  *big.Int
	// base is the number of the list that a delta list is to be applied to; nil
	// for a complete list.
	base     *big.Int
	freshest []string // addresses of delta lists
	point    issuingPoint
	pointRaw []byte
}

// issuingPoint is the scope of a list (RFC 5280 §5.2.5).
type issuingPoint struct {
	present             bool
	urls                []string
	named               bool // it names a distribution point, by address or otherwise
	onlyUser, onlyCA    bool
	someReasons         bool
	indirect, attribute bool
}

// parseCRL reads the form of a list (RFC 5280 §5). The entries are walked, and
// not kept: a list of 32 MiB has a million, which the library would turn into half
// a gigabyte. The library reads the rest.
func parseCRL(der []byte) (*crl, error) {
	if len(der) > MaxCRLBytes {
		return nil, fmt.Errorf("it has %d bytes, want at most %d", len(der), MaxCRLBytes)
	}
	c := &crl{raw: der}
	input := cryptobyte.String(der)
	var list, tbs, rest cryptobyte.String
	if !input.ReadASN1(&list, cbasn1.SEQUENCE) || !input.Empty() || !list.ReadASN1Element(&tbs, cbasn1.SEQUENCE) {
		return nil, errors.New("it is not a certificate list")
	}
	c.tbs = tbs
	rest = list // signatureAlgorithm, signatureValue

	var before, entries, after cryptobyte.String
	if before, entries, after = splitEntries(tbs); before == nil {
		return nil, errors.New("its list of entries is malformed")
	}
	c.entries = entries
	if err := c.walk(nil); err != nil {
		return nil, err
	}
	var err error
	if c.head, err = x509.ParseRevocationList(joinList(before, nil, after, rest)); err != nil {
		return nil, err
	}
	c.head.RawTBSRevocationList = c.tbs
	if err := c.readExtensions(); err != nil {
		return nil, err
	}
	return c, nil
}

// splitEntries returns what is before, in and after revokedCertificates of a
// TBSCertList, without the header of the sequences; before is nil for one that is
// not of this form.
func splitEntries(tbs cryptobyte.String) (before, entries, after cryptobyte.String) {
	var in cryptobyte.String
	if !tbs.ReadASN1(&in, cbasn1.SEQUENCE) || !tbs.Empty() {
		return nil, nil, nil
	}
	whole := in
	ok := in.SkipOptionalASN1(cbasn1.INTEGER) && in.SkipASN1(cbasn1.SEQUENCE) && in.SkipASN1(cbasn1.SEQUENCE)
	for n := 0; ok && n < 2 && (in.PeekASN1Tag(cbasn1.UTCTime) || in.PeekASN1Tag(cbasn1.GeneralizedTime)); n++ {
		var skipped cryptobyte.String
		var tag cbasn1.Tag
		ok = in.ReadAnyASN1(&skipped, &tag)
	}
	if !ok {
		return nil, nil, nil
	}
	before = whole[:len(whole)-len(in)]
	if in.PeekASN1Tag(cbasn1.SEQUENCE) && !in.ReadASN1(&entries, cbasn1.SEQUENCE) {
		return nil, nil, nil
	}
	return before, entries, in
}

// joinList is the reverse of splitEntries, with the entries given.
func joinList(before, entries, after, rest []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(before)
			if len(entries) > 0 {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(entries) })
			}
			b.AddBytes(after)
		})
		b.AddBytes(rest)
	})
	out, _ := b.Bytes() // fails only above 4 GiB
	return out
}

// walk reads all entries and gives those with the serial number's DER to found.
// RFC 5280 §5.3: a critical extension of any entry that we do not process makes
// the whole list useless. certificateIssuer is one of these: lists that have it are
// indirect.
func (c *crl) walk(found func(entry cryptobyte.String, serial cryptobyte.String)) error {
	for in := c.entries; !in.Empty(); {
		var body, serial, at cryptobyte.String
		var tag cbasn1.Tag
		entry := in
		if !in.ReadASN1(&body, cbasn1.SEQUENCE) || !body.ReadASN1(&serial, cbasn1.INTEGER) || !body.ReadAnyASN1(&at, &tag) || !minimal(serial) {
			return errors.New("an entry is malformed")
		}
		if found != nil {
			found(entry[:len(entry)-len(in)], serial)
			continue
		}
		if body.Empty() {
			continue
		}
		var exts cryptobyte.String
		if !body.ReadASN1(&exts, cbasn1.SEQUENCE) || !body.Empty() {
			return errors.New("an entry has more than extensions")
		}
		for n := 0; !exts.Empty(); n++ {
			var ext, id cryptobyte.String
			var critical bool
			if !exts.ReadASN1(&ext, cbasn1.SEQUENCE) || !ext.ReadASN1(&id, cbasn1.OBJECT_IDENTIFIER) ||
				!readCritical(&ext, &critical) || n == maxExtensions {
				return errors.New("the extensions of an entry are malformed")
			}
			if critical && !bytes.Equal(id, derReasonCode) && !bytes.Equal(id, derInvalidityDate) {
				return errors.New("an entry has a critical extension that is not known")
			}
		}
	}
	return nil
}

// readCritical reads the flag of an Extension. (cryptobyte's optional boolean is one
// with an explicit tag, which this has not.)
func readCritical(in *cryptobyte.String, critical *bool) bool {
	return !in.PeekASN1Tag(cbasn1.BOOLEAN) || in.ReadASN1Boolean(critical)
}

// minimal tells whether n is the shortest form of an integer, the one that DER has:
// entries are compared as bytes.
func minimal(n []byte) bool {
	return len(n) == 1 || len(n) > 1 && (n[0] != 0 || n[1]&0x80 != 0) && (n[0] != 0xff || n[1]&0x80 == 0)
}

// The contents of the object identifiers that walk compares, so that it need not
// parse a million of them.
var (
	derReasonCode     = []byte{0x55, 0x1d, 21}
	derInvalidityDate = []byte{0x55, 0x1d, 24}
)

// readExtensions reads the extensions of the list (RFC 5280 §5.2).
func (c *crl) readExtensions() error {
	if len(c.head.Extensions) > maxExtensions {
		return fmt.Errorf("it has %d extensions, want at most %d", len(c.head.Extensions), maxExtensions)
	}
	var seen []asn1.ObjectIdentifier
	for _, e := range c.head.Extensions {
		if slices.ContainsFunc(seen, e.Id.Equal) {
			return fmt.Errorf("it has extension %s twice", e.Id)
		}
		seen = append(seen, e.Id)
		var err error
		switch {
		case e.Id.Equal(oidCRLNumber):
			c.number, err = parseNumber(e.Value)
		case e.Id.Equal(oidDeltaIndicator):
			c.base, err = parseNumber(e.Value)
		case e.Id.Equal(oidIssuingPoint):
			c.pointRaw = e.Value
			c.point, err = parseIssuingPoint(e.Value)
		case e.Id.Equal(oidFreshest):
			c.freshest, err = parsePoints(e.Value)
		case e.Id.Equal(oidAuthorityKeyID):
		case e.Critical:
			err = errors.New("it is critical and not known")
		}
		if err != nil {
			return fmt.Errorf("extension %s: %w", e.Id, err)
		}
	}
	return nil
}

func parseNumber(der []byte) (*big.Int, error) {
	n := new(big.Int)
	in := cryptobyte.String(der)
	if len(der) > maxNumberBytes+2 || !in.ReadASN1Integer(n) || !in.Empty() || n.Sign() < 0 {
		return nil, errors.New("it is not a number of a list")
	}
	return n, nil
}

// parseIssuingPoint reads an IssuingDistributionPoint (RFC 5280 §5.2.5).
func parseIssuingPoint(der []byte) (issuingPoint, error) {
	malformed := errors.New("it is not an issuing distribution point")
	p := issuingPoint{present: true}
	in := cryptobyte.String(der)
	var body, name, reasons cryptobyte.String
	if !in.ReadASN1(&body, cbasn1.SEQUENCE) || !body.ReadOptionalASN1(&name, &p.named, cbasn1.Tag(0).ContextSpecific().Constructed()) || !in.Empty() {
		return issuingPoint{}, malformed
	}
	if p.named {
		var err error
		if p.urls, err = parsePointName(name); err != nil {
			return issuingPoint{}, err
		}
	}
	flag := func(out *bool, tag uint8) bool {
		t := cbasn1.Tag(tag).ContextSpecific()
		if !body.PeekASN1Tag(t) {
			return true
		}
		var v cryptobyte.String
		if !body.ReadASN1(&v, t) || len(v) != 1 || v[0] != 0 && v[0] != 0xff {
			return false
		}
		*out = v[0] != 0
		return true
	}
	if !flag(&p.onlyUser, 1) || !flag(&p.onlyCA, 2) ||
		!body.ReadOptionalASN1(&reasons, &p.someReasons, cbasn1.Tag(3).ContextSpecific()) ||
		!flag(&p.indirect, 4) || !flag(&p.attribute, 5) || !body.Empty() {
		return issuingPoint{}, malformed
	}
	return p, nil
}

// parsePointName reads the addresses of a DistributionPointName. The name relative
// to the issuer has none.
func parsePointName(in cryptobyte.String) ([]string, error) {
	malformed := errors.New("a distribution point is malformed")
	full := cbasn1.Tag(0).ContextSpecific().Constructed()
	if !in.PeekASN1Tag(full) {
		var skipped cryptobyte.String
		if !in.ReadASN1(&skipped, cbasn1.Tag(1).ContextSpecific().Constructed()) || !in.Empty() {
			return nil, malformed
		}
		return nil, nil
	}
	var names cryptobyte.String
	if !in.ReadASN1(&names, full) || !in.Empty() {
		return nil, malformed
	}
	var urls []string
	for !names.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return nil, malformed
		}
		if tag == cbasn1.Tag(6).ContextSpecific() {
			if len(urls) == maxNames {
				return nil, fmt.Errorf("a distribution point has more than %d addresses", maxNames)
			}
			urls = append(urls, string(name))
		}
	}
	return urls, nil
}

// parsePoints reads the addresses of CRLDistributionPoints (RFC 5280 §4.2.1.13),
// which is also the form of freshestCRL. Points whose lists are of another issuer,
// or for some reasons only, count too: what is fetched there is judged for itself.
func parsePoints(der []byte) ([]string, error) {
	malformed := errors.New("its distribution points are malformed")
	in := cryptobyte.String(der)
	var points cryptobyte.String
	if !in.ReadASN1(&points, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, malformed
	}
	var urls []string
	for !points.Empty() {
		var point, name cryptobyte.String
		var named bool
		if !points.ReadASN1(&point, cbasn1.SEQUENCE) || !point.ReadOptionalASN1(&name, &named, cbasn1.Tag(0).ContextSpecific().Constructed()) {
			return nil, malformed
		}
		if !named {
			continue
		}
		more, err := parsePointName(name)
		if err != nil {
			return nil, err
		}
		if urls = append(urls, more...); len(urls) > maxNames {
			return nil, fmt.Errorf("it names more than %d addresses", maxNames)
		}
	}
	return urls, nil
}

// verify checks that issuer signed the list with a key that may (RFC 5280 §6.3.3
// (f), (g)), and that it is of a form from which anything can be concluded.
func (c *crl) verify(issuer *x509.Certificate) error {
	if !bytes.Equal(c.head.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("it is a list of %q, want one of %q", clipped(c.head.Issuer.String()), clipped(issuer.Subject.String()))
	}
	if err := acceptKey(issuer); err != nil {
		return err
	}
	if err := c.head.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("checking its signature: %w", err)
	}
	switch {
	case c.number == nil:
		return errors.New("it has no number, without which an old one cannot be told from a new one")
	case c.head.NextUpdate.IsZero():
		return errors.New("it does not say when the next one is due")
	case c.point.indirect:
		return errors.New("it is an indirect list, which is not supported")
	case c.point.attribute:
		return errors.New("it is a list of attribute certificates")
	}
	return nil
}

// covers tells whether the list is about cert (RFC 5280 §6.3.3 (b)), and if not
// why. A list of another part of the issuer's certificates, put in the place of
// this one, would not have it.
func (c *crl) covers(cert *x509.Certificate, points []string) error {
	p := c.point
	switch {
	case p.onlyUser && cert.IsCA:
		return errors.New("it is a list of certificates of users, and this is one of an authority")
	case p.onlyCA && !cert.IsCA:
		return errors.New("it is a list of certificates of authorities, and this is not one")
	case p.named && !slices.ContainsFunc(p.urls, func(u string) bool { return slices.Contains(points, u) }):
		return errors.New("it is for a distribution point that the certificate does not name")
	}
	return nil
}

// current tells whether the list may be relied on at the time, and if not why.
func (c *crl) current(at time.Time) error {
	return fresh(c.head.ThisUpdate, c.head.NextUpdate, at)
}

// scope is what the numbers of lists are counted within (RFC 5280 §5.2.3: per
// issuer and scope; delta lists share the numbers of complete ones).
func (c *crl) scope(issuer *x509.Certificate) [sha256.Size]byte {
	kind := "complete"
	if c.base != nil {
		kind = "delta"
	}
	return digestOf([]byte(kind), issuer.RawSubject, issuer.RawSubjectPublicKeyInfo, c.pointRaw)
}

// A revocationEntry is what an issuer says of a revoked certificate.
type revocationEntry struct {
	at         time.Time
	reason     int // RFC 5280 §5.3.1; 0 is unspecified
	invalidity time.Time
}

// find returns the entry for a serial number, or nil. Of several it is the first
// one that is not lifted.
func (c *crl) find(serial *big.Int) (*revocationEntry, error) {
	var want cryptobyte.Builder
	want.AddASN1BigInt(serial)
	der, _ := want.Bytes() // fails only above 4 GiB
	in := cryptobyte.String(der)
	var wanted cryptobyte.String
	in.ReadASN1(&wanted, cbasn1.INTEGER)

	var found []byte
	if err := c.walk(func(entry, serial cryptobyte.String) {
		if bytes.Equal(serial, wanted) && len(found) < maxEntriesOfOne {
			found = append(found, entry...)
		}
	}); err != nil || found == nil {
		return nil, err
	}
	before, _, after := splitEntries(c.tbs)
	list := cryptobyte.String(c.raw)
	var body, tbs cryptobyte.String
	list.ReadASN1(&body, cbasn1.SEQUENCE)
	body.ReadASN1Element(&tbs, cbasn1.SEQUENCE)
	reduced, err := x509.ParseRevocationList(joinList(before, found, after, body))
	if err != nil {
		return nil, fmt.Errorf("the entry is malformed: %w", err)
	}
	var best *revocationEntry
	for _, e := range reduced.RevokedCertificateEntries {
		r := &revocationEntry{at: e.RevocationTime, reason: e.ReasonCode}
		if r.invalidity, err = invalidityDate(e.Extensions); err != nil {
			return nil, err
		}
		if best == nil || best.reason == reasonRemove {
			best = r
		}
	}
	if best != nil && best.reason == reasonRemove && c.base == nil {
		return nil, errors.New("it lifts a revocation, which only delta lists can")
	}
	return best, nil
}

// maxEntriesOfOne bounds the bytes of entries with one serial number.
const maxEntriesOfOne = 4 << 10

// invalidityDate reads the extension of that name (RFC 5280 §5.3.2), and returns
// the zero time where there is none.
func invalidityDate(exts []pkix.Extension) (time.Time, error) {
	for _, e := range exts {
		if !e.Id.Equal(oidInvalidityDate) {
			continue
		}
		in := cryptobyte.String(e.Value)
		var t time.Time
		if !in.ReadASN1GeneralizedTime(&t) || !in.Empty() {
			return time.Time{}, errors.New("its invalidity date is malformed")
		}
		return t, nil
	}
	return time.Time{}, nil
}
