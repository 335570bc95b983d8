// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-sev-guest/client/linuxabi"

	"github.com/assayd/assay/enclave"
)

// TestSEVGuestABI compares what the kernel is given with go-sev-guest's idea of it.
func TestSEVGuestABI(t *testing.T) {
	for _, test := range []struct {
		name      string
		got, want uintptr
	}{
		{"SNP_GET_REPORT", enclave.SNPGetReport, linuxabi.IocSnpGetReport},
		{"SNP_GET_EXT_REPORT", enclave.SNPGetExtendedReport, linuxabi.IocSnpGetExtendedReport},
		{"struct snp_guest_request_ioctl", enclave.SNPIoctlSize, unsafe.Sizeof(linuxabi.SnpUserGuestRequestABI{})},
		{"req_data", enclave.SNPIoctlRequest, unsafe.Offsetof(linuxabi.SnpUserGuestRequestABI{}.ReqData)},
		{"resp_data", enclave.SNPIoctlResponse, unsafe.Offsetof(linuxabi.SnpUserGuestRequestABI{}.RespData)},
		{"exitinfo2", enclave.SNPIoctlExitInfo, unsafe.Offsetof(linuxabi.SnpUserGuestRequestABI{}.FwErr)},
		{"struct snp_ext_report_req", enclave.SNPExtendedSize, unsafe.Sizeof(linuxabi.SnpExtendedReportReqABI{})},
		{"certs_address", enclave.SNPExtendedCerts, unsafe.Offsetof(linuxabi.SnpExtendedReportReqABI{}.CertsAddress)},
		{"certs_len", enclave.SNPExtendedLength, unsafe.Offsetof(linuxabi.SnpExtendedReportReqABI{}.CertsLength)},
		{"struct snp_report_req", enclave.SNPRequestSize, unsafe.Sizeof(linuxabi.SnpReportReqABI{})},
		{"vmpl", 64, unsafe.Offsetof(linuxabi.SnpReportReqABI{}.Vmpl)},
		{"struct snp_report_resp", enclave.SNPResponseSize, unsafe.Sizeof(linuxabi.SnpReportRespABI{})},
		{"the report in it", enclave.SNPReportHeader, unsafe.Offsetof(linuxabi.SnpReportRespABI{}.Data)},
	} {
		if test.got != test.want {
			t.Errorf("%s: got 0x%x, want 0x%x", test.name, test.got, test.want)
		}
	}
}

// TestSEVGuestSyscall: the request reaches the kernel that runs, which answers for a
// device that it is none of the firmware's.
func TestSEVGuestSyscall(t *testing.T) {
	for _, extended := range []bool{false, true} {
		if err := enclave.AskDevice("/dev/null", extended); !errors.Is(err, syscall.ENOTTY) {
			t.Errorf("extended %t: got %v, want that it is no such device", extended, err)
		}
	}
	if err := enclave.AskDevice(t.TempDir()+"/absent", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that it is not there", err)
	}
}
