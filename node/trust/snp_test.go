// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// fullSNP sets every key of tee.snp that goes with others, and says what they mean.
func fullSNP() (trust.SNP, attest.SNPTrust) {
	repeat := func(b string, n int) string { return strings.Repeat(b, n) }
	chip, turin, idKey, authorKey, family, image, host := [64]byte{}, [64]byte{}, [48]byte{}, [48]byte{}, [16]byte{}, [16]byte{}, [32]byte{}
	for _, f := range []struct {
		into []byte
		b    byte
	}{{chip[:], 0xA1}, {turin[:8], 0xA2}, {idKey[:], 0xB1}, {authorKey[:], 0xB2}, {family[:], 0xC1}, {image[:], 0xC2}, {host[:], 0xD1}} {
		for i := range f.into {
			f.into[i] = f.b
		}
	}
	return trust.SNP{
			Signers: []string{"vcek", "vlek"}, CSPIDs: []string{"CN=cloud"}, Chips: []string{repeat("a1", 64), repeat("a2", 8)},
			MinTCBOf:    map[string]trust.TCB{"Milan": {Bootloader: 4, SNP: 24, Microcode: 219}},
			MinFirmware: "1.55.29", RequirePlatform: []string{"tsme", "rapl-disabled", "ciphertext-hiding"},
			RequireLaunchMitigations: []uint32{0, 63}, RequireCurrentMitigations: []uint32{1},
			MinABI: "1.51", RequirePolicy: []string{"single-socket", "aes-256-xts", "rapl-disabled", "ciphertext-hiding", "no-page-swap"},
			IDKeys: []string{repeat("b1", 48)}, AuthorKeys: []string{repeat("b2", 48)}, FamilyID: repeat("c1", 16), ImageID: repeat("c2", 16), MinGuestSVN: 3,
			HostData:                 []string{repeat("d1", 32)},
			AllowProvisionalFirmware: true, AllowNoECC: true, AllowNoAliasCheck: true, AllowTIO: true, AllowCXL: true,
		}, attest.SNPTrust{
			Signers: []attest.SNPSigner{attest.SNPVCEK, attest.SNPVLEK}, CSPIDs: []string{"CN=cloud"}, Chips: [][64]byte{chip, turin},
			MinTCBOf:                 map[attest.ProductLine]attest.TCB{attest.Milan: {Bootloader: 4, SNP: 24, Microcode: 219}},
			MinFirmware:              attest.SNPFirmware{Major: 1, Minor: 55, Build: 29},
			RequirePlatform:          attest.SNPPlatformTSME | attest.SNPPlatformRAPLDisabled | attest.SNPPlatformCiphertextHiding,
			RequireLaunchMitigations: 1<<63 | 1, RequireCurrentMitigations: 2, MinABI: attest.SNPABI{Major: 1, Minor: 51},
			RequirePolicy: attest.SNPPolicySingleSocket | attest.SNPPolicyAES256XTS | attest.SNPPolicyRAPLDisabled | attest.SNPPolicyCiphertextHiding | attest.SNPPolicyNoPageSwap,
			IDKeys:        [][48]byte{idKey}, AuthorKeys: [][48]byte{authorKey}, FamilyID: &family, ImageID: &image, MinGuestSVN: 3, HostData: [][32]byte{host},
			AllowProvisionalFirmware: true, AllowNoECC: true, AllowNoAliasCheck: true, AllowTIO: true, AllowCXL: true,
		}
}

// snpConfig accepts real SNP with these demands.
func snpConfig(t testing.TB, s trust.SNP) trust.Config {
	t.Helper()
	c := good(t)
	c.Profile, c.AllowUnwitnessed = verdict.Production, false
	c.TEE = trust.TEE{Kinds: []string{"snp"}, SNPProducts: []string{"Milan"}, SNP: s}
	return c
}

// TestSNPConfig holds that each key reaches package attest: with all of them set no
// field is left as it was, but for those that exclude others.
func TestSNPConfig(t *testing.T) {
	full, want := fullSNP()
	data, err := snpConfig(t, full).Encode()
	if err != nil {
		t.Fatal(err)
	}
	c, err := trust.Parse("trust.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	got, err := c.Trust()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.SNP); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
	alone := map[string]trust.SNP{
		"HostDataIsConfig": {HostDataIsConfig: true, AllowAnyChip: true}, "AllowAnyChip": {AllowAnyChip: true},
		"AllowAnyCSP": {Signers: []string{"vlek"}, AllowAnyCSP: true, AllowAnyChip: true},
	}
	value := reflect.ValueOf(got.SNP)
	for field := range value.Type().Fields() {
		s, excludes := alone[field.Name]
		if set := !value.FieldByIndex(field.Index).IsZero(); set == excludes {
			t.Errorf("%s: set %t by all keys, and excludes others: %t", field.Name, set, excludes)
		}
		if !excludes {
			continue
		}
		got, err := snpConfig(t, s).Trust()
		if err != nil || reflect.ValueOf(got.SNP).FieldByIndex(field.Index).IsZero() {
			t.Errorf("%s: got %+v, %v", field.Name, got.SNP, err)
		}
	}
}

func TestSNPConfigMisuse(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*trust.SNP)
		text   string
	}{
		{"no chip", func(s *trust.SNP) { s.Chips = nil }, "tee.snp: no chip is accepted"},
		{"a chip of another length", func(s *trust.SNP) { s.Chips[0] = "a1" }, "snp.chips: got"},
		{"a chip of no hex", func(s *trust.SNP) { s.Chips[1] = strings.Repeat("x", 16) }, "snp.chips: got"},
		{"an unknown signer", func(s *trust.SNP) { s.Signers[0] = "vkek" }, "unknown signer"},
		{"VLEKs of nobody", func(s *trust.SNP) { s.CSPIDs = nil }, "no provider"},
		{"a floor of another line", func(s *trust.SNP) { s.MinTCBOf["Genoa"] = trust.TCB{SNP: 1} }, "no root is trusted"},
		{"firmware of two numbers", func(s *trust.SNP) { s.MinFirmware = "1.55" }, "snp.min-firmware: got"},
		{"firmware of a large number", func(s *trust.SNP) { s.MinFirmware = "1.55.256" }, "snp.min-firmware: got"},
		{"ABI of a letter", func(s *trust.SNP) { s.MinABI = "1.x" }, "snp.min-abi: got"},
		{"an unknown property", func(s *trust.SNP) { s.RequirePlatform[0] = "smt" }, `snp.require-platform: there is no "smt"`},
		{"an unknown restriction", func(s *trust.SNP) { s.RequirePolicy[0] = "debug" }, `snp.require-policy: there is no "debug"`},
		{"mitigation 64", func(s *trust.SNP) { s.RequireLaunchMitigations[0] = 64 }, "snp.require-launch-mitigations: got 64"},
		{"running mitigation 64", func(s *trust.SNP) { s.RequireCurrentMitigations[0] = 64 }, "snp.require-current-mitigations: got 64"},
		{"a short ID key", func(s *trust.SNP) { s.IDKeys[0] = "b1" }, "snp.id-keys: got"},
		{"a short author key", func(s *trust.SNP) { s.AuthorKeys[0] = "b1" }, "snp.author-keys: got"},
		{"a short family", func(s *trust.SNP) { s.FamilyID = "c1" }, "snp.family-id: got"},
		{"a short image", func(s *trust.SNP) { s.ImageID = "c1" }, "snp.image-id: got"},
		{"a family without key", func(s *trust.SNP) { s.IDKeys, s.AuthorKeys = nil, nil }, "no key of one"},
		{"short host data", func(s *trust.SNP) { s.HostData[0] = "d1" }, "snp.host-data: got"},
		{"two host data", func(s *trust.SNP) { s.HostDataIsConfig = true }, "HOST_DATA"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := fullSNP()
			test.change(&s)
			_, err := snpConfig(t, s).Encode()
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want a misuse with %q", err, test.text)
			}
		})
	}
	t.Run("demands of a kind that is not accepted", func(t *testing.T) {
		c := good(t)
		c.TEE = trust.TEE{Kinds: []string{"tpm"}, EKCAs: []string{caPEM(t)}, SNP: trust.SNP{AllowNoECC: true}}
		if _, err := c.Encode(); err == nil || !strings.Contains(err.Error(), "tee.snp: given") {
			t.Errorf("got %v", err)
		}
	})
}
