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
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// grace is how long a program may take to end after SIGTERM.
const grace = 15 * time.Second

// maxOutput bounds what is kept of a command's output, in bytes.
const maxOutput = 1 << 20

// A process is a program that the demo started and ends by its id.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error

	stopped bool
}

// start runs a program with its output in a file of the demo's folder.
func (d *demo) start(name, binary string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(d.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, args...) //nolint:noctx // ended by stop, with time to drain
	cmd.Stdout, cmd.Stderr = log, log
	// Its own group: an interrupt from the terminal is for the demo, which ends
	// its programs in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), log.Close())
	}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	d.processes = append(d.processes, p)
	return p, nil
}

// stop asks the program to end and waits; one that does not is killed, which is
// an error. A second call does nothing.
func (p *process) stop() error {
	if p.stopped {
		return nil
	}
	p.stopped = true
	if p.exited() {
		return p.log.Close()
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		if p.err != nil {
			return errors.Join(fmt.Errorf("%s did not end well: %w", p.name, p.err), p.log.Close())
		}
		return p.log.Close()
	case <-time.After(grace):
		err := p.cmd.Process.Kill()
		<-p.done
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM", p.name, grace), err, p.log.Close())
	}
}

// exited tells whether the program ended by itself.
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
func (d *demo) call(ctx context.Context, stdin []byte, binary string, args ...string) (output, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, binary), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := output{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	return o, err
}

// must runs a command that has to succeed.
func (d *demo) must(ctx context.Context, binary string, args ...string) (output, error) {
	o, err := d.call(ctx, nil, binary, args...)
	if err == nil && o.status != 0 {
		err = fmt.Errorf("%s %s: exit status %d: %s%s", binary, strings.Join(args, " "), o.status, o.stdout, o.stderr)
	}
	return o, err
}

// limited keeps the first maxOutput bytes.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room < len(p) {
		l.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}

// waitFor calls ready until it says yes, at most for a time.
func waitFor(ctx context.Context, what string, most time.Duration, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		ok, err := ready()
		if ok {
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for %s: not within %s", what, most), last)
		case <-tick.C:
		}
	}
}

// contains tells whether a program has written text to its log.
func contains(p *process, text string) (bool, error) {
	if p.exited() {
		return false, fmt.Errorf("%s ended: %w", p.name, p.err)
	}
	f, err := os.Open(p.log.Name())
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, maxOutput))
	return bytes.Contains(data, []byte(text)), err
}
