// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"net"
	"net/http"

	"github.com/google/go-tpm/tpm2"
)

// MaxNV is the largest NV index that is read, and MaxTPMResponse the largest response
// of a TPM, in bytes.
const (
	MaxNV          = maxNV
	MaxTPMResponse = maxTPMResponse
	MaxMetadata    = maxMetadata
)

// answers is a device that has its answers from a function.
type answers func(command []byte) ([]byte, error)

func (a answers) exchange(_ context.Context, command []byte) ([]byte, error) {
	response, err := a(command)
	if err != nil {
		return nil, err
	}
	return response, checkResponse(response) // as each device does
}

func (answers) Close() error { return nil }

// ReadNV reads an NV index of a TPM that answers as answer does.
func ReadNV(index uint32, answer func(command []byte) ([]byte, error)) ([]byte, error) {
	return readNV(&tpmConn{device: answers(answer), timeout: DefaultTimeout, turn: newLock()}, tpm2.TPMHandle(index))
}

// ExchangeSocket sends a command to a TPM at the other end of a socket.
func ExchangeSocket(ctx context.Context, conn net.Conn, command []byte) ([]byte, error) {
	return (&socketDevice{conn: conn}).exchange(ctx, command)
}

// ReportOf takes the report out of a response of the firmware.
func ReportOf(response []byte) ([]byte, error) {
	var r guestRequest
	copy(r.response[:], response)
	return r.report()
}

// AskMetadata asks a metadata service that is behind transport for both things that it
// has.
func AskMetadata(ctx context.Context, transport http.RoundTripper) (vcek, quote []byte, vcekErr, quoteErr error) {
	m := &metadata{base: metadataService, client: &http.Client{Transport: transport}}
	certificate, vcekErr := m.vcek(ctx)
	if vcekErr == nil {
		vcek = certificate.Raw
	}
	quote, quoteErr = m.quote(ctx, []byte("report"))
	return vcek, quote, vcekErr, quoteErr
}
