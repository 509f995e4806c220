// Package wal is the write-ahead file that the partitions of one log dir share when their
// durability is group: one sync of it makes the appends of all of them durable.
//
// It owns the file `varve-wal`, the group commit, the answer to what of it is still needed,
// and reading it after a crash. It does not own the logs' own files: those are the truth, and
// this is a redo log of what no sync of them covers yet. Nor does it know topic names, leader
// epochs or how a batch gets into a segment (commitlog).
//
// A WAL is safe for concurrent use. There is one goroutine that writes and one that has logs
// synced, and only while there is work. WAL.mu is held over no I/O and while no Owner is
// called. Format page: docs/formats/wal.md.
package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// DefaultBytes is the size of the ring unless the settings say otherwise.
const DefaultBytes = 256 << 20

// MinBytes is the least that works: what tests take.
const MinBytes = 16 * framesInRing * blockBytes

// ErrClosed is what a WAL answers after Close.
var ErrClosed = errors.New("write-ahead file is closed")

// Options says which file Open opens.
type Options struct {
	FS      vfs.FS
	Dir     string     // the log dir
	DirID   kafka.UUID // its directory.id
	Bytes   int64      // size of the ring, 0 = DefaultBytes
	Logger  *slog.Logger
	Metrics *Metrics // nil for none

	// Checkpoint makes the log dir's checkpoint durable. It is called before records are given
	// up, because log starts are in them.
	Checkpoint func() error
	// Failed is told of the first failed write or sync, after which nothing is acknowledged any
	// more. It is called with no lock held.
	Failed func(error)
}

// Owner is the log behind a Member.
type Owner interface {
	// SyncForWAL makes all that was appended so far durable in the log's own files, entries of
	// directories included, and reports it with Member.Covered. It must not wait for the WAL.
	SyncForWAL() error
	// Committed tells that all records of m up to end are durable in the WAL, and a log start
	// of start; 0 says nothing of either. Calls may overlap and come out of order.
	Committed(m *Member, end, start int64)
}

// WAL is the open write-ahead file of a log dir.
type WAL struct {
	opts   Options
	f      vfs.File
	direct bool
	ring   int64
	frame  int64 // the most bytes of a frame

	header header // of the last slot written; only the committer's

	mu struct {
		sync.Mutex
		cond          *sync.Cond // broadcast: something below changed that somebody may wait for
		err           error      // sticky
		stage         *buffer    // what the next frame takes
		spare         *buffer
		touched       []touch // for a buffer that gave its own to who tells the members
		idle          bool    // large buffers go when nothing is written for a while
		committed     uint64  // sequence of the last buffer that is durable
		committing    bool
		checkpointing bool
		waiting       bool // the committer waits for room in the ring

		members     map[*Member]struct{}
		head        int64     // position behind the last frame
		prev        uint32    // its CRC
		tail        int64     // what may be given up ends here
		tailPrev    uint32    // the CRC of the frame before it
		durableTail int64     // the tail in the file; frames are written up to a ring's size behind it
		extents     []*extent // runs of frames from tail to head
		open        bool      // the last extent takes more frames
	}
}

// extent is a run of frames: the unit in which records are given up.
type extent struct {
	start int64
	prev  uint32 // the CRC of the frame before it
	pins  int    // members with records in it that no sync of their own files covers
}

// extentsInRing is how fine the ring is divided.
const extentsInRing = 32

// Member is a partition's part in the WAL.
type Member struct {
	w     *WAL
	key   Key
	owner Owner

	// Guarded by WAL.mu.
	covered int64  // end of what the log's own files hold durably
	marks   []mark // ascending
	touched uint64 // sequence of the buffer that lists it, at index
	index   int
}

// mark says that the records up to end are in ext, or before it.
type mark struct {
	ext *extent
	end int64
}

// Open opens the write-ahead file of a log dir, of which nothing is to be replayed any more,
// and makes it where there is none or where it has another size. Errors wrap
// kafka.KafkaStorageError.
func Open(o Options) (*WAL, error) {
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	o.Bytes = max(MinBytes, o.Bytes/blockBytes*blockBytes)
	w := &WAL{opts: o}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("write-ahead file in %s: %w: %w", o.Dir, kafka.KafkaStorageError, err)
	}
	w.ring, w.frame = w.header.ring, maxFrame(w.header.ring)
	m := &w.mu
	m.cond = sync.NewCond(&m.Mutex)
	m.stage, m.members = newBuffer(1), map[*Member]struct{}{}
	o.Logger.Info("write-ahead file is open", "dir", o.Dir, "bytes", w.ring, "direct", w.direct)
	if !w.direct {
		o.Logger.Warn("the file system takes no direct I/O; the write-ahead file goes through the page cache and fdatasync", "dir", o.Dir)
	}
	o.Metrics.opened(o.Dir, w)
	return w, nil
}

func (w *WAL) open() error {
	o := &w.opts
	f, h, err := openHeader(o.FS, o.Dir, o.DirID)
	if err != nil {
		return err
	}
	if f != nil {
		if err := f.Close(); err != nil {
			return err
		}
	}
	if f == nil || h.ring != o.Bytes {
		h = header{dirID: o.DirID, sequence: h.sequence, ring: o.Bytes}
		if err := create(o.FS, o.Dir, h); err != nil {
			return err
		}
	}
	if w.f, w.direct, err = openFile(o.FS, o.Dir, h); err != nil {
		return err
	}
	if w.header, err = begin(w.f, h); err != nil {
		return errors.Join(err, w.f.Close())
	}
	return nil
}

// Join makes a partition's log a member. All that the log holds, up to end, must be durable
// in its own files, so that what is replayed later continues them.
func (w *WAL) Join(k Key, owner Owner, end int64) *Member {
	m := &Member{w: w, key: k, owner: owner, covered: end}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.members[m] = struct{}{}
	return m
}

// Fits says whether a batch of n bytes can be a record.
func (w *WAL) Fits(n int) bool { return frameBytes+recordBytes+int64(n) <= w.frame }

// Data stages a batch of records with offsets [base, end); Owner.Committed tells when it is
// durable. b is copied. It waits while a whole frame is staged already, or the file is full.
func (m *Member) Data(base, end int64, b []byte) error {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.reserveLocked(len(b)); err != nil {
		return err
	}
	s := w.mu.stage
	s.add(kindData, m.key, base, b)
	s.touch(m).end = end
	w.opts.Metrics.staged(len(b))
	w.kickLocked()
	return nil
}

// Start stages that the log start moved up to offset. Owner.Committed tells when that is
// durable.
func (m *Member) Start(offset int64) error {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.reserveLocked(0); err != nil {
		return err
	}
	w.mu.stage.add(kindStart, m.key, offset, nil)
	t := w.mu.stage.touch(m)
	t.start = max(t.start, offset)
	w.kickLocked()
	return nil
}

// Leave ends the membership: when it returns nil, durably nothing that was staged so far is
// ever replayed. The log has made its files durable before, or is about to drop them. start
// is the log start that holds from here on, 0 for a log that is dropped.
func (m *Member) Leave(start int64) error {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.reserveLocked(0); err != nil {
		return err
	}
	if fault.Planted(fault.BugReplayAfterLeave) {
		m.coverLocked(1<<63 - 1)
		delete(w.mu.members, m)
		return nil
	}
	s := w.mu.stage
	s.add(kindEnd, m.key, start, nil)
	w.kickLocked()
	for w.mu.committed < s.sequence && w.mu.err == nil {
		w.mu.cond.Wait()
	}
	if w.mu.committed < s.sequence {
		return w.mu.err
	}
	m.coverLocked(1<<63 - 1)
	delete(w.mu.members, m)
	return nil
}

// Covered tells that the log's own files hold everything up to end durably.
func (m *Member) Covered(end int64) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.coverLocked(end)
}

func (m *Member) coverLocked(end int64) {
	m.covered = max(m.covered, end)
	n := 0
	for n < len(m.marks) && m.marks[n].end <= m.covered {
		m.marks[n].ext.pins--
		n++
	}
	m.marks = m.marks[n:]
	if len(m.marks) == 0 {
		m.marks = nil
	}
}

// reserveLocked waits until a record with n bytes of content fits into the next frame.
func (w *WAL) reserveLocked(n int) error {
	for w.mu.err == nil && int64(len(w.mu.stage.b)+recordBytes+n) > w.frame {
		w.opts.Metrics.stalled()
		w.mu.cond.Wait()
	}
	if w.mu.err == nil {
		w.mu.stage.reserve(recordBytes+n, int(w.frame))
	}
	return w.mu.err
}

// kickLocked makes sure that what is staged gets committed.
func (w *WAL) kickLocked() {
	if !w.mu.committing {
		w.mu.committing = true
		go w.commit()
	}
}

// Fail ends all work: the log dir went offline. Who waits gets err.
func (w *WAL) Fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failLocked(err)
}

func (w *WAL) failLocked(err error) (first bool) {
	if first = w.mu.err == nil; first {
		w.mu.err = err
	}
	w.mu.cond.Broadcast()
	return first
}

// fail is Fail for an error that the WAL met itself.
func (w *WAL) fail(err error) {
	err = fmt.Errorf("write-ahead file in %s: %w: %w", w.opts.Dir, kafka.KafkaStorageError, err)
	w.mu.Lock()
	first := w.failLocked(err)
	w.mu.Unlock()
	if first {
		w.opts.Metrics.fenced()
		w.opts.Failed(err)
	}
}

// Close lets go of the file when what is under way has ended. clean says that every log was
// closed in order, so that nothing is to be replayed.
func (w *WAL) Close(clean bool) error {
	w.mu.Lock()
	failed := w.mu.err != nil
	for !failed && w.mu.err == nil && (w.mu.stage.count > 0 || w.mu.committing) {
		w.mu.cond.Wait()
	}
	w.failLocked(fmt.Errorf("%w: %w", kafka.KafkaStorageError, ErrClosed))
	for w.mu.committing || w.mu.checkpointing {
		w.mu.cond.Wait()
	}
	w.mu.Unlock()
	w.opts.Metrics.closed(w)
	var err error
	if clean && !failed {
		_, err = begin(w.f, w.header)
	}
	return errors.Join(err, w.f.Close())
}
