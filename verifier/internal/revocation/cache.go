// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults of a cache.
const (
	// DefaultMemoryBytes bounds what is kept in memory.
	DefaultMemoryBytes = 64 << 20
	// DefaultFolderBytes bounds what is kept on disk.
	DefaultFolderBytes = 256 << 20
	// MaxCacheEntries bounds the number of lists and responses, in memory and on
	// disk each.
	MaxCacheEntries = 4096
)

// A CacheConfig says where evidence is kept.
type CacheConfig struct {
	// Folder outlives the process, and belongs to one process at a time; "" is
	// memory alone. It need not exist.
	Folder string
	// MemoryBytes and FolderBytes of zero are the defaults.
	MemoryBytes, FolderBytes int64
	// Log is told once when the folder cannot be used, and again after it could
	// be in between. Nil: nobody is.
	Log *slog.Logger
}

// A Cache keeps revocation lists and OCSP responses, as they were signed. What
// comes from the folder is verified again as if it came from the network, so that
// the folder is trusted with nothing but to be there: without it, or with a broken
// one, each decision is the same, and costs a request (regression R42). What is
// withheld from it is the highest number seen of a list whose file is deleted: a
// folder that others may write protects from old lists only while the process runs.
//
// It may be used concurrently, and by several checkers.
type Cache struct {
	memoryBytes, folderBytes int64
	log                      *slog.Logger
	root                     *os.Root // nil: memory alone
	temporaryName            func() string
	flush                    func(*os.File) error

	// writing is held while the folder is changed: writes are one after another.
	writing sync.Mutex
	files   map[string]int64 // sizes; guarded by writing
	order   []string         // oldest first; guarded by writing
	total   int64            // guarded by writing

	mu     sync.Mutex
	items  map[[sha256.Size]byte]*list.Element
	used   *list.List // of *item, latest first
	bytes  int64
	warned bool
	// numbers are the highest ones seen by scope. They outlive the lists.
	numbers map[[sha256.Size]byte]*big.Int
}

type item struct {
	key   [sha256.Size]byte
	value any
	size  int64
	// fetched is when it came from its source; zero where that is not known.
	fetched time.Time
}

// NewCache makes a cache. A folder that cannot be used is told to the log, and
// nothing else.
func NewCache(cfg CacheConfig) *Cache {
	c := &Cache{
		memoryBytes: cmp.Or(cfg.MemoryBytes, DefaultMemoryBytes), folderBytes: cmp.Or(cfg.FolderBytes, DefaultFolderBytes), log: cfg.Log, temporaryName: temporaryName, flush: (*os.File).Sync,
		files: map[string]int64{}, items: map[[sha256.Size]byte]*list.Element{}, used: list.New(), numbers: map[[sha256.Size]byte]*big.Int{},
	}
	if cfg.Folder == "" {
		return c
	}
	if err := c.open(cfg.Folder); err != nil {
		c.warn("opening", err)
	}
	return c
}

// open lists the folder, and removes what a crash left half-written.
func (c *Cache) open(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	dir, err := root.Open(".")
	if err != nil {
		return errors.Join(err, root.Close())
	}
	defer func() { _ = dir.Close() }()
	type file struct {
		name string
		size int64
		at   time.Time
	}
	var found []file
	for len(found) < 4*MaxCacheEntries {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), temporary) {
				_ = root.Remove(e.Name())
				continue
			}
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() || !cacheName(e.Name()) {
				continue // not ours
			}
			found = append(found, file{e.Name(), info.Size(), info.ModTime()})
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return errors.Join(err, root.Close())
		}
	}
	slices.SortFunc(found, func(a, b file) int { return a.at.Compare(b.at) })
	for _, f := range found {
		c.files[f.name] = f.size
		c.order = append(c.order, f.name)
		c.total += f.size
	}
	c.root = root
	return nil
}

// Close closes the folder; checkers that use the cache are closed before.
func (c *Cache) Close() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.root == nil {
		return nil
	}
	return c.root.Close()
}

// temporary begins the names of files that are not complete.
const temporary = "new-"

func temporaryName() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return temporary + hex.EncodeToString(random[:])
}

// The kinds of files.
const (
	kindCRL  = ".crl"
	kindOCSP = ".ocsp"
)

func cacheName(name string) bool {
	stem, kind, ok := strings.Cut(name, ".")
	if _, err := hex.DecodeString(stem); err != nil || !ok || len(stem) != 2*sha256.Size {
		return false
	}
	return "."+kind == kindCRL || "."+kind == kindOCSP
}

// get returns what is in memory, and when it was fetched.
func (c *Cache) get(key [sha256.Size]byte) (any, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[key]
	if e == nil {
		return nil, time.Time{}
	}
	c.used.MoveToFront(e)
	i := e.Value.(*item)
	return i.value, i.fetched
}

// put keeps a value in memory.
func (c *Cache) put(key [sha256.Size]byte, value any, size int, fetched time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[key]; e != nil {
		c.drop(e)
	}
	if int64(size) > c.memoryBytes {
		return
	}
	c.items[key] = c.used.PushFront(&item{key, value, int64(size), fetched})
	for c.bytes += int64(size); c.bytes > c.memoryBytes || len(c.items) > MaxCacheEntries; {
		c.drop(c.used.Back())
	}
}

// drop forgets an element; mu is held.
func (c *Cache) drop(e *list.Element) {
	i := c.used.Remove(e).(*item)
	delete(c.items, i.key)
	c.bytes -= i.size
}

// seen remembers the number of a list, and returns the highest one of its scope
// that was seen before, or nil.
func (c *Cache) seen(scope [sha256.Size]byte, number *big.Int) *big.Int {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.numbers[scope]
	if before == nil && len(c.numbers) >= 4*MaxCacheEntries {
		for s := range c.numbers { // any: those who could fill it are authorities that we trust
			delete(c.numbers, s)
			break
		}
	}
	if before == nil || before.Cmp(number) < 0 {
		c.numbers[scope] = number
	}
	return before
}

// read returns a file of the folder, or nil.
func (c *Cache) read(key [sha256.Size]byte, kind string, limit int64) []byte {
	if c.root == nil {
		return nil
	}
	name := hex.EncodeToString(key[:]) + kind
	b, err := c.readFile(name, limit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.warn("reading", err)
	}
	return b
}

func (c *Cache) readFile(name string, limit int64) ([]byte, error) {
	info, err := c.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes or is not a file, want at most %d", name, info.Size(), limit)
	}
	f, err := c.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s grew beyond %d bytes", name, limit)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// write puts a file into the folder: under another name first, synced, then
// renamed, so that after a crash there is the old one or the new one. What fails is
// told to the log.
func (c *Cache) write(key [sha256.Size]byte, kind string, b []byte) {
	if c.root == nil || int64(len(b)) > c.folderBytes {
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	name := hex.EncodeToString(key[:]) + kind
	for len(c.order) > 0 && (c.total+int64(len(b)) > c.folderBytes || len(c.order) >= MaxCacheEntries) {
		oldest := c.order[0]
		c.forget(oldest)
		_ = c.root.Remove(oldest)
	}
	if err := c.writeFile(name, b); err != nil {
		c.warn("writing", err)
		return
	}
	c.forget(name) // the one before, which is gone
	c.files[name] = int64(len(b))
	c.order = append(c.order, name)
	c.total += int64(len(b))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.warned = false
}

// forget takes a file out of the accounts; writing is held.
func (c *Cache) forget(name string) {
	size, ok := c.files[name]
	if !ok {
		return
	}
	delete(c.files, name)
	c.total -= size
	c.order = slices.DeleteFunc(c.order, func(n string) bool { return n == name })
}

func (c *Cache) writeFile(name string, b []byte) (err error) {
	fresh := c.temporaryName()
	f, err := c.root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = c.root.Remove(fresh)
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = c.flush(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := c.root.Rename(fresh, name); err != nil {
		return err
	}
	dir, err := c.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// warn tells the log, once.
func (c *Cache) warn(what string, err error) {
	c.mu.Lock()
	told := c.warned
	c.warned = true
	c.mu.Unlock()
	if told || c.log == nil {
		return
	}
	c.log.WarnContext(context.Background(), "cannot keep revocation evidence on disk", "step", what, "err", err)
}
