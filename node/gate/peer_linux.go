// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"net"
	"syscall"
)

// PeerUID returns the user at the other end of a unix socket, as the kernel noted
// it when the connection was made (unix(7), SO_PEERCRED).
func PeerUID(conn net.Conn) (uint32, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("asking who is at the other end: not a unix socket")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) {
		cred, inner = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if inner != nil {
		return 0, inner
	}
	return cred.Uid, nil
}
