// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
)

// withoutTSM has the kernel know devices in place of configfs-tsm.
func withoutTSM(t *testing.T, k *fakeKernel, devices ...string) {
	t.Helper()
	if err := os.RemoveAll(k.path(tsmFolder)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(k.path("/dev"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, device := range devices {
		k.put(device, nil)
	}
}

// oldMachine is a guest of SEV-SNP whose kernel has /dev/sev-guest alone.
func oldMachine(t *testing.T) (*fakeKernel, enclave.Config, attest.Input) {
	t.Helper()
	k, config, in := snpMachine(t)
	withoutTSM(t, k, sevGuestDevice)
	k.firmware = func(_ string, request, response, certs []byte) (uint64, error) {
		if !bytes.Equal(request[64:], make([]byte, 32)) {
			t.Errorf("asked of level %x with %x behind it, want zeros", request[64:68], request[68:])
		}
		report, table, err := k.report([64]byte(request))
		if err != nil {
			return 0, err
		}
		binary.LittleEndian.PutUint32(response[4:], uint32(len(report)))
		copy(response[32:], report)
		copy(certs, table)
		return 0, nil
	}
	return k, config, in
}

// TestSEVGuestDevice: where the kernel has no configfs-tsm, reports come through the
// device, and the attester says so.
func TestSEVGuestDevice(t *testing.T) {
	for _, kind := range []string{enclave.KindSNP, enclave.KindAuto} {
		_, config, in := oldMachine(t)
		config.Kind = kind
		a, collection, _ := evidence(t, config, in.MyNonce)
		if got := a.(enclave.Sourced).Source(); a.Kind() != verdict.KindSNP || got != sevGuestDevice {
			t.Errorf("got kind %s from %s", a.Kind(), got)
		}
		if got, err := attest.Appraise(collection, in, attesttest.At); err != nil || got.Simulated || len(got.Relaxed) != 0 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	k, config, in := snpMachine(t)
	k.put("/sys/kernel/config/tsm/x", nil)
	if err := os.MkdirAll(k.path("/dev"), 0o700); err != nil {
		t.Fatal(err)
	}
	k.put(sevGuestDevice, nil)
	k.firmware = func(string, []byte, []byte, []byte) (uint64, error) {
		t.Error("the device was asked, where configfs-tsm is there")
		return 0, syscall.EIO
	}
	a, _, _ := evidence(t, config, in.MyNonce)
	if got := a.(enclave.Sourced).Source(); got != "configfs-tsm" {
		t.Errorf("got source %s", got)
	}
}

// TestNoDevice: what the device cannot give is told, and another kind is never taken.
func TestNoDevice(t *testing.T) {
	for _, test := range []struct {
		name    string
		devices []string
		kind    string
		text    string
	}{
		{"no device", nil, enclave.KindAuto, "mount configfs"},
		{"a TD", []string{tdxGuestDevice}, enclave.KindTDX, "Linux 6.16"},
		{"a TD, auto", []string{tdxGuestDevice}, enclave.KindAuto, "Linux 6.16"},
		{"a TD for SNP", []string{tdxGuestDevice}, enclave.KindSNP, "this is a TD"},
		{"SNP for a TD", []string{sevGuestDevice}, enclave.KindTDX, "this is a guest of kind snp"},
	} {
		k, config, _ := oldMachine(t)
		withoutTSM(t, k)
		if err := os.Remove(k.path(sevGuestDevice)); err != nil {
			t.Fatal(err)
		}
		withoutTSM(t, k, test.devices...)
		config.Kind, config.StateDir = test.kind, t.TempDir()
		if a, err := enclave.Open(t.Context(), config); a != nil || !isFailure(err) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want a failure with %q", test.name, err, test.text)
		}
	}
	// A kernel that has configfs-tsm, and no provider in it, has no guest of its own to
	// ask: the device is no way round that.
	k, config, _ := oldMachine(t)
	if err := os.MkdirAll(k.path(tsmFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	k.provider = ""
	if _, err := enclave.Open(t.Context(), config); !isFailure(err) || !strings.Contains(err.Error(), "no provider of reports") {
		t.Errorf("no provider, with a device: got %v", err)
	}
}

// TestSEVGuestCertificates: a host that knows no extended requests has no certificates.
func TestSEVGuestCertificates(t *testing.T) {
	k, config, in := oldMachine(t)
	firmware := k.firmware
	var vcek []byte
	k.firmware = func(path string, request, response, certs []byte) (uint64, error) {
		if certs != nil {
			return 1 << 32, syscall.EIO
		}
		all := make([]byte, 16<<10)
		exitInfo, err := firmware(path, request, response, all)
		table, tableErr := attest.ParseSNPCertTable(all)
		if tableErr != nil {
			t.Error(tableErr)
		}
		vcek = table.VCEK
		return exitInfo, err
	}
	a, collection, statement := evidence(t, config, in.MyNonce)
	if _, err := attest.Appraise(collection, in, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMissing {
		t.Errorf("without a VCEK: got %v, want %s", err, verdict.EndorsementMissing)
	}
	if err := os.WriteFile(filepath.Join(config.Endorsements, "amd-vcek.der"), vcek, 0o600); err != nil {
		t.Fatal(err)
	}
	collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), in.MyNonce[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Appraise(collection, in, attesttest.At); err != nil {
		t.Errorf("with one in the folder: %v", err)
	}
}

// TestSEVGuestFails: a firmware, hypervisor or driver that answers something else is a
// failure, and the next request is answered.
func TestSEVGuestFails(t *testing.T) {
	failing := func(exitInfo uint64, errs ...error) func(enclave.Firmware) enclave.Firmware {
		return func(good enclave.Firmware) enclave.Firmware {
			return func(path string, request, response, certs []byte) (uint64, error) {
				if len(errs) > 0 {
					err := errs[0]
					errs = errs[1:]
					return exitInfo, err
				}
				return good(path, request, response, certs)
			}
		}
	}
	changed := func(change func(response, certs []byte)) func(enclave.Firmware) enclave.Firmware {
		return func(good enclave.Firmware) enclave.Firmware {
			return func(path string, request, response, certs []byte) (uint64, error) {
				exitInfo, err := good(path, request, response, certs)
				change(response, certs)
				return exitInfo, err
			}
		}
	}
	for _, test := range []struct {
		name   string
		change func(enclave.Firmware) enclave.Firmware
		text   string // of the failure, "" for none
		giveUp bool   // the caller, once the kernel was asked twice
	}{
		{"busy for a while", failing(2<<32, syscall.EBUSY, syscall.EAGAIN, syscall.EINTR), "", false},
		{"busy for ever", failing(2<<32, slices.Repeat([]error{syscall.EBUSY}, 1<<12)...), "has not answered", true},
		{"neither request", failing(0x16|3<<32, syscall.EIO, syscall.EIO), "firmware's error 0x16, hypervisor's 0x3", false},
		{"a level that is not ours", changed(func(response, _ []byte) { response[0] = 0x16 }), "status 0x16", false},
		{"a report of another size", changed(func(response, _ []byte) { response[4]++ }), "1185 bytes", false},
		{"no report", changed(func(response, _ []byte) { clear(response[32:]) }), "what the kernel gave", false},
		{"the report of another request", changed(func(response, _ []byte) { response[32+0x50] ^= 1 }), "another request", false},
		{"a broken table", changed(func(_, certs []byte) { certs[16] = 1 }), "host's certificates", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, config, in := oldMachine(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			changed, asked := test.change(k.firmware), 0
			k.firmware = func(path string, request, response, certs []byte) (uint64, error) {
				if asked++; asked == 2 && test.giveUp {
					cancel()
				}
				return changed(path, request, response, certs)
			}
			a := open(t, config)
			raw := attesttest.Encode(t, attesttest.Statement(t))
			_, err := a.Evidence(ctx, raw, in.MyNonce[:])
			if test.text == "" && err != nil || test.text != "" && (!isFailure(err) || !strings.Contains(err.Error(), test.text)) {
				t.Errorf("got %v, want a failure with %q", err, test.text)
			}
		})
	}
}
