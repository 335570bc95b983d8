// SPDX-License-Identifier: Apache-2.0

// Command assayd verifies container images inside a confidential VM, and signs
// and logs what it decided. It takes one configuration file, which is measured,
// and serves gRPC over SPIFFE mTLS on the address in it. It logs JSON lines to
// stderr; SIGTERM and SIGINT drain it. Exit status: 0 after an orderly end, 1
// when something that it was given is refused, 2 for wrong usage or
// configuration, 3 when it could not go on. As the first process of a machine it
// takes the file from a disk, and switches the machine off at its end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
)

// version is set by the linker.
var version = "devel"

func main() {
	if runMachine() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(report(err, os.Stderr))
}

// run does what args say.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("assayd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	path := flags.String("config", "", "configuration file")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		_, err := io.WriteString(stdout, usage)
		return err
	} else if err != nil {
		return verdict.Misused("see assayd --help", "%w", err)
	}
	switch rest := flags.Args(); {
	case len(rest) == 1 && rest[0] == "version" && *path == "":
		c := flavour.Current()
		_, err := fmt.Fprintf(stdout, "assayd %s, crypto %s %s, active %t\n", version, c.Module, c.Version, c.Active)
		return errors.Join(err, flavour.Check())
	case len(rest) == 3 && rest[0] == "config" && rest[1] == "check" && *path == "":
		config, err := daemon.LoadConfig(rest[2])
		if err != nil {
			return err
		}
		return config.Describe(stdout)
	case len(rest) == 0 && *path != "":
		config, err := daemon.LoadConfig(*path)
		if err != nil {
			return err
		}
		config.Version = version
		log := slog.New(slog.NewJSONHandler(stderr, nil))
		slog.SetDefault(log) // the log's library warns there
		return daemon.Run(ctx, config, log)
	}
	if rest := flags.Args(); len(rest) > 0 && !(len(rest) == 2 && rest[0] == "config" && rest[1] == "check") {
		return verdict.Misused("see assayd --help", "got %.64q, want --config FILE, config check FILE, or version", strings.Join(rest, " "))
	}
	return verdict.Misused("see assayd --help", "want --config FILE, config check FILE, or version")
}
