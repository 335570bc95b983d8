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
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/assayd/assay/node/agent"
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
	return report(stderr, command(ctx, args, stdout, stderr))
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if err := flavour.Check(); err != nil {
		return err
	}
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
	log.InfoContext(ctx, "assay-node starts", "node", c.Node, "path", o.config)
	return agent.Run(ctx, c, log)
}
