package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/vfs"
)

// checkpointRetry is the time until logs are synced again that could not be for a reason
// that passes, such as too many open files.
const checkpointRetry = 100 * time.Millisecond

// job is what the committer does next.
type job struct {
	buf  *buffer // nil for a header only
	pos  int64
	prev uint32
	size int64

	header   bool // the tail moved
	tail     int64
	tailPrev uint32
}

// commit writes what is staged, frame after frame, until nothing is. What arrives during a
// sync is the next frame: no record waits for company. The members are told after the baton
// has gone to another goroutine, so that the disk never waits for them.
func (w *WAL) commit() {
	for {
		j, ok := w.nextJob()
		if !ok {
			return
		}
		began := time.Now()
		crc, err := w.write(j)
		if err != nil {
			w.fail(err)
			w.mu.Lock()
			w.mu.committing = false
			w.mu.cond.Broadcast()
			w.mu.Unlock()
			return
		}
		if w.finish(j, crc, time.Since(began)) {
			return
		}
	}
}

// nextJob takes what is staged and the place where it goes. ok is false when there is
// nothing to do: the committer has ended then.
func (w *WAL) nextJob() (j job, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.mu.err == nil && w.mu.stage.count > 0 {
		s := w.mu.stage
		j = job{header: w.mu.tail > w.mu.durableTail, tail: w.mu.tail, tailPrev: w.mu.tailPrev}
		size := wholeBlocks(int64(len(s.b)))
		pos := place(w.mu.head, size, w.ring)
		if pos+size-w.mu.durableTail <= w.ring {
			j.buf, j.pos, j.size, j.prev = w.takeLocked(), pos, size, w.mu.prev
			return j, true
		}
		if j.header {
			return j, true
		}
		w.opts.Metrics.full()
		w.mu.waiting = true
		w.checkpointLocked()
		w.mu.cond.Wait()
		w.mu.waiting = false
	}
	w.mu.committing = false
	w.mu.cond.Broadcast()
	return job{}, false
}

// write makes a job durable.
func (w *WAL) write(j job) (crc uint32, err error) {
	if j.header {
		h := w.header
		h.sequence++
		h.tail, h.prev = j.tail, j.tailPrev
		if err := writeHeader(w.f, vfs.AlignedBytes(blockBytes), h); err != nil {
			return 0, err
		}
		w.header = h
	}
	if j.buf != nil {
		b := j.buf.b
		crc = sealFrame(b, frame{generation: w.header.generation, position: j.pos, count: j.buf.count, prev: j.prev})
		n := len(b)
		b = b[:j.size]
		clear(b[n:])
		if err := fault.Err("wal.write"); err != nil {
			return 0, err
		}
		if _, err := w.f.WriteAt(b, ringStart+j.pos%w.ring); err != nil {
			return 0, fmt.Errorf("write at %d: %w", ringStart+j.pos%w.ring, err)
		}
	}
	if err := fault.Err("wal.sync"); err != nil && !errors.Is(err, fault.ErrDropped) {
		return 0, err
	} else if err == nil {
		if fault.Planted(fault.BugWALNotSynced) {
			return crc, nil
		}
		if err := w.f.Datasync(); err != nil {
			return 0, fmt.Errorf("sync: %w", err)
		}
	}
	return crc, nil
}

// finish accounts for a job that is durable, and tells the members. It says whether the
// committer has ended or goes on elsewhere.
func (w *WAL) finish(j job, crc uint32, took time.Duration) bool {
	w.mu.Lock()
	if j.header {
		w.mu.durableTail = j.tail
	}
	if j.buf == nil {
		w.mu.Unlock()
		w.opts.Metrics.synced(0, 0, took)
		return false
	}
	w.appendedLocked(j, crc)
	w.mu.committed = j.buf.sequence
	count, touched := int(j.buf.count), w.returnLocked(j.buf)
	more := w.mu.stage.count > 0 && w.mu.err == nil
	if more {
		go w.commit()
	} else {
		w.mu.committing = false
		w.restLocked()
	}
	w.mu.cond.Broadcast()
	w.mu.Unlock()
	w.opts.Metrics.synced(count, j.size, took)
	for _, t := range touched {
		t.m.owner.Committed(t.m, t.end, t.start)
	}
	w.mu.Lock()
	w.recycleLocked(touched)
	w.mu.Unlock()
	return true
}

// appendedLocked notes where the frame is and who needs it.
func (w *WAL) appendedLocked(j job, crc uint32) {
	m := &w.mu
	if n := len(m.extents); n == 0 || !m.open || j.pos-m.extents[n-1].start >= w.ring/extentsInRing {
		m.extents, m.open = append(m.extents, &extent{start: j.pos, prev: j.prev}), true
	}
	ext := m.extents[len(m.extents)-1]
	for _, t := range j.buf.touched {
		if t.end <= t.m.covered {
			continue
		}
		if n := len(t.m.marks); n > 0 && t.m.marks[n-1].ext == ext {
			t.m.marks[n-1].end = t.end
			continue
		}
		t.m.marks = append(t.m.marks, mark{ext, t.end})
		ext.pins++
	}
	m.head, m.prev = j.pos+j.size, crc
	if m.head-m.tail > w.ring/2 {
		w.checkpointLocked()
	}
}

// checkpointLocked has the logs synced, unless that is under way.
func (w *WAL) checkpointLocked() {
	if !w.mu.checkpointing {
		w.mu.checkpointing = true
		go w.checkpoint()
	}
}

// checkpoint gives up the older part of the ring: it has the logs that need it synced, then
// the log dir's checkpoint written, and only then moves the tail. The frames themselves are
// overwritten when the header with the new tail is durable (nextJob).
func (w *WAL) checkpoint() {
	for {
		w.mu.Lock()
		if w.mu.err != nil || w.mu.head-w.mu.tail <= w.ring/2 && !w.mu.waiting {
			w.mu.checkpointing = false
			w.mu.cond.Broadcast()
			w.mu.Unlock()
			return
		}
		limit := w.mu.head
		w.mu.open = false // what comes now is not covered
		var behind []*Member
		for m := range w.mu.members {
			if len(m.marks) > 0 && m.marks[0].ext.start < limit-w.ring/4 || w.mu.waiting {
				behind = append(behind, m)
			}
		}
		w.mu.Unlock()
		var errs []error
		for _, m := range behind {
			errs = append(errs, m.owner.SyncForWAL())
		}
		saved := w.opts.Checkpoint()
		errs = append(errs, saved)
		if saved != nil || !w.giveUp(limit) { // a full disk may not take the checkpoint
			w.opts.Logger.Warn("the write-ahead file is filling up and no log could be synced; trying again", "dir", w.opts.Dir, "error", errors.Join(errs...))
			<-time.After(checkpointRetry)
		}
	}
}

// giveUp moves the tail up to the first record that is needed, at most to limit. It says
// whether that changed anything.
func (w *WAL) giveUp(limit int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := &w.mu
	old := m.tail
	for len(m.extents) > 0 && (m.extents[0].pins == 0 || fault.Planted(fault.BugWALRecycledEarly)) && m.extents[0].start < limit {
		m.extents = m.extents[1:]
	}
	m.tail, m.tailPrev = m.head, m.prev
	if len(m.extents) > 0 {
		m.tail, m.tailPrev = m.extents[0].start, m.extents[0].prev
	}
	m.cond.Broadcast()
	return m.tail > old || m.err != nil
}
