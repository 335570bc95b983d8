// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"encoding/binary"
	"hash"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/assayd/assay/verdict"
)

// MaxUKISize is the largest unified kernel image, in bytes.
const MaxUKISize = 1 << 30

// Sections of a UKI (UAPI Group Specification UKI; systemd-stub(7)).
const (
	sectionLinux       = ".linux"
	sectionOSRelease   = ".osrel"
	sectionCommandLine = ".cmdline"
	sectionInitrd      = ".initrd"
	sectionSplash      = ".splash"
	sectionDeviceTree  = ".dtb"
	sectionStub        = ".sdmagic"
)

var (
	// measuredSections are in the order in which systemd-stub 252 measures them.
	measuredSections = []string{sectionLinux, sectionOSRelease, sectionCommandLine, sectionInitrd, sectionSplash, sectionDeviceTree}
	// otherSections change what is measured: the stub puts the first two into the
	// initrd, and of the others it depends on its version whether it looks at them.
	otherSections = []string{".pcrsig", ".pcrpkey", ".ucode", ".uname", ".profile", ".dtbauto", ".hwids", ".efifw"}
	stubVersion   = regexp.MustCompile(`^#### LoaderInfo: systemd-stub (252(?:[.~-][0-9A-Za-z.~+-]*)?) ####`)
)

// A content is what one event measures: it returns the digest by a new hash.
type content func(hash.Hash) ([]byte, error)

// these is a content of bytes.
func these(data []byte) content {
	return func(h hash.Hash) ([]byte, error) {
		h.Write(data)
		return h.Sum(nil), nil
	}
}

// A UKI is a unified kernel image of systemd-stub 252, as it was parsed.
type UKI struct {
	// Stub is the version of systemd-stub.
	Stub string
	// image and kernel are the digests of the PE files that the firmware starts.
	image, kernel content
	// sections are those that the stub measures, in its order.
	sections []measuredSection
	// options is the command line as the kernel gets it, initrd the initrd.
	options []byte
	initrd  content
}

// A measuredSection is a section of a UKI.
type measuredSection struct {
	name string
	data content
}

// ParseUKI reads a UKI. Another stub than systemd-stub 252, whose measurements were
// compared with a TPM, and an image with sections of which it is not known how they
// are measured are a *[verdict.Misuse].
func ParseUKI(data []byte) (*UKI, error) {
	if len(data) > MaxUKISize {
		return nil, badPE("%d bytes, want at most %d", len(data), MaxUKISize)
	}
	image, err := parsePE(data)
	if err != nil {
		return nil, err
	}
	sections, err := image.ukiSections()
	if err != nil {
		return nil, err
	}
	stub := stubVersion.FindSubmatch(sections[sectionStub])
	if stub == nil {
		return nil, verdict.Misused("build the image with the stub of systemd 252 (Debian 12)", "parsing UKI: its stub says %.64q, and only what systemd-stub 252 measures is known", sections[sectionStub])
	}
	for _, name := range otherSections {
		if len(sections[name]) > 0 {
			return nil, verdict.Misused("leave the section out", "parsing UKI: it has a section %s, and how systemd-stub 252 measures it is not known", name)
		}
	}
	for _, name := range []string{sectionLinux, sectionCommandLine, sectionInitrd} {
		if len(sections[name]) == 0 {
			return nil, badPE("it has no section %s", name)
		}
	}
	kernel, err := parsePE(sections[sectionLinux])
	if err != nil {
		return nil, verdict.Misused("", "parsing UKI: section %s: %w", sectionLinux, err)
	}
	u := &UKI{Stub: string(stub[1]), image: image.digest, kernel: kernel.digest, initrd: these(sections[sectionInitrd])}
	line, _, _ := bytes.Cut(sections[sectionCommandLine], []byte{0})
	if u.options, err = loadOptions(string(line)); err != nil {
		return nil, err
	}
	for _, name := range measuredSections {
		if len(sections[name]) > 0 {
			u.sections = append(u.sections, measuredSection{name, these(sections[name])})
		}
	}
	return u, nil
}

// ukiSections returns the sections that have a name of a UKI's, each as long as it is
// in memory, which is what the stub measures.
func (p *peFile) ukiSections() (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, s := range p.sections {
		// The stub compares the first letters alone.
		if i := slices.IndexFunc(measuredSections, func(m string) bool { return strings.HasPrefix(s.name, m) && s.name != m }); i >= 0 && s.virtual > 0 && !slices.Contains(otherSections, s.name) {
			return nil, badPE("it has section %q, which the stub takes for %s", s.name, measuredSections[i])
		}
		if s.name != sectionStub && !slices.Contains(measuredSections, s.name) && !slices.Contains(otherSections, s.name) {
			continue
		}
		if _, twice := out[s.name]; twice {
			return nil, badPE("it has section %s twice", s.name)
		}
		if s.virtual > s.rawSize {
			return nil, badPE("section %s has 0x%x bytes in memory and 0x%x in the file", s.name, s.virtual, s.rawSize)
		}
		if s.virtual == 0 {
			out[s.name] = nil
			continue
		}
		out[s.name] = p.raw[s.offset : s.offset+s.virtual]
	}
	return out, nil
}

// loadOptions is a command line as systemd-stub hands it to the kernel: in UTF-16 with
// a NUL at its end, control characters as spaces, none of them at its end. The stub
// reads UTF-8, and what it does with bytes that are none is not known: only ASCII.
func loadOptions(line string) ([]byte, error) {
	line = strings.TrimRight(strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, line), " ")
	if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
		return nil, verdict.Misused("write it in ASCII", "computing command line: it is empty, or not ASCII")
	}
	return utf16LE(line + "\x00"), nil
}

// utf16LE encodes text for UEFI.
func utf16LE(text string) []byte {
	var out []byte
	for _, c := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, c)
	}
	return out
}
