package wal

import (
	"time"

	"github.com/varve-io/varve/broker/vfs"
)

// buffer is a frame in the making.
type buffer struct {
	sequence uint64
	b        []byte // aligned; begins with room for the frame's header
	count    uint32
	touched  []touch
}

// touch is a member with records in a buffer: batches up to end, a log start of start; 0 for
// none.
type touch struct {
	m          *Member
	end, start int64
}

// touch is what the buffer says of a member.
func (s *buffer) touch(m *Member) *touch {
	if m.touched != s.sequence {
		m.touched, m.index = s.sequence, len(s.touched)
		s.touched = append(s.touched, touch{m: m})
	}
	return &s.touched[m.index]
}

const (
	smallBuffer = 64 << 10
	keptBuffer  = 256 << 10 // larger ones are let go of when nothing is written for keptFor
	keptFor     = 5 * time.Second
)

func newBuffer(sequence uint64) *buffer {
	return &buffer{sequence: sequence, b: vfs.AlignedBytes(smallBuffer)[:frameBytes]}
}

// reserve makes room for n more bytes, and for the blocks' rest.
func (s *buffer) reserve(n, limit int) {
	need := int(wholeBlocks(int64(len(s.b) + n)))
	if need <= cap(s.b) {
		return
	}
	b := vfs.AlignedBytes(max(need, min(2*cap(s.b), limit)))[:len(s.b)]
	copy(b, s.b)
	s.b = b
}

func (s *buffer) add(k kind, key Key, offset int64, content []byte) {
	s.b = appendRecord(s.b, k, key, offset, content)
	s.count++
}

func (s *buffer) large() bool { return cap(s.b) > keptBuffer }

// takeLocked takes the stage, and puts an empty one in its place.
func (w *WAL) takeLocked() *buffer {
	s, next := w.mu.stage, w.mu.spare
	if next == nil {
		next = newBuffer(0)
	}
	next.sequence, next.b, next.count = s.sequence+1, next.b[:frameBytes], 0
	next.touched, w.mu.touched = w.mu.touched, nil
	w.mu.stage, w.mu.spare = next, nil
	w.mu.cond.Broadcast() // there is room in the stage again
	return s
}

// returnLocked takes a buffer back whose frame is durable, but for the list of members, which
// are yet to be told: recycleLocked takes that.
func (w *WAL) returnLocked(s *buffer) (touched []touch) {
	touched, s.touched = s.touched, nil
	if w.mu.spare == nil || !w.mu.spare.large() {
		w.mu.spare = s
	}
	return touched
}

func (w *WAL) recycleLocked(touched []touch) {
	clear(touched)
	w.mu.touched = touched[:0]
}

// restLocked begins the wait after which an idle file lets go of large buffers. Until then they
// stay, so that a producer who waits for each of its batches does not have them made anew.
func (w *WAL) restLocked() {
	if w.mu.idle || !w.mu.stage.large() && (w.mu.spare == nil || !w.mu.spare.large()) {
		return
	}
	w.mu.idle = true
	seen := w.mu.committed
	time.AfterFunc(keptFor, func() { w.rested(seen) })
}

// rested ends the wait of restLocked, which began when seen was committed.
func (w *WAL) rested(seen uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.idle = false
	switch {
	case w.mu.committed != seen || w.mu.committing:
		w.restLocked()
		return
	case w.mu.stage.large() && w.mu.stage.count == 0:
		w.mu.stage = newBuffer(w.mu.stage.sequence)
	}
	if w.mu.spare != nil && w.mu.spare.large() {
		w.mu.spare = nil
	}
}
