// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
)

// gceInstance is Google's extension of a certificate of an instance.
type gceInstance struct {
	Zone          string `asn1:"utf8"`
	ProjectNumber *big.Int
	ProjectID     string `asn1:"utf8"`
	ID            *big.Int
	Name          string `asn1:"utf8"`
	Properties    struct {
		Production bool `asn1:"explicit,tag:1"`
	} `asn1:"explicit,tag:0"`
}

// A cloudCA certifies attestation keys as Google does.
type cloudCA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newCloudCA(t *testing.T) cloudCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "EK/AK CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return cloudCA{certify(t, template, template, key, &key.PublicKey), key}
}

func certify(t *testing.T, template, parent *x509.Certificate, key *ecdsa.PrivateKey, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certify makes the certificate of an attestation key.
func (ca cloudCA) certify(t *testing.T, public *tpm2.TPMTPublic) []byte {
	t.Helper()
	key, err := tpm2.Pub(*public)
	if err != nil {
		t.Fatal(err)
	}
	of := gceInstance{Zone: "us-central1-a", ProjectNumber: big.NewInt(1), ProjectID: "acme", ID: big.NewInt(2), Name: "vm"}
	of.Properties.Production = true
	value, err := asn1.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	return certify(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
		ExtraExtensions:    []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}, Value: value}},
	}, ca.certificate, ca.key, key).Raw
}

// eccTemplate is the template of an attestation key on P-256, which like Google's has
// something in it that makes it another key than others'.
func eccTemplate(t *testing.T) tpm2.TPMTPublic {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := attesttest.AKPublic(t, &key.PublicKey)
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: []byte("an instance")}})
	return template
}

// TestGCE: the TPM of an instance of Compute Engine brings an attestation key that Google
// certified, which quotes, and which needs neither endorsement key nor activation.
func TestGCE(t *testing.T) {
	ca := newCloudCA(t)
	for name, tt := range map[string]struct {
		template              tpm2.TPMTPublic
		atCertificate, atMade tpm2.TPMHandle
		noEK                  bool
	}{
		"P-256":                        {eccTemplate(t), 0x01C10002, 0x01C10003, false},
		"RSA":                          {attesttest.AKTemplate(t), 0x01C10000, 0x01C10001, false},
		"without an endorsement key's": {eccTemplate(t), 0x01C10002, 0x01C10003, true},
	} {
		t.Run(name, func(t *testing.T) {
			tpm, config := startTPM(t)
			withTPM(t, tpm, func(conn transport.TPM) {
				attesttest.WriteNV(t, conn, tt.atMade, tpm2.Marshal(tt.template))
				attesttest.WriteNV(t, conn, tt.atCertificate, ca.certify(t, attesttest.Primary(t, conn, tpm2.TPMRHEndorsement, tt.template, 0)))
				if tt.noEK {
					hideEK(t, conn)
				}
			})
			pcr11 := measured(t, tpm)
			a := open(t, config)
			statement, nonce := now(t), attesttest.Nonce(9)
			if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
				t.Fatal(err)
			}
			collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), nonce[:])
			if err != nil {
				t.Fatal(err)
			}
			in := inputFor(t, tpm, pcr11, nonce)
			authorities := in.Trust.EKCAs
			in.Trust.EKCAs, in.Trust.AKCAs, in.Trust.GCE = nil, []*x509.Certificate{ca.certificate}, &attest.GCEInstance{ProjectID: "acme"}
			if needed, err := attest.ActivationNeeded(collection, in); err != nil || needed {
				t.Errorf("activation needed: %t, %v", needed, err)
			}
			got, err := attest.Appraise(collection, in, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got.GCE == nil || got.GCE.Name != "vm" || got.Binding != attest.BindingCA || got.Claims.Hardware != attest.NoClaim || len(got.Events) != 1 {
				t.Errorf("got %+v of %+v", got, got.GCE)
			}
			in.Trust.GCE = &attest.GCEInstance{ProjectID: "another"}
			if _, err := attest.Appraise(collection, in, time.Now()); verdict.CodeOf(err) != verdict.TPMAK {
				t.Errorf("another's instance: got %v, want %s", err, verdict.TPMAK)
			}
			in.Trust.GCE, in.Trust.AKCAs = nil, []*x509.Certificate{newCloudCA(t).certificate}
			if _, err := attest.Appraise(collection, in, time.Now()); verdict.CodeOf(err) != verdict.EndorsementUntrusted {
				t.Errorf("another authority: got %v, want %s", err, verdict.EndorsementUntrusted)
			}
			// Who trusts the maker of the TPM proves the same key as that of any other.
			in.Trust.AKCAs, in.Trust.EKCAs = nil, authorities
			if tt.noEK {
				if _, err := a.ActivateCredential(t.Context(), nil, nil); verdict.CodeOf(err) != verdict.EvidenceKind {
					t.Errorf("activation without an endorsement key: got %v", err)
				}
				return
			}
			in.Known = []attest.KnownAK{activate(t, a, collection)}
			if _, err := attest.Appraise(collection, in, time.Now()); err != nil {
				t.Errorf("by the endorsement key: %v", err)
			}
		})
	}
}

// hideEK takes the certificates of endorsement keys out of NV memory, as far as there
// are some. Those of swtpm belong to the platform.
func hideEK(t *testing.T, tpm transport.TPM) {
	t.Helper()
	for _, index := range []tpm2.TPMHandle{0x01C00002, 0x01C0000A, 0x01C00016} {
		public, err := tpm2.NVReadPublic{NVIndex: index}.Execute(tpm)
		if err != nil {
			continue
		}
		must[*tpm2.NVUndefineSpaceResponse](t)(tpm2.NVUndefineSpace{
			AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}, NVIndex: tpm2.NamedHandle{Handle: index, Name: public.NVName},
		}.Execute(tpm))
	}
}

// TestGCEKeyRefused: what does not belong together is told at the start.
func TestGCEKeyRefused(t *testing.T) {
	ca := newCloudCA(t)
	for name, tt := range map[string]struct {
		template, certificate func(t *testing.T, tpm transport.TPM) []byte
		text                  string
	}{
		"another key's certificate": {nil, func(t *testing.T, tpm transport.TPM) []byte {
			other := eccTemplate(t)
			other.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: []byte("another")}})
			return ca.certify(t, attesttest.Primary(t, tpm, tpm2.TPMRHEndorsement, other, 0))
		}, "attestation key certificate is for another key"},
		"a certificate of no form": {nil, func(*testing.T, transport.TPM) []byte { return []byte("x") }, "parsing attestation key certificate"},
		"a template of no form":    {func(*testing.T, transport.TPM) []byte { return []byte("x") }, nil, "parsing attestation key template"},
	} {
		t.Run(name, func(t *testing.T) {
			tpm, config := startTPM(t)
			withTPM(t, tpm, func(conn transport.TPM) {
				template := eccTemplate(t)
				encoded, certificate := tpm2.Marshal(template), ca.certify(t, attesttest.Primary(t, conn, tpm2.TPMRHEndorsement, template, 0))
				if tt.template != nil {
					encoded = tt.template(t, conn)
				}
				if tt.certificate != nil {
					certificate = tt.certificate(t, conn)
				}
				attesttest.WriteNV(t, conn, 0x01C10003, encoded)
				attesttest.WriteNV(t, conn, 0x01C10002, certificate)
			})
			if _, err := enclave.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q", err, tt.text)
			}
		})
	}
}

// TestGCEKeyHalf: a certificate without a template, or the reverse, is no key of
// Google's, and the TPM is like any other.
func TestGCEKeyHalf(t *testing.T) {
	for _, index := range []tpm2.TPMHandle{0x01C10000, 0x01C10003} {
		tpm, config := startTPM(t)
		withTPM(t, tpm, func(conn transport.TPM) { attesttest.WriteNV(t, conn, index, []byte("x")) })
		collection := once(t, config, attesttest.Nonce(1))
		c, err := attest.ParseCollection(collection)
		if err != nil {
			t.Fatal(err)
		}
		items := c.Items[attest.LabelEndorsements].Nested.Items
		if _, ok := items[attest.LabelAKCertificate]; ok || items[attest.LabelEKPublic].Value == nil {
			t.Errorf("got the labels of %v", items)
		}
	}
}
