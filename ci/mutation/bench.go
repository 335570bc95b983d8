// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/assayd/assay/ci/mutation/hook"
)

// buildTimeout bounds the build of one test binary.
const buildTimeout = 15 * time.Minute

// A suite is the tests of one package.
type suite struct{ folder, binary string }

// A test is one of a suite, by its name.
type test struct {
	suite *suite
	name  string
	took  time.Duration // with all checks there
}

// A bench has the tests, and knows which of them a check refuses something in.
type bench struct {
	dir  string
	hits map[int][]*test // by the number of the check, the quickest first
}

// newBench builds the tests of folders and runs each once whose name matches.
func newBench(ctx context.Context, checks []check, folders []string, names *regexp.Regexp, workers int) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "assay-mutation-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	b := &bench{dir: dir, hits: map[int][]*test{}}
	overlay, err := b.overlay(checks)
	if err != nil {
		return nil, err
	}
	var tests []*test
	for i, folder := range folders {
		s := &suite{folder: folder, binary: filepath.Join(b.dir, strconv.Itoa(i)+".test")}
		found, err := s.build(ctx, overlay)
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if names.MatchString(t.name) {
				tests = append(tests, t)
			}
		}
	}
	var mu sync.Mutex
	err = inParallel(ctx, workers, len(tests), func(i int) error {
		hits, err := tests[i].record(ctx, filepath.Join(b.dir, strconv.Itoa(i)+".hits"))
		mu.Lock()
		defer mu.Unlock()
		for _, n := range hits {
			b.hits[n] = append(b.hits[n], tests[i])
		}
		return err
	})
	for _, t := range b.hits {
		slices.SortFunc(t, func(a, b *test) int { return int(a.took - b.took) })
	}
	return b, err
}

// overlay writes the changed files, and the list of them for the compiler.
func (b *bench) overlay(checks []check) (string, error) {
	of, numbers := map[string][]check{}, map[string][]int{}
	for i, c := range checks {
		of[c.file], numbers[c.file] = append(of[c.file], c), append(numbers[c.file], i)
	}
	replace := map[string]string{}
	for file := range of {
		source, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		changed, err := hooked(source, of[file], numbers[file])
		if err != nil {
			return "", err
		}
		original, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(b.dir, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(replace[original], changed, 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

// build makes the binary, and returns its tests: none where the folder has none.
func (s *suite) build(ctx context.Context, overlay string) ([]*test, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", s.binary, "./"+s.folder).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the tests of %s: %w\n%s", s.folder, err, out)
	}
	if _, err := os.Stat(s.binary); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	cmd := s.command(ctx, "-test.list=.")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests of %s: %w", s.folder, err)
	}
	var tests []*test
	for name := range strings.FieldsSeq(string(out)) {
		// What asking the hook allocates is not the code's.
		if !strings.HasPrefix(name, "Benchmark") && !strings.HasSuffix(name, "Allocates") {
			tests = append(tests, &test{suite: s, name: name})
		}
	}
	return tests, nil
}

func (s *suite) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Dir = s.folder
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = os.Environ()
	return cmd
}

// run runs the test alone. It gives up by itself after timeout, and is killed where it
// does not.
func (t *test) run(ctx context.Context, timeout time.Duration, env string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+30*time.Second)
	defer cancel()
	cmd := t.suite.command(ctx, "-test.run=^"+regexp.QuoteMeta(t.name)+"$", "-test.failfast", "-test.timeout="+timeout.String())
	cmd.Env = append(cmd.Env, env)
	return cmd.CombinedOutput()
}

// record runs the test with all checks there, and returns those that held.
func (t *test) record(ctx context.Context, path string) ([]int, error) {
	start := time.Now()
	if out, err := t.run(ctx, 5*time.Minute, hook.Hits+"="+path); err != nil {
		return nil, fmt.Errorf("%s of %s fails with all checks there: %w\n%s", t.name, t.suite.folder, err, out)
	}
	t.took = time.Since(start)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var hits []int
	for line := range bytes.FieldsSeq(data) {
		n, err := strconv.Atoi(string(line))
		if err != nil {
			return nil, err
		}
		hits = append(hits, n)
	}
	slices.Sort(hits) // a process that the test started may have noted one again
	return slices.Compact(hits), nil
}

// noticed says whether a test fails without a check. One that hangs fails.
func (b *bench) noticed(ctx context.Context, number int) (bool, error) {
	for _, t := range b.hits[number] {
		_, err := t.run(ctx, time.Minute+10*t.took, hook.Away+"="+strconv.Itoa(number))
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			return true, nil
		case err != nil:
			return false, err
		}
	}
	return false, nil
}
