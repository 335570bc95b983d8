// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

func publicPEM(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func caPEM(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "EK CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func good(t testing.TB) trust.Config {
	t.Helper()
	return trust.Config{
		Profile: verdict.Development, Node: "spiffe://dev.assay.invalid/assay/node/dev/node-a", Cluster: "dev",
		Daemons: []string{"127.0.0.1:8443"}, Issuers: []string{"spiffe://dev.assay.invalid/assay/d/dev/*"},
		WorkloadAPI: "unix:///run/svid/node-a.sock", Owners: trust.Owners{Threshold: 1, Keys: []string{publicPEM(t)}}, MinHead: 1,
		TEE:    trust.TEE{Kinds: []string{"sim-snp"}, SimulatorRoots: []string{string(verdict.SHA256([]byte("root")))}, AllowNoCRL: true},
		Quorum: 1, Mode: gate.Enforce, StateDir: "/var/lib/assay/node", Socket: "/run/assay/agent.sock", AllowUnwitnessed: true,
	}
}

func TestConfigRoundTrip(t *testing.T) {
	tpm := good(t)
	tpm.TEE = trust.TEE{Kinds: []string{"tpm"}, EKCAs: []string{caPEM(t)}, AllowUnsafeClock: true}
	snp := good(t)
	snp.Profile, snp.AllowUnwitnessed = verdict.Production, false
	snp.TEE = trust.TEE{Kinds: []string{"snp", "tpm"}, SNPProducts: []string{"Milan", "Genoa"}, EKCAs: []string{caPEM(t)}, MinTCB: trust.TCB{SNP: 22}, SNP: trust.SNP{AllowAnyChip: true}}
	for _, test := range []struct {
		name string
		in   trust.Config
		want func(attest.Trust) bool
	}{
		{"simulator", good(t), func(a attest.Trust) bool { return len(a.SimulatorRoots) == 1 && a.AllowDevelopment && a.AllowNoCRL }},
		{"tpm", tpm, func(a attest.Trust) bool { return len(a.EKCAs) == 1 && a.AllowUnsafeClock && !a.AllowNoCRL }},
		{"production", snp, func(a attest.Trust) bool { return len(a.SNPRoots) == 2 && !a.AllowDevelopment && a.MinTCB.SNP == 22 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := test.in.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := trust.Parse("trust.yaml", data)
			if err != nil {
				t.Fatalf("%v\n%s", err, data)
			}
			again, err := got.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(data), string(again)); diff != "" {
				t.Errorf("second encoding differs (-first +second):\n%s", diff)
			}
			if got.StatusAge != 5*time.Minute || got.StatusInterval != 30*time.Second || got.MaxOffline != 8*time.Hour || got.Offline != gate.OfflineLastKnown {
				t.Errorf("got defaults %v %v %v %v", got.StatusAge, got.StatusInterval, got.MaxOffline, got.Offline)
			}
			a, err := got.Trust()
			if err != nil {
				t.Fatal(err)
			}
			if !test.want(a) {
				t.Errorf("got trust %+v", a)
			}
			g, err := got.Gate()
			if err != nil {
				t.Fatal(err)
			}
			text, err := g.Encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := gate.ParseConfig("gate.json", text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g, back); diff != "" {
				t.Errorf("gate.json differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigMisuse(t *testing.T) {
	for _, test := range []struct {
		name       string
		change     func(string) string
		text, hint string
	}{
		{"unknown key", replace("quorum:", "quorrum:"), `unknown key "quorrum"`, `did you mean "quorum"?`},
		{"unknown key of tee", replace("kinds:", "kind:"), `unknown key "kind" in tee`, `did you mean "kinds"?`},
		{"duplicate key", func(s string) string { return s + "mode: off\n" }, `duplicate key "mode"`, "remove one"},
		{"second document", func(s string) string { return s + "---\nmode: off\n" }, "more than one YAML document", "one document"},
		{"null", replace("mode: enforce", "mode:"), "mode has no value", "leave the key out"},
		{"anchor", replace("mode: enforce", "mode: &m enforce"), "anchors and aliases", ""},
		{"not a mapping", func(string) string { return "- a\n" }, "wants keys with values", ""},
		{"empty", func(string) string { return "" }, "the file is empty", ""},
		{"broken", func(string) string { return "a: [\n" }, "trust.yaml:", ""},
		{"list for a text", replace("mode: enforce", "mode: [enforce]"), "mode wants a string", ""},
		{"text for a list", replace("daemons:\n  - 127.0.0.1:8443", "daemons: 127.0.0.1:8443"), "daemons wants a list", ""},
		{"wrong type", replace("quorum: 1", "quorum: one"), `quorum is "one", want a whole number`, ""},
		{"wrong duration", replace("status-age: 5m0s", "status-age: 5"), "want a duration", ""},
		{"huge", func(s string) string { return s + strings.Repeat("#", 2<<20) }, "want at most", ""},
		{"no profile", remove("profile:"), "profile: got \"\"", ""},
		{"profile", replace("profile: development", "profile: staging"), `profile: got "staging"`, ""},
		{"unwitnessed in production", replace("profile: development", "profile: production"), "allow-unwitnessed: it needs profile", ""},
		{"simulator in production", chain(replace("profile: development", "profile: production"), remove("allow-unwitnessed:")), "tee.kinds: a simulator needs profile", ""},
		{"simulator beside another kind", replace("- sim-snp", "- sim-snp\n    - snp"), "sim-snp is there beside other kinds", ""},
		{"simulated TDX beside another kind", replace("- sim-snp", "- sim-tdx\n    - tpm"), "sim-tdx is there beside other kinds", ""},
		{"simulators side by side", replace("- sim-snp", "- sim-snp\n    - sim-tdx"), "sim-snp is there beside other kinds", ""},
		{"simulated TDX in production", chain(replace("profile: development", "profile: production"), replace("- sim-snp", "- sim-tdx"), remove("allow-unwitnessed:")), "tee.kinds: a simulator needs profile", ""},
		{"kind that does not exist", replace("- sim-snp", "- sgx"), `tee.kinds: got "sgx"`, ""},
		{"root of a kind that is not accepted", replace("- sim-snp", "- snp\n  snp-products:\n    - Milan"), "tee.simulator-roots: given, and kind sim-snp or sim-tdx is not accepted", ""},
		{"no kind", replace("  kinds:\n    - sim-snp\n", ""), "tee.kinds: none", "name what you trust"},
		{"root that is no digest", replace("- sha256:", "- sha1:"), "simulator-roots: got", ""},
		{"node", replace("node: spiffe://", "node: https://"), "node: ", ""},
		{"cluster of another node", replace("cluster: dev", "cluster: prod"), "cluster: got", ""},
		{"daemon without port", replace("127.0.0.1:8443", "127.0.0.1"), "daemons: got", ""},
		{"issuer with a wildcard too early", replace("/assay/d/dev/*", "/*/d/dev/a"), "issuers: issuer pattern", "like spiffe://"},
		{"issuer of any trust domain", replace("spiffe://dev.assay.invalid/assay/d/dev/*", "spiffe://*/a"), "issuers: issuer pattern", ""},
		{"owners threshold 0", replace("threshold: 1", "threshold: 0"), "owners: ", ""},
		{"owners threshold above keys", replace("threshold: 1", "threshold: 2"), "owners: ", ""},
		{"owner key", replace("PUBLIC KEY", "PRIVATE KEY"), "owners: key 1: ", ""},
		{"min-head 0", replace("min-head: 1", "min-head: 0"), "min-head: got 0", ""},
		{"quorum 0", replace("quorum: 1", "quorum: 0"), "quorum: got 0", ""},
		{"quorum-by", replace("quorum: 1", "quorum: 1\nquorum-by: rack"), `quorum-by: got "rack"`, ""},
		{"quorum above daemons", replace("quorum: 1", "quorum: 2"), "quorum: got 2, and 1 daemons are named", ""},
		{"mode", replace("mode: enforce", "mode: maybe"), `mode: got "maybe"`, ""},
		{"offline", replace("offline: last-known", "offline: always"), `offline: got "always"`, ""},
		{"max-offline beyond a day", replace("max-offline: 8h0m0s", "max-offline: 25h"), "max-offline: got 25h0m0s", ""},
		{"status-interval as long as status-age", replace("status-interval: 30s", "status-interval: 5m"), "status-interval: got 5m0s", ""},
		{"relative state-dir", replace("state-dir: /", "state-dir: "), "state-dir: got \"var", ""},
		{"unvalidated", func(s string) string { return s + "allow-unvalidated: [rsa]\n" }, "allow-unvalidated: got \"rsa\"", ""},
		{"no workload API", remove("workload-api:"), "workload-api: missing", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := good(t).Encode()
			if err != nil {
				t.Fatal(err)
			}
			changed := test.change(string(data))
			if changed == string(data) {
				t.Fatal("the change changed nothing")
			}
			got, err := trust.Parse("trust.yaml", []byte(changed))
			m, ok := errors.AsType[*verdict.Misuse](err)
			if !ok {
				t.Fatalf("got %v, want a misuse", err)
			}
			if !strings.HasPrefix(m.Text, "trust.yaml:") || !strings.Contains(m.Text, test.text) {
				t.Errorf("got %q, want trust.yaml:… %q", m.Text, test.text)
			}
			if !strings.Contains(m.Hint, test.hint) {
				t.Errorf("got hint %q, want %q", m.Hint, test.hint)
			}
			if diff := cmp.Diff(trust.Config{}, got); diff != "" {
				t.Errorf("got a configuration beside the misuse: %s", diff)
			}
		})
	}
}

// What is wrong with a value is told at its place, also where the gate's rules
// check it, and what is missing at the nearest key around it.
func TestConfigPosition(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(string) string
		at     string // what begins the line in the changed text, or "" for the whole file
		text   string
	}{
		{"unknown key", replace("quorum:", "quorom:"), "quorom:", "unknown key"},
		{"min-head", replace("min-head: 1", "min-head: 0"), "min-head:", "min-head: got 0"},
		{"quorum", replace("quorum: 1", "quorum: 0"), "quorum:", "quorum: got 0"},
		{"mode", replace("mode: enforce", "mode: maybe"), "mode:", "mode: got"},
		{"offline", replace("offline: last-known", "offline: always"), "offline:", "offline: got"},
		{"status-age", replace("status-age: 5m0s", "status-age: 2h"), "status-age:", "status-age: got 2h0m0s"},
		{"max-offline", replace("max-offline: 8h0m0s", "max-offline: 25h"), "max-offline:", "max-offline: got"},
		{"deadline", replace("deadline: 8s", "deadline: 2m"), "deadline:", "deadline: got"},
		{"state-dir", replace("state-dir: /", "state-dir: "), "state-dir:", "state-dir: got"},
		{"socket", replace("socket: /", "socket: "), "socket:", "socket: got"},
		{"inside tee", replace("- sim-snp", "- sgx"), "  kinds:", "tee.kinds: got"},
		{"missing in tee", replace("  simulator-roots:", "  ak-cas:"), "tee:", "tee.simulator-roots: none"},
		{"missing", remove("workload-api:"), "", "workload-api: missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := good(t).Encode()
			if err != nil {
				t.Fatal(err)
			}
			changed := test.change(string(data))
			want := "t.yaml:1:1: "
			if test.at != "" {
				before, after, ok := strings.Cut(changed, "\n"+test.at)
				if !ok {
					t.Fatalf("no line begins with %q", test.at)
				}
				line := 2 + strings.Count(before, "\n")
				if strings.HasPrefix(after, "\n") {
					line++ // the value begins on the next line
				}
				want = fmt.Sprintf("t.yaml:%d:", line)
			}
			_, err = trust.Parse("t.yaml", []byte(changed))
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %s…%s", err, want, test.text)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	data, err := good(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := trust.Load(write("good.yaml", 0o600)); err != nil {
		t.Error(err)
	}
	for name, path := range map[string]string{"absent": filepath.Join(dir, "absent"), "folder": dir, "written by all": write("open.yaml", 0o666)} {
		if _, err := trust.Load(path); err == nil {
			t.Errorf("%s: got no error", name)
		} else if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
			t.Errorf("%s: got %v, want a misuse", name, err)
		}
	}
}

func TestCheckIssuer(t *testing.T) {
	patterns := []string{"spiffe://td/assay/d/dev/*", "spiffe://td/assay/d/*/assayd"}
	for id, want := range map[string]bool{
		"spiffe://td/assay/d/dev/a": true, "spiffe://td/assay/d/prod/assayd": true, "spiffe://td/assay/d/prod/a": false,
		"spiffe://other/assay/d/dev/a": false, "spiffe://td/assay/d/dev/a/b": false, "spiffe://td/assay/d/dev": false,
		"spiffe://td/assay/d/dev/*": false, "spiffe://td/assay/node/dev/a": false, "": false,
	} {
		if err := trust.CheckIssuer(patterns, id); (err == nil) != want {
			t.Errorf("%s: got %v, want accepted: %t", id, err, want)
		} else if !want && verdict.CodeOf(err) != verdict.IssuerIdentity {
			t.Errorf("%s: got %v, want %s", id, err, verdict.IssuerIdentity)
		}
	}
}

func FuzzParse(f *testing.F) {
	data, err := good(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	text, first := fuzz.YAML(f, data)
	if _, err := trust.Parse("f", text); err != nil {
		f.Fatal(err)
	}
	inputs := fuzz.New(f, data, text, text, text, []byte("a: &a [*a]\n"), []byte("profile: development\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data) || bytes.HasPrefix(data, first))
		c, err := trust.Parse("f", data)
		if err != nil {
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
				t.Fatalf("got %T, want a misuse", err)
			}
			if !reflect.DeepEqual(c, trust.Config{}) {
				t.Fatal("got a configuration beside an error")
			}
			return
		}
		text, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := trust.Parse("f", text); err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("read back: %v, differs: %s", err, cmp.Diff(c, again))
		}
	})
}

func replace(from, to string) func(string) string {
	return func(s string) string { return strings.Replace(s, from, to, 1) }
}

func chain(changes ...func(string) string) func(string) string {
	return func(s string) string {
		for _, c := range changes {
			s = c(s)
		}
		return s
	}
}

// remove takes out the line that begins with prefix.
func remove(prefix string) func(string) string {
	return func(s string) string {
		var out strings.Builder
		for line := range strings.Lines(s) {
			if !strings.HasPrefix(line, prefix) {
				out.WriteString(line)
			}
		}
		return out.String()
	}
}
