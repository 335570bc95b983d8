// SPDX-License-Identifier: Apache-2.0

package reference

// PESections returns the sections of a PE file: name, size and offset in the file; and
// the size of its headers, and where the checksum and the directory of certificates are.
func PESections(raw []byte) (sections []PESection, headers, checksum, certificates int, err error) {
	p, err := parsePE(raw)
	if err != nil {
		return nil, 0, 0, 0, err
	}
	for _, s := range p.sections {
		sections = append(sections, PESection{s.name, s.virtual, s.rawSize, s.offset})
	}
	return sections, p.headers, p.optional + peCheckSum, p.certificates, nil
}

// A PESection is a section's place in the file.
type PESection struct {
	Name                  string
	Virtual, Size, Offset int
}
