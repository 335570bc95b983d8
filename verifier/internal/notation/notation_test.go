// SPDX-License-Identifier: Apache-2.0

package notation_test

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
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/notaryproject/notation-core-go/signature"
	_ "github.com/notaryproject/notation-core-go/signature/cose"
	_ "github.com/notaryproject/notation-core-go/signature/jws"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/dertest"
	"github.com/assayd/assay/verifier/internal/notation"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// A signer has a certificate of a root.
type signer struct {
	t          *testing.T
	root, leaf *x509.Certificate
	rootKey    *ecdsa.PrivateKey
	key        *ecdsa.PrivateKey
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	s := &signer{t: t}
	for _, k := range []**ecdsa.PrivateKey{&s.rootKey, &s.key} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		*k = key
	}
	name := func(cn string) pkix.Name {
		return pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"acme"}, CommonName: cn}
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name("root"), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	s.root = s.issue(ca, ca, s.rootKey.Public())
	s.leaf = s.issue(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: name("release"), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}, s.root, s.key.Public())
	return s
}

func (s *signer) issue(c, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	s.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, s.rootKey)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// payload is about an image.
var payload = `{"targetArtifact":{"digest":"sha256:` + strings.Repeat("a", 64) + `","mediaType":"application/vnd.oci.image.manifest.v1+json","size":1}}`

func (s *signer) sign(mediaType, payload string) []byte {
	s.t.Helper()
	local, err := signature.NewLocalSigner([]*x509.Certificate{s.leaf, s.root}, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	env, err := signature.NewEnvelope(mediaType)
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := env.Sign(&signature.SignRequest{Payload: signature.Payload{ContentType: "application/vnd.cncf.notary.payload.v1+json", Content: []byte(payload)},
		Signer: local, SigningTime: now, SigningScheme: signature.SigningSchemeX509})
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// TestParse: an envelope, and one change to it.
func TestParse(t *testing.T) {
	s := newSigner(t)
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := s.issue(&x509.Certificate{SerialNumber: big.NewInt(3), Subject: s.leaf.Subject, NotBefore: s.leaf.NotBefore, NotAfter: s.leaf.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature}, s.root, edPublic)
	other := s.issue(&x509.Certificate{SerialNumber: big.NewInt(4), Subject: s.leaf.Subject, NotBefore: s.leaf.NotBefore, NotAfter: s.leaf.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, s.root, s.key.Public())
	chain := func(certs ...*x509.Certificate) func([]byte) []byte {
		return func(data []byte) []byte {
			var env map[string]any
			if err := json.Unmarshal(data, &env); err != nil {
				t.Fatal(err)
			}
			var x5c [][]byte
			for _, c := range certs {
				x5c = append(x5c, c.Raw)
			}
			env["header"] = map[string]any{"x5c": x5c}
			out, err := json.Marshal(env)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	many := make([]*x509.Certificate, notation.MaxChain+1)
	for i := range many {
		many[i] = s.root
	}
	replace := func(old, by string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(by), 1) }
	}
	for name, tt := range map[string]struct {
		old, by string // in the payload
		change  func([]byte) []byte
		code    verdict.Code
		text    string
	}{
		"good":                 {},
		"large":                {change: func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), notation.MaxBytes)...) }, code: verdict.InputLimit, text: "want at most"},
		"a member twice":       {change: replace(`{"payload"`, `{"payload":"","payload"`), code: verdict.InputMalformed, text: "duplicate member"},
		"another form":         {change: replace(`"payload":"`, `"payload":1,"x":"`), code: verdict.InputMalformed, text: "flattened form"},
		"no base64url":         {change: replace(`"protected":"`, `"protected":"=`), code: verdict.InputMalformed, text: "not base64url"},
		"no text as signature": {change: replace(`"signature":"`, `"signature":1,"x":"`), code: verdict.InputMalformed, text: "cannot unmarshal number"},
		"a header of no JSON":  {change: replace(`"protected":"`, `"protected":"AAAA`), code: verdict.InputMalformed, text: "want one JSON document"},
		"no certificate":       {change: chain(), code: verdict.InputMalformed, text: "0 certificates"},
		"many certificates":    {change: chain(many...), code: verdict.InputMalformed, text: "too many certificates"},
		"a key not allowed":    {change: chain(ed, s.root), code: verdict.SigAlgorithm, text: "reading notation envelope"},
		"another use":          {change: chain(other, s.root), code: verdict.CertProfile, text: "reading notation envelope"},
		"no JSON":              {old: payload, by: "x", code: verdict.InputMalformed, text: "reading notation payload: want one JSON document"},
		"a target twice":       {old: `{"targetArtifact"`, by: `{"targetArtifact":{},"targetArtifact"`, code: verdict.InputMalformed, text: "duplicate member"},
		"no target":            {old: "targetArtifact", by: "TargetArtifact", code: verdict.InputMalformed, text: "no targetArtifact"},
		"a size that is none":  {old: `"size":1`, by: `"size":"1"`, code: verdict.InputMalformed, text: `member "size"`},
		"a negative size":      {old: `"size":1`, by: `"size":-1`, code: verdict.InputMalformed, text: "missing or wrong"},
		"no media type":        {old: `"mediaType":"application/vnd.oci.image.manifest.v1+json"`, by: `"mediaType":""`, code: verdict.InputMalformed, text: "missing or wrong"},
		"no digest":            {old: `sha256:`, by: `sha257:`, code: verdict.InputMalformed, text: "missing or wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			// JWS has its payload read by the signer already.
			p, mediaType := payload, notation.TypeJWS
			if tt.old != "" {
				mediaType = notation.TypeCOSE
				if p = strings.Replace(payload, tt.old, tt.by, 1); p == payload {
					t.Fatal("nothing to change")
				}
			}
			data := s.sign(mediaType, p)
			if tt.change != nil {
				data = tt.change(data)
			}
			e, err := notation.Parse(mediaType, data)
			if verdict.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v, want %s with %q", err, tt.code, tt.text)
			}
			if err != nil {
				return
			}
			if _, err := e.Verify(notation.Trust{CAs: []*x509.Certificate{s.root}}); err != nil {
				t.Errorf("the good one: %v", err)
			}
			if _, err := e.Verify(notation.Trust{CAs: []*x509.Certificate{s.root}, RequireTimestamp: true}); verdict.CodeOf(err) != verdict.TimeUnproven {
				t.Errorf("without a timestamp: got %v", err)
			}
			if _, err := e.Verify(notation.Trust{}); verdict.CodeOf(err) != verdict.CertUntrusted {
				t.Errorf("trusting nobody: got %v", err)
			}
		})
	}
	if _, err := notation.Parse("application/json", nil); verdict.CodeOf(err) != verdict.InputUnsupported {
		t.Errorf("of another media type: got %v", err)
	}
	if _, err := notation.Parse(notation.TypeCOSE, s.sign(notation.TypeCOSE, payload)); err != nil {
		t.Errorf("as COSE: %v", err)
	}
	if _, err := notation.Parse(notation.TypeCOSE, []byte("x")); verdict.CodeOf(err) != verdict.InputMalformed {
		t.Errorf("no COSE: got %v", err)
	}
}

// TestStamp: an envelope with a timestamp, and one change to that.
func TestStamp(t *testing.T) {
	s := newSigner(t)
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	authority := func(change func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(5), Subject: s.leaf.Subject, NotBefore: s.leaf.NotBefore, NotAfter: s.leaf.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}}
		if change != nil {
			change(c)
		}
		return s.issue(c, s.root, s.key.Public())
	}
	for name, tt := range map[string]struct {
		authority *x509.Certificate // nil is a good one
		before    func(*timestamp.Timestamp)
		after     func(*dertest.Node)
		trusted   *x509.Certificate // nil is the root
		text      string            // "" is none
	}{
		"good":                   {},
		"no timestamp":           {after: func(n *dertest.Node) { n.Children = nil }, text: "cms: syntax error"},
		"many certificates":      {after: func(n *dertest.Node) { c := n.At(1, 0, 3); c.Children = slices.Repeat(c.Children, notation.MaxChain+1) }, text: "too many certificates"},
		"no time in it":          {after: func(n *dertest.Node) { n.At(1, 0, 2, 1, 0).Content = []byte{5, 0} }, text: "cannot unmarshal TSTInfo"},
		"of something else":      {before: func(ts *timestamp.Timestamp) { ts.HashedMessage = make([]byte, 32) }, text: "mismatched message"},
		"another signature":      {after: func(n *dertest.Node) { n.At(1, 0, 4, 0, 5).Content[8]++ }, text: "cms verification failure"},
		"of another authority":   {trusted: newSigner(t).root, text: "unknown authority"},
		"with a key for nothing": {authority: authority(func(c *x509.Certificate) { c.KeyUsage = 0 }), text: "key usage extension must be present"},
	} {
		t.Run(name, func(t *testing.T) {
			var env map[string]any
			if err := json.Unmarshal(s.sign(notation.TypeJWS, payload), &env); err != nil {
				t.Fatal(err)
			}
			sig, err := base64.RawURLEncoding.DecodeString(env["signature"].(string)) //nolint:forcetypeassert // made above
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(sig)
			ts := &timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: now, Policy: asn1.ObjectIdentifier{1, 2, 3}, SerialNumber: big.NewInt(1), AddTSACertificate: true}
			if tt.before != nil {
				tt.before(ts)
			}
			if tt.authority == nil {
				tt.authority = authority(nil)
			}
			response, err := ts.CreateResponseWithOpts(tt.authority, s.key, crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			token := dertest.Parse(t, response).At(1)
			if tt.after != nil {
				tt.after(token)
			}
			env["header"].(map[string]any)["io.cncf.notary.timestampSignature"] = token.DER(t) //nolint:forcetypeassert // made above
			data, err := json.Marshal(env)
			if err != nil {
				t.Fatal(err)
			}
			e, err := notation.Parse(notation.TypeJWS, data)
			if err != nil {
				t.Fatal(err)
			}
			trust := notation.Trust{CAs: []*x509.Certificate{s.root}, TSAs: []*x509.Certificate{s.root}, RequireTimestamp: true}
			if tt.trusted != nil {
				trust.TSAs = []*x509.Certificate{tt.trusted}
			}
			got, err := e.Verify(trust)
			switch {
			case tt.text == "" && (err != nil || len(got.Times) != 2 || !got.Times[0].Equal(now)):
				t.Errorf("got %+v, %v, want its time", got, err)
			case tt.text != "" && (verdict.CodeOf(err) != verdict.TimeUntrusted || !strings.Contains(err.Error(), tt.text)):
				t.Errorf("got %v, want %s with %q", err, verdict.TimeUntrusted, tt.text)
			}
		})
	}
}
