// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// Names in the state folder that only the agent reads.
const (
	// fullHeadFile is the head set with all files, to bring to daemons.
	fullHeadFile = "head-full.json"
	// keysFile is what is kept of attestation keys.
	keysFile = "keys.json"
	// collectionsDir has evidence by digest.
	collectionsDir = "collections"
	// refusedFile and acceptedFile are the last appraisals, to be made again elsewhere.
	refusedFile  = "appraisal-refused.json"
	acceptedFile = "appraisal-accepted.json"
	lockFile     = "lock"
)

// maxUnwritten bounds what is kept in memory for a disk that is full, in files.
const maxUnwritten = 8192

// A store is the state folder. It is safe for concurrent use; writes happen one
// after the other, so that the newest content of a file is what stays.
type store struct {
	dir   string
	state gate.State
	lock  *os.File
	log   *slog.Logger

	mu sync.Mutex // serialises writes
	// unwritten are the newest contents that could not be written; nil stands
	// for a file that could not be removed.
	unwritten map[string][]byte
}

// openStore makes the folder if needed, takes its lock for life and removes what a
// crash left behind.
func openStore(dir string, log *slog.Logger) (*store, error) {
	for _, d := range []string{"", gate.ImagesDir, gate.ExceptionsDir, gate.UsesDir, collectionsDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, verdict.Misused("give state-dir a place that the agent may write", "opening state folder: %w", err)
		}
	}
	state, err := gate.OpenState(dir)
	if err != nil {
		return nil, verdict.Misused("the folder must belong to the agent's user, with mode 0700", "%w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, verdict.Misused("the folder and what is in it must belong to the agent's user", "opening state folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(verdict.Misused("each agent needs a state-dir of its own", "opening state folder: another agent uses %s", dir), lock.Close())
	}
	s := &store{dir: dir, state: state, lock: lock, log: log, unwritten: map[string][]byte{}}
	s.sweep()
	return s, nil
}

// sweep removes temporary files of a write that a crash cut off.
func (s *store) sweep() {
	for _, d := range []string{"", gate.ImagesDir, gate.UsesDir, collectionsDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, d))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".tmp") {
				if err := os.Remove(filepath.Join(s.dir, d, e.Name())); err != nil {
					s.log.Warn("file of an earlier crash stays", "path", e.Name(), "err", err)
				}
			}
		}
	}
}

func (s *store) close() error { return s.lock.Close() }

// save writes what content returns, which is called with the store's lock held: of
// two saves of one file the later content stays. A failed write is kept in memory
// and tried again by flush.
func (s *store) save(name string, content func() (any, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := content()
	if err != nil {
		s.log.Error("state could not be encoded", "path", name, "err", err)
		return
	}
	data, ok := v.([]byte)
	if !ok {
		if data, err = json.Marshal(v); err != nil {
			s.log.Error("state could not be encoded", "path", name, "err", err)
			return
		}
	}
	s.write(name, data)
}

// remove removes a file.
func (s *store) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(name, nil)
}

// write writes or, without data, removes. The caller holds the lock.
func (s *store) write(name string, data []byte) {
	var err error
	if data == nil {
		if err = os.Remove(filepath.Join(s.dir, name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = gate.WriteFile(filepath.Join(s.dir, name), data)
	}
	if err == nil {
		delete(s.unwritten, name)
		return
	}
	if len(s.unwritten) == 0 {
		s.log.Warn("state folder cannot be written, going on from memory", "path", name, "err", err)
	}
	if _, again := s.unwritten[name]; again || len(s.unwritten) < maxUnwritten {
		s.unwritten[name] = data
	}
}

// flush tries again what could not be written.
func (s *store) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unwritten) == 0 {
		return
	}
	// Heads and statements first: tickets mean nothing without them.
	for _, name := range []string{gate.HeadFile, gate.IssuersFile} {
		if data, ok := s.unwritten[name]; ok {
			s.write(name, data)
			if _, still := s.unwritten[name]; still {
				return
			}
		}
	}
	for name, data := range s.unwritten {
		if s.write(name, data); len(s.unwritten) == 0 {
			s.log.Info("state folder is written again")
			return
		}
		if _, still := s.unwritten[name]; still {
			return // one failure is enough to know
		}
	}
}

// read reads a file of the agent; it is nil where there is none.
func (s *store) read(name string, limit int64) ([]byte, error) {
	data, err := s.state.Read(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	return data, nil
}

// list returns the names of the records in a folder.
func (s *store) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, dir))
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names, nil
}

func imageFile(image gate.Image) string {
	return filepath.Join(gate.ImagesDir, gate.ImageKey(image.Repository, image.Digest)+".json")
}

func collectionFile(d verdict.Digest) string { return filepath.Join(collectionsDir, d.Hex()+".json") }
