// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the design gives a budget for, and prints budget,
// measured value and its ratio to one P-256 signature verification of the same
// run, so that numbers of different machines can be compared. Nothing fails on
// them; a benchmark that does not run does.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A row is one budget and the benchmark that measures it.
type row struct {
	what      string
	folder    string
	benchmark string
	unit      string // of the benchmark's output: "ns/op", or of its own
	least     bool   // the budget is a least, not a most
	budget    float64
	show      func(float64) string
}

// baseline is the benchmark that the ratios are to.
const baseline = "BenchmarkP256Verify"

var rows = []row{
	{"P-256 verification", "ci/bench", baseline, "ns/op", false, 0, duration},
	{"ticket check, CPU", "node/gate", "BenchmarkTicketCheck", "ns/op", false, 150e3, duration},
	{"assay-gate from start to exit, warm agent, median", "cmd/assay-gate", "BenchmarkGate", "median-ns", false, 10e6, duration},
	{"agent's answer on a hit", "node/agent", "BenchmarkHit", "ns/op", false, 1e6, duration},
	{"daemon's answer on a cached verdict, one client", "daemon", "BenchmarkCachedVerdict", "ns/op", false, 1e6, duration},
	{"daemon's answers on cached verdicts, open loop", "daemon", "BenchmarkCachedVerdictLoad", "answers/s", true, 5000, perSecond},
	{"keyless verification against sigstore-go alone", "verifier", "BenchmarkKeyless", "x-sigstore-go", false, 1.10, times},
	{"assayd idle, RSS", "cmd/assayd", "BenchmarkIdle", "MiB", false, 80, mebibytes},
}

func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.1f µs", ns/1e3)
	default:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	}
}

func perSecond(n float64) string { return fmt.Sprintf("%.0f /s", n) }
func times(n float64) string     { return fmt.Sprintf("%.2f ×", n) }
func mebibytes(n float64) string { return fmt.Sprintf("%.1f MiB", n) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(table, "what\tbudget\tmeasured\tP-256 verifications\twithin")
	if err != nil {
		return err
	}
	var base float64
	var problems []error
	for _, r := range rows {
		got, err := measure(ctx, r)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if r.benchmark == baseline {
			base = got
		}
		budget, within, ratio := "", "", ""
		if r.budget != 0 {
			budget = "≤ " + r.show(r.budget)
			ok := got <= r.budget
			if r.least {
				budget, ok = "≥ "+r.show(r.budget), got >= r.budget
			}
			within = map[bool]string{true: "yes", false: "NO"}[ok]
		}
		if (r.unit == "ns/op" || r.unit == "median-ns") && base != 0 {
			ratio = fmt.Sprintf("%.1f", got/base)
		}
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.what, budget, r.show(got), ratio, within); err != nil {
			return err
		}
	}
	return errors.Join(append(problems, table.Flush())...)
}

// measure runs one benchmark and returns its value in the row's unit.
func measure(ctx context.Context, r row) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+r.benchmark+"$", "./"+r.folder)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("running %s of %s: %w\n%s", r.benchmark, r.folder, err, out)
	}
	return parse(out, r)
}

// parse finds the value in the benchmark format of Go: a name, the iterations,
// then pairs of value and unit.
func parse(out []byte, r row) (float64, error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		if name, _, _ := strings.Cut(fields[0], "-"); name != r.benchmark {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if fields[i+1] == r.unit {
				return strconv.ParseFloat(fields[i], 64)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("running %s of %s: no value in %s:\n%s", r.benchmark, r.folder, r.unit, out)
}
