// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// Exit status.
const (
	statusAllowed   = 0
	statusRefused   = 1
	statusMisuse    = 2
	statusUndecided = 3
)

type options struct {
	name, digest, mediaType, config string
	version                         bool
}

// parse reads the flags that containerd gives, and our two.
func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("assay-gate", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.name, "name", "", "the image's reference")
	f.StringVar(&o.digest, "digest", "", "the digest that it resolved to")
	f.StringVar(&o.mediaType, "stdin-media-type", "", "the media type of what is on stdin")
	f.StringVar(&o.config, "config", gate.DefaultConfig, "the configuration, an absolute path")
	f.BoolVar(&o.version, "version", false, "print the version")
	if err := f.Parse(args); err != nil {
		return options{}, fmt.Errorf("%w; usage: assay-gate -name REFERENCE -digest DIGEST -stdin-media-type TYPE [-config FILE]", err)
	}
	if f.NArg() != 0 {
		return options{}, fmt.Errorf("unexpected argument %.64q", f.Arg(0))
	}
	if !o.version && (o.name == "" || o.digest == "") {
		return options{}, errors.New("want -name, -digest and -stdin-media-type, as containerd gives them")
	}
	return o, nil
}

// decide reads the configuration and the descriptor, and asks the gate. The error
// is a wrong configuration.
func decide(o options, stdin io.Reader, at time.Time) (gate.Decision, error) {
	c, err := gate.LoadConfig(o.config)
	if err != nil {
		return gate.Decision{}, err
	}
	g, err := gate.New(c)
	if err != nil {
		return gate.Decision{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.Deadline))
	defer cancel()
	descriptor, err := read(ctx, stdin)
	if err != nil {
		return gate.Decision{Outcome: verdict.OutcomeFail, Err: err}, nil
	}
	return g.Decide(ctx, gate.Query{Name: o.name, Digest: o.digest, MediaType: o.mediaType, Descriptor: descriptor}, at), nil
}

// read reads the descriptor. A pipe that nobody closes must not outlast the
// deadline: then the process ends, and the reading goroutine with it.
func read(ctx context.Context, stdin io.Reader) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(stdin, gate.MaxDescriptor+1))
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, verdict.Fail(verdict.InputMalformed, "reading descriptor: %w", r.err)
		}
		return r.data, nil
	case <-ctx.Done():
		return nil, verdict.Fail(verdict.InputLimit, "reading descriptor: nobody closed stdin in time: %w", ctx.Err())
	}
}

func statusOf(d gate.Decision) int {
	if d.Allowed() {
		return statusAllowed
	}
	if verdict.Refused(d.Err) {
		return statusRefused
	}
	if _, ok := errors.AsType[*verdict.Misuse](d.Err); ok {
		return statusMisuse
	}
	return statusUndecided
}

// answer prints the line and returns the status. A yes whose reason could not be
// printed is still a yes: containerd reads the status.
func answer(stdout io.Writer, status int, line string) int {
	if _, err := fmt.Fprintln(stdout, line); err != nil && status != statusAllowed {
		return statusUndecided
	}
	return status
}
