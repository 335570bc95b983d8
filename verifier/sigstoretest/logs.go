// SPDX-License-Identifier: Apache-2.0

package sigstoretest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// A Log is one of an instance's transparency logs.
type Log int

const (
	// FirstLog is of Rekor v1, and always there.
	FirstLog Log = iota
	// V2Log is of Rekor v2; see [Config].RekorV2.
	V2Log
	// SecondLog is of Rekor v1; see [Config].SecondLog.
	SecondLog
	// StrangeLog is of Rekor v1, and no trust root lists it.
	StrangeLog
)

// A rekor is a log's key and the name in its checkpoints.
type rekor struct {
	key  *ecdsa.PrivateKey
	host string
}

// A tsa is a timestamp authority.
type tsa struct {
	root, leaf *x509.Certificate
	key        *ecdsa.PrivateKey
}

// more makes the further logs and the second timestamp authority.
func (s *Sigstore) more() error {
	var tsaRootKey *ecdsa.PrivateKey
	for _, k := range []**ecdsa.PrivateKey{&s.logs[0].key, &s.logs[1].key, &s.logs[2].key, &tsaRootKey, &s.tsa2.key} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return fmt.Errorf("making test sigstore: %w", err)
		}
		*k = key
	}
	for i, host := range []string{"log2026-1.sigstoretest.invalid", "rekor2.sigstoretest.invalid", "strange.sigstoretest.invalid"} {
		s.logs[i].host = host
	}
	name := pkix.Name{CommonName: "sigstoretest second timestamp root", Organization: []string{"sigstoretest"}}
	t := &x509.Certificate{SerialNumber: serial(), Subject: name, NotBefore: s.start, NotAfter: s.end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}}
	var err error
	if s.tsa2.root, err = issue(t, t, &tsaRootKey.PublicKey, tsaRootKey); err != nil {
		return err
	}
	s.tsa2.leaf, err = issue(&x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "sigstoretest second timestamps"},
		NotBefore: s.start, NotAfter: s.end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: timeStampingUsage}},
	}, s.tsa2.root, &s.tsa2.key.PublicKey, tsaRootKey)
	return err
}

// An entryBody is what logs are told of a signature.
type entryBody struct {
	v1      any
	kind    string // of v1
	message []byte // what is signed
}

// logAll writes all entries that o asks for.
func (s *Sigstore) logAll(o Options, sg *signing, body entryBody) error {
	for i, l := range append([]Log{o.Log}, o.More...) {
		var e *protorekor.TransparencyLogEntry
		var err error
		switch l {
		case FirstLog:
			e, err = s.logged(o, body.v1, body.kind)
		case V2Log:
			e, err = s.loggedV2(o, sg, body.message)
		case SecondLog:
			e, err = s.loggedIn(s.logs[1], o, body.v1, body.kind)
		case StrangeLog:
			e, err = s.loggedIn(s.logs[2], o, body.v1, body.kind)
		default:
			err = fmt.Errorf("logging test entry: there is no log %d", l)
		}
		if err != nil {
			return err
		}
		if i == 0 {
			sg.entry = e
		} else {
			sg.more = append(sg.more, e)
		}
	}
	return nil
}

// loggedV2 writes a hashedrekord 0.0.2 (Rekor v2 specification §6.1) as the
// second leaf of a tree of two.
func (s *Sigstore) loggedV2(o Options, sg *signing, message []byte) (*protorekor.TransparencyLogEntry, error) {
	spki, err := x509.MarshalPKIXPublicKey(sg.pub)
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	details, algorithm, sum := "PKIX_ECDSA_P256_SHA_256", "SHA2_256", crypto.SHA256
	switch k := sg.pub.(type) {
	case ed25519.PublicKey:
		details, algorithm, sum = "PKIX_ED25519_PH", "SHA2_512", crypto.SHA512
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			details, algorithm, sum = "PKIX_ECDSA_P384_SHA_384", "SHA2_384", crypto.SHA384
		case elliptic.P521():
			details, algorithm, sum = "PKIX_ECDSA_P521_SHA_512", "SHA2_512", crypto.SHA512
		}
	}
	h := sum.New()
	if _, err := h.Write(message); err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	digest := h.Sum(nil)
	verifier := map[string]any{"keyDetails": details}
	if sg.leaf != nil {
		verifier["x509Certificate"] = map[string]any{"rawBytes": sg.leaf.Raw}
	} else {
		verifier["publicKey"] = map[string]any{"rawBytes": spki}
	}
	raw, err := json.Marshal(map[string]any{"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": map[string]any{"hashedRekordV002": map[string]any{
		"data":      map[string]any{"algorithm": algorithm, "digest": digest},
		"signature": map[string]any{"content": sg.sig, "verifier": verifier},
	}}})
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	if o.OnEntry != nil {
		raw = o.OnEntry(raw)
	}
	log := s.logs[0]
	der, err := x509.MarshalPKIXPublicKey(&log.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	id := sha256.Sum256(der)
	first := sha256.Sum256([]byte{0, 'x'})
	leaf := sha256.Sum256(append([]byte{0}, raw...))
	root := sha256.Sum256(append(append([]byte{1}, first[:]...), leaf[:]...))
	origin := log.host
	if o.Origin != "" {
		origin = o.Origin
	}
	text := fmt.Sprintf("%s\n2\n%s\n", origin, base64.StdEncoding.EncodeToString(root[:]))
	textSum := sha256.Sum256([]byte(text))
	sig, err := ecdsa.SignASN1(rand.Reader, log.key, textSum[:])
	if err != nil {
		return nil, fmt.Errorf("logging test entry: %w", err)
	}
	checkpoint := fmt.Sprintf("%s\n— %s %s\n", text, log.host, base64.StdEncoding.EncodeToString(append(bytes.Clone(id[:4]), sig...)))
	return &protorekor.TransparencyLogEntry{
		LogIndex: 1, LogId: &protocommon.LogId{KeyId: id[:]}, KindVersion: &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		CanonicalizedBody: raw,
		InclusionProof: &protorekor.InclusionProof{LogIndex: 1, TreeSize: 2, RootHash: root[:], Hashes: [][]byte{first[:]},
			Checkpoint: &protorekor.Checkpoint{Envelope: checkpoint}},
	}, nil
}
