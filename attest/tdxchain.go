// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/assayd/assay/verdict"
)

// Names of Intel's certificates (Intel SGX PCK Certificate and CRL Profile).
const (
	nameIntelRoot    = "Intel SGX Root CA"
	namePlatformCA   = "Intel SGX PCK Platform CA"
	nameProcessorCA  = "Intel SGX PCK Processor CA"
	namePCK          = "Intel SGX PCK Certificate"
	nameTCBSigning   = "Intel SGX TCB Signing"
	maxIntelChain    = 4 // certificates in one PEM chain
	maxIntelChainPEM = 32 << 10
)

var intelRoot = sync.OnceValue(func() *x509.Certificate {
	return embeddedRoots("intel-sgx", 1)[0]
})

// IntelRoot returns the root that Intel publishes for SGX and TDX. It counts only
// where a trust names it.
func IntelRoot() *x509.Certificate { return intelRoot() }

// A PCK is what a platform's certificate says about the platform (Intel SGX PCK
// Certificate Profile, SGX extensions).
type PCK struct {
	FMSPC  [6]byte
	PCEID  [2]byte
	PPID   [16]byte
	SVN    [16]uint8
	PCESVN uint16
	// ProcessorCA says that the Processor CA issued it, and not the Platform CA.
	ProcessorCA bool
}

var (
	oidSGX       = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}
	oidSGXPPID   = append(slices.Clone(oidSGX), 1)
	oidSGXTCB    = append(slices.Clone(oidSGX), 2)
	oidSGXPCEID  = append(slices.Clone(oidSGX), 3)
	oidSGXFMSPC  = append(slices.Clone(oidSGX), 4)
	oidSGXType   = append(slices.Clone(oidSGX), 5)
	sgxSVNs      = 16
	sgxPCESVN    = 17
	maxSVN       = 255
	maxPCESVN    = 65535
	sgxLastKnown = 18 // CPUSVN, which says the same again
)

// An sgxExtension is one member of the SGX extensions.
type sgxExtension struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

func badPCK(what string) error {
	return verdict.Refuse(verdict.EndorsementMalformed, "parsing PCK certificate: %s", what)
}

// parsePCK reads the SGX extensions of a PCK certificate. Members that are not
// known are passed over: Intel adds some.
func parsePCK(c *x509.Certificate) (PCK, error) {
	raw, err := extension(c, oidSGX)
	if err != nil {
		return PCK{}, badPCK("it has no SGX extensions")
	}
	var members []sgxExtension
	if rest, err := asn1.Unmarshal(raw, &members); err != nil || len(rest) != 0 {
		return PCK{}, badPCK("the SGX extensions are no sequence")
	}
	var p PCK
	seen := map[string]bool{}
	for _, m := range members {
		id := m.ID.String()
		if seen[id] {
			return PCK{}, badPCK("an SGX extension is there twice")
		}
		seen[id] = true
		var into []byte
		switch {
		case m.ID.Equal(oidSGXPPID):
			into = p.PPID[:]
		case m.ID.Equal(oidSGXPCEID):
			into = p.PCEID[:]
		case m.ID.Equal(oidSGXFMSPC):
			into = p.FMSPC[:]
		case m.ID.Equal(oidSGXTCB):
			if err := p.readTCB(m.Value.FullBytes); err != nil {
				return PCK{}, err
			}
			continue
		default:
			continue
		}
		var value []byte
		if rest, err := asn1.Unmarshal(m.Value.FullBytes, &value); err != nil || len(rest) != 0 || len(value) != len(into) {
			return PCK{}, badPCK("an SGX extension has another form")
		}
		copy(into, value)
	}
	for _, id := range []asn1.ObjectIdentifier{oidSGXPPID, oidSGXTCB, oidSGXPCEID, oidSGXFMSPC} {
		if !seen[id.String()] {
			return PCK{}, badPCK("an SGX extension is missing")
		}
	}
	return p, nil
}

// Extension encodes p as the SGX extension of a certificate, as simulators and the
// builders of tests need it. Who issued the certificate is not in it.
func (p PCK) Extension() (pkix.Extension, error) {
	member := func(oid asn1.ObjectIdentifier, value any) (sgxExtension, error) {
		der, err := asn1.Marshal(value)
		return sgxExtension{oid, asn1.RawValue{FullBytes: der}}, err
	}
	var tcb, members []sgxExtension
	var errs []error
	add := func(into *[]sgxExtension, oid asn1.ObjectIdentifier, value any) {
		m, err := member(oid, value)
		*into, errs = append(*into, m), append(errs, err)
	}
	number := func(i int) asn1.ObjectIdentifier { return append(slices.Clone(oidSGXTCB), i) }
	for i, n := range p.SVN {
		add(&tcb, number(i+1), int(n))
	}
	add(&tcb, number(sgxPCESVN), int(p.PCESVN))
	add(&tcb, number(sgxLastKnown), p.SVN[:])
	add(&members, oidSGXPPID, p.PPID[:])
	add(&members, oidSGXTCB, tcb)
	add(&members, oidSGXPCEID, p.PCEID[:])
	add(&members, oidSGXFMSPC, p.FMSPC[:])
	add(&members, oidSGXType, asn1.Enumerated(1))
	der, err := asn1.Marshal(members)
	if err := errors.Join(append(errs, err)...); err != nil {
		return pkix.Extension{}, fmt.Errorf("encoding PCK: %w", err)
	}
	return pkix.Extension{Id: oidSGX, Value: der}, nil
}

func (p *PCK) readTCB(der []byte) error {
	var members []sgxExtension
	if rest, err := asn1.Unmarshal(der, &members); err != nil || len(rest) != 0 {
		return badPCK("the TCB is no sequence")
	}
	seen := map[int]bool{}
	for _, m := range members {
		if len(m.ID) != len(oidSGXTCB)+1 || !m.ID[:len(oidSGXTCB)].Equal(oidSGXTCB) {
			return badPCK("the TCB has a member of another kind")
		}
		i := m.ID[len(oidSGXTCB)]
		if i < 1 || i > sgxLastKnown || seen[i] {
			return badPCK("the TCB has a member twice, or one that is not known")
		}
		seen[i] = true
		if i > sgxPCESVN {
			continue
		}
		var n int
		limit := maxSVN
		if i == sgxPCESVN {
			limit = maxPCESVN
		}
		if rest, err := asn1.Unmarshal(m.Value.FullBytes, &n); err != nil || len(rest) != 0 || n < 0 || n > limit {
			return badPCK("a number of the TCB is out of range")
		}
		if i == sgxPCESVN {
			p.PCESVN = uint16(n)
		} else {
			p.SVN[i-1] = uint8(n)
		}
	}
	for i := 1; i <= sgxPCESVN; i++ {
		if !seen[i] {
			return badPCK("a number of the TCB is missing")
		}
	}
	return nil
}

// pemChain reads a chain in PEM, and nothing beside it.
func pemChain(what string, data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxIntelChainPEM {
		return nil, verdict.Refuse(verdict.EvidenceLimit, "parsing %s: %d bytes, want at most %d", what, len(data), maxIntelChainPEM)
	}
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		// Decode passes over what stands before a block, a damaged block too.
		all, begin := rest, []byte("-----BEGIN")
		begun := bytes.HasPrefix(all, begin)
		if block, rest = pem.Decode(rest); block == nil || !begun || bytes.Count(all[:len(all)-len(rest)], begin) != 1 || block.Type != "CERTIFICATE" || len(out) == maxIntelChain {
			return nil, verdict.Refuse(verdict.EndorsementMalformed, "parsing %s: it is no chain of at most %d certificates in PEM", what, maxIntelChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, verdict.Refuse(verdict.EndorsementMalformed, "parsing %s: %w", what, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, verdict.Fail(verdict.EndorsementMissing, "verifying %s: there is no certificate", what)
	}
	return out, nil
}

// An intelChain is a leaf that a pinned root vouches for.
type intelChain struct {
	leaf, ca *x509.Certificate // ca is the root itself where it issued the leaf
}

// verifyIntel walks from the leaf, the first of certs, to the pinned root. A root
// that comes along is passed over: that it is there says nothing.
func verifyIntel(what, leafName string, caNames []string, certs []*x509.Certificate, root *x509.Certificate, at time.Time) (intelChain, error) {
	refuse := func(format string, args ...any) (intelChain, error) {
		return intelChain{}, verdict.Refuse(verdict.EndorsementUntrusted, "verifying "+what+": "+format, args...)
	}
	leaf, issuer := certs[0], root
	if len(caNames) > 0 {
		i := slices.IndexFunc(certs[1:], func(c *x509.Certificate) bool { return slices.Contains(caNames, c.Subject.CommonName) })
		if i < 0 {
			return refuse("no certificate of %s comes with it", caNames[0])
		}
		issuer = certs[1+i]
		if err := checkIntel(what, issuer, root, true, at); err != nil {
			return intelChain{}, err
		}
	}
	if err := checkValidity(root, nameIntelRoot, at); err != nil {
		return intelChain{}, err
	}
	if leaf.Subject.CommonName != leafName {
		return refuse("the first certificate is of %s, want %s", quoteShort(leaf.Subject.CommonName), leafName)
	}
	return intelChain{leaf, issuer}, checkIntel(what, leaf, issuer, false, at)
}

// checkIntel checks one certificate: P-256, signed by the issuer, valid at the time.
func checkIntel(what string, c, issuer *x509.Certificate, ca bool, at time.Time) error {
	refuse := func(format string, args ...any) error {
		return verdict.Refuse(verdict.EndorsementUntrusted, "verifying "+what+": %s "+format, append([]any{quoteShort(c.Subject.CommonName)}, args...)...)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return refuse("has no P-256 key")
	}
	if len(c.UnhandledCriticalExtensions) > 0 {
		return refuse("has an unknown critical extension")
	}
	if c.IsCA != ca || ca && c.KeyUsage&x509.KeyUsageCertSign == 0 || !ca && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return refuse("may not be used for this")
	}
	if !bytes.Equal(c.RawIssuer, issuer.RawSubject) || c.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return refuse("is not issued by %s", quoteShort(issuer.Subject.CommonName))
	}
	if err := issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return refuse("is not signed by %s", quoteShort(issuer.Subject.CommonName))
	}
	return checkValidity(c, c.Subject.CommonName, at)
}

// p256 reads x and y. The error says that it is no point of the curve.
func p256(xy []byte) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, xy...))
}

// verifyP256 verifies r and s over a message.
func verifyP256(key *ecdsa.PublicKey, message, rs []byte) bool {
	sum := sha256.Sum256(message)
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(rs[:32]), new(big.Int).SetBytes(rs[32:64]))
}

// verify checks that a platform under the root signed the quoting enclave's report,
// the enclave its attestation key, and the key the quote.
func (q *TDXQuote) verify(root *x509.Certificate, at time.Time) (pck PCK, chain intelChain, err error) {
	certs, err := pemChain("PCK chain", q.pckChain)
	if err != nil {
		return PCK{}, intelChain{}, err
	}
	if chain, err = verifyIntel("PCK chain", namePCK, []string{namePlatformCA, nameProcessorCA}, certs, root, at); err != nil {
		return PCK{}, intelChain{}, err
	}
	if pck, err = parsePCK(chain.leaf); err != nil {
		return PCK{}, intelChain{}, err
	}
	pck.ProcessorCA = chain.ca.Subject.CommonName == nameProcessorCA
	refuse := func(text string) (PCK, intelChain, error) {
		return PCK{}, intelChain{}, verdict.Refuse(verdict.EvidenceSignature, "verifying TDX quote: %s", text)
	}
	key, ok := chain.leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !verifyP256(key, q.qeReport, q.qeSigned) {
		return refuse("the quoting enclave's report is not signed by the PCK")
	}
	sum := sha256.Sum256(append(slices.Clone(q.key), q.qeAuthData...))
	if want := [64]byte(append(sum[:], make([]byte, 32)...)); q.readQE().reportData != want {
		return refuse("the quoting enclave's report is about another attestation key")
	}
	attestation, err := p256(q.key)
	if err != nil {
		return refuse("the attestation key is no point of P-256")
	}
	if !verifyP256(attestation, q.signed, q.signature) {
		return refuse("it is not signed by the attestation key")
	}
	return pck, chain, nil
}
