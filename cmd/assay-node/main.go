// SPDX-License-Identifier: Apache-2.0

// Command assay-node is the agent of a node: it appraises daemons, keeps heads,
// statements, tickets and status, and answers assay-gate on a unix socket.
//
//	assay-node --config trust.yaml
//	assay-node config check --config trust.yaml
//	assay-node config gate --config trust.yaml [--output gate.json]
//	assay-node version
//
// Its one configuration is trust.yaml; without it the agent does not start. It
// logs JSON lines to stderr, and ends on SIGTERM or SIGINT. Exit status: 0 ended as
// asked, 1 refused, 2 wrong usage or configuration, 3 anything else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
)

var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main with everything that it touches passed in.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := flavour.Check()
	if err == nil {
		err = command(ctx, args, stdout, stderr)
	}
	return report(stderr, err)
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	switch o.verb {
	case "help":
		return write(stdout, usage)
	case "version":
		c := flavour.Current()
		return write(stdout, fmt.Sprintf("assay-node %s, crypto %s %s, active %t\n", version, c.Module, c.Version, c.Active))
	case "config gate":
		return configGate(o, stdout)
	case "config check":
		return configCheck(o, stdout)
	}
	c, err := load(o)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.level}))
	log.Info("assay-node starts", "node", c.Node, "path", o.config)
	return agent.Run(ctx, c, log)
}

// report tells what is wrong and what to do, and returns the exit status.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	status, hint := 3, ""
	if m, ok := errors.AsType[*verdict.Misuse](err); ok {
		status, hint = 2, m.Hint
	} else if _, ok := errors.AsType[*verdict.Refusal](err); ok {
		status = 1
	}
	return tell(stderr, status, err, hint)
}
