// SPDX-License-Identifier: Apache-2.0

// Command image builds the machine image of assayd out of bin/assayd and the
// packages of image/inputs.lock, updates that lock, and shows that two builds at two
// paths give the same bytes. It runs in the root of the module. docs/image.md says
// more.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/assayd/assay/image"
)

// lockFile is the lock, from the root of the module.
const lockFile = "image/inputs.lock"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image:", err)
		}
		os.Exit(1)
	}
}

// run does what args say.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	assayd := flags.String("assayd", "bin/assayd", "the static `program` that the image is for")
	version := flags.String("version", "devel", "`version` that the image says it has")
	packages := flags.String("packages", "bin/packages", "`folder` that keeps downloaded packages")
	output := flags.String("o", "bin/assay.efi", "`file` to write")
	update := flags.Bool("update", false, "write the newest versions that apt knows to "+lockFile+", and build nothing")
	again := flags.Bool("twice", false, "build from two copies of the source at two paths, compare, and keep nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("got argument %.64q, want flags only", flags.Arg(0))
	}
	switch {
	case *update && *again:
		return errors.New("got -update and -twice, want one of them")
	case *again:
		return twice(ctx, *packages, stdout)
	case *update:
		inputs, err := image.Update(ctx, *packages)
		if err != nil {
			return err
		}
		return os.WriteFile(lockFile, image.FormatLock(inputs), 0o644)
	}
	inputs, err := image.Inputs()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(*assayd)
	if err != nil {
		return fmt.Errorf("%w; build it first: make build", err)
	}
	built, err := image.Build(ctx, image.Options{Assayd: program, Version: *version, Inputs: inputs, Folder: *packages})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*output), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(*output, built, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d bytes, sha256:%x\n", *output, len(built), sha256.Sum256(built))
	return err
}
