// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// defaultConfig is where trust.yaml is when nobody says otherwise.
const defaultConfig = "/etc/assay/trust.yaml"

const usage = `assay-node keeps what a node needs to decide about images.

Usage:
  assay-node [--config FILE] [--debug]            run the agent
  assay-node config check [--config FILE]         say what trust.yaml means
  assay-node config gate [--config FILE] [--output FILE]
                                                  write gate.json for assay-gate
  assay-node version                              print version and crypto module

Flags:
  --config FILE   trust.yaml (default /etc/assay/trust.yaml)
  --output FILE   where to write gate.json (default: print it)
  --debug         log more

Example:
  assay-node config gate --config /etc/assay/trust.yaml --output /etc/assay/gate.json
`

type options struct {
	verb, config, output string
	level                slog.Level
}

// parse reads the words and flags.
func parse(args []string) (options, error) {
	o := options{config: defaultConfig, level: slog.LevelInfo}
	var words []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		words, args = append(words, args[0]), args[1:]
	}
	f := flag.NewFlagSet("assay-node", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.config, "config", o.config, "")
	f.StringVar(&o.output, "output", "", "")
	debug := f.Bool("debug", false, "")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return options{verb: "help"}, nil
		}
		return options{}, verdict.Misused("see assay-node --help", "reading flags: %w", err)
	}
	if *debug {
		o.level = slog.LevelDebug
	}
	o.verb = strings.Join(append(words, f.Args()...), " ")
	switch o.verb {
	case "", "help", "version", "config check", "config gate":
	default:
		hint := "see assay-node --help"
		if strings.HasPrefix(o.verb, "config check ") || strings.HasPrefix(o.verb, "config gate ") {
			hint = "name the file with --config"
		}
		return options{}, verdict.Misused(hint, "unknown command %.64q", o.verb)
	}
	if o.output != "" && o.verb != "config gate" {
		return options{}, verdict.Misused("see assay-node --help", "--output is for config gate alone")
	}
	return o, nil
}

func load(o options) (trust.Config, error) { return trust.Load(o.config) }

// configGate writes gate.json.
func configGate(o options, stdout io.Writer) error {
	c, err := load(o)
	if err != nil {
		return err
	}
	g, err := c.Gate()
	if err != nil {
		return err
	}
	data, err := g.Encode()
	if err != nil {
		return err
	}
	if o.output == "" {
		return write(stdout, string(data))
	}
	if err := gate.WriteFile(o.output, data); err != nil {
		return verdict.Misused("", "writing gate configuration: %w", err)
	}
	return nil
}

// configCheck says what trust.yaml means.
func configCheck(o options, stdout io.Writer) error {
	c, err := load(o)
	if err != nil {
		return err
	}
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-16s %s\n", key, fmt.Sprintf(format, args...))
	}
	line("node", "%s in cluster %s", c.Node, c.Cluster)
	line("daemons", "%s", strings.Join(c.Daemons, ", "))
	line("issuers", "%s", strings.Join(c.Issuers, ", "))
	line("owners", "%d of %d must sign, head at least %d", c.Owners.Threshold, len(c.Owners.Keys), c.MinHead)
	line("evidence", "%s", strings.Join(c.TEE.Kinds, ", "))
	line("quorum", "%d by %s", c.Quorum, cmp.Or(c.QuorumBy, gate.ByBoot))
	line("mode", "%s", c.Mode)
	line("status", "asked for every %s, fresh for %s", c.StatusInterval, c.StatusAge)
	if c.Offline == gate.OfflineLastKnown {
		line("offline", "what ran here before, for %s after the last status", c.MaxOffline)
	} else {
		line("offline", "everything is denied")
	}
	line("gate deadline", "%s", c.Deadline.Round(time.Millisecond))
	for _, warning := range warnings(c) {
		line("not for production", "%s", warning)
	}
	return write(stdout, b.String())
}

// warnings are what a development configuration relaxes.
func warnings(c trust.Config) []string {
	var out []string
	if c.Profile == verdict.Development {
		out = append(out, "profile is development")
	}
	for _, kind := range c.TEE.Kinds {
		if verdict.Simulated(kind) {
			out = append(out, "the TEE is simulated: nothing is proven about hardware")
		}
	}
	if c.AllowUnwitnessed {
		out = append(out, "logs are unwitnessed: a daemon's host could hide a fork")
	}
	if c.Mode != gate.Enforce {
		out = append(out, fmt.Sprintf("mode %s lets through what is refused", c.Mode))
	}
	return out
}

func write(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

// tell prints a message and what to do next. Where stderr is gone there is nobody
// to tell.
func tell(stderr io.Writer, status int, err error, hint string) int {
	word := map[int]string{1: "refused: ", 3: "could not decide: "}[status]
	text := fmt.Sprintf("assay-node: %s%v\n", word, err)
	if hint == "" {
		if info, ok := verdict.CodeOf(err).Info(); ok && status != 2 {
			hint = info.Hint
		}
	}
	if hint != "" {
		text += "assay-node: hint: " + hint + "\n"
	}
	_, _ = io.WriteString(stderr, text)
	return status
}

// report tells what is wrong and what to do, and returns the exit status.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	status, hint := 3, ""
	if m, ok := errors.AsType[*verdict.Misuse](err); ok {
		status, hint = 2, m.Hint
	} else if verdict.Refused(err) {
		status = 1
	}
	return tell(stderr, status, err, hint)
}
