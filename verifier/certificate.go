// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/assayd/assay/verdict"
)

var (
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}
	// oidFulcio is the arc of Fulcio's extensions (fulcio docs/oid-info.md).
	oidFulcio = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	// oidOtherName is Fulcio's OtherName, for identities that are neither URI
	// nor e-mail address.
	oidOtherName = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 7}
)

// A signer is who signed, as far as the signature shows: a certificate's
// identity, or a key alone.
type signer struct {
	issuer, san string
	// names are all names of a certificate of an own PKI; san is the first.
	names []string
	// extensions are Fulcio's, by the last number of the OID.
	extensions map[int]string
	// certificate and key are digests of the certificate's DER and of the
	// SubjectPublicKeyInfo. There is no certificate for a bare key.
	certificate, key verdict.Digest
	// list is whose list has the image, of a TUF repository or a collection: its
	// roles are keys that one publisher handed out.
	list string
	// listKeys are the keys whose signatures that list rests on.
	listKeys []verdict.Digest
}

// id is equal for the same signer.
func (s *signer) id() string {
	if s.list != "" {
		return "list\n" + s.list
	}
	if s.certificate == "" && s.issuer == "" {
		return "key\n" + string(s.key)
	}
	return "identity\n" + s.issuer + "\n" + s.san + strings.Join(s.names, "\n")
}

// readSigner reads the identity out of a leaf certificate. Several names, or
// two issuers, are refused: readers differ in which one they take.
func readSigner(leaf *x509.Certificate) (*signer, error) {
	s := &signer{extensions: make(map[int]string), certificate: verdict.SHA256(leaf.Raw), key: verdict.SHA256(leaf.RawSubjectPublicKeyInfo)}
	var old string
	for _, e := range leaf.Extensions {
		if len(e.Id) != len(oidFulcio)+1 || !slices.Equal(e.Id[:len(oidFulcio)], oidFulcio) {
			continue
		}
		n := e.Id[len(oidFulcio)]
		switch {
		case n >= 1 && n <= 6: // raw bytes, from before Fulcio knew better
			s.extensions[n] = string(e.Value)
		case n >= 8 && n <= 24:
			var v string
			if rest, err := asn1.UnmarshalWithParams(e.Value, &v, "utf8"); err != nil || len(rest) != 0 {
				return nil, verdict.Refuse(verdict.InputMalformed, "reading certificate: extension %s.%d is not a UTF8String", oidFulcio, n)
			}
			s.extensions[n] = v
		}
	}
	old, s.issuer = s.extensions[1], s.extensions[8]
	switch {
	case s.issuer == "":
		s.issuer = old
	case old != "" && old != s.issuer:
		return nil, verdict.Refuse(verdict.IdentityAmbiguous, "reading certificate: it names two issuers, %q and %q", clipQuote(old), clipQuote(s.issuer))
	}
	san, err := readSAN(leaf)
	if err != nil {
		return nil, err
	}
	s.san = san
	return s, nil
}

// readSAN returns the one subject alternative name (RFC 5280 §4.2.1.6): a URI,
// an e-mail address, or Fulcio's OtherName, as the bytes are.
func readSAN(leaf *x509.Certificate) (string, error) {
	malformed := verdict.Refuse(verdict.InputMalformed, "reading certificate: the subject alternative name is not readable")
	names, err := sanNames(leaf)
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", verdict.Refuse(verdict.IdentityAmbiguous, "reading certificate: it has %d subject alternative names, want 1", len(names))
	}
	switch n := names[0]; n.Tag {
	case sanEmail, sanURI:
		return string(n.Bytes), nil
	case sanOther:
		var other struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue `asn1:"tag:0"`
		}
		if rest, err := asn1.UnmarshalWithParams(n.FullBytes, &other, "tag:0"); err != nil || len(rest) != 0 {
			return "", malformed
		}
		var v string
		if !other.Type.Equal(oidOtherName) {
			return "", verdict.Refuse(verdict.IdentityAmbiguous, "reading certificate: its subject is an OtherName of type %s", other.Type)
		}
		if rest, err := asn1.UnmarshalWithParams(other.Value.Bytes, &v, "utf8"); err != nil || len(rest) != 0 {
			return "", malformed
		}
		return v, nil
	default:
		return "", verdict.Refuse(verdict.IdentityAmbiguous, "reading certificate: its subject is neither a URI nor an e-mail address")
	}
}

// matchesKeyless compares a signer with what a keyless authority demands.
func (a *authority) matchesKeyless(s *signer) error {
	k := a.Keyless
	if s.issuer != k.Issuer {
		return verdict.Refuse(verdict.IdentityIssuer, "comparing identity: issuer is %q, want %q", s.issuer, k.Issuer)
	}
	if k.Subject != "" && s.san != k.Subject {
		return verdict.Refuse(verdict.IdentitySAN, "comparing identity: subject is %q, want %q", s.san, k.Subject)
	}
	if k.SubjectPattern != "" && !a.subject.matches(s.san) {
		return verdict.Refuse(verdict.IdentitySAN, "comparing identity: subject is %q, want one like %q", s.san, k.SubjectPattern)
	}
	if k.Extensions == nil {
		return nil
	}
	v := reflect.ValueOf(*k.Extensions)
	for i := range v.NumField() {
		want := v.Field(i).String()
		if want == "" {
			continue
		}
		n, err := strconv.Atoi(v.Type().Field(i).Tag.Get("oid"))
		if err != nil {
			panic(fmt.Sprintf("verifier: extension %s has no OID", v.Type().Field(i).Name))
		}
		if got, ok := s.extensions[n]; !ok || got != want {
			return verdict.Refuse(verdict.IdentityExtension, "comparing identity: extension %s.%d (%s) is %q, want %q",
				oidFulcio, n, v.Type().Field(i).Tag.Get("yaml"), got, want)
		}
	}
	return nil
}
