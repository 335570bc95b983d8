// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// devicePoll is how long one wait for a response lasts before the context is looked
// at again.
const devicePoll = 100 * time.Millisecond

// A charDevice is a TPM device of the kernel. It is opened non-blocking, so that a
// command is queued at once and the wait for its response can end.
type charDevice struct{ fd int }

// openDevice opens the device at path.
func openDevice(path string) (tpmDevice, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return &charDevice{fd: fd}, nil
}

// exchange implements tpmDevice.
func (d *charDevice) exchange(ctx context.Context, command []byte) ([]byte, error) {
	if n, err := unix.Write(d.fd, command); err != nil {
		return nil, err
	} else if n != len(command) {
		return nil, fmt.Errorf("wrote %d of %d bytes", n, len(command))
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor is a small number
		n, err := unix.Poll(fds, int(devicePoll.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n == 0:
			continue
		}
		// The kernel gives a response whole, or not at all.
		response := make([]byte, maxTPMResponse)
		n, err = unix.Read(d.fd, response)
		if err != nil {
			return nil, err
		}
		return response[:n], checkResponse(response[:n])
	}
}

// Close implements tpmDevice.
func (d *charDevice) Close() error { return unix.Close(d.fd) }
