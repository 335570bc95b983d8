// SPDX-License-Identifier: Apache-2.0

package convert_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/cmd/assay/internal/convert"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestConvert: each source becomes a policy that is accepted, with everything
// that was not carried over named.
func TestConvert(t *testing.T) {
	for _, name := range []string{"clusterimagepolicy.yaml", "kyverno.yaml", "trustpolicy.json", "policy.json"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			res, err := convert.Convert(name, data)
			if err != nil {
				t.Fatal(err)
			}
			policy, err := res.Policy.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verifier.ParsePolicy(name, policy); err != nil {
				t.Errorf("what was written is not accepted: %v\n%s", err, policy)
			}
			var b strings.Builder
			b.Write(policy)
			for _, n := range res.Notes {
				fmt.Fprintf(&b, "# %s: %s\n", n.Where, n.Text)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("changed; review and run with -update:\n%s", diff)
			}
		})
	}
}

// TestLeftovers: a member that nothing looks at is named, wherever it is.
func TestLeftovers(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "trustpolicy.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, where string }{
		{`"version": "1.0",`, `"version": "1.0", "future": 1,`, "future"},
		{`"level": "skip"`, `"level": "skip", "future": {}`, "trustPolicies[1].signatureVerification.future"},
		{`"name": "acme",`, `"name": "acme", "future": [],`, "trustPolicies[0].future"},
		{`"ca:acme"`, `"ca:acme", 7`, "trustPolicies[0].trustStores[1]"},
		{`"ca:acme"`, `"pgp:acme"`, "trustPolicies[0].trustStores"},
	} {
		changed := strings.Replace(string(data), tt.old, tt.new, 1)
		if changed == string(data) {
			t.Fatalf("%s: nothing was changed", tt.where)
		}
		res, err := convert.Convert("trustpolicy.json", []byte(changed))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, n := range res.Notes {
			found = found || n.Where == tt.where
		}
		if !found {
			t.Errorf("%s is not named in %+v", tt.where, res.Notes)
		}
	}
}

// TestWrongTypes: what is not of the type that its format has is named, and is not
// taken for absent without a word: a demand would be lost.
func TestWrongTypes(t *testing.T) {
	for _, tt := range []struct{ file, old, new, where string }{
		{"kyverno.yaml", "count: 1", "count: one", ".count"},
		{"kyverno.yaml", "ignoreTlog: true", `ignoreTlog: "true"`, ".ignoreTlog"},
		{"kyverno.yaml", "skipImageReferences:\n            - \"ghcr.io/acme/trusted*\"", "skipImageReferences: 7", ".skipImageReferences"},
		{"trustpolicy.json", "ST=WA", "Cd=WA", "trustPolicies[0]"},
		{"trustpolicy.json", `"trustPolicies": [`, `"trustPolicies": {}, "others": [`, "trustPolicies"},
	} {
		data, err := os.ReadFile(filepath.Join("testdata", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(data), tt.old, tt.new, 1)
		if changed == string(data) {
			t.Fatalf("%s: nothing was changed", tt.where)
		}
		res, err := convert.Convert(tt.file, []byte(changed))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(res.Notes, func(n convert.Note) bool {
			return strings.HasSuffix(n.Where, tt.where) && strings.Contains(n.Text, "and was left out")
		}) {
			t.Errorf("%s is not named in %+v", tt.where, res.Notes)
		}
	}
}

// TestPredicateTypes: what ours does not take for a predicate type is named, and
// the rest is a policy that parses.
func TestPredicateTypes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "clusterimagepolicy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]string{
		"slstaprovenance1": "neither a URI nor a name", "vsa": "by its verifiers", verdict.VSAType: "by its verifiers", "custom": "says nothing here",
		"spdxjson": "", "https://example.com/review/v1": "",
	} {
		changed := strings.Replace(string(data), "predicateType: slsaprovenance1", "predicateType: "+kind, 1)
		if changed == string(data) {
			t.Fatal("nothing was changed")
		}
		res, err := convert.Convert("x", []byte(changed))
		if err != nil {
			t.Fatal(err)
		}
		policy, err := res.Policy.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifier.ParsePolicy("x", policy); err != nil {
			t.Errorf("%s: what was written is not accepted: %v", kind, err)
		}
		named := slices.ContainsFunc(res.Notes, func(n convert.Note) bool {
			return strings.HasSuffix(n.Where, ".attestations[0]") && strings.Contains(n.Text, "the attestation was left out") && strings.Contains(n.Text, want)
		})
		if named != (want != "") {
			t.Errorf("%s: want %q among %+v", kind, want, res.Notes)
		}
	}
}

func TestNotConvertible(t *testing.T) {
	for name, data := range map[string]string{
		"empty": "", "not YAML": "a: [", "a list": "[]", "our own": "version: 1\nrules: []\n",
		"a pod": "apiVersion: v1\nkind: Pod\n", "too large": strings.Repeat("#", convert.MaxBytes+1),
		"many documents": strings.Repeat("---\ntrustPolicies: []\n", 65),
	} {
		_, err := convert.Convert("x", []byte(data))
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
			t.Errorf("%s: got %v, want misuse", name, err)
		}
	}
}

func FuzzConvert(f *testing.F) {
	for _, name := range []string{"clusterimagepolicy.yaml", "kyverno.yaml", "trustpolicy.json", "policy.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := convert.Convert("fuzz", data)
		if err != nil || len(res.Policy.Rules) == 0 {
			return
		}
		policy, err := res.Policy.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifier.ParsePolicy("fuzz", policy); err != nil {
			t.Errorf("what was written is not accepted: %v\n%s", err, policy)
		}
	})
}
