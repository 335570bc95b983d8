// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// maxEndorsement bounds a file of an endorsement folder, in bytes: the largest is a
// revocation list.
const maxEndorsement = 256 << 10

// endorsementFiles are the files of an endorsement folder by their labels.
var endorsementFiles = map[string]struct{ name, mediaType string }{
	attest.LabelVCEK:            {"amd-vcek.der", attest.TypeCertificate},
	attest.LabelVLEK:            {"amd-vlek.der", attest.TypeCertificate},
	attest.LabelCRL:             {"amd-crl.der", attest.TypeCRL},
	attest.LabelTCBInfo:         {"tdx-tcb-info.json", attest.TypeCollateral},
	attest.LabelTCBInfoChain:    {"tdx-tcb-info-chain.pem", attest.TypePEMChain},
	attest.LabelQEIdentity:      {"tdx-qe-identity.json", attest.TypeCollateral},
	attest.LabelQEIdentityChain: {"tdx-qe-identity-chain.pem", attest.TypePEMChain},
	attest.LabelPCKCRL:          {"sgx-pck-crl.der", attest.TypeCRL},
	attest.LabelSGXRootCRL:      {"sgx-root-crl.der", attest.TypeCRL},
}

// An endorsementFolder has what a processor's maker says about it, as somebody fetched
// it. It is read for each piece of evidence, so that what is replaced counts from the
// next one on. Nothing in it is believed here: relying parties verify it, and what is
// missing leaves them undecided.
type endorsementFolder struct{ root *os.Root }

// openEndorsements opens a folder. Without one there are no endorsements but those of
// the host.
func openEndorsements(dir string) (*endorsementFolder, error) {
	if dir == "" {
		return &endorsementFolder{}, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, verdict.Misused("create the folder, and keep what the processor's maker publishes in it", "opening endorsements: %w", err)
	}
	return &endorsementFolder{root: root}, nil
}

func (f *endorsementFolder) close() error {
	if f.root == nil {
		return nil
	}
	return f.root.Close()
}

// read returns what is there.
func (f *endorsementFolder) read() (attest.Collection, error) {
	c := attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{}}
	if f.root == nil {
		return c, nil
	}
	for label, file := range endorsementFiles {
		data, err := f.file(file.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return attest.Collection{}, err
		}
		c.Items[label] = attest.Item{MediaType: file.mediaType, Value: data, Indicator: attest.IndicatorEndorsements}
	}
	return c, nil
}

func (f *endorsementFolder) file(name string) (data []byte, err error) {
	// Without O_NONBLOCK, opening a named pipe waits for its writer.
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", name))
	}
	data, err = io.ReadAll(io.LimitReader(file, maxEndorsement+1))
	if err == nil && len(data) > maxEndorsement {
		err = fmt.Errorf("%s has more than %d bytes", name, maxEndorsement)
	}
	return data, err
}
