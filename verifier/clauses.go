// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/digitorus/timestamp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/entrybody"
)

// This file has the clauses of sigstore's specifications that the library does
// not check. docs/clauses.md has all of them, and where each one is checked.

// Media types of a bundle (protobuf-specs sigstore_bundle.proto, Bundle).
const (
	bundleV01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	bundleV02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"
	bundleV03 = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// bundleOldV03 is what 0.3 was called at first.
	bundleOldV03 = "application/vnd.dev.sigstore.bundle+json;version=0.3"
)

// checkBundle checks the form of a bundle that the library has read. It returns the
// body of each log entry, or nil for one that is not usual.
func checkBundle(pb *protobundle.Bundle) ([]*entrybody.Body, error) {
	malformed := func(format string, args ...any) ([]*entrybody.Body, error) {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading bundle: "+format, args...)
	}
	// The library takes every version before 0.4, also those that were never
	// written: what they would mean nobody knows.
	old := false
	switch pb.GetMediaType() {
	case bundleV01, bundleV02:
		old = true
	case bundleV03, bundleOldV03:
	default:
		return nil, verdict.Refuse(verdict.InputUnsupported, "reading bundle: media type %q is not one of 0.1, 0.2 or 0.3", clipQuote(pb.GetMediaType()))
	}
	material := pb.GetVerificationMaterial()
	if old && material.GetCertificate() != nil {
		return malformed("a certificate outside a chain, which bundles before 0.3 do not have")
	}
	// "The key hints MUST be exactly the same in the verification material and
	// in the DSSE envelope." Signers leave the second one out, which is no other
	// hint.
	if key := material.GetPublicKey(); key != nil {
		for _, s := range pb.GetDsseEnvelope().GetSignatures() {
			if s.GetKeyid() != "" && s.GetKeyid() != key.GetHint() {
				return malformed("the envelope names key %q, and the bundle %q", clipQuote(s.GetKeyid()), clipQuote(key.GetHint()))
			}
		}
	}
	var bodies []*entrybody.Body
	for i, t := range material.GetTlogEntries() {
		// The library looks whether any entry has it.
		switch {
		case pb.GetMediaType() == bundleV01 && len(t.GetInclusionPromise().GetSignedEntryTimestamp()) == 0:
			return malformed("log entry %d has no inclusion promise, which bundles 0.1 demand of each", i+1)
		case pb.GetMediaType() != bundleV01 && t.GetInclusionProof() == nil:
			return malformed("log entry %d has no inclusion proof, which bundles since 0.2 demand of each", i+1)
		}
		usual, err := checkEntryForm(t)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, usual)
	}
	return bodies, nil
}

// checkSpelling says what is wrong with the names and enums of a bundle in the
// JSON form of protobuf, of which the library takes every variant. In what bundlejson
// reads there is nothing wrong.
func checkSpelling(data []byte) string {
	for {
		start := bytes.IndexByte(data, '"')
		if start < 0 {
			return ""
		}
		data = data[start+1:]
		end := 0
		for end < len(data) && data[end] != '"' {
			if data[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(data) {
			return "" // not JSON, which others say
		}
		name, rest := data[:end], bytes.TrimLeft(data[end+1:], " \t\r\n")
		data = data[end+1:]
		if len(rest) == 0 || rest[0] != ':' {
			continue
		}
		if bytes.ContainsAny(name, "_\\") {
			return "member " + strconv.Quote(clipQuote(string(name))) + " is not in lowerCamelCase"
		}
		if value := bytes.TrimLeft(rest[1:], " \t\r\n"); string(name) == "algorithm" && (len(value) == 0 || value[0] != '"') {
			return "algorithm is not a string"
		}
	}
}

// checkEntryForm checks one log entry, of whatever log, and returns its body if that
// is usual.
func checkEntryForm(t *protorekor.TransparencyLogEntry) (*entrybody.Body, error) {
	usual, kind, version, err := entryKind(t.GetCanonicalizedBody())
	if err != nil {
		return nil, err
	}
	// Only cosign's .att layers have it: bundles are younger.
	if kind == "intoto" && version == "0.0.1" {
		return nil, verdict.Refuse(verdict.InputUnsupported, "reading bundle: log entry of kind intoto 0.0.1")
	}
	// Client specification §4.4: kind and apiVersion of the bundle must match
	// those of the body. The library compares the first with itself.
	if kv := t.GetKindVersion(); kv.GetKind() != kind || kv.GetVersion() != version {
		return nil, verdict.Refuse(verdict.LogMismatch, "reading log entry: the bundle calls it %q %q, and it is %q %q", clipQuote(kv.GetKind()), clipQuote(kv.GetVersion()), kind, version)
	}
	if version != rekorV2 || kind != "hashedrekord" {
		return usual, nil
	}
	// Rekor v2 specification §4.2: it gives no time and signs no promise.
	if t.GetIntegratedTime() != 0 || t.GetInclusionPromise() != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading log entry: it is of Rekor v2, and has a time or promise, which that does not give")
	}
	if p := t.GetInclusionProof(); p != nil && p.GetLogIndex() != t.GetLogIndex() {
		return nil, verdict.Refuse(verdict.LogProof, "reading log entry: its index is %d, and that of its proof %d", t.GetLogIndex(), p.GetLogIndex())
	}
	return usual, nil
}

// rekorV2 is the version of hashedrekord entries in Rekor v2, which has no
// other (Rekor v2 specification §4.3).
const rekorV2 = "0.0.2"

// checkEntries checks entries of listed logs that the library accepted.
func checkEntries(e *entity, logs map[string]*root.TransparencyLog) error {
	listed := 0
	for _, t := range e.entries {
		if logs[t.logID()] != nil {
			listed++
		}
	}
	for _, t := range e.entries {
		l := logs[t.logID()]
		if l == nil {
			continue
		}
		// Client specification §4.2.2: where it does not verify, abort. The
		// library goes on to the next entry.
		if listed > 1 && t.hasPromise() {
			if err := t.promise().verify(l, t.GetInclusionPromise().GetSignedEntryTimestamp()); err != nil {
				return err
			}
		}
		if err := checkProof(t); err != nil {
			return err
		}
		if t.isRekorV2() {
			if err := checkRekorV2(e, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkProof compares an inclusion proof with its checkpoint, which the library
// has verified: the size and the root that are said beside it are those that
// the log signed (sigstore_rekor.proto, InclusionProof).
func checkProof(t *entry) error {
	p := t.GetInclusionProof()
	if p == nil {
		return nil
	}
	refuse := func(format string, args ...any) error {
		return verdict.Refuse(verdict.LogProof, "verifying log entry %d: "+format, append([]any{t.GetLogIndex()}, args...)...)
	}
	c, ok := parseCheckpoint(p.GetCheckpoint().GetEnvelope())
	switch {
	case !ok:
		return refuse("its checkpoint is not readable")
	case p.GetTreeSize() != c.size:
		return refuse("its proof is for a tree of %d leaves, and its checkpoint of %d", p.GetTreeSize(), c.size)
	case !bytes.Equal(p.GetRootHash(), c.root):
		return refuse("its proof leads to another root than that of its checkpoint")
	}
	return nil
}

// A checkpointText is the signed text of a checkpoint (c2sp.org/tlog-checkpoint).
type checkpointText struct {
	origin string
	size   int64
	root   []byte
}

func parseCheckpoint(note string) (checkpointText, bool) {
	lines := strings.SplitN(note, "\n", 4)
	if len(lines) != 4 {
		return checkpointText{}, false
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return checkpointText{}, false
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil {
		return checkpointText{}, false
	}
	return checkpointText{lines[0], size, sum}, true
}

// checkRekorV2 checks an entry of Rekor v2. The library computes the leaf out of
// the bundle and does not look at the body beside it; and where a checkpoint
// has the form of Rekor v1 it looks at the body alone, and at nothing else.
func checkRekorV2(e *entity, t *entry) error {
	c, ok := parseCheckpoint(t.GetInclusionProof().GetCheckpoint().GetEnvelope())
	if !ok || strings.Contains(c.origin, " - ") {
		return verdict.Refuse(verdict.LogProof, "verifying log entry %d: it is of Rekor v2, and its checkpoint of v1", t.GetLogIndex())
	}
	// "If set, clients MUST verify that the signature referenced in the
	// canonicalized_body matches": the same leaf is proven by the same proof.
	leaf := rfc6962.DefaultHasher.HashLeaf(t.GetCanonicalizedBody())
	//nolint:gosec // G115: both are not negative, as the library and parseCheckpoint have checked
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(t.GetLogIndex()), uint64(c.size), leaf, t.GetInclusionProof().GetHashes(), c.root); err != nil {
		return verdict.Refuse(verdict.LogMismatch, "verifying log entry %d: its body is not that of the entry that is proven", t.GetLogIndex())
	}
	if e.statement == nil {
		return nil
	}
	// Client specification §4.4: no pure Ed25519; and the signature is over the
	// hash that the key's algorithm has.
	switch k := e.signerKey().(type) {
	case ed25519.PublicKey:
		return verdict.Refuse(verdict.SigAlgorithm, "verifying log entry %d: an envelope is signed with plain Ed25519, which Rekor v2 cannot log", t.GetLogIndex())
	case *ecdsa.PublicKey:
		var sum []byte
		switch k.Curve {
		case elliptic.P384():
			d := sha512.Sum384(e.message)
			sum = d[:]
		case elliptic.P521():
			d := sha512.Sum512(e.message)
			sum = d[:]
		default:
			return nil // P-256: the signature was verified over SHA-256
		}
		if !ecdsa.VerifyASN1(k, sum, e.sig) {
			return verdict.Refuse(verdict.LogMismatch, "verifying log entry %d: the signature is over SHA-256, and the entry is about another hash", t.GetLogIndex())
		}
	}
	return nil
}

// signerKey is the key that e is signed with, as far as it is known.
func (e *entity) signerKey() crypto.PublicKey {
	if e.leaf != nil {
		return e.leaf.PublicKey
	}
	if k, ok := e.key.(*keyContent); ok {
		return k.key
	}
	return nil
}

// checkTimestamps refuses timestamps that are about something else, or about
// nothing, whoever made them: "clients MUST verify the hashed message in the
// message imprint against the signature" (sigstore_bundle.proto). The library
// passes over them where another one verifies.
func checkTimestamps(e *entity) error {
	over := e.stamped
	if over == nil {
		over = e.sig
	}
	for i, token := range e.timestamps {
		ts, err := timestamp.ParseResponse(token)
		if err != nil {
			return verdict.Refuse(verdict.TimeUntrusted, "proving time: timestamp %d is not readable: %w", i+1, err)
		}
		if !ts.HashAlgorithm.Available() {
			return verdict.Refuse(verdict.TimeUntrusted, "proving time: timestamp %d is over an unknown hash", i+1)
		}
		h := ts.HashAlgorithm.New()
		if _, err := h.Write(over); err != nil || !bytes.Equal(h.Sum(nil), ts.HashedMessage) {
			return verdict.Refuse(verdict.TimeUntrusted, "proving time: timestamp %d is about something else than this signature", i+1)
		}
	}
	return nil
}

var (
	oidSubjectKeyID = asn1.ObjectIdentifier{2, 5, 29, 14}
	// oidPoison marks a precertificate (RFC 6962 §3.1).
	oidPoison = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}
)

// maxSerialBits is 20 octets (RFC 5280 §4.1.2.2).
const maxSerialBits = 160

// maxRSABits is the largest RSA modulus that Fulcio certifies.
const maxRSABits = 4096

// checkFulcioLeaf checks what Fulcio's certificate specification says of an
// issued certificate, as far as it can be seen without the issuer. The standard
// library's path validation looks whether code signing is among the uses, and
// at none of the rest.
func checkFulcioLeaf(leaf *x509.Certificate) error {
	refuse := func(format string, args ...any) error {
		return verdict.Refuse(verdict.CertProfile, "reading certificate: "+format, args...)
	}
	switch {
	case leaf.IsCA:
		return refuse("it is an authority's")
	case leaf.KeyUsage != x509.KeyUsageDigitalSignature:
		return refuse("its key usage is not digital signature alone")
	case len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageCodeSigning || len(leaf.UnknownExtKeyUsage) != 0:
		return refuse("its extended key usage is not code signing alone")
	case !bytes.Equal(leaf.RawSubject, []byte{0x30, 0}):
		return refuse("its subject is not empty")
	case leaf.SerialNumber.Cmp(big.NewInt(0)) <= 0 || leaf.SerialNumber.BitLen() > maxSerialBits:
		return refuse("its serial number is not positive or longer than %d bits", maxSerialBits)
	}
	subjectKey := false
	for _, x := range leaf.Extensions {
		switch {
		case x.Id.Equal(oidSAN) && !x.Critical:
			return refuse("its subject alternative name is not critical")
		case x.Id.Equal(oidPoison):
			return refuse("it is a precertificate")
		case x.Id.Equal(oidSubjectKeyID):
			subjectKey = true
		}
	}
	if !subjectKey {
		return refuse("it has no subject key identifier")
	}
	if k, ok := leaf.PublicKey.(*rsa.PublicKey); ok && (k.N.BitLen() > maxRSABits || k.N.BitLen()%8 != 0 || k.E != 65537) {
		return verdict.Refuse(verdict.SigAlgorithm, "reading certificate: RSA with %d bits and exponent %d, want at most %d bits, whole bytes and 65537", k.N.BitLen(), k.E, maxRSABits)
	}
	return nil
}

// checkFulcioIssuer checks what the same specification says of a certificate
// and the one that it was issued by, for one of the chains that were found.
func checkFulcioIssuer(chains [][]*x509.Certificate) error {
	if slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool {
		if len(chain) < 2 {
			return false
		}
		leaf, issuer := chain[0], chain[1]
		return len(leaf.AuthorityKeyId) > 0 && bytes.Equal(leaf.AuthorityKeyId, issuer.SubjectKeyId) &&
			!leaf.NotBefore.Before(issuer.NotBefore) && !leaf.NotAfter.After(issuer.NotAfter)
	}) {
		return nil
	}
	return verdict.Refuse(verdict.CertProfile, "verifying certificate chain: the certificate names the key of another issuer, or outlives it")
}
