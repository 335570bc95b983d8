// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// maxSignatures bounds the signatures of one envelope.
const maxSignatures = 16

// An envelope is a DSSE envelope (github.com/secure-systems-lab/dsse v1.0),
// written in RFC 8785 form.
type envelope struct {
	Payload     string              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	Keyid string `json:"keyid"`
	Sig   string `json:"sig"`
}

// std64 is the base64 of DSSE: with padding, strict.
var std64 = base64.StdEncoding.Strict()

// PAE is the pre-authentication encoding of DSSE: what is signed.
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payloadType)+len(payload)+32)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// seal signs payload with each key.
func seal(payloadType string, payload []byte, keys []*Key) ([]byte, error) {
	if len(keys) == 0 || len(keys) > maxSignatures {
		return nil, fmt.Errorf("signing %s: %d keys, want 1 to %d", payloadType, len(keys), maxSignatures)
	}
	env := envelope{Payload: std64.EncodeToString(payload), PayloadType: payloadType}
	pae := PAE(payloadType, payload)
	for i, k := range keys {
		if slices.ContainsFunc(keys[:i], func(b *Key) bool { return b.Kid() == k.Kid() }) {
			return nil, fmt.Errorf("signing %s: key %s is there twice", payloadType, k.Kid())
		}
		sig, err := k.signASN1(pae)
		if err != nil {
			return nil, err
		}
		env.Signatures = append(env.Signatures, envelopeSignature{k.Kid(), std64.EncodeToString(sig)})
	}
	return encode(env)
}

// addSignature adds key's signature to an envelope, for owners who sign one
// after another. A good signature of the key stays as it is; a bad one, which
// whoever carried the envelope may have put there, is replaced.
func addSignature(data []byte, payloadType string, limit int, key *Key) ([]byte, error) {
	env, payload, err := parseEnvelope(data, payloadType, limit)
	if err != nil {
		return nil, err
	}
	env.Signatures = slices.DeleteFunc(env.Signatures, func(s envelopeSignature) bool {
		if s.Keyid != key.Kid() {
			return false
		}
		_, err := envelope{PayloadType: payloadType, Signatures: []envelopeSignature{s}}.signers(payload, []JWK{key.jwk}, key.jwk.Use)
		return err != nil
	})
	if slices.ContainsFunc(env.Signatures, func(s envelopeSignature) bool { return s.Keyid == key.Kid() }) {
		return data, nil
	}
	if len(env.Signatures) == maxSignatures {
		return nil, fmt.Errorf("%d signatures are there already, want at most %d", len(env.Signatures), maxSignatures)
	}
	sig, err := key.signASN1(PAE(payloadType, payload))
	if err != nil {
		return nil, err
	}
	env.Signatures = append(env.Signatures, envelopeSignature{key.Kid(), std64.EncodeToString(sig)})
	return encode(env)
}

// parseEnvelope decodes an envelope of payloadType whose payload has at most
// limit bytes. It does not look at signatures.
func parseEnvelope(data []byte, payloadType string, limit int) (envelope, []byte, error) {
	// Base64 and 16 signatures of 72 bytes with their key IDs.
	env, err := decode[envelope](data, limit/3*4+4+maxSignatures*256+256)
	if err != nil {
		return envelope{}, nil, err
	}
	if env.PayloadType != payloadType {
		return envelope{}, nil, fmt.Errorf("payload type is %s, want %q", quote(env.PayloadType), payloadType)
	}
	if n := len(env.Signatures); n == 0 || n > maxSignatures {
		return envelope{}, nil, fmt.Errorf("%d signatures, want 1 to %d", n, maxSignatures)
	}
	for i, s := range env.Signatures {
		for _, before := range env.Signatures[:i] {
			if before.Keyid == s.Keyid {
				return envelope{}, nil, fmt.Errorf("key %s signed twice", quote(s.Keyid))
			}
		}
	}
	payload, err := decode64(std64, env.Payload)
	if err != nil {
		return envelope{}, nil, errors.New("payload is not base64")
	}
	if len(payload) > limit {
		return envelope{}, nil, fmt.Errorf("payload has %d bytes, want at most %d", len(payload), limit)
	}
	return env, payload, nil
}

// signers returns the thumbprints of those keys that signed. A signature that
// names one of the keys and does not verify spoils the whole envelope; one of
// an unknown key does not count.
func (env envelope) signers(payload []byte, keys []JWK, use string) ([]string, error) {
	pae := PAE(env.PayloadType, payload)
	var got []string
	for _, s := range env.Signatures {
		i := slices.IndexFunc(keys, func(k JWK) bool { return k.Kid == s.Keyid })
		if i < 0 {
			continue
		}
		pub, err := keys[i].PublicKey(use)
		if err != nil {
			return nil, err
		}
		sig, err := decode64(std64, s.Sig)
		if err != nil || !verifyASN1(pub, pae, sig) {
			return nil, fmt.Errorf("the signature of key %s does not verify", quote(s.Keyid))
		}
		got = append(got, s.Keyid)
	}
	return got, nil
}
