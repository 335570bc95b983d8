// SPDX-License-Identifier: Apache-2.0

package notation

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Subject is part of a distinguished name that a signer's has to contain
// (notaryproject trust-store-trust-policy.md, "Trusted identities constraints").
type Subject struct{ attributes []attribute }

type attribute struct{ name, value string }

// names are the attributes that can be named (RFC 4514 §3), and those that the
// notary project writes.
var names = map[string]asn1.ObjectIdentifier{
	"CN": {2, 5, 4, 3}, "SERIALNUMBER": {2, 5, 4, 5}, "C": {2, 5, 4, 6}, "L": {2, 5, 4, 7}, "ST": {2, 5, 4, 8},
	"STREET": {2, 5, 4, 9}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}, "POSTALCODE": {2, 5, 4, 17},
	"DC": {0, 9, 2342, 19200300, 100, 1, 25}, "UID": {0, 9, 2342, 19200300, 100, 1, 1},
}

// ParseSubject reads a distinguished name in the form of RFC 4514, as "C=US,
// ST=WA, O=acme". C, ST and O have to be there, each attribute once, and no
// value in the hexadecimal form.
func ParseSubject(s string) (Subject, error) {
	var out Subject
	for _, part := range split(s) {
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.ToUpper(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "S" { // as some tools write it
			name = "ST"
		}
		switch _, known := names[name]; {
		case !ok:
			return Subject{}, fmt.Errorf("subject %q: %q is not NAME=VALUE", clip(s), clip(part))
		case !known:
			return Subject{}, fmt.Errorf("subject %q: attribute %q is not known", clip(s), clip(name))
		case slices.ContainsFunc(out.attributes, func(a attribute) bool { return a.name == name }):
			return Subject{}, fmt.Errorf("subject %q: attribute %s is there twice", clip(s), name)
		case strings.HasPrefix(value, "#"):
			return Subject{}, fmt.Errorf("subject %q: the value of %s is in the hexadecimal form", clip(s), name)
		}
		value, err := unescape(value)
		if err != nil || value == "" {
			return Subject{}, fmt.Errorf("subject %q: the value of %s is empty, has several parts, or is not escaped right", clip(s), name)
		}
		out.attributes = append(out.attributes, attribute{name, value})
	}
	for _, want := range []string{"C", "ST", "O"} {
		if !slices.ContainsFunc(out.attributes, func(a attribute) bool { return a.name == want }) {
			return Subject{}, fmt.Errorf("subject %q: %s is missing", clip(s), want)
		}
	}
	return out, nil
}

// split cuts at commas that are not escaped.
func split(s string) []string {
	var out []string
	begin := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ',':
			out = append(out, s[begin:i])
			begin = i + 1
		}
	}
	return append(out, s[begin:])
}

// unescape takes the backslashes out of a value. A plus sign would begin another
// part of a name with several values.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) || !strings.ContainsRune(` "#+,;<=>\`, rune(s[i])) {
				return "", errors.New("not escaped right")
			}
			b.WriteByte(s[i])
		case '+', '"', ';', '<', '>', 0:
			return "", errors.New("not escaped right")
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// Matches says whether the certificate's subject has all of s. A subject with an
// attribute twice, or with several values in one, matches nothing.
func (s Subject) Matches(leaf *x509.Certificate) bool {
	seen := make(map[string]string)
	for _, rdn := range leaf.Subject.ToRDNSequence() {
		if len(rdn) != 1 {
			return false
		}
		value, ok := rdn[0].Value.(string)
		if !ok {
			return false
		}
		oid := rdn[0].Type.String()
		if _, twice := seen[oid]; twice {
			return false
		}
		seen[oid] = value
	}
	return len(s.attributes) > 0 && !slices.ContainsFunc(s.attributes, func(a attribute) bool { return seen[names[a.name].String()] != a.value })
}
