// SPDX-License-Identifier: Apache-2.0

package swtpm

import "syscall"

// processAttributes make swtpm end with the program that started it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
