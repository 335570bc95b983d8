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

// fullGCE sets every key of tee.gce, and says what they mean.
func fullGCE() (trust.GCE, attest.GCEInstance) {
	return trust.GCE{ProjectID: "acme-prod", ProjectNumber: "117478743145", Zone: "us-central1-a", InstanceID: "18446744073709551615", InstanceName: "assayd-1"},
		attest.GCEInstance{ProjectID: "acme-prod", ProjectNumber: 117478743145, Zone: "us-central1-a", ID: 1<<64 - 1, Name: "assayd-1"}
}

// TestTEEConfig holds that each field of attest.Trust has a key: with all that go
// together set none is left as it was.
func TestTEEConfig(t *testing.T) {
	gce, wantGCE := fullGCE()
	snp, _ := fullSNP()
	tdx, _ := fullTDX()
	c := good(t)
	c.Profile, c.AllowUnwitnessed = verdict.Production, false
	c.TEE = trust.TEE{
		Kinds: []string{"snp", "tdx", "tpm", "azure-snp"}, SNPProducts: []string{"Milan"}, AKCAs: []string{caPEM(t)}, GCE: &gce, MinTCB: trust.TCB{SNP: 1}, SNP: snp, TDX: tdx,
		Azure:      trust.Azure{RequireSecureBoot: true},
		AllowDebug: true, AllowMigratable: true, AllowSMT: true, AllowVMPLs: []uint32{2}, AllowMaskedChipID: true, AllowNoCRL: true, AllowNoFloor: true, AllowUnsafeClock: true,
	}
	for field := range reflect.ValueOf(c.TEE).Type().Fields() {
		if excludes := field.Name == "SimulatorRoots" || field.Name == "EKCAs"; reflect.ValueOf(c.TEE).FieldByIndex(field.Index).IsZero() != excludes {
			t.Errorf("key of %s: excludes others %t, and is set otherwise", field.Name, excludes)
		}
	}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := trust.Parse("trust.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	got, err := parsed.Trust()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&wantGCE, got.GCE); diff != "" {
		t.Errorf("GCE differs (-want +got):\n%s", diff)
	}
	if len(got.AKCAs) != 2 || !got.AKCAs[1].Equal(attest.GCERoot()) {
		t.Errorf("got %d authorities of attestation keys, want the one that is named and Google's", len(got.AKCAs))
	}
	simulator := good(t)
	simulator.TEE.AllowSMT = true
	onlyEK := good(t)
	onlyEK.TEE = trust.TEE{Kinds: []string{"tpm"}, EKCAs: []string{caPEM(t)}}
	alone := map[string]trust.Config{"SimulatorRoots": simulator, "AllowDevelopment": simulator, "EKCAs": onlyEK}
	for field := range reflect.TypeFor[attest.Trust]().Fields() {
		other, excludes := alone[field.Name]
		if set := !reflect.ValueOf(got).FieldByIndex(field.Index).IsZero(); set == excludes {
			t.Errorf("%s: set %t by all keys, and excludes others: %t", field.Name, set, excludes)
		}
		if !excludes {
			continue
		}
		got, err := other.Trust()
		if err != nil || reflect.ValueOf(got).FieldByIndex(field.Index).IsZero() {
			t.Errorf("%s: got %+v, %v", field.Name, got, err)
		}
	}
	// Each key of tee.gce reaches its field.
	for field := range reflect.TypeFor[attest.GCEInstance]().Fields() {
		if reflect.ValueOf(*got.GCE).FieldByIndex(field.Index).IsZero() {
			t.Errorf("GCE.%s: no key sets it", field.Name)
		}
	}
}

func TestGCEConfigMisuse(t *testing.T) {
	for name, tt := range map[string]struct {
		tee  trust.TEE
		text string
	}{
		"anybody's":            {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{Zone: "us-central1-a", InstanceName: "assayd-1"}}, "tee.gce: an instance of Compute Engine is demanded, and neither"},
		"nothing":              {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{}}, "tee.gce: an instance of Compute Engine is demanded, and neither"},
		"of another kind":      {trust.TEE{Kinds: []string{"snp"}, SNPProducts: []string{"Milan"}, SNP: trust.SNP{AllowAnyChip: true}, GCE: &trust.GCE{ProjectID: "acme"}}, "kind tpm is not accepted"},
		"beside ek-cas":        {trust.TEE{Kinds: []string{"tpm"}, EKCAs: []string{caPEM(t)}, GCE: &trust.GCE{ProjectID: "acme"}}, "tee.ek-cas: given beside tee.gce"},
		"a number with a zero": {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{ProjectNumber: "01"}}, "gce.project-number: got"},
		"number 0":             {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{ProjectID: "acme", InstanceID: "0"}}, "gce.instance-id: got"},
		"a long number":        {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{InstanceID: "18446744073709551616"}}, "gce.instance-id: got"},
		"good, by project":     {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{ProjectID: "acme"}}, ""},
		"good, by the project": {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{ProjectNumber: "1"}}, ""},
		"good, by instance":    {trust.TEE{Kinds: []string{"tpm"}, GCE: &trust.GCE{InstanceID: "1"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := good(t)
			c.TEE = tt.tee
			_, err := c.Encode()
			if tt.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want a misuse with %q", err, tt.text)
			}
		})
	}
	c := good(t)
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{"{project: acme}": `unknown key "project"`, "{project-number: 117478743145}": "project-number"} {
		text := strings.Replace(string(data), "tee:\n", "tee:\n  gce: "+line+"\n", 1)
		if _, err := trust.Parse("trust.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
}
