package server

import (
	"sync/atomic"

	"github.com/varve-io/varve/broker/vfs"
)

const (
	// coldReaders is how many connections may wait for the disk at once, each of them with an
	// operating system's thread in the kernel. More would not make a disk faster.
	coldReaders = 8
	// coldStep is what one of them reads at a time before it lets the next one in.
	coldStep = 512 << 10
	// A reader of old data leaves this much of it in memory behind it, for others that read the
	// same, and has what lies up to coldBehind further back dropped, so that the tail of other
	// logs, which their consumers and producers use, stays.
	coldKeep   = 4 << 20
	coldBehind = 16 << 20
)

// coldReads keeps those who send data that is not in memory from taking a thread each, and
// from driving everybody else's data out of it. It is shared by all connections.
type coldReads struct {
	slots chan struct{}
	stop  <-chan struct{} // closed when nobody is to wait any more
	cache vfs.PageCache
	bytes atomic.Int64
	waits atomic.Int64 // for a slot, because all were taken
}

// warmCredit is how much that follows what was in memory is taken to be there too: the question
// is a system call, which a reader of the tail need not pay for each of its small answers.
const warmCredit = 512 << 10

// warmRun is where a connection's reading of one file in memory goes on.
type warmRun struct {
	file       vfs.File
	next, left int64
}

// goesOn says whether a range need not be asked for.
func (w *warmRun) goesOn(r vfs.Range) bool {
	if w.left < r.Len || w.next != r.Off || w.file != r.File {
		return false
	}
	w.next, w.left = w.next+r.Len, w.left-r.Len
	return true
}

// begins notes what was found of a range, and says it again.
func (w *warmRun) begins(r vfs.Range, hot bool) bool {
	if *w = (warmRun{}); hot {
		*w = warmRun{r.File, r.Off + r.Len, warmCredit}
	}
	return hot
}

func newColdReads(stop <-chan struct{}) *coldReads {
	return &coldReads{slots: make(chan struct{}, coldReaders), stop: stop}
}

// enter takes a slot; without one nobody may wait for the disk.
func (c *coldReads) enter() error {
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	c.waits.Add(1)
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-c.stop:
		return errConnClosed
	}
}

func (c *coldReads) leave() { <-c.slots }

// hot says whether a range can be sent as it is. Where the system does not tell it can't.
func (c *coldReads) hot(r vfs.Range) bool {
	hot, known := c.cache.Holds(r.File, r.Off, r.Len)
	return hot && known
}

// load brings a range into memory.
func (c *coldReads) load(r vfs.Range) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	c.cache.Load(r.File, r.Off, r.Len)
	c.bytes.Add(r.Len)
	if end := r.Off - coldKeep; end > 0 {
		start := max(0, end-coldBehind)
		c.cache.Drop(r.File, start, end-start)
	}
	return nil
}

// readAt fills b from a file.
func (c *coldReads) readAt(f vfs.File, b []byte, off int64) (int, error) {
	if _, ok := vfs.Fd(f); !ok {
		return f.ReadAt(b, off) // in memory, or a test's
	}
	if c.cache.ReadAt(f, b, off) {
		return len(b), nil
	}
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	c.bytes.Add(int64(len(b)))
	return f.ReadAt(b, off)
}
