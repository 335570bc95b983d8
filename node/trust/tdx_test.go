// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/x509"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// fullTDX sets every key of tee.tdx that goes with others, and says what they mean.
func fullTDX() (trust.TDX, attest.TDXTrust) {
	ppid, module := [16]byte{}, [48]byte{}
	config := map[string][48]byte{}
	for name, b := range map[string]byte{"MRCONFIGID": 0xC1, "MROWNER": 0xC2, "MROWNERCONFIG": 0xC3} {
		var value [48]byte
		for i := range value {
			value[i] = b
		}
		config[name] = value
	}
	for i := range ppid {
		ppid[i] = 0xA1
	}
	for i := range module {
		module[i] = 0xB1
	}
	repeat := strings.Repeat
	return trust.TDX{
			Root: "intel", AcceptStatus: []string{"SWHardeningNeeded"}, Advisories: []string{"INTEL-SA-00837"}, MinEvaluation: 17,
			Platforms: []string{repeat("a1", 16)}, Modules: []string{repeat("b1", 48)},
			MRConfigID: repeat("c1", 48), MROwner: repeat("c2", 48), MROwnerConfig: repeat("c3", 48),
			AllowNoCollateral: true, AllowNoCRL: true, AllowDebug: true, AllowMigratable: true, AllowProfiling: true, AllowSeptVE: true,
			AllowAttributes: []uint32{8, 62}, AllowXFAM: []uint32{19},
		}, attest.TDXTrust{
			Root: attest.IntelRoot(), AcceptStatus: []attest.TDXStatus{attest.TDXSWHardeningNeeded}, Advisories: []string{"INTEL-SA-00837"}, MinEvaluation: 17,
			Platforms: [][16]byte{ppid}, Modules: [][48]byte{module}, Config: config,
			AllowNoCollateral: true, AllowNoCRL: true, AllowDebug: true, AllowMigratable: true, AllowProfiling: true, AllowSeptVE: true,
			AllowAttributes: 1<<8 | 1<<62, AllowXFAM: 1 << 19,
		}
}

// tdxConfig accepts real TDX with these demands.
func tdxConfig(t testing.TB, x trust.TDX) trust.Config {
	t.Helper()
	c := good(t)
	c.Profile, c.AllowUnwitnessed = verdict.Production, false
	c.TEE = trust.TEE{Kinds: []string{"tdx"}, TDX: x}
	return c
}

// TestTDXConfig holds that each key reaches package attest: with all of them set no
// field is left as it was, but for those that exclude others.
func TestTDXConfig(t *testing.T) {
	full, want := fullTDX()
	data, err := tdxConfig(t, full).Encode()
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
	if diff := cmp.Diff(want, got.TDX, cmp.Comparer((*x509.Certificate).Equal)); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
	alone := map[string]trust.TDX{
		"AllowAnyPlatform": {Root: "intel", AllowAnyPlatform: true},
		"AnyAdvisory":      {Root: "intel", AllowAnyPlatform: true, AcceptStatus: []string{"OutOfDate"}, AnyAdvisory: true},
	}
	value := reflect.ValueOf(got.TDX)
	for field := range value.Type().Fields() {
		x, excludes := alone[field.Name]
		if set := !value.FieldByIndex(field.Index).IsZero(); set == excludes {
			t.Errorf("%s: set %t by all keys, and excludes others: %t", field.Name, set, excludes)
		}
		if !excludes {
			continue
		}
		got, err := tdxConfig(t, x).Trust()
		if err != nil || reflect.ValueOf(got.TDX).FieldByIndex(field.Index).IsZero() {
			t.Errorf("%s: got %+v, %v", field.Name, got.TDX, err)
		}
	}
}

func TestTDXConfigMisuse(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*trust.TDX)
		text   string
	}{
		{"no root", func(x *trust.TDX) { x.Root = "" }, "tee.tdx.root: none"},
		{"another root", func(x *trust.TDX) { x.Root = "amd" }, `tdx.root: got "amd"`},
		{"attribute 64", func(x *trust.TDX) { x.AllowAttributes[0] = 64 }, "tdx.allow-attributes: got 64"},
		{"an attribute that is known", func(x *trust.TDX) { x.AllowAttributes[0] = 0 }, "has a relaxation of its own"},
		{"feature 64", func(x *trust.TDX) { x.AllowXFAM[0] = 64 }, "tdx.allow-xfam: got 64"},
		{"a feature that is known", func(x *trust.TDX) { x.AllowXFAM[0] = 9 }, "a bit of XFAM is allowed that is known"},
		{"no platform", func(x *trust.TDX) { x.Platforms = nil }, "tee.tdx: no platform is accepted"},
		{"a short platform", func(x *trust.TDX) { x.Platforms[0] = "a1" }, "tdx.platforms: got"},
		{"any platform beside some", func(x *trust.TDX) { x.AllowAnyPlatform = true }, "any is allowed"},
		{"a short module", func(x *trust.TDX) { x.Modules[0] = "b1" }, "tdx.modules: got"},
		{"a short MRCONFIGID", func(x *trust.TDX) { x.MRConfigID = "c1" }, "tdx.mr-config-id: got"},
		{"a short MROWNER", func(x *trust.TDX) { x.MROwner = "c1" }, "tdx.mr-owner: got"},
		{"MROWNERCONFIG of no hex", func(x *trust.TDX) { x.MROwnerConfig = strings.Repeat("x", 96) }, "tdx.mr-owner-config: got"},
		{"an unknown status", func(x *trust.TDX) { x.AcceptStatus[0] = "Fine" }, "tee.tdx: a status is accepted"},
		{"any advisory beside some", func(x *trust.TDX) { x.AnyAdvisory = true }, "any is accepted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x, _ := fullTDX()
			test.change(&x)
			_, err := tdxConfig(t, x).Encode()
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want a misuse with %q", err, test.text)
			}
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
				t.Errorf("got %T, want a misuse", err)
			}
		})
	}
	t.Run("demands of a kind that is not accepted", func(t *testing.T) {
		c := good(t)
		c.TEE = trust.TEE{Kinds: []string{"tpm"}, EKCAs: []string{caPEM(t)}, TDX: trust.TDX{AllowDebug: true}}
		if _, err := c.Encode(); err == nil || !strings.Contains(err.Error(), "tee.tdx: given") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a root of a kind that is not accepted", func(t *testing.T) {
		c := good(t)
		c.TEE.TDX.Root = "intel"
		if _, err := c.Encode(); err == nil || !strings.Contains(err.Error(), "tee.tdx.root: given, and kind azure-tdx or tdx is not accepted") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the simulator's demands", func(t *testing.T) {
		c := good(t)
		c.TEE = trust.TEE{Kinds: []string{"sim-tdx"}, SimulatorRoots: c.TEE.SimulatorRoots, TDX: trust.TDX{MinEvaluation: 3}}
		got, err := c.Trust()
		if err != nil || got.TDX.MinEvaluation != 3 || got.TDX.Root != nil {
			t.Errorf("got %+v, %v", got.TDX, err)
		}
		if _, err := c.Encode(); err != nil {
			t.Error(err)
		}
	})
}
