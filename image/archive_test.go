// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/image"
)

// TestArchive compares a small archive with its bytes by the kernel's description of
// the format; whether the kernel reads one, the test with a machine shows.
func TestArchive(t *testing.T) {
	files := []image.File{{Path: "init", Mode: 0o755, Data: []byte("abc")}, {Path: "etc/x", Mode: 0o644}, {Path: "dev", Mode: fs.ModeDir | 0o755}}
	got, err := image.Archive(files)
	if err != nil {
		t.Fatal(err)
	}
	const zero = "00000000"
	entry := func(inode, mode, size, nameSize, rest string) string {
		return "070701" + inode + mode + zero + zero + "00000001" + zero + size + strings.Repeat(zero, 4) + nameSize + zero + rest
	}
	want := entry("00000001", "000041ed", zero, "00000004", "dev\x00\x00\x00") +
		entry("00000002", "000041ed", zero, "00000004", "etc\x00\x00\x00") +
		entry("00000003", "000081a4", zero, "00000006", "etc/x\x00") +
		entry("00000004", "000081ed", "00000003", "00000005", "init\x00\x00abc\x00") +
		entry(zero, zero, zero, "0000000b", "TRAILER!!!\x00\x00\x00\x00")
	if string(got) != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	slices.Reverse(files)
	if again, err := image.Archive(files); err != nil || !bytes.Equal(again, got) {
		t.Errorf("the order of the files shows in the archive (%v)", err)
	}
}

// TestArchiveOracle has cpio list an archive, where it is installed.
func TestArchiveOracle(t *testing.T) {
	program, err := exec.LookPath("cpio")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("cpio is not installed")
	}
	data, err := image.Archive([]image.File{{Path: "lib/a/b", Mode: 0o644, Data: []byte("12345")}, {Path: "init", Mode: 0o755, Data: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-itv", "--quiet")
	cmd.Stdin, cmd.Env = bytes.NewReader(data), []string{"LC_ALL=C", "TZ=UTC"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"drwxr-xr-x", " lib/a\n", "-rw-r--r--", " 5 Jan  1  1970 lib/a/b\n", "-rwxr-xr-x", " 1 Jan  1  1970 init\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("got\n%swant %q in it", out, want)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	good := image.File{Path: "a/b", Mode: 0o644, Data: []byte("x")}
	if _, err := image.Archive([]image.File{good}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		files      []image.File
	}{
		{"twice", "it is there twice", []image.File{good, good}},
		{"absolute", "without a slash in front", []image.File{{Path: "/a", Mode: 0o644}}},
		{"upwards", "without a slash in front", []image.File{{Path: "../a", Mode: 0o644}}},
		{"root", "without a slash in front", []image.File{{Path: ".", Mode: 0o644}}},
		{"set-user-ID", "a mode of permissions", []image.File{{Path: "a", Mode: 0o755 | fs.ModeSetuid}}},
		{"device", "a mode of permissions", []image.File{{Path: "a", Mode: 0o600 | fs.ModeDevice}}},
		{"folder with contents", "none in a folder", []image.File{{Path: "a", Mode: fs.ModeDir | 0o755, Data: []byte("x")}}},
		{"below a file", `"a/b" is a file`, []image.File{good, {Path: "a/b/c", Mode: 0o644}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := image.Archive(test.files); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
