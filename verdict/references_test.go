// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestReferences(t *testing.T) {
	w := newWorld(t)
	tpm := verdict.ReferenceEntry{
		Name: "tpm", Kind: verdict.KindTPM, Configs: []verdict.Digest{w.config}, Events: "pcr14", Flavours: []string{"fips140"},
		NotBefore: unix(0), NotAfter: unix(time.Hour), Profile: verdict.Production, Registers: map[string]string{"pcr0": zeroSum, "pcr11": zeroSum},
	}
	tdx := verdict.ReferenceEntry{
		Name: "tdx", Kind: verdict.KindTDX, Configs: []verdict.Digest{w.config}, Events: "rtmr3", Flavours: []string{"go"}, Measurement: measurement,
		NotBefore: unix(0), NotAfter: unix(time.Hour), Profile: verdict.Production,
		Registers: map[string]string{"rtmr0": measurement, "rtmr1": measurement, "rtmr2": measurement},
	}
	azure := tpm
	azure.Name, azure.Kind, azure.Measurement = "azure", verdict.KindAzureSNP, measurement
	azure.Registers = map[string]string{"pcr4": zeroSum, "pcr11": zeroSum, "pcr12": zeroSum, "pcr13": zeroSum}
	w.references.Entries = append(w.references.Entries, tpm, tdx, azure)
	w.references.Floors.TDX = &verdict.TDXFloor{AcceptStatus: []string{"ConfigurationNeeded", "SWHardeningNeeded"}, Evaluation: 17}
	good := encoded(t, w.references)
	entry := func(i int, f func(e map[string]any)) []byte {
		return edit(t, good, func(m map[string]any) { f(m["entries"].([]any)[i].(map[string]any)) })
	}
	floor := func(f func(floor map[string]any)) []byte {
		return edit(t, good, func(m map[string]any) { f(m["floors"].(map[string]any)["tdx"].(map[string]any)) })
	}
	for _, tt := range []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", good, ""},
		{"with floors", edit(t, good, func(m map[string]any) {
			m["floors"] = map[string]any{"snp": map[string]any{"bootloader": 4, "microcode": 219, "snp": 255, "tee": 0}}
		}), ""},
		{"a TD of which RTMR0 is left open", entry(2, func(e map[string]any) { delete(e["registers"].(map[string]any), "rtmr0") }), ""},
		{"simulated TD", entry(2, func(e map[string]any) { e["kind"], e["profile"] = "sim-tdx", "development" }), ""},
		{"simulated TD in production", entry(2, func(e map[string]any) { e["kind"] = "sim-tdx" }), verdict.HeadMalformed},
		{"TD without measurement", entry(2, func(e map[string]any) { delete(e, "measurement") }), verdict.HeadMalformed},
		{"TD of a short measurement", entry(2, func(e map[string]any) { e["measurement"] = zeroSum }), verdict.HeadMalformed},
		{"TD without RTMR1", entry(2, func(e map[string]any) { delete(e["registers"].(map[string]any), "rtmr1") }), verdict.HeadMalformed},
		{"TD without RTMR2", entry(2, func(e map[string]any) { delete(e["registers"].(map[string]any), "rtmr2") }), verdict.HeadMalformed},
		{"TD without registers", entry(2, func(e map[string]any) { delete(e, "registers") }), verdict.HeadMalformed},
		{"TD with the register of its events", entry(2, func(e map[string]any) { e["registers"].(map[string]any)["rtmr3"] = measurement }), verdict.HeadMalformed},
		{"TD with a PCR", entry(2, func(e map[string]any) { e["registers"].(map[string]any)["pcr0"] = measurement }), verdict.HeadMalformed},
		{"TD with a short register", entry(2, func(e map[string]any) { e["registers"].(map[string]any)["rtmr1"] = zeroSum }), verdict.HeadMalformed},
		{"TD without event list", entry(2, func(e map[string]any) { e["events"] = "none" }), verdict.HeadMalformed},
		{"TD with the event list of a TPM", entry(2, func(e map[string]any) { e["events"] = "pcr14" }), verdict.HeadMalformed},
		{"TPM with a register of a TD", entry(1, func(e map[string]any) { e["registers"].(map[string]any)["rtmr1"] = zeroSum }), verdict.HeadMalformed},
		{"SNP with the register of a TD", entry(0, func(e map[string]any) { e["events"] = "rtmr3" }), verdict.HeadMalformed},
		{"floor of TDX that is none", floor(func(f map[string]any) { f["evaluation"] = 0 }), verdict.HeadMalformed},
		{"floor of TDX without number", floor(func(f map[string]any) { delete(f, "evaluation") }), verdict.HeadMalformed},
		{"floor of TDX with number alone", floor(func(f map[string]any) { delete(f, "accept_status") }), ""},
		{"floor of TDX that accepts what is revoked", floor(func(f map[string]any) { f["accept_status"] = []any{"Revoked"} }), verdict.HeadMalformed},
		{"floor of TDX in another order", floor(func(f map[string]any) { f["accept_status"] = []any{"SWHardeningNeeded", "OutOfDate"} }), verdict.HeadMalformed},
		{"floor of TDX with a status twice", floor(func(f map[string]any) { f["accept_status"] = []any{"OutOfDate", "OutOfDate"} }), verdict.HeadMalformed},
		{"genuine SNP in production", entry(0, func(e map[string]any) { e["kind"], e["profile"] = "snp", "production" }), ""},
		{"simulator in production", entry(0, func(e map[string]any) { e["profile"] = "production" }), verdict.HeadMalformed},
		{"another profile", entry(0, func(e map[string]any) { e["kind"], e["profile"] = "snp", "test" }), verdict.HeadMalformed},
		{"no profile", entry(0, func(e map[string]any) { e["profile"] = "" }), verdict.HeadMalformed},
		{"no entries", edit(t, good, func(m map[string]any) { m["entries"] = []any{} }), verdict.HeadMalformed},
		{"too many entries", edit(t, good, func(m map[string]any) {
			for len(m["entries"].([]any)) <= 256 {
				m["entries"] = append(m["entries"].([]any), m["entries"].([]any)[0])
			}
		}), verdict.HeadMalformed},
		{"version 2", edit(t, good, func(m map[string]any) { m["v"] = 2 }), verdict.HeadMalformed},
		{"floor beyond a byte", edit(t, good, func(m map[string]any) {
			m["floors"] = map[string]any{"snp": map[string]any{"bootloader": 256, "microcode": 0, "snp": 0, "tee": 0}}
		}), verdict.HeadMalformed},
		{"floor with a component missing", edit(t, good, func(m map[string]any) { m["floors"] = map[string]any{"snp": map[string]any{"snp": 22}} }), verdict.HeadMalformed},
		{"unknown kind", entry(0, func(e map[string]any) { e["kind"] = "sgx" }), verdict.HeadMalformed},
		{"no configs", entry(0, func(e map[string]any) { e["configs"] = []any{} }), verdict.HeadMalformed},
		{"bad config", entry(0, func(e map[string]any) { e["configs"] = []any{"*"} }), verdict.HeadMalformed},
		{"no flavours", entry(0, func(e map[string]any) { e["flavours"] = []any{} }), verdict.HeadMalformed},
		{"unknown flavour", entry(0, func(e map[string]any) { e["flavours"] = []any{"openssl"} }), verdict.HeadMalformed},
		{"no name", entry(0, func(e map[string]any) { e["name"] = "" }), verdict.HeadMalformed},
		{"no measurement", entry(0, func(e map[string]any) { delete(e, "measurement") }), verdict.HeadMalformed},
		{"short measurement", entry(0, func(e map[string]any) { e["measurement"] = zeroSum }), verdict.HeadMalformed},
		{"registers of SNP", entry(0, func(e map[string]any) { e["registers"] = map[string]any{"pcr0": zeroSum} }), verdict.HeadMalformed},
		{"event list of SNP", entry(0, func(e map[string]any) { e["events"] = "pcr14" }), verdict.HeadMalformed},
		{"ends before it begins", entry(0, func(e map[string]any) { e["not_after"] = e["not_before"] }), verdict.HeadMalformed},
		{"no begin", entry(0, func(e map[string]any) { delete(e, "not_before") }), verdict.HeadMalformed},
		{"Azure on TDX", entry(3, func(e map[string]any) { e["kind"] = "azure-tdx" }), ""},
		{"SVSM", entry(3, func(e map[string]any) { e["kind"] = "snp-svsm" }), ""},
		{"SVSM without its measurement", entry(3, func(e map[string]any) { e["kind"] = "snp-svsm"; delete(e, "measurement") }), verdict.HeadMalformed},
		{"SVSM without what was started", entry(3, func(e map[string]any) {
			e["kind"] = "snp-svsm"
			delete(e["registers"].(map[string]any), "pcr4")
		}), verdict.HeadMalformed},
		{"SVSM without event list", entry(3, func(e map[string]any) { e["kind"], e["events"] = "snp-svsm", "none" }), verdict.HeadMalformed},
		{"Azure without the paravisor", entry(3, func(e map[string]any) { delete(e, "measurement") }), verdict.HeadMalformed},
		{"Azure with a short measurement", entry(3, func(e map[string]any) { e["measurement"] = zeroSum }), verdict.HeadMalformed},
		{"Azure without registers", entry(3, func(e map[string]any) { delete(e, "registers") }), verdict.HeadMalformed},
		{"Azure without what was started", entry(3, func(e map[string]any) { delete(e["registers"].(map[string]any), "pcr4") }), verdict.HeadMalformed},
		{"Azure without the command line", entry(3, func(e map[string]any) { delete(e["registers"].(map[string]any), "pcr12") }), verdict.HeadMalformed},
		{"Azure without extensions", entry(3, func(e map[string]any) { delete(e["registers"].(map[string]any), "pcr13") }), verdict.HeadMalformed},
		{"Azure with a register of a TD", entry(3, func(e map[string]any) { e["registers"].(map[string]any)["rtmr1"] = measurement }), verdict.HeadMalformed},
		{"Azure with the register of its events", entry(3, func(e map[string]any) { e["registers"].(map[string]any)["pcr14"] = zeroSum }), verdict.HeadMalformed},
		{"Azure without event list", entry(3, func(e map[string]any) { e["events"] = "none" }), verdict.HeadMalformed},
		{"Azure with the event list of a TD", entry(3, func(e map[string]any) { e["events"] = "rtmr3" }), verdict.HeadMalformed},
		{"measurement of a TPM", entry(1, func(e map[string]any) { e["measurement"] = measurement }), verdict.HeadMalformed},
		{"TPM without registers", entry(1, func(e map[string]any) { delete(e, "registers") }), verdict.HeadMalformed},
		{"TPM with empty registers", entry(1, func(e map[string]any) { e["registers"] = map[string]any{} }), verdict.HeadMalformed},
		{"TPM without event list", entry(1, func(e map[string]any) { e["events"] = "none" }), verdict.HeadMalformed},
		{"event list of a TPM elsewhere", entry(1, func(e map[string]any) { e["events"] = "pcr16" }), verdict.HeadMalformed},
		{"register of the event list pinned", entry(1, func(e map[string]any) { e["registers"] = map[string]any{"pcr14": zeroSum} }), verdict.HeadMalformed},
		// PCR 16 and 23 can be reset by software.
		{"register that software resets", entry(1, func(e map[string]any) { e["registers"] = map[string]any{"pcr16": zeroSum} }), verdict.HeadMalformed},
		{"register 23", entry(1, func(e map[string]any) { e["registers"] = map[string]any{"pcr23": zeroSum} }), verdict.HeadMalformed},
		{"register with a leading zero", entry(1, func(e map[string]any) { e["registers"] = map[string]any{"pcr01": zeroSum} }), verdict.HeadMalformed},
		{"upper-case register", entry(1, func(e map[string]any) { e["registers"] = map[string]any{"PCR1": zeroSum} }), verdict.HeadMalformed},
		{"register value by SHA-1", entry(1, func(e map[string]any) { e["registers"] = map[string]any{"pcr1": zeroSum[:40]} }), verdict.HeadMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := verdict.ParseReferences(tt.data)
			wantCode(t, err, tt.code)
			if err != nil && (r.Entries != nil || r.V != 0) {
				t.Errorf("got %+v with an error, want the zero value", r)
			}
		})
	}
	if _, err := (verdict.References{}).Encode(); err == nil {
		t.Error("got the bytes of no references, want an error")
	}
	if _, err := (verdict.References{Entries: []verdict.ReferenceEntry{{Configs: tpm.Configs, Flavours: tpm.Flavours}}}).Encode(); err == nil {
		t.Error("got the bytes of an entry that says nothing, want an error")
	}
	for d, want := range map[time.Duration]bool{-time.Second: false, 0: true, time.Hour - time.Second: true, time.Hour: false} {
		if got := tpm.Valid(at.Add(d)); got != want {
			t.Errorf("%s: got valid %v, want %v", d, got, want)
		}
	}
}

func FuzzReferences(f *testing.F) {
	inputs := fuzz.New(f, golden(f, "references.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		r, err := verdict.ParseReferences(data)
		if err != nil {
			if r.Entries != nil || r.V != 0 {
				t.Fatalf("got %+v with an error, want the zero value", r)
			}
			return
		}
		if !bytes.Equal(encoded(t, r), data) {
			t.Fatalf("got %s, want %s", encoded(t, r), data)
		}
	})
}
