// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
)

// svsmMachine is a guest of SEV-SNP under throw-away roots, at privilege level 2 below
// an SVSM that runs a software TPM.
func svsmMachine(t *testing.T) (*fakeKernel, enclave.Config, attest.Input) {
	t.Helper()
	tpm, config := startTPM(t)
	// The SVSM knows the endorsement key of its TPM.
	bare, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	collection, err := bare.Evidence(t.Context(), []byte("{}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := attest.ParseCollection(collection)
	if err != nil {
		t.Fatal(err)
	}
	manifest := c.Items[attest.LabelEndorsements].Nested.Items[attest.LabelEKPublic].Value
	closeAttester(t, bare)

	k, snp, in := snpMachine(t)
	k.floor = "2"
	level0, table := k.report, []byte(nil)
	if _, table, err = level0([64]byte{1}); err != nil {
		t.Fatal(err)
	}
	k.report = func([64]byte) ([]byte, []byte, error) { return []byte("a report of the guest's own"), table, nil }
	k.service = func(nonce [64]byte) ([]byte, []byte, []byte, error) {
		report, _, err := level0(attest.SVSMReportData(nonce, manifest))
		return report, nil, manifest, err
	}
	config.Kind, config.Endorsements, config.StateDir = enclave.KindSVSM, snp.Endorsements, t.TempDir()
	in.Trust.Kinds, in.Trust.AllowUnsafeClock = []attest.Kind{attest.SVSM}, true
	e := &in.References.Entries[0]
	e.Kind, e.Events = verdict.KindSVSM, "pcr14"
	e.Registers = map[string]string{"pcr11": measured(t, tpm)}
	for _, name := range []string{"pcr4", "pcr12", "pcr13"} {
		e.Registers[name] = strings.Repeat("0", 64)
	}
	return k, config, in
}

// TestSVSMGuest runs the whole way: events, evidence, activation, appraisal, a second
// load, and a second start of the daemon.
func TestSVSMGuest(t *testing.T) {
	for _, kind := range []string{enclave.KindSVSM, enclave.KindAuto} {
		t.Run(kind, func(t *testing.T) { checkSVSMGuest(t, kind) })
	}
}

func checkSVSMGuest(t *testing.T, kind string) {
	t.Helper()
	_, config, in := svsmMachine(t)
	config.Kind = kind
	a, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	statement := attesttest.Statement(t)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), in.MyNonce[:])
	if err != nil {
		t.Fatal(err)
	}
	if a.Kind() != verdict.KindSVSM {
		t.Errorf("got kind %s", a.Kind())
	}
	if _, err := attest.Appraise(collection, in, attesttest.At); verdict.CodeOf(err) != verdict.TPMAK {
		t.Errorf("before the activation: got %v, want %s", err, verdict.TPMAK)
	}
	in.Known = []attest.KnownAK{activate(t, a, collection)}
	got, err := attest.Appraise(collection, in, attesttest.At)
	if err != nil {
		t.Fatal(err)
	}
	if got.Binding != attest.BindingSVSM || got.Claims.Hardware != attest.Affirming || len(got.Events) != 1 || got.Registers["pcr14"] == strings.Repeat("0", 64) {
		t.Errorf("got %+v", got)
	}
	in.Known[0] = got.AK
	statement.Head.Counter++
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	again := func(a enclave.Attester, events int) {
		t.Helper()
		collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), in.MyNonce[:])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := attest.Appraise(collection, in, attesttest.At); err != nil || len(got.Events) != events {
			t.Errorf("got %d events, %v, want %d", len(got.Events), err, events)
		}
	}
	again(a, 2)
	closeAttester(t, a)
	if _, err := a.Evidence(t.Context(), nil, nil); !isFailure(err) {
		t.Errorf("after it was closed: got %v, want a failure", err)
	}
	again(open(t, config), 2)
}

// TestSVSMFails: a kernel, host or SVSM that answers something else is a failure, and the
// next request is answered.
func TestSVSMFails(t *testing.T) {
	k, config, in := svsmMachine(t)
	a := open(t, config)
	statement := attesttest.Statement(t)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	raw := attesttest.Encode(t, statement)
	service, report := k.service, k.report
	for _, test := range []struct {
		name   string
		change func()
		text   string
	}{
		{"no service any more", func() { k.service = nil }, "no service_provider"},
		{"a service that fails", func() {
			k.service = func([64]byte) ([]byte, []byte, []byte, error) { return nil, nil, nil, syscall.EIO }
		}, "input/output error"},
		{"no report", func() {
			k.service = func(nonce [64]byte) ([]byte, []byte, []byte, error) {
				_, aux, manifest, err := service(nonce)
				return []byte("x"), aux, manifest, err
			}
		}, "what the kernel gave"},
		{"the report of another request", func() {
			k.service = func(nonce [64]byte) ([]byte, []byte, []byte, error) { nonce[0] ^= 1; return service(nonce) }
		}, "another request"},
		{"another manifest", func() {
			k.service = func(nonce [64]byte) ([]byte, []byte, []byte, error) {
				out, aux, manifest, err := service(nonce)
				return out, aux, append(bytes.Clone(manifest), 0), err
			}
		}, "another TPM"},
		{"no report of the guest's own", func() {
			k.report = func([64]byte) ([]byte, []byte, error) { return nil, nil, syscall.EIO }
		}, "host's certificates"},
		{"a broken table", func() {
			k.report = func([64]byte) ([]byte, []byte, error) { return []byte("x"), []byte("x"), nil }
		}, "host's certificates"},
		{"a table of the SVSM's own that is broken", func() {
			k.service = func(nonce [64]byte) ([]byte, []byte, []byte, error) {
				out, _, manifest, err := service(nonce)
				return out, []byte("x"), manifest, err
			}
		}, "host's certificates"},
	} {
		test.change()
		if _, err := a.Evidence(t.Context(), raw, in.MyNonce[:]); !isFailure(err) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want a failure with %q", test.name, err, test.text)
		}
		k.service, k.report = service, report
		if _, err := a.Evidence(t.Context(), raw, in.MyNonce[:]); err != nil {
			t.Errorf("%s: the next request: %v", test.name, err)
		}
	}
}

// TestOpenSVSM: no other TPM, and no guest without SVSM, is taken in its place.
func TestOpenSVSM(t *testing.T) {
	k, config, _ := svsmMachine(t)
	service := k.service
	for _, test := range []struct {
		name   string
		change func(*enclave.Config)
		text   string
		misuse bool
	}{
		{"no SVSM", func(*enclave.Config) { k.service = nil }, "no SVSM", false},
		{"found, and not its TPM", func(c *enclave.Config) { c.Kind, c.TPM = enclave.KindAuto, c.TPM+".absent" }, "Linux 6.16", false},
		{"a TD", func(*enclave.Config) { k.provider = "tdx_guest" }, `"tdx_guest"`, false},
		{"no configfs", func(*enclave.Config) {
			if err := os.Rename(k.path(tsmFolder), k.path(tsmFolder)+"-away"); err != nil {
				t.Fatal(err)
			}
		}, "mount configfs", false},
		{"another TPM", func(*enclave.Config) {
			k.service = func(nonce [64]byte) ([]byte, []byte, []byte, error) {
				out, aux, manifest, err := service(nonce)
				manifest = bytes.Clone(manifest)
				manifest[len(manifest)-1] ^= 1
				return out, aux, manifest, err
			}
		}, "not the TPM of the SVSM", false},
		{"no TPM", func(c *enclave.Config) { c.TPM += ".absent" }, "Linux 6.16", false},
		{"a state folder that is not there", func(c *enclave.Config) { c.StateDir += "/absent" }, "opening state folder", true},
		{"no path", func(c *enclave.Config) { c.TPM = "" }, "no path", true},
		{"no state folder", func(c *enclave.Config) { c.StateDir = "" }, "no state folder", true},
		{"endorsements that are not there", func(c *enclave.Config) { c.Endorsements += "/absent" }, "opening endorsements", true},
	} {
		changed := config
		test.change(&changed)
		if a, err := enclave.Open(t.Context(), changed); a != nil || err == nil || isMisuse(err) != test.misuse || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want one with %q, misuse %t", test.name, err, test.text, test.misuse)
		}
		k.service, k.provider = service, "sev_guest"
		if err := os.Rename(k.path(tsmFolder)+"-away", k.path(tsmFolder)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	open(t, config)
}
