// SPDX-License-Identifier: Apache-2.0

// Command mutation takes the checks of formats, of the verifier, of the appraisal of
// evidence and of a node's gate away, one at a time, and runs the tests: each has to make
// one fail. A check is a condition that returns a reason code.
//
// The tests are built once, with every check asking package hook whether it is the
// one that is gone. Each test runs once with all checks there, to see which ones
// refuse something in it: no other test could miss them. Then each check is taken
// away, and those tests run until one fails, the quickest first. Nothing is written
// to the checkout: the compiler is given the changed files in place of the others.
//
// Checks that nothing can reach, or that another one covers with the same code, are
// listed with a reason in survivors.txt. A check that survives and is not listed
// fails the run, and so does one that is listed and does not survive.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

const (
	module = "github.com/assayd/assay"
	// survivorsFile has the accepted survivors: an id, " # " and a reason on each line.
	survivorsFile = "ci/mutation/survivors.txt"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	flags := flag.NewFlagSet("mutation", flag.ExitOnError)
	var o options
	flags.StringVar(&o.path, "path", "", "take only checks of this folder or file away, as verifier/internal/tuf")
	flags.StringVar(&o.code, "code", "", "take only checks with this code away, as SigInvalid")
	flags.StringVar(&o.tests, "run", "", "run only tests whose names match this regular expression: quicker, and it finds more survivors")
	flags.BoolVar(&o.list, "list", false, "list the checks, and run nothing")
	flags.IntVar(&o.workers, "workers", 2, "how many tests run at once")
	_ = flags.Parse(os.Args[1:]) // it exits
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		stop()
		os.Exit(1)
	}
}

type options struct {
	path, code, tests string
	list              bool
	workers           int
}

// roots are where the checks are, with what is below. node/agent is not among them: its
// tests run daemons and wait up to a minute for what an agent does, so that each of its
// checks would take that long. TestTicketsThatAreNotTaken and its like have them.
var roots = []string{"attest", "node/gate", "node/trust", "verdict", "verifier"}

// beside are folders whose tests are those of checks in roots, too: attest judges
// endorsements for who fetches them.
var beside = []string{"enclave/endorse"}

// folders are those with checks, without test kits.
func folders() ([]string, error) {
	var out []string
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if path != root && strings.HasSuffix(path, "test") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			files, err := filepath.Glob(filepath.Join(path, "*.go"))
			if len(files) > 0 {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func run(ctx context.Context, w io.Writer, o options) error {
	tests, err := regexp.Compile(o.tests)
	if err != nil {
		return err
	}
	all, err := folders()
	if err != nil {
		return err
	}
	checks, err := findChecks(all)
	if err != nil {
		return err
	}
	o.path = strings.TrimSuffix(strings.TrimPrefix(o.path, "./"), "/")
	var chosen []int
	for i, c := range checks {
		if (o.code == "" || c.code == o.code) && (o.path == "" || c.file == o.path || strings.HasPrefix(c.file, o.path+"/")) {
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no check is in %q with code %q", o.path, o.code)
	}
	if o.list {
		for _, i := range chosen {
			if _, err := fmt.Fprintln(w, checks[i]); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "%d checks\n", len(chosen))
		return err
	}
	accepted, err := survivors(survivorsFile)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, checks, append(all, beside...), tests, max(o.workers, 1))
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir) //nolint:errcheck // it is in the folder for such things
	noticed := make([]bool, len(chosen))
	if err := inParallel(ctx, max(o.workers, 1), len(chosen), func(i int) (err error) {
		noticed[i], err = b.noticed(ctx, chosen[i])
		return err
	}); err != nil {
		return err
	}
	var problems []error
	lived := 0
	known := make(map[string]bool)
	for i, n := range chosen {
		c := checks[n]
		known[c.id()] = true
		switch why := accepted[c.id()]; {
		case noticed[i] && why != "":
			problems = append(problems, fmt.Errorf("a test fails without it, and it is listed as a survivor: %s", c))
		case noticed[i]:
		case why == "":
			lived++
			problems = append(problems, fmt.Errorf("no test fails without it, of %d that it refuses something in: %s\n    %s", len(b.hits[n]), c, c.id()))
		default:
			lived++
		}
	}
	if len(chosen) == len(checks) {
		for id := range accepted {
			if !known[id] {
				problems = append(problems, fmt.Errorf("%s lists a check that is not there: %s", survivorsFile, id))
			}
		}
	}
	_, err = fmt.Fprintf(w, "%d checks taken away one at a time: %d noticed by a test, %d not\n", len(chosen), len(chosen)-lived, lived)
	return errors.Join(append(problems, err)...)
}

// inParallel calls do for 0 to n-1, and stops at an error.
func inParallel(ctx context.Context, workers, n int, do func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// survivors reads the accepted ones and why.
func survivors(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, why, ok := strings.Cut(line, " # ")
		if !ok || strings.TrimSpace(why) == "" || out[id] != "" {
			return nil, fmt.Errorf("%s: %q has no reason, or is there twice", path, line)
		}
		out[id] = why
	}
	return out, nil
}
