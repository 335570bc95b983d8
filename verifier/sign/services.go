// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/assayd/assay/verdict"
)

// client follows no redirect: a service that has moved is another one.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// ask posts a request and returns the answer, whose status has to be 200 or 201. What
// the server could not do at the moment is asked again.
func ask(ctx context.Context, what, address, contentType, token string, body []byte) ([]byte, error) {
	var err error
	for attempt := range attempts {
		if attempt > 0 {
			select {
			case <-time.After(time.Duration(attempt) * time.Second):
			case <-ctx.Done():
				return nil, verdict.Fail(verdict.SigstoreUnreachable, "%s: %w", what, context.Cause(ctx))
			}
		}
		var answer []byte
		var again bool
		if answer, again, err = askOnce(ctx, address, contentType, token, body); err == nil {
			return answer, nil
		}
		if !again || ctx.Err() != nil {
			break
		}
	}
	return nil, verdict.Fail(verdict.SigstoreUnreachable, "%s: %w", what, err)
}

func askOnce(ctx context.Context, address, contentType, token string, body []byte) (answer []byte, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, true, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, true, err
	case len(answer) > maxAnswer:
		return nil, false, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated:
		return answer, false, nil
	}
	return nil, resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("the answer is %d: %.256q", resp.StatusCode, answer)
}

// post asks with a request in JSON.
func post(ctx context.Context, what, address, token string, request any) ([]byte, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "%s: %w", what, err)
	}
	return ask(ctx, what, address, "application/json", token, body)
}

func decode(what string, data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return verdict.Fail(verdict.SigstoreUnreachable, "%s: the answer is not readable: %w", what, err)
	}
	return nil
}

// certify asks Fulcio for a certificate of the key (fulcio.proto,
// CreateSigningCertificate). It returns the leaf, in DER.
func (s *Services) certify(ctx context.Context, key *ecdsa.PrivateKey, token, subject string) ([]byte, error) {
	const what = "asking the certificate authority"
	sum := sha256.Sum256([]byte(subject))
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	proof, signErr := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err := errors.Join(err, signErr); err != nil {
		return nil, verdict.Fail(verdict.Internal, "signing: %w", err)
	}
	data, err := post(ctx, what, strings.TrimSuffix(s.certificates.URL, "/")+"/api/v2/signingCert", token, map[string]any{"publicKeyRequest": map[string]any{
		"publicKey":         map[string]any{"algorithm": "ECDSA", "content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))},
		"proofOfPossession": proof,
	}})
	if err != nil {
		return nil, err
	}
	type chain struct {
		Chain struct {
			Certificates []string `json:"certificates"`
		} `json:"chain"`
	}
	var answer struct {
		Embedded chain `json:"signedCertificateEmbeddedSct"`
		Detached chain `json:"signedCertificateDetachedSct"`
	}
	if err := decode(what, data, &answer); err != nil {
		return nil, err
	}
	for _, c := range []chain{answer.Embedded, answer.Detached} {
		if len(c.Chain.Certificates) == 0 {
			continue
		}
		if block, _ := pem.Decode([]byte(c.Chain.Certificates[0])); block != nil && block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
	return nil, verdict.Fail(verdict.SigstoreUnreachable, "%s: there is no certificate in the answer", what)
}

// stamp asks for a timestamp over the signature (RFC 3161 §3.4). The address is
// the whole one.
func (s *Services) stamp(ctx context.Context, address string, signature []byte) ([]byte, error) {
	sum := sha256.Sum256(signature)
	req := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:]}
	body, err := req.Marshal()
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "signing: %w", err)
	}
	return ask(ctx, "asking the timestamp authority", address, "application/timestamp-query", "", body)
}

// addV1 logs a hashedrekord 0.0.1 in a log of Rekor v1 (rekor openapi.yaml,
// createLogEntry).
func addV1(ctx context.Context, address string, sum, signature, certificate []byte) (*protorekor.TransparencyLogEntry, error) {
	const what = "asking the log"
	const kind, version = "hashedrekord", "0.0.1"
	data, err := post(ctx, what, strings.TrimSuffix(address, "/")+"/api/v1/log/entries", "", map[string]any{"apiVersion": version, "kind": kind, "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum)}},
		"signature": map[string]any{"content": signature, "publicKey": map[string]any{"content": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})}},
	}})
	if err != nil {
		return nil, err
	}
	var answer map[string]struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogID          string `json:"logID"`
		LogIndex       int64  `json:"logIndex"`
		Verification   struct {
			InclusionProof *struct {
				Checkpoint string   `json:"checkpoint"`
				Hashes     []string `json:"hashes"`
				LogIndex   int64    `json:"logIndex"`
				RootHash   string   `json:"rootHash"`
				TreeSize   int64    `json:"treeSize"`
			} `json:"inclusionProof"`
			SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
		} `json:"verification"`
	}
	if err := decode(what, data, &answer); err != nil {
		return nil, err
	}
	if len(answer) != 1 {
		return nil, verdict.Fail(verdict.SigstoreUnreachable, "%s: %d entries in the answer, want 1", what, len(answer))
	}
	for _, e := range answer {
		id, err := hex.DecodeString(e.LogID)
		p := e.Verification.InclusionProof
		if err != nil || p == nil {
			return nil, verdict.Fail(verdict.SigstoreUnreachable, "%s: the entry has no proof of inclusion, or no log", what)
		}
		proof := &protorekor.InclusionProof{LogIndex: p.LogIndex, TreeSize: p.TreeSize, Checkpoint: &protorekor.Checkpoint{Envelope: p.Checkpoint}}
		for _, text := range append([]string{p.RootHash}, p.Hashes...) {
			raw, decodeErr := hex.DecodeString(text)
			err = errors.Join(err, decodeErr)
			proof.Hashes = append(proof.Hashes, raw)
		}
		if err != nil {
			return nil, verdict.Fail(verdict.SigstoreUnreachable, "%s: the proof of inclusion is not readable", what)
		}
		proof.RootHash, proof.Hashes = proof.Hashes[0], proof.Hashes[1:]
		return &protorekor.TransparencyLogEntry{
			LogIndex: e.LogIndex, LogId: &protocommon.LogId{KeyId: id}, KindVersion: &protorekor.KindVersion{Kind: kind, Version: version}, IntegratedTime: e.IntegratedTime,
			InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: e.Verification.SignedEntryTimestamp}, InclusionProof: proof, CanonicalizedBody: e.Body,
		}, nil
	}
	return nil, nil // there is one
}

// addV2 logs a hashedrekord 0.0.2 in a log of Rekor v2 (rekor-tiles
// rekor_service.proto, CreateEntry).
func addV2(ctx context.Context, address string, sum, signature, certificate []byte) (*protorekor.TransparencyLogEntry, error) {
	const what = "asking the log"
	data, err := post(ctx, what, strings.TrimSuffix(address, "/")+"/api/v2/log/entries", "", map[string]any{"hashedRekordRequestV002": map[string]any{
		"digest": base64.StdEncoding.EncodeToString(sum),
		"signature": map[string]any{"content": signature, "verifier": map[string]any{
			"x509Certificate": map[string]any{"rawBytes": certificate},
			"keyDetails":      protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256.String(),
		}},
	}})
	if err != nil {
		return nil, err
	}
	entry := new(protorekor.TransparencyLogEntry)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, entry); err != nil {
		return nil, verdict.Fail(verdict.SigstoreUnreachable, "%s: the answer is not readable: %w", what, err)
	}
	return entry, nil
}
