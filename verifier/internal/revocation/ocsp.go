// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // #nosec G505 -- names of certificates in OCSP, which decide nothing: see certIDHash
	"crypto/sha256"
	_ "crypto/sha512" // for certIDHashes
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
	"golang.org/x/crypto/ocsp"
)

// Limits of an OCSP response.
const (
	// MaxOCSPBytes bounds an OCSP response.
	MaxOCSPBytes = 64 << 10
	// maxAnswers bounds the certificates that one response is about.
	maxAnswers = 64
	// maxResponders bounds the certificates that come with a response.
	maxResponders = 4
	// nonceBytes is the size of our nonce (RFC 9654 §2.1).
	nonceBytes = 32
	// openEnded is how long a response without nextUpdate is relied on. It says
	// that newer information is there all the time (RFC 6960 §4.2.2.1), so that an
	// older one is more likely played back than made.
	openEnded = time.Hour
)

var (
	oidBasicResponse = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidNonce         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	oidNoCheck       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
)

// An idHash is a hash that certificates are named by.
type idHash struct {
	oid  asn1.ObjectIdentifier
	hash crypto.Hash
}

// certIDHashes are those that a response may name certificates by.
var certIDHashes = []idHash{
	{asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, crypto.SHA1},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512},
}

// certIDHash is what we name certificates by. It names name and key of an issuer
// whom we trust, and who signs the response, so that a collision helps nobody:
// SHA-1 it is, since many responders know no other (RFC 5019 §2.1.1). Where it must
// not be computed at all (GODEBUG fips140=only, under which it panics) it is
// SHA-256, and where the responder refuses that there is the CRL.
func certIDHash() idHash {
	if fips140.Enforced() {
		return certIDHashes[1]
	}
	return certIDHashes[0]
}

// canHash tells whether h may be computed.
func canHash(h crypto.Hash) bool {
	return h.Available() && (h != crypto.SHA1 || !fips140.Enforced())
}

// subjectKey returns the bits of a certificate's public key, without what says
// which algorithm it is for.
func subjectKey(c *x509.Certificate) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil || len(rest) != 0 {
		return nil, errors.New("the public key of the issuer is malformed")
	}
	return info.Key.RightAlign(), nil
}

func sum(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// newRequest returns a request (RFC 6960 §4.1) about cert, with a nonce.
func newRequest(cert, issuer *x509.Certificate) (request, nonce []byte, err error) {
	key, err := subjectKey(issuer)
	if err != nil {
		return nil, nil, err
	}
	by := certIDHash()
	nonce = make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails
	type part = cryptobyte.BuilderContinuation
	octets := func(v []byte) part { return func(b *cryptobyte.Builder) { b.AddASN1OctetString(v) } }
	object := func(id asn1.ObjectIdentifier) part {
		return func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(id) }
	}
	within := func(tag cbasn1.Tag, parts ...part) part {
		return func(b *cryptobyte.Builder) {
			b.AddASN1(tag, func(b *cryptobyte.Builder) {
				for _, p := range parts {
					p(b)
				}
			})
		}
	}
	sequence := func(parts ...part) part { return within(cbasn1.SEQUENCE, parts...) }
	certID := sequence(
		sequence(object(by.oid), within(cbasn1.NULL)),
		octets(sum(by.hash, issuer.RawSubject)), octets(sum(by.hash, key)),
		func(b *cryptobyte.Builder) { b.AddASN1BigInt(cert.SerialNumber) })
	extensions := within(tag(2), sequence(sequence(object(oidNonce), within(cbasn1.OCTET_STRING, octets(nonce)))))
	var b cryptobyte.Builder
	sequence(sequence(sequence(sequence(certID)), extensions))(&b)
	request, _ = b.Bytes() // fails only above 4 GiB
	return request, nonce, nil
}

// A response is an OCSP response whose form was read. What it says of a
// certificate counts once [response.verify] accepted it for the issuer.
type response struct {
	raw, tbs   []byte
	algorithm  x509.SignatureAlgorithm
	signature  []byte
	byName     []byte // responder, by name or by SHA-1 of its key
	byKey      []byte
	answers    []answer
	nonce      []byte
	responders []*x509.Certificate
}

// An answer is what a response says of one certificate (SingleResponse).
type answer struct {
	hash             crypto.Hash // 0: one that we do not know
	nameHash         []byte
	keyHash          []byte
	serial           *big.Int
	status           status
	entry            revocationEntry // of one that is revoked
	this, next       time.Time
	criticalNotKnown bool
}

type status int

const (
	unknown status = iota
	good
	revoked
)

// parseResponse reads the form of a response (RFC 6960 §4.2.1). The library's
// parser would not do: it drops the nonce, knows no RSASSA-PSS, and takes the first
// answer with our serial number, whoever its issuer is.
func parseResponse(der []byte) (*response, error) {
	if len(der) > MaxOCSPBytes {
		return nil, fmt.Errorf("it has %d bytes, want at most %d", len(der), MaxOCSPBytes)
	}
	malformed := errors.New("it is not an OCSP response")
	in := cryptobyte.String(der)
	var outer, wrapped, body, kind, inner cryptobyte.String
	var code int
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !outer.ReadASN1Enum(&code) || !in.Empty() {
		return nil, malformed
	}
	if code != 0 {
		return nil, fmt.Errorf("the responder says %q", ocsp.ResponseStatus(code).String())
	}
	var id asn1.ObjectIdentifier
	if !outer.ReadASN1(&wrapped, tag(0)) || !outer.Empty() || !wrapped.ReadASN1(&body, cbasn1.SEQUENCE) || !wrapped.Empty() ||
		!body.ReadASN1ObjectIdentifier(&id) || !body.ReadASN1(&kind, cbasn1.OCTET_STRING) || !body.Empty() {
		return nil, malformed
	}
	if !id.Equal(oidBasicResponse) {
		return nil, fmt.Errorf("it is of type %s, want a basic one", id)
	}
	if !kind.ReadASN1(&inner, cbasn1.SEQUENCE) || !kind.Empty() {
		return nil, malformed
	}
	r := &response{raw: der}
	var tbs, algorithm cryptobyte.String
	if !inner.ReadASN1Element(&tbs, cbasn1.SEQUENCE) || !inner.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!inner.ReadASN1BitStringAsBytes(&r.signature) {
		return nil, malformed
	}
	r.tbs = tbs
	var err error
	if r.algorithm, err = signatureAlgorithm(algorithm); err != nil {
		return nil, err
	}
	if r.responders, err = readResponders(inner); err != nil {
		return nil, err
	}
	if err := r.readData(tbs); err != nil {
		return nil, err
	}
	return r, nil
}

func tag(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

func readResponders(in cryptobyte.String) ([]*x509.Certificate, error) {
	malformed := errors.New("the certificates with it are malformed")
	var explicit, list cryptobyte.String
	var present bool
	if !in.ReadOptionalASN1(&explicit, &present, tag(0)) || !in.Empty() {
		return nil, malformed
	}
	if !present {
		return nil, nil
	}
	if !explicit.ReadASN1(&list, cbasn1.SEQUENCE) || !explicit.Empty() {
		return nil, malformed
	}
	var certs []*x509.Certificate
	for !list.Empty() {
		var der cryptobyte.String
		if len(certs) == maxResponders {
			return nil, fmt.Errorf("more than %d certificates come with it", maxResponders)
		}
		if !list.ReadASN1Element(&der, cbasn1.SEQUENCE) {
			return nil, malformed
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("a certificate with it: %w", err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// readData reads ResponseData.
func (r *response) readData(tbs cryptobyte.String) error {
	malformed := errors.New("its data are malformed")
	var in, responder, answers, exts cryptobyte.String
	var produced time.Time
	var which cbasn1.Tag
	var version int
	var extended bool
	if !tbs.ReadASN1(&in, cbasn1.SEQUENCE) || !in.ReadOptionalASN1Integer(&version, tag(0), 0) || version != 0 {
		return errors.New("it is of a version that is not known")
	}
	if !in.ReadAnyASN1(&responder, &which) {
		return malformed
	}
	switch which {
	case tag(1):
		r.byName = responder
	case tag(2):
		var key cryptobyte.String
		if !responder.ReadASN1(&key, cbasn1.OCTET_STRING) || !responder.Empty() {
			return malformed
		}
		r.byKey = key
	default:
		return errors.New("its responder has neither name nor key")
	}
	if !in.ReadASN1GeneralizedTime(&produced) || !in.ReadASN1(&answers, cbasn1.SEQUENCE) ||
		!in.ReadOptionalASN1(&exts, &extended, tag(1)) || !in.Empty() {
		return malformed
	}
	for !answers.Empty() {
		if len(r.answers) == maxAnswers {
			return fmt.Errorf("it is about more than %d certificates", maxAnswers)
		}
		var one cryptobyte.String
		if !answers.ReadASN1(&one, cbasn1.SEQUENCE) {
			return malformed
		}
		a, err := readAnswer(one)
		if err != nil {
			return err
		}
		r.answers = append(r.answers, a)
	}
	if !extended {
		return nil
	}
	list, err := readExtensions(exts)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Id.Equal(oidNonce) {
			if r.nonce != nil {
				return errors.New("it has two nonces")
			}
			// RFC 6960 wraps it in an octet string; responders of old do not.
			v := cryptobyte.String(e.Value)
			var nonce cryptobyte.String
			if !v.ReadASN1(&nonce, cbasn1.OCTET_STRING) || !v.Empty() {
				nonce = cryptobyte.String(e.Value)
			}
			r.nonce = append([]byte{}, nonce...)
		} else if e.Critical {
			return fmt.Errorf("extension %s is critical and not known", e.Id)
		}
	}
	return nil
}

// readExtensions reads Extensions.
func readExtensions(in cryptobyte.String) ([]pkix.Extension, error) {
	malformed := errors.New("its extensions are malformed")
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, malformed
	}
	var exts []pkix.Extension
	for !list.Empty() {
		var one, value cryptobyte.String
		var e pkix.Extension
		if len(exts) == maxExtensions || !list.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&e.Id) ||
			!readCritical(&one, &e.Critical) || !one.ReadASN1(&value, cbasn1.OCTET_STRING) || !one.Empty() {
			return nil, malformed
		}
		e.Value = value
		exts = append(exts, e)
	}
	return exts, nil
}

// readAnswer reads SingleResponse.
func readAnswer(in cryptobyte.String) (answer, error) {
	malformed := errors.New("an answer in it is malformed")
	var a answer
	var id, algorithm, name, key, state, next, exts cryptobyte.String
	var oid asn1.ObjectIdentifier
	var which cbasn1.Tag
	var bounded, extended bool
	a.serial = new(big.Int)
	if !in.ReadASN1(&id, cbasn1.SEQUENCE) || !id.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!id.ReadASN1(&name, cbasn1.OCTET_STRING) || !id.ReadASN1(&key, cbasn1.OCTET_STRING) || !id.ReadASN1Integer(a.serial) ||
		!in.ReadAnyASN1(&state, &which) || !id.Empty() {
		return answer{}, malformed
	}
	a.nameHash, a.keyHash = name, key
	for _, h := range certIDHashes {
		if h.oid.Equal(oid) {
			a.hash = h.hash
		}
	}
	switch which {
	case cbasn1.Tag(0).ContextSpecific():
		if !state.Empty() {
			return answer{}, malformed
		}
		a.status = good
	case tag(1):
		a.status = revoked
		var reason cryptobyte.String
		var reasoned bool
		if !state.ReadASN1GeneralizedTime(&a.entry.at) || !state.ReadOptionalASN1(&reason, &reasoned, tag(0)) || !state.Empty() ||
			reasoned && (!reason.ReadASN1Enum(&a.entry.reason) || !reason.Empty()) {
			return answer{}, malformed
		}
	case cbasn1.Tag(2).ContextSpecific():
	default:
		return answer{}, malformed
	}
	if !in.ReadASN1GeneralizedTime(&a.this) || !in.ReadOptionalASN1(&next, &bounded, tag(0)) || bounded && (!next.ReadASN1GeneralizedTime(&a.next) || !next.Empty()) ||
		!in.ReadOptionalASN1(&exts, &extended, tag(1)) || !in.Empty() {
		return answer{}, malformed
	}
	if !bounded {
		a.next = a.this.Add(openEnded)
	}
	if extended {
		list, err := readExtensions(exts)
		if err != nil {
			return answer{}, err
		}
		// RFC 6960 §4.4.5: all extensions of entries of a CRL.
		if a.entry.invalidity, err = invalidityDate(list); err != nil {
			return answer{}, err
		}
		a.criticalNotKnown = slices.ContainsFunc(list, func(e pkix.Extension) bool {
			return e.Critical && !e.Id.Equal(oidInvalidityDate) && !e.Id.Equal(oidReasonCode)
		})
	}
	return a, nil
}

// signatureAlgorithm reads an AlgorithmIdentifier. crypto/x509 knows all of them,
// with the parameters of RSASSA-PSS, and reads one for us as part of an empty CRL.
func signatureAlgorithm(der cryptobyte.String) (x509.SignatureAlgorithm, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(1)
			b.AddBytes(der)
			b.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {})
			b.AddASN1UTCTime(time.Unix(0, 0).UTC())
		})
		b.AddBytes(der)
		b.AddASN1BitString(nil)
	})
	list, _ := b.Bytes() // fails only above 4 GiB
	head, err := x509.ParseRevocationList(list)
	if err != nil || head.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		return 0, errors.New("its signature algorithm is not known")
	}
	return head.SignatureAlgorithm, nil
}

// answersFor returns the answers about cert, which name the issuer by name and key
// and not by serial number alone.
func (r *response) answersFor(cert, issuer *x509.Certificate) ([]answer, error) {
	key, err := subjectKey(issuer)
	if err != nil {
		return nil, err
	}
	var found []answer
	for _, a := range r.answers {
		if a.serial.Cmp(cert.SerialNumber) != 0 || a.hash == 0 || !canHash(a.hash) {
			continue
		}
		if bytes.Equal(a.nameHash, sum(a.hash, issuer.RawSubject)) && bytes.Equal(a.keyHash, sum(a.hash, key)) {
			found = append(found, a)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("it is not about this certificate of this issuer")
	}
	return found, nil
}

// verify checks that the issuer of the certificate signed the response, or one to
// whom the issuer delegated it (RFC 6960 §4.2.2.2), whom it returns: whether his
// certificate is valid, and not revoked, is for the caller to ask.
func (r *response) verify(issuer *x509.Certificate) (delegate *x509.Certificate, err error) {
	err = errors.New("it names a responder that is not the issuer, and whose certificate is not with it")
	for _, c := range r.responders {
		if bytes.Equal(c.Raw, issuer.Raw) || !r.madeBy(c) {
			continue
		}
		if err = acceptDelegate(c, issuer); err == nil {
			err = c.CheckSignature(r.algorithm, r.tbs, r.signature)
		}
		if err == nil {
			return c, nil
		}
		err = fmt.Errorf("checking its signature by %q: %w", clipped(c.Subject.String()), err)
	}
	if !r.madeBy(issuer) {
		return nil, err
	}
	if err := acceptKey(issuer); err != nil {
		return nil, err
	}
	if err := issuer.CheckSignature(r.algorithm, r.tbs, r.signature); err != nil {
		return nil, fmt.Errorf("checking its signature by the issuer: %w", err)
	}
	return nil, nil
}

// madeBy tells whether the response names c as its responder. Where the name is a
// SHA-1 that we must not compute, anyone may be it: the signature says who it was.
func (r *response) madeBy(c *x509.Certificate) bool {
	if r.byName != nil {
		return bytes.Equal(r.byName, c.RawSubject)
	}
	if !canHash(crypto.SHA1) {
		return true
	}
	key, err := subjectKey(c)
	return err == nil && bytes.Equal(r.byKey, sum(crypto.SHA1, key))
}

// acceptDelegate checks that the issuer made c a responder: issued by itself, with
// id-kp-OCSPSigning. Without that any certificate of the issuer could speak for
// all, the revoked one included (regression R43).
func acceptDelegate(c, issuer *x509.Certificate) error {
	switch {
	case !bytes.Equal(c.RawIssuer, issuer.RawSubject):
		return errors.New("the issuer did not certify it")
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("its certificate is not one for signing OCSP responses")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("its key is not one for signing")
	case len(c.UnhandledCriticalExtensions) > 0:
		return errors.New("its certificate has a critical extension that is not known")
	}
	if _, ok := c.PublicKey.(ed25519.PublicKey); ok {
		return errors.New("it has an Ed25519 key")
	}
	if err := acceptKey(c); err != nil {
		return err
	}
	if err := c.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("checking the signature on its certificate: %w", err)
	}
	return nil
}

// acceptKey refuses keys that are too small to say anything.
func acceptKey(c *x509.Certificate) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 {
			return nil
		}
	case *ecdsa.PublicKey:
		if k.Params().BitSize >= 256 {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("the key of %q is too small, or of an unknown kind", clipped(c.Subject.String()))
}

func hasNoCheck(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidNoCheck) })
}

// certID names a certificate of an issuer, for our own tables.
func certID(cert, issuer *x509.Certificate) [sha256.Size]byte {
	return digestOf(issuer.RawSubject, issuer.RawSubjectPublicKeyInfo, cert.SerialNumber.Bytes())
}
