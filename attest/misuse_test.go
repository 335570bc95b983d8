// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// TestNoTrustIsNoAnswer holds that each way into the package refuses a trust that
// accepts nothing or what it does not say, of good evidence and of none: none may
// leave that to its caller.
func TestNoTrustIsNoAnswer(t *testing.T) {
	s, in := goodSNP(t, attest.SNP)
	q := attesttest.NewTPM(t, attesttest.Statement(t), attesttest.Nonce(1))
	z, y := attesttest.NewAzureSNP(t, azureNonce), attesttest.NewAzureTDX(t, azureNonce)
	x := attesttest.NewTDX(t, tdxAt)
	noChip := attest.Trust{Kinds: []attest.Kind{attest.SNP}, SNPRoots: in.Trust.SNPRoots, AllowNoFloor: true}
	noPlatform := attest.TDXTrust{Root: x.Root(), MinEvaluation: 17}
	expected := attest.Expected{ReportData: verdict.ReportData(s.Statement, s.Nonces), Entries: in.References.Entries, Floors: in.References.Floors}
	entries := map[string]func(data []byte, trust attest.Trust, td attest.TDXTrust) error{
		"Appraise": func(data []byte, trust attest.Trust, _ attest.TDXTrust) error {
			input := in
			input.Trust = trust
			_, err := attest.Appraise(data, input, attesttest.At)
			return err
		},
		"AppraiseEvidence": func(data []byte, trust attest.Trust, _ attest.TDXTrust) error {
			_, err := attest.AppraiseEvidence(data, expected, trust, nil, attesttest.At)
			return err
		},
		"AppraiseQuote": func(data []byte, trust attest.Trust, _ attest.TDXTrust) error {
			_, err := attest.AppraiseQuote(data, attest.TPMExpected{}, trust, attesttest.At)
			return err
		},
		"AppraiseTDX": func(data []byte, _ attest.Trust, td attest.TDXTrust) error {
			_, err := attest.AppraiseTDX(data, x.Collateral(), td, x.Expected(), tdxAt)
			return err
		},
		"AppraiseAzureSNP": func(data []byte, trust attest.Trust, _ attest.TDXTrust) error {
			_, err := attest.AppraiseAzureSNP(data, z.Expected(), trust, attesttest.At)
			return err
		},
		"AppraiseAzureTDX": func(data []byte, _ attest.Trust, td attest.TDXTrust) error {
			_, err := attest.AppraiseAzureTDX(data, y.TDX.Collateral(), y.Expected(), td, attesttest.At)
			return err
		},
	}
	good := map[string][]byte{
		"Appraise": s.Bytes(t), "AppraiseEvidence": s.Bytes(t), "AppraiseQuote": q.Bytes(t),
		"AppraiseTDX": x.QuoteBytes(), "AppraiseAzureSNP": z.Bytes(t), "AppraiseAzureTDX": y.Bytes(t),
	}
	for name, appraise := range entries {
		for _, data := range [][]byte{good[name], nil} {
			for what, err := range map[string]error{
				"nothing":          appraise(data, attest.Trust{}, attest.TDXTrust{}),
				"no chip":          appraise(data, noChip, noPlatform),
				"what it does not": appraise(data, attest.Trust{Kinds: []attest.Kind{"none"}}, attest.TDXTrust{Root: x.Root(), AllowAnyPlatform: true, AnyAdvisory: true}),
			} {
				if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
					t.Errorf("%s of %d bytes, where a trust accepts %s: got %v, want a misuse", name, len(data), what, err)
				}
			}
		}
	}
	if diff := cmp.Diff(appraisers(t), slices.Sorted(maps.Keys(entries))); diff != "" {
		t.Errorf("functions that appraise (-exported +tested):\n%s", diff)
	}
}

// appraisers are the package's exported functions whose names begin with Appraise.
func appraisers(t *testing.T) []string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Appraise") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return slices.Sorted(slices.Values(names))
}
