// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package pid1

import (
	"context"
	"log/slog"
)

// Here is false: the image is of Linux.
func Here() bool { return false }

// Run says so.
func Run(log *slog.Logger, _ func(ctx context.Context, config string)) {
	log.Error("not the first process of a machine")
}
