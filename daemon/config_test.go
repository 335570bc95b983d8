// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
)

const ownerPEM = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtLHflgTgJQwd9BE5JxZ27gkySqba
iJLbU6/EKe8o2AZuZvdot6Ibg1zT0z8BBrAzr8diSX3vncOPJ5Ukxls0fg==
-----END PUBLIC KEY-----`

// goodConfig is a whole configuration; key is an owner's.
func goodConfig(key string) string {
	text := fmt.Sprintf(`profile: development
listen: 127.0.0.1:8443
spiffe-id: spiffe://dev.assay.invalid/assay/d/dev/assayd
workload-api: unix:///run/assay/svid/assayd.sock
state-dir: /var/lib/assay
head: /etc/assay/head.json
owners:
  threshold: 1
  keys:
    - |
%s
min-head: 1
roles:
  node: [spiffe://dev.assay.invalid/assay/node/*/*]
  admin: [spiffe://dev.assay.invalid/assay/admin/*/*]
tee: {kind: sim-snp, dir: /etc/assay/simulator}
sources:
  plain-http: ["127.0.0.1:5000"]
  mirrors: {docker.io: [mirror.example/hub]}
allow-unwitnessed: true
limits: {verdict-life: 30m, head-set: 4MiB, queue: 512}
`, indent(key, 6))
	if boring {
		text += "allow-unvalidated: [ed25519]\n"
	}
	return text
}

func indent(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+pad)
}

func TestParseConfig(t *testing.T) {
	key := newOwner(t).publicPEM
	c, err := daemon.ParseConfig("assayd.yaml", []byte(goodConfig(key)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Digest(), verdict.SHA256([]byte(goodConfig(key))); got != want {
		t.Errorf("got digest %s, want %s", got, want)
	}
	if c.Limits.HeadSet != 4<<20 || c.Limits.Queue != 512 || c.Limits.Verifications != 16 {
		t.Errorf("got limits %+v, want those of the file over the defaults", c.Limits)
	}
	var b bytes.Buffer
	if err := c.Describe(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{string(c.Digest()), "role auditor     nobody", "plain HTTP to registry 127.0.0.1:5000", "no witness watches"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got description\n%s\nwant it to say %q", b.String(), want)
		}
	}
}

func TestParseConfigMisuse(t *testing.T) {
	key := newOwner(t).publicPEM
	for _, tc := range []struct{ name, old, new, want string }{
		{"unknown key", "min-head: 1", "min-heat: 1", `unknown key "min-heat" in the file`},
		{"duplicate key", "min-head: 1", "min-head: 1\nmin-head: 2", "duplicate key"},
		{"null", "min-head: 1", "min-head:", "min-head has no value"},
		{"anchor", "min-head: 1", "min-head: &a 1", "anchors"},
		{"second document", "min-head: 1", "min-head: 1\n---\nx: 1", "more than one YAML document"},
		{"not YAML", "min-head: 1", "min-head: [1", "assayd.yaml:"},
		{"no profile", "profile: development\n", "", "profile is missing"},
		{"unknown profile", "profile: development", "profile: prod", `profile is "prod"`},
		{"production with relaxation", "profile: development", "profile: production", "allow-unwitnessed needs profile development"},
		{"witnessed", "allow-unwitnessed: true\n", "", "the log needs witnesses"},
		{"no listen", "listen: 127.0.0.1:8443\n", "", "listen is missing"},
		{"listen without port", "127.0.0.1:8443", "127.0.0.1", "want an address with a port"},
		{"no owners", "owners:\n  threshold: 1\n  keys:\n    - |\n" + indent(key, 6) + "\n", "", "owners are missing"},
		{"threshold too high", "threshold: 1", "threshold: 2", "owners.threshold is 2"},
		{"key cut", indent(key, 6), "      nonsense", "owners.keys[0]: "},
		{"head zero", "min-head: 1", "min-head: 0", "min-head is 0"},
		{"number as text", "min-head: 1", `min-head: "1"`, "whole number"},
		{"role of another trust domain", "dev.assay.invalid/assay/node", "other.invalid/assay/node", "trust domain"},
		{"unknown role", "  admin:", "  boss:", `unknown role "boss"`},
		{"no tee", "tee: {kind: sim-snp, dir: /etc/assay/simulator}\n", "", "tee.kind is missing"},
		{"tee without folder", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: sim-snp}", "tee.dir"},
		{"tpm without device", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tpm}", "exactly one of device and socket"},
		{"tee of an unknown kind", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: sgx}", `tee.kind is "sgx"`},
		{"simulated TDX without folder", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: sim-tdx}", "tee.dir"},
		{"simulator with endorsements", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: sim-tdx, dir: /d, endorsements: /e}", "sim-tdx takes dir and nothing else"},
		{"tdx with a folder of a simulator", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tdx, dir: /d}", "tdx takes endorsements, fetch and nothing else"},
		{"snp with a TPM", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: snp, device: /dev/tpmrm0}", "snp takes endorsements, fetch and nothing else"},
		{"auto with a socket", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: auto, socket: /s}", "auto takes endorsements, fetch and nothing else"},
		{"SVSM with a socket", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: snp-svsm, socket: /s}", "snp-svsm takes device, endorsements, fetch and nothing else"},
		{"SVSM with a certificate", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: snp-svsm, ek-certificate: /e}", "snp-svsm takes device, endorsements, fetch and nothing else"},
		{"tpm with endorsements", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tpm, device: /dev/tpmrm0, endorsements: /e}", "tee.endorsements is about processors"},
		{"azure without a TPM", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: azure-snp, endorsements: /e}", "azure-snp wants exactly one of device and socket"},
		{"azure with two TPMs", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: azure-tdx, device: /d, socket: /s}", "azure-tdx wants exactly one of device and socket"},
		{"address without fetching", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: snp, kds-url: https://kds.example}", "tee.kds-url is about fetching"},
		{"PCS without fetching", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tdx, fetch: false, pcs-url: https://pcs.example}", "tee.pcs-url is about fetching"},
		{"authorities without fetching", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tdx, fetch-ca: /ca.pem}", "tee.fetch-ca is about fetching"},
		{"fetching for a TPM", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tpm, device: /dev/tpmrm0, fetch: true}", "tee.fetch is about processors"},
		{"fetching for a simulator", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: sim-snp, dir: /d, fetch: true}", "tee.fetch is about processors"},
		{"fetching in plain", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tdx, fetch: true, pcs-url: http://pcs.example}", "tee.pcs-url: "},
		{"fetching with a password", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: snp, fetch: true, kds-url: https://u:p@kds.example}", "tee.kds-url: "},
		{"azure with an endorsement key", "tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: azure-tdx, device: /d, ek-certificate: /c}", "and nothing else"},
		{"plain HTTP elsewhere", "127.0.0.1:5000", "registry.example:5000", "not on loopback"},
		{"mirror", "mirror.example/hub", "HTTP://x", "mirrors"},
		{"life too long", "verdict-life: 30m", "denial-life: 2m", "limits.denial-life is 2m0s"},
		{"negative duration", "verdict-life: 30m", "verdict-life: -30m", "want a duration"},
		{"size without unit", "head-set: 4MiB", "head-set: 4", "want a size"},
		{"size over the most", "head-set: 4MiB", "head-set: 17MiB", "limits.head-set"},
		{"spiffe ID", "spiffe://dev.assay.invalid/assay/d/dev/assayd", "https://dev.assay.invalid/assayd", "spiffe-id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(goodConfig(key), tc.old, tc.new, 1)
			if text == goodConfig(key) {
				t.Fatalf("%q is not in the configuration", tc.old)
			}
			_, err := daemon.ParseConfig("assayd.yaml", []byte(text))
			m, ok := errors.AsType[*verdict.Misuse](err)
			if !ok {
				t.Fatalf("got %v, want a misuse", err)
			}
			if !strings.Contains(m.Error(), tc.want) {
				t.Errorf("got %q, want it to say %q", m.Error(), tc.want)
			}
		})
	}
}

// TestParseConfigTEE: each kind is read with what it takes.
func TestParseConfigTEE(t *testing.T) {
	for _, tee := range []string{"kind: snp", "kind: snp, endorsements: /etc/assay/endorsements", "kind: tdx, endorsements: /etc/assay/endorsements",
		"kind: auto, endorsements: /etc/assay/endorsements", "kind: tpm, device: /dev/tpmrm0", "kind: snp-svsm", "kind: snp-svsm, device: /dev/tpmrm1, endorsements: /e", "kind: sim-tdx, dir: /etc/assay/simulator"} {
		text := strings.Replace(goodConfig(newOwner(t).publicPEM), "kind: sim-snp, dir: /etc/assay/simulator", tee, 1)
		c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", tee, err)
			continue
		}
		simulated := slices.ContainsFunc(c.Relaxations(), func(s string) bool { return strings.Contains(s, "simulated") })
		if simulated != strings.Contains(tee, "sim-") {
			t.Errorf("%s: got relaxations %q", tee, c.Relaxations())
		}
	}
	for _, kind := range []string{"sim-snp", "sim-tdx"} {
		text := goodConfig(newOwner(t).publicPEM)
		for _, r := range [][2]string{{"profile: development", "profile: production"}, {"allow-unwitnessed: true\n", ""}, {"kind: sim-snp", "kind: " + kind}} {
			text = strings.Replace(text, r[0], r[1], 1)
		}
		if _, err := daemon.ParseConfig("assayd.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "tee.kind "+kind+" proves nothing") && !strings.Contains(err.Error(), "witnesses") {
			t.Errorf("%s in production: got %v", kind, err)
		}
	}
}

// TestSVSMDevice: the TPM of an SVSM is the first one, unless another is named.
func TestSVSMDevice(t *testing.T) {
	for tee, want := range map[string]string{"kind: snp-svsm": "/dev/tpmrm0", "kind: snp-svsm, device: /dev/tpmrm1": "/dev/tpmrm1", "kind: snp": ""} {
		text := strings.Replace(goodConfig(newOwner(t).publicPEM), "kind: sim-snp, dir: /etc/assay/simulator", tee, 1)
		c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := daemon.Enclave(&c); got.TPM != want || "kind: "+got.Kind != strings.Split(tee, ",")[0] {
			t.Errorf("%s: got %+v, want device %q", tee, got, want)
		}
	}
}

func TestParseConfigProductionNeedsWitnesses(t *testing.T) {
	text := goodConfig(newOwner(t).publicPEM)
	for _, r := range [][2]string{
		{"profile: development", "profile: production"},
		{"allow-unwitnessed: true\n", ""},
		{"tee: {kind: sim-snp, dir: /etc/assay/simulator}", "tee: {kind: tpm, device: /dev/tpmrm0}"},
		{"  plain-http: [\"127.0.0.1:5000\"]\n", ""},
	} {
		text = strings.Replace(text, r[0], r[1], 1)
	}
	_, err := daemon.ParseConfig("assayd.yaml", []byte(text))
	if m, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(m.Text, "needs witnesses") {
		t.Errorf("got %v, want a misuse about witnesses", err)
	}
}

func TestParseConfigHint(t *testing.T) {
	text := strings.Replace(goodConfig(newOwner(t).publicPEM), "workload-api", "workloadapi", 1)
	_, err := daemon.ParseConfig("assayd.yaml", []byte(text))
	m, ok := errors.AsType[*verdict.Misuse](err)
	if !ok || m.Hint != `did you mean "workload-api"?` || !strings.HasPrefix(m.Text, "assayd.yaml:4:1: ") {
		t.Errorf("got %#v, want the place and a hint", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	good := []byte(goodConfig(ownerPEM))
	text, first := fuzz.YAML(f, good)
	if _, err := daemon.ParseConfig("fuzz", text); err != nil {
		f.Fatal(err)
	}
	inputs := fuzz.New(f, good, text, text, text, []byte("profile: development\n---\n"), []byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data) || bytes.HasPrefix(data, first))
		if len(data) > 1<<16 {
			return
		}
		c, err := daemon.ParseConfig("fuzz", data)
		if err == nil && c.Digest() != verdict.SHA256(data) {
			t.Error("a digest that is not the file's")
		}
		if err != nil && c.Profile != "" {
			t.Error("an error with a configuration")
		}
	})
}
