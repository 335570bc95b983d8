// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verifier"
)

func (a *app) policyCommand() *cobra.Command {
	check := a.command("check FILE", "Check a policy and say what it means", "  assay policy check policy.yaml", exactly(1, "a policy file"),
		func(_ context.Context, args []string) (*answer, error) {
			p, err := loadPolicy(args[0])
			if err != nil {
				return nil, err
			}
			var b strings.Builder
			fmt.Fprintf(&b, "policy %s %s: %d rules, %d authorities\n", printable(args[0]), p.Digest(), len(p.Rules), len(p.Authorities))
			for _, r := range p.Rules {
				fmt.Fprintf(&b, "rule %q: %s\n", r.Name, describeRule(r))
			}
			for _, w := range p.Warnings() {
				a.warn("%s", w)
			}
			return done(map[string]any{"digest": p.Digest(), "policy": p, "warnings": p.Warnings()}, "%s", b.String()), nil
		})
	return a.group("policy", "Work with policies", check)
}

// testingOnlyParse stands for a fault in a parser.
var testingOnlyParse = func() {}

func loadPolicy(path string) (*verifier.Policy, error) {
	data, err := file.Read("policy", path, verifier.MaxPolicyBytes)
	if err != nil {
		return nil, err
	}
	testingOnlyParse()
	return verifier.ParsePolicy(path, data)
}

func describeRule(r verifier.Rule) string {
	var parts []string
	parts = append(parts, printable(strings.Join(r.Repositories, ", ")))
	if len(r.Namespaces) > 0 {
		parts = append(parts, "in "+printable(strings.Join(r.Namespaces, ", ")))
	}
	mode := r.Mode
	if mode == "" {
		mode = verifier.ModeEnforce
	}
	parts = append(parts, mode)
	if len(r.Authorities) > 0 {
		parts = append(parts, fmt.Sprintf("signed by %d of %s", max(1, r.Require), strings.Join(r.Authorities, ", ")))
	}
	for _, t := range r.Attestations {
		parts = append(parts, fmt.Sprintf("with %s by %d of %s", printable(t.PredicateType), max(1, t.Require), strings.Join(t.Authorities, ", ")))
	}
	return strings.Join(parts, "; ")
}
