// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
)

// Limits of the configuration disk.
const (
	// MaxArchive bounds what is read of the disk, and the sizes of the files together,
	// in bytes. The largest file is a head set with what it names.
	MaxArchive = 64 << 20
	// maxFiles bounds the files of the archive.
	maxFiles = 64
)

// validName is a file of the archive: in one folder, and none that is hidden.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// unpack copies the files of a tar archive into root. It takes regular files alone,
// by name, once each. What is behind the archive's end, as on a disk, is not read.
func unpack(archive io.Reader, root *os.Root) error {
	limited := &io.LimitedReader{R: archive, N: MaxArchive}
	r := tar.NewReader(limited)
	var files int
	var size int64
	for {
		h, err := r.Next()
		switch {
		case limited.N <= 0:
			return fmt.Errorf("reading configuration: more than %d bytes", MaxArchive)
		case errors.Is(err, io.EOF) && files > 0:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("reading configuration: the archive is empty")
		case err != nil:
			return fmt.Errorf("reading configuration: %w", err)
		case h.Typeflag != tar.TypeReg || !validName.MatchString(h.Name):
			return fmt.Errorf("reading configuration: %.64q is no regular file with a name of letters, digits, dots and dashes", h.Name)
		case files == maxFiles:
			return fmt.Errorf("reading configuration: more than %d files", maxFiles)
		case h.Size > MaxArchive-size: // a sparse file is larger than what is read of it
			return fmt.Errorf("reading configuration: files of more than %d bytes", MaxArchive)
		}
		files++
		size += h.Size
		if err := copyFile(root, h.Name, r); err != nil {
			return fmt.Errorf("reading configuration: %.64q: %w", h.Name, err)
		}
	}
}

// copyFile writes a file that must not be there yet.
func copyFile(root *os.Root, name string, from io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
