// SPDX-License-Identifier: Apache-2.0

package flavour_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
)

func TestCurrentIsActive(t *testing.T) {
	c := flavour.Current()
	if !slices.Contains(verdict.Flavours, c.Module) || c.Version == "" {
		t.Fatalf("got %+v, want one of %v with a version", c, verdict.Flavours)
	}
	if c.Active != (c.Module != "go") {
		t.Errorf("got active %v for %s", c.Active, c.Module)
	}
	if err := flavour.Check(); err != nil {
		t.Error(err)
	}
}

// TestCheckRefusesInactive runs this test binary with the module switched off.
func TestCheckRefusesInactive(t *testing.T) {
	if os.Getenv("FLAVOUR_CHILD") == "1" {
		if err := flavour.Check(); err == nil {
			t.Fatal("CHILD: accepted")
		}
		return
	}
	if flavour.Current().Module != "fips140" {
		t.Skip("only a GOFIPS140 build can be switched off at run time")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCheckRefusesInactive$")
	cmd.Env = append(os.Environ(), "FLAVOUR_CHILD=1", "GODEBUG=fips140=off")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "CHILD: accepted") {
		t.Fatalf("%v\n%s", err, out)
	}
}
