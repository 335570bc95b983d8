// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Serial numbers that the disks have (serial= of QEMU's virtio-blk-pci). A host can
// give any disk any number.
const (
	ConfigDisk = "assay-config"
	StateDisk  = "assay-state"
)

// poll is how often something is looked for that the kernel makes when it finds it.
const poll = 50 * time.Millisecond

// findDisk waits until a disk with a serial number is below blocks (/sys/block), and
// returns its name, as vda. Two are an error: which one was meant?
func findDisk(ctx context.Context, blocks, serial string) (string, error) {
	for {
		var found []string
		// virtio-blk says it there; other kinds of disk are not in the image.
		paths, err := filepath.Glob(filepath.Join(blocks, "*", "serial"))
		if err != nil {
			return "", err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err == nil && strings.TrimSpace(string(text)) == serial {
				found = append(found, filepath.Base(filepath.Dir(path)))
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			slices.Sort(found)
			return "", fmt.Errorf("looking for disk %s: %s all have this serial number", serial, strings.Join(found, ", "))
		}
		if err := sleep(ctx, poll); err != nil {
			return "", fmt.Errorf("looking for disk %s: no disk has this serial number; attach one (serial=%s): %w", serial, serial, err)
		}
	}
}

// sleep waits, at most as long as ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loadModules loads the files of dir in the order of their names. A module of a
// platform that this machine is not on says so (absent), which is no error.
func loadModules(dir string, load func(*os.File) error, absent func(error) bool) (loaded []string, err error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("loading modules: %w", err)
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("loading modules: %w", err)
		}
		err = load(f)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		switch {
		case err == nil:
			loaded = append(loaded, e.Name())
		case !absent(err):
			return nil, fmt.Errorf("loading module %s: %w", e.Name(), err)
		}
	}
	if len(loaded) == 0 {
		return nil, errors.New("loading modules: none could be loaded")
	}
	return loaded, nil
}
