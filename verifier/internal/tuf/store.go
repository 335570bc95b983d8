// SPDX-License-Identifier: Apache-2.0

package tuf

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
)

// A Store keeps what a refresh found, under names that are fixed words of this
// program. Put replaces the whole content or nothing.
type Store interface {
	Get(name string) ([]byte, bool)
	Put(name string, data []byte) error
}

// maxStored bounds one stored content, in bytes.
const maxStored = 96 << 20

// Memory is a [Store] that ends with the process. It may be used concurrently.
type Memory struct {
	mu   sync.Mutex
	data map[string][]byte
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{data: map[string][]byte{}} }

// Get implements [Store].
func (m *Memory) Get(name string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.data[name]
	return data, ok
}

// Put implements [Store].
func (m *Memory) Put(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data[name] = data
	return nil
}

type folder struct{ dir *os.Root }

// OpenStore makes a [Store] in a folder, one for each repository. The caller
// closes the folder.
func OpenStore(dir *os.Root) Store { return folder{dir} }

func (f folder) Get(name string) ([]byte, bool) {
	info, err := f.dir.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false
	}
	// What is there and cannot be read must not look as if nothing were there:
	// the memory of versions would be lost without a word. No content is valid
	// when empty, so that the reader tells.
	if err != nil || !info.Mode().IsRegular() {
		return nil, true
	}
	file, err := f.dir.Open(name)
	if err != nil {
		return nil, true
	}
	defer file.Close() //nolint:errcheck // nothing was written
	data, err := readAll(file, maxStored)
	if err != nil {
		return nil, true
	}
	return data, true
}

func (f folder) Put(name string, data []byte) error {
	if len(data) > maxStored {
		return fmt.Errorf("%d bytes, want at most %d", len(data), maxStored)
	}
	temporary := name + "." + rand.Text()[:8]
	file, err := f.dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = f.dir.Rename(temporary, name)
	}
	if err != nil {
		f.dir.Remove(temporary) //nolint:errcheck // it may not be there
		return err
	}
	dir, err := f.dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
