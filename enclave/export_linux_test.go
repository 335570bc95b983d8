// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"unsafe"
)

// Numbers, sizes and offsets of what is given to /dev/sev-guest.
const (
	SNPGetReport         = snpGetReport
	SNPGetExtendedReport = snpGetExtendedReport
	SNPIoctlSize         = unsafe.Sizeof(snpIoctl{})
	SNPIoctlRequest      = unsafe.Offsetof(snpIoctl{}.request)
	SNPIoctlResponse     = unsafe.Offsetof(snpIoctl{}.response)
	SNPIoctlExitInfo     = unsafe.Offsetof(snpIoctl{}.exitInfo2)
	SNPExtendedSize      = unsafe.Sizeof(snpExtendedRequest{})
	SNPExtendedCerts     = unsafe.Offsetof(snpExtendedRequest{}.certs)
	SNPExtendedLength    = unsafe.Offsetof(snpExtendedRequest{}.certsLength)
	SNPRequestSize       = snpRequestSize
	SNPResponseSize      = snpResponseSize
	SNPReportHeader      = snpReportHeader
)

// AskDevice sends a request to the device at path.
func AskDevice(path string, extended bool) error {
	r := &guestRequest{}
	if extended {
		r.certs = make([]byte, snpCertsSize)
	}
	return osKernel{}.ask(path, r)
}

// Exchange sends a command over the descriptor of a device, as for /dev/tpmrm0.
func Exchange(ctx context.Context, fd int, command []byte) ([]byte, error) {
	return (&charDevice{fd: fd}).exchange(ctx, command)
}
