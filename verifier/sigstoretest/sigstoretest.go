// SPDX-License-Identifier: Apache-2.0

// Package sigstoretest is a whole sigstore instance in memory for tests and
// the demonstration: a certificate authority, a certificate-transparency log,
// transparency logs (Rekor v1 and v2) and timestamp authorities (RFC 3161), each
// with keys made by [New]. What it signs verifies under [Sigstore.TrustedRoot] and
// nowhere else.
//
// [Sigstore.Bundle] and [Sigstore.Legacy] sign, [Attach] and [AttachLegacy]
// write signatures into a [Store], [PushImage] makes something to sign. The
// hooks of [Options] change one thing before everything after it is signed, so
// that a test can ask for the one wrong thing it is about.
//
// No product code imports it: it signs whatever it is told to.
package sigstoretest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/digitorus/timestamp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// Config says when the instance's own certificates are valid. At is required.
type Config struct {
	// At is the time around which the instance lives: its keys are valid from
	// a year before until ten years after.
	At time.Time
	// IntermediateEnd, when set, ends the issuing certificate earlier.
	IntermediateEnd time.Time
	// OnIssuer changes the template of the issuing certificate.
	OnIssuer func(*x509.Certificate)
	// NoTimestamps, NoLog and NoCTLog leave parts out of the trust root.
	NoTimestamps, NoLog, NoCTLog bool
	// RekorV2 adds a log of Rekor v2, SecondLog another one of Rekor v1, and
	// SecondTSA another timestamp authority.
	RekorV2, SecondLog, SecondTSA bool
}

// A Sigstore is one instance. It may be used concurrently.
type Sigstore struct {
	cfg              Config
	start, end       time.Time
	root, issuer     *x509.Certificate
	issuerKey        *ecdsa.PrivateKey
	ctKey, logKey    *ecdsa.PrivateKey
	tsaRoot, tsaLeaf *x509.Certificate
	tsaKey           *ecdsa.PrivateKey
	logs             [3]rekor // of RekorV2 and SecondLog, and one that is not listed
	tsa2             tsa

	mu    sync.Mutex
	index int64
}

// logHost is the name in the log's checkpoints.
const logHost = "rekor.sigstoretest.invalid"

// New makes an instance with fresh keys. Its authority has P-384 keys, as the
// public instance has.
func New(cfg Config) (*Sigstore, error) {
	if cfg.At.IsZero() {
		return nil, fmt.Errorf("making test sigstore: no time")
	}
	s := &Sigstore{cfg: cfg, start: cfg.At.AddDate(-1, 0, 0), end: cfg.At.AddDate(10, 0, 0), index: 1000}
	var rootKey, tsaRootKey *ecdsa.PrivateKey
	for k, curve := range map[**ecdsa.PrivateKey]elliptic.Curve{
		&rootKey: elliptic.P384(), &s.issuerKey: elliptic.P384(), &s.ctKey: elliptic.P256(),
		&s.logKey: elliptic.P256(), &tsaRootKey: elliptic.P384(), &s.tsaKey: elliptic.P256(),
	} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making test sigstore: %w", err)
		}
		*k = key
	}
	issuerEnd := s.end
	if !cfg.IntermediateEnd.IsZero() {
		issuerEnd = cfg.IntermediateEnd
	}
	authority := func(name string, usage x509.ExtKeyUsage, end time.Time) *x509.Certificate {
		return &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: name, Organization: []string{"sigstoretest"}},
			NotBefore: s.start, NotAfter: end, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	}
	var err error
	rootT := authority("sigstoretest root", x509.ExtKeyUsageCodeSigning, s.end)
	if s.root, err = issue(rootT, rootT, &rootKey.PublicKey, rootKey); err != nil {
		return nil, err
	}
	issuerT := authority("sigstoretest issuer", x509.ExtKeyUsageCodeSigning, issuerEnd)
	if cfg.OnIssuer != nil {
		cfg.OnIssuer(issuerT)
	}
	if s.issuer, err = issue(issuerT, s.root, &s.issuerKey.PublicKey, rootKey); err != nil {
		return nil, err
	}
	tsaT := authority("sigstoretest timestamp root", x509.ExtKeyUsageTimeStamping, s.end)
	if s.tsaRoot, err = issue(tsaT, tsaT, &tsaRootKey.PublicKey, tsaRootKey); err != nil {
		return nil, err
	}
	s.tsaLeaf, err = issue(&x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "sigstoretest timestamps"},
		NotBefore: s.start, NotAfter: s.end, KeyUsage: x509.KeyUsageDigitalSignature,
		// RFC 3161 §2.3: the usage is critical and the only one.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: timeStampingUsage}},
	}, s.tsaRoot, &s.tsaKey.PublicKey, tsaRootKey)
	if err != nil {
		return nil, err
	}
	if err := s.more(); err != nil {
		return nil, err
	}
	return s, nil
}

// timeStampingUsage is ExtKeyUsageSyntax{id-kp-timeStamping}.
var timeStampingUsage = []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic("sigstoretest: no randomness: " + err.Error())
	}
	return n.Add(n, big.NewInt(1))
}

func issue(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("issuing test certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// TrustedRoot returns the trusted_root.json of the instance.
func (s *Sigstore) TrustedRoot() ([]byte, error) {
	window := &protocommon.TimeRange{Start: timestamppb.New(s.start)}
	chain := func(certs ...*x509.Certificate) *protocommon.X509CertificateChain {
		c := &protocommon.X509CertificateChain{}
		for _, cert := range certs {
			c.Certificates = append(c.Certificates, &protocommon.X509Certificate{RawBytes: cert.Raw})
		}
		return c
	}
	log := func(key *ecdsa.PrivateKey, host string) (*prototrust.TransparencyLogInstance, error) {
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("encoding test log key: %w", err)
		}
		id := sha256.Sum256(der)
		return &prototrust.TransparencyLogInstance{BaseUrl: "https://" + host, HashAlgorithm: protocommon.HashAlgorithm_SHA2_256,
			PublicKey: &protocommon.PublicKey{RawBytes: der, KeyDetails: protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, ValidFor: window},
			LogId:     &protocommon.LogId{KeyId: id[:]}}, nil
	}
	tr := &prototrust.TrustedRoot{MediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		CertificateAuthorities: []*prototrust.CertificateAuthority{{Uri: "https://fulcio.sigstoretest.invalid", CertChain: chain(s.issuer, s.root), ValidFor: window}}}
	if !s.cfg.NoLog {
		l, err := log(s.logKey, logHost)
		if err != nil {
			return nil, err
		}
		tr.Tlogs = append(tr.Tlogs, l)
	}
	for i, listed := range []bool{s.cfg.RekorV2, s.cfg.SecondLog} {
		if !listed {
			continue
		}
		l, err := log(s.logs[i].key, s.logs[i].host)
		if err != nil {
			return nil, err
		}
		tr.Tlogs = append(tr.Tlogs, l)
	}
	if s.cfg.SecondTSA {
		tr.TimestampAuthorities = append(tr.TimestampAuthorities, &prototrust.CertificateAuthority{
			Uri: "https://tsa2.sigstoretest.invalid", CertChain: chain(s.tsa2.leaf, s.tsa2.root), ValidFor: window})
	}
	if !s.cfg.NoCTLog {
		l, err := log(s.ctKey, "ct.sigstoretest.invalid")
		if err != nil {
			return nil, err
		}
		tr.Ctlogs = append(tr.Ctlogs, l)
	}
	if !s.cfg.NoTimestamps {
		tr.TimestampAuthorities = append(tr.TimestampAuthorities, &prototrust.CertificateAuthority{
			Uri: "https://tsa.sigstoretest.invalid", CertChain: chain(s.tsaLeaf, s.tsaRoot), ValidFor: window})
	}
	out, err := protojson.Marshal(tr)
	if err != nil {
		return nil, fmt.Errorf("encoding test trusted root: %w", err)
	}
	return out, nil
}

// Options say who signs, when, and with which proofs.
type Options struct {
	// Key signs, without certificate. Without it a certificate is issued for
	// Issuer and Subject.
	Key crypto.Signer
	// LeafKey is the key of that certificate; nil means a new one on P-256.
	LeafKey crypto.Signer
	// Issuer and Subject are the OIDC issuer and the subject: a URI when it
	// has "://", an e-mail address when it has "@", else an OtherName.
	Issuer, Subject string
	// Extensions are Fulcio's, by the last number of their OID.
	Extensions map[int]string
	// At is when it is signed. Required.
	At time.Time
	// NoLog leaves out the log entry, NoSCT the certificate-transparency
	// timestamp, NoSET the signed entry timestamp of a bundle's entry (what is
	// left is the inclusion proof).
	NoLog, NoSCT, NoSET bool
	// Timestamp adds one of the timestamp authority.
	Timestamp bool
	// SecondTimestamp adds one of the second authority.
	SecondTimestamp bool
	// Log chooses the log of a bundle's entry; the zero value is the first one,
	// of Rekor v1. More are further entries.
	Log  Log
	More []Log
	// OwnHash signs with the hash of the key's curve, as Rekor v2 demands, in
	// place of SHA-256, and with pre-hashed Ed25519.
	OwnHash bool
	// Version is that of the bundle: 0.1, 0.2, or "" for 0.3. Before 0.3 the
	// certificate is in a chain with its issuer.
	Version string
	// Origin, when set, is the first line of a checkpoint in place of the
	// log's.
	Origin string
	// Predicate is the type of the statement; "" means an image signature of
	// cosign v3. Content is its predicate.
	Predicate string
	Content   any
	// MessageSignature signs the image's bytes in place of a statement: Message
	// has them.
	MessageSignature bool
	Message          []byte
	// MessageHash is that of the message digest; zero means SHA-256.
	MessageHash crypto.Hash

	// OnCertificate changes the certificate's template, OnPayload the bytes to
	// be signed, OnEntry the body of the log entry, before what comes after is
	// made over it.
	OnCertificate func(*x509.Certificate)
	OnPayload     func([]byte) []byte
	OnEntry       func([]byte) []byte
	// OnBundle changes the finished bundle, and OnJSON its text.
	OnBundle func(*protobundle.Bundle)
	OnJSON   func([]byte) []byte
}

// A Layer is one signature in cosign's .sig manifest.
type Layer struct {
	Payload     []byte
	Annotations map[string]string
}

// A signing is what both forms have in common.
type signing struct {
	sig     []byte
	leaf    *x509.Certificate // nil with a key
	pub     crypto.PublicKey
	pem     []byte
	entry   *protorekor.TransparencyLogEntry
	more    []*protorekor.TransparencyLogEntry
	tokens  [][]byte
	payload []byte
}

// Bundle signs image and returns a sigstore bundle v0.3.
func (s *Sigstore) Bundle(image verdict.Digest, o Options) ([]byte, error) {
	if o.MessageSignature {
		return s.messageBundle(o)
	}
	predicate := o.Predicate
	if predicate == "" {
		predicate = verifier.PredicateSign
	}
	content := o.Content
	if content == nil {
		content = map[string]any{}
	}
	payload, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": content,
		"subject": []any{map[string]any{"digest": map[string]string{image.Algorithm(): image.Hex()}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding test statement: %w", err)
	}
	if o.OnPayload != nil {
		payload = o.OnPayload(payload)
	}
	const payloadType = "application/vnd.in-toto+json"
	sg, err := s.sign(o, payload, verdict.PAE(payloadType, payload))
	if err != nil {
		return nil, err
	}
	env := &protodsse.Envelope{Payload: payload, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: sg.sig}}}
	if !o.NoLog {
		envelope, err := json.Marshal(map[string]any{"payload": payload, "payloadType": payloadType, "signatures": []any{map[string]any{"sig": sg.sig}}})
		if err != nil {
			return nil, fmt.Errorf("encoding test envelope: %w", err)
		}
		body := entryBody{v1: dsseBody(envelope, payload, sg), kind: "dsse", message: verdict.PAE(payloadType, payload)}
		if err := s.logAll(o, sg, body); err != nil {
			return nil, err
		}
	}
	return s.encodeBundle(o, sg, &protobundle.Bundle{Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: env}})
}

func (s *Sigstore) messageBundle(o Options) ([]byte, error) {
	sg, err := s.sign(o, o.Message, o.Message)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(o.Message)
	if !o.NoLog {
		body := entryBody{v1: hashedRekordBody(sum[:], sg), kind: "hashedrekord", message: o.Message}
		if err := s.logAll(o, sg, body); err != nil {
			return nil, err
		}
	}
	digest := &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]}
	if o.MessageHash == crypto.SHA384 {
		d := sha512.Sum384(o.Message)
		digest = &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_384, Digest: d[:]}
	}
	if o.MessageHash == crypto.SHA512 {
		d := sha512.Sum512(o.Message)
		digest = &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_512, Digest: d[:]}
	}
	return s.encodeBundle(o, sg, &protobundle.Bundle{Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: digest, Signature: sg.sig}}})
}

func (s *Sigstore) encodeBundle(o Options, sg *signing, b *protobundle.Bundle) ([]byte, error) {
	b.MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	if o.Version != "" {
		b.MediaType = "application/vnd.dev.sigstore.bundle+json;version=" + o.Version
	}
	m := &protobundle.VerificationMaterial{}
	if sg.leaf != nil && o.Version != "" {
		m.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: sg.leaf.Raw}, {RawBytes: s.issuer.Raw}}}}
	} else if sg.leaf != nil {
		m.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: sg.leaf.Raw}}
	} else {
		der, err := x509.MarshalPKIXPublicKey(sg.pub)
		if err != nil {
			return nil, fmt.Errorf("encoding test key: %w", err)
		}
		sum := sha256.Sum256(der)
		m.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: base64.StdEncoding.EncodeToString(sum[:])}}
	}
	if sg.entry != nil {
		m.TlogEntries = append([]*protorekor.TransparencyLogEntry{sg.entry}, sg.more...)
	}
	for _, t := range sg.tokens {
		if m.TimestampVerificationData == nil {
			m.TimestampVerificationData = &protobundle.TimestampVerificationData{}
		}
		m.TimestampVerificationData.Rfc3161Timestamps = append(m.TimestampVerificationData.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: t})
	}
	b.VerificationMaterial = m
	if o.OnBundle != nil {
		o.OnBundle(b)
	}
	out, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encoding test bundle: %w", err)
	}
	if o.OnJSON != nil {
		out = o.OnJSON(out)
	}
	return out, nil
}

// Legacy signs image in repository as cosign's .sig layers are signed.
func (s *Sigstore) Legacy(repository string, image verdict.Digest, o Options) (Layer, error) {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": repository},
			"image":    map[string]string{"docker-manifest-digest": string(image)},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	if err != nil {
		return Layer{}, fmt.Errorf("encoding test payload: %w", err)
	}
	if o.OnPayload != nil {
		payload = o.OnPayload(payload)
	}
	sg, err := s.sign(o, payload, payload)
	if err != nil {
		return Layer{}, err
	}
	l := Layer{Payload: payload, Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sg.sig)}}
	if sg.leaf != nil {
		l.Annotations["dev.sigstore.cosign/certificate"] = string(sg.pem)
		l.Annotations["dev.sigstore.cosign/chain"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.issuer.Raw}))
	}
	if !o.NoLog {
		sum := sha256.Sum256(payload)
		entry, err := s.logged(o, hashedRekordBody(sum[:], sg), "hashedrekord")
		if err != nil {
			return Layer{}, err
		}
		bundle, err := json.Marshal(map[string]any{
			"SignedEntryTimestamp": entry.GetInclusionPromise().GetSignedEntryTimestamp(),
			"Payload": map[string]any{"body": entry.GetCanonicalizedBody(), "integratedTime": entry.GetIntegratedTime(),
				"logIndex": entry.GetLogIndex(), "logID": hex.EncodeToString(entry.GetLogId().GetKeyId())},
		})
		if err != nil {
			return Layer{}, fmt.Errorf("encoding test annotation: %w", err)
		}
		l.Annotations["dev.sigstore.cosign/bundle"] = string(bundle)
	}
	for _, t := range sg.tokens {
		token, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": t})
		if err != nil {
			return Layer{}, fmt.Errorf("encoding test annotation: %w", err)
		}
		l.Annotations["dev.sigstore.cosign/rfc3161timestamp"] = string(token)
	}
	return l, nil
}

// sign makes key or certificate, signature and timestamp.
func (s *Sigstore) sign(o Options, payload, message []byte) (*signing, error) {
	if o.At.IsZero() {
		return nil, fmt.Errorf("signing test image: no time")
	}
	sg := &signing{payload: payload}
	key := o.Key
	if key == nil {
		key = o.LeafKey
		if key == nil {
			ephemeral, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return nil, fmt.Errorf("signing test image: %w", err)
			}
			key = ephemeral
		}
		var err error
		if sg.leaf, err = s.certificate(o, key.Public()); err != nil {
			return nil, err
		}
		sg.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sg.leaf.Raw})
	} else {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, fmt.Errorf("signing test image: %w", err)
		}
		sg.pem = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	sg.pub = key.Public()
	var err error
	if o.OwnHash {
		sg.sig, err = signOwnHash(key, message)
	} else {
		sg.sig, err = signMessage(key, message)
	}
	if err != nil {
		return nil, fmt.Errorf("signing test image: %w", err)
	}
	if o.Timestamp {
		token, err := s.Timestamp(sg.sig, o.At)
		if err != nil {
			return nil, err
		}
		sg.tokens = [][]byte{token}
	}
	if o.SecondTimestamp {
		token, err := TimestampBy(s.tsa2.leaf, s.tsa2.key, sg.sig, o.At)
		if err != nil {
			return nil, err
		}
		sg.tokens = append(sg.tokens, token)
	}
	return sg, nil
}

// signMessage signs as cosign does: SHA-256 whatever the curve, PKCS #1 v1.5.
func signMessage(key crypto.Signer, message []byte) ([]byte, error) {
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		return key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	if k, ok := key.Public().(*rsa.PublicKey); ok && k.N.BitLen() > 3072 {
		return nil, fmt.Errorf("RSA keys of %d bits are slow; use fewer in a test", k.N.BitLen())
	}
	sum := sha256.Sum256(message)
	return key.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// signOwnHash signs as sigstore's algorithm registry says for the key.
func signOwnHash(key crypto.Signer, message []byte) ([]byte, error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		sum := sha512.Sum512(message)
		return k.Sign(rand.Reader, sum[:], crypto.SHA512)
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P384() {
			return SignP384(k, message)
		}
	}
	return signMessage(key, message)
}

// SignP384 signs with the curve's own hash, as other tools than cosign do.
func SignP384(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	sum := sha512.Sum384(message)
	return key.Sign(rand.Reader, sum[:], crypto.SHA384)
}

var (
	oidFulcio = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	oidSCTs   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	oidSAN    = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// Certificate issues a certificate for a key that somebody else has.
func (s *Sigstore) Certificate(pub crypto.PublicKey, o Options) (*x509.Certificate, error) {
	return s.certificate(o, pub)
}

// Entry logs a hashedrekord 0.0.1 that somebody else made, in the first log.
func (s *Sigstore) Entry(body []byte, o Options) (*protorekor.TransparencyLogEntry, error) {
	return s.logged(o, json.RawMessage(body), "hashedrekord")
}

// certificate issues a leaf for ten minutes around o.At.
func (s *Sigstore) certificate(o Options, pub crypto.PublicKey) (*x509.Certificate, error) {
	t := &x509.Certificate{SerialNumber: serial(), NotBefore: o.At.Add(-time.Minute), NotAfter: o.At.Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("issuing test certificate: %w", err)
	}
	keyID := sha256.Sum256(spki)
	t.SubjectKeyId = keyID[:20]
	switch {
	case strings.Contains(o.Subject, "://"):
		u, err := url.Parse(o.Subject)
		if err != nil {
			return nil, fmt.Errorf("issuing test certificate: %w", err)
		}
		t.URIs = []*url.URL{u}
	case strings.Contains(o.Subject, "@"):
		t.EmailAddresses = []string{o.Subject}
	case o.Subject != "":
		san, err := otherName(o.Subject)
		if err != nil {
			return nil, fmt.Errorf("issuing test certificate: %w", err)
		}
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oidSAN, Critical: true, Value: san})
	}
	if o.Issuer != "" {
		v, err := asn1.MarshalWithParams(o.Issuer, "utf8")
		if err != nil {
			return nil, fmt.Errorf("issuing test certificate: %w", err)
		}
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: Extension(1), Value: []byte(o.Issuer)}, pkix.Extension{Id: Extension(8), Value: v})
	}
	for n, text := range o.Extensions {
		v := []byte(text)
		if n >= 8 {
			var err error
			if v, err = asn1.MarshalWithParams(text, "utf8"); err != nil {
				return nil, fmt.Errorf("issuing test certificate: %w", err)
			}
		}
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: Extension(n), Value: v})
	}
	if o.OnCertificate != nil {
		o.OnCertificate(t)
	}
	leaf, err := issue(t, s.issuer, pub, s.issuerKey)
	if err != nil || o.NoSCT {
		return leaf, err
	}
	// RFC 6962 §3.2: the timestamp is over the certificate without it.
	scts, err := s.sctList(leaf.RawTBSCertificate, o.At)
	if err != nil {
		return nil, err
	}
	t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oidSCTs, Value: scts})
	return issue(t, s.issuer, pub, s.issuerKey)
}

// Extension returns the OID of Fulcio's extension n.
func Extension(n int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier{}, oidFulcio...), n)
}

// otherName encodes a SAN extension with Fulcio's OtherName.
func otherName(name string) ([]byte, error) {
	text, err := asn1.MarshalWithParams(name, "utf8")
	if err != nil {
		return nil, err
	}
	value, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: text})
	if err != nil {
		return nil, err
	}
	oid, err := asn1.Marshal(Extension(7))
	if err != nil {
		return nil, err
	}
	general := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(oid, value...)}
	return asn1.Marshal([]asn1.RawValue{general})
}

// sctList is the extension with one timestamp over a precertificate
// (RFC 6962 §3.2, §3.3).
func (s *Sigstore) sctList(tbs []byte, at time.Time) ([]byte, error) {
	ms := uint64(at.UnixMilli())
	der, err := x509.MarshalPKIXPublicKey(&s.ctKey.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("making test SCT: %w", err)
	}
	id, issuer := sha256.Sum256(der), sha256.Sum256(s.issuer.RawSubjectPublicKeyInfo)
	signed := []byte{0, 0} // v1, certificate_timestamp
	signed = binary.BigEndian.AppendUint64(signed, ms)
	signed = append(signed, 0, 1) // precert_entry
	signed = append(signed, issuer[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs))) //nolint:gosec // G115: RFC 6962's uint24
	signed = append(signed, tbs...)
	signed = append(signed, 0, 0) // no extensions
	sum := sha256.Sum256(signed)
	sig, err := ecdsa.SignASN1(rand.Reader, s.ctKey, sum[:])
	if err != nil {
		return nil, fmt.Errorf("making test SCT: %w", err)
	}
	sct := append([]byte{0}, id[:]...)
	sct = binary.BigEndian.AppendUint64(sct, ms)
	sct = append(sct, 0, 0, 4, 3)                              // no extensions, SHA-256, ECDSA
	sct = binary.BigEndian.AppendUint16(sct, uint16(len(sig))) //nolint:gosec // G115: a P-256 signature
	sct = append(sct, sig...)
	list := binary.BigEndian.AppendUint16(nil, uint16(len(sct)+2)) //nolint:gosec // G115: as above
	list = binary.BigEndian.AppendUint16(list, uint16(len(sct)))   //nolint:gosec // G115: as above
	return asn1.Marshal(append(list, sct...))
}

// Timestamp returns a TimeStampResp over the signature.
func (s *Sigstore) Timestamp(sig []byte, at time.Time) ([]byte, error) {
	return TimestampBy(s.tsaLeaf, s.tsaKey, sig, at)
}

// TimestampLeaf returns the certificate that timestamps are signed with.
func (s *Sigstore) TimestampLeaf() *x509.Certificate { return s.tsaLeaf }

// TimestampBy returns a TimeStampResp by any key, which need not be the one of
// the certificate. The certificate is in it.
func TimestampBy(leaf *x509.Certificate, key crypto.Signer, sig []byte, at time.Time) ([]byte, error) {
	sum := sha256.Sum256(sig)
	ts := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: at, Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: true}
	out, err := ts.CreateResponseWithOpts(leaf, key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("making test timestamp: %w", err)
	}
	return out, nil
}

// ResignTimestamp changes the signed attributes of a timestamp by the instance, as
// its authority would have signed them. The change keeps their length.
func (s *Sigstore) ResignTimestamp(token []byte, change func(attributes []byte)) ([]byte, error) {
	var response struct {
		Status asn1.RawValue
		Token  struct {
			Type asn1.ObjectIdentifier
			Data struct {
				Version                                   int
				Algorithms, Content, Certificates, Signer asn1.RawValue
			} `asn1:"explicit,tag:0"`
		}
	}
	var signer struct {
		Version                     int
		ID, Digest                  asn1.RawValue
		Attributes, Algorithm, Sign asn1.RawValue
	}
	if _, err := asn1.Unmarshal(token, &response); err != nil {
		return nil, fmt.Errorf("reading test timestamp: %w", err)
	}
	if _, err := asn1.Unmarshal(response.Token.Data.Signer.Bytes, &signer); err != nil {
		return nil, fmt.Errorf("reading test timestamp: %w", err)
	}
	old := signer.Attributes.FullBytes
	attributes := bytes.Clone(old)
	change(attributes)
	set := bytes.Clone(attributes)
	set[0] = 0x31 // RFC 5652 §5.4: signed as a SET
	for range 1000 {
		sig, err := signMessage(s.tsaKey, set)
		if err != nil {
			return nil, fmt.Errorf("signing test timestamp: %w", err)
		}
		if len(sig) == len(signer.Sign.Bytes) { // else lengths around it would change
			out := bytes.Replace(token, old, attributes, 1)
			return bytes.Replace(out, signer.Sign.Bytes, sig, 1), nil
		}
	}
	return nil, fmt.Errorf("signing test timestamp: no signature has the length of the one before")
}

// hashedRekordBody is a Rekor hashedrekord 0.0.1 in canonical form.
func hashedRekordBody(sum []byte, sg *signing) any {
	return map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum)}},
		"signature": map[string]any{"content": sg.sig, "publicKey": map[string]any{"content": sg.pem}},
	}}
}

// dsseBody is a Rekor dsse 0.0.1 in canonical form.
func dsseBody(envelope, payload []byte, sg *signing) any {
	e, p := sha256.Sum256(envelope), sha256.Sum256(payload)
	return map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"envelopeHash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(e[:])},
		"payloadHash":  map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(p[:])},
		"signatures":   []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(sg.sig), "verifier": sg.pem}},
	}}
}

// logged writes a body into the log: a signed entry timestamp, and a proof of
// inclusion in a tree that has this one leaf.
func (s *Sigstore) logged(o Options, body any, kind string) (*protorekor.TransparencyLogEntry, error) {
	return s.loggedIn(rekor{s.logKey, logHost}, o, body, kind)
}

func (s *Sigstore) loggedIn(in rekor, o Options, body any, kind string) (*protorekor.TransparencyLogEntry, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	if o.OnEntry != nil {
		raw = o.OnEntry(raw)
	}
	s.mu.Lock()
	s.index++
	index := s.index
	s.mu.Unlock()
	der, err := x509.MarshalPKIXPublicKey(&in.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	id := sha256.Sum256(der)
	set, err := json.Marshal(map[string]any{"body": raw, "integratedTime": o.At.Unix(), "logIndex": index, "logID": hex.EncodeToString(id[:])})
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	setSum := sha256.Sum256(set)
	promise, err := ecdsa.SignASN1(rand.Reader, in.key, setSum[:])
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	leaf := sha256.Sum256(append([]byte{0}, raw...))
	origin := in.host + " - 1193050959916656506"
	if o.Origin != "" {
		origin = o.Origin
	}
	text := fmt.Sprintf("%s\n1\n%s\n", origin, base64.StdEncoding.EncodeToString(leaf[:]))
	textSum := sha256.Sum256([]byte(text))
	noteSig, err := ecdsa.SignASN1(rand.Reader, in.key, textSum[:])
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	checkpoint := fmt.Sprintf("%s\n— %s %s\n", text, in.host, base64.StdEncoding.EncodeToString(append(bytes.Clone(id[:4]), noteSig...)))
	e := &protorekor.TransparencyLogEntry{
		LogIndex: index, LogId: &protocommon.LogId{KeyId: id[:]}, KindVersion: &protorekor.KindVersion{Kind: kind, Version: "0.0.1"},
		IntegratedTime: o.At.Unix(), CanonicalizedBody: raw,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: promise},
		InclusionProof:   &protorekor.InclusionProof{LogIndex: 0, TreeSize: 1, RootHash: leaf[:], Checkpoint: &protorekor.Checkpoint{Envelope: checkpoint}},
	}
	if o.NoSET {
		e.InclusionPromise, e.IntegratedTime = nil, 0
	}
	return e, nil
}
