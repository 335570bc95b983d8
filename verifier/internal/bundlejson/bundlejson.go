// SPDX-License-Identifier: Apache-2.0

// Package bundlejson reads sigstore bundles in the spelling in which they are
// written, in a fifth of the time of protobuf's reader (BenchmarkRead), which takes
// every variant of it. [Read] is the entry point. What it reads protobuf's reader
// reads to the same message, which the tests and a fuzz target show; for everything
// else it says that it does not know, and protobuf's reader decides.
package bundlejson

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// Read returns the bundle in data, or false where it is not in the usual spelling:
// names in lowerCamelCase without escapes, once each; padded base64 of the standard
// alphabet that is not empty; numbers of 64 bit as strings; enums by name; no null; no
// more than [MaxElements] elements in all arrays.
func Read(data []byte) (*protobundle.Bundle, bool) {
	r := &reader{data: data}
	b := r.bundle()
	r.space()
	return b, !r.odd && r.at == len(data)
}

// A reader walks a document once. After the first thing that is odd what it
// returns means nothing.
type reader struct {
	data     []byte
	at       int
	elements int
	odd      bool
}

func (r *reader) space() {
	for r.at < len(r.data) && (r.data[r.at] == ' ' || r.data[r.at] == '\n' || r.data[r.at] == '\t' || r.data[r.at] == '\r') {
		r.at++
	}
}

// take reads the punctuation c where it is next.
func (r *reader) take(c byte) bool {
	r.space()
	if r.odd || r.at >= len(r.data) || r.data[r.at] != c {
		return false
	}
	r.at++
	return true
}

func (r *reader) want(c byte) {
	if !r.take(c) {
		r.odd = true
	}
}

// maxMembers is how many members the largest message has.
const maxMembers = 8

// object reads an object, whose members the function reads by their names.
func (r *reader) object(member func(name []byte)) {
	var names [maxMembers][]byte
	r.want('{')
	if r.take('}') {
		return
	}
	for n := 0; !r.odd; n++ {
		name, escaped := r.quoted()
		r.want(':')
		if escaped || n == maxMembers {
			r.odd = true
		}
		for i := 0; i < n && !r.odd; i++ {
			r.odd = bytes.Equal(names[i], name)
		}
		if r.odd {
			return
		}
		names[n] = name
		member(name)
		if !r.take(',') {
			break
		}
	}
	r.want('}')
}

// MaxElements bounds what two bytes in an array, as {}, can make us allocate. A bundle
// has some dozens: the hashes of its inclusion proofs.
const MaxElements = 4096

// array reads an array, whose elements the function reads.
func (r *reader) array(element func()) {
	r.want('[')
	if r.take(']') {
		return
	}
	for !r.odd {
		if r.elements++; r.elements > MaxElements {
			r.odd = true
			return
		}
		element()
		if !r.take(',') {
			break
		}
	}
	r.want(']')
}

// quoted reads a string as it is written.
func (r *reader) quoted() (raw []byte, escaped bool) {
	r.want('"')
	begin := r.at
	for !r.odd && r.at < len(r.data) {
		switch c := r.data[r.at]; {
		case c == '"':
			r.at++
			return r.data[begin : r.at-1], escaped
		case c == '\\':
			escaped = true
			r.at++
		case c < ' ':
			r.odd = true
		}
		r.at++
	}
	r.odd = true
	return nil, false
}

func (r *reader) text() string {
	raw, escaped := r.quoted()
	if !utf8.Valid(raw) {
		r.odd = true
	}
	if !escaped {
		return string(raw)
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '\\' {
			i++ // there is one more: quoted passed over it
			switch raw[i] {
			case '"', '\\', '/':
				c = raw[i]
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'u':
				n, err := strconv.ParseUint(string(raw[i+1:min(i+5, len(raw))]), 16, 16)
				if err != nil || len(raw) < i+5 || !utf8.ValidRune(rune(n)) {
					r.odd = true
					return ""
				}
				out = utf8.AppendRune(out, rune(n))
				i += 4
				continue
			default:
				r.odd = true
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// encoding refuses what has bits behind the last byte, which protobuf's reader
// takes.
var encoding = base64.StdEncoding.Strict()

func (r *reader) bytes() []byte {
	raw, escaped := r.quoted()
	out := make([]byte, encoding.DecodedLen(len(raw)))
	n, err := encoding.Decode(out, raw)
	if escaped || err != nil || n == 0 {
		r.odd = true
		return nil
	}
	return out[:n:n]
}

// maxDigits is how many digits fit into 64 bits, whatever they are.
const maxDigits = 18

func (r *reader) number() (n int64) {
	raw, _ := r.quoted()
	if len(raw) == 0 || len(raw) > maxDigits || raw[0] == '0' && len(raw) > 1 {
		r.odd = true
	}
	for _, c := range raw {
		if c < '0' || c > '9' {
			r.odd = true
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

// unknown is what is read where a name is none of a message.
func (r *reader) unknown() { r.odd = true }

func (r *reader) bundle() *protobundle.Bundle {
	b := &protobundle.Bundle{}
	r.object(func(name []byte) {
		switch string(name) {
		case "mediaType":
			b.MediaType = r.text()
		case "verificationMaterial":
			b.VerificationMaterial = r.material()
		case "messageSignature":
			r.odd = r.odd || b.Content != nil
			b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: r.message()}
		case "dsseEnvelope":
			r.odd = r.odd || b.Content != nil
			b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: r.envelope()}
		default:
			r.unknown()
		}
	})
	return b
}

func (r *reader) material() *protobundle.VerificationMaterial {
	m := &protobundle.VerificationMaterial{}
	r.object(func(name []byte) {
		switch string(name) {
		case "publicKey":
			r.odd = r.odd || m.Content != nil
			m.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: r.key()}
		case "certificate":
			r.odd = r.odd || m.Content != nil
			m.Content = &protobundle.VerificationMaterial_Certificate{Certificate: r.certificate()}
		case "x509CertificateChain":
			r.odd = r.odd || m.Content != nil
			m.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: r.chain()}
		case "tlogEntries":
			r.array(func() { m.TlogEntries = append(m.TlogEntries, r.entry()) })
		case "timestampVerificationData":
			m.TimestampVerificationData = r.timestamps()
		default:
			r.unknown()
		}
	})
	return m
}

func (r *reader) key() *protocommon.PublicKeyIdentifier {
	k := &protocommon.PublicKeyIdentifier{}
	r.object(func(name []byte) {
		if string(name) != "hint" {
			r.unknown()
			return
		}
		k.Hint = r.text()
	})
	return k
}

func (r *reader) certificate() *protocommon.X509Certificate {
	return &protocommon.X509Certificate{RawBytes: r.only("rawBytes")}
}

func (r *reader) chain() *protocommon.X509CertificateChain {
	c := &protocommon.X509CertificateChain{}
	r.object(func(name []byte) {
		if string(name) != "certificates" {
			r.unknown()
			return
		}
		r.array(func() { c.Certificates = append(c.Certificates, r.certificate()) })
	})
	return c
}

func (r *reader) timestamps() *protobundle.TimestampVerificationData {
	t := &protobundle.TimestampVerificationData{}
	r.object(func(name []byte) {
		if string(name) != "rfc3161Timestamps" {
			r.unknown()
			return
		}
		r.array(func() {
			t.Rfc3161Timestamps = append(t.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: r.only("signedTimestamp")})
		})
	})
	return t
}

// only reads an object with one member, which is bytes.
func (r *reader) only(member string) (value []byte) {
	r.object(func(name []byte) {
		if string(name) != member {
			r.unknown()
			return
		}
		value = r.bytes()
	})
	return value
}

func (r *reader) message() *protocommon.MessageSignature {
	m := &protocommon.MessageSignature{}
	r.object(func(name []byte) {
		switch string(name) {
		case "messageDigest":
			m.MessageDigest = r.digest()
		case "signature":
			m.Signature = r.bytes()
		default:
			r.unknown()
		}
	})
	return m
}

func (r *reader) digest() *protocommon.HashOutput {
	d := &protocommon.HashOutput{}
	r.object(func(name []byte) {
		switch string(name) {
		case "algorithm":
			value, ok := protocommon.HashAlgorithm_value[r.text()]
			r.odd = r.odd || !ok
			d.Algorithm = protocommon.HashAlgorithm(value)
		case "digest":
			d.Digest = r.bytes()
		default:
			r.unknown()
		}
	})
	return d
}

func (r *reader) envelope() *protodsse.Envelope {
	e := &protodsse.Envelope{}
	r.object(func(name []byte) {
		switch string(name) {
		case "payload":
			e.Payload = r.bytes()
		case "payloadType":
			e.PayloadType = r.text()
		case "signatures":
			r.array(func() { e.Signatures = append(e.Signatures, r.signature()) })
		default:
			r.unknown()
		}
	})
	return e
}

func (r *reader) signature() *protodsse.Signature {
	s := &protodsse.Signature{}
	r.object(func(name []byte) {
		switch string(name) {
		case "sig":
			s.Sig = r.bytes()
		case "keyid":
			s.Keyid = r.text()
		default:
			r.unknown()
		}
	})
	return s
}

func (r *reader) entry() *protorekor.TransparencyLogEntry {
	e := &protorekor.TransparencyLogEntry{}
	r.object(func(name []byte) {
		switch string(name) {
		case "logIndex":
			e.LogIndex = r.number()
		case "logId":
			e.LogId = &protocommon.LogId{KeyId: r.only("keyId")}
		case "kindVersion":
			e.KindVersion = r.kind()
		case "integratedTime":
			e.IntegratedTime = r.number()
		case "inclusionPromise":
			e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: r.only("signedEntryTimestamp")}
		case "inclusionProof":
			e.InclusionProof = r.proof()
		case "canonicalizedBody":
			e.CanonicalizedBody = r.bytes()
		default:
			r.unknown()
		}
	})
	return e
}

func (r *reader) kind() *protorekor.KindVersion {
	k := &protorekor.KindVersion{}
	r.object(func(name []byte) {
		switch string(name) {
		case "kind":
			k.Kind = r.text()
		case "version":
			k.Version = r.text()
		default:
			r.unknown()
		}
	})
	return k
}

func (r *reader) proof() *protorekor.InclusionProof {
	p := &protorekor.InclusionProof{}
	r.object(func(name []byte) {
		switch string(name) {
		case "logIndex":
			p.LogIndex = r.number()
		case "rootHash":
			p.RootHash = r.bytes()
		case "treeSize":
			p.TreeSize = r.number()
		case "hashes":
			r.array(func() { p.Hashes = append(p.Hashes, r.bytes()) })
		case "checkpoint":
			p.Checkpoint = r.checkpoint()
		default:
			r.unknown()
		}
	})
	return p
}

func (r *reader) checkpoint() *protorekor.Checkpoint {
	c := &protorekor.Checkpoint{}
	r.object(func(name []byte) {
		if string(name) != "envelope" {
			r.unknown()
			return
		}
		c.Envelope = r.text()
	})
	return c
}
