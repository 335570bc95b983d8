// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/reference"
	"github.com/assayd/assay/ci/fuzz"
)

// smallFirmware is one of two pages: large seeds take a fuzzer's time.
func smallFirmware() []byte {
	f := attesttest.NewFirmware()
	f.Pages = 2
	f.TDVF[0] = attesttest.FirmwareSection{DataOffset: 0x1000, DataSize: 0x1000, Address: 0xfffff000, Size: 0x1000, Attributes: 1}
	f.TDVF[1] = attesttest.FirmwareSection{DataSize: 0x1000, Address: 0xffffe000, Size: 0x1000, Type: 1}
	return f.Bytes()
}

// firmwareHead: whole pages, and the footer of OVMF's table of entries, 48 bytes before
// the end.
func firmwareHead(image []byte) bool {
	footer := []byte{0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d}
	return len(image) > 48 && len(image)%0x1000 == 0 && bytes.Equal(image[len(image)-48:len(image)-32], footer)
}

// peHead: MZ, and PE where it says.
func peHead(image []byte) bool {
	if len(image) < 0x40 || image[0] != 'M' || image[1] != 'Z' {
		return false
	}
	at := int64(binary.LittleEndian.Uint32(image[0x3c:]))
	return at+4 <= int64(len(image)) && string(image[at:at+4]) == "PE\x00\x00"
}

// Whatever a firmware says about itself, there is a digest or a misuse, and in time.
func FuzzLaunchDigest(f *testing.F) {
	inputs := fuzz.New(f, smallFirmware())
	f.Fuzz(func(t *testing.T, image []byte) {
		image = inputs.Of(image)
		inputs.Add(firmwareHead(image))
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
	inputs := fuzz.New(f, smallFirmware())
	f.Fuzz(func(t *testing.T, image []byte) {
		image = inputs.Of(image)
		inputs.Add(firmwareHead(image))
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
	inputs := fuzz.New(f, attesttest.NewUKI().Bytes())
	f.Fuzz(func(t *testing.T, image []byte) {
		image = inputs.Of(image)
		inputs.Add(peHead(image))
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
