// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/bundlejson"
	"github.com/assayd/assay/verifier/internal/entrybody"
	"github.com/assayd/assay/verifier/internal/notation"
)

// Annotations of a layer in a cosign .sig or .att manifest.
const (
	annSignature   = "dev.cosignproject.cosign/signature"
	annCertificate = "dev.sigstore.cosign/certificate"
	annChain       = "dev.sigstore.cosign/chain"
	annBundle      = "dev.sigstore.cosign/bundle"
	annTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// Limits of one candidate.
const (
	maxLogEntries  = 32
	maxTimestamps  = 32
	maxCertificate = 64 << 10
	maxChain       = 7 // certificates above the leaf
)

// A family is what kind of thing a candidate is.
type family int

const (
	// familyOther is something that we do not read: a notation signature, an
	// SBOM. That it is there tells "nothing at all" from "nothing of this kind".
	familyOther family = iota
	// familyLegacy is a layer of a cosign .sig manifest.
	familyLegacy
	// familyAttestation is one signature of a layer of a cosign .att manifest.
	familyAttestation
	// familyBundle is a sigstore bundle.
	familyBundle
	// familyNotation is an envelope of the Notary Project.
	familyNotation
	// familyRecord is one signature of a provenance record of Google Cloud
	// Build.
	familyRecord
	// familyTarget is the image itself, where a list of targets may have it.
	familyTarget
)

// readable are the families that are read here.
var readable = []family{familyLegacy, familyAttestation, familyBundle, familyNotation, familyRecord, familyTarget}

// A candidate is one thing that may be the signature or attestation that a
// demand asks for. It may be used concurrently.
type candidate struct {
	name   string // for people
	family family
	// digest names all bytes that its verification looks at.
	digest verdict.Digest
	inputs []Input
	// err is why it could not be read.
	err error

	payload     []byte            // .sig: the signed bytes; .att: the envelope
	signature   int               // .att: which signature of the envelope
	annotations map[string]string // .sig and .att
	data        []byte            // bundle, notation
	mediaType   string            // notation
	listed      *entity           // target

	once     sync.Once
	entity   *entity
	parseErr error
}

func newBundleCandidate(name string, data []byte) *candidate {
	d := verdict.SHA256(data)
	return &candidate{name: name, family: familyBundle, digest: d, data: data, inputs: []Input{{Digest: d, URI: name, MediaType: "application/vnd.dev.sigstore.bundle+json"}}}
}

func newLegacyCandidate(name string, layer Descriptor, payload []byte) *candidate {
	c := &candidate{name: name, family: familyLegacy, payload: payload, annotations: layer.Annotations,
		inputs: []Input{{Digest: layer.Digest, URI: name, MediaType: layer.MediaType}}}
	c.digest = c.layerDigest()
	return c
}

// newAttestationCandidates returns one candidate for each signature of the
// envelope in a .att layer: they are of different signers.
func newAttestationCandidates(name string, layer Descriptor, envelope []byte) []*candidate {
	n := 1
	if env, err := parseEnvelope(envelope); err == nil {
		n = len(env.signatures)
	}
	out := make([]*candidate, n)
	for i := range out {
		c := &candidate{name: name, family: familyAttestation, payload: envelope, signature: i, annotations: layer.Annotations,
			inputs: []Input{{Digest: layer.Digest, URI: name, MediaType: layer.MediaType}}}
		if n > 1 {
			c.name = fmt.Sprintf("%s signature %d", name, i)
		}
		c.digest = c.layerDigest()
		out[i] = c
	}
	return out
}

// layerDigest names all that the verification of a cosign layer looks at.
func (c *candidate) layerDigest() verdict.Digest {
	h := sha256.New()
	put := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	put(strconv.Itoa(int(c.family)) + " " + strconv.Itoa(c.signature))
	put(string(verdict.SHA256(c.payload)))
	for _, k := range []string{annSignature, annCertificate, annChain, annBundle, annTimestamp} {
		v, ok := c.annotations[k]
		if ok { // an empty annotation is not an absent one
			put(k)
		}
		put(v)
	}
	return verdict.DigestFromBytes([sha256.Size]byte(h.Sum(nil)))
}

// parse reads the candidate once.
func (c *candidate) parse() (*entity, error) {
	c.once.Do(func() {
		switch {
		case c.err != nil:
			c.parseErr = c.err
		case c.family == familyLegacy:
			c.entity, c.parseErr = parseLegacy(c.payload, c.annotations)
		case c.family == familyNotation:
			c.entity, c.parseErr = parseNotation(c.mediaType, c.data)
		case c.family == familyTarget:
			c.entity = c.listed
		case c.family == familyRecord:
			c.entity, c.parseErr = parseRecordSignature(c.payload, c.signature)
		case c.family == familyAttestation:
			c.entity, c.parseErr = parseAttestation(c.payload, c.signature, c.annotations)
		default:
			c.entity, c.parseErr = parseBundle(c.data)
		}
	})
	return c.entity, c.parseErr
}

// An entity is a candidate that was parsed and not verified. It is what
// sigstore-go's steps take; log entries and the certificate are parsed once,
// where the library's own entity parses them anew in each step.
type entity struct {
	leaf *x509.Certificate // nil: signed by a bare key
	// issuers are the further certificates that came with it. Nobody vouches
	// for them.
	issuers []*x509.Certificate
	hint    string // what a bundle calls the bare key
	sig     []byte
	// bare is what sig may be over in place of message.
	bare []byte
	// stamped is what timestamps are over where that is not sig.
	stamped []byte
	// message is what sig is over. It is nil for a message signature, of which
	// only the digest is known.
	message       []byte
	messageDigest []byte
	claims        *claims
	// statement is the payload of an in-toto statement.
	statement []byte
	content   verify.SignatureContent
	entries   []*entry
	// listing is what is looked up in a list of targets.
	listing *listing
	// notation is the envelope of a signature of the Notary Project.
	notation *notation.Envelope
	// intoto is an entry that the library does not read, or nil.
	intoto     *intotoEntry
	timestamps [][]byte
	// key stands for the bare key while one is tried.
	key verify.VerificationContent
	// blob is what a message signature is asked to be over, nil for an image.
	blob *Blob
}

// withKey returns e as signed by the key that content stands for.
func (e *entity) withKey(content verify.VerificationContent) *entity {
	c := *e
	c.leaf, c.key = nil, content
	return &c
}

// asStamped returns e as timestamps see it.
func (e *entity) asStamped() *entity {
	if e.stamped == nil {
		return e
	}
	c := *e
	sum := sha256.Sum256(e.message)
	c.content = bundle.NewMessageSignature(sum[:], protocommon.HashAlgorithm_SHA2_256.String(), e.stamped)
	return &c
}

// The methods of sigstore-go's verify.SignedEntity.

func (e *entity) HasInclusionPromise() bool {
	for _, t := range e.entries {
		if t.hasPromise() {
			return true
		}
	}
	return false
}

func (e *entity) HasInclusionProof() bool {
	for _, t := range e.entries {
		if t.GetInclusionProof() != nil {
			return true
		}
	}
	return false
}

func (e *entity) SignatureContent() (verify.SignatureContent, error) { return e.content, nil }
func (e *entity) Timestamps() ([][]byte, error)                      { return e.timestamps, nil }
func (e *entity) Version() (string, error)                           { return "", nil }

func (e *entity) TlogEntries() (all []*tlog.Entry, err error) {
	for _, t := range e.entries {
		read, err := t.whole()
		if err != nil {
			return nil, err
		}
		all = append(all, read)
	}
	return all, nil
}

func (e *entity) VerificationContent() (verify.VerificationContent, error) {
	if e.leaf != nil {
		return bundle.NewCertificate(e.leaf), nil
	}
	if e.key != nil {
		return e.key, nil
	}
	return nil, errors.New("there is neither certificate nor key")
}

// parseLegacy reads one layer of a cosign .sig manifest.
func parseLegacy(payload []byte, ann map[string]string) (*entity, error) {
	e := &entity{message: payload}
	var err error
	if e.sig, err = base64.StdEncoding.Strict().DecodeString(ann[annSignature]); err != nil || len(e.sig) == 0 {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading .sig layer: annotation %s is no signature in base64", annSignature)
	}
	if err := e.readAnnotations(ann); err != nil {
		return nil, err
	}
	if e.claims, err = parseSimpleSigning(payload); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	e.content = bundle.NewMessageSignature(sum[:], protocommon.HashAlgorithm_SHA2_256.String(), e.sig)
	return e, nil
}

// parseAttestation reads one signature of a layer of a cosign .att manifest.
func parseAttestation(envelope []byte, n int, ann map[string]string) (*entity, error) {
	env, err := parseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	// Cosign writes it empty, since the envelope has the signature.
	if ann[annSignature] != "" {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading .att layer: annotation %s is not empty", annSignature)
	}
	e := &entity{sig: env.signatures[n], message: verdict.PAE(env.payloadType, env.payload), statement: env.payload, stamped: envelope}
	if err := e.readAnnotations(ann); err != nil {
		return nil, err
	}
	if e.claims, err = parseStatement(env.payloadType, env.payload); err != nil {
		return nil, err
	}
	e.content = &signedEnvelope{payloadType: env.payloadType, payload: env.payload, sig: e.sig}
	return e, nil
}

// signedEnvelope is a DSSE envelope for the library, which keeps it in base64. Most
// verifications never ask for that.
type signedEnvelope struct {
	payloadType, keyID string
	payload, sig       []byte
}

// The methods of sigstore-go's verify.SignatureContent.

func (s *signedEnvelope) Signature() []byte                                       { return s.sig }
func (s *signedEnvelope) MessageSignatureContent() verify.MessageSignatureContent { return nil }

func (s *signedEnvelope) EnvelopeContent() verify.EnvelopeContent {
	return &bundle.Envelope{Envelope: &dsse.Envelope{PayloadType: s.payloadType, Payload: base64.StdEncoding.EncodeToString(s.payload),
		Signatures: []dsse.Signature{{KeyID: s.keyID, Sig: base64.StdEncoding.EncodeToString(s.sig)}}}}
}

// An envelope is a DSSE envelope (DSSE v1 envelope.md).
type envelope struct {
	payloadType string
	payload     []byte
	signatures  [][]byte
}

// maxEnvelopeSignatures bounds the signatures of one envelope.
const maxEnvelopeSignatures = 8

// parseEnvelope reads a DSSE envelope. Key IDs are hints that nobody signed, and
// are not looked at.
func parseEnvelope(data []byte) (*envelope, error) {
	malformed := func(format string, args ...any) (*envelope, error) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading envelope: "+format, args...)
	}
	obj, err := parseObject(data, maxManifestValues)
	if err != nil {
		return malformed("%w", err)
	}
	env := &envelope{}
	var payload string
	var list []json.RawMessage
	if err := errors.Join(obj.optional("payloadType", &env.payloadType), obj.optional("payload", &payload), obj.optional("signatures", &list)); err != nil {
		return malformed("%w", err)
	}
	if len(list) == 0 || len(list) > maxEnvelopeSignatures {
		return malformed("%d signatures, want 1 to %d", len(list), maxEnvelopeSignatures)
	}
	if env.payload, err = decodeBase64(payload); err != nil {
		return malformed("payload: %w", err)
	}
	if len(env.payload) > MaxPayloadBytes {
		return nil, verdict.Fail(verdict.InputLimit, "reading envelope: payload of %d bytes, want at most %d", len(env.payload), MaxPayloadBytes)
	}
	for i, raw := range list {
		s, err := part(raw)
		var text string
		if err == nil {
			err = s.optional("sig", &text)
		}
		if err != nil {
			return malformed("signature %d: %w", i, err)
		}
		sig, err := decodeBase64(text)
		if err != nil || len(sig) == 0 {
			return malformed("signature %d is empty or not base64", i)
		}
		env.signatures = append(env.signatures, sig)
	}
	return env, nil
}

// decodeBase64 takes both alphabets, as DSSE demands of readers.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "-_") {
		return base64.URLEncoding.Strict().DecodeString(s)
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// readAnnotations reads what came with a cosign layer: certificates, a log
// entry, a timestamp.
func (e *entity) readAnnotations(ann map[string]string) error {
	malformed := func(format string, args ...any) error {
		return verdict.Refuse(verdict.InputMalformed, "reading layer: "+format, args...)
	}
	for k, v := range ann {
		if len(v) > maxAnnotationBytes {
			return malformed("annotation %q has %d bytes, want at most %d", clipQuote(k), len(v), maxAnnotationBytes)
		}
	}
	var err error
	if text, ok := ann[annCertificate]; ok {
		block, rest := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) != 0 {
			return malformed("annotation %s is not one PEM certificate", annCertificate)
		}
		if e.leaf, err = parseLeaf(block.Bytes); err != nil {
			return err
		}
	}
	// The chain counts for nothing but an own PKI, so that one that cannot be
	// read is no worse than none.
	if certs, err := parseCertificates([]byte(ann[annChain])); err == nil && len(certs) <= maxChain {
		e.issuers = certs
	}
	if text, ok := ann[annBundle]; ok {
		if err := e.readSETBundle([]byte(text)); err != nil {
			return err
		}
	}
	if text, ok := ann[annTimestamp]; ok {
		obj, err := parseObject([]byte(text), maxManifestValues)
		var token []byte
		if err == nil {
			err = obj.optional("SignedRFC3161Timestamp", &token)
		}
		if err != nil || len(token) == 0 {
			return malformed("annotation %s is no timestamp", annTimestamp)
		}
		e.timestamps = [][]byte{token}
	}
	return nil
}

// parseLeaf parses a signing certificate. Fulcio marks a name of a kind that
// crypto/x509 does not know as critical; readSAN reads it, so that it is not
// unhandled.
func parseLeaf(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading certificate: %d bytes, want at most %d", len(der), maxCertificate)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading certificate: %w", err)
	}
	kept := leaf.UnhandledCriticalExtensions[:0]
	for _, id := range leaf.UnhandledCriticalExtensions {
		if !id.Equal(oidSAN) {
			kept = append(kept, id)
		}
	}
	leaf.UnhandledCriticalExtensions = kept
	return leaf, nil
}

// readSETBundle reads cosign's annotation with an entry and its signed entry
// timestamp.
func (e *entity) readSETBundle(data []byte) error {
	malformed := func(format string, args ...any) error {
		return verdict.Refuse(verdict.InputMalformed, "reading annotation %s: "+format, append([]any{annBundle}, args...)...)
	}
	obj, err := parseObject(data, maxManifestValues)
	if err != nil {
		return malformed("%w", err)
	}
	pl, err := obj.object("Payload")
	if err != nil {
		return malformed("%w", err)
	}
	var (
		set, body   []byte
		logID       string
		time, index int64
	)
	if err := errors.Join(obj.optional("SignedEntryTimestamp", &set), pl.optional("body", &body), pl.optional("integratedTime", &time), pl.optional("logIndex", &index), pl.optional("logID", &logID)); err != nil {
		return malformed("%w", err)
	}
	id, err := hex.DecodeString(logID)
	if err != nil || len(id) == 0 || len(set) == 0 || len(body) == 0 || time <= 0 || index < 0 {
		return malformed("a member is missing or out of range")
	}
	usual, kind, version, err := entryKind(body)
	if err != nil {
		return err
	}
	if kind == "intoto" && version == "0.0.1" {
		if e.intoto, err = parseIntoto(body); err != nil {
			return err
		}
		e.intoto.set, e.intoto.logID, e.intoto.integratedTime, e.intoto.logIndex = set, hex.EncodeToString(id), time, index
		return nil
	}
	t, err := newEntry(&protorekor.TransparencyLogEntry{
		LogIndex:          index,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind, Version: version},
		IntegratedTime:    time,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: set},
		CanonicalizedBody: body,
	}, usual)
	if err != nil {
		return malformed("%w", err)
	}
	e.entries = []*entry{t}
	return nil
}

// entryKind reads the kind of a log entry out of its body, and the body if it is
// usual, and refuses kinds that are not read here.
func entryKind(body []byte) (usual *entrybody.Body, kind, version string, err error) {
	if usual, ok := entrybody.Read(body); ok {
		return usual, usual.Kind, usual.Version, nil
	}
	obj, err := parseObject(body, maxManifestValues)
	if err == nil {
		err = errors.Join(obj.optional("kind", &kind), obj.optional("apiVersion", &version))
	}
	if err != nil {
		return nil, "", "", verdict.Refuse(verdict.InputMalformed, "reading log entry: %w", err)
	}
	switch kind + " " + version {
	case "hashedrekord 0.0.1", "dsse 0.0.1", "intoto 0.0.1", "intoto 0.0.2", "hashedrekord 0.0.2":
		return nil, kind, version, nil
	}
	return nil, "", "", verdict.Refuse(verdict.InputUnsupported, "reading log entry: kind %q version %q is not supported", clipQuote(kind), clipQuote(version))
}

// parseBundle reads a sigstore bundle.
func parseBundle(data []byte) (*entity, error) {
	malformed := func(format string, args ...any) (*entity, error) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading bundle: "+format, args...)
	}
	if len(data) > MaxBundleBytes+base64.StdEncoding.EncodedLen(MaxPayloadBytes) {
		return nil, verdict.Fail(verdict.InputLimit, "reading bundle: %d bytes, want at most %d and a payload of %d", len(data), MaxBundleBytes, MaxPayloadBytes)
	}
	pb, usual := bundlejson.Read(data)
	if !usual {
		// Protobuf's reader makes an object of every {}, a hundred times its size.
		if err := checkJSON(data, bundlejson.MaxElements); err != nil {
			return malformed("%w", err)
		}
		pb = new(protobundle.Bundle)
		if err := protojson.Unmarshal(data, pb); err != nil {
			// A member that this version of the format does not have is a newer
			// bundle, not a broken one.
			if json.Valid(data) && (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, new(protobundle.Bundle)) == nil {
				return nil, verdict.Refuse(verdict.InputUnsupported, "reading bundle: it has members that are not known: %w", err)
			}
			return malformed("%w", err)
		}
	}
	payload := pb.GetDsseEnvelope().GetPayload()
	if n := len(data) - base64.StdEncoding.EncodedLen(len(payload)); n > MaxBundleBytes || len(payload) > MaxPayloadBytes {
		return nil, verdict.Fail(verdict.InputLimit, "reading bundle: %d bytes and a payload of %d, want at most %d and %d", n, len(payload), MaxBundleBytes, MaxPayloadBytes)
	}
	material := pb.GetVerificationMaterial()
	if len(material.GetTlogEntries()) > maxLogEntries || len(material.GetTimestampVerificationData().GetRfc3161Timestamps()) > maxTimestamps {
		return malformed("more than %d log entries or %d timestamps", maxLogEntries, maxTimestamps)
	}
	// The library reads the entries anew in each step, and here they are read
	// once; what it demands of them checkBundle demands of each.
	b, err := bundle.NewBundle(&protobundle.Bundle{MediaType: pb.GetMediaType(), Content: pb.GetContent(),
		VerificationMaterial: &protobundle.VerificationMaterial{Content: material.GetContent(), TimestampVerificationData: material.GetTimestampVerificationData()}})
	if errors.Is(err, bundle.ErrUnsupportedMediaType) {
		return nil, verdict.Refuse(verdict.InputUnsupported, "reading bundle: media type %q is not supported", clipQuote(pb.GetMediaType()))
	}
	if err != nil {
		return malformed("%w", err)
	}
	bodies, err := checkBundle(pb)
	if err != nil {
		return nil, err
	}
	// Client specification §5: keys in lowerCamelCase, enums as strings.
	if !usual {
		if err := checkSpelling(data); err != "" {
			return malformed("%s", err)
		}
	}
	e := &entity{}
	for i, t := range material.GetTlogEntries() {
		t, err := newEntry(t, bodies[i])
		if err != nil {
			return malformed("%w", err)
		}
		e.entries = append(e.entries, t)
	}
	for _, t := range material.GetTimestampVerificationData().GetRfc3161Timestamps() {
		e.timestamps = append(e.timestamps, t.GetSignedTimestamp())
	}
	switch m := material.GetContent().(type) {
	case *protobundle.VerificationMaterial_PublicKey:
		e.hint = m.PublicKey.GetHint()
	case *protobundle.VerificationMaterial_Certificate:
		e.leaf, err = parseLeaf(m.Certificate.GetRawBytes())
	case *protobundle.VerificationMaterial_X509CertificateChain:
		if len(m.X509CertificateChain.GetCertificates()) == 0 {
			return malformed("the certificate chain is empty")
		}
		e.leaf, err = parseLeaf(m.X509CertificateChain.GetCertificates()[0].GetRawBytes())
		for i, c := range m.X509CertificateChain.GetCertificates()[1:] {
			if i == maxChain {
				return malformed("more than %d certificates", maxChain+1)
			}
			issuer, err := x509.ParseCertificate(c.GetRawBytes())
			if err != nil {
				return malformed("certificate %d: %w", i+2, err)
			}
			e.issuers = append(e.issuers, issuer)
		}
	default:
		return malformed("there is neither certificate nor key")
	}
	if err != nil {
		return nil, err
	}
	if env := pb.GetDsseEnvelope(); env != nil {
		err = e.readEnvelope(env)
	} else if e.content, err = b.SignatureContent(); err != nil {
		return malformed("%w", err)
	} else {
		err = e.readMessage(pb.GetMessageSignature())
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (e *entity) readEnvelope(env *protodsse.Envelope) error {
	// "A DSSE envelope in a bundle MUST have exactly one signature", and an
	// empty one is none.
	if len(env.GetSignatures()) != 1 || len(env.GetSignatures()[0].GetSig()) == 0 {
		return verdict.Refuse(verdict.InputMalformed, "reading bundle: the envelope has not exactly one signature")
	}
	c, err := parseStatement(env.GetPayloadType(), env.GetPayload())
	if err != nil {
		return err
	}
	e.claims, e.statement = c, env.GetPayload()
	e.sig = env.GetSignatures()[0].GetSig()
	e.content = &signedEnvelope{payloadType: env.GetPayloadType(), keyID: env.GetSignatures()[0].GetKeyid(), payload: env.GetPayload(), sig: e.sig}
	e.message = verdict.PAE(env.GetPayloadType(), env.GetPayload())
	return nil
}

func (e *entity) readMessage(m *protocommon.MessageSignature) error {
	d := m.GetMessageDigest()
	if len(m.GetSignature()) == 0 {
		return verdict.Refuse(verdict.InputMalformed, "reading bundle: the signature is empty")
	}
	h := messageHash(d.GetAlgorithm().String(), d.GetDigest())
	if h == 0 {
		return verdict.Refuse(verdict.SubjectAlgorithm, "reading bundle: the message digest is not SHA-256, SHA-384 or SHA-512")
	}
	e.sig, e.messageDigest = m.GetSignature(), d.GetDigest()
	e.claims = &claims{subjects: []map[string]string{{blobAlgorithms[h]: hex.EncodeToString(d.GetDigest())}}}
	return nil
}
