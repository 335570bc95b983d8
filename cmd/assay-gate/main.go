// SPDX-License-Identifier: Apache-2.0

// Command assay-gate decides whether containerd may pull an image. containerd
// starts it for each pull (plug-in io.containerd.image-verifier.v1.bindir):
//
//	assay-gate -name REFERENCE -digest DIGEST -stdin-media-type TYPE < descriptor
//
// Exit status 0 is the only yes; 1 is refused, 2 a wrong configuration or usage, 3
// could not decide. One line of at most 1 KiB on stdout says why, the reason code
// first. Its configuration is /etc/assay/gate.json (-config), which must belong to
// root. It reads no environment variable, writes nothing but the record that an
// exception was used, and talks to nobody but the agent on its unix socket.
package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/assayd/assay/verdict/flavour"
)

var version = "devel"

func main() {
	// containerd's environment is inherited: GODEBUG could weaken the
	// cryptography. The runtime takes it back when the variable goes.
	os.Clearenv()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, time.Now()))
}

// run is main with everything that it touches passed in. at is when it started.
func run(args []string, stdin io.Reader, stdout io.Writer, at time.Time) (status int) {
	defer func() {
		// A panic that nobody caught would be a deny, too, but without a reason.
		if p := recover(); p != nil {
			status = answer(stdout, statusUndecided, fmt.Sprintf("internal: panic: %.256v", p))
		}
	}()
	if err := flavour.Check(); err != nil {
		return answer(stdout, statusMisuse, "misuse: "+err.Error())
	}
	o, err := parse(args)
	if err != nil {
		return answer(stdout, statusMisuse, "misuse: "+err.Error())
	}
	if o.version {
		c := flavour.Current()
		return answer(stdout, statusAllowed, fmt.Sprintf("assay-gate %s, crypto %s %s, active %t", version, c.Module, c.Version, c.Active))
	}
	d, err := decide(o, stdin, at)
	if err != nil {
		return answer(stdout, statusMisuse, "misuse: "+err.Error())
	}
	return answer(stdout, statusOf(d), d.Line())
}
