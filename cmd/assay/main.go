// SPDX-License-Identifier: Apache-2.0

// Command assay is for people and pipelines: it verifies images by itself or by
// asking a daemon that it appraised, makes what owners sign, sets up a
// development folder, and reads the log offline. See docs/cli.md.
//
// The result is on stdout, messages are on stderr. Exit status: 0 allowed,
// 1 refused, 2 wrong usage or configuration, 3 could not decide.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/assayd/assay/cmd/assay/internal/cli"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Libraries log through the default logger; what matters of it comes back as
	// an error.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	status := cli.Run(ctx, os.Args[1:], cli.Env{
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
		Version:  version,
	})
	stop()
	os.Exit(status)
}
