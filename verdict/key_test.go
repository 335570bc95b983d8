// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// The key of RFC 9449 §4.1, whose RFC 7638 thumbprint stands in §6.1.
var rfcKey = verdict.JWK{
	Crv: "P-256", Kty: "EC", Use: verdict.UseTicket, Kid: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
	X: "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", Y: "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
}

func TestThumbprint(t *testing.T) {
	pub, err := rfcKey.PublicKey(verdict.UseTicket)
	if err != nil {
		t.Fatal(err)
	}
	got, err := verdict.NewJWK(pub, verdict.UseTicket)
	if err != nil {
		t.Fatal(err)
	}
	if got != rfcKey {
		t.Errorf("got %+v, want %+v", got, rfcKey)
	}
}

func TestPublicKey(t *testing.T) {
	tests := []struct {
		name   string
		change func(k *verdict.JWK)
		want   string
	}{
		{"other key type", func(k *verdict.JWK) { k.Kty = "RSA" }, "key type"},
		{"symmetric key", func(k *verdict.JWK) { k.Kty = "oct" }, "key type"},
		{"other curve", func(k *verdict.JWK) { k.Crv = "P-384" }, "key type"},
		{"other use", func(k *verdict.JWK) { k.Use = verdict.UseVerdict }, "key use"},
		{"no use", func(k *verdict.JWK) { k.Use = "" }, "key use"},
		{"kid of another key", func(k *verdict.JWK) { k.Kid = "A" + k.Kid[1:] }, "thumbprint"},
		{"no kid", func(k *verdict.JWK) { k.Kid = "" }, "thumbprint"},
		{"short coordinate", func(k *verdict.JWK) { k.X = k.X[:40] }, "coordinates"},
		{"long coordinate", func(k *verdict.JWK) { k.Y += "AAAA" }, "coordinates"},
		{"padded coordinate", func(k *verdict.JWK) { k.X += "=" }, "coordinates"},
		{"base64 of another alphabet", func(k *verdict.JWK) { k.X = strings.ReplaceAll(k.X, "-", "+") }, "coordinates"},
		{"unused bits set", func(k *verdict.JWK) { k.X = k.X[:len(k.X)-1] + "t" }, "coordinates"},
		{"line end in a coordinate", func(k *verdict.JWK) { k.X = k.X[:4] + "\n" + k.X[4:] }, "coordinates"},
		{"carriage return in a coordinate", func(k *verdict.JWK) { k.Y += "\r" }, "coordinates"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := rfcKey
			tt.change(&k)
			pub, err := k.PublicKey(verdict.UseTicket)
			if err == nil || pub != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want %q", pub, err, tt.want)
			}
		})
	}
}

// TestPointOffCurve gives a right kid for a point that is not on P-256.
func TestPointOffCurve(t *testing.T) {
	k := rfcKey
	k.X, k.Y = k.Y, k.X
	k.Kid = rfc7638(t, k)
	if pub, err := k.PublicKey(verdict.UseTicket); err == nil || !strings.Contains(err.Error(), "not a point") {
		t.Errorf("got %v, %v, want a refusal of the point", pub, err)
	}
	k.X, k.Y = b64.EncodeToString(make([]byte, 32)), b64.EncodeToString(make([]byte, 32))
	k.Kid = rfc7638(t, k)
	if pub, err := k.PublicKey(verdict.UseTicket); err == nil || !strings.Contains(err.Error(), "not a point") {
		t.Errorf("got %v, %v for zeros, want a refusal of the point", pub, err)
	}
}

func rfc7638(t *testing.T, k verdict.JWK) string {
	t.Helper()
	sum, ok := verdict.SHA256([]byte(`{"crv":"` + k.Crv + `","kty":"` + k.Kty + `","x":"` + k.X + `","y":"` + k.Y + `"}`)).Bytes()
	if !ok {
		t.Fatal("got no digest")
	}
	return b64.EncodeToString(sum[:])
}

// A signer answers as an HSM that the test makes up.
type signer struct {
	pub crypto.PublicKey
	sig []byte
}

func (s signer) Public() crypto.PublicKey { return s.pub }
func (s signer) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return s.sig, nil
}

func TestNewKey(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := verdict.NewKey(p384, verdict.UseTicket); err == nil || k != nil {
		t.Errorf("got %v, %v for P-384, want an error", k, err)
	}
	if k, err := verdict.NewKey(signer{pub: "x"}, verdict.UseTicket); err == nil || k != nil {
		t.Errorf("got %v, %v for a string, want an error", k, err)
	}
	w := newWorld(t)
	for name, sig := range map[string][]byte{
		"not ASN.1": {1, 2, 3}, "empty": {}, "negative": {0x30, 6, 2, 1, 0xff, 2, 1, 1}, "trailing": {0x30, 6, 2, 1, 1, 2, 1, 1, 0},
		"too long": append([]byte{0x30, 39, 2, 34}, append(bytes.Repeat([]byte{1}, 34), 2, 1, 1)...),
	} {
		k, err := verdict.NewKey(signer{w.ticketKey.priv.Public(), sig}, verdict.UseTicket)
		if err != nil {
			t.Fatal(err)
		}
		if token, err := verdict.SignTicket(w.ticket, k); err == nil || token != "" {
			t.Errorf("%s: got %q, %v from a broken signer, want an error", name, token, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	k := newPair(t, verdict.UseOwner)
	pkcs8, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(k.priv)
	if err != nil {
		t.Fatal(err)
	}
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	for name, data := range map[string][]byte{"PKCS #8": pkcs8, "SEC 1": sec1, "empty line at the end": append(slices.Clip(pkcs8), "\n"...)} {
		got, err := verdict.ParseKey(data, verdict.UseOwner)
		if err != nil || got.JWK() != k.JWK() {
			t.Errorf("%s: got %v, %v, want the key", name, got, err)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	agreement, err := x509.MarshalPKCS8PrivateKey(x25519)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"a key that does not sign": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: agreement}),
		"nothing":                  nil, "text": []byte("key"), "two blocks": append(slices.Clip(pkcs8), pkcs8...), "garbage": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"P-384": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: other}),
	} {
		if got, err := verdict.ParseKey(data, verdict.UseOwner); err == nil || got != nil {
			t.Errorf("%s: got %v, %v, want an error", name, got, err)
		}
	}
	hsm, err := verdict.NewKey(signer{pub: k.priv.Public()}, verdict.UseOwner)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := hsm.PEM(); err == nil || out != nil {
		t.Errorf("got %s, %v for a key in a device, want an error", out, err)
	}
}

func TestParsePublicKey(t *testing.T) {
	k := newPair(t, verdict.UseOwner).JWK()
	data, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := verdict.ParsePublicKey(append([]byte(" \n"), append(data, " \n"...)...), verdict.UseOwner); err != nil || got != k {
		t.Errorf("got %v, %v, want %v", got, err, k)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(p384.Public())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	for name, bad := range map[string][]byte{
		"nothing": nil, "two": append(slices.Clip(data), data...), "other label": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes}),
		"P-384": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "garbage": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
	} {
		if got, err := verdict.ParsePublicKey(bad, verdict.UseOwner); err == nil || got != (verdict.JWK{}) {
			t.Errorf("%s: got %v, %v, want an error and nothing", name, got, err)
		}
	}
	k.Kid = "x"
	if out, err := k.PEM(); err == nil || out != nil {
		t.Errorf("got %s, %v for a wrong kid, want an error", out, err)
	}
}

func FuzzParseKey(f *testing.F) {
	data, err := rfcKey.PEM()
	if err != nil {
		f.Fatal(err)
	}
	inputs := fuzz.New(f, []byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"), data)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(bytes.HasPrefix(data, []byte("-----BEGIN")))
		if k, err := verdict.ParsePublicKey(data, verdict.UseOwner); err == nil {
			if again, err := k.PEM(); err != nil {
				t.Fatalf("got %v, want what was parsed to be written: %s", err, again)
			}
		} else if k != (verdict.JWK{}) {
			t.Fatalf("got %v with an error, want nothing", k)
		}
		if k, err := verdict.ParseKey(data, verdict.UseOwner); err != nil && k != nil {
			t.Fatalf("got %v with an error, want nothing", k)
		}
	})
}

// TestLowS shows why nothing is named by the hash of its signature: (r, n−s)
// verifies as well.
func TestLowS(t *testing.T) {
	w := newWorld(t)
	token := sign(t, w.ticket, w.ticketKey)
	dot := strings.LastIndexByte(token, '.')
	raw, err := b64.DecodeString(token[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(raw[32:]))
	s.FillBytes(raw[32:])
	got, err := verdict.CheckTicket(token[:dot+1]+b64.EncodeToString(raw), w.check(t))
	if err != nil || got.Jti != w.ticket.Jti {
		t.Errorf("got %v, want the other signature to verify", err)
	}
}
