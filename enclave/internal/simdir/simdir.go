// SPDX-License-Identifier: Apache-2.0

// Package simdir keeps the files of a simulator's authority: a folder that is made
// once and read at each start. It belongs to enclave/simsnp and enclave/simtdx.
package simdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/assayd/assay/verdict"
)

// maxFile bounds a file, in bytes.
const maxFile = 64 << 10

// A File is one of the folder.
type File struct {
	Name string
	Data []byte
}

// Vacant refuses a folder that has a root already. The error is a *verdict.Misuse.
func Vacant(dir, root string) error {
	if _, err := os.Stat(filepath.Join(dir, root)); !errors.Is(err, fs.ErrNotExist) {
		return verdict.Misused("name an empty folder", "making simulator: %s is already there", filepath.Join(dir, root))
	}
	return nil
}

// Write writes files in this order, for their owner's eyes alone. The root comes
// last: with it the folder is complete.
func Write(dir string, files []File) error {
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Read reads files by name. The error is a *verdict.Misuse.
func Read(dir string, names ...string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range names {
		data, err := readFile(filepath.Join(dir, name))
		if err != nil {
			return nil, verdict.Misused("make the simulator first: assay dev init", "opening simulator: %w", err)
		}
		files[name] = data
	}
	return files, nil
}

// readFile reads a small file whole.
func readFile(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, err
}
