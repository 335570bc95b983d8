// SPDX-License-Identifier: Apache-2.0

// Command vm boots the image of make image in QEMU with OVMF and swtpm, and appraises
// it from outside by the reference values that assay reference compute gets out of the
// image's file. Then it boots what must be refused: another program, another command
// line of image or host, another configuration, and older state of TPM, disk and head.
// Each check says which reason code is expected; one that comes out otherwise makes
// the exit status 1.
//
// It starts what make build and make image left in bin/, in a folder that it makes and
// removes, on loopback, without network for the machines. It is harness and no product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// limit bounds a run. Without KVM a boot takes 20 seconds on a machine that has
// nothing else to do.
const limit = 20 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "vm:", err)
		}
		os.Exit(1)
	}
}

// run parses flags and runs the checks. QEMU calls it as "relay SOCKET".
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 2 && args[0] == "relay" {
		return relay(ctx, args[1], stdin, stdout)
	}
	flags := flag.NewFlagSet("vm", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bin := flags.String("bin", "bin", "`folder` with what make build and make image made")
	firmware := flags.String("firmware", "/usr/share/OVMF/OVMF_CODE_4M.fd", "OVMF's code, `file`")
	variables := flags.String("variables", "/usr/share/OVMF/OVMF_VARS_4M.fd", "its variables, `file`")
	keep := flags.Bool("keep", false, "keep the folder, and say where it is")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("got argument %.64q, want flags only", flags.Arg(0))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	w, err := newWorld(*bin, *firmware, *variables, stdout)
	if err != nil {
		return err
	}
	err = w.run(ctx)
	if err != nil || *keep {
		_, told := fmt.Fprintln(stderr, "vm: its files, with the consoles of all machines, are in", w.dir)
		return errors.Join(err, told, w.close(true))
	}
	return w.close(false)
}

// relay joins stdin and stdout with a unix socket. QEMU starts one for each connection
// that a machine makes to the Workload API.
func relay(ctx context.Context, socket string, stdin io.Reader, stdout io.Writer) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	var once sync.Once
	end := func() { once.Do(func() { _ = c.Close() }) } // which ends the other copy
	defer end()
	go func() {
		defer end()
		_, _ = io.Copy(c, stdin) // it ends with the machine, or with this process
	}()
	_, err = io.Copy(stdout, c)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
