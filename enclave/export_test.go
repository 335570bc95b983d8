// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"errors"
	"time"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/assayd/assay/attest"
)

// BeforeExtend sets what runs between the writing of an event and its extend.
func BeforeExtend(f func()) { testingOnlyBeforeExtend = f }

// fileSystem makes a kernelFS of functions.
type fileSystem struct {
	makeDir, removeDir func(path string) error
	readFile           func(path string, limit int64) ([]byte, error)
	writeFile          func(path string, data []byte) error
	statFile           func(path string) error
	askFirmware        Firmware
}

// Firmware is what a device of the firmware does: it is given a request and, unless it
// is not an extended one, room for certificates, and answers into response.
type Firmware = func(path string, request, response, certs []byte) (exitInfo uint64, err error)

func (f fileSystem) mkdir(path string) error                       { return f.makeDir(path) }
func (f fileSystem) remove(path string) error                      { return f.removeDir(path) }
func (f fileSystem) read(path string, limit int64) ([]byte, error) { return f.readFile(path, limit) }
func (f fileSystem) write(path string, data []byte) error          { return f.writeFile(path, data) }
func (f fileSystem) stat(path string) error                        { return f.statFile(path) }
func (f fileSystem) ask(path string, r *guestRequest) (err error) {
	r.exitInfo, err = f.askFirmware(path, r.request[:], r.response[:], r.certs)
	return err
}

// SetKernel takes the place of the kernel, until what it returns is called.
func SetKernel(makeDir, removeDir func(path string) error, readFile func(path string, limit int64) ([]byte, error), writeFile func(path string, data []byte) error, statFile func(path string) error, askFirmware Firmware) (restore func()) {
	before := testingOnlyKernel
	testingOnlyKernel = fileSystem{makeDir, removeDir, readFile, writeFile, statFile, askFirmware}
	return func() { testingOnlyKernel = before }
}

// ReadKernel and WriteKernel are how the kernel that runs is read and written.
var (
	ReadKernel  = osKernel{}.read
	WriteKernel = osKernel{}.write
)

// SetMetadata takes the place of Azure's metadata service, until what it returns is
// called.
func SetMetadata(base string) (restore func()) {
	before := testingOnlyMetadata
	testingOnlyMetadata = base
	return func() { testingOnlyMetadata = before }
}

// VCEKAt tells whether the evidence of a confidential VM of Azure has the certificate of
// the chip's key at a time.
func VCEKAt(ctx context.Context, a Attester, at time.Time) (bool, error) {
	endorsements := attest.Collection{Items: map[string]attest.Item{}}
	err := a.(*azureAttester).addVCEK(ctx, &endorsements, at)
	return len(endorsements.Items) == 1, err
}

// WithTPM calls f with the TPM at path.
func WithTPM(ctx context.Context, path string, f func(transport.TPM) error) (err error) {
	conn, err := dialTPM(ctx, path, DefaultTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }() // also when f ends the test
	return conn.with(ctx, func() error { return f(conn) })
}
