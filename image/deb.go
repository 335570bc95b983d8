// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"time"
)

// Limits of what is unpacked.
const (
	unpackTimeout = 2 * time.Minute
	// maxUnpacked bounds a file of a package, in bytes. A kernel has 12 MB.
	maxUnpacked = 64 << 20
	// maxMembers bounds the files of a package. A kernel has 5 000.
	maxMembers = 100_000
)

// unpack returns the files of a .deb that want says, by path without a slash in
// front. dpkg-deb reads what the digest was checked of.
func unpack(ctx context.Context, i Input, deb []byte, want func(path string) bool) (_ map[string][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, unpackTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", "/dev/stdin")
	var stderr said
	cmd.Stdin, cmd.Stderr = bytes.NewReader(deb), &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", i, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", i, err)
	}
	files, err := selectFiles(stdout, want)
	if err != nil {
		cancel() // it waits for somebody to read on
	}
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("%w: %s", waitErr, stderr.String())
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", i, err)
	}
	return files, nil
}

// selectFiles reads a tar archive to its end.
func selectFiles(r io.Reader, want func(path string) bool) (map[string][]byte, error) {
	files := map[string][]byte{}
	archive := tar.NewReader(r)
	for range maxMembers {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, io.LimitReader(r, maxUnpacked)) // of padding
			return files, err
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || !want(name) {
			continue
		}
		if h.Size > maxUnpacked {
			return nil, fmt.Errorf("%s has %d bytes, want at most %d", name, h.Size, maxUnpacked)
		}
		if files[name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d files", maxMembers)
}
