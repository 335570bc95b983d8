// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/image"
)

func lock(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("inputs.lock")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInputs(t *testing.T) {
	inputs, err := image.Inputs()
	if err != nil {
		t.Fatal(err)
	}
	var roles []string
	for _, i := range inputs {
		roles = append(roles, i.Role)
	}
	if want := []string{image.Kernel, image.Stub, image.Certificates}; !slices.Equal(roles, want) {
		t.Errorf("got roles %q, want %q", roles, want)
	}
	if got := string(image.FormatLock(inputs)); got != lock(t) {
		t.Errorf("inputs.lock is not what an update would write; got\n%s", got)
	}
}

func TestParseLockRefuses(t *testing.T) {
	good := lock(t)
	inputs, err := image.Inputs()
	if err != nil {
		t.Fatal(err)
	}
	kernel, stub := inputs[0], inputs[1]
	replace := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "no line for kernel, stub, certificates"},
		{"without the last", good[:strings.Index(good, "certificates ")], "no line for certificates"},
		{"twice", good + good, "role is"},
		{"role", replace("kernel ", "kernels "), "role is"},
		{"order", replace("kernel ", "stub "), "role is"},
		{"field missing", replace(" amd64 ", " "), "got 4 fields"},
		{"two spaces", replace(" amd64", "  amd64"), "got 6 fields"},
		{"no end", strings.TrimSuffix(good, "\n"), "an end of the line"},
		{"empty line", good + "\n", "got 1 fields"},
		{"option as name", replace(stub.Name, "-oDir::Etc=x"), "are not name, version and architecture"},
		{"path as name", replace(stub.Name, "../stub"), "are not name"},
		{"version", replace(stub.Version, "=1"), "are not name"},
		{"architecture", replace(" amd64", " arm64"), "are not name"},
		{"short digest", replace(kernel.SHA256, kernel.SHA256[2:]), "not a SHA-256 digest"},
		{"upper case", replace(kernel.SHA256, strings.ToUpper(kernel.SHA256)), "not a SHA-256 digest"},
		{"large", good + strings.Repeat("# \n", image.MaxLockSize/3), "want at most"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.text == good {
				t.Fatal("the text was not changed")
			}
			got, err := image.ParseLock([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if got != nil {
				t.Errorf("got %v beside an error", got)
			}
		})
	}
}

func FuzzParseLock(f *testing.F) {
	inputs := fuzz.New(f, []byte(lock(f)), []byte("kernel linux 1 amd64 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(bytes.Count(data, []byte(" ")) >= 3)
		inputs, err := image.ParseLock(data)
		if err != nil {
			if inputs != nil {
				t.Errorf("got %v beside an error", inputs)
			}
			return
		}
		again, err := image.ParseLock(image.FormatLock(inputs))
		if err != nil || !slices.Equal(again, inputs) {
			t.Errorf("got %v, %v after writing, want %v", again, err, inputs)
		}
	})
}
