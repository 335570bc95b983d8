// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"testing"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/reference"
)

// smallFirmware is one of two pages: large seeds take a fuzzer's time.
func smallFirmware() []byte {
	f := attesttest.NewFirmware()
	f.Pages = 2
	f.TDVF[0] = attesttest.FirmwareSection{DataOffset: 0x1000, DataSize: 0x1000, Address: 0xfffff000, Size: 0x1000, Attributes: 1}
	f.TDVF[1] = attesttest.FirmwareSection{DataSize: 0x1000, Address: 0xffffe000, Size: 0x1000, Type: 1}
	return f.Bytes()
}

// Whatever a firmware says about itself, there is a digest or a misuse, and in time.
func FuzzLaunchDigest(f *testing.F) {
	f.Add(smallFirmware())
	f.Fuzz(func(t *testing.T, image []byte) {
		s := amdSNP()
		s.Firmware = image
		got, err := s.LaunchDigest()
		if (err != nil) != (got == [48]byte{}) {
			t.Errorf("got %x, %v", got, err)
		}
		if err != nil {
			refused(t, err, "")
		}
	})
}

func FuzzMeasureTDX(f *testing.F) {
	f.Add(smallFirmware())
	f.Fuzz(func(t *testing.T, image []byte) {
		got, err := reference.MeasureTDX(image, reference.TwoPass)
		if (err != nil) != (got == reference.TDX{}) {
			t.Errorf("got %x, %v", got, err)
		}
		if err != nil {
			refused(t, err, "")
		}
	})
}

// An image that is read has registers, but for certificates that do not fit into it.
func FuzzParseUKI(f *testing.F) {
	f.Add(attesttest.NewUKI().Bytes())
	f.Fuzz(func(t *testing.T, image []byte) {
		u, err := reference.ParseUKI(image)
		if err != nil {
			refused(t, err, "")
			return
		}
		p, err := u.PCRs(reference.Boot{Path: reference.Direct})
		if err != nil {
			refused(t, err, "do not fit into it")
			return
		}
		if p.Values[11] == [32]byte{} || p.Values[4] == [32]byte{} {
			t.Errorf("got PCRs %v", p.Values)
		}
	})
}
