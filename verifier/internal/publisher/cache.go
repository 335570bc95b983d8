// SPDX-License-Identifier: Apache-2.0

package publisher

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Limits of a cache.
const (
	maxEntries    = 512
	maxCacheBytes = 128 << 20
	maxNumbers    = 4096
)

// A Cache keeps answers and lists until they end, and the highest number of each
// list for as long as there is room. Nothing that it returns is believed: the
// checker verifies it like what comes from the network. It may be used
// concurrently.
type Cache struct {
	mu      sync.Mutex
	entries *lru.Cache[string, []byte]
	bytes   int
	numbers *lru.Cache[string, *big.Int]
	// dir, where there is one, keeps both beyond a restart.
	dir  *os.Root
	warn func(error)
}

// NewCache makes a cache in memory.
func NewCache() *Cache {
	c := &Cache{warn: func(error) {}}
	// The only error is a size below 1.
	c.entries, _ = lru.NewWithEvict(maxEntries, func(_ string, data []byte) { c.bytes -= len(data) })
	c.numbers, _ = lru.New[string, *big.Int](maxNumbers)
	return c
}

// OpenCache makes a cache that is kept in a folder, which the caller closes. What
// cannot be read or written there costs a fetch and never a verdict: warn hears
// of it, and may be called concurrently.
func OpenCache(dir *os.Root, warn func(error)) *Cache {
	c := NewCache()
	c.dir, c.warn = dir, warn
	return c
}

// get returns what is kept under key.
func (c *Cache) get(key string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if data, ok := c.entries.Get(key); ok {
		return data, true
	}
	data, ok := c.read(key, ".der", MaxCRLBytes)
	if ok {
		c.remember(key, data)
	}
	return data, ok
}

func (c *Cache) remember(key string, data []byte) {
	if len(data) > maxCacheBytes/4 {
		return
	}
	if old, ok := c.entries.Peek(key); ok {
		c.bytes -= len(old)
	}
	c.entries.Add(key, data)
	c.bytes += len(data)
	for c.bytes > maxCacheBytes {
		c.entries.RemoveOldest()
	}
}

// put keeps data. One that has no end, since it tells of a revocation, is kept
// like the others: it is judged again each time.
func (c *Cache) put(key string, data []byte, _ time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remember(key, data)
	c.write(key, ".der", data)
}

// advance notes the number of a list, and says whether it is not below the
// highest that was seen.
func (c *Cache) advance(key string, number *big.Int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, ok := c.numbers.Get(key)
	if !ok {
		if text, found := c.read(key, ".number", 256); found {
			seen, ok = new(big.Int).SetString(string(text), 16)
		}
	}
	if ok && less(number, seen) {
		return false
	}
	if !ok || less(seen, number) {
		c.write(key, ".number", []byte(number.Text(16)))
	}
	c.numbers.Add(key, number)
	return true
}

// file is the name of what is kept under key: a digest, since keys have URLs of
// other people in them.
func file(key, suffix string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:]) + suffix
}

// read returns the file of key. The key stands before the content.
func (c *Cache) read(key, suffix string, limit int64) ([]byte, bool) {
	if c.dir == nil {
		return nil, false
	}
	f, err := c.dir.Open(file(key, suffix))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.warn(fmt.Errorf("reading the cache of revocations: %w", err))
		}
		return nil, false
	}
	defer f.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, limit+int64(len(key))+2))
	if err != nil {
		c.warn(fmt.Errorf("reading the cache of revocations: %w", err))
		return nil, false
	}
	data, ok := bytes.CutPrefix(data, []byte(key+"\n"))
	return data, ok && int64(len(data)) <= limit
}

// write replaces the file of key: whoever reads sees the old content or the new.
func (c *Cache) write(key, suffix string, data []byte) {
	if c.dir == nil {
		return
	}
	name := file(key, suffix)
	temporary := name + "." + rand.Text()[:8]
	err := func() error {
		f, err := c.dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(append([]byte(key+"\n"), data...))
		if err == nil {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	}()
	if err == nil {
		err = c.dir.Rename(temporary, name)
	}
	if err != nil {
		c.dir.Remove(temporary) //nolint:errcheck // it may not be there
		c.warn(fmt.Errorf("writing the cache of revocations: %w", err))
	}
}
