// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/assayd/assay/attest/reference"
)

// twiceTimeout bounds both builds, of which one compiles everything.
const twiceTimeout = 15 * time.Minute

// twice builds the image from two copies of the source at two paths, the second one
// without anything that was compiled before, and wants the same bytes.
func twice(ctx context.Context, packages string, stdout io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, twiceTimeout)
	defer cancel()
	if packages, err = filepath.Abs(packages); err != nil {
		return err
	}
	base, err := os.MkdirTemp("", "assay-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()
	first, err := buildCopy(ctx, filepath.Join(base, "a"), packages)
	if err != nil {
		return err
	}
	second, err := buildCopy(ctx, filepath.Join(base, "another", "and a longer path"), packages,
		"GOCACHE="+filepath.Join(base, "cache"), "TZ=Asia/Tokyo", "LC_ALL=C")
	if err != nil {
		return err
	}
	if !bytes.Equal(first, second) {
		return fmt.Errorf("two images of one source differ: %d bytes, SHA-256 %x, and %d bytes, %x", len(first), sha256.Sum256(first), len(second), sha256.Sum256(second))
	}
	// What is built is what references can be computed of.
	uki, err := reference.ParseUKI(first)
	if err != nil {
		return err
	}
	if _, err := uki.PCRs(reference.Boot{Path: reference.Direct}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "two paths, one image: %d bytes, sha256:%x, systemd-stub %s\n", len(first), sha256.Sum256(first), uki.Stub)
	return err
}

// buildCopy copies the source to dir and makes the image there.
func buildCopy(ctx context.Context, dir, packages string, environment ...string) ([]byte, error) {
	if err := copySource(ctx, dir); err != nil {
		return nil, fmt.Errorf("copying the source: %w", err)
	}
	cmd := exec.CommandContext(ctx, "make", "image", "VERSION=twice", "PACKAGES="+packages)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environment...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make image: %w\n%s", err, out)
	}
	built, err := os.ReadFile(filepath.Join(dir, "bin", "assay.efi"))
	if err != nil {
		return nil, err
	}
	// The image has the program compressed.
	program, err := os.ReadFile(filepath.Join(dir, "bin", "assayd"))
	if err != nil {
		return nil, err
	}
	if bytes.Contains(program, []byte(dir)) || bytes.Contains(built, []byte(dir)) {
		return nil, fmt.Errorf("image or assayd say that they were built in %s", dir)
	}
	return built, nil
}

// copySource copies the files of the repository, those not yet committed too.
func copySource(ctx context.Context, dir string) error {
	list, err := exec.CommandContext(ctx, "git", "ls-files", "-co", "--exclude-standard", "-z").Output()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not yet committed
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
