// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Limits.
const (
	// grace is how long a program may take to end after SIGTERM.
	grace = 10 * time.Second
	// maxOutput bounds what is read of a program's output, in bytes.
	maxOutput = 4 << 20
	// pause is how often something is looked at that is waited for.
	pause = 100 * time.Millisecond
)

// A process is a program that this one started and ends by its id.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error
}

// start runs a program in dir with its output in the file log.
func start(name, dir, log, binary string, args ...string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, args...) //nolint:noctx // ended by stop, with time to end well
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, f, f
	// Its own group: an interrupt from the terminal is for this program, which ends
	// its own in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), f.Close())
	}
	p := &process{name: name, cmd: cmd, log: f, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = errors.Join(cmd.Wait(), f.Close())
	}()
	return p, nil
}

// stop asks the program to end and waits; one that does not is killed.
func (p *process) stop() error {
	if p.exited() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		err := p.cmd.Process.Kill()
		<-p.done
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM", p.name, grace), err)
	}
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// An output is what a command said.
type output struct {
	status         int
	stdout, stderr string
}

// call runs a command to its end.
func call(ctx context.Context, binary string, args ...string) (output, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := output{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	return o, err
}

// must runs a command that has to succeed.
func must(ctx context.Context, binary string, args ...string) error {
	o, err := call(ctx, binary, args...)
	if err == nil && o.status != 0 {
		err = fmt.Errorf("%s %s: exit status %d: %s%s", binary, strings.Join(args, " "), o.status, o.stdout, o.stderr)
	}
	return err
}

// waitFor calls ready until it says yes, at most for a time.
func waitFor(ctx context.Context, what string, most time.Duration, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		ok, err := ready()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: not within %s", what, most)
		case <-tick.C:
		}
	}
}

// contains tells whether a file has text in it.
func contains(path, text string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, maxOutput))
	return bytes.Contains(data, []byte(text)), err
}
