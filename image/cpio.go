// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A File is a file of the initramfs.
type File struct {
	// Path is relative to the root, as "init", in the form of [fs.ValidPath]. The
	// folders above it are made.
	Path string
	// Mode is 0o755, 0o644 or the like. A path whose Mode has [fs.ModeDir] is an
	// empty folder.
	Mode fs.FileMode
	Data []byte
}

// Modes of the archive's entries (stat(2), st_mode).
const (
	cpioFolder = 0o040000
	cpioFile   = 0o100000
)

// maxCPIOFile bounds a file of the archive, whose size has 8 hex digits.
const maxCPIOFile = 1 << 30

// Archive writes files as a cpio archive of the form "newc" (Linux
// Documentation/driver-api/early-userspace/buffer-format.rst), which is what the
// kernel unpacks as its first root. Its bytes depend on paths, modes and contents
// alone: entries are sorted, belong to root, and have no time.
func Archive(files []File) ([]byte, error) {
	entries := map[string]File{}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." || f.Mode&^(fs.ModePerm|fs.ModeDir) != 0 || f.Mode.IsDir() && len(f.Data) > 0 || len(f.Data) > maxCPIOFile {
			return nil, fmt.Errorf("archiving %q: mode %v, %d bytes: want a path without a slash in front, a mode of permissions, at most %d bytes, and none in a folder", f.Path, f.Mode, len(f.Data), maxCPIOFile)
		}
		if _, twice := entries[f.Path]; twice {
			return nil, fmt.Errorf("archiving %q: it is there twice", f.Path)
		}
		entries[f.Path] = f
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if e, ok := entries[dir]; ok && !e.Mode.IsDir() {
				return nil, fmt.Errorf("archiving %q: %q is a file", f.Path, dir)
			} else if !ok {
				entries[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	sorted := make([]File, 0, len(entries))
	for _, f := range entries {
		sorted = append(sorted, f)
	}
	// A folder's path is in front of those below it.
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var b bytes.Buffer
	for n, f := range sorted {
		mode := cpioFile | uint32(f.Mode.Perm())
		if f.Mode.IsDir() {
			mode = cpioFolder | uint32(f.Mode.Perm())
		}
		writeEntry(&b, n+1, mode, f.Path, f.Data)
	}
	writeEntry(&b, 0, 0, "TRAILER!!!", nil)
	return b.Bytes(), nil
}

// writeEntry writes magic, inode, mode, uid, gid, links, mtime, size, the numbers of
// two devices, the size of the name with its NUL, and a checksum that newc has not.
func writeEntry(b *bytes.Buffer, inode int, mode uint32, name string, data []byte) {
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	pad(b)
	b.Write(data)
	pad(b)
}

// pad fills up to 4 bytes.
func pad(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }
