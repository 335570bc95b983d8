// SPDX-License-Identifier: Apache-2.0

// Package cli has the commands of assay: each turns flags into a configuration,
// calls the package that does the work, and returns an answer.
//
// [Run] is the entry point. It alone writes to stdout and stderr and chooses
// the exit status, so that every command answers in the same form: a result and
// messages for people, or exactly one JSON document. It trusts nothing; what is
// checked is checked by the packages below.
package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/progress"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
)

// Env is what a command sees of the process around it.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal says that a person reads stderr: progress is shown.
	Terminal bool
	// Version is that of the binary.
	Version string
}

// Values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

// An app is one call of the binary.
type app struct {
	env    Env
	output string
	// answer is what the command returned, nil where help was asked for.
	answer *answer
	// help is what cobra prints: nothing else than help.
	help bytes.Buffer
	// warnings are for people, before the result.
	warnings []string
	// notes are those of them that a program must not miss: they follow the
	// reasons of a JSON answer.
	notes []verdict.Reason
}

// Run runs one command and returns the exit status: 0 allowed, 1 refused, 2
// wrong usage or configuration, 3 could not decide. A panic, which no input
// should be able to cause, is the last.
func Run(ctx context.Context, args []string, env Env) (status int) {
	a := &app{env: env, output: outputText}
	if wantsJSON(args) {
		// Also where the flags cannot be parsed.
		a.output = outputJSON
	}
	err := a.execute(ctx, args)
	return a.finish(err)
}

// execute runs the command and turns a panic into an error.
func (a *app) execute(ctx context.Context, args []string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(a.env.Stderr, "%s\n", debug.Stack()) //nolint:errcheck // the error below says it
			err = verdict.Fail(verdict.Internal, "running the command: panic: %v", r)
		}
	}()
	if err := flavour.Check(); err != nil {
		return err
	}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.env.Stdin)
	root.SetOut(&a.help)
	root.SetErr(a.env.Stderr)
	return root.ExecuteContext(ctx)
}

// wantsJSON looks for --output json without parsing anything else.
func wantsJSON(args []string) bool {
	for i, s := range args {
		switch {
		case s == "--":
			return false
		case s == "--output=json", s == "-o=json", s == "-ojson":
			return true
		case (s == "--output" || s == "-o") && i+1 < len(args) && args[i+1] == outputJSON:
			return true
		}
	}
	return false
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "assay",
		Short:         "Verify container images, and check who verified them",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.noCommand,
		RunE:          func(*cobra.Command, []string) error { return nil },
		Example: `  assay verify --key release.pub registry.example/app@sha256:9f2c…
  assay explain --policy policy.yaml registry.example/app@sha256:9f2c…
  assay dev init /tmp/dev --assayd bin/assayd`,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Use: "help [COMMAND]", Short: "Show the help of a command", RunE: func(c *cobra.Command, args []string) error {
		cmd, rest, err := c.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return a.unknownCommand(c.Root(), strings.Join(args, " "))
		}
		cmd.InitDefaultHelpFlag()
		return cmd.Help()
	}})
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVarP(&a.output, "output", "o", a.output, "text, or json for exactly one document")
	root.PersistentFlags().Lookup("output").DefValue = outputText // which a.output may not be: see wantsJSON
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.output != outputText && a.output != outputJSON {
			got := a.output
			a.output = outputText
			return verdict.Misused(nearHint(got, []string{outputText, outputJSON}), "flag --output is %q, want text or json", clip(got))
		}
		return nil
	}
	root.AddCommand(
		a.verifyCommand(), a.explainCommand(), a.policyCommand(), a.rootsCommand(),
		a.headCommand(), a.denyCommand(), a.exceptionCommand(),
		a.ticketCommand(), a.statementCommand(), a.evidenceCommand(), a.referenceCommand(), a.logCommand(),
		a.devCommand(), a.conformanceCommand(), a.versionCommand(),
	)
	return root
}

// usageTemplate is cobra's without aliases, and with the flags wrapped.
const usageTemplate = `usage: {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasAvailableSubCommands}}

commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

flags:
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}
{{- if .HasAvailableInheritedFlags}}
{{.InheritedFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}{{end}}{{end}}
{{- if .HasExample}}

example:
{{.Example}}{{end}}
`

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}.

{{end}}{{.UsageString}}`

// command makes one that does something. Its do returns the answer to print.
func (a *app) command(use, short, example string, args cobra.PositionalArgs, do func(ctx context.Context, args []string) (*answer, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: args, DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			a.answer, err = do(c.Context(), args)
			if err != nil && ctxEnded(c.Context(), err) {
				err = verdict.Fail(verdict.Internal, "running the command: interrupted: %w", err)
			}
			return err
		},
	}
}

func ctxEnded(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// group makes a command that has only commands below it.
func (a *app) group(use, short string, cmds ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: a.noCommand, DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error { return nil }}
	g.AddCommand(cmds...)
	return g
}

// about begins a message about a command's line: "head sign: ". The program's own
// name is left out, since each message begins with it.
func about(c *cobra.Command) string {
	if !c.HasParent() {
		return ""
	}
	_, name, _ := strings.Cut(c.CommandPath(), " ")
	return name + ": "
}

// noCommand is for commands that only have others below them.
func (a *app) noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return verdict.Misused("see: "+c.CommandPath()+" --help", "%sno command is named", about(c))
	}
	return a.unknownCommand(c, args[0])
}

func (a *app) unknownCommand(c *cobra.Command, name string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	hint := nearHint(name, names)
	if hint == "" {
		hint = "see: " + c.CommandPath() + " --help"
	}
	return verdict.Misused(hint, "unknown command %q for %s", clip(name), c.CommandPath())
}

// flagError turns an error of the flag parser into a misuse with a hint.
func flagError(c *cobra.Command, err error) error {
	hint := "see: " + c.CommandPath() + " --help"
	var named interface {
		error
		GetSpecifiedName() string
	}
	if errors.As(err, &named) && strings.HasPrefix(err.Error(), "unknown flag") {
		var names []string
		for line := range strings.Lines(c.Flags().FlagUsages() + c.InheritedFlags().FlagUsages()) {
			for word := range strings.FieldsSeq(line) {
				if f, ok := strings.CutPrefix(word, "--"); ok {
					names = append(names, "--"+f)
					break
				}
			}
		}
		if near := nearHint("--"+named.GetSpecifiedName(), names); near != "" {
			hint = near
		}
	}
	return verdict.Misused(hint, "%s%w", about(c), errors.New(clipTo(err.Error(), 200)))
}

// exactly is for commands with n arguments, which names says.
func exactly(n int, names string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return verdict.Misused("see: "+c.CommandPath()+" --help", "%sgot %d arguments, want %s", about(c), len(args), names)
		}
		if i := slices.Index(args, ""); i >= 0 {
			return verdict.Misused("see: "+c.CommandPath()+" --help", "%sargument %d is empty, want %s", about(c), i+1, names)
		}
		return nil
	}
}

// warn keeps a sentence for stderr.
func (a *app) warn(format string, args ...any) {
	a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
}

// note is a warning with a code, which a JSON answer has among its reasons.
func (a *app) note(code verdict.Code, text string) {
	a.warn("%s", text)
	a.notes = append(a.notes, verdict.Reason{Code: code, Text: text})
}

// progress tells a person at a terminal what takes long.
func (a *app) progress(what string) (stop func()) {
	if !a.env.Terminal {
		return func() {}
	}
	return progress.Start(a.env.Stderr, what)
}

// timeFlag is a time in RFC 3339, or now where none is given.
func timeFlag(name, value string) (time.Time, error) {
	if value == "" {
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, verdict.Misused("write it as 2026-11-25T22:30:00Z", "flag --%s is %q, want a time in RFC 3339", name, clip(value))
	}
	return t, nil
}

// lifeFlag refuses a life that is none or longer than readers take.
func lifeFlag(name string, life, most time.Duration, hint string) error {
	if life <= 0 || life > most {
		return verdict.Misused(hint, "flag --%s is %s, want more than 0 and at most %gh", name, life, most.Hours())
	}
	return nil
}

// nearHint proposes the nearest of names, or returns the empty string.
func nearHint(got string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := distance(got, n); d < least && d < len(n) {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance is that of Damerau and Levenshtein, with neighbours swapped as one.
// Texts over 64 bytes are far from everything.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// clip bounds what a message quotes of its input.
func clip(s string) string { return clipTo(s, 64) }

func clipTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
