// SPDX-License-Identifier: Apache-2.0

// Package notation verifies one signature envelope of the Notary Project
// (notaryproject specifications d4b62b9: signature-specification.md,
// signature-envelope-jws.md, signature-envelope-cose.md).
//
// [Parse] reads an envelope, [Envelope.Verify] verifies it under the
// certificates of [Trust]. Both take bytes and certificates: there is no clock
// and no network, and whether a certificate was revoked is somebody else's
// question. Envelopes and timestamps are read by notation-core-go and tspclient;
// what they let pass is refused here: critical attributes that nobody knows,
// members that stand twice.
package notation

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	nx509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/tspclient-go"
	gocose "github.com/veraison/go-cose"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/strictjson"
)

// Limits of an envelope.
const (
	// MaxBytes bounds an envelope.
	MaxBytes = 1 << 20
	// MaxChain bounds the certificates of a chain.
	MaxChain = 8

	maxValues = 1 << 16
)

// Media types of envelopes.
const (
	TypeJWS  = jws.MediaTypeEnvelope
	TypeCOSE = cose.MediaTypeEnvelope
)

// payloadType is the content type of what is signed.
const payloadType = "application/vnd.cncf.notary.payload.v1+json"

// A Target is the artifact that was signed.
type Target struct {
	MediaType   string            `json:"mediaType"`
	Digest      verdict.Digest    `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// An Envelope is one that was read and not verified.
type Envelope struct {
	// Target is what it claims to be about.
	Target Target
	// Chain is what it says that the signer's chain is, leaf first.
	Chain []*x509.Certificate
	// Expiry is until when the signer wants it to count, or zero.
	Expiry time.Time

	parsed  signature.Envelope
	content *signature.EnvelopeContent
}

// Parse reads an envelope of that media type. The error is a [verdict.Refusal]
// with input.malformed, input.unsupported, statement.type, cert.profile,
// sig.algorithm or sig.critical-unknown, or a [verdict.Failure] with
// input.limit.
func Parse(mediaType string, data []byte) (*Envelope, error) {
	if len(data) > MaxBytes {
		return nil, verdict.Fail(verdict.InputLimit, "reading notation envelope: %d bytes, want at most %d", len(data), MaxBytes)
	}
	var chain []*x509.Certificate
	var err error
	switch mediaType {
	case TypeJWS:
		chain, err = checkJWS(data)
	case TypeCOSE:
		chain, err = checkCOSE(data)
	default:
		return nil, verdict.Refuse(verdict.InputUnsupported, "reading notation envelope: media type %q is not supported", mediaType[:min(len(mediaType), 64)])
	}
	if err != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading notation envelope: %w", err)
	}
	if len(chain) == 0 || len(chain) > MaxChain {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading notation envelope: %d certificates, want 1 to %d", len(chain), MaxChain)
	}
	if _, err := signature.ExtractKeySpec(chain[0]); err != nil {
		return nil, verdict.Refuse(verdict.SigAlgorithm, "reading notation envelope: %w", err)
	}
	if err := nx509.ValidateCodeSigningCertChain(chain, nil); err != nil {
		return nil, verdict.Refuse(verdict.CertProfile, "reading notation envelope: %w", err)
	}
	e := &Envelope{Chain: chain}
	if e.parsed, err = signature.ParseEnvelope(mediaType, data); err != nil {
		return nil, explain(err)
	}
	if e.content, err = e.parsed.Content(); err != nil {
		return nil, explain(err)
	}
	return e, e.read()
}

// read takes what was signed out of the envelope.
func (e *Envelope) read() error {
	attributes := e.content.SignerInfo.SignedAttributes
	for _, a := range attributes.ExtendedAttributes {
		if a.Critical {
			return verdict.Refuse(verdict.SigCriticalUnknown, "reading notation envelope: attribute %q is critical, and not known here", clip(a.Key))
		}
	}
	switch attributes.SigningScheme {
	case signature.SigningSchemeX509, signature.SigningSchemeX509SigningAuthority:
	default:
		return verdict.Refuse(verdict.InputUnsupported, "reading notation envelope: signing scheme %q is not supported", clip(string(attributes.SigningScheme)))
	}
	if t := e.content.Payload.ContentType; t != payloadType {
		return verdict.Refuse(verdict.StatementType, "reading notation envelope: content type is %q, want %q", clip(t), payloadType)
	}
	if err := strictjson.Check(e.content.Payload.Content, maxValues); err != nil {
		return verdict.Refuse(verdict.InputMalformed, "reading notation payload: %w", err)
	}
	// Exact names: encoding/json takes them in any case.
	var members map[string]json.RawMessage
	var target map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(e.content.Payload.Content, &members), json.Unmarshal(members["targetArtifact"], &target)); err != nil {
		return verdict.Refuse(verdict.InputMalformed, "reading notation payload: it has no targetArtifact")
	}
	for name, into := range map[string]any{"mediaType": &e.Target.MediaType, "digest": &e.Target.Digest, "size": &e.Target.Size, "annotations": &e.Target.Annotations} {
		if raw, ok := target[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return verdict.Refuse(verdict.InputMalformed, "reading notation payload: member %q is not of the right type", name)
			}
		}
	}
	if _, err := verdict.ParseDigest(string(e.Target.Digest)); err != nil || e.Target.MediaType == "" || e.Target.Size < 0 {
		return verdict.Refuse(verdict.InputMalformed, "reading notation payload: digest, mediaType or size of targetArtifact is missing or wrong")
	}
	e.Expiry = attributes.Expiry
	return nil
}

// checkJWS refuses what encoding/json would read leniently, and returns the
// chain.
func checkJWS(data []byte) ([]*x509.Certificate, error) {
	if err := strictjson.Check(data, maxValues); err != nil {
		return nil, err
	}
	var env struct {
		Payload   string `json:"payload"`
		Protected string `json:"protected"`
		Header    struct {
			X5C [][]byte `json:"x5c"`
		} `json:"header"`
	}
	if err := json.Unmarshal(data, &env); err != nil {
		return nil, errors.New("want a JWS in the flattened form")
	}
	protected, err := base64.RawURLEncoding.Strict().DecodeString(env.Protected)
	if err != nil {
		return nil, errors.New("the protected header is not base64url")
	}
	if err := strictjson.Check(protected, maxValues); err != nil {
		return nil, err
	}
	return certificates(env.Header.X5C)
}

// checkCOSE returns the chain of a COSE_Sign1.
func checkCOSE(data []byte) ([]*x509.Certificate, error) {
	var m gocose.Sign1Message
	if err := m.UnmarshalCBOR(data); err != nil {
		return nil, err
	}
	var chain [][]byte
	switch v := m.Headers.Unprotected[gocose.HeaderLabelX5Chain].(type) {
	case []byte:
		chain = [][]byte{v}
	case []any:
		for _, c := range v {
			der, ok := c.([]byte)
			if !ok {
				return nil, errors.New("x5chain is no list of certificates")
			}
			chain = append(chain, der)
		}
	}
	return certificates(chain)
}

func certificates(chain [][]byte) ([]*x509.Certificate, error) {
	if len(chain) > MaxChain {
		return nil, errors.New("too many certificates")
	}
	var out []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// explain gives the library's error its code.
func explain(err error) error {
	if _, ok := errors.AsType[*signature.SignatureIntegrityError](err); ok {
		return verdict.Refuse(verdict.SigInvalid, "verifying notation signature: it does not verify with the key of its certificate")
	}
	for _, is := range []func(error) bool{
		func(err error) bool { _, ok := errors.AsType[*signature.UnsupportedSigningKeyError](err); return ok },
		func(err error) bool { _, ok := errors.AsType[*signature.UnsupportedSignatureAlgoError](err); return ok },
	} {
		if is(err) {
			return verdict.Refuse(verdict.SigAlgorithm, "reading notation envelope: %w", err)
		}
	}
	return verdict.Refuse(verdict.InputMalformed, "reading notation envelope: %w", err)
}

// Trust are the certificates that count, each by itself.
type Trust struct {
	// CAs are for the scheme notary.x509, SigningAuthorities for
	// notary.x509.signingAuthority, TSAs for timestamps.
	CAs, SigningAuthorities, TSAs []*x509.Certificate
	// RequireTimestamp demands a time that somebody else than the signer vouches
	// for.
	RequireTimestamp bool
}

// A Signature is what a verified envelope shows.
type Signature struct {
	// Chain is the signer's, leaf first, up to its root.
	Chain []*x509.Certificate
	// TSAChain is that of the timestamp authority, or nil.
	TSAChain []*x509.Certificate
	// Times are proven times of signing: both ends of a timestamp's accuracy, or
	// the signing authority's. There are none where nothing proves one.
	Times []time.Time
	// From and To are when the whole chain is valid.
	From, To time.Time
}

// Verify verifies the envelope. The error is a [verdict.Refusal]: sig.invalid,
// cert.untrusted, time.untrusted, time.unproven or cert.expired-at-signing.
func (e *Envelope) Verify(t Trust) (*Signature, error) {
	content, err := e.parsed.Verify()
	if err != nil {
		return nil, explain(err)
	}
	info := content.SignerInfo
	s := &Signature{Chain: info.CertificateChain}
	for _, c := range s.Chain {
		if s.From.Before(c.NotBefore) {
			s.From = c.NotBefore
		}
		if s.To.IsZero() || c.NotAfter.Before(s.To) {
			s.To = c.NotAfter
		}
	}
	anchors := t.CAs
	authority := info.SignedAttributes.SigningScheme == signature.SigningSchemeX509SigningAuthority
	if authority {
		anchors = t.SigningAuthorities
	}
	// The whole chain is in the envelope and was verified link by link.
	if !slices.ContainsFunc(s.Chain, func(c *x509.Certificate) bool { return slices.ContainsFunc(anchors, c.Equal) }) {
		return nil, verdict.Refuse(verdict.CertUntrusted, "verifying certificate chain: no certificate of %q is in a trust store for scheme %s", clip(s.Chain[0].Subject.String()), info.SignedAttributes.SigningScheme)
	}
	token := info.UnsignedAttributes.TimestampSignature
	switch {
	case authority:
		at, err := info.AuthenticSigningTime()
		if err != nil {
			return nil, verdict.Refuse(verdict.TimeUnproven, "proving time: %w", err)
		}
		s.Times = []time.Time{at}
	case len(token) > 0 && len(t.TSAs) > 0:
		if err := s.stamp(token, info.Signature, t.TSAs); err != nil {
			return nil, err
		}
	case t.RequireTimestamp:
		return nil, verdict.Refuse(verdict.TimeUnproven, "proving time: there is no timestamp that a trust store is named for, and one is demanded")
	}
	for _, at := range s.Times {
		if at.Before(s.From) || at.After(s.To) {
			return nil, verdict.Refuse(verdict.CertExpiredAtSigning, "verifying certificate chain: it was signed at %s, and the chain is valid from %s to %s",
				at.UTC().Format(time.RFC3339), s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339))
		}
	}
	return s, nil
}

// stamp verifies a timestamp (RFC 3161) over the signature.
func (s *Signature) stamp(token, signed []byte, tsas []*x509.Certificate) error {
	untrusted := func(err error) error {
		return verdict.Refuse(verdict.TimeUntrusted, "proving time: %w", err)
	}
	parsed, err := tspclient.ParseSignedToken(token)
	if err != nil {
		return untrusted(err)
	}
	if len(parsed.Certificates) > MaxChain {
		return untrusted(errors.New("the timestamp has too many certificates"))
	}
	info, err := parsed.Info()
	if err != nil {
		return untrusted(err)
	}
	at, err := info.Validate(signed)
	if err != nil {
		return untrusted(err)
	}
	roots := x509.NewCertPool()
	for _, c := range tsas {
		roots.AddCert(c)
	}
	// There is nothing to wait for: verification is of bytes.
	chain, err := parsed.Verify(context.Background(), x509.VerifyOptions{CurrentTime: at.Value, Roots: roots})
	if err != nil {
		return untrusted(err)
	}
	if err := nx509.ValidateTimestampingCertChain(chain); err != nil {
		return untrusted(err)
	}
	s.TSAChain = chain
	s.Times = []time.Time{at.Value.Add(-at.Accuracy), at.Value.Add(at.Accuracy)}
	return nil
}

// clip bounds what an error quotes.
func clip(v any) string {
	s, ok := v.(string)
	if !ok {
		return "of another type"
	}
	return s[:min(len(s), 64)]
}
