// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strings"
)

// jwsHeader is the whole protected header of our tokens. Strict decoding
// refuses jwk, jku, x5u, x5c, crit, zip and whatever else is not here: a token
// never brings its own key (RFC 8725 §3.10).
type jwsHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// maxHeader bounds the decoded header, in bytes.
const maxHeader = 256

// errAlgorithm marks a token whose header is not that of the wanted type.
var errAlgorithm = errors.New("not the wanted type of token")

// errSignature marks a token whose signature does not verify.
var errSignature = errors.New("signature does not verify")

// signJWS returns the compact serialization (RFC 7515 §7.1) of payload.
func signJWS(typ string, payload []byte, key *Key, limit int) (string, error) {
	header, err := encode(jwsHeader{Alg: "ES256", Kid: key.Kid(), Typ: typ})
	if err != nil {
		return "", err
	}
	input := b64.AppendEncode(nil, header)
	input = append(input, '.')
	input = b64.AppendEncode(input, payload)
	sig, err := key.signRaw(input)
	if err != nil {
		return "", err
	}
	input = append(input, '.')
	input = b64.AppendEncode(input, sig)
	if len(input) > limit {
		return "", fmt.Errorf("signing %s: %d bytes, want at most %d", typ, len(input), limit)
	}
	return string(input), nil
}

// parsedJWS is a token whose header was checked and whose signature was not.
type parsedJWS struct {
	kid     string
	payload []byte
	input   []byte // what is signed
	sig     []byte
}

// parseJWS takes a compact token apart and checks its header for typ and ES256.
func parseJWS(token, typ string, limit int) (parsedJWS, error) {
	if len(token) > limit {
		return parsedJWS{}, fmt.Errorf("%d bytes, want at most %d", len(token), limit)
	}
	// Nothing is copied before the three parts are known (CVE-2025-30204: a
	// token of dots became a list of as many strings).
	dot1 := strings.IndexByte(token, '.')
	dot2 := strings.LastIndexByte(token, '.')
	if dot1 < 0 || dot1 == dot2 || strings.IndexByte(token[dot1+1:dot2], '.') >= 0 {
		return parsedJWS{}, errors.New("not three parts with two dots")
	}
	if dot1 > b64.EncodedLen(maxHeader) {
		return parsedJWS{}, fmt.Errorf("header has more than %d bytes", maxHeader)
	}
	head, errH := decode64(b64, token[:dot1])
	payload, errP := decode64(b64, token[dot1+1:dot2])
	sig, errS := decode64(b64, token[dot2+1:])
	if errH != nil || errP != nil || errS != nil {
		return parsedJWS{}, errors.New("not base64url without padding")
	}
	h, err := decode[jwsHeader](head, maxHeader)
	if err != nil {
		return parsedJWS{}, fmt.Errorf("%w: header: %w", errAlgorithm, err)
	}
	if h.Typ != typ {
		return parsedJWS{}, fmt.Errorf("%w: typ is %s, want %q", errAlgorithm, quote(h.Typ), typ)
	}
	if h.Alg != "ES256" {
		return parsedJWS{}, fmt.Errorf("%w: alg is %s, want ES256", errAlgorithm, quote(h.Alg))
	}
	if len(sig) != 64 {
		return parsedJWS{}, fmt.Errorf("%w: signature has %d bytes, want 64", errAlgorithm, len(sig))
	}
	return parsedJWS{kid: h.Kid, payload: payload, input: []byte(token[:dot2]), sig: sig}, nil
}

// verify checks the signature.
func (p parsedJWS) verify(pub *ecdsa.PublicKey) error {
	if !verifyRaw(pub, p.input, p.sig) {
		return errSignature
	}
	return nil
}
