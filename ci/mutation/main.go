// SPDX-License-Identifier: Apache-2.0

// Command mutation takes the checks of the verifier away, one at a time, and runs
// the tests: each has to make one fail. A check is a condition that returns a reason
// code. Nothing is written to the checkout: the compiler is given the changed file in
// place of the other one. It takes hours, and is a job of its own; -folder and -code
// choose a part.
//
// Checks whose tests are known to be missing, or that nothing can reach, are listed
// with a reason in survivors.txt. A check that survives and is not listed fails the
// run, and so does one that is listed and does not survive.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// survivorsFile has the accepted survivors: an id, " # " and a reason on each line.
const survivorsFile = "ci/mutation/survivors.txt"

// testTimeout bounds the tests of one mutant; one that makes a test hang is
// noticed by that.
const testTimeout = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	flags := flag.NewFlagSet("mutation", flag.ExitOnError)
	folder := flags.String("folder", "", "only checks of this folder, as verifier/internal/tuf")
	code := flags.String("code", "", "only checks with this code, as SigInvalid")
	list := flags.Bool("list", false, "list the checks, and run nothing")
	workers := flags.Int("workers", 2, "how many mutants are tested at once")
	_ = flags.Parse(os.Args[1:]) // it exits
	if err := run(ctx, os.Stdout, *folder, *code, *list, max(*workers, 1)); err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		stop()
		os.Exit(1)
	}
}

// folders are those with checks: verifier and what is below it, and no test kits.
func folders() ([]string, error) {
	out := []string{}
	err := filepath.WalkDir("verifier", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if strings.HasSuffix(path, "test") || d.Name() == "testdata" {
			return filepath.SkipDir
		}
		out = append(out, path)
		return nil
	})
	return out, err
}

func run(ctx context.Context, w io.Writer, folder, code string, list bool, workers int) error {
	all, err := folders()
	if err != nil {
		return err
	}
	if folder != "" {
		folder = strings.TrimSuffix(strings.TrimPrefix(folder, "./"), "/")
		if !slices.Contains(all, folder) {
			return fmt.Errorf("%s has no checks: want one of %s", folder, strings.Join(all, ", "))
		}
		all = []string{folder}
	}
	checks, err := findChecks(all)
	if err != nil {
		return err
	}
	checks = slices.DeleteFunc(checks, func(c check) bool { return code != "" && c.code != code })
	if list {
		for _, c := range checks {
			if _, err := fmt.Fprintln(w, c); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "%d checks\n", len(checks))
		return err
	}
	accepted, err := survivors(survivorsFile)
	if err != nil {
		return err
	}
	survived := make([]bool, len(checks))
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				survived[i], errs[i] = survives(ctx, checks[i])
			}
		})
	}
	for i := range checks {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var problems []error
	lived := 0
	for i, c := range checks {
		switch {
		case errs[i] != nil:
			problems = append(problems, errs[i])
		case survived[i] && accepted[c.id()] == "":
			lived++
			problems = append(problems, fmt.Errorf("no test fails without it: %s\n    %s", c, c.id()))
		case survived[i]:
			lived++
		case accepted[c.id()] != "":
			problems = append(problems, fmt.Errorf("a test fails without it, and it is listed as a survivor: %s", c))
		}
	}
	_, err = fmt.Fprintf(w, "%d checks taken away one at a time: %d noticed by a test, %d not\n", len(checks), len(checks)-lived, lived)
	return errors.Join(append(problems, err)...)
}

// survives says whether all tests pass without the check.
func survives(ctx context.Context, c check) (bool, error) {
	dir, err := os.MkdirTemp("", "assay-mutation-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is in the folder for such things
	source, err := os.ReadFile(c.file)
	if err != nil {
		return false, err
	}
	mutant := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(mutant, c.without(source), 0o600); err != nil {
		return false, err
	}
	original, err := filepath.Abs(c.file)
	if err != nil {
		return false, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: mutant}})
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return false, err
	}
	packages := []string{"./" + filepath.Dir(c.file)}
	if packages[0] != "./verifier" {
		packages = append(packages, "./verifier") // its tests use what is below it
	}
	for _, p := range packages {
		// Not the cache: a test that passed before is not asked for again there.
		cmd := exec.CommandContext(ctx, "go", "test", "-overlay", filepath.Join(dir, "overlay.json"), "-vet=off", "-failfast", "-count=1", "-timeout", testTimeout.String(), p)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		switch err := cmd.Run(); {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case bytes.Contains(out.Bytes(), []byte("[build failed]")), bytes.Contains(out.Bytes(), []byte("[setup failed]")):
			return false, fmt.Errorf("the mutant does not compile: %s\n%s", c, out.String())
		case err != nil:
			return false, nil
		}
	}
	return true, nil
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
