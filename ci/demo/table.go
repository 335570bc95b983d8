// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

// A row is one step with what is expected of it.
type row struct {
	step string
	// want is "allow" or "deny", code the reason code, "" for a pass.
	want, code string
	// run returns what came of it.
	run func(context.Context) (got, code string, err error)
}

// table runs the rows in order and prints one line each.
func (d *demo) table(ctx context.Context, rows []row) error {
	const format = "%-58s  %-8s  %-7s  %-26s  %s\n"
	if _, err := fmt.Fprintf(d.stdout, format, "step", "expected", "outcome", "code", "time"); err != nil {
		return err
	}
	for _, r := range rows {
		began := time.Now()
		got, code, err := r.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", r.step, err)
		}
		mark := ""
		if got != r.want || code != r.code {
			d.differences++
			mark = fmt.Sprintf("   DIFFERS: want %s %s", r.want, r.code)
		}
		took := time.Since(began).Round(time.Millisecond / 10).String()
		if _, err := fmt.Fprintf(d.stdout, format, r.step, r.want, got, code, took+mark); err != nil {
			return err
		}
	}
	return nil
}
