// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// lower is the good TCB with one component less, of Milan.
func lower(change func(*attest.TCB)) uint64 {
	t := attest.TCB{Bootloader: 4, SNP: 24, Microcode: 219}
	change(&t)
	return t.Version(attest.Milan)
}

// TestRefuseSNPPlatform changes one thing in good evidence, or one demand, about chip,
// firmware and platform.
func TestRefuseSNPPlatform(t *testing.T) {
	refuseSNP(t, []snpCase{
		{"a chip that is not listed", func(_ *attesttest.SNP, in *attest.Input) { in.Trust.SNP.Chips[0][63]++ }, verdict.PlatformChip},
		{"a masked chip where chips are listed", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.ChipID, in.Trust.AllowMaskedChipID = [64]byte{}, true
		}, verdict.PlatformChip},
		{"a chip of another VCEK, though it is listed", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.ChipID[0]++
			in.Trust.SNP.Chips = [][64]byte{s.Report.ChipID}
		}, verdict.EndorsementMismatch},
		{"current below the floor", func(s *attesttest.SNP, _ *attest.Input) {
			s.Report.CurrentTCB = lower(func(t *attest.TCB) { t.SNP-- })
		}, verdict.TCBMinimum},
		{"committed microcode below the floor, current above", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.CommittedTCB = lower(func(t *attest.TCB) { t.Microcode-- })
			in.Trust.SNP.AllowProvisionalFirmware = true
		}, verdict.TCBCommitted},
		{"launched with a higher snp and a lower bootloader", func(s *attesttest.SNP, _ *attest.Input) {
			s.Report.LaunchTCB = lower(func(t *attest.TCB) { t.SNP, t.Bootloader = 255, 3 })
		}, verdict.TCBMinimum},
		{"reserved byte in CURRENT_TCB", func(s *attesttest.SNP, _ *attest.Input) { s.Report.CurrentTCB |= 1 << 16 }, verdict.EvidenceMalformed},
		{"reserved byte in COMMITTED_TCB", func(s *attesttest.SNP, _ *attest.Input) { s.Report.CommittedTCB |= 1 << 40 }, verdict.EvidenceMalformed},
		{"reserved byte in LAUNCH_TCB", func(s *attesttest.SNP, _ *attest.Input) { s.Report.LaunchTCB |= 1 << 32 }, verdict.EvidenceMalformed},
		{"reported above current", func(s *attesttest.SNP, in *attest.Input) {
			in.References.Floors.SNP.SNP = 1
			s.Report.CurrentTCB = lower(func(t *attest.TCB) { t.SNP-- })
		}, verdict.TCBMinimum},
		{"committed above current", func(s *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.AllowProvisionalFirmware = true
			s.Report.CommittedTCB = lower(func(t *attest.TCB) { t.TEE++ })
		}, verdict.TCBCommitted},
		{"provisional TCB", func(s *attesttest.SNP, _ *attest.Input) {
			s.Report.CurrentTCB = lower(func(t *attest.TCB) { t.Microcode++ })
		}, verdict.TCBCommitted},
		{"provisional version", func(s *attesttest.SNP, _ *attest.Input) { s.Report.CurrentVersion[0]++ }, verdict.TCBCommitted},
		{"committed version above current", func(s *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.AllowProvisionalFirmware = true
			s.Report.CommittedVersion = [3]uint8{1, 56, 1}
		}, verdict.PlatformFirmware},
		{"below the floor of its line", func(_ *attesttest.SNP, in *attest.Input) {
			floor := map[attest.ProductLine]attest.TCB{attest.Milan: {TEE: 1}}
			in.Trust.SNP.MinTCBOf = floor
			if in.Trust.Kinds[0] == attest.SNP {
				in.Trust.SNPRoots = append(in.Trust.SNPRoots, attest.AMDRoots()...)
			}
		}, verdict.TCBMinimum},
		{"build below the floor", func(_ *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.MinFirmware = attest.SNPFirmware{Major: 1, Minor: 55, Build: 30}
		}, verdict.PlatformFirmware},
		{"minor below the floor, build above", func(_ *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.MinFirmware = attest.SNPFirmware{Major: 1, Minor: 56, Build: 1}
		}, verdict.PlatformFirmware},
		{"committed build below the floor, current above", func(s *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.AllowProvisionalFirmware = true
			in.Trust.SNP.MinFirmware = attest.SNPFirmware{Major: 1, Minor: 55, Build: 29}
			s.Report.CommittedVersion[0]--
		}, verdict.PlatformFirmware},
		{"no ECC", func(s *attesttest.SNP, _ *attest.Input) { s.Report.PlatformInfo &^= attest.SNPPlatformECC }, verdict.PlatformInfo},
		{"no alias check", func(s *attesttest.SNP, _ *attest.Input) { s.Report.PlatformInfo &^= attest.SNPPlatformAliasCheck }, verdict.PlatformInfo},
		{"SMT that the guest forbids", func(s *attesttest.SNP, _ *attest.Input) { s.Report.PlatformInfo |= attest.SNPPlatformSMT }, verdict.PlatformInfo},
		{"trusted I/O", func(s *attesttest.SNP, _ *attest.Input) { s.Report.PlatformInfo |= attest.SNPPlatformTIO }, verdict.PlatformInfo},
		{"platform bit 6", func(s *attesttest.SNP, _ *attest.Input) { s.Report.PlatformInfo |= 1 << 6 }, verdict.PlatformInfo},
		{"platform bit 8", func(s *attesttest.SNP, _ *attest.Input) { s.Report.PlatformInfo |= 1 << 8 }, verdict.PlatformInfo},
		{"platform bit 63", func(s *attesttest.SNP, _ *attest.Input) { s.Report.PlatformInfo |= 1 << 63 }, verdict.PlatformInfo},
		{"no TSME, demanded", func(_ *attesttest.SNP, in *attest.Input) { in.Trust.SNP.RequirePlatform = attest.SNPPlatformTSME }, verdict.PlatformInfo},
		{"no RAPL_DIS, demanded", func(_ *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.RequirePlatform = attest.SNPPlatformRAPLDisabled
		}, verdict.PlatformInfo},
		{"no ciphertext hiding, demanded", func(_ *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.RequirePlatform = attest.SNPPlatformCiphertextHiding
		}, verdict.PlatformInfo},
		{"launched without a mitigation", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.Version, s.Report.LaunchMitigation, s.Report.CurrentMitigation = 5, 1, 3
			in.Trust.SNP.RequireLaunchMitigations = 2
		}, verdict.PlatformInfo},
		{"running without a mitigation", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.Version, s.Report.LaunchMitigation, s.Report.CurrentMitigation = 5, 3, 1
			in.Trust.SNP.RequireCurrentMitigations = 2
		}, verdict.PlatformInfo},
		{"mitigations of a report that has none", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.Version = 4
			in.Trust.SNP.RequireCurrentMitigations = 1
		}, verdict.PlatformInfo},
	})
}

// TestRefuseSNPGuest does so about the guest.
func TestRefuseSNPGuest(t *testing.T) {
	required := func(bit uint64) func(*attesttest.SNP, *attest.Input) {
		return func(_ *attesttest.SNP, in *attest.Input) { in.Trust.SNP.RequirePolicy = bit }
	}
	// identity gives the guest an ID block that is accepted, and changes one thing.
	identity := func(change func(*attesttest.SNP, *attest.SNPTrust)) func(*attesttest.SNP, *attest.Input) {
		return func(s *attesttest.SNP, in *attest.Input) {
			goodIdentity(s, &in.Trust.SNP)
			change(s, &in.Trust.SNP)
		}
	}
	refuseSNP(t, []snpCase{
		{"CXL", func(s *attesttest.SNP, _ *attest.Input) { s.Report.Policy |= attest.SNPPolicyCXL }, verdict.GuestPolicy},
		{"several sockets", required(attest.SNPPolicySingleSocket), verdict.GuestPolicy},
		{"AES-128", required(attest.SNPPolicyAES256XTS), verdict.GuestPolicy},
		{"RAPL", required(attest.SNPPolicyRAPLDisabled), verdict.GuestPolicy},
		{"ciphertext to be seen", required(attest.SNPPolicyCiphertextHiding), verdict.GuestPolicy},
		{"pages to be swapped", required(attest.SNPPolicyNoPageSwap), verdict.GuestPolicy},
		{"ABI minor below the floor", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.Policy |= 1<<8 | 50
			in.Trust.SNP.MinABI = attest.SNPABI{Major: 1, Minor: 51}
		}, verdict.GuestPolicy},
		{"ABI major below the floor, minor above", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.Policy |= 1<<8 | 50
			in.Trust.SNP.MinABI = attest.SNPABI{Major: 2}
		}, verdict.GuestPolicy},
		{"HOST_DATA of the host", func(s *attesttest.SNP, _ *attest.Input) { s.Report.HostData[31] = 1 }, verdict.GuestConfig},
		{"another HOST_DATA", func(_ *attesttest.SNP, in *attest.Input) { in.Trust.SNP.HostData = [][32]byte{{1}, {2}} }, verdict.GuestConfig},
		{"HOST_DATA of another configuration", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.HostData, _ = attesttest.Digest("other").Bytes()
			in.Trust.SNP.HostDataIsConfig = true
		}, verdict.GuestConfig},
		{"ID block by another key", identity(func(s *attesttest.SNP, _ *attest.SNPTrust) { s.Report.IDKeyDigest[47]++ }), verdict.GuestIdentity},
		{"no ID block", identity(func(s *attesttest.SNP, _ *attest.SNPTrust) { s.Report.IDKeyDigest = [48]byte{} }), verdict.GuestIdentity},
		{"another author", identity(func(s *attesttest.SNP, _ *attest.SNPTrust) { s.Report.AuthorKeyDigest[0]++ }), verdict.GuestIdentity},
		{"an author that is not enabled", identity(func(s *attesttest.SNP, _ *attest.SNPTrust) { s.Report.SignerInfo &^= 1 }), verdict.GuestIdentity},
		{"another family", identity(func(s *attesttest.SNP, _ *attest.SNPTrust) { s.Report.FamilyID[0]++ }), verdict.GuestIdentity},
		{"another image", identity(func(s *attesttest.SNP, _ *attest.SNPTrust) { s.Report.ImageID[15]++ }), verdict.GuestIdentity},
		{"an older guest", identity(func(s *attesttest.SNP, _ *attest.SNPTrust) { s.Report.GuestSVN-- }), verdict.GuestIdentity},
	})
}

// goodIdentity gives the guest an ID block, and demands it.
func goodIdentity(s *attesttest.SNP, trust *attest.SNPTrust) {
	r := &s.Report
	r.IDKeyDigest, r.AuthorKeyDigest, r.FamilyID, r.ImageID, r.GuestSVN = [48]byte{1}, [48]byte{2}, [16]byte{3}, [16]byte{4}, 5
	r.SignerInfo |= 1
	trust.IDKeys, trust.AuthorKeys = [][48]byte{{9}, r.IDKeyDigest}, [][48]byte{{9}, r.AuthorKeyDigest}
	trust.FamilyID, trust.ImageID, trust.MinGuestSVN = &[16]byte{3}, &[16]byte{4}, 5
}

// A snpCase changes one thing of what is otherwise accepted.
type snpCase struct {
	name   string
	change func(*attesttest.SNP, *attest.Input)
	code   verdict.Code
}

// refuseSNP wants each case refused, of SNP and of its simulator.
func refuseSNP(t *testing.T, cases []snpCase) {
	t.Helper()
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			for _, kind := range []attest.Kind{attest.SNP, attest.SimulatedSNP} {
				s, in := goodSNP(t, kind)
				s.Report.CurrentVersion, s.Report.CommittedVersion = [3]uint8{29, 55, 1}, [3]uint8{29, 55, 1}
				test.change(s, &in)
				checkRefused(t, s.Bytes(t), in, test.code)
			}
		})
	}
}

// TestDemandsSNP holds that demands which are met refuse nothing.
func TestDemandsSNP(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*attesttest.SNP, *attest.Input)
	}{
		{"ID block", func(s *attesttest.SNP, in *attest.Input) { goodIdentity(s, &in.Trust.SNP) }},
		{"ID key alone", func(s *attesttest.SNP, in *attest.Input) {
			goodIdentity(s, &in.Trust.SNP)
			s.Report.AuthorKeyDigest, s.Report.SignerInfo, in.Trust.SNP.AuthorKeys = [48]byte{}, 0, nil
		}},
		{"HOST_DATA", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.HostData, in.Trust.SNP.HostData = [32]byte{2}, [][32]byte{{1}, {2}}
		}},
		{"HOST_DATA of the configuration", func(s *attesttest.SNP, in *attest.Input) {
			s.Report.HostData, _ = attesttest.Digest("config").Bytes()
			in.Trust.SNP.HostDataIsConfig = true
		}},
		{"restrictions, ABI, platform and mitigations", func(s *attesttest.SNP, in *attest.Input) {
			in.Trust.SNP.RequirePolicy = attest.SNPPolicySingleSocket | attest.SNPPolicyAES256XTS | attest.SNPPolicyRAPLDisabled | attest.SNPPolicyCiphertextHiding | attest.SNPPolicyNoPageSwap
			in.Trust.SNP.RequirePlatform = attest.SNPPlatformTSME | attest.SNPPlatformECC | attest.SNPPlatformRAPLDisabled | attest.SNPPlatformCiphertextHiding | attest.SNPPlatformAliasCheck
			in.Trust.SNP.MinABI, in.Trust.SNP.MinFirmware = attest.SNPABI{Major: 1, Minor: 51}, attest.SNPFirmware{Major: 1, Minor: 55, Build: 29}
			in.Trust.SNP.RequireLaunchMitigations, in.Trust.SNP.RequireCurrentMitigations = 1, 2
			s.Report.Version, s.Report.LaunchMitigation, s.Report.CurrentMitigation = 5, 1, 3
			s.Report.Policy |= in.Trust.SNP.RequirePolicy | 1<<8 | 51
			s.Report.PlatformInfo |= in.Trust.SNP.RequirePlatform
			s.Report.CurrentVersion, s.Report.CommittedVersion = [3]uint8{1, 56, 1}, [3]uint8{1, 56, 1}
		}},
		{"floors of lines", func(_ *attesttest.SNP, in *attest.Input) {
			in.References.Floors.SNP = nil
			in.Trust.SNP.MinTCBOf = map[attest.ProductLine]attest.TCB{attest.Milan: {Bootloader: 4, SNP: 24, Microcode: 219}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, in := goodSNP(t, attest.SNP)
			test.change(s, &in)
			got, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Relaxed) > 0 || got.Claims.Status() != attest.Affirming || got.Claims.InstanceIdentity != attest.Affirming {
				t.Errorf("got relaxations %v and %+v", got.Relaxed, got.Claims)
			}
			if got.Signer != attest.SNPVCEK || got.ChipID != s.VCEK.HWID {
				t.Errorf("got a report by a %s of chip %x", got.Signer, got.ChipID)
			}
		})
	}
}

// TestAllowSNP holds that each relaxation lets through what it names, that it says so,
// and that without it there is a refusal or a misuse.
func TestAllowSNP(t *testing.T) {
	tested := map[string]bool{}
	for _, test := range []struct {
		name   string
		change func(*attesttest.SNP)
		allow  func(*attest.Trust, bool)
		status attest.Claim
	}{
		{"allow-debug", func(s *attesttest.SNP) { s.Report.Policy |= attest.SNPPolicyDebug }, func(t *attest.Trust, on bool) { t.AllowDebug = on }, attest.Contraindicated},
		{"allow-migratable", func(s *attesttest.SNP) { s.Report.Policy |= attest.SNPPolicyMigratable }, func(t *attest.Trust, on bool) { t.AllowMigratable = on }, attest.Contraindicated},
		{"allow-migratable", func(s *attesttest.SNP) { s.Report.ReportIDMA[9] = 1 }, func(t *attest.Trust, on bool) { t.AllowMigratable = on }, attest.Contraindicated},
		{"allow-smt", func(s *attesttest.SNP) { s.Report.Policy |= attest.SNPPolicySMT }, func(t *attest.Trust, on bool) { t.AllowSMT = on }, attest.Warning},
		{"allow-smt", func(s *attesttest.SNP) { s.Report.PlatformInfo |= attest.SNPPlatformSMT }, func(t *attest.Trust, on bool) { t.AllowSMT = on }, attest.Warning},
		{"allow-vmpls", func(s *attesttest.SNP) { s.Report.VMPL = 1 }, func(t *attest.Trust, on bool) {
			t.AllowVMPLs = map[bool][]uint32{true: {3, 1}, false: {3}}[on]
		}, attest.Affirming},
		{"allow-masked-chip-id", func(s *attesttest.SNP) { s.Report.ChipID = [64]byte{} }, func(t *attest.Trust, on bool) {
			t.SNP.Chips, t.SNP.AllowAnyChip, t.AllowMaskedChipID = nil, true, on
		}, attest.Affirming},
		{"allow-no-crl", func(s *attesttest.SNP) { s.NoCRL = true }, func(t *attest.Trust, on bool) { t.AllowNoCRL = on }, attest.Affirming},
		{"allow-any-chip", func(*attesttest.SNP) {}, func(t *attest.Trust, on bool) { t.SNP.Chips, t.SNP.AllowAnyChip = nil, on }, attest.Affirming},
		{"allow-any-csp", func(s *attesttest.SNP) { s.UseVLEK(t, "CN=cloud") }, func(t *attest.Trust, on bool) {
			t.AllowMaskedChipID = true
			t.SNP = attest.SNPTrust{Signers: []attest.SNPSigner{attest.SNPVCEK, attest.SNPVLEK}, AllowAnyChip: true, AllowAnyCSP: on}
		}, attest.Affirming},
		{"allow-provisional-firmware", func(s *attesttest.SNP) { s.Report.CurrentVersion[0]++ }, func(t *attest.Trust, on bool) { t.SNP.AllowProvisionalFirmware = on }, attest.Warning},
		{"allow-provisional-firmware", func(s *attesttest.SNP) {
			s.Report.CurrentTCB = lower(func(t *attest.TCB) { t.SNP++ })
		}, func(t *attest.Trust, on bool) { t.SNP.AllowProvisionalFirmware = on }, attest.Warning},
		{"allow-no-ecc", func(s *attesttest.SNP) { s.Report.PlatformInfo &^= attest.SNPPlatformECC }, func(t *attest.Trust, on bool) { t.SNP.AllowNoECC = on }, attest.Warning},
		{"allow-no-alias-check", func(s *attesttest.SNP) { s.Report.PlatformInfo &^= attest.SNPPlatformAliasCheck }, func(t *attest.Trust, on bool) { t.SNP.AllowNoAliasCheck = on }, attest.Warning},
		{"allow-tio", func(s *attesttest.SNP) { s.Report.PlatformInfo |= attest.SNPPlatformTIO }, func(t *attest.Trust, on bool) { t.SNP.AllowTIO = on }, attest.Warning},
		{"allow-cxl", func(s *attesttest.SNP) { s.Report.Policy |= attest.SNPPolicyCXL }, func(t *attest.Trust, on bool) { t.SNP.AllowCXL = on }, attest.Warning},
	} {
		t.Run(test.name, func(t *testing.T) {
			tested[test.name] = true
			s, in := goodSNP(t, attest.SNP)
			test.change(s)
			test.allow(&in.Trust, true)
			got, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
			if err != nil {
				t.Fatal(err)
			}
			if got.Claims.Status() != test.status || !slices.Contains(got.Relaxed, test.name) {
				t.Errorf("got status %d, want %d; relaxed %v", got.Claims.Status(), test.status, got.Relaxed)
			}
			test.allow(&in.Trust, false)
			if got, err := attest.Appraise(s.Bytes(t), in, attesttest.At); err == nil {
				t.Errorf("accepted without: %+v", got)
			}
		})
	}
	for field := range reflect.TypeFor[attest.SNPTrust]().Fields() {
		if strings.HasPrefix(field.Name, "Allow") && !tested[kebab(field.Name)] {
			t.Errorf("%s has no case that needs it, or is not called %s", field.Name, kebab(field.Name))
		}
	}
}

// kebab writes AllowNoECC as allow-no-ecc.
func kebab(field string) string {
	var out strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			out.WriteByte('-')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// TestMisuseSNPTrust holds that a trust which cannot mean what it says is told before
// there is evidence.
func TestMisuseSNPTrust(t *testing.T) {
	vlek := []attest.SNPSigner{attest.SNPVLEK}
	for _, test := range []struct {
		name   string
		change func(*attest.SNPTrust)
		text   string
	}{
		{"no chip", func(s *attest.SNPTrust) { s.Chips = nil }, "no chip is accepted"},
		{"chips and any", func(s *attest.SNPTrust) { s.AllowAnyChip = true }, "any is allowed"},
		{"a chip of zeros", func(s *attest.SNPTrust) { s.Chips = append(s.Chips, [64]byte{}) }, "chip of zeros"},
		{"an unknown signer", func(s *attest.SNPTrust) { s.Signers = []attest.SNPSigner{"asvk"} }, "unknown signer"},
		{"VLEKs of nobody", func(s *attest.SNPTrust) { s.Signers = vlek }, "no provider"},
		{"providers without VLEKs", func(s *attest.SNPTrust) { s.CSPIDs = []string{"a"} }, "no VLEK"},
		{"any provider without VLEKs", func(s *attest.SNPTrust) { s.AllowAnyCSP = true }, "no VLEK"},
		{"providers and any", func(s *attest.SNPTrust) { s.Signers, s.CSPIDs, s.AllowAnyCSP = vlek, []string{"a"}, true }, "any is allowed"},
		{"an empty provider", func(s *attest.SNPTrust) { s.Signers, s.CSPIDs = vlek, []string{""} }, "empty"},
		{"a floor of a line without root", func(s *attest.SNPTrust) { s.MinTCBOf = map[attest.ProductLine]attest.TCB{attest.Turin: {}} }, "no root"},
		{"SMT demanded of the platform", func(s *attest.SNPTrust) { s.RequirePlatform = attest.SNPPlatformSMT }, "protects nothing"},
		{"SMT demanded of the guest", func(s *attest.SNPTrust) { s.RequirePolicy = attest.SNPPolicySMT }, "restricts nothing"},
		{"an ID key of zeros", func(s *attest.SNPTrust) { s.IDKeys = make([][48]byte, 1) }, "no key"},
		{"an author key of zeros", func(s *attest.SNPTrust) { s.AuthorKeys = make([][48]byte, 1) }, "no key"},
		{"a family without key", func(s *attest.SNPTrust) { s.FamilyID = &[16]byte{} }, "no key of one"},
		{"an image without key", func(s *attest.SNPTrust) { s.ImageID = &[16]byte{} }, "no key of one"},
		{"a guest's number without key", func(s *attest.SNPTrust) { s.MinGuestSVN = 1 }, "no key of one"},
		{"two HOST_DATA", func(s *attest.SNPTrust) { s.HostData, s.HostDataIsConfig = make([][32]byte, 1), true }, "HOST_DATA"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, in := goodSNP(t, attest.SNP)
			test.change(&in.Trust.SNP)
			_, err := attest.Appraise(s.Bytes(t), in, attesttest.At)
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want a misuse with %q", err, test.text)
			}
		})
	}
	t.Run("the configuration without a statement", func(t *testing.T) {
		s, in := goodSNP(t, attest.SNP)
		in.Trust.SNP.HostDataIsConfig = true
		expected := attest.Expected{ReportData: verdict.ReportData(s.Statement, s.Nonces), Entries: in.References.Entries, Floors: in.References.Floors}
		for name, data := range map[string][]byte{"good": s.Bytes(t), "of no form": nil} {
			_, err := attest.AppraiseEvidence(data, expected, in.Trust, nil, attesttest.At)
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(err.Error(), "no issuer statement") {
				t.Errorf("%s: got %v, want a misuse", name, err)
			}
		}
	})
}
