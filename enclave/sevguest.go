// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Devices of guests whose kernel has no configfs-tsm.
const (
	sevGuestDevice = "/dev/sev-guest"
	tdxGuestDevice = "/dev/tdx_guest"
)

// Sizes of what goes through /dev/sev-guest, in bytes (Linux
// include/uapi/linux/sev-guest.h, since 5.19).
const (
	snpRequestSize  = 96   // struct snp_report_req
	snpResponseSize = 4000 // struct snp_report_resp
	snpReportHeader = 32   // before the report in a response (AMD 56860, MSG_REPORT_RSP)
	snpReportSize   = 1184
	// snpCertsSize is the most that the kernel passes on of the host's certificates
	// (SEV_FW_BLOB_MAX_SIZE): whole pages.
	snpCertsSize = 16 << 10
)

// A guestRequest is a request for a report, as the kernel takes and answers it.
type guestRequest struct {
	// request is what the report is to be about, and of which privilege level.
	request [snpRequestSize]byte
	// response is what the firmware says: a header and the report.
	response [snpResponseSize]byte
	// certs, where it is not nil, makes it an extended request, and takes what the host
	// has of certificates. Its length is a multiple of the page size.
	certs []byte
	// exitInfo tells why a request failed: the firmware's error in the lower half, and
	// the hypervisor's in the upper one.
	exitInfo uint64
}

// probeDevices says which guest this is by its device, and how to get reports of it.
// That there is no configfs-tsm is why it is asked, and what it says where there is no
// device either.
func probeDevices(turn kernelTurn, missing error) (provider string, source snpSource, err error) {
	if kernel().stat(sevGuestDevice) == nil {
		return providerSNP, snpSource{name: sevGuestDevice, report: func(ctx context.Context, reportData [64]byte) (tsmReport, error) {
			return do(ctx, turn, func(ctx context.Context) (tsmReport, error) { return askSEVGuest(ctx, reportData) })
		}}, nil
	}
	if kernel().stat(tdxGuestDevice) == nil {
		// Through the device, kernels as Linus releases them give reports that nobody
		// outside the machine can verify, and none extends a register.
		return "", snpSource{}, fmt.Errorf("this is a TD, and its kernel has no configfs-tsm to get quotes by: it takes Linux 6.16 with CONFIG_TSM_REPORTS and CONFIG_TSM_MEASUREMENTS: %w", missing)
	}
	return "", snpSource{}, missing
}

// askSEVGuest has the firmware make a report of privilege level 0: a kernel without
// configfs-tsm runs at no other.
func askSEVGuest(ctx context.Context, reportData [64]byte) (tsmReport, error) {
	extended := guestRequest{certs: make([]byte, snpCertsSize)}
	copy(extended.request[:], reportData[:])
	extendedErr := askPatiently(ctx, &extended)
	if extendedErr == nil {
		report, err := extended.report()
		return tsmReport{out: report, aux: extended.certs}, err
	}
	if ctx.Err() != nil {
		return tsmReport{}, extendedErr
	}
	// A host that knows no extended requests has no certificates, which then come from
	// the endorsements' folder, as from a host whose table is empty.
	plain := guestRequest{request: extended.request}
	if err := askPatiently(ctx, &plain); err != nil {
		return tsmReport{}, errors.Join(fmt.Errorf("asking for a report and the host's certificates: %w", extendedErr), fmt.Errorf("asking for a report alone: %w", err))
	}
	report, err := plain.report()
	return tsmReport{out: report}, err
}

// askPatiently asks again while the kernel or the hypervisor is busy, until ctx ends.
func askPatiently(ctx context.Context, r *guestRequest) error {
	for {
		r.exitInfo = 0
		err := kernel().ask(sevGuestDevice, r)
		if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EAGAIN) {
			if err != nil {
				err = fmt.Errorf("firmware's error 0x%x, hypervisor's 0x%x: %w", uint32(r.exitInfo&0xFFFFFFFF), uint32(r.exitInfo>>32), err)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the kernel has not answered, but that it is busy: %w", err)
		case <-time.After(tsmPause):
		}
	}
}

// report takes the report out of a response.
func (r *guestRequest) report() ([]byte, error) {
	le := binary.LittleEndian
	if status := le.Uint32(r.response[:]); status != 0 {
		return nil, fmt.Errorf("the firmware made no report: status 0x%x", status)
	}
	if size := le.Uint32(r.response[4:]); size != snpReportSize {
		return nil, fmt.Errorf("the firmware made a report of %d bytes, want %d", size, snpReportSize)
	}
	return r.response[snpReportHeader : snpReportHeader+snpReportSize], nil
}
