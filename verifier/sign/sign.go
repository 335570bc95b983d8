// SPDX-License-Identifier: Apache-2.0

// Package sign makes sigstore bundles over files, without long-lived keys: a new
// key, a certificate of Fulcio for the holder of an OIDC token, timestamps and log
// entries. Only the command line links it: a daemon signs no artifacts.
package sign

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// Limits.
const (
	// MaxConfigBytes bounds a signing_config.json.
	MaxConfigBytes = 1 << 20
	// MaxTokenBytes bounds an OIDC token.
	MaxTokenBytes = 64 << 10
	// requestTimeout bounds one request to a service. A log of Rekor v2 answers when
	// it has made a checkpoint.
	requestTimeout = 30 * time.Second
	// attempts is how often a request is made in all while the service fails.
	attempts = 3
	// maxAnswer bounds an answer of a service, in bytes.
	maxAnswer = 1 << 20
)

// Services are those of one sigstore instance, chosen out of its signing
// configuration for one time.
type Services struct {
	certificates root.Service
	logs         []root.Service
	stampers     []root.Service
}

// ParseServices reads a signing_config.json of version 0.2 (sigstore protobuf-specs
// trustroot/v1, SigningConfig) and chooses the services that are valid at a time:
// of each kind those of the highest version that is known here, as many as the
// configuration's selector says, of distinct operators. What cannot be read is a
// [verdict.Misuse], and so are services that are not at https, or at http on this
// machine.
func ParseServices(data []byte, at time.Time) (*Services, error) {
	misused := func(err error) error {
		return verdict.Misused("want a signing_config.json of version 0.2 of the instance", "reading signing configuration: %w", err)
	}
	if len(data) > MaxConfigBytes {
		return nil, misused(fmt.Errorf("%d bytes, want at most %d", len(data), MaxConfigBytes))
	}
	cfg, err := root.NewSigningConfigFromJSON(data)
	if err != nil {
		return nil, misused(err)
	}
	s := &Services{}
	if s.certificates, err = root.SelectService(cfg.FulcioCertificateAuthorityURLs(), fulcioAPIs, at); err != nil {
		return nil, misused(fmt.Errorf("certificate authority: %w", err))
	}
	if s.logs, err = root.SelectServices(cfg.RekorLogURLs(), cfg.RekorLogURLsConfig(), rekorAPIs, at); err != nil {
		return nil, misused(fmt.Errorf("log: %w", err))
	}
	// Rekor v2 gives no time, and v1 does: without a timestamp authority the first
	// is refused below, when the bundle is verified.
	if len(cfg.TimestampAuthorityURLs()) > 0 {
		if s.stampers, err = root.SelectServices(cfg.TimestampAuthorityURLs(), cfg.TimestampAuthorityURLsConfig(), timestampAPIs, at); err != nil {
			return nil, misused(fmt.Errorf("timestamp authority: %w", err))
		}
	}
	for _, service := range append(append([]root.Service{s.certificates}, s.logs...), s.stampers...) {
		if err := checkAddress(service.URL); err != nil {
			return nil, misused(err)
		}
	}
	return s, nil
}

func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return fmt.Errorf("%.128q is no address of a service", address)
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); u.Scheme == "https" || u.Scheme == "http" && (host == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("the service %.128q is not at an https address", address)
}

// APIs that are spoken here.
var (
	fulcioAPIs    = []uint32{1}
	rekorAPIs     = []uint32{1, 2}
	timestampAPIs = []uint32{1}
)

// Bundle signs the artifact with that SHA-256 as the holder of an OIDC token, and
// returns a bundle of version 0.3. What it returns has been verified under roots, as
// [verifier.VerifyBlob] verifies. The error is a [verdict.Failure] where a service
// does not do its part, and a [verdict.Refusal] where what it gave does not verify.
func (s *Services) Bundle(ctx context.Context, artifact *verifier.Blob, token string, roots *verifier.Roots, at time.Time) ([]byte, error) {
	sum, ok := artifact.Digest().Bytes()
	if !ok {
		return nil, verdict.Misused("", "signing: the artifact has no SHA-256")
	}
	subject, err := subjectOf(token)
	if err != nil {
		return nil, verdict.Misused("want a JWT of the instance's OIDC issuer", "reading identity token: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "signing: making a key: %w", err)
	}
	certificate, err := s.certify(ctx, key, token, subject)
	if err != nil {
		return nil, err
	}
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "signing: %w", err)
	}
	material := &protobundle.VerificationMaterial{
		Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: certificate}},
		TimestampVerificationData: &protobundle.TimestampVerificationData{},
	}
	// The time first: that it was signed while the certificate was valid.
	for _, t := range s.stampers {
		stamp, err := s.stamp(ctx, t.URL, signature)
		if err != nil {
			return nil, err
		}
		material.TimestampVerificationData.Rfc3161Timestamps = append(material.TimestampVerificationData.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: stamp})
	}
	for _, l := range s.logs {
		add := addV1
		if l.MajorAPIVersion == 2 {
			add = addV2
		}
		entry, err := add(ctx, l.URL, sum[:], signature, certificate)
		if err != nil {
			return nil, err
		}
		material.TlogEntries = append(material.TlogEntries, entry)
	}
	data, err := protojson.Marshal(&protobundle.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]}, Signature: signature}},
	})
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "writing bundle: %w", err)
	}
	who, err := verifier.ClaimedIdentity(data)
	if err == nil {
		_, err = verifier.VerifyBlob(data, artifact, verifier.OneOff{Identity: who.SAN, Issuer: who.Issuer}, roots, at)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// subjectOf is what the holder of a token proves the possession of the key over: the
// e-mail address where there is one, else the subject (fulcio
// docs/how-certificate-issuing-works.md). Fulcio verifies the token; here nothing of
// it is believed.
func subjectOf(token string) (string, error) {
	if len(token) > MaxTokenBytes {
		return "", fmt.Errorf("%d bytes, want at most %d", len(token), MaxTokenBytes)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("it has not three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", errors.New("its claims are not base64url")
	}
	var claims struct {
		Subject  string `json:"sub"`
		Email    string `json:"email"`
		Verified any    `json:"email_verified"` // some issuers write it as a string
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", errors.New("its claims are not JSON")
	}
	switch {
	case claims.Email != "" && (claims.Verified == true || claims.Verified == "true"):
		return claims.Email, nil
	case claims.Email != "":
		return "", errors.New("its e-mail address is not verified")
	case claims.Subject == "":
		return "", errors.New("it has no subject")
	}
	return claims.Subject, nil
}
