// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/enclave/pid1"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
	"github.com/assayd/assay/verifier"
)

// Each sample of docs/examples is read by the parser of the program that it is
// for, and a sample without a parser here fails.
func TestExamples(t *testing.T) {
	const dir = "../../../../docs/examples"
	parsers := map[string]func(name string, data []byte) error{
		"assayd.yaml":            func(n string, d []byte) error { _, err := daemon.ParseConfig(n, ofThisFlavour(d)); return err },
		"assayd.production.yaml": parseProduction,
		"trust.yaml":             func(n string, d []byte) error { _, err := trust.Parse(n, d); return err },
		"gate.json":              func(n string, d []byte) error { _, err := gate.ParseConfig(n, d); return err },
		"policy.yaml":            func(n string, d []byte) error { _, err := verifier.ParsePolicy(n, d); return err },
		"roots.yaml":             func(_ string, d []byte) error { _, err := verifier.ParseRoots(d); return err },
		"references.json":        func(_ string, d []byte) error { _, err := verdict.ParseReferences(d); return err },
		"machine.yaml":           func(n string, d []byte) error { _, err := pid1.ParseMachine(n, d); return err },
		"deny.json":              func(_ string, d []byte) error { _, err := verdict.ParseDenyList(d); return err },
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(parsers) {
		t.Errorf("got %d samples, want %d", len(entries), len(parsers))
	}
	for _, e := range entries {
		parse, ok := parsers[e.Name()]
		if !ok {
			t.Errorf("%s: nobody reads it", e.Name())
			continue
		}
		if err := parse(e.Name(), read(t, filepath.Join(dir, e.Name()))); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
	// gate.json is what assay-node makes of trust.yaml.
	c, err := trust.Parse("trust.yaml", read(t, filepath.Join(dir, "trust.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Gate()
	if err != nil {
		t.Fatal(err)
	}
	if want, err := g.Encode(); err != nil || string(want) != string(read(t, filepath.Join(dir, "gate.json"))) {
		t.Errorf("gate.json is not that of trust.yaml: %v; want\n%s", err, want)
	}
}

// ofThisFlavour adds what only a BoringCrypto build asks for.
func ofThisFlavour(config []byte) []byte {
	if flavour.Current().Module == "boringcrypto" {
		return append(config, "allow-unvalidated: [ed25519]\n"...)
	}
	return config
}

// parseProduction holds what docs/production.md says: without witnesses
// production stops, and nothing else in the sample is wrong.
func parseProduction(name string, data []byte) error {
	_, err := daemon.ParseConfig(name, ofThisFlavour(data))
	if err != nil && strings.Contains(err.Error(), "production needs witnesses") {
		return nil
	}
	return verdict.Misused("", "%s: want the refusal for want of witnesses, got %v", name, err)
}
