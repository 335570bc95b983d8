// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/convert"
	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
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
	return a.group("policy", "Work with policies", check, a.policyFormatCommand(), a.policySchemaCommand(), a.policyConvertCommand(), a.policyTestCommand(), a.policyDiffCommand())
}

// policyFormatCommand prints a policy in one layout, or writes it back.
func (a *app) policyFormatCommand() *cobra.Command {
	var write bool
	c := a.command("fmt FILE [--write]", "Print a policy in the one layout, with its comments", "  assay policy fmt policy.yaml\n  assay policy fmt --write policy.yaml", exactly(1, "a policy file"),
		func(_ context.Context, args []string) (*answer, error) {
			data, err := file.Read("policy", args[0], verifier.MaxPolicyBytes)
			if err != nil {
				return nil, err
			}
			out, err := verifier.FormatPolicy(args[0], data)
			if err != nil {
				return nil, err
			}
			if !write {
				return done(map[string]any{"policy": string(out), "changed": !bytes.Equal(out, data)}, "%s", out), nil
			}
			if bytes.Equal(out, data) {
				return done(map[string]any{"changed": false}, "%s is formatted\n", printable(args[0])), nil
			}
			if err := file.Write(args[0], out, file.Public); err != nil {
				return nil, err
			}
			a.warn("the digest of the policy is another now: the next head has to name it")
			return done(map[string]any{"changed": true}, "%s was formatted\n", printable(args[0])), nil
		})
	c.Flags().BoolVar(&write, "write", false, "write the file in place of printing it")
	return c
}

func (a *app) policySchemaCommand() *cobra.Command {
	return a.command("schema", "Print the JSON Schema of a policy, for editors", "  assay policy schema > policy.schema.json", exactly(0, "none"),
		func(context.Context, []string) (*answer, error) {
			schema := verifier.PolicySchema()
			return done(json.RawMessage(schema), "%s", schema), nil
		})
}

func (a *app) policyConvertCommand() *cobra.Command {
	var out string
	c := a.command("convert FILE [--out FILE]", "Write our policy from that of another project",
		"  assay policy convert clusterimagepolicy.yaml --out policy.yaml", exactly(1, "a ClusterImagePolicy, a Kyverno policy, a notation trust policy or a containers policy.json"),
		func(_ context.Context, args []string) (*answer, error) {
			data, err := file.Read("policy", args[0], convert.MaxBytes)
			if err != nil {
				return nil, err
			}
			res, err := convert.Convert(args[0], data)
			if err != nil {
				return nil, err
			}
			if len(res.Policy.Rules) == 0 {
				for _, n := range res.Notes {
					a.warn("%s: %s", n.Where, n.Text)
				}
				return nil, verdict.Misused("the warnings say why; write the policy by hand: assay policy schema", "%s: nothing of it could be carried over", args[0])
			}
			policy, err := res.Policy.Encode()
			if err != nil {
				return nil, err
			}
			if _, err := verifier.ParsePolicy("the converted policy", policy); err != nil {
				return nil, err
			}
			for _, n := range res.Notes {
				a.warn("%s: %s", n.Where, n.Text)
			}
			for _, name := range slices.Sorted(maps.Keys(res.TrustStores)) {
				a.warn("the roots file needs a trust store %q of kind %s", name, res.TrustStores[name])
			}
			value := map[string]any{"formats": res.Formats, "policy": string(policy), "notes": res.Notes, "trustStores": res.TrustStores}
			if out == "" {
				return done(value, "%s", policy), nil
			}
			if err := file.Write(out, policy, file.Public); err != nil {
				return nil, err
			}
			return done(value, "%s: %d rules of %s, %d notes\n", printable(out), len(res.Policy.Rules), strings.Join(res.Formats, " and "), len(res.Notes)), nil
		})
	c.Flags().StringVar(&out, "out", "", "write the policy to this `FILE`")
	return c
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
