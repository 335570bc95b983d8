// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/assayd/assay/enclave/pid1"
)

// runMachine serves where this is the first process of a machine that was started from
// the image, whose serial console is stderr, and says whether it is.
func runMachine() bool {
	if !pid1.Here() {
		return false
	}
	pid1.Run(slog.New(slog.NewJSONHandler(os.Stderr, nil)), func(ctx context.Context, config string) {
		// Nobody takes the exit status of a machine: it was told on the console.
		report(run(ctx, []string{"--config", config}, os.Stdout, os.Stderr), os.Stderr)
	})
	return true
}
