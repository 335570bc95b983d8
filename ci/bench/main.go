// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the design gives a budget for, and prints budget,
// measured value, and what it would be on the machine that the budgets of times are
// for: one that verifies a P-256 signature in 75 µs. That one is compared with the
// budget, so that a slower machine does not look like slower code. Nothing fails on
// the numbers; a benchmark that does not run does.
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
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A row is one budget and the benchmark that measures it.
type row struct {
	what      string
	folder    string
	benchmark string // with its sub-benchmark after a slash
	unit      string // of the benchmark's output: "ns/op", or of its own
	least     bool   // the budget is a least, not a most
	budget    float64
	show      func(float64) string
	// cpus is how many processors may work on it; 0 is all.
	cpus int
	// shared: it wants the shared test data beside the checkout.
	shared bool
}

// baseline is the benchmark that times are scaled by, and what it takes, in
// nanoseconds, on the machine that the budgets are for.
const (
	baseline     = "BenchmarkP256Verify"
	baselineTime = 75e3
)

// isTime says whether a unit is one of time, which depends on the machine.
func isTime(unit string) bool {
	return unit == "ns/op" || strings.HasSuffix(unit, "-ns") || strings.HasPrefix(unit, "s/")
}

// sharedData has the signatures of real images.
const sharedData = "../shared/testdata"

var rows = []row{
	{what: "P-256 verification", folder: "ci/bench", benchmark: baseline, unit: "ns/op", show: duration},
	{what: "ticket check, CPU", folder: "node/gate", benchmark: "BenchmarkTicketCheck", unit: "ns/op", budget: 150e3, show: duration},
	{what: "assay-gate from start to exit, warm agent, median", folder: "cmd/assay-gate", benchmark: "BenchmarkGate", unit: "median-ns", budget: 10e6, show: duration},
	{what: "agent's answer on a hit", folder: "node/agent", benchmark: "BenchmarkHit", unit: "ns/op", budget: 1e6, show: duration},
	{what: "daemon's answer on a cached verdict, one client", folder: "daemon", benchmark: "BenchmarkCachedVerdict", unit: "ns/op", budget: 1e6, show: duration},
	{what: "daemon's answers on cached verdicts, open loop", folder: "daemon", benchmark: "BenchmarkCachedVerdictLoad", unit: "answers/s", least: true, budget: 5000, show: perSecond},
	{what: "verdict in the verifier's cache", folder: "verifier", benchmark: "BenchmarkCached", unit: "ns/op", budget: 10e3, show: duration},
	// 110 µs, in what they are counted in: a ratio of one run says it more exactly.
	{what: "keyed bundle, CPU, in P-256 verifications", folder: "verifier", benchmark: "BenchmarkKeyedCPU", unit: "x-p256", budget: 110e3 / baselineTime, show: times, cpus: 1},
	{what: "the same on all processors", folder: "verifier", benchmark: "BenchmarkKeyedCPU", unit: "x-p256", show: times},
	{what: "keyless with P-256 alone, Rekor v1, against sigstore-go", folder: "verifier", benchmark: "BenchmarkKeyless/made-here", unit: "x-sigstore-go", show: times},
	{what: "keyless with P-256 alone, Rekor v2, against sigstore-go", folder: "verifier", benchmark: "BenchmarkKeyless/made-here-rekor-v2", unit: "x-sigstore-go", show: times},
	{what: "keyless, real bundle v0.3 with timestamp", folder: "verifier", benchmark: "BenchmarkKeyless/bundle-v0.3-keyless", unit: "x-sigstore-go", budget: 0.5, show: times, shared: true},
	{what: "the same, real bundle v0.2", folder: "verifier", benchmark: "BenchmarkKeyless/bundle-v0.2-keyless", unit: "x-sigstore-go", budget: 0.5, show: times, shared: true},
	{what: "the same, real bundle v0.1", folder: "verifier", benchmark: "BenchmarkKeyless/bundle-v0.1-keyless", unit: "x-sigstore-go", budget: 0.5, show: times, shared: true},
	{what: "the same, GitHub's attestation", folder: "verifier", benchmark: "BenchmarkKeyless/github-attestation", unit: "x-sigstore-go", budget: 0.5, show: times, shared: true},
	{what: "notation JWS with timestamp, against notation-go", folder: "ci/peers", benchmark: "BenchmarkNotation/notation-jws-timestamp", unit: "x-notation-go", show: times, shared: true},
	{what: "notation COSE with timestamp, against notation-go", folder: "ci/peers", benchmark: "BenchmarkNotation/notation-cose-expired-cert-timestamp", unit: "x-notation-go", show: times, shared: true},
	{what: "10 000 distinct keyed images of a layout", folder: "verifier", benchmark: "BenchmarkKeyedLayout", unit: "s/10000", budget: 2.3, show: seconds},
	{what: "the same on one processor", folder: "verifier", benchmark: "BenchmarkKeyedLayout", unit: "s/10000", show: seconds, cpus: 1},
	{what: "10 000 requests over 100 keyless images", folder: "verifier", benchmark: "BenchmarkKeylessRequests", unit: "s/10000", budget: 2.3, show: seconds},
	{what: "the same on one processor", folder: "verifier", benchmark: "BenchmarkKeylessRequests", unit: "s/10000", show: seconds, cpus: 1},
	{what: "64 keyless verifications in flight, RSS", folder: "verifier", benchmark: "BenchmarkInFlight", unit: "MiB", budget: 256, show: mebibytes},
	{what: "appraisal of an SNP statement", folder: "attest", benchmark: "BenchmarkAppraise/snp", unit: "ns/op", budget: 1.5e6, show: duration},
	{what: "appraisal of a TDX quote with collateral", folder: "attest", benchmark: "BenchmarkAppraise/tdx", unit: "ns/op", budget: 2e6, show: duration},
	{what: "appraisal of a TPM statement", folder: "attest", benchmark: "BenchmarkAppraise/tpm", unit: "ns/op", budget: 1e6, show: duration},
	{what: "appraisal of 100 daemons at once, all memory", folder: "attest", benchmark: "BenchmarkHundred", unit: "MiB", budget: 64, show: mebibytes},
	{what: "assayd idle, RSS", folder: "cmd/assayd", benchmark: "BenchmarkIdle", unit: "MiB", budget: 80, show: mebibytes},
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
func seconds(n float64) string   { return fmt.Sprintf("%.2f s", n) }
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
	_, err := fmt.Fprintln(table, "what\tbudget\tmeasured\tscaled\twithin")
	if err != nil {
		return err
	}
	_, err = os.Stat(sharedData)
	haveShared := err == nil
	var base float64
	var problems []error
	for _, r := range rows {
		if r.shared && !haveShared {
			if _, err := fmt.Fprintf(table, "%s\t\tnot measured: no shared test data\t\t\n", r.what); err != nil {
				return err
			}
			continue
		}
		got, err := measure(ctx, r)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if r.benchmark == baseline {
			base = got
		}
		scaled, shown := got, ""
		if isTime(r.unit) && base != 0 && r.benchmark != baseline {
			scaled = got * baselineTime / base
			shown = r.show(scaled)
		}
		budget, within := "", ""
		if r.budget != 0 {
			budget = "≤ " + r.show(r.budget)
			ok := scaled <= r.budget
			if r.least {
				budget, ok = "≥ "+r.show(r.budget), scaled >= r.budget
			}
			within = map[bool]string{true: "yes", false: "NO"}[ok]
		}
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.what, budget, r.show(got), shown, within); err != nil {
			return err
		}
	}
	return errors.Join(append(problems, table.Flush())...)
}

// measure runs one benchmark and returns its value in the row's unit.
func measure(ctx context.Context, r row) (float64, error) {
	var pattern []string
	for part := range strings.SplitSeq(r.benchmark, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	args := []string{"test", "-run", "^$", "-bench", strings.Join(pattern, "/")}
	if r.cpus > 0 {
		args = append(args, "-cpu", strconv.Itoa(r.cpus))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = r.folder // some are modules of their own
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("running %s of %s: %w\n%s", r.benchmark, r.folder, err, out)
	}
	return parse(out, r)
}

// parse finds the value in the benchmark format of Go: a name with the number of
// processors where it is not one, the iterations, then pairs of value and unit.
func parse(out []byte, r row) (float64, error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		rest, ok := strings.CutPrefix(fields[0], r.benchmark)
		if ok && rest != "" {
			_, err := strconv.Atoi(strings.TrimPrefix(rest, "-"))
			ok = err == nil && rest[0] == '-'
		}
		if !ok {
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
