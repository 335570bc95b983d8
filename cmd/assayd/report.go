// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/assayd/assay/verdict"
)

const usage = `assayd verifies container images in a confidential VM and signs verdicts.

Usage:
  assayd --config FILE        serve until SIGTERM
  assayd config check FILE    print what a configuration means; exit 2 if it is wrong
  assayd version              print version and crypto module

Example:
  assayd --config /etc/assay/assayd.yaml
`

// report tells a person what err is about, and returns the exit status.
func report(err error, stderr io.Writer) int {
	var status int
	var what, hint string
	m, misuse := errors.AsType[*verdict.Misuse](err)
	switch {
	case err == nil:
		return 0
	case misuse:
		status, what, hint = 2, m.Error(), m.Hint
	case verdict.Refused(err):
		reason := verdict.ReasonOf(err)
		status, what = 1, "refused: "+reason.Text+" ["+string(reason.Code)+"]"
	default:
		reason := verdict.ReasonOf(err)
		status, what = 3, "could not go on: "+reason.Text+" ["+string(reason.Code)+"]"
		if reason.Code == verdict.Internal {
			what = "could not go on: " + strings.TrimSuffix(err.Error(), " [internal]") + " [internal]"
		}
	}
	if info, ok := verdict.CodeOf(err).Info(); ok && !misuse {
		hint = info.Hint
	}
	// A line for each: what cannot be written cannot be helped.
	_, _ = fmt.Fprintf(stderr, "assayd: %s\n", strings.ReplaceAll(what, "\n", " "))
	if hint != "" {
		_, _ = fmt.Fprintf(stderr, "assayd: hint: %s\n", hint)
	}
	return status
}
