// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// Names in the state folder.
const (
	eventFile    = "registers.jsonl"
	eventArchive = "registers-%d.jsonl"
)

// maxArchives bounds the search for a free name: one file per start of the machine.
const maxArchives = 1 << 20

// An eventStore keeps the event list of a register in a file that is replaced as a
// whole: a crash leaves the old list or the new one, never half of an event.
type eventStore struct {
	root *os.Root
	path string
}

// openEventStore opens the folder of the list.
func openEventStore(dir string) (*eventStore, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, verdict.Misused("create the folder, owned by the daemon's user", "opening state folder: %w", err)
	}
	return &eventStore{root: root, path: filepath.Join(dir, eventFile)}, nil
}

// Close frees the folder.
func (s *eventStore) Close() error { return s.root.Close() }

// read returns the list, empty when there is none.
func (s *eventStore) read() (_ attest.EventList, err error) {
	f, err := s.root.Open(eventFile)
	if errors.Is(err, fs.ErrNotExist) {
		return attest.EventList{}, nil
	}
	if err != nil {
		return attest.EventList{}, verdict.Fail(verdict.EvidenceMissing, "reading register events: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const limit = attest.MaxRegisterEvents * (verdict.MaxRegisterEvent + 1)
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return attest.EventList{}, verdict.Fail(verdict.EvidenceMissing, "reading register events: %w", err)
	}
	list, err := attest.ParseEventList(data)
	if err != nil {
		return attest.EventList{}, fmt.Errorf("reading %s: %w", s.path, err)
	}
	return list, nil
}

// write replaces the list. It is durable when write returns.
func (s *eventStore) write(list attest.EventList) error {
	const temporary = eventFile + ".new"
	f, err := s.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(list.Marshal())
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.root.Rename(temporary, eventFile); err != nil {
		return err
	}
	return s.sync()
}

// archive moves the list to a name that is free.
func (s *eventStore) archive() error {
	if _, err := s.root.Lstat(eventFile); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for i := 1; i <= maxArchives; i++ {
		name := fmt.Sprintf(eventArchive, i)
		if _, err := s.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			if err := s.root.Rename(eventFile, name); err != nil {
				return err
			}
			return s.sync()
		} else if err != nil {
			return err
		}
	}
	return fmt.Errorf("%d archives of %s", maxArchives, s.path)
}

// sync makes a rename durable.
func (s *eventStore) sync() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, verdict.Misused("", "opening TPM: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = verdict.Misused("", "opening TPM: %s has more than %d bytes", path, limit)
	}
	return data, err
}
