package vfs

import (
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Ways to ask whether bytes are in memory.
const (
	askCachestat int32 = iota // since Linux 6.5; a container's filter may forbid it
	askNoWait                 // preadv2 with RWF_NOWAIT, which some file systems do not know
	askNobody
)

// loadBytes is how much one call to read ahead asks for; the kernel cuts longer ones.
const loadBytes = 128 << 10

// PageCache tells what of a file is in memory, and moves it in and out. The zero value is
// ready, and may be used from several goroutines. It finds out once what the system offers.
type PageCache struct{ ask atomic.Int32 }

// Holds says whether n bytes of f from off on are in memory, so that to send them waits for no
// disk; known is false where the system does not tell.
func (c *PageCache) Holds(f File, off, n int64) (hot, known bool) {
	fd, ok := Fd(f)
	if !ok || n <= 0 {
		return false, false
	}
	if c.ask.Load() == askCachestat {
		page := int64(os.Getpagesize())
		var stat unix.Cachestat_t
		err := unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &stat, 0)
		if err == nil {
			return int64(stat.Cache) >= (off+n-1)/page-off/page+1, true
		}
		c.ask.Store(askNoWait)
	}
	for _, at := range [...]int64{off, off + n/2, off + n - 1} {
		if c.ask.Load() != askNoWait {
			return false, false
		}
		var b [1]byte
		switch _, err := c.readNoWait(fd, b[:], at); {
		case errors.Is(err, unix.EAGAIN):
			return false, true
		case err != nil:
			return false, false
		}
	}
	return true, true
}

// ReadAt reads b at off if all of it is in memory; false says that it is not, or that the
// system does not tell, and that b holds nothing of use.
func (c *PageCache) ReadAt(f File, b []byte, off int64) bool {
	fd, ok := Fd(f)
	if !ok || c.ask.Load() == askNobody {
		return false
	}
	n, err := c.readNoWait(fd, b, off)
	return err == nil && n == len(b)
}

// readNoWait reads what is in memory. EAGAIN says that the first byte is not.
func (c *PageCache) readNoWait(fd uintptr, b []byte, off int64) (int, error) {
	for {
		n, err := unix.Preadv2(int(fd), [][]byte{b}, off, unix.RWF_NOWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			// Of one file system, but then of all: logs lie on one kind as a rule, and a wrong
			// answer costs a little time only.
			c.ask.CompareAndSwap(askNoWait, askNobody)
		}
		return n, err
	}
}

// Load brings n bytes of f from off on into memory, and waits for the disk. What fails shows
// when the bytes are read.
func (c *PageCache) Load(f File, off, n int64) {
	fd, ok := Fd(f)
	if !ok || n <= 0 {
		return
	}
	for at := off; at < off+n; at += loadBytes {
		_ = unix.Fadvise(int(fd), at, min(loadBytes, off+n-at), unix.FADV_WILLNEED)
	}
	var b [1]byte
	for at := off; at < off+n; at += loadBytes { // reads come back in about the order in which they were asked for
		_, _ = f.ReadAt(b[:], min(at+loadBytes, off+n)-1)
	}
}

// Drop takes n bytes of f from off on out of memory, as far as they are on disk and nobody
// uses them.
func (c *PageCache) Drop(f File, off, n int64) {
	if fd, ok := Fd(f); ok && n > 0 {
		_ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED)
	}
}
