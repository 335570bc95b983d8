// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sample(t testing.TB) (trust.Config, string) {
	t.Helper()
	owner, err := verdict.GenerateKey(verdict.UseOwner)
	check(t, err)
	pem, err := owner.JWK().PEM()
	check(t, err)
	dir := t.TempDir()
	c := trust.Config{
		Profile: verdict.Development, Node: "spiffe://dev.assay.invalid/assay/node/dev/node-a", Cluster: "dev", Daemons: []string{"127.0.0.1:1"},
		Issuers: []string{"spiffe://dev.assay.invalid/assay/d/dev/*"}, WorkloadAPI: "unix://" + filepath.Join(dir, "absent.sock"),
		Owners: trust.Owners{Threshold: 1, Keys: []string{string(pem)}}, MinHead: 1,
		TEE:    trust.TEE{Kinds: []string{verdict.KindSimulatedSNP}, SimulatorRoots: []string{string(verdict.SHA256(nil))}},
		Quorum: 1, Mode: gate.Audit, StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "agent.sock"), AllowUnwitnessed: true,
	}
	data, err := c.Encode()
	check(t, err)
	path := filepath.Join(dir, "trust.yaml")
	check(t, os.WriteFile(path, data, 0o600))
	return c, path
}

func call(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestConfigGate(t *testing.T) {
	c, path := sample(t)
	status, out, errs := call(t, "config", "gate", "--config", path)
	if status != 0 {
		t.Fatalf("got %d, %s", status, errs)
	}
	got, err := gate.ParseConfig("gate.json", []byte(out))
	check(t, err)
	if got.Node != c.Node || got.StatusAge != gate.Duration(gate.DefaultStatusAge) || got.Offline != gate.OfflineLastKnown || got.Mode != c.Mode || got.State != c.StateDir {
		t.Errorf("got %+v from %+v", got, c)
	}
	file := filepath.Join(filepath.Dir(path), "gate.json")
	if status, _, errs = call(t, "config", "gate", "--config", path, "--output", file); status != 0 {
		t.Fatalf("got %d, %s", status, errs)
	}
	if _, err := gate.LoadConfig(file); err != nil {
		t.Error(err)
	}
}

func TestConfigCheck(t *testing.T) {
	_, path := sample(t)
	status, out, errs := call(t, "config", "check", "--config", path)
	if status != 0 {
		t.Fatalf("got %d, %s", status, errs)
	}
	for _, word := range []string{"node-a in cluster dev", "not for production", "simulated", "unwitnessed", "mode audit lets through"} {
		if !strings.Contains(out, word) {
			t.Errorf("got %s, want it to say %q", out, word)
		}
	}
}

func TestMisuse(t *testing.T) {
	_, path := sample(t)
	data, err := os.ReadFile(path)
	check(t, err)
	bad := filepath.Join(filepath.Dir(path), "bad.yaml")
	check(t, os.WriteFile(bad, bytes.Replace(data, []byte("quorum:"), []byte("quorom:"), 1), 0o600))
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"no trust.yaml", []string{"--config", path + "x"}, []string{"does not exist", "hint: ", "no trust on first use"}},
		{"typo", []string{"--config", bad}, []string{"bad.yaml:", `unknown key "quorom"`, `hint: did you mean "quorum"?`}},
		{"unknown command", []string{"start"}, []string{`unknown command "start"`, "hint: see assay-node --help"}},
		{"file without its flag", []string{"config", "check", "trust.yaml"}, []string{"hint: name the file with --config"}},
		{"unknown flag", []string{"--trust"}, []string{"hint: "}},
		{"output without config gate", []string{"version", "--output", "x"}, []string{"--output is for config gate"}},
		{"output into nowhere", []string{"config", "gate", "--config", path, "--output", "/nonexistent/gate.json"}, []string{"writing gate configuration"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, out, errs := call(t, test.args...)
			if status != 2 || out != "" {
				t.Errorf("got %d, %q, want 2 and nothing", status, out)
			}
			for _, word := range test.want {
				if !strings.Contains(errs, word) || !strings.HasPrefix(errs, "assay-node: ") {
					t.Errorf("got %q, want %q", errs, word)
				}
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	status, out, _ := call(t, "--help")
	if status != 0 {
		t.Errorf("got %d", status)
	}
	golden := filepath.Join("testdata", "help.txt")
	if *update {
		check(t, os.MkdirAll("testdata", 0o755))
		check(t, os.WriteFile(golden, []byte(out), 0o644))
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if out != string(want) {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if status, out, _ := call(t, "version"); status != 0 || !strings.HasPrefix(out, "assay-node devel, crypto ") {
		t.Errorf("got %d, %q", status, out)
	}
}

// An agent without SVID and daemon serves, says what is missing, and ends as asked.
func TestRunEnds(t *testing.T) {
	c, path := sample(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"--config", path}, &out, &errs) }()
	for {
		if _, err := os.Stat(c.Socket); err == nil {
			break
		}
		select {
		case status := <-done:
			t.Fatalf("ended with %d: %s", status, errs.String())
		case <-t.Context().Done():
			t.Fatal("no socket")
		default:
		}
	}
	cancel()
	if status := <-done; status != 0 {
		t.Errorf("got %d: %s", status, errs.String())
	}
	if !strings.Contains(errs.String(), `"msg":"serving gates"`) {
		t.Errorf("got %s", errs.String())
	}
}
