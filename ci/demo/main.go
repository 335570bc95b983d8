// SPDX-License-Identifier: Apache-2.0

// Command demo runs the whole chain on this machine and prints it as one table:
// an OCI registry with signed images, a software TPM or the simulated TEE, the
// daemon, the agents of two nodes, and assay-gate called as containerd calls it.
//
// It starts the binaries that make build left in bin/, on loopback and in a
// folder that it makes and removes. Each row says what is expected; a row that
// comes out otherwise makes the exit status 1. It is harness and no product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// limit bounds a run: a demonstration that hangs helps nobody.
const limit = 3 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		os.Exit(1)
	}
}

// run parses flags and runs the demo.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bin := flags.String("bin", "bin", "`folder` with the binaries of make build")
	tee := flags.String("tee", "", "tpm, sim-snp or sim-tdx (default tpm where swtpm is installed, else sim-snp)")
	keep := flags.Bool("keep", false, "keep the folder, and say where it is")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d, err := newDemo(*bin, *tee, stdout, stderr)
	if err != nil {
		return err
	}
	err = d.run(ctx)
	if err != nil || *keep {
		_, told := fmt.Fprintln(stderr, "demo: its files, with the logs of all programs, are in", d.dir)
		return errors.Join(err, told, d.close(true))
	}
	return d.close(false)
}
