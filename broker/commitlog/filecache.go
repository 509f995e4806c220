package commitlog

import (
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/vfs"
)

// DefaultOpenFiles bounds a FileCache whose caller names no number.
const DefaultOpenFiles = 4096

// FileCache keeps the files of many logs open, up to a number, and closes the least
// used ones (CLOCK). A file that a reader still holds is closed when the reader lets go.
// Safe for concurrent use; opening one file never waits for another.
type FileCache struct {
	fs     vfs.FS
	max    int
	chunks chunkPool
	mu     struct {
		sync.Mutex
		ring []*handle
		hand int
	}
}

// NewFileCache makes a cache of at most maxOpen files, DefaultOpenFiles when it is not positive.
func NewFileCache(fsys vfs.FS, maxOpen int) *FileCache {
	if maxOpen <= 0 {
		maxOpen = DefaultOpenFiles
	}
	return &FileCache{fs: fsys, max: maxOpen}
}

// Open is the number of files that the cache holds open.
func (c *FileCache) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.ring)
}

// Trim closes the files that nobody has used since the last Trim, so that a partition that
// went idle holds none. Readers keep theirs until they release them.
func (c *FileCache) Trim() {
	c.mu.Lock()
	var out []*handle
	for i := len(c.mu.ring) - 1; i >= 0; i-- {
		if h := c.mu.ring[i]; !h.used.Swap(false) {
			c.remove(h) // the last one takes its place, and has been looked at
			out = append(out, h)
		}
	}
	c.mu.Unlock()
	for _, h := range out {
		h.slot.h.CompareAndSwap(h, nil)
		h.ref.Release()
	}
}

// Close lets go of every file; readers keep theirs until they release them.
func (c *FileCache) Close() {
	c.mu.Lock()
	ring := c.mu.ring
	c.mu.ring, c.mu.hand = nil, 0
	for _, h := range ring {
		h.at = -1
	}
	c.mu.Unlock()
	for _, h := range ring {
		h.slot.h.CompareAndSwap(h, nil)
		h.ref.Release()
	}
}

// slot is the place of one file in the cache: an owner (a segment) has one per file.
type slot struct {
	mu sync.Mutex // one opener at a time
	h  atomic.Pointer[handle]
}

// handle is an open file. The cache holds one reference while it is in the ring.
type handle struct {
	vfs.File
	ref  *vfs.Ref
	slot *slot
	used atomic.Bool
	at   int // place in the ring, -1 = outside; guarded by FileCache.mu
}

// acquire answers the slot's file, opened under the name if it is not, with a reference
// that the caller releases. flag adds os.O_CREATE and the like to os.O_RDWR.
func (c *FileCache) acquire(s *slot, name func() string, flag int) (*handle, error) {
	if h := s.tryAcquire(); h != nil {
		return h, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.tryAcquire(); h != nil {
		return h, nil
	}
	f, err := c.fs.OpenFile(name(), os.O_RDWR|flag, filePerm)
	if err != nil {
		return nil, err
	}
	h := &handle{File: f, slot: s, at: -1}
	h.ref = vfs.NewRef(func() { _ = f.Close() }) // whoever wrote through it has synced it, or promised nothing
	h.ref.TryAcquire()                           // the caller's
	s.h.Store(h)
	c.insert(h)
	return h, nil
}

const (
	filePerm fs.FileMode = 0o644
	dirPerm  fs.FileMode = 0o755
)

func (s *slot) tryAcquire() *handle {
	h := s.h.Load()
	if h == nil || !h.ref.TryAcquire() {
		return nil
	}
	if !h.used.Load() {
		h.used.Store(true)
	}
	return h
}

func (c *FileCache) insert(h *handle) {
	c.mu.Lock()
	var out *handle
	if len(c.mu.ring) >= c.max {
		out = c.victim()
	}
	h.at = len(c.mu.ring)
	c.mu.ring = append(c.mu.ring, h)
	c.mu.Unlock()
	if out != nil {
		out.slot.h.CompareAndSwap(out, nil)
		out.ref.Release()
	}
}

// victim takes the next unused handle out of the ring. FileCache.mu is held.
func (c *FileCache) victim() *handle {
	for range 2 * len(c.mu.ring) {
		c.mu.hand %= len(c.mu.ring)
		h := c.mu.ring[c.mu.hand]
		if h.used.Swap(false) {
			c.mu.hand++
			continue
		}
		c.remove(h)
		return h
	}
	h := c.mu.ring[0] // all were touched while we looked: any will do
	c.remove(h)
	return h
}

// remove takes h out of the ring. FileCache.mu is held.
func (c *FileCache) remove(h *handle) {
	last := len(c.mu.ring) - 1
	c.mu.ring[h.at] = c.mu.ring[last]
	c.mu.ring[h.at].at = h.at
	c.mu.ring[last] = nil
	c.mu.ring = c.mu.ring[:last]
	h.at = -1
}

// forget drops the slot's file from the cache; readers keep it until they release it.
// The owner makes sure that nobody acquires the slot again under the same name.
func (c *FileCache) forget(s *slot) {
	h := s.h.Load()
	if h == nil || !s.h.CompareAndSwap(h, nil) {
		return
	}
	c.mu.Lock()
	held := h.at >= 0
	if held {
		c.remove(h)
	}
	c.mu.Unlock()
	if fault.Planted(fault.BugClosedUnderReader) {
		_ = h.Close()
	}
	if held {
		h.ref.Release()
	}
}
