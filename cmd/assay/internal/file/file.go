// SPDX-License-Identifier: Apache-2.0

// Package file reads and writes the files of the command line: reads are
// bounded, writes are whole or not at all, keys are never overwritten.
//
// [Read] and [Write] are the entry points. A file that a person named and that
// cannot be read is a [verdict.Misuse]; one that cannot be written is a
// [verdict.Failure].
package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/assayd/assay/verdict"
)

// Modes of what is written.
const (
	// Private is that of keys.
	Private fs.FileMode = 0o600
	// Public is that of everything else.
	Public fs.FileMode = 0o644
	// Folder is that of folders.
	Folder fs.FileMode = 0o700
)

// pipeWait bounds the wait for what comes through a pipe.
const pipeWait = time.Minute

// Read returns the whole file at path, which has at most limit bytes. What is
// for the message: "policy", "head set".
func Read(what, path string, limit int64) ([]byte, error) {
	if path == "" {
		return nil, verdict.Misused("name a file", "reading %s: no file is named", what)
	}
	// A named pipe that nobody writes to would be waited for, and be deaf to SIGTERM.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(what, path, err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if st, err := f.Stat(); err != nil {
		return nil, unreadable(what, path, err)
	} else if st.IsDir() {
		return nil, verdict.Misused("name a file", "reading %s: %s is a folder", what, path)
	} else if !st.Mode().IsRegular() {
		// What a shell's <(command) gives may take a while, and may not take forever.
		if err := f.SetReadDeadline(time.Now().Add(pipeWait)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
			return nil, unreadable(what, path, err)
		}
	}
	return ReadFrom(what, path, f, limit)
}

// ReadFrom returns all of r, which has at most limit bytes.
func ReadFrom(what, name string, r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, unreadable(what, name, err)
	}
	if int64(len(data)) > limit {
		return nil, verdict.Misused("check that this is the "+what, "reading %s: %s has more than %d bytes", what, name, limit)
	}
	return data, nil
}

func unreadable(what, path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "check the name"
	case errors.Is(err, fs.ErrPermission):
		hint = "check who may read it"
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return verdict.Misused(hint, "reading %s: %s: %w", what, path, err)
}

// Exists tells whether there is something at path.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Write replaces the file at path: a temporary one beside it is written,
// synced, and renamed. Whoever reads sees the old content or the new.
func Write(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return unwritable(path, err)
	}
	name := tmp.Name()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		return unwritable(path, errors.Join(err, Remove(name)))
	}
	return syncFolder(dir)
}

// Create writes a file that must not exist yet: a key that is overwritten is
// lost for ever.
func Create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return verdict.Misused("name another file, or move it away", "writing %s: it is there already", path)
	}
	if err != nil {
		return unwritable(path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return unwritable(path, errors.Join(err, Remove(path)))
	}
	return syncFolder(filepath.Dir(path))
}

// MakeFolder makes the folder at path, or takes an empty one. A folder with
// something in it is a [verdict.Misuse].
func MakeFolder(path string) error {
	if err := os.MkdirAll(path, Folder); err != nil {
		if st, serr := os.Stat(path); serr == nil && !st.IsDir() {
			return verdict.Misused("name a folder", "making folder: %s is a file", path)
		}
		return unwritable(path, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return unwritable(path, err)
	}
	if len(entries) > 0 {
		return verdict.Misused("name another folder: nothing is overwritten", "making folder: %s has %d entries already, %q among them", path, len(entries), entries[0].Name())
	}
	if err := os.Chmod(path, Folder); err != nil {
		return unwritable(path, err)
	}
	return nil
}

// Remove removes the file at path, if it is there.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unwritable(path, err)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return unwritable(dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return unwritable(dir, err)
	}
	return nil
}

func unwritable(path string, err error) error {
	return verdict.Fail(verdict.Internal, "%w", fmt.Errorf("writing %s: %w", path, err))
}
