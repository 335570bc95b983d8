// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto/rsa"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/assayd/assay/attest"
)

// Where Azure's paravisor has its report and the attestation key.
const (
	AzureReportIndex tpm2.TPMHandle = 0x01400001
	AzureAKHandle    tpm2.TPMHandle = 0x81000003
)

// azureNVSize is the size of the NV index of reports of 2023, and the largest that
// swtpm has.
const azureNVSize = 2048

// maxNVWrite is how much one TPM2_NV_Write of any TPM takes.
const maxNVWrite = 512

// Must returns a function that wants a command of a TPM to succeed.
func Must[R any](t testing.TB) func(R, error) R {
	t.Helper()
	return func(r R, err error) R {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

var ownerAuth = tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}

// AKTemplate is that of a restricted signing key of RSA, as clouds have them.
func AKTemplate(t testing.TB) tpm2.TPMTPublic {
	t.Helper()
	template := RSAPublic(t, azureAK)
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	return template
}

// Primary makes a primary key of a TPM, and keeps it at a handle unless that is zero.
func Primary(t testing.TB, tpm transport.TPM, hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic, keep tpm2.TPMHandle) *tpm2.TPMTPublic {
	t.Helper()
	made := Must[*tpm2.CreatePrimaryResponse](t)(tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(template),
	}.Execute(tpm))
	if keep != 0 {
		Must[*tpm2.EvictControlResponse](t)(tpm2.EvictControl{
			Auth: ownerAuth, ObjectHandle: &tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name}, PersistentHandle: keep,
		}.Execute(tpm))
	}
	Must[*tpm2.FlushContextResponse](t)(tpm2.FlushContext{FlushHandle: made.ObjectHandle}.Execute(tpm))
	return Must[*tpm2.TPMTPublic](t)(made.OutPublic.Contents())
}

// WriteNV puts data into an NV index of a TPM, which is made anew.
func WriteNV(t testing.TB, tpm transport.TPM, index tpm2.TPMHandle, data []byte) {
	t.Helper()
	if public, err := (tpm2.NVReadPublic{NVIndex: index}).Execute(tpm); err == nil {
		Must[*tpm2.NVUndefineSpaceResponse](t)(tpm2.NVUndefineSpace{AuthHandle: ownerAuth, NVIndex: tpm2.NamedHandle{Handle: index, Name: public.NVName}}.Execute(tpm))
	}
	Must[*tpm2.NVDefineSpaceResponse](t)(tpm2.NVDefineSpace{AuthHandle: ownerAuth, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true},
		DataSize: uint16(len(data)), //nolint:gosec // a test's
	})}.Execute(tpm))
	for offset := 0; offset < len(data); offset += maxNVWrite {
		public := Must[*tpm2.NVReadPublicResponse](t)(tpm2.NVReadPublic{NVIndex: index}.Execute(tpm))
		Must[*tpm2.NVWriteResponse](t)(tpm2.NVWrite{
			AuthHandle: ownerAuth, NVIndex: tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: data[offset:min(offset+maxNVWrite, len(data))]}, Offset: uint16(offset),
		}.Execute(tpm))
	}
}

// SetUp makes a TPM that of the paravisor: z names the TPM's own attestation key, and
// its report, after change, is in NV memory. It returns the collection of which that
// report is a part; the quote in it is of nobody.
func (z *Azure) SetUp(t testing.TB, tpm transport.TPM, change func(*Azure)) attest.Collection {
	t.Helper()
	key, err := tpm2.Pub(*Primary(t, tpm, tpm2.TPMRHEndorsement, AKTemplate(t), AzureAKHandle))
	if err != nil {
		t.Fatalf("reading attestation key: %v", err)
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		t.Fatalf("the attestation key is a %T", key)
	}
	// As in reports of 2023: those of today do not fit into swtpm.
	z.Data["keys"] = []any{JWKOf("HCLAkPub", public)}
	delete(z.Data, "user-data")
	if change != nil {
		change(z)
	}
	c := z.Collection(t)
	report := c.Items[attest.LabelEvidence].Nested.Items[attest.LabelHCLReport].Value
	WriteNV(t, tpm, AzureReportIndex, append(slices.Clip(report), make([]byte, azureNVSize-len(report))...))
	return c
}
