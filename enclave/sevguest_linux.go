// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests to /dev/sev-guest (include/uapi/linux/sev-guest.h): _IOWR('S', n, struct
// snp_guest_request_ioctl).
const (
	snpGetReport         = 3<<30 | unsafe.Sizeof(snpIoctl{})<<16 | 'S'<<8
	snpGetExtendedReport = snpGetReport | 2
	// snpMessageVersion is that of the messages to the firmware.
	snpMessageVersion = 1
)

// An snpIoctl is struct snp_guest_request_ioctl. Addresses are numbers to the kernel,
// so what they point to is pinned.
type snpIoctl struct {
	version   uint8
	_         [7]byte
	request   uint64
	response  uint64
	exitInfo2 uint64
}

// An snpExtendedRequest is struct snp_ext_report_req.
type snpExtendedRequest struct {
	data        [snpRequestSize]byte
	certs       uint64
	certsLength uint32
	_           [4]byte
}

// askDevice sends a request to the firmware through the device at path.
func askDevice(path string, r *guestRequest) (err error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var pinner runtime.Pinner
	defer pinner.Unpin()
	call := &snpIoctl{version: snpMessageVersion, response: pinned(&pinner, &r.response)}
	command := snpGetReport
	if r.certs == nil {
		call.request = pinned(&pinner, &r.request)
	} else {
		command = snpGetExtendedReport
		call.request = pinned(&pinner, &snpExtendedRequest{
			data: r.request, certs: pinned(&pinner, &r.certs[0]), certsLength: uint32(len(r.certs)), //nolint:gosec // snpCertsSize
		})
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), command, uintptr(pinned(&pinner, call)))
	r.exitInfo = call.exitInfo2
	if errno != 0 {
		return fmt.Errorf("asking %s: %w", path, errno)
	}
	return nil
}

// pinned is the address of a value, which stays where it is until p is unpinned.
func pinned[T any](p *runtime.Pinner, value *T) uint64 {
	p.Pin(value)
	return uint64(uintptr(unsafe.Pointer(value))) //nolint:gosec // G103: the kernel takes addresses, and the value is pinned
}
