// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/assayd/assay/verdict"
)

const (
	dirPerm  = 0o750
	filePerm = 0o640
	// tempPrefix begins the name of a file that is being written.
	tempPrefix = ".tmp-"
)

// lockFolder takes the lifetime lock of a log folder. Tessera does not stop a
// second appender, in this or in another process: half of what either
// acknowledges would be overwritten.
func lockFolder(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, filePerm)
	if err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "opening log folder %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, verdict.Misused("stop the other daemon, or give this one a folder of its own",
				"opening log folder %s: another daemon holds it", dir)
		}
		return nil, verdict.Fail(verdict.LogUnavailable, "locking log folder %s: %w", dir, err)
	}
	return f, nil
}

// makeDir makes dir below an existing parent, durably, unless it is there.
func makeDir(dir string) error {
	if err := os.Mkdir(dir, dirPerm); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// writeFile puts data at path so that after a crash either all of it or what
// was there before is found: temporary file, fsync, rename, fsync of the
// folder. A failure leaves no temporary file behind.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// readFile reads at most limit bytes of a regular file, and refuses a longer one.
// The folder may be a copy that somebody sent: opening a named pipe would wait for
// its writer for ever, and a device has no end.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("reading %s: not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %s: more than %d bytes", path, limit)
	}
	return data, nil
}

// cleanShard removes the temporary files that a crash or a full disk left in
// the shard at dir. Tessera's are named like their target with a random number
// behind it; ours have a prefix. The caller knows that nobody writes there.
func cleanShard(dir string) error {
	root, err := os.OpenRoot(dir) // no link leads out of it
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() || !orphan(filepath.Base(filepath.Dir(path)), d.Name()) {
			return nil
		}
		if err := root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	return errors.Join(err, root.Close())
}

// orphan tells whether a file of a shard, by the name of its folder and its
// own, is a temporary one.
func orphan(folder, name string) bool {
	if strings.HasPrefix(name, tempPrefix) {
		return true
	}
	for _, target := range []string{"checkpoint", "treeState", "gcState", "version"} {
		if number, ok := strings.CutPrefix(name, target); ok {
			return number != "" && digits(number)
		}
	}
	if !digits(name) || len(name) == objectNameLen {
		return false // objects, lock files
	}
	// What is left are tiles and entry bundles: three digits, or in the folder
	// of partial ones a width of 1 to 255.
	if strings.HasSuffix(folder, ".p") {
		return len(name) > 3 || (len(name) == 3 && name > "255")
	}
	return len(name) > 3
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
