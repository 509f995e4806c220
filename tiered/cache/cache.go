// Package cache keeps runs of immutable remote bytes (chunks) as files on a local
// disk, so that bytes read again leave by sendfile and cost no request.
//
// It owns the directory it is given (locked against a second process), the single
// flight per chunk, the caps on bytes and files, and the order of eviction. It does not
// know what the bytes are or where they come from: callers bring Fill and Verify. A
// chunk is verified when it is filled and on its first use after a restart; what fails
// is never kept. Files are written without fsync: a crash leaves a file that its next
// Verify refuses. A Cache may be used from any number of goroutines.
package cache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Options is what a Cache is made of.
type Options struct {
	FS  vfs.FS
	Dir string // created; belongs to the cache alone
	// MaxBytes and MaxFiles cap what stays on disk. 0 files = 65,536.
	MaxBytes int64
	MaxFiles int
	// MaxOpen caps the files kept open between reads; 0 = 256.
	MaxOpen int
	// MaxFills caps the fills under way at once, each with a buffer of its chunk's size; 0 = 4.
	MaxFills int
	// FillTimeout ends a fill that makes no end by itself; 0 = one minute.
	FillTimeout time.Duration
	Logger      *slog.Logger
}

// Request names a chunk and says how to get it.
type Request struct {
	// Name is the file's name: letters, digits, '-', '.'; never used for other bytes.
	Name string
	// Size is the chunk's length in bytes.
	Size int64
	// From and To are the part that is wanted, 0 ≤ From ≤ To ≤ Size.
	From, To int64
	// Fill fills p, which has Size bytes, from the remote store. Its context has the values of the
	// caller's who began it, and outlives that: other readers may wait for the same chunk.
	Fill func(ctx context.Context, p []byte) error
	// Verify says whether p, which has Size bytes, is the chunk. Its errors match kafka.ErrCorrupt.
	Verify func(p []byte) error
}

// Stats are counts since the start; Bytes and Files are of now.
type Stats struct {
	Hits, Misses, Failures, Evictions, Corrupt int64
	Bytes                                      int64
	Files                                      int
}

// Cache is a directory of chunks.
type Cache struct {
	o     Options
	lock  io.Closer
	fills chan struct{} // one token per fill under way
	bufs  chan []byte
	done  sync.WaitGroup
	ctx   context.Context
	stop  context.CancelFunc

	hits, misses, failures, evictions, corrupt atomic.Int64

	mu struct {
		sync.Mutex
		queue   queue
		flights map[string]*flight
		open    *list.List // *entry, most recently used in front
		closed  bool
	}
}

// flight is one chunk on its way; everyone who wants it waits for done.
type flight struct {
	done    chan struct{}
	err     error
	spilled *memFile // the bytes, when the disk would not take them
}

// Open locks dir and takes over the chunks that an earlier process left there.
func Open(o Options) (*Cache, error) {
	if o.FS == nil || o.Dir == "" || o.Logger == nil {
		return nil, errors.New("BUG: cache.Options without FS, Dir or Logger")
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = 65_536
	}
	if o.MaxOpen <= 0 {
		o.MaxOpen = 256
	}
	if o.MaxFills <= 0 {
		o.MaxFills = 4
	}
	if o.FillTimeout <= 0 {
		o.FillTimeout = time.Minute
	}
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache directory %s: %w", o.Dir, err)
	}
	lock, err := o.FS.Lock(path.Join(o.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("cache directory %s: %w", o.Dir, err)
	}
	c := &Cache{o: o, lock: lock, fills: make(chan struct{}, o.MaxFills), bufs: make(chan []byte, o.MaxFills)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.mu.flights, c.mu.open = map[string]*flight{}, list.New()
	c.mu.queue = newQueue(o.MaxBytes, o.MaxFiles)
	if err := c.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("cache directory %s: %w", o.Dir, err), lock.Close())
	}
	return c, nil
}

// lockName is the lock file; tempSuffix ends the name of a chunk being written.
const (
	lockName   = ".lock"
	tempSuffix = ".tmp"
)

// load takes over what is in the directory, unverified.
func (c *Cache) load() error {
	files, err := c.o.FS.ReadDir(c.o.Dir)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range files {
		name := f.Name()
		if name == lockName || f.IsDir() {
			continue
		}
		info, err := f.Info()
		if strings.HasSuffix(name, tempSuffix) || err != nil {
			if err := c.o.FS.Remove(c.path(name)); err != nil {
				return err
			}
			continue
		}
		c.mu.queue.add(&entry{name: name, size: info.Size()})
	}
	c.shrink()
	return nil
}

func (c *Cache) path(name string) string { return path.Join(c.o.Dir, name) }

// Get is the wanted part of a chunk, from the disk or by way of Fill. One caller fills,
// the others wait; a fill that failed is forgotten, so that the next caller tries again.
// The file is not closed or changed under the range before it is released.
func (c *Cache) Get(ctx context.Context, r Request) (vfs.Range, error) {
	first := true
	for {
		rng, f, err := c.find(ctx, r, true)
		if f == nil {
			if first && err == nil {
				c.hits.Add(1)
			}
			return rng, err
		}
		if first {
			c.misses.Add(1)
		}
		first = false
		select {
		case <-f.done:
		case <-ctx.Done():
			return vfs.Range{}, ctx.Err()
		}
		switch {
		case f.err != nil:
			return vfs.Range{}, f.err
		case f.spilled != nil:
			return vfs.NewRange(f.spilled, r.From, r.To-r.From, nil), nil
		}
	}
}

// Prefetch starts a fill that nobody waits for, unless the chunk is there, on its way,
// or every fill slot is in use. Of ctx the values count alone.
func (c *Cache) Prefetch(ctx context.Context, r Request) {
	if len(c.fills) == cap(c.fills) {
		return
	}
	rng, f, err := c.find(ctx, r, false)
	if f == nil && err == nil {
		rng.Release()
	}
}

// find returns the range, or the flight that brings the chunk, which it starts if need be.
func (c *Cache) find(ctx context.Context, r Request, touch bool) (vfs.Range, *flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return vfs.Range{}, nil, errors.New("cache is closed")
	}
	if f := c.mu.flights[r.Name]; f != nil {
		return vfs.Range{}, f, nil
	}
	e := c.mu.queue.entries[r.Name]
	if e != nil && e.verified {
		if rng, err := c.hold(e, r); err == nil {
			if touch {
				e.touch(r.From, r.To)
			}
			return rng, nil, nil
		}
		c.drop(e) // someone removed the file: fetch it again
		e = nil
	}
	f := &flight{done: make(chan struct{})}
	c.mu.flights[r.Name] = f
	c.done.Go(func() { c.fly(context.WithoutCancel(ctx), r, f, e) })
	return vfs.Range{}, f, nil
}

// hold opens the entry's file if need be and takes a reference to it. Under mu.
func (c *Cache) hold(e *entry, r Request) (vfs.Range, error) {
	if e.ref == nil {
		file, err := c.o.FS.OpenFile(c.path(e.name), os.O_RDONLY, 0)
		if err != nil {
			return vfs.Range{}, err
		}
		e.file, e.ref = file, vfs.NewRef(func() { _ = file.Close() })
		e.at = c.mu.open.PushFront(e)
	} else {
		c.mu.open.MoveToFront(e.at)
	}
	if !e.ref.TryAcquire() {
		panic("BUG: cache entry without its own reference")
	}
	rng := vfs.NewRange(e.file, r.From, r.To-r.From, e.ref)
	for c.mu.open.Len() > c.o.MaxOpen {
		c.letGo(c.mu.open.Back().Value.(*entry))
	}
	return rng, nil
}

// letGo gives up the cache's own hold of an open file. Under mu.
func (c *Cache) letGo(e *entry) {
	if e.ref == nil {
		return
	}
	c.mu.open.Remove(e.at)
	ref := e.ref
	e.file, e.ref, e.at = nil, nil, nil
	ref.Release()
}

// fly verifies a chunk that an earlier process left, or fetches it.
func (c *Cache) fly(ctx context.Context, r Request, f *flight, left *entry) {
	var p []byte
	ctx, cancel := context.WithTimeout(ctx, c.o.FillTimeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	select {
	case c.fills <- struct{}{}:
		p = c.buffer(r.Size)
		if left == nil || !c.intact(r, left, p) {
			f.spilled, f.err = c.fetch(ctx, r, p)
		}
		<-c.fills
	case <-ctx.Done():
		f.err = fmt.Errorf("chunk %s: no free fill slot: %w", r.Name, ctx.Err())
	}
	if f.err != nil {
		c.failures.Add(1)
	}
	if f.spilled == nil && p != nil {
		select {
		case c.bufs <- p:
		default:
		}
	}
	c.mu.Lock()
	delete(c.mu.flights, r.Name)
	c.mu.Unlock()
	close(f.done)
}

// buffer is a used buffer of enough size, or a new one.
func (c *Cache) buffer(size int64) []byte {
	select {
	case p := <-c.bufs:
		if int64(cap(p)) >= size {
			return p[:size]
		}
	default:
	}
	return make([]byte, size)
}

// intact reads and verifies a left-over chunk.
func (c *Cache) intact(r Request, e *entry, p []byte) bool {
	good := false
	if e.size == r.Size {
		if file, err := c.o.FS.OpenFile(c.path(e.name), os.O_RDONLY, 0); err == nil {
			_, err = io.ReadFull(io.NewSectionReader(file, 0, r.Size), p)
			good = err == nil && r.Verify(p) == nil
			_ = file.Close()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if good && c.mu.queue.entries[e.name] == e {
		e.verified = true
		return true
	}
	if !good {
		c.corrupt.Add(1)
		c.o.Logger.Warn("a cached chunk does not verify and is fetched again", "chunk", e.name)
	}
	if c.mu.queue.entries[e.name] == e {
		c.drop(e)
	}
	return false
}

// fetch fills and verifies p, twice if the first bytes are damaged, and keeps them.
// The bytes come back in memory when the disk does not take them.
func (c *Cache) fetch(ctx context.Context, r Request, p []byte) (*memFile, error) {
	for attempt := 0; ; attempt++ {
		if err := r.Fill(ctx, p); err != nil {
			return nil, err
		}
		err := r.Verify(p)
		if err == nil {
			break
		}
		c.corrupt.Add(1)
		if attempt > 0 || !errors.Is(err, kafka.ErrCorrupt) {
			return nil, err
		}
		c.o.Logger.Warn("a fetched chunk does not verify and is fetched once more", "chunk", r.Name, "error", err)
	}
	if err := c.keep(r.Name, p); err != nil {
		c.o.Logger.Warn("the cache's disk does not take a chunk, it is served from memory", "chunk", r.Name, "error", err)
		return &memFile{name: r.Name, b: p}, nil
	}
	return nil, nil
}

// keep writes a chunk under a temporary name, renames it and adds it.
func (c *Cache) keep(name string, p []byte) error {
	if int64(len(p)) > c.o.MaxBytes {
		return fmt.Errorf("%d bytes do not fit a cache of %d", len(p), c.o.MaxBytes)
	}
	temp := c.path(name + tempSuffix)
	file, err := c.o.FS.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(p, 0)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, c.o.FS.Remove(temp))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.o.FS.Rename(temp, c.path(name)); err != nil {
		return err
	}
	c.mu.queue.add(&entry{name: name, size: int64(len(p)), verified: true})
	c.shrink()
	return nil
}

// shrink evicts until the caps hold. Under mu.
func (c *Cache) shrink() {
	for e := c.mu.queue.victim(); e != nil; e = c.mu.queue.victim() {
		c.evictions.Add(1)
		c.unlink(e)
	}
}

// drop removes an entry that is of no use. Under mu.
func (c *Cache) drop(e *entry) {
	c.mu.queue.remove(e)
	c.unlink(e)
}

// unlink removes the file; readers that hold it read on. Under mu.
func (c *Cache) unlink(e *entry) {
	c.letGo(e)
	if err := c.o.FS.Remove(c.path(e.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.o.Logger.Warn("remove a cached chunk", "chunk", e.name, "error", err)
	}
}

// DropPrefix removes every chunk whose name starts with prefix: those of a deleted topic.
func (c *Cache) DropPrefix(prefix string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, e := range c.mu.queue.entries {
		if strings.HasPrefix(name, prefix) {
			c.drop(e)
		}
	}
}

// Stats counts.
func (c *Cache) Stats() Stats {
	s := Stats{Hits: c.hits.Load(), Misses: c.misses.Load(), Failures: c.failures.Load(), Evictions: c.evictions.Load(), Corrupt: c.corrupt.Load()}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Bytes, s.Files = c.mu.queue.bytes, len(c.mu.queue.entries)
	return s
}

// Close ends fills under way and gives the directory up; the chunks stay for the next
// process. Ranges that are still held stay readable.
func (c *Cache) Close() error {
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return nil
	}
	c.mu.closed = true
	c.mu.Unlock()
	c.stop()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mu.open.Len() > 0 {
		c.letGo(c.mu.open.Back().Value.(*entry))
	}
	return c.lock.Close()
}
