package server

import (
	"errors"
	"sync"
	"time"
)

// errNoMemory ends a connection that waited too long for request memory.
var errNoMemory = errors.New("no request memory became free in time")

// budget admits request memory, in bytes, over all connections. A connection that finds
// it spent stops reading until others give back.
//
// Frames under way could hold the whole budget while each of them needs more to be
// finished. So one frame at a time may exceed it: that frame ends, by its last byte or by
// the stall deadline, and gives everything back.
type budget struct {
	limit int64 // bytes; ≤ 0 admits everything
	mu    struct {
		sync.Mutex
		used      int64 // invariant: ≤ limit, but for the one overdraft
		overdraft bool  // the excess is taken
		waiting   []*claim
	}
}

// claim is one connection's wait for memory.
type claim struct {
	n       int64
	growing bool          // a frame under way: may take the overdraft
	granted chan struct{} // closed with the grant
	over    bool          // the grant is the overdraft
}

// try admits n bytes if there is room and nobody waits.
func (b *budget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit > 0 && (b.mu.used+n > b.limit || len(b.mu.waiting) > 0) {
		return false
	}
	b.mu.used += n
	return true
}

// acquire admits n bytes, waiting at most for patience or until stop is closed. It reports
// whether the bytes are the overdraft. growing says that a frame under way needs them;
// only such a claim may become the overdraft, and so may one that exceeds the whole limit.
func (b *budget) acquire(n int64, growing bool, stop <-chan struct{}, patience time.Duration) (over bool, err error) {
	c := &claim{n: n, growing: growing || n > b.limit, granted: make(chan struct{})}
	b.mu.Lock()
	b.mu.waiting = append(b.mu.waiting, c)
	b.grantLocked()
	b.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.granted:
		return c.over, nil
	case <-stop:
		err = errConnClosed
	case <-timer.C:
		err = errNoMemory
	}
	if !b.withdraw(c) {
		return c.over, nil // granted at the last moment
	}
	return false, err
}

// exceed admits n more bytes to the holder of the overdraft, whatever is in use.
func (b *budget) exceed(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used += n
}

// withdraw takes a claim out of the queue; false says that it was granted meanwhile.
func (b *budget) withdraw(c *claim) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.mu.waiting {
		if w == c {
			b.mu.waiting = append(b.mu.waiting[:i], b.mu.waiting[i+1:]...)
			b.grantLocked()
			return true
		}
	}
	return false
}

// release gives n bytes back and admits who waits.
func (b *budget) release(n int64, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used -= n
	if over {
		b.mu.overdraft = false
	}
	if b.mu.used < 0 {
		panic("BUG: more request memory given back than taken")
	}
	if len(b.mu.waiting) > 0 {
		b.grantLocked()
	}
}

// grantLocked admits waiting claims in order while there is room. A growing frame behind
// the head may still take the overdraft: it is what frees memory for the others.
func (b *budget) grantLocked() {
	kept := b.mu.waiting[:0]
	blocked := false
	for _, c := range b.mu.waiting {
		fits := !blocked && (b.limit <= 0 || b.mu.used+c.n <= b.limit)
		switch {
		case fits:
			b.mu.used += c.n
			close(c.granted)
		case c.growing && !b.mu.overdraft:
			b.mu.used += c.n
			b.mu.overdraft, c.over = true, true
			close(c.granted)
		default:
			blocked = true
			kept = append(kept, c)
		}
	}
	clear(b.mu.waiting[len(kept):])
	b.mu.waiting = kept
}

// inUse is the number of bytes admitted now.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}
