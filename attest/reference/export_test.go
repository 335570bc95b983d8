// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// A Region is one of a firmware's SEV metadata.
type Region struct {
	GPA, Size uint64
	Kind      uint32
}

// Continue finishes a launch digest that the firmware's file has brought to ld: what
// published vectors have in place of a file.
func (s *SNP) Continue(ld [sha512.Size384]byte, regions []Region, hashTable, resetEIP uint32) ([sha512.Size384]byte, error) {
	m := &sevMetadata{hashTable: hashTable, resetEIP: resetEIP}
	for _, r := range regions {
		m.regions = append(m.regions, sevRegion{r.GPA, r.Size, r.Kind})
	}
	l := launch{ld}
	if err := s.check(); err != nil {
		return ld, err
	}
	err := s.addRegions(&l, m)
	s.addVCPUs(&l, m)
	return l.digest, err
}

// ContinueWithRDX does it for one vCPU whose RDX is another.
func (s *SNP) ContinueWithRDX(ld [sha512.Size384]byte, regions []Region, hashTable uint32, rdx uint64) ([sha512.Size384]byte, error) {
	m := &sevMetadata{hashTable: hashTable}
	for _, r := range regions {
		m.regions = append(m.regions, sevRegion{r.GPA, r.Size, r.Kind})
	}
	l := launch{ld}
	err := s.addRegions(&l, m)
	page := s.vmsa(resetVector)
	binary.LittleEndian.PutUint64(page[0x310:], rdx)
	l.normal(pageVMSA, vmsaAddress, page)
	return l.digest, err
}

// A Section is one of a TDVF.
type Section struct {
	Data       []byte
	GPA, Size  uint64
	Attributes uint32
}

// MRTD measures sections: what a published vector has in place of a file.
func MRTD(sections []Section, order PageOrder) []byte {
	h := mrtd{sha512.New384()}
	for _, s := range sections {
		h.section(tdvfSection{data: s.Data, gpa: s.GPA, size: s.Size, attributes: s.Attributes}, order)
	}
	return h.Sum(nil)
}

// A Known is the digest of something that is not here.
type Known struct {
	Name   string
	Digest []byte
}

func (k Known) content() content {
	return func(hash.Hash) ([]byte, error) { return k.Digest, nil }
}

// KnownUKI is an image of which there are digests alone.
func KnownUKI(image, kernel, initrd Known, sections []Known, commandLine string) (*UKI, error) {
	options, err := loadOptions(commandLine)
	u := &UKI{image: image.content(), kernel: kernel.content(), initrd: initrd.content(), options: options}
	for _, s := range sections {
		u.sections = append(u.sections, measuredSection{s.Name, s.content()})
	}
	return u, err
}

// ImageDigest is the digest of a PE file.
func ImageDigest(raw []byte, h hash.Hash) ([]byte, error) {
	p, err := parsePE(raw)
	if err != nil {
		return nil, err
	}
	return p.digest(h)
}

// FindSignature finds a certificate in lists of signatures.
func FindSignature(lists, certificate []byte) ([]byte, error) {
	return findSignature(lists, certificate)
}
