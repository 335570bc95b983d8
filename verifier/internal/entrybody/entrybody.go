// SPDX-License-Identifier: Apache-2.0

// Package entrybody reads the bodies of log entries of Rekor v1 in the form in which
// Rekor writes them. It has no opinion on others, which are the library's.
package entrybody

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
)

// Kinds of entries.
const (
	HashedRekord = "hashedrekord"
	DSSE         = "dsse"
	Intoto       = "intoto"
)

// A Body is what an entry is about.
type Body struct {
	// Kind and Version are HashedRekord or DSSE 0.0.1, or Intoto 0.0.2.
	Kind, Version string
	// Signature is never empty, and nobody has verified it.
	Signature []byte
	// Signer is a certificate or a public key in DER, which nobody has parsed.
	Signer        []byte
	IsCertificate bool
	// Digest is that of the message that was signed or, but for HashedRekord, of the
	// payload of the envelope. Hash is sha256 or, of a message, sha384 or sha512, and
	// Digest as long as that.
	Digest []byte
	Hash   string
}

// Read reads a body that has, byte for byte, the form in which Rekor writes those of
// its kinds (rekor pkg/types, Canonicalize: JSON after RFC 8785), with one signer and
// without payload.
func Read(body []byte) (*Body, bool) {
	in := &reader{rest: string(body)}
	b := &Body{}
	var signer []byte
	switch {
	case in.cut(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":`):
		b.Kind, b.Version = HashedRekord, "0.0.1"
		b.Hash, b.Digest = in.digest()
		in.demand(`},"signature":{"content":`)
		b.Signature = in.base64()
		in.demand(`,"publicKey":{"content":`)
		signer = in.base64()
		in.demand(`}}}}`)
	case in.cut(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":`):
		b.Kind, b.Version = DSSE, "0.0.1"
		in.digest()
		in.demand(`,"payloadHash":`)
		b.Hash, b.Digest = in.digest()
		in.demand(`,"signatures":[{"signature":`)
		b.Signature = in.base64()
		in.demand(`,"verifier":`)
		signer = in.base64()
		in.demand(`}]}}`)
	case in.cut(`{"apiVersion":"0.0.2","kind":"intoto","spec":{"content":{"envelope":{`):
		b.Kind, b.Version = Intoto, "0.0.2"
		in.demand(`"payloadType":"application/vnd.in-toto+json","signatures":[{"publicKey":`)
		signer = in.base64()
		in.demand(`,"sig":`)
		b.Signature = in.decoded(string(in.base64())) // which it has twice
		in.demand(`}]},"hash":`)
		in.digest()
		in.demand(`,"payloadHash":`)
		b.Hash, b.Digest = in.digest()
		in.demand(`}}}`)
	default:
		return nil, false
	}
	block, rest := pem.Decode(signer)
	if in.broken || in.rest != "" || block == nil || len(rest) > 0 || len(block.Headers) > 0 || b.Kind != HashedRekord && b.Hash != "sha256" {
		return nil, false
	}
	b.Signer, b.IsCertificate = block.Bytes, block.Type == "CERTIFICATE"
	return b, b.IsCertificate || block.Type == "PUBLIC KEY"
}

// A reader reads a text from its start. It is broken once something is not as expected.
type reader struct {
	rest   string
	broken bool
}

func (in *reader) cut(text string) (ok bool) {
	in.rest, ok = strings.CutPrefix(in.rest, text)
	return ok
}

func (in *reader) demand(text string) {
	if !in.cut(text) {
		in.broken = true
	}
}

// quoted reads a string in which nothing is escaped.
func (in *reader) quoted() string {
	in.demand(`"`)
	text, rest, ok := strings.Cut(in.rest, `"`)
	in.rest = rest
	if !ok || in.broken {
		in.broken = true
		return ""
	}
	return text
}

func (in *reader) decoded(text string) []byte {
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	// The decoder passes over ends of lines.
	if err != nil || len(data) == 0 || strings.ContainsAny(text, "\r\n") {
		in.broken = true
	}
	return data
}

func (in *reader) base64() []byte { return in.decoded(in.quoted()) }

// digest reads a hash with its name.
func (in *reader) digest() (hash string, sum []byte) {
	in.demand(`{"algorithm":`)
	hash = in.quoted()
	in.demand(`,"value":`)
	text := in.quoted()
	in.demand(`}`)
	sum, err := hex.DecodeString(text)
	if err != nil || strings.ToLower(text) != text || len(sum) == 0 || len(sum) != map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}[hash] {
		in.broken = true
	}
	return hash, sum
}
