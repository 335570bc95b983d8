// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	_ "embed" // inputs.lock
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Roles of inputs.
const (
	// Kernel is the package of the kernel and its modules.
	Kernel = "kernel"
	// Stub is the package of systemd's EFI stub.
	Stub = "stub"
	// Certificates is the package of the authorities of the public web, for TLS to
	// registries.
	Certificates = "certificates"
)

// roles are all of them, in the order of the lock.
var roles = []string{Kernel, Stub, Certificates}

// tracked is the package whose newest version an update takes. The kernel's is
// empty, and depends on the package of that version.
var tracked = map[string]string{
	Kernel:       "linux-image-6.12-cloud-amd64",
	Stub:         "systemd-boot-efi",
	Certificates: "ca-certificates",
}

// MaxLockSize bounds inputs.lock, in bytes.
const MaxLockSize = 16 << 10

// An Input is a Debian package that is pinned.
type Input struct {
	// Role is one of the constants.
	Role string
	// Name, Version and Architecture are those of the package.
	Name, Version, Architecture string
	// SHA256 is the digest of the .deb, in 64 lower-case hex digits.
	SHA256 string
}

// String names the package as a person would.
func (i Input) String() string { return i.Name + " " + i.Version }

//go:embed inputs.lock
var embedded []byte

// Inputs returns the inputs of inputs.lock, one for each role.
func Inputs() ([]Input, error) { return ParseLock(embedded) }

// What a field of the lock may be: Debian Policy §5.6.1 and §5.6.12, so that none
// can be read as an option of apt.
var (
	validName         = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]{1,127}$`)
	validVersion      = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~:-]{0,127}$`)
	validArchitecture = regexp.MustCompile(`^(amd64|all)$`)
)

const lockHeader = `# The Debian packages that the image is made of: role, package, version,
# architecture, SHA-256 of the .deb. To take the newest of what apt knows:
#
#	apt-get update && go run ./ci/image -update
`

// ParseLock reads a lock: a line for each role in their order, of fields that one
// space separates, and comments. What it accepts, [FormatLock] writes again.
func ParseLock(data []byte) ([]Input, error) {
	if len(data) > MaxLockSize {
		return nil, fmt.Errorf("reading inputs.lock: %d bytes, want at most %d", len(data), MaxLockSize)
	}
	var inputs []Input
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text, ended := strings.CutSuffix(string(line), "\n")
		if strings.HasPrefix(text, "#") && ended {
			continue
		}
		bad := func(format string, args ...any) error {
			return fmt.Errorf("reading inputs.lock:%d: "+format, append([]any{n}, args...)...)
		}
		f := strings.Split(text, " ")
		if len(f) != 5 || !ended {
			return nil, bad("got %d fields, want 5 and an end of the line", len(f))
		}
		i := Input{Role: f[0], Name: f[1], Version: f[2], Architecture: f[3], SHA256: f[4]}
		digest, err := hex.DecodeString(i.SHA256)
		switch {
		case len(inputs) >= len(roles) || i.Role != roles[len(inputs)]:
			return nil, bad("role is %.64q, want a line each for %s, in this order", i.Role, strings.Join(roles, ", "))
		case !validName.MatchString(i.Name) || !validVersion.MatchString(i.Version) || !validArchitecture.MatchString(i.Architecture):
			return nil, bad("%.64q %.64q %.64q are not name, version and architecture of a package", i.Name, i.Version, i.Architecture)
		case err != nil || len(digest) != 32 || strings.ToLower(i.SHA256) != i.SHA256:
			return nil, bad("%.80q is not a SHA-256 digest in lower-case hex", i.SHA256)
		}
		inputs = append(inputs, i)
	}
	if len(inputs) != len(roles) {
		return nil, fmt.Errorf("reading inputs.lock: no line for %s", strings.Join(roles[len(inputs):], ", "))
	}
	return inputs, nil
}

// FormatLock is the text of a lock.
func FormatLock(inputs []Input) []byte {
	var b bytes.Buffer
	b.WriteString(lockHeader)
	for _, i := range inputs {
		fmt.Fprintln(&b, strings.Join([]string{i.Role, i.Name, i.Version, i.Architecture, i.SHA256}, " "))
	}
	return b.Bytes()
}

// byRole returns the input of a role.
func byRole(inputs []Input, role string) (Input, error) {
	if n := slices.IndexFunc(inputs, func(i Input) bool { return i.Role == role }); n >= 0 {
		return inputs[n], nil
	}
	return Input{}, fmt.Errorf("looking for the package of the %s: there is none", role)
}
