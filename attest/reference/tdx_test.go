// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"testing"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/attest/reference"
)

// TestMRTDVector: two pages that are extended, and one that is not. Two programs
// agreed on it, google/gce-tcb-verifier is one of them.
func TestMRTDVector(t *testing.T) {
	data := make([]byte, 8192)
	for i := range data {
		data[i] = byte(7*i + i>>8)
	}
	sections := []reference.Section{{Data: data, GPA: 0xffffe000, Size: 8192, Attributes: 1}, {GPA: 0x809000, Size: 4096}}
	const want = "e9da56268d43dc4716283d3b833540b680c7c990bc74959e976c45e53bc49137c5db04b3b813dd0057385a384f6bb698"
	if got := hex.EncodeToString(reference.MRTD(sections, reference.Interleaved)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Memory that is added after the launch is in no measurement.
	late := append(sections, reference.Section{GPA: 0x900000, Size: 4096, Attributes: 2})
	if got := hex.EncodeToString(reference.MRTD(late, reference.Interleaved)); got != want {
		t.Errorf("with late memory: got %s, want %s", got, want)
	}
}

// TestMRTDOrder: two passes over one page are one; over two pages they are not.
func TestMRTDOrder(t *testing.T) {
	page := bytes.Repeat([]byte{1}, 4096)
	for n, same := range map[int]bool{1: true, 2: false} {
		s := []reference.Section{{Data: bytes.Repeat(page, n), GPA: 0xfffff000, Size: uint64(n) * 4096, Attributes: 1}}
		a, b := reference.MRTD(s, reference.Interleaved), reference.MRTD(s, reference.TwoPass)
		if bytes.Equal(a, b) != same {
			t.Errorf("%d pages: got %x and %x, want the same: %v", n, a, b, same)
		}
	}
	// The file is shorter than the memory: zeros follow.
	short := reference.MRTD([]reference.Section{{Data: page[:100], GPA: 0xfffff000, Size: 8192, Attributes: 1}}, reference.Interleaved)
	padded := append(bytes.Clone(page[:100]), make([]byte, 8092)...)
	if long := reference.MRTD([]reference.Section{{Data: padded, GPA: 0xfffff000, Size: 8192, Attributes: 1}}, reference.Interleaved); !bytes.Equal(short, long) {
		t.Errorf("got %x and %x for the same memory", short, long)
	}
}

// TestMeasureTDX: the synthetic firmware; google/gce-tcb-verifier v0.3.1, tdx.MRTD,
// has the same MRTD for it without its region for an SVSM, which MRTD covers as bytes.
func TestMeasureTDX(t *testing.T) {
	f := attesttest.NewFirmware()
	f.SEV = append(f.SEV[:4:4], f.SEV[5])
	image := f.Bytes()
	got, err := reference.MeasureTDX(image, reference.Interleaved)
	const want = "15f481ad002c093ea706c3c13a411ab618bc8cd031610fc66b8367bae53d14d8edcd8ea955c9e2375338753c69deecd8"
	if err != nil || hex.EncodeToString(got.MRTD[:]) != want || got.CFV != sha512.Sum384(image[:0x4000]) {
		t.Errorf("got %x and %x, %v, want %s", got.MRTD, got.CFV, err, want)
	}
	changed := func(at int) reference.TDX {
		image := bytes.Clone(image)
		image[at]++
		out, err := reference.MeasureTDX(image, reference.Interleaved)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	// Variables are in the configuration volume and not in MRTD, code the other way.
	if v := changed(0x100); v.MRTD != got.MRTD || v.CFV == got.CFV {
		t.Error("a changed variable: want another configuration volume and the same MRTD")
	}
	if v := changed(0x4100); v.MRTD == got.MRTD || v.CFV != got.CFV {
		t.Error("changed code: want another MRTD and the same configuration volume")
	}
}

func TestMeasureTDXRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*attesttest.Firmware)
		after  func([]byte)
		text   string
	}{
		{"data outside the file", func(f *attesttest.Firmware) { f.TDVF[0].DataOffset = 0x5000 }, nil, "has 0xc000 bytes from 0x5000 of the file"},
		{"an offset that wraps", func(f *attesttest.Firmware) { f.TDVF[0].DataOffset = 0xffffffff }, nil, "bytes from 0xffffffff of the file"},
		{"more data than memory", func(f *attesttest.Firmware) { f.TDVF[0].Size = 0xb000 }, nil, "for 0xb000 bytes of memory"},
		{"memory that wraps", func(f *attesttest.Firmware) { f.TDVF[0].Address = 0xfffffffffffff000 }, nil, "want at most"},
		{"half a page", func(f *attesttest.Firmware) { f.TDVF[2].Size = 0x800 }, nil, "is not whole pages"},
		{"a huge section", func(f *attesttest.Firmware) { f.TDVF[2].Size = 1 << 63 }, nil, "want at most"},
		{"sections that are huge together", func(f *attesttest.Firmware) { f.TDVF[2].Size, f.TDVF[3].Size = 0x8000000, 0x8000000 }, nil, "more than 65536 pages"},
		{"another type", func(f *attesttest.Firmware) { f.TDVF[2].Type = 5 }, nil, "is of type 5"},
		{"another attribute", func(f *attesttest.Firmware) { f.TDVF[2].Attributes = 4 }, nil, "with attributes 0x4"},
		{"late, and extended", func(f *attesttest.Firmware) { f.TDVF[2].Attributes = 3 }, nil, "with attributes 0x3"},
		{"code that is not extended", func(f *attesttest.Firmware) { f.TDVF[0].Attributes = 0 }, nil, "no boot volume"},
		{"no variables", func(f *attesttest.Firmware) { f.TDVF[1].Type = 3 }, nil, "has 0 configuration volumes"},
		{"variables twice", func(f *attesttest.Firmware) { f.TDVF[2].Type = 1 }, nil, "has 2 configuration volumes"},
		{"no GUID", nil, func(b []byte) { b[bytes.Index(b, []byte("TDVF"))-1]++ }, "no GUID in front of its TDVF metadata"},
		{"no metadata", nil, func(b []byte) { b[bytes.LastIndex(b, []byte{0x35, 0x65, 0x7a, 0xe4})]++ }, "it has no TDVF metadata"},
		{"an entry that is a byte short", nil, func(b []byte) { b[bytes.LastIndex(b, []byte{0x35, 0x65, 0x7a, 0xe4})-2]-- }, "belong to no entry"},
		{"another version", nil, func(b []byte) { b[bytes.Index(b, []byte("TDVF"))+8]++ }, "of version 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := attesttest.NewFirmware()
			if c.change != nil {
				c.change(f)
			}
			image := f.Bytes()
			if c.after != nil {
				c.after(image)
			}
			got, err := reference.MeasureTDX(image, reference.Interleaved)
			refused(t, err, c.text)
			if got != (reference.TDX{}) {
				t.Errorf("got %x with the error", got.MRTD)
			}
		})
	}
	_, err := reference.MeasureTDX(attesttest.NewFirmware().Bytes(), "")
	refused(t, err, `the order of pages is ""`)
}
