// SPDX-License-Identifier: Apache-2.0

package sct_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/assayd/assay/verifier/internal/sct"
)

var (
	signedAt = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	another  = pkix.Extension{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Value: []byte{5, 0}}
)

// A spec is one embedded timestamp, and what is wrong with it.
type spec struct {
	version, hash, alg byte
	at                 time.Time
	extensions         []byte
	key                crypto.Signer // signs; nil is the log's
	listed             crypto.Signer // whose ID is in it; nil is the log's
	signature          func([]byte)
	issuer             *x509.Certificate // whose key is signed
}

// A world is an issuer and a log.
type world struct {
	t         testing.TB
	issuer    *x509.Certificate
	issuerKey *ecdsa.PrivateKey
	log       crypto.Signer
}

func newWorld(t testing.TB, log crypto.Signer) *world {
	t.Helper()
	w := &world{t: t, log: log, issuerKey: p256(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: signedAt.AddDate(-1, 0, 0), NotAfter: signedAt.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	w.issuer = w.issue(template, template, w.issuerKey.Public())
	return w
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) issue(template, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	w.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, w.issuerKey)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func keyID(t testing.TB, pub crypto.PublicKey) [sha256.Size]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(der)
}

// template is a leaf's, with its key.
func (w *world) template() *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: signedAt, NotAfter: signedAt.Add(10 * time.Minute), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, SubjectKeyId: []byte{1}, ExtraExtensions: []pkix.Extension{another}}
}

// one makes a timestamp over a certificate that has none yet.
func (w *world) one(tbs []byte, s spec) []byte {
	w.t.Helper()
	key, listed, issuer := s.key, s.listed, s.issuer
	if key == nil {
		key = w.log
	}
	if listed == nil {
		listed = w.log
	}
	if issuer == nil {
		issuer = w.issuer
	}
	issuerKey := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	var signed cryptobyte.Builder
	signed.AddUint8(0)
	signed.AddUint8(0)
	signed.AddUint64(uint64(s.at.UnixMilli()))
	signed.AddUint16(1)
	signed.AddBytes(issuerKey[:])
	signed.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
	signed.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.extensions) })
	sum := sha256.Sum256(signed.BytesOrPanic())
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.signature != nil {
		s.signature(sig)
	}
	id := keyID(w.t, listed.Public())
	var b cryptobyte.Builder
	b.AddUint8(s.version)
	b.AddBytes(id[:])
	b.AddUint64(uint64(s.at.UnixMilli()))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.extensions) })
	b.AddUint8(s.hash)
	b.AddUint8(s.alg)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sig) })
	return b.BytesOrPanic()
}

func list(entries ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, e := range entries {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e) })
		}
	})
	return b.BytesOrPanic()
}

func octets(data []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddBytes(data) })
	return b.BytesOrPanic()
}

// leaf issues a certificate with the timestamps that make returns, given the
// certificate as it is without them.
func (w *world) leaf(value func(tbs []byte) []byte) *x509.Certificate {
	w.t.Helper()
	key := p256(w.t)
	t := w.template()
	t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: sct.OID, Value: value(w.issue(t, w.issuer, key.Public()).RawTBSCertificate)})
	return w.issue(t, w.issuer, key.Public())
}

func (w *world) logs() map[[sha256.Size]byte]sct.Log {
	return map[[sha256.Size]byte]sct.Log{keyID(w.t, w.log.Public()): {Key: w.log.Public(), From: signedAt.Add(-time.Hour), To: signedAt.Add(time.Hour)}}
}

// library is what sigstore-go says.
type library struct {
	root.BaseTrustedMaterial
	logs map[string]*root.TransparencyLog
}

func (l *library) CTLogs() map[string]*root.TransparencyLog { return l.logs }

func byLibrary(leaf, issuer *x509.Certificate, logs map[[sha256.Size]byte]sct.Log) error {
	l := &library{logs: make(map[string]*root.TransparencyLog)}
	for id, log := range logs {
		l.logs[hex.EncodeToString(id[:])] = &root.TransparencyLog{PublicKey: log.Key, ValidityPeriodStart: log.From, ValidityPeriodEnd: log.To}
	}
	return verify.VerifySignedCertificateTimestamp([][]*x509.Certificate{{leaf, issuer}}, 1, l)
}

func TestVerify(t *testing.T) {
	ec := newWorld(t, p256(t))
	good := spec{hash: 4, alg: 3, at: signedAt}
	change := func(f func(*spec)) spec {
		s := good
		f(&s)
		return s
	}
	other := p256(t)
	with := func(w *world, specs ...spec) func([]byte) []byte {
		return func(tbs []byte) []byte {
			var all [][]byte
			for _, s := range specs {
				all = append(all, w.one(tbs, s))
			}
			return octets(list(all...))
		}
	}
	many := make([]spec, sct.MaxTimestamps+1)
	for i := range many {
		many[i] = good
	}
	for _, tt := range []struct {
		name  string
		value func([]byte) []byte
		want  string
	}{
		{"good", with(ec, good), ""},
		{"with extensions", with(ec, change(func(s *spec) { s.extensions = []byte{1, 2} })), ""},
		{"the second one of two", with(ec, change(func(s *spec) { s.listed = other }), good), ""},
		{"the second one, after one that does not verify", with(ec, change(func(s *spec) { s.key = other }), good), ""},
		{"at the beginning of the window", with(ec, change(func(s *spec) { s.at = signedAt.Add(-time.Hour) })), ""},
		{"at the end of the window", with(ec, change(func(s *spec) { s.at = signedAt.Add(time.Hour) })), ""},
		{"before the window", with(ec, change(func(s *spec) { s.at = signedAt.Add(-time.Hour - time.Millisecond) })), "outside the window"},
		{"after the window", with(ec, change(func(s *spec) { s.at = signedAt.Add(time.Hour + time.Millisecond) })), "outside the window"},
		{"by another key", with(ec, change(func(s *spec) { s.key = other })), "does not verify"},
		{"of another log", with(ec, change(func(s *spec) { s.listed = other })), "of a listed log"},
		{"for another issuer", with(ec, change(func(s *spec) { s.issuer = newWorld(t, other).issuer })), "does not verify"},
		{"one bit of the signature", with(ec, change(func(s *spec) { s.signature = func(b []byte) { b[len(b)-1] ^= 1 } })), "does not verify"},
		{"version 2", with(ec, change(func(s *spec) { s.version = 1 })), "version 1"},
		{"over SHA-384", with(ec, change(func(s *spec) { s.hash = 5 })), "want SHA-256"},
		{"called RSA", with(ec, change(func(s *spec) { s.alg = 1 })), "of another kind"},
		{"after the year 9999", with(ec, change(func(s *spec) { s.at = time.UnixMilli(253402300800000) })), "not readable"},
		{"too many", with(ec, many...), "list of timestamps is not readable"},
		{"none in the list", func([]byte) []byte { return octets(list()) }, "list of timestamps is not readable"},
		{"an empty one in the list", func(tbs []byte) []byte { return octets(list(ec.one(tbs, good), nil)) }, "list of timestamps is not readable"},
		{"a byte after one", func(tbs []byte) []byte { return octets(list(append(ec.one(tbs, good), 0))) }, "a timestamp is not readable"},
		{"a byte after the list", func(tbs []byte) []byte { return octets(append(list(ec.one(tbs, good)), 0)) }, "list of timestamps is not readable"},
		{"a byte after the octets", func(tbs []byte) []byte { return append(octets(list(ec.one(tbs, good))), 0) }, "list of timestamps is not readable"},
		{"no octets", func(tbs []byte) []byte { return list(ec.one(tbs, good)) }, "list of timestamps is not readable"},
		{"over another certificate", func([]byte) []byte {
			return octets(list(ec.one(ec.issue(ec.template(), ec.issuer, other.Public()).RawTBSCertificate, good)))
		}, "does not verify"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leaf := ec.leaf(tt.value)
			err := sct.Verify(leaf, ec.issuer, ec.logs())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if theirs := byLibrary(leaf, ec.issuer, ec.logs()); err == nil && theirs != nil {
				t.Errorf("the library refuses it: %v", theirs)
			}
		})
	}
	leaf := ec.issue(ec.template(), ec.issuer, other.Public())
	if err := sct.Verify(leaf, ec.issuer, ec.logs()); !errors.Is(err, sct.ErrMissing) {
		t.Errorf("without timestamps: got %v, want %v", err, sct.ErrMissing)
	}
}

// TestLogKeys: RFC 6962 §2.1.4 allows two kinds of keys.
func TestLogKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		log  crypto.Signer
		alg  byte
		want string
	}{
		{"P-256", p256(t), 3, ""},
		{"RSA", rsaKey, 1, ""},
		{"RSA called ECDSA", rsaKey, 3, "of another kind"},
		{"P-384", p384, 3, "another curve"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.log)
			leaf := w.leaf(func(tbs []byte) []byte {
				return octets(list(w.one(tbs, spec{hash: 4, alg: tt.alg, at: signedAt})))
			})
			err := sct.Verify(leaf, w.issuer, w.logs())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if theirs := byLibrary(leaf, w.issuer, w.logs()); (err == nil) != (theirs == nil) {
				t.Errorf("got %v, and of the library %v", err, theirs)
			}
		})
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	byOther := newWorld(t, rsaKey)
	forged := byOther.leaf(func(tbs []byte) []byte {
		return octets(list(byOther.one(tbs, spec{hash: 4, alg: 1, at: signedAt, key: other})))
	})
	if err := sct.Verify(forged, byOther.issuer, byOther.logs()); err == nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("by another RSA key: got %v", err)
	}
	w := newWorld(t, p256(t))
	leaf := w.leaf(func(tbs []byte) []byte { return octets(list(w.one(tbs, spec{hash: 4, alg: 3, at: signedAt}))) })
	short := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2046, 1), E: 65537}
	for name, key := range map[string]crypto.PublicKey{"fewer": short, "want ECDSA or RSA": "no key"} {
		logs := map[[sha256.Size]byte]sct.Log{keyID(t, w.log.Public()): {Key: key}}
		if err := sct.Verify(leaf, w.issuer, logs); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}

// FuzzAgainstLibrary: whatever the extension has in it, what is accepted here the
// library accepts.
func FuzzAgainstLibrary(f *testing.F) {
	w := newWorld(f, p256(f))
	key := p256(f)
	bare := w.template()
	one := w.one(w.issue(bare, w.issuer, key.Public()).RawTBSCertificate, spec{hash: 4, alg: 3, at: signedAt, extensions: []byte{7}})
	value := octets(list(one))
	f.Add(uint16(0), byte(0), []byte(nil))
	f.Add(uint16(len(value)-1), byte(1), []byte(nil))
	f.Add(uint16(0), byte(0), octets(list(one, one)))
	f.Fuzz(func(t *testing.T, at uint16, flip byte, whole []byte) {
		data := append([]byte(nil), value...)
		data[int(at)%len(data)] ^= flip
		if len(whole) > 0 {
			data = whole
		}
		w := *w
		w.t = t
		c := w.template()
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: sct.OID, Value: data})
		leaf := w.issue(c, w.issuer, key.Public())
		err := sct.Verify(leaf, w.issuer, w.logs())
		if theirs := byLibrary(leaf, w.issuer, w.logs()); err == nil && theirs != nil {
			t.Fatalf("%x is accepted, and the library says %v", data, theirs)
		}
		if err != nil && len(whole) == 0 && flip == 0 {
			t.Fatalf("the good one is refused: %v", err)
		}
	})
}
