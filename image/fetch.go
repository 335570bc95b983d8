// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Limits.
const (
	// maxPackage bounds a .deb, in bytes. A kernel has 34 MB.
	maxPackage = 256 << 20
	// downloadTimeout bounds the download of one package, queryTimeout a question
	// about one.
	downloadTimeout = 5 * time.Minute
	queryTimeout    = 30 * time.Second
	// maxSaid bounds what is kept of what a program said, in bytes.
	maxSaid = 64 << 10
)

// howToUpdate is what to do when Debian has a pinned version no longer.
const howToUpdate = "apt-get update, and if apt does not have it then either: go run ./ci/image -update, and review what it changes in image/inputs.lock"

// Fetch returns the .deb of an input: from folder, or through apt, which knows the
// mirror, and then keeps it there. Neither is believed: the digest decides.
func Fetch(ctx context.Context, folder string, i Input) ([]byte, error) {
	path := filepath.Join(folder, i.SHA256+".deb")
	data, err := readLimited(path, maxPackage)
	if errors.Is(err, fs.ErrNotExist) {
		return download(ctx, path, i)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", i, err)
	}
	if err := i.check(data); err != nil {
		return nil, fmt.Errorf("%w; remove %s", err, path)
	}
	return data, nil
}

// check compares a package with its digest.
func (i Input) check(data []byte) error {
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != i.SHA256 {
		return fmt.Errorf("checking %s: SHA-256 is %x, inputs.lock has %s", i, got, i.SHA256)
	}
	return nil
}

// download gets a package through apt, and keeps it at path.
func download(ctx context.Context, path string, i Input) (_ []byte, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("fetching %s: %w", i, err)
	}
	data, err := aptDownload(ctx, filepath.Dir(path), i.Name+"="+i.Version)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w; %s", i, err, howToUpdate)
	}
	if err := i.check(data); err != nil {
		return nil, err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return nil, fmt.Errorf("keeping %s: %w", i, err)
	}
	return data, os.Rename(temporary, path)
}

// aptDownload has apt get one package into a folder of its own below parent.
func aptDownload(ctx context.Context, parent, what string) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(parent, "apt-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Its sandbox user could not write here. With a digest that is checked,
	// nothing depends on that.
	if _, err := command(ctx, dir, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", what); err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return nil, errors.Join(fmt.Errorf("apt-get download left %d packages, want 1", len(found)), err)
	}
	return readLimited(found[0], maxPackage)
}

// Update returns the newest version that apt knows of each input.
func Update(ctx context.Context, folder string) ([]Input, error) {
	var inputs []Input
	for _, role := range roles {
		name := tracked[role]
		if role == Kernel {
			// The package of one version is named by one that depends on it alone.
			text, err := show(ctx, name, "Depends")
			if err != nil {
				return nil, err
			}
			name, _, _ = strings.Cut(text, " ")
		}
		i := Input{Role: role, Name: name}
		var err error
		if i.Version, err = show(ctx, name, "Version"); err != nil {
			return nil, err
		}
		if i.Architecture, err = show(ctx, name, "Architecture"); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(folder, 0o750); err != nil {
			return nil, fmt.Errorf("fetching %s: %w", i, err)
		}
		data, err := aptDownload(ctx, folder, i.Name+"="+i.Version)
		if err != nil {
			return nil, fmt.Errorf("fetching %s: %w", i, err)
		}
		digest := sha256.Sum256(data)
		i.SHA256 = hex.EncodeToString(digest[:])
		inputs = append(inputs, i)
	}
	// What apt said has to be what a lock may say.
	return ParseLock(FormatLock(inputs))
}

// show returns a field of the version of a package that apt would install.
func show(ctx context.Context, name, field string) (string, error) {
	if !validName.MatchString(name) {
		return "", fmt.Errorf("asking apt: %.64q is not the name of a package", name)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	text, err := command(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", fmt.Errorf("asking apt for %s: %w; try apt-get update", name, err)
	}
	m := regexp.MustCompile(`(?m)^` + field + `: (.+)$`).FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("asking apt for %s: it does not say its %s", name, field)
	}
	return m[1], nil
}

// command runs a program in English, and returns what it said.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // G204: apt, and names that ParseLock has checked
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C")
	var stdout, stderr said
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", errors.Join(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String())), ctx.Err())
	}
	return stdout.String(), nil
}

// said keeps the first maxSaid bytes.
type said struct{ bytes.Buffer }

func (s *said) Write(p []byte) (int, error) {
	s.Buffer.Write(p[:max(min(len(p), maxSaid-s.Len()), 0)])
	return len(p), nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}
