// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
)

// looked are the claims that assay makes.
var looked = []string{"configuration", "executables", "hardware", "instance-identity", "runtime-opaque"}

// TestReasons: of what is accepted each claim has its reason, and so has one that is not
// made.
func TestReasons(t *testing.T) {
	appraised := func(collection []byte, in attest.Input) attest.Result {
		t.Helper()
		got, err := attest.Appraise(collection, in, attesttest.At)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	s, snp := goodSNP(t, attest.SNP)
	d, td := goodTD(t, attest.TDX)
	p, tpm := goodTPM(t)
	z, azure := goodAzure(t, "snp")
	v, svsm := goodSVSM(t)
	sim, simulated := goodSNP(t, attest.SimulatedSNP)
	open, debug := goodSNP(t, attest.SNP)
	open.Report.Policy |= attest.SNPPolicyDebug | attest.SNPPolicySMT
	debug.Trust.AllowDebug, debug.Trust.AllowSMT = true, true
	any, chips := goodSNP(t, attest.SNP)
	chips.Trust.SNP.Chips, chips.Trust.SNP.AllowAnyChip = nil, true
	hidden, host := "hidden from its host by the hardware", "what the guest permits its host, and the digest of its configuration, are as demanded"
	genuine, chip := "genuine, neither revoked nor below a floor that is set", "the chip is one that is named"
	started := `what was started is that of the reference entry "` + snp.References.Entries[0].Name + `"`
	for name, tt := range map[string]struct {
		result attest.Result
		tier   attest.Claim
		want   map[string]string
	}{
		"SNP": {appraised(s.Bytes(t), snp), attest.Affirming, map[string]string{"instance-identity": chip, "configuration": host, "executables": started, "hardware": genuine, "runtime-opaque": hidden}},
		"SNP with an SVSM": {appraised(v.Bytes(t), svsm), attest.Affirming, map[string]string{
			"instance-identity": chip, "configuration": host, "executables": started, "hardware": genuine, "runtime-opaque": hidden}},
		"TDX": {appraised(d.Bytes(), td), attest.Affirming, map[string]string{"instance-identity": chip, "configuration": host, "executables": started, "hardware": genuine, "runtime-opaque": hidden}},
		"TPM": {appraised(p.Bytes(t), tpm), attest.Warning, map[string]string{
			"instance-identity": "an accepted authority certified a key of the TPM", "configuration": "registers and the configuration's digest are as demanded", "executables": started,
			"hardware": "whoever runs the TPM, which may be the host, can say what he likes", "runtime-opaque": "isolated from its neighbours, and not hidden from its host"}},
		"Azure": {appraised(z.Bytes(t), azure), attest.Affirming, map[string]string{
			"instance-identity": "the machine, as the paravisor calls it, is one that is named", "configuration": host, "executables": started, "hardware": genuine,
			"runtime-opaque": hidden + ", and not from the paravisor"}},
		"a simulator": {appraised(sim.Bytes(t), simulated), attest.Affirming, map[string]string{
			"instance-identity": "a simulator is no machine", "configuration": host, "executables": started, "hardware": "nothing but a simulator vouches for it", "runtime-opaque": "a simulator hides nothing"}},
		"a debugged guest": {appraised(open.Bytes(t), debug), attest.Contraindicated, map[string]string{
			"instance-identity": chip, "configuration": host + "; relaxed by allow-debug, allow-smt", "executables": started, "hardware": genuine,
			"runtime-opaque": "the hardware lets its host read it; relaxed by allow-debug"}},
		"any chip": {appraised(any.Bytes(t), chips), attest.Affirming, map[string]string{
			"instance-identity": "none is named that it has to be", "configuration": host, "executables": started, "hardware": genuine, "runtime-opaque": hidden}},
	} {
		r := tt.result
		if diff := cmp.Diff(tt.want, r.Claims.Reasons(r.Grounds())); diff != "" || r.Claims.Status() != tt.tier {
			t.Errorf("%s: status %s, want %s; reasons (-want +got):\n%s", name, r.Claims.Status(), tt.tier, diff)
		}
	}
	old := attest.Grounds{Kind: attest.TDX, Status: attest.TDXOutOfDate, Advisories: []string{"INTEL-SA-1"}, Relaxed: []string{"accept-status"}}
	if got, want := (attest.Claims{Hardware: attest.Warning}).Reasons(old)["hardware"], "genuine, and Intel calls it OutOfDate (\"INTEL-SA-1\"); relaxed by accept-status"; got != want {
		t.Errorf("an old platform: got %q, want %q", got, want)
	}
	// Nothing is affirmed under any paravisor, nor of a policy without demands.
	for kind, want := range map[attest.Kind]map[string]string{
		attest.AzureTDX: {"configuration": "no paravisor is named", "hardware": "no paravisor is named", "runtime-opaque": "no paravisor is named", "executables": "no measurement is named"},
		attest.TPM:      {"configuration": "there is no statement"},
	} {
		got := attest.Claims{}.Reasons(attest.Grounds{Kind: kind})
		for claim, text := range want {
			if !strings.HasPrefix(got[claim], text) {
				t.Errorf("%s, %s: got %q, want %q", kind, claim, got[claim], text)
			}
		}
	}
}

// TestRelaxationsLower: each relaxation by name says what it leaves, and one without a
// row leaves nothing.
func TestRelaxationsLower(t *testing.T) {
	for _, kind := range []attest.Kind{attest.SNP, attest.TDX} {
		for _, name := range append(attest.RelaxationNames(kind), "unheard-of") {
			c := attest.Lowered(kind, attest.Claims{Configuration: attest.Affirming, Hardware: attest.Affirming, RuntimeOpaque: attest.Affirming}, name)
			told := c.Reasons(attest.Grounds{Kind: kind, Relaxed: []string{name}})
			if diff := cmp.Diff(looked, slices.Sorted(maps.Keys(told))); diff != "" {
				t.Errorf("%s, %s: reasons (-want +got):\n%s", kind, name, diff)
			}
			for claim, tier := range c.All() {
				if tier > attest.Affirming && name != "unheard-of" && !strings.HasSuffix(told[claim], "; relaxed by "+name) {
					t.Errorf("%s, %s: %s is %s for %q", kind, name, claim, tier, told[claim])
				}
			}
			if all := attest.Contraindicated; name == "unheard-of" && (c.Configuration != all || c.Hardware != all || c.RuntimeOpaque != all) {
				t.Errorf("%s: an unknown relaxation leaves %+v", kind, c)
			}
		}
	}
}

// TestEAR: the form is that of draft-ietf-rats-ear, whose claims are numbers and whose
// status is a tier.
func TestEAR(t *testing.T) {
	c := attest.Claims{Configuration: attest.Contraindicated, Hardware: attest.Warning, Executables: attest.Affirming}
	got, err := json.Marshal(attest.NewEAR(attesttest.At, "v1", c, attest.Grounds{Kind: attest.TPM}))
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]any
	if err := json.Unmarshal(got, &e); err != nil {
		t.Fatal(err)
	}
	one := e["submods"].(map[string]any)["tpm"].(map[string]any)
	reasons := one["assay_reasons"].(map[string]any)
	delete(one, "assay_reasons")
	want := map[string]any{
		"eat_profile": "tag:ietf.org,2026:rats/ear#03", "iat": float64(attesttest.At.Unix()), "ear_verifier_id": map[string]any{"developer": "https://github.com/assayd/assay", "build": "v1"},
		"submods": map[string]any{"tpm": map[string]any{
			"ear_status": "contraindicated", "ear_trustworthiness_vector": map[string]any{"configuration": 96.0, "executables": 2.0, "hardware": 32.0},
		}},
	}
	if diff := cmp.Diff(want, e); diff != "" || len(reasons) != len(looked) {
		t.Errorf("%d reasons, (-want +got):\n%s", len(reasons), diff)
	}
	for claim, name := range map[attest.Claim]string{0: "none", 2: "affirming", 3: "affirming", 32: "warning", 36: "warning", 96: "contraindicated", 99: "contraindicated"} {
		if claim.String() != name {
			t.Errorf("%d: got %s, want %s", int8(claim), claim, name)
		}
	}
}
